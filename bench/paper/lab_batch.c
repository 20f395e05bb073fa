/* bench/paper/lab_batch.c - one generation batch and its updates. */
#include <math.h>
#include <string.h>

#include "bench/paper/lab_state.h"
#include "learner/advantage.h"

/* Bounds of DAPO (arXiv:2503.14476): a token beyond them on the side of its advantage has no gradient under PPO. */
static const double clip_low = 0.2, clip_high = 0.28;

static uint32_t bin_of(double probability)
{
    static const double edges[LAB_BINS - 1] = {1e-3, 1e-2, 0.1, 0.5, 0.9};
    uint32_t bin = 0;
    while (bin < LAB_BINS - 1 && probability >= edges[bin])
        bin++;
    return bin;
}

static bool has_rare(const struct lab_samples *samples, uint32_t s)
{
    const uint32_t *tokens = samples->tokens + (size_t)s * samples->response_max;
    for (uint32_t t = 0; t < samples->length[s]; t++)
        if (tokens[t] == TOKEN_WAIT)
            return true;
    return false;
}

static void add_generated(const struct lab_samples *samples, struct lab_point *point)
{
    for (uint32_t s = 0; s < samples->count; s++) {
        point->reward += samples->reward[s] / samples->count;
        point->length += (double)samples->length[s] / samples->count;
        point->rare += has_rare(samples, s) ? 1.0 / samples->count : 0;
        point->tokens += samples->length[s];
    }
}

/* Groups with variance become sequences, group numbers in order. */
static enum status make_sequences(struct lab *lab, const struct lab_run *run,
                                  const struct lab_generation *generation, uint32_t *groups)
{
    struct lab_samples *samples = lab->samples;
    uint32_t kept = 0;
    for (uint32_t g = 0; g < generation->groups; g++) {
        uint32_t first = g * samples->group;
        struct advantage_group group;
        TRY(advantage_of_group(samples->reward + first, (int32_t)samples->group,
                               (enum setting_advantage_std)run->loss.advantage_std,
                               samples->advantage + first, &group));
        for (uint32_t s = first; !group.zero_variance && s < first + samples->group; s++) {
            size_t at = (size_t)s * samples->response_max;
            samples->sequences[(size_t)kept * samples->group + (s - first)] =
                (struct train_sequence){.prompt_ids = samples->problem[g].prompt,
                                        .prompt_count = samples->problem[g].count,
                                        .response_ids = samples->tokens + at,
                                        .response_count = samples->length[s],
                                        .logprob_old = samples->logprob + at,
                                        .mask = samples->mask + at,
                                        .advantage = samples->advantage[s] * run->scale,
                                        .group = kept,
                                        .temperature = 1};
        }
        kept += group.zero_variance ? 0 : 1;
    }
    *groups = kept;
    return STATUS_OK;
}

/* ---- what PPO would have done ---- */

static void observe_token(struct lab_point *point, uint32_t token, double old, double now,
                          double advantage)
{
    if (advantage == 0)
        return;
    double probability = exp(old), ratio = exp(now - old);
    bool zeroed = advantage > 0 ? ratio > 1 + clip_high : ratio < 1 - clip_low;
    uint32_t bin = bin_of(probability);
    point->seen[bin]++;
    point->zeroed[bin] += zeroed;
    point->token_seen[token]++;
    point->token_zeroed[token] += zeroed;
    point->token_up[token] += advantage > 0;
    point->token_up_zeroed[token] += advantage > 0 && zeroed;
    point->token_old[token] += probability;
}

