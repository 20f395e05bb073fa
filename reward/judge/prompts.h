/* reward/judge/prompts.h - what the judge is asked. Ours; PROMPTS_VERSION goes up with every change of a word, and
 * is part of the judge's version that stands beside each score. Any thread. */
#ifndef REWARD_JUDGE_PROMPTS_H
#define REWARD_JUDGE_PROMPTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

#define PROMPTS_VERSION "1"

struct prompt_text {
    const char *at;
    size_t size;
};

/* All texts are quoted (reward/judge/quote.h); of each at most `most` bytes. *messages: a new reference. */
/* Five grades against the ground truth: 5 same final answer .. 1 wrong or none. */
MUST_CHECK enum status prompts_grade(struct prompt_text question, struct prompt_text truth,
                                     struct prompt_text response, size_t most, json_t **messages);
/* Two answers side by side: [[A]] [[B]] [[C]], or with `five` [[A>>B]] .. [[B>>A]]. */
MUST_CHECK enum status prompts_pair(struct prompt_text question, struct prompt_text a,
                                    struct prompt_text b, bool five, size_t most,
                                    json_t **messages);
/* All constant words of the prompts, for the judge's version. */
const char *prompts_words(void);

#endif
