/* Equality of expressions by value.
 *
 * Constants: exact rationals are compared as such; else the difference is enclosed in a ball at growing precision: a
 * ball without zero proves them different, one that holds zero and is tiny in absolute terms at the highest
 * precision counts as equal. A difference that stays wide (huge numbers) proves nothing: then only the same tree is equal.
 * Variables: the same at POINTS fixed points in (0.3, 2.7), and at more and wider ones when a side has |x| or a floor. */
#include <string.h>

#include "reward/math/compare.h"

enum { POINTS = 4, TRIES = 8, PRECISION_COUNT = 3, PRECISION_POINT = 128 };

static const slong precisions[PRECISION_COUNT] = {96, 320, 1024};

static bool has_decimal(const struct node *tree)
{
    if (tree->kind == NODE_NUMBER && memchr(tree->text, '.', tree->size) != NULL &&
        memchr(tree->text, '(', tree->size) == NULL)
        return true;
    for (uint32_t i = 0; i < tree->count; i++)
        if (has_decimal(tree->child[i]))
            return true;
    return false;
}

/* 0.5 * 10^-digits; a gold below 10^-3 must agree to 0.05 % as well. */
static void tolerance_of(arb_t tolerance, const struct value *gold, int digits)
{
    fmpq_t limit;
    arb_t part;
    fmpq_init(limit);
    arb_init(part);
    fmpz_ui_pow_ui(fmpq_denref(limit), 10, (ulong)digits);
    fmpz_mul_ui(fmpq_denref(limit), fmpq_denref(limit), 2);
    fmpz_one(fmpq_numref(limit));
    arb_set_fmpq(tolerance, limit, 64);
    if (gold->kind == VALUE_EXACT)
        arb_set_fmpq(part, gold->exact, 64);
    else
        acb_abs(part, gold->ball, 64);
    arb_abs(part, part);
    arb_mul_ui(part, part, 2000, 64);
    if (arb_is_positive(part) && mag_cmp_2exp_si(arb_radref(part), 0) < 0 &&
        arf_cmp_d(arb_midref(part), 2.0) < 0) {
        arb_set_fmpq(tolerance, limit, 64);
        arb_div_ui(part, part, 4000000, 64); /* |gold| / 2000 */
        arb_min(tolerance, tolerance, part, 64);
    }
    fmpq_clear(limit);
    arb_clear(part);
}

/* 1: closer than the tolerance, 0: not, -1: the balls are too wide to say. */
static int within(const struct value *gold, const struct value *difference, int digits,
                  slong precision)
{
    arb_t tolerance, distance;
    struct value copy;
    int result = -1;
    arb_init(tolerance);
    arb_init(distance);
    value_init(&copy);
    value_set(&copy, difference);
    value_to_ball(&copy, precision);
    acb_abs(distance, copy.ball, precision);
    tolerance_of(tolerance, gold, digits);
    arb_sub(distance, distance, tolerance, precision);
    if (arb_is_positive(distance))
        result = 0;
    else if (mag_cmp_2exp_si(arb_radref(distance), -40) < 0)
        result = 1; /* half a unit exactly is within */
    arb_clear(tolerance);
    arb_clear(distance);
    value_clear(&copy);
    return result;
}

/* 1: equal, 0: different, -1: more precision is needed. last: a tiny ball around zero counts as equal. */
static int judge(const struct value *gold, const struct value *answer, int digits, bool decimal,
                 bool last, slong precision)
{
    struct value difference;
    int result = -1;
    if (gold->kind == VALUE_INFINITE || answer->kind == VALUE_INFINITE)
        return gold->kind == answer->kind && gold->sign == answer->sign ? 1 : 0;
    value_init(&difference);
    value_set(&difference, answer);
    value_negate(&difference);
    value_add(&difference, gold, &difference, precision);
    if (difference.kind == VALUE_EXACT)
        result = fmpq_is_zero(difference.exact) ? 1 : 0;
    else if (difference.kind == VALUE_BALL && !acb_contains_zero(difference.ball))
        result = 0;
    else if (difference.kind == VALUE_BALL && last && value_is_below(&difference, -60))
        result = 1;
    if (result != 1 && decimal && difference.kind != VALUE_NONE)
        result =
            value_is_below(&difference, 4) ? within(gold, &difference, digits, precision) : result;
    value_clear(&difference);
    return result;
}

