/* text/detokenizer.c - two things wait: ids whose text is not known yet, and bytes that are no whole character yet. */
#include "text/detokenizer.h"

#include <string.h>

#include "core/memory.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

struct detokenizer {
    const struct tokenizer *tokenizer; /* borrowed */
    bool skip_special;
    struct id_list held;    /* ids */
    struct buffer bytes;    /* decoded and not handed out */
    struct decoding before; /* the tokens that are decoded */
};

enum status detokenizer_create(struct detokenizer **detokenizer, const struct tokenizer *tokenizer,
                               bool skip_special)
{
    struct detokenizer *result = memory_alloc(sizeof *result);
    if (result == NULL)
        return FAIL(STATUS_NO_MEMORY, "detokenizer");
    result->tokenizer = tokenizer;
    result->skip_special = skip_special;
    buffer_init(&result->bytes, 0);
    *detokenizer = result;
    return STATUS_OK;
}

void detokenizer_destroy(struct detokenizer **detokenizer)
{
    struct detokenizer *old = *detokenizer;
    if (old == NULL)
        return;
    *detokenizer = NULL;
    id_list_free(&old->held);
    buffer_free(&old->bytes);
    memory_free(old);
}

/* The next token may change what this one becomes. */
static bool waits(const struct detokenizer *detokenizer, uint32_t id)
{
    const struct tokenizer *tokenizer = detokenizer->tokenizer;
    if (tokenizer->bytes || tokenizer->decoder.plain)
        return false;
    if (!tokenizer->decoder.streams)
        return true;
    if (id >= tokenizer->bpe.vocabulary || tokenizer->bpe.tokens[id].size == 0 ||
        (detokenizer->skip_special && tokenizer->bpe.tokens[id].special))
        return detokenizer->held.count > 0; /* gives nothing: a run goes on */
    const struct bpe_token *token = &tokenizer->bpe.tokens[id];
    return decoder_byte(tokenizer->bpe.bytes.bytes + token->offset, token->size) >= 0;
}

static enum status decode_held(struct detokenizer *detokenizer)
{
    enum status status = tokenizer_decode_part(detokenizer->tokenizer, &detokenizer->before,
                                               detokenizer->held.ids, detokenizer->held.count,
                                               detokenizer->skip_special, &detokenizer->bytes);
    detokenizer->held.count = 0;
    return status;
}

/* Bytes at the end that may become a character with those to come. */
static size_t cut_off(const uint8_t *bytes, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++)
        if (utf8_is_begun(bytes + size - back, back))
            return back;
    return 0;
}

static enum status hand_out(struct detokenizer *detokenizer, size_t keep, struct buffer *text)
{
    struct buffer *bytes = &detokenizer->bytes;
    size_t size = bytes->size - keep, size_before = text->size;
    enum status status = text_append_utf8(text, bytes->bytes, size);
    if (status != STATUS_OK) {
        text->size = size_before;
        return status;
    }
    if (keep > 0)
        memmove(bytes->bytes, bytes->bytes + size, keep);
    bytes->size = keep;
    return STATUS_OK;
}

enum status detokenizer_push(struct detokenizer *detokenizer, uint32_t id, struct buffer *text)
{
    TRY(id_list_push(&detokenizer->held, id));
    if (waits(detokenizer, id))
        return STATUS_OK;
    TRY(decode_held(detokenizer));
    return hand_out(detokenizer, cut_off(detokenizer->bytes.bytes, detokenizer->bytes.size), text);
}

enum status detokenizer_flush(struct detokenizer *detokenizer, struct buffer *text)
{
    enum status status = decode_held(detokenizer);
    if (status == STATUS_OK)
        status = hand_out(detokenizer, 0, text);
    detokenizer->bytes.size = 0;
    memset(&detokenizer->before, 0, sizeof detokenizer->before);
    return status;
}
