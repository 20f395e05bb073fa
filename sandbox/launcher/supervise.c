#include "sandbox/launcher/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "sandbox/launcher/group.h"

enum {
    CHECK_NS_LEAST = 1000000,
    CHECK_NS_MOST = 50000000,
    PIPE_CHUNK = 65536,
    MEMORY_LEAST = 1 << 20
};
enum poll_row {
    POLL_INIT,
    POLL_CONTROL,
    POLL_STATUS,
    POLL_OUTPUT,
    POLL_ERROR,
    POLL_ZYGOTE,
    POLL_ROWS
};

struct run {
    const struct run_head *head;
    struct run_items items;
    struct group group;
    struct answer *answer;
    struct init_job job;
    int pidfd, status, output, error, work; /* our ends */
    pid_t pid;                              /* strict: our child */
    int body;                               /* of the request, borrowed */
    int64_t begin_ns, check_ns;
    enum sandbox_limit killed; /* why we killed it */
    bool ended, failed;        /* init said so */
    int wait_status, exec_error;
    int64_t sampled_cpu_ns, sampled_bytes, placed_bytes;
};

/* ---- blocks ---- */

static bool block_room(struct block *block, size_t limit)
{
    if (block->bytes != NULL)
        return true;
    block->reserved = limit;
    block->bytes = block_map(limit);
    return block->bytes != NULL;
}

void answer_free(struct answer *answer)
{
    block_unmap(answer->output.bytes, answer->output.reserved);
    block_unmap(answer->error.bytes, answer->error.reserved);
    for (uint64_t i = 0; answer->files != NULL && i < answer->tail.result_count; i++)
        block_unmap(answer->files[i].block.bytes, answer->files[i].block.reserved);
    if (answer->files != NULL)
        block_unmap(answer->files, answer->tail.result_count * sizeof *answer->files);
    memset(answer, 0, sizeof *answer);
}

static void say(struct run *run, enum sandbox_outcome outcome, const char *step, int error)
{
    struct run_tail *tail = &run->answer->tail;
    if (tail->text[0] != 0)
        return;
    tail->outcome = outcome;
    if (error != 0)
        snprintf(tail->text, sizeof tail->text, "%s: %s", step, strerror(error));
    else
        snprintf(tail->text, sizeof tail->text, "%s", step);
}

/* ---- before the start ---- */

/* Bytes of the files that init puts there: they are not init's cgroup's to count, so they come off the limit. */
static int64_t placed_bytes(const struct run *run)
{
    const uint8_t *at = run->items.files;
    uint64_t sum = run->head->mode == SANDBOX_ZYGOTE ? run->items.python_size : 0, size;
    for (uint32_t i = 0; i < run->head->file_count; i++) {
        run_item_next(&at, &size); /* its path */
        run_item_next(&at, &size);
        sum += size;
    }
    return (int64_t)sum;
}

static int run_open(struct run *run, const struct run_descriptors *given, const char **step)
{
    struct init_job *job = &run->job;
    int pair[2];
    *step = "stdin";
    job->fd_stdin = given->input >= 0 ? dup(given->input) : stdin_of(&run->items);
    if (job->fd_stdin < 0)
        return -1;
    *step = "pipes for its output";
    if (given->output >= 0)
        job->fd_stdout = dup(given->output);
    else if (output_pipe(&run->output, &job->fd_stdout) != 0)
        return -1;
    if (job->fd_stdout < 0 || output_pipe(&run->error, &job->fd_stderr) != 0)
        return -1;
    *step = "a socket for its status";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    run->status = pair[0];
    job->fd_status = pair[1];
    job->fd_channel = given->channel;
    if (run->items.base != NULL)
        job->fd_base = folder_open(run->items.base);
    const uint8_t *at = run->items.shown;
    for (uint32_t i = 0; i < run->head->shown_count && i < SHOWN_MAX; i++) {
        uint64_t size;
        job->fd_shown[i] = folder_open(run_item_next(&at, &size));
    }
    struct sandbox_limits limits = run->head->limits;
    run->placed_bytes = placed_bytes(run);
    limits.memory_bytes -= run->placed_bytes;
    if (limits.memory_bytes < MEMORY_LEAST)
        limits.memory_bytes = MEMORY_LEAST;
    if (group_begin(&run->group, &limits, step) != 0)
        return -1;
    for (int i = 0; i < HIERARCHY_COUNT; i++)
        if (run->group.tasks[i] >= 0)
            job->fd_tasks[job->group_count++] = run->group.tasks[i];
    return 0;
}

