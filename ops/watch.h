/* ops/watch.h - processes that live and do nothing: stopped, cut off, silent.
 *
 * What is known comes from three sides: /proc (state T), the store's status (its connection to each peer,
 * since when a peer says nothing) and the store's own silence to our questions. Past run.stopped_s or
 * run.silent_s the verdict is to kill; the supervisor starts the process again.
 *
 *   state T, or a dead connection     run.stopped_s
 *   connected and silent              run.silent_s
 *   the store does not answer         run.stopped_s; run.silent_s until its first answer (it reads its
 *                                     ledger) and while it waits for the disk
 * A process under a debugger (state t) is left alone. Time counts only while the supervisor itself runs:
 * watch_attend advances a clock by at most WATCH_GAP_MS a call.
 *
 * One thread. watch_states reads /proc, everything else is pure. */
#ifndef OPS_WATCH_H
#define OPS_WATCH_H

#include <jansson.h>

#include "ops/processes.h"

enum { WATCH_EVERY_MS = 200, WATCH_GAP_MS = 300, WATCH_SAY_MS = 1000 };

struct watch {
    int64_t stopped_ms, silent_ms; /* the deadlines */
    int64_t clock_ns;              /* attention time, from 1 */
    int64_t seen_ns, states_ns;    /* now_ns of the last watch_attend and watch_states */
    int64_t asked_ns; /* attention time of the oldest question without an answer; 0: none */
    bool answered;    /* by this life of the store */
    bool fresh;       /* the last status is not older than the last question */
};

void watch_attend(struct watch *watch, int64_t now_ns);
/* Reads /proc for each process, at most every WATCH_EVERY_MS. true: a state changed to or from stopped. */
bool watch_states(struct watch *watch, int64_t now_ns, struct process *processes, size_t count);
void watch_asked(struct watch *watch);
/* The store answered with its status. true: a process came to the store or was cut off. */
bool watch_answered(struct watch *watch, const json_t *status, struct process *processes,
                    size_t count);
void watch_store_started(struct watch *watch);
/* true: kill it. `sentence` is "" or what to say: at the verdict, once when something is seen, once when it is over. */
bool watch_judge(const struct watch *watch, struct process *process, char *sentence, size_t size);
/* How long, in ms, and in one word ("stopped", "cut off", "silent"); NULL: nothing is wrong. */
const char *watch_wrong(const struct watch *watch, const struct process *process,
                        int64_t *since_ms);

#endif
