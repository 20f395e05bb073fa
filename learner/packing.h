/* learner/packing.h - sequences one after another in one forward pass, without padding.
 *
 * A sequence of p prompt and r response tokens gives p + r - 1 rows (the last token predicts nothing); its rows
 * p-1 .. p+r-2 go through the LM head and predict the response. Host arrays, sized once. */
#ifndef LEARNER_PACKING_H
#define LEARNER_PACKING_H

#include "kernels/ops.h"
#include "learner/sequence.h"

struct packing {
    int32_t rows_max, sequences_max;
    int32_t rows, sequences, heads;
    float temperature;
    int32_t *ids;                                  /* [rows] */
    struct op_segment *segments;                   /* [sequences] slot i, position 0 */
    int32_t *starts;                               /* [sequences + 1] first head row */
    int32_t *row_index;                            /* [heads] */
    int32_t *target;                               /* [heads] */
    float *logprob_old, *advantage, *mask, *scale; /* [heads] */
    float *logprob_streamed; /* [heads] = logprob_old unless that is recomputed */
    uint8_t *current;        /* [heads] */
};

MUST_CHECK enum status packing_create(struct packing *packing, int32_t rows_max,
                                      int32_t sequences_max);
void packing_destroy(struct packing *packing);
void packing_clear(struct packing *packing);
/* Room for it, and the temperature of those already there. */
bool packing_fits(const struct packing *packing, const struct train_sequence *sequence);
/* scale: w of its tokens, of the whole minibatch (learner/normaliser.h). */
void packing_add(struct packing *packing, const struct train_sequence *sequence, double scale);

#endif
