/* Boolean expressions: which of some statements built of facts, comparisons, not, and, or are true. The generator knows the
 * value of what it builds; the judge compares sets of letters. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { OPTIONS_MAX = 26 };

static const struct logic_knob knobs[] = {
    {"depth", 1, 5, 3, "levels of not, and, or"},
    {"options", 2, 10, 4, "statements"},
    {0},
};

static const struct {
    const char *text;
    bool value;
} facts[] = {{"Paris is the capital of France", true},
             {"A week has eight days", false},
             {"Water freezes at 0 degrees Celsius at sea level", true},
             {"The Moon is larger than the Earth", false},
             {"A spider has eight legs", true},
             {"Whales are fish", false},
             {"A triangle has three sides", true},
             {"Spain lies in South America", false},
             {"Iron is a metal", true},
             {"The Sun goes round the Earth", false},
             {"A dozen is twelve", true},
             {"Penguins live at the North Pole in the wild", false},
             {"Tokyo is in Japan", true},
             {"A leap year has 365 days", false},
             {"Oxygen is a gas at room temperature", true},
             {"Snakes have four legs", false},
             {"A cube has six faces", true},
             {"Bats lay eggs", false},
             {"The Nile is a river", true},
             {"Gold is lighter than water", false}};

/* A leaf: a constant, a fact or a comparison of two small sums. */
static enum status write_leaf(struct rng *rng, struct buffer *text, bool *value)
{
    uint32_t kind = rng_below(rng, 4);
    if (kind == 0) {
        *value = rng_below(rng, 2) == 0;
        return buffer_text(text, *value ? "True" : "False");
    }
    if (kind == 1) {
        uint32_t fact = rng_below(rng, sizeof facts / sizeof facts[0]);
        *value = facts[fact].value;
        return buffer_printf(text, "\"%s\"", facts[fact].text);
    }
    static const char *const relations[] = {"is greater than", "is less than", "is equal to",
                                            "is at least",     "is at most",   "is not equal to"};
    int a = draw_between(rng, -9, 9), b = draw_between(rng, 2, 9), c = draw_between(rng, -9, 9),
        d = draw_between(rng, 2, 9), left = a * b, right = c + d;
    uint32_t relation = rng_below(rng, 6);
    const bool values[] = {left > right,  left < right,  left == right,
                           left >= right, left <= right, left != right};
    *value = values[relation];
    return buffer_printf(text, "%d * %d %s %d + %d", a, b, relations[relation], c, d);
}

static enum status write_tree(struct rng *rng, int depth, struct buffer *text, bool *value,
                              int *size)
{
    ++*size;
    if (depth == 0) {
        TRY(buffer_text(text, "("));
        TRY(write_leaf(rng, text, value));
        return buffer_text(text, ")");
    }
    uint32_t kind = rng_below(rng, 5);
    bool right;
    if (kind == 0) {
        TRY(buffer_text(text, "not "));
        TRY(write_tree(rng, depth - 1, text, value, size));
        *value = !*value;
        return STATUS_OK;
    }
    TRY(buffer_text(text, "("));
    TRY(write_tree(rng, depth - 1, text, value, size));
    TRY(buffer_text(text, kind < 3 ? " and " : " or "));
    TRY(write_tree(rng, rng_below(rng, 3) == 0 ? 0 : depth - 1, text, &right, size));
    *value = kind < 3 ? *value && right : *value || right;
    return buffer_text(text, ")");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int options = settings->value[1], size = 0;
    char letters[3 * OPTIONS_MAX + 1] = "";
    size_t used = 0;
    json_t *truths = json_array();
    out->metadata = json_pack("{s:o, s:i, s:i}", "true_options", truths, "depth",
                              settings->value[0], "n_options", options);
    TRY(buffer_text(
        &out->question,
        "Which of these statements are true? \"not\" applies to what follows it directly;"
        " parentheses come first.\n\n"));
    for (int i = 0; i < options; i++) {
        bool value;
        char letter[2] = {(char)('A' + i), '\0'};
        TRY(buffer_printf(&out->question, "%s. ", letter));
        TRY(write_tree(rng, settings->value[0], &out->question, &value, &size));
        TRY(buffer_text(&out->question, "\n"));
        if (!value)
            continue;
        if (used > 0)
            letters[used++] = ',';
        letters[used++] = letter[0];
        json_array_append_new(truths, json_string(letter));
    }
    TRY(buffer_text(&out->question,
                    "\nAt least one is true. Put the letters of all true statements,"
                    " separated by commas, in \\boxed{}."));
    if (used == 0)
        return STATUS_AGAIN;
    out->answer = json_stringn(letters, used);
    out->work = size;
    out->difficulty = logic_difficulty(out->work, 4, 250);
    return STATUS_OK;
}

/* The letters of a text like "A, C", "(A) and (C)" or "AC" as bits; false: it holds other words, or none. */
static bool read_letters(struct answer_span text, unsigned *letters)
{
    static const char *const words[] = {"text",   "and",    "option", "options",
                                        "mathrm", "textbf", "或",     "和"};
    *letters = 0;
    if (text.size > 256) /* no list of letters is that long */
        return false;
    for (size_t i = 0; i < text.size;) {
        size_t length = 0;
        while (i + length < text.size &&
               ((text.at[i + length] >= 'a' && text.at[i + length] <= 'z') ||
                (text.at[i + length] >= 'A' && text.at[i + length] <= 'Z')))
            length++;
        bool known = length == 0, upper = true;
        for (size_t k = 0; length > 1 && k < sizeof words / sizeof words[0]; k++)
            known =
                known || reading_same_words((struct answer_span){text.at + i, length}, words[k]);
        for (size_t k = 0; k < length; k++)
            upper = upper && text.at[i + k] <= 'Z';
        if (!known && length > 1 && (!upper || length > OPTIONS_MAX))
            return false;
        for (size_t k = 0; !known && k < length; k++)
            *letters |= 1u << ((text.at[i + k] | 0x20) - 'a');
        i += length > 0 ? length : 1;
    }
    return *letters != 0 || reading_same_words(text, "none");
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    unsigned wanted = 0, letters;
    const json_t *truths = json_object_get(metadata, "true_options");
    for (size_t i = 0; i < json_array_size(truths); i++) {
        const char *letter = json_string_value(json_array_get(truths, i));
        if (letter != NULL && letter[0] >= 'A' && letter[0] <= 'Z')
            wanted |= 1u << (letter[0] - 'A');
    }
    if (truths == NULL) {
        struct answer_span stored = {json_string_value(answer), json_string_length(answer)};
        if (stored.at == NULL || !read_letters(stored, &wanted)) {
            logic_broken(out, "answer: the letters of the true statements are missing");
            return;
        }
    }
    struct answer_span text = reading_short(response);
    bool read = read_letters(text, &letters);
    const char *colon = text.size > 0 ? memrchr(text.at, ':', text.size) : NULL;
    if (!read && colon != NULL) { /* "The true ones are: A, C" */
        text.size -= (size_t)(colon + 1 - text.at);
        text.at = colon + 1;
        read = read_letters(text, &letters);
    }
    out->correct = read && letters == wanted;
    out->why = out->correct ? NULL
               : read       ? "not the true statements"
                            : "no list of letters was found";
}

const struct logic_task logic_task_boolean_expressions = {
    "boolean_expressions", "which statements are true", knobs, generate, verify};
