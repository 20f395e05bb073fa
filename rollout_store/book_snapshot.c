/* rollout_store/book_snapshot.c - one walk over the book for both directions, so that they cannot differ.
 *
 * Reading trusts nothing: counts are checked against the bytes that are there, states against each other, and
 * what can be counted (queued samples, leases of a holder, scored samples) is counted again. */
#include "rollout_store/book_snapshot.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/checksum.h"
#include "rollout_store/book_state.h"
#include "rollout_store/bytes.h"

/* Format 1 has no length stages. It is still read, and written to compare with one that stands in a ledger. */
enum { SNAPSHOT_FORMAT = 3, SNAPSHOT_FORMAT_FIRST = 1, SNAPSHOT_HEADER_BYTES = 16 };

/* ---- values ---- */

static enum status walk_f64(struct walk *walk, double *value)
{
    TRY(walk_bytes(walk, value, sizeof *value));
    return isfinite(*value) ? STATUS_OK : walk_damaged(walk, "a number that is not finite");
}

/* The count of things that take at least `item` bytes each. */
static enum status walk_count(struct walk *walk, uint64_t *count, size_t item)
{
    TRY(walk_u64(walk, count));
    if (walk->out == NULL && *count > (walk->size - walk->at) / item)
        return walk_damaged(walk, "a count that goes past the end");
    return STATUS_OK;
}

/* A text or NULL; owned. */
static enum status walk_text(struct walk *walk, char **text)
{
    uint64_t size = *text != NULL ? strlen(*text) + 1 : 0;
    TRY(walk_count(walk, &size, 1));
    if (walk->out != NULL)
        return buffer_append(walk->out, *text, size);
    if (size == 0)
        return STATUS_OK;
    if (memchr(walk->bytes + walk->at, 0, size) != walk->bytes + walk->at + size - 1)
        return walk_damaged(walk, "a text that does not end where it should");
    *text = memory_text((const char *)walk->bytes + walk->at);
    walk->at += size;
    return *text != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "text of %" PRIu64 " bytes", size);
}

/* `count` items of `item` bytes without padding; reading allocates. The count is checked here too. */
static enum status walk_items(struct walk *walk, void **items, size_t count, size_t item)
{
    if (walk->out != NULL)
        return buffer_append(walk->out, *items, count * item);
    if (count > (walk->size - walk->at) / item)
        return walk_damaged(walk, "an array that goes past the end");
    if (count == 0)
        return STATUS_OK;
    *items = memory_array(count, item);
    if (*items == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu items of %zu bytes", count, item);
    return walk_bytes(walk, *items, count * item);
}

/* An array that its owner made or makes here; `type` spells what it points to. */
#define WALK_ITEMS(walk, member, count, type)                            \
    do {                                                                 \
        void *items_ = (member);                                         \
        TRY(walk_items((walk), &items_, (size_t)(count), sizeof(type))); \
        (member) = items_;                                               \
    } while (0)

/* ---- samples and groups ---- */

static enum status walk_pieces(struct walk *walk, struct sample *sample)
{
    uint64_t count = sample->piece_count, tokens = 0;
    TRY(walk_count(walk, &count, 20));
    if (walk->out == NULL && count > 0) {
        sample->pieces = memory_array((size_t)count, sizeof *sample->pieces);
        if (sample->pieces == NULL || count > UINT32_MAX)
            return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " pieces", count);
        sample->piece_count = sample->piece_capacity = (uint32_t)count;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct group_piece *piece = &sample->pieces[i];
        TRY(walk_u32(walk, &piece->count));
        TRY(walk_u64(walk, &piece->version));
        TRY(walk_u64(walk, &piece->kv_version_min));
        tokens += piece->count;
    }
    return tokens == sample->count ? STATUS_OK
                                   : walk_damaged(walk, "pieces that are not the tokens");
}

