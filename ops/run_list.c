#include "ops/run_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/settings.h"
#include "ops/run_meta.h"

enum { LAST_LINE_MAX = 1 << 20, DEPTH_MAX = 32 };

/* ---- one run ---- */

static uint64_t disk_use(int parent, const char *name, int depth)
{
    struct stat info;
    if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    uint64_t bytes = (uint64_t)info.st_blocks * 512;
    if (!S_ISDIR(info.st_mode) || depth == DEPTH_MAX)
        return bytes;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return bytes;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            bytes += disk_use(dirfd(dir), entry->d_name, depth + 1);
    closedir(dir);
    return bytes;
}

/* The last line of `text` that ends in a newline and parses. */
static json_t *last_object(const char *text, size_t size)
{
    while (size > 0) {
        const char *end = memrchr(text, '\n', size);
        if (end == NULL)
            return NULL;
        const char *before = memrchr(text, '\n', (size_t)(end - text));
        const char *from = before != NULL ? before + 1 : text;
        json_t *object = json_loadb(from, (size_t)(end - from), 0, NULL);
        if (json_is_object(object))
            return object;
        json_decref(object);
        size = (size_t)(from - text);
    }
    return NULL;
}

json_t *run_list_last_step(const char *folder)
{
    char path[FILE_PATH_MAX];
    struct stat info;
    struct buffer text;
    json_t *object = NULL;
    int fd = file_path(path, "%s/metrics.jsonl", folder) == STATUS_OK
                 ? open(path, O_RDONLY | O_CLOEXEC)
                 : -1;
    if (fd < 0)
        return NULL;
    buffer_init(&text, 0);
    off_t size = fstat(fd, &info) == 0 ? info.st_size : 0;
    off_t from = size > LAST_LINE_MAX ? size - LAST_LINE_MAX : 0;
    if (buffer_reserve(&text, LAST_LINE_MAX) == STATUS_OK) {
        ssize_t got = pread(fd, text.bytes, LAST_LINE_MAX, from);
        if (got > 0)
            object = last_object((const char *)text.bytes, (size_t)got);
    }
    buffer_free(&text);
    close(fd);
    return object;
}

/* run.steps of a run that has no meta.json. 0: not known. */
static json_int_t steps_of(const char *folder)
{
    char path[FILE_PATH_MAX];
    if (file_path(path, "%s/config.resolved.yaml", folder) != STATUS_OK || !file_exists(path))
        return 0;
    const char *files[] = {path};
    struct config_input input = {.files = files, .file_count = 1};
    struct settings settings;
    struct config *config;
    if (settings_load(&settings, &config, &input) != STATUS_OK)
        return 0; /* of another version of weir */
    json_int_t steps = (json_int_t)settings.run.steps;
    config_destroy(&config);
    return steps;
}

static const char *state_of(pid_t pid, const char *noted, const json_t *meta)
{
    if (pid != 0)
        return strcmp(noted, "draining") == 0 ? "draining" : "running";
    if (meta == NULL)
        return "over";
    if (json_integer_value(json_object_get(meta, "attempt")) == 0)
        return "new";
    const json_t *code = json_object_get(meta, "exit_code");
    if (code == NULL)
        return "crashed";
    return json_integer_value(code) == 0 ? "over" : "failed";
}

static void copy(json_t *row, const char *key, const json_t *from, const char *name)
{
    json_t *value = json_object_get(from, name);
    if (value != NULL)
        json_object_set(row, key, value);
    else
        json_object_set_new(row, key, json_null());
}

static json_int_t started_ms(const char *folder, const json_t *meta)
{
    const json_t *started = json_object_get(meta, "first_started_ms");
    if (started == NULL)
        started = json_object_get(meta, "started_ms");
    struct stat info;
    char path[FILE_PATH_MAX];
    if (started != NULL)
        return json_integer_value(started);
    if (file_path(path, "%s/logs/attempt_1", folder) != STATUS_OK || stat(path, &info) != 0)
        return stat(folder, &info) == 0 ? (json_int_t)info.st_mtime * 1000 : 0;
    return (json_int_t)info.st_mtime * 1000;
}

json_t *run_list_row(const char *folder, const char *name)
{
    char noted[16] = "", whole[PATH_MAX];
    json_t *meta = NULL, *row = json_object();
    if (run_meta_read(folder, &meta) != STATUS_OK)
        meta = NULL;
    pid_t pid = run_folder_holder(folder, noted);
    json_t *last = run_list_last_step(folder);
    json_int_t steps = json_integer_value(json_object_get(meta, "steps"));
    json_int_t started = started_ms(folder, meta);
    json_object_set_new(row, "name", json_string(name));
    json_object_set_new(row, "folder",
                        json_string(realpath(folder, whole) != NULL ? whole : folder));
    json_object_set_new(row, "state", json_string(state_of(pid, noted, meta)));
    json_object_set_new(row, "pid", pid != 0 ? json_integer(pid) : json_null());
    copy(row, "step", last, "step");
    json_object_set_new(row, "steps", json_integer(steps > 0 ? steps : steps_of(folder)));
    copy(row, "reward", last, "reward/mean");
    copy(row, "attempt", meta, "attempt");
    json_object_set_new(row, "started_ms", json_integer(started));
    json_object_set_new(row, "age_s",
                        json_integer((clock_wall_ns() / CLOCK_NS_PER_MS - started) / 1000));
    json_object_set_new(row, "bytes", json_integer((json_int_t)disk_use(AT_FDCWD, folder, 0)));
    copy(row, "parent", meta, "parent");
    copy(row, "parent_step", meta, "parent_step");
    copy(row, "exit_code", meta, "exit_code");
    copy(row, "end", meta, "end");
    json_decref(last);
    json_decref(meta);
    return row;
}

