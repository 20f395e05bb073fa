/* One run over the socket of a launcher: the request out, the verdict in. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/memory.h"
#include "sandbox/sandbox_internal.h"

enum { CANCEL_LOOK_MS = 5 };
#define TIME_MS_MAX INT64_C(1000000000)
#define BYTES_MAX   (INT64_C(1) << 32)
#define COUNT_MAX   (INT64_C(1) << 22)

static uint32_t count_of(const char *const *list)
{
    uint32_t count = 0;
    while (list != NULL && list[count] != NULL)
        count++;
    return count;
}

/* {size, bytes, NUL, zeros}; `mark` < 0: none, otherwise one byte before the others. */
static enum status item(struct buffer *body, const void *bytes, size_t size, int mark)
{
    static const uint8_t zeros[8];
    uint64_t whole = size + (mark >= 0);
    TRY(buffer_append(body, &whole, sizeof whole));
    if (mark >= 0)
        TRY(buffer_append(body, &(uint8_t){(uint8_t)mark}, 1));
    if (size > 0)
        TRY(buffer_append(body, bytes, size));
    return buffer_append(body, zeros, 8 - whole % 8);
}

static enum status text(struct buffer *body, const char *bytes)
{
    return item(body, bytes, bytes == NULL ? 0 : strlen(bytes), -1);
}

static enum status texts(struct buffer *body, const char *const *list)
{
    for (uint32_t i = 0; i < count_of(list); i++)
        TRY(text(body, list[i]));
    return STATUS_OK;
}

static enum status check(const struct sandbox_run *run)
{
    const struct sandbox_limits *limits = &run->limits;
    if (run->mode == SANDBOX_ZYGOTE ? run->python == NULL : count_of(run->argv) == 0)
        return FAIL(STATUS_INVALID, "a run without a program: set argv, or python in zygote mode");
    if (limits->wall_ms <= 0 || limits->cpu_ms <= 0 || limits->memory_bytes <= 0 ||
        limits->output_bytes < 0 || limits->disk_bytes <= 0 || limits->file_bytes < 0 ||
        limits->stack_bytes <= 0 || limits->inodes == 0 || limits->processes == 0 ||
        limits->open_files < 4)
        return FAIL(STATUS_INVALID, "a limit of the run is not above 0 (open_files: 4); start from "
                                    "sandbox_limits_default()");
    if (limits->wall_ms > TIME_MS_MAX || limits->cpu_ms > TIME_MS_MAX ||
        limits->output_bytes > BYTES_MAX || limits->file_bytes > BYTES_MAX ||
        limits->inodes > COUNT_MAX || limits->processes > COUNT_MAX)
        return FAIL(STATUS_INVALID,
                    "a limit of the run is above what can be kept: %" PRId64 " ms, %" PRId64
                    " bytes of output or of a file, %" PRId64 " inodes or processes",
                    TIME_MS_MAX, BYTES_MAX, COUNT_MAX);
    if (run->file_count > RUN_ITEMS_MAX / 2)
        return FAIL(STATUS_INVALID, "%zu files, at most %d", run->file_count, RUN_ITEMS_MAX / 2);
    return STATUS_OK;
}

/* Member by member: the gaps of the caller's structure hold whatever its stack held. */
static void limits_copy(struct sandbox_limits *to, const struct sandbox_limits *from)
{
    to->wall_ms = from->wall_ms;
    to->cpu_ms = from->cpu_ms;
    to->memory_bytes = from->memory_bytes;
    to->output_bytes = from->output_bytes;
    to->disk_bytes = from->disk_bytes;
    to->file_bytes = from->file_bytes;
    to->stack_bytes = from->stack_bytes;
    to->inodes = from->inodes;
    to->processes = from->processes;
    to->open_files = from->open_files;
}

static enum status request(const struct sandbox_run *run, struct run_head *head,
                           struct buffer *body)
{
    TRY(check(run));
    memset(head, 0, sizeof *head);
    head->mark = RUN_MARK;
    limits_copy(&head->limits, &run->limits);
    head->mode = run->mode;
    head->execute_work = run->execute_work;
    head->file_locks = run->file_locks;
    head->has_env = run->env != NULL;
    head->has_base = run->base != NULL;
    head->has_python = run->python != NULL;
    head->has_channel = run->channel >= 0;
    head->has_input_fd = run->input_fd >= 0;
    head->has_output_fd = run->output_fd >= 0;
    head->argv_count = count_of(run->argv);
    head->env_count = count_of(run->env);
    head->file_count = (uint32_t)run->file_count;
    head->result_count = count_of(run->results);
    head->shown_count = count_of(run->shown);
    TRY(texts(body, run->argv));
    TRY(texts(body, run->env));
    for (size_t i = 0; i < run->file_count; i++) {
        TRY(text(body, run->files[i].path));
        TRY(item(body, run->files[i].bytes, run->files[i].size, run->files[i].executable));
    }
    TRY(texts(body, run->results));
    TRY(texts(body, run->shown));
    TRY(text(body, run->base));
    TRY(text(body, run->python));
    TRY(item(body, run->input, run->input_fd >= 0 ? 0 : run->input_size, -1));
    head->body_size = body->size;
    return STATUS_OK;
}

