/* links: reward_swe reward_answer */
/* label: unit */
/* Diffs and edits on trees, and what test programs print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reward/swe/log_formats.h"
#include "reward/swe/patch.h"

static void put(struct tree *tree, const char *path, const char *text)
{
    assert_int_equal(tree_put(tree, path, text, strlen(text)), STATUS_OK);
}

static void expect_file(const struct tree *tree, const char *path, const char *text)
{
    const struct tree_file *file = tree_find(tree, path);
    if (text == NULL) {
        assert_null(file);
        return;
    }
    assert_non_null(file);
    assert_string_equal(file->bytes, text);
}

#define TEN "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"

static const struct {
    const char *name, *before, *patch, *after; /* after NULL: refused */
} patches[] = {
    {"plain", TEN, "--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n 2\n-3\n+three\n 4\n",
     "1\n2\nthree\n4\n5\n6\n7\n8\n9\n10\n"},
    {"git header and index line", TEN,
     "diff --git a/f b/f\nindex 1..2 100644\n--- a/f\n+++ b/f\n@@ -1 +1 @@ def x\n-1\n+one\n",
     "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"},
    {"no prefix, with time", TEN,
     "--- f\t2020-01-01 00:00:00\n+++ f\t2020-01-01 00:00:01\n@@ -1,1 +1,1 @@\n-1\n+one\n",
     "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"},
    {"at another line", TEN, "--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n 7\n-8\n+eight\n 9\n",
     "1\n2\n3\n4\n5\n6\n7\neight\n9\n10\n"},
    {"two hunks, the second shifted", TEN,
     "--- a/f\n+++ b/f\n@@ -1,2 +1,4 @@\n 1\n+a\n+b\n 2\n@@ -9,2 +11,1 @@\n 9\n-10\n",
     "1\na\nb\n2\n3\n4\n5\n6\n7\n8\n9\n"},
    {"context that is off at the end", TEN,
     "--- a/f\n+++ b/f\n@@ -4,4 +4,4 @@\n 4\n-5\n+five\n 6\n other\n",
     "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n"},
    {"context that is not there", TEN, "--- a/f\n+++ b/f\n@@ -4,3 +4,3 @@\n x\n-y\n+five\n z\n",
     NULL},
    {"counts that are wrong", TEN, "--- a/f\n+++ b/f\n@@ -4,9 +4,9 @@\n 4\n-5\n+five\n 6\n", NULL},
    {"insert at the head", TEN, "--- a/f\n+++ b/f\n@@ -0,0 +1,1 @@\n+zero\n", "zero\n" TEN},
    {"empty context line without its blank", "a\n\nb\n",
     "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n", "a\n\nc\n"},
    {"no newline at the end", "a\nb",
     "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end "
     "of file\n+c\n\\ No newline at end of file\n",
     "a\nc"},
    {"newline added at the end", "a\nb",
     "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n", "a\nb\n"},
    {"untouched end keeps its missing newline", "a\nb\nc",
     "--- a/f\n+++ b/f\n@@ -1,1 +1,1 @@\n-a\n+x\n", "x\nb\nc"},
    {"lines end with CR LF", "a\r\nb\r\n", "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
     "a\r\nc\r\n"},
    {"a file that is not there", TEN, "--- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+2\n", NULL},
    {"outside by ..", TEN, "--- a/../f\n+++ b/../f\n@@ -1 +1 @@\n-1\n+2\n", NULL},
    {"an absolute path", TEN, "--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+2\n", NULL},
    {"binary", TEN, "diff --git a/f b/f\nGIT binary patch\nliteral 3\n", NULL},
    {"a hunk first", TEN, "@@ -1 +1 @@\n-1\n+2\n", NULL},
    {"a hunk header of nonsense", TEN, "--- a/f\n+++ b/f\n@@ -x +y @@\n", NULL},
    {"numbers that overflow", TEN,
     "--- a/f\n+++ b/f\n@@ -1,99999999999999999999 +1,99999999999999999999 @@\n-1\n", NULL},
    {"hunks backwards", TEN,
     "--- a/f\n+++ b/f\n@@ -9,1 +9,1 @@\n-9\n+nine\n@@ -1,1 +1,1 @@\n-1\n+one\n", NULL},
    {"a rename between a file and its hunk", TEN,
     "--- a/f\n+++ b/f\nrename from f\nrename to g\n@@ -1 +1 @@\n-1\n+2\n", NULL},
    {"nothing", TEN, "", NULL},
};

static void test_swe_patch_applies_or_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patches / sizeof patches[0]; i++) {
        struct tree tree;
        size_t changed;
        tree_init(&tree);
        put(&tree, "f", patches[i].before);
        enum status status =
            patch_apply(&tree, patches[i].patch, strlen(patches[i].patch), &changed);
        if ((status == STATUS_OK) != (patches[i].after != NULL))
            fail_msg("%s: %s", patches[i].name, status_last_error());
        if (patches[i].after != NULL && strcmp(tree_find(&tree, "f")->bytes, patches[i].after) != 0)
            fail_msg("%s: \"%s\"", patches[i].name, tree_find(&tree, "f")->bytes);
        tree_free(&tree);
    }
}

