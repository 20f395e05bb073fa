#include "ops/run_meta.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/program.h"

enum { META_BYTES_MAX = 1 << 20 };

enum status run_meta_read(const char *folder, json_t **meta)
{
    json_t *value = NULL;
    TRY(run_folder_json(folder, "meta.json", META_BYTES_MAX, &value));
    if (!json_is_object(value)) {
        json_decref(value);
        return FAIL(STATUS_CORRUPT, "%s/meta.json is no JSON object", folder);
    }
    *meta = value;
    return STATUS_OK;
}

static enum status write_meta(const char *folder, json_t *meta)
{
    char path[FILE_PATH_MAX];
    char *text = json_dumps(meta, JSON_INDENT(1));
    if (text == NULL)
        return FAIL(STATUS_NO_MEMORY, "meta.json");
    enum status status = file_path(path, "%s/meta.json", folder);
    if (status == STATUS_OK)
        status = file_replace(path, text, strlen(text));
    free(text); /* lint: allow(free): jansson's buffer */
    return status;
}

static json_int_t wall_ms(void)
{
    return clock_wall_ns() / CLOCK_NS_PER_MS;
}

static void set_text(json_t *meta, const char *key, const char *text)
{
    json_t *value = json_string(text);
    json_object_set_new(meta, key, value != NULL ? value : json_string("?")); /* not UTF-8 */
}

/* "weir up ...": a password on the command line does not get into the file. */
static json_t *command_line(const struct run_meta_start *start)
{
    json_t *words = json_pack("[s,s]", "weir", start->command);
    for (int i = 0; i < start->argument_count; i++) {
        const char *word = start->arguments[i], *equals = strchr(word, '=');
        const char *secret = strstr(word, "password");
        json_t *value = equals != NULL && secret != NULL && secret < equals
                            ? json_sprintf("%.*s=...", (int)(equals - word), word)
                            : json_string(word);
        json_array_append_new(words, value != NULL ? value : json_string("?"));
    }
    return words;
}

static json_t *recipes_of(const struct run_meta_start *start)
{
    json_t *list = json_array();
    for (size_t i = 0; i < start->recipe_count; i++) {
        char whole[PATH_MAX];
        const char *path = realpath(start->recipes[i], whole) != NULL ? whole : start->recipes[i];
        json_array_append_new(list, json_string(path));
    }
    return list;
}

static void set_place(json_t *meta, const char *name, const char *folder)
{
    char text[PATH_MAX];
    set_text(meta, "name", name);
    set_text(meta, "folder", realpath(folder, text) != NULL ? text : folder);
    if (getcwd(text, sizeof text) != NULL)
        set_text(meta, "cwd", text);
}

enum status run_meta_begin(const struct run_folder *folder, const struct run_meta_start *start)
{
    static const char *const kept[] = {"first_started_ms", "parent", "parent_folder",
                                       "parent_step"};
    json_t *before = NULL, *meta = json_object();
    if (run_meta_read(folder->path, &before) != STATUS_OK)
        before = NULL; /* the first attempt, or one of an older weir */
    char host[RUN_META_HOST_MAX] = "";
    (void)gethostname(host, sizeof host - 1);
    set_place(meta, folder->name, folder->path);
    bool again = strcmp(start->command, "resume") == 0 && json_object_get(before, "recipe") != NULL;
    if (again)
        json_object_set(meta, "recipe", json_object_get(before, "recipe"));
    else
        json_object_set_new(meta, "recipe", recipes_of(start));
    json_object_set_new(meta, "command", command_line(start));
    set_text(meta, "host", host);
    json_object_set_new(meta, "attempt", json_integer((json_int_t)folder->attempt));
    json_object_set_new(meta, "first_started_ms", json_integer(wall_ms()));
    json_object_set_new(meta, "started_ms", json_integer(wall_ms()));
    json_object_set_new(meta, "steps", json_integer((json_int_t)start->steps));
    set_text(meta, "version", WEIR_VERSION);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (json_object_get(before, kept[i]) != NULL)
            json_object_set(meta, kept[i], json_object_get(before, kept[i]));
    enum status status = write_meta(folder->path, meta);
    json_decref(before);
    json_decref(meta);
    return status;
}

bool run_meta_is_elsewhere(const char *folder, char host[RUN_META_HOST_MAX])
{
    char here[RUN_META_HOST_MAX] = "";
    json_t *meta = NULL;
    host[0] = 0;
    if (gethostname(here, sizeof here - 1) != 0 || run_meta_read(folder, &meta) != STATUS_OK)
        return false;
    const char *there = json_string_value(json_object_get(meta, "host"));
    snprintf(host, RUN_META_HOST_MAX, "%s", there != NULL ? there : "");
    json_decref(meta);
    return host[0] != 0 && strcmp(host, here) != 0;
}

enum status run_meta_end(const struct run_folder *folder, int exit_code, const char *sentence)
{
    json_t *meta = NULL;
    TRY(run_meta_read(folder->path, &meta));
    json_object_set_new(meta, "ended_ms", json_integer(wall_ms()));
    json_object_set_new(meta, "exit_code", json_integer(exit_code));
    set_text(meta, "end", sentence);
    enum status status = write_meta(folder->path, meta);
    json_decref(meta);
    return status;
}

enum status run_meta_fork(const char *folder, const char *name, const char *final_folder,
                          const json_t *parent_meta, const char *parent, const char *parent_folder,
                          uint64_t step, uint64_t steps)
{
    static const char *const kept[] = {"recipe", "cwd"};
    json_t *meta = json_object();
    set_place(meta, name, final_folder);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (json_object_get(parent_meta, kept[i]) != NULL)
            json_object_set(meta, kept[i], json_object_get(parent_meta, kept[i]));
    set_text(meta, "parent", parent);
    set_text(meta, "parent_folder", parent_folder);
    json_object_set_new(meta, "parent_step", json_integer((json_int_t)step));
    json_object_set_new(meta, "attempt", json_integer(0));
    json_object_set_new(meta, "steps", json_integer((json_int_t)steps));
    json_object_set_new(meta, "started_ms", json_integer(wall_ms()));
    set_text(meta, "version", WEIR_VERSION);
    enum status status = write_meta(folder, meta);
    json_decref(meta);
    return status;
}
