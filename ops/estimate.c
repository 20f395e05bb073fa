#include "ops/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

double estimate_pass(uint32_t n, uint32_t c, uint32_t k)
{
    if (k == 0 || n < k || c > n)
        return NAN;
    if (n - c < k)
        return 1;
    double none = 1; /* C(n-c, k) / C(n, k) = product over i in (n-c, n] of (i - k) / i */
    for (uint32_t i = n - c + 1; i <= n; i++)
        none *= 1 - (double)k / i;
    return 1 - none;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

double estimate_quantile(double *values, uint32_t count, double q)
{
    if (count == 0)
        return NAN;
    qsort(values, count, sizeof *values, compare);
    double rank = ceil(q * count);
    uint32_t at = rank < 1 ? 0 : (uint32_t)rank - 1;
    return values[at < count ? at : count - 1];
}

enum status estimate_mean(const double *values, uint32_t count, uint64_t seed,
                          struct estimate *estimate)
{
    *estimate = (struct estimate){.value = NAN, .low = NAN, .high = NAN};
    double *known = memory_array((size_t)count + 1, sizeof *known);
    double *means = memory_array(ESTIMATE_RESAMPLES, sizeof *means);
    enum status status =
        known != NULL && means != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%u values", count);
    uint32_t n = 0;
    double sum = 0;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++)
        if (!isnan(values[i])) {
            known[n++] = values[i];
            sum += values[i];
        }
    if (n > 0) {
        struct rng rng;
        rng_init(&rng, seed, 0, RNG_TASK);
        for (int r = 0; r < ESTIMATE_RESAMPLES; r++) {
            double drawn = 0;
            for (uint32_t i = 0; i < n; i++)
                drawn += known[rng_below(&rng, n)];
            means[r] = drawn / n;
        }
        *estimate = (struct estimate){.value = sum / n,
                                      .low = estimate_quantile(means, ESTIMATE_RESAMPLES, 0.025),
                                      .high = estimate_quantile(means, ESTIMATE_RESAMPLES, 0.975),
                                      .prompts = n};
    }
    memory_free(known);
    memory_free(means);
    return status;
}

int64_t estimate_majority(const char *const *answers, uint32_t count)
{
    int64_t best = -1;
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t votes = 0;
        for (uint32_t j = 0; j < count && answers[i] != NULL; j++)
            votes += answers[j] != NULL && strcmp(answers[i], answers[j]) == 0;
        if (votes > most) {
            most = votes;
            best = i;
        }
    }
    return best;
}

/* Is the majority of chosen[k] right? votes and first are indexed by kind; votes is zero before and after. */
static bool majority_passes(const int32_t *kind, const bool *passed, const uint32_t *chosen,
                            uint32_t k, uint32_t *votes, uint32_t *first)
{
    uint32_t best = 0;
    int32_t winner = -1;
    for (uint32_t i = 0; i < k; i++) {
        int32_t one = kind[chosen[i]];
        if (one < 0)
            continue;
        if (votes[one]++ == 0 || chosen[i] < first[one])
            first[one] = chosen[i];
    }
    for (uint32_t i = 0; i < k; i++) {
        int32_t one = kind[chosen[i]];
        if (one < 0)
            continue;
        if (votes[one] > best || (votes[one] == best && first[one] < first[winner])) {
            best = votes[one];
            winner = one;
        }
    }
    for (uint32_t i = 0; i < k; i++)
        if (kind[chosen[i]] >= 0)
            votes[kind[chosen[i]]] = 0;
    return winner >= 0 && passed[first[winner]];
}

double estimate_majority_at(const int32_t *kind, const bool *passed, uint32_t n, uint32_t k,
                            struct rng *rng, uint32_t *room)
{
    uint32_t *order = room, *votes = room + n, *first = room + 2 * (size_t)n, voting = 0, right = 0;
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
        votes[i] = 0;
        voting += kind[i] >= 0;
        right += kind[i] >= 0 && passed[i];
    }
    if (k == 0 || n < k || voting == 0)
        return NAN;
    if (k == 1)
        return (double)right / n;
    if (k == n)
        return majority_passes(kind, passed, order, n, votes, first);
    uint32_t wins = 0;
    for (int draw = 0; draw < ESTIMATE_SUBSETS; draw++) {
        for (uint32_t i = 0; i < k; i++) { /* the first k of a shuffle (Fisher and Yates) */
            uint32_t j = i + (uint32_t)rng_below(rng, n - i), kept = order[i];
            order[i] = order[j];
            order[j] = kept;
        }
        wins += majority_passes(kind, passed, order, k, votes, first);
    }
    return (double)wins / ESTIMATE_SUBSETS;
}
