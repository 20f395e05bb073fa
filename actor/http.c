#include "actor/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor/http_state.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "transport/listen.h"

enum {
    LISTEN_BACKLOG = 1024,
    CONNECTION_BYTES = 64 << 10,
    GOODBYE_MS = 500,
    TOKEN_LEAST = 8,
    DESCRIPTORS_SPARE = 128
};

struct serve_hub *http_hub(struct http_server *server)
{
    return server->hub;
}

const char *http_address(const struct http_server *server)
{
    return server->address;
}

uint32_t http_connections(struct http_server *server)
{
    CHECK(pthread_mutex_lock(&server->lock) == 0);
    uint32_t count = server->peer_count;
    CHECK(pthread_mutex_unlock(&server->lock) == 0);
    return count;
}

/* ---- where it listens ---- */

static bool stays_here(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
    return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static enum status note_address(struct http_server *server, int fd, const char *host)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    char port[16];
    if (getsockname(fd, (struct sockaddr *)(void *)&bound, &size) != 0 ||
        getnameinfo((struct sockaddr *)(void *)&bound, size, NULL, 0, port, sizeof port,
                    NI_NUMERICSERV) != 0)
        return FAIL(STATUS_IO, "%s: the bound port cannot be read", host);
    bool six = strchr(host, ':') != NULL;
    snprintf(server->address, sizeof server->address, "%s%.200s%s:%s", six ? "[" : "", host,
             six ? "]" : "", port);
    return STATUS_OK;
}

static enum status listen_at(struct http_server *server, const struct addrinfo *found,
                             const char *host, int *out)
{
    int one = 1;
    if (server->token == NULL && !stays_here(found->ai_addr))
        return FAIL(STATUS_INVALID,
                    "%s is not an address of this machine alone: give actor.http_token (a file "
                    "with a secret that requests carry), or listen at 127.0.0.1",
                    host);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return FAIL(STATUS_IO, "socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    enum status status = STATUS_OK;
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
        status = FAIL(STATUS_IO, "%s cannot be listened at: %s", server->config.address,
                      strerror(errno));
    if (status == STATUS_OK)
        status = note_address(server, fd, host);
    if (status != STATUS_OK)
        close(fd);
    else
        *out = fd;
    return status;
}

static enum status open_socket(struct http_server *server, int *fd)
{
    char host[LISTEN_NAME_MAX], service[16];
    uint32_t port = 0;
    TRY(listen_split(server->config.address, host, &port));
    port += port != 0 ? server->config.index : 0;
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failed = port > 65535 ? EAI_SERVICE : getaddrinfo(host, service, &hints, &found);
    if (failed != 0)
        return FAIL(STATUS_INVALID, "%s: %s", server->config.address, gai_strerror(failed));
    enum status status = listen_at(server, found, host, fd);
    freeaddrinfo(found);
    return status;
}

static enum status read_token(struct http_server *server)
{
    const char *path = server->config.settings->actor.http_token;
    struct buffer text;
    if (path[0] == '\0')
        return STATUS_OK;
    buffer_init(&text, 4096);
    enum status status = file_read(path, &text);
    while (text.size > 0 &&
           (text.bytes[text.size - 1] == '\n' || text.bytes[text.size - 1] == '\r'))
        text.size--;
    if (status == STATUS_OK && (text.size < TOKEN_LEAST || memchr(text.bytes, '\n', text.size)))
        status = FAIL(STATUS_INVALID, "%s: one line of at least %d characters is wanted", path,
                      TOKEN_LEAST);
    if (status == STATUS_OK && (server->token = memory_text(buffer_string(&text))) == NULL)
        status = FAIL(STATUS_NO_MEMORY, "%s", path);
    buffer_free(&text);
    return status;
}

/* ---- its parts ---- */

static uint64_t draw_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint64_t)clock_now_ns();
    return seed;
}

