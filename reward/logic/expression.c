#include "reward/logic/expression.h"

#include <string.h>

enum { DEPTH_MAX = 32 };

/* ---- fractions ---- */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

static bool fraction_make(int64_t numerator, int64_t denominator, struct fraction *result)
{
    if (denominator == 0 || numerator == INT64_MIN || denominator == INT64_MIN)
        return false;
    int64_t divisor = common_divisor(numerator, denominator);
    if (denominator < 0)
        divisor = -divisor;
    *result = (struct fraction){numerator / divisor, denominator / divisor};
    return true;
}

static bool multiply(struct fraction a, struct fraction b, struct fraction *result)
{
    int64_t numerator, denominator;
    return !__builtin_mul_overflow(a.numerator, b.numerator, &numerator) &&
           !__builtin_mul_overflow(a.denominator, b.denominator, &denominator) &&
           fraction_make(numerator, denominator, result);
}

static bool add(struct fraction a, struct fraction b, int64_t sign, struct fraction *result)
{
    int64_t left, right, numerator, denominator;
    return !__builtin_mul_overflow(a.numerator, b.denominator, &left) &&
           !__builtin_mul_overflow(sign * b.numerator, a.denominator, &right) &&
           !__builtin_add_overflow(left, right, &numerator) &&
           !__builtin_mul_overflow(a.denominator, b.denominator, &denominator) &&
           fraction_make(numerator, denominator, result);
}

static bool divide(struct fraction a, struct fraction b, struct fraction *result)
{
    struct fraction inverse;
    return fraction_make(b.denominator, b.numerator, &inverse) && multiply(a, inverse, result);
}

static bool floor_divide(struct fraction a, struct fraction b, struct fraction *result)
{
    struct fraction quotient;
    if (!divide(a, b, &quotient))
        return false;
    int64_t whole = quotient.numerator / quotient.denominator;
    if (quotient.numerator % quotient.denominator < 0)
        whole--;
    *result = (struct fraction){whole, 1};
    return true;
}

static bool power(struct fraction a, struct fraction b, struct fraction *result)
{
    if (b.denominator != 1 || b.numerator > 64 || b.numerator < -64 ||
        (a.numerator == 0 && b.numerator < 0))
        return false;
    struct fraction product = {1, 1};
    for (int64_t i = b.numerator < 0 ? -b.numerator : b.numerator; i > 0; i--)
        if (!multiply(product, a, &product))
            return false;
    return b.numerator >= 0 ? (*result = product, true)
                            : fraction_make(product.denominator, product.numerator, result);
}

bool fraction_combine(struct fraction a, char operator_, struct fraction b, struct fraction *result)
{
    struct fraction whole, part;
    switch (operator_) {
    case '+':
        return add(a, b, 1, result);
    case '-':
        return add(a, b, -1, result);
    case '*':
        return multiply(a, b, result);
    case '/':
        return divide(a, b, result);
    case '_': /* // */
        return floor_divide(a, b, result);
    case '%': /* as Python's: a - b * floor(a / b) */
        return floor_divide(a, b, &whole) && multiply(b, whole, &part) && add(a, part, -1, result);
    case '^': /* ** */
        return power(a, b, result);
    default:
        return false;
    }
}

bool fraction_equal(struct fraction a, int64_t whole)
{
    return a.denominator == 1 && a.numerator == whole;
}

/* ---- the text ---- */

struct parser {
    const char *at, *end;
    unsigned operators;
    int depth;
    struct expression_leaves *leaves;
};

static bool read_sum(struct parser *parser, struct fraction *value);
static bool read_signed(struct parser *parser, struct fraction *value);

static bool take(struct parser *parser, const char *what)
{
    size_t length = strlen(what);
    if ((size_t)(parser->end - parser->at) < length || memcmp(parser->at, what, length) != 0)
        return false;
    parser->at += length;
    return true;
}

static void skip_space(struct parser *parser)
{
    for (;;) {
        if (parser->at < parser->end && *parser->at != '\0' &&
            strchr(" \t\r\n", *parser->at) != NULL)
            parser->at++;
        else if (!take(parser, "\\left") && !take(parser, "\\right") && !take(parser, "\\,"))
            return;
    }
}

/* The operator that comes next as one character, 0 when there is none of `wanted`. */
static char take_operator(struct parser *parser, unsigned wanted)
{
    static const struct {
        const char *text;
        unsigned bit;
        char name;
    } table[] = {{"**", EXPRESSION_POWER, '^'},
                 {"^", EXPRESSION_POWER, '^'},
                 {"//", EXPRESSION_FLOOR_DIVIDE, '_'},
                 {"*", EXPRESSION_MULTIPLY, '*'},
                 {"×", EXPRESSION_MULTIPLY, '*'},
                 {"·", EXPRESSION_MULTIPLY, '*'},
                 {"\\times", EXPRESSION_MULTIPLY, '*'},
                 {"\\cdot", EXPRESSION_MULTIPLY, '*'},
                 {"/", EXPRESSION_DIVIDE, '/'},
                 {"÷", EXPRESSION_DIVIDE, '/'},
                 {"\\div", EXPRESSION_DIVIDE, '/'},
                 {"%", EXPRESSION_MODULO, '%'},
                 {"\\%", EXPRESSION_MODULO, '%'},
                 {"\\bmod", EXPRESSION_MODULO, '%'},
                 {"+", EXPRESSION_ADD, '+'},
                 {"-", EXPRESSION_SUBTRACT, '-'},
                 {"−", EXPRESSION_SUBTRACT, '-'},
                 {"–", EXPRESSION_SUBTRACT, '-'}};
    skip_space(parser);
    const char *from = parser->at;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!take(parser, table[i].text))
            continue;
        if ((table[i].bit & wanted & parser->operators) != 0)
            return table[i].name;
        parser->at = from; /* "**" is no "*" */
        return 0;
    }
    return 0;
}

