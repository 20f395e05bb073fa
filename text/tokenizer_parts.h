/* text/tokenizer_parts.h - what is inside a tokenizer; for tokenizer.c, which runs it, and
 * tokenizer_json.c, which fills it from tokenizer.json. */
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

struct added_token {
    uint32_t id;
    uint32_t size;
    const char *content; /* owned by the tokenizer, NUL-terminated */
    bool normalized;     /* looked for in the normalized text, otherwise in the text itself */
};

struct tokenizer {
    bool bytes; /* the byte tokenizer; the rest is empty */
    struct bpe bpe;
    struct pretokenizer pretokenizer;
    struct added_token *added; /* [added_count], longest first */
    size_t added_count;
    bool added_first[2][256]; /* [normalized][first byte]: some added token starts so */
    int normal_form;          /* utf8proc options; 0 = none */
    int64_t eos;
    /* scratch of encode */
    struct id_list ids;
    struct buffer normal;
    int32_t *points;
    size_t points_capacity;
};

MUST_CHECK enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *name,
                                           const char *json, size_t size);
/* eos_token of a tokenizer_config.json, a string or an object with "content". */
MUST_CHECK enum status tokenizer_read_config(struct tokenizer *tokenizer, const char *name,
                                             const char *json, size_t size);

#endif
