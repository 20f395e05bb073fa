/* model/parameters.c - the rows of each architecture and where they lie in the flat layout.
 *
 * A layer is written once, top to bottom; what differs between architectures is the names (arch.h). The table is
 * built twice: without rows to count them, then for real. */
#include "model/parameters.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "core/rng.h"
#include "model/arch.h"

enum { BLOCK_ELEMENTS = 16 }; /* a block starts on a multiple: 64 bytes of f32 */

struct build {
    const struct model_shape *shape;
    const struct arch_names *names;
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

/* Adds [rows] (columns = 0) or [rows, columns] right behind the row before it. `name` as in struct arch_names, `end`
 * what follows it. */
static struct parameter *add(struct build *build, int64_t rows, int64_t columns, const char *name,
                             const char *end)
{
    static _Thread_local struct parameter scratch; /* what a counting pass writes to */
    struct parameter *row = build->rows ? &build->rows[build->count] : &scratch;
    memset(row, 0, sizeof *row);
    CHECK(name != NULL);
    size_t used = 0;
    if (build->layer >= 0)
        used = (size_t)snprintf(row->name, sizeof row->name, "%s.%d.", build->names->layers,
                                build->layer);
    CHECK(used + strlen(name) + strlen(end) < sizeof row->name);
    (void)snprintf(row->name + used, sizeof row->name - used, "%s%s", name, end);
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
    add(build, size, 0, name, ".weight")->init = build->shape->norm_one_plus ? INIT_ZERO : INIT_ONE;
    return start;
}

static int64_t add_matrix(struct build *build, int64_t rows, int64_t columns, const char *name)
{
    int64_t start = block(build);
    add(build, rows, columns, name, ".weight");
    return start;
}

/* Rows of several matrices, and then of their biases, that one GEMM reads. */
struct part {
    const char *name;
    int64_t rows;
};

static int64_t add_parts(struct build *build, const struct part *parts, int count, int64_t columns)
{
    int64_t start = block(build);
    for (int i = 0; i < count; i++)
        add(build, parts[i].rows, columns, parts[i].name, ".weight");
    return start;
}

static int64_t add_biases(struct build *build, const struct part *parts, int count)
{
    int64_t start = block(build);
    for (int i = 0; i < count; i++)
        add(build, parts[i].rows, 0, parts[i].name, ".bias")->init = INIT_ZERO;
    return start;
}

static void add_lightning(struct build *build, struct layer_offsets *offsets)
{
    const struct arch_names *names = build->names;
    int64_t hidden = build->shape->hidden;
    int64_t width = (int64_t)build->shape->heads * build->shape->head_size;
    offsets->qkv = add_matrix(build, 3 * width, hidden, names->lightning_qkv);
    offsets->output_gate = add_matrix(build, width, hidden, names->lightning_gate);
    offsets->attention_norm = add_norm(build, width, names->lightning_norm);
    offsets->attention_out = add_matrix(build, hidden, width, names->lightning_out);
}

static void add_softmax(struct build *build, struct layer_offsets *offsets)
{
    const struct model_shape *shape = build->shape;
    const struct arch_names *names = build->names;
    int64_t query = (int64_t)shape->heads * shape->head_size;
    int64_t key = (int64_t)shape->kv_heads * shape->head_size;
    const struct part qkv[] = {{names->q, query}, {names->k, key}, {names->v, key}};
    const struct part out = {names->o, shape->hidden};
    offsets->qkv = add_parts(build, qkv, 3, shape->hidden);
    if (shape->qkv_bias)
        offsets->qkv_bias = add_biases(build, qkv, 3);
    if (shape->qk_norm) {
        offsets->q_norm = add_norm(build, shape->head_size, names->q_norm);
        offsets->k_norm = add_norm(build, shape->head_size, names->k_norm);
    }
    offsets->attention_out = add_parts(build, &out, 1, query);
    if (shape->output_bias)
        offsets->output_bias = add_biases(build, &out, 1);
}

static void add_expert(struct build *build, int32_t expert, int64_t rows, int64_t columns,
                       const char *part)
{
    char name[PARAMETER_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s.%d.%s", build->names->experts, expert, part);
    add(build, rows, columns, name, ".weight");
}

static void add_experts(struct build *build, struct layer_offsets *offsets)
{
    const struct model_shape *shape = build->shape;
    const struct arch_names *names = build->names;
    int64_t hidden = shape->hidden, width = shape->intermediate;
    offsets->router = block(build);
    add(build, shape->experts, hidden, names->router, ".weight")->storage = STORAGE_F32;
    offsets->gate_up = block(build);
    for (int32_t e = 0; e < shape->experts; e++) {
        add_expert(build, e, width, hidden, names->expert_gate);
        add_expert(build, e, width, hidden, names->expert_up);
    }
    offsets->down = block(build);
    for (int32_t e = 0; e < shape->experts; e++)
        add_expert(build, e, hidden, width, names->expert_down);
}

static void add_mlp(struct build *build, struct layer_offsets *offsets)
{
    const struct model_shape *shape = build->shape;
    const struct arch_names *names = build->names;
    int32_t width = shape_mlp_width(shape, build->layer);
    const struct part gate_up[] = {{names->gate, width}, {names->up, width}};
    const struct part down = {names->down, shape->hidden};
    offsets->gate_up = add_parts(build, gate_up, 2, shape->hidden);
    if (shape->mlp_bias)
        offsets->gate_up_bias = add_biases(build, gate_up, 2);
    offsets->down = add_parts(build, &down, 1, width);
    if (shape->mlp_bias)
        offsets->down_bias = add_biases(build, &down, 1);
}

static void add_layer(struct build *build, struct layer_offsets *offsets)
{
    const struct model_shape *shape = build->shape;
    memset(offsets, 0xff, sizeof *offsets); /* every field -1 */
    offsets->input_norm = add_norm(build, shape->hidden, build->names->input_norm);
    if (shape->layer_kind[build->layer] == LAYER_LIGHTNING)
        add_lightning(build, offsets);
    else
        add_softmax(build, offsets);
    if (shape->branch_norm)
        offsets->attention_branch_norm =
            add_norm(build, shape->hidden, build->names->attention_branch_norm);
    offsets->post_norm = add_norm(build, shape->hidden, build->names->post_norm);
    if (shape_has_experts(shape, build->layer))
        add_experts(build, offsets);
    else
        add_mlp(build, offsets);
    if (shape->branch_norm)
        offsets->mlp_branch_norm = add_norm(build, shape->hidden, build->names->mlp_branch_norm);
}

static void build_table(struct build *build, struct parameter_table *table)
{
    const struct model_shape *shape = build->shape;
    const struct arch_names *names = build->names;
    build->layer = -1;
    table->embedding = add_matrix(build, shape->vocabulary, shape->hidden, names->embedding);
    for (build->layer = 0; build->layer < shape->layers; build->layer++)
        add_layer(build, &table->layers[build->layer]);
    build->layer = -1;
    table->final_norm = add_norm(build, shape->hidden, names->final_norm);
    table->lm_head = shape->tied
                         ? table->embedding
                         : add_matrix(build, shape->vocabulary, shape->hidden, names->lm_head);
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
    struct build build = {.shape = shape, .names = arch_of(shape->arch)->names};
    build_table(&build, &result);
    build = (struct build){.shape = shape,
                           .names = build.names,
                           .rows = memory_array((size_t)result.count, sizeof *result.rows)};
    if (build.rows == NULL) {
        memory_free(result.layers);
        return FAIL(STATUS_NO_MEMORY, "parameter table of %" PRId64 " rows", result.count);
    }
    result.rows = build.rows;
    build_table(&build, &result);
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
