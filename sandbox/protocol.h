/* sandbox/protocol.h - what the library and its launchers say to each other over a socket pair.
 *
 * One launcher is one small static program with one thread and one run at a time; it makes every namespace, so the
 * process of the caller never forks. Both ends are one build, so the structures travel as they are in memory.
 *
 *     library -> launcher   launcher_setup, the filter's instructions; then for each run run_head (with descriptors) and
 *                           its body; one byte while it runs: cancel
 *     launcher -> library   launcher_hello; then for each run run_tail and its body
 *
 * The end of the stream is the end of the launcher and of all that it started.
 *
 * Body of a run: items, each {uint64 size, bytes, NUL, zeros up to a multiple of 8}, in this order: argv, env, path and
 * bytes of each file (the first byte: 1 to make it executable), results, shown, base, python, input. Body of a tail: output, error, then each result as
 * {uint64 found, uint64 size, bytes}. */
#ifndef SANDBOX_PROTOCOL_H
#define SANDBOX_PROTOCOL_H

#include "sandbox/sandbox.h"

enum { LAUNCHER_FD_CONTROL = 3, LAUNCHER_FD_LIBRARY = 4 }; /* of a launcher when it starts */
enum { PROBE_WITHOUT_PROC = 3 }; /* nothing came out, and there is no /proc */
enum { RUN_DESCRIPTORS_MAX = 3, RUN_ITEMS_MAX = 65536, RUN_TEXT_MAX = 256 };
#define RUN_BODY_MAX (UINT64_C(1) << 32)

/* What a launcher found here. */
enum launcher_feature {
    FEATURE_ROOT = 1, /* the sandbox's users are other users of the host */
    FEATURE_MEMORY_V1 = 2,
    FEATURE_MEMORY_V2 = 4,
    FEATURE_PIDS_V1 = 8,
    FEATURE_PIDS_V2 = 16,
    FEATURE_CPU_V1 = 32,
    FEATURE_UNIFIED = 64, /* a v2 cgroup: cpu.stat */
    FEATURE_SAMPLED =
        512 /* no cgroup counts memory or CPU time: init adds up /proc every few milliseconds */
};

struct launcher_setup {
    uint32_t slot, filter_counts[2]; /* struct sock_filter, follow: the usual one, one with locks */
    char cgroup[256];
    char imports[2048];
};

struct launcher_hello {
    uint32_t features;
    bool fine;
    char text[RUN_TEXT_MAX]; /* why not */
};

/* A head starts with its mark, so that a cancel that comes after the end of its run can be told from it. */
enum { RUN_MARK = 0x6E757257, RUN_CANCEL = 'C' };

struct run_head {
    uint32_t mark;
    struct sandbox_limits limits;
    enum sandbox_mode mode;
    bool execute_work, file_locks, has_env, has_base, has_python;
    bool has_channel, has_input_fd, has_output_fd; /* their order in the control message */
    uint32_t argv_count, env_count, file_count, result_count, shown_count;
    uint64_t body_size;
};

struct run_tail {
    enum sandbox_outcome outcome;
    enum sandbox_limit limit;
    int exit_code, signal;
    int64_t wall_ns, cpu_ns, memory_peak_bytes;
    uint64_t output_size, error_size, result_count, body_size;
    char text[RUN_TEXT_MAX];
};

#endif
