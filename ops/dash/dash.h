/* ops/dash/dash.h - one dashboard: a run, what is known of it, who asks.
 *
 *     main thread    starts the others, waits for SIGTERM or the end of its parent
 *     feed           Redis and files into the board (feed.h)
 *     asker          questions to the store: why, drain (asker.h)
 *     web            libmicrohttpd's: requests and streams (server.h)
 */
#ifndef OPS_DASH_DASH_H
#define OPS_DASH_DASH_H

#include "core/program.h"
#include "ops/dash/access.h"
#include "ops/dash/board.h"

struct asker;
struct dash_server;

struct dash {
    const struct program *program; /* settings, run, folder; borrowed */
    const char *run, *folder;      /* borrowed */
    char endpoint[FILE_PATH_MAX];  /* of the store */
    char web[FILE_PATH_MAX];       /* folder of the page; "": the one inside this program */
    struct access_rules access;
    struct board board;
    struct asker *asker;        /* of the store */
    struct asker *files;        /* of step files */
    struct dash_server *server; /* NULL until it listens */
    atomic_bool closing;
    bool extra; /* dash.url is another one's */
    int64_t started_ns;
};

/* The board has something new for viewers (server.c). */
void dash_wake(struct dash *dash);

#endif
