/* text/normalizer.h - what text goes through before it is cut: Unicode forms, replacements, what stands in front.
 *
 * A list of steps, each of a normalizer of Hugging Face's `tokenizers` package. Keeps scratch space: one thread. */
#ifndef TEXT_NORMALIZER_H
#define TEXT_NORMALIZER_H

#include "core/buffer.h"
#include "text/pattern.h"

enum { NORMALIZER_STEPS_MAX = 8 };

struct normalizer_step {
    enum { NORMAL_FORM, NORMAL_PREPEND, NORMAL_REPLACE, NORMAL_STRIP, NORMAL_LOWERCASE } kind;
    int form;               /* FORM: options of utf8proc */
    struct pattern pattern; /* REPLACE */
    char *text;             /* of PREPEND and REPLACE, owned */
    bool left, right;       /* STRIP */
};

struct normalizer {
    struct normalizer_step steps[NORMALIZER_STEPS_MAX];
    size_t count;
    uint8_t *
        changes; /* a bit for each code point that NFC may change or join with its neighbours; made when NFC first meets a text that is not ASCII */
    struct buffer texts[2]; /* results, in turns */
    int32_t *points;        /* [points_capacity] scratch of a Unicode form */
    size_t points_capacity;
};

MUST_CHECK enum status normalizer_form(struct normalizer *normalizer,
                                       const char *name); /* NFC .. */
MUST_CHECK enum status normalizer_prepend(struct normalizer *normalizer, const char *text);
MUST_CHECK enum status normalizer_replace(struct normalizer *normalizer, const char *pattern,
                                          bool literal, const char *text);
MUST_CHECK enum status normalizer_strip(struct normalizer *normalizer, bool left, bool right);
MUST_CHECK enum status normalizer_lowercase(struct normalizer *normalizer);
void normalizer_destroy(struct normalizer *normalizer);
/* *text and *size become those of the result: the text itself when nothing changes, else memory of the normalizer until
 * the next call. text: valid UTF-8. */
MUST_CHECK enum status normalizer_run(struct normalizer *normalizer, const uint8_t **text,
                                      size_t *size);

#endif
