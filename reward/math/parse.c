/* The parser's top: items, relations, set operations, ratios; and the small tools of its other files. */
#include "reward/math/parse.h"

#include <string.h>

struct node *parse_fail(struct parser *parser)
{
    parser->failed = true;
    return NULL;
}

bool parse_enter(struct parser *parser)
{
    if (parser->failed || ++parser->depth > MATH_DEPTH_MAX)
        parser->failed = true;
    return !parser->failed;
}

void parse_leave(struct parser *parser)
{
    parser->depth--;
}

bool parse_take(struct parser *parser, int kind)
{
    if (parser->at->kind != kind)
        return false;
    parser->at++;
    return true;
}

struct node *parse_new(struct parser *parser, enum node_kind kind, uint32_t count)
{
    if (parser->failed || ++parser->nodes > MATH_NODES_MAX)
        return parse_fail(parser);
    struct node *node = math_node(parser->arena, kind, count);
    return node != NULL ? node : parse_fail(parser);
}

/* Chains such as a/b/c and a!!! nest without a level of the parser each. */
static struct node *with_depth(struct parser *parser, struct node *node)
{
    for (uint32_t i = 0; node != NULL && i < node->count; i++)
        if (node->child[i]->depth >= node->depth)
            node->depth = (uint16_t)(node->child[i]->depth + 1);
    return node == NULL || node->depth <= MATH_DEPTH_MAX * 3 ? node : parse_fail(parser);
}

struct node *parse_new_1(struct parser *parser, enum node_kind kind, struct node *child)
{
    struct node *node = child != NULL ? parse_new(parser, kind, 1) : NULL;
    if (node != NULL)
        node->child[0] = child;
    return with_depth(parser, node);
}

struct node *parse_new_2(struct parser *parser, enum node_kind kind, struct node *a, struct node *b)
{
    struct node *node = a != NULL && b != NULL ? parse_new(parser, kind, 2) : NULL;
    if (node != NULL) {
        node->child[0] = a;
        node->child[1] = b;
    }
    return with_depth(parser, node);
}

struct node *parse_product(struct parser *parser, struct node *left, struct node *right)
{
    if (left == NULL || right == NULL)
        return NULL;
    if (left->kind != NODE_MULTIPLY)
        return parse_new_2(parser, NODE_MULTIPLY, left, right);
    struct node_list list = {left->child, NULL, left->count, left->columns};
    if (list.count >= list.capacity) {
        list.capacity = list.count * 2;
        list.at = arena_array(parser->arena, list.capacity, sizeof(struct node *));
        if (list.at == NULL)
            return parse_fail(parser);
        memcpy(list.at, left->child, left->count * sizeof(struct node *));
    }
    list.at[list.count++] = right;
    left->child = list.at;
    left->count = list.count;
    left->columns = list.capacity; /* room of a product */
    return with_depth(parser, left);
}

struct node *parse_named(struct parser *parser, enum node_kind kind, const char *text, size_t size)
{
    struct node *node = parse_new(parser, kind, 0);
    if (node != NULL) {
        node->text = text;
        node->size = size;
    }
    return node;
}

struct node *parse_function_node(struct parser *parser, enum math_function function, struct node *a,
                                 struct node *b)
{
    struct node *node = b != NULL ? parse_new_2(parser, NODE_FUNCTION, a, b)
                                  : parse_new_1(parser, NODE_FUNCTION, a);
    if (node != NULL)
        node->function = (uint8_t)function;
    return node;
}

struct node *parse_call(struct parser *parser, const char *name, size_t size, struct node *a,
                        struct node *b)
{
    struct node *node =
        b != NULL ? parse_new_2(parser, NODE_CALL, a, b) : parse_new_1(parser, NODE_CALL, a);
    if (node != NULL) {
        node->text = name;
        node->size = size;
    }
    return node;
}

bool parse_push(struct parser *parser, struct node_list *list, struct node *node, uint8_t tag)
{
    if (node == NULL || parser->failed)
        return false;
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity > 0 ? list->capacity * 2 : 4;
        struct node **at = arena_array(parser->arena, capacity, sizeof(struct node *));
        uint8_t *tags = arena_array(parser->arena, capacity, 1);
        if (at == NULL || tags == NULL) {
            parser->failed = true;
            return false;
        }
        if (list->count > 0) {
            memcpy(at, list->at, list->count * sizeof *at);
            memcpy(tags, list->tags, list->count);
        }
        list->at = at;
        list->tags = tags;
        list->capacity = capacity;
    }
    list->at[list->count] = node;
    list->tags[list->count++] = tag;
    return true;
}

struct node *parse_from_list(struct parser *parser, enum node_kind kind,
                             const struct node_list *list)
{
    struct node *node = parse_new(parser, kind, 0);
    if (node != NULL) {
        node->child = list->at;
        node->count = list->count;
    }
    return with_depth(parser, node);
}

/* a, b : c with one colon after another. */
static struct node *parse_ratio(struct parser *parser)
{
    struct node *first = parse_sum(parser);
    if (parser->at->kind == TOKEN_CHOOSE) { /* {n \choose k}, {a \over b} */
        bool fraction = parser->at->value == 1;
        parser->at++;
        struct node *second = parse_sum(parser);
        if (second == NULL)
            return NULL;
        return fraction ? parse_new_2(parser, NODE_DIVIDE, first, second)
                        : parse_function_node(parser, FUNCTION_BINOMIAL, first, second);
    }
    if (parser->at->kind != ':' || parser->builder)
        return first;
    struct node_list list = {0};
    bool more = parse_push(parser, &list, first, 0);
    while (more && parse_take(parser, ':'))
        more = parse_push(parser, &list, parse_sum(parser), 0);
    return more ? parse_from_list(parser, NODE_RATIO, &list) : NULL;
}

