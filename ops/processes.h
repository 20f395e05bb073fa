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

enum {
    PROCESS_NAME_MAX = 32,
    PROCESS_ARGUMENTS_MAX = 24,
    PROCESS_LOG_BYTES_MAX = 4 << 20 /* a longer log becomes <log>.old at the next start */
};

#define PROCESS_HELD INT64_MAX /* as start_at_ns: it waits for something, is not started yet */

/* What the death of a process means for the run. */
enum process_duty {
    DUTY_LEARNER, /* its exit 0 ends the run */
    DUTY_STORE,   /* likewise */
    DUTY_WORKER,  /* actor, reward worker: replaced */
    DUTY_EVAL, /* evaluates versions: the run goes on without it, and its end waits for the last one */
    DUTY_VIEW /* redis-server, weir-dash: the run goes on without them; stopped last */
};

struct process {
    char name[PROCESS_NAME_MAX]; /* "actor.1" */
    enum process_duty duty;
    const char *arguments[PROCESS_ARGUMENTS_MAX]; /* NULL-terminated; borrowed for the run */
    char log[FILE_PATH_MAX];                      /* "" : the parent's own output */

    pid_t pid;      /* 0: not running */
    pid_t last_pid; /* of its last life, or this one; 0: none */
    int64_t started_ns, started_wall_ns;
    int64_t start_at_ns; /* when it is to be started (again); 0: never */
    uint32_t starts;     /* since the run began */
    int64_t log_start;   /* bytes of the log before this start */
    char end[80];        /* how it ended last; "" never */

    /* Deaths (ops/deaths.h). */
    uint32_t fruitless;         /* by its own fault, the run got no further in between */
    uint32_t quick;             /* by its own fault and soon after the start, in a row */
    uint64_t progress_at_fault; /* of the run, at the last one */
    bool isolated;              /* we killed it: it was stopped, cut off or silent */

    /* Its place in the fleet (ops/fleet.h). */
    enum process_place {
        PLACE_WANTED, /* started again when it dies */
        PLACE_LEAVING,
        PLACE_OUT /* stays away until somebody asks for it */
    } place;
    bool again;            /* while LEAVING: wanted again, so it is started when it is gone */
    bool drain_asked;      /* while LEAVING: the store was told */
    int64_t say_out_at_ns; /* it left by itself: say so then, unless the run is over */
    int64_t terminate_at_ns, kill_at_ns; /* while LEAVING; 0: done */

    struct process_health { /* ops/watch.h; times count while this process itself ran */
        char state;         /* as /proc/PID/stat says: 'T' stopped, 't' traced, 'D' disk */
        bool met, listed;   /* the store knew it once; knows it now */
        bool away;          /* its connection to the store is dead */
        int64_t stopped_since_ns, away_since_ns, silent_ms;
        bool said;
    } health;
};

/* IO when fork fails or the program cannot be executed (path and errno). */
MUST_CHECK enum status process_start(struct process *process, int64_t now_ns);
/* One letter of /proc/PID/stat: R S D T t Z; 0: gone. */
char process_state(pid_t pid);
void process_signal(const struct process *process, int number); /* of its whole group */
/* Beyond what waitpid says; reads as exit 255. */
enum { PROCESS_END_UNKNOWN = 0x1ff00 };
/* true when it ended: *wait_status as of waitpid, or PROCESS_END_UNKNOWN when it is no child any more; what is left of
 * its group gets SIGKILL. */
bool process_reap(struct process *process, int *wait_status);
/* SIGKILL to every child of this process, known or adopted, and reaps them. How many there were. */
unsigned process_kill_all(void);

/* "killed by signal 9 (Killed)", "exit 3" or "gone, nobody knows how" */
void process_describe_end(int wait_status, char *out, size_t size);
/* Last error line of the log since the process was started, or its last line; without time and
 * role. "" when it said nothing. */
void process_last_words(const struct process *process, char *out, size_t size);
/* The last `lines` lines of the log, each indented by two blanks. */
MUST_CHECK enum status process_log_tail(const struct process *process, unsigned lines,
                                        struct buffer *text);

#endif
