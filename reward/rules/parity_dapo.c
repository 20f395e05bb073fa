/* verl's reward_score/math_dapo.py: the text after the last "Answer:" of the last 300 characters, both sides put into one
 * spelling, +1 or -1; or, with strict_box_verify, the last box of the last 100 characters, compared as it stands. */
#include <string.h>

#include "reward/rules/parity.h"
#include "reward/rules/runes.h"

enum { CLIP_CHARS = 300, STRICT_CHARS = 100 };

static const char *const substitutions[][2] = {
    {"an ", ""},          {"a ", ""},
    {".$", "$"},          {"\\$", ""},
    {"\\ ", ""},          {" ", ""},
    {"mbox", "text"},     {",\\text{and}", ","},
    {"\\text{and}", ","}, {"\\text{m}", "\\text{}"},
};

/* Units and decorations, in the order in which they go. */
static const char *const removed[] = {
    "square",     "ways",       "integers",  "dollars",      "mph",
    "inches",     "hours",      "km",        "units",        "\\ldots",
    "sue",        "points",     "feet",      "minutes",      "digits",
    "cents",      "degrees",    "cm",        "gm",           "pounds",
    "meters",     "meals",      "edges",     "students",     "childrentickets",
    "multiples",  "\\text{s}",  "\\text{.}", "\\text{\ns}",  "\\text{}^2",
    "\\text{}^3", "\\text{\n}", "\\text{}",  "\\mathrm{th}", "^\\circ",
    "^{\\circ}",  "\\;",        ",\\!",      "{,}",          "\"",
    "\\dots",
};

static size_t line_end(struct piece text, size_t from)
{
    return piece_find(text, "\n", from);
}

/* A line with two dollar signs becomes what stands between the first two, with them. */
static struct piece first_maths(struct pieces *pieces, struct piece text)
{
    struct piece_build build;
    if (!piece_build_start(pieces, &build, text.size))
        return text;
    for (size_t at = 0; at < text.size;) {
        size_t end = line_end(text, at);
        struct piece line = {text.at + at, end - at};
        size_t first = piece_find(line, "$", 0), second = piece_find(line, "$", first + 1);
        if (second < line.size)
            piece_build_add(&build, line.at + first, second + 1 - first);
        else
            piece_build_add(&build, line.at, line.size);
        if (end < text.size)
            piece_build_text(&build, "\n");
        at = end + 1;
    }
    return piece_built(&build);
}

/* "\text{inside}" becomes "inside", up to the first closing brace of its line, or the last one. */
static struct piece unwrapped(struct pieces *pieces, struct piece text, const char *open,
                              bool to_last)
{
    struct piece_build build;
    size_t length = strlen(open), done = 0;
    if (piece_find(text, open, 0) == text.size || !piece_build_start(pieces, &build, text.size))
        return text;
    for (size_t at = piece_find(text, open, 0); at < text.size;) {
        size_t from = at + length;
        struct piece line = {text.at + from, line_end(text, from) - from};
        size_t brace = to_last ? piece_find_last(line, "}") : piece_find(line, "}", 0);
        if (brace < line.size) {
            piece_build_add(&build, text.at + done, at - done);
            piece_build_add(&build, line.at, brace);
            done = from + brace + 1;
        }
        at = piece_find(text, open, brace < line.size ? done : at + 1);
    }
    piece_build_add(&build, text.at + done, text.size - done);
    return piece_built(&build);
}

/* frac and sqrt with the characters that follow in braces: "frac12" is frac{1}{2}. */
static struct piece with_braces(struct pieces *pieces, struct piece text, const char *name,
                                unsigned arguments)
{
    struct piece_build build;
    size_t count = piece_count(text, name), done = 0;
    if (count == 0 || !piece_build_start(pieces, &build, text.size + 4 * count))
        return text;
    for (size_t at = piece_find(text, name, 0); at < text.size;) {
        size_t from = at + 4; /* both names have four letters */
        size_t first = piece_rune_size(text, from), second = piece_rune_size(text, from + first);
        bool fits = first > 0 && text.at[from] != '{' &&
                    (arguments == 1 || (second > 0 && text.at[from + first] != '\n'));
        if (fits) {
            piece_build_add(&build, text.at + done, from - done);
            piece_build_text(&build, "{");
            piece_build_add(&build, text.at + from, first);
            piece_build_text(&build, "}");
            done = from + first;
            if (arguments == 2) {
                piece_build_text(&build, "{");
                piece_build_add(&build, text.at + done, second);
                piece_build_text(&build, "}");
                done += second;
            }
        }
        at = piece_find(text, name, fits ? done : at + 1);
    }
    piece_build_add(&build, text.at + done, text.size - done);
    return piece_built(&build);
}

