#include "ops/data/expression.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum kind { NUMBER, TEXT, NAME, NOT, AND, OR, CHAIN };
enum comparison { LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, NOT_EQUAL, LIKE, NONE };

enum { CHAIN_MAX = 8, DEPTH_MAX = 64 };

struct term {
    enum kind kind;
    double number;
    char text[EXPRESSION_NAME_MAX];
    int count; /* of children */
    int child[CHAIN_MAX];
    enum comparison comparison[CHAIN_MAX]; /* between child i and i + 1 */
};

struct expression {
    struct term terms[EXPRESSION_NODES_MAX];
    int count, root, depth;
    const char *from, *at; /* while it is parsed */
};

/* ---- parsing ---- */

static enum status parse_or(struct expression *expression, int *out);

static void skip_blanks(struct expression *expression)
{
    expression->at += strspn(expression->at, " \t\r\n");
}

static enum status expected(const struct expression *expression, const char *what)
{
    return FAIL(STATUS_INVALID, "--keep, column %d: %s is expected, not \"%.12s\"",
                (int)(expression->at - expression->from) + 1, what, expression->at);
}

static enum status new_term(struct expression *expression, enum kind kind, int *out)
{
    if (expression->count == EXPRESSION_NODES_MAX)
        return FAIL(STATUS_LIMIT, "--keep has more than %d parts", EXPRESSION_NODES_MAX);
    *out = expression->count++;
    expression->terms[*out].kind = kind;
    return STATUS_OK;
}

static bool is_name_character(char c)
{
    return isalnum((unsigned char)c) != 0 || (c != '\0' && strchr("_@.", c) != NULL);
}

/* The word or sign at the place; words end where a name would. */
static bool take(struct expression *expression, const char *word)
{
    size_t size = strlen(word);
    skip_blanks(expression);
    if (strncmp(expression->at, word, size) != 0)
        return false;
    if (is_name_character(word[0]) && is_name_character(expression->at[size]))
        return false;
    expression->at += size;
    return true;
}

static enum status parse_text(struct expression *expression, int *out)
{
    char quote = *expression->at;
    const char *end = strchr(expression->at + 1, quote);
    size_t size = end != NULL ? (size_t)(end - expression->at - 1) : 0;
    if (end == NULL || size >= EXPRESSION_NAME_MAX)
        return expected(expression, "a text of at most 127 bytes with its end");
    TRY(new_term(expression, TEXT, out));
    snprintf(expression->terms[*out].text, EXPRESSION_NAME_MAX, "%.*s", (int)size,
             expression->at + 1);
    expression->at = end + 1;
    return STATUS_OK;
}

static enum status parse_number(struct expression *expression, int *out)
{
    char *end = NULL;
    double value = strtod(expression->at, &end);
    if (end == expression->at || !isfinite(value) || is_name_character(*end))
        return expected(expression, "a number");
    TRY(new_term(expression, NUMBER, out));
    expression->terms[*out].number = value;
    expression->at = end;
    return STATUS_OK;
}

static enum status parse_operand(struct expression *expression, int *out)
{
    skip_blanks(expression);
    char c = *expression->at;
    if (c == '"' || c == '\'')
        return parse_text(expression, out);
    if (isdigit((unsigned char)c) != 0 || c == '-' || c == '+' || c == '.')
        return parse_number(expression, out);
    size_t size = 0;
    while (is_name_character(expression->at[size]))
        size++;
    if (size == 0 || size >= EXPRESSION_NAME_MAX)
        return expected(expression, "a name, a number or a text");
    TRY(new_term(expression, NAME, out));
    snprintf(expression->terms[*out].text, EXPRESSION_NAME_MAX, "%.*s", (int)size, expression->at);
    expression->at += size;
    return STATUS_OK;
}

static enum comparison take_comparison(struct expression *expression)
{
    static const struct {
        const char *sign;
        enum comparison comparison;
    } signs[] = {{"<=", LESS_EQUAL}, {">=", GREATER_EQUAL}, {"==", EQUAL}, {"!=", NOT_EQUAL},
                 {"<", LESS},        {">", GREATER},        {"~", LIKE}};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (take(expression, signs[i].sign))
            return signs[i].comparison;
    return NONE;
}

