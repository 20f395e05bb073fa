#ifndef LEARNER_LEARNER_METRICS_H
#define LEARNER_LEARNER_METRICS_H

#include "core/metrics.h"

// clang-format off
/*      kind     name               path                          unit         meaning */
#define LEARNER_METRICS(ROW)                                                                                                       \
    ROW(GAUGE,   reward_mean,       "reward/mean",                "",          "Mean reward of all rollouts scored for this plan, those of zero-variance groups included.") \
    ROW(GAUGE,   reward_trained,    "reward/trained_mean",        "",          "Mean reward of the rollouts in the plan only.")            \
    ROW(GAUGE,   reward_shaped,     "reward/shaped_mean",         "",          "The same after overlong and repetition penalties: what becomes advantages.") \
    ROW(GAUGE,   reward_min,        "reward/min",                 "",          "Least reward.")                                            \
    ROW(GAUGE,   reward_max,        "reward/max",                 "",          "Largest reward.")                                          \
    ROW(GAUGE,   reward_std,        "reward/std",                 "",          "Standard deviation over all rollouts of the plan.")        \
    ROW(GAUGE,   adv_mean,          "adv/mean",                   "",          "Mean advantage of the trained rollouts.") \
    ROW(GAUGE,   adv_std,           "adv/std",                    "",          "Standard deviation of the advantages.") \
    ROW(GAUGE,   adv_min,           "adv/min",                    "",          "Least advantage.") \
    ROW(GAUGE,   adv_max,           "adv/max",                    "",          "Largest advantage.") \
    ROW(GAUGE,   len_mean,          "len/mean",                   "tokens",    "Response length.")             \
    ROW(GAUGE,   len_p50,           "len/p50",                    "tokens",    "Median response length.")                                  \
    ROW(GAUGE,   len_p90,           "len/p90",                    "tokens",    "90th percentile.")                                         \
    ROW(GAUGE,   len_p99,           "len/p99",                    "tokens",    "99th percentile.")                                         \
    ROW(GAUGE,   len_max,           "len/max",                    "tokens",    "Longest response.")                                        \
    ROW(GAUGE,   len_min,           "len/min",                    "tokens",    "Shortest response.") \
    ROW(GAUGE,   prompt_mean,       "len/prompt_mean",            "tokens",    "Prompt length, mean over groups.") \
    ROW(GAUGE,   len_truncated,     "len/truncated_frac",         "",          "Share that hit the token budget.") \
    ROW(GAUGE,   len_cap,           "len/cap",                    "tokens",    "Cap of responses when the plan was made: of the length stage, else sampling.response_tokens_max.") \
    ROW(GAUGE,   rep_cut,           "rep/cut_frac",               "",          "Share cut by the repetition rule.")                        \
    ROW(GAUGE,   masked,            "train/masked_frac",          "",          "Share not trained for how it ended: loss.overlong and loss.repetition mask.") \
    ROW(GAUGE,   zero_std,          "group/zero_std_frac",        "",          "Share of closed groups without variance since the last plan.") \
    ROW(GAUGE,   entropy,           "entropy/mean",               "nats",      "Mean entropy of the trained tokens' distributions.") \
    ROW(GAUGE,   loss,              "loss/policy",                "",          "Policy loss, mean over the plan's updates.") \
    ROW(GAUGE,   aux_loss,          "loss/aux",                   "",          "Router balance loss before its coefficient.")              \
    ROW(GAUGE,   kl,                "loss/kl",                    "nats",      "k3 estimate of KL(trained || start model), with loss.kl_coefficient.") \
    ROW(GAUGE,   rollout_weight,    "is/rollout_weight",          "",          "Mean of min(p_old / p_streamed, loss.rollout_weight_max); 1 when off. slime: tis.") \
    ROW(GAUGE,   is_mean,           "is/mean",                    "",          "Mean importance ratio before clipping.")                   \
    ROW(GAUGE,   is_min,            "is/min",                     "",          "Least importance ratio.")                                  \
    ROW(GAUGE,   is_max,            "is/max",                     "",          "Largest importance ratio.")                                \
    ROW(GAUGE,   is_std,            "is/std",                     "",          "Standard deviation of the importance ratio over tokens.") \
    ROW(GAUGE,   is_p99,            "is/weight_p99",              "",          "99th percentile of the importance ratio, to 9 % (learner/token_counts.h).") \
    ROW(GAUGE,   is_ess,            "is/ess",                     "",          "Effective sample size over tokens, share of all.")         \
    ROW(GAUGE,   clip_frac,         "cispo/clip_frac",            "",          "Share of tokens whose weight hit a bound.") \
    ROW(GAUGE,   clip_positive,     "cispo/clip_frac_positive",   "",          "The same of tokens with a positive advantage.") \
    ROW(GAUGE,   clip_negative,     "cispo/clip_frac_negative",   "",          "The same of tokens with a negative one.") \
    ROW(GAUGE,   fork_frac,         "entropy/fork_frac",          "",          "Share of trained tokens that were sampled with a probability below 0.2: where a chain of thought may turn.") \
    ROW(GAUGE,   mismatch,          "mismatch/max_abs_dlogprob",  "nats",      "Largest |logprob - streamed logprob| over tokens made by exactly the weights being trained: must be 0.") \
    ROW(GAUGE,   mismatch_tokens,   "mismatch/tokens",            "tokens",    "How many tokens that is.")                                 \
    ROW(GAUGE,   mismatch_share,    "mismatch/share",             "",          "Their share of the trained tokens.")                       \
    ROW(GAUGE,   pearson,           "mismatch/pearson",           "",          "Correlation of trained and streamed probabilities.") \
    ROW(GAUGE,   abs_mean,          "mismatch/abs_mean",          "",          "Mean |p - streamed p|.") \
    ROW(GAUGE,   abs_max,           "mismatch/abs_max",           "",          "Largest |p - streamed p|.") \
    ROW(GAUGE,   abs_std,           "mismatch/abs_std",           "",          "Standard deviation of |p - streamed p|.") \
    ROW(GAUGE,   k3_kl,             "mismatch/k3_kl",             "nats",      "k3 estimate of KL(streamed || trained).") \
    ROW(GAUGE,   grad_norm,         "optim/grad_norm",            "",          "Before clipping, mean over the updates.")                  \
    ROW(GAUGE,   grad_p50,          "grad/p50_log10",             "",          "Decimal logarithm of the median |gradient| that is not 0, when last measured (learner.statistics_every).") \
    ROW(GAUGE,   grad_tiny,         "grad/below_1e-14",           "",          "Share of the gradients that are not 0 below 1e-14, likewise.") \
    ROW(GAUGE,   grad_correlation,  "grad/correlation",           "",          "Pearson correlation of the gradients of two consecutive updates, likewise.") \
    ROW(GAUGE,   lr,                "optim/lr",                   "",          "Learning rate of the last update.")                        \
    ROW(COUNTER, updates,           "optim/updates",              "updates",   "Optimizer updates so far.")                                \
    ROW(COUNTER, skipped,           "optim/skipped",              "updates",   "Updates skipped: no signal, or not finite.")               \
    ROW(COUNTER, non_finite,        "optim/non_finite",           "updates",   "Of them, because something was not finite.")                \
    ROW(GAUGE,   last_step,         "learner/last_step",          "s",         "When the last step was made, Unix time.")                  \
    ROW(GAUGE,   disk_free,         "disk/free_frac",             "",          "Share of the run folder's disk that is free.")             \
    ROW(COUNTER, alarms,            "learner/alarms",             "alarms",    "Raised since the process began; the key alarm of a step has the sentences.") \
    ROW(COUNTER, refused,           "train/refused_groups",       "groups",    "Left out of their plan: tokens of unknown weights, too old, or not what the store promised.") \
    ROW(GAUGE,   stale_mean,        "stale/mean",                 "versions",  "Learner version minus version of the oldest token, mean over samples.") \
    ROW(GAUGE,   stale_max,         "stale/max",                  "versions",  "The same, largest.")                                       \
    ROW(GAUGE,   stale_p99,         "stale/p99",                  "versions",  "The same, 99th percentile.") \
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
    ROW(COUNTER, redis_dropped,     "learner/redis_dropped",      "commands",  "Commands of the view that did not reach Redis when they were made.")     \
    ROW(GAUGE,   checkpoint_s,      "time/checkpoint",            "s",         "Writing the last checkpoint.")                             \
    ROW(HISTOGRAM(METRIC_LONG_SECONDS), steps_s, "learner/step_seconds", "s",  "Steps by their length.")                                   \
    ROW(HISTOGRAM(METRIC_LONG_SECONDS), waits_s, "learner/plan_wait_seconds", "s", "Steps by how long they waited for their plan.")       \
    ROW(HISTOGRAM(METRIC_LONG_SECONDS), updates_s, "learner/train_seconds", "s", "Steps by forward, backward and optimizer.")
// clang-format on

struct learner_metrics {
    LEARNER_METRICS(METRIC_MEMBER)
};

const struct metric_row *learner_metrics_table(size_t *count);

#endif
