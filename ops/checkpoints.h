/* ops/checkpoints.h - which checkpoints a run folder has, by their names only. One thread. */
#ifndef OPS_CHECKPOINTS_H
#define OPS_CHECKPOINTS_H

#include "core/file.h"

enum { CHECKPOINTS_SHOWN_MAX = 64 };

struct checkpoints {
    uint64_t steps[CHECKPOINTS_SHOWN_MAX]; /* the newest so many, ascending */
    size_t count;
};

void checkpoints_read(const char *run_folder, struct checkpoints *checkpoints);
uint64_t checkpoints_newest(const char *run_folder); /* 0: there is none */
/* "20, 40" or "none" */
void checkpoints_text(const struct checkpoints *checkpoints, char *out, size_t size);
/* Folder of step `step`; 0: of the newest. NOT_FOUND names those that are there. */
MUST_CHECK enum status checkpoints_find(const char *run_folder, uint64_t step,
                                        char path[FILE_PATH_MAX], uint64_t *found);

#endif
