/* links: transport core PkgConfig::hiredis Threads::Threads */
/* label: integration */
/* timeout: 60 */
/* valgrind: no */
/* What a view does when Redis lost what it had: streams come back from rings and from the file of metrics, in order and
 * once, also when only their end is lost, when Redis is full, and when the file is long. */
#include "tests/redis_world.h"

#include "tests/slow.h"

enum { SOON_MS = 5000, LIMIT_MS = 15000, LINE_MAX_BYTES = 4096 };

static struct redis_world world;
static char metrics[120];

static int setup(void **state)
{
    (void)state;
    static int number;
    char folder[80];
    snprintf(folder, sizeof folder, "/tmp/weir-refill-%d-%d", (int)getpid(), number++);
    redis_world_open(&world, folder);
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    redis_world_close(&world);
    return 0;
}

static void write_lines(long from, long to, const char *mode)
{
    FILE *file = fopen(metrics, mode);
    assert_non_null(file);
    for (long step = from; step <= to; step++) {
        fprintf(file, "{\"step\":%ld,\"version\":%ld,\"wall\":%ld.25", step, step, 1000 + step);
        for (int i = 0; i < 40; i++)
            fprintf(file, ",\"group_%d/name_%d\":%.6g", i % 4, i, (double)(step * i % 977) / 7);
        fputs("}\n", file);
    }
    assert_int_equal(fclose(file), 0);
}

static struct redis_view *open_view(const struct redis_node *redis, uint32_t kept)
{
    struct redis_view *view = NULL;
    struct redis_settings settings = redis_world_settings(redis->socket);
    assert_int_equal(redis_view_open(&view, "r", &settings), STATUS_OK);
    if (kept > 0)
        redis_view_refill(view, "metrics", metrics, kept);
    return view;
}

/* As the learner does: the file first. */
static void step(struct redis_view *view, long number)
{
    char line[64];
    write_lines(number, number, "a");
    snprintf(line, sizeof line, "{\"step\":%ld,\"version\":%ld}", number, number);
    redis_view_stream(view, "metrics", line, 100000);
}

/* The stream has steps first..last, each once and in order. */
static void expect_steps(const struct redis_node *redis, const char *key, long first, long last)
{
    redisContext *context = redis_world_context(redis);
    redisReply *reply = redisCommand(context, "XRANGE %s - +", key);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *fields = reply->element[i]->element[1];
        assert_string_equal(fields->element[0]->str, "step");
        assert_int_equal(strtol(fields->element[1]->str, NULL, 10), first + (long)i);
    }
    assert_int_equal(reply->elements, last - first + 1);
    freeReplyObject(reply);
    redisFree(context);
}

static void await_length(const struct redis_node *redis, const char *key, long length)
{
    assert_true(redis_world_await(redis, length, LIMIT_MS, "XLEN %s", key) >= 0);
}

static void test_redis_refill_restart_brings_file_and_ring_back(void **state)
{
    (void)state;
    struct redis_node *redis = redis_world_start(&world, NULL);
    write_lines(1, 20, "w"); /* the run was there before this process */
    struct redis_view *view = open_view(redis, 100000);
    await_length(redis, "weir:{r}:metrics", 20);
    for (long i = 21; i <= 30; i++)
        step(view, i);
    for (long i = 1; i <= 5; i++) {
        char line[64];
        snprintf(line, sizeof line, "{\"step\":%ld,\"text\":\"e\"}", i);
        redis_view_stream(view, "events", line, 5000);
    }
    await_length(redis, "weir:{r}:metrics", 30);
    await_length(redis, "weir:{r}:events", 5);
    redis_world_kill(redis);
    for (long i = 31; i <= 40; i++) /* while nobody is there */
        step(view, i);
    redis_view_stream(view, "events", "{\"step\":6,\"text\":\"e\"}", 5000);
    clock_sleep_ms(300);
    redis_world_run(redis);
    await_length(redis, "weir:{r}:metrics", 40);
    await_length(redis, "weir:{r}:events", 6);
    step(view, 41);
    await_length(redis, "weir:{r}:metrics", 41);
    expect_steps(redis, "weir:{r}:metrics", 1, 41);
    expect_steps(redis, "weir:{r}:events", 1, 6);
    assert_int_equal(redis_world_number(redis, "EXISTS %s", "weir:{r}:metrics.refill"), 0);
    assert_true(redis_world_number(redis, "TTL %s", "weir:{r}:metrics") > 0);
    assert_true(redis_view_dropped(view) > 0);
    redis_view_close(&view);
}

