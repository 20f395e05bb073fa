#include "transport/endpoint.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static enum status parse_ipc(const char *text, const char *path)
{
    size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    if (path[0] == '\0')
        return FAIL(STATUS_INVALID, "endpoint \"%s\" has no path: write ipc:///run/weir/store.sock",
                    text);
    if (strlen(path) > most)
        return FAIL(STATUS_INVALID,
                    "path of endpoint \"%s\" has %zu bytes, a unix socket takes %zu: choose a "
                    "shorter run folder or tcp://127.0.0.1:0",
                    text, strlen(path), most);
    return STATUS_OK;
}

static bool is_host(const char *host, size_t size, const char *name)
{
    return size == strlen(name) && memcmp(host, name, size) == 0;
}

static bool is_loopback(const char *host, size_t size)
{
    return (size > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == size) ||
           is_host(host, size, "[::1]");
}

/* Names, addresses and interfaces; not libzmq's "source;target". */
static bool good_host(const char *host, size_t size)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    if (is_host(host, size, "*"))
        return true;
    if (size > 2 && host[0] == '[' && host[size - 1] == ']')
        return strcspn(host, "]") == size - 1 && strcspn(host, "; /") >= size;
    return size > 0 && strspn(host, letters) == size;
}

static enum status parse_port(const char *text, const char *port, bool binds)
{
    size_t digits = strspn(port, "0123456789");
    unsigned number = 0;
    if (binds && strcmp(port, "*") == 0)
        return STATUS_OK;
    for (size_t i = 0; i < digits && i < 6; i++)
        number = number * 10 + (unsigned)(port[i] - '0');
    if (digits == 0 || digits > 5 || port[digits] != '\0' || number > 65535)
        return FAIL(STATUS_INVALID, "endpoint \"%s\" has no port: write tcp://127.0.0.1:PORT",
                    text);
    if (number == 0 && !binds)
        return FAIL(STATUS_INVALID, "endpoint \"%s\" has port 0, to which nothing can connect",
                    text);
    return STATUS_OK;
}

static enum status parse_tcp(const char *text, bool binds, bool keyed, struct endpoint *endpoint)
{
    const char *host = endpoint->text + strlen("tcp://"), *port = strrchr(host, ':');
    if (port == NULL)
        return FAIL(STATUS_INVALID, "endpoint \"%s\" has no port: write tcp://127.0.0.1:PORT",
                    text);
    size_t size = (size_t)(port - host);
    if (!good_host(host, size))
        return FAIL(STATUS_INVALID,
                    "endpoint \"%s\" has no host: write tcp://trainer:7000 or, for IPv6, "
                    "tcp://[::1]:7000",
                    text);
    if (!is_loopback(host, size) && !keyed)
        return FAIL(
            STATUS_INVALID,
            "endpoint \"%s\" leaves this machine, and without keys nobody is checked and "
            "nothing encrypted: make keys (`weir keys new FOLDER`) and set run.keys=FOLDER, "
            "or use tcp://127.0.0.1:PORT or ipc://PATH",
            text);
    bool any =
        is_host(host, size, "*") || is_host(host, size, "0.0.0.0") || is_host(host, size, "[::]");
    if (any && !binds) { /* where a store listens everywhere, it is found here */
        char tail[ENDPOINT_MAX];
        snprintf(tail, sizeof tail, "%s", port);
        snprintf(endpoint->text, ENDPOINT_MAX, "tcp://%s%.240s",
                 host[0] == '[' ? "[::1]" : "127.0.0.1", tail);
        port = strrchr(endpoint->text, ':');
    }
    endpoint->tcp = true;
    endpoint->ipv6 = host[0] == '[';
    return parse_port(text, port + 1, binds);
}

enum status endpoint_parse(const char *text, bool binds, bool keyed, struct endpoint *endpoint)
{
    static const char tcp[] = "tcp://", ipc[] = "ipc://", localhost[] = "tcp://localhost:";
    *endpoint = (struct endpoint){0};
    int size = strncmp(text, localhost, sizeof localhost - 1) == 0
                   ? snprintf(endpoint->text, ENDPOINT_MAX, "tcp://127.0.0.1:%s",
                              text + sizeof localhost - 1)
                   : snprintf(endpoint->text, ENDPOINT_MAX, "%s", text);
    if (size >= ENDPOINT_MAX)
        return FAIL(STATUS_INVALID, "endpoint \"%.80s...\" has %d bytes, limit %d", text, size,
                    ENDPOINT_MAX - 1);
    if (strncmp(endpoint->text, ipc, sizeof ipc - 1) == 0)
        return parse_ipc(text, endpoint->text + sizeof ipc - 1);
    if (strncmp(endpoint->text, tcp, sizeof tcp - 1) == 0)
        return parse_tcp(text, binds, keyed, endpoint);
    return FAIL(STATUS_INVALID, "endpoint \"%s\" is not ipc://PATH or tcp://127.0.0.1:PORT", text);
}

void endpoint_public(const char *bound, char out[ENDPOINT_MAX])
{
    char host[128] = "localhost";
    const char *port = strrchr(bound, ':');
    bool all = strncmp(bound, "tcp://0.0.0.0:", 14) == 0 || strncmp(bound, "tcp://[::]:", 11) == 0;
    if (all && port != NULL && gethostname(host, sizeof host - 1) == 0)
        snprintf(out, ENDPOINT_MAX, "tcp://%s%s", host, port);
    else
        snprintf(out, ENDPOINT_MAX, "%s", bound);
}
