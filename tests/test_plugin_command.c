/* links: reward core */
/* label: integration */
/* timeout: 180 */
/* `weir plugin new|check|bench` as an author uses them: the template compiles, scores its rows and is fast enough to be
 * measured; what crashes or hangs is said, not suffered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "core/file.h"
#include "tests/python_case.h"

#define FOLDER BUILD_DIR "/test_plugin_command.files"

static char said[65536];

/* The exit code; stdout and stderr in `said`. */
static int run(const char *command)
{
    char line[4096];
    snprintf(line, sizeof line, "cd " FOLDER " && %s 2>&1", command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t size = fread(said, 1, sizeof said - 1, pipe);
    said[size] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void check(const char *command, int code, const char *part)
{
    int got = run(command);
    if (got != code || strstr(said, part) == NULL)
        fail_msg("%s: exit %d, wanted %d and \"%s\":\n%s", command, got, code, part, said);
}

#define WEIR BUILD_DIR "/bin/weir plugin "

static int setup(void **state)
{
    (void)state;
    return file_remove_tree(FOLDER) == STATUS_OK && file_make_dirs(FOLDER) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(FOLDER) == STATUS_OK ? 0 : -1;
}

static void write_text(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, FOLDER "/%s", name), STATUS_OK);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
}

static void test_plugin_command_c_template_compiles_and_scores(void **state)
{
    (void)state;
    check(WEIR "new mine", 0, "cc -shared");
    check("cc -shared -fPIC -O2 -Wall -Wextra -Werror -o mine.so mine.c", 0, "");
    check(WEIR "check ./mine.so", 0, "self-test passed");
    check(WEIR "check ./mine.so", 0, "3 scored, 0 skipped, 0 failed, 0 not as expected");
    check(WEIR "check ./mine.so --json", 0, "{\"row\":1,\"status\":\"ok\",\"value\":1,");
    check(WEIR "bench ./mine.so --seconds 1", 0, "\"items_per_s\":");
    check(WEIR "new mine", 1, "is there already");
    check(WEIR "new", 2, "NAME");
    check(WEIR "new 1x", 2, "letters");
    check(WEIR "check", 2, "FILE");
    check(WEIR "check ./mine.so 'reward.config={\"k\":1}'", 1, "mine has no settings");
    check(WEIR "check ./mine.so reward.thread=3", 2, "reward.threads");
}

static void test_plugin_command_python_template_scores(void **state)
{
    (void)state;
    if (!python_is_here())
        skip();
    check(WEIR "new soft --python", 0, "soft.py:compute_score");
    check(WEIR "check ./soft.py:compute_score", 0, "3 rows: 3 scored");
    write_text("rows.jsonl", "{\"response\": \"5\", \"ground_truth\": 4, \"expected\": 1}\n");
    check(WEIR "check ./soft.py:compute_score --rows rows.jsonl", 1, "DIFFERS: wanted 1");
    write_text("rows.jsonl", "{\"response\": \"5\"}\n{\"answer\": 1}\n");
    check(WEIR "check ./soft.py:compute_score --rows rows.jsonl", 2, "rows.jsonl:2");
}

static void test_plugin_command_crash_and_hang_are_said(void **state)
{
    (void)state;
    static const char body[] =
        "#include \"" SOURCE_DIR "/reward/weir_reward.h\"\n"
        "#include <stdlib.h>\n#include <unistd.h>\n"
        "static int create(const char *c, const weir_reward_host *h, void **i, char *e, size_t n)\n"
        "{ (void)c; (void)h; (void)e; (void)n; *i = NULL; return 0; }\n"
        "static int submit(void *s, const weir_reward_item *i, uint32_t n, weir_reward_done_fn d, "
        "void *u)\n"
        "{ (void)s; (void)n; (void)d; (void)u; if (i->response.len == 5) abort(); for (;;) "
        "pause(); }\n"
        "static void destroy(void *s) { (void)s; }\n"
        "const weir_reward_plugin *weir_reward_query(uint32_t a, uint32_t b)\n"
        "{ static const weir_reward_plugin p = {.struct_size = sizeof p, .abi_major = 1, "
        ".abi_minor = 1, "
        ".name = \"bad\", .version = \"1\", .create = create, .submit = submit, .destroy = "
        "destroy}; "
        "(void)a; (void)b; return &p; }\n";
    write_text("bad.c", body);
    check("cc -shared -fPIC -o bad.so bad.c", 0, "");
    write_text("rows.jsonl", "{\"response\": \"abort\"}\n");
    check(WEIR "check ./bad.so --rows rows.jsonl", 1, "the plugin crashed: Aborted");
    write_text("rows.jsonl", "{\"response\": \"hang\"}\n");
    check(WEIR "check ./bad.so --rows rows.jsonl reward.timeout_ms=500", 1, "did not return");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plugin_command_c_template_compiles_and_scores, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_plugin_command_python_template_scores, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_plugin_command_crash_and_hang_are_said, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("plugin_command", tests, NULL, NULL);
}
