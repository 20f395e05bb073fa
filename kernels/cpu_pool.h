/* kernels/cpu_pool.h - threads and scratch memory of the CPU backend; its op_table.context.
 *
 * pool_run cuts a call into tasks that any worker may take; results must not depend on who takes
 * which, so tasks own disjoint outputs. A worker without work spins POOL_SPINS times (tens of
 * microseconds: the pause between two ops of a forward pass) and then sleeps on a futex: actors and
 * a learner share the cores. One thread calls a pool at a time; tasks do not call pool_run.
 *
 *     TRY(pool_reserve(pool, bytes));                scratch of each worker
 *     pool_run(pool, rows_task, &job, task_count);   rows_task(&job, task, worker)
 */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct pool;
typedef void (*pool_task_fn)(void *argument, int64_t task, int32_t worker);

enum { POOL_THREADS_MAX = 64, POOL_SPINS = 1000 };

/* threads: 1..POOL_THREADS_MAX, the caller included. INVALID, NO_MEMORY, IO. */
MUST_CHECK enum status pool_create(struct pool **pool, int32_t threads);
void pool_destroy(struct pool **pool); /* NULL is fine; sets *pool to NULL */
int32_t pool_threads(const struct pool *pool);

/* Runs task(argument, i, worker) for i = 0 .. count - 1 (< 2^31) and waits for all; worker is in
 * [0, threads). In order on the caller when there is one thread or one task. Callers give tiny work
 * (a few microseconds) as one task. */
void pool_run(struct pool *pool, pool_task_fn task, void *argument, int64_t count);

/* Scratch that only grows, 64-byte aligned, contents undefined. pool_reserve gives every worker at
 * least `bytes`, read inside a task with pool_scratch and valid until the next pool_reserve;
 * pool_shared is one block for the caller of an op, valid until its next call. */
MUST_CHECK enum status pool_reserve(struct pool *pool, size_t bytes);
void *pool_scratch(struct pool *pool, int32_t worker);
MUST_CHECK enum status pool_shared(struct pool *pool, size_t bytes, void **block);

#endif
