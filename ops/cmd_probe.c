/* weir probe: what Kubernetes, systemd or a script asks of the processes of this machine; docs/kubernetes.md.
 *
 *     live    the supervisors of FOLDER that hold their locks (of `weir run`, of `weir node` in FOLDER/nodes; at least one
 *             does) live: their monitors say that their main loops beat. A worker that hangs is their business.
 *     ready   and they are ready, no store, learner, actor or reward worker of theirs waits for its next start, and
 *             each of their processes that has published a monitor in FOLDER/http says that it is ready; at least one does
 *
 * Processes of other machines that share the folder are not asked. Exit 0, or 1 with a sentence. It takes as long as PROBE_MS for each process, at most. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/process_table.h"

enum { PROBE_MS = 1500, ANSWER_BYTES = 2048, ADDRESS_BYTES = 320 };

/* ---- one question over HTTP ---- */

static enum status connect_to(const char *address, int *out)
{
    char host[ADDRESS_BYTES];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    snprintf(host, sizeof host, "%s", address[0] == '[' ? address + 1 : address);
    char *colon = strrchr(host, ':');
    if (colon == NULL)
        return FAIL(STATUS_CORRUPT, "\"%s\" is no address", address);
    const char *port = colon + 1;
    *colon = 0;
    if (colon > host && colon[-1] == ']')
        colon[-1] = 0;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return FAIL(STATUS_CORRUPT, "\"%s\" is no address", address);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool begun =
        fd >= 0 && (connect(fd, found->ai_addr, found->ai_addrlen) == 0 || errno == EINPROGRESS);
    int error = errno;
    freeaddrinfo(found);
    if (!begun && fd >= 0)
        close(fd);
    if (!begun)
        return FAIL(STATUS_IO, "%s: %s", address, strerror(error));
    *out = fd;
    return STATUS_OK;
}

/* Until the other side closes; what does not fit is not read. */
static enum status read_answer(int fd, const char *address, struct wait *wait,
                               char answer[ANSWER_BYTES])
{
    size_t size = 0;
    while (size + 1 < ANSWER_BYTES && wait_left_ms(wait) > 0) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (poll(&readable, 1, wait_slice_ms(wait, PROBE_MS)) <= 0)
            continue;
        ssize_t got = recv(fd, answer + size, ANSWER_BYTES - 1 - size, 0);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return FAIL(STATUS_IO, "%s: %s", address, strerror(errno));
        if (got == 0)
            break;
        size += got > 0 ? (size_t)got : 0;
    }
    answer[size] = 0;
    return STATUS_OK;
}

static enum status exchange(int fd, const char *address, const char *path,
                            char answer[ANSWER_BYTES])
{
    char question[ADDRESS_BYTES + 128];
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    int size = snprintf(question, sizeof question,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, address);
    struct wait wait = wait_begin("probe", address, PROBE_MS);
    enum status status = STATUS_OK;
    answer[0] = 0;
    if (poll(&writable, 1, wait_slice_ms(&wait, PROBE_MS)) > 0 &&
        send(fd, question, (size_t)size, MSG_NOSIGNAL) == size)
        status = read_answer(fd, address, &wait, answer);
    enum status ended = wait_end(&wait, status != STATUS_OK || answer[0] != 0);
    return status != STATUS_OK ? status : ended;
}

/* OK when the answer is 200; FAILED with what it says. */
static enum status ask(const char *name, const char *address, const char *path)
{
    char answer[ANSWER_BYTES];
    int fd = -1;
    TRY(connect_to(address, &fd));
    enum status status = exchange(fd, address, path, answer);
    close(fd);
    TRY(status);
    if (strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0)
        return STATUS_OK;
    const char *body = strstr(answer, "\r\n\r\n");
    body = body != NULL ? body + 4 : answer;
    return FAIL(STATUS_AGAIN, "%s: %.*s", name, (int)strcspn(body, "\r\n"), body);
}

/* ---- who is there ---- */

static enum status read_address(const char *folder, const char *name, char address[ADDRESS_BYTES])
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/http/%s", folder, name));
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(address, ADDRESS_BYTES, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (!read)
        return FAIL(STATUS_NOT_FOUND, "%s is not there", path);
    address[strcspn(address, "\r\n")] = 0;
    return STATUS_OK;
}

/* Not published: not asked. */
static enum status ask_published(const char *run, const char *name, const char *path,
                                 unsigned *asked)
{
    char address[ADDRESS_BYTES];
    if (read_address(run, name, address) != STATUS_OK)
        return STATUS_OK;
    TRY(ask(name, address, path));
    ++*asked;
    return STATUS_OK;
}