static enum status open_texts(struct http_server *server)
{
    const struct settings *settings = server->config.settings;
    const struct engine *engine = server->config.engine;
    TRY(tokenizer_open(&server->tokenizer, settings->model.path, settings->model.tokenizer));
    enum setting_chat_format format = (enum setting_chat_format)settings->model.chat_format;
    bool built_in = format == CHAT_CHATML || format == CHAT_MINIMAX;
    server->chat.format = built_in ? format : CHAT_NONE;
    enum status status = built_in ? STATUS_NOT_FOUND
                                  : chat_template_open(&server->chat.template, settings->model.path,
                                                       settings->model.chat_template,
                                                       settings->model.chat_variables);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        LOG_WARN("http", "no chat: the template cannot be used", "why=\"%s\"",
                 status_sentence(status_last_error()));
    server->source = (struct openai_source){.tokenizer = server->tokenizer,
                                            .chat = &server->chat,
                                            .model = server->config.model,
                                            .path = settings->model.path,
                                            .context = engine->positions_max,
                                            .vocabulary = (uint32_t)engine->shape.vocabulary,
                                            .draw_seed = draw_seed};
    server->tokenizer_info = http_read_tokenizer_info(server);
    return server->tokenizer_info != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "tokenizer_info");
}

static void take_complaint(void *self, const char *fmt, va_list args)
{
    char text[256];
    (void)self;
    vsnprintf(text, sizeof text, fmt, args);
    LOG_DEBUG("http", "libmicrohttpd", "says=\"%s\"", text);
}

static enum status start_daemon(struct http_server *server, int fd)
{
    const struct actor_settings *actor = &server->config.settings->actor;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        http_handle, server, MHD_OPTION_EXTERNAL_LOGGER, take_complaint, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, actor->http_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, actor->http_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED, http_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, http_connected, server, MHD_OPTION_END);
    if (server->daemon != NULL)
        return STATUS_OK;
    close(fd);
    return FAIL(STATUS_IO, "libmicrohttpd cannot start at %s", server->address);
}

/* The other files of the process need some beside the connections. */
static void raise_descriptors(uint32_t connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static enum status open_all(struct http_server *server)
{
    struct serve_config serve = {.waiting_max = server->config.settings->actor.http_waiting,
                                 .wake = http_wake,
                                 .metrics = &server->config.engine->metrics};
    int fd = -1;
    raise_descriptors(server->config.settings->actor.http_connections);
    TRY(read_token(server));
    TRY(open_texts(server));
    TRY(serve_create(&server->hub, &serve));
    serve_attach(server->hub, server->config.engine);
    TRY(open_socket(server, &fd));
    TRY(start_daemon(server, fd));
    return http_watch_start(server);
}

enum status http_open(struct http_server **out, const struct http_config *config)
{
    struct http_server *server = memory_alloc(sizeof *server);
    if (server == NULL)
        return FAIL(STATUS_NO_MEMORY, "an HTTP server");
    server->config = *config;
    server->stop_fd = -1;
    http_metrics_init(server);
    server->started_s = clock_wall_ns() / CLOCK_NS_PER_S;
    CHECK(pthread_mutex_init(&server->lock, NULL) == 0);
    enum status status = open_all(server);
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        http_close(&server, config->engine, "cannot start");
        status_restore(kept);
        return status;
    }
    LOG_INFO("http", "listening", "address=%s model=\"%s\" token=%s", server->address,
             config->model, server->token != NULL ? "yes" : "no");
    *out = server;
    return STATUS_OK;
}

/* Answers that are on their way get a moment to leave. */
static void say_goodbye(struct http_server *server)
{
    for (int64_t until_ns = clock_after_ms(clock_now_ns(), GOODBYE_MS);
         clock_now_ns() < until_ns;) {
        serve_lock(server->hub);
        bool busy = server->exchanges != NULL;
        serve_unlock(server->hub);
        if (!busy)
            return;
        clock_sleep_ms(5);
    }
}

void http_close(struct http_server **pointer, struct engine *engine, const char *why)
{
    struct http_server *server = *pointer;
    if (server == NULL)
        return;
    if (server->daemon != NULL) {
        int fd = MHD_quiesce_daemon(server->daemon);
        if (fd >= 0)
            close(fd);
        serve_close(server->hub, engine, why);
        say_goodbye(server);
    }
    http_watch_stop(server);
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon);
    if (engine->report_self == server->hub)
        engine->report = NULL;
    serve_destroy(&server->hub);
    chat_close(&server->chat);
    tokenizer_close(&server->tokenizer);
    memory_free(server->tokenizer_info);
    memory_free(server->token);
    pthread_mutex_destroy(&server->lock);
    memory_free(server);
    *pointer = NULL;
}
