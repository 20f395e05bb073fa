/* kernels/ref/op_policy_loss.c - the policy losses of ops.h, token by token. Sources: CISPO and its
 * masked form MiniMax-M1 (arXiv:2506.13585) eq. 4 to 7, clipping PPO (arXiv:1707.06347) eq. 7, dual
 * clipping arXiv:1912.09729 eq. 5, GSPO arXiv:2507.18071 eq. 5 to 10. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdbool.h>

struct term {
    double loss, dlogprob;
    bool clipped;
};

static double clamp(double value, double low, double high)
{
    return fmin(fmax(value, low), high);
}

static double log_ratio(const struct op_policy_loss *args, int64_t t)
{
    return clamp((double)args->logprob[t] - (double)args->logprob_old[t], -20.0, 20.0);
}

/* -w weight A logprob with the weight held constant. */
static struct term weighted(const struct op_policy_loss *args, int64_t t, double weight,
                            bool clipped)
{
    double slope = -(double)args->scale[t] * weight * (double)args->advantage[t];
    return (struct term){slope * (double)args->logprob[t], slope, clipped};
}

/* -w min(r A, clip(r) A); with A < 0 and dual_clip > 1 the objective is at least dual_clip A. */
static struct term clipped_surrogate(const struct op_policy_loss *args, int64_t t, double ratio,
                                     double dual_clip)
{
    double w = (double)args->scale[t], advantage = (double)args->advantage[t];
    double low = 1.0 - (double)args->clip_low, high = 1.0 + (double)args->clip_high;
    double plain = ratio * advantage, bounded = clamp(ratio, low, high) * advantage;
    struct term term = {-w * plain, -w * plain, false};
    if (bounded < plain)
        term = (struct term){-w * bounded, 0.0, true};
    if (advantage < 0.0 && dual_clip > 1.0 && fmin(plain, bounded) < dual_clip * advantage)
        term = (struct term){-w * dual_clip * advantage, 0.0, true};
    return term;
}

/* exp(mean log ratio) over the masked-in tokens of the sequence that holds row t; the mean is clamped,
 * its terms are not. */
static double sequence_ratio(const struct op_policy_loss *args, int64_t t)
{
    double sum = 0.0, count = 0.0;
    for (int64_t s = 0; s < args->sequences; s++)
        if (t >= args->sequence_start[s] && t < args->sequence_start[s + 1])
            for (int64_t u = args->sequence_start[s]; u < args->sequence_start[s + 1]; u++)
                if (args->mask[u] != 0.0f) {
                    sum += (double)args->logprob[u] - (double)args->logprob_old[u];
                    count += 1.0;
                }
    return exp(clamp(sum / count, -20.0, 20.0));
}

static struct term term_of(const struct op_policy_loss *args, int64_t t)
{
    double ratio = exp(log_ratio(args, t)), advantage = (double)args->advantage[t];
    double weight = clamp(ratio, (double)args->weight_min, (double)args->weight_max);
    bool masked = (advantage > 0.0 && ratio > 1.0 + (double)args->clip_high) ||
                  (advantage < 0.0 && ratio < 1.0 - (double)args->clip_low);
    switch (args->kind) {
    case POLICY_LOSS_CISPO:
        return weighted(args, t, weight, weight != ratio);
    case POLICY_LOSS_CISPO_MASK:
        return weighted(args, t, masked ? 0.0 : weight, masked || weight != ratio);
    case POLICY_LOSS_REINFORCE:
        return weighted(args, t, ratio, false);
    case POLICY_LOSS_PPO_CLIP:
        return clipped_surrogate(args, t, ratio, (double)args->dual_clip);
    case POLICY_LOSS_GSPO:
        return clipped_surrogate(args, t, sequence_ratio(args, t), 0.0);
    case POLICY_LOSS_SFT:
        return (struct term){-(double)args->scale[t] * (double)args->logprob[t],
                             -(double)args->scale[t], false};
    }
    return (struct term){NAN, NAN, false};
}

enum status ref_policy_loss(void *context, const struct op_policy_loss *args)
{
    (void)context;
    *args->loss = 0.0;
    for (int64_t t = 0; t < args->rows; t++) {
        args->ratio[t] = 0.0f;
        args->dlogprob[t] = 0.0f;
        args->clipped[t] = 0;
        if (args->mask[t] == 0.0f)
            continue;
        struct term term = term_of(args, t);
        *args->loss += term.loss;
        args->ratio[t] = (float)exp(log_ratio(args, t));
        args->dlogprob[t] = (float)term.dlogprob;
        args->clipped[t] = term.clipped;
    }
    return STATUS_OK;
}
