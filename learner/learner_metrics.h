#ifndef LEARNER_LEARNER_METRICS_H
#define LEARNER_LEARNER_METRICS_H

#include "core/metrics.h"

// clang-format off
/*      kind     name               path                          unit         meaning */
#define LEARNER_METRICS(ROW)                                                                                                       \
    ROW(GAUGE,   reward_mean,       "reward/mean",                "",          "Mean reward of all rollouts scored for this plan, those of zero-variance groups included. TRL: reward.") \
    ROW(GAUGE,   reward_trained,    "reward/trained_mean",        "",          "Mean reward of the rollouts in the plan only.")            \
    ROW(GAUGE,   reward_shaped,     "reward/shaped_mean",         "",          "The same after overlong and repetition penalties: what becomes advantages.") \
    ROW(GAUGE,   reward_min,        "reward/min",                 "",          "Least reward.")                                            \
    ROW(GAUGE,   reward_max,        "reward/max",                 "",          "Largest reward.")                                          \
    ROW(GAUGE,   reward_std,        "reward/std",                 "",          "Standard deviation over all rollouts of the plan.")        \
    ROW(GAUGE,   len_mean,          "len/mean",                   "tokens",    "Response length. verl: response_length/mean.")             \
    ROW(GAUGE,   len_p50,           "len/p50",                    "tokens",    "Median response length.")                                  \
    ROW(GAUGE,   len_p90,           "len/p90",                    "tokens",    "90th percentile.")                                         \
    ROW(GAUGE,   len_p99,           "len/p99",                    "tokens",    "99th percentile.")                                         \
    ROW(GAUGE,   len_max,           "len/max",                    "tokens",    "Longest response.")                                        \
    ROW(GAUGE,   len_truncated,     "len/truncated_frac",         "",          "Share that hit the token budget. verl: response_length/clip_ratio.") \
    ROW(GAUGE,   rep_cut,           "rep/cut_frac",               "",          "Share cut by the repetition rule.")                        \
    ROW(GAUGE,   masked,            "train/masked_frac",          "",          "Share not trained for how it ended: loss.overlong and loss.repetition mask.") \
    ROW(GAUGE,   zero_std,          "group/zero_std_frac",        "",          "Share of closed groups without variance since the last plan. TRL: frac_reward_zero_std.") \
    ROW(GAUGE,   entropy,           "entropy/mean",               "nats",      "Mean entropy of the trained tokens' distributions. verl: actor/entropy.") \
    ROW(GAUGE,   loss,              "loss/policy",                "",          "Policy loss, mean over the plan's updates. verl: actor/pg_loss.") \
    ROW(GAUGE,   aux_loss,          "loss/aux",                   "",          "Router balance loss before its coefficient.")              \
    ROW(GAUGE,   kl,                "loss/kl",                    "nats",      "k3 estimate of KL(trained || start model), with loss.kl_coefficient. TRL: kl, verl: actor/kl_loss.") \
    ROW(GAUGE,   rollout_weight,    "is/rollout_weight",          "",          "Mean of min(p_old / p_streamed, loss.rollout_weight_max); 1 when off. slime: tis.") \
    ROW(GAUGE,   is_mean,           "is/mean",                    "",          "Mean importance ratio before clipping.")                   \
    ROW(GAUGE,   is_min,            "is/min",                     "",          "Least importance ratio.")                                  \
    ROW(GAUGE,   is_max,            "is/max",                     "",          "Largest importance ratio.")                                \
    ROW(GAUGE,   is_ess,            "is/ess",                     "",          "Effective sample size over tokens, share of all.")         \
    ROW(GAUGE,   clip_frac,         "cispo/clip_frac",            "",          "Share of tokens whose weight hit a bound. TRL: cispo_clip_ratio.") \
    ROW(GAUGE,   mismatch,          "mismatch/max_abs_dlogprob",  "nats",      "Largest |logprob - streamed logprob| over tokens made by exactly the weights being trained: must be 0.") \
    ROW(GAUGE,   mismatch_tokens,   "mismatch/tokens",            "tokens",    "How many tokens that is.")                                 \
    ROW(GAUGE,   mismatch_share,    "mismatch/share",             "",          "Their share of the trained tokens.")                       \
    ROW(GAUGE,   pearson,           "mismatch/pearson",           "",          "Correlation of trained and streamed probabilities. verl: training/rollout_actor_probs_pearson_corr.") \
    ROW(GAUGE,   abs_mean,          "mismatch/abs_mean",          "",          "Mean |p - streamed p|. verl: training/rollout_probs_diff_mean.") \
    ROW(GAUGE,   k3_kl,             "mismatch/k3_kl",             "nats",      "k3 estimate of KL(streamed || trained). verl: rollout_corr/k3_kl.") \
    ROW(GAUGE,   grad_norm,         "optim/grad_norm",            "",          "Before clipping, mean over the updates.")                  \
    ROW(GAUGE,   grad_p50,          "grad/p50_log10",             "",          "Decimal logarithm of the median |gradient| that is not 0, when last measured (learner.statistics_every).") \
    ROW(GAUGE,   grad_tiny,         "grad/below_1e-14",           "",          "Share of the gradients that are not 0 below 1e-14, likewise.") \
    ROW(GAUGE,   grad_correlation,  "grad/correlation",           "",          "Pearson correlation of the gradients of two consecutive updates, likewise.") \
    ROW(GAUGE,   lr,                "optim/lr",                   "",          "Learning rate of the last update.")                        \
    ROW(COUNTER, updates,           "optim/updates",              "updates",   "Optimizer updates so far.")                                \
    ROW(COUNTER, skipped,           "optim/skipped",              "updates",   "Updates skipped: no signal, or not finite.")               \
    ROW(COUNTER, non_finite,        "optim/non_finite",           "updates",   "Of them, because something was not finite.")                \
    ROW(COUNTER, alarms,            "learner/alarms",             "alarms",    "Raised since the process began; the key alarm of a step has the sentences.") \
    ROW(COUNTER, refused,           "train/refused_groups",       "groups",    "Left out of their plan: tokens of unknown weights, too old, or not what the store promised.") \
    ROW(GAUGE,   stale_mean,        "stale/mean",                 "versions",  "Learner version minus version of the oldest token, mean over samples.") \
    ROW(GAUGE,   stale_max,         "stale/max",                  "versions",  "The same, largest.")                                       \
    ROW(GAUGE,   rollouts,          "train/rollouts",             "rollouts",  "In this plan.")                                            \
    ROW(GAUGE,   tokens,            "train/tokens",               "tokens",    "Response tokens of this plan.")                            \
    ROW(GAUGE,   tok_s,             "perf/tok_s",                 "tokens/s",  "Response tokens trained a second of step time.")           \
    ROW(GAUGE,   step_s,            "time/step",                  "s",         "From one publish to the next.")                            \
    ROW(GAUGE,   wait_s,            "learner/wait_s",             "s",         "Of it, waiting for the plan.")                             \
    ROW(GAUGE,   train_s,           "time/train",                 "s",         "Of it, forward, backward and optimizer.")                  \
    ROW(GAUGE,   sync_s,            "sync/seconds",               "s",         "Registering and publishing the weights.")                  \
    ROW(GAUGE,   weights_members,   "weights/members",            "actors",    "Actors in the broadcast (NCCL only).")                      \
    ROW(GAUGE,   weights_send_ms,   "weights/send_ms",            "ms",        "Last broadcast, from the announcement to the last confirmed digest.") \
    ROW(COUNTER, weights_epochs,    "weights/epochs",             "communicators", "Communicators made: one at each change of the actors in the broadcast.") \
    ROW(COUNTER, weights_excluded,  "weights/excluded",           "actors",    "Actors put out of the broadcast for missing a deadline; the log names them.") \
    ROW(GAUGE,   checkpoint_s,      "time/checkpoint",            "s",         "Writing the last checkpoint.")
// clang-format on

struct learner_metrics {
    LEARNER_METRICS(METRIC_MEMBER)
};

const struct metric_row *learner_metrics_table(size_t *count);

#endif
