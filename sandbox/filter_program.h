/* sandbox/filter_program.h - a table of system calls as a program of the kernel's filter machine.
 *
 * Neighbouring numbers with one answer are one range, and the ranges are found by halving: about a third of the
 * instructions that a comparison for each call would take. That counts because the kernel checks and compiles the filter
 * anew for each run. Only loads, comparisons and returns are used, so the kernel's table of calls that are always allowed
 * (seccomp_cache_prepare) works, and answers those without running the filter. */
#ifndef SANDBOX_FILTER_PROGRAM_H
#define SANDBOX_FILTER_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum { FILTER_CALLS_MAX = 1024 };

enum filter_look {
    LOOK_LOW,   /* the lower 32 bits of the argument are one of the values */
    LOOK_WHOLE, /* all 64 bits are */
    LOOK_CLEAR  /* none of the bits of values[0] is set in the lower 32 bits */
};

/* A call that is allowed for some values of one argument. */
struct filter_choice {
    int number; /* -1: this architecture has no such call */
    unsigned argument;
    enum filter_look look;
    const uint32_t *values;
    size_t count;
    uint32_t otherwise; /* SECCOMP_RET_... */
};

struct filter_table {
    uint32_t usual; /* for every number that is not here; [0, FILTER_CALLS_MAX) */
    uint32_t actions[FILTER_CALLS_MAX];  /* SECCOMP_RET_... of each number */
    const struct filter_choice *choices; /* win over actions */
    size_t choice_count;
};

/* Appends struct sock_filter instructions. Another architecture, and numbers of x32, kill the process. UNSUPPORTED: more
 * than the kernel takes. */
MUST_CHECK enum status filter_program(const struct filter_table *table, uint32_t architecture,
                                      struct buffer *instructions);

#endif
