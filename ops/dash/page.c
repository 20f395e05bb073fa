#include "ops/dash/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checksum.h"
#include "ops/dash/server_state.h"

enum { WEB_BYTES_MAX = 8 << 20 };

static const char *type_of(const char *name)
{
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"},
                                           {".png", "image/png"},
                                           {".ico", "image/x-icon"},
                                           {".json", "application/json"},
                                           {".txt", "text/plain; charset=utf-8"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static enum MHD_Result give(struct request *request, const char *name, const void *bytes,
                            size_t size, const char *etag)
{
    const char *known =
        MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "If-None-Match");
    if (known != NULL && strstr(known, etag) != NULL && !request->set_cookie)
        return respond(request, 304, type_of(name), "", 0, etag);
    return respond(request, 200, type_of(name), bytes, size, etag);
}

/* --web: from disk, each time anew. Links are not followed, so that the folder is all there is. */
static enum MHD_Result give_from_disk(struct request *request, const char *name)
{
    char path[FILE_PATH_MAX], etag[32];
    struct buffer bytes;
    struct stat info;
    enum MHD_Result result;
    buffer_init(&bytes, WEB_BYTES_MAX);
    if (file_path(path, "%s/%s", request->dash->web, name) != STATUS_OK ||
        lstat(path, &info) != 0 || !S_ISREG(info.st_mode) || file_read(path, &bytes) != STATUS_OK) {
        result = refuse(request, 404, "the page has no file of this name");
    } else {
        snprintf(etag, sizeof etag, "\"%016llx\"",
                 (unsigned long long)hash64(bytes.bytes, bytes.size, 0));
        result = give(request, name, bytes.bytes, bytes.size, etag);
    }
    buffer_free(&bytes);
    return result;
}

enum MHD_Result answer_page(struct request *request)
{
    const char *name = request->path[1] != 0 ? request->path + 1 : "index.html";
    if (!access_file(name))
        return refuse(request, 404, "the page has no file of this name");
    if (request->dash->web[0] != 0)
        return give_from_disk(request, name);
    for (size_t i = 0; i < page_file_count; i++)
        if (strcmp(page_files[i].name, name) == 0)
            return give(request, name, page_files[i].bytes, page_files[i].size, page_files[i].etag);
    return refuse(request, 404, "the page has no file of this name");
}
