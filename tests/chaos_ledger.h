/* tests/chaos_ledger.h - an auditor of a run's folder that trusts nobody: its own small model over the ledger's records.
 *
 *     struct audit audit;
 *     audit_run(&audit, run.path, &(struct audit_rules){.group_size = 4, .groups_per_publish = 4, .steps = 6});
 *     audit_print("storm", &audit);              one line
 *     assert_int_equal(audit.violations, 0);     the first ones were printed
 *     assert_int_equal(audit_differences(&faultless, &audit), 0);
 *     audit_free(&audit);
 *
 * It shares the reader of frames (ledger_scan) with the store and nothing else: what a record means is written down
 * here once more, from DESIGN.md part 4. Checked: every group is born once, in order; a lease is given to a queued
 * sample only, never twice, and tokens come under the live lease of their sample only; tokens are contiguous, of a
 * registered (version, digest), with finite logprobs <= 0 and within the budget; G of G samples finish once and are
 * scored once before their group closes; a group is planned at most once per branch, in a plan of the right size for
 * the next version, within the staleness bound; nothing that closed goes but by a plan or a legal drop; every version
 * has its plan, and the last checkpoint consumed them all; metrics.jsonl has every step once with the digest that the
 * ledger registered. What was trained is kept sample by sample, so that two runs can be compared. */
#ifndef TESTS_CHAOS_LEDGER_H
#define TESTS_CHAOS_LEDGER_H

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/memory.h"
#include "rollout_store/ledger.h"

enum { AUDIT_SHOWN = 12, AUDIT_DROPS = 16 };

struct audit_rules {
    uint32_t group_size, groups_per_publish;
    uint64_t steps;         /* 0: the run need not have finished */
    uint64_t max_staleness; /* UINT64_MAX: not checked (over_age mask) */
    uint32_t response_max;  /* 0: not checked */
};

enum audit_sample_state { AUDIT_QUEUED, AUDIT_LEASED, AUDIT_FINISHED, AUDIT_SCORED };
enum audit_group_state { AUDIT_OPEN, AUDIT_CLOSED, AUDIT_PLANNED, AUDIT_CONSUMED, AUDIT_DROPPED };

struct audit_sample {
    enum audit_sample_state state;
    uint32_t attempt, count, finish;
    uint64_t lease_id, holder, oldest, newest, tokens_hash, logprobs_hash;
    double reward;
};

struct audit_group {
    enum audit_group_state state;
    uint64_t prompt_id, planned_version;
    uint32_t scored;
};

struct audit_version {
    uint64_t version, digest;
    bool planned;
};

struct audit_holder { /* an actor's life */
    uint64_t incarnation, tokens;
};

struct audit { /* after audit_run */
    struct audit_rules rules;
    uint64_t violations;
    uint64_t records, bytes, groups_born, groups_planned, groups_consumed, groups_alive;
    uint64_t closed_alive;                       /* eligible at the end: the next plan's */
    uint64_t dropped[AUDIT_DROPS], dropped_lost; /* lost: failures, stale, invalid */
    uint64_t tokens, trained_tokens, trained, leases, expired, expired_failures, aborted, continued;
    uint64_t scores_retried, snapshots, versions, plans, checkpoint, staleness_max, holders;
    uint32_t branch;

    struct audit_group *groups; /* by group_id - first_group */
    struct audit_sample *samples;
    uint64_t first_group, group_room;
    struct audit_version
        *version; /* [versions], of the branch; [0] is version 0 or the first registered */
    uint64_t version_room;
    uint64_t *lease_sample; /* by lease id: 1 + index of its sample, 0: not given */
    uint64_t lease_room, last_lease;
    struct audit_holder *holder; /* [holders] */
    uint64_t holder_room, holder_last;
    bool run_seen, stopped;
};

static inline PRINTF_LIKE(3, 4) void audit_wrong(struct audit *audit, uint64_t offset,
                                                 const char *format, ...)
{
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (audit->violations++ < AUDIT_SHOWN)
        printf("AUDIT: %s (ledger byte %" PRIu64 ", branch %" PRIu32 ")\n", text, offset,
               audit->branch);
}

