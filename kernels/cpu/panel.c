/* The register tile under every matrix product of the backend: up to TILE_ROWS rows times a few
 * vectors of outputs, held in registers along one block of the sum. The functions below differ in
 * the number of rows only; each output element sees the same chain in all of them. */
#include "kernels/cpu/panel.h"

#include <string.h>

#include "core/check.h"

#if defined(CPU_ISA_avx512)
enum { LANES = 16 };
#elif defined(CPU_ISA_avx2)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

/* As many rows as the registers hold. Sanitizers check every access of the unrolled tiles, which takes
 * minutes to compile, so their builds have small tiles; no result depends on it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TILES(T) T(1) T(2)
#elif defined(CPU_ISA_avx512)
#define TILES(T) T(1) T(2) T(3) T(4) T(5) T(6) T(7) T(8) T(9) T(10) T(11) T(12)
#else
#define TILES(T) T(1) T(2) T(3) T(4) T(5) T(6)
#endif
#define TILE_LAST(rows) TILE_LAST_##rows = (rows),
enum { TILES(TILE_LAST) TILE_END };
enum { TILE_ROWS = TILE_END - 1 };

/* The processor's own vector: sixteen lanes would not stay in registers with AVX2. */
typedef float lanes __attribute__((vector_size(LANES * 4)));
typedef float lanes_memory __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

enum { TILE_VECTORS_MAX = 8 };

static inline lanes lanes_load(const float *source)
{
    return *(const lanes_memory *)source;
}

static inline void lanes_store(float *target, lanes value)
{
    *(lanes_memory *)target = value;
}

/* Where vector v of a tile starts in b: vectors fill a panel, then the next one. */
static inline int64_t vector_offset(int v, int64_t panel_stride)
{
    return (v * LANES / PANEL) * panel_stride + v * LANES % PANEL;
}

/* The edge of a matrix; out of line, it would be repeated for every vector of every tile. */
__attribute__((noinline)) static void store_part(float *z, lanes value, bool add, const float *bias,
                                                 int64_t count)
{
    float part[LANES];
    lanes_store(part, value);
    for (int64_t j = 0; j < count && j < LANES; j++) {
        const float sum = add ? z[j] + part[j] : part[j];
        z[j] = bias ? sum + bias[j] : sum;
    }
}

static inline void store_vector(float *z, lanes value, bool add, const float *bias, int64_t count)
{
    if (count < LANES) {
        store_part(z, value, add, bias, count);
        return;
    }
    if (add)
        value = lanes_load(z) + value;
    if (bias)
        value = value + lanes_load(bias);
    lanes_store(z, value);
}

/* The tile at row `row`, whose first factor is a, and column `column`; `rows`, `vectors` and `across`
 * are constants of the callers. across: the rows of a are its columns (a_row = 1). */
__attribute__((always_inline)) static inline void tile(const struct panel_block *p, const float *a,
                                                       int64_t row, int64_t column, const int rows,
                                                       const int vectors, const bool across)
{
    lanes sum[TILE_ROWS][TILE_VECTORS_MAX];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (lanes){0};
    const int64_t a_row = across ? 1 : p->a_row;
    const int64_t a_step = !across ? 1 : p->a_packed ? rows : p->a_step;
    const int64_t panel_stride = p->panel_stride;
    const float *b = p->b + (column / PANEL) * panel_stride + column % PANEL;
    for (int64_t i = 0; i < p->chain; i++, a += a_step, b += PANEL) {
        lanes w[TILE_VECTORS_MAX];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            w[v] = lanes_load(b + vector_offset(v, panel_stride));
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sum[r][v] += a[r * a_row] * w[v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            const int64_t j = column + v * LANES;
            store_vector(p->z + (row + r) * p->z_row + j, sum[r][v], p->add,
                         p->bias ? p->bias + j : NULL, p->columns - j);
        }
}

typedef void (*tile_fn)(const struct panel_block *p, const float *a, int64_t row, int64_t column);

#define TILE(rows)                                                                      \
    static void along_##rows(const struct panel_block *p, const float *a, int64_t row,  \
                             int64_t column)                                            \
    {                                                                                   \
        tile(p, a, row, column, rows, 2, false);                                        \
    }                                                                                   \
    static void across_##rows(const struct panel_block *p, const float *a, int64_t row, \
                              int64_t column)                                           \
    {                                                                                   \
        tile(p, a, row, column, rows, 2, true);                                         \
    }

TILES(TILE)

#define ALONG(rows)  along_##rows,
#define ACROSS(rows) across_##rows,
static const tile_fn along_tiles[] = {TILES(ALONG)};
static const tile_fn across_tiles[] = {TILES(ACROSS)};

