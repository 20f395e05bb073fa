/* text/pretokenizer.h - cuts text into the pieces that byte-pair encoding never joins.
 *
 * A list of regular expressions, each applied to the pieces of the one before. PCRE2 with Unicode
 * properties and \s read as White_Space cuts where the Oniguruma of Hugging Face's package does. */
#ifndef TEXT_PRETOKENIZER_H
#define TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { SPLITS_MAX = 8 };

struct split { /* compiled pattern */
    void *code;
    void *match;
    bool removed; /* behaviour Removed: matches are dropped; otherwise Isolated */
    bool invert;  /* what lies between matches counts as the match */
};

struct pretokenizer {
    struct split splits[SPLITS_MAX];
    size_t count;
    bool byte_level;
    bool add_prefix_space;
};

/* literal: the pattern is plain text. Errors name the pattern and where it does not compile. */
MUST_CHECK enum status pretokenizer_add(struct pretokenizer *pretokenizer, const char *pattern,
                                        bool literal, bool removed, bool invert);
void pretokenizer_destroy(struct pretokenizer *pretokenizer);
/* Calls piece(context, bytes, size) for each piece in order; stops at the first failure. text: valid UTF-8. */
MUST_CHECK enum status
pretokenizer_run(const struct pretokenizer *pretokenizer, const uint8_t *text, size_t size,
                 enum status (*piece)(void *context, const uint8_t *bytes, size_t size),
                 void *context);

#endif
