/* learner/sft_batch.h - what an update of `weir sft` trains on: a function of seed, settings and the update's number, so
 * that the number is the whole cursor of a checkpoint.
 *
 * Mode sft: rows in an order that the seed gives, a new one each epoch. A context stage cuts rows to its length.
 * Mode pretrain: the documents in such an order, end to end (each ends with the end of text, where the tokenizer has one),
 * cut into sequences of so many tokens, the last shorter; each begins with the last token of the one before, so
 * every token but an epoch's first is predicted once. Sequences are drawn in an order of their own. A context stage
 * begins anew with an epoch of its own order. One thread. */
#ifndef LEARNER_SFT_BATCH_H
#define LEARNER_SFT_BATCH_H

#include "learner/sft_rows.h"
#include "learner/sft_stages.h"

C_BEGIN

struct sft_batch {
    struct train_sequence
        *sequences; /* [count] of the last sft_batch_fill; they live until the next */
    uint32_t count;
    double epoch; /* passed before this batch, of this stage */
    /* own */
    const struct sft_rows *rows;     /* borrowed */
    const struct sft_stages *stages; /* borrowed */
    bool pretrain;
    uint64_t seed;
    int64_t sequence_tokens;
    uint64_t *place; /* [rows + 1] mode pretrain: where the i-th document of the epoch begins */
    uint64_t order;  /* seed of that epoch's order of documents */
    bool ordered;
    uint32_t *ids; /* [count][longest + 1] */
    float *mask;   /* [longest] ones */
    int64_t longest;
};

MUST_CHECK enum status sft_batch_create(struct sft_batch *batch, const struct settings *settings,
                                        const struct sft_rows *rows,
                                        const struct sft_stages *stages, uint32_t count);
void sft_batch_destroy(struct sft_batch *batch);
/* The sequences of update n, from 0. */
void sft_batch_fill(struct sft_batch *batch, uint64_t update);
/* All rows once, in order, batch->count at a time from draw *draw on (mode pretrain: sequences of the length of that
 * update's stage); the sequences are batch->sequences; returns how many, 0 when none is left. For evaluation. */
uint32_t sft_batch_next(struct sft_batch *batch, uint64_t update, uint64_t *draw);
/* Tokens of the longest sequence that will come. */
int64_t sft_batch_longest(const struct settings *settings, const struct sft_rows *rows,
                          const struct sft_stages *stages);

C_END
#endif
