/* learner/trainer_update.c - one update: a minibatch in micro-batches, whose gradients add up. */
#include "learner/trainer.h"

#include "core/memory.h"
#include "learner/follower.h"
#include "learner/losses.h"
#include "learner/normaliser.h"
#include "learner/token_results.h"
#include "learner/trainer_state.h"

#include <math.h>

/* ---- figures ---- */

void train_stats_init(struct train_stats *stats)
{
    *stats = (struct train_stats){.ratio_min = INFINITY, .ratio_max = -INFINITY};
}

void train_stats_add(struct train_stats *sum, const struct train_stats *part)
{
    sum->tokens += part->tokens;
    sum->sequences += part->sequences;
    sum->clipped += part->clipped;
    sum->loss += part->loss;
    sum->aux_loss += part->aux_loss;
    sum->grad_norm += part->grad_norm;
    sum->updates += part->updates;
    sum->entropy_sum += part->entropy_sum;
    sum->ratio_sum += part->ratio_sum;
    sum->ratio_sq_sum += part->ratio_sq_sum;
    sum->ratio_min = fmin(sum->ratio_min, part->ratio_min);
    sum->ratio_max = fmax(sum->ratio_max, part->ratio_max);
    sum->logprob_sum += part->logprob_sum;
    sum->k3_sum += part->k3_sum;
    sum->abs_diff_sum += part->abs_diff_sum;
    sum->kl_sum += part->kl_sum;
    sum->rollout_weight_sum += part->rollout_weight_sum;
    sum->pa += part->pa;
    sum->pb += part->pb;
    sum->paa += part->paa;
    sum->pbb += part->pbb;
    sum->pab += part->pab;
    sum->current_tokens += part->current_tokens;
    sum->mismatch_max = fmax(sum->mismatch_max, part->mismatch_max);
    sum->updated = sum->updated || part->updated;
    sum->non_finite = sum->non_finite || part->non_finite;
    sum->skip = sum->skip != SKIP_NONE ? sum->skip : part->skip;
    sum->bad_logprobs += part->bad_logprobs;
    sum->bad_gradients += part->bad_gradients;
    sum->bad_state += part->bad_state;
}

/* ---- one update ---- */

/* Returns exp of both logprobs, which the counts of the token need, too. */
static struct counted_token add_token(struct train_stats *stats, float logprob, float streamed,
                                      float entropy, float ratio, bool clipped)
{
    double difference = (double)logprob - (double)streamed, p = exp((double)logprob),
           q = exp((double)streamed);
    stats->tokens++;
    stats->clipped += clipped;
    stats->entropy_sum += entropy;
    stats->logprob_sum += logprob;
    stats->ratio_sum += ratio;
    stats->ratio_sq_sum += (double)ratio * ratio;
    stats->ratio_min = fmin(stats->ratio_min, ratio);
    stats->ratio_max = fmax(stats->ratio_max, ratio);
    stats->k3_sum += exp(difference) - 1 - difference;
    stats->abs_diff_sum += fabs(p - q);
    stats->pa += p;
    stats->pb += q;
    stats->paa += p * p;
    stats->pbb += q * q;
    stats->pab += p * q;
    return (struct counted_token){.probability = p,
                                  .streamed = q,
                                  .logprob = (double)logprob,
                                  .ratio = (double)ratio,
                                  .clipped = clipped};
}

/* Trained token i of the micro-batch, `index` of its response. span 0: it is not counted. */
static void add_row(const struct trainer *trainer, int32_t i, uint32_t index, uint32_t span,
                    struct train_stats *stats)
{
    const struct trainer_scratch *scratch = trainer->scratch;
    const struct packing *packing = &scratch->packing;
    stats->bad_logprobs += isfinite(scratch->logprob[i]) ? 0 : 1;
    struct counted_token token =
        add_token(stats, scratch->logprob[i], packing->logprob_streamed[i], scratch->entropy[i],
                  scratch->ratio[i], scratch->clipped[i] != 0);
    if (span > 0) {
        token.advantage = (double)packing->advantage[i];
        token.index = index;
        token.span = span;
        token_counts_add(trainer->counts, &token);
    }
    if (!packing->current[i])
        return;
    stats->current_tokens++;
    stats->mismatch_max = fmax(stats->mismatch_max, fabs((double)scratch->logprob[i] -
                                                         (double)packing->logprob_streamed[i]));
}

static void add_stats(const struct trainer *trainer, uint32_t span, struct train_stats *stats)
{
    const struct packing *packing = &trainer->scratch->packing;
    for (int32_t s = 0; s < packing->sequences; s++)
        for (int32_t i = packing->starts[s]; i < packing->starts[s + 1]; i++)
            if (packing->mask[i] != 0)
                add_row(trainer, i, (uint32_t)(i - packing->starts[s]), span, stats);
}

