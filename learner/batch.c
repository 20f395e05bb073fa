/* learner/batch.c - a plan becomes minibatches: the settings in force, admitted sequences, advantages over the whole
 * minibatch, recomputed anchors.
 *
 * All of it before the first update, from the settings, the plan and its groups alone: a plan that is trained again is
 * trained the same. */
#include <inttypes.h>

#include "core/log.h"
#include "learner/advantage.h"
#include "learner/learner_state.h"

static void set_settings(struct learner *learner, const struct plan *plan)
{
    learner->now = schedule_begin(learner->settings);
    schedule_apply(&learner->schedule, plan->version, plan->stage, &learner->now);
    learner->response_cap = plan->response_tokens_max > 0
                                ? plan->response_tokens_max
                                : learner->settings->sampling.response_tokens_max;
    learner->shaped = (struct learner_shaped){0};
}

/* What changed with this plan, once. */
static void log_changes(const struct learner *learner, const struct plan *plan)
{
    for (uint32_t c = 0; c < learner->schedule.change_count; c++) {
        const struct schedule_change *change = &learner->schedule.changes[c];
        if (change->unit != SCHEDULE_STEP || change->from != plan->version)
            continue;
        for (uint32_t i = change->first; i < change->last; i++) {
            const struct schedule_set *set = &learner->schedule.sets[i];
            LOG_INFO("learner", "setting changes", "version=%" PRIu64 " %s.%s=%s", plan->version,
                     set->optim ? "optim" : "loss", set->field->name, set->text);
        }
    }
}

static bool has_trained_token(const struct train_sequence *sequence)
{
    for (uint32_t t = 0; t < sequence->response_count; t++)
        if (sequence->mask[t] != 0)
            return true;
    return false;
}

/* ADVANTAGE_STD_BATCH: over all responses of the minibatch with a trained token, whichever rank trains them. */
static enum status divide_by_batch(struct learner *learner, struct learner_minibatch *minibatch)
{
    double *advantage = arena_array(learner->arena, minibatch->count + 1, sizeof *advantage);
    int64_t count = 0;
    if (advantage == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    for (uint32_t i = 0; i < minibatch->count; i++)
        if (has_trained_token(&minibatch->sequences[i]))
            advantage[count++] = minibatch->sequences[i].advantage;
    double std = advantage_batch_std(advantage, count),
           divisor = std + learner->now.loss.advantage_epsilon;
    for (uint32_t i = 0; i < minibatch->count; i++)
        minibatch->sequences[i].advantage =
            std > 0 ? minibatch->sequences[i].advantage / divisor : 0;
    return STATUS_OK;
}

/* logprob_old of every sequence by the weights that the plan starts with; the streamed ones stay beside them. */
static enum status recompute_anchor(struct learner *learner, struct train_sequence *sequences,
                                    uint32_t count)
{
    float **logprob = arena_array(learner->arena, count + (uint64_t)1, sizeof *logprob);
    if (logprob == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    for (uint32_t i = 0; i < count; i++) {
        logprob[i] = arena_array(learner->arena, sequences[i].response_count, sizeof *logprob[i]);
        if (logprob[i] == NULL)
            return FAIL(STATUS_LIMIT, "arena of the plan is full");
    }
    TRY(trainer_score(&learner->trainer, sequences, count, logprob));
    for (uint32_t i = 0; i < count; i++) {
        sequences[i].logprob_streamed = sequences[i].logprob_old;
        sequences[i].logprob_old = logprob[i];
    }
    return STATUS_OK;
}

static enum status admit_minibatch(struct learner *learner, const struct plan *plan,
                                   const struct group_data *groups, uint32_t cut,
                                   struct learner_minibatch *minibatch)
{
    uint32_t first = plan->cuts[cut],
             last = cut + 1 < plan->cut_count ? plan->cuts[cut + 1] : plan->group_count;
    for (uint32_t g = first; g < last; g++)
        TRY(learner_admit(learner, &groups[g], g, true, minibatch->sequences, &minibatch->count));
    if (learner->now.loss.advantage_std == ADVANTAGE_STD_BATCH)
        TRY(divide_by_batch(learner, minibatch));
    return STATUS_OK;
}

static void log_shaped(const struct learner *learner, const struct plan *plan)
{
    const struct learner_shaped *shaped = &learner->shaped;
    if (shaped->count > 0 && (shaped->sum != shaped->raw_sum || shaped->masked > 0))
        LOG_INFO("learner", "rewards are shaped",
                 "version=%" PRIu64 " cap=%u raw_mean=%.6g shaped_mean=%.6g masked=%" PRIu64,
                 plan->version, learner->response_cap, shaped->raw_sum / (double)shaped->count,
                 shaped->sum / (double)shaped->count, shaped->masked);
}

enum status learner_prepare(struct learner *learner, const struct plan *plan,
                            const struct group_data *groups, struct learner_minibatch **minibatches)
{
    uint64_t samples = 0;
    uint32_t count = 0;
    set_settings(learner, plan);
    log_changes(learner, plan);
    for (uint32_t g = 0; g < plan->group_count; g++)
        samples += groups[g].sample_count;
    struct train_sequence *sequences = arena_array(learner->arena, samples + 1, sizeof *sequences);
    *minibatches = arena_array(learner->arena, plan->cut_count + (uint64_t)1, sizeof **minibatches);
    if (sequences == NULL || *minibatches == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    for (uint32_t cut = 0; cut < plan->cut_count; cut++) {
        struct learner_minibatch *minibatch = &(*minibatches)[cut];
        *minibatch = (struct learner_minibatch){.sequences = sequences + count};
        TRY(admit_minibatch(learner, plan, groups, cut, minibatch));
        count += minibatch->count;
    }
    log_shaped(learner, plan);
    if (learner->now.loss.anchor == ANCHOR_RECOMPUTED)
        return recompute_anchor(learner, sequences, count);
    return STATUS_OK;
}