static enum status parse_chain(struct expression *expression, int *out)
{
    int operand = 0, chain = 0;
    TRY(parse_operand(expression, &operand));
    TRY(new_term(expression, CHAIN, &chain));
    expression->terms[chain].child[expression->terms[chain].count++] = operand;
    for (enum comparison comparison; (comparison = take_comparison(expression)) != NONE;) {
        struct term *term = &expression->terms[chain];
        if (term->count == CHAIN_MAX)
            return expected(expression, "a shorter chain of comparisons");
        TRY(parse_operand(expression, &operand));
        term->comparison[term->count - 1] = comparison;
        term->child[term->count++] = operand;
    }
    *out = chain;
    return expression->terms[chain].count > 1 ? STATUS_OK : expected(expression, "a comparison");
}

static enum status parse_not(struct expression *expression, int *out)
{
    enum status status = STATUS_OK;
    if (++expression->depth > DEPTH_MAX)
        return FAIL(STATUS_LIMIT, "--keep is nested deeper than %d", DEPTH_MAX);
    skip_blanks(expression);
    bool not_equal = strncmp(expression->at, "!=", 2) == 0;
    if (take(expression, "not") || (!not_equal && take(expression, "!"))) {
        int term = 0;
        TRY(new_term(expression, NOT, &term));
        TRY(parse_not(expression, &expression->terms[term].child[0]));
        *out = term;
    } else if (take(expression, "(")) {
        TRY(parse_or(expression, out));
        status = take(expression, ")") ? STATUS_OK : expected(expression, "\")\"");
    } else {
        status = parse_chain(expression, out);
    }
    expression->depth--;
    return status;
}

static enum status parse_pair(struct expression *expression, enum kind kind, int left, int right,
                              int *out)
{
    TRY(new_term(expression, kind, out));
    expression->terms[*out].child[0] = left;
    expression->terms[*out].child[1] = right;
    return STATUS_OK;
}

static enum status parse_and(struct expression *expression, int *out)
{
    TRY(parse_not(expression, out));
    while (take(expression, "and") || take(expression, "&&")) {
        int right = 0;
        TRY(parse_not(expression, &right));
        TRY(parse_pair(expression, AND, *out, right, out));
    }
    return STATUS_OK;
}

static enum status parse_or(struct expression *expression, int *out)
{
    TRY(parse_and(expression, out));
    while (take(expression, "or") || take(expression, "||")) {
        int right = 0;
        TRY(parse_and(expression, &right));
        TRY(parse_pair(expression, OR, *out, right, out));
    }
    return STATUS_OK;
}

enum status expression_parse(struct expression **out, const char *text)
{
    struct expression *expression = memory_alloc(sizeof *expression);
    *out = NULL;
    if (expression == NULL)
        return FAIL(STATUS_NO_MEMORY, "an expression");
    expression->from = expression->at = text;
    enum status status = parse_or(expression, &expression->root);
    skip_blanks(expression);
    if (status == STATUS_OK && *expression->at != '\0')
        status = expected(expression, "the end");
    expression->from = expression->at = NULL;
    if (status != STATUS_OK)
        expression_free(&expression);
    *out = expression;
    return status;
}

void expression_free(struct expression **expression)
{
    memory_free(*expression);
    *expression = NULL;
}

const char *expression_name(const struct expression *expression, unsigned i)
{
    for (int t = 0; t < expression->count; t++)
        if (expression->terms[t].kind == NAME && i-- == 0)
            return expression->terms[t].text;
    return NULL;
}

/* ---- evaluation ---- */

struct evaluating {
    const struct expression *expression;
    expression_look_up look_up;
    void *self;
    const char *unknown;
};

static enum status value_of(struct evaluating *evaluating, int index,
                            struct expression_value *value)
{
    const struct term *term = &evaluating->expression->terms[index];
    *value = (struct expression_value){.known = true, .number = term->number};
    if (term->kind == TEXT)
        value->text = term->text;
    if (term->kind != NAME)
        return STATUS_OK;
    *value = (struct expression_value){.known = false};
    if (!evaluating->look_up(evaluating->self, term->text, value))
        return FAIL(STATUS_INVALID, "--keep: \"%s\" is no name that is known here", term->text);
    if (!value->known && evaluating->unknown == NULL)
        evaluating->unknown = term->text;
    return STATUS_OK;
}

