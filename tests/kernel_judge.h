/* tests/kernel_judge.h - runs one op on two tables and compares what they wrote.
 *
 * side 0 is the table under test, side 1 the oracle. Each array lives in both tables' memory between
 * guard cells; outputs start as NaN, so a cell that only one side wrote is found; inputs must come back
 * unchanged. Values agree when |a - b| <= bound * (|b| + max(rms(b), size)), b from the oracle. The bits of side 0
 * go into a hash: runs that must give equal bits compare hashes.
 *
 * Storage: activations and weights (the *_act functions) are bf16 in the memory of a table whose act_bytes is 2.
 * Their first contents are rounded to bf16 before either side sees them, so both compute from the same numbers, and
 * an output may be off by half a unit of bf16 (2^-8 of its value) more than its bound; a bound of 0 stays
 * exact. `inner` is what roundings to bf16 inside an op add there; each has its reason beside it. */
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

#define BF16_UNIT 0x1p-8 /* the same for bf16 */

enum array_kind { ARRAY_F32, ARRAY_ACT, ARRAY_I32, ARRAY_U8, ARRAY_OPAQUE, ARRAY_PAGES };

struct array {
    const char *name;
    enum array_kind kind;
    bool output;
    double bound;
    double size;  /* of the numbers it is a difference of, where that is more than its rms */
    double inner; /* added to the bound where storage is bf16 */
    size_t bytes; /* without guards; of an opaque array: of the larger side */
    bool settled; /* first contents are final */
    int64_t kv_heads, head_size; /* of pages, with what is needed to find a position in them */
    int32_t slots, pages_per_slot;
    const int32_t *page_table;
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
    bool bits_only; /* side 1 does not run: the hash of side 0 is all that is wanted */
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

/* The same, of activations or weights. */
static inline struct array *input_act(struct judge *judge, const char *name, int64_t count,
                                      double scale)
{
    struct array *array = input(judge, name, count, scale);
    array->kind = ARRAY_ACT;
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

static inline struct array *output_act(struct judge *judge, const char *name, int64_t count,
                                       double bound)
{
    struct array *array = output(judge, name, count, bound);
    array->kind = ARRAY_ACT;
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

static inline struct array *in_out_act(struct judge *judge, const char *name, int64_t count,
                                       double scale, double bound)
{
    struct array *array = in_out(judge, name, count, scale, bound);
    array->kind = ARRAY_ACT;
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

static inline uint16_t bf16_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float bf16_value(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The backend's own layout (pages, packed weights): guarded, not compared; starts as noise that is finite
 * whether read as f32 or as bf16. */
static inline struct array *opaque(struct judge *judge, const char *name, size_t bytes)
{
    struct array *array = input(judge, name, (int64_t)(bytes / sizeof(float)), 3.0);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        array->i[i] = (int32_t)(bf16_bits(array->f[i]) * 0x10001u);
    array->kind = ARRAY_OPAQUE;
    array->output = true;
    return array;
}

static inline bool judge_bf16(const struct judge *judge)
{
    return judge->table[0]->act_bytes == 2 || judge->table[1]->act_bytes == 2;
}

/* Cells of pages and activations: bf16 on this side? */
static inline bool array_halved(const struct judge *judge, const struct array *array, int side)
{
    return (array->kind == ARRAY_ACT || array->kind == ARRAY_PAGES) &&
           judge->table[side]->act_bytes == 2;
}

static inline size_t array_bytes(const struct judge *judge, const struct array *array, int side)
{
    const struct op_table *table = judge->table[side];
    if (array->kind == ARRAY_PAGES)
        return (size_t)(2 * array->slots * array->pages_per_slot * table->kv_tile *
                        array->kv_heads * array->head_size * table->act_bytes);
    return array_halved(judge, array, side) ? array->bytes / 2 : array->bytes;
}

/* First contents as both sides will see them: call it before reading them on the host. */
static inline void settle(const struct judge *judge, struct array *array)
{
    bool round = array->kind == ARRAY_ACT && judge_bf16(judge);
    for (size_t i = 0; round && !array->settled && i < array->bytes / sizeof(float); i++)
        array->f[i] = bf16_value(bf16_bits(array->f[i]));
    array->settled = true;
}

/* Contents for one side, guards included; free with memory_free. */
static inline uint8_t *array_image(struct judge *judge, struct array *array, int side)
{
    size_t bytes = array_bytes(judge, array, side);
    uint8_t *image = memory_alloc(bytes + 2 * JUDGE_GUARD);
    CHECK(image);
    memset(image, 0xa5, bytes + 2 * JUDGE_GUARD);
    settle(judge, array);
    uint16_t *halves = (uint16_t *)(void *)(image + JUDGE_GUARD);
    if (array->kind == ARRAY_PAGES)
        memset(halves, 0xff, bytes);
    else if (array_halved(judge, array, side))
        for (size_t i = 0; i < bytes / 2; i++)
            halves[i] = bf16_bits(array->f[i]);
    else
        memcpy(halves, array->f, bytes);
    return image;
}

/* The array in the memory of one table; written there at first use. NULL stays NULL. */
static inline void *at(struct judge *judge, struct array *array, int side)
{
    if (!array)
        return NULL;
    struct op_table *table = judge->table[side];
    if (!array->memory[side]) {
        size_t bytes = array_bytes(judge, array, side) + 2 * JUDGE_GUARD;
        uint8_t *image = array_image(judge, array, side);
        CHECK(table->memory_create(table->context, bytes, &array->memory[side]) == STATUS_OK);
        CHECK(table->memory_write(table->context, array->memory[side], image, bytes) == STATUS_OK);
        memory_free(image);
    }
    return (uint8_t *)array->memory[side] + JUDGE_GUARD;
}

/* From element `offset` on. */
static inline void *at_offset(struct judge *judge, struct array *array, int64_t offset, int side)
{
    size_t item = array_halved(judge, array, side) ? 2 : 4;
    return (uint8_t *)at(judge, array, side) + (size_t)offset * item;
}

static inline int judge_sides(const struct judge *judge)
{
    return judge->bits_only ? 1 : 2;
}

/* Large shapes are for the GPU, where they reach other kernels. */
static inline bool judge_small(const struct judge *judge)
{
    return strncmp(judge->table[0]->name, "cuda", 4) != 0;
}

static inline void judge_ran(struct judge *judge, int side, enum status status)
{
    if (status == STATUS_OK)
        return;
    judge->run_failed = true;
    judge_fail(judge, "%s returned %s", judge->table[side]->name, status_last_error());
}

/* RUN(judge, silu, .count = n, .x = AT(x), .y = AT(y)) */
#define AT(array)              at(judge, array, side)
#define AT_OFFSET(array, from) at_offset(judge, array, from, side)
#define RUN(judge, op, ...)                                                     \
    for (int side = 0; side < judge_sides(judge); side++) {                     \
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
    bool stored = judge_bf16(judge) && (array->kind == ARRAY_ACT || array->kind == ARRAY_PAGES);
    double bound = array->bound + (judge_bf16(judge) ? array->inner : 0.0);
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&got[i], &want[i], sizeof(float)) == 0 || (isnan(got[i]) && isnan(want[i])))
            continue;
        double error = fabs((double)got[i] - (double)want[i]);
        double allowed = bound * (fabs((double)want[i]) + fmax(rms, array->size));
        if (stored && bound > 0.0) /* 1 + 2^-7: the rounding is of a value that is off already */
            allowed += BF16_UNIT * (1.0 + 0x1p-7) * fabs((double)want[i]);
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

/* Place of a key's or value's element d in the tile of its head. Hosts: keys [D][tile], values [tile][D]. CUDA:
 * [tile][D], and where bf16 rows are whole 128-byte lines, lines of 64 elements whose 16-byte pieces are
 * exchanged as tensor cores read shared memory (kernels/cuda/attention.cuh, kv_place). */
static inline int64_t page_place(const struct op_table *table, int64_t size, bool value,
                                 int64_t token, int64_t d)
{
    int64_t tile = table->kv_tile;
    if (strncmp(table->name, "cuda", 4) != 0)
        return value ? token * size + d : d * tile + token;
    if (table->act_bytes == 2 && size % 64 == 0)
        return d / 64 * tile * 64 + token * 64 + ((d / 8 % 8) ^ (token % 8)) * 8 + d % 8;
    return token * size + d;
}

static inline float page_cell(const struct op_table *table, const struct array *array,
                              const void *cells, int64_t page, bool value, const int64_t at[3])
{
    int64_t head = (2 * page + value) * array->kv_heads + at[1];
    int64_t from = head * table->kv_tile * array->head_size +
                   page_place(table, array->head_size, value, at[0], at[2]);
    return table->act_bytes == 2 ? bf16_value(((const uint16_t *)cells)[from])
                                 : ((const float *)cells)[from];
}

/* Pages as [slot][position][G][D] pairs of key and value, whatever the tile and the layout. */
static inline void pages_in_order(const struct judge *judge, const struct array *array, int side,
                                  const void *cells, float *out)
{
    const struct op_table *table = judge->table[side];
    int64_t pairs = (int64_t)(array->bytes / (2 * sizeof(float)));
    int64_t width = array->kv_heads * array->head_size, tokens = pairs / width / array->slots;
    for (int64_t i = 0; i < pairs; i++) {
        int64_t slot = i / width / tokens, position = i / width % tokens;
        int64_t page = array->page_table[slot * array->pages_per_slot + position / table->kv_tile];
        const int64_t at[3] = {position % table->kv_tile, i % width / array->head_size,
                               i % array->head_size};
        out[2 * i] = page_cell(table, array, cells, page, false, at);
        out[2 * i + 1] = page_cell(table, array, cells, page, true, at);
    }
}

/* Guards and unchanged inputs. */
static inline void check_cells(struct judge *judge, struct array *array, int side,
                               const uint8_t *copy)
{
    size_t bytes = array_bytes(judge, array, side) + 2 * JUDGE_GUARD;
    const char *name = judge->table[side]->name;
    uint8_t *image = array_image(judge, array, side);
    if (memcmp(copy, image, JUDGE_GUARD) != 0)
        judge_fail(judge, "%s wrote before %s", name, array->name);
    if (memcmp(copy + bytes - JUDGE_GUARD, image + bytes - JUDGE_GUARD, JUDGE_GUARD) != 0)
        judge_fail(judge, "%s wrote behind %s", name, array->name);
    if (!array->output && memcmp(copy, image, bytes) != 0)
        judge_fail(judge, "%s changed its input %s", name, array->name);
    memory_free(image);
}

/* What one side holds now, as f32 where it holds bf16, without guards; frees the side's memory. */
static inline uint8_t *array_take(struct judge *judge, struct array *array, int side)
{
    size_t bytes = array_bytes(judge, array, side) + 2 * JUDGE_GUARD;
    struct op_table *table = judge->table[side];
    size_t most = bytes > array->bytes ? bytes : array->bytes;
    uint8_t *copy = memory_alloc(bytes), *cells = memory_alloc(2 * most);
    CHECK(copy && cells);
    (void)at(judge, array, side);
    judge_ran(judge, side, table->memory_read(table->context, array->memory[side], copy, bytes));
    table->memory_destroy(table->context, &array->memory[side]);
    if (!judge->run_failed)
        check_cells(judge, array, side, copy);
    if (array->kind == ARRAY_PAGES)
        pages_in_order(judge, array, side, copy + JUDGE_GUARD, (float *)(void *)cells);
    else if (array_halved(judge, array, side))
        for (size_t i = 0; i < array->bytes / sizeof(float); i++)
            ((float *)(void *)cells)[i] =
                bf16_value(((const uint16_t *)(const void *)(copy + JUDGE_GUARD))[i]);
    else
        memcpy(cells, copy + JUDGE_GUARD, array->bytes);
    memory_free(copy);
    return cells;
}

/* Compares all arrays of the shape and forgets them. */
static inline void judge_compare(struct judge *judge)
{
    for (int n = 0; n < judge->count; n++) {
        struct array *array = &judge->arrays[n];
        uint8_t *got = array_take(judge, array, 0);
        uint8_t *want = judge->bits_only ? NULL : array_take(judge, array, 1);
        bool compared = array->output && array->kind != ARRAY_OPAQUE && !judge->run_failed;
        for (size_t i = 0; compared && i < array->bytes; i++)
            judge->hash = (judge->hash ^ got[i]) * 0x100000001b3u;
        compared = compared && want;
        if (compared && (array->kind == ARRAY_I32 || array->kind == ARRAY_U8))
            compare_exact(judge, array, got, want);
        else if (compared)
            compare_f32(judge, array, (const float *)(const void *)got,
                        (const float *)(const void *)want);
        memory_free(got);
        memory_free(want);
    }
    for (int n = 0; n < judge->count; n++)
        memory_free(judge->arrays[n].host);
    judge->count = 0;
    judge->run_failed = false;
}

/* Compares a number that an op wrote to host memory; bound relative to the oracle's plus `size`. */
static inline void judge_number(struct judge *judge, const char *name, const double value[2],
                                double bound, double size)
{
    if (!judge->run_failed && !judge->bits_only &&
        !(fabs(value[0] - value[1]) <= bound * (fabs(value[1]) + size)))
        judge_fail(judge, "%s is %.17g, oracle %.17g", name, value[0], value[1]);
    for (size_t i = 0; i < sizeof value[0]; i++)
        judge->hash = (judge->hash ^ ((const uint8_t *)value)[i]) * 0x100000001b3u;
}

#define SHAPE(judge, ...) ((void)snprintf((judge)->shape, sizeof(judge)->shape, __VA_ARGS__))

#endif
