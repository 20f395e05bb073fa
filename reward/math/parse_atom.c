/* Atoms: numbers, names, brackets, fractions, roots, bars. */
#include "reward/math/parse.h"

#include <string.h>

/* The first digit of a number as a token of its own: \frac12. */
static struct node *take_digit(struct parser *parser)
{
    struct token *token = parser->at;
    struct node *node = parse_named(parser, NODE_NUMBER, token->text, 1);
    if (token->size == 1) {
        parser->at++;
    } else {
        token->text++;
        token->size--;
    }
    return node;
}

struct node *parse_argument(struct parser *parser)
{
    int kind = parser->at->kind;
    if (!parse_enter(parser))
        return NULL;
    struct node *node;
    if (kind == TOKEN_NUMBER)
        node = take_digit(parser);
    else if (kind == TOKEN_FUNCTION)
        node = parse_function(parser);
    else if (kind == '-' || kind == '+') {
        parser->at++;
        node = parse_argument(parser);
        node = kind == '-' ? parse_new_1(parser, NODE_NEGATE, node) : node;
    } else
        node = parse_atom(parser);
    parse_leave(parser);
    return node;
}

/* ---- names ---- */

/* The text of a subscript, as written without spaces: "37", "n-1". */
static bool append_subscript(struct parser *parser, char *name, size_t *size, size_t room)
{
    uint32_t depth = 0;
    do {
        const struct token *token = parser->at;
        if (token->kind == TOKEN_END || *size + token->size > room)
            return false;
        if (token->kind == '{')
            depth++;
        else if (token->kind == '}')
            depth--;
        else {
            memcpy(name + *size, token->text, token->size);
            *size += token->size;
        }
        parser->at++;
    } while (depth > 0);
    return true;
}

static struct node *parse_subscript(struct parser *parser, struct node *node)
{
    enum { ROOM = 64 };
    while (node != NULL && parser->at->kind == '_') {
        parser->at++;
        char *name = arena_alloc(parser->arena, ROOM);
        size_t size = node->size + 1;
        if (name == NULL || size > ROOM)
            return parse_fail(parser);
        memcpy(name, node->text, node->size);
        name[size - 1] = '_';
        if (!append_subscript(parser, name, &size, ROOM))
            return parse_fail(parser);
        node = parse_named(parser, NODE_VARIABLE, name, size);
    }
    return node;
}

/* Whether "(...)" after a name is its argument rather than a factor: always for f, for some other letters
 * when one number or one name stands in it, and after a prime. */
static bool is_call(const struct parser *parser, const struct node *name, bool primed)
{
    if (parser->at->kind != '(')
        return false;
    if (primed || math_text_is(name->text, name->size, "f"))
        return true;
    bool usual = name->size >= 1 && strchr("ghFGHPQRSTWvuwyopq", name->text[0]) != NULL &&
                 (name->size == 1 || name->text[1] == '_');
    usual = usual || math_text_is(name->text, name->size, "phi") ||
            math_text_is(name->text, name->size, "Phi") ||
            math_text_is(name->text, name->size, "zeta") ||
            math_text_is(name->text, name->size, "Gamma") ||
            math_text_is(name->text, name->size, "dim") ||
            math_text_is(name->text, name->size, "deg") ||
            math_text_is(name->text, name->size, "ker") ||
            math_text_is(name->text, name->size, "cis");
    const struct token *inside = parser->at + 1;
    bool single =
        (inside->kind == TOKEN_NUMBER || inside->kind == TOKEN_LETTER) && inside[1].kind == ')';
    return usual && (single || name->size > 2);
}

static struct node *parse_call_arguments(struct parser *parser, const struct node *name)
{
    struct node *inside = parse_bracketed(parser);
    if (inside == NULL)
        return NULL;
    if (math_text_is(name->text, name->size, "Gamma") && inside->kind != NODE_BRACKET)
        return parse_function_node(parser, FUNCTION_GAMMA, inside, NULL);
    struct node *call = parse_named(parser, NODE_CALL, name->text, name->size);
    if (call == NULL)
        return NULL;
    bool many = inside->kind == NODE_BRACKET;
    struct node_list list = {0};
    for (uint32_t i = 0; i < (many ? inside->count : 1); i++)
        if (!parse_push(parser, &list, many ? inside->child[i] : inside, 0))
            return NULL;
    call->child = list.at;
    call->count = list.count;
    call->depth = (uint16_t)(inside->depth + 1);
    return call;
}

