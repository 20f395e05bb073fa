/* reward/logic/words.h - the words that problems are told in: common English words, things, names and places, typed
 * for this project. Lower case ASCII letters only in the word list, each once. Constant. */
#ifndef REWARD_LOGIC_WORDS_H
#define REWARD_LOGIC_WORDS_H

#include <stddef.h>

extern const char *const words_common[]; /* 3 to 12 letters */
extern const size_t words_common_count;
extern const char *const words_things[]; /* one to two words each */
extern const size_t words_things_count;
extern const char *const words_names[];
extern const size_t words_names_count;
extern const char *const words_places[]; /* "at the ..." */
extern const size_t words_places_count;

#endif
