/* transport/weight_root.h - the learner's part in the broadcast of weights: who is a member, and what is sent.
 *
 * Actors say that they are there; a little later all of them get a rank in a communicator of a new epoch. In it the
 * newest version is sent to everybody as soon as somebody lacks it, so a joiner gets what the others have by the same
 * path, and a version that was overtaken while another was under way is never sent. A member that does not join, wait
 * for bytes or confirm them within its timeout, or is silent for so long, is named, put out for a while, and the others
 * go on in the next epoch. Training never waits for actors, except in weight_root_release. */
#ifndef TRANSPORT_WEIGHT_ROOT_H
#define TRANSPORT_WEIGHT_ROOT_H

#include <stdbool.h>

#include "proto/messages.h"
#include "transport/weight_group.h"

struct weight_root_config {
    struct weight_group_config group;
    int64_t join_timeout_ms, timeout_ms; /* settings.weights */
    uint64_t
        epoch; /* the first is the next one; drawn at random, so that no learner before us had it: members and
                     * this end compare epochs for equality alone */
    size_t bytes;
    /* Sends one message to the actor it names; AGAIN: not now. */
    enum status (*send)(void *self, const struct weight_control *control);
    void *self;
};

struct weight_root_stats {
    uint32_t members; /* in the communicator now */
    uint64_t epochs, sent,
        ended; /* communicators made, versions sent to all of one, those that ended by a failure */
    uint64_t excluded; /* members put out */
    double send_ms;    /* of the last version: announced to confirmed by all */
};

struct weight_root;
MUST_CHECK enum status weight_root_open(struct weight_root **root,
                                        const struct weight_root_config *config);
void weight_root_close(struct weight_root **root);
/* A message of an actor. */
void weight_root_take(struct weight_root *root, const struct weight_control *control);
/* The newest version lies in `memory` until weight_root_release(memory) was called. */
void weight_root_offer(struct weight_root *root, uint64_t version, uint32_t branch, uint64_t digest,
                       void *memory);
/* Before `memory` is written again. False: a broadcast still reads it; turn and ask again, it ends with the broadcast
 * or with its deadline. The version that lies there is offered no more. */
bool weight_root_release(struct weight_root *root, const void *memory);
/* Moves things on; call it when all messages that are there were taken, else somebody is called late who is not.
 * TIMEOUT: an abort never came back, only a new process helps. */
MUST_CHECK enum status weight_root_turn(struct weight_root *root);
/* Something is under way that a turn moves on: turn again soon. */
bool weight_root_is_moving(const struct weight_root *root);
void weight_root_read(const struct weight_root *root, struct weight_root_stats *stats);

#endif
