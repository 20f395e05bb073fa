/* links: actor */
/* label: unit */
/* The parts of the actor that need neither model nor store: slots, kept frames, the repetition rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "actor/segment_writer.h"
#include "actor/slot.h"
#include "core/memory.h"
#include "transport/link.h"

/* ---- slots ---- */

static const uint32_t prompt_ids[] = {3, 1, 4, 1, 5}, model_ids[] = {9, 2, 6}, env_ids[] = {8};

static struct lease make_lease(const struct span *spans, uint32_t count)
{
    return (struct lease){.lease_id = 7,
                          .group_id = 2,
                          .sample = 3,
                          .attempt = 2,
                          .min_version = 4,
                          .budget = 10,
                          .temperature = 0.5F,
                          .top_p = 0.9F,
                          .top_k = 20,
                          .repetition_run = 11,
                          .span_count = count,
                          .spans = spans};
}

static void test_actor_parts_slot_takes_prompt_and_tokens_so_far(void **state)
{
    (void)state;
    const struct span spans[] = {{SPAN_PROMPT, false, 5, prompt_ids},
                                 {SPAN_ENV, false, 1, env_ids},
                                 {SPAN_MODEL, true, 3, model_ids}};
    struct lease lease = make_lease(spans, 3);
    int64_t blocks = memory_blocks_live();
    struct slot slot = {0};
    assert_int_equal(slot_fill(&slot, &lease, 99, 3000), STATUS_OK);
    static const uint32_t all[] = {3, 1, 4, 1, 5, 8, 9, 2, 6};
    assert_int_equal(slot.state, SLOT_WAITING);
    assert_int_equal(slot.prompt, 6);
    assert_int_equal(slot.response, 3);
    assert_int_equal(slot.inherited, 3);
    assert_int_equal(slot.reported, 3);
    assert_int_equal(slot.budget, 13);
    assert_int_equal(slot.capacity, 19);
    assert_int_equal(slot_length(&slot), 9);
    assert_int_equal(slot.rebuilt_at, 3);
    assert_int_equal(slot.guard.run, 11);
    assert_int_equal(slot.guard.tokens, 3000);
    assert_int_equal(slot.sampling.seed, 99);
    assert_int_equal(slot.sampling.group, 2);
    assert_int_equal(slot.sampling.sample, 3);
    assert_int_equal(slot.sampling.top_k, 20);
    assert_true(slot.kv_version_min == UINT64_MAX);
    assert_memory_equal(slot.ids, all, sizeof all);
    slot_clear(&slot);
    assert_int_equal(slot.state, SLOT_FREE);
    assert_int_equal(memory_blocks_live(), blocks);
}

static void expect_refusal(const struct lease *lease, enum status status)
{
    struct slot slot = {0};
    int64_t blocks = memory_blocks_live();
    assert_int_equal(slot_fill(&slot, lease, 1, 0), status);
    assert_int_equal(slot.state, SLOT_FREE);
    assert_null(slot.ids);
    assert_int_equal(memory_blocks_live(), blocks);
}

static void test_actor_parts_slot_refuses_what_it_cannot_run(void **state)
{
    (void)state;
    const struct span turned[] = {{SPAN_PROMPT, false, 5, prompt_ids},
                                  {SPAN_MODEL, true, 3, model_ids},
                                  {SPAN_ENV, false, 1, env_ids}};
    struct lease lease = make_lease(turned, 3);
    expect_refusal(&lease, STATUS_UNSUPPORTED);
    const struct span bare[] = {{SPAN_MODEL, true, 3, model_ids}};
    lease = make_lease(bare, 1);
    expect_refusal(&lease, STATUS_INVALID);
    lease = make_lease(turned, 1);
    lease.budget = WIRE_TOKENS_MAX - 4;
    expect_refusal(&lease, STATUS_INVALID);
    for (int64_t n = 1; n <= 3; n++) {
        lease = make_lease(turned, 2);
        memory_fail_after(n);
        expect_refusal(&lease, STATUS_NO_MEMORY);
        memory_fail_after(-1);
    }
}

/* ---- kept frames ---- */

static struct segment make_segment(const uint32_t *ids, const float *logprobs, uint32_t count)
{
    return (struct segment){.lease_id = 5,
                            .count = count,
                            .ids = ids,
                            .logprobs = logprobs,
                            .rebuilt_at = UINT32_MAX,
                            .status = count > 0 ? SEGMENT_MORE : SEGMENT_ABORT};
}

static void test_actor_parts_writer_keeps_copies_until_acknowledged(void **state)
{
    (void)state;
    struct segment_writer writer;
    int64_t blocks = memory_blocks_live();
    assert_int_equal(segment_writer_create(&writer, 3, 1 << 20), STATUS_OK);
    /* More frames than the ring has places; three are alive at most. */
    for (uint64_t id = 1; id <= 20; id++) {
        uint32_t ids[4] = {(uint32_t)id, 1, 2, 3};
        float logprobs[4] = {-(float)id, -1, -2, -3}, truncated[4] = {-0.5F, -1, -2, -3};
        struct segment segments[3] = {make_segment(ids, logprobs, 4), make_segment(NULL, NULL, 0),
                                      make_segment(ids + 1, logprobs + 1, 2)};
        segments[2].logprobs_truncated = truncated;
        assert_int_equal(segment_writer_add(&writer, 42, segments, 3), STATUS_OK);
        memset(ids, 0xff, sizeof ids);
        memset(logprobs, 0xff, sizeof logprobs);
        const struct kept_frame *frame = &writer.frames[(writer.head + writer.count - 1) % 3];
        const struct segment_frame *kept = &frame->message.segment_frame;
        assert_int_equal(frame->frame_id, id);
        assert_int_equal(kept->frame_id, id);
        assert_int_equal(kept->incarnation, 42);
        assert_int_equal(kept->segments[0].ids[0], id);
        assert_true(kept->segments[0].logprobs[0] == -(float)id);
        assert_null(kept->segments[0].logprobs_truncated);
        assert_int_equal(kept->segments[2].ids[1], 2);
        assert_true(kept->segments[2].logprobs_truncated[0] == -0.5F);
        if (writer.count == 3) {
            assert_true(segment_writer_full(&writer));
            assert_int_equal(segment_writer_add(&writer, 42, segments, 3), STATUS_LIMIT);
            segment_writer_acknowledge(&writer, id - 3); /* old news */
            assert_int_equal(writer.count, 3);
            segment_writer_acknowledge(&writer, id - 1);
            assert_int_equal(writer.count, 1);
            assert_int_equal(writer.frames[writer.head].frame_id, id);
        }
    }
    segment_writer_acknowledge(&writer, UINT64_MAX);
    assert_int_equal(writer.count, 0);
    segment_writer_destroy(&writer);
    assert_int_equal(memory_blocks_live(), blocks);
}

