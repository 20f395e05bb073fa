#include "reward/logic/bracket.h"

#include <string.h>

static const char opening[] = "([{<", closing_ones[] = ")]}>";

char bracket_close_of(char open)
{
    const char *at = open != '\0' ? strchr(opening, open) : NULL;
    return at != NULL ? closing_ones[at - opening] : '\0';
}

char bracket_open_of(char close)
{
    const char *at = close != '\0' ? strchr(closing_ones, close) : NULL;
    return at != NULL ? opening[at - closing_ones] : '\0';
}

/* Whether `places` more brackets can lead from one depth to the other. */
static bool can_reach(int depth, int wanted, int places)
{
    return depth >= 0 && depth - wanted <= places && wanted - depth <= places;
}

void bracket_draw(struct rng *rng, int kinds, int length, int closing, char *sequence)
{
    char stack[BRACKET_LENGTH_MAX];
    int depth = 0;
    for (int i = 0; i < length; i++) {
        int places = length - closing - i - 1; /* free ones after this */
        bool may_open = places >= 0 && can_reach(depth + 1, closing, places);
        bool may_close = places < 0 || can_reach(depth - 1, closing, places);
        if (may_open && (!may_close || rng_below(rng, 2) == 0)) {
            stack[depth++] = opening[rng_below(rng, (uint32_t)kinds)];
            sequence[i] = stack[depth - 1];
        } else {
            sequence[i] = bracket_close_of(stack[--depth]);
        }
    }
    sequence[length] = '\0';
}

int bracket_first_error(const char *sequence)
{
    char stack[BRACKET_LENGTH_MAX];
    int depth = 0, i = 0;
    for (; sequence[i] != '\0'; i++) {
        char open = bracket_open_of(sequence[i]);
        if (i == BRACKET_LENGTH_MAX || (open == '\0' && bracket_close_of(sequence[i]) == '\0'))
            return 0;
        if (open == '\0')
            stack[depth++] = sequence[i];
        else if (depth == 0 || stack[--depth] != open)
            return i + 1;
    }
    return depth == 0 ? -1 : i + 1;
}

bool bracket_clean(struct answer_span text, char clean[BRACKET_LENGTH_MAX + 1])
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        if (c != '\0' && strchr(" \t\r\n\"'`$\\", c) != NULL)
            continue;
        if ((bracket_open_of(c) == '\0' && bracket_close_of(c) == '\0') ||
            size == BRACKET_LENGTH_MAX)
            return false;
        clean[size++] = c;
    }
    clean[size] = '\0';
    return size > 0;
}
