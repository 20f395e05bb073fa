/* text/jinja_expression.c - expressions of templates into trees, in Jinja's order of operators:
 * if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests. */
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "text/jinja_node.h"
#include "text/jinja_run.h"

/* ---- tokens ---- */

struct jinja_token *jinja_token(const struct jinja_parser *parser)
{
    return &parser->tokens->items[parser->at];
}

static void advance(struct jinja_parser *parser)
{
    if (parser->at + 1 < parser->tokens->count)
        parser->at++;
}

const char *jinja_token_text(const struct jinja_token *token, char text[48])
{
    static const char *const names[] = {[TOKEN_DATA] = "text",
                                        [TOKEN_BLOCK_BEGIN] = "{%",
                                        [TOKEN_BLOCK_END] = "the end of the block",
                                        [TOKEN_VARIABLE_BEGIN] = "{{",
                                        [TOKEN_VARIABLE_END] = "}}",
                                        [TOKEN_NUMBER] = "a number",
                                        [TOKEN_END] = "the end of the template"};
    if (token->kind == TOKEN_NAME || token->kind == TOKEN_TEXT)
        snprintf(text, 48, "\"%.*s\"", token->text.size < 40 ? (int)token->text.size : 40,
                 token->text.bytes);
    else if (token->kind == TOKEN_OPERATOR && token->op > 255)
        snprintf(text, 48, "%c%c", (int)(token->op >> 8), (int)(token->op & 255));
    else if (token->kind == TOKEN_OPERATOR)
        snprintf(text, 48, "%c", (int)token->op);
    else
        snprintf(text, 48, "%s", names[token->kind]);
    return text;
}

static enum status unexpected(struct jinja_parser *parser, const char *wanted)
{
    char text[48];
    return JINJA_PARSE_FAIL(parser, STATUS_INVALID, "%s stands where %s should",
                            jinja_token_text(jinja_token(parser), text), wanted);
}

bool jinja_at_name(const struct jinja_parser *parser, const char *name)
{
    const struct jinja_token *token = jinja_token(parser);
    return token->kind == TOKEN_NAME && token->text.size == strlen(name) &&
           memcmp(token->text.bytes, name, token->text.size) == 0;
}

bool jinja_at_operator(const struct jinja_parser *parser, uint32_t op)
{
    return jinja_token(parser)->kind == TOKEN_OPERATOR && jinja_token(parser)->op == op;
}

bool jinja_skip_name(struct jinja_parser *parser, const char *name)
{
    bool is = jinja_at_name(parser, name);
    if (is)
        advance(parser);
    return is;
}

bool jinja_skip_operator(struct jinja_parser *parser, uint32_t op)
{
    bool is = jinja_at_operator(parser, op);
    if (is)
        advance(parser);
    return is;
}

enum status jinja_expect_operator(struct jinja_parser *parser, uint32_t op)
{
    char wanted[2] = {(char)op, '\0'};
    return jinja_skip_operator(parser, op) ? STATUS_OK : unexpected(parser, wanted);
}

enum status jinja_intern(struct jinja_parser *parser, struct jinja_text text, const char **name)
{
    struct jinja_word **bucket = &parser->words[hash64(text.bytes, text.size, 0) % JINJA_BUCKETS];
    for (struct jinja_word *word = *bucket; word != NULL; word = word->next)
        if (word->size == text.size && memcmp(word->text, text.bytes, text.size) == 0) {
            *name = word->text;
            return STATUS_OK;
        }
    struct jinja_word *word = arena_alloc(parser->arena, sizeof *word + text.size + 1);
    if (word == NULL)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "the template needs too much %s", "memory");
    memcpy(word->text, text.bytes, text.size);
    word->size = text.size;
    word->next = *bucket;
    *bucket = word;
    *name = word->text;
    return STATUS_OK;
}

enum status jinja_expect_name(struct jinja_parser *parser, const char **name)
{
    if (jinja_token(parser)->kind != TOKEN_NAME)
        return unexpected(parser, "a name");
    TRY(jinja_intern(parser, jinja_token(parser)->text, name));
    advance(parser);
    return STATUS_OK;
}

