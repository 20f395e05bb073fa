/* ops/supervisor.h - keeps the processes of a run alive, and ends them all.
 *
 * Rules:
 *   death      a process that ends otherwise than by its own exit 0 is started again: at once when it was
 *              killed from outside, with pauses when it was its own fault; who only dies ends the run with
 *              its last log lines (ops/deaths.h says when).
 *   stopped    a process that is stopped, cut off or silent for too long is killed and started again, and
 *              named (ops/watch.h).
 *   permanent  exit 2 (settings), 3 (something missing), 4 (bad input) of any of ours, 1 of the store
 *              (the run failed) and 5 of the learner (no plan in time) end the run with its last
 *              error line and that code.
 *   leaving    a worker that exits 0 while the run goes on (drained, or SIGTERM) stays out.
 *   end        exit 0 of the learner or the store ends the run: the others have 5 s to follow the
 *              store's notice, then SIGTERM, then drain_s, then SIGKILL.
 *   SIGINT, SIGTERM, SIGHUP: drain, once (SIGTERM may come several times: Slurm sends it twice).
 *   second SIGINT: SIGKILL to all, exit 130.
 * The evaluator comes after the others: a run that ended well waits eval_ms for its last version, then SIGTERM; it is
 * started again when it is killed there. Giving up on it ends nothing.
 * redis-server only serves the view: it is stopped last, and giving up on it ends nothing.
 * Whatever happens, no child outlives supervisor_run: adopted grandchildren are killed as well.
 *
 * One thread, which must stay alive: children die with the thread that started them. */
#ifndef OPS_SUPERVISOR_H
#define OPS_SUPERVISOR_H

#include "core/program.h"
#include "ops/deaths.h"
#include "ops/watch.h"

enum { SUPERVISOR_FRUITLESS_MAX = DEATHS_FRUITLESS_MAX, SUPERVISOR_TICK_MS = 100 };

struct supervisor_hooks {
    void *self;
    /* Every SUPERVISOR_TICK_MS, and once after the last process is gone. Must not block. May add processes
     * (then it sets processes and count), mark them for starting, and change their place. */
    void (*tick)(void *self, int64_t now_ns);
    uint64_t (*progress)(void *self);          /* grows when the run gets anywhere (ops/deaths.h) */
    void (*say)(void *self, const char *line); /* one event for people */
    bool (*drain)(void *self, const char *reason); /* asks the store; false: not reached */
    void (*draining)(void *self);                  /* the drain has begun, for the lock file */
    void (*views_leave)(
        void *self); /* all others are gone, and those of DUTY_VIEW are about to be; or NULL */
    void (*died)(
        void *self,
        const char
            *line); /* process and cause, of a death that nobody asked for; NULL: nobody notes it */
};

struct supervisor {
    struct process *processes; /* borrowed; in the order of starting */
    size_t count;
    int64_t drain_ms;
    bool node;       /* workers only, the store is elsewhere: a drain is theirs alone */
    int64_t eval_ms; /* that the end of a run waits for the evaluation of its last version */
    struct supervisor_hooks hooks;
    struct watch watch; /* its deadlines are set by the caller */

    struct deaths deaths;
    bool changed; /* something of a process changed: for whoever writes it down, and clears it */

    enum supervisor_phase { PHASE_RUNNING, PHASE_ENDING, PHASE_KILLED } phase;
    int64_t terminate_at_ns, kill_at_ns;
    bool drained;            /* the user asked */
    bool evicted;            /* SIGTERM of another than `weir stop`, while nothing was ending */
    bool terminated;         /* SIGTERM was sent */
    struct supervisor_eval { /* once all others are gone */
        int64_t until_ns;    /* 0: not yet */
        bool terminated;
        uint32_t restarts;
    } eval;
    int exit_code;
    char why[1024]; /* of exit_code, a sentence; "" for a plain end */
    uint32_t restarts;
    int signal_fd;
};

/* Blocks the signals it reads and starts every process. On failure what was started is gone again. */
MUST_CHECK enum status supervisor_start(struct supervisor *supervisor);
/* Ends it: from the tick. SIGTERM to what is still there, SIGKILL drain_ms later. why: of the exit code, "" for 0. */
void supervisor_end(struct supervisor *supervisor, int64_t now_ns, int exit_code, const char *why);
/* Until the last process is gone. The exit code of the run (docs/exit-codes.md); text in ->why. */
int supervisor_run(struct supervisor *supervisor);

#endif
