/* weir-score - `weir score`: a program of its own, because it holds a model. */
#include <signal.h>
#include <stddef.h>

#include "core/log.h"
#include "core/program.h"
#include "ops/eval/eval.h"

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(program_stop_signals(), 1);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    log_init("score", 0, LOG_LEVEL_WARN);
    return score_command(argc, argv);
}
