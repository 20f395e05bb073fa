/* links: ops */
/* timeout: 20 */
/* store_query: answers, refusals and a store that says nothing, over a real socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/store_query.h"
#include "transport/link.h"

static char folder[64], endpoint[128];
static pid_t store;

/* Welcomes everybody; answers "status", refuses "nonsense", is silent on the rest. */
static void serve(void)
{
    struct hub *hub;
    struct arena *arena;
    if (hub_open(&hub, endpoint, NULL) != STATUS_OK || arena_create(&arena, 1 << 20) != STATUS_OK)
        _exit(1);
    for (;;) {
        struct hub_peer peer;
        struct message message, answer = {.type = MESSAGE_NONE};
        arena_reset(arena);
        if (hub_poll(hub, 100, -1, arena, &peer, &message) != STATUS_OK)
            continue;
        if (message.type == MESSAGE_hello)
            answer = (struct message){.type = MESSAGE_welcome,
                                      .welcome = {.heartbeat_ms = 200, .weights_path = ""}};
        if (message.type == MESSAGE_control && strcmp(message.control.command, "status") == 0)
            answer = (struct message){
                .type = MESSAGE_control_reply,
                .control_reply = {message.control.request, true, "{\"version\":7}"}};
        if (message.type == MESSAGE_control && strcmp(message.control.command, "nonsense") == 0)
            answer = (struct message){
                .type = MESSAGE_control_reply,
                .control_reply = {message.control.request, false, "{\"error\":\"unknown\"}"}};
        if (answer.type != MESSAGE_NONE && hub_send(hub, peer.id, &answer) != STATUS_OK)
            _exit(1);
    }
}

static int start_store(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-query-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/store.sock", folder);
    store = fork();
    if (store == 0)
        serve();
    return store < 0;
}

static int stop_store(void **state)
{
    (void)state;
    kill(store, SIGKILL);
    waitpid(store, NULL, 0);
    return file_remove_tree(folder) != STATUS_OK;
}

static void test_store_query_ask_returns_the_answer(void **state)
{
    (void)state;
    struct store_query *query;
    struct buffer json;
    buffer_init(&json, 0);
    assert_int_equal(store_query_open(&query, endpoint, "a", NULL), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_query_ask(query, "status", "{}", 5000, &json), STATUS_OK);
        assert_string_equal(buffer_string(&json), "{\"version\":7}");
    }
    assert_int_equal(store_query_ask(query, "nonsense", "{}", 5000, &json), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "unknown"));
    assert_string_equal(buffer_string(&json), "{\"version\":7}"); /* untouched */
    buffer_free(&json);
    store_query_close(&query);
    assert_null(query);
}

static void test_store_query_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct store_query *query;
    struct buffer json;
    buffer_init(&json, 0);
    assert_int_equal(store_query_open(&query, endpoint, "a", NULL), STATUS_OK);
    int64_t begin_ns = clock_now_ns();
    assert_int_equal(store_query_ask(query, "silence", "{}", 300, &json), STATUS_TIMEOUT);
    int64_t took_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    assert_true(took_ms >= 290 && took_ms < 2000);
    assert_non_null(strstr(status_last_error(), "gave no answer to silence in 300 ms"));
    /* What was asked first is forgotten: the next answer is to the next question. */
    assert_int_equal(store_query_ask(query, "status", "{}", 5000, &json), STATUS_OK);
    assert_string_equal(buffer_string(&json), "{\"version\":7}");
    buffer_free(&json);
    store_query_close(&query);
}

static void test_store_query_start_and_take_never_wait(void **state)
{
    (void)state;
    struct store_query *query;
    struct buffer json;
    buffer_init(&json, 0);
    assert_int_equal(store_query_open(&query, "ipc:///tmp/weir-nobody.sock", "a", NULL), STATUS_OK);
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(store_query_start(query, "status", "{}"), STATUS_AGAIN);
        assert_int_equal(store_query_take(query, 0, &json), STATUS_AGAIN);
    }
    assert_true(clock_now_ns() - begin_ns < CLOCK_NS_PER_S / 2);
    buffer_free(&json);
    store_query_close(&query);
}

/* Root may open everything, so it becomes somebody else; others take their own right away. */
static int open_forbidden(const char *path)
{
    char forbidden[160];
    struct store_query *query = NULL;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 77;
    if (geteuid() != 65534 && chmod(path, 0) != 0)
        return 77;
    snprintf(forbidden, sizeof forbidden, "ipc://%s", path);
    return store_query_open(&query, forbidden, "a", NULL) != STATUS_INVALID ||
           strstr(status_last_error(), "the run is of ") == NULL;
}

static void test_store_query_of_another_users_run_says_whose_it_is(void **state)
{
    (void)state;
    char path[128];
    int ended = 0;
    snprintf(path, sizeof path, "%s/theirs.sock", folder);
    assert_int_equal(file_replace(path, "", 0), STATUS_OK);
    assert_int_equal(chmod(path, 0600), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(open_forbidden(path));
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
}

static void test_store_query_endpoint_of_a_deep_folder_is_refused(void **state)
{
    (void)state;
    struct settings settings;
    struct config *config;
    struct config_input input = {0};
    char out[FILE_PATH_MAX], deep[201];
    memset(deep, 'x', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    assert_int_equal(settings_load(&settings, &config, &input), STATUS_OK);
    assert_int_equal(store_endpoint(&settings, "runs/a", out), STATUS_OK);
    assert_string_equal(out, "ipc://runs/a/store.sock");
    assert_int_equal(store_endpoint(&settings, deep, out), STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "run.root"));
    settings.store.endpoint = "tcp://127.0.0.1:7001";
    assert_int_equal(store_endpoint(&settings, deep, out), STATUS_OK);
    assert_string_equal(out, "tcp://127.0.0.1:7001");
    config_destroy(&config);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start_store, stop_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_store_query_ask_returns_the_answer),
        CASE(test_store_query_silence_ends_at_the_deadline),
        CASE(test_store_query_of_another_users_run_says_whose_it_is),
        CASE(test_store_query_start_and_take_never_wait),
        cmocka_unit_test(test_store_query_endpoint_of_a_deep_folder_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
