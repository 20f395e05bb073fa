/* ops/dash/routes.c - the table of paths, and the answers that come straight from the board. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "ops/dash/server_state.h"

enum { EVENTS_MOST = 2000, LIVE_MS = 15000, STEP_MOST = 1000000000 };

/* ---- run, snapshot ---- */

static enum MHD_Result answer_text(struct request *request, const struct buffer *text)
{
    enum MHD_Result result;
    board_lock(&request->dash->board);
    result = text->size > 0 ? respond_json(request, 200, text) : MHD_NO;
    bool empty = text->size == 0;
    board_unlock(&request->dash->board);
    return empty ? refuse(request, 503, "the dashboard has just started, ask again") : result;
}

static enum MHD_Result answer_run(struct request *request)
{
    return answer_text(request, &request->dash->board.run);
}

static enum MHD_Result answer_snapshot(struct request *request)
{
    return answer_text(request, &request->dash->board.snapshot);
}

/* ---- metrics ---- */

/* What a metric may be called: printable ASCII. */
static bool is_names(const char *names)
{
    for (; names != NULL && *names != 0; names++)
        if (*names < ' ' || *names > '~')
            return false;
    return true;
}

static enum MHD_Result answer_metrics(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    struct metric_query query = {.names = query_text(request, "names"), .to = INFINITY};
    uint64_t points = 0;
    if (!query_real(request, "from", &query.from, &result) ||
        !query_real(request, "to", &query.to, &result) ||
        !query_whole(request, "points", METRIC_POINTS_MAX, &points, &result))
        return result;
    if (!is_names(query.names))
        return refuse(request, 400, "names takes names of metrics between commas");
    query.points = (size_t)points;
    struct buffer json;
    buffer_init(&json, 0);
    board_lock(&request->dash->board);
    enum status status = metric_table_json(&request->dash->board.metrics, &query, &json);
    board_unlock(&request->dash->board);
    result = status == STATUS_OK ? respond_taken(request, 200, &json)
                                 : refuse(request, status == STATUS_LIMIT ? 413 : 500, "%s",
                                          status_sentence(status_last_error()));
    buffer_free(&json);
    return result;
}

/* ---- events, histograms, spans ---- */

static enum MHD_Result answer_ring(struct request *request, const struct text_ring *ring,
                                   const char *name, double from, double to, size_t most)
{
    struct buffer json;
    buffer_init(&json, 0);
    enum status status = buffer_printf(&json, "{\"%s\":[", name);
    board_lock(&request->dash->board);
    if (status == STATUS_OK)
        status = text_ring_json(ring, from, to, most, &json);
    board_unlock(&request->dash->board);
    if (status == STATUS_OK)
        status = buffer_text(&json, "]}");
    enum MHD_Result result = status == STATUS_OK ? respond_taken(request, 200, &json)
                                                 : refuse(request, 500, "out of memory");
    buffer_free(&json);
    return result;
}

static enum MHD_Result answer_events(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    uint64_t n = 200;
    if (!query_whole(request, "n", EVENTS_MOST, &n, &result))
        return result;
    return answer_ring(request, &request->dash->board.events, "events", -INFINITY, INFINITY,
                       (size_t)n);
}

static enum MHD_Result answer_spans(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    uint64_t from = 0, to = STEP_MOST;
    if (!query_whole(request, "from_step", STEP_MOST, &from, &result) ||
        !query_whole(request, "to_step", STEP_MOST, &to, &result))
        return result;
    return answer_ring(request, &request->dash->board.spans, "spans", (double)from, (double)to,
                       SIZE_MAX);
}

static enum MHD_Result answer_histograms(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    uint64_t step = UINT64_MAX;
    if (!query_whole(request, "step", STEP_MOST, &step, &result))
        return result;
    struct board *board = &request->dash->board;
    const struct text_row *found = NULL;
    board_lock(board);
    for (size_t i = board->histograms.count; i-- > 0 && found == NULL;) {
        const struct text_row *row = text_ring_at(&board->histograms, i);
        if (step == UINT64_MAX || row->key == (double)step)
            found = row;
    }
    if (found != NULL)
        result = respond(request, 200, "application/json; charset=utf-8", found->text, found->size,
                         NULL);
    board_unlock(board);
    return found != NULL ? result
                         : refuse(request, 404,
                                  "no histograms of this step are kept; the learner writes them "
                                  "with each step, the newest 512 stay here");
}

/* ---- probes ---- */

static enum MHD_Result answer_live(struct request *request)
{
    int64_t age_ns = clock_now_ns() - atomic_load(&request->dash->board.fed_ns);
    if (age_ns > (int64_t)LIVE_MS * CLOCK_NS_PER_MS)
        return refuse(request, 503, "the dashboard has read nothing for %lld s",
                      (long long)(age_ns / CLOCK_NS_PER_S));
    return respond(request, 200, "text/plain", "live\n", 5, NULL);
}

static enum MHD_Result answer_ready(struct request *request)
{
    board_lock(&request->dash->board);
    bool ready = request->dash->board.snapshots > 0;
    board_unlock(&request->dash->board);
    return ready ? respond(request, 200, "text/plain", "ready\n", 6, NULL)
                 : refuse(request, 503, "the run has not been read yet");
}

/* ---- the table ---- */

static const struct route routes[] = {
    {"/api/run", false, answer_run},
    {"/api/snapshot", false, answer_snapshot},
    {"/api/metrics", false, answer_metrics},
    {"/api/events", false, answer_events},
    {"/api/rollouts", false, answer_rollouts},
    {"/api/rollout", false, answer_rollout},
    {"/api/histograms", false, answer_histograms},
    {"/api/spans", false, answer_spans},
    {"/api/why", false, answer_why},
    {"/api/config", false, answer_config},
    {"/api/logs", false, answer_logs},
    {"/api/stream", false, answer_stream},
    {"/api/drain", true, answer_drain},
    {"/api/scale", true, answer_scale},
    {"/metrics", false, answer_fleet_metrics},
    {"/prometheus/targets", false, answer_targets},
    {"/live", false, answer_live},
    {"/ready", false, answer_ready},
};
static const struct route page_route = {"", false, answer_page};

const struct route *route_find(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    if (strncmp(path, "/api/", 5) == 0 || path[0] != '/')
        return NULL;
    return path[1] == 0 || access_file(path + 1) ? &page_route : NULL;
}
