/* learner/checkpoint.h - everything a learner needs to go on bit for bit.
 *
 * <folder>/step_<version>/ holds a Hugging Face folder (hf/, f32), optimizer.safetensors (m, v) and
 * state.json (version, branch, update counts, digests of weights, m and v), and a manifest of sizes and hashes of
 * all of these (learner/manifest.h). It is written under a temporary name, synced and renamed, so it is whole or
 * absent; before anything of it is used, every byte is checked against the manifest. One of format 1, which had no
 * manifest, is taken with a warning: its digests still guard weights and optimizer state. One thread. */
#ifndef LEARNER_CHECKPOINT_H
#define LEARNER_CHECKPOINT_H

#include "learner/trainer.h"

struct checkpoint_state {
    uint64_t version;
    uint32_t branch;
    uint64_t digest; /* of the weights */
    uint64_t updates, skipped;
};

/* like: model folder whose tokenizer files are copied. path out: of the checkpoint made. Of the versions up to
 * this one the `keep` newest stay. On failure nothing stands under its final name and the room is given back;
 * earlier checkpoints are untouched. */
MUST_CHECK enum status checkpoint_save(const char *folder, struct trainer *trainer,
                                       const struct checkpoint_state *state, const char *like,
                                       uint32_t keep, char *path, size_t path_size);
/* The newest checkpoint of a version < below (UINT64_MAX: any) that is as its manifest says; NOT_FOUND when
 * there is none. Damaged ones are passed over with a warning. */
MUST_CHECK enum status checkpoint_newest(const char *folder, uint64_t below, char *path,
                                         size_t path_size, uint64_t *version);
/* The newest folder of a checkpoint, whole or damaged; false: there is none. */
bool checkpoint_stands(const char *folder, char *path, size_t path_size);
/* Fills trainer (created from <path>/hf) and state. CORRUPT with file and both digests. The manifest is not read
 * again when checkpoint_newest just gave this path. */
MUST_CHECK enum status checkpoint_load(const char *path, struct trainer *trainer,
                                       struct checkpoint_state *state);

#endif
