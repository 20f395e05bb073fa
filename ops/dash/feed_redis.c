/* ops/dash/feed_redis.c - streams and hashes of a run from Redis. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "ops/dash/feed_state.h"
#include "transport/redis_view.h"

enum { SCAN_MS = 5000, CATCH_UP_ROUNDS = 20 };

static const char *const stream_names[FEED_STREAMS] = {"metrics", "events", "rollouts",
                                                       "histograms", "spans"};
/* Entries that a new connection begins with. Of the events all: most are versions, which go. */
static const size_t newest[FEED_STREAMS] = {1, REDIS_EVENTS_KEPT, 500, 100, 5000};

enum status feed_redis_open(struct feed *feed)
{
    const struct redis_settings *settings = &feed->dash->program->settings.redis;
    int size = snprintf(feed->prefix, sizeof feed->prefix, "weir:{%.100s}:", feed->dash->run);
    for (size_t i = 0; i < FEED_STREAMS; i++) {
        snprintf(feed->stream_keys[i], FEED_KEY_MAX, "%.*s%s", size, feed->prefix, stream_names[i]);
        feed->streams[i].key = feed->stream_keys[i];
    }
    if (settings->mode == REDIS_OFF || (settings->address[0] == 0 && settings->sentinels[0] == 0))
        return STATUS_OK;
    return redis_reader_open(&feed->reader, settings);
}

/* ---- values ---- */

