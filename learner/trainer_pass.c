/* learner/trainer_pass.c - sequences through the forward pass: shares of ranks, packing, and scoring without training. */
#include "learner/trainer.h"

#include <string.h>

#include "core/buffer.h"
#include "learner/follower.h"
#include "learner/trainer_state.h"

static int64_t rows_of(const struct train_sequence *sequence)
{
    return (int64_t)sequence->prompt_count + sequence->response_count - 1;
}

/* Sequences [*first, *last) are those of `rank`: in order, cut where the rows before a sequence pass rank / ranks of
 * all. Returns all rows. */
static int64_t share_of(const struct train_sequence *sequences, uint32_t count, int rank, int ranks,
                        uint32_t *first, uint32_t *last)
{
    int64_t total = 0, before = 0;
    for (uint32_t i = 0; i < count; i++)
        total += rows_of(&sequences[i]);
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

int64_t trainer_share(const struct trainer *trainer, const struct train_sequence *sequences,
                      uint32_t count, uint32_t *first, uint32_t *last)
{
    int rank = trainer->ranks != NULL ? trainer->ranks->wire.rank : 0;
    int ranks = trainer->ranks != NULL ? trainer->ranks->wire.count : 1;
    return share_of(sequences, count, rank, ranks, first, last);
}

void trainer_share_of(const struct train_sequence *sequences, uint32_t count, int rank, int ranks,
                      uint32_t *first, uint32_t *last)
{
    (void)share_of(sequences, count, rank, ranks, first, last);
}

enum status trainer_pack(struct trainer *trainer, const struct train_sequence *sequences,
                         const double *scale, uint32_t last, uint32_t *i)
{
    struct packing *packing = &trainer->scratch->packing;
    packing_clear(packing);
    uint32_t at = *i;
    for (; at < last && packing_fits(packing, &sequences[at]); at++)
        packing_add(packing, &sequences[at], scale != NULL ? scale[at] : 0);
    if (packing->sequences == 0)
        return FAIL(STATUS_LIMIT,
                    "a sequence of %u + %u tokens does not fit into %d rows; raise "
                    "data.prompt_tokens_max or "
                    "learner.microbatch_tokens",
                    sequences[at].prompt_count, sequences[at].response_count, trainer->rows_max);
    *i = at;
    return STATUS_OK;
}

enum status trainer_forward(struct trainer *trainer, const struct model_weights *weights, bool save,
                            float *logprob, float *entropy, act **hidden)
{
    const struct packing *packing = &trainer->scratch->packing;
    for (int32_t s = 0; s < packing->sequences; s++)
        TRY(model_cache_open(trainer->cache, s, packing->segments[s].count));
    struct model_batch batch = {.rows = packing->rows,
                                .ids = packing->ids,
                                .segments = packing->segments,
                                .segment_count = packing->sequences};
    TRY(model_forward(trainer->model, weights, trainer->cache, &batch, save, hidden));
    struct model_head head = {.rows = packing->heads,
                              .row_index = packing->row_index,
                              .temperature = packing->temperature,
                              .target = packing->target,
                              .logprob = logprob,
                              .entropy = entropy};
    TRY(model_head(trainer->model, weights, *hidden, &head));
    for (int32_t s = 0; !save && s < packing->sequences; s++)
        model_cache_close(trainer->cache, s);
    return STATUS_OK;
}

/* ---- scoring ---- */

static enum status score_share(struct trainer *trainer, const struct train_sequence *sequences,
                               uint32_t count, float *const *logprob)
{
    struct trainer_scratch *scratch = trainer->scratch;
    const struct packing *packing = &scratch->packing;
    uint32_t first = 0, last = 0;
    act *hidden = NULL;
    (void)trainer_share(trainer, sequences, count, &first, &last);
    for (uint32_t i = first; i < last;) {
        uint32_t begin = i;
        TRY(trainer_pack(trainer, sequences, NULL, last, &i));
        TRY(trainer_forward(trainer, &trainer->weights, false, scratch->logprob, NULL, &hidden));
        for (uint32_t s = begin; s < i; s++)
            memcpy(logprob[s], scratch->logprob + packing->starts[s - begin],
                   sequences[s].response_count * sizeof(float));
        if (trainer->between != NULL)
            TRY(trainer->between(trainer->between_self));
    }
    return STATUS_OK;
}

/* Bytes of the responses of [first, last). */
static size_t share_bytes(const struct train_sequence *sequences, uint32_t first, uint32_t last)
{
    size_t floats = 0;
    for (uint32_t i = first; i < last; i++)
        floats += sequences[i].response_count;
    return floats * sizeof(float);
}

static enum status send_scores(struct trainer *trainer, const struct train_sequence *sequences,
                               uint32_t count, float *const *logprob)
{
    struct buffer bytes;
    uint32_t first = 0, last = 0;
    enum status status = STATUS_OK;
    buffer_init(&bytes, 0);
    (void)trainer_share(trainer, sequences, count, &first, &last);
    for (uint32_t i = first; i < last && status == STATUS_OK; i++)
        status = buffer_append(&bytes, logprob[i], sequences[i].response_count * sizeof(float));
    if (status == STATUS_OK)
        status = rank_wire_send(&trainer->ranks->wire, 0, COMMAND_SCORE, bytes.bytes, bytes.size);
    buffer_free(&bytes);
    return status;
}

static enum status receive_scores(struct trainer *trainer, int rank,
                                  const struct train_sequence *sequences, uint32_t count,
                                  float *const *logprob)
{
    struct buffer bytes;
    uint32_t first = 0, last = 0, kind = 0;
    (void)share_of(sequences, count, rank, trainer->ranks->wire.count, &first, &last);
    buffer_init(&bytes, 0);
    enum status status = rank_wire_receive(&trainer->ranks->wire, rank, -1, &kind, &bytes);
    if (status == STATUS_OK &&
        (kind != COMMAND_SCORE || bytes.size != share_bytes(sequences, first, last)))
        status = FAIL(STATUS_CORRUPT, "learner rank %d sent %zu bytes of logprobs, %zu are due",
                      rank, bytes.size, share_bytes(sequences, first, last));
    const uint8_t *at = bytes.bytes;
    for (uint32_t i = first; i < last && status == STATUS_OK; i++) {
        size_t size = sequences[i].response_count * sizeof(float);
        memcpy(logprob[i], at, size);
        at += size;
    }
    buffer_free(&bytes);
    return status;
}

enum status trainer_score(struct trainer *trainer, const struct train_sequence *sequences,
                          uint32_t count, float *const *logprob)
{
    if (count == 0)
        return STATUS_OK;
    if (trainer->ranks != NULL && trainer->ranks->wire.rank == 0)
        TRY(follower_send_score(&trainer->ranks->wire, sequences, count));
    TRY(score_share(trainer, sequences, count, logprob));
    if (trainer->ranks == NULL)
        return STATUS_OK;
    if (trainer->ranks->wire.rank > 0)
        return send_scores(trainer, sequences, count, logprob);
    for (int rank = 1; rank < trainer->ranks->wire.count; rank++)
        TRY(receive_scores(trainer, rank, sequences, count, logprob));
    return STATUS_OK;
}
