/* The instruction-following reward. A row, or a rollout's ground truth, has instruction_id_list and kwargs (one object per
 * instruction). Strict: each instruction holds for the response. Loose: it holds for one of eight readings of it, without
 * its first line, its last line, both, and each without asterisks. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "reward/answer/answer.h"
#include "reward/rules/ifeval.h"
#include "reward/rules/rules.h"

#define SETTINGS "score|mode|thinking"
enum { INSTRUCTIONS_MAX = 64, READINGS = 8, ROOM = 1 << 20, ROOM_FACTOR = 64 };

struct ifeval_settings {
    bool fraction, loose, keep_thinking;
    struct language_model *languages; /* owned */
};

static int ifeval_create(const json_t *config, const struct reward_tools *tools, void **instance,
                         char *why, size_t size)
{
    (void)tools;
    struct read_note note = {0};
    struct ifeval_settings *made = memory_alloc(sizeof *made);
    read_only(config, SETTINGS, &note);
    unsigned score = read_choice(config, "score", "all|fraction", 0, &note);
    unsigned mode = read_choice(config, "mode", "strict|loose", 0, &note);
    unsigned thinking = read_choice(config, "thinking", "cut|keep", 0, &note);
    if (made == NULL)
        read_fail(&note, "out of memory");
    if (!note.failed && language_model_create(&made->languages) != STATUS_OK)
        read_fail(&note, "%s", status_last_error());
    if (note.failed) {
        memory_free(made);
        snprintf(why, size, "%s", note.why);
        return -1;
    }
    made->fraction = score == 1;
    made->loose = mode == 1;
    made->keep_thinking = thinking == 1;
    *instance = made;
    return 0;
}

static void ifeval_destroy(void *instance)
{
    struct ifeval_settings *settings = instance;
    language_model_destroy(&settings->languages);
    memory_free(settings);
}

/* ---- one response ---- */

struct ifeval_work {
    const struct ifeval_settings *settings;
    struct arena *texts, *scratch; /* the readings; one check */
    struct runes readings[READINGS];
    size_t reading_count; /* made so far */
    struct read_note note;
    bool failed, too_hard; /* our own failures */
};

/* Without `first` lines at the beginning and `last` lines at the end, and without white space at both ends. */
static struct runes without_lines(struct runes text, bool first, bool last)
{
    size_t from = first ? runes_find(text, "\n", 0) + 1 : 0, to = text.size;
    if (first && from > text.size)
        return runes_part(text, 0, 0);
    if (last) {
        while (to > from && text.at[to - 1] != '\n')
            to--;
        if (to == from)
            return runes_part(text, 0, 0);
        to--;
    }
    return runes_trimmed(runes_part(text, from, to));
}

/* The readings after the first one, which is the response. */
static bool make_readings(struct ifeval_work *work)
{
    struct runes text = work->readings[0];
    work->readings[1] = without_lines(text, true, false);
    work->readings[2] = without_lines(text, false, true);
    work->readings[3] = without_lines(text, true, true);
    for (size_t i = 0; i < 4; i++) {
        if (!runes_without(work->texts, work->readings[i], '*', &work->readings[4 + i]))
            return false;
    }
    work->reading_count = READINGS;
    return true;
}

static bool holds(struct ifeval_work *work, ifeval_fn *fn, const json_t *arguments,
                  struct runes text)
{
    if (runes_trimmed(text).size == 0)
        return false;
    arena_reset(work->scratch);
    struct ifeval_check check = {.arguments = arguments,
                                 .languages = work->settings->languages,
                                 .arena = work->scratch,
                                 .note = &work->note};
    bool verdict = fn(&check, text);
    work->failed = work->failed || check.out_of_memory;
    work->too_hard = work->too_hard || check.too_hard;
    return verdict && !work->note.failed && !check.out_of_memory && !check.too_hard;
}

static void judge(struct ifeval_work *work, const char *id, const json_t *arguments, bool *strict,
                  bool *loose)
{
    ifeval_fn *fn = ifeval_find(id);
    if (fn == NULL) {
        read_fail(&work->note, "\"%.60s\" is no instruction id", id);
        return;
    }
    *strict = holds(work, fn, arguments, work->readings[0]);
    *loose = *strict;
    if (*strict || work->note.failed)
        return;
    if (work->reading_count == 1 && !make_readings(work)) {
        work->failed = true;
        return;
    }
    for (size_t i = 1; i < READINGS && !*loose && !work->note.failed; i++)
        *loose = holds(work, fn, arguments, work->readings[i]);
}

/* ---- rows ---- */

/* The object that has the instructions: the row, its ground truth, or what a ground truth in JSON holds (*owned). */
static const json_t *find_task(const struct reward_case *one, json_t **owned)
{
    *owned = NULL;
    if (json_object_get(one->row, "instruction_id_list") != NULL)
        return one->row;
    const json_t *truth = one->truth;
    if (json_is_string(truth)) {
        *owned = json_loadb(json_string_value(truth), json_string_length(truth), 0, NULL);
        truth = *owned;
    }
    return json_is_array(truth) ? json_array_get(truth, 0) : truth;
}

