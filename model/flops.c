#include "model/flops.h"

#include <math.h>

static double kind_layers(const struct model_shape *shape, enum layer_kind kind)
{
    int32_t count = 0;
    for (int32_t l = 0; l < shape->layers; l++)
        count += shape->layer_kind[l] == kind;
    return count;
}

double flops_sum(const struct flops *flops)
{
    return flops->linear + flops->attention + flops->lightning + flops->head;
}

static double expert_layers(const struct model_shape *shape)
{
    double count = 0;
    for (int32_t l = 0; l < shape->layers; l++)
        count += shape_has_experts(shape, l);
    return count;
}

/* F of the layers without experts. */
static double dense_width(const struct model_shape *shape)
{
    return shape->experts > 0 ? shape->dense_intermediate : shape->intermediate;
}

/* ---- weights ---- */

struct flops_weights flops_weights(const struct model_shape *shape)
{
    const double c = shape->hidden, f = shape->intermediate, layers = shape->layers;
    const double features = (double)shape->heads * shape->head_size;
    const double keys = (double)shape->kv_heads * shape->head_size;
    const double softmax = kind_layers(shape, LAYER_SOFTMAX);
    const double lightning = kind_layers(shape, LAYER_LIGHTNING);
    struct flops_weights weights = {.head = shape->vocabulary * c,
                                    .embedding = shape->vocabulary * c};
    double norms = (shape->branch_norm ? 4 : 2) * c * layers + c + lightning * features +
                   softmax * (shape->qk_norm ? 2.0 * shape->head_size : 0) +
                   softmax * (shape->qkv_bias ? features + 2 * keys : 0);
    weights.body = softmax * (c * (features + 2 * keys) + features * c) +
                   lightning * (5 * c * features) + norms;
    const double with_experts = expert_layers(shape);
    weights.body += (layers - with_experts) * 3 * c * dense_width(shape);
    if (shape->experts > 0) {
        weights.body += with_experts * c * shape->experts;
        weights.expert = 3 * c * f;
        weights.expert_rows = with_experts * shape->experts;
    }
    weights.active = weights.body + with_experts * shape->experts_per_token * weights.expert;
    weights.total = weights.body + weights.expert_rows * weights.expert + weights.embedding +
                    (shape->tied ? 0 : weights.head);
    return weights;
}

/* ---- forward ---- */

static double linear_flops(const struct model_shape *shape)
{
    const double c = shape->hidden, f = shape->intermediate;
    const double features = (double)shape->heads * shape->head_size;
    const double keys = (double)shape->kv_heads * shape->head_size;
    double softmax = 2 * c * (features + 2 * keys) + 2 * features * c;
    double lightning = 2 * c * 3 * features + 2 * c * features + 2 * features * c;
    double routed = 2 * c * shape->experts + shape->experts_per_token * 6 * c * f;
    double with_experts = expert_layers(shape);
    return kind_layers(shape, LAYER_SOFTMAX) * softmax +
           kind_layers(shape, LAYER_LIGHTNING) * lightning + with_experts * routed +
           (shape->layers - with_experts) * 6 * c * dense_width(shape);
}

static bool slides(const struct model_shape *shape, int32_t layer)
{
    return shape->window > 0 && shape->layer_sliding[layer];
}

/* Keys that a token with `context` tokens up to it sees, over the softmax layers. */
static double keys_seen(const struct model_shape *shape, double context)
{
    double keys = 0;
    for (int32_t l = 0; l < shape->layers; l++)
        if (shape->layer_kind[l] == LAYER_SOFTMAX)
            keys += slides(shape, l) ? fmin(context, shape->window) : context;
    return keys;
}

/* The same summed over the tokens of a sequence: 1 + 2 + ... up to the window, then the window each. */
static double keys_seen_in(const struct model_shape *shape, double length)
{
    double w = fmin(length, shape->window), keys = 0;
    for (int32_t l = 0; l < shape->layers; l++)
        if (shape->layer_kind[l] == LAYER_SOFTMAX)
            keys +=
                slides(shape, l) ? w * (w + 1) / 2 + (length - w) * w : length * (length + 1) / 2;
    return keys;
}

static double attention_flops(const struct model_shape *shape, double keys)
{
    return 4.0 * shape->heads * shape->head_size * keys;
}

