/* The area "math": a response against a gold answer, 1 or 0.
 *
 * Settings, and members of a row that override them, share their names (docs/math.md). "sources" maps the beginning of
 * a data source to settings of its own. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/clock.h"
#include "core/memory.h"
#include "reward/area.h"
#include "reward/math/math.h"

#include <flint/flint.h>

enum {
    ARENA_BYTES = 8 << 20,
    TIME_MS = 50,
    TIME_MS_MAX = 5000,
    WINDOW_MAX = 1 << 16,
    SHOWN_MAX = 200,
    WALL_FACTOR = 10 /* the wall clock may take so much longer than the CPU time */
};

struct math_instance {
    struct math_options options;
    int64_t time_ns;
    json_t *sources; /* owned; NULL: none */
};

/* ---- settings ---- */

static bool set_flag(const json_t *from, const char *key, bool *value, char *why, size_t size)
{
    const json_t *given = json_object_get(from, key);
    if (given == NULL)
        return true;
    if (!json_is_boolean(given)) {
        snprintf(why, size, "%s: true or false is expected", key);
        return false;
    }
    *value = json_is_true(given);
    return true;
}

static bool set_number(const json_t *from, const char *key, int64_t low, int64_t high,
                       int64_t *value, char *why, size_t size)
{
    const json_t *given = json_object_get(from, key);
    if (given == NULL)
        return true;
    if (!json_is_integer(given) || json_integer_value(given) < low ||
        json_integer_value(given) > high) {
        snprintf(why, size, "%s: a whole number from %lld to %lld is expected", key, (long long)low,
                 (long long)high);
        return false;
    }
    *value = json_integer_value(given);
    return true;
}

static bool set_options(const json_t *from, struct math_options *options, char *why, size_t size)
{
    int64_t rounding = options->float_rounding, window = (int64_t)options->window;
    const struct {
        const char *key;
        bool *value;
    } flags[] = {
        {"last_number", &options->last_number},
        {"last_formula", &options->last_formula},
        {"join_boxes", &options->join_boxes},
        {"phrase_after_box", &options->phrase_after_box},
        {"decimal_comma", &options->decimal_comma},
        {"percent_lenient", &options->percent_lenient},
        {"allow_set_relation_comp", &options->allow_set_relation_comp},
        {"strict", &options->strict},
        {"tuple_without_brackets", &options->tuple_without_brackets},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (!set_flag(from, flags[i].key, flags[i].value, why, size))
            return false;
    if (!set_number(from, "float_rounding", 0, 30, &rounding, why, size) ||
        !set_number(from, "window", 64, WINDOW_MAX, &window, why, size))
        return false;
    options->float_rounding = (int)rounding;
    options->window = (size_t)window;
    return true;
}

static int create(const json_t *config, const struct reward_tools *tools, void **made, char *why,
                  size_t size)
{
    struct math_options options = math_options_default, trial;
    int64_t time_ms = TIME_MS;
    const json_t *sources = json_object_get(config, "sources"), *settings;
    const char *source;
    (void)tools;
    if (!set_options(config, &options, why, size) ||
        !set_number(config, "time_ms", 1, TIME_MS_MAX, &time_ms, why, size))
        return 1;
    if (sources != NULL && !json_is_object(sources)) {
        snprintf(why, size,
                 "sources: an object is expected: the beginning of a data source -> settings");
        return 1;
    }
    json_object_foreach((json_t *)(uintptr_t)sources, source, settings)
    {
        trial = options;
        if (!json_is_object(settings) || !set_options(settings, &trial, why, size)) {
            if (!json_is_object(settings))
                snprintf(why, size, "sources.%s: an object of settings is expected", source);
            return 1;
        }
    }
    struct math_instance *instance = memory_alloc(sizeof *instance);
    if (instance == NULL) {
        snprintf(why, size, "no memory for the instance");
        return 1;
    }
    instance->options = options;
    instance->time_ns = time_ms * CLOCK_NS_PER_MS;
    instance->sources = sources != NULL ? json_deep_copy(sources) : NULL;
    *made = instance;
    return 0;
}

static void destroy(void *made)
{
    struct math_instance *instance = made;
    if (instance != NULL)
        json_decref(instance->sources);
    memory_free(instance);
}

/* What a data set is known to need; settings and rows come after. */
static void source_defaults(const char *source, struct math_options *options)
{
    bool gsm8k = strncmp(source, "gsm8k", 5) == 0 || strstr(source, "/gsm8k") != NULL;
    bool math = strncasecmp(source, "math500", 7) == 0 || strncasecmp(source, "math-500", 8) == 0 ||
                strstr(source, "MATH") != NULL;
    if (gsm8k) {
        options->last_number = true;
        options->float_rounding = 2; /* money */
    }
    if (gsm8k || math) /* their golds leave the percent sign out */
        options->percent_lenient = true;
}

/* Rows taken from Math-Verify's tests follow its policies (docs/math.md). */
static bool math_verify_defaults(const json_t *row, struct math_options *options)
{
    const json_t *kind = json_object_get(row, "kind"), *types = json_object_get(row, "match_types"),
                 *type;
    if (!json_is_string(kind) || strcmp(json_string_value(kind), "math_verify") != 0)
        return true;
    *options = (struct math_options){.last_number = true,
                                     .last_formula = true,
                                     .join_boxes = true,
                                     .phrase_after_box = true,
                                     .decimal_comma = true,
                                     .strict = true,
                                     .tuple_without_brackets = true,
                                     .float_rounding = options->float_rounding,
                                     .window = WINDOW_MAX};
    if (types == NULL)
        return true;
    size_t i;
    options->last_number = options->last_formula = false;
    json_array_foreach(types, i, type)
    {
        if (!json_is_string(type))
            return false;
        options->last_number |= strcmp(json_string_value(type), "expr") == 0;
        options->last_formula |= strcmp(json_string_value(type), "latex") == 0;
    }
    return json_is_array(types);
}

static bool options_of(const struct math_instance *instance, const struct reward_case *one,
                       struct math_options *options, char *why, size_t size)
{
    const char *source;
    const json_t *settings;
    *options = instance->options;
    source_defaults(one->data_source, options);
    json_object_foreach((json_t *)instance->sources, source, settings)
    {
        if (strncmp(one->data_source, source, strlen(source)) == 0 &&
            !set_options(settings, options, why, size))
            return false;
    }
    if (!math_verify_defaults(one->row, options)) {
        snprintf(why, size, "match_types: a list of texts is expected");
        return false;
    }
    return set_options(one->row, options, why, size);
}

/* ---- one case ---- */

/* A gold as text: a string, or a JSON number as it is written. */
static const char *gold_text(const json_t *gold, char *space, size_t size)
{
    if (json_is_string(gold))
        return json_string_value(gold);
    if (json_is_integer(gold))
        snprintf(space, size, "%lld", (long long)json_integer_value(gold));
    else if (json_is_real(gold))
        snprintf(space, size, "%.17g", json_real_value(gold));
    else
        return NULL;
    return space;
}

/* Text that JSON can hold: cut, and only when it is UTF-8. */
static void show_answer(struct reward_outcome *outcome, struct answer_span answer)
{
    size_t size = answer.size < SHOWN_MAX ? answer.size : SHOWN_MAX;
    while (size > 0 && size < answer.size && ((unsigned char)answer.at[size] & 0xc0) == 0x80)
        size--;
    json_t *text = json_stringn(answer.at, size);
    if (text != NULL)
        json_object_set_new(outcome->fields, "answer", text);
}

static void score_gold(struct arena *arena, const struct reward_case *one, const json_t *gold,
                       const struct math_options *options, const struct math_time *time,
                       struct reward_outcome *outcome)
{
    char space[40];
    const char *text = gold_text(gold, space, sizeof space);
    struct math_result result;
    if (text == NULL) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE,
                           "the ground truth is neither a text nor a number nor a list of them");
        return;
    }
    math_check(arena, (struct answer_span){text, strlen(text)},
               (struct answer_span){one->response, one->response_size}, options, time, &result);
    if (result.gold_empty) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, "the ground truth holds no answer");
        return;
    }
    if (result.verdict == MATH_UNDECIDED) {
        reward_outcome_not(outcome, WEIR_REWARD_TIMEOUT, "the comparison ran out of time or work");
        return;
    }
    reward_outcome_ok(outcome, result.verdict == MATH_SAME ? 1 : 0);
    if (result.answer.size > 0)
        show_answer(outcome, result.answer);
}

