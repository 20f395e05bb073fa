/* model/workspace.c - where every activation lives.
 *
 * One function names all buffers. It runs twice: without memory to count the bytes (also for
 * `--check`, before anything is allocated) and with it to hand out the places. Sizes depend on the
 * shape and rows_max only, so a step never allocates. Every buffer starts on a multiple of 64 bytes. */
#include "model/internal.h"

#include "core/memory.h"

enum { ALIGNMENT = 64 };

struct cutter {
    char *memory; /* NULL: count only */
    size_t used;
};

static void *cut(struct cutter *cutter, int64_t count, size_t item_bytes)
{
    void *place = cutter->memory ? cutter->memory + cutter->used : NULL;
    size_t bytes = (size_t)count * item_bytes;
    cutter->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return place;
}

struct sizes {
    int64_t rows, entries, channels, attention, width;
    int64_t product; /* elements between the two products of an MLP, of the layer with most */
    size_t act_bytes;
    bool train;
};

static struct sizes sizes_of(const struct model *model)
{
    const struct model_shape *shape = &model->shape;
    struct sizes sizes = {
        .rows = model->options.rows_max,
        .channels = shape->hidden,
        .attention = (int64_t)shape->heads * shape->head_size,
        .act_bytes = (size_t)model->ops->act_bytes,
        .train = model->options.train,
    };
    sizes.entries = sizes.rows * (shape->experts > 0 ? shape->experts_per_token : 1);
    for (int32_t l = 0; l < shape->layers; l++) {
        int64_t width = qkv_width(shape, l);
        sizes.width = width > sizes.width ? width : sizes.width;
        int64_t mlp_rows = shape_has_experts(shape, l) ? sizes.entries : sizes.rows;
        int64_t product = mlp_rows * shape_mlp_width(shape, l);
        sizes.product = product > sizes.product ? product : sizes.product;
    }
    return sizes;
}

static void cut_moe_record(struct cutter *cutter, const struct model *model,
                           const struct sizes *sizes, struct layer_record *record)
{
    int64_t experts = model->shape.experts;
    record->down = cut(cutter, sizes->entries * sizes->channels, sizes->act_bytes);
    record->probability = cut(cutter, sizes->rows * experts, sizeof(float));
    record->expert = cut(cutter, sizes->entries, sizeof(int32_t));
    record->weight = cut(cutter, sizes->entries, sizeof(float));
    record->entry = cut(cutter, sizes->entries, sizeof(int32_t));
    record->sorted = cut(cutter, sizes->entries, sizeof(int32_t));
    record->expert_offset = cut(cutter, experts + 1, sizeof(int32_t));
}

/* `lightning` and `softmax` say which kinds of layer use the record: both where all layers share it. */
static void cut_record(struct cutter *cutter, const struct model *model, const struct sizes *sizes,
                       int64_t width, bool lightning, bool softmax, struct layer_record *record)
{
    size_t bytes = sizes->act_bytes;
    record->x = cut(cutter, sizes->rows * sizes->channels, bytes);
    record->r_input = cut(cutter, sizes->rows, sizeof(float));
    record->qkv = cut(cutter, sizes->rows * width, bytes);
    record->attention = cut(cutter, sizes->rows * sizes->attention, bytes);
    if (softmax)
        record->lse = cut(cutter, sizes->rows * model->shape.heads, sizeof(float));
    if (lightning) {
        record->r_attention = cut(cutter, sizes->rows, sizeof(float));
        record->gate = cut(cutter, sizes->rows * sizes->attention, bytes);
    }
    record->h = cut(cutter, sizes->rows * sizes->channels, bytes);
    record->r_post = cut(cutter, sizes->rows, sizeof(float));
    record->gate_up = cut(cutter, 2 * sizes->product, bytes);
    if (model->shape.branch_norm) {
        record->attention_branch = cut(cutter, sizes->rows * sizes->channels, bytes);
        record->mlp_branch = cut(cutter, sizes->rows * sizes->channels, bytes);
        record->r_attention_branch = cut(cutter, sizes->rows, sizeof(float));
        record->r_mlp_branch = cut(cutter, sizes->rows, sizeof(float));
    }
    if (model->shape.experts > 0)
        cut_moe_record(cutter, model, sizes, record);
}

