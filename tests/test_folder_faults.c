/* links: model */
/* Folders that do not fit: all of it is said at once. And the ways into and out of a folder that test_folder.c does not
 * take: fused experts, half floats, large reads, devices, what is written besides weights, a disk that is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

enum { ROWS_MAX = 512, SHARD_ROWS = 10 };

static char base[] = "/tmp/weir-faults-XXXXXX";

struct loaded {
    struct model_shape shape;
    struct parameter_table table;
    float *flat;
};

static const char *at(const char *folder, const char *file)
{
    static char paths[4][FILE_PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 4];
    assert_int_equal(file_path(path, "%s/%s%s%s", base, folder, file[0] != '\0' ? "/" : "", file),
                     STATUS_OK);
    return path;
}

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

/* Random weights of a config. */
static void make(struct loaded *loaded, const char *config)
{
    must(model_shape_load(&loaded->shape, config));
    must(parameter_table_create(&loaded->table, &loaded->shape));
    loaded->flat = memory_array((size_t)loaded->table.elements, sizeof(float));
    assert_non_null(loaded->flat);
    parameter_table_init(&loaded->table, &loaded->shape, 5, loaded->flat);
}

static void unmake(struct loaded *loaded)
{
    memory_free(loaded->flat);
    parameter_table_destroy(&loaded->table);
}

static int64_t rows_of(const struct loaded *loaded, struct safetensors_row rows[ROWS_MAX])
{
    assert_true(loaded->table.count < ROWS_MAX - 4);
    memset(rows, 0, ROWS_MAX * sizeof *rows);
    for (int64_t i = 0; i < loaded->table.count; i++) {
        const struct parameter *row = &loaded->table.rows[i];
        rows[i] = (struct safetensors_row){.name = row->name,
                                           .dtype = ST_F32,
                                           .dims = row->dims,
                                           .shape = {row->shape[0], row->shape[1]},
                                           .values = loaded->flat + row->offset};
    }
    return loaded->table.count;
}

/* Rows in shards of SHARD_ROWS, and an index of all but `absent`, which says of `moved` that it is in shard 0. */
static void write_shards(const char *folder, const struct safetensors_row *rows, int64_t count,
                         const char *absent, const char *moved)
{
    json_t *map = json_object();
    must(file_make_dirs(at(folder, "")));
    for (int64_t first = 0; first < count; first += SHARD_ROWS) {
        char name[32];
        int64_t now = count - first < SHARD_ROWS ? count - first : SHARD_ROWS;
        (void)snprintf(name, sizeof name, "shard-%d.safetensors", (int)(first / SHARD_ROWS));
        must(safetensors_write(at(folder, name), rows + first, now, NULL, NULL, 0));
        for (int64_t i = first; i < first + now; i++)
            if (strcmp(rows[i].name, absent) != 0)
                json_object_set_new(
                    map, rows[i].name,
                    json_string(strcmp(rows[i].name, moved) == 0 ? "shard-0.safetensors" : name));
    }
    json_t *index = json_pack("{s:o}", "weight_map", map);
    assert_int_equal(json_dump_file(index, at(folder, "model.safetensors.index.json"), 0), 0);
    json_decref(index);
}

static enum status load(const char *folder, const struct loaded *like, float *flat)
{
    return model_folder_load(at(folder, ""), &like->shape, &like->table, flat);
}

static void assert_said(const char *const *words)
{
    for (; *words != NULL; words++)
        if (strstr(status_last_error(), *words) == NULL)
            fail_msg("no \"%s\" in: %s", *words, status_last_error());
}

static void test_folder_everything_that_does_not_fit_is_said_at_once(void **state)
{
    (void)state;
    struct loaded good;
    struct safetensors_row rows[ROWS_MAX];
    make(&good, GOLDEN "qwen2/config.json");
    int64_t count = rows_of(&good, rows);
    assert_true(count >= 38); /* four shards */
    rows[2].shape[0]--;       /* one row less */
    rows[5] = rows[1];
    rows[5].name = "model.layers.0.self_attn.q_norm.weight";
    char absent[PARAMETER_NAME_MAX], moved[PARAMETER_NAME_MAX];
    (void)snprintf(absent, sizeof absent, "%s", rows[12].name);
    (void)snprintf(moved, sizeof moved, "%s", rows[14].name);
    write_shards("all", rows, count, absent, moved);
    assert_int_equal(unlink(at("all", "shard-3.safetensors")), 0);
    int64_t blocks = memory_blocks_live();
    assert_int_equal(load("all", &good, good.flat), STATUS_INVALID);
    char turned[160], lost[160], listed[200], elsewhere[200];
    (void)snprintf(turned, sizeof turned, "tensor %s is [%d, %d], config.json asks for [%d, %d]",
                   good.table.rows[2].name, (int)good.table.rows[2].shape[0] - 1,
                   (int)good.table.rows[2].shape[1], (int)good.table.rows[2].shape[0],
                   (int)good.table.rows[2].shape[1]);
    (void)snprintf(lost, sizeof lost, "tensor %s is missing", good.table.rows[5].name);
    (void)snprintf(listed, sizeof listed, "tensor %s is not in model.safetensors.index.json",
                   absent);
    (void)snprintf(elsewhere, sizeof elsewhere,
                   "tensor %s is here, model.safetensors.index.json says shard-0", moved);
    const char *const words[] = {turned,
                                 lost,
                                 listed,
                                 elsewhere,
                                 "q_norm.weight is no part of Qwen2ForCausalLM",
                                 "shard-3.safetensors: open: No such file",
                                 "things do not fit Qwen2ForCausalLM",
                                 NULL};
    assert_said(words);
    assert_int_equal(memory_blocks_live(), blocks);
    unmake(&good);
}

