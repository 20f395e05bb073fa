#include "learner/guard.h"

#include <math.h>
#include <stdbool.h>

const char *train_skip_text(enum train_skip skip)
{
    static const char *const texts[SKIP_COUNT] = {
        "nothing", "the logprob of a trained token is not finite", "the loss is not finite",
        "the gradient is not finite",
        "a weight or the optimizer's state is not finite, or would not be after the update"};
    return texts[skip < SKIP_COUNT ? skip : SKIP_NONE];
}

/* Is all that AdamW will write finite, for any values of these sizes? |x| <= sqrt(sum of squares), so with gradient
 * g: |m'| <= |m| + g, v' <= |v| + g^2, and the step of a weight is at most lr (|m'| / (1 - beta1) / eps + decay |p|),
 * the first divisor for the bias of the first update. The bound is far from what happens (eps 1e-15 allows steps of
 * 1e16 lr) and still below 1e38, which f32 and bf16 hold, wherever training makes sense. */
static bool stays_finite(const struct guard_case *measured)
{
    const double most = 1e38;
    double g = sqrt(measured->gradient) * measured->grad_scale, p = sqrt(measured->master);
    double m = sqrt(measured->m) + g, v = sqrt(measured->v) + g * g;
    double step =
        measured->lr * (m / (1 - measured->beta1) / measured->eps + measured->weight_decay * p);
    return g < most && m < most && v < most && p + step < most;
}

enum train_skip guard_judge(const struct guard_case *measured)
{
    if (measured->bad_logprobs > 0)
        return SKIP_LOGPROB;
    if (!isfinite(measured->loss) || !isfinite(measured->aux_loss))
        return SKIP_LOSS;
    if (measured->bad_gradients > 0 || !isfinite(measured->gradient))
        return SKIP_GRADIENT;
    if (measured->bad_state > 0 || !stays_finite(measured))
        return SKIP_STATE;
    return SKIP_NONE;
}