/* A list of golds: any of them. */
static void score_case(const struct math_instance *instance, const struct reward_case *one,
                       struct reward_outcome *outcome)
{
    struct math_options options;
    struct arena *arena = NULL;
    char why[160];
    const json_t *truth = one->truth;
    if (truth == NULL)
        truth = json_object_get(one->row, "gold");
    if (truth == NULL || (json_is_array(truth) && json_array_size(truth) == 0)) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, "there is no ground truth");
        return;
    }
    if (!options_of(instance, one, &options, why, sizeof why)) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, why);
        return;
    }
    struct math_time time = {instance->time_ns, clock_now_ns() + WALL_FACTOR * instance->time_ns};
    if (time.deadline_ns > one->deadline_ns)
        time.deadline_ns = one->deadline_ns;
    size_t count = json_is_array(truth) ? json_array_size(truth) : 1;
    for (size_t i = 0; i < count; i++) {
        if (arena_create(&arena, ARENA_BYTES) != STATUS_OK) {
            reward_outcome_not(outcome, WEIR_REWARD_ERROR, "no memory");
            return;
        }
        score_gold(arena, one, json_is_array(truth) ? json_array_get(truth, i) : truth, &options,
                   &time, outcome);
        arena_destroy(&arena);
        if (outcome->status != WEIR_REWARD_OK || outcome->value > 0)
            break;
    }
}

static void score(void *made, const struct reward_case *cases, size_t count,
                  struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++)
        score_case(made, &cases[i], &outcomes[i]);
    flint_cleanup(); /* this thread's caches: nothing stays when a thread or a plugin goes */
}

extern const struct reward_area math_area;
const struct reward_area math_area = {
    .name = "math",
    .version = "1",
    .settings =
        "last_number last_formula join_boxes phrase_after_box decimal_comma percent_lenient "
        "allow_set_relation_comp strict tuple_without_brackets float_rounding window "
        "time_ms sources",
    .truth_keys = "gold answer",
    .create = create,
    .score = score,
    .destroy = destroy,
};
