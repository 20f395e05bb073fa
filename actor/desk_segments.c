/* actor/desk_segments.c - tokens out: what each slot has not reported yet becomes a segment of one frame. */
#include "actor/desk_state.h"

static bool cuts_sampling(const struct slot *slot)
{
    return slot->sampling.top_p < 1.0f || slot->sampling.top_k > 0;
}

static struct segment make_segment(const struct desk *desk, const struct slot *slot,
                                   enum segment_status status)
{
    uint32_t from = slot->reported;
    return (struct segment){
        .lease_id = slot->lease_id,
        .group_id = slot->group_id,
        .sample = slot->sample,
        .attempt = slot->attempt,
        .first_position = from,
        .count = slot->response - from,
        .ids = slot->ids + slot->prompt + from,
        .logprobs = slot->logprobs + from,
        .logprobs_truncated = cuts_sampling(slot) ? slot->logprobs_truncated + from : NULL,
        .version = desk->version,
        .digest = desk->digest,
        .kv_version_min =
            slot->kv_version_min < desk->version ? slot->kv_version_min : desk->version,
        .rebuilt_at = slot->rebuilt_at,
        .repetition_run = slot->guard.run,
        .numerics_id = desk->config.numerics_id,
        .proof = PROOF_OWN,
        .status = status,
    };
}

/* What a live slot has to say now; MORE with `due` false: nothing. */
static enum segment_status status_now(const struct desk *desk, const struct slot *slot, bool all,
                                      bool abort_live, bool *due)
{
    uint32_t unreported = slot->response - slot->reported;
    *due = true;
    if (slot->finished != SEGMENT_MORE)
        return slot->finished;
    if (abort_live)
        return SEGMENT_ABORT;
    *due = unreported >= desk->config.segment_tokens || (all && unreported > 0);
    return SEGMENT_MORE;
}

/* One frame. all: everything unreported leaves (a swap, a drain, the timer); else only slots that are due.
 * A finished slot becomes free here: its tokens are now the writer's. */
static enum status collect(struct desk *desk, bool all, bool abort_live)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < desk_leased(desk); i++) {
        const struct slot *slot = &desk->slots[i];
        bool due = false;
        if (slot->state == SLOT_FREE)
            continue;
        enum segment_status status = status_now(desk, slot, all, abort_live, &due);
        if (due)
            desk->ready[count++] = make_segment(desk, slot, status);
    }
    if (count == 0)
        return STATUS_OK;
    TRY(segment_writer_add(&desk->writer, desk->config.incarnation, desk->ready, count));
    for (uint32_t i = 0, c = 0; i < desk_leased(desk) && c < count; i++) {
        struct slot *slot = &desk->slots[i];
        if (slot->state == SLOT_FREE || desk->ready[c].lease_id != slot->lease_id)
            continue;
        slot->reported = slot->response;
        slot->rebuilt_at = UINT32_MAX;
        if (desk->ready[c++].status != SEGMENT_MORE)
            desk_end_slot(desk, i);
    }
    return STATUS_OK;
}

/* A sample with segment_tokens new tokens; or a finished one, so that its slot gets new work: at once when
 * nothing is on its way, else with the acknowledgement, which keeps frames from being tiny. */
static bool any_due(const struct desk *desk)
{
    for (uint32_t i = 0; i < desk_leased(desk); i++) {
        const struct slot *slot = &desk->slots[i];
        if (slot->state == SLOT_FINISHED && desk->writer.count == 0)
            return true;
        if (slot->state != SLOT_FREE &&
            slot->response - slot->reported >= desk->config.segment_tokens)
            return true;
    }
    return false;
}

static enum status answer_refused(struct desk *desk)
{
    if (desk->refused_count == 0 || segment_writer_full(&desk->writer))
        return STATUS_OK;
    TRY(segment_writer_add(&desk->writer, desk->config.incarnation, desk->refused,
                           desk->refused_count));
    desk->refused_count = 0;
    return STATUS_OK;
}

static enum status send_kept(struct desk *desk)
{
    uint32_t sent = 0;
    struct actor_metrics *metrics = desk->config.metrics;
    TRY(segment_writer_flush(&desk->writer, desk->config.send, desk->config.self, &sent));
    metric_add(&metrics->frames_sent, sent);
    metric_set(&metrics->frames_unacked, desk->writer.count);
    metric_set(&metrics->bytes_unacked, (double)desk->writer.bytes);
    return STATUS_OK;
}

/* Leases that never ran have nothing to say: the store takes them back at our bye. Their weights may be newer than
 * ours, so a segment of ours would be refused. */
static void drop_waiting(struct desk *desk)
{
    for (uint32_t i = 0; i < desk_leased(desk); i++)
        if (desk->slots[i].state == SLOT_WAITING)
            desk_end_slot(desk, i);
}

enum status desk_send_frames(struct desk *desk, int64_t now_ns, bool all)
{
    bool timer = now_ns >= desk->frame_due_ns;
    if (desk->handing_back)
        drop_waiting(desk);
    TRY(answer_refused(desk));
    all = all || timer || desk->handing_back;
    if (desk->serving && !segment_writer_full(&desk->writer) && (all || any_due(desk))) {
        TRY(collect(desk, all, desk->handing_back));
        desk->frame_due_ns = now_ns + desk->config.segment_ns;
    }
    return send_kept(desk);
}
