/* sandbox/launcher/group.h - the cgroups of a launcher: whatever of v1 and v2 is mounted and may be written.
 *
 *     <mount>/<parent>/weir.<pid>.<start>/       one per launcher, locked while it lives
 *     <mount>/<parent>/weir.<pid>.<start>/<n>    of one run after the other
 *     <mount>/<parent>/weir.<pid>.<start>/ours   keepers and inits
 *
 * What a launcher that was killed left is removed by the next one. */
#ifndef SANDBOX_LAUNCHER_GROUP_H
#define SANDBOX_LAUNCHER_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/sandbox.h"

enum hierarchy { GROUP_MEMORY, GROUP_PIDS, GROUP_CPUACCT, GROUP_UNIFIED, HIERARCHY_COUNT };

enum group_file { FILE_CPU, FILE_OOM, FILE_PEAK, FILE_COUNT, FILE_BYTES, GROUP_FILES };

/* The groups of one run. The next run gets them too, when nothing was left in them: making and removing them is a tenth
 * of a strict run. A program sees none of it: its cgroup namespace begins there, and no cgroup file system is mounted. */
struct group {
    int folder[HIERARCHY_COUNT]; /* -1: none */
    int tasks[HIERARCHY_COUNT];
    int file[GROUP_FILES]; /* what is read again and again; -1: not open */
    int64_t memory_bytes;  /* limits that are set */
    uint32_t processes;
    int64_t cpu_before_ns, oom_before;
    char name[16];
};

void groups_open(const char *parent, uint32_t *features);
void groups_close(void);
void group_none(struct group *group); /* nothing open */
/* Empty groups with these limits, whose counters stand at this run's beginning; 0, or -1 with the step. */
int group_begin(struct group *group, const struct sandbox_limits *limits, const char **step);
int64_t group_cpu_ns(struct group *group); /* since begin; -1: not counted here */
bool group_out_of_memory(struct group *group);
int64_t group_memory_peak(struct group *group); /* bytes, -1: not counted */
void group_kill(const struct group *group);
/* The caller leaves the cgroups of the host for one of the launcher's own without limits: inits are there, so that a
 * program's limits are about its own processes, and what it reads of its init names nothing of the host. */
int groups_join_ours(void);
/* Waits until nothing is in them. -1: something is left, and the next run gets other groups. */
int group_end(struct group *group);

#endif
