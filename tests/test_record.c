/* links: rollout_store core */
/* Ledger records: every type comes back as it went in; broken bytes are seen. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "core/checksum.h"
#include "rollout_store/record.h"

static const uint32_t ids[] = {5, 6, 7};
static const float logprobs[] = {-0.5F, 0.0F, -3.25F};
static const uint64_t groups[] = {3, 1, 4};
static const uint32_t cuts[] = {0, 2};

static const struct stage_facts stage = {
    .numbers = {.groups = 3,
                .rollouts = 6,
                .near = 2,
                .near_squares = 4,
                .tokens = {5, 6, 7, [9] = 8},
                .logprob = {-0.5, -0.25, -3, [9] = -1},
                .lengths = {1, 2, [99] = 3}},
    .verdict = {4, 5, 6, 7, true, 1.5, -0.25, 0.125, 4096, 0.5, 20, 0.75, 3}};

static size_t all_records(struct record *out)
{
    const struct record records[] = {
        {.type = RECORD_RUN, .wall_ns = 1, .run = {"name", 2, 3, 4, "{\"a\":1}"}},
        {.type = RECORD_BORN, .wall_ns = 2, .born = {1, 2, 3, 4, 5, 6}},
        {.type = RECORD_LEASED, .wall_ns = 3, .leased = {1, 2, 3, 4, 5, 6}},
        {.type = RECORD_EXPIRED, .wall_ns = 4, .expired = {9, true, false}},
        {.type = RECORD_SEGMENT,
         .wall_ns = 5,
         .segment = {{.lease_id = 1,
                      .group_id = 2,
                      .sample = 3,
                      .attempt = 4,
                      .first_position = 5,
                      .count = 3,
                      .ids = ids,
                      .logprobs = logprobs,
                      .logprobs_truncated = logprobs,
                      .version = 6,
                      .digest = 7,
                      .kv_version_min = UINT64_MAX,
                      .rebuilt_at = UINT32_MAX,
                      .repetition_run = 8,
                      .numerics_id = 9,
                      .proof = PROOF_OWN,
                      .status = SEGMENT_EOS}}},
        {.type = RECORD_SCORED,
         .wall_ns = 6,
         .scored = {{1, 2, 3, SCORE_FAIL, -0.25, "{\"x\":2}", 77}, 2}},
        {.type = RECORD_CLOSED, .wall_ns = 7, .closed = {8}},
        {.type = RECORD_DROPPED, .wall_ns = 8, .dropped = {9, DROP_STALE, true}},
        {.type = RECORD_VERSION, .wall_ns = 9, .version = {1, 2, 3, 4, "path"}},
        {.type = RECORD_BRANCH, .wall_ns = 10, .branch = {1, 2}},
        {.type = RECORD_PLAN,
         .wall_ns = 11,
         .plan = {.stage = &stage,
                  .plan = {.branch = 1,
                           .version = 2,
                           .group_count = 3,
                           .group_ids = groups,
                           .cut_count = 2,
                           .cuts = cuts,
                           .last = true,
                           .settings_json = "{}",
                           .groups_dropped = 6,
                           .dropped_reward = 1.5,
                           .stage = 3,
                           .response_tokens_max = 4096}}},
        {.type = RECORD_CHECKPOINT, .wall_ns = 12, .checkpoint = {1, 2, 3, "path"}},
        {.type = RECORD_STOP, .wall_ns = 13, .stop = {"because", true}},
        {.type = RECORD_SNAPSHOT,
         .wall_ns = 14,
         .snapshot = {1000, 20, 3, 12, 8, (const uint8_t *)"8 bytes"}},
        {.type = RECORD_REOPENED, .wall_ns = 15, .reopened = {8}},
        {.type = RECORD_PAUSED, .wall_ns = 16, .paused = {"genrm", true}},
    };
    memcpy(out, records, sizeof records);
    return sizeof records / sizeof records[0];
}

struct fixture {
    struct arena *arena;
    struct buffer bytes, again;
    struct record records[RECORD_TYPE_END];
    size_t count;
};

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    fixture.count = all_records(fixture.records);
    *state = &fixture;
    return arena_create(&fixture.arena, 1 << 20) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_destroy(&fixture->arena);
    buffer_free(&fixture->bytes);
    buffer_free(&fixture->again);
    return 0;
}

static void test_record_every_type_comes_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->count, RECORD_TYPE_END - 1);
    for (size_t i = 0; i < f->count; i++) {
        struct record read;
        size_t used = 0;
        buffer_clear(&f->bytes);
        buffer_clear(&f->again);
        assert_int_equal(record_pack(&f->records[i], &f->bytes), STATUS_OK);
        assert_int_equal(record_unpack(&read, f->arena, f->bytes.bytes, f->bytes.size, &used),
                         STATUS_OK);
        assert_int_equal(used, f->bytes.size);
        assert_int_equal(read.type, f->records[i].type);
        assert_int_equal(read.wall_ns, f->records[i].wall_ns);
        assert_int_equal(record_pack(&read, &f->again), STATUS_OK);
        assert_int_equal(f->again.size, f->bytes.size);
        assert_memory_equal(f->again.bytes, f->bytes.bytes, f->bytes.size);
    }
}

static void test_record_cut_anywhere_is_again(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        buffer_clear(&f->bytes);
        assert_int_equal(record_pack(&f->records[i], &f->bytes), STATUS_OK);
        for (size_t size = 0; size < f->bytes.size; size++) {
            struct record read;
            size_t used = 77;
            assert_int_equal(record_unpack(&read, f->arena, f->bytes.bytes, size, &used),
                             STATUS_AGAIN);
            assert_int_equal(used, 77);
        }
    }
}

static void test_record_any_flipped_bit_is_seen(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        buffer_clear(&f->bytes);
        assert_int_equal(record_pack(&f->records[i], &f->bytes), STATUS_OK);
        for (size_t bit = 0; bit < f->bytes.size * 8; bit++) {
            struct record read;
            size_t used;
            f->bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            enum status status =
                record_unpack(&read, f->arena, f->bytes.bytes, f->bytes.size, &used);
            assert_true(status == STATUS_CORRUPT ||
                        status == STATUS_AGAIN); /* AGAIN: a longer length */
            f->bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
}

