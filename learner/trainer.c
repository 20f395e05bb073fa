#include "learner/trainer.h"

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "learner/follower.h"
#include "learner/losses.h"
#include "learner/normaliser.h"
#include "learner/packing.h"
#include "model/folder.h"

#include <math.h>
#include <string.h>

/* Device and host arrays of one micro-batch, sized once. */
struct trainer_scratch {
    struct packing packing;
    float *logprob, *entropy, *dlogprob, *ratio; /* host [rows_max] */
    uint8_t *clipped;
    float
        *device_floats; /* [7 * rows_max]: logprob, old, advantage, mask, scale, ratio, dlogprob */
    void *device_clipped, *device_starts;
};

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

/* ---- create ---- */

static struct model_options options_of(const struct settings *settings, int32_t rows_max)
{
    return (struct model_options){.rows_max = rows_max,
                                  .lightning_chunk = (int32_t)settings->model.lightning_chunk,
                                  .lm_head = (enum model_head_precision)settings->model.lm_head,
                                  .train = true,
                                  .recompute = settings->learner.recompute == RECOMPUTE_LAYER};
}

static enum status create_device(const struct op_table *ops, int64_t bytes, void *out)
{
    void *memory = NULL;
    TRY(ops->memory_create(ops->context, (size_t)bytes, &memory));
    *(void **)out = memory;
    return STATUS_OK;
}

static void destroy_device(const struct op_table *ops, void *in)
{
    void **memory = in;
    if (*memory != NULL)
        ops->memory_destroy(ops->context, memory);
}

static enum status create_scratch(struct trainer *trainer)
{
    struct trainer_scratch *scratch = memory_alloc(sizeof *scratch);
    trainer->scratch = scratch;
    if (scratch == NULL)
        return FAIL(STATUS_NO_MEMORY, "trainer scratch");
    size_t rows = (size_t)trainer->rows_max;
    TRY(packing_create(&scratch->packing, trainer->rows_max, trainer->slots));
    scratch->logprob = memory_array(rows, sizeof(float));
    scratch->entropy = memory_array(rows, sizeof(float));
    scratch->dlogprob = memory_array(rows, sizeof(float));
    scratch->ratio = memory_array(rows, sizeof(float));
    scratch->clipped = memory_array(rows, 1);
    if (!scratch->logprob || !scratch->entropy || !scratch->dlogprob || !scratch->ratio ||
        !scratch->clipped)
        return FAIL(STATUS_NO_MEMORY, "%zu rows of scratch", rows);
    TRY(create_device(trainer->ops, (int64_t)rows * 7 * (int64_t)sizeof(float),
                      &scratch->device_floats));
    TRY(create_device(trainer->ops, (int64_t)rows, &scratch->device_clipped));
    return create_device(trainer->ops, (trainer->slots + 1) * (int64_t)sizeof(int32_t),
                         &scratch->device_starts);
}

/* Sequences of a micro-batch: few are shorter than 16 tokens, and each takes H D D floats of lightning state a layer,
 * so as many as 1 GiB holds, at least 8. */
static int32_t slots_of(const struct model_shape *shape, const struct op_table *ops,
                        const struct model_options *options)
{
    int64_t slots = options->rows_max / 16 + 1 < 256 ? options->rows_max / 16 + 1 : 256;
    int64_t states = model_cache_bytes(shape, ops, options->lightning_chunk, 1, 0);
    int64_t most = states > 0 ? (INT64_C(1) << 30) / states : slots;
    most = most < 8 ? 8 : most;
    return (int32_t)(slots < most ? slots : most);
}

static float *array_of(const struct trainer *trainer, enum trainer_array array)
{
    return array == ARRAY_MASTER ? trainer->master : array == ARRAY_M ? trainer->m : trainer->v;
}

enum status trainer_write(struct trainer *trainer, enum trainer_array array, const float *host)
{
    return trainer->ops->memory_write(trainer->ops->context, array_of(trainer, array),
                                      host + trainer->shard.first,
                                      (size_t)trainer->shard.count * sizeof *host);
}

