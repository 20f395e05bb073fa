/* ops/simulate/sim.h - a fleet in one thread: virtual clock, network, disk and processes around the real cores.
 *
 * What is real: rollout_store/book, proto/codec, rollout_store/record, transport/{hub,link}_core, actor/desk,
 * learner/errand, reward/desk. What is played: time, connections, the store's disk, the model (tokens are a pure
 * function), the plugin, the trainer, the weight channel, and everything that may go wrong. One seed is one run; the
 * same seed and options give the same events, bit for bit. docs/simulate.md.
 *
 * Private to ops/simulate and its tests. One thread. */
#ifndef OPS_SIMULATE_SIM_H
#define OPS_SIMULATE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "actor/desk.h"
#include "core/arena.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/rng.h"
#include "core/settings.h"
#include "learner/errand.h"
#include "reward/desk.h"
#include "rollout_store/book.h"
#include "rollout_store/book_map.h"
#include "transport/hub_core.h"
#include "transport/link_core.h"

/* ---- what may go wrong ---- */

// clang-format off
#define SIM_FAULT_ROWS(ROW)                                                                              \
    ROW(KILL,      kill,      "actors, reward workers and the learner are killed and started again")     \
    ROW(STORE,     store,     "the store is killed at every step of a round and started again")          \
    ROW(STOP,      stop,      "processes stop for a while (SIGSTOP) and go on")                          \
    ROW(CUT,       cut,       "connections are cut; what was on the way is lost or comes")               \
    ROW(PARTITION, partition, "processes are cut off from the store for a while, in one or both ways")   \
    ROW(LOSS,      loss,      "single messages are lost, and their connection with them")                \
    ROW(DUPLICATE, duplicate, "messages come twice")                                                     \
    ROW(WIRE,      wire,      "single bits of messages flip")                                            \
    ROW(DISK,      disk,      "syncs are slow, the disk is full for a while, unsynced tails are torn")   \
    ROW(SKEW,      skew,      "clocks differ and run at other speeds")                                   \
    ROW(WEIGHTS,   weights,   "copies of weights are late or damaged")                                   \
    ROW(POISON,    poison,    "actors send tokens that must be refused")                                 \
    ROW(SCORE,     score,     "the plugin fails, hangs or skips")                                        \
    ROW(BRANCH,    branch,    "a re-made version differs")                                               \
    ROW(CHURN,     churn,     "actors leave and join")                                                   \
    ROW(TWIN,      twin,      "a second process claims the place of one that lives")                     \
    ROW(RESCORE,   rescore,   "a judge is recalibrated: what no plan has yet is scored again")
// clang-format on

enum sim_fault {
#define ROW(upper, lower, text) SIM_##upper,
    SIM_FAULT_ROWS(ROW)
#undef ROW
        SIM_FAULT_COUNT
};
#define SIM_ALL_FAULTS ((UINT32_C(1) << SIM_FAULT_COUNT) - 1)

/* Hidden option of tests: a mistake in the driver that the checker must find. */
enum sim_plant { PLANT_NONE, PLANT_ACK_BEFORE_COMMIT, PLANT_LEASE_TWICE, PLANT_STALENESS };

/* ---- one run ---- */

enum { SIM_SOURCES = 3 }; /* a, b, c: prompt i is of the i-th modulo 3 */

/* The last lines of a trace. */
enum { SIM_TAIL_LINES = 40, SIM_TAIL_BYTES = 160 };
struct sim_tail {
    char lines[SIM_TAIL_LINES][SIM_TAIL_BYTES];
    uint64_t count;
};