/* The run goes on without Redis, page and evaluator. */
static bool is_needed(const char *name)
{
    static const char *const roles[] = {ROLE_NAME_STORE ".", ROLE_NAME_LEARNER ".",
                                        ROLE_NAME_ACTOR ".", ROLE_NAME_REWARD "."};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strncmp(name, roles[i], strlen(roles[i])) == 0)
            return true;
    return false;
}

/* folder: of the supervisor, that of the run or of a node. */
static enum status ask_workers(const char *run, const char *folder, unsigned *asked)
{
    size_t i;
    const json_t *row;
    json_t *table = NULL;
    TRY(process_table_read(folder, &table));
    enum status status = STATUS_OK;
    json_array_foreach(json_object_get(table, "processes"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *state = json_string_value(json_object_get(row, "state"));
        if (name == NULL || state == NULL || status != STATUS_OK)
            continue;
        if (strcmp(state, "waiting") == 0 && is_needed(name))
            status = FAIL(STATUS_AGAIN, "%s waits for its next start", name);
        else if (json_integer_value(json_object_get(row, "pid")) > 0)
            status = ask_published(run, name, "/ready", asked);
    }
    json_decref(table);
    return status;
}

static enum status ask_supervisor(const char *run, const char *folder, const char *monitor,
                                  bool ready, unsigned *asked)
{
    TRY(ask_published(run, monitor, "/live", asked));
    if (!ready)
        return STATUS_OK;
    TRY(ask_published(run, monitor, "/ready", asked));
    return ask_workers(run, folder, asked);
}

static enum status ask_nodes(const char *run, bool ready, unsigned *held, unsigned *asked)
{
    char path[FILE_PATH_MAX], monitor[NAME_MAX + 8];
    enum status status = STATUS_OK;
    TRY(file_path(path, "%s/nodes", run));
    DIR *nodes = opendir(path);
    for (struct dirent *entry;
         nodes != NULL && status == STATUS_OK && (entry = readdir(nodes)) != NULL;) {
        if (entry->d_name[0] == '.' ||
            file_path(path, "%s/nodes/%s", run, entry->d_name) != STATUS_OK ||
            !process_table_is_held_here(path))
            continue;
        ++*held;
        snprintf(monitor, sizeof monitor, "node.%s", entry->d_name);
        status = ask_supervisor(run, path, monitor, ready, asked);
    }
    if (nodes != NULL)
        closedir(nodes);
    return status;
}

static enum status probe(const char *run, bool ready)
{
    unsigned held = process_table_is_held_here(run), asked = 0;
    if (held > 0)
        TRY(ask_supervisor(run, run, "supervisor.0", ready, &asked));
    TRY(ask_nodes(run, ready, &held, &asked));
    if (held == 0)
        return FAIL(STATUS_NOT_FOUND, "no supervisor holds %s: neither `weir run` nor `weir node`",
                    run);
    return asked > 0 || !ready ? STATUS_OK
                               : FAIL(STATUS_AGAIN,
                                      "no process has published its monitor in %s/http yet "
                                      "(metrics.http)",
                                      run);
}

/* OK when one of the runs of WEIR_RUN_ROOT says so: the container has no other. */
static enum status probe_any(bool ready)
{
    char path[FILE_PATH_MAX];
    DIR *root = opendir(runs_root());
    enum status status =
        FAIL(STATUS_NOT_FOUND, "no run is in %s (WEIR_RUN_ROOT); name a folder", runs_root());
    for (struct dirent *entry;
         root != NULL && status != STATUS_OK && (entry = readdir(root)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        status = file_path(path, "%s/%s", runs_root(), entry->d_name);
        if (status == STATUS_OK)
            status = probe(path, ready);
    }
    if (root != NULL)
        closedir(root);
    return status;
}

int cmd_probe(int argc, char **argv)
{
    bool ready = argc >= 1 && strcmp(argv[0], "ready") == 0;
    bool live = argc >= 1 && strcmp(argv[0], "live") == 0;
    if ((!ready && !live) || argc > 2)
        return command_usage("probe", "say live or ready, and the folder of a run");
    if ((argc == 2 ? probe(argv[1], ready) : probe_any(ready)) == STATUS_OK)
        return EXIT_CODE_OK;
    fprintf(stderr, "weir probe: %s\n", error_sentence());
    return EXIT_CODE_FAILED;
}
