#include "learner/sft_rows.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/checksum.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/packed.h"
#include "text/chat_turns.h"
#include "text/content.h"

enum { MESSAGES_MAX = 4096 };

struct loading {
    struct sft_rows *rows;
    const struct settings *settings;
    struct tokenizer *tokenizer;
    struct arena *scratch; /* of the row in hand */
    const char *name;      /* of the setting that names the files */
    const char *path;
    uint32_t line;
    int64_t limit;
    struct chat chat;
    struct chat_spans spans;
    /* the row in hand */
    struct buffer before, after; /* the chat up to an assistant's turn, and with it */
    uint32_t *ids;
    float *mask; /* of memory; both grow */
    size_t count, capacity;
};

static enum status grow_row(struct loading *loading, size_t more)
{
    size_t wanted = loading->count + more;
    if (wanted <= loading->capacity)
        return STATUS_OK;
    wanted = wanted * 2 > 4096 ? wanted * 2 : 4096;
    uint32_t *ids =
        memory_grow(loading->ids, loading->capacity * sizeof *ids, wanted * sizeof *ids);
    loading->ids = ids != NULL ? ids : loading->ids;
    float *mask = ids != NULL ? memory_grow(loading->mask, loading->capacity * sizeof *mask,
                                            wanted * sizeof *mask)
                              : NULL;
    loading->mask = mask != NULL ? mask : loading->mask;
    if (ids == NULL || mask == NULL)
        return FAIL(STATUS_NO_MEMORY, "a row of %zu tokens", wanted);
    loading->capacity = wanted;
    return STATUS_OK;
}

static enum status push(struct loading *loading, uint32_t id, float mask)
{
    TRY(grow_row(loading, 1));
    loading->ids[loading->count] = id;
    loading->mask[loading->count++] = mask;
    return STATUS_OK;
}

/* What the tokenizer puts before the first text of a row that no chat format wrote: prompts of a run begin with it, too.
 * Nobody says it. */
static enum status begin_text(struct loading *loading)
{
    size_t count = 0;
    const uint32_t *ids = tokenizer_before(loading->tokenizer, &count);
    for (size_t i = 0; i < count; i++)
        TRY(push(loading, ids[i], 0));
    return STATUS_OK;
}

/* Tokens of a text that stands alone between two borders. until: the ids up to this one, and no others (-1: all);
 * *found: it was there. */
static enum status add_text(struct loading *loading, const char *text, size_t size, float mask,
                            int64_t until, bool *found)
{
    uint32_t *ids = NULL;
    size_t count = 0;
    *found = false;
    if (size == 0)
        return STATUS_OK;
    if (loading->count == 0 && chat_is_none(&loading->chat))
        TRY(begin_text(loading));
    enum status status =
        tokenizer_encode(loading->tokenizer, text, size, loading->scratch, &ids, &count);
    if (status != STATUS_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s", status_last_error());
        return FAIL(status, "%s:%u: %s", loading->path, loading->line, why);
    }
    for (size_t i = 0; i < count && !*found; i++) {
        TRY(push(loading, ids[i], mask));
        *found = until >= 0 && ids[i] == (uint32_t)until;
    }
    return STATUS_OK;
}

/* ---- what a row says ---- */

static enum status text_member(const struct loading *loading, const json_t *row, const char *key,
                               const char **text)
{
    *text = json_string_value(json_object_get(row, key));
    if (*text != NULL)
        return STATUS_OK;
    return FAIL(STATUS_INVALID,
                "%s:%u: \"%s\" is not a text; rows of `weir sft` are {\"prompt\", \"completion\"}, "
                "{\"messages\"}%s",
                loading->path, loading->line, key,
                loading->settings->sft.mode == SFT_MODE_PRETRAIN
                    ? " or {\"text\"}"
                    : ", and {\"text\"} with sft.mode pretrain");
}

/* The end that an actor stops at; where the tokenizer names none, what its post-processor puts behind a text. */
static enum status end_text(struct loading *loading)
{
    int64_t eos = tokenizer_eos(loading->tokenizer);
    size_t count = 0;
    const uint32_t *ids = tokenizer_behind(loading->tokenizer, &count);
    if (eos >= 0)
        return push(loading, (uint32_t)eos, 1);
    for (size_t i = 0; i < count && chat_is_none(&loading->chat); i++)
        TRY(push(loading, ids[i], 1));
    return STATUS_OK;
}

