/* text/jinja_parse.c - statements of templates into trees; what Jinja has and chat templates do not is refused. */
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "text/jinja.h"
#include "text/jinja_node.h"
#include "text/jinja_template.h"

enum { ARENA_MAX = 256 << 20, SOURCE_MAX = 4 << 20 };

static enum status expect_end(struct jinja_parser *parser, enum jinja_token_kind kind)
{
    char text[48];
    if (jinja_token(parser)->kind != kind)
        return JINJA_PARSE_FAIL(parser, STATUS_INVALID, "%s stands where %s should",
                                jinja_token_text(jinja_token(parser), text),
                                kind == TOKEN_BLOCK_END ? "%}" : "}}");
    parser->at++;
    return STATUS_OK;
}

static enum status take_word(struct jinja_parser *parser)
{
    const char *word;
    return jinja_expect_name(parser, &word);
}

enum status jinja_parse_target(struct jinja_parser *parser, bool attributes,
                               const struct jinja_node **node)
{
    if (++parser->nested > JINJA_NESTED_MAX)
        return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "targets nest deeper than %d",
                                JINJA_NESTED_MAX);
    struct jinja_node *tuple;
    TRY(jinja_node_new(parser, NODE_TUPLE, &tuple));
    const struct jinja_node **tail = &tuple->items;
    bool many = false;
    do {
        struct jinja_node *link, *name;
        if (jinja_at_operator(parser, ')') || jinja_at_name(parser, "in"))
            break;
        TRY(jinja_node_new(parser, NODE_PAIR, &link));
        if (jinja_skip_operator(parser, '(')) {
            TRY(jinja_parse_target(parser, attributes, &link->a));
            TRY(jinja_expect_operator(parser, ')'));
        } else {
            TRY(jinja_node_new(parser, NODE_NAME, &name));
            TRY(jinja_expect_name(parser, &name->name));
            link->a = name;
            if (attributes && jinja_skip_operator(parser, '.')) {
                struct jinja_node *attribute;
                TRY(jinja_node_new(parser, NODE_ATTRIBUTE, &attribute));
                attribute->a = name;
                TRY(jinja_expect_name(parser, &attribute->name));
                link->a = attribute;
            }
        }
        *tail = link;
        tail = &link->next;
        many = many || jinja_at_operator(parser, ',');
    } while (jinja_skip_operator(parser, ','));
    parser->nested--;
    if (tuple->items == NULL)
        return JINJA_PARSE_FAIL(parser, STATUS_INVALID, "%s", "a name to assign to is missing");
    *node = many ? tuple : tuple->items->a;
    return STATUS_OK;
}

/* ---- blocks ---- */

static enum status parse_if(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    const struct jinja_node **tail = &made->items;
    bool otherwise = false;
    made->kind = NODE_IF;
    for (;;) {
        struct jinja_node *branch;
        TRY(jinja_node_new(parser, NODE_BRANCH, &branch));
        if (!otherwise)
            TRY(jinja_parse_tuple(parser, false, NULL, &branch->a));
        TRY(expect_end(parser, TOKEN_BLOCK_END));
        parser->conditions++;
        TRY(jinja_parse_body(parser, otherwise ? ends + 2 : ends, &branch->body));
        parser->conditions--;
        *tail = branch;
        tail = &branch->next;
        otherwise = jinja_at_name(parser, "else");
        bool done = jinja_at_name(parser, "endif");
        TRY(take_word(parser));
        if (done)
            return STATUS_OK;
    }
}

static enum status parse_for(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    made->kind = NODE_FOR;
    TRY(jinja_intern(parser, (struct jinja_text){"loop", 4}, &made->name));
    TRY(jinja_parse_target(parser, false, &made->a));
    if (!jinja_skip_name(parser, "in"))
        return JINJA_PARSE_FAIL(parser, STATUS_INVALID, "%s", "the for has no \"in\"");
    TRY(jinja_parse_tuple(parser, false, "recursive", &made->b));
    if (jinja_skip_name(parser, "if"))
        TRY(jinja_parse_expression(parser, true, &made->c));
    made->recursive = jinja_skip_name(parser, "recursive");
    TRY(expect_end(parser, TOKEN_BLOCK_END));
    parser->loops++;
    TRY(jinja_parse_body(parser, ends, &made->body));
    parser->loops--;
    if (jinja_skip_name(parser, "else")) {
        TRY(expect_end(parser, TOKEN_BLOCK_END));
        TRY(jinja_parse_body(parser, ends + 1, &made->other));
    }
    return take_word(parser);
}

static enum status parse_set(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"endset", NULL};
    made->kind = NODE_SET;
    TRY(jinja_parse_target(parser, true, &made->a));
    if (jinja_skip_operator(parser, '='))
        return jinja_parse_tuple(parser, true, NULL, &made->b);
    made->kind = NODE_SET_BLOCK;
    if (jinja_at_operator(parser, '|'))
        TRY(jinja_parse_filters(parser, false, &made->b));
    TRY(expect_end(parser, TOKEN_BLOCK_END));
    TRY(jinja_parse_body(parser, ends, &made->body));
    return take_word(parser);
}

