/* ops/command_text.h - texts made from the tables of commands, options and settings (ops/cmd.h, core/settings.h): help,
 * manual pages, the page docs/commands.md, and completion for shells. Nothing about a command is said twice.
 *
 * Each function appends to `text`. One thread. */
#ifndef OPS_COMMAND_TEXT_H
#define OPS_COMMAND_TEXT_H

#include "ops/cmd.h"

enum { COMMAND_TEXT_COLUMNS = 80 };

/* Words of `words` in lines of at most `columns`, each line after `indent` blanks but the first, which goes on at column
 * `at`; a newline ends it. A word longer than a line stays whole; a [bracket group] is not broken where it fits a line. */
MUST_CHECK enum status command_text_fold(const char *words, size_t at, size_t indent,
                                         size_t columns, struct buffer *text);
MUST_CHECK enum status command_text_overview(struct buffer *text);
MUST_CHECK enum status command_text_help(const struct command *command, struct buffer *text);
MUST_CHECK enum status command_text_markdown(struct buffer *text);
/* roff with the macros of man(7); NULL: weir(1) itself. */
MUST_CHECK enum status command_text_man(const struct command *command, struct buffer *text);
/* The next option of a usage line, without its argument: "--name", "-n"; *usage moves on. false: there is none. */
bool command_text_next_flag(const char **usage, char *flag, size_t size);

/* ops/completion.c. `shell`: "bash" or "zsh"; INVALID: another one. */
MUST_CHECK enum status completion_script(const char *shell, struct buffer *text);
/* What may stand at words[at], each with a newline: the words after "weir" as typed so far, the last one perhaps half.
 * The shells' scripts ask `weir completion words AT WORD...`. Runs are looked up under `root`. */
MUST_CHECK enum status completion_words(const char *root, const char *const *words, size_t count,
                                        size_t at, struct buffer *text);

#endif
