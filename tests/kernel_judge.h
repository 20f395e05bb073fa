/* tests/kernel_judge.h - runs one op on two tables and compares what they wrote.
 *
 * side 0 is the table under test, side 1 the oracle. Each array lives in both tables' memory between
 * guard cells; outputs start as NaN, so a cell that only one side wrote is found; inputs must come back
 * unchanged. Values agree when |a - b| <= bound * (|b| + max(rms(b), size)), b from the oracle. The bits of side 0
 * go into a hash: runs that must give equal bits compare hashes. */
#ifndef TESTS_KERNEL_JUDGE_H
#define TESTS_KERNEL_JUDGE_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "core/rng.h"
#include "kernels/ops.h"

#define JUDGE_GUARD  256 /* bytes: 64 floats before and after, keeps 64-byte alignment */
#define JUDGE_ARRAYS 24
#define UNIT         0x1p-24 /* half a unit in the last place of an f32 near 1 */

enum array_kind { ARRAY_F32, ARRAY_I32, ARRAY_U8, ARRAY_OPAQUE };

struct array {
    const char *name;
    enum array_kind kind;
    bool output;
    double bound;
    double size;     /* of the numbers it is a difference of, where that is more than its rms */
    size_t bytes;    /* without guards; of an opaque array: of the larger side */
    uint8_t *host;   /* first contents, guards included */
    void *memory[2]; /* of each table */
    float *f;        /* host + guard */
    int32_t *i;      /* the same */
};

struct judge {
    struct op_table *table[2];
    const char *op, *variant; /* "avx2 threads 2" */
    uint64_t seed;
    struct rng rng;
    struct array arrays[JUDGE_ARRAYS];
    int count;
    char shape[160];
    bool run_failed, quiet;
    int failures;
    uint64_t hash;
    double worst; /* largest error as a share of its bound */
};

static inline void judge_fail(struct judge *judge, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void judge_fail(struct judge *judge, const char *fmt, ...)
{
    if (judge->failures++ >= 5 || judge->quiet)
        return;
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s [%s] %s: ", judge->op, judge->variant, judge->shape);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, " (TEST_SEED=%" PRIu64 ")\n", judge->seed);
    va_end(args);
}

static inline struct array *array_new(struct judge *judge, const char *name, enum array_kind kind,
                                      size_t bytes)
{
    CHECK(judge->count < JUDGE_ARRAYS);
    struct array *array = &judge->arrays[judge->count++];
    *array = (struct array){.name = name, .kind = kind, .bytes = bytes};
    array->host = memory_alloc(bytes + 2 * JUDGE_GUARD);
    CHECK(array->host);
    memset(array->host, 0xa5, bytes + 2 * JUDGE_GUARD);
    memset(array->host + JUDGE_GUARD, 0xff, bytes);
    array->f = (float *)(void *)(array->host + JUDGE_GUARD);
    array->i = (int32_t *)(void *)array->f;
    return array;
}

/* Normal numbers times scale. */
static inline struct array *input(struct judge *judge, const char *name, int64_t count,
                                  double scale)
{
    struct array *array = array_new(judge, name, ARRAY_F32, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        array->f[i] = (float)(scale * rng_normal(&judge->rng));
    return array;
}

static inline struct array *input_i32(struct judge *judge, const char *name, int64_t count)
{
    return array_new(judge, name, ARRAY_I32, (size_t)count * sizeof(int32_t));
}

static inline struct array *output(struct judge *judge, const char *name, int64_t count,
                                   double bound)
{
    struct array *array = array_new(judge, name, ARRAY_F32, (size_t)count * sizeof(float));
    array->output = true;
    array->bound = bound;
    return array;
}

/* Read and written, with first contents. */
static inline struct array *in_out(struct judge *judge, const char *name, int64_t count,
                                   double scale, double bound)
{
    struct array *array = input(judge, name, count, scale);
    array->output = true;
    array->bound = bound;
    return array;
}

static inline struct array *output_i32(struct judge *judge, const char *name, int64_t count)
{
    struct array *array = input_i32(judge, name, count);
    array->output = true;
    return array;
}

static inline struct array *output_u8(struct judge *judge, const char *name, int64_t count)
{
    struct array *array = array_new(judge, name, ARRAY_U8, (size_t)count);
    array->output = true;
    return array;
}

/* The backend's own layout (pages, packed weights): guarded, not compared; starts as noise. */
static inline struct array *opaque(struct judge *judge, const char *name, size_t bytes)
{
    struct array *array = input(judge, name, (int64_t)(bytes / sizeof(float)), 3.0);
    array->kind = ARRAY_OPAQUE;
    array->output = true;
    return array;
}

/* The array in the memory of one table; written there at first use. NULL stays NULL. */
static inline void *at(struct judge *judge, struct array *array, int side)
{
    if (!array)
        return NULL;
    struct op_table *table = judge->table[side];
    size_t bytes = array->bytes + 2 * JUDGE_GUARD;
    if (!array->memory[side]) {
        CHECK(table->memory_create(table->context, bytes, &array->memory[side]) == STATUS_OK);
        CHECK(table->memory_write(table->context, array->memory[side], array->host, bytes) ==
              STATUS_OK);
    }
    return (uint8_t *)array->memory[side] + JUDGE_GUARD;
}

static inline void judge_ran(struct judge *judge, int side, enum status status)
{
    if (status == STATUS_OK)
        return;
    judge->run_failed = true;
    judge_fail(judge, "%s returned %s", judge->table[side]->name, status_last_error());
}

/* RUN(judge, silu, .count = n, .x = AT(x), .y = AT(y)) */
#define AT(array) at(judge, array, side)
#define RUN(judge, op, ...)                                                     \
    for (int side = 0; side < 2; side++) {                                      \
        const struct op_##op run_args = {__VA_ARGS__};                          \
        struct op_table *run_table = (judge)->table[side];                      \
        judge_ran((judge), side, run_table->op(run_table->context, &run_args)); \
    }

static inline void compare_f32(struct judge *judge, const struct array *array, const float *got,
                               const float *want)
{
    size_t count = array->bytes / sizeof(float);
    double squares = 0.0, written = 0.0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(want[i])) {
            squares += (double)want[i] * (double)want[i];
            written += 1.0;
        }
    double rms = written > 0.0 ? sqrt(squares / written) : 0.0;
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&got[i], &want[i], sizeof(float)) == 0)
            continue;
        double error = fabs((double)got[i] - (double)want[i]);
        double allowed = array->bound * (fabs((double)want[i]) + fmax(rms, array->size));
        if (error <= allowed)
            judge->worst = fmax(judge->worst, error / allowed);
        else
            judge_fail(judge,
                       "%s[%zu of %zu] is %.9g, oracle %.9g, rms %.3g: error %.3g, bound %.3g",
                       array->name, i, count, (double)got[i], (double)want[i], rms, error, allowed);
        if (!(error <= allowed))
            return;
    }
}

