/* text/tokenizer.h - text to token ids and back, as the Hugging Face `tokenizers` package does it.
 *
 * Reads tokenizer.json, or vocab.json with merges.txt as GPT-2 and Qwen2 have them. BPE models; which normalizers,
 * pre-tokenizers, decoders and post-processors there are stands in docs/tokenizers.md. Anything else is
 * STATUS_UNSUPPORTED by name: a tokenizer that is nearly right trains on the wrong tokens. Ids are those of the text
 * alone unless the post-processor's tokens (begin of text and such) are asked for; a chat format writes such tokens into
 * the text.
 *
 * The byte tokenizer needs no file: ids 0..255 are bytes, 256 ends a text (and has no text itself).
 *
 *     TRY(tokenizer_open(&tokenizer, folder, TOKENIZER_AUTO));
 *     TRY(tokenizer_encode(tokenizer, text, strlen(text), arena, &ids, &count));
 *
 * A tokenizer keeps scratch space for encode: one thread owns it. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/settings.h"
#include "core/status.h"

struct tokenizer;

/* TOKENIZER_AUTO: tokenizer.json when the folder has one, else vocab.json and merges.txt, else the byte tokenizer.
 * TOKENIZER_JSON: not the byte tokenizer. Errors name file and part. */
MUST_CHECK enum status tokenizer_open(struct tokenizer **tokenizer, const char *folder,
                                      enum setting_tokenizer kind);
/* The same from the text of a tokenizer.json; config is the text of tokenizer_config.json or NULL. `name` is for errors. */
MUST_CHECK enum status tokenizer_open_json(struct tokenizer **tokenizer, const char *name,
                                           const char *json, size_t size, const char *config,
                                           size_t config_size);
void tokenizer_close(struct tokenizer **tokenizer); /* NULL is fine; sets *tokenizer to NULL */

/* ids [count] in the arena. Added tokens in the text become their ids. INVALID: text is no UTF-8, or has a
 * character that the vocabulary lacks (no unk_token); LIMIT: the arena is full. */
MUST_CHECK enum status tokenizer_encode(struct tokenizer *tokenizer, const char *text, size_t size,
                                        struct arena *arena, uint32_t **ids, size_t *count);
/* The same with what the post-processor puts around a text: what others call add_special_tokens. */
MUST_CHECK enum status tokenizer_encode_special(struct tokenizer *tokenizer, const char *text,
                                                size_t size, struct arena *arena, uint32_t **ids,
                                                size_t *count);
/* The same with what the post-processor puts before a text, and nothing behind it: a prompt that no chat format wrote. It
 * begins as a text does, and a model goes on with it. */
MUST_CHECK enum status tokenizer_encode_prompt(struct tokenizer *tokenizer, const char *text,
                                               size_t size, struct arena *arena, uint32_t **ids,
                                               size_t *count);
/* What the post-processor puts before a text, and behind it: [*count], the tokenizer's. */
const uint32_t *tokenizer_before(const struct tokenizer *tokenizer, size_t *count);
const uint32_t *tokenizer_behind(const struct tokenizer *tokenizer, size_t *count);
/* Appends the bytes of ids, special tokens left out when skip_special. A cut-off id sequence may end inside
 * a character; bytes are never changed here. Ids inside the vocabulary that no token has give nothing. An id
 * beyond it (a model's padded rows can be sampled) gives U+FFFD: a reader and a reward see that something was there. */
MUST_CHECK enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids,
                                        size_t count, bool skip_special, struct buffer *text);

uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer); /* largest id + 1 */
int64_t tokenizer_eos(const struct tokenizer *tokenizer); /* -1: tokenizer_config.json names none */
/* Id of the token that decodes to exactly this text ("<|im_end|>", " the"); -1: none. */
int64_t tokenizer_token_id(const struct tokenizer *tokenizer, const char *text);
bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id);

/* Appends bytes as UTF-8 that JSON can carry: each maximal invalid piece becomes U+FFFD (Unicode 15, 3.9). */
MUST_CHECK enum status text_append_utf8(struct buffer *text, const void *bytes, size_t size);

#endif