struct sim_setup {
    uint64_t seed;
    uint32_t faults; /* bits 1 << enum sim_fault */
    enum sim_plant plant;
    bool check;            /* the checker looks at everything; off in forecasts */
    bool trace;            /* lines on stdout */
    bool progress;         /* now and then a line on stderr */
    struct sim_tail *tail; /* or the last ones here; NULL: none */
    struct settings settings;
    uint32_t actors, workers, ranks;
    uint32_t prompts, vocabulary;
    uint32_t response_mean; /* tokens; lengths are spread around it up to response_tokens_max */
    uint32_t equal_rewards; /* one group in so many has equal rewards; 0: none */
    bool shaped;     /* rewards lose something for their sample; the detail has the accuracy */
    int64_t turn_ns; /* of an actor: one decode step of `turn_tokens` a slot */
    uint32_t turn_tokens;
    double
        slot_tokens_per_s; /* > 0: an actor's rate, shared by its slots; else turn_tokens a turn */
    int64_t score_ns;      /* of one rollout, mean */
    uint32_t score_lanes;  /* rollouts that a worker scores at the same time */
    int64_t train_ns;      /* of a plan besides its tokens */
    double train_tokens_per_s;
    int64_t checkpoint_ns, start_ns; /* of writing one; of starting a process */
    int64_t delay_ns;                /* of a message, mean */
    int64_t sync_ns;
    int64_t fault_ns;                /* mean time between two faults */
    int64_t mtbf_ns;                 /* forecasts: of one process; 0: nobody dies */
    int64_t faults_end_ns, bound_ns; /* no new faults; the run must be over */
    int64_t stop_ns;                 /* forecasts: the clock stops here; 0: at the end of the run */
    int64_t warm_ns;                 /* forecasts: figures begin here */
};

struct sim_figures { /* of the measured time */
    double seconds, tokens_trained, tokens_made, tokens_again, versions;
    double staleness_mean, staleness_max, actor_idle, learner_idle, worker_busy;
    uint64_t kills;
};

struct sim_result {
    bool failed;
    char invariant[48];
    char text[640];
    int64_t now_ns; /* virtual */
    uint64_t events, messages, bytes, hash;
    uint64_t kills, store_kills, cuts, versions, groups, tokens, branches, dropped;
    uint64_t faults[SIM_FAULT_COUNT];
    struct sim_figures figures;
};

/* A seed's fleet, settings and troubles; `faults` may only take some away. */
void sim_draw(struct sim_setup *setup, uint64_t seed, uint32_t faults);
/* Failures of the simulator itself (memory) are a status; failed invariants are in the result. */
MUST_CHECK enum status sim_run(const struct sim_setup *setup, struct sim_result *result);
/* "kill,store" -> bits. "all", "none". INVALID names the part. */
MUST_CHECK enum status sim_faults_parse(const char *text, uint32_t *faults);
const char *sim_fault_name(enum sim_fault fault);

/* ---- events ---- */

enum event_kind {
    EVENT_WAKE,
    EVENT_DELIVER,
    EVENT_CONNECT,
    EVENT_CLOSE,
    EVENT_FAULT,
    EVENT_ACTION
};
struct event {
    int64_t at_ns;
    uint64_t order; /* of two at the same time the older goes first */
    enum event_kind kind;
    uint32_t target; /* process; connection for DELIVER and CLOSE */
    uint64_t value;  /* WAKE: serial; DELIVER, CLOSE: side; CONNECT: boot; ACTION: enum action */
    uint64_t extra;
    uint8_t *bytes; /* DELIVER: owned */
    uint32_t size;
};
struct event_heap {
    struct event *events;
    size_t count, capacity;
    uint64_t order;
};
MUST_CHECK enum status event_push(struct event_heap *heap, struct event event);
bool event_pop(struct event_heap *heap, struct event *event);
void event_heap_free(struct event_heap *heap);

/* ---- connections ---- */

enum side { SIDE_CLIENT, SIDE_SERVER }; /* where a message arrives, whose end closes */
struct conn {
    uint32_t proc;
    uint64_t boot; /* of the process at its client end */
    char identity[64];
    bool open[2];
    bool lossy[2];      /* the rest of what goes there is lost */
    bool closed_seen;   /* by the store */
    int64_t arrival[2]; /* of the last message on its way */
    uint32_t flying[2];
};

