/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* Redis is a view: killed with -9 in the middle of a run, and killed again when it is back, it costs no step. */
#include "tests/story.h"

enum { STEPS = 60, LIMIT_MS = 60000, SOON_MS = 20000 };

static pid_t redis_of(const struct story_run *run)
{
    pid_t pids[STORY_PIDS];
    return story_find("redis-server", run->name, pids) > 0 ? pids[0] : 0;
}

static void test_story_redis_dies_costs_no_step(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "run", "run.steps=60 redis.mode=start redis.publish_ms=50");
    story_await_steps(&run, 2, SOON_MS);
    pid_t redis = redis_of(&run);
    assert_true(redis > 0);
    assert_int_equal(kill(redis, SIGKILL), 0);
    size_t at = story_steps(&run);
    int64_t begin_ns = clock_now_ns();
    story_await_steps(&run, at + 1, SOON_MS);
    print_message("redis killed after step %zu, the next one came %lld ms later\n", at,
                  (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS));
    for (int64_t end_ns = story_deadline_ns(SOON_MS);
         redis_of(&run) == 0 && clock_now_ns() < end_ns && story_steps(&run) + 5 < STEPS;)
        clock_sleep_ms(STORY_PAUSE_MS);
    if (redis_of(&run) > 0)
        kill(redis_of(&run), SIGKILL);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_redis_dies_costs_no_step)};
    story_begin("redis_dies");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
