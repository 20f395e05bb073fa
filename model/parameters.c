/* model/parameters.c - the rows of each architecture and where they lie in the flat layout.
 *
 * A layer is written once, top to bottom; what differs between architectures is the names. The table is
 * built twice: without rows to count them, then for real. */
#include "model/parameters.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "core/rng.h"

enum { BLOCK_ELEMENTS = 16 }; /* a block starts on a multiple: 64 bytes of f32 */

struct build {
    struct parameter *rows; /* NULL while counting */
    int64_t count;
    int64_t elements;
    int32_t layer; /* -1 outside the layers */
};

/* Next block: pads the layout and says where it starts. */
static int64_t block(struct build *build)
{
    build->elements = (build->elements + BLOCK_ELEMENTS - 1) / BLOCK_ELEMENTS * BLOCK_ELEMENTS;
    return build->elements;
}

/* Adds [rows] (columns = 0) or [rows, columns] right behind the row before it. */
static struct parameter *add(struct build *build, int64_t rows, int64_t columns, const char *fmt,
                             ...) PRINTF_LIKE(4, 5);
static struct parameter *add(struct build *build, int64_t rows, int64_t columns, const char *fmt,
                             ...)
{
    static _Thread_local struct parameter scratch; /* what a counting pass writes to */
    struct parameter *row = build->rows ? &build->rows[build->count] : &scratch;
    memset(row, 0, sizeof *row);
    size_t used = 0;
    if (build->layer >= 0)
        used = (size_t)snprintf(row->name, sizeof row->name, "model.layers.%d.", build->layer);
    va_list args;
    va_start(args, fmt);
    int size = vsnprintf(row->name + used, sizeof row->name - used, fmt, args);
    va_end(args);
    CHECK(size > 0 && used + (size_t)size < sizeof row->name);
    row->layer = build->layer;
    row->dims = columns ? 2 : 1;
    row->shape[0] = rows;
    row->shape[1] = columns;
    row->count = columns ? rows * columns : rows;
    row->offset = build->elements;
    row->init = INIT_NORMAL;
    row->storage = STORAGE_MODEL;
    build->elements += row->count;
    build->count++;
    return row;
}

static int64_t add_norm(struct build *build, int64_t size, const char *name)
{
    int64_t start = block(build);
    add(build, size, 0, "%s.weight", name)->init = INIT_ONE;
    return start;
}

static int64_t add_matrix(struct build *build, int64_t rows, int64_t columns, const char *name)
{
    int64_t start = block(build);
    add(build, rows, columns, "%s.weight", name);
    return start;
}

static void add_lightning(struct build *build, const struct model_shape *shape,
                          struct layer_offsets *offsets)
{
    int64_t width = (int64_t)shape->heads * shape->head_size;
    offsets->qkv = add_matrix(build, 3 * width, shape->hidden, "self_attn.qkv_proj");
    offsets->output_gate = add_matrix(build, width, shape->hidden, "self_attn.output_gate");
    offsets->attention_norm = add_norm(build, width, "self_attn.norm");
    offsets->attention_out = add_matrix(build, shape->hidden, width, "self_attn.out_proj");
}

static void add_softmax(struct build *build, const struct model_shape *shape,
                        struct layer_offsets *offsets)
{
    static const char *const letters[3] = {"q", "k", "v"};
    int64_t query = (int64_t)shape->heads * shape->head_size;
    int64_t key = (int64_t)shape->kv_heads * shape->head_size;
    const int64_t rows[3] = {query, key, key};
    offsets->qkv = block(build);
    for (int i = 0; i < 3; i++)
        add(build, rows[i], shape->hidden, "self_attn.%s_proj.weight", letters[i]);
    if (shape->qkv_bias) {
        offsets->qkv_bias = block(build);
        for (int i = 0; i < 3; i++)
            add(build, rows[i], 0, "self_attn.%s_proj.bias", letters[i])->init = INIT_ZERO;
    }
    if (shape->qk_norm) {
        offsets->q_norm = add_norm(build, shape->head_size, "self_attn.q_norm");
        offsets->k_norm = add_norm(build, shape->head_size, "self_attn.k_norm");
    }
    offsets->attention_out = add_matrix(build, shape->hidden, query, "self_attn.o_proj");
}

