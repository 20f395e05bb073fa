/* links: proto core */
/* timeout: 30 */
/* Wire codec: every message round trips field by field, every promise of messages.h is kept by pack
 * and by unpack, damaged bytes are refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "proto/codec.h"

enum { HEADER = 16, ARENA_BYTES = 64 << 20 };

/* ---- one example and one comparison per message: a new row of MESSAGE_ROWS needs both ---- */

#define SAME(member)      assert_true(a->member == b->member)
#define SAME_REAL(member) assert_memory_equal(&a->member, &b->member, sizeof a->member)
#define SAME_TEXT(member) assert_string_equal(a->member, b->member)
#define SAME_ARRAY(member, count) \
    assert_memory_equal(a->member, b->member, (count) * sizeof a->member[0])

static const uint32_t ids[] = {1, 0, 7, 4294967295u, 151643, 9};
static const float logprobs[] = {-0.25f, 0.0f, -1e-7f, -13.5f, -2.0f, -30.0f};
static const float truncated[] = {-0.125f, 0.0f, -1e-8f, -12.5f, -1.0f, -29.0f};
static const float mask[] = {1, 1, 0, 0, 1, 0.5f};
static const uint64_t numbers[] = {11, UINT64_MAX, 13, 1ull << 40};
static const uint32_t cuts[] = {0, 1, 3};
static const struct span spans[] = {
    {SPAN_PROMPT, false, 3, ids}, {SPAN_MODEL, true, 2, ids + 3}, {SPAN_ENV, false, 0, NULL}};
static const struct lease leases[] = {
    {.lease_id = 5,
     .group_id = 6,
     .sample = 7,
     .attempt = 2,
     .purpose = PURPOSE_EVAL,
     .prompt_id = 8,
     .min_version = 9,
     .budget = 10,
     .temperature = 0.75f,
     .top_p = 0.5f,
     .top_k = 20,
     .repetition_run = 12,
     .kv_version_min = UINT64_MAX,
     .span_count = 3,
     .spans = spans},
    {.lease_id = 50, .top_p = 1},
};
static const struct segment segments[] = {
    {.lease_id = 1,
     .group_id = 2,
     .sample = 3,
     .attempt = 4,
     .first_position = 5,
     .count = 6,
     .ids = ids,
     .logprobs = logprobs,
     .logprobs_truncated = truncated,
     .version = 7,
     .digest = 8,
     .kv_version_min = 9,
     .rebuilt_at = UINT32_MAX,
     .repetition_run = 10,
     .numerics_id = 11,
     .proof = PROOF_ASSERTED,
     .status = SEGMENT_TURN},
    {.lease_id = 21, .count = 2, .ids = ids + 2, .logprobs = logprobs + 1, .rebuilt_at = 4},
    {.lease_id = 31, .status = SEGMENT_ABORT, .proof = PROOF_NONE},
};
static const struct score_item score_items[] = {
    {.group_id = 1,
     .sample = 2,
     .attempt = 3,
     .prompt_id = 4,
     .record_json = "{\"prompt\":\"\xc3\xa9\"}",
     .prompt_count = 2,
     .response_count = 3,
     .prompt_ids = ids,
     .response_ids = ids + 2,
     .finish = SEGMENT_EOS,
     .group_size = 16,
     .version = 5,
     .purpose = PURPOSE_SERVE,
     .response_logprobs = logprobs,
     .scored = true},
};
static const struct score scores[] = {
    {.group_id = 1,
     .sample = 2,
     .attempt = 3,
     .status = SCORE_OK,
     .value = -0.5,
     .detail_json = "{\"format\":1}",
     .scorer = UINT64_MAX},
    {.group_id = 4, .status = SCORE_UNSCORABLE, .detail_json = "{}"},
};
static const struct group_piece pieces[] = {{4, 7, 6}, {2, 8, 7}};
static const struct group_sample samples[] = {
    {.sample = 1,
     .attempt = 2,
     .count = 6,
     .ids = ids,
     .logprobs = logprobs,
     .mask = mask,
     .piece_count = 2,
     .pieces = pieces,
     .finish = SEGMENT_LENGTH,
     .score_status = SCORE_FAIL,
     .reward = 0.25},
    {.sample = 3},
};

static const struct hello hello_example = {"run-1",        ROLE_ACTOR, 3, 1ull << 63, 77,
                                           "host.example", 1,          2, "cpu avx2", 151936};
