/* ops/simulate/audit_wire.c - the checker: what leaves the store may depend on durable records only. */
#include "ops/simulate/audit.h"

#include <inttypes.h>
#include <string.h>

#include "core/memory.h"

/* ---- what processes say ---- */

static void forget_said(struct audit *audit, size_t at)
{
    memory_free(audit->said[at].claims);
    audit->said[at] = audit->said[--audit->said_count];
}

static enum status new_said(struct world *world, const struct proc *proc, enum message_type type,
                            uint64_t frame, uint32_t count, struct audit_said **out)
{
    struct audit *audit = world->audit;
    for (size_t i = audit->said_count; i-- > 0;) {
        const struct audit_said *said = &audit->said[i];
        if (said->proc == proc->id && said->boot == proc->boot && said->type == type &&
            said->frame == frame) {
            forget_said(audit, i); /* said again: poison is in one of them only */
            break;
        }
    }
    void *items = audit->said;
    TRY(sim_reserve(&items, &audit->said_capacity, audit->said_count + 1, sizeof *audit->said));
    audit->said = items;
    struct audit_said *said = &audit->said[audit->said_count];
    *said = (struct audit_said){
        .proc = proc->id, .boot = proc->boot, .frame = frame, .type = type, .count = count};
    if (count > 0) {
        said->claims = memory_array(count, sizeof *said->claims);
        if (said->claims == NULL)
            return FAIL(STATUS_NO_MEMORY, "%u claims", count);
    }
    audit->said_count++;
    *out = said;
    return STATUS_OK;
}

/* Of processes that are no more. */
static void forget_dead(struct world *world)
{
    struct audit *audit = world->audit;
    for (size_t i = audit->said_count; i-- > 0;) {
        const struct proc *proc = &world->procs[audit->said[i].proc];
        if (!proc->up || proc->boot != audit->said[i].boot)
            forget_said(audit, i);
    }
}

static void trace_frame(struct world *world, const struct proc *proc,
                        const struct segment_frame *frame)
{
    if (!world->setup->trace && world->setup->tail == NULL)
        return;
    for (uint32_t i = 0; i < frame->count; i++) {
        const struct segment *segment = &frame->segments[i];
        sim_trace(world,
                  "  actor.%u frame %" PRIu64 ": lease %" PRIu64 " group %" PRIu64
                  " sample %u tokens [%u, %u) status %d version %" PRIu64,
                  proc->index, frame->frame_id, segment->lease_id, segment->group_id,
                  segment->sample, segment->first_position,
                  segment->first_position + segment->count, (int)segment->status, segment->version);
    }
}

static enum status said_frame(struct world *world, const struct proc *proc,
                              const struct segment_frame *frame)
{
    struct audit_said *said = NULL;
    trace_frame(world, proc, frame);
    TRY(new_said(world, proc, MESSAGE_segment_frame, frame->frame_id, frame->count, &said));
    for (uint32_t i = 0; i < frame->count; i++) {
        const struct segment *segment = &frame->segments[i];
        said->claims[i] = (struct audit_claim){.lease = segment->lease_id,
                                               .group = segment->group_id,
                                               .sample = segment->sample,
                                               .attempt = segment->attempt,
                                               .end = segment->first_position + segment->count,
                                               .final = segment->status != SEGMENT_MORE};
    }
    return STATUS_OK;
}

static enum status said_scores(struct world *world, const struct proc *proc,
                               const struct score_result *result)
{
    struct audit_said *said = NULL;
    TRY(new_said(world, proc, MESSAGE_score_result, result->frame_id, result->count, &said));
    for (uint32_t i = 0; i < result->count; i++) {
        const struct score *score = &result->scores[i];
        said->claims[i] =
            (struct audit_claim){.group = score->group_id,
                                 .sample = score->sample,
                                 .attempt = score->attempt,
                                 .good = score->status == SCORE_OK || score->status == SCORE_FAIL};
    }
    return STATUS_OK;
}

