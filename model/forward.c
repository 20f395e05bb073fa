/* model/forward.c - all layers, from token ids to the final-normed hidden state.
 *
 * One function for each stage of a layer. Formulas: M1-SPEC 1.3 (postnorm: the residual is the
 * normalised input) and 2 (Qwen, Llama: prenorm). The same code runs decode, prefill and training;
 * `save` only decides whether raw q, k, v survive for backward.c, which changes no value. */
#include "model/model.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/internal.h"

/* The arguments that every stage takes. */
struct call {
    struct model *model;
    const struct model_weights *weights;
    struct model_cache *cache;
    int64_t rows;
    int32_t segment_count;
    bool save;
};

enum status run_norm(const struct model *model, const struct model_weights *weights, int64_t rows,
                     int64_t channels, double eps, int64_t gain, const act *x, act *y, float *r)
{
    RUN(model, rms_norm, .rows = rows, .groups = 1, .channels = channels, .x_stride = channels,
        .y_stride = channels, .eps = (float)eps, .x = x, .gain = weight_at(model, weights, gain),
        .y = y, .r = r);
    return STATUS_OK;
}

static enum status norm_heads(const struct model *model, const struct model_weights *weights,
                              int64_t heads, int64_t width, int64_t gain, act *x, float *r)
{
    RUN(model, rms_norm, .rows = model->rows, .groups = heads, .channels = model->shape.head_size,
        .x_stride = width, .y_stride = width, .eps = (float)model->shape.rms_norm_eps, .x = x,
        .gain = weight_at(model, weights, gain), .y = x, .r = r);
    return STATUS_OK;
}

enum status rotate_qk(const struct model *model, const struct model_weights *weights, int32_t layer,
                      act *qkv, float *r_q, float *r_k)
{
    const struct model_shape *shape = &model->shape;
    const struct layer_offsets *at = &model->parameters.layers[layer];
    int64_t width = qkv_width(shape, layer);
    if (shape->qk_norm) {
        act *k = act_at(model, qkv, (int64_t)shape->heads * shape->head_size);
        TRY(norm_heads(model, weights, shape->heads, width, at->q_norm, qkv, r_q));
        TRY(norm_heads(model, weights, shape->kv_heads, width, at->k_norm, k, r_k));
    }
    /* The key heads follow the query heads in a row, so one call turns both. */
    if (shape->rotary > 0)
        RUN(model, rope, .rows = model->rows, .heads = shape->heads + shape->kv_heads,
            .head_size = shape->head_size, .rotary = shape->rotary, .row_stride = width,
            .inverse = false, .positions = model->work.positions, .cosine = model->cosine,
            .sine = model->sine, .x = qkv);
    return STATUS_OK;
}

/* ---- attention ---- */

/* q, k, v of the layer's rows: where they may be changed, the raw ones being kept when saving. */
static enum status working_qkv(const struct call *call, int32_t layer, act *scratch, act **qkv)
{
    const struct model *model = call->model;
    act *raw = model->records[layer].qkv;
    *qkv = raw;
    if (!call->save)
        return STATUS_OK;
    *qkv = scratch;
    RUN(model, axpby, .count = call->rows * qkv_width(&model->shape, layer), .alpha = 1.0F,
        .beta = 0.0F, .a = raw, .b = raw, .y = scratch);
    return STATUS_OK;
}

static enum status forward_softmax(const struct call *call, int32_t layer, act *y)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    int64_t width = qkv_width(shape, layer);
    int64_t queries = (int64_t)shape->heads * shape->head_size;
    int64_t keys = (int64_t)shape->kv_heads * shape->head_size;
    act *qkv = NULL;
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_QKV], call->rows, NULL,
                     work->normed, record->qkv));
    TRY(working_qkv(call, layer, work->softmax.qkv, &qkv));
    TRY(rotate_qk(model, call->weights, layer, qkv, NULL, NULL));
    RUN(model, kv_write, .rows = call->rows, .kv_heads = shape->kv_heads,
        .head_size = shape->head_size, .row_stride = width, .segments = work->segments,
        .segment_count = call->segment_count, .k = act_at(model, qkv, queries),
        .v = act_at(model, qkv, queries + keys), .pages = call->cache->layer_pages[layer],
        .page_table = call->cache->table_device, .pages_per_slot = call->cache->pages_per_slot);
    RUN(model, attention, .rows = call->rows, .heads = shape->heads, .kv_heads = shape->kv_heads,
        .head_size = shape->head_size, .q_stride = width, .y_stride = queries,
        .segments = work->segments, .segment_count = call->segment_count, .q = qkv,
        .pages = call->cache->layer_pages[layer], .page_table = call->cache->table_device,
        .pages_per_slot = call->cache->pages_per_slot, .y = record->attention, .lse = record->lse);
    return gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_ATTENTION_OUT],
                        call->rows, NULL, record->attention, y);
}

