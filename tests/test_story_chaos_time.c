/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 120 */
/* The wall clocks of all processes jump by up to a day, each on its own, again and again, and some are killed
 * meanwhile: nothing but what people read changes. */
#include "tests/chaos_story.h"

enum { STEPS = 150, KILLS = 25, LIMIT_MS = 60000, SOON_MS = 30000 };

#define COMMON                                                                               \
    "run.seed=7 run.steps=150 run.actors=2 run.reward_workers=2 learner.checkpoint_every=2 " \
    "store.max_staleness=0 actor.slots=8 sampling.response_tokens_max=24 optim.lr=1e-5 "

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 24};

static struct audit faultless;
static bool measured;

static void test_story_chaos_time_no_jump_is_the_measure(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "faultless", COMMON);
    chaos_finish(&faultless, &run, "faultless", &rules, LIMIT_MS);
    measured = true;
}

static unsigned count_files(const char *folder)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return count;
}

static void test_story_chaos_time_jumps_change_nothing(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    char marks[FILE_PATH_MAX];
    struct storm storm = {.interval_ms = 100, .learner_percent = 5};
    assert_int_equal(file_make_dirs(story_path(marks, "marks")), STATUS_OK);
    setenv("LD_PRELOAD", BUILD_DIR "/tests/clock_shim.so", 1);
    setenv("WEIR_CLOCK_SHIM_LOG", marks, 1);
    story_start(&run, "jumps", COMMON);
    unsetenv("LD_PRELOAD");
    unsetenv("WEIR_CLOCK_SHIM_LOG");
    story_await_steps(&run, 1, SOON_MS);
    storm_begin(&storm, &run, chaos_seed());
    storm_kill(&storm, KILLS, 3000);
    storm_end(&storm, "jumps");
    chaos_finish(&audit, &run, "jumps", &rules, LIMIT_MS);
    print_message("%u processes with jumping clocks\n", count_files(marks));
    assert_true(count_files(marks) >= 6);
    assert_true(measured);
    assert_int_equal(audit_differences(&faultless, &audit), 0);
    audit_free(&audit);
}

int main(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("SKIPPED: a sanitizer must be loaded first, the clock cannot be replaced\n");
    return 77;
#endif
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_chaos_time_no_jump_is_the_measure),
                                       STORY_TEST(test_story_chaos_time_jumps_change_nothing)};
    story_begin("chaos_time");
    story_make_model(&(struct story_model){14, false});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    audit_free(&faultless);
    return story_end(failures);
}
