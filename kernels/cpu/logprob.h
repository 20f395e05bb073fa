/* kernels/cpu/logprob.h - the one line that makes a logprob, for decode (op sample) and training (op
 * lm_head): the same f32 logit and lse give the same bits on both paths. */
#ifndef KERNELS_CPU_LOGPROB_H
#define KERNELS_CPU_LOGPROB_H

/* log of probability / mass in nats, in f64: logit / temperature - lse - log(mass), mass = 1 for the
 * whole softmax. lse was rounded, so a token of probability 1 may come out at +1e-7; a logprob is
 * never above 0. NaN stays NaN. */
static inline float logprob_of(float logit, float temperature, float lse, double log_mass)
{
    const double logprob = (double)logit / (double)temperature - (double)lse - log_mass;
    return logprob > 0 ? 0.0f : (float)logprob;
}

#endif