/* Digits of any script and their raised, lowered and circled forms, as Python's isdigit. */
static bool is_digit(uint32_t rune)
{
    static const uint32_t more[][2] = {
        {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
        {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
        {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
        {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
        {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
    if (rune_is_digit(rune))
        return true;
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        if (rune >= more[i][0] && rune <= more[i][1])
            return true;
    }
    return false;
}

static bool is_number_with_commas(struct pieces *pieces, struct piece text)
{
    struct runes runes;
    size_t digits = 0;
    if (!runes_decode(pieces->arena, text.at, text.size, &runes)) {
        pieces->full = true;
        return false;
    }
    for (size_t i = 0; i < runes.size; i++) {
        if (runes.at[i] != ',' && !is_digit(runes.at[i]))
            return false;
        digits += runes.at[i] != ',';
    }
    return digits > 0;
}

struct piece parity_dapo_normal(struct pieces *pieces, struct piece answer)
{
    size_t equals = piece_find_last(answer, "=");
    struct piece text = equals < answer.size ? piece_from(answer, equals + 1) : answer;
    for (size_t i = 0; i < sizeof substitutions / sizeof substitutions[0]; i++)
        text = pieces_replace(pieces, text, substitutions[i][0], substitutions[i][1]);
    for (size_t i = 0; i < sizeof removed / sizeof removed[0]; i++)
        text = pieces_replace(pieces, text, removed[i], "");
    text = first_maths(pieces, text);
    text = unwrapped(pieces, text, "\\text{", false);
    text = unwrapped(pieces, text, "\\textbf{", false);
    text = unwrapped(pieces, text, "\\overline{", false);
    text = unwrapped(pieces, text, "\\boxed{", true);
    text = with_braces(pieces, text, "frac", 2);
    text = with_braces(pieces, text, "sqrt", 1);
    text = pieces_replace(pieces, text, "$", "");
    if (is_number_with_commas(pieces, text))
        text = pieces_replace(pieces, text, ",", "");
    return piece_trimmed(text);
}

/* ---- the answer of a solution ---- */

static bool is_answer_word(struct runes text, size_t at)
{
    static const char word[] = "answer";
    for (size_t i = 0; i < 6; i++) {
        uint32_t rune = at + i < text.size ? text.at[at + i] : 0;
        if (rune_lower(rune) != (unsigned char)word[i] && !(word[i] == 's' && rune == 0x17F))
            return false;
    }
    return true;
}

static size_t after_spaces(struct runes text, size_t at)
{
    while (at < text.size && rune_is_space(text.at[at]))
        at++;
    return at;
}

/* Answer\s*:\s*([^\n]+) at `at`: where the group is. White space at the end of the text gives its last character that
 * is no line feed to the group, as a backtracking matcher does. */
static bool answer_group(struct runes text, size_t at, size_t *from, size_t *to)
{
    if (!is_answer_word(text, at))
        return false;
    size_t colon = after_spaces(text, at + 6);
    if (colon == text.size || text.at[colon] != ':')
        return false;
    *from = after_spaces(text, colon + 1);
    if (*from == text.size) {
        while (*from > colon + 1 && text.at[*from - 1] == '\n')
            (*from)--;
        if (*from == colon + 1)
            return false;
        (*from)--;
    }
    *to = *from;
    while (*to < text.size && text.at[*to] != '\n')
        (*to)++;
    return true;
}

static struct piece last_answer(struct pieces *pieces, struct piece solution)
{
    struct runes text, found = {0};
    if (!runes_decode(pieces->arena, solution.at, solution.size, &text)) {
        pieces->full = true;
        return (struct piece){"", 0};
    }
    for (size_t at = 0; at < text.size;) {
        size_t from, to;
        bool is = answer_group(text, at, &from, &to);
        if (is)
            found = runes_part(text, from, to);
        at = is ? to : at + 1;
    }
    size_t size = 0;
    const char *bytes = found.at != NULL ? runes_encode(pieces->arena, found, &size) : NULL;
    return bytes != NULL ? (struct piece){bytes, size} : piece_of("[INVALID]");
}

static bool last_box(struct piece text, struct piece *inside)
{
    size_t from = piece_find_last(text, "\\boxed{");
    long depth = 0;
    for (size_t i = from; i < text.size; i++) {
        if (text.at[i] == '{')
            depth++;
        if (text.at[i] == '}' && --depth == 0) {
            *inside = (struct piece){text.at + from + 7, i - from - 7};
            return true;
        }
    }
    return false;
}

/* Python's text[start:] with a start that may be negative. */
static struct piece slice_from(struct piece text, json_int_t start)
{
    size_t all = piece_runes(text);
    if (start < 0)
        return piece_last(text, (size_t)(start < -(json_int_t)all ? (json_int_t)all : -start));
    return piece_last(text, (size_t)start < all ? all - (size_t)start : 0);
}

static struct piece strict_part(const struct parity_call *call, struct piece solution,
                                struct read_note *note)
{
    const json_t *pauses = json_object_get(call->arguments, "pause_tokens_index");
    if (pauses == NULL || json_is_null(pauses))
        return piece_last(solution, STRICT_CHARS);
    const json_t *last = json_array_get(pauses, 3);
    if (json_array_size(pauses) != 4 || !json_is_integer(last)) {
        read_fail(note, "pause_tokens_index has to be a list of four whole numbers");
        return solution;
    }
    return slice_from(solution, json_integer_value(last) - STRICT_CHARS);
}

double parity_math_dapo(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                        struct read_note *note)
{
    bool strict = read_boolean(call->arguments, "strict_box_verify", false, note);
    if (call->solution.at == NULL)
        read_fail(note, "solution_str is missing: a text is needed");
    if (!json_is_string(call->truth) && !strict)
        read_fail(note, "ground_truth has to be a text");
    if (note->failed)
        return 0.0;
    struct piece solution = piece_last(call->solution, CLIP_CHARS), found = {0};
    struct piece truth = {json_string_value(call->truth), json_string_length(call->truth)};
    bool right = false;
    if (strict) {
        bool has_box = last_box(strict_part(call, solution, note), &found);
        right = has_box ? truth.at != NULL && piece_equal(found, truth)
                        : call->truth == NULL || json_is_null(call->truth);
    } else {
        found = parity_dapo_normal(pieces, last_answer(pieces, solution));
        right = piece_equal(found, parity_dapo_normal(pieces, truth));
    }
    json_object_set_new(fields, "acc", json_boolean(right));
    json_object_set_new(fields, "pred",
                        found.at != NULL ? json_stringn(found.at, found.size) : json_null());
    return right ? 1.0 : -1.0;
}
