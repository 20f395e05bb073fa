/* learner/trainer_apply.c - the end of an update: gradients of all ranks summed, measured and judged, then AdamW. */
#include "learner/trainer.h"

#include "core/log.h"
#include "core/memory.h"
#include "learner/trainer_state.h"

#include <math.h>

/* What each rank knows of an update after its backward pass. */
struct rank_result {
    struct train_stats stats;
    double squares;          /* of its shard of the summed gradient */
    double state_squares[3]; /* of its shard of master, m and v */
};

/* Sums over ranks in rank order: the same on every rank. */
static enum status combine_counts(struct trainer *trainer)
{
    int ranks = trainer->ranks->wire.count;
    struct token_counts *all = memory_array((size_t)ranks, sizeof *all);
    if (all == NULL)
        return FAIL(STATUS_NO_MEMORY, "token counts of %d ranks", ranks);
    enum status status = rank_wire_gather(&trainer->ranks->wire, trainer->counts, sizeof *all, all);
    *trainer->counts = all[0];
    for (int r = 1; status == STATUS_OK && r < ranks; r++)
        token_counts_merge(trainer->counts, &all[r]);
    memory_free(all);
    return status;
}

static enum status combine(struct trainer *trainer, const struct trainer_loss *objective,
                           struct rank_result *result)
{
    if (trainer->ranks == NULL)
        return STATUS_OK;
    if (objective->span > 0)
        TRY(combine_counts(trainer));
    struct rank_result all[RANKS_MAX];
    TRY(rank_wire_gather(&trainer->ranks->wire, result, sizeof *result, all));
    *result = all[0];
    for (int r = 1; r < trainer->ranks->wire.count; r++) {
        train_stats_add(&result->stats, &all[r].stats);
        result->squares += all[r].squares;
        for (int i = 0; i < 3; i++)
            result->state_squares[i] += all[r].state_squares[i];
    }
    return STATUS_OK;
}

/* Elements [first, first + count) of both are in the shard; second planes of its part are made and all parts shared. */
static enum status share_weights(struct trainer *trainer)
{
    struct model_plane planes[MODEL_PLANES_MAX];
    const struct op_table *ops = trainer->ops;
    int64_t elements = model_parameters(trainer->model)->elements, item = ops->weight_bytes;
    char *flat = trainer->weights.flat;
    const struct shard *own = &trainer->shard;
    int count = model_planes(trainer->model, planes);
    TRY(ranks_share_parts(trainer->ranks, flat, 0, 0, elements, elements, item));
    for (int i = 0; i < count; i++) {
        const struct model_plane *plane = &planes[i];
        int64_t begin = plane->offset > own->first ? plane->offset : own->first;
        int64_t end = plane->offset + plane->count;
        end = end < own->first + own->count ? end : own->first + own->count;
        struct op_split split = {.count = end - begin,
                                 .x = trainer->master + (begin - own->first),
                                 .mid = flat + (plane->mid + begin - plane->offset) * item};
        if (begin < end)
            TRY(ops->split(ops->context, &split));
        TRY(ranks_share_parts(trainer->ranks, flat, plane->mid * item, plane->offset, plane->count,
                              elements, item));
    }
    TRY(model_weights_repack(trainer->model, &trainer->weights));
    return ranks_same(trainer->ranks, trainer->weights.digest);
}

static enum status step(struct trainer *trainer, const struct trainer_loss *objective, double scale)
{
    const struct op_table *ops = trainer->ops;
    const struct optim_settings *optim = &trainer->settings->optim;
    const struct shard *shard = &trainer->shard;
    bool own = objective->eps > 0;
    struct op_adamw adamw = {
        .count = shard->count,
        .update = (int64_t)trainer->updates + 1,
        .lr = objective->lr,
        .beta1 = own ? objective->beta1 : optim->beta1,
        .beta2 = own ? objective->beta2 : optim->beta2,
        .eps = own ? objective->eps : optim->eps,
        .weight_decay = objective->weight_decay,
        .grad_scale = scale,
        .parameter = trainer->master,
        .m = trainer->m,
        .v = trainer->v,
        .grad = trainer->grads + shard->first,
        .copy = (char *)trainer->weights.flat + shard->first * ops->weight_bytes,
    };
    struct gradient_stats *statistics = trainer->statistics;
    if (statistics != NULL)
        TRY(gradient_stats_before(statistics, ops, trainer->grads, trainer->master,
                                  trainer->updates + 1));
    if (shard->count > 0)
        TRY(ops->adamw(ops->context, &adamw));
    if (statistics != NULL)
        TRY(gradient_stats_after(statistics, ops, trainer->master, trainer->ranks,
                                 trainer->updates + 1));
    trainer->updates++;
    if (trainer->ranks != NULL)
        return share_weights(trainer);
    return model_weights_round(trainer->model, &trainer->weights, trainer->master, true);
}

