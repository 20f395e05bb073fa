/* model/decode.c - one decode step, replayed from a recorded graph where the backend has them.
 *
 * A step of one row per sequence launches some ten small kernels a layer; recorded once, the GPU runs them
 * without waiting for the host. A graph is kept for each (rows, weight set, cache, temperature); rows are padded to
 * the next of a short list with rows of no slot, which no op stores anything for. Addresses in a graph are those
 * of the workspace, so inputs are written and results read outside it. Both weight buffers have graphs of their
 * own: a swap of weights costs no recording after the first step on each. */
#include "model/model.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/internal.h"

enum { GRAPHS_MAX = 128 };

struct decode_graph {
    int32_t rows;
    const void *flat;
    const struct model_cache *cache;
    float temperature, repetition_probability;
    void *graph; /* NULL: the step ran once without, so scratch and algorithms exist */
};

struct decode_graphs {
    struct decode_graph list[GRAPHS_MAX];
    int32_t count;
};

void decode_graphs_destroy(struct model *model)
{
    struct decode_graphs *graphs = model->graphs;
    for (int32_t i = 0; graphs && i < graphs->count; i++)
        if (graphs->list[i].graph)
            model->ops->graph_destroy(model->ops->context, &graphs->list[i].graph);
    memory_free(graphs);
    model->graphs = NULL;
}

/* 1 to 8, then steps of an eighth of the next power of two: at most 12.5 % of the rows are padding. */
static int32_t padded_rows(int32_t rows)
{
    int32_t step = 1;
    while (step * 16 <= rows)
        step *= 2;
    return (rows + step - 1) / step * step;
}

/* The step's entry; a new one when the list is full starts the list again. */
static enum status find_graph(struct model *model, const struct model_weights *weights,
                              const struct model_cache *cache, const struct model_sample *sample,
                              int32_t rows, struct decode_graph **found)
{
    if (model->graphs && model->graphs->count == GRAPHS_MAX)
        decode_graphs_destroy(model);
    if (!model->graphs)
        model->graphs = memory_alloc(sizeof *model->graphs);
    struct decode_graphs *graphs = model->graphs;
    if (!graphs)
        return FAIL(STATUS_NO_MEMORY, "a list of decode graphs");
    for (int32_t i = 0; i < graphs->count; i++) {
        struct decode_graph *graph = &graphs->list[i];
        if (graph->rows == rows && graph->flat == weights->flat && graph->cache == cache &&
            graph->temperature == sample->row[0].temperature &&
            graph->repetition_probability == sample->repetition_probability) {
            *found = graph;
            return STATUS_OK;
        }
    }
    *found = &graphs->list[graphs->count];
    **found = (struct decode_graph){.rows = rows,
                                    .flat = weights->flat,
                                    .cache = cache,
                                    .temperature = sample->row[0].temperature,
                                    .repetition_probability = sample->repetition_probability};
    return STATUS_AGAIN;
}

static enum status run_step(struct model *model, const struct model_weights *weights,
                            struct model_cache *cache, const struct model_sample *sample,
                            int32_t rows)
{
    TRY(forward_sent(model, weights, cache, rows, rows, false));
    return head_sample(model, weights, model->work.hidden, sample, rows);
}

static enum status record_step(struct model *model, const struct model_weights *weights,
                               struct model_cache *cache, const struct model_sample *sample,
                               int32_t rows, void **graph)
{
    const struct op_table *ops = model->ops;
    TRY(ops->graph_begin(ops->context));
    enum status status = run_step(model, weights, cache, sample, rows);
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    enum status ended = ops->graph_end(ops->context, graph);
    if (status == STATUS_OK)
        return ended;
    if (ended == STATUS_OK)
        ops->graph_destroy(ops->context, graph);
    status_restore(kept);
    return status;
}

static enum status run_graph(struct model *model, const struct model_weights *weights,
                             struct model_cache *cache, const struct model_sample *sample,
                             int32_t rows)
{
    struct decode_graph *graph = NULL;
    enum status status = find_graph(model, weights, cache, sample, rows, &graph);
    if (status == STATUS_AGAIN) { /* the first time runs without a graph */
        model->graphs->count++;
        return run_step(model, weights, cache, sample, rows);
    }
    TRY(status);
    if (!graph->graph)
        TRY(record_step(model, weights, cache, sample, rows, &graph->graph));
    return model->ops->graph_run(model->ops->context, graph->graph);
}

static bool one_row_each(const struct model_batch *batch)
{
    for (int32_t i = 0; i < batch->segment_count; i++)
        if (batch->segments[i].count != 1)
            return false;
    return batch->segment_count == batch->rows;
}

enum status model_decode(struct model *model, const struct model_weights *weights,
                         struct model_cache *cache, const struct model_batch *batch,
                         const struct model_sample *sample)
{
    CHECK(one_row_each(batch) && sample->rows == batch->rows && sample->row_index == NULL);
    int32_t rows = padded_rows(batch->rows);
    TRY(head_need_logits(model));
    bool graphs = model->ops->graph_begin != NULL && rows <= model->options.rows_max &&
                  rows <= model->logits_rows && model->trace == NULL;
    if (!graphs) {
        act *hidden = NULL;
        TRY(model_forward(model, weights, cache, batch, false, &hidden));
        return model_sample(model, weights, hidden, sample);
    }
    TRY(check_sample(sample));
    TRY(check_batch(model, batch));
    TRY(cache_begin(cache, batch));
    model->saved = false;
    model->head_rows = 0;
    TRY(send_batch(model, batch, rows));
    TRY(head_send_rows(model, sample, rows));
    TRY(run_graph(model, weights, cache, sample, rows));
    cache_end(cache, batch);
    model->rows = batch->rows;
    return head_read_samples(model, sample, rows);
}
