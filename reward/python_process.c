/* reward/python_process.c - see the header. */
#include "reward/python_process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"

enum { LOG_LINE_MAX = 400, KILL_WAIT_MS = 5000, START_WAIT_MS = 10000 };

struct python_keeper {
    char *python, *script;
    bool network;
    int wake; /* eventfd */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* guards what is below; only LOCK_WAIT is taken in it */
    pthread_cond_t answered;
    struct python_process *wanted; /* one start at a time */
    bool done, closing;
    int error;                      /* errno of the start */
    int logs[PYTHON_PROCESSES_MAX]; /* [log_count] owned */
    uint32_t log_count;
};

/* ---- in the child: nothing but system calls ---- */

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, text, strlen(text));
        (void)written;
        close(fd);
    }
}

/* maps: "UID UID 1\n", "GID GID 1\n", prepared before the fork. */
static void leave_network(const char *uid_map, const char *gid_map)
{
    if (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return;
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", uid_map);
    write_file("/proc/self/gid_map", gid_map);
}

struct child_plan {
    int socket, log, nothing;
    char uid_map[64], gid_map[64];
    char *argv[6];
    pid_t parent;
};

__attribute__((noreturn)) static void run_child(const struct python_keeper *keeper,
                                                const struct child_plan *plan)
{
    struct rlimit no_core = {0, 0};
    sigset_t none;
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != plan->parent)
        _exit(126);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(plan->nothing, 0);
    dup2(plan->log, 1);
    dup2(plan->log, 2);
    if (plan->socket == 3)
        fcntl(3, F_SETFD, 0);
    else
        dup2(plan->socket, 3);
    syscall(SYS_close_range, 4U, ~0U, 0U);
    if (!keeper->network)
        leave_network(plan->uid_map, plan->gid_map);
    execvp(plan->argv[0], plan->argv);
    static const char sorry[] = "the Python interpreter cannot be started: see reward.python\n";
    ssize_t written = write(2, sorry, sizeof sorry - 1);
    (void)written;
    _exit(127);
}

/* ---- the keeper's thread ---- */

static int start_child(struct python_keeper *keeper, struct python_process *process)
{
    int sockets[2] = {-1, -1}, pipes[2] = {-1, -1};
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct child_plan plan = {
        .argv = {keeper->python, (char[]){"-I"}, (char[]){"-u"}, keeper->script, NULL},
        .parent = getpid()};
    int error = 0;
    if (nothing < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0 ||
        pipe2(pipes, O_CLOEXEC) != 0)
        error = errno;
    plan.socket = sockets[1];
    plan.log = pipes[1];
    plan.nothing = nothing;
    snprintf(plan.uid_map, sizeof plan.uid_map, "%u %u 1\n", getuid(), getuid());
    snprintf(plan.gid_map, sizeof plan.gid_map, "%u %u 1\n", getgid(), getgid());
    pid_t pid = error == 0 ? fork() : -1;
    if (pid == 0)
        run_child(keeper, &plan);
    if (pid < 0 && error == 0)
        error = errno;
    for (int i = 0; i < 2; i++) { /* the child's ends; on failure ours too */
        int ends[2] = {sockets[i], pipes[i]};
        if (ends[0] >= 0 && (i == 1 || error != 0))
            close(ends[0]);
        if (ends[1] >= 0 && (i == 1 || error != 0))
            close(ends[1]);
    }
    if (nothing >= 0)
        close(nothing);
    if (error != 0)
        return error;
    fcntl(sockets[0], F_SETFL, O_NONBLOCK);
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    *process = (struct python_process){.pid = pid, .fd = sockets[0], .log = pipes[0]};
    return 0;
}

static void serve_start(struct python_keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    if (keeper->wanted != NULL && !keeper->done) {
        bool room = keeper->log_count < PYTHON_PROCESSES_MAX;
        keeper->error = room ? start_child(keeper, keeper->wanted) : EAGAIN;
        if (keeper->error == 0)
            keeper->logs[keeper->log_count++] = keeper->wanted->log;
        keeper->done = true;
        pthread_cond_broadcast(&keeper->answered);
    }
    pthread_mutex_unlock(&keeper->mutex);
}

/* What the user's code prints, line by line; LOG_INFO holds back what is too much. */
static void log_lines(char *text)
{
    for (char *line = text, *rest = NULL; line != NULL; line = rest) {
        rest = strchr(line, '\n');
        if (rest != NULL)
            *rest++ = '\0';
        for (char *at = line; *at != '\0'; at++)
            if ((unsigned char)*at < ' ')
                *at = ' ';
        if (*line != '\0')
            LOG_INFO("python", "said", "text=\"%.*s\"", LOG_LINE_MAX, line);
    }
}

