#include "core/rng.h"

#include <math.h>
#include <string.h>

#include "core/check.h"

enum { PHILOX_ROUNDS = 10, PERMUTE_ROUNDS = 6 };

/* Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC'11), section 4.3:
 * the multipliers and the Weyl increments of the key schedule. */
static const uint32_t PHILOX_M0 = 0xd2511f53u;
static const uint32_t PHILOX_M1 = 0xcd9e8d57u;
static const uint32_t PHILOX_W0 = 0x9e3779b9u;
static const uint32_t PHILOX_W1 = 0xbb67ae85u;

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rng_counter(uint32_t counter[4], uint64_t group, uint32_t sample, uint32_t position,
                 uint32_t block, enum rng_domain domain)
{
    CHECK(sample < 1u << 16);
    CHECK(position < 1u << 24);
    CHECK(block < 1u << 16);
    CHECK((uint32_t)domain < 1u << 8);
    counter[0] = (uint32_t)group;
    counter[1] = (uint32_t)(group >> 32);
    counter[2] = position | (uint32_t)domain << 24;
    counter[3] = block | sample << 16;
}

/* The counter of a plain stream has the layout of rng_counter: words 0 and 1 = stream, the domain
 * in its byte, and the other 56 bits count blocks. So streams of different number or domain
 * cannot meet before 2^56 blocks. */
void rng_init(struct rng *rng, uint64_t seed, uint64_t stream, enum rng_domain domain)
{
    *rng = (struct rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .used = 4};
    rng_counter(rng->counter, stream, 0, 0, 0, domain);
}

uint32_t rng_u32(struct rng *rng)
{
    if (rng->used == 4) {
        philox4x32(rng->counter, rng->key, rng->block);
        rng->used = 0;
        uint32_t low = (rng->counter[2] + 1) & 0xffffffu;
        rng->counter[2] = (rng->counter[2] & 0xff000000u) | low;
        if (low == 0)
            rng->counter[3]++;
    }
    return rng->block[rng->used++];
}

uint64_t rng_u64(struct rng *rng)
{
    uint64_t low = rng_u32(rng);
    return low | (uint64_t)rng_u32(rng) << 32;
}

/* Lemire, "Fast random integer generation in an interval" (2019), algorithm 5. */
uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    CHECK(bound > 0);
    uint64_t product = (uint64_t)rng_u32(rng) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = (0u - bound) % bound;
        while ((uint32_t)product < threshold)
            product = (uint64_t)rng_u32(rng) * bound;
    }
    return (uint32_t)(product >> 32);
}

/* 52 bits and a half, not 53: 2^53 - 0.5 would round up and the result could be 1. */
double rng_uniform(struct rng *rng)
{
    return ((double)(rng_u64(rng) >> 12) + 0.5) * 0x1p-52;
}

double rng_normal(struct rng *rng)
{
    const double two_pi = 6.283185307179586476925;
    double radius = sqrt(-2.0 * log(rng_uniform(rng)));
    return radius * cos(two_pi * rng_uniform(rng));
}

/* Feistel network over 2 * half bits, the smallest even number of bits that holds count; a value
 * outside [0, count) is fed back until it falls inside (cycle walking; at most 4 tries on average,
 * since the network's range is under 4 * count). */
uint64_t rng_permute(uint64_t seed, uint64_t count, uint64_t i)
{
    CHECK(i < count);
    if (count == 1)
        return 0;
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(count - 1);
    uint32_t half = (bits + 1) / 2;
    uint32_t half_mask = half == 32 ? UINT32_MAX : (1u << half) - 1;
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint64_t value = i;
    do {
        uint32_t left = (uint32_t)(value >> half) & half_mask;
        uint32_t right = (uint32_t)value & half_mask;
        for (uint32_t round = 0; round < PERMUTE_ROUNDS; round++) {
            uint32_t counter[4], out[4];
            rng_counter(counter, right | (uint64_t)half << 32, UINT16_MAX, round, UINT16_MAX,
                        RNG_SHUFFLE);
            philox4x32(counter, key, out);
            uint32_t next = left ^ (out[0] & half_mask);
            left = right;
            right = next;
        }
        value = (uint64_t)left << half | right;
    } while (value >= count);
    return value;
}
