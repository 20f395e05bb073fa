/* reward/judge/reply.h - the body of a chat completion, from a server that may send anything. Pure, any thread. */
#ifndef REWARD_JUDGE_REPLY_H
#define REWARD_JUDGE_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct reply {
    char *text; /* of the first choice, "" for null; UTF-8 without NUL; owned, memory_free */
    uint64_t prompt_tokens, completion_tokens; /* 0 when the server does not say */
    char finish[24];                           /* "stop", "length", ..., "" when not said */
};

/* CORRUPT says what is wrong: no JSON object (a truncated one included), no choice, content of another type. Content may
 * be a string, null, or a list of {"type": "text", "text": ...}. */
MUST_CHECK enum status reply_read(struct reply *reply, const char *body, size_t size);
/* The sentence of an error body ({"error": {"message": ...}} or {"message": ...}), printable and cut to `size`; "" when
 * there is none. */
void reply_error(const char *body, size_t body_size, char *text, size_t size);

#endif