enum status jinja_node_new(struct jinja_parser *parser, enum jinja_node_kind kind,
                           struct jinja_node **node)
{
    *node = arena_alloc(parser->arena, sizeof **node);
    if (*node == NULL)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "the template needs too much %s", "memory");
    (*node)->kind = kind;
    (*node)->line = jinja_token(parser)->line;
    return STATUS_OK;
}

/* A node of two parts on the line of the first. */
static enum status join(struct jinja_parser *parser, enum jinja_node_kind kind,
                        enum jinja_operator op, const struct jinja_node *a,
                        const struct jinja_node *b, const struct jinja_node **node)
{
    struct jinja_node *made;
    TRY(jinja_node_new(parser, kind, &made));
    made->op = op;
    made->a = a;
    made->b = b;
    made->line = a->line;
    *node = made;
    return STATUS_OK;
}

/* ---- primary ---- */

/* Items up to `close`; each is an expression, or key: value. */
static enum status parse_items(struct jinja_parser *parser, uint32_t close, bool pairs,
                               const struct jinja_node **items)
{
    const struct jinja_node **tail = items;
    while (!jinja_at_operator(parser, close)) {
        const struct jinja_node *item, *value;
        TRY(jinja_parse_expression(parser, true, &item));
        if (pairs) {
            TRY(jinja_expect_operator(parser, ':'));
            TRY(jinja_parse_expression(parser, true, &value));
        }
        struct jinja_node *link;
        TRY(jinja_node_new(parser, NODE_PAIR, &link));
        link->a = item;
        link->b = pairs ? value : NULL;
        *tail = link;
        tail = &link->next;
        if (!jinja_skip_operator(parser, ','))
            break;
    }
    return jinja_expect_operator(parser, close);
}

static enum status parse_word(struct jinja_parser *parser, const struct jinja_node **node)
{
    static const struct {
        const char *name;
        enum jinja_kind kind;
        bool truth;
    } constants[] = {{"true", JINJA_BOOL, true},   {"True", JINJA_BOOL, true},
                     {"false", JINJA_BOOL, false}, {"False", JINJA_BOOL, false},
                     {"none", JINJA_NONE, false},  {"None", JINJA_NONE, false}};
    struct jinja_node *made;
    TRY(jinja_node_new(parser, NODE_NAME, &made));
    TRY(jinja_expect_name(parser, &made->name));
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (strcmp(made->name, constants[i].name) == 0) {
            made->kind = NODE_CONSTANT;
            made->value =
                constants[i].kind == JINJA_NONE ? jinja_none() : jinja_bool(constants[i].truth);
        }
    if (parser->macro != NULL && strcmp(made->name, "varargs") == 0)
        parser->macro->rest = true;
    if (parser->macro != NULL && strcmp(made->name, "kwargs") == 0)
        parser->macro->named_rest = true;
    *node = made;
    return STATUS_OK;
}

/* Texts that stand side by side are one. */
static enum status parse_texts(struct jinja_parser *parser, struct jinja_node *made)
{
    size_t size = 0, count = 0;
    for (size_t at = parser->at; parser->tokens->items[at].kind == TOKEN_TEXT; at++, count++)
        size += parser->tokens->items[at].text.size;
    struct jinja_text first = jinja_token(parser)->text;
    char *bytes = count == 1 ? NULL : arena_alloc(parser->arena, size + 1);
    if (count > 1 && bytes == NULL)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "the template needs too much %s", "memory");
    for (size_t at = 0; count > 1 && jinja_token(parser)->kind == TOKEN_TEXT; advance(parser)) {
        memcpy(bytes + at, jinja_token(parser)->text.bytes, jinja_token(parser)->text.size);
        at += jinja_token(parser)->text.size;
    }
    if (count == 1)
        advance(parser);
    made->value = jinja_text(count == 1 ? first.bytes : bytes, size);
    return STATUS_OK;
}

