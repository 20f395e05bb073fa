/* tests/kernel_shapes.h - shapes on block edges, and the bounds that several cases share. */
#ifndef TESTS_KERNEL_SHAPES_H
#define TESTS_KERNEL_SHAPES_H

#include "tests/kernel_judge.h"

#define COUNT(list) ((int)(sizeof(list) / sizeof(list)[0]))

static const int64_t rows_list[] = {1, 2, 31, 64, 65, 257};
static const int64_t channels_list[] = {1, 16, 63, 64, 96, 130};
static const int64_t count_list[] = {1, 15, 16, 17, 255, 4097};
static const int64_t vocabulary_list[] = {5, 331, 1000};

static inline double sum_bound(int64_t terms)
{
    return UNIT * (4.0 + 4.0 * sqrt((double)terms));
}

static inline void fill_below(struct judge *judge, struct array *array, int64_t count,
                              int64_t bound)
{
    for (int64_t i = 0; i < count; i++)
        array->i[i] = (int32_t)rng_below(&judge->rng, (uint32_t)bound);
}

/* Cuts `rows` sorted rows among the experts at random; some experts stay empty. */
static inline struct array *offsets_of(struct judge *judge, int64_t experts, int64_t rows)
{
    struct array *offset = input_i32(judge, "expert_offset", experts + 1);
    for (int64_t e = 0; e < experts; e++)
        offset->i[e] = (int32_t)rng_below(&judge->rng, (uint32_t)rows + 1);
    offset->i[0] = 0;
    offset->i[experts] = (int32_t)rows;
    for (int64_t e = 1; e < experts; e++)
        for (int64_t f = e; f > 1 && offset->i[f] < offset->i[f - 1]; f--) {
            int32_t swap = offset->i[f];
            offset->i[f] = offset->i[f - 1];
            offset->i[f - 1] = swap;
        }
    return offset;
}

#define ELEMENTWISE (16 * UNIT)

#endif
