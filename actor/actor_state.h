/* actor/actor_state.h - what the files of actor/ share; nobody outside includes it. */
#ifndef ACTOR_ACTOR_STATE_H
#define ACTOR_ACTOR_STATE_H

#include "actor/actor.h"
#include "actor/actor_metrics.h"
#include "actor/desk.h"
#include "core/arena.h"
#include "model/model.h"
#include "text/tokenizer.h"
#include "transport/link.h"
#include "transport/redis_view.h"
#include "transport/weight_channel.h"
#include "transport/weight_member.h"
#include "transport/weight_tcp_client.h"

enum { ACTOR_EOS_MAX = MODEL_EOS_MAX + 1 };

/* Scratch of one decode step, sized once: rows_max rows, `slots` segments and samples. */
struct decode_step {
    int32_t *ids;
    struct op_segment *segments;
    int32_t rows, segment_count;
    int32_t *row_index;   /* [slots] row that samples */
    uint32_t *slot_index; /* [slots] for which slot */
    struct op_sample_row *row;
    int32_t *token;
    float *logprob, *logprob_truncated;
    uint8_t *confident;
    int32_t samples;
};

struct actor {
    const struct settings *settings;
    struct actor_metrics metrics;
    char run[WIRE_NAME_MAX];
    uint32_t index;

    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights[2];
    int active; /* of weights; -1 before the first */
    size_t weights_bytes;
    struct weight_device device; /* of ops */
    uint64_t numerics_id;
    struct tokenizer *tokenizer;
    uint32_t eos[ACTOR_EOS_MAX];
    uint32_t eos_count;

    struct link *link;
    struct arena *arena;              /* of the message in hand */
    struct weight_receiver *receiver; /* the channel's file; NULL: none yet, or another way */
    struct weight_member *member;     /* NULL: not by NCCL */
    struct weight_client *client;     /* NULL: not by TCP */
    bool joining;                     /* by TCP for now, by NCCL once there are weights */
    uint64_t tcp_refused;             /* wrong digests of the client that are counted */
    int64_t lacking_ns;               /* what is registered does not come since; 0: it does */
    struct redis_view *redis;
    struct desk desk;             /* slots, frames, and what the store says */
    struct buffer heartbeat_json; /* valid until the next heartbeat */
    uint64_t cache_tokens;        /* capacity said to the store */
    uint32_t positions_max;       /* tokens of one sequence */
    int64_t prefill_row_ns;       /* measured in the last step with prefill rows; 0 before it */
    struct decode_step step;

    uint64_t refused_digest; /* of the copy refused last; not tried again before retry_ns */
    int64_t retry_ns;
    char weights_path[FILENAME_MAX]; /* the one in use; the desk knows the newest */
    int64_t start_ns, first_token_ns, report_ns, busy_ns;
    double tokens_reported;
};

/* weights.c */
MUST_CHECK enum status
actor_swap_weights(struct actor *actor); /* looks for newer weights and takes them */
void actor_take_control(struct actor *actor, const struct weight_control *control);
/* Readable when weights came that a turn should take; -1: nothing to wait for. */
int actor_weights_fd(const struct actor *actor);
void actor_close_weights(struct actor *actor); /* the way they come, not the weights */
static inline uint64_t actor_version(const struct actor *actor)
{
    return desk_version(&actor->desk);
}
/* leases.c */
void actor_slot_ended(void *self, uint32_t index); /* its cache is free */
void actor_start_waiting(
    struct actor *actor); /* WAITING slots that may run get cache and a state */
/* decode.c */
MUST_CHECK enum status actor_decode(struct actor *actor, bool *worked);

#endif
