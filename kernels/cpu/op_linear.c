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
     args->x_stride, packed, bias, (float *)args->y + part.row * args->y_stride + part.column,
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

struct weight_job {
    const struct op_linear_backward_weight *args;
    struct pool *pool;
    struct cut cut;
};

/* Rows of the tile are outputs n, the sum runs over the rows m of the expert. */
static void weight_task(void *argument, int64_t task, int32_t worker)
{
    const struct weight_job *job = argument;
    const struct op_linear_backward_weight *args = job->args;
    const struct part part = cut_part(&job->cut, task, args->rows, args->k, args->expert_offset);
    if (part.rows <= 0)
        return;
    float *copy = pool_scratch(job->pool, worker);
    float *dweight = args->dweight + part.expert * args->n * args->k;
    for (int64_t column = part.column; column < part.column + part.columns; column += PANEL) {
        const int64_t left = part.column + part.columns - column;
        struct panel_block block = {
            .rows = args->n,
            .columns = left < PANEL ? left : PANEL,
            .a_row = 1,
            .a_step = args->dy_stride,
            .b = copy,
            .z = dweight + column,
            .z_row = args->k,
            .add = true,
        };
        for (int64_t m = 0; m < part.rows; m += PANEL_BLOCK) {
            const int64_t row = part.row + m;
            block.chain = part.rows - m < PANEL_BLOCK ? part.rows - m : PANEL_BLOCK;
            block.a = (const float *)args->dy + row * args->dy_stride;
            CPU_NAME(panel_copy)
            (block.chain, block.columns, (const float *)args->x + row * args->x_stride + column,
             args->x_stride, copy);
            CPU_NAME(panel_multiply)(&block);
        }
    }
}

enum status CPU_NAME(linear_backward_weight)(void *context,
                                             const struct op_linear_backward_weight *args)
{
    CHECK(args->expert_offset ? !args->dbias : args->experts == 1);
    struct weight_job job = {.args = args, .pool = context};
    job.cut = cut_make(context, args->rows, args->experts, args->k, args->n, 0);
    TRY(pool_reserve(context, sizeof(float) * PANEL * PANEL_BLOCK));
    pool_run(context, weight_task, &job, cut_tasks(&job.cut));
    const float *dy = args->dy;
    for (int64_t m = 0; args->dbias && m < args->rows; m++)
        for (int64_t n = 0; n < args->n; n++)
            args->dbias[n] += dy[m * args->dy_stride + n];
    return STATUS_OK;
}