static const struct welcome welcome_example = {1, 500, 2, 3, 4, "/dev/shm/weights"};
static const struct refused refused_example = {"wrong run"};
static const struct heartbeat heartbeat_example = {1, 2, "{\"tokens\":3}", "[]"};
static const struct notice notice_example = {1, 2, 3, true, true, "SIGTERM", "/dev/shm/w"};
static const struct bye bye_example = {"drained"};
static const struct control control_example = {9, "drain", "{\"actor\":3}"};
static const struct control_reply control_reply_example = {9, true, "{}"};
static const struct ack ack_example = {9, true, "none"};
static const struct lease_request lease_request_example = {1, 2, 3, 4};
static const struct lease_grant lease_grant_example = {2, leases};
static const struct segment_frame segment_frame_example = {1, 2, 3, segments};
static const struct frame_ack frame_ack_example = {1, 4, numbers};
static const struct score_request score_request_example = {1, 2, 3};
static const struct score_work score_work_example = {1, score_items};
static const struct score_result score_result_example = {1, 2, 2, scores};
static const struct score_ack score_ack_example = {1};
static const struct plan_request plan_request_example = {1, 2, 3, 4};
static const struct plan plan_example = {
    1, 2, 3, 4, numbers, 3, cuts, true, "{\"loss\":\"cispo\"}", 5, 2.5, 3, 4096};
static const struct group_request group_request_example = {1};
static const struct group_data group_data_example = {1, 2, 0.875f, 3, ids, 2, samples, "gsm8k"};
static const struct version_register version_register_example = {1, 2, 3, 4, 5, "/dev/shm/w"};
static const struct checkpoint_report checkpoint_report_example = {1, 2, 3, 4, "checkpoints/3"};
static const struct step_report step_report_example = {1, "{\"loss\":0.5}"};
static const uint32_t weight_id[WIRE_WEIGHT_ID_WORDS] = {1, 2, [WIRE_WEIGHT_ID_WORDS - 1] = 3};
static const struct weight_control weight_control_example = {
    WEIGHT_EPOCH, 1, 2, 3, 1, 3, 4, 5, 6, WIRE_WEIGHT_ID_WORDS, weight_id};

#define COMPARE(name) static void same_##name(const struct name *a, const struct name *b)

