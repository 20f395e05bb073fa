/* redis_view_thread.c - the view's thread: connects, writes what was pushed, fills again what was lost. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/redis_view_state.h"
#include "transport/redis_words.h"

enum {
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 1000,
    LOOK_MS = 2000,            /* is the stream still there, is the master still the master */
    SENTINEL_PAUSE_MS = 10000, /* no Sentinel answered */
    TRIM_MS = 2000,
    SAY_MS = 60000,
    IDLE_SLICE_MS = 200,
    TTL_AGAIN_S = 3600,
    TRIM_LEAST = 256,
    REFILL_LEAST = 1024,
};

static int64_t after_ms(int64_t ms)
{
    return clock_now_ns() + ms * CLOCK_NS_PER_MS;
}

/* The same warning comes once a minute; the same: of this kind, the beginning of `why`. */
static void warn_kind(struct redis_view *view, const char *what, const char *why, size_t kind)
{
    char text[sizeof view->said];
    snprintf(text, sizeof text, "%s %.*s", what, (int)kind, why);
    if (strcmp(text, view->said) == 0 && clock_now_ns() < view->say_again_ns)
        return;
    snprintf(view->said, sizeof view->said, "%s", text);
    view->say_again_ns = after_ms(SAY_MS);
    LOG_WARN("redis", what, "address=%s dropped=%" PRIu64 " why=\"%s\"", view->where,
             atomic_load(&view->dropped), why);
}

static void warn(struct redis_view *view, const char *what, const char *why)
{
    warn_kind(view, what, why, strlen(why));
}

/* An error's first word says what it is; the rest may name a command. */
static void warn_refused(struct redis_view *view, const char *error)
{
    char why[512];
    snprintf(why, sizeof why, "%.200s; %s", error, redis_error_advice(error));
    warn_kind(view, "refused", why, strcspn(error, " "));
}

static void disconnect(struct redis_view *view, const char *why)
{
    if (strcmp(why, strerror(EAGAIN)) == 0)
        why = "it does not answer in time";
    warn(view, "view disconnected", why);
    redis_connection_close(&view->context);
    view->backoff_ms = BACKOFF_MIN_MS;
    view->next_try_ns = after_ms(BACKOFF_MIN_MS);
}

/* ---- a new connection, and one that lasts ---- */

/* NULL, and disconnected: no reply. */
static redisReply *ask(struct redis_view *view, int argc, const char *const *argv)
{
    redisReply *reply = redisCommandArgv(view->context, argc, (const char **)(uintptr_t)argv, NULL);
    if (reply == NULL)
        disconnect(view, view->context->errstr);
    return reply;
}

/* This view's own member of the hash `views`: with one for all views only the first to look would see that Redis was
 * emptied. *lost: it was not there. False: disconnected. */
static bool sign(struct redis_view *view, bool *lost)
{
    char key[REDIS_KEY_MAX], keep[24];
    if (!redis_key(key, view->run, "views"))
        return true;
    snprintf(keep, sizeof keep, "%d", REDIS_KEEP_S);
    redisReply *reply = ask(view, 4, (const char *[]){"HSET", key, view->name, "1"});
    if (reply == NULL)
        return false;
    if (reply->type == REDIS_REPLY_ERROR)
        warn_refused(view, reply->str);
    *lost = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    freeReplyObject(reply);
    reply = ask(view, 3, (const char *[]){"EXPIRE", key, keep});
    if (reply == NULL)
        return false;
    freeReplyObject(reply);
    return true;
}

/* Enters the run into weir:runs, and this view into its views. *lost: Redis did not know the view. False:
 * disconnected. */
static bool announce(struct redis_view *view, bool *lost)
{
    char now[24], old[24];
    int64_t now_s = clock_wall_ns() / CLOCK_NS_PER_S;
    snprintf(now, sizeof now, "%" PRId64, now_s);
    snprintf(old, sizeof old, "%" PRId64, now_s - REDIS_KEEP_S);
    redisReply *reply = ask(view, 4, (const char *[]){"ZADD", "weir:runs", now, view->run});
    if (reply == NULL)
        return false;
    if (reply->type == REDIS_REPLY_ERROR)
        warn_refused(view, reply->str);
    freeReplyObject(reply);
    if (!sign(view, lost))
        return false;
    reply = ask(view, 4, (const char *[]){"ZREMRANGEBYSCORE", "weir:runs", "-inf", old});
    if (reply == NULL)
        return false;
    freeReplyObject(reply);
    return true;
}

