/* ops/data/expression.h - `--keep` of `weir filter`: a condition on what is known about a row.
 *
 *     0 < pass@10 < 0.9 and tokens.p99 < 8000 and not (source ~ "synlogic*" or row.level == 5)
 *
 * or, and, not (also ||, &&, !), chains of comparisons (< <= > >= == != and ~, a glob on a text), numbers, "texts", and
 * names that the caller knows. A name without a value makes the condition unknown: three-valued logic, `false and unknown`
 * is false. Pure; any thread. */
#ifndef OPS_DATA_EXPRESSION_H
#define OPS_DATA_EXPRESSION_H

#include <stdbool.h>

#include "core/status.h"

enum { EXPRESSION_NAME_MAX = 128, EXPRESSION_NODES_MAX = 256 };

struct expression_value {
    bool known;
    const char *text; /* NULL: a number */
    double number;
};

/* A name's value; false: there is no such name (the sentence of the error lists what the caller says). */
typedef bool (*expression_look_up)(void *self, const char *name, struct expression_value *value);

enum expression_truth { EXPRESSION_FALSE, EXPRESSION_TRUE, EXPRESSION_UNKNOWN };

struct expression;
/* INVALID: column and what was expected. */
MUST_CHECK enum status expression_parse(struct expression **expression, const char *text);
void expression_free(struct expression **expression); /* NULL is fine */
/* The i-th name in the order of the text; NULL beyond the last. */
const char *expression_name(const struct expression *expression, unsigned i);
/* *unknown: a name that had no value and decided it; NULL otherwise. INVALID: an unknown name, a text compared with a
 * number. */
MUST_CHECK enum status expression_evaluate(const struct expression *expression,
                                           expression_look_up look_up, void *self,
                                           enum expression_truth *truth, const char **unknown);

#endif
