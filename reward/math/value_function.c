/* Named functions of values. */
#include "reward/math/value.h"

typedef void (*ball_function)(acb_t, const acb_t, slong);

static void ball_acot(acb_t y, const acb_t x, slong precision)
{
    acb_inv(y, x, precision);
    acb_atan(y, y, precision);
}

/* In the order of enum math_function, up to FUNCTION_ATANH; the sine and the cosine family have their inverses. */
static const ball_function functions[] = {
    [FUNCTION_SIN] = acb_sin,     [FUNCTION_COS] = acb_cos,     [FUNCTION_TAN] = acb_tan,
    [FUNCTION_COT] = acb_cot,     [FUNCTION_SEC] = acb_sec,     [FUNCTION_CSC] = acb_csc,
    [FUNCTION_ASIN] = acb_asin,   [FUNCTION_ACOS] = acb_acos,   [FUNCTION_ATAN] = acb_atan,
    [FUNCTION_ACOT] = ball_acot,  [FUNCTION_SINH] = acb_sinh,   [FUNCTION_COSH] = acb_cosh,
    [FUNCTION_TANH] = acb_tanh,   [FUNCTION_COTH] = acb_coth,   [FUNCTION_SECH] = acb_sech,
    [FUNCTION_CSCH] = acb_csch,   [FUNCTION_ASINH] = acb_asinh, [FUNCTION_ACOSH] = acb_acosh,
    [FUNCTION_ATANH] = acb_atanh,
};

static void logarithm(struct value *out, bool to_10, slong precision)
{
    acb_log(out->ball, out->ball, precision);
    if (to_10) {
        arb_t ten;
        arb_init(ten);
        arb_const_log10(ten, precision);
        acb_div_arb(out->ball, out->ball, ten, precision);
        arb_clear(ten);
    }
}

/* Integers near a ball: floor and ceil are known only when the ball holds none. */
static bool round_ball(struct value *out, bool up, slong precision)
{
    if (!acb_is_real(out->ball) || !value_is_below(out, precision - 8))
        return false;
    arb_ptr x = acb_realref(out->ball);
    if (up)
        arb_ceil(x, x, precision);
    else
        arb_floor(x, x, precision);
    fmpz_t whole;
    fmpz_init(whole);
    bool unique = arb_get_unique_fmpz(whole, x) != 0;
    if (unique) {
        fmpq_set_fmpz(out->exact, whole);
        out->kind = VALUE_EXACT;
    }
    fmpz_clear(whole);
    return unique;
}

static void round_value(struct value *out, bool up, slong precision)
{
    if (out->kind == VALUE_EXACT) {
        fmpz_t whole;
        fmpz_init(whole);
        if (up)
            fmpz_cdiv_q(whole, fmpq_numref(out->exact), fmpq_denref(out->exact));
        else
            fmpz_fdiv_q(whole, fmpq_numref(out->exact), fmpq_denref(out->exact));
        fmpq_set_fmpz(out->exact, whole);
        fmpz_clear(whole);
    } else if (out->kind != VALUE_BALL || !round_ball(out, up, precision)) {
        out->kind = VALUE_NONE;
    }
}

static void absolute(struct value *out, slong precision)
{
    if (out->kind == VALUE_EXACT) {
        fmpq_abs(out->exact, out->exact);
    } else if (out->kind == VALUE_INFINITE) {
        out->sign = 1;
    } else if (out->kind == VALUE_BALL) {
        acb_abs(acb_realref(out->ball), out->ball, precision);
        arb_zero(acb_imagref(out->ball));
    }
}

/* Re, Im, conjugate, arg, sign. */
static void complex_part(struct value *out, enum math_function function, slong precision)
{
    value_to_ball(out, precision);
    if (out->kind != VALUE_BALL) {
        out->kind = VALUE_NONE;
        return;
    }
    arb_ptr re = acb_realref(out->ball), im = acb_imagref(out->ball);
    switch (function) {
    case FUNCTION_IM:
        arb_swap(re, im);
        arb_zero(im);
        break;
    case FUNCTION_RE:
        arb_zero(im);
        break;
    case FUNCTION_CONJUGATE:
        acb_conj(out->ball, out->ball);
        break;
    case FUNCTION_ARG:
        acb_arg(re, out->ball, precision);
        arb_zero(im);
        break;
    default:
        acb_sgn(out->ball, out->ball, precision);
        break;
    }
}

static bool is_integer_at(const struct value *value, slong number)
{
    return value->kind == VALUE_EXACT && fmpz_is_one(fmpq_denref(value->exact)) &&
           fmpz_equal_si(fmpq_numref(value->exact), number);
}

/* Limits of functions at an infinity. */
static void at_infinity(struct value *out, enum math_function function)
{
    bool positive = out->sign > 0;
    bool grows = function == FUNCTION_LN || function == FUNCTION_LOG || function == FUNCTION_LG ||
                 function == FUNCTION_EXP || function == FUNCTION_SINH || function == FUNCTION_COSH;
    if (function == FUNCTION_EXP && !positive)
        value_set_integer(out, 0);
    else if (function == FUNCTION_ABS)
        out->sign = 1;
    else if (!grows || !positive)
        out->kind = VALUE_NONE;
}

