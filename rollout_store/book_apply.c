/* rollout_store/book_apply.c - the only code that changes what survives a restart: one record, one change.
 *
 * Every case first checks that the record fits what came before (CORRUPT with a sentence: the ledger
 * contradicts itself), then changes. Cases that run out of memory may leave half a change; the store stops then. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rollout_store/book_snapshot.h"
#include "rollout_store/book_state.h"

/* ---- lists and memory ---- */

void book_list_append(struct group_list *list, struct group *group)
{
    group->next = NULL;
    group->previous = list->last;
    if (list->last != NULL)
        list->last->next = group;
    else
        list->first = group;
    list->last = group;
    list->count++;
}

static void list_remove(struct group_list *list, struct group *group)
{
    if (group->previous != NULL)
        group->previous->next = group->next;
    else
        list->first = group->next;
    if (group->next != NULL)
        group->next->previous = group->previous;
    else
        list->last = group->previous;
    group->previous = group->next = NULL;
    list->count--;
}

/* Open groups stand in order of birth. */
static void list_insert(struct group_list *list, struct group *group)
{
    struct group *after = list->last;
    while (after != NULL && after->group_id > group->group_id)
        after = after->previous;
    if (after == list->last) {
        book_list_append(list, group);
        return;
    }
    struct group *before = after != NULL ? after->next : list->first;
    group->previous = after;
    group->next = before;
    before->previous = group;
    if (after != NULL)
        after->next = group;
    else
        list->first = group;
    list->count++;
}

static void set_group_state(struct book *book, struct group *group, enum group_state state)
{
    list_remove(&book->lists[group->state], group);
    book->committed -= group->state == GROUP_OPEN && group->committed;
    group->state = state;
    book->committed += state == GROUP_OPEN && group->committed;
    list_insert(&book->lists[state], group);
}

/* Keeps the counts of samples that wait for an actor or a score. */
static void set_sample_state(struct book *book, struct sample *sample, enum sample_state state)
{
    book->queued -= sample->state == SAMPLE_QUEUED;
    book->finished -= sample->state == SAMPLE_FINISHED;
    book->unassigned -= sample->state == SAMPLE_FINISHED && !sample->scoring;
    sample->group->queued -= sample->state == SAMPLE_QUEUED;
    sample->group->unscored -= sample->state == SAMPLE_FINISHED;
    sample->state = state;
    book->unassigned += state == SAMPLE_FINISHED && !sample->scoring;
    sample->group->queued += state == SAMPLE_QUEUED;
    sample->group->unscored += state == SAMPLE_FINISHED;
    book->queued += state == SAMPLE_QUEUED;
    book->finished += state == SAMPLE_FINISHED;
}

void book_free_group(struct book *book, struct group *group)
{
    (void)book;
    for (uint32_t i = 0; i < group->size; i++) {
        memory_free(group->samples[i].ids);
        memory_free(group->samples[i].logprobs);
        memory_free(group->samples[i].pieces);
        memory_free(group->samples[i].detail_json);
    }
    memory_free(group);
}

void book_bury_all(struct book *book)
{
    for (struct group *group = book->graveyard, *next; group != NULL; group = next) {
        next = group->next;
        book_free_group(book, group);
    }
    book->graveyard = NULL;
    book->graveyard_count = 0;
    book->recent_count = 0;
}

void book_free_plan(struct stored_plan *plan)
{
    memory_free(plan->group_ids);
    memory_free(plan->cuts);
    memory_free(plan->settings_json);
}

/* The lease ends; `cancel` when its holder may still work on it. */
static enum status end_lease(struct book *book, struct sample *sample, bool cancel)
{
    struct holder *holder = sample->holder;
    book_map_remove(&book->leases, sample->lease_id);
    holder->leases--;
    holder->tokens -= book_lease_tokens(book, sample->group);
    if (cancel) {
        if (holder->cancel_count == WIRE_LEASES_MAX) { /* the oldest half was said long ago */
            holder->cancel_count /= 2;
            memmove(holder->cancels, holder->cancels + holder->cancel_count,
                    holder->cancel_count * sizeof *holder->cancels);
            holder->cancels_said -= holder->cancels_said < holder->cancel_count
                                        ? holder->cancels_said
                                        : holder->cancel_count;
        }
        void *cancels = holder->cancels;
        TRY(book_reserve(&cancels, &holder->cancel_capacity, holder->cancel_count + 1,
                         sizeof *holder->cancels));
        holder->cancels = cancels;
        holder->cancels[holder->cancel_count++] = sample->lease_id;
    }
    sample->lease_id = 0;
    sample->holder = NULL;
    return STATUS_OK;
}

