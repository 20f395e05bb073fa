/* The area of the functions of parity.h. A row names one ("fn") and its keyword arguments ("call"); for a rollout the
 * settings name it, the response is the solution and the ground truth is its own. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "reward/rules/parity.h"
#include "reward/rules/rules.h"

#define SETTINGS "fn|kwargs"
enum { NAME_MAX_SIZE = 256, TRUTH_MAX = 1 << 16, ARENA_FACTOR = 256, ARENA_MORE = 1 << 24 };

static const struct {
    const char *name;
    parity_fn *fn;
} functions[] = {
    {"gsm8k.compute_score", parity_gsm8k},
    {"math_reward.compute_score", parity_math_reward},
    {"math_dapo.compute_score", parity_math_dapo},
    {"search_r1_like_qa_em.compute_score", parity_qa_em},
    {"search_r1_like_qa_em.compute_score_subem", parity_qa_subem},
    {"default_compute_score", parity_default_score},
    {"think_format_reward", parity_think_format},
    {"get_soft_overlong_punishment", parity_soft_overlong},
    {"get_repetition_penalty_reward", parity_repetition_penalty},
};
enum { FUNCTION_COUNT = sizeof functions / sizeof functions[0] };

/* A name, or a dotted path or file path that ends in it: "verl/utils/reward_score/gsm8k.py:compute_score". */
static parity_fn *function_of(const char *name)
{
    char dotted[NAME_MAX_SIZE];
    size_t used = 0;
    for (const char *at = name; *at != '\0' && used + 1 < sizeof dotted; at++) {
        if (strncmp(at, ".py:", 4) == 0)
            at += 3;
        dotted[used++] = *at == '/' || *at == ':' ? '.' : *at;
    }
    dotted[used] = '\0';
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        size_t length = strlen(functions[i].name);
        if (used >= length && strcmp(dotted + used - length, functions[i].name) == 0 &&
            (used == length || dotted[used - length - 1] == '.'))
            return functions[i].fn;
    }
    return NULL;
}

static void name_unknown(const char *name, char *why, size_t size)
{
    int used = snprintf(why, size, "fn \"%.60s\" is not known; known are:", name);
    for (size_t i = 0; i < FUNCTION_COUNT && used > 0 && (size_t)used < size; i++)
        used += snprintf(why + used, size - (size_t)used, " %s", functions[i].name);
}

struct parity_settings {
    parity_fn *fn;  /* NULL: only rows */
    json_t *kwargs; /* an object */
};

static int parity_create(const json_t *config, const struct reward_tools *tools, void **instance,
                         char *why, size_t size)
{
    (void)tools;
    struct read_note note = {0};
    read_only(config, SETTINGS, &note);
    const char *name = read_text(config, "fn", NULL, &note);
    json_t *kwargs = json_object_get(config, "kwargs");
    if (kwargs != NULL && !json_is_object(kwargs))
        read_fail(&note, "kwargs has to be an object");
    if (note.failed) {
        snprintf(why, size, "%s", note.why);
        return -1;
    }
    parity_fn *fn = name != NULL ? function_of(name) : NULL;
    if (name != NULL && fn == NULL) {
        name_unknown(name, why, size);
        return -1;
    }
    struct parity_settings *settings = memory_alloc(sizeof *settings);
    if (settings == NULL) {
        snprintf(why, size, "out of memory");
        return -1;
    }
    settings->fn = fn;
    settings->kwargs = kwargs != NULL ? json_deep_copy(kwargs) : json_object();
    *instance = settings;
    return 0;
}

static void parity_destroy(void *instance)
{
    struct parity_settings *settings = instance;
    json_decref(settings->kwargs);
    memory_free(settings);
}

/* ---- calls ---- */

static struct piece piece_of_json(const json_t *text)
{
    return (struct piece){json_string_value(text), json_string_length(text)};
}

/* The content of a completion: a text, a message, or a list of one message. */
static struct piece content_of(const json_t *completion)
{
    const json_t *message = json_is_array(completion) ? json_array_get(completion, 0) : completion;
    const json_t *content = json_is_object(message) ? json_object_get(message, "content") : message;
    return piece_of_json(content);
}

/* Whether `completions` or `completion_ids` hold one entry per sample: the number of samples, 0 for a plain call. */
static size_t samples_of(const json_t *arguments)
{
    const json_t *texts = json_object_get(arguments, "completions");
    const json_t *ids = json_object_get(arguments, "completion_ids");
    if (json_is_array(texts))
        return json_array_size(texts);
    return json_is_array(json_array_get(ids, 0)) ? json_array_size(ids) : 0;
}

