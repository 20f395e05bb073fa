/* text/added_tokens.h - tokens that are cut out of the text before anything else happens to it.
 *
 * Two sets: those looked for in the text itself, and those looked for in the normalized text. Leftmost first, the longest
 * of those that begin there. Filled, then frozen; then any thread may search. */
#ifndef TEXT_ADDED_TOKENS_H
#define TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct added_token {
    uint32_t id;
    char *content; /* owned */
    char *match;   /* what is looked for: the content, or its normal form; owned */
    size_t match_size;
    bool normalized;
    bool left, right; /* takes the white space on that side with it */
    bool single_word; /* only where no letter or digit stands beside it */
    bool special;
};

struct added_set {
    uint8_t pairs[65536 / 8]; /* a bit for each two bytes that some token begins with */
    bool firsts[256];         /* the same for one byte */
    uint32_t lengths_at[257]; /* by first byte: its lengths are lengths[lengths_at[b]] .. */
    uint32_t *lengths;        /* longest first */
    uint32_t *slots;          /* [slots_size] hash table: index + 1 */
    size_t slots_size;
    size_t count;
};

struct added_tokens {
    struct added_token *tokens; /* [count] */
    size_t count, capacity;
    struct added_set sets[2]; /* [normalized] */
};

/* Takes over content and match. */
MUST_CHECK enum status added_tokens_push(struct added_tokens *added,
                                         const struct added_token *token);
MUST_CHECK enum status added_tokens_freeze(struct added_tokens *added);
void added_tokens_free(struct added_tokens *added);

struct added_match {
    const struct added_token *token; /* NULL: none */
    size_t begin, end;               /* with the white space that the token takes */
    size_t next;                     /* where to search on */
};
/* The first token at or behind `from`. text: valid UTF-8. */
void added_tokens_find(const struct added_tokens *added, bool normalized, const uint8_t *text,
                       size_t size, size_t from, struct added_match *match);

#endif