static enum status parse_primary(struct jinja_parser *parser, const struct jinja_node **node)
{
    struct jinja_token *token = jinja_token(parser);
    struct jinja_node *made;
    if (token->kind == TOKEN_NAME)
        return parse_word(parser, node);
    if (jinja_skip_operator(parser, '(')) {
        TRY(jinja_parse_tuple(parser, true, NULL, node));
        return jinja_expect_operator(parser, ')');
    }
    TRY(jinja_node_new(parser, NODE_CONSTANT, &made));
    *node = made;
    if (token->kind == TOKEN_TEXT)
        return parse_texts(parser, made);
    if (token->kind == TOKEN_NUMBER) {
        made->value = token->value;
        advance(parser);
        return STATUS_OK;
    }
    if (jinja_skip_operator(parser, '[')) {
        made->kind = NODE_LIST;
        return parse_items(parser, ']', false, &made->items);
    }
    if (jinja_skip_operator(parser, '{')) {
        made->kind = NODE_DICT;
        return parse_items(parser, '}', true, &made->items);
    }
    return unexpected(parser, "an expression");
}

/* ---- postfix ---- */

enum status jinja_parse_call(struct jinja_parser *parser, const struct jinja_node **node)
{
    struct jinja_node *call;
    TRY(jinja_node_new(parser, NODE_CALL, &call));
    call->a = *node;
    const struct jinja_node **tail = &call->items;
    bool named = false;
    TRY(jinja_expect_operator(parser, '('));
    while (!jinja_at_operator(parser, ')')) {
        struct jinja_node *item;
        const struct jinja_token *next = jinja_token(parser) + 1; /* END is the last */
        if (jinja_at_operator(parser, '*') || jinja_at_operator(parser, JINJA_OPERATOR2('*', '*')))
            return JINJA_PARSE_FAIL(parser, STATUS_UNSUPPORTED,
                                    "%s before an argument is not supported: write them out", "*");
        bool keyword = jinja_token(parser)->kind == TOKEN_NAME && next->kind == TOKEN_OPERATOR &&
                       next->op == '=';
        TRY(jinja_node_new(parser, keyword ? NODE_KEYWORD : NODE_PAIR, &item));
        if (keyword) {
            TRY(jinja_expect_name(parser, &item->name));
            advance(parser);
        } else if (named) {
            return unexpected(parser, "a named argument (others come before them)");
        }
        named = named || keyword;
        TRY(jinja_parse_expression(parser, true, &item->a));
        *tail = item;
        tail = &item->next;
        if (!jinja_skip_operator(parser, ','))
            break;
    }
    *node = call;
    return jinja_expect_operator(parser, ')');
}

/* One of the three parts of a slice, or EMPTY. */
static enum status slice_part(struct jinja_parser *parser, const struct jinja_node **part)
{
    struct jinja_node *link, *empty;
    TRY(jinja_node_new(parser, NODE_PAIR, &link));
    TRY(jinja_node_new(parser, NODE_EMPTY, &empty));
    link->a = empty;
    if (!jinja_at_operator(parser, ':') && !jinja_at_operator(parser, ']'))
        TRY(jinja_parse_expression(parser, true, &link->a));
    *part = link;
    return STATUS_OK;
}

static enum status parse_subscript(struct jinja_parser *parser, const struct jinja_node **node)
{
    struct jinja_node *made;
    TRY(jinja_node_new(parser, NODE_INDEX, &made));
    made->a = *node;
    advance(parser);
    const struct jinja_node *parts[3] = {0};
    if (jinja_at_operator(parser, ']'))
        return unexpected(parser, "an index");
    TRY(slice_part(parser, &parts[0]));
    if (!jinja_at_operator(parser, ':')) {
        made->b = parts[0]->a;
        if (jinja_at_operator(parser, ','))
            return unexpected(parser, "] (one index)");
    } else {
        made->kind = NODE_SLICE;
        advance(parser);
        TRY(slice_part(parser, &parts[1]));
        (void)jinja_skip_operator(parser, ':');
        TRY(slice_part(parser, &parts[2]));
        made->items = parts[0];
        made->b = parts[1]->a;
        made->c = parts[2]->a;
    }
    *node = made;
    return jinja_expect_operator(parser, ']');
}

static enum status parse_attribute(struct jinja_parser *parser, const struct jinja_node **node)
{
    struct jinja_node *made;
    advance(parser);
    TRY(jinja_node_new(parser, NODE_ATTRIBUTE, &made));
    made->a = *node;
    *node = made;
    struct jinja_token *token = jinja_token(parser);
    if (token->kind == TOKEN_NAME)
        return jinja_expect_name(parser, &made->name);
    if (token->kind != TOKEN_NUMBER || token->value.kind != JINJA_INT)
        return unexpected(parser, "the name of an attribute");
    struct jinja_node *index; /* a.0 is a[0] */
    TRY(jinja_node_new(parser, NODE_CONSTANT, &index));
    index->value = token->value;
    made->kind = NODE_INDEX;
    made->b = index;
    advance(parser);
    return STATUS_OK;
}

