/* Sums, products (with and without a sign), signs, powers and what follows an atom. */
#include "reward/math/parse.h"

#include <ctype.h>
#include <string.h>

static bool starts_atom(int kind)
{
    switch (kind) {
    case TOKEN_NUMBER:
    case TOKEN_LETTER:
    case TOKEN_WORD:
    case TOKEN_TEXT:
    case TOKEN_CONSTANT:
    case TOKEN_FUNCTION:
    case TOKEN_FRACTION:
    case TOKEN_ROOT:
    case TOKEN_BINOMIAL:
    case TOKEN_FLOOR_OPEN:
    case TOKEN_CEIL_OPEN:
    case TOKEN_BAR_OPEN:
    case TOKEN_SUM:
    case TOKEN_PRODUCT:
    case TOKEN_INTEGRAL:
    case TOKEN_BEGIN:
    case TOKEN_ANGLE_OPEN:
    case TOKEN_OVERLINE:
    case '(':
    case '[':
    case '{':
        return true;
    default:
        return false;
    }
}

bool parse_starts_factor(const struct parser *parser)
{
    int kind = parser->at->kind;
    if (kind == '|')
        return parser->bars == 0 && !parser->builder;
    if (kind == TOKEN_NUMBER && parser->at > parser->first && parser->at[-1].kind == TOKEN_NUMBER)
        return false; /* two numbers side by side are no product */
    return starts_atom(kind);
}

/* ---- units: what follows a value and says only of what it is ---- */

/* "5 \text{ (or 7)}" */
static bool offers_another(const struct token *token)
{
    bool word = false;
    for (size_t i = 0; i + 2 <= token->size; i++) {
        char after = i + 2 < token->size ? token->text[i + 2] : ' ';
        bool begins = i == 0 || !isalpha((unsigned char)token->text[i - 1]);
        word |= begins && memcmp(token->text + i, "or", 2) == 0 && !isalpha((unsigned char)after);
    }
    return word;
}

bool parse_is_unit(const struct parser *parser)
{
    const struct token *token = parser->at;
    if (token->kind == TOKEN_TEXT)
        return !offers_another(token);
    if (token->kind != TOKEN_WORD || parser->at == parser->first)
        return false;
    int before = token[-1].kind;
    bool value = before == TOKEN_NUMBER || before == '}' || before == ')' || before == TOKEN_WORD ||
                 before == '%' || before == TOKEN_TEXT || before == TOKEN_CONSTANT;
    return value &&
           (math_word_is_unit(token->text, token->size) || (token->space && token->size >= 4));
}

void parse_skip_unit(struct parser *parser)
{
    while (parse_is_unit(parser)) {
        parser->at++;
        if (parser->at->kind == '^') {
            parser->at++;
            bool braced = parse_take(parser, '{');
            parse_take(parser, '-');
            parse_take(parser, TOKEN_NUMBER);
            if (braced && !parse_take(parser, '}'))
                parser->failed = true;
        }
        if (parser->at->kind == '/' &&
            (parser->at[1].kind == TOKEN_TEXT || parser->at[1].kind == TOKEN_WORD))
            parser->at++;
        else if (parser->at->kind == '*' && parser->at[1].kind == TOKEN_TEXT)
            parser->at++;
        if (parser->at > parser->first && parser->at[-1].kind == '/' &&
            parser->at->kind == TOKEN_WORD)
            parser->at++; /* km/h */
    }
}

/* ---- powers ---- */

/* After ^: a group, or an atom with its sign. */
static struct node *parse_exponent(struct parser *parser)
{
    if (!parse_enter(parser))
        return NULL;
    bool negative = parse_take(parser, '-');
    if (!negative)
        parse_take(parser, '+');
    struct node *exponent =
        parser->at->kind == TOKEN_FUNCTION ? parse_function(parser) : parse_atom(parser);
    if (exponent != NULL && parser->at->kind == '^') { /* a^b^c is a^(b^c) */
        parser->at++;
        exponent = parse_new_2(parser, NODE_POWER, exponent, parse_exponent(parser));
    }
    parse_leave(parser);
    return negative ? parse_new_1(parser, NODE_NEGATE, exponent) : exponent;
}

