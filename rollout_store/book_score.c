/* rollout_store/book_score.c - finished samples to reward workers, scores back, groups closed. */
#include <inttypes.h>
#include <math.h>

#include "rollout_store/book_state.h"

/* ---- scores in ---- */

static bool rewards_equal(const struct group *group)
{
    for (uint32_t i = 1; i < group->size; i++)
        if (group->samples[i].reward != group->samples[0].reward)
            return false;
    return true;
}

static void show(struct book *book, struct group *group, uint32_t sample)
{
    size_t at = (book->recent_first + book->recent_count) % BOOK_RECENT_MAX;
    book->recent[at] = (struct recent){group, sample};
    if (book->recent_count < BOOK_RECENT_MAX)
        book->recent_count++;
    else
        book->recent_first = (book->recent_first + 1) % BOOK_RECENT_MAX;
}

static enum status close_group(struct book *book, struct book_out *out, struct group *group)
{
    if (group->scored < group->size)
        return STATUS_OK;
    if (book->config.store.dynamic_sampling && rewards_equal(group))
        return book_drop(book, out, group, DROP_ZERO_VARIANCE);
    struct record record = {.type = RECORD_CLOSED, .closed = {group->group_id}};
    return book_emit(book, out, &record);
}

/* A status that is no score is tried again, or ends the group. */
static enum status record_score(struct book *book, struct book_out *out, struct sample *sample,
                                const struct score *score)
{
    struct group *group = sample->group;
    struct record record = {
        .type = RECORD_SCORED,
        .scored = {.score = *score, .scoring_attempt = sample->scoring_attempts + 1}};
    TRY(book_emit(book, out, &record));
    switch (score->status) {
    case SCORE_OK:
    case SCORE_FAIL:
        show(book, group, sample->number);
        return close_group(book, out, group);
    case SCORE_SKIP:
    case SCORE_UNSCORABLE:
        return book_drop(book, out, group, DROP_INVALID);
    default:
        if (sample->scoring_attempts >= book->config.store.max_attempts)
            return book_drop(book, out, group, DROP_SCORING_FAILED);
        return STATUS_OK;
    }
}

static void unassign(struct book *book, struct sample *sample)
{
    if (!sample->scoring)
        return;
    sample->scoring = false;
    struct peer *peer =
        sample->scorer_peer < book->peer_limit ? book->peers[sample->scorer_peer] : NULL;
    if (peer != NULL && peer->role == ROLE_REWARD) {
        peer->credit++; /* until its next request says more exactly */
        peer->scoring -= peer->scoring > 0;
    }
}

static enum status take_score(struct book *book, struct book_out *out, const struct score *said)
{
    struct group *group = book_map_get(&book->groups, said->group_id);
    struct sample *sample =
        group != NULL && said->sample < group->size ? &group->samples[said->sample] : NULL;
    if (sample == NULL || group->state != GROUP_OPEN || sample->state != SAMPLE_FINISHED ||
        sample->attempt != said->attempt) {
        book->counters.scores_refused++;
        return STATUS_OK;
    }
    unassign(book, sample);
    struct score score = *said;
    if (!isfinite(score.value)) {
        score.status = SCORE_ERROR;
        score.detail_json = "{\"error\":\"the value is not finite\"}";
    }
    if (score.status != SCORE_OK && score.status != SCORE_FAIL)
        score.value = 0;
    if (score.detail_json == NULL)
        score.detail_json = "{}";
    return record_score(book, out, sample, &score);
}

enum status book_score_result(struct book *book, struct peer *peer,
                              const struct score_result *result, struct book_out *out)
{
    if (result->incarnation != peer->incarnation)
        return STATUS_OK;
    for (uint32_t i = 0; i < result->count; i++) {
        uint64_t refused = book->counters.scores_refused;
        TRY(take_score(book, out, &result->scores[i]));
        if (book->counters.scores_refused > refused)
            peer->credit++; /* the worker has one less to do, though nobody waits for it */
    }
    struct message message = {.type = MESSAGE_score_ack, .score_ack = {result->frame_id}};
    return book_send(out, peer->id, &message);
}

/* ---- work out ---- */