/* The sum of squares of `count` values on the device; values that are not finite are added to *bad. */
static enum status measure(const struct trainer *trainer, const float *values, double *squares,
                           int64_t *bad)
{
    int64_t non_finite = 0;
    struct op_grad_norm norm = {.count = trainer->shard.count,
                                .grad = values,
                                .sum_squares = squares,
                                .non_finite = &non_finite};
    TRY(trainer->ops->grad_norm(trainer->ops->context, &norm));
    *bad += non_finite;
    return STATUS_OK;
}

static enum status measure_all(struct trainer *trainer, struct rank_result *result)
{
    const float *state[3] = {trainer->master, trainer->m, trainer->v};
    struct train_stats *stats = &result->stats;
    TRY(measure(trainer, trainer->grads + trainer->shard.first, &result->squares,
                &stats->bad_gradients));
    for (int i = 0; i < 3; i++)
        TRY(measure(trainer, state[i], &result->state_squares[i], &stats->bad_state));
    return STATUS_OK;
}

static double clip_scale(const struct trainer_loss *objective, double norm)
{
    return objective->grad_clip > 0 && norm > objective->grad_clip ? objective->grad_clip / norm
                                                                   : 1;
}

static enum train_skip judge(const struct trainer *trainer, const struct trainer_loss *objective,
                             const struct rank_result *result)
{
    const struct optim_settings *optim = &trainer->settings->optim;
    const struct train_stats *stats = &result->stats;
    bool own = objective->eps > 0;
    return guard_judge(
        &(struct guard_case){.bad_logprobs = stats->bad_logprobs,
                             .bad_gradients = stats->bad_gradients,
                             .bad_state = stats->bad_state,
                             .loss = stats->loss,
                             .aux_loss = stats->aux_loss,
                             .gradient = result->squares,
                             .master = result->state_squares[0],
                             .m = result->state_squares[1],
                             .v = result->state_squares[2],
                             .grad_scale = clip_scale(objective, sqrt(result->squares)),
                             .lr = objective->lr,
                             .weight_decay = objective->weight_decay,
                             .beta1 = own ? objective->beta1 : optim->beta1,
                             .eps = own ? objective->eps : optim->eps});
}

/* Every rank has the same result, so all of them skip or none. */
enum status trainer_apply(struct trainer *trainer, const struct trainer_loss *objective,
                          struct train_stats *stats)
{
    struct rank_result result = {.stats = *stats};
    if (trainer->ranks != NULL)
        TRY(ranks_sum_shards(trainer->ranks, trainer->grads,
                             model_parameters(trainer->model)->elements));
    TRY(measure_all(trainer, &result));
    TRY(combine(trainer, objective, &result));
    *stats = result.stats;
    stats->grad_norm = sqrt(result.squares);
    stats->skip = judge(trainer, objective, &result);
    stats->non_finite = stats->skip != SKIP_NONE;
    if (stats->non_finite) {
        trainer->skipped++;
        LOG_ERROR("trainer", "update skipped: not finite",
                  "why=\"%s\" logprobs=%llu loss=%g gradients=%lld state=%lld norm=%g",
                  train_skip_text(stats->skip), (unsigned long long)stats->bad_logprobs,
                  stats->loss, (long long)stats->bad_gradients, (long long)stats->bad_state,
                  stats->grad_norm);
        return STATUS_OK;
    }
    stats->updates = 1;
    /* Every token clipped: the momentum would move on its own, as in has_signal. */
    if (result.squares == 0) {
        trainer->skipped++;
        return STATUS_OK;
    }
    TRY(step(trainer, objective, clip_scale(objective, stats->grad_norm)));
    stats->updated = true;
    return STATUS_OK;
}