struct node *parse_name(struct parser *parser)
{
    struct token *token = parser->at;
    if (token->kind == TOKEN_CONSTANT && token[1].kind != '_') {
        parser->at++;
        return parse_named(parser, NODE_CONSTANT, token->text, token->size);
    }
    struct node *node;
    if (token->kind == TOKEN_WORD) { /* ab is a times b */
        bool constant = (token->text[0] == 'e' || token->text[0] == 'i') && token->size > 1;
        node = parse_named(parser, constant ? NODE_CONSTANT : NODE_VARIABLE, token->text, 1);
        token->text++;
        if (--token->size > 0)
            return node;
        if (token->text[-1] == 'e' || token->text[-1] == 'i')
            node = parse_named(parser, parser->at[1].kind == '_' ? NODE_VARIABLE : NODE_CONSTANT,
                               token->text - 1, 1);
    } else {
        node = parse_named(parser, NODE_VARIABLE, token->text, token->size);
    }
    parser->at++;
    node = parse_subscript(parser, node);
    bool primed = false;
    while (node != NULL && parser->at->kind == TOKEN_PRIME) {
        parser->at++;
        char *name = arena_alloc(parser->arena, node->size + 1);
        if (name == NULL)
            return parse_fail(parser);
        memcpy(name, node->text, node->size);
        name[node->size] = '\'';
        node = parse_named(parser, NODE_VARIABLE, name, node->size + 1);
        primed = true;
    }
    if (node != NULL && node->kind == NODE_VARIABLE && is_call(parser, node, primed))
        return parse_call_arguments(parser, node);
    return node;
}

/* ---- brackets ---- */

/* {x | x > 0}, {x : x > 0}. */
static struct node *parse_set(struct parser *parser)
{
    parser->at++;
    if (parse_take(parser, TOKEN_SET_CLOSE))
        return parse_named(parser, NODE_CONSTANT, "empty", 5);
    bool outer = parser->builder;
    parser->builder = true;
    struct node *items = parse_items(parser);
    if (items != NULL && parse_is_mid(parser)) {
        parser->at++;
        parser->builder = false;
        items = parse_new_2(parser, NODE_BUILDER, items, parse_items(parser));
    }
    parser->builder = outer;
    if (items == NULL || !parse_take(parser, TOKEN_SET_CLOSE))
        return parse_fail(parser);
    if (items->kind == NODE_BUILDER)
        return items;
    struct node_list list = {0};
    if (items->kind == NODE_LIST) {
        list.at = items->child;
        list.count = items->count;
    } else if (!parse_push(parser, &list, items, 0)) {
        return NULL;
    }
    return parse_from_list(parser, NODE_SET, &list);
}

/* {...} is a group; with commas it is a set. */
static struct node *parse_group(struct parser *parser)
{
    parser->at++;
    if (parse_take(parser, '}'))
        return parse_atom(parser);
    struct node *items = parse_items(parser);
    if (items == NULL || !parse_take(parser, '}'))
        return parse_fail(parser);
    if (items->kind != NODE_LIST)
        return items;
    struct node_list list = {items->child, NULL, items->count, items->count};
    return parse_from_list(parser, NODE_SET, &list);
}

/* ( [ or, as in ]a,b[, a bracket turned outwards. */
static struct node *parse_round(struct parser *parser)
{
    char open = (char)parser->at->kind;
    parser->at++;
    bool outward = open == ']';
    struct node *items = parse_items(parser);
    int kind = parser->at->kind;
    if (items == NULL || (kind != ')' && kind != ']' && !(outward && kind == '[')))
        return parse_fail(parser);
    parser->at++;
    if (items->kind != NODE_LIST)
        return (open == '(' && kind == ')') || (open == '[' && kind == ']') ? items
                                                                            : parse_fail(parser);
    struct node_list list = {items->child, NULL, items->count, items->count};
    struct node *bracket = parse_from_list(parser, NODE_BRACKET, &list);
    if (bracket != NULL) {
        bracket->open = outward ? '(' : open;
        bracket->close = (char)(outward && kind == '[' ? ')' : kind);
    }
    return bracket;
}

struct node *parse_bracketed(struct parser *parser)
{
    int bars = parser->bars, kind = parser->at->kind;
    bool builder = parser->builder;
    struct node *node = NULL;
    if (!parse_enter(parser))
        return NULL;
    parser->bars = 0;
    parser->builder = false;
    if (kind == TOKEN_SET_OPEN) {
        node = parse_set(parser);
    } else if (kind == '{') {
        node = parse_group(parser);
    } else if (kind == TOKEN_ANGLE_OPEN) {
        parser->at++;
        struct node *items = parse_items(parser);
        if (items == NULL || !parse_take(parser, TOKEN_ANGLE_CLOSE))
            node = parse_fail(parser);
        else if (items->kind != NODE_LIST)
            node = parse_call(parser, "angle", 5, items, NULL);
        else {
            struct node_list list = {items->child, NULL, items->count, items->count};
            node = parse_from_list(parser, NODE_BRACKET, &list);
            if (node != NULL)
                node->open = '(', node->close = ')';
        }
    } else {
        node = parse_round(parser);
    }
    parser->bars = bars;
    parser->builder = builder;
    parse_leave(parser);
    return node;
}

