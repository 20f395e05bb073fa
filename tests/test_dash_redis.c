/* links: dash evaluate actor PkgConfig::hiredis */
/* label: integration */
/* timeout: 60 */
/* The dashboard over a real Redis: news reach a viewer at once; without Redis it goes on, and it comes back by itself. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "ops/eval/follow.h"
#include "tests/dash_world.h"

static struct dash_world world;
static char redis_path[96];
static pid_t redis;

static void start_redis(void)
{
    redis = fork();
    if (redis == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis_path, "--save",
               "", "--logfile", "/dev/null", "--dir", "/tmp", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500; i++) {
        redisContext *context = redisConnectUnix(redis_path);
        bool up = context != NULL && context->err == 0;
        if (context != NULL)
            redisFree(context);
        if (up)
            return;
        int ended;
        if (waitpid(redis, &ended, WNOHANG) == redis)
            exit(77); /* no redis-server */
        clock_sleep_ms(10);
    }
}

static void stop_redis(void)
{
    kill(redis, SIGKILL);
    waitpid(redis, NULL, 0);
}

static void say(const char *command)
{
    redisContext *context = redisConnectUnix(redis_path);
    redisReply *reply = redisCommand(context, command);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    redisFree(context);
}

static int open_world(void **state)
{
    (void)state;
    world_folder(&world);
    snprintf(redis_path, sizeof redis_path, "/tmp/weir-dash-redis-%d.sock", (int)getpid());
    start_redis();
    say("XADD weir:{tried}:metrics * step 1 wall 1700000001.5 reward/mean 0.25 digest 00ff");
    say("XADD weir:{tried}:rollouts * group 5 sample 0 attempt 1 reward 1 finish eos source s text "
        "hello");
    say("HSET weir:{tried}:proc:actor:7 version 3 host far pid 12");
    say("HSET weir:{tried}:state version 4 tokens 99");
    say("HSET weir:{tried}:source:maths weight 0.5");
    world_open(&world, "127.0.0.1:0", redis_path);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_close(&world);
    stop_redis();
    unlink(redis_path);
    return 0;
}

/* Asks until the answer holds `part`; how long it took. */
static int64_t wait_for(const char *path, const char *part, int64_t limit_ms)
{
    int64_t begin_ns = clock_now_ns(), took_ms = 0;
    for (;;) {
        world_ask(&world, "GET", path, "", "");
        took_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
        if (strstr(world.answer, part) != NULL)
            return took_ms;
        if (took_ms > limit_ms)
            fail_msg("%s has no %s after %lld ms:\n%.1500s", path, part, (long long)took_ms,
                     world.answer);
        clock_sleep_ms(10);
    }
}

static void test_dash_redis_what_is_there_is_read(void **state)
{
    (void)state;
    wait_for("/api/metrics?names=reward/mean", "\"reward/mean\":[0.25]", 5000);
    wait_for("/api/rollouts?source=s", "\"id\":\"5.0.1\"", 5000);
    wait_for("/api/rollout?id=5.0.1", "\"siblings\":[\"5.0.1\"]", 5000);
    wait_for("/api/snapshot", "\"lag\":1", 5000);
    wait_for("/api/snapshot", "\"weight\":0.5", 5000);
    wait_for("/api/run", "\"redis\":true", 5000);
    wait_for("/metrics", "weir_process_stats_version{run=\"tried\",process=\"actor.7\"} 3", 5000);
}

static void test_dash_redis_news_reach_a_viewer_within_a_second(void **state)
{
    static char out[1 << 16];
    static const char ask[] = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    size_t got = 0;
    (void)state;
    int fd = world_connect(&world);
    assert_true(send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) > 0);
    clock_sleep_ms(100);
    int64_t begin_ns = clock_now_ns();
    say("XADD weir:{tried}:metrics * step 2 wall 1700000002.5 reward/mean 0.5");
    while (strstr(out, "\"step\":2,") == NULL) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        assert_true(poll(&wait, 1, 5000) > 0);
        ssize_t part = recv(fd, out + got, sizeof out - got - 1, 0);
        assert_true(part > 0);
        got += (size_t)part;
    }
    int64_t took_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    close(fd);
    print_message("from XADD to the viewer: %lld ms\n", (long long)took_ms);
    assert_true(took_ms <= 1000);
}

