/* learner/rollout_log.h - rollouts/step_N.jsonl.zst: samples of a step with what the learner computed for each token.
 *
 *     TRY(rollout_log_open(&log, folder, settings, version));
 *     rollout_log_choose(log, plan, groups, chosen);       which groups, before the updates
 *     ... updates fill the results of the chosen sequences (learner/token_results.h) ...
 *     TRY(rollout_log_put(log, &step));                    copies; a thread of its own formats, packs and writes
 *     rollout_log_flush(log);                              before a checkpoint: all steps are on disk
 *
 * Which groups is a function of run seed, step and plan alone, and the bytes are one of the step: a step that is trained
 * again after a kill writes the same file. A disk that is full costs the file, with a line in the log, and nothing else.
 * docs/rollout-files.md has the members of a line; ops/rollout_file.h reads them. One thread calls. */
#ifndef LEARNER_ROLLOUT_LOG_H
#define LEARNER_ROLLOUT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"
#include "learner/sequence.h"
#include "proto/messages.h"

C_BEGIN

struct rollout_log;

/* version: of the weights in the trainer; files of later steps will be made again and are removed. *log NULL:
 * metrics.rollout_tokens is 0, and NULL is fine everywhere below. */
MUST_CHECK enum status rollout_log_open(struct rollout_log **log, const char *folder,
                                        const struct settings *settings, uint64_t version);
void rollout_log_close(struct rollout_log **log); /* after what was put is written, or 5 s */

/* chosen [plan->group_count]: whole groups of at most metrics.rollout_tokens response tokens together, in an order drawn
 * from seed, step and group; when not one fits, the smallest. NULL log: none. */
void rollout_log_choose(const struct rollout_log *log, const struct plan *plan,
                        const struct group_data *groups, bool *chosen);

struct rollout_step { /* borrowed for the call */
    uint64_t step;
    const struct group_data *groups; /* [group_count] */
    const bool *chosen;              /* [group_count] */
    uint32_t group_count;
    const struct train_sequence *sequences; /* all that were admitted */
    uint32_t sequence_count;
    const struct loss_settings *loss; /* for the shaped rewards */
    uint32_t response_cap;
};
/* Waits 1 s while the step before is still being written, and not at all while it is later than that: a disk that hangs
 * costs files, not steps. TIMEOUT: this step has no file; LIMIT or NO_MEMORY: no room for the
 * copies. */
MUST_CHECK enum status rollout_log_put(struct rollout_log *log, const struct rollout_step *step);
MUST_CHECK enum status rollout_log_flush(struct rollout_log *log); /* TIMEOUT after 5 s */

/* The text of a step, for tests and benchmarks: what a file holds before it is packed. */
MUST_CHECK enum status rollout_log_text(const struct rollout_step *step, struct buffer *text);

C_END
#endif
