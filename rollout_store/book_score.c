/* rollout_store/book_score.c - finished samples to reward workers, scores back, groups closed. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rollout_store/book_state.h"

/* ---- scores in ---- */

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
    if (book->config.store.dynamic_sampling && book_filter_equal(book, group))
        return book_drop(book, out, group, DROP_ZERO_VARIANCE);
    struct record record = {.type = RECORD_CLOSED, .closed = {group->group_id}};
    return book_emit(book, out, &record);
}

/* A plugin, judge or sandbox that fails at once would be asked thousands of times a second: 100 ms after the first failure,
 * twice as long after each further one, at most 6.4 s. */
static int64_t retry_pause_ns(uint32_t attempts)
{
    uint32_t doublings = attempts < 7 ? attempts - 1 : 6;
    return (INT64_C(100) << doublings) * CLOCK_NS_PER_MS;
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
        sample->score_after_ns = book->now_ns + retry_pause_ns(sample->scoring_attempts);
        return STATUS_OK;
    }
}

/* What the end of a torn ledger may have lost: the consequence of a record that stands. */
static enum status settle_group(struct book *book, struct book_out *out, struct group *group)
{
    const struct store_settings *store = &book->config.store;
    for (uint32_t i = 0; i < group->size; i++) {
        const struct sample *sample = &group->samples[i];
        if (sample->failures >= store->max_attempts || sample->deaths >= store->max_deaths)
            return book_drop(book, out, group, DROP_GENERATION_FAILED);
        if (sample->state != SAMPLE_FINISHED || sample->scoring_attempts == 0)
            continue;
        if (sample->score_status == SCORE_SKIP || sample->score_status == SCORE_UNSCORABLE)
            return book_drop(book, out, group, DROP_INVALID);
        if (sample->scoring_attempts >= store->max_attempts)
            return book_drop(book, out, group, DROP_SCORING_FAILED);
    }
    return close_group(book, out, group);
}

enum status book_settle(struct book *book, struct book_out *out)
{
    for (struct group *group = book->lists[GROUP_OPEN].first, *next; group != NULL; group = next) {
        next = group->next;
        TRY(settle_group(book, out, group));
    }
    book->settled = true;
    return STATUS_OK;
}

static void unassign(struct book *book, struct sample *sample)
{
    if (!sample->scoring)
        return;
    sample->scoring = false;
    book->unassigned += sample->state == SAMPLE_FINISHED;
    struct peer *peer =
        sample->scorer_peer < book->peer_limit ? book->peers[sample->scorer_peer] : NULL;
    if (peer != NULL && peer->role == ROLE_REWARD) {
        peer->credit++; /* until its next request says more exactly */
        peer->scoring -= peer->scoring > 0;
    }
}

/* Is there a rollout that waits for this score? NONE, and *out is it. */
static enum refusal judge_place(const struct book *book, const struct score *said,
                                struct sample **out)
{
    struct group *group = book_map_get(&book->groups, said->group_id);
    if (said->group_id >= book->next_group_id)
        return REFUSAL_UNKNOWN_GROUP;
    if (said->sample >= (group != NULL ? group->size : book->config.store.group_size))
        return REFUSAL_UNKNOWN_SAMPLE;
    if (group == NULL)
        return REFUSAL_UNKNOWN_ROLLOUT;
    struct sample *sample = &group->samples[said->sample];
    if (sample->state == SAMPLE_SCORED && sample->attempt == said->attempt)
        return REFUSAL_DUPLICATE;
    *out = sample;
    return group->state == GROUP_OPEN && sample->state == SAMPLE_FINISHED &&
                   sample->attempt == said->attempt
               ? REFUSAL_NONE
               : REFUSAL_UNKNOWN_ROLLOUT;
}

static enum refusal judge_value(const struct book *book, const struct score *said)
{
    bool scored = said->status == SCORE_OK || said->status == SCORE_FAIL;
    double low = book->config.reward_low, high = book->config.reward_high;
    if ((unsigned)said->status >= SCORE_STATUS_COUNT)
        return REFUSAL_WRONG_STATUS;
    if (!isfinite(said->value))
        return REFUSAL_REWARD_NOT_FINITE;
    return scored && low < high && (said->value < low || said->value > high)
               ? REFUSAL_REWARD_OUT_OF_RANGE
               : REFUSAL_NONE;
}

static void note_score(struct book *book, const struct peer *peer, enum refusal kind,
                       const struct score *said)
{
    struct book_refusal about = {.group_id = said->group_id,
                                 .sample = said->sample,
                                 .attempt = said->attempt,
                                 .value = said->value};
    book->counters.scores_refused++;
    book_note_refusal(book, kind, peer, &about);
}