static enum status said_request(struct world *world, const struct proc *proc,
                                enum message_type type, uint64_t request, uint64_t version,
                                uint64_t digest)
{
    struct audit_said *said = NULL;
    TRY(new_said(world, proc, type, request, 0, &said));
    said->version = version;
    said->digest = digest;
    return STATUS_OK;
}

enum status audit_said(struct world *world, const struct proc *proc, const struct message *message)
{
    if (world->audit->said_count > 4 * (size_t)world->proc_count + 64)
        forget_dead(world);
    switch (message->type) {
    case MESSAGE_segment_frame:
        return said_frame(world, proc, &message->segment_frame);
    case MESSAGE_score_result:
        return said_scores(world, proc, &message->score_result);
    case MESSAGE_version_register:
        return said_request(world, proc, message->type, message->version_register.request,
                            message->version_register.version, message->version_register.digest);
    case MESSAGE_checkpoint_report:
        return said_request(world, proc, message->type, message->checkpoint_report.request,
                            message->checkpoint_report.version, message->checkpoint_report.digest);
    default:
        return STATUS_OK;
    }
}

/* ---- acknowledgements ---- */

static void check_segment_claim(struct world *world, const struct audit_claim *claim)
{
    const struct audit *audit = world->audit;
    if (claim->lease >= audit->lease_count)
        return; /* poison that names a lease of nobody */
    const struct audit_lease *lease = &audit->leases[claim->lease];
    if (lease->group != claim->group || lease->sample != claim->sample || !lease->live)
        return; /* poison, taken from it, or over with its last segment on disk */
    const struct audit_sample *sample = &audit->groups[claim->group].samples[claim->sample];
    if (claim->final || sample->count < claim->end)
        sim_violation(world, "ack_before_commit",
                      "tokens up to %u of group %" PRIu64 " sample %u are acknowledged, the "
                      "ledger has %u under the live lease %" PRIu64,
                      claim->end, claim->group, claim->sample, sample->count, claim->lease);
}

static void check_score_claim(struct world *world, const struct audit_claim *claim)
{
    const struct audit_group *group = audit_group(world, claim->group);
    if (group == NULL || group->state != AUDIT_OPEN || !claim->good)
        return;
    const struct audit_sample *sample = &group->samples[claim->sample];
    if (sample->attempt == claim->attempt && sample->state == AUDIT_FINISHED && !sample->voided)
        sim_violation(world, "ack_before_commit",
                      "the score of group %" PRIu64 " sample %u is acknowledged and not on disk",
                      claim->group, claim->sample);
}

static void check_ack(struct world *world, const struct proc *proc, enum message_type type,
                      uint64_t frame)
{
    struct audit *audit = world->audit;
    for (size_t i = audit->said_count; i-- > 0;) {
        const struct audit_said *said = &audit->said[i];
        bool covered = type == MESSAGE_segment_frame ? said->frame <= frame : said->frame == frame;
        if (said->proc != proc->id || said->boot != proc->boot || said->type != type || !covered)
            continue;
        for (uint32_t c = 0; c < said->count; c++)
            if (type == MESSAGE_segment_frame)
                check_segment_claim(world, &said->claims[c]);
            else
                check_score_claim(world, &said->claims[c]);
        forget_said(audit, i);
    }
}

static void check_request_ack(struct world *world, const struct proc *proc, const struct ack *ack)
{
    const struct audit *audit = world->audit;
    for (size_t i = audit->said_count; ack->ok && i-- > 0;) {
        const struct audit_said *said = &audit->said[i];
        if (said->proc != proc->id || said->boot != proc->boot || said->frame != ack->request)
            continue;
        bool known = audit_known(audit, said->version, said->digest);
        bool saved =
            said->type != MESSAGE_checkpoint_report || audit->checkpoint_version >= said->version;
        if (!known || !saved)
            sim_violation(world, "ack_before_commit",
                          "version %" PRIu64 " is acknowledged (%s) and not on disk", said->version,
                          message_name(said->type));
    }
}