static int strict_clone(struct run *run, const char **step)
{
    int go[2];
    *step = "a pipe";
    if (pipe2(go, O_CLOEXEC) != 0)
        return -1;
    *step = "clone3 with new user, mount, pid, net, ipc and uts namespaces";
    run->job.fd_go = go[0];
    run->pid = clone_process(RUN_NAMESPACES, &run->pidfd, -1);
    if (run->pid == 0) {
        close(go[1]); /* or the end of the launcher would not be seen */
        init_main(&run->job);
    }
    close(go[0]);
    int error = errno;
    if (run->pid > 0) {
        *step = "the map of its users";
        bool fine = map_user(run->pid, launcher.outside, launcher.outside_group) == 0;
        error = errno;
        if (fine && write(go[1], "g", 1) == 1) {
            close(go[1]);
            return 0;
        }
    }
    close(go[1]);
    errno = error;
    return -1;
}

/* ---- while it runs ---- */

static void read_status(struct run *run);

static void stop(struct run *run, enum sandbox_limit why)
{
    if (why != SANDBOX_LIMIT_NONE)
        read_status(run); /* it may have ended by itself just before */
    if (run->killed == SANDBOX_LIMIT_NONE && !run->ended)
        run->killed = why;
    syscall(SYS_pidfd_send_signal, run->pidfd, SIGKILL, NULL, 0);
}

/* Reads what is there. true: the end, or more than the limit. */
static bool collect(struct run *run, int fd, struct block *block)
{
    size_t limit = (size_t)run->head->limits.output_bytes;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN) == 0)
        return true; /* it ended without a word: no memory for it */
    if (!block_room(block, limit + 1))
        return true;
    for (;;) {
        size_t room = limit + 1 - block->size;
        ssize_t got =
            room == 0 ? 0
                      : read(fd, block->bytes + block->size, room < PIPE_CHUNK ? room : PIPE_CHUNK);
        if (got > 0) {
            block->size += (size_t)got;
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        return got == 0 || errno != EAGAIN;
    }
}

static void close_theirs(struct run *run)
{
    descriptor_close(&run->job.fd_stdin);
    descriptor_close(&run->job.fd_stdout);
    descriptor_close(&run->job.fd_stderr);
    descriptor_close(&run->job.fd_status);
    descriptor_close(&run->job.fd_base);
    for (int i = 0; i < SHOWN_MAX; i++)
        descriptor_close(&run->job.fd_shown[i]);
}

static void zygote_failed(struct run *run)
{
    run->failed = true;
    say(run, SANDBOX_INFRA, "the zygote is gone", 0);
    stop(run, SANDBOX_LIMIT_NONE);
}

/* Init has its tree: now the program, out of the zygote. */
static void init_ready(struct run *run, int *spaces, int count)
{
    if (count != 2 || zygote_fork(&run->job, run->body, spaces) != 0)
        zygote_failed(run);
    for (int i = 0; i < count; i++)
        close(spaces[i]);
    close_theirs(run);
}

static void init_said(struct run *run, const struct init_message *message, int *fds, int count)
{
    switch (message->word) {
    case INIT_BORN: /* said before, to keeper_clone */
        break;
    case INIT_WORK:
        run->work = count == 1 ? fds[0] : -1;
        break;
    case INIT_READY:
        init_ready(run, fds, count);
        break;
    case INIT_FAILED:
        run->failed = true;
        say(run, SANDBOX_INFRA, message->text, 0);
        stop(run, SANDBOX_LIMIT_NONE);
        break;
    case INIT_SAMPLE:
        run->sampled_cpu_ns = message->cpu_ns;
        if (message->bytes > run->sampled_bytes)
            run->sampled_bytes = message->bytes;
        break;
    case INIT_ENDED:
        run->ended = true;
        run->wait_status = message->status;
        run->exec_error = message->exec_error;
        if (!run->job.waits && message->cpu_ns > run->sampled_cpu_ns)
            run->sampled_cpu_ns = message->cpu_ns;
        if (run->job.waits) /* its init does not know; it ends now, and all with it */
            stop(run, SANDBOX_LIMIT_NONE);
        break;
    }
}

static void read_status(struct run *run)
{
    struct init_message message;
    int fds[MESSAGE_FDS_MAX], count;
    while (recv(run->status, &message, 1, MSG_DONTWAIT | MSG_PEEK) > 0) {
        if (receive_message(run->status, &message, sizeof message, fds, &count) != sizeof message)
            return;
        init_said(run, &message, fds, count);
    }
}