/* The scale that the op gets: w, with the rollout weight where there is one. */
static const float *op_scale(struct trainer_scratch *scratch, const struct loss_settings *loss,
                             struct train_stats *stats)
{
    const struct packing *packing = &scratch->packing;
    if (!(loss->rollout_weight_max > 0))
        return packing->scale;
    for (int32_t i = 0; i < packing->heads; i++) {
        scratch->weighted[i] = packing->scale[i];
        if (packing->mask[i] == 0)
            continue;
        double weight = losses_rollout_weight(loss, (double)packing->logprob_old[i],
                                              (double)packing->logprob_streamed[i]);
        scratch->weighted[i] = (float)((double)packing->scale[i] * weight);
        stats->rollout_weight_sum += weight;
    }
    return scratch->weighted;
}

static bool has_terms(const struct loss_settings *loss)
{
    return loss->kl_coefficient > 0 || loss->entropy_coefficient > 0;
}

/* KL and entropy of every trained token, on top of what the op said; without them nothing is touched. */
static void add_terms(struct trainer_scratch *scratch, const struct loss_settings *loss,
                      double *sum, struct train_stats *stats)
{
    const struct packing *packing = &scratch->packing;
    for (int32_t i = 0; has_terms(loss) && i < packing->heads; i++) {
        double dlogprob = (double)scratch->dlogprob[i], dentropy = 0;
        if (packing->mask[i] != 0) {
            double logprob = (double)scratch->logprob[i],
                   reference = loss->kl_coefficient > 0 ? (double)scratch->reference[i] : 0;
            *sum += losses_terms(loss, (double)packing->scale[i], logprob, reference,
                                 (double)scratch->entropy[i], &dlogprob, &dentropy);
            if (loss->kl_coefficient > 0)
                stats->kl_sum += expm1(reference - logprob) - (reference - logprob);
        }
        scratch->dlogprob[i] = (float)dlogprob;
        scratch->dentropy[i] = (float)dentropy;
    }
}

static enum status policy_loss(struct trainer *trainer, const struct trainer_loss *objective,
                               double *loss, struct train_stats *stats)
{
    const struct op_table *ops = trainer->ops;
    struct trainer_scratch *scratch = trainer->scratch;
    const struct packing *packing = &scratch->packing;
    size_t bytes = (size_t)packing->heads * sizeof(float);
    float *device[7];
    for (int i = 0; i < 7; i++)
        device[i] = scratch->device_floats + (int64_t)i * trainer->rows_max;
    const float *inputs[5] = {scratch->logprob, packing->logprob_old, packing->advantage,
                              packing->mask, op_scale(scratch, &objective->loss, stats)};
    for (int i = 0; i < 5; i++)
        TRY(ops->memory_write(ops->context, device[i], inputs[i], bytes));
    TRY(ops->memory_write(ops->context, scratch->device_starts, packing->starts,
                          (size_t)(packing->sequences + 1) * sizeof(int32_t)));
    struct op_policy_loss args = {
        .rows = packing->heads,
        .sequences = packing->sequences,
        .sequence_start = scratch->device_starts,
        .logprob = device[0],
        .logprob_old = device[1],
        .advantage = device[2],
        .mask = device[3],
        .scale = device[4],
        .ratio = device[5],
        .dlogprob = device[6],
        .clipped = scratch->device_clipped,
        .loss = loss,
    };
    losses_fill(&objective->loss, &args);
    TRY(ops->policy_loss(ops->context, &args));
    TRY(ops->memory_read(ops->context, device[5], scratch->ratio, bytes));
    TRY(ops->memory_read(ops->context, device[6], scratch->dlogprob, bytes));
    return ops->memory_read(ops->context, scratch->device_clipped, scratch->clipped,
                            (size_t)packing->heads);
}

/* Forward, loss and backward of what is in the packing; gradients add up. */
static enum status micro_batch(struct trainer *trainer, const struct trainer_loss *objective,
                               double aux_share, struct train_stats *stats)
{
    struct trainer_scratch *scratch = trainer->scratch;
    const struct packing *packing = &scratch->packing;
    act *hidden = NULL;
    if (objective->loss.kl_coefficient > 0)
        TRY(trainer_forward(trainer, &trainer->reference, false, scratch->reference, NULL,
                            &hidden));
    TRY(trainer_forward(trainer, &trainer->weights, true, scratch->logprob, scratch->entropy,
                        &hidden));
    double loss = 0, aux = 0;
    TRY(policy_loss(trainer, objective, &loss, stats));
    add_terms(scratch, &objective->loss, &loss, stats);
    add_stats(trainer, objective->span, stats);
    stats->loss += loss;
    struct model_backward backward = {
        .rows = packing->heads,
        .row_index = packing->row_index,
        .temperature = packing->temperature,
        .target = packing->target,
        .dlogprob = scratch->dlogprob,
        .dentropy = objective->loss.entropy_coefficient > 0 ? scratch->dentropy : NULL,
        .aux_coefficient = objective->loss.aux_coefficient * aux_share,
        .aux_loss = &aux};
    TRY(model_backward(trainer->model, &trainer->weights, hidden, &backward, trainer->grads));
    stats->aux_loss += aux * aux_share;
    for (int32_t s = 0; s < packing->sequences; s++)
        model_cache_close(trainer->cache, s);
    return STATUS_OK;
}

