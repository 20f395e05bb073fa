#include "ops/dash/number.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const double tens[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                              1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static size_t write_whole(uint64_t value, char *out)
{
    char digits[24];
    size_t count = 0, size = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    while (count > 0)
        out[size++] = digits[--count];
    return size;
}

/* 1e-12 <= value < 1e9, not whole: nine significant digits, plain decimals. */
static size_t write_plain(double value, char *out)
{
    int decimals = 8;
    for (double limit = 10; limit <= value && decimals > 0; limit *= 10)
        decimals--;
    while (value < 1 && value * tens[decimals] < 1e8 && decimals < 22)
        decimals++;
    uint64_t scaled = (uint64_t)llround(value * tens[decimals]);
    while (decimals > 0 && scaled % 10 == 0) {
        scaled /= 10;
        decimals--;
    }
    char digits[24];
    size_t count = write_whole(scaled, digits), size = 0;
    size_t before = count > (size_t)decimals ? count - (size_t)decimals : 0;
    if (before == 0)
        out[size++] = '0';
    memcpy(out + size, digits, before);
    size += before;
    if (decimals == 0)
        return size;
    out[size++] = '.';
    for (size_t zeros = before > 0 ? 0 : (size_t)decimals - count; zeros > 0; zeros--)
        out[size++] = '0';
    memcpy(out + size, digits + before, count - before);
    return size + count - before;
}

size_t number_text(double value, char out[NUMBER_TEXT_MAX])
{
    size_t size = 0;
    if (!isfinite(value)) {
        memcpy(out, "null", 4);
        return 4;
    }
    if (value == 0) { /* and no "-0" */
        out[0] = '0';
        return 1;
    }
    if (value < 0) {
        out[size++] = '-';
        value = -value;
    }
    if (value < 9007199254740992.0 && value == floor(value))
        return size + write_whole((uint64_t)value, out + size);
    if (value >= 1e-12 && value < 1e9)
        return size + write_plain(value, out + size);
    return size + (size_t)snprintf(out + size, NUMBER_TEXT_MAX - size, "%.9g", value);
}

size_t number_seconds(double value, char out[NUMBER_TEXT_MAX])
{
    if (!(value >= 0 && value < 1e15))
        return number_text(value, out);
    uint64_t ms = (uint64_t)llround(value * 1000);
    size_t size = write_whole(ms / 1000, out);
    if (ms % 1000 == 0)
        return size;
    out[size++] = '.';
    out[size++] = (char)('0' + ms / 100 % 10);
    out[size++] = (char)('0' + ms / 10 % 10);
    out[size++] = (char)('0' + ms % 10);
    return size;
}
