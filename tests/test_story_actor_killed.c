/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* kill -9 of one of two actors in the middle of long rollouts: the run goes on within a second, no rollout is
 * lost, and no token that was acknowledged is generated again.
 *
 * The actor dies in its 900th decode step. All its slots decode together, and every rollout has 600 tokens: it is in the
 * middle of all its rollouts then, up to 8, however fast or slow this machine is. Nobody's leases end by
 * their time (lease_ms): those of the dead one are given out because it is dead. */
#include "tests/story.h"

enum { STEPS = 3, ROLLOUTS = 16, RESPONSE = 600, SLOTS = 8, LIMIT_MS = 60000, SOON_MS = 20000 };

static const char *const settings =
    "run.steps=3 store.max_staleness=0 store.dynamic_sampling=false "
    "sampling.response_tokens_max=600 actor.slots=8 store.lease_ms=30000";

static void start_doomed(struct story_run *run)
{
    char once[FILE_PATH_MAX];
    assert_int_equal(file_make_dirs(story_path(once, "once")), STATUS_OK);
    setenv("WEIR_FAULT", "actor.decoded:900=kill", 1);
    setenv("WEIR_FAULT_ROLE", "actor.0", 1);
    setenv("WEIR_FAULT_ONCE", once, 1);
    story_start(run, "run", settings);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
    unsetenv("WEIR_FAULT_ONCE");
}

/* Until actor 0 dies; the acknowledged tokens then. */
static uint64_t await_death(struct story_view *view)
{
    char mark[FILE_PATH_MAX];
    int64_t end_ns = story_deadline_ns(SOON_MS);
    story_path(mark, "once/actor.decoded");
    while (!file_exists(mark)) {
        assert_true(clock_now_ns() < end_ns);
        clock_sleep_ms(1);
    }
    json_t *status = story_status(view, 1000);
    assert_non_null(status);
    uint64_t tokens = story_counter(status, "tokens");
    json_decref(status);
    return tokens;
}

struct aftermath {
    int64_t segment_ms, continued_ms; /* from the kill to the first of each; -1: never */
    uint64_t lost, regenerated, expired, continued, repeated;
};

/* The last answer before the store leaves counts. */
static void watch(struct story_view *view, struct story_run *run, uint64_t tokens,
                  struct aftermath *after)
{
    int64_t begin_ns = clock_now_ns(), end_ns = story_deadline_ns(LIMIT_MS);
    *after = (struct aftermath){.segment_ms = -1, .continued_ms = -1};
    while (clock_now_ns() < end_ns && story_steps(run) < STEPS) {
        json_t *status = story_status(view, 200);
        int64_t ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
        if (status == NULL)
            continue;
        after->expired = story_counter(status, "leases_expired");
        after->continued = story_counter(status, "leases_continued");
        after->regenerated = story_counter(status, "tokens_regenerated");
        after->repeated = story_counter(status, "tokens_repeated_refused");
        after->lost = story_counter(status, "dropped_generation_failed") +
                      story_counter(status, "dropped_scoring_failed") +
                      story_counter(status, "dropped_invalid") +
                      story_counter(status, "dropped_stale");
        if (after->segment_ms < 0 && story_counter(status, "tokens") > tokens)
            after->segment_ms = ms;
        if (after->continued_ms < 0 && after->continued > 0)
            after->continued_ms = ms;
        json_decref(status);
    }
}

/* The page, also of the run when it is over, shows who died and why. */
static void assert_death_is_noted(const struct story_run *run)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(file_path(path, "%s/alarms.jsonl", run->path), STATUS_OK);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "\"kind\":\"death\",\"text\":\"actor.0: killed"));
    buffer_free(&text);
}

static void test_story_actor_killed_mid_rollout_loses_nothing(void **state)
{
    (void)state;
    struct story_run run;
    struct story_view view;
    struct aftermath after;
    start_doomed(&run);
    story_view_open(&view, &run);
    uint64_t tokens = await_death(&view);
    watch(&view, &run, tokens, &after);
    story_view_close(&view);
    print_message(
        "next acknowledged segment %lld ms after the kill, a lease continued after %lld "
        "ms; %llu leases expired, %llu continued, %llu acknowledged tokens generated again, %llu "
        "repeated tokens refused, %llu groups lost\n",
        (long long)after.segment_ms, (long long)after.continued_ms,
        (unsigned long long)after.expired, (unsigned long long)after.continued,
        (unsigned long long)after.regenerated, (unsigned long long)after.repeated,
        (unsigned long long)after.lost);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_in_range(after.segment_ms, 0, 999);
    assert_in_range(after.expired, 1, SLOTS);
    assert_int_equal(after.continued, after.expired);
    assert_int_equal(after.regenerated, 0);
    assert_int_equal(after.lost, 0);
    assert_death_is_noted(&run);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    for (size_t i = 0; i < STEPS; i++) {
        assert_int_equal((int)story_number(lines, i, "train/rollouts"), ROLLOUTS);
        assert_int_equal((int)story_number(lines, i, "train/tokens"), ROLLOUTS * RESPONSE);
    }
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_actor_killed_mid_rollout_loses_nothing)};
    story_begin("actor_killed");
    story_make_model(&(struct story_model){14, false}); /* nothing ends but by its budget */
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