struct mail { /* arrived, not read */
    uint8_t *bytes;
    uint32_t size;
    uint32_t conn;
    bool closed; /* no message: the server's end of the connection closed */
};
struct inbox {
    struct mail *mail;
    size_t first, count, capacity; /* ring */
};
MUST_CHECK enum status inbox_push(struct inbox *inbox, struct mail mail);
MUST_CHECK enum status inbox_push_front(struct inbox *inbox, struct mail mail);
bool inbox_pop(struct inbox *inbox, struct mail *mail);
void inbox_clear(struct inbox *inbox);
void inbox_free(struct inbox *inbox);

/* ---- processes ---- */

struct world;

struct weights { /* identity of a set of weights */
    uint64_t version, digest;
    uint32_t branch;
};

struct actor_state {
    struct desk desk;
    struct actor_metrics metrics;
    uint64_t seen; /* publications looked at */
    int64_t retry_ns;
    int64_t work_ns; /* decode time not yet turned into tokens */
    int64_t turned_ns;
    bool leaving, left;
    int64_t leave_ns;
};

enum { WORKER_JOBS_MAX = 4096 };
struct worker_job {
    struct score score;
    int64_t ready_ns;
};
struct worker_state {
    struct reward_desk desk;
    struct worker_job *jobs; /* [job_capacity] in order of arrival */
    size_t job_count, job_capacity;
    int64_t *lanes; /* [score_lanes] busy until */
};

enum learner_phase {
    LEARNER_REGISTER_START,
    LEARNER_NOTICE_START,
    LEARNER_REPORT_START,
    LEARNER_PLAN,
    LEARNER_GROUPS,
    LEARNER_TRAIN,
    LEARNER_REGISTER,
    LEARNER_NOTICE,
    LEARNER_SAVE,
    LEARNER_REPORT,
    LEARNER_DONE
};
struct checkpoint { /* of the learner's disk */
    uint64_t version, digest;
    uint32_t branch, node;
};
struct learner_state {
    enum learner_phase phase;
    struct errand errand;
    struct arena *arena; /* of the plan in hand */
    struct plan plan;
    struct group_data *groups;
    uint64_t version, digest, request;
    uint32_t branch, node; /* of the checker's weights */
    uint64_t made_digest;
    uint32_t made_node;
    uint64_t checkpoint_version, checkpoint_digest;
    bool resumed, differs, stopping, draining;
    int64_t busy_until_ns;
    char path[32];
};

struct proc {
    struct world *world;
    uint32_t id; /* in world.procs; 0 is the store */
    enum role role;
    uint32_t index;
    bool up, stopped, gone; /* gone: left on purpose, nobody starts it again */
    bool twin;              /* claims a place that another has; nobody starts it again */
    uint64_t boot, incarnation;
    int64_t clock_offset_ns;
    double clock_rate;
    uint64_t wake_serial;
    int64_t wake_ns; /* of the newest wake; INT64_MAX none */
    struct link_core *link;
    uint32_t conn; /* UINT32_MAX none */
    struct inbox inbox;
    int64_t partition_ns[2]; /* messages to this side are held up until then */
    int64_t busy_ns;         /* figures: time with work */
    int64_t counted_ns;
    union {
        struct actor_state actor;
        struct worker_state worker;
        struct learner_state learner;
    };
};

/* ---- the store ---- */

struct disk {
    struct buffer bytes;
    size_t synced;
    struct buffer snapshot; /* of the book, as records; empty: none */
    size_t snapshot_at;     /* bytes of the ledger before it */
};
/* What a crash leaves: the synced part, a part of the rest, perhaps with flipped bits. */
MUST_CHECK enum status disk_crash(struct disk *disk, struct rng *rng, bool damage);

