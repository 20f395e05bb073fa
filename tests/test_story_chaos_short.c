/* links: ops reward rollout_store */
/* label: chaos */
/* timeout: 200 */
/* A short storm for builds with sanitizers: kill -9 and SIGSTOP over all roles of an asynchronous run, which then goes on
 * and stops well when it is asked to. The ledger holds what it should, and no process has reported an error of memory,
 * a race, undefined behaviour or a leak. */
#include "tests/chaos_story.h"

enum {
    KILLS = 40,
    STOPS = 10,
    INTERVAL_MS = 600,
    STORM_MS = 60000,
    SOON_MS = 30000 * CHAOS_SLOW,
    LIMIT_MS = 40000 * CHAOS_SLOW,
    MORE_STEPS = 3
};

static const char *const settings =
    "run.seed=5 run.steps=1000000 run.actors=4 run.reward_workers=2 learner.checkpoint_every=3 "
    "store.group_size=4 store.groups_per_publish=4 store.max_staleness=2 actor.slots=8 "
    "sampling.response_tokens_max=24 optim.lr=1e-5";

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .max_staleness = 2, .response_max = 24};

/* ---- stops ---- */

struct stops {
    struct story_run *run;
    struct rng rng;
    pid_t pid; /* 0: nobody is stopped */
    int64_t until_ns, next_ns;
    unsigned count;
};

/* One at a time: stopped for 50 to 900 ms, then the next within 4 s. */
static void stop_some(void *self)
{
    struct stops *stops = self;
    struct chaos_process found[CHAOS_PROCESSES];
    int64_t now_ns = clock_now_ns();
    if (stops->pid > 0 && now_ns >= stops->until_ns) {
        kill(stops->pid, SIGCONT);
        stops->pid = 0;
        stops->next_ns = now_ns + (int64_t)rng_below(&stops->rng, 4000) * CLOCK_NS_PER_MS;
    }
    if (stops->pid > 0 || now_ns < stops->next_ns || stops->count == STOPS)
        return;
    unsigned count = chaos_children(stops->run->pid, found);
    pid_t pid = count > 0 ? found[rng_below(&stops->rng, count)].pid : 0;
    if (pid == 0 || kill(pid, SIGSTOP) != 0)
        return;
    stops->pid = pid;
    stops->until_ns = now_ns + (50 + rng_below(&stops->rng, 850)) * CLOCK_NS_PER_MS;
    stops->count++;
}

/* ---- what sanitizers say ---- */

static const char *const reports[] = {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
                                      "WARNING: ThreadSanitizer", "FATAL: ThreadSanitizer",
                                      "runtime error:"};

/* Lines of a file that are one of a sanitizer's; the first ones are printed with what follows. */
static unsigned reports_in(const char *path)
{
    enum { SHOWN = 25 };
    char *line = NULL;
    size_t room = 0;
    unsigned found = 0, shown = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (getline(&line, &room, file) > 0) {
        bool is = false;
        for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++)
            is |= strstr(line, reports[i]) != NULL;
        found += is;
        if (found > 0 && shown++ < SHOWN)
            print_message("%s: %s", path, line);
    }
    free(line); /* lint: allow(free): getline's */
    fclose(file);
    return found;
}

/* In all logs of the run. */
static unsigned reports_of(const struct story_run *run, unsigned *files)
{
    char logs[FILE_PATH_MAX], path[FILE_PATH_MAX];
    unsigned found = reports_in(run->err);
    assert_int_equal(file_path(logs, "%s/logs/latest", run->path), STATUS_OK);
    DIR *dir = opendir(logs);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        assert_int_equal(file_path(path, "%s/%s", logs, entry->d_name), STATUS_OK);
        found += reports_in(path);
        *files += 1;
    }
    closedir(dir);
    return found;
}

static void test_story_chaos_short_no_sanitizer_reports_anything(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    uint64_t seed = chaos_seed();
    unsigned files = 0;
    struct stops stops = {.run = &run};
    struct storm storm = {
        .interval_ms = INTERVAL_MS, .learner_percent = 10, .meanwhile = stop_some, .self = &stops};
    rng_init(&stops.rng, seed, 2, RNG_TEST);
    story_start(&run, "short", settings);
    story_await_steps(&run, 1, SOON_MS);
    storm_begin(&storm, &run, seed);
    storm_kill(&storm, KILLS, STORM_MS);
    if (stops.pid > 0)
        kill(stops.pid, SIGCONT);
    storm_end(&storm, "short");
    story_await_steps(&run, story_steps(&run) + MORE_STEPS, SOON_MS);
    assert_int_equal(kill(run.pid, SIGINT), 0);
    chaos_finish(&audit, &run, "short", &rules, LIMIT_MS);
    unsigned found = reports_of(&run, &files);
    print_message("%u kills, %u stops; %u logs, %u reports of sanitizers\n", storm.kills,
                  stops.count, files, found);
    assert_true(storm.kills >= KILLS * 3 / 4);
    assert_true(files >= 8); /* store, 4 actors, 2 reward workers, learner */
    assert_int_equal(found, 0);
    assert_true(audit.trained > 0);
    audit_free(&audit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_short_no_sanitizer_reports_anything)};
    story_begin("chaos_short");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
