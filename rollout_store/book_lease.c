/* rollout_store/book_lease.c - prompts become groups, samples become leases, segments come back. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "rollout_store/book_state.h"

/* ---- births ---- */

/* Epoch e goes through all prompts once, in an order that depends on the seed and e alone. */
static uint64_t prompt_of_draw(const struct book *book, uint64_t draw)
{
    uint64_t count = prompts_count(book->config.prompts), epoch = draw / count;
    if (!book->config.shuffle)
        return draw % count;
    return rng_permute(book->config.run_seed + epoch * UINT64_C(0x9e3779b97f4a7c15), count,
                       draw % count);
}

static enum status bear_one(struct book *book, struct book_out *out, uint64_t alive)
{
    uint64_t ahead = book_version(book) + alive / book->config.store.groups_per_publish;
    uint64_t s = book->config.store.max_staleness;
    struct record record = {
        .type = RECORD_BORN,
        .born = {.group_id = book->next_group_id, .min_version = ahead > s ? ahead - s : 0}};
    if (book->returned_count > 0) {
        record.born.prompt_id = book->returned[0].prompt_id;
        record.born.draw = book->returned[0].draw;
        record.born.retry = book->returned[0].retry;
    } else {
        record.born.draw = book->next_draw;
        record.born.prompt_id = prompt_of_draw(book, book->next_draw);
    }
    return book_emit(book, out, &record);
}

enum status book_bear(struct book *book, struct book_out *out)
{
    uint64_t publish = book->config.store.groups_per_publish, version = book_version(book);
    uint64_t wanted = (book->config.store.max_staleness + UINT64_C(1)) * publish;
    uint64_t needed = version < book->config.steps ? (book->config.steps - version) * publish : 0;
    if (needed < wanted)
        wanted = needed;
    for (uint64_t alive = book_alive(book); alive < wanted; alive++)
        TRY(bear_one(book, out, alive));
    return STATUS_OK;
}

/* ---- leases out ---- */

struct grant {
    struct peer *peer;
    struct lease *leases; /* [prefill_share] in the round's arena */
    uint32_t count;
};

static bool has_room(const struct book *book, const struct grant *grant, const struct group *group)
{
    const struct peer *peer = grant->peer;
    return grant->count < book->config.store.prefill_share && peer->holder->leases < peer->slots &&
           peer->holder->tokens + book_lease_tokens(book, group) <= peer->tokens;
}

static uint32_t free_slots(const struct peer *peer)
{
    return peer->holder->leases < peer->slots ? peer->slots - peer->holder->leases : 0;
}

/* The actor with most room; the one with the lowest index of several. */
static struct grant *roomiest(const struct book *book, struct grant *grants, size_t count,
                              const struct group *group)
{
    struct grant *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (has_room(book, &grants[i], group) &&
            (best == NULL || free_slots(grants[i].peer) > free_slots(best->peer) ||
             (free_slots(grants[i].peer) == free_slots(best->peer) &&
              grants[i].peer->index < best->peer->index)))
            best = &grants[i];
    return best;
}

static enum status describe_lease(const struct book *book, const struct sample *sample,
                                  struct book_out *out, struct lease *lease)
{
    const struct prompt *prompt = prompts_at(book->config.prompts, sample->group->prompt_id);
    const struct sampling_settings *sampling = &book->config.sampling;
    struct span *spans = arena_array(out->arena, 2, sizeof *spans);
    uint32_t *ids = arena_copy(out->arena, sample->ids, sample->count * sizeof *ids);
    if (spans == NULL || (ids == NULL && sample->count > 0))
        return FAIL(STATUS_LIMIT, "no room for a lease of %" PRIu32 " tokens", sample->count);
    spans[0] = (struct span){.source = SPAN_PROMPT, .count = prompt->count, .ids = prompt->ids};
    spans[1] =
        (struct span){.source = SPAN_MODEL, .train = true, .count = sample->count, .ids = ids};
    /* a run resumed with a smaller response_tokens_max may hold longer samples: their lease ends them */
    uint32_t budget = sampling->response_tokens_max > sample->count
                          ? sampling->response_tokens_max - sample->count
                          : 0;
    *lease = (struct lease){.lease_id = sample->lease_id,
                            .group_id = sample->group->group_id,
                            .sample = sample->number,
                            .attempt = sample->attempt,
                            .purpose = PURPOSE_TRAIN,
                            .prompt_id = sample->group->prompt_id,
                            .min_version = sample->group->level,
                            .budget = budget,
                            .temperature = (float)sampling->temperature,
                            .top_p = (float)sampling->top_p,
                            .top_k = sampling->top_k,
                            .repetition_run = sample->repetition_run,
                            .kv_version_min = sample->kv_version_min,
                            .span_count = sample->count > 0 ? 2 : 1,
                            .spans = spans};
    return STATUS_OK;
}

