/* Powers, roots, factorials, binomials: where small texts make huge numbers. Every exact result is estimated first. */
#include "reward/math/value.h"

enum {
    FACTORIAL_MAX = 5000, /* 5000! has 54,000 bits */
    EXPONENT_BITS = 128   /* larger integers are no exponents */
};

static slong bits_of(const fmpq_t q)
{
    return (slong)(fmpz_bits(fmpq_numref(q)) + fmpz_bits(fmpq_denref(q)));
}

static bool is_integer(const struct value *value)
{
    return value->kind == VALUE_EXACT && fmpz_is_one(fmpq_denref(value->exact));
}

static void finish_ball(struct value *out)
{
    out->kind = acb_is_finite(out->ball) ? VALUE_BALL : VALUE_NONE;
}

/* Both exact, the exponent an integer. False when that is not so or the result would be too long. */
static bool power_exact(struct value *out, const struct value *base, const struct value *exponent)
{
    if (base->kind != VALUE_EXACT || !is_integer(exponent))
        return false;
    const fmpz *e = fmpq_numref(exponent->exact);
    if (fmpq_is_zero(base->exact)) {
        bool fine = fmpz_sgn(e) >= 0;
        value_set_integer(out, fmpz_is_zero(e) ? 1 : 0);
        out->kind = fine ? VALUE_EXACT : VALUE_NONE;
        return true;
    }
    if (fmpq_is_pm1(base->exact)) {
        value_set_integer(out, fmpq_sgn(base->exact) > 0 || fmpz_is_even(e) ? 1 : -1);
        return true;
    }
    if (!fmpz_fits_si(e))
        return false;
    slong n = fmpz_get_si(e), bits = bits_of(base->exact);
    if (n > VALUE_BITS_MAX || n < -VALUE_BITS_MAX || (n < 0 ? -n : n) * bits > VALUE_BITS_MAX)
        return false;
    fmpq_pow_si(out->exact, base->exact, n);
    out->kind = VALUE_EXACT;
    return true;
}

/* A real base to an exact p/q: the real root also of a negative base when q is odd. */
static bool power_rational(struct value *out, const struct value *base,
                           const struct value *exponent, slong precision)
{
    if (exponent->kind != VALUE_EXACT || base->kind == VALUE_INFINITE ||
        fmpz_bits(fmpq_numref(exponent->exact)) > EXPONENT_BITS ||
        fmpz_bits(fmpq_denref(exponent->exact)) > 30)
        return false;
    struct value real;
    value_init(&real);
    value_set(&real, base);
    value_to_ball(&real, precision);
    arb_ptr x = acb_realref(real.ball);
    bool odd = fmpz_is_odd(fmpq_denref(exponent->exact));
    bool negative = acb_is_real(real.ball) && arb_is_negative(x);
    bool known = acb_is_real(real.ball) &&
                 (arb_is_positive(x) || (negative && odd && base->kind == VALUE_EXACT));
    if (known) {
        if (negative)
            arb_neg(x, x);
        arb_pow_fmpq(x, x, exponent->exact, precision);
        if (negative && fmpz_is_odd(fmpq_numref(exponent->exact)))
            arb_neg(x, x);
        acb_swap(out->ball, real.ball);
        finish_ball(out);
    }
    value_clear(&real);
    return known;
}

static void power_infinite(struct value *out, const struct value *base,
                           const struct value *exponent)
{
    bool integer = is_integer(exponent);
    int sign = 0;
    if (base->kind == VALUE_INFINITE && exponent->kind == VALUE_EXACT &&
        fmpq_sgn(exponent->exact) > 0 && (base->sign > 0 || integer))
        sign = base->sign > 0 || fmpz_is_even(fmpq_numref(exponent->exact)) ? 1 : -1;
    else if (base->kind == VALUE_EXACT && exponent->kind == VALUE_INFINITE && exponent->sign > 0 &&
             fmpq_cmp_si(base->exact, 1) > 0)
        sign = 1;
    out->kind = sign != 0 ? VALUE_INFINITE : VALUE_NONE;
    out->sign = sign;
}

void value_power(struct value *out, const struct value *base, const struct value *exponent,
                 slong precision)
{
    if (base->kind == VALUE_NONE || exponent->kind == VALUE_NONE) {
        out->kind = VALUE_NONE;
        return;
    }
    if (base->kind == VALUE_INFINITE || exponent->kind == VALUE_INFINITE) {
        power_infinite(out, base, exponent);
        return;
    }
    if (power_exact(out, base, exponent) || power_rational(out, base, exponent, precision))
        return;
    struct value x, y;
    value_init(&x);
    value_init(&y);
    value_set(&x, base);
    value_set(&y, exponent);
    bool integer = is_integer(exponent) && fmpz_bits(fmpq_numref(y.exact)) <= EXPONENT_BITS;
    bool fine = value_is_below(&y, EXPONENT_BITS);
    value_to_ball(&x, precision);
    if (fine && integer) {
        acb_pow_fmpz(out->ball, x.ball, fmpq_numref(y.exact), precision);
    } else if (fine) {
        value_to_ball(&y, precision);
        acb_pow(out->ball, x.ball, y.ball, precision);
    }
    out->kind = VALUE_NONE;
    if (fine)
        finish_ball(out);
    value_clear(&x);
    value_clear(&y);
}

