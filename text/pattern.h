/* text/pattern.h - regular expressions of tokenizer.json: written for Oniguruma (Ruby's syntax), run by PCRE2.
 *
 * The pattern is rewritten where the two read it differently: \s is White_Space, \h a hexadecimal digit, \w letters,
 * marks, decimal digits and connectors, {n,m}+ a repeated repeat, ^ and $ are ends of lines, a class inside a class is
 * their union. What cannot be rewritten (&&, \b, POSIX classes) is STATUS_UNSUPPORTED by name. Patterns of well-known
 * tokenizers have a scanner of ASCII text besides (text/scanner.h); it gives the same matches.
 *
 * A pattern keeps the space for its matches: one thread at a time. */
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { PATTERN_LITERAL_MAX = 64 };

struct pattern {
    void *code; /* NULL: a literal */
    void *match;
    bool jit;
    uint8_t literal[PATTERN_LITERAL_MAX];
    size_t literal_size;
    size_t (*scan)(const uint8_t *text, size_t size); /* NULL: none */
};

struct pattern_search { /* where one walk through a text is; zeroed at its start */
    size_t from, last_end;
    bool matched;
};

/* literal: the pattern is plain text. Errors name the pattern and where it does not compile. */
MUST_CHECK enum status pattern_compile(struct pattern *pattern, const char *text, bool literal);
void pattern_free(struct pattern *pattern); /* a zeroed one is fine */
/* The next match, an empty one right behind the last one left out; *found = false at the end. text: valid UTF-8.
 * LIMIT: PCRE2 gave up. */
MUST_CHECK enum status pattern_next(const struct pattern *pattern, struct pattern_search *search,
                                    const uint8_t *text, size_t size, size_t range[2], bool *found);

#endif
