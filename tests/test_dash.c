/* links: dash */
/* label: unit */
/* timeout: 60 */
/* valgrind: no */
/* The dashboard's server over a run folder without Redis: every path, every refusal, and what attackers send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/packed.h"
#include "ops/dash/server_state.h"
#include "tests/dash_world.h"

static struct dash_world world;

static const char log_text[] = "2026-01-02T03:04:05Z INFO learner.0 one\n"
                               "two \xff\xfe bytes\nthree \"quoted\"\n";

static int open_world(void **state)
{
    char steps[20000];
    size_t size = 0;
    (void)state;
    world_folder(&world);
    for (int i = 1; i <= 100; i++)
        size +=
            (size_t)snprintf(steps + size, sizeof steps - size,
                             "{\"step\":%d,\"wall\":%d.5,\"reward/mean\":%d.25,\"nan\":null,"
                             "\"digest\":\"x\"%s}\n",
                             i, 1700000000 + i, i, i == 40 ? ",\"alarm\":\"entropy is low\"" : "");
    world_write(&world, "metrics.jsonl", steps);
    world_write(&world, "histograms.jsonl", "{\"step\":100,\"is_weight\":{\"counts\":[1,2]}}\n");
    world_write(
        &world, "alarms.jsonl",
        "{\"time_ms\":1700000030000,\"name\":\"disk\",\"over\":false,\"text\":\"disk: full\"}\n");
    world_write(&world, "logs/latest/learner.0.log", log_text);
    world_write(&world, "secret", "hunter2");
    world_write(
        &world, "processes.json",
        "{\"run\":\"tried\",\"supervisor\":1,\"attempt\":1,\"applied\":0,\"wanted\":{\"actors\":2,"
        "\"reward_workers\":1},\"processes\":[{\"name\":\"actor.0\",\"pid\":0,\"state\":\"ended\","
        "\"joined\":false,\"restarts\":3,\"started\":\"\",\"end\":\"exit 0\"}]}");
    world_open(&world, "127.0.0.1:0", NULL);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

static void expect(const char *method, const char *path, const char *headers, const char *body,
                   int status, const char *part)
{
    int got = world_ask(&world, method, path, headers, body);
    if (got != status || (part != NULL && strstr(world.answer, part) == NULL))
        fail_msg("%s %s: %d instead of %d, or without %s:\n%.600s", method, path, got, status,
                 part != NULL ? part : "-", world.answer);
}

/* ---- what is there ---- */

