/* actor/desk.h - the actor's side of the protocol: leases in, segments out, and nothing else.
 *
 * Pure: no model, no socket, no clock. Time is an argument, messages leave through `send`, and whoever makes the tokens
 * (the model in decode.c, a fake one in the fleet simulator) is told through `slot_ended` when a slot is free again.
 *
 *     desk_take      a message of the store
 *     desk_weights   other weights serve from now on
 *     for each slot that desk_may_run: give it a state (SLOT_PREFILL, SLOT_DECODE)
 *     for each slot in SLOT_DECODE while desk_may_decode: desk_push one token
 *     desk_turn      asks for leases, makes frames, sends them
 *
 * Rules: what was sampled under one version leaves before the next version serves; a frame is kept until the store has
 * it on disk and said again after a reconnect; with unacked_frames_max frames or unacked_bytes_max bytes kept,
 * decoding waits; a lease that cannot run here is answered without tokens. One thread. */
#ifndef ACTOR_DESK_H
#define ACTOR_DESK_H

#include <stdio.h>

#include "actor/actor_metrics.h"
#include "actor/segment_writer.h"
#include "actor/slot.h"

enum { DESK_UNACKED_BYTES_MAX = 32 << 20 };

struct desk_config {
    uint64_t incarnation; /* of this process */
    uint64_t numerics_id;
    uint32_t slots;         /* sequences at a time */
    uint32_t served;        /* the last of them: for requests of the endpoint, not for leases */
    uint64_t cache_tokens;  /* of all of them, as said to the store */
    uint32_t positions_max; /* tokens of one */
    uint32_t vocabulary;    /* ids are below it */
    const uint32_t *eos;    /* [eos_count] ids that end a text, borrowed */
    uint32_t eos_count;
    uint32_t repetition_tokens; /* settings.sampling */
    uint32_t segment_tokens;    /* settings.actor */
    int64_t segment_ns;
    uint32_t unacked_frames_max;
    size_t unacked_bytes_max;      /* 0: DESK_UNACKED_BYTES_MAX */
    struct actor_metrics *metrics; /* borrowed */
    /* AGAIN: nothing is taken now; the message is offered again at a later turn. */
    segment_send_fn send;
    void (*slot_ended)(void *self,
                       uint32_t slot); /* its tokens are gone from here; NULL: nobody asks */
    void *self;
};

/* Fields are read by everybody and written by desk.c; engines write state, cached, leader, kv_version_min and
 * rebuilt_at of slots. */
struct desk {
    struct desk_config config;
    struct slot *slots; /* [config.slots] */
    struct segment_writer writer;
    struct segment *ready; /* [config.slots] segments of the frame in the making */
    struct segment
        *refused; /* [refused_limit] answers, without tokens, to leases that cannot run here */
    uint32_t refused_count, refused_limit;
    int64_t frame_due_ns;
    uint64_t run_seed;

    bool serving;             /* there are weights */
    uint64_t version, digest; /* of them */
    uint32_t branch;

    uint64_t version_known,
        digest_known; /* newest registered, as the store says; UINT64_MAX: not said yet */
    uint32_t branch_known;
    char weights_path[FILENAME_MAX];
    bool requested; /* leases, over this connection */
    bool draining, stopping;
    bool handing_back;
};

MUST_CHECK enum status desk_create(struct desk *desk, const struct desk_config *config);
void desk_destroy(struct desk *desk); /* a zeroed one is fine */

/* welcome (a connection is new: everything unacknowledged is said again), notice, lease_grant, frame_ack; others are
 * logged and ignored. */
MUST_CHECK enum status desk_take(struct desk *desk, int64_t now_ns, const struct message *message);
/* Asks for leases when that is due and sends what has to leave. */
MUST_CHECK enum status desk_turn(struct desk *desk, int64_t now_ns);
/* Everything unreported becomes a frame. *all: it did; false: the writer is full. */
MUST_CHECK enum status desk_flush(struct desk *desk, int64_t now_ns, bool *all);
/* Other weights serve from now on, after a desk_flush with *all. */
void desk_weights(struct desk *desk, uint64_t version, uint32_t branch, uint64_t digest);
/* These should serve instead of what serves now. */
bool desk_is_newer(const struct desk *desk, uint64_t version, uint32_t branch, uint64_t digest);
/* UINT64_MAX: none. */
static inline uint64_t desk_version(const struct desk *desk)
{
    return desk->serving ? desk->version : UINT64_MAX;
}

/* ---- for whoever makes tokens ---- */

bool desk_may_decode(const struct desk *desk);
/* A waiting slot whose weights are there. */
bool desk_may_run(const struct desk *desk, uint32_t slot);
/* One token of a slot; it is SLOT_DECODE afterwards, or SLOT_FINISHED. */
void desk_push(struct desk *desk, uint32_t slot, uint32_t token, float logprob,
               float logprob_truncated, bool confident);

/* ---- sequences of the endpoint (actor/serve.h): no lease, no segment, no rule against repetition ---- */

/* Slots below it are leased, those from it on are served. */
static inline uint32_t desk_leased(const struct desk *desk)
{
    return desk->config.slots - desk->config.served;
}
/* A served slot that is free; UINT32_MAX: none. */
uint32_t desk_free_served(const struct desk *desk);
/* Fills it; the caller reads its tokens and ends it. INVALID, LIMIT: it cannot run here. */
MUST_CHECK enum status desk_serve(struct desk *desk, uint32_t slot, const struct slot_order *order);
void desk_end_served(struct desk *desk, uint32_t slot);

/* ---- ends ---- */

void desk_cancel(struct desk *desk, const uint64_t *leases, uint32_t count);
/* From now on nothing new is taken, and every live slot ends with the tokens it has; desk_turn goes on with it while the
 * writer is full. */
void desk_hand_back(struct desk *desk);
bool desk_holds_slots(const struct desk *desk);
/* Nothing is held, and the store has everything. */
bool desk_is_empty(const struct desk *desk);

#endif
