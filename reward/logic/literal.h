/* reward/logic/literal.h - reads lists, tuples, dictionaries and scalars as Python or JSON writes them.
 *
 * Lists, tuples and sets become JSON arrays, dictionaries objects (a key that is no text becomes its text: (1, 2)
 * is "1,2"), None null. With LITERAL_WORDS whatever stands between commas and brackets is an element: a number when
 * all of it is one, else a text without the spaces around it ("2 1 4 3"); rows need no comma between them; \{ is {.
 * Bounds: depth 10, and a number of steps linear in the text. Any thread. */
#ifndef REWARD_LOGIC_LITERAL_H
#define REWARD_LOGIC_LITERAL_H

#include <jansson.h>
#include <stdbool.h>

#include "reward/answer/answer.h"

enum { LITERAL_WORDS = 1 };

/* The literal that makes up the whole text (spaces around it aside); NULL when it is none. The caller's. */
json_t *literal_read(struct answer_span text, unsigned flags);
/* The first list, tuple, set or dictionary in *rest with at least `depth` levels ([[1]] has 2, [] has 1; dictionaries
 * count too); *rest goes on behind it. NULL when there is none left. The caller's. Walking through a text with it is
 * linear in the text. */
json_t *literal_next(struct answer_span *rest, int depth, unsigned flags);
/* The last one of the whole text. */
json_t *literal_last(struct answer_span text, int depth, unsigned flags);

/* Numbers that come as 3, 3.0 or "3". False: not a whole number that fits an int. */
bool literal_int(const json_t *value, int *number);
/* The text of a text or whole number (written into `scratch`), "" for anything else. */
const char *literal_text(const json_t *value, char scratch[24]);

#endif
