/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 600 */
/* A process is killed, or stopped for a while, or stopped for good, at every named point of core/fault.h: the run
 * finishes, the ledger is sound and every step has the digest of the run without a fault. TEST_POINT=name runs one
 * point alone. */
#include "tests/chaos_story.h"

#include "core/fault.h"

enum { STEPS = 6, LIMIT_MS = 60000, SOON_MS = 20000, NAP_MS = 350 };

#define COMMON                                                                             \
    "run.seed=7 run.steps=6 run.actors=2 run.reward_workers=2 learner.checkpoint_every=2 " \
    "store.max_staleness=0 actor.slots=8 sampling.response_tokens_max=24 optim.lr=1e-5 "   \
    "store.lease_ms=500 store.heartbeat_ms=100 "

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 24};

static const char *const points[] = {
#define POINT(name, what) name,
    FAULT_POINTS(POINT)
#undef POINT
};
enum { POINTS = sizeof points / sizeof points[0] };

static struct audit faultless;
static bool measured;

/* The pass at which a point acts: late enough that work is lost, early enough that it comes. */
static unsigned pass_of(const char *point)
{
    static const struct {
        const char *prefix;
        unsigned pass;
    } rows[] = {{"checkpoint.", 2}, {"ledger.rotated", 1}, {"ledger.snapshot", 1}, {"ledger.", 25},
                {"store.sent", 25}, {"store.loaded", 1},   {"index.", 1},          {"learner.", 2},
                {"weights.", 2},    {"actor.swapped", 2},  {"actor.granted", 2},   {"actor.", 5},
                {"reward.", 3},     {"eval.", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strncmp(point, rows[i].prefix, strlen(rows[i].prefix)) == 0)
            return rows[i].pass;
    return 1;
}

/* Settings under which the point is passed at all. */
static const char *settings_of(const char *point)
{
    if (strncmp(point, "weights.tcp", 11) == 0)
        return COMMON "weights.channel=tcp ";
    if (strncmp(point, "eval.", 5) == 0)
        return COMMON "eval.every=2 eval.sets=a=examples/addition/train.jsonl eval.limit=4 "
                      "eval.samples=2 eval.queue=9 ";
    return COMMON;
}

struct marks {
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
};

static void arm(struct marks *marks, const char *name, const char *point, const char *action)
{
    char text[160];
    story_path(marks->folder, name);
    snprintf(text, sizeof text, "%s/%s", name, point);
    story_path(marks->path, text);
    assert_int_equal(file_make_dirs(marks->folder), STATUS_OK);
    bool of_snapshot =
        strcmp(point, "ledger.rotated") == 0 || strcmp(point, "ledger.snapshot") == 0;
    snprintf(text, sizeof text, "%s:%u=%s%s", point, pass_of(point), action,
             of_snapshot ? ",ledger.due:20=fail" : "");
    setenv("WEIR_FAULT", text, 1);
    setenv("WEIR_FAULT_ONCE", marks->folder, 1);
}

static void disarm(void)
{
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ONCE");
}

/* Who stands in the mark; 0: nobody acted yet. */
static pid_t marked(const struct marks *marks, char text[64])
{
    long pid = 0;
    story_read(marks->path, text, 64);
    text[strcspn(text, "\n")] = 0;
    const char *blank = strchr(text, ' ');
    if (blank != NULL)
        pid = strtol(blank, NULL, 10);
    return (pid_t)pid;
}

static bool has_ended(const struct story_run *run)
{
    siginfo_t ended = {0};
    waitid(P_PID, (id_t)run->pid, &ended, WEXITED | WNOHANG | WNOWAIT);
    return ended.si_pid != 0;
}

/* The process that acted, 0 when the run ended before anybody did. */
static pid_t await_mark(const struct story_run *run, const struct marks *marks)
{
    char text[64];
    int64_t end_ns = story_deadline_ns(LIMIT_MS);
    while (clock_now_ns() < end_ns) {
        bool over = has_ended(run);
        pid_t pid = marked(marks, text);
        if (pid > 0 || over)
            return pid;
        clock_sleep_ms(2);
    }
    return 0;
}

static int64_t since_ms(int64_t begin_ns)
{
    return (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
}

/* The point of a start is to be passed by a store that has something to load. */
static void start(struct story_run *run, struct marks *marks, const char *name, const char *point,
                  const char *action, const char *more)
{
    char settings[1000];
    bool at_start = strcmp(point, "store.loaded") == 0;
    snprintf(settings, sizeof settings, "%s%s", settings_of(point), more);
    arm(marks, name, point, action);
    if (at_start)
        story_write(marks->path, "wait\n");
    story_start(run, name, settings);
    if (at_start) {
        story_await_steps(run, 2, SOON_MS);
        assert_int_equal(unlink(marks->path), 0);
        kill(story_process(run, "weir-store", 0), SIGKILL);
    }
    disarm();
}

/* false: something is wrong and was printed; the other points still have their turn. */
static bool finish(struct story_run *run, const struct marks *marks, const char *what,
                   const char *point)
{
    char who[64];
    struct audit audit;
    int64_t begin_ns = clock_now_ns();
    int code = story_wait(run, LIMIT_MS);
    pid_t pid = marked(marks, who);
    assert_true(measured);
    if (code == 0)
        audit_run(&audit, run->path, &rules);
    else
        audit = (struct audit){.rules = rules};
    uint64_t differences = code == 0 ? audit_differences(&faultless, &audit) : 0;
    bool good = code == 0 && pid > 0 && audit.violations == 0 && audit.dropped_lost == 0 &&
                differences == 0;
    print_message("%s at %s: %s; exit %d after %lld ms, %" PRIu64 " violations, %" PRIu64
                  " lost, %" PRIu64 " differences%s\n",
                  what, point, pid > 0 ? who : "NOBODY PASSED IT", code,
                  (long long)since_ms(begin_ns), audit.violations, audit.dropped_lost, differences,
                  good ? "" : "  <-- WRONG");
    audit_free(&audit);
    if (run->pid != 0)
        story_kill_all();
    return good;
}

static bool is_wanted(const char *point)
{
    const char *only = getenv("TEST_POINT");
    return only == NULL || strcmp(only, point) == 0;
}

static void test_story_chaos_points_no_fault_is_the_measure(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "faultless", COMMON);
    chaos_finish(&faultless, &run, "faultless", &rules, LIMIT_MS);
    measured = true;
}

static void test_story_chaos_points_killed_at_each_trains_the_same(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < POINTS; i++) {
        struct story_run run;
        struct marks marks;
        char name[32];
        if (!is_wanted(points[i]))
            continue;
        snprintf(name, sizeof name, "kill%zu", i);
        start(&run, &marks, name, points[i], "kill", "");
        wrong += !finish(&run, &marks, "killed", points[i]);
    }
    assert_int_equal(wrong, 0);
}

