/* links: evaluate */
/* label: integration */
/* timeout: 60 */
/* `weir score`: lines in the order of the rows, sums from a position on, refusals with the row. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/program.h"
#include "ops/eval/eval.h"
#include "ops/jsonl.h"

static char folder[] = "/tmp/weir-score-XXXXXX";
static char rows[FILE_PATH_MAX], out[FILE_PATH_MAX];

static int score(const char *text, const char *top)
{
    assert_int_equal(file_replace(rows, text, strlen(text)), STATUS_OK);
    char model[] = SOURCE_DIR "/tests/golden/model/qwen2", name[] = "weir score";
    char to[] = "--out", best[] = "--top", number[8];
    (void)snprintf(number, sizeof number, "%s", top);
    char *argv[] = {name, model, rows, to, out, best, number, NULL};
    optind = 1;
    return score_command(7, argv);
}

static double real(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void test_score_command_lines_follow_the_rows(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 0);
    for (int i = 0; i < 300; i++) /* more than wait at once; a long one first */
        assert_int_equal(buffer_printf(&text,
                                       "{\"ids\":[%d,2,3,4,5%s],\"id\":\"r%d\",\"from\":%d}\n", i,
                                       i == 0 ? ",6,7,8,9,10,11,12" : "", i, 1 + i % 4),
                         STATUS_OK);
    assert_int_equal(score(buffer_string(&text), "2"), EXIT_CODE_OK);
    buffer_free(&text);
    struct jsonl file = {0};
    json_t *line = NULL;
    assert_int_equal(jsonl_open(&file, out), STATUS_OK);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(jsonl_next(&file, &line), STATUS_OK);
        assert_non_null(line);
        char id[16];
        (void)snprintf(id, sizeof id, "r%d", i);
        assert_string_equal(json_string_value(json_object_get(line, "id")), id);
        const json_t *logprobs = json_object_get(line, "logprobs");
        size_t length = i == 0 ? 12 : 5, from = 1 + (size_t)i % 4;
        assert_int_equal(json_array_size(logprobs), length);
        assert_true(json_is_null(json_array_get(logprobs, 0)));
        double sum = 0;
        for (size_t t = from; t < length; t++)
            sum += json_number_value(json_array_get(logprobs, t));
        assert_int_equal((int)real(line, "count"), (int)(length - from));
        assert_true(fabs(real(line, "sum") - sum) < 1e-6);
        assert_true(fabs(real(line, "perplexity") - exp(-sum / (double)(length - from))) < 1e-3);
        const json_t *best = json_array_get(json_object_get(line, "top_logprobs"), length - 1);
        assert_int_equal(json_array_size(best), 2);
        assert_true(json_number_value(json_array_get(best, 0)) >=
                    json_number_value(json_array_get(logprobs, length - 1)));
        json_decref(line);
    }
    assert_int_equal(jsonl_next(&file, &line), STATUS_OK);
    assert_null(line);
    jsonl_close(&file);
}

static void test_score_command_bad_rows_are_refused(void **state)
{
    (void)state;
    assert_int_not_equal(score("{\"ids\":[]}\n", "0"), EXIT_CODE_OK);
    assert_int_not_equal(score("{\"ids\":[1,-2]}\n", "0"), EXIT_CODE_OK);
    assert_int_not_equal(score("{\"ids\":[1,331]}\n", "0"), EXIT_CODE_OK);
    assert_int_not_equal(score("{\"ids\":[1,2],\"from\":3}\n", "0"), EXIT_CODE_OK);
    assert_int_not_equal(score("{\"prompt\":\"x\"}\n", "0"), EXIT_CODE_OK);
    assert_int_equal(score("{\"ids\":[1]}\n", "65"), EXIT_CODE_USAGE);
    assert_int_equal(score("{\"ids\":[1]}\n{\"text\":\"hello\"}\n", "0"), EXIT_CODE_OK);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL || file_path(rows, "%s/rows.jsonl", folder) != STATUS_OK ||
           file_path(out, "%s/out.jsonl", folder) != STATUS_OK;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_command_lines_follow_the_rows),
        cmocka_unit_test(test_score_command_bad_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