enum status trainer_read(struct trainer *trainer, enum trainer_array array, float *host)
{
    TRY(trainer->ops->memory_read(trainer->ops->context, array_of(trainer, array),
                                  host + trainer->shard.first,
                                  (size_t)trainer->shard.count * sizeof *host));
    if (trainer->ranks == NULL)
        return STATUS_OK;
    return ranks_collect(trainer->ranks, (uint32_t)array, host,
                         model_parameters(trainer->model)->elements);
}

/* f32 master from the folder, the forward copy from the master: on a bf16 backend the copy is rounded,
 * the master is not. The gradient buffer holds all parameters for the moment. */
static enum status load_parameters(struct trainer *trainer, const char *folder)
{
    const struct parameter_table *table = model_parameters(trainer->model);
    float *flat = memory_array((size_t)table->elements, sizeof *flat);
    if (flat == NULL)
        return FAIL(STATUS_NO_MEMORY, "%lld parameters", (long long)table->elements);
    enum status status = model_folder_load(folder, &trainer->shape, table, flat);
    if (status == STATUS_OK)
        status = trainer->ops->memory_write(trainer->ops->context, trainer->grads, flat,
                                            (size_t)table->elements * sizeof *flat);
    if (status == STATUS_OK)
        status = model_weights_round(trainer->model, &trainer->weights, trainer->grads, false);
    if (status == STATUS_OK)
        status = trainer_write(trainer, ARRAY_MASTER, flat);
    memory_free(flat);
    return status;
}

enum status trainer_refresh(struct trainer *trainer, uint64_t version)
{
    /* With ranks the weights were made of the whole folder; a shard cannot make them. */
    if (trainer->ranks == NULL)
        TRY(model_weights_round(trainer->model, &trainer->weights, trainer->master, false));
    trainer->weights.version = version;
    return STATUS_OK;
}

enum status trainer_create(struct trainer *trainer, const struct settings *settings,
                           const char *folder, int64_t longest)
{
    return trainer_create_rank(trainer, settings, folder, longest, NULL);
}

static enum status create_state(struct trainer *trainer)
{
    int64_t elements = model_parameters(trainer->model)->elements;
    int64_t item = (int64_t)sizeof(float);
    trainer->shard = (struct shard){0, elements};
    if (trainer->ranks != NULL)
        trainer->shard =
            ranks_shard(elements, trainer->ranks->wire.count, trainer->ranks->wire.rank);
    TRY(create_device(trainer->ops, trainer->shard.count * item, &trainer->master));
    TRY(create_device(trainer->ops, trainer->shard.count * item, &trainer->m));
    TRY(create_device(trainer->ops, trainer->shard.count * item, &trainer->v));
    return create_device(trainer->ops, elements * item, &trainer->grads);
}

enum status trainer_create_rank(struct trainer *trainer, const struct settings *settings,
                                const char *folder, int64_t longest, struct ranks *ranks)
{
    int rank = ranks != NULL ? ranks->wire.rank : 0, count = ranks != NULL ? ranks->wire.count : 1;
    *trainer = (struct trainer){.settings = settings, .ranks = ranks};
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", folder));
    TRY(model_shape_load(&trainer->shape, path));
    settings_device(settings, settings->learner.device, (uint32_t)rank, trainer->device);
    TRY(op_table_create(&trainer->ops, trainer->device, (int32_t)settings->run.threads));
    int64_t rows = trainer_rows(settings, longest);
    if (rows > INT32_MAX)
        return FAIL(STATUS_LIMIT, "a micro-batch of %lld tokens", (long long)rows);
    trainer->rows_max = (int32_t)rows;
    struct model_options options = options_of(settings, trainer->rows_max);
    trainer->slots = slots_of(&trainer->shape, trainer->ops, &options);
    struct memory_plan plan = {0};
    TRY(trainer_plan(settings, &trainer->shape, trainer->ops, longest, count, &plan));
    TRY(plan_check(&plan, trainer->ops));
    TRY(model_create(&trainer->model, &trainer->shape, trainer->ops, &options));
    TRY(model_weights_create(trainer->model, &trainer->weights));
    int32_t pages = (int32_t)(rows / trainer->ops->kv_tile) + trainer->slots;
    TRY(model_cache_create(trainer->model, trainer->slots, pages, trainer->rows_max,
                           &trainer->cache));
    TRY(create_state(trainer));
    TRY(create_scratch(trainer));
    TRY(load_parameters(trainer, folder));
    return trainer_refresh(trainer, 0);
}

