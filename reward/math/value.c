/* Arithmetic of values: exact while both sides are exact and the result stays small, balls otherwise. */
#include "reward/math/value.h"

#include <string.h>

void value_init(struct value *value)
{
    value->kind = VALUE_NONE;
    value->sign = 0;
    fmpq_init(value->exact);
    acb_init(value->ball);
}

void value_clear(struct value *value)
{
    fmpq_clear(value->exact);
    acb_clear(value->ball);
}

void value_set_integer(struct value *value, slong number)
{
    value->kind = VALUE_EXACT;
    fmpq_set_si(value->exact, number, 1);
}

void value_set(struct value *to, const struct value *from)
{
    if (to == from)
        return;
    to->kind = from->kind;
    to->sign = from->sign;
    if (from->kind == VALUE_EXACT)
        fmpq_set(to->exact, from->exact);
    else if (from->kind == VALUE_BALL)
        acb_set(to->ball, from->ball);
}

uint64_t value_hash(const char *text, size_t size, uint64_t seed)
{
    uint64_t hash = seed ^ UINT64_C(0xcbf29ce484222325); /* FNV-1a, then a finaliser (splitmix64) */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    hash = (hash ^ (hash >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    hash = (hash ^ (hash >> 27)) * UINT64_C(0x94d049bb133111eb);
    return hash ^ (hash >> 31);
}

static slong bits_of(const fmpq_t q)
{
    return (slong)(fmpz_bits(fmpq_numref(q)) + fmpz_bits(fmpq_denref(q)));
}

/* After an operation: an exact value that grew too long goes on as a ball, a ball without a finite midpoint or with a
 * radius that says nothing is no value. */
static void settle(struct value *value, slong precision)
{
    if (value->kind == VALUE_EXACT && bits_of(value->exact) > VALUE_BITS_MAX)
        value_to_ball(value, precision);
    if (value->kind == VALUE_BALL && !acb_is_finite(value->ball))
        value->kind = VALUE_NONE;
}

void value_to_ball(struct value *value, slong precision)
{
    if (value->kind != VALUE_EXACT)
        return;
    arb_set_fmpq(acb_realref(value->ball), value->exact, precision);
    arb_zero(acb_imagref(value->ball));
    value->kind = VALUE_BALL;
}

/* Copies of both sides as balls. */
static void as_balls(acb_t x, acb_t y, const struct value *a, const struct value *b,
                     slong precision)
{
    const struct value *from[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        acb_ptr to = i == 0 ? x : y;
        if (from[i]->kind == VALUE_EXACT) {
            arb_set_fmpq(acb_realref(to), from[i]->exact, precision);
            arb_zero(acb_imagref(to));
        } else {
            acb_set(to, from[i]->ball);
        }
    }
}

/* -1, 0, 1 of a real value; 2 when it is not certain. */
static int sign_of(const struct value *value)
{
    if (value->kind == VALUE_INFINITE)
        return value->sign;
    if (value->kind == VALUE_EXACT)
        return fmpq_sgn(value->exact);
    if (value->kind != VALUE_BALL || !acb_is_real(value->ball))
        return 2;
    if (arb_is_positive(acb_realref(value->ball)))
        return 1;
    return arb_is_negative(acb_realref(value->ball)) ? -1 : 2;
}

static void set_infinite(struct value *out, int sign)
{
    out->kind = sign == 1 || sign == -1 ? VALUE_INFINITE : VALUE_NONE;
    out->sign = sign;
}

bool value_is_below(const struct value *value, slong bits)
{
    if (value->kind == VALUE_EXACT)
        return (slong)fmpz_bits(fmpq_numref(value->exact)) -
                   (slong)fmpz_bits(fmpq_denref(value->exact)) <
               bits;
    if (value->kind != VALUE_BALL)
        return false;
    mag_t size;
    mag_init(size);
    acb_get_mag(size, value->ball);
    bool below = mag_cmp_2exp_si(size, bits) < 0;
    mag_clear(size);
    return below;
}

void value_add(struct value *out, const struct value *a, const struct value *b, slong precision)
{
    if (a->kind == VALUE_NONE || b->kind == VALUE_NONE) {
        out->kind = VALUE_NONE;
    } else if (a->kind == VALUE_INFINITE || b->kind == VALUE_INFINITE) {
        bool opposite = a->kind == b->kind && a->sign != b->sign;
        set_infinite(out, opposite ? 0 : a->kind == VALUE_INFINITE ? a->sign : b->sign);
    } else if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        fmpq_add(out->exact, a->exact, b->exact);
        out->kind = VALUE_EXACT;
    } else {
        acb_t x, y;
        acb_init(x);
        acb_init(y);
        as_balls(x, y, a, b, precision);
        acb_add(out->ball, x, y, precision);
        acb_clear(x);
        acb_clear(y);
        out->kind = VALUE_BALL;
    }
    settle(out, precision);
}

void value_negate(struct value *out)
{
    if (out->kind == VALUE_EXACT)
        fmpq_neg(out->exact, out->exact);
    else if (out->kind == VALUE_BALL)
        acb_neg(out->ball, out->ball);
    else
        out->sign = -out->sign;
}

static bool is_zero(const struct value *value)
{
    return (value->kind == VALUE_EXACT && fmpq_is_zero(value->exact)) ||
           (value->kind == VALUE_BALL && acb_is_zero(value->ball));
}

void value_multiply(struct value *out, const struct value *a, const struct value *b,
                    slong precision)
{
    if (a->kind == VALUE_NONE || b->kind == VALUE_NONE) {
        out->kind = VALUE_NONE;
    } else if (a->kind == VALUE_INFINITE || b->kind == VALUE_INFINITE) {
        int x = sign_of(a), y = sign_of(b);
        set_infinite(out, x == 2 || y == 2 ? 0 : x * y);
    } else if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        fmpq_mul(out->exact, a->exact, b->exact);
        out->kind = VALUE_EXACT;
    } else {
        acb_t x, y;
        acb_init(x);
        acb_init(y);
        as_balls(x, y, a, b, precision);
        acb_mul(out->ball, x, y, precision);
        acb_clear(x);
        acb_clear(y);
        out->kind = VALUE_BALL;
    }
    settle(out, precision);
}

