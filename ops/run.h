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
#include "ops/fleet_monitor.h"
#include "ops/notify.h"
#include "ops/run_alarms.h"
#include "ops/run_view.h"
#include "ops/screen.h"

struct run_request {
    const char *command; /* "run", "up" or "resume" */
    const char *files[PROGRAM_FILES_MAX];
    size_t file_count;
    const char *overrides[PROGRAM_OVERRIDES_MAX + 4]; /* room for what run_prepare adds */
    size_t override_count;
    const char *name; /* NULL: run.name, else made from the recipe and the time */
    bool quiet, check;
    bool clean;       /* what a run of that name left is removed first */
    int drained_code; /* exit code in place of 0 when SIGTERM came before the last step */
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
    struct fleet_monitor monitor;
    struct screen screen;
    struct notify notify; /* of the service manager that started us */
    struct run_view view;
    struct run_alarms alarms;
    struct buffer waiting; /* the line of what the run waits for */
    bool quiet, opened, dash_shown;
    bool told_to_end; /* before it had started: there is nothing to attend */
    int drained_code;
};

/* --dry-run is among the arguments: weir-plan has the word. */
bool run_is_dry(int argc, char **argv);
/* Exit code, 0 to go on; it has printed why. */
int run_parse(struct run_request *request, int argc, char **argv);
/* One more section.name=value (kept, not copied). */
int run_request_set(struct run_request *request, const char *setting);
int run_prepare(struct run *run, struct run_request *request);
/* Takes every setting out of the environment, but Redis's password: a resolved file holds what it said, and children
 * would let it beat what the command line said. */
void run_clear_environment(const struct settings *settings);
/* 0 to go on, unless run->told_to_end. */
int run_start(struct run *run);
/* A signal asked for the end between run_prepare and the supervisor: says so, ends and removes what there is, and
 * gives the exit code. run_start looks for itself. */
bool run_told_to_end(struct run *run, int *code);
int run_attend(struct run *run); /* exit code of the run */
/* "1" to "255" of --drained-code. false: no such number, or a code that says something else. */
bool run_drained_code(const char *text, int *code);
void run_release(struct run *run);
void run_print_plan(const struct run *run); /* for --check */
/* All four for a request that is complete (ops/cmd_run.c). Exit code of the run, or of its start. */
int run_in_foreground(struct run *run, struct run_request *request);
int run_in_background(struct run *run, struct run_request *request);

#endif