static enum status lease_sample(struct book *book, struct book_out *out, struct sample *sample,
                                struct grant *grant)
{
    struct record record = {.type = RECORD_LEASED,
                            .leased = {.lease_id = book->next_lease_id,
                                       .group_id = sample->group->group_id,
                                       .sample = sample->number,
                                       .attempt = sample->attempt + 1,
                                       .holder_index = grant->peer->index,
                                       .holder_incarnation = grant->peer->incarnation}};
    TRY(book_emit(book, out, &record));
    return describe_lease(book, sample, out, &grant->leases[grant->count++]);
}

static enum status lease_group(struct book *book, struct book_out *out, struct group *group,
                               struct grant *grants, size_t count, bool *full)
{
    struct grant *grant = NULL;
    for (uint32_t i = 0; i < group->size; i++) {
        if (group->samples[i].state != SAMPLE_QUEUED)
            continue;
        if (grant == NULL ||
            !has_room(book, grant, group)) /* one actor takes as many samples of a group as fit */
            grant = roomiest(book, grants, count, group);
        if (grant == NULL) {
            *full = true;
            return STATUS_OK;
        }
        TRY(lease_sample(book, out, &group->samples[i], grant));
    }
    return STATUS_OK;
}

/* Actors that speak and have room, each with space for one answer. */
static enum status collect_grants(const struct book *book, struct book_out *out,
                                  struct grant *grants, size_t *count)
{
    int64_t limit_ns = (int64_t)book->config.store.lease_ms * CLOCK_NS_PER_MS;
    *count = 0;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role != ROLE_ACTOR || !peer->asked || free_slots(peer) == 0 ||
            book->now_ns - peer->heard_ns > limit_ns)
            continue;
        uint32_t most = book->config.store.prefill_share < free_slots(peer)
                            ? book->config.store.prefill_share
                            : free_slots(peer);
        grants[*count] = (struct grant){
            .peer = peer, .leases = arena_array(out->arena, most, sizeof(struct lease))};
        if (grants[(*count)++].leases == NULL)
            return FAIL(STATUS_LIMIT, "no room for %" PRIu32 " leases", most);
    }
    return STATUS_OK;
}

enum status book_lease_out(struct book *book, struct book_out *out)
{
    if (book->queued == 0 || book->version_count == 0 || book->peer_limit == 0)
        return STATUS_OK;
    struct grant *grants = arena_array(out->arena, book->peer_limit, sizeof *grants);
    if (grants == NULL)
        return FAIL(STATUS_LIMIT, "no room for grants");
    size_t count = 0;
    TRY(collect_grants(book, out, grants, &count));
    bool full = count == 0;
    for (struct group *group = book->lists[GROUP_OPEN].first;
         group != NULL && !full && book->queued > 0; group = group->next)
        TRY(lease_group(book, out, group, grants, count, &full));
    for (size_t i = 0; i < count; i++) {
        if (grants[i].count == 0)
            continue;
        struct message message = {.type = MESSAGE_lease_grant,
                                  .lease_grant = {grants[i].count, grants[i].leases}};
        TRY(book_send(out, grants[i].peer->id, &message));
    }
    return STATUS_OK;
}

/* ---- cancels ---- */

enum status book_say_cancels(struct book *book, struct peer *peer, struct book_out *out)
{
    (void)book;
    struct holder *holder = peer->holder;
    size_t count = holder->cancel_count - holder->cancels_said;
    if (count == 0)
        return STATUS_OK;
    uint64_t *copy =
        arena_copy(out->arena, holder->cancels + holder->cancels_said, count * sizeof *copy);
    if (copy == NULL)
        return FAIL(STATUS_LIMIT, "no room for %zu cancels", count);
    holder->cancels_said = holder->cancel_count;
    struct message message = {
        .type = MESSAGE_frame_ack,
        .frame_ack = {holder->frame_known ? holder->frame_last : 0, (uint32_t)count, copy}};
    return book_send(out, peer->id, &message);
}

/* ---- segments in ---- */

enum verdict { SEGMENT_TAKE, SEGMENT_REPEATED, SEGMENT_LOST_LEASE, SEGMENT_GAP, SEGMENT_POISON };

