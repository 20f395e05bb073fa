/* rollout_store/book_lease.c - prompts become groups, samples become leases, segments come back. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rollout_store/book_state.h"

/* ---- births ---- */

/* Paused sources: an operator is awaited, `why` says so. Nothing left: the run stops. */
static enum status bear_nothing(struct book *book, struct book_out *out, enum status status,
                                bool *none)
{
    *none = true;
    snprintf(book->empty, sizeof book->empty, "%s", status_last_error());
    if (status == STATUS_AGAIN)
        return STATUS_OK;
    char *reason = arena_text(out->arena, status_last_error());
    if (reason == NULL)
        return FAIL(STATUS_LIMIT, "no room for a sentence");
    return status == STATUS_NOT_FOUND ? book_stop(book, out, reason, true) : status;
}

static enum status bear_one(struct book *book, struct book_out *out, uint64_t alive, bool *none)
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
        record.born.position = book->returned[0].draw;
    } else {
        struct curriculum_draw draw;
        enum status status = curriculum_draw(book->curriculum, book_version(book), &draw);
        if (status != STATUS_OK)
            return bear_nothing(book, out, status, none);
        record.born.draw = book->next_draw;
        record.born.prompt_id = draw.prompt_id;
        record.born.position = draw.position;
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
    bool none = false;
    book->empty[0] = '\0';
    for (uint64_t alive = book_alive(book); alive < wanted && !none; alive++)
        TRY(bear_one(book, out, alive, &none));
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
    uint32_t budget = sample->cap > sample->count ? sample->cap - sample->count : 0;
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
    for (uint32_t i = 0; group->queued > 0 && i < group->size; i++) {
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
    *count = 0;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role != ROLE_ACTOR || !peer->asked || free_slots(peer) == 0 ||
            peer->draining || !book_alive_peer(book, peer))
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

static enum refusal judge_tokens(const struct book *book, const struct peer *peer,
                                 const struct segment *segment)
{
    uint32_t vocabulary = book->vocabulary != 0 ? book->vocabulary : peer->vocabulary;
    if (segment->count > 0 && (segment->ids == NULL || segment->logprobs == NULL))
        return REFUSAL_LENGTHS_DIFFER;
    for (uint32_t i = 0; i < segment->count; i++) {
        if (!isfinite(segment->logprobs[i]))
            return REFUSAL_LOGPROB_NOT_FINITE;
        if (segment->logprobs[i] > 0)
            return REFUSAL_LOGPROB_POSITIVE;
        if (vocabulary != 0 && segment->ids[i] >= vocabulary)
            return REFUSAL_TOKEN_ID;
    }
    return REFUSAL_NONE;
}

/* The segment's own contents, at the place where the sample goes on. */
static enum refusal judge_content(const struct book *book, const struct peer *peer,
                                  const struct sample *sample, const struct segment *segment)
{
    uint64_t end = (uint64_t)segment->first_position + segment->count;
    const struct stored_version *version = book_find_version(book, segment->version);
    if (end > sample->cap || segment->count > WIRE_SEGMENT_TOKENS_MAX)
        return REFUSAL_TOO_LONG;
    if (segment->status == SEGMENT_TURN || (unsigned)segment->status >= SEGMENT_STATUS_COUNT)
        return REFUSAL_WRONG_STATUS;
    if (segment->count == 0 && segment->status == SEGMENT_MORE)
        return REFUSAL_EMPTY;
    if (version == NULL && segment->version > book_version(book))
        return REFUSAL_VERSION_UNKNOWN;
    if (version == NULL || segment->version < sample->group->level)
        return REFUSAL_VERSION_TOO_OLD;
    if (version->digest != segment->digest)
        return REFUSAL_WRONG_DIGEST;
    if (book->numerics_id != 0 && segment->numerics_id != book->numerics_id)
        return REFUSAL_WRONG_NUMERICS;
    return judge_tokens(book, peer, segment);
}

/* A segment whose lease is over: of tokens that are known, or of ones that somebody else makes. */
static enum refusal judge_late(const struct group *group, const struct segment *segment)
{
    const struct sample *sample = group != NULL ? &group->samples[segment->sample] : NULL;
    uint64_t end = (uint64_t)segment->first_position + segment->count;
    return sample != NULL && sample->state >= SAMPLE_FINISHED &&
                   sample->attempt == segment->attempt && end <= sample->count
               ? REFUSAL_DUPLICATE
               : REFUSAL_LEASE_EXPIRED;
}

/* *own: the sample whose lease the sender holds and speaks of; NULL: no lease of its own is concerned. */
static enum refusal judge(const struct book *book, const struct peer *peer,
                          const struct segment *segment, struct sample **own)
{
    const struct group *group = book_map_get(&book->groups, segment->group_id);
    struct sample *sample = book_map_get(&book->leases, segment->lease_id);
    *own = sample != NULL && peer->holder != NULL && sample->holder == peer->holder ? sample : NULL;
    if (segment->group_id >= book->next_group_id)
        return REFUSAL_UNKNOWN_GROUP;
    if (segment->sample >= book->config.store.group_size ||
        (group != NULL && segment->sample >= group->size))
        return REFUSAL_UNKNOWN_SAMPLE;
    if (segment->lease_id >= book->next_lease_id || segment->lease_id == 0)
        return REFUSAL_UNKNOWN_LEASE;
    if (sample == NULL)
        return judge_late(group, segment);
    if (*own == NULL)
        return REFUSAL_NOT_HOLDER;
    if (sample->group != group || sample->number != segment->sample ||
        sample->attempt != segment->attempt)
        return REFUSAL_BAD_FIELD;
    uint64_t end = (uint64_t)segment->first_position + segment->count;
    if (end <= sample->count && segment->count > 0 && segment->status == SEGMENT_MORE)
        return REFUSAL_DUPLICATE;
    return segment->first_position != sample->count ? REFUSAL_GAP
                                                    : judge_content(book, peer, sample, segment);
}

static enum status lose_lease(struct book *book, struct book_out *out, struct sample *sample,
                              bool failure)
{
    struct group *group = sample->group;
    struct record record = {.type = RECORD_EXPIRED,
                            .expired = {.lease_id = sample->lease_id, .counts_failure = failure}};
    TRY(book_emit(book, out, &record));
    return failure && sample->failures >= book->config.store.max_attempts
               ? book_drop(book, out, group, DROP_GENERATION_FAILED)
               : STATUS_OK;
}

static void note_segment(struct book *book, const struct peer *peer, enum refusal kind,
                         const struct segment *segment)
{
    struct book_refusal about = {.group_id = segment->group_id,
                                 .lease_id = segment->lease_id,
                                 .sample = segment->sample,
                                 .attempt = segment->attempt,
                                 .first_position = segment->first_position,
                                 .count = segment->count,
                                 .version = segment->version,
                                 .digest = segment->digest};
    book_note_refusal(book, kind, peer, &about);
}

/* Weights of a branch that was left: their actor is honest, it has not got the new ones yet. */
static bool is_of_dead_branch(const struct book *book, const struct segment *segment)
{
    size_t count = book->dead_count < BOOK_DEAD_MAX ? book->dead_count : BOOK_DEAD_MAX;
    for (size_t i = 0; i < count; i++)
        if (book->dead[i].version == segment->version && book->dead[i].digest == segment->digest)
            return true;
    return false;
}

/* The leases that a frame ends besides those of its sender's record. */
struct frame_answer {
    uint64_t *cancelled; /* [cancelled_count], room for one per segment */
    uint32_t cancelled_count;
    enum refusal poison; /* the last one */
    bool sound;          /* something was taken */
};

/* `kind`: what the judge said. Whatever it is, the sender need not wait: its lease goes on, or it is told that it is over. */
static enum status answer_segment(struct book *book, const struct peer *peer,
                                  const struct segment *segment, enum refusal kind,
                                  struct sample *own, struct book_out *out,
                                  struct frame_answer *answer)
{
    if (kind == REFUSAL_NONE) {
        struct record record = {.type = RECORD_SEGMENT, .segment = {*segment}};
        answer->sound = true;
        return book_emit(book, out, &record);
    }
    note_segment(book, peer, kind, segment);
    if (own == NULL)
        answer->cancelled[answer->cancelled_count++] = segment->lease_id;
    if (kind == REFUSAL_DUPLICATE) {
        book->counters.tokens_repeated_refused += segment->count;
        return STATUS_OK;
    }
    if (kind ==
        REFUSAL_LEASE_EXPIRED) { /* somebody else has made or will make these tokens again */
        book->counters.tokens_regenerated += segment->count;
        return STATUS_OK;
    }
    book->counters.segments_refused++;
    bool poison = !book_refusal_is_benign(kind) && !is_of_dead_branch(book, segment);
    answer->poison = poison ? kind : answer->poison;
    return own != NULL ? lose_lease(book, out, own, poison) : STATUS_OK;
}

/* The reply says what is on disk once this round is synced. A frame that is missing before this one may have held
 * the end of any lease of this actor: all of them are given out again. */
enum status book_segment_frame(struct book *book, struct peer *peer,
                               const struct segment_frame *frame, struct book_out *out)
{
    struct holder *holder = peer->holder; /* NULL: it is no actor */
    bool foreign = holder == NULL || frame->incarnation != peer->incarnation;
    if (!foreign && holder->frame_known && frame->frame_id > holder->frame_last + 1)
        TRY(book_expire_holder(book, out, holder, false, false));
    struct frame_answer answer = {
        .cancelled = arena_array(out->arena, (size_t)frame->count + 1, sizeof *answer.cancelled)};
    if (answer.cancelled == NULL)
        return FAIL(STATUS_LIMIT, "no room to answer a frame of %" PRIu32 " segments",
                    frame->count);
    for (uint32_t i = 0; i < frame->count; i++) {
        struct sample *own = NULL;
        enum refusal kind = judge(book, peer, &frame->segments[i], &own);
        TRY(answer_segment(book, peer, &frame->segments[i], foreign ? REFUSAL_WRONG_SENDER : kind,
                           own, out, &answer));
    }
    if (!foreign && (!holder->frame_known || frame->frame_id > holder->frame_last))
        holder->frame_last = frame->frame_id;
    if (!foreign)
        holder->frame_known = true;
    struct message message = {
        .type = MESSAGE_frame_ack,
        .frame_ack = {frame->frame_id, answer.cancelled_count, answer.cancelled}};
    TRY(book_send(out, peer->id, &message));
    if (holder != NULL)
        TRY(book_say_cancels(book, peer, out));
    return book_count_poison(book, peer, answer.poison, answer.sound, out);
}
