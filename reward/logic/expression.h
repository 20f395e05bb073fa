/* reward/logic/expression.h - exact values of small formulas: + - * / // % ** ( ) over whole numbers, as Python means them, but
 * with fractions instead of floats (24 is 24 and not 23.999). Also read: × · \times \cdot for *, ÷ \div for /, the
 * minus sign −, \frac{a}{b}, \left( \right). Bounds: EXPRESSION_SIZE_MAX bytes, 32 levels, 64-bit parts. Any thread. */
#ifndef REWARD_LOGIC_EXPRESSION_H
#define REWARD_LOGIC_EXPRESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "reward/answer/answer.h"

enum { EXPRESSION_SIZE_MAX = 1024, EXPRESSION_LEAVES_MAX = 64 };

/* Operators that a text may use. */
enum {
    EXPRESSION_ADD = 1,
    EXPRESSION_SUBTRACT = 2,
    EXPRESSION_MULTIPLY = 4,
    EXPRESSION_DIVIDE = 8,
    EXPRESSION_MODULO = 16,
    EXPRESSION_FLOOR_DIVIDE = 32,
    EXPRESSION_POWER = 64,
    EXPRESSION_SIGN = 128, /* a minus or plus before a value */
    EXPRESSION_DECIMAL = 256
};

/* numerator / denominator in lowest terms, denominator > 0. */
struct fraction {
    int64_t numerator, denominator;
};
/* False when a part does not fit 64 bits, or for a division by 0. */
bool fraction_combine(struct fraction a, char operator_, struct fraction b,
                      struct fraction *result);
bool fraction_equal(struct fraction a, int64_t whole);

/* The whole numbers of a formula in the order they stand there. */
struct expression_leaves {
    int count;
    int64_t value[EXPRESSION_LEAVES_MAX];
};

/* False when the whole text is no formula of these operators, or has no value. leaves may be NULL. */
bool expression_value(struct answer_span text, unsigned operators, struct fraction *value,
                      struct expression_leaves *leaves);

#endif
