/* reward/judge/quote.h - text of the policy (or of a data set) inside a prompt for the judge. Pure, any thread.
 *
 * A policy that can write "[[5]]" where the judge repeats it, close the marks around its text, or put a chat token there,
 * learns to. Quoted text therefore keeps its meaning for a reader and loses its power: a blank is put between brackets
 * that stand together ("[ [5] ]"), into "[RESULT]", the marks, thinking tags and the control tokens of common chat
 * formats; bytes that are no UTF-8 and control characters other than line feed and tab become U+FFFD. */
#ifndef REWARD_JUDGE_QUOTE_H
#define REWARD_JUDGE_QUOTE_H

#include "core/buffer.h"

/* What the prompts write around quoted text; quote_append lets none of it through. */
#define QUOTE_OPEN  "<<<<"
#define QUOTE_CLOSE ">>>>"

/* Appends the text, disarmed; of more than `most` bytes the middle is left out and a line says how much. */
MUST_CHECK enum status quote_append(struct buffer *out, const char *text, size_t size, size_t most);

#endif