/* y = (sigmoid(n W_gate^T) * RMSNorm(lightning(SiLU(n W_qkv^T)))) W_out^T. */
static enum status forward_lightning(const struct call *call, int32_t layer, act *y)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct gemm_block *block = model->blocks[layer];
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    int64_t head = shape->head_size, features = shape->heads * head;
    act *qkv = call->save ? work->lightning.qkv : record->qkv;
    TRY(gemm_forward(model, call->weights, &block[BLOCK_QKV], call->rows, NULL, work->normed,
                     record->qkv));
    RUN(model, silu, .count = call->rows * 3 * features, .x = record->qkv, .y = qkv);
    RUN(model, lightning, .rows = call->rows, .heads = shape->heads, .head_size = head,
        .row_stride = 3 * features, .head_stride = 3 * head,
        .chunk = model->options.lightning_chunk,
        .slopes = model->slopes + (int64_t)layer * shape->heads, .segments = work->segments,
        .segment_count = call->segment_count, .q = qkv, .k = act_at(model, qkv, head),
        .v = act_at(model, qkv, 2 * head), .state = call->cache->layer_state[layer],
        .k_buffer = call->cache->layer_keys[layer], .v_buffer = call->cache->layer_values[layer],
        .y = record->attention);
    TRY(run_norm(model, call->weights, call->rows, features, shape->lightning_norm_eps,
                 model->parameters.layers[layer].attention_norm, record->attention,
                 work->lightning.normed, record->r_attention));
    TRY(gemm_forward(model, call->weights, &block[BLOCK_OUTPUT_GATE], call->rows, NULL,
                     work->normed, record->gate));
    RUN(model, gate, .count = call->rows * features, .z = record->gate, .x = work->lightning.normed,
        .y = work->lightning.gated);
    return gemm_forward(model, call->weights, &block[BLOCK_ATTENTION_OUT], call->rows, NULL,
                        work->lightning.gated, y);
}

/* ---- MLP ---- */

static enum status forward_dense(const struct call *call, int32_t layer, act *y)
{
    const struct model *model = call->model;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_GATE_UP], call->rows, NULL,
                     work->normed, record->gate_up));
    RUN(model, swiglu, .rows = call->rows, .channels = model->shape.intermediate,
        .gate_up = record->gate_up, .y = work->dense.product);
    return gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_DOWN], call->rows, NULL,
                        work->dense.product, y);
}

static enum status forward_moe(const struct call *call, int32_t layer, act *y)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    int64_t top = shape->experts_per_token, entries = call->rows * top;
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_ROUTER], call->rows, NULL,
                     work->normed, work->moe.logits));
    RUN(model, moe_route, .rows = call->rows, .experts = shape->experts, .top = top,
        .logits = work->moe.logits, .probability = record->probability, .expert = record->expert,
        .weight = record->weight, .entry = record->entry, .sorted = record->sorted,
        .expert_offset = record->expert_offset);
    RUN(model, moe_gather, .rows = call->rows, .channels = shape->hidden, .top = top,
        .x = work->normed, .entry = record->entry, .y = work->moe.gathered);
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_GATE_UP], entries,
                     record->expert_offset, work->moe.gathered, record->gate_up));
    RUN(model, swiglu, .rows = entries, .channels = shape->intermediate, .gate_up = record->gate_up,
        .y = work->moe.product);
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_DOWN], entries,
                     record->expert_offset, work->moe.product, record->down));
    RUN(model, moe_combine, .rows = call->rows, .channels = shape->hidden, .top = top,
        .x = record->down, .sorted = record->sorted, .weight = record->weight, .y = y);
    return STATUS_OK;
}

/* ---- layers ---- */

/* out = alpha * residual + beta * branch; the residual is the branch's own (normalised) input with
 * postnorm, else what went into the norm. */
static enum status add_residual(const struct call *call, const act *raw, double alpha, double beta,
                                act *out)
{
    const struct model *model = call->model;
    RUN(model, axpby, .count = call->rows * model->shape.hidden, .alpha = (float)alpha,
        .beta = (float)beta, .a = model->shape.postnorm ? model->work.normed : raw,
        .b = model->work.branch, .y = out);
    return STATUS_OK;
}