static enum status gone(void)
{
    return FAIL(STATUS_AGAIN, "the sandbox's launcher died: %s", strerror(errno));
}

static enum status send_all(int fd, const uint8_t *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, bytes + done, size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return gone();
        done += sent > 0 ? (size_t)sent : 0;
    }
    return STATUS_OK;
}

/* Head and body at once, so that the launcher wakes up once. */
static enum status send_request(int fd, const struct run_head *head, const struct buffer *body,
                                const struct sandbox_run *run)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(RUN_DESCRIPTORS_MAX * sizeof(int))];
    } control = {0};
    const int given[] = {run->channel, run->input_fd, run->output_fd};
    int fds[RUN_DESCRIPTORS_MAX], count = 0;
    for (int i = 0; i < RUN_DESCRIPTORS_MAX; i++)
        if (given[i] >= 0)
            fds[count++] = given[i];
    struct iovec parts[] = {{.iov_base = (void *)(uintptr_t)head, .iov_len = sizeof *head},
                            {.iov_base = body->bytes, .iov_len = body->size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    size_t bytes = (size_t)count * sizeof(int);
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(bytes);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(&control.head), fds, bytes);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EBADF)
        return FAIL(STATUS_INVALID, "channel, input_fd or output_fd is not open");
    if (sent < (ssize_t)sizeof *head)
        return gone();
    size_t done = (size_t)sent - sizeof *head;
    return send_all(fd, body->bytes + done, body->size - done);
}

static enum status receive_all(int fd, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = recv(fd, (uint8_t *)bytes + done, size - done, MSG_WAITALL);
        if (got == 0)
            errno = ECONNRESET;
        if (got == 0 || (got < 0 && errno != EINTR))
            return gone();
        done += got > 0 ? (size_t)got : 0;
    }
    return STATUS_OK;
}

/* Until the launcher answers; meanwhile the caller's word is passed on. */
static enum status await(const struct slot *slot, const struct sandbox_run *run)
{
    bool said = false;
    struct pollfd polls = {.fd = slot->control, .events = POLLIN};
    while (run->cancelled != NULL) {
        int ready = poll(&polls, 1, said ? -1 : CANCEL_LOOK_MS);
        if (ready > 0)
            return STATUS_OK;
        if (!said && __atomic_load_n(run->cancelled, __ATOMIC_RELAXED)) {
            said = true;
            if (send(slot->control, &(char){RUN_CANCEL}, 1, MSG_NOSIGNAL) != 1)
                return gone();
        }
    }
    return STATUS_OK;
}

static enum status receive_bytes(int fd, uint8_t **out, size_t size)
{
    uint8_t *bytes = memory_alloc(size + 1);
    if (bytes == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of a program's output", size);
    enum status status = receive_all(fd, bytes, size);
    if (status == STATUS_OK)
        *out = bytes;
    else
        memory_free(bytes);
    return status;
}

static enum status receive(int fd, struct sandbox_result *result)
{
    struct run_tail tail;
    TRY(receive_all(fd, &tail, sizeof tail));
    TRY(receive_bytes(fd, &result->output, tail.output_size));
    TRY(receive_bytes(fd, &result->error, tail.error_size));
    if (tail.result_count > 0) {
        result->results = memory_array(tail.result_count, sizeof *result->results);
        if (result->results == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu results of a program", (size_t)tail.result_count);
    }
    for (uint64_t i = 0; i < tail.result_count; i++) {
        uint64_t head[2];
        TRY(receive_all(fd, head, sizeof head));
        result->results[i].found = head[0] != 0;
        result->result_count = i + 1;
        TRY(receive_bytes(fd, &result->results[i].bytes, head[1]));
        result->results[i].size = head[1];
    }
    result->outcome = tail.outcome;
    result->limit = tail.limit;
    result->exit_code = tail.exit_code;
    result->signal = tail.signal;
    result->wall_ms = tail.wall_ns / CLOCK_NS_PER_MS;
    result->cpu_ms = tail.cpu_ns / CLOCK_NS_PER_MS;
    result->memory_peak_bytes = tail.memory_peak_bytes;
    result->output_size = tail.output_size;
    result->error_size = tail.error_size;
    snprintf(result->text, sizeof result->text, "%s", tail.text);
    return STATUS_OK;
}

enum status slot_execute(struct slot *slot, const struct sandbox_run *run,
                         struct sandbox_result *result)
{
    struct run_head head;
    struct buffer body;
    buffer_init(&body, (size_t)RUN_BODY_MAX);
    enum status status = STATUS_OK;
    TRY_GOTO(out, request(run, &head, &body));
    TRY_GOTO(out, send_request(slot->control, &head, &body, run));
    TRY_GOTO(out, await(slot, run));
    TRY_GOTO(out, receive(slot->control, result));
out:
    buffer_free(&body);
    return status;
}