static bool same_constants(struct comparison *comparison, const struct node *gold,
                           const struct node *answer, bool decimal)
{
    struct evaluation *evaluation = &comparison->evaluation;
    struct value a, b;
    int result = -1;
    value_init(&a);
    value_init(&b);
    for (int i = 0; i < PRECISION_COUNT && result < 0 && !evaluation->over; i++) {
        evaluation->precision = precisions[i];
        math_evaluate(evaluation, gold, &a);
        math_evaluate(evaluation, answer, &b);
        if (a.kind == VALUE_NONE || b.kind == VALUE_NONE) {
            if (i > 0)
                break; /* undefined, not only imprecise */
            continue;
        }
        result = judge(&a, &b, comparison->options->float_rounding, decimal,
                       i == PRECISION_COUNT - 1, precisions[i]);
    }
    value_clear(&a);
    value_clear(&b);
    return result == 1;
}

static bool is_sensitive_to_sign(const struct node *tree)
{
    return math_tree_has_function(tree, FUNCTION_ABS) ||
           math_tree_has_function(tree, FUNCTION_FLOOR) ||
           math_tree_has_function(tree, FUNCTION_CEIL) ||
           math_tree_has_function(tree, FUNCTION_SIGN) ||
           math_tree_has_function(tree, FUNCTION_MAX) || math_tree_has_function(tree, FUNCTION_MIN);
}

/* At one point, first at a low and then at a high precision: 1, 0, or -1 when a side is undefined there. */
static int same_at_point(struct comparison *comparison, const struct node *gold,
                         const struct node *answer, bool decimal)
{
    static const slong steps[2] = {PRECISION_POINT, 768};
    struct evaluation *evaluation = &comparison->evaluation;
    struct value a, b;
    int result = -1;
    value_init(&a);
    value_init(&b);
    for (int i = 0; i < 2 && result < 0; i++) {
        evaluation->precision = steps[i];
        math_evaluate(evaluation, gold, &a);
        math_evaluate(evaluation, answer, &b);
        if (a.kind == VALUE_NONE || b.kind == VALUE_NONE)
            break;
        bool last = i == 1 || evaluation->point > 0;
        result = judge(&a, &b, comparison->options->float_rounding, decimal, last, steps[i]);
    }
    value_clear(&a);
    value_clear(&b);
    return result;
}

static bool same_functions(struct comparison *comparison, const struct node *gold,
                           const struct node *answer, bool decimal)
{
    struct evaluation *evaluation = &comparison->evaluation;
    bool both_signs = is_sensitive_to_sign(gold) || is_sensitive_to_sign(answer);
    int agreed = 0, wanted = both_signs ? POINTS * 3 : POINTS;
    for (uint32_t i = 0;
         i < (both_signs ? TRIES * 2u : TRIES) && agreed < wanted && !evaluation->over; i++) {
        evaluation->point = i;
        evaluation->wide = both_signs && i % 4 != 0;
        int same = same_at_point(comparison, gold, answer, decimal);
        if (same == 0)
            break;
        agreed += same == 1 ? 1 : 0;
    }
    evaluation->point = 0;
    evaluation->wide = false;
    return agreed >= wanted;
}

