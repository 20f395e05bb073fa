/* text/pattern_unicode.h - code points that came to Unicode after the tables of PCRE2 10.42 (14.0) and that Oniguruma in
 * Hugging Face's package knows (16.0): a pattern that asks for letters must find them, too. */
#ifndef TEXT_PATTERN_UNICODE_H
#define TEXT_PATTERN_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Those of a general category ("L", "Lu", ...) as the inside of a character class; "": none are known. */
const char *pattern_newer_points(const char *category, size_t size);
/* Whether a code point is one of them. */
bool pattern_newer_has(const char *category, int32_t point);

#endif