/* |x|, \lfloor x \rfloor. */
static struct node *parse_between(struct parser *parser, int close, enum math_function function)
{
    int bars = parser->bars;
    parser->at++;
    parser->bars = close == '|' ? 1 : 0;
    struct node *inside = parse_sum(parser);
    parser->bars = bars;
    if (inside == NULL || !parse_take(parser, close))
        return parse_fail(parser);
    if (function == FUNCTION_ABS && inside->kind == NODE_MATRIX)
        function = FUNCTION_DET;
    return parse_function_node(parser, function, inside, NULL);
}

/* ---- fractions and roots ---- */

static struct node *parse_two(struct parser *parser, bool fraction)
{
    parser->at++;
    struct node *a = parse_argument(parser);
    struct node *b = a != NULL ? parse_argument(parser) : NULL;
    if (b == NULL)
        return parse_fail(parser);
    return fraction ? parse_new_2(parser, NODE_DIVIDE, a, b)
                    : parse_function_node(parser, FUNCTION_BINOMIAL, a, b);
}

static struct node *parse_root(struct parser *parser)
{
    bool cube = parser->at->value == 3;
    parser->at++;
    struct node *degree = parse_named(parser, NODE_NUMBER, cube ? "3" : "2", 1);
    if (parser->at->kind == '[') {
        parser->at++;
        degree = parse_sum(parser);
        if (degree == NULL || !parse_take(parser, ']'))
            return parse_fail(parser);
    }
    struct node *inside = NULL;
    if (parser->at->kind == TOKEN_NUMBER) { /* \sqrt12 is the root of 12 */
        inside = parse_named(parser, NODE_NUMBER, parser->at->text, parser->at->size);
        parser->at++;
    } else {
        inside = parse_argument(parser);
    }
    return parse_new_2(parser, NODE_ROOT, inside, degree);
}

/* 2 1/2, with a space between: a mixed number. */
static struct node *parse_number(struct parser *parser)
{
    struct token *token = parser->at++;
    struct node *whole = parse_named(parser, NODE_NUMBER, token->text, token->size);
    const struct token *next = parser->at;
    bool mixed = memchr(token->text, '.', token->size) == NULL && next->kind == TOKEN_NUMBER &&
                 next->space && next[1].kind == '/' && next[2].kind == TOKEN_NUMBER &&
                 memchr(next->text, '.', next->size) == NULL;
    if (!mixed)
        return whole;
    struct node *above = parse_named(parser, NODE_NUMBER, next->text, next->size);
    struct node *below = parse_named(parser, NODE_NUMBER, next[2].text, next[2].size);
    parser->at += 3;
    return parse_new_2(parser, NODE_ADD, whole, parse_new_2(parser, NODE_DIVIDE, above, below));
}

static struct node *parse_atom_kind(struct parser *parser)
{
    struct token *token = parser->at;
    switch (token->kind) {
    case TOKEN_NUMBER:
        return parse_number(parser);
    case TOKEN_LETTER:
    case TOKEN_CONSTANT:
    case TOKEN_WORD:
        return parse_name(parser);
    case TOKEN_TEXT:
        parser->at++;
        return parse_named(parser, NODE_TEXT, token->text, token->size);
    case '(':
    case '[':
    case ']':
    case '{':
    case TOKEN_SET_OPEN:
    case TOKEN_ANGLE_OPEN:
        return parse_bracketed(parser);
    case '|':
        return parse_between(parser, '|', FUNCTION_ABS);
    case TOKEN_BAR_OPEN:
        return parse_between(parser, TOKEN_BAR_CLOSE, FUNCTION_ABS);
    case TOKEN_FLOOR_OPEN:
        return parse_between(parser, TOKEN_FLOOR_CLOSE, FUNCTION_FLOOR);
    case TOKEN_CEIL_OPEN:
        return parse_between(parser, TOKEN_CEIL_CLOSE, FUNCTION_CEIL);
    case TOKEN_FRACTION:
        return parse_two(parser, true);
    case TOKEN_BINOMIAL:
        return parse_two(parser, false);
    case TOKEN_ROOT:
        return parse_root(parser);
    case TOKEN_FUNCTION:
        return parse_function(parser);
    case TOKEN_SUM:
    case TOKEN_PRODUCT:
    case TOKEN_INTEGRAL:
        return parse_large(parser);
    case TOKEN_BEGIN:
        return parse_environment(parser);
    case TOKEN_OVERLINE:
        parser->at++;
        return parse_call(parser, "bar", 3, parse_argument(parser), NULL);
    case TOKEN_IF:
        parser->at++;
        return parse_relation(parser);
    default:
        return parse_fail(parser);
    }
}

struct node *parse_atom(struct parser *parser)
{
    if (!parse_enter(parser))
        return NULL;
    struct node *node = parse_atom_kind(parser);
    parse_leave(parser);
    return node;
}
