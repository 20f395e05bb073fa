#include "actor/best_ids.h"

uint32_t best_ids(const float *logits, uint32_t vocabulary, uint32_t top, uint32_t target,
                  float logprob, uint32_t *ids, float *logprobs)
{
    uint32_t held = 0;
    for (uint32_t v = 0; v < vocabulary && top > 0; v++) {
        if (held == top && !(logits[v] > logprobs[held - 1]))
            continue;
        uint32_t at = held < top ? held++ : held - 1;
        for (; at > 0 && logits[v] > logprobs[at - 1]; at--) {
            ids[at] = ids[at - 1];
            logprobs[at] = logprobs[at - 1];
        }
        ids[at] = v;
        logprobs[at] = logits[v];
    }
    for (uint32_t k = 0; k < held; k++)
        logprobs[k] =
            ids[k] == target
                ? logprob
                : (float)((double)logprob + ((double)logprobs[k] - (double)logits[target]));
    return held;
}
