#include "ops/deaths.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "core/clock.h"

enum { BACK_OFF_FIRST_MS = 100, BACK_OFF_LAST_MS = 5000, BACK_OFF_DOUBLINGS = 6 };

void deaths_progress(struct deaths *deaths, int64_t now_ns, uint64_t progress)
{
    if (progress <= deaths->progress && deaths->progress_ns != 0)
        return;
    deaths->progress = progress;
    deaths->progress_ns = now_ns;
    deaths->since = 0;
}

bool deaths_own_fault(int wait_status)
{
    if (WIFEXITED(wait_status))
        return WEXITSTATUS(wait_status) != 0;
    switch (WTERMSIG(wait_status)) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGABRT:
    case SIGSYS:
    case SIGTRAP:
    case SIGXCPU:
    case SIGXFSZ:
        return true;
    default:
        return false;
    }
}

/* The view takes no part in the run: its own time of life is what counts. */
static void count_fault(const struct deaths *deaths, struct process *process, bool quick)
{
    bool same = process->fruitless > 0 && process->progress_at_fault == deaths->progress;
    process->progress_at_fault = deaths->progress;
    process->quick = quick ? process->quick + 1 : 0;
    if (process->duty == DUTY_VIEW)
        process->fruitless = process->quick;
    else
        process->fruitless = same ? process->fruitless + 1 : 1;
}

static int64_t back_off_ms(uint32_t quick)
{
    if (quick == 0)
        return 0;
    if (quick > BACK_OFF_DOUBLINGS)
        return BACK_OFF_LAST_MS;
    int64_t delay_ms = (int64_t)BACK_OFF_FIRST_MS << (quick - 1);
    return delay_ms < BACK_OFF_LAST_MS ? delay_ms : BACK_OFF_LAST_MS;
}

bool deaths_judge(struct deaths *deaths, struct process *process, int64_t now_ns, int wait_status,
                  int64_t *delay_ms, char *why, size_t why_size)
{
    bool own = deaths_own_fault(wait_status);
    int64_t stuck_ms = (now_ns - deaths->progress_ns) / CLOCK_NS_PER_MS;
    char end[80];
    process_describe_end(wait_status, end, sizeof end);
    if (own)
        count_fault(deaths, process,
                    now_ns - process->started_ns < (int64_t)DEATHS_QUICK_MS * CLOCK_NS_PER_MS);
    if (own && process->fruitless >= DEATHS_FRUITLESS_MAX) {
        snprintf(why, why_size,
                 "%s ended %u times in a row without getting anywhere, the last time by %s",
                 process->name, process->fruitless, end);
        return false;
    }
    if (process->duty != DUTY_VIEW && ++deaths->since >= DEATHS_STUCK_MAX &&
        stuck_ms >= DEATHS_STUCK_MS) {
        snprintf(why, why_size,
                 "%u processes died within %lld s and the run got no further: no token, no score, "
                 "no version (the last was %s: %s)",
                 deaths->since, (long long)(stuck_ms / 1000), process->name, end);
        return false;
    }
    *delay_ms = own ? back_off_ms(process->quick) : 0;
    return true;
}
