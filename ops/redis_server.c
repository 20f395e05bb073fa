#include "ops/redis_server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/wait.h"
#include "ops/signals.h"
#include "transport/redis_connection.h"
#include "transport/redis_view.h"

enum { READY_MS = 5000, PROBE_PAUSE_MS = 20, REDIS_MAXMEMORY_MB = 512 };

enum status redis_server_find(char path[FILE_PATH_MAX])
{
    const char *list = getenv("PATH");
    for (const char *at = list != NULL ? list : "/usr/bin:/bin"; *at != 0;) {
        size_t length = strcspn(at, ":");
        char candidate[FILE_PATH_MAX];
        if (length > 0 && file_path(candidate, "%.*s/redis-server", (int)length, at) == STATUS_OK &&
            access(candidate, X_OK) == 0) {
            memcpy(path, candidate, sizeof candidate);
            return STATUS_OK;
        }
        at += length + (at[length] == ':');
    }
    return FAIL(STATUS_NOT_FOUND,
                "redis-server is not installed and redis.mode is start: install it "
                "(apt-get install redis-server, or ops/deps), or set redis.mode=off");
}

/* A run's resolved settings name the socket in its folder. As the recipe of another run they would put that run's
 * Redis there. folder: of this run, without links. */
static bool is_of_other_run(const struct settings *settings, const char *folder)
{
    const char *address = settings->redis.address, *slash = strrchr(address, '/');
    char other[FILE_PATH_MAX], lock[FILE_PATH_MAX], whole[PATH_MAX];
    if (settings->redis.mode != REDIS_START || slash == NULL || strcmp(slash, "/redis.sock") != 0 ||
        file_path(other, "%.*s", (int)(slash - address), address) != STATUS_OK ||
        file_path(lock, "%s/lock", other) != STATUS_OK || !file_exists(lock))
        return false;
    return realpath(other, whole) != NULL && strcmp(whole, folder) != 0;
}

enum status redis_server_address(const struct settings *settings, const struct run_folder *folder,
                                 char out[FILE_PATH_MAX])
{
    struct sockaddr_un address;
    char path[FILE_PATH_MAX], whole[PATH_MAX];
    if (realpath(folder->path, whole) == NULL)
        return FAIL(STATUS_IO, "%s: %s", folder->path, strerror(errno));
    if (settings->redis.address[0] != 0 && !is_of_other_run(settings, whole))
        return file_path(out, "%s", settings->redis.address);
    TRY(file_path(path, "%s/redis.sock", whole)); /* a relative one would read as host:port */
    if (strlen(path) >= sizeof address.sun_path)
        return FAIL(STATUS_LIMIT,
                    "%s is too long for a unix socket (at most %zu bytes): choose a shorter "
                    "run.root, or set redis.address",
                    path, sizeof address.sun_path - 1);
    memcpy(out, path, sizeof path);
    return STATUS_OK;
}

/* Off loopback anybody could read and empty the view. */
static enum status check_open_address(const struct settings *settings, const char *address)
{
    bool near = address[0] == '/' || strncmp(address, "unix:", 5) == 0 ||
                strncmp(address, "127.", 4) == 0 || strncmp(address, "localhost:", 10) == 0 ||
                strncmp(address, "[::1]:", 6) == 0;
    if (near || settings->redis.password[0] != 0)
        return STATUS_OK;
    return FAIL(STATUS_INVALID,
                "redis.address %s is open to other machines: set a password in "
                "WEIR_REDIS_PASSWORD, or use loopback or a unix socket",
                address);
}

/* Quotes and backslashes would end the value in redis.conf; nothing we write there needs them. */
static enum status quoted(struct buffer *conf, const char *name, const char *value)
{
    if (strpbrk(value, "\"\\\n") != NULL)
        return FAIL(STATUS_INVALID, "%s for redis-server holds a quote, backslash or line end",
                    name);
    return buffer_printf(conf, "%s \"%s\"\n", name, value);
}

static enum status write_address(struct buffer *conf, const char *address)
{
    struct redis_address parsed;
    TRY(redis_address_parse(address, &parsed));
    if (parsed.port != 0)
        return buffer_printf(conf, "bind %s\nport %d\n", parsed.host, parsed.port);
    TRY(buffer_text(conf, "port 0\nunixsocketperm 700\n"));
    return quoted(conf, "unixsocket", parsed.host);
}

/* With a name of its own that user may do everything, and the default user nothing. */
static enum status write_user(struct buffer *conf, const struct redis_settings *redis)
{
    char rule[512];
    if (redis->user[0] == 0)
        return redis->password[0] != 0 ? quoted(conf, "requirepass", redis->password) : STATUS_OK;
    if (redis->password[0] == 0)
        return FAIL(STATUS_INVALID,
                    "redis.user is %s, but there is no password: set "
                    "WEIR_REDIS_PASSWORD, or leave redis.user empty",
                    redis->user);
    bool fits = (size_t)snprintf(rule, sizeof rule, ">%s", redis->password) < sizeof rule;
    if (!fits || strpbrk(redis->user, " \"\\\n") != NULL || strpbrk(rule, "\"\\\n") != NULL)
        return FAIL(STATUS_INVALID, "redis.user or its password is too long, or holds a quote, "
                                    "backslash or line end");
    TRY(buffer_text(conf, "user default off\n"));
    return buffer_printf(conf, "user %s on \"%s\" ~* &* +@all\n", redis->user, rule);
}