static void test_folder_more_than_twenty_findings_are_counted(void **state)
{
    (void)state;
    struct loaded good;
    struct safetensors_row rows[ROWS_MAX];
    make(&good, GOLDEN "qwen2/config.json");
    (void)rows_of(&good, rows);
    must(file_make_dirs(at("most", "")));
    must(safetensors_write(at("most", "model.safetensors"), rows, 2, NULL, NULL, 0));
    assert_int_equal(load("most", &good, good.flat), STATUS_INVALID);
    int shown = 0;
    for (const char *text = status_last_error(); (text = strstr(text, " is missing")) != NULL;
         text++)
        shown++;
    char more[40], all[60];
    (void)snprintf(more, sizeof more, "and %d more", (int)good.table.count - 2 - shown);
    (void)snprintf(all, sizeof all, "%d things do not fit", (int)good.table.count - 2);
    const char *const words[] = {more, all, NULL};
    assert_said(words);
    assert_true(shown >= 10 && shown <= 20);
    unmake(&good);
}

/* The golden hybrid with its experts as transformers 5 has them in memory. */
static void test_folder_fused_experts_are_the_same_weights(void **state)
{
    (void)state;
    struct loaded good;
    struct safetensors_row rows[ROWS_MAX], fused[ROWS_MAX];
    static char names[ROWS_MAX][PARAMETER_NAME_MAX];
    make(&good, GOLDEN "minimax-m1-format/config.json");
    int64_t count = rows_of(&good, rows), kept = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *router = strstr(rows[i].name, "block_sparse_moe.gate.weight");
        if (strstr(rows[i].name, ".experts.") != NULL)
            continue;
        fused[kept] = rows[i];
        if (router != NULL) {
            (void)snprintf(names[kept], sizeof names[kept], "%.*smlp.gate.weight",
                           (int)(router - rows[i].name), rows[i].name);
            fused[kept].name = names[kept];
        }
        kept++;
    }
    const struct model_shape *shape = &good.shape;
    for (int32_t l = 0; l < 2 * shape->layers; l++) {
        const struct layer_offsets *offsets = &good.table.layers[l / 2];
        bool up = l % 2 == 0;
        (void)snprintf(names[kept], sizeof names[kept], "model.layers.%d.mlp.experts.%s", l / 2,
                       up ? "gate_up_proj" : "down_proj");
        fused[kept] = (struct safetensors_row){
            .name = names[kept],
            .dtype = ST_F32,
            .dims = 3,
            .shape = {shape->experts, up ? 2 * shape->intermediate : shape->hidden,
                      up ? shape->hidden : shape->intermediate},
            .values = good.flat + (up ? offsets->gate_up : offsets->down)};
        kept++;
    }
    must(file_make_dirs(at("fused", "")));
    must(safetensors_write(at("fused", "model.safetensors"), fused, kept, NULL, NULL, 0));
    float *flat = memory_array((size_t)good.table.elements, sizeof *flat);
    must(load("fused", &good, flat));
    assert_memory_equal(flat, good.flat, (size_t)good.table.elements * sizeof *flat);
    fused[kept - 1].shape[0]--;
    must(safetensors_write(at("fused", "model.safetensors"), fused, kept, NULL, NULL, 0));
    assert_int_equal(load("fused", &good, flat), STATUS_INVALID);
    const char *const words[] = {"mlp.experts.down_proj is [", NULL};
    assert_said(words);
    memory_free(flat);
    unmake(&good);
}

