/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 300 */
/* A run whose judge misbehaves: it is down, slow, lies, answers nonsense, then comes back. The run goes on to its last
 * step, and no rollout is scored by accident: the judge of this story never says the lowest grade, so a 0 would be one. */
#include "tests/chaos_ledger.h"
#include "tests/judge_server.h"
#include "tests/story.h"

enum { STEPS = 12, HABIT_MS = 600, LIMIT_MS = 120000 };

static struct judge_server server;

/* Grade 2 to 5 by the text that is judged: groups differ, and the same text has the same grade. */
static char *decide(const json_t *body)
{
    char *text = json_dumps(json_object_get(body, "messages"), JSON_COMPACT), *content = NULL;
    uint32_t hash = 2166136261u;
    for (const char *at = text; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    free(text);
    return asprintf(&content, "Compared.\nGrade: [[%u]]", 2 + (hash >> 8) % 4) > 0 ? content : NULL;
}

struct seen {
    uint64_t scored, zero, not_scored;
};

static enum status look(void *self, const struct record *record, uint64_t offset)
{
    struct seen *seen = self;
    (void)offset;
    if (record->type != RECORD_SCORED)
        return STATUS_OK;
    const struct score *score = &record->scored.score;
    bool counts = score->status == SCORE_OK || score->status == SCORE_FAIL;
    seen->scored += counts;
    seen->not_scored += !counts;
    bool empty =
        strstr(score->detail_json, "no_answer") != NULL; /* nothing was written: that is a 0 */
    if (counts && score->value <= 0 && !empty && seen->zero++ < 3)
        print_message("scored 0: %s\n", score->detail_json);
    return STATUS_OK;
}

static void misbehave(const struct story_run *run)
{
    static const int habits[] = {JUDGE_CLOSES, JUDGE_500,  JUDGE_MALFORMED, JUDGE_SLOW,
                                 JUDGE_LYING,  JUDGE_HTML, JUDGE_NO_VERDICT};
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++) {
        atomic_store(&server.habit, habits[i]);
        atomic_store(&server.bad, UINT32_MAX);
        clock_sleep_ms(HABIT_MS);
        atomic_store(&server.bad, 0);
        clock_sleep_ms(HABIT_MS / 2);
    }
    (void)run;
}

static void test_story_judge_that_misbehaves_does_not_stop_the_run(void **state)
{
    (void)state;
    struct story_run run;
    char settings[2000], folder[FILE_PATH_MAX];
    struct seen seen = {0};
    struct audit audit;
    server.decide = decide;
    server.slow_ms = 3000;
    assert_true(judge_server_start(&server, 0));
    snprintf(settings, sizeof settings,
             "run.steps=%d store.max_staleness=1 store.max_attempts=100 reward.plugin=judge "
             "reward.timeout_ms=2000 reward.threads=8 "
             "reward.config={\"mode\":\"grade5\",\"judge\":{\"base_url\":\"http://127.0.0.1:%u/"
             "v1\",\"model\":\"story\",\"timeout_ms\":500}}",
             STEPS, server.port);
    story_start(&run, "run", settings);
    story_await_steps(&run, 1, LIMIT_MS);
    misbehave(&run);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    judge_server_stop(&server);
    assert_int_equal(file_path(folder, "%s/ledger", run.path), STATUS_OK);
    audit_run(
        &audit, run.path,
        &(struct audit_rules){
            .group_size = 4, .groups_per_publish = 4, .max_staleness = 1, .response_max = 128});
    audit_print("judge", &audit);
    assert_int_equal(audit.violations, 0);
    assert_int_equal(ledger_scan(folder, 0, audit.bytes, look, &seen), STATUS_OK);
    print_message("%" PRIu64 " rollouts scored, %" PRIu64 " tries that gave no score, %" PRIu64
                  " zeros; the judge was asked %u times\n",
                  seen.scored, seen.not_scored, seen.zero, atomic_load(&server.requests));
    assert_true(seen.scored > 0 && seen.not_scored > 0);
    assert_true(seen.not_scored <
                5 * seen.scored); /* a judge that is down is not asked without a pause */
    assert_int_equal(seen.zero, 0);
    audit_free(&audit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_judge_that_misbehaves_does_not_stop_the_run)};
    story_begin("judge");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
