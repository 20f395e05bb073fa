/* actor/actor_state.h - what the files of actor/ share; nobody outside includes it. */
#ifndef ACTOR_ACTOR_STATE_H
#define ACTOR_ACTOR_STATE_H

#include "actor/actor.h"
#include "actor/engine.h"
#include "core/trace.h"
#include "actor/http.h"
#include "core/arena.h"
#include "transport/link.h"
#include "transport/monitor.h"
#include "transport/redis_view.h"
#include "transport/weight_channel.h"
#include "transport/weight_member.h"
#include "transport/weight_tcp_client.h"

struct actor {
    struct engine engine; /* model, slots, and what the store says */
    char run[WIRE_NAME_MAX];
    uint32_t index;

    struct http_server *http; /* the endpoint; NULL: none */
    struct link *link;
    struct arena *arena;              /* of the message in hand */
    struct weight_device device;      /* of the engine's ops */
    struct weight_receiver *receiver; /* the channel's file; NULL: none yet, or another way */
    struct weight_member *member;     /* NULL: not by NCCL */
    struct weight_client *client;     /* NULL: not by TCP */
    bool joining;                     /* by TCP for now, by NCCL once there are weights */
    uint64_t tcp_refused;             /* wrong digests of the client that are counted */
    int64_t lacking_ns;               /* what is registered does not come since; 0: it does */
    struct redis_view *redis;
    struct monitor *monitor;      /* borrowed */
    struct buffer heartbeat_json; /* valid until the next heartbeat */

    uint64_t refused_digest; /* of the copy refused last; not tried again before retry_ns */
    int64_t retry_ns;
    char weights_path[FILENAME_MAX]; /* the one in use; the desk knows the newest */
    int64_t report_ns;
    struct trace_chunk work; /* spans of decode and prefill */
    bool told;               /* as the monitor was told */
    const char *why;         /* it is not ready; NULL: it is */
    double tokens_reported;
};

/* weights.c */
MUST_CHECK enum status
actor_swap_weights(struct actor *actor); /* looks for newer weights and takes them */
void actor_take_control(struct actor *actor, const struct weight_control *control);
/* Readable when weights came that a turn should take; -1: nothing to wait for. */
int actor_weights_fd(const struct actor *actor);
void actor_close_weights(struct actor *actor); /* the way they come, not the weights */

#endif
