/* codec_reward.c - shapes of the messages between store and reward worker: work out, scores in. */
#include <inttypes.h>

#include "proto/codec_shape.h"
#include "proto/weir.pb-c.h"

_Static_assert(SCORE_UNSCORABLE == (int)WEIR__SCORE_STATUS__SCORE_UNSCORABLE,
               "weir.proto lists the same score statuses");

// clang-format off
static const struct wire_field score_request_fields[] = {
    NUMBER(score_request, ScoreRequest, incarnation),
    NUMBER(score_request, ScoreRequest, free),
    NUMBER(score_request, ScoreRequest, caps),
};
static const struct wire_field score_item_fields[] = {
    NUMBER(score_item, ScoreItem, group_id),
    NUMBER(score_item, ScoreItem, sample),
    NUMBER(score_item, ScoreItem, attempt),
    NUMBER(score_item, ScoreItem, prompt_id),
    TEXT(score_item, ScoreItem, record_json, WIRE_TEXT_MAX),
    NUMBER(score_item, ScoreItem, prompt_count),
    NUMBER(score_item, ScoreItem, response_count),
    ARRAY(score_item, ScoreItem, prompt_ids, FIELD_U32S, prompt_count, WIRE_TOKENS_MAX),
    ARRAY(score_item, ScoreItem, response_ids, FIELD_U32S, response_count, WIRE_TOKENS_MAX),
    CHOICE(score_item, ScoreItem, finish, SEGMENT_STATUS_COUNT),
    NUMBER(score_item, ScoreItem, group_size),
    NUMBER(score_item, ScoreItem, version),
    CHOICE(score_item, ScoreItem, purpose, PURPOSE_COUNT),
    ARRAY_OPTIONAL(score_item, ScoreItem, response_logprobs, FIELD_LOGPROBS, response_count,
                   WIRE_TOKENS_MAX),
    NUMBER(score_item, ScoreItem, scored),
};
static const struct wire_field score_fields[] = {
    NUMBER(score, Score, group_id),
    NUMBER(score, Score, sample),
    NUMBER(score, Score, attempt),
    CHOICE(score, Score, status, SCORE_STATUS_COUNT),
    NUMBER(score, Score, value),
    TEXT(score, Score, detail_json, WIRE_TEXT_MAX),
    NUMBER(score, Score, scorer),
};
// clang-format on

static enum status score_item_check(const void *plain, const struct wire_path *path)
{
    const struct score_item *item = plain;
    if (item->group_size > WIRE_GROUP_SIZE_MAX)
        return wire_invalid(path, "group_size", "%" PRIu32 " is above %d", item->group_size,
                            WIRE_GROUP_SIZE_MAX);
    if (item->sample >= item->group_size)
        return wire_invalid(path, "sample", "%" PRIu32 " of a group of %" PRIu32, item->sample,
                            item->group_size);
    uint64_t tokens = (uint64_t)item->prompt_count + item->response_count;
    if (tokens > WIRE_TOKENS_MAX)
        return wire_invalid(path, "response_count", "%" PRIu64 " tokens with the prompt, limit %d",
                            tokens, WIRE_TOKENS_MAX);
    return STATUS_OK;
}

static enum status score_check(const void *plain, const struct wire_path *path)
{
    const struct score *score = plain;
    if (score->sample >= WIRE_GROUP_SIZE_MAX)
        return wire_invalid(path, "sample", "%" PRIu32 " is not below %d", score->sample,
                            WIRE_GROUP_SIZE_MAX);
    bool scored = score->status == SCORE_OK || score->status == SCORE_FAIL;
    if (!scored && (score->value < 0 || score->value > 0))
        return wire_invalid(path, "value", "%g with status %d, which has no value", score->value,
                            (int)score->status);
    return STATUS_OK;
}

static const struct wire_shape shape_score_item =
    SHAPE(score_item, weir__score_item__descriptor, score_item_check);
static const struct wire_shape shape_score = SHAPE(score, weir__score__descriptor, score_check);

// clang-format off
static const struct wire_field score_work_fields[] = {
    MESSAGES(score_work, ScoreWork, items, count, WIRE_FRAME_SEGMENTS_MAX, score_item),
};
static const struct wire_field score_result_fields[] = {
    NUMBER(score_result, ScoreResult, frame_id),
    NUMBER(score_result, ScoreResult, incarnation),
    MESSAGES(score_result, ScoreResult, scores, count, WIRE_FRAME_SEGMENTS_MAX, score),
};
static const struct wire_field score_ack_fields[] = {
    NUMBER(score_ack, ScoreAck, frame_id),
};
// clang-format on

const struct wire_shape shape_score_request =
    SHAPE(score_request, weir__score_request__descriptor, NULL);
const struct wire_shape shape_score_work = SHAPE(score_work, weir__score_work__descriptor, NULL);
const struct wire_shape shape_score_result =
    SHAPE(score_result, weir__score_result__descriptor, NULL);
const struct wire_shape shape_score_ack = SHAPE(score_ack, weir__score_ack__descriptor, NULL);
