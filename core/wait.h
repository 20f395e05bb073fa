/* core/wait.h - the one way to block.
 *
 * Every blocking operation has a name, the peer it waits for and a deadline. While it
 * blocks, the wait stands in a table of this process that `weir why` prints; when the
 * deadline passes the caller gets STATUS_TIMEOUT and a sentence naming operation and peer.
 *
 *     struct wait wait = wait_begin("plan", "store", 5000);
 *     while (!done && wait_left_ms(&wait) > 0) zmq_poll(..., wait_slice_ms(&wait, 100));
 *     status = wait_end(&wait, done);           TIMEOUT with text when !done
 *
 * Any thread; the table is guarded by a mutex (LOCK_WAIT). */
#ifndef CORE_WAIT_H
#define CORE_WAIT_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/buffer.h"
#include "core/status.h"

C_BEGIN

enum { WAIT_TABLE_MAX = 64, WAIT_FOREVER = -1 };

struct wait {
    int slot;         /* in the table, -1 when it is full (still valid) */
    const char *name; /* borrowed until wait_end; a literal */
    const char *peer; /* borrowed until wait_end */
    int64_t begin_ns;
    int64_t deadline_ns; /* INT64_MAX for WAIT_FOREVER */
};

/* WAIT_FOREVER is for idle loops only (a server with nothing to do): it is listed as idle. */
struct wait wait_begin(const char *name, const char *peer, int64_t timeout_ms);
int64_t wait_left_ms(const struct wait *wait); /* >= 0 */
int wait_slice_ms(const struct wait *wait,
                  int64_t at_most_ms); /* min(left, at_most) as a poll timeout */
MUST_CHECK enum status wait_end(struct wait *wait, bool done); /* OK, or TIMEOUT with text */

MUST_CHECK enum status wait_poll(const char *name, const char *peer, int64_t timeout_ms,
                                 struct pollfd *fds,
                                 nfds_t count); /* TIMEOUT, IO; EINTR counts as OK */
/* Mutex held by the caller, as pthread_cond_wait; condition made with wait_condition_init. */
MUST_CHECK enum status wait_condition_init(pthread_cond_t *condition);
MUST_CHECK enum status wait_condition(const char *name, const char *peer, int64_t deadline_ns,
                                      pthread_cond_t *condition, pthread_mutex_t *mutex);
/* Reaps one child. TIMEOUT when it still runs. */
MUST_CHECK enum status wait_child(const char *name, const char *peer, int64_t timeout_ms, pid_t pid,
                                  int *exit_status);

/* From here on the calling thread's waits stand in no table: for helper threads that nobody ever waits for (the view of
 * Redis), so that `weir why` never names them. Their deadlines hold as before. */
void wait_unlisted(void);

/* JSON array of {name, peer, since_ms, left_ms} of this process; left_ms -1: idle, no deadline. */
MUST_CHECK enum status wait_table_json(struct buffer *json);

C_END
#endif
