/* ops/simulate/audit.c - the checker: what the durable ledger says about samples, and whether it may say so. */
#include "ops/simulate/audit.h"

#include <inttypes.h>
#include <string.h>

#include "core/memory.h"

/* ---- life ---- */

enum status audit_create(struct world *world)
{
    struct audit *audit = memory_alloc(sizeof *audit);
    if (audit == NULL)
        return FAIL(STATUS_NO_MEMORY, "checker");
    world->audit = audit;
    TRY(arena_create(&audit->arena, (size_t)8 << 30));
    TRY(arena_create(&audit->scratch, (size_t)1 << 30));
    TRY(audit_births_create(world));
    return audit_stages_create(world);
}

void audit_destroy(struct world *world)
{
    struct audit *audit = world->audit;
    if (audit == NULL)
        return;
    for (size_t g = 0; g < audit->group_count; g++) {
        memory_free(audit->groups[g].trained);
        for (uint32_t s = 0; s < world->setup->settings.store.group_size; s++)
            memory_free(audit->groups[g].samples[s].pieces);
    }
    memory_free(audit->groups);
    memory_free(audit->leases);
    memory_free(audit->versions);
    memory_free(audit->ever);
    memory_free(audit->plans);
    memory_free(audit->nodes);
    for (size_t i = 0; i < audit->said_count; i++)
        memory_free(audit->said[i].claims);
    memory_free(audit->said);
    audit_births_destroy(audit);
    arena_destroy(&audit->arena);
    arena_destroy(&audit->scratch);
    memory_free(audit);
    world->audit = NULL;
}

/* ---- looking up ---- */

struct audit_group *audit_group(struct world *world, uint64_t group)
{
    return group < world->audit->group_count ? &world->audit->groups[group] : NULL;
}

struct audit_sample *audit_sample(struct world *world, uint64_t group, uint32_t sample,
                                  const char *who)
{
    struct audit_group *found = audit_group(world, group);
    if (found != NULL && sample < world->setup->settings.store.group_size)
        return &found->samples[sample];
    sim_violation(world, "unknown", "%s names group %" PRIu64 " sample %u, which was never durable",
                  who, group, sample);
    return NULL;
}

uint64_t audit_newest(const struct audit *audit)
{
    return audit->version_count > 0 ? audit->versions[audit->version_count - 1].version : 0;
}

const struct audit_version *audit_version(const struct audit *audit, uint64_t version)
{
    for (size_t i = audit->version_count; i-- > 0;)
        if (audit->versions[i].version == version)
            return &audit->versions[i];
    return NULL;
}

const struct audit_plan *audit_plan_of(const struct audit *audit, uint64_t version)
{
    for (size_t i = audit->plan_count; i-- > 0;)
        if (audit->plans[i].version == version)
            return &audit->plans[i];
    return NULL;
}

bool audit_known(const struct audit *audit, uint64_t version, uint64_t digest)
{
    for (size_t i = audit->ever_count; i-- > 0;)
        if (audit->ever[i].version == version && audit->ever[i].digest == digest)
            return true;
    return false;
}

static struct audit_lease *find_lease(struct world *world, uint64_t lease, const char *who)
{
    struct audit *audit = world->audit;
    if (lease < audit->lease_count && audit->leases[lease].live)
        return &audit->leases[lease];
    sim_violation(world, "lease", "%s under lease %" PRIu64 ", which is not live", who, lease);
    return NULL;
}

/* ---- samples ---- */

static enum status apply_leased(struct world *world, const struct record *record)
{
    struct audit *audit = world->audit;
    uint64_t id = record->leased.lease_id;
    struct audit_sample *sample =
        audit_sample(world, record->leased.group_id, record->leased.sample, "a lease");
    if (sample == NULL)
        return STATUS_OK;
    if (sample->state != AUDIT_QUEUED || sample->lease != 0)
        sim_violation(world, "lease_twice",
                      "lease %" PRIu64 " of group %" PRIu64 " sample %u while lease %" PRIu64
                      " stands",
                      id, record->leased.group_id, record->leased.sample, sample->lease);
    void *leases = audit->leases;
    TRY(sim_reserve(&leases, &audit->lease_capacity, id + 1, sizeof *audit->leases));
    audit->leases = leases;
    if (id < audit->lease_count)
        sim_violation(world, "lease", "lease %" PRIu64 " is given a second time", id);
    audit->lease_count = id + 1;
    audit->leases[id] = (struct audit_lease){.group = record->leased.group_id,
                                             .sample = record->leased.sample,
                                             .attempt = record->leased.attempt,
                                             .holder_index = record->leased.holder_index,
                                             .holder = record->leased.holder_incarnation,
                                             .cap = audit_cap(world),
                                             .live = true};
    sample->state = AUDIT_LEASED;
    sample->lease = id;
    sample->attempt = record->leased.attempt;
    return STATUS_OK;
}

