/* links: ops reward */
/* label: integration */
/* timeout: 300 */
/* The quickstart recipe learns: mean reward of its first five steps against steps 21 to 25. */
#include "tests/story.h"

enum { STEPS = 25, WINDOW = 5, LIMIT_MS = 280000 };

static double mean_reward(const json_t *lines, size_t first)
{
    double sum = 0;
    for (size_t i = first; i < first + WINDOW; i++)
        sum += story_number(lines, i, "reward/mean");
    return sum / WINDOW;
}

static void test_story_reward_rises_with_the_quickstart_recipe(void **state)
{
    (void)state;
    struct story_run run;
    story_start_recipe(&run, SOURCE_DIR "/examples/recipes/quickstart.yaml", "run", "run.steps=25");
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    double before = mean_reward(lines, 0), after = mean_reward(lines, STEPS - WINDOW);
    print_message("mean reward %.3f -> %.3f\n", before, after);
    /* measured with seeds 1, 2, 3: 0.69..0.71 -> 0.93; without learning both are means of 80 prompts with 16
     * siblings each, whose difference has a standard error of at most 0.07 (siblings all alike) */
    assert_true(after > before + 0.15);
    for (size_t i = 0; i < STEPS; i++)
        assert_true(story_number(lines, i, "mismatch/max_abs_dlogprob") == 0);
    json_decref(lines);
    static char said[1 << 14];
    if (strstr(story_read(run.err, said, sizeof said), "disconnected") != NULL)
        print_message("%s", said);
    assert_null(strstr(said, "disconnected")); /* the last word to Redis comes before its end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_reward_rises_with_the_quickstart_recipe)};
    story_begin("reward_rises");
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
