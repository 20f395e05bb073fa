/* The area "swe": repository tasks in the form of SWE-bench (arXiv 2310.06770), and the other two kinds of MiniMax-M1
 * section 4.1.3: bug localisation, code repair, test synthesis. docs/swe.md has the members of a row. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "reward/area.h"
#include "reward/swe/patch.h"
#include "reward/swe/suite.h"

extern const struct reward_area swe_area;

struct swe {
    struct sandbox *sandbox;
    bool penalty; /* -1 for a patch that does not apply or that breaks a passing test */
    bool control;
    bool report_suspicious; /* a patch with words of patch_suspicion is scored all the same */
    struct sandbox_limits limits;
};

static int create(const json_t *config, const struct reward_tools *tools, void **instance,
                  char *why, size_t size)
{
    json_t *penalty = json_object_get(config, "penalty"),
           *control = json_object_get(config, "control"),
           *suspicious = json_object_get(config, "suspicious"),
           *limit = json_object_get(config, "time_limit_s");
    const char *policy = json_string_value(suspicious);
    if (suspicious != NULL &&
        (policy == NULL || (strcmp(policy, "refuse") != 0 && strcmp(policy, "report") != 0))) {
        snprintf(why, size, "\"suspicious\" is \"refuse\" or \"report\"");
        return 1;
    }
    if ((penalty != NULL && !json_is_boolean(penalty)) ||
        (control != NULL && !json_is_boolean(control)) ||
        (limit != NULL && (!json_is_number(limit) || json_number_value(limit) <= 0 ||
                           json_number_value(limit) > 86400))) {
        snprintf(why, size,
                 "\"penalty\" and \"control\" are true or false, \"time_limit_s\" is 0 to 86400");
        return 1;
    }
    struct swe *self = memory_alloc(sizeof *self);
    if (self == NULL) {
        snprintf(why, size, "no memory");
        return 1;
    }
    double seconds = limit != NULL ? json_number_value(limit) : 60;
    self->sandbox = tools->sandbox;
    self->penalty = json_is_true(penalty);
    self->control = !json_is_false(control);
    self->report_suspicious = policy != NULL && strcmp(policy, "report") == 0;
    self->limits = sandbox_limits_default();
    self->limits.wall_ms = (int64_t)(seconds * 1000);
    self->limits.cpu_ms = self->limits.wall_ms;
    self->limits.memory_bytes = (int64_t)1 << 30;
    self->limits.disk_bytes = (int64_t)512 << 20;
    self->limits.inodes = 2 * TREE_FILES_MAX;
    self->limits.output_bytes = (int64_t)16 << 20;
    *instance = self;
    return 0;
}

static void destroy(void *instance)
{
    memory_free(instance);
}

/* ---- an instance ---- */

struct task {
    const struct swe *swe;
    const struct reward_case *input;
    struct reward_outcome *outcome;
    struct tree pristine; /* the repository, its tests as they shall be */
    struct tree work;     /* what the model made of it */
    json_t *tests;        /* owned: paths of the test files */
    const char *command;
};

static const char *text_of(const struct task *task, const char *key)
{
    return json_string_value(json_object_get(task->input->row, key));
}

static enum status load_tree(struct task *task)
{
    const json_t *files = json_object_get(task->input->row, "files");
    const char *folder = text_of(task, "snapshot");
    if (files == NULL && folder == NULL)
        return FAIL(STATUS_INVALID, "the row has neither \"files\" nor \"snapshot\"");
    return files != NULL ? tree_from_json(&task->pristine, files)
                         : tree_from_folder(&task->pristine, folder);
}

/* The instance's own changes of the tests; the files they touch are tests. */
static enum status apply_test_patch(struct task *task)
{
    const char *patch = text_of(task, "test_patch");
    size_t changed = 0;
    const json_t *named = json_object_get(task->input->row, "test_files");
    task->tests = json_is_array(named) ? json_copy((json_t *)(uintptr_t)named) : json_array();
    if (patch == NULL || patch[0] == '\0')
        return STATUS_OK;
    TRY(patch_apply(&task->pristine, patch, strlen(patch), &changed));
    json_t *places = patch_places(&task->pristine, patch, strlen(patch));
    const char *path;
    json_t *yes;
    json_object_foreach(places, path, yes)
    {
        if (strstr(path, "::") == NULL)
            json_array_append_new(task->tests, json_string(path));
    }
    json_decref(places);
    return STATUS_OK;
}

static enum status task_open(struct task *task)
{
    task->command = text_of(task, "test_cmd");
    TRY(load_tree(task));
    TRY(apply_test_patch(task));
    return tree_copy(&task->work, &task->pristine);
}

static void task_close(struct task *task)
{
    tree_free(&task->pristine);
    tree_free(&task->work);
    json_decref(task->tests);
}

