/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* A whole run by tcp with keys: every process proves its key, `weir status` too, and no secret shows anywhere. Without
 * keys the same address is refused before anything starts. */

#include "tests/local_port.h"
#include "tests/story.h"
#include "transport/keys.h"

enum { STEPS = 4, LIMIT_MS = 90000, SOON_MS = 60000 };

static const char *const roles[] = {"store", "actor", "learner", "reward", "control"};

static void assert_no_secret(const char *path, const char *folder)
{
    struct buffer text;
    buffer_init(&text, 0);
    if (file_read(path, &text) == STATUS_OK)
        for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
            struct key_pair pair;
            assert_int_equal(key_pair_read(folder, roles[i], &pair), STATUS_OK);
            if (text.size > 0 && memmem(text.bytes, text.size, pair.secret_text, 12) != NULL)
                fail_msg("%s holds the secret of %s.key", path, roles[i]);
        }
    buffer_free(&text);
}

static void check_processes(const struct story_run *run, const char *folder)
{
    static const char *const programs[] = {"weir-store", "weir-actor", "weir-reward",
                                           "weir-learner"};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        pid_t pid = story_process(run, programs[i], 0);
        assert_true(pid > 0);
        snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
        assert_no_secret(path, folder);
        snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
        assert_no_secret(path, folder);
    }
}

static void check_logs(struct story_run *run, const char *folder)
{
    static const char *const logs[] = {"store.0", "actor.0", "actor.1", "reward.0", "learner.0"};
    static char text[1 << 16];
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        char path[FILE_PATH_MAX];
        assert_int_equal(file_path(path, "%s/logs/latest/%s.log", run->path, logs[i]), STATUS_OK);
        assert_true(file_exists(path));
        assert_no_secret(path, folder);
    }
    assert_no_secret(run->out, folder);
    assert_no_secret(run->err, folder);
    assert_non_null(strstr(story_log(run, "store.0", text, sizeof text), "endpoint=tcp://"));
}

static void test_story_keys_run_by_tcp_ends_well_and_shows_no_secret(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX], endpoint[64], settings[3 * FILE_PATH_MAX];
    struct story_run run;
    struct store_query *query = NULL;
    struct buffer json;
    story_path(folder, "keys");
    assert_int_equal(keys_new(folder, false), STATUS_OK);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", local_free_port());
    snprintf(settings, sizeof settings, "run.steps=%d store.endpoint=%s run.keys=%s", STEPS,
             endpoint, folder);
    story_start(&run, "keyed", settings);
    story_await_steps(&run, 1, SOON_MS);
    buffer_init(&json, 0);
    assert_int_equal(store_query_open(&query, endpoint, run.name, folder), STATUS_OK);
    assert_int_equal(store_query_ask(query, "status", "{}", 10000, &json), STATUS_OK);
    store_query_close(&query);
    buffer_free(&json);
    check_processes(&run, folder);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    check_logs(&run, folder);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    json_decref(lines);
}

static void test_story_keys_open_address_without_keys_is_refused(void **state)
{
    (void)state;
    char settings[128], text[4000];
    struct story_run run;
    snprintf(settings, sizeof settings, "run.steps=1 store.endpoint=tcp://0.0.0.0:%u",
             local_free_port());
    story_start(&run, "open", settings);
    int code = story_wait_pid(run.pid, LIMIT_MS);
    assert_true(code > 0 && code < 128);
    run.pid = 0;
    story_read(run.err, text, sizeof text);
    if (strstr(text, "run.keys") == NULL)
        print_error("exit %d: %s\n", code, text);
    assert_non_null(strstr(text, "run.keys"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_keys_run_by_tcp_ends_well_and_shows_no_secret),
        STORY_TEST(test_story_keys_open_address_without_keys_is_refused),
    };
    story_begin("keys");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
