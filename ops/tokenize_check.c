#include "ops/tokenize_check.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/jsonl.h"
#include "text/chat_template.h"

enum { AROUND_BYTES = 48, AROUND_IDS = 6 };
static const size_t arena_max = (size_t)1 << 31;

enum part { PART_ENCODE, PART_DECODE, PART_CHAT, PART_COUNT };
static const char *const part_names[] = {"encode", "decode", "chat"};

struct check {
    struct tokenizer *tokenizer;
    const char *folder;
    struct chat_template *template; /* NULL: not opened yet */
    bool special;
    struct arena *arena;
    struct buffer text, valid;
    uint64_t rows, compared[PART_COUNT], different[PART_COUNT];
    const struct jsonl *file;
    bool printed; /* the first difference */
};

/* ---- printing ---- */

static void print_quoted(const char *text, size_t size)
{
    json_t *string = json_stringn(text, size);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    fputs(quoted ? quoted : "(no UTF-8)", stdout);
    free(quoted); /* lint: allow(free): jansson's buffer */
    json_decref(string);
}

/* What stands around byte `at`, in whole characters. */
static void print_around(const char *name, const char *text, size_t size, size_t at)
{
    size_t begin = at > AROUND_BYTES ? at - AROUND_BYTES : 0;
    size_t end = size - at > AROUND_BYTES ? at + AROUND_BYTES : size;
    while (begin > 0 && ((uint8_t)text[begin] & 0xc0) == 0x80)
        begin--;
    while (end < size && ((uint8_t)text[end] & 0xc0) == 0x80)
        end++;
    printf("  %-6s %s", name, begin > 0 ? "..." : "");
    print_quoted(text + begin, end - begin);
    printf("%s\n", end < size ? "..." : "");
}

/* true: this one is to be printed */
static bool count_difference(struct check *check, enum part part)
{
    check->different[part]++;
    if (check->printed)
        return false;
    check->printed = true;
    printf("%s:%" PRIu64 ": %s differs", check->file->path, check->file->number, part_names[part]);
    return true;
}

static void different_text(struct check *check, enum part part, const char *wanted,
                           size_t wanted_size, const char *got, size_t got_size)
{
    size_t at = 0;
    if (!count_difference(check, part))
        return;
    while (at < wanted_size && at < got_size && wanted[at] == got[at])
        at++;
    printf(" at byte %zu\n", at);
    print_around("wanted", wanted, wanted_size, at);
    print_around("got", got, got_size, at);
}

static void print_ids(const char *name, const struct check *check, const uint32_t *ids,
                      size_t count, size_t at)
{
    size_t begin = at > AROUND_IDS ? at - AROUND_IDS : 0;
    size_t end = count - at > AROUND_IDS ? at + AROUND_IDS : count;
    struct buffer text, valid;
    buffer_init(&text, 0);
    buffer_init(&valid, 0);
    printf("  %-6s %s", name, begin > 0 ? "... " : "");
    for (size_t i = begin; i < end; i++)
        printf("%s%u", i == begin ? "" : " ", ids[i]);
    fputs(end < count ? " ... = " : " = ", stdout);
    if (tokenizer_decode(check->tokenizer, ids + begin, end - begin, false, &text) == STATUS_OK &&
        text_append_utf8(&valid, text.bytes, text.size) == STATUS_OK)
        print_quoted(buffer_string(&valid), valid.size);
    putchar('\n');
    buffer_free(&text);
    buffer_free(&valid);
}

static void different_ids(struct check *check, const json_t *text, const uint32_t *wanted,
                          size_t wanted_count, const uint32_t *got, size_t got_count)
{
    size_t at = 0;
    if (!count_difference(check, PART_ENCODE))
        return;
    while (at < wanted_count && at < got_count && wanted[at] == got[at])
        at++;
    printf(" at id %zu (%zu ids wanted, %zu got)\n", at, wanted_count, got_count);
    print_ids("wanted", check, wanted, wanted_count, at);
    print_ids("got", check, got, got_count, at);
    /* the place in the text, when the ids before it give the text before it */
    size_t place = 0;
    check->text.size = 0;
    if (tokenizer_decode(check->tokenizer, wanted, at, false, &check->text) == STATUS_OK)
        place = check->text.size;
    size_t size = json_string_length(text);
    print_around("text", json_string_value(text), size, place < size ? place : size);
}

/* ---- one row ---- */

static enum status read_ids(struct check *check, const json_t *list, uint32_t **ids, size_t *count)
{
    *count = json_array_size(list);
    *ids = arena_array(check->arena, *count + 1, sizeof **ids);
    if (*ids == NULL)
        return FAIL(STATUS_LIMIT, "%s:%" PRIu64 ": %zu ids", check->file->path, check->file->number,
                    *count);
    for (size_t i = 0; i < *count; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || id > UINT32_MAX)
            return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": ids[%zu] is no id", check->file->path,
                        check->file->number, i);
        (*ids)[i] = (uint32_t)id;
    }
    return STATUS_OK;
}

