#include "reward/rules/repetition.h"

#include <string.h>

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static uint64_t hash_ngram(const int32_t *ids, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++)
        hash = mix(hash ^ ((uint64_t)(uint32_t)ids[i] + UINT64_C(0x9E3779B97F4A7C15)));
    return hash;
}

bool repetition_distinct(struct arena *arena, const int32_t *ids, size_t count, size_t n,
                         size_t *distinct)
{
    *distinct = 0;
    if (n == 0 || n > REPETITION_NGRAM_MAX || count < n)
        return true;
    size_t all = count - n + 1, slots = 16;
    while (slots < 2 * all)
        slots *= 2;
    uint32_t *places = arena_array(arena, slots, sizeof *places); /* of n-grams, plus 1 */
    if (places == NULL || all >= UINT32_MAX)
        return false;
    for (size_t i = 0; i < all; i++) {
        size_t slot = hash_ngram(ids + i, n) & (slots - 1);
        while (places[slot] != 0 && memcmp(ids + places[slot] - 1, ids + i, n * sizeof *ids) != 0)
            slot = (slot + 1) & (slots - 1);
        if (places[slot] == 0) {
            places[slot] = (uint32_t)i + 1;
            (*distinct)++;
        }
    }
    return true;
}

bool repetition_penalty(struct arena *arena, const int32_t *ids, size_t count, size_t n,
                        double max_penalty, double *penalty)
{
    size_t distinct = 0;
    *penalty = 0.0;
    if (!repetition_distinct(arena, ids, count, n, &distinct))
        return false;
    if (distinct == 0)
        return true;
    double repeated = 1.0 - (double)distinct / (double)(count - n + 1);
    *penalty = repeated > 0.0 ? repeated * max_penalty : 0.0;
    return true;
}

/* Z-function (Gusfield 1997, 1.3) of the sequence read backwards: reach[p] is how far its end agrees with itself p
 * tokens earlier, so p + reach[p] tokens at the end have the period p. */
bool repetition_suffix(struct arena *arena, const int32_t *ids, size_t count,
                       struct repetition_suffix *suffix)
{
    *suffix = (struct repetition_suffix){0};
    if (count < 2)
        return true;
    size_t *reach = arena_array(arena, count, sizeof *reach);
    if (reach == NULL)
        return false;
    const int32_t *last = ids + count - 1;
    for (size_t p = 1, left = 0, right = 0; p < count; p++) {
        size_t z = 0;
        if (p < right)
            z = reach[p - left] < right - p ? reach[p - left] : right - p;
        while (p + z < count && *(last - z) == *(last - p - z))
            z++;
        reach[p] = z;
        if (p + z > right) {
            left = p;
            right = p + z;
        }
        if (z >= p && p + z > suffix->tokens)
            *suffix = (struct repetition_suffix){p, p + z};
    }
    return true;
}

void repetition_watch_add(struct repetition_watch *watch, int64_t count, double probability)
{
    if (watch->halt != 0 || count <= 0)
        return;
    if (!(probability > watch->threshold)) {
        watch->streak = 0;
        watch->tokens += count;
        return;
    }
    int64_t needed = watch->window - watch->streak;
    if (count >= needed)
        watch->halt = watch->tokens + needed;
    watch->streak += count;
    watch->tokens += count;
}
