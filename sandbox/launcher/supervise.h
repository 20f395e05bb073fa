/* sandbox/launcher/supervise.h - one run from its start to its verdict. */
#ifndef SANDBOX_LAUNCHER_SUPERVISE_H
#define SANDBOX_LAUNCHER_SUPERVISE_H

#include "sandbox/launcher/launcher.h"

/* A growing block of bytes with a limit, outside every heap. */
struct block {
    uint8_t *bytes; /* [reserved], NULL until the first byte */
    size_t size, reserved;
};

struct found_file {
    bool found;
    struct block block;
};

/* What the launcher answers; blocks are freed by answer_free. */
struct answer {
    struct run_tail tail;
    struct block output, error;
    struct found_file *files; /* [tail.result_count] */
};

/* What a launcher is; set by launcher_main. */
struct launcher {
    uint32_t features, slot;
    bool root;     /* may map users of its choice */
    uid_t outside; /* the sandbox's user on the host */
    gid_t outside_group;
    int control;
    bool control_gone; /* the caller is dead or has closed */
    char imports[2048];
};
extern struct launcher launcher;

struct run_descriptors {
    int body, channel, input, output; /* -1: none */
};

void supervise(const struct run_head *head, const uint8_t *body,
               const struct run_descriptors *given, struct answer *answer);
void answer_free(struct answer *answer);

/* ---- what a run starts with (run_open.c); -1 and errno ---- */
int stdin_of(const struct run_items *items);
int output_pipe(int *ours, int *theirs);
/* A folder of the host as a detached mount, its owner being the sandbox's user; -1: init opens the path itself. */
int folder_open(const char *path);

/* ---- keepers (keeper_start.c) ---- */
/* Whether strict runs can have spares: where the keepers' /proc is masked nobody there can map users. */
bool keeper_spares(void);
/* Clones pid 1 of the run, or takes the spare, inside the tree or sandbox of its mode's keeper, which is started at need. `status` is our end of
 * job->fd_status; fd_body -1: the body lies in launcher_exchange. 0, or -1 with the step, and with a pidfd when there is
 * something to kill. */
int keeper_clone(struct init_job *job, int fd_body, int status, int *pidfd, const char **step);
/* Has the zygote fork the program into the run's pid and mount namespaces; -1: it is gone. */
int zygote_fork(const struct init_job *job, int fd_body, const int spaces[2]);
/* After a run: the spare of the next one stands, or there is none. So whoever counts processes and descriptors when a
 * verdict comes finds the same after each. */
void keepers_settle(void);
int zygote_socket(void); /* hangs up when it is gone; -1: not started */
void zygote_lost(void);
void keepers_stop(void);

#endif
