#include "model/plan.h"

#include <stdio.h>

#include "core/memory.h"
#include "model/internal.h"

enum { SCRATCH_HEAD_ROWS = 2048 };
#define SCRATCH_OTHER \
    (INT64_C(512) << 20)                  /* split attention, sorts, partial sums: an upper bound */
#define LOGITS_BYTES (INT64_C(256) << 20) /* head.c */

void plan_add(struct memory_plan *plan, const char *name, int64_t bytes, const char *setting)
{
    if (bytes > 0 && plan->count < PLAN_ROWS_MAX)
        plan->rows[plan->count++] =
            (struct plan_row){.name = name, .setting = setting, .bytes = bytes};
}

int64_t plan_total(const struct memory_plan *plan)
{
    int64_t total = 0;
    for (int i = 0; i < plan->count; i++)
        total += plan->rows[i].bytes;
    return total;
}

static const struct plan_row *largest_below(const struct memory_plan *plan,
                                            const struct plan_row *above)
{
    const struct plan_row *found = NULL;
    for (int i = 0; i < plan->count; i++) {
        const struct plan_row *row = &plan->rows[i];
        bool next =
            !above || row->bytes < above->bytes || (row->bytes == above->bytes && row > above);
        if (next && (!found || row->bytes > found->bytes))
            found = row;
    }
    return found;
}

enum status plan_text(const struct memory_plan *plan, struct buffer *text)
{
    const struct plan_row *row = NULL;
    while ((row = largest_below(plan, row)) != NULL)
        TRY(buffer_printf(text, "  %-34s %12.1f MB%s%s\n", row->name, (double)row->bytes / 1e6,
                          row->setting ? "   " : "", row->setting ? row->setting : ""));
    return buffer_printf(text, "  %-34s %12.1f MB\n", "total", (double)plan_total(plan) / 1e6);
}

enum status plan_check(const struct memory_plan *plan, const struct op_table *ops)
{
    int64_t left = 0, total = 0;
    TRY(ops->memory_left(ops->context, &left, &total));
    if (plan_total(plan) <= left)
        return STATUS_OK;
    const struct plan_row *large = largest_below(plan, NULL);
    while (large && !large->setting)
        large = largest_below(plan, large);
    return FAIL(
        STATUS_LIMIT,
        "the %s needs %.1f GB of device memory, %.1f of %.1f GB are free: %s takes %.1f GB, "
        "change %s (--check prints all rows)",
        plan->process, (double)plan_total(plan) / 1e9, (double)left / 1e9, (double)total / 1e9,
        large ? large->name : "the model", large ? (double)large->bytes / 1e9 : 0.0,
        large ? large->setting : "to a smaller model");
}

enum status plan_weights_bytes(const struct model_shape *shape, const struct op_table *ops,
                               enum model_head_precision lm_head, int64_t *flat, int64_t *packed)
{
    struct model *model = memory_alloc(sizeof *model);
    if (!model)
        return FAIL(STATUS_NO_MEMORY, "a plan");
    model->shape = *shape;
    model->ops = ops;
    model->options.lm_head = lm_head;
    enum status status = model_place_weights(model);
    if (status == STATUS_OK) {
        *flat = model_weights_bytes(model);
        *packed = (int64_t)model->packed_bytes;
    }
    memory_free(model->blocks);
    parameter_table_destroy(&model->parameters);
    memory_free(model);
    return status;
}

enum status plan_parameters(const struct model_shape *shape, int64_t *elements)
{
    struct parameter_table table;
    TRY(parameter_table_create(&table, shape));
    *elements = table.elements;
    parameter_table_destroy(&table);
    return STATUS_OK;
}

int64_t plan_tables_bytes(const struct model_shape *shape, int64_t positions)
{
    int64_t tables = shape->rope_theta_sliding > 0 ? 2 : 1;
    return tables * positions * shape->rotary * (int64_t)sizeof(float);
}

int64_t plan_scratch_bytes(const struct model_shape *shape, const struct op_table *ops,
                           int64_t rows, bool train)
{
    int64_t row = (int64_t)shape->vocabulary * (int64_t)sizeof(float);
    int64_t logits = rows * row < LOGITS_BYTES ? rows * row : LOGITS_BYTES;
    if (ops->packed_bytes(ops->context, 1, 64, 64) > 0) /* the CPU: small blocks on the stack */
        return train ? 0 : logits;
    if (!train)
        return logits + SCRATCH_OTHER;
    int64_t head_rows = rows < SCRATCH_HEAD_ROWS ? rows : SCRATCH_HEAD_ROWS;
    return head_rows * row / 2 + SCRATCH_OTHER; /* bf16 gradients of the logits */
}
