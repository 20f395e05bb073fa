/* The decision procedure of Punkt (Kiss and Strunk 2006, section 4) over candidates for a sentence's end: '.', '?' or '!'
 * before a mark or before white space and a further token. For each candidate the word before it, it, and what follows
 * are cut into tokens; a break stands after a token that ends a sentence when another one follows it. Its trained tables
 * are replaced by the short lists of sentence_words.c. */
#include "reward/rules/sentences.h"

#include <string.h>

enum { TYPE_MAX = 64 }; /* longer tokens are in no list */

struct slice {
    size_t from, to;
};

/* ---- tokens of a context ---- */

static bool is_mark(uint32_t rune) /* cannot stand inside a word; ends it */
{
    if (rune < 0x80)
        return rune != 0 && strchr(")\";}]*:@'({[!?", (int)rune) != NULL;
    return rune == 0x2018 || rune == 0x2019 || rune == 0x201C || rune == 0x201D || rune == 0xAB ||
           rune == 0xBB;
}

static bool begins_word(uint32_t rune)
{
    return rune >= 0x80 || rune == 0 || strchr("(\"`{[:;&#*@)}]-,", (int)rune) == NULL;
}

/* "--", "..", ". . ." and longer: where it ends, or `at`. */
static size_t run_end(struct runes text, size_t at)
{
    size_t end = at;
    uint32_t rune = at < text.size ? text.at[at] : 0;
    if (rune != '-' && rune != '.')
        return at;
    while (end < text.size && text.at[end] == rune)
        end++;
    if (end - at >= 2)
        return end;
    end = at;
    while (rune == '.' && end + 1 < text.size && text.at[end] == '.' &&
           rune_is_space(text.at[end + 1]))
        end += 2;
    if (end - at >= 4 && end < text.size && text.at[end] == '.')
        return end + 1;
    return end - at >= 6 ? end - 1 : at; /* the last ". " gives its period only */
}

static bool ends_word_here(struct runes text, size_t at)
{
    return at >= text.size || rune_is_space(text.at[at]) || is_mark(text.at[at]) ||
           run_end(text, at) > at;
}

/* The next token of one line at or after `at`; false at its end. */
static bool next_token(struct runes line, size_t at, struct slice *token)
{
    while (at < line.size && rune_is_space(line.at[at]))
        at++;
    if (at >= line.size)
        return false;
    token->from = at;
    token->to = run_end(line, at);
    if (token->to > at)
        return true;
    token->to = at + 1;
    if (!begins_word(line.at[at]))
        return true;
    while (!ends_word_here(line, token->to) &&
           !(line.at[token->to] == ',' && ends_word_here(line, token->to + 1)))
        token->to++;
    return true;
}

struct token {
    struct runes text;
    char type[TYPE_MAX]; /* lower case, "" when long or not ASCII */
    bool breaks, shortened, dots, initial, number;
};

/* -?[.,]?digit[digits,.-]* */
static bool is_number(struct runes text)
{
    size_t at = 0;
    if (at < text.size && text.at[at] == '-')
        at++;
    if (at < text.size && (text.at[at] == '.' || text.at[at] == ','))
        at++;
    if (at >= text.size || !rune_is_digit(text.at[at]))
        return false;
    for (; at < text.size; at++) {
        uint32_t rune = text.at[at];
        if (!rune_is_digit(rune) && rune != ',' && rune != '.' && rune != '-')
            return false;
    }
    return true;
}

static bool is_abbreviation(const char *word)
{
    const char *dash = strrchr(word, '-');
    return sentence_word_is(word, SENTENCE_ABBREVIATION) ||
           (dash != NULL && sentence_word_is(dash + 1, SENTENCE_ABBREVIATION));
}

/* First pass: what the token says by itself. */
static void token_start(struct token *token, struct runes text)
{
    *token = (struct token){.text = text};
    size_t size = text.size, used = 0;
    uint32_t last = text.at[size - 1];
    bool period = last == '.';
    for (size_t i = 0; i < size && size < TYPE_MAX; i++) {
        uint32_t rune = rune_lower(text.at[i]);
        if (rune == 0 || rune >= 0x80)
            break;
        token->type[used++] = (char)rune;
    }
    if (used < size)
        used = 0;
    if (period && used > 1)
        used--;
    token->type[used] = '\0';
    token->number = is_number(text);
    token->initial = size == 2 && period && rune_is_word(text.at[0]) && !rune_is_digit(text.at[0]);
    bool all_dots = period && size >= 2;
    for (size_t i = 0; i < size && all_dots; i++)
        all_dots = text.at[i] == '.';
    if (size == 1 && (period || last == '?' || last == '!'))
        token->breaks = true;
    else if (all_dots)
        token->dots = true;
    else if (period && text.at[size - 2] != '.') {
        token->shortened = is_abbreviation(token->type);
        token->breaks = !token->shortened;
    }
}

enum likely { NO, YES, UNKNOWN };

/* Whether a token begins a sentence, by its spelling. */
static enum likely begins_sentence(const struct token *token)
{
    uint32_t first = token->text.at[0];
    if (token->text.size == 1 && first < 0x80 && strchr(";:,.!?", (int)first) != NULL)
        return NO;
    if (rune_is_upper(first) && sentence_word_is(token->type, SENTENCE_PLAIN))
        return YES;
    return rune_is_lower(first) ? NO : UNKNOWN;
}

