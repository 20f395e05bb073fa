/* links: ops reward rollout_store transport PkgConfig::hiredis */
/* label: integration */
/* timeout: 90 */
/* A run that publishes to a Redis with a replica and three Sentinels: the master dies, later everything dies and comes
 * back empty. No step waits for it, `weir why` never names it, and each time the view is back within 5 s. */
#include "tests/redis_world.h"
#include "tests/story_command.h"

enum { STEPS = 260, SOON_MS = 20000, BACK_MS = 5000, FAILOVER_MS = 15000, WHY_MS = 5000 };
enum {
    MOST_STEP_MS = 2000
}; /* between two lines of metrics.jsonl; a step takes 50 ms, this machine is shared */

static struct redis_world world;
static struct redis_node *master, *replica, *sentinels[3];
static struct story_run run;
static char metrics_key[128];
static struct story_text text;

static long length_at(const struct redis_node *node)
{
    return redis_world_number(node, "XLEN %s", metrics_key);
}

/* Nobody waits for Redis, and it is not among what is wrong. */
static void ask_why(void)
{
    assert_int_equal(story_weir(&text, WHY_MS, "why %s --json", run.path), 0);
    json_t *answer = story_json(&text), *wait;
    size_t i;
    json_array_foreach(json_object_get(answer, "waits"), i, wait)
    {
        const char *who = json_string_value(json_object_get(wait, "who"));
        const char *what = json_string_value(json_object_get(wait, "for"));
        assert_null(who != NULL ? strstr(who, "redis") : NULL);
        assert_null(what != NULL ? strstr(what, "redis") : NULL);
    }
    const char *because = json_string_value(json_object_get(answer, "because"));
    assert_null(because != NULL ? strstr(because, "edis") : NULL);
    json_decref(answer);
}

/* Until the view has every step that metrics.jsonl has now. */
static void await_view(const struct redis_node *node, const char *after, int64_t limit_ms)
{
    long steps = (long)story_steps(&run);
    int64_t ms = redis_world_await(node, steps, limit_ms, "XLEN %s", metrics_key);
    print_message("%s: all %ld steps are in the view after %lld ms\n", after, steps, (long long)ms);
    assert_true(ms >= 0);
}

static void await_master(const struct redis_node *node)
{
    char role[64] = "";
    int64_t begin_ns = clock_now_ns();
    for (int64_t end_ns = story_deadline_ns(FAILOVER_MS);
         strcmp(role, "master") != 0 && clock_now_ns() < end_ns; clock_sleep_ms(20))
        redis_world_ask(node, NULL, role, sizeof role, "ROLE");
    assert_string_equal(role, "master");
    print_message("the Sentinels promoted the replica after %lld ms\n",
                  (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS));
}

/* In order, none twice. */
static void check_stream(const struct redis_node *node)
{
    redisContext *context = redis_world_context(node);
    redisReply *reply = redisCommand(context, "XRANGE %s - +", metrics_key);
    assert_non_null(reply);
    for (size_t i = 0; i < reply->elements; i++)
        assert_int_equal(strtol(reply->element[i]->element[1]->element[1]->str, NULL, 10), i + 1);
    freeReplyObject(reply);
    redisFree(context);
}

/* Every key of the run dies some day; those of processes are gone with them. */
static void check_keys(const struct redis_node *node)
{
    redisContext *context = redis_world_context(node);
    redisReply *keys = redisCommand(context, "KEYS *");
    assert_non_null(keys);
    for (size_t i = 0; i < keys->elements; i++) {
        const char *key = keys->element[i]->str;
        assert_null(strstr(key, ":proc:"));
        redisReply *ttl = redisCommand(context, "TTL %s", key);
        if (strcmp(key, "weir:runs") != 0 && ttl->integer <= 0)
            print_message("%s never expires\n", key);
        assert_true(strcmp(key, "weir:runs") == 0 || ttl->integer > 0);
        freeReplyObject(ttl);
    }
    assert_true(keys->elements >= 4);
    freeReplyObject(keys);
    redisFree(context);
}