enum store_step { STORE_IDLE, STORE_SYNCING, STORE_FULL };
enum store_crash { CRASH_NONE, CRASH_BEFORE_APPEND, CRASH_APPENDED, CRASH_SYNCED, CRASH_SENDING };
struct store {
    struct book *book;
    struct book_config book_config;
    struct hub_core *hub;
    struct arena *in_arena, *out_arena;
    struct book_out out;
    struct disk disk;
    enum store_step step;
    enum store_crash crash; /* armed for the next round that gets there */
    struct book_map conns;  /* hash of identity -> struct conn, the current one */
    struct kept_send {
        uint32_t peer;
        struct buffer bytes;
    } * kept;
    size_t kept_count, kept_capacity;
    bool busy, over;
    int64_t full_until_ns;
    bool rescore; /* an operator asks for it in the next round */
    int64_t over_ns;
};

/* ---- the world ---- */

struct publication { /* of the weight channel */
    struct weights weights;
    int64_t at_ns;
};

struct audit;

struct world {
    const struct sim_setup *setup;
    struct sim_result *result;
    int64_t now_ns;
    struct event_heap heap;
    struct rng rng, fault_rng;
    struct prompts *prompts;
    struct arena *arena; /* of the message a process reads */
    struct proc *procs;
    uint32_t proc_count;
    struct store store;
    struct conn *conns;
    uint32_t conn_count, conn_capacity;
    struct publication *publications;
    size_t publication_count, publication_capacity;
    struct checkpoint checkpoints[4]; /* newest last */
    uint32_t checkpoint_count;
    struct audit *audit; /* NULL: no checker */
    uint64_t salt;       /* of a learner that re-makes a version differently */
    int64_t said_ns;     /* real time of the last line of progress */
    bool over;
    struct sim_figures base; /* forecasts: at warm_ns */
    double trained, staleness_sum, staleness_max, staleness_count;
    uint64_t trained_version;
};

#define SIM_MS INT64_C(1000000)
#define SIM_S  INT64_C(1000000000)

