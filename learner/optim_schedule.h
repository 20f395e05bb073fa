/* learner/optim_schedule.h - the learning rate of an update, for runs and for `weir sft`; pure.
 *
 * With n the update's number from 0, W warm-up updates, T the total, D the updates of the decay, e the end's share:
 *
 *     warm-up   n < W         lr (n + 1) / W
 *     constant  n >= W        lr
 *     cosine    W <= n < T    lr (e + (1 - e) (1 + cos(pi x)) / 2),  x = (n - W) / (T - W)   (arXiv:1608.03983 eq. 5)
 *     wsd       n < T - D     lr                                                             (arXiv:2404.06395 eq. 1)
 *               n < T         lr (e + (1 - e) f(x)),  x = (n - (T - D)) / D
 *               linear f = 1 - x;  sqrt f = 1 - sqrt(x)                                      (arXiv:2405.18392 eq. 1)
 *     n >= T                  lr e of cosine and wsd
 *
 * MiniMax-M1's continual pre-training (section 2.1) is wsd: 8e-5 for 2.5T tokens, then down to 8e-6 over 5T. Nothing
 * but n goes in, so a resumed run goes on with the same rates. Any thread. */
#ifndef LEARNER_OPTIM_SCHEDULE_H
#define LEARNER_OPTIM_SCHEDULE_H

#include <stdint.h>

#include "core/settings.h"

C_BEGIN

struct optim_schedule {
    enum setting_lr_schedule kind;
    enum setting_lr_decay decay;
    double lr, lr_end;              /* peak; share of it at the end */
    uint64_t warmup, decay_updates; /* the second of wsd */
    uint64_t total;
};

/* optim.* of a run; optim.total_updates 0 is run.steps * learner.updates_per_publish. */
struct optim_schedule optim_schedule_of_run(const struct settings *settings);
/* sft.*; the total is sft.steps. */
struct optim_schedule optim_schedule_of_sft(const struct settings *settings);
double optim_schedule_lr(const struct optim_schedule *schedule, uint64_t update);

C_END
#endif
