/* ops/run_meta.h - meta.json of a run: what it was started from, by which command, whose fork it is, how it ended.
 *
 *     {"name":"a","folder":"/x/runs/a","cwd":"/x","recipe":["quickstart.yaml"],"command":["weir","up",...],
 *      "host":"h","attempt":2,"first_started_ms":1,"started_ms":2,"steps":55,"version":"0.1.0",
 *      "parent":"b","parent_folder":"/x/runs/b","parent_step":40,          of a fork
 *      "ended_ms":3,"exit_code":0,"end":""}                                once the attempt is over
 *
 * Times are Unix milliseconds. A run without "ended_ms" whose lock nobody holds has crashed. One thread. */
#ifndef OPS_RUN_META_H
#define OPS_RUN_META_H

#include <jansson.h>

#include "ops/run_folder.h"

enum { RUN_META_HOST_MAX = 256 };

struct run_meta_start {
    const char *command; /* "run", "up", "resume" */
    char *const *arguments;
    int argument_count;
    const char *const *recipes;
    size_t recipe_count;
    uint64_t steps;
};

/* A new reference; NOT_FOUND: an older run has none. */
MUST_CHECK enum status run_meta_read(const char *folder, json_t **meta);
/* Takes over recipe, parent and first_started_ms of the attempt before. */
MUST_CHECK enum status run_meta_begin(const struct run_folder *folder,
                                      const struct run_meta_start *start);
/* The run's attempt is on another machine that shares the folder: `host` names it, and its processes are not ours. */
bool run_meta_is_elsewhere(const char *folder, char host[RUN_META_HOST_MAX]);
MUST_CHECK enum status run_meta_end(const struct run_folder *folder, int exit_code,
                                    const char *sentence);
/* Of a fork that has not started yet: attempt 0. Paths absolute. */
MUST_CHECK enum status run_meta_fork(const char *folder, const char *name, const char *final_folder,
                                     const json_t *parent_meta, const char *parent,
                                     const char *parent_folder, uint64_t step, uint64_t steps);

#endif
