/* redis_command.h - one thing the view has to write, from a caller's push to the words that Redis reads.
 * Private to transport/. One thread but for redis_command_make. */
#ifndef TRANSPORT_REDIS_COMMAND_H
#define TRANSPORT_REDIS_COMMAND_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum {
    REDIS_KEY_MAX = 256,
    REDIS_JSON_MAX = 1 << 20,
    REDIS_FIELDS_MAX = 512, /* members of one object */
    REDIS_ID_MAX = 24       /* of a stream's entry */
};

enum redis_command_kind { REDIS_HASH, REDIS_STREAM, REDIS_REFILL };

struct redis_command {
    enum redis_command_kind kind;
    int expire_s;          /* REDIS_HASH; 0: kept for REDIS_KEEP_S */
    uint32_t maxlen;       /* of a stream; 0: not trimmed */
    uint32_t size;         /* of the block */
    char id[REDIS_ID_MAX]; /* that Redis gave it; "": it did not say so */
    uint64_t digest;       /* of fields and values as sent; 0: never sent */
    char *key, *json;      /* in the same block; json of REDIS_REFILL is a path */
};

/* NULL: too long, or no memory. Free with memory_free. */
struct redis_command *redis_command_make(struct redis_command head, const char *key,
                                         const char *json);
/* Notes the id that Redis gave it. */
void redis_command_name(struct redis_command *command, const char *id);
/* "weir:{run}:key" into out[REDIS_KEY_MAX]; false: too long. */
bool redis_key(char *out, const char *run, const char *key);
/* HSET key f v ... or XADD key MAXLEN ~ n * f v ... into the context's buffer, without an EXPIRE. `dropped` is added to
 * the hash of a process as view_dropped. False: the JSON is no object, is empty or has too many members. */
bool redis_command_append(redisContext *context, const char *full_key,
                          struct redis_command *command, uint64_t dropped);
/* The digest of an entry as Redis gives it back: an array of fields and values. */
uint64_t redis_entry_digest(const redisReply *fields);

#endif