/* ---- all of them ---- */

static json_int_t begin_of(const json_t *row)
{
    return json_integer_value(json_object_get(row, "started_ms"));
}

static enum status insert(json_t *runs, json_t *row)
{
    size_t at = json_array_size(runs);
    while (at > 0 && begin_of(json_array_get(runs, at - 1)) > begin_of(row))
        at--;
    return json_array_insert_new(runs, at, row) == 0 ? STATUS_OK
                                                     : FAIL(STATUS_NO_MEMORY, "list of runs");
}

enum status run_list_read(const char *root, json_t **runs)
{
    DIR *dir = opendir(root);
    if (dir == NULL && errno != ENOENT)
        return FAIL(STATUS_IO, "%s: %s", root, strerror(errno));
    json_t *list = json_array();
    enum status status = STATUS_OK;
    for (struct dirent *entry;
         dir != NULL && status == STATUS_OK && (entry = readdir(dir)) != NULL;) {
        char folder[FILE_PATH_MAX], lock[FILE_PATH_MAX];
        if (entry->d_name[0] == '.' ||
            file_path(folder, "%s/%s", root, entry->d_name) != STATUS_OK ||
            file_path(lock, "%s/lock", folder) != STATUS_OK || !file_exists(lock))
            continue;
        status = insert(list, run_list_row(folder, entry->d_name));
    }
    if (dir != NULL)
        closedir(dir);
    if (status == STATUS_OK)
        *runs = list;
    else
        json_decref(list);
    return status;
}

/* ---- as text ---- */

void run_list_age(int64_t seconds, char *out, size_t size)
{
    int64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (seconds < 60)
        snprintf(out, size, "%" PRId64 " s", seconds < 0 ? 0 : seconds);
    else if (minutes < 60)
        snprintf(out, size, "%" PRId64 " min", minutes);
    else if (hours < 24)
        snprintf(out, size, "%" PRId64 " h %" PRId64 " min", hours, minutes % 60);
    else
        snprintf(out, size, "%" PRId64 " d %" PRId64 " h", days, hours % 24);
}

void run_list_bytes(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    snprintf(out, size, unit == 0 || value >= 99.5 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

enum { COLUMNS = 8, CELL_MAX = 80 };
static const char *const headings[COLUMNS] = {"NAME",    "STATE", "STEP", "REWARD",
                                              "STARTED", "AGE",   "DISK", "PARENT"};
typedef char run_cells[COLUMNS][CELL_MAX];

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text != NULL ? text : "";
}

static void fill_step(const json_t *row, char *out)
{
    json_int_t steps = json_integer_value(json_object_get(row, "steps"));
    double step = json_number_value(json_object_get(row, "step"));
    if (steps > 0)
        snprintf(out, CELL_MAX, "%.0f/%" JSON_INTEGER_FORMAT, step, steps);
    else
        snprintf(out, CELL_MAX, "%.0f", step);
}

static void fill(const json_t *row, int64_t now_ms, run_cells cells)
{
    const json_t *reward = json_object_get(row, "reward");
    time_t began = (time_t)(begin_of(row) / 1000);
    struct tm local;
    localtime_r(&began, &local);
    snprintf(cells[0], CELL_MAX, "%s", text_of(row, "name"));
    bool failed = strcmp(text_of(row, "state"), "failed") == 0;
    if (failed)
        snprintf(cells[1], CELL_MAX, "failed (%" JSON_INTEGER_FORMAT ")",
                 json_integer_value(json_object_get(row, "exit_code")));
    else
        snprintf(cells[1], CELL_MAX, "%s", text_of(row, "state"));
    fill_step(row, cells[2]);
    if (json_is_number(reward))
        snprintf(cells[3], CELL_MAX, "%.3f", json_number_value(reward));
    else
        snprintf(cells[3], CELL_MAX, "-");
    strftime(cells[4], CELL_MAX, "%m-%d %H:%M", &local);
    run_list_age(now_ms / 1000 - (int64_t)began, cells[5], CELL_MAX);
    run_list_bytes((uint64_t)json_integer_value(json_object_get(row, "bytes")), cells[6], CELL_MAX);
    if (json_is_string(json_object_get(row, "parent")))
        snprintf(cells[7], CELL_MAX, "%s@%" JSON_INTEGER_FORMAT, text_of(row, "parent"),
                 json_integer_value(json_object_get(row, "parent_step")));
    else
        snprintf(cells[7], CELL_MAX, "-");
}

static enum status put_cell(const char *cell, size_t column, size_t width, struct buffer *text)
{
    if (column + 1 == COLUMNS)
        return buffer_printf(text, "%s\n", cell);
    bool right = column == 3 || column == 6;
    return buffer_printf(text, right ? "%*s  " : "%-*s  ", (int)width, cell);
}

enum status run_list_text(const json_t *runs, int64_t now_ms, struct buffer *text)
{
    size_t widths[COLUMNS], i;
    const json_t *row;
    run_cells cells;
    for (size_t c = 0; c < COLUMNS; c++)
        widths[c] = strlen(headings[c]);
    json_array_foreach(runs, i, row)
    {
        fill(row, now_ms, cells);
        for (size_t c = 0; c < COLUMNS; c++)
            widths[c] = strlen(cells[c]) > widths[c] ? strlen(cells[c]) : widths[c];
    }
    for (size_t c = 0; c < COLUMNS; c++)
        TRY(put_cell(headings[c], c, widths[c], text));
    json_array_foreach(runs, i, row)
    {
        fill(row, now_ms, cells);
        for (size_t c = 0; c < COLUMNS; c++)
            TRY(put_cell(cells[c], c, widths[c], text));
    }
    return STATUS_OK;
}
