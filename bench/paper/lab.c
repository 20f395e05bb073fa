#include "bench/paper/lab.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/paper/lab_state.h"
#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"

enum { MICROBATCH_TOKENS = 2048, LOOP_TOKENS = 96 };

struct lab_config lab_defaults(const char *task)
{
    return (struct lab_config){.task = task,
                               .device = "cpu",
                               .folder = "/tmp/weir-lab",
                               .seed = 1,
                               .hidden = 48,
                               .layers = 2,
                               .prompts = 32,
                               .group = 16,
                               .response_max = 12,
                               .warm_updates = 600,
                               .warm_batch = 64,
                               .warm_lr = 3e-3,
                               .rare = 0.01,
                               .score_prompts = 256};
}

struct lab_config lab_config_of(const struct run_options *options, const char *task,
                                char folder[LAB_FOLDER_MAX])
{
    struct lab_config config = lab_defaults(task);
    snprintf(folder, LAB_FOLDER_MAX, "/tmp/weir-lab-%d", (int)getpid());
    config.folder = folder;
    config.device = options->device;
    config.hidden = options->hidden > 0 ? options->hidden : config.hidden;
    config.layers = options->layers > 0 ? options->layers : config.layers;
    return config;
}

struct lab_run lab_run_defaults(const struct settings *settings)
{
    return (struct lab_run){.loss = settings->loss,
                            .lr = 1e-3,
                            .grad_clip = settings->optim.grad_clip,
                            .eps = settings->optim.eps,
                            .beta2 = settings->optim.beta2,
                            .scale = 1,
                            .minibatches = 16};
}

/* ---- model ---- */

static enum status write_config(const struct lab_config *config, const char *path)
{
    struct buffer json;
    buffer_init(&json, 0);
    enum status status;
    TRY_GOTO(out, buffer_text(&json, "{\"architectures\": [\"MiniMaxM1ForCausalLM\"], "
                                     "\"model_type\": \"minimax_m1\", \"attn_type_list\": ["));
    for (uint32_t l = 0; l < config->layers; l++)
        TRY_GOTO(out, buffer_printf(&json, "%s%u", l ? ", " : "", l % 2));
    TRY_GOTO(out, buffer_printf(
                      &json,
                      "], \"vocab_size\": %d, \"hidden_size\": %u, \"intermediate_size\": %u, "
                      "\"num_hidden_layers\": %u, \"num_attention_heads\": 4, "
                      "\"num_key_value_heads\": 2, \"head_dim\": 16, \"rotary_dim\": 16, "
                      "\"rope_theta\": 1000.0, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", "
                      "\"num_local_experts\": 4, \"num_experts_per_tok\": 2, \"postnorm\": true, "
                      "\"tie_word_embeddings\": false, \"max_position_embeddings\": 8192, "
                      "\"initializer_range\": 0.1, \"bos_token_id\": null, \"eos_token_id\": %d, ",
                      TASK_TOKENS, config->hidden, config->hidden, config->layers, TOKEN_END));
    static const char *const parts[] = {"full_attention", "linear_attention", "mlp"};
    for (int i = 0; i < 3; i++)
        TRY_GOTO(out, buffer_printf(&json,
                                    "\"layernorm_%s_alpha\": 1.4142135623730951, "
                                    "\"layernorm_%s_beta\": 1.0%s",
                                    parts[i], parts[i], i < 2 ? ", " : "}"));
    status = file_replace(path, json.bytes, json.size);
out:
    buffer_free(&json);
    return status;
}

static enum status load_settings(struct lab *lab)
{
    char overrides[3][96];
    snprintf(overrides[0], sizeof overrides[0], "run.seed=%" PRIu64, lab->config.seed);
    snprintf(overrides[1], sizeof overrides[1], "run.device=%s", lab->config.device);
    snprintf(overrides[2], sizeof overrides[2], "learner.microbatch_tokens=%d", MICROBATCH_TOKENS);
    const char *const all[] = {overrides[0],    overrides[1],     overrides[2],
                               "run.threads=1", "model.path=lab", "model.lightning_chunk=16"};
    struct config_input input = {.overrides = all, .override_count = sizeof all / sizeof all[0]};
    TRY(config_load(&lab->source, settings_sections, settings_section_count, &input,
                    &lab->settings));
    return STATUS_OK;
}

static enum status make_folder(struct lab *lab, char model[FILE_PATH_MAX])
{
    char config[FILE_PATH_MAX];
    TRY(file_remove_tree(lab->config.folder));
    TRY(file_make_dirs(lab->config.folder));
    TRY(file_path(config, "%s/config.json", lab->config.folder));
    TRY(file_path(model, "%s/model", lab->config.folder));
    TRY(write_config(&lab->config, config));
    return model_folder_init(config, model, lab->config.seed, ST_F32, NULL);
}

/* ---- warm start ---- */

/* One sequence of the warm start. Half are worked out, but only `rare` of the trained opening words is the rare one:
 * the others are masked, so that the work is learned well and its opening stays improbable. */
