/* model/backward.c - the gradient of the saved forward call, stage by stage in reverse (M1-SPEC 1.8).
 *
 * Kept from the forward pass: the inputs of both norms, the raw GEMM outputs, attention outputs and
 * routing (struct layer_record). Computed again because it is cheap: norm outputs, RoPE, SiLU, SwiGLU,
 * the gathered rows of the experts. Every branch function takes the gradient of its output and leaves
 * the gradient of its normalised input in work->dn. */
#include "model/model.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/internal.h"

/* The arguments that every stage takes. */
struct call {
    struct model *model;
    const struct model_weights *weights;
    int64_t rows;
    int32_t segment_count;
    const float *aux_gradient; /* device [E], or NULL */
    float *grads;
};

static enum status scale(const struct call *call, double alpha, const act *a, act *y)
{
    RUN(call->model, axpby, .count = call->rows * call->model->shape.hidden, .alpha = (float)alpha,
        .beta = 0.0F, .a = a, .b = a, .y = y);
    return STATUS_OK;
}

static enum status add_scaled(const struct call *call, double alpha, const act *a, act *y)
{
    RUN(call->model, axpby, .count = call->rows * call->model->shape.hidden, .alpha = (float)alpha,
        .beta = 1.0F, .a = a, .b = y, .y = y);
    return STATUS_OK;
}

static enum status backward_norm(const struct call *call, int64_t channels, int64_t gain,
                                 const act *x, const float *r, const act *dy, act *dx)
{
    RUN(call->model, rms_norm_backward, .rows = call->rows, .groups = 1, .channels = channels,
        .x_stride = channels, .dy_stride = channels, .dx_stride = channels, .x = x,
        .gain = weight_at(call->model, call->weights, gain), .r = r, .dy = dy, .dx = dx,
        .dgain = call->grads + gain, .one_plus = call->model->shape.norm_one_plus);
    return STATUS_OK;
}

static enum status backward_head_norm(const struct call *call, int64_t heads, int64_t width,
                                      int64_t gain, const act *x, const float *r, act *dx)
{
    const struct model *model = call->model;
    RUN(model, rms_norm_backward, .rows = call->rows, .groups = heads,
        .channels = model->shape.head_size, .x_stride = width, .dy_stride = width,
        .dx_stride = width, .x = x, .gain = weight_at(model, call->weights, gain), .r = r, .dy = dx,
        .dx = dx, .dgain = call->grads + gain, .one_plus = model->shape.norm_one_plus);
    return STATUS_OK;
}

static enum status backward_gemm(const struct call *call, int32_t layer, enum block_name name,
                                 struct gemm_gradient gradient)
{
    return gemm_backward(call->model, call->weights, &call->model->blocks[layer][name], &gradient,
                         call->grads);
}

/* ---- attention ---- */

/* Gradient of the raw q, k, v: through RoPE, then through the per-head norms. */
static enum status backward_rotate(const struct call *call, int32_t layer, act *dqkv)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_offsets *at = &model->parameters.layers[layer];
    const struct softmax_scratch *scratch = &model->work.softmax;
    int64_t width = qkv_width(shape, layer);
    int64_t queries = (int64_t)shape->heads * shape->head_size;
    const act *raw = model->records[layer].qkv;
    if (shape->rotary > 0)
        RUN(model, rope, .rows = call->rows, .heads = shape->heads + shape->kv_heads,
            .head_size = shape->head_size, .rotary = shape->rotary, .row_stride = width,
            .inverse = true, .positions = model->work.positions,
            .cosine = rope_of(model, layer)->cosine, .sine = rope_of(model, layer)->sine,
            .x = dqkv);
    if (!shape->qk_norm)
        return STATUS_OK;
    TRY(backward_head_norm(call, shape->heads, width, at->q_norm, raw, scratch->r_q, dqkv));
    return backward_head_norm(call, shape->kv_heads, width, at->k_norm, act_at(model, raw, queries),
                              scratch->r_k, act_at(model, dqkv, queries));
}