/* One assistant's turn, messages[at], and what stands between it and the last one. What closes a turn is trained up to
 * the end of text, if that is in it: there an actor stops. */
static enum status add_turn(struct loading *loading, const struct chat_message *messages, size_t at,
                            bool last)
{
    enum setting_chat_format format = loading->chat.format;
    struct buffer *before = &loading->before, *after = &loading->after;
    size_t done = after->size, content = strlen(messages[at].content);
    bool ended = false, rest = false;
    buffer_clear(before);
    TRY(chat_render(format, messages, at, true, before));
    TRY(add_text(loading, (const char *)before->bytes + done, before->size - done, 0, -1, &rest));
    TRY(add_text(loading, messages[at].content, content, 1, -1, &rest));
    buffer_clear(after);
    TRY(chat_render(format, messages, at + 1, false, after));
    const char *close = (const char *)after->bytes + before->size + content;
    size_t close_size = after->size - before->size - content;
    size_t first = loading->count;
    TRY(add_text(loading, close, close_size, 1, tokenizer_eos(loading->tokenizer), &ended));
    if (last)
        return ended ? STATUS_OK : end_text(loading);
    if (!ended)
        return STATUS_OK;
    /* what follows the end of text is there for the next turn, and nobody says it */
    size_t kept = loading->count;
    loading->count = first;
    TRY(add_text(loading, close, close_size, 0, -1, &rest));
    for (size_t i = first; i < kept; i++)
        loading->mask[i] = 1;
    return STATUS_OK;
}

static enum status add_chat(struct loading *loading, const struct chat_message *messages,
                            size_t count, size_t from)
{
    size_t last = count;
    for (size_t i = from; i < count; i++)
        if (strcmp(messages[i].role, "assistant") == 0)
            last = i;
    if (last == count)
        return FAIL(STATUS_INVALID, "%s:%u: no message is the assistant's: nothing to learn from",
                    loading->path, loading->line);
    buffer_clear(&loading->after);
    for (size_t i = from; i <= last; i++)
        if (strcmp(messages[i].role, "assistant") == 0) {
            enum status status = add_turn(loading, messages, i, i == last);
            char why[512];
            snprintf(why, sizeof why, "%s", status_last_error());
            if (status == STATUS_INVALID && strstr(why, loading->path) == NULL)
                return FAIL(status, "%s:%u: %s", loading->path, loading->line, why);
            TRY(status);
        }
    return STATUS_OK;
}

/* ---- chats of a template ---- */

/* One part that is trained: up to the end of text, if that is in it. */
static enum status add_span(struct loading *loading, const char *text, size_t size, bool last,
                            bool ends)
{
    size_t first = loading->count;
    bool ended = false, rest = false;
    TRY(add_text(loading, text, size, 1, tokenizer_eos(loading->tokenizer), &ended));
    if (last)
        return ended || !ends ? STATUS_OK : end_text(loading);
    if (!ended)
        return STATUS_OK;
    size_t kept = loading->count;
    loading->count = first;
    TRY(add_text(loading, text, size, 0, -1, &rest));
    for (size_t i = first; i < kept; i++)
        loading->mask[i] = 1;
    return STATUS_OK;
}

static enum status add_templated(struct loading *loading, const json_t *messages,
                                 const json_t *tools, size_t from)
{
    struct chat_request request = {.messages = messages, .tools = tools};
    struct buffer *text = &loading->after;
    const struct chat_spans *spans = &loading->spans;
    bool ends = !chat_template_has_generation(loading->chat.template), rest;
    enum status status = chat_turns(&loading->chat, &request, from, text, &loading->spans);
    if (status != STATUS_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s", status_last_error());
        return FAIL(status, "%s:%u: %s", loading->path, loading->line, status_sentence(why));
    }
    for (size_t i = 0, done = 0; i < spans->count; i++) {
        struct chat_span span = spans->spans[i];
        const char *bytes = (const char *)text->bytes;
        TRY(add_text(loading, bytes + done, span.begin - done, 0, -1, &rest));
        TRY(add_span(loading, bytes + span.begin, span.end - span.begin, i + 1 == spans->count,
                     ends));
        done = span.end;
    }
    return STATUS_OK;
}

