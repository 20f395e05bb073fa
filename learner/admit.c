/* learner/admit.c - what of a plan is trained: each group is held against what the store promised of it.
 *
 * A sample that does not fit costs itself, a group with tokens of unknown weights or too old ones costs the group;
 * both are a function of the data alone, so a plan that is trained again is trained the same. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "learner/advantage.h"
#include "learner/learner_state.h"
#include "learner/shaping.h"

/* Tokens made by exactly the weights in the trainer, with a cache made by no others. */
static enum status mark_current(struct learner *learner, const struct group_sample *sample,
                                const uint8_t **current)
{
    uint8_t *marks = arena_alloc(learner->arena, sample->count);
    if (marks == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    uint32_t at = 0;
    for (uint32_t p = 0; p < sample->piece_count; p++) {
        bool own = sample->pieces[p].version == learner->version &&
                   sample->pieces[p].kv_version_min == learner->version;
        memset(marks + at, own, sample->pieces[p].count);
        at += sample->pieces[p].count;
    }
    *current = marks;
    return STATUS_OK;
}

/* A bad sample costs itself, not the run; its reward still counts in the group's mean. */
static bool trainable(const struct learner *learner, const struct group_data *group,
                      const struct group_sample *sample)
{
    uint32_t vocabulary = (uint32_t)learner->trainer.shape.vocabulary, at = 0;
    while (at < sample->count && sample->ids[at] < vocabulary)
        at++;
    if (at == sample->count &&
        (int64_t)group->prompt_count + sample->count - 1 <= learner->trainer.rows_max)
        return sample->count > 0;
    LOG_ERROR("learner", "a rollout is left out: too long, or a token id past the vocabulary",
              "group=%" PRIu64 " sample=%u tokens=%u position=%u", group->group_id, sample->sample,
              sample->count, at);
    return false;
}

static enum status check_group(const struct learner *learner, const struct group_data *group)
{
    uint32_t vocabulary = (uint32_t)learner->trainer.shape.vocabulary;
    for (uint32_t i = 0; i < group->prompt_count; i++)
        if (group->prompt_ids[i] >= vocabulary)
            return FAIL(STATUS_INVALID,
                        "group %" PRIu64 ": prompt token %u, the model's vocabulary has %u: do "
                        "store and learner have the same model.path?",
                        group->group_id, group->prompt_ids[i], vocabulary);
    if (group->prompt_count == 0 || !(group->temperature > 0))
        return FAIL(STATUS_INVALID, "group %" PRIu64 ": %u prompt tokens, temperature %g",
                    group->group_id, group->prompt_count, (double)group->temperature);
    return STATUS_OK;
}

/* ---- promises: known weights, age, numbers ---- */

static bool any_trained(const float *mask, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (mask[i] != 0)
            return true;
    return false;
}

/* Tokens of one piece. `why` is filled when a promise is broken. */
static bool keeps_promise(const struct learner *learner, const struct group_sample *sample,
                          const struct group_piece *piece, uint32_t first, char *why, size_t size)
{
    const struct store_settings *store = &learner->settings->store;
    uint64_t version = learner->version;
    if (piece->version > version || piece->kv_version_min > piece->version) {
        snprintf(why, size,
                 "tokens of version %" PRIu64 " with a cache of %" PRIu64
                 ", the learner is at %" PRIu64,
                 piece->version, piece->kv_version_min, version);
        return false;
    }
    bool old = version - piece->version > store->max_staleness;
    if (old && any_trained(sample->mask + first, piece->count)) {
        snprintf(why, size,
                 "tokens of version %" PRIu64 " are %" PRIu64
                 " versions old, store.max_staleness is %u",
                 piece->version, version - piece->version, store->max_staleness);
        return false;
    }
    return true;
}

static bool sample_is_sound(const struct learner *learner, const struct group_sample *sample,
                            char *why, size_t size)
{
    uint32_t at = 0;
    for (uint32_t p = 0; p < sample->piece_count; at += sample->pieces[p++].count)
        if (sample->pieces[p].count > sample->count - at ||
            !keeps_promise(learner, sample, &sample->pieces[p], at, why, size))
            return false;
    if (at != sample->count) {
        snprintf(why, size, "pieces of %u tokens for %u", at, sample->count);
        return false;
    }
    for (uint32_t i = 0; i < sample->count; i++)
        if (!isfinite(sample->logprobs[i]) || sample->logprobs[i] > 0) {
            snprintf(why, size, "streamed logprob %g at token %u", (double)sample->logprobs[i], i);
            return false;
        }
    if (!isfinite(sample->reward)) {
        snprintf(why, size, "reward %g", sample->reward);
        return false;
    }
    return true;
}

static bool is_sound(struct learner *learner, const struct group_data *group)
{
    for (uint32_t s = 0; s < group->sample_count; s++) {
        char why[256] = "its pieces are longer than its tokens";
        if (sample_is_sound(learner, &group->samples[s], why, sizeof why))
            continue;
        metric_add(&learner->metrics.refused, 1);
        alarms_raise(&learner->alarms, "group %" PRIu64 " is left out: sample %u: %s",
                     group->group_id, group->samples[s].sample, why);
        return false;
    }
    return true;
}

/* ---- sequences ---- */

/* The group's rewards as they become advantages; trained: whether its tokens are. */
static void shape_rewards(struct learner *learner, const struct group_data *group, double *reward,
                          bool *trained)
{
    struct learner_shaped *sums = &learner->shaped;
    for (uint32_t s = 0; s < group->sample_count; s++) {
        const struct group_sample *sample = &group->samples[s];
        struct shaped_reward shaped = shaping_of(&learner->now.loss, learner->response_cap,
                                                 sample->finish, sample->count, sample->reward);
        reward[s] = shaped.reward;
        trained[s] = shaped.trained;
        sums->raw_sum += sample->reward;
        sums->sum += shaped.reward;
        sums->count++;
        sums->masked += !shaped.trained;
    }
}

enum status learner_admit(struct learner *learner, const struct group_data *group, uint32_t index,
                          bool current_weights, struct train_sequence *sequences, uint32_t *count)
{
    uint32_t n = group->sample_count;
    TRY(check_group(learner, group));
    if (!is_sound(learner, group))
        return STATUS_OK;
    double *advantage = arena_array(learner->arena, n, sizeof *advantage);
    bool *trained = arena_array(learner->arena, n, sizeof *trained);
    if (advantage == NULL || trained == NULL)
        return FAIL(STATUS_LIMIT, "arena of the plan is full");
    shape_rewards(learner, group, advantage, trained);
    struct advantage_group stats;
    struct advantage_rule rule = advantage_rule_of(&learner->now.loss);
    TRY(advantage_by_rule(advantage, (int32_t)n, &rule, advantage, &stats));
    for (uint32_t s = 0; s < n; s++) {
        const struct group_sample *sample = &group->samples[s];
        if (!trainable(learner, group, sample) || !trained[s])
            continue;
        const uint8_t *current = NULL;
        if (current_weights)
            TRY(mark_current(learner, sample, &current));
        sequences[(*count)++] = (struct train_sequence){
            .prompt_ids = group->prompt_ids,
            .prompt_count = group->prompt_count,
            .response_ids = sample->ids,
            .response_count = sample->count,
            .logprob_old = sample->logprobs,
            .mask = sample->mask,
            .current = current,
            .advantage = advantage[s],
            .group = index,
            .sample = s,
            .temperature = group->temperature,
        };
    }
    return STATUS_OK;
}