/* One record for all layers; a layer's own are its input, from which the rest is made again, and its routing, which
 * the statistics of the router loss read before the backward pass. */
static void cut_recomputed(struct cutter *cutter, struct model *model, const struct sizes *sizes)
{
    struct layer_record shared = {0};
    cut_record(cutter, model, sizes, sizes->width, true, true, &shared);
    for (int32_t l = 0; l < model->shape.layers; l++) {
        struct layer_record *record = &model->records[l];
        *record = shared;
        if (l > 0)
            record->x = cut(cutter, sizes->rows * sizes->channels, sizes->act_bytes);
        if (l > 0 && model->shape.experts > 0) {
            record->probability = cut(cutter, sizes->rows * model->shape.experts, sizeof(float));
            record->expert = cut(cutter, sizes->entries, sizeof(int32_t));
        }
    }
}

static void cut_records(struct cutter *cutter, struct model *model, const struct sizes *sizes)
{
    int32_t layers = model->shape.layers;
    if (!sizes->train) {
        cut_record(cutter, model, sizes, sizes->width, true, true, &model->records[0]);
        for (int32_t l = 1; l < layers; l++)
            model->records[l] = model->records[0];
        return;
    }
    if (model->options.recompute) {
        cut_recomputed(cutter, model, sizes);
        return;
    }
    for (int32_t l = 0; l < layers; l++) {
        bool lightning = is_lightning(&model->shape, l);
        cut_record(cutter, model, sizes, qkv_width(&model->shape, l), lightning, !lightning,
                   &model->records[l]);
    }
}

static void cut_call(struct cutter *cutter, struct workspace *work, const struct sizes *sizes)
{
    int64_t rows = sizes->rows;
    int64_t values = rows * sizes->channels;
    work->inputs =
        cut(cutter,
            rows * (int64_t)(2 * sizeof(int32_t) + sizeof(struct op_segment)) + 2 * ALIGNMENT, 1);
    work->normed = cut(cutter, values, sizes->act_bytes);
    work->branch = cut(cutter, values, sizes->act_bytes);
    work->last = cut(cutter, values, sizes->act_bytes);
    work->r_final = cut(cutter, rows, sizeof(float));
    work->hidden = cut(cutter, values, sizes->act_bytes);
    work->row_index = cut(cutter, rows, sizeof(int32_t));
    work->head_x = cut(cutter, values, sizes->act_bytes);
    work->target = cut(cutter, rows, sizeof(int32_t));
    work->lse = cut(cutter, rows, sizeof(float));
    work->lse_raw = cut(cutter, rows, sizeof(float));
    work->logprob = cut(cutter, rows, sizeof(float));
    work->entropy = cut(cutter, rows, sizeof(float));
    work->sample_row = cut(cutter, rows, sizeof(struct op_sample_row));
    work->sampled.memory = cut(cutter, rows * (int64_t)(3 * sizeof(float) + 1) + 3 * ALIGNMENT, 1);
}

static void cut_gradients(struct cutter *cutter, struct workspace *work, const struct sizes *sizes,
                          int64_t experts)
{
    int64_t values = sizes->rows * sizes->channels;
    work->dlogprob = cut(cutter, sizes->rows, sizeof(float));
    work->dentropy = cut(cutter, sizes->rows, sizeof(float));
    work->scatter = cut(cutter, sizes->rows, sizeof(int32_t));
    work->dhead = cut(cutter, values + sizes->channels, sizes->act_bytes);
    work->dx = cut(cutter, values, sizes->act_bytes);
    work->dh = cut(cutter, values, sizes->act_bytes);
    work->dn = cut(cutter, values, sizes->act_bytes);
    work->dbranch = cut(cutter, values, sizes->act_bytes);
    work->aux_gradient = cut(cutter, experts, sizeof(float));
}

