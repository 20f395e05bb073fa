/* reward/math/tree.h - an answer as a tree, and the parser that makes one from LaTeX or plain notation.
 *
 * Trees live in the caller's arena and are never changed after parsing (rewrites make new nodes that share children).
 * Everything is bounded: MATH_TEXT_MAX bytes of text, MATH_NODES_MAX nodes, MATH_DEPTH_MAX levels; beyond a bound
 * there is no tree (NULL), and the answer counts as one that cannot be read. Pure, any thread. */
#ifndef REWARD_MATH_TREE_H
#define REWARD_MATH_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "reward/answer/answer.h"

enum { MATH_TEXT_MAX = 4096, MATH_NODES_MAX = 8192, MATH_DEPTH_MAX = 96 };

enum node_kind {
    NODE_NUMBER,       /* text: digits, one point, "(digits)" that repeat, "e" exponent */
    NODE_CONSTANT,     /* text: "pi", "e", "i", "inf", "empty" */
    NODE_VARIABLE,     /* text: its name, with subscript and style */
    NODE_TEXT,         /* text: words, as written */
    NODE_ADD,          /* children */
    NODE_NEGATE,       /* 1 child */
    NODE_PLUS_MINUS,   /* 1 child: + or -; all of one expression take the same sign */
    NODE_MINUS_PLUS,   /* the opposite sign of NODE_PLUS_MINUS */
    NODE_MULTIPLY,     /* children */
    NODE_DIVIDE,       /* 2 */
    NODE_POWER,        /* 2 */
    NODE_ROOT,         /* radicand, degree */
    NODE_FACTORIAL,    /* 1 */
    NODE_FUNCTION,     /* function; children are its arguments */
    NODE_CALL,         /* text: a function without a definition, f(x) */
    NODE_SUM,          /* variable, from, to, body */
    NODE_PRODUCT,      /* likewise */
    NODE_BASE,         /* text: the digits; child: the base */
    NODE_PERCENT,      /* 1 */
    NODE_DEGREE,       /* 1 */
    NODE_LIST,         /* a, b, c without brackets: no order */
    NODE_SET,          /* {a, b, c} */
    NODE_BRACKET,      /* (a, b) [a, b) ...: tuple or interval; open and close are '(' or '[' */
    NODE_UNION,        /* 2 */
    NODE_INTERSECTION, /* 2 */
    NODE_DIFFERENCE,   /* 2 */
    NODE_MATRIX,       /* rows * columns children, by row */
    NODE_RELATION,     /* sides, with count - 1 operators */
    NODE_RATIO,        /* a:b:c */
    NODE_BUILDER       /* {element | condition} */
};

enum math_function {
    FUNCTION_SIN,
    FUNCTION_COS,
    FUNCTION_TAN,
    FUNCTION_COT,
    FUNCTION_SEC,
    FUNCTION_CSC,
    FUNCTION_ASIN,
    FUNCTION_ACOS,
    FUNCTION_ATAN,
    FUNCTION_ACOT,
    FUNCTION_SINH,
    FUNCTION_COSH,
    FUNCTION_TANH,
    FUNCTION_COTH,
    FUNCTION_SECH,
    FUNCTION_CSCH,
    FUNCTION_ASINH,
    FUNCTION_ACOSH,
    FUNCTION_ATANH,
    FUNCTION_LN,
    FUNCTION_LOG,      /* no base given: natural, or to base 10 when the comparison asks for that */
    FUNCTION_LOG_BASE, /* base, argument */
    FUNCTION_LG,
    FUNCTION_EXP,
    FUNCTION_ABS,
    FUNCTION_FLOOR,
    FUNCTION_CEIL,
    FUNCTION_SIGN,
    FUNCTION_RE,
    FUNCTION_IM,
    FUNCTION_CONJUGATE,
    FUNCTION_ARG,
    FUNCTION_BINOMIAL,
    FUNCTION_GCD,
    FUNCTION_LCM,
    FUNCTION_MIN,
    FUNCTION_MAX,
    FUNCTION_MOD,
    FUNCTION_DET,
    FUNCTION_GAMMA,
    FUNCTION_COUNT
};

enum math_operator {
    OPERATOR_EQUAL,
    OPERATOR_NOT_EQUAL,
    OPERATOR_LESS,
    OPERATOR_LESS_EQUAL,
    OPERATOR_GREATER,
    OPERATOR_GREATER_EQUAL,
    OPERATOR_IN,
    OPERATOR_APPROX,
    OPERATOR_OTHER /* compared as written */
};

struct node {
    uint8_t kind;     /* enum node_kind */
    uint8_t function; /* enum math_function */
    char open, close; /* of NODE_BRACKET */
    uint16_t depth;   /* levels below it, as parsed: at most MATH_DEPTH_MAX * 3 */
    uint32_t count;   /* of child */
    uint32_t rows, columns;
    const char *text; /* [size], in the arena or in the text that was parsed */
    size_t size;
    struct node **child;
    uint8_t *operators;           /* [count - 1] enum math_operator, of NODE_RELATION */
    const struct node *condition; /* of an expression "if ...": kept for comparison as written */
};

struct math_notation {
    bool decimal_comma; /* "1,22" is a decimal number where that can be */
    bool thousands;     /* "1,000" is one number outside brackets */
};

/* What one comparison may use: its thread's CPU time, and at the very latest a moment of CLOCK_MONOTONIC. */
struct math_time {
    int64_t cpu_ns, deadline_ns;
};

/* NULL when the text cannot be read or breaks a bound. Borrows `text`. */
struct node *math_parse(struct arena *arena, struct answer_span text,
                        struct math_notation notation);
/* A node with room for `count` children; NULL at the arena's limit. */
struct node *math_node(struct arena *arena, enum node_kind kind, uint32_t count);
struct node *math_node_2(struct arena *arena, enum node_kind kind, struct node *first,
                         struct node *second);
/* The same tree: kinds, names and numbers as written, children in order. */
bool math_tree_same(const struct node *a, const struct node *b);
bool math_tree_has(const struct node *tree, enum node_kind kind);
bool math_tree_has_function(const struct node *tree, enum math_function function);
/* Whether nothing in it varies: no variable, call or text. */
bool math_tree_is_constant(const struct node *tree);
/* A copy with every \pm read as `sign`, +1 or -1. */
struct node *math_tree_signed(struct arena *arena, struct node *tree, int sign);
bool math_text_is(const char *text, size_t size, const char *word);

#endif
