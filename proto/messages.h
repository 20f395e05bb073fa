/* proto/messages.h - what the processes say to each other, as plain structs.
 *
 * One struct per message; message_pack / message_unpack (proto/codec.h) turn it into wire bytes and back.
 * A struct that came out of unpack is valid by construction: lengths agree, numbers are in range,
 * logprobs are finite and <= 0, enums are known, limits hold. Arrays and texts live in the arena given
 * to unpack. The wire form is proto/weir.proto (protobuf); docs/wire.md explains the envelope.
 *
 * The only hub is the store (ROUTER); everybody else is a DEALER talking to it:
 *   any     -> store  hello, heartbeat, bye, control;     store -> any     welcome, refused, notice, control_reply
 *   actor   -> store  lease_request, segment_frame;       store -> actor   lease_grant, frame_ack
 *   reward  -> store  score_request, score_result;        store -> reward  score_work, score_ack
 *   learner -> store  plan_request, group_request, version_register, checkpoint_report, step_report
 *   store -> learner  plan, group_data, ack
 *   learner <-> actor weight_control, which the store hands on
 */
#ifndef PROTO_MESSAGES_H
#define PROTO_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum {
    WIRE_PROTOCOL = 1,         /* first field of every envelope; another number is refused */
    WIRE_TOKENS_MAX = 1 << 24, /* of one sequence: positions are 24 bits */
    WIRE_SEGMENT_TOKENS_MAX = 65536,
    WIRE_FRAME_SEGMENTS_MAX = 65536,
    WIRE_LEASES_MAX = 65536,
    WIRE_GROUPS_MAX = 1000000, /* in one plan */
    WIRE_GROUP_SIZE_MAX = 65536,
    WIRE_TEXT_MAX = 16 << 20,    /* one text field */
    WIRE_NAME_MAX = 64,          /* process and plugin names */
    WIRE_MESSAGE_MAX = 256 << 20 /* bytes of one message */
};

enum role {
    ROLE_NONE,
    ROLE_STORE,
    ROLE_ACTOR,
    ROLE_REWARD,
    ROLE_LEARNER,
    ROLE_CONTROL,
    ROLE_COUNT
};
const char *role_name(enum role role); /* "actor"; "nobody" for what is none */
enum purpose { PURPOSE_TRAIN, PURPOSE_EVAL, PURPOSE_SERVE, PURPOSE_COUNT };
enum span_source { SPAN_PROMPT, SPAN_MODEL, SPAN_ENV, SPAN_SOURCE_COUNT };
enum segment_status {
    SEGMENT_MORE,
    SEGMENT_EOS,
    SEGMENT_LENGTH,
    SEGMENT_REPETITION,
    SEGMENT_STOP,
    SEGMENT_TURN,
    SEGMENT_ABORT,
    SEGMENT_STATUS_COUNT
};
enum proof { PROOF_OWN, PROOF_ASSERTED, PROOF_NONE, PROOF_COUNT };
enum score_status {
    SCORE_OK,
    SCORE_FAIL,
    SCORE_TIMEOUT,
    SCORE_ERROR,
    SCORE_SKIP,
    SCORE_UNSCORABLE,
    SCORE_STATUS_COUNT
};
enum drop_reason {
    DROP_NONE,
    DROP_ZERO_VARIANCE,
    DROP_STALE,
    DROP_GENERATION_FAILED,
    DROP_SCORING_FAILED,
    DROP_INVALID,
    DROP_DRAINED,
    DROP_DEAD_BRANCH,
    DROP_REASON_COUNT
};

/* The reason of a bye of the store: it does not know you (it was restarted); say hello, then go on. */
#define WIRE_WANTS_HELLO "hello?"

/* ---- everybody ---- */
struct hello {
    const char *run; /* run name; another run's store refuses */
    enum role role;
    uint32_t index;       /* actor 3, reward 0, learner rank 0 */
    uint64_t incarnation; /* random, new at each process start: another one is another process */
    uint32_t pid;
    const char *host;
    uint64_t layout_hash; /* actor, learner; 0 else */
    uint64_t numerics_id; /* actor, learner; 0 else */
    const char *numerics; /* text behind numerics_id */
    uint32_t vocabulary;  /* actor, learner: token ids are below it; 0: not said */
};
struct welcome { /* answer to hello */
    uint64_t run_seed;
    uint32_t heartbeat_ms;
    uint64_t version; /* newest registered; 0 is the starting model */
    uint64_t digest;  /* of that version; 0 when none is registered yet */
    uint32_t branch;
    const char *weights_path; /* of the weight channel, "" when not yet known */
};
struct refused {
    const char *reason;
}; /* the peer prints it and exits */
struct heartbeat {
    uint64_t incarnation;
    uint64_t version;       /* weights in use */
    const char *stats_json; /* counters for `weir status`, a JSON object */
    const char *waits_json; /* wait_table_json() */
};
/* store -> everybody, on every change and as the answer to a heartbeat */
struct notice {
    uint64_t version, digest; /* newest registered */
    uint32_t branch;
    bool draining;      /* finish or hand back what you hold, then bye */
    bool stopping;      /* the run is over: exit 0 */
    const char *reason; /* of draining or stopping; "" */
    const char *weights_path;
};
struct bye {
    const char *reason;
};
struct control {
    uint64_t request;
    const char *command;
    const char *arguments_json;
}; /* status, why, tail, drain, stop, events */
struct control_reply {
    uint64_t request;
    bool ok;
    const char *json;
};
struct ack {
    uint64_t request;
    bool ok;
    const char *error;
};

