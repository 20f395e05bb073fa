/* learner/sft.c - `weir sft`: supervised warm start with the learner's own trainer.
 *
 * Rows are {"prompt": text, "completion": text}; the loss is on the completion and the end-of-text id after
 * it (token mean of the batch). Order, shuffling and learning rate are functions of the seed and the step. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/rng.h"
#include "learner/learner.h"
#include "learner/optim_schedule.h"
#include "learner/trainer.h"
#include "model/folder.h"
#include "text/tokenizer.h"

struct sft {
    const struct settings *settings;
    struct tokenizer *tokenizer;
    struct arena *arena; /* all rows */
    struct train_sequence *rows;
    uint32_t count, capacity;
    int64_t longest;
    struct trainer trainer;
};

static enum status text_member(const json_t *row, const char *key, const char *path, uint32_t line,
                               const char **text)
{
    *text = json_string_value(json_object_get(row, key));
    return *text != NULL ? STATUS_OK
                         : FAIL(STATUS_INVALID,
                                "%s:%u: \"%s\" is not a text; rows of `weir sft` are {\"prompt\", "
                                "\"completion\"}",
                                path, line, key);
}

static enum status grow(struct sft *sft)
{
    if (sft->count < sft->capacity)
        return STATUS_OK;
    uint32_t capacity = sft->capacity > 0 ? sft->capacity * 2 : 1024;
    struct train_sequence *rows =
        memory_grow(sft->rows, sft->capacity * sizeof *rows, capacity * sizeof *rows);
    if (rows == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u rows", capacity);
    sft->rows = rows;
    sft->capacity = capacity;
    return STATUS_OK;
}

static enum status encode(struct sft *sft, const char *text, bool end, uint32_t **ids,
                          uint32_t *count)
{
    size_t n = 0;
    uint32_t *encoded = NULL;
    TRY(tokenizer_encode(sft->tokenizer, text, strlen(text), sft->arena, &encoded, &n));
    int64_t eos = tokenizer_eos(sft->tokenizer);
    bool add = end && eos >= 0;
    uint32_t *out = arena_array(sft->arena, n + 1, sizeof *out);
    if (out == NULL)
        return FAIL(STATUS_LIMIT, "the data does not fit into memory");
    memcpy(out, encoded, n * sizeof *out);
    if (add)
        out[n] = (uint32_t)eos;
    *ids = out;
    *count = (uint32_t)n + add;
    return STATUS_OK;
}

static enum status add_row(struct sft *sft, const json_t *json, const char *path, uint32_t line)
{
    const char *prompt, *completion;
    TRY(text_member(json, "prompt", path, line, &prompt));
    TRY(text_member(json, "completion", path, line, &completion));
    uint32_t *prompt_ids, *ids, prompt_count, count;
    TRY(encode(sft, prompt, false, &prompt_ids, &prompt_count));
    TRY(encode(sft, completion, true, &ids, &count));
    if (prompt_count == 0 || count == 0)
        return FAIL(STATUS_INVALID, "%s:%u: prompt or completion is empty", path, line);
    float *mask = arena_array(sft->arena, count, sizeof *mask);
    if (mask == NULL)
        return FAIL(STATUS_LIMIT, "the data does not fit into memory");
    for (uint32_t i = 0; i < count; i++)
        mask[i] = 1;
    TRY(grow(sft));
    sft->rows[sft->count] = (struct train_sequence){.prompt_ids = prompt_ids,
                                                    .prompt_count = prompt_count,
                                                    .response_ids = ids,
                                                    .response_count = count,
                                                    .mask = mask,
                                                    .advantage = 1,
                                                    .temperature = 1};
    sft->count++;
    int64_t length = (int64_t)prompt_count + count;
    sft->longest = length > sft->longest ? length : sft->longest;
    return STATUS_OK;
}

static enum status load_rows(struct sft *sft)
{
    const char *path = sft->settings->sft.train;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return FAIL(STATUS_NOT_FOUND, "sft.train: %s cannot be opened", path);
    char *text = NULL;
    size_t capacity = 0;
    uint32_t line = 0;
    enum status status = STATUS_OK;
    for (ssize_t size; status == STATUS_OK && (size = getline(&text, &capacity, file)) >= 0;) {
        line++;
        if (strspn(text, " \t\r\n") == (size_t)size)
            continue;
        json_error_t error;
        json_t *json = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &error);
        if (json == NULL)
            status = FAIL(STATUS_INVALID, "%s:%u:%d: %s", path, line, error.column, error.text);
        else
            status = add_row(sft, json, path, line);
        json_decref(json);
    }
    free(text); /* lint: allow(free): getline's buffer */
    fclose(file);
    if (status == STATUS_OK && sft->count == 0)
        status = FAIL(STATUS_INVALID, "%s has no rows", path);
    return status;
}

