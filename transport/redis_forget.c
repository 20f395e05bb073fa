/* redis_forget.c - removes what a run left in a Redis that outlives it. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/wait.h"
#include "transport/redis_connection.h"
#include "transport/redis_view.h"

enum { FORGET_MS = 10000 };

static enum status unlink_keys(redisContext *context, const char *where, const redisReply *keys)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < keys->elements && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        status = redis_connection_ask(context, where, 2,
                                      (const char *[]){"UNLINK", keys->element[i]->str}, &reply);
        if (status == STATUS_OK)
            freeReplyObject(reply);
    }
    return status;
}

/* One page of SCAN; cursor "0": the last. */
static enum status forget_page(redisContext *context, const char *where, const char *pattern,
                               char cursor[32])
{
    redisReply *page = NULL;
    const char *const scan[] = {"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"};
    TRY(redis_connection_ask(context, where, 6, scan, &page));
    bool sound = page->type == REDIS_REPLY_ARRAY && page->elements == 2 &&
                 page->element[0]->str != NULL && page->element[1]->type == REDIS_REPLY_ARRAY;
    enum status status = sound ? unlink_keys(context, where, page->element[1])
                               : FAIL(STATUS_INVALID, "Redis at %s answers SCAN oddly", where);
    if (status == STATUS_OK)
        snprintf(cursor, 32, "%s", page->element[0]->str);
    freeReplyObject(page);
    return status;
}

enum status redis_forget_run(const char *run, const struct redis_settings *settings)
{
    redisContext *context = NULL;
    redisReply *reply = NULL;
    char where[REDIS_ADDRESS_MAX], pattern[256], cursor[32] = "0";
    if (settings->mode == REDIS_OFF)
        return STATUS_OK;
    /* names of runs hold letters, digits, '-', '_' and '.', of which none means anything in a pattern */
    snprintf(pattern, sizeof pattern, "weir:{%s}:*", run);
    TRY(redis_connection_open(&context, settings, where));
    struct wait wait = wait_begin("keys of the run", "redis", FORGET_MS);
    enum status status;
    do
        status = forget_page(context, where, pattern, cursor);
    while (status == STATUS_OK && strcmp(cursor, "0") != 0 && wait_left_ms(&wait) > 0);
    if (status == STATUS_OK)
        status = redis_connection_ask(context, where, 3, (const char *[]){"ZREM", "weir:runs", run},
                                      &reply);
    if (reply != NULL)
        freeReplyObject(reply);
    redis_connection_close(&context);
    enum status ended = wait_end(&wait, strcmp(cursor, "0") == 0 || status != STATUS_OK);
    return status != STATUS_OK ? status : ended;
}
