/* ops/deaths.h - a process died: is it started again, and when?
 *
 *   from outside   SIGKILL, SIGTERM and the like say nothing about the process: at once, every time.
 *   own fault      an exit code other than 0, or a crash (SEGV, ABRT, ...): at once when it lived for
 *                  2 s, else after 0.1, 0.2, ... 5 s. DEATHS_FRUITLESS_MAX of one process while the run
 *                  got no further: the run ends.
 *   no progress    DEATHS_STUCK_MAX deaths of any kind and DEATHS_STUCK_MS in which nothing of the run
 *                  got further: the run ends.
 * Further: a number that counts tokens, scores, versions and steps (`progress`) grew.
 *
 * Pure: time and numbers come in, nothing is done. One thread. */
#ifndef OPS_DEATHS_H
#define OPS_DEATHS_H

#include "ops/processes.h"

enum {
    DEATHS_FRUITLESS_MAX = 5,
    DEATHS_STUCK_MAX = 20,
    DEATHS_STUCK_MS = 60000,
    DEATHS_QUICK_MS = 2000
};

struct deaths {
    uint64_t progress;
    int64_t progress_ns; /* when it last grew */
    uint32_t since;      /* deaths since then */
};

void deaths_progress(struct deaths *deaths, int64_t now_ns, uint64_t progress);
bool deaths_own_fault(int wait_status);
/* true: start it again after *delay_ms. false: why not, as a sentence about process and run. */
bool deaths_judge(struct deaths *deaths, struct process *process, int64_t now_ns, int wait_status,
                  int64_t *delay_ms, char *why, size_t why_size);

#endif
