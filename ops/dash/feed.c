#include "ops/dash/feed.h"

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "ops/dash/feed_state.h"

static bool is_watched(const struct dash *dash, int64_t now_ns)
{
    return atomic_load(&dash->board.viewers) > 0 ||
           now_ns - atomic_load(&dash->board.asked_ns) <
               (int64_t)FEED_WATCHED_FOR_MS * CLOCK_NS_PER_MS;
}

/* One turn: what came, what is due, and viewers are told. */
static void turn(struct feed *feed)
{
    struct dash *dash = feed->dash;
    struct board *board = &dash->board;
    int64_t now_ns = clock_now_ns();
    bool alone = !atomic_load(&board->redis), watched = is_watched(dash, now_ns);
    feed_files_round(feed, now_ns, alone);
    int64_t pause_ns = (int64_t)(watched ? FEED_WATCHED_MS : FEED_IDLE_MS) * CLOCK_NS_PER_MS;
    if (now_ns - feed->next_poll_ns >= pause_ns) { /* next_poll_ns: of the last one */
        feed->next_poll_ns = now_ns;
        feed_redis_poll(feed);
        feed_make_snapshot(feed);
    }
    if (watched)
        feed_store_round(feed, now_ns, alone);
    atomic_store(&board->fed_ns, clock_now_ns());
    board_lock(board);
    bool changed = board->changed;
    board->changed = false;
    board_unlock(board);
    if (changed)
        dash_wake(dash);
    if (alone) {
        clock_sleep_ms(FEED_BLOCK_MS);
        feed_redis_round(feed, 0);
    } else {
        feed_redis_round(feed, FEED_BLOCK_MS);
    }
}

static void *feed_thread(void *self)
{
    struct feed *feed = self;
    feed_files_first(feed);
    feed_redis_round(feed, 0);
    while (!atomic_load(&feed->dash->closing))
        turn(feed);
    return NULL;
}

static enum status open_all(struct feed *feed)
{
    char path[FILE_PATH_MAX];
    atomic_store(&feed->dash->board.fed_ns, clock_now_ns());
    feed->keys = json_object();
    feed->procs = json_object();
    feed->peers = json_object();
    feed->sources = json_object();
    feed->traces = memory_array(FEED_TRACES_MAX, sizeof *feed->traces);
    if (feed->keys == NULL || feed->procs == NULL || feed->peers == NULL || feed->sources == NULL ||
        feed->traces == NULL)
        return FAIL(STATUS_NO_MEMORY, "the dashboard's feed");
    buffer_init(&feed->answer, 0);
    TRY(file_path(path, "%s/metrics.jsonl", feed->dash->folder));
    TRY(metrics_tail_open(&feed->metrics, path));
    TRY(file_path(path, "%s/histograms.jsonl", feed->dash->folder));
    TRY(metrics_tail_open(&feed->histograms, path));
    TRY(file_path(path, "%s/alarms.jsonl", feed->dash->folder));
    TRY(metrics_tail_open(&feed->alarms, path));
    feed->metrics.stop = feed->histograms.stop = feed->alarms.stop = &feed->dash->closing;
    return feed_redis_open(feed);
}

static void release(struct feed **pointer)
{
    struct feed *feed = *pointer;
    redis_reader_close(&feed->reader);
    store_query_close(&feed->query);
    feed_files_close(feed);
    buffer_free(&feed->answer);
    json_decref(feed->keys);
    json_decref(feed->procs);
    json_decref(feed->peers);
    json_decref(feed->sources);
    json_decref(feed->state);
    json_decref(feed->meta);
    json_decref(feed->meta_file);
    memory_free(feed);
    *pointer = NULL;
}

enum status feed_start(struct feed **out, struct dash *dash)
{
    struct feed *feed = memory_alloc(sizeof *feed);
    if (feed == NULL)
        return FAIL(STATUS_NO_MEMORY, "the dashboard's feed");
    feed->dash = dash;
    enum status status = open_all(feed);
    if (status == STATUS_OK && pthread_create(&feed->thread, NULL, feed_thread, feed) != 0)
        status = FAIL(STATUS_NO_MEMORY, "a thread for the dashboard's feed");
    if (status != STATUS_OK) {
        release(&feed);
        return status;
    }
    *out = feed;
    return STATUS_OK;
}

void feed_stop(struct feed **feed)
{
    if (*feed == NULL)
        return;
    CHECK(pthread_join((*feed)->thread, NULL) == 0); /* dash->closing is set */
    release(feed);
}
