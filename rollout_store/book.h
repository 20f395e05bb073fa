/* rollout_store/book.h - the store's mind: a pure state machine over records.
 *
 * Nothing here does I/O, reads a clock or sleeps. Messages and time come in; records and outgoing
 * messages come out. The rule that makes it crash-safe: a decision is a *record*; book_apply changes
 * state from a record and nothing else does, so replaying the ledger rebuilds the state. The driver
 * (server.c) appends the records of a round to the ledger, syncs once, and only then sends.
 *
 *   prompt -> group (born, G samples queued) -> leased -> streaming(position) -> finished(reason)
 *          -> scored(status, value) -> closed (eligible) -> planned(version) -> consumed
 *                                   \-> dropped(reason), replaced by another prompt
 *
 * Rules (DESIGN.md part 4), w = newest registered version, P = groups_per_publish, s = max_staleness:
 *   birth      of the prompt that rollout_store/curriculum.h draws.
 *              While alive = open + eligible + planned with version > w is below (s + 1) P, and the run still needs
 *              groups ((steps - w) P): the next prompt becomes a group with min_version = max(0, w + alive / P - s).
 *   level      fixed at a group's first lease: max(min_version, w - s + committed alive groups / P); no token of it is of
 *              older weights. Together with `plan` below this keeps the staleness bound.
 *   lease      only to an actor with weights >= level of the group (others get it with min_version set and
 *              wait). All samples of a group together where they fit. Tokens so far travel with it.
 *   place      a role and an index. Another incarnation takes it from one whose connection is dead or that was silent
 *              for lease_ms; until then it gets no answer, and after 2 x lease_ms a refusal that names the holder.
 *   expiry     an actor incarnation silent for lease_ms, or whose place another one took, loses its leases; the samples
 *              are queued again with their tokens; attempt + 1; a lease without any new token counts a death,
 *              max_deaths of them (since the last token) drop the group. A drained actor's abort counts none. Silence is
 *              counted in attention time: at most 100 ms from one call to the next, so that a store that was stopped
 *              blames nobody.
 *   segment    must continue exactly at the sample's position under its current lease, with a known (version, digest)
 *              and the group's numerics policy; a repeat of acknowledged tokens is acknowledged again and ignored; a
 *              segment of a lost lease is ignored and the lease is named in frame_ack.cancelled. Poison is counted by
 *              kind (proto/refusal.h), its lease ends with a failure, max_attempts failures drop the group; the eighth
 *              frame of poison in a row refuses its sender.
 *   score      finished samples go to reward workers with credit; TIMEOUT and ERROR are tried again, max_attempts in
 *              all, then the group is dropped (scoring failed); SKIP and UNSCORABLE drop at once. Workers that die with
 *              an item count deaths: max_deaths of them are one ERROR.
 *   drain      of one process: it alone is told so, gets nothing new, hands back and says bye.
 *   close      all G finished and scored. dynamic_sampling, and what store.filter_on looks at (the reward without it) is
 *              equal: dropped (zero variance). Either way the curriculum learns how many passed. Any drop counts
 *              towards max_consecutive_dropped, a close as eligible resets it; reaching it stops the run with a sentence.
 *   plan       for version w+1 of a learner at version w: needs P eligible groups, and with over_age = hold no open
 *              group that it must not leave behind: one whose oldest token is older than w + 1 - s, or one of more than
 *              (k + 1) P with tokens <= w + 1 - s + k, which k + 1 later plans could not all take. Takes by (oldest version, group id), for s = 0 by group
 *              id alone. Immutable; cuts as even as updates_per_publish allows. `mask` and `drop` treat over-age tokens.
 *   stage      a sample's budget is the cap of the length stage in force at its lease (rollout_store/stages.h); a plan's
 *              record has the numbers of its rollouts and says which stage follows.
 *   register   (branch, version, parent, digest) before the learner's first broadcast byte. A re-made version must have
 *              the recorded digest; otherwise branch + 1, later versions and plans of the old branch are void, and
 *              groups with their tokens are dropped (dead branch).
 *   checkpoint versions up to it are consumed: their groups leave memory.
 *   end        after version `steps` is registered and its checkpoint reported: stopping = true.
 *
 * Invariants (CHECKed in debug, asserted by tests after every event): a group is planned at most once per branch;
 * a live lease has one holder; tokens of a sample are contiguous; staleness bound; memory bounded by alive groups.
 */
#ifndef ROLLOUT_STORE_BOOK_H
#define ROLLOUT_STORE_BOOK_H

#include "core/buffer.h"
#include "core/settings.h"
#include "proto/messages.h"
#include "proto/refusal.h"
#include "rollout_store/curriculum.h"
#include "rollout_store/prompts.h"
#include "rollout_store/record.h"

struct book;

struct book_config {
    struct store_settings store;
    struct sampling_settings sampling;
    struct stages_settings stages;
    struct curriculum_settings curriculum;
    uint64_t run_seed;
    uint64_t steps;
    uint32_t updates_per_publish;
    bool shuffle;
    const struct prompts *prompts; /* borrowed */
    const char *run;
    const char *settings_json;      /* goes into plans; borrowed */
    int64_t wall_offset_ns;         /* wall clock minus the clock of now_ns, for what people read */
    double reward_low, reward_high; /* of a score; equal: any */
};

MUST_CHECK enum status book_create(struct book **book, const struct book_config *config);
void book_destroy(struct book **book);

/* What a round produced: any number of book_handle and then book_tick. Messages refer to memory of `arena` and of
 * the prompts, valid until book_out_clear. */
