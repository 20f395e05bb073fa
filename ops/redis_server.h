/* ops/redis_server.h - the Redis that `weir run` starts for the dashboards' view: no files, a unix
 * socket in the run folder (or the address of the recipe), gone with the run. */
#ifndef OPS_REDIS_SERVER_H
#define OPS_REDIS_SERVER_H

#include "core/arena.h"
#include "core/settings.h"
#include "ops/processes.h"
#include "ops/run_folder.h"

/* Full path of redis-server in PATH. NOT_FOUND with what to do. */
MUST_CHECK enum status redis_server_find(char path[FILE_PATH_MAX]);
/* What redis.address resolves to: as set, or the socket in the folder; that, too, when it is set to the socket in the
 * folder of another run, whose resolved settings were the recipe. */
MUST_CHECK enum status redis_server_address(const struct settings *settings,
                                            const struct run_folder *folder,
                                            char out[FILE_PATH_MAX]);
/* mode start: starts it and waits until it answers (TIMEOUT, or INVALID with its last words).
 * mode connect: only looks whether a Redis answers. Texts of the process live in `arena`. */
MUST_CHECK enum status redis_server_start(const struct settings *settings,
                                          const struct run_folder *folder, const char *address,
                                          struct arena *arena, struct process *process);
MUST_CHECK enum status redis_server_probe(const struct settings *settings, const char *address);

#endif
