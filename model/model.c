/* model/model.c - a shape bound to an op table: creation, the weights and their packed copy, the
 * decay slopes, and the two ways a GEMM block is used. */
#include "model/model.h"

#include <math.h>
#include <stdio.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "model/internal.h"

enum { PACK_ALIGNMENT = 64, PLANE_ALIGNMENT = 64 };

enum status device_write(const struct model *model, void *memory, const void *host, size_t bytes)
{
    return model->ops->memory_write(model->ops->context, memory, host, bytes);
}

enum status device_read(const struct model *model, const void *memory, void *host, size_t bytes)
{
    return model->ops->memory_read(model->ops->context, memory, host, bytes);
}

/* ---- blocks ---- */

static struct gemm_block block_at(int64_t offset, int64_t experts, int64_t n, int64_t k)
{
    return (struct gemm_block){
        .offset = offset, .bias = -1, .experts = experts, .n = n, .k = k, .packed = 0, .mid = -1};
}

static void name_blocks(struct model *model)
{
    const struct model_shape *shape = &model->shape;
    int64_t c = shape->hidden, attention = (int64_t)shape->heads * shape->head_size;
    for (int32_t l = 0; l < shape->layers; l++) {
        const struct layer_offsets *at = &model->parameters.layers[l];
        struct gemm_block *block = model->blocks[l];
        int64_t f = shape_mlp_width(shape, l);
        int64_t experts = shape_has_experts(shape, l) ? shape->experts : 1;
        block[BLOCK_QKV] = block_at(at->qkv, 1, qkv_width(shape, l), c);
        block[BLOCK_QKV].bias = at->qkv_bias;
        block[BLOCK_OUTPUT_GATE] = block_at(at->output_gate, 1, attention, c);
        block[BLOCK_ATTENTION_OUT] = block_at(at->attention_out, 1, c, attention);
        block[BLOCK_ATTENTION_OUT].bias = at->output_bias;
        block[BLOCK_ROUTER] = block_at(at->router, 1, shape->experts, c);
        block[BLOCK_GATE_UP] = block_at(at->gate_up, experts, 2 * f, c);
        block[BLOCK_GATE_UP].bias = at->gate_up_bias;
        block[BLOCK_DOWN] = block_at(at->down, experts, c, f);
        block[BLOCK_DOWN].bias = at->down_bias;
    }
    model->head = block_at(model->parameters.lm_head, 1, shape->vocabulary, c);
}

static void place_block(struct model *model, struct gemm_block *block)
{
    if (block->offset < 0)
        return;
    size_t bytes =
        model->ops->packed_bytes(model->ops->context, block->experts, block->n, block->k);
    block->packed = model->packed_bytes;
    model->packed_bytes += (bytes + PACK_ALIGNMENT - 1) / PACK_ALIGNMENT * PACK_ALIGNMENT;
}

static void place_plane(struct model *model, struct gemm_block *block)
{
    if (block->offset < 0)
        return;
    block->mid = model->flat_elements;
    model->flat_elements +=
        (block->n * block->k + PLANE_ALIGNMENT - 1) / PLANE_ALIGNMENT * PLANE_ALIGNMENT;
}

/* Second planes of the weights whose products are f32-grade, behind the parameters. */
static void place_planes(struct model *model)
{
    model->flat_elements = model->parameters.elements;
    if (model->ops->weight_bytes == (int64_t)sizeof(float))
        return;
    model->flat_elements =
        (model->flat_elements + PLANE_ALIGNMENT - 1) / PLANE_ALIGNMENT * PLANE_ALIGNMENT;
    for (int32_t l = 0; l < model->shape.layers; l++)
        place_plane(model, &model->blocks[l][BLOCK_ROUTER]);
    if (model->options.lm_head == MODEL_HEAD_FP32)
        place_plane(model, &model->head);
}

static void place_blocks(struct model *model)
{
    for (int32_t l = 0; l < model->shape.layers; l++)
        for (int32_t b = 0; b < BLOCK_COUNT; b++)
            place_block(model, &model->blocks[l][b]);
    place_block(model, &model->head);
}

