#include "ops/endpoint_file.h"

#include <string.h>
#include <unistd.h>

static const char tcp[] = "tcp://";

static const char *port_of(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return strncmp(endpoint, tcp, sizeof tcp - 1) == 0 && colon > endpoint + sizeof tcp - 2
               ? colon + 1
               : NULL;
}

bool endpoint_is_open(const char *endpoint)
{
    const char *port = port_of(endpoint);
    return port != NULL && (strcmp(port, "0") == 0 || strcmp(port, "*") == 0);
}

enum status endpoint_file_read(const char *folder, char out[FILE_PATH_MAX])
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, FILE_PATH_MAX);
    enum status status;
    TRY_GOTO(out, file_path(path, "%s/endpoint", folder));
    TRY_GOTO(out, file_read(path, &text));
    int size = (int)strcspn(buffer_string(&text), "\n");
    if (strncmp(buffer_string(&text), tcp, sizeof tcp - 1) != 0 &&
        strncmp(buffer_string(&text), "ipc://", 6) != 0)
        status = FAIL(STATUS_CORRUPT, "%s: \"%.80s\" is no endpoint", path, buffer_string(&text));
    else
        status = file_path(out, "%.*s", size, buffer_string(&text));
out:
    buffer_free(&text);
    return status;
}

void endpoint_file_remove(const char *folder)
{
    char path[FILE_PATH_MAX];
    if (file_path(path, "%s/endpoint", folder) == STATUS_OK)
        unlink(path);
}

static bool has_host(const char *endpoint, const char *host)
{
    size_t size = strlen(host);
    const char *at = endpoint + sizeof tcp - 1;
    return port_of(endpoint) != NULL && strncmp(at, host, size) == 0 && at[size] == ':';
}

enum status endpoint_for_here(const char *wanted, const char *published, char out[FILE_PATH_MAX])
{
    char host[128] = "";
    bool all = has_host(wanted, "*") || has_host(wanted, "0.0.0.0") || has_host(wanted, "[::]");
    if (all && gethostname(host, sizeof host - 1) == 0 && has_host(published, host))
        return file_path(out, "tcp://%s:%s", has_host(wanted, "[::]") ? "[::1]" : "127.0.0.1",
                         port_of(published));
    return file_path(out, "%s", published);
}

enum status endpoint_with_port(const char *wanted, const char *published, char out[FILE_PATH_MAX])
{
    const char *old = port_of(wanted), *port = port_of(published);
    if (old == NULL || port == NULL)
        return file_path(out, "%s", wanted);
    return file_path(out, "%.*s%s", (int)(old - wanted), wanted, port);
}
