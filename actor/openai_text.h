/* actor/openai_text.h - tokens of an answer become text as they come: complete UTF-8 only, cut at stop strings.
 *
 * What was given out never changes: bytes that may still become a character wait, and so does text that may still
 * become a stop string. Bytes that are no UTF-8 become U+FFFD, as in the whole answer at once. One thread. */
#ifndef ACTOR_OPENAI_TEXT_H
#define ACTOR_OPENAI_TEXT_H

#include "core/buffer.h"
#include "text/detokenizer.h"

enum { OPENAI_STOPS_MAX = 16 };

struct openai_text {
    struct detokenizer *detokenizer;
    const char *const *stops; /* [stop_count] borrowed, none empty */
    uint32_t stop_count;
    struct buffer text;  /* UTF-8; after a stop string was found what stands before it */
    size_t given;        /* of text: read by openai_text_take */
    uint32_t characters; /* code points of text */
    bool stopped, ended;
};

/* keep_special: special tokens are text, too. */
MUST_CHECK enum status openai_text_create(struct openai_text *text,
                                          const struct tokenizer *tokenizer, bool keep_special,
                                          const char *const *stops, uint32_t stop_count);
void openai_text_free(struct openai_text *text); /* a zeroed one is fine */
/* One more token; *stopped: a stop string is there, and no further token counts. */
MUST_CHECK enum status openai_text_push(struct openai_text *text, uint32_t id, bool *stopped);
/* No further token: what waits is decided. */
MUST_CHECK enum status openai_text_end(struct openai_text *text);
/* What can be given out and was not: *piece [*size], valid until the next call. */
void openai_text_take(struct openai_text *text, const char **piece, size_t *size);
/* Code points of UTF-8. */
uint32_t openai_text_characters(const void *bytes, size_t size);

#endif
