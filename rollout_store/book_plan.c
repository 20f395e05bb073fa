/* rollout_store/book_plan.c - plans, what the learner may fetch, versions, branches, checkpoints. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout_store/book_state.h"

/* ---- ages ---- */

/* Tokens of older weights are over age in the plan for version w + 1. */
static uint64_t age_limit(const struct book *book)
{
    uint64_t version = book_version(book), s = book->config.store.max_staleness;
    return version > s ? version - s : 0;
}

/* The oldest weights that a token of an open group has or may still get. */
static uint64_t oldest_possible(const struct group *group)
{
    uint64_t oldest = book_oldest_token(group);
    for (uint32_t i = 0; i < group->size; i++)
        if (group->samples[i].count == 0 && group->samples[i].state <= SAMPLE_LEASED &&
            group->level < oldest)
            oldest = group->level;
    return oldest;
}

/* Would the next plan leave groups behind that cannot all be planned in time? After it there are k + 1 more plans
 * for what has weights <= w + 1 - s + k, so at most (k + 1) P such groups may remain, for each k >= -1; of the
 * eligible ones the plan takes the P oldest. Only open groups are worth waiting for. */
uint64_t book_held_by(const struct book *book)
{
    enum { STALENESS_MAX = 1024 }; /* of store.max_staleness */
    uint64_t s = book->config.store.max_staleness, version = book_version(book),
             publish = book->config.store.groups_per_publish;
    uint32_t open[STALENESS_MAX + 1] = {0}, eligible[STALENESS_MAX + 1] = {0};
    if (book->config.store.over_age != OVER_AGE_HOLD || s > STALENESS_MAX)
        return 0;
    for (int state = GROUP_OPEN; state <= GROUP_ELIGIBLE; state++)
        for (const struct group *group = book->lists[state].first; group != NULL;
             group = group->next) {
            if (state == GROUP_OPEN && !group->committed)
                continue;
            uint64_t oldest =
                state == GROUP_OPEN ? oldest_possible(group) : book_oldest_token(group);
            if (oldest > version)
                continue;
            uint64_t age = version - oldest, slack = age >= s ? 0 : s - age;
            (state == GROUP_OPEN ? open : eligible)[slack]++;
        }
    uint64_t open_sum = 0, eligible_sum = 0;
    for (uint64_t slack = 0; slack <= s; slack++) {
        open_sum += open[slack];
        eligible_sum += eligible[slack];
        uint64_t remain = open_sum + (eligible_sum > publish ? eligible_sum - publish : 0);
        if (open_sum > 0 && remain > slack * publish)
            return remain - slack * publish < open_sum ? remain - slack * publish : open_sum;
    }
    return 0;
}

/* `drop`: a group with a token too old goes at once. `mask`: one whose every token would be masked. `hold`: never,
 * but for closed groups that a branch left behind. */
static bool over_age(const struct book *book, const struct group *group)
{
    uint64_t limit = age_limit(book);
    uint64_t oldest = book_oldest_token(group);
    if (oldest >= limit)
        return false;
    if (book->config.store.over_age == OVER_AGE_DROP)
        return true;
    if (group->state != GROUP_ELIGIBLE)
        return false;
    if (book->config.store.over_age == OVER_AGE_HOLD)
        return true;
    for (uint32_t i = 0; i < group->size; i++)
        for (uint32_t p = 0; p < group->samples[i].piece_count; p++)
            if (group->samples[i].pieces[p].version >= limit)
                return false;
    return true;
}

enum status book_drop_over_age(struct book *book, struct book_out *out)
{
    if (book->config.store.over_age == OVER_AGE_HOLD && book->counters.branch == 0)
        return STATUS_OK;
    for (int state = GROUP_OPEN; state <= GROUP_ELIGIBLE; state++)
        for (struct group *group = book->lists[state].first, *next; group != NULL; group = next) {
            next = group->next;
            if (over_age(book, group))
                TRY(book_drop(book, out, group, DROP_STALE));
        }
    return STATUS_OK;
}

/* ---- plans ---- */

struct candidate {
    uint64_t oldest, group_id;
};

static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->oldest != b->oldest)
        return a->oldest < b->oldest ? -1 : 1;
    return a->group_id < b->group_id ? -1 : a->group_id > b->group_id;
}

