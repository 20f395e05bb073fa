#include "actor/openai_text.h"

#include <string.h>

enum status openai_text_create(struct openai_text *text, const struct tokenizer *tokenizer,
                               bool keep_special, const char *const *stops, uint32_t stop_count)
{
    *text = (struct openai_text){.stops = stops, .stop_count = stop_count};
    buffer_init(&text->text, 0);
    return detokenizer_create(&text->detokenizer, tokenizer, !keep_special);
}

void openai_text_free(struct openai_text *text)
{
    detokenizer_destroy(&text->detokenizer);
    buffer_free(&text->text);
}

uint32_t openai_text_characters(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += (at[i] & 0xC0) != 0x80;
    return count;
}

/* The first place at or after `from` where a stop string stands; SIZE_MAX: none. */
static size_t find_stop(const struct openai_text *text, size_t from)
{
    size_t first = SIZE_MAX;
    for (uint32_t i = 0; i < text->stop_count; i++) {
        size_t size = strlen(text->stops[i]);
        size_t begin = from >= size ? from - size + 1 : 0;
        if (text->text.size < begin + size)
            continue;
        const uint8_t *found =
            memmem(text->text.bytes + begin, text->text.size - begin, text->stops[i], size);
        if (found != NULL && (size_t)(found - text->text.bytes) < first)
            first = (size_t)(found - text->text.bytes);
    }
    return first;
}

/* The text has grown from `from`: a stop string may be whole now. */
static void look_for_stop(struct openai_text *text, size_t from)
{
    if (text->text.size == from)
        return;
    text->characters += openai_text_characters(text->text.bytes + from, text->text.size - from);
    size_t stop = find_stop(text, from);
    if (stop == SIZE_MAX)
        return;
    text->text.size = stop;
    text->stopped = text->ended = true;
}

enum status openai_text_push(struct openai_text *text, uint32_t id, bool *stopped)
{
    size_t from = text->text.size;
    if (!text->ended) {
        TRY(detokenizer_push(text->detokenizer, id, &text->text));
        look_for_stop(text, from);
    }
    *stopped = text->stopped;
    return STATUS_OK;
}

enum status openai_text_end(struct openai_text *text)
{
    size_t from = text->text.size;
    if (!text->ended) {
        TRY(detokenizer_flush(text->detokenizer, &text->text));
        look_for_stop(text, from);
    }
    text->ended = true;
    return STATUS_OK;
}

/* Bytes at the end of the text that begin a stop string. */
static size_t begins_stop(const struct openai_text *text)
{
    size_t most = 0;
    for (uint32_t i = 0; i < text->stop_count; i++) {
        size_t size = strlen(text->stops[i]);
        for (size_t part = size - 1; part > most; part--)
            if (part <= text->text.size &&
                memcmp(text->text.bytes + text->text.size - part, text->stops[i], part) == 0)
                most = part;
    }
    return most;
}

void openai_text_take(struct openai_text *text, const char **piece, size_t *size)
{
    size_t ready = text->text.size - (text->ended ? 0 : begins_stop(text));
    while (ready > 0 && ready < text->text.size && (text->text.bytes[ready] & 0xC0) == 0x80)
        ready--;
    ready = ready < text->given ? text->given : ready;
    *piece = ready > text->given ? (const char *)text->text.bytes + text->given : "";
    *size = ready - text->given;
    text->given = ready;
}