static void put(struct task *task, const char *key, json_t *value)
{
    json_object_set_new(task->outcome->fields, key, value);
}

/* ---- repair ---- */

/* Files that decide how tests run; a patch does not change them, and does not make them. */
static bool steers_tests(const char *path)
{
    static const char *const names[] = {"conftest.py",      "pytest.ini",  "tox.ini",
                                        "setup.cfg",        ".pytest.ini", "sitecustomize.py",
                                        "usercustomize.py", "pyvenv.cfg",  ".coveragerc"};
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    size_t length = strlen(base);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(base, names[i]) == 0)
            return true;
    return length > 4 && strcmp(base + length - 4, ".pth") == 0;
}

static enum status restore(struct task *task, const char *path)
{
    const struct tree_file *file = tree_find(&task->pristine, path);
    if (file != NULL)
        return tree_put(&task->work, path, file->bytes, file->size);
    tree_remove(&task->work, path);
    return STATUS_OK;
}

/* Tests and what steers them become what they were. */
static enum status restore_tests(struct task *task)
{
    size_t i;
    json_t *name;
    json_array_foreach(task->tests, i, name)
    {
        if (json_string_value(name) != NULL)
            TRY(restore(task, json_string_value(name)));
    }
    for (i = task->work.count; i-- > 0;)
        if (steers_tests(task->work.files[i].path)) {
            char path[TREE_PATH_MAX];
            snprintf(path, sizeof path, "%s", task->work.files[i].path);
            TRY(restore(task, path));
        }
    for (i = 0; i < task->pristine.count; i++)
        if (steers_tests(task->pristine.files[i].path))
            TRY(restore(task, task->pristine.files[i].path));
    return STATUS_OK;
}

/* NOT_FOUND, INVALID: the model's fault. An empty model_patch changes nothing and is tested as it is. */
static enum status apply_model_patch(struct task *task)
{
    const json_t *patch = json_object_get(task->input->row, "model_patch");
    size_t changed = 0;
    struct answer_span response;
    if (json_is_string(patch)) {
        struct answer_span text = {json_string_value(patch), json_string_length(patch)};
        if (answer_trimmed(text).size == 0)
            return STATUS_OK;
        if (memmem(text.at, text.size, "<<<<<<< SEARCH", 14) != NULL)
            return patch_edit(&task->work, text.at, text.size, &changed);
        return patch_apply(&task->work, text.at, text.size, &changed);
    }
    if (!answer_after_thinking(task->input->response, task->input->response_size, &response))
        return FAIL(STATUS_NOT_FOUND, "the response has no patch in it");
    return patch_response(&task->work, response, &changed);
}

static struct suite_options suite_of(const struct task *task)
{
    struct suite_options options = {.sandbox = task->swe->sandbox,
                                    .command = task->command,
                                    .limits = task->swe->limits,
                                    .pristine = task->swe->control ? &task->pristine : NULL};
    const json_t *limit = json_object_get(task->input->row, "time_limit_s");
    if (json_is_number(limit) && json_number_value(limit) > 0 && json_number_value(limit) < 86400)
        options.limits.wall_ms = options.limits.cpu_ms = (int64_t)(json_number_value(limit) * 1000);
    if (task->input->deadline_ns != INT64_MAX) {
        int64_t left_ms = (task->input->deadline_ns - clock_now_ns()) / CLOCK_NS_PER_MS / 3;
        if (left_ms < options.limits.wall_ms)
            options.limits.wall_ms = left_ms > 1 ? left_ms : 1;
    }
    return options;
}

/* Of the named tests, how many ended in one of two ways; a test that did not run did not. */
static size_t count_good(const struct suite_report *report, const json_t *tests, const char *good,
                         const char *also)
{
    size_t count = 0, i;
    json_t *name;
    json_array_foreach(tests, i, name)
    {
        const char *text = json_string_value(name);
        const char *said = text != NULL ? suite_outcome(report, text) : NULL;
        count += said != NULL && (strcmp(said, good) == 0 || strcmp(said, also) == 0);
    }
    return count;
}