static uint32_t warm_sequence(const struct lab *lab, struct rng *rng, struct task_problem *problem,
                              uint32_t *response, float *mask)
{
    const struct lab_config *config = &lab->config;
    uint32_t most = config->response_max < LOOP_TOKENS ? config->response_max : LOOP_TOKENS;
    do
        task_draw(lab->task, rng, problem);
    while (lab_held_out(problem));
    enum task_route route = ROUTE_WORK;
    bool masked = false;
    if (lab->task->fork) {
        route = rng_below(rng, 2) ? ROUTE_WORK : ROUTE_GUESS;
        masked = route == ROUTE_WORK && rng_uniform(rng) > config->rare / (1 - config->rare);
    }
    if (problem->prompt[0] == 0 && rng_uniform(rng) < config->loop_share)
        route = ROUTE_LOOP;
    uint32_t count = task_solve(lab->task, problem, route, rng, most, response);
    for (uint32_t t = 0; t < count; t++)
        mask[t] = t == 0 && masked ? 0.0F : 1.0F;
    return count;
}

/* Linear decay to a tenth. */
static double warm_rate(const struct lab_config *config, uint32_t update)
{
    return config->warm_lr * (1 - 0.9 * update / config->warm_updates);
}

static enum status warm_up(struct lab *lab)
{
    const struct lab_config *config = &lab->config;
    struct lab_samples *samples = lab->samples;
    struct trainer_loss objective = {.loss = lab->settings.loss, .grad_clip = 1};
    objective.loss.kind = LOSS_SFT;
    objective.loss.normaliser = NORMALISER_BATCH;
    struct rng rng;
    rng_init(&rng, config->seed, 0, RNG_TASK);
    for (uint32_t u = 0; u < config->warm_updates; u++) {
        for (uint32_t i = 0; i < config->warm_batch; i++) {
            size_t at = (size_t)i * samples->response_max;
            struct task_problem *problem = &samples->problem[i];
            uint32_t count =
                warm_sequence(lab, &rng, problem, samples->tokens + at, samples->mask + at);
            samples->sequences[i] = (struct train_sequence){.prompt_ids = problem->prompt,
                                                            .prompt_count = problem->count,
                                                            .response_ids = samples->tokens + at,
                                                            .response_count = count,
                                                            .mask = samples->mask + at,
                                                            .advantage = 1,
                                                            .group = i,
                                                            .temperature = 1};
        }
        struct train_stats stats;
        objective.lr = warm_rate(config, u);
        TRY(trainer_update(&lab->trainer, samples->sequences, config->warm_batch, &objective,
                           &stats));
        lab->warm_loss = stats.loss;
    }
    for (size_t t = 0; t < (size_t)samples->capacity * samples->response_max; t++)
        samples->mask[t] = 1;
    return trainer_read(&lab->trainer, ARRAY_MASTER, lab->warm);
}

/* ---- life ---- */

static enum status create(struct lab *lab)
{
    const struct lab_config *config = &lab->config;
    char model[FILE_PATH_MAX];
    lab->task = task_find(config->task);
    if (lab->task == NULL)
        return FAIL(STATUS_INVALID, "no task \"%s\"; there are: %s", config->task, task_names());
    if (config->response_max > TASK_RESPONSE_MAX || config->response_max < lab->task->confident)
        return FAIL(STATUS_INVALID, "task %s: %u response tokens; %u to %d will do", config->task,
                    config->response_max, lab->task->confident, TASK_RESPONSE_MAX);
    TRY(load_settings(lab));
    TRY(make_folder(lab, model));
    int64_t longest = TASK_PROMPT_MAX + config->response_max;
    TRY(trainer_create(&lab->trainer, &lab->settings, model, longest));
    TRY(lab_samples_create(lab));
    size_t elements = (size_t)model_parameters(lab->trainer.model)->elements;
    lab->warm = memory_array(elements, sizeof(float));
    lab->work = memory_array(elements, sizeof(float));
    if (lab->warm == NULL || lab->work == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu parameters", elements);
    TRY(warm_up(lab));
    return lab_reset(lab);
}

enum status lab_create(struct lab *lab, const struct lab_config *config)
{
    *lab = (struct lab){.config = *config};
    enum status status = create(lab);
    if (status != STATUS_OK)
        lab_destroy(lab);
    return status;
}

void lab_destroy(struct lab *lab)
{
    lab_samples_destroy(lab);
    if (lab->trainer.settings != NULL)
        trainer_destroy(&lab->trainer);
    memory_free(lab->warm);
    memory_free(lab->work);
    config_destroy(&lab->source);
    if (lab->config.folder != NULL && file_remove_tree(lab->config.folder) != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    *lab = (struct lab){0};
}

enum status lab_reset(struct lab *lab)
{
    struct trainer *trainer = &lab->trainer;
    size_t elements = (size_t)model_parameters(trainer->model)->elements;
    memset(lab->work, 0, elements * sizeof(float));
    TRY(trainer_write(trainer, ARRAY_MASTER, lab->warm));
    TRY(trainer_write(trainer, ARRAY_M, lab->work));
    TRY(trainer_write(trainer, ARRAY_V, lab->work));
    trainer->updates = trainer->skipped = 0;
    lab->batches = 0;
    return trainer_refresh(trainer, 0);
}

enum status lab_parameters(struct lab *lab, const float **parameters, int64_t *count)
{
    TRY(trainer_read(&lab->trainer, ARRAY_MASTER, lab->work));
    *parameters = lab->work;
    *count = model_parameters(lab->trainer.model)->elements;
    return STATUS_OK;
}
