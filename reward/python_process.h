/* reward/python_process.h - one Python process with a socket on its descriptor 3, in a process group of its own.
 *
 * Frames: u32 little-endian length, then JSON. stdout and stderr of the process go to our log, cut and counted. The
 * process is started by its keeper, a thread that lives as long as the processes it started: the kernel kills them when
 * the thread that started them is gone, so none outlives this process. */
#ifndef REWARD_PYTHON_PROCESS_H
#define REWARD_PYTHON_PROCESS_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/buffer.h"
#include "core/status.h"

enum { PYTHON_FRAME_MAX = 64 << 20, PYTHON_PROCESSES_MAX = 256 };

struct python_keeper;

struct python_process {
    pid_t pid; /* 0: not running */
    int fd;    /* our end of the socket, -1 */
    int log;   /* read end of its stdout and stderr, -1; the keeper's */
};

struct python_command {
    const char *python, *script; /* interpreter, found in PATH; the worker's source file */
    bool network; /* false: a network namespace of its own, where the system allows it */
};

/* command: texts are copied. */
MUST_CHECK enum status python_keeper_open(struct python_keeper **keeper,
                                          const struct python_command *command);
/* Every process it started must be dead. */
void python_keeper_close(struct python_keeper **keeper);

/* IO: it does not start. Any thread. */
MUST_CHECK enum status python_process_start(struct python_keeper *keeper,
                                            struct python_process *process);
/* SIGKILL to its group; waits until it is dead. Any thread; a process that is not running is fine. */
void python_process_kill(struct python_keeper *keeper, struct python_process *process);
/* Bytes of memory it has now; 0: not known. */
uint64_t python_process_memory(const struct python_process *process);

/* TIMEOUT at deadline_ns; NETWORK: it is gone. */
MUST_CHECK enum status python_process_send(struct python_process *process, const void *json,
                                           size_t size, int64_t deadline_ns);
/* Waits until something is there to receive. TIMEOUT, NETWORK. */
MUST_CHECK enum status python_process_wait(struct python_process *process, int64_t deadline_ns);
/* *message: owned by the caller (json_decref). CORRUPT: no frame of ours. */
MUST_CHECK enum status python_process_receive(struct python_process *process, int64_t deadline_ns,
                                              json_t **message);

#endif
