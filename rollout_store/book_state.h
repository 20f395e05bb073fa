/* rollout_store/book_state.h - what the book remembers; private to book*.c.
 *
 * Two kinds of memory. What a record may change is rebuilt by replay and is changed in book_apply (book.c)
 * only. What is marked transient (peers, credits, who scores what) dies with the process and is made again
 * by hellos and requests; no decision about tokens, scores or plans rests on it. */
#ifndef ROLLOUT_STORE_BOOK_STATE_H
#define ROLLOUT_STORE_BOOK_STATE_H

#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"
#include "rollout_store/book.h"
#include "rollout_store/book_map.h"

enum {
    BOOK_PEERS_MAX = 65536,
    BOOK_RECENT_MAX = 4096,
    BOOK_HOST_MAX = 64,
    BOOK_REFUSALS_MAX = 256,
    BOOK_DEAD_MAX = 64, /* versions of dead branches that are remembered */
    BOOK_ATTENTION_MS = 100,
    BOOK_POISON_FRAMES = 8,   /* in a row, and their sender is refused */
    BOOK_TEXT_MAX = 64 << 10, /* kept of a heartbeat's texts and of a score's detail */
    BOOK_FORGET_S = 90        /* of silence, and a peer is forgotten; the hub forgets earlier */
};

enum sample_state { SAMPLE_QUEUED, SAMPLE_LEASED, SAMPLE_FINISHED, SAMPLE_SCORED };
enum group_state { GROUP_OPEN, GROUP_ELIGIBLE, GROUP_PLANNED, GROUP_STATE_COUNT };

/* One actor incarnation that holds or held leases. */
struct holder {
    uint32_t index;
    uint64_t incarnation;
    uint32_t leases;
    uint64_t tokens;   /* that its leases occupy: prompt + response_tokens_max each */
    uint64_t *cancels; /* [cancel_count] leases taken from it, oldest first */
    size_t cancel_count, cancel_capacity;
    size_t cancels_said; /* transient: of them, sent on this connection */
    int64_t heard_ns;    /* transient */
    uint64_t frame_last; /* transient */
    bool frame_known;    /* transient */
};

struct sample {
    struct group *group;
    uint32_t number;
    enum sample_state state;
    uint32_t attempt;      /* of the newest lease; 0 before the first */
    uint32_t failures;     /* leases that ended with a refused segment */
    uint32_t deaths;       /* holders lost since its last new token */
    uint64_t lease_id;     /* 0 none */
    struct holder *holder; /* of the lease */
    uint32_t lease_from;   /* tokens when it was leased */
    bool lease_heard;      /* a segment came under this lease */
    uint32_t cap;          /* tokens it may have under this lease; 0 before the first */
    uint32_t *ids;         /* [count] */
    float *logprobs;       /* [count] */
    uint32_t count, capacity;
    struct group_piece *pieces; /* [piece_count] */
    uint32_t piece_count, piece_capacity;
    uint32_t repetition_run;
    uint64_t kv_version_min;
    enum segment_status finish;
    uint32_t scoring_attempts;
    enum score_status score_status;
    double reward;
    char *detail_json;      /* owned */
    uint64_t scorer;        /* hash of the plugin that gave it */
    bool scoring;           /* transient: handed to a reward worker */
    uint32_t scorer_peer;   /* transient: which one */
    uint32_t scorer_losses; /* transient: workers that died with it */
    int64_t score_after_ns; /* transient: after a failed score nobody is asked before */
};

struct group {
    struct group *previous,
        *next; /* of the list of its state; open groups stand in order of birth */
    uint64_t group_id, prompt_id, draw, min_version;
    uint32_t retry;
    enum group_state state;
    bool committed; /* leased at least once: `level` holds */
    uint64_t level; /* no token of it is of older weights */
    uint64_t planned_version;
    uint32_t size;             /* G */
    uint32_t scored;           /* samples */
    uint32_t queued, unscored; /* samples that wait for an actor, for a score */
    struct sample samples[];   /* [size] */
};