struct ifeval_counts {
    size_t all, strict, loose;
};

static void judge_all(struct ifeval_work *work, const json_t *task, json_t *fields,
                      struct ifeval_counts *counts)
{
    const json_t *ids = json_object_get(task, "instruction_id_list");
    const json_t *kwargs = json_object_get(task, "kwargs");
    json_t *none = json_object(), *list = json_array(), *loose_list = json_array();
    counts->all = json_array_size(ids);
    if (!json_is_array(ids) || counts->all == 0 || counts->all > INSTRUCTIONS_MAX)
        read_fail(&work->note, "instruction_id_list has to be a list of 1 to %d instruction ids",
                  INSTRUCTIONS_MAX);
    if (kwargs != NULL && !json_is_null(kwargs) && json_array_size(kwargs) != counts->all)
        read_fail(&work->note, "kwargs has to be a list as long as instruction_id_list");
    for (size_t i = 0; i < counts->all && !work->note.failed && !work->failed; i++) {
        const json_t *id = json_array_get(ids, i), *arguments = json_array_get(kwargs, i);
        bool strict = false, loose = false;
        if (!json_is_string(id) ||
            (arguments != NULL && !json_is_null(arguments) && !json_is_object(arguments))) {
            read_fail(&work->note, "instruction %zu has to be an id with an object of kwargs", i);
            break;
        }
        judge(work, json_string_value(id), json_is_object(arguments) ? arguments : none, &strict,
              &loose);
        counts->strict += strict;
        counts->loose += loose;
        json_array_append_new(list, json_boolean(strict));
        json_array_append_new(loose_list, json_boolean(loose));
    }
    json_decref(none);
    json_object_set_new(fields, "list", list);
    json_object_set_new(fields, "loose", loose_list);
}

static void say(const struct ifeval_work *work, const struct ifeval_counts *counts,
                struct reward_outcome *outcome)
{
    const struct ifeval_settings *settings = work->settings;
    size_t followed = settings->loose ? counts->loose : counts->strict;
    if (work->note.failed || work->failed || work->too_hard) {
        json_object_del(outcome->fields, "list");
        json_object_del(outcome->fields, "loose");
    }
    if (work->note.failed) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, work->note.why);
    } else if (work->failed) {
        reward_outcome_not(outcome, WEIR_REWARD_ERROR, "out of memory");
    } else if (work->too_hard) {
        reward_outcome_not(outcome, WEIR_REWARD_TIMEOUT, "a pattern needs too many steps");
    } else {
        double share = (double)followed / (double)counts->all;
        json_object_set_new(outcome->fields, "strict_share",
                            json_real((double)counts->strict / (double)counts->all));
        json_object_set_new(outcome->fields, "loose_share",
                            json_real((double)counts->loose / (double)counts->all));
        reward_outcome_ok(outcome, settings->fraction        ? share
                                   : followed == counts->all ? 1.0
                                                             : 0.0);
    }
}

/* The part that counts as the response. A thinking that never ends leaves nothing. */
static struct answer_span spoken(const struct ifeval_settings *settings,
                                 const struct reward_case *one)
{
    struct answer_span answer = {one->response, one->response_size};
    if (settings->keep_thinking)
        return answer;
    if (!answer_after_thinking(one->response, one->response_size, &answer))
        return (struct answer_span){one->response, 0};
    return answer.at == one->response ? answer : answer_trimmed(answer);
}

static void score_one(const struct ifeval_settings *settings, const struct reward_case *one,
                      struct reward_outcome *outcome)
{
    struct answer_span response = spoken(settings, one);
    struct ifeval_work work = {.settings = settings, .reading_count = 1};
    struct ifeval_counts counts = {0};
    json_t *owned = NULL;
    const json_t *task = find_task(one, &owned);
    size_t room = ROOM + ROOM_FACTOR * response.size;
    if (arena_create(&work.texts, room) != STATUS_OK ||
        arena_create(&work.scratch, room) != STATUS_OK ||
        !runes_decode(work.texts, response.at, response.size, &work.readings[0]))
        work.failed = true;
    if (!json_is_object(task))
        read_fail(&work.note, "instruction_id_list is missing");
    if (!work.failed && !work.note.failed)
        judge_all(&work, task, outcome->fields, &counts);
    say(&work, &counts, outcome);
    arena_destroy(&work.texts);
    arena_destroy(&work.scratch);
    json_decref(owned);
}

static void ifeval_score(void *instance, const struct reward_case *cases, size_t count,
                         struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++)
        score_one(instance, &cases[i], &outcomes[i]);
}

const struct reward_area ifeval_area = {
    .name = "ifeval",
    .version = "1",
    .needs = 0,
    .truth_keys = "ground_truth",
    .create = ifeval_create,
    .score = ifeval_score,
    .destroy = ifeval_destroy,
};
