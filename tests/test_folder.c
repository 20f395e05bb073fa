/* links: model */
/* Folders in and out: what is saved loads to the same bits, what does not fit is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

static char base[] = "/tmp/weir-folder-XXXXXX";

struct loaded {
    struct model_shape shape;
    struct parameter_table table;
    float *flat;
};

static const char *at(const char *name)
{
    static char paths[4][FILE_PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 4];
    assert_int_equal(file_path(path, "%s/%s", base, name), STATUS_OK);
    return path;
}

static enum status load(struct loaded *loaded, const char *folder)
{
    char config[FILE_PATH_MAX];
    assert_int_equal(file_path(config, "%s/config.json", folder), STATUS_OK);
    assert_int_equal(model_shape_load(&loaded->shape, config), STATUS_OK);
    assert_int_equal(parameter_table_create(&loaded->table, &loaded->shape), STATUS_OK);
    loaded->flat = memory_array((size_t)loaded->table.elements, sizeof(float));
    assert_non_null(loaded->flat);
    memset(loaded->flat, 0x55, (size_t)loaded->table.elements * sizeof(float));
    return model_folder_load(folder, &loaded->shape, &loaded->table, loaded->flat);
}

static void unload(struct loaded *loaded)
{
    memory_free(loaded->flat);
    parameter_table_destroy(&loaded->table);
}

static void assert_same(const struct loaded *a, const struct loaded *b)
{
    assert_memory_equal(&a->shape, &b->shape, sizeof a->shape);
    assert_true(a->table.layout_hash == b->table.layout_hash);
    assert_memory_equal(a->flat, b->flat, (size_t)a->table.elements * sizeof(float));
}

static enum status save(const struct loaded *from, const char *name, enum safetensors_dtype dtype,
                        int64_t shard_bytes)
{
    return model_folder_save(at(name), &from->shape, &from->table, from->flat, dtype, NULL,
                             shard_bytes);
}

static void test_folder_golden_models_save_and_load_unchanged(void **state)
{
    (void)state;
    const char *const cases[] = {GOLDEN "qwen2", GOLDEN "minimax-m1-format"};
    for (int i = 0; i < 2; i++) {
        struct loaded first, second;
        assert_int_equal(load(&first, cases[i]), STATUS_OK);
        /* the golden weights are bf16 values, so bf16 keeps them */
        assert_int_equal(save(&first, i ? "m1" : "q2", ST_BF16, 0), STATUS_OK);
        assert_int_equal(load(&second, at(i ? "m1" : "q2")), STATUS_OK);
        assert_same(&first, &second);
        unload(&first);
        unload(&second);
    }
}

static void test_folder_init_gives_a_folder_that_loads(void **state)
{
    (void)state;
    struct loaded first, second;
    assert_int_equal(
        model_folder_init(GOLDEN "minimax-m1-format/config.json", at("new"), 3, ST_F32, NULL),
        STATUS_OK);
    assert_int_equal(load(&first, at("new")), STATUS_OK);
    float *wanted = memory_array((size_t)first.table.elements, sizeof *wanted);
    assert_non_null(wanted);
    parameter_table_init(&first.table, &first.shape, 3, wanted);
    assert_memory_equal(first.flat, wanted, (size_t)first.table.elements * sizeof *wanted);
    assert_int_equal(save(&first, "new2/", ST_F32, 0), STATUS_OK);
    assert_int_equal(load(&second, at("new2")), STATUS_OK);
    assert_same(&first, &second);
    memory_free(wanted);
    unload(&first);
    unload(&second);
}

static void test_folder_sharded_save_loads_the_same(void **state)
{
    (void)state;
    struct loaded first, second;
    assert_int_equal(load(&first, GOLDEN "qwen2"), STATUS_OK);
    assert_int_equal(save(&first, "shards", ST_F32, 100000), STATUS_OK);
    assert_true(file_exists(at("shards/model.safetensors.index.json")));
    assert_false(file_exists(at("shards/model.safetensors")));
    assert_false(file_exists(at("shards.tmp")));
    assert_int_equal(load(&second, at("shards")), STATUS_OK);
    assert_same(&first, &second);
    unload(&second);
    assert_int_equal(rename(at("shards/model-00002-of-00007.safetensors"), at("gone")), 0);
    assert_int_equal(load(&second, at("shards")), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "model-00002-of-00007.safetensors"));
    unload(&first);
    unload(&second);
}

static void test_folder_router_gates_stay_f32_in_a_bf16_folder(void **state)
{
    (void)state;
    struct safetensors *file;
    assert_int_equal(
        model_folder_init(GOLDEN "minimax-m1-format/config.json", at("bf"), 3, ST_BF16, NULL),
        STATUS_OK);
    assert_int_equal(safetensors_open(&file, at("bf/model.safetensors")), STATUS_OK);
    for (int64_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensor *tensor = safetensors_at(file, i);
        bool gate = strstr(tensor->name, "moe.gate.weight") != NULL;
        assert_int_equal(tensor->dtype, gate ? ST_F32 : ST_BF16);
    }
    safetensors_close(&file);
}

