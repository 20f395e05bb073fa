/* learner/follower.h - the learner processes of rank 1 and above: they do what rank 0 says until it stops. */
#ifndef LEARNER_FOLLOWER_H
#define LEARNER_FOLLOWER_H

#include <stdatomic.h>

#include "learner/rank_wire.h"
#include "learner/sequence.h"

struct settings;
struct trainer_loss;

/* Rank 0: a minibatch to all followers; scale [count]. */
MUST_CHECK enum status follower_send_update(struct rank_wire *wire,
                                            const struct train_sequence *sequences, uint32_t count,
                                            const double *scale,
                                            const struct trainer_loss *objective);
/* Sequences to be scored by their shares (trainer_score). */
MUST_CHECK enum status follower_send_score(struct rank_wire *wire,
                                           const struct train_sequence *sequences, uint32_t count);
struct monitor;
/* Rank `rank` of settings.learner.ranks; folder: of the run; monitor may be NULL. OK when rank 0 said stop. A signal is left to rank 0, which
 * drains; a second one ends this process (CANCELLED). */
MUST_CHECK enum status follower_run(const struct settings *settings, int rank, const char *folder,
                                    int64_t longest, struct monitor *monitor,
                                    atomic_int *stop_signals);

#endif