/* Out of every list; its memory waits for book_bury_all. */
static enum status remove_group(struct book *book, struct group *group)
{
    for (uint32_t i = 0; i < group->size; i++) {
        struct sample *sample = &group->samples[i];
        if (sample->state == SAMPLE_LEASED)
            TRY(end_lease(book, sample, true));
        if (group->state == GROUP_OPEN)
            set_sample_state(book, sample, SAMPLE_SCORED);
    }
    list_remove(&book->lists[group->state], group);
    book->committed -= group->state == GROUP_OPEN && group->committed;
    book_map_remove(&book->groups, group->group_id);
    group->next = book->graveyard;
    book->graveyard = group;
    book->graveyard_count++;
    return STATUS_OK;
}

static enum status find_open(const struct book *book, uint64_t group_id, struct group **group)
{
    *group = book_map_get(&book->groups, group_id);
    if (*group == NULL || (*group)->state != GROUP_OPEN)
        return FAIL(STATUS_CORRUPT, "group %" PRIu64 " is not open", group_id);
    return STATUS_OK;
}

static enum status find_sample(const struct book *book, uint64_t group_id, uint32_t number,
                               struct sample **sample)
{
    struct group *group;
    TRY(find_open(book, group_id, &group));
    if (number >= group->size)
        return FAIL(STATUS_CORRUPT, "group %" PRIu64 " has no sample %" PRIu32, group_id, number);
    *sample = &group->samples[number];
    return STATUS_OK;
}

/* ---- cases ---- */

static enum status apply_run(struct book *book, const struct record *record)
{
    const struct book_config *config = &book->config;
    if (book->run_known)
        return FAIL(STATUS_CORRUPT, "a second run record");
    if (strcmp(record->run.run, config->run) != 0)
        return FAIL(STATUS_INVALID, "the ledger is of run \"%s\", not \"%s\"", record->run.run,
                    config->run);
    if (record->run.seed != config->run_seed)
        return FAIL(STATUS_INVALID,
                    "the ledger was made with run.seed %" PRIu64 ", now it is %" PRIu64
                    ": set it back",
                    record->run.seed, config->run_seed);
    if (record->run.data_hash != prompts_hash(config->prompts) ||
        record->run.prompt_count != prompts_count(config->prompts))
        return FAIL(STATUS_INVALID,
                    "the prompts differ from those the run began with (%" PRIu64 " then, %" PRIu64
                    " now): restore data.train and the data settings, or start a new run",
                    record->run.prompt_count, prompts_count(config->prompts));
    book->run_known = true;
    return STATUS_OK;
}

/* A prompt that returns leaves the queue; a fresh one must be the next draw. */
static enum status take_draw(struct book *book, const struct record *record)
{
    if (record->born.retry == 0) {
        if (record->born.draw != book->next_draw)
            return FAIL(STATUS_CORRUPT, "draw %" PRIu64 " where %" PRIu64 " was due",
                        record->born.draw, book->next_draw);
        book->next_draw++;
        curriculum_born(book->curriculum, book_version(book), record->born.prompt_id,
                        record->born.position);
        return STATUS_OK;
    }
    for (size_t i = 0; i < book->returned_count; i++) {
        const struct returned_prompt *prompt = &book->returned[i];
        if (prompt->prompt_id != record->born.prompt_id || prompt->retry != record->born.retry ||
            prompt->draw != record->born.draw)
            continue;
        book->returned_count--;
        memmove(&book->returned[i], &book->returned[i + 1],
                (book->returned_count - i) * sizeof *book->returned);
        return STATUS_OK;
    }
    return FAIL(STATUS_CORRUPT, "prompt %" PRIu64 " did not return", record->born.prompt_id);
}

