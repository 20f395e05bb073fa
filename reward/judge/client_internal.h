/* reward/judge/client_internal.h - what the two halves of the client share: client.c asks, client_thread.c drives the
 * connections. */
#ifndef REWARD_JUDGE_CLIENT_INTERNAL_H
#define REWARD_JUDGE_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "core/clock.h"
#include "core/rng.h"
#include "reward/judge/cache.h"
#include "reward/judge/client.h"
#include "reward/judge/transfer.h"

enum { LATENCY_BUCKETS = 200, LATENCY_PER_OCTAVE = 8 };

struct batch {
    struct judge_question *questions;
    struct request *
        *requests; /* [count], NULL once answered; owned by the caller of judge_ask_all */
    size_t left;
    pthread_cond_t answered;
};

/* Owned by the judge's thread, except `batch`, which the mutex guards: NULL when nobody waits any more. */
struct request {
    struct request *next;
    struct batch *batch;
    size_t index;
    char *body;
    size_t body_size;
    int64_t asked_ns, deadline_ns, not_before_ns, attempt_ns;
    uint32_t attempts;
    bool probe; /* the one that finds out whether the judge is back */
    struct transfer *transfer;
};

struct list {
    struct request *first, **end;
};

struct judge {
    struct judge_settings settings;
    char version[JUDGE_VERSION_SIZE];
    struct cache *cache; /* NULL: none */
    struct curl_slist *headers;
    CURLM *multi;
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* guards what follows, and the batches */
    struct list incoming;
    uint64_t queued; /* requests that have no result yet */
    bool stopping;
    struct judge_counters counts;
    uint64_t latency[LATENCY_BUCKETS]; /* attempts by log2 of their milliseconds */

    /* of the judge's thread */
    struct list waiting, active;
    struct transfer *transfers; /* [concurrency] */
    uint32_t transfer_count, busy;
    uint32_t sick;         /* failed attempts in a row */
    int64_t down_until_ns; /* 0: it is up */
    bool probing;
    int64_t pause_until_ns; /* nobody starts before it: a server asked for a pause */
    struct rng rng;
    char down_why[400];
};

/* The judge's thread, until `stopping`. */
void *judge_drive(void *judge);
void judge_request_free(struct request *request);
/* Queue of requests. */
void request_list_init(struct list *list);
void request_list_add(struct list *list, struct request *request);

#endif
