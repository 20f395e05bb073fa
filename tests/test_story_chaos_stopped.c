/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 200 */
/* The learner is stopped for 20 s (a minute with WEIR_SOAK=1): actors fill what admission allows and then wait, the
 * memory of nobody grows, and when the learner goes on, so does the run. */
#include "tests/chaos_story.h"

enum {
    STEPS = 40,
    GROUPS = 4,
    STALENESS = 2,
    LIMIT_MS = 90000,
    SOON_MS = 30000,
    GROWTH_KB = 64 << 10,
    ACTORS = 2
};

static const struct audit_rules rules = {.group_size = 4,
                                         .groups_per_publish = GROUPS,
                                         .steps = STEPS,
                                         .max_staleness = STALENESS,
                                         .response_max = 400};

static long resident_kb(pid_t pid)
{
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    const char *line = strstr(story_read(path, text, sizeof text), "VmRSS:");
    return line != NULL ? strtol(line + 6, NULL, 10) : 0;
}

struct sizes {
    pid_t pid[1 + ACTORS];
    long begin[1 + ACTORS], most[1 + ACTORS];
};

static void look(struct sizes *sizes)
{
    for (size_t i = 0; i < 1 + ACTORS; i++) {
        long kb = resident_kb(sizes->pid[i]);
        if (sizes->begin[i] == 0)
            sizes->begin[i] = kb;
        sizes->most[i] = kb > sizes->most[i] ? kb : sizes->most[i];
    }
}

static uint64_t read_counter(struct story_view *view, const char *name)
{
    json_t *status = story_status(view, 5000);
    assert_non_null(status);
    uint64_t value = story_counter(status, name);
    json_decref(status);
    return value;
}

/* Groups fill up to what is allowed and not beyond. */
static uint64_t wait_stopped(struct story_view *view, struct sizes *sizes, int64_t for_ms)
{
    uint64_t most = 0;
    for (int64_t end_ns = story_deadline_ns(for_ms); clock_now_ns() < end_ns;) {
        look(sizes);
        uint64_t alive = read_counter(view, "groups_open") + read_counter(view, "groups_eligible");
        most = alive > most ? alive : most;
        clock_sleep_ms(100);
    }
    return most;
}

static void assert_slim(const struct sizes *sizes)
{
    static const char *const names[1 + ACTORS] = {"store", "actor 0", "actor 1"};
    for (size_t i = 0; i < 1 + ACTORS; i++) {
        print_message("%s: %ld kB when the learner was stopped, at most %ld kB later\n", names[i],
                      sizes->begin[i], sizes->most[i]);
        assert_true(sizes->begin[i] > 0);
        assert_true(sizes->most[i] - sizes->begin[i] <= GROWTH_KB);
    }
}

static void test_story_chaos_stopped_learner_stops_admission_not_memory(void **state)
{
    (void)state;
    struct story_run run;
    struct story_view view;
    struct audit audit;
    struct sizes sizes = {0};
    const char *soak = getenv("WEIR_SOAK");
    int64_t for_ms = soak != NULL && strcmp(soak, "1") == 0 ? 60000 : 20000;
    story_start(&run, "run",
                "run.steps=40 run.stopped_s=600 store.max_staleness=2 store.dynamic_sampling=false "
                "actor.segment_tokens=64 sampling.response_tokens_max=400 optim.lr=1e-5");
    story_await_steps(&run, 5, SOON_MS);
    story_view_open(&view, &run);
    pid_t learner = story_process(&run, "weir-learner", 0);
    sizes.pid[0] = story_process(&run, "weir-store", 0);
    for (unsigned i = 0; i < ACTORS; i++)
        sizes.pid[1 + i] = story_process(&run, "weir-actor", i);
    assert_true(learner > 0);
    assert_int_equal(kill(learner, SIGSTOP), 0);
    uint64_t tokens = read_counter(&view, "tokens");
    uint64_t most = wait_stopped(&view, &sizes, for_ms);
    uint64_t eligible = read_counter(&view, "groups_eligible"), version;
    uint64_t more = read_counter(&view, "tokens") - tokens;
    version = read_counter(&view, "version");
    assert_int_equal(kill(learner, SIGCONT), 0);
    int64_t begin_ns = clock_now_ns();
    while (read_counter(&view, "version") == version &&
           clock_now_ns() - begin_ns < (int64_t)SOON_MS * CLOCK_NS_PER_MS)
        clock_sleep_ms(STORY_PAUSE_MS);
    print_message("stopped for %lld ms: %" PRIu64 " tokens more, %" PRIu64
                  " groups wait, at most %" PRIu64 " alive; next version %lld ms after SIGCONT\n",
                  (long long)for_ms, more, eligible, most,
                  (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS));
    story_view_close(&view);
    assert_slim(&sizes);
    /* The plan in training left the bound when it was made: another (s + 1) P may stand behind it. */
    assert_true(more > 0);
    assert_true(most <= (STALENESS + 1) * GROUPS);
    assert_true(eligible > 0 && eligible <= (STALENESS + 1) * GROUPS);
    chaos_finish(&audit, &run, "stopped", &rules, LIMIT_MS);
    audit_free(&audit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_stopped_learner_stops_admission_not_memory)};
    story_begin("chaos_stopped");
    story_make_model(&(struct story_model){14, false});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
