/* weir tokenize: text to ids and back with a model's tokenizer, and the comparison with rows of another program. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"
#include "ops/tokenize_check.h"
#include "text/tokenizer.h"

enum { TEXT_BYTES_MAX = 1 << 28 };

struct options {
    const char *folder, *file, *check;
    bool decode, special, json;
};

static int parse_options(int argc, char **argv, struct options *options)
{
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--check") == 0 && i + 1 < argc)
            options->check = argv[++i];
        else if (strcmp(word, "--decode") == 0)
            options->decode = true;
        else if (strcmp(word, "--special") == 0)
            options->special = true;
        else if (strcmp(word, "--json") == 0)
            options->json = true;
        else if (word[0] == '-' && word[1] != '\0')
            return command_usage("tokenize", "no option \"%s\"", word);
        else if (options->folder == NULL)
            options->folder = word;
        else if (options->file == NULL && strcmp(word, "-") != 0)
            options->file = word;
    }
    if (options->folder == NULL)
        return command_usage("tokenize", "name a model folder");
    if (options->check != NULL && (options->decode || options->json || options->file != NULL))
        return command_usage("tokenize", "--check takes no other input or form");
    return EXIT_CODE_OK;
}

static enum status read_input(const struct options *options, struct buffer *text)
{
    if (options->file != NULL)
        return file_read(options->file, text);
    char bytes[65536];
    size_t size;
    while ((size = fread(bytes, 1, sizeof bytes, stdin)) > 0)
        TRY(buffer_append(text, bytes, size));
    return ferror(stdin) ? FAIL(STATUS_IO, "cannot read standard input") : STATUS_OK;
}

static enum status print_ids(const struct options *options, struct tokenizer *tokenizer,
                             const struct buffer *text)
{
    struct arena *arena = NULL;
    uint32_t *ids = NULL;
    size_t count = 0;
    TRY(arena_create(&arena, (size_t)8 * TEXT_BYTES_MAX));
    enum status status = options->special
                             ? tokenizer_encode_special(tokenizer, (const char *)text->bytes,
                                                        text->size, arena, &ids, &count)
                             : tokenizer_encode(tokenizer, (const char *)text->bytes, text->size,
                                                arena, &ids, &count);
    if (status == STATUS_OK) {
        const char *between = options->json ? "," : " ";
        fputs(options->json ? "[" : "", stdout);
        for (size_t i = 0; i < count; i++)
            printf("%s%u", i == 0 ? "" : between, ids[i]);
        fputs(options->json ? "]\n" : "\n", stdout);
    }
    arena_destroy(&arena);
    return status;
}

/* Ids between anything that is no digit: "1 2", "[1, 2]", one a line. */
static enum status parse_ids(const struct buffer *text, struct arena *arena, uint32_t **ids,
                             size_t *count)
{
    *ids = arena_array(arena, text->size / 2 + 1, sizeof **ids);
    if (*ids == NULL)
        return FAIL(STATUS_LIMIT, "%zu bytes of ids", text->size);
    for (size_t at = 0; at < text->size;) {
        uint64_t id = 0;
        size_t digits = 0;
        for (; at < text->size && text->bytes[at] >= '0' && text->bytes[at] <= '9'; at++, digits++)
            id = id > UINT32_MAX ? id : 10 * id + (uint64_t)(text->bytes[at] - '0');
        if (id > UINT32_MAX)
            return FAIL(STATUS_INVALID, "id %zu is beyond 32 bits", *count);
        if (digits > 0)
            (*ids)[(*count)++] = (uint32_t)id;
        else if (strchr(" \t\r\n,[]", text->bytes[at++]) == NULL)
            return FAIL(STATUS_INVALID, "byte %zu of the ids is no digit, blank or comma", at - 1);
    }
    return STATUS_OK;
}

static enum status print_text(const struct options *options, const struct tokenizer *tokenizer,
                              const struct buffer *text)
{
    struct arena *arena = NULL;
    struct buffer decoded, valid;
    uint32_t *ids = NULL;
    size_t count = 0;
    buffer_init(&decoded, 0);
    buffer_init(&valid, 0);
    TRY(arena_create(&arena, (size_t)4 * TEXT_BYTES_MAX));
    enum status status = parse_ids(text, arena, &ids, &count);
    if (status == STATUS_OK)
        status = tokenizer_decode(tokenizer, ids, count, !options->special, &decoded);
    if (status == STATUS_OK)
        status = text_append_utf8(&valid, decoded.bytes, decoded.size);
    if (status == STATUS_OK && options->json) {
        decoded.size = 0;
        status = buffer_json_text(&decoded, buffer_string(&valid));
        if (status == STATUS_OK)
            puts(buffer_string(&decoded));
    } else if (status == STATUS_OK) {
        (void)fwrite(valid.bytes, 1, valid.size, stdout);
    }
    buffer_free(&decoded);
    buffer_free(&valid);
    arena_destroy(&arena);
    return status;
}

static enum status run(const struct options *options, bool *equal)
{
    struct tokenizer *tokenizer = NULL;
    struct buffer text;
    buffer_init(&text, TEXT_BYTES_MAX);
    enum status status = tokenizer_open(&tokenizer, options->folder, TOKENIZER_JSON);
    if (status == STATUS_OK && options->check != NULL) {
        status =
            tokenize_check(tokenizer, options->folder, options->check, options->special, equal);
    } else if (status == STATUS_OK) {
        status = read_input(options, &text);
        if (status == STATUS_OK)
            status = options->decode ? print_text(options, tokenizer, &text)
                                     : print_ids(options, tokenizer, &text);
    }
    buffer_free(&text);
    tokenizer_close(&tokenizer);
    return status;
}

int cmd_tokenize(int argc, char **argv)
{
    struct options options = {0};
    bool equal = true;
    int code = parse_options(argc, argv, &options);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = run(&options, &equal);
    if (status != STATUS_OK)
        return command_failed("tokenize", status);
    return equal ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}
