#include "ops/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

enum { LINE_BUFFER_BYTES = 1 << 16 };

struct output {
    int fd;
    int own; /* a terminal opened again, for O_NONBLOCK of our own; -1: none */
    bool socket;
    uint64_t dropped, said; /* lines; of them those that were mentioned */
};

static struct output outputs[2];
static int64_t patient_until_ns; /* 0: not at all */

static bool has_room(const struct output *output)
{
    struct pollfd fd = {.fd = output->fd, .events = POLLOUT};
    int64_t wait_ms =
        patient_until_ns != 0 ? (patient_until_ns - clock_now_ns()) / CLOCK_NS_PER_MS : 0;
    return poll(&fd, 1, wait_ms > 0 ? (int)wait_ms : 0) > 0;
}

/* At most PIPE_BUF bytes: a pipe that says it has room takes so many without blocking (pipe(7)). A terminal has room
 * for less than that at times, hence its own O_NONBLOCK. */
static bool write_piece(const struct output *output, const char *bytes, size_t size)
{
    for (size_t from = 0; from < size;) {
        if (!has_room(output))
            return false;
        ssize_t put =
            output->socket
                ? send(output->fd, bytes + from, size - from, MSG_DONTWAIT | MSG_NOSIGNAL)
                : write(output->own >= 0 ? output->own : output->fd, bytes + from, size - from);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        from += (size_t)put;
    }
    return true;
}

/* Up to its last whole line; a line longer than that is cut. */
static size_t piece_of(const char *bytes, size_t size)
{
    if (size <= PIPE_BUF)
        return size;
    const char *end = memrchr(bytes, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end - bytes) + 1 : PIPE_BUF;
}

static uint64_t count_lines(const char *bytes, size_t size)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += bytes[i] == '\n';
    return lines;
}

/* The first words to somebody who reads again. */
static bool mention_dropped(struct output *output)
{
    char text[96];
    if (output->dropped == output->said)
        return true;
    int size = snprintf(text, sizeof text, "(%" PRIu64 " lines not shown: nobody read them)\n",
                        output->dropped - output->said);
    if (!write_piece(output, text, (size_t)size))
        return false;
    output->said = output->dropped;
    return true;
}

/* Never an error: a stream that has one stays silent for good. */
static ssize_t on_write(void *self, const char *bytes, size_t size)
{
    struct output *output = self;
    for (size_t from = 0, piece; from < size; from += piece) {
        piece = piece_of(bytes + from, size - from);
        if (!mention_dropped(output) || !write_piece(output, bytes + from, piece)) {
            output->dropped += count_lines(bytes + from, size - from);
            break;
        }
    }
    return (ssize_t)size;
}

static int open_own(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return isatty(fd) == 1 ? open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
}

static void guard(FILE **stream, struct output *output, int fd)
{
    struct stat info;
    fflush(*stream);
    *output = (struct output){.fd = fd, .own = open_own(fd)};
    output->socket = fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
    FILE *made = fopencookie(output, "w", (cookie_io_functions_t){.write = on_write});
    if (made == NULL)
        return;
    setvbuf(made, NULL, _IOLBF, LINE_BUFFER_BYTES);
    *stream = made;
}

static void write_log(const char *line, size_t size)
{
    fwrite(line, 1, size, stderr);
    fflush(stderr);
}

void output_guard(void)
{
    static bool guarded;
    if (guarded)
        return;
    guarded = true;
    guard(&stdout, &outputs[0], STDOUT_FILENO);
    guard(&stderr, &outputs[1], STDERR_FILENO);
    log_set_writer(write_log); /* what libraries log goes the same way */
}

void output_be_patient(int64_t wait_ms)
{
    patient_until_ns = clock_now_ns() + wait_ms * CLOCK_NS_PER_MS;
}

uint64_t output_dropped(void)
{
    return outputs[0].dropped + outputs[1].dropped;
}
