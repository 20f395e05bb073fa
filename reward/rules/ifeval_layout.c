/* The instructions about how a response is laid out. Where the published rules are regular expressions, the loops here
 * take the same matches in the same order; the expression stands above each. */
#include <string.h>

#include "reward/rules/ifeval.h"
#include "reward/rules/json_text.h"

static size_t after_spaces(struct runes text, size_t at)
{
    while (at < text.size && rune_is_space(text.at[at]))
        at++;
    return at;
}

static size_t line_end(struct runes text, size_t at)
{
    while (at < text.size && text.at[at] != '\n')
        at++;
    return at;
}

/* Split at \s?\*\*\*\s?: the number of pieces; blank ones do not count at the ends and spoil all elsewhere. */
bool ifeval_number_paragraphs(struct ifeval_check *check, struct runes text)
{
    int64_t needed = ifeval_count(check, "num_paragraphs"), count = 0;
    size_t from = 0;
    bool blank_inside = false;
    for (size_t i = 0; i <= text.size;) {
        size_t stars = i < text.size && rune_is_space(text.at[i]) ? i + 1 : i;
        bool end = i == text.size;
        if (!end && !runes_have(text, stars, "***")) {
            i++;
            continue;
        }
        bool blank = runes_trimmed(runes_part(text, from, i)).size == 0;
        blank_inside = blank_inside || (blank && from > 0 && !end);
        count += !blank;
        i = stars + 3;
        if (i < text.size && rune_is_space(text.at[i]))
            i++;
        from = i;
        if (end)
            break;
    }
    return !blank_inside && count == needed;
}

/* The word that a paragraph begins with, without opening quotation marks, up to its first mark. */
static struct runes first_word(struct runes paragraph)
{
    size_t from = 0;
    while (from < paragraph.size && paragraph.at[from] == '\'')
        from++;
    while (from < paragraph.size && paragraph.at[from] == '"')
        from++;
    size_t to = from;
    while (to < paragraph.size && !rune_is_space(paragraph.at[to]) &&
           (paragraph.at[to] >= 0x80 || strchr(".,?!'\"", (int)paragraph.at[to]) == NULL))
        to++;
    return runes_part(paragraph, from, to);
}

/* Paragraphs are split at \n\n. The nth is counted among all of them, their number among those that are not blank. */
bool ifeval_nth_paragraph_first_word(struct ifeval_check *check, struct runes text)
{
    int64_t needed = ifeval_count(check, "num_paragraphs"), count = 0, place = 0;
    int64_t nth = ifeval_count(check, "nth_paragraph");
    struct runes wanted, nth_text = {0}, word;
    if (nth < 1 || nth > needed)
        read_fail(check->note, "nth_paragraph has to be from 1 to num_paragraphs");
    if (check->note->failed || !ifeval_text(check, "first_word", &wanted))
        return false;
    for (size_t from = 0; from <= text.size;) {
        size_t to = runes_find(text, "\n\n", from);
        struct runes paragraph = runes_trimmed(runes_part(text, from, to));
        count += paragraph.size > 0;
        if (++place == nth)
            nth_text = paragraph;
        if (to == text.size)
            break;
        from = to + 2;
    }
    if (nth > count || nth_text.size == 0 || count != needed ||
        !ifeval_lowered(check, first_word(nth_text), &word) ||
        !ifeval_lowered(check, wanted, &wanted))
        return false;
    return runes_equal(word, wanted);
}

/* \[.*?\] */
bool ifeval_number_placeholders(struct ifeval_check *check, struct runes text)
{
    int64_t needed = ifeval_count(check, "num_placeholders"), count = 0;
    bool open = false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.at[i] == '[')
            open = true;
        else if (text.at[i] == '\n')
            open = false;
        else if (text.at[i] == ']' && open) {
            count++;
            open = false;
        }
    }
    return count >= needed;
}

/* ^\s*\*[^\*].*$ or ^\s*-.*$, MULTILINE: white space may span lines. */
static int64_t count_bullets(struct runes text, uint32_t mark)
{
    int64_t count = 0;
    for (size_t line = 0; line < text.size;) {
        size_t at = after_spaces(text, line);
        if (at >= text.size)
            break;
        bool is = text.at[at] == mark;
        size_t rest = at + 1;
        if (mark == '*') {
            is = is && rest < text.size && text.at[rest] != '*';
            rest++;
        }
        count += is;
        line = line_end(text, is ? rest : at) + 1;
    }
    return count;
}

bool ifeval_number_bullet_lists(struct ifeval_check *check, struct runes text)
{
    int64_t needed = ifeval_count(check, "num_bullets");
    return count_bullets(text, '*') + count_bullets(text, '-') == needed;
}

