#include "ops/signals.h"

#include <stddef.h>
#include <time.h>

#include "core/clock.h"

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* SIGINT stays although a shell has it ignored for what it starts in the background: `weir stop --now` sends it. */
void signals_fill(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    if (!is_ignored(SIGHUP))
        sigaddset(set, SIGHUP);
}

void signals_block(void)
{
    sigset_t set;
    signals_fill(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void signals_unblock(void)
{
    sigset_t set;
    signals_fill(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

bool signals_waiting(void)
{
    sigset_t set, pending, both;
    signals_fill(&set);
    return sigpending(&pending) == 0 && sigandset(&both, &set, &pending) == 0 &&
           sigisemptyset(&both) == 0;
}

int signals_take(int64_t wait_ms, bool *evicted)
{
    sigset_t set;
    siginfo_t info;
    struct timespec limit = {.tv_nsec = (long)(wait_ms * CLOCK_NS_PER_MS)};
    signals_fill(&set);
    int number = sigtimedwait(&set, &info, &limit);
    *evicted = number == SIGTERM && info.si_code != SI_QUEUE;
    return number > 0 ? number : 0;
}

const char *signals_name(int number)
{
    return number == SIGINT ? "Ctrl-C" : number == SIGTERM ? "SIGTERM" : "SIGHUP";
}
