/* links: reward */
/* label: unit */
/* timeout: 60 */
/* Rows of a file: kinds, order, statuses, and errors that name file and line. No sandbox and no judge is needed here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reward/areas.h"
#include "reward/rows.h"

static char *text; /* of the results, owned */
static struct rows_summary summary;

static enum status score(const char *rows, const char *kind, uint32_t jobs)
{
    struct rows_options options = {
        .name = "cases.jsonl", .kind = kind, .jobs = jobs, .timeout_ms = 10000};
    size_t size = 0;
    free(text);
    text = NULL;
    FILE *in = fmemopen((void *)(uintptr_t)rows, strlen(rows), "r"),
         *out = open_memstream(&text, &size);
    enum status status = rows_score(in, out, &options, &summary);
    fclose(in);
    fclose(out);
    return status;
}

static json_t *result(size_t line)
{
    const char *at = text;
    for (size_t i = 0; i < line; i++)
        at = strchr(at, '\n') + 1;
    json_t *value = json_loadb(at, strcspn(at, "\n"), 0, NULL);
    assert_non_null(value);
    return value;
}

static void expect(size_t line, const char *status, double value)
{
    json_t *row = result(line);
    assert_string_equal(json_string_value(json_object_get(row, "status")), status);
    if (strcmp(status, "ok") == 0)
        assert_true(json_number_value(json_object_get(row, "value")) == value);
    else
        assert_true(json_is_null(json_object_get(row, "value")));
    json_decref(row);
}

static void test_rows_of_several_kinds_are_scored_in_order(void **state)
{
    (void)state;
    static const char rows[] =
        "{\"id\":\"a\",\"kind\":\"math\",\"gold\":\"1/2\",\"response\":\"\\\\boxed{0.5}\"}\n"
        "\n"
        "{\"id\":2,\"kind\":\"overlong_dapo\",\"max_len\":100,\"cache\":50,\"length\":75}\n"
        "{\"kind\":\"genrm_parse\",\"mode\":\"grade5\",\"judge_output\":\"Grade: [[9]]\"}\n"
        "{\"id\":\"d\",\"kind\":\"overlong_dapo\",\"max_len\":\"x\",\"cache\":50,\"length\":75}\n";
    assert_int_equal(score(rows, NULL, 3), STATUS_OK);
    expect(0, "ok", 1);
    expect(1, "ok", -0.5);
    expect(2, "unscorable", 0);
    expect(3, "unscorable", 0);
    json_t *row = result(1);
    assert_int_equal(json_integer_value(json_object_get(row, "id")), 2);
    json_decref(row);
    row = result(2);
    assert_int_equal(json_integer_value(json_object_get(row, "line")), 4);
    json_decref(row);
    row = result(3);
    assert_non_null(json_string_value(json_object_get(row, "why")));
    json_decref(row);
    assert_int_equal(summary.rows, 4);
    assert_int_equal(summary.ok, 2);
}

static void test_rows_in_any_number_keep_their_order(void **state)
{
    (void)state;
    enum { ROWS = 5000 };
    static char rows[ROWS * 100];
    size_t at = 0;
    for (int i = 0; i < ROWS; i++)
        at +=
            (size_t)snprintf(rows + at, sizeof rows - at,
                             "{\"id\":%d,\"max_len\":10000,\"cache\":10000,\"length\":%d}\n", i, i);
    assert_int_equal(score(rows, "overlong_dapo", 4), STATUS_OK);
    const char *line = text;
    for (int i = 0; i < ROWS; i++) {
        json_t *row = json_loadb(line, strcspn(line, "\n"), 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(row, "id")), i);
        assert_true(json_number_value(json_object_get(row, "value")) == -i / 10000.0);
        json_decref(row);
        line += strcspn(line, "\n") + 1;
    }
}

static void expect_error(const char *rows, const char *kind, const char *words)
{
    assert_int_equal(score(rows, kind, 2), STATUS_INVALID);
    if (strstr(status_last_error(), words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", status_last_error(), words);
}

static void test_rows_that_are_none_are_named(void **state)
{
    (void)state;
    expect_error("{\"kind\":\"math\",\"gold\":\"1\",\"response\":\"1\"}\n{\"kind\":\n", NULL,
                 "cases.jsonl:2");
    expect_error("[1]\n", "math", "cases.jsonl:1: a row is an object");
    expect_error("{\"id\":1}\n", NULL, "no \"kind\"");
    expect_error("{\"kind\":\"maths\"}\n", NULL, "kind \"maths\" is not known");
    expect_error("{\"kind\":\"math\",\"kind\":\"math\"}\n", NULL, "cases.jsonl:1");
}

static void expect_refused(const char *config, const char *words)
{
    struct rows_options options = {.name = "cases.jsonl",
                                   .jobs = 1,
                                   .timeout_ms = 1000,
                                   .config = json_loads(config, 0, NULL)};
    static const char rows[] = "{\"kind\":\"math\",\"gold\":\"1\",\"response\":\"1\"}\n";
    char *said = NULL;
    size_t size = 0;
    FILE *in = fmemopen((void *)(uintptr_t)rows, sizeof rows - 1, "r"),
         *out = open_memstream(&said, &size);
    assert_int_equal(rows_score(in, out, &options, &summary), STATUS_INVALID);
    if (strstr(status_last_error(), words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", status_last_error(), words);
    fclose(in);
    fclose(out);
    free(said);
    json_decref((json_t *)(uintptr_t)options.config);
}

static void test_rows_unknown_settings_are_named(void **state)
{
    (void)state;
    expect_refused("{\"maths\":{}}", "\"maths\" is no setting");
    expect_refused("{\"math\":{\"last_numbers\":true}}", "\"last_numbers\" is no setting");
    expect_refused("{\"math\":{\"last_number\":3}}", "last_number: true or false");
}

/* Every area by its name, and as a plugin. */
static void test_rows_table_of_areas_is_whole(void **state)
{
    (void)state;
    static char names[1024];
    snprintf(names, sizeof names, "%s", reward_area_names());
    char *rest = names;
    size_t count = 0;
    for (char *name; (name = strsep(&rest, " ")) != NULL;) {
        if (*name == '\0')
            continue;
        const struct reward_area *area = reward_area_find(name);
        const weir_reward_plugin *plugin = reward_area_plugin(name);
        assert_non_null(area);
        assert_non_null(plugin);
        assert_string_equal(plugin->name, name);
        assert_true(reward_area_of_kind(name) == area);
        assert_true(area->version[0] != '\0');
        count++;
    }
    assert_true(count >= 10);
    assert_null(reward_area_find("nothing"));
    assert_null(reward_area_plugin("nothing"));
    assert_null(reward_area_of_kind("nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_several_kinds_are_scored_in_order),
        cmocka_unit_test(test_rows_in_any_number_keep_their_order),
        cmocka_unit_test(test_rows_that_are_none_are_named),
        cmocka_unit_test(test_rows_unknown_settings_are_named),
        cmocka_unit_test(test_rows_table_of_areas_is_whole),
    };
    int code = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    return code;
}