static struct candidate *sort_candidates(const struct book *book, struct book_out *out)
{
    struct candidate *candidates =
        arena_array(out->arena, book->lists[GROUP_ELIGIBLE].count, sizeof *candidates);
    size_t count = 0;
    if (candidates == NULL)
        return NULL;
    for (const struct group *group = book->lists[GROUP_ELIGIBLE].first; group != NULL;
         group = group->next)
        candidates[count++] = (struct candidate){
            book->config.store.max_staleness == 0 ? 0 : book_oldest_token(group), group->group_id};
    qsort(candidates, count, sizeof *candidates, compare_candidates);
    return candidates;
}

static enum status make_plan(struct book *book, struct book_out *out)
{
    uint32_t count = book->config.store.groups_per_publish;
    uint32_t cut_count =
        book->config.updates_per_publish < count ? book->config.updates_per_publish : count;
    struct candidate *candidates = sort_candidates(book, out);
    uint64_t *ids = arena_array(out->arena, count, sizeof *ids);
    uint32_t *cuts = arena_array(out->arena, cut_count, sizeof *cuts);
    if (candidates == NULL || ids == NULL || cuts == NULL)
        return FAIL(STATUS_LIMIT, "no room for a plan of %" PRIu32 " groups", count);
    for (uint32_t i = 0; i < count; i++)
        ids[i] = candidates[i].group_id;
    for (uint32_t i = 0; i < cut_count; i++)
        cuts[i] = (uint32_t)((uint64_t)i * count / cut_count);
    uint64_t version = book_version(book) + 1;
    struct stage_facts *facts;
    TRY(book_stage_facts(book, out, ids, count, &facts));
    struct record record = {.type = RECORD_PLAN,
                            .plan = {.plan = {.branch = book->counters.branch,
                                              .version = version,
                                              .group_count = count,
                                              .group_ids = ids,
                                              .cut_count = cut_count,
                                              .cuts = cuts,
                                              .last = version >= book->config.steps,
                                              .settings_json = book->config.settings_json,
                                              .groups_dropped = book->zero_variance,
                                              .dropped_reward = book->zero_variance_reward,
                                              .stage = stages_now(&book->stages),
                                              .response_tokens_max = stages_cap(&book->stages)},
                                     .stage = facts}};
    return book_emit(book, out, &record);
}

/* A copy: the round may end with the plan gone (checkpoint, branch) before the message leaves. */
static enum status send_plan(struct book *book, struct peer *peer, const struct plan *plan,
                             struct book_out *out)
{
    struct plan copy = *plan;
    const struct stored_version *made = book_find_version(book, plan->version);
    copy.branch = book->counters.branch;
    copy.digest = made != NULL ? made->digest : 0;
    copy.group_ids =
        arena_copy(out->arena, plan->group_ids, plan->group_count * sizeof *plan->group_ids);
    copy.cuts = arena_copy(out->arena, plan->cuts, plan->cut_count * sizeof *plan->cuts);
    copy.settings_json = arena_text(out->arena, plan->settings_json);
    if (copy.group_ids == NULL || copy.cuts == NULL || copy.settings_json == NULL)
        return FAIL(STATUS_LIMIT, "no room for a plan of %" PRIu32 " groups", plan->group_count);
    peer->wants_plan = false;
    struct message message = {.type = MESSAGE_plan, .plan = copy};
    return book_send(out, peer->id, &message);
}

static enum status new_branch(struct book *book, struct book_out *out, uint64_t first_dead,
                              uint64_t digest, uint64_t parent, const char *path)
{
    struct record branch = {.type = RECORD_BRANCH,
                            .branch = {book->counters.branch + 1, first_dead - 1}};
    TRY(book_emit(book, out, &branch));
    struct record version = {.type = RECORD_VERSION,
                             .version = {.branch = book->counters.branch,
                                         .version = first_dead,
                                         .parent = parent,
                                         .digest = digest,
                                         .weights_path = path}};
    return book_emit(book, out, &version);
}

