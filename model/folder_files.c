/* model/folder_files.c - what a written model folder has besides weights: config.json, generation_config.json and
 * the files of the tokenizer, complete enough for transformers and vLLM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "model/folder_internal.h"

enum { JSON_BYTES_MAX = 256 << 20, SPECIALS = 4 };

enum status folder_write_json(const char *path, const json_t *root)
{
    size_t size = json_dumpb(root, NULL, 0, JSON_INDENT(2));
    char *text = size ? memory_alloc(size + 1) : NULL;
    if (text == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: %zu bytes", path, size);
    (void)json_dumpb(root, text, size, JSON_INDENT(2));
    text[size] = '\n';
    enum status status = file_replace(path, text, size + 1);
    memory_free(text);
    return status;
}

/* *root is NULL when the file is not there. flags: of jansson. */
static enum status read_json(const char *folder, const char *name, size_t flags, json_t **root)
{
    char path[FILE_PATH_MAX];
    *root = NULL;
    TRY(file_path(path, "%s/%s", folder, name));
    if (!file_exists(path))
        return STATUS_OK;
    struct buffer text;
    buffer_init(&text, JSON_BYTES_MAX);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK) {
        json_error_t error;
        *root = json_loadb((const char *)text.bytes, text.size, flags, &error);
        if (*root == NULL)
            status = FAIL(STATUS_INVALID, "%s:%d: %s", path, error.line, error.text);
        else if (!json_is_object(*root))
            status = FAIL(STATUS_INVALID, "%s: no JSON object", path);
    }
    buffer_free(&text);
    if (status != STATUS_OK) {
        json_decref(*root);
        *root = NULL;
    }
    return status;
}

/* transformers 5 reads "dtype", those before it and vLLM "torch_dtype". */
enum status folder_write_config(const char *folder, const struct model_folder_content *content)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", folder));
    struct buffer text;
    buffer_init(&text, 0);
    json_t *root = NULL;
    enum status status = model_shape_json(content->shape, &text);
    if (status == STATUS_OK) {
        root = json_loadb((const char *)text.bytes, text.size, 0, NULL);
        const char *name = content->dtype == ST_F32 ? "float32" : "bfloat16";
        int failed = json_object_set_new(root, "dtype", json_string(name));
        failed |= json_object_set_new(root, "torch_dtype", json_string(name));
        status = failed == 0 ? folder_write_json(path, root) : FAIL(STATUS_NO_MEMORY, "%s", path);
    }
    json_decref(root);
    buffer_free(&text);
    return status;
}

/* ---- tokenizer ---- */

static enum status copy_file(const char *source, const char *target, const char *name)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    TRY(file_path(from, "%s/%s", source, name));
    TRY(file_path(to, "%s/%s", target, name));
    if (!file_exists(from))
        return STATUS_OK;
    struct buffer contents;
    buffer_init(&contents, 0);
    enum status status = file_read(from, &contents);
    if (status == STATUS_OK)
        status = file_replace(to, contents.bytes, contents.size);
    buffer_free(&contents);
    return status;
}

/* The text of a token id of tokenizer.json; NULL: it has none. */
static const char *token_text(const json_t *tokenizer, int64_t id)
{
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, token)
    {
        const json_t *number = json_object_get(token, "id");
        if (json_is_integer(number) && json_integer_value(number) == id)
            return json_string_value(json_object_get(token, "content"));
    }
    const char *text;
    json_t *number;
    json_object_foreach(json_object_get(json_object_get(tokenizer, "model"), "vocab"), text, number)
    {
        if (json_is_integer(number) && json_integer_value(number) == id)
            return text;
    }
    return NULL;
}

static void set_token(json_t *config, const char *key, const json_t *tokenizer, int64_t id)
{
    const char *text = id >= 0 ? token_text(tokenizer, id) : NULL;
    if (text != NULL)
        json_object_set_new(config, key, json_string(text));
}

/* tokenizer_config.json for a folder that has only tokenizer.json. */
static enum status make_config(const char *folder, const struct model_folder_content *content,
                               json_t **config)
{
    const struct model_shape *shape = content->shape;
    json_t *tokenizer = NULL;
    char path[FILE_PATH_MAX];
    TRY(read_json(content->like, "tokenizer.json", 0, &tokenizer));
    if (tokenizer == NULL)
        return STATUS_OK;
    *config = json_pack("{s:s, s:I, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                        "model_max_length", (json_int_t)shape->positions_max,
                        "clean_up_tokenization_spaces", 0);
    set_token(*config, "bos_token", tokenizer, shape->bos_id);
    set_token(*config, "eos_token", tokenizer, shape->eos_count > 0 ? shape->eos_ids[0] : -1);
    json_decref(tokenizer);
    TRY(file_path(path, "%s/tokenizer_config.json", folder));
    return folder_write_json(path, *config);
}

static enum status make_map(const char *folder, const json_t *config)
{
    static const char *const keys[SPECIALS] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    json_t *map = json_object();
    for (int i = 0; i < SPECIALS; i++) {
        json_t *token = json_object_get(config, keys[i]);
        if (json_is_object(token))
            token = json_object_get(token, "content");
        if (json_is_string(token))
            json_object_set(map, keys[i], token);
    }
    json_t *more = json_object_get(config, "additional_special_tokens");
    if (json_is_array(more))
        json_object_set(map, "additional_special_tokens", more);
    char path[FILE_PATH_MAX];
    enum status status = file_path(path, "%s/special_tokens_map.json", folder);
    if (status == STATUS_OK)
        status = folder_write_json(path, map);
    json_decref(map);
    return status;
}

