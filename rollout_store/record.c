/* rollout_store/record.c - ledger records to bytes and back; pure and strict: every byte is accounted for. */
#include "rollout_store/record.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/checksum.h"
#include "rollout_store/bytes.h"

enum { RECORD_HEADER_BYTES = 16, RECORD_BODY_MAX = WIRE_MESSAGE_MAX };
static const uint32_t RECORD_MAGIC = 0x444c5257; /* "WRLD" */

/* ---- values: unpacking allocates from the arena of the walk ---- */

/* A text is its length and bytes, no NUL inside; NULL packs as "". */
static enum status walk_text(struct walk *walk, const char **text)
{
    if (walk->out != NULL) {
        const char *given = *text != NULL ? *text : "";
        size_t length = strlen(given);
        if (length > WIRE_TEXT_MAX)
            return FAIL(STATUS_LIMIT, "text of %zu bytes, limit %d", length, WIRE_TEXT_MAX);
        uint32_t size = (uint32_t)length;
        TRY(buffer_append(walk->out, &size, sizeof size));
        return buffer_append(walk->out, given, size);
    }
    uint32_t size = 0;
    TRY(walk_u32(walk, &size));
    if (size > WIRE_TEXT_MAX || size > walk->size - walk->at)
        return FAIL(STATUS_CORRUPT, "text of %" PRIu32 " bytes goes past the record", size);
    if (memchr(walk->bytes + walk->at, 0, size) != NULL)
        return FAIL(STATUS_CORRUPT, "text has a NUL inside");
    char *copy = arena_alloc(walk->arena, (size_t)size + 1);
    if (copy == NULL)
        return FAIL(STATUS_LIMIT, "no room for a text of %" PRIu32 " bytes", size);
    if (size > 0)
        memcpy(copy, walk->bytes + walk->at, size);
    walk->at += size;
    *text = copy;
    return STATUS_OK;
}

/* `count` items of `item` bytes; the count was walked before and is checked against what is there. */
static enum status walk_array(struct walk *walk, const void **items, size_t count, size_t item)
{
    size_t size = count * item;
    if (walk->out != NULL)
        return buffer_append(walk->out, *items, size);
    if (size > walk->size - walk->at)
        return FAIL(STATUS_CORRUPT, "%zu items go past the record", count);
    void *copy = arena_copy(walk->arena, walk->bytes + walk->at, size);
    if (copy == NULL)
        return FAIL(STATUS_LIMIT, "no room for %zu items", count);
    walk->at += size;
    *items = copy;
    return STATUS_OK;
}

#define WALK_ARRAY(walk, member, count)                              \
    do {                                                             \
        const void *items_ = (member);                               \
        TRY(walk_array((walk), &items_, (count), sizeof *(member))); \
        (member) = items_;                                           \
    } while (0)

static enum status walk_count(struct walk *walk, uint32_t *count, uint32_t limit, const char *what)
{
    TRY(walk_u32(walk, count));
    if (*count > limit)
        return FAIL(walk->out != NULL ? STATUS_LIMIT : STATUS_CORRUPT,
                    "%s is %" PRIu32 ", limit %" PRIu32, what, *count, limit);
    return STATUS_OK;
}

/* ---- bodies ---- */

static enum status check_logprobs(const float *logprobs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!isfinite(logprobs[i]) || logprobs[i] > 0)
            return FAIL(STATUS_CORRUPT, "logprob %" PRIu32 " is %g", i, (double)logprobs[i]);
    return STATUS_OK;
}

static enum status walk_segment(struct walk *walk, struct segment *segment)
{
    TRY(walk_u64(walk, &segment->lease_id));
    TRY(walk_u64(walk, &segment->group_id));
    TRY(walk_u32(walk, &segment->sample));
    TRY(walk_u32(walk, &segment->attempt));
    TRY(walk_u32(walk, &segment->first_position));
    TRY(walk_count(walk, &segment->count, WIRE_SEGMENT_TOKENS_MAX, "segment tokens"));
    WALK_ARRAY(walk, segment->ids, segment->count);
    WALK_ARRAY(walk, segment->logprobs, segment->count);
    bool truncated = segment->logprobs_truncated != NULL;
    TRY(walk_flag(walk, &truncated));
    if (truncated)
        WALK_ARRAY(walk, segment->logprobs_truncated, segment->count);
    TRY(walk_u64(walk, &segment->version));
    TRY(walk_u64(walk, &segment->digest));
    TRY(walk_u64(walk, &segment->kv_version_min));
    TRY(walk_u32(walk, &segment->rebuilt_at));
    TRY(walk_u32(walk, &segment->repetition_run));
    TRY(walk_u64(walk, &segment->numerics_id));
    WALK_CHOICE(walk, segment->proof, PROOF_COUNT);
    WALK_CHOICE(walk, segment->status, SEGMENT_STATUS_COUNT);
    TRY(check_logprobs(segment->logprobs, segment->count));
    return truncated ? check_logprobs(segment->logprobs_truncated, segment->count) : STATUS_OK;
}

