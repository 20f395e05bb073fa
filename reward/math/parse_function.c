/* Named functions with their argument conventions, large operators, and environments with rows. */
#include "reward/math/parse.h"

#include <string.h>

/* ---- arguments ---- */

static bool starts_plain_factor(const struct parser *parser)
{
    int kind = parser->at->kind;
    return kind != TOKEN_FUNCTION && kind != '(' && kind != '[' && kind != TOKEN_TEXT &&
           kind != TOKEN_SUM && kind != TOKEN_PRODUCT && kind != TOKEN_INTEGRAL &&
           parse_starts_factor(parser);
}

/* \sin 2x y: the product of what follows, up to an operator, a bracket or the next function. A constant takes its
 * denominator along: \sin 2\pi/3. */
static struct node *parse_open_argument(struct parser *parser)
{
    if (!parse_enter(parser))
        return NULL;
    bool negative = parse_take(parser, '-');
    struct node *argument =
        parser->at->kind == TOKEN_FUNCTION ? parse_function(parser) : parse_power(parser);
    while (argument != NULL && !parser->failed && starts_plain_factor(parser) &&
           !parse_is_unit(parser))
        argument = parse_product(parser, argument, parse_power(parser));
    if (argument != NULL && parser->at->kind == '/' && parser->at[1].kind == TOKEN_NUMBER &&
        math_tree_is_constant(argument) && !math_tree_has(argument, NODE_FUNCTION)) {
        parser->at++;
        argument = parse_new_2(parser, NODE_DIVIDE, argument, parse_power(parser));
    }
    parse_leave(parser);
    return negative ? parse_new_1(parser, NODE_NEGATE, argument) : argument;
}

static struct node *binomial_of_groups(struct parser *parser, const struct node *node)
{
    struct node *below = parse_bracketed(parser);
    return below != NULL ? parse_function_node(parser, FUNCTION_BINOMIAL, node->child[0], below)
                         : NULL;
}

/* The arguments as children of `node`: (a, b), {a}, \{a, b\} or an open one. */
static struct node *parse_arguments(struct parser *parser, struct node *node)
{
    int kind = parser->at->kind;
    bool bracketed = kind == '(' || kind == '[' || kind == '{' || kind == TOKEN_SET_OPEN;
    struct node *inside = bracketed ? parse_bracketed(parser) : parse_open_argument(parser);
    if (inside == NULL || node == NULL)
        return NULL;
    bool many = bracketed && (inside->kind == NODE_BRACKET || inside->kind == NODE_SET);
    struct node_list list = {0};
    for (uint32_t i = 0; i < (many ? inside->count : 1); i++)
        if (!parse_push(parser, &list, many ? inside->child[i] : inside, 0))
            return NULL;
    node->child = list.at;
    node->count = list.count;
    node->depth = (uint16_t)(inside->depth + 1);
    if (node->function == FUNCTION_BINOMIAL) {
        if (node->count == 1 && parser->at->kind == '{') /* binom{n}{k} */
            return binomial_of_groups(parser, node);
        return node->count == 2 ? node : parse_fail(parser);
    }
    bool takes_many = node->function >= FUNCTION_GCD && node->function <= FUNCTION_MAX;
    return node->count == 1 || takes_many ? node : parse_fail(parser);
}

static bool is_minus_one(const struct node *node)
{
    return node->kind == NODE_NEGATE && node->child[0]->kind == NODE_NUMBER &&
           math_text_is(node->child[0]->text, node->child[0]->size, "1");
}

static int inverse_of(int function)
{
    switch (function) {
    case FUNCTION_SIN:
        return FUNCTION_ASIN;
    case FUNCTION_COS:
        return FUNCTION_ACOS;
    case FUNCTION_TAN:
        return FUNCTION_ATAN;
    case FUNCTION_COT:
        return FUNCTION_ACOT;
    case FUNCTION_SINH:
        return FUNCTION_ASINH;
    case FUNCTION_COSH:
        return FUNCTION_ACOSH;
    case FUNCTION_TANH:
        return FUNCTION_ATANH;
    default:
        return -1;
    }
}

/* \log_2 8, \log_{10} x; in \log_28 the base is one digit, in log_10(5) all of them. */
static struct node *parse_log_base(struct parser *parser)
{
    const struct token *token = parser->at;
    if (token->kind == TOKEN_NUMBER &&
        (token[1].kind == '(' || token[1].kind == '{' || token[1].kind == '|')) {
        parser->at++;
        return parse_named(parser, NODE_NUMBER, token->text, token->size);
    }
    return parse_argument(parser);
}

struct node *parse_function(struct parser *parser)
{
    struct token *token = parser->at;
    struct node *base = NULL, *power = NULL;
    if (!parse_enter(parser))
        return NULL;
    parser->at++;
    while (!parser->failed && (parser->at->kind == '_' || parser->at->kind == '^')) {
        bool below = parser->at->kind == '_';
        parser->at++;
        struct node *argument = below ? parse_log_base(parser) : parse_argument(parser);
        if (argument == NULL)
            return parse_fail(parser);
        *(below ? &base : &power) = argument;
    }
    struct node *node = parse_named(parser, NODE_FUNCTION, NULL, 0);
    if (node == NULL)
        return NULL;
    node->function = (uint8_t)token->value;
    if (power != NULL && is_minus_one(power) && inverse_of(token->value) >= 0) {
        node->function = (uint8_t)inverse_of(token->value);
        power = NULL;
    }
    node = parse_arguments(parser, node);
    if (node != NULL && base != NULL && token->value == FUNCTION_LOG)
        node = parse_function_node(parser, FUNCTION_LOG_BASE, base, node->child[0]);
    parse_leave(parser);
    return power != NULL ? parse_new_2(parser, NODE_POWER, node, power) : node;
}

