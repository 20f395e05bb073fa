/* rollout_store/prompts.c - JSONL rows to tokenised prompts; every row is checked before anything starts. */
#include "rollout_store/prompts.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/buffer.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/packed.h"
#include "rollout_store/canonical.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum { PROMPT_MESSAGES_MAX = 1024, PROMPT_SCRATCH_BYTES = 256 << 20, PROMPTS_BYTES_MAX = 1 << 30 };

struct prompts {
    struct arena *arena; /* ids and records */
    struct prompt *rows; /* [count] */
    uint64_t count, capacity, left_out;
    struct source {
        uint64_t hash;
        const char *name;
    } * sources; /* [PROMPT_SOURCES_MAX] */
    uint32_t source_count;
    uint32_t source_last; /* rows of a source mostly stand together */
    struct buffer name;
};

struct loading {
    struct prompts *prompts;
    const struct data_settings *data;
    const struct chat *chat;
    struct tokenizer *tokenizer;
    const char *path;
    const char *source; /* the file's name without folder and ending */
    uint64_t line;
    struct buffer row;         /* in hand: its one form, */
    struct buffer whole, text; /* the prompt with prefix and suffix, and in the chat format, */
    struct buffer record;      /* and what the reward worker gets */
    struct arena *scratch;
    uint32_t *ids; /* [id_count] in scratch, when the row gives ids; else NULL */
    size_t id_count;
};

#define AT_FMT           "%s:%" PRIu64 ": "
#define AT_ARGS(loading) (loading)->path, (loading)->line

/* ---- sources ---- */

/* The source of a record, made when it is new. */
static enum status find_source(struct prompts *prompts, const char *record, uint32_t *found)
{
    struct canonical whole = {record, strlen(record)};
    struct canonical source = canonical_member(whole, "data_source");
    buffer_clear(&prompts->name);
    if (canonical_is_text(source))
        TRY(canonical_text(source, &prompts->name));
    const char *name = buffer_string(&prompts->name);
    uint64_t hash = hash64(name, strlen(name), 0);
    *found = prompts->source_last;
    if (*found < prompts->source_count && prompts->sources[*found].hash == hash)
        return STATUS_OK;
    for (*found = 0; *found < prompts->source_count; (*found)++)
        if (prompts->sources[*found].hash == hash)
            break;
    prompts->source_last = *found;
    if (*found < prompts->source_count)
        return STATUS_OK;
    if (*found == PROMPT_SOURCES_MAX)
        return FAIL(STATUS_LIMIT,
                    "the data has more than %d data sources, the next is \"%.80s\": set "
                    "data.key_source to a key with fewer values",
                    PROMPT_SOURCES_MAX, name);
    if (prompts->sources == NULL)
        prompts->sources = memory_array(PROMPT_SOURCES_MAX, sizeof *prompts->sources);
    char *copy = arena_text(prompts->arena, name);
    if (prompts->sources == NULL || copy == NULL)
        return FAIL(STATUS_NO_MEMORY, "data sources");
    prompts->sources[prompts->source_count++] = (struct source){hash, copy};
    return STATUS_OK;
}

/* ---- one row ---- */

static enum status append_row(struct prompts *prompts, const struct prompt *row)
{
    struct prompt copy = *row;
    TRY(find_source(prompts, row->record_json, &copy.source));
    if (prompts->count == prompts->capacity) {
        uint64_t wider = prompts->capacity ? prompts->capacity * 2 : 256;
        struct prompt *rows =
            memory_grow(prompts->rows, prompts->count * sizeof *rows, wider * sizeof *rows);
        if (rows == NULL)
            return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " prompts", wider);
        prompts->rows = rows;
        prompts->capacity = wider;
    }
    copy.ids = arena_copy(prompts->arena, row->ids, row->count * sizeof *row->ids);
    copy.record_json = arena_text(prompts->arena, row->record_json);
    if (copy.ids == NULL || copy.record_json == NULL)
        return FAIL(STATUS_LIMIT, "the prompts need more than %d bytes: split the data",
                    PROMPTS_BYTES_MAX);
    prompts->rows[prompts->count++] = copy;
    return STATUS_OK;
}

/* What the chat format says against a prompt, with the place of the row. */
static enum status rendered(const struct loading *loading, enum status status)
{
    if (status == STATUS_OK || status == STATUS_NO_MEMORY)
        return status;
    char why[512];
    snprintf(why, sizeof why, "%s", status_last_error());
    return FAIL(status, AT_FMT "\"%s\": %s", AT_ARGS(loading), loading->data->key_prompt,
                status_sentence(why));
}

