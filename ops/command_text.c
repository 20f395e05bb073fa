#include "ops/command_text.h"

#include <stdio.h>
#include <string.h>

#include "core/settings.h"

enum { NAME_COLUMNS = 14, WORD_MAX = 512 };

static const char runs_words[] =
    "RUN is a run's name or folder; without it, the only one that is going on. Runs live in ./runs "
    "(run.root; the commands that look at runs read WEIR_RUN_ROOT).";

/* ---- folding ---- */

/* Bytes of the next word; a group in brackets is one word when `whole`. */
static size_t word_size(const char *at, bool whole)
{
    size_t size = 0;
    int depth = 0;
    for (; at[size] != 0 && (at[size] != ' ' || (whole && depth > 0)); size++)
        depth += at[size] == '[' ? 1 : at[size] == ']' ? -1 : 0;
    return size;
}

enum status command_text_fold(const char *words, size_t at, size_t indent, size_t columns,
                              struct buffer *text)
{
    bool begin = true;
    while (*(words += strspn(words, " ")) != 0) {
        size_t size = word_size(words, true);
        if (indent + size > columns)
            size = word_size(words, false);
        if (!begin && at + 1 + size > columns) {
            TRY(buffer_printf(text, "\n%*s", (int)indent, ""));
            at = indent;
        } else if (!begin) {
            TRY(buffer_text(text, " "));
            at++;
        }
        TRY(buffer_append(text, words, size));
        at += size;
        words += size;
        begin = false;
    }
    return buffer_text(text, "\n");
}

/* "  name   what ...", folded. A name longer than its column gets a line. */
static enum status row(const char *name, const char *what, size_t column, struct buffer *text)
{
    if (strlen(name) + 3 > column)
        TRY(buffer_printf(text, "  %s\n%*s", name, (int)column, ""));
    else
        TRY(buffer_printf(text, "  %-*s", (int)column - 2, name));
    return command_text_fold(what, column, column, COMMAND_TEXT_COLUMNS, text);
}

/* ---- help ---- */

enum status command_text_overview(struct buffer *text)
{
    TRY(buffer_text(text, "weir " WEIR_VERSION
                          ": trains reasoning language models by reinforcement learning\n"));
    TRY(command_text_fold("An actor is the process that generates; the learner holds the policy "
                          "being trained.",
                          0, 0, COMMAND_TEXT_COLUMNS, text));
    TRY(buffer_text(text, "\nusage: weir COMMAND ...\n"));
    for (unsigned group = 0; group < COMMAND_GROUPS; group++) {
        TRY(buffer_printf(text, "\n%s\n", command_groups[group]));
        for (size_t i = 0; i < command_count; i++)
            if (commands[i].group == group)
                TRY(row(commands[i].name, commands[i].what, NAME_COLUMNS, text));
    }
    TRY(buffer_text(text, "\n"));
    TRY(command_text_fold(runs_words, 0, 0, COMMAND_TEXT_COLUMNS, text));
    return command_text_fold("`weir help COMMAND` says what a command takes, `weir help config` "
                             "names every setting. Exit codes: docs/exit-codes.md.",
                             0, 0, COMMAND_TEXT_COLUMNS, text);
}

static bool is_of(const struct command_option *option, const struct command *command)
{
    return strcmp(option->command, command->name) == 0;
}

enum status command_text_help(const struct command *command, struct buffer *text)
{
    size_t indent = strlen("usage: weir ") + strlen(command->name) + 1;
    TRY(buffer_printf(text, "usage: weir %s ", command->name));
    TRY(command_text_fold(command->usage, indent, indent, COMMAND_TEXT_COLUMNS, text));
    TRY(buffer_text(text, "  "));
    TRY(command_text_fold(command->what, 2, 2, COMMAND_TEXT_COLUMNS, text));
    bool first = true;
    for (size_t i = 0; i < command_option_count; i++) {
        const struct command_option *option = &command_options[i];
        char name[80];
        if (!is_of(option, command))
            continue;
        if (first)
            TRY(buffer_text(text, "\n"));
        first = false;
        snprintf(name, sizeof name, "%s%s%s", option->flag, option->argument[0] != 0 ? " " : "",
                 option->argument);
        TRY(row(name, option->what, 24, text));
    }
    if (strstr(command->usage, "RUN") != NULL) {
        TRY(buffer_text(text, "\n"));
        TRY(command_text_fold(runs_words, 0, 0, COMMAND_TEXT_COLUMNS, text));
    }
    return STATUS_OK;
}

