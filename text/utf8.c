#include "text/utf8.h"

#include <string.h>

size_t utf8_character(const uint8_t *at, size_t size, size_t *bad)
{
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *bad = 1;
    if (first > 0xf4 || length == 0)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf) {
        if (i >= size || at[i] < low || at[i] > high)
            return 0;
        *bad = i + 1;
    }
    return length;
}

bool utf8_is_begun(const uint8_t *at, size_t size)
{
    size_t bad = 0;
    return size > 0 && at[0] >= 0xc2 && at[0] <= 0xf4 && utf8_character(at, size, &bad) == 0 &&
           bad == size;
}

size_t utf8_check(const uint8_t *text, size_t size)
{
    size_t at = 0, bad = 0;
    while (at < size) {
        uint64_t word;
        if (size - at >= sizeof word) { /* eight ASCII characters at once */
            memcpy(&word, text + at, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof word;
                continue;
            }
        }
        size_t length = utf8_character(text + at, size - at, &bad);
        if (length == 0)
            return at;
        at += length;
    }
    return size;
}

int32_t utf8_point(const uint8_t *at, size_t *size)
{
    if (at[0] < 0x80) {
        *size = 1;
        return at[0];
    }
    if (at[0] < 0xe0) {
        *size = 2;
        return (at[0] & 0x1f) << 6 | (at[1] & 0x3f);
    }
    if (at[0] < 0xf0) {
        *size = 3;
        return (at[0] & 0x0f) << 12 | (at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    }
    *size = 4;
    return (at[0] & 0x07) << 18 | (at[1] & 0x3f) << 12 | (at[2] & 0x3f) << 6 | (at[3] & 0x3f);
}

bool utf8_is_space(int32_t point)
{
    return (point >= 9 && point <= 13) || point == ' ' || point == 0x85 || point == 0xa0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
           point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}