/* The same tree up to numbers that are written in another way: for what is too large to evaluate. */
static bool same_by_structure(struct comparison *comparison, const struct node *a,
                              const struct node *b, uint32_t levels)
{
    if (math_tree_same(a, b))
        return true;
    if (levels == 0 || comparison->evaluation.over)
        return false;
    if (a->kind == b->kind && a->count == b->count && a->count > 0 && a->function == b->function &&
        a->size == b->size && (a->size == 0 || memcmp(a->text, b->text, a->size) == 0)) {
        bool same = true;
        for (uint32_t i = 0; i < a->count && same; i++)
            same = same_by_structure(comparison, a->child[i], b->child[i], levels - 1);
        if (same)
            return true;
    }
    return math_tree_is_constant(a) && math_tree_is_constant(b) &&
           same_constants(comparison, a, b, false);
}

bool compare_scalars(struct comparison *comparison, const struct node *gold,
                     const struct node *answer)
{
    if (math_tree_same(gold, answer))
        return true;
    bool decimal = has_decimal(gold) || has_decimal(answer);
    bool constant = math_tree_is_constant(gold), constant_answer = math_tree_is_constant(answer);
    bool same = constant && constant_answer ? same_constants(comparison, gold, answer, decimal)
                                            : same_functions(comparison, gold, answer, decimal);
    return same || (!comparison->evaluation.over && gold->kind == answer->kind && gold->count > 0 &&
                    gold->count == answer->count && same_by_structure(comparison, gold, answer, 8));
}

/* (left - right) of the gold over that of the answer at the current point. */
static bool ratio_at_point(struct comparison *comparison, struct node *const gold[2],
                           struct node *const answer[2], struct value *ratio)
{
    struct evaluation *evaluation = &comparison->evaluation;
    struct value sides[4];
    for (int i = 0; i < 4; i++) {
        value_init(&sides[i]);
        math_evaluate(evaluation, i < 2 ? gold[i] : answer[i - 2], &sides[i]);
    }
    for (int i = 0; i < 4; i += 2) {
        value_negate(&sides[i + 1]);
        value_add(&sides[i], &sides[i], &sides[i + 1], evaluation->precision);
    }
    value_divide(ratio, &sides[0], &sides[2], evaluation->precision);
    for (int i = 0; i < 4; i++)
        value_clear(&sides[i]);
    value_to_ball(ratio, evaluation->precision);
    return ratio->kind == VALUE_BALL;
}

/* Not zero; of the sign that is asked for; 1 or -1 when it must be a unit. */
static bool is_factor(const struct value *ratio, int sign, bool unit)
{
    arb_srcptr real = acb_realref(ratio->ball);
    if (acb_contains_zero(ratio->ball))
        return false;
    if (sign != 0 &&
        (!acb_is_real(ratio->ball) || (sign > 0 ? !arb_is_positive(real) : !arb_is_negative(real))))
        return false;
    return !unit || arb_contains_si(real, 1) || arb_contains_si(real, -1);
}

bool compare_proportion(struct comparison *comparison, struct node *const gold[2],
                        struct node *const answer[2], int sign, bool unit)
{
    struct evaluation *evaluation = &comparison->evaluation;
    struct value first, next;
    int agreed = 0;
    bool decimal = has_decimal(gold[0]) || has_decimal(gold[1]) || has_decimal(answer[0]) ||
                   has_decimal(answer[1]);
    value_init(&first);
    value_init(&next);
    evaluation->precision = PRECISION_POINT;
    for (uint32_t i = 0; i < TRIES * 2u && agreed < POINTS * 2 && agreed >= 0 && !evaluation->over;
         i++) {
        evaluation->point = i;
        evaluation->wide = i % 2 == 1;
        if (!ratio_at_point(comparison, gold, answer, agreed == 0 ? &first : &next))
            continue;
        bool fine = agreed > 0 || is_factor(&first, sign, unit);
        if (agreed > 0)
            fine = judge(&first, &next, comparison->options->float_rounding, decimal, true,
                         PRECISION_POINT) == 1;
        agreed = fine ? agreed + 1 : -1;
    }
    evaluation->point = 0;
    evaluation->wide = false;
    value_clear(&first);
    value_clear(&next);
    return agreed >= POINTS;
}
