/* sandbox/sandbox.h - runs a hostile program, and says what happened to it.
 *
 * A run gets namespaces of its own (user, mount, pid, net, ipc, uts, cgroup), a minimal read-only tree, a work
 * folder in memory, a seccomp allow-list, cgroup limits (v1 and v2, whatever is there) and rlimits; an init of ours
 * is its pid 1. Works as root and as any user who may make user namespaces. The verdict is given when the cgroup is
 * empty, never before. Three things are kept apart: what the program did (it ended, it was killed by a signal), which
 * LIMIT ended it, and INFRA: our own failure, which says nothing about the program, is tried elsewhere and never
 * becomes a reward.
 *
 *     TRY(sandbox_open(&sandbox, &(struct sandbox_options){.jobs = 2}));       runs the self-test, fails closed
 *     struct sandbox_run run = {.argv = argv, .limits = sandbox_limits_default(), .channel = -1};
 *     struct sandbox_result result;
 *     sandbox_execute(sandbox, &run, &result);
 *     ... sandbox_result_free(&result);
 */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct sandbox;

enum sandbox_mode {
    SANDBOX_STRICT, /* everything is made anew for each run */
    SANDBOX_POOLED, /* what no program can change is prepared ahead; the same promises */
    SANDBOX_ZYGOTE /* a warmed Python interpreter is forked inside a prepared sandbox; the same promises. Made strictly with
                    * base, shown or file_locks, and where sandbox_has_zygote is false */
};

enum sandbox_outcome {
    SANDBOX_EXITED,   /* exit_code */
    SANDBOX_SIGNALED, /* signal */
    SANDBOX_LIMIT,    /* limit: which */
    SANDBOX_INFRA     /* text: our failure; nothing is known about the program */
};

enum sandbox_limit {
    SANDBOX_LIMIT_NONE,
    SANDBOX_LIMIT_WALL,
    SANDBOX_LIMIT_CPU,
    SANDBOX_LIMIT_MEMORY,
    SANDBOX_LIMIT_OUTPUT,   /* stdout or stderr */
    SANDBOX_LIMIT_FILES,    /* one file longer than file_bytes (SIGXFSZ) */
    SANDBOX_LIMIT_CANCELLED /* the caller's word */
};

struct sandbox_limits {
    int64_t wall_ms;
    int64_t cpu_ms;       /* of all its processes together */
    int64_t memory_bytes; /* likewise, the work folder included */
    int64_t output_bytes; /* of stdout and of stderr, each */
    int64_t disk_bytes;   /* of the work folder */
    int64_t file_bytes;   /* of one file */
    int64_t stack_bytes;
    uint32_t inodes;    /* of the work folder */
    uint32_t processes; /* and threads */
    uint32_t open_files;
};

/* 10 s wall, 10 s CPU, 512 MiB, 1 MiB output, 64 MiB disk, 32 MiB a file, 64 MiB stack, 4096 inodes, 64 processes, 64 files. */
struct sandbox_limits sandbox_limits_default(void);

/* A file of the work folder. path is relative, without "..", "." or empty parts; folders are made. */
struct sandbox_file {
    const char *path;
    const void *bytes;
    size_t size;
    bool executable;
};

/* One run. Everything is borrowed until sandbox_execute returns. Zero is a fine value but for argv, limits, channel,
 * input_fd and output_fd; SANDBOX_RUN has them. */
struct sandbox_run {
    const char *const *argv; /* NULL-terminated; argv[0] is a path inside the sandbox */
    const char *const *env;  /* "NAME=value", NULL-terminated; NULL: PATH, HOME, LANG, TMPDIR */
    const char *
        python; /* SANDBOX_ZYGOTE: source that runs as __main__ of /usr/bin/python3 instead of argv */
    const void *input; /* stdin; input_fd wins */
    size_t input_size;
    const struct sandbox_file
        *files; /* [file_count] put below /box, the program's folder, before the start */
    size_t file_count;
    const char
        *base; /* a folder of the host whose contents /box shows too, copy on write; or NULL */
    const char *const
        *results; /* paths below /box, NULL-terminated: read when every process is dead */
    const char *const *
        shown; /* more host folders, NULL-terminated, shown read-only at the same path (a compiler, a virtual environment) */
    struct sandbox_limits limits;
    enum sandbox_mode mode;
    bool execute_work; /* programs in /box may be run */
    bool
        file_locks; /* fcntl may lock files, as a database on disk wants; made strictly in zygote mode */
    int channel; /* an open descriptor that is the program's 3, or -1; the caller keeps its own */
    bool
        beside; /* this run talks to one that is running: it gets a place of its own beyond options.jobs and
                  * never waits for one (two such runs that waited for each other would wait for ever) */
    int input_fd, output_fd; /* instead of input and the collected stdout; or -1 */
    const volatile bool *
        cancelled; /* set by another thread (__atomic_store_n): the run ends with LIMIT_CANCELLED; or NULL */
};

#define SANDBOX_RUN \
    .limits = sandbox_limits_default(), .channel = -1, .input_fd = -1, .output_fd = -1

/* A regular file the program left, opened below /box without following any link. */
struct sandbox_found {
    bool found; /* false: absent, not a regular file, longer than file_bytes, or behind a link */
    uint8_t *bytes; /* [size], owned by the result; a NUL follows */
    size_t size;
};

struct sandbox_result {
    enum sandbox_outcome outcome;
    enum sandbox_limit limit;
    int exit_code, signal;
    int64_t wall_ms, cpu_ms, memory_peak_bytes; /* memory_peak_bytes -1: not known here */
    uint8_t *output,
        *error; /* [output_size], [error_size] stdout and stderr as bytes, owned; a NUL follows each */
    size_t output_size, error_size;
    struct sandbox_found *results; /* one for each run.results, owned */
    size_t result_count;
    char text[256]; /* the sentence: "killed after 2000 ms of wall time", or why INFRA */
};

struct sandbox_options {
    uint32_t jobs;     /* runs at a time, 1 to 64; more callers wait. 0: the number of processors */
    bool no_self_test; /* tests of the sandbox itself only */
    const char *cgroup; /* parent cgroup below the mounts, NULL: our own, or the root's "weir" */
    const char *
        zygote_imports; /* Python modules the zygote imports beforehand, separated by spaces; NULL: a usual list */
};

/* UNSUPPORTED with a sentence that names what this machine lacks and what to do, or a failed attack of the self-test.
 * Whoever cannot have a sandbox gets none: there is no weaker mode. */
MUST_CHECK enum status sandbox_open(struct sandbox **sandbox,
                                    const struct sandbox_options *options);
/* Kills what still runs. */
void sandbox_close(struct sandbox **sandbox);
/* Blocks until the program and all it started are dead. Always fills result (INFRA when we failed). Any thread. */
void sandbox_execute(struct sandbox *sandbox, const struct sandbox_run *run,
                     struct sandbox_result *result);
void sandbox_result_free(struct sandbox_result *result);

/* What holds the promises here, as lines for people: users, memory, processes, CPU time. */
enum { SANDBOX_DESCRIPTION_MAX = 1024 };
void sandbox_describe(const struct sandbox *sandbox, char text[SANDBOX_DESCRIPTION_MAX]);

/* False where /proc is masked, as in most containers: a zygote run is made strictly then, with a Python of its own. */
bool sandbox_has_zygote(const struct sandbox *sandbox);

/* "exited with 3", "killed by SIGSEGV", "memory limit", "infra: ..." */
const char *sandbox_outcome_name(enum sandbox_outcome outcome);
const char *sandbox_limit_name(enum sandbox_limit limit);

#endif