/* ---- leases and work ---- */

static bool same_tokens(const struct audit_sample *sample, uint32_t count, const uint32_t *ids)
{
    return sample->count == count &&
           (count == 0 || memcmp(sample->ids, ids, count * sizeof *ids) == 0);
}

static void check_lease(struct world *world, const struct hub_peer *peer, const struct lease *lease)
{
    const struct audit *audit = world->audit;
    struct audit_lease *known =
        lease->lease_id < audit->lease_count ? &audit->leases[lease->lease_id] : NULL;
    if (known == NULL) {
        sim_violation(world, "grant_before_commit",
                      "lease %" PRIu64 " is granted to %s and is not on disk", lease->lease_id,
                      peer->name);
        return;
    }
    if (known->holder_index != peer->index || known->holder != peer->incarnation)
        sim_violation(world, "lease_twice",
                      "lease %" PRIu64 " of actor.%u is granted to %s as well", lease->lease_id,
                      known->holder_index, peer->name);
    const struct audit_sample *sample =
        audit_sample(world, lease->group_id, lease->sample, "a grant");
    uint32_t so_far = lease->span_count > 1 ? lease->spans[1].count : 0;
    if (sample != NULL && known->live &&
        !same_tokens(sample, so_far, so_far > 0 ? lease->spans[1].ids : NULL))
        sim_violation(world, "tokens",
                      "lease %" PRIu64 " carries %u tokens, the ledger has %u, or others",
                      lease->lease_id, so_far, sample->count);
}

static void check_work(struct world *world, const struct score_item *item)
{
    const struct audit_sample *sample =
        audit_sample(world, item->group_id, item->sample, "score work");
    if (sample == NULL)
        return;
    if (sample->state != AUDIT_FINISHED || sample->attempt != item->attempt)
        sim_violation(world, "work_before_commit",
                      "group %" PRIu64 " sample %u is to be scored and is not finished on disk",
                      item->group_id, item->sample);
    if (!same_tokens(sample, item->response_count, item->response_ids))
        sim_violation(world, "tokens", "group %" PRIu64 " sample %u is scored with other tokens",
                      item->group_id, item->sample);
}

/* ---- plans and groups ---- */

static void check_plan(struct world *world, const struct plan *plan)
{
    const struct audit *audit = world->audit;
    const struct audit_plan *known = audit_plan_of(audit, plan->version);
    if (known == NULL || plan->branch > audit->branch || known->group_count != plan->group_count ||
        memcmp(known->groups, plan->group_ids, plan->group_count * sizeof *known->groups) != 0)
        sim_violation(world, "plan_before_commit",
                      "the plan of version %" PRIu64 " in branch %u is not the one on disk",
                      plan->version, plan->branch);
}

static void check_group_sample(struct world *world, const struct audit_group *group, uint64_t id,
                               const struct group_sample *said)
{
    const struct audit_sample *sample = &group->samples[said->sample];
    uint64_t w = group->planned_version - 1, s = world->setup->settings.store.max_staleness;
    uint64_t limit = w > s ? w - s : 0;
    bool masks = world->setup->settings.store.over_age == OVER_AGE_MASK;
    uint32_t at = 0;
    if (!same_tokens(sample, said->count, said->ids) || said->reward != sample->reward)
        sim_violation(world, "tokens", "group %" PRIu64 " sample %u differs from the ledger", id,
                      said->sample);
    for (uint32_t p = 0; p < said->piece_count; p++)
        for (uint32_t i = 0; i < said->pieces[p].count && at < said->count; i++, at++) {
            uint64_t version = said->pieces[p].version;
            bool trained = said->mask[at] > 0, old = version < limit;
            if (old && trained)
                sim_violation(world, "staleness",
                              "token %u of group %" PRIu64 " sample %u is of version %" PRIu64
                              ", trained for version %" PRIu64,
                              at, id, said->sample, version, group->planned_version);
            if (!old && !trained && masks)
                sim_violation(world, "lost", "token %u of group %" PRIu64 " sample %u is masked",
                              at, id, said->sample);
        }
}

