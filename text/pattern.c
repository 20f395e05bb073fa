/* text/pattern.c - Oniguruma's syntax into that of PCRE2, and the walk from match to match. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>
#include <string.h>

#include "core/buffer.h"
#include "text/pattern_unicode.h"
#include "text/scanner.h"

enum { GROUPS_MAX = 64 };

struct rewriting {
    const char *pattern, *at;
    struct buffer *out;
    size_t atom;               /* where the last thing that can be repeated begins in `out` */
    size_t groups[GROUPS_MAX]; /* where the open groups begin */
    size_t depth;
    int classes;     /* open brackets around `at` */
    bool class_open; /* right behind the opening of a class, where ] is a letter */
};

static enum status refuse(const struct rewriting *rewriting, const char *what)
{
    return FAIL(STATUS_UNSUPPORTED, "pattern %.400s: %s at byte %zu is not supported",
                rewriting->pattern, what, (size_t)(rewriting->at - rewriting->pattern));
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* \uHHHH; at stands on the u */
static enum status rewrite_code_point(struct rewriting *rewriting)
{
    for (int i = 1; i <= 4; i++)
        if (!is_hex(rewriting->at[i]))
            return refuse(rewriting, "\\u without four hexadecimal digits");
    TRY(buffer_text(rewriting->out, "\\x{"));
    TRY(buffer_append(rewriting->out, rewriting->at + 1, 4));
    rewriting->at += 5;
    return buffer_text(rewriting->out, "}");
}

/* \p{..} and \P{..} with the newer code points of the category; at stands on the p */
static enum status rewrite_property(struct rewriting *rewriting)
{
    const char *end = strchr(rewriting->at, '}');
    if (end == NULL)
        return refuse(rewriting, "an open brace");
    size_t size = (size_t)(end + 1 - rewriting->at);
    const char *newer = pattern_newer_points(rewriting->at + 2, size - 3);
    bool inside = rewriting->classes > 0, negated = rewriting->at[0] == 'P';
    bool wrap = newer[0] != '\0' && !inside;
    if (newer[0] != '\0' && inside && negated) /* no class has only some of its members negated */
        newer = "";
    TRY(buffer_text(rewriting->out, !wrap ? "\\" : negated ? "[^\\" : "[\\"));
    TRY(buffer_text(rewriting->out, wrap || !negated ? "p" : "P"));
    TRY(buffer_append(rewriting->out, rewriting->at + 1, size - 1));
    TRY(buffer_text(rewriting->out, newer));
    rewriting->at += size;
    return wrap ? buffer_text(rewriting->out, "]") : STATUS_OK;
}

/* at stands behind the backslash */
static enum status rewrite_escape(struct rewriting *rewriting)
{
    static const struct {
        char letter;
        bool
            negated; /* inside a class this needs the other form, which PCRE2 has only for properties */
        const char *text;
    } rows[] = {
        {'s', false, "\\p{wspace}"},
        {'S', false, "\\P{wspace}"},
        {'h', false, "[0-9a-fA-F]"},
        {'H', true, "[^0-9a-fA-F]"},
        /* Alphabetic | M | Nd | Pc; of Other_Alphabetic only the circled letters are no marks */
        {'w', false,
         "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{"
         "1f169}\\x{1f170}-\\x{1f189}]"},
        {'W', true,
         "[^\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-"
         "\\x{1f169}\\x{1f170}-\\x{1f189}]"},
        {'v', false, "\\x{0b}"},
    };
    char c = *rewriting->at;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].letter != c)
            continue;
        if (rewriting->classes > 0 && rows[i].negated)
            return refuse(rewriting, "\\H or \\W inside a class");
        const char *text = rows[i].text;
        size_t size = strlen(text);
        bool inside = rewriting->classes > 0 && text[0] == '[';
        rewriting->at++;
        return buffer_append(rewriting->out, text + inside, size - 2 * inside);
    }
    if (c == 'u')
        return rewrite_code_point(rewriting);
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter && strchr("dDrntfaepPxAzZ", c) == NULL)
        return refuse(rewriting, "this escape");
    if ((c == 'p' || c == 'P') && rewriting->at[1] == '{')
        return rewrite_property(rewriting);
    /* a code point goes with its braces */
    const char *end =
        c == 'x' && rewriting->at[1] == '{' ? strchr(rewriting->at, '}') : rewriting->at;
    if (end == NULL)
        return refuse(rewriting, "an open brace");
    size_t size = (size_t)(end + 1 - rewriting->at);
    TRY(buffer_text(rewriting->out, "\\"));
    TRY(buffer_append(rewriting->out, rewriting->at, size));
    rewriting->at += size;
    return STATUS_OK;
}

