#include "core/queue.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"

struct queue {
    pthread_mutex_t lock; /* guards everything below; only LOCK_WAIT is taken inside it */
    pthread_cond_t not_empty;
    char *name;
    void **items; /* [capacity], a ring */
    uint32_t capacity;
    uint32_t first;
    uint32_t depth;
    uint32_t depth_max;
    int fd; /* eventfd: 1 while an item is there or the queue is closed */
    bool closed;
};

static void fd_signal(int fd)
{
    uint64_t one = 1;
    CHECK(write(fd, &one, sizeof one) == (ssize_t)sizeof one);
}

static void fd_quiet(int fd)
{
    uint64_t count;
    CHECK(read(fd, &count, sizeof count) == (ssize_t)sizeof count);
}

enum status queue_create(struct queue **queue, const char *name, uint32_t capacity)
{
    if (capacity == 0)
        return FAIL(STATUS_INVALID, "queue \"%s\" needs room for one item at least", name);
    struct queue *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "queue \"%s\"", name);
    enum status status;
    made->fd = -1;
    made->capacity = capacity;
    made->name = memory_text(name);
    made->items = memory_array(capacity, sizeof *made->items);
    if (made->name == NULL || made->items == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "queue \"%s\" of %" PRIu32 " items", name, capacity);
        goto failed;
    }
    made->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->fd < 0) {
        status = FAIL(STATUS_IO, "queue \"%s\": eventfd: %s", name, strerror(errno));
        goto failed;
    }
    TRY_GOTO(failed, wait_condition_init(&made->not_empty));
    pthread_mutex_init(&made->lock, NULL);
    *queue = made;
    return STATUS_OK;
failed:
    if (made->fd >= 0)
        close(made->fd);
    memory_free(made->items);
    memory_free(made->name);
    memory_free(made);
    return status;
}

void queue_destroy(struct queue **queue)
{
    struct queue *gone = *queue;
    if (gone == NULL)
        return;
    close(gone->fd);
    pthread_cond_destroy(&gone->not_empty);
    pthread_mutex_destroy(&gone->lock);
    memory_free(gone->items);
    memory_free(gone->name);
    memory_free(gone);
    *queue = NULL;
}

enum status queue_push(struct queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    bool closed = queue->closed;
    bool full = queue->depth == queue->capacity;
    if (!closed && !full) {
        uint32_t last = (uint32_t)(((uint64_t)queue->first + queue->depth) % queue->capacity);
        queue->items[last] = item;
        if (queue->depth++ == 0)
            fd_signal(queue->fd);
        if (queue->depth > queue->depth_max)
            queue->depth_max = queue->depth;
        pthread_cond_signal(&queue->not_empty);
    }
    pthread_mutex_unlock(&queue->lock);
    if (closed)
        return FAIL(STATUS_CANCELLED, "queue \"%s\" is closed", queue->name);
    if (full)
        return FAIL(STATUS_LIMIT, "queue \"%s\" is full with %" PRIu32 " items", queue->name,
                    queue->capacity);
    return STATUS_OK;
}

/* Lock held, depth > 0. */
static void *take_first(struct queue *queue)
{
    void *item = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    if (--queue->depth == 0 && !queue->closed)
        fd_quiet(queue->fd);
    return item;
}

enum status queue_pop(struct queue *queue, int64_t timeout_ms, void **item)
{
    int64_t deadline_ns = INT64_MAX;
    if (timeout_ms >= 0 && timeout_ms < INT64_MAX / CLOCK_NS_PER_MS / 2)
        deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    enum status status = STATUS_OK;
    pthread_mutex_lock(&queue->lock);
    while (queue->depth == 0 && !queue->closed && timeout_ms != 0 && status == STATUS_OK)
        status =
            wait_condition("queue_pop", queue->name, deadline_ns, &queue->not_empty, &queue->lock);
    if (queue->depth > 0) {
        *item = take_first(queue);
        status = STATUS_OK;
    } else if (queue->closed) {
        status = FAIL(STATUS_CANCELLED, "queue \"%s\" is closed and empty", queue->name);
    } else if (status == STATUS_OK) {
        status = FAIL(STATUS_TIMEOUT, "queue \"%s\" is empty", queue->name);
    }
    pthread_mutex_unlock(&queue->lock);
    return status;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    if (!queue->closed && queue->depth == 0)
        fd_signal(queue->fd);
    queue->closed = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_mutex_unlock(&queue->lock);
}

int queue_fd(const struct queue *queue)
{
    return queue->fd;
}

uint32_t queue_depth(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint32_t depth = queue->depth;
    pthread_mutex_unlock(&queue->lock);
    return depth;
}

uint32_t queue_depth_max(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint32_t depth = queue->depth_max;
    pthread_mutex_unlock(&queue->lock);
    return depth;
}
