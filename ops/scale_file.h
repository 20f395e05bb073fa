/* ops/scale_file.h - <run>/scale.json: how many workers an operator wants, for the supervisor to read.
 *
 *     {"request":17,"actors":6,"reward_workers":2,"drain":["actor.3"]}
 *
 * `weir scale` and `weir drain` write it whole (under a lock, so that two of them at once lose nothing);
 * what the supervisor has not done yet stays in it. The supervisor answers with "applied" in
 * processes.json (ops/fleet.h). One thread. */
#ifndef OPS_SCALE_FILE_H
#define OPS_SCALE_FILE_H

#include "core/file.h"
#include "ops/processes.h"

enum { SCALE_DRAIN_MAX = 256, SCALE_ACTORS_MAX = 4096, SCALE_REWARD_WORKERS_MAX = 1024 };
enum { SCALE_AS_IT_IS = -1 };

struct scale_wish {
    uint64_t request;           /* 0: none */
    int actors, reward_workers; /* SCALE_AS_IT_IS, or how many */
    size_t drain_count;
    char drain[SCALE_DRAIN_MAX][PROCESS_NAME_MAX];
};

/* NOT_FOUND without a file, CORRUPT when it is not what the commands write. */
MUST_CHECK enum status scale_file_read(const char *run_folder, struct scale_wish *wish);
/* Adds `wish` to what is asked and not yet done (`applied`: the last request that is); sets wish->request. */
MUST_CHECK enum status scale_file_add(const char *run_folder, uint64_t applied,
                                      struct scale_wish *wish);
void scale_file_remove(const char *run_folder);

#endif
