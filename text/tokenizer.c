/* text/tokenizer.c - encode: added tokens are cut out of the text, what lies between is normalized,
 * pre-tokenized and byte-pair encoded; decode: the bytes of the tokens, one after the other. */
#include "text/tokenizer.h"

#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

enum { BYTE_VOCABULARY = 257, BYTE_EOS = 256 };
static const size_t text_max = 1u << 28;

/* ---- UTF-8 ---- */

enum status text_append_utf8(struct buffer *text, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    size_t start = 0, at = 0, bad = 0;
    if (size == 0)
        return STATUS_OK;
    while (at < size) {
        size_t length = utf8_character(from + at, size - at, &bad);
        if (length > 0) {
            at += length;
            continue;
        }
        TRY(buffer_append(text, from + start, at - start));
        TRY(buffer_text(text, UTF8_REPLACEMENT));
        at += bad;
        start = at;
    }
    return buffer_append(text, from + start, at - start);
}

/* ---- open and close ---- */

static enum status create(struct tokenizer **tokenizer)
{
    struct tokenizer *result = memory_alloc(sizeof *result);
    if (result == NULL)
        return FAIL(STATUS_NO_MEMORY, "tokenizer");
    buffer_init(&result->bpe.bytes, 0);
    result->eos = -1;
    *tokenizer = result;
    return STATUS_OK;
}

void tokenizer_close(struct tokenizer **tokenizer)
{
    struct tokenizer *old = *tokenizer;
    if (old == NULL)
        return;
    *tokenizer = NULL;
    bpe_destroy(&old->bpe);
    pretokenizer_destroy(&old->pretokenizer);
    normalizer_destroy(&old->normalizer);
    added_tokens_free(&old->added);
    id_list_free(&old->ids);
    memory_free(old);
}

enum status tokenizer_open_json(struct tokenizer **tokenizer, const char *name, const char *json,
                                size_t size, const char *config, size_t config_size)
{
    struct tokenizer *result = NULL;
    TRY(create(&result));
    enum status status = tokenizer_read_json(result, name, json, size);
    if (status == STATUS_OK && config != NULL)
        status = tokenizer_read_config(result, name, config, config_size);
    if (status == STATUS_OK)
        *tokenizer = result;
    else
        tokenizer_close(&result);
    return status;
}

static enum status read_config(struct tokenizer *tokenizer, const char *folder, const char *name)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/%s", folder, name));
    if (tokenizer->eos >= 0 || !file_exists(path))
        return STATUS_OK;
    struct buffer text;
    buffer_init(&text, 64u << 20);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = tokenizer_read_config(tokenizer, path, (const char *)text.bytes, text.size);
    buffer_free(&text);
    return status;
}

static enum status read_one_file(struct tokenizer *tokenizer, const char *path)
{
    struct buffer text;
    buffer_init(&text, 256u << 20);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = tokenizer_read_json(tokenizer, path, (const char *)text.bytes, text.size);
    buffer_free(&text);
    return status;
}

static enum status open_folder(struct tokenizer *tokenizer, const char *folder, bool json)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/tokenizer.json", folder));
    if (json)
        TRY(read_one_file(tokenizer, path));
    else
        TRY(tokenizer_read_folder(tokenizer, folder));
    TRY(read_config(tokenizer, folder, "tokenizer_config.json"));
    return read_config(tokenizer, folder, "special_tokens_map.json");
}

enum status tokenizer_open(struct tokenizer **tokenizer, const char *folder,
                           enum setting_tokenizer kind)
{
    char path[FILE_PATH_MAX];
    struct tokenizer *result = NULL;
    TRY(file_path(path, "%s/tokenizer.json", folder));
    bool json = file_exists(path);
    TRY(file_path(path, "%s/vocab.json", folder));
    bool parts = !json && file_exists(path);
    TRY(file_path(path, "%s/merges.txt", folder));
    parts = parts && file_exists(path);
    TRY(file_path(path, "%s/tokenizer.model", folder));
    if (kind != TOKENIZER_BYTE && !json && !parts && file_exists(path))
        return FAIL(STATUS_UNSUPPORTED,
                    "%s: SentencePiece's tokenizer.model alone is not supported; make a "
                    "tokenizer.json with AutoTokenizer.from_pretrained(...).save_pretrained(...)",
                    folder);
    TRY(create(&result));
    if (kind == TOKENIZER_BYTE || (kind == TOKENIZER_AUTO && !json && !parts)) {
        result->bytes = true;
        result->eos = BYTE_EOS;
    } else {
        enum status status = open_folder(result, folder, !parts);
        if (status != STATUS_OK) {
            tokenizer_close(&result);
            return status;
        }
    }
    *tokenizer = result;
    return STATUS_OK;
}