static enum status render_messages(struct loading *loading, const json_t *list, const json_t *tools)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > PROMPT_MESSAGES_MAX)
        return FAIL(STATUS_INVALID, AT_FMT "\"%s\" has %zu messages; it needs 1 to %d",
                    AT_ARGS(loading), loading->data->key_prompt, count, PROMPT_MESSAGES_MAX);
    struct chat_request request = {.messages = list,
                                   .tools = json_array_size(tools) > 0 ? tools : NULL,
                                   .add_generation_prompt = true};
    return rendered(loading, chat_text(loading->chat, &request, &loading->text, NULL));
}

/* A plain string is one user message when the model has a chat format. */
static enum status render_text(struct loading *loading, struct canonical prompt)
{
    const struct data_settings *data = loading->data;
    struct buffer *whole = &loading->whole;
    buffer_clear(whole);
    TRY(buffer_text(whole, data->prompt_prefix));
    TRY(canonical_text(prompt, whole));
    TRY(buffer_text(whole, data->prompt_suffix));
    return rendered(loading,
                    chat_user_text(loading->chat, buffer_string(whole), true, &loading->text));
}

/* Ids as they are given; their text is for the reward and for people. */
static enum status take_ids(struct loading *loading, const json_t *list)
{
    size_t count = json_array_size(list);
    uint32_t vocabulary = tokenizer_vocabulary(loading->tokenizer);
    struct buffer bytes;
    loading->ids = arena_array(loading->scratch, count, sizeof *loading->ids);
    loading->id_count = count;
    if (loading->ids == NULL)
        return FAIL(STATUS_LIMIT, AT_FMT "a prompt of %zu ids", AT_ARGS(loading), count);
    for (size_t i = 0; i < count; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= (json_int_t)vocabulary)
            return FAIL(STATUS_INVALID,
                        AT_FMT "item %zu of the prompt's ids is no id of the tokenizer (0 to %u)",
                        AT_ARGS(loading), i, vocabulary - 1);
        loading->ids[i] = (uint32_t)id;
    }
    buffer_init(&bytes, 0);
    enum status status = tokenizer_decode(loading->tokenizer, loading->ids, count, false, &bytes);
    if (status == STATUS_OK)
        status = text_append_utf8(&loading->text, bytes.bytes, bytes.size);
    buffer_free(&bytes);
    return status;
}

static enum status parse_list(const struct loading *loading, struct canonical value, json_t **list)
{
    *list = json_loadb(value.text, value.size, 0, NULL);
    return *list != NULL ? STATUS_OK
                         : FAIL(STATUS_NO_MEMORY, AT_FMT "%zu bytes of messages", AT_ARGS(loading),
                                value.size);
}

/* Messages, or ids. */
static enum status render_list(struct loading *loading, struct canonical row,
                               struct canonical prompt)
{
    json_t *list = NULL, *tools = NULL;
    struct canonical own = canonical_member(row, "tools");
    enum status status = parse_list(loading, prompt, &list);
    if (status == STATUS_OK && canonical_is_array(own))
        status = parse_list(loading, own, &tools);
    if (status == STATUS_OK)
        status = json_is_integer(json_array_get(list, 0)) ? take_ids(loading, list)
                                                          : render_messages(loading, list, tools);
    json_decref(tools);
    json_decref(list);
    return status;
}

static enum status render_prompt(struct loading *loading, struct canonical row,
                                 struct canonical prompt)
{
    enum { EMPTY_TEXT = 2 /* its quotes */ };
    buffer_clear(&loading->text);
    arena_reset(loading->scratch);
    loading->ids = NULL;
    const char *key = loading->data->key_prompt;
    struct canonical ids = canonical_member(row, "prompt_ids");
    if (canonical_is_array(ids))
        prompt = ids;
    if (prompt.size == 0)
        return FAIL(STATUS_INVALID,
                    AT_FMT
                    "the row has no key \"%s\": set data.key_prompt to the key of the prompt",
                    AT_ARGS(loading), key);
    if (canonical_is_array(prompt))
        TRY(render_list(loading, row, prompt));
    else if (canonical_is_text(prompt) && prompt.size > EMPTY_TEXT)
        TRY(render_text(loading, prompt));
    else
        return FAIL(STATUS_INVALID,
                    AT_FMT "\"%s\" is %s: it must be a text or a list of {role, content}",
                    AT_ARGS(loading), key, canonical_is_text(prompt) ? "empty" : "of another type");
    if (loading->text.size == 0 && loading->ids == NULL)
        return FAIL(STATUS_INVALID, AT_FMT "\"%s\" is an empty prompt", AT_ARGS(loading), key);
    return STATUS_OK;
}