static void test_dash_every_path_answers(void **state)
{
    static const struct {
        const char *path, *part;
    } cases[] = {
        {"/", "text/html"},
        {"/api/run", "\"state\":\"over\""},
        {"/api/snapshot", "\"name\":\"actor.0\""},
        {"/api/metrics?names=reward/mean&from=99", "\"reward/mean\":[99.25,100.25]"},
        {"/api/metrics?names=reward%2Fmean&points=2&to=50", "\"step\":[1,50]"},
        {"/api/metrics", "\"names\":[\"reward/mean\",\"nan\"]"},
        {"/api/events?n=3",
         "{\"events\":[{\"time_ms\":1700000030000,\"kind\":\"alarm\",\"text\":\"disk: full\"},"
         "{\"time_ms\":1700000040500,\"kind\":\"alarm\",\"text\":\"entropy is low\"}]}"},
        {"/api/snapshot", "\"alarms\":[{\"time_ms\":1700000030000,"},
        {"/api/rollouts?n=5&source=a&finish=eos&reward_min=-1&reward_max=1e3&group=7&before=1.2.3",
         "{\"rollouts\":[],\"sources\":[]}"},
        {"/api/histograms", "\"counts\":[1,2]"},
        {"/api/histograms?step=100", "\"is_weight\""},
        {"/api/spans?from_step=1&to_step=9", "{\"spans\":[]}"},
        {"/api/why", "the run is over"},
        {"/api/config", "\"key\":\"redis.password\",\"value\":\"\""},
        {"/api/logs?process=learner.0&n=2",
         "{\"lines\":[\"two ?? bytes\",\"three \\\"quoted\\\"\"]}"},
        {"/metrics", "weir_process_restarts{run=\"tried\",process=\"actor.0\"} 3"},
        {"/live", "live"},
        {"/ready", "ready"},
        {"/prometheus/targets", "[]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect("GET", cases[i].path, "", "", 200, cases[i].part);
    expect("HEAD", "/api/run", "", "", 200, "application/json");
    assert_string_equal(world_body(&world), "");
}

static void test_dash_answers_carry_safe_headers(void **state)
{
    static const char *const headers[] = {"Content-Security-Policy: default-src 'self'",
                                          "X-Content-Type-Options: nosniff",
                                          "X-Frame-Options: DENY", "Referrer-Policy: no-referrer"};
    static const char *const paths[] = {"/", "/api/run", "/nothing.js", "/api/none"};
    (void)state;
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
        world_ask(&world, "GET", paths[p], "", "");
        for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
            assert_non_null(strstr(world.answer, headers[i]));
        assert_null(strstr(world.answer, "Access-Control-Allow"));
    }
}

static void test_dash_page_is_sent_once(void **state)
{
    char header[200];
    (void)state;
    expect("GET", "/", "", "", 200, "ETag: ");
    const char *etag = strstr(world.answer, "ETag: ") + 6;
    snprintf(header, sizeof header, "If-None-Match: %.*s\r\n", (int)strcspn(etag, "\r"), etag);
    expect("GET", "/", header, "", 304, NULL);
    assert_string_equal(world_body(&world), "");
}

/* A step file says no score, and a reward that is missing is no 0. */
static void test_dash_rollouts_of_step_files_have_no_made_up_figures(void **state)
{
    static struct dash_world old;
    char path[FILE_PATH_MAX];
    struct buffer text;
    (void)state;
    buffer_init(&text, 0);
    world_folder(&old);
    WORLD_CHECK(file_path(path, "%s/rollouts", old.folder));
    WORLD_CHECK(file_make_dirs(path));
    WORLD_CHECK(file_path(path, "%s/rollouts/step_000001.jsonl.zst", old.folder));
    for (int sample = 0; sample < 2; sample++)
        WORLD_CHECK(buffer_printf(
            &text,
            "{\"step\":1,\"group\":6,\"sample\":%d,\"prompt_id\":1,\"attempt\":0,\"source\":\"\","
            "\"finish\":\"eos\",\"tokens\":1,\"reward\":%s,\"shaped\":0,\"advantage\":null,"
            "\"pieces\":[],\"prompt\":[],\"ids\":[1],\"logprobs\":[0]}\n",
            sample, sample == 0 ? "null" : "0.5"));
    WORLD_CHECK(packed_write(path, &text));
    buffer_free(&text);
    world_open(&old, "127.0.0.1:0", NULL);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(world_ask(&old, "GET", "/api/rollouts", "", ""), 200);
        if (strstr(world_body(&old), "\"6.1.0\"") != NULL)
            break;
        clock_sleep_ms(10);
    }
    assert_non_null(strstr(world_body(&old), "\"reward\":0.5"));
    assert_non_null(strstr(world_body(&old), "\"reward\":null"));
    assert_null(strstr(world_body(&old), "\"score\""));
    world_close(&old);
}

/* ---- refusals ---- */

