/* links: model */
/* The flat layout: which rows there are, who is whose neighbour, and what the layout hash sees. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "model/parameters.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

static struct model_shape minimax, qwen;

static const struct parameter *find(const struct parameter_table *table, const char *name)
{
    for (int64_t i = 0; i < table->count; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    fail_msg("no row %s", name);
    return NULL;
}

static struct parameter_table table_of(const struct model_shape *shape)
{
    struct parameter_table table;
    assert_int_equal(parameter_table_create(&table, shape), STATUS_OK);
    return table;
}

static void check_layout(const struct parameter_table *table)
{
    int64_t end = 0, sum = 0;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        int64_t count = 1;
        for (int32_t d = 0; d < row->dims; d++)
            count *= row->shape[d];
        assert_int_equal(row->count, count);
        assert_in_range(row->offset - end, 0, 15); /* in order, padding below one block */
        end = row->offset + row->count;
        sum += row->count;
    }
    assert_int_equal(table->elements % 16, 0);
    assert_in_range(table->elements - end, 0, 15);
    assert_true(sum <= table->elements);
}

static void test_parameters_rows_fill_the_layout_in_order(void **state)
{
    (void)state;
    struct parameter_table table = table_of(&minimax);
    check_layout(&table);
    /* embedding, norm, head; 7 lightning layers of 6 rows and a softmax layer of 6; 8 x (gate + 12) */
    assert_int_equal(table.count, 3 + 8 * (2 + 4) + 8 * (1 + 12));
    parameter_table_destroy(&table);
    table = table_of(&qwen);
    check_layout(&table);
    assert_int_equal(table.count, 2 + 3 * 12);
    assert_int_equal(table.lm_head, table.embedding);
    parameter_table_destroy(&table);
    assert_null(table.rows);
}

static void test_parameters_dense_blocks_are_neighbours(void **state)
{
    (void)state;
    struct parameter_table table = table_of(&qwen);
    const struct layer_offsets *layer = &table.layers[1];
    const struct parameter *q = find(&table, "model.layers.1.self_attn.q_proj.weight");
    const struct parameter *k = find(&table, "model.layers.1.self_attn.k_proj.weight");
    const struct parameter *v = find(&table, "model.layers.1.self_attn.v_proj.weight");
    const struct parameter *bias = find(&table, "model.layers.1.self_attn.q_proj.bias");
    const struct parameter *gate = find(&table, "model.layers.1.mlp.gate_proj.weight");
    const struct parameter *up = find(&table, "model.layers.1.mlp.up_proj.weight");
    assert_int_equal(layer->qkv, q->offset);
    assert_int_equal(k->offset, q->offset + 64 * 64);
    assert_int_equal(v->offset, k->offset + 32 * 64);
    assert_int_equal(layer->qkv_bias, bias->offset);
    assert_int_equal(bias->init, INIT_ZERO);
    assert_int_equal(find(&table, "model.layers.1.self_attn.v_proj.bias")->offset,
                     bias->offset + 96);
    assert_int_equal(layer->gate_up, gate->offset);
    assert_int_equal(up->offset, gate->offset + 176 * 64);
    assert_int_equal(layer->down, find(&table, "model.layers.1.mlp.down_proj.weight")->offset);
    assert_int_equal(layer->router, -1);
    assert_int_equal(layer->q_norm, -1);
    assert_int_equal(layer->output_gate, -1);
    parameter_table_destroy(&table);
}

