/* ops/run.h - one run from the operator's side: its folder, its processes, its screen.
 *
 *     run_prepare    settings, what the machine lacks, the run folder (nothing is started)
 *     run_start      redis, store, learner, actors, reward workers
 *     run_attend     until the last process is gone
 *     run_release    texts, lock, shared memory
 * `weir up` forks between prepare and start. One thread. */
#ifndef OPS_RUN_H
#define OPS_RUN_H

#include "core/arena.h"
#include "ops/fleet.h"
#include "ops/screen.h"

struct run_request {
    const char *command; /* "run" or "up" */
    const char *files[PROGRAM_FILES_MAX];
    size_t file_count;
    const char *overrides[PROGRAM_OVERRIDES_MAX + 4]; /* room for what run_prepare adds */
    size_t override_count;
    const char *name; /* NULL: run.name, else made from the recipe and the time */
    bool quiet, check;
    char **arguments; /* borrowed: all of them as given */
    int argument_count;
};

struct run {
    struct settings settings;
    struct config *config;
    struct run_folder folder;
    char config_path[FILE_PATH_MAX], endpoint[FILE_PATH_MAX], redis_address[FILE_PATH_MAX];
    struct arena *arena; /* arguments of the processes */
    struct fleet fleet;
    struct supervisor supervisor;
    struct screen screen;
    struct buffer waiting; /* the line of what the run waits for */
    bool quiet, opened;
};

/* --dry-run is among the arguments: weir-plan has the word. */
bool run_is_dry(int argc, char **argv);
/* Exit code, 0 to go on; it has printed why. */
int run_parse(struct run_request *request, int argc, char **argv);
int run_prepare(struct run *run, struct run_request *request);
int run_start(struct run *run);
int run_attend(struct run *run); /* exit code of the run */
void run_release(struct run *run);
void run_print_plan(const struct run *run); /* for --check */

#endif
