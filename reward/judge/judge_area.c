#include "reward/judge/judge_area.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "reward/answer/answer.h"
#include "reward/judge/prompts.h"
#include "reward/judge/rows.h"

enum { BYTES_PER_TOKEN = 4 }; /* of a length that nobody counted */

struct instance {
    struct judge_rules rules;
    struct judge *judge; /* NULL: rows only */
    bool owned;
    char version[JUDGE_VERSION_SIZE];
    pthread_mutex_t mutex; /* guards the watch */
    struct pair_watch watch;
};

/* ---- texts ---- */

static struct prompt_text text_of(const json_t *value, char **made)
{
    if (json_is_string(value))
        return (struct prompt_text){json_string_value(value), json_string_length(value)};
    *made = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    return (struct prompt_text){*made != NULL ? *made : "", *made != NULL ? strlen(*made) : 0};
}

/* The request: what the host made of it, or the row's own. */
static struct prompt_text question_of(const struct reward_case *input, char **made)
{
    const json_t *prompt = json_object_get(input->row, "prompt");
    if (input->prompt != NULL && input->prompt[0] != '\0')
        return (struct prompt_text){input->prompt, strlen(input->prompt)};
    if (prompt == NULL)
        prompt = json_object_get(input->row, "question");
    const json_t *last =
        json_array_size(prompt) > 0 ? json_array_get(prompt, json_array_size(prompt) - 1) : NULL;
    if (json_is_string(json_object_get(last, "content"))) /* a conversation: its last turn */
        prompt = json_object_get(last, "content");
    return prompt != NULL ? text_of(prompt, made) : (struct prompt_text){"", 0};
}

size_t judge_chars(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

int judge_pair_score(enum verdict_mode mode, int verdict, bool policy_is_a, size_t policy_chars,
                     size_t other_chars, double guard_chars)
{
    int score = policy_is_a ? verdict : -verdict;
    double longer = (double)policy_chars - (double)other_chars; /* the policy's answer */
    bool slight = mode == VERDICT_PAIR5 && (score == 1 || score == -1);
    if (slight && score * longer > guard_chars)
        return 0;
    return score > 0 ? 1 : score < 0 ? -1 : 0;
}

/* ---- one item ---- */

static void set_text(struct reward_outcome *outcome, const char *key, const char *text)
{
    json_object_set_new(outcome->fields, key, json_string(text));
}

/* Failures of ours or of the judge: another try elsewhere. */
static void not_asked(struct reward_outcome *outcome, enum status status, const char *why)
{
    bool late = status == STATUS_TIMEOUT || status == STATUS_NETWORK || status == STATUS_CANCELLED;
    reward_outcome_not(outcome, late ? WEIR_REWARD_TIMEOUT : WEIR_REWARD_ERROR, why);
    set_text(outcome, "state", "not_judged");
}

static void account(const struct instance *self, const struct ballot *ballot,
                    struct reward_outcome *outcome)
{
    json_object_set_new(outcome->fields, "cost", json_real(ballot->cost));
    json_object_set_new(outcome->fields, "judge_calls", json_integer(ballot->calls));
    json_object_set_new(outcome->fields, "cached", json_integer(ballot->cached));
    json_object_set_new(
        outcome->fields, "judge_tokens",
        json_integer((json_int_t)(ballot->prompt_tokens + ballot->completion_tokens)));
    set_text(outcome, "judge_version", self->version);
}

static json_t *votes_json(const struct ballot_pass *pass, uint32_t blind)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < blind; i++)
        json_array_append_new(list,
                              pass->readable[i] ? json_integer(pass->verdicts[i]) : json_null());
    return list;
}

static void set_passes(const struct instance *self, const struct ballot *ballot,
                       struct reward_outcome *outcome)
{
    json_t *passes = json_array();
    for (uint32_t p = 0; p < ballot->passes; p++)
        json_array_append_new(passes, votes_json(&ballot->pass[p], self->rules.ballot.blind));
    json_object_set_new(outcome->fields, "passes", passes);
}

/* Length correction and clipping: the last steps of every value. */
static void finish(const struct instance *self, const struct reward_case *input, double value,
                   struct reward_outcome *outcome)
{
    const struct judge_rules *rules = &self->rules;
    double tokens = input->response_tokens > 0 ? input->response_tokens
                                               : (double)input->response_size / BYTES_PER_TOKEN;
    if (rules->length_b != 0) {
        json_object_set_new(outcome->fields, "raw", json_real(value));
        value = length_correct(value, tokens, rules->length_usual, rules->length_b);
    }
    if (rules->clip > 0)
        value = fmax(-rules->clip, fmin(rules->clip, value));
    reward_outcome_ok(outcome, value);
}

static void finish_grade(const struct instance *self, const struct reward_case *input, int grade,
                         const char *state, struct reward_outcome *outcome)
{
    json_object_set_new(outcome->fields, "grade", json_integer(grade));
    set_text(outcome, "state", state);
    finish(self, input, self->rules.map[grade - 1], outcome);
}

