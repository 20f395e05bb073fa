/* reward/answer/answer.h - what every kind of reward reads out of a response: the part after the thinking, the last
 * box, the last fenced block. Spans point into the text that came in. Pure, any thread, linear in the text. */
#ifndef REWARD_ANSWER_ANSWER_H
#define REWARD_ANSWER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

struct answer_span {
    const char *at;
    size_t size;
};

/* The text after its last "</think>". False when "<think>" is opened and never closed: there is no answer. */
bool answer_after_thinking(const char *text, size_t size, struct answer_span *answer);
/* What the last \boxed{...} or \fbox{...} with balanced braces holds; "\boxed x" holds the next token. */
bool answer_boxed(struct answer_span text, struct answer_span *inside);
/* The body of the last block fenced by ``` or ~~~ whose language is in `languages` (lower case, separated by spaces, "*" is
 * any, "-" is a fence without a language). The last one may lack its end. language: as written, or NULL. */
bool answer_fenced(struct answer_span text, const char *languages, struct answer_span *body,
                   struct answer_span *language);
/* Without white space at both ends. */
struct answer_span answer_trimmed(struct answer_span span);

#endif