static enum status train(struct sft *sft, atomic_int *stop_signals,
                         void (*progress)(uint32_t, uint32_t, double, double))
{
    const struct sft_settings *settings = &sft->settings->sft;
    struct train_sequence *batch = memory_array(settings->batch, sizeof *batch);
    if (batch == NULL)
        return FAIL(STATUS_NO_MEMORY, "a batch of %u rows", settings->batch);
    struct trainer_loss objective = {.loss = sft->settings->loss,
                                     .weight_decay = sft->settings->optim.weight_decay,
                                     .grad_clip = sft->settings->optim.grad_clip};
    objective.loss.kind = LOSS_SFT;
    objective.loss.normaliser = NORMALISER_BATCH;
    const struct optim_schedule rate = optim_schedule_of_sft(sft->settings);
    enum status status = STATUS_OK;
    uint64_t draw = 0, tokens = 0;
    int64_t begin_ns = clock_now_ns();
    for (uint32_t step = 0; status == STATUS_OK && step < settings->steps && *stop_signals == 0;
         step++) {
        for (uint32_t i = 0; i < settings->batch; i++, draw++) {
            uint64_t epoch = draw / sft->count;
            batch[i] = sft->rows[rng_permute(sft->settings->run.seed + epoch * 0x9E3779B97F4A7C15u,
                                             sft->count, draw % sft->count)];
            batch[i].group = i;
        }
        objective.lr = optim_schedule_lr(&rate, step);
        struct train_stats stats;
        status = trainer_update(&sft->trainer, batch, settings->batch, &objective, &stats);
        tokens += stats.tokens;
        if (progress != NULL && (step % 20 == 19 || step + 1 == settings->steps))
            progress(step + 1, settings->steps, stats.loss,
                     (double)tokens * 1e9 / (double)(clock_now_ns() - begin_ns));
    }
    memory_free(batch);
    if (status == STATUS_OK && *stop_signals > 0)
        return FAIL(STATUS_CANCELLED, "stopped by a signal; %s is not written",
                    sft->settings->sft.out);
    return status;
}

static enum status save(struct sft *sft)
{
    const struct parameter_table *table = model_parameters(sft->trainer.model);
    float *flat = memory_array((size_t)table->elements, sizeof *flat);
    if (flat == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRId64 " parameters", table->elements);
    enum status status = trainer_read(&sft->trainer, ARRAY_MASTER, flat);
    if (status == STATUS_OK)
        status = model_folder_save(sft->settings->sft.out, &sft->trainer.shape, table, flat, ST_F32,
                                   sft->settings->model.path, 0);
    memory_free(flat);
    return status;
}

enum status sft_run(const struct settings *settings, atomic_int *stop_signals,
                    void (*progress)(uint32_t, uint32_t, double, double))
{
    if (settings->sft.out[0] == '\0')
        return FAIL(STATUS_INVALID, "sft.out is empty: name the folder that receives the model");
    if (file_exists(settings->sft.out))
        return FAIL(STATUS_INVALID,
                    "sft.out: %s is there already; name another folder or remove it",
                    settings->sft.out);
    struct sft sft = {.settings = settings};
    enum status status;
    TRY_GOTO(out, arena_create(&sft.arena, (size_t)64 << 30));
    TRY_GOTO(out, tokenizer_open(&sft.tokenizer, settings->model.path,
                                 (enum setting_tokenizer)settings->model.tokenizer));
    TRY_GOTO(out, load_rows(&sft));
    TRY_GOTO(out, trainer_create(&sft.trainer, settings, settings->model.path, sft.longest));
    LOG_INFO("sft", "started", "rows=%u longest=%" PRId64 " parameters=%" PRId64, sft.count,
             sft.longest, model_parameters(sft.trainer.model)->elements);
    TRY_GOTO(out, train(&sft, stop_signals, progress));
    status = save(&sft);
out:
    trainer_destroy(&sft.trainer);
    tokenizer_close(&sft.tokenizer);
    memory_free(sft.rows);
    arena_destroy(&sft.arena);
    return status;
}
