/* ops/completion.c - completion of commands, options, runs, processes and settings in a shell.
 *
 * The script is short and asks this program for the words at every Tab, so it never grows old. A line ":files" of the
 * answer means that files fit there, too. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/settings.h"
#include "ops/command_text.h"
#include "ops/process_table.h"

static const char bash_script[] =
    "# weir completion bash > /etc/bash_completion.d/weir, or: source <(weir completion bash)\n"
    "_weir() {\n"
    "    local line=\"${COMP_LINE:0:COMP_POINT}\" cur files= reply broken\n"
    "    local -a words\n"
    "    read -ra words <<<\"$line\" # COMP_WORDS is broken at '=' and ':'\n"
    "    [[ $line == *[[:space:]] ]] && words+=(\"\")\n"
    "    cur=\"${words[-1]}\"\n"
    "    broken=\"${cur%\"${cur##*[=:]}\"}\"\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r reply; do\n"
    "        if [[ $reply == :files ]]; then files=1; else COMPREPLY+=(\"${reply#\"$broken\"}\"); "
    "fi\n"
    "    done < <(\"${words[0]}\" completion words $((${#words[@]} - 2)) \"${words[@]:1}\" "
    "2>/dev/null)\n"
    "    if [[ -n $files ]]; then\n"
    "        compopt -o filenames\n"
    "        while IFS= read -r reply; do COMPREPLY+=(\"$reply\"); done < <(compgen -f -- "
    "\"${cur#\"$broken\"}\")\n"
    "    fi\n"
    "    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[.=] ]]; then compopt -o nospace; fi\n"
    "}\n"
    "complete -F _weir weir\n";

static const char zsh_script[] =
    "#compdef weir\n"
    "# weir completion zsh > a folder of $fpath/_weir, or: source <(weir completion zsh)\n"
    "_weir() {\n"
    "    local -a replies open closed\n"
    "    local reply files=\n"
    "    replies=(\"${(@f)$(\"${words[1]}\" completion words $((CURRENT - 2)) "
    "\"${(@)words[2,CURRENT]}\" "
    "2>/dev/null)}\")\n"
    "    for reply in \"${replies[@]}\"; do\n"
    "        case $reply in\n"
    "            (:files) files=1 ;;\n"
    "            ('') ;;\n"
    "            (*[.=]) open+=(\"$reply\") ;;\n"
    "            (*) closed+=(\"$reply\") ;;\n"
    "        esac\n"
    "    done\n"
    "    (( ${#open} )) && compadd -S '' -- \"${open[@]}\"\n"
    "    (( ${#closed} )) && compadd -- \"${closed[@]}\"\n"
    "    [[ -n $files ]] && _files\n"
    "    return 0\n"
    "}\n"
    "if [[ ${funcstack[1]} == _weir ]]; then _weir \"$@\"; else compdef _weir weir; fi\n";

enum status completion_script(const char *shell, struct buffer *text)
{
    if (strcmp(shell, "bash") == 0)
        return buffer_text(text, bash_script);
    if (strcmp(shell, "zsh") == 0)
        return buffer_text(text, zsh_script);
    return FAIL(STATUS_INVALID, "no completion for \"%s\": bash and zsh have one", shell);
}

/* ---- words ---- */

struct asking {
    const char *root;
    const struct command *command;
    const char *const *words; /* after the command's name */
    size_t at;                /* the one that is completed */
    const char *part;         /* what stands there */
    struct buffer *text;
};

static enum status offer(const struct asking *asking, const char *word)
{
    if (strncmp(word, asking->part, strlen(asking->part)) != 0)
        return STATUS_OK;
    return buffer_printf(asking->text, "%s\n", word);
}

/* "a|b|c" in lower case: one of them. */
static enum status offer_choices(const struct asking *asking, const char *list, size_t size)
{
    char word[64];
    for (size_t from = 0; from < size;) {
        size_t length = strcspn(list + from, "|]");
        length = length < size - from ? length : size - from;
        snprintf(word, sizeof word, "%.*s", (int)length, list + from);
        if (word[0] >= 'a' && word[0] <= 'z' && strpbrk(word, ".=") == NULL)
            TRY(offer(asking, word));
        from += length + 1;
    }
    return STATUS_OK;
}