/* Without one token that pulls (all advantages 0, and neither KL nor entropy), AdamW with eps 1e-15 would still move
 * by its momentum at full rate: such updates are skipped and counted. */
static bool has_signal(const struct train_sequence *sequences, uint32_t count,
                       const struct loss_settings *loss)
{
    for (uint32_t i = 0; i < count; i++) {
        bool pulls = sequences[i].advantage != 0 || has_terms(loss);
        for (uint32_t t = 0; pulls && t < sequences[i].response_count; t++)
            if (sequences[i].mask[t] != 0)
                return true;
    }
    return false;
}

static int64_t trained_tokens(const struct train_sequence *sequence)
{
    int64_t tokens = 0;
    for (uint32_t t = 0; t < sequence->response_count; t++)
        tokens += sequence->mask[t] != 0;
    return tokens;
}

/* w of each sequence's tokens, from the counts of the whole minibatch. scale [count], tokens [count] scratch. */
static void sequence_scales(const struct settings *settings, const struct loss_settings *loss,
                            const struct train_sequence *sequences, uint32_t count, int64_t *tokens,
                            double *scale)
{
    struct normaliser minibatch = {.kind = (enum setting_normaliser)loss->normaliser,
                                   .constant = loss_normaliser_tokens(settings, loss),
                                   .lambda = loss->normaliser_lambda};
    for (uint32_t first = 0, last; first < count; first = last) {
        for (last = first; last < count && sequences[last].group == sequences[first].group; last++)
            tokens[last] = trained_tokens(&sequences[last]);
        int64_t group_tokens =
            normaliser_add_group(&minibatch, tokens + first, (int32_t)(last - first));
        for (uint32_t i = first; i < last; i++)
            scale[i] = (double)group_tokens; /* kept for the second pass */
    }
    for (uint32_t i = 0; i < count; i++)
        scale[i] = normaliser_scale(&minibatch, (int64_t)scale[i], tokens[i]);
}

static enum status accumulate(struct trainer *trainer, const struct train_sequence *sequences,
                              uint32_t count, const double *scale,
                              const struct trainer_loss *objective, struct train_stats *stats)
{
    struct packing *packing = &trainer->scratch->packing;
    uint32_t first = 0, last = 0;
    int64_t total_rows = trainer_share(trainer, sequences, count, &first, &last);
    stats->sequences = last - first;
    for (uint32_t i = first; i < last;) {
        uint32_t begin = i;
        TRY(trainer_pack(trainer, sequences, scale, last, &i));
        TRY(micro_batch(trainer, objective, (double)packing->rows / (double)total_rows, stats));
        token_results_take(trainer, sequences + begin, i - begin);
        if (trainer->between != NULL)
            TRY(trainer->between(trainer->between_self));
    }
    return STATUS_OK;
}

enum status trainer_update_share(struct trainer *trainer, const struct train_sequence *sequences,
                                 uint32_t count, const double *scale,
                                 const struct trainer_loss *objective, struct train_stats *stats)
{
    train_stats_init(stats);
    *trainer->counts = (struct token_counts){0};
    TRY(trainer->ops->memory_zero(trainer->ops->context, trainer->grads,
                                  (size_t)model_parameters(trainer->model)->elements *
                                      sizeof(float)));
    TRY(accumulate(trainer, sequences, count, scale, objective, stats));
    TRY(trainer_apply(trainer, objective, stats));
    return token_results_share(trainer, sequences, count);
}

enum status trainer_update(struct trainer *trainer, const struct train_sequence *sequences,
                           uint32_t count, const struct trainer_loss *objective,
                           struct train_stats *stats)
{
    train_stats_init(stats);
    stats->sequences = count;
    *trainer->counts = (struct token_counts){0};
    if (!has_signal(sequences, count, &objective->loss)) {
        trainer->skipped++;
        return STATUS_OK;
    }
    int64_t *tokens = memory_array(count, sizeof *tokens);
    double *scale = memory_array(count, sizeof *scale);
    enum status status =
        tokens != NULL && scale != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%u sequences", count);
    if (status == STATUS_OK)
        sequence_scales(trainer->settings, &objective->loss, sequences, count, tokens, scale);
    if (status == STATUS_OK && trainer->ranks != NULL)
        status = follower_send_update(&trainer->ranks->wire, sequences, count, scale, objective);
    if (status == STATUS_OK)
        status = trainer_update_share(trainer, sequences, count, scale, objective, stats);
    memory_free(tokens);
    memory_free(scale);
    return status;
}