/* Right checksum, wrong contents: a frame somebody else wrote. */
static void reseal(struct buffer *bytes)
{
    uint32_t body = (uint32_t)(bytes->size - 16);
    memcpy(bytes->bytes + 4, &body, 4);
    uint32_t crc = crc32c(crc32c(0, bytes->bytes, 12), bytes->bytes + 16, body);
    memcpy(bytes->bytes + 12, &crc, 4);
}

static void test_record_sealed_nonsense_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct record read;
    size_t used;
    struct record segment = f->records[RECORD_SEGMENT - 1];
    float bad[] = {-0.5F, 0.25F, NAN};
    for (uint32_t count = 2; count <= 3; count++) { /* a positive logprob, then also a NaN */
        segment.segment.segment.logprobs = bad;
        segment.segment.segment.count = count;
        buffer_clear(&f->bytes);
        assert_int_not_equal(record_pack(&segment, &f->bytes), STATUS_OK);
        assert_int_equal(f->bytes.size, 0);
    }
    buffer_clear(&f->bytes);
    assert_int_equal(record_pack(&f->records[RECORD_CLOSED - 1], &f->bytes), STATUS_OK);
    assert_int_equal(buffer_append(&f->bytes, "x", 1), STATUS_OK);
    reseal(&f->bytes);
    assert_int_equal(record_unpack(&read, f->arena, f->bytes.bytes, f->bytes.size, &used),
                     STATUS_CORRUPT);
    buffer_clear(&f->bytes);
    assert_int_equal(record_pack(&f->records[RECORD_DROPPED - 1], &f->bytes), STATUS_OK);
    f->bytes.bytes[16 + 8 + 8] = 200; /* the reason */
    reseal(&f->bytes);
    assert_int_equal(record_unpack(&read, f->arena, f->bytes.bytes, f->bytes.size, &used),
                     STATUS_CORRUPT);
    f->bytes.bytes[8] = RECORD_TYPE_END;
    reseal(&f->bytes);
    assert_int_equal(record_unpack(&read, f->arena, f->bytes.bytes, f->bytes.size, &used),
                     STATUS_CORRUPT);
}

/* Ledgers before length stages end the record of a plan earlier. */
static void test_record_plan_without_stage_reads_as_the_first(void **state)
{
    struct fixture *f = *state;
    struct record read;
    size_t used;
    struct record plan = f->records[RECORD_PLAN - 1];
    plan.plan = (struct record){.plan = {{.version = 2, .settings_json = "{}"}}}.plan;
    plan.plan.plan.stage = 3;
    plan.plan.plan.response_tokens_max = 4096;
    buffer_clear(&f->bytes);
    assert_int_equal(record_pack(&plan, &f->bytes), STATUS_OK);
    size_t old = 16 + 8 + 4 + 8 + 8 + 4 + 4 + 4 + (4 + 2) + 4 + 8;
    assert_true(f->bytes.size > old);
    f->bytes.size = old;
    reseal(&f->bytes);
    assert_int_equal(record_unpack(&read, f->arena, f->bytes.bytes, f->bytes.size, &used),
                     STATUS_OK);
    assert_int_equal(read.plan.plan.version, 2);
    assert_int_equal(read.plan.plan.stage, 0);
    assert_int_equal(read.plan.plan.response_tokens_max, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_record_every_type_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_plan_without_stage_reads_as_the_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_record_cut_anywhere_is_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_any_flipped_bit_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_sealed_nonsense_is_corrupt, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