static enum status find_answer(const struct loading *loading, struct canonical row,
                               struct canonical *answer)
{
    static const char *const usual[] = {"answer", "solution", "label", "ground_truth"};
    const char *key = loading->data->key_answer;
    if (key[0] != '\0') {
        *answer = canonical_member(row, key);
        return answer->size > 0 ? STATUS_OK
                                : FAIL(STATUS_INVALID,
                                       AT_FMT "the row has no key \"%s\": correct data.key_answer",
                                       AT_ARGS(loading), key);
    }
    *answer = canonical_member(canonical_member(row, "reward_model"), "ground_truth");
    for (size_t i = 0; answer->size == 0 && i < sizeof usual / sizeof usual[0]; i++)
        *answer = canonical_member(row, usual[i]);
    if (answer->size == 0)
        *answer = (struct canonical){"null", 4}; /* some rewards need none */
    return STATUS_OK;
}

static enum status add_member(struct buffer *record, const char *name, struct canonical value)
{
    TRY(buffer_text(record, name));
    return buffer_append(record, value.text, value.size);
}

static enum status add_quoted(struct loading *loading, const char *name, const char *text)
{
    TRY(buffer_text(&loading->record, name));
    enum status status = canonical_quote(text, &loading->record);
    return status == STATUS_INVALID
               ? FAIL(STATUS_INVALID, AT_FMT "the row is no UTF-8 text", AT_ARGS(loading))
               : status;
}

/* {"data_source","prompt","prompt_text","ground_truth","extra"} */
static enum status make_record(struct loading *loading, struct canonical row,
                               struct canonical prompt, struct canonical answer)
{
    struct buffer *record = &loading->record;
    struct canonical source = canonical_member(row, loading->data->key_source);
    buffer_clear(record);
    if (canonical_is_text(source))
        TRY(add_member(record, "{\"data_source\":", source));
    else
        TRY(add_quoted(loading, "{\"data_source\":", loading->source));
    if (prompt.size > 0)
        TRY(add_member(record, ",\"prompt\":", prompt));
    else
        TRY(add_quoted(loading, ",\"prompt\":", buffer_string(&loading->text)));
    TRY(add_quoted(loading, ",\"prompt_text\":", buffer_string(&loading->text)));
    TRY(add_member(record, ",\"ground_truth\":", answer));
    TRY(add_member(record, ",\"extra\":", row));
    return buffer_text(record, "}");
}

/* A chat format writes a begin of text itself; without one it comes from the tokenizer, as in the endpoint. */
static enum status encode_prompt(struct loading *loading, uint32_t **ids, size_t *count)
{
    const char *text = (const char *)loading->text.bytes;
    return chat_is_none(loading->chat)
               ? tokenizer_encode_prompt(loading->tokenizer, text, loading->text.size,
                                         loading->scratch, ids, count)
               : tokenizer_encode(loading->tokenizer, text, loading->text.size, loading->scratch,
                                  ids, count);
}

static enum status tokenise(struct loading *loading, uint32_t **ids, size_t *count)
{
    if (loading->ids != NULL) {
        *ids = loading->ids;
        *count = loading->id_count;
        return STATUS_OK;
    }
    enum status status = encode_prompt(loading, ids, count);
    if (status == STATUS_OK && *count > 0)
        return STATUS_OK;
    char why[256];
    snprintf(why, sizeof why, "%s", status == STATUS_OK ? "it has no tokens" : status_last_error());
    return FAIL(status == STATUS_OK ? STATUS_INVALID : status, AT_FMT "\"%s\": %s",
                AT_ARGS(loading), loading->data->key_prompt, why);
}

/* ---- difficulty ---- */

/* A number; null and what is absent is none. The text ends behind the value, so strtod stops there. */
static enum status read_number(const struct loading *loading, const char *key,
                               struct canonical value, bool *is, float *number)
{
    *is = false;
    if (value.size == 0 || value.text[0] == 'n')
        return STATUS_OK;
    if (value.text[0] != '-' && (value.text[0] < '0' || value.text[0] > '9'))
        return FAIL(STATUS_INVALID, AT_FMT "\"%s\" is %.*s, not a number", AT_ARGS(loading), key,
                    value.size < 40 ? (int)value.size : 40, value.text);
    *number = strtof(value.text, NULL);
    *is = isfinite(*number);
    return STATUS_OK;
}

