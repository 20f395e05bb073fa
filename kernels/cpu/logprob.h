/* kernels/cpu/logprob.h - the one line that makes a logprob, for decode (op sample) and training (op
 * lm_head): the same f32 logit and lse give the same bits on both paths. */
#ifndef KERNELS_CPU_LOGPROB_H
#define KERNELS_CPU_LOGPROB_H

/* logit / temperature - lse in nats, in f64. lse was rounded, so a token of probability 1 may come
 * out at +1e-7; a logprob is never above 0. NaN stays NaN. */
static inline double logprob_of(float logit, float temperature, float lse)
{
    const double logprob = (double)logit / (double)temperature - (double)lse;
    return logprob > 0 ? 0 : logprob;
}

#endif
