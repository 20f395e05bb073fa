/* core/program.h - what every weir program does before and after its work.
 *
 *     weir-actor --config FILE [--config FILE ...] [--index N] [--endpoint E] [--run NAME] [--check] [section.name=value ...]
 *
 * Parses the command line and the settings, names the process for the log, dies with its parent
 * (PR_SET_PDEATHSIG, when --parent PID is given and is the parent), ignores SIGPIPE, counts the first SIGTERM and every SIGINT, and
 * turns a status into a documented exit code (docs/exit-codes.md). */
#ifndef CORE_PROGRAM_H
#define CORE_PROGRAM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/metrics.h"
#include "core/settings.h"

#define WEIR_VERSION "0.1.0"

enum { PROGRAM_FILES_MAX = 16, PROGRAM_OVERRIDES_MAX = 256 };

/* docs/exit-codes.md */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1,     /* the run or the operation failed; the sentence says why */
    EXIT_CODE_USAGE = 2,      /* bad arguments or settings */
    EXIT_CODE_DEPENDENCY = 3, /* something must be installed or started */
    EXIT_CODE_INPUT = 4,      /* bad data file, model folder or checkpoint */
    EXIT_CODE_PEER = 5,       /* a peer was lost, or a deadline passed */
    EXIT_CODE_STOPPED = 6,    /* of weir-learner: the run must not go on; `weir run` ends with 1 */
    EXIT_CODE_INTERRUPTED = 130
};

#define ROLE_NAME_STORE   "store"
#define ROLE_NAME_ACTOR   "actor"
#define ROLE_NAME_REWARD  "reward"
#define ROLE_NAME_LEARNER "learner"
#define ROLE_NAME_EVAL    "eval"

struct program {
    const char *role;
    struct settings settings;
    struct config *config;
    const char *endpoint;   /* of the store; settings.store.endpoint when not given */
    const char *run;        /* name of the run */
    const char *run_folder; /* "" when not given */
    unsigned index;
    bool check;
    const char *files[PROGRAM_FILES_MAX];
    size_t file_count;
    const char *overrides[PROGRAM_OVERRIDES_MAX];
    size_t override_count;
};

/* Before program_start: the table that --docs-metrics prints; `weir docs metrics` asks every program. */
void program_set_metrics(const struct metric_row *(*table)(size_t *count));
/* -1: go on. >= 0: exit with it (--help, --version, or an error that was printed). */
int program_start(struct program *program, int argc, char **argv, const char *role,
                  const char *about);
/* How many SIGINT came so far, and SIGTERM as the first only; any thread may read it. */
atomic_int *program_stop_signals(void);
/* Prints the last error when status is not OK; frees the settings; the exit code of the process. */
int program_end(struct program *program, enum status status);
int program_exit_code(enum status status);

#endif