static void end_lease(struct world *world, struct audit_lease *lease, struct audit_sample *sample)
{
    (void)world;
    lease->live = false;
    sample->lease = 0;
}

static void apply_expired(struct world *world, const struct record *record)
{
    struct audit_lease *lease = find_lease(world, record->expired.lease_id, "an expiry");
    if (lease == NULL)
        return;
    struct audit_sample *sample = audit_sample(world, lease->group, lease->sample, "an expiry");
    end_lease(world, lease, sample);
    sample->state = AUDIT_QUEUED;
    sample->failures += record->expired.counts_failure;
    sample->deaths += record->expired.counts_death;
    if (record->expired.counts_failure && !sim_has(world, SIM_POISON))
        sim_violation(world, "blame",
                      "group %" PRIu64 " sample %u counts a failure though nobody sent poison",
                      lease->group, lease->sample);
}

static enum status append_piece(struct audit_sample *sample, const struct segment *segment)
{
    struct group_piece *last =
        sample->piece_count > 0 ? &sample->pieces[sample->piece_count - 1] : NULL;
    if (last != NULL && last->version == segment->version) {
        last->count += segment->count;
        return STATUS_OK;
    }
    void *pieces = sample->pieces;
    TRY(sim_reserve(&pieces, &sample->piece_capacity, sample->piece_count + 1,
                    sizeof *sample->pieces));
    sample->pieces = pieces;
    sample->pieces[sample->piece_count++] =
        (struct group_piece){.count = segment->count, .version = segment->version};
    return STATUS_OK;
}

static void check_tokens(struct world *world, const struct segment *segment)
{
    const struct audit_version *version = audit_version(world->audit, segment->version);
    if (version == NULL || version->digest != segment->digest)
        sim_violation(world, "unknown_version",
                      "group %" PRIu64 " sample %u has tokens of version %" PRIu64
                      " with digest %" PRIx64 ", which is not registered",
                      segment->group_id, segment->sample, segment->version, segment->digest);
    for (uint32_t i = 0; i < segment->count; i++) {
        uint32_t at = segment->first_position + i;
        uint32_t truth = truth_token(world, segment->group_id, segment->sample, at,
                                     segment->version, segment->digest);
        float logprob = truth_logprob(segment->group_id, segment->sample, at, segment->digest);
        if (segment->ids[i] != truth || segment->logprobs[i] != logprob)
            sim_violation(world, "tokens",
                          "group %" PRIu64 " sample %u has token %u at %u, version %" PRIu64
                          " makes %u there",
                          segment->group_id, segment->sample, segment->ids[i], at, segment->version,
                          truth);
    }
}

