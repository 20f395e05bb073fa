/* links: evaluate actor */
/* timeout: 30 */
/* eval: answers do not depend on the batch or on where work was cut; the figures are those of the formulas. */
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

#include "actor/generate.h"
#include "core/config.h"
#include "model/folder.h"
#include "ops/estimate.h"
#include "ops/eval/eval.h"
#include "ops/eval/responses.h"
#include "ops/jsonl.h"

static const char config_json[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":32,"
    "\"initializer_range\":0.6,\"intermediate_size\":64,\"max_position_embeddings\":512,"
    "\"model_type\":\"qwen2\",\"num_attention_heads\":2,\"num_hidden_layers\":2,"
    "\"num_key_value_heads\":1,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0,"
    "\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\",\"vocab_size\":260,"
    "\"eos_token_id\":256}";

static char base[FILE_PATH_MAX], model[FILE_PATH_MAX], data[FILE_PATH_MAX];

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static int setup(void **state)
{
    (void)state;
    char config[FILE_PATH_MAX];
    struct buffer rows;
    must(file_path(base, "%s/tests/eval-%d", BUILD_DIR, (int)getpid()));
    must(file_path(model, "%s/model", base));
    must(file_path(data, "%s/data.jsonl", base));
    must(file_path(config, "%s/config.json", base));
    must(file_make_dirs(base));
    must(file_replace(config, config_json, sizeof config_json - 1));
    must(model_folder_init(config, model, 11, ST_F32, NULL));
    buffer_init(&rows, 0);
    for (int i = 0; i < 7; i++)
        must(buffer_printf(&rows,
                           "{\"id\": \"q%d\", \"prompt\": \"What is %d + %d%.*s?\", \"answer\": "
                           "\"%d\", \"data_source\": \"%s\"}\n",
                           i, i, i * i, 5 * i, ", really and truly, I ask you", i + i * i,
                           i % 2 == 0 ? "even" : "odd"));
    must(file_replace(data, rows.bytes, rows.size));
    buffer_free(&rows);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    must(file_remove_tree(base));
    return 0;
}

struct world {
    struct config *config;
    struct settings settings;
    struct eval eval;
};

static void open_world(struct world *world, const char *out, const char *const *more, size_t count)
{
    char path[2][FILE_PATH_MAX + 32];
    const char *overrides[16] = {path[0],
                                 path[1],
                                 "redis.mode=off",
                                 "sampling.top_p=0.95",
                                 "sampling.response_tokens_max=24",
                                 "actor.prefill_tokens=32"};
    snprintf(path[0], sizeof path[0], "model.path=%s", model);
    snprintf(path[1], sizeof path[1], "data.train=%s", data);
    for (size_t i = 0; i < count; i++)
        overrides[6 + i] = more[i];
    struct config_input input = {.overrides = overrides, .override_count = 6 + count};
    *world = (struct world){0};
    must(settings_load(&world->settings, &world->config, &input));
    world->eval = (struct eval){.settings = &world->settings,
                                .key_id = "id",
                                .samples = 5,
                                .quiet = true,
                                .report = {.ks = {1, 2, 5}, .k_count = 3, .success = 0.5}};
    must(file_path(world->eval.out, "%s/%s", base, out));
}

static void read_out(const struct world *world, const char *name, struct buffer *bytes)
{
    char path[FILE_PATH_MAX];
    must(file_path(path, "%s/%s", world->eval.out, name));
    buffer_init(bytes, 0);
    must(file_read(path, bytes));
}

static void generate_with(const char *out, const char *slots, struct buffer *bytes)
{
    struct world world;
    const char *more[] = {slots};
    open_world(&world, out, more, 1);
    must(eval_generate(&world.eval));
    read_out(&world, "responses.jsonl", bytes);
    config_destroy(&world.config);
}

static void expect_equal(const struct buffer *a, const struct buffer *b)
{
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->bytes, b->bytes, a->size);
}

static uint32_t count_lines(const struct buffer *bytes)
{
    uint32_t lines = 0;
    for (size_t i = 0; i < bytes->size; i++)
        lines += bytes->bytes[i] == '\n';
    return lines;
}