static bool compare_numbers(double left, double right, enum comparison comparison)
{
    switch (comparison) {
    case LESS:
        return left < right;
    case LESS_EQUAL:
        return left <= right;
    case GREATER:
        return left > right;
    case GREATER_EQUAL:
        return left >= right;
    case EQUAL:
        return left == right;
    default:
        return left != right;
    }
}

static enum status compare(const struct expression_value *left,
                           const struct expression_value *right, enum comparison comparison,
                           enum expression_truth *truth)
{
    if (!left->known || !right->known) {
        *truth = EXPRESSION_UNKNOWN;
        return STATUS_OK;
    }
    if ((left->text == NULL) != (right->text == NULL))
        return FAIL(STATUS_INVALID, "--keep compares the text \"%s\" with a number",
                    left->text != NULL ? left->text : right->text);
    if (left->text == NULL && comparison == LIKE)
        return FAIL(STATUS_INVALID, "--keep: ~ compares texts, and this is a number");
    bool holds = left->text == NULL ? compare_numbers(left->number, right->number, comparison)
                 : comparison == LIKE
                     ? fnmatch(right->text, left->text, 0) == 0
                     : compare_numbers(strcmp(left->text, right->text), 0, comparison);
    *truth = holds ? EXPRESSION_TRUE : EXPRESSION_FALSE;
    return STATUS_OK;
}

static enum status evaluate(struct evaluating *evaluating, int index, enum expression_truth *truth);

static enum status evaluate_chain(struct evaluating *evaluating, const struct term *term,
                                  enum expression_truth *truth)
{
    struct expression_value left, right;
    TRY(value_of(evaluating, term->child[0], &left));
    *truth = EXPRESSION_TRUE;
    for (int i = 1; i < term->count; i++, left = right) {
        enum expression_truth one = EXPRESSION_UNKNOWN;
        TRY(value_of(evaluating, term->child[i], &right));
        TRY(compare(&left, &right, term->comparison[i - 1], &one));
        if (one == EXPRESSION_FALSE)
            *truth = EXPRESSION_FALSE;
        else if (one == EXPRESSION_UNKNOWN && *truth == EXPRESSION_TRUE)
            *truth = EXPRESSION_UNKNOWN;
    }
    return STATUS_OK;
}

static enum status evaluate(struct evaluating *evaluating, int index, enum expression_truth *truth)
{
    const struct term *term = &evaluating->expression->terms[index];
    if (term->kind == CHAIN)
        return evaluate_chain(evaluating, term, truth);
    enum expression_truth left = EXPRESSION_UNKNOWN, right = EXPRESSION_UNKNOWN;
    TRY(evaluate(evaluating, term->child[0], &left));
    if (term->kind == NOT) {
        *truth = left == EXPRESSION_UNKNOWN ? left
                 : left == EXPRESSION_TRUE  ? EXPRESSION_FALSE
                                            : EXPRESSION_TRUE;
        return STATUS_OK;
    }
    TRY(evaluate(evaluating, term->child[1], &right));
    enum expression_truth decides = term->kind == AND ? EXPRESSION_FALSE : EXPRESSION_TRUE;
    *truth = left == decides || right == decides                         ? decides
             : left == EXPRESSION_UNKNOWN || right == EXPRESSION_UNKNOWN ? EXPRESSION_UNKNOWN
                                                                         : left;
    return STATUS_OK;
}

enum status expression_evaluate(const struct expression *expression, expression_look_up look_up,
                                void *self, enum expression_truth *truth, const char **unknown)
{
    struct evaluating evaluating = {.expression = expression, .look_up = look_up, .self = self};
    TRY(evaluate(&evaluating, expression->root, truth));
    *unknown = *truth == EXPRESSION_UNKNOWN ? evaluating.unknown : NULL;
    return STATUS_OK;
}
