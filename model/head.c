/* model/head.c - from hidden states to logprobs, entropies, logits and sampled tokens.
 *
 * Both entry points run the same lm_head op, so a sampled token's logprob and the logprob that the
 * learner computes for it later are the same bits. Logits exist for a bounded number of rows at a
 * time: pieces of at most LOGITS_BYTES, which cannot change a row's result. */
#include "model/model.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/internal.h"

#define LOGITS_BYTES (INT64_C(256) << 20)

/* Copies the chosen rows' indexes and finds where the head reads: chosen rows are gathered first. A row may
 * be chosen more than once (siblings sample from the one row their prompt was prefilled for). */
static enum status choose_rows(struct model *model, const act *hidden, int32_t rows,
                               const int32_t *row_index, const act **x)
{
    int32_t most = row_index ? model->options.rows_max : model->rows;
    if (rows < 1 || rows > most)
        return FAIL(STATUS_INVALID, "LM head on %d rows: at most %d after a forward call of %d",
                    rows, most, model->rows);
    *x = hidden;
    if (!row_index)
        return STATUS_OK;
    for (int32_t i = 0; i < rows; i++)
        if (row_index[i] < 0 || row_index[i] >= model->rows)
            return FAIL(STATUS_INVALID, "LM head row %d: row %d of a forward call of %d", i,
                        row_index[i], model->rows);
    struct workspace *work = &model->work;
    TRY(device_write(model, work->row_index, row_index, (size_t)rows * sizeof(int32_t)));
    RUN(model, moe_gather, .rows = rows, .channels = model->shape.hidden, .top = 1, .x = hidden,
        .entry = work->row_index, .y = work->head_x);
    *x = work->head_x;
    return STATUS_OK;
}

enum status head_need_logits(struct model *model)
{
    if (model->logits)
        return STATUS_OK;
    int64_t row_bytes = (int64_t)model->shape.vocabulary * (int64_t)sizeof(float);
    int64_t rows = LOGITS_BYTES / row_bytes;
    rows = rows < 1 ? 1 : rows;
    rows = rows > model->options.rows_max ? model->options.rows_max : rows;
    void *memory = NULL;
    TRY(model->ops->memory_create(model->ops->context, (size_t)(rows * row_bytes), &memory));
    model->logits = memory;
    model->logits_rows = (int32_t)rows;
    return STATUS_OK;
}

/* Rows [first, first + count) of x; outputs land at the same rows of the workspace. */
struct head_piece {
    const act *x;
    int32_t first, count;
    float temperature;
    const int32_t *target; /* device, or NULL */
    float *logits;         /* device, of this piece, or NULL */
    bool raw;              /* lse_raw wanted */
    bool score;            /* logprob and entropy wanted */
};

static enum status run_head(struct model *model, const struct model_weights *weights,
                            const struct head_piece *piece)
{
    struct workspace *work = &model->work;
    int32_t at = piece->first;
    RUN(model, lm_head, .rows = piece->count, .channels = model->shape.hidden,
        .vocabulary = model->shape.vocabulary, .temperature = piece->temperature,
        .bf16 = model->options.lm_head == MODEL_HEAD_BF16,
        .x = act_at(model, piece->x, (int64_t)at * model->shape.hidden),
        .packed = packed_at(model, weights, &model->head),
        .mid = mid_at(model, weights, &model->head),
        .target = piece->target ? piece->target + at : NULL, .logits = piece->logits,
        .lse = work->lse + at, .lse_raw = piece->raw ? work->lse_raw + at : NULL,
        .logprob = piece->score && piece->target ? work->logprob + at : NULL,
        .entropy = piece->score ? work->entropy + at : NULL);
    return STATUS_OK;
}

static enum status head_with_logits(struct model *model, const struct model_weights *weights,
                                    const struct model_head *head, struct head_piece piece)
{
    TRY(head_need_logits(model));
    int64_t vocabulary = model->shape.vocabulary;
    for (int32_t done = 0; done < head->rows; done += piece.count) {
        int32_t left = head->rows - done;
        piece.first = done;
        piece.count = left < model->logits_rows ? left : model->logits_rows;
        piece.logits = model->logits;
        TRY(run_head(model, weights, &piece));
        TRY(device_read(model, model->logits, head->logits + done * vocabulary,
                        (size_t)(piece.count * vocabulary) * sizeof(float)));
    }
    return STATUS_OK;
}

static enum status read_floats(const struct model *model, const float *memory, float *host,
                               int32_t rows)
{
    return host ? device_read(model, memory, host, (size_t)rows * sizeof(float)) : STATUS_OK;
}