static enum status apply_born(struct book *book, const struct record *record)
{
    if (record->born.group_id != book->next_group_id ||
        record->born.prompt_id >= prompts_count(book->config.prompts))
        return FAIL(STATUS_CORRUPT,
                    "group %" PRIu64 " of prompt %" PRIu64 " is born, group %" PRIu64 " was due",
                    record->born.group_id, record->born.prompt_id, book->next_group_id);
    TRY(take_draw(book, record));
    uint32_t size = book->config.store.group_size;
    struct group *group = memory_alloc(sizeof *group + size * sizeof group->samples[0]);
    if (group == NULL)
        return FAIL(STATUS_NO_MEMORY, "a group of %" PRIu32, size);
    *group = (struct group){.group_id = record->born.group_id,
                            .prompt_id = record->born.prompt_id,
                            .draw = record->born.draw,
                            .min_version = record->born.min_version,
                            .retry = record->born.retry,
                            .level = record->born.min_version,
                            .size = size};
    for (uint32_t i = 0; i < size; i++)
        group->samples[i] =
            (struct sample){.group = group, .number = i, .kv_version_min = UINT64_MAX};
    group->queued = size;
    book->queued += size;
    book->next_group_id++;
    book->counters.groups_born++;
    book_list_append(&book->lists[GROUP_OPEN], group);
    return book_map_put(&book->groups, group->group_id, group);
}

/* The first lease fixes the oldest weights a group may have. With a groups committed before it (and not trained
 * yet), at most (k + 1) P of them are allowed weights <= w - s + k, so that every one finds a plan in time. */
static void commit_group(struct book *book, struct group *group)
{
    uint64_t version = book_version(book), s = book->config.store.max_staleness;
    uint64_t committed = book->committed + book_alive(book) - book->lists[GROUP_OPEN].count;
    uint64_t rank = version + committed / book->config.store.groups_per_publish;
    uint64_t level = rank > s ? rank - s : 0;
    if (level > version)
        level = version; /* after a branch more groups may be alive than are born now */
    group->level = level > group->min_version ? level : group->min_version;
    group->committed = true;
    book->committed++;
}

static enum status apply_leased(struct book *book, const struct record *record)
{
    struct sample *sample;
    TRY(find_sample(book, record->leased.group_id, record->leased.sample, &sample));
    if (sample->state != SAMPLE_QUEUED || record->leased.attempt != sample->attempt + 1 ||
        record->leased.lease_id < book->next_lease_id)
        return FAIL(STATUS_CORRUPT,
                    "lease %" PRIu64 " of group %" PRIu64 " sample %" PRIu32 " does not follow",
                    record->leased.lease_id, record->leased.group_id, record->leased.sample);
    struct holder *holder;
    TRY(book_hold(book, record->leased.holder_index, record->leased.holder_incarnation, &holder));
    TRY(book_map_put(&book->leases, record->leased.lease_id, sample));
    if (!sample->group->committed)
        commit_group(book, sample->group);
    set_sample_state(book, sample, SAMPLE_LEASED);
    sample->attempt = record->leased.attempt;
    sample->lease_id = record->leased.lease_id;
    sample->lease_from = sample->count;
    sample->lease_heard = false;
    sample->cap = stages_cap(&book->stages);
    sample->holder = holder;
    holder->leases++;
    holder->tokens += book_lease_tokens(book, sample->group);
    book->next_lease_id = record->leased.lease_id + 1;
    book->counters.leases_issued++;
    book->counters.leases_continued += sample->count > 0;
    return STATUS_OK;
}

static enum status apply_expired(struct book *book, const struct record *record)
{
    struct sample *sample = book_map_get(&book->leases, record->expired.lease_id);
    if (sample == NULL)
        return FAIL(STATUS_CORRUPT, "lease %" PRIu64 " expires but is not live",
                    record->expired.lease_id);
    TRY(end_lease(book, sample, true));
    set_sample_state(book, sample, SAMPLE_QUEUED);
    sample->failures += record->expired.counts_failure;
    sample->deaths += record->expired.counts_death;
    book->counters.leases_expired++;
    return STATUS_OK;
}

static enum status append_tokens(struct sample *sample, const struct segment *segment)
{
    uint32_t end = sample->count + segment->count;
    if (end > sample->capacity) {
        uint32_t wider = sample->capacity < 64 ? 64 : sample->capacity;
        while (wider < end)
            wider *= 2;
        uint32_t *ids = memory_grow(sample->ids, sample->count * sizeof *ids, wider * sizeof *ids);
        if (ids == NULL)
            return FAIL(STATUS_NO_MEMORY, "%" PRIu32 " tokens", wider);
        sample->ids = ids;
        float *logprobs = memory_grow(sample->logprobs, sample->count * sizeof *logprobs,
                                      wider * sizeof *logprobs);
        if (logprobs == NULL)
            return FAIL(STATUS_NO_MEMORY, "%" PRIu32 " logprobs", wider);
        sample->logprobs = logprobs;
        sample->capacity = wider;
    }
    if (segment->count > 0) {
        memcpy(sample->ids + sample->count, segment->ids, segment->count * sizeof *sample->ids);
        memcpy(sample->logprobs + sample->count, segment->logprobs,
               segment->count * sizeof *sample->logprobs);
    }
    sample->count = end;
    return STATUS_OK;
}