static enum status backward_softmax(const struct call *call, int32_t layer, const act *dy)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    const struct softmax_scratch *scratch = &work->softmax;
    int64_t width = qkv_width(shape, layer);
    int64_t queries = (int64_t)shape->heads * shape->head_size;
    int64_t keys = (int64_t)shape->kv_heads * shape->head_size;
    TRY(backward_gemm(
        call, layer, BLOCK_ATTENTION_OUT,
        (struct gemm_gradient){
            .rows = call->rows, .x = record->attention, .dy = dy, .dx = scratch->dattention}));
    TRY(prepare_qkv(model, call->weights, NULL, layer, record->qkv, scratch->qkv, scratch->r_q,
                    scratch->r_k));
    RUN(model, attention_backward, .rows = call->rows, .heads = shape->heads,
        .kv_heads = shape->kv_heads, .head_size = shape->head_size, .row_stride = width,
        .y_stride = queries, .segments = work->segments, .segment_count = call->segment_count,
        .q = scratch->qkv, .k = act_at(model, scratch->qkv, queries),
        .v = act_at(model, scratch->qkv, queries + keys), .y = record->attention,
        .dy = scratch->dattention, .lse = record->lse, .dq = scratch->dqkv,
        .dk = act_at(model, scratch->dqkv, queries),
        .dv = act_at(model, scratch->dqkv, queries + keys), .window = layer_window(shape, layer),
        .scale = attention_scale(shape));
    TRY(backward_rotate(call, layer, scratch->dqkv));
    return backward_gemm(
        call, layer, BLOCK_QKV,
        (struct gemm_gradient){
            .rows = call->rows, .x = work->normed, .dy = scratch->dqkv, .dx = work->dn});
}

/* From the gradient of the gated, normed lightning output to that of the raw one (in dgated) and of
 * the gate before its sigmoid (in dgate). */
static enum status backward_gate(const struct call *call, int32_t layer)
{
    const struct model *model = call->model;
    const struct layer_record *record = &model->records[layer];
    const struct lightning_scratch *scratch = &model->work.lightning;
    int64_t features = (int64_t)model->shape.heads * model->shape.head_size;
    RUN(model, gate_backward, .count = call->rows * features, .z = record->gate,
        .x = scratch->normed, .dy = scratch->dgated, .dz = scratch->dgate, .dx = scratch->dgated);
    return backward_norm(call, features, model->parameters.layers[layer].attention_norm,
                         record->attention, record->r_attention, scratch->dgated, scratch->dgated);
}

/* The normed and gated lightning output and SiLU(qkv) again. */
static enum status remake_lightning(const struct call *call, int32_t layer)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct lightning_scratch *scratch = &model->work.lightning;
    int64_t features = (int64_t)shape->heads * shape->head_size;
    TRY(run_norm(model, call->weights, call->rows, features, shape->lightning_norm_eps,
                 model->parameters.layers[layer].attention_norm, record->attention, scratch->normed,
                 record->r_attention));
    RUN(model, gate, .count = call->rows * features, .z = record->gate, .x = scratch->normed,
        .y = scratch->gated);
    RUN(model, silu, .count = call->rows * 3 * features, .x = record->qkv, .y = scratch->qkv);
    return STATUS_OK;
}

