/* model/routing.c - the experts of a forward call read back, or put there (`weir verify`).
 *
 * A backend that rounds activations may choose another expert than f32 where two are nearly as probable; everything
 * after it then differs for a reason that is no error. Forcing the f32 choice there keeps the rest comparable. */
#include "model/model.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/internal.h"

void model_force_routing(struct model *model, int32_t *const *expert)
{
    model->forced = expert;
    if (expert)
        model->forced_gap = 0.0;
}

double model_forced_gap(const struct model *model)
{
    return model->forced_gap;
}

enum status model_read_routing(const struct model *model, int32_t layer, int32_t *expert)
{
    CHECK(model->saved && !model->options.recompute && model->shape.experts > 0);
    size_t entries = (size_t)model->rows * (size_t)model->shape.experts_per_token;
    if (!shape_has_experts(&model->shape, layer)) {
        memset(expert, 0, entries * sizeof(int32_t));
        return STATUS_OK;
    }
    return device_read(model, model->records[layer].expert, expert, entries * sizeof(int32_t));
}

static bool holds(const int32_t *set, int64_t top, int32_t expert)
{
    for (int64_t j = 0; j < top; j++)
        if (set[j] == expert)
            return true;
    return false;
}

/* The row's own choice gives way to `wanted`: weights from the same probabilities. Returns the gap. */
static double replace_row(const float *probability, int64_t top, bool raw, const int32_t *wanted,
                          int32_t *expert, float *weight)
{
    double most = 0.0, least = 1.0, sum = 0.0;
    for (int64_t j = 0; j < top; j++) {
        if (!holds(wanted, top, expert[j]) && (double)probability[expert[j]] > most)
            most = (double)probability[expert[j]];
        if (!holds(expert, top, wanted[j]) && (double)probability[wanted[j]] < least)
            least = (double)probability[wanted[j]];
    }
    for (int64_t j = 0; j < top; j++)
        sum += (double)probability[wanted[j]];
    sum = raw ? 1.0 : sum;
    for (int64_t j = 0; j < top; j++) {
        expert[j] = wanted[j];
        weight[j] = (float)((double)probability[wanted[j]] / sum);
    }
    return most - least;
}

static bool same_set(const int32_t *a, const int32_t *b, int64_t top)
{
    for (int64_t j = 0; j < top; j++)
        if (!holds(b, top, a[j]))
            return false;
    return true;
}

struct routing {
    float *probability, *weight;
    int32_t *expert, *entry, *sorted, *offset;
};

/* Entries ordered by expert, then by entry, as op moe_route leaves them. */
static void sort_entries(const struct routing *routing, int64_t entries, int64_t experts)
{
    int32_t at = 0;
    for (int32_t e = 0; e < experts; e++) {
        routing->offset[e] = at;
        for (int32_t i = 0; i < entries; i++)
            if (routing->expert[i] == e) {
                routing->entry[at] = i;
                routing->sorted[i] = at++;
            }
    }
    routing->offset[experts] = at;
}

static enum status send_routing(const struct model *model, const struct layer_record *record,
                                const struct routing *routing, size_t entries)
{
    size_t bytes = entries * sizeof(int32_t);
    TRY(device_write(model, record->expert, routing->expert, bytes));
    TRY(device_write(model, record->weight, routing->weight, bytes));
    TRY(device_write(model, record->entry, routing->entry, bytes));
    TRY(device_write(model, record->sorted, routing->sorted, bytes));
    return device_write(model, record->expert_offset, routing->offset,
                        ((size_t)model->shape.experts + 1) * sizeof(int32_t));
}

enum status force_routing(struct model *model, int32_t layer, int64_t rows)
{
    const struct layer_record *record = &model->records[layer];
    int64_t top = model->shape.experts_per_token, experts = model->shape.experts;
    size_t entries = (size_t)(rows * top), cells = (size_t)(rows * experts);
    char *memory = memory_array(4 * entries + cells + (size_t)experts + 1, sizeof(float));
    if (!memory)
        return FAIL(STATUS_NO_MEMORY, "routing of %lld rows", (long long)rows);
    struct routing routing = {.probability = (float *)(void *)memory};
    routing.weight = routing.probability + cells;
    routing.expert = (int32_t *)(void *)(routing.weight + entries);
    routing.entry = routing.expert + entries;
    routing.sorted = routing.entry + entries;
    routing.offset = routing.sorted + entries;
    enum status status;
    TRY_GOTO(out,
             device_read(model, record->probability, routing.probability, cells * sizeof(float)));
    TRY_GOTO(out, device_read(model, record->expert, routing.expert, entries * sizeof(int32_t)));
    TRY_GOTO(out, device_read(model, record->weight, routing.weight, entries * sizeof(float)));
    for (int64_t t = 0; t < rows; t++) {
        const int32_t *wanted = model->forced[layer] + t * top;
        if (same_set(routing.expert + t * top, wanted, top))
            continue;
        double gap = replace_row(routing.probability + t * experts, top, model->shape.router_raw,
                                 wanted, routing.expert + t * top, routing.weight + t * top);
        model->forced_gap = gap > model->forced_gap ? gap : model->forced_gap;
    }
    sort_entries(&routing, rows * top, experts);
    status = send_routing(model, record, &routing, entries);
out:
    memory_free(memory);
    return status;
}