static enum status check_encode(struct check *check, const json_t *text, const uint32_t *wanted,
                                size_t wanted_count)
{
    const char *bytes = json_string_value(text);
    size_t size = json_string_length(text), count = 0;
    uint32_t *ids = NULL;
    check->compared[PART_ENCODE]++;
    TRY(check->special
            ? tokenizer_encode_special(check->tokenizer, bytes, size, check->arena, &ids, &count)
            : tokenizer_encode(check->tokenizer, bytes, size, check->arena, &ids, &count));
    if (count != wanted_count || (count > 0 && memcmp(ids, wanted, count * sizeof *ids) != 0))
        different_ids(check, text, wanted, wanted_count, ids, count);
    return STATUS_OK;
}

static enum status check_decode(struct check *check, const json_t *row, const uint32_t *ids,
                                size_t count)
{
    const json_t *wanted = json_object_get(row, "decoded");
    const char *text = json_string_value(wanted);
    size_t size = json_string_length(wanted);
    bool skip = json_is_true(json_object_get(row, "skip_special_tokens"));
    check->compared[PART_DECODE]++;
    check->text.size = check->valid.size = 0;
    TRY(tokenizer_decode(check->tokenizer, ids, count, skip, &check->text));
    TRY(text_append_utf8(&check->valid, check->text.bytes, check->text.size));
    const char *got = buffer_string(&check->valid);
    if (check->valid.size != size || memcmp(got, text, size) != 0)
        different_text(check, PART_DECODE, text, size, got, check->valid.size);
    return STATUS_OK;
}

static enum status check_chat(struct check *check, const json_t *row)
{
    const json_t *wanted = json_object_get(row, "text");
    const struct chat_request request = {
        .messages = json_object_get(row, "messages"),
        .tools = json_object_get(row, "tools"),
        .variables = json_object_get(row, "kwargs"),
        .add_generation_prompt = json_is_true(json_object_get(row, "add_generation_prompt")),
    };
    if (check->template == NULL)
        TRY(chat_template_open(&check->template, check->folder, "", ""));
    check->compared[PART_CHAT]++;
    check->text.size = 0;
    TRY(chat_template_render(check->template, &request, &check->text, NULL));
    const char *got = buffer_string(&check->text), *text = json_string_value(wanted);
    size_t size = json_string_length(wanted);
    if (check->text.size != size || memcmp(got, text, size) != 0)
        different_text(check, PART_CHAT, text, size, got, check->text.size);
    return STATUS_OK;
}

static enum status check_row(struct check *check, const json_t *row)
{
    const json_t *text = json_object_get(row, "text"), *list = json_object_get(row, "ids");
    uint32_t *ids = NULL;
    size_t count = 0;
    arena_reset(check->arena);
    check->rows++;
    if (!json_is_string(text) && !json_is_array(list))
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": no \"text\" and no \"ids\"", check->file->path,
                    check->file->number);
    if (json_is_array(list))
        TRY(read_ids(check, list, &ids, &count));
    if (json_is_array(json_object_get(row, "messages")) && json_is_string(text))
        TRY(check_chat(check, row));
    if (json_is_string(text) && json_is_array(list))
        TRY(check_encode(check, text, ids, count));
    if (json_is_string(json_object_get(row, "decoded")) && json_is_array(list))
        TRY(check_decode(check, row, ids, count));
    return STATUS_OK;
}

/* ---- all rows ---- */

static void print_counts(const struct check *check, bool *equal)
{
    *equal = true;
    printf("%" PRIu64 " rows", check->rows);
    for (int part = 0; part < PART_COUNT; part++) {
        printf(", %s: %" PRIu64 " of %" PRIu64 " equal", part_names[part],
               check->compared[part] - check->different[part], check->compared[part]);
        *equal = *equal && check->different[part] == 0;
    }
    putchar('\n');
}

static enum status check_rows(struct check *check, struct jsonl *file)
{
    while (true) {
        json_t *row = NULL;
        TRY(jsonl_next(file, &row));
        if (row == NULL)
            return STATUS_OK;
        enum status status = check_row(check, row);
        json_decref(row);
        TRY(status);
    }
}

enum status tokenize_check(struct tokenizer *tokenizer, const char *folder, const char *path,
                           bool special, bool *equal)
{
    struct jsonl file = {0};
    struct check check = {
        .tokenizer = tokenizer, .folder = folder, .special = special, .file = &file};
    buffer_init(&check.text, 0);
    buffer_init(&check.valid, 0);
    TRY(arena_create(&check.arena, arena_max));
    enum status status = jsonl_open(&file, path);
    if (status == STATUS_OK)
        status = check_rows(&check, &file);
    if (status == STATUS_OK && check.rows == 0)
        status = FAIL(STATUS_INVALID, "%s has no rows", path);
    if (status == STATUS_OK)
        print_counts(&check, equal);
    jsonl_close(&file);
    chat_template_close(&check.template);
    buffer_free(&check.text);
    buffer_free(&check.valid);
    arena_destroy(&check.arena);
    return status;
}
