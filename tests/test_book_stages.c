/* links: rollout_store */
/* timeout: 60 */
/* Length stages in the book: budgets after an advance, replay and snapshots at every record, branches. */
#include <math.h>

#define main book_tests
#include "tests/slow.h"
#include "tests/test_book.c"
#undef main

#include "core/checksum.h"
#include "rollout_store/book_snapshot.h"
#include "rollout_store/book_state.h"

enum { CAPS = 3 };
static const uint32_t caps[CAPS] = {4, 8, 12};

/* The story of the stages as the ledger tells it, read by other code than the store's. */
struct story {
    uint32_t stage_after[PLAN_MAX]; /* by version of the plan, of the branch that is left */
    uint64_t newest;                /* plan */
    uint32_t leases[CAPS], finished_at[CAPS], outlived; /* leases that lived through an advance */
    uint32_t branches, back;           /* branches that went back to an earlier stage */
    uint32_t cap[65536], stage[65536]; /* by lease */
    uint32_t count[4096][G];           /* tokens, by group and sample */
};

static uint32_t stage_of(const struct story *story)
{
    return story->newest == 0 ? 0 : story->stage_after[story->newest];
}

static void tell_segment(struct story *story, const struct segment *segment)
{
    uint32_t *count = &story->count[segment->group_id][segment->sample];
    *count += segment->count;
    assert_true(*count <= story->cap[segment->lease_id]);
    story->outlived += story->stage[segment->lease_id] < stage_of(story);
    if (segment->status != SEGMENT_LENGTH)
        return;
    assert_int_equal(*count, story->cap[segment->lease_id]);
    story->finished_at[story->stage[segment->lease_id]]++;
}

static void tell_plan(struct story *story, const struct record *record)
{
    const struct plan *plan = &record->plan.plan;
    const struct stage_facts *facts = record->plan.stage;
    uint64_t tokens = 0, said = 0;
    uint32_t near = 0;
    assert_non_null(facts);
    assert_int_equal(plan->stage, stage_of(story));
    assert_int_equal(plan->response_tokens_max, caps[plan->stage]);
    for (uint32_t g = 0; g < plan->group_count; g++)
        for (uint32_t i = 0; i < G; i++) {
            uint32_t count = story->count[plan->group_ids[g]][i];
            tokens += count;
            near += count * 2 >= caps[plan->stage];
        }
    for (int d = 0; d < STAGE_DECILES; d++) {
        said += facts->numbers.tokens[d];
        assert_true(fabs(facts->numbers.logprob[d] + 0.5 * (double)facts->numbers.tokens[d]) <
                    1e-9);
    }
    assert_int_equal(said, tokens);
    assert_int_equal(facts->numbers.near, near);
    assert_int_equal(facts->numbers.rollouts, P * G);
    assert_true(facts->verdict.next_stage <= plan->stage + 1);
    assert_true(plan->version < PLAN_MAX);
    story->newest = plan->version;
    story->stage_after[plan->version] = facts->verdict.next_stage;
}

static void tell(struct story *story, const struct record *record)
{
    uint32_t before = stage_of(story);
    switch (record->type) {
    case RECORD_LEASED:
        assert_true(record->leased.lease_id < 65536 && record->leased.group_id < 4096);
        story->stage[record->leased.lease_id] = before;
        story->cap[record->leased.lease_id] = caps[before];
        story->leases[before]++;
        return;
    case RECORD_SEGMENT:
        tell_segment(story, &record->segment.segment);
        return;
    case RECORD_PLAN:
        tell_plan(story, record);
        return;
    case RECORD_BRANCH: /* the plan that makes the first dead version again stays */
        while (story->newest > record->branch.after_version + 1)
            story->newest--;
        story->branches++;
        story->back += stage_of(story) < before;
        return;
    default:
        return;
    }
}

