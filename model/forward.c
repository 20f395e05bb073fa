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
        .y = y, .r = r, .one_plus = model->shape.norm_one_plus);
    return STATUS_OK;
}

enum status prepare_qkv(const struct model *model, const struct model_weights *weights,
                        const struct model_cache *cache, int32_t layer, const act *x, act *y,
                        float *r_q, float *r_k)
{
    const struct model_shape *shape = &model->shape;
    const struct layer_offsets *at = &model->parameters.layers[layer];
    bool norm = shape->qk_norm;
    RUN(model, attention_prepare, .rows = model->rows, .heads = shape->heads,
        .kv_heads = shape->kv_heads, .head_size = shape->head_size, .rotary = shape->rotary,
        .row_stride = qkv_width(shape, layer), .eps = (float)shape->rms_norm_eps,
        .q_gain = norm ? weight_at(model, weights, at->q_norm) : NULL,
        .k_gain = norm ? weight_at(model, weights, at->k_norm) : NULL, .r_q = norm ? r_q : NULL,
        .r_k = norm ? r_k : NULL, .one_plus = shape->norm_one_plus,
        .positions = model->work.positions, .cosine = rope_of(model, layer)->cosine,
        .sine = rope_of(model, layer)->sine, .segments = model->work.segments,
        .segment_count = model->segment_count, .x = x, .y = y,
        .pages = cache ? cache->layer_pages[layer] : NULL,
        .page_table = cache ? cache->table_device : NULL,
        .pages_per_slot = cache ? cache->pages_per_slot : 0);
    return STATUS_OK;
}

/* ---- attention ---- */

static enum status forward_softmax(const struct call *call, int32_t layer, act *y)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    int64_t width = qkv_width(shape, layer);
    int64_t queries = (int64_t)shape->heads * shape->head_size;
    act *qkv = call->save ? work->softmax.qkv : record->qkv;
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_QKV], call->rows, NULL,
                     work->normed, record->qkv));
    TRY(prepare_qkv(model, call->weights, call->cache, layer, record->qkv, qkv, NULL, NULL));
    RUN(model, attention, .rows = call->rows, .heads = shape->heads, .kv_heads = shape->kv_heads,
        .head_size = shape->head_size, .q_stride = width, .y_stride = queries,
        .segments = work->segments, .segment_count = call->segment_count, .q = qkv,
        .pages = call->cache->layer_pages[layer], .page_table = call->cache->table_device,
        .pages_per_slot = call->cache->pages_per_slot, .y = record->attention, .lse = record->lse,
        .window = layer_window(shape, layer), .scale = attention_scale(shape));
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
    RUN(model, swiglu, .rows = call->rows, .channels = shape_mlp_width(&model->shape, layer),
        .gate_up = record->gate_up, .y = work->dense.product, .gate = mlp_gate(&model->shape));
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
    TRY(gemm_forward_float(model, call->weights, &model->blocks[layer][BLOCK_ROUTER], call->rows,
                           work->normed, work->moe.logits));
    RUN(model, moe_route, .rows = call->rows, .experts = shape->experts, .top = top,
        .logits = work->moe.logits, .probability = record->probability, .expert = record->expert,
        .weight = record->weight, .entry = record->entry, .sorted = record->sorted,
        .expert_offset = record->expert_offset, .raw = shape->router_raw);
    if (model->forced)
        TRY(force_routing(call->model, layer, call->rows));
    RUN(model, moe_gather, .rows = call->rows, .channels = shape->hidden, .top = top,
        .x = work->normed, .entry = record->entry, .y = work->moe.gathered);
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_GATE_UP], entries,
                     record->expert_offset, work->moe.gathered, record->gate_up));
    RUN(model, swiglu, .rows = entries, .channels = shape->intermediate, .gate_up = record->gate_up,
        .y = work->moe.product, .gate = mlp_gate(shape));
    TRY(gemm_forward(model, call->weights, &model->blocks[layer][BLOCK_DOWN], entries,
                     record->expert_offset, work->moe.product, record->down));
    RUN(model, moe_combine, .rows = call->rows, .channels = shape->hidden, .top = top,
        .x = record->down, .sorted = record->sorted, .weight = record->weight, .y = y);
    return STATUS_OK;
}