/* False: it is closed. */
static bool drain_log(int fd)
{
    char text[4097];
    ssize_t size = read(fd, text, sizeof text - 1);
    if (size <= 0)
        return size < 0 && (errno == EAGAIN || errno == EINTR);
    text[size] = '\0';
    log_lines(text);
    return true;
}

static uint32_t list_fds(struct python_keeper *keeper, struct pollfd fds[])
{
    uint32_t count = 0;
    fds[count++] = (struct pollfd){.fd = keeper->wake, .events = POLLIN};
    pthread_mutex_lock(&keeper->mutex);
    for (uint32_t i = 0; i < keeper->log_count; i++)
        fds[count++] = (struct pollfd){.fd = keeper->logs[i], .events = POLLIN};
    pthread_mutex_unlock(&keeper->mutex);
    return count;
}

static void forget_log(struct python_keeper *keeper, int fd)
{
    pthread_mutex_lock(&keeper->mutex);
    for (uint32_t i = 0; i < keeper->log_count; i++)
        if (keeper->logs[i] == fd) {
            keeper->logs[i] = keeper->logs[--keeper->log_count];
            close(fd);
            break;
        }
    pthread_mutex_unlock(&keeper->mutex);
}

static bool closing(struct python_keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    bool ends = keeper->closing;
    pthread_mutex_unlock(&keeper->mutex);
    return ends;
}

static void *keeper_thread(void *self)
{
    struct python_keeper *keeper = self;
    static _Thread_local struct pollfd fds[PYTHON_PROCESSES_MAX + 1];
    while (!closing(keeper)) {
        uint32_t count = list_fds(keeper, fds);
        enum status status = wait_poll("python_keeper", "python", WAIT_FOREVER, fds, count);
        if (status != STATUS_OK)
            continue;
        uint64_t many = 0;
        if ((fds[0].revents & POLLIN) != 0 && read(keeper->wake, &many, sizeof many) > 0)
            serve_start(keeper);
        for (uint32_t i = 1; i < count; i++)
            if (fds[i].revents != 0 && !drain_log(fds[i].fd))
                forget_log(keeper, fds[i].fd);
    }
    return NULL;
}

static void wake(struct python_keeper *keeper)
{
    uint64_t one = 1;
    ssize_t written = write(keeper->wake, &one, sizeof one);
    (void)written;
}

/* ---- its owner's side ---- */

enum status python_keeper_open(struct python_keeper **out, const struct python_command *command)
{
    *out = NULL;
    struct python_keeper *keeper = memory_alloc(sizeof *keeper);
    if (keeper == NULL)
        return FAIL(STATUS_NO_MEMORY, "keeper of Python processes");
    enum status status = wait_condition_init(&keeper->answered);
    if (status != STATUS_OK) {
        memory_free(keeper);
        return status;
    }
    pthread_mutex_init(&keeper->mutex, NULL);
    keeper->python = memory_text(command->python);
    keeper->script = memory_text(command->script);
    keeper->network = command->network;
    keeper->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (keeper->python == NULL || keeper->script == NULL)
        status = FAIL(STATUS_NO_MEMORY, "keeper of Python processes");
    else if (keeper->wake < 0)
        status = FAIL(STATUS_IO, "eventfd: %s", strerror(errno));
    else if (pthread_create(&keeper->thread, NULL, keeper_thread, keeper) != 0)
        status = FAIL(STATUS_NO_MEMORY, "thread for Python processes");
    else
        keeper->started = true;
    if (status != STATUS_OK)
        python_keeper_close(&keeper);
    *out = keeper;
    return status;
}

void python_keeper_close(struct python_keeper **pointer)
{
    struct python_keeper *keeper = *pointer;
    *pointer = NULL;
    if (keeper == NULL)
        return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->closing = true;
    pthread_mutex_unlock(&keeper->mutex);
    if (keeper->started) {
        wake(keeper);
        pthread_join(keeper->thread, NULL);
    }
    for (uint32_t i = 0; i < keeper->log_count; i++) {
        while (drain_log(keeper->logs[i]) && errno != EAGAIN) {
        }
        close(keeper->logs[i]);
    }
    if (keeper->wake >= 0)
        close(keeper->wake);
    memory_free(keeper->python);
    memory_free(keeper->script);
    pthread_cond_destroy(&keeper->answered);
    pthread_mutex_destroy(&keeper->mutex);
    memory_free(keeper);
}

