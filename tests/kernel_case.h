/* tests/kernel_case.h - what the tests of CPU kernels share: a seeded generator, buffers between guard
 * cells, every instruction set and thread count, goldens, finite differences.
 *
 * run_everywhere calls a check on each table this processor can make. What the check passes to
 * remember() must have the same bits with any thread count and in AVX-512 and AVX2. */
#ifndef TESTS_KERNEL_CASE_H
#define TESTS_KERNEL_CASE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/memory.h"
#include "kernels/ops.h"

#define USED __attribute__((unused))

enum { GUARD_CELLS = 16, BUFFERS_MAX = 256, TEST_THREADS = 2 };
static const uint32_t GUARD_BITS = 0x7fc0beefU; /* a NaN: reading it shows as well */

static struct {
    void *block[BUFFERS_MAX];
    size_t cells[BUFFERS_MAX]; /* 0: no guards */
    int count;
    uint64_t random;
    uint64_t hash;
} kernel_case;

static USED float random_unit(void) /* [-1, 1) */
{
    kernel_case.random = kernel_case.random * 6364136223846793005U + 1442695040888963407U;
    return (float)(int32_t)(kernel_case.random >> 32) / 2147483648.0F;
}

static USED void *keep(void *block, size_t cells)
{
    assert_non_null(block);
    assert_true(kernel_case.count < BUFFERS_MAX);
    kernel_case.block[kernel_case.count] = block;
    kernel_case.cells[kernel_case.count++] = cells;
    return block;
}

/* [count] zeroed f32 between guard cells */
static USED float *floats(int64_t count)
{
    size_t cells = (size_t)count + 2 * GUARD_CELLS;
    uint32_t *block = keep(memory_array(cells, sizeof *block), cells);
    for (size_t i = 0; i < GUARD_CELLS; i++)
        block[i] = block[cells - 1 - i] = GUARD_BITS;
    return (float *)(void *)(block + GUARD_CELLS);
}

static USED float *random_floats(int64_t count)
{
    float *values = floats(count);
    for (int64_t i = 0; i < count; i++)
        values[i] = random_unit();
    return values;
}

static USED float *copy_floats(const float *source, int64_t count)
{
    float *values = floats(count);
    memcpy(values, source, (size_t)count * sizeof *values);
    return values;
}

static USED double *doubles(int64_t count)
{
    return keep(memory_array((size_t)count + 1, sizeof(double)), 0);
}

static USED int32_t *integers(int64_t count)
{
    return (int32_t *)(void *)floats(count);
}

static USED void check_guards_and_free(void)
{
    for (int b = 0; b < kernel_case.count; b++) {
        const uint32_t *block = kernel_case.block[b];
        size_t cells = kernel_case.cells[b];
        for (size_t i = 0; cells > 0 && i < GUARD_CELLS; i++) {
            assert_int_equal(block[i], GUARD_BITS);
            assert_int_equal(block[cells - 1 - i], GUARD_BITS);
        }
        memory_free(kernel_case.block[b]);
    }
    kernel_case.count = 0;
}

static USED void remember(const void *values, int64_t count)
{
    const uint32_t *words = values;
    for (int64_t i = 0; i < count; i++)
        kernel_case.hash = (kernel_case.hash ^ words[i]) * 1099511628211U;
}

static USED void run_everywhere(void (*check)(const struct op_table *))
{
    static const char *const isas[] = {"avx512", "avx2", "plain"};
    int64_t live = memory_blocks_live();
    uint64_t fused = 0;
    kernel_case.count = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t first = 0;
        for (int32_t threads = 1; threads <= TEST_THREADS; threads++) {
            struct op_table *table = NULL;
            assert_int_equal(setenv("WEIR_CPU_ISA", isas[i], 1), 0);
            enum status status = op_table_create_cpu(&table, threads);
            if (status == STATUS_UNSUPPORTED)
                continue;
            assert_int_equal(status, STATUS_OK);
            kernel_case.random = 20250614;
            kernel_case.hash = 14695981039346656037U;
            check(table);
            check_guards_and_free();
            op_table_destroy(&table);
            if (threads == 1)
                first = kernel_case.hash;
            assert_true(kernel_case.hash == first);
        }
        if (i < 2 && first != 0) {
            assert_true(fused == 0 || fused == first);
            fused = first;
        }
    }
    assert_int_equal(memory_blocks_live(), live);
}

static USED void assert_close(const float *values, const double *expected, int64_t count,
                              double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        double bound = tolerance * (1 + fabs(expected[i]));
        if (!(fabs((double)values[i] - expected[i]) <= bound))
            fail_msg("element %lld is %.9g, expected %.9g", (long long)i, (double)values[i],
                     expected[i]);
    }
}

static USED void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance * (1 + fabs(expected))))
        fail_msg("%.12g, expected %.12g", value, expected);
}

static USED void assert_bits(const float *a, const float *b, int64_t count)
{
    assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

/* ---- finite differences on a naive loss in f64 ----------------------------------------------------- */
typedef double (*loss_fn)(const void *problem);

static USED double *numeric_gradient(loss_fn loss, const void *problem, double *parameter,
                                     int64_t count)
{
    const double step = 1e-5;
    double *gradient = doubles(count);
    for (int64_t i = 0; i < count; i++) {
        double at = parameter[i];
        parameter[i] = at + step;
        double above = loss(problem);
        parameter[i] = at - step;
        gradient[i] = (above - loss(problem)) / (2 * step);
        parameter[i] = at;
    }
    return gradient;
}

static USED double *widen(const float *source, int64_t count)
{
    double *values = doubles(count);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)source[i];
    return values;
}

/* ---- goldens ----------------------------------------------------------------------------------------- */
static USED json_t *golden_open(const char *name)
{
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/tests/golden/spec/%s", SOURCE_DIR, name);
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL)
        fail_msg("%s: %s", path, error.text);
    return root;
}

static USED void flatten(const json_t *value, double *target, int64_t limit, int64_t *count)
{
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            flatten(json_array_get(value, i), target, limit, count);
        return;
    }
    assert_true(*count < limit);
    target[(*count)++] = json_number_value(value);
}

/* All numbers of an array of any depth, in order; exactly `count` of them. */
static USED double *golden(const json_t *object, const char *key, int64_t count)
{
    double *values = doubles(count);
    int64_t found = 0;
    const json_t *value = json_object_get(object, key);
    assert_non_null(value);
    flatten(value, values, count, &found);
    assert_int_equal(found, count);
    return values;
}

static USED float *golden_floats(const json_t *object, const char *key, int64_t count)
{
    const double *wide = golden(object, key, count);
    float *values = floats(count);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)wide[i];
    return values;
}

#endif
