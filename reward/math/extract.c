/* Where the answer is in a response, in this order: the last box; what follows the last "answer is" or "Answer:";
 * "#### N"; the last formula or number when the options allow it. Thinking is cut first. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "reward/math/math.h"

enum { BOXES_MAX = 16, JOIN_GAP_MAX = 48 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static struct answer_span from_to(const char *from, const char *to)
{
    return answer_trimmed((struct answer_span){from, to > from ? (size_t)(to - from) : 0});
}

/* Whether a percent sign or word comes next. */
static bool percent_follows(const char *at, const char *end)
{
    static const char *const words[] = {
        "\\%", "%", "percent", "pct", "\\text{percent", "\\text{ percent"};
    while (at < end && (is_space(*at) || strchr("$})]", *at) != NULL ||
                        (at + 1 < end && at[0] == '\\' && strchr(")]", at[1]) != NULL)))
        at += *at == '\\' ? 2 : 1;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(end - at) >= n && strncasecmp(at, words[i], n) == 0)
            return true;
    }
    return false;
}

/* ---- formulas ---- */

/* Before these places no formula of a kind ends: what keeps the search linear. */
struct formula_search {
    const char *none_before[4];
};

/* The formula that begins at `at`: its inside, and where it ends. NULL when none begins or ends. */
static const char *formula_at(struct formula_search *search, const char *at, const char *end,
                              struct answer_span *inside)
{
    static const struct {
        const char *open, *close;
        bool lines;
    } kinds[] = {
        {"$$", "$$", true}, {"\\[", "\\]", true}, {"\\(", "\\)", false}, {"$", "$", false}};
    for (size_t i = 0; i < 4; i++) {
        size_t n = strlen(kinds[i].open);
        if ((size_t)(end - at) < n || memcmp(at, kinds[i].open, n) != 0)
            continue;
        const char *to = at + n;
        if (search->none_before[i] != NULL && at < search->none_before[i])
            return NULL;
        for (; to + n <= end && (kinds[i].lines || *to != '\n'); to++) {
            if (memcmp(to, kinds[i].close, n) == 0) {
                *inside = from_to(at + n, to);
                return inside->size > 0 ? to + n : NULL;
            }
            if (*to == '\\' && to + 1 < end && to[1] != ']' && to[1] != ')')
                to++;
        }
        search->none_before[i] = to;
        return NULL;
    }
    return NULL;
}

/* Past a {...} group at `at`, NULL when there is none. */
static const char *group_end(const char *at, const char *end)
{
    enum { GROUP_MAX = 200 };
    size_t depth = 0;
    if (end - at > GROUP_MAX)
        end = at + GROUP_MAX;
    for (; at < end && (depth > 0 || *at == '{'); at++) {
        depth += *at == '{' ? 1u : 0u;
        if (*at == '}' && --depth == 0)
            return at + 1;
    }
    return NULL;
}

/* A fraction that stands in the text without dollar signs. */
static const char *bare_fraction(const char *at, const char *end, struct answer_span *inside)
{
    static const char *const names[] = {"\\frac", "\\dfrac", "\\tfrac"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(names[i]);
        if ((size_t)(end - at) <= n || memcmp(at, names[i], n) != 0)
            continue;
        const char *to = group_end(at + n, end);
        to = to != NULL ? group_end(to, end) : NULL;
        if (to != NULL)
            *inside = from_to(at, to);
        return to;
    }
    return NULL;
}

/* ", and", "or", ",": what may stand between parts of one answer. */
static bool is_joint(const char *from, const char *to)
{
    while (from < to) {
        if (is_space(*from) || *from == ',' || *from == '*')
            from++;
        else if (to - from >= 3 && memcmp(from, "and", 3) == 0)
            from += 3;
        else if (to - from >= 2 && memcmp(from, "or", 2) == 0)
            from += 2;
        else
            return false;
    }
    return true;
}

static struct answer_span joined(struct arena *arena, const struct answer_span *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size + 2;
    char *text = count > 1 ? arena_alloc(arena, size) : NULL;
    if (text == NULL)
        return parts[count - 1];
    size = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            memcpy(text + size, ", ", 2);
            size += 2;
        }
        memcpy(text + size, parts[i].at, parts[i].size);
        size += parts[i].size;
    }
    return (struct answer_span){text, size};
}