COMPARE(hello)
{
    SAME_TEXT(run);
    SAME(role);
    SAME(index);
    SAME(incarnation);
    SAME(pid);
    SAME_TEXT(host);
    SAME(layout_hash);
    SAME(numerics_id);
    SAME_TEXT(numerics);
    SAME(vocabulary);
}
COMPARE(welcome)
{
    SAME(run_seed);
    SAME(heartbeat_ms);
    SAME(version);
    SAME(digest);
    SAME(branch);
    SAME_TEXT(weights_path);
}
COMPARE(refused)
{
    SAME_TEXT(reason);
}
COMPARE(heartbeat)
{
    SAME(incarnation);
    SAME(version);
    SAME_TEXT(stats_json);
    SAME_TEXT(waits_json);
}
COMPARE(notice)
{
    SAME(version);
    SAME(digest);
    SAME(branch);
    SAME(draining);
    SAME(stopping);
    SAME_TEXT(reason);
    SAME_TEXT(weights_path);
}
COMPARE(bye)
{
    SAME_TEXT(reason);
}
COMPARE(control)
{
    SAME(request);
    SAME_TEXT(command);
    SAME_TEXT(arguments_json);
}
COMPARE(control_reply)
{
    SAME(request);
    SAME(ok);
    SAME_TEXT(json);
}
COMPARE(ack)
{
    SAME(request);
    SAME(ok);
    SAME_TEXT(error);
}
COMPARE(lease_request)
{
    SAME(incarnation);
    SAME(slots);
    SAME(tokens);
    SAME(version);
}
COMPARE(span)
{
    SAME(source);
    SAME(train);
    SAME(count);
    if (a->count > 0)
        SAME_ARRAY(ids, a->count);
}
COMPARE(lease)
{
    SAME(lease_id);
    SAME(group_id);
    SAME(sample);
    SAME(attempt);
    SAME(purpose);
    SAME(prompt_id);
    SAME(min_version);
    SAME(budget);
    SAME_REAL(temperature);
    SAME_REAL(top_p);
    SAME(top_k);
    SAME(repetition_run);
    SAME(kv_version_min);
    SAME(span_count);
    for (uint32_t i = 0; i < a->span_count; i++)
        same_span(&a->spans[i], &b->spans[i]);
}
COMPARE(lease_grant)
{
    SAME(count);
    for (uint32_t i = 0; i < a->count; i++)
        same_lease(&a->leases[i], &b->leases[i]);
}
COMPARE(segment)
{
    SAME(lease_id);
    SAME(group_id);
    SAME(sample);
    SAME(attempt);
    SAME(first_position);
    SAME(count);
    SAME(version);
    SAME(digest);
    SAME(kv_version_min);
    SAME(rebuilt_at);
    SAME(repetition_run);
    SAME(numerics_id);
    SAME(proof);
    SAME(status);
    if (a->count > 0) {
        SAME_ARRAY(ids, a->count);
        SAME_ARRAY(logprobs, a->count);
    }
    assert_int_equal(a->logprobs_truncated == NULL, b->logprobs_truncated == NULL);
    if (a->logprobs_truncated != NULL)
        SAME_ARRAY(logprobs_truncated, a->count);
}
COMPARE(segment_frame)
{
    SAME(frame_id);
    SAME(incarnation);
    SAME(count);
    for (uint32_t i = 0; i < a->count; i++)
        same_segment(&a->segments[i], &b->segments[i]);
}
COMPARE(frame_ack)
{
    SAME(frame_id);
    SAME(cancelled_count);
    SAME_ARRAY(cancelled, a->cancelled_count);
}
COMPARE(score_request)
{
    SAME(incarnation);
    SAME(free);
    SAME(caps);
}
COMPARE(score_item)
{
    SAME(group_id);
    SAME(sample);
    SAME(attempt);
    SAME(prompt_id);
    SAME_TEXT(record_json);
    SAME(prompt_count);
    SAME(response_count);
    SAME_ARRAY(prompt_ids, a->prompt_count);
    SAME_ARRAY(response_ids, a->response_count);
    SAME(finish);
    SAME(group_size);
    SAME(version);
    SAME(purpose);
    SAME_ARRAY(response_logprobs, a->response_count);
    SAME(scored);
}
COMPARE(score_work)
{
    SAME(count);
    same_score_item(a->items, b->items);
}
COMPARE(score_result)
{
    SAME(frame_id);
    SAME(incarnation);
    SAME(count);
    for (uint32_t i = 0; i < b->count; i++) {
        const struct score *x = &a->scores[i], *y = &b->scores[i];
        assert_true(x->group_id == y->group_id && x->sample == y->sample &&
                    x->attempt == y->attempt);
        assert_true(x->status == y->status && x->scorer == y->scorer);
        assert_memory_equal(&x->value, &y->value, sizeof x->value);
        assert_string_equal(x->detail_json, y->detail_json);
    }
}
COMPARE(score_ack)
{
    SAME(frame_id);
}
COMPARE(plan_request)
{
    SAME(version);
    SAME(branch);
    SAME(checkpoint_version);
    SAME(checkpoint_digest);
}
COMPARE(plan)
{
    SAME(branch);
    SAME(version);
    SAME(digest);
    SAME(group_count);
    SAME_ARRAY(group_ids, a->group_count);
    SAME(cut_count);
    SAME_ARRAY(cuts, a->cut_count);
    SAME(last);
    SAME_TEXT(settings_json);
    SAME(groups_dropped);
    SAME(dropped_reward);
    SAME(stage);
    SAME(response_tokens_max);
}
COMPARE(group_request)
{
    SAME(group_id);
}
COMPARE(group_sample)
{
    SAME(sample);
    SAME(attempt);
    SAME(count);
    SAME(piece_count);
    SAME(finish);
    SAME(score_status);
    SAME_REAL(reward);
    if (a->count > 0) {
        SAME_ARRAY(ids, a->count);
        SAME_ARRAY(logprobs, a->count);
        SAME_ARRAY(mask, a->count);
    }
    for (uint32_t i = 0; i < a->piece_count; i++)
        assert_true(a->pieces[i].count == b->pieces[i].count &&
                    a->pieces[i].version == b->pieces[i].version &&
                    a->pieces[i].kv_version_min == b->pieces[i].kv_version_min);
}
COMPARE(group_data)
{
    SAME_TEXT(source);
    SAME(group_id);
    SAME(prompt_id);
    SAME_REAL(temperature);
    SAME(prompt_count);
    SAME_ARRAY(prompt_ids, a->prompt_count);
    SAME(sample_count);
    for (uint32_t i = 0; i < a->sample_count; i++)
        same_group_sample(&a->samples[i], &b->samples[i]);
}
COMPARE(version_register)
{
    SAME(request);
    SAME(branch);
    SAME(version);
    SAME(parent);
    SAME(digest);
    SAME_TEXT(weights_path);
}
COMPARE(checkpoint_report)
{
    SAME(request);
    SAME(branch);
    SAME(version);
    SAME(digest);
    SAME_TEXT(path);
}
COMPARE(step_report)
{
    SAME(version);
    SAME_TEXT(metrics_json);
}
COMPARE(weight_control)
{
    SAME(kind);
    SAME(actor);
    SAME(incarnation);
    SAME(epoch);
    SAME(rank);
    SAME(ranks);
    SAME(version);
    SAME(digest);
    SAME(branch);
    SAME(id_count);
    SAME_ARRAY(id, a->id_count);
}

