/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 180 */
/* The gsm8k recipe over rows in the published shape, with a random model that never answers: every rollout is
 * scored and accounted for; with dynamic sampling the run stops and says why. WEIR_TEST_DATA names a folder with
 * the real gsm8k/train.jsonl; without it that case is skipped. */
#include "tests/chaos_ledger.h"
#include "tests/story.h"

enum { STEPS = 3, GROUP = 4, GROUPS = 4, ROWS = 16, LIMIT_MS = 60000 };

static const char *const recipe = SOURCE_DIR "/examples/recipes/gsm8k.yaml";
/* more than one publish's groups stay open, so a run accounts for more rollouts than it trains */
static const char *const small =
    "run.steps=3 model.tokenizer=byte model.path=%s/model data.train=%s store.group_size=4 "
    "store.groups_per_publish=4 sampling.response_tokens_max=32 redis.mode=off "
    "actor.segment_ms=20 data.prompt_tokens_max=1400 %s";

static const struct audit_rules rules = {.group_size = GROUP,
                                         .groups_per_publish = GROUPS,
                                         .steps = STEPS,
                                         .max_staleness = UINT64_MAX,
                                         .response_max = 32};

/* In the published shape; the numbers are ours. */
static void write_rows(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < ROWS; i++) {
        int boxes = 2 + i, each = 3 + i % 5, eaten = 1 + i % 3, left = boxes * each - eaten;
        fprintf(file,
                "{\"id\": \"made-%d\", \"question\": \"A shop has %d boxes with %d pears each. "
                "%d pears are eaten. How many are left\\u2019 over?\", \"answer\": \"There are "
                "%d * %d = <<%d*%d=%d>>%d pears.\\n%d - %d = <<%d-%d=%d>>%d are left.\\n#### %d\", "
                "\"final\": \"%d\"}\n",
                i, boxes, each, eaten, boxes, each, boxes, each, boxes * each, boxes * each,
                boxes * each, eaten, boxes * each, eaten, left, left, left, left);
    }
    assert_int_equal(fclose(file), 0);
}

static void start(struct story_run *run, const char *name, const char *data, const char *more)
{
    char settings[4000];
    snprintf(settings, sizeof settings, small, story_folder, data, more);
    story_start_recipe(run, recipe, name, settings);
}

static void run_three_steps(const char *name, const char *data)
{
    struct story_run run;
    start(&run, name, data, "store.dynamic_sampling=false");
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    struct audit audit;
    audit_run(&audit, run.path, &rules);
    audit_print(name, &audit);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    double rollouts = 0;
    for (size_t i = 0; i < STEPS; i++) {
        rollouts += story_number(lines, i, "train/rollouts");
        assert_true(story_number(lines, i, "train/tokens") > 0);
        assert_true(story_number(lines, i, "reward/mean") == 0); /* noise has no #### N */
    }
    assert_int_equal((int)rollouts, STEPS * GROUPS * GROUP);
    assert_int_equal(audit.violations, 0);
    assert_int_equal(audit.trained, STEPS * GROUPS * GROUP);
    assert_int_equal(audit.dropped[DROP_SCORING_FAILED], 0);
    assert_int_equal(audit.dropped[DROP_GENERATION_FAILED], 0);
    assert_int_equal(audit.dropped[DROP_INVALID], 0);
    audit_free(&audit);
    json_decref(lines);
}

static void test_story_gsm8k_scores_every_rollout(void **state)
{
    (void)state;
    char data[FILE_PATH_MAX];
    write_rows(story_path(data, "rows.jsonl"));
    run_three_steps("made", data);
}

static void test_story_gsm8k_real_data_scores_every_rollout(void **state)
{
    (void)state;
    char data[FILE_PATH_MAX];
    const char *folder = getenv("WEIR_TEST_DATA");
    if (folder == NULL) {
        print_message("WEIR_TEST_DATA is not set: no real data here\n");
        skip();
    }
    assert_int_equal(file_path(data, "%s/gsm8k/train.jsonl", folder), STATUS_OK);
    run_three_steps("real", data);
}

static void test_story_gsm8k_dynamic_sampling_stops_with_the_reason(void **state)
{
    (void)state;
    struct story_run run;
    char data[FILE_PATH_MAX];
    write_rows(story_path(data, "rows.jsonl"));
    start(&run, "dynamic", data, "store.dynamic_sampling=true store.max_consecutive_dropped=8");
    assert_int_equal(story_wait(&run, LIMIT_MS), 1);
    assert_true(story_said(run.err, "max_consecutive_dropped"));
    assert_int_equal(story_steps(&run), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_gsm8k_scores_every_rollout),
        STORY_TEST(test_story_gsm8k_real_data_scores_every_rollout),
        STORY_TEST(test_story_gsm8k_dynamic_sampling_stops_with_the_reason)};
    story_begin("gsm8k");
    story_make_model(&(struct story_model){257, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
