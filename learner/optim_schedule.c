#include "learner/optim_schedule.h"

#include <math.h>

struct optim_schedule optim_schedule_of_run(const struct settings *settings)
{
    const struct optim_settings *optim = &settings->optim;
    uint64_t total = optim->total_updates > 0
                         ? optim->total_updates
                         : (uint64_t)settings->run.steps * settings->learner.updates_per_publish;
    return (struct optim_schedule){.kind = (enum setting_lr_schedule)optim->schedule,
                                   .decay = (enum setting_lr_decay)optim->decay,
                                   .lr = optim->lr,
                                   .lr_end = optim->lr_end,
                                   .warmup = optim->warmup_updates,
                                   .decay_updates = optim->decay_updates,
                                   .total = total};
}

struct optim_schedule optim_schedule_of_sft(const struct settings *settings)
{
    const struct sft_settings *sft = &settings->sft;
    return (struct optim_schedule){.kind = (enum setting_lr_schedule)sft->schedule,
                                   .decay = (enum setting_lr_decay)sft->decay,
                                   .lr = sft->lr,
                                   .lr_end = sft->lr_end,
                                   .warmup = sft->warmup_updates,
                                   .decay_updates = sft->decay_updates,
                                   .total = sft->steps};
}

static double cosine(const struct optim_schedule *schedule, uint64_t update)
{
    uint64_t span = schedule->total > schedule->warmup ? schedule->total - schedule->warmup : 1;
    double share =
        update < schedule->total ? (double)(update - schedule->warmup) / (double)span : 1;
    return schedule->lr * (schedule->lr_end + (1 - schedule->lr_end) * 0.5 *
                                                  (1 + cos(share * 3.14159265358979323846)));
}

static double wsd(const struct optim_schedule *schedule, uint64_t update)
{
    uint64_t span =
        schedule->decay_updates < schedule->total ? schedule->decay_updates : schedule->total;
    uint64_t begin = schedule->total - span;
    if (update < begin)
        return schedule->lr;
    double x = update < schedule->total ? (double)(update - begin) / (double)span : 1;
    double left = schedule->decay == LR_DECAY_SQRT ? 1 - sqrt(x) : 1 - x;
    return schedule->lr * (schedule->lr_end + (1 - schedule->lr_end) * left);
}

double optim_schedule_lr(const struct optim_schedule *schedule, uint64_t update)
{
    if (update < schedule->warmup)
        return schedule->lr * (double)(update + 1) / (double)schedule->warmup;
    switch (schedule->kind) {
    case LR_COSINE:
        return cosine(schedule, update);
    case LR_WSD:
        return wsd(schedule, update);
    case LR_CONSTANT:
    default:
        return schedule->lr;
    }
}