/* SWE-bench's grading: a test to be fixed passes (or is expected to fail), one that passed still does (or is skipped). */
static void grade(struct task *task, const struct suite_report *report)
{
    const json_t *fix = json_object_get(task->input->row, "FAIL_TO_PASS"),
                 *keep = json_object_get(task->input->row, "PASS_TO_PASS");
    size_t fixes = json_array_size(fix), keeps = json_array_size(keep);
    size_t fixed = count_good(report, fix, "PASSED", "XFAIL");
    size_t kept = count_good(report, keep, "PASSED", "SKIPPED");
    bool all = !report->forged && fixed == fixes && kept == keeps;
    char detail[128];
    snprintf(detail, sizeof detail, "f2p %zu/%zu p2p %zu/%zu", fixed, fixes, kept, keeps);
    put(task, "detail", json_string(detail));
    put(task, "resolved", json_integer(all));
    put(task, "state",
        json_string(report->forged               ? "FORGED"
                    : all                        ? "FULL"
                    : kept == keeps && fixed > 0 ? "PARTIAL"
                                                 : "NO"));
    if (report->why[0] != '\0')
        put(task, "why", reward_sentence(report->why));
    double bad = task->swe->penalty && kept < keeps ? -1 : 0;
    reward_outcome_ok(task->outcome, all ? 1 : bad);
}

static void refuse_patch(struct task *task, const char *detail)
{
    put(task, "detail", json_string(detail));
    put(task, "resolved", json_integer(0));
    put(task, "state", json_string("NO"));
    put(task, "why", json_string(status_sentence(status_last_error())));
    reward_outcome_ok(task->outcome, task->swe->penalty ? -1 : 0);
}

static enum status score_repair(struct task *task)
{
    if (task->command == NULL)
        return FAIL(STATUS_INVALID, "the row has no \"test_cmd\"");
    if (json_array_size(json_object_get(task->input->row, "FAIL_TO_PASS")) == 0)
        return FAIL(STATUS_INVALID, "the row has no list \"FAIL_TO_PASS\"");
    enum status status = apply_model_patch(task);
    if (status == STATUS_INVALID || status == STATUS_NOT_FOUND || status == STATUS_LIMIT) {
        refuse_patch(task, status == STATUS_NOT_FOUND ? "no_patch" : "patch_failed");
        return STATUS_OK;
    }
    TRY(status);
    TRY(restore_tests(task));
    struct suite_report report;
    struct suite_options options = suite_of(task);
    const char *word = patch_suspicion(&task->pristine, &task->work);
    status = suite_run(&task->work, &options, &report);
    if (word != NULL)
        put(task, "suspicious", json_string(word));
    if (word != NULL && !task->swe->report_suspicious && !report.forged) {
        report.forged = true;
        snprintf(report.why, sizeof report.why,
                 "the patch brings \"%s\", which reaches for the tests", word);
    }
    if (status == STATUS_OK)
        grade(task, &report);
    suite_report_free(&report);
    return status;
}

/* ---- test synthesis ---- */

enum { SYNTHESISED_MAX = 1 << 20 };
#define SYNTHESISED "test_synthesised"

/* A test of the model is good when it fails on the bug and passes on the fix. */
static enum status run_synthesised(struct task *task, struct tree *tree, bool *failed, bool *passed)
{
    struct suite_report report;
    struct suite_options options = suite_of(task);
    options.command = "python3 -m unittest " SYNTHESISED;
    options.pristine = NULL;
    enum status status = suite_run(tree, &options, &report);
    size_t count = json_object_size(report.outcomes), good = 0, bad = 0;
    const char *id;
    json_t *outcome;
    json_object_foreach(report.outcomes, id, outcome)
    {
        good += strcmp(json_string_value(outcome), "PASSED") == 0;
        bad += strcmp(json_string_value(outcome), "FAILED") == 0 ||
               strcmp(json_string_value(outcome), "ERROR") == 0;
    }
    *failed = report.ended && !report.forged && bad > 0;
    *passed = report.ended && !report.forged && count > 0 && good == count &&
              json_object_size(report.asserting) > 0;
    suite_report_free(&report);
    return status;
}

static void remove_tests(struct task *task, struct tree *tree)
{
    size_t i;
    json_t *name;
    json_array_foreach(task->tests, i, name)
    {
        if (json_string_value(name) != NULL)
            tree_remove(tree, json_string_value(name));
    }
}

static enum status score_synthesis(struct task *task)
{
    const char *gold = text_of(task, "gold_patch");
    struct answer_span response, body, language;
    size_t changed = 0;
    bool failed = false, passed = false, unused = false;
    if (gold == NULL)
        return FAIL(STATUS_INVALID, "the row has no \"gold_patch\", which makes the fixed tree");
    if (!answer_after_thinking(task->input->response, task->input->response_size, &response) ||
        !answer_fenced(response, "python py python3", &body, &language) ||
        body.size > SYNTHESISED_MAX) {
        put(task, "detail", json_string("no_test"));
        reward_outcome_ok(task->outcome, 0);
        return STATUS_OK;
    }
    remove_tests(task, &task->work);
    TRY(tree_put(&task->work, SYNTHESISED ".py", body.at, body.size));
    TRY(run_synthesised(task, &task->work, &failed, &unused));
    if (failed) {
        TRY(patch_apply(&task->work, gold, strlen(gold), &changed));
        remove_tests(task, &task->work);
        TRY(tree_put(&task->work, SYNTHESISED ".py", body.at, body.size));
        TRY(run_synthesised(task, &task->work, &unused, &passed));
    }
    put(task, "fails_on_bug", json_boolean(failed));
    put(task, "passes_on_fix", json_boolean(passed));
    put(task, "detail", json_string(passed ? "good" : failed ? "fails_on_fix" : "passes_on_bug"));
    reward_outcome_ok(task->outcome, passed);
    return STATUS_OK;
}

