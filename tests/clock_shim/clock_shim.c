/* tests/clock_shim/clock_shim.c - LD_PRELOAD: the wall clock jumps by up to a day, forwards and backwards.
 *
 * Every process gets its own jumps: on average one in JUMP_ONE_OF looks at the clock moves it anew. The monotonic
 * clock is left alone. WEIR_CLOCK_SHIM_LOG=folder: a process leaves folder/<pid> when its clock jumped. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { DAY_S = 86400, JUMP_ONE_OF = 4 };

static _Atomic uint64_t state;
static _Atomic int64_t offset_s;

static uint64_t next_random(void)
{
    uint64_t word = atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15));
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

static void leave_mark(void)
{
    char path[600];
    const char *folder = getenv("WEIR_CLOCK_SHIM_LOG");
    if (folder == NULL)
        return;
    snprintf(path, sizeof path, "%s/%ld", folder, (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
}

static int64_t jump(void)
{
    if (atomic_load(&state) == 0) {
        struct timespec now;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
        atomic_store(&state, (uint64_t)now.tv_nsec * 2654435761U + (uint64_t)getpid() + 1);
        leave_mark();
    }
    if (next_random() % JUMP_ONE_OF == 0)
        atomic_store(&offset_s, (int64_t)(next_random() % (2 * DAY_S + 1)) - DAY_S);
    return atomic_load(&offset_s);
}

/* lint: allow(clock_gettime): it is what is replaced */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += jump();
    return result;
}

/* lint: allow(gettimeofday): it is what is replaced */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (result == 0)
        now->tv_sec += jump();
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* lint: allow(clock_gettime): ours, above */
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
