/* links: ops reward */
/* label: integration */
/* timeout: 180 */
/* One forward pass: the learner's logprob of every token that was made by exactly the weights it trains equals
 * the actor's bit for bit, while weights are swapped in the middle of rollouts; and an actor whose arithmetic
 * differs is refused before it makes a token. (tests/test_trainer.c plants the fault of one ulp.) */
#include "tests/story.h"

enum { STEPS = 12, LIMIT_MS = 80000, DRAIN_MS = 10000, TOKENS_MIN = 10000, SWAPS_MIN = STEPS };

/* Each actor waits until every token is on the store's disk before it makes the next: generation is slower than
 * training, plans wait for actors, and most tokens are made by the version that trains on them. */
static const char *const settings =
    "run.steps=12 store.max_staleness=1 learner.updates_per_publish=1 "
    "sampling.response_tokens_max=96 store.groups_per_publish=8 "
    "store.dynamic_sampling=false actor.slots=4 actor.segment_tokens=1 "
    "actor.unacked_frames_max=1 actor.kv_on_swap=%s";

struct totals {
    double tokens, trained, worst, swaps, pearson_min;
};

static double last_swaps(struct story_run *run)
{
    struct story_view view;
    double swaps = 0;
    story_view_open(&view, run);
    int64_t end_ns = story_deadline_ns(LIMIT_MS);
    while (story_steps(run) < STEPS && clock_now_ns() < end_ns) {
        json_t *status = story_status(&view, 200);
        double now = status != NULL ? story_peer_sum(status, "actor", "actor/swaps") : 0;
        swaps = now > swaps ? now : swaps;
        json_decref(status);
        clock_sleep_ms(STORY_PAUSE_MS);
    }
    story_view_close(&view);
    return swaps;
}

static struct totals train(const char *kv_on_swap)
{
    struct story_run run;
    char text[400];
    snprintf(text, sizeof text, settings, kv_on_swap);
    story_start(&run, kv_on_swap, text);
    struct totals totals = {.swaps = last_swaps(&run), .pearson_min = 1};
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    for (size_t i = 0; i < STEPS; i++) {
        double worst = story_number(lines, i, "mismatch/max_abs_dlogprob");
        double pearson = story_number(lines, i, "mismatch/pearson");
        totals.worst = worst > totals.worst ? worst : totals.worst;
        totals.tokens += story_number(lines, i, "mismatch/tokens");
        totals.trained += story_number(lines, i, "train/tokens");
        totals.pearson_min = pearson < totals.pearson_min ? pearson : totals.pearson_min;
    }
    json_decref(lines);
    print_message("kv_on_swap=%s: max |dlogprob| %g over %.0f of %.0f trained tokens (%.1f %%), "
                  "%.0f swaps, least pearson of all tokens %.6f\n",
                  kv_on_swap, totals.worst, totals.tokens, totals.trained,
                  100 * totals.tokens / totals.trained, totals.swaps, totals.pearson_min);
    return totals;
}

static void test_story_mismatch_recompute_is_zero(void **state)
{
    (void)state;
    struct totals totals = train("recompute");
    assert_true(totals.worst == 0);
    assert_true(totals.tokens >= TOKENS_MIN);
    assert_true(totals.tokens >= 0.2 * totals.trained);
    assert_true(totals.tokens < totals.trained); /* some were made by older weights */
    assert_true(totals.swaps >= SWAPS_MIN);
}

static void test_story_mismatch_keep_is_zero(void **state)
{
    (void)state;
    struct totals totals = train("keep");
    assert_true(totals.worst == 0);
    assert_true(totals.tokens > 0);
    assert_true(totals.swaps >= SWAPS_MIN);
}

static void test_story_mismatch_actor_of_other_arithmetic_is_refused(void **state)
{
    (void)state;
    struct story_run run;
    char config[FILE_PATH_MAX], endpoint[FILE_PATH_MAX], out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    story_start(&run, "numerics", "run.steps=1000000 run.actors=1");
    story_await_steps(&run, 1, LIMIT_MS);
    assert_int_equal(file_path(config, "%s/config.resolved.yaml", run.path), STATUS_OK);
    struct settings none = {0};
    none.store.endpoint = "";
    assert_int_equal(store_endpoint(&none, run.path, endpoint), STATUS_OK);
    const char *arguments[] = {"--config",   config,   "--run",   run.name, "--folder", run.path,
                               "--endpoint", endpoint, "--index", "7",      NULL};
    assert_int_equal(setenv("WEIR_CPU_ISA", "plain", 1), 0);
    pid_t pid = story_spawn("weir-actor", arguments, story_path(out, "plain.out"),
                            story_path(err, "plain.err"));
    unsetenv("WEIR_CPU_ISA");
    int code = story_wait_pid(pid, 10000);
    print_message("plain actor: exit %d\n", code);
    assert_true(code > 0 && code < 128);
    assert_true(story_said(err, "numerics"));
    kill(run.pid, SIGTERM);
    assert_int_equal(story_wait(&run, DRAIN_MS), 0); /* the refused one holds up nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_mismatch_recompute_is_zero),
        STORY_TEST(test_story_mismatch_keep_is_zero),
        STORY_TEST(test_story_mismatch_actor_of_other_arithmetic_is_refused)};
    story_begin("mismatch");
    story_make_model(&(struct story_model){14, false});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