/* The first "pass@k" of the row; its key, without quotes, is copied to `key`. */
static struct canonical find_pass_at(struct canonical row, char key[32])
{
    static const char mark[] = "\"pass@";
    const char *at = row.text, *end = row.text + row.size;
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)) != NULL) {
        size_t digits = strspn(at + sizeof mark - 1, "0123456789");
        const char *quote = at + sizeof mark - 1 + digits;
        size_t size = (size_t)(quote - at) - 1;
        if (digits > 0 && size < 32 && *quote == '"') {
            memcpy(key, at + 1, size);
            key[size] = '\0';
            struct canonical value = canonical_member(row, key);
            if (value.size > 0)
                return value;
        }
        at += sizeof mark - 1;
    }
    return (struct canonical){0};
}

/* Level and measured pass rate. A level that is no number makes no band: sources name theirs in words, too. */
static enum status read_difficulty(const struct loading *loading, struct canonical row,
                                   struct prompt *made)
{
    char found[32] = "pass_rate";
    const char *key = loading->data->key_pass_rate, *level = loading->data->key_level;
    struct canonical value = {0};
    if (level != NULL && level[0] != '\0')
        value = canonical_member(row, level);
    if (value.size > 0 && (value.text[0] == '-' || (value.text[0] >= '0' && value.text[0] <= '9')))
        TRY(read_number(loading, level, value, &made->has_level, &made->level));
    bool named = key != NULL && key[0] != '\0';
    value = canonical_member(row, named ? key : found);
    if (value.size == 0 && !named)
        value = find_pass_at(row, found);
    key = named ? key : found;
    TRY(read_number(loading, key, value, &made->has_pass_rate, &made->pass_rate));
    if (made->has_pass_rate && (made->pass_rate < 0 || made->pass_rate > 1))
        return FAIL(STATUS_INVALID, AT_FMT "\"%s\" is %g, a pass rate is 0 to 1", AT_ARGS(loading),
                    key, (double)made->pass_rate);
    return STATUS_OK;
}

static enum status load_row(struct loading *loading)
{
    struct canonical row = canonical_of(&loading->row), answer;
    struct canonical prompt = canonical_member(row, loading->data->key_prompt);
    uint32_t *ids = NULL;
    size_t count = 0;
    TRY(render_prompt(loading, row, prompt));
    TRY(find_answer(loading, row, &answer));
    TRY(tokenise(loading, &ids, &count));
    if (count > loading->data->prompt_tokens_max) {
        loading->prompts->left_out++;
        return STATUS_OK;
    }
    TRY(make_record(loading, row, prompt, answer));
    struct prompt made = {
        .ids = ids, .count = (uint32_t)count, .record_json = buffer_string(&loading->record)};
    TRY(read_difficulty(loading, row, &made));
    return append_row(loading->prompts, &made);
}

static enum status load_line(struct loading *loading, const char *line, size_t size)
{
    while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == ' ' || line[size - 1] == '\t'))
        size--;
    if (size == 0)
        return STATUS_OK;
    enum status status = canonical_json(line, size, &loading->row);
    if (status == STATUS_INVALID) {
        char why[256];
        snprintf(why, sizeof why, "%s", status_last_error());
        return FAIL(STATUS_INVALID, AT_FMT "%s: each line must be one JSON object",
                    AT_ARGS(loading), why);
    }
    TRY(status);
    if (!canonical_is_object(canonical_of(&loading->row)))
        return FAIL(STATUS_INVALID, AT_FMT "the line is JSON but no object", AT_ARGS(loading));
    return load_row(loading);
}

/* ---- files ---- */

static enum status load_lines(struct loading *loading, const struct buffer *contents)
{
    const char *at = (const char *)contents->bytes, *end = at + contents->size;
    loading->line = 0;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        loading->line++;
        TRY(load_line(loading, at, (size_t)(stop - at)));
        at = newline != NULL ? newline + 1 : end;
    }
    return STATUS_OK;
}

