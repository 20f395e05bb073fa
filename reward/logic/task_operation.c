/* Operation: evaluate an expression with newly defined operators. One value, which the judge compares as a number: 1/8 and
 * 0.125 are the same. */
#include <math.h>
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { OPERATORS_MAX = 4, OPERANDS_MAX = 10, VALUE_MAX = 1000000 };

static const struct logic_knob knobs[] = {
    {"operators", 1, 4, 2, "newly defined operators"},
    {"operands", 2, 10, 3, "numbers of the expression"},
    {"conditions", 0, 1000, 400, "operators defined by cases, permille"},
    {0},
};

static const char *const symbols[OPERATORS_MAX] = {"⊕", "⊗", "◇", "△"};

/* a*x + b*y + c*x*y + d */
struct formula {
    int a, b, c, d;
};
/* formula[0] when the condition holds, else formula[1]. */
struct operator_ {
    int condition, modulus; /* 0 none, 1 x is a multiple of modulus, 2 x > y, 3 x + y is even */
    struct formula formula[2];
};

static void draw_formula(struct rng *rng, struct formula *formula)
{
    *formula = (struct formula){draw_between(rng, -3, 3), draw_between(rng, -3, 3),
                                rng_below(rng, 3) == 0 ? 1 : 0, draw_between(rng, -5, 5)};
    if (formula->a == 0)
        formula->a = 1;
    if (formula->b == 0)
        formula->b = -1;
}

static bool holds(const struct operator_ *operator_, long long x, long long y)
{
    switch (operator_->condition) {
    case 1:
        return x % operator_->modulus == 0;
    case 2:
        return x > y;
    case 3:
        return (x + y) % 2 == 0;
    default:
        return true;
    }
}

static long long apply(const struct operator_ *operator_, long long x, long long y)
{
    const struct formula *formula = &operator_->formula[holds(operator_, x, y) ? 0 : 1];
    return formula->a * x + formula->b * y + formula->c * x * y + formula->d;
}

/* One term of a formula with its sign. */
static enum status write_term(int factor, const char *what, bool first, struct buffer *text)
{
    int size = factor < 0 ? -factor : factor;
    if (factor == 0)
        return STATUS_OK;
    TRY(buffer_text(text, factor < 0 ? (first ? "-" : " - ") : first ? "" : " + "));
    if (what[0] == '\0')
        return buffer_printf(text, "%d", size);
    return size == 1 ? buffer_text(text, what) : buffer_printf(text, "%d*%s", size, what);
}

static enum status write_formula(const struct formula *formula, const char *symbol,
                                 struct buffer *text)
{
    TRY(buffer_printf(text, "x %s y = ", symbol));
    TRY(write_term(formula->a, "x", true, text));
    TRY(write_term(formula->b, "y", false, text));
    TRY(write_term(formula->c, "x*y", false, text));
    TRY(write_term(formula->d, "", false, text));
    return buffer_text(text, "\n");
}

static enum status write_operator(const struct operator_ *operator_, const char *symbol,
                                  struct buffer *text)
{
    switch (operator_->condition) {
    case 1:
        TRY(buffer_printf(text, "If x is a multiple of %d: ", operator_->modulus));
        break;
    case 2:
        TRY(buffer_text(text, "If x > y: "));
        break;
    case 3:
        TRY(buffer_text(text, "If x + y is even: "));
        break;
    default:
        break;
    }
    TRY(write_formula(&operator_->formula[0], symbol, text));
    if (operator_->condition == 0)
        return STATUS_OK;
    TRY(buffer_text(text, "Otherwise: "));
    return write_formula(&operator_->formula[1], symbol, text);
}

/* Writes operands and operators, some pairs in parentheses, and the value from left to right; AGAIN: too large. */
static enum status write_expression(struct rng *rng, const struct operator_ *operators, int known,
                                    int operands, struct buffer *text, long long *value)
{
    int next = -1;
    for (int i = 0; i < operands;) {
        int use = (int)rng_below(rng, (uint32_t)known), x = draw_between(rng, 1, 9);
        long long term = x;
        if (next >= 0)
            TRY(buffer_printf(text, " %s ", symbols[next]));
        if (i > 0 && i + 1 < operands && rng_below(rng, 3) == 0) {
            int y = draw_between(rng, 1, 9);
            TRY(buffer_printf(text, "(%d %s %d)", x, symbols[use], y));
            term = apply(&operators[use], x, y);
            i++;
        } else {
            TRY(buffer_printf(text, "%d", x));
        }
        *value = next < 0 ? term : apply(&operators[next], *value, term);
        if (*value > VALUE_MAX || *value < -VALUE_MAX)
            return STATUS_AGAIN;
        next = (int)rng_below(rng, (uint32_t)known);
        i++;
    }
    return STATUS_OK;
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct operator_ operators[OPERATORS_MAX];
    int known = settings->value[0], cases = 0;
    long long value = 0;
    TRY(buffer_text(&out->question, "New operators are defined for whole numbers:\n\n"));
    for (int i = 0; i < known; i++) {
        struct operator_ *operator_ = &operators[i];
        bool by_cases = draw_permille(rng, settings->value[2]);
        operator_->condition = by_cases ? draw_between(rng, 1, 3) : 0;
        operator_->modulus = draw_between(rng, 2, 5);
        draw_formula(rng, &operator_->formula[0]);
        draw_formula(rng, &operator_->formula[1]);
        cases += by_cases ? 2 : 1;
        TRY(write_operator(operator_, symbols[i], &out->question));
    }
    TRY(buffer_text(&out->question,
                    "\nAll of them have the same precedence and are applied from left to"
                    " right; parentheses come first. What is the value of\n\n"));
    TRY(write_expression(rng, operators, known, settings->value[1], &out->question, &value));
    TRY(buffer_text(&out->question, "\n\nPut it in \\boxed{}."));
    char answer[24];
    (void)snprintf(answer, sizeof answer, "%lld", value);
    out->answer = json_string(answer);
    out->metadata = json_pack("{s:I}", "result", (json_int_t)value);
    out->work = (settings->value[1] - 1) * cases;
    out->difficulty = logic_difficulty(out->work, 1, 72);
    return STATUS_OK;
}

/* The number of an answer that may be a text, a number or a text with a formula. */
static bool number_of(const json_t *value, double *number)
{
    if (json_is_number(value)) {
        *number = json_number_value(value);
        return isfinite(*number);
    }
    return json_is_string(value) &&
           reading_number((struct answer_span){json_string_value(value), json_string_length(value)},
                          number);
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    double wanted, given;
    if (!number_of(answer, &wanted) && !number_of(json_object_get(metadata, "result"), &wanted)) {
        logic_broken(out, "answer: must be a number");
        return;
    }
    bool found = reading_number(reading_short(response), &given);
    /* stored answers have 15 digits; six right ones after the point are asked of a decimal answer */
    double slack = floor(wanted) == wanted ? 1e-9 * (1 + fabs(wanted)) : 1e-6;
    out->correct = found && fabs(given - wanted) <= slack;
    out->why = out->correct ? NULL : found ? "another number" : "no number was found";
}

const struct logic_task logic_task_operation = {"operation", "newly defined operators", knobs,
                                                generate, verify};
