/* Game of 24: reach a result from numbers, each used exactly once. The generator searches all formulas in fractions, so a solution
 * exists; the judge computes exactly and counts the numbers. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/expression.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { NUMBERS_MAX = 6, LIST_MAX = 32, NODES_MAX = 100000, TEXT_MAX = 128, LARGEST = 10 };

static const struct logic_knob knobs[] = {
    {"numbers", 3, 6, 4, "how many numbers"},
    {"result", 10, 100, 24, "the number to reach"},
    {0},
};

/* A formula that is part of the search. */
struct part {
    struct fraction value;
    char text[TEXT_MAX];
};
struct search {
    int nodes, result;
    bool complete;
    char found[TEXT_MAX];
};

/* Joins two parts with every operator, until one is left. True: found, or out of nodes. */
static bool search_on(struct search *search, const struct part *parts, int count)
{
    if (count == 1) {
        if (!fraction_equal(parts[0].value, search->result))
            return false;
        (void)snprintf(search->found, sizeof search->found, "%s", parts[0].text);
        return true;
    }
    struct part next[NUMBERS_MAX];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            if (i == j)
                continue;
            int rest = 0;
            for (int k = 0; k < count; k++)
                if (k != i && k != j)
                    next[rest++] = parts[k];
            for (int o = i < j ? 0 : 2; o < 4; o++) { /* a+b and a*b once only */
                if (++search->nodes > NODES_MAX) {
                    search->complete = false;
                    return true;
                }
                char operator_ = "+*-/"[o];
                if (!fraction_combine(parts[i].value, operator_, parts[j].value,
                                      &next[rest].value) ||
                    snprintf(next[rest].text, TEXT_MAX, "(%.48s %c %.48s)", parts[i].text,
                             operator_, parts[j].text) >= TEXT_MAX)
                    continue;
                if (search_on(search, next, rest + 1))
                    return true;
            }
        }
    return false;
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int count = settings->value[0], numbers[NUMBERS_MAX];
    struct part parts[NUMBERS_MAX];
    struct search search = {.result = settings->value[1], .complete = true};
    for (int i = 0; i < count; i++) {
        numbers[i] = draw_between(rng, 1, LARGEST);
        parts[i].value = (struct fraction){numbers[i], 1};
        (void)snprintf(parts[i].text, TEXT_MAX, "%d", numbers[i]);
    }
    if (!search_on(&search, parts, count) || !search.complete)
        return STATUS_AGAIN;
    TRY(buffer_text(&out->question, "Use each of the numbers"));
    for (int i = 0; i < count; i++)
        TRY(buffer_printf(&out->question, "%s%d", i == 0 ? " " : ", ", numbers[i]));
    TRY(buffer_printf(
        &out->question,
        " exactly once, with the operators + - * / and parentheses, to get %d. Division"
        " is exact (5/2 is two and a half). If there are several ways, any of them is"
        " right. End with the formula alone in a code block, for example:\n"
        "```python\n(1 + 2) * 3\n```",
        search.result));
    size_t length = strlen(search.found); /* without the outer parentheses */
    out->answer = json_stringn(search.found + 1, length - 2);
    out->metadata = json_pack("{s:o, s:[s, s, s, s], s:i, s:i}", "numbers",
                              board_ints_json(numbers, count), "operators", "+", "-", "*", "/",
                              "result", search.result, "num_of_numbers", count);
    out->work = search.nodes;
    out->difficulty = logic_difficulty(out->work, 4, NODES_MAX);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool read_operators(const json_t *list, unsigned *operators)
{
    static const struct {
        const char *text;
        unsigned bit;
    } table[] = {{"+", EXPRESSION_ADD},      {"-", EXPRESSION_SUBTRACT | EXPRESSION_SIGN},
                 {"*", EXPRESSION_MULTIPLY}, {"/", EXPRESSION_DIVIDE},
                 {"%", EXPRESSION_MODULO},   {"//", EXPRESSION_FLOOR_DIVIDE},
                 {"**", EXPRESSION_POWER}};
    *operators = list == NULL ? EXPRESSION_ADD | EXPRESSION_SUBTRACT | EXPRESSION_SIGN |
                                    EXPRESSION_MULTIPLY | EXPRESSION_DIVIDE
                              : 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        size_t k = 0;
        while (text != NULL && k < sizeof table / sizeof table[0] &&
               strcmp(text, table[k].text) != 0)
            k++;
        if (text == NULL || k == sizeof table / sizeof table[0])
            return false;
        *operators |= table[k].bit;
    }
    return *operators != 0;
}

/* The formula of an answer "formula", "formula = 24" or "24 = formula"; its own result is checked by the caller. */
static struct answer_span formula_of(struct answer_span text, int result)
{
    const char *equals = text.size > 0 ? memchr(text.at, '=', text.size) : NULL;
    if (equals == NULL)
        return text;
    struct answer_span left = {text.at, (size_t)(equals - text.at)},
                       right = {equals + 1, (size_t)(text.at + text.size - equals - 1)};
    struct fraction value;
    if (expression_value(right, EXPRESSION_SIGN, &value, NULL) && fraction_equal(value, result))
        return answer_trimmed(left);
    if (expression_value(left, EXPRESSION_SIGN, &value, NULL) && fraction_equal(value, result))
        return answer_trimmed(right);
    return text;
}

static bool same_numbers(const struct expression_leaves *leaves, const int *numbers, int count)
{
    bool used[LIST_MAX] = {false};
    if (leaves->count != count)
        return false;
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < count && (used[k] || leaves->value[i] != numbers[k]))
            k++;
        if (k == count)
            return false;
        used[k] = true;
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *list = json_object_get(metadata, "numbers");
    int numbers[LIST_MAX], result;
    size_t count = json_array_size(list);
    unsigned operators;
    if (count < 1 || count > LIST_MAX || !board_ints(list, (int)count, numbers) ||
        !literal_int(json_object_get(metadata, "result"), &result) ||
        !read_operators(json_object_get(metadata, "operators"), &operators)) {
        logic_broken(out, "metadata: numbers, operators or result are missing");
        return;
    }
    struct fraction value;
    struct expression_leaves leaves;
    struct answer_span formula = formula_of(reading_short(response), result);
    if (!expression_value(formula, operators, &value, &leaves))
        logic_wrong(out, "no formula of the allowed operators was found");
    else if (!same_numbers(&leaves, numbers, (int)count))
        logic_wrong(out, "the formula does not use each number once");
    else if (!fraction_equal(value, result))
        logic_wrong(out, "the formula has another value");
    else
        out->correct = true;
}

const struct logic_task logic_task_game_of_24 = {
    "game_of_24", "a formula over given numbers that reaches a result", knobs, generate, verify};
