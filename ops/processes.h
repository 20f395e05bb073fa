/* ops/processes.h - one child process: start, stop, reap.
 *
 * Each child has its own process group (Ctrl-C in the terminal reaches only weir), standard input
 * from /dev/null, output appended to its log, and gets SIGKILL when its parent dies. Signals of a
 * child's group also reach what the child started itself. One thread. */
#ifndef OPS_PROCESSES_H
#define OPS_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/buffer.h"
#include "core/file.h"

enum { PROCESS_NAME_MAX = 32, PROCESS_ARGUMENTS_MAX = 24 };

/* What the death of a process means for the run. */
enum process_duty {
    DUTY_LEARNER, /* its exit 0 ends the run */
    DUTY_STORE,   /* likewise */
    DUTY_WORKER,  /* actor, reward worker: replaced */
    DUTY_VIEW     /* redis-server: the run goes on without it; stopped last */
};

struct process {
    char name[PROCESS_NAME_MAX]; /* "actor.1" */
    enum process_duty duty;
    const char *arguments[PROCESS_ARGUMENTS_MAX]; /* NULL-terminated; borrowed for the run */
    char log[FILE_PATH_MAX];                      /* "" : the parent's own output */

    pid_t pid; /* 0: not running */
    int64_t started_ns;
    int64_t start_at_ns;     /* when it is to be started (again); 0: never */
    uint32_t fruitless;      /* deaths in a row that came too soon to have done anything */
    uint32_t restarts;       /* since the run began */
    uint64_t steps_at_start; /* training steps seen when it was started */
    int64_t log_start;       /* bytes of the log before this start */
};

/* IO when fork fails or the program cannot be executed (path and errno). */
MUST_CHECK enum status process_start(struct process *process, int64_t now_ns);
void process_signal(const struct process *process, int number); /* of its whole group */
/* true when it ended: *wait_status as of waitpid; what is left of its group gets SIGKILL. */
bool process_reap(struct process *process, int *wait_status);
/* SIGKILL to every child of this process, known or adopted, and reaps them. How many there were. */
unsigned process_kill_all(void);

/* "killed by signal 9 (Killed)" or "exit 3" */
void process_describe_end(int wait_status, char *out, size_t size);
/* Last error line of the log since the process was started, or its last line; without time and
 * role. "" when it said nothing. */
void process_last_words(const struct process *process, char *out, size_t size);
/* An error text without "file.c:12 (function): STATUS: ". Points into `text`. */
const char *process_sentence(const char *text);
/* The last `lines` lines of the log, each indented by two blanks. */
MUST_CHECK enum status process_log_tail(const struct process *process, unsigned lines,
                                        struct buffer *text);

#endif
