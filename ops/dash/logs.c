/* ops/dash/logs.c - the last lines of a process's log, and the targets of its monitors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "ops/dash/server_state.h"

enum { LINES_DEFAULT = 200, LINES_MOST = 5000, LOG_BYTES_MOST = 1 << 20, TARGET_MAX = 300 };

/* ---- logs ---- */

/* The end of a file, at most LOG_BYTES_MOST. Bytes that are no ASCII text become '?' unless they are UTF-8 as a whole. */
static enum status read_end(const char *path, struct buffer *text)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return FAIL(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                    strerror(errno));
    enum status status = STATUS_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = FAIL(STATUS_NOT_FOUND, "%s is no file", path);
    int64_t from = info.st_size > LOG_BYTES_MOST ? info.st_size - LOG_BYTES_MOST : 0;
    if (status == STATUS_OK)
        status = buffer_reserve(text, LOG_BYTES_MOST);
    ssize_t got = status == STATUS_OK ? pread(fd, text->bytes, LOG_BYTES_MOST, from) : 0;
    text->size = got > 0 ? (size_t)got : 0;
    close(fd);
    return status;
}

static enum status write_line(const char *line, size_t size, struct buffer *json)
{
    json_t *text = json_stringn(line, size); /* NULL: not UTF-8 */
    if (text == NULL) {
        char shown[512];
        size_t keep = size < sizeof shown - 1 ? size : sizeof shown - 1;
        for (size_t i = 0; i < keep; i++)
            shown[i] = line[i] >= ' ' && line[i] <= '~' ? line[i] : '?';
        shown[keep] = 0;
        return buffer_json_text(json, shown);
    }
    enum status status = buffer_json_text(json, json_string_value(text));
    json_decref(text);
    return status;
}

static enum status write_lines(struct buffer *text, size_t most, struct buffer *json)
{
    const char *bytes = (const char *)text->bytes;
    size_t end = text->size, at, seen = 0;
    while (end > 0 && bytes[end - 1] == '\n')
        end--;
    for (at = end; at > 0; at--)
        if (bytes[at - 1] == '\n' && ++seen == most)
            break;
    TRY(buffer_text(json, "{\"lines\":["));
    for (const char *between = ""; at < end; between = ",") {
        const char *stop = memchr(bytes + at, '\n', end - at);
        size_t size = stop != NULL ? (size_t)(stop - bytes) - at : end - at;
        TRY(buffer_text(json, between));
        TRY(write_line(bytes + at, size, json));
        at += size + 1;
    }
    return buffer_text(json, "]}");
}

enum MHD_Result answer_logs(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    const char *process = query_text(request, "process");
    uint64_t most = LINES_DEFAULT;
    char path[FILE_PATH_MAX];
    if (!query_whole(request, "n", LINES_MOST, &most, &result))
        return result;
    if (!access_process(process))
        return refuse(request, 400, "process takes a name, as learner.0");
    struct buffer text, json;
    buffer_init(&text, 0);
    buffer_init(&json, 0);
    enum status status = file_path(path, "%s/logs/latest/%s.log", request->dash->folder, process);
    if (status == STATUS_OK)
        status = read_end(path, &text);
    if (status == STATUS_OK)
        status = write_lines(&text, most > 0 ? (size_t)most : 1, &json);
    if (status == STATUS_OK)
        result = respond_json(request, 200, &json);
    else if (status == STATUS_NOT_FOUND)
        result = refuse(request, 404, "%.100s has no log in the last attempt of this run", process);
    else
        result = refuse(request, 500, "%.300s", status_sentence(status_last_error()));
    buffer_free(&text);
    buffer_free(&json);
    return result;
}

/* ---- targets for Prometheus' http_sd ---- */

static enum status write_target(const struct dash *dash, const char *process, struct buffer *json,
                                const char *between)
{
    char path[FILE_PATH_MAX];
    struct buffer address;
    buffer_init(&address, TARGET_MAX);
    enum status status;
    TRY_GOTO(out, file_path(path, "%s/http/%s", dash->folder, process));
    TRY_GOTO(out, file_read(path, &address));
    while (address.size > 0 && address.bytes[address.size - 1] <= ' ')
        address.size--;
    TRY_GOTO(out, buffer_printf(json, "%s{\"targets\":[", between));
    TRY_GOTO(out, buffer_json_text(json, buffer_string(&address)));
    TRY_GOTO(out, buffer_text(json, "],\"labels\":{\"run\":"));
    TRY_GOTO(out, buffer_json_text(json, dash->run));
    TRY_GOTO(out, buffer_printf(json, ",\"process\":\"%s\"}}", process));
out:
    buffer_free(&address);
    return status;
}

enum MHD_Result answer_targets(struct request *request)
{
    char path[FILE_PATH_MAX];
    struct buffer json;
    const char *between = "";
    buffer_init(&json, 0);
    enum status status = buffer_text(&json, "[");
    DIR *dir =
        file_path(path, "%s/http", request->dash->folder) == STATUS_OK ? opendir(path) : NULL;
    for (struct dirent *entry;
         dir != NULL && status == STATUS_OK && (entry = readdir(dir)) != NULL;) {
        size_t before = json.size;
        if (!access_process(entry->d_name) || strchr(entry->d_name, '.') == NULL)
            continue;
        if (write_target(request->dash, entry->d_name, &json, between) != STATUS_OK)
            json.size = before; /* it has just gone */
        else
            between = ",";
    }
    if (dir != NULL)
        closedir(dir);
    if (status == STATUS_OK)
        status = buffer_text(&json, "]");
    enum MHD_Result result = status == STATUS_OK ? respond_json(request, 200, &json)
                                                 : refuse(request, 500, "out of memory");
    buffer_free(&json);
    return result;
}
