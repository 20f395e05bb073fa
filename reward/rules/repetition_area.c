/* The repetition reward. A row of kind repetition_truncation asks where the online rule stops; a rollout gets the n-gram
 * penalty over its token ids (TRL get_repetition_penalty_reward) and the period of its end as sub-metrics. */
#include <math.h>
#include <stdio.h>

#include "core/memory.h"
#include "reward/rules/read.h"
#include "reward/rules/repetition.h"
#include "reward/rules/rules.h"

#include <string.h>

#define SETTINGS "ngram_size|max_penalty|halted"
enum { COUNT_MAX = 1 << 30 };

struct repetition_settings {
    size_t ngram_size;
    double max_penalty;
    bool mask_halted;
};

static int repetition_create(const json_t *config, const struct reward_tools *tools,
                             void **instance, char *why, size_t size)
{
    (void)tools;
    struct read_note note = {0};
    struct repetition_settings settings = {0};
    read_only(config, SETTINGS, &note);
    settings.ngram_size =
        (size_t)read_integer(config, "ngram_size", 3, 1, REPETITION_NGRAM_MAX, &note);
    settings.max_penalty = read_number(config, "max_penalty", -1.0, &note);
    settings.mask_halted = read_choice(config, "halted", "score|mask", 0, &note) == 1;
    if (settings.max_penalty > 0.0)
        read_fail(&note, "max_penalty is %g, it has to be 0 or below", settings.max_penalty);
    struct repetition_settings *made = note.failed ? NULL : memory_alloc(sizeof *made);
    if (made == NULL) {
        snprintf(why, size, "%s", note.failed ? note.why : "out of memory");
        return -1;
    }
    *made = settings;
    *instance = made;
    return 0;
}

static void repetition_destroy(void *instance)
{
    memory_free(instance);
}

/* ---- rows ---- */

static void watch_runs(const json_t *runs, struct repetition_watch *watch, struct read_note *note)
{
    size_t index;
    json_t *run;
    json_array_foreach(runs, index, run)
    {
        const json_t *count = json_array_get(run, 0), *p = json_array_get(run, 1);
        if (json_array_size(run) != 2 || !json_is_integer(count) || !json_is_number(p) ||
            json_integer_value(count) < 0 || json_integer_value(count) > COUNT_MAX) {
            read_fail(note, "prob_runs[%zu] has to be [tokens, probability]", index);
            return;
        }
        repetition_watch_add(watch, json_integer_value(count), json_number_value(p));
    }
}

static void score_row(const json_t *row, struct reward_outcome *outcome)
{
    struct read_note note = {0};
    struct repetition_watch watch = {0};
    watch.window = read_integer(row, "window", 3000, 1, COUNT_MAX, &note);
    watch.threshold = read_number(row, "threshold", 0.99, &note);
    const json_t *runs = json_object_get(row, "prob_runs");
    if (!json_is_array(runs))
        read_fail(&note, "prob_runs has to be a list of [tokens, probability]");
    else
        watch_runs(runs, &watch, &note);
    if (note.failed) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, note.why);
        return;
    }
    bool halts = watch.halt > 0;
    json_object_set_new(outcome->fields, "halt_after_tokens",
                        halts ? json_integer(watch.halt) : json_null());
    json_object_set_new(outcome->fields, "halt_position",
                        halts ? json_integer(watch.halt) : json_null());
    json_object_set_new(outcome->fields, "halted", json_boolean(halts));
    json_object_set_new(outcome->fields, "tokens", json_integer(watch.tokens));
    reward_outcome_ok(outcome, halts ? (double)watch.halt : -1.0);
}

/* ---- rollouts ---- */

/* The ids of the case, or of its row's completion_ids. */
static const int32_t *ids_of(struct arena *arena, const struct reward_case *one, size_t *count,
                             struct read_note *note)
{
    const json_t *list = json_object_get(one->row, "completion_ids");
    *count = one->response_tokens;
    if (!json_is_array(list)) {
        if (one->response_ids == NULL && one->response_tokens > 0)
            read_fail(note, "the token ids of the response are not known");
        return one->response_ids;
    }
    *count = json_array_size(list);
    int32_t *ids = arena_array(arena, *count + 1, sizeof *ids);
    for (size_t i = 0; i < *count && ids != NULL; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < INT32_MIN ||
            json_integer_value(id) > INT32_MAX) {
            read_fail(note, "completion_ids[%zu] is no token id", i);
            return NULL;
        }
        ids[i] = (int32_t)json_integer_value(id);
    }
    return ids;
}

static void say(const struct repetition_suffix *suffix, double penalty, size_t tokens,
                struct reward_outcome *outcome)
{
    double repeats = suffix->period > 0 ? (double)suffix->tokens / (double)suffix->period : 0.0;
    json_object_set_new(outcome->fields, "repetition_penalty", json_real(penalty));
    json_object_set_new(outcome->fields, "repetition_period",
                        json_integer((json_int_t)suffix->period));
    json_object_set_new(outcome->fields, "repetition_repeats", json_real(repeats));
    json_object_set_new(outcome->fields, "repetition_share",
                        json_real(tokens > 0 ? (double)suffix->tokens / (double)tokens : 0.0));
    reward_outcome_ok(outcome, penalty);
}

static void score_rollout(const struct repetition_settings *settings, const struct reward_case *one,
                          struct reward_outcome *outcome)
{
    struct read_note note = {0};
    struct arena *arena = NULL;
    size_t count = one->response_tokens;
    if (settings->mask_halted && one->finish_reason == WEIR_REWARD_FIN_REPETITION) {
        reward_outcome_not(outcome, WEIR_REWARD_SKIP, "stopped by the repetition rule, and masked");
        return;
    }
    size_t listed = json_array_size(json_object_get(one->row, "completion_ids"));
    size_t most = listed > count ? listed : count;
    if (arena_create(&arena, 4096 + 64 * most) != STATUS_OK) {
        reward_outcome_not(outcome, WEIR_REWARD_ERROR, status_last_error());
        return;
    }
    const int32_t *ids = ids_of(arena, one, &count, &note);
    struct repetition_suffix suffix = {0};
    double penalty = 0.0;
    if (note.failed)
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, note.why);
    else if ((count > 0 && ids == NULL) ||
             !repetition_penalty(arena, ids, count, settings->ngram_size, settings->max_penalty,
                                 &penalty) ||
             !repetition_suffix(arena, ids, count, &suffix))
        reward_outcome_not(outcome, WEIR_REWARD_ERROR, "out of memory");
    else
        say(&suffix, penalty, count, outcome);
    arena_destroy(&arena);
}

static void repetition_score(void *instance, const struct reward_case *cases, size_t count,
                             struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *kind = json_object_get(cases[i].row, "kind");
        if (json_is_string(kind) && strcmp(json_string_value(kind), "repetition_truncation") == 0)
            score_row(cases[i].row, &outcomes[i]);
        else
            score_rollout(instance, &cases[i], &outcomes[i]);
    }
}

const struct reward_area repetition_area = {
    .name = "repetition",
    .version = "1",
    .needs = REWARD_NEEDS_IDS,
    .truth_keys = "",
    .create = repetition_create,
    .score = repetition_score,
    .destroy = repetition_destroy,
};