/* The n-th root of a fraction of perfect powers. */
static bool root_exact(struct value *out, const struct value *radicand, slong n)
{
    if (radicand->kind != VALUE_EXACT || fmpq_sgn(radicand->exact) < 0 || n < 1 || n > 1000)
        return false;
    fmpq_t root, power;
    fmpq_init(root);
    fmpq_init(power);
    fmpz_root(fmpq_numref(root), fmpq_numref(radicand->exact), n);
    fmpz_root(fmpq_denref(root), fmpq_denref(radicand->exact), n);
    fmpq_pow_si(power, root, n);
    bool exact = fmpq_equal(power, radicand->exact);
    if (exact) {
        fmpq_swap(out->exact, root);
        out->kind = VALUE_EXACT;
    }
    fmpq_clear(root);
    fmpq_clear(power);
    return exact;
}

void value_root(struct value *out, const struct value *radicand, const struct value *degree,
                slong precision)
{
    if (radicand->kind == VALUE_NONE || degree->kind == VALUE_NONE ||
        degree->kind == VALUE_INFINITE) {
        out->kind = VALUE_NONE;
        return;
    }
    if (radicand->kind == VALUE_INFINITE) {
        out->kind = radicand->sign > 0 ? VALUE_INFINITE : VALUE_NONE;
        out->sign = 1;
        return;
    }
    bool small = is_integer(degree) && fmpz_fits_si(fmpq_numref(degree->exact));
    slong n = small ? fmpz_get_si(fmpq_numref(degree->exact)) : 0;
    if (root_exact(out, radicand, n))
        return;
    struct value one;
    value_init(&one);
    if (n >= 2 && n <= 100000) {
        value_set(&one, radicand);
        value_to_ball(&one, precision);
        arb_ptr x = acb_realref(one.ball);
        bool negative = acb_is_real(one.ball) && arb_is_negative(x) && n % 2 == 1;
        if (negative)
            arb_neg(x, x);
        acb_root_ui(out->ball, one.ball, (ulong)n, precision);
        if (negative)
            acb_neg(out->ball, out->ball);
        finish_ball(out);
    } else {
        value_set_integer(&one, 1);
        value_divide(&one, &one, degree, precision);
        value_power(out, radicand, &one, precision);
    }
    value_clear(&one);
}

/* Gamma(x + 1); the argument must be below 2^64. */
static void gamma_of_next(struct value *out, slong precision)
{
    bool fine = value_is_below(out, 64);
    value_to_ball(out, precision);
    if (!fine || out->kind != VALUE_BALL) {
        out->kind = VALUE_NONE;
        return;
    }
    acb_add_ui(out->ball, out->ball, 1, precision);
    acb_gamma(out->ball, out->ball, precision);
    finish_ball(out);
}

void value_factorial(struct value *out, slong precision)
{
    if (is_integer(out) && fmpq_sgn(out->exact) < 0) {
        out->kind = VALUE_NONE;
    } else if (is_integer(out) && fmpz_cmp_si(fmpq_numref(out->exact), FACTORIAL_MAX) <= 0) {
        fmpz_t result;
        fmpz_init(result);
        fmpz_fac_ui(result, fmpz_get_ui(fmpq_numref(out->exact)));
        fmpq_set_fmpz(out->exact, result);
        fmpz_clear(result);
    } else if (out->kind != VALUE_INFINITE || out->sign < 0) {
        gamma_of_next(out, precision);
    }
}

/* n and k whole, 0 <= k <= n, and the smaller of k and n - k times the bits of n small enough. */
static bool binomial_exact(struct value *out, const struct value *n, const struct value *k)
{
    if (!is_integer(n) || !is_integer(k) || fmpq_sgn(n->exact) < 0)
        return false;
    if (fmpq_sgn(k->exact) < 0 || fmpq_cmp(k->exact, n->exact) > 0) {
        value_set_integer(out, 0);
        return true;
    }
    if (!fmpz_fits_si(fmpq_numref(n->exact)))
        return false;
    slong top = fmpz_get_si(fmpq_numref(n->exact)), below = fmpz_get_si(fmpq_numref(k->exact));
    slong smaller = below < top - below ? below : top - below;
    if (smaller > FACTORIAL_MAX ||
        smaller * (slong)fmpz_bits(fmpq_numref(n->exact)) > VALUE_BITS_MAX)
        return false;
    fmpz_t result;
    fmpz_init(result);
    fmpz_bin_uiui(result, (ulong)top, (ulong)smaller);
    fmpq_set_fmpz(out->exact, result);
    out->kind = VALUE_EXACT;
    fmpz_clear(result);
    return true;
}

void value_binomial(struct value *out, const struct value *n, const struct value *k,
                    slong precision)
{
    if (binomial_exact(out, n, k))
        return;
    struct value top, below, rest;
    value_init(&top);
    value_init(&below);
    value_init(&rest);
    value_set(&rest, k);
    value_negate(&rest);
    value_add(&rest, n, &rest, precision);
    value_set(&top, n);
    value_set(&below, k);
    value_factorial(&top, precision);
    value_factorial(&below, precision);
    value_factorial(&rest, precision);
    value_multiply(&below, &below, &rest, precision);
    value_divide(out, &top, &below, precision);
    value_clear(&top);
    value_clear(&below);
    value_clear(&rest);
}