/* Large enough for several pieces and threads; whole, in odd spans and on a device it is the same. */
static void test_folder_spans_and_devices_get_the_same_values(void **state)
{
    (void)state;
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":9001,"
        "\"hidden_size\":264,\"intermediate_size\":312,\"num_hidden_layers\":2,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":66,\"hidden_act\":"
        "\"silu\",\"rms_norm_eps\":1e-5,\"max_position_embeddings\":64,\"tie_word_embeddings\":"
        "false,\"rope_theta\":10000.0}";
    struct loaded big;
    must(file_replace(at("big.json", ""), config, sizeof config - 1));
    make(&big, at("big.json", ""));
    assert_true(big.table.elements > 3 << 20);
    must(
        model_folder_save(at("big", ""), &big.shape, &big.table, big.flat, ST_BF16, NULL, 4000000));
    size_t bytes = (size_t)big.table.elements * sizeof(float);
    float *whole = memory_alloc(bytes), *other = memory_alloc(bytes);
    memset(whole, 0x55, bytes);
    must(load("big", &big, whole));
    struct model_folder *folder = NULL;
    must(model_folder_open(&folder, at("big", ""), &big.shape, &big.table));
    for (int64_t first = 0, count; first < big.table.elements; first += count) {
        count = 1234567 < big.table.elements - first ? 1234567 : big.table.elements - first;
        must(model_folder_read(folder, first, count, other + first));
    }
    model_folder_close(&folder);
    assert_memory_equal(whole, other, bytes);

    struct op_table *ops = NULL;
    struct model *model = NULL;
    struct model_weights direct = {0}, rounded = {0};
    struct model_options options = {.rows_max = 4, .lightning_chunk = 16};
    must(op_table_create(&ops, "cpu", 1));
    memset(other, 0x55, bytes);
    must(model_folder_load_device(at("big", ""), &big.shape, &big.table, ops, other));
    assert_memory_equal(whole, other, bytes);
    must(model_create(&model, &big.shape, ops, &options));
    must(model_weights_create(model, &direct));
    must(model_weights_create(model, &rounded));
    must(model_weights_load_folder(model, &direct, at("big", "")));
    must(model_weights_round(model, &rounded, whole, false));
    assert_true(direct.digest == rounded.digest && direct.digest != 0);
    model_weights_destroy(model, &direct);
    model_weights_destroy(model, &rounded);
    model_destroy(&model);
    op_table_destroy(&ops);
    memory_free(whole);
    memory_free(other);
    unmake(&big);
}

static json_t *read_json(const char *folder, const char *file)
{
    json_t *root = json_load_file(at(folder, file), 0, NULL);
    if (root == NULL)
        fail_msg("%s/%s is no JSON", folder, file);
    return root;
}

static const char *text_of(const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text != NULL ? text : "";
}

/* A text ends where the model says or the tokenizer: the run stops at both. */
static void test_folder_generation_ends_at_the_ids_of_model_and_tokenizer(void **state)
{
    (void)state;
    static const char config[] = "{\"eos_token\":\"<end>\"}";
    static const char tokenizer[] = "{\"added_tokens\":[{\"id\":7,\"content\":\"<end>\"}]}";
    struct loaded good;
    make(&good, GOLDEN "qwen2/config.json");
    good.shape.eos_ids[0] = 3;
    good.shape.eos_count = 1;
    must(file_make_dirs(at("ends", "")));
    must(file_replace(at("ends", "tokenizer_config.json"), config, sizeof config - 1));
    must(file_replace(at("ends", "tokenizer.json"), tokenizer, sizeof tokenizer - 1));
    must(model_folder_save(at("both", ""), &good.shape, &good.table, good.flat, ST_F32,
                           at("ends", ""), 0));
    json_t *root = read_json("both", "generation_config.json");
    const json_t *ids = json_object_get(root, "eos_token_id");
    assert_int_equal(json_array_size(ids), 2);
    assert_int_equal(json_integer_value(json_array_get(ids, 0)), 3);
    assert_int_equal(json_integer_value(json_array_get(ids, 1)), 7);
    json_decref(root);
    unmake(&good);
}

/* What transformers writes for "no limit" is no integer of 64 bits. */
static void test_folder_special_tokens_come_from_a_config_with_huge_numbers(void **state)
{
    (void)state;
    static const char text[] = "{\"model_max_length\": 1000000000000000019884624838656,"
                               "\"eos_token\":{\"content\":\"<e>\"},\"pad_token\":null}";
    must(file_make_dirs(at("huge", "")));
    must(file_replace(at("huge", "tokenizer_config.json"), text, sizeof text - 1));
    must(model_folder_init(GOLDEN "qwen2/config.json", at("numbers", ""), 1, ST_BF16,
                           at("huge", "")));
    json_t *map = read_json("numbers", "special_tokens_map.json");
    assert_string_equal(text_of(map, "eos_token"), "<e>");
    assert_null(json_object_get(map, "pad_token"));
    json_decref(map);
}

