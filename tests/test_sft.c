/* links: learner */
/* timeout: 60 */
/* `weir sft` on a handful of rows: the loss falls, two runs are one, and bad input has a sentence. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "learner/learner.h"
#include "tests/trainer_case.h"

static char base[FILE_PATH_MAX], model[FILE_PATH_MAX], data[FILE_PATH_MAX], out[FILE_PATH_MAX];
static struct settings settings;
static double first_loss, last_loss;
static uint32_t reports;

static void remember(uint32_t step, uint32_t steps, double loss, double tokens_per_s)
{
    (void)steps;
    (void)tokens_per_s;
    if (reports++ == 0)
        first_loss = loss;
    last_loss = loss;
    assert_true(step > 0);
}

static void write_data(const char *text)
{
    assert_int_equal(file_replace(data, text, strlen(text)), STATUS_OK);
}

static int setup(void **state)
{
    (void)state;
    case_folder(base, "test_sft");
    case_model(model, base, CASE_CONFIG_QWEN2);
    assert_int_equal(file_path(data, "%s/train.jsonl", base), STATUS_OK);
    return 0;
}

/* Settings of a short run into folder `name`. */
static void prepare(const char *name)
{
    assert_int_equal(file_path(out, "%s/%s", base, name), STATUS_OK);
    assert_int_equal(file_remove_tree(out), STATUS_OK);
    settings = case_settings();
    settings.model.path = model;
    settings.model.tokenizer = TOKENIZER_BYTE;
    settings.sft.train = data;
    settings.sft.out = out;
    settings.sft.steps = 40;
    settings.sft.batch = 4;
    settings.sft.lr = 3e-3;
    settings.sft.schedule = LR_COSINE;
    settings.sft.lr_end = 0.1;
    settings.sft.warmup_updates = 5;
    reports = 0;
    write_data("{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n"
               "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\n"
               "\n"
               "{\"prompt\": \"3+4=\", \"completion\": \"7\"}\n"
               "{\"prompt\": \"4+5=\", \"completion\": \"9\"}\n");
}

static enum status run(void)
{
    atomic_int stop = 0;
    return sft_run(&settings, &stop, remember);
}

/* The trained model's parameters; the caller frees. */
static float *load_out(size_t *bytes)
{
    char path[FILE_PATH_MAX];
    struct model_shape shape;
    struct parameter_table table;
    assert_int_equal(file_path(path, "%s/config.json", out), STATUS_OK);
    assert_int_equal(model_shape_load(&shape, path), STATUS_OK);
    assert_int_equal(parameter_table_create(&table, &shape), STATUS_OK);
    *bytes = (size_t)table.elements * sizeof(float);
    float *flat = calloc(1, *bytes);
    assert_non_null(flat);
    if (model_folder_load(out, &shape, &table, flat) != STATUS_OK)
        fail_msg("%s", status_last_error());
    parameter_table_destroy(&table);
    return flat;
}

static void test_sft_loss_falls_and_two_runs_are_equal(void **state)
{
    (void)state;
    size_t bytes_a = 0, bytes_b = 0;
    prepare("a");
    if (run() != STATUS_OK)
        fail_msg("%s", status_last_error());
    print_message("loss %.3f at step 20, %.3f at step 40\n", first_loss, last_loss);
    assert_int_equal(reports, 2);
    assert_true(first_loss < 5.8); /* log 331 = 5.8: knows nothing */
    assert_true(last_loss < 0.7 * first_loss);
    float *a = load_out(&bytes_a);
    prepare("b");
    settings.run.threads = 2;
    assert_int_equal(run(), STATUS_OK);
    float *b = load_out(&bytes_b);
    assert_int_equal(bytes_a, bytes_b);
    assert_memory_equal(a, b, bytes_a);
    prepare("c");
    settings.run.seed++; /* another order of the rows: another result */
    settings.sft.batch = 3;
    assert_int_equal(run(), STATUS_OK);
    float *c = load_out(&bytes_b);
    assert_true(memcmp(a, c, bytes_a) != 0);
    free(a);
    free(b);
    free(c);
}

static void expect_sentence(enum status status, const char *text)
{
    enum status got = run();
    if (got != status || strstr(status_last_error(), text) == NULL)
        fail_msg("%s: \"%s\" has no \"%s\"", status_name(got), status_last_error(), text);
}

static void test_sft_bad_row_is_named_by_file_and_line(void **state)
{
    (void)state;
    prepare("bad");
    write_data("{\"prompt\": \"a\", \"completion\": \"b\"}\n\n{\"prompt\": \"a\", \n");
    expect_sentence(STATUS_INVALID, "train.jsonl:3:");
    write_data(
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": 4}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:2: \"completion\" is not a text");
    write_data("{\"prompt\": \"\", \"completion\": \"b\"}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1: prompt or completion is empty");
    write_data("[1]\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1:");
    write_data("\n \n");
    expect_sentence(STATUS_INVALID, "has no rows");
    settings.sft.train = "/nowhere/rows.jsonl";
    expect_sentence(STATUS_NOT_FOUND, "/nowhere/rows.jsonl");
    assert_false(file_exists(out));
}

static void test_sft_target_folder_that_exists_is_refused(void **state)
{
    (void)state;
    prepare("exists");
    assert_int_equal(file_make_dirs(out), STATUS_OK);
    expect_sentence(STATUS_INVALID, "is there already");
    settings.sft.out = "";
    expect_sentence(STATUS_INVALID, "sft.out is empty");
}

static void test_sft_signal_ends_it_without_a_model(void **state)
{
    (void)state;
    prepare("signal");
    atomic_int stop = 1;
    assert_int_equal(sft_run(&settings, &stop, NULL), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "is not written"));
    assert_false(file_exists(out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft_loss_falls_and_two_runs_are_equal),
        cmocka_unit_test(test_sft_bad_row_is_named_by_file_and_line),
        cmocka_unit_test(test_sft_target_folder_that_exists_is_refused),
        cmocka_unit_test(test_sft_signal_ends_it_without_a_model),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