/* Role and text of a message, in the arena. */
static enum status read_message(struct loading *loading, const json_t *entry, size_t index,
                                struct chat_message *message)
{
    const json_t *content = json_object_get(entry, "content");
    struct buffer *text = &loading->before;
    message->role = json_string_value(json_object_get(entry, "role"));
    if (message->role == NULL || !content_is_text(content))
        return FAIL(STATUS_INVALID,
                    "%s:%u: message %zu has no \"role\" and \"content\" that are texts (a list of "
                    "parts is text if each part is)",
                    loading->path, loading->line, index);
    buffer_clear(text);
    TRY(content_append(content, text));
    message->content = arena_text(loading->scratch, buffer_string(text));
    return message->content != NULL ? STATUS_OK
                                    : FAIL(STATUS_LIMIT, "the data does not fit into memory");
}

/* from: the first message that may be learnt from. */
static enum status read_messages(struct loading *loading, const json_t *list, const json_t *tools,
                                 size_t from)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > MESSAGES_MAX)
        return FAIL(STATUS_INVALID, "%s:%u: \"messages\" is no list of 1 to %d messages",
                    loading->path, loading->line, MESSAGES_MAX);
    tools = json_array_size(tools) > 0 ? tools : NULL;
    if (loading->chat.template != NULL)
        return add_templated(loading, list, tools, from);
    if (tools != NULL)
        return FAIL(STATUS_INVALID,
                    "%s:%u: the row has tools, and model.chat_format has none: set it to template",
                    loading->path, loading->line);
    struct chat_message *messages = arena_array(loading->scratch, count, sizeof *messages);
    if (messages == NULL)
        return FAIL(STATUS_LIMIT, "the data does not fit into memory");
    for (size_t i = 0; i < count; i++)
        TRY(read_message(loading, json_array_get(list, i), i, &messages[i]));
    return add_chat(loading, messages, count, from);
}

/* {"prompt": [messages], "completion": [messages]}: the completion is learnt from. */
static enum status read_lists(struct loading *loading, const json_t *row, const json_t *prompt)
{
    json_t *whole = json_copy((json_t *)(uintptr_t)prompt);
    json_t *completion = json_object_get(row, "completion");
    if (whole == NULL || !json_is_array(completion) || json_array_extend(whole, completion) != 0) {
        json_decref(whole);
        return FAIL(STATUS_INVALID,
                    "%s:%u: \"prompt\" is a list of messages, and \"completion\" is none",
                    loading->path, loading->line);
    }
    enum status status =
        read_messages(loading, whole, json_object_get(row, "tools"), json_array_size(prompt));
    json_decref(whole);
    return status;
}

/* {"prompt": text, "completion": text} in the chat format. */
static enum status read_turn(struct loading *loading, const char *prompt, const char *completion,
                             const json_t *tools)
{
    json_t *list = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", prompt, "role",
                             "assistant", "content", completion);
    enum status status =
        list != NULL ? read_messages(loading, list, tools, 0) : FAIL(STATUS_NO_MEMORY, "a row");
    json_decref(list);
    return status;
}

static enum status read_pair(struct loading *loading, const json_t *json)
{
    const char *prompt, *completion;
    bool found;
    if (json_is_array(json_object_get(json, "prompt")))
        return read_lists(loading, json, json_object_get(json, "prompt"));
    TRY(text_member(loading, json, "prompt", &prompt));
    TRY(text_member(loading, json, "completion", &completion));
    if (prompt[0] == '\0' || completion[0] == '\0')
        return FAIL(STATUS_INVALID, "%s:%u: prompt or completion is empty", loading->path,
                    loading->line);
    if (!chat_is_none(&loading->chat))
        return read_turn(loading, prompt, completion, json_object_get(json, "tools"));
    TRY(add_text(loading, prompt, strlen(prompt), 0, -1, &found));
    TRY(add_text(loading, completion, strlen(completion), 1, -1, &found));
    return end_text(loading);
}