#define AUDIT_CHECK(condition, ...)                  \
    do {                                             \
        if (!(condition)) {                          \
            audit_wrong(audit, offset, __VA_ARGS__); \
            return;                                  \
        }                                            \
    } while (0)

static inline uint64_t audit_hash(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Room for item `index` of an array; ends the test when the machine has no memory. */
static inline void *audit_room(void *items, uint64_t *room, uint64_t index, size_t item)
{
    if (index < *room)
        return items;
    uint64_t wider = *room < 256 ? 256 : *room;
    while (wider <= index)
        wider *= 2;
    items = memory_grow(items, (size_t)*room * item, (size_t)wider * item);
    if (items == NULL)
        abort();
    *room = wider;
    return items;
}

static inline struct audit_group *audit_group(struct audit *audit, uint64_t id)
{
    bool known = id >= audit->first_group && id - audit->first_group < audit->groups_born;
    return known ? &audit->groups[id - audit->first_group] : NULL;
}

static inline struct audit_sample *audit_samples(struct audit *audit, uint64_t id)
{
    return &audit->samples[(id - audit->first_group) * audit->rules.group_size];
}

static inline const struct audit_version *audit_version(const struct audit *audit, uint64_t version)
{
    for (uint64_t i = audit->versions; i-- > 0;)
        if (audit->version[i].version == version)
            return &audit->version[i];
    return NULL;
}

static inline uint64_t audit_newest(const struct audit *audit)
{
    return audit->versions > 0 ? audit->version[audit->versions - 1].version : 0;
}

/* The tokens in the ledger that an incarnation made; NULL: it never held a lease. */
static inline struct audit_holder *audit_holder(struct audit *audit, uint64_t incarnation)
{
    for (uint64_t i = 0; i < audit->holders; i++) {
        struct audit_holder *holder = &audit->holder[(audit->holder_last + i) % audit->holders];
        if (holder->incarnation != incarnation)
            continue;
        audit->holder_last = (uint64_t)(holder - audit->holder);
        return holder;
    }
    return NULL;
}

static inline void audit_hold(struct audit *audit, uint64_t incarnation)
{
    if (audit_holder(audit, incarnation) != NULL)
        return;
    audit->holder =
        audit_room(audit->holder, &audit->holder_room, audit->holders, sizeof *audit->holder);
    audit->holder[audit->holders++] = (struct audit_holder){.incarnation = incarnation};
}

/* ---- records ---- */

static inline void audit_born(struct audit *audit, const struct record *record, uint64_t offset)
{
    uint64_t id = record->born.group_id;
    if (audit->groups_born == 0)
        audit->first_group = id;
    AUDIT_CHECK(id == audit->first_group + audit->groups_born,
                "group %" PRIu64 " is born out of turn", id);
    uint64_t at = audit->groups_born++, samples = audit->group_room;
    audit->groups = audit_room(audit->groups, &samples, at, sizeof *audit->groups);
    if (samples != audit->group_room) {
        size_t one = audit->rules.group_size * sizeof *audit->samples;
        audit->samples =
            memory_grow(audit->samples, audit->group_room * one, (size_t)samples * one);
        if (audit->samples == NULL)
            abort();
        audit->group_room = samples;
    }
    audit->groups[at] = (struct audit_group){.prompt_id = record->born.prompt_id};
    for (uint32_t i = 0; i < audit->rules.group_size; i++)
        audit_samples(audit, id)[i] =
            (struct audit_sample){.oldest = UINT64_MAX,
                                  .tokens_hash = UINT64_C(14695981039346656037),
                                  .logprobs_hash = UINT64_C(14695981039346656037)};
}

static inline void audit_leased(struct audit *audit, const struct record *record, uint64_t offset)
{
    uint64_t lease = record->leased.lease_id, id = record->leased.group_id;
    struct audit_group *group = audit_group(audit, id);
    AUDIT_CHECK(group != NULL && group->state == AUDIT_OPEN &&
                    record->leased.sample < audit->rules.group_size,
                "lease %" PRIu64 " of group %" PRIu64 " sample %" PRIu32 ", which is not open",
                lease, id, record->leased.sample);
    struct audit_sample *sample = &audit_samples(audit, id)[record->leased.sample];
    AUDIT_CHECK(sample->state == AUDIT_QUEUED,
                "lease %" PRIu64 " of group %" PRIu64 " sample %" PRIu32
                ", which is leased (%" PRIu64 "), finished or scored",
                lease, id, record->leased.sample, sample->lease_id);
    AUDIT_CHECK(lease > audit->last_lease || audit->leases == 0, "lease %" PRIu64 " after %" PRIu64,
                lease, audit->last_lease);
    AUDIT_CHECK(record->leased.attempt == sample->attempt + 1,
                "lease %" PRIu64 ": attempt %" PRIu32 " after %" PRIu32, lease,
                record->leased.attempt, sample->attempt);
    audit->lease_sample =
        audit_room(audit->lease_sample, &audit->lease_room, lease, sizeof *audit->lease_sample);
    audit->lease_sample[lease] = 1 + (uint64_t)(sample - audit->samples);
    audit->last_lease = lease;
    audit->leases++;
    audit->continued += sample->count > 0;
    sample->state = AUDIT_LEASED;
    sample->attempt = record->leased.attempt;
    sample->lease_id = lease;
    sample->holder = record->leased.holder_incarnation;
    audit_hold(audit, sample->holder);
}

static inline void audit_expired(struct audit *audit, const struct record *record, uint64_t offset)
{
    uint64_t lease = record->expired.lease_id;
    uint64_t at = lease < audit->lease_room ? audit->lease_sample[lease] : 0;
    AUDIT_CHECK(at > 0 && audit->samples[at - 1].lease_id == lease &&
                    audit->samples[at - 1].state == AUDIT_LEASED,
                "lease %" PRIu64 " expires but is not live", lease);
    audit->samples[at - 1].state = AUDIT_QUEUED;
    audit->samples[at - 1].lease_id = 0;
    audit->expired++;
    audit->expired_failures += record->expired.counts_failure;
}

static inline bool audit_sound(const struct segment *segment)
{
    for (uint32_t i = 0; i < segment->count; i++)
        if (!isfinite(segment->logprobs[i]) || segment->logprobs[i] > 0)
            return false;
    return true;
}

static inline void audit_segment(struct audit *audit, const struct segment *segment,
                                 uint64_t offset)
{
    uint64_t id = segment->group_id;
    struct audit_group *group = audit_group(audit, id);
    AUDIT_CHECK(
        group != NULL && group->state == AUDIT_OPEN && segment->sample < audit->rules.group_size,
        "segment of group %" PRIu64 " sample %" PRIu32 ", which is not open", id, segment->sample);
    struct audit_sample *sample = &audit_samples(audit, id)[segment->sample];
    AUDIT_CHECK(sample->state == AUDIT_LEASED && sample->lease_id == segment->lease_id &&
                    sample->attempt == segment->attempt,
                "segment of group %" PRIu64 " sample %" PRIu32 " under lease %" PRIu64
                ", live is %" PRIu64,
                id, segment->sample, segment->lease_id, sample->lease_id);
    AUDIT_CHECK(segment->first_position == sample->count,
                "segment of group %" PRIu64 " sample %" PRIu32 " at %" PRIu32 ", %" PRIu32
                " tokens stand",
                id, segment->sample, segment->first_position, sample->count);
    const struct audit_version *version = audit_version(audit, segment->version);
    AUDIT_CHECK(version != NULL && version->digest == segment->digest,
                "segment of group %" PRIu64 " of weights %" PRIu64 " (%016" PRIx64
                "), which are not registered",
                id, segment->version, segment->digest);
    AUDIT_CHECK(audit_sound(segment), "segment of group %" PRIu64 " has a logprob that is none",
                id);
    sample->count += segment->count;
    AUDIT_CHECK(audit->rules.response_max == 0 || sample->count <= audit->rules.response_max,
                "group %" PRIu64 " sample %" PRIu32 " has %" PRIu32 " tokens", id, segment->sample,
                sample->count);
    if (segment->count > 0) {
        sample->tokens_hash =
            audit_hash(sample->tokens_hash, segment->ids, segment->count * sizeof *segment->ids);
        sample->logprobs_hash = audit_hash(sample->logprobs_hash, segment->logprobs,
                                           segment->count * sizeof *segment->logprobs);
        sample->oldest = segment->version < sample->oldest ? segment->version : sample->oldest;
        sample->newest = segment->version > sample->newest ? segment->version : sample->newest;
    }
    audit->tokens += segment->count;
    audit_holder(audit, sample->holder)->tokens += segment->count;
    if (segment->status == SEGMENT_MORE)
        return;
    audit->aborted += segment->status == SEGMENT_ABORT;
    sample->state = segment->status == SEGMENT_ABORT ? AUDIT_QUEUED : AUDIT_FINISHED;
    sample->finish = (uint32_t)segment->status;
    sample->lease_id = 0;
}

static inline void audit_scored(struct audit *audit, const struct record *record, uint64_t offset)
{
    const struct score *score = &record->scored.score;
    struct audit_group *group = audit_group(audit, score->group_id);
    AUDIT_CHECK(group != NULL && group->state == AUDIT_OPEN &&
                    score->sample < audit->rules.group_size,
                "score of group %" PRIu64 " sample %" PRIu32 ", which is not open", score->group_id,
                score->sample);
    struct audit_sample *sample = &audit_samples(audit, score->group_id)[score->sample];
    AUDIT_CHECK(sample->state == AUDIT_FINISHED && sample->attempt == score->attempt,
                "score of group %" PRIu64 " sample %" PRIu32
                ", which is not finished or scored already",
                score->group_id, score->sample);
    if (score->status != SCORE_OK && score->status != SCORE_FAIL) {
        audit->scores_retried++;
        return;
    }
    AUDIT_CHECK(isfinite(score->value), "score of group %" PRIu64 " is not finite",
                score->group_id);
    sample->state = AUDIT_SCORED;
    sample->reward = score->value;
    group->scored++;
}

static inline void audit_closed(struct audit *audit, const struct record *record, uint64_t offset)
{
    struct audit_group *group = audit_group(audit, record->closed.group_id);
    AUDIT_CHECK(
        group != NULL && group->state == AUDIT_OPEN && group->scored == audit->rules.group_size,
        "group %" PRIu64 " closes with %" PRIu32 " scores of %" PRIu32, record->closed.group_id,
        group != NULL ? group->scored : 0, audit->rules.group_size);
    group->state = AUDIT_CLOSED;
}

static inline void audit_reopened(struct audit *audit, const struct record *record, uint64_t offset)
{
    uint64_t id = record->reopened.group_id;
    struct audit_group *group = audit_group(audit, id);
    AUDIT_CHECK(group != NULL && (group->state == AUDIT_OPEN || group->state == AUDIT_CLOSED),
                "group %" PRIu64 " is scored again, but it is not open or closed", id);
    group->state = AUDIT_OPEN;
    group->scored = 0;
    for (uint32_t i = 0; i < audit->rules.group_size; i++) {
        struct audit_sample *sample = &audit_samples(audit, id)[i];
        sample->state = sample->state == AUDIT_SCORED ? AUDIT_FINISHED : sample->state;
    }
}

static inline void audit_dropped(struct audit *audit, const struct record *record, uint64_t offset)
{
    uint64_t id = record->dropped.group_id;
    enum drop_reason reason = record->dropped.reason;
    struct audit_group *group = audit_group(audit, id);
    AUDIT_CHECK(group != NULL && (group->state == AUDIT_OPEN || group->state == AUDIT_CLOSED),
                "group %" PRIu64 " is dropped, but it is not open or closed", id);
    AUDIT_CHECK(reason > DROP_NONE && reason < DROP_REASON_COUNT, "group %" PRIu64 ": reason %d",
                id, (int)reason);
    bool equal = group->scored == audit->rules.group_size;
    for (uint32_t i = 1; equal && i < audit->rules.group_size; i++)
        equal = audit_samples(audit, id)[i].reward == audit_samples(audit, id)[0].reward;
    AUDIT_CHECK(reason != DROP_ZERO_VARIANCE || equal,
                "group %" PRIu64 " is dropped for equal rewards, which it has not", id);
    AUDIT_CHECK(group->state == AUDIT_OPEN || reason == DROP_STALE || reason == DROP_DEAD_BRANCH,
                "group %" PRIu64 " was closed and is dropped for reason %d", id, (int)reason);
    group->state = AUDIT_DROPPED;
    audit->dropped[reason]++;
    audit->dropped_lost += reason != DROP_ZERO_VARIANCE && reason != DROP_DEAD_BRANCH;
}

static inline void audit_version_record(struct audit *audit, const struct record *record,
                                        uint64_t offset)
{
    uint64_t version = record->version.version;
    const struct audit_version *known = audit_version(audit, version);
    if (known != NULL && known->digest == record->version.digest &&
        record->version.branch == audit->branch)
        return; /* the same once more: a restarted learner serves it at another place */
    AUDIT_CHECK(record->version.branch == audit->branch &&
                    (audit->versions == 0 || version == audit_newest(audit) + 1),
                "version %" PRIu64 " of branch %" PRIu32 " follows %" PRIu64, version,
                record->version.branch, audit_newest(audit));
    audit->version =
        audit_room(audit->version, &audit->version_room, audit->versions, sizeof *audit->version);
    audit->version[audit->versions++] =
        (struct audit_version){.version = version, .digest = record->version.digest};
}

/* Versions from after_version + 1 on are void, and so are the plans beyond the one that makes it. */
static inline void audit_branch(struct audit *audit, const struct record *record, uint64_t offset)
{
    AUDIT_CHECK(record->branch.branch == audit->branch + 1, "branch %" PRIu32 " follows %" PRIu32,
                record->branch.branch, audit->branch);
    uint64_t dead = record->branch.after_version + 1;
    audit->branch = record->branch.branch;
    while (audit->versions > 0 && audit_newest(audit) >= dead)
        audit->versions--;
    for (uint64_t g = 0; g < audit->groups_born; g++) {
        struct audit_group *group = &audit->groups[g];
        if (group->state == AUDIT_DROPPED || group->state == AUDIT_CONSUMED ||
            (group->state == AUDIT_PLANNED && group->planned_version <= dead))
            continue;
        bool drop = group->state == AUDIT_OPEN;
        for (uint32_t i = 0; i < audit->rules.group_size; i++) {
            const struct audit_sample *sample = &audit->samples[g * audit->rules.group_size + i];
            drop = drop || (sample->count > 0 && sample->newest >= dead);
        }
        audit->groups_planned -= group->state == AUDIT_PLANNED;
        audit->dropped[DROP_DEAD_BRANCH] += drop;
        group->state = drop ? AUDIT_DROPPED : AUDIT_CLOSED;
    }
}

static inline void audit_plan(struct audit *audit, const struct plan *plan, uint64_t offset)
{
    uint64_t before = audit_newest(audit);
    AUDIT_CHECK(plan->branch == audit->branch && plan->version == before + 1,
                "plan for version %" PRIu64 " at version %" PRIu64, plan->version, before);
    AUDIT_CHECK(plan->group_count == audit->rules.groups_per_publish,
                "plan %" PRIu64 " has %" PRIu32 " groups", plan->version, plan->group_count);
    for (uint64_t i = 0; i < audit->versions; i++)
        AUDIT_CHECK(audit->version[i].version != before || !audit->version[i].planned,
                    "a second plan for version %" PRIu64, plan->version);
    if (audit->versions > 0)
        audit->version[audit->versions - 1].planned = true;
    for (uint32_t i = 0; i < plan->group_count; i++) {
        uint64_t id = plan->group_ids[i];
        struct audit_group *group = audit_group(audit, id);
        AUDIT_CHECK(group != NULL && group->state == AUDIT_CLOSED,
                    "plan %" PRIu64 " takes group %" PRIu64 ", which is %s", plan->version, id,
                    group == NULL                   ? "unknown"
                    : group->state == AUDIT_OPEN    ? "open"
                    : group->state == AUDIT_DROPPED ? "dropped"
                                                    : "planned already");
        for (uint32_t s = 0; s < audit->rules.group_size; s++) {
            uint64_t oldest = audit_samples(audit, id)[s].oldest;
            uint64_t age = oldest < before ? before - oldest : 0;
            audit->staleness_max = age > audit->staleness_max ? age : audit->staleness_max;
            AUDIT_CHECK(age <= audit->rules.max_staleness,
                        "plan %" PRIu64 ": group %" PRIu64 " is %" PRIu64 " versions old",
                        plan->version, id, age);
        }
        group->state = AUDIT_PLANNED;
        group->planned_version = plan->version;
        audit->groups_planned++;
    }
    audit->plans++;
}

static inline void audit_checkpoint(struct audit *audit, const struct record *record,
                                    uint64_t offset)
{
    uint64_t version = record->checkpoint.version;
    const struct audit_version *known = audit_version(audit, version);
    AUDIT_CHECK(known != NULL && known->digest == record->checkpoint.digest,
                "checkpoint of version %" PRIu64 " (%016" PRIx64 "), which is not registered",
                version, record->checkpoint.digest);
    AUDIT_CHECK(version >= audit->checkpoint, "checkpoint %" PRIu64 " after %" PRIu64, version,
                audit->checkpoint);
    audit->checkpoint = version;
    for (uint64_t g = 0; g < audit->groups_born; g++) {
        struct audit_group *group = &audit->groups[g];
        if (group->state != AUDIT_PLANNED || group->planned_version > version)
            continue;
        group->state = AUDIT_CONSUMED;
        audit->groups_consumed++;
    }
}

static inline enum status audit_record(void *self, const struct record *record, uint64_t offset)
{
    struct audit *audit = self;
    audit->records++;
    if (record->type != RECORD_SNAPSHOT && (record->type == RECORD_RUN) == audit->run_seen)
        audit_wrong(audit, offset, "record %" PRIu64 " of type %d: where is the run record",
                    audit->records, (int)record->type);
    switch ((int)record->type) {
    case RECORD_RUN:
        audit->run_seen = true;
        break;
    case RECORD_BORN:
        audit_born(audit, record, offset);
        break;
    case RECORD_LEASED:
        audit_leased(audit, record, offset);
        break;
    case RECORD_EXPIRED:
        audit_expired(audit, record, offset);
        break;
    case RECORD_SEGMENT:
        audit_segment(audit, &record->segment.segment, offset);
        break;
    case RECORD_SCORED:
        audit_scored(audit, record, offset);
        break;
    case RECORD_CLOSED:
        audit_closed(audit, record, offset);
        break;
    case RECORD_REOPENED:
        audit_reopened(audit, record, offset);
        break;
    case RECORD_DROPPED:
        audit_dropped(audit, record, offset);
        break;
    case RECORD_VERSION:
        audit_version_record(audit, record, offset);
        break;
    case RECORD_BRANCH:
        audit_branch(audit, record, offset);
        break;
    case RECORD_PLAN:
        audit_plan(audit, &record->plan.plan, offset);
        break;
    case RECORD_CHECKPOINT:
        audit_checkpoint(audit, record, offset);
        break;
    case RECORD_STOP:
        audit->stopped = true;
        break;
    case RECORD_SNAPSHOT: /* says nothing new */
        audit->snapshots++;
        break;
    default:
        audit_wrong(audit, offset, "record of type %d", (int)record->type);
    }
    return STATUS_OK;
}

/* ---- the end ---- */

static inline void audit_count_groups(struct audit *audit)
{
    for (uint64_t g = 0; g < audit->groups_born; g++) {
        const struct audit_group *group = &audit->groups[g];
        audit->groups_alive += group->state < AUDIT_CONSUMED;
        audit->closed_alive += group->state == AUDIT_CLOSED;
        if (group->state != AUDIT_PLANNED && group->state != AUDIT_CONSUMED)
            continue;
        for (uint32_t i = 0; i < audit->rules.group_size; i++) {
            audit->trained++;
            audit->trained_tokens += audit->samples[g * audit->rules.group_size + i].count;
        }
    }
}

static inline void audit_end(struct audit *audit, uint64_t offset)
{
    uint64_t steps = audit->rules.steps;
    audit_count_groups(audit);
    if (steps == 0)
        return;
    for (uint64_t v = 1; v <= steps; v++) {
        const struct audit_version *made = audit_version(audit, v),
                                   *from = audit_version(audit, v - 1);
        if (made == NULL || from == NULL || !from->planned)
            audit_wrong(audit, offset, "version %" PRIu64 " has no %s", v,
                        made == NULL ? "record" : "plan");
    }
    if (audit_newest(audit) != steps)
        audit_wrong(audit, offset, "newest version is %" PRIu64, audit_newest(audit));
    if (audit->checkpoint != steps)
        audit_wrong(audit, offset, "last checkpoint is %" PRIu64, audit->checkpoint);
    if (audit->groups_consumed != steps * audit->rules.groups_per_publish)
        audit_wrong(audit, offset, "%" PRIu64 " groups consumed, %" PRIu64 " were planned",
                    audit->groups_consumed, audit->groups_planned);
}

/* metrics.jsonl: every step once, in order, with the digest that the ledger registered. */
static inline void audit_metrics(struct audit *audit, const char *folder)
{
    char path[FILE_PATH_MAX], *line = NULL;
    size_t room = 0;
    uint64_t step = 0, offset = 0;
    FILE *file = file_path(path, "%s/metrics.jsonl", folder) == STATUS_OK ? fopen(path, "r") : NULL;
    for (ssize_t got; file != NULL && (got = getline(&line, &room, file)) > 0;) {
        json_t *object = json_loads(line, 0, NULL);
        const char *text = json_string_value(json_object_get(object, "digest"));
        uint64_t said = (uint64_t)json_number_value(json_object_get(object, "step"));
        const struct audit_version *version = audit_version(audit, said);
        if (said != step + 1)
            audit_wrong(audit, offset, "metrics.jsonl: step %" PRIu64 " after %" PRIu64, said,
                        step);
        if (text == NULL || version == NULL || strtoull(text, NULL, 16) != version->digest)
            audit_wrong(audit, offset,
                        "metrics.jsonl: step %" PRIu64 " has digest %s, the ledger %016" PRIx64,
                        said, text != NULL ? text : "(none)",
                        version != NULL ? version->digest : 0);
        step = said;
        json_decref(object);
    }
    free(line); /* lint: allow(free): getline's */
    if (file != NULL)
        fclose(file);
    if (audit->rules.steps != 0 && step != audit->rules.steps)
        audit_wrong(audit, offset, "metrics.jsonl ends with step %" PRIu64, step);
}

static inline uint64_t audit_ledger_bytes(const char *ledger)
{
    uint64_t bytes = 0;
    for (uint32_t number = 0;; number++) {
        char path[FILE_PATH_MAX];
        struct stat found;
        if (file_path(path, "%s/ledger.%06" PRIu32, ledger, number) != STATUS_OK ||
            stat(path, &found) != 0)
            return bytes;
        bytes += (uint64_t)found.st_size;
    }
}

/* Reads everything; audit_free gives it back. rules.max_staleness etc. are the run's settings. */
static inline void audit_run(struct audit *audit, const char *folder,
                             const struct audit_rules *rules)
{
    char ledger[FILE_PATH_MAX];
    *audit = (struct audit){.rules = *rules};
    if (file_path(ledger, "%s/ledger", folder) != STATUS_OK)
        abort();
    audit->bytes = audit_ledger_bytes(ledger);
    enum status status = ledger_scan(ledger, 0, audit->bytes, audit_record, audit);
    bool torn =
        status == STATUS_AGAIN && rules->steps == 0; /* a store that died left half a record */
    if (status != STATUS_OK && !torn)
        audit_wrong(audit, audit->bytes, "%s", status_last_error());
    audit_end(audit, audit->bytes);
    audit_metrics(audit, folder);
}

static inline void audit_free(struct audit *audit)
{
    memory_free(audit->groups);
    memory_free(audit->samples);
    memory_free(audit->version);
    memory_free(audit->lease_sample);
    memory_free(audit->holder);
    *audit = (struct audit){0};
}

static inline void audit_print(const char *name, const struct audit *audit)
{
    printf("audit %s: %" PRIu64 " violations; %" PRIu64 " records, %" PRIu64 " bytes; %" PRIu64
           " groups born, %" PRIu64 " trained, %" PRIu64 " dropped for equal rewards, %" PRIu64
           " lost, %" PRIu64 " alive; %" PRIu64 " rollouts, %" PRIu64 " tokens trained of %" PRIu64
           "; %" PRIu64 " leases, %" PRIu64 " continued, %" PRIu64 " expired, %" PRIu64
           " aborted, %" PRIu64 " scores retried; %" PRIu64 " plans, staleness <= %" PRIu64
           ", %" PRIu64 " snapshot parts, branch %" PRIu32 "\n",
           name, audit->violations, audit->records, audit->bytes, audit->groups_born,
           audit->groups_consumed, audit->dropped[DROP_ZERO_VARIANCE], audit->dropped_lost,
           audit->groups_alive, audit->trained, audit->trained_tokens, audit->tokens, audit->leases,
           audit->continued, audit->expired, audit->aborted, audit->scores_retried, audit->plans,
           audit->staleness_max, audit->snapshots, audit->branch);
    fflush(stdout);
}

/* ---- two runs ---- */

static inline bool audit_same_sample(const struct audit_sample *a, const struct audit_sample *b)
{
    return a->count == b->count && a->tokens_hash == b->tokens_hash &&
           a->logprobs_hash == b->logprobs_hash && a->finish == b->finish &&
           memcmp(&a->reward, &b->reward, sizeof a->reward) == 0;
}

static inline bool audit_trained(const struct audit_group *group)
{
    return group->state == AUDIT_PLANNED || group->state == AUDIT_CONSUMED;
}

/* Trained rollouts that are in one run and not, or not the same, in the other: group, sample, tokens, logprobs,
 * reward and planned version; and versions with another digest. Prints the first ones. */
static inline uint64_t audit_differences(const struct audit *a, const struct audit *b)
{
    static const struct audit_group none;
    uint64_t differences = 0,
             most = a->groups_born > b->groups_born ? a->groups_born : b->groups_born;
    for (uint64_t g = 0; g < most; g++) {
        const struct audit_group *of_a = g < a->groups_born ? &a->groups[g] : &none,
                                 *of_b = g < b->groups_born ? &b->groups[g] : &none;
        if (!audit_trained(of_a) && !audit_trained(of_b))
            continue;
        uint64_t here = audit_trained(of_a) != audit_trained(of_b) ||
                        of_a->planned_version != of_b->planned_version ||
                        of_a->prompt_id != of_b->prompt_id;
        for (uint32_t i = 0; here == 0 && i < a->rules.group_size; i++)
            here = !audit_same_sample(&a->samples[g * a->rules.group_size + i],
                                      &b->samples[g * b->rules.group_size + i]);
        if (here > 0 && differences < AUDIT_SHOWN)
            printf("DIFFERENT: group %" PRIu64 ": planned for %" PRIu64 " and %" PRIu64 "\n",
                   a->first_group + g, of_a->planned_version, of_b->planned_version);
        differences += here;
    }
    for (uint64_t v = 0; v < a->versions || v < b->versions; v++)
        if (v >= a->versions || v >= b->versions || a->version[v].digest != b->version[v].digest) {
            if (differences++ < AUDIT_SHOWN)
                printf("DIFFERENT: version %" PRIu64 "\n", v);
        }
    return differences;
}

#endif
