#include "learner/trainer.h"

#include "core/checksum.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/schedule.h"
#include "learner/trainer_state.h"
#include "model/folder.h"

#include <string.h>

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
    trainer->counts = memory_alloc(sizeof *trainer->counts);
    if (trainer->counts == NULL)
        return FAIL(STATUS_NO_MEMORY, "token counts");
    size_t rows = (size_t)trainer->rows_max;
    TRY(packing_create(&scratch->packing, trainer->rows_max, trainer->slots));
    scratch->logprob = memory_array(rows, sizeof(float));
    scratch->entropy = memory_array(rows, sizeof(float));
    scratch->dlogprob = memory_array(rows, sizeof(float));
    scratch->ratio = memory_array(rows, sizeof(float));
    scratch->reference = memory_array(rows, sizeof(float));
    scratch->dentropy = memory_array(rows, sizeof(float));
    scratch->weighted = memory_array(rows, sizeof(float));
    scratch->clipped = memory_array(rows, 1);
    if (!scratch->logprob || !scratch->entropy || !scratch->dlogprob || !scratch->ratio ||
        !scratch->reference || !scratch->dentropy || !scratch->weighted || !scratch->clipped)
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

/* Weights of the model the run starts with, wherever the trainer's own come from. */
static enum status load_reference(struct trainer *trainer)
{
    if (!schedule_needs_reference(trainer->settings))
        return STATUS_OK;
    TRY(model_weights_create(trainer->model, &trainer->reference));
    return model_weights_load_folder(trainer->model, &trainer->reference,
                                     trainer->settings->model.path);
}

/* f32 master from the folder, the forward copy from the master: on a bf16 backend the copy is rounded,
 * the master is not. The gradient buffer holds all parameters for the moment. */
static enum status load_parameters(struct trainer *trainer, const char *folder)
{
    const struct parameter_table *table = model_parameters(trainer->model);
    const struct op_table *ops = trainer->ops;
    TRY(model_folder_load_device(folder, &trainer->shape, table, ops, trainer->grads));
    TRY(model_weights_round(trainer->model, &trainer->weights, trainer->grads, false));
    TRY(ops->memory_copy(ops->context, trainer->master, trainer->grads + trainer->shard.first,
                         (size_t)trainer->shard.count * sizeof(float)));
    return ops->finish(ops->context);
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
    TRY(create_device(trainer->ops, elements * item, &trainer->grads));
    if (trainer->settings->learner.statistics_every == 0)
        return STATUS_OK;
    return gradient_stats_create(&trainer->statistics, model_parameters(trainer->model),
                                 &trainer->shape, &trainer->shard,
                                 trainer->settings->learner.statistics_every);
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
    TRY(load_reference(trainer));
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
    memory_free(trainer->counts);
    if (scratch != NULL) {
        packing_destroy(&scratch->packing);
        memory_free(scratch->logprob);
        memory_free(scratch->entropy);
        memory_free(scratch->dlogprob);
        memory_free(scratch->ratio);
        memory_free(scratch->reference);
        memory_free(scratch->dentropy);
        memory_free(scratch->weighted);
        memory_free(scratch->clipped);
        destroy_device(trainer->ops, &scratch->device_floats);
        destroy_device(trainer->ops, &scratch->device_clipped);
        destroy_device(trainer->ops, &scratch->device_starts);
        memory_free(scratch);
    }
    gradient_stats_destroy(&trainer->statistics);
    if (trainer->ops != NULL) {
        destroy_device(trainer->ops, &trainer->master);
        destroy_device(trainer->ops, &trainer->m);
        destroy_device(trainer->ops, &trainer->v);
        destroy_device(trainer->ops, &trainer->grads);
    }
    if (trainer->model != NULL) {
        model_weights_destroy(trainer->model, &trainer->weights);
        model_weights_destroy(trainer->model, &trainer->reference);
    }
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
    if (schedule_needs_reference(settings))
        plan_add(plan, "weights of the start model (KL)", flat + packed, "loss.kl_coefficient=0");
    plan_add(plan, "weights being sent, two buffers", 2 * flat, NULL);
    plan_add(plan, "keys, values and states",
             model_cache_bytes(shape, ops, options.lightning_chunk, slots, pages),
             "learner.microbatch_tokens");
    plan_add(plan, "tables", plan_tables_bytes(shape, rows), NULL);
    plan_add(plan, "kernels' own", plan_scratch_bytes(shape, ops, rows, true), NULL);
    return STATUS_OK;
}