/* Texts that may look like numbers and are none. */
static bool is_text(const char *name)
{
    static const char *const names[] = {"text", "prompt", "detail", "digest", "name",
                                        "host", "source", "kind",   "scorer", "run"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static json_t *value_of(const struct redis_pair *pair)
{
    const char *text = pair->value;
    char *end;
    if (text[0] == 0)
        return is_text(pair->name) ? json_string("") : json_null();
    if (is_text(pair->name))
        return json_stringn(text, pair->value_size);
    if (text[0] == '{' || text[0] == '[') {
        json_t *parsed = json_loadb(text, pair->value_size, 0, NULL);
        return parsed != NULL ? parsed : json_stringn(text, pair->value_size);
    }
    if (strspn(text, "0123456789-") == pair->value_size && pair->value_size < 20 &&
        (text[0] != '-' || text[1] != 0)) {
        long long whole = strtoll(text, &end, 10);
        if (*end == 0)
            return json_integer(whole);
    }
    if (strspn(text, "0123456789+-.eE") == pair->value_size) {
        double real = strtod(text, &end);
        if (*end == 0 && real - real == 0)
            return json_real(real);
    }
    return json_stringn(text, pair->value_size);
}

json_t *feed_object(const struct redis_entry *entry)
{
    json_t *object = json_object();
    for (size_t i = 0; i < entry->count; i++) {
        json_t *value = value_of(&entry->pairs[i]);
        if (value != NULL) /* NULL: not UTF-8 */
            json_object_set_new(object, entry->pairs[i].name, value);
    }
    return object;
}

/* ---- streams ---- */

static void take_entry(void *self, size_t index, const struct redis_entry *entry)
{
    struct feed *feed = self;
    struct board *board = &feed->dash->board;
    json_t *object = feed_object(entry);
    board_lock(board);
    switch ((enum feed_stream)index) {
    case FEED_METRICS:
        board_take_metrics(board, object, false);
        break;
    case FEED_EVENTS:
        board_take_event(board, object);
        break;
    case FEED_ROLLOUTS:
        board_take_rollout(board, object);
        break;
    case FEED_HISTOGRAMS:
        board_take_histograms(board, object);
        break;
    case FEED_SPANS:
        board_take_span(board, object);
        break;
    case FEED_STREAMS:
        break;
    }
    board_unlock(board);
    json_decref(object);
}

struct renamed {
    struct feed *feed;
    size_t index;
};

static void take_newest(void *self, size_t index, const struct redis_entry *entry)
{
    const struct renamed *renamed = self;
    (void)index;
    take_entry(renamed->feed, renamed->index, entry);
}

/* What is there already; later entries come behind it. Without a metrics.jsonl the steps come from the stream. */
static enum status greet(struct feed *feed)
{
    board_lock(&feed->dash->board);
    board_clear_spans(&feed->dash->board); /* the newest come again */
    board_unlock(&feed->dash->board);
    for (size_t i = 0; i < FEED_STREAMS; i++) {
        struct renamed renamed = {feed, i};
        TRY(redis_reader_newest(feed->reader, &feed->streams[i], newest[i], take_newest, &renamed));
    }
    board_lock(&feed->dash->board);
    bool alone = feed->dash->board.metrics.rows <= 1;
    board_unlock(&feed->dash->board);
    if (alone)
        snprintf(feed->streams[FEED_METRICS].id, REDIS_READER_ID_MAX, "0-0");
    feed->greeted = true;
    feed->next_scan_ns = 0;
    LOG_INFO("dash", "reads Redis", "run=%s", feed->dash->run);
    return STATUS_OK;
}

static void note(struct feed *feed, enum status status)
{
    bool was = atomic_exchange(&feed->dash->board.redis, status == STATUS_OK);
    if (status == STATUS_OK)
        return;
    feed->greeted = false;
    json_object_clear(feed->procs); /* of then */
    if (was)
        LOG_WARN("dash", "without Redis", "why=\"%s\"", status_sentence(status_last_error()));
}

void feed_redis_round(struct feed *feed, int block_ms)
{
    if (feed->reader == NULL)
        return;
    enum status status = redis_reader_connect(feed->reader);
    if (status == STATUS_AGAIN)
        return;
    if (status == STATUS_OK && !feed->greeted)
        status = greet(feed);
    size_t taken = 0;
    int rounds = 0;
    do {
        if (status == STATUS_OK)
            status = redis_reader_streams(feed->reader, feed->streams, FEED_STREAMS,
                                          rounds == 0 ? block_ms : 0, take_entry, feed, &taken);
    } while (status == STATUS_OK && taken >= REDIS_READER_BATCH && ++rounds < CATCH_UP_ROUNDS);
    note(feed, status);
}

/* ---- hashes ---- */

static void take_key(void *self, const char *key)
{
    struct feed *feed = self;
    const char *rest = key + strlen(feed->prefix);
    bool wanted = strncmp(rest, "proc:", 5) == 0 || strncmp(rest, "source:", 7) == 0;
    if (wanted && strlen(key) < FEED_KEY_MAX && json_object_size(feed->keys) < FEED_KEYS_MAX)
        json_object_set_new(feed->keys, key, json_true());
}

/* "proc:actor:3" -> "actor.3" */
static void name_process(const char *rest, char out[96])
{
    const char *colon = strrchr(rest, ':');
    if (colon == NULL)
        snprintf(out, 96, "%.90s", rest);
    else
        snprintf(out, 96, "%.*s.%.16s", colon - rest < 70 ? (int)(colon - rest) : 70, rest,
                 colon + 1);
}

static void take_hash(void *self, size_t index, const struct redis_entry *entry)
{
    struct feed *feed = self;
    const char *rest = entry->key + strlen(feed->prefix);
    char name[96];
    (void)index;
    if (entry->count == 0)
        return;
    json_t *object = feed_object(entry);
    if (strcmp(rest, "state") == 0) {
        json_decref(feed->state);
        feed->state = json_incref(object);
    } else if (strcmp(rest, "meta") == 0) {
        json_decref(feed->meta);
        feed->meta = json_incref(object);
    } else if (strncmp(rest, "proc:", 5) == 0) {
        name_process(rest + 5, name);
        json_object_set(feed->procs, name, object);
    } else {
        json_object_set(feed->sources, rest + 7, object);
    }
    json_decref(object);
}

void feed_redis_poll(struct feed *feed)
{
    static const char *keys[FEED_KEYS_MAX + 2]; /* of the one feeding thread */
    char state[FEED_KEY_MAX + 8], meta[FEED_KEY_MAX + 8];
    if (feed->reader == NULL || !feed->greeted || !redis_reader_connected(feed->reader))
        return;
    int64_t now_ns = clock_now_ns();
    enum status status = STATUS_OK;
    if (now_ns >= feed->next_scan_ns) {
        feed->next_scan_ns = clock_after_ms(now_ns, SCAN_MS);
        json_object_clear(feed->keys);
        status = redis_reader_keys(feed->reader, feed->prefix, take_key, feed);
    }
    size_t count = 0;
    const char *key;
    json_t *value;
    snprintf(state, sizeof state, "%sstate", feed->prefix);
    snprintf(meta, sizeof meta, "%smeta", feed->prefix);
    keys[count++] = state;
    keys[count++] = meta;
    json_object_foreach(feed->keys, key, value) keys[count++] = key;
    json_object_clear(feed->procs); /* their time has run out when they are not there */
    if (status == STATUS_OK)
        status = redis_reader_hashes(feed->reader, keys, count, take_hash, feed);
    if (status != STATUS_OK)
        note(feed, status);
}