/* ---- \sum, \prod, \int, \lim ---- */

static struct node *parse_limit(struct parser *parser)
{
    if (!parse_take(parser, '{'))
        return parse_argument(parser);
    struct node *node = parse_items(parser);
    return node != NULL && parse_take(parser, '}') ? node : parse_fail(parser);
}

/* \sum_{k=1}^{n} body with a plain index. NULL without failing when it has another form. */
static struct node *known_sum(struct parser *parser, int kind, struct node *below,
                              struct node *above, struct node *body)
{
    if (below == NULL || above == NULL || below->kind != NODE_RELATION || below->count != 2 ||
        below->operators[0] != OPERATOR_EQUAL)
        return NULL;
    struct node *index = below->child[0];
    bool plain = index->kind == NODE_VARIABLE || (index->kind == NODE_CONSTANT && index->size == 1);
    if (!plain)
        return NULL;
    struct node_list list = {0};
    if (!parse_push(parser, &list, index, 0) || !parse_push(parser, &list, below->child[1], 0) ||
        !parse_push(parser, &list, above, 0) || !parse_push(parser, &list, body, 0))
        return NULL;
    return parse_from_list(parser, kind == TOKEN_SUM ? NODE_SUM : NODE_PRODUCT, &list);
}

struct node *parse_large(struct parser *parser)
{
    struct token *token = parser->at++;
    struct node *below = NULL, *above = NULL;
    if (!parse_enter(parser))
        return NULL;
    while (!parser->failed && (parser->at->kind == '_' || parser->at->kind == '^')) {
        struct node **limit = parser->at->kind == '_' ? &below : &above;
        parser->at++;
        *limit = parse_limit(parser);
        if (*limit == NULL)
            return parse_fail(parser);
    }
    struct node *body = token->kind == TOKEN_INTEGRAL ? parse_sum(parser) : parse_term(parser);
    parse_leave(parser);
    if (body == NULL)
        return NULL;
    struct node *node =
        token->kind != TOKEN_INTEGRAL ? known_sum(parser, token->kind, below, above, body) : NULL;
    if (node != NULL || parser->failed)
        return node;
    struct node_list list = {0};
    if (!parse_push(parser, &list, body, 0) ||
        (below != NULL && !parse_push(parser, &list, below, 0)) ||
        (above != NULL && !parse_push(parser, &list, above, 0)))
        return NULL;
    node = parse_from_list(parser, NODE_CALL, &list);
    if (node != NULL) {
        node->text = token->text;
        node->size = token->size;
    }
    return node;
}

/* ---- environments ---- */

static bool name_begins(const struct token *token, const char *prefix)
{
    size_t n = strlen(prefix);
    return token->size >= n && memcmp(token->text, prefix, n) == 0;
}

/* The column letters of an array. */
static void skip_columns(struct parser *parser)
{
    if (!parse_take(parser, '{'))
        return;
    while (parser->at->kind != '}' && parser->at->kind != TOKEN_END)
        parser->at++;
    parse_take(parser, '}');
}

static bool parse_rows(struct parser *parser, struct node_list *cells, uint32_t *rows,
                       uint32_t *columns)
{
    uint32_t in_row = 0;
    for (;;) {
        int kind = parser->at->kind;
        if (kind == TOKEN_FINISH && in_row == 0)
            return true; /* \\ before \end */
        if (!parse_push(parser, cells, parse_items(parser), 0))
            return false;
        in_row++;
        kind = parser->at->kind;
        if (kind == '&') {
            parser->at++;
            continue;
        }
        if (kind != TOKEN_ROW && kind != TOKEN_FINISH)
            return false;
        if (*rows > 0 && in_row != *columns)
            return false;
        *columns = in_row;
        *rows += 1;
        in_row = 0;
        if (kind == TOKEN_FINISH)
            return true;
        parser->at++;
    }
}

struct node *parse_environment(struct parser *parser)
{
    struct token *begin = parser->at++;
    struct node_list cells = {0};
    uint32_t rows = 0, columns = 0;
    int bars = parser->bars;
    bool builder = parser->builder;
    if (!parse_enter(parser))
        return NULL;
    parser->bars = 0;
    parser->builder = false;
    if (name_begins(begin, "array"))
        skip_columns(parser);
    bool fine = parse_rows(parser, &cells, &rows, &columns) && rows > 0;
    parser->bars = bars;
    parser->builder = builder;
    parse_leave(parser);
    if (!fine || !parse_take(parser, TOKEN_FINISH))
        return parse_fail(parser);
    struct node *node = parse_from_list(parser, NODE_MATRIX, &cells);
    if (node == NULL)
        return NULL;
    node->rows = rows;
    node->columns = columns;
    if (name_begins(begin, "cases") && columns == 1)
        node->kind = NODE_LIST;
    return name_begins(begin, "vmatrix") || name_begins(begin, "Vmatrix")
               ? parse_function_node(parser, FUNCTION_DET, node, NULL)
               : node;
}
