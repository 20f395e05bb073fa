/* links: ops reward rollout_store */
/* label: chaos */
/* timeout: 300 */
/* Everything at once: kill -9, SIGSTOP for a while, a disk that is slow and full now and then, snapshots, wall clocks
 * that jump, weights by TCP; rollouts end by themselves and groups of equal rewards are replaced. And short runs that
 * are under fire from the first process to the last. */
#include "tests/chaos_story.h"

enum {
    STEPS = 300 / CHAOS_SLOW,
    EVENTS = 250 / CHAOS_SLOW,
    STORM_MS = 40000,
    LIMIT_MS = 120000,
    SOON_MS = 30000,
    SHORT_STEPS = 15,
    SHORT_RUNS = 12 / CHAOS_SLOW
};

#define COMMON                                                                                    \
    "run.seed=9 run.actors=3 run.reward_workers=2 learner.checkpoint_every=3 store.group_size=4 " \
    "store.groups_per_publish=4 actor.slots=8 sampling.response_tokens_max=40 optim.lr=1e-5 "     \
    "store.max_staleness=0 "

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 40};

static uint64_t seed;
static struct audit faultless;
static bool measured;

/* ---- stops between the kills ---- */

enum { STOPPED_MAX = 8 };

struct stops {
    struct story_run *run;
    struct rng rng;
    pid_t pid[STOPPED_MAX];
    int64_t until_ns[STOPPED_MAX];
    int64_t next_ns;
    unsigned count;
};

/* Stops somebody twice a second, for 50 to 900 ms. */
static void stop_some(void *self)
{
    struct stops *stops = self;
    struct chaos_process found[CHAOS_PROCESSES];
    int64_t now_ns = clock_now_ns();
    int free_slot = -1;
    for (int i = 0; i < STOPPED_MAX; i++) {
        if (stops->pid[i] > 0 && now_ns >= stops->until_ns[i]) {
            kill(stops->pid[i], SIGCONT);
            stops->pid[i] = 0;
        }
        free_slot = stops->pid[i] == 0 ? i : free_slot;
    }
    if (free_slot < 0 || now_ns < stops->next_ns)
        return;
    stops->next_ns = now_ns + (int64_t)rng_below(&stops->rng, 1000) * CLOCK_NS_PER_MS;
    unsigned count = chaos_children(stops->run->pid, found);
    if (count == 0)
        return;
    pid_t pid = found[rng_below(&stops->rng, count)].pid;
    if (kill(pid, SIGSTOP) != 0)
        return;
    stops->pid[free_slot] = pid;
    stops->until_ns[free_slot] = now_ns + (50 + rng_below(&stops->rng, 850)) * CLOCK_NS_PER_MS;
    stops->count++;
}

static void continue_all(const struct stops *stops)
{
    for (int i = 0; i < STOPPED_MAX; i++)
        if (stops->pid[i] > 0)
            kill(stops->pid[i], SIGCONT);
}

/* ---- stories ---- */

static void test_story_chaos_mix_no_fault_is_the_measure(void **state)
{
    (void)state;
    struct story_run run;
    char settings[600];
    snprintf(settings, sizeof settings, COMMON "run.steps=%d", STEPS);
    story_start(&run, "faultless", settings);
    chaos_finish(&faultless, &run, "faultless", &rules, LIMIT_MS);
    measured = true;
}

static void set_weather(void)
{
    setenv("WEIR_FAULT",
           "ledger.appended:~150=sleep.20-400,ledger.write:~100=fail,ledger.due:~100=fail", 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    setenv("LD_PRELOAD", BUILD_DIR "/tests/clock_shim.so", 1);
#endif
}

static void clear_weather(void)
{
    unsetenv("WEIR_FAULT");
    unsetenv("LD_PRELOAD");
}

static void test_story_chaos_mix_of_everything_trains_the_same(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    struct stops stops = {.run = &run};
    struct storm storm = {.interval_ms = 100 * CHAOS_SLOW,
                          .learner_percent = 5,
                          .meanwhile = stop_some,
                          .self = &stops};
    char settings[600];
    snprintf(settings, sizeof settings, COMMON "run.steps=%d weights.channel=tcp", STEPS);
    rng_init(&stops.rng, seed, 3, RNG_TEST);
    set_weather();
    story_start(&run, "mix", settings);
    clear_weather();
    story_await_steps(&run, 1, SOON_MS);
    storm_begin(&storm, &run, seed);
    storm_kill(&storm, EVENTS, STORM_MS);
    continue_all(&stops);
    storm_end(&storm, "mix");
    print_message("%u times somebody was stopped for a while\n", stops.count);
    chaos_finish(&audit, &run, "mix", &rules, LIMIT_MS);
    assert_true(measured);
    assert_int_equal(audit_differences(&faultless, &audit), 0);
    audit_free(&audit);
}

static void test_story_chaos_mix_kills_to_the_end_still_end_well(void **state)
{
    (void)state;
    struct audit_rules few = rules;
    unsigned kills = 0;
    few.steps = SHORT_STEPS;
    for (unsigned i = 0; i < SHORT_RUNS; i++) {
        char name[32];
        struct story_run run;
        struct audit audit;
        struct storm storm = {.interval_ms = 60 * CHAOS_SLOW, .learner_percent = 5};
        snprintf(name, sizeof name, "short%u", i);
        story_start(&run, name, COMMON "run.steps=15");
        storm_begin(&storm, &run, seed + 100 + i);
        storm_kill(&storm, 2000, STORM_MS);
        storm_end(&storm, name);
        chaos_finish(&audit, &run, name, &few, LIMIT_MS);
        audit_free(&audit);
        kills += storm.kills;
    }
    print_message("%u kills over %u whole runs\n", kills, SHORT_RUNS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_mix_no_fault_is_the_measure),
        STORY_TEST(test_story_chaos_mix_of_everything_trains_the_same),
        STORY_TEST(test_story_chaos_mix_kills_to_the_end_still_end_well)};
    story_begin("chaos_mix");
    seed = chaos_seed();
    story_make_model(&(struct story_model){14, true});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    audit_free(&faultless);
    return story_end(failures);
}
