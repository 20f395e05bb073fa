/* tests/trainer_case.h - what the tests of learner/ share: small settings, a model folder, random minibatches. */
#ifndef TESTS_TRAINER_CASE_H
#define TESTS_TRAINER_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/file.h"
#include "core/rng.h"
#include "learner/trainer.h"
#include "model/folder.h"

#define CASE_CONFIG_M1    SOURCE_DIR "/tests/golden/model/minimax-m1-format/config.json"
#define CASE_CONFIG_QWEN2 SOURCE_DIR "/tests/golden/model/qwen2/config.json"

enum { CASE_SEQUENCES = 12, CASE_GROUP = 3, CASE_TOKENS = 24, CASE_VOCABULARY = 331 };

static inline struct settings case_settings(void)
{
    struct settings settings = {0};
    settings.run.keys = settings.store.endpoint = settings.weights.endpoint = "";
    settings.run.threads = 1;
    settings.run.seed = 5;
    settings.run.steps = 100;
    settings.model.lightning_chunk = 8;
    settings.learner.microbatch_tokens = 128;
    settings.learner.checkpoint_keep = 2;
    settings.learner.checkpoint_every = 2;
    settings.learner.plan_timeout_s = 20;
    settings.metrics.rollout_tokens = 1000;
    settings.metrics.rollout_steps = 3;
    settings.metrics.tensorboard = true;
    settings.data.prompt_tokens_max = CASE_TOKENS;
    settings.sampling.response_tokens_max = CASE_TOKENS;
    settings.loss.kind = LOSS_CISPO;
    settings.loss.weight_max = 2.0;
    settings.loss.normaliser = NORMALISER_PROMPT;
    settings.optim.lr = 1e-3;
    settings.optim.beta1 = 0.9;
    settings.optim.beta2 = 0.95;
    settings.optim.eps = 1e-15;
    settings.optim.grad_clip = 1.0;
    return settings;
}

static inline struct trainer_loss case_objective(const struct settings *settings)
{
    return (struct trainer_loss){.loss = settings->loss,
                                 .lr = settings->optim.lr,
                                 .weight_decay = settings->optim.weight_decay,
                                 .grad_clip = settings->optim.grad_clip};
}

/* An empty folder BUILD_DIR/<name>. */
static inline void case_folder(char folder[FILE_PATH_MAX], const char *name)
{
    assert_int_equal(file_path(folder, "%s/%s", BUILD_DIR, name), STATUS_OK);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
    assert_int_equal(file_make_dirs(folder), STATUS_OK);
}

/* folder/model, random weights. */
static inline void case_model(char model[FILE_PATH_MAX], const char *folder, const char *config)
{
    assert_int_equal(file_path(model, "%s/model", folder), STATUS_OK);
    assert_int_equal(file_remove_tree(model), STATUS_OK);
    if (model_folder_init(config, model, 3, ST_F32, NULL) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

/* A minibatch of CASE_SEQUENCES random sequences in groups of CASE_GROUP, a few tokens masked. */
struct case_batch {
    struct train_sequence sequences[CASE_SEQUENCES];
    uint32_t prompt[CASE_SEQUENCES][CASE_TOKENS], response[CASE_SEQUENCES][CASE_TOKENS];
    float old[CASE_SEQUENCES][CASE_TOKENS], mask[CASE_SEQUENCES][CASE_TOKENS];
    uint8_t current[CASE_SEQUENCES][CASE_TOKENS];
};

static inline void case_fill(struct case_batch *batch, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, 0, RNG_TEST);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
        uint32_t prompt = 1 + rng_below(&rng, CASE_TOKENS - 1),
                 response = 1 + rng_below(&rng, CASE_TOKENS);
        for (uint32_t t = 0; t < CASE_TOKENS; t++) {
            batch->prompt[s][t] = rng_below(&rng, CASE_VOCABULARY);
            batch->response[s][t] = rng_below(&rng, CASE_VOCABULARY);
            batch->old[s][t] = (float)(-4.8 - 2.0 * rng_uniform(&rng));
            batch->mask[s][t] = rng_below(&rng, 5) > 0;
            batch->current[s][t] = 0;
        }
        batch->sequences[s] = (struct train_sequence){.prompt_ids = batch->prompt[s],
                                                      .prompt_count = prompt,
                                                      .response_ids = batch->response[s],
                                                      .response_count = response,
                                                      .logprob_old = batch->old[s],
                                                      .mask = batch->mask[s],
                                                      .current = batch->current[s],
                                                      .advantage = rng_normal(&rng),
                                                      .group = s / CASE_GROUP,
                                                      .temperature = 1.0F};
    }
}

/* Logprobs of a response by the trainer's weights, the sequence alone in its forward call. */
static inline void case_score(struct trainer *trainer, const struct train_sequence *sequence,
                              float *logprob)
{
    int32_t ids[2 * CASE_TOKENS], index[CASE_TOKENS], target[CASE_TOKENS], rows = 0;
    for (uint32_t t = 0; t < sequence->prompt_count; t++)
        ids[rows++] = (int32_t)sequence->prompt_ids[t];
    for (uint32_t t = 0; t < sequence->response_count; t++) {
        index[t] = (int32_t)(sequence->prompt_count + t) - 1;
        target[t] = (int32_t)sequence->response_ids[t];
        if (t + 1 < sequence->response_count)
            ids[rows++] = target[t];
    }
    struct op_segment segment = {.slot = 0, .position = 0, .row = 0, .count = rows};
    struct model_batch batch = {.rows = rows, .ids = ids, .segments = &segment, .segment_count = 1};
    act *hidden = NULL;
    assert_int_equal(model_cache_open(trainer->cache, 0, rows), STATUS_OK);
    assert_int_equal(
        model_forward(trainer->model, &trainer->weights, trainer->cache, &batch, false, &hidden),
        STATUS_OK);
    struct model_head head = {.rows = (int32_t)sequence->response_count,
                              .row_index = index,
                              .temperature = sequence->temperature,
                              .target = target,
                              .logprob = logprob};
    assert_int_equal(model_head(trainer->model, &trainer->weights, hidden, &head), STATUS_OK);
    model_cache_close(trainer->cache, 0);
}

static inline void case_update(struct trainer *trainer, const struct case_batch *batch,
                               struct train_stats *stats)
{
    struct trainer_loss objective = case_objective(trainer->settings);
    if (trainer_update(trainer, batch->sequences, CASE_SEQUENCES, &objective, stats) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

#endif