static enum status walk_lease(struct walk *walk, struct book *book, struct sample *sample)
{
    uint32_t index = sample->holder != NULL ? sample->holder->index : 0;
    uint64_t incarnation = sample->holder != NULL ? sample->holder->incarnation : 0;
    TRY(walk_u64(walk, &sample->lease_id));
    TRY(walk_u32(walk, &index));
    TRY(walk_u64(walk, &incarnation));
    if (walk->out != NULL)
        return STATUS_OK;
    sample->holder = book_holder(book, index, incarnation);
    if (sample->holder == NULL || sample->lease_id == 0 ||
        sample->lease_id >= book->next_lease_id ||
        book_map_get(&book->leases, sample->lease_id) != NULL)
        return walk_damaged(walk, "a lease that nobody can hold");
    sample->holder->leases++;
    sample->holder->tokens += book_lease_tokens(book, sample->group);
    return book_map_put(&book->leases, sample->lease_id, sample);
}

static enum status walk_sample(struct walk *walk, struct book *book, struct sample *sample)
{
    WALK_CHOICE(walk, sample->state, SAMPLE_SCORED + 1);
    TRY(walk_u32(walk, &sample->attempt));
    TRY(walk_u32(walk, &sample->failures));
    TRY(walk_u32(walk, &sample->deaths));
    if (sample->state == SAMPLE_LEASED)
        TRY(walk_lease(walk, book, sample));
    TRY(walk_u32(walk, &sample->lease_from));
    TRY(walk_flag(walk, &sample->lease_heard));
    if (walk->format >= 3)
        TRY(walk_u32(walk, &sample->cap));
    else if (walk->out == NULL)
        sample->cap = book->config.sampling.response_tokens_max;
    TRY(walk_u32(walk, &sample->count));
    WALK_ITEMS(walk, sample->ids, sample->count, uint32_t);
    WALK_ITEMS(walk, sample->logprobs, sample->count, float);
    if (walk->out == NULL)
        sample->capacity = sample->count;
    TRY(walk_pieces(walk, sample));
    TRY(walk_u32(walk, &sample->repetition_run));
    TRY(walk_u64(walk, &sample->kv_version_min));
    WALK_CHOICE(walk, sample->finish, SEGMENT_STATUS_COUNT);
    TRY(walk_u32(walk, &sample->scoring_attempts));
    WALK_CHOICE(walk, sample->score_status, SCORE_STATUS_COUNT);
    TRY(walk_f64(walk, &sample->reward));
    TRY(walk_u64(walk, &sample->scorer));
    return walk_text(walk, &sample->detail_json);
}

/* What a read group adds to the counts of the book. */
static enum status count_group(struct walk *walk, struct book *book, struct group *group)
{
    for (uint32_t i = 0; i < group->size; i++) {
        enum sample_state state = group->samples[i].state;
        if (group->state != GROUP_OPEN && state != SAMPLE_SCORED)
            return walk_damaged(walk, "a closed group with a sample that has no score");
        group->scored += state == SAMPLE_SCORED;
        group->queued += state == SAMPLE_QUEUED;
        group->unscored += state == SAMPLE_FINISHED;
    }
    if (group->state == GROUP_OPEN) {
        book->queued += group->queued;
        book->finished += group->unscored;
        book->unassigned += group->unscored;
    }
    book->committed += group->state == GROUP_OPEN && group->committed;
    return STATUS_OK;
}

static enum status walk_group_head(struct walk *walk, struct group *group)
{
    TRY(walk_u64(walk, &group->group_id));
    TRY(walk_u64(walk, &group->prompt_id));
    TRY(walk_u64(walk, &group->draw));
    TRY(walk_u64(walk, &group->min_version));
    TRY(walk_u32(walk, &group->retry));
    TRY(walk_flag(walk, &group->committed));
    TRY(walk_u64(walk, &group->level));
    TRY(walk_u64(walk, &group->planned_version));
    return walk_u32(walk, &group->size);
}

