/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 90 */
/* A real fleet goes through three length stages. Its store is killed with -9 around each advance: the ledger tells the same
 * stages with the same numbers as that of the run nobody touched, and responses grow with them. */
#include "rollout_store/ledger.h"
#include "tests/story_digests.h"

enum { STEPS = 24, LIMIT_MS = 40000, SOON_MS = 20000 };

static struct story_measure measure = {
    .settings = "run.steps=24 run.seed=5 store.max_staleness=0 store.group_size=4 "
                "store.groups_per_publish=4 store.dynamic_sampling=false "
                "sampling.response_tokens_max=24 stages.lengths=6,12,24 stages.window=8 "
                "stages.settled=1 stages.near_cap=0.5 stages.doubt=0 stages.confirm=1 "
                "stages.least=8 learner.checkpoint_every=4",
    .steps = STEPS,
    .limit_ms = LIMIT_MS};

struct told {
    uint32_t stage[STEPS + 1], cap[STEPS + 1], longest; /* by version */
    struct stage_facts facts[STEPS + 1];
};

static enum status tell(void *self, const struct record *record, uint64_t offset)
{
    struct told *told = self;
    (void)offset;
    if (record->type == RECORD_SEGMENT) {
        uint32_t end = record->segment.segment.first_position + record->segment.segment.count;
        told->longest = end > told->longest ? end : told->longest;
    }
    if (record->type != RECORD_PLAN)
        return STATUS_OK;
    const struct plan *plan = &record->plan.plan;
    assert_true(plan->version <= STEPS);
    assert_non_null(record->plan.stage);
    assert_true(told->longest <= plan->response_tokens_max);
    told->stage[plan->version] = plan->stage;
    told->cap[plan->version] = plan->response_tokens_max;
    told->facts[plan->version] = *record->plan.stage;
    return STATUS_OK;
}

static void read_story(const struct story_run *run, struct told *told)
{
    char ledger[FILE_PATH_MAX];
    *told = (struct told){0};
    assert_int_equal(file_path(ledger, "%s/ledger", run->path), STATUS_OK);
    assert_int_equal(ledger_read(ledger, tell, told), STATUS_OK);
}

static void kill_store(struct story_run *run, size_t step)
{
    story_await_steps(run, step, SOON_MS);
    clock_sleep_ms(story_draw(60));
    pid_t pid = story_process(run, "weir-store", 0);
    assert_true(pid > 0);
    print_message("seed %llu: store %ld killed after step %zu\n", (unsigned long long)story_seed,
                  (long)pid, story_steps(run));
    assert_int_equal(kill(pid, SIGKILL), 0);
}

static void test_story_stages_store_killed_around_advances_tells_the_same(void **state)
{
    (void)state;
    static struct told whole, killed;
    struct story_run run = {0}, reference = {0};
    story_run_whole(&reference, "whole", measure.settings, LIMIT_MS);
    measure.lines = story_metrics(&reference);
    story_assert_steps(measure.lines, STEPS);
    read_story(&reference, &whole);
    assert_int_equal(whole.stage[8], 0);
    assert_int_equal(whole.stage[9], 1);
    assert_int_equal(whole.cap[9], 12);
    assert_int_equal(whole.stage[17], 2);
    assert_int_equal(whole.cap[STEPS], 24);
    assert_int_equal(whole.longest, 24);
    story_start(&run, "killed", measure.settings);
    kill_store(&run, 7);
    kill_store(&run, 15);
    story_check_end(&run, &measure);
    read_story(&run, &killed);
    for (uint32_t version = 1; version <= STEPS; version++) {
        assert_int_equal(killed.stage[version], whole.stage[version]);
        assert_int_equal(killed.cap[version], whole.cap[version]);
        assert_memory_equal(&killed.facts[version].numbers, &whole.facts[version].numbers,
                            sizeof whole.facts[version].numbers);
        assert_true(killed.facts[version].verdict.change == whole.facts[version].verdict.change);
        assert_int_equal(killed.facts[version].verdict.next_stage,
                         whole.facts[version].verdict.next_stage);
    }
    json_decref(measure.lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_stages_store_killed_around_advances_tells_the_same)};
    story_take_seed();
    story_begin("stages");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