static void transcendental(struct value *out, enum math_function function, bool log_is_10,
                           slong precision)
{
    if (!value_is_below(out, function == FUNCTION_LN || function == FUNCTION_LOG ||
                                     function == FUNCTION_LG
                                 ? WORD_MAX
                                 : 128)) {
        out->kind = VALUE_NONE;
        return;
    }
    value_to_ball(out, precision);
    switch (function) {
    case FUNCTION_LN:
    case FUNCTION_LOG:
    case FUNCTION_LG:
        logarithm(out, function == FUNCTION_LG || (function == FUNCTION_LOG && log_is_10),
                  precision);
        break;
    case FUNCTION_EXP:
        acb_exp(out->ball, out->ball, precision);
        break;
    case FUNCTION_GAMMA:
        if (value_is_below(out, 64))
            acb_gamma(out->ball, out->ball, precision);
        else
            acb_indeterminate(out->ball);
        break;
    default:
        functions[function](out->ball, out->ball, precision);
        break;
    }
    out->kind = acb_is_finite(out->ball) ? VALUE_BALL : VALUE_NONE;
}

void value_function(struct value *out, enum math_function function, bool log_is_10, slong precision)
{
    if (out->kind == VALUE_NONE)
        return;
    bool logarithmic =
        function == FUNCTION_LN || function == FUNCTION_LOG || function == FUNCTION_LG;
    if (out->kind == VALUE_INFINITE)
        at_infinity(out, function);
    else if (function == FUNCTION_ABS)
        absolute(out, precision);
    else if (function == FUNCTION_FLOOR || function == FUNCTION_CEIL)
        round_value(out, function == FUNCTION_CEIL, precision);
    else if (function == FUNCTION_RE || function == FUNCTION_IM || function == FUNCTION_CONJUGATE ||
             function == FUNCTION_ARG || function == FUNCTION_SIGN)
        complex_part(out, function, precision);
    else if (logarithmic && is_integer_at(out, 1))
        value_set_integer(out, 0);
    else if (function == FUNCTION_EXP && is_integer_at(out, 0))
        value_set_integer(out, 1);
    else
        transcendental(out, function, log_is_10, precision);
}

/* ---- several arguments ---- */

static bool whole_numbers(const struct value *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (values[i].kind != VALUE_EXACT || !fmpz_is_one(fmpq_denref(values[i].exact)))
            return false;
    return count > 0;
}

static bool combine_whole(struct value *values, size_t count, bool gcd)
{
    if (!whole_numbers(values, count))
        return false;
    fmpz *first = fmpq_numref(values[0].exact);
    fmpz_abs(first, first);
    for (size_t i = 1; i < count; i++) {
        if (fmpz_bits(first) > VALUE_BITS_MAX)
            return false;
        if (gcd)
            fmpz_gcd(first, first, fmpq_numref(values[i].exact));
        else
            fmpz_lcm(first, first, fmpq_numref(values[i].exact));
    }
    return true;
}

static bool combine_extreme(struct value *values, size_t count, bool largest, slong precision)
{
    for (size_t i = 0; i < count; i++) {
        value_to_ball(&values[i], precision);
        if (values[i].kind != VALUE_BALL || !acb_is_real(values[i].ball))
            return false;
        arb_ptr first = acb_realref(values[0].ball), next = acb_realref(values[i].ball);
        if (largest)
            arb_max(first, first, next, precision);
        else
            arb_min(first, first, next, precision);
    }
    return count > 0;
}

static bool remainder_of(struct value *values)
{
    if (values[0].kind != VALUE_EXACT || values[1].kind != VALUE_EXACT ||
        fmpq_is_zero(values[1].exact))
        return false;
    fmpq_t quotient;
    fmpz_t whole;
    fmpq_init(quotient);
    fmpz_init(whole);
    fmpq_div(quotient, values[0].exact, values[1].exact);
    fmpz_fdiv_q(whole, fmpq_numref(quotient), fmpq_denref(quotient));
    fmpq_set_fmpz(quotient, whole);
    fmpq_mul(quotient, quotient, values[1].exact);
    fmpq_sub(values[0].exact, values[0].exact, quotient);
    fmpq_clear(quotient);
    fmpz_clear(whole);
    return true;
}

bool value_combine(struct value *values, size_t count, enum math_function function, slong precision)
{
    switch (function) {
    case FUNCTION_GCD:
    case FUNCTION_LCM:
        return combine_whole(values, count, function == FUNCTION_GCD);
    case FUNCTION_MIN:
    case FUNCTION_MAX:
        return combine_extreme(values, count, function == FUNCTION_MAX, precision);
    case FUNCTION_MOD:
        return count == 2 && remainder_of(values);
    default:
        return false;
    }
}
