/* actor/desk_leases.c - work in: leases become slots, slots get tokens, cancelled ones end. */
#include "actor/desk_state.h"

#include "core/check.h"
#include "core/fault.h"
#include "core/log.h"

#include <inttypes.h>

/* ---- leases that do not run here ---- */

static uint32_t tokens_so_far(const struct lease *lease)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < lease->span_count; i++)
        if (lease->spans[i].source == SPAN_MODEL)
            count += lease->spans[i].count;
    return count;
}

/* The answer is a segment without tokens. A lease that no actor of this kind can run (`never`) names no
 * weights, which the store counts as a failed attempt: a group of such leases is dropped and not leased
 * for ever. */
static void give_back(struct desk *desk, const struct lease *lease, enum segment_status status,
                      bool never)
{
    if (desk->refused_count == desk->refused_limit || !desk->serving) {
        LOG_ERROR("leases", "a lease is left to expire", "lease=%" PRIu64 " refused=%u",
                  lease->lease_id, desk->refused_count);
        return;
    }
    desk->refused[desk->refused_count++] =
        (struct segment){.lease_id = lease->lease_id,
                         .group_id = lease->group_id,
                         .sample = lease->sample,
                         .attempt = lease->attempt,
                         .first_position = tokens_so_far(lease),
                         .version = never ? UINT64_MAX : desk->version,
                         .digest = never ? 0 : desk->digest,
                         .kv_version_min = never ? UINT64_MAX : desk->version,
                         .rebuilt_at = UINT32_MAX,
                         .repetition_run = lease->repetition_run,
                         .numerics_id = desk->config.numerics_id,
                         .proof = never ? PROOF_NONE : PROOF_OWN,
                         .status = status};
}

static enum status check_ids(const struct desk *desk, const struct slot *slot)
{
    for (uint32_t t = 0; t < slot_length(slot); t++)
        if (slot->ids[t] >= desk->config.vocabulary)
            return FAIL(STATUS_INVALID,
                        "lease %" PRIu64 ": token %u at %u is outside the vocabulary of %u; the "
                        "store's tokenizer and the actor's model differ",
                        slot->lease_id, slot->ids[t], t, desk->config.vocabulary);
    return STATUS_OK;
}

/* Fills a free slot. INVALID, UNSUPPORTED and LIMIT: this lease cannot run, the slot stays free. */
static enum status fill_slot(struct desk *desk, struct slot *slot, const struct lease *lease)
{
    TRY(slot_fill(slot, lease, desk->run_seed, desk->config.repetition_tokens));
    enum status status = check_ids(desk, slot);
    if (status == STATUS_OK && slot->capacity > desk->config.positions_max)
        status = FAIL(STATUS_LIMIT,
                      "lease %" PRIu64 ": %u tokens, the cache holds sequences of %u "
                      "(data.prompt_tokens_max + sampling.response_tokens_max)",
                      lease->lease_id, slot->capacity, desk->config.positions_max);
    if (status != STATUS_OK)
        slot_clear(slot);
    return status;
}

static bool is_held(const struct desk *desk, uint64_t lease_id)
{
    for (uint32_t i = 0; i < desk_leased(desk); i++)
        if (desk->slots[i].state != SLOT_FREE && desk->slots[i].lease_id == lease_id)
            return true;
    return false;
}

static struct slot *free_slot(struct desk *desk)
{
    for (uint32_t i = 0; i < desk_leased(desk); i++)
        if (desk->slots[i].state == SLOT_FREE)
            return &desk->slots[i];
    return NULL;
}

static enum status take_lease(struct desk *desk, const struct lease *lease)
{
    if (is_held(desk, lease->lease_id))
        return STATUS_OK; /* said twice */
    struct slot *slot = free_slot(desk);
    if (slot == NULL) { /* the store counts our slots; if it is wrong somebody else may have room */
        LOG_WARN("leases", "a lease too many", "lease=%" PRIu64 " slots=%u", lease->lease_id,
                 desk_leased(desk));
        give_back(desk, lease, SEGMENT_ABORT, false);
        return STATUS_OK;
    }
    if (lease->budget == 0) {
        give_back(desk, lease, SEGMENT_LENGTH, false);
        return STATUS_OK;
    }
    enum status status = fill_slot(desk, slot, lease);
    if (status == STATUS_INVALID || status == STATUS_UNSUPPORTED || status == STATUS_LIMIT) {
        LOG_FAILURE("leases", "refused a lease", status);
        give_back(desk, lease, SEGMENT_ABORT, true);
        return STATUS_OK;
    }
    if (status == STATUS_OK && slot->response > 0)
        metric_add(&desk->config.metrics->rollouts_continued, 1);
    return status;
}

