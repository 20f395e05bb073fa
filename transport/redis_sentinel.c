/* redis_sentinel.c - where the master is, according to Sentinels (https://redis.io/docs/reference/sentinel-clients/):
 * they are asked in their order until one knows, and what they say is checked by ROLE at that address. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "transport/redis_connection.h"
#include "transport/redis_words.h"

enum { MASTERS_SHOWN = 8, NAMES_MAX = 300 };

enum status redis_sentinel_next(const char **list, char *out)
{
    const char *at = *list + strspn(*list, ", \t");
    size_t size = strcspn(at, ",");
    *list = at + size;
    while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '\t'))
        size--;
    if (size == 0)
        return STATUS_NOT_FOUND;
    if (size >= REDIS_ADDRESS_MAX)
        return FAIL(STATUS_INVALID, "redis.sentinels: an address of %zu bytes, limit %d", size,
                    REDIS_ADDRESS_MAX - 1);
    memcpy(out, at, size);
    out[size] = '\0';
    return STATUS_OK;
}

/* Names of the masters that it does watch, for the sentence about the one it does not. */
static void list_masters(redisContext *context, const char *sentinel, char names[NAMES_MAX])
{
    redisReply *reply = NULL;
    snprintf(names, NAMES_MAX, "none");
    if (redis_connection_ask(context, sentinel, 2, (const char *[]){"SENTINEL", "MASTERS"},
                             &reply) != STATUS_OK)
        return;
    size_t used = 0;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements && i < MASTERS_SHOWN;
         i++) {
        const redisReply *row =
            reply->element[i]; /* name, value, name, value: "name" comes first */
        if (row->type != REDIS_REPLY_ARRAY || row->elements < 2 || row->element[1]->str == NULL)
            continue;
        int size = snprintf(names + used, NAMES_MAX - used, "%s%.60s", used > 0 ? ", " : "",
                            row->element[1]->str);
        used = size > 0 && used + (size_t)size < NAMES_MAX ? used + (size_t)size : used;
    }
    freeReplyObject(reply);
}

static enum status take_answer(redisContext *context, const struct redis_settings *settings,
                               const char *sentinel, const redisReply *reply, char *where)
{
    if (reply->type == REDIS_REPLY_NIL) {
        char names[NAMES_MAX];
        list_masters(context, sentinel, names);
        return FAIL(STATUS_INVALID,
                    "the Sentinel at %s watches no master named \"%s\", but %s: correct "
                    "redis.master",
                    sentinel, settings->master, names);
    }
    bool pair = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[0]->str != NULL && reply->element[1]->str != NULL;
    const char *host = pair ? reply->element[0]->str : "";
    int size =
        pair ? snprintf(where, REDIS_ADDRESS_MAX, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s",
                        host, reply->element[1]->str)
             : 0;
    if (size <= 0 || size >= REDIS_ADDRESS_MAX)
        return FAIL(STATUS_INVALID, "the Sentinel at %s answers with no address", sentinel);
    return STATUS_OK;
}

/* Sentinels may have no password where the master has one; one that wants it gets the same as the master. */
static enum status greet(redisContext **context, const struct redis_settings *settings,
                         const char *sentinel)
{
    TRY(redis_connect_plain(context, sentinel));
    enum status status = redis_greet(*context, sentinel, "", "");
    bool locked = status != STATUS_OK && strstr(status_last_error(), "NOAUTH") != NULL;
    bool secret = settings->password != NULL && settings->password[0] != '\0';
    if (!locked || !secret)
        return status;
    return redis_greet(*context, sentinel, settings->user, settings->password);
}

static enum status ask_one(const struct redis_settings *settings, const char *sentinel, char *where)
{
    redisContext *context = NULL;
    redisReply *reply = NULL;
    const char *const question[] = {"SENTINEL", "get-master-addr-by-name", settings->master};
    enum status status;
    TRY_GOTO(out, greet(&context, settings, sentinel));
    TRY_GOTO(out, redis_connection_ask(context, sentinel, 3, question, &reply));
    TRY_GOTO(out, take_answer(context, settings, sentinel, reply, where));
out:
    if (reply != NULL)
        freeReplyObject(reply);
    redis_connection_close(&context);
    return status;
}

enum status redis_sentinel_master(const struct redis_settings *settings, const atomic_bool *stop,
                                  char *where)
{
    char sentinel[REDIS_ADDRESS_MAX], told[STATUS_TEXT_MAX] = "";
    const char *list = settings->sentinels;
    enum status status, worst = STATUS_NOT_FOUND;
    int asked = 0;
    while (asked < REDIS_SENTINELS_MAX &&
           (status = redis_sentinel_next(&list, sentinel)) != STATUS_NOT_FOUND) {
        TRY(status);
        if (stop != NULL && atomic_load(stop))
            return FAIL(STATUS_CANCELLED, "the view is being closed");
        asked++;
        status = ask_one(settings, sentinel, where);
        if (status == STATUS_OK)
            return STATUS_OK;
        /* what a Sentinel says tells more than that another one is gone */
        if (told[0] == '\0' || (worst == STATUS_NOT_FOUND && status != STATUS_NOT_FOUND)) {
            snprintf(told, sizeof told, "%s", status_sentence(status_last_error()));
            worst = status;
        }
    }
    if (asked == 0)
        return FAIL(STATUS_INVALID, "redis.sentinels names no address");
    return FAIL(worst, "none of %d Sentinels knows where Redis's master \"%s\" is: %.1500s", asked,
                settings->master, told);
}