const void *packed_at(const struct model *model, const struct model_weights *weights,
                      const struct gemm_block *block)
{
    return weights->packed ? (const char *)weights->packed + block->packed
                           : weight_at(model, weights, block->offset);
}

const weight_t *mid_at(const struct model *model, const struct model_weights *weights,
                       const struct gemm_block *block)
{
    return block->mid < 0 ? NULL : weight_at(model, weights, block->mid);
}

enum status gemm_forward_float(const struct model *model, const struct model_weights *weights,
                               const struct gemm_block *block, int64_t rows, const act *x, float *y)
{
    RUN(model, linear, .rows = rows, .experts = 1, .n = block->n, .k = block->k,
        .x_stride = block->k, .y_stride = block->n, .virtual_tp = 1, .x = x,
        .packed = packed_at(model, weights, block), .mid = mid_at(model, weights, block),
        .y_float = y);
    return STATUS_OK;
}

enum status gemm_forward(const struct model *model, const struct model_weights *weights,
                         const struct gemm_block *block, int64_t rows, const int32_t *expert_offset,
                         const act *x, act *y)
{
    RUN(model, linear, .rows = rows, .experts = block->experts, .n = block->n, .k = block->k,
        .x_stride = block->k, .y_stride = block->n, .virtual_tp = 1, .x = x,
        .packed = packed_at(model, weights, block),
        .bias = block->bias < 0 ? NULL : weight_at(model, weights, block->bias),
        .expert_offset = expert_offset, .y = y);
    return STATUS_OK;
}

enum status gemm_backward(const struct model *model, const struct model_weights *weights,
                          const struct gemm_block *block, const struct gemm_gradient *gradient,
                          float *grads)
{
    RUN(model, linear_backward_weight, .rows = gradient->rows, .experts = block->experts,
        .n = block->n, .k = block->k, .dy_stride = block->n, .x_stride = block->k,
        .dy = gradient->dy, .x = gradient->x, .expert_offset = gradient->expert_offset,
        .dweight = grads + block->offset, .dbias = block->bias < 0 ? NULL : grads + block->bias);
    RUN(model, linear_backward_input, .rows = gradient->rows, .experts = block->experts,
        .n = block->n, .k = block->k, .dy_stride = block->n, .dx_stride = block->k,
        .accumulate = gradient->accumulate, .dy = gradient->dy,
        .weight = weight_at(model, weights, block->offset),
        .expert_offset = gradient->expert_offset, .dx = gradient->dx);
    return STATUS_OK;
}

/* ---- create ---- */

/* The largest of what a call sends and what it brings back, for each row. */
enum { STAGING_ROW_BYTES = sizeof(struct op_sample_row) + sizeof(struct op_segment) + 16 };

static enum status check_options(const struct model_shape *shape, const struct op_table *ops,
                                 const struct model_options *options)
{
    if (options->rows_max < 1)
        return FAIL(STATUS_INVALID, "a model for %d rows in a call: at least 1 is needed",
                    options->rows_max);
    if (options->lightning_chunk < 1)
        return FAIL(STATUS_INVALID, "lightning_chunk is %d: at least 1 token is needed",
                    options->lightning_chunk);
    if (options->recompute && !options->train)
        return FAIL(STATUS_INVALID, "recompute is for training models: nothing is kept otherwise");
    (void)shape, (void)ops;
    return STATUS_OK;
}

static enum status create_slopes(struct model *model)
{
    const struct model_shape *shape = &model->shape;
    size_t row = (size_t)shape->heads * sizeof(float);
    float *host = memory_array((size_t)shape->layers, row);
    if (!host)
        return FAIL(STATUS_NO_MEMORY, "decay slopes of %d layers", shape->layers);
    for (int32_t l = 0; l < shape->layers; l++)
        model_lightning_slopes(shape, l, host + (int64_t)l * shape->heads);
    void *device = NULL;
    enum status status;
    size_t bytes = row * (size_t)shape->layers;
    TRY_GOTO(out, model->ops->memory_create(model->ops->context, bytes, &device));
    model->slopes = device;
    TRY_GOTO(out, device_write(model, device, host, bytes));
out:
    memory_free(host);
    return status;
}

