/* reward/math/lex.h - LaTeX and plain notation as tokens: spacing, styles, delimiters' sizes and currency signs are gone,
 * numbers are joined over their thousands separators. Used by the parser only. */
#ifndef REWARD_MATH_LEX_H
#define REWARD_MATH_LEX_H

#include "reward/math/tree.h"

enum token_kind { /* or the ASCII code of a character: + - * / ^ _ ! | ( ) [ ] { } , ; : & % = < > ' */
                  TOKEN_END = 256,
                  TOKEN_NUMBER,
                  TOKEN_LETTER, /* a variable: one letter, a Greek name, a styled letter */
                  TOKEN_WORD,   /* two and more plain letters */
                  TOKEN_TEXT,   /* \text{...} and the like */
                  TOKEN_CONSTANT,
                  TOKEN_FUNCTION, /* value: enum math_function */
                  TOKEN_SET_OPEN,
                  TOKEN_SET_CLOSE,
                  TOKEN_ANGLE_OPEN,
                  TOKEN_ANGLE_CLOSE,
                  TOKEN_FLOOR_OPEN,
                  TOKEN_FLOOR_CLOSE,
                  TOKEN_CEIL_OPEN,
                  TOKEN_CEIL_CLOSE,
                  TOKEN_BAR_OPEN, /* \left| and \lvert */
                  TOKEN_BAR_CLOSE,
                  TOKEN_RELATION, /* value: enum math_operator */
                  TOKEN_UNION,
                  TOKEN_INTERSECTION,
                  TOKEN_DIFFERENCE,
                  TOKEN_PLUS_MINUS,
                  TOKEN_MINUS_PLUS,
                  TOKEN_ROW,
                  TOKEN_FRACTION,
                  TOKEN_ROOT,
                  TOKEN_BINOMIAL,
                  TOKEN_BEGIN, /* text: the environment */
                  TOKEN_FINISH,
                  TOKEN_DEGREE,
                  TOKEN_SUM,
                  TOKEN_PRODUCT,
                  TOKEN_INTEGRAL, /* and limits: read as a call */
                  TOKEN_AND,      /* and, or: separates items */
                  TOKEN_IF,       /* for, where: a condition follows */
                  TOKEN_PRIME,
                  TOKEN_MOD,
                  TOKEN_PMOD,
                  TOKEN_OPERATOR, /* another binary operator, \otimes: text */
                  TOKEN_OVERLINE,
                  TOKEN_BASE, /* the word base */
                  TOKEN_CHOOSE,
                  TOKEN_SKIP /* of the table only */
};

struct token {
    int kind;
    int value;
    const char *text;
    size_t size;
    bool space; /* white space before it */
};

struct token_list {
    struct token *at;
    size_t count; /* the last one is TOKEN_END */
};

struct lex_command {
    const char *name;
    int kind, value;
    const char *text; /* NULL: the name */
};

/* False when the text is too long or the arena is full. */
bool math_lex(struct arena *arena, struct answer_span text, struct math_notation notation,
              struct token_list *tokens);
/* NULL when there is none of this name. */
const struct lex_command *math_command(const char *name, size_t size);
const struct lex_command *math_word(const char *name, size_t size);
bool math_word_is_unit(const char *name, size_t size);
/* Unicode signs as LaTeX: a copy in the arena, or the text itself. */
struct answer_span math_plain_signs(struct arena *arena, struct answer_span text);

#endif