static void test_folder_written_is_complete(void **state)
{
    (void)state;
    static const char tokenizer[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"<end>\",\"special\":true}],"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<begin>\":1},\"merges\":[]}}";
    struct loaded good;
    make(&good, GOLDEN "qwen2/config.json");
    good.shape.bos_id = 1;
    good.shape.eos_ids[0] = 0;
    good.shape.eos_count = 1;
    must(file_make_dirs(at("like", "")));
    must(file_replace(at("like", "tokenizer.json"), tokenizer, sizeof tokenizer - 1));
    must(file_replace(at("like", "chat_template.jinja"), "{{ 1 }}", 7));
    struct model_generation generation = {.temperature = 0.7, .top_p = 0.9, .top_k = 0};
    struct model_folder_content content = {.shape = &good.shape,
                                           .table = &good.table,
                                           .flat = good.flat,
                                           .dtype = ST_BF16,
                                           .like = at("like", ""),
                                           .generation = &generation};
    must(model_folder_write(at("whole", ""), &content));
    json_t *config = read_json("whole", "config.json");
    assert_string_equal(text_of(config, "dtype"), "bfloat16");
    assert_string_equal(text_of(config, "torch_dtype"), "bfloat16");
    assert_string_equal(text_of(config, "model_type"), "qwen2");
    json_t *generated = read_json("whole", "generation_config.json");
    assert_int_equal(json_integer_value(json_object_get(generated, "eos_token_id")), 0);
    assert_true(json_number_value(json_object_get(generated, "temperature")) == 0.7);
    assert_true(json_is_true(json_object_get(generated, "do_sample")));
    json_t *made = read_json("whole", "tokenizer_config.json");
    assert_string_equal(text_of(made, "eos_token"), "a");
    assert_string_equal(text_of(made, "bos_token"), "<begin>");
    json_t *map = read_json("whole", "special_tokens_map.json");
    assert_string_equal(text_of(map, "eos_token"), "a");
    assert_true(file_exists(at("whole", "chat_template.jinja")));
    assert_false(file_exists(at("whole.tmp", "")));
    json_decref(config);
    json_decref(generated);
    json_decref(made);
    json_decref(map);
    unmake(&good);
}

/* A folder without room: the sentence has the path, and nothing stays. */
static void test_folder_failed_write_leaves_nothing(void **state)
{
    (void)state;
    struct loaded good;
    struct rlimit before, low;
    make(&good, GOLDEN "qwen2/config.json");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = before;
    low.rlim_cur = 100000;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    enum status status =
        model_folder_save(at("full", ""), &good.shape, &good.table, good.flat, ST_F32, NULL, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, STATUS_IO);
    const char *const words[] = {"full.tmp/model.safetensors", NULL};
    assert_said(words);
    assert_false(file_exists(at("full", "")));
    assert_false(file_exists(at("full.tmp", "")));
    unmake(&good);
}

static void test_folder_naming_is_converted_where_the_models_agree(void **state)
{
    (void)state;
    struct model_shape shape, native, back;
    must(model_shape_load(&shape, GOLDEN "minimax-m1-format/config.json"));
    shape.rotary = shape.head_size;
    shape.heads = 4;
    must(model_shape_rename(&shape, NAMING_NATIVE, &native));
    assert_int_equal(native.arch, ARCH_MINIMAX_NATIVE);
    must(model_shape_rename(&native, NAMING_MINIMAX, &back));
    assert_memory_equal(&back, &shape, sizeof shape);
    shape.rotary = shape.head_size / 2;
    assert_int_equal(model_shape_rename(&shape, NAMING_NATIVE, &native), STATUS_UNSUPPORTED);
    const char *const rotates[] = {"ignores rotary_dim", NULL};
    assert_said(rotates);
    must(model_shape_rename(&shape, NAMING_MINIMAX, &native)); /* it is that already */
    shape.rotary = shape.head_size;
    shape.heads = 6;
    assert_int_equal(model_shape_rename(&shape, NAMING_NATIVE, &native), STATUS_UNSUPPORTED);
    must(model_shape_load(&shape, GOLDEN "qwen2/config.json"));
    assert_int_equal(model_shape_rename(&shape, NAMING_NATIVE, &native), STATUS_UNSUPPORTED);
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
        cmocka_unit_test(test_folder_everything_that_does_not_fit_is_said_at_once),
        cmocka_unit_test(test_folder_more_than_twenty_findings_are_counted),
        cmocka_unit_test(test_folder_fused_experts_are_the_same_weights),
        cmocka_unit_test(test_folder_spans_and_devices_get_the_same_values),
        cmocka_unit_test(test_folder_generation_ends_at_the_ids_of_model_and_tokenizer),
        cmocka_unit_test(test_folder_special_tokens_come_from_a_config_with_huge_numbers),
        cmocka_unit_test(test_folder_written_is_complete),
        cmocka_unit_test(test_folder_failed_write_leaves_nothing),
        cmocka_unit_test(test_folder_naming_is_converted_where_the_models_agree),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