struct group_list {
    struct group *first, *last;
    uint64_t count;
};

struct stored_plan {
    struct plan plan; /* arrays owned */
    uint32_t *cuts;
    uint64_t *group_ids;
    char *settings_json;
};

struct stored_version {
    uint64_t version, digest;
};

struct returned_prompt {
    uint64_t prompt_id, draw;
    uint32_t retry;
};

/* transient, all of it */
struct peer {
    uint32_t id;
    enum role role;
    uint32_t index, pid;
    uint64_t incarnation, version;
    char host[BOOK_HOST_MAX];
    int64_t heard_ns, hello_ns;
    bool connected; /* false: its connection is dead since disconnected_ns */
    int64_t disconnected_ns;
    bool draining;       /* it alone was asked to hand back and go */
    bool leaving;        /* refused: gone at the next tick */
    uint32_t poison_row; /* frames in a row that held poison */
    uint32_t vocabulary;
    uint64_t layout_hash, numerics_id;
    char *numerics;
    struct holder *holder; /* actors */
    bool asked;            /* lease_request came */
    uint32_t slots;
    uint64_t tokens;
    uint32_t credit;  /* reward workers: items it takes now */
    uint32_t caps;    /* enum score_cap */
    uint32_t scoring; /* items it has */
    bool wants_plan;  /* learner */
    uint64_t wanted_version;
    int64_t wanted_ns;
    bool noticed;
    uint64_t notice_hash;
    struct buffer stats, waits;
};

/* transient: wants a place that a living process holds; it repeats its hello until the place is free or 2 x lease_ms
 * are over */
struct newcomer {
    uint32_t id;
    enum role role;
    uint32_t index, pid;
    uint64_t incarnation;
    char host[BOOK_HOST_MAX];
    int64_t first_ns, heard_ns;
};

struct recent {
    struct group *group;
    uint32_t sample;
};

struct book {
    struct book_config config;
    /* Attention time: advances with the clock, but at most BOOK_ATTENTION_MS from one call to the next, so that time in
     * which the store did not run counts as nobody's silence. All *_ns below are in it. */
    int64_t now_ns;
    int64_t clock_ns; /* the clock at the last call; 0: no call yet */

    struct group_list lists[GROUP_STATE_COUNT];
    struct book_map groups; /* group_id -> struct group */
    struct book_map leases; /* lease_id -> struct sample */
    struct holder **holders;
    size_t holder_count, holder_capacity;
    uint64_t committed;  /* open groups that were leased at least once */
    uint64_t queued;     /* samples of open groups */
    uint64_t finished;   /* samples of open groups that wait for a score */
    uint64_t unassigned; /* of them, those that no reward worker has */
    bool charge_due;     /* transient: somebody scored max_deaths workers to death */

    bool run_known;
    struct curriculum *curriculum;
    char empty[256]; /* transient: why no prompt is drawn now; "" nothing */
    uint64_t next_group_id, next_lease_id, next_draw;
    struct returned_prompt *returned;
    size_t returned_count, returned_capacity;
    struct stored_version *versions; /* of the branch, ascending without gaps */
    size_t version_count, version_capacity;
    struct stored_version dead[BOOK_DEAD_MAX]; /* ring of dead_count: of branches that were left */
    size_t dead_count;
    struct stages stages;
    struct stored_plan *plans; /* after the newest checkpoint, ascending */
    size_t plan_count, plan_capacity;
    uint32_t zero_variance;      /* groups since the last plan */
    double zero_variance_reward; /* sum over their rollouts */
    enum drop_reason last_drop;
    char *weights_path;
    bool stopped, stop_failed;
    char *stop_reason;
    struct book_counters counters;