enum status model_head(struct model *model, const struct model_weights *weights, const act *hidden,
                       const struct model_head *head)
{
    struct workspace *work = &model->work;
    CHECK(head->temperature > 0.0F);
    CHECK(head->target || !head->logprob);
    model->head_rows = 0;
    struct head_piece piece = {
        .count = head->rows, .temperature = head->temperature, .score = true};
    TRY(choose_rows(model, hidden, head->rows, head->row_index, &piece.x));
    if (head->target) {
        for (int32_t i = 0; i < head->rows; i++)
            if (head->target[i] >= model->shape.vocabulary)
                return FAIL(STATUS_INVALID, "LM head row %d: target %d, the vocabulary has %d", i,
                            head->target[i], model->shape.vocabulary);
        TRY(device_write(model, work->target, head->target, (size_t)head->rows * sizeof(int32_t)));
        piece.target = work->target;
    }
    if (head->logits)
        TRY(head_with_logits(model, weights, head, piece));
    else
        TRY(run_head(model, weights, &piece));
    TRY(read_floats(model, work->logprob, head->logprob, head->rows));
    TRY(read_floats(model, work->entropy, head->entropy, head->rows));
    model->head_rows = head->rows;
    model->head_temperature = head->temperature;
    model->head_gathered = head->row_index != NULL;
    return STATUS_OK;
}

/* ---- sampling ---- */

enum status check_sample(const struct model_sample *sample)
{
    for (int32_t i = 1; i < sample->rows; i++)
        if (sample->row[i].temperature != sample->row[0].temperature)
            return FAIL(STATUS_INVALID,
                        "sampling row %d at temperature %g and row 0 at %g: rows of one call share "
                        "a temperature",
                        i, (double)sample->row[i].temperature, (double)sample->row[0].temperature);
    return STATUS_OK;
}

enum status head_send_rows(struct model *model, const struct model_sample *sample, int32_t rows)
{
    size_t used = (size_t)sample->rows * sizeof(struct op_sample_row);
    size_t all = (size_t)rows * sizeof(struct op_sample_row);
    memcpy(model->staging, sample->row, used);
    memset(model->staging + used, 0, all - used);
    return device_write(model, model->work.sample_row, model->staging, all);
}

/* Where the results of `rows` samples lie in the block that one read brings. */
static size_t place_sampled(struct sampled *sampled, char *memory, int32_t rows)
{
    size_t list = ((size_t)rows * sizeof(float) + 63) / 64 * 64;
    sampled->memory = memory;
    sampled->token = (int32_t *)(void *)memory;
    sampled->logprob = (float *)(void *)(memory + list);
    sampled->logprob_truncated = (float *)(void *)(memory + 2 * list);
    sampled->confident = (uint8_t *)(memory + 3 * list);
    return 3 * list + (size_t)rows;
}

enum status head_read_samples(struct model *model, const struct model_sample *sample, int32_t rows)
{
    struct sampled host;
    size_t bytes = place_sampled(&host, model->staging, rows);
    size_t values = (size_t)sample->rows * sizeof(float);
    TRY(device_read(model, model->work.sampled.memory, host.memory, bytes));
    memcpy(sample->token, host.token, values);
    if (sample->logprob)
        memcpy(sample->logprob, host.logprob, values);
    if (sample->logprob_truncated)
        memcpy(sample->logprob_truncated, host.logprob_truncated, values);
    if (sample->confident)
        memcpy(sample->confident, host.confident, (size_t)sample->rows);
    return STATUS_OK;
}

enum status head_sample(struct model *model, const struct model_weights *weights, const act *x,
                        const struct model_sample *sample, int32_t rows)
{
    struct workspace *work = &model->work;
    struct sampled *out = &work->sampled;
    /* Temperature 0 is the argmax: its logprob is that of the untempered distribution. */
    float temperature = sample->row[0].temperature;
    struct head_piece piece = {.x = x,
                               .raw = true,
                               .logits = model->logits,
                               .temperature = temperature > 0.0F ? temperature : 1.0F};
    (void)place_sampled(out, out->memory, rows);
    for (int32_t at = 0; at < rows; at += piece.count) {
        int32_t left = rows - at;
        piece.first = at;
        piece.count = left < model->logits_rows ? left : model->logits_rows;
        TRY(run_head(model, weights, &piece));
        RUN(model, sample, .rows = piece.count, .vocabulary = model->shape.vocabulary,
            .logits = model->logits, .lse = work->lse + at, .lse_raw = work->lse_raw + at,
            .row = work->sample_row + at, .repetition_probability = sample->repetition_probability,
            .token = out->token + at, .logprob = out->logprob + at,
            .logprob_truncated = out->logprob_truncated + at, .confident = out->confident + at);
    }
    return STATUS_OK;
}

enum status model_sample(struct model *model, const struct model_weights *weights,
                         const act *hidden, const struct model_sample *sample)
{
    const act *x = NULL;
    TRY(check_sample(sample));
    TRY(head_need_logits(model));
    model->head_rows = 0;
    TRY(choose_rows(model, hidden, sample->rows, sample->row_index, &x));
    TRY(head_send_rows(model, sample, sample->rows));
    TRY(head_sample(model, weights, x, sample, sample->rows));
    return head_read_samples(model, sample, sample->rows);
}