static double lightning_flops(const struct model_shape *shape, double keys)
{
    const double d = shape->head_size;
    return kind_layers(shape, LAYER_LIGHTNING) * shape->heads * (4 * d * d + 4 * d * keys);
}

static double chunk_keys(int32_t chunk)
{
    return chunk > 0 ? (chunk + 1) / 2.0 : 1;
}

struct flops flops_token(const struct model_shape *shape, double context, int32_t chunk, bool head)
{
    return (struct flops){.linear = linear_flops(shape),
                          .attention = attention_flops(shape, keys_seen(shape, context)),
                          .lightning = lightning_flops(shape, chunk_keys(chunk)),
                          .head = head ? 2.0 * shape->hidden * shape->vocabulary : 0};
}

/* Sum of the keys that the tokens of a sequence find in their own chunk; the last chunk may be short. */
static double keys_in_chunks(double length, int32_t chunk)
{
    if (chunk <= 0)
        return length;
    double whole = floor(length / chunk), rest = length - whole * chunk;
    return whole * chunk * (chunk + 1) / 2.0 + rest * (rest + 1) / 2;
}

struct flops flops_sequence(const struct model_shape *shape, double length, int32_t chunk,
                            bool head)
{
    if (length <= 0)
        return (struct flops){0};
    return (struct flops){
        .linear = linear_flops(shape) * length,
        .attention = attention_flops(shape, keys_seen_in(shape, length)),
        .lightning = lightning_flops(shape, keys_in_chunks(length, chunk) / length) * length,
        .head = head ? 2.0 * shape->hidden * shape->vocabulary * length : 0};
}

/* ---- training ---- */

double flops_train_token(const struct model_shape *shape, double length, int32_t chunk)
{
    struct flops forward = flops_sequence(shape, length, chunk, true);
    return length > 0 ? 3 * flops_sum(&forward) / length : 0;
}

double flops_train_token_hardware(const struct model_shape *shape, double length, int32_t chunk,
                                  bool recompute)
{
    struct flops forward = flops_sequence(shape, length, chunk, true);
    if (length <= 0)
        return 0;
    double twice = forward.attention / 2 + forward.lightning / 2;
    double layers = recompute ? forward.linear + forward.attention + forward.lightning : 0;
    return (3 * flops_sum(&forward) + twice + layers) / length;
}

/* ---- decode's memory ---- */

double traffic_sum(const struct traffic *traffic)
{
    return traffic->weights + traffic->head + traffic->cache + traffic->states;
}

double traffic_token_bytes(const struct model_shape *shape, double cache_bytes)
{
    return kind_layers(shape, LAYER_SOFTMAX) * 2.0 * shape->kv_heads * shape->head_size *
           cache_bytes;
}

double traffic_state_bytes(const struct model_shape *shape)
{
    return kind_layers(shape, LAYER_LIGHTNING) * shape->heads * 4.0 * shape->head_size *
           shape->head_size;
}

/* Bytes of one head's state in one step. */
static double state_step_bytes(const struct model_shape *shape, const struct flops_storage *storage)
{
    const double d = shape->head_size, item = storage->cache_bytes, c = storage->chunk;
    if (storage->chunk <= 0)
        return 8 * d * d;
    double shadow = item * d * d;         /* read each step */
    double advance = (8 + item) * d * d;  /* f32 read and written, shadow written; once a chunk */
    double buffer = c / 2 * 2 * item * d; /* keys and values of half a chunk */
    return shadow + advance / c + buffer + 2 * item * d;
}

struct traffic traffic_decode(const struct model_shape *shape, const struct flops_storage *storage,
                              double batch, double context)
{
    struct flops_weights weights = flops_weights(shape);
    struct traffic traffic = {.weights = weights.body, .head = weights.head * storage->head_bytes};
    if (shape->experts > 0) {
        double share = (double)shape->experts_per_token / shape->experts;
        double hit = shape->experts * (1 - pow(1 - share, batch));
        traffic.weights += expert_layers(shape) * hit * weights.expert;
    }
    traffic.weights *= storage->weight_bytes;
    traffic.cache = batch * 2.0 * shape->kv_heads * shape->head_size * storage->cache_bytes *
                    keys_seen(shape, context + 1);
    traffic.states = batch * kind_layers(shape, LAYER_LIGHTNING) * shape->heads *
                     state_step_bytes(shape, storage);
    return traffic;
}
