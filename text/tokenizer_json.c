/* text/tokenizer_json.c - tokenizer.json into a tokenizer: the model, its vocabulary and merges, and the added tokens; what
 * stands around the model is in tokenizer_steps.c. An option that changes ids and is not done here is refused. */
#include "text/tokenizer_parts.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/memory.h"

enum { ID_MAX = 1 << 24 };

const char *part_type(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type ? type : "(no type)";
}

bool part_is_set(const json_t *part, const char *key)
{
    return json_is_true(json_object_get(part, key));
}

enum status source_refuse(const struct source *source, const char *part, const char *what)
{
    return FAIL(STATUS_UNSUPPORTED, "%s: %s %s is not supported", source->name, part, what);
}

/* ---- byte level alphabet (GPT-2): a printable character for each byte ---- */

static bool is_printable(uint32_t byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* places[c] = byte + 1 of character c, 0 = none */
static void alphabet(uint16_t places[512])
{
    memset(places, 0, 512 * sizeof places[0]);
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++)
        places[is_printable(byte) ? byte : next++] = (uint16_t)(byte + 1);
}

/* Token text to the bytes it stands for; false when a character is outside the alphabet. */
static bool to_bytes(const uint16_t places[512], const char *text, size_t size, uint8_t *out,
                     size_t *out_size)
{
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t point = -1;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                 (utf8proc_ssize_t)(size - at), &point);
        if (used <= 0 || point >= 512 || places[point] == 0)
            return false;
        out[count++] = (uint8_t)(places[point] - 1);
        at += (size_t)used;
    }
    *out_size = count;
    return true;
}

/* ---- model ---- */

static enum status largest_id(const struct source *source, const json_t *root, uint32_t *vocabulary)
{
    int64_t largest = -1;
    const char *text;
    json_t *value;
    json_object_foreach(json_object_get(json_object_get(root, "model"), "vocab"), text, value)
    {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= ID_MAX)
            return FAIL(STATUS_INVALID, "%s: vocab \"%.64s\" has no id in [0, %d)", source->name,
                        text, ID_MAX);
        largest = id > largest ? id : largest;
    }
    size_t i;
    json_array_foreach(json_object_get(root, "added_tokens"), i, value)
    {
        const json_t *item = json_object_get(value, "id");
        int64_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id >= ID_MAX)
            return FAIL(STATUS_INVALID, "%s: added_tokens %zu has no id in [0, %d)", source->name,
                        i, ID_MAX);
        largest = id > largest ? id : largest;
    }
    int64_t count =
        (int64_t)json_object_size(json_object_get(json_object_get(root, "model"), "vocab"));
    count += (int64_t)json_array_size(json_object_get(root, "added_tokens"));
    if (count == 0 || largest > 4 * count + 65536)
        return FAIL(STATUS_INVALID, "%s: %" PRId64 " tokens with ids up to %" PRId64, source->name,
                    count, largest);
    *vocabulary = (uint32_t)largest + 1;
    return STATUS_OK;
}

/* Bytes of a vocabulary text into out (at least size + 1 long). */
static size_t token_bytes(const struct tokenizer *tokenizer, const uint16_t places[512],
                          const char *text, size_t size, uint8_t *out, bool *findable)
{
    size_t count = 0;
    *findable = true;
    if (tokenizer->pretokenizer.byte_level && to_bytes(places, text, size, out, &count))
        return count;
    *findable = !tokenizer->pretokenizer.byte_level;
    memcpy(out, text, size);
    return size;
}

static enum status add_vocabulary(const struct source *source, json_t *vocab)
{
    uint16_t places[512];
    uint8_t bytes[TOKEN_TEXT_MAX];
    alphabet(places);
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        size_t size = strlen(text);
        if (size == 0 || size > TOKEN_TEXT_MAX)
            return FAIL(STATUS_INVALID, "%s: a token of %zu bytes (1 to %d are allowed)",
                        source->name, size, TOKEN_TEXT_MAX);
        uint32_t id = (uint32_t)json_integer_value(value);
        bool findable;
        size_t bytes_size = token_bytes(source->tokenizer, places, text, size, bytes, &findable);
        TRY(bpe_add(&source->tokenizer->bpe, id, bytes, bytes_size, findable));
    }
    return STATUS_OK;
}