static const struct message examples[] = {
#define ROW(name) {.type = MESSAGE_##name},
    MESSAGE_ROWS(ROW)
#undef ROW
};

static struct message example(enum message_type type)
{
    struct message message = {.type = type};
    switch (type) {
#define ROW(name)                      \
    case MESSAGE_##name:               \
        message.name = name##_example; \
        break;
        MESSAGE_ROWS(ROW)
#undef ROW
    default:
        fail();
    }
    return message;
}

static void compare(const struct message *a, const struct message *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
#define ROW(name)                        \
    case MESSAGE_##name:                 \
        same_##name(&a->name, &b->name); \
        break;
        MESSAGE_ROWS(ROW)
#undef ROW
    default:
        fail();
    }
}

/* ---- helpers ---- */

struct fixture {
    struct arena *arena;
    struct buffer bytes;
};

static struct fixture fixture_make(void)
{
    struct fixture fixture = {0};
    assert_int_equal(arena_create(&fixture.arena, ARENA_BYTES), STATUS_OK);
    buffer_init(&fixture.bytes, 0);
    return fixture;
}

static void fixture_end(struct fixture *fixture)
{
    arena_destroy(&fixture->arena);
    buffer_free(&fixture->bytes);
}

static void fix_crc(uint8_t *bytes, size_t size)
{
    uint32_t body = (uint32_t)(size - HEADER);
    memcpy(bytes + 8, &body, 4);
    uint32_t crc = crc32c(crc32c(0, bytes, 12), bytes + HEADER, body);
    memcpy(bytes + 12, &crc, 4);
}

static void expect_sentence(enum status got, enum status wanted, const char *part)
{
    if (got != wanted || strstr(status_last_error(), part) == NULL)
        print_error("got %s \"%s\", wanted %s \"...%s...\"\n", status_name(got),
                    got ? status_last_error() : "", status_name(wanted), part);
    assert_int_equal(got, wanted);
    assert_non_null(strstr(status_last_error(), part));
}

/* ---- tests ---- */

static void test_codec_every_message_round_trips(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        struct message sent = example(examples[i].type), got = {0};
        buffer_clear(&f.bytes);
        arena_reset(f.arena);
        assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
        assert_int_equal(message_unpack(&got, f.arena, f.bytes.bytes, f.bytes.size), STATUS_OK);
        compare(&sent, &got);
        assert_string_not_equal(message_name(got.type), "unknown");
    }
    fixture_end(&f);
}

static void test_codec_empty_messages_round_trip_with_texts_not_null(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    struct message sent = {.type = MESSAGE_notice}, got = {0};
    assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
    assert_int_equal(f.bytes.size, HEADER);
    assert_int_equal(message_unpack(&got, f.arena, f.bytes.bytes, f.bytes.size), STATUS_OK);
    assert_string_equal(got.notice.reason, "");
    assert_string_equal(got.notice.weights_path, "");
    fixture_end(&f);
}

static void test_codec_pack_appends(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    assert_int_equal(buffer_text(&f.bytes, "head"), STATUS_OK);
    struct message sent = example(MESSAGE_plan), got = {0};
    assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
    assert_memory_equal(f.bytes.bytes, "headWEIR", 8);
    assert_int_equal(message_unpack(&got, f.arena, f.bytes.bytes + 4, f.bytes.size - 4), STATUS_OK);
    fixture_end(&f);
}

/* Rules that pack and unpack share: pack is asked here, unpack below with patched bytes. */
static void refuse(const struct message *message, enum status wanted, const char *part)
{
    struct buffer bytes;
    buffer_init(&bytes, 0);
    expect_sentence(message_pack(message, &bytes), wanted, part);
    assert_int_equal(bytes.size, 0);
    buffer_free(&bytes);
}

static char long_text[WIRE_TEXT_MAX + 2];