static void test_dash_wrong_requests_get_a_sentence(void **state)
{
    static const struct {
        const char *method, *path;
        int status;
    } cases[] = {
        {"GET", "/api/none", 404},
        {"GET", "/nothing.js", 404},
        {"POST", "/api/run", 405},
        {"DELETE", "/", 405},
        {"GET", "/api/drain", 401},
        {"GET", "/api/metrics?from=x", 400},
        {"GET", "/api/metrics?to=inf", 400},
        {"GET", "/api/metrics?points=-1", 400},
        {"GET", "/api/metrics?points=99999999999999999999999", 400},
        {"GET", "/api/metrics?names=%ff%fe", 400},
        {"GET", "/api/events?n=1x", 400},
        {"GET", "/api/rollouts?reward_min=nan", 400},
        {"GET", "/api/rollouts?group=-5", 400},
        {"GET", "/api/rollout", 400},
        {"GET", "/api/rollout?id=1.2.3", 404},
        {"GET", "/api/rollout?id=1", 400},
        {"GET", "/api/rollout?id=1.2.x", 400},
        {"GET", "/api/rollout?id=1.99999999999.1", 400},
        {"GET", "/api/histograms?step=7", 404},
        {"GET", "/api/spans?from_step=a", 400},
        {"GET", "/api/logs", 400},
        {"GET", "/api/logs?process=actor.9", 404},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(cases[i].method, cases[i].path, "", "", cases[i].status, "{\"error\":\"");
}

static void test_dash_buttons_need_the_token_and_a_live_run(void **state)
{
    char good[ACCESS_TOKEN_MAX + 64], cookie[ACCESS_TOKEN_MAX + 64];
    const char *token = world.dash.access.token;
    (void)state;
    snprintf(good, sizeof good, "Authorization: Bearer %s\r\n", token);
    snprintf(cookie, sizeof cookie, "Cookie: weir_dash_%u=%s\r\n", world.dash.access.port, token);
    expect("POST", "/api/drain", "", "{\"process\":\"actor.0\"}", 401, "WWW-Authenticate: Bearer");
    expect("POST", "/api/drain", cookie, "{\"process\":\"actor.0\"}", 401, NULL);
    expect("POST", "/api/scale", "Authorization: Bearer wrong\r\n", "{\"actors\":1}", 401, NULL);
    expect("POST", "/api/drain", good, "{\"process\":\"actor.0\"}", 409, "the run is over");
    expect("POST", "/api/scale", good, "{\"actors\":4}", 409, "the run is over");
    static const char *const drains[] = {"",
                                         "[]",
                                         "{",
                                         "{\"process\":3}",
                                         "{\"process\":\"learner.0\"}",
                                         "{\"process\":\"actor.0\",\"x\":1}",
                                         "{\"run\":\"other\"}",
                                         "{\"process\":\"actor.\\\"}\"}",
                                         "{\"process\":\"actor.1\",\"process\":\"actor.2\"}"};
    for (size_t i = 0; i < sizeof drains / sizeof drains[0]; i++)
        expect("POST", "/api/drain", good, drains[i], 400, "error");
    static const char *const scales[] = {
        "{}", "{\"actors\":-1}", "{\"actors\":1.5}", "{\"actors\":5000}", "{\"actors\":1,\"x\":2}",
        "7"};
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        expect("POST", "/api/scale", good, scales[i], 400, "error");
}

/* ---- attacks ---- */

static void test_dash_names_of_other_sites_are_refused(void **state)
{
    (void)state;
    expect("GET", "/api/run", "Host: evil.example\r\n", "", 403, "Host");
    expect("GET", "/", "Host: localhost.evil.example:8420\r\n", "", 403, "Host");
    expect("GET", "/api/run", "Origin: http://evil.example\r\n", "", 403, "Origin");
    expect("GET", "/api/run", "Origin: null\r\n", "", 403, "Origin");
    expect("GET", "/api/run", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", "", 403,
           "Sec-Fetch-Site");
    expect("GET", "/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", "", 200,
           "<html");
    expect("GET", "//api/run", "Sec-Fetch-Site: none\r\n", "", 200, "tried");
    static const char no_host[] = "GET /api/run HTTP/1.0\r\n\r\n";
    assert_int_equal(world_raw(&world, no_host, sizeof no_host - 1), 403);
}

static void test_dash_open_to_others_any_name_needs_the_token(void **state)
{
    static struct dash_world open;
    char right[ACCESS_TOKEN_MAX + 200];
    (void)state;
    world_folder(&open);
    world_open(&open, "0.0.0.0:0", NULL);
    const char *token = open.dash.access.token;
    assert_int_equal(world_ask(&open, "GET", "/api/run", "Host: maths-dash:8420\r\n", ""), 403);
    assert_int_equal(world_ask(&open, "GET", "/api/run", "Host: localhost\r\n", ""), 401);
    snprintf(right, sizeof right, "Host: maths-dash:8420\r\nAuthorization: Bearer %s\r\n", token);
    assert_int_equal(world_ask(&open, "GET", "/api/run", right, ""), 200);
    snprintf(right, sizeof right, "Host: maths-dash:8420\r\nAuthorization: Bearer %sx\r\n", token);
    assert_int_equal(world_ask(&open, "GET", "/api/run", right, ""), 403);
    snprintf(right, sizeof right, "/?token=%s", token);
    assert_int_equal(world_ask(&open, "GET", right, "Host: maths-dash:8420\r\n", ""), 303);
    snprintf(right, sizeof right,
             "Host: inner:1\r\nX-Forwarded-Host: dash.example\r\nOrigin: https://dash.example\r\n"
             "Cookie: weir_dash_%u=%s\r\n",
             open.dash.access.port, token);
    assert_int_equal(world_ask(&open, "GET", "/api/run", right, ""), 200);
    memcpy(strstr(right, "https://dash"), "https://evil", 12);
    assert_int_equal(world_ask(&open, "GET", "/api/run", right, ""), 403);
    world_close(&open);
}

static void test_dash_paths_do_not_leave_their_folders(void **state)
{
    static const char *const paths[] = {"/../secret",
                                        "/..%2fsecret",
                                        "/%2e%2e/secret",
                                        "/%2e%2e%2fsecret",
                                        "/web/../../secret",
                                        "//etc/passwd",
                                        "/.git/config",
                                        "/a%00b",
                                        "/api/logs?process=../../secret",
                                        "/api/logs?process=..%2f..%2fsecret",
                                        "/api/logs?process=%2fetc%2fpasswd",
                                        "/api/logs?process=learner.0%00.x",
                                        "/api/logs?process=.."};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        int status = world_ask(&world, "GET", paths[i], "", "");
        if (status < 400 && strstr(paths[i], "%00") == NULL)
            fail_msg("%s: %d", paths[i], status);
        assert_null(strstr(world.answer, "hunter2"));
        assert_null(strstr(world.answer, "root:"));
    }
    char link[FILE_PATH_MAX];
    snprintf(link, sizeof link, "%s/logs/latest/link.log", world.folder);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    world_ask(&world, "GET", "/api/logs?process=link", "", "");
    assert_null(strstr(world.answer, "root:"));
}

