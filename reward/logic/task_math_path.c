/* Math path: digits of an equation are hidden; put them back. Any digits that make the equation true count. Values are exact fractions,
 * % is Python's (a - b * floor(a / b)). */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/expression.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { TEXT_MAX = 256, TERMS_MAX = 12 };

static const unsigned operators = EXPRESSION_ADD | EXPRESSION_SUBTRACT | EXPRESSION_MULTIPLY |
                                  EXPRESSION_DIVIDE | EXPRESSION_MODULO;

static const struct logic_knob knobs[] = {
    {"numbers", 3, 12, 6, "numbers on the left side"},
    {"hidden", 200, 1000, 600, "hidden digits, permille; one at least"},
    {0},
};

/* One digit a number, with one pair of parentheses in half of the cases. */
static void draw_formula(struct rng *rng, int count, char *text)
{
    size_t size = 0;
    int open = rng_below(rng, 2) == 0 ? draw_between(rng, 0, count - 2) : -1;
    for (int i = 0; i < count; i++) {
        if (i > 0)
            text[size++] = "+-*/%"[rng_below(rng, 5)];
        if (i == open)
            text[size++] = '(';
        text[size++] = (char)('0' + rng_below(rng, 10));
        if (open >= 0 && i == open + 1)
            text[size++] = ')';
    }
    text[size] = '\0';
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    char formula[TEXT_MAX], query[TEXT_MAX], left[TEXT_MAX], full[TEXT_MAX + 32];
    struct fraction value;
    int hidden = 0;
    draw_formula(rng, settings->value[0], formula);
    size_t size = strlen(formula);
    if (!expression_value((struct answer_span){formula, size}, operators, &value, NULL) ||
        value.denominator != 1 || value.numerator < -9999 || value.numerator > 9999)
        return STATUS_AGAIN;
    for (size_t i = 0; i <= size; i++) {
        bool digit = formula[i] >= '0' && formula[i] <= '9';
        bool hide = digit && draw_permille(rng, settings->value[1]);
        left[i] = hide ? '?' : formula[i];
        hidden += hide;
    }
    if (hidden == 0)
        return STATUS_AGAIN;
    (void)snprintf(query, sizeof query, "%.200s = %lld", left, (long long)value.numerator);
    (void)snprintf(full, sizeof full, "%s = %lld", formula, (long long)value.numerator);
    TRY(buffer_printf(
        &out->question,
        "Each question mark hides one digit from 0 to 9 in\n\n%s\n\nPut digits back so"
        " that the equation holds; nothing else may change. / is exact division and a"
        " %% b is what remains of a after taking away b as often as possible (a - b *"
        " floor(a / b)); * / %% come before + -, from left to right. If several"
        " choices of digits do that, any of them is right. End with the complete"
        " equation in double brackets, for example [[2+4*3-4 = 10]].",
        query));
    out->answer = json_string(full);
    out->metadata = json_pack("{s:s, s:s, s:i, s:i}", "ref_expr", full, "query_expr", query, "n",
                              settings->value[0], "x_prob", settings->value[1] / 10);
    out->work = hidden;
    out->difficulty = logic_difficulty(out->work, 1, 12);
    return STATUS_OK;
}

/* Without white space, in ASCII: × * and ÷ /; \% is %. False: too long. */
static bool squeeze(struct answer_span text, char *clean)
{
    static const struct {
        const char *from;
        char to;
    } table[] = {{"×", '*'},      {"÷", '/'},       {"−", '-'},        {"\\times", '*'},
                 {"\\cdot", '*'}, {"\\div", '/'},   {"\\%", '%'},      {"（", '('},
                 {"）", ')'},     {"\\left(", '('}, {"\\right)", ')'}, {"\\bmod", '%'}};
    size_t size = 0;
    for (size_t i = 0; i < text.size;) {
        size_t length = 1, k = 0;
        char c = text.at[i];
        for (; k < sizeof table / sizeof table[0]; k++)
            if (text.size - i >= strlen(table[k].from) &&
                memcmp(text.at + i, table[k].from, strlen(table[k].from)) == 0) {
                length = strlen(table[k].from);
                c = table[k].to;
                break;
            }
        i += length;
        if (c != '\0' && strchr(" \t\r\n$", c) != NULL)
            continue;
        if (size + 1 >= TEXT_MAX)
            return false;
        clean[size++] = c;
    }
    clean[size] = '\0';
    return true;
}

/* What the last [[...]] holds; false: there is none. */
static bool find_brackets(struct answer_span response, struct answer_span *inside)
{
    const char *found = NULL, *next = response.at, *end = response.at + response.size;
    while ((next = memmem(next, (size_t)(end - next), "[[", 2)) != NULL)
        found = next++;
    const char *close = found != NULL ? memmem(found, (size_t)(end - found), "]]", 2) : NULL;
    if (close == NULL)
        return false;
    *inside = (struct answer_span){found + 2, (size_t)(close - found - 2)};
    return true;
}

/* The text as the wanted equation with a digit for each ?; false: it is another one. */
static bool read_equation(struct answer_span text, const char *wanted, char *clean)
{
    bool fits = squeeze(text, clean) && strlen(clean) == strlen(wanted);
    for (size_t i = 0; fits && wanted[i] != '\0'; i++)
        fits = wanted[i] == '?' ? clean[i] >= '0' && clean[i] <= '9' : clean[i] == wanted[i];
    return fits;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *query = json_object_get(metadata, "query_expr");
    char wanted[TEXT_MAX], clean[TEXT_MAX];
    if (!json_is_string(query) ||
        !squeeze((struct answer_span){json_string_value(query), json_string_length(query)},
                 wanted) ||
        strchr(wanted, '=') == NULL) {
        logic_broken(out, "metadata: query_expr is missing or no equation");
        return;
    }
    struct answer_span brackets, text = reading_short(response);
    bool bracketed = find_brackets(response, &brackets);
    /* a box, block or line after the brackets counts when it holds the equation */
    bool fits = (!bracketed || text.at > brackets.at) && read_equation(text, wanted, clean);
    fits = fits || (bracketed && read_equation(brackets, wanted, clean));
    if (!fits) {
        logic_wrong(out, "the equation is not the given one with digits for its question marks");
        return;
    }
    const char *equals = strchr(clean, '=');
    struct fraction left, right;
    out->correct =
        expression_value((struct answer_span){clean, (size_t)(equals - clean)},
                         operators | EXPRESSION_SIGN, &left, NULL) &&
        expression_value((struct answer_span){equals + 1, strlen(equals + 1)},
                         operators | EXPRESSION_SIGN | EXPRESSION_DECIMAL, &right, NULL) &&
        left.numerator == right.numerator && left.denominator == right.denominator;
    out->why = out->correct ? NULL : "the equation does not hold";
}

const struct logic_task logic_task_math_path = {"math_path", "hidden digits of an equation", knobs,
                                                generate, verify};
