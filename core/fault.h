/* core/fault.h - named points at which a test can make this process fail.
 *
 *     FAULT("ledger.appended");                 between write and fdatasync
 *     if (fault_fails("ledger.write")) ...       the caller pretends that the call failed
 *
 * WEIR_FAULT="point:when=action[,point:when=action...]" arms points when the process starts. when: a number n, the
 * n-th pass of the point in this process (from 1); "*", every pass; "~n", each pass with chance 1 of n. action: kill
 * (SIGKILL to itself), stop (SIGSTOP), fail (fault_fails returns true there), sleep.MS, sleep.MS-MS (drawn between).
 * WEIR_FAULT_ROLE=role.index limits it to one process ("store.0"); the process names itself with fault_init.
 * WEIR_FAULT_ONCE=folder: every point acts once in all processes together; the one that does leaves folder/<point>,
 * with its name and pid, so that a process that is started again does not die there for ever.
 * Unarmed, a point costs one load and a branch. A point that no build has is refused at fault_init, so that a chaos
 * test cannot silently test nothing. docs/faults.md lists the points.
 *
 * Any thread. */
#ifndef CORE_FAULT_H
#define CORE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/status.h"

C_BEGIN

/* Every point of the tree, one row each: name, what has just happened there. */
// clang-format off
#define FAULT_POINTS(POINT)                                                                          \
    POINT("ledger.write",         "before the records of a round are written")                        \
    POINT("ledger.write_error",   "the same place; fail: the disk gives an error, not \"full\"")         \
    POINT("ledger.appended",      "records are written, not synced")                                  \
    POINT("ledger.sync",          "before the sync; fail: it fails")                                  \
    POINT("ledger.synced",        "records are on disk, nothing is sent")                             \
    POINT("ledger.due",           "before the store asks whether a snapshot is due; fail: it is")     \
    POINT("ledger.rotated",       "a new ledger file was begun")                                      \
    POINT("ledger.snapshot",      "a snapshot is written, not synced")                                \
    POINT("store.sent",           "half of a round's messages are sent")                              \
    POINT("store.loaded",         "the ledger is replayed, nobody is connected")                      \
    POINT("index.commit",         "before the index commits a catch-up")                              \
    POINT("actor.granted",        "leases came, nothing is decoded")                                  \
    POINT("actor.decoded",        "a decode step is done, its tokens are in no frame")                \
    POINT("actor.framed",         "a frame is made, not sent")                                        \
    POINT("actor.sent",           "a frame is sent, not acknowledged")                                \
    POINT("actor.swapped",        "new weights are in use")                                           \
    POINT("reward.took",          "score work came, nothing is scored")                               \
    POINT("reward.scored",        "a score is known, not sent")                                       \
    POINT("reward.sent",          "a score is sent, not acknowledged")                                \
    POINT("learner.planned",      "a plan came, no group of it")                                      \
    POINT("learner.fetched",      "all groups of a plan came")                                        \
    POINT("learner.updated",      "one minibatch is trained")                                         \
    POINT("learner.registered",   "the version is registered, no byte of it is published")            \
    POINT("learner.published",    "the version is published")                                         \
    POINT("checkpoint.begun",     "the partial folder is empty")                                      \
    POINT("checkpoint.model",     "the model is written")                                             \
    POINT("checkpoint.optimizer", "the optimizer state is written")                                   \
    POINT("checkpoint.written",   "everything is written and synced, the old name stands")            \
    POINT("checkpoint.renamed",   "renamed, the folder is not synced")                                \
    POINT("checkpoint.saved",     "the checkpoint is on disk, the store does not know it")              \
    POINT("eval.written",         "a folder of weights for evaluation is written, without its name")    \
    POINT("eval.answered",        "an answer is in responses.jsonl")                                    \
    POINT("eval.reported",        "the report of a set is written, its row is not in the table")
// clang-format on

extern atomic_bool fault_armed_anywhere;

/* Reads WEIR_FAULT for the process `role`.`index`. INVALID names the part that is wrong. Before other threads. */
MUST_CHECK enum status fault_init(const char *role, unsigned index);
/* Passes the point: kills, stops or sleeps when that is armed. */
void fault_pass(const char *point);
/* The same, and true when the pass is to fail. */
bool fault_fails(const char *point);

#define FAULT(point)                                                           \
    do {                                                                       \
        if (atomic_load_explicit(&fault_armed_anywhere, memory_order_relaxed)) \
            fault_pass(point);                                                 \
    } while (0)

C_END
#endif
