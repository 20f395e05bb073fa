/* text/tokenizer_folder.c - vocab.json and merges.txt with the files beside them, for folders without tokenizer.json: they
 * become the tokenizer.json that transformers would make of them (GPT2Tokenizer, Qwen2Tokenizer), and that is read. */
#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "text/tokenizer_parts.h"

/* Byte-level tokenizers by class; MiniMax-M1 has GPT2Tokenizer. */
static const struct {
    const char *name;
    const char *normalizer, *pattern; /* "" and NULL: those of GPT-2 */
} classes[] = {
    {"GPT2Tokenizer", "", NULL},
    {"Qwen2Tokenizer", "NFC",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
};

struct reading {
    const char *folder;
    json_t *root;
    json_t *config;   /* tokenizer_config.json, NULL: none */
    json_t *specials; /* special_tokens_map.json, NULL: none */
    json_t *added;    /* added_tokens.json, NULL: none */
};

/* *file = NULL: there is none. */
static enum status read_optional(const char *folder, const char *name, json_t **file)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    TRY(file_path(path, "%s/%s", folder, name));
    if (!file_exists(path))
        return STATUS_OK;
    buffer_init(&text, 64u << 20);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK) /* model_max_length is often 1e30 written as an integer */
        status = json_parse(
            path, (const char *)text.bytes, text.size,
            strcmp(name, "tokenizer_config.json") == 0 ? JSON_DECODE_INT_AS_REAL : 0, file);
    buffer_free(&text);
    return status;
}

static enum status keep(int failed)
{
    return failed == 0 ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "tokenizer files");
}

/* ---- the model ---- */

/* Lines "left right"; a first line "#version: ..." is none. */
static enum status parse_merges(const char *path, struct buffer *text, json_t *merges)
{
    char *line = (char *)(uintptr_t)buffer_string(text), *end;
    for (size_t number = 1; *line != '\0'; number++, line = end) {
        size_t size = strcspn(line, "\n");
        end = line + size + (line[size] != '\0');
        if (size > 0 && line[size - 1] == '\r')
            size--;
        if (size == 0 || (number == 1 && strncmp(line, "#version", 8) == 0))
            continue;
        const char *space = memchr(line, ' ', size);
        if (space == NULL || memchr(space + 1, ' ', size - (size_t)(space + 1 - line)) != NULL)
            return FAIL(STATUS_INVALID, "%s:%zu: no pair of tokens", path, number);
        json_t *merge = json_stringn(line, size);
        if (merge == NULL)
            return FAIL(STATUS_INVALID, "%s:%zu: no UTF-8", path, number);
        TRY(keep(json_array_append_new(merges, merge)));
    }
    return STATUS_OK;
}

static enum status read_model(struct reading *reading)
{
    char path[FILE_PATH_MAX];
    json_t *vocab = NULL, *merges = json_array();
    struct buffer text;
    json_t *model = json_pack("{s:s, s:o}", "type", "BPE", "merges", merges);
    TRY(keep(json_object_set_new(reading->root, "model", model)));
    TRY(read_optional(reading->folder, "vocab.json", &vocab));
    if (vocab == NULL)
        return FAIL(STATUS_NOT_FOUND, "%s: no vocab.json", reading->folder);
    TRY(keep(json_object_set_new(model, "vocab", vocab)));
    TRY(file_path(path, "%s/merges.txt", reading->folder));
    buffer_init(&text, 256u << 20);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = parse_merges(path, &text, merges);
    buffer_free(&text);
    return status;
}

/* ---- added tokens ---- */

static const char *content_of(const json_t *token)
{
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static json_t *added_row(const struct reading *reading, const char *content)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(reading->root, "added_tokens"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "content")),
                                       content) == 0) return row;
    return NULL;
}

/* options: an object with lstrip and so on, or anything else. */
static enum status add_token(const struct reading *reading, int64_t id, const char *content,
                             const json_t *options, bool special)
{
    static const char *const names[] = {"lstrip", "rstrip", "single_word", "normalized"};
    json_t *row = added_row(reading, content);
    if (row != NULL)
        return !special ? STATUS_OK : keep(json_object_set_new(row, "special", json_true()));
    row = json_pack("{s:I, s:s, s:b, s:b}", "id", (json_int_t)id, "content", content, "special",
                    special, "normalized", !special);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_is_object(options) && json_is_boolean(json_object_get(options, names[i])))
            TRY(keep(json_object_set(row, names[i], json_object_get(options, names[i]))));
    return keep(json_array_append_new(json_object_get(reading->root, "added_tokens"), row));
}

static enum status add_listed(const struct reading *reading)
{
    const char *key;
    json_t *item;
    json_object_foreach(json_object_get(reading->config, "added_tokens_decoder"), key, item)
    {
        char *end;
        int64_t id = strtoll(key, &end, 10);
        const char *content = content_of(item);
        if (*key == '\0' || *end != '\0' || content == NULL)
            return FAIL(STATUS_INVALID,
                        "%s/tokenizer_config.json: added_tokens_decoder \"%.32s\" is no token",
                        reading->folder, key);
        TRY(add_token(reading, id, content, item, part_is_set(item, "special")));
    }
    json_object_foreach(reading->added, key, item)
    {
        if (!json_is_integer(item))
            return FAIL(STATUS_INVALID, "%s/added_tokens.json: \"%.64s\" has no id",
                        reading->folder, key);
        TRY(add_token(reading, json_integer_value(item), key, NULL, false));
    }
    return STATUS_OK;
}