static enum status parse_parameters(struct jinja_parser *parser, const struct jinja_node **items)
{
    bool defaults = false;
    TRY(jinja_expect_operator(parser, '('));
    while (!jinja_at_operator(parser, ')')) {
        struct jinja_node *made;
        TRY(jinja_node_new(parser, NODE_PARAMETER, &made));
        TRY(jinja_expect_name(parser, &made->name));
        if (jinja_skip_operator(parser, '=')) {
            defaults = true;
            TRY(jinja_parse_expression(parser, true, &made->a));
        } else if (defaults) {
            return JINJA_PARSE_FAIL(parser, STATUS_INVALID,
                                    "the parameter \"%.60s\" without a default follows one with",
                                    made->name);
        }
        *items = made;
        items = &made->next;
        if (!jinja_skip_operator(parser, ','))
            break;
    }
    return jinja_expect_operator(parser, ')');
}

static enum status parse_macro_body(struct jinja_parser *parser, struct jinja_node *made,
                                    const char *const *ends)
{
    struct jinja_node *around = parser->macro;
    uint32_t loops = parser->loops;
    parser->macro = made;
    parser->loops = 0;
    TRY(expect_end(parser, TOKEN_BLOCK_END));
    TRY(jinja_parse_body(parser, ends, &made->body));
    parser->macro = around;
    parser->loops = loops;
    return take_word(parser);
}

static enum status parse_macro(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"endmacro", NULL};
    made->kind = NODE_MACRO;
    TRY(jinja_expect_name(parser, &made->name));
    TRY(parse_parameters(parser, &made->items));
    return parse_macro_body(parser, made, ends);
}

static enum status parse_call_block(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"endcall", NULL};
    made->kind = NODE_CALL_BLOCK;
    if (jinja_at_operator(parser, '('))
        TRY(parse_parameters(parser, &made->items));
    TRY(jinja_parse_expression(parser, true, &made->a));
    if (made->a->kind != NODE_CALL)
        return JINJA_PARSE_FAIL(parser, STATUS_INVALID, "%s", "call needs a call: {% call f() %}");
    return parse_macro_body(parser, made, ends);
}

static enum status parse_filter_block(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"endfilter", NULL};
    made->kind = NODE_FILTER_BLOCK;
    TRY(jinja_parse_filters(parser, true, &made->b));
    TRY(expect_end(parser, TOKEN_BLOCK_END));
    TRY(jinja_parse_body(parser, ends, &made->body));
    return take_word(parser);
}

static enum status parse_with(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"endwith", NULL};
    const struct jinja_node **tail = &made->items;
    made->kind = NODE_WITH;
    while (jinja_token(parser)->kind != TOKEN_BLOCK_END) {
        struct jinja_node *set, *name;
        TRY(jinja_node_new(parser, NODE_SET, &set));
        TRY(jinja_node_new(parser, NODE_NAME, &name));
        TRY(jinja_expect_name(parser, &name->name));
        TRY(jinja_expect_operator(parser, '='));
        TRY(jinja_parse_expression(parser, true, &set->b));
        set->a = name;
        *tail = set;
        tail = &set->next;
        if (!jinja_skip_operator(parser, ','))
            break;
    }
    TRY(expect_end(parser, TOKEN_BLOCK_END));
    TRY(jinja_parse_body(parser, ends, &made->body));
    return take_word(parser);
}

static enum status parse_generation(struct jinja_parser *parser, struct jinja_node *made)
{
    static const char *const ends[] = {"endgeneration", NULL};
    made->kind = NODE_GENERATION;
    parser->has_generation = true;
    TRY(expect_end(parser, TOKEN_BLOCK_END));
    TRY(jinja_parse_body(parser, ends, &made->body));
    return take_word(parser);
}

static enum status parse_leave(struct jinja_parser *parser, struct jinja_node *made)
{
    if (parser->loops == 0)
        return JINJA_PARSE_FAIL(parser, STATUS_INVALID, "%s",
                                "break and continue stand outside of a for");
    made->kind = strcmp(made->name, "break") == 0 ? NODE_BREAK : NODE_CONTINUE;
    return STATUS_OK;
}