static void test_parameters_expert_blocks_are_neighbours(void **state)
{
    (void)state;
    struct parameter_table table = table_of(&minimax);
    const struct layer_offsets *layer = &table.layers[7];
    char name[PARAMETER_NAME_MAX];
    for (int e = 0; e < 4; e++)
        for (int w = 0; w < 3; w++) {
            static const char *const letters[3] = {"w1", "w3", "w2"};
            assert_true(snprintf(name, sizeof name,
                                 "model.layers.7.block_sparse_moe.experts.%d.%s.weight", e,
                                 letters[w]) > 0);
            int64_t wanted =
                w < 2 ? layer->gate_up + (2 * e + w) * 96 * 64 : layer->down + e * 96 * 64;
            assert_int_equal(find(&table, name)->offset, wanted);
        }
    const struct parameter *gate = find(&table, "model.layers.7.block_sparse_moe.gate.weight");
    assert_int_equal(gate->storage, STORAGE_F32);
    assert_int_equal(gate->offset, layer->router);
    assert_int_equal(layer->attention_norm, -1); /* softmax layer */
    assert_int_equal(table.layers[0].attention_norm,
                     find(&table, "model.layers.0.self_attn.norm.weight")->offset);
    const struct parameter *qkv = find(&table, "model.layers.0.self_attn.qkv_proj.weight");
    assert_int_equal(qkv->shape[0], 3 * 4 * 16);
    assert_int_equal(table.layers[0].qkv, qkv->offset);
    parameter_table_destroy(&table);
}

static void test_parameters_layout_hash_changes_with_the_shape(void **state)
{
    (void)state;
    struct parameter_table table = table_of(&minimax), other = table_of(&minimax);
    assert_true(table.layout_hash == other.layout_hash);
    parameter_table_destroy(&other);
    struct model_shape changed = minimax;
    changed.layer_kind[0] = LAYER_SOFTMAX;
    other = table_of(&changed);
    assert_true(table.layout_hash != other.layout_hash);
    parameter_table_destroy(&other);
    changed = minimax;
    changed.vocabulary++;
    other = table_of(&changed);
    assert_true(table.layout_hash != other.layout_hash);
    parameter_table_destroy(&other);
    parameter_table_destroy(&table);
}

static void test_parameters_init_depends_on_the_seed_only(void **state)
{
    (void)state;
    struct parameter_table table = table_of(&qwen);
    size_t bytes = (size_t)table.elements * sizeof(float);
    float *a = memory_alloc(bytes), *b = memory_alloc(bytes);
    assert_true(a && b);
    parameter_table_init(&table, &qwen, 5, a);
    memset(b, 0x7f, bytes);
    parameter_table_init(&table, &qwen, 5, b);
    assert_memory_equal(a, b, bytes);
    parameter_table_init(&table, &qwen, 6, b);
    assert_memory_not_equal(a, b, bytes);
    const struct parameter *row = find(&table, "model.embed_tokens.weight");
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < row->count; i++) {
        sum += a[row->offset + i];
        squares += (double)a[row->offset + i] * a[row->offset + i];
    }
    /* 21184 draws of N(0, 0.02): the mean within 4 sigma, the deviation within 4 percent */
    assert_true(fabs(sum / (double)row->count) < 4 * 0.02 / sqrt((double)row->count));
    assert_true(fabs(sqrt(squares / (double)row->count) / 0.02 - 1) < 0.04);
    assert_true(a[table.final_norm] == 1.0f && a[table.layers[0].qkv_bias] == 0.0f);
    memory_free(a);
    memory_free(b);
    parameter_table_destroy(&table);
}

static void test_parameters_create_without_memory_fails_cleanly(void **state)
{
    (void)state;
    int64_t before = memory_blocks_live();
    for (int n = 1; n <= 2; n++) {
        struct parameter_table table;
        memory_fail_after(n);
        assert_int_equal(parameter_table_create(&table, &qwen), STATUS_NO_MEMORY);
        memory_fail_after(-1);
        assert_int_equal(memory_blocks_live(), before);
    }
}

static int set_up(void **state)
{
    (void)state;
    return model_shape_load(&minimax, GOLDEN "minimax-m1-format/config.json") != STATUS_OK ||
           model_shape_load(&qwen, GOLDEN "qwen2/config.json") != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_rows_fill_the_layout_in_order),
        cmocka_unit_test(test_parameters_dense_blocks_are_neighbours),
        cmocka_unit_test(test_parameters_expert_blocks_are_neighbours),
        cmocka_unit_test(test_parameters_layout_hash_changes_with_the_shape),
        cmocka_unit_test(test_parameters_init_depends_on_the_seed_only),
        cmocka_unit_test(test_parameters_create_without_memory_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