/* ---- layers ---- */

/* What follows a branch: x' = alpha * residual + beta * branch, then the norm that the next branch reads. The
 * residual is the branch's own (normalised) input with postnorm, else what went into its norm. */
struct after {
    double alpha, beta;
    int64_t gain; /* of the next norm */
    act *x;       /* out [T, C] */
    act *normed;  /* out [T, C] */
    float *r;     /* out [T] */
};

static enum status add_and_norm(const struct call *call, const act *raw, const struct after *after)
{
    const struct model *model = call->model;
    RUN(model, residual_norm, .rows = call->rows, .channels = model->shape.hidden,
        .alpha = (float)after->alpha, .beta = (float)after->beta,
        .eps = (float)model->shape.rms_norm_eps,
        .a = model->shape.postnorm ? model->work.normed : raw, .b = model->work.branch,
        .gain = weight_at(model, call->weights, after->gain), .h = after->x, .y = after->normed,
        .r = after->r, .one_plus = model->shape.norm_one_plus);
    return STATUS_OK;
}

/* Where a branch writes: with a norm behind it, what that norm reads is kept for the backward pass. */
static act *branch_target(const struct model *model, act *kept)
{
    return model->shape.branch_norm ? kept : model->work.branch;
}

/* work->branch: the normed branch (Gemma), in place of the branch itself. */
static enum status norm_branch(const struct call *call, int64_t gain, const act *kept, float *r)
{
    const struct model *model = call->model;
    if (!model->shape.branch_norm)
        return STATUS_OK;
    return run_norm(model, call->weights, call->rows, model->shape.hidden,
                    model->shape.rms_norm_eps, gain, kept, model->work.branch, r);
}

/* Attention of a layer up to its second residual; work->normed holds the normed input, and then that of the MLP. */
static enum status forward_attention(const struct call *call, int32_t layer)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    bool lightning = is_lightning(shape, layer);
    act *branch = branch_target(model, record->attention_branch);
    TRY(lightning ? forward_lightning(call, layer, branch) : forward_softmax(call, layer, branch));
    TRY(norm_branch(call, model->parameters.layers[layer].attention_branch_norm, branch,
                    record->r_attention_branch));
    struct after after = {
        .alpha = lightning ? shape->alpha_lightning : shape->alpha_softmax,
        .beta = lightning ? shape->beta_lightning : shape->beta_softmax,
        .gain = model->parameters.layers[layer].post_norm,
        .x = record->h,
        .normed = model->work.normed,
        .r = record->r_post,
    };
    return add_and_norm(call, record->x, &after);
}

static enum status forward_mlp(const struct call *call, int32_t layer)
{
    const struct model *model = call->model;
    const struct layer_record *record = &model->records[layer];
    act *branch = branch_target(model, record->mlp_branch);
    TRY(shape_has_experts(&model->shape, layer) ? forward_moe(call, layer, branch)
                                                : forward_dense(call, layer, branch));
    return norm_branch(call, model->parameters.layers[layer].mlp_branch_norm, branch,
                       record->r_mlp_branch);
}

