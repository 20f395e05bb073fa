/* learner/learner_state.h - what the files of learner/ share; nobody outside includes it. */
#ifndef LEARNER_LEARNER_STATE_H
#define LEARNER_LEARNER_STATE_H

#include <stdio.h>

#include "core/alert_rules.h"
#include "core/arena.h"
#include "core/schedule.h"
#include "learner/alarms.h"
#include "learner/checkpoint.h"
#include "learner/eval_folder.h"
#include "learner/eval_rows.h"
#include "learner/learner.h"
#include "learner/learner_metrics.h"
#include "learner/publish.h"
#include "learner/trainer.h"
#include "learner/views.h"
#include "transport/link.h"
#include "transport/monitor.h"
#include "transport/redis_view.h"

/* Rewards of the plan in hand, as scored and as shaped. */
struct learner_shaped {
    double raw_sum, sum;
    uint64_t count, masked; /* rollouts; of them not trained for how they ended */
};

struct learner {
    const struct settings *settings;
    struct schedule schedule;         /* settings->schedule.changes */
    struct schedule_settings_now now; /* loss and optim settings of the plan in hand */
    uint32_t response_cap;            /* of responses, when the plan in hand was made */
    struct learner_shaped shaped;
    struct learner_metrics metrics;
    char run[WIRE_NAME_MAX], folder[FILENAME_MAX], checkpoints[FILENAME_MAX];
    char weights_path[FILENAME_MAX];
    char start_folder[FILENAME_MAX]; /* model the run began with: tokenizer files */
    struct trainer trainer;
    struct ranks *ranks; /* NULL: the only learner process */
    bool finished;       /* learner_run ended well */
    struct link *link;
    struct arena *arena; /* the plan in hand and its groups */
    struct arena *mail;  /* the message in hand, when it is neither */
    struct publisher publisher;
    struct redis_view *redis;
    struct monitor *monitor; /* borrowed */
    int64_t published_ns;    /* its stats, to Redis */
    bool ready;              /* as the monitor was told */
    struct eval_writer eval; /* of versions that are evaluated; zeroed: eval.every is 0 */
    struct eval_rows eval_rows;
    FILE *metrics_file;
    FILE *gradients_file; /* NULL: learner.statistics_every is 0 */
    struct learner_views views;
    struct alarms alarms;
    struct alert_watch alerts; /* of steps */

    uint64_t version; /* of the weights in the trainer */
    uint32_t branch;
    uint64_t checkpoint_version, checkpoint_digest; /* loaded at start or last written */
    uint64_t request; /* counter of acknowledged requests; begins at the link's incarnation */
    bool draining, stopping, must_stop;
    bool resumed;     /* from a checkpoint */
    bool mid_plan;    /* the weights in the trainer are those of no registered version */
    uint64_t notices; /* of the store so far */
    atomic_int *stop_signals;
    int64_t step_begin_ns;
};

/* learner.c, for replay.c too: a learner without weights, connection or outputs; then weights from a checkpoint or from
 * the start model, on all ranks. */
MUST_CHECK enum status learner_make(struct learner **learner,
                                    const struct learner_options *options);
MUST_CHECK enum status learner_load_checkpoint(struct learner *learner, const char *path,
                                               struct checkpoint_state *state);
MUST_CHECK enum status learner_load_start(struct learner *learner);
MUST_CHECK enum status learner_join_ranks(struct learner *learner);
/* The minibatches of a plan in order; version + 1 is in the trainer then. */
MUST_CHECK enum status learner_train(struct learner *learner, const struct plan *plan,
                                     const struct group_data *groups, struct train_stats *stats);

/* report.c: its table and device to the monitor. */
void learner_show(struct learner *learner);
/* store.c: requests to the store, each with a name and a deadline. */
MUST_CHECK enum status learner_connect(struct learner *learner, const char *endpoint);
/* CANCELLED, from any of these: the run stops or drains and nothing would be lost, or a second signal came.
 * The plan and what it points to live in learner->arena until the next one is fetched. */
MUST_CHECK enum status learner_fetch_plan(struct learner *learner, struct plan *plan);
MUST_CHECK enum status learner_fetch_groups(struct learner *learner, struct plan *plan,
                                            struct group_data *groups);
MUST_CHECK enum status learner_register(struct learner *learner, uint64_t version, uint64_t parent,
                                        uint64_t digest);
/* Waits for a notice: after it learner->branch is the store's. */
MUST_CHECK enum status learner_await_notice(struct learner *learner);
MUST_CHECK enum status learner_report_checkpoint(struct learner *learner, uint64_t version,
                                                 uint64_t digest, const char *path);
MUST_CHECK enum status
learner_idle(struct learner *learner); /* handles messages that are there; never waits */
/* Tells the store of alarms that no step will carry: the process is about to end. */
void learner_last_alarms(struct learner *learner);
/* batch.c: minibatch i of the plan, in the plan's arena, ready for trainer_update; now, response_cap and shaped are of
 * this plan then. */
struct learner_minibatch {
    struct train_sequence *sequences;
    uint32_t count;
};
MUST_CHECK enum status learner_prepare(struct learner *learner, const struct plan *plan,
                                       const struct group_data *groups,
                                       struct learner_minibatch **minibatches);
/* admit.c: what of a plan is trained. Adds the sequences of one group; one that breaks a promise of the store is left
 * out with an alarm. current: the weights in the trainer are still those of learner->version. */
MUST_CHECK enum status learner_admit(struct learner *learner, const struct group_data *group,
                                     uint32_t index, bool current, struct train_sequence *sequences,
                                     uint32_t *count);
/* watch.c */
/* Of one update: alarms of what spikes or collapses; the line of gradients.jsonl, if it was measured. */
void learner_watch(struct learner *learner, const struct train_stats *stats, double lr);
/* Of one step, when all its metrics are set: alarms of core/alert_rules.h. */
/* Gauges that alerts compare before the first step is made: no alarm then. */
void learner_watch_begin(struct learner *learner);
void learner_watch_step(struct learner *learner);
/* report.c */
/* Opens metrics.jsonl for appending; lines of versions after learner->version (they will be made again) and a
 * line cut off by a kill are removed, so that each step stands there once. */
MUST_CHECK enum status learner_metrics_open(struct learner *learner);
MUST_CHECK enum status learner_report(struct learner *learner, const struct plan *plan,
                                      const struct group_data *groups,
                                      const struct train_stats *stats, double wait_s,
                                      double train_s, double sync_s);

#endif