static void test_eval_slots_change_no_byte(void **state)
{
    (void)state;
    struct buffer one, three, many;
    generate_with("slots1", "actor.slots=1", &one);
    generate_with("slots3", "actor.slots=3", &three);
    generate_with("slots64", "actor.slots=64", &many);
    assert_int_equal(count_lines(&one), 7 * 5);
    expect_equal(&one, &three);
    expect_equal(&one, &many);
    struct buffer other;
    generate_with("seed", "run.seed=2", &other);
    assert_true(other.size != one.size || memcmp(other.bytes, one.bytes, one.size) != 0);
    buffer_free(&one);
    buffer_free(&three);
    buffer_free(&many);
    buffer_free(&other);
}

/* Samples of one prompt differ, lie in order, and carry what a scorer reads. */
static void test_eval_rows_carry_the_data(void **state)
{
    (void)state;
    struct buffer bytes;
    char path[FILE_PATH_MAX], first[4096] = "";
    struct jsonl file;
    json_t *row = NULL;
    json_int_t at = 0;
    bool differ = false;
    generate_with("rows", "actor.slots=8", &bytes);
    must(file_path(path, "%s/rows/responses.jsonl", base));
    must(jsonl_open(&file, path));
    for (; jsonl_next(&file, &row) == STATUS_OK && row != NULL; at++) {
        const char *response = json_string_value(json_object_get(row, "response"));
        char id[16];
        snprintf(id, sizeof id, "q%d", (int)at / 5);
        assert_int_equal(json_integer_value(json_object_get(row, "index")), at / 5);
        assert_int_equal(json_integer_value(json_object_get(row, "sample")), at % 5);
        assert_string_equal(json_string_value(json_object_get(row, "id")), id);
        assert_true(json_number_value(json_object_get(row, "mean_logprob")) < 0);
        assert_true(json_integer_value(json_object_get(row, "tokens")) <= 24);
        assert_non_null(json_object_get(json_object_get(row, "row"), "answer"));
        assert_true(json_is_string(json_object_get(row, "ground_truth")));
        if (at == 0)
            snprintf(first, sizeof first, "%s", response);
        differ |= at > 0 && at < 5 && strcmp(first, response) != 0;
        json_decref(row);
    }
    jsonl_close(&file);
    assert_int_equal(at, 35);
    assert_true(differ);
    buffer_free(&bytes);
}

/* A prefix of the work, as after a kill: some rows in the order they ended, and half a row. */
static void test_eval_cut_off_and_resumed_has_the_same_bytes(void **state)
{
    (void)state;
    struct world world;
    struct buffer whole, again;
    char path[FILE_PATH_MAX];
    generate_with("whole", "actor.slots=4", &whole);
    for (int cut = 0; cut < 3; cut++) {
        const char *more[] = {"actor.slots=3"};
        open_world(&world, "cut", more, 1);
        must(eval_generate(&world.eval));
        must(file_path(path, "%s/responses.jsonl", world.eval.out));
        /* lines 9.. of the whole file, then 0..2, then a torn one */
        struct buffer part;
        buffer_init(&part, 0);
        const char *text = buffer_string(&whole), *middle = text;
        for (int line = 0; line < 9; line++)
            middle = strchr(middle, '\n') + 1;
        size_t bytes = cut == 0 ? 0 : (size_t)(strchr(middle, '\n') + 1 - middle);
        must(buffer_append(&part, middle, bytes));
        must(buffer_append(&part, text, cut == 2 ? (size_t)(middle - text) : 0));
        must(buffer_append(&part, middle, 40));
        must(file_replace(path, part.bytes, part.size));
        buffer_free(&part);
        world.eval.resume = true;
        world.eval.made = 0;
        must(eval_generate(&world.eval));
        assert_int_equal(world.eval.made, cut == 0 ? 35 : cut == 1 ? 34 : 25);
        read_out(&world, "responses.jsonl", &again);
        expect_equal(&whole, &again);
        buffer_free(&again);
        must(file_remove_tree(world.eval.out));
        config_destroy(&world.config);
    }
    buffer_free(&whole);
}

