/* sandbox/launcher/launcher.h - the parts of weir-sandbox-launcher, and what they share.
 *
 * launcher_main.c  reads runs, answers with verdicts
 * run_open.c       what a run starts with
 * supervise.c      one run from its start to the verdict: clone, output, limits, death, results
 * group.c          cgroups v1 and v2
 * tree.c           the file tree a program sees
 * init.c           pid 1 of a run: mounts, files, start of the program, its exit status
 * program.c        the last steps in the program's own process: descriptors, limits, capabilities, filter
 * keeper.c         a process inside a prepared tree, or a whole prepared sandbox, that clones the inits
 * zygote.c         beside it a Python that forks the programs; zygote.py is its text
 *
 * A single-threaded static program without a heap: blocks come from mmap and go back after each run, and small
 * requests lie in one shared block that is wiped, so nothing of one run is in memory when the next one starts. zygote.c and what it needs are the shared library that the Python of a
 * zygote loads. Failed steps return -1 with errno and the step's name in *step. */
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
#define WORK_FOLDER "/box"
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

enum init_word { INIT_BORN, INIT_FAILED, INIT_WORK, INIT_READY, INIT_ENDED, INIT_SAMPLE };
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
    int fd_go;   /* strict without a keeper: a byte comes when the user map is written */
    int fd_base; /* a detached mount of base; tree_build opens it when the launcher did not */
    int fd_shown[SHOWN_MAX];  /* likewise of the shown folders */
    int fd_tasks[GROUPS_MAX]; /* of its groups; the program joins by writing 0 */
    int group_count;
    int64_t shared_bytes; /* what each process has from its zygote */
    bool
        prepared; /* cloned by a keeper: the tree stands already, memory and descriptors are its own */
    bool spare;   /* init_spare was done before the run came */
    bool waits;   /* for a program of the zygote, which enters from outside */
    bool sampled; /* no cgroup counts: init does */
};

extern struct sock_fprog launcher_filters[2]; /* the usual one, one with locks */

/* How far the program's process came; in memory that it shares with its starter until it runs hostile code. */
struct start {
    const char *volatile step;
    volatile int error, exec_error;
};
struct start *start_map(void); /* NULL: no memory */

/* What the tree of a spare init was made for: a run with other limits makes that part anew. */
struct spare_tree {
    int64_t disk_bytes;
    uint32_t inodes;
    bool execute_work, stands;
};
extern struct spare_tree spare_tree;
/* In an init that has its namespaces, its users mapped: everything that does not depend on the run, for a run like the
 * last one. */
int init_spare(enum sandbox_mode mode, const char **step);
/* pid 1 of a run. */
__attribute__((noreturn)) void init_main(struct init_job *job);
/* INIT_ENDED with what wait(2) said and the CPU time of the children. */
void say_ended(int fd_status, int status, int exec_error);
void say_failed(int fd_status, const char *step, int error);
int join_groups(const struct init_job *job);

/* ---- program.c ---- */
int program_prepare(const struct init_job *job, bool zygote, const char **step);
int bounding_drop(void);              /* so that no execve gives any capability back */
int capabilities_drop(bool bounding); /* bounding: that set too */

/* ---- tree.c ---- */
/* From the host's tree to the sandbox's, read-only but for the mount points of tree_private. `job` may be NULL. The
 * working folder is the new root before tree_enter and "/" after it. */
int tree_build(struct init_job *job, const char **step);
int tree_private(const struct init_job *job,
                 const char **step); /* work, tmp, shm, proc of one run */
int tree_files(const struct init_job *job, const char **step);
int tree_private_undo(const char **step);
int tree_proc(const char **step);  /* /proc of the caller's pid namespace */
int tree_enter(const char **step); /* pivot_root; the host's tree is gone */
int tree_seal(const char **step);  /* the root becomes read-only */

/* ---- namespaces.c ---- */
enum {
    RUN_NAMESPACES = 0x7C020000
}; /* user, mount, pid, net, ipc, uts; init unshares cgroup itself */
/* clone3 as fork: 0 in the child. pidfd may be NULL, cgroup -1. */
int clone_process(uint64_t flags, int *pidfd, int cgroup);
pid_t pid_of(int pidfd); /* as we see it; -1 */
/* Maps INSIDE_ID of the namespace of `pid` to `outside`. */
int map_user(pid_t pid, uid_t outside, gid_t outside_group);
/* In the mapped child: becomes INSIDE_ID. */
int become_inside(void);
void descriptor_close(int *fd);

/* ---- keeper.c ---- */
struct keeper_request {
    struct run_head head;
    int group_count;
    int64_t shared_bytes;
    bool has_channel, has_body, sampled, waits;
};
/* The status is the first, so that init can close all after it. */
enum keeper_descriptor { KEEPER_STATUS, KEEPER_STDIN, KEEPER_STDOUT, KEEPER_STDERR, KEEPER_TASKS };
/* then the tasks of its groups, the channel, the body unless it lies in launcher_exchange; for a zygote also its pid and
 * its mount namespace */

/* Where the body of a small run lies, shared by the launcher and its keepers. Only one run has it at a time. */
enum { EXCHANGE_BYTES = 256 << 10 };
extern uint8_t *launcher_exchange;

/* Serves until its socket ends: requests, each with its descriptors. */
__attribute__((noreturn)) void keeper_serve(int control);
/* Strict and pooled: for each byte one spare init, which says INIT_BORN with its pidfd, takes one request, and is gone. */
__attribute__((noreturn)) void keeper_serve_spares(int control, enum sandbox_mode mode);

#endif
