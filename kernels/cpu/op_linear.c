/* Matrix products: packing, y = x W^T + b, dx = dy W, dW += dy^T x (kernels/ops.h), over the blocks
 * of kernels/cpu/panel.h. Threads own disjoint outputs; sums run in the order given there. */
#include "core/check.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu_pool.h"

/* Below this many multiply-adds a call is one task: 20 us, about what waking a thread costs. */
enum { TASK_WORK = 1 << 20, ROW_BLOCK = 192 };

/* How a call is cut: tasks = experts x panel groups x row blocks. */
struct cut {
    int64_t experts, groups, blocks;
    int64_t panels, panels_each, rows_each;
};

static int64_t at_least_one(int64_t value)
{
    return value > 1 ? value : 1;
}

static struct cut cut_make(const struct pool *pool, int64_t rows, int64_t experts, int64_t columns,
                           int64_t chain, int64_t row_block)
{
    const int64_t panels = panel_count(columns);
    struct cut cut = {.experts = experts, .groups = 1, .blocks = 1};
    cut.panels = cut.panels_each = panels;
    cut.rows_each = rows;
    if (pool_threads(pool) == 1 || rows * columns * chain < TASK_WORK || rows == 0)
        return cut;
    if (row_block > 0 && rows > row_block) {
        cut.rows_each = row_block;
        cut.blocks = (rows + row_block - 1) / row_block;
    }
    const int64_t wanted = 4 * pool_threads(pool);
    const int64_t groups = at_least_one(wanted / (cut.blocks * experts));
    cut.panels_each = (panels + groups - 1) / groups;
    cut.groups = (panels + cut.panels_each - 1) / cut.panels_each;
    return cut;
}

static int64_t cut_tasks(const struct cut *cut)
{
    return cut->experts * cut->groups * cut->blocks;
}

/* What one task owns: rows [row, row + rows) of expert e, columns [column, column + columns). */
struct part {
    int64_t expert, row, rows, column, columns;
};

static struct part cut_part(const struct cut *cut, int64_t task, int64_t rows, int64_t columns,
                            const int32_t *expert_offset)
{
    struct part part;
    const int64_t block = task % cut->blocks;
    const int64_t group = task / cut->blocks % cut->groups;
    part.expert = task / cut->blocks / cut->groups;
    const int64_t begin = expert_offset ? expert_offset[part.expert] : 0;
    const int64_t end = expert_offset ? expert_offset[part.expert + 1] : rows;
    part.row = begin + block * cut->rows_each;
    part.rows = end - part.row < cut->rows_each ? end - part.row : cut->rows_each;
    part.column = group * cut->panels_each * PANEL;
    part.columns = cut->panels_each * PANEL;
    if (part.columns > columns - part.column)
        part.columns = columns - part.column;
    return part;
}

enum status CPU_NAME(linear_pack)(void *context, const struct op_linear_pack *args)
{
    (void)context;
    const int64_t n = args->n;
    const int64_t k = args->k;
    for (int64_t e = 0; e < args->experts; e++) {
        const float *weight = (const float *)args->weight + e * n * k;
        float *packed = (float *)args->packed + e * panel_floats(n, k);
        for (int64_t column = 0; column < n; column += PANEL, packed += PANEL * k)
            for (int64_t j = 0; j < PANEL; j++)
                for (int64_t i = 0; i < k; i++)
                    packed[i * PANEL + j] = column + j < n ? weight[(column + j) * k + i] : 0.0f;
    }
    return STATUS_OK;
}

struct linear_job {
    const struct op_linear *args;
    struct cut cut;
};

static void linear_task(void *argument, int64_t task, int32_t worker)
{
    (void)worker;
    const struct linear_job *job = argument;
    const struct op_linear *args = job->args;
    const struct part part = cut_part(&job->cut, task, args->rows, args->n, args->expert_offset);
    if (part.rows <= 0)
        return;
    const float *packed = (const float *)args->packed +
                          part.expert * panel_floats(args->n, args->k) + part.column * args->k;
    const float *bias = args->bias ? (const float *)args->bias + part.column : NULL;
    CPU_NAME(panel_rows)
    (part.rows, part.columns, args->k, (const float *)args->x + part.row * args->x_stride,
     args->x_stride, packed, bias,
     (args->y ? (float *)args->y : args->y_float) + part.row * args->y_stride + part.column,
     args->y_stride);
}