static enum status parse_postfix(struct jinja_parser *parser, const struct jinja_node **node)
{
    for (;;) {
        if (jinja_at_operator(parser, '.'))
            TRY(parse_attribute(parser, node));
        else if (jinja_at_operator(parser, '['))
            TRY(parse_subscript(parser, node));
        else if (jinja_at_operator(parser, '('))
            TRY(jinja_parse_call(parser, node));
        else
            return STATUS_OK;
    }
}

static enum status parse_filter(struct jinja_parser *parser, const struct jinja_node **node)
{
    struct jinja_node *made;
    const struct jinja_node *call = NULL;
    TRY(jinja_node_new(parser, NODE_FILTER, &made));
    made->a = *node;
    TRY(jinja_expect_name(parser, &made->name));
    if (!jinja_is_filter(made->name) && parser->conditions == 0)
        return JINJA_PARSE_FAIL(parser, STATUS_UNSUPPORTED, "there is no filter \"%.60s\"",
                                made->name);
    if (jinja_at_operator(parser, '(')) {
        TRY(jinja_parse_call(parser, &call));
        made->items = call->items;
    }
    *node = made;
    return STATUS_OK;
}

enum status jinja_parse_filters(struct jinja_parser *parser, bool first,
                                const struct jinja_node **node)
{
    while (first || jinja_skip_operator(parser, '|')) {
        first = false;
        TRY(parse_filter(parser, node));
    }
    return STATUS_OK;
}

/* Does an argument without brackets follow a test: "x is divisibleby 3"? */
static bool at_argument(const struct jinja_parser *parser)
{
    const struct jinja_token *token = jinja_token(parser);
    if (token->kind == TOKEN_NAME)
        return !jinja_at_name(parser, "else") && !jinja_at_name(parser, "or") &&
               !jinja_at_name(parser, "and") && !jinja_at_name(parser, "if");
    return token->kind == TOKEN_TEXT || token->kind == TOKEN_NUMBER ||
           jinja_at_operator(parser, '[') || jinja_at_operator(parser, '{');
}

static enum status parse_test(struct jinja_parser *parser, const struct jinja_node **node)
{
    struct jinja_node *made;
    const struct jinja_node *call = NULL;
    bool negated = jinja_skip_name(parser, "not");
    TRY(jinja_node_new(parser, NODE_TEST, &made));
    made->a = *node;
    TRY(jinja_expect_name(parser, &made->name));
    if (!jinja_is_test(made->name) && parser->conditions == 0)
        return JINJA_PARSE_FAIL(parser, STATUS_UNSUPPORTED, "there is no test \"%.60s\"",
                                made->name);
    if (jinja_at_operator(parser, '(')) {
        TRY(jinja_parse_call(parser, &call));
        made->items = call->items;
    } else if (jinja_at_name(parser, "is")) {
        return unexpected(parser, "something else (tests do not chain)");
    } else if (at_argument(parser)) {
        struct jinja_node *link;
        TRY(jinja_node_new(parser, NODE_PAIR, &link));
        TRY(parse_primary(parser, &link->a));
        TRY(parse_postfix(parser, &link->a));
        made->items = link;
    }
    *node = made;
    return negated ? join(parser, NODE_NOT, JINJA_NOT_IN, made, NULL, node) : STATUS_OK;
}

/* ---- operators ---- */

static enum status parse_unary(struct jinja_parser *parser, bool filters,
                               const struct jinja_node **node)
{
    if (++parser->nested > JINJA_NESTED_MAX)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "expressions nest deeper than %d",
                                JINJA_NESTED_MAX);
    bool minus = jinja_at_operator(parser, '-');
    if (minus || jinja_at_operator(parser, '+')) {
        const struct jinja_node *inner;
        advance(parser);
        TRY(parse_unary(parser, false, &inner));
        TRY(join(parser, NODE_UNARY, minus ? JINJA_MINUS : JINJA_PLUS, inner, NULL, node));
    } else {
        TRY(parse_primary(parser, node));
    }
    TRY(parse_postfix(parser, node));
    while (filters) {
        if (jinja_at_operator(parser, '|'))
            TRY(jinja_parse_filters(parser, false, node));
        else if (jinja_skip_name(parser, "is"))
            TRY(parse_test(parser, node));
        else if (jinja_at_operator(parser, '('))
            TRY(jinja_parse_call(parser, node));
        else
            break;
    }
    parser->nested--;
    return STATUS_OK;
}

