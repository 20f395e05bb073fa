/* ops/run_view.h - what the supervisor shows of a run in Redis (docs/redis.md): `meta`, the members of meta.json with
 * state ("running", "draining", "over") and the dashboard's address, and `fleet`, the members of processes.json.
 * Both are written every second and at changes, so that an emptied Redis has them again. One thread, which never waits
 * for Redis but at run_view_open (`run_view_begin_anew`) and, for at most 1.5 s, at the end. */
#ifndef OPS_RUN_VIEW_H
#define OPS_RUN_VIEW_H

#include <stdbool.h>

#include "core/settings.h"
#include "ops/fleet.h"
#include "ops/run_folder.h"
#include "transport/redis_view.h"

struct run_view {
    struct redis_view *redis;        /* NULL: off */
    const struct run_folder *folder; /* borrowed */
    struct buffer meta, fleet;
    int64_t next_ns, next_meta_ns;
};

/* settings->redis.address is what the processes of the run get. What an earlier run of this name left in Redis is
 * removed when `folder` is new. Whatever fails here costs the view only: the sentence is said to stderr. */
void run_view_open(struct run_view *view, const struct settings *settings,
                   const struct run_folder *folder);
void run_view_tick(struct run_view *view, const struct fleet *fleet,
                   const struct supervisor *supervisor, bool changed, int64_t now_ns);
/* The last word: "over", and how the processes ended. Fine for a view that was never opened. */
void run_view_close(struct run_view *view, const struct fleet *fleet,
                    const struct supervisor *supervisor);

#endif