static void test_codec_bad_common_messages_are_refused(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_COUNT};
    refuse(&m, STATUS_INVALID, "cannot be packed");
    memset(long_text, 'x', sizeof long_text - 1);
    m = example(MESSAGE_hello), m.hello.run = "";
    refuse(&m, STATUS_INVALID, "hello.run is empty");
    m = example(MESSAGE_hello), m.hello.run = long_text + WIRE_TEXT_MAX - WIRE_NAME_MAX;
    refuse(&m, STATUS_LIMIT, "hello.run is longer than 64");
    m = example(MESSAGE_hello), m.hello.role = ROLE_NONE;
    refuse(&m, STATUS_INVALID, "hello.role");
    m = example(MESSAGE_hello), m.hello.role = ROLE_COUNT;
    refuse(&m, STATUS_INVALID, "hello.role is 6, known are 0 to 5");
    m = example(MESSAGE_hello), m.hello.host = "\xc3(";
    refuse(&m, STATUS_INVALID, "hello.host is not UTF-8 at byte 0");
    static const char *const bad_texts[] = {"a\xff",
                                            "\xc0\xaf",
                                            "\xe0\x80\xaf",
                                            "\xed\xa0\x80",
                                            "\xf4\x90\x80\x80",
                                            "\xf0\x8f\xbf\xbf",
                                            "\xe2\x82",
                                            "\x80",
                                            "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad_texts / sizeof bad_texts[0]; i++) {
        m = (struct message){.type = MESSAGE_bye, .bye = {bad_texts[i]}};
        refuse(&m, STATUS_INVALID, "bye.reason is not UTF-8");
    }
    m = (struct message){.type = MESSAGE_bye, .bye = {long_text}};
    refuse(&m, STATUS_LIMIT, "bye.reason is longer");
    m = example(MESSAGE_welcome), m.welcome.heartbeat_ms = 0;
    refuse(&m, STATUS_INVALID, "heartbeat_ms");
}

static void refuse_segment(struct segment segment, enum status wanted, const char *part)
{
    struct segment two[2] = {segments[1], segment};
    struct message m = {.type = MESSAGE_segment_frame,
                        .segment_frame = {.count = 2, .segments = two}};
    refuse(&m, wanted, part);
}

static void test_codec_bad_segments_are_refused(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e-9f};
    for (size_t i = 0; i < 4; i++) {
        float values[6] = {-1, -1, -1, -1, bad[i], -1};
        struct segment s = segments[0];
        s.logprobs = values;
        refuse_segment(s, STATUS_INVALID, "segment_frame.segments[1].logprobs [4]");
        s = segments[0], s.logprobs_truncated = values;
        refuse_segment(s, STATUS_INVALID, "segments[1].logprobs_truncated [4]");
    }
    struct segment s = segments[0];
    s.sample = WIRE_GROUP_SIZE_MAX;
    refuse_segment(s, STATUS_INVALID, "sample");
    s = segments[0], s.first_position = WIRE_TOKENS_MAX - 5;
    refuse_segment(s, STATUS_INVALID, "first_position");
    s = segments[0], s.rebuilt_at = WIRE_TOKENS_MAX + 1;
    refuse_segment(s, STATUS_INVALID, "rebuilt_at");
    s = segments[0], s.status = SEGMENT_STATUS_COUNT;
    refuse_segment(s, STATUS_INVALID, "status");
    s = segments[0], s.proof = PROOF_COUNT;
    refuse_segment(s, STATUS_INVALID, "proof");
    s = segments[2], s.status = SEGMENT_MORE;
    refuse_segment(s, STATUS_INVALID, "only a final segment");
    s = segments[0], s.ids = NULL;
    refuse_segment(s, STATUS_INVALID, "segments[1].ids is missing");
    s = segments[0], s.count = WIRE_SEGMENT_TOKENS_MAX + 1;
    refuse_segment(s, STATUS_LIMIT, "segments[1].ids has 65537");
    struct message m = {
        .type = MESSAGE_segment_frame,
        .segment_frame = {.count = WIRE_FRAME_SEGMENTS_MAX + 1, .segments = segments}};
    refuse(&m, STATUS_LIMIT, "segments has 65537");
}

