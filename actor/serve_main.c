/* actor/serve_main.c - weir-serve, behind `weir serve`. */
#include <signal.h>
#include <stdio.h>

#include "actor/serve_command.h"
#include "core/log.h"
#include "core/program.h"

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
    signal(SIGPIPE, SIG_IGN);
    log_init("serve", 0, LOG_LEVEL_INFO);
    return serve_command(argc, argv, stdout);
}