    struct peer **peers; /* transient [peer_limit], by id, NULL free */
    uint32_t peer_limit;
    bool settled;  /* transient: book_settle looked at what was replayed */
    bool draining; /* transient */
    char *drain_reason;
    struct newcomer *newcomers; /* transient [newcomer_count] */
    size_t newcomer_count, newcomer_capacity;
    uint64_t layout_hash, numerics_id; /* transient: of the first learner */
    uint32_t vocabulary;               /* likewise; 0: not said */
    char *numerics;
    uint64_t refused[REFUSAL_COUNT];      /* transient: what the book refused, by kind */
    uint64_t wire_refused[REFUSAL_COUNT]; /* transient: what the hub refused before it came here */
    struct book_refusal refusals[BOOK_REFUSALS_MAX]; /* ring for book_take_refusals */
    size_t refusal_first, refusal_count;
    struct group *graveyard; /* dropped and consumed groups, freed once nobody can look at them */
    uint32_t graveyard_count;
    struct recent recent[BOOK_RECENT_MAX]; /* ring of scored rollouts for book_take_rollouts */
    size_t recent_first, recent_count;
    int64_t queued_since_ns, finished_since_ns; /* transient, for `why` */
    char hold[256];                             /* transient: see book_hold_for; "" nothing */
    int64_t hold_ns;
    struct buffer report;    /* JSON of a control reply */
    struct buffer restoring; /* parts of a snapshot that is being read */
};

/* ---- book.c ---- */
MUST_CHECK enum status book_emit(struct book *book, struct book_out *out, struct record *record);
MUST_CHECK enum status book_send(struct book_out *out, uint32_t peer,
                                 const struct message *message);
MUST_CHECK enum status book_reserve(void **items, size_t *capacity, size_t count,
                                    size_t item_bytes);
/* An actor's incarnation; NULL: not known. book_hold makes it. */
struct holder *book_holder(const struct book *book, uint32_t index, uint64_t incarnation);
MUST_CHECK enum status book_hold(struct book *book, uint32_t index, uint64_t incarnation,
                                 struct holder **holder);
uint64_t book_version(const struct book *book); /* newest registered, 0 without one */
uint64_t book_alive(const struct book *book);   /* open + eligible + planned ahead */
const struct stored_version *book_find_version(const struct book *book, uint64_t version);
const struct stored_plan *book_find_plan(const struct book *book, uint64_t version);
uint64_t book_oldest_token(const struct group *group); /* UINT64_MAX: no token yet */
uint64_t book_lease_tokens(const struct book *book, const struct group *group);
MUST_CHECK enum status book_stop(struct book *book, struct book_out *out, const char *reason,
                                 bool failed);
MUST_CHECK enum status book_drop(struct book *book, struct book_out *out, struct group *group,
                                 enum drop_reason reason);

/* ---- book_apply.c ---- */
void book_list_append(struct group_list *list, struct group *group);
void book_free_group(struct book *book, struct group *group);
void book_free_plan(struct stored_plan *plan);
void book_bury_all(struct book *book); /* frees the graveyard */

/* ---- book_hello.c ---- */
void book_advance(struct book *book, int64_t now_ns); /* the clock says now_ns */
static inline int64_t book_lease_ns(const struct book *book)
{
    return (int64_t)book->config.store.lease_ms * CLOCK_NS_PER_MS;
}
/* Its connection lives and it spoke within lease_ms. */
static inline bool book_alive_peer(const struct book *book, const struct peer *peer)
{
    return peer->connected && !peer->leaving &&
           book->now_ns - peer->heard_ns <= book_lease_ns(book);
}

/* ---- book_refuse.c ---- */
/* Counts a refusal and remembers it for book_take_refusals. */
void book_note_refusal(struct book *book, enum refusal kind, const struct peer *peer,
                       const struct book_refusal *about);
/* What honest processes also say after a restart or a lost lease. */
bool book_refusal_is_benign(enum refusal kind);
/* After each frame of a peer: poison in it, or something sound. The eighth frame of poison in a row refuses the peer. */
MUST_CHECK enum status book_count_poison(struct book *book, struct peer *peer, enum refusal poison,
                                         bool sound, struct book_out *out);

