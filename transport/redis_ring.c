#include "transport/redis_ring.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum { PIPELINE = 64 };

static struct redis_command *at(const struct redis_ring *ring, size_t index)
{
    return ring->entries[(ring->first + index) % REDIS_RING_ENTRIES];
}

static void forget_oldest(struct redis_ring *ring)
{
    struct redis_command *oldest = at(ring, 0);
    ring->bytes -= oldest->size;
    ring->first = (ring->first + 1) % REDIS_RING_ENTRIES;
    ring->count--;
    memory_free(oldest);
}

void redis_rings_free(struct redis_rings *rings)
{
    for (size_t i = 0; i < REDIS_RINGS_MAX; i++) {
        while (rings->rings[i] != NULL && rings->rings[i]->count > 0)
            forget_oldest(rings->rings[i]);
        memory_free(rings->rings[i]);
        rings->rings[i] = NULL;
    }
}

static struct redis_ring *ring_of(struct redis_rings *rings, const char *key)
{
    for (size_t i = 0; i < REDIS_RINGS_MAX; i++) {
        struct redis_ring **ring = &rings->rings[i];
        if (*ring == NULL) {
            *ring = memory_alloc(sizeof **ring);
            if (*ring != NULL)
                snprintf((*ring)->key, sizeof(*ring)->key, "%s", key);
            return *ring;
        }
        if (strcmp((*ring)->key, key) == 0)
            return *ring;
    }
    return NULL;
}

bool redis_rings_keep(struct redis_rings *rings, struct redis_command *command)
{
    struct redis_ring *ring =
        command->size <= REDIS_RING_BYTES ? ring_of(rings, command->key) : NULL;
    if (ring == NULL)
        return false;
    while (ring->count == REDIS_RING_ENTRIES ||
           (ring->count > 0 && ring->bytes + command->size > REDIS_RING_BYTES))
        forget_oldest(ring);
    ring->entries[(ring->first + ring->count++) % REDIS_RING_ENTRIES] = command;
    ring->bytes += command->size;
    return true;
}

static enum status gone(const redisContext *context)
{
    return FAIL(STATUS_IO, "Redis is gone while the view is filled again: %s", context->errstr);
}

/* Behind the newest entry of [begin, end) that the stream has; begin when it has none of them. */
static enum status find_present(const struct redis_ring *ring, redisContext *context,
                                const char *full_key, size_t begin, size_t end, size_t *from)
{
    *from = begin;
    for (size_t i = begin; i < end;
         i++) /* an entry without an id asks for one that no stream has */
        redisAppendCommand(context, "XRANGE %s %s %s", full_key,
                           at(ring, i)->id[0] != '\0' ? at(ring, i)->id : "0-1",
                           at(ring, i)->id[0] != '\0' ? at(ring, i)->id : "0-1");
    for (size_t i = begin; i < end; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(context, (void **)&reply) != REDIS_OK)
            return gone(context);
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0)
            *from = i + 1;
        freeReplyObject(reply);
    }
    return STATUS_OK;
}

/* Entries that were on their way when the connection broke may have arrived: they are known by what they say. */
static enum status find_arrived(struct redis_ring *ring, redisContext *context,
                                const char *full_key)
{
    redisReply *reply = redisCommand(context, "XREVRANGE %s + - COUNT %d", full_key, 2 * PIPELINE);
    if (reply == NULL)
        return gone(context);
    for (size_t r = 0; reply->type == REDIS_REPLY_ARRAY && r < reply->elements; r++) {
        const redisReply *entry = reply->element[r];
        if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
            entry->element[0]->type != REDIS_REPLY_STRING)
            continue;
        uint64_t digest = redis_entry_digest(entry->element[1]);
        size_t i = ring->count;
        while (i > 0 && (at(ring, i - 1)->id[0] != '\0' || at(ring, i - 1)->digest != digest))
            i--;
        if (i > 0)
            redis_command_name(at(ring, i - 1), entry->element[0]->str);
    }
    freeReplyObject(reply);
    return STATUS_OK;
}

static enum status find_missing(const struct redis_ring *ring, redisContext *context,
                                const char *full_key, bool lost, size_t *from)
{
    size_t acknowledged = ring->count;
    while (acknowledged > 0 && at(ring, acknowledged - 1)->id[0] == '\0')
        acknowledged--;
    *from = acknowledged;
    for (size_t end = acknowledged; lost && end > 0;) {
        size_t begin = end > PIPELINE ? end - PIPELINE : 0;
        TRY(find_present(ring, context, full_key, begin, end, from));
        if (*from > begin)
            break;
        end = begin;
    }
    return STATUS_OK;
}

static enum status write_again(struct redis_ring *ring, redisContext *context, const char *full_key,
                               size_t from, uint64_t *again)
{
    while (from < ring->count) {
        struct redis_command *sent[PIPELINE];
        size_t count = 0;
        for (; from < ring->count && count < PIPELINE; from++)
            if (redis_command_append(context, full_key, at(ring, from), 0))
                sent[count++] = at(ring, from);
        for (size_t i = 0; i < count; i++) {
            redisReply *reply = NULL;
            if (redisGetReply(context, (void **)&reply) != REDIS_OK)
                return gone(context);
            if (reply->type == REDIS_REPLY_STRING) {
                redis_command_name(sent[i], reply->str);
                ++*again;
            }
            freeReplyObject(reply);
        }
    }
    return STATUS_OK;
}

enum status redis_rings_restore(struct redis_rings *rings, redisContext *context, const char *run,
                                bool lost, uint64_t *again)
{
    *again = 0;
    for (size_t i = 0; i < REDIS_RINGS_MAX && rings->rings[i] != NULL; i++) {
        char full_key[REDIS_KEY_MAX];
        size_t from = 0;
        if (!redis_key(full_key, run, rings->rings[i]->key))
            continue;
        TRY(find_arrived(rings->rings[i], context, full_key));
        TRY(find_missing(rings->rings[i], context, full_key, lost, &from));
        TRY(write_again(rings->rings[i], context, full_key, from, again));
    }
    return STATUS_OK;
}