static enum status offer_runs(const struct asking *asking)
{
    DIR *dir = opendir(asking->root);
    enum status status = STATUS_OK;
    for (struct dirent *entry;
         dir != NULL && status == STATUS_OK && (entry = readdir(dir)) != NULL;) {
        char lock[FILE_PATH_MAX];
        if (entry->d_name[0] != '.' &&
            file_path(lock, "%s/%s/lock", asking->root, entry->d_name) == STATUS_OK &&
            file_exists(lock))
            status = offer(asking, entry->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    return status;
}

/* Of the run that an earlier word names, else of the only one that goes on. */
static enum status offer_processes(const struct asking *asking)
{
    char folder[FILE_PATH_MAX], name[RUN_NAME_MAX];
    bool found = false;
    for (size_t i = 0; i < asking->at && !found; i++)
        found = asking->words[i][0] != '-' &&
                run_folder_find(asking->root, asking->words[i], folder, name) == STATUS_OK;
    if (!found && run_folder_find(asking->root, NULL, folder, name) != STATUS_OK)
        return STATUS_OK;
    json_t *table = NULL;
    size_t i;
    const json_t *row;
    enum status status = STATUS_OK;
    if (process_table_read_all(folder, &table) != STATUS_OK)
        return STATUS_OK;
    json_array_foreach(json_object_get(table, "processes"), i, row)
    {
        const char *process = json_string_value(json_object_get(row, "name"));
        if (process != NULL && status == STATUS_OK)
            status = offer(asking, process);
    }
    json_decref(table);
    return status;
}

static enum status offer_values(const struct asking *asking, const char *section,
                                const struct config_field *field)
{
    char prefix[128], word[192];
    snprintf(prefix, sizeof prefix, "%s.%s=", section, field->name);
    const char *names = field->type == CONFIG_FLAG ? "true|false" : field->unit;
    if (field->type != CONFIG_FLAG && field->type != CONFIG_CHOICE)
        return field->type == CONFIG_TEXT ? buffer_text(asking->text, ":files\n") : STATUS_OK;
    for (const char *at = names; *at != 0; at += strspn(at, "|")) {
        size_t size = strcspn(at, "|");
        snprintf(word, sizeof word, "%s%.*s", prefix, (int)size, at);
        TRY(offer(asking, word));
        at += size;
    }
    return STATUS_OK;
}

/* Sections first; the names of one once its dot is there; then values. */
static enum status offer_settings(const struct asking *asking)
{
    char name[128];
    const char *dot = strchr(asking->part, '.'), *equals = strchr(asking->part, '=');
    for (size_t i = 0; i < settings_section_count; i++) {
        const struct config_section *section = &settings_sections[i];
        snprintf(name, sizeof name, "%s.", section->name);
        if (dot == NULL) {
            if (asking->part[0] != 0)
                TRY(offer(asking, name));
            continue;
        }
        if (strncmp(asking->part, name, strlen(name)) != 0)
            continue;
        for (size_t k = 0; k < section->count; k++) {
            snprintf(name, sizeof name, "%s.%s=", section->name, section->fields[k].name);
            if (equals == NULL)
                TRY(offer(asking, name));
            else if (strncmp(asking->part, name, strlen(name)) == 0)
                return offer_values(asking, section->name, &section->fields[k]);
        }
    }
    return STATUS_OK;
}

/* The option in front of the word, when it takes an argument. */
static const struct command_option *open_option(const struct asking *asking)
{
    const char *before = asking->at > 0 ? asking->words[asking->at - 1] : "";
    for (size_t i = 0; i < command_option_count; i++)
        if (strcmp(command_options[i].command, asking->command->name) == 0 &&
            strcmp(command_options[i].flag, before) == 0 && command_options[i].argument[0] != 0)
            return &command_options[i];
    return NULL;
}

static enum status offer_options(const struct asking *asking)
{
    for (size_t i = 0; i < command_option_count; i++)
        if (strcmp(command_options[i].command, asking->command->name) == 0)
            TRY(offer(asking, command_options[i].flag));
    return STATUS_OK;
}

static bool names(const char *usage, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = usage; (at = strstr(at, word)) != NULL; at += size)
        if ((at == usage || strchr(" [|", at[-1]) != NULL) && strchr(" ].|", at[size]) != NULL)
            return true;
    return false;
}

static enum status offer_commands(const struct asking *asking)
{
    for (size_t i = 0; i < command_count; i++)
        TRY(offer(asking, commands[i].name));
    return STATUS_OK;
}

/* The first word of each form of the usage line, where it is one of a few. */
static enum status offer_forms(const struct asking *asking)
{
    for (const char *form = asking->command->usage; form != NULL;) {
        const char *first = form + (*form == '[');
        TRY(offer_choices(asking, first, strcspn(first, " ]")));
        form = strstr(form, " | ");
        form = form != NULL ? form + 3 : NULL;
    }
    return STATUS_OK;
}

static enum status offer_arguments(const struct asking *asking)
{
    const char *usage = asking->command->usage;
    const struct command_option *open = open_option(asking);
    bool run = open != NULL ? names(open->argument, "RUN") : names(usage, "RUN");
    if (open != NULL && !run) {
        bool choice = open->argument[0] >= 'a' && strchr(open->argument, '|') != NULL;
        return choice ? offer_choices(asking, open->argument, strlen(open->argument))
                      : buffer_text(asking->text, ":files\n");
    }
    if (run)
        TRY(offer_runs(asking));
    if (open != NULL)
        return STATUS_OK;
    if (asking->at == 0)
        TRY(offer_forms(asking));
    if (names(usage, "COMMAND"))
        TRY(offer_commands(asking));
    if (names(usage, "PROCESS"))
        TRY(offer_processes(asking));
    if (strstr(usage, "actors=N") != NULL)
        TRY(offer(asking, "actors="));
    if (strstr(usage, "reward_workers=M") != NULL)
        TRY(offer(asking, "reward_workers="));
    if (strstr(usage, ".name=value") != NULL)
        TRY(offer_settings(asking));
    static const char *const files[] = {
        "RECIPE",   "FILE",       "FOLDER",  "OUT",        "MODEL_DIR", "OUT_FOLDER", "CONFIG_JSON",
        "IN.jsonl", "DATA.jsonl", "A.jsonl", "ROWS.jsonl", "CASE",      "CHECKPOINT"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (names(usage, files[i]) && strchr(asking->part, '=') == NULL)
            return buffer_text(asking->text, ":files\n");
    return STATUS_OK;
}

enum status completion_words(const char *root, const char *const *words, size_t count, size_t at,
                             struct buffer *text)
{
    at = at < count ? at : count; /* a word that is not begun */
    struct asking asking = {.root = root, .part = at < count ? words[at] : "", .text = text};
    if (at == 0)
        return offer_commands(&asking);
    for (size_t i = 0; i < command_count && count > 0; i++)
        if (strcmp(commands[i].name, words[0]) == 0)
            asking.command = &commands[i];
    if (asking.command == NULL)
        return STATUS_OK;
    asking.words = words + 1;
    asking.at = at - 1;
    return asking.part[0] == '-' ? offer_options(&asking) : offer_arguments(&asking);
}