static int64_t cpu_of(struct run *run)
{
    int64_t counted = group_cpu_ns(&run->group);
    return counted >= 0 ? counted : run->sampled_cpu_ns;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* CPU time and memory, as often as the limit could be reached. */
static void check(struct run *run, int64_t now)
{
    static long processors;
    if (processors == 0)
        processors = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t left = run->head->limits.cpu_ms * CLOCK_NS_PER_MS - cpu_of(run);
    if (left < 0)
        stop(run, SANDBOX_LIMIT_CPU);
    if (group_out_of_memory(&run->group))
        stop(run, SANDBOX_LIMIT_MEMORY);
    if (run->job.sampled && run->sampled_bytes > run->head->limits.memory_bytes)
        stop(run, SANDBOX_LIMIT_MEMORY);
    int64_t pause = left / (processors > 0 ? processors : 1);
    pause = pause < CHECK_NS_LEAST ? CHECK_NS_LEAST : least(pause, CHECK_NS_MOST);
    run->check_ns = now + pause;
}

static void hear_caller(struct run *run)
{
    char byte;
    ssize_t got = recv(launcher.control, &byte, 1, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        launcher.control_gone = true;
    if (got == 1 || launcher.control_gone)
        stop(run, SANDBOX_LIMIT_CANCELLED);
}

/* Until init is dead, and so its whole pid namespace. */
static void watch(struct run *run)
{
    struct pollfd polls[POLL_ROWS] = {
        [POLL_INIT] = {run->pidfd, POLLIN, 0},
        [POLL_CONTROL] = {launcher.control, POLLIN, 0},
        /* what else an init says can wait for its end, which comes at once */
        [POLL_STATUS] = {run->job.waits || run->job.sampled ? run->status : -1, POLLIN, 0},
        [POLL_OUTPUT] = {run->output, POLLIN, 0},
        [POLL_ERROR] = {run->error, POLLIN, 0},
        [POLL_ZYGOTE] = {run->job.waits ? zygote_socket() : -1, 0, 0},
    };
    int64_t deadline = run->begin_ns + run->head->limits.wall_ms * CLOCK_NS_PER_MS;
    run->check_ns = run->begin_ns + CHECK_NS_LEAST * 10;
    for (;;) {
        int64_t now = clock_now_ns();
        if (now >= deadline)
            stop(run, SANDBOX_LIMIT_WALL);
        if (now >= run->check_ns)
            check(run, now);
        int64_t until =
            run->killed != SANDBOX_LIMIT_NONE ? run->check_ns : least(deadline, run->check_ns);
        int64_t pause = until > now ? until - now : 0;
        struct timespec wait = {.tv_sec = pause / CLOCK_NS_PER_S,
                                .tv_nsec = pause % CLOCK_NS_PER_S};
        if (ppoll(polls, POLL_ROWS, &wait, NULL) <= 0)
            continue;
        if (polls[POLL_CONTROL].revents != 0) {
            hear_caller(run);
            polls[POLL_CONTROL].fd = -1;
        }
        if (polls[POLL_OUTPUT].revents != 0 && collect(run, run->output, &run->answer->output))
            polls[POLL_OUTPUT].fd = -1;
        if (polls[POLL_ERROR].revents != 0 && collect(run, run->error, &run->answer->error))
            polls[POLL_ERROR].fd = -1;
        size_t limit = (size_t)run->head->limits.output_bytes;
        if (run->answer->output.size > limit || run->answer->error.size > limit)
            stop(run, SANDBOX_LIMIT_OUTPUT);
        if (polls[POLL_STATUS].revents != 0) {
            read_status(run);
            if ((polls[POLL_STATUS].revents & POLLHUP) != 0)
                polls[POLL_STATUS].fd = -1;
        }
        if (polls[POLL_ZYGOTE].revents != 0) {
            zygote_failed(run);
            polls[POLL_ZYGOTE].fd = -1;
        }
        if (polls[POLL_INIT].revents != 0)
            return;
    }
}

/* ---- after it ---- */

/* Only a regular file, reached without any link, that nobody writes any more. */
static void find_file(const struct run *run, const char *path, struct found_file *file)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                      RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    struct stat info;
    int fd = (int)syscall(SYS_openat2, run->work, path, &how, sizeof how);
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_size <= run->head->limits.file_bytes &&
        block_room(&file->block, (size_t)info.st_size + 1)) {
        file->found = true;
        while (file->block.size < (size_t)info.st_size) {
            ssize_t got = read(fd, file->block.bytes + file->block.size,
                               (size_t)info.st_size - file->block.size);
            if (got <= 0)
                break;
            file->block.size += (size_t)got;
        }
    }
    descriptor_close(&fd);
}

