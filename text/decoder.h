/* text/decoder.h - the texts of tokens become one text: the decoders of Hugging Face's `tokenizers` package.
 *
 * Most models join the bytes of their tokens and are done (`plain`). The others - those that come from SentencePiece -
 * replace marks, read <0xE2> as a byte and drop the space that encoding had put in front; their steps are a list here.
 * Constant once made: any thread. */
#ifndef TEXT_DECODER_H
#define TEXT_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum { DECODER_STEPS_MAX = 8, DECODER_TEXT_MAX = 64 };

struct decoder_step {
    enum {
        DECODE_REPLACE, /* `from` by `to` in each token */
        DECODE_BYTES, /* runs of <0x00> .. <0xFF> become their bytes; U+FFFD for each when they are no UTF-8 */
        DECODE_FUSE, /* from here on everything is one token */
        DECODE_STRIP, /* at most `start` times `from` in front of each token and `stop` times behind */
        DECODE_MARK /* `from` is a space; in the first token nothing when `to` is "first" */
    } kind;
    char from[DECODER_TEXT_MAX], to[DECODER_TEXT_MAX];
    uint32_t start, stop;
};

struct decoder {
    struct decoder_step steps[DECODER_STEPS_MAX];
    size_t count;
    bool plain; /* the bytes of the tokens, one after the other */
    bool
        streams; /* the text of a run of tokens is known when the run ends, except inside runs of <0x..> */
};

/* What has to be known of the tokens before those in hand; zeroed at the start of a text. */
struct decoding {
    bool begun;                           /* there was a token */
    uint32_t stripped[DECODER_STEPS_MAX]; /* what STRIP after FUSE took in front, by step */
    bool inside[DECODER_STEPS_MAX];       /* it is past what it may take */
};

struct token_text {
    size_t offset, size; /* into the bytes beside it */
};

MUST_CHECK enum status decoder_add(struct decoder *decoder, const struct decoder_step *step);
/* After the last step: finds out what plain and streams are. */
void decoder_finish(struct decoder *decoder);
/* Appends the text of `count` tokens; `tokens` and `bytes` are used up. */
MUST_CHECK enum status decoder_run(const struct decoder *decoder, struct decoding *decoding,
                                   struct token_text *tokens, size_t count, struct buffer *bytes,
                                   struct buffer *text);
/* "<0xE2>": its byte; -1: some other token. */
int decoder_byte(const uint8_t *token, size_t size);

#endif