/* ^\circ, ^*, ^+ and the like: true when the token after ^ was one of them. */
static bool parse_mark(struct parser *parser, struct node **base)
{
    struct token *from = parser->at;
    bool braced = parse_take(parser, '{');
    int kind = parser->at->kind;
    const char *name = parser->at->text;
    size_t size = parser->at->size;
    bool known = kind == TOKEN_DEGREE || kind == '*' || kind == TOKEN_PRIME ||
                 ((kind == '+' || kind == '-') &&
                  (parser->at[1].kind == '}' || !starts_atom(parser->at[1].kind)));
    if (known) {
        parser->at++;
        while (parse_take(parser, TOKEN_PRIME))
            name = "''", size = 2;
    }
    if (!known || (braced && !parse_take(parser, '}'))) {
        parser->at = from;
        return false;
    }
    *base = kind == TOKEN_DEGREE ? parse_new_1(parser, NODE_DEGREE, *base)
                                 : parse_call(parser, name, size, *base, NULL);
    return true;
}

/* The number in words that a subscript may give as a base. */
static struct node *base_of(struct parser *parser, const struct node *subscript)
{
    static const char *const names[] = {"two",    "three",    "four",     "five",    "six",
                                        "seven",  "eight",    "nine",     "ten",     "eleven",
                                        "twelve", "thirteen", "fourteen", "fifteen", "sixteen"},
                             *const numbers[] = {"2",  "3",  "4",  "5",  "6",  "7",  "8", "9",
                                                 "10", "11", "12", "13", "14", "15", "16"};
    if (subscript->kind != NODE_TEXT)
        return NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (math_text_is(subscript->text, subscript->size, names[i]))
            return parse_named(parser, NODE_NUMBER, numbers[i], strlen(numbers[i]));
    return NULL;
}

static struct node *parse_base(struct parser *parser, struct node *digits)
{
    struct node *base = parse_argument(parser);
    if (base == NULL)
        return NULL;
    if (base->kind == NODE_TEXT)
        base = base_of(parser, base);
    if (base == NULL || digits->kind != NODE_NUMBER || base->kind != NODE_NUMBER)
        return base != NULL ? parse_call(parser, "_", 1, digits, base) : parse_fail(parser);
    struct node *node = parse_new_1(parser, NODE_BASE, base);
    if (node != NULL) {
        node->text = digits->text;
        node->size = digits->size;
    }
    return node;
}

static struct node *parse_degree(struct parser *parser, struct node *value)
{
    parser->at++;
    const struct token *next = parser->at;
    if (next->kind == TOKEN_LETTER &&
        (math_text_is(next->text, next->size, "C") || math_text_is(next->text, next->size, "F")))
        parser->at++;
    return parse_new_1(parser, NODE_DEGREE, value);
}

struct node *parse_power(struct parser *parser)
{
    if (!parse_enter(parser))
        return NULL;
    struct node *base = parse_atom(parser);
    while (base != NULL && !parser->failed) {
        int kind = parser->at->kind;
        if (kind == '!') {
            parser->at++;
            base = parser->at->kind == '!' ? (parser->at++, parse_call(parser, "!!", 2, base, NULL))
                                           : parse_new_1(parser, NODE_FACTORIAL, base);
        } else if (kind == '^') {
            parser->at++;
            if (!parse_mark(parser, &base))
                base = parse_new_2(parser, NODE_POWER, base, parse_exponent(parser));
        } else if (kind == '_' || (kind == TOKEN_BASE && base->kind == NODE_NUMBER)) {
            parser->at++;
            base = parse_base(parser, base);
        } else if (kind == '%') {
            parser->at++;
            base = parse_new_1(parser, NODE_PERCENT, base);
        } else if (kind == TOKEN_DEGREE) {
            base = parse_degree(parser, base);
        } else if (kind == TOKEN_PRIME) {
            parser->at++;
            base = parse_call(parser, "'", 1, base, NULL);
        } else {
            break;
        }
    }
    parse_leave(parser);
    return base;
}

static struct node *parse_signed(struct parser *parser)
{
    if (!parse_enter(parser))
        return NULL;
    struct node *node = NULL;
    if (parse_take(parser, '-'))
        node = parse_new_1(parser, NODE_NEGATE, parse_signed(parser));
    else if (parse_take(parser, '+'))
        node = parse_signed(parser);
    else if (parse_take(parser, TOKEN_PLUS_MINUS))
        node = parse_new_1(parser, NODE_PLUS_MINUS, parse_signed(parser));
    else if (parse_take(parser, TOKEN_MINUS_PLUS))
        node = parse_new_1(parser, NODE_MINUS_PLUS, parse_signed(parser));
    else
        node = parse_power(parser);
    parse_leave(parser);
    return node;
}

/* ---- products ---- */

static bool is_whole(const struct node *node)
{
    return node->kind == NODE_NUMBER && memchr(node->text, '.', node->size) == NULL &&
           memchr(node->text, 'e', node->size) == NULL;
}