static void add_experts(struct build *build, const struct model_shape *shape,
                        struct layer_offsets *offsets)
{
    offsets->router = block(build);
    add(build, shape->experts, shape->hidden, "block_sparse_moe.gate.weight")->storage =
        STORAGE_F32;
    offsets->gate_up = block(build);
    for (int32_t e = 0; e < shape->experts; e++) {
        add(build, shape->intermediate, shape->hidden, "block_sparse_moe.experts.%d.w1.weight", e);
        add(build, shape->intermediate, shape->hidden, "block_sparse_moe.experts.%d.w3.weight", e);
    }
    offsets->down = block(build);
    for (int32_t e = 0; e < shape->experts; e++)
        add(build, shape->hidden, shape->intermediate, "block_sparse_moe.experts.%d.w2.weight", e);
}

static void add_mlp(struct build *build, const struct model_shape *shape,
                    struct layer_offsets *offsets)
{
    offsets->gate_up = block(build);
    add(build, shape->intermediate, shape->hidden, "mlp.gate_proj.weight");
    add(build, shape->intermediate, shape->hidden, "mlp.up_proj.weight");
    offsets->down = add_matrix(build, shape->hidden, shape->intermediate, "mlp.down_proj");
}

static void add_layer(struct build *build, const struct model_shape *shape,
                      struct layer_offsets *offsets)
{
    memset(offsets, 0xff, sizeof *offsets); /* every field -1 */
    offsets->input_norm = add_norm(build, shape->hidden, "input_layernorm");
    if (shape->layer_kind[build->layer] == LAYER_LIGHTNING)
        add_lightning(build, shape, offsets);
    else
        add_softmax(build, shape, offsets);
    offsets->post_norm = add_norm(build, shape->hidden, "post_attention_layernorm");
    if (shape->experts > 0)
        add_experts(build, shape, offsets);
    else
        add_mlp(build, shape, offsets);
}

static void build_table(struct build *build, const struct model_shape *shape,
                        struct parameter_table *table)
{
    build->layer = -1;
    table->embedding = add_matrix(build, shape->vocabulary, shape->hidden, "model.embed_tokens");
    for (build->layer = 0; build->layer < shape->layers; build->layer++)
        add_layer(build, shape, &table->layers[build->layer]);
    build->layer = -1;
    table->final_norm = add_norm(build, shape->hidden, "model.norm");
    table->lm_head = shape->tied ? table->embedding
                                 : add_matrix(build, shape->vocabulary, shape->hidden, "lm_head");
    table->elements = block(build);
    table->count = build->count;
}

static uint64_t hash_layout(const struct parameter_table *table)
{
    uint64_t hash = hash64(&table->elements, sizeof table->elements, 0);
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        const int64_t numbers[4] = {row->dims, row->shape[0], row->shape[1], row->offset};
        hash = hash64(row->name, strlen(row->name), hash);
        hash = hash64(numbers, sizeof numbers, hash);
    }
    return hash;
}

enum status parameter_table_create(struct parameter_table *table, const struct model_shape *shape)
{
    struct parameter_table result;
    memset(&result, 0, sizeof result);
    result.layers = memory_array((size_t)shape->layers, sizeof *result.layers);
    if (result.layers == NULL)
        return FAIL(STATUS_NO_MEMORY, "parameter table of %d layers", shape->layers);
    struct build build = {0};
    build_table(&build, shape, &result);
    build = (struct build){.rows = memory_array((size_t)result.count, sizeof *result.rows)};
    if (build.rows == NULL) {
        memory_free(result.layers);
        return FAIL(STATUS_NO_MEMORY, "parameter table of %" PRId64 " rows", result.count);
    }
    result.rows = build.rows;
    build_table(&build, shape, &result);
    result.layout_hash = hash_layout(&result);
    *table = result;
    return STATUS_OK;
}

void parameter_table_destroy(struct parameter_table *table)
{
    memory_free(table->rows);
    memory_free(table->layers);
    memset(table, 0, sizeof *table);
}

void parameter_table_init(const struct parameter_table *table, const struct model_shape *shape,
                          uint64_t seed, float *flat)
{
    memset(flat, 0, (size_t)table->elements * sizeof *flat);
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        float *values = flat + row->offset;
        struct rng rng;
        rng_init(&rng, seed, (uint64_t)i, RNG_INIT);
        for (int64_t k = 0; row->init != INIT_ZERO && k < row->count; k++)
            values[k] =
                row->init == INIT_ONE ? 1.0f : (float)(shape->initializer_range * rng_normal(&rng));
    }
}
