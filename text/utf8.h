/* text/utf8.h - what is valid UTF-8 and what stands for the rest. Pure, any thread. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the character at `at` (size > 0), or 0 when it is not valid there; *bad is then the length of the maximal
 * piece that one U+FFFD stands for (Unicode 15, 3.9). */
size_t utf8_character(const uint8_t *at, size_t size, size_t *bad);
/* The whole of a cut-off character: more bytes could make it valid. */
bool utf8_is_begun(const uint8_t *at, size_t size);
/* How many bytes from the start are valid; `size`: all. */
size_t utf8_check(const uint8_t *text, size_t size);
/* The code point that begins at `at` of valid UTF-8, and its bytes. */
int32_t utf8_point(const uint8_t *at, size_t *size);
bool utf8_is_space(int32_t point); /* White_Space */

#endif