static bool operator_of(struct jinja_parser *parser, const char *const *texts,
                        const enum jinja_operator *ops, size_t count, enum jinja_operator *op)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t code = texts[i][1] == '\0' ? (uint32_t)(unsigned char)texts[i][0]
                                            : JINJA_OPERATOR2(texts[i][0], texts[i][1]);
        if (jinja_skip_operator(parser, code)) {
            *op = ops[i];
            return true;
        }
    }
    return false;
}

static enum status parse_power(struct jinja_parser *parser, const struct jinja_node **node)
{
    TRY(parse_unary(parser, true, node));
    while (jinja_skip_operator(parser, JINJA_OPERATOR2('*', '*'))) {
        const struct jinja_node *right;
        TRY(parse_unary(parser, true, &right));
        TRY(join(parser, NODE_BINARY, JINJA_POWER, *node, right, node));
    }
    return STATUS_OK;
}

static enum status parse_product(struct jinja_parser *parser, const struct jinja_node **node)
{
    static const char *const texts[] = {"*", "/", "//", "%"};
    static const enum jinja_operator ops[] = {JINJA_MULTIPLY, JINJA_DIVIDE, JINJA_FLOOR_DIVIDE,
                                              JINJA_MODULO};
    enum jinja_operator op;
    TRY(parse_power(parser, node));
    while (operator_of(parser, texts, ops, 4, &op)) {
        const struct jinja_node *right;
        TRY(parse_power(parser, &right));
        TRY(join(parser, NODE_BINARY, op, *node, right, node));
    }
    return STATUS_OK;
}

static enum status parse_concat(struct jinja_parser *parser, const struct jinja_node **node)
{
    TRY(parse_product(parser, node));
    if (!jinja_at_operator(parser, '~'))
        return STATUS_OK;
    struct jinja_node *made, *link;
    TRY(jinja_node_new(parser, NODE_CONCAT, &made));
    TRY(jinja_node_new(parser, NODE_PAIR, &link));
    link->a = *node;
    made->items = link;
    while (jinja_skip_operator(parser, '~')) {
        struct jinja_node *item;
        TRY(jinja_node_new(parser, NODE_PAIR, &item));
        TRY(parse_product(parser, &item->a));
        link->next = item;
        link = item;
    }
    *node = made;
    return STATUS_OK;
}

static enum status parse_sum(struct jinja_parser *parser, const struct jinja_node **node)
{
    static const char *const texts[] = {"+", "-"};
    static const enum jinja_operator ops[] = {JINJA_ADD, JINJA_SUBTRACT};
    enum jinja_operator op;
    TRY(parse_concat(parser, node));
    while (operator_of(parser, texts, ops, 2, &op)) {
        const struct jinja_node *right;
        TRY(parse_concat(parser, &right));
        TRY(join(parser, NODE_BINARY, op, *node, right, node));
    }
    return STATUS_OK;
}

static bool comparison_of(struct jinja_parser *parser, enum jinja_operator *op)
{
    static const char *const texts[] = {"==", "!=", "<=", ">=", "<", ">"};
    static const enum jinja_operator ops[] = {JINJA_EQUAL,      JINJA_NOT_EQUAL,
                                              JINJA_LESS_EQUAL, JINJA_GREATER_EQUAL,
                                              JINJA_LESS,       JINJA_GREATER};
    if (operator_of(parser, texts, ops, 6, op))
        return true;
    *op = JINJA_IN;
    if (jinja_skip_name(parser, "in"))
        return true;
    const struct jinja_token *token = jinja_token(parser);
    if (!jinja_at_name(parser, "not") || token[1].kind != TOKEN_NAME || token[1].text.size != 2 ||
        memcmp(token[1].text.bytes, "in", 2) != 0)
        return false;
    advance(parser);
    advance(parser);
    *op = JINJA_NOT_IN;
    return true;
}

