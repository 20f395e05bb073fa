/* text/decoder.c - the steps of decoder.h, each from one list of token texts to the next. */
#include "text/decoder.h"

#include <string.h>

#include "text/utf8.h"

enum status decoder_add(struct decoder *decoder, const struct decoder_step *step)
{
    if (decoder->count == DECODER_STEPS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "more than %d decoders", DECODER_STEPS_MAX);
    decoder->steps[decoder->count++] = *step;
    return STATUS_OK;
}

void decoder_finish(struct decoder *decoder)
{
    bool fused = false;
    decoder->plain = decoder->streams = true;
    for (size_t i = 0; i < decoder->count; i++) {
        const struct decoder_step *step = &decoder->steps[i];
        bool front = step->kind == DECODE_STRIP && step->stop == 0;
        if (step->kind != DECODE_FUSE)
            decoder->plain = false;
        if (fused && step->kind != DECODE_FUSE && !front)
            decoder->streams = false;
        fused = fused || step->kind == DECODE_FUSE;
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int decoder_byte(const uint8_t *token, size_t size)
{
    if (size != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    int high = hex_digit(token[3]), low = hex_digit(token[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

/* ---- steps: token texts of `in` become those of `out` ---- */

struct stage {
    struct token_text *tokens;
    size_t count;
    const struct buffer *in;
    struct buffer *out;
};

static enum status run_replace(const struct decoder_step *step, struct stage *stage)
{
    size_t from_size = strlen(step->from);
    for (size_t i = 0; i < stage->count; i++) {
        const uint8_t *at = stage->in->bytes + stage->tokens[i].offset;
        size_t left = stage->tokens[i].size, offset = stage->out->size;
        while (left > 0) {
            const uint8_t *found = memmem(at, left, step->from, from_size);
            size_t before = found ? (size_t)(found - at) : left;
            TRY(buffer_append(stage->out, at, before));
            if (found == NULL)
                break;
            TRY(buffer_text(stage->out, step->to));
            at += before + from_size;
            left -= before + from_size;
        }
        stage->tokens[i] = (struct token_text){offset, stage->out->size - offset};
    }
    return STATUS_OK;
}

/* Writes the bytes that began at `run` of out, as they are or as one U+FFFD each. */
static enum status end_run(struct stage *stage, size_t run, size_t *count)
{
    size_t size = stage->out->size - run;
    if (size == 0)
        return STATUS_OK;
    if (utf8_check(stage->out->bytes + run, size) != size) {
        stage->out->size = run;
        for (size_t i = 0; i < size; i++)
            TRY(buffer_text(stage->out, UTF8_REPLACEMENT));
    }
    stage->tokens[(*count)++] = (struct token_text){run, stage->out->size - run};
    return STATUS_OK;
}

static enum status run_bytes(struct stage *stage)
{
    size_t count = 0, run = 0;
    for (size_t i = 0; i < stage->count; i++) {
        struct token_text token = stage->tokens[i];
        const uint8_t *text = stage->in->bytes + token.offset;
        int value = decoder_byte(text, token.size);
        if (value >= 0) {
            TRY(buffer_append(stage->out, &(uint8_t){(uint8_t)value}, 1));
            continue;
        }
        TRY(end_run(stage, run, &count));
        stage->tokens[count++] = (struct token_text){stage->out->size, token.size};
        TRY(buffer_append(stage->out, text, token.size));
        run = stage->out->size;
    }
    TRY(end_run(stage, run, &count));
    stage->count = count;
    return STATUS_OK;
}

static enum status run_fuse(struct stage *stage)
{
    for (size_t i = 0; i < stage->count; i++)
        TRY(buffer_append(stage->out, stage->in->bytes + stage->tokens[i].offset,
                          stage->tokens[i].size));
    if (stage->count > 0)
        stage->tokens[0] = (struct token_text){0, stage->out->size};
    stage->count = stage->count > 0;
    return STATUS_OK;
}

/* How many bytes of token begin with at most `most` times `text`. */
static size_t front(const uint8_t *token, size_t size, const char *text, uint32_t most)
{
    size_t each = strlen(text), taken = 0;
    for (uint32_t i = 0; i < most && size - taken >= each; i++, taken += each)
        if (memcmp(token + taken, text, each) != 0)
            break;
    return taken;
}

static enum status run_strip(const struct decoder_step *step, uint32_t *stripped, bool *inside,
                             struct stage *stage)
{
    size_t each = strlen(step->from);
    for (size_t i = 0; i < stage->count; i++) {
        const uint8_t *token = stage->in->bytes + stage->tokens[i].offset;
        size_t size = stage->tokens[i].size, taken = 0, offset = stage->out->size;
        if (stripped == NULL) {
            taken = front(token, size, step->from, step->start);
        } else if (!*inside) {
            taken = front(token, size, step->from, step->start - *stripped);
            *stripped += (uint32_t)(taken / each);
            *inside = taken < size || *stripped == step->start;
        }
        for (uint32_t k = 0; k < step->stop && size - taken >= each; k++, size -= each)
            if (memcmp(token + size - each, step->from, each) != 0)
                break;
        TRY(buffer_append(stage->out, token + taken, size - taken));
        stage->tokens[i] = (struct token_text){offset, size - taken};
    }
    return STATUS_OK;
}

static enum status run_mark(const struct decoder_step *step, bool begun, struct stage *stage)
{
    size_t each = strlen(step->from);
    bool drops = step->to[0] != '\0' && !begun;
    for (size_t i = 0; i < stage->count; i++, drops = false) {
        const uint8_t *at = stage->in->bytes + stage->tokens[i].offset;
        size_t left = stage->tokens[i].size, offset = stage->out->size;
        while (left > 0) {
            bool found = left >= each && memcmp(at, step->from, each) == 0;
            size_t used = found ? each : 1;
            if (!found)
                TRY(buffer_append(stage->out, at, 1));
            else if (!drops)
                TRY(buffer_text(stage->out, " "));
            at += used;
            left -= used;
        }
        stage->tokens[i] = (struct token_text){offset, stage->out->size - offset};
    }
    return STATUS_OK;
}

static enum status run_step(const struct decoder *decoder, size_t i, bool fused,
                            struct decoding *decoding, struct stage *stage)
{
    const struct decoder_step *step = &decoder->steps[i];
    switch (step->kind) {
    case DECODE_REPLACE:
        return run_replace(step, stage);
    case DECODE_BYTES:
        return run_bytes(stage);
    case DECODE_FUSE:
        return run_fuse(stage);
    case DECODE_STRIP:
        return run_strip(step, fused ? &decoding->stripped[i] : NULL, &decoding->inside[i], stage);
    case DECODE_MARK:
        break;
    }
    return run_mark(step, decoding->begun, stage);
}

enum status decoder_run(const struct decoder *decoder, struct decoding *decoding,
                        struct token_text *tokens, size_t count, struct buffer *bytes,
                        struct buffer *text)
{
    struct buffer spare;
    struct stage stage = {.tokens = tokens, .count = count, .in = bytes, .out = &spare};
    enum status status = STATUS_OK;
    bool fused = false;
    buffer_init(&spare, 0);
    for (size_t i = 0; i < decoder->count && status == STATUS_OK && count > 0; i++) {
        stage.out->size = 0;
        status = run_step(decoder, i, fused, decoding, &stage);
        fused = fused || decoder->steps[i].kind == DECODE_FUSE;
        struct buffer *written = stage.out;
        stage.out = stage.in == bytes ? bytes : &spare;
        stage.in = written;
    }
    for (size_t i = 0; i < stage.count && status == STATUS_OK; i++)
        status =
            buffer_append(text, stage.in->bytes + stage.tokens[i].offset, stage.tokens[i].size);
    decoding->begun = decoding->begun || count > 0;
    buffer_free(&spare);
    return status;
}
