/* text/tokenizer.c - encode: added tokens are cut out of the text, what lies between is normalized,
 * pre-tokenized and byte-pair encoded; decode: the bytes of the tokens, one after the other. */
#include "text/tokenizer.h"

#include <string.h>
#include <utf8proc.h>

#include "core/file.h"
#include "core/memory.h"
#include "text/tokenizer_parts.h"

enum { BYTE_VOCABULARY = 257, BYTE_EOS = 256 };
static const size_t text_max = 1u << 28;

/* ---- UTF-8 ---- */

/* Bytes of the character at `at`, or 0 when it is not valid there; *bad is then the length of the
 * maximal piece that one U+FFFD stands for. */
static size_t character(const uint8_t *at, size_t size, size_t *bad)
{
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *bad = 1;
    if (first > 0xf4 || length == 0)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf) {
        if (i >= size || at[i] < low || at[i] > high)
            return 0;
        *bad = i + 1;
    }
    return length;
}

enum status text_append_utf8(struct buffer *text, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    size_t start = 0, at = 0, bad = 0;
    if (size == 0)
        return STATUS_OK;
    while (at < size) {
        size_t length = character(from + at, size - at, &bad);
        if (length > 0) {
            at += length;
            continue;
        }
        TRY(buffer_append(text, from + start, at - start));
        TRY(buffer_text(text, "\xef\xbf\xbd"));
        at += bad;
        start = at;
    }
    return buffer_append(text, from + start, at - start);
}

static enum status check_utf8(const uint8_t *text, size_t size)
{
    size_t bad = 0;
    for (size_t at = 0; at < size;) {
        size_t length = character(text + at, size - at, &bad);
        if (length == 0)
            return FAIL(STATUS_INVALID, "text is no UTF-8: byte 0x%02x at offset %zu of %zu",
                        text[at], at, size);
        at += length;
    }
    return STATUS_OK;
}

/* ---- open and close ---- */

static enum status create(struct tokenizer **tokenizer)
{
    struct tokenizer *result = memory_alloc(sizeof *result);
    if (result == NULL)
        return FAIL(STATUS_NO_MEMORY, "tokenizer");
    buffer_init(&result->normal, 0);
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
    for (size_t i = 0; i < old->added_count; i++)
        memory_free((void *)(uintptr_t)old->added[i].content);
    memory_free(old->added);
    bpe_destroy(&old->bpe);
    pretokenizer_destroy(&old->pretokenizer);
    id_list_free(&old->ids);
    buffer_free(&old->normal);
    memory_free(old->points);
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

static enum status open_folder(struct tokenizer *tokenizer, const char *folder)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 256u << 20);
    enum status status = file_path(path, "%s/tokenizer.json", folder);
    if (status == STATUS_OK)
        status = file_read(path, &text);
    if (status == STATUS_OK)
        status = tokenizer_read_json(tokenizer, path, (const char *)text.bytes, text.size);
    buffer_clear(&text);
    if (status == STATUS_OK)
        status = file_path(path, "%s/tokenizer_config.json", folder);
    if (status == STATUS_OK && file_exists(path)) {
        status = file_read(path, &text);
        if (status == STATUS_OK)
            status = tokenizer_read_config(tokenizer, path, (const char *)text.bytes, text.size);
    }
    buffer_free(&text);
    return status;
}