enum status model_place_weights(struct model *model)
{
    TRY(parameter_table_create(&model->parameters, &model->shape));
    model->blocks = memory_array((size_t)model->shape.layers, sizeof(*model->blocks));
    if (!model->blocks)
        return FAIL(STATUS_NO_MEMORY, "blocks of %d layers", model->shape.layers);
    name_blocks(model);
    place_blocks(model);
    place_planes(model);
    return STATUS_OK;
}

static enum status create_parts(struct model *model)
{
    const struct model_shape *shape = &model->shape;
    TRY(model_place_weights(model));
    model->records = memory_array((size_t)shape->layers, sizeof(*model->records));
    if (!model->records)
        return FAIL(STATUS_NO_MEMORY, "records of %d layers", shape->layers);
    model->staging = memory_alloc((size_t)model->options.rows_max * STAGING_ROW_BYTES + 512);
    if (!model->staging)
        return FAIL(STATUS_NO_MEMORY, "staging of %d rows", model->options.rows_max);
    model->work.bytes = workspace_layout(model, NULL);
    TRY(model->ops->memory_create(model->ops->context, model->work.bytes, &model->work.memory));
    workspace_layout(model, model->work.memory);
    return create_slopes(model);
}

/* sqrt(C) rounded to what activations are stored in, as the models that have it were trained: bf16 where the backend
 * stores bf16, else f32. */
static float embedding_scale(const struct model_shape *shape, const struct op_table *ops)
{
    if (!shape->scaled_embedding)
        return 0;
    double root = sqrt((double)shape->hidden);
    if (ops->act_bytes == (int64_t)sizeof(float))
        return (float)root;
    int exponent;
    double mantissa = frexp(root, &exponent); /* [1/2, 1): eight bits of it stay, ties to even */
    return (float)ldexp(nearbyint(ldexp(mantissa, 8)), exponent - 8);
}

enum status model_create(struct model **model, const struct model_shape *shape,
                         const struct op_table *ops, const struct model_options *options)
{
    TRY(check_options(shape, ops, options));
    struct model *made = memory_alloc(sizeof(*made));
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "a model");
    made->shape = *shape;
    made->ops = ops;
    made->options = *options;
    made->embedding_scale = embedding_scale(shape, ops);
    enum status status = create_parts(made);
    if (status != STATUS_OK) {
        model_destroy(&made);
        return status;
    }
    *model = made;
    return STATUS_OK;
}

static void device_destroy(const struct model *model, void *memory)
{
    if (memory)
        model->ops->memory_destroy(model->ops->context, &memory);
}

void model_destroy(struct model **model)
{
    struct model *gone = *model;
    if (!gone)
        return;
    decode_graphs_destroy(gone);
    memory_free(gone->staging);
    device_destroy(gone, gone->work.memory);
    device_destroy(gone, gone->slopes);
    model_rope_destroy(gone);
    device_destroy(gone, gone->logits);
    memory_free(gone->blocks);
    memory_free(gone->records);
    parameter_table_destroy(&gone->parameters);
    memory_free(gone);
    *model = NULL;
}

const struct model_shape *model_get_shape(const struct model *model)
{
    return &model->shape;
}

const struct parameter_table *model_parameters(const struct model *model)
{
    return &model->parameters;
}

void model_numerics(const struct model *model, char *text, size_t size)
{
    /* "forward 1": counts changes of model/ itself that move a bit, such as the RoPE formula. */
    static const char *const heads[] = {"fp32", "fp32_out", "bf16"};
    (void)snprintf(text, size, "forward 1; %s; %s; chunk %d; lm_head %s", model->ops->name,
                   model->ops->numerics, model->options.lightning_chunk,
                   heads[model->options.lm_head]);
}

void model_trace(struct model *model, float *const *hidden_states)
{
    model->trace = hidden_states;
}