/* What the worker held is handed out again. charged: it died; a worker that said bye left them untouched. */
void book_scorer_lost(struct book *book, struct peer *peer, bool charged)
{
    if (peer->role != ROLE_REWARD)
        return;
    for (struct group *group = book->lists[GROUP_OPEN].first; group != NULL && peer->scoring > 0;
         group = group->next)
        for (uint32_t i = 0; i < group->size; i++) {
            struct sample *sample = &group->samples[i];
            if (!sample->scoring || sample->scorer_peer != peer->id)
                continue;
            sample->scoring = false;
            sample->scorer_losses += charged;
            peer->scoring--;
            peer->credit++;
        }
}

static enum status describe_item(const struct book *book, const struct sample *sample,
                                 struct book_out *out, struct score_item *item)
{
    const struct group *group = sample->group;
    const struct prompt *prompt = prompts_at(book->config.prompts, group->prompt_id);
    uint32_t *ids = arena_copy(out->arena, sample->ids, sample->count * sizeof *ids);
    if (ids == NULL && sample->count > 0)
        return FAIL(STATUS_LIMIT, "no room for a rollout of %" PRIu32 " tokens", sample->count);
    *item = (struct score_item){.group_id = group->group_id,
                                .sample = sample->number,
                                .attempt = sample->attempt,
                                .prompt_id = group->prompt_id,
                                .record_json = prompt->record_json,
                                .prompt_count = prompt->count,
                                .response_count = sample->count,
                                .prompt_ids = prompt->ids,
                                .response_ids = ids,
                                .finish = sample->finish,
                                .group_size = group->size,
                                .version = sample->piece_count > 0 ? sample->pieces[0].version
                                                                   : group->level,
                                .purpose = PURPOSE_TRAIN};
    return STATUS_OK;
}

/* A rollout that takes worker after worker down with it is an error of the plugin, not of the workers. */
static enum status charge_losses(struct book *book, struct book_out *out, struct sample *sample)
{
    struct score score = {.group_id = sample->group->group_id,
                          .sample = sample->number,
                          .attempt = sample->attempt,
                          .status = SCORE_ERROR,
                          .detail_json =
                              "{\"error\":\"reward workers died while they had this rollout\"}"};
    sample->scorer_losses = 0;
    return record_score(book, out, sample, &score);
}

/* The next sample that nobody scores yet, from *group and *number on. */
static struct sample *next_unscored(struct group **group, uint32_t *number)
{
    for (; *group != NULL; *group = (*group)->next, *number = 0)
        for (; *number < (*group)->size; (*number)++) {
            struct sample *sample = &(*group)->samples[*number];
            if (sample->state == SAMPLE_FINISHED && !sample->scoring)
                return sample;
        }
    return NULL;
}

static enum status charge_all(struct book *book, struct book_out *out)
{
    for (struct group *group = book->lists[GROUP_OPEN].first, *next; group != NULL; group = next) {
        next = group->next;
        for (uint32_t i = 0;
             i < group->size && book_map_get(&book->groups, group->group_id) != NULL; i++)
            if (group->samples[i].state == SAMPLE_FINISHED &&
                group->samples[i].scorer_losses >= book->config.store.max_attempts)
                TRY(charge_losses(book, out, &group->samples[i]));
    }
    return STATUS_OK;
}

enum status book_score_out(struct book *book, struct book_out *out)
{
    if (book->finished == 0)
        return STATUS_OK;
    TRY(charge_all(book, out));
    int64_t limit_ns = (int64_t)book->config.store.lease_ms * CLOCK_NS_PER_MS;
    struct group *group = book->lists[GROUP_OPEN].first;
    uint32_t number = 0;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role != ROLE_REWARD || peer->credit == 0 ||
            book->now_ns - peer->heard_ns > limit_ns)
            continue;
        uint64_t most = peer->credit < book->finished ? peer->credit : book->finished;
        struct score_item *items = arena_array(out->arena, most, sizeof *items);
        if (items == NULL)
            return FAIL(STATUS_LIMIT, "no room for %" PRIu64 " items", most);
        uint32_t count = 0;
        for (struct sample *sample;
             count < most && (sample = next_unscored(&group, &number)) != NULL;) {
            sample->scoring = true;
            sample->scorer_peer = peer->id;
            TRY(describe_item(book, sample, out, &items[count++]));
        }
        if (count == 0)
            break;
        peer->credit -= count;
        peer->scoring += count;
        struct message message = {.type = MESSAGE_score_work, .score_work = {count, items}};
        TRY(book_send(out, peer->id, &message));
    }
    return STATUS_OK;
}
