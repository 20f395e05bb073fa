#include "reward/answer/answer.h"

#include <string.h>
#include <strings.h>

/* The last place of `what` in [at, at + size), NULL when there is none. */
static const char *find_last(const char *at, size_t size, const char *what)
{
    size_t length = strlen(what);
    for (size_t left = size >= length ? size - length + 1 : 0; left > 0; left--)
        if (at[left - 1] == what[0] && memcmp(at + left - 1, what, length) == 0)
            return at + left - 1; /* from the end: what is sought stands near it */
    return NULL;
}

bool answer_after_thinking(const char *text, size_t size, struct answer_span *answer)
{
    const char *end = find_last(text, size, "</think>");
    if (end == NULL && memmem(text, size, "<think>", 7) != NULL)
        return false;
    const char *from = end != NULL ? end + 8 : text;
    *answer = (struct answer_span){from, size - (size_t)(from - text)};
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

struct answer_span answer_trimmed(struct answer_span span)
{
    while (span.size > 0 && is_space(span.at[0])) {
        span.at++;
        span.size--;
    }
    while (span.size > 0 && is_space(span.at[span.size - 1]))
        span.size--;
    return span;
}

/* What follows the word "\boxed" or "\fbox". */
static bool box_contents(struct answer_span rest, struct answer_span *inside)
{
    rest = answer_trimmed(rest);
    if (rest.size == 0)
        return false;
    if (rest.at[0] != '{') {
        size_t n = rest.at[0] == '\\' ? 1 : 0;
        while (n < rest.size && !is_space(rest.at[n]) && strchr("$\\{}", rest.at[n]) == NULL)
            n++;
        while (n > 0 && strchr(".,;", rest.at[n - 1]) != NULL) /* the sentence's */
            n--;
        *inside = (struct answer_span){rest.at, n};
        return n > 0;
    }
    size_t depth = 0;
    for (size_t i = 0; i < rest.size; i++) {
        if (rest.at[i] == '\\' && i + 1 < rest.size)
            i++; /* \{ and \} are no groups */
        else if (rest.at[i] == '{')
            depth++;
        else if (rest.at[i] == '}' && --depth == 0) {
            *inside = answer_trimmed((struct answer_span){rest.at + 1, i - 1});
            return true;
        }
    }
    return false;
}

bool answer_boxed(struct answer_span text, struct answer_span *inside)
{
    enum {
        TRIES_MAX = 64
    }; /* each open box is read to the end of the text: bounded, so it stays linear */
    bool found = false;
    size_t size = text.size;
    for (int tries = 0; !found && size > 0 && tries < TRIES_MAX; tries++) {
        /* from the end: a box that is not balanced counts as none */
        const char *boxed = find_last(text.at, size, "\\boxed"),
                   *framed = find_last(text.at, size, "\\fbox");
        const char *word = boxed == NULL || (framed != NULL && framed > boxed) ? framed : boxed;
        if (word == NULL)
            return false;
        size_t length = word == boxed ? 6 : 5;
        size_t from = (size_t)(word - text.at);
        found =
            box_contents((struct answer_span){word + length, text.size - from - length}, inside);
        size = from;
    }
    return found;
}

/* ---- fenced blocks ---- */

struct fence {
    char mark;
    size_t length; /* of the run of marks */
    struct answer_span language;
};

/* Whether a line opens or closes a block. At most three spaces come before it (CommonMark 4.5). */
static bool read_fence(struct answer_span line, struct fence *fence)
{
    size_t i = 0;
    while (i < line.size && i < 3 && line.at[i] == ' ')
        i++;
    if (i == line.size || (line.at[i] != '`' && line.at[i] != '~'))
        return false;
    size_t from = i;
    fence->mark = line.at[from];
    while (i < line.size && line.at[i] == fence->mark)
        i++;
    fence->length = i - from;
    struct answer_span rest = answer_trimmed((struct answer_span){line.at + i, line.size - i});
    size_t n = 0;
    while (n < rest.size && !is_space(rest.at[n]) && rest.at[n] != '{')
        n++;
    fence->language = (struct answer_span){rest.at, n};
    return fence->length >= 3 && (fence->mark == '~' || memchr(rest.at, '`', rest.size) == NULL);
}

static bool is_wanted(struct answer_span language, const char *languages)
{
    for (const char *word = languages; *word != '\0';) {
        size_t length = strcspn(word, " ");
        if ((length == 1 && word[0] == '*') ||
            (length == 1 && word[0] == '-' && language.size == 0))
            return true;
        if (length == language.size && length > 0 && strncasecmp(word, language.at, length) == 0)
            return true;
        word += length;
        word += strspn(word, " ");
    }
    return false;
}

bool answer_fenced(struct answer_span text, const char *languages, struct answer_span *body,
                   struct answer_span *language)
{
    const char *end = text.at + text.size;
    struct fence open = {0}, fence = {0};
    const char *begin = NULL; /* of the body of the open block */
    bool found = false;
    for (const char *at = text.at; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        struct answer_span line = {at, (size_t)(line_end - at)};
        const char *next = newline != NULL ? newline + 1 : end;
        if (read_fence(line, &fence)) {
            if (begin == NULL) {
                open = fence;
                begin = next;
            } else if (fence.mark == open.mark && fence.length >= open.length &&
                       fence.language.size == 0) {
                if (is_wanted(open.language, languages)) {
                    *body = (struct answer_span){begin, (size_t)(at - begin)};
                    *language = open.language;
                    found = true;
                }
                begin = NULL;
            }
        }
        at = next;
    }
    if (begin != NULL && is_wanted(open.language, languages)) {
        *body = (struct answer_span){begin, (size_t)(end - begin)};
        *language = open.language;
        found = true;
    }
    return found;
}