static void test_codec_bad_leases_are_refused(void **state)
{
    (void)state;
    struct lease lease = leases[0];
    struct message m = {.type = MESSAGE_lease_grant, .lease_grant = {1, &lease}};
    lease.temperature = -0.5f;
    refuse(&m, STATUS_INVALID, "lease_grant.leases[0].temperature");
    lease.temperature = NAN;
    refuse(&m, STATUS_INVALID, "temperature is nan, not finite");
    lease = leases[0], lease.top_p = 1.5f;
    refuse(&m, STATUS_INVALID, "top_p");
    lease = leases[0], lease.sample = WIRE_GROUP_SIZE_MAX;
    refuse(&m, STATUS_INVALID, "sample");
    lease = leases[0], lease.purpose = PURPOSE_COUNT;
    refuse(&m, STATUS_INVALID, "purpose");
    lease = leases[0], lease.budget = WIRE_TOKENS_MAX - 4;
    refuse(&m, STATUS_INVALID, "spans and budget add up");
    struct span span = spans[0];
    span.source = SPAN_SOURCE_COUNT;
    lease = leases[0], lease.span_count = 1, lease.spans = &span;
    refuse(&m, STATUS_INVALID, "leases[0].spans[0].source");
    m = example(MESSAGE_frame_ack), m.frame_ack.cancelled_count = WIRE_LEASES_MAX + 1;
    refuse(&m, STATUS_LIMIT, "cancelled has 65537");
}

static void test_codec_bad_scores_are_refused(void **state)
{
    (void)state;
    struct score score = scores[0];
    struct message m = {.type = MESSAGE_score_result,
                        .score_result = {.count = 1, .scores = &score}};
    score.value = (double)NAN;
    refuse(&m, STATUS_INVALID, "score_result.scores[0].value");
    score = scores[0], score.status = SCORE_TIMEOUT;
    refuse(&m, STATUS_INVALID, "which has no value");
    score = scores[0], score.status = SCORE_STATUS_COUNT;
    refuse(&m, STATUS_INVALID, "status");
    score = scores[0], score.sample = WIRE_GROUP_SIZE_MAX;
    refuse(&m, STATUS_INVALID, "sample");
    struct score_item item = score_items[0];
    m = (struct message){.type = MESSAGE_score_work, .score_work = {1, &item}};
    item.sample = 16;
    refuse(&m, STATUS_INVALID, "sample 16 of a group of 16");
    item = score_items[0], item.group_size = WIRE_GROUP_SIZE_MAX + 1;
    refuse(&m, STATUS_INVALID, "group_size");
    item = score_items[0], item.finish = SEGMENT_STATUS_COUNT;
    refuse(&m, STATUS_INVALID, "finish");
    item = score_items[0], item.prompt_count = item.response_count = WIRE_TOKENS_MAX;
    item.response_logprobs = NULL;
    refuse(&m, STATUS_INVALID, "with the prompt");
}

static void test_codec_bad_plans_and_groups_are_refused(void **state)
{
    (void)state;
    static const uint32_t bad_cuts[][3] = {{1, 2, 3}, {0, 2, 2}, {0, 3, 1}, {0, 1, 4}};
    struct message m = example(MESSAGE_plan);
    for (size_t i = 0; i < 4; i++) {
        m.plan.cuts = bad_cuts[i];
        refuse(&m, STATUS_INVALID, "plan.cuts [");
    }
    m = example(MESSAGE_plan), m.plan.cut_count = 0;
    refuse(&m, STATUS_INVALID, "0 cuts for 4 groups");
    m = example(MESSAGE_plan), m.plan.group_count = WIRE_GROUPS_MAX + 1;
    refuse(&m, STATUS_LIMIT, "group_ids has 1000001");
    struct group_sample sample = samples[0];
    m = example(MESSAGE_group_data), m.group_data.samples = &sample, m.group_data.sample_count = 1;
    sample.piece_count = 1;
    refuse(&m, STATUS_INVALID, "group_data.samples[0].pieces add up to 4 tokens, count is 6");
    sample = samples[0], sample.sample = WIRE_GROUP_SIZE_MAX;
    refuse(&m, STATUS_INVALID, "sample 65536");
    sample = samples[0], sample.reward = (double)INFINITY;
    refuse(&m, STATUS_INVALID, "reward");
    sample = samples[0], sample.score_status = SCORE_STATUS_COUNT;
    refuse(&m, STATUS_INVALID, "score_status");
    static const float bad_mask[6] = {0, 0, 0, 2, 0, 0};
    sample = samples[0], sample.mask = bad_mask;
    refuse(&m, STATUS_INVALID, "mask [3] is 2");
    sample = samples[0], m.group_data.prompt_count = WIRE_TOKENS_MAX - 5;
    refuse(&m, STATUS_INVALID, "samples [0] has");
    m = example(MESSAGE_group_data), m.group_data.temperature = -1;
    refuse(&m, STATUS_INVALID, "temperature");
}

