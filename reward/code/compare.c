#include "reward/code/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_MAX = 400 };

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool next_token(struct code_text *text, struct code_text *token)
{
    while (text->size > 0 && is_blank(text->at[0])) {
        text->at++;
        text->size--;
    }
    size_t n = 0;
    while (n < text->size && !is_blank(text->at[n]))
        n++;
    *token = (struct code_text){text->at, n};
    text->at += n;
    text->size -= n;
    return n > 0;
}

/* Decimal, with or without exponent, or inf; strtod alone takes more (hexadecimal, "nan(x)"). */
static bool read_number(struct code_text token, double *number)
{
    char text[NUMBER_MAX + 1];
    if (token.size == 0 || token.size > NUMBER_MAX)
        return false;
    for (size_t i = 0; i < token.size; i++)
        if (strchr("0123456789+-.eEinftyINFTY", token.at[i]) == NULL || token.at[i] == '\0')
            return false;
    memcpy(text, token.at, token.size);
    text[token.size] = '\0';
    char *end;
    *number = strtod(text, &end);
    return end == text + token.size;
}

static bool same_bytes(const struct code_compare *compare, struct code_text one,
                       struct code_text two)
{
    if (one.size != two.size)
        return false;
    if (!compare->ignore_case)
        return memcmp(one.at, two.at, one.size) == 0;
    for (size_t i = 0; i < one.size; i++) {
        char a = one.at[i], b = two.at[i];
        a = a >= 'A' && a <= 'Z' ? (char)(a + 32) : a;
        b = b >= 'A' && b <= 'Z' ? (char)(b + 32) : b;
        if (a != b)
            return false;
    }
    return true;
}

static bool same_token(const struct code_compare *compare, struct code_text got,
                       struct code_text wanted)
{
    if (same_bytes(compare, got, wanted))
        return true;
    double x, y;
    if (compare->tolerance < 0 || !read_number(got, &x) || !read_number(wanted, &y))
        return false;
    if (!isfinite(x) || !isfinite(y))
        return x == y;
    return fabs(x - y) <= compare->tolerance || fabs(x - y) <= compare->tolerance * fabs(y);
}

static struct code_text without_newline(struct code_text text)
{
    if (text.size > 0 && text.at[text.size - 1] == '\n')
        text.size--;
    return text;
}

bool code_compare_outputs(const struct code_compare *compare, struct code_text got,
                          struct code_text wanted)
{
    if (compare->exact)
        return same_bytes(compare, without_newline(got), without_newline(wanted));
    for (;;) {
        struct code_text one, two;
        bool more = next_token(&got, &one);
        if (more != next_token(&wanted, &two))
            return false;
        if (!more)
            return true;
        if (!same_token(compare, one, two))
            return false;
    }
}
