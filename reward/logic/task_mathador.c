/* Mathador: reach a number with the four operations and some given numbers. The target comes out of a random tree over the
 * numbers whose every value is a whole number, so it can be reached; the judge computes exactly and checks which
 * numbers were used, so each way counts. Rows that name numbers and result but not use_all want all numbers. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/expression.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { NUMBERS_MAX = 8, TEXT_MAX = 256, RESULT_MAX = 999 };

static const struct logic_knob knobs[] = {
    {"numbers", 3, 8, 5, "numbers given"},
    {"max_number", 5, 100, 20, "largest of them"},
    {"use_all", 0, 1, 0, "1: each must be used exactly once; 0: at most once"},
    {0},
};

struct part {
    int value;
    char text[TEXT_MAX];
};

/* a op b when it is a whole number from 1 to 9999. */
static bool combine(const struct part *a, char op, const struct part *b, struct part *result)
{
    int value = op == '+'   ? a->value + b->value
                : op == '-' ? a->value - b->value
                : op == '*' ? a->value * b->value
                            : a->value / b->value;
    if ((op == '/' && a->value % b->value != 0) || value < 1 || value > 9999)
        return false;
    struct part made = {.value = value};
    int size = snprintf(made.text, sizeof made.text, "(%s %c %s)", a->text, op, b->text);
    if (size < 0 || (size_t)size >= sizeof made.text)
        return false;
    *result = made;
    return true;
}

/* Joins random parts until one is left. */
static bool draw_tree(struct part *parts, int count, struct rng *rng)
{
    static const char ops[] = "+-*/+-*";
    for (int tries = 0; count > 1 && tries < 200; tries++) {
        int i = (int)rng_below(rng, (uint32_t)count), j = (int)rng_below(rng, (uint32_t)count);
        if (i == j || !combine(&parts[i], ops[rng_below(rng, 7)], &parts[j], &parts[i]))
            continue;
        parts[j] = parts[--count]; /* the joined part itself when it was the last */
    }
    return count == 1;
}

static enum status write_question(const int *numbers, int count, int target, bool use_all,
                                  struct buffer *out)
{
    TRY(buffer_printf(out,
                      "Make %d out of these numbers with +, -, * and / and parentheses:", target));
    for (int i = 0; i < count; i++)
        TRY(buffer_printf(out, "%s %d", i > 0 ? "," : "", numbers[i]));
    return buffer_printf(out,
                         ". Use each number %s. Division is exact, fractions may occur on the way."
                         "\n\nEnd your answer with one formula without an equals sign in a code"
                         " block:\n```python\n(1 + 2) * 3\n```",
                         use_all ? "exactly once" : "at most once, not all need to be used");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int count = settings->value[0], numbers[NUMBERS_MAX];
    struct part parts[NUMBERS_MAX];
    bool use_all = settings->value[2] == 1;
    int used = use_all || count < 4 ? count : draw_between(rng, count - 1, count);
    for (int i = 0; i < count; i++) {
        numbers[i] = draw_between(rng, 1, settings->value[1]);
        parts[i].value = numbers[i];
        (void)snprintf(parts[i].text, TEXT_MAX, "%d", numbers[i]);
    }
    if (!draw_tree(parts, used, rng) || parts[0].value > RESULT_MAX)
        return STATUS_AGAIN;
    for (int i = 0; i < count; i++)
        if (parts[0].value == numbers[i] && !use_all)
            return STATUS_AGAIN; /* nothing to do */
    draw_shuffle(rng, numbers, count);
    TRY(write_question(numbers, count, parts[0].value, use_all, &out->question));
    out->answer = json_string(parts[0].text);
    out->metadata = json_pack("{s:o, s:i, s:b}", "numbers", board_ints_json(numbers, count),
                              "result", parts[0].value, "use_all", use_all);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a mathador row");
    out->work = 1; /* ways to join the numbers: n! (n - 1)! 4^(n - 1) / 2^(n - 1) */
    for (int i = 2; i <= count; i++)
        out->work *= (double)i * (i - 1) * 2;
    out->difficulty = logic_difficulty(out->work, 10, 1e9);
    return STATUS_OK;
}

/* ---- judging ---- */

/* "3 * (2 + 1) = 9" is its left side, unless that is a plain number. */
static struct answer_span formula_of(struct answer_span text)
{
    const char *equals = text.size > 0 ? memchr(text.at, '=', text.size) : NULL;
    if (equals == NULL)
        return text;
    struct answer_span left =
        answer_trimmed((struct answer_span){text.at, (size_t)(equals - text.at)});
    struct answer_span right = answer_trimmed(
        (struct answer_span){equals + 1, text.size - (size_t)(equals + 1 - text.at)});
    for (size_t i = 0; i < left.size; i++)
        if (memchr("+-*/", left.at[i], 4) != NULL || (unsigned char)left.at[i] >= 0x80 ||
            left.at[i] == '\\')
            return left;
    return right;
}

/* Whether the leaves are among the numbers, each at most as often; with `all` exactly as often. */
static bool leaves_fit(const struct expression_leaves *leaves, const int *numbers, int count,
                       bool all)
{
    bool used[NUMBERS_MAX * 2] = {false};
    for (int i = 0; i < leaves->count; i++) {
        int at = 0;
        while (at < count && (used[at] || numbers[at] != leaves->value[i]))
            at++;
        if (at == count)
            return false;
        used[at] = true;
    }
    return !all || leaves->count == count;
}

/* EXPRESSION_ bits of the row's operators; the four usual ones when it names none. */
static unsigned operators_of(const json_t *list)
{
    static const struct {
        const char *text;
        unsigned bit;
    } known[] = {{"+", EXPRESSION_ADD},      {"-", EXPRESSION_SUBTRACT},
                 {"*", EXPRESSION_MULTIPLY}, {"/", EXPRESSION_DIVIDE},
                 {"%", EXPRESSION_MODULO},   {"//", EXPRESSION_FLOOR_DIVIDE},
                 {"**", EXPRESSION_POWER}};
    unsigned operators = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        for (size_t k = 0; text != NULL && k < sizeof known / sizeof known[0]; k++)
            operators |= strcmp(text, known[k].text) == 0 ? known[k].bit : 0;
    }
    return operators != 0
               ? operators
               : EXPRESSION_ADD | EXPRESSION_SUBTRACT | EXPRESSION_MULTIPLY | EXPRESSION_DIVIDE;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *list = json_object_get(metadata, "numbers"),
                 *all = json_object_get(metadata, "use_all");
    int count = (int)json_array_size(list), numbers[NUMBERS_MAX * 2], target;
    if (count < 1 || count > NUMBERS_MAX * 2 || !board_ints(list, count, numbers) ||
        !literal_int(json_object_get(metadata, "result"), &target)) {
        logic_broken(out, "metadata lacks numbers (1 to 16) or result");
        return;
    }
    struct fraction value;
    struct expression_leaves leaves;
    struct answer_span formula = formula_of(reading_short(response));
    unsigned operators = operators_of(json_object_get(metadata, "operators"));
    if (!expression_value(formula, operators, &value, &leaves))
        logic_wrong(out, "no formula with these operators was found");
    else if (!leaves_fit(&leaves, numbers, count, all == NULL || json_is_true(all)))
        logic_wrong(out, "a number is used that is not given, or too often, or one is left over");
    else if (!fraction_equal(value, target))
        logic_wrong(out, "the formula has another value");
    else
        out->correct = true;
}

const struct logic_task logic_task_mathador = {
    "mathador", "a number out of given ones with the four operations", knobs, generate, verify,
};