static enum status backward_lightning(const struct call *call, int32_t layer, const act *dy)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    const struct lightning_scratch *scratch = &work->lightning;
    int64_t head = shape->head_size, features = shape->heads * head;
    TRY(remake_lightning(call, layer));
    TRY(backward_gemm(
        call, layer, BLOCK_ATTENTION_OUT,
        (struct gemm_gradient){
            .rows = call->rows, .x = scratch->gated, .dy = dy, .dx = scratch->dgated}));
    TRY(backward_gate(call, layer));
    RUN(model, lightning_backward, .rows = call->rows, .heads = shape->heads, .head_size = head,
        .row_stride = 3 * features, .head_stride = 3 * head,
        .chunk = model->options.lightning_chunk,
        .slopes = model->slopes + (int64_t)layer * shape->heads, .segments = work->segments,
        .segment_count = call->segment_count, .q = scratch->qkv,
        .k = act_at(model, scratch->qkv, head), .v = act_at(model, scratch->qkv, 2 * head),
        .dy = scratch->dgated, .dq = scratch->dqkv, .dk = act_at(model, scratch->dqkv, head),
        .dv = act_at(model, scratch->dqkv, 2 * head));
    RUN(model, silu_backward, .count = call->rows * 3 * features, .x = record->qkv,
        .dy = scratch->dqkv, .dx = scratch->dqkv);
    TRY(backward_gemm(
        call, layer, BLOCK_QKV,
        (struct gemm_gradient){
            .rows = call->rows, .x = work->normed, .dy = scratch->dqkv, .dx = work->dn}));
    return backward_gemm(call, layer, BLOCK_OUTPUT_GATE,
                         (struct gemm_gradient){.rows = call->rows,
                                                .accumulate = true,
                                                .x = work->normed,
                                                .dy = scratch->dgate,
                                                .dx = work->dn});
}

/* ---- MLP ---- */

static enum status backward_dense(const struct call *call, int32_t layer, const act *dy)
{
    const struct model *model = call->model;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    const struct dense_scratch *scratch = &work->dense;
    int64_t channels = shape_mlp_width(&model->shape, layer);
    RUN(model, swiglu, .rows = call->rows, .channels = channels, .gate_up = record->gate_up,
        .y = scratch->product, .gate = mlp_gate(&model->shape));
    TRY(backward_gemm(
        call, layer, BLOCK_DOWN,
        (struct gemm_gradient){
            .rows = call->rows, .x = scratch->product, .dy = dy, .dx = scratch->dproduct}));
    RUN(model, swiglu_backward, .rows = call->rows, .channels = channels,
        .gate_up = record->gate_up, .dy = scratch->dproduct, .dgate_up = scratch->dgate_up,
        .gate = mlp_gate(&model->shape));
    return backward_gemm(
        call, layer, BLOCK_GATE_UP,
        (struct gemm_gradient){
            .rows = call->rows, .x = work->normed, .dy = scratch->dgate_up, .dx = work->dn});
}

/* Through the experts: gradient of the gathered rows (summed into dn) and of the routing weights. */
static enum status backward_experts(const struct call *call, int32_t layer, const act *dy)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    const struct moe_scratch *scratch = &work->moe;
    int64_t top = shape->experts_per_token, entries = call->rows * top;
    RUN(model, moe_combine_backward, .rows = call->rows, .channels = shape->hidden, .top = top,
        .x = record->down, .dy = dy, .sorted = record->sorted, .weight = record->weight,
        .dx = scratch->ddown, .dweight = scratch->dweight);
    RUN(model, swiglu, .rows = entries, .channels = shape->intermediate, .gate_up = record->gate_up,
        .y = scratch->product, .gate = mlp_gate(&model->shape));
    TRY(backward_gemm(call, layer, BLOCK_DOWN,
                      (struct gemm_gradient){.rows = entries,
                                             .expert_offset = record->expert_offset,
                                             .x = scratch->product,
                                             .dy = scratch->ddown,
                                             .dx = scratch->dproduct}));
    RUN(model, swiglu_backward, .rows = entries, .channels = shape->intermediate,
        .gate_up = record->gate_up, .dy = scratch->dproduct, .dgate_up = scratch->dgate_up,
        .gate = mlp_gate(&model->shape));
    RUN(model, moe_gather, .rows = call->rows, .channels = shape->hidden, .top = top,
        .x = work->normed, .entry = record->entry, .y = scratch->gathered);
    TRY(backward_gemm(call, layer, BLOCK_GATE_UP,
                      (struct gemm_gradient){.rows = entries,
                                             .expert_offset = record->expert_offset,
                                             .x = scratch->gathered,
                                             .dy = scratch->dgate_up,
                                             .dx = scratch->dgathered}));
    RUN(model, moe_gather_backward, .rows = call->rows, .channels = shape->hidden, .top = top,
        .accumulate = false, .dy = scratch->dgathered, .sorted = record->sorted, .dx = work->dn);
    return STATUS_OK;
}

