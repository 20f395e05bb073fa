#include "core/stage_lengths.h"

#include <inttypes.h>
#include <string.h>

static const char BLANK[] = " \t\r\n";

static enum status invalid(const char *text, const char *at, size_t size, const char *why)
{
    return FAIL(STATUS_INVALID, "stages.lengths, column %zu: \"%.*s\" %s; write it as \"%s\"",
                (size_t)(at - text) + 1, (int)(size < 32 ? size : 32), at, why,
                "40960, 49152, 81920");
}

/* Digits alone, no sign, at most 1e7 as sampling.response_tokens_max. */
static enum status read_tokens(const char *text, const char *at, size_t size, uint32_t *tokens)
{
    uint64_t value = 0;
    if (size == 0)
        return invalid(text, at, 0, "is no number of tokens");
    for (size_t i = 0; i < size; i++) {
        if (at[i] < '0' || at[i] > '9')
            return invalid(text, at, size, "is no number of tokens");
        value = value * 10 + (uint64_t)(at[i] - '0');
        if (value > 10000000)
            return invalid(text, at, size, "is above 10000000 tokens");
    }
    if (value == 0)
        return invalid(text, at, size, "is no length: a stage has at least 1 token");
    *tokens = (uint32_t)value;
    return STATUS_OK;
}

/* The words between commas. */
static enum status read_list(const char *text, struct stage_lengths *lengths)
{
    for (const char *at = text;;) {
        at += strspn(at, BLANK);
        size_t whole = strcspn(at, ","), size = whole;
        while (size > 0 && strchr(BLANK, at[size - 1]) != NULL)
            size--;
        uint32_t tokens = 0;
        TRY(read_tokens(text, at, size, &tokens));
        if (lengths->count == STAGE_LENGTHS_MAX)
            return invalid(text, at, size, "is one stage too many: 64 are the most");
        if (lengths->count > 0 && tokens <= lengths->tokens[lengths->count - 1])
            return invalid(text, at, size, "is not above the stage before it");
        lengths->tokens[lengths->count++] = tokens;
        if (at[whole] == '\0')
            return STATUS_OK;
        at += whole + 1;
    }
}

enum status stage_lengths_parse(const char *text, uint32_t last, struct stage_lengths *lengths)
{
    struct stage_lengths read = {0};
    if (text == NULL || text[strspn(text, BLANK)] == '\0') {
        *lengths = (struct stage_lengths){.count = 1, .tokens = {last}};
        return STATUS_OK;
    }
    TRY(read_list(text, &read));
    if (read.tokens[read.count - 1] != last)
        return FAIL(STATUS_INVALID,
                    "stages.lengths ends with %" PRIu32 " and sampling.response_tokens_max is "
                    "%" PRIu32 ", by which memory is planned: make them equal",
                    read.tokens[read.count - 1], last);
    *lengths = read;
    return STATUS_OK;
}
