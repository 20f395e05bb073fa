/* codec_actor.c - shapes of the messages between store and actor: leases out, segments in. */
#include <inttypes.h>

#include "proto/codec_shape.h"
#include "proto/weir.pb-c.h"

_Static_assert(SPAN_ENV == (int)WEIR__SPAN_SOURCE__SPAN_ENV, "weir.proto lists the same sources");
_Static_assert(PURPOSE_SERVE == (int)WEIR__PURPOSE__PURPOSE_SERVE, "same purposes");
_Static_assert(SEGMENT_ABORT == (int)WEIR__SEGMENT_STATUS__SEGMENT_ABORT, "same segment statuses");
_Static_assert(PROOF_NONE == (int)WEIR__PROOF__PROOF_NONE, "same proofs");

// clang-format off
static const struct wire_field span_fields[] = {
    CHOICE(span, Span, source, SPAN_SOURCE_COUNT),
    NUMBER(span, Span, train),
    NUMBER(span, Span, count),
    ARRAY(span, Span, ids, FIELD_U32S, count, WIRE_TOKENS_MAX),
};
static const struct wire_shape shape_span = SHAPE(span, weir__span__descriptor, NULL);

static const struct wire_field lease_request_fields[] = {
    NUMBER(lease_request, LeaseRequest, incarnation),
    NUMBER(lease_request, LeaseRequest, slots),
    NUMBER(lease_request, LeaseRequest, tokens),
    NUMBER(lease_request, LeaseRequest, version),
};
static const struct wire_field lease_fields[] = {
    NUMBER(lease, Lease, lease_id),
    NUMBER(lease, Lease, group_id),
    NUMBER(lease, Lease, sample),
    NUMBER(lease, Lease, attempt),
    CHOICE(lease, Lease, purpose, PURPOSE_COUNT),
    NUMBER(lease, Lease, prompt_id),
    NUMBER(lease, Lease, min_version),
    NUMBER(lease, Lease, budget),
    NUMBER(lease, Lease, temperature),
    NUMBER(lease, Lease, top_p),
    NUMBER(lease, Lease, top_k),
    NUMBER(lease, Lease, repetition_run),
    NUMBER(lease, Lease, kv_version_min),
    MESSAGES(lease, Lease, spans, span_count, WIRE_SEGMENT_TOKENS_MAX, span),
};
static const struct wire_field segment_fields[] = {
    NUMBER(segment, Segment, lease_id),
    NUMBER(segment, Segment, group_id),
    NUMBER(segment, Segment, sample),
    NUMBER(segment, Segment, attempt),
    NUMBER(segment, Segment, first_position),
    NUMBER(segment, Segment, count),
    ARRAY(segment, Segment, ids, FIELD_U32S, count, WIRE_SEGMENT_TOKENS_MAX),
    ARRAY(segment, Segment, logprobs, FIELD_LOGPROBS, count, WIRE_SEGMENT_TOKENS_MAX),
    ARRAY_OPTIONAL(segment, Segment, logprobs_truncated, FIELD_LOGPROBS, count, WIRE_SEGMENT_TOKENS_MAX),
    NUMBER(segment, Segment, version),
    NUMBER(segment, Segment, digest),
    NUMBER(segment, Segment, kv_version_min),
    NUMBER(segment, Segment, rebuilt_at),
    NUMBER(segment, Segment, repetition_run),
    NUMBER(segment, Segment, numerics_id),
    CHOICE(segment, Segment, proof, PROOF_COUNT),
    CHOICE(segment, Segment, status, SEGMENT_STATUS_COUNT),
};
// clang-format on

static enum status lease_check(const void *plain, const struct wire_path *path)
{
    const struct lease *lease = plain;
    if (lease->sample >= WIRE_GROUP_SIZE_MAX)
        return wire_invalid(path, "sample", "%" PRIu32 " is not below %d", lease->sample,
                            WIRE_GROUP_SIZE_MAX);
    if (!(lease->temperature >= 0))
        return wire_invalid(path, "temperature", "%g is negative", (double)lease->temperature);
    if (!(lease->top_p >= 0 && lease->top_p <= 1))
        return wire_invalid(path, "top_p", "%g is not in [0, 1]", (double)lease->top_p);
    uint64_t tokens = lease->budget;
    for (uint32_t i = 0; i < lease->span_count; i++)
        tokens += lease->spans[i].count;
    if (tokens > WIRE_TOKENS_MAX)
        return wire_invalid(path, "spans", "and budget add up to %" PRIu64 " tokens, limit %d",
                            tokens, WIRE_TOKENS_MAX);
    return STATUS_OK;
}

static enum status segment_check(const void *plain, const struct wire_path *path)
{
    const struct segment *segment = plain;
    if (segment->sample >= WIRE_GROUP_SIZE_MAX)
        return wire_invalid(path, "sample", "%" PRIu32 " is not below %d", segment->sample,
                            WIRE_GROUP_SIZE_MAX);
    if (segment->count == 0 && segment->status == SEGMENT_MORE) {
        codec_note(REFUSAL_EMPTY);
        return wire_invalid(path, "count", "is 0, which only a final segment may have");
    }
    uint64_t end = (uint64_t)segment->first_position + segment->count;
    if (end > WIRE_TOKENS_MAX) {
        codec_note(REFUSAL_TOO_LONG);
        return wire_invalid(path, "first_position",
                            "%" PRIu32 " and count %" PRIu32 " go past %d tokens",
                            segment->first_position, segment->count, WIRE_TOKENS_MAX);
    }
    if (segment->rebuilt_at != UINT32_MAX && segment->rebuilt_at > WIRE_TOKENS_MAX)
        return wire_invalid(path, "rebuilt_at", "%" PRIu32 " is past %d tokens",
                            segment->rebuilt_at, WIRE_TOKENS_MAX);
    return STATUS_OK;
}

const struct wire_shape shape_lease_request =
    SHAPE(lease_request, weir__lease_request__descriptor, NULL);
static const struct wire_shape shape_lease = SHAPE(lease, weir__lease__descriptor, lease_check);
static const struct wire_shape shape_segment =
    SHAPE(segment, weir__segment__descriptor, segment_check);

// clang-format off
static const struct wire_field lease_grant_fields[] = {
    MESSAGES(lease_grant, LeaseGrant, leases, count, WIRE_LEASES_MAX, lease),
};
static const struct wire_field segment_frame_fields[] = {
    NUMBER(segment_frame, SegmentFrame, frame_id),
    NUMBER(segment_frame, SegmentFrame, incarnation),
    MESSAGES(segment_frame, SegmentFrame, segments, count, WIRE_FRAME_SEGMENTS_MAX, segment),
};
static const struct wire_field frame_ack_fields[] = {
    NUMBER(frame_ack, FrameAck, frame_id),
    NUMBER(frame_ack, FrameAck, cancelled_count),
    ARRAY(frame_ack, FrameAck, cancelled, FIELD_U64S, cancelled_count, WIRE_LEASES_MAX),
};
// clang-format on

const struct wire_shape shape_lease_grant = SHAPE(lease_grant, weir__lease_grant__descriptor, NULL);
const struct wire_shape shape_segment_frame =
    SHAPE(segment_frame, weir__segment_frame__descriptor, NULL);
const struct wire_shape shape_frame_ack = SHAPE(frame_ack, weir__frame_ack__descriptor, NULL);
