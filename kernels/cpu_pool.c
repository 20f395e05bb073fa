/* One word holds the state of the current call: generation << 32 | tasks not yet taken. A worker
 * takes a task by a compare-and-swap on it, and only then reads function, argument and count: they
 * cannot change before that task is done, so a worker that wakes late can do no harm and nobody
 * waits for it. */
#include "kernels/cpu_pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/check.h"
#include "core/memory.h"

struct worker {
    struct pool *pool;
    int32_t index;
    pthread_t thread;
    void *scratch;
    size_t scratch_bytes;
};

struct pool {
    _Alignas(64) _Atomic uint64_t state;    /* generation << 32 | tasks not taken */
    _Alignas(64) _Atomic uint32_t sequence; /* futex of sleeping workers: changes with every call */
    _Atomic uint32_t sleepers;
    _Alignas(64) _Atomic uint32_t done; /* tasks finished; futex of the caller */
    _Atomic bool caller_sleeps;
    _Atomic bool stop;
    pool_task_fn task;
    void *argument;
    uint32_t count;
    uint32_t generation;
    int32_t threads;
    int32_t started; /* threads[1 .. started] exist */
    void *shared;
    size_t shared_bytes;
    struct worker workers[POOL_THREADS_MAX];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Takes and runs tasks until none is left. */
static void take_tasks(struct pool *pool, int32_t worker)
{
    uint64_t state = atomic_load(&pool->state);
    while ((uint32_t)state != 0) {
        if (!atomic_compare_exchange_weak(&pool->state, &state, state - 1))
            continue;
        const uint32_t count = pool->count;
        pool->task(pool->argument, (int64_t)(count - (uint32_t)state), worker);
        if (atomic_fetch_add(&pool->done, 1) + 1 == count && atomic_load(&pool->caller_sleeps))
            futex_wake(&pool->done, 1);
        state = atomic_load(&pool->state);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    while (!atomic_load(&pool->stop)) {
        const uint32_t sequence = atomic_load(&pool->sequence);
        take_tasks(pool, worker->index);
        for (int spin = 0; spin < POOL_SPINS && atomic_load(&pool->sequence) == sequence; spin++)
            __builtin_ia32_pause();
        if (atomic_load(&pool->sequence) != sequence || atomic_load(&pool->stop))
            continue;
        atomic_fetch_add(&pool->sleepers, 1);
        futex_wait(&pool->sequence, sequence);
        atomic_fetch_sub(&pool->sleepers, 1);
    }
    return NULL;
}

/* Signals are for the program's own threads. */
static enum status start_workers(struct pool *pool)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (error == 0 && pool->started < pool->threads - 1) {
        struct worker *worker = &pool->workers[pool->started + 1];
        error = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (error == 0)
            pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return FAIL(STATUS_IO, "worker thread %d of %d: %s; lower run.threads", pool->started + 2,
                    pool->threads, strerror(error));
    return STATUS_OK;
}

enum status pool_create(struct pool **pool, int32_t threads)
{
    if (threads < 1 || threads > POOL_THREADS_MAX)
        return FAIL(STATUS_INVALID, "%d CPU threads; run.threads must be 1 to %d", threads,
                    POOL_THREADS_MAX);
    struct pool *made = memory_alloc(sizeof *made);
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "CPU pool of %d threads", threads);
    made->threads = threads;
    for (int32_t i = 0; i < threads; i++)
        made->workers[i] = (struct worker){.pool = made, .index = i};
    const enum status status = start_workers(made);
    if (status != STATUS_OK) {
        pool_destroy(&made);
        return status;
    }
    *pool = made;
    return STATUS_OK;
}

void pool_destroy(struct pool **pool)
{
    if (!*pool)
        return;
    struct pool *old = *pool;
    *pool = NULL;
    atomic_store(&old->stop, true);
    atomic_fetch_add(&old->sequence, 1);
    futex_wake(&old->sequence, POOL_THREADS_MAX);
    for (int32_t i = 1; i <= old->started; i++)
        pthread_join(old->workers[i].thread, NULL);
    for (int32_t i = 0; i < old->threads; i++)
        memory_free(old->workers[i].scratch);
    memory_free(old->shared);
    memory_free(old);
}

int32_t pool_threads(const struct pool *pool)
{
    return pool->threads;
}

void pool_run(struct pool *pool, pool_task_fn task, void *argument, int64_t count)
{
    CHECK(count >= 0 && count <= INT32_MAX);
    if (pool->threads == 1 || count <= 1) {
        for (int64_t i = 0; i < count; i++)
            task(argument, i, 0);
        return;
    }
    pool->task = task;
    pool->argument = argument;
    pool->count = (uint32_t)count;
    pool->generation++;
    atomic_store(&pool->done, 0);
    atomic_store(&pool->state, (uint64_t)pool->generation << 32 | (uint32_t)count);
    atomic_fetch_add(&pool->sequence, 1);
    if (atomic_load(&pool->sleepers) > 0)
        futex_wake(&pool->sequence, (int)(count - 1 < pool->threads ? count - 1 : pool->threads));
    take_tasks(pool, 0);
    const uint32_t all = (uint32_t)count;
    for (int spin = 0; spin < POOL_SPINS && atomic_load(&pool->done) != all; spin++)
        __builtin_ia32_pause();
    atomic_store(&pool->caller_sleeps, true);
    for (uint32_t done = atomic_load(&pool->done); done != all; done = atomic_load(&pool->done))
        futex_wait(&pool->done, done);
    atomic_store(&pool->caller_sleeps, false);
}

static enum status grow(void **block, size_t *held, size_t bytes)
{
    if (*held >= bytes)
        return STATUS_OK;
    const size_t wanted = bytes + bytes / 4;
    void *larger = memory_alloc(wanted);
    if (!larger)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of CPU scratch", wanted);
    memory_free(*block);
    *block = larger;
    *held = wanted;
    return STATUS_OK;
}

enum status pool_reserve(struct pool *pool, size_t bytes)
{
    for (int32_t i = 0; i < pool->threads; i++)
        TRY(grow(&pool->workers[i].scratch, &pool->workers[i].scratch_bytes, bytes));
    return STATUS_OK;
}

void *pool_scratch(struct pool *pool, int32_t worker)
{
    return pool->workers[worker].scratch;
}

enum status pool_shared(struct pool *pool, size_t bytes, void **block)
{
    TRY(grow(&pool->shared, &pool->shared_bytes, bytes));
    *block = pool->shared;
    return STATUS_OK;
}