static void test_codec_bad_weight_controls_are_refused(void **state)
{
    (void)state;
    struct message m = example(MESSAGE_weight_control);
    m.weight_control.kind = WEIGHT_KIND_COUNT;
    refuse(&m, STATUS_INVALID, "kind");
    m = example(MESSAGE_weight_control), m.weight_control.kind = WEIGHT_SEND;
    refuse(&m, STATUS_INVALID, "32 words, kind 6 needs 0");
    m = example(MESSAGE_weight_control), m.weight_control.id_count = 31;
    refuse(&m, STATUS_INVALID, "31 words, kind 5 needs 32");
    m = example(MESSAGE_weight_control), m.weight_control.rank = 3;
    refuse(&m, STATUS_INVALID, "rank 3 of 3");
    m = example(MESSAGE_weight_control), m.weight_control.rank = 0;
    refuse(&m, STATUS_INVALID, "rank 0 of 3");
}

/* Replaces the first `size` bytes equal to `from` in the body, repairs the CRC, unpacks. */
static void patch_and_refuse(enum message_type type, const void *from, const void *to, size_t size,
                             enum status wanted, const char *part)
{
    struct fixture f = fixture_make();
    struct message sent = example(type), got = {.type = MESSAGE_COUNT};
    assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
    uint8_t *at = memmem(f.bytes.bytes + HEADER, f.bytes.size - HEADER, from, size);
    assert_non_null(at);
    memcpy(at, to, size);
    fix_crc(f.bytes.bytes, f.bytes.size);
    expect_sentence(message_unpack(&got, f.arena, f.bytes.bytes, f.bytes.size), wanted, part);
    assert_int_equal(got.type, MESSAGE_COUNT);
    fixture_end(&f);
}

static void test_codec_unpack_keeps_the_same_promises(void **state)
{
    (void)state;
    float nan = NAN, minus13 = -13.5f;
    patch_and_refuse(MESSAGE_segment_frame, &minus13, &nan, 4, STATUS_INVALID,
                     "segment_frame.segments[0].logprobs [3]");
    /* segment.count = 6 (field 6, varint) against 24 bytes of ids */
    patch_and_refuse(MESSAGE_segment_frame, "\x30\x06", "\x30\x05", 2, STATUS_INVALID,
                     "ids has 24 bytes for 5 elements");
    patch_and_refuse(MESSAGE_bye, "drained", "dra\0ned", 7, STATUS_INVALID,
                     "bye.reason has a NUL inside");
    patch_and_refuse(MESSAGE_bye, "drained", "dra\xffned", 7, STATUS_INVALID,
                     "bye.reason is not UTF-8 at byte 3");
    patch_and_refuse(MESSAGE_hello, "\x10\x02", "\x10\x09", 2, STATUS_INVALID, "hello.role is 9");
    static const uint32_t last_cuts[2] = {1, 3}, past[2] = {1, 9};
    patch_and_refuse(MESSAGE_plan, last_cuts, past, 8, STATUS_INVALID,
                     "plan.cuts [2] is 9 of 4 groups");
    patch_and_refuse(MESSAGE_group_data, "\x08\x04\x10\x07", "\x08\x03\x10\x07", 4, STATUS_INVALID,
                     "pieces add up to 5");
}

