#include "transport/redis_refill.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "transport/redis_view.h"
#include "transport/redis_words.h"

enum { COUNT_SLICE_LINES = 4096 };

static void end_pass(struct redis_refill *refill, enum refill_phase next)
{
    if (refill->file != NULL)
        fclose(refill->file);
    refill->file = NULL;
    refill->at = 0;
    refill->phase = next;
}

void redis_refill_free(struct redis_refill *refill)
{
    end_pass(refill, REFILL_IDLE);
    memory_free(refill->key);
    memory_free(refill->path);
    free(refill->line); /* lint: allow(free): getline's */
    *refill = (struct redis_refill){0};
}

void redis_refill_begin(struct redis_refill *refill)
{
    end_pass(refill, REFILL_IDLE);
    refill->last_step = -1;
    if (refill->key == NULL)
        return;
    refill->begin_ns = clock_now_ns();
    refill->lines = 0;
    refill->match_step = -1;
    refill->phase = REFILL_COUNT;
}

void redis_refill_stop(struct redis_refill *refill)
{
    end_pass(refill, REFILL_IDLE);
}

bool redis_refill_busy(const struct redis_refill *refill)
{
    return refill->phase != REFILL_IDLE;
}

/* Our lines begin with it; others are parsed. -1: none. */
static int64_t step_of(const char *json)
{
    static const char usual[] = "{\"step\":";
    if (strncmp(json, usual, sizeof usual - 1) == 0 && json[sizeof usual - 1] >= '0' &&
        json[sizeof usual - 1] <= '9')
        return strtoll(json + sizeof usual - 1, NULL, 10);
    json_t *object = json_loads(json, 0, NULL);
    const json_t *step = json_object_get(object, "step");
    int64_t number = json_is_integer(step) ? json_integer_value(step) : -1;
    json_decref(object);
    return number;
}

bool redis_refill_has(const struct redis_refill *refill, const struct redis_command *command)
{
    return refill->key != NULL && refill->last_step >= 0 &&
           strcmp(command->key, refill->key) == 0 && step_of(command->json) <= refill->last_step;
}

/* The next whole line without its end; false: there is none now. */
static bool next_line(struct redis_refill *refill)
{
    if (refill->file == NULL)
        refill->file = fopen(refill->path, "re");
    if (refill->file == NULL)
        return false;
    clearerr(refill->file);
    ssize_t got = getline(&refill->line, &refill->line_room, refill->file);
    if (got <= 0)
        return false;
    if (refill->line[got - 1] != '\n') { /* being written: it is read again later */
        if (fseeko(refill->file, -(off_t)got, SEEK_CUR) != 0)
            LOG_WARN("redis", "metrics file does not seek", "path=%s", refill->path);
        return false;
    }
    refill->line[got - 1] = '\0';
    refill->line_step = step_of(refill->line);
    refill->at++;
    return true;
}

static enum status gone(const redisContext *context)
{
    return FAIL(STATUS_IO, "Redis is gone while the view is filled again: %s", context->errstr);
}

/* ---- what the stream has ---- */

static int64_t step_of_entry(const redisReply *entries)
{
    if (entries->type != REDIS_REPLY_ARRAY || entries->elements == 0 ||
        entries->element[0]->elements != 2)
        return -1;
    const redisReply *fields = entries->element[0]->element[1];
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, "step") == 0)
            return strtoll(fields->element[i + 1]->str, NULL, 10);
    return -1;
}

static enum status look(struct redis_refill *refill, redisContext *context, const char *full_key)
{
    redisReply *length = redisCommand(context, "XLEN %s", full_key);
    if (length == NULL)
        return gone(context);
    refill->entries = length->type == REDIS_REPLY_INTEGER ? (uint64_t)length->integer : 0;
    freeReplyObject(length);
    redisReply *last = redisCommand(context, "XREVRANGE %s + - COUNT 1", full_key);
    if (last == NULL)
        return gone(context);
    refill->entries_step = step_of_entry(last);
    freeReplyObject(last);
    return STATUS_OK;
}

static void choose(struct redis_refill *refill, int64_t last_line_step)
{
    uint64_t lines = refill->lines, kept = refill->maxlen;
    uint64_t wanted = kept > 0 && lines > kept ? kept : lines;
    bool same_end = refill->entries_step == last_line_step;
    refill->from = lines - wanted;
    if (refill->entries >= wanted && (same_end || lines == 0))
        end_pass(refill, REFILL_IDLE);
    else if (refill->entries > 0 && refill->match_step >= 0 &&
             refill->match_step == refill->entries_step) {
        refill->from = refill->entries;
        end_pass(refill, REFILL_ADD);
    } else
        end_pass(refill,
                 refill->entries == 0 && wanted > 2 * REFILL_QUICK ? REFILL_QUICKLY : REFILL_BUILD);
}

