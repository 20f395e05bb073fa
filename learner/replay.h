/* learner/replay.h - `weir replay`: steps of a run trained once more, without a store.
 *
 * The plans and groups come from a file that `weir-store replay` made of the ledger; the weights from a checkpoint
 * of the run or from the model it began with. The code that trains is the run's own. One thread. */
#ifndef LEARNER_REPLAY_H
#define LEARNER_REPLAY_H

#include <stdio.h>

#include "learner/learner.h"

struct learner_replay {
    const char *file;       /* of weir-store replay steps */
    const char *checkpoint; /* of the version before the first in `file`; "": the start model */
    /* "": none. Otherwise every version up to the last becomes <save>/checkpoints/step_V when it is in `versions`
     * ("3,5"). */
    const char *save, *versions;
    /* Checkpoints of the run, to name the first parameter that differs; "": none. */
    const char *run_checkpoints;
    FILE *out; /* one line a version */
};

/* Trains and prints one line a version. *equal: every version has its registered digest. CORRUPT: the
 * checkpoint is damaged or of another branch than the ledger, so an older one is to be tried.
 * options->folder: a folder of its own, for ranks and saved versions. */
MUST_CHECK enum status learner_replay(const struct learner_options *options,
                                      const struct learner_replay *replay, bool *equal);
/* `weir-learner replay FILE CHECKPOINT RUN_CHECKPOINTS SAVE VERSIONS`, "-" for "", then options as of weir-learner. The exit
 * code: 0 equal, 1 different. */
int learner_replay_main(int argc, char **argv, FILE *out);

#endif
