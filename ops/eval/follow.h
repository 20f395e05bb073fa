/* ops/eval/follow.h - what `weir-eval --follow` finds and leaves in RUN/eval: the folders of versions, table.jsonl, and
 * what of it belongs into metrics.jsonl. ops/eval/follow.c evaluates. One thread. */
#ifndef OPS_EVAL_FOLLOW_H
#define OPS_EVAL_FOLLOW_H

#include <jansson.h>
#include <stdbool.h>

#include "core/eval_schedule.h"
#include "core/file.h"
#include "transport/redis_view.h"

enum { FOLLOW_VERSIONS_MAX = 4096 };

/* A folder RUN/eval/step_N that has its weights. */
struct follow_version {
    uint64_t version, digest, numerics;
    uint32_t branch;
    bool settled; /* the table has a row of it for every set, or says that it was skipped */
};

/* RUN/eval as it is on disk. */
struct follow_folder {
    char run[FILE_PATH_MAX], root[FILE_PATH_MAX];
    const struct eval_sets *sets; /* borrowed */
    json_t *rows;                 /* of the table */
    int table_fd;
    struct follow_version versions[FOLLOW_VERSIONS_MAX]; /* ascending; of the last scan */
    size_t count;
};

/* Reads the table; a last line that a kill cut off goes. */
MUST_CHECK enum status follow_open(struct follow_folder *folder, const char *run,
                                   const struct eval_sets *sets);
void follow_close(struct follow_folder *folder); /* a zeroed one is fine */
MUST_CHECK enum status follow_scan(struct follow_folder *folder);
/* Versions that are not settled, oldest first, as indices; how many. */
size_t follow_waiting(const struct follow_folder *folder, size_t waiting[FOLLOW_VERSIONS_MAX]);
bool follow_has_row(const struct follow_folder *folder, const struct follow_version *version,
                    const char *set);
/* Appends a row, whose "step", "branch", "digest" and "wall" are set here, and syncs it. set NULL: of all sets. */
MUST_CHECK enum status follow_add_row(struct follow_folder *folder,
                                      const struct follow_version *version, json_t *row);
/* "skipped" or "failed", with why. */
MUST_CHECK enum status follow_add_verdict(struct follow_folder *folder,
                                          const struct follow_version *version, const char *verdict,
                                          const char *why);
/* Removes the weights of settled versions but the newest `keep`. Failures are logged. */
void follow_clean(struct follow_folder *folder, uint32_t keep);
/* The learner said that no folder comes any more. */
bool follow_ended(const struct follow_folder *folder);
/* After the learner's last line: every figure goes into the line of its version; those that no line had go to Redis. */
MUST_CHECK enum status follow_complete_metrics(const struct follow_folder *folder,
                                               struct redis_view *redis);

#endif
