#include "core/metric_alias.h"

#include <string.h>

// clang-format off
const struct metric_alias metric_aliases[] = {
    /* weir                        verl                                              TRL */
    {"reward/mean",                "critic/score/mean",                              "reward"},
    {"reward/min",                 "critic/score/min",                               NULL},
    {"reward/max",                 "critic/score/max",                               NULL},
    {"reward/std",                 NULL,                                             "reward_std"},
    {"reward/shaped_mean",         "critic/rewards/mean",                            NULL},
    {"adv/mean",                   "critic/advantages/mean",                         NULL},
    {"adv/min",                    "critic/advantages/min",                          NULL},
    {"adv/max",                    "critic/advantages/max",                          NULL},
    {"len/mean",                   "response_length/mean",                           "completions/mean_length"},
    {"len/min",                    "response_length/min",                            "completions/min_length"},
    {"len/max",                    "response_length/max",                            "completions/max_length"},
    {"len/truncated_frac",         "response_length/clip_ratio",                     "completions/clipped_ratio"},
    {"len/prompt_mean",            "prompt_length/mean",                             NULL},
    {"group/zero_std_frac",        NULL,                                             "frac_reward_zero_std"},
    {"entropy/mean",               "actor/entropy",                                  "entropy"},
    {"loss/policy",                "actor/pg_loss",                                  "policy_loss"},
    {"loss/kl",                    "actor/kl_loss",                                  "kl"},
    {"cispo/clip_frac",            "actor/pg_clipfrac",                              "cispo_clip_ratio"},
    {"is/mean",                    "rollout_corr/rollout_is_mean",                   "sampling/importance_sampling_ratio/mean"},
    {"is/min",                     "rollout_corr/rollout_is_min",                    "sampling/importance_sampling_ratio/min"},
    {"is/max",                     "rollout_corr/rollout_is_max",                    "sampling/importance_sampling_ratio/max"},
    {"is/std",                     "rollout_corr/rollout_is_std",                    NULL},
    {"is/ess",                     "rollout_corr/rollout_is_eff_sample_size",        NULL},
    {"mismatch/pearson",           "training/rollout_actor_probs_pearson_corr",      NULL},
    {"mismatch/abs_mean",          "training/rollout_probs_diff_mean",               NULL},
    {"mismatch/abs_max",           "training/rollout_probs_diff_max",                NULL},
    {"mismatch/abs_std",           "training/rollout_probs_diff_std",                NULL},
    {"mismatch/k3_kl",             "rollout_corr/k3_kl",                             NULL},
    {"optim/grad_norm",            "actor/grad_norm",                                "grad_norm"},
    {"optim/lr",                   "actor/lr",                                       "learning_rate"},
    {"stale/mean",                 "training/off_policy/trajectory_staleness/mean",  NULL},
    {"stale/max",                  "training/off_policy/trajectory_staleness/max",   NULL},
    {"time/step",                  "timing_s/step",                                  "step_time"},
    {"time/train",                 "timing_s/update_actor",                          NULL},
    {"learner/wait_s",             "timing_s/wait_for_enough_samples",               NULL},
    {"sync/seconds",               "timing_s/param_sync",                            NULL},
    {"time/checkpoint",            "timing_s/save_checkpoint",                       NULL},
};
// clang-format on

const size_t metric_alias_count = sizeof metric_aliases / sizeof metric_aliases[0];

static const char *name_under(enum setting_alias alias, const struct metric_alias *row)
{
    return alias == ALIAS_VERL ? row->verl : alias == ALIAS_TRL ? row->trl : NULL;
}

const char *metric_alias_of(enum setting_alias alias, const char *path)
{
    for (size_t i = 0; alias != ALIAS_WEIR && i < metric_alias_count; i++)
        if (strcmp(metric_aliases[i].weir, path) == 0) {
            const char *name = name_under(alias, &metric_aliases[i]);
            return name != NULL ? name : path;
        }
    return path;
}

static enum status put_cell(struct buffer *markdown, const char *name)
{
    return name != NULL ? buffer_printf(markdown, " `%s` |", name) : buffer_text(markdown, " |");
}

enum status metric_alias_markdown(struct buffer *markdown)
{
    TRY(buffer_text(markdown, "| weir | verl | TRL |\n|---|---|---|\n"));
    for (size_t i = 0; i < metric_alias_count; i++) {
        TRY(buffer_text(markdown, "|"));
        TRY(put_cell(markdown, metric_aliases[i].weir));
        TRY(put_cell(markdown, metric_aliases[i].verl));
        TRY(put_cell(markdown, metric_aliases[i].trl));
        TRY(buffer_text(markdown, "\n"));
    }
    return STATUS_OK;
}

enum status metric_alias_json(enum setting_alias alias, struct buffer *json)
{
    const char *comma = "";
    TRY(buffer_text(json, "{"));
    for (size_t i = 0; i < metric_alias_count; i++) {
        const char *name = name_under(alias, &metric_aliases[i]);
        if (name == NULL)
            continue;
        TRY(buffer_text(json, comma));
        TRY(buffer_json_text(json, metric_aliases[i].weir));
        TRY(buffer_text(json, ":"));
        TRY(buffer_json_text(json, name));
        comma = ",";
    }
    return buffer_text(json, "}");
}
