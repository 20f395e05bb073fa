/* links: reward_swe reward_answer sandbox */
/* label: integration */
/* timeout: 240 */
/* Repository tasks: 20 instances of the documented recipe (examples/tools/make_swe_instances.py), the attacks of
 * tests/swe/attacks.txt, and the other two kinds of task. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "reward/area.h"
#include "sandbox/sandbox.h"

extern const struct reward_area swe_area;

static struct reward_tools tools;
static void *area;
static json_t *instances; /* array of rows */

static int open_all(void **state)
{
    (void)state;
    static const struct sandbox_options options = {.jobs = 2};
    char why[256] = "", *line = NULL;
    size_t capacity = 0;
    if (sandbox_open(&tools.sandbox, &options) != STATUS_OK) {
        print_message("no sandbox here: %s\n", status_last_error());
        return -1;
    }
    json_t *config = json_object();
    int code = swe_area.create(config, &tools, &area, why, sizeof why);
    json_decref(config);
    instances = json_array();
    FILE *file = fopen(SOURCE_DIR "/tests/golden/reward/swe_instances.jsonl", "r");
    while (file != NULL && getline(&line, &capacity, file) > 0)
        json_array_append_new(instances, json_loads(line, 0, NULL));
    free(line);
    if (file != NULL)
        fclose(file);
    return code == 0 && json_array_size(instances) == 20 ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    if (area != NULL)
        swe_area.destroy(area);
    sandbox_close(&tools.sandbox);
    json_decref(instances);
    return 0;
}

struct scored {
    int32_t status;
    double value;
    char state[32], detail[64], why[256];
};