static void test_story_chaos_points_stopped_at_each_trains_the_same(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < POINTS; i++) {
        struct story_run run;
        struct marks marks;
        char name[32];
        if (!is_wanted(points[i]))
            continue;
        snprintf(name, sizeof name, "stop%zu", i);
        start(&run, &marks, name, points[i], "stop", "");
        pid_t pid = await_mark(&run, &marks);
        clock_sleep_ms(NAP_MS);
        if (pid > 0)
            kill(pid, SIGCONT);
        wrong += !finish(&run, &marks, "stopped", points[i]);
    }
    assert_int_equal(wrong, 0);
}

/* Nobody continues it: the supervisor does away with it. */
static void test_story_chaos_points_stopped_for_good_trains_the_same(void **state)
{
    (void)state;
    static const char *const some[] = {"ledger.appended", "actor.framed",     "reward.scored",
                                       "learner.updated", "checkpoint.model", "eval.answered"};
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        struct story_run run;
        struct marks marks;
        char name[32];
        if (!is_wanted(some[i]))
            continue;
        snprintf(name, sizeof name, "gone%zu", i);
        start(&run, &marks, name, some[i], "stop", "run.stopped_s=1");
        wrong += !finish(&run, &marks, "stopped for good", some[i]);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_points_no_fault_is_the_measure),
        STORY_TEST(test_story_chaos_points_killed_at_each_trains_the_same),
        STORY_TEST(test_story_chaos_points_stopped_at_each_trains_the_same),
        STORY_TEST(test_story_chaos_points_stopped_for_good_trains_the_same)};
    story_begin("chaos_points");
    story_make_model(&(struct story_model){14, false});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    audit_free(&faultless);
    return story_end(failures);
}