bool ifeval_constrained_response(struct ifeval_check *check, struct runes text)
{
    static const char *const options[] = {"My answer is yes.", "My answer is no.",
                                          "My answer is maybe."};
    (void)check;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (runes_find(text, options[i], 0) < text.size)
            return true;
    }
    return false;
}

/* \*[^\n\*]*\* or \*\*[^\n\*]*\*\*, not blank inside. stars: 1 or 2. */
static int64_t count_highlights(struct runes text, size_t stars)
{
    const char *fence = stars == 1 ? "*" : "**";
    int64_t count = 0;
    for (size_t i = 0; i < text.size;) {
        if (!runes_have(text, i, fence)) {
            i++;
            continue;
        }
        size_t from = i + stars, to = from;
        while (to < text.size && text.at[to] != '\n' && text.at[to] != '*')
            to++;
        bool closed = runes_have(text, to, fence);
        count += closed && runes_trimmed(runes_part(text, from, to)).size > 0;
        i = closed ? to + stars : to > from ? to : i + 1;
    }
    return count;
}

bool ifeval_number_highlighted_sections(struct ifeval_check *check, struct runes text)
{
    int64_t needed = ifeval_count(check, "num_highlights");
    return count_highlights(text, 1) + count_highlights(text, 2) >= needed;
}

bool ifeval_json_format(struct ifeval_check *check, struct runes text)
{
    static const char *const fences[] = {"```json", "```Json", "```JSON", "```"};
    (void)check;
    text = runes_trimmed(text);
    for (size_t i = 0; i < sizeof fences / sizeof fences[0]; i++) {
        if (runes_have(text, 0, fences[i]))
            text = runes_part(text, strlen(fences[i]), text.size);
    }
    if (text.size >= 3 && runes_have(text, text.size - 3, "```"))
        text.size -= 3;
    return json_text_is_valid(runes_trimmed(text));
}

/* <<[^\n]+>>, not blank without the brackets: the widest on each line. */
bool ifeval_title(struct ifeval_check *check, struct runes text)
{
    (void)check;
    for (size_t line = 0; line < text.size;) {
        size_t end = line_end(text, line);
        struct runes title = runes_part(text, line, end);
        line = end + 1;
        title = runes_part(title, runes_find(title, "<<", 0), title.size);
        while (title.size > 0 && !runes_have(title, title.size - 2, ">>"))
            title.size--;
        if (title.size < 5)
            continue;
        while (title.size > 0 && title.at[0] == '<')
            title = runes_part(title, 1, title.size);
        while (title.size > 0 && title.at[title.size - 1] == '>')
            title.size--;
        if (runes_trimmed(title).size > 0)
            return true;
    }
    return false;
}

/* Two that differ, with ****** between; blank ones only at the ends. */
bool ifeval_two_responses(struct ifeval_check *check, struct runes text)
{
    struct runes found[2] = {{0}};
    size_t count = 0;
    (void)check;
    for (size_t from = 0, to = 0; to < text.size; from = to + 6) {
        to = runes_find(text, "******", from);
        struct runes part = runes_trimmed(runes_part(text, from, to));
        if (part.size == 0 && from > 0 && to < text.size)
            return false;
        if (part.size == 0)
            continue;
        if (count == 2)
            return false;
        found[count++] = part;
    }
    return count == 2 && !runes_equal(found[0], found[1]);
}

bool ifeval_repeat_prompt(struct ifeval_check *check, struct runes text)
{
    struct runes prompt, lowered;
    if (!ifeval_text(check, "prompt_to_repeat", &prompt) ||
        !ifeval_lowered(check, prompt, &prompt) ||
        !ifeval_lowered(check, runes_trimmed(text), &lowered))
        return false;
    return runes_start_with(lowered, prompt);
}

bool ifeval_end_checker(struct ifeval_check *check, struct runes text)
{
    struct runes phrase, lowered;
    if (!ifeval_text(check, "end_phrase", &phrase) || !ifeval_lowered(check, phrase, &phrase))
        return false;
    text = runes_trimmed(text);
    while (text.size > 0 && text.at[0] == '"')
        text = runes_part(text, 1, text.size);
    while (text.size > 0 && text.at[text.size - 1] == '"')
        text.size--;
    if (!ifeval_lowered(check, text, &lowered))
        return false;
    return runes_end_with(lowered, phrase);
}

bool ifeval_quotation(struct ifeval_check *check, struct runes text)
{
    (void)check;
    text = runes_trimmed(text);
    return text.size > 1 && text.at[0] == '"' && text.at[text.size - 1] == '"';
}
