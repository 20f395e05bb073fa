/* ops/eval/follow_folder.c - RUN/eval on disk, for the service that evaluates. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/weights_version.h"
#include "ops/eval/follow.h"
#include "ops/eval_table.h"

/* ---- the table ---- */

static enum status cut_last_line(const char *path)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = file_exists(path) ? file_read(path, &text) : STATUS_OK;
    const char *newline = text.size > 0 ? memrchr(text.bytes, '\n', text.size) : NULL;
    off_t whole = newline != NULL ? newline + 1 - (const char *)text.bytes : 0;
    if (status == STATUS_OK && (size_t)whole < text.size && truncate(path, whole) != 0)
        status = FAIL(STATUS_IO, "%s: truncate: %s", path, strerror(errno));
    buffer_free(&text);
    return status;
}

enum status follow_open(struct follow_folder *folder, const char *run, const struct eval_sets *sets)
{
    char path[FILE_PATH_MAX];
    *folder = (struct follow_folder){.sets = sets, .table_fd = -1};
    TRY(file_path(folder->run, "%s", run));
    TRY(file_path(folder->root, "%s/eval", run));
    TRY(file_make_dirs(folder->root));
    TRY(file_path(path, "%s/table.jsonl", folder->root));
    TRY(cut_last_line(path));
    TRY(eval_table_read(run, &folder->rows));
    folder->table_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return folder->table_fd >= 0 ? STATUS_OK : FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
}

void follow_close(struct follow_folder *folder)
{
    json_decref(folder->rows);
    if (folder->table_fd > 0)
        close(folder->table_fd);
    folder->rows = NULL;
    folder->table_fd = -1;
}

static bool is_of(const json_t *row, const struct follow_version *version)
{
    char digest[32];
    const char *text = json_string_value(json_object_get(row, "digest"));
    snprintf(digest, sizeof digest, "%016" PRIx64, version->digest);
    return text != NULL && strcmp(text, digest) == 0 &&
           json_integer_value(json_object_get(row, "step")) == (json_int_t)version->version;
}

/* A row of this version: of the set (NULL: any; a row without a set is of all) with the status (NULL: any). */
static bool has_row(const struct follow_folder *folder, const struct follow_version *version,
                    const char *set, const char *status)
{
    size_t i;
    const json_t *row;
    json_array_foreach(folder->rows, i, row)
    {
        const char *of = json_string_value(json_object_get(row, "set"));
        const char *is = json_string_value(json_object_get(row, "status"));
        if (is_of(row, version) && (set == NULL || of == NULL || strcmp(of, set) == 0) &&
            (status == NULL || (is != NULL && strcmp(is, status) == 0)))
            return true;
    }
    return false;
}

bool follow_has_row(const struct follow_folder *folder, const struct follow_version *version,
                    const char *set)
{
    return has_row(folder, version, set, NULL);
}

static enum status append(int fd, const json_t *row, const char *name)
{
    struct buffer line;
    char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(12));
    buffer_init(&line, 0);
    enum status status =
        text != NULL ? buffer_printf(&line, "%s\n", text) : FAIL(STATUS_NO_MEMORY, "%s", name);
    free(text); /* lint: allow(free): jansson's buffer */
    if (status == STATUS_OK)
        status = file_write_all(fd, line.bytes, line.size, name);
    if (status == STATUS_OK && fdatasync(fd) != 0)
        status = FAIL(STATUS_IO, "%s: %s", name, strerror(errno));
    buffer_free(&line);
    return status;
}

enum status follow_add_row(struct follow_folder *folder, const struct follow_version *version,
                           json_t *row)
{
    char digest[32];
    json_t *whole = json_object();
    snprintf(digest, sizeof digest, "%016" PRIx64, version->digest);
    json_object_set_new(whole, "step", json_integer((json_int_t)version->version));
    json_object_set_new(whole, "branch", json_integer(version->branch));
    json_object_set_new(whole, "digest", json_string(digest));
    json_object_set_new(whole, "wall", json_real((double)clock_wall_ns() / 1e9));
    json_object_update(whole, row);
    enum status status = append(folder->table_fd, whole, "eval/table.jsonl");
    if (status == STATUS_OK)
        json_array_append(folder->rows, whole);
    json_decref(whole);
    return status;
}

