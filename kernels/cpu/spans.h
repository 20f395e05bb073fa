/* kernels/cpu/spans.h - a loop cut into spans that the pool's workers take.
 *
 * For loops whose iterations own disjoint outputs: where the cuts fall and who runs a span cannot
 * change a bit. SPAN_ELEMENTS of work make a span, so short loops stay on the caller. */
#ifndef KERNELS_CPU_SPANS_H
#define KERNELS_CPU_SPANS_H

#include <stdint.h>

#include "kernels/cpu_pool.h"

typedef void (*span_fn)(const void *args, int64_t begin, int64_t end);

enum { SPAN_ELEMENTS = 16384 }; /* about ten microseconds of elementwise work */

struct span_job {
    span_fn run;
    const void *args;
    int64_t count, grain;
};

static void span_task(void *argument, int64_t task, int32_t worker)
{
    const struct span_job *job = argument;
    (void)worker;
    int64_t begin = task * job->grain;
    int64_t end = begin + job->grain < job->count ? begin + job->grain : job->count;
    job->run(job->args, begin, end);
}

/* run(args, begin, end) over 0 .. count - 1; `cost` is the elements of work in one iteration. */
static void spans_run(void *context, span_fn run, const void *args, int64_t count, int64_t cost)
{
    int64_t grain = cost < SPAN_ELEMENTS ? SPAN_ELEMENTS / (cost > 0 ? cost : 1) : 1;
    struct span_job job = {run, args, count, grain};
    if (count > 0)
        pool_run(context, span_task, &job, (count + grain - 1) / grain);
}

#endif
