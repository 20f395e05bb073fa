/* text/jinja_node.h - a template as a tree, and how it is made. For jinja_*.c. */
#ifndef TEXT_JINJA_NODE_H
#define TEXT_JINJA_NODE_H

#include "core/arena.h"
#include "text/jinja_value.h"

enum jinja_operator {
    JINJA_ADD,
    JINJA_SUBTRACT,
    JINJA_MULTIPLY,
    JINJA_DIVIDE,
    JINJA_FLOOR_DIVIDE,
    JINJA_MODULO,
    JINJA_POWER,
    JINJA_EQUAL,
    JINJA_NOT_EQUAL,
    JINJA_LESS,
    JINJA_LESS_EQUAL,
    JINJA_GREATER,
    JINJA_GREATER_EQUAL,
    JINJA_IN,
    JINJA_NOT_IN,
    JINJA_PLUS,
    JINJA_MINUS
};

enum jinja_node_kind {
    /* expressions */
    NODE_CONSTANT,  /* value */
    NODE_NAME,      /* name */
    NODE_LIST,      /* items */
    NODE_TUPLE,     /* items */
    NODE_DICT,      /* items: PAIR */
    NODE_PAIR,      /* a: b */
    NODE_UNARY,     /* op a */
    NODE_BINARY,    /* a op b */
    NODE_COMPARE,   /* a, items: OPERAND */
    NODE_OPERAND,   /* op a */
    NODE_AND,       /* a, b */
    NODE_OR,        /* a, b */
    NODE_NOT,       /* a */
    NODE_CONCAT,    /* items */
    NODE_CONDITION, /* b if a else c (NULL: undefined) */
    NODE_ATTRIBUTE, /* a.name */
    NODE_INDEX,     /* a[b] */
    NODE_SLICE,     /* a[items: three, EMPTY where absent] */
    NODE_EMPTY,
    NODE_CALL,    /* a(items) */
    NODE_KEYWORD, /* name=a, among the items of a call */
    NODE_FILTER,  /* a | name(items); a NULL: of a block */
    NODE_TEST,    /* a is name(items) */
    /* statements */
    NODE_DATA,         /* value */
    NODE_OUTPUT,       /* a */
    NODE_IF,           /* items: BRANCH */
    NODE_BRANCH,       /* a (NULL: else), body */
    NODE_FOR,          /* a: target, b: in, c: if (or NULL), body, other: else */
    NODE_SET,          /* a: target, b */
    NODE_SET_BLOCK,    /* a: target, b: filters or NULL, body */
    NODE_MACRO,        /* name, items: PARAMETER, body */
    NODE_PARAMETER,    /* name, a: default or NULL */
    NODE_CALL_BLOCK,   /* a: call, items: PARAMETER, body */
    NODE_FILTER_BLOCK, /* b: filters, body */
    NODE_WITH,         /* items: SET, body */
    NODE_GENERATION,   /* body */
    NODE_BREAK,
    NODE_CONTINUE
};

struct jinja_node {
    enum jinja_node_kind kind;
    enum jinja_operator op;
    uint32_t line;
    bool rest, named_rest; /* MACRO, CALL_BLOCK: the body reads varargs, kwargs */
    bool recursive;        /* FOR */
    const char *name;      /* interned */
    struct jinja_value value;
    const struct jinja_node *a, *b, *c, *items, *body, *other;
    const struct jinja_node *next; /* among the items or statements of the same node */
};

/* ---- tokens ---- */

enum jinja_token_kind {
    TOKEN_DATA,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_NAME,
    TOKEN_TEXT,   /* a string, its escapes resolved */
    TOKEN_NUMBER, /* value */
    TOKEN_OPERATOR,
    TOKEN_END
};
#define JINJA_OPERATOR2(a, b) ((uint32_t)(a) << 8 | (uint32_t)(b))

struct jinja_token {
    enum jinja_token_kind kind;
    uint32_t line;
    uint32_t op; /* OPERATOR: one character, or JINJA_OPERATOR2 */
    struct jinja_text text;
    struct jinja_value value;
};

struct jinja_tokens {
    const char *name; /* of the template, for errors */
    struct arena *arena;
    struct jinja_token *items; /* [count], the last is END; memory_free */
    size_t count, capacity;
};

/* The whole source as tokens in the arena. INVALID: name, line and what is wrong. */
MUST_CHECK enum status jinja_lex(struct jinja_tokens *tokens, const char *source, size_t size);

/* ---- parser ---- */

enum { JINJA_BUCKETS = 1024, JINJA_NESTED_MAX = 100 };

struct jinja_word {
    struct jinja_word *next;
    size_t size;
    char text[];
};

struct jinja_parser {
    struct jinja_tokens *tokens;
    size_t at;
    struct arena *arena;
    struct jinja_word **words; /* [JINJA_BUCKETS] */
    uint32_t nested;
    uint32_t loops; /* FOR blocks around */
    uint32_t
        conditions; /* if blocks and if expressions around: what is unknown in them fails when it runs */
    struct jinja_node *macro; /* around, or NULL */
    bool has_generation;
};

/* A failure at a token. */
#define JINJA_PARSE_FAIL(parser, status, format, ...) \
    FAIL(status, "%s:%u: " format, (parser)->tokens->name, jinja_token(parser)->line, __VA_ARGS__)

struct jinja_token *jinja_token(const struct jinja_parser *parser);
const char *jinja_token_text(const struct jinja_token *token,
                             char text[48]); /* as errors show it */
bool jinja_at_name(const struct jinja_parser *parser, const char *name);
bool jinja_at_operator(const struct jinja_parser *parser, uint32_t op);
bool jinja_skip_name(struct jinja_parser *parser, const char *name);
bool jinja_skip_operator(struct jinja_parser *parser, uint32_t op);
MUST_CHECK enum status jinja_expect_operator(struct jinja_parser *parser, uint32_t op);
MUST_CHECK enum status jinja_expect_name(struct jinja_parser *parser, const char **name);
/* The one copy of a name, so that names compare as pointers. */
MUST_CHECK enum status jinja_intern(struct jinja_parser *parser, struct jinja_text text,
                                    const char **name);
MUST_CHECK enum status jinja_node_new(struct jinja_parser *parser, enum jinja_node_kind kind,
                                      struct jinja_node **node);

MUST_CHECK enum status jinja_parse_expression(struct jinja_parser *parser, bool condition,
                                              const struct jinja_node **node);
/* Expressions between commas: one is itself, more are a tuple. stop: a word that ends it, or NULL. */
MUST_CHECK enum status jinja_parse_tuple(struct jinja_parser *parser, bool condition,
                                         const char *stop, const struct jinja_node **node);
MUST_CHECK enum status jinja_parse_target(struct jinja_parser *parser, bool attributes,
                                          const struct jinja_node **node);
/* "| name(...) ..." onto node (NULL: of a block). first: the pipe is already read. */
MUST_CHECK enum status jinja_parse_filters(struct jinja_parser *parser, bool first,
                                           const struct jinja_node **node);
MUST_CHECK enum status jinja_parse_call(struct jinja_parser *parser,
                                        const struct jinja_node **node);
MUST_CHECK enum status jinja_parse_body(struct jinja_parser *parser, const char *const *ends,
                                        const struct jinja_node **body);

#endif
