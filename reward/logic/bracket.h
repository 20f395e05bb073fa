/* reward/logic/bracket.h - sequences of () [] {} <> for the three dyck tasks. Pure, any thread. */
#ifndef REWARD_LOGIC_BRACKET_H
#define REWARD_LOGIC_BRACKET_H

#include <stdbool.h>
#include <stddef.h>

#include "core/rng.h"
#include "reward/answer/answer.h"

enum { BRACKET_KINDS = 4, BRACKET_LENGTH_MAX = 512 };

/* The bracket that closes `open`, 0 when it opens nothing; and the other way round. */
char bracket_close_of(char open);
char bracket_open_of(char close);

/* A correct sequence of `length` brackets (even) of `kinds` kinds, with a NUL; its last `closing` are closing ones. */
void bracket_draw(struct rng *rng, int kinds, int length, int closing, char *sequence);
/* Counted from 1: the first closing bracket that does not fit; length + 1 when only closing ones are missing; -1 when all is
 * right; 0 when the text holds anything else or is too long. */
int bracket_first_error(const char *sequence);
/* The brackets alone when the text holds nothing but brackets, white space, quotes, $ and backslashes. */
bool bracket_clean(struct answer_span text, char clean[BRACKET_LENGTH_MAX + 1]);

#endif
