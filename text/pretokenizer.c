/* text/pretokenizer.c - PCRE2 behind the splits of pretokenizer.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenizer.h"

#include <pcre2.h>
#include <string.h>

#include "core/buffer.h"

/* \s and \S by the White_Space property: PCRE2's own \s has U+180E as well. */
static enum status translate(const char *pattern, struct buffer *out)
{
    for (const char *at = pattern; *at != '\0'; at++) {
        if (at[0] != '\\' || at[1] == '\0') {
            TRY(buffer_append(out, at, 1));
            continue;
        }
        at++;
        if (*at == 's' || *at == 'S')
            TRY(buffer_text(out, *at == 's' ? "\\p{wspace}" : "\\P{wspace}"));
        else
            TRY(buffer_append(out, at - 1, 2));
    }
    return STATUS_OK;
}

static enum status compile(struct split *split, const char *pattern, bool literal)
{
    struct buffer text;
    buffer_init(&text, 1u << 20);
    enum status status = literal ? buffer_text(&text, pattern) : translate(pattern, &text);
    if (status == STATUS_OK) {
        int error = 0;
        PCRE2_SIZE place = 0;
        uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP);
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)buffer_string(&text), text.size, options,
                                         &error, &place, NULL);
        if (code == NULL) {
            PCRE2_UCHAR why[128] = "";
            (void)pcre2_get_error_message(error, why, sizeof why);
            status = FAIL(STATUS_UNSUPPORTED, "pattern %.400s: %s at character %zu", pattern,
                          (const char *)why, (size_t)place);
        }
        split->code = code;
    }
    buffer_free(&text);
    return status;
}

enum status pretokenizer_add(struct pretokenizer *pretokenizer, const char *pattern, bool literal,
                             bool removed, bool invert)
{
    if (pretokenizer->count == SPLITS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "more than %d splits", SPLITS_MAX);
    struct split split = {.removed = removed, .invert = invert};
    TRY(compile(&split, pattern, literal));
    (void)pcre2_jit_compile(split.code, PCRE2_JIT_COMPLETE); /* without it: slower, the same */
    split.match = pcre2_match_data_create_from_pattern(split.code, NULL);
    if (split.match == NULL) {
        pcre2_code_free(split.code);
        return FAIL(STATUS_NO_MEMORY, "match data");
    }
    pretokenizer->splits[pretokenizer->count++] = split;
    return STATUS_OK;
}

void pretokenizer_destroy(struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        pcre2_match_data_free(pretokenizer->splits[i].match);
        pcre2_code_free(pretokenizer->splits[i].code);
    }
    memset(pretokenizer, 0, sizeof *pretokenizer);
}

struct run {
    const struct pretokenizer *pretokenizer;
    enum status (*piece)(void *context, const uint8_t *bytes, size_t size);
    void *context;
};

/* Next match at or behind `from`; found = false when there is none. */
static enum status find(const struct split *split, const uint8_t *text, size_t size, size_t from,
                        size_t range[2], bool *found)
{
    const uint32_t checked = PCRE2_NO_UTF_CHECK;
    int result = pcre2_match(split->code, text, size, from, checked, split->match, NULL);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result =
            pcre2_match(split->code, text, size, from, checked | PCRE2_NO_JIT, split->match, NULL);
    *found = result >= 0;
    if (result < 0 && result != PCRE2_ERROR_NOMATCH)
        return FAIL(STATUS_LIMIT, "pre-tokenizer gives up on %zu bytes of text (PCRE2 error %d)",
                    size, result);
    if (*found) {
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(split->match);
        range[0] = places[0];
        range[1] = places[1];
    }
    return STATUS_OK;
}

static size_t character_size(uint8_t first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static enum status run_split(const struct run *run, size_t depth, const uint8_t *text, size_t size)
{
    if (size == 0)
        return STATUS_OK;
    if (depth == run->pretokenizer->count)
        return run->piece(run->context, text, size);
    const struct split *split = &run->pretokenizer->splits[depth];
    bool keep_match = !split->removed || split->invert;
    bool keep_gap = !split->removed || !split->invert;
    size_t done = 0, from = 0;
    while (from < size) {
        size_t range[2];
        bool found = false;
        TRY(find(split, text, size, from, range, &found));
        if (!found)
            break;
        if (range[1] == range[0]) { /* an empty match cuts nothing */
            from = range[0] < size ? range[0] + character_size(text[range[0]]) : size;
            continue;
        }
        if (keep_gap)
            TRY(run_split(run, depth + 1, text + done, range[0] - done));
        if (keep_match)
            TRY(run_split(run, depth + 1, text + range[0], range[1] - range[0]));
        done = from = range[1];
    }
    return keep_gap ? run_split(run, depth + 1, text + done, size - done) : STATUS_OK;
}

enum status pretokenizer_run(const struct pretokenizer *pretokenizer, const uint8_t *text,
                             size_t size,
                             enum status (*piece)(void *context, const uint8_t *bytes, size_t size),
                             void *context)
{
    const struct run run = {pretokenizer, piece, context};
    return run_split(&run, 0, text, size);
}