/* The last formula, with those before it that only "and", "or" or a comma parts from it. */
static bool last_formula(struct arena *arena, struct answer_span text, struct math_extract *extract,
                         const char **after)
{
    struct answer_span parts[BOXES_MAX];
    size_t count = 0;
    const char *end = text.at + text.size, *last = NULL;
    struct formula_search search = {.none_before = {NULL}};
    for (const char *at = text.at; at < end; at++) {
        struct answer_span inside;
        const char *to = NULL;
        if (*at == '\\' && at + 1 < end && at[1] == '$') {
            at++;
            continue;
        }
        if (*at == '$' || *at == '\\')
            to = formula_at(&search, at, end, &inside);
        if (to == NULL && *at == '\\' && (to = bare_fraction(at, end, &inside)) != NULL &&
            at > text.at && at[-1] == '-')
            inside = from_to(at - 1, to);
        if (to == NULL)
            continue;
        if (last == NULL || count == BOXES_MAX || !is_joint(last, at))
            count = 0;
        parts[count++] = inside;
        last = to;
        at = to - 1;
    }
    if (count == 0)
        return false;
    *extract =
        (struct math_extract){joined(arena, parts, count), false, percent_follows(last, end)};
    *after = last;
    return true;
}

/* ---- numbers ---- */

static bool starts_number(const char *at, const char *begin, const char *end)
{
    char before = at > begin ? at[-1] : ' ';
    if (!isdigit((unsigned char)*at) &&
        !(*at == '.' && at + 1 < end && isdigit((unsigned char)at[1])))
        return false;
    return !isalnum((unsigned char)before) && before != '.' && before != '_' && before != '^';
}

static const char *number_end(const char *at, const char *end)
{
    while (at < end) {
        bool digit = isdigit((unsigned char)*at) != 0;
        bool inner = strchr(".,/", *at) != NULL && at + 1 < end && isdigit((unsigned char)at[1]);
        bool group = *at == ' ' && at + 3 < end && isdigit((unsigned char)at[1]) &&
                     isdigit((unsigned char)at[2]) && isdigit((unsigned char)at[3]) &&
                     (at + 4 >= end || !isdigit((unsigned char)at[4]));
        if (!digit && !inner && !group)
            break;
        at++;
    }
    return at;
}

/* The last number as written, with its sign and a percent sign. */
static bool last_number(struct answer_span text, struct math_extract *extract, const char **after)
{
    const char *end = text.at + text.size;
    bool found = false;
    for (const char *at = text.at; at < end; at++) {
        if (!starts_number(at, text.at, end))
            continue;
        const char *to = number_end(at, end), *from = at;
        while (from > text.at && strchr("$(", from[-1]) != NULL)
            from--;
        bool negative = from > text.at && from[-1] == '-' &&
                        (from - 1 == text.at || !isalnum((unsigned char)from[-2]));
        *extract = (struct math_extract){
            {negative ? from - 1 : at, (size_t)(to - (negative ? from - 1 : at))},
            true,
            percent_follows(to, end)};
        found = true;
        *after = to;
        at = to - 1;
    }
    return found;
}

/* ---- boxes ---- */

static const char *after_box(struct answer_span inside, const char *end)
{
    const char *at = inside.at + inside.size;
    while (at < end && (is_space(*at) || *at == '}'))
        at++;
    return at;
}

/* Words between two boxes that make them parts of one answer. */
static bool boxes_belong(const char *from, const char *to)
{
    bool words = false, joint = false;
    if (to - from > JOIN_GAP_MAX)
        return false;
    for (const char *at = from; at < to; at++) {
        if (*at == ',' || (to - at >= 3 && memcmp(at, "and", 3) == 0))
            joint = true;
        words |= isalpha((unsigned char)*at) != 0;
        if (*at == '\n' && at + 1 < to && at[1] == '\n')
            return false;
    }
    return joint || !words;
}