static enum status observe_packing(struct lab *lab, struct lab_point *point)
{
    struct trainer *trainer = &lab->trainer;
    struct packing *packing = &lab->samples->packing;
    for (int32_t s = 0; s < packing->sequences; s++)
        TRY(model_cache_open(trainer->cache, s, packing->segments[s].count));
    struct model_batch batch = {packing->rows, packing->ids, packing->segments, packing->sequences};
    act *hidden = NULL;
    TRY(model_forward(trainer->model, &trainer->weights, trainer->cache, &batch, false, &hidden));
    struct model_head head = {.rows = packing->heads,
                              .row_index = packing->row_index,
                              .temperature = 1,
                              .target = packing->target,
                              .logprob = lab->samples->observed};
    TRY(model_head(trainer->model, &trainer->weights, hidden, &head));
    for (int32_t s = 0; s < packing->sequences; s++)
        model_cache_close(trainer->cache, s);
    for (int32_t i = 0; i < packing->heads; i++)
        observe_token(point, (uint32_t)packing->target[i], (double)packing->logprob_old[i],
                      (double)lab->samples->observed[i], (double)packing->advantage[i]);
    return STATUS_OK;
}

static enum status observe(struct lab *lab, const struct train_sequence *sequences, uint32_t count,
                           struct lab_point *point)
{
    struct packing *packing = &lab->samples->packing;
    for (uint32_t i = 0; i < count;) {
        packing_clear(packing);
        for (; i < count && packing_fits(packing, &sequences[i]); i++)
            packing_add(packing, &sequences[i], 1);
        TRY(observe_packing(lab, point));
    }
    return STATUS_OK;
}

/* ---- updates ---- */

static void add_update(struct lab_point *point, struct train_stats *sum,
                       const struct train_stats *stats)
{
    point->grad_norm = fmax(point->grad_norm, stats->grad_norm);
    point->updates += stats->updated;
    train_stats_add(sum, stats);
}

static enum status update(struct lab *lab, const struct lab_run *run, uint32_t groups,
                          struct lab_point *point)
{
    const struct lab_samples *samples = lab->samples;
    struct trainer_loss objective = {.loss = run->loss,
                                     .lr = run->lr,
                                     .weight_decay = run->weight_decay,
                                     .grad_clip = run->grad_clip};
    objective.loss.aux_coefficient *= run->scale;
    lab->settings.optim.eps = run->eps;
    lab->settings.optim.beta2 = run->beta2;
    struct train_stats sum;
    train_stats_init(&sum);
    memset(samples->current, 1, (size_t)samples->capacity * samples->response_max);
    for (uint32_t m = 0; m < run->minibatches; m++) {
        uint32_t first = groups * m / run->minibatches, last = groups * (m + 1) / run->minibatches;
        if (first == last)
            continue;
        struct train_sequence *sequences = samples->sequences + (size_t)first * samples->group;
        uint32_t count = (last - first) * samples->group;
        for (uint32_t i = 0; point->updates == 0 && i < count; i++)
            sequences[i].current = samples->current;
        if (run->observe)
            TRY(observe(lab, sequences, count, point));
        struct train_stats stats;
        TRY(trainer_update(&lab->trainer, sequences, count, &objective, &stats));
        add_update(point, &sum, &stats);
    }
    double tokens = sum.tokens > 0 ? (double)sum.tokens : 1;
    point->groups = groups;
    point->entropy = sum.entropy_sum / tokens;
    point->clipped = (double)sum.clipped / tokens;
    point->ratio_max = sum.tokens > 0 ? sum.ratio_max : 1;
    point->mismatch = sum.mismatch_max;
    return STATUS_OK;
}

enum status lab_batch(struct lab *lab, const struct lab_run *run, struct lab_point *point)
{
    *point = (struct lab_point){0};
    struct lab_generation generation = {.first_group =
                                            (uint64_t)lab->batches * lab->config.prompts + 1,
                                        .groups = lab->config.prompts,
                                        .group = lab->config.group,
                                        .temperature = 1,
                                        .guard_probability = 0.99F};
    lab->batches++;
    TRY(lab_generate(lab, &generation));
    add_generated(lab->samples, point);
    uint32_t groups = 0;
    TRY(make_sequences(lab, run, &generation, &groups));
    return update(lab, run, groups, point);
}