static void run_world(struct world *world, uint64_t seed, struct trouble trouble, bool mistake)
{
    world_create(world, seed, (uint32_t)(seed % 3));
    world->config.stages = quick_stages();
    world->config.stages.least = mistake ? 4 : 2;
    world->config.steps = 14;
    world->checkpoint_every = 5;
    book_destroy(&world->book);
    must(book_create(&world->book, &world->config));
    start_all(world);
    for (uint32_t n = 0; n < 20000 && !world->stopping; n++) {
        if (mistake && world->mistake == 0 && world->learner.version == 9) {
            world->mistake = 6; /* the checkpoint is 5: plans 7 and later are void */
            start_learner(world);
        }
        step(world, &trouble);
    }
    assert_true(world->stopping);
}

static void read_ledger(const struct world *world, struct story *story)
{
    struct arena *arena = NULL;
    must(arena_create(&arena, 1 << 20));
    *story = (struct story){0};
    for (size_t at = 0, used = 0; at < world->ledger.size; at += used) {
        struct record record;
        arena_reset(arena);
        must(record_unpack(&record, arena, world->ledger.bytes + at, world->ledger.size - at,
                           &used));
        tell(story, &record);
    }
    arena_destroy(&arena);
}

/* What people see: the flat counters (Redis, metrics), status and why. */
static void check_words(const struct book *book, const struct book_stage *now)
{
    struct buffer json;
    char wanted[96];
    buffer_init(&json, 0);
    must(book_counters_json(book, &json));
    snprintf(wanted, sizeof wanted, "\"stage/index\":%u,\"stage/cap\":%u,\"stage/plans\":%u,",
             now->stage, now->cap, now->verdict.plans);
    assert_non_null(strstr(buffer_string(&json), wanted));
    assert_non_null(strstr(buffer_string(&json), "\"stage/perplexity\":1.64872"));
    snprintf(wanted, sizeof wanted, "\"stage\":{\"index\":%u,\"count\":3,\"cap\":%u,", now->stage,
             now->cap);
    buffer_clear(&json);
    must(book_status_json(book, 0, &json));
    assert_non_null(strstr(buffer_string(&json), wanted));
    buffer_clear(&json);
    must(book_why_json(book, 0, &json));
    assert_non_null(strstr(buffer_string(&json), wanted));
    buffer_free(&json);
}

static void test_book_stages_leases_have_the_budget_of_the_stage_in_force(void **state)
{
    (void)state;
    static struct world world;
    static struct story story;
    uint32_t leases[CAPS] = {0}, finished[CAPS] = {0}, outlived = 0, branches = 0, back = 0;
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed_base());
    for (uint64_t seed = 0; seed < test_times(60, 6); seed++) {
        struct trouble trouble = {.actor_dies = 8,
                                  .reward_dies = 5,
                                  .learner_dies = seed % 4 ? 6 : 0,
                                  .frame_lost = 30,
                                  .duplicate = 30,
                                  .store_dies = seed % 3 ? 5 : 0};
        run_world(&world, seed_base() + seed, trouble, seed % 2 != 0);
        read_ledger(&world, &story);
        struct book_stage now;
        book_read_stage(world.book, &now);
        assert_int_equal(now.stage, stage_of(&story));
        assert_int_equal(now.cap, caps[now.stage]);
        check_words(world.book, &now);
        for (int i = 0; i < CAPS; i++) {
            leases[i] += story.leases[i];
            finished[i] += story.finished_at[i];
        }
        outlived += story.outlived;
        branches += story.branches;
        back += story.back;
        world_destroy(&world);
    }
    print_message("leases %u %u %u, finished at the cap %u %u %u, segments of leases from an "
                  "earlier stage %u, branches %u, %u of them to an earlier stage\n",
                  leases[0], leases[1], leases[2], finished[0], finished[1], finished[2], outlived,
                  branches, back);
    assert_true(leases[0] && leases[1] && leases[2] && finished[0] && finished[1]);
    assert_true(outlived && branches && (back || test_is_slow()));
    assert_int_equal(finished[2], 0); /* nothing is longer than the last cap */
}