static enum status read_group(struct walk *walk, struct book *book, enum group_state state)
{
    struct group head = {.state = state};
    TRY(walk_group_head(walk, &head));
    if (head.group_id >= book->next_group_id ||
        head.prompt_id >= prompts_count(book->config.prompts) || head.size == 0 ||
        head.size > WIRE_GROUP_SIZE_MAX || book_map_get(&book->groups, head.group_id) != NULL)
        return walk_damaged(walk, "a group that cannot be");
    struct group *group = memory_alloc(sizeof *group + head.size * sizeof group->samples[0]);
    if (group == NULL)
        return FAIL(STATUS_NO_MEMORY, "a group of %" PRIu32, head.size);
    *group = head;
    book_list_append(&book->lists[state], group); /* from here on the book owns it */
    TRY(book_map_put(&book->groups, group->group_id, group));
    for (uint32_t i = 0; i < group->size; i++) {
        group->samples[i].group = group;
        group->samples[i].number = i;
        TRY(walk_sample(walk, book, &group->samples[i]));
    }
    return count_group(walk, book, group);
}

static enum status write_group(struct walk *walk, struct book *book, struct group *group)
{
    TRY(walk_group_head(walk, group));
    for (uint32_t i = 0; i < group->size; i++)
        TRY(walk_sample(walk, book, &group->samples[i]));
    return STATUS_OK;
}

static enum status walk_groups(struct walk *walk, struct book *book)
{
    for (int state = 0; state < GROUP_STATE_COUNT; state++) {
        uint64_t count = book->lists[state].count;
        TRY(walk_count(walk, &count, 1));
        if (walk->out != NULL) {
            for (struct group *group = book->lists[state].first; group != NULL; group = group->next)
                TRY(write_group(walk, book, group));
            continue;
        }
        for (uint64_t i = 0; i < count; i++)
            TRY(read_group(walk, book, (enum group_state)state));
    }
    return STATUS_OK;
}

/* ---- the rest of the core ---- */

/* Counters of what came and was refused are of the process, not of the ledger. */
static enum status walk_counters(struct walk *walk, struct book_counters *counters)
{
    uint64_t *const numbers[] = {
        &counters->groups_born,        &counters->groups_planned,  &counters->groups_consumed,
        &counters->rollouts_finished,  &counters->rollouts_scored, &counters->tokens,
        &counters->leases_issued,      &counters->leases_expired,  &counters->leases_continued,
        &counters->scores_retried,     &counters->version,         &counters->planned_version,
        &counters->checkpoint_version, &counters->staleness_max};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        TRY(walk_u64(walk, numbers[i]));
    for (size_t i = 0; i < DROP_REASON_COUNT; i++)
        TRY(walk_u64(walk, &counters->dropped[i]));
    TRY(walk_u32(walk, &counters->branch));
    TRY(walk_u32(walk, &counters->consecutive_dropped));
    return walk_f64(walk, &counters->staleness_mean);
}

static enum status walk_returned(struct walk *walk, struct book *book)
{
    uint64_t count = book->returned_count;
    TRY(walk_count(walk, &count, 20));
    if (walk->out == NULL) {
        void *returned = book->returned;
        TRY(book_reserve(&returned, &book->returned_capacity, (size_t)count,
                         sizeof *book->returned));
        book->returned = returned;
        book->returned_count = (size_t)count;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct returned_prompt *prompt = &book->returned[i];
        TRY(walk_u64(walk, &prompt->prompt_id));
        TRY(walk_u64(walk, &prompt->draw));
        TRY(walk_u32(walk, &prompt->retry));
        if (prompt->prompt_id >= prompts_count(book->config.prompts))
            return walk_damaged(walk, "a prompt that is not there");
    }
    return STATUS_OK;
}

static enum status walk_versions(struct walk *walk, struct book *book)
{
    uint64_t count = book->version_count;
    TRY(walk_count(walk, &count, 16));
    if (walk->out == NULL) {
        void *versions = book->versions;
        TRY(book_reserve(&versions, &book->version_capacity, (size_t)count,
                         sizeof *book->versions));
        book->versions = versions;
        book->version_count = (size_t)count;
    }
    for (uint64_t i = 0; i < count; i++) {
        TRY(walk_u64(walk, &book->versions[i].version));
        TRY(walk_u64(walk, &book->versions[i].digest));
        if (i > 0 && book->versions[i].version != book->versions[i - 1].version + 1)
            return walk_damaged(walk, "versions with a gap");
    }
    return STATUS_OK;
}

