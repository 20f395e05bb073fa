/* ops/data/rates.h - how often a model solved each row: scores.jsonl of `weir eval` (any number of files), by id.
 *
 * A score row has "id", "value" (null: not scored), "status", "tokens", "finish". Files add up: 8 samples here and 8 there
 * are 16. One thread. */
#ifndef OPS_DATA_RATES_H
#define OPS_DATA_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

struct rates;

/* Of one row. */
struct rate {
    uint32_t n, c; /* scored samples, and those with value >= success */
    uint32_t not_scored;
    double sum;           /* of the values */
    uint32_t cut;         /* samples that ended at the limit of tokens */
    const double *tokens; /* [samples] ascending, of all samples */
    uint32_t samples;
    uint64_t used; /* times rates_find gave it */
};

MUST_CHECK enum status rates_create(struct rates **rates, double success);
void rates_destroy(struct rates **rates); /* NULL is fine */
/* INVALID: file, line and what a row lacks. */
MUST_CHECK enum status rates_add(struct rates *rates, const char *path);
const struct rate *rates_find(struct rates *rates, const char *id); /* NULL: none */
uint64_t rates_count(const struct rates *rates);
uint64_t rates_unused(const struct rates *rates); /* ids that nobody asked for */

#endif
