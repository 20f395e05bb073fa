#include "transport/redis_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/redis_connection.h"

enum {
    STREAMS_MAX = 16,
    PAIRS_MAX = 4096,
    ANSWER_MS = 2000, /* of one command, beside the time it blocks */
    PATTERN_MAX = 512,
    SCANS_MAX = 2000
};

struct redis_reader {
    const struct redis_settings *settings;
    redisContext *context;
    int64_t next_try_ns;
    redisReply *kept; /* what the caller still looks at */
    struct redis_pair pairs[PAIRS_MAX];
};

enum status redis_reader_open(struct redis_reader **reader, const struct redis_settings *settings)
{
    struct redis_reader *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a reader of Redis");
    made->settings = settings;
    *reader = made;
    return STATUS_OK;
}

static void forget(struct redis_reader *reader)
{
    if (reader->kept != NULL)
        freeReplyObject(reader->kept);
    reader->kept = NULL;
}

void redis_reader_close(struct redis_reader **reader)
{
    if (*reader == NULL)
        return;
    forget(*reader);
    redis_connection_close(&(*reader)->context);
    memory_free(*reader);
    *reader = NULL;
}

bool redis_reader_connected(const struct redis_reader *reader)
{
    return reader->context != NULL;
}

enum status redis_reader_connect(struct redis_reader *reader)
{
    int64_t now_ns = clock_now_ns();
    if (reader->context != NULL)
        return STATUS_OK;
    if (now_ns < reader->next_try_ns)
        return STATUS_AGAIN;
    reader->next_try_ns = clock_after_ms(now_ns, REDIS_READER_RETRY_MS);
    return redis_connection_open(&reader->context, reader->settings, NULL);
}

static enum status lost(struct redis_reader *reader, const char *command)
{
    enum status status =
        FAIL(STATUS_NETWORK, "Redis is lost at %s: %s", command,
             reader->context->errstr[0] != 0 ? reader->context->errstr : "no answer in time");
    forget(reader);
    redis_connection_close(&reader->context);
    reader->next_try_ns = clock_after_ms(clock_now_ns(), REDIS_READER_RETRY_MS / 4);
    return status;
}

static enum status set_deadline(struct redis_reader *reader, int64_t ms)
{
    struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    return redisSetTimeout(reader->context, limit) == REDIS_OK ? STATUS_OK
                                                               : lost(reader, "SO_RCVTIMEO");
}

/* *reply is the reader's until the next command; an error of Redis becomes a status. */
static enum status take_reply(struct redis_reader *reader, const char *command, redisReply **reply)
{
    forget(reader);
    if (redisGetReply(reader->context, (void **)&reader->kept) != REDIS_OK || reader->kept == NULL)
        return lost(reader, command);
    if (reader->kept->type == REDIS_REPLY_ERROR) {
        enum status status =
            FAIL(STATUS_INVALID, "Redis refuses %s: %.300s", command, reader->kept->str);
        forget(reader);
        redis_connection_close(&reader->context); /* others of the pipeline are lost with it */
        return status;
    }
    *reply = reader->kept;
    return STATUS_OK;
}

static enum status send(struct redis_reader *reader, int count, const char **texts)
{
    if (reader->context == NULL)
        return FAIL(STATUS_NETWORK, "no connection to Redis");
    return redisAppendCommandArgv(reader->context, count, texts, NULL) == REDIS_OK
               ? STATUS_OK
               : lost(reader, texts[0]);
}

static enum status ask(struct redis_reader *reader, int count, const char **texts, int64_t block_ms,
                       redisReply **reply)
{
    TRY(send(reader, count, texts));
    TRY(set_deadline(reader, block_ms + ANSWER_MS));
    struct wait wait = wait_begin("reading", "redis", block_ms + ANSWER_MS + REDIS_TIMEOUT_MS);
    enum status status = take_reply(reader, texts[0], reply);
    enum status ended = wait_end(&wait, true);
    return status != STATUS_OK ? status : ended;
}

/* ---- entries ---- */

static void fill_entry(struct redis_reader *reader, const redisReply *fields,
                       struct redis_entry *entry)
{
    size_t count = fields != NULL && fields->type == REDIS_REPLY_ARRAY ? fields->elements / 2 : 0;
    entry->pairs = reader->pairs;
    for (size_t i = 0; i < count && entry->count < PAIRS_MAX; i++) {
        const redisReply *name = fields->element[2 * i], *value = fields->element[2 * i + 1];
        if (name->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING)
            reader->pairs[entry->count++] =
                (struct redis_pair){name->str, value->str, (size_t)value->len};
    }
}

/* [id, [name, value, ...]] */
static bool give_entry(struct redis_reader *reader, const redisReply *row, size_t index,
                       struct redis_stream *stream, redis_entry_fn take, void *self)
{
    if (row->type != REDIS_REPLY_ARRAY || row->elements != 2 ||
        row->element[0]->type != REDIS_REPLY_STRING)
        return false;
    struct redis_entry entry = {.key = stream->key, .id = row->element[0]->str};
    fill_entry(reader, row->element[1], &entry);
    take(self, index, &entry);
    snprintf(stream->id, sizeof stream->id, "%s", row->element[0]->str);
    return true;
}

