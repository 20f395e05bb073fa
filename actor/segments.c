/* actor/segments.c - tokens out: what each slot has not reported yet becomes a segment of one frame. */
#include "actor/actor_state.h"

#include "core/clock.h"

static bool cuts_sampling(const struct slot *slot)
{
    return slot->sampling.top_p < 1.0f || slot->sampling.top_k > 0;
}

static struct segment make_segment(const struct actor *actor, const struct slot *slot,
                                   enum segment_status status)
{
    const struct model_weights *weights = &actor->weights[actor->active];
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
        .version = weights->version,
        .digest = weights->digest,
        .kv_version_min =
            slot->kv_version_min < weights->version ? slot->kv_version_min : weights->version,
        .rebuilt_at = slot->rebuilt_at,
        .repetition_run = slot->guard.run,
        .numerics_id = actor->numerics_id,
        .proof = PROOF_OWN,
        .status = status,
    };
}

/* What a live slot has to say now; MORE with `due` false: nothing. */
static enum segment_status status_now(const struct actor *actor, const struct slot *slot, bool all,
                                      bool abort_live, bool *due)
{
    uint32_t unreported = slot->response - slot->reported;
    *due = true;
    if (slot->finished != SEGMENT_MORE)
        return slot->finished;
    if (abort_live)
        return SEGMENT_ABORT;
    *due = unreported >= actor->settings->actor.segment_tokens || (all && unreported > 0);
    return SEGMENT_MORE;
}

/* One frame. all: everything unreported leaves (a swap, a drain, the timer); else only slots that are due.
 * A finished slot becomes free here: its tokens are now the writer's. */
static enum status collect(struct actor *actor, bool all, bool abort_live)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < actor->slot_count; i++) {
        const struct slot *slot = &actor->slots[i];
        bool due = false;
        if (slot->state == SLOT_FREE)
            continue;
        enum segment_status status = status_now(actor, slot, all, abort_live, &due);
        if (due)
            actor->ready[count++] = make_segment(actor, slot, status);
    }
    if (count == 0)
        return STATUS_OK;
    TRY(segment_writer_add(&actor->writer, link_incarnation(actor->link), actor->ready, count));
    for (uint32_t i = 0, c = 0; i < actor->slot_count && c < count; i++) {
        struct slot *slot = &actor->slots[i];
        if (slot->state == SLOT_FREE || actor->ready[c].lease_id != slot->lease_id)
            continue;
        slot->reported = slot->response;
        slot->rebuilt_at = UINT32_MAX;
        if (actor->ready[c++].status != SEGMENT_MORE)
            actor_end_slot(actor, i);
    }
    return STATUS_OK;
}

/* A sample with segment_tokens new tokens; or a finished one, so that its slot gets new work: at once when
 * nothing is on its way, else with the acknowledgement, which keeps frames from being tiny. */
static bool any_due(const struct actor *actor)
{
    for (uint32_t i = 0; i < actor->slot_count; i++) {
        const struct slot *slot = &actor->slots[i];
        if (slot->state == SLOT_FINISHED && actor->writer.count == 0)
            return true;
        if (slot->state != SLOT_FREE &&
            slot->response - slot->reported >= actor->settings->actor.segment_tokens)
            return true;
    }
    return false;
}

static enum status answer_refused(struct actor *actor)
{
    if (actor->refused_count == 0 || segment_writer_full(&actor->writer))
        return STATUS_OK;
    TRY(segment_writer_add(&actor->writer, link_incarnation(actor->link), actor->refused,
                           actor->refused_count));
    actor->refused_count = 0;
    return STATUS_OK;
}

static enum status send_frames(struct actor *actor)
{
    uint32_t sent = 0;
    TRY(segment_writer_flush(&actor->writer, actor->link, &sent));
    metric_add(&actor->metrics.frames_sent, sent);
    metric_set(&actor->metrics.frames_unacked, actor->writer.count);
    return STATUS_OK;
}

enum status actor_flush_segments(struct actor *actor, bool all)
{
    int64_t now_ns = clock_now_ns();
    bool timer = now_ns >= actor->frame_due_ns;
    TRY(answer_refused(actor));
    if (actor->active >= 0 && !segment_writer_full(&actor->writer) &&
        (all || timer || any_due(actor))) {
        TRY(collect(actor, all || timer, false));
        actor->frame_due_ns = now_ns + (int64_t)actor->settings->actor.segment_ms * CLOCK_NS_PER_MS;
    }
    return send_frames(actor);
}

enum status actor_hand_back(struct actor *actor)
{
    /* Leases that never ran have nothing to say: the store takes them back at our bye. Their weights
     * may be newer than ours, so a segment of ours would be refused. */
    for (uint32_t i = 0; i < actor->slot_count; i++)
        if (actor->slots[i].state == SLOT_WAITING)
            actor_end_slot(actor, i);
    if (actor->active < 0 || segment_writer_full(&actor->writer))
        return STATUS_OK;
    return collect(actor, true, true);
}
