/* transport/weight_member.h - an actor's part in the broadcast of weights.
 *
 * It says every second that it is there (HERE), joins the communicator the learner names (EPOCH), waits for the bytes
 * that are announced (SEND) in memory of its owner, and answers when they have come. Whatever fails or takes longer
 * than twice its timeout ends the communicator on this side; then it is in none, says so, and the learner makes a new one.
 * Nothing blocks: the owner calls weight_member_turn between two decode steps. docs/weights.md has the whole story. */
#ifndef TRANSPORT_WEIGHT_MEMBER_H
#define TRANSPORT_WEIGHT_MEMBER_H

#include <stdbool.h>

#include "proto/messages.h"
#include "transport/weight_group.h"

struct weight_member_config {
    struct weight_group_config group;
    int64_t join_timeout_ms, timeout_ms; /* settings.weights */
    size_t bytes;
    /* Sends one message to the learner; AGAIN: not now. */
    enum status (*send)(void *self, const struct weight_control *control);
    void *self;
};

struct weight_arrival {
    uint64_t version, digest; /* as announced */
    uint64_t own;             /* digest of what came */
    double digest_ms;         /* it took so long after the last byte */
    uint32_t branch;
};

struct weight_member;
MUST_CHECK enum status weight_member_open(struct weight_member **member,
                                          const struct weight_member_config *config);
void weight_member_close(struct weight_member **member); /* says LEAVE */
/* The owner has the version of this digest, however it came: it is not sent for its sake. */
void weight_member_holds(struct weight_member *member, uint64_t digest);
/* A message of the learner. */
void weight_member_take(struct weight_member *member, const struct weight_control *control);
/* `memory`: where the next version may be written. It is being written from the turn that says *receiving until one
 * that does not; with *arrived it holds all bytes of *arrival, unchecked, until weight_member_answer. TIMEOUT: only a
 * new process helps. */
MUST_CHECK enum status weight_member_turn(struct weight_member *member, void *memory,
                                          bool *receiving, bool *arrived,
                                          struct weight_arrival *arrival);
/* After an arrival: the digest was right, or the bytes are of no use (then they are asked for again). */
void weight_member_answer(struct weight_member *member, bool good);

#endif