static int64_t next_id(const struct reading *reading)
{
    const json_t *vocab = json_object_get(json_object_get(reading->root, "model"), "vocab");
    int64_t next = (int64_t)json_object_size(vocab);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(reading->root, "added_tokens"), i, row)
    {
        int64_t id = json_integer_value(json_object_get(row, "id"));
        next = id >= next ? id + 1 : next;
    }
    return next;
}

static enum status add_special(const struct reading *reading, const json_t *token)
{
    const char *content = content_of(token);
    if (content == NULL || content[0] == '\0')
        return STATUS_OK;
    const json_t *known = added_row(reading, content);
    const json_t *id =
        known ? json_object_get(known, "id")
              : json_object_get(json_object_get(json_object_get(reading->root, "model"), "vocab"),
                                content);
    return add_token(reading, json_is_integer(id) ? json_integer_value(id) : next_id(reading),
                     content, token, true);
}

/* The tokens that have a role, in transformers' order; those without an id get the next one. */
static enum status add_specials(const struct reading *reading, const json_t *file)
{
    static const char *const roles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    size_t i;
    json_t *token;
    for (i = 0; i < sizeof roles / sizeof roles[0]; i++)
        TRY(add_special(reading, json_object_get(file, roles[i])));
    json_array_foreach(json_object_get(file, "additional_special_tokens"), i, token)
        TRY(add_special(reading, token));
    return STATUS_OK;
}

/* ---- the parts around ---- */

static enum status find_class(const struct reading *reading, size_t *index)
{
    const char *name = json_string_value(json_object_get(reading->config, "tokenizer_class"));
    *index = 0;
    if (name == NULL)
        return STATUS_OK;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        size_t size = strlen(classes[i].name);
        if (strncmp(name, classes[i].name, size) == 0 &&
            (name[size] == '\0' || strcmp(name + size, "Fast") == 0)) {
            *index = i;
            return STATUS_OK;
        }
    }
    return FAIL(STATUS_UNSUPPORTED,
                "%s: tokenizer_class %s is not supported without a tokenizer.json; make one with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)",
                reading->folder, name);
}

static enum status put_around(const struct reading *reading)
{
    const json_t *config = reading->config;
    const char *bos = content_of(json_object_get(config, "bos_token"));
    json_t *row = bos ? added_row(reading, bos) : NULL;
    if (!part_is_set(config, "add_bos_token") || row == NULL)
        return STATUS_OK;
    json_t *post = json_pack("{s:s, s:[{s:{s:s}}, {s:{s:s}}], s:{s:{s:[O]}}}", "type",
                             "TemplateProcessing", "single", "SpecialToken", "id", bos, "Sequence",
                             "id", "A", "special_tokens", bos, "ids", json_object_get(row, "id"));
    return keep(json_object_set_new(reading->root, "post_processor", post));
}

static enum status read_around(const struct reading *reading)
{
    size_t index = 0;
    bool space = part_is_set(reading->config, "add_prefix_space");
    TRY(find_class(reading, &index));
    json_t *level = json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", space,
                              "use_regex", classes[index].pattern == NULL);
    json_t *steps = json_pack("[o]", level);
    int failed = 0;
    if (classes[index].pattern != NULL)
        failed |= json_array_insert_new(steps, 0,
                                        json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern",
                                                  "Regex", classes[index].pattern, "behavior",
                                                  "Isolated"));
    failed |=
        json_object_set_new(reading->root, "pre_tokenizer",
                            json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps));
    if (classes[index].normalizer[0] != '\0')
        failed |= json_object_set_new(reading->root, "normalizer",
                                      json_pack("{s:s}", "type", classes[index].normalizer));
    failed |=
        json_object_set_new(reading->root, "decoder", json_pack("{s:s}", "type", "ByteLevel"));
    return keep(failed);
}

static enum status read_all(struct reading *reading)
{
    TRY(keep(json_object_set_new(reading->root, "added_tokens", json_array())));
    TRY(read_optional(reading->folder, "tokenizer_config.json", &reading->config));
    TRY(read_optional(reading->folder, "special_tokens_map.json", &reading->specials));
    TRY(read_optional(reading->folder, "added_tokens.json", &reading->added));
    TRY(read_around(reading));
    TRY(read_model(reading));
    TRY(add_listed(reading));
    TRY(add_specials(reading, reading->config));
    TRY(add_specials(reading, reading->specials));
    return put_around(reading);
}

enum status tokenizer_read_folder(struct tokenizer *tokenizer, const char *folder)
{
    struct reading reading = {.folder = folder, .root = json_object()};
    enum status status = read_all(&reading);
    if (status == STATUS_OK)
        status = tokenizer_read_root(tokenizer, folder, reading.root);
    json_decref(reading.root);
    json_decref(reading.config);
    json_decref(reading.specials);
    json_decref(reading.added);
    return status;
}
