/* ops/simulate/truth.c - what a correct fleet computes: pure functions of who and where, so every hop can be checked. */
#include <math.h>

#include "core/checksum.h"
#include "ops/simulate/sim.h"

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

static uint64_t mix4(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return mix(mix(mix(mix(UINT64_C(0x5bf03635), a), b), c), d);
}

/* Token 0 ends a text. */
uint32_t truth_token(const struct world *world, uint64_t group, uint32_t sample, uint32_t position,
                     uint64_t version, uint64_t digest)
{
    const struct sim_setup *setup = world->setup;
    if (position + 1 == truth_length(setup, group, sample))
        return 0;
    uint64_t hash = mix(mix4(group, sample, position, version), digest);
    return 1 + (uint32_t)((hash >> 8) % (setup->vocabulary - 1));
}

float truth_logprob(uint64_t group, uint32_t sample, uint32_t position, uint64_t digest)
{
    return -(float)(1 + (mix4(group, sample, position, digest) >> 9) % 1000) / 1000.0F;
}

/* Exponential around the mean; lengths past response_tokens_max are cut there. */
uint32_t truth_length(const struct sim_setup *setup, uint64_t group, uint32_t sample)
{
    double u = ((double)(mix4(setup->seed, group, sample, 7) >> 11) + 0.5) * 0x1p-53;
    double length = -log(u) * setup->response_mean;
    uint32_t most = setup->settings.sampling.response_tokens_max + 1;
    return length < 1 ? 1 : length > most ? most : (uint32_t)length;
}

static double raw_reward(const struct sim_setup *setup, uint64_t group, uint32_t sample)
{
    if (setup->equal_rewards > 0 && mix4(setup->seed, group, 3, 0) % setup->equal_rewards == 0)
        return 1;
    return sample % 2 == 0 ? 1 : -1 + (double)(mix4(setup->seed, group, sample, 5) % 8) / 8;
}

double truth_accuracy(const struct sim_setup *setup, uint64_t group, uint32_t sample)
{
    return raw_reward(setup, group, sample) > 0 ? 1 : 0;
}

double truth_reward(const struct sim_setup *setup, uint64_t group, uint32_t sample)
{
    return raw_reward(setup, group, sample) - (setup->shaped ? sample * 0x1p-10 : 0);
}

uint64_t truth_start_digest(const struct sim_setup *setup)
{
    return mix4(setup->seed, 11, 0, 0) | 1;
}

/* Weights after a plan: of their parent and of everything that was trained. */
uint64_t truth_digest(uint64_t parent, uint64_t version, const struct plan *plan,
                      const struct group_data *groups, uint64_t salt)
{
    uint64_t hash = mix4(parent, version, plan->group_count, salt);
    for (uint32_t g = 0; g < plan->group_count; g++) {
        hash = mix(hash, groups[g].group_id);
        for (uint32_t s = 0; s < groups[g].sample_count; s++) {
            const struct group_sample *sample = &groups[g].samples[s];
            hash = hash64(sample->ids, sample->count * sizeof *sample->ids, hash);
            hash = hash64(&sample->reward, sizeof sample->reward, hash);
        }
    }
    return hash | 1;
}
