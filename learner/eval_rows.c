#include "learner/eval_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

enum { READ_MAX = 1 << 20 }; /* of one line; what is left comes with the next */

enum status eval_rows_open(struct eval_rows *rows, const char *run_folder)
{
    struct stat about;
    *rows = (struct eval_rows){0};
    TRY(file_path(rows->path, "%s/eval/table.jsonl", run_folder));
    if (stat(rows->path, &about) == 0)
        rows->offset = about.st_size;
    return STATUS_OK;
}

/* Whole lines after the offset. */
static enum status read_new(struct eval_rows *rows, struct buffer *text)
{
    struct stat about;
    int fd = open(rows->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? STATUS_OK : FAIL(STATUS_IO, "%s: %s", rows->path, strerror(errno));
    enum status status = STATUS_OK;
    int64_t size = fstat(fd, &about) == 0 ? about.st_size - rows->offset : 0;
    if (size > READ_MAX)
        size = READ_MAX;
    if (size > 0)
        status = buffer_reserve(text, (size_t)size);
    if (size > 0 && status == STATUS_OK) {
        ssize_t got = pread(fd, text->bytes + text->size, (size_t)size, rows->offset);
        text->size += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    const unsigned char *newline = text->size > 0 ? memrchr(text->bytes, '\n', text->size) : NULL;
    text->size = newline != NULL ? (size_t)(newline - text->bytes) + 1 : 0;
    rows->offset += (int64_t)text->size;
    return status;
}

static void take_row(const char *text, size_t size, json_t *figures)
{
    const char *key;
    json_t *value, *row = json_loadb(text, size, 0, NULL);
    json_object_foreach(row, key, value)
    {
        if (strncmp(key, "eval/", 5) == 0)
            json_object_set(figures, key, value);
    }
    json_decref(row);
}

/* {"a":1} -> ,"a":1 */
static enum status put_members(const json_t *figures, struct buffer *line)
{
    char *text = json_dumps(figures, JSON_COMPACT | JSON_REAL_PRECISION(12));
    enum status status = text != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "figures");
    if (status == STATUS_OK && json_object_size(figures) > 0)
        status = buffer_printf(line, ",%.*s", (int)strlen(text) - 2, text + 1);
    free(text); /* lint: allow(free): jansson's buffer */
    return status;
}

enum status eval_rows_take(struct eval_rows *rows, struct buffer *line)
{
    struct buffer text;
    if (rows->path[0] == '\0')
        return STATUS_OK;
    buffer_init(&text, 0);
    if (read_new(rows, &text) != STATUS_OK) {
        LOG_WARN("eval", "figures cannot be read", "why=\"%s\"", status_last_error());
        buffer_free(&text);
        return STATUS_OK;
    }
    json_t *figures = json_object();
    const char *at = (const char *)text.bytes, *end = at + text.size, *newline;
    while (at != end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        take_row(at, (size_t)(newline - at), figures);
        at = newline + 1;
    }
    enum status status = put_members(figures, line);
    json_decref(figures);
    buffer_free(&text);
    return status;
}
