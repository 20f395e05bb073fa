/* text/scanner.h - matches of well-known patterns in ASCII text, by hand: several times as fast as PCRE2's machine code.
 *
 * A scanner answers only where every byte that decides the match is ASCII; otherwise it gives 0 and PCRE2 is asked, so
 * Unicode's classes are known in one place. Equality is checked by tests/fuzz/fuzz_pretokenizer.c. Pure, any thread. */
#ifndef TEXT_SCANNER_H
#define TEXT_SCANNER_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the match that begins at text (size > 0), 0: ask PCRE2. All these patterns match at every place. */
typedef size_t (*scanner)(const uint8_t *text, size_t size);

/* The scanner of exactly this pattern (GPT-2, GPT-4's cl100k and o200k, Llama 3, Qwen2); NULL: there is none. */
scanner scanner_of(const char *pattern);
/* The patterns that have one, for tests; NULL behind the last. */
const char *scanner_pattern(size_t index);

#endif