static enum status append_piece(struct sample *sample, const struct segment *segment)
{
    if (segment->count == 0)
        return STATUS_OK;
    struct group_piece *last =
        sample->piece_count > 0 ? &sample->pieces[sample->piece_count - 1] : NULL;
    if (last != NULL && last->version == segment->version &&
        last->kv_version_min == segment->kv_version_min) {
        last->count += segment->count;
        return STATUS_OK;
    }
    void *pieces = sample->pieces;
    size_t capacity = sample->piece_capacity;
    TRY(book_reserve(&pieces, &capacity, (size_t)sample->piece_count + 1, sizeof *sample->pieces));
    sample->pieces = pieces;
    sample->piece_capacity = (uint32_t)capacity;
    sample->pieces[sample->piece_count++] =
        (struct group_piece){segment->count, segment->version, segment->kv_version_min};
    return STATUS_OK;
}

static enum status apply_segment(struct book *book, const struct segment *segment)
{
    struct sample *sample;
    TRY(find_sample(book, segment->group_id, segment->sample, &sample));
    if (sample->state != SAMPLE_LEASED || sample->lease_id != segment->lease_id ||
        sample->count != segment->first_position)
        return FAIL(STATUS_CORRUPT,
                    "segment of group %" PRIu64 " sample %" PRIu32 " at %" PRIu32
                    " does not continue it",
                    segment->group_id, segment->sample, segment->first_position);
    TRY(append_tokens(sample, segment));
    TRY(append_piece(sample, segment));
    sample->repetition_run = segment->repetition_run;
    sample->kv_version_min = segment->kv_version_min < sample->kv_version_min
                                 ? segment->kv_version_min
                                 : sample->kv_version_min;
    sample->lease_heard = true;
    if (segment->count > 0)
        sample->deaths = 0;
    book->counters.tokens += segment->count;
    if (segment->status == SEGMENT_MORE)
        return STATUS_OK;
    TRY(end_lease(book, sample, false));
    if (segment->status == SEGMENT_ABORT) {
        set_sample_state(book, sample, SAMPLE_QUEUED);
        return STATUS_OK;
    }
    sample->finish = segment->status;
    set_sample_state(book, sample, SAMPLE_FINISHED);
    book->counters.rollouts_finished++;
    return STATUS_OK;
}

static enum status apply_scored(struct book *book, const struct record *record)
{
    const struct score *score = &record->scored.score;
    struct sample *sample;
    TRY(find_sample(book, score->group_id, score->sample, &sample));
    if (sample->state != SAMPLE_FINISHED || sample->attempt != score->attempt ||
        record->scored.scoring_attempt != sample->scoring_attempts + 1)
        return FAIL(STATUS_CORRUPT,
                    "score of group %" PRIu64 " sample %" PRIu32 " comes out of turn",
                    score->group_id, score->sample);
    char *detail = memory_text(score->detail_json);
    if (detail == NULL)
        return FAIL(STATUS_NO_MEMORY, "detail of a score");
    memory_free(sample->detail_json);
    sample->detail_json = detail;
    sample->scoring_attempts = record->scored.scoring_attempt;
    sample->score_status = score->status;
    sample->reward = score->value;
    sample->scorer = score->scorer;
    if (score->status != SCORE_OK && score->status != SCORE_FAIL) {
        book->counters.scores_retried++;
        return STATUS_OK;
    }
    set_sample_state(book, sample, SAMPLE_SCORED);
    sample->group->scored++;
    book->counters.rollouts_scored++;
    return STATUS_OK;
}