/* A score without the sub-metric that store.filter_on names cannot be filtered: an error that says so. */
static enum status check_filter(const struct book *book, struct book_out *out, struct score *score)
{
    double filter;
    if (score->status != SCORE_OK && score->status != SCORE_FAIL)
        return STATUS_OK;
    enum status status = book_filter_value(book, score->value, score->detail_json, &filter);
    if (status != STATUS_NOT_FOUND)
        return status;
    json_t *detail = json_pack("{s:s}", "error", status_last_error());
    char *text = detail != NULL ? json_dumps(detail, JSON_COMPACT) : NULL;
    score->status = SCORE_ERROR;
    score->value = 0;
    score->detail_json = arena_text(out->arena, text != NULL ? text : "{}");
    /* lint: allow(free): jansson hands over memory of its own */
    free(text);
    json_decref(detail);
    return score->detail_json != NULL ? STATUS_OK : FAIL(STATUS_LIMIT, "no room for a detail");
}

/* A score that says nothing sound about a rollout that waits for one is an error of the plugin: it is tried again. */
static enum status take_score(struct book *book, struct peer *peer, struct book_out *out,
                              const struct score *said, bool foreign, enum refusal *refused)
{
    struct sample *sample = NULL;
    *refused = foreign ? REFUSAL_WRONG_SENDER : judge_place(book, said, &sample);
    if (*refused != REFUSAL_NONE) {
        note_score(book, peer, *refused, said);
        peer->credit++; /* the worker has one less to do, though nobody waits for it */
        return STATUS_OK;
    }
    unassign(book, sample);
    struct score score = *said;
    *refused = judge_value(book, said);
    if (*refused != REFUSAL_NONE) {
        note_score(book, peer, *refused, said);
        score.status = SCORE_ERROR;
        score.detail_json =
            *refused == REFUSAL_REWARD_OUT_OF_RANGE
                ? "{\"error\":\"the value is outside reward.clip_low and clip_high\"}"
                : "{\"error\":\"the value is not finite\"}";
    }
    if (score.status != SCORE_OK && score.status != SCORE_FAIL)
        score.value = 0;
    if (score.detail_json == NULL)
        score.detail_json = "{}";
    TRY(check_filter(book, out, &score));
    if (strlen(score.detail_json) > BOOK_TEXT_MAX)
        score.detail_json = "{\"error\":\"the detail was longer than 64 KiB and is left out\"}";
    return record_score(book, out, sample, &score);
}

enum status book_score_result(struct book *book, struct peer *peer,
                              const struct score_result *result, struct book_out *out)
{
    bool foreign = peer->role != ROLE_REWARD || result->incarnation != peer->incarnation;
    enum refusal poison = REFUSAL_NONE;
    bool sound = false;
    for (uint32_t i = 0; i < result->count; i++) {
        enum refusal refused = REFUSAL_NONE;
        TRY(take_score(book, peer, out, &result->scores[i], foreign, &refused));
        sound = sound || refused == REFUSAL_NONE;
        poison = book_refusal_is_benign(refused) ? poison : refused;
    }
    struct message message = {.type = MESSAGE_score_ack, .score_ack = {result->frame_id}};
    TRY(book_send(out, peer->id, &message));
    return book_count_poison(book, peer, poison, sound, out);
}

/* ---- work out ---- */

/* What the worker held is handed out again. charged: it died; a worker that said bye left them untouched. */
void book_scorer_lost(struct book *book, struct peer *peer, bool charged)
{
    if (peer->role != ROLE_REWARD)
        return;
    for (struct group *group = book->lists[GROUP_OPEN].first; group != NULL && peer->scoring > 0;
         group = group->next)
        for (uint32_t i = 0; group->unscored > 0 && i < group->size; i++) {
            struct sample *sample = &group->samples[i];
            if (!sample->scoring || sample->scorer_peer != peer->id)
                continue;
            sample->scoring = false;
            book->unassigned += sample->state == SAMPLE_FINISHED;
            sample->scorer_losses += charged;
            book->charge_due =
                book->charge_due || sample->scorer_losses >= book->config.store.max_deaths;
            peer->scoring--;
            peer->credit++;
        }
}