void value_divide(struct value *out, const struct value *a, const struct value *b, slong precision)
{
    if (a->kind == VALUE_NONE || b->kind == VALUE_NONE || is_zero(b) ||
        (a->kind == VALUE_INFINITE && b->kind == VALUE_INFINITE)) {
        out->kind = VALUE_NONE;
    } else if (b->kind == VALUE_INFINITE) {
        value_set_integer(out, 0);
    } else if (a->kind == VALUE_INFINITE) {
        int x = a->sign, y = sign_of(b);
        set_infinite(out, y == 2 ? 0 : x * y);
    } else if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        fmpq_div(out->exact, a->exact, b->exact);
        out->kind = VALUE_EXACT;
    } else {
        acb_t x, y;
        acb_init(x);
        acb_init(y);
        as_balls(x, y, a, b, precision);
        acb_div(out->ball, x, y, precision);
        acb_clear(x);
        acb_clear(y);
        out->kind = VALUE_BALL;
    }
    settle(out, precision);
}

/* ---- numbers as written ---- */

/* Appends the digits of [at, end) to the integer and says how many there were. */
static slong read_digits(fmpz_t number, const char *at, const char *end)
{
    slong count = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++, count++) {
        fmpz_mul_ui(number, number, 10);
        fmpz_add_ui(number, number, (ulong)(*at - '0'));
    }
    return count;
}

static slong read_exponent(const char *at, const char *end)
{
    bool negative = at < end && *at == '-';
    slong exponent = 0;
    for (at += at < end && (*at == '-' || *at == '+'); at < end; at++)
        exponent = exponent * 10 + (*at - '0');
    return negative ? -exponent : exponent;
}

/* 1.2(34)e5 = (1.2 + 34 / (99 * 10)) * 10^5. */
void value_number(struct value *out, const char *text, size_t size, slong precision)
{
    const char *at = text, *end = text + size;
    fmpz_t digits, repeat, scale;
    fmpz_init(digits);
    fmpz_init(repeat);
    fmpz_init(scale);
    slong exponent = 0, after = 0, period = 0;
    at += read_digits(digits, at, end);
    if (at < end && *at == '.') {
        after = read_digits(digits, at + 1, end);
        at += 1 + after;
    }
    if (at < end && *at == '(') {
        period = read_digits(repeat, at + 1, end);
        at += 2 + period;
    }
    if (at < end)
        exponent = read_exponent(at + 1, end);
    fmpz_ui_pow_ui(scale, 10, (ulong)after);
    fmpq_set_fmpz_frac(out->exact, digits, scale);
    if (period > 0) {
        fmpq_t more;
        fmpq_init(more);
        fmpz_ui_pow_ui(digits, 10, (ulong)period);
        fmpz_sub_ui(digits, digits, 1);
        fmpz_mul(digits, digits, scale);
        fmpq_set_fmpz_frac(more, repeat, digits);
        fmpq_add(out->exact, out->exact, more);
        fmpq_clear(more);
    }
    out->kind = VALUE_EXACT;
    if (exponent != 0) {
        struct value ten, power;
        value_init(&ten);
        value_init(&power);
        value_set_integer(&ten, 10);
        value_set_integer(&power, exponent);
        value_power(&power, &ten, &power, precision);
        value_multiply(out, out, &power, precision);
        value_clear(&ten);
        value_clear(&power);
    }
    settle(out, precision);
    fmpz_clear(digits);
    fmpz_clear(repeat);
    fmpz_clear(scale);
}

/* ---- mixing ---- */

void value_mix(struct value *out, const struct value *argument, uint64_t hash, slong precision)
{
    if (argument->kind == VALUE_NONE || out->kind == VALUE_NONE ||
        !(argument->kind == VALUE_INFINITE || value_is_below(argument, 128))) {
        out->kind = VALUE_NONE;
        return;
    }
    struct value part, factor;
    value_init(&part);
    value_init(&factor);
    factor.kind = VALUE_EXACT;
    fmpq_set_ui(factor.exact, 300 + hash % 701, 911);
    if (argument->kind == VALUE_INFINITE)
        value_set_integer(&part, argument->sign * 12347);
    else
        value_multiply(&part, argument, &factor, precision);
    fmpq_set_ui(factor.exact, 1 + (hash >> 12) % 1009, 1013);
    value_add(&part, &part, &factor, precision);
    value_to_ball(&part, precision);
    if (part.kind == VALUE_BALL) {
        acb_sin(part.ball, part.ball, precision);
        fmpq_set_ui(factor.exact, 500 + (hash >> 24) % 997, 991);
        value_multiply(&part, &part, &factor, precision);
    }
    value_add(out, out, &part, precision);
    value_clear(&part);
    value_clear(&factor);
}
