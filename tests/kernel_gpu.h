/* tests/kernel_gpu.h - what only a GPU must show. */
#ifndef TESTS_KERNEL_GPU_H
#define TESTS_KERNEL_GPU_H

#include "tests/kernel_cases.h"

/* The other plane of split: hi + mid is x with 16 bits, 2^-17 of its value off at most. */
static inline void gpu_split_planes(struct judge *judge)
{
    enum { ELEMENTS = 4097 };
    struct op_table *table = judge->table[0];
    if (table->weight_bytes != 2)
        return;
    SHAPE(judge, "count %d", ELEMENTS);
    struct array *x = input(judge, "x", ELEMENTS, 1);
    struct array *hi = output_act(judge, "hi", ELEMENTS, 0);
    struct array *mid = output_act(judge, "mid", ELEMENTS, 0);
    const struct op_split args = {ELEMENTS, at(judge, x, 0), at(judge, hi, 0), at(judge, mid, 0)};
    judge_ran(judge, 0, table->split(table->context, &args));
    float *high = (float *)(void *)array_take(judge, hi, 0);
    float *middle = (float *)(void *)array_take(judge, mid, 0);
    for (int i = 0; i < ELEMENTS; i++) {
        double error = fabs((double)high[i] + (double)middle[i] - (double)x->f[i]);
        if (!(error <= 0x1p-17 * fabs((double)x->f[i])))
            judge_fail(judge, "hi + mid of [%d] is %.9g + %.9g, x %.9g", i, (double)high[i],
                       (double)middle[i], (double)x->f[i]);
    }
    memory_free(high);
    memory_free(middle);
    for (int n = 0; n < judge->count; n++) {
        if (judge->arrays[n].memory[0])
            table->memory_destroy(table->context, &judge->arrays[n].memory[0]);
        memory_free(judge->arrays[n].host);
    }
    judge->count = 0;
}

static const struct op_case gpu_checks[] = {
    {"split_planes", gpu_split_planes},
};

static inline void gpu_check_run(struct judge *judge, int check, struct op_table *table,
                                 struct op_table *oracle, const char *variant)
{
    *judge = (struct judge){.table = {table, oracle},
                            .op = gpu_checks[check].name,
                            .variant = variant,
                            .seed = test_seed()};
    rng_init(&judge->rng, judge->seed, (uint64_t)check, RNG_TEST);
    gpu_checks[check].run(judge);
}

#endif
