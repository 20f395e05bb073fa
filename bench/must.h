/* bench/must.h - what benchmarks of weights share: the end at an error, milliseconds, and an order for medians. */
#ifndef BENCH_MUST_H
#define BENCH_MUST_H

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/status.h"

static inline void must(enum status status, const char *what)
{
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, status_name(status), status_last_error());
    exit(1);
}

static inline double since_ms(int64_t begin_ns)
{
    return (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
}

/* qsort of doubles. */
static inline int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#endif