static void read_call(const json_t *arguments, size_t sample, struct parity_call *call)
{
    static const char *const names[] = {"solution_str", "completion", "content", "response",
                                        "predict_str"};
    bool batched = samples_of(arguments) > 0;
    *call = (struct parity_call){.arguments = arguments, .tokens = -1};
    for (size_t i = 0; i < sizeof names / sizeof names[0] && call->solution.at == NULL; i++)
        call->solution = content_of(json_object_get(arguments, names[i]));
    if (call->solution.at == NULL)
        call->solution =
            content_of(json_array_get(json_object_get(arguments, "completions"), sample));
    call->truth = json_object_get(arguments, "ground_truth");
    const json_t *ids = json_object_get(arguments, "completion_ids");
    if (batched && json_is_array(json_array_get(ids, sample)))
        ids = json_array_get(ids, sample);
    if (json_is_array(ids)) {
        call->ids = ids;
        call->tokens = (int64_t)json_array_size(ids);
    }
}

static double run_call(parity_fn *fn, const struct parity_call *call, size_t room,
                       struct reward_outcome *outcome)
{
    struct read_note note = {0};
    struct pieces pieces = {0};
    double value = 0.0;
    if (json_is_string(call->truth) && json_string_length(call->truth) > TRUTH_MAX) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, "ground_truth is longer than 64 KiB");
        return 0.0;
    }
    if (arena_create(&pieces.arena, ARENA_MORE + ARENA_FACTOR * room) != STATUS_OK) {
        reward_outcome_not(outcome, WEIR_REWARD_ERROR, status_last_error());
        return 0.0;
    }
    value = fn(&pieces, call, outcome->fields, &note);
    if (pieces.full)
        reward_outcome_not(outcome, WEIR_REWARD_ERROR, "out of memory");
    else if (note.failed)
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, note.why);
    else
        reward_outcome_ok(outcome, value);
    arena_destroy(&pieces.arena);
    return value;
}

static void score_row(const json_t *row, const char *name, struct reward_outcome *outcome)
{
    const json_t *arguments = json_object_get(row, "call");
    parity_fn *fn = function_of(name);
    struct parity_call call;
    if (fn == NULL || !json_is_object(arguments)) {
        char why[640] = "call is missing: an object with the arguments is needed";
        if (fn == NULL)
            name_unknown(name, why, sizeof why);
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, why);
        return;
    }
    size_t samples = samples_of(arguments);
    json_t *list = json_array();
    for (size_t i = 0; i < (samples > 0 ? samples : 1); i++) {
        read_call(arguments, i, &call);
        size_t ids = call.ids != NULL ? json_array_size(call.ids) : 0;
        double value = run_call(fn, &call, call.solution.size + ids, outcome);
        if (outcome->status != WEIR_REWARD_OK)
            break;
        json_array_append_new(list, json_real(value));
    }
    if (outcome->status ==
        WEIR_REWARD_OK) { /* of a batch the first is the value, and all are listed */
        outcome->value = json_real_value(json_array_get(list, 0));
        if (samples > 0)
            json_object_set(outcome->fields, "list", list);
    }
    json_decref(list);
}

/* The ids as the list that a call has. */
static json_t *list_ids(const struct reward_case *one)
{
    json_t *list = one->response_ids != NULL ? json_array() : NULL;
    for (uint32_t i = 0; i < one->response_tokens && list != NULL; i++)
        json_array_append_new(list, json_integer(one->response_ids[i]));
    return list;
}

static void score_rollout(const struct parity_settings *settings, const struct reward_case *one,
                          struct reward_outcome *outcome)
{
    if (settings->fn == NULL) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE,
                           "fn is not set: name a function in the settings or in the row");
        return;
    }
    bool wants_ids = settings->fn == parity_repetition_penalty;
    json_t *ids = wants_ids ? list_ids(one) : NULL;
    json_t *arguments = json_copy(settings->kwargs);
    if (json_object_get(arguments, "data_source") == NULL)
        json_object_set_new(arguments, "data_source", json_string(one->data_source));
    struct parity_call call = {
        .arguments = arguments,
        .solution = {one->response, one->response_size},
        .truth = one->truth,
        .ids = ids,
        .tokens = one->response_tokens,
    };
    run_call(settings->fn, &call, one->response_size + one->response_tokens, outcome);
    json_decref(arguments);
    json_decref(ids);
}

static void parity_score(void *instance, const struct reward_case *cases, size_t count,
                         struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *name = json_object_get(cases[i].row, "fn");
        if (json_is_string(name))
            score_row(cases[i].row, json_string_value(name), &outcomes[i]);
        else
            score_rollout(instance, &cases[i], &outcomes[i]);
    }
}

const struct reward_area parity_area = {
    .name = "parity",
    .version = "1",
    .needs = REWARD_NEEDS_IDS,
    .truth_keys = "ground_truth",
    .create = parity_create,
    .score = parity_score,
    .destroy = parity_destroy,
};
