#include "ops/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"

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