enum status trainer_join_ranks(struct trainer *trainer)
{
    char numerics[256];
    model_numerics(trainer->model, numerics, sizeof numerics);
    uint64_t fingerprint = hash64(numerics, strlen(numerics), model_layout_hash(trainer->model));
    return ranks_join(trainer->ranks, trainer->settings, trainer->ops, fingerprint);
}

void trainer_destroy(struct trainer *trainer)
{
    struct trainer_scratch *scratch = trainer->scratch;
    if (scratch != NULL) {
        packing_destroy(&scratch->packing);
        memory_free(scratch->logprob);
        memory_free(scratch->entropy);
        memory_free(scratch->dlogprob);
        memory_free(scratch->ratio);
        memory_free(scratch->clipped);
        destroy_device(trainer->ops, &scratch->device_floats);
        destroy_device(trainer->ops, &scratch->device_clipped);
        destroy_device(trainer->ops, &scratch->device_starts);
        memory_free(scratch);
    }
    if (trainer->ops != NULL) {
        destroy_device(trainer->ops, &trainer->master);
        destroy_device(trainer->ops, &trainer->m);
        destroy_device(trainer->ops, &trainer->v);
        destroy_device(trainer->ops, &trainer->grads);
    }
    if (trainer->model != NULL)
        model_weights_destroy(trainer->model, &trainer->weights);
    model_cache_destroy(&trainer->cache);
    model_destroy(&trainer->model);
    op_table_destroy(&trainer->ops);
    *trainer = (struct trainer){0};
}

int64_t trainer_rows(const struct settings *settings, int64_t longest)
{
    return settings->learner.microbatch_tokens > longest ? settings->learner.microbatch_tokens
                                                         : longest;
}

enum status trainer_plan(const struct settings *settings, const struct model_shape *shape,
                         const struct op_table *ops, int64_t longest, int64_t ranks,
                         struct memory_plan *plan)
{
    int64_t rows = trainer_rows(settings, longest), workspace = 0, flat = 0, packed = 0;
    struct model_options options = options_of(settings, (int32_t)rows);
    int32_t slots = slots_of(shape, ops, &options);
    int32_t pages = (int32_t)(rows / ops->kv_tile) + slots;
    TRY(model_workspace_bytes(shape, ops, &options, &workspace));
    TRY(plan_weights_bytes(shape, ops, options.lm_head, &flat, &packed));
    int64_t floats = 0;
    TRY(plan_parameters(shape, &floats));
    floats *= (int64_t)sizeof(float);
    plan->process = "learner";
    plan_add(plan, "activations of a micro-batch", workspace,
             options.recompute ? "learner.microbatch_tokens"
                               : "learner.recompute=layer or learner.microbatch_tokens");
    plan_add(plan, "master weights, AdamW m and v", 3 * floats / ranks, NULL);
    plan_add(plan, "gradients", floats, NULL);
    plan_add(plan, "weights that forward reads", flat + packed, NULL);
    plan_add(plan, "weights being sent, two buffers", 2 * flat, NULL);
    plan_add(plan, "keys, values and states",
             model_cache_bytes(shape, ops, options.lightning_chunk, slots, pages),
             "learner.microbatch_tokens");
    plan_add(plan, "tables", plan_tables_bytes(shape, rows), NULL);
    plan_add(plan, "kernels' own", plan_scratch_bytes(shape, ops, rows, true), NULL);
    return STATUS_OK;
}

/* ---- one update ---- */

static void add_token(struct train_stats *stats, float logprob, float old, float entropy,
                      float ratio, bool clipped)
{
    double difference = (double)logprob - (double)old, p = exp((double)logprob),
           q = exp((double)old);
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
}

