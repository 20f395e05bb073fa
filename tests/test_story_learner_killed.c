/* links: ops reward */
/* label: integration */
/* timeout: 180 */
/* The learner killed with -9 while it waits, while it trains and right after a publish; then the whole run
 * killed and resumed: every step has the digest of the uninterrupted run, and appears once. */
#include "tests/story_digests.h"

enum { STEPS = 12, LIMIT_MS = 60000, KILL_FIRST = 2, KILL_STEPS = 8, SOON_MS = 20000 };

static struct story_measure measure = {
    .settings = "run.steps=12 run.seed=5 store.max_staleness=0 store.group_size=8 "
                "store.groups_per_publish=8 "
                "sampling.response_tokens_max=48 learner.checkpoint_every=2",
    .steps = STEPS,
    .limit_ms = LIMIT_MS};

static void signal_actors(const struct story_run *run, int number)
{
    for (unsigned i = 0; i < 2; i++) {
        pid_t pid = story_process(run, "weir-actor", i);
        if (pid > 0)
            kill(pid, number);
    }
}

static void kill_learner(const struct story_run *run, const char *when, size_t step)
{
    pid_t pid = story_process(run, "weir-learner", 0);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    print_message("seed %llu: learner %ld killed %s, after step %zu (at least %zu)\n",
                  (unsigned long long)story_seed, (long)pid, when, story_steps(run), step);
}

/* ---- the three moments ---- */

/* Without actors the learner can only wait. */
static void kill_waiting(struct story_run *run, size_t step)
{
    signal_actors(run, SIGSTOP);
    clock_sleep_ms(100 + story_draw(300));
    kill_learner(run, "while it waits", step);
    signal_actors(run, SIGCONT);
}

/* A plan is committed and its version is not registered: it is being trained. */
static void kill_training(struct story_run *run, size_t step)
{
    struct story_view view;
    bool training = false;
    story_view_open(&view, run);
    int64_t end_ns = story_deadline_ns(SOON_MS);
    while (!training && clock_now_ns() < end_ns) {
        json_t *status = story_status(&view, 1000);
        if (status != NULL)
            training = story_counter(status, "planned_version") > story_counter(status, "version");
        json_decref(status);
    }
    assert_true(training);
    kill_learner(run, "while it trains", step);
    story_view_close(&view);
}

static void kill_published(struct story_run *run, size_t step)
{
    story_await_steps(run, story_steps(run) + 1, SOON_MS);
    kill_learner(run, "right after a publish", step);
}

static void kill_and_check(const char *name, void (*kill_at)(struct story_run *run, size_t step))
{
    struct story_run run;
    size_t step = KILL_FIRST + story_draw(KILL_STEPS);
    story_uninterrupted(&measure);
    story_start(&run, name, measure.settings);
    story_await_steps(&run, step, SOON_MS);
    kill_at(&run, step);
    story_check_end(&run, &measure);
    assert_true(story_said(run.out, "processes started again: 1"));
}

static void test_story_learner_killed_waiting_ends_with_same_digests(void **state)
{
    (void)state;
    kill_and_check("waiting", kill_waiting);
}

static void test_story_learner_killed_training_ends_with_same_digests(void **state)
{
    (void)state;
    kill_and_check("training", kill_training);
}

static void test_story_learner_killed_after_publish_ends_with_same_digests(void **state)
{
    (void)state;
    kill_and_check("published", kill_published);
}

/* ---- everything at once ---- */

static void test_story_learner_run_killed_and_resumed_ends_with_same_digests(void **state)
{
    (void)state;
    struct story_run run;
    char resumed[400];
    size_t step = KILL_FIRST + story_draw(KILL_STEPS);
    story_uninterrupted(&measure);
    story_start(&run, "all", measure.settings);
    story_await_steps(&run, step, SOON_MS);
    clock_sleep_ms(story_draw(100));
    print_message("seed %llu: whole run killed after step %zu\n", (unsigned long long)story_seed,
                  story_steps(&run));
    kill(run.pid, SIGKILL);
    assert_int_equal(story_wait_pid(run.pid, 5000), 128 + SIGKILL);
    assert_true(story_await_gone(STORY_GONE_MS) >= 0);
    snprintf(resumed, sizeof resumed, "%s run.resume=true", measure.settings);
    story_start(&run, "all", resumed);
    story_check_end(&run, &measure);
    assert_int_equal(story_shared_memory(&run), 0); /* of either attempt */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_learner_killed_waiting_ends_with_same_digests),
        STORY_TEST(test_story_learner_killed_training_ends_with_same_digests),
        STORY_TEST(test_story_learner_killed_after_publish_ends_with_same_digests),
        STORY_TEST(test_story_learner_run_killed_and_resumed_ends_with_same_digests)};
    story_take_seed();
    story_begin("learner_killed");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