enum status desk_take_grant(struct desk *desk, const struct lease_grant *grant)
{
    for (uint32_t i = 0; i < grant->count; i++)
        TRY(take_lease(desk, &grant->leases[i]));
    FAULT("actor.granted");
    return STATUS_OK;
}

/* ---- tokens ---- */

/* The store has left the branch of these weights: it would refuse what they make. */
static bool serves_dead_branch(const struct desk *desk)
{
    return desk->version_known != UINT64_MAX && desk->branch < desk->branch_known;
}

bool desk_may_decode(const struct desk *desk)
{
    return desk->serving && !serves_dead_branch(desk) && !desk->handing_back &&
           !segment_writer_full(&desk->writer);
}

bool desk_may_run(const struct desk *desk, uint32_t slot)
{
    return desk->slots[slot].state == SLOT_WAITING && desk->serving && !serves_dead_branch(desk) &&
           desk->version >= desk->slots[slot].min_version;
}

static bool ends_text(const struct desk *desk, uint32_t token)
{
    for (uint32_t i = 0; i < desk->config.eos_count; i++)
        if (desk->config.eos[i] == token)
            return true;
    return false;
}

void desk_push(struct desk *desk, uint32_t index, uint32_t token, float logprob,
               float logprob_truncated, bool confident)
{
    struct slot *slot = &desk->slots[index];
    CHECK(slot->response < slot->budget);
    slot->state = SLOT_DECODE;
    slot->ids[slot_length(slot)] = token;
    slot->logprobs[slot->response] = logprob;
    slot->logprobs_truncated[slot->response] = logprob_truncated;
    slot->response++;
    if (slot->kv_version_min > desk->version)
        slot->kv_version_min = desk->version;
    bool repeats = repetition_guard_push(&slot->guard, confident);
    if (!slot->ignore_eos && ends_text(desk, token))
        slot->finished = SEGMENT_EOS;
    else if (repeats)
        slot->finished = SEGMENT_REPETITION;
    else if (slot->response == slot->budget)
        slot->finished = SEGMENT_LENGTH;
    if (slot->finished == SEGMENT_MORE)
        return;
    slot->state = SLOT_FINISHED;
    if (slot->served)
        return;
    metric_add(&desk->config.metrics->rollouts_finished, 1);
    if (slot->finished == SEGMENT_REPETITION)
        metric_add(&desk->config.metrics->rollouts_repetition, 1);
}

/* ---- sequences of the endpoint ---- */

uint32_t desk_free_served(const struct desk *desk)
{
    for (uint32_t i = desk_leased(desk); i < desk->config.slots; i++)
        if (desk->slots[i].state == SLOT_FREE)
            return i;
    return UINT32_MAX;
}

enum status desk_serve(struct desk *desk, uint32_t index, const struct slot_order *order)
{
    CHECK(index >= desk_leased(desk) && desk->slots[index].state == SLOT_FREE);
    struct slot *slot = &desk->slots[index];
    TRY(slot_fill_order(slot, order));
    enum status status = check_ids(desk, slot);
    if (status == STATUS_OK && slot->capacity > desk->config.positions_max)
        status = FAIL(STATUS_LIMIT, "%u tokens, the cache holds sequences of %u", slot->capacity,
                      desk->config.positions_max);
    if (status != STATUS_OK)
        slot_clear(slot);
    return status;
}

void desk_end_served(struct desk *desk, uint32_t slot)
{
    desk_end_slot(desk, slot);
}

/* ---- ends ---- */

void desk_end_slot(struct desk *desk, uint32_t index)
{
    slot_clear(&desk->slots[index]);
    if (desk->config.slot_ended != NULL)
        desk->config.slot_ended(desk->config.self, index);
}

void desk_cancel(struct desk *desk, const uint64_t *leases, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++)
        for (uint32_t i = 0; i < desk_leased(desk); i++)
            if (desk->slots[i].state != SLOT_FREE && desk->slots[i].lease_id == leases[c])
                desk_end_slot(desk, i);
}