static void test_dash_large_requests_are_cut_off(void **state)
{
    enum { LARGE = 1 << 20 };
    char good[ACCESS_TOKEN_MAX + 64];
    char *large = malloc(LARGE + 1);
    (void)state;
    memset(large, 'a', LARGE);
    large[LARGE] = 0;
    snprintf(good, sizeof good, "Authorization: Bearer %s\r\n", world.dash.access.token);
    int status = world_ask(&world, "POST", "/api/scale", good, large);
    assert_true(status == 413 || status == 0); /* the answer may be lost with the reset */
    large[20000] = 0;
    assert_int_equal(world_ask(&world, "POST", "/api/scale", good, large), 413);
    memset(large, 'a', LARGE);
    large[0] = '/';
    large[100000] = 0;
    status = world_ask(&world, "GET", large, "", "");
    assert_true(status == 0 || status >= 400);
    memcpy(large, "X-Large: ", 9);
    memcpy(large + 100000, "\r\n", 3);
    status = world_ask(&world, "GET", "/api/run", large, "");
    assert_true(status == 0 || status >= 400);
    expect("GET", "/api/run", "", "", 200, NULL);
    free(large);
}

static void test_dash_broken_requests_do_no_harm(void **state)
{
    static const char *const texts[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x02garbage",
        "POST /api/scale HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\nConnection: "
        "close\r\n\r\n",
        "POST /api/scale HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        "99999999999999999999\r\n\r\n",
        "POST /api/scale HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: "
        "close\r\n\r\n"
        "zz\r\n{}\r\n0\r\n\r\n",
        "GET /api/run HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: "
        "close\r\n\r\n",
        "GET /api/run HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tfolded\r\nConnection: close\r\n\r\n",
        "GET /api/metrics?names=a,,b&names&=&&&%zz=%& HTTP/1.1\r\nHost: localhost\r\nConnection: "
        "close\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int fd = world_connect(&world);
        assert_true(send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL) > 0);
        shutdown(fd, SHUT_WR);
        char out[4096];
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        while (poll(&wait, 1, 300) > 0 && recv(fd, out, sizeof out, 0) > 0)
            continue;
        close(fd);
    }
    expect("GET", "/api/run", "", "", 200, NULL);
}

static void test_dash_many_connections_leave_room(void **state)
{
    enum { MANY = 300 };
    static int fds[MANY];
    (void)state;
    for (int i = 0; i < MANY; i++)
        fds[i] = world_connect(&world); /* they say nothing */
    expect("GET", "/api/run", "", "", 200, NULL);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
}

/* ---- streams ---- */

static void read_until(int fd, char *out, size_t room, const char *until)
{
    size_t got = strlen(out);
    while (strstr(out, until) == NULL) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, 10000) <= 0)
            fail_msg("no %s in:\n%.2000s", until, out);
        ssize_t part = recv(fd, out + got, room - got - 1, 0);
        if (part <= 0)
            fail_msg("the stream ended before %s:\n%.2000s", until, out);
        got += (size_t)part;
        out[got] = 0;
    }
}