/* Its memory has a limit, at which the view shortens its streams by itself (docs/redis.md). */
static enum status write_conf(const struct settings *settings, const struct run_folder *folder,
                              const char *address, const char *path)
{
    struct buffer conf;
    buffer_init(&conf, 0);
    enum status status;
    int fd = -1;
    TRY_GOTO(out, buffer_text(&conf, "# made by weir run; a view only, nothing is kept\n"
                                     "save \"\"\nappendonly no\ndaemonize no\n"));
    /* a dump.rdb where we happen to stand must not be read */
    TRY_GOTO(out, buffer_text(&conf, "dbfilename redis.rdb\n"));
    TRY_GOTO(out, quoted(&conf, "dir", folder->path));
    TRY_GOTO(out, buffer_printf(&conf, "maxmemory %dmb\nmaxmemory-policy noeviction\n",
                                REDIS_MAXMEMORY_MB));
    TRY_GOTO(out, write_address(&conf, address));
    TRY_GOTO(out, write_user(&conf, &settings->redis));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        status = FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    else
        status = file_write_all(fd, conf.bytes, conf.size, path);
out:
    if (fd >= 0)
        close(fd);
    buffer_free(&conf);
    return status;
}

/* The settings of whoever connects to `address`. */
static struct redis_settings client(const struct settings *settings, const char *address)
{
    struct redis_settings redis = settings->redis;
    redis.address = address;
    return redis;
}

static enum status wait_ready(const struct settings *settings, const char *address,
                              struct process *process)
{
    struct redis_settings redis = client(settings, address);
    struct wait wait = wait_begin("start of redis-server", address, READY_MS);
    bool ready = false, told = false;
    int wait_status = 0;
    while (!ready && !told && wait_left_ms(&wait) > 0) {
        if (process_reap(process, &wait_status))
            break;
        ready = redis_probe(&redis) == STATUS_OK;
        if (!ready)
            clock_sleep_ms(PROBE_PAUSE_MS);
        told = signals_waiting(); /* the run shall end: whoever called looks for it */
    }
    bool dead = process->pid == 0;
    enum status status = wait_end(&wait, ready || dead || told);
    if (told && !ready && !dead)
        return FAIL(STATUS_CANCELLED, "start of redis-server: told to end");
    if (!dead)
        return status;
    char words[400];
    process_last_words(process, words, sizeof words);
    return FAIL(STATUS_INVALID, "redis-server for %s ended at once: %s (all in %s)", address,
                words[0] != 0 ? words : "it said nothing", process->log);
}

enum status redis_server_start(const struct settings *settings, const struct run_folder *folder,
                               const char *address, struct arena *arena, struct process *process)
{
    struct redis_settings redis = client(settings, address);
    TRY(check_open_address(settings, address));
    enum status probed = redis_probe(&redis);
    if (probed == STATUS_OK)
        return FAIL(STATUS_INVALID,
                    "a Redis answers at %s already, this run would start its own there: set "
                    "redis.mode=connect to use it, or another redis.address",
                    address);
    if (probed != STATUS_NOT_FOUND)
        return probed;
    char program[FILE_PATH_MAX], conf[FILE_PATH_MAX];
    TRY(redis_server_find(program));
    TRY(file_path(conf, "%s/redis.conf", folder->path));
    TRY(write_conf(settings, folder, address, conf));
    *process = (struct process){.name = "redis", .duty = DUTY_VIEW};
    TRY(file_path(process->log, "%s/redis.log", folder->logs));
    process->arguments[0] = arena_text(arena, program);
    process->arguments[1] = arena_text(arena, conf);
    if (process->arguments[0] == NULL || process->arguments[1] == NULL)
        return FAIL(STATUS_NO_MEMORY, "arguments of redis-server");
    TRY(process_start(process, clock_now_ns()));
    enum status status = wait_ready(settings, address, process);
    if (status != STATUS_OK && process->pid > 0)
        process_signal(process, SIGKILL);
    return status;
}

enum status redis_server_probe(const struct settings *settings, const char *address)
{
    struct redis_settings redis = client(settings, address);
    enum status status = redis_probe(&redis);
    if (settings->redis.sentinels[0] != 0)
        return status;
    if (status == STATUS_NOT_FOUND)
        return FAIL(STATUS_NOT_FOUND,
                    "redis.mode is connect, but nothing answers at redis.address %s: start it, or "
                    "set redis.mode to start or off",
                    address);
    return status;
}
