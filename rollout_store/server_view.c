/* rollout_store/server_view.c - see the header. */
#include "rollout_store/server_view.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "transport/span_view.h"

enum { VIEW_TAKE = 64, VIEW_DETAIL_BYTES = 4096 };

static enum status ring_create(struct view_ring *ring, size_t capacity)
{
    ring->lines = memory_array(capacity, sizeof *ring->lines);
    ring->capacity = ring->lines != NULL ? capacity : 0;
    return ring->lines != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%zu lines", capacity);
}

static void ring_destroy(struct view_ring *ring)
{
    for (size_t i = 0; i < ring->capacity; i++)
        buffer_free(&ring->lines[i]);
    memory_free(ring->lines);
}

/* The oldest line, emptied, becomes the newest. */
static struct buffer *ring_next(struct view_ring *ring)
{
    size_t at = (ring->first + ring->count) % ring->capacity;
    if (ring->count < ring->capacity)
        ring->count++;
    else
        ring->first = (ring->first + 1) % ring->capacity;
    buffer_clear(&ring->lines[at]);
    return &ring->lines[at];
}

static enum status open_redis(struct server_view *view, const char *run, const char *run_folder)
{
    struct redis_settings redis = view->settings->redis;
    char address[FILE_PATH_MAX];
    if (redis.mode == REDIS_OFF || redis.address[0] != '\0' || redis.sentinels[0] != '\0')
        return redis_view_open_set(&view->redis, run, &redis);
    char *whole = realpath(run_folder, NULL);
    enum status status = file_path(address, "%s/redis.sock", whole != NULL ? whole : run_folder);
    /* lint: allow(free): realpath hands over memory of its own */
    free(whole);
    redis.address = address;
    return status == STATUS_OK ? redis_view_open(&view->redis, run, &redis) : status;
}

enum status server_view_open(struct server_view *view, const struct settings *settings,
                             const struct prompts *prompts, const struct tokenizer *tokenizer,
                             const char *run, const char *run_folder)
{
    *view = (struct server_view){.settings = settings, .prompts = prompts, .tokenizer = tokenizer};
    buffer_init(&view->text, 0);
    buffer_init(&view->utf8, 0);
    TRY(ring_create(&view->rollouts, VIEW_ROLLOUTS));
    TRY(ring_create(&view->events, VIEW_EVENTS));
    TRY(server_bias_open(&view->bias, 40));
    TRY(open_redis(view, run, run_folder));
    redis_view_trims_shared(view->redis);
    span_view_begin(view->redis);
    return STATUS_OK;
}

void server_view_close(struct server_view *view)
{
    redis_view_close(&view->redis);
    ring_destroy(&view->rollouts);
    ring_destroy(&view->events);
    server_bias_close(&view->bias);
    buffer_free(&view->text);
    buffer_free(&view->utf8);
    *view = (struct server_view){0};
}

/* ---- rollouts ---- */

/* Appends "key":"text of ids", cut to VIEW_TEXT_BYTES; ids that no token has give "". */
static enum status write_text(struct server_view *view, const char *key, const uint32_t *ids,
                              size_t count, struct buffer *json)
{
    buffer_clear(&view->text);
    buffer_clear(&view->utf8);
    if (count > VIEW_TEXT_BYTES)
        count = VIEW_TEXT_BYTES;
    if (tokenizer_decode(view->tokenizer, ids, count, true, &view->text) != STATUS_OK)
        buffer_clear(&view->text);
    size_t size = view->text.size < VIEW_TEXT_BYTES ? view->text.size : VIEW_TEXT_BYTES;
    if (size > 0)
        TRY(text_append_utf8(&view->utf8, view->text.bytes, size));
    for (size_t i = 0; i < view->utf8.size; i++)
        if (view->utf8.bytes[i] == 0)
            view->utf8.bytes[i] = ' ';
    TRY(buffer_printf(json, ",\"%s\":", key));
    return buffer_json_text(json, buffer_string(&view->utf8));
}

static enum status write_rollout(struct server_view *view, const struct book_rollout *rollout,
                                 struct buffer *json)
{
    static const char *const finish[SEGMENT_STATUS_COUNT] = {"more", "eos",  "length", "repetition",
                                                             "stop", "turn", "abort"};
    static const char *const score[SCORE_STATUS_COUNT] = {"ok",    "fail", "timeout",
                                                          "error", "skip", "unscorable"};
    const struct prompt *prompt = prompts_at(view->prompts, rollout->prompt_id);
    TRY(buffer_printf(json,
                      "{\"group\":%" PRIu64 ",\"prompt_id\":%" PRIu64 ",\"sample\":%" PRIu32
                      ",\"attempt\":%" PRIu32 ",\"tokens\":%" PRIu32 ",\"version_min\":%" PRIu64
                      ",\"version_max\":%" PRIu64
                      ",\"finish\":\"%s\",\"score\":\"%s\",\"reward\":%.17g",
                      rollout->group_id, rollout->prompt_id, rollout->sample, rollout->attempt,
                      rollout->count, rollout->version_min, rollout->version_max,
                      finish[rollout->finish], score[rollout->score_status], rollout->reward));
    TRY(buffer_text(json, ",\"source\":"));
    TRY(buffer_json_text(json, prompts_source(view->prompts, prompt->source)));
    if (rollout->scorer != 0)
        TRY(buffer_printf(json, ",\"scorer\":\"%016" PRIx64 "\"", rollout->scorer));
    TRY(buffer_text(json, ",\"detail\":"));
    TRY(buffer_json_text(
        json, strlen(rollout->detail_json) <= VIEW_DETAIL_BYTES ? rollout->detail_json : "{}"));
    TRY(write_text(view, "prompt", prompt->ids, prompt->count, json));
    TRY(write_text(view, "text", rollout->ids, rollout->count, json));
    return buffer_text(json, "}");
}

