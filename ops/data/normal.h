/* ops/data/normal.h - the text of a problem as a list of tokens by which two problems are compared (docs/data.md).
 *
 * Unicode NFKC with case folding; then words (runs of letters), numbers ("1,000", "3.50" and "007" are 1000, 3.5 and 7) and
 * the signs + - * / ^ = < > ! % | & # and brackets; a prime (f'), which no letter follows; the colon of 2:3. Gone: other
 * punctuation, dollar signs and braces, what LaTeX writes for looks (\left \, \displaystyle \text ...; \dfrac is \frac),
 * hyphens and slashes between letters. Pure; any thread. */
#ifndef OPS_DATA_NORMAL_H
#define OPS_DATA_NORMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum normal_kind { NORMAL_WORD, NORMAL_NUMBER, NORMAL_SIGN };

struct normal_token {
    uint64_t hash;     /* XXH3 of its text */
    uint32_t at, size; /* in the normal text */
    uint8_t kind;
    bool capital; /* a word whose first letter was a capital */
    bool figure;  /* inside [asy] ... [/asy]: drawing code, not the question */
    bool opens;   /* the first word of a sentence */
};

struct normal {
    struct buffer text;          /* tokens, one blank between two */
    struct normal_token *tokens; /* [count] owned */
    uint32_t count, capacity;
};

void normal_init(struct normal *normal);
void normal_free(struct normal *normal);
/* Replaces what `normal` holds. Bytes that are no UTF-8 count as blanks. */
MUST_CHECK enum status normal_read(struct normal *normal, const char *text, size_t size);
/* Of all tokens in order. Equal texts have equal hashes. */
uint64_t normal_hash(const struct normal *normal);
/* A word that begins sentences or asks ("The", "Find"), as folded text: never a name. */
bool normal_is_common(const char *word, size_t size);

#endif