/* ---- store <-> actor ---- */
struct span {
    enum span_source source;
    bool train;
    uint32_t count;
    const uint32_t *ids;
};
struct lease_request {
    uint64_t incarnation;
    uint32_t slots;   /* sequences it can hold in all; the store subtracts what it has leased */
    uint64_t tokens;  /* of its KV cache, likewise */
    uint64_t version; /* weights in use */
};
struct lease {
    uint64_t lease_id, group_id;
    uint32_t sample, attempt;
    enum purpose purpose;
    uint64_t prompt_id;   /* row of the data */
    uint64_t min_version; /* an actor with older weights waits with it */
    uint32_t budget;      /* new tokens still allowed */
    float temperature, top_p;
    uint32_t top_k;
    uint32_t repetition_run; /* carried run of p > bound */
    uint64_t
        kv_version_min; /* of the tokens so far (oldest weights); = UINT64_MAX when there are none */
    uint32_t span_count;
    const struct span
        *spans; /* prompt, then model tokens so far (and env spans): prefill them all */
};
struct lease_grant {
    uint32_t count;
    const struct lease *leases;
};
struct segment {
    uint64_t lease_id, group_id;
    uint32_t sample, attempt;
    uint32_t first_position; /* index in the response: 0 = first generated token */
    uint32_t count;          /* 0 only with a final status */
    const uint32_t *ids;
    const float *logprobs;           /* [count] full softmax at the sampling temperature, <= 0 */
    const float *logprobs_truncated; /* [count] or NULL when nothing was cut */
    uint64_t version, digest;        /* the weights that made all of it */
    uint64_t kv_version_min;         /* oldest weights in the cache that was read */
    uint32_t
        rebuilt_at; /* position where the cache was rebuilt before this segment; UINT32_MAX none */
    uint32_t repetition_run; /* after the last token */
    uint64_t numerics_id;
    enum proof proof;
    enum segment_status status;
};
struct segment_frame {
    uint64_t frame_id; /* counts up within an incarnation */
    uint64_t incarnation;
    uint32_t count;
    const struct segment *segments;
};
struct frame_ack {
    uint64_t frame_id; /* everything up to and including it is on disk */
    uint32_t cancelled_count;
    const uint64_t *cancelled; /* lease ids to stop: re-issued, dropped or over age */
};

/* ---- store <-> reward worker ---- */
enum score_cap {
    SCORE_CAP_GROUP = 1,   /* all samples of a group, in one message */
    SCORE_CAP_LOGPROBS = 2 /* with the actors' logprobs */
};
struct score_request {
    uint64_t incarnation;
    uint32_t free;
    uint32_t caps; /* bits of enum score_cap; others are ignored */
};
struct score_item {
    uint64_t group_id;
    uint32_t sample, attempt;
    uint64_t prompt_id;
    const char *record_json; /* the prompt's row: data_source, prompt, ground_truth, extra */
    uint32_t prompt_count, response_count;
    const uint32_t *prompt_ids;
    const uint32_t *response_ids;
    enum segment_status finish;
    uint32_t group_size;
    uint64_t version; /* of the first token */
    enum purpose purpose;
    const float *response_logprobs; /* [response_count] or NULL: not asked for */
    bool scored; /* it has its score and no answer is wanted: the plugin reads whole groups */
};
struct score_work {
    uint32_t count;
    const struct score_item *items;
};
struct score {
    uint64_t group_id;
    uint32_t sample, attempt;
    enum score_status status;
    double value;            /* finite; 0 unless OK or FAIL */
    const char *detail_json; /* named sub-metrics and text, "{}" */
    uint64_t scorer;         /* hash of the plugin file, recipe or Python file; 0: not known */
};
struct score_result {
    uint64_t frame_id, incarnation;
    uint32_t count;
    const struct score *scores;
};
struct score_ack {
    uint64_t frame_id;
};

