/* links: ops reward rollout_store */
/* label: soak */
/* timeout: 3000 */
/* Half an hour of kills (WEIR_SOAK_MINUTES): storms of 1,000 kill -9 over run after run, at other paces, synchronous
 * and asynchronous, with weights in shared memory and by TCP. Synchronous ones train what the run without a kill
 * trains, asynchronous ones pass the audit. TEST_SEED repeats a whole sequence. */
#include "tests/chaos_story.h"

enum { STEPS = 900, KILLS = 1000, STORM_MS = 120000, LIMIT_MS = 240000, SOON_MS = 30000 };

#define COMMON                                                                               \
    "run.seed=7 run.steps=900 run.actors=4 run.reward_workers=2 learner.checkpoint_every=2 " \
    "store.group_size=4 store.groups_per_publish=4 actor.slots=8 optim.lr=1e-5 "             \
    "sampling.response_tokens_max=32 "

static struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 32};

static uint64_t seed;
static struct audit faultless;

static unsigned storm_once(unsigned round, struct rng *rng)
{
    struct story_run run;
    struct audit audit;
    char name[32], settings[600];
    unsigned staleness = rng_below(rng, 3) == 0 ? 1 + rng_below(rng, 3) : 0;
    bool tcp = rng_below(rng, 3) == 0;
    struct storm storm = {.interval_ms = 20 + rng_below(rng, 60), .learner_percent = 4};
    snprintf(name, sizeof name, "storm%u", round);
    snprintf(settings, sizeof settings, COMMON "store.max_staleness=%u%s", staleness,
             tcp ? " weights.channel=tcp" : "");
    setenv("WEIR_FAULT", "ledger.due:~300=fail", 1);
    story_start(&run, name, settings);
    unsetenv("WEIR_FAULT");
    storm_begin(&storm, &run, seed + round);
    storm_kill(&storm, KILLS, STORM_MS);
    storm_end(&storm, name);
    rules.max_staleness = staleness;
    chaos_finish(&audit, &run, name, &rules, LIMIT_MS);
    if (staleness == 0)
        assert_int_equal(audit_differences(&faultless, &audit), 0);
    audit_free(&audit);
    assert_int_equal(file_remove_tree(run.path), STATUS_OK);
    return storm.kills;
}

static void test_soak_chaos_kill_half_an_hour_of_storms(void **state)
{
    (void)state;
    struct story_run run;
    struct rng rng;
    const char *given = getenv("WEIR_SOAK_MINUTES");
    int64_t minutes = given != NULL ? strtol(given, NULL, 10) : 30;
    int64_t end_ns = story_deadline_ns(minutes * 60000);
    unsigned kills = 0, round = 0;
    rng_init(&rng, seed, 4, RNG_TEST);
    story_start(&run, "faultless", COMMON "store.max_staleness=0");
    chaos_finish(&faultless, &run, "faultless", &rules, LIMIT_MS);
    for (; round == 0 || clock_now_ns() < end_ns; round++)
        kills += storm_once(round, &rng);
    print_message("%u kills over %u runs\n", kills, round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_soak_chaos_kill_half_an_hour_of_storms)};
    const char *soak = getenv("WEIR_SOAK");
    if (soak == NULL || strcmp(soak, "1") != 0) {
        print_message("SKIPPED: half an hour of kills, with WEIR_SOAK=1 (ops/test --soak)\n");
        return 77;
    }
    story_begin("soak_chaos_kill");
    seed = chaos_seed();
    story_make_model(&(struct story_model){14, false});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    audit_free(&faultless);
    return story_end(failures);
}
