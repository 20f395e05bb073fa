/* learner/eval_folder.h - weights of the versions that are due for evaluation, as folders that another process reads.
 *
 *     RUN/eval/step_N/hf            Hugging Face folder, f32: the exact weights of version N
 *     RUN/eval/step_N/version.json  version, branch, digest of the weights, numerics
 *     RUN/eval/last.json            {"version": N}: the run ended well with version N, no folder comes after it
 *
 * step_N is whole or absent (written as `partial`, synced, renamed). Training pays for a copy of the weights in host
 * memory; a thread writes them, one folder at a time. Copies wait their turn within EVAL_WAITING_BYTES_MAX; a version that
 * is due when there is no room gets no folder. Files of a checkpoint of the same version are linked instead. A version that was trained again
 * with other weights (a new branch) takes the name, the old folder becomes step_N.branch_B.
 *
 * A failure to write is an alarm and no reason to stop. One thread besides the writer. */
#ifndef LEARNER_EVAL_FOLDER_H
#define LEARNER_EVAL_FOLDER_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/file.h"
#include "core/weights_version.h"
#include "learner/alarms.h"
#include "learner/trainer.h"

enum { EVAL_WAITING_MAX = 16, EVAL_WAITING_BYTES_MAX = 512 << 20 };

struct eval_job {
    struct weights_version of;
    float *flat; /* owned; NULL: files are linked */
};

struct eval_writer {
    char root[FILE_PATH_MAX], like[FILE_PATH_MAX];
    struct alarms *alarms; /* borrowed */
    pthread_t thread;
    bool running;     /* the thread is to be joined */
    atomic_bool done; /* it has ended */
    /* the job; the thread's while it runs */
    struct eval_job job;
    const struct trainer *trainer; /* shape and parameter table, which never change */
    enum status status;
    char sentence[STATUS_TEXT_MAX];
    struct eval_job waiting[EVAL_WAITING_MAX]; /* oldest first */
    uint32_t waiting_count;
    uint64_t passed_over; /* versions without a folder, because too many waited */
};

/* Makes RUN/eval, takes away what a kill left of a folder, and last.json. like: folder of the tokenizer's files. */
MUST_CHECK enum status eval_writer_open(struct eval_writer *writer, const char *run_folder,
                                        const char *like, struct alarms *alarms);
void eval_writer_close(
    struct eval_writer *writer); /* waits for all folders; a zeroed one is fine */
/* Once a step: the next copy that waits is written. */
void eval_writer_turn(struct eval_writer *writer);
/* checkpoint: folder of a checkpoint of this very version, "" when there is none. `must` waits for the folders before it
 * instead of passing the version over. Fails only when the weights cannot be read. */
MUST_CHECK enum status eval_writer_put(struct eval_writer *writer, struct trainer *trainer,
                                       const struct weights_version *version,
                                       const char *checkpoint, bool must);
/* After the run's last version: waits for its folder, then last.json. */
void eval_writer_end(struct eval_writer *writer, uint64_t version);

#endif