static void start_world(void)
{
    char folder[80], answer[64];
    snprintf(folder, sizeof folder, "/tmp/weir-failover-%d", (int)getpid());
    redis_world_open(&world, folder);
    master = redis_world_start(&world, NULL);
    replica = redis_world_start(&world, NULL);
    redis_world_ask(replica, NULL, answer, sizeof answer, "REPLICAOF 127.0.0.1 %d", master->port);
    for (int i = 0; i < 3; i++)
        sentinels[i] = redis_world_sentinel(&world, master, 2);
    for (int64_t end_ns = story_deadline_ns(SOON_MS); clock_now_ns() < end_ns;
         clock_sleep_ms(50)) { /* until the Sentinels know each other and the replica */
        char known[2048];
        int good = 0;
        for (int i = 0; i < 3; i++) {
            redis_world_ask(sentinels[i], NULL, known, sizeof known, "INFO sentinel");
            good += strstr(known, "slaves=1,sentinels=3") != NULL;
        }
        if (good == 3)
            return;
    }
    fail_msg("the Sentinels do not find each other");
}

static void fail_over(void)
{
    redis_world_kill(master);
    size_t before = story_steps(&run);
    ask_why();
    await_master(replica);
    await_view(replica, "failover", BACK_MS);
    assert_true(story_steps(&run) > before);
    ask_why();
}

/* All of them at once, and the master comes back with nothing. */
static void lose_everything(void)
{
    redis_world_kill(replica);
    for (int i = 0; i < 3; i++)
        redis_world_kill(sentinels[i]);
    size_t before = story_steps(&run);
    clock_sleep_ms(1500);
    ask_why();
    assert_true(story_steps(&run) > before + 5);
    for (int i = 0; i < 3; i++)
        redis_world_run(sentinels[i]);
    redis_world_run(replica);
    await_view(replica, "everything lost", BACK_MS);
    assert_true(redis_world_await(replica, 1, BACK_MS, "HLEN weir:{%s}:meta", run.name) >= 0);
    assert_true(redis_world_await(replica, 1, BACK_MS, "HLEN weir:{%s}:fleet", run.name) >= 0);
    assert_true(redis_world_await(replica, 1, BACK_MS, "HLEN weir:{%s}:state", run.name) >= 0);
    assert_true(redis_world_await(replica, 1, BACK_MS, "XLEN weir:{%s}:rollouts", run.name) >= 0);
}

static void test_story_redis_failover_no_step_waits_and_the_view_is_back(void **state)
{
    (void)state;
    char settings[512];
    start_world();
    snprintf(settings, sizeof settings,
             "run.steps=%d redis.mode=connect redis.sentinels=%s,%s,%s redis.publish_ms=100 "
             "optim.lr=1e-5 store.max_staleness=0 dash.mode=off",
             STEPS, sentinels[0]->address, sentinels[1]->address, sentinels[2]->address);
    setenv("WEIR_FAULT", "learner.planned:*=sleep.50", 1); /* so that it lasts */
    story_start(&run, "failover", settings);
    unsetenv("WEIR_FAULT");
    snprintf(metrics_key, sizeof metrics_key, "weir:{%s}:metrics", run.name);
    story_await_steps(&run, 5, SOON_MS);
    await_view(master, "begun", BACK_MS);
    fail_over();
    lose_everything();
    size_t left = story_steps(&run);
    print_message("%zu of %d steps were done by then\n", left, STEPS);
    assert_true(left < STEPS);
    assert_int_equal(story_weir(&text, SOON_MS, "stop %s", run.path), 0);
    assert_int_equal(story_wait(&run, SOON_MS), 0);
    json_t *lines = story_metrics(&run);
    double most_s = 0;
    for (size_t i = 1; i < json_array_size(lines); i++) {
        double gap_s = story_number(lines, i, "wall") - story_number(lines, i - 1, "wall");
        most_s = gap_s > most_s ? gap_s : most_s;
    }
    print_message("the slowest of %zu steps took %.0f ms\n", json_array_size(lines), most_s * 1e3);
    assert_true(most_s * 1e3 < MOST_STEP_MS);
    assert_int_equal(length_at(replica), json_array_size(lines));
    json_decref(lines);
    check_stream(replica);
    check_keys(replica);
    redis_world_close(&world);
}

int main(void)
{
    if (system("command -v redis-sentinel >/dev/null") != 0) {
        print_message("skipped: redis-sentinel is not installed (ops/deps test)\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_redis_failover_no_step_waits_and_the_view_is_back)};
    story_begin("redis_failover");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