/* 1\frac{4}{5} and -1\frac{4}{5}\% are mixed numbers: a whole number, then a fraction of two whole numbers. */
static bool is_mixed(const struct node *last, const struct node *next, const struct token *token)
{
    if (last != NULL && last->kind == NODE_NEGATE)
        last = last->child[0];
    if (next->kind == NODE_PERCENT || next->kind == NODE_DEGREE)
        next = next->child[0];
    return token->kind == TOKEN_FRACTION && last != NULL && is_whole(last) &&
           token[-1].kind == TOKEN_NUMBER && next->kind == NODE_DIVIDE &&
           is_whole(next->child[0]) && is_whole(next->child[1]);
}

static struct node *mixed_number(struct parser *parser, struct node *left, struct node *next)
{
    bool negative = left->kind == NODE_NEGATE, marked = next->kind != NODE_DIVIDE;
    struct node *sum = parse_new_2(parser, NODE_ADD, negative ? left->child[0] : left,
                                   marked ? next->child[0] : next);
    if (marked)
        sum = parse_new_1(parser, (enum node_kind)next->kind, sum);
    return negative ? parse_new_1(parser, NODE_NEGATE, sum) : sum;
}

/* One more factor beside the last one. */
static struct node *multiply_beside(struct parser *parser, struct node *left, struct node **last)
{
    const struct token *token = parser->at;
    struct node *next = parse_power(parser);
    if (next == NULL)
        return NULL;
    if (left == *last && is_mixed(*last, next, token)) {
        *last = NULL;
        return mixed_number(parser, left, next);
    }
    *last = next;
    return parse_product(parser, left, next);
}

static struct node *parse_more_factors(struct parser *parser, struct node *left, struct node **last)
{
    int kind = parser->at->kind;
    if (kind == '*' || kind == '/') {
        parser->at++;
        if (kind == '/' && parse_is_unit(parser)) { /* 5 dollars / hour */
            parse_skip_unit(parser);
            return left;
        }
        struct node *right = parse_signed(parser);
        *last = right;
        return kind == '*' ? parse_product(parser, left, right)
                           : parse_new_2(parser, NODE_DIVIDE, left, right);
    }
    if (kind == TOKEN_MOD || kind == TOKEN_OPERATOR) {
        const struct token *token = parser->at++;
        struct node *right = parse_signed(parser);
        if (right == NULL)
            return NULL;
        return kind == TOKEN_MOD ? parse_function_node(parser, FUNCTION_MOD, left, right)
                                 : parse_call(parser, token->text, token->size, left, right);
    }
    if (kind == TOKEN_PMOD) {
        parser->at++;
        struct node *right = parse_argument(parser);
        return right != NULL ? parse_call(parser, "pmod", 4, left, right) : NULL;
    }
    return multiply_beside(parser, left, last);
}

struct node *parse_term(struct parser *parser)
{
    if (!parse_enter(parser))
        return NULL;
    struct node *left = parse_signed(parser), *last = left;
    while (left != NULL && !parser->failed) {
        int kind = parser->at->kind;
        if (parse_is_unit(parser))
            parse_skip_unit(parser);
        else if (kind == '{' && parser->at[1].kind == '}')
            parser->at += 2;
        else if (kind == '*' || kind == '/' || kind == TOKEN_MOD || kind == TOKEN_OPERATOR ||
                 kind == TOKEN_PMOD || parse_starts_factor(parser))
            left = parse_more_factors(parser, left, &last);
        else
            break;
    }
    parse_leave(parser);
    return left;
}

struct node *parse_sum(struct parser *parser)
{
    struct node_list terms = {0};
    bool fine = parse_push(parser, &terms, parse_term(parser), 0);
    while (fine) {
        int kind = parser->at->kind;
        if (kind != '+' && kind != '-' && kind != TOKEN_PLUS_MINUS && kind != TOKEN_MINUS_PLUS)
            break;
        parser->at++;
        struct node *term = parse_term(parser);
        if (term != NULL && kind != '+')
            term = parse_new_1(parser,
                               kind == '-'                ? NODE_NEGATE
                               : kind == TOKEN_PLUS_MINUS ? NODE_PLUS_MINUS
                                                          : NODE_MINUS_PLUS,
                               term);
        fine = parse_push(parser, &terms, term, 0);
    }
    if (!fine)
        return NULL;
    return terms.count == 1 ? terms.at[0] : parse_from_list(parser, NODE_ADD, &terms);
}
