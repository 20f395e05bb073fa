/* links: model */
/* timeout: 60 */
/* The golden models through `weir verify`, and what verify says when something is wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "model/verify.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

static void expect_pass(const char *folder, int32_t threads)
{
    struct verify_report report;
    if (verify_case(folder, "cpu", threads, &report) != STATUS_OK)
        fail_msg("%s: %s", folder, status_last_error());
    for (int i = 0; i < VERIFY_COUNT; i++)
        if (!(report.result[i].error <= report.result[i].bound))
            fail_msg("%s: %s is %g, bound %g (%s)", folder, verify_check_name((enum verify_check)i),
                     report.result[i].error, report.result[i].bound, report.result[i].where);
    assert_true(report.passed);
    assert_true(report.greedy_checked > 0);
}

static void test_verify_golden_minimax_passes(void **state)
{
    (void)state;
    expect_pass(GOLDEN "minimax-m1-format", 2);
}

static void test_verify_golden_qwen2_passes(void **state)
{
    (void)state;
    expect_pass(GOLDEN "qwen2", 1);
}

static void test_verify_golden_gemma3_passes(void **state)
{
    (void)state;
    expect_pass(GOLDEN "gemma3", 2);
}

static void test_verify_outside_cases_pass(void **state)
{
    (void)state;
    static const char *const names[] = {"minimax-m1-format", "minimax-native", "qwen2", "qwen3"};
    const char *folder = getenv("WEIR_TEST_DATA");
    if (!folder) {
        print_message("skipped: WEIR_TEST_DATA does not name a folder with golden/model\n");
        skip();
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[FILE_PATH_MAX];
        assert_int_equal(file_path(path, "%s/golden/model/%s", folder, names[i]), STATUS_OK);
        expect_pass(path, 2);
    }
}

/* Runs the minimax case with a changed shape; the report of what broke. */
static void run_changed(const struct model_shape *shape, struct verify_report *report)
{
    struct op_table *ops = NULL;
    assert_int_equal(op_table_create_cpu(&ops, 2), STATUS_OK);
    assert_int_equal(verify_shape(GOLDEN "minimax-m1-format", shape, ops, report), STATUS_OK);
    op_table_destroy(&ops);
    assert_false(report->passed);
}

static void test_verify_lightning_norm_epsilon_of_the_other_norms_is_caught(void **state)
{
    (void)state;
    struct model_shape shape;
    struct verify_report report;
    assert_int_equal(model_shape_load(&shape, GOLDEN "minimax-m1-format/config.json"), STATUS_OK);
    shape.lightning_norm_eps = 1e-5; /* M1-SPEC trap T4 */
    run_changed(&shape, &report);
    assert_true(report.result[VERIFY_LOGITS].error > report.result[VERIFY_LOGITS].bound);
}

static void test_verify_full_rotation_is_caught(void **state)
{
    (void)state;
    struct model_shape shape;
    struct verify_report report;
    assert_int_equal(model_shape_load(&shape, GOLDEN "minimax-m1-format/config.json"), STATUS_OK);
    shape.rotary = shape.head_size; /* trap T1 */
    run_changed(&shape, &report);
    assert_true(report.result[VERIFY_LOGITS].error > report.result[VERIFY_LOGITS].bound);
}

/* A copy of a golden case under the build folder, with one file replaced. */
static void copy_file(const char *from, const char *to)
{
    struct buffer contents;
    buffer_init(&contents, 0);
    assert_int_equal(file_read(from, &contents), STATUS_OK);
    assert_int_equal(file_replace(to, contents.bytes, contents.size), STATUS_OK);
    buffer_free(&contents);
}

static void make_copy(char folder[FILE_PATH_MAX], const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors", "case.json",
                                        "case.safetensors"};
    assert_int_equal(file_path(folder, "%s/test_verify/%s", BUILD_DIR, name), STATUS_OK);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
    assert_int_equal(file_make_dirs(folder), STATUS_OK);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
        assert_int_equal(file_path(from, "%sqwen2/%s", GOLDEN, files[i]), STATUS_OK);
        assert_int_equal(file_path(to, "%s/%s", folder, files[i]), STATUS_OK);
        copy_file(from, to);
    }
}

static void expect_sentence(const char *folder, const char *word)
{
    struct verify_report report;
    assert_int_not_equal(verify_case(folder, "cpu", 1, &report), STATUS_OK);
    if (!strstr(status_last_error(), word))
        fail_msg("no '%s' in: %s", word, status_last_error());
    assert_false(report.passed);
}

static void test_verify_broken_case_names_what_is_missing(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_copy(folder, "broken");
    assert_int_equal(file_path(path, "%s/case.json", folder), STATUS_OK);
    const char *json = "{\"eps_low\": 1.0, \"eps_high\": 2.0, \"loss_value\": 1.0}";
    assert_int_equal(file_replace(path, json, strlen(json)), STATUS_OK);
    expect_sentence(folder, "grad_norm");
    assert_int_equal(file_replace(path, "{", 1), STATUS_OK);
    expect_sentence(folder, "case.json");
    /* The model file has valid tensors, but none of a case. */
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    make_copy(folder, "broken");
    assert_int_equal(file_path(from, "%s/model.safetensors", folder), STATUS_OK);
    assert_int_equal(file_path(to, "%s/case.safetensors", folder), STATUS_OK);
    copy_file(from, to);
    expect_sentence(folder, "input_ids");
}

static void test_verify_main_reports_in_exit_status(void **state)
{
    (void)state;
    char text[4096] = {0};
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    assert_non_null(out);
    char *none[] = {"verify"};
    assert_int_equal(verify_main(1, none, out), 2);
    char *threads[] = {"verify", "--threads", "2x", GOLDEN "qwen2"};
    assert_int_equal(verify_main(4, threads, out), 2);
    char *missing[] = {"verify", GOLDEN "nowhere"};
    assert_int_equal(verify_main(2, missing, out), 2);
    char *good[] = {"verify", "--threads", "2", GOLDEN "qwen2"};
    assert_int_equal(verify_main(4, good, out), 0);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "nowhere"));
    assert_non_null(strstr(text, "logits"));
    assert_null(strstr(text, "BROKEN"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_golden_minimax_passes),
        cmocka_unit_test(test_verify_golden_qwen2_passes),
        cmocka_unit_test(test_verify_golden_gemma3_passes),
        cmocka_unit_test(test_verify_outside_cases_pass),
        cmocka_unit_test(test_verify_lightning_norm_epsilon_of_the_other_norms_is_caught),
        cmocka_unit_test(test_verify_full_rotation_is_caught),
        cmocka_unit_test(test_verify_broken_case_names_what_is_missing),
        cmocka_unit_test(test_verify_main_reports_in_exit_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