/* Second pass: what the next token says about one that ends with a period. */
static void token_decide(struct token *token, const struct token *following)
{
    struct token known = *following;
    const struct token *next = &known;
    if (token->text.at[token->text.size - 1] != '.')
        return;
    if (!known.breaks && known.text.at[known.text.size - 1] == '.')
        known.type[0] = '\0'; /* with its period it is in no list */
    if (token->number && sentence_word_is(next->type, SENTENCE_AFTER_NUMBER)) {
        token->breaks = false;
        return;
    }
    enum likely begins = begins_sentence(next);
    bool upper = rune_is_upper(next->text.at[0]);
    if ((token->shortened || token->dots) && !token->initial) {
        if (begins == YES || (upper && sentence_word_is(next->type, SENTENCE_STARTER))) {
            token->breaks = true;
            return;
        }
    }
    if (!token->initial && !token->number)
        return;
    bool common = sentence_word_is(next->type, SENTENCE_TITLE) ||
                  sentence_word_is(next->type, SENTENCE_STARTER);
    if (begins == NO || (begins == UNKNOWN && token->initial && upper && !common))
        token->breaks = false;
}

/* Whether a sentence ends inside the context: after a token that another one follows. */
static bool holds_break(struct runes context)
{
    struct token before = {0}, now;
    bool have_before = false;
    for (size_t line = 0; line <= context.size;) {
        size_t end = line;
        while (end < context.size && context.at[end] != '\n')
            end++;
        struct runes text = runes_part(context, line, end);
        struct slice place = {0, 0};
        while (next_token(text, place.to, &place)) {
            token_start(&now, runes_part(text, place.from, place.to));
            if (have_before) {
                token_decide(&before, &now);
                if (before.breaks)
                    return true;
            }
            before = now;
            have_before = true;
        }
        line = end + 1;
    }
    return false;
}

/* ---- candidates ---- */

struct candidate {
    size_t word, at, next,
        end; /* the word before, the mark, the token behind (or 0), the end of the context */
};

static bool candidate_at(struct runes text, size_t at, struct candidate *found)
{
    uint32_t rune = text.at[at];
    if ((rune != '.' && rune != '?' && rune != '!') || at + 1 >= text.size)
        return false;
    *found = (struct candidate){.at = at, .end = at + 2};
    if (is_mark(text.at[at + 1]))
        return true;
    size_t next = at + 1;
    while (next < text.size && rune_is_space(text.at[next]))
        next++;
    if (next == at + 1 || next == text.size)
        return false;
    found->next = found->end = next;
    while (found->end < text.size && !rune_is_space(text.at[found->end]))
        found->end++;
    return true;
}

static bool is_ascii_space(uint32_t rune)
{
    return rune == ' ' || (rune >= 9 && rune <= 13);
}

/* Where the word before a mark begins. `before` is the last candidate's mark: a word that reaches back to it goes on from
 * that one's word. */
static size_t word_start(struct runes text, const struct candidate *before, size_t at)
{
    for (size_t i = at; i > before->at + 1; i--) {
        if (is_ascii_space(text.at[i - 1]))
            return i;
    }
    return before->word;
}

struct splitter {
    struct runes text;
    struct slice *slices;
    size_t count, last_break;
};

static void splitter_judge(struct splitter *splitter, const struct candidate *candidate)
{
    if (!holds_break(runes_part(splitter->text, candidate->word, candidate->end)))
        return;
    splitter->slices[splitter->count++] = (struct slice){splitter->last_break, candidate->at + 1};
    splitter->last_break = candidate->next != 0 ? candidate->next : candidate->at + 1;
}

static void splitter_run(struct splitter *splitter)
{
    struct runes text = splitter->text;
    struct candidate before = {0}, now;
    bool have = false;
    for (size_t at = 0; at < text.size; at++) {
        if (!candidate_at(text, at, &now))
            continue;
        now.word = word_start(text, &before, at);
        if (have && before.at <= now.word)
            splitter_judge(splitter, &before);
        before = now;
        have = true;
    }
    if (have)
        splitter_judge(splitter, &before);
    size_t end = text.size;
    while (end > 0 && rune_is_space(text.at[end - 1]))
        end--;
    splitter->slices[splitter->count++] = (struct slice){splitter->last_break, end};
}

static bool is_closing(uint32_t rune)
{
    return rune == '"' || rune == '\'' || rune == ')' || rune == ']' || rune == '}' ||
           (rune >= 0x80 && is_mark(rune));
}

/* Closing marks at the beginning of a sentence belong to the one before: their number with the white space behind. */
static size_t closing_size(struct runes sentence)
{
    size_t at = 0;
    while (at < sentence.size && is_closing(sentence.at[at])) {
        at++;
        size_t after = at;
        while (after < sentence.size && rune_is_space(sentence.at[after]))
            after++;
        if (after > at || after == sentence.size || runes_have(sentence, at, "--"))
            return after;
    }
    return 0;
}

bool sentences_count(struct arena *arena, struct runes text, size_t *count)
{
    struct splitter splitter = {.text = text};
    splitter.slices = arena_array(arena, text.size + 1, sizeof *splitter.slices);
    if (splitter.slices == NULL)
        return false;
    *count = 0;
    if (text.size == 0)
        return true;
    splitter_run(&splitter);
    size_t moved = 0;
    for (size_t i = 0; i < splitter.count; i++) {
        struct slice *slice = &splitter.slices[i];
        size_t from = slice->from + moved;
        moved = 0;
        bool last = i + 1 == splitter.count;
        if (!last) {
            struct slice next = splitter.slices[i + 1];
            moved = closing_size(runes_part(text, next.from, next.to));
        }
        *count += moved > 0 || from < slice->to; /* marks that moved make it more than empty */
    }
    return true;
}
