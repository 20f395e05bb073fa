/* weir-eval - `weir eval`, and, as `weir-eval --follow`, the service of a run that evaluates its versions: a program of its
 * own, because it holds a model and prompts, and `weir` holds neither. */
#include <signal.h>
#include <stddef.h>
#include <string.h>

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
    if (argc > 1 && strcmp(argv[1], "--follow") == 0)
        return follow_command(argc - 1, argv + 1);
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    log_init("eval", 0, LOG_LEVEL_WARN);
    return eval_command(argc, argv);
}