static void add_stats(const struct trainer_scratch *scratch, struct train_stats *stats)
{
    const struct packing *packing = &scratch->packing;
    for (int32_t i = 0; i < packing->heads; i++) {
        if (packing->mask[i] == 0)
            continue;
        stats->bad_logprobs += isfinite(scratch->logprob[i]) ? 0 : 1;
        add_token(stats, scratch->logprob[i], packing->logprob_old[i], scratch->entropy[i],
                  scratch->ratio[i], scratch->clipped[i] != 0);
        if (!packing->current[i])
            continue;
        stats->current_tokens++;
        stats->mismatch_max = fmax(stats->mismatch_max, fabs((double)scratch->logprob[i] -
                                                             (double)packing->logprob_old[i]));
    }
}

static enum status policy_loss(struct trainer *trainer, const struct trainer_loss *objective,
                               double *loss)
{
    const struct op_table *ops = trainer->ops;
    struct trainer_scratch *scratch = trainer->scratch;
    const struct packing *packing = &scratch->packing;
    size_t bytes = (size_t)packing->heads * sizeof(float);
    float *device[7];
    for (int i = 0; i < 7; i++)
        device[i] = scratch->device_floats + (int64_t)i * trainer->rows_max;
    const float *inputs[5] = {scratch->logprob, packing->logprob_old, packing->advantage,
                              packing->mask, packing->scale};
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
    for (int32_t s = 0; s < packing->sequences; s++)
        TRY(model_cache_open(trainer->cache, s, packing->segments[s].count));
    struct model_batch batch = {.rows = packing->rows,
                                .ids = packing->ids,
                                .segments = packing->segments,
                                .segment_count = packing->sequences};
    act *hidden = NULL;
    TRY(model_forward(trainer->model, &trainer->weights, trainer->cache, &batch, true, &hidden));
    struct model_head head = {.rows = packing->heads,
                              .row_index = packing->row_index,
                              .temperature = packing->temperature,
                              .target = packing->target,
                              .logprob = scratch->logprob,
                              .entropy = scratch->entropy};
    TRY(model_head(trainer->model, &trainer->weights, hidden, &head));
    double loss = 0, aux = 0;
    TRY(policy_loss(trainer, objective, &loss));
    add_stats(scratch, stats);
    stats->loss += loss;
    struct model_backward backward = {.rows = packing->heads,
                                      .row_index = packing->row_index,
                                      .temperature = packing->temperature,
                                      .target = packing->target,
                                      .dlogprob = scratch->dlogprob,
                                      .aux_coefficient =
                                          objective->loss.aux_coefficient * aux_share,
                                      .aux_loss = &aux};
    TRY(model_backward(trainer->model, &trainer->weights, hidden, &backward, trainer->grads));
    stats->aux_loss += aux * aux_share;
    for (int32_t s = 0; s < packing->sequences; s++)
        model_cache_close(trainer->cache, s);
    return STATUS_OK;
}

/* What each rank knows of an update after its backward pass. */
struct rank_result {
    struct train_stats stats;
    double squares;          /* of its shard of the summed gradient */
    double state_squares[3]; /* of its shard of master, m and v */
};

/* Sums over ranks in rank order: the same on every rank. */
static enum status combine(struct trainer *trainer, struct rank_result *result)
{
    if (trainer->ranks == NULL)
        return STATUS_OK;
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
    struct op_adamw adamw = {
        .count = shard->count,
        .update = (int64_t)trainer->updates + 1,
        .lr = objective->lr,
        .beta1 = optim->beta1,
        .beta2 = optim->beta2,
        .eps = optim->eps,
        .weight_decay = objective->weight_decay,
        .grad_scale = scale,
        .parameter = trainer->master,
        .m = trainer->m,
        .v = trainer->v,
        .grad = trainer->grads + shard->first,
        .copy = (char *)trainer->weights.flat + shard->first * ops->weight_bytes,
    };
    if (shard->count > 0)
        TRY(ops->adamw(ops->context, &adamw));
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
                             .beta1 = optim->beta1,
                             .eps = optim->eps});
}