static enum status backward_moe(const struct call *call, int32_t layer, const act *dy)
{
    const struct model *model = call->model;
    const struct layer_record *record = &model->records[layer];
    const struct workspace *work = &model->work;
    TRY(backward_experts(call, layer, dy));
    RUN(model, moe_route_backward, .rows = call->rows, .experts = model->shape.experts,
        .top = model->shape.experts_per_token, .probability = record->probability,
        .expert = record->expert, .weight = record->weight, .dweight = work->moe.dweight,
        .aux_gradient = call->aux_gradient, .dlogits = work->moe.dlogits,
        .raw = model->shape.router_raw);
    return backward_gemm(call, layer, BLOCK_ROUTER,
                         (struct gemm_gradient){.rows = call->rows,
                                                .accumulate = true,
                                                .x = work->normed,
                                                .dy = work->moe.dlogits,
                                                .dx = work->dn});
}

/* ---- layers ---- */

/* Half a layer: out = alpha * residual + beta * branch(norm(x)). On entry dout; on return dx:
 *   postnorm  dx = norm'(alpha dout + branch'(beta dout))        (no path around the norm)
 *   prenorm   dx = alpha dout + norm'(branch'(beta dout)) */
struct half {
    enum status (*branch)(const struct call *call, int32_t layer, const act *dy);
    double alpha, beta;
    int64_t gain;
    const act *x;
    float *r;
    int64_t branch_gain; /* with branch_norm: of the norm behind the branch, */
    const act *raw;      /* what it read */
    float *r_branch;
};

static enum status backward_half(const struct call *call, int32_t layer, const struct half *half,
                                 const act *dout, act *dx)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct workspace *work = &model->work;
    TRY(run_norm(model, call->weights, call->rows, shape->hidden, shape->rms_norm_eps, half->gain,
                 half->x, work->normed, half->r));
    const act *dy = dout;
    if (half->beta != 1.0) {
        TRY(scale(call, half->beta, dout, work->dbranch));
        dy = work->dbranch;
    }
    if (shape->branch_norm) {
        TRY(backward_norm(call, shape->hidden, half->branch_gain, half->raw, half->r_branch, dy,
                          work->dbranch));
        dy = work->dbranch;
    }
    TRY(half->branch(call, layer, dy));
    if (shape->postnorm)
        TRY(add_scaled(call, half->alpha, dout, work->dn));
    TRY(backward_norm(call, shape->hidden, half->gain, half->x, half->r, work->dn, dx));
    if (!shape->postnorm)
        TRY(add_scaled(call, half->alpha, dout, dx));
    return STATUS_OK;
}

static enum status backward_layer(const struct call *call, int32_t layer)
{
    const struct model *model = call->model;
    const struct model_shape *shape = &model->shape;
    const struct layer_offsets *at = &model->parameters.layers[layer];
    const struct layer_record *record = &model->records[layer];
    bool lightning = is_lightning(shape, layer);
    if (model->options.recompute)
        TRY(forward_again(call->model, call->weights, layer));
    struct half mlp = {
        .branch = shape_has_experts(shape, layer) ? backward_moe : backward_dense,
        .alpha = shape->alpha_mlp,
        .beta = shape->beta_mlp,
        .gain = at->post_norm,
        .x = record->h,
        .r = record->r_post,
        .branch_gain = at->mlp_branch_norm,
        .raw = record->mlp_branch,
        .r_branch = record->r_mlp_branch,
    };
    struct half attention = {
        .branch = lightning ? backward_lightning : backward_softmax,
        .alpha = lightning ? shape->alpha_lightning : shape->alpha_softmax,
        .beta = lightning ? shape->beta_lightning : shape->beta_softmax,
        .gain = at->input_norm,
        .x = record->x,
        .r = record->r_input,
        .branch_gain = at->attention_branch_norm,
        .raw = record->attention_branch,
        .r_branch = record->r_attention_branch,
    };
    TRY(backward_half(call, layer, &mlp, model->work.dx, model->work.dh));
    return backward_half(call, layer, &attention, model->work.dh, model->work.dx);
}