static struct node *parse_set_expression(struct parser *parser)
{
    struct node *left = parse_ratio(parser);
    while (left != NULL) {
        int kind = parser->at->kind;
        if (kind != TOKEN_UNION && kind != TOKEN_INTERSECTION && kind != TOKEN_DIFFERENCE)
            break;
        parser->at++;
        left = parse_new_2(parser,
                           kind == TOKEN_UNION          ? NODE_UNION
                           : kind == TOKEN_INTERSECTION ? NODE_INTERSECTION
                                                        : NODE_DIFFERENCE,
                           left, parse_ratio(parser));
    }
    return left;
}

/* "\text{The answer is } 5": words that lead to the value. */
static bool leads(const struct token *token)
{
    const char *text = token->text;
    size_t size = token->size;
    if (token->kind != TOKEN_TEXT || size < 2)
        return false;
    return text[size - 1] == ':' || text[size - 1] == '=' ||
           (size > 3 && memcmp(text + size - 3, " is", 3) == 0);
}

bool parse_is_mid(const struct parser *parser)
{
    const struct token *token = parser->at;
    return parser->builder &&
           (token->kind == '|' || token->kind == ':' ||
            (token->kind == TOKEN_RELATION && math_text_is(token->text, token->size, "mid")));
}

struct node *parse_relation(struct parser *parser)
{
    struct node_list sides = {0};
    if (!parse_enter(parser))
        return NULL;
    while (leads(parser->at))
        parser->at++;
    while (parser->at->kind == TOKEN_RELATION && /* "= 5" */
           (parser->at->value == OPERATOR_EQUAL || parser->at->value == OPERATOR_APPROX))
        parser->at++;
    bool fine = parse_push(parser, &sides, parse_set_expression(parser), 0);
    while (fine && parser->at->kind == TOKEN_RELATION && !parse_is_mid(parser)) {
        struct token *operator= parser->at++;
        uint8_t tag = (uint8_t) operator->value;
        fine = parse_push(parser, &sides, parse_set_expression(parser), tag);
        if (fine && tag == OPERATOR_OTHER) /* which one is part of what stands on its right */
            fine =
                (sides.at[sides.count - 1] = parse_call(parser, operator->text, operator->size,
                                                        sides.at[sides.count - 1], NULL)) != NULL;
    }
    parse_leave(parser);
    if (!fine)
        return NULL;
    if (sides.count == 1)
        return sides.at[0];
    struct node *node = parse_from_list(parser, NODE_RELATION, &sides);
    if (node != NULL)
        node->operators = sides.tags + 1;
    return node;
}

static bool is_separator(int kind)
{
    return kind == ',' || kind == ';' || kind == TOKEN_AND;
}

/* "a, b; c, d" is two lists of two. */
static struct node *group_by_semicolon(struct parser *parser, const struct node_list *items)
{
    struct node_list groups = {0};
    for (uint32_t from = 0; from < items->count;) {
        struct node_list group = {0};
        uint32_t i = from;
        do {
            if (!parse_push(parser, &group, items->at[i], 0))
                return NULL;
        } while (items->tags[i++] != ';' && i < items->count);
        if (!parse_push(parser, &groups,
                        group.count == 1 ? group.at[0] : parse_from_list(parser, NODE_LIST, &group),
                        0))
            return NULL;
        from = i;
    }
    return parse_from_list(parser, NODE_LIST, &groups);
}

struct node *parse_items(struct parser *parser)
{
    struct node_list items = {0};
    bool commas = false, semicolons = false;
    if (!parse_enter(parser))
        return NULL;
    bool fine = true;
    while (fine && is_separator(parser->at->kind))
        parser->at++;
    while (fine) {
        fine = parse_push(parser, &items, parse_relation(parser), ',');
        if (!fine || !is_separator(parser->at->kind))
            break;
        while (is_separator(parser->at->kind)) {
            if (parser->at->kind == ';')
                items.tags[items.count - 1] = ';';
            semicolons |= parser->at->kind == ';';
            commas |= parser->at->kind == ',';
            parser->at++;
        }
        int kind = parser->at->kind;
        if (kind == TOKEN_END || kind == ')' || kind == ']' || kind == '}' ||
            kind == TOKEN_SET_CLOSE)
            break; /* a separator at the end */
    }
    parse_leave(parser);
    if (!fine)
        return NULL;
    if (items.count == 1)
        return items.at[0];
    return commas && semicolons ? group_by_semicolon(parser, &items)
                                : parse_from_list(parser, NODE_LIST, &items);
}

/* "2x for x > 0" is 2x; "5 if n is odd, 7 otherwise" is not 5. */
static bool is_one_condition(const struct token *token)
{
    for (token++; token->kind != TOKEN_END; token++)
        if (is_separator(token->kind) || token->kind == TOKEN_IF || token->kind == TOKEN_TEXT)
            return false;
    return true;
}

struct node *math_parse(struct arena *arena, struct answer_span text, struct math_notation notation)
{
    struct token_list tokens;
    if (text.size > MATH_TEXT_MAX || !math_lex(arena, text, notation, &tokens) || tokens.count == 1)
        return NULL;
    struct parser parser = {.arena = arena, .at = tokens.at, .first = tokens.at};
    struct node *tree = parse_items(&parser);
    if (tree != NULL && parser.at->kind == TOKEN_IF && parser.at > parser.first &&
        is_one_condition(parser.at))
        return tree;
    return tree != NULL && !parser.failed && parser.at->kind == TOKEN_END ? tree : NULL;
}