static bool is_digit(const struct parser *parser)
{
    return parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9';
}

static bool read_number(struct parser *parser, struct fraction *value)
{
    int64_t number = 0, scale = 1;
    for (; is_digit(parser); parser->at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *parser->at - '0', &number))
            return false;
    if ((parser->operators & EXPRESSION_DECIMAL) != 0 && parser->end - parser->at > 1 &&
        *parser->at == '.') {
        for (parser->at++; is_digit(parser); parser->at++)
            if (__builtin_mul_overflow(number, 10, &number) ||
                __builtin_add_overflow(number, *parser->at - '0', &number) ||
                __builtin_mul_overflow(scale, 10, &scale))
                return false;
    }
    if (parser->leaves != NULL) {
        if (parser->leaves->count == EXPRESSION_LEAVES_MAX)
            return false;
        parser->leaves->value[parser->leaves->count++] = number;
    }
    return fraction_make(number, scale, value);
}

static bool read_group(struct parser *parser, const char *close, struct fraction *value)
{
    if (parser->depth >= DEPTH_MAX)
        return false;
    parser->depth++;
    bool fine = read_sum(parser, value);
    parser->depth--;
    skip_space(parser);
    return fine && take(parser, close);
}

static bool read_primary(struct parser *parser, struct fraction *value)
{
    skip_space(parser);
    if (is_digit(parser))
        return read_number(parser, value);
    if (take(parser, "("))
        return read_group(parser, ")", value);
    if ((parser->operators & EXPRESSION_DIVIDE) != 0 &&
        (take(parser, "\\frac{") || take(parser, "\\dfrac{") || take(parser, "\\tfrac{"))) {
        struct fraction above, below;
        return read_group(parser, "}", &above) && take(parser, "{") &&
               read_group(parser, "}", &below) && fraction_combine(above, '/', below, value);
    }
    return false;
}

/* a ** b: binds to the right, and its left side tighter than a sign before it. */
static bool read_power(struct parser *parser, struct fraction *value)
{
    struct fraction exponent;
    if (!read_primary(parser, value))
        return false;
    if (take_operator(parser, EXPRESSION_POWER) == 0)
        return true;
    if (parser->depth >= DEPTH_MAX)
        return false;
    parser->depth++;
    bool fine = read_signed(parser, &exponent) && fraction_combine(*value, '^', exponent, value);
    parser->depth--;
    return fine;
}

static bool read_signed(struct parser *parser, struct fraction *value)
{
    bool minus = false;
    while ((parser->operators & EXPRESSION_SIGN) != 0) {
        skip_space(parser);
        if (take(parser, "-") || take(parser, "−") || take(parser, "–"))
            minus = !minus;
        else if (!take(parser, "+"))
            break;
    }
    if (!read_power(parser, value))
        return false;
    value->numerator = minus ? -value->numerator : value->numerator;
    return true;
}

static bool read_product(struct parser *parser, struct fraction *value)
{
    const unsigned wanted =
        EXPRESSION_MULTIPLY | EXPRESSION_DIVIDE | EXPRESSION_MODULO | EXPRESSION_FLOOR_DIVIDE;
    if (!read_signed(parser, value))
        return false;
    for (char operator_; (operator_ = take_operator(parser, wanted)) != 0;) {
        struct fraction right;
        if (!read_signed(parser, &right) || !fraction_combine(*value, operator_, right, value))
            return false;
    }
    return true;
}

static bool read_sum(struct parser *parser, struct fraction *value)
{
    if (!read_product(parser, value))
        return false;
    for (char operator_;
         (operator_ = take_operator(parser, EXPRESSION_ADD | EXPRESSION_SUBTRACT)) != 0;) {
        struct fraction right;
        if (!read_product(parser, &right) || !fraction_combine(*value, operator_, right, value))
            return false;
    }
    return true;
}

bool expression_value(struct answer_span text, unsigned operators, struct fraction *value,
                      struct expression_leaves *leaves)
{
    struct parser parser = {text.at, text.at + text.size, operators, 0, leaves};
    if (leaves != NULL)
        leaves->count = 0;
    if (text.size > EXPRESSION_SIZE_MAX || !read_sum(&parser, value))
        return false;
    skip_space(&parser);
    return parser.at == parser.end;
}