bool command_text_next_flag(const char **usage, char *flag, size_t size)
{
    for (const char *at = *usage; *at != 0; at++) {
        bool begins = at == *usage || strchr(" [|(", at[-1]) != NULL;
        size_t length = strspn(at, "-abcdefghijklmnopqrstuvwxyz");
        if (!begins || *at != '-' || length < 2 || strspn(at, "-") == length)
            continue;
        snprintf(flag, size, "%.*s", (int)length, at);
        *usage = at + length;
        return true;
    }
    return false;
}

/* ---- docs/commands.md ---- */

/* In a table cell: a bar would end it. */
static enum status cell(const char *raw, struct buffer *text)
{
    for (; *raw != 0; raw++) {
        if (*raw == '|')
            TRY(buffer_text(text, "\\"));
        TRY(buffer_append(text, raw, 1));
    }
    return STATUS_OK;
}

static enum status markdown_command(const struct command *command, struct buffer *text)
{
    TRY(buffer_printf(text, "\n### weir %s\n\n    weir %s ", command->name, command->name));
    size_t indent = strlen("    weir ") + strlen(command->name) + 1;
    TRY(command_text_fold(command->usage, indent, indent, 110, text));
    TRY(buffer_printf(text, "\n%c%s.\n",
                      command->what[0] >= 'a' && command->what[0] <= 'z'
                          ? command->what[0] - 'a' + 'A'
                          : command->what[0],
                      command->what + 1));
    bool first = true;
    for (size_t i = 0; i < command_option_count; i++) {
        const struct command_option *option = &command_options[i];
        if (!is_of(option, command))
            continue;
        if (first)
            TRY(buffer_text(text, "\n| option | what |\n|---|---|\n"));
        first = false;
        TRY(buffer_printf(text, "| `%s%s", option->flag, option->argument[0] != 0 ? " " : ""));
        TRY(cell(option->argument, text));
        TRY(buffer_text(text, "` | "));
        TRY(cell(option->what, text));
        TRY(buffer_text(text, " |\n"));
    }
    return STATUS_OK;
}

enum status command_text_markdown(struct buffer *text)
{
    TRY(buffer_text(text,
                    "# Commands\n\nMade by `weir docs commands` from the tables of commands and "
                    "options; `weir help COMMAND` and the manual pages\n(`weir man FOLDER`) say "
                    "the same. [operate.md](operate.md) shows them at work.\n\n"));
    TRY(command_text_fold(runs_words, 0, 0, 120, text));
    for (unsigned group = 0; group < COMMAND_GROUPS; group++) {
        TRY(buffer_printf(text, "\n## %s\n", command_groups[group]));
        for (size_t i = 0; i < command_count; i++)
            if (commands[i].group == group)
                TRY(markdown_command(&commands[i], text));
    }
    return STATUS_OK;
}

/* ---- man ---- */

/* Text as roff: a backslash, a minus, and a line that begins with a control character. */
static enum status roff(const char *raw, struct buffer *text)
{
    if (*raw == '.' || *raw == '\'')
        TRY(buffer_text(text, "\\&"));
    for (; *raw != 0; raw++) {
        const char *as = *raw == '\\'   ? "\\e"
                         : *raw == '-'  ? "\\-"
                         : *raw == '`'  ? "\\(ga"
                         : *raw == '\'' ? "\\(aq"
                         : *raw == '^'  ? "\\(ha"
                         : *raw == '~'  ? "\\(ti"
                                        : NULL;
        TRY(as != NULL ? buffer_text(text, as) : buffer_append(text, raw, 1));
    }
    return STATUS_OK;
}

static enum status paragraph(const char *macro, const char *raw, struct buffer *text)
{
    TRY(buffer_printf(text, "%s\n", macro));
    TRY(roff(raw, text));
    return buffer_text(text, "\n");
}

/* ".TP\n.B name\nwhat" */
static enum status entry(const char *name, const char *argument, const char *what,
                         struct buffer *text)
{
    TRY(buffer_text(text, ".TP\n.B "));
    TRY(roff(name, text));
    if (argument[0] != 0) {
        TRY(buffer_text(text, " "));
        TRY(roff(argument, text));
    }
    return paragraph("", what, text);
}

