/* codec_learner.c - shapes of the messages of the learner: plans and groups in, versions and weights out. */
#include <inttypes.h>

#include "proto/codec_shape.h"
#include "proto/weir.pb-c.h"

_Static_assert(WEIGHT_END == (int)WEIR__WEIGHT_KIND__WEIGHT_END, "weir.proto lists the same kinds");

// clang-format off
static const struct wire_field plan_request_fields[] = {
    NUMBER(plan_request, PlanRequest, version),
    NUMBER(plan_request, PlanRequest, branch),
    NUMBER(plan_request, PlanRequest, checkpoint_version),
    NUMBER(plan_request, PlanRequest, checkpoint_digest),
};
static const struct wire_field plan_fields[] = {
    NUMBER(plan, Plan, branch),
    NUMBER(plan, Plan, version),
    NUMBER(plan, Plan, digest),
    NUMBER(plan, Plan, group_count),
    ARRAY(plan, Plan, group_ids, FIELD_U64S, group_count, WIRE_GROUPS_MAX),
    NUMBER(plan, Plan, cut_count),
    ARRAY(plan, Plan, cuts, FIELD_U32S, cut_count, WIRE_GROUPS_MAX),
    NUMBER(plan, Plan, last),
    TEXT(plan, Plan, settings_json, WIRE_TEXT_MAX),
    NUMBER(plan, Plan, groups_dropped),
    NUMBER(plan, Plan, dropped_reward),
    NUMBER(plan, Plan, stage),
    NUMBER(plan, Plan, response_tokens_max),
};
static const struct wire_field group_request_fields[] = {
    NUMBER(group_request, GroupRequest, group_id),
};
static const struct wire_field group_piece_fields[] = {
    NUMBER(group_piece, GroupPiece, count),
    NUMBER(group_piece, GroupPiece, version),
    NUMBER(group_piece, GroupPiece, kv_version_min),
};
static const struct wire_shape shape_group_piece =
    SHAPE(group_piece, weir__group_piece__descriptor, NULL);

static const struct wire_field group_sample_fields[] = {
    NUMBER(group_sample, GroupSample, sample),
    NUMBER(group_sample, GroupSample, attempt),
    NUMBER(group_sample, GroupSample, count),
    ARRAY(group_sample, GroupSample, ids, FIELD_U32S, count, WIRE_TOKENS_MAX),
    ARRAY(group_sample, GroupSample, logprobs, FIELD_LOGPROBS, count, WIRE_TOKENS_MAX),
    ARRAY(group_sample, GroupSample, mask, FIELD_MASK, count, WIRE_TOKENS_MAX),
    MESSAGES(group_sample, GroupSample, pieces, piece_count, WIRE_TOKENS_MAX, group_piece),
    CHOICE(group_sample, GroupSample, finish, SEGMENT_STATUS_COUNT),
    CHOICE(group_sample, GroupSample, score_status, SCORE_STATUS_COUNT),
    NUMBER(group_sample, GroupSample, reward),
};
static const struct wire_field version_register_fields[] = {
    NUMBER(version_register, VersionRegister, request),
    NUMBER(version_register, VersionRegister, branch),
    NUMBER(version_register, VersionRegister, version),
    NUMBER(version_register, VersionRegister, parent),
    NUMBER(version_register, VersionRegister, digest),
    TEXT(version_register, VersionRegister, weights_path, WIRE_PATH_MAX),
};
static const struct wire_field checkpoint_report_fields[] = {
    NUMBER(checkpoint_report, CheckpointReport, request),
    NUMBER(checkpoint_report, CheckpointReport, branch),
    NUMBER(checkpoint_report, CheckpointReport, version),
    NUMBER(checkpoint_report, CheckpointReport, digest),
    TEXT(checkpoint_report, CheckpointReport, path, WIRE_PATH_MAX),
};
static const struct wire_field step_report_fields[] = {
    NUMBER(step_report, StepReport, version),
    TEXT(step_report, StepReport, metrics_json, WIRE_TEXT_MAX),
};
static const struct wire_field weight_control_fields[] = {
    CHOICE(weight_control, WeightControl, kind, WEIGHT_KIND_COUNT),
    NUMBER(weight_control, WeightControl, actor),
    NUMBER(weight_control, WeightControl, incarnation),
    NUMBER(weight_control, WeightControl, epoch),
    NUMBER(weight_control, WeightControl, rank),
    NUMBER(weight_control, WeightControl, ranks),
    NUMBER(weight_control, WeightControl, version),
    NUMBER(weight_control, WeightControl, digest),
    NUMBER(weight_control, WeightControl, branch),
    NUMBER(weight_control, WeightControl, id_count),
    ARRAY(weight_control, WeightControl, id, FIELD_U32S, id_count, WIRE_WEIGHT_ID_WORDS),
};
// clang-format on