static enum status walk_score(struct walk *walk, struct score *score)
{
    TRY(walk_u64(walk, &score->group_id));
    TRY(walk_u32(walk, &score->sample));
    TRY(walk_u32(walk, &score->attempt));
    WALK_CHOICE(walk, score->status, SCORE_STATUS_COUNT);
    TRY(walk_bytes(walk, &score->value, sizeof score->value));
    if (!isfinite(score->value))
        return FAIL(STATUS_CORRUPT, "score of group %" PRIu64 " is not finite", score->group_id);
    return walk_text(walk, &score->detail_json);
}

/* The last member of a score's record; ledgers before it do not have it, and read as 0. */
static enum status walk_scorer(struct walk *walk, uint64_t *scorer)
{
    return walk->out == NULL && walk->at == walk->size ? STATUS_OK : walk_u64(walk, scorer);
}

/* The last members of a plan's record; ledgers before length stages do not have them, and read as 0 and NULL. */
static enum status walk_stage(struct walk *walk, struct record *record)
{
    struct plan *plan = &record->plan.plan;
    if (walk->out == NULL && walk->at == walk->size)
        return STATUS_OK;
    TRY(walk_u32(walk, &plan->stage));
    TRY(walk_u32(walk, &plan->response_tokens_max));
    if (walk->out != NULL ? record->plan.stage == NULL : walk->at == walk->size)
        return STATUS_OK;
    if (walk->out != NULL) {
        struct stage_facts facts = *record->plan.stage;
        return stage_facts_walk(walk, &facts);
    }
    struct stage_facts *facts = arena_alloc(walk->arena, sizeof *facts);
    if (facts == NULL)
        return FAIL(STATUS_LIMIT, "no room for the stage of plan %" PRIu64, plan->version);
    *facts = (struct stage_facts){0};
    record->plan.stage = facts;
    return stage_facts_walk(walk, facts);
}

static enum status walk_plan(struct walk *walk, struct plan *plan)
{
    TRY(walk_u32(walk, &plan->branch));
    TRY(walk_u64(walk, &plan->version));
    TRY(walk_u64(walk, &plan->digest));
    TRY(walk_count(walk, &plan->group_count, WIRE_GROUPS_MAX, "groups of a plan"));
    WALK_ARRAY(walk, plan->group_ids, plan->group_count);
    TRY(walk_count(walk, &plan->cut_count, WIRE_GROUPS_MAX, "cuts of a plan"));
    WALK_ARRAY(walk, plan->cuts, plan->cut_count);
    TRY(walk_flag(walk, &plan->last));
    TRY(walk_text(walk, &plan->settings_json));
    TRY(walk_u32(walk, &plan->groups_dropped));
    TRY(walk_bytes(walk, &plan->dropped_reward, sizeof plan->dropped_reward));
    if (!isfinite(plan->dropped_reward))
        return FAIL(STATUS_CORRUPT, "plan %" PRIu64 ": reward sum is not finite", plan->version);
    for (uint32_t i = 0; i < plan->cut_count; i++)
        if (plan->cuts[i] >= plan->group_count || (i == 0 && plan->cuts[0] != 0) ||
            (i > 0 && plan->cuts[i] <= plan->cuts[i - 1]))
            return FAIL(STATUS_CORRUPT, "plan %" PRIu64 ": cut %" PRIu32 " is out of order",
                        plan->version, i);
    return STATUS_OK;
}

static enum status walk_born(struct walk *walk, struct record *record)
{
    TRY(walk_u64(walk, &record->born.group_id));
    TRY(walk_u64(walk, &record->born.prompt_id));
    TRY(walk_u64(walk, &record->born.draw));
    TRY(walk_u64(walk, &record->born.min_version));
    TRY(walk_u32(walk, &record->born.retry));
    if (walk->out != NULL ? record->born.position == record->born.draw : walk->at == walk->size) {
        record->born.position = record->born.draw; /* the usual case takes no bytes */
        return STATUS_OK;
    }
    TRY(walk_u64(walk, &record->born.position));
    return record->born.position != record->born.draw
               ? STATUS_OK
               : walk_damaged(walk, "a position that need not be said");
}

