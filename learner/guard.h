/* learner/guard.h - may an optimizer update be applied? A pure judgement on what was measured before AdamW writes.
 *
 * What is not finite, or would not be afterwards, costs the update: master, m, v and the weights keep every bit, so
 * the run goes on from where it was. With ranks every rank judges the same sums, so all of them skip or none. Any
 * thread. */
#ifndef LEARNER_GUARD_H
#define LEARNER_GUARD_H

#include <stdint.h>

#include "core/status.h"

C_BEGIN

/* Why an update is skipped though its tokens pull. The first that holds, in this order. */
enum train_skip {
    SKIP_NONE,
    SKIP_LOGPROB, /* of a trained token: a logit, and so an activation or a weight, is not finite */
    SKIP_LOSS,    /* the sum: an advantage or a streamed logprob is not finite */
    SKIP_GRADIENT, /* an element, or its norm */
    SKIP_STATE,    /* a master weight or the optimizer's m or v is not finite, or would not be */
    SKIP_COUNT
};
const char *train_skip_text(enum train_skip skip);

struct guard_case {
    uint64_t bad_logprobs;            /* of trained tokens, not finite */
    int64_t bad_gradients, bad_state; /* elements, not finite */
    double loss, aux_loss;
    double gradient, master, m, v; /* sums of squares over all elements */
    double grad_scale;             /* of clipping */
    double lr, weight_decay, beta1, eps;
};
enum train_skip guard_judge(const struct guard_case *measured);

C_END
#endif