/* "left right" or ["left", "right"] */
static enum status merge_parts(const struct source *source, const json_t *item, size_t index,
                               const char *parts[2], size_t sizes[2])
{
    const char *text = json_string_value(item);
    const char *space = text ? strchr(text, ' ') : NULL;
    if (space != NULL && strchr(space + 1, ' ') == NULL) {
        parts[0] = text;
        sizes[0] = (size_t)(space - text);
        parts[1] = space + 1;
    } else {
        parts[0] = json_string_value(json_array_get(item, 0));
        parts[1] = json_string_value(json_array_get(item, 1));
        if (json_array_size(item) != 2 || parts[0] == NULL || parts[1] == NULL)
            return FAIL(STATUS_INVALID, "%s: merge %zu is no pair of tokens", source->name, index);
        sizes[0] = strlen(parts[0]);
    }
    sizes[1] = strlen(parts[1]);
    return STATUS_OK;
}

static enum status add_merges(const struct source *source, const json_t *merges)
{
    struct bpe *bpe = &source->tokenizer->bpe;
    uint16_t places[512];
    uint8_t bytes[2 * TOKEN_TEXT_MAX];
    alphabet(places);
    size_t i;
    json_t *item;
    json_array_foreach(merges, i, item)
    {
        const char *parts[2];
        size_t sizes[2] = {0, 0}, used[2];
        bool ignored;
        TRY(merge_parts(source, item, i, parts, sizes));
        if (sizes[0] > TOKEN_TEXT_MAX || sizes[1] > TOKEN_TEXT_MAX)
            return FAIL(STATUS_INVALID, "%s: merge %zu is too long", source->name, i);
        used[0] = token_bytes(source->tokenizer, places, parts[0], sizes[0], bytes, &ignored);
        used[1] =
            token_bytes(source->tokenizer, places, parts[1], sizes[1], bytes + used[0], &ignored);
        int64_t left = bpe_find(bpe, bytes, used[0]);
        int64_t right = bpe_find(bpe, bytes + used[0], used[1]);
        int64_t merged = bpe_find(bpe, bytes, used[0] + used[1]);
        if (left < 0 || right < 0 || merged < 0)
            return FAIL(STATUS_INVALID,
                        "%s: merge %zu (\"%.64s\" and \"%.64s\"): a part or the whole is not in "
                        "vocab",
                        source->name, i, parts[0], parts[1]);
        bpe_add_merge(bpe, (uint32_t)left, (uint32_t)right, (uint32_t)i, (uint32_t)merged);
    }
    return STATUS_OK;
}

static enum status check_model(const struct source *source, const json_t *model)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(json_object_get(model, "vocab")))
        return FAIL(STATUS_INVALID, "%s: no object model.vocab", source->name);
    if (type != NULL && strcmp(type, "BPE") != 0)
        return source_refuse(source, "model", type);
    if (!json_is_array(json_object_get(model, "merges")))
        return source_refuse(source, "model", "without a list of merges");
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        return source_refuse(source, "model BPE", "with dropout");
    for (int i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(model, texts[i]));
        if (text != NULL && text[0] != '\0')
            return source_refuse(source, "model BPE with", texts[i]);
    }
    return STATUS_OK;
}

/* ---- added tokens ---- */