/* The golden qwen2 folder with its tensors passed through `change`; loading it must fail. */
static void refuse(const char *name, void (*change)(struct safetensors_row *rows, int64_t *count),
                   const char *word)
{
    struct loaded good, bad;
    assert_int_equal(load(&good, GOLDEN "qwen2"), STATUS_OK);
    assert_int_equal(save(&good, name, ST_F32, 0), STATUS_OK);
    int64_t count = good.table.count;
    struct safetensors_row rows[64];
    memset(rows, 0, sizeof rows);
    for (int64_t i = 0; i < count; i++) {
        const struct parameter *row = &good.table.rows[i];
        rows[i] = (struct safetensors_row){
            row->name, ST_F32, row->dims, {row->shape[0], row->shape[1]}, good.flat + row->offset};
    }
    change(rows, &count);
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/model.safetensors", at(name)), STATUS_OK);
    assert_int_equal(safetensors_write(path, rows, count, NULL, NULL, 0), STATUS_OK);
    assert_int_equal(load(&bad, at(name)), STATUS_INVALID);
    if (strstr(status_last_error(), word) == NULL)
        fail_msg("no \"%s\" in: %s", word, status_last_error());
    unload(&good);
    unload(&bad);
}

static void drop_one(struct safetensors_row *rows, int64_t *count)
{
    rows[3] = rows[--*count];
}

static void transpose_one(struct safetensors_row *rows, int64_t *count)
{
    (void)count;
    rows[0].shape[0] = 64;
    rows[0].shape[1] = 331;
}

static void add_one(struct safetensors_row *rows, int64_t *count)
{
    rows[*count] = rows[1];
    rows[(*count)++].name = "model.layers.0.self_attn.q_norm.weight";
}

static void test_folder_tensors_that_do_not_fit_are_named(void **state)
{
    (void)state;
    refuse("missing", drop_one, "model.layers.0.self_attn.k_proj.weight is missing (1 of 38");
    refuse("turned", transpose_one, "model.embed_tokens.weight is [64, 331]");
    refuse("more", add_one, "q_norm.weight is no part of Qwen2ForCausalLM");
}

static void add_tied_head(struct safetensors_row *rows, int64_t *count)
{
    rows[*count] = rows[0];
    rows[(*count)++].name = "lm_head.weight";
    rows[*count] = rows[1];
    rows[(*count)++].name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    rows[1].shape[0] = 63; /* so that something is refused, and not the head */
}

static void test_folder_buffers_and_a_tied_head_are_passed_over(void **state)
{
    (void)state;
    refuse("tied", add_tied_head, "input_layernorm.weight is [63]");
}

static void test_folder_that_exists_or_is_empty_is_refused(void **state)
{
    (void)state;
    struct loaded good;
    assert_int_equal(load(&good, GOLDEN "qwen2"), STATUS_OK);
    assert_int_equal(file_make_dirs(at("there")), STATUS_OK);
    assert_int_equal(save(&good, "there", ST_F32, 0), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "exists already"));
    assert_int_equal(model_folder_load(at("there"), &good.shape, &good.table, good.flat),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "model.safetensors.index.json"));
    unload(&good);
}

static void test_folder_save_copies_the_tokenizer_files(void **state)
{
    (void)state;
    assert_int_equal(file_make_dirs(at("like")), STATUS_OK);
    assert_int_equal(file_replace(at("like/tokenizer.json"), "{}", 2), STATUS_OK);
    assert_int_equal(file_replace(at("like/README.md"), "x", 1), STATUS_OK);
    assert_int_equal(
        model_folder_init(GOLDEN "qwen2/config.json", at("copy"), 1, ST_BF16, at("like")),
        STATUS_OK);
    assert_true(file_exists(at("copy/tokenizer.json")));
    assert_false(file_exists(at("copy/README.md")));
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(base) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(base) != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_golden_models_save_and_load_unchanged),
        cmocka_unit_test(test_folder_init_gives_a_folder_that_loads),
        cmocka_unit_test(test_folder_sharded_save_loads_the_same),
        cmocka_unit_test(test_folder_router_gates_stay_f32_in_a_bf16_folder),
        cmocka_unit_test(test_folder_tensors_that_do_not_fit_are_named),
        cmocka_unit_test(test_folder_buffers_and_a_tied_head_are_passed_over),
        cmocka_unit_test(test_folder_that_exists_or_is_empty_is_refused),
        cmocka_unit_test(test_folder_save_copies_the_tokenizer_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