static void score_grade(struct instance *self, const struct reward_case *input,
                        struct prompt_text question, struct prompt_text truth,
                        struct prompt_text response, int64_t deadline_ns,
                        struct reward_outcome *outcome)
{
    json_t *messages = NULL;
    struct ballot ballot = {.passes = 1};
    if (response.size ==
        0) { /* the rubric's "or there is no final answer": no judge is needed for it */
        set_text(outcome, "judge_version", self->version);
        finish_grade(self, input, 1, "no_answer", outcome);
        return;
    }
    if (prompts_grade(question, truth, response, (size_t)self->rules.text_bytes_max, &messages) !=
        STATUS_OK) {
        not_asked(outcome, STATUS_NO_MEMORY, status_sentence(status_last_error()));
        return;
    }
    ballot.pass[0].messages = messages;
    ballot_hold(self->judge, &self->rules.ballot, &ballot, deadline_ns);
    json_decref(messages);
    account(self, &ballot, outcome);
    if (ballot.status != STATUS_OK) {
        not_asked(outcome, ballot.status, ballot.why);
        return;
    }
    set_passes(self, &ballot, outcome);
    if (ballot.pass[0].agreed) {
        finish_grade(self, input, ballot.pass[0].verdict, "graded", outcome);
        return;
    }
    bool silent = ballot.unreadable == self->rules.ballot.blind;
    reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE,
                       silent ? "the judge gave no grade that can be read"
                              : "the blind judgments do not agree");
    set_text(outcome, "state", silent ? "unreadable" : "disagree");
}

/* ---- pairs ---- */

static void finish_pair(const struct instance *self, const struct reward_case *input, int score,
                        const char *state, struct reward_outcome *outcome)
{
    const struct judge_rules *rules = &self->rules;
    const json_t *rule = json_object_get(input->row, "rule_reward");
    double value = score;
    json_object_set_new(outcome->fields, "pair", json_integer(score));
    set_text(outcome, "state", state);
    if (rules->has_if_rule && rule != NULL) {
        if (!json_is_number(rule)) {
            reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, "rule_reward is not a number");
            return;
        }
        value = if_reward(rules->if_rule, json_number_value(rule), score, rules->if_weight_rule,
                          rules->if_weight_pair);
    }
    finish(self, input, value, outcome);
}

/* Puts the pair into the watch; false when the judge's places decide too often to use it. */
static bool watch_pair(struct instance *self, const int *as_a, const int *as_b,
                       struct reward_outcome *outcome)
{
    pthread_mutex_lock(&self->mutex);
    pair_watch_push(&self->watch, as_a, as_b);
    struct pair_rates rates = pair_watch_rates(&self->watch, self->rules.consistency_least);
    pthread_mutex_unlock(&self->mutex);
    json_object_set_new(outcome->fields, "consistency", json_real(rates.consistency));
    json_object_set_new(outcome->fields, "first_place", json_real(rates.first));
    json_object_set_new(outcome->fields, "judge_alarm", json_boolean(rates.alarm));
    return !rates.alarm;
}

static void settle_pair(struct instance *self, const struct reward_case *input,
                        const struct ballot *ballot, size_t policy_chars, size_t other_chars,
                        struct reward_outcome *outcome)
{
    const struct judge_rules *rules = &self->rules;
    int score[2];
    for (int p = 0; p < 2; p++)
        if (ballot->pass[p].agreed)
            score[p] = judge_pair_score(rules->ballot.mode, ballot->pass[p].verdict, p == 0,
                                        policy_chars, other_chars, rules->guard_chars);
    const int *as_a = ballot->pass[0].agreed ? &score[0] : NULL;
    const int *as_b = ballot->pass[1].agreed ? &score[1] : NULL;
    struct pair_result result = pair_combine(as_a, as_b);
    bool usable = watch_pair(self, as_a, as_b, outcome);
    if (!usable) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE,
                           "the judge's two passes agree too seldom to use it (consistency_least)");
        set_text(outcome, "state", pair_state_name(result.state));
    } else if (result.state == PAIR_INVALID && !rules->invalid_is_zero) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE,
                           "a pass has no verdict that can be read and agreed on");
        set_text(outcome, "state", pair_state_name(result.state));
    } else {
        finish_pair(self, input, result.score, pair_state_name(result.state), outcome);
    }
}

static void score_pair(struct instance *self, const struct reward_case *input,
                       struct prompt_text question, struct prompt_text reference,
                       struct prompt_text response, int64_t deadline_ns,
                       struct reward_outcome *outcome)
{
    json_t *first = NULL, *second = NULL;
    struct ballot ballot = {.passes = 2};
    size_t most = (size_t)self->rules.text_bytes_max;
    bool five = self->rules.ballot.mode == VERDICT_PAIR5;
    if (response.size == 0) {
        set_text(outcome, "judge_version", self->version);
        finish_pair(self, input, -1, "no_answer", outcome);
        return;
    }
    if (prompts_pair(question, response, reference, five, most, &first) != STATUS_OK ||
        prompts_pair(question, reference, response, five, most, &second) != STATUS_OK) {
        not_asked(outcome, STATUS_NO_MEMORY, status_sentence(status_last_error()));
        json_decref(first);
        return;
    }
    ballot.pass[0].messages = first;
    ballot.pass[1].messages = second;
    ballot_hold(self->judge, &self->rules.ballot, &ballot, deadline_ns);
    json_decref(first);
    json_decref(second);
    account(self, &ballot, outcome);
    if (ballot.status != STATUS_OK) {
        not_asked(outcome, ballot.status, ballot.why);
        return;
    }
    set_passes(self, &ballot, outcome);
    settle_pair(self, input, &ballot, judge_chars(response.at, response.size),
                judge_chars(reference.at, reference.size), outcome);
}