static void test_eval_stopped_by_a_signal_keeps_what_is_made(void **state)
{
    (void)state;
    struct world world;
    const char *more[] = {"actor.slots=2"};
    atomic_int stop = 1;
    open_world(&world, "stop", more, 1);
    world.eval.stop = &stop;
    assert_int_equal(eval_generate(&world.eval), STATUS_CANCELLED);
    atomic_store(&stop, 0);
    world.eval.resume = true;
    must(eval_generate(&world.eval));
    assert_int_equal(world.eval.made, 35);
    config_destroy(&world.config);
}

static void expect_sentence(enum status got, enum status wanted, const char *text)
{
    if (got != wanted || strstr(status_last_error(), text) == NULL)
        fail_msg("%s: \"%s\" has no \"%s\"", status_name(got), status_last_error(), text);
}

static void test_eval_other_settings_do_not_go_on_with_a_folder(void **state)
{
    (void)state;
    struct world world;
    const char *more[] = {"sampling.temperature=0.5"};
    struct buffer bytes;
    generate_with("other", "actor.slots=4", &bytes);
    buffer_free(&bytes);
    open_world(&world, "other", more, 1);
    expect_sentence(eval_generate(&world.eval), STATUS_INVALID, "--resume");
    world.eval.resume = true;
    expect_sentence(eval_generate(&world.eval), STATUS_INVALID, "\"temperature\"");
    config_destroy(&world.config);
}

static void test_eval_share_forks_whole_groups_up_to_half_the_slots(void **state)
{
    (void)state;
    assert_int_equal(generate_share(16, 64), 16);
    assert_int_equal(generate_share(64, 64), 32);
    assert_int_equal(generate_share(1, 64), 1);
    assert_int_equal(generate_share(5, 1), 1);
}

/* ---- figures ---- */

/* Every subset of k of n answers, the first c of which are right. */
static double enumerate(uint32_t n, uint32_t c, uint32_t k)
{
    uint32_t sets = 0, hits = 0;
    for (uint32_t set = 0; set < 1U << n; set++) {
        if ((uint32_t)__builtin_popcount(set) != k)
            continue;
        sets++;
        hits += (set & ((1U << c) - 1)) != 0;
    }
    return (double)hits / sets;
}

static void test_eval_pass_at_k_equals_all_subsets(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 9; n++)
        for (uint32_t c = 0; c <= n; c++)
            for (uint32_t k = 1; k <= n; k++)
                assert_true(fabs(estimate_pass(n, c, k) - enumerate(n, c, k)) < 1e-12);
    assert_true(isnan(estimate_pass(3, 1, 4)));
    assert_true(isnan(estimate_pass(3, 1, 0)));
    assert_true(fabs(estimate_pass(60000, 1, 30000) - 0.5) < 1e-9);
}

static void test_eval_interval_covers_and_repeats(void **state)
{
    (void)state;
    double values[400];
    struct estimate first, second;
    for (int i = 0; i < 400; i++)
        values[i] = i < 100 ? 1 : i < 399 ? 0 : NAN;
    must(estimate_mean(values, 400, 7, &first));
    must(estimate_mean(values, 400, 7, &second));
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(first.prompts, 399);
    double p = 100.0 / 399, half = 1.96 * sqrt(p * (1 - p) / 399);
    assert_true(fabs(first.value - p) < 1e-12);
    assert_true(fabs(first.low - (p - half)) < 0.01 && fabs(first.high - (p + half)) < 0.01);
    must(estimate_mean(values, 0, 7, &first));
    assert_true(isnan(first.value) && first.prompts == 0);
}

static void test_eval_majority_counts_answers_only(void **state)
{
    (void)state;
    const char *answers[] = {NULL, "3", "4", NULL, "4", NULL, "3"};
    assert_int_equal(estimate_majority(answers, 7), 1); /* a tie: the first */
    assert_int_equal(estimate_majority(answers, 5), 2);
    assert_int_equal(estimate_majority(answers, 1), -1);
    double values[] = {5, 1, 4, 2, 3};
    assert_true(estimate_quantile(values, 5, 0.5) == 3 && estimate_quantile(values, 5, 0.99) == 5);
}

static double figure(const json_t *source, const char *name, const char *k)
{
    const json_t *of = json_object_get(source, name);
    of = k != NULL ? json_object_get(of, k) : of;
    return json_number_value(json_object_get(of, "value"));
}

