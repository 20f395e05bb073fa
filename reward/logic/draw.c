#include "reward/logic/draw.h"

#include "core/check.h"

enum { SAMPLE_OF_MAX = 1024 };

int draw_between(struct rng *rng, int min, int max)
{
    int low = min < max ? min : max, high = min < max ? max : min;
    return low + (int)rng_below(rng, (uint32_t)(high - low) + 1);
}

bool draw_permille(struct rng *rng, int permille)
{
    return (int)rng_below(rng, 1000) < permille;
}

void draw_shuffle(struct rng *rng, int *items, int count)
{
    for (int i = count - 1; i > 0; i--) { /* Fisher and Yates */
        int j = (int)rng_below(rng, (uint32_t)i + 1);
        int kept = items[i];
        items[i] = items[j];
        items[j] = kept;
    }
}

void draw_permutation(struct rng *rng, int *items, int count)
{
    for (int i = 0; i < count; i++)
        items[i] = i;
    draw_shuffle(rng, items, count);
}

void draw_sample(struct rng *rng, int *items, int count, int of)
{
    int all[SAMPLE_OF_MAX];
    CHECK(of <= SAMPLE_OF_MAX && count <= of);
    draw_permutation(rng, all, of);
    for (int i = 0; i < count; i++)
        items[i] = all[i];
}

const char *draw_text(struct rng *rng, const char *const *texts, size_t count)
{
    return texts[rng_below(rng, (uint32_t)count)];
}