/* ---- encode ---- */

static enum status encode_piece(void *context, const uint8_t *piece, size_t size)
{
    struct tokenizer *tokenizer = context;
    return bpe_encode(&tokenizer->bpe, piece, size, &tokenizer->ids);
}

static enum status encode_normal(struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                                 bool start)
{
    return pretokenizer_run(&tokenizer->pretokenizer, text, size, start, encode_piece, tokenizer);
}

/* Cuts added tokens out and hands what lies between to `between`. */
static enum status cut_added(struct tokenizer *tokenizer, bool normalized, const uint8_t *text,
                             size_t size, bool start,
                             enum status (*between)(struct tokenizer *tokenizer,
                                                    const uint8_t *text, size_t size, bool start))
{
    struct added_match match = {.next = 0};
    size_t done = 0;
    while (true) {
        added_tokens_find(&tokenizer->added, normalized, text, size, match.next, &match);
        if (match.token == NULL)
            break;
        if (match.begin > done)
            TRY(between(tokenizer, text + done, match.begin - done, start && done == 0));
        TRY(id_list_push(&tokenizer->ids, match.token->id));
        done = match.end;
    }
    return done < size ? between(tokenizer, text + done, size - done, start && done == 0)
                       : STATUS_OK;
}

static enum status encode_between(struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                                  bool start)
{
    TRY(normalizer_run(&tokenizer->normalizer, &text, &size));
    return cut_added(tokenizer, true, text, size, start, encode_normal);
}

static enum status encode_bytes(struct tokenizer *tokenizer, const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        TRY(id_list_push(&tokenizer->ids, text[i]));
    return STATUS_OK;
}

static enum status encode_text(struct tokenizer *tokenizer, const uint8_t *text, size_t size)
{
    size_t valid = utf8_check(text, size);
    if (valid < size)
        return FAIL(STATUS_INVALID, "text is no UTF-8: byte 0x%02x at offset %zu of %zu",
                    text[valid], valid, size);
    return cut_added(tokenizer, false, text, size, true, encode_between);
}

static enum status push_all(struct id_list *list, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(id_list_push(list, ids[i]));
    return STATUS_OK;
}

enum around { AROUND_NONE, AROUND_BEFORE, AROUND_BOTH };

static enum status encode(struct tokenizer *tokenizer, const char *text, size_t size,
                          enum around around, struct arena *arena, uint32_t **ids, size_t *count)
{
    const uint8_t *bytes = (const uint8_t *)text;
    tokenizer->ids.count = 0;
    if (size > text_max)
        return FAIL(STATUS_LIMIT, "text of %zu bytes; at most %zu are encoded at once", size,
                    text_max);
    if (around != AROUND_NONE)
        TRY(push_all(&tokenizer->ids, tokenizer->before, tokenizer->before_count));
    TRY(tokenizer->bytes ? encode_bytes(tokenizer, bytes, size)
                         : encode_text(tokenizer, bytes, size));
    if (around == AROUND_BOTH)
        TRY(push_all(&tokenizer->ids, tokenizer->behind, tokenizer->behind_count));
    size_t found = tokenizer->ids.count;
    uint32_t *copy = arena_array(arena, found ? found : 1, sizeof *copy);
    if (copy == NULL)
        return FAIL(STATUS_LIMIT, "no room in the arena for %zu token ids", found);
    if (found > 0)
        memcpy(copy, tokenizer->ids.ids, found * sizeof *copy);
    *ids = copy;
    *count = found;
    return STATUS_OK;
}

enum status tokenizer_encode(struct tokenizer *tokenizer, const char *text, size_t size,
                             struct arena *arena, uint32_t **ids, size_t *count)
{
    return encode(tokenizer, text, size, AROUND_NONE, arena, ids, count);
}

