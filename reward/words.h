/* reward/words.h - what weir-reward does besides being a worker: `weir-reward WORD ...`, which `weir` calls. */
#ifndef REWARD_WORDS_H
#define REWARD_WORDS_H

/* -1: argv[1] is none of them. Otherwise the exit code of the one it is. */
int reward_word(int argc, char **argv);

/* `weir-reward score IN OUT`: the answers of `weir eval`; argv[0] is the word. */
int score_command(int argc, char **argv);

#endif
