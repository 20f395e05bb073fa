/* ops/dash/feed_state.h - inside the feeding thread: where things come from, and the snapshot made of them. */
#ifndef OPS_DASH_FEED_STATE_H
#define OPS_DASH_FEED_STATE_H

#include "ops/dash/feed.h"
#include "ops/screen.h"
#include "ops/store_query.h"
#include "transport/redis_reader.h"

enum feed_stream {
    FEED_METRICS,
    FEED_EVENTS,
    FEED_ROLLOUTS,
    FEED_HISTOGRAMS,
    FEED_SPANS,
    FEED_STREAMS
};
enum { FEED_KEY_MAX = 256, FEED_KEYS_MAX = 4096, FEED_TRACES_MAX = 256, FEED_TRACE_NAME_MAX = 64 };

struct feed {
    struct dash *dash;
    pthread_t thread;

    /* Redis */
    struct redis_reader *reader; /* NULL: mode off */
    bool greeted;                /* streams stand at their ends */
    char prefix[FEED_KEY_MAX];   /* "weir:{RUN}:" */
    char stream_keys[FEED_STREAMS][FEED_KEY_MAX];
    struct redis_stream streams[FEED_STREAMS];
    json_t *keys; /* object: proc and source keys that are there -> true */
    int64_t next_scan_ns;

    /* the folder */
    struct metrics_tail metrics, histograms, alarms;
    struct feed_trace {
        char name[FEED_TRACE_NAME_MAX];
        struct metrics_tail tail;
    } * traces;
    size_t trace_count;
    bool alone; /* Redis did not answer in the last round */
    int64_t next_file_ns, next_poll_ns, next_trace_ns;

    /* the store: who takes part; and all else while Redis is silent */
    struct store_query *query;
    enum feed_question { FEED_ASK_STATUS, FEED_ASK_TAIL, FEED_ASK_EVENTS, FEED_QUESTIONS } question;
    bool asked;
    int64_t asked_at_ns, next_ask_ns, peers_at_ns;
    struct buffer answer;

    /* what the snapshot is made of; objects */
    json_t *state; /* counters of the store */
    json_t *procs; /* "actor.0" -> its hash in Redis */
    json_t *
        peers; /* "actor.0" -> what the store knows of it: also of machines that do not reach Redis */
    json_t *sources;   /* name -> its hash */
    json_t *meta;      /* of the supervisor */
    json_t *meta_file; /* meta.json of the folder; NULL: none */
    bool over, draining, rollouts_read;
};

/* feed_redis.c */
MUST_CHECK enum status feed_redis_open(struct feed *feed);
void feed_redis_round(struct feed *feed, int block_ms); /* returns at once when there is no Redis */
void feed_redis_poll(struct feed *feed);
/* feed_files.c */
void feed_files_first(struct feed *feed); /* metrics.jsonl and alarms.jsonl from their beginning */
void feed_files_round(struct feed *feed, int64_t now_ns, bool alone);
void feed_store_round(struct feed *feed, int64_t now_ns, bool alone);
void feed_files_close(struct feed *feed);
/* snapshot.c */
void feed_make_snapshot(struct feed *feed);

/* Fields as Redis has them: numbers become numbers. A new reference. */
json_t *feed_object(const struct redis_entry *entry);

#endif