static enum status walk_leased(struct walk *walk, struct record *record)
{
    TRY(walk_u64(walk, &record->leased.lease_id));
    TRY(walk_u64(walk, &record->leased.group_id));
    TRY(walk_u32(walk, &record->leased.sample));
    TRY(walk_u32(walk, &record->leased.attempt));
    TRY(walk_u32(walk, &record->leased.holder_index));
    return walk_u64(walk, &record->leased.holder_incarnation);
}

static enum status walk_run(struct walk *walk, struct record *record)
{
    TRY(walk_text(walk, &record->run.run));
    TRY(walk_u64(walk, &record->run.seed));
    TRY(walk_u64(walk, &record->run.data_hash));
    TRY(walk_u64(walk, &record->run.prompt_count));
    return walk_text(walk, &record->run.settings_json);
}

static enum status walk_version(struct walk *walk, struct record *record)
{
    TRY(walk_u32(walk, &record->version.branch));
    TRY(walk_u64(walk, &record->version.version));
    TRY(walk_u64(walk, &record->version.parent));
    TRY(walk_u64(walk, &record->version.digest));
    return walk_text(walk, &record->version.weights_path);
}

static enum status walk_checkpoint(struct walk *walk, struct record *record)
{
    TRY(walk_u32(walk, &record->checkpoint.branch));
    TRY(walk_u64(walk, &record->checkpoint.version));
    TRY(walk_u64(walk, &record->checkpoint.digest));
    return walk_text(walk, &record->checkpoint.path);
}

static enum status walk_dropped(struct walk *walk, struct record *record)
{
    TRY(walk_u64(walk, &record->dropped.group_id));
    WALK_CHOICE(walk, record->dropped.reason, DROP_REASON_COUNT);
    return walk_flag(walk, &record->dropped.prompt_returns);
}

static enum status walk_snapshot(struct walk *walk, struct record *record)
{
    TRY(walk_u64(walk, &record->snapshot.offset));
    TRY(walk_u64(walk, &record->snapshot.total));
    TRY(walk_u64(walk, &record->snapshot.hash));
    TRY(walk_u64(walk, &record->snapshot.at));
    TRY(walk_count(walk, &record->snapshot.size, RECORD_SNAPSHOT_PART_MAX, "bytes of a part"));
    if (record->snapshot.size == 0 || record->snapshot.at > record->snapshot.total ||
        record->snapshot.size > record->snapshot.total - record->snapshot.at)
        return FAIL(STATUS_CORRUPT,
                    "part of %" PRIu32 " bytes at %" PRIu64 " of a snapshot of %" PRIu64,
                    record->snapshot.size, record->snapshot.at, record->snapshot.total);
    WALK_ARRAY(walk, record->snapshot.bytes, record->snapshot.size);
    return STATUS_OK;
}

/* One word for both flags: 0 none, 1 a failure, 2 a death. */
static enum status walk_expired(struct walk *walk, struct record *record)
{
    uint32_t counts = record->expired.counts_death ? 2 : record->expired.counts_failure;
    TRY(walk_u64(walk, &record->expired.lease_id));
    TRY(walk_choice(walk, &counts, 3, "what an expiry counts"));
    record->expired.counts_failure = counts == 1;
    record->expired.counts_death = counts == 2;
    return STATUS_OK;
}