static int open_stream(const char *headers, char *out, size_t room, const char *until)
{
    char text[600];
    int fd = world_connect(&world);
    int size = snprintf(text, sizeof text, "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                        headers);
    assert_int_equal(send(fd, text, (size_t)size, MSG_NOSIGNAL), size);
    out[0] = 0;
    read_until(fd, out, room, until);
    return fd;
}

static void add_step(int step)
{
    json_t *line =
        json_pack("{s:i,s:f,s:f}", "step", step, "wall", 1700001000.0 + step, "reward/mean", 7.5);
    board_lock(&world.dash.board);
    board_take_metrics(&world.dash.board, line, false);
    world.dash.board.changed = true;
    board_unlock(&world.dash.board);
    dash_wake(&world.dash);
    json_decref(line);
}

static void test_dash_stream_goes_on_where_it_stopped(void **state)
{
    static char out[1 << 20];
    char header[200];
    (void)state;
    int fd = open_stream("", out, sizeof out, "event: snapshot");
    assert_non_null(strstr(out, "text/event-stream"));
    close(fd);
    fd = open_stream("", out, sizeof out, "event: snapshot");
    add_step(1001);
    close(fd);
    fd = open_stream("Last-Event-ID: 0000000000000001-0000000000000001-00000000000003e8\r\n", out,
                     sizeof out, "\"step\":1001"); /* 1000, of another life of the server */
    close(fd);
    add_step(1002);
    board_lock(&world.dash.board);
    const struct broadcast *broadcast = &world.dash.board.broadcast;
    uint64_t end = broadcast->ends[(broadcast->ends_count - 1) % BROADCAST_ENDS];
    snprintf(header, sizeof header, "Last-Event-ID: %016llx-%016llx-%016llx\r\n",
             (unsigned long long)broadcast->epoch, (unsigned long long)end,
             (unsigned long long)broadcast->step);
    board_unlock(&world.dash.board);
    add_step(1003);
    fd = open_stream(header, out, sizeof out, "\"step\":1003");
    assert_null(strstr(out, "\"step\":1002"));
    close(fd);
}

/* A page cannot see comments: that the stream lives is an event of its own. */
static void test_dash_stream_beats_are_events(void **state)
{
    static char out[1 << 20];
    (void)state;
    int fd = open_stream("", out, sizeof out, "event: snapshot");
    out[0] = 0;
    stream_beat(&world.dash);
    read_until(fd, out, sizeof out, "event: beat\ndata: {}\n\n");
    close(fd);
}

/* 4,000 steps of 150 metrics whose values take 10 digits each: 6 MB, more than sockets hold. */
static void make_long_run(struct dash_world *many)
{
    enum { STEPS = 4000, METRICS = 150 };
    for (int step = 1; step <= STEPS; step++) {
        json_t *line = json_pack("{s:i,s:f}", "step", step, "wall", 1700000000.0 + step);
        for (int i = 0; i < METRICS; i++) {
            char name[32];
            snprintf(name, sizeof name, "m%d", i);
            json_object_set_new(line, name, json_real(step + i / 1234567.0));
        }
        board_lock(&many->dash.board);
        board_take_metrics(&many->dash.board, line, true);
        board_unlock(&many->dash.board);
        json_decref(line);
    }
}

static int ask_and_not_read(struct dash_world *many, const char *path, const char *headers)
{
    char text[2000], first[1];
    int fd = world_connect(many);
    int size =
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers);
    assert_int_equal(send(fd, text, (size_t)size, MSG_NOSIGNAL), size);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 10000), 1);
    assert_int_equal(recv(fd, first, 1, MSG_PEEK), 1); /* it is being answered */
    return fd;
}

static void expect_unread(struct dash_world *many, uint64_t least, uint64_t most)
{
    uint64_t unread = 0;
    for (int i = 0; i < 1000; i++, clock_sleep_ms(10)) {
        unread = atomic_load(&many->dash.server->unread);
        if (unread >= least && unread <= most)
            return;
    }
    fail_msg("%llu bytes are unread, not %llu to %llu", (unsigned long long)unread,
             (unsigned long long)least, (unsigned long long)most);
}

enum { NAMES_MAX = 1500 };