static enum status send_by_link(void *self, const struct message *message)
{
    return link_send(self, message);
}

/* A link to nobody takes nothing: frames stay unsent, which is no error. */
static void test_actor_parts_writer_without_a_store_waits(void **state)
{
    (void)state;
    struct hello hello = {.run = "r", .role = ROLE_ACTOR, .host = "h", .numerics = ""};
    struct link *link = NULL;
    assert_int_equal(link_open(&link, "ipc:///tmp/weir-nobody-here.sock", NULL, &hello), STATUS_OK);
    struct segment_writer writer;
    assert_int_equal(segment_writer_create(&writer, 2, 1 << 20), STATUS_OK);
    struct segment segment = make_segment(NULL, NULL, 0);
    assert_int_equal(segment_writer_add(&writer, 1, &segment, 1), STATUS_OK);
    uint32_t sent = 9;
    assert_int_equal(segment_writer_flush(&writer, send_by_link, link, &sent), STATUS_OK);
    assert_int_equal(sent, 0);
    assert_false(writer.frames[0].sent);
    writer.frames[0].sent = true;
    segment_writer_resend(&writer);
    assert_false(writer.frames[0].sent);
    segment_writer_destroy(&writer);
    link_close(&link, "done");
}

static void test_actor_parts_writer_survives_no_memory(void **state)
{
    (void)state;
    struct segment_writer writer;
    memory_fail_after(1);
    assert_int_equal(segment_writer_create(&writer, 4, 1 << 20), STATUS_NO_MEMORY);
    memory_fail_after(-1);
    segment_writer_destroy(&writer);
    assert_int_equal(segment_writer_create(&writer, 4, 1 << 20), STATUS_OK);
    struct segment segment = make_segment(NULL, NULL, 0);
    memory_fail_after(1);
    assert_int_equal(segment_writer_add(&writer, 1, &segment, 1), STATUS_NO_MEMORY);
    memory_fail_after(-1);
    assert_int_equal(writer.count, 0);
    assert_int_equal(segment_writer_add(&writer, 1, &segment, 1), STATUS_OK);
    assert_int_equal(writer.frames[0].frame_id, 1); /* the failed one took no number */
    segment_writer_destroy(&writer);
}

/* ---- the repetition rule ---- */

/* Runs [[probability, tokens], ...]; the guard cuts after `keep` tokens, or never (null). */
static void test_actor_parts_repetition_golden_cases(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(SOURCE_DIR "/tests/golden/spec/rl_losses.json", 0, &error);
    assert_non_null(root);
    json_t *cases = json_object_get(root, "repetition"), *one;
    size_t c;
    assert_true(json_array_size(cases) >= 5);
    json_array_foreach(cases, c, one)
    {
        struct repetition_guard guard = {.tokens = 3000};
        json_int_t tokens = 0, keep = -1;
        json_t *run;
        size_t r;
        json_array_foreach(json_object_get(one, "runs"), r, run)
        {
            double probability = json_number_value(json_array_get(run, 0));
            for (json_int_t t = 0; t < json_integer_value(json_array_get(run, 1)) && keep < 0;
                 t++) {
                tokens++;
                if (repetition_guard_push(&guard, probability > 0.99))
                    keep = tokens;
            }
        }
        json_t *expected = json_object_get(one, "keep");
        assert_int_equal(keep, json_is_null(expected) ? -1 : json_integer_value(expected));
    }
    json_decref(root);
}

static void test_actor_parts_repetition_run_is_carried(void **state)
{
    (void)state;
    struct repetition_guard guard = {.tokens = 5, .run = 3};
    assert_false(repetition_guard_push(&guard, true));
    assert_true(repetition_guard_push(&guard, true));
    guard = (struct repetition_guard){.tokens = 5, .run = 4};
    assert_false(repetition_guard_push(&guard, false));
    assert_int_equal(guard.run, 0);
    guard = (struct repetition_guard){.tokens = 0};
    for (int i = 0; i < 10; i++)
        assert_false(repetition_guard_push(&guard, true)); /* 0 switches it off */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actor_parts_slot_takes_prompt_and_tokens_so_far),
        cmocka_unit_test(test_actor_parts_slot_refuses_what_it_cannot_run),
        cmocka_unit_test(test_actor_parts_writer_keeps_copies_until_acknowledged),
        cmocka_unit_test(test_actor_parts_writer_without_a_store_waits),
        cmocka_unit_test(test_actor_parts_writer_survives_no_memory),
        cmocka_unit_test(test_actor_parts_repetition_golden_cases),
        cmocka_unit_test(test_actor_parts_repetition_run_is_carried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