/* What is looked for: the content, for a normalized token its normal form. */
static enum status find_match(const struct source *source, struct added_token *token)
{
    const uint8_t *text = (const uint8_t *)token->content;
    size_t size = strlen(token->content);
    if (token->normalized)
        TRY(normalizer_run(&source->tokenizer->normalizer, &text, &size));
    token->match = memory_alloc(size + 1);
    if (token->match == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: added tokens", source->name);
    if (size > 0)
        memcpy(token->match, text, size);
    token->match_size = size;
    return STATUS_OK;
}

static enum status keep_added(const struct source *source, struct added_token *token,
                              const char *content)
{
    token->content = memory_text(content);
    if (token->content == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: added tokens", source->name);
    enum status status = find_match(source, token);
    if (status == STATUS_OK)
        status = added_tokens_push(&source->tokenizer->added, token);
    if (status != STATUS_OK) {
        memory_free(token->content);
        memory_free(token->match);
    }
    return status;
}

/* Gives the id its text, which vocab may list as well. */
static enum status add_text(const struct source *source, const struct added_token *token,
                            const uint16_t places[512])
{
    struct bpe *bpe = &source->tokenizer->bpe;
    uint8_t bytes[TOKEN_TEXT_MAX];
    bool ignored;
    size_t size = token_bytes(source->tokenizer, places, token->content, strlen(token->content),
                              bytes, &ignored);
    const struct bpe_token *known = &bpe->tokens[token->id];
    if (known->size != 0 && (known->added || known->size != size ||
                             memcmp(bpe->bytes.bytes + known->offset, bytes, size) != 0))
        return FAIL(STATUS_INVALID, "%s: added token \"%.64s\" has the id %u of another one",
                    source->name, token->content, token->id);
    if (known->size == 0)
        TRY(bpe_add(bpe, token->id, bytes, size, false));
    bpe->tokens[token->id].added = true;
    bpe->tokens[token->id].special = token->special;
    return STATUS_OK;
}

static enum status add_added(const struct source *source, const json_t *list)
{
    struct added_tokens *added = &source->tokenizer->added;
    uint16_t places[512];
    alphabet(places);
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *content = json_string_value(json_object_get(item, "content"));
        const json_t *normalized = json_object_get(item, "normalized");
        if (content == NULL || content[0] == '\0' || strlen(content) > TOKEN_TEXT_MAX)
            return FAIL(STATUS_INVALID, "%s: added_tokens %zu has no content", source->name, i);
        struct added_token token = {
            .id = (uint32_t)json_integer_value(json_object_get(item, "id")),
            .normalized = normalized ? json_is_true(normalized) : !part_is_set(item, "special"),
            .left = part_is_set(item, "lstrip"),
            .right = part_is_set(item, "rstrip"),
            .single_word = part_is_set(item, "single_word"),
            .special = part_is_set(item, "special"),
        };
        TRY(keep_added(source, &token, content));
        TRY(add_text(source, &token, places));
    }
    return added_tokens_freeze(added);
}

static enum status read_unknown(const struct source *source, const json_t *model)
{
    const char *text = json_string_value(json_object_get(model, "unk_token"));
    if (text == NULL)
        return STATUS_OK;
    source->tokenizer->bpe.unknown = tokenizer_token_id(source->tokenizer, text);
    if (source->tokenizer->bpe.unknown < 0)
        return FAIL(STATUS_INVALID, "%s: unk_token \"%.64s\" is not in vocab", source->name, text);
    return STATUS_OK;
}

enum status tokenizer_read_root(struct tokenizer *tokenizer, const char *name, const json_t *root)
{
    const struct source source = {name, tokenizer};
    json_t *model = json_object_get(root, "model");
    const json_t *merges = json_object_get(model, "merges");
    uint32_t vocabulary = 0;
    TRY(check_model(&source, model));
    TRY(tokenizer_read_parts(&source, root));
    TRY(largest_id(&source, root, &vocabulary));
    TRY(bpe_create(&tokenizer->bpe, vocabulary, json_array_size(merges)));
    tokenizer->bpe.byte_level = tokenizer->pretokenizer.byte_level;
    tokenizer->bpe.ignore_merges = part_is_set(model, "ignore_merges");
    tokenizer->bpe.fuse_unknown = part_is_set(model, "fuse_unk");
    TRY(add_vocabulary(&source, json_object_get(model, "vocab")));
    TRY(add_merges(&source, merges));
    if (part_is_set(model, "byte_fallback") && !tokenizer->bpe.byte_level) {
        bpe_find_fallback(&tokenizer->bpe);
        tokenizer->bpe.byte_fallback = true;
    }
    TRY(add_added(&source, json_object_get(root, "added_tokens")));
    TRY(read_unknown(&source, model));
    return tokenizer_read_around(&source, root);
}

enum status json_parse(const char *name, const char *json, size_t size, size_t flags, json_t **root)
{
    json_error_t error;
    *root = json_loadb(json, size, JSON_REJECT_DUPLICATES | flags, &error);
    if (*root == NULL)
        return FAIL(STATUS_INVALID, "%s:%d: %s", name, error.line, error.text);
    return STATUS_OK;
}

enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *name, const char *json,
                                size_t size)
{
    json_t *root;
    TRY(json_parse(name, json, size, 0, &root));
    enum status status = tokenizer_read_root(tokenizer, name, root);
    json_decref(root);
    return status;
}

enum status tokenizer_read_config(struct tokenizer *tokenizer, const char *name, const char *json,
                                  size_t size)
{
    json_t *root;
    /* model_max_length is often 1e30 written as an integer */
    TRY(json_parse(name, json, size, JSON_DECODE_INT_AS_REAL, &root));
    const json_t *eos = json_object_get(root, "eos_token");
    const char *text =
        json_string_value(json_is_object(eos) ? json_object_get(eos, "content") : eos);
    enum status status = STATUS_OK;
    if (text != NULL) {
        tokenizer->eos = tokenizer_token_id(tokenizer, text);
        if (tokenizer->eos < 0)
            status = FAIL(STATUS_INVALID, "%s: eos_token \"%.64s\" is no token of tokenizer.json",
                          name, text);
    }
    json_decref(root);
    return status;
}
