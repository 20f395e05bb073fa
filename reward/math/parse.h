/* reward/math/parse.h - what the files of the parser share. Every function returns NULL when the text cannot be read, and
 * sets failed; the position is then of no use. */
#ifndef REWARD_MATH_PARSE_H
#define REWARD_MATH_PARSE_H

#include "reward/math/lex.h"
#include "reward/math/tree.h"

struct parser {
    struct arena *arena;
    struct token *at; /* the next token; the list ends in TOKEN_END */
    const struct token *first;
    uint32_t depth, nodes;
    int bars;     /* open |: the next | closes */
    bool builder; /* inside {x | ...}: | and : separate */
    bool failed;
};

struct node_list { /* grows in the arena */
    struct node **at;
    uint8_t *tags;
    uint32_t count, capacity;
};

struct node *parse_fail(struct parser *parser);
bool parse_enter(struct parser *parser); /* one level deeper; false at the limit */
void parse_leave(struct parser *parser);
bool parse_take(struct parser *parser, int kind); /* the next token, if it is of this kind */
struct node *parse_new(struct parser *parser, enum node_kind kind, uint32_t count);
struct node *parse_new_1(struct parser *parser, enum node_kind kind, struct node *child);
struct node *parse_new_2(struct parser *parser, enum node_kind kind, struct node *a,
                         struct node *b);
/* left * right; a left side that is a product takes one more factor. */
struct node *parse_product(struct parser *parser, struct node *left, struct node *right);
struct node *parse_named(struct parser *parser, enum node_kind kind, const char *text, size_t size);
struct node *parse_function_node(struct parser *parser, enum math_function function, struct node *a,
                                 struct node *b);
struct node *parse_call(struct parser *parser, const char *name, size_t size, struct node *a,
                        struct node *b);
bool parse_push(struct parser *parser, struct node_list *list, struct node *node, uint8_t tag);
struct node *parse_from_list(struct parser *parser, enum node_kind kind,
                             const struct node_list *list);

struct node *parse_items(struct parser *parser);    /* relation, relation; ... */
struct node *parse_relation(struct parser *parser); /* a < b = c */
struct node *parse_sum(struct parser *parser);      /* a + b - c */
struct node *parse_term(struct parser *parser);     /* a b / c */
struct node *parse_power(struct parser *parser);    /* a^b, a!, a% */
struct node *parse_atom(struct parser *parser);
struct node *parse_argument(struct parser *parser);    /* {...}, or one digit, letter or command */
struct node *parse_function(struct parser *parser);    /* at TOKEN_FUNCTION */
struct node *parse_large(struct parser *parser);       /* at TOKEN_SUM, _PRODUCT, _INTEGRAL */
struct node *parse_environment(struct parser *parser); /* at TOKEN_BEGIN */
struct node *parse_name(struct parser *parser);        /* at TOKEN_LETTER, _CONSTANT, _WORD */
struct node *parse_bracketed(struct parser *parser);   /* at ( [ ] { \{ \langle */
bool parse_is_mid(const struct parser *parser);        /* the bar of {x | ...} */
bool parse_starts_factor(const struct parser *parser);
bool parse_is_unit(const struct parser *parser);
void parse_skip_unit(struct parser *parser);

#endif