enum status book_plan_request(struct book *book, struct peer *peer,
                              const struct plan_request *request, struct book_out *out)
{
    const struct stored_version *loaded = book_find_version(book, request->checkpoint_version);
    if (loaded != NULL && request->checkpoint_digest != 0 &&
        loaded->digest != request->checkpoint_digest) {
        char *path = arena_text(out->arena, book->weights_path != NULL ? book->weights_path : "");
        if (path == NULL)
            return FAIL(STATUS_LIMIT, "no room for a path");
        uint64_t version = request->checkpoint_version; /* the file wins */
        TRY(new_branch(book, out, version, request->checkpoint_digest,
                       version > 0 ? version - 1 : 0, path));
    }
    const struct stored_plan *plan = book_find_plan(book, request->version + 1);
    if (plan != NULL)
        return send_plan(book, peer, &plan->plan, out);
    if (book->version_count > 0 && request->version != book_version(book)) {
        char *text = arena_alloc(out->arena, 512);
        if (text == NULL)
            return FAIL(STATUS_LIMIT, "no room for a sentence");
        snprintf(text, 512,
                 "you are at version %" PRIu64 ", this store's newest is %" PRIu64
                 " and it keeps plans from version %" PRIu64
                 " on: start from a checkpoint of this run that is at least version %" PRIu64
                 ", or start a new run",
                 request->version, book_version(book), book->counters.checkpoint_version + 1,
                 book->counters.checkpoint_version);
        return book_refuse(book, out, peer, text);
    }
    if (!peer->wants_plan || peer->wanted_version != request->version + 1)
        peer->wanted_ns = book->now_ns;
    peer->wants_plan = true;
    peer->wanted_version = request->version + 1;
    return STATUS_OK;
}

enum status book_plan_out(struct book *book, struct book_out *out)
{
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || !peer->wants_plan || book->version_count == 0 ||
            peer->wanted_version != book_version(book) + 1 ||
            peer->wanted_version > book->config.steps)
            continue;
        if (book_find_plan(book, peer->wanted_version) == NULL) {
            if (book->lists[GROUP_ELIGIBLE].count < book->config.store.groups_per_publish ||
                book_held_by(book) > 0)
                continue;
            TRY(make_plan(book, out));
        }
        TRY(send_plan(book, peer, &book_find_plan(book, peer->wanted_version)->plan, out));
    }
    return STATUS_OK;
}

/* ---- groups ---- */

/* A sample's arrays in one piece of the arena. Tokens too old for the plan have mask 0. */
static enum status describe_sample(const struct book *book, const struct sample *sample,
                                   struct book_out *out, struct group_sample *to)
{
    uint32_t count = sample->count;
    uint32_t *ids = arena_copy(out->arena, sample->ids, count * sizeof *ids);
    float *logprobs = arena_copy(out->arena, sample->logprobs, count * sizeof *logprobs);
    float *mask = arena_array(out->arena, count, sizeof *mask);
    struct group_piece *pieces =
        arena_copy(out->arena, sample->pieces, sample->piece_count * sizeof *pieces);
    if (ids == NULL || logprobs == NULL || mask == NULL || pieces == NULL)
        return FAIL(STATUS_LIMIT, "no room for a rollout of %" PRIu32 " tokens", count);
    uint64_t at_version = sample->group->planned_version - 1, s = book->config.store.max_staleness;
    uint64_t limit =
        book->config.store.over_age == OVER_AGE_MASK && at_version > s ? at_version - s : 0;
    uint32_t at = 0;
    for (uint32_t p = 0; p < sample->piece_count; p++)
        for (uint32_t i = 0; i < pieces[p].count; i++)
            mask[at++] = pieces[p].version >= limit ? 1.0F : 0.0F;
    *to = (struct group_sample){.sample = sample->number,
                                .attempt = sample->attempt,
                                .count = count,
                                .ids = ids,
                                .logprobs = logprobs,
                                .mask = mask,
                                .piece_count = sample->piece_count,
                                .pieces = pieces,
                                .finish = sample->finish,
                                .score_status = sample->score_status,
                                .reward = sample->reward};
    return STATUS_OK;
}

static enum status acknowledge(struct book_out *out, struct peer *peer, uint64_t request,
                               const char *error)
{
    char *text = arena_text(out->arena, error);
    if (text == NULL)
        return FAIL(STATUS_LIMIT, "no room for a sentence");
    struct message message = {.type = MESSAGE_ack, .ack = {request, error[0] == '\0', text}};
    return book_send(out, peer->id, &message);
}