/* ---- auxiliary loss ---- */

/* Adds a layer's routing choices and probabilities; host buffers of one layer are reused. */
static enum status count_layer(const struct model *model, const struct layer_record *record,
                               int32_t *expert, float *probability, double *chosen, double *mean)
{
    int64_t rows = model->rows, experts = model->shape.experts;
    int64_t entries = rows * model->shape.experts_per_token;
    TRY(device_read(model, record->expert, expert, (size_t)entries * sizeof(int32_t)));
    TRY(device_read(model, record->probability, probability,
                    (size_t)(rows * experts) * sizeof(float)));
    for (int64_t i = 0; i < entries; i++)
        chosen[expert[i]] += 1.0;
    for (int64_t t = 0; t < rows; t++)
        for (int64_t e = 0; e < experts; e++)
            mean[e] += (double)probability[t * experts + e];
    return STATUS_OK;
}

/* L = E sum_e f_e P_e over the N = L T rows of all layers with experts (M1-SPEC 1.6): f_e the fraction of rows that
 * choose e, P_e the mean probability. Its gradient with respect to a row's p_e is g_e = E f_e / N. */
static enum status aux_statistics(const struct model *model, double coefficient, double *loss,
                                  float *gradient)
{
    const struct model_shape *shape = &model->shape;
    size_t experts = (size_t)shape->experts, rows = (size_t)model->rows;
    int32_t *expert = memory_array(rows * (size_t)shape->experts_per_token, sizeof(*expert));
    float *probability = memory_array(rows * experts, sizeof(*probability));
    double *chosen = memory_array(2 * experts, sizeof(*chosen));
    enum status status = STATUS_OK;
    if (!expert || !probability || !chosen)
        TRY_GOTO(out, FAIL(STATUS_NO_MEMORY, "router statistics of %zu rows", rows));
    double count = 0.0;
    for (int32_t l = 0; l < shape->layers; l++) {
        if (!shape_has_experts(shape, l))
            continue;
        TRY_GOTO(out, count_layer(model, &model->records[l], expert, probability, chosen,
                                  chosen + experts));
        count += (double)rows;
    }
    *loss = 0.0;
    for (size_t e = 0; e < experts; e++) {
        double share = chosen[e] / count;
        *loss += (double)experts * share * (chosen[experts + e] / count);
        gradient[e] = (float)(coefficient * (double)experts * share / count);
    }
out:
    memory_free(expert);
    memory_free(probability);
    memory_free(chosen);
    return status;
}

static enum status prepare_aux(struct call *call, const struct model_backward *backward)
{
    struct model *model = call->model;
    bool wanted = backward->aux_coefficient > 0.0 || backward->aux_loss;
    double loss = 0.0;
    if (wanted && model->shape.experts > 0) {
        size_t bytes = (size_t)model->shape.experts * sizeof(float);
        float *gradient = memory_alloc(bytes);
        if (!gradient)
            return FAIL(STATUS_NO_MEMORY, "router gradient");
        enum status status = aux_statistics(model, backward->aux_coefficient, &loss, gradient);
        if (status == STATUS_OK)
            status = device_write(model, model->work.aux_gradient, gradient, bytes);
        memory_free(gradient);
        TRY(status);
        call->aux_gradient = backward->aux_coefficient > 0.0 ? model->work.aux_gradient : NULL;
    }
    if (backward->aux_loss)
        *backward->aux_loss = loss;
    return STATUS_OK;
}

/* ---- head ---- */

/* Which head row each row of the forward call is, or the row of zeros behind them. */
static enum status send_scatter(const struct model *model, const struct model_backward *backward)
{
    size_t bytes = (size_t)model->rows * sizeof(int32_t);
    int32_t *scatter = memory_alloc(bytes);
    if (!scatter)
        return FAIL(STATUS_NO_MEMORY, "head rows");
    for (int32_t t = 0; t < model->rows; t++)
        scatter[t] = model->options.rows_max;
    enum status status = STATUS_OK;
    for (int32_t i = 0; i < backward->rows; i++) {
        int32_t t = backward->row_index[i];
        if (t < 0 || t >= model->rows || scatter[t] != model->options.rows_max)
            TRY_GOTO(out,
                     FAIL(STATUS_INVALID, "backward row %d: row %d is outside or twice", i, t));
        scatter[t] = i;
    }
    status = device_write(model, model->work.scatter, scatter, bytes);
out:
    memory_free(scatter);
    return status;
}

