/* ops/data/dedup.h - which rows of training data stand there twice, or stand in an evaluation set (docs/data.md).
 *
 *     TRY(dedup_create(&dedup, &options));
 *     dedup_add(..., DEDUP_EVAL, ...) for each row of the evaluation sets, DEDUP_SFT for those of the warm start
 *     dedup_add(..., DEDUP_TRAIN, ...) for each row of training data: its verdict, at once
 *
 * The first of several alike rows stays. Texts are compared as lists of tokens (ops/data/normal.h):
 *
 *   exact   equal lists.
 *   near    Jaccard similarity of their sets of k-token shingles >= threshold, found by MinHash (Broder 1997) with bands
 *           (LSH) and then computed exactly; and nothing that decides the answer differs: the multiset of numbers,
 *           operators and turning words (more, least, odd, not ...); the names, when one is replaced by another; the
 *           reference answer, when both have one. In mathematics a changed number or name is another problem.
 *   n-gram  n consecutive tokens that stand in an evaluation row too (numbers in one form). An n-gram of more than `common`
 *           evaluation rows is a phrase of the set and says nothing.
 *
 * Deterministic: no draws but the fixed constants of MinHash. One thread. */
#ifndef OPS_DATA_DEDUP_H
#define OPS_DATA_DEDUP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

struct dedup_options {
    double threshold;      /* of near; above 1: off */
    uint32_t shingle;      /* tokens */
    uint32_t ngram;        /* tokens; 0: off */
    uint32_t common;       /* evaluation rows an n-gram may stand in and still count */
    bool mask_numbers;     /* n-grams: any number is like any other */
    bool any_numbers;      /* near: numbers, operators and turning words may differ */
    bool any_names;        /* near: names may differ */
    bool any_answers;      /* near: answers may differ */
    uint64_t memory_bytes; /* LIMIT beyond it */
};
extern const struct dedup_options dedup_options_default;

enum dedup_role { DEDUP_TRAIN, DEDUP_EVAL, DEDUP_SFT };

#define DEDUP_REASONS(ROW)                                                  \
    ROW(KEPT, "kept")                                                       \
    ROW(EMPTY, "empty")       /* no token */                                \
    ROW(EXACT, "exact")       /* of an earlier training row */              \
    ROW(CONFLICT, "conflict") /* the same, with another reference answer */ \
    ROW(NEAR, "near")                                                       \
    ROW(EVAL_EXACT, "eval_exact")                                           \
    ROW(EVAL_NEAR, "eval_near")                                             \
    ROW(EVAL_NGRAM, "eval_ngram") ROW(SFT_EXACT, "sft_exact") ROW(SFT_NEAR, "sft_near")

enum dedup_reason {
#define ROW(name, text) DEDUP_##name,
    DEDUP_REASONS(ROW)
#undef ROW
        DEDUP_REASON_COUNT
};

struct dedup_verdict {
    enum dedup_reason reason;
    uint32_t other; /* number of the row it is like (as dedup_add counted), unless KEPT or EMPTY */
    double similarity; /* Jaccard; 1 of exact ones; NAN of n-grams */
};

struct dedup;
MUST_CHECK enum status dedup_create(struct dedup **dedup, const struct dedup_options *options);
void dedup_destroy(struct dedup **dedup); /* NULL is fine */
/* *number: of this row, from 0 over all roles. Reference rows get KEPT. answer "" or NULL: none. All reference rows come
 * before the first training row (INVALID else). */
MUST_CHECK enum status dedup_add(struct dedup *dedup, enum dedup_role role, const char *prompt,
                                 const char *answer, uint32_t *number,
                                 struct dedup_verdict *verdict);
const char *dedup_reason_name(enum dedup_reason reason);
uint64_t dedup_bytes(const struct dedup *dedup);
uint64_t
dedup_capped(const struct dedup *dedup); /* comparisons left out because a bucket was full */

#endif
