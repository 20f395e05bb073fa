/* ops/signals.h - the signals that end what `weir run` and `weir node` supervise.
 *
 *     signals_block();                  before anything is made that somebody must clean up
 *     if (signals_waiting()) ...        a peek, for waits before the supervisor listens
 *     supervisor_start(...)             reads them from here on
 *
 * SIGINT, SIGTERM and SIGHUP; SIGHUP only where the parent did not have it ignored (nohup): a blocked signal would be
 * delivered although it is ignored. Children get an empty mask (ops/processes.c). One thread. */
#ifndef OPS_SIGNALS_H
#define OPS_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Those of above. */
void signals_fill(sigset_t *set);
void signals_block(void);
/* For a process that goes on without supervising anything. What is pending is delivered then. */
void signals_unblock(void);
/* One is pending; it stays so. */
bool signals_waiting(void);
/* Takes one, after at most wait_ms (below 1000): its number, 0 when none came. *evicted: SIGTERM of another than
 * `weir stop`, which queues its own. */
int signals_take(int64_t wait_ms, bool *evicted);
/* "Ctrl-C", "SIGTERM" or "SIGHUP". */
const char *signals_name(int number);

#endif
