/* links: core kernels */
/* timeout: 120 */
/* The judge of the CPU backend: every op of KERNEL_OPS, on every instruction set of this processor, with
 * one and two threads, against the double-precision oracle. An op without a case does not compile.
 *
 * Bounds are shares of |value| + rms (kernel_judge.h), in units of 2^-24:
 *   copies and integers   0
 *   elementwise           a few: one rounding an operation, and expf within 2 ulp
 *   sums of K products    4 sqrt(K): roundings of random terms add up like a random walk whose steps
 *                         are at most the running sum, whose rms is below that of the result
 *   exp(score)            the score's absolute error, which is its size times the sum's relative one
 * Equal bits are demanded between AVX-512 and AVX2, and between one and two threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/kernel_cases.h"

/* ---- the run -------------------------------------------------------------------------------------- */

static bool isa_here(const char *isa)
{
    if (strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    return strcmp(isa, "plain") == 0 ||
           (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
}

/* A race does not depend on the instruction set, and looking for one takes ten times as long. */
#ifdef __SANITIZE_THREAD__
enum { ONE_ISA = 1 };
#else
enum { ONE_ISA = 0 };
#endif

static void judge_op(int op)
{
    static const char *const isas[] = {"avx512", "avx2", "plain"};
    struct op_table *oracle = NULL;
    uint64_t fused_hash = 0;
    int failures = 0;
    double worst = 0.0;
    assert_int_equal(op_table_create_ref(&oracle), STATUS_OK);
    for (int i = 0; i < COUNT(isas) && (!ONE_ISA || i == 0 || !isa_here(isas[0])); i++) {
        uint64_t thread_hash = 0;
        for (int32_t threads = 1; threads <= 2 && isa_here(isas[i]); threads++) {
            char variant[32];
            struct op_table *table = NULL;
            struct judge judge;
            snprintf(variant, sizeof variant, "%s threads %d", isas[i], threads);
            setenv("WEIR_CPU_ISA", isas[i], 1);
            assert_int_equal(op_table_create_cpu(&table, threads), STATUS_OK);
            /* What must have the bits of a run that was judged needs no oracle of its own. */
            judge_run_as(&judge, op, table, oracle, variant,
                         threads == 2 || (i < 2 && fused_hash != 0));
            if (threads == 2 && judge.hash != thread_hash)
                judge_fail(&judge, "bits differ from those of one thread");
            thread_hash = judge.hash;
            if (i < 2 && fused_hash != 0 && judge.hash != fused_hash)
                judge_fail(&judge, "AVX2 and AVX-512 differ in bits");
            fused_hash = judge.hash;
            failures += judge.failures;
            worst = fmax(worst, judge.worst);
            op_table_destroy(&table);
        }
    }
    op_table_destroy(&oracle);
    printf("%-24s failures %d, largest error %.2f of its bound\n", op_cases[op].name, failures,
           worst);
    assert_int_equal(failures, 0);
}

#define OP(op)                                        \
    static void test_kernel_parity_##op(void **state) \
    {                                                 \
        (void)state;                                  \
        judge_op(OP_##op);                            \
    }
KERNEL_OPS(OP)
#undef OP

/* ---- the judge judged: spoiled copies of the oracle must be refused -------------------------------- */

static struct op_table *honest;

static enum status silu_short(void *context, const struct op_silu *args)
{
    struct op_silu less = *args;
    less.count--;
    return honest->silu(context, &less);
}

static enum status silu_long(void *context, const struct op_silu *args)
{
    ((float *)args->y)[args->count] = 0.0f;
    return honest->silu(context, args);
}

static enum status silu_off(void *context, const struct op_silu *args)
{
    enum status status = honest->silu(context, args);
    ((float *)args->y)[args->count / 2] *= 1.0f + 0x1p-17f;
    return status;
}

static enum status silu_meddling(void *context, const struct op_silu *args)
{
    enum status status = honest->silu(context, args);
    ((float *)(uintptr_t)args->x)[0] = 1.0f;
    return status;
}

static enum status silu_missing(void *context, const struct op_silu *args)
{
    (void)context;
    (void)args;
    return FAIL(STATUS_UNSUPPORTED, "silu");
}

static void test_kernel_parity_spoiled_op_is_refused(void **state)
{
    (void)state;
    enum status (*const spoiled[])(void *, const struct op_silu *) = {
        silu_short, silu_long, silu_off, silu_meddling, silu_missing};
    assert_int_equal(op_table_create_ref(&honest), STATUS_OK);
    struct op_table copy = *honest;
    struct judge judge;
    judge_run(&judge, OP_silu, &copy, honest, "ref against itself");
    assert_int_equal(judge.failures, 0);
    for (int i = 0; i < COUNT(spoiled); i++) {
        copy.silu = spoiled[i];
        judge = (struct judge){
            .table = {&copy, honest}, .op = "silu", .quiet = true, .variant = "spoiled"};
        rng_init(&judge.rng, 1, 0, RNG_TEST);
        case_silu(&judge);
        assert_true(judge.failures > 0);
    }
    op_table_destroy(&honest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernel_parity_spoiled_op_is_refused),
#define OP(op) cmocka_unit_test(test_kernel_parity_##op),
                                       KERNEL_OPS(OP)
#undef OP
    };
    printf("TEST_SEED=%" PRIu64 "\n", test_seed());
    return cmocka_run_group_tests_name("kernel_parity", tests, NULL, NULL);
}
