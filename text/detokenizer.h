/* text/detokenizer.h - token ids to text as they come, for live views and streamed answers.
 *
 *     TRY(detokenizer_create(&detokenizer, tokenizer, true));
 *     TRY(detokenizer_push(detokenizer, id, &text));     appends what is certain by now: whole characters
 *     TRY(detokenizer_flush(detokenizer, &text));        the rest; then a new text may begin
 *
 * What all calls append together is text_append_utf8 of tokenizer_decode of all ids. Held back are the bytes of a character
 * that is not complete, and with decoders that read <0xE2> as bytes the run of such tokens. One thread. */
#ifndef TEXT_DETOKENIZER_H
#define TEXT_DETOKENIZER_H

#include "text/tokenizer.h"

struct detokenizer;

/* tokenizer: borrowed; decoding does not change it. */
MUST_CHECK enum status detokenizer_create(struct detokenizer **detokenizer,
                                          const struct tokenizer *tokenizer, bool skip_special);
void detokenizer_destroy(struct detokenizer **detokenizer); /* NULL is fine; sets it to NULL */
/* After an error the text is unchanged and the detokenizer must be flushed or destroyed. */
MUST_CHECK enum status detokenizer_push(struct detokenizer *detokenizer, uint32_t id,
                                        struct buffer *text);
MUST_CHECK enum status detokenizer_flush(struct detokenizer *detokenizer, struct buffer *text);

#endif
