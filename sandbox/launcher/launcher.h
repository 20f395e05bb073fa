/* sandbox/launcher/launcher.h - the parts of weir-sandbox-launcher, and what they share.
 *
 * launcher_main.c  reads runs, answers with verdicts
 * supervise.c      one run from its start to the verdict: clone, output, limits, death, results
 * group.c          cgroups v1 and v2
 * tree.c           the file tree a program sees
 * init.c           pid 1 of a run: mounts, files, start of the program, its exit status
 * program.c        the last steps in the program's own process: descriptors, limits, capabilities, filter
 * keeper.c         pooled and zygote: a process inside a prepared sandbox that clones the inits
 *
 * A single-threaded static program without a heap: blocks come from mmap and go back after each run, so nothing of
 * one run is in memory when the next one starts. init.c, tree.c, program.c and keeper.c are also the shared library
 * that the Python of a zygote loads. Failed steps return -1 with errno and the step's name in *step. */
#ifndef SANDBOX_LAUNCHER_LAUNCHER_H
#define SANDBOX_LAUNCHER_LAUNCHER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/protocol.h"

enum {
    INSIDE_ID = 1000,
    GROUPS_MAX = 4,
    PATH_TEXT_MAX = 1024,
    MESSAGE_FDS_MAX = 16,
    SHOWN_MAX = 32
};
#define WORK_FOLDER "/work"
#define HOST_NAME   "sandbox"

/* ---- run.c: the body of a run, and descriptors over sockets ---- */

struct run_items {
    const char **argv, **env; /* NULL-terminated, in one mmap of vector_bytes */
    size_t vector_bytes;
    const uint8_t *files, *results, *shown; /* where their items start */
    const char *base, *python, *input;      /* base, python: NULL when absent */
    uint64_t python_size, input_size;
};
/* false: the body breaks its own rules. Points into body. */
bool run_items_parse(struct run_items *items, const struct run_head *head, const uint8_t *body);
void run_items_free(struct run_items *items);
/* The item at *at, which moves on; the body was parsed before. */
const char *run_item_next(const uint8_t **at, uint64_t *size);

ssize_t send_message(int fd, const void *bytes, size_t size, const int *fds, int fd_count);
/* Descriptors come CLOEXEC; *fd_count is how many came. */
ssize_t receive_message(int fd, void *bytes, size_t size, int *fds, int *fd_count);
void *block_map(size_t bytes); /* zeroed; NULL when out of memory */
void block_unmap(void *block, size_t bytes);

/* ---- init.c ---- */

enum init_word { INIT_FAILED, INIT_WORK, INIT_ENDED, INIT_SAMPLE };
struct init_message {
    enum init_word word;
    int status;                     /* INIT_ENDED: of wait(2) */
    int exec_error;                 /* INIT_ENDED: errno of execve, 0 when it worked */
    int64_t cpu_ns, bytes, threads; /* INIT_SAMPLE */
    char text[RUN_TEXT_MAX];        /* INIT_FAILED */
};

/* Everything init needs. Descriptors are -1 when absent. */
struct init_job {
    struct run_head head;
    const uint8_t *body; /* [head.body_size] */
    struct run_items items;
    int fd_stdin, fd_stdout, fd_stderr, fd_status, fd_channel;
    int fd_go;   /* strict: a byte comes when the user map is written */
    int fd_base; /* a detached mount of base; tree_build opens it when the launcher did not */
    int fd_shown[SHOWN_MAX];  /* likewise of the shown folders */
    int fd_tasks[GROUPS_MAX]; /* of its groups; it joins by writing 0 */
    int group_count;
    bool prepared; /* inside a keeper's sandbox: the tree stands already */
    bool sampled;  /* no cgroup counts: init does */
};

extern struct sock_fprog launcher_filter;

/* pid 1 of a run. Does not return, but for `zygote`: in the process that is to be the program. */
void init_main(struct init_job *job, bool zygote);

/* ---- program.c ---- */
int program_prepare(const struct init_job *job, bool zygote, const char **step);
int capabilities_drop(void);

/* ---- tree.c ---- */
/* From the host's tree to the sandbox's, read-only but for the mount points of tree_private. `job` may be NULL. The
 * working folder is the new root before tree_enter and "/" after it. */
int tree_build(struct init_job *job, const char **step);
int tree_private(const struct init_job *job,
                 const char **step); /* work, tmp, shm, proc of one run */
int tree_files(const struct init_job *job, const char **step);
int tree_proc(const char **step);  /* /proc of the caller's pid namespace */
int tree_enter(const char **step); /* pivot_root; the host's tree is gone */
int tree_seal(const char **step);  /* the root becomes read-only */

/* ---- namespaces.c ---- */
enum {
    RUN_NAMESPACES = 0x7C020000
}; /* user, mount, pid, net, ipc, uts; init unshares cgroup itself */
/* clone3 as fork: 0 in the child. pidfd may be NULL, cgroup -1. */
int clone_process(uint64_t flags, int *pidfd, int cgroup);
/* Maps INSIDE_ID of the namespace of `pid` to `outside`. */
int map_user(pid_t pid, uid_t outside, gid_t outside_group);
/* In the mapped child: becomes INSIDE_ID. */
int become_inside(void);
void descriptor_close(int *fd);

/* ---- keeper.c ---- */
struct keeper_request {
    struct run_head head;
    int group_count;
    bool has_channel, sampled;
};
/* Serves until its socket ends; returns in a program of a zygote only, with the items of its run. */
struct init_job *keeper_serve(int fd);

#endif