static void check_group(struct world *world, const struct group_data *data)
{
    const struct audit_group *group = audit_group(world, data->group_id);
    if (group == NULL || group->state != AUDIT_PLANNED ||
        data->sample_count != world->setup->settings.store.group_size) {
        sim_violation(world, "plan_before_commit",
                      "group %" PRIu64 " is given out and no plan on disk has it", data->group_id);
        return;
    }
    for (uint32_t s = 0; s < data->sample_count; s++)
        check_group_sample(world, group, data->group_id, &data->samples[s]);
}

static void check_version(struct world *world, const char *what, uint64_t version, uint64_t digest,
                          uint32_t branch)
{
    const struct audit *audit = world->audit;
    bool none = version == 0 && digest == 0;
    if ((!none && !audit_known(audit, version, digest)) || branch > audit->branch)
        sim_violation(world, "version_before_commit",
                      "a %s says version %" PRIu64 " digest %" PRIx64
                      " of branch %u, which is not on disk",
                      what, version, digest, branch);
}

static const struct proc *proc_of(const struct world *world, const struct hub_peer *peer)
{
    for (uint32_t i = 1; i < world->proc_count; i++)
        if (world->procs[i].up && world->procs[i].incarnation == peer->incarnation)
            return &world->procs[i];
    return NULL;
}

void audit_sent(struct world *world, const struct hub_peer *peer, const struct message *message)
{
    const struct proc *proc = NULL;
    switch (message->type) {
    case MESSAGE_lease_grant:
        for (uint32_t i = 0; i < message->lease_grant.count; i++)
            check_lease(world, peer, &message->lease_grant.leases[i]);
        break;
    case MESSAGE_score_work:
        for (uint32_t i = 0; i < message->score_work.count; i++)
            check_work(world, &message->score_work.items[i]);
        break;
    case MESSAGE_frame_ack:
        if ((proc = proc_of(world, peer)) != NULL)
            check_ack(world, proc, MESSAGE_segment_frame, message->frame_ack.frame_id);
        break;
    case MESSAGE_score_ack:
        if ((proc = proc_of(world, peer)) != NULL)
            check_ack(world, proc, MESSAGE_score_result, message->score_ack.frame_id);
        break;
    case MESSAGE_ack:
        if ((proc = proc_of(world, peer)) != NULL)
            check_request_ack(world, proc, &message->ack);
        break;
    case MESSAGE_plan:
        check_plan(world, &message->plan);
        break;
    case MESSAGE_group_data:
        check_group(world, &message->group_data);
        break;
    case MESSAGE_notice:
        check_version(world, "notice", message->notice.version, message->notice.digest,
                      message->notice.branch);
        break;
    case MESSAGE_welcome:
        check_version(world, "welcome", message->welcome.version, message->welcome.digest,
                      message->welcome.branch);
        break;
    default:
        break;
    }
}

/* ---- memory ---- */

void audit_bounds(struct world *world)
{
    const struct store_settings *store = &world->setup->settings.store;
    struct book_counters counters;
    book_read_counters(world->store.book, &counters);
    uint64_t most = (store->max_staleness + UINT64_C(1)) * store->groups_per_publish;
    /* after a branch the groups of void plans are alive again beside the others */
    if (world->audit->branch > 0)
        most += most + store->groups_per_publish *
                           (uint64_t)world->setup->settings.learner.checkpoint_every;
    if (counters.groups_open + counters.groups_eligible > most &&
        world->setup->plant != PLANT_STALENESS)
        sim_violation(world, "memory", "%" PRIu64 " groups are alive, at most %" PRIu64,
                      counters.groups_open + counters.groups_eligible, most);
    if (world->store.kept_count > 2000)
        sim_violation(world, "memory", "%zu messages are kept", world->store.kept_count);
}