static void cut_attention(struct cutter *softmax, struct cutter *lightning, struct model *model,
                          const struct sizes *sizes)
{
    struct softmax_scratch *s = &model->work.softmax;
    struct lightning_scratch *a = &model->work.lightning;
    int64_t values = sizes->rows * sizes->attention;
    int64_t fused = sizes->rows * sizes->width;
    a->normed = cut(lightning, values, sizes->act_bytes);
    a->gated = cut(lightning, values, sizes->act_bytes);
    if (!sizes->train)
        return;
    s->qkv = cut(softmax, fused, sizes->act_bytes);
    s->dqkv = cut(softmax, fused, sizes->act_bytes);
    s->dattention = cut(softmax, values, sizes->act_bytes);
    s->r_q = cut(softmax, sizes->rows * model->shape.heads, sizeof(float));
    s->r_k = cut(softmax, sizes->rows * model->shape.kv_heads, sizeof(float));
    a->qkv = cut(lightning, fused, sizes->act_bytes);
    a->dqkv = cut(lightning, fused, sizes->act_bytes);
    a->dgated = cut(lightning, values, sizes->act_bytes);
    a->dgate = cut(lightning, values, sizes->act_bytes);
}

static void cut_mlp(struct cutter *dense, struct cutter *moe, struct model *model,
                    const struct sizes *sizes)
{
    struct dense_scratch *d = &model->work.dense;
    struct moe_scratch *m = &model->work.moe;
    int64_t product = sizes->product;
    int64_t gathered = sizes->entries * sizes->channels;
    int64_t experts = model->shape.experts;
    d->product = cut(dense, product, sizes->act_bytes);
    if (sizes->train) {
        d->dproduct = cut(dense, product, sizes->act_bytes);
        d->dgate_up = cut(dense, 2 * product, sizes->act_bytes);
    }
    if (experts == 0)
        return;
    m->logits = cut(moe, sizes->rows * experts, sizeof(float));
    m->gathered = cut(moe, gathered, sizes->act_bytes);
    m->product = cut(moe, product, sizes->act_bytes);
    if (sizes->train) {
        m->dproduct = cut(moe, product, sizes->act_bytes);
        m->dgate_up = cut(moe, 2 * product, sizes->act_bytes);
        m->dgathered = cut(moe, gathered, sizes->act_bytes);
        m->ddown = cut(moe, gathered, sizes->act_bytes);
        m->dweight = cut(moe, sizes->entries, sizeof(float));
        m->dlogits = cut(moe, sizes->rows * experts, sizes->act_bytes);
    }
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t workspace_layout(struct model *model, void *memory)
{
    struct sizes sizes = sizes_of(model);
    struct cutter cutter = {memory, 0};
    cut_records(&cutter, model, &sizes);
    cut_call(&cutter, &model->work, &sizes);
    if (sizes.train)
        cut_gradients(&cutter, &model->work, &sizes, model->shape.experts);
    /* The stages of a layer follow one another, so they share what is left. */
    struct cutter softmax = cutter, lightning = cutter, dense = cutter, moe = cutter;
    cut_attention(&softmax, &lightning, model, &sizes);
    cut_mlp(&dense, &moe, model, &sizes);
    return larger(larger(softmax.used, lightning.used), larger(dense.used, moe.used));
}

enum status model_workspace_bytes(const struct model_shape *shape, const struct op_table *ops,
                                  const struct model_options *options, int64_t *bytes)
{
    struct model *plan = memory_alloc(sizeof(*plan));
    struct layer_record *records = memory_array((size_t)shape->layers, sizeof(*records));
    enum status status = STATUS_OK;
    if (!plan || !records) {
        status = FAIL(STATUS_NO_MEMORY, "planning the workspace of %d layers", shape->layers);
    } else {
        plan->shape = *shape;
        plan->ops = ops;
        plan->options = *options;
        plan->records = records;
        *bytes = (int64_t)workspace_layout(plan, NULL);
    }
    memory_free(records);
    memory_free(plan);
    return status;
}
