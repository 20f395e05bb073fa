/* redis_view_state.h - a view, as its callers (redis_view.c) and its thread (redis_view_thread.c) share it. Private. */
#ifndef TRANSPORT_REDIS_VIEW_STATE_H
#define TRANSPORT_REDIS_VIEW_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/queue.h"
#include "transport/redis_connection.h"
#include "transport/redis_refill.h"
#include "transport/redis_ring.h"
#include "transport/redis_view.h"

enum { VIEW_TTLS = 512, VIEW_OWN_KEYS = 8, VIEW_PIPELINE = 64, VIEW_RUN_ID = 48, VIEW_NAME = 128 };

struct redis_view {
    char *run;
    struct redis_settings settings; /* texts owned: address, user, password, sentinels, master */
    struct queue *queue;            /* of struct redis_command, owned by whoever popped it */
    pthread_t thread;
    _Atomic uint64_t dropped, queued_bytes;
    atomic_bool closing, trims_shared;
    _Atomic int64_t flush_until_ns;
    /* of the thread */
    redisContext *context; /* NULL: not connected */
    char where[REDIS_ADDRESS_MAX];
    char run_id[VIEW_RUN_ID]; /* of the server that was connected last */
    int64_t next_try_ns, backoff_ms, next_look_ns, next_sentinel_ns, next_trim_ns;
    struct redis_rings rings;
    struct redis_refill refill;
    struct {
        uint64_t key; /* hash64 of the whole key; 0: free */
        int64_t again_ns;
    } ttls[VIEW_TTLS];
    char own_keys[VIEW_OWN_KEYS][REDIS_KEY_MAX]; /* with an EXPIRE of ours: removed at the end */
    char name[VIEW_NAME];                        /* HOST.PID.NUMBER.TIME: no other view has it */
    char said[256];                              /* the last warning */
    int64_t say_again_ns;
};

void *redis_view_thread(void *self);

#endif
