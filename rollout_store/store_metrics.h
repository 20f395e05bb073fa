#ifndef ROLLOUT_STORE_STORE_METRICS_H
#define ROLLOUT_STORE_STORE_METRICS_H

#include "core/metrics.h"

// clang-format off
/*      kind     name                 path                           unit        meaning */
#define STORE_METRICS(ROW)                                                                                                          \
    ROW(GAUGE,   version,             "store/version",               "versions", "Newest registered version.")                      \
    ROW(GAUGE,   planned_version,     "store/planned_version",       "versions", "Newest version with a plan.")                     \
    ROW(GAUGE,   checkpoint_version,  "store/checkpoint_version",    "versions", "Newest version whose checkpoint is reported.")    \
    ROW(GAUGE,   branch,              "store/branch",                "",         "0, and one more each time a version could not be made again.") \
    ROW(COUNTER, groups_born,         "store/groups_born",           "groups",   "Draws of a prompt.")                              \
    ROW(GAUGE,   groups_open,         "store/groups_open",           "groups",   "Groups with samples that are not scored yet.")    \
    ROW(GAUGE,   groups_eligible,     "store/groups_eligible",       "groups",   "Closed groups that wait for a plan.")             \
    ROW(COUNTER, groups_planned,      "store/groups_planned",        "groups",   "In plans so far.")                                \
    ROW(COUNTER, groups_consumed,     "store/groups_consumed",       "groups",   "In checkpoints so far.")                          \
    ROW(GAUGE,   consecutive_dropped, "store/consecutive_dropped",   "groups",   "Dropped in a row; store.max_consecutive_dropped ends the run.") \
    ROW(COUNTER, rollouts_finished,   "store/rollouts_finished",     "rollouts", "Rollouts that ended for any reason.")             \
    ROW(COUNTER, rollouts_scored,     "store/rollouts_scored",       "rollouts", "Of them with a score.")                           \
    ROW(COUNTER, tokens,              "store/tokens",                "tokens",   "Response tokens on disk.")                        \
    ROW(COUNTER, tokens_regenerated,  "store/tokens_regenerated",    "tokens",   "Sampled again because an actor died with them.")  \
    ROW(GAUGE,   samples_queued,      "store/samples_queued",        "rollouts", "Samples that no actor has yet.")                  \
    ROW(GAUGE,   samples_unscored,    "store/samples_unscored",      "rollouts", "Finished and not scored.")                        \
    ROW(GAUGE,   leases_live,         "store/leases_live",           "leases",   "Samples that actors hold.")                       \
    ROW(COUNTER, leases_issued,       "store/leases_issued",         "leases",   "So far.")                                         \
    ROW(COUNTER, leases_expired,      "store/leases_expired",        "leases",   "Lost with a silent or dead actor.")               \
    ROW(COUNTER, leases_continued,    "store/leases_continued",      "leases",   "Issued with tokens of an earlier attempt.")       \
    ROW(COUNTER, segments_refused,    "store/segments_refused",      "segments", "Poison: docs/faults.md.")                         \
    ROW(COUNTER, scores_refused,      "store/scores_refused",        "scores",   "Likewise.")                                       \
    ROW(COUNTER, scores_retried,      "store/scores_retried",        "scores",   "Asked for again after a timeout or an error.")    \
    ROW(GAUGE,   staleness_mean,      "store/staleness_mean",        "versions", "Of the last plan: its version minus that of a sample's oldest token.") \
    ROW(GAUGE,   staleness_max,       "store/staleness_max",         "versions", "Largest so far.")                                 \
    ROW(GAUGE,   stage,               "store/length_stage",          "",         "Length stage in force.")                          \
    ROW(GAUGE,   stage_cap,           "store/length_cap",            "tokens",   "Longest response of the stage.")                  \
    ROW(GAUGE,   ledger_bytes,        "store/ledger_bytes",          "bytes",    "Length of the ledger.")                           \
    ROW(HISTOGRAM(METRIC_SECONDS), sync_s, "store/ledger_sync_seconds", "s",     "fdatasync of the ledger, once a round with records.") \
    ROW(GAUGE,   peers_actors,        "store/peers_actors",          "",         "Actors connected.")                               \
    ROW(GAUGE,   peers_rewards,       "store/peers_rewards",         "",         "Reward workers connected.")                       \
    ROW(GAUGE,   peers_learners,      "store/peers_learners",        "",         "Learners connected.")                             \
    ROW(GAUGE,   messages_kept,       "store/messages_kept",         "messages", "Outgoing messages whose peers take nothing.")     \
    ROW(GAUGE,   inbox,               "store/inbox",                 "messages", "Messages taken while the disk was full.")         \
    ROW(GAUGE,   quarantined,         "store/quarantined",           "",         "Lines of quarantine.jsonl written by this process.") \
    ROW(COUNTER, redis_dropped,       "store/redis_dropped",         "commands", "Commands of the view that did not reach Redis.")
// clang-format on

struct store_metrics {
    STORE_METRICS(METRIC_MEMBER)
};

const struct metric_row *store_metrics_table(size_t *count);

#endif