/* Is this another server, or another life of it? A user that may not ask INFO counts as yes. */
static bool is_another(struct redis_view *view, bool *another)
{
    char id[VIEW_RUN_ID] = "";
    redisReply *reply = ask(view, 2, (const char *[]){"INFO", "server"});
    if (reply == NULL)
        return false;
    const char *at = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, "run_id:") : NULL;
    if (at != NULL)
        snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 7, "\r\n"), at + 7);
    *another = id[0] == '\0' || strcmp(id, view->run_id) != 0;
    memcpy(view->run_id, id, sizeof id);
    freeReplyObject(reply);
    return true;
}

static void fill_again(struct redis_view *view, bool lost)
{
    uint64_t again = 0;
    memset(view->ttls, 0, sizeof view->ttls);
    if (redis_rings_restore(&view->rings, view->context, view->run, lost, &again) != STATUS_OK) {
        disconnect(view, status_sentence(status_last_error()));
        return;
    }
    if (again > 0)
        LOG_INFO("redis", "entries written again", "entries=%" PRIu64, again);
    redis_refill_begin(&view->refill);
}

static void connected(struct redis_view *view)
{
    char name[REDIS_KEY_MAX];
    bool missing = false, another = true;
    view->backoff_ms = BACKOFF_MIN_MS;
    view->said[0] = '\0';
    view->next_look_ns = after_ms(LOOK_MS);
    LOG_INFO("redis", "view connected", "address=%s", view->where);
    snprintf(name, sizeof name, "weir:%s", view->run);
    redisReply *reply = ask(view, 3, (const char *[]){"CLIENT", "SETNAME", name});
    if (reply == NULL)
        return;
    freeReplyObject(reply); /* a courtesy: refused is fine */
    if (announce(view, &missing) && is_another(view, &another))
        fill_again(view, missing || another);
}