static void find_files(struct run *run)
{
    struct answer *answer = run->answer;
    uint64_t count = run->head->result_count, size;
    if (count == 0)
        return;
    answer->files = block_map(count * sizeof *answer->files);
    if (answer->files == NULL) {
        say(run, SANDBOX_INFRA, "memory for its results", ENOMEM);
        return;
    }
    answer->tail.result_count = count;
    const uint8_t *at = run->items.results;
    for (uint64_t i = 0; i < count && run->work >= 0; i++)
        find_file(run, run_item_next(&at, &size), &answer->files[i]);
}

static void limit_said(struct run *run, enum sandbox_limit limit)
{
    const struct sandbox_limits *limits = &run->head->limits;
    struct run_tail *tail = &run->answer->tail;
    tail->outcome = SANDBOX_LIMIT;
    tail->limit = limit;
    const char *after = run->killed != SANDBOX_LIMIT_NONE ? "killed after" : "used";
    switch (limit) {
    case SANDBOX_LIMIT_WALL:
        snprintf(tail->text, sizeof tail->text, "killed after %" PRId64 " ms of wall time",
                 limits->wall_ms);
        break;
    case SANDBOX_LIMIT_CPU:
        snprintf(tail->text, sizeof tail->text,
                 "%s %" PRId64 " ms of CPU time, limit %" PRId64 " ms", after,
                 tail->cpu_ns / CLOCK_NS_PER_MS, limits->cpu_ms);
        break;
    case SANDBOX_LIMIT_MEMORY:
        snprintf(tail->text, sizeof tail->text, "out of its %" PRId64 " bytes of memory",
                 limits->memory_bytes);
        break;
    case SANDBOX_LIMIT_OUTPUT:
        snprintf(tail->text, sizeof tail->text, "more than %" PRId64 " bytes of %s",
                 limits->output_bytes,
                 run->answer->output.size > (size_t)limits->output_bytes ? "stdout" : "stderr");
        break;
    case SANDBOX_LIMIT_FILES:
        snprintf(tail->text, sizeof tail->text, "a file longer than %" PRId64 " bytes",
                 limits->file_bytes);
        break;
    case SANDBOX_LIMIT_CANCELLED:
        snprintf(tail->text, sizeof tail->text, "cancelled by the caller");
        break;
    case SANDBOX_LIMIT_NONE:
        break;
    }
}

/* A program that cannot be started is its own fault below /box and our machine's elsewhere. */
static void exec_failed(struct run *run)
{
    struct run_tail *tail = &run->answer->tail;
    const char *path = run->items.argv[0];
    bool theirs = path[0] != '/' || strncmp(path, WORK_FOLDER "/", sizeof WORK_FOLDER) == 0;
    char step[160];
    snprintf(step, sizeof step, "cannot execute %.120s", path);
    say(run, theirs ? SANDBOX_EXITED : SANDBOX_INFRA, step, run->exec_error);
    tail->exit_code = 127;
}

static void judge(struct run *run)
{
    struct run_tail *tail = &run->answer->tail;
    size_t limit = (size_t)run->head->limits.output_bytes;
    int signal = run->ended && WIFSIGNALED(run->wait_status) ? WTERMSIG(run->wait_status) : 0;
    if (run->failed)
        return;
    if (run->killed == SANDBOX_LIMIT_CANCELLED)
        limit_said(run, run->killed);
    else if (group_out_of_memory(&run->group))
        limit_said(run, SANDBOX_LIMIT_MEMORY);
    else if (run->killed != SANDBOX_LIMIT_NONE)
        limit_said(run, run->killed);
    else if (!run->ended)
        say(run, SANDBOX_INFRA, "its init died without a word", 0);
    else if (run->answer->output.size > limit || run->answer->error.size > limit)
        limit_said(run, SANDBOX_LIMIT_OUTPUT);
    else if (signal == SIGXCPU || tail->cpu_ns > run->head->limits.cpu_ms * CLOCK_NS_PER_MS)
        limit_said(run, SANDBOX_LIMIT_CPU);
    else if (signal == SIGXFSZ)
        limit_said(run, SANDBOX_LIMIT_FILES);
    else if (run->exec_error != 0)
        exec_failed(run);
    else if (signal != 0) {
        tail->outcome = SANDBOX_SIGNALED;
        tail->signal = signal;
        snprintf(tail->text, sizeof tail->text, "killed by SIG%s",
                 sigabbrev_np(signal) == NULL ? "?" : sigabbrev_np(signal));
    } else {
        tail->outcome = SANDBOX_EXITED;
        tail->exit_code = WEXITSTATUS(run->wait_status);
        snprintf(tail->text, sizeof tail->text, "exited with %d", tail->exit_code);
    }
}