static void test_eval_report_is_of_each_source(void **state)
{
    (void)state;
    static const char scores[] =
        "{\"index\":0,\"data_source\":\"b\",\"tokens\":10,\"finish\":\"eos\",\"value\":1.0,"
        "\"detail\":{\"detail\":{\"answer\":\"4 \"}}}\n"
        "{\"index\":0,\"data_source\":\"b\",\"tokens\":20,\"finish\":\"length\",\"value\":0.1,"
        "\"detail\":{\"detail\":{\"answer\":\"5\"}}}\n"
        "{\"index\":0,\"data_source\":\"b\",\"tokens\":30,\"finish\":\"eos\",\"value\":1.0,"
        "\"detail\":{\"answer\":\"4\"}}\n"
        "{\"index\":1,\"data_source\":\"a\",\"tokens\":40,\"finish\":\"repetition\",\"value\":0.0}"
        "\n"
        "{\"index\":1,\"data_source\":\"a\",\"tokens\":40,\"finish\":\"eos\",\"value\":null,"
        "\"status\":\"timeout\"}\n";
    char path[FILE_PATH_MAX];
    json_t *json = NULL;
    struct buffer table;
    struct report_options options = {.ks = {1, 2}, .k_count = 2, .success = 0.5};
    must(file_path(path, "%s/scores.jsonl", base));
    must(file_replace(path, scores, sizeof scores - 1));
    must(report_make(path, &options, &json));
    const json_t *sources = json_object_get(json, "sources");
    assert_int_equal(json_array_size(sources), 3);
    const json_t *all = json_array_get(sources, 0), *b = json_array_get(sources, 2);
    assert_string_equal(json_string_value(json_object_get(b, "source")), "b");
    assert_true(fabs(figure(all, "avg", NULL) - 1.0 / 3) < 1e-12);
    assert_true(fabs(figure(b, "avg_reward", NULL) - 0.7) < 1e-12);
    assert_true(fabs(figure(b, "pass", "2") - 1) < 1e-12);
    assert_true(figure(b, "majority", NULL) == 1);
    assert_int_equal(json_integer_value(json_object_get(all, "not_scored")), 1);
    assert_true(json_number_value(json_object_get(all, "truncated")) == 0.2);
    assert_true(json_number_value(json_object_get(all, "repetition")) == 0.2);
    buffer_init(&table, 0);
    must(report_table(json, &table));
    assert_non_null(strstr(buffer_string(&table), "pass@2"));
    buffer_free(&table);
    json_decref(json);
    must(file_replace(path, "\n", 1));
    expect_sentence(report_make(path, &options, &json), STATUS_INVALID, "has no rows");
}

static void test_eval_ids_of_rows(void **state)
{
    (void)state;
    char a[JSONL_ID_MAX], b[JSONL_ID_MAX];
    json_t *row = json_pack("{s:s,s:i}", "prompt", "x", "n", 4);
    must(jsonl_id(row, "id", a));
    assert_int_equal(a[0], 'x');
    json_object_set_new(row, "pass_rate", json_real(0.5));
    must(jsonl_id(row, "id", b));
    assert_string_equal(a, b); /* what a filter adds changes no name */
    must(jsonl_id(row, "n", b));
    assert_string_equal(b, "4");
    json_decref(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_slots_change_no_byte),
        cmocka_unit_test(test_eval_rows_carry_the_data),
        cmocka_unit_test(test_eval_cut_off_and_resumed_has_the_same_bytes),
        cmocka_unit_test(test_eval_stopped_by_a_signal_keeps_what_is_made),
        cmocka_unit_test(test_eval_other_settings_do_not_go_on_with_a_folder),
        cmocka_unit_test(test_eval_share_forks_whole_groups_up_to_half_the_slots),
        cmocka_unit_test(test_eval_pass_at_k_equals_all_subsets),
        cmocka_unit_test(test_eval_interval_covers_and_repeats),
        cmocka_unit_test(test_eval_majority_counts_answers_only),
        cmocka_unit_test(test_eval_report_is_of_each_source),
        cmocka_unit_test(test_eval_ids_of_rows),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