static void test_codec_wrong_envelopes_are_refused(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    struct message sent = example(MESSAGE_ack), got;
    assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
    static const struct {
        size_t at;
        uint8_t value;
        enum status status;
        const char *part;
    } cases[] = {
        {0, 'X', STATUS_CORRUPT, "WEIR"},
        {4, 2, STATUS_INVALID, "protocol 2"},
        {6, MESSAGE_COUNT, STATUS_INVALID, "type 26"},
        {6, MESSAGE_bye, STATUS_CORRUPT, "CRC32C"},
        {8, 99, STATUS_CORRUPT, "99 body bytes"},
        {HEADER, 0x7f, STATUS_CORRUPT, "CRC32C"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t saved = f.bytes.bytes[cases[i].at];
        f.bytes.bytes[cases[i].at] = cases[i].value;
        expect_sentence(message_unpack(&got, f.arena, f.bytes.bytes, f.bytes.size), cases[i].status,
                        cases[i].part);
        f.bytes.bytes[cases[i].at] = saved;
    }
    f.bytes.bytes[HEADER] = 0x0f; /* wire type 7 does not exist */
    fix_crc(f.bytes.bytes, f.bytes.size);
    expect_sentence(message_unpack(&got, f.arena, f.bytes.bytes, f.bytes.size), STATUS_CORRUPT,
                    "not protobuf");
    expect_sentence(message_unpack(&got, f.arena, f.bytes.bytes, (size_t)WIRE_MESSAGE_MAX + 1),
                    STATUS_LIMIT, "limit");
    fixture_end(&f);
}

static void test_codec_small_arena_is_a_limit(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    struct message sent = example(MESSAGE_segment_frame), got;
    assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
    size_t limit = 0;
    for (enum status status = STATUS_LIMIT; status != STATUS_OK; limit += 16) {
        struct arena *arena = NULL;
        assert_int_equal(arena_create(&arena, limit), STATUS_OK);
        status = message_unpack(&got, arena, f.bytes.bytes, f.bytes.size);
        assert_true(status == STATUS_OK || status == STATUS_LIMIT);
        arena_destroy(&arena);
        assert_true(limit < 65536);
    }
    assert_true(limit > 256);
    fixture_end(&f);
}

static void test_codec_too_large_message_is_a_limit(void **state)
{
    (void)state;
    /* 17 replies' worth of text: each field is allowed, the sum is not */
    memset(long_text, 'x', sizeof long_text - 1);
    static struct score many[17];
    for (int i = 0; i < 17; i++)
        many[i].detail_json = long_text + 1;
    struct message m = {.type = MESSAGE_score_result,
                        .score_result = {.count = 17, .scores = many}};
    refuse(&m, STATUS_LIMIT, "send fewer items");
}

/* Under a sanitizer this also shows that no byte past a cut is read. */
static void test_codec_truncated_and_flipped_frames_are_refused(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    struct message got;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        struct message sent = example(examples[i].type);
        buffer_clear(&f.bytes);
        assert_int_equal(message_pack(&sent, &f.bytes), STATUS_OK);
        for (size_t size = 0; size < f.bytes.size; size++) {
            arena_reset(f.arena);
            uint8_t *cut = memory_alloc(size + 1);
            memcpy(cut, f.bytes.bytes, size);
            assert_int_equal(message_unpack(&got, f.arena, cut, size), STATUS_CORRUPT);
            if (size >
                HEADER) { /* reach the body: may pass (a cut after a whole field), must not crash */
                fix_crc(cut, size);
                enum status status = message_unpack(&got, f.arena, cut, size);
                (void)status;
            }
            memory_free(cut);
        }
        for (size_t bit = 0; bit < f.bytes.size * 8; bit++) {
            f.bytes.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            arena_reset(f.arena);
            assert_int_not_equal(message_unpack(&got, f.arena, f.bytes.bytes, f.bytes.size),
                                 STATUS_OK);
            f.bytes.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    fixture_end(&f);
}

static void test_codec_without_memory_fails_and_leaks_nothing(void **state)
{
    (void)state;
    struct message m = example(MESSAGE_segment_frame);
    int64_t live = memory_blocks_live();
    for (int64_t n = 1; n < 100; n++) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        memory_fail_after(n);
        enum status status = message_pack(&m, &bytes);
        memory_fail_after(-1);
        buffer_free(&bytes);
        assert_int_equal(memory_blocks_live(), live);
        if (status == STATUS_OK)
            return;
        assert_int_equal(status, STATUS_NO_MEMORY);
    }
    fail_msg("never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec_every_message_round_trips),
        cmocka_unit_test(test_codec_empty_messages_round_trip_with_texts_not_null),
        cmocka_unit_test(test_codec_pack_appends),
        cmocka_unit_test(test_codec_bad_common_messages_are_refused),
        cmocka_unit_test(test_codec_bad_segments_are_refused),
        cmocka_unit_test(test_codec_bad_leases_are_refused),
        cmocka_unit_test(test_codec_bad_scores_are_refused),
        cmocka_unit_test(test_codec_bad_plans_and_groups_are_refused),
        cmocka_unit_test(test_codec_bad_weight_controls_are_refused),
        cmocka_unit_test(test_codec_unpack_keeps_the_same_promises),
        cmocka_unit_test(test_codec_wrong_envelopes_are_refused),
        cmocka_unit_test(test_codec_small_arena_is_a_limit),
        cmocka_unit_test(test_codec_too_large_message_is_a_limit),
        cmocka_unit_test(test_codec_truncated_and_flipped_frames_are_refused),
        cmocka_unit_test(test_codec_without_memory_fails_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