enum status folder_write_tokenizer(const char *folder, const struct model_folder_content *content)
{
    static const char *const files[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "chat_template.jinja"};
    if (content->like == NULL)
        return STATUS_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        TRY(copy_file(content->like, folder, files[i]));
    char map[FILE_PATH_MAX];
    json_t *config = NULL;
    TRY(file_path(map, "%s/special_tokens_map.json", folder));
    /* "model_max_length": 1000000000000000019884624838656 is no integer of jansson's */
    enum status status =
        read_json(folder, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL, &config);
    if (status == STATUS_OK && config == NULL)
        status = make_config(folder, content, &config);
    if (status == STATUS_OK && config != NULL && !file_exists(map))
        status = make_map(folder, config);
    json_decref(config);
    if (status != STATUS_INVALID)
        return status;
    LOG_FAILURE("folder", "a tokenizer file is copied as it is, the others are not made", status);
    return STATUS_OK;
}

/* ---- generation ---- */

/* The id of a token's text; -1. added: added_tokens_decoder of tokenizer_config.json, {"id": {"content"}}. */
static int64_t added_id(const json_t *added, const char *text)
{
    const char *id;
    json_t *token;
    json_object_foreach((json_t *)(uintptr_t)added, id, token)
    {
        const char *content = json_string_value(json_object_get(token, "content"));
        if (content != NULL && strcmp(content, text) == 0)
            return strtoll(id, NULL, 10);
    }
    return -1;
}

static int64_t vocabulary_id(const char *folder, const char *text)
{
    json_t *root = NULL, *token;
    if (read_json(folder, "tokenizer.json", 0, &root) != STATUS_OK)
        return -1; /* the copy of it was not refused either */
    int64_t id = -1;
    size_t i;
    json_array_foreach(json_object_get(root, "added_tokens"), i, token)
    {
        const char *content = json_string_value(json_object_get(token, "content"));
        if (content != NULL && strcmp(content, text) == 0)
            id = json_integer_value(json_object_get(token, "id"));
    }
    json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab");
    const json_t *number = json_object_get(vocabulary, text);
    if (id < 0 && json_is_integer(number))
        id = json_integer_value(number);
    json_decref(root);
    return id;
}

/* Where texts end: the model's ids and the tokenizer's, as the actor has it. */
static int64_t tokenizer_eos(const char *folder)
{
    json_t *config = NULL;
    if (read_json(folder, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL, &config) != STATUS_OK)
        return -1;
    const json_t *token = json_object_get(config, "eos_token");
    const char *text =
        json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    int64_t id =
        text != NULL ? added_id(json_object_get(config, "added_tokens_decoder"), text) : -1;
    if (text != NULL && id < 0)
        id = vocabulary_id(folder, text);
    json_decref(config);
    return id;
}

static json_t *eos_json(const char *folder, const struct model_shape *shape)
{
    int64_t more = tokenizer_eos(folder);
    json_t *list = json_array();
    for (int32_t i = 0; i < shape->eos_count; i++) {
        json_array_append_new(list, json_integer(shape->eos_ids[i]));
        more = more == shape->eos_ids[i] ? -1 : more;
    }
    /* folders of tests and of random models have tokenizers with more ids than the model */
    if (more >= 0 && more < shape->vocabulary && shape->eos_count < MODEL_EOS_MAX)
        json_array_append_new(list, json_integer(more));
    if (json_array_size(list) != 1)
        return list;
    json_t *one = json_incref(json_array_get(list, 0));
    json_decref(list);
    return one;
}

enum status folder_write_generation(const char *folder, const struct model_folder_content *content)
{
    static const char *const name = "generation_config.json";
    const struct model_shape *shape = content->shape;
    const struct model_generation *generation = content->generation;
    json_t *root = NULL;
    if (content->like != NULL)
        TRY(read_json(content->like, name, 0, &root));
    if (root == NULL)
        root = json_object();
    json_t *eos = eos_json(folder, shape);
    if (json_is_integer(eos) || json_array_size(eos) > 0)
        json_object_set(root, "eos_token_id", eos);
    json_decref(eos);
    if (shape->bos_id >= 0)
        json_object_set_new(root, "bos_token_id", json_integer(shape->bos_id));
    if (generation != NULL) {
        bool sampled = generation->temperature > 0;
        json_object_set_new(root, "do_sample", json_boolean(sampled));
        json_object_set_new(root, "temperature", json_real(sampled ? generation->temperature : 1));
        json_object_set_new(root, "top_p", json_real(generation->top_p));
        /* 0 switches it off in transformers, too; its own default would be 50 */
        json_object_set_new(root, "top_k", json_integer(generation->top_k));
    }
    char path[FILE_PATH_MAX];
    enum status status = file_path(path, "%s/%s", folder, name);
    if (status == STATUS_OK)
        status = folder_write_json(path, root);
    json_decref(root);
    return status;
}
