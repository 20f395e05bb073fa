/* The instructions about words: keywords, letters, how many of them, language and case, and the two that look for a
 * pattern of their arguments. */
#include <string.h>

#include "reward/rules/ifeval.h"
#include "reward/rules/pattern.h"
#include "reward/rules/sentences.h"
#include "reward/rules/words.h"

enum { ANY = 1, ALL = 1 << 30 };

/* Matches of head + middle + tail, up to `most`. */
static size_t matches(struct ifeval_check *check, struct runes text, const char *head,
                      const char *middle, const char *tail, bool ignore_case, size_t most,
                      size_t *groups)
{
    size_t size = 0, count = 0;
    char why[200] = "";
    const char *bytes = runes_encode(check->arena, text, &size);
    if (bytes == NULL) {
        check->out_of_memory = true;
        return 0;
    }
    switch (pattern_count(head, middle, tail, ignore_case, bytes, size, most, &count, groups, why,
                          sizeof why)) {
    case PATTERN_OK:
        return count;
    case PATTERN_BAD:
        read_fail(check->note, "%s", why);
        return 0;
    case PATTERN_TOO_HARD:
        check->too_hard = true;
        return 0;
    case PATTERN_NO_MEMORY:
        break;
    }
    check->out_of_memory = true;
    return 0;
}

/* A text argument without white space at its ends, as UTF-8; NULL after a failure. */
static const char *trimmed_text(struct ifeval_check *check, const char *key)
{
    struct runes text;
    size_t size = 0;
    if (!ifeval_text(check, key, &text))
        return NULL;
    const char *bytes = runes_encode(check->arena, text, &size);
    if (bytes == NULL)
        check->out_of_memory = true;
    return bytes;
}

static const json_t *word_list(struct ifeval_check *check, const char *key)
{
    const json_t *list = json_object_get(check->arguments, key);
    if (!json_is_array(list) || json_array_size(list) == 0)
        read_fail(check->note, "%s has to be a list of texts", key);
    size_t index;
    json_t *word;
    json_array_foreach(list, index, word)
    {
        if (!json_is_string(word))
            read_fail(check->note, "%s[%zu] has to be a text", key, index);
    }
    return check->note->failed ? NULL : list;
}

bool ifeval_existence(struct ifeval_check *check, struct runes text)
{
    const json_t *words = word_list(check, "keywords");
    size_t groups, found = 1;
    for (size_t i = 0; i < json_array_size(words) && found > 0; i++)
        found = matches(check, text, "", json_string_value(json_array_get(words, i)), "", true, ANY,
                        &groups);
    return words != NULL && found > 0;
}

bool ifeval_forbidden_words(struct ifeval_check *check, struct runes text)
{
    const json_t *words = word_list(check, "forbidden_words");
    size_t groups, found = 0;
    for (size_t i = 0; i < json_array_size(words) && found == 0; i++)
        found = matches(check, text, "\\b", json_string_value(json_array_get(words, i)), "\\b",
                        true, ANY, &groups);
    return words != NULL && found == 0;
}

bool ifeval_frequency(struct ifeval_check *check, struct runes text)
{
    size_t groups, count = 0;
    const char *keyword = trimmed_text(check, "keyword");
    if (keyword != NULL && *keyword == '\0')
        read_fail(check->note, "keyword is empty");
    if (keyword == NULL || check->note->failed)
        return false;
    count = matches(check, text, "", keyword, "", true, ALL, &groups);
    return ifeval_relation(check, "frequency", "relation", count);
}

bool ifeval_letter_frequency(struct ifeval_check *check, struct runes text)
{
    struct runes letter, lowered;
    size_t count = 0;
    if (!ifeval_text(check, "letter", &letter) || !ifeval_lowered(check, text, &lowered))
        return false;
    if (letter.size != 1) {
        read_fail(check->note, "letter has to be one character");
        return false;
    }
    for (size_t i = 0; i < lowered.size; i++)
        count += lowered.at[i] == rune_lower(letter.at[0]);
    return ifeval_relation(check, "let_frequency", "let_relation", count);
}

/* A text without any letter that tells is in every language. */
static bool is_in(struct ifeval_check *check, struct runes text, const char *language)
{
    const char *found = language_detect(check->languages, text);
    return found == NULL || strcmp(found, language) == 0 ||
           (strcmp(found, "zh-cn") == 0 && strncmp(language, "zh", 2) == 0);
}

bool ifeval_response_language(struct ifeval_check *check, struct runes text)
{
    const char *language = read_text(check->arguments, "language", NULL, check->note);
    if (language == NULL)
        read_fail(check->note, "language is missing: a code such as \"de\" is needed");
    return language != NULL && is_in(check, text, language);
}

bool ifeval_english_capital(struct ifeval_check *check, struct runes text)
{
    return runes_are_upper(text) && is_in(check, text, "en");
}

bool ifeval_english_lowercase(struct ifeval_check *check, struct runes text)
{
    return runes_are_lower(text) && is_in(check, text, "en");
}

bool ifeval_number_words(struct ifeval_check *check, struct runes text)
{
    return ifeval_relation(check, "num_words", "relation", words_count(text));
}

bool ifeval_number_sentences(struct ifeval_check *check, struct runes text)
{
    size_t count = 0;
    if (!sentences_count(check->arena, text, &count))
        check->out_of_memory = true;
    return ifeval_relation(check, "num_sentences", "relation", count);
}

bool ifeval_capital_word_frequency(struct ifeval_check *check, struct runes text)
{
    size_t count = 0;
    if (!words_count_capital(check->arena, text, &count))
        check->out_of_memory = true;
    return ifeval_relation(check, "capital_frequency", "capital_relation", count);
}

bool ifeval_no_comma(struct ifeval_check *check, struct runes text)
{
    (void)check;
    return runes_find(text, ",", 0) == text.size;
}

/* The marker anywhere, in any case; its periods may have white space behind. */
bool ifeval_postscript(struct ifeval_check *check, struct runes text)
{
    struct runes marker, lowered;
    size_t groups, size = 0;
    if (!ifeval_text(check, "postscript_marker", &marker) || !ifeval_lowered(check, text, &lowered))
        return false;
    if (marker.size == 5 && runes_have(marker, 0, "P.P.S"))
        return matches(check, lowered, "p\\.\\s?p\\.\\s?s", "", "", false, ANY, &groups) > 0;
    if (marker.size == 4 && runes_have(marker, 0, "P.S."))
        return matches(check, lowered, "p\\.\\s?s\\.", "", "", false, ANY, &groups) > 0;
    if (!ifeval_lowered(check, marker, &marker))
        return false;
    const char *pattern = runes_encode(check->arena, marker, &size);
    if (pattern == NULL) {
        check->out_of_memory = true;
        return false;
    }
    return matches(check, lowered, "", pattern, "", false, ANY, &groups) > 0;
}

/* Each "Section 1" starts one; groups in the splitter count as the pieces that a split would return for them. */
bool ifeval_multiple_sections(struct ifeval_check *check, struct runes text)
{
    size_t groups = 0;
    const char *splitter = trimmed_text(check, "section_spliter");
    int64_t needed = ifeval_count(check, "num_sections");
    if (splitter == NULL)
        return false;
    size_t count = matches(check, text, "\\s?", splitter, "\\s?\\d+\\s?", false, ALL, &groups);
    return (int64_t)(count * (groups + 1)) >= needed;
}