static void two_events(struct redis_view *view)
{
    redis_view_stream(view, "events", "{\"step\":1}", 100);
    redis_view_stream(view, "events", "{\"step\":2}", 100);
}

/* A replica that lagged when it took over, at the address of the master: the end of both streams is lost. */
static void test_redis_refill_lost_end_is_added_behind(void **state)
{
    (void)state;
    char answer[200];
    struct redis_node *redis = redis_world_start(&world, NULL);
    struct redis_node *replica = redis_world_start(&world, NULL);
    struct redis_view *view = open_view(redis, 100000);
    redis_world_ask(replica, NULL, answer, sizeof answer, "REPLICAOF 127.0.0.1 %d", redis->port);
    for (long i = 1; i <= 10; i++)
        step(view, i);
    two_events(view);
    await_length(replica, "weir:{r}:metrics", 10);
    await_length(replica, "weir:{r}:events", 2);
    redis_world_ask(replica, NULL, answer, sizeof answer, "REPLICAOF NO ONE");
    for (long i = 11; i <= 20; i++)
        step(view, i);
    two_events(view);
    await_length(redis, "weir:{r}:metrics", 20);
    await_length(redis, "weir:{r}:events", 4);
    assert_int_equal(redis_world_number(replica, "XLEN %s", "weir:{r}:metrics"), 10);
    redis_world_kill(redis);
    assert_int_equal(rename(replica->socket, redis->socket), 0);
    await_length(replica, "weir:{r}:metrics", 20);
    await_length(replica, "weir:{r}:events", 4);
    step(view, 21);
    await_length(replica, "weir:{r}:metrics", 21);
    expect_steps(replica, "weir:{r}:metrics", 1, 21);
    assert_int_equal(redis_world_number(replica, "XLEN %s", "weir:{r}:events"), 4);
    redis_view_close(&view);
}

static void test_redis_refill_flushed_redis_is_filled_again(void **state)
{
    (void)state;
    char answer[64];
    struct redis_node *redis = redis_world_start(&world, NULL);
    write_lines(1, 50, "w");
    struct redis_view *view = open_view(redis, 100000), *other = open_view(redis, 0);
    await_length(redis, "weir:{r}:metrics", 50);
    redis_view_stream(other, "events", "{\"kind\":\"a\"}", 1000);
    await_length(redis, "weir:{r}:events", 1);
    redis_world_ask(redis, NULL, answer, sizeof answer, "FLUSHALL");
    await_length(redis, "weir:{r}:metrics", 50);
    expect_steps(redis, "weir:{r}:metrics", 1, 50);
    await_length(redis, "weir:{r}:events", 1); /* each view saw it, not only the first */
    redis_view_close(&other);
    redis_view_close(&view);
}

/* Entries of another life of the run, and holes, are replaced as a whole. */
static void test_redis_refill_a_stream_that_differs_is_built_anew(void **state)
{
    (void)state;
    char answer[64];
    struct redis_node *redis = redis_world_start(&world, NULL);
    for (int i = 0; i < 7; i++)
        redis_world_ask(redis, NULL, answer, sizeof answer, "XADD %s * step %s", "weir:{r}:metrics",
                        "99");
    write_lines(1, 50, "w");
    struct redis_view *view = open_view(redis, 100000);
    await_length(redis, "weir:{r}:metrics", 50);
    expect_steps(redis, "weir:{r}:metrics", 1, 50);
    redis_view_close(&view);
}

