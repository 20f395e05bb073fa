#include "core/wait.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

struct wait_slot {
    const char *name; /* NULL: free */
    const char *peer;
    int64_t begin_ns;
    int64_t deadline_ns;
};

/* LOCK_WAIT is the innermost lock of a process: it is taken with others held and takes none. */
static pthread_mutex_t wait_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wait_slot wait_table[WAIT_TABLE_MAX]; /* guarded by wait_lock */

static _Thread_local bool unlisted;

void wait_unlisted(void)
{
    unlisted = true;
}

static int64_t deadline_after_ms(int64_t now_ns, int64_t timeout_ms)
{
    if (timeout_ms < 0 || timeout_ms > (INT64_MAX - now_ns) / CLOCK_NS_PER_MS)
        return INT64_MAX;
    return now_ns + timeout_ms * CLOCK_NS_PER_MS;
}

static struct wait wait_begin_until(const char *name, const char *peer, int64_t deadline_ns)
{
    struct wait wait = {.slot = -1,
                        .name = name,
                        .peer = peer != NULL ? peer : "",
                        .begin_ns = clock_now_ns(),
                        .deadline_ns = deadline_ns};
    if (unlisted)
        return wait;
    pthread_mutex_lock(&wait_lock);
    for (int i = 0; i < WAIT_TABLE_MAX && wait.slot < 0; i++) {
        if (wait_table[i].name != NULL)
            continue;
        wait_table[i] = (struct wait_slot){wait.name, wait.peer, wait.begin_ns, deadline_ns};
        wait.slot = i;
    }
    pthread_mutex_unlock(&wait_lock);
    return wait;
}

struct wait wait_begin(const char *name, const char *peer, int64_t timeout_ms)
{
    return wait_begin_until(name, peer, deadline_after_ms(clock_now_ns(), timeout_ms));
}

/* Rounded up, so that a poll for the time left does not wake just before the deadline. */
static int64_t left_ms_at(int64_t deadline_ns, int64_t now_ns)
{
    if (deadline_ns == INT64_MAX)
        return INT64_MAX;
    if (deadline_ns <= now_ns)
        return 0;
    return (deadline_ns - now_ns - 1) / CLOCK_NS_PER_MS + 1;
}

int64_t wait_left_ms(const struct wait *wait)
{
    return left_ms_at(wait->deadline_ns, clock_now_ns());
}

int wait_slice_ms(const struct wait *wait, int64_t at_most_ms)
{
    int64_t left = wait_left_ms(wait);
    if (at_most_ms >= 0 && at_most_ms < left)
        left = at_most_ms;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static void wait_leave(struct wait *wait)
{
    if (wait->slot < 0)
        return;
    pthread_mutex_lock(&wait_lock);
    wait_table[wait->slot] = (struct wait_slot){0};
    pthread_mutex_unlock(&wait_lock);
    wait->slot = -1;
}

enum status wait_end(struct wait *wait, bool done)
{
    wait_leave(wait);
    if (done)
        return STATUS_OK;
    return FAIL(STATUS_TIMEOUT, "waited %" PRId64 " ms for \"%s\" from \"%s\", nothing came",
                (clock_now_ns() - wait->begin_ns) / CLOCK_NS_PER_MS, wait->name, wait->peer);
}

enum status wait_poll(const char *name, const char *peer, int64_t timeout_ms, struct pollfd *fds,
                      nfds_t count)
{
    struct wait wait = wait_begin(name, peer, timeout_ms);
    for (;;) {
        int ready = poll(fds, count, wait_slice_ms(&wait, INT_MAX));
        if (ready < 0 && errno != EINTR) {
            int error = errno;
            wait_leave(&wait);
            return FAIL(STATUS_IO, "poll for \"%s\" from \"%s\": %s", name, wait.peer,
                        strerror(error));
        }
        if (ready != 0)
            return wait_end(&wait, true);
        if (wait_left_ms(&wait) == 0)
            return wait_end(&wait, false);
    }
}

enum status wait_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return FAIL(STATUS_NO_MEMORY, "pthread_condattr_init: %s", strerror(error));
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (error == 0)
        error = pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return error == 0 ? STATUS_OK
                      : FAIL(STATUS_NO_MEMORY, "pthread_cond_init: %s", strerror(error));
}