static size_t give_stream(struct redis_reader *reader, const redisReply *reply,
                          struct redis_stream *streams, size_t count, redis_entry_fn take,
                          void *self)
{
    size_t given = 0, index = count;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(streams[i].key, reply->element[0]->str) == 0)
            index = i;
    for (size_t i = 0; i < reply->element[1]->elements && index < count; i++)
        given +=
            give_entry(reader, reply->element[1]->element[i], index, &streams[index], take, self);
    return given;
}

enum status redis_reader_streams(struct redis_reader *reader, struct redis_stream *streams,
                                 size_t count, int block_ms, redis_entry_fn take, void *self,
                                 size_t *taken)
{
    const char *texts[6 + 2 * STREAMS_MAX];
    char most[16], block[16];
    int texts_count = 0;
    if (count > STREAMS_MAX)
        return FAIL(STATUS_LIMIT, "%zu streams at once, limit %d", count, STREAMS_MAX);
    snprintf(most, sizeof most, "%d", REDIS_READER_BATCH);
    snprintf(block, sizeof block, "%d", block_ms);
    texts[texts_count++] = "XREAD";
    texts[texts_count++] = "COUNT";
    texts[texts_count++] = most;
    if (block_ms > 0) {
        texts[texts_count++] = "BLOCK";
        texts[texts_count++] = block;
    }
    texts[texts_count++] = "STREAMS";
    for (size_t i = 0; i < count; i++)
        texts[texts_count++] = streams[i].key;
    for (size_t i = 0; i < count; i++)
        texts[texts_count++] = streams[i].id;
    redisReply *reply;
    *taken = 0;
    TRY(ask(reader, texts_count, texts, block_ms, &reply));
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        *taken += give_stream(reader, reply->element[i], streams, count, take, self);
    return STATUS_OK;
}

enum status redis_reader_newest(struct redis_reader *reader, struct redis_stream *stream,
                                size_t most, redis_entry_fn take, void *self)
{
    char count[24];
    snprintf(count, sizeof count, "%zu", most);
    const char *texts[] = {"XREVRANGE", stream->key, "+", "-", "COUNT", count};
    redisReply *reply;
    snprintf(stream->id, sizeof stream->id, "0-0");
    TRY(ask(reader, 6, texts, 0, &reply));
    for (size_t i = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0; i-- > 0;)
        (void)give_entry(reader, reply->element[i], 0, stream, take, self);
    return STATUS_OK;
}

/* ---- hashes, texts, keys ---- */

enum status redis_reader_hashes(struct redis_reader *reader, const char *const *keys, size_t count,
                                redis_entry_fn take, void *self)
{
    for (size_t i = 0; i < count; i++) {
        const char *texts[] = {"HGETALL", keys[i]};
        TRY(send(reader, 2, texts));
    }
    if (count == 0)
        return STATUS_OK;
    TRY(set_deadline(reader, ANSWER_MS));
    struct wait wait = wait_begin("reading", "redis", (int64_t)ANSWER_MS * 2);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        redisReply *reply;
        status = take_reply(reader, "HGETALL", &reply);
        struct redis_entry entry = {.key = keys[i]};
        if (status != STATUS_OK)
            break;
        fill_entry(reader, reply, &entry);
        take(self, i, &entry);
    }
    enum status ended = wait_end(&wait, true);
    return status != STATUS_OK ? status : ended;
}

enum status redis_reader_text(struct redis_reader *reader, const char *key, const char **text)
{
    const char *texts[] = {"GET", key};
    redisReply *reply;
    TRY(ask(reader, 2, texts, 0, &reply));
    *text = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    return STATUS_OK;
}

/* What glob patterns mean is quoted. */
static enum status write_pattern(const char *prefix, char out[PATTERN_MAX])
{
    size_t size = 0;
    for (const char *at = prefix; *at != 0; at++) {
        if (size + 4 > PATTERN_MAX)
            return FAIL(STATUS_LIMIT, "a prefix of %zu bytes", strlen(prefix));
        if (strchr("*?[]\\^", *at) != NULL)
            out[size++] = '\\';
        out[size++] = *at;
    }
    out[size++] = '*';
    out[size] = 0;
    return STATUS_OK;
}

enum status redis_reader_keys(struct redis_reader *reader, const char *prefix,
                              void (*take)(void *self, const char *key), void *self)
{
    char pattern[PATTERN_MAX], cursor[32] = "0";
    TRY(write_pattern(prefix, pattern));
    for (int i = 0; i < SCANS_MAX; i++) {
        const char *texts[] = {"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"};
        redisReply *reply;
        TRY(ask(reader, 6, texts, 0, &reply));
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
            reply->element[0]->type != REDIS_REPLY_STRING ||
            reply->element[1]->type != REDIS_REPLY_ARRAY)
            return FAIL(STATUS_CORRUPT, "Redis answers SCAN in another shape");
        for (size_t k = 0; k < reply->element[1]->elements; k++)
            if (reply->element[1]->element[k]->type == REDIS_REPLY_STRING)
                take(self, reply->element[1]->element[k]->str);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        if (strcmp(cursor, "0") == 0)
            break;
    }
    return STATUS_OK;
}