static enum status walk_body(struct walk *walk, struct record *record)
{
    TRY(walk_bytes(walk, &record->wall_ns, sizeof record->wall_ns));
    switch (record->type) {
    case RECORD_RUN:
        return walk_run(walk, record);
    case RECORD_BORN:
        return walk_born(walk, record);
    case RECORD_LEASED:
        return walk_leased(walk, record);
    case RECORD_EXPIRED:
        return walk_expired(walk, record);
    case RECORD_SEGMENT:
        return walk_segment(walk, &record->segment.segment);
    case RECORD_SCORED:
        TRY(walk_score(walk, &record->scored.score));
        TRY(walk_u32(walk, &record->scored.scoring_attempt));
        return walk_scorer(walk, &record->scored.score.scorer);
    case RECORD_CLOSED:
        return walk_u64(walk, &record->closed.group_id);
    case RECORD_REOPENED:
        return walk_u64(walk, &record->reopened.group_id);
    case RECORD_DROPPED:
        return walk_dropped(walk, record);
    case RECORD_VERSION:
        return walk_version(walk, record);
    case RECORD_BRANCH:
        TRY(walk_u32(walk, &record->branch.branch));
        return walk_u64(walk, &record->branch.after_version);
    case RECORD_PLAN:
        TRY(walk_plan(walk, &record->plan.plan));
        return walk_stage(walk, record);
    case RECORD_CHECKPOINT:
        return walk_checkpoint(walk, record);
    case RECORD_STOP:
        TRY(walk_text(walk, &record->stop.reason));
        return walk_flag(walk, &record->stop.failed);
    case RECORD_SNAPSHOT:
        return walk_snapshot(walk, record);
    case RECORD_PAUSED:
        TRY(walk_text(walk, &record->paused.source));
        return walk_flag(walk, &record->paused.paused);
    case RECORD_TYPE_END:
        break;
    }
    return FAIL(STATUS_CORRUPT, "record type %d is not known", (int)record->type);
}

/* ---- frames ---- */

static void put_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t frame_crc(const uint8_t *frame, size_t body)
{
    return crc32c(crc32c(0, frame, RECORD_HEADER_BYTES - 4), frame + RECORD_HEADER_BYTES, body);
}

uint32_t record_peek(const void *bytes, size_t size)
{
    const uint8_t *frame = bytes;
    return size < RECORD_PEEK_BYTES || get_u32(frame) != RECORD_MAGIC ? 0 : get_u32(frame + 8);
}

enum status record_pack(const struct record *record, struct buffer *bytes)
{
    size_t start = bytes->size;
    uint8_t header[RECORD_HEADER_BYTES] = {0};
    struct record copy = *record; /* the walk takes pointers to members of either direction */
    struct walk walk = {.of = "record", .out = bytes};
    enum status status = buffer_append(bytes, header, sizeof header);
    if (status == STATUS_OK)
        status = walk_body(&walk, &copy);
    size_t body = bytes->size - start - RECORD_HEADER_BYTES;
    if (status == STATUS_OK && body > RECORD_BODY_MAX)
        status = FAIL(STATUS_LIMIT, "record of %zu bytes, limit %d", body, RECORD_BODY_MAX);
    if (status != STATUS_OK) {
        bytes->size = start;
        return status;
    }
    uint8_t *frame = bytes->bytes + start;
    put_u32(frame, RECORD_MAGIC);
    put_u32(frame + 4, (uint32_t)body);
    put_u32(frame + 8, (uint32_t)record->type);
    put_u32(frame + 12, frame_crc(frame, body));
    return STATUS_OK;
}

enum status record_unpack(struct record *record, struct arena *arena, const void *bytes,
                          size_t size, size_t *used)
{
    const uint8_t *frame = bytes;
    if (size >= 4 && get_u32(frame) != RECORD_MAGIC)
        return FAIL(STATUS_CORRUPT, "no record starts here (magic %08" PRIx32 ")", get_u32(frame));
    if (size < RECORD_HEADER_BYTES)
        return FAIL(STATUS_AGAIN, "%zu bytes of a record header", size);
    size_t body = get_u32(frame + 4);
    if (body > RECORD_BODY_MAX)
        return FAIL(STATUS_CORRUPT, "record says %zu bytes, limit %d", body, RECORD_BODY_MAX);
    if (size - RECORD_HEADER_BYTES < body)
        return FAIL(STATUS_AGAIN, "%zu of %zu bytes of a record", size - RECORD_HEADER_BYTES, body);
    if (get_u32(frame + 12) != frame_crc(frame, body))
        return FAIL(STATUS_CORRUPT, "record checksum differs");
    uint32_t type = get_u32(frame + 8);
    if (type == 0 || type >= RECORD_TYPE_END)
        return FAIL(STATUS_CORRUPT, "record type %" PRIu32 " is not known", type);
    struct record read = {.type = type};
    struct walk walk = {
        .of = "record", .bytes = frame + RECORD_HEADER_BYTES, .size = body, .arena = arena};
    TRY(walk_body(&walk, &read));
    if (walk.at != body)
        return FAIL(STATUS_CORRUPT, "record has %zu bytes too many", body - walk.at);
    *record = read;
    *used = RECORD_HEADER_BYTES + body;
    return STATUS_OK;
}