/* ---- weights ---- */

int64_t model_weights_bytes(const struct model *model)
{
    return model->flat_elements * model->ops->weight_bytes;
}

uint64_t model_layout_hash(const struct model *model)
{
    if (model->ops->weight_bytes == (int64_t)sizeof(float))
        return model->parameters.layout_hash;
    const int64_t parts[3] = {(int64_t)model->parameters.layout_hash, model->flat_elements,
                              model->ops->weight_bytes};
    return hash64(parts, sizeof parts, 0);
}

enum status model_weights_create(struct model *model, struct model_weights *weights)
{
    const struct op_table *ops = model->ops;
    void *flat = NULL, *packed = NULL;
    TRY(ops->memory_create(ops->context, (size_t)model_weights_bytes(model), &flat));
    enum status status = STATUS_OK;
    if (model->packed_bytes > 0)
        status = ops->memory_create(ops->context, model->packed_bytes, &packed);
    if (status != STATUS_OK) {
        device_destroy(model, flat);
        return status;
    }
    *weights = (struct model_weights){.flat = flat, .packed = packed};
    return STATUS_OK;
}

void model_weights_destroy(struct model *model, struct model_weights *weights)
{
    device_destroy(model, weights->flat);
    device_destroy(model, weights->packed);
    *weights = (struct model_weights){0};
}

static enum status pack_block(struct model *model, struct model_weights *weights,
                              const struct gemm_block *block)
{
    if (block->offset < 0)
        return STATUS_OK;
    RUN(model, linear_pack, .experts = block->experts, .n = block->n, .k = block->k,
        .weight = weight_at(model, weights, block->offset),
        .packed = (char *)weights->packed + block->packed);
    return STATUS_OK;
}

static enum status pack_all(struct model *model, struct model_weights *weights)
{
    if (!weights->packed)
        return STATUS_OK;
    for (int32_t l = 0; l < model->shape.layers; l++)
        for (int32_t b = 0; b < BLOCK_COUNT; b++)
            TRY(pack_block(model, weights, &model->blocks[l][b]));
    return pack_block(model, weights, &model->head);
}

enum status model_weights_repack(struct model *model, struct model_weights *weights)
{
    const struct op_table *ops = model->ops;
    TRY(ops->memory_digest(ops->context, weights->flat, (size_t)model_weights_bytes(model), 0,
                           &weights->digest));
    return pack_all(model, weights);
}

enum status model_weights_repack_known(struct model *model, struct model_weights *weights,
                                       uint64_t digest)
{
    weights->digest = digest;
    return pack_all(model, weights);
}

enum status model_weights_load(struct model *model, struct model_weights *weights, const void *flat,
                               uint64_t version)
{
    TRY(device_write(model, weights->flat, flat, (size_t)model_weights_bytes(model)));
    weights->version = version;
    return model_weights_repack(model, weights);
}

static void add_plane(const struct gemm_block *block, struct model_plane *planes, int *count)
{
    if (block->offset >= 0 && block->mid >= 0)
        planes[(*count)++] = (struct model_plane){block->offset, block->n * block->k, block->mid};
}

int model_planes(const struct model *model, struct model_plane planes[MODEL_PLANES_MAX])
{
    int count = 0;
    for (int32_t l = 0; l < model->shape.layers; l++)
        add_plane(&model->blocks[l][BLOCK_ROUTER], planes, &count);
    add_plane(&model->head, planes, &count);
    return count;
}

enum status model_weights_round(struct model *model, struct model_weights *weights,
                                const float *master, bool planes_only)
{
    struct model_plane planes[MODEL_PLANES_MAX];
    int count = model_planes(model, planes);
    if (!planes_only)
        RUN(model, split, .count = model->parameters.elements, .x = master, .hi = weights->flat);
    for (int i = 0; i < count; i++)
        RUN(model, split, .count = planes[i].count, .x = master + planes[i].offset,
            .mid = (char *)weights->flat + planes[i].mid * model->ops->weight_bytes);
    return model_weights_repack(model, weights);
}