/* caps: of the worker it goes to. */
static enum status describe_item(const struct book *book, const struct sample *sample,
                                 uint32_t caps, struct book_out *out, struct score_item *item)
{
    const struct group *group = sample->group;
    const struct prompt *prompt = prompts_at(book->config.prompts, group->prompt_id);
    uint32_t *ids = arena_copy(out->arena, sample->ids, sample->count * sizeof *ids);
    bool proves = (caps & SCORE_CAP_LOGPROBS) != 0;
    float *logprobs =
        proves ? arena_copy(out->arena, sample->logprobs, sample->count * sizeof *logprobs) : NULL;
    if ((ids == NULL || (proves && logprobs == NULL)) && sample->count > 0)
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
                                .purpose = PURPOSE_TRAIN,
                                .response_logprobs = logprobs,
                                .scored = sample->state == SAMPLE_SCORED};
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
static struct sample *next_unscored(const struct book *book, struct group **group, uint32_t *number)
{
    for (; *group != NULL; *group = (*group)->next, *number = 0)
        for (; (*group)->unscored > 0 && *number < (*group)->size; (*number)++) {
            struct sample *sample = &(*group)->samples[*number];
            if (sample->state == SAMPLE_FINISHED && !sample->scoring &&
                sample->score_after_ns <= book->now_ns)
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
            if (group->samples[i].state == SAMPLE_FINISHED && group->samples[i].scorer_losses > 0 &&
                group->samples[i].scorer_losses >= book->config.store.max_deaths)
                TRY(charge_losses(book, out, &group->samples[i]));
    }
    return STATUS_OK;
}

static enum status send_items(struct book_out *out, const struct peer *peer, uint32_t count,
                              const struct score_item *items)
{
    struct message message = {.type = MESSAGE_score_work, .score_work = {count, items}};
    return book_send(out, peer->id, &message);
}

static void assign(struct book *book, struct peer *peer, struct sample *sample)
{
    sample->scoring = true;
    sample->scorer_peer = peer->id;
    book->unassigned--;
    peer->credit--;
    peer->scoring++;
}

/* Every sample has its tokens, and no worker has one of them. */
static bool is_whole(const struct book *book, const struct group *group)
{
    for (uint32_t i = 0; i < group->size; i++) {
        const struct sample *sample = &group->samples[i];
        if (sample->scoring || sample->score_after_ns > book->now_ns ||
            (sample->state != SAMPLE_FINISHED && sample->state != SAMPLE_SCORED))
            return false;
    }
    return true;
}

/* One message: those that have a score already go along, because their worker reads whole groups. */
static enum status send_group(struct book *book, struct peer *peer, struct group *group,
                              struct book_out *out)
{
    struct score_item *items = arena_array(out->arena, group->size, sizeof *items);
    if (items == NULL)
        return FAIL(STATUS_LIMIT, "no room for %" PRIu32 " items", group->size);
    for (uint32_t i = 0; i < group->size; i++) {
        struct sample *sample = &group->samples[i];
        TRY(describe_item(book, sample, peer->caps, out, &items[i]));
        if (sample->state == SAMPLE_FINISHED)
            assign(book, peer, sample);
    }
    return send_items(out, peer, group->size, items);
}

static enum status send_groups(struct book *book, struct peer *peer, struct book_out *out)
{
    for (struct group *group = book->lists[GROUP_OPEN].first;
         group != NULL && peer->credit > 0 && book->unassigned > 0; group = group->next)
        if (group->unscored > 0 && group->unscored <= peer->credit && is_whole(book, group))
            TRY(send_group(book, peer, group, out));
    return STATUS_OK;
}

/* From *group and *number on. */
static enum status send_samples(struct book *book, struct peer *peer, struct group **group,
                                uint32_t *number, struct book_out *out)
{
    uint64_t most = peer->credit < book->unassigned ? peer->credit : book->unassigned;
    struct score_item *items = arena_array(out->arena, most, sizeof *items);
    if (items == NULL)
        return FAIL(STATUS_LIMIT, "no room for %" PRIu64 " items", most);
    uint32_t count = 0;
    for (struct sample *sample;
         count < most && (sample = next_unscored(book, group, number)) != NULL;) {
        assign(book, peer, sample);
        TRY(describe_item(book, sample, peer->caps, out, &items[count++]));
    }
    return count > 0 ? send_items(out, peer, count, items) : STATUS_OK;
}

enum status book_score_out(struct book *book, struct book_out *out)
{
    if (book->finished == 0)
        return STATUS_OK;
    if (book->charge_due)
        TRY(charge_all(book, out));
    book->charge_due = false;
    struct group *group = book->lists[GROUP_OPEN].first;
    uint32_t number = 0;
    for (uint32_t i = 0; i < book->peer_limit && book->unassigned > 0; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role != ROLE_REWARD || peer->credit == 0 || peer->draining ||
            !book_alive_peer(book, peer))
            continue;
        if ((peer->caps & SCORE_CAP_GROUP) != 0)
            TRY(send_groups(book, peer, out));
        else
            TRY(send_samples(book, peer, &group, &number, out));
    }
    return STATUS_OK;
}