/* ---- book_hello.c ---- */
void book_peer_gone(struct book *book, struct peer *peer);
/* Refuses a peer and forgets it at the next tick. */
MUST_CHECK enum status book_refuse(struct book *book, struct book_out *out, struct peer *peer,
                                   const char *reason);
void book_reap(struct book *book); /* frees refused peers and newcomers that fell silent */
void book_newcomer_gone(struct book *book, uint32_t id);
struct peer *book_peer(const struct book *book, uint32_t id); /* NULL: not known */
MUST_CHECK enum status book_hello(struct book *book, uint32_t id, const struct hello *hello,
                                  struct book_out *out);

/* ---- book_peer.c ---- */
/* `unheard_only`: leases that gave no segment yet. `deaths`: a lease without a new token counts one. */
MUST_CHECK enum status book_expire_holder(struct book *book, struct book_out *out,
                                          struct holder *holder, bool unheard_only, bool deaths);
MUST_CHECK enum status book_expire_silent(struct book *book, struct book_out *out);
MUST_CHECK enum status book_tell_peers(struct book *book, struct book_out *out);
MUST_CHECK enum status book_send_notice(struct book *book, struct book_out *out, struct peer *peer);
/* Between the learner and an actor it names; to one who is not there it is forgotten. */
MUST_CHECK enum status book_hand_on(struct book *book, const struct peer *from,
                                    const struct weight_control *control, struct book_out *out);

/* ---- book_filter.c ---- */
/* What dynamic sampling and the curriculum look at: store.filter_on of a score. NOT_FOUND: it has no such sub-metric. */
MUST_CHECK enum status book_filter_value(const struct book *book, double value,
                                         const char *detail_json, double *filter);
bool book_filter_equal(const struct book *book, const struct group *group);
uint32_t book_passed(const struct book *book, const struct group *group);

/* ---- book_lease.c ---- */
MUST_CHECK enum status book_segment_frame(struct book *book, struct peer *peer,
                                          const struct segment_frame *frame, struct book_out *out);
MUST_CHECK enum status book_say_cancels(struct book *book, struct peer *peer, struct book_out *out);
MUST_CHECK enum status book_bear(struct book *book, struct book_out *out);
MUST_CHECK enum status book_lease_out(struct book *book, struct book_out *out);

/* ---- book_score.c ---- */
/* After a restart: closes or drops what the records say is complete or spent, when the ledger was torn in between. */
MUST_CHECK enum status book_settle(struct book *book, struct book_out *out);
MUST_CHECK enum status book_score_result(struct book *book, struct peer *peer,
                                         const struct score_result *result, struct book_out *out);
MUST_CHECK enum status book_score_out(struct book *book, struct book_out *out);
void book_scorer_lost(struct book *book, struct peer *peer, bool charged);

/* ---- book_control.c ---- */
MUST_CHECK enum status book_control(struct book *book, struct peer *peer,
                                    const struct control *control, struct book_out *out);

/* ---- book_stage.c ---- */
/* The facts of the plan for the next version, in the arena of the round. */
MUST_CHECK enum status book_stage_facts(const struct book *book, struct book_out *out,
                                        const uint64_t *group_ids, uint32_t group_count,
                                        struct stage_facts **facts);

/* ---- book_plan.c ---- */
MUST_CHECK enum status book_plan_request(struct book *book, struct peer *peer,
                                         const struct plan_request *request, struct book_out *out);
MUST_CHECK enum status book_plan_out(struct book *book, struct book_out *out);
MUST_CHECK enum status book_group_request(struct book *book, struct peer *peer, uint64_t group_id,
                                          struct book_out *out);
MUST_CHECK enum status book_register(struct book *book, struct peer *peer,
                                     const struct version_register *said, struct book_out *out);
MUST_CHECK enum status book_checkpoint(struct book *book, struct peer *peer,
                                       const struct checkpoint_report *said, struct book_out *out);
MUST_CHECK enum status book_drop_over_age(struct book *book, struct book_out *out);
uint64_t book_held_by(
    const struct book *book); /* open groups too old for the next plan to be made without them */

#endif