static enum status apply_closed(struct book *book, const struct record *record)
{
    struct group *group;
    TRY(find_open(book, record->closed.group_id, &group));
    if (group->scored != group->size)
        return FAIL(STATUS_CORRUPT,
                    "group %" PRIu64 " closes with %" PRIu32 " of %" PRIu32 " samples",
                    group->group_id, group->scored, group->size);
    set_group_state(book, group, GROUP_ELIGIBLE);
    book->counters.consecutive_dropped = 0;
    curriculum_closed(book->curriculum, group->prompt_id, book_passed(book, group), group->size);
    return STATUS_OK;
}

/* Its judge was recalibrated: finished rollouts wait for a score again. */
static enum status apply_reopened(struct book *book, const struct record *record)
{
    struct group *group = book_map_get(&book->groups, record->reopened.group_id);
    if (group == NULL || (group->state != GROUP_OPEN && group->state != GROUP_ELIGIBLE))
        return FAIL(STATUS_CORRUPT, "group %" PRIu64 " is reopened but not open or eligible",
                    record->reopened.group_id);
    if (group->state == GROUP_ELIGIBLE)
        set_group_state(book, group, GROUP_OPEN);
    for (uint32_t i = 0; i < group->size; i++) {
        struct sample *sample = &group->samples[i];
        if (sample->state != SAMPLE_SCORED)
            continue;
        set_sample_state(book, sample, SAMPLE_FINISHED);
        sample->scoring_attempts = 0;
        group->scored--;
        book->counters.rollouts_scored--;
    }
    return STATUS_OK;
}

static enum status apply_dropped(struct book *book, const struct record *record)
{
    struct group *group = book_map_get(&book->groups, record->dropped.group_id);
    if (group == NULL || group->state == GROUP_PLANNED)
        return FAIL(STATUS_CORRUPT, "group %" PRIu64 " is dropped but not open or eligible",
                    record->dropped.group_id);
    if (record->dropped.prompt_returns) {
        void *returned = book->returned;
        TRY(book_reserve(&returned, &book->returned_capacity, book->returned_count + 1,
                         sizeof *book->returned));
        book->returned = returned;
        book->returned[book->returned_count++] =
            (struct returned_prompt){group->prompt_id, group->draw, group->retry + 1};
    }
    book->counters.dropped[record->dropped.reason]++;
    book->counters.consecutive_dropped++;
    if (record->dropped.reason == DROP_ZERO_VARIANCE) {
        book->zero_variance++;
        for (uint32_t i = 0; i < group->size; i++)
            book->zero_variance_reward += group->samples[i].reward;
        curriculum_closed(book->curriculum, group->prompt_id, book_passed(book, group),
                          group->size);
    }
    book->last_drop = record->dropped.reason;
    return remove_group(book, group);
}

static enum status keep_path(struct book *book, const struct record *record)
{
    char *path = memory_text(record->version.weights_path);
    if (path == NULL)
        return FAIL(STATUS_NO_MEMORY, "path of weights");
    memory_free(book->weights_path);
    book->weights_path = path;
    return STATUS_OK;
}

/* A version that is known, with its digest: its weights are at another place now. */
static enum status apply_version(struct book *book, const struct record *record)
{
    uint64_t version = record->version.version;
    const struct stored_version *known = book_find_version(book, version);
    if (known != NULL && known->digest == record->version.digest &&
        record->version.branch == book->counters.branch)
        return keep_path(book, record);
    if (record->version.branch != book->counters.branch ||
        (book->version_count > 0 && version != book_version(book) + 1))
        return FAIL(STATUS_CORRUPT,
                    "version %" PRIu64 " of branch %" PRIu32 " does not follow version %" PRIu64
                    " of branch %" PRIu32,
                    version, record->version.branch, book_version(book), book->counters.branch);
    void *versions = book->versions;
    TRY(book_reserve(&versions, &book->version_capacity, book->version_count + 1,
                     sizeof *book->versions));
    book->versions = versions;
    TRY(keep_path(book, record));
    book->versions[book->version_count++] =
        (struct stored_version){version, record->version.digest};
    book->counters.version = version;
    return STATUS_OK;
}

/* Only groups whose every token is of weights that still exist stay; open ones go, since their actors sample from dead
 * weights and their place in the order of ages is gone. */