/* cuts[0] = 0, then strictly ascending, each below group_count: no minibatch is empty. */
static enum status plan_check(const void *plain, const struct wire_path *path)
{
    const struct plan *plan = plain;
    if ((plan->cut_count == 0) != (plan->group_count == 0))
        return wire_invalid(path, "cut_count", "%" PRIu32 " cuts for %" PRIu32 " groups",
                            plan->cut_count, plan->group_count);
    for (uint32_t i = 0; i < plan->cut_count; i++) {
        uint32_t cut = plan->cuts[i];
        if (i == 0 ? cut != 0 : cut <= plan->cuts[i - 1])
            return wire_invalid(path, "cuts", "[%" PRIu32 "] is %" PRIu32 ": cuts ascend from 0", i,
                                cut);
        if (cut >= plan->group_count)
            return wire_invalid(path, "cuts", "[%" PRIu32 "] is %" PRIu32 " of %" PRIu32 " groups",
                                i, cut, plan->group_count);
    }
    return STATUS_OK;
}

static enum status group_sample_check(const void *plain, const struct wire_path *path)
{
    const struct group_sample *sample = plain;
    if (sample->sample >= WIRE_GROUP_SIZE_MAX)
        return wire_invalid(path, "sample", "%" PRIu32 " is not below %d", sample->sample,
                            WIRE_GROUP_SIZE_MAX);
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < sample->piece_count; i++)
        tokens += sample->pieces[i].count;
    if (tokens != sample->count)
        return wire_invalid(path, "pieces", "add up to %" PRIu64 " tokens, count is %" PRIu32,
                            tokens, sample->count);
    return STATUS_OK;
}

static enum status group_data_check(const void *plain, const struct wire_path *path)
{
    const struct group_data *group = plain;
    if (!(group->temperature >= 0))
        return wire_invalid(path, "temperature", "%g is negative", (double)group->temperature);
    for (uint32_t i = 0; i < group->sample_count; i++) {
        uint64_t tokens = (uint64_t)group->prompt_count + group->samples[i].count;
        if (tokens > WIRE_TOKENS_MAX)
            return wire_invalid(path, "samples",
                                "[%" PRIu32 "] has %" PRIu64 " tokens with the prompt, limit %d", i,
                                tokens, WIRE_TOKENS_MAX);
    }
    return STATUS_OK;
}

static enum status weight_control_check(const void *plain, const struct wire_path *path)
{
    const struct weight_control *control = plain;
    bool epoch = control->kind == WEIGHT_EPOCH;
    if (control->id_count != (epoch ? WIRE_WEIGHT_ID_WORDS : 0))
        return wire_invalid(path, "id", "has %" PRIu32 " words, kind %d needs %d",
                            control->id_count, (int)control->kind,
                            epoch ? WIRE_WEIGHT_ID_WORDS : 0);
    if (epoch && (control->rank == 0 || control->rank >= control->ranks))
        return wire_invalid(path, "rank", "%" PRIu32 " of %" PRIu32 ": the learner has rank 0",
                            control->rank, control->ranks);
    return STATUS_OK;
}

static const struct wire_shape shape_group_sample =
    SHAPE(group_sample, weir__group_sample__descriptor, group_sample_check);

// clang-format off
static const struct wire_field group_data_fields[] = {
    NUMBER(group_data, GroupData, group_id),
    NUMBER(group_data, GroupData, prompt_id),
    NUMBER(group_data, GroupData, temperature),
    NUMBER(group_data, GroupData, prompt_count),
    ARRAY(group_data, GroupData, prompt_ids, FIELD_U32S, prompt_count, WIRE_TOKENS_MAX),
    MESSAGES(group_data, GroupData, samples, sample_count, WIRE_GROUP_SIZE_MAX, group_sample),
    TEXT(group_data, GroupData, source, WIRE_TEXT_MAX),
};
// clang-format on

const struct wire_shape shape_plan_request =
    SHAPE(plan_request, weir__plan_request__descriptor, NULL);
const struct wire_shape shape_plan = SHAPE(plan, weir__plan__descriptor, plan_check);
const struct wire_shape shape_group_request =
    SHAPE(group_request, weir__group_request__descriptor, NULL);
const struct wire_shape shape_group_data =
    SHAPE(group_data, weir__group_data__descriptor, group_data_check);
const struct wire_shape shape_version_register =
    SHAPE(version_register, weir__version_register__descriptor, NULL);
const struct wire_shape shape_checkpoint_report =
    SHAPE(checkpoint_report, weir__checkpoint_report__descriptor, NULL);
const struct wire_shape shape_step_report = SHAPE(step_report, weir__step_report__descriptor, NULL);
const struct wire_shape shape_weight_control =
    SHAPE(weight_control, weir__weight_control__descriptor, weight_control_check);