static bool boxed(struct arena *arena, struct answer_span text, const struct math_options *options,
                  struct math_extract *extract)
{
    struct answer_span parts[BOXES_MAX], inside, rest = text;
    size_t count = 0;
    const char *end = text.at + text.size, *next = NULL;
    while (count < BOXES_MAX && answer_boxed(rest, &inside)) {
        if (count > 0 && !boxes_belong(after_box(inside, next), next))
            break;
        parts[BOXES_MAX - ++count] = inside;
        if (!options->join_boxes)
            break;
        const char *begin = inside.at;
        while (begin > text.at && *begin != '\\')
            begin--;
        next = begin;
        rest.size = (size_t)(begin - text.at);
    }
    if (count == 0)
        return false;
    struct answer_span *first = &parts[BOXES_MAX - count];
    const char *after = parts[BOXES_MAX - 1].at + parts[BOXES_MAX - 1].size;
    *extract =
        (struct math_extract){joined(arena, first, count), false, percent_follows(after, end)};
    return true;
}

/* ---- phrases ---- */

/* Past "answer is", "answer:", "**Answer**:" when the word answer stands at `at`. */
static const char *phrase_at(const char *at, const char *end)
{
    if ((size_t)(end - at) < 7 || strncasecmp(at, "answer", 6) != 0)
        return NULL;
    at += 6;
    while (at < end && (*at == ' ' || *at == '*' || *at == '_'))
        at++;
    if (at < end && *at == ':')
        at++;
    else if (end - at >= 3 && strncasecmp(at, "is", 2) == 0 && !isalpha((unsigned char)at[2]))
        at += at[2] == ':' ? 3 : 2;
    else
        return NULL;
    while (at < end && (*at == ' ' || *at == '*' || *at == ':'))
        at++;
    return at;
}

/* To the end of the line or sentence, "I hope" or "<|". */
static struct answer_span segment(const char *from, const char *end)
{
    while (from < end && is_space(*from))
        from++;
    const char *at = from;
    for (; at < end && *at != '\n'; at++) {
        if (end - at >= 6 && strncmp(at, "I hope", 6) == 0)
            break;
        if (end - at >= 2 && strncmp(at, "<|", 2) == 0)
            break;
        if (*at == '.' && end - at >= 3 && at[1] == ' ' && isupper((unsigned char)at[2]))
            break;
    }
    struct answer_span text = from_to(from, at);
    while (text.size > 0 && strchr(".*", text.at[text.size - 1]) != NULL)
        text.size--;
    return answer_trimmed(text);
}

/* What follows the last phrase that starts at `from` or later, NULL. */
static const char *last_phrase(const char *from, const char *end)
{
    const char *found = NULL;
    for (const char *at = from; at < end; at++) {
        const char *next = *at == 'a' || *at == 'A' ? phrase_at(at, end) : NULL;
        if (next != NULL)
            found = next;
    }
    return found;
}

static bool phrased(struct arena *arena, struct answer_span text, struct math_extract *extract)
{
    const char *end = text.at + text.size, *found = last_phrase(text.at, end), *after = NULL;
    if (found == NULL)
        return false;
    struct answer_span part = segment(found, end);
    if (part.size == 0)
        return false;
    if (last_formula(arena, part, extract, &after)) {
        struct math_extract number;
        struct answer_span rest = {after, (size_t)(part.at + part.size - after)};
        if (last_number(rest, &number, &after))
            *extract = number;
        return true;
    }
    *extract = (struct math_extract){part, true, false};
    return true;
}

/* gsm8k's "#### 72". */
static bool hashed(struct answer_span text, struct math_extract *extract)
{
    const char *end = text.at + text.size;
    for (const char *at = end - 4; at >= text.at; at--)
        if (memcmp(at, "####", 4) == 0) {
            *extract = (struct math_extract){segment(at + 4, end), true, false};
            return extract->text.size > 0;
        }
    return false;
}

/* ---- all ---- */

