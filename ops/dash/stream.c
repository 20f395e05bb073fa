/* ops/dash/stream.c - /api/stream: server-sent events for a viewer, from the ring that all share. */
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"
#include "ops/dash/number.h"
#include "ops/dash/server_state.h"

enum { STREAM_BLOCK = 32 << 10, MISSED_STEPS_MAX = 5000 };
/* Pages cannot see a comment of the stream: that it lives is an event. */
static const char beat_text[] = "event: beat\ndata: {}\n\n";

/* ---- what a viewer is told first ---- */

static enum status write_step(const struct board *board, size_t row, struct buffer *out)
{
    char step[NUMBER_TEXT_MAX], wall[NUMBER_TEXT_MAX];
    size_t step_size = number_text(board->metrics.step[row], step);
    size_t wall_size = number_seconds(board->metrics.wall[row], wall);
    TRY(buffer_printf(out, "event: metrics\ndata: {\"step\":%.*s,\"wall\":%.*s,\"series\":",
                      (int)step_size, step, (int)wall_size, wall));
    TRY(metric_table_row_json(&board->metrics, row, out));
    return buffer_text(out, "}\n\n");
}

/* Steps since the one that a returning viewer saw last; too many: it is told to read them anew. */
static enum status write_missed(const struct board *board, uint64_t step, struct buffer *out)
{
    size_t from = board->metrics.rows;
    while (from > 0 && board->metrics.step[from - 1] > (double)step)
        from--;
    if (board->metrics.rows - from > MISSED_STEPS_MAX)
        return buffer_text(out, "event: reset\ndata: {}\n\n");
    for (size_t row = from; row < board->metrics.rows; row++)
        TRY(write_step(board, row, out));
    return STATUS_OK;
}

static enum status write_head(struct viewer *viewer, const char *last_id)
{
    struct board *board = &viewer->dash->board;
    struct broadcast_resume said = broadcast_resume(&board->broadcast, last_id);
    TRY(buffer_text(&viewer->head, "retry: 1000\n\n"));
    viewer->position = said.position;
    if (said.known)
        return STATUS_OK;
    if (said.has_step)
        TRY(write_missed(board, said.step, &viewer->head));
    if (board->snapshot.size == 0)
        return STATUS_OK;
    TRY(buffer_text(&viewer->head, "event: snapshot\ndata: "));
    TRY(buffer_append(&viewer->head, board->snapshot.bytes, board->snapshot.size));
    return buffer_text(&viewer->head, "\n\n");
}

/* ---- reading ---- */

static void free_head(struct viewer *viewer)
{
    exchange_release(viewer->dash->server, viewer->held);
    viewer->held = 0;
    viewer->head_at = 0;
    buffer_free(&viewer->head);
}

static size_t take_head(struct viewer *viewer, char *out, size_t room)
{
    size_t size = viewer->head.size - viewer->head_at;
    if (size > room)
        size = room;
    memcpy(out, viewer->head.bytes + viewer->head_at, size);
    viewer->head_at += size;
    if (viewer->head_at == viewer->head.size)
        free_head(viewer);
    return size;
}

/* The lock of the server is held from the look for news to the suspension: nobody who is woken in between stays asleep. */
static ssize_t read_stream(void *self, uint64_t at, char *out, size_t room)
{
    struct viewer *viewer = self;
    struct dash_server *server = viewer->dash->server;
    struct board *board = &viewer->dash->board;
    bool lost = false;
    (void)at;
    if (viewer->head.size > 0)
        return (ssize_t)take_head(viewer, out, room);
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    board_lock(board);
    size_t size = broadcast_read(&board->broadcast, &viewer->position, out, room, &lost);
    board_unlock(board);
    /* It may have had half a message: the empty line ends that one. */
    if (lost && buffer_text(&viewer->head, "\n\nevent: reset\ndata: {}\n\n") == STATUS_OK) {
        CHECK(pthread_mutex_unlock(&server->lock) == 0);
        return (ssize_t)take_head(viewer, out, room);
    }
    if (size == 0 && viewer->beat) {
        size = room < sizeof beat_text - 1 ? 0 : sizeof beat_text - 1;
        memcpy(out, beat_text, size);
        viewer->beat = false;
    }
    ssize_t result = (ssize_t)size;
    if (server->closing) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (size == 0) {
        viewer->suspended = true;
        MHD_suspend_connection(viewer->connection);
    }
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
    return result;
}

static void free_viewer(void *self)
{
    struct viewer *viewer = self;
    struct dash_server *server = viewer->dash->server;
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    *(viewer->previous != NULL ? &viewer->previous->next : &server->viewers) = viewer->next;
    if (viewer->next != NULL)
        viewer->next->previous = viewer->previous;
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
    atomic_fetch_sub(&viewer->dash->board.viewers, 1);
    free_head(viewer);
    memory_free(viewer);
}

static void list_viewer(struct dash_server *server, struct viewer *viewer)
{
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    viewer->next = server->viewers;
    if (viewer->next != NULL)
        viewer->next->previous = viewer;
    server->viewers = viewer;
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
    atomic_fetch_add(&server->dash->board.viewers, 1);
}

enum MHD_Result answer_stream(struct request *request)
{
    struct dash *dash = request->dash;
    if (atomic_load(&dash->board.viewers) >= SERVER_VIEWERS_MAX)
        return refuse(request, 503, "%d pages watch this run already, no more can",
                      SERVER_VIEWERS_MAX);
    if (request->head)
        return respond(request, 200, "text/event-stream", "", 0, NULL);
    struct viewer *viewer = memory_alloc(sizeof *viewer);
    if (viewer == NULL)
        return MHD_NO;
    viewer->dash = dash;
    viewer->connection = request->connection;
    buffer_init(&viewer->head, 0);
    list_viewer(dash->server, viewer);
    board_lock(&dash->board);
    enum status status = write_head(
        viewer, MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "Last-Event-ID"));
    board_unlock(&dash->board);
    if (status == STATUS_OK && !exchange_hold(dash->server, viewer->head.capacity)) {
        free_viewer(viewer);
        return refuse_unread(request);
    }
    viewer->held = status == STATUS_OK ? viewer->head.capacity : 0;
    struct MHD_Response *response =
        status == STATUS_OK ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                                read_stream, viewer, free_viewer)
                            : NULL;
    if (response == NULL) {
        free_viewer(viewer);
        return MHD_NO;
    }
    add_safe_headers(response);
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* for proxies in between */
    enum MHD_Result result = MHD_queue_response(request->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- waking ---- */

static void wake_all(struct dash_server *server, bool beat)
{
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    for (struct viewer *viewer = server->viewers; viewer != NULL; viewer = viewer->next) {
        viewer->beat |= beat;
        if (viewer->suspended) {
            viewer->suspended = false;
            MHD_resume_connection(viewer->connection);
        }
    }
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
}

void stream_wake(struct dash *dash)
{
    if (dash->server != NULL)
        wake_all(dash->server, false);
}

void stream_beat(struct dash *dash)
{
    wake_all(dash->server, true);
}

void stream_close_all(struct dash *dash)
{
    CHECK(pthread_mutex_lock(&dash->server->lock) == 0);
    dash->server->closing = true;
    CHECK(pthread_mutex_unlock(&dash->server->lock) == 0);
    wake_all(dash->server, false);
}