static inline void compare_exact(struct judge *judge, const struct array *array, const uint8_t *got,
                                 const uint8_t *want)
{
    size_t item = array->kind == ARRAY_U8 ? 1 : sizeof(int32_t);
    for (size_t i = 0; i < array->bytes / item; i++)
        if (memcmp(got + i * item, want + i * item, item) != 0) {
            int32_t pair[2] = {0, 0};
            memcpy(&pair[0], got + i * item, item);
            memcpy(&pair[1], want + i * item, item);
            judge_fail(judge, "%s[%zu] is %d, oracle %d", array->name, i, pair[0], pair[1]);
            return;
        }
}

/* What one side holds now, guards included; frees the side's memory. */
static inline uint8_t *array_take(struct judge *judge, struct array *array, int side)
{
    size_t bytes = array->bytes + 2 * JUDGE_GUARD;
    struct op_table *table = judge->table[side];
    uint8_t *copy = memory_alloc(bytes);
    CHECK(copy);
    (void)at(judge, array, side);
    CHECK(table->memory_read(table->context, array->memory[side], copy, bytes) == STATUS_OK);
    table->memory_destroy(table->context, &array->memory[side]);
    if (memcmp(copy, array->host, JUDGE_GUARD) != 0)
        judge_fail(judge, "%s wrote before %s", table->name, array->name);
    if (memcmp(copy + bytes - JUDGE_GUARD, array->host + bytes - JUDGE_GUARD, JUDGE_GUARD) != 0)
        judge_fail(judge, "%s wrote behind %s", table->name, array->name);
    if (!array->output && memcmp(copy, array->host, bytes) != 0)
        judge_fail(judge, "%s changed its input %s", table->name, array->name);
    return copy;
}

/* Compares all arrays of the shape and forgets them. */
static inline void judge_compare(struct judge *judge)
{
    for (int n = 0; n < judge->count; n++) {
        struct array *array = &judge->arrays[n];
        uint8_t *got = array_take(judge, array, 0), *want = array_take(judge, array, 1);
        const uint8_t *a = got + JUDGE_GUARD, *b = want + JUDGE_GUARD;
        bool compared = array->output && array->kind != ARRAY_OPAQUE && !judge->run_failed;
        for (size_t i = 0; compared && i < array->bytes; i++)
            judge->hash = (judge->hash ^ a[i]) * 0x100000001b3u;
        if (compared && array->kind == ARRAY_F32)
            compare_f32(judge, array, (const float *)(const void *)a,
                        (const float *)(const void *)b);
        else if (compared)
            compare_exact(judge, array, a, b);
        memory_free(got);
        memory_free(want);
        memory_free(array->host);
    }
    judge->count = 0;
    judge->run_failed = false;
}

/* Compares a number that an op wrote to host memory; bound relative to the oracle's plus `size`. */
static inline void judge_number(struct judge *judge, const char *name, const double value[2],
                                double bound, double size)
{
    if (!judge->run_failed && !(fabs(value[0] - value[1]) <= bound * (fabs(value[1]) + size)))
        judge_fail(judge, "%s is %.17g, oracle %.17g", name, value[0], value[1]);
    for (size_t i = 0; i < sizeof value[0]; i++)
        judge->hash = (judge->hash ^ ((const uint8_t *)value)[i]) * 0x100000001b3u;
}

#define SHAPE(judge, ...) ((void)snprintf((judge)->shape, sizeof(judge)->shape, __VA_ARGS__))

#endif