enum status tokenizer_open(struct tokenizer **tokenizer, const char *folder,
                           enum setting_tokenizer kind)
{
    char path[FILE_PATH_MAX];
    struct tokenizer *result = NULL;
    TRY(file_path(path, "%s/tokenizer.json", folder));
    TRY(create(&result));
    if (kind == TOKENIZER_BYTE || (kind == TOKENIZER_AUTO && !file_exists(path))) {
        result->bytes = true;
        result->eos = BYTE_EOS;
    } else {
        enum status status = open_folder(result, folder);
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

/* First place in text where an added token stands (the longest one there); NULL: none. */
static const struct added_token *find_added(const struct tokenizer *tokenizer, bool normalized,
                                            const uint8_t *text, size_t size, size_t *place)
{
    for (size_t at = 0; at < size; at++) {
        if (!tokenizer->added_first[normalized][text[at]])
            continue;
        for (size_t i = 0; i < tokenizer->added_count; i++) {
            const struct added_token *token = &tokenizer->added[i];
            if (token->normalized == normalized && token->size <= size - at &&
                memcmp(token->content, text + at, token->size) == 0) {
                *place = at;
                return token;
            }
        }
    }
    return NULL;
}

/* Cuts added tokens out and hands what lies between to `between`. */
static enum status
cut_added(struct tokenizer *tokenizer, bool normalized, const uint8_t *text, size_t size,
          enum status (*between)(struct tokenizer *tokenizer, const uint8_t *text, size_t size))
{
    while (size > 0) {
        size_t place = size;
        const struct added_token *token = find_added(tokenizer, normalized, text, size, &place);
        if (place > 0)
            TRY(between(tokenizer, text, place));
        if (token == NULL)
            break;
        TRY(id_list_push(&tokenizer->ids, token->id));
        text += place + token->size;
        size -= place + token->size;
    }
    return STATUS_OK;
}

static enum status encode_normal(struct tokenizer *tokenizer, const uint8_t *text, size_t size)
{
    if (!tokenizer->pretokenizer.add_prefix_space || text[0] == ' ')
        return pretokenizer_run(&tokenizer->pretokenizer, text, size, encode_piece, tokenizer);
    uint8_t *spaced = memory_alloc(size + 1);
    if (spaced == NULL)
        return FAIL(STATUS_NO_MEMORY, "text of %zu bytes", size);
    spaced[0] = ' ';
    memcpy(spaced + 1, text, size);
    enum status status =
        pretokenizer_run(&tokenizer->pretokenizer, spaced, size + 1, encode_piece, tokenizer);
    memory_free(spaced);
    return status;
}

static bool is_ascii(const uint8_t *text, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++)
        all |= text[i];
    return all < 0x80;
}

/* Unicode normalization into tokenizer->points, encoded as UTF-8 in place. */
static enum status normalize(struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                             size_t *normal_size)
{
    utf8proc_ssize_t count = 0;
    for (int round = 0; round < 2; round++) {
        count = utf8proc_decompose(text, (utf8proc_ssize_t)size, tokenizer->points,
                                   (utf8proc_ssize_t)tokenizer->points_capacity,
                                   (utf8proc_option_t)tokenizer->normal_form);
        if (count < 0)
            return FAIL(STATUS_INVALID, "Unicode normalization: %s", utf8proc_errmsg(count));
        if ((size_t)count < tokenizer->points_capacity)
            break;
        /* one more than needed: reencode writes a NUL */
        size_t capacity = (size_t)count + 64;
        int32_t *points =
            memory_grow(tokenizer->points, tokenizer->points_capacity * sizeof *points,
                        capacity * sizeof *points);
        if (points == NULL)
            return FAIL(STATUS_NO_MEMORY, "text of %zu characters", capacity);
        tokenizer->points = points;
        tokenizer->points_capacity = capacity;
    }
    utf8proc_ssize_t bytes =
        utf8proc_reencode(tokenizer->points, count, (utf8proc_option_t)tokenizer->normal_form);
    if (bytes < 0)
        return FAIL(STATUS_INVALID, "Unicode normalization: %s", utf8proc_errmsg(bytes));
    *normal_size = (size_t)bytes;
    return STATUS_OK;
}

static enum status encode_between(struct tokenizer *tokenizer, const uint8_t *text, size_t size)
{
    if (tokenizer->normal_form == 0 || is_ascii(text, size))
        return cut_added(tokenizer, true, text, size, encode_normal);
    TRY(normalize(tokenizer, text, size, &size));
    return cut_added(tokenizer, true, (const uint8_t *)tokenizer->points, size, encode_normal);
}

static enum status encode_bytes(struct tokenizer *tokenizer, const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        TRY(id_list_push(&tokenizer->ids, text[i]));
    return STATUS_OK;
}

enum status tokenizer_encode(struct tokenizer *tokenizer, const char *text, size_t size,
                             struct arena *arena, uint32_t **ids, size_t *count)
{
    const uint8_t *bytes = (const uint8_t *)text;
    tokenizer->ids.count = 0;
    if (size > text_max)
        return FAIL(STATUS_LIMIT, "text of %zu bytes; at most %zu are encoded at once", size,
                    text_max);
    if (tokenizer->bytes) {
        TRY(encode_bytes(tokenizer, bytes, size));
    } else {
        TRY(check_utf8(bytes, size));
        TRY(cut_added(tokenizer, false, bytes, size, encode_between));
    }
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

enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                             bool skip_special, struct buffer *text)
{
    size_t size_before = text->size;
    for (size_t i = 0; i < count; i++) {
        enum status status = STATUS_OK;
        if (ids[i] >= tokenizer_vocabulary(tokenizer))
            status = buffer_text(text, "\xef\xbf\xbd");
        else if (!skip_special || !tokenizer_is_special(tokenizer, ids[i]))
            status = decode_one(tokenizer, ids[i], text);
        if (status != STATUS_OK) {
            text->size = size_before;
            return status;
        }
    }
    return STATUS_OK;
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
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (strcmp(tokenizer->added[i].content, text) == 0)
            return tokenizer->added[i].id;
    return bpe_find(&tokenizer->bpe, text, size);
}
