/* ops/run_folder.h - runs/<name>/: who made it, who holds it, what lies in it.
 *
 *     config.resolved.yaml  meta.json  logs/attempt_N/<process>.log  logs/latest -> attempt_N  metrics.jsonl
 *     checkpoints/  ledger/  store.sock  redis.sock  lock
 *
 * The lock is held (flock) as long as a supervisor lives and holds its pid and state; a file
 * without the flock is what a dead one left. One thread. */
#ifndef OPS_RUN_FOLDER_H
#define OPS_RUN_FOLDER_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/file.h"

enum { RUN_NAME_MAX = 48 };

struct run_folder {
    char name[RUN_NAME_MAX];
    char path[FILE_PATH_MAX];
    char logs[FILE_PATH_MAX]; /* of this attempt */
    unsigned attempt;         /* from 1 */
    bool fresh;               /* made by this call; run_folder_discard may remove it */
    int lock_fd;
};

/* Letters, digits, '-', '_' and '.', not starting with a dot, at most RUN_NAME_MAX - 1 bytes. */
MUST_CHECK enum status run_name_check(const char *name);
/* The recipe's name without folder and its last ending: "a/hybrid-1.5b.yaml" is "hybrid-1.5b"; cut to size. */
void run_name_stem(const char *recipe, size_t size, char out[]);
/* "examples/quickstart.yaml" at 2026-01-02 03:04:05 UTC -> "quickstart-20260102-030405" */
MUST_CHECK enum status run_name_make(const char *recipe, int64_t wall_ns, char name[RUN_NAME_MAX]);

/* Makes root/name with its folders, or, with `resume`, goes on with what is there; takes the lock.
 * INVALID: it exists (the sentence says how to go on); LIMIT: another process holds it (its pid). */
MUST_CHECK enum status run_folder_open(struct run_folder *folder, const char *root,
                                       const char *name, bool resume);
/* Writes "pid state" into the lock: "running", "draining". For whoever looks with run_folder_holder. */
MUST_CHECK enum status run_folder_note(const struct run_folder *folder, const char *state);
void run_folder_close(struct run_folder *folder);   /* gives the lock back */
void run_folder_discard(struct run_folder *folder); /* removes what a start that failed made */

/* Takes the lock on an open lock file; false: another process holds it, or has removed it. Who only looks holds it for a
 * moment, so it is tried for LOCK_TRIES x 10 ms. */
bool run_folder_take_lock(int fd);
/* 0: nobody holds it. state may be NULL. */
pid_t run_folder_holder(const char *path, char state[16]);
/* Folder of a run given by name or folder; NULL: the only one running under root. NOT_FOUND names
 * what there is. */
MUST_CHECK enum status run_folder_find(const char *root, const char *run, char path[FILE_PATH_MAX],
                                       char name[RUN_NAME_MAX]);
/* A JSON file of a run; a new reference, NULL when it does not parse. NOT_FOUND, LIMIT above bytes_max. */
MUST_CHECK enum status run_folder_json(const char *path, const char *file, size_t bytes_max,
                                       json_t **value);
/* Removes a run with all its files and the shared memory that it left. INVALID: no run folder, or a link; LIMIT: a
 * process holds it. */
MUST_CHECK enum status run_folder_remove(const char *path);
/* Shared memory that killed processes of the run left (weight_channel_path), of no other run of its name. */
void run_folder_sweep_shared_memory(const struct run_folder *folder);

#endif
