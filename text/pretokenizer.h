/* text/pretokenizer.h - cuts text into the pieces that byte-pair encoding never joins.
 *
 * A list of steps, each applied to the pieces of the one before: a split by a pattern with one of the five behaviours of
 * Hugging Face's `tokenizers` package, a space in front (ByteLevel), or the marks of Metaspace. Keeps scratch space for
 * its steps: one thread. */
#ifndef TEXT_PRETOKENIZER_H
#define TEXT_PRETOKENIZER_H

#include "core/buffer.h"
#include "text/pattern.h"

enum { PRETOKENIZER_STEPS_MAX = 16 };

enum split_behavior { /* what becomes of a match */
                      SPLIT_REMOVED,
                      SPLIT_ISOLATED,
                      SPLIT_MERGED_WITH_PREVIOUS,
                      SPLIT_MERGED_WITH_NEXT,
                      SPLIT_CONTIGUOUS /* a piece with the matches next to it */
};
enum mark_front { MARK_NEVER, MARK_FIRST, MARK_ALWAYS }; /* FIRST: at the start of the whole text */

struct pretokenizer_step {
    enum { STEP_SPLIT, STEP_SPACE, STEP_MARK } kind;
    struct pattern pattern; /* SPLIT */
    enum split_behavior behavior;
    bool invert;  /* what lies between matches counts as the match */
    char mark[8]; /* MARK: replaces spaces, and stands in front unless it does already */
    enum mark_front front;
    struct buffer scratch;
};

struct pretokenizer {
    struct pretokenizer_step steps[PRETOKENIZER_STEPS_MAX];
    size_t count;
    bool byte_level;
};

/* literal: the pattern is plain text. Errors name the pattern and where it does not compile. */
MUST_CHECK enum status pretokenizer_split(struct pretokenizer *pretokenizer, const char *pattern,
                                          bool literal, enum split_behavior behavior, bool invert);
/* A space in front of each piece that does not begin with one. */
MUST_CHECK enum status pretokenizer_space(struct pretokenizer *pretokenizer);
MUST_CHECK enum status pretokenizer_mark(struct pretokenizer *pretokenizer, const char *mark,
                                         enum mark_front front);
void pretokenizer_destroy(struct pretokenizer *pretokenizer);
/* Calls piece(context, bytes, size) for each piece in order; stops at the first failure. text: valid UTF-8; start: it is
 * the start of the whole text. */
MUST_CHECK enum status
pretokenizer_run(struct pretokenizer *pretokenizer, const uint8_t *text, size_t size, bool start,
                 enum status (*piece)(void *context, const uint8_t *bytes, size_t size),
                 void *context);

#endif
