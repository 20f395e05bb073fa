/* links: transport core PkgConfig::hiredis Threads::Threads */
/* label: integration */
/* timeout: 60 */
/* valgrind: no */
/* Sentinels: they are asked for the master, again when it changes; none of them answers, they know no such master, and
 * addresses that were taken for each other. */
#include "tests/redis_world.h"

enum { SOON_MS = 5000, FAILOVER_MS = 15000 };

static struct redis_world world;

static int setup(void **state)
{
    (void)state;
    static int number;
    char folder[80];
    snprintf(folder, sizeof folder, "/tmp/weir-sentinel-%d-%d", (int)getpid(), number++);
    redis_world_open(&world, folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    redis_world_close(&world);
    return 0;
}

static void expect(const struct redis_settings *settings, enum status wanted, const char *part)
{
    enum status status = redis_probe(settings);
    if (status != wanted || (part != NULL && strstr(status_last_error(), part) == NULL))
        print_error("%s: %s\n", status_name(status), status_last_error());
    assert_int_equal(status, wanted);
    if (part != NULL)
        assert_non_null(strstr(status_last_error(), part));
}

static void test_redis_sentinel_mistakes_have_sentences(void **state)
{
    (void)state;
    char answer[64], list[256];
    struct redis_node *redis = redis_world_start(&world, NULL);
    struct redis_node *replica = redis_world_start(&world, NULL);
    redis_world_ask(replica, NULL, answer, sizeof answer, "REPLICAOF 127.0.0.1 %d", redis->port);
    struct redis_node *sentinel = redis_world_sentinel(&world, redis, 1);
    struct redis_settings settings = redis_world_settings("");
    settings.sentinels = sentinel->address;
    expect(&settings, STATUS_OK, NULL);
    settings.master = "mymaster";
    expect(&settings, STATUS_INVALID, "watches no master named \"mymaster\", but weir");
    settings.master = "weir";
    settings.sentinels = redis->address;
    expect(&settings, STATUS_INVALID, "that is a Redis and no Sentinel");
    settings.sentinels = "127.0.0.1:1 , 127.0.0.1:2";
    expect(&settings, STATUS_NOT_FOUND, "none of 2 Sentinels");
    settings.sentinels = "127.0.0.1";
    struct redis_view *view = NULL;
    assert_int_equal(redis_view_open(&view, "r", &settings), STATUS_INVALID);
    settings.sentinels = list; /* the first two are gone, one is no Sentinel */
    snprintf(list, sizeof list, "127.0.0.1:1, %s ,%s", redis->address, sentinel->address);
    expect(&settings, STATUS_OK, NULL);
    settings = redis_world_settings(sentinel->address);
    expect(&settings, STATUS_INVALID, "is a Sentinel: name it in redis.sentinels");
    settings = redis_world_settings(replica->address);
    expect(&settings, STATUS_INVALID, "is a replica of 127.0.0.1:");
}

/* Sentinels gone: the view stays with its master. Master gone, too: it waits. Both back: it is back. */
static void test_redis_sentinel_view_outlives_its_sentinels(void **state)
{
    (void)state;
    struct redis_node *redis = redis_world_start(&world, NULL);
    struct redis_node *sentinel = redis_world_sentinel(&world, redis, 1);
    struct redis_settings settings = redis_world_settings("");
    struct redis_view *view = NULL;
    settings.sentinels = sentinel->address;
    assert_int_equal(redis_view_open(&view, "r", &settings), STATUS_OK);
    redis_view_stream(view, "events", "{\"n\":1}", 100);
    assert_true(redis_world_await(redis, 1, SOON_MS, "XLEN %s", "weir:{r}:events") >= 0);
    redis_world_kill(sentinel);
    clock_sleep_ms(2500); /* it has looked for them */
    redis_view_stream(view, "events", "{\"n\":2}", 100);
    assert_true(redis_world_await(redis, 2, SOON_MS, "XLEN %s", "weir:{r}:events") >= 0);
    redis_world_kill(redis);
    clock_sleep_ms(300);
    redis_world_run(redis);
    redis_world_run(sentinel);
    int64_t ms = redis_world_await(redis, 2, SOON_MS, "XLEN %s", "weir:{r}:events");
    print_message("view back after %lld ms\n", (long long)ms);
    assert_true(ms >= 0);
    redis_view_close(&view);
}

/* The old master lives and answers, cut off from its Sentinels: the view follows them all the same. */
static void test_redis_sentinel_view_follows_a_failover_that_kills_nobody(void **state)
{
    (void)state;
    char answer[256];
    struct redis_node *old = redis_world_start(&world, NULL);
    struct redis_node *new = redis_world_start(&world, NULL);
    redis_world_ask(new, NULL, answer, sizeof answer, "REPLICAOF 127.0.0.1 %d", old->port);
    struct redis_node *sentinel = redis_world_sentinel(&world, old, 1);
    struct redis_settings settings = redis_world_settings("");
    struct redis_view *view = NULL;
    settings.sentinels = sentinel->address;
    assert_int_equal(redis_view_open(&view, "r", &settings), STATUS_OK);
    redis_view_stream(view, "events", "{\"n\":1}", 100);
    assert_true(redis_world_await(new, 1, SOON_MS, "XLEN %s", "weir:{r}:events") >= 0);
    for (int i = 0; i < FAILOVER_MS / 100; i++) { /* until it has heard of the replica */
        redis_world_ask(sentinel, NULL, answer, sizeof answer, "SENTINEL FAILOVER weir");
        if (strcmp(answer, "OK") == 0)
            break;
        clock_sleep_ms(100);
    }
    assert_string_equal(answer, "OK");
    for (int i = 0; i < FAILOVER_MS / 50 && strcmp(answer, "master") != 0; i++) {
        redis_world_ask(new, NULL, answer, sizeof answer, "ROLE");
        clock_sleep_ms(50);
    }
    assert_string_equal(answer, "master");
    redis_view_stream(view, "events", "{\"n\":2}", 100);
    int64_t ms = redis_world_await(new, 2, SOON_MS, "XLEN %s", "weir:{r}:events");
    print_message("view at the new master after %lld ms\n", (long long)ms);
    assert_true(ms >= 0);
    redis_view_close(&view);
}

int main(void)
{
    if (system("command -v redis-sentinel >/dev/null") != 0) {
        print_message("skipped: redis-sentinel is not installed (ops/deps test)\n");
        return 77;
    }
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_redis_sentinel_mistakes_have_sentences),
        CASE(test_redis_sentinel_view_outlives_its_sentinels),
        CASE(test_redis_sentinel_view_follows_a_failover_that_kills_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
