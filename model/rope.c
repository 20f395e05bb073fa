/* model/rope.c - the tables of rotary positions on the device: one of all layers, or one of full attention and one of
 * sliding layers, which turn with a base of their own and are never stretched (Gemma 3). They grow with the caches. */
#include <math.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/internal.h"

static int32_t table_count(const struct model_shape *shape)
{
    return shape->rope_theta_sliding > 0 ? 2 : 1;
}

/* Angles, cosines and sines in f64, rounded once: at position 70,000 a product in f32 would be off by
 * 0.004 rad. */
static void fill_table(const struct model_shape *shape, int32_t table, int64_t positions,
                       float *cosine, float *sine)
{
    static const struct rope_scaling none = {.kind = ROPE_DEFAULT};
    const struct rope_scaling *scaling = table == 0 ? &shape->rope_scaling : &none;
    double theta = table == 0 ? shape->rope_theta : shape->rope_theta_sliding;
    int32_t half = shape->rotary / 2;
    double length = model_rope_length(scaling);
    for (int32_t j = 0; j < half; j++) {
        double frequency = model_rope_frequency(scaling, theta, shape->rotary, j);
        for (int64_t p = 0; p < positions; p++) {
            double angle = (double)p * frequency;
            cosine[p * half + j] = (float)(length * cos(angle));
            sine[p * half + j] = (float)(length * sin(angle));
        }
    }
}

void model_rope_destroy(struct model *model)
{
    for (int i = 0; i < 2; i++) {
        void *parts[2] = {model->rope[i].cosine, model->rope[i].sine};
        for (int k = 0; k < 2; k++)
            if (parts[k] != NULL)
                model->ops->memory_destroy(model->ops->context, &parts[k]);
        model->rope[i] = (struct rope_table){NULL, NULL};
    }
}

static enum status send_half(const struct model *model, const float *host, size_t bytes, float **to)
{
    void *memory = NULL;
    TRY(model->ops->memory_create(model->ops->context, bytes, &memory));
    *to = memory; /* destroyed with the others when the write fails */
    return device_write(model, memory, host, bytes);
}

/* Replaces both tables or none. host [2, positions, R/2]. */
static enum status replace_tables(struct model *model, int64_t positions, float *host)
{
    int64_t count = positions * (model->shape.rotary / 2);
    size_t bytes = (size_t)count * sizeof(float);
    struct rope_table before[2] = {model->rope[0], model->rope[1]};
    enum status status = STATUS_OK;
    for (int i = 0; i < 2; i++)
        model->rope[i] = (struct rope_table){NULL, NULL};
    for (int32_t i = 0; i < table_count(&model->shape) && status == STATUS_OK; i++) {
        fill_table(&model->shape, i, positions, host, host + count);
        status = send_half(model, host, bytes, &model->rope[i].cosine);
        if (status == STATUS_OK)
            status = send_half(model, host + count, bytes, &model->rope[i].sine);
    }
    struct rope_table made[2] = {model->rope[0], model->rope[1]};
    bool good = status == STATUS_OK;
    if (good)
        decode_graphs_destroy(model);
    for (int i = 0; i < 2; i++)
        model->rope[i] = good ? before[i] : made[i];
    model_rope_destroy(model);
    for (int i = 0; i < 2; i++)
        model->rope[i] = good ? made[i] : before[i];
    model->rope_rows = good ? positions : model->rope_rows;
    return status;
}

static enum status make_tables(struct model *model, int64_t positions)
{
    float *host = memory_array((size_t)(positions * model->shape.rotary), sizeof(float));
    if (!host)
        return FAIL(STATUS_NO_MEMORY, "RoPE tables for %lld positions", (long long)positions);
    enum status status = replace_tables(model, positions, host);
    memory_free(host);
    return status;
}

enum status model_rope_grow(struct model *model, int64_t positions, int64_t positions_max)
{
    if (positions <= model->rope_rows || model->shape.rotary == 0)
        return STATUS_OK;
    int64_t rows = 2 * model->rope_rows;
    rows = rows > positions_max ? positions_max : rows;
    return make_tables(model, rows < positions ? positions : rows);
}

enum status model_set_rope_theta(struct model *model, double theta)
{
    CHECK(theta >= 1);
    double before = model->shape.rope_theta;
    if (theta == before)
        return STATUS_OK;
    model->shape.rope_theta = theta;
    if (model->rope_rows == 0)
        return STATUS_OK;
    enum status status = make_tables(model, model->rope_rows);
    if (status != STATUS_OK)
        model->shape.rope_theta = before;
    return status;
}