/* The ring as it lies, so that it goes on in the same place. */
static enum status walk_dead(struct walk *walk, struct book *book)
{
    uint64_t count = book->dead_count;
    TRY(walk_u64(walk, &count));
    book->dead_count = (size_t)count;
    for (size_t i = 0; i < BOOK_DEAD_MAX && i < count; i++) {
        TRY(walk_u64(walk, &book->dead[i].version));
        TRY(walk_u64(walk, &book->dead[i].digest));
    }
    return STATUS_OK;
}

static enum status walk_plan(struct walk *walk, struct stored_plan *stored)
{
    struct plan *plan = &stored->plan;
    TRY(walk_u32(walk, &plan->branch));
    TRY(walk_u64(walk, &plan->version));
    TRY(walk_u64(walk, &plan->digest));
    TRY(walk_u32(walk, &plan->group_count));
    WALK_ITEMS(walk, stored->group_ids, plan->group_count, uint64_t);
    TRY(walk_u32(walk, &plan->cut_count));
    WALK_ITEMS(walk, stored->cuts, plan->cut_count, uint32_t);
    TRY(walk_flag(walk, &plan->last));
    TRY(walk_u32(walk, &plan->groups_dropped));
    TRY(walk_f64(walk, &plan->dropped_reward));
    if (walk->format >= 2) {
        TRY(walk_u32(walk, &plan->stage));
        TRY(walk_u32(walk, &plan->response_tokens_max));
    }
    TRY(walk_text(walk, &stored->settings_json));
    for (uint32_t i = 0; i < plan->cut_count; i++)
        if (stored->cuts[i] >= plan->group_count)
            return walk_damaged(walk, "a cut outside its plan");
    plan->group_ids = stored->group_ids;
    plan->cuts = stored->cuts;
    plan->settings_json = stored->settings_json;
    return stored->settings_json != NULL ? STATUS_OK
                                         : walk_damaged(walk, "a plan without settings");
}

static enum status walk_plans(struct walk *walk, struct book *book)
{
    uint64_t count = book->plan_count;
    TRY(walk_count(walk, &count, 48));
    for (uint64_t i = 0; i < count; i++) {
        if (walk->out == NULL) {
            void *plans = book->plans;
            TRY(book_reserve(&plans, &book->plan_capacity, (size_t)i + 1, sizeof *book->plans));
            book->plans = plans;
            book->plans[book->plan_count++] = (struct stored_plan){0};
        }
        TRY(walk_plan(walk, &book->plans[i]));
        if (i > 0 && book->plans[i].plan.version <= book->plans[i - 1].plan.version)
            return walk_damaged(walk, "plans out of order");
    }
    return STATUS_OK;
}

/* Who the ledger belongs to, in the words of its first record. */
static enum status walk_run(struct walk *walk, struct book *book)
{
    const struct book_config *config = &book->config;
    char *run = (char *)(uintptr_t)config->run;
    uint64_t seed = config->run_seed, hash = prompts_hash(config->prompts),
             prompts = prompts_count(config->prompts);
    if (walk->out == NULL)
        run = NULL;
    enum status status = walk_text(walk, &run);
    if (status == STATUS_OK)
        status = walk_u64(walk, &seed);
    if (status == STATUS_OK)
        status = walk_u64(walk, &hash);
    if (status == STATUS_OK)
        status = walk_u64(walk, &prompts);
    if (walk->out != NULL)
        return status;
    struct record record = {.type = RECORD_RUN,
                            .run = {run != NULL ? run : "", seed, hash, prompts, "{}"}};
    if (status == STATUS_OK)
        status = book_apply(book, &record);
    memory_free(run);
    return status;
}