static void snapshot_of(const struct book *book, struct buffer *bytes)
{
    buffer_init(bytes, 0);
    must(book_snapshot(book, bytes));
}

static struct book *restored(const struct world *world, const struct buffer *bytes)
{
    struct book *book = NULL;
    struct record record = {.type = RECORD_SNAPSHOT,
                            .snapshot = {7, bytes->size, hash64(bytes->bytes, bytes->size, 0), 0,
                                         (uint32_t)bytes->size, bytes->bytes}};
    must(book_create(&book, &world->config));
    must(book_apply(book, &record));
    return book;
}

static void apply_rest(struct book *book, const struct world *world, size_t at)
{
    struct arena *arena = NULL;
    must(arena_create(&arena, 1 << 20));
    for (size_t used = 0; at < world->ledger.size; at += used) {
        struct record record;
        arena_reset(arena);
        must(record_unpack(&record, arena, world->ledger.bytes + at, world->ledger.size - at,
                           &used));
        must(book_apply(book, &record));
    }
    arena_destroy(&arena);
}

/* Killed after any record: a store that replays the ledger up to it, or reads a snapshot of that moment, is the same to
 * the bit, and stays so through the rest of the ledger. */
static void test_book_stages_replay_and_snapshots_are_equal_after_any_record(void **state)
{
    (void)state;
    static struct world world;
    struct trouble trouble = {
        .actor_dies = 8, .learner_dies = 4, .frame_lost = 30, .store_dies = 5};
    run_world(&world, seed_base() + 3, trouble, true);
    struct book *whole = rebuild(&world), *so_far = NULL;
    struct buffer end;
    struct arena *arena = NULL;
    snapshot_of(whole, &end);
    must(book_create(&so_far, &world.config));
    must(arena_create(&arena, 1 << 20));
    uint32_t records = 0, rests = 0, every = (uint32_t)test_times(1, 40);
    for (size_t at = 0, used = 0; at < world.ledger.size; at += used) {
        struct record record;
        struct buffer here, again;
        arena_reset(arena);
        must(record_unpack(&record, arena, world.ledger.bytes + at, world.ledger.size - at, &used));
        must(book_apply(so_far, &record));
        if (++records % every != 0 && record.type != RECORD_PLAN)
            continue;
        snapshot_of(so_far, &here);
        struct book *back = restored(&world, &here);
        snapshot_of(back, &again);
        assert_int_equal(here.size, again.size);
        assert_memory_equal(here.bytes, again.bytes, here.size);
        buffer_free(&again);
        if (record.type == RECORD_PLAN || records % (97 * every) == 0) {
            apply_rest(back, &world, at + used);
            snapshot_of(back, &again);
            assert_int_equal(again.size, end.size);
            assert_memory_equal(again.bytes, end.bytes, end.size);
            buffer_free(&again);
            rests++;
        }
        book_destroy(&back);
        buffer_free(&here);
    }
    print_message("%u records, %u rests\n", records, rests);
    assert_true(rests >= 14);
    book_destroy(&whole);
    book_destroy(&so_far);
    buffer_free(&end);
    arena_destroy(&arena);
    world_destroy(&world);
}

static void test_book_stages_list_that_is_wrong_starts_no_store(void **state)
{
    (void)state;
    static struct world world;
    struct book *book = NULL;
    world_create(&world, 1, 0);
    world.config.stages.lengths = "4, x";
    assert_int_equal(book_create(&book, &world.config), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "stages.lengths, column 4: \"x\""));
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book_stages_leases_have_the_budget_of_the_stage_in_force),
        cmocka_unit_test(test_book_stages_replay_and_snapshots_are_equal_after_any_record),
        cmocka_unit_test(test_book_stages_list_that_is_wrong_starts_no_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
