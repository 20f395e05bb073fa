/* model/head.c - from hidden states to logprobs, entropies, logits and sampled tokens.
 *
 * Both entry points run the same lm_head op, so a sampled token's logprob and the logprob that the
 * learner computes for it later are the same bits. Logits exist for a bounded number of rows at a
 * time: pieces of at most LOGITS_BYTES, which cannot change a row's result. */
#include "model/model.h"

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

static enum status need_logits(struct model *model)
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
        .bf16 = model->options.lm_head_bf16,
        .x = act_at(model, piece->x, (int64_t)at * model->shape.hidden),
        .packed = (const char *)weights->packed + model->head.packed,
        .target = piece->target ? piece->target + at : NULL, .logits = piece->logits,
        .lse = work->lse + at, .lse_raw = piece->raw ? work->lse_raw + at : NULL,
        .logprob = piece->score && piece->target ? work->logprob + at : NULL,
        .entropy = piece->score ? work->entropy + at : NULL);
    return STATUS_OK;
}

static enum status head_with_logits(struct model *model, const struct model_weights *weights,
                                    const struct model_head *head, struct head_piece piece)
{
    TRY(need_logits(model));
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

/* ---- decode ---- */

static enum status check_sample(const struct model_sample *sample)
{
    for (int32_t i = 1; i < sample->rows; i++)
        if (sample->row[i].temperature != sample->row[0].temperature)
            return FAIL(STATUS_INVALID,
                        "sampling row %d at temperature %g and row 0 at %g: rows of one call share "
                        "a temperature",
                        i, (double)sample->row[i].temperature, (double)sample->row[0].temperature);
    return STATUS_OK;
}

static enum status read_samples(const struct model *model, const struct model_sample *sample)
{
    const struct workspace *work = &model->work;
    size_t rows = (size_t)sample->rows;
    TRY(device_read(model, work->token, sample->token, rows * sizeof(int32_t)));
    TRY(read_floats(model, work->logprob, sample->logprob, sample->rows));
    TRY(read_floats(model, work->logprob_truncated, sample->logprob_truncated, sample->rows));
    return sample->confident ? device_read(model, work->confident, sample->confident, rows)
                             : STATUS_OK;
}

enum status model_sample(struct model *model, const struct model_weights *weights,
                         const act *hidden, const struct model_sample *sample)
{
    struct workspace *work = &model->work;
    TRY(check_sample(sample));
    TRY(need_logits(model));
    model->head_rows = 0;
    struct head_piece piece = {.raw = true, .logits = model->logits};
    TRY(choose_rows(model, hidden, sample->rows, sample->row_index, &piece.x));
    /* Temperature 0 is the argmax: its logprob is that of the untempered distribution. */
    float temperature = sample->row[0].temperature;
    piece.temperature = temperature > 0.0F ? temperature : 1.0F;
    TRY(device_write(model, work->sample_row, sample->row,
                     (size_t)sample->rows * sizeof(struct op_sample_row)));
    for (int32_t at = 0; at < sample->rows; at += piece.count) {
        int32_t left = sample->rows - at;
        piece.first = at;
        piece.count = left < model->logits_rows ? left : model->logits_rows;
        TRY(run_head(model, weights, &piece));
        RUN(model, sample, .rows = piece.count, .vocabulary = model->shape.vocabulary,
            .logits = model->logits, .lse = work->lse + at, .lse_raw = work->lse_raw + at,
            .row = work->sample_row + at, .repetition_probability = sample->repetition_probability,
            .token = work->token + at, .logprob = work->logprob + at,
            .logprob_truncated = work->logprob_truncated + at, .confident = work->confident + at);
    }
    return read_samples(model, sample);
}
