/* verl's reward_score/math_reward.py: the last box against the truth, both put into one spelling by the string rules of
 * the MATH data set's first evaluation. Where that raises an exception (an empty \frac, a second \text{ ), the two are
 * compared as they stand. */
#include "reward/rules/parity.h"

#include <string.h>

enum { INT_DIGITS_MAX = 4300 }; /* longer integers are refused by Python's int() */

/* \frac with its arguments in braces. A \frac that nothing follows raises; one with a single character after it leaves
 * the whole text as it was. */
static struct piece fixed_fracs(struct pieces *pieces, struct piece text)
{
    struct piece_build build;
    size_t count = piece_count(text, "\\frac");
    if (count == 0 || !piece_build_start(pieces, &build, text.size + 4 * count))
        return text;
    size_t at = piece_find(text, "\\frac", 0);
    piece_build_add(&build, text.at, at);
    while (at < text.size) {
        size_t next = piece_find(text, "\\frac", at + 5);
        struct piece rest = {text.at + at + 5, next - at - 5};
        at = next;
        piece_build_text(&build, "\\frac");
        if (rest.size == 0) {
            pieces->raised = true;
            return text;
        }
        if (rest.at[0] == '{') {
            piece_build_add(&build, rest.at, rest.size);
            continue;
        }
        size_t first = piece_rune_size(rest, 0), second = piece_rune_size(rest, first);
        if (second == 0)
            return text;
        bool braced = rest.at[first] == '{';
        piece_build_text(&build, "{");
        piece_build_add(&build, rest.at, first);
        piece_build_text(&build, braced ? "}" : "}{");
        piece_build_add(&build, rest.at + first, second);
        piece_build_text(&build, braced ? "" : "}");
        piece_build_add(&build, rest.at + first + second, rest.size - first - second);
    }
    return piece_built(&build);
}

static struct piece fixed_roots(struct pieces *pieces, struct piece text)
{
    struct piece_build build;
    size_t count = piece_count(text, "\\sqrt");
    if (count == 0 || !piece_build_start(pieces, &build, text.size + 2 * count))
        return text;
    size_t at = piece_find(text, "\\sqrt", 0);
    piece_build_add(&build, text.at, at);
    while (at < text.size) {
        size_t next = piece_find(text, "\\sqrt", at + 5);
        struct piece rest = {text.at + at + 5, next - at - 5};
        at = next;
        piece_build_text(&build, "\\sqrt");
        if (rest.size == 0) {
            pieces->raised = true;
            return text;
        }
        size_t first = rest.at[0] == '{' ? 0 : piece_rune_size(rest, 0);
        if (first > 0) {
            piece_build_text(&build, "{");
            piece_build_add(&build, rest.at, first);
            piece_build_text(&build, "}");
        }
        piece_build_add(&build, rest.at + first, rest.size - first);
    }
    return piece_built(&build);
}

/* An integer as Python prints it. */
static bool is_printed_integer(struct piece text)
{
    size_t from = text.size > 0 && text.at[0] == '-' ? 1 : 0;
    size_t digits = text.size - from;
    if (digits == 0 || digits > INT_DIGITS_MAX)
        return false;
    for (size_t i = from; i < text.size; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
    }
    return text.at[from] != '0' || text.size == 1;
}

static struct piece fixed_slash(struct pieces *pieces, struct piece text)
{
    if (piece_count(text, "/") != 1)
        return text;
    size_t slash = piece_find(text, "/", 0);
    struct piece over = piece_to(text, slash), under = piece_from(text, slash + 1);
    if (!is_printed_integer(over) || !is_printed_integer(under))
        return text;
    struct piece head = pieces_join(pieces, piece_of("\\frac{"), over, piece_of("}{"), under);
    return pieces_join(pieces, head, piece_of("}"), (struct piece){0}, (struct piece){0});
}

/* The part before "= " of a short left side is dropped. */
static struct piece without_left_side(struct piece text)
{
    size_t equals = piece_find(text, "=", 0);
    if (piece_count(text, "=") == 1 && piece_runes(piece_to(text, equals)) <= 2)
        return piece_from(text, equals + 1);
    return text;
}

bool parity_math_stripped(struct pieces *pieces, struct piece answer, struct piece *stripped)
{
    static const char *const out[][2] = {
        {"\n", ""},     {"\\!", ""},     {"\\\\", "\\"},    {"tfrac", "frac"}, {"dfrac", "frac"},
        {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""},   {"\\$", ""},
    };
    static const char *const late[][2] = {{"\\\\%", ""}, {"\\%", ""}, {" .", " 0."}, {"{.", "{0."}};
    struct piece text = answer;
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        text = pieces_replace(pieces, text, out[i][0], out[i][1]);
    size_t units = piece_count(text, "\\text{ ");
    if (units > 1)
        return false;
    text = piece_to(text, piece_find(text, "\\text{ ", 0));
    for (size_t i = 0; i < sizeof late / sizeof late[0]; i++)
        text = pieces_replace(pieces, text, late[i][0], late[i][1]);
    *stripped = text;
    if (text.size == 0)
        return true;
    if (text.at[0] == '.')
        text = pieces_join(pieces, piece_of("0"), text, (struct piece){0}, (struct piece){0});
    text = fixed_roots(pieces, without_left_side(text));
    if (pieces->raised)
        return false;
    text = fixed_fracs(pieces, pieces_replace(pieces, text, " ", ""));
    if (pieces->raised)
        return false;
    if (piece_is(text, "0.5"))
        text = piece_of("\\frac{1}{2}");
    *stripped = fixed_slash(pieces, text);
    return true;
}

static bool equivalent(struct pieces *pieces, struct piece answer, struct piece truth)
{
    struct piece a, b;
    pieces->raised = false;
    if (!parity_math_stripped(pieces, answer, &a) || !parity_math_stripped(pieces, truth, &b))
        return piece_equal(answer, truth);
    return piece_equal(a, b);
}

/* The end of the braces that open after `from`: of the brace that brings the count to 0; size when none does. */
static size_t closing_brace(struct piece text, size_t from)
{
    long depth = 0;
    for (size_t i = from; i < text.size; i++) {
        if (text.at[i] == '{')
            depth++;
        if (text.at[i] == '}' && --depth == 0)
            return i;
    }
    return text.size;
}

static bool boxed(struct piece text, struct piece *inside)
{
    size_t spaced = piece_find_last(text, "\\boxed ");
    if (spaced < text.size) { /* up to the next dollar sign, or to the end */
        struct piece rest = piece_from(text, spaced + 7);
        *inside = piece_to(rest, piece_find(rest, "$", 0));
        return true;
    }
    size_t from = piece_find_last(text, "\\boxed");
    if (!piece_starts(piece_from(text, from), "\\boxed{")) /* an \fbox raises later on */
        return false;
    size_t end = closing_brace(text, from);
    if (end == text.size)
        return false;
    *inside = (struct piece){text.at + from + 7, end - from - 7};
    return true;
}

double parity_math_reward(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                          struct read_note *note)
{
    (void)fields;
    struct piece inside;
    if (call->solution.at == NULL) {
        read_fail(note, "solution_str is missing: a text is needed");
        return 0.0;
    }
    if (!json_is_string(call->truth)) /* nothing equals it */
        return 0.0;
    struct piece truth = {json_string_value(call->truth), json_string_length(call->truth)};
    if (!boxed(call->solution, &inside))
        return 0.0;
    return equivalent(pieces, inside, truth) ? 1.0 : 0.0;
}