/* The parser stands behind {%. */
static enum status parse_statement(struct jinja_parser *parser, struct jinja_node **node)
{
    static const struct {
        const char *name;
        enum status (*parse)(struct jinja_parser *parser, struct jinja_node *made);
    } rows[] = {{"if", parse_if},           {"for", parse_for},
                {"set", parse_set},         {"macro", parse_macro},
                {"call", parse_call_block}, {"filter", parse_filter_block},
                {"with", parse_with},       {"generation", parse_generation},
                {"break", parse_leave},     {"continue", parse_leave}};
    TRY(jinja_node_new(parser, NODE_DATA, node));
    TRY(jinja_expect_name(parser, &(*node)->name));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, (*node)->name) == 0) {
            if (++parser->nested > JINJA_NESTED_MAX)
                return JINJA_PARSE_FAIL(parser, STATUS_LIMIT, "blocks nest deeper than %d",
                                        JINJA_NESTED_MAX);
            TRY(rows[i].parse(parser, *node));
            parser->nested--;
            return expect_end(parser, TOKEN_BLOCK_END);
        }
    return FAIL(STATUS_UNSUPPORTED,
                "%s:%u: the block {%% %.60s %%} is not one of if, for, set, macro, call, filter, "
                "with, generation, break, continue, raw, or it ends a block that is not open",
                parser->tokens->name, (*node)->line, (*node)->name);
}

static bool at_end(const struct jinja_parser *parser, const char *const *ends)
{
    for (; *ends != NULL; ends++)
        if (jinja_at_name(parser, *ends))
            return true;
    return false;
}

/* One piece of a body. *done: the block that ends it is reached, behind its {%. */
static enum status parse_piece(struct jinja_parser *parser, const char *const *ends,
                               struct jinja_node **node, bool *done)
{
    const struct jinja_token *token = jinja_token(parser);
    if (token->kind == TOKEN_END)
        return JINJA_PARSE_FAIL(parser, STATUS_INVALID,
                                "the template ends within a block that needs {%% %s %%}", *ends);
    parser->at++;
    if (token->kind == TOKEN_BLOCK_BEGIN) {
        *done = at_end(parser, ends);
        return *done ? STATUS_OK : parse_statement(parser, node);
    }
    TRY(jinja_node_new(parser, NODE_DATA, node));
    (*node)->line = token->line;
    if (token->kind == TOKEN_DATA) {
        (*node)->value = jinja_text(token->text.bytes, token->text.size);
        return STATUS_OK;
    }
    CHECK(token->kind == TOKEN_VARIABLE_BEGIN);
    (*node)->kind = NODE_OUTPUT;
    TRY(jinja_parse_tuple(parser, true, NULL, &(*node)->a));
    return expect_end(parser, TOKEN_VARIABLE_END);
}

enum status jinja_parse_body(struct jinja_parser *parser, const char *const *ends,
                             const struct jinja_node **body)
{
    *body = NULL;
    for (bool done = false; !done;) {
        struct jinja_node *node = NULL;
        if (*ends == NULL && jinja_token(parser)->kind == TOKEN_END)
            return STATUS_OK;
        TRY(parse_piece(parser, ends, &node, &done));
        if (node != NULL) {
            *body = node;
            body = &node->next;
        }
    }
    return STATUS_OK;
}

/* ---- the template ---- */

static enum status parse_source(struct jinja *made, const char *source, size_t size)
{
    static const char *const none[] = {NULL};
    struct jinja_tokens tokens = {.name = made->name, .arena = made->arena};
    struct jinja_parser parser = {.tokens = &tokens, .arena = made->arena};
    parser.words = arena_array(made->arena, JINJA_BUCKETS, sizeof *parser.words);
    if (size > SOURCE_MAX || parser.words == NULL)
        return FAIL(STATUS_LIMIT, "%s: a template of %zu bytes; %d is the most", made->name, size,
                    SOURCE_MAX);
    enum status status = jinja_lex(&tokens, source, size);
    if (status == STATUS_OK)
        status = jinja_intern(&parser, (struct jinja_text){"caller", 6}, &made->caller);
    if (status == STATUS_OK)
        status = jinja_intern(&parser, (struct jinja_text){"varargs", 7}, &made->varargs);
    if (status == STATUS_OK)
        status = jinja_intern(&parser, (struct jinja_text){"kwargs", 6}, &made->kwargs);
    if (status == STATUS_OK)
        status = jinja_parse_body(&parser, none, &made->body);
    made->has_generation = parser.has_generation;
    memory_free(tokens.items);
    return status;
}

enum status jinja_parse(struct jinja **out, const char *name, const char *source, size_t size)
{
    struct jinja *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a template");
    enum status status = arena_create(&made->arena, ARENA_MAX);
    if (status == STATUS_OK && (made->name = arena_text(made->arena, name)) == NULL)
        status = FAIL(STATUS_NO_MEMORY, "the name of a template");
    if (status == STATUS_OK)
        status = parse_source(made, source, size);
    if (status != STATUS_OK)
        jinja_free(&made);
    *out = made;
    return status;
}

void jinja_free(struct jinja **made)
{
    if (*made == NULL)
        return;
    arena_destroy(&(*made)->arena);
    memory_free(*made);
    *made = NULL;
}

bool jinja_has_generation(const struct jinja *made)
{
    return made->has_generation;
}
