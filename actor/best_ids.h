/* actor/best_ids.h - the most probable ids of one row of logits, as an endpoint and `weir score` say them. Pure. */
#ifndef ACTOR_BEST_IDS_H
#define ACTOR_BEST_IDS_H

#include <stdint.h>

/* The `top` largest of logits [vocabulary], largest first, ties to the smaller id. logprobs (nats): log p(v) = z[v] - lse,
 * from logprob = z[target] - lse, which is known; that of target is exactly it. Returns how many: `top`, or all there are. */
uint32_t best_ids(const float *logits, uint32_t vocabulary, uint32_t top, uint32_t target,
                  float logprob, uint32_t *ids, float *logprobs);

#endif
