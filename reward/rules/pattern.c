#define PCRE2_CODE_UNIT_WIDTH 8
#include "reward/rules/pattern.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"

enum {
    PATTERN_SIZE_MAX = 4096,
    MATCH_LIMIT = 2000000,
    DEPTH_LIMIT = 10000,
    HEAP_LIMIT_KIB = 65536
};

static pcre2_code *compile(const char *pattern, size_t size, bool ignore_case, char *why,
                           size_t why_size)
{
    int error = 0;
    PCRE2_SIZE place = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL)
        return NULL;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | (ignore_case ? PCRE2_CASELESS : 0);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, size, options, &error, &place, context);
    pcre2_compile_context_free(context);
    if (code == NULL) {
        PCRE2_UCHAR text[120] = "";
        pcre2_get_error_message(error, text, sizeof text);
        snprintf(why, why_size, "\"%.60s\" is no pattern: %s at %zu", pattern, (const char *)text,
                 (size_t)place);
    }
    return code;
}

/* One code point on, after an empty match. */
static size_t step(const char *text, size_t size, size_t at)
{
    at++;
    while (at < size && ((unsigned char)text[at] & 0xC0) == 0x80)
        at++;
    return at;
}

static enum pattern_result count_matches(const pcre2_code *code, const char *text, size_t size,
                                         size_t most, size_t *count)
{
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    enum pattern_result result = context != NULL && data != NULL ? PATTERN_OK : PATTERN_NO_MEMORY;
    size_t at = 0;
    uint32_t options = 0, checked = 0;
    *count = 0;
    if (result == PATTERN_OK) {
        pcre2_set_match_limit(context, MATCH_LIMIT);
        pcre2_set_depth_limit(context, DEPTH_LIMIT);
        pcre2_set_heap_limit(context, HEAP_LIMIT_KIB);
    }
    while (result == PATTERN_OK && *count < most && at <= size) {
        int found = pcre2_match(code, (PCRE2_SPTR)text, size, at, options | checked, data, context);
        checked = PCRE2_NO_UTF_CHECK;
        if (found == PCRE2_ERROR_NOMATCH) {
            if (options == 0 || at >= size)
                break;
            options = 0; /* nothing more than the empty match here: go on behind */
            at = step(text, size, at);
        } else if (found < 0) {
            result = PATTERN_TOO_HARD;
        } else {
            const PCRE2_SIZE *place = pcre2_get_ovector_pointer(data);
            (*count)++;
            options = place[0] == place[1] ? PCRE2_NOTEMPTY_ATSTART : 0;
            at = place[1];
        }
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    return result;
}

enum pattern_result pattern_count(const char *head, const char *middle, const char *tail,
                                  bool ignore_case, const char *text, size_t size, size_t most,
                                  size_t *count, size_t *groups, char *why, size_t why_size)
{
    struct buffer pattern;
    buffer_init(&pattern, PATTERN_SIZE_MAX);
    if (buffer_printf(&pattern, "%s%s%s", head, middle, tail) != STATUS_OK) {
        buffer_free(&pattern);
        snprintf(why, why_size, "a pattern is longer than %d bytes", PATTERN_SIZE_MAX);
        return PATTERN_BAD;
    }
    pcre2_code *code =
        compile((const char *)pattern.bytes, pattern.size, ignore_case, why, why_size);
    buffer_free(&pattern);
    if (code == NULL)
        return PATTERN_BAD;
    uint32_t captures = 0;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &captures);
    *groups = captures;
    enum pattern_result result = count_matches(code, text, size, most, count);
    pcre2_code_free(code);
    return result;
}
