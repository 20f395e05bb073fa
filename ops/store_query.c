#include "ops/store_query.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"
#include "ops/endpoint_file.h"
#include "transport/link.h"

enum { ANSWER_BYTES_MAX = 64 << 20, CONNECT_SLICE_MS = 20 };

struct store_query {
    struct link *link;
    struct arena *arena; /* of one received message */
    char endpoint[FILE_PATH_MAX];
    uint64_t request; /* of the open question */
};

static const char *owner_of(const char *path, char number[24])
{
    struct stat info;
    if (stat(path, &info) != 0)
        return "somebody else";
    const struct passwd *user = getpwuid(info.st_uid);
    snprintf(number, 24, "user %lu", (unsigned long)info.st_uid);
    return user != NULL ? user->pw_name : number;
}

/* A store whose socket may not be opened would look like one that does not answer. */
static enum status check_socket(const char *endpoint)
{
    static const char scheme[] = "ipc://";
    const char *path = endpoint + sizeof scheme - 1;
    char number[24];
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0 || access(path, R_OK | W_OK) == 0 ||
        errno != EACCES)
        return STATUS_OK;
    return FAIL(STATUS_INVALID,
                "%s may not be opened by this user: the run is of %s, who alone may ask its store",
                path, owner_of(path, number));
}

enum status store_query_open(struct store_query **query, const char *endpoint, const char *run,
                             const char *keys_folder)
{
    TRY(check_socket(endpoint));
    struct store_query *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "connection to the store of %s", run);
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    struct hello hello = {.run = run,
                          .role = ROLE_CONTROL,
                          .index = (uint32_t)getpid(),
                          .pid = (uint32_t)getpid(),
                          .host = host,
                          .numerics = ""};
    enum status status;
    TRY_GOTO(out, file_path(made->endpoint, "%s", endpoint));
    TRY_GOTO(out, arena_create(&made->arena, ANSWER_BYTES_MAX));
    TRY_GOTO(out, link_open(&made->link, endpoint, keys_folder, &hello));
    *query = made;
out:
    if (status != STATUS_OK)
        store_query_close(&made);
    return status;
}

void store_query_close(struct store_query **query)
{
    if (*query == NULL)
        return;
    link_close(&(*query)->link, "done");
    arena_destroy(&(*query)->arena);
    memory_free(*query);
    *query = NULL;
}

enum status store_query_start(struct store_query *query, const char *command,
                              const char *arguments_json)
{
    struct message message = {
        .type = MESSAGE_control,
        .control = {query->request + 1, command, arguments_json},
    };
    TRY(link_send(query->link, &message));
    query->request++;
    return STATUS_OK;
}

uint32_t store_query_reconnects(const struct store_query *query)
{
    return link_reconnects(query->link);
}

/* The store's refusal is {"error":"..."}; any other text is shown as it is. */
static enum status take_reply(const struct control_reply *reply, struct buffer *json)
{
    if (!reply->ok) {
        json_t *refusal = json_loads(reply->json, 0, NULL);
        const char *error = json_string_value(json_object_get(refusal, "error"));
        enum status status =
            FAIL(STATUS_INVALID, "the store refused: %s", error != NULL ? error : reply->json);
        json_decref(refusal);
        return status;
    }
    buffer_clear(json);
    return buffer_text(json, reply->json);
}

enum status store_query_take(struct store_query *query, int64_t timeout_ms, struct buffer *json)
{
    int64_t until_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    for (;;) {
        struct message message;
        int64_t left_ms = (until_ns - clock_now_ns()) / CLOCK_NS_PER_MS;
        arena_reset(query->arena);
        TRY(link_poll(query->link, left_ms > 0 ? left_ms : 0, -1, query->arena, &message));
        if (message.type == MESSAGE_control_reply &&
            message.control_reply.request == query->request)
            return take_reply(&message.control_reply, json);
        if (message.type == MESSAGE_NONE && left_ms <= 0)
            return FAIL(STATUS_AGAIN, "no answer of the store at %s yet", query->endpoint);
    }
}

enum status store_query_ask(struct store_query *query, const char *command,
                            const char *arguments_json, int64_t timeout_ms, struct buffer *json)
{
    struct wait wait = wait_begin(command, "store", timeout_ms);
    enum status status = STATUS_AGAIN;
    bool sent = false;
    while (status == STATUS_AGAIN && wait_left_ms(&wait) > 0) {
        if (!sent)
            sent = store_query_start(query, command, arguments_json) == STATUS_OK;
        status = store_query_take(query, wait_slice_ms(&wait, CONNECT_SLICE_MS), json);
    }
    enum status ended = wait_end(&wait, true);
    if (status == STATUS_AGAIN)
        return FAIL(STATUS_TIMEOUT,
                    "the store at %s gave no answer to %s in %" PRId64
                    " ms: look at store.0.log in the run's logs/latest",
                    query->endpoint, command, timeout_ms);
    return status != STATUS_OK ? status : ended;
}

enum status store_endpoint(const struct settings *settings, const char *folder,
                           char out[FILE_PATH_MAX])
{
    char published[FILE_PATH_MAX];
    const char *wanted = settings->store.endpoint;
    if (strncmp(wanted, "tcp://", 6) == 0 && endpoint_file_read(folder, published) == STATUS_OK)
        return endpoint_for_here(wanted, published, out);
    if (wanted[0] != 0)
        return file_path(out, "%s", wanted);
    struct sockaddr_un address;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/store.sock", folder));
    if (strlen(path) >= sizeof address.sun_path)
        return FAIL(STATUS_LIMIT,
                    "%s is too long for a unix socket (%zu bytes, at most %zu): choose a shorter "
                    "run.root, or set store.endpoint",
                    path, strlen(path), sizeof address.sun_path - 1);
    return file_path(out, "ipc://%s", path);
}