static enum status bury_dead_branch(struct book *book, uint64_t first_dead)
{
    for (int state = GROUP_OPEN; state < GROUP_STATE_COUNT; state++)
        for (struct group *group = book->lists[state].first, *next; group != NULL; group = next) {
            next = group->next;
            bool void_plan = state == GROUP_PLANNED && group->planned_version > first_dead;
            if (state == GROUP_PLANNED && !void_plan)
                continue;
            bool dead = state == GROUP_OPEN;
            for (uint32_t i = 0; i < group->size; i++)
                for (uint32_t p = 0; p < group->samples[i].piece_count; p++)
                    dead = dead || group->samples[i].pieces[p].version >= first_dead;
            book->counters.groups_planned -= void_plan;
            if (!dead) {
                if (void_plan)
                    set_group_state(book, group, GROUP_ELIGIBLE);
                continue;
            }
            book->counters.dropped[DROP_DEAD_BRANCH]++;
            TRY(remove_group(book, group));
        }
    return STATUS_OK;
}

static enum status apply_branch(struct book *book, const struct record *record)
{
    if (record->branch.branch != book->counters.branch + 1)
        return FAIL(STATUS_CORRUPT, "branch %" PRIu32 " follows %" PRIu32, record->branch.branch,
                    book->counters.branch);
    uint64_t first_dead = record->branch.after_version + 1;
    while (book->version_count > 0 && book_version(book) >= first_dead)
        book->dead[book->dead_count++ % BOOK_DEAD_MAX] = book->versions[--book->version_count];
    while (book->plan_count > 0 && book->plans[book->plan_count - 1].plan.version > first_dead)
        book_free_plan(&book->plans[--book->plan_count]);
    stages_branch(&book->stages, first_dead);
    book->counters.branch = record->branch.branch;
    book->counters.version = book_version(book);
    book->counters.planned_version =
        book->plan_count > 0 ? book->plans[book->plan_count - 1].plan.version : book_version(book);
    if (book->counters.checkpoint_version >= first_dead)
        book->counters.checkpoint_version = first_dead > 0 ? first_dead - 1 : 0;
    return bury_dead_branch(book, first_dead);
}

static enum status keep_plan(struct book *book, const struct plan *plan)
{
    void *plans = book->plans;
    TRY(book_reserve(&plans, &book->plan_capacity, book->plan_count + 1, sizeof *book->plans));
    book->plans = plans;
    struct stored_plan stored = {.plan = *plan,
                                 .group_ids =
                                     memory_array(plan->group_count, sizeof *stored.group_ids),
                                 .cuts = memory_array(plan->cut_count, sizeof *stored.cuts),
                                 .settings_json = memory_text(plan->settings_json)};
    if (stored.group_ids == NULL || stored.cuts == NULL || stored.settings_json == NULL) {
        book_free_plan(&stored);
        return FAIL(STATUS_NO_MEMORY, "a plan of %" PRIu32 " groups", plan->group_count);
    }
    memcpy(stored.group_ids, plan->group_ids, plan->group_count * sizeof *stored.group_ids);
    memcpy(stored.cuts, plan->cuts, plan->cut_count * sizeof *stored.cuts);
    stored.plan.group_ids = stored.group_ids;
    stored.plan.cuts = stored.cuts;
    stored.plan.settings_json = stored.settings_json;
    book->plans[book->plan_count++] = stored;
    return STATUS_OK;
}

static enum status apply_plan(struct book *book, const struct record *record)
{
    const struct plan *plan = &record->plan.plan;
    if (plan->branch != book->counters.branch || plan->version != book_version(book) + 1 ||
        book_find_plan(book, plan->version))
        return FAIL(STATUS_CORRUPT, "plan for version %" PRIu64 " at version %" PRIu64,
                    plan->version, book_version(book));
    double sum = 0;
    for (uint32_t i = 0; i < plan->group_count; i++) {
        struct group *group = book_map_get(&book->groups, plan->group_ids[i]);
        if (group == NULL || group->state != GROUP_ELIGIBLE)
            return FAIL(STATUS_CORRUPT, "plan %" PRIu64 ": group %" PRIu64 " is not eligible",
                        plan->version, plan->group_ids[i]);
        uint64_t oldest = book_oldest_token(group), w = book_version(book);
        uint64_t staleness = oldest < w ? w - oldest : 0;
        sum += (double)staleness;
        if (staleness > book->counters.staleness_max)
            book->counters.staleness_max = staleness;
        group->planned_version = plan->version;
        set_group_state(book, group, GROUP_PLANNED);
    }
    book->counters.staleness_mean = plan->group_count > 0 ? sum / plan->group_count : 0;
    book->counters.groups_planned += plan->group_count;
    book->counters.planned_version = plan->version;
    book->zero_variance = 0;
    book->zero_variance_reward = 0;
    TRY(stages_apply(&book->stages, plan->version, plan->stage, plan->response_tokens_max,
                     record->plan.stage));
    return keep_plan(book, plan);
}