/* Leaves the gradient of the final-normed hidden state in work->dh. */
static enum status backward_head(const struct call *call, const act *hidden,
                                 const struct model_backward *backward)
{
    const struct model *model = call->model;
    const struct workspace *work = &model->work;
    bool gathered = backward->row_index != NULL;
    size_t rows = (size_t)backward->rows;
    TRY(device_write(model, work->dlogprob, backward->dlogprob, rows * sizeof(float)));
    TRY(device_write(model, work->target, backward->target, rows * sizeof(int32_t)));
    if (backward->dentropy != NULL)
        TRY(device_write(model, work->dentropy, backward->dentropy, rows * sizeof(float)));
    RUN(model, lm_head_backward, .rows = backward->rows, .channels = model->shape.hidden,
        .vocabulary = model->shape.vocabulary, .temperature = backward->temperature,
        .bf16 = model->options.lm_head == MODEL_HEAD_BF16, .x = gathered ? work->head_x : hidden,
        .packed = packed_at(model, call->weights, &model->head),
        .weight = weight_at(model, call->weights, model->head.offset),
        .mid = mid_at(model, call->weights, &model->head), .target = work->target, .lse = work->lse,
        .dlogprob = work->dlogprob, .dentropy = backward->dentropy != NULL ? work->dentropy : NULL,
        .entropy = work->entropy, .dx = gathered ? work->dhead : work->dh,
        .dweight = call->grads + model->head.offset);
    if (!gathered)
        return STATUS_OK;
    TRY(send_scatter(model, backward));
    RUN(model, moe_gather_backward, .rows = call->rows, .channels = model->shape.hidden, .top = 1,
        .accumulate = false, .dy = work->dhead, .sorted = work->scatter, .dx = work->dh);
    return STATUS_OK;
}

static enum status check_backward(const struct model *model, const struct model_backward *backward)
{
    if (!model->saved)
        return FAIL(STATUS_INVALID, "backward without a saved forward call before it");
    if (model->head_rows != backward->rows || model->head_temperature != backward->temperature ||
        model->head_gathered != (backward->row_index != NULL))
        return FAIL(STATUS_INVALID,
                    "backward of %d head rows at temperature %g: the head was run on %d at %g",
                    backward->rows, (double)backward->temperature, model->head_rows,
                    (double)model->head_temperature);
    if (!backward->row_index && backward->rows != model->rows)
        return FAIL(STATUS_INVALID,
                    "backward of %d rows without row_index: the forward call had %d",
                    backward->rows, model->rows);
    return STATUS_OK;
}

enum status model_backward(struct model *model, const struct model_weights *weights,
                           const act *hidden, const struct model_backward *backward, float *grads)
{
    CHECK(model->options.train);
    TRY(check_backward(model, backward));
    struct call call = {.model = model,
                        .weights = weights,
                        .rows = model->rows,
                        .segment_count = model->segment_count,
                        .grads = grads};
    const struct workspace *work = &model->work;
    TRY(prepare_aux(&call, backward));
    TRY(backward_head(&call, hidden, backward));
    TRY(backward_norm(&call, model->shape.hidden, model->parameters.final_norm, work->last,
                      work->r_final, work->dh, work->dx));
    for (int32_t l = model->shape.layers - 1; l >= 0; l--)
        TRY(backward_layer(&call, l));
    RUN(model, embedding_backward, .rows = call.rows, .channels = model->shape.hidden,
        .vocabulary = model->shape.vocabulary, .ids = work->ids, .dy = work->dx,
        .dtable = grads + model->parameters.embedding, .scale = model->embedding_scale);
    return STATUS_OK;
}