/* Lines are counted, the step of line number `entries` and of the last one noted. */
static enum status count(struct redis_refill *refill, redisContext *context, const char *full_key)
{
    if (refill->at == 0)
        TRY(look(refill, context, full_key));
    for (int i = 0; i < COUNT_SLICE_LINES; i++) {
        if (!next_line(refill)) {
            refill->lines = refill->at;
            choose(refill, refill->lines > 0 ? refill->line_step : -1);
            return STATUS_OK;
        }
        if (refill->at == refill->entries)
            refill->match_step = refill->line_step;
    }
    return STATUS_OK;
}

/* ---- writing ---- */

static enum status take_replies(struct redis_refill *refill, redisContext *context, int replies)
{
    bool full = false;
    for (; replies > 0; replies--) {
        redisReply *reply = NULL;
        if (redisGetReply(context, (void **)&reply) != REDIS_OK)
            return gone(context);
        if (reply->type == REDIS_REPLY_ERROR && redis_error_is(reply->str, "OOM"))
            full = true;
        freeReplyObject(reply);
    }
    return full ? FAIL(STATUS_LIMIT, "Redis is full at line %" PRIu64 " of %s", refill->at,
                       refill->path)
                : STATUS_OK;
}

/* Up to REFILL_SLICE lines from `from` on; *end: there are no more. */
static enum status write_lines(struct redis_refill *refill, redisContext *context,
                               const char *full_key, uint64_t from, bool *end)
{
    int replies = 0;
    *end = false;
    for (int i = 0; i < COUNT_SLICE_LINES && replies < REFILL_SLICE && !*end; i++) {
        *end = !next_line(refill);
        if (*end || refill->at <= from)
            continue;
        struct redis_command *command = redis_command_make(
            (struct redis_command){.kind = REDIS_STREAM, .maxlen = refill->maxlen}, refill->key,
            refill->line);
        if (command != NULL && redis_command_append(context, full_key, command, 0))
            replies++;
        memory_free(command);
    }
    if (replies > 0 && refill->line_step > refill->last_step && refill->phase != REFILL_QUICKLY)
        refill->last_step = refill->line_step;
    return take_replies(refill, context, replies);
}

static enum status say(redisContext *context, int argc, const char *const *argv)
{
    redisReply *reply = redisCommandArgv(context, argc, (const char **)(uintptr_t)argv, NULL);
    if (reply == NULL)
        return gone(context);
    enum status status =
        reply->type != REDIS_REPLY_ERROR
            ? STATUS_OK
            : FAIL(STATUS_INVALID, "Redis refuses %s: %.200s", argv[0], reply->str);
    freeReplyObject(reply);
    return status;
}

static void told(const struct redis_refill *refill, uint64_t lines)
{
    LOG_INFO("redis", "stream filled again", "key=%s lines=%" PRIu64 " ms=%" PRId64, refill->key,
             lines, (clock_now_ns() - refill->begin_ns) / CLOCK_NS_PER_MS);
}

static enum status build(struct redis_refill *refill, redisContext *context, const char *full_key)
{
    char beside[REDIS_KEY_MAX + 8], keep[16];
    bool end;
    snprintf(keep, sizeof keep, "%d", REDIS_KEEP_S);
    snprintf(beside, sizeof beside, "%s.refill", full_key);
    if (refill->at == 0)
        TRY(say(context, 2, (const char *[]){"DEL", beside}));
    TRY(write_lines(refill, context, beside, refill->from, &end));
    TRY(say(context, 3,
            (const char *[]){"EXPIRE", beside, keep})); /* if we do not get to the end */
    if (!end)
        return STATUS_OK;
    if (refill->last_step >= 0)
        TRY(say(context, 3, (const char *[]){"RENAME", beside, full_key}));
    told(refill, refill->at - refill->from);
    end_pass(refill, REFILL_IDLE);
    return STATUS_OK;
}

enum status redis_refill_slice(struct redis_refill *refill, redisContext *context, const char *run)
{
    char full_key[REDIS_KEY_MAX];
    bool end;
    if (!redis_key(full_key, run, refill->key))
        refill->phase = REFILL_IDLE;
    switch (refill->phase) {
    case REFILL_COUNT:
        return count(refill, context, full_key);
    case REFILL_QUICKLY:
        TRY(write_lines(refill, context, full_key, refill->lines - REFILL_QUICK, &end));
        if (end)
            end_pass(refill, REFILL_BUILD);
        return STATUS_OK;
    case REFILL_ADD:
        TRY(write_lines(refill, context, full_key, refill->from, &end));
        if (end) {
            told(refill, refill->at - refill->from);
            end_pass(refill, REFILL_IDLE);
        }
        return STATUS_OK;
    case REFILL_BUILD:
        return build(refill, context, full_key);
    default:
        return STATUS_OK;
    }
}
