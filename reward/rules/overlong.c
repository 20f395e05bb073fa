/* Length shaping: what a response near or over its limit costs.
 *
 *   dapo   DAPO equation 13 (TRL get_soft_overlong_punishment): with E = max_len - cache
 *          0 when length <= E;  (E - length) / cache when E < length <= max_len;  -1 above.
 *   verl   verl's DAPO reward manager: base_score + min(-(length - E) / buffer * penalty_factor, 0) with
 *          E = max_resp_len - buffer; no floor: it goes on falling above the limit.
 *
 * Rows say the lengths; for a rollout they are settings, and the length is its number of tokens. */
#include <stdio.h>

#include "core/memory.h"
#include "reward/rules/read.h"
#include "reward/rules/rules.h"
#include "reward/rules/shaping.h"

#include <string.h>

enum { LENGTH_MAX = 1 << 30 };
enum overlong_rule { OVERLONG_DAPO, OVERLONG_VERL };

struct overlong_settings {
    enum overlong_rule rule;
    int64_t max_len;
    int64_t cache;
    double penalty_factor;
    bool known; /* the lengths are set */
};

#define SETTINGS "rule|max_len|cache|penalty_factor"

static int overlong_create(const json_t *config, const struct reward_tools *tools, void **instance,
                           char *why, size_t size)
{
    (void)tools;
    struct read_note note = {0};
    struct overlong_settings settings = {0};
    read_only(config, SETTINGS, &note);
    settings.rule =
        read_choice(config, "rule", "dapo|verl", 0, &note) == 0 ? OVERLONG_DAPO : OVERLONG_VERL;
    settings.known = json_object_get(config, "max_len") != NULL;
    settings.max_len = read_integer(config, "max_len", 0, 1, LENGTH_MAX, &note);
    settings.cache = read_integer(config, "cache", 0, 0, LENGTH_MAX, &note);
    settings.penalty_factor = read_number(config, "penalty_factor", 1.0, &note);
    if (settings.known && settings.rule == OVERLONG_VERL && settings.cache == 0)
        read_fail(&note, "cache has to be at least 1 with rule verl");
    struct overlong_settings *made = note.failed ? NULL : memory_alloc(sizeof *made);
    if (made == NULL) {
        snprintf(why, size, "%s", note.failed ? note.why : "out of memory");
        return -1;
    }
    *made = settings;
    *instance = made;
    return 0;
}

static void overlong_destroy(void *instance)
{
    memory_free(instance);
}

static void say(struct reward_outcome *outcome, double base, double penalty)
{
    json_object_set_new(outcome->fields, "overlong_reward", json_real(penalty));
    json_object_set_new(outcome->fields, "overlong", json_boolean(penalty < 0.0));
    reward_outcome_ok(outcome, base + penalty);
}

static void score_dapo_row(const json_t *row, struct reward_outcome *outcome)
{
    struct read_note note = {0};
    int64_t max_len = read_needed_integer(row, "max_len", 0, LENGTH_MAX, &note);
    int64_t cache = read_needed_integer(row, "cache", 0, LENGTH_MAX, &note);
    int64_t length = read_needed_integer(row, "length", 0, LENGTH_MAX, &note);
    if (note.failed)
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, note.why);
    else
        say(outcome, 0.0, overlong_dapo(max_len, cache, length));
}

static void score_verl_row(const json_t *row, struct reward_outcome *outcome)
{
    struct read_note note = {0};
    int64_t limit = read_needed_integer(row, "max_resp_len", 0, LENGTH_MAX, &note);
    int64_t buffer = read_needed_integer(row, "overlong_buffer_len", 1, LENGTH_MAX, &note);
    int64_t length = read_needed_integer(row, "length", 0, LENGTH_MAX, &note);
    double factor = read_number(row, "penalty_factor", 1.0, &note);
    double base = read_number(row, "base_score", 0.0, &note);
    if (note.failed)
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, note.why);
    else
        say(outcome, base, overlong_verl(limit, buffer, factor, length));
}

static void score_rollout(const struct overlong_settings *settings, const struct reward_case *one,
                          struct reward_outcome *outcome)
{
    int64_t length = one->response_tokens;
    if (!settings->known)
        reward_outcome_not(
            outcome, WEIR_REWARD_UNSCORABLE,
            "max_len and cache are not set: name them in the settings of the reward");
    else if (settings->rule == OVERLONG_DAPO)
        say(outcome, 0.0, overlong_dapo(settings->max_len, settings->cache, length));
    else
        say(outcome, 0.0,
            overlong_verl(settings->max_len, settings->cache, settings->penalty_factor, length));
}

static void overlong_score(void *instance, const struct reward_case *cases, size_t count,
                           struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *kind = json_object_get(cases[i].row, "kind");
        const char *name = json_is_string(kind) ? json_string_value(kind) : "";
        if (strcmp(name, "overlong_dapo") == 0)
            score_dapo_row(cases[i].row, &outcomes[i]);
        else if (strcmp(name, "overlong_verl_manager") == 0)
            score_verl_row(cases[i].row, &outcomes[i]);
        else
            score_rollout(instance, &cases[i], &outcomes[i]);
    }
}

const struct reward_area overlong_area = {
    .name = "overlong",
    .version = "1",
    .needs = REWARD_NEEDS_IDS,
    .truth_keys = "",
    .create = overlong_create,
    .score = overlong_score,
    .destroy = overlong_destroy,
};