static enum status walk_core(struct walk *walk, struct book *book)
{
    TRY(walk_run(walk, book));
    TRY(walk_counters(walk, &book->counters));
    TRY(walk_u64(walk, &book->next_group_id));
    TRY(walk_u64(walk, &book->next_lease_id));
    TRY(walk_u64(walk, &book->next_draw));
    TRY(walk_returned(walk, book));
    TRY(walk_versions(walk, book));
    TRY(walk_dead(walk, book));
    TRY(walk_u32(walk, &book->zero_variance));
    TRY(walk_f64(walk, &book->zero_variance_reward));
    WALK_CHOICE(walk, book->last_drop, DROP_REASON_COUNT);
    TRY(walk_text(walk, &book->weights_path));
    TRY(walk_flag(walk, &book->stop_failed)); /* `stopped` itself ends with the process */
    TRY(walk_text(walk, &book->stop_reason));
    TRY(walk_plans(walk, book));
    if (walk->format >= 3)
        TRY(stages_walk(walk, &book->stages));
    if (walk->format >= 3)
        TRY(curriculum_walk(book->curriculum, walk));
    else if (walk->out == NULL)
        curriculum_seek(book->curriculum, book->next_draw);
    return walk_groups(walk, book);
}

/* ---- holders ---- */

static enum status walk_holder(struct walk *walk, struct book *book, struct holder *holder)
{
    uint32_t index = holder != NULL ? holder->index : 0;
    uint64_t incarnation = holder != NULL ? holder->incarnation : 0,
             cancels = holder != NULL ? holder->cancel_count : 0;
    TRY(walk_u32(walk, &index));
    TRY(walk_u64(walk, &incarnation));
    TRY(walk_count(walk, &cancels, sizeof *holder->cancels));
    if (walk->out == NULL) {
        if (book_holder(book, index, incarnation) != NULL || cancels > WIRE_LEASES_MAX)
            return walk_damaged(walk, "a holder that cannot be");
        TRY(book_hold(book, index, incarnation, &holder));
    }
    WALK_ITEMS(walk, holder->cancels, cancels, uint64_t);
    if (walk->out == NULL)
        holder->cancel_count = holder->cancel_capacity = (size_t)cancels;
    return STATUS_OK;
}

static enum status walk_holders(struct walk *walk, struct book *book)
{
    uint64_t count = book->holder_count;
    TRY(walk_count(walk, &count, 20));
    for (uint64_t i = 0; i < count; i++)
        TRY(walk_holder(walk, book, walk->out != NULL ? book->holders[i] : NULL));
    return STATUS_OK;
}

/* ---- whole snapshots ---- */

static enum status write_snapshot(const struct book *book, uint32_t format, struct buffer *bytes)
{
    if (!book->run_known)
        return FAIL(STATUS_INVALID, "a book without a run has no snapshot");
    struct book *walked = (struct book *)(uintptr_t)book; /* writing changes nothing */
    struct walk walk = {.of = "snapshot", .out = bytes, .format = format};
    size_t start = bytes->size;
    uint8_t header[SNAPSHOT_HEADER_BYTES] = {(uint8_t)format};
    enum status status = buffer_append(bytes, header, sizeof header);
    if (status == STATUS_OK)
        status = walk_core(&walk, walked);
    uint64_t core = bytes->size - start - sizeof header;
    if (status == STATUS_OK)
        status = walk_holders(&walk, walked);
    if (status != STATUS_OK) {
        bytes->size = start;
        return status;
    }
    memcpy(bytes->bytes + start + 8, &core, sizeof core);
    return STATUS_OK;
}

enum status book_snapshot(const struct book *book, struct buffer *bytes)
{
    return write_snapshot(book, SNAPSHOT_FORMAT, bytes);
}

size_t book_snapshot_core(const struct buffer *bytes)
{
    uint64_t core;
    if (bytes->size < SNAPSHOT_HEADER_BYTES)
        return 0;
    memcpy(&core, bytes->bytes + 8, sizeof core);
    return core > bytes->size - SNAPSHOT_HEADER_BYTES ? 0 : SNAPSHOT_HEADER_BYTES + (size_t)core;
}

