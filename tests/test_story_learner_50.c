/* links: ops reward */
/* label: integration */
/* timeout: 300 */
/* The learner killed with -9 in, or right after, each of 50 steps, and at each of its named points and those of its
 * checkpoints: the digests of all steps are those of the uninterrupted run, and each step stands once in metrics.jsonl.
 * While the learner is away the actors stay within their bounds. */
#include "tests/story_digests.h"

#include "core/fault.h"

enum { STEPS = 50, LIMIT_MS = 240000, SOON_MS = 60000, INSIDE_MS = 40, ALIVE_MAX = 4 };

static struct story_measure measure = {
    .settings = "run.steps=50 run.seed=7 store.max_staleness=0 store.group_size=4 "
                "store.groups_per_publish=4 "
                "sampling.response_tokens_max=24 learner.checkpoint_every=3",
    .steps = STEPS,
    .limit_ms = LIMIT_MS};

/* ---- each step ---- */

/* Milliseconds until a learner other than `old` runs; it is in /proc as soon as it is forked. */
static int64_t await_new_learner(const struct story_run *run, pid_t old)
{
    int64_t begin_ns = clock_now_ns(), end_ns = story_deadline_ns(SOON_MS);
    for (;;) {
        pid_t pid = story_process(run, "weir-learner", 0);
        if (pid > 0 && pid != old)
            return (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
        assert_true(clock_now_ns() < end_ns);
        clock_sleep_ms(1);
    }
}

static pid_t listed_learner(json_t *status)
{
    size_t i;
    json_t *peer;
    json_array_foreach(json_object_get(status, "peers"), i, peer)
    {
        const char *role = json_string_value(json_object_get(peer, "role"));
        if (role != NULL && strcmp(role, "learner") == 0)
            return (pid_t)json_integer_value(json_object_get(peer, "pid"));
    }
    return 0;
}

/* Milliseconds until another learner than `old` has loaded its weights and said hello to the store. */
static int64_t await_welcomed(struct story_view *view, pid_t old)
{
    int64_t begin_ns = clock_now_ns(), end_ns = story_deadline_ns(SOON_MS);
    for (pid_t pid = 0; pid == 0 || pid == old;) {
        json_t *status = story_status(view, 1000);
        pid = status != NULL ? listed_learner(status) : 0;
        json_decref(status);
        assert_true(clock_now_ns() < end_ns);
        clock_sleep_ms(1);
    }
    return (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
}

/* Groups that are born and not trained: with staleness 0 never more than those of one version. */
static void check_bounds(struct story_view *view, uint64_t *most)
{
    json_t *status = story_status(view, 1000);
    if (status == NULL)
        return;
    uint64_t alive =
        story_counter(status, "groups_open") + story_counter(status, "groups_eligible");
    *most = alive > *most ? alive : *most;
    json_decref(status);
}

static void test_story_learner_killed_in_each_of_50_steps_ends_with_same_digests(void **state)
{
    (void)state;
    struct story_run run;
    struct story_view view;
    uint64_t most = 0;
    int64_t back_ms = 0;
    unsigned inside = 0;
    story_uninterrupted(&measure);
    story_start(&run, "each", measure.settings);
    story_view_open(&view, &run);
    await_new_learner(&run, 0);
    for (size_t step = 0; step < STEPS; step++) {
        story_await_steps(&run, step, SOON_MS);
        if (step % 2 == 0) { /* somewhere in the next step; else right after this one */
            clock_sleep_ms(story_draw(INSIDE_MS));
            inside++;
        }
        pid_t pid = story_process(&run, "weir-learner", 0);
        assert_true(pid > 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        back_ms += await_welcomed(&view, pid);
        check_bounds(&view, &most);
    }
    story_view_close(&view);
    story_check_end(&run, &measure);
    print_message("seed %llu: killed %d times, %u of them within a step; the next one had its "
                  "weights and the store after %.0f ms (mean); at most %llu groups waited\n",
                  (unsigned long long)story_seed, STEPS, inside, (double)back_ms / STEPS,
                  (unsigned long long)most);
    assert_true(most <= ALIVE_MAX);
}

/* ---- each point ---- */

/* All learner.* and checkpoint.* points are armed in one run, each fires once: at its n-th pass in a process. */
static void arm(char *text, size_t size, unsigned *count)
{
    static const char *const points[] = {
#define POINT(name, what) name,
        FAULT_POINTS(POINT)
#undef POINT
    };
    *count = 0;
    text[0] = 0;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        size_t used = strlen(text);
        if (strncmp(points[i], "learner.", 8) != 0 && strncmp(points[i], "checkpoint.", 11) != 0)
            continue;
        snprintf(text + used, size - used, "%s%s:%u=kill", used > 0 ? "," : "", points[i],
                 1 + story_draw(strncmp(points[i], "learner.", 8) == 0 ? 4 : 1));
        (*count)++;
    }
}

static unsigned count_fired(const char *folder)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return count;
}

static void test_story_learner_killed_at_each_point_ends_with_same_digests(void **state)
{
    (void)state;
    struct story_run run;
    char once[FILE_PATH_MAX], faults[2048];
    unsigned armed = 0;
    story_uninterrupted(&measure);
    arm(faults, sizeof faults, &armed);
    assert_int_equal(file_make_dirs(story_path(once, "once")), STATUS_OK);
    print_message("seed %llu: %s\n", (unsigned long long)story_seed, faults);
    setenv("WEIR_FAULT", faults, 1);
    setenv("WEIR_FAULT_ROLE", "learner.0", 1);
    setenv("WEIR_FAULT_ONCE", once, 1);
    story_start(&run, "points", measure.settings);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
    unsetenv("WEIR_FAULT_ONCE");
    story_check_end(&run, &measure);
    print_message("%u points armed, %u fired\n", armed, count_fired(once));
    assert_true(armed >= 10);
    assert_int_equal(count_fired(once), armed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_learner_killed_in_each_of_50_steps_ends_with_same_digests),
        STORY_TEST(test_story_learner_killed_at_each_point_ends_with_same_digests)};
    story_take_seed();
    story_begin("learner_50");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
