/* core/rng.h - Philox 4x32-10 (Salmon et al., SC'11), the only source of randomness.
 *
 * Counter based: a number is a function of (key, counter) and nothing else, so a token does
 * not depend on batch, actor or attempt. DESIGN.md part 4: key = run seed, counter = group
 * 64 bits, sample 16, position 24, vocabulary index / 4 16, domain 8. Pure, any thread. */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <stdint.h>

#include "core/status.h"

C_BEGIN

/* Domains keep streams apart that share a seed. Numbers are part of every recorded run: only append. */
enum rng_domain { RNG_SAMPLING = 0, RNG_INIT = 1, RNG_SHUFFLE = 2, RNG_TASK = 3, RNG_TEST = 4 };

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The counter of DESIGN.md part 4: words 0,1 = group (low, high); word 2 = position (24 bits) | domain << 24;
 * word 3 = vocabulary index / 4 (16) | sample << 16. CHECKs the ranges. */
void rng_counter(uint32_t counter[4], uint64_t group, uint32_t sample, uint32_t position,
                 uint32_t block, enum rng_domain domain);

/* A plain stream for initialisers, shuffles and generators. Two streams never overlap. */
struct rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    uint32_t used;
};
void rng_init(struct rng *rng, uint64_t seed, uint64_t stream, enum rng_domain domain);
uint32_t rng_u32(struct rng *rng);
uint64_t rng_u64(struct rng *rng);
uint32_t rng_below(struct rng *rng,
                   uint32_t bound);  /* uniform in [0, bound), unbiased; bound > 0 */
double rng_uniform(struct rng *rng); /* in (0, 1) */
double rng_normal(struct rng *rng);  /* Box-Muller */
/* i-th element (0 <= i < count) of a pseudo-random permutation of [0, count) given by seed: a Feistel
 * walk, so an epoch's order needs no array and can be resumed at any position. */
uint64_t rng_permute(uint64_t seed, uint64_t count, uint64_t i);

C_END
#endif