/* ---- store <-> learner ---- */
struct plan_request {
    uint64_t version; /* the learner's weights now; it wants the plan that makes version + 1 */
    uint32_t branch;
    uint64_t checkpoint_version, checkpoint_digest; /* what it loaded at start */
};
struct plan {
    uint32_t branch;
    uint64_t version; /* made by training this plan */
    uint64_t digest;  /* != 0: this version exists already; the re-made digest must equal it */
    uint32_t group_count;
    const uint64_t *group_ids; /* ordered */
    uint32_t cut_count;
    const uint32_t *cuts;      /* [cut_count] first group of each minibatch, cuts[0] = 0 */
    bool last;                 /* the run ends with this version */
    const char *settings_json; /* loss settings in force */
    uint32_t groups_dropped;   /* zero-variance groups since the last plan */
    double
        dropped_reward; /* sum of the rewards of all their rollouts: the policy's mean counts them */
    uint32_t stage;     /* length stage in force when the plan was made, from 0 */
    uint32_t response_tokens_max; /* its cap of responses, tokens; 0: not said (an old ledger) */
};
struct group_request {
    uint64_t group_id;
};
struct group_piece { /* tokens made by one weight version */
    uint32_t count;
    uint64_t version, kv_version_min;
};
struct group_sample {
    uint32_t sample, attempt;
    uint32_t count;
    const uint32_t *ids;   /* [count] response */
    const float *logprobs; /* [count] */
    const float *mask;     /* [count] 1 = trained */
    uint32_t piece_count;
    const struct group_piece *pieces; /* counts add up to count */
    enum segment_status finish;
    enum score_status score_status;
    double reward;
};
struct group_data {
    uint64_t group_id, prompt_id;
    float temperature;
    uint32_t prompt_count;
    const uint32_t *prompt_ids;
    uint32_t sample_count;
    const struct group_sample *samples;
    const char *source; /* data source of the prompt, for people; "": not said */
};
struct version_register {
    uint64_t request;
    uint32_t branch;
    uint64_t version, parent, digest;
    const char *weights_path;
};
struct checkpoint_report {
    uint64_t request;
    uint32_t branch;
    uint64_t version, digest;
    const char *path;
};
struct step_report {
    uint64_t version;
    const char *metrics_json;
}; /* for status and the event stream; not acknowledged */

/* ---- learner <-> actor, handed on by the store and not kept (docs/weights.md) ---- */
enum weight_kind {
    WEIGHT_HERE, /* actor, twice a second: it is in `epoch`, 0: in none; `version`: the epoch it was called to last */
    WEIGHT_ENTER, /* actor: it has begun to join `epoch` */
    WEIGHT_POST,  /* actor: it waits for the bytes of `version` */
    WEIGHT_TOOK,  /* actor: it has them, and their digest is `digest` */
    WEIGHT_LEAVE, /* actor: it goes away */
    WEIGHT_EPOCH, /* learner: join the communicator `id` as rank `rank` of `ranks`, and leave any other */
    WEIGHT_SEND, /* learner: it sends `version`, whose digest is `digest`, in `epoch` */
    WEIGHT_END,  /* learner: `epoch` is over, leave it */
    WEIGHT_KIND_COUNT
};
enum { WIRE_WEIGHT_ID_WORDS = 32 };
struct weight_control {
    enum weight_kind kind;
    uint32_t actor;       /* who says it, or to whom; set by the store on what actors say */
    uint64_t incarnation; /* of that actor; likewise. From the learner: another one gets nothing */
    uint64_t epoch;       /* counts communicators, and begins above those of earlier learners */
    uint32_t rank, ranks;
    uint64_t version, digest;
    uint32_t branch;
    uint32_t id_count;  /* WIRE_WEIGHT_ID_WORDS with EPOCH, else 0 */
    const uint32_t *id; /* [id_count] NCCL's unique id */
};

/* All messages, in wire order: numbers are the protocol, only append. */
// clang-format off
#define MESSAGE_ROWS(ROW)                                                                          \
    ROW(hello) ROW(welcome) ROW(refused) ROW(heartbeat) ROW(notice) ROW(bye) ROW(control)          \
    ROW(control_reply) ROW(ack)                                                                    \
    ROW(lease_request) ROW(lease_grant) ROW(segment_frame) ROW(frame_ack)                          \
    ROW(score_request) ROW(score_work) ROW(score_result) ROW(score_ack)                            \
    ROW(plan_request) ROW(plan) ROW(group_request) ROW(group_data) ROW(version_register)           \
    ROW(checkpoint_report) ROW(step_report) ROW(weight_control)
// clang-format on

enum message_type {
    MESSAGE_NONE,
#define ROW(name) MESSAGE_##name,
    MESSAGE_ROWS(ROW)
#undef ROW
        MESSAGE_COUNT
};

struct message {
    enum message_type type;
    union {
#define ROW(name) struct name name;
        MESSAGE_ROWS(ROW)
#undef ROW
    };
};

const char *message_name(enum message_type type); /* "segment_frame" */

C_END
#endif
