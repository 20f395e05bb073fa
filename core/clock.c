#include "core/clock.h"

#include <errno.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * CLOCK_NS_PER_S + now.tv_nsec;
}

static int64_t system_now_ns(void *self)
{
    (void)self;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t system_wall_ns(void *self)
{
    (void)self;
    return read_clock(CLOCK_REALTIME);
}

const struct clock *clock_system(void)
{
    static const struct clock system = {.now_ns = system_now_ns, .wall_ns = system_wall_ns};
    return &system;
}

int64_t clock_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

void clock_sleep_ms(int64_t ms)
{
    if (ms <= 0)
        return;
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = ms % 1000 * CLOCK_NS_PER_MS};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}