enum status tokenizer_encode_special(struct tokenizer *tokenizer, const char *text, size_t size,
                                     struct arena *arena, uint32_t **ids, size_t *count)
{
    return encode(tokenizer, text, size, AROUND_BOTH, arena, ids, count);
}

enum status tokenizer_encode_prompt(struct tokenizer *tokenizer, const char *text, size_t size,
                                    struct arena *arena, uint32_t **ids, size_t *count)
{
    return encode(tokenizer, text, size, AROUND_BEFORE, arena, ids, count);
}

const uint32_t *tokenizer_before(const struct tokenizer *tokenizer, size_t *count)
{
    *count = tokenizer->before_count;
    return tokenizer->before;
}

const uint32_t *tokenizer_behind(const struct tokenizer *tokenizer, size_t *count)
{
    *count = tokenizer->behind_count;
    return tokenizer->behind;
}

/* ---- decode and getters ---- */

uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer)
{
    return tokenizer->bytes ? BYTE_VOCABULARY : tokenizer->bpe.vocabulary;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id)
{
    if (tokenizer->bytes)
        return id == BYTE_EOS;
    return id < tokenizer->bpe.vocabulary && tokenizer->bpe.tokens[id].special;
}

static enum status decode_one(const struct tokenizer *tokenizer, uint32_t id, struct buffer *text)
{
    if (tokenizer->bytes) {
        uint8_t byte = (uint8_t)id;
        return id < BYTE_EOS ? buffer_append(text, &byte, 1) : STATUS_OK;
    }
    const struct bpe_token *token = &tokenizer->bpe.tokens[id];
    return token->size == 0
               ? STATUS_OK
               : buffer_append(text, tokenizer->bpe.bytes.bytes + token->offset, token->size);
}

static enum status decode_plain(const struct tokenizer *tokenizer, const uint32_t *ids,
                                size_t count, bool skip_special, struct buffer *text)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= tokenizer_vocabulary(tokenizer))
            TRY(buffer_text(text, UTF8_REPLACEMENT));
        else if (!skip_special || !tokenizer_is_special(tokenizer, ids[i]))
            TRY(decode_one(tokenizer, ids[i], text));
    }
    return STATUS_OK;
}

static enum status decode_steps(const struct tokenizer *tokenizer, struct decoding *decoding,
                                const uint32_t *ids, size_t count, bool skip_special,
                                struct buffer *text)
{
    struct buffer bytes;
    struct token_text *tokens = memory_array(count + 1, sizeof *tokens);
    if (tokens == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu tokens", count);
    enum status status = STATUS_OK;
    size_t used = 0;
    buffer_init(&bytes, 0);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        size_t offset = bytes.size;
        status = decode_plain(tokenizer, &ids[i], 1, skip_special, &bytes);
        if (bytes.size > offset)
            tokens[used++] = (struct token_text){offset, bytes.size - offset};
    }
    if (status == STATUS_OK)
        status = decoder_run(&tokenizer->decoder, decoding, tokens, used, &bytes, text);
    buffer_free(&bytes);
    memory_free(tokens);
    return status;
}

enum status tokenizer_decode_part(const struct tokenizer *tokenizer, struct decoding *decoding,
                                  const uint32_t *ids, size_t count, bool skip_special,
                                  struct buffer *text)
{
    size_t size_before = text->size;
    enum status status = tokenizer->bytes || tokenizer->decoder.plain
                             ? decode_plain(tokenizer, ids, count, skip_special, text)
                             : decode_steps(tokenizer, decoding, ids, count, skip_special, text);
    if (status != STATUS_OK)
        text->size = size_before;
    return status;
}

enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                             bool skip_special, struct buffer *text)
{
    struct decoding decoding = {0};
    return tokenizer_decode_part(tokenizer, &decoding, ids, count, skip_special, text);
}

int64_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->eos;
}

int64_t tokenizer_token_id(const struct tokenizer *tokenizer, const char *text)
{
    size_t size = strlen(text);
    if (tokenizer->bytes)
        return size == 1 ? (uint8_t)text[0] : -1;
    for (size_t i = 0; i < tokenizer->added.count; i++)
        if (strcmp(tokenizer->added.tokens[i].content, text) == 0)
            return tokenizer->added.tokens[i].id;
    return bpe_find(&tokenizer->bpe, text, size);
}
