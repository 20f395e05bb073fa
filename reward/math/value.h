/* reward/math/value.h - what an expression is worth: an exact rational as long as it is one and small, else a complex ball
 * (Arb: midpoint and radius that enclose the true value), an infinity, or nothing (undefined, or beyond the bounds).
 *
 * Before every power, factorial and binomial the size of the result is estimated; more than VALUE_BITS_MAX bits are never
 * computed exactly. Balls have exponents of any size, so 10^{10^{10}} is a ball; arguments beyond 2^128 of functions that
 * grow are refused. An evaluation stops for good (over) when its work or its time is used up. */
#ifndef REWARD_MATH_VALUE_H
#define REWARD_MATH_VALUE_H

#include <acb.h>
#include <flint/fmpq.h>

#include "reward/math/tree.h"

#if defined(__GNUC__) && \
    !defined(__clang__) /* gcc 12 takes a pointer to x->real for one to a part of it only */
#pragma GCC diagnostic ignored "-Wstringop-overread"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

enum {
    VALUE_BITS_MAX = 1 << 16,
    VALUE_TERMS_MAX = 1000,  /* of a sum or product */
    VALUE_WORK_MAX = 300000, /* nodes visited for one answer */
    VALUE_BOUND_MAX = 8      /* indices bound at a time */
};

enum value_kind { VALUE_NONE, VALUE_EXACT, VALUE_BALL, VALUE_INFINITE };

struct value {
    enum value_kind kind;
    int sign; /* of VALUE_INFINITE */
    fmpq_t exact;
    acb_t ball;
};

/* One evaluation, or several that share the budget. */
struct evaluation {
    slong precision; /* bits of balls */
    uint32_t point;  /* which values variables take; a fixed function of it and of the name */
    bool wide;       /* variables go farther and may be negative there */
    bool log_is_10;  /* how \log without a base is read */
    bool angle;      /* inside a trigonometric function: degrees count */
    uint32_t levels; /* of recursion, now */
    uint32_t work;
    int64_t cpu_ns, cpu_begin_ns; /* of this thread: what it may use, what it had used */
    int64_t check_ns;             /* until then there is certainly time */
    int64_t deadline_ns;          /* CLOCK_MONOTONIC, whatever was used */
    bool over;
    const struct node *const *alias_from; /* [alias_count] variables that are read as others */
    const struct node *const *alias_to;
    uint32_t alias_count;
    uint32_t bound_count;
    struct bound_index {
        const struct node *name;
        bool open; /* no number: a name of its own */
        slong at;
    } bound[VALUE_BOUND_MAX];
};

void evaluation_start(struct evaluation *evaluation, const struct math_time *time);
void value_init(struct value *value);
void value_clear(struct value *value);
void value_set_integer(struct value *value, slong number);
void value_set(struct value *to, const struct value *from);
/* The value of a scalar tree; sets, lists and relations get a number that depends on all that is in them. */
void math_evaluate(struct evaluation *evaluation, const struct node *tree, struct value *value);

/* Arithmetic; out may be an argument. */
void value_to_ball(struct value *value, slong precision);
void value_add(struct value *out, const struct value *a, const struct value *b, slong precision);
void value_negate(struct value *out);
void value_multiply(struct value *out, const struct value *a, const struct value *b,
                    slong precision);
void value_divide(struct value *out, const struct value *a, const struct value *b, slong precision);
void value_power(struct value *out, const struct value *base, const struct value *exponent,
                 slong precision);
void value_root(struct value *out, const struct value *radicand, const struct value *degree,
                slong precision);
void value_factorial(struct value *out, slong precision);
void value_binomial(struct value *out, const struct value *n, const struct value *k,
                    slong precision);
/* Functions of one argument, in place. log_is_10: FUNCTION_LOG is to base 10. */
void value_function(struct value *out, enum math_function function, bool log_is_10,
                    slong precision);
/* gcd, lcm, min, max, mod of `count` values into the first; false when it is none of them or they are no such numbers. */
bool value_combine(struct value *values, size_t count, enum math_function function,
                   slong precision);
/* A function without a definition: out += c * sin(a * argument + b), the constants fixed by the hash. */
void value_mix(struct value *out, const struct value *argument, uint64_t hash, slong precision);
/* The digits of NODE_NUMBER. */
void value_number(struct value *out, const char *text, size_t size, slong precision);
/* Whether |re| and |im| are below 2^bits for certain. */
bool value_is_below(const struct value *value, slong bits);
uint64_t value_hash(const char *text, size_t size, uint64_t seed);

#endif
