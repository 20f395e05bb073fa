/* links: text */
/* The scanners of well-known patterns against PCRE2 on the same text: every match must be the same. The text is the input
 * made valid; a second use takes bytes as indices of parts that matter to these patterns, so that few bytes reach far.
 * The rest of the input is a pattern for the rewriting from Oniguruma's syntax. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "text/pattern.h"
#include "text/scanner.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { PATTERNS_MAX = 16, TEXT_MAX = 1024 };

static struct pattern fast[PATTERNS_MAX], plain[PATTERNS_MAX];
static size_t count;

static void compile_all(void)
{
    for (; count < PATTERNS_MAX && scanner_pattern(count) != NULL; count++) {
        CHECK(pattern_compile(&fast[count], scanner_pattern(count), false) == STATUS_OK);
        CHECK(fast[count].scan != NULL);
        plain[count] = fast[count];
        plain[count].scan = NULL;
    }
}

static void compare(const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        struct pattern_search one = {0}, two = {0};
        bool found = true, wanted = true;
        while (wanted) {
            size_t a[2] = {0}, b[2] = {0};
            CHECK(pattern_next(&fast[i], &one, text, size, a, &found) == STATUS_OK);
            CHECK(pattern_next(&plain[i], &two, text, size, b, &wanted) == STATUS_OK);
            CHECK(found == wanted && a[0] == b[0] && a[1] == b[1]);
        }
    }
}

static void compare_parts(const uint8_t *bytes, size_t size)
{
    static const char *const parts[] = {"a",
                                        "Z",
                                        "s",
                                        "l",
                                        "r",
                                        "e",
                                        "'",
                                        "'S",
                                        "1",
                                        "0",
                                        " ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        "\v",
                                        "!",
                                        "_",
                                        "/",
                                        "\x7f",
                                        "\x1c",
                                        "\xc3\xa9",
                                        "\xc2\xa0",
                                        "\xc5\xbf",
                                        "\xc2\xb2",
                                        "\xe3\x80\x80",
                                        "\xcc\x81",
                                        "\xf0\x9f\x98\x80",
                                        "\xc2\x85",
                                        "\xe2\x84\xaa",
                                        "\xd9\xa3"};
    struct buffer text;
    buffer_init(&text, 0);
    for (size_t i = 0; i < size; i++)
        CHECK(buffer_text(&text, parts[bytes[i] % (sizeof parts / sizeof parts[0])]) == STATUS_OK);
    compare((const uint8_t *)buffer_string(&text), text.size);
    buffer_free(&text);
}

/* A pattern of the input is refused with a sentence, or its walk through the text ends. */
static void try_pattern(const uint8_t *bytes, size_t size, const uint8_t *text, size_t text_size)
{
    struct pattern pattern;
    struct buffer source;
    text_size = text_size < 256 ? text_size : 256;
    while (text_size > 0 && (text[text_size] & 0xc0) == 0x80) /* a NUL stands behind the text */
        text_size--;
    buffer_init(&source, 0);
    CHECK(text_append_utf8(&source, bytes, size < 64 ? size : 64) == STATUS_OK);
    if (pattern_compile(&pattern, buffer_string(&source), false) == STATUS_OK) {
        struct pattern_search search = {0};
        bool found = true;
        size_t range[2], matches = 0;
        while (pattern_next(&pattern, &search, text, text_size, range, &found) == STATUS_OK &&
               found)
            CHECK(range[0] <= range[1] && range[1] <= text_size && ++matches <= 2 * 256 + 2);
        pattern_free(&pattern);
    } else {
        CHECK(status_last_error()[0] != '\0');
    }
    buffer_free(&source);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (count == 0)
        compile_all();
    int64_t blocks = memory_blocks_live();
    struct buffer text;
    buffer_init(&text, 0);
    size = size < TEXT_MAX ? size : TEXT_MAX;
    CHECK(text_append_utf8(&text, bytes, size) == STATUS_OK);
    const uint8_t *valid = (const uint8_t *)buffer_string(&text);
    compare(valid, text.size);
    compare_parts(bytes, size);
    if (size > 1)
        try_pattern(bytes + size / 2, size - size / 2, valid, text.size / 2);
    buffer_free(&text);
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