struct book_out {
    struct buffer records; /* framed by record_pack, to be appended to the ledger */
    struct arena *arena;
    struct book_send {
        uint32_t peer;
        struct message message;
    } * sends;
    size_t send_count, send_capacity;
};

void book_out_init(struct book_out *out,
                   struct arena *arena); /* arena: borrowed, reset by book_out_clear */
void book_out_clear(struct book_out *out);
void book_out_free(struct book_out *out);

/* Rebuilds state from one ledger record. CORRUPT when it contradicts what came before (text says how). */
MUST_CHECK enum status book_apply(struct book *book, const struct record *record);
/* After replay: nobody is connected; leases stay valid for lease_ms from now_ns. */
void book_restarted(struct book *book, int64_t now_ns);

/* A message of a peer (peer: the hub's id; role, index, incarnation as said at its hello). */
MUST_CHECK enum status book_handle(struct book *book, int64_t now_ns, uint32_t peer,
                                   const struct message *message, struct book_out *out);
/* The connection of a peer was lost, or is back. A hello means that too; other words may be the last ones of a dead one. */
bool book_connection(struct book *book, int64_t now_ns, uint32_t peer, bool connected); /* news? */
/* Time passed: expiry, births, leases, scores to hand out, a plan that became possible. Call after each round and at
 * least every heartbeat. */
MUST_CHECK enum status book_tick(struct book *book, int64_t now_ns, struct book_out *out);

/* Operators. */
void book_drain(struct book *book,
                const char *reason); /* no new births and leases; actors hand back */
bool book_stopping(const struct book *book, const char **reason, bool *failed);
MUST_CHECK enum status book_status_json(const struct book *book, int64_t now_ns,
                                        struct buffer *json);
MUST_CHECK enum status book_counters_json(const struct book *book,
                                          struct buffer *json); /* one flat object */
MUST_CHECK enum status book_why_json(const struct book *book, int64_t now_ns, struct buffer *json);

/* For `why`: what the driver itself waits for before it can go on ("the disk is full: ..."), since when; NULL: nothing. */
void book_hold_for(struct book *book, int64_t now_ns, const char *what);

/* Finished and scored rollouts, newest last, for tail, Redis and the index: the driver takes them after a round. */
struct book_rollout {
    uint64_t group_id, prompt_id, version_min, version_max;
    uint32_t sample, attempt, count;
    const uint32_t *ids; /* valid until the next book call, like detail_json */
    enum segment_status finish;
    enum score_status score_status;
    double reward;
    const char *detail_json;
    uint64_t scorer; /* hash of the plugin that gave the score; 0: not known */
};
size_t book_take_rollouts(struct book *book, struct book_rollout *out, size_t max);

/* What was refused (proto/refusal.h), oldest first, for quarantine.jsonl: the driver takes them after a round. */
struct book_refusal {
    enum refusal kind;
    enum role role; /* of the sender */
    uint32_t index;
    uint64_t incarnation;
    uint64_t group_id, lease_id; /* as it said; lease 0 of a score */
    uint32_t sample, attempt, first_position, count;
    uint64_t version, digest;
    double value; /* of a score or of the logprob that is wrong */
};
size_t book_take_refusals(struct book *book, struct book_refusal *out, size_t max);
/* What the hub refused before it reached the book, for the counters of status. */
void book_wire_refused(struct book *book, const uint64_t counts[REFUSAL_COUNT]);
uint64_t book_refused(const struct book *book, enum refusal kind); /* by hub and book */

/* The judge of the sources that match was recalibrated: what it said of groups that no plan has yet is void, and they
 * are scored again. */
struct book_voided {
    uint64_t groups, rollouts;
};
MUST_CHECK enum status book_rescore(struct book *book, const char *glob, struct book_out *out,
                                    struct book_voided *voided);

/* Data sources that match are not drawn until they are resumed; *count of them changed. rescore resumes, too. */
MUST_CHECK enum status book_pause(struct book *book, const char *glob, bool paused,
                                  struct book_out *out, uint32_t *count);
const struct curriculum *book_curriculum(const struct book *book);

/* The length stage in force and what the newest plan said of it, for logs and metrics. */
struct book_stage {
    uint32_t stage, count, cap;   /* of `count` stages; tokens */
    uint64_t version;             /* of the newest plan, 0 before it */
    struct stage_verdict verdict; /* of the newest plan; all 0 before it */
};
void book_read_stage(const struct book *book, struct book_stage *stage);
MUST_CHECK enum status book_stage_json(const struct book *book,
                                       struct buffer *json); /* an object */

struct book_counters { /* for metrics and tests */
    uint64_t groups_born, groups_eligible, groups_planned, groups_consumed, groups_open;
    uint64_t dropped[DROP_REASON_COUNT];
    uint64_t rollouts_finished, rollouts_scored, tokens, tokens_repeated_refused,
        tokens_regenerated;
    uint64_t leases_issued, leases_expired, leases_continued, segments_refused, scores_refused,
        scores_retried;
    uint64_t version, planned_version, checkpoint_version;
    uint32_t branch, consecutive_dropped;
    uint64_t staleness_max;
    double staleness_mean; /* of the last plan */
};
void book_read_counters(const struct book *book, struct book_counters *counters);
struct book_load { /* of this moment, for metrics */
    uint64_t samples_queued, samples_unscored, leases_live;
};
void book_read_load(const struct book *book, struct book_load *load);
const char *book_drop_reason(enum drop_reason reason); /* "zero_variance" */

#endif
