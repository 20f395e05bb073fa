/* reward/logic/word_list.h - answers that are a list of words or names: split, compare in order or as a set. Pure,
 * any thread. */
#ifndef REWARD_LOGIC_WORD_LIST_H
#define REWARD_LOGIC_WORD_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "reward/answer/answer.h"

enum { WORD_LIST_MAX = 256, WORD_BYTES_MAX = 64 };

/* Lower case, without spaces, quotes, brackets and LaTeX commands: "Post-It note" is post-itnote. */
struct word_list {
    size_t count;
    char word[WORD_LIST_MAX][WORD_BYTES_MAX];
};

/* Splits at commas (, ， 、 ;), < and >, line ends, and, with spaces, at white space; empty pieces count as nothing.
 * False: too many or too long ones. */
bool word_list_read(struct answer_span text, bool spaces, struct word_list *list);
bool word_list_equal(const struct word_list *a, const struct word_list *b);
/* As sets: order and repetitions do not matter. */
bool word_list_same_set(const struct word_list *a, const struct word_list *b);

#endif
