/* ops/top_view.h - what `weir top` shows of a run, put together from the store's answers, the supervisor's table and
 * metrics.jsonl. Each source may be missing. One thread; pure but for the clock that the caller gives. */
#ifndef OPS_TOP_VIEW_H
#define OPS_TOP_VIEW_H

#include <jansson.h>

#include "ops/curve.h"

enum {
    TOP_CURVES = 12,
    TOP_CURVES_SHOWN = 4,
    TOP_PROCESSES_MAX = 4400,
    TOP_TEXT_MAX = 400,
    TOP_WALLS = 64,
    TOP_ALARMS = 8
};

/* One of the metrics that have a curve. */
struct top_curve_row {
    const char *metric, *label;
};
extern const struct top_curve_row top_curve_rows[TOP_CURVES];

struct top_process {
    char name[48], state[16], host[64], device[32], http[64], end[96];
    long pid;
    bool sick;   /* neither running nor out by wish */
    double up_s; /* NAN, as all that is not known */
    double restarts, version, lag, work, room, tokens_s, idle;
};

struct top_view {
    char run[64], state[16];
    double step, steps, attempt, up_s, eta_s;
    char because[TOP_TEXT_MAX];
    size_t alarm_count; /* of those kept */
    struct top_alarm {
        int64_t wall_ms;
        char text[TOP_TEXT_MAX];
    } alarms[TOP_ALARMS]; /* newest first */
    json_t *counters;     /* of the store; NULL: none. Owned */
    json_t *last;         /* the last line of metrics.jsonl; NULL: none. Owned */
    struct curve curves[TOP_CURVES];
    double walls[TOP_WALLS], wall_steps[TOP_WALLS]; /* of the last steps, a ring: for eta_s */
    size_t wall_count;
    struct top_process processes[TOP_PROCESSES_MAX];
    size_t process_count;
};

/* A zeroed view is empty; names are borrowed for the call. */
void top_view_free(struct top_view *view);
void top_view_metrics(void *view, const json_t *line); /* for metrics_tail_poll */
/* status: the store's answer; table: ops/process_table.h; either may be NULL. */
void top_view_processes(struct top_view *view, const json_t *status, const json_t *table);
void top_view_alarms(struct top_view *view,
                     const json_t *events); /* the store's answer to `events` */
/* Steps a second over the last of them; 0: not known. Fills eta_s. */
double top_view_pace(struct top_view *view);
/* One page as JSON; a new reference. */
json_t *top_view_json(const struct top_view *view);

#endif
