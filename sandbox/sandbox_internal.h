/* sandbox/sandbox_internal.h - between the files of the library. */
#ifndef SANDBOX_SANDBOX_INTERNAL_H
#define SANDBOX_SANDBOX_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "core/buffer.h"
#include "sandbox/protocol.h"
#include "sandbox/sandbox.h"

enum { SANDBOX_JOBS_MAX = 64, SANDBOX_SLOTS_MAX = 128 };

/* One launcher. */
struct slot {
    pid_t pid; /* 0: not started */
    int control;
    bool busy;
    uint32_t features;
};

struct sandbox {
    pthread_mutex_t lock; /* guards busy, closing */
    pthread_cond_t free;  /* a slot was given back */
    struct slot slots[SANDBOX_SLOTS_MAX];
    uint32_t slot_count;
    bool closing;
    bool no_proc; /* programs have no /proc here; set before anybody else has the sandbox */
    struct buffer filter;
    struct launcher_setup setup;
};

/* Bytes that the library carries: the programs of sandbox/launcher. */
struct embedded {
    const uint8_t *begin, *end;
};
extern const struct embedded embedded_launcher, embedded_zygote, embedded_probe;

/* slot.c */
MUST_CHECK enum status slot_start(struct sandbox *sandbox, uint32_t index);
void slot_stop(struct slot *slot);

/* execute.c: one run on a slot that the caller holds. AGAIN: the launcher died, a new one may do it. */
MUST_CHECK enum status slot_execute(struct slot *slot, const struct sandbox_run *run,
                                    struct sandbox_result *result);

/* self_test.c */
MUST_CHECK enum status sandbox_self_test(struct sandbox *sandbox);

#endif