/* A response that is one short relation and nothing else. */
static bool is_bare_relation(struct answer_span text)
{
    enum { RELATION_MAX = 64 };
    size_t letters = 0;
    bool relation = false;
    for (size_t i = 0; i < text.size && text.size <= RELATION_MAX; i++) {
        letters = isalpha((unsigned char)text.at[i]) ? letters + 1 : 0;
        relation |= strchr("=<>", text.at[i]) != NULL;
        if (letters > 4 || strchr("$\n\\", text.at[i]) != NULL)
            return false;
    }
    return relation && text.size <= RELATION_MAX;
}

static bool last_of_text(struct arena *arena, struct answer_span text,
                         const struct math_options *options, struct math_extract *extract)
{
    struct math_extract formula, number;
    if (options->last_formula && options->last_number && is_bare_relation(answer_trimmed(text))) {
        *extract = (struct math_extract){answer_trimmed(text), true, false};
        return true;
    }
    const char *formula_end = NULL, *number_at = NULL;
    bool has_formula = options->last_formula && last_formula(arena, text, &formula, &formula_end);
    bool has_number = options->last_number && last_number(text, &number, &number_at);
    if (has_formula && (!has_number || formula_end >= number_at))
        *extract = formula;
    else if (has_number)
        *extract = number;
    return has_formula || has_number;
}

static bool extract_from(struct arena *arena, struct answer_span text,
                         const struct math_options *options, struct math_extract *extract)
{
    if (boxed(arena, text, options, extract)) {
        const char *after = extract->text.at + extract->text.size, *end = text.at + text.size;
        bool later = options->phrase_after_box && after > text.at && after < end &&
                     last_phrase(after, end) != NULL &&
                     memmem(after, (size_t)(end - after), "I hope", 6) != NULL;
        struct math_extract phrase;
        if (later && phrased(arena, (struct answer_span){after, (size_t)(end - after)}, &phrase))
            *extract = phrase;
        return extract->text.size > 0;
    }
    struct answer_span opened;
    if (memmem(text.at, text.size, "\\boxed{", 7) == NULL || !options->join_boxes) {
        if (phrased(arena, text, extract) || (text.size >= 4 && hashed(text, extract)))
            return true;
        return last_of_text(arena, text, options, extract);
    }
    opened.at =
        (const char *)memmem(text.at, text.size, "\\boxed{", 7) + 7; /* a box that never ends */
    opened.size = text.size - (size_t)(opened.at - text.at);
    *extract = (struct math_extract){answer_trimmed(opened), false, false};
    return extract->text.size > 0;
}

bool math_extract_answer(struct arena *arena, struct answer_span response,
                         const struct math_options *options, struct math_extract *extract)
{
    enum { ANSWER_MAX = 1000 };
    struct answer_span text;
    if (!answer_after_thinking(response.at, response.size, &text))
        return false;
    if (text.size > options->window) {
        text.at += text.size - options->window;
        text.size = options->window;
    }
    return extract_from(arena, text, options, extract) && extract->text.size <= ANSWER_MAX;
}

bool math_extract_number(struct answer_span text, struct math_extract *extract)
{
    const char *after = NULL;
    return last_number(text, extract, &after);
}

bool math_extract_gold(struct arena *arena, struct answer_span gold,
                       const struct math_options *options, struct math_extract *extract)
{
    const char *after = NULL;
    enum { GOLD_MAX = 1 << 16 };
    if (gold.size > GOLD_MAX) {
        gold.at += gold.size - GOLD_MAX;
        gold.size = GOLD_MAX;
    }
    gold = answer_trimmed(gold);
    *extract = (struct math_extract){gold, true, false};
    if (gold.size == 0)
        return false;
    bool has_box = memmem(gold.at, gold.size, "\\boxed", 6) != NULL;
    if (!has_box && memmem(gold.at, gold.size, "####", 4) != NULL)
        return hashed(gold, extract);
    if (gold.size > MATH_TEXT_MAX || has_box)
        return extract_from(arena, gold, options, extract) && extract->text.size > 0;
    if (options->last_formula && last_formula(arena, gold, extract, &after))
        return true;
    extract->plain =
        memchr(gold.at, '\\', gold.size) == NULL && memchr(gold.at, '$', gold.size) == NULL;
    return true;
}