static enum status take_rollouts(struct server_view *view, struct book *book)
{
    struct book_rollout rollouts[VIEW_TAKE];
    size_t count = book_take_rollouts(book, rollouts, VIEW_TAKE);
    for (size_t i = 0; i < count; i++) {
        struct buffer *line = ring_next(&view->rollouts);
        TRY(write_rollout(view, &rollouts[i], line));
        TRY(server_bias_take(&view->bias, prompts_at(view->prompts, rollouts[i].prompt_id),
                             &rollouts[i]));
        if (view->redis != NULL && view->settings->redis.rollouts_kept > 0)
            redis_view_stream(view->redis, "rollouts", buffer_string(line),
                              view->settings->redis.rollouts_kept);
    }
    return STATUS_OK;
}

static enum status say_alarm(void *self, const char *text)
{
    LOG_ERROR("store", "alarm", "why=\"%s\"", text);
    return server_view_event(self, "alarm", text);
}

/* One hash for each data source, "source:NAME". */
static enum status publish_sources(struct server_view *view, const struct book *book,
                                   uint64_t version)
{
    const struct curriculum *curriculum = book_curriculum(book);
    uint32_t count = curriculum_source_count(curriculum);
    for (uint32_t i = 0; i < count && i < VIEW_SOURCES; i++) {
        struct curriculum_source source;
        char key[160];
        curriculum_source(curriculum, version, i, &source);
        snprintf(key, sizeof key, "source:%.120s", source.name);
        buffer_clear(&view->text);
        TRY(curriculum_source_json(curriculum, version, i, &view->text));
        redis_view_hash(view->redis, key, buffer_string(&view->text), 0);
    }
    return STATUS_OK;
}

enum status server_view_round(struct server_view *view, struct book *book, int64_t now_ns)
{
    struct book_counters counters;
    TRY(take_rollouts(view, book));
    book_read_counters(book, &counters);
    TRY(server_bias_step(&view->bias, counters.version, say_alarm, view));
    if (view->redis == NULL ||
        now_ns - view->published_ns < (int64_t)view->settings->redis.publish_ms * CLOCK_NS_PER_MS)
        return STATUS_OK;
    view->published_ns = now_ns;
    buffer_clear(&view->text);
    TRY(book_counters_json(book, &view->text));
    redis_view_hash(view->redis, "state", buffer_string(&view->text), 0);
    return publish_sources(view, book, counters.version);
}

/* ---- events and questions ---- */

/* Each step brings one: they go to Redis and are not kept, or nothing else would be. */
static bool is_routine(const char *kind)
{
    return strcmp(kind, "step") == 0 || strcmp(kind, "version") == 0;
}

enum status server_view_event(struct server_view *view, const char *kind, const char *text)
{
    struct buffer *line = &view->text;
    if (is_routine(kind))
        buffer_clear(line);
    else
        line = ring_next(&view->events);
    TRY(buffer_printf(line, "{\"time_ms\":%" PRId64 ",\"kind\":\"%s\",\"text\":",
                      clock_wall_ns() / CLOCK_NS_PER_MS, kind));
    TRY(buffer_json_text(line, text));
    TRY(buffer_text(line, "}"));
    redis_view_stream(view->redis, "events", buffer_string(line), REDIS_EVENTS_KEPT);
    return STATUS_OK;
}

enum status server_view_step(struct server_view *view, const char *metrics_json)
{
    json_t *report = json_loads(metrics_json, 0, NULL);
    const char *alarm = json_string_value(json_object_get(report, "alarm"));
    enum status status = STATUS_OK;
    if (report == NULL || alarm == NULL || json_object_get(report, "step") != NULL)
        status = server_view_event(view, "step", metrics_json);
    if (alarm != NULL)
        LOG_ERROR("store", "alarm of the learner", "why=\"%s\"", alarm);
    if (status == STATUS_OK && alarm != NULL)
        status = server_view_event(view, "alarm", alarm);
    json_decref(report);
    return status;
}

static size_t wanted_lines(const char *arguments_json)
{
    json_t *arguments = json_loads(arguments_json != NULL ? arguments_json : "{}", 0, NULL);
    json_int_t n = json_integer_value(json_object_get(arguments, "n"));
    json_decref(arguments);
    return n > 0 ? (size_t)n : 20;
}

enum status server_view_control(const struct server_view *view, const struct control *control,
                                struct buffer *json, bool *answered)
{
    bool tail = strcmp(control->command, "tail") == 0;
    *answered = tail || strcmp(control->command, "events") == 0;
    if (!*answered)
        return STATUS_OK;
    const struct view_ring *ring = tail ? &view->rollouts : &view->events;
    size_t wanted = wanted_lines(control->arguments_json);
    TRY(buffer_printf(json, "{\"%s\":[", tail ? "rollouts" : "events"));
    size_t from = ring->count > wanted ? ring->count - wanted : 0;
    for (size_t i = from; i < ring->count; i++) {
        struct buffer *line = &ring->lines[(ring->first + i) % ring->capacity];
        TRY(buffer_text(json, i > from ? "," : ""));
        TRY(buffer_append(json, line->bytes, line->size));
    }
    return buffer_text(json, "]}");
}
