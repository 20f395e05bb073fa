/* reward/plugin_command.h - `weir plugin new|check|bench`: what an author of a reward needs before a run. */
#ifndef REWARD_PLUGIN_COMMAND_H
#define REWARD_PLUGIN_COMMAND_H

#include "core/status.h"

/* argv[0] is "plugin"; the exit code of docs/exit-codes.md. */
int plugin_command(int argc, char **argv);

/* Its words; argv[0] is the word. */
int plugin_command_new(int argc, char **argv);
int plugin_command_check(int argc, char **argv);
int plugin_command_bench(int argc, char **argv);

/* The answer of a command, on stdout. */
void plugin_say(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