enum status follow_add_verdict(struct follow_folder *folder, const struct follow_version *version,
                               const char *verdict, const char *why)
{
    LOG_WARN("eval", verdict, "version=%" PRIu64 " why=\"%s\"", version->version, why);
    json_t *row = json_pack("{s:s,s:s}", "status", verdict, "why", why);
    if (row == NULL)
        row = json_pack("{s:s}", "status", verdict); /* the sentence is no UTF-8 */
    enum status status = follow_add_row(folder, version, row);
    json_decref(row);
    return status;
}

/* ---- folders ---- */

static bool read_version(const char *folder, struct follow_version *version)
{
    struct weights_version of;
    if (!weights_version_read(folder, &of))
        return false;
    version->branch = of.branch;
    version->digest = of.digest;
    version->numerics = of.numerics;
    return true;
}

static void add_version(struct follow_folder *folder, const struct follow_version *version)
{
    size_t at = folder->count++;
    for (; at > 0 && folder->versions[at - 1].version > version->version; at--)
        folder->versions[at] = folder->versions[at - 1];
    folder->versions[at] = *version;
    folder->versions[at].settled = true;
    for (uint32_t i = 0; i < folder->sets->count; i++)
        if (!follow_has_row(folder, version, folder->sets->rows[i].name))
            folder->versions[at].settled = false;
}

/* Weights of a dead branch serve nobody. */
static void remove_weights(const char *step)
{
    char path[FILE_PATH_MAX], removed[FILE_PATH_MAX];
    enum status status = file_path(path, "%s/hf", step);
    if (status == STATUS_OK)
        status = file_path(removed, "%s/hf.removed", step);
    if (status == STATUS_OK && file_exists(path) && rename(path, removed) != 0)
        status = FAIL(STATUS_IO, "rename %s: %s", path, strerror(errno));
    if (status == STATUS_OK)
        status = file_remove_tree(removed);
    if (status != STATUS_OK)
        LOG_FAILURE("eval", "weights that are not needed stay", status);
}

static void look_at(struct follow_folder *folder, const char *name)
{
    char path[FILE_PATH_MAX], config[FILE_PATH_MAX];
    struct follow_version version = {0};
    int used = 0;
    if (sscanf(name, "step_%" SCNu64 "%n", &version.version, &used) != 1 ||
        file_path(path, "%s/%s", folder->root, name) != STATUS_OK ||
        file_path(config, "%s/hf/config.json", path) != STATUS_OK || !file_exists(config))
        return;
    if (name[used] != '\0')
        remove_weights(path); /* step_N.branch_B */
    else if (folder->count < FOLLOW_VERSIONS_MAX && read_version(path, &version))
        add_version(folder, &version);
}

enum status follow_scan(struct follow_folder *folder)
{
    DIR *directory = opendir(folder->root);
    if (directory == NULL)
        return FAIL(STATUS_IO, "%s: %s", folder->root, strerror(errno));
    folder->count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        look_at(folder, entry->d_name);
    closedir(directory);
    return STATUS_OK;
}

size_t follow_waiting(const struct follow_folder *folder, size_t waiting[FOLLOW_VERSIONS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < folder->count; i++)
        if (!folder->versions[i].settled)
            waiting[count++] = i;
    return count;
}

void follow_clean(struct follow_folder *folder, uint32_t keep)
{
    char path[FILE_PATH_MAX];
    uint32_t kept = 0;
    for (size_t i = folder->count; i-- > 0;) {
        const struct follow_version *version = &folder->versions[i];
        if (!version->settled || (has_row(folder, version, NULL, "done") && kept++ < keep))
            continue;
        if (file_path(path, "%s/step_%" PRIu64, folder->root, version->version) == STATUS_OK)
            remove_weights(path);
    }
}

bool follow_ended(const struct follow_folder *folder)
{
    char path[FILE_PATH_MAX];
    return file_path(path, "%s/last.json", folder->root) == STATUS_OK && file_exists(path);
}