static void try_connect(struct redis_view *view)
{
    if (view->context != NULL || clock_now_ns() < view->next_try_ns)
        return;
    if (redis_connection_open_until(&view->context, &view->settings, &view->closing, view->where) ==
        STATUS_OK) {
        connected(view);
        return;
    }
    warn(view, "no view", status_sentence(status_last_error()));
    view->next_try_ns = after_ms(view->backoff_ms);
    view->backoff_ms =
        view->backoff_ms * 2 < BACKOFF_MAX_MS ? view->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* The Sentinels may have another master while the old one still answers, cut off from them. */
static bool moved(struct redis_view *view)
{
    char where[REDIS_ADDRESS_MAX];
    if (view->settings.sentinels[0] == '\0' || clock_now_ns() < view->next_sentinel_ns)
        return false;
    if (redis_sentinel_master(&view->settings, &view->closing, where) != STATUS_OK) {
        warn(view, "no Sentinel", status_sentence(status_last_error()));
        view->next_sentinel_ns = after_ms(SENTINEL_PAUSE_MS);
        return false;
    }
    return strcmp(where, view->where) != 0;
}

static void look(struct redis_view *view)
{
    bool missing = false;
    if (clock_now_ns() < view->next_look_ns)
        return;
    view->next_look_ns = after_ms(LOOK_MS);
    if (moved(view)) {
        disconnect(view, "the Sentinels name another master");
        view->next_try_ns = 0;
    } else if (announce(view, &missing) && missing) {
        LOG_WARN("redis", "emptied", "address=%s", view->where);
        fill_again(view, true);
    }
}

/* ---- a full Redis ---- */

static void halve(struct redis_view *view, const char *key)
{
    char full_key[REDIS_KEY_MAX], half[24];
    if (view->context == NULL || !redis_key(full_key, view->run, key))
        return;
    redisReply *reply = ask(view, 2, (const char *[]){"XLEN", full_key});
    long long length = reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    if (reply != NULL)
        freeReplyObject(reply);
    if (length <= TRIM_LEAST)
        return;
    snprintf(half, sizeof half, "%lld", length / 2);
    reply = ask(view, 4, (const char *[]){"XTRIM", full_key, "MAXLEN", half});
    if (reply != NULL)
        freeReplyObject(reply);
}

/* Streams that many processes write are one process's to halve: each that met the limit would halve them again. */
static bool may_trim(const struct redis_view *view, const char *key)
{
    bool shared = strcmp(key, "events") == 0 || strcmp(key, "spans") == 0;
    return !shared || atomic_load(&view->trims_shared);
}

/* Its memory is at its limit: the older half of each of our streams makes room for what is new. */
static void make_room(struct redis_view *view)
{
    uint64_t again = 0;
    if (clock_now_ns() < view->next_trim_ns)
        return;
    view->next_trim_ns = after_ms(TRIM_MS);
    for (size_t i = 0; i < REDIS_RINGS_MAX && view->rings.rings[i] != NULL; i++)
        if (may_trim(view, view->rings.rings[i]->key))
            halve(view, view->rings.rings[i]->key);
    if (view->refill.key != NULL)
        halve(view, view->refill.key);
    if (view->context != NULL &&
        redis_rings_restore(&view->rings, view->context, view->run, false, &again) != STATUS_OK)
        disconnect(view, status_sentence(status_last_error()));
}

/* ---- commands ---- */

struct sent {
    struct redis_command *command;
    int replies;
};

static void take_refill(struct redis_view *view, const struct redis_command *command)
{
    redis_refill_free(&view->refill);
    view->refill.key = memory_text(command->key);
    view->refill.path = memory_text(command->json);
    view->refill.maxlen = command->maxlen;
    if (view->refill.key == NULL || view->refill.path == NULL)
        redis_refill_free(&view->refill);
    else if (view->context != NULL)
        redis_refill_begin(&view->refill);
}

/* Into its ring, where it stays for a Redis that loses it, or away. */
static void put_away(struct redis_view *view, struct redis_command *command)
{
    bool kept = command->kind == REDIS_STREAM &&
                (view->refill.key == NULL || strcmp(command->key, view->refill.key) != 0) &&
                redis_rings_keep(&view->rings, command);
    if (!kept)
        memory_free(command);
}

static void drop(struct redis_view *view, struct redis_command *command)
{
    atomic_fetch_add(&view->dropped, 1);
    put_away(view, command);
}

/* Seconds that the key is to live from now on; 0: it knows already. */
static int time_to_live(struct redis_view *view, const struct redis_command *command,
                        const char *full_key)
{
    if (command->kind == REDIS_HASH && command->expire_s > 0) {
        for (size_t i = 0; i < VIEW_OWN_KEYS; i++) {
            if (view->own_keys[i][0] == '\0')
                snprintf(view->own_keys[i], REDIS_KEY_MAX, "%s", full_key);
            if (strcmp(view->own_keys[i], full_key) == 0)
                break;
        }
        return command->expire_s;
    }
    uint64_t key = hash64(full_key, strlen(full_key), 0) | 1;
    int64_t now_ns = clock_now_ns();
    size_t at = key % VIEW_TTLS;
    if (view->ttls[at].key == key && now_ns < view->ttls[at].again_ns)
        return 0;
    view->ttls[at].key = key;
    view->ttls[at].again_ns = now_ns + (int64_t)TTL_AGAIN_S * CLOCK_NS_PER_S;
    return REDIS_KEEP_S;
}

/* False: it is no command that can be sent. */
static bool send_one(struct redis_view *view, struct redis_command *command, struct sent *sent)
{
    char full_key[REDIS_KEY_MAX], seconds[16];
    if (!redis_key(full_key, view->run, command->key) ||
        !redis_command_append(view->context, full_key, command, atomic_load(&view->dropped)))
        return false;
    *sent = (struct sent){command, 1};
    int live = time_to_live(view, command, full_key);
    snprintf(seconds, sizeof seconds, "%d", live);
    const char *argv[] = {"EXPIRE", full_key, seconds};
    if (live > 0 && redisAppendCommandArgv(view->context, 3, argv, NULL) == REDIS_OK)
        sent->replies++;
    return true;
}

/* The word with which Redis refused, of the replies of one command. False: the connection is gone. */
static bool take_replies(struct redis_view *view, const struct sent *sent, bool *full,
                         bool *replica)
{
    for (int i = 0; i < sent->replies; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(view->context, (void **)&reply) != REDIS_OK)
            return false;
        if (reply->type == REDIS_REPLY_ERROR && i == 0) {
            atomic_fetch_add(&view->dropped, 1);
            warn_refused(view, reply->str);
            *full = *full || redis_error_is(reply->str, "OOM");
            *replica = *replica || redis_error_is(reply->str, "READONLY");
        } else if (i == 0 && reply->type == REDIS_REPLY_STRING)
            redis_command_name(sent->command, reply->str);
        freeReplyObject(reply);
    }
    return true;
}

