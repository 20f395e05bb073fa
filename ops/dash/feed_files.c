/* ops/dash/feed_files.c - what a run's folder and its store say, when Redis does not. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/memory.h"
#include "ops/dash/feed_state.h"
#include "ops/dash/rollout_tokens.h"

enum {
    TRACE_MS = 2000,
    ANSWER_MS = 3000,
    PEERS_MS = 2000,
    HISTOGRAM_BYTES = 8 << 20,
    TRACE_BYTES_MAX = 4 << 20
};

static void take_metrics(void *self, const json_t *line)
{
    struct board *board = &((struct feed *)self)->dash->board;
    board_lock(board);
    board_take_metrics(board, line, true);
    board_take_step_alarm(board, line);
    board_unlock(board);
    atomic_store(&board->fed_ns, clock_now_ns()); /* many steps take many seconds to read */
}

static void take_alarm(void *self, const json_t *line)
{
    struct board *board = &((struct feed *)self)->dash->board;
    board_lock(board);
    board_take_run_alarm(board, line);
    board_unlock(board);
}

/* Steps with their alarms, and alarms between steps. What cannot be read is read next time. */
static void read_steps(struct feed *feed)
{
    (void)!metrics_tail_poll(&feed->metrics, take_metrics, feed);
    (void)!metrics_tail_poll(&feed->alarms, take_alarm, feed);
}

static void take_histograms(void *self, const json_t *line)
{
    struct board *board = &((struct feed *)self)->dash->board;
    board_lock(board);
    board_take_histograms(board, line);
    board_unlock(board);
}

struct named {
    struct feed *feed;
    const char *process;
};

static void take_span(void *self, const json_t *line)
{
    const struct named *named = self;
    struct board *board = &named->feed->dash->board;
    json_t *span = json_copy((json_t *)(uintptr_t)line);
    if (json_object_get(span, "process") == NULL)
        json_object_set_new(span, "process", json_string(named->process));
    board_lock(board);
    board_take_span(board, span);
    board_unlock(board);
    json_decref(span);
}

/* Only the newest `most` bytes are kept anyway, so that those before them are not read. The line that the cut is in is
 * counted as a bad one. */
static void skip_to_newest(struct metrics_tail *tail, int64_t most)
{
    struct stat info;
    if (stat(tail->path, &info) != 0 || info.st_size - tail->offset <= most)
        return;
    tail->inode = info.st_ino;
    tail->offset = info.st_size - most;
    buffer_clear(&tail->part);
}

static bool is_trace(const char *file)
{
    size_t size = strlen(file);
    return size >= 7 && size < FEED_TRACE_NAME_MAX && strcmp(file + size - 6, ".jsonl") == 0;
}

static struct feed_trace *find_trace(struct feed *feed, const char *name, const char *path)
{
    for (size_t i = 0; i < feed->trace_count; i++)
        if (strcmp(feed->traces[i].name, name) == 0)
            return &feed->traces[i];
    if (feed->trace_count == FEED_TRACES_MAX)
        return NULL;
    struct feed_trace *made = &feed->traces[feed->trace_count];
    snprintf(made->name, sizeof made->name, "%s", name);
    if (metrics_tail_open(&made->tail, path) != STATUS_OK)
        return NULL;
    made->tail.stop = &feed->dash->closing;
    feed->trace_count++;
    return made;
}

static void read_traces(struct feed *feed)
{
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    if (file_path(folder, "%s/trace", feed->dash->folder) != STATUS_OK)
        return;
    DIR *dir = opendir(folder);
    int64_t files = 1;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        files += is_trace(entry->d_name);
    if (dir != NULL)
        rewinddir(dir);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char name[FEED_TRACE_NAME_MAX];
        if (!is_trace(entry->d_name) ||
            file_path(path, "%s/%s", folder, entry->d_name) != STATUS_OK)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(strlen(entry->d_name) - 6), entry->d_name);
        struct feed_trace *trace = find_trace(feed, name, path);
        if (trace != NULL) /* a share for each, or the last file would push out the others */
            skip_to_newest(&trace->tail, TRACE_BYTES_MAX / files);
        struct named named = {feed, name};
        if (trace != NULL && metrics_tail_poll(&trace->tail, take_span, &named) != STATUS_OK)
            continue; /* read again next time */
    }
    if (dir != NULL)
        closedir(dir);
}

static void take_rollout(void *self, const json_t *rollout)
{
    struct board *board = &((struct feed *)self)->dash->board;
    board_lock(board);
    board_take_rollout(board, rollout);
    board_unlock(board);
}

/* Once: the store of a run that is over tells nothing. */
static void read_rollouts(struct feed *feed)
{
    if (feed->rollouts_read || !feed->over)
        return;
    feed->rollouts_read = true;
    struct rollout_reader reader = {.settings = &feed->dash->program->settings,
                                    .folder = feed->dash->folder};
    rollout_reader_list(&reader, take_rollout, feed);
    rollout_reader_close(&reader);
}

static void forget_traces(struct feed *feed)
{
    for (size_t i = 0; i < feed->trace_count; i++)
        metrics_tail_close(&feed->traces[i].tail);
    feed->trace_count = 0;
}

/* Redis has gone: what it gave of spans is in the files, too. */
static void begin_alone(struct feed *feed)
{
    forget_traces(feed);
    feed->next_trace_ns = 0;
    board_lock(&feed->dash->board);
    board_clear_spans(&feed->dash->board);
    board_unlock(&feed->dash->board);
}

