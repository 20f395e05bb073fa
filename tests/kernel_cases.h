/* tests/kernel_cases.h - every op of KERNEL_OPS with its parity case. An op without a case does not compile. */
#ifndef TESTS_KERNEL_CASES_H
#define TESTS_KERNEL_CASES_H

#include <stdlib.h>

#include "tests/kernel_cases_attention.h"
#include "tests/kernel_cases_dense.h"
#include "tests/kernel_cases_loss.h"

struct op_case {
    const char *name;
    void (*run)(struct judge *judge);
};

enum {
#define OP(op) OP_##op,
    KERNEL_OPS(OP)
#undef OP
        OP_COUNT
};

static const struct op_case op_cases[] = {
#define OP(op) {#op, case_##op},
    KERNEL_OPS(OP)
#undef OP
};

static inline uint64_t test_seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text ? strtoull(text, NULL, 10) : 20250616;
}

/* One op on one table: failures, and the hash of all that it wrote. bits_only: without the oracle. */
static inline void judge_run_as(struct judge *judge, int op, struct op_table *table,
                                struct op_table *oracle, const char *variant, bool bits_only)
{
    *judge = (struct judge){.table = {table, oracle},
                            .bits_only = bits_only,
                            .op = op_cases[op].name,
                            .variant = variant,
                            .seed = test_seed(),
                            .hash = 0xcbf29ce484222325u};
    rng_init(&judge->rng, judge->seed, (uint64_t)op, RNG_TEST);
    op_cases[op].run(judge);
}

static inline void judge_run(struct judge *judge, int op, struct op_table *table,
                             struct op_table *oracle, const char *variant)
{
    judge_run_as(judge, op, table, oracle, variant, false);
}

#endif
