#include "reward/words.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "reward/judge/judge_command.h"
#include "reward/logic/logic.h"
#include "reward/plugin_command.h"
#include "reward/rows.h"

static int logic_word(int argc, char **argv)
{
    return logic_command(argc, argv, stdout);
}

static int judge_word(int argc, char **argv)
{
    return judge_command(argc, argv, stdout);
}

static const struct {
    const char *word;
    int (*run)(int argc, char **argv); /* argv[0] is the word */
} words[] = {
    {"rows", rows_command}, {"plugin", plugin_command}, {"logic", logic_word},
    {"judge", judge_word},  {"score", score_command},
};

int reward_word(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof words / sizeof words[0]; i++)
        if (strcmp(argv[1], words[i].word) == 0) {
            log_init("reward", 0, LOG_LEVEL_WARN);
            return words[i].run(argc - 1, argv + 1);
        }
    return -1;
}
