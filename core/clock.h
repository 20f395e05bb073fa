/* core/clock.h - where time comes from.
 *
 * State machines get time as an argument; programs read it here. Monotonic nanoseconds
 * for deadlines, wall-clock nanoseconds only for what people read. A simulator replaces
 * the clock; nothing else in the tree calls clock_gettime. Any thread. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum { CLOCK_NS_PER_MS = 1000000 };
#define CLOCK_NS_PER_S INT64_C(1000000000)

struct clock {
    void *self;
    int64_t (*now_ns)(void *self);  /* monotonic */
    int64_t (*wall_ns)(void *self); /* since 1970, UTC */
};

static inline int64_t clock_after_ms(int64_t now_ns, int64_t ms)
{
    return now_ns + ms * CLOCK_NS_PER_MS;
}

const struct clock *clock_system(void);
int64_t clock_now_ns(void); /* of the system clock */
int64_t clock_wall_ns(void);
void clock_sleep_ms(int64_t ms); /* tests and retry pauses only; waits go through core/wait.h */

C_END
#endif