/* Every rank has the same result, so all of them skip or none. */
static enum status apply(struct trainer *trainer, const struct trainer_loss *objective,
                         struct train_stats *stats)
{
    struct rank_result result = {.stats = *stats};
    if (trainer->ranks != NULL)
        TRY(ranks_sum_shards(trainer->ranks, trainer->grads,
                             model_parameters(trainer->model)->elements));
    TRY(measure_all(trainer, &result));
    TRY(combine(trainer, &result));
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

/* Without one token that pulls (all advantages 0), AdamW with eps 1e-15 would still move by its momentum
 * at full rate: such updates are skipped and counted. */
static bool has_signal(const struct train_sequence *sequences, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t t = 0; sequences[i].advantage != 0 && t < sequences[i].response_count; t++)
            if (sequences[i].mask[t] != 0)
                return true;
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
static void sequence_scales(enum setting_normaliser kind, const struct train_sequence *sequences,
                            uint32_t count, int64_t *tokens, double *scale)
{
    struct normaliser minibatch = {.kind = kind};
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

static int64_t rows_of(const struct train_sequence *sequence)
{
    return (int64_t)sequence->prompt_count + sequence->response_count - 1;
}

/* Sequences [*first, *last) are this rank's: in order, cut where the rows before a sequence pass rank / count of all. */
static int64_t own_share(const struct trainer *trainer, const struct train_sequence *sequences,
                         uint32_t count, uint32_t *first, uint32_t *last)
{
    int64_t total = 0, before = 0;
    for (uint32_t i = 0; i < count; i++)
        total += rows_of(&sequences[i]);
    int rank = trainer->ranks != NULL ? trainer->ranks->wire.rank : 0;
    int ranks = trainer->ranks != NULL ? trainer->ranks->wire.count : 1;
    *first = *last = count;
    for (uint32_t i = 0; i < count; before += rows_of(&sequences[i++])) {
        int owner = (int)(before * ranks / total);
        if (owner >= rank && *first == count)
            *first = i;
        if (owner > rank && *last == count)
            *last = i;
    }
    return total;
}

static enum status accumulate(struct trainer *trainer, const struct train_sequence *sequences,
                              uint32_t count, const double *scale,
                              const struct trainer_loss *objective, struct train_stats *stats)
{
    struct packing *packing = &trainer->scratch->packing;
    uint32_t first = 0, last = 0;
    int64_t total_rows = own_share(trainer, sequences, count, &first, &last);
    stats->sequences = last - first;
    for (uint32_t i = first; i < last;) {
        packing_clear(packing);
        for (; i < last && packing_fits(packing, &sequences[i]); i++)
            packing_add(packing, &sequences[i], scale[i]);
        if (packing->sequences == 0)
            return FAIL(STATUS_LIMIT,
                        "a sequence of %u + %u tokens does not fit into %d rows; raise "
                        "data.prompt_tokens_max or "
                        "learner.microbatch_tokens",
                        sequences[i].prompt_count, sequences[i].response_count, trainer->rows_max);
        TRY(micro_batch(trainer, objective, (double)packing->rows / (double)total_rows, stats));
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
    TRY(trainer->ops->memory_zero(trainer->ops->context, trainer->grads,
                                  (size_t)model_parameters(trainer->model)->elements *
                                      sizeof(float)));
    TRY(accumulate(trainer, sequences, count, scale, objective, stats));
    return apply(trainer, objective, stats);
}

enum status trainer_update(struct trainer *trainer, const struct train_sequence *sequences,
                           uint32_t count, const struct trainer_loss *objective,
                           struct train_stats *stats)
{
    train_stats_init(stats);
    stats->sequences = count;
    if (!has_signal(sequences, count)) {
        trainer->skipped++;
        return STATUS_OK;
    }
    int64_t *tokens = memory_array(count, sizeof *tokens);
    double *scale = memory_array(count, sizeof *scale);
    enum status status =
        tokens != NULL && scale != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%u sequences", count);
    if (status == STATUS_OK)
        sequence_scales((enum setting_normaliser)objective->loss.normaliser, sequences, count,
                        tokens, scale);
    if (status == STATUS_OK && trainer->ranks != NULL)
        status = follower_send_update(&trainer->ranks->wire, sequences, count, scale, objective);
    if (status == STATUS_OK)
        status = trainer_update_share(trainer, sequences, count, scale, objective, stats);
    memory_free(tokens);
    memory_free(scale);
    return status;
}