static void score_item(struct instance *self, const struct reward_case *input,
                       struct reward_outcome *outcome)
{
    struct answer_span answer;
    char *made_truth = NULL, *made_question = NULL;
    int64_t own_ns = clock_now_ns() + (int64_t)(self->rules.deadline_s * (double)CLOCK_NS_PER_S);
    int64_t deadline_ns =
        input->deadline_ns == INT64_MAX || input->deadline_ns <= 0 ? own_ns : input->deadline_ns;
    if (input->truth == NULL || json_is_null(input->truth)) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE,
                           "the row has no ground truth or reference answer to compare with");
        return;
    }
    if (!answer_after_thinking(input->response, input->response_size, &answer))
        answer = (struct answer_span){"", 0};
    answer = answer_trimmed(answer);
    struct prompt_text truth = text_of(input->truth, &made_truth);
    struct prompt_text question = question_of(input, &made_question);
    (self->rules.ballot.mode == VERDICT_GRADE5 ? score_grade : score_pair)(
        self, input, question, truth, (struct prompt_text){answer.at, answer.size}, deadline_ns,
        outcome);
    free(made_truth);    /* lint: allow(free): jansson's buffer */
    free(made_question); /* lint: allow(free): jansson's buffer */
}

/* ---- the area ---- */

static void score(void *instance, const struct reward_case *cases, size_t count,
                  struct reward_outcome *outcomes)
{
    struct instance *self = instance;
    for (size_t i = 0; i < count; i++) {
        const char *kind = json_string_value(json_object_get(cases[i].row, "kind"));
        if (kind != NULL && judge_row_score(kind, &cases[i], &outcomes[i]))
            continue;
        if (self->judge == NULL)
            reward_outcome_not(&outcomes[i], WEIR_REWARD_ERROR,
                               "no judge is configured: set \"judge\": {\"base_url\", \"model\"}");
        else
            score_item(self, &cases[i], &outcomes[i]);
    }
}

static void destroy(void *instance)
{
    struct instance *self = instance;
    if (self == NULL)
        return;
    if (self->owned)
        judge_destroy(&self->judge);
    pthread_mutex_destroy(&self->mutex);
    memory_free(self);
}

/* `weir reward` gives the endpoint itself as configuration; then the rules are the defaults. */
static enum status open_instance(struct instance *self, const json_t *config,
                                 const struct reward_tools *tools, char *why, size_t size)
{
    bool bare = json_object_get(config, "base_url") != NULL;
    const json_t *endpoint = bare ? config : json_object_get(config, "judge");
    json_t *none = json_object();
    enum status status = judge_rules_read(&self->rules, bare ? none : config);
    json_decref(none);
    snprintf(why, size, "%s", status != STATUS_OK ? status_sentence(status_last_error()) : "");
    TRY(status);
    if (tools != NULL && tools->judge != NULL) {
        self->judge = tools->judge;
    } else if (endpoint != NULL) {
        self->owned = judge_create(endpoint, &self->judge, why, size) == 0;
        return self->owned ? STATUS_OK : FAIL(STATUS_INVALID, "%s", why);
    } else if (json_object_size(config) > 0) {
        snprintf(why, size, "\"judge\" is missing: {\"base_url\": ..., \"model\": ...}");
        return FAIL(STATUS_INVALID, "%s", why);
    }
    return STATUS_OK;
}

static int create(const json_t *config, const struct reward_tools *tools, void **instance,
                  char *why, size_t size)
{
    struct instance *self = memory_alloc(sizeof *self);
    if (self == NULL) {
        snprintf(why, size, "no memory");
        return ENOMEM;
    }
    pthread_mutex_init(&self->mutex, NULL);
    if (open_instance(self, config, tools, why, size) != STATUS_OK) {
        destroy(self);
        return EINVAL;
    }
    if (self->judge != NULL)
        snprintf(self->version, sizeof self->version, "%s", judge_version(self->judge));
    pair_watch_init(&self->watch, (unsigned)self->rules.consistency_window);
    *instance = self;
    return 0;
}

const struct reward_area judge_area = {.name = "judge",
                                       .version = "1",
                                       .needs =
                                           0, /* it makes its judge itself, of its own settings */
                                       .truth_keys = "ground_truth reference answer gold",
                                       .create = create,
                                       .score = score,
                                       .destroy = destroy};