static enum status apply_checkpoint(struct book *book, const struct record *record)
{
    uint64_t version = record->checkpoint.version;
    if (book_find_version(book, version) == NULL)
        return FAIL(STATUS_CORRUPT, "checkpoint of version %" PRIu64 ", which is not known",
                    version);
    if (version > book->counters.checkpoint_version)
        book->counters.checkpoint_version = version;
    stages_forget(&book->stages, version);
    size_t consumed = 0;
    for (; consumed < book->plan_count && book->plans[consumed].plan.version <= version;
         consumed++) {
        const struct plan *plan = &book->plans[consumed].plan;
        for (uint32_t i = 0; i < plan->group_count; i++) {
            struct group *group = book_map_get(&book->groups, plan->group_ids[i]);
            if (group == NULL || group->state != GROUP_PLANNED)
                return FAIL(STATUS_CORRUPT, "group %" PRIu64 " of plan %" PRIu64 " is gone",
                            plan->group_ids[i], plan->version);
            TRY(remove_group(book, group));
        }
        book->counters.groups_consumed += plan->group_count;
        book_free_plan(&book->plans[consumed]);
    }
    book->plan_count -= consumed;
    memmove(book->plans, book->plans + consumed, book->plan_count * sizeof *book->plans);
    return STATUS_OK;
}

static enum status apply_stop(struct book *book, const struct record *record)
{
    char *reason = memory_text(record->stop.reason);
    if (reason == NULL)
        return FAIL(STATUS_NO_MEMORY, "reason");
    memory_free(book->stop_reason);
    book->stop_reason = reason;
    book->stopped = true;
    book->stop_failed = record->stop.failed;
    book->counters.consecutive_dropped = 0; /* who starts the run again has changed something */
    return STATUS_OK;
}

static enum status apply_paused(struct book *book, const struct record *record)
{
    const struct prompts *prompts = book->config.prompts;
    for (uint32_t i = 0; i < prompts_source_count(prompts); i++)
        if (strcmp(prompts_source(prompts, i), record->paused.source) == 0) {
            curriculum_pause(book->curriculum, i, record->paused.paused);
            return STATUS_OK;
        }
    return FAIL(STATUS_CORRUPT, "data source \"%s\" is paused but not there",
                record->paused.source);
}

enum status book_apply(struct book *book, const struct record *record)
{
    if (record->type != RECORD_RUN && record->type != RECORD_SNAPSHOT && !book->run_known)
        return FAIL(STATUS_CORRUPT, "the ledger does not begin with a run record");
    switch (record->type) {
    case RECORD_RUN:
        return apply_run(book, record);
    case RECORD_BORN:
        return apply_born(book, record);
    case RECORD_LEASED:
        return apply_leased(book, record);
    case RECORD_EXPIRED:
        return apply_expired(book, record);
    case RECORD_SEGMENT:
        return apply_segment(book, &record->segment.segment);
    case RECORD_SCORED:
        return apply_scored(book, record);
    case RECORD_CLOSED:
        return apply_closed(book, record);
    case RECORD_REOPENED:
        return apply_reopened(book, record);
    case RECORD_DROPPED:
        return apply_dropped(book, record);
    case RECORD_VERSION:
        return apply_version(book, record);
    case RECORD_BRANCH:
        return apply_branch(book, record);
    case RECORD_PLAN:
        return apply_plan(book, record);
    case RECORD_CHECKPOINT:
        return apply_checkpoint(book, record);
    case RECORD_STOP:
        return apply_stop(book, record);
    case RECORD_SNAPSHOT:
        return book_restore(book, record);
    case RECORD_PAUSED:
        return apply_paused(book, record);
    case RECORD_TYPE_END:
        break;
    }
    return FAIL(STATUS_CORRUPT, "record type %d", (int)record->type);
}

void book_read_counters(const struct book *book, struct book_counters *counters)
{
    *counters = book->counters;
    counters->groups_open = book->lists[GROUP_OPEN].count;
    counters->groups_eligible = book->lists[GROUP_ELIGIBLE].count;
}