static enum status forward_layer(const struct call *call, int32_t layer, act *out)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_offsets *at = &model->parameters.layers[layer];
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    bool lightning = is_lightning(shape, layer);
    TRY(run_norm(model, call->weights, call->rows, shape->hidden, shape->rms_norm_eps,
                 at->input_norm, record->x, work->normed, record->r_input));
    TRY(lightning ? forward_lightning(call, layer, work->branch)
                  : forward_softmax(call, layer, work->branch));
    TRY(add_residual(call, record->x, lightning ? shape->alpha_lightning : shape->alpha_softmax,
                     lightning ? shape->beta_lightning : shape->beta_softmax, record->h));
    TRY(run_norm(model, call->weights, call->rows, shape->hidden, shape->rms_norm_eps,
                 at->post_norm, record->h, work->normed, record->r_post));
    TRY(shape->experts > 0 ? forward_moe(call, layer, work->branch)
                           : forward_dense(call, layer, work->branch));
    return add_residual(call, record->h, shape->alpha_mlp, shape->beta_mlp, out);
}

/* Copies a [rows, C] activation to the caller's f32 buffer (f32 is the high half of bf16 widened). */
static enum status trace(const struct model *model, int32_t index, const act *values)
{
    if (!model->trace)
        return STATUS_OK;
    float *out = model->trace[index];
    int64_t count = (int64_t)model->rows * model->shape.hidden;
    TRY(device_read(model, values, out, (size_t)(count * model->ops->act_bytes)));
    if (model->ops->act_bytes == (int64_t)sizeof(float))
        return STATUS_OK;
    for (int64_t i = count - 1; i >= 0; i--) { /* from the end: widening in place */
        uint16_t half;
        memcpy(&half, (const char *)out + i * (int64_t)sizeof(half), sizeof(half));
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&out[i], &bits, sizeof(bits));
    }
    return STATUS_OK;
}

/* ---- the call ---- */

static enum status check_batch(const struct model *model, const struct model_batch *batch)
{
    if (batch->rows < 1 || batch->rows > model->options.rows_max)
        return FAIL(STATUS_INVALID, "a forward call of %d rows: 1 to %d possible", batch->rows,
                    model->options.rows_max);
    for (int32_t t = 0; t < batch->rows; t++)
        if (batch->ids[t] < 0 || batch->ids[t] >= model->shape.vocabulary)
            return FAIL(STATUS_INVALID, "row %d: token id %d, the vocabulary has %d", t,
                        batch->ids[t], model->shape.vocabulary);
    return STATUS_OK;
}

static enum status send_batch(struct model *model, const struct model_batch *batch)
{
    size_t bytes = (size_t)batch->rows * sizeof(int32_t);
    int32_t *positions = memory_alloc(bytes);
    if (!positions)
        return FAIL(STATUS_NO_MEMORY, "positions of %d rows", batch->rows);
    for (int32_t i = 0; i < batch->segment_count; i++) {
        const struct op_segment *segment = &batch->segments[i];
        for (int32_t t = 0; t < segment->count; t++)
            positions[segment->row + t] = segment->position + t;
    }
    enum status status;
    TRY_GOTO(out, device_write(model, model->work.positions, positions, bytes));
    TRY_GOTO(out, device_write(model, model->work.ids, batch->ids, bytes));
    TRY_GOTO(out, device_write(model, model->work.segments, batch->segments,
                               (size_t)batch->segment_count * sizeof(struct op_segment)));
out:
    memory_free(positions);
    return status;
}

static enum status forward_all(const struct call *call)
{
    struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct workspace *work = &model->work;
    RUN(model, embedding, .rows = call->rows, .channels = shape->hidden,
        .vocabulary = shape->vocabulary, .ids = work->ids,
        .table = weight_at(model, call->weights, model->parameters.embedding),
        .y = model->records[0].x);
    TRY(trace(model, 0, model->records[0].x));
    for (int32_t l = 0; l < shape->layers; l++) {
        act *out = l + 1 < shape->layers ? model->records[l + 1].x : work->last;
        TRY(forward_layer(call, l, out));
        TRY(trace(model, l + 1, out));
    }
    TRY(run_norm(model, call->weights, call->rows, shape->hidden, shape->rms_norm_eps,
                 model->parameters.final_norm, work->last, work->hidden, work->r_final));
    return trace(model, shape->layers + 1, work->hidden);
}

enum status model_forward(struct model *model, const struct model_weights *weights,
                          struct model_cache *cache, const struct model_batch *batch, bool save,
                          act **hidden)
{
    CHECK(!save || model->options.train);
    CHECK(cache->model == model);
    TRY(check_batch(model, batch));
    TRY(cache_begin(cache, batch));
    model->rows = batch->rows;
    model->segment_count = batch->segment_count;
    model->saved = false;
    model->head_rows = 0;
    TRY(send_batch(model, batch));
    struct call call = {model, weights, cache, batch->rows, batch->segment_count, save};
    TRY(forward_all(&call));
    cache_end(cache, batch);
    model->saved = save;
    *hidden = model->work.hidden;
    return STATUS_OK;
}