/* at stands on a character of a class */
static enum status rewrite_class(struct rewriting *rewriting)
{
    char c = *rewriting->at;
    bool first = rewriting->class_open;
    rewriting->class_open = false;
    if (c == '&' && rewriting->at[1] == '&')
        return refuse(rewriting, "an intersection of classes (&&)");
    if (c == '[' && rewriting->at[1] == ':')
        return refuse(rewriting, "a POSIX class");
    bool inner = c == '[' || (c == ']' && rewriting->classes > 1);
    if (inner && (rewriting->at[1] == '-' || rewriting->at[-1] == '-'))
        return refuse(rewriting, "- beside a bracket inside a class");
    if (c == '[') { /* the union: the inner brackets go */
        if (rewriting->at[1] == '^' || rewriting->at[1] == ']')
            return refuse(rewriting, "this class inside a class");
        rewriting->classes++;
        rewriting->at++;
        return STATUS_OK;
    }
    if (c == ']' && !first) {
        rewriting->at++;
        return --rewriting->classes == 0 ? buffer_text(rewriting->out, "]") : STATUS_OK;
    }
    rewriting->at++;
    return buffer_append(rewriting->out, &c, 1);
}

static enum status rewrite_group(struct rewriting *rewriting)
{
    const char *at = rewriting->at + 2; /* behind "(?" */
    const char *end = at + strspn(at, "imx-");
    bool flags = (*end == ':' || *end == ')') && end > at;
    if (flags && strcspn(at, "mx") < (size_t)(end - at))
        return refuse(rewriting, "the option m or x");
    if (flags && *end == ')' && rewriting->at != rewriting->pattern)
        return refuse(rewriting, "an option amid the pattern"); /* it reaches over | elsewhere */
    if (!flags && strchr(":=!><", *at) == NULL)
        return refuse(rewriting, "this kind of group");
    TRY(buffer_text(rewriting->out, "(?"));
    rewriting->at += 2;
    return STATUS_OK;
}

/* X{n,m}+ is (?:X{n,m})+ here; in PCRE2 it would be possessive. */
static enum status rewrite_repeat(struct rewriting *rewriting)
{
    static const char open[] = "(?:";
    struct buffer *out = rewriting->out;
    size_t size = sizeof open - 1, tail = out->size - rewriting->atom;
    TRY(buffer_append(out, open, size));
    memmove(out->bytes + rewriting->atom + size, out->bytes + rewriting->atom, tail);
    memcpy(out->bytes + rewriting->atom, open, size);
    rewriting->at++;
    return buffer_text(out, ")+");
}

/* {n}, {n,}, {,m} or {n,m} with what follows; anything else is text. */
static enum status rewrite_interval(struct rewriting *rewriting)
{
    const char *at = rewriting->at + 1;
    at += strspn(at, "0123456789");
    bool one = *at == '}' && at > rewriting->at + 1;
    if (*at == ',') {
        const char *digits = ++at;
        at += strspn(at, "0123456789");
        if (digits == rewriting->at + 2) /* PCRE2 10.42 reads {,m} as text */
            return refuse(rewriting, "an interval without a lower end");
    } else if (!one) {
        return refuse(rewriting, "{");
    }
    if (*at != '}')
        return refuse(rewriting, "{");
    at++;
    if (one && *at == '?')
        return refuse(rewriting, "{n}?");
    TRY(buffer_append(rewriting->out, rewriting->at, (size_t)(at - rewriting->at)));
    rewriting->at = at;
    return *at == '+' ? rewrite_repeat(rewriting) : STATUS_OK;
}

/* ( and ): what is between them can be repeated. */
static enum status rewrite_bracket(struct rewriting *rewriting)
{
    char c = *rewriting->at;
    if (c == ')') {
        rewriting->atom = rewriting->depth > 0 ? rewriting->groups[--rewriting->depth] : 0;
    } else {
        if (rewriting->depth == GROUPS_MAX)
            return refuse(rewriting, "a group inside so many");
        rewriting->groups[rewriting->depth++] = rewriting->out->size;
        if (rewriting->at[1] == '?')
            return rewrite_group(rewriting);
    }
    rewriting->at++;
    return buffer_append(rewriting->out, &c, 1);
}

static enum status rewrite_class_start(struct rewriting *rewriting)
{
    size_t size = rewriting->at[1] == '^' ? 2 : 1;
    rewriting->atom = rewriting->out->size;
    rewriting->classes = 1;
    rewriting->class_open = true;
    rewriting->at += size;
    return buffer_append(rewriting->out, rewriting->at - size, size);
}

static enum status rewrite(const char *pattern, struct buffer *out)
{
    struct rewriting rewriting = {.pattern = pattern, .at = pattern, .out = out};
    while (*rewriting.at != '\0') {
        char c = *rewriting.at;
        if (c == '\\' && rewriting.at[1] != '\0') {
            rewriting.at++;
            if (rewriting.classes == 0)
                rewriting.atom = out->size;
            rewriting.class_open = false;
            TRY(rewrite_escape(&rewriting));
        } else if (rewriting.classes > 0) {
            TRY(rewrite_class(&rewriting));
        } else if (c == '[') {
            TRY(rewrite_class_start(&rewriting));
        } else if (c == '(' || c == ')') {
            TRY(rewrite_bracket(&rewriting));
        } else if (c == '{') {
            TRY(rewrite_interval(&rewriting));
        } else {
            if (((uint8_t)c & 0xc0) != 0x80)
                rewriting.atom = out->size;
            TRY(buffer_append(out, &c, 1));
            rewriting.at++;
        }
    }
    return STATUS_OK;
}