/* Sends up to VIEW_PIPELINE commands, then reads all replies. */
static void write_batch(struct redis_view *view, struct redis_command **batch, int count)
{
    struct sent sent[VIEW_PIPELINE];
    int waiting = 0;
    bool full = false, replica = false, whole = true;
    for (int i = 0; i < count; i++) {
        if (redis_refill_has(&view->refill, batch[i])) {
            memory_free(batch[i]);
        } else if (send_one(view, batch[i], &sent[waiting])) {
            waiting++;
        } else {
            atomic_fetch_add(&view->dropped, 1);
            memory_free(batch[i]);
        }
    }
    for (int i = 0; i < waiting; i++) {
        whole = whole && take_replies(view, &sent[i], &full, &replica);
        if (whole)
            put_away(view, sent[i].command);
        else
            drop(view, sent[i].command);
    }
    if (!whole)
        disconnect(view, view->context->errstr);
    else if (replica)
        disconnect(view, "it is a replica now");
    else if (full)
        make_room(view);
}

/* Pops what is there, at most VIEW_PIPELINE; a refill is taken here. False: the queue is closed and empty. */
static bool pop_batch(struct redis_view *view, struct redis_command **batch, int *count)
{
    bool busy = view->context != NULL && redis_refill_busy(&view->refill);
    enum status status = STATUS_OK;
    *count = 0;
    for (bool first = true; *count < VIEW_PIPELINE; first = false) {
        void *item = NULL;
        status = queue_pop(view->queue, first && !busy ? IDLE_SLICE_MS : 0, &item);
        if (status != STATUS_OK)
            break;
        struct redis_command *command = item;
        atomic_fetch_sub(&view->queued_bytes, command->size);
        if (command->kind == REDIS_REFILL) {
            take_refill(view, command);
            memory_free(command);
            continue;
        }
        batch[(*count)++] = command;
    }
    return *count > 0 || status != STATUS_CANCELLED;
}

static void refill(struct redis_view *view)
{
    if (view->context == NULL || !redis_refill_busy(&view->refill))
        return;
    enum status status = redis_refill_slice(&view->refill, view->context, view->run);
    if (status == STATUS_OK)
        return;
    if (status == STATUS_IO) {
        disconnect(view, status_sentence(status_last_error()));
        return;
    }
    warn(view, "stream is not filled again", status_sentence(status_last_error()));
    if (status == STATUS_LIMIT && view->refill.maxlen > REFILL_LEAST) {
        view->refill.maxlen /= 2;
        redis_refill_begin(&view->refill);
    } else
        redis_refill_stop(&view->refill);
}

static bool out_of_time(struct redis_view *view)
{
    return atomic_load(&view->closing) && clock_now_ns() > atomic_load(&view->flush_until_ns);
}

/* This process is no more: what would expire goes at once. */
static void take_leave(struct redis_view *view)
{
    for (size_t i = 0; i < VIEW_OWN_KEYS && view->own_keys[i][0] != '\0'; i++) {
        redisReply *reply =
            view->context != NULL ? ask(view, 2, (const char *[]){"DEL", view->own_keys[i]}) : NULL;
        if (reply != NULL)
            freeReplyObject(reply);
    }
    redis_connection_close(&view->context);
}

void *redis_view_thread(void *self)
{
    struct redis_view *view = self;
    struct redis_command *batch[VIEW_PIPELINE];
    int count = 0;
    wait_unlisted();
    view->backoff_ms = BACKOFF_MIN_MS;
    while (!out_of_time(view)) {
        if (!atomic_load(&view->closing))
            try_connect(view);
        if (!pop_batch(view, batch, &count))
            break;
        if (view->context != NULL && count > 0)
            write_batch(view, batch, count);
        else
            for (int i = 0; i < count; i++)
                drop(view, batch[i]);
        if (view->context != NULL && !atomic_load(&view->closing))
            refill(view);
        if (view->context != NULL && !atomic_load(&view->closing))
            look(view);
    }
    take_leave(view);
    return NULL;
}