static enum status parse_compare(struct jinja_parser *parser, const struct jinja_node **node)
{
    enum jinja_operator op;
    TRY(parse_sum(parser, node));
    struct jinja_node *made = NULL, *last = NULL;
    while (comparison_of(parser, &op)) {
        struct jinja_node *operand;
        TRY(jinja_node_new(parser, NODE_OPERAND, &operand));
        operand->op = op;
        TRY(parse_sum(parser, &operand->a));
        if (made == NULL) {
            TRY(jinja_node_new(parser, NODE_COMPARE, &made));
            made->a = *node;
            made->line = (*node)->line;
            made->items = operand;
        } else {
            last->next = operand;
        }
        last = operand;
    }
    *node = made != NULL ? made : *node;
    return STATUS_OK;
}

static enum status parse_not(struct jinja_parser *parser, const struct jinja_node **node)
{
    if (!jinja_skip_name(parser, "not"))
        return parse_compare(parser, node);
    const struct jinja_node *inner;
    if (++parser->nested > JINJA_NESTED_MAX)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "expressions nest deeper than %d",
                                JINJA_NESTED_MAX);
    TRY(parse_not(parser, &inner));
    parser->nested--;
    return join(parser, NODE_NOT, JINJA_NOT_IN, inner, NULL, node);
}

static enum status parse_and(struct jinja_parser *parser, const struct jinja_node **node)
{
    TRY(parse_not(parser, node));
    while (jinja_skip_name(parser, "and")) {
        const struct jinja_node *right;
        TRY(parse_not(parser, &right));
        TRY(join(parser, NODE_AND, JINJA_IN, *node, right, node));
    }
    return STATUS_OK;
}

static enum status parse_or(struct jinja_parser *parser, const struct jinja_node **node)
{
    TRY(parse_and(parser, node));
    while (jinja_skip_name(parser, "or")) {
        const struct jinja_node *right;
        TRY(parse_and(parser, &right));
        TRY(join(parser, NODE_OR, JINJA_IN, *node, right, node));
    }
    return STATUS_OK;
}

enum status jinja_parse_expression(struct jinja_parser *parser, bool condition,
                                   const struct jinja_node **node)
{
    if (++parser->nested > JINJA_NESTED_MAX)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "expressions nest deeper than %d",
                                JINJA_NESTED_MAX);
    TRY(parse_or(parser, node));
    while (condition && jinja_skip_name(parser, "if")) {
        const struct jinja_node *test, *otherwise = NULL;
        struct jinja_node *made;
        TRY(parse_or(parser, &test));
        if (jinja_skip_name(parser, "else"))
            TRY(jinja_parse_expression(parser, true, &otherwise));
        TRY(jinja_node_new(parser, NODE_CONDITION, &made));
        made->a = test;
        made->b = *node;
        made->c = otherwise;
        made->line = (*node)->line;
        *node = made;
    }
    parser->nested--;
    return STATUS_OK;
}

static bool ends_tuple(const struct jinja_parser *parser, const char *stop)
{
    enum jinja_token_kind kind = jinja_token(parser)->kind;
    return kind == TOKEN_BLOCK_END || kind == TOKEN_VARIABLE_END || kind == TOKEN_END ||
           jinja_at_operator(parser, ')') || (stop != NULL && jinja_at_name(parser, stop));
}

enum status jinja_parse_tuple(struct jinja_parser *parser, bool condition, const char *stop,
                              const struct jinja_node **node)
{
    struct jinja_node *made;
    TRY(jinja_node_new(parser, NODE_TUPLE, &made));
    const struct jinja_node **tail = &made->items;
    bool tuple = false, closed = jinja_at_operator(parser, ')');
    while (!ends_tuple(parser, stop)) {
        struct jinja_node *link;
        TRY(jinja_node_new(parser, NODE_PAIR, &link));
        TRY(jinja_parse_expression(parser, condition, &link->a));
        *tail = link;
        tail = &link->next;
        if (!jinja_skip_operator(parser, ','))
            break;
        tuple = true;
    }
    *node = made;
    if (made->items == NULL)
        return closed ? STATUS_OK : unexpected(parser, "an expression");
    if (!tuple)
        *node = made->items->a;
    return STATUS_OK;
}