void feed_files_first(struct feed *feed)
{
    struct board *board = &feed->dash->board;
    board_lock(board);
    board->quiet = true; /* a long run's steps would only push each other out of the messages */
    board_unlock(board);
    read_steps(feed);
    board_lock(board);
    board->quiet = false;
    if (board->metrics.rows > 0)
        board_tell_reset(board); /* whoever opened a page meanwhile has a part */
    board_unlock(board);
}

void feed_files_round(struct feed *feed, int64_t now_ns, bool alone)
{
    if (now_ns < feed->next_file_ns)
        return;
    feed->next_file_ns = clock_after_ms(now_ns, alone ? FEED_WATCHED_MS : FEED_FILE_MS);
    read_steps(feed);
    if (alone && !feed->alone)
        begin_alone(feed);
    feed->alone = alone;
    if (!alone)
        return;
    skip_to_newest(&feed->histograms, HISTOGRAM_BYTES);
    (void)!metrics_tail_poll(&feed->histograms, take_histograms, feed);
    if (now_ns < feed->next_trace_ns)
        return;
    feed->next_trace_ns = clock_after_ms(now_ns, TRACE_MS);
    read_traces(feed);
    read_rollouts(feed);
}

void feed_files_close(struct feed *feed)
{
    metrics_tail_close(&feed->metrics);
    metrics_tail_close(&feed->histograms);
    metrics_tail_close(&feed->alarms);
    forget_traces(feed);
    memory_free(feed->traces);
}

/* ---- the store ---- */

static void take_peer(struct feed *feed, const json_t *peer)
{
    static const char *const keys[] = {"host",  "version", "pid",      "leases",
                                       "slots", "scoring", "connected"};
    const char *role = json_string_value(json_object_get(peer, "role"));
    char name[64];
    if (role == NULL)
        return;
    snprintf(name, sizeof name, "%.40s.%lld", role,
             (long long)json_integer_value(json_object_get(peer, "index")));
    json_t *stats = json_copy(json_object_get(peer, "stats"));
    if (!json_is_object(stats)) {
        json_decref(stats);
        stats = json_object();
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_object_get(stats, keys[i]) == NULL && json_object_get(peer, keys[i]) != NULL)
            json_object_set(stats, keys[i], json_object_get(peer, keys[i]));
    json_object_set_new(feed->peers, name, stats);
}

static void take_status(struct feed *feed, const json_t *answer, bool alone)
{
    size_t i;
    const json_t *row;
    const json_t *counters = json_object_get(answer, "counters");
    if (alone && json_is_object(counters)) {
        json_decref(feed->state);
        feed->state = json_deep_copy(counters);
    }
    json_object_clear(feed->peers);
    feed->peers_at_ns = clock_now_ns();
    json_array_foreach(json_object_get(answer, "peers"), i, row) take_peer(feed, row);
    json_array_foreach(json_object_get(answer, "sources"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (alone && name != NULL)
            json_object_set(feed->sources, name, (json_t *)(uintptr_t)row);
    }
}

static void take_answer(struct feed *feed, bool alone)
{
    struct board *board = &feed->dash->board;
    json_t *answer = json_loadb((const char *)feed->answer.bytes, feed->answer.size, 0, NULL);
    size_t i;
    const json_t *row;
    board_lock(board);
    if (feed->question == FEED_ASK_STATUS)
        take_status(feed, answer, alone);
    if (alone) { /* else Redis is back, and says it; an answer has one of the two */
        json_array_foreach(json_object_get(answer, "rollouts"), i, row)
            board_take_rollout(board, row);
        json_array_foreach(json_object_get(answer, "events"), i, row) board_take_event(board, row);
    }
    board_unlock(board);
    json_decref(answer);
}

/* With Redis: who takes part, now and then. Alone: one question after the other. */
void feed_store_round(struct feed *feed, int64_t now_ns, bool alone)
{
    static const char *const words[FEED_QUESTIONS] = {"status", "tail", "events"};
    static const char *const arguments[FEED_QUESTIONS] = {"{}", "{\"n\":256}", "{\"n\":256}"};
    const struct settings *settings = &feed->dash->program->settings;
    if (feed->over)
        return;
    if (feed->query == NULL && store_query_open(&feed->query, feed->dash->endpoint, feed->dash->run,
                                                settings->run.keys) != STATUS_OK)
        return;
    if (!feed->asked) {
        if (!alone && now_ns < feed->next_ask_ns)
            return;
        (void)!store_query_take(feed->query, 0, &feed->answer); /* hears the store's welcome */
        feed->question = alone ? feed->question : FEED_ASK_STATUS;
        feed->asked = store_query_start(feed->query, words[feed->question],
                                        arguments[feed->question]) == STATUS_OK;
        feed->asked_at_ns = now_ns;
        if (feed->asked)
            feed->next_ask_ns = clock_after_ms(now_ns, PEERS_MS);
        return;
    }
    enum status status = store_query_take(feed->query, 0, &feed->answer);
    if (status == STATUS_AGAIN && now_ns - feed->asked_at_ns < (int64_t)ANSWER_MS * CLOCK_NS_PER_MS)
        return;
    if (status == STATUS_OK)
        take_answer(feed, alone);
    feed->asked = false;
    feed->question = (feed->question + 1) % FEED_QUESTIONS;
}
