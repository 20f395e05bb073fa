/* reward/desk.h - the reward worker's conversation with the store, without plugin, socket and clock.
 *
 * A pure state machine: messages come in, items go to the caller's `take`, results come back by reward_desk_add, and
 * messages leave through a callback. It keeps results until the store has them on disk, says them again on every new
 * connection, and says how much work it takes: once a connection, since the store counts what it sends and gets.
 * worker.c drives it around a link and a plugin host, the fleet simulator on a virtual network. One thread. */
#ifndef REWARD_DESK_H
#define REWARD_DESK_H

#include <stdbool.h>

#include "proto/messages.h"

/* Results are collected while fewer than DESK_FRAMES_WAITING_MAX frames wait for their acknowledgement; the rest
 * of DESK_FRAMES_MAX is for items that fail before the plugin. */
enum { DESK_RESULTS_PER_FRAME = 256, DESK_FRAMES_MAX = 1024, DESK_FRAMES_WAITING_MAX = 512 };

/* Results on their way to the store's disk. */
struct desk_frame {
    uint64_t frame_id;
    uint32_t count;
    bool sent;   /* on this connection */
    bool closed; /* was sent once: an acknowledgement of it must cover all of it */
    struct score scores[DESK_RESULTS_PER_FRAME];
    char *details[DESK_RESULTS_PER_FRAME]; /* owned */
};

struct reward_desk {
    uint64_t incarnation;
    uint32_t queue;             /* items it takes at a time */
    uint32_t caps;              /* enum score_cap, of its plugin; reward_desk_wants changes it */
    struct desk_frame **frames; /* [DESK_FRAMES_MAX] oldest first, frame_count in use */
    uint32_t frame_count;
    uint64_t next_frame_id;
    uint32_t working;    /* items taken and not answered */
    uint32_t connection; /* on which the request was said */
    uint32_t capacity;   /* last said to the store */
    bool requested;
    bool draining, stopping; /* the store's notice */
    bool leaving; /* set by the owner: no new work; the store gives it to others at our bye */
};

MUST_CHECK enum status reward_desk_open(struct reward_desk *desk, uint64_t incarnation,
                                        uint32_t queue);
void reward_desk_close(struct reward_desk *desk);

/* From now on it reads this (enum score_cap); the store is told with the next request. */
void reward_desk_wants(struct reward_desk *desk, uint32_t caps);

/* Begins with one item (an item that is `scored` is not answered); it is answered by reward_desk_add later. What it returns but OK makes the item a SCORE_ERROR
 * at once. The item lives as long as its message. */
typedef enum status (*reward_desk_take_fn)(void *self, const struct score_item *item);
/* A message of the store. INVALID with the store's sentence: it refused this worker. */
MUST_CHECK enum status reward_desk_hear(struct reward_desk *desk, const struct message *message,
                                        reward_desk_take_fn take, void *self);
/* Result of an item that was taken. detail: owned by the desk from here on, also on failure; NULL is "{}". */
MUST_CHECK enum status reward_desk_add(struct reward_desk *desk, const struct score *score,
                                       char *detail);
/* False: the store has not acknowledged enough; results wait with the owner. */
bool reward_desk_collects(const struct reward_desk *desk);
/* Nothing taken, nothing unacknowledged. */
bool reward_desk_empty(const struct reward_desk *desk);

/* Queues one message towards the store; AGAIN: it takes nothing now. */
typedef enum status (*reward_desk_send_fn)(void *self, const struct message *message);
/* Says what is due. connection: another number after each welcome of the store; call while welcomed. */
MUST_CHECK enum status reward_desk_say(struct reward_desk *desk, uint32_t connection,
                                       reward_desk_send_fn send, void *self);

#endif
