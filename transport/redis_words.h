/* redis_words.h - what a Redis, or something that is none, has said: as sentences that say what to do.
 * Private to transport/.
 *
 * Redis begins an error with a word (https://redis.io/docs/reference/protocol-spec/, "RESP errors"); the words below
 * are those that a client of plain hashes and streams can meet. */
#ifndef TRANSPORT_REDIS_WORDS_H
#define TRANSPORT_REDIS_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* Does an error reply begin with this word ("OOM")? */
bool redis_error_is(const char *error, const char *word);
/* What to do about an error reply; "" when there is nothing to say beyond its own words. A literal. */
const char *redis_error_advice(const char *error);
/* A reply that comes while Redis starts or changes its master: AGAIN; INVALID for all others. */
enum status redis_error_status(const char *error);
/* What answers with these first bytes ("an SSH server"); NULL when they say nothing. A literal. */
const char *redis_stranger(const char *bytes, size_t size);

#endif
