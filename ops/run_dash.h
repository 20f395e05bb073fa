/* ops/run_dash.h - the dashboard that `weir run` starts (dash.mode=start): weir-dash as one more process of the run.
 *
 * It is a view, like redis-server: started again when it dies, given up without harm, stopped last. A build without weir-dash
 * has no dashboard, and says so. One thread. */
#ifndef OPS_RUN_DASH_H
#define OPS_RUN_DASH_H

#include "ops/fleet.h"

/* After all others. Removes the dash.url of an earlier attempt. */
MUST_CHECK enum status run_dash_add(struct fleet *fleet);
/* The line to show once the dashboard listens; NULL: not yet, or it was given before (*shown). */
const char *run_dash_line(const struct fleet *fleet, bool *shown, char line[FILE_PATH_MAX]);

#endif
