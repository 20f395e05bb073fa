/* learner/learner.h - the process that trains: plans in, weight versions out.
 *
 * One thread. It asks the store for the plan that makes version v + 1, fetches its groups, trains the plan's
 * minibatches in order, registers (version, digest) with the store, and publishes the weights; checkpoints
 * let a killed learner go on bit for bit, because the store hands out the same plans again. */
#ifndef LEARNER_LEARNER_H
#define LEARNER_LEARNER_H

#include <stdatomic.h>

#include "core/buffer.h"
#include "core/settings.h"

struct learner;

struct monitor;
struct learner_options {
    const struct settings *settings; /* borrowed */
    const char *endpoint, *run, *folder;
    struct monitor *monitor; /* borrowed; NULL: none */
};

/* A process of rank `rank` >= 1 of settings.learner.ranks (learner/follower.h). */
MUST_CHECK enum status learner_follow(const struct learner_options *options, int rank,
                                      atomic_int *stop_signals);

MUST_CHECK enum status learner_create(struct learner **learner,
                                      const struct learner_options *options);
void learner_destroy(struct learner **learner);
/* OK: the last version was trained and its checkpoint reported, or a drain (one signal, or the store's notice)
 * ended in a checkpoint; a plan in training is finished first. CANCELLED: a second signal, which leaves the last
 * checkpoint as it is. Any other failure (a full disk included) leaves it too, and the same plans come again. */
MUST_CHECK enum status learner_run(struct learner *learner, atomic_int *stop_signals);
/* After a failure of learner_run: the same would come again, so the run is to stop (learner.non_finite_max). */
bool learner_must_stop(const struct learner *learner);
/* For --check: what a learner will take of its device's memory. Opens no device. */
MUST_CHECK enum status learner_budget_text(const struct settings *settings, struct buffer *text);

#endif
