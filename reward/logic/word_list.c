#include "reward/logic/word_list.h"

#include <ctype.h>
#include <string.h>

/* Length of the separator at `at`, 0 when there is none. */
static size_t separator(struct answer_span text, size_t at, bool spaces)
{
    static const char *const wide[] = {"，", "、", "；"};
    char c = text.at[at];
    if (c != '\0' && strchr(",;<>\n\r|", c) != NULL)
        return 1;
    if (spaces && (c == ' ' || c == '\t'))
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        if (text.size - at >= strlen(wide[i]) &&
            memcmp(text.at + at, wide[i], strlen(wide[i])) == 0)
            return strlen(wide[i]);
    return 0;
}

/* "\text{" and "\ " stand for nothing in an answer. */
static size_t skip_command(struct answer_span text, size_t at)
{
    size_t length = 1;
    while (at + length < text.size && isalpha((unsigned char)text.at[at + length]))
        length++;
    return length;
}

bool word_list_read(struct answer_span text, bool spaces, struct word_list *list)
{
    size_t length = 0;
    list->count = 0;
    for (size_t at = 0; at <= text.size;) {
        size_t gap = at == text.size ? 1 : separator(text, at, spaces);
        if (gap > 0) {
            if (length > 0)
                list->word[list->count++][length] = '\0';
            length = 0;
            at += gap;
            continue;
        }
        char c = text.at[at];
        if (c == '\\') {
            at += skip_command(text, at);
            continue;
        }
        at++;
        if (isspace((unsigned char)c) || c == '\0' || strchr("\"'`*$[](){}", c) != NULL)
            continue;
        if (list->count == WORD_LIST_MAX || length == WORD_BYTES_MAX - 1)
            return false;
        list->word[list->count][length++] = (char)tolower((unsigned char)c);
    }
    return true;
}

bool word_list_equal(const struct word_list *a, const struct word_list *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; i < a->count && equal; i++)
        equal = strcmp(a->word[i], b->word[i]) == 0;
    return equal;
}

static bool holds_all(const struct word_list *list, const struct word_list *wanted)
{
    for (size_t i = 0; i < wanted->count; i++) {
        bool found = false;
        for (size_t j = 0; j < list->count && !found; j++)
            found = strcmp(list->word[j], wanted->word[i]) == 0;
        if (!found)
            return false;
    }
    return true;
}

bool word_list_same_set(const struct word_list *a, const struct word_list *b)
{
    return holds_all(a, b) && holds_all(b, a);
}