enum status wait_condition(const char *name, const char *peer, int64_t deadline_ns,
                           pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    struct wait wait = wait_begin_until(name, peer, deadline_ns);
    int error;
    if (deadline_ns == INT64_MAX) {
        error = pthread_cond_wait(condition, mutex);
    } else {
        struct timespec until = {.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
                                 .tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S)};
        error = pthread_cond_timedwait(condition, mutex, &until);
    }
    if (error != 0 && error != ETIMEDOUT) {
        wait_leave(&wait);
        return FAIL(STATUS_INVALID, "wait for \"%s\" from \"%s\": %s", name, wait.peer,
                    strerror(error));
    }
    return wait_end(&wait, error == 0);
}

/* 1: reaped, 0: still runs, -1: errno. */
static int reap(pid_t pid, int *exit_status)
{
    int code;
    pid_t got;
    do
        got = waitpid(pid, &code, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got < 0 ? -1 : 0;
    if (exit_status != NULL)
        *exit_status = code;
    return 1;
}

enum status wait_child(const char *name, const char *peer, int64_t timeout_ms, pid_t pid,
                       int *exit_status)
{
    /* A pidfd is readable once the child has ended. Without one (old kernel) look every 10 ms. */
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ended = {.fd = fd, .events = POLLIN}; /* poll ignores fd -1 */
    struct wait wait = wait_begin(name, peer, timeout_ms);
    int reaped = reap(pid, exit_status);
    while (reaped == 0 && wait_left_ms(&wait) > 0) {
        poll(&ended, 1, wait_slice_ms(&wait, fd < 0 ? 10 : INT_MAX));
        reaped = reap(pid, exit_status);
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (reaped < 0) {
        wait_leave(&wait);
        return FAIL(STATUS_IO, "waitpid %d for \"%s\" from \"%s\": %s", (int)pid, name, wait.peer,
                    strerror(error));
    }
    return wait_end(&wait, reaped == 1);
}

static enum status append_slot(struct buffer *json, const struct wait_slot *slot, int64_t now_ns)
{
    int64_t left = left_ms_at(slot->deadline_ns, now_ns);
    TRY(buffer_text(json, "{\"name\":"));
    TRY(buffer_json_text(json, slot->name));
    TRY(buffer_text(json, ",\"peer\":"));
    TRY(buffer_json_text(json, slot->peer));
    return buffer_printf(json, ",\"since_ms\":%" PRId64 ",\"left_ms\":%" PRId64 "}",
                         (now_ns - slot->begin_ns) / CLOCK_NS_PER_MS,
                         left == INT64_MAX ? WAIT_FOREVER : left);
}

enum status wait_table_json(struct buffer *json)
{
    int64_t now_ns = clock_now_ns();
    size_t size_before = json->size;
    bool first = true;
    enum status status = buffer_text(json, "[");
    pthread_mutex_lock(&wait_lock); /* names and peers are borrowed: they live while we hold it */
    for (int i = 0; i < WAIT_TABLE_MAX && status == STATUS_OK; i++) {
        if (wait_table[i].name == NULL)
            continue;
        status = first ? STATUS_OK : buffer_text(json, ",");
        first = false;
        if (status == STATUS_OK)
            status = append_slot(json, &wait_table[i], now_ns);
    }
    pthread_mutex_unlock(&wait_lock);
    if (status == STATUS_OK)
        status = buffer_text(json, "]");
    if (status != STATUS_OK)
        json->size = size_before;
    return status;
}