static enum status load_file(void *self, const char *path)
{
    struct loading *loading = self;
    struct buffer contents;
    char source[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(source, sizeof source, "%s", slash != NULL ? slash + 1 : path);
    char *dot = strchr(source, '.');
    if (dot != NULL && dot != source)
        *dot = '\0';
    loading->path = path;
    loading->source = source;
    buffer_init(&contents, 0);
    enum status status = packed_read(path, &contents);
    if (status == STATUS_OK && contents.size > 0)
        status = load_lines(loading, &contents);
    buffer_free(&contents);
    return status;
}

static enum status create(struct prompts **out)
{
    struct prompts *prompts = memory_alloc(sizeof *prompts);
    if (prompts == NULL)
        return FAIL(STATUS_NO_MEMORY, "prompts");
    buffer_init(&prompts->name, 0);
    enum status status = arena_create(&prompts->arena, PROMPTS_BYTES_MAX);
    if (status != STATUS_OK)
        prompts_destroy(&prompts);
    *out = prompts;
    return status;
}

static enum status load_path(struct loading *loading, const char *path)
{
    struct stat stat_of;
    if (stat(path, &stat_of) != 0)
        return FAIL(STATUS_NOT_FOUND, "data.train %s: %s", path, strerror(errno));
    return S_ISDIR(stat_of.st_mode) ? file_each_jsonl("data.train", path, load_file, loading)
                                    : load_file(loading, path);
}

/* Each file or folder in turn; one name with commas in it may be a file of that name. */
static enum status load_paths(struct loading *loading, const char *list)
{
    if (strchr(list, ',') == NULL || file_exists(list))
        return load_path(loading, list);
    char path[FILE_PATH_MAX];
    enum status status;
    while ((status = file_list_next(&list, path)) == STATUS_OK)
        TRY(load_path(loading, path));
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status prompts_load(struct prompts **out, const struct data_settings *data,
                         const struct chat *chat, struct tokenizer *tokenizer)
{
    *out = NULL;
    if (data->train[0] == '\0')
        return FAIL(STATUS_INVALID,
                    "data.train is empty: name JSONL files or folders of them, between commas");
    struct loading loading = {.data = data, .chat = chat, .tokenizer = tokenizer};
    struct buffer *buffers[] = {&loading.row, &loading.whole, &loading.text, &loading.record};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        buffer_init(buffers[i], 0);
    TRY(create(&loading.prompts));
    enum status status = arena_create(&loading.scratch, PROMPT_SCRATCH_BYTES);
    if (status == STATUS_OK)
        status = load_paths(&loading, data->train);
    if (status == STATUS_OK && loading.prompts->count == 0)
        status = FAIL(STATUS_INVALID,
                      "%s: no prompt is left, %" PRIu64
                      " are longer than data.prompt_tokens_max %" PRIu32,
                      data->train, loading.prompts->left_out, data->prompt_tokens_max);
    arena_destroy(&loading.scratch);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        buffer_free(buffers[i]);
    if (status != STATUS_OK)
        prompts_destroy(&loading.prompts);
    *out = loading.prompts;
    return status;
}

enum status prompts_load_run(struct prompts **out, const struct settings *settings,
                             struct tokenizer *tokenizer)
{
    struct chat chat;
    *out = NULL;
    TRY(chat_open(&chat, &settings->model));
    enum status status = prompts_load(out, &settings->data, &chat, tokenizer);
    chat_close(&chat);
    return status;
}

enum status prompts_from_memory(struct prompts **out, const struct prompt *rows, uint64_t count)
{
    TRY(create(out));
    for (uint64_t i = 0; i < count; i++) {
        enum status status = append_row(*out, &rows[i]);
        if (status != STATUS_OK) {
            prompts_destroy(out);
            return status;
        }
    }
    return STATUS_OK;
}

void prompts_destroy(struct prompts **prompts)
{
    if (*prompts == NULL)
        return;
    arena_destroy(&(*prompts)->arena);
    memory_free((*prompts)->rows);
    memory_free((*prompts)->sources);
    buffer_free(&(*prompts)->name);
    memory_free(*prompts);
    *prompts = NULL;
}

uint64_t prompts_count(const struct prompts *prompts)
{
    return prompts->count;
}

uint64_t prompts_left_out(const struct prompts *prompts)
{
    return prompts->left_out;
}

uint64_t prompts_hash(const struct prompts *prompts)
{
    uint64_t hash = prompts->count;
    for (uint64_t i = 0; i < prompts->count; i++) {
        const struct prompt *row = &prompts->rows[i];
        hash = hash64(row->ids, row->count * sizeof *row->ids, hash);
        hash = hash64(row->record_json, strlen(row->record_json), hash);
    }
    return hash;
}

uint32_t prompts_source_count(const struct prompts *prompts)
{
    return prompts->source_count;
}

const char *prompts_source(const struct prompts *prompts, uint32_t source)
{
    CHECK(source < prompts->source_count);
    return prompts->sources[source].name;
}

const struct prompt *prompts_at(const struct prompts *prompts, uint64_t prompt_id)
{
    CHECK(prompt_id < prompts->count);
    return &prompts->rows[prompt_id];
}
