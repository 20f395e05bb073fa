/* reward/rules/words.h - words as the rules count them. Pure, any thread, linear. */
#ifndef REWARD_RULES_WORDS_H
#define REWARD_RULES_WORDS_H

#include <stdbool.h>

#include "reward/rules/runes.h"

/* Runs of letters, numbers and '_'. */
size_t words_count(struct runes text);
/* Words in capitals among the tokens of the Penn Treebank convention as NLTK's word_tokenize cuts them: "DON'T" is DO and
 * N'T, "CANNOT" is CAN and NOT. False when the arena is full. */
bool words_count_capital(struct arena *arena, struct runes text, size_t *count);

#endif