/* ---- localisation ---- */

static void add_place(json_t *places, struct answer_span place)
{
    char text[TREE_PATH_MAX];
    place = answer_trimmed(place);
    while (place.size > 0 && strchr("-*`\"' \t0123456789.", place.at[0]) != NULL) {
        place.at++;
        place.size--;
    }
    while (place.size > 0 && strchr("`\"',;() ", place.at[place.size - 1]) != NULL)
        place.size--;
    if (place.size == 0 || place.size >= sizeof text)
        return;
    memcpy(text, place.at, place.size);
    text[place.size] = '\0';
    json_object_set_new(places, text, json_true());
    char *colons = strstr(text, "::");
    if (colons != NULL) { /* a function is in its file */
        *colons = '\0';
        json_object_set_new(places, text, json_true());
    }
}

/* The last fenced block, or the last box, or all lines: a place a line, or a JSON list. */
static json_t *said_places(struct answer_span response)
{
    json_t *places = json_object();
    struct answer_span body = response, language;
    if (!answer_fenced(response, "*", &body, &language) && !answer_boxed(response, &body))
        body = response;
    json_t *list = json_loadb(body.at, body.size, 0, NULL);
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (json_is_string(item))
            add_place(places,
                      (struct answer_span){json_string_value(item), json_string_length(item)});
    }
    for (const char *at = body.at, *end = at + body.size; list == NULL && at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        add_place(places, (struct answer_span){at, (size_t)(stop - at)});
        at = stop + 1;
    }
    json_decref(list);
    return places;
}

/* F1 of the set of files and functions that the gold patch changes. */
static enum status score_localisation(struct task *task)
{
    const char *gold = text_of(task, "gold_patch");
    struct answer_span response;
    if (gold == NULL)
        return FAIL(STATUS_INVALID, "the row has no \"gold_patch\", which says where the bug is");
    json_t *wanted = patch_places(&task->pristine, gold, strlen(gold));
    json_t *said =
        answer_after_thinking(task->input->response, task->input->response_size, &response)
            ? said_places(response)
            : json_object();
    size_t hits = 0;
    const char *place;
    json_t *yes;
    json_object_foreach(said, place, yes)
    {
        hits += json_object_get(wanted, place) != NULL;
    }
    size_t both = json_object_size(wanted) + json_object_size(said);
    put(task, "hits", json_integer((json_int_t)hits));
    put(task, "places", json_integer((json_int_t)json_object_size(wanted)));
    bool known = json_object_size(wanted) > 0;
    if (known)
        reward_outcome_ok(task->outcome, 2.0 * (double)hits / (double)both);
    json_decref(wanted);
    json_decref(said);
    return known ? STATUS_OK
                 : FAIL(STATUS_INVALID, "\"gold_patch\" changes no file of this repository");
}

/* ---- the area ---- */

static enum status score_task(struct task *task)
{
    const char *kind = text_of(task, "task");
    TRY(task_open(task));
    if (kind == NULL || strcmp(kind, "repair") == 0)
        return score_repair(task);
    if (strcmp(kind, "test_synthesis") == 0)
        return score_synthesis(task);
    if (strcmp(kind, "localisation") == 0 || strcmp(kind, "localization") == 0)
        return score_localisation(task);
    return FAIL(STATUS_INVALID,
                "\"task\" is \"%.40s\": it takes repair, test_synthesis or localisation", kind);
}

static void score(void *instance, const struct reward_case *cases, size_t count,
                  struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++) {
        struct task task = {.swe = instance, .input = &cases[i], .outcome = &outcomes[i]};
        enum status status = score_task(&task);
        if (status != STATUS_OK)
            reward_outcome_not(&outcomes[i],
                               status == STATUS_IO || status == STATUS_NO_MEMORY
                                   ? WEIR_REWARD_ERROR
                                   : WEIR_REWARD_UNSCORABLE,
                               status_sentence(status_last_error()));
        task_close(&task);
    }
}

const struct reward_area swe_area = {
    .name = "swe",
    .version = "1.0",
    .needs = REWARD_NEEDS_SANDBOX,
    .settings = "penalty control suspicious time_limit_s",
    .create = create,
    .score = score,
    .destroy = destroy,
};
