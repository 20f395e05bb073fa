/* sandbox/filter.h - which system calls a program in the sandbox may make: a list of what is allowed; everything else
 * is ENOSYS (as on a kernel without it, so that programs fall back), some is EPERM. Other architectures of the
 * processor (32 bit, x32) are killed with SIGSYS. */
#ifndef SANDBOX_FILTER_H
#define SANDBOX_FILTER_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/status.h"

/* Appends struct sock_filter instructions. `locks`: fcntl may set locks, but not ask for those of others.
 * UNSUPPORTED when the kernel would not take it. */
MUST_CHECK enum status filter_make(struct buffer *instructions, bool locks);

#endif