static void test_swe_patch_makes_removes_and_renames_files(void **state)
{
    (void)state;
    static const char patch[] =
        "diff --git a/old.py b/old.py\ndeleted file mode 100644\n--- a/old.py\n+++ /dev/null\n"
        "@@ -1,2 +0,0 @@\n-a\n-b\n"
        "diff --git a/new/x.py b/new/x.py\nnew file mode 100644\n--- /dev/null\n+++ b/new/x.py\n"
        "@@ -0,0 +1,2 @@\n+c\n+d\n"
        "diff --git a/was.py b/is.py\nsimilarity index 100%\nrename from was.py\nrename to is.py\n"
        "diff --git a/left.py b/right.py\nsimilarity index 50%\nrename from left.py\nrename to "
        "right.py\nindex 1..2 100644\n--- a/left.py\n+++ b/right.py\n@@ -1 +1 @@\n-l\n+r\n";
    struct tree tree;
    size_t changed;
    tree_init(&tree);
    put(&tree, "old.py", "a\nb\n");
    put(&tree, "was.py", "same\n");
    put(&tree, "left.py", "l\n");
    assert_int_equal(patch_apply(&tree, patch, sizeof patch - 1, &changed), STATUS_OK);
    assert_int_equal(changed, 4);
    expect_file(&tree, "old.py", NULL);
    expect_file(&tree, "new/x.py", "c\nd\n");
    expect_file(&tree, "was.py", NULL);
    expect_file(&tree, "is.py", "same\n");
    expect_file(&tree, "left.py", NULL);
    expect_file(&tree, "right.py", "r\n");
    assert_int_equal(tree_put(&tree, "new", "x", 1), STATUS_INVALID);
    assert_int_equal(tree_put(&tree, "is.py/x", "x", 1), STATUS_INVALID);
    tree_free(&tree);
}

/* A patch that was made by cutting any one at any byte is applied or refused, and memory stays in order (ASan). */
static void test_swe_patch_cut_anywhere_is_survived(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patches / sizeof patches[0]; i++)
        for (size_t size = 0; size <= strlen(patches[i].patch); size++) {
            struct tree tree;
            size_t changed;
            tree_init(&tree);
            put(&tree, "f", patches[i].before);
            char *cut = strndup(patches[i].patch, size);
            (void)!patch_apply(&tree, cut, size, &changed);
            free(cut);
            tree_free(&tree);
        }
}

static void test_swe_logs_of_known_programs_are_read(void **state)
{
    (void)state;
    static const char log[] = "tests/a.py::test_one PASSED                [ 50%]\n"
                              "tests/a.py::test_two[x 1] FAILED           [100%]\n"
                              "PASSED tests/b.py::T::test_three\n"
                              "FAILED tests/b.py::test_four - assert 1 == 2\n"
                              "test_five (pkg.mod.Class) ... ok\n"
                              "test_six (pkg.mod.Class.test_six) ... FAIL\n"
                              "test_seven (pkg.mod.Class) ... skipped 'why'\n"
                              "--- PASS: TestEight (0.00s)\n"
                              "    --- FAIL: TestEight/sub (0.00s)\n"
                              "test module::nine ... ok\n"
                              "test module::ten ... FAILED\n"
                              "ok 1 - eleven\n"
                              "not ok 2 - twelve\n"
                              "not ok 3 - thirteen # todo later\n"
                              "ok so far\n"
                              "FAILED tests/b.py::T::test_three - again\n";
    static const struct {
        const char *test, *outcome;
    } wanted[] = {{"tests/a.py::test_one", "PASSED"},
                  {"tests/a.py::test_two[x 1]", "FAILED"},
                  {"tests/b.py::T::test_three", "FAILED"},
                  {"tests/b.py::test_four", "FAILED"},
                  {"test_five (pkg.mod.Class)", "PASSED"},
                  {"test_six (pkg.mod.Class.test_six)", "FAILED"},
                  {"test_seven (pkg.mod.Class)", "SKIPPED"},
                  {"TestEight", "PASSED"},
                  {"TestEight/sub", "FAILED"},
                  {"module::nine", "PASSED"},
                  {"module::ten", "FAILED"},
                  {"eleven", "PASSED"},
                  {"twelve", "FAILED"},
                  {"thirteen", "XFAIL"}};
    json_t *outcomes = json_object();
    log_read(outcomes, log, sizeof log - 1);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        const char *said = json_string_value(json_object_get(outcomes, wanted[i].test));
        if (said == NULL || strcmp(said, wanted[i].outcome) != 0)
            fail_msg("%s: %s, not %s", wanted[i].test, said != NULL ? said : "absent",
                     wanted[i].outcome);
    }
    assert_int_equal(json_object_size(outcomes), sizeof wanted / sizeof wanted[0]);
    json_decref(outcomes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swe_patch_applies_or_is_refused),
        cmocka_unit_test(test_swe_patch_makes_removes_and_renames_files),
        cmocka_unit_test(test_swe_patch_cut_anywhere_is_survived),
        cmocka_unit_test(test_swe_logs_of_known_programs_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
