/* actor/slot.h - one sequence that this actor generates.
 *
 * prompt and response tokens live in one array: [0, prompt) the lease's prompt and environment spans,
 * [prompt, prompt + response) what models wrote so far. `cached` tokens of it are in the model cache;
 * the token at index `cached` is the next to be fed. A slot samples when everything it has is cached. */
#ifndef ACTOR_SLOT_H
#define ACTOR_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "actor/repetition_guard.h"
#include "kernels/ops.h"
#include "proto/messages.h"

enum slot_state {
    SLOT_FREE,
    SLOT_WAITING,   /* for weights >= min_version, or for room */
    SLOT_FOLLOWING, /* for the sibling that prefills the same prompt */
    SLOT_PREFILL,
    SLOT_DECODE,
    SLOT_FINISHED, /* holds its cache until its last segment is in the writer */
};

struct slot {
    enum slot_state state;
    uint64_t lease_id, group_id, prompt_id, min_version;
    uint32_t sample, attempt;
    uint32_t budget;               /* response tokens allowed in all */
    struct op_sample_row sampling; /* position is filled in at each step */
    struct repetition_guard guard;

    uint32_t *ids;     /* [prompt + budget] owned */
    uint32_t capacity; /* positions in the cache: prompt + budget; one less when it is served */
    uint32_t prompt, response;
    uint32_t inherited; /* response tokens that came with the lease */
    uint32_t cached;
    uint32_t leader; /* SLOT_FOLLOWING: slot that prefills */

    float *logprobs, *logprobs_truncated; /* [budget] of response tokens, owned */
    uint32_t reported;                    /* response tokens already in frames */
    uint64_t kv_version_min;              /* oldest weights in the cache */
    uint32_t
        rebuilt_at; /* response index where the cache was rebuilt since the last segment; UINT32_MAX none */
    enum segment_status finished; /* SEGMENT_MORE while it runs */

    int64_t arrived_ns;         /* when the engine saw it first; 0: not yet */
    bool served;                /* a sequence of the endpoint: no lease */
    bool ignore_eos;            /* runs to its budget */
    bool report, report_prompt; /* logprobs at temperature 1 of what it samples, of its prompt */
    uint32_t report_top;        /* with so many best ids of each position */
};

/* A sequence without a lease. */
struct slot_order {
    const uint32_t *ids; /* [count] copied */
    uint32_t count, budget;
    uint64_t group_id;             /* same: may share the prefill of the same prompt */
    struct op_sample_row sampling; /* position is filled in at each step */
    bool ignore_eos, report, report_prompt;
    uint32_t report_top;
};

static inline uint32_t slot_length(const struct slot *slot)
{
    return slot->prompt + slot->response;
}

MUST_CHECK enum status slot_fill(struct slot *slot, const struct lease *lease, uint64_t seed,
                                 uint32_t repetition_tokens);
/* NO_MEMORY; INVALID: no prompt, no budget, or more than a message may carry. */
MUST_CHECK enum status slot_fill_order(struct slot *slot, const struct slot_order *order);
void slot_clear(struct slot *slot); /* frees its arrays; state FREE */

#endif
