#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "reward/answer/answer.h"
#include "reward/area.h"
#include "reward/code/work.h"

enum { FIRST = 10, RETRIES_MAX = 10, ANSWER_BYTES_MAX = 8 << 20 };

extern const struct reward_area code_area;

/* ---- settings ---- */

static int refuse(char *why, size_t size, const char *sentence)
{
    snprintf(why, size, "%s", sentence);
    return -1;
}

/* The place of the value of `key` in names; fallback when absent, -1 when none. */
static int choice(const json_t *config, const char *key, const char *const names[], int fallback)
{
    const json_t *value = json_object_get(config, key);
    if (value == NULL)
        return fallback;
    for (int i = 0; json_is_string(value) && names[i] != NULL; i++)
        if (strcmp(json_string_value(value), names[i]) == 0)
            return i;
    return -1;
}

static bool compiler_path(const json_t *config, const char *key, const char *fallback, char *path,
                          size_t size)
{
    const json_t *value = json_object_get(config, key);
    const char *text = value == NULL ? fallback : json_string_value(value);
    return text != NULL && text[0] == '/' && (size_t)snprintf(path, size, "%s", text) < size;
}

static int read_settings(const json_t *config, struct code_settings *settings, char *why,
                         size_t size)
{
    static const char *const fractions[] = {"all", "first10", "none", NULL},
                             *const values[] = {"all", "fraction", NULL},
                             *const modes[] = {"warm", "strict", NULL};
    int fraction = choice(config, "fraction", fractions, CODE_FRACTION_ALL),
        value = choice(config, "value", values, 0), mode = choice(config, "mode", modes, 0);
    const json_t *retries = json_object_get(config, "retries");
    if (fraction < 0)
        return refuse(why, size, "\"fraction\" is \"all\", \"first10\" or \"none\"");
    if (value < 0 || (value == 1 && fraction == CODE_FRACTION_NONE))
        return refuse(why, size, "\"value\" is \"all\" or \"fraction\" (not with fraction none)");
    if (mode < 0)
        return refuse(why, size, "\"mode\" is \"warm\" or \"strict\"");
    if (retries != NULL && (!json_is_integer(retries) || json_integer_value(retries) < 0 ||
                            json_integer_value(retries) > RETRIES_MAX))
        return refuse(why, size, "\"retries\" is a number from 0 to 10");
    settings->fraction = (enum code_fraction)fraction;
    settings->value_is_fraction = value == 1;
    settings->python = mode == 0 ? SANDBOX_ZYGOTE : SANDBOX_STRICT;
    settings->native = mode == 0 ? SANDBOX_POOLED : SANDBOX_STRICT;
    settings->retries = retries != NULL ? (unsigned)json_integer_value(retries) : 2;
    settings->untagged = json_is_true(json_object_get(config, "untagged"));
    if (!compiler_path(config, "c", "/usr/bin/gcc", settings->c, sizeof settings->c) ||
        !compiler_path(config, "cpp", "/usr/bin/g++", settings->cpp, sizeof settings->cpp))
        return refuse(why, size, "\"c\" and \"cpp\" are absolute paths of compilers");
    return 0;
}

static int create(const json_t *config, const struct reward_tools *tools, void **instance,
                  char *why, size_t size)
{
    if (tools->sandbox == NULL)
        return refuse(why, size, "code needs a sandbox");
    struct code_settings *settings = memory_alloc(sizeof *settings);
    if (settings == NULL)
        return refuse(why, size, "no memory");
    settings->sandbox = tools->sandbox;
    int code = read_settings(config, settings, why, size);
    if (code == 0 && !code_exam_prepare(settings, why, size))
        code = -1;
    if (code != 0)
        memory_free(settings);
    else
        *instance = settings;
    return code;
}

static void destroy(void *instance)
{
    struct code_settings *settings = instance;
    sandbox_result_free(&settings->exam.compiled);
    memory_free(instance);
}

/* ---- one response ---- */

static bool find_program(struct code_work *work, const struct reward_case *input)
{
    static const char *const languages[] = {
        "python py python3 pypy pypy3 c cpp c++ cc cxx c++17 c++20 cpp17 cpp20",
        "python py python3 pypy pypy3", "c gnu-c", "cpp c++ cc cxx c++17 c++20 cpp17 cpp20"};
    char wanted[128];
    struct answer_span text, body, language = {NULL, 0};
    snprintf(wanted, sizeof wanted, "%s%s", languages[work->language],
             work->settings->untagged && work->language != CODE_ANY ? " -" : "");
    if (!answer_after_thinking(input->response, input->response_size, &text) ||
        !answer_fenced(text, wanted, &body, &language) || body.size > ANSWER_BYTES_MAX)
        return false;
    if (work->language == CODE_ANY)
        work->language = code_language_of(language.at, language.size);
    work->program = (struct code_text){body.at, body.size};
    return work->language != CODE_ANY;
}

static void report(const struct code_work *work, struct reward_outcome *outcome)
{
    json_t *fields = outcome->fields;
    const struct code_settings *settings = work->settings;
    if (work->status != WEIR_REWARD_OK) {
        reward_outcome_not(outcome, work->status, work->why);
        return;
    }
    bool passed = work->first < 0;
    size_t of = settings->fraction == CODE_FRACTION_FIRST10 && work->total > FIRST ? FIRST
                                                                                   : work->total,
           good = settings->fraction == CODE_FRACTION_FIRST10 ? work->passed_first : work->passed;
    double fraction = passed ? 1 : of > 0 ? (double)good / (double)of : 0;
    json_object_set_new(fields, "verdict",
                        json_string(code_verdict_name(passed ? CODE_AC : work->verdict)));
    if (settings->fraction != CODE_FRACTION_NONE)
        json_object_set_new(fields, "pass_fraction", json_real(fraction));
    json_object_set_new(fields, "tests", json_integer((json_int_t)work->total));
    if (!passed) {
        json_object_set_new(fields, "first_failed", json_integer(work->first));
        json_object_set_new(fields, "why", reward_sentence(work->why));
    }
    reward_outcome_ok(outcome, settings->value_is_fraction ? fraction : passed);
}

static void score_one(const struct code_settings *settings, const struct reward_case *input,
                      struct reward_outcome *outcome)
{
    struct code_problem problem;
    struct code_work work = {.settings = settings,
                             .problem = &problem,
                             .deadline_ns = input->deadline_ns,
                             .status = WEIR_REWARD_OK,
                             .first = -1};
    if (!code_problem_read(&problem, input, work.why, sizeof work.why)) {
        code_problem_free(&problem);
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, work.why);
        return;
    }
    work.language = problem.language;
    work.total = problem.test_count;
    if (!find_program(&work, input))
        code_fail(&work, 0, CODE_NOCODE, "no fenced block of code after the thinking");
    else if (problem.kind == CODE_STDIO)
        code_stdio(&work);
    else
        code_exam(&work);
    report(&work, outcome);
    code_problem_free(&problem);
}

static void score(void *instance, const struct reward_case *cases, size_t count,
                  struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++)
        score_one(instance, &cases[i], &outcomes[i]);
}

const struct reward_area code_area = {
    .name = "code",
    .version = "1",
    .needs = REWARD_NEEDS_SANDBOX,
    .settings = "fraction value mode retries untagged c cpp",
    .truth_keys = "ground_truth",
    .create = create,
    .score = score,
    .destroy = destroy,
};
