/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* Synchronous mode is a function of its seed: same digests step by step, whatever the two actors and the
 * scheduler do. */
#include "tests/story.h"

enum { STEPS = 8, LIMIT_MS = 40000 };

static json_t *run_with_seed(const char *name, int seed)
{
    struct story_run run;
    char settings[200];
    snprintf(settings, sizeof settings, "run.steps=%d store.max_staleness=0 run.seed=%d", STEPS,
             seed);
    story_run_whole(&run, name, settings, LIMIT_MS);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    return lines;
}

/* A run that trains nothing would pass, too. */
static void assert_trains(const json_t *lines)
{
    for (size_t i = 0; i < STEPS; i++)
        assert_true(story_number(lines, i, "optim/grad_norm") > 0);
    for (size_t i = 1; i < STEPS; i++)
        assert_string_not_equal(story_digest(lines, i), story_digest(lines, i - 1));
}

static void test_story_sync_same_seed_gives_same_digests(void **state)
{
    (void)state;
    json_t *first = run_with_seed("first", 11), *second = run_with_seed("second", 11);
    assert_trains(first);
    story_assert_same_digests(first, second);
    print_message("%d steps, last digest %s twice\n", STEPS, story_digest(first, STEPS - 1));
    json_t *other = run_with_seed("other", 12);
    for (size_t i = 0; i < STEPS; i++)
        assert_string_not_equal(story_digest(first, i), story_digest(other, i));
    json_decref(first);
    json_decref(second);
    json_decref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_sync_same_seed_gives_same_digests)};
    story_begin("sync_determinism");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