static void test_dash_redis_dies_and_comes_back_empty(void **state)
{
    (void)state;
    stop_redis();
    wait_for("/api/run", "\"redis\":false", 5000);
    wait_for("/api/metrics?names=reward/mean", "\"reward/mean\":[0.25,0.5]", 1000);
    world_write(&world, "metrics.jsonl",
                "{\"step\":3,\"wall\":1700000003.5,\"reward/mean\":0.75}\n");
    wait_for("/api/metrics?names=reward/mean", "[0.25,0.5,0.75]", 5000);
    start_redis();
    wait_for("/api/run", "\"redis\":true", 5000);
    say("XADD weir:{tried}:metrics * step 2 wall 1700000002.5 reward/mean 0.5"); /* the view fills again */
    say("XADD weir:{tried}:metrics * step 4 wall 1700000004.5 reward/mean 1");
    wait_for("/api/metrics?names=reward/mean", "[0.25,0.5,0.75,1]", 1000);
}

static void test_dash_redis_stopped_holds_no_request(void **state)
{
    (void)state;
    kill(redis, SIGSTOP);
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < 20; i++)
        assert_int_equal(world_ask(&world, "GET", "/api/snapshot", "", ""), 200);
    int64_t took_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    wait_for("/api/run", "\"redis\":false", 8000);
    kill(redis, SIGCONT);
    wait_for("/api/run", "\"redis\":true", 5000);
    assert_true(took_ms < 2000);
}

/* The evaluator ends after the learner: its figures of steps 2 and 3 take no later step away. */
static void test_dash_redis_late_evaluations_cut_no_step_off(void **state)
{
    static struct follow_folder late;
    struct redis_settings settings = world.program.settings.redis;
    struct redis_view *view = NULL;
    (void)state;
    world_write(&world, "metrics.jsonl",
                "{\"step\":1,\"wall\":1700000001.5,\"digest\":\"01\",\"reward/mean\":0.25}\n"
                "{\"step\":2,\"wall\":1700000002.5,\"digest\":\"02\",\"reward/mean\":0.5}\n"
                "{\"step\":3,\"wall\":1700000003.5,\"digest\":\"03\",\"reward/mean\":0.75}\n"
                "{\"step\":4,\"wall\":1700000004.5,\"digest\":\"04\",\"reward/mean\":1}\n");
    late.rows = json_loads(
        "[{\"step\":2,\"set\":\"a\",\"digest\":\"02\",\"wall\":1700000009.5,"
        "\"eval/a/version\":2,\"eval/a/avg_at_n\":0.125},"
        "{\"step\":3,\"set\":\"a\",\"digest\":\"03\",\"wall\":1700000009.6,"
        "\"eval/a/version\":3,\"eval/a/avg_at_n\":0.625},"
        "{\"step\":1,\"set\":\"a\",\"digest\":\"ff\",\"wall\":1700000009.7," /* a branch that is gone */
        "\"eval/a/version\":1,\"eval/a/avg_at_n\":0.375}]",
        0, NULL);
    assert_non_null(late.rows);
    snprintf(late.run, sizeof late.run, "%s", world.folder);
    WORLD_CHECK(redis_view_open_set(&view, "tried", &settings));
    assert_non_null(view);
    WORLD_CHECK(follow_complete_metrics(&late, view));
    redis_view_close(&view);
    json_decref(late.rows);
    wait_for("/api/metrics?names=eval/a/avg_at_n,reward/mean", "[null,0.125,0.625,null]", 5000);
    assert_non_null(strstr(world_body(&world), "\"reward/mean\":[0.25,0.5,0.75,1]"));
    say("XADD weir:{tried}:metrics * step 4 eval/a/avg_at_n 0.875"); /* behind those two */
    wait_for("/api/metrics?names=eval/a/avg_at_n,reward/mean", "[null,0.125,0.625,0.875]", 5000);
    assert_non_null(strstr(world_body(&world), "\"reward/mean\":[0.25,0.5,0.75,1]"));
    redisContext *context = redisConnectUnix(redis_path);
    redisReply *reply = redisCommand(context, "XREVRANGE weir:{tried}:metrics + - COUNT 2");
    assert_int_equal(reply->elements, 2);
    const redisReply *sent = reply->element[1]->element[1]; /* the evaluator's last */
    assert_int_equal(sent->elements, 6); /* step and two figures: no time, no digest, no set */
    freeReplyObject(reply);
    redisFree(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dash_redis_what_is_there_is_read),
        cmocka_unit_test(test_dash_redis_news_reach_a_viewer_within_a_second),
        cmocka_unit_test(test_dash_redis_dies_and_comes_back_empty),
        cmocka_unit_test(test_dash_redis_stopped_holds_no_request),
        cmocka_unit_test(test_dash_redis_late_evaluations_cut_no_step_off),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
