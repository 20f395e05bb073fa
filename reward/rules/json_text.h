/* reward/rules/json_text.h - whether a text is JSON, as Python's json.loads takes it: any value at the top, NaN and
 * Infinity too, numbers of any size but integers of at most 4,300 digits. Pure, any thread, linear. */
#ifndef REWARD_RULES_JSON_TEXT_H
#define REWARD_RULES_JSON_TEXT_H

#include <stdbool.h>

#include "reward/rules/runes.h"

enum { JSON_TEXT_DEPTH_MAX = 900 }; /* deeper is refused */

bool json_text_is_valid(struct runes text);

#endif