static void finish(struct run *run)
{
    struct run_tail *tail = &run->answer->tail;
    if (run->pid > 0)
        waitpid(run->pid, NULL, 0);
    read_status(run);
    if (run->output >= 0)
        collect(run, run->output, &run->answer->output);
    if (run->error >= 0)
        collect(run, run->error, &run->answer->error);
    tail->wall_ns = clock_now_ns() - run->begin_ns;
    tail->cpu_ns = cpu_of(run);
    tail->memory_peak_bytes = group_memory_peak(&run->group);
    if (tail->memory_peak_bytes >= 0)
        tail->memory_peak_bytes += run->placed_bytes;
    if (tail->memory_peak_bytes < 0 && run->sampled_bytes > 0)
        tail->memory_peak_bytes = run->sampled_bytes;
    find_files(run);
    judge(run);
}

/* Folders of the host are taken from its tree, which a keeper does not see; and only root can map the users of an init
 * that another process cloned. */
static bool needs_host(const struct run_head *head)
{
    return head->mode == SANDBOX_STRICT &&
           (!launcher.root || head->has_base || head->shown_count > 0 || !keeper_spares());
}

static void stop_unstarted(struct run *run)
{
    struct pollfd end = {.fd = run->pidfd, .events = POLLIN};
    if (run->pidfd < 0)
        return;
    stop(run, SANDBOX_LIMIT_CANCELLED);
    while (poll(&end, 1, -1) <= 0)
        ;
    if (run->pid > 0)
        waitpid(run->pid, NULL, 0);
}

void supervise(const struct run_head *head, const uint8_t *body,
               const struct run_descriptors *given, struct answer *answer)
{
    const char *step = "the request";
    struct run run = {.head = head,
                      .answer = answer,
                      .pidfd = -1,
                      .status = -1,
                      .output = -1,
                      .error = -1,
                      .work = -1};
    struct init_job *job = &run.job;
    *job = (struct init_job){.head = *head,
                             .body = body,
                             .fd_stdin = -1,
                             .fd_stdout = -1,
                             .fd_stderr = -1,
                             .fd_status = -1,
                             .fd_channel = -1,
                             .fd_go = -1,
                             .fd_base = -1};
    memset(job->fd_shown, 0xff, sizeof job->fd_shown); /* -1 */
    memset(answer, 0, sizeof *answer);
    group_none(&run.group);
    if (!run_items_parse(&run.items, head, body)) {
        say(&run, SANDBOX_INFRA, "the request is cut short", 0);
        return;
    }
    job->items = run.items;
    job->sampled = (launcher.features & FEATURE_SAMPLED) != 0;
    run.body = given->body;
    bool started = false;
    if (run_open(&run, given, &step) == 0) {
        bool zygote = head->mode == SANDBOX_ZYGOTE;
        run.begin_ns = clock_now_ns();
        started =
            (needs_host(head) ? strict_clone(&run, &step)
                              : keeper_clone(job, given->body, run.status, &run.pidfd, &step)) == 0;
        if (zygote)
            run.begin_ns = clock_now_ns(); /* the first one waits for the interpreter's start */
    }
    int error = errno;
    if (!started || !job->waits)
        close_theirs(&run);
    if (started) {
        watch(&run);
        finish(&run);
    } else {
        say(&run, SANDBOX_INFRA, step, error);
        stop_unstarted(&run);
    }
    close_theirs(&run);
    if (job->waits && run.failed)
        zygote_lost(); /* a new one next time */
    int *ours[] = {&run.pidfd, &run.status, &run.output, &run.error, &run.work};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        descriptor_close(ours[i]);
    if (group_end(&run.group) != 0) {
        answer->tail.text[0] = 0;
        say(&run, SANDBOX_INFRA, "its cgroup does not become empty", 0);
    }
    run_items_free(&run.items);
    keepers_settle();
}