static void keep(char *out, size_t size, const json_t *fields, const char *key)
{
    const char *text = json_string_value(json_object_get(fields, key));
    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* Steals row. */
static struct scored score_row(json_t *row, const char *response)
{
    struct reward_outcome outcome = {.status = -1, .fields = json_object()};
    struct reward_case input = {.row = row,
                                .response = response,
                                .response_size = strlen(response),
                                .prompt = "",
                                .data_source = "",
                                .deadline_ns = INT64_MAX};
    swe_area.score(area, &input, 1, &outcome);
    struct scored scored = {.status = outcome.status, .value = outcome.value};
    keep(scored.state, sizeof scored.state, outcome.fields, "state");
    keep(scored.detail, sizeof scored.detail, outcome.fields, "detail");
    keep(scored.why, sizeof scored.why, outcome.fields, "why");
    json_decref(outcome.fields);
    json_decref(row);
    return scored;
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static struct scored score_patch(const json_t *instance, const char *patch)
{
    json_t *row = json_copy((json_t *)(uintptr_t)instance);
    json_object_set_new(row, "model_patch", json_string(patch));
    json_object_set_new(row, "time_limit_s", json_integer(2)); /* some attacks never end */
    return score_row(row, "");
}

static void expect(const char *what, const json_t *instance, struct scored scored, double value)
{
    if (scored.status != WEIR_REWARD_OK || scored.value != value)
        fail_msg("%s, %s: status %d value %g state \"%s\" detail \"%s\" (%s)", what,
                 text_of(instance, "instance_id"), scored.status, scored.value, scored.state,
                 scored.detail, scored.why);
}

static void test_swe_gold_passes_and_empty_fails(void **state)
{
    (void)state;
    size_t i;
    json_t *instance;
    json_array_foreach(instances, i, instance)
    {
        struct scored gold = score_patch(instance, text_of(instance, "gold_patch"));
        expect("gold", instance, gold, 1);
        assert_string_equal(gold.state, "FULL");
        expect("empty", instance, score_patch(instance, ""), 0);
        expect("not a patch", instance, score_patch(instance, "I would change it."), 0);
    }
}

/* The gold patch in the forms in which a response may hold it. */
static void test_swe_responses_hold_patches_in_several_forms(void **state)
{
    (void)state;
    const json_t *instance = json_array_get(instances, 0);
    const char *gold = text_of(instance, "gold_patch");
    char response[8192];
    snprintf(response, sizeof response, "<think>Hm.</think>\nHere:\n```diff\n%s```\n", gold);
    expect("fenced", instance, score_row(json_deep_copy(instance), response), 1);
    snprintf(response, sizeof response, "Here it is.\n\n%s", gold);
    expect("bare", instance, score_row(json_deep_copy(instance), response), 1);
    snprintf(response, sizeof response, "<think>```diff\n%s```", gold);
    expect("thinking does not count", instance, score_row(json_deep_copy(instance), response), 0);
    expect("nothing", instance, score_row(json_deep_copy(instance), ""), 0);
}

static void test_swe_edits_by_search_and_replace(void **state)
{
    (void)state;
    json_t *row = json_pack(
        "{s:{s:s, s:s}, s:[s], s:s, s:[s], s:[]}", "files", "m.py",
        "def f(x):\n    y = x + 2\n    return y\n", "m_test.py",
        "import unittest\nimport m\n\nclass T(unittest.TestCase):\n    def test_f(self):\n"
        "        self.assertEqual(m.f(1), 2)\n",
        "test_files", "m_test.py", "test_cmd", "python3 -m unittest m_test", "FAIL_TO_PASS",
        "test_f", "PASS_TO_PASS");
    static const struct {
        const char *response;
        double value;
    } cases[] = {
        {"### m.py\n<<<<<<< SEARCH\n    y = x + 2\n=======\n    y = x + 1\n>>>>>>> REPLACE\n", 1},
        {"m.py\n```python\n<<<<<<< SEARCH\n    y = x + 2\n=======\n    y = x + 1\n>>>>>>> "
         "REPLACE\n```\n",
         1},
        {"m.py\n<<<<<<< SEARCH\n    y = x + 3\n=======\n    y = x + 1\n>>>>>>> REPLACE\n", 0},
        {"m.py\n<<<<<<< SEARCH\n    y = x + 2\n=======\n    y = x + 1\n", 0},
        {"m_test.py\n<<<<<<< SEARCH\n        self.assertEqual(m.f(1), 2)\n=======\n        pass\n"
         ">>>>>>> REPLACE\n",
         0},
        {"../m.py\n<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE\n", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scored scored = score_row(json_deep_copy(row), cases[i].response);
        if (scored.status != WEIR_REWARD_OK || scored.value != cases[i].value)
            fail_msg("case %zu: status %d value %g (%s)", i, scored.status, scored.value,
                     scored.why);
    }
    json_decref(row);
}

/* ---- attacks ---- */

/* A diff that puts `text` before the first line of the module, or makes a file of it. */
static void write_attack(const json_t *instance, const char *name, const char *text, char *out,
                         size_t size)
{
    const char *id = text_of(instance, "instance_id");
    char module[64], first[256], added[4096] = "";
    size_t lines = 0, at = 0;
    snprintf(module, sizeof module, "%.*s.py", (int)(strstr(id, "__") - id), id);
    const char *source =
        json_string_value(json_object_get(json_object_get(instance, "files"), module));
    snprintf(first, sizeof first, "%.*s", (int)strcspn(source, "\n"), source);
    for (const char *line = text; *line != '\0'; lines++) {
        int length = (int)strcspn(line, "\n");
        at += (size_t)snprintf(added + at, sizeof added - at, "+%.*s\n", length, line);
        assert_true(at < sizeof added);
        line += length + (line[length] == '\n');
    }
    if (strncmp(name, "file ", 5) == 0)
        snprintf(out, size, "--- /dev/null\n+++ b/%s\n@@ -0,0 +1,%zu @@\n%s", name + 5, lines,
                 added);
    else
        snprintf(out, size, "--- a/%s\n+++ b/%s\n@@ -1,1 +1,%zu @@\n%s %s\n", module, module,
                 lines + 1, added, first);
}

static void test_swe_attacks_on_the_tests_score_zero(void **state)
{
    (void)state;
    struct buffer bytes;
    buffer_init(&bytes, 0);
    assert_int_equal(file_read(SOURCE_DIR "/tests/swe/attacks.txt", &bytes), STATUS_OK);
    static char text[65536], patch[16384];
    snprintf(text, sizeof text, "%s", buffer_string(&bytes));
    size_t attacks = 0, forged = 0;
    for (char *at = strstr(text, "\n== "); at != NULL;) {
        char *name = at + 4, *end = strchr(name, '\n'), *next = strstr(end, "\n== ");
        *end = '\0';
        if (next != NULL)
            next[0] = '\0';
        for (size_t i = attacks % 5; i < 20; i += 7) {
            const json_t *instance = json_array_get(instances, i);
            write_attack(instance, name, end + 1, patch, sizeof patch);
            struct scored scored = score_patch(instance, patch);
            forged += strcmp(scored.state, "FORGED") == 0;
            expect(name, instance, scored, 0);
            if (scored.detail[0] == 'p')
                fail_msg("%s: the attack does not apply: %s\n%s", name, scored.why, patch);
        }
        attacks++;
        at = next;
        if (at != NULL)
            at[0] = '\n';
    }
    print_message("%zu attacks, all 0; %zu of their runs were called forged\n", attacks, forged);
    assert_true(attacks >= 25);
    buffer_free(&bytes);
}

/* A repository on disk with its history: the history is not there for the program. */
static void test_swe_history_is_not_in_the_sandbox(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir_swe_XXXXXX", path[256];
    assert_non_null(mkdtemp(folder));
    static const struct {
        const char *path, *text;
    } files[] = {
        {"m.py", "def f():\n    return 1\n"},
        {"m_test.py", "import unittest\nimport m\n\nclass T(unittest.TestCase):\n    def "
                      "test_f(self):\n        self.assertEqual(m.f(), 2)\n"},
        {".git/fixed.py", "def f():\n    return 2\n"},
    };
    snprintf(path, sizeof path, "%s/.git", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i].path);
        assert_int_equal(file_replace(path, files[i].text, strlen(files[i].text)), STATUS_OK);
    }
    json_t *row = json_pack("{s:s, s:[s], s:s, s:[s], s:[]}", "snapshot", folder, "test_files",
                            "m_test.py", "test_cmd", "python3 -m unittest m_test", "FAIL_TO_PASS",
                            "test_f", "PASS_TO_PASS");
    json_object_set_new(row, "instance_id", json_string("history"));
    expect("repair", row,
           score_patch(row,
                       "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    "
                       "return 2\n"),
           1);
    expect("history", row,
           score_patch(row,
                       "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    "
                       "exec(open('.git/fixed.py').read(), g := {}) or g['f']()\n"),
           0);
    expect(
        "discover", row,
        (json_object_set_new(row, "test_cmd",
                             json_string("python3 -m unittest discover -p '*_test.py'")),
         score_patch(row, "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+   "
                          " return 2\n")),
        1);
    json_decref(row);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
}

/* ---- the other kinds ---- */

static void test_swe_synthesised_tests_must_tell_bug_from_fix(void **state)
{
    (void)state;
    json_t *row = json_pack("{s:s, s:{s:s}, s:s, s:s}", "task", "test_synthesis", "files", "m.py",
                            "def f(x):\n    return x + 2\n", "gold_patch",
                            "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x + "
                            "2\n+    return x + 1\n",
                            "instance_id", "synthesis");
#define TEST_OF(assertion)                                                          \
    "```python\nimport unittest\nimport m\n\nclass T(unittest.TestCase):\n    def " \
    "test_f(self):\n        " assertion "\n```\n"
    expect("good", row, score_row(json_deep_copy(row), TEST_OF("self.assertEqual(m.f(1), 2)")), 1);
    expect("wants the bug", row,
           score_row(json_deep_copy(row), TEST_OF("self.assertEqual(m.f(1), 3)")), 0);
    expect("always fails", row, score_row(json_deep_copy(row), TEST_OF("self.fail()")), 0);
    expect("asserts nothing", row, score_row(json_deep_copy(row), TEST_OF("m.f(1)")), 0);
    expect("no test", row, score_row(json_deep_copy(row), "I would test f."), 0);
    json_decref(row);
}

static void test_swe_localisation_is_an_f1_of_files_and_functions(void **state)
{
    (void)state;
    json_t *row =
        json_pack("{s:s, s:{s:s, s:s}, s:s, s:s}", "task", "localisation", "files", "a.py",
                  "def f(x):\n    return x\n\n\ndef g(x):\n    y = x\n    return y + 2\n", "b.py",
                  "z = 1\n", "gold_patch",
                  "--- a/a.py\n+++ b/a.py\n@@ -5,3 +5,3 @@\n def g(x):\n     y = x\n-    "
                  "return y + 2\n+    return y + 1\n",
                  "instance_id", "localisation");
    expect("both", row, score_row(json_deep_copy(row), "```\na.py::g\n```"), 1);
    expect("file only", row, score_row(json_deep_copy(row), "\\boxed{a.py}"), 2.0 / 3);
    expect("list", row, score_row(json_deep_copy(row), "```json\n[\"a.py::g\", \"b.py\"]\n```"),
           4.0 / 5);
    expect("other", row, score_row(json_deep_copy(row), "- `b.py`"), 0);
    json_decref(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swe_gold_passes_and_empty_fails),
        cmocka_unit_test(test_swe_responses_hold_patches_in_several_forms),
        cmocka_unit_test(test_swe_edits_by_search_and_replace),
        cmocka_unit_test(test_swe_attacks_on_the_tests_score_zero),
        cmocka_unit_test(test_swe_history_is_not_in_the_sandbox),
        cmocka_unit_test(test_swe_synthesised_tests_must_tell_bug_from_fix),
        cmocka_unit_test(test_swe_localisation_is_an_f1_of_files_and_functions),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