enum status book_group_request(struct book *book, struct peer *peer, uint64_t group_id,
                               struct book_out *out)
{
    const struct group *group = book_map_get(&book->groups, group_id);
    if (group == NULL || group->state != GROUP_PLANNED) {
        char text[128];
        snprintf(text, sizeof text, "group %" PRIu64 " is in no plan of this branch", group_id);
        return acknowledge(out, peer, group_id, text);
    }
    const struct prompt *prompt = prompts_at(book->config.prompts, group->prompt_id);
    struct group_sample *samples = arena_array(out->arena, group->size, sizeof *samples);
    if (samples == NULL)
        return FAIL(STATUS_LIMIT, "no room for a group of %" PRIu32, group->size);
    for (uint32_t i = 0; i < group->size; i++)
        TRY(describe_sample(book, &group->samples[i], out, &samples[i]));
    struct message message = {
        .type = MESSAGE_group_data,
        .group_data = {.group_id = group_id,
                       .prompt_id = group->prompt_id,
                       .temperature = (float)book->config.sampling.temperature,
                       .prompt_count = prompt->count,
                       .prompt_ids = prompt->ids,
                       .sample_count = group->size,
                       .samples = samples,
                       .source = prompts_source(book->config.prompts, prompt->source)}};
    return book_send(out, peer->id, &message);
}

/* ---- versions and checkpoints ---- */

enum status book_register(struct book *book, struct peer *peer, const struct version_register *said,
                          struct book_out *out)
{
    const struct stored_version *known = book_find_version(book, said->version);
    const char *path = said->weights_path != NULL ? said->weights_path : "";
    if (known != NULL && known->digest == said->digest) {
        struct record moved = {.type = RECORD_VERSION, /* a restarted learner serves elsewhere */
                               .version = {.branch = book->counters.branch,
                                           .version = said->version,
                                           .parent = said->parent,
                                           .digest = said->digest,
                                           .weights_path = path}};
        if (path[0] != '\0' &&
            (book->weights_path == NULL || strcmp(path, book->weights_path) != 0))
            TRY(book_emit(book, out, &moved));
        return acknowledge(out, peer, said->request, "");
    }
    if (known != NULL) {
        TRY(new_branch(book, out, said->version, said->digest, said->parent, path));
        return acknowledge(out, peer, said->request, "");
    }
    char why[256] = "";
    if (book->version_count > 0 && said->version != book_version(book) + 1)
        snprintf(why, sizeof why,
                 "version %" PRIu64 " does not follow version %" PRIu64 ", the newest here",
                 said->version, book_version(book));
    else if (book->version_count > 0 && book_find_plan(book, said->version) == NULL)
        snprintf(why, sizeof why, "version %" PRIu64 " was made without a plan of this store",
                 said->version);
    if (why[0] != '\0')
        return acknowledge(out, peer, said->request, why);
    struct record record = {.type = RECORD_VERSION,
                            .version = {.branch = book->counters.branch,
                                        .version = said->version,
                                        .parent = said->parent,
                                        .digest = said->digest,
                                        .weights_path = path}};
    TRY(book_emit(book, out, &record));
    return acknowledge(out, peer, said->request, "");
}

enum status book_checkpoint(struct book *book, struct peer *peer,
                            const struct checkpoint_report *said, struct book_out *out)
{
    const struct stored_version *known = book_find_version(book, said->version);
    char why[256] = "";
    if (known == NULL)
        snprintf(why, sizeof why,
                 "checkpoint of version %" PRIu64 ", but the newest here is %" PRIu64,
                 said->version, book_version(book));
    else if (known->digest != said->digest)
        snprintf(why, sizeof why,
                 "checkpoint of version %" PRIu64 " has digest %016" PRIx64
                 ", registered is %016" PRIx64,
                 said->version, said->digest, known->digest);
    if (why[0] != '\0' || (said->version <= book->counters.checkpoint_version && said->version > 0))
        return acknowledge(out, peer, said->request, why);
    struct record record = {.type = RECORD_CHECKPOINT,
                            .checkpoint = {said->branch, said->version, said->digest,
                                           said->path != NULL ? said->path : ""}};
    TRY(book_emit(book, out, &record));
    return acknowledge(out, peer, said->request, "");
}