static enum status man_head(const char *page, const char *what, struct buffer *text)
{
    char upper[64];
    size_t size = 0;
    for (; page[size] != 0 && size + 1 < sizeof upper; size++)
        upper[size] =
            page[size] >= 'a' && page[size] <= 'z' ? (char)(page[size] - 'a' + 'A') : page[size];
    upper[size] = 0;
    TRY(buffer_text(text, ".\\\" Made by `weir man` from the tables of commands and options.\n"));
    TRY(buffer_text(text, ".TH "));
    TRY(roff(upper, text));
    TRY(buffer_text(text, " 1 \"\" \"weir " WEIR_VERSION "\" \"weir\"\n.SH NAME\n"));
    TRY(roff(page, text));
    TRY(buffer_text(text, " \\- "));
    TRY(roff(what, text));
    return buffer_text(text, "\n");
}

static const struct {
    const char *code, *what;
} exit_rows[] = {
    {"0", "done, or drained with a checkpoint"},
    {"1", "it failed, with the named cause"},
    {"2", "bad usage or settings"},
    {"3", "something that the machine lacks"},
    {"4", "bad input: data, model folder, checkpoint, plugin"},
    {"5", "a peer was lost or a deadline passed"},
    {"130", "stopped by the second Ctrl-C"},
};

static enum status man_exit(struct buffer *text)
{
    TRY(buffer_text(text, ".SH EXIT STATUS\n"));
    for (size_t i = 0; i < sizeof exit_rows / sizeof exit_rows[0]; i++)
        TRY(entry(exit_rows[i].code, "", exit_rows[i].what, text));
    return STATUS_OK;
}

static enum status man_overview(struct buffer *text)
{
    TRY(man_head("weir", "trains reasoning language models by reinforcement learning", text));
    TRY(buffer_text(text,
                    ".SH SYNOPSIS\n.B weir\n.I COMMAND\n.RI [ arguments ]\n.SH DESCRIPTION\n"
                    "An actor is the process that generates; the learner holds the policy being "
                    "trained;\nthe store keeps what both say to each other.\n"));
    TRY(paragraph(".PP", runs_words, text));
    for (unsigned group = 0; group < COMMAND_GROUPS; group++) {
        TRY(buffer_text(text, ".SH "));
        TRY(roff(command_groups[group], text));
        TRY(buffer_text(text, "\n"));
        for (size_t i = 0; i < command_count; i++)
            if (commands[i].group == group)
                TRY(entry("weir", commands[i].name, commands[i].what, text));
    }
    TRY(buffer_text(text,
                    ".SH SETTINGS\n"
                    "Each is given as section.name=value behind a command, in a YAML file, or in "
                    "the environment\nas WEIR_SECTION_NAME.\n"));
    for (size_t i = 0; i < settings_section_count; i++)
        for (size_t k = 0; k < settings_sections[i].count; k++) {
            const struct config_field *field = &settings_sections[i].fields[k];
            char name[128];
            snprintf(name, sizeof name, "%s.%s", settings_sections[i].name, field->name);
            TRY(entry(name, "", field->help, text));
        }
    TRY(man_exit(text));
    TRY(buffer_text(text, ".SH ENVIRONMENT\n"));
    return entry("WEIR_RUN_ROOT", "", "where runs are looked for; ./runs without it", text);
}

enum status command_text_man(const struct command *command, struct buffer *text)
{
    if (command == NULL)
        return man_overview(text);
    char page[64];
    snprintf(page, sizeof page, "weir-%s", command->name);
    TRY(man_head(page, command->what, text));
    TRY(buffer_printf(text, ".SH SYNOPSIS\n.B weir %s\n", command->name));
    TRY(roff(command->usage, text));
    TRY(buffer_text(text, "\n.SH DESCRIPTION\n"));
    TRY(roff(command->what, text));
    TRY(buffer_text(text, ".\n"));
    if (strstr(command->usage, "RUN") != NULL)
        TRY(paragraph(".PP", runs_words, text));
    bool first = true;
    for (size_t i = 0; i < command_option_count; i++) {
        if (!is_of(&command_options[i], command))
            continue;
        if (first)
            TRY(buffer_text(text, ".SH OPTIONS\n"));
        first = false;
        TRY(entry(command_options[i].flag, command_options[i].argument, command_options[i].what,
                  text));
    }
    TRY(man_exit(text));
    TRY(buffer_text(text, ".SH SEE ALSO\n.BR weir (1)\n"));
    return STATUS_OK;
}