static enum status apply_segment(struct world *world, const struct segment *segment)
{
    struct audit_lease *lease = find_lease(world, segment->lease_id, "a segment");
    if (lease == NULL)
        return STATUS_OK;
    uint32_t most = lease->cap;
    struct audit_sample *sample = audit_sample(world, lease->group, lease->sample, "a segment");
    if (lease->group != segment->group_id || lease->sample != segment->sample ||
        lease->attempt != segment->attempt)
        sim_violation(world, "lease", "a segment of lease %" PRIu64 " is of another sample",
                      segment->lease_id);
    if (segment->first_position != sample->count || sample->count + segment->count > most) {
        sim_violation(world, "contiguous",
                      "group %" PRIu64 " sample %u has %u tokens, the next %u begin at %u of %u",
                      segment->group_id, segment->sample, sample->count, segment->count,
                      segment->first_position, most);
        return STATUS_OK;
    }
    if (segment->count > 0) {
        check_tokens(world, segment);
        memcpy(sample->ids + sample->count, segment->ids, segment->count * sizeof *sample->ids);
        sample->count += segment->count;
        sample->deaths = 0;
        TRY(append_piece(sample, segment));
    }
    if (segment->status == SEGMENT_MORE)
        return STATUS_OK;
    end_lease(world, lease, sample);
    sample->state = segment->status == SEGMENT_ABORT ? AUDIT_QUEUED : AUDIT_FINISHED;
    sample->finish = segment->status;
    uint32_t length = truth_length(world->setup, segment->group_id, segment->sample);
    if (segment->status != SEGMENT_ABORT && sample->count != (length < most ? length : most))
        sim_violation(world, "tokens",
                      "group %" PRIu64 " sample %u ends after %u tokens, its length is %u",
                      segment->group_id, segment->sample, sample->count, length);
    return STATUS_OK;
}

static void apply_scored(struct world *world, const struct record *record)
{
    const struct score *score = &record->scored.score;
    struct audit_sample *sample = audit_sample(world, score->group_id, score->sample, "a score");
    if (sample == NULL)
        return;
    if (sample->state != AUDIT_FINISHED || sample->attempt != score->attempt)
        sim_violation(world, "scored_twice", "group %" PRIu64 " sample %u gets a score out of turn",
                      score->group_id, score->sample);
    sample->score_status = score->status;
    if (score->status != SCORE_OK && score->status != SCORE_FAIL) {
        sample->scorings++;
        audit_group(world, score->group_id)->skipped |=
            score->status == SCORE_SKIP || score->status == SCORE_UNSCORABLE;
        return;
    }
    double truth = truth_reward(world->setup, score->group_id, score->sample);
    if (score->value != truth)
        sim_violation(world, "reward", "group %" PRIu64 " sample %u has reward %g, it is %g",
                      score->group_id, score->sample, score->value, truth);
    sample->reward = score->value;
    sample->state = AUDIT_SCORED;
}

/* ---- records ---- */

static enum status apply(struct world *world, const struct record *record)
{
    struct audit *audit = world->audit;
    if (audit->stopped && record->type != RECORD_STOP)
        audit->stopped = false; /* a store that was started again goes on */
    switch (record->type) {
    case RECORD_RUN:
        if (audit->run_known)
            sim_violation(world, "ledger", "a second run record");
        audit->run_known = true;
        return STATUS_OK;
    case RECORD_BORN:
        audit_born(world, record);
        return STATUS_OK;
    case RECORD_LEASED:
        return apply_leased(world, record);
    case RECORD_EXPIRED:
        apply_expired(world, record);
        return STATUS_OK;
    case RECORD_SEGMENT:
        return apply_segment(world, &record->segment.segment);
    case RECORD_SCORED:
        apply_scored(world, record);
        return STATUS_OK;
    case RECORD_CLOSED:
        audit_closed(world, record);
        return STATUS_OK;
    case RECORD_REOPENED:
        audit_reopened(world, record);
        return STATUS_OK;
    case RECORD_DROPPED:
        audit_dropped(world, record);
        return STATUS_OK;
    case RECORD_VERSION:
        audit_registered(world, record);
        return STATUS_OK;
    case RECORD_BRANCH:
        audit_branched(world, record);
        audit_stage_branched(world, record);
        return STATUS_OK;
    case RECORD_PLAN:
        audit_planned(world, &record->plan.plan);
        audit_staged(world, record);
        return STATUS_OK;
    case RECORD_CHECKPOINT:
        audit_saved(world, record);
        return STATUS_OK;
    case RECORD_STOP:
        audit->stopped = true;
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

enum status audit_durable(struct world *world, const uint8_t *bytes, size_t size)
{
    for (size_t at = 0, used = 0; at < size; at += used) {
        struct record record;
        arena_reset(world->audit->scratch);
        if (record_unpack(&record, world->audit->scratch, bytes + at, size - at, &used) !=
            STATUS_OK) {
            sim_violation(world, "ledger", "a durable record cannot be read: %s",
                          status_last_error());
            return STATUS_OK;
        }
        TRY(apply(world, &record));
    }
    return STATUS_OK;
}
