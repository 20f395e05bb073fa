/* rollout_store/server.h - the store as a process: hub, ledger, book, index and Redis view around one loop.
 *
 * A round: take what peers said (at most SERVER_ROUND_MESSAGES), let the book decide, append its records, sync the
 * ledger once, then send. Nothing that leaves the process depends on state that is not on disk. One thread. */
#ifndef ROLLOUT_STORE_SERVER_H
#define ROLLOUT_STORE_SERVER_H

#include <stdatomic.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "core/status.h"

enum { SERVER_ROUND_MESSAGES = 256, SERVER_BYE_MS = 2000 };

struct monitor;
struct server_options {
    const struct settings *settings;
    const char *run;         /* name */
    const char *run_folder;  /* holds ledger/, run.db and, by default, store.sock */
    const char *endpoint;    /* "": ipc://<run_folder>/store.sock */
    struct monitor *monitor; /* borrowed; NULL: none */
};

struct server;
MUST_CHECK enum status server_create(struct server **server, const struct server_options *options);
void server_destroy(struct server **server);
/* Until the run is over (OK), failed (its sentence), or drained after a signal (OK). */
MUST_CHECK enum status server_run(struct server *server, atomic_int *stop_signals);
/* What the run will do: prompts, groups, memory. Reads the prompts, opens nothing else. */
MUST_CHECK enum status server_plan_text(const struct server_options *options, struct buffer *text);

#endif