static enum status read_row(struct loading *loading, const json_t *json)
{
    loading->count = 0;
    arena_reset(loading->scratch);
    if (json_object_get(json, "messages") != NULL)
        return read_messages(loading, json_object_get(json, "messages"),
                             json_object_get(json, "tools"), 0);
    bool pretrain = loading->settings->sft.mode == SFT_MODE_PRETRAIN, found;
    if (json_object_get(json, "text") == NULL ||
        (!pretrain && json_object_get(json, "prompt") != NULL))
        return read_pair(loading, json);
    if (!pretrain)
        return FAIL(STATUS_INVALID,
                    "%s:%u: a row {\"text\"} has no part to learn from and one to read: set "
                    "sft.mode to pretrain",
                    loading->path, loading->line);
    const char *text;
    TRY(text_member(loading, json, "text", &text));
    if (text[0] == '\0')
        return FAIL(STATUS_INVALID, "%s:%u: the text is empty", loading->path, loading->line);
    TRY(add_text(loading, text, strlen(text), 1, -1, &found));
    return end_text(loading);
}

/* ---- what is kept of it ---- */

/* Index of the first and one past the last trained token before `count`; false: there is none. */
static bool trained_range(const float *mask, size_t count, size_t *first, size_t *last)
{
    *first = count;
    *last = 0;
    for (size_t i = 0; i < count; i++)
        if (mask[i] != 0) {
            *first = i < *first ? i : *first;
            *last = i + 1;
        }
    return *last > 0;
}

/* *count: tokens that stay; 0: the row is left out. */
static enum status fit(struct loading *loading, size_t *count)
{
    size_t limit = (size_t)loading->limit, first, last;
    *count = loading->count;
    if (loading->limit == 0 || loading->count <= limit)
        return STATUS_OK;
    if (loading->settings->sft.too_long == TOO_LONG_REFUSE)
        return FAIL(STATUS_INVALID,
                    "%s:%u: a row of %zu tokens, sft.sequence_tokens_max is %zu: raise it, or set "
                    "sft.too_long to cut or skip",
                    loading->path, loading->line, loading->count, limit);
    bool cut = loading->settings->sft.too_long == TOO_LONG_CUT &&
               trained_range(loading->mask, limit, &first, &last);
    loading->rows->cut += cut;
    loading->rows->skipped += !cut;
    *count = cut ? limit : 0;
    return STATUS_OK;
}