enum status book_snapshot_pack(const struct book *book, uint64_t offset, struct buffer *records)
{
    struct buffer whole;
    buffer_init(&whole, 0);
    size_t start = records->size;
    enum status status = book_snapshot(book, &whole);
    uint64_t hash = hash64(whole.bytes, whole.size, 0);
    for (uint64_t at = 0, size; status == STATUS_OK && at < whole.size; at += size) {
        size =
            whole.size - at < RECORD_SNAPSHOT_PART_MAX ? whole.size - at : RECORD_SNAPSHOT_PART_MAX;
        struct record record = {
            .type = RECORD_SNAPSHOT,
            .wall_ns = book->now_ns + book->config.wall_offset_ns,
            .snapshot = {offset, whole.size, hash, at, (uint32_t)size, whole.bytes + at}};
        status = record_pack(&record, records);
    }
    buffer_free(&whole);
    if (status != STATUS_OK)
        records->size = start;
    return status;
}

uint64_t book_snapshot_estimate(const struct book *book)
{
    uint64_t bytes = 1024 + book->version_count * sizeof *book->versions +
                     curriculum_walk_bytes(book->curriculum);
    for (int state = 0; state < GROUP_STATE_COUNT; state++)
        for (const struct group *group = book->lists[state].first; group != NULL;
             group = group->next)
            for (uint32_t i = 0; i < group->size; i++)
                bytes += 128 + group->samples[i].count * UINT64_C(8);
    return bytes;
}

static enum status read_format(const struct buffer *whole, uint32_t *format)
{
    *format = 0;
    if (book_snapshot_core(whole) > 0)
        memcpy(format, whole->bytes, sizeof *format);
    return *format >= SNAPSHOT_FORMAT_FIRST && *format <= SNAPSHOT_FORMAT
               ? STATUS_OK
               : FAIL(STATUS_CORRUPT, "snapshot of format %" PRIu32 ", known are %d to %d", *format,
                      SNAPSHOT_FORMAT_FIRST, SNAPSHOT_FORMAT);
}

/* A book that has a state already: the ledger is read from an earlier record, and must have led to this one. */
static enum status compare(const struct book *book, const struct buffer *whole)
{
    struct buffer own;
    uint32_t format;
    TRY(read_format(whole, &format));
    buffer_init(&own, 0);
    enum status status = write_snapshot(book, format, &own);
    size_t core = book_snapshot_core(whole);
    if (status == STATUS_OK && (core == 0 || core != book_snapshot_core(&own) ||
                                memcmp(own.bytes, whole->bytes, core) != 0))
        status = FAIL(STATUS_CORRUPT, "the records before a snapshot do not lead to it");
    buffer_free(&own);
    return status;
}

/* Holders stand last but are wanted first: leases name them. */
static enum status fill(struct book *book, const struct buffer *whole)
{
    size_t core = book_snapshot_core(whole);
    uint32_t format;
    TRY(read_format(whole, &format));
    struct walk holders = {
        .of = "snapshot", .bytes = whole->bytes, .at = core, .size = whole->size, .format = format};
    struct walk rest = {.of = "snapshot",
                        .bytes = whole->bytes,
                        .at = SNAPSHOT_HEADER_BYTES,
                        .size = core,
                        .format = format};
    TRY(walk_holders(&holders, book));
    TRY(walk_core(&rest, book));
    if (holders.at != whole->size || rest.at != core)
        return walk_damaged(&rest, "bytes too many");
    return STATUS_OK;
}

enum status book_restore(struct book *book, const struct record *record)
{
    struct buffer *parts = &book->restoring;
    if (record->snapshot.at == 0)
        buffer_clear(parts);
    if (record->snapshot.at != parts->size)
        return FAIL(STATUS_CORRUPT, "part %" PRIu64 " of a snapshot where %zu was due",
                    record->snapshot.at, parts->size);
    TRY(buffer_append(parts, record->snapshot.bytes, record->snapshot.size));
    if (parts->size < record->snapshot.total)
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (hash64(parts->bytes, parts->size, 0) != record->snapshot.hash)
        status = FAIL(STATUS_CORRUPT, "the hash of a snapshot differs");
    else
        status = book->run_known ? compare(book, parts) : fill(book, parts);
    buffer_free(parts);
    buffer_init(parts, 0);
    return status;
}
