/* reward/rules/sentences.h - how many sentences an English text has, as the splitter counts them that the published
 * verdicts of the instruction rules were made with (Punkt). Pure, any thread, linear. */
#ifndef REWARD_RULES_SENTENCES_H
#define REWARD_RULES_SENTENCES_H

#include <stdbool.h>

#include "reward/rules/runes.h"

/* False when the arena is full. An empty text has none. */
bool sentences_count(struct arena *arena, struct runes text, size_t *count);

enum sentence_word {
    SENTENCE_ABBREVIATION, /* without its last period */
    SENTENCE_STARTER,
    SENTENCE_AFTER_NUMBER,
    SENTENCE_PLAIN, /* begins a sentence when capitalised */
    SENTENCE_TITLE  /* a common word that is also capitalised in names */
};
/* word: lower case. Any thread. */
bool sentence_word_is(const char *word, enum sentence_word kind);

#endif