/* Ends the run as failed; the first one counts. */
void sim_violation(struct world *world, const char *invariant, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void sim_trace(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool sim_has(const struct world *world, enum sim_fault fault);
bool sim_quiet(const struct world *world); /* faults are over */
bool sim_chance(struct rng *rng, double probability);
int64_t sim_spread(struct rng *rng, int64_t mean_ns); /* exponential, at most 8 means */
MUST_CHECK enum status sim_reserve(void **items, size_t *capacity, size_t count, size_t bytes);

/* truth.c: what a correct fleet computes, as pure functions */
uint32_t truth_token(const struct world *world, uint64_t group, uint32_t sample, uint32_t position,
                     uint64_t version, uint64_t digest);
float truth_logprob(uint64_t group, uint32_t sample, uint32_t position, uint64_t digest);
uint32_t truth_length(const struct sim_setup *setup, uint64_t group, uint32_t sample);
double truth_reward(const struct sim_setup *setup, uint64_t group, uint32_t sample);
double truth_accuracy(const struct sim_setup *setup, uint64_t group, uint32_t sample);
uint64_t truth_start_digest(const struct sim_setup *setup);
uint64_t truth_digest(uint64_t parent, uint64_t version, const struct plan *plan,
                      const struct group_data *groups, uint64_t salt);

/* network.c */
MUST_CHECK enum status net_send(struct world *world, uint32_t conn, enum side to, const void *bytes,
                                size_t size);
MUST_CHECK enum status net_connect_later(struct world *world, struct proc *proc, int64_t delay_ns);
MUST_CHECK enum status net_connect(struct world *world, struct proc *proc, uint64_t boot);
MUST_CHECK enum status net_close_later(struct world *world, uint32_t conn, enum side side,
                                       int64_t delay_ns);
MUST_CHECK enum status net_closed(struct world *world, uint32_t conn, enum side side);
MUST_CHECK enum status net_deliver(struct world *world, struct event *event);
/* Both ends see it after up to max_ns; what is on the way to `lossy` sides is lost. */
MUST_CHECK enum status net_break(struct world *world, uint32_t conn, int64_t max_ns, bool lossy);

/* proc.c */
int64_t proc_clock(const struct world *world, const struct proc *proc);
int64_t proc_when(const struct world *world, const struct proc *proc, int64_t clock_ns);
MUST_CHECK enum status proc_wake(struct world *world, struct proc *proc, int64_t at_ns);
MUST_CHECK enum status proc_boot(struct world *world, struct proc *proc);
MUST_CHECK enum status proc_kill(struct world *world, struct proc *proc, int64_t back_ns);
MUST_CHECK enum status proc_leave(struct world *world, struct proc *proc, const char *reason);
MUST_CHECK enum status proc_turn(struct world *world, struct proc *proc);
void proc_free(struct proc *proc);
/* Of the cores, self is the process: into its link. */
MUST_CHECK enum status proc_send(void *self, const struct message *message);

/* actor.c, worker.c, learner.c: begin and end with a boot; take is one message, turn follows all of them */
MUST_CHECK enum status sim_actor_begin(struct world *world, struct proc *proc);
MUST_CHECK enum status sim_actor_take(struct world *world, struct proc *proc,
                                      const struct message *message);
MUST_CHECK enum status sim_actor_turn(struct world *world, struct proc *proc, int64_t *next_ns);
MUST_CHECK enum status sim_worker_begin(struct world *world, struct proc *proc);
MUST_CHECK enum status sim_worker_take(struct world *world, struct proc *proc,
                                       const struct message *message);
MUST_CHECK enum status sim_worker_turn(struct world *world, struct proc *proc, int64_t *next_ns);
MUST_CHECK enum status sim_learner_begin(struct world *world, struct proc *proc);
MUST_CHECK enum status sim_learner_take(struct world *world, struct proc *proc,
                                        const struct message *message);
MUST_CHECK enum status sim_learner_turn(struct world *world, struct proc *proc, int64_t *next_ns);
struct arena *sim_learner_arena(struct proc *proc);

/* store.c */
MUST_CHECK enum status sim_store_boot(struct world *world);
void sim_store_crash(struct world *world);
MUST_CHECK enum status sim_store_turn(struct world *world);
MUST_CHECK enum status sim_store_check(struct world *world);
void sim_store_free(struct store *store);

/* faults.c */
enum action { ACTION_BOOT, ACTION_CONTINUE, ACTION_SLOW_SYNC, ACTION_CALM };
MUST_CHECK enum status faults_begin(struct world *world);
MUST_CHECK enum status faults_strike(struct world *world);
MUST_CHECK enum status faults_wear(struct world *world); /* mtbf_ns: somebody dies */
MUST_CHECK enum status faults_act(struct world *world, const struct event *event);
MUST_CHECK enum status faults_kill_store(struct world *world, const char *where);
MUST_CHECK enum status faults_kill(struct world *world, struct proc *proc);

/* audit.c: the checker */
MUST_CHECK enum status audit_create(struct world *world);
/* Tokens that the sample of a durable lease may have; 0: no such lease. */
uint32_t audit_lease_cap(const struct world *world, uint64_t lease);
void audit_destroy(struct world *world);
/* Bytes of the ledger that are durable now. */
MUST_CHECK enum status audit_durable(struct world *world, const uint8_t *bytes, size_t size);
/* audit_wire.c: a message that leaves the store for a process, before it is sent */
void audit_sent(struct world *world, const struct hub_peer *peer, const struct message *message);
/* A message that a process hands to its connection. */
MUST_CHECK enum status audit_said(struct world *world, const struct proc *proc,
                                  const struct message *message);
void audit_bounds(struct world *world);
/* audit_train.c */
uint32_t audit_start_node(struct world *world, uint64_t digest);
MUST_CHECK enum status audit_trained(struct world *world, uint32_t parent, const struct plan *plan,
                                     const struct group_data *groups, uint64_t digest,
                                     uint32_t *node);
void audit_end(struct world *world);

#endif
