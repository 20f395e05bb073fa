/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 600 */
/* 1,000 kill -9 in at most 120 s over store, actors, reward workers and (at most 5 % of them) learner: the run
 * finishes, no rollout is lost, none trained twice, and what was trained is, bit for bit, what the run without a
 * kill trained. At one kill per second at most 2 % of the tokens are made again. Asynchronous runs, whose outcome
 * depends on who is fast, are audited. */
#include "tests/chaos_story.h"

enum {
    STEPS = 900,
    KILLS = 1000,
    STORM_MS = 120000,
    SLOW_KILLS = 20,
    SLOW_MS = 40000,
    ASYNC_STEPS = 500,
    ASYNC_KILLS = 250,
    LIMIT_MS = 150000,
    SOON_MS = 30000,
    LIVES_MAX = 4096,
    HEARTBEAT_MS = 20,
};

/* No token of the model ends a rollout: each has its 32 tokens, in four segments. */
#define COMMON                                                                                    \
    "run.seed=7 run.actors=4 run.reward_workers=2 learner.checkpoint_every=2 store.group_size=4 " \
    "store.groups_per_publish=4 actor.slots=8 sampling.response_tokens_max=32 optim.lr=1e-5 "     \
    "run.steps=900 "

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 32};

static uint64_t seed;
static struct audit faultless;
static bool measured;

static void test_story_chaos_kill_no_fault_is_the_measure(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "faultless", COMMON "store.max_staleness=0");
    chaos_finish(&faultless, &run, "faultless", &rules, LIMIT_MS);
    measured = true;
}

static void assert_trains_the_same(struct story_run *run, const char *name)
{
    struct audit audit;
    chaos_finish(&audit, run, name, &rules, LIMIT_MS);
    assert_true(measured);
    assert_int_equal(audit_differences(&faultless, &audit), 0);
    audit_free(&audit);
}

static void test_story_chaos_kill_storm_trains_the_same(void **state)
{
    (void)state;
    struct story_run run;
    /* so close that a fast machine is not done with its steps before */
    struct storm storm = {.interval_ms = 20, .learner_percent = 4};
    setenv("WEIR_FAULT", "ledger.due:~300=fail", 1); /* snapshots now and then */
    story_start(&run, "storm", COMMON "store.max_staleness=0");
    unsetenv("WEIR_FAULT");
    story_await_steps(&run, 1, SOON_MS);
    storm_begin(&storm, &run, seed);
    storm_kill(&storm, KILLS, STORM_MS);
    storm_end(&storm, "storm");
    assert_trains_the_same(&run, "storm");
    assert_true(storm.kills >= KILLS);
    assert_true(storm.of_role[CHAOS_LEARNER] * 20 <= storm.kills);
}

/* ---- work done again ---- */

struct life { /* of an actor, as its heartbeats told it */
    uint64_t incarnation;
    double sampled, rate;
};

struct lives {
    struct story_view view;
    struct life life[LIVES_MAX];
    size_t count;
};

static void take_life(struct lives *lives, const json_t *peer)
{
    const char *role = json_string_value(json_object_get(peer, "role"));
    const char *incarnation = json_string_value(json_object_get(peer, "incarnation"));
    const json_t *stats = json_object_get(peer, "stats");
    if (role == NULL || incarnation == NULL || strcmp(role, "actor") != 0)
        return;
    uint64_t number = strtoull(incarnation, NULL, 16);
    size_t i = 0;
    while (i < lives->count && lives->life[i].incarnation != number)
        i++;
    assert_true(i < LIVES_MAX);
    struct life *life = &lives->life[i];
    if (i == lives->count)
        *life = (struct life){.incarnation = number};
    lives->count += i == lives->count;
    double sampled = json_number_value(json_object_get(stats, "actor/tokens_sampled"));
    double rate = json_number_value(json_object_get(stats, "actor/tokens_per_s"));
    life->sampled = sampled > life->sampled ? sampled : life->sampled;
    life->rate = rate > life->rate ? rate : life->rate;
}

static void look(void *self)
{
    struct lives *lives = self;
    json_t *status = story_status(&lives->view, 50), *peer;
    size_t i;
    json_array_foreach(json_object_get(status, "peers"), i, peer) take_life(lives, peer);
    json_decref(status);
}

/* Sampled and in no segment of the ledger under that life, and what it may have sampled since its last heartbeat. */
static double made_again(const struct lives *lives, struct audit *audit)
{
    double again = 0;
    for (size_t i = 0; i < lives->count; i++) {
        const struct life *life = &lives->life[i];
        const struct audit_holder *holder = audit_holder(audit, life->incarnation);
        double kept = holder != NULL ? (double)holder->tokens : 0;
        double sampled = life->sampled + life->rate * HEARTBEAT_MS / 1000;
        again += sampled > kept ? sampled - kept : 0;
    }
    return again;
}

static void test_story_chaos_kill_every_second_makes_little_again(void **state)
{
    (void)state;
    static struct lives lives;
    struct story_run run;
    struct audit audit;
    struct storm storm = {
        .interval_ms = 1000, .learner_percent = 5, .meanwhile = look, .self = &lives};
    story_start(&run, "slow", COMMON "store.max_staleness=0 store.heartbeat_ms=20");
    story_await_steps(&run, 1, SOON_MS);
    story_view_open(&lives.view, &run);
    storm_begin(&storm, &run, seed + 1);
    storm_kill(&storm, SLOW_KILLS, SLOW_MS);
    storm_end(&storm, "slow");
    story_view_close(&lives.view);
    chaos_finish(&audit, &run, "slow", &rules, LIMIT_MS);
    double again = made_again(&lives, &audit);
    print_message("slow: at most %.0f tokens were made again, %.2f %% of %" PRIu64
                  "; %zu lives of actors\n",
                  again, 100 * again / (double)audit.tokens, audit.tokens, lives.count);
    assert_true(measured);
    assert_int_equal(audit_differences(&faultless, &audit), 0);
    assert_true(again <= 0.02 * (double)audit.tokens);
    audit_free(&audit);
}

/* ---- asynchronous ---- */

static void test_story_chaos_kill_asynchronous_loses_nothing(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    struct audit_rules loose = rules;
    loose.steps = ASYNC_STEPS;
    /* so close that a fast machine is not done with its steps before */
    struct storm storm = {.interval_ms = 20, .learner_percent = 4};
    loose.max_staleness = 2;
    story_start(&run, "async", COMMON "store.max_staleness=2 run.steps=500");
    story_await_steps(&run, 1, SOON_MS);
    storm_begin(&storm, &run, seed + 2);
    storm_kill(&storm, ASYNC_KILLS, STORM_MS);
    storm_end(&storm, "async");
    chaos_finish(&audit, &run, "async", &loose, LIMIT_MS);
    audit_free(&audit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_kill_no_fault_is_the_measure),
        STORY_TEST(test_story_chaos_kill_storm_trains_the_same),
        STORY_TEST(test_story_chaos_kill_every_second_makes_little_again),
        STORY_TEST(test_story_chaos_kill_asynchronous_loses_nothing)};
    story_begin("chaos_kill");
    seed = chaos_seed();
    story_make_model(&(struct story_model){14, false});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    audit_free(&faultless);
    return story_end(failures);
}
