#include "ops/checkpoints.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "step_40", and no other word; 0: it is none. */
static uint64_t step_of(const char *name)
{
    char *end;
    if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9')
        return 0;
    uint64_t step = strtoull(name + 5, &end, 10);
    return *end == 0 ? step : 0;
}

static void insert(struct checkpoints *checkpoints, uint64_t step)
{
    if (checkpoints->count == CHECKPOINTS_SHOWN_MAX) {
        if (step < checkpoints->steps[0])
            return;
        memmove(checkpoints->steps, checkpoints->steps + 1,
                (CHECKPOINTS_SHOWN_MAX - 1) * sizeof checkpoints->steps[0]);
        checkpoints->count--;
    }
    size_t at = checkpoints->count++;
    for (; at > 0 && checkpoints->steps[at - 1] > step; at--)
        checkpoints->steps[at] = checkpoints->steps[at - 1];
    checkpoints->steps[at] = step;
}

void checkpoints_read(const char *run_folder, struct checkpoints *checkpoints)
{
    char path[FILE_PATH_MAX];
    *checkpoints = (struct checkpoints){0};
    DIR *dir = file_path(path, "%s/checkpoints", run_folder) == STATUS_OK ? opendir(path) : NULL;
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        uint64_t step = step_of(entry->d_name);
        if (step > 0)
            insert(checkpoints, step);
    }
    closedir(dir);
}

uint64_t checkpoints_newest(const char *run_folder)
{
    struct checkpoints all;
    checkpoints_read(run_folder, &all);
    return all.count > 0 ? all.steps[all.count - 1] : 0;
}

void checkpoints_text(const struct checkpoints *checkpoints, char *out, size_t size)
{
    size_t used = 0;
    snprintf(out, size, "none");
    for (size_t i = 0; i < checkpoints->count && used + 24 < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64, i > 0 ? ", " : "",
                                 checkpoints->steps[i]);
}

enum status checkpoints_find(const char *run_folder, uint64_t step, char path[FILE_PATH_MAX],
                             uint64_t *found)
{
    struct checkpoints all;
    char list[400];
    checkpoints_read(run_folder, &all);
    checkpoints_text(&all, list, sizeof list);
    if (all.count == 0)
        return FAIL(STATUS_NOT_FOUND,
                    "%s has no checkpoint yet: wait for one (learner.checkpoint_every), or stop "
                    "the run, which makes one",
                    run_folder);
    *found = step != 0 ? step : all.steps[all.count - 1];
    TRY(file_path(path, "%s/checkpoints/step_%" PRIu64, run_folder, *found));
    return file_exists(path) ? STATUS_OK
                             : FAIL(STATUS_NOT_FOUND,
                                    "%s has no checkpoint of step %" PRIu64 "; it has those of %s",
                                    run_folder, *found, list);
}
