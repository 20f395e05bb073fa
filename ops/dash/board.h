/* ops/dash/board.h - what the dashboard knows of its run, between the thread that reads (feed) and the one that answers.
 *
 * Everything is guarded by `lock`, held for moments; texts that all viewers get (run, snapshot) are encoded once. Memory is
 * bounded: metrics 512 MB (a real run: 8 MB), rollouts 12 MB, histograms 8 MB, spans 8 MB, events 1 MB, messages 4 MB (at most 64, for fleets of thousands). */
#ifndef OPS_DASH_BOARD_H
#define OPS_DASH_BOARD_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "ops/dash/broadcast.h"
#include "ops/dash/metric_table.h"
#include "ops/dash/rollout_list.h"
#include "ops/dash/text_ring.h"

enum { BOARD_ROLLOUTS_PER_S = 20 };

struct board {
    pthread_mutex_t lock;
    struct metric_table metrics;
    struct broadcast broadcast;
    struct rollout_list rollouts;
    struct text_ring events;     /* key: time_ms, ascending */
    struct text_ring histograms; /* key: step */
    struct text_ring spans;      /* key: step */
    struct buffer run, snapshot; /* JSON objects; empty: not yet */
    uint64_t snapshot_hash;      /* of the snapshot without its time */
    uint64_t
        snapshots; /* how many were made: a request waits for the next one after an idle time */
    int64_t rollout_second; /* of rollout_count: rollouts told in this second */
    uint32_t rollout_count;
    json_t *latest; /* the newest line of metrics; NULL: none */
    bool changed;   /* viewers have something new */
    bool quiet;     /* steps are kept without a word: the file is read from its beginning */

    atomic_bool redis;        /* it answers */
    _Atomic int64_t fed_ns;   /* when the feeding thread last went round */
    _Atomic int64_t asked_ns; /* when somebody last asked for anything */
    atomic_uint viewers;      /* open streams */
};

MUST_CHECK enum status board_open(struct board *board);
void board_close(struct board *board);
void board_lock(struct board *board);
void board_unlock(struct board *board);

/* With the lock held; what cannot be kept is logged and left out. */
/* A line of metrics.jsonl, from the file or from Redis. There one without "wall", or with "set" (a row of an evaluation), has
 * figures of a step that is there: its eval/ members join that step. */
void board_take_metrics(struct board *board, const json_t *line, bool from_file);
/* But for one of each step (step, version), and alarms that are there: same text within a minute. */
void board_take_event(struct board *board, const json_t *event);
/* The alarm of a line of metrics.jsonl, if it has one; a line of alarms.jsonl (ops/run_alarms.h). */
void board_take_step_alarm(struct board *board, const json_t *line);
void board_take_run_alarm(struct board *board, const json_t *line);
void board_take_rollout(struct board *board, const json_t *rollout);
void board_take_histograms(struct board *board, const json_t *histograms);
void board_take_span(struct board *board, const json_t *span);
/* Before all that there is comes again. */
void board_clear_spans(struct board *board);
/* Viewers load again what they show. */
void board_tell_reset(struct board *board);
/* Owned by the caller. Sent to viewers when it differs from the last one. */
void board_set_snapshot(struct board *board, const json_t *without_time, int64_t time_ms);
void board_set_run(struct board *board, const json_t *run);

#endif