/* What the last residual of a layer leads to: the next layer's input norm, or the final norm. */
static struct after after_layer(const struct model *model, int32_t layer)
{
    const struct model_shape *shape = &model->shape;
    struct after after = {.alpha = shape->alpha_mlp, .beta = shape->beta_mlp};
    if (layer + 1 < shape->layers) {
        after.gain = model->parameters.layers[layer + 1].input_norm;
        after.x = model->records[layer + 1].x;
        after.normed = model->work.normed;
        after.r = model->records[layer + 1].r_input;
    } else {
        after.gain = model->parameters.final_norm;
        after.x = model->work.last;
        after.normed = model->work.hidden;
        after.r = model->work.r_final;
    }
    return after;
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

enum status check_batch(const struct model *model, const struct model_batch *batch)
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

/* Rows start on multiples of 64 bytes in the block that one write sends. */
static size_t place_inputs(struct workspace *work, int32_t rows)
{
    size_t list = ((size_t)rows * sizeof(int32_t) + 63) / 64 * 64;
    work->ids = (int32_t *)(void *)work->inputs;
    work->positions = (int32_t *)(void *)(work->inputs + list);
    work->segments = (struct op_segment *)(void *)(work->inputs + 2 * list);
    return list;
}

enum status send_batch(struct model *model, const struct model_batch *batch, int32_t rows)
{
    size_t list = place_inputs(&model->work, rows);
    int32_t *ids = (int32_t *)(void *)model->staging;
    int32_t *positions = (int32_t *)(void *)(model->staging + list);
    struct op_segment *segments = (struct op_segment *)(void *)(model->staging + 2 * list);
    int32_t padding = rows - batch->rows;
    memcpy(ids, batch->ids, (size_t)batch->rows * sizeof *ids);
    memcpy(segments, batch->segments, (size_t)batch->segment_count * sizeof *segments);
    for (int32_t i = 0; i < batch->segment_count; i++)
        for (int32_t t = 0; t < segments[i].count; t++)
            positions[segments[i].row + t] = segments[i].position + t;
    for (int32_t i = 0; i < padding; i++) {
        ids[batch->rows + i] = positions[batch->rows + i] = 0;
        segments[batch->segment_count + i] =
            (struct op_segment){.slot = -1, .position = 0, .row = batch->rows + i, .count = 1};
    }
    return device_write(model, model->work.inputs, model->staging,
                        2 * list +
                            (size_t)(batch->segment_count + padding) * sizeof(struct op_segment));
}

enum status forward_sent(struct model *model, const struct model_weights *weights,
                         struct model_cache *cache, int32_t rows, int32_t segment_count, bool save)
{
    const struct model_shape *shape = &model->shape;
    const struct workspace *work = &model->work;
    const struct call call = {model, weights, cache, rows, segment_count, save};
    model->rows = rows;
    model->segment_count = segment_count;
    RUN(model, embedding, .rows = rows, .channels = shape->hidden, .vocabulary = shape->vocabulary,
        .ids = work->ids, .table = weight_at(model, weights, model->parameters.embedding),
        .y = model->records[0].x, .scale = model->embedding_scale);
    TRY(trace(model, 0, model->records[0].x));
    TRY(run_norm(model, weights, rows, shape->hidden, shape->rms_norm_eps,
                 model->parameters.layers[0].input_norm, model->records[0].x, work->normed,
                 model->records[0].r_input));
    for (int32_t l = 0; l < shape->layers; l++) {
        struct after after = after_layer(model, l);
        TRY(forward_attention(&call, l));
        TRY(forward_mlp(&call, l));
        TRY(add_and_norm(&call, model->records[l].h, &after));
        TRY(trace(model, l + 1, after.x));
    }
    return trace(model, shape->layers + 1, work->hidden);
}

enum status forward_again(struct model *model, const struct model_weights *weights, int32_t layer)
{
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct call call = {model, weights, model->saved_cache, model->rows, model->segment_count,
                              true};
    TRY(run_norm(model, weights, call.rows, shape->hidden, shape->rms_norm_eps,
                 model->parameters.layers[layer].input_norm, record->x, model->work.normed,
                 record->r_input));
    TRY(forward_attention(&call, layer));
    return forward_mlp(&call, layer);
}

enum status model_forward(struct model *model, const struct model_weights *weights,
                          struct model_cache *cache, const struct model_batch *batch, bool save,
                          act **hidden)
{
    CHECK(!save || model->options.train);
    CHECK(cache->model == model);
    TRY(check_batch(model, batch));
    TRY(cache_begin(cache, batch));
    model->saved = false;
    model->head_rows = 0;
    TRY(send_batch(model, batch, batch->rows));
    TRY(forward_sent(model, weights, cache, batch->rows, batch->segment_count, save));
    cache_end(cache, batch);
    model->saved = save;
    model->saved_cache = cache;
    *hidden = model->work.hidden;
    return STATUS_OK;
}
