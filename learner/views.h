/* learner/views.h - what people see of a step besides its metrics: rollout files, histograms, TensorBoard files, spans.
 * A view only: what fails here is said once in the log, and the run goes on. On a disk that is nearly full (file_has_room)
 * no file of them grows, so that the ledger and the checkpoints have what is left. One thread. */
#ifndef LEARNER_VIEWS_H
#define LEARNER_VIEWS_H

#include <stdio.h>

#include "core/event_file.h"
#include "learner/rollout_log.h"
#include "learner/token_counts.h"

C_BEGIN

struct learner;
struct train_stats;
struct learner_minibatch;

enum view_part { VIEW_ROOM, VIEW_HISTOGRAMS, VIEW_EVENTS, VIEW_ROLLOUTS, VIEW_PARTS };

struct learner_views {
    struct rollout_log *rollouts; /* NULL: metrics.rollout_tokens is 0 */
    struct event_file *events;    /* NULL: metrics.tensorboard is false */
    FILE *histograms;             /* NULL: not opened yet */
    /* of the plan in hand, in its arena */
    struct train_sequence *sequences;
    uint32_t sequence_count;
    bool *chosen; /* [groups of the plan] */
    struct token_counts counts;
    bool failed[VIEW_PARTS]; /* said in the log */
};

/* After the weights were loaded: what belongs to later steps is removed. What cannot be opened is tried again after each
 * step. */
void views_open(struct learner *learner);
void views_close(struct learner *learner);
/* Before the first update of a plan: which rollouts will be shown. */
MUST_CHECK enum status views_prepare(struct learner *learner, const struct plan *plan,
                                     const struct group_data *groups,
                                     const struct learner_minibatch *minibatches);
/* After an update that counts: how its tokens are spread. */
void views_add_update(struct learner *learner);
/* The metrics rows that come from distributions; before the line of the step is written. */
void views_measure(struct learner *learner, const struct plan *plan,
                   const struct group_data *groups, const struct train_stats *stats);
/* After the line of the step: `line` is its JSON, one object. */
void views_step(struct learner *learner, const struct plan *plan, const struct group_data *groups,
                const char *line);
/* Before a checkpoint is reported: everything is on disk, unless that takes longer than 5 s. */
void views_flush(struct learner *learner);

C_END
#endif