enum status python_process_start(struct python_keeper *keeper, struct python_process *process)
{
    enum status status = STATUS_OK;
    int64_t deadline_ns = clock_now_ns() + (int64_t)START_WAIT_MS * CLOCK_NS_PER_MS;
    *process = (struct python_process){.fd = -1, .log = -1};
    pthread_mutex_lock(&keeper->mutex);
    while (keeper->wanted != NULL && status == STATUS_OK)
        status = wait_condition("python_start", keeper->python, deadline_ns, &keeper->answered,
                                &keeper->mutex);
    if (status == STATUS_OK) {
        keeper->wanted = process;
        keeper->done = false;
        wake(keeper);
        while (!keeper->done && status == STATUS_OK)
            status = wait_condition("python_start", keeper->python, deadline_ns, &keeper->answered,
                                    &keeper->mutex);
        int error = keeper->error;
        if (keeper->done && error != 0)
            status = FAIL(STATUS_IO, "cannot start %s: %s", keeper->python, strerror(error));
        keeper->wanted = NULL;
        pthread_cond_broadcast(&keeper->answered);
    }
    pthread_mutex_unlock(&keeper->mutex);
    return status;
}

void python_process_kill(struct python_keeper *keeper, struct python_process *process)
{
    (void)keeper; /* sees the end of its log */
    char kept[STATUS_TEXT_MAX];
    if (process->pid <= 0)
        return;
    status_keep(kept);
    kill(-process->pid, SIGKILL);
    kill(process->pid, SIGKILL); /* when it has no group yet */
    int exit_status = 0;
    if (wait_child("python_end", "python", KILL_WAIT_MS, process->pid, &exit_status) != STATUS_OK)
        LOG_WARN("python", "a killed process does not end", "pid=%d", (int)process->pid);
    close(process->fd);
    *process = (struct python_process){.fd = -1, .log = -1};
    status_restore(kept);
}

uint64_t python_process_memory(const struct python_process *process)
{
    char path[64], text[128] = "";
    snprintf(path, sizeof path, "/proc/%d/statm", (int)process->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    unsigned long long total = 0, resident = 0;
    if (size <= 0 || sscanf(text, "%llu %llu", &total, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- frames ---- */

static enum status wait_socket(const struct python_process *process, short events,
                               int64_t deadline_ns)
{
    int64_t left_ms = (deadline_ns - clock_now_ns()) / CLOCK_NS_PER_MS;
    struct pollfd fd = {.fd = process->fd, .events = events};
    return wait_poll("python_reward", "python", left_ms > 0 ? left_ms : 0, &fd, 1);
}

static enum status gone(void)
{
    return FAIL(STATUS_NETWORK, "the Python process is gone");
}

static enum status send_all(struct python_process *process, const uint8_t *bytes, size_t size,
                            int64_t deadline_ns)
{
    while (size > 0) {
        ssize_t sent = send(process->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return gone();
        if (sent < 0) {
            TRY(wait_socket(process, POLLOUT, deadline_ns));
            continue;
        }
        bytes += sent;
        size -= (size_t)sent;
    }
    return STATUS_OK;
}

enum status python_process_send(struct python_process *process, const void *json, size_t size,
                                int64_t deadline_ns)
{
    if (size > PYTHON_FRAME_MAX)
        return FAIL(STATUS_LIMIT, "a request of %zu bytes for Python, limit %d", size,
                    PYTHON_FRAME_MAX);
    uint8_t head[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                       (uint8_t)(size >> 24)};
    TRY(send_all(process, head, sizeof head, deadline_ns));
    return send_all(process, json, size, deadline_ns);
}

static enum status receive_all(struct python_process *process, uint8_t *bytes, size_t size,
                               int64_t deadline_ns)
{
    while (size > 0) {
        ssize_t got = recv(process->fd, bytes, size, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return gone();
        if (got < 0) {
            TRY(wait_socket(process, POLLIN, deadline_ns));
            continue;
        }
        bytes += got;
        size -= (size_t)got;
    }
    return STATUS_OK;
}

enum status python_process_wait(struct python_process *process, int64_t deadline_ns)
{
    return wait_socket(process, POLLIN, deadline_ns);
}

enum status python_process_receive(struct python_process *process, int64_t deadline_ns,
                                   json_t **message)
{
    uint8_t head[4];
    *message = NULL;
    TRY(receive_all(process, head, sizeof head, deadline_ns));
    size_t size =
        (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (size > PYTHON_FRAME_MAX)
        return FAIL(STATUS_CORRUPT, "the Python process says a frame of %zu bytes", size);
    uint8_t *bytes = memory_alloc(size + 1);
    if (bytes == NULL)
        return FAIL(STATUS_NO_MEMORY, "an answer of %zu bytes", size);
    enum status status = receive_all(process, bytes, size, deadline_ns);
    json_error_t error;
    if (status == STATUS_OK)
        *message = json_loadb((const char *)bytes, size, JSON_ALLOW_NUL, &error);
    if (status == STATUS_OK && !json_is_object(*message)) {
        json_decref(*message);
        *message = NULL;
        status = FAIL(STATUS_CORRUPT, "the Python process answers no JSON object");
    }
    memory_free(bytes);
    return status;
}
