/* links: ops reward */
/* label: integration */
/* timeout: 240 */
/* The same reward as a shared object, as a Python function whose process dies again and again, and as a recipe that
 * also reads whole groups: the same run, digest by digest. */
#include "tests/python_case.h"
#include "tests/story.h"

enum { STEPS = 5, LIMIT_MS = 60000 };

static json_t *run_with(const char *name, const char *reward)
{
    struct story_run run;
    char settings[2000];
    snprintf(settings, sizeof settings, "run.steps=%d store.max_staleness=0 run.seed=11 %s", STEPS,
             reward);
    story_run_whole(&run, name, settings, LIMIT_MS);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    return lines;
}

static void write_recipe(char path[FILE_PATH_MAX])
{
    story_path(path, "reward.yaml");
    story_write(path, "parts:\n"
                      "  - {name: share, plugin: " BUILD_DIR "/tests/plugins/share.so}\n"
                      "  - {name: again, plugin: \"" SOURCE_DIR
                      "/tests/python_rewards/share.py:compute_score\", weight: 0}\n"
                      "  - {name: rank, plugin: " BUILD_DIR "/tests/plugins/groups.so, weight: 0}\n"
                      "verified: share\n");
}

static void test_story_python_reward_runs_are_the_same(void **state)
{
    (void)state;
    char recipe[FILE_PATH_MAX], settings[FILE_PATH_MAX + 32];
    json_t *first = run_with("object", "");
    json_t *python =
        run_with("python", "reward.plugin=" SOURCE_DIR "/tests/python_rewards/share.py:dies_often "
                           "reward.threads=2");
    story_assert_same_digests(first, python);
    write_recipe(recipe);
    snprintf(settings, sizeof settings, "reward.plugin=%s", recipe);
    json_t *composed = run_with("recipe", settings);
    story_assert_same_digests(first, composed);
    for (size_t i = 0; i < STEPS; i++)
        assert_true(story_number(first, i, "optim/grad_norm") > 0);
    json_decref(first);
    json_decref(python);
    json_decref(composed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_python_reward_runs_are_the_same)};
    if (!python_is_here())
        return 77;
    story_begin("python_reward");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
