#include "ops/process_table.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "ops/processes.h"
#include "ops/run_folder.h"
#include "ops/run_meta.h"

enum { TABLE_BYTES_MAX = 16 << 20, NODES_MAX = 4096 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static bool is_healthy(const char *state)
{
    static const char *const healthy[] = {"running", "joining", "leaving", "out", "ended"};
    for (size_t i = 0; i < sizeof healthy / sizeof healthy[0]; i++)
        if (strcmp(state, healthy[i]) == 0)
            return true;
    return false;
}

/* Milliseconds since `then_ms` of the monotonic clock of this machine. */
static int64_t age_ms(int64_t then_ms)
{
    int64_t age = clock_now_ns() / CLOCK_NS_PER_MS - then_ms;
    return age > 0 ? age : 0;
}

/* What /proc says of a process that had one when the table was written. */
static const char *present_state(const char *written, pid_t pid)
{
    if (pid <= 0)
        return written;
    switch (process_state(pid)) {
    case 0:
    case 'Z':
    case 'X':
        return "gone";
    case 'T':
        return "stopped";
    case 't':
        return "traced";
    default:
        return strcmp(written, "stopped") == 0 ? "running" : written;
    }
}

static void describe(const char *name, pid_t pid, const char *state, int64_t since_ms,
                     const char *end, char *out, size_t size)
{
    double since = (double)since_ms / 1e3;
    if (strcmp(state, "stopped") == 0)
        snprintf(out, size, "%s (pid %ld) is stopped (state T) since %.1f s", name, (long)pid,
                 since);
    else if (strcmp(state, "traced") == 0)
        snprintf(out, size, "%s (pid %ld) is held by a debugger", name, (long)pid);
    else if (strcmp(state, "gone") == 0)
        snprintf(out, size, "%s (pid %ld) has just died: it is started again", name, (long)pid);
    else if (strcmp(state, "waiting") == 0)
        snprintf(out, size, "%s waits for its next start; it ended by: %s", name, end);
    else
        snprintf(out, size, "%s (pid %ld) is %s since %.1f s", name, (long)pid, state, since);
}

static void look_at(json_t *row, json_t *sick, int64_t written_ms, bool here)
{
    char what[400];
    const char *name = text_of(row, "name"), *written = text_of(row, "state");
    pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
    const char *state = here ? present_state(written, pid) : written;
    bool as_written = strcmp(state, written) == 0;
    int64_t since_ms = json_integer_value(json_object_get(row, "since_ms"));
    since_ms = as_written && since_ms >= 0 && !is_healthy(state)
                   ? since_ms + (here ? age_ms(written_ms) : 0)
                   : 0;
    if (!is_healthy(state)) {
        describe(name, pid, state, since_ms, text_of(row, "end"), what, sizeof what);
        json_array_append_new(sick, json_pack("{s:s,s:I,s:s,s:I,s:s}", "name", name, "pid",
                                              (json_int_t)pid, "state", state, "since_ms",
                                              (json_int_t)since_ms, "what", what));
        json_object_set_new(row, "since_ms", json_integer(since_ms));
    }
    if (!as_written)
        json_object_set_new(row, "state", json_string(state));
}

static enum status read_table(const char *folder, json_t **table)
{
    json_t *read = NULL;
    TRY(run_folder_json(folder, "processes.json", TABLE_BYTES_MAX, &read));
    if (!json_is_object(read) || !json_is_array(json_object_get(read, "processes"))) {
        json_decref(read);
        return FAIL(STATUS_CORRUPT, "%s/processes.json is not what a supervisor writes", folder);
    }
    *table = read;
    return STATUS_OK;
}

/* here: on this machine, whose /proc and clock can be asked. */
static void look_at_all(json_t *table, bool here)
{
    size_t i;
    json_t *row, *sick = json_array();
    json_array_foreach(json_object_get(table, "processes"), i, row)
        look_at(row, sick, json_integer_value(json_object_get(table, "clock_ms")), here);
    json_object_set_new(table, "sick", sick);
}

/* /proc and the clock are those of one machine. A table that names none is taken for one of this. */
static bool was_written_here(const json_t *table)
{
    char here[RUN_META_HOST_MAX] = "";
    const char *there = text_of(table, "host");
    return there[0] == 0 || (gethostname(here, sizeof here - 1) == 0 && strcmp(there, here) == 0);
}

enum status process_table_read(const char *run_folder, json_t **table)
{
    TRY(read_table(run_folder, table));
    look_at_all(*table, was_written_here(*table));
    return STATUS_OK;
}

/* ---- nodes ---- */

static void add_rows(json_t *table, const json_t *of_node, const char *node)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(of_node, "processes"), i, row)
    {
        json_object_set_new(row, "node", json_string(node));
        if (process_table_find(table, text_of(row, "name")) == NULL)
            json_array_append(json_object_get(table, "processes"), row);
    }
    json_array_foreach(json_object_get(of_node, "sick"), i, row)
    {
        json_object_set_new(row, "what",
                            json_sprintf("%s, on node %s", text_of(row, "what"), node));
        json_array_append(json_object_get(table, "sick"), row);
    }
}

bool process_table_is_held_here(const char *folder)
{
    json_t *read = NULL;
    if (run_folder_holder(folder, NULL) == 0)
        return false;
    bool here = read_table(folder, &read) != STATUS_OK || was_written_here(read);
    json_decref(read);
    return here;
}

/* The table of a node that is dead is worth nothing: its workers died with it. */
static void add_node(json_t *table, const char *folder, const char *node)
{
    json_t *read = NULL;
    if (run_folder_holder(folder, NULL) == 0 || read_table(folder, &read) != STATUS_OK)
        return;
    look_at_all(read, was_written_here(read));
    add_rows(table, read, node);
    json_decref(read);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_nodes(json_t *table, const char *run_folder)
{
    char path[FILE_PATH_MAX];
    char *names[NODES_MAX];
    size_t count = 0;
    DIR *nodes = file_path(path, "%s/nodes", run_folder) == STATUS_OK ? opendir(path) : NULL;
    if (nodes == NULL)
        return;
    for (struct dirent *entry; count < NODES_MAX && (entry = readdir(nodes)) != NULL;)
        if (entry->d_name[0] != '.' && (names[count] = memory_text(entry->d_name)) != NULL)
            count++;
    closedir(nodes);
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        if (file_path(path, "%s/nodes/%s", run_folder, names[i]) == STATUS_OK)
            add_node(table, path, names[i]);
        memory_free(names[i]);
    }
}

enum status process_table_read_all(const char *run_folder, json_t **table)
{
    TRY(process_table_read(run_folder, table));
    add_nodes(*table, run_folder);
    return STATUS_OK;
}

/* ---- what is in it ---- */

json_t *process_table_find(const json_t *table, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(table, "processes"), i,
                       row) if (strcmp(text_of(row, "name"), name) == 0) return row;
    return NULL;
}

const char *process_table_store_trouble(const json_t *table)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(table, "sick"), i, row)
    {
        const char *state = text_of(row, "state");
        if (strcmp(text_of(row, "name"), "store.0") == 0 && strcmp(state, "silent") != 0)
            return text_of(row, "what");
    }
    return NULL;
}

uint64_t process_table_applied(const json_t *table)
{
    json_int_t applied = json_integer_value(json_object_get(table, "applied"));
    return applied > 0 ? (uint64_t)applied : 0;
}