enum status CPU_NAME(linear)(void *context, const struct op_linear *args)
{
    if (args->virtual_tp > 1)
        return FAIL(STATUS_UNSUPPORTED, "virtual_tp %d: the CPU backend has 1 only",
                    args->virtual_tp);
    CHECK(args->expert_offset ? !args->bias : args->experts == 1);
    CHECK(args->k > 0);
    struct linear_job job = {.args = args};
    job.cut = cut_make(context, args->rows, args->experts, args->n, args->k, ROW_BLOCK);
    pool_run(context, linear_task, &job, cut_tasks(&job.cut));
    return STATUS_OK;
}

struct input_job {
    const struct op_linear_backward_input *args;
    struct pool *pool;
    struct cut cut;
};

/* The sum runs over n; W[n, k .. k + PANEL) is copied together block by block: its rows are often a
 * power of two apart and would fall on one cache set. */
static void input_task(void *argument, int64_t task, int32_t worker)
{
    const struct input_job *job = argument;
    const struct op_linear_backward_input *args = job->args;
    const struct part part = cut_part(&job->cut, task, args->rows, args->k, args->expert_offset);
    if (part.rows <= 0)
        return;
    float *copy = pool_scratch(job->pool, worker);
    const float *weight = (const float *)args->weight + part.expert * args->n * args->k;
    for (int64_t column = part.column; column < part.column + part.columns; column += PANEL) {
        const int64_t left = part.column + part.columns - column;
        struct panel_block block = {
            .rows = part.rows,
            .columns = left < PANEL ? left : PANEL,
            .a_row = args->dy_stride,
            .a_step = 1,
            .b = copy,
            .z = (float *)args->dx + part.row * args->dx_stride + column,
            .z_row = args->dx_stride,
            .add = args->accumulate,
        };
        for (int64_t n = 0; n < args->n; n += PANEL_BLOCK, block.add = true) {
            block.chain = args->n - n < PANEL_BLOCK ? args->n - n : PANEL_BLOCK;
            block.a = (const float *)args->dy + part.row * args->dy_stride + n;
            CPU_NAME(panel_copy)
            (block.chain, block.columns, weight + n * args->k + column, args->k, copy);
            CPU_NAME(panel_multiply)(&block);
        }
    }
}

enum status CPU_NAME(linear_backward_input)(void *context,
                                            const struct op_linear_backward_input *args)
{
    CHECK(args->expert_offset || args->experts == 1);
    struct input_job job = {.args = args, .pool = context};
    job.cut = cut_make(context, args->rows, args->experts, args->k, args->n, 0);
    TRY(pool_reserve(context, sizeof(float) * PANEL * PANEL_BLOCK));
    pool_run(context, input_task, &job, cut_tasks(&job.cut));
    return STATUS_OK;
}

/* A task of the weight gradient owns outputs [n, n + N_BLOCK ..) x [k, k + K_PANELS panels). For each
 * block of the sum it copies the panels of x once (256 KiB) and a dy of long rows, whose columns would
 * fall on a few cache sets, part by part (96 KiB): both stay in the second cache. */
enum { N_BLOCK = 96, K_PANELS = 8, LONG_ROW = 512 };

struct weight_job {
    const struct op_linear_backward_weight *args;
    struct pool *pool;
    int64_t groups, panels_each; /* over k */
    int64_t ranges, range;       /* over n */
};

static struct weight_job weight_cut(const struct op_linear_backward_weight *args, struct pool *pool)
{
    struct weight_job job = {.args = args, .pool = pool, .ranges = 1, .range = args->n};
    const int64_t panels = panel_count(args->k);
    job.groups = (panels + K_PANELS - 1) / K_PANELS;
    job.panels_each = (panels + job.groups - 1) / job.groups;
    if (pool_threads(pool) == 1 || args->rows * args->n * args->k < TASK_WORK)
        return job;
    const int64_t blocks = (args->n + N_BLOCK - 1) / N_BLOCK;
    const int64_t wanted = at_least_one(4 * pool_threads(pool) / (job.groups * args->experts));
    const int64_t each = (blocks + wanted - 1) / wanted;
    job.range = each * N_BLOCK;
    job.ranges = (blocks + each - 1) / each;
    return job;
}

