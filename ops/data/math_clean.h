/* ops/data/math_clean.h - rows of mathematics that a rule can score: the static filters of MiniMax-M1 4.1, as rules of ours.
 *
 * The paper names the kinds that were removed (problems of several parts, proofs, true or false, multiple choice, incomplete
 * ones, answers that the checker cannot parse) and no rule; docs/data.md has each of these rules with examples on both
 * sides. Patterns look for how a problem asks, not for words it mentions. Pure; one thread an object. */
#ifndef OPS_DATA_MATH_CLEAN_H
#define OPS_DATA_MATH_CLEAN_H

#include <stddef.h>

#include "core/status.h"

/* Bits of a verdict, in the order in which they are reported. */
#define MATH_CLEAN_REASONS(ROW)                                                   \
    ROW(EMPTY, "empty", "no prompt or no reference answer")                       \
    ROW(INCOMPLETE, "incomplete", "the text breaks off or does not balance")      \
    ROW(FIGURE, "figure", "it needs a figure that is not there")                  \
    ROW(TRUE_FALSE, "true_false", "a coin guesses the answer")                    \
    ROW(MULTIPLE_CHOICE, "multiple_choice", "the answer is one of a few letters") \
    ROW(PROOF, "proof", "it asks for a proof")                                    \
    ROW(MULTI_PART, "multi_part", "it asks several questions")                    \
    ROW(UNPARSABLE, "unparsable", "the checker cannot read the reference answer")

enum math_clean_reason {
#define ROW(name, text, what) MATH_CLEAN_##name##_AT,
    MATH_CLEAN_REASONS(ROW)
#undef ROW
        MATH_CLEAN_COUNT
};

struct math_clean;
MUST_CHECK enum status math_clean_create(struct math_clean **clean);
void math_clean_destroy(struct math_clean **clean); /* NULL is fine */
/* *reasons: bit i is enum math_clean_reason i; 0: the row stays. answer NULL: there is none. */
MUST_CHECK enum status math_clean_check(struct math_clean *clean, const char *prompt,
                                        const char *answer, unsigned *reasons);
const char *math_clean_name(enum math_clean_reason reason); /* "proof" */

#endif