static void test_redis_refill_a_full_redis_keeps_the_newest(void **state)
{
    (void)state;
    const char *const little[] = {"--maxmemory", "6mb", "--maxmemory-policy", "noeviction", NULL};
    struct redis_node *redis = redis_world_start(&world, little);
    write_lines(1, 20000, "w");
    struct redis_view *view = open_view(redis, 100000);
    char answer[200] = "";
    for (int i = 0; i < 1000 && strstr(answer, "19999") == NULL; i++) {
        step(view, 20000 + i);
        clock_sleep_ms(10);
        redisContext *context = redis_world_context(redis);
        redisReply *reply = redisCommand(context, "XREVRANGE weir:{r}:metrics + - COUNT 1");
        long last = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1
                        ? strtol(reply->element[0]->element[1]->element[1]->str, NULL, 10)
                        : 0;
        if (reply != NULL)
            freeReplyObject(reply);
        redisFree(context);
        if (last >= 20000 && redis_world_number(redis, "XLEN %s", "weir:{r}:metrics") > 500)
            break;
    }
    long length = redis_world_number(redis, "XLEN %s", "weir:{r}:metrics");
    print_message("of 20000 steps, 6 MB keep %ld\n", length);
    assert_in_range(length, 500, 19999);
    redis_view_close(&view);
}

/* TEST_LINES lines (200000 for the figures of docs/redis.md), with pushes in between: none waits, none is lost, and the
 * newest are there at once. */
static void test_redis_refill_long_file_does_not_stall(void **state)
{
    (void)state;
    const char *wanted = getenv("TEST_LINES");
    long lines = wanted != NULL ? strtol(wanted, NULL, 10) : (long)test_times(30000, 5000);
    struct redis_node *redis = redis_world_start(&world, NULL);
    write_lines(1, lines, "w");
    struct redis_view *view = open_view(redis, 200000);
    int64_t begin_ns = clock_now_ns(), slowest_ns = 0, quick_ms = -1, whole_ms = -1;
    long pushed = 0;
    while (whole_ms < 0 && clock_now_ns() - begin_ns < 40 * CLOCK_NS_PER_S) {
        int64_t push_ns = clock_now_ns();
        redis_view_stream(view, "rollouts", "{\"id\":1,\"text\":\"abc\"}", 100000);
        slowest_ns = clock_now_ns() - push_ns > slowest_ns ? clock_now_ns() - push_ns : slowest_ns;
        pushed++;
        clock_sleep_ms(2);
        long length = redis_world_number(redis, "XLEN %s", "weir:{r}:metrics");
        int64_t ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
        quick_ms = quick_ms < 0 && length >= 512 ? ms : quick_ms;
        whole_ms = length >= lines ? ms : -1;
    }
    long memory = 0;
    char answer[16384];
    const char *at =
        strstr(redis_world_ask(redis, NULL, answer, sizeof answer, "INFO memory"), "used_memory:");
    memory = at != NULL ? strtol(at + 12, NULL, 10) : 0;
    print_message(
        "%ld lines: the newest 512 after %lld ms, all after %lld ms, %ld MB in Redis, %ld "
        "pushes, the slowest %lld us\n",
        lines, (long long)quick_ms, (long long)whole_ms, memory >> 20, pushed,
        (long long)slowest_ns / 1000);
    assert_in_range(quick_ms, 0, SOON_MS);
    assert_true(whole_ms > 0);
    await_length(redis, "weir:{r}:rollouts", pushed);
    assert_int_equal(redis_view_dropped(view), 0);
    redis_view_close(&view);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_redis_refill_restart_brings_file_and_ring_back),
        CASE(test_redis_refill_lost_end_is_added_behind),
        CASE(test_redis_refill_flushed_redis_is_filled_again),
        CASE(test_redis_refill_a_stream_that_differs_is_built_anew),
        CASE(test_redis_refill_a_full_redis_keeps_the_newest),
        CASE(test_redis_refill_long_file_does_not_stall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