/* names: the question for all its series. */
static void open_long_run(struct dash_world *many, char names[NAMES_MAX])
{
    size_t size = (size_t)snprintf(names, NAMES_MAX, "/api/metrics?names=m0");
    for (int i = 1; i < 150; i++)
        size += (size_t)snprintf(names + size, NAMES_MAX - size, ",m%d", i);
    world_folder(many);
    world_open(many, "127.0.0.1:0", NULL);
    make_long_run(many);
}

/* What clients ask for and do not read is bounded, whatever they ask for; small answers are given still. */
static void test_dash_answers_that_nobody_reads_are_bounded(void **state)
{
    enum { MB = 1 << 20, ALL = 24 * MB, ASKERS = 12 };
    static struct dash_world many;
    char names[NAMES_MAX];
    int fds[ASKERS + 1];
    (void)state;
    open_long_run(&many, names);
    many.dash.server->unread_max = ALL;
    fds[ASKERS] =
        ask_and_not_read(&many, "/api/stream",
                         "Last-Event-ID: 0000000000000001-0000000000000001-0000000000000001\r\n");
    expect_unread(&many, 8 * MB, ALL); /* the steps that this viewer missed */
    for (int i = 0; i < ASKERS; i++)
        fds[i] = ask_and_not_read(&many, names, "");
    expect_unread(&many, ALL / 2, ALL);
    assert_int_equal(world_ask(&many, "GET", names, "", ""), 503);
    assert_non_null(strstr(many.answer, "Retry-After: "));
    assert_non_null(strstr(many.answer, "do not read"));
    assert_int_equal(world_ask(&many, "GET", "/api/run", "", ""), 200);
    for (int i = 0; i <= ASKERS; i++)
        close(fds[i]);
    expect_unread(&many, 0, 0);
    assert_int_equal(world_ask(&many, "GET", names, "", ""), 200);
    assert_true(many.size > 4 * MB);
    world_close(&many);
}

static void test_dash_answers_have_at_most_a_million_numbers(void **state)
{
    static struct dash_world many;
    char names[NAMES_MAX];
    (void)state;
    open_long_run(&many, names);
    assert_int_equal(world_ask(&many, "GET", names, "", ""), 200);
    snprintf(names + strlen(names), sizeof names - strlen(names), ",");
    for (int i = 0; i < 110; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "x%d,", i);
    assert_int_equal(world_ask(&many, "GET", names, "", ""), 413);
    world_close(&many);
}

/* A viewer that never reads: the others go on, and closing does not wait for it. */
static void test_dash_viewer_that_never_reads_holds_nobody(void **state)
{
    static char out[1 << 20];
    (void)state;
    int silent = open_stream("", out, sizeof out, "event: snapshot");
    int reader = open_stream("", out, sizeof out, "event: snapshot");
    close(reader);
    for (int i = 0; i < 3000; i++)
        add_step(2000 + i);
    int64_t begin_ns = clock_now_ns();
    expect("GET", "/api/run", "", "", 200, NULL);
    reader = open_stream("", out, sizeof out, "event: snapshot");
    assert_true(clock_now_ns() - begin_ns < 5 * CLOCK_NS_PER_S);
    close(reader);
    close(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dash_every_path_answers),
        cmocka_unit_test(test_dash_answers_carry_safe_headers),
        cmocka_unit_test(test_dash_page_is_sent_once),
        cmocka_unit_test(test_dash_rollouts_of_step_files_have_no_made_up_figures),
        cmocka_unit_test(test_dash_wrong_requests_get_a_sentence),
        cmocka_unit_test(test_dash_buttons_need_the_token_and_a_live_run),
        cmocka_unit_test(test_dash_names_of_other_sites_are_refused),
        cmocka_unit_test(test_dash_open_to_others_any_name_needs_the_token),
        cmocka_unit_test(test_dash_paths_do_not_leave_their_folders),
        cmocka_unit_test(test_dash_large_requests_are_cut_off),
        cmocka_unit_test(test_dash_broken_requests_do_no_harm),
        cmocka_unit_test(test_dash_many_connections_leave_room),
        cmocka_unit_test(test_dash_stream_goes_on_where_it_stopped),
        cmocka_unit_test(test_dash_stream_beats_are_events),
        cmocka_unit_test(test_dash_answers_that_nobody_reads_are_bounded),
        cmocka_unit_test(test_dash_answers_have_at_most_a_million_numbers),
        cmocka_unit_test(test_dash_viewer_that_never_reads_holds_nobody),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
