/* kernels/cpu/op_policy_loss.c - the token losses of kernels/ops.h and their gradients.
 *
 * One pass over the rows in order; terms in f32 as every backend computes them, their sum in f64. An
 * importance weight never carries a gradient in CISPO and REINFORCE (MiniMax-M1, arXiv:2506.13585,
 * eq. 3-7): a clipped token still pulls on the policy. In ppo_clip and gspo (arXiv:2507.18071 eq. 7-10)
 * a clipped token has no gradient. A masked row is written as zeros and never read. */
#include <math.h>

#include "core/check.h"
#include "kernels/cpu/isa.h"

static const float LOG_RATIO_LIMIT =
    20.0F; /* exp(20) = 4.9e8: far past every bound, still finite */

struct token_term {
    double loss;
    float dlogprob;
    bool clipped;
};

/* Comparisons, not fminf: a NaN of a trained token must reach the loss. */
static float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static struct token_term weighted(float weight, float advantage, float scale, float logprob)
{
    float dlogprob = -(scale * weight * advantage);
    return (struct token_term){(double)dlogprob * (double)logprob, dlogprob, false};
}

static struct token_term cispo(const struct op_policy_loss *args, int64_t t, float ratio)
{
    float weight = clamp(ratio, args->weight_min, args->weight_max);
    struct token_term term = weighted(weight, args->advantage[t], args->scale[t], args->logprob[t]);
    term.clipped = ratio < args->weight_min || ratio > args->weight_max;
    return term;
}

static struct token_term cispo_mask(const struct op_policy_loss *args, int64_t t, float ratio)
{
    float advantage = args->advantage[t];
    if ((advantage > 0 && ratio > 1 + args->clip_high) ||
        (advantage < 0 && ratio < 1 - args->clip_low))
        return (struct token_term){0, 0, true};
    return cispo(args, t, ratio);
}

/* Clipped surrogate; ratio is the token's (ppo_clip) or the sequence's (gspo). */
static struct token_term surrogate(const struct op_policy_loss *args, int64_t t, float ratio,
                                   float dual_clip)
{
    float advantage = args->advantage[t];
    float scale = args->scale[t];
    float bounded = clamp(ratio, 1 - args->clip_low, 1 + args->clip_high);
    float objective = ratio * advantage;
    bool clipped = bounded * advantage < objective;
    if (clipped)
        objective = bounded * advantage;
    if (dual_clip > 1 && advantage < 0 && objective < dual_clip * advantage) {
        objective = dual_clip * advantage;
        clipped = true;
    }
    float dlogprob = clipped ? 0.0F : -(scale * ratio * advantage);
    return (struct token_term){-(double)scale * (double)objective, dlogprob, clipped};
}

/* s of GSPO: exp of the mean log ratio over the trained tokens of rows [begin, end). */
static float sequence_ratio(const struct op_policy_loss *args, int64_t begin, int64_t end)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t t = begin; t < end; t++) {
        if (args->mask[t] == 0)
            continue;
        sum += (double)args->logprob[t] - (double)args->logprob_old[t];
        count++;
    }
    float mean = count > 0 ? (float)(sum / (double)count) : 0.0F;
    return expf(clamp(mean, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT));
}

static struct token_term token(const struct op_policy_loss *args, int64_t t, float ratio,
                               float ratio_sequence)
{
    switch (args->kind) {
    case POLICY_LOSS_CISPO:
        return cispo(args, t, ratio);
    case POLICY_LOSS_CISPO_MASK:
        return cispo_mask(args, t, ratio);
    case POLICY_LOSS_REINFORCE:
        return weighted(ratio, args->advantage[t], args->scale[t], args->logprob[t]);
    case POLICY_LOSS_PPO_CLIP:
        return surrogate(args, t, ratio, args->dual_clip);
    case POLICY_LOSS_GSPO:
        return surrogate(args, t, ratio_sequence, 0);
    case POLICY_LOSS_SFT:
        return weighted(1, 1, args->scale[t], args->logprob[t]);
    }
    CHECK_NEVER("unknown policy loss");
}

static float token_ratio(const struct op_policy_loss *args, int64_t t)
{
    if (args->logprob_old == NULL) /* sft has no behaviour policy */
        return 1;
    float log_ratio = args->logprob[t] - args->logprob_old[t];
    return expf(clamp(log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT));
}

enum status CPU_NAME(policy_loss)(void *context, const struct op_policy_loss *args)
{
    (void)context;
    bool needs_old = args->kind != POLICY_LOSS_SFT;
    CHECK(!needs_old || (args->logprob_old != NULL && args->advantage != NULL));
    CHECK(args->kind != POLICY_LOSS_GSPO || args->sequences == 0 ||
          args->sequence_start[args->sequences] == args->rows);
    double loss = 0;
    int64_t sequence = 0;
    float ratio_sequence = 1;
    for (int64_t t = 0; t < args->rows; t++) {
        while (args->kind == POLICY_LOSS_GSPO && sequence < args->sequences &&
               args->sequence_start[sequence] <= t) {
            ratio_sequence = sequence_ratio(args, t, args->sequence_start[sequence + 1]);
            sequence++;
        }
        struct token_term term = {0};
        float ratio = 0;
        if (args->mask[t] != 0) {
            ratio = token_ratio(args, t);
            term = token(args, t, ratio, ratio_sequence);
        }
        loss += term.loss;
        args->ratio[t] = ratio;
        args->dlogprob[t] = term.dlogprob;
        args->clipped[t] = term.clipped;
    }
    *args->loss = loss;
    return STATUS_OK;
}
