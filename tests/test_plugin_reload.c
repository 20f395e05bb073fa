/* links: reward proto text transport sandbox core */
/* label: unit */
/* timeout: 120 */
/* valgrind: no */
/* A plugin whose file changes under a running host: the new one takes the new items, a broken one is refused and the
 * old one stays, and each score names who gave it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "tests/plugin_case.h"
#include "tests/python_case.h"

enum { PATIENCE_MS = 15000 };

static const char *const folder = BUILD_DIR "/test_plugin_reload.files";

static int setup(void **state)
{
    (void)state;
    return file_remove_tree(folder) == STATUS_OK && file_make_dirs(folder) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

static const char *at(const char *name)
{
    static char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    return path;
}

static void copy(const char *from, const char *to)
{
    struct buffer bytes;
    buffer_init(&bytes, 0);
    assert_int_equal(file_read(from, &bytes), STATUS_OK);
    assert_int_equal(file_replace(at(to), bytes.bytes, bytes.size), STATUS_OK);
    buffer_free(&bytes);
}

static void write_text(const char *name, const char *text)
{
    assert_int_equal(file_replace(at(name), text, strlen(text)), STATUS_OK);
}

static struct plugin_host *open_host(const char *name, bool reload)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = case_settings(at(name), "{}");
    settings.reload = reload;
    settings.timeout_ms = 4000;
    settings.python = "python3";
    if (plugin_host_open(&host, &settings) != STATUS_OK)
        fail_msg("%s", status_last_error());
    return host;
}

/* One item; its score. */
static struct score score(struct plugin_host *host, const char *response)
{
    struct plugin_job *job = case_job(response, "\"x\"");
    assert_int_equal(plugin_host_submit(host, job), STATUS_OK);
    assert_ptr_equal(case_take(host, PATIENCE_MS), job);
    struct score result = job->score;
    case_drop(job);
    return result;
}

/* Drives the host until it says something about a reload. */
static void wait_event(struct plugin_host *host, const char *kind, const char *also)
{
    char event[PLUGIN_EVENT_MAX];
    for (int64_t end_ns = clock_now_ns() + (int64_t)PATIENCE_MS * CLOCK_NS_PER_MS;
         clock_now_ns() < end_ns;) {
        assert_null(case_take(host, 50));
        if (!plugin_host_event(host, event))
            continue;
        if (strstr(event, kind) == NULL || strstr(event, also) == NULL)
            fail_msg("no \"%s\" and \"%s\" in: %s", kind, also, event);
        return;
    }
    fail_msg("no event %s", kind);
}

static void test_plugin_reload_changed_file_takes_the_new_items(void **state)
{
    (void)state;
    copy(BUILD_DIR "/tests/plugins/behaves.so", "p.so");
    struct plugin_host *host = open_host("p.so", true);
    uint64_t old_hash = plugin_host_file_hash(host);
    struct score before = score(host, "ok");
    assert_true(before.value > 0.99 && before.scorer == old_hash);
    copy(BUILD_DIR "/tests/plugins/abi_1_0.so", "p.so");
    wait_event(host, "plugin_reloaded", "abi_1_0 1.0");
    assert_null(case_take(host, 0));
    struct score after = score(host, "ok");
    assert_true(after.value > 0.019 && after.value < 0.021);
    assert_true(after.scorer == plugin_host_file_hash(host) && after.scorer != old_hash);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_reload_old_one_finishes_what_it_has(void **state)
{
    (void)state;
    copy(BUILD_DIR "/tests/plugins/behaves.so", "p.so");
    struct plugin_host *host = open_host("p.so", true);
    uint64_t old_hash = plugin_host_file_hash(host);
    struct plugin_job *never = case_job("never", "");
    assert_int_equal(plugin_host_submit(host, never),
                     STATUS_OK); /* is with the old one until its deadline */
    copy(BUILD_DIR "/tests/plugins/groups.so", "p.so");
    wait_event(host, "plugin_reloaded", "groups 1");
    assert_null(case_take(host, 0));
    assert_true((plugin_host_caps(host) & WEIR_REWARD_CAP_GROUP) != 0);
    struct score fresh = score(host, "one of one");
    assert_true(fresh.status == SCORE_OK && fresh.scorer != old_hash);
    assert_ptr_equal(case_take(host, PATIENCE_MS), never);
    assert_true(never->score.status == SCORE_TIMEOUT && never->score.scorer == old_hash);
    case_drop(never);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_reload_broken_file_is_refused_and_the_old_one_stays(void **state)
{
    (void)state;
    copy(BUILD_DIR "/tests/plugins/behaves.so", "p.so");
    struct plugin_host *host = open_host("p.so", true);
    uint64_t old_hash = plugin_host_file_hash(host);
    write_text("p.so", "this is no shared object");
    wait_event(host, "plugin_refused", "behaves 0.1");
    struct score still = score(host, "ok");
    assert_true(still.value > 0.99 && still.scorer == old_hash);
    assert_int_equal(unlink(at("p.so")), 0);
    wait_event(host, "plugin_refused", "No such file");
    assert_true(score(host, "ok").value > 0.99);
    copy(BUILD_DIR "/tests/plugins/abi_1_0.so", "p.so"); /* mended */
    wait_event(host, "plugin_reloaded", "abi_1_0 1.0");
    plugin_host_close(&host, case_drop);
}

static void test_plugin_reload_python_file_and_recipe_are_watched(void **state)
{
    (void)state;
    if (!python_is_here())
        skip();
    write_text("f.py", "def f(solution_str): return 0.25\n");
    write_text("r.yaml", "parts: [{name: a, plugin: \"f.py:f\"}]\n");
    struct plugin_host *host = open_host("r.yaml", true);
    assert_true(score(host, "x").value < 0.26);
    write_text("f.py", "def f(solution_str): return 0.75\n");
    wait_event(host, "plugin_reloaded", "r.yaml");
    assert_null(case_take(host, 0));
    assert_true(score(host, "x").value > 0.74);
    write_text("f.py", "def f(solution_str: return 1\n");
    wait_event(host, "plugin_refused", "SyntaxError");
    write_text("r.yaml", "parts: [{name: a, plugin: \"f.py:f\", weight: heavy}]\n");
    wait_event(host, "plugin_refused", "r.yaml:1: weight");
    assert_true(score(host, "x").value > 0.74);
    plugin_host_close(&host, case_drop);
}

static void test_plugin_reload_off_leaves_the_copy_in_place(void **state)
{
    (void)state;
    char event[PLUGIN_EVENT_MAX];
    copy(BUILD_DIR "/tests/plugins/behaves.so", "p.so");
    struct plugin_host *host = open_host("p.so", false);
    write_text("p.so", "no shared object");
    assert_null(case_take(host, 2500));
    assert_false(plugin_host_event(host, event));
    assert_true(score(host, "ok").value > 0.99);
    plugin_host_close(&host, case_drop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plugin_reload_changed_file_takes_the_new_items, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_plugin_reload_old_one_finishes_what_it_has, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_plugin_reload_broken_file_is_refused_and_the_old_one_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plugin_reload_python_file_and_recipe_are_watched,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_plugin_reload_off_leaves_the_copy_in_place, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("plugin_reload", tests, NULL, NULL);
}