static enum status append(struct sft_rows *rows, const struct train_sequence *row)
{
    if (rows->count == rows->capacity) {
        uint32_t capacity = rows->capacity > 0 ? rows->capacity * 2 : 1024;
        struct train_sequence *grown = memory_grow(rows->rows, rows->capacity * sizeof *grown,
                                                   (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%u rows", capacity);
        rows->rows = grown;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] = *row;
    return STATUS_OK;
}

static enum status keep(struct loading *loading)
{
    struct sft_rows *rows = loading->rows;
    bool pretrain = loading->settings->sft.mode == SFT_MODE_PRETRAIN;
    size_t count = loading->count, first = 0, last = 0;
    if (!pretrain) {
        TRY(fit(loading, &count));
        if (count == 0)
            return STATUS_OK;
        if (!trained_range(loading->mask, count, &first, &last) || first == 0)
            return FAIL(STATUS_INVALID,
                        "%s:%u: nothing stands before the first trained token, or nothing is "
                        "trained",
                        loading->path, loading->line);
        count = last; /* what nobody learns from behind it is not computed */
    }
    uint32_t *ids = arena_array(rows->arena, count + 1, sizeof *ids);
    float *mask = pretrain ? NULL : arena_array(rows->arena, count - first + 1, sizeof *mask);
    if (ids == NULL || (!pretrain && mask == NULL))
        return FAIL(STATUS_LIMIT, "the data does not fit into memory");
    memcpy(ids, loading->ids, count * sizeof *ids);
    struct train_sequence row = {.prompt_ids = ids,
                                 .prompt_count = (uint32_t)(pretrain ? count : first),
                                 .response_ids = ids + first,
                                 .response_count = (uint32_t)(pretrain ? 0 : count - first),
                                 .mask = mask,
                                 .advantage = 1,
                                 .temperature = 1};
    if (!pretrain)
        memcpy(mask, loading->mask + first, (count - first) * sizeof *mask);
    rows->digest = hash64(ids, count * sizeof *ids, rows->digest + count);
    if (!pretrain)
        rows->digest = hash64(mask, (count - first) * sizeof *mask, rows->digest + first);
    rows->tokens += (int64_t)count;
    rows->longest = (int64_t)count > rows->longest ? (int64_t)count : rows->longest;
    return append(rows, &row);
}

/* ---- files ---- */

static enum status load_line(struct loading *loading, const char *text, size_t size)
{
    json_error_t error;
    if (strspn(text, " \t\r\n") == size)
        return STATUS_OK;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        return FAIL(STATUS_INVALID, "%s:%u:%d: %s", loading->path, loading->line, error.column,
                    error.text);
    enum status status = read_row(loading, json);
    if (status == STATUS_OK)
        status = keep(loading);
    json_decref(json);
    return status;
}

static enum status load_lines(struct loading *loading, FILE *file)
{
    char *text = NULL;
    size_t capacity = 0;
    enum status status = STATUS_OK;
    loading->line = 0;
    for (ssize_t size; status == STATUS_OK && (size = getline(&text, &capacity, file)) >= 0;) {
        loading->line++;
        status = load_line(loading, text, (size_t)size);
    }
    free(text); /* lint: allow(free): getline's buffer */
    return status;
}

static enum status load_file(void *self, const char *path)
{
    struct loading *loading = self;
    struct buffer contents; /* of a compressed file */
    enum status status = STATUS_OK;
    bool packed = packed_is(path);
    loading->path = path;
    buffer_init(&contents, 0);
    if (packed)
        status = packed_read(path, &contents);
    bool none = packed && contents.size == 0;
    FILE *file = status != STATUS_OK || none ? NULL
                 : packed                    ? fmemopen(contents.bytes, contents.size, "r")
                                             : fopen(path, "r");
    if (status == STATUS_OK && file == NULL && !none)
        status = FAIL(STATUS_NOT_FOUND, "%s: %s cannot be opened", loading->name, path);
    if (file != NULL) {
        status = load_lines(loading, file);
        fclose(file);
    }
    buffer_free(&contents);
    return status;
}

static enum status load_paths(struct loading *loading, const char *list)
{
    char path[FILE_PATH_MAX];
    for (;;) {
        enum status status = file_list_next(&list, path);
        if (status == STATUS_NOT_FOUND)
            return STATUS_OK;
        TRY(status);
        struct stat info;
        bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
        TRY(folder ? file_each_jsonl(loading->name, path, load_file, loading)
                   : load_file(loading, path));
    }
}

enum status sft_rows_load(struct sft_rows *rows, const struct settings *settings,
                          struct tokenizer *tokenizer, const char *name, const char *paths,
                          int64_t limit)
{
    struct loading loading = {
        .rows = rows, .settings = settings, .tokenizer = tokenizer, .name = name, .limit = limit};
    *rows = (struct sft_rows){0};
    buffer_init(&loading.before, 0);
    buffer_init(&loading.after, 0);
    TRY(chat_open(&loading.chat, &settings->model));
    enum status status = arena_create(&rows->arena, (size_t)64 << 30);
    if (status == STATUS_OK)
        status = arena_create(&loading.scratch, (size_t)8 << 30);
    if (status == STATUS_OK)
        status = load_paths(&loading, paths);
    if (status == STATUS_OK && rows->count == 0)
        status = FAIL(STATUS_INVALID,
                      "%s: %s has no rows (%" PRIu64 " are longer than sft.sequence_tokens_max)",
                      name, paths, rows->skipped);
    arena_destroy(&loading.scratch);
    memory_free(loading.ids);
    memory_free(loading.mask);
    chat_spans_free(&loading.spans);
    chat_close(&loading.chat);
    buffer_free(&loading.before);
    buffer_free(&loading.after);
    return status;
}

void sft_rows_free(struct sft_rows *rows)
{
    memory_free(rows->rows);
    arena_destroy(&rows->arena);
    *rows = (struct sft_rows){0};
}