/* ---- compile ---- */

static enum status compile(struct pattern *pattern, const char *text)
{
    struct buffer out;
    buffer_init(&out, 1u << 20);
    enum status status = rewrite(text, &out);
    if (status == STATUS_OK) {
        int error = 0;
        PCRE2_SIZE place = 0;
        pcre2_code *code =
            pcre2_compile((PCRE2_SPTR)buffer_string(&out), out.size,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &place, NULL);
        if (code == NULL) {
            PCRE2_UCHAR why[128] = "";
            (void)pcre2_get_error_message(error, why, sizeof why);
            status = FAIL(STATUS_UNSUPPORTED, "pattern %.400s: %s at byte %zu of %.400s", text,
                          (const char *)why, (size_t)place, buffer_string(&out));
        }
        pattern->code = code;
    }
    buffer_free(&out);
    return status;
}

enum status pattern_compile(struct pattern *pattern, const char *text, bool literal)
{
    memset(pattern, 0, sizeof *pattern);
    size_t size = strlen(text);
    if (size == 0)
        return FAIL(STATUS_UNSUPPORTED, "an empty pattern is not supported");
    if (literal) {
        if (size > PATTERN_LITERAL_MAX)
            return FAIL(STATUS_UNSUPPORTED, "a pattern of %zu bytes of text; at most %d", size,
                        PATTERN_LITERAL_MAX);
        memcpy(pattern->literal, text, size);
        pattern->literal_size = size;
        return STATUS_OK;
    }
    TRY(compile(pattern, text));
    /* without it: slower, the same */
    pattern->jit = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
    pattern->match = pcre2_match_data_create_from_pattern(pattern->code, NULL);
    if (pattern->match == NULL) {
        pattern_free(pattern);
        return FAIL(STATUS_NO_MEMORY, "match data");
    }
    pattern->scan = scanner_of(text);
    return STATUS_OK;
}

void pattern_free(struct pattern *pattern)
{
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    memset(pattern, 0, sizeof *pattern);
}

/* ---- match ---- */

static bool find_literal(const struct pattern *pattern, const uint8_t *text, size_t size,
                         size_t from, size_t range[2])
{
    const uint8_t *at =
        from + pattern->literal_size > size
            ? NULL
            : memmem(text + from, size - from, pattern->literal, pattern->literal_size);
    if (at == NULL)
        return false;
    range[0] = (size_t)(at - text);
    range[1] = range[0] + pattern->literal_size;
    return true;
}

/* The first match at or behind `from`. */
static enum status find(const struct pattern *pattern, const uint8_t *text, size_t size,
                        size_t from, size_t range[2], bool *found)
{
    const uint32_t checked = PCRE2_NO_UTF_CHECK;
    if (pattern->code == NULL) {
        *found = find_literal(pattern, text, size, from, range);
        return STATUS_OK;
    }
    int result = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pattern->jit)
        result = pcre2_jit_match(pattern->code, text, size, from, 0, pattern->match, NULL);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = pcre2_match(pattern->code, text, size, from, checked | PCRE2_NO_JIT,
                             pattern->match, NULL);
    *found = result >= 0;
    if (result < 0 && result != PCRE2_ERROR_NOMATCH)
        return FAIL(STATUS_LIMIT, "pre-tokenizer gives up on %zu bytes of text (PCRE2 error %d)",
                    size, result);
    if (*found) {
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(pattern->match);
        range[0] = places[0];
        range[1] = places[1];
    }
    return STATUS_OK;
}

static size_t character_size(uint8_t first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

enum status pattern_next(const struct pattern *pattern, struct pattern_search *search,
                         const uint8_t *text, size_t size, size_t range[2], bool *found)
{
    *found = false;
    if (pattern->scan != NULL && search->from < size) {
        size_t length = pattern->scan(text + search->from, size - search->from);
        if (length > 0) {
            range[0] = search->from;
            range[1] = search->from = search->last_end = search->from + length;
            *found = search->matched = true;
            return STATUS_OK;
        }
    }
    while (search->from <= size) {
        TRY(find(pattern, text, size, search->from, range, found));
        if (!*found)
            return STATUS_OK;
        if (range[0] < range[1] || !search->matched || search->last_end != range[1]) {
            search->from = search->last_end = range[1];
            search->matched = true;
            return STATUS_OK;
        }
        /* an empty match right behind the last one: on from the next character */
        *found = false;
        search->from += search->from < size ? character_size(text[search->from]) : 1;
    }
    return STATUS_OK;
}
