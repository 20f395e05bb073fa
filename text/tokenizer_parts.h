/* text/tokenizer_parts.h - what is inside a tokenizer; for tokenizer.c, which runs it, detokenizer.c, and the readers of
 * files, which fill it. */
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include <jansson.h>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

enum { AROUND_MAX = 16, NESTED_MAX = 8, TOKEN_TEXT_MAX = 4096 };

struct tokenizer {
    bool bytes; /* the byte tokenizer; the rest is empty */
    struct bpe bpe;
    struct pretokenizer pretokenizer;
    struct normalizer normalizer;
    struct added_tokens added;
    struct decoder decoder;
    bool decoder_bytes; /* the decoder undoes the byte-level alphabet */
    uint32_t before[AROUND_MAX],
        behind[AROUND_MAX]; /* what the post-processor puts around a text */
    size_t before_count, behind_count;
    int64_t eos;
    struct id_list ids; /* scratch of encode */
};

struct source {
    const char *name; /* file, for errors */
    struct tokenizer *tokenizer;
};

/* UNSUPPORTED: "<file>: <part> <what> is not supported" */
MUST_CHECK enum status source_refuse(const struct source *source, const char *part,
                                     const char *what);
const char *part_type(const json_t *part);
bool part_is_set(const json_t *part, const char *key);

/* The parts around the model: normalizer, pre_tokenizer, decoder and post_processor of a tokenizer.json. The
 * post-processor comes after the tokens. */
MUST_CHECK enum status tokenizer_read_parts(const struct source *source, const json_t *root);
MUST_CHECK enum status tokenizer_read_around(const struct source *source, const json_t *root);
/* A whole tokenizer.json, parsed. */
MUST_CHECK enum status tokenizer_read_root(struct tokenizer *tokenizer, const char *name,
                                           const json_t *root);
MUST_CHECK enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *name,
                                           const char *json, size_t size);
/* eos_token of a tokenizer_config.json or special_tokens_map.json, a string or an object with "content". */
MUST_CHECK enum status tokenizer_read_config(struct tokenizer *tokenizer, const char *name,
                                             const char *json, size_t size);
/* vocab.json and merges.txt with the files beside them. NOT_FOUND: not in this folder. */
MUST_CHECK enum status tokenizer_read_folder(struct tokenizer *tokenizer, const char *folder);
MUST_CHECK enum status json_parse(const char *name, const char *json, size_t size, size_t flags,
                                  json_t **root);

/* Appends the text of the next ids of a text (text/decoder.h). */
MUST_CHECK enum status tokenizer_decode_part(const struct tokenizer *tokenizer,
                                             struct decoding *decoding, const uint32_t *ids,
                                             size_t count, bool skip_special, struct buffer *text);

#endif