/* What one block of the sum adds: rows [row, row + chain) of x and dy. */
struct weight_part {
    int64_t row, chain;
    int64_t column, columns; /* of dweight */
    int64_t n, n_end;        /* rows of dweight */
    float *dweight;          /* of the expert */
};

static void add_block(const struct op_linear_backward_weight *args, const struct weight_part *part,
                      float *scratch)
{
    const float *x = (const float *)args->x + part->row * args->x_stride + part->column;
    const float *dy = (const float *)args->dy + part->row * args->dy_stride;
    const bool copies = args->dy_stride >= LONG_ROW;
    float *packed = scratch + K_PANELS * PANEL * PANEL_BLOCK;
    for (int64_t j = 0; j < part->columns; j += PANEL) {
        const int64_t left = part->columns - j;
        CPU_NAME(panel_copy)
        (part->chain, left < PANEL ? left : PANEL, x + j, args->x_stride,
         scratch + j * part->chain);
    }
    const int64_t step = copies ? N_BLOCK : part->n_end - part->n;
    for (int64_t n = part->n; n < part->n_end; n += step) {
        const struct panel_block block = {
            .rows = part->n_end - n < step ? part->n_end - n : step,
            .chain = part->chain,
            .columns = part->columns,
            .a_row = 1,
            .a_step = args->dy_stride,
            .panel_stride = PANEL * part->chain,
            .a = copies ? packed : dy + n,
            .b = scratch,
            .z = part->dweight + n * args->k + part->column,
            .z_row = args->k,
            .add = true,
            .a_packed = copies,
        };
        if (copies)
            CPU_NAME(panel_pack)(block.rows, block.chain, dy + n, args->dy_stride, packed);
        CPU_NAME(panel_multiply)(&block);
    }
}

/* Rows of the tile are outputs n, the sum runs over the rows m of the expert. */
static void weight_task(void *argument, int64_t task, int32_t worker)
{
    const struct weight_job *job = argument;
    const struct op_linear_backward_weight *args = job->args;
    const int64_t expert = task / job->groups / job->ranges;
    const int64_t begin = args->expert_offset ? args->expert_offset[expert] : 0;
    const int64_t end = args->expert_offset ? args->expert_offset[expert + 1] : args->rows;
    struct weight_part part = {.dweight = args->dweight + expert * args->n * args->k};
    part.column = task % job->groups * job->panels_each * PANEL;
    part.columns = job->panels_each * PANEL;
    if (part.columns > args->k - part.column)
        part.columns = args->k - part.column;
    part.n = task / job->groups % job->ranges * job->range;
    part.n_end = part.n + job->range < args->n ? part.n + job->range : args->n;
    for (part.row = begin; part.row < end; part.row += PANEL_BLOCK) {
        part.chain = end - part.row < PANEL_BLOCK ? end - part.row : PANEL_BLOCK;
        add_block(args, &part, pool_scratch(job->pool, worker));
    }
}

enum status CPU_NAME(linear_backward_weight)(void *context,
                                             const struct op_linear_backward_weight *args)
{
    CHECK(args->expert_offset ? !args->dbias : args->experts == 1);
    struct weight_job job = weight_cut(args, context);
    TRY(pool_reserve(context, sizeof(float) * (K_PANELS * PANEL + N_BLOCK) * PANEL_BLOCK));
    pool_run(context, weight_task, &job, args->experts * job.groups * job.ranges);
    const float *dy = args->dy;
    for (int64_t m = 0; args->dbias && m < args->rows; m++)
        for (int64_t n = 0; n < args->n; n++)
            args->dbias[n] += dy[m * args->dy_stride + n];
    return STATUS_OK;
}