static bool tokens_are_sound(const struct segment *segment)
{
    if (segment->count > 0 && (segment->ids == NULL || segment->logprobs == NULL))
        return false;
    for (uint32_t i = 0; i < segment->count; i++)
        if (!isfinite(segment->logprobs[i]) || segment->logprobs[i] > 0)
            return false;
    return true;
}

static enum verdict judge(const struct book *book, const struct peer *peer,
                          const struct segment *segment, struct sample **out)
{
    const struct group *group = book_map_get(&book->groups, segment->group_id);
    if (group == NULL || segment->sample >= group->size)
        return SEGMENT_LOST_LEASE;
    struct sample *sample = book_map_get(&book->leases, segment->lease_id);
    *out = sample;
    if (sample == NULL || sample->group != group || sample->number != segment->sample ||
        sample->holder != peer->holder || sample->attempt != segment->attempt)
        return SEGMENT_LOST_LEASE;
    const struct stored_version *version = book_find_version(book, segment->version);
    uint64_t end = (uint64_t)segment->first_position + segment->count;
    if (end <= sample->count && segment->count > 0 && segment->status == SEGMENT_MORE)
        return SEGMENT_REPEATED;
    if (segment->first_position != sample->count)
        return SEGMENT_GAP;
    if (end > book->config.sampling.response_tokens_max || version == NULL ||
        version->digest != segment->digest || segment->version < group->level ||
        segment->status == SEGMENT_TURN || !tokens_are_sound(segment) ||
        segment->count > WIRE_SEGMENT_TOKENS_MAX ||
        (segment->count == 0 && segment->status == SEGMENT_MORE) ||
        (book->numerics_id != 0 && segment->numerics_id != book->numerics_id))
        return SEGMENT_POISON;
    return SEGMENT_TAKE;
}

static enum status lose_lease(struct book *book, struct book_out *out, struct sample *sample,
                              bool failure)
{
    struct group *group = sample->group;
    struct record record = {.type = RECORD_EXPIRED, .expired = {sample->lease_id, failure}};
    TRY(book_emit(book, out, &record));
    return sample->failures >= book->config.store.max_attempts
               ? book_drop(book, out, group, DROP_GENERATION_FAILED)
               : STATUS_OK;
}

static enum status take_segment(struct book *book, struct peer *peer, const struct segment *segment,
                                struct book_out *out, uint64_t *cancelled,
                                uint32_t *cancelled_count)
{
    struct sample *sample = NULL;
    switch (judge(book, peer, segment, &sample)) {
    case SEGMENT_TAKE: {
        struct record record = {.type = RECORD_SEGMENT, .segment = {*segment}};
        return book_emit(book, out, &record);
    }
    case SEGMENT_REPEATED:
        book->counters.tokens_repeated_refused += segment->count;
        return STATUS_OK;
    case SEGMENT_LOST_LEASE: /* somebody else has made or will make these tokens again */
        book->counters.tokens_regenerated += segment->count;
        cancelled[(*cancelled_count)++] = segment->lease_id;
        return STATUS_OK;
    case SEGMENT_GAP:
        book->counters.segments_refused++;
        return lose_lease(book, out, sample, false);
    case SEGMENT_POISON:
        break;
    }
    book->counters.segments_refused++;
    return lose_lease(book, out, sample, true);
}

/* The reply says what is on disk once this round is synced. A frame that is missing before this one may have held
 * the end of any lease of this actor: all of them are given out again. */
enum status book_segment_frame(struct book *book, struct peer *peer,
                               const struct segment_frame *frame, struct book_out *out)
{
    struct holder *holder = peer->holder;
    if (frame->incarnation != peer->incarnation)
        return STATUS_OK;
    if (holder->frame_known && frame->frame_id > holder->frame_last + 1)
        TRY(book_expire_holder(book, out, holder, false, false));
    uint64_t *cancelled = arena_array(out->arena, (size_t)frame->count + 1, sizeof *cancelled);
    if (cancelled == NULL)
        return FAIL(STATUS_LIMIT, "no room to answer a frame of %" PRIu32 " segments",
                    frame->count);
    uint32_t cancelled_count = 0;
    for (uint32_t i = 0; i < frame->count; i++)
        TRY(take_segment(book, peer, &frame->segments[i], out, cancelled, &cancelled_count));
    if (!holder->frame_known || frame->frame_id > holder->frame_last)
        holder->frame_last = frame->frame_id;
    holder->frame_known = true;
    struct message message = {.type = MESSAGE_frame_ack,
                              .frame_ack = {frame->frame_id, cancelled_count, cancelled}};
    TRY(book_send(out, peer->id, &message));
    return book_say_cancels(book, peer, out);
}