/* One or two rows take more vectors: enough chains side by side to hide the latency of one. */
enum { WIDE_1 = 8, WIDE_2 = 4 };

static void wide_1(const struct panel_block *p, const float *a, int64_t row, int64_t column)
{
    tile(p, a, row, column, 1, WIDE_1, false);
}

static void wide_2(const struct panel_block *p, const float *a, int64_t row, int64_t column)
{
    tile(p, a, row, column, 2, WIDE_2, false);
}

/* Columns done by wide tiles, which read whole vectors inside the padded panels only. */
static int64_t multiply_wide(const struct panel_block *p)
{
    const int64_t step = p->rows == 1 ? WIDE_1 * LANES : WIDE_2 * LANES;
    const int64_t padded = panel_count(p->columns) * PANEL;
    int64_t column = 0;
    for (; column < p->columns && column + step <= padded; column += step)
        (p->rows == 1 ? wide_1 : wide_2)(p, p->a, 0, column);
    return column;
}

/* Rows are spread evenly over the tiles: rows of the next tile, when `tiles` of them take `left`. */
static int64_t next_tile(int64_t left, int64_t tiles)
{
    return (left + tiles - 1) / tiles;
}

static int64_t tile_count(int64_t rows)
{
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

void CPU_NAME(panel_multiply)(const struct panel_block *p)
{
    const bool along = p->a_step == 1 && !p->a_packed;
    const tile_fn *kind = along ? along_tiles : across_tiles;
    int64_t column = p->rows <= 2 && along ? multiply_wide(p) : 0;
    for (; column < p->columns; column += 2 * LANES) {
        int64_t row = 0;
        for (int64_t tiles = tile_count(p->rows); tiles > 0; tiles--) {
            const int64_t count = next_tile(p->rows - row, tiles);
            const float *a = p->a + row * (p->a_packed ? p->chain : p->a_row);
            kind[count - 1](p, a, row, column);
            row += count;
        }
    }
}

typedef void (*pack_fn)(int64_t chain, const float *source, int64_t stride, float *packed);

#define PACK(rows)                                                                             \
    static void pack_##rows(int64_t chain, const float *source, int64_t stride, float *packed) \
    {                                                                                          \
        for (int64_t i = 0; i < chain; i++)                                                    \
            memcpy(packed + i * (rows), source + i * stride, (rows) * sizeof *packed);         \
    }

TILES(PACK)

#define PACKS(rows) pack_##rows,
static const pack_fn packs[] = {TILES(PACKS)};

void CPU_NAME(panel_pack)(int64_t rows, int64_t chain, const float *source, int64_t stride,
                          float *packed)
{
    int64_t row = 0;
    for (int64_t tiles = tile_count(rows); tiles > 0; tiles--) {
        const int64_t count = next_tile(rows - row, tiles);
        packs[count - 1](chain, source + row, stride, packed + row * chain);
        row += count;
    }
}

void CPU_NAME(panel_rows)(int64_t rows, int64_t n, int64_t k, const float *x, int64_t x_stride,
                          const float *panels, const float *bias, float *y, int64_t y_stride)
{
    /* A panel's block stays in the cache for all rows; few rows take all panels at once. */
    const int64_t width = rows <= TILE_ROWS ? panel_count(n) * PANEL : PANEL;
    for (int64_t column = 0; column < n; column += width)
        for (int64_t begin = 0; begin < k; begin += PANEL_BLOCK) {
            const int64_t left = k - begin;
            const struct panel_block block = {
                .rows = rows,
                .chain = left < PANEL_BLOCK ? left : PANEL_BLOCK,
                .columns = n - column < width ? n - column : width,
                .a_row = x_stride,
                .a_step = 1,
                .panel_stride = PANEL * k,
                .a = x + begin,
                .b = panels + column * k + begin * PANEL,
                .bias = bias && left <= PANEL_BLOCK ? bias + column : NULL,
                .z = y + column,
                .z_row = y_stride,
                .add = begin > 0,
            };
            CPU_NAME(panel_multiply)(&block);
        }
}

void CPU_NAME(panel_copy)(int64_t m, int64_t columns, const float *source, int64_t stride, float *b)
{
    CHECK(columns <= PANEL);
    for (int64_t i = 0; i < m; i++, b += PANEL) {
        const float *from = source + i * stride;
        if (columns == PANEL) {
            for (int j = 0; j < PANEL; j++)
                b[j] = from[j];
            continue;
        }
        for (int64_t j = 0; j < columns; j++)
            b[j] = from[j];
        for (int64_t j = columns; j < PANEL; j++)
            b[j] = 0.0f;
    }
}
