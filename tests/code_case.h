/* tests/code_case.h - rows of the code area for tests: one sandbox, and cases from text files.
 *
 * A file of cases: lines "### name" begin a case, lines "%% key value" a section of it; the lines below are its body.
 * What comes before "%% end" is for all cases of the file (a case with tests of its own does not get those).
 *
 *     code, response          the program (fenced by us), or the whole response; code_json: as a JSON text
 *     test, setup, prompt     of functions; entry, module NAME
 *     stdin, stdout           one pair each; stdin_json, stdout_json; stdout_repeat: "count word"
 *     language, checker NAME; limit SECONDS; memory MB */
#ifndef TESTS_CODE_CASE_H
#define TESTS_CODE_CASE_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/check.h"
#include "core/memory.h"
#include "reward/area.h"
#include "sandbox/sandbox.h"

extern const struct reward_area code_area;

struct code_bed {
    struct sandbox *sandbox;
    void *instance;
};

/* cmocka group set-up. No sandbox on this machine: every test of the group skips, with the reason. */
static inline int code_bed_open_with(struct code_bed **bed, const char *config, uint32_t jobs)
{
    struct reward_tools tools = {0};
    char why[256] = "";
    struct code_bed *made = memory_alloc(sizeof *made);
    CHECK(made != NULL);
    *bed = made;
    if (sandbox_open(&made->sandbox, &(struct sandbox_options){.jobs = jobs}) != STATUS_OK) {
        printf("skipped: %s\n", status_last_error());
        return 0;
    }
    tools.sandbox = made->sandbox;
    json_t *settings = json_loads(config, 0, NULL);
    int code = code_area.create(settings, &tools, &made->instance, why, sizeof why);
    json_decref(settings);
    if (code != 0)
        printf("create: %s\n", why);
    return code;
}

static inline int code_bed_open(void **state)
{
    struct code_bed *bed;
    int code = code_bed_open_with(&bed, "{}", 2);
    *state = bed;
    return code;
}

static inline int code_bed_close(void **state)
{
    struct code_bed *bed = *state;
    if (bed->instance != NULL)
        code_area.destroy(bed->instance);
    sandbox_close(&bed->sandbox);
    memory_free(bed);
    return 0;
}

/* The caller frees outcome->fields. */
static inline void code_bed_score(const struct code_bed *bed, const json_t *row,
                                  struct reward_outcome *outcome)
{
    const json_t *response = json_object_get(row, "response");
    struct reward_case input = {.row = row,
                                .truth = json_object_get(row, "ground_truth"),
                                .response = json_string_value(response),
                                .response_size = json_string_length(response),
                                .prompt = "",
                                .data_source = "",
                                .deadline_ns = INT64_MAX};
    if (json_is_string(json_object_get(row, "prompt")))
        input.prompt = json_string_value(json_object_get(row, "prompt"));
    *outcome = (struct reward_outcome){
        .status = WEIR_REWARD_UNSCORABLE, .value = NAN, .fields = json_object()};
    code_area.score(bed->instance, &input, 1, outcome);
}

static inline const char *code_field(const struct reward_outcome *outcome, const char *name)
{
    const char *text = json_string_value(json_object_get(outcome->fields, name));
    return text != NULL ? text : "";
}

/* ---- files of cases ---- */

struct code_cases {
    json_t *rows;   /* array, "id" is the case's name */
    json_t *common; /* sections before "%% end" */
};

/* One test of a pair: {"stdin"} is opened by stdin, finished by stdout. */
static inline void code_case_pair(json_t *row, const char *key, json_t *value)
{
    json_t *tests = json_object_get(row, "tests");
    if (tests == NULL) {
        tests = json_array();
        json_object_set_new(row, "tests", tests);
    }
    if (strncmp(key, "stdin", 5) == 0)
        json_array_append_new(tests, json_object());
    json_object_set_new(json_array_get(tests, json_array_size(tests) - 1),
                        strncmp(key, "stdin", 5) == 0 ? "stdin" : "stdout", value);
}

static inline json_t *code_case_repeat(const char *body)
{
    struct buffer text;
    char word[64];
    int count = 0;
    buffer_init(&text, 0);
    CHECK(sscanf(body, "%d %63s", &count, word) == 2);
    for (int i = 0; i < count; i++)
        CHECK(buffer_text(&text, word) == STATUS_OK && buffer_text(&text, "\n") == STATUS_OK);
    json_t *made = json_stringn((const char *)text.bytes, text.size);
    buffer_free(&text);
    return made;
}

static inline void code_case_section(json_t *row, const char *key, const char *value,
                                     const char *body, size_t size)
{
    while (size > 1 && body[size - 1] == '\n' && body[size - 2] == '\n')
        size--;
    json_t *text = json_stringn(body, size);
    CHECK(text != NULL);
    if (strcmp(key, "limit") == 0)
        json_object_set_new(row, "time_limit_s", json_real(strtod(value, NULL)));
    else if (strcmp(key, "memory") == 0)
        json_object_set_new(row, "memory_limit_mb", json_real(strtod(value, NULL)));
    else if (strcmp(key, "language") == 0 || strcmp(key, "checker") == 0 ||
             strcmp(key, "module") == 0)
        json_object_set_new(row, key, json_string(value));
    else if (strcmp(key, "entry") == 0)
        json_object_set_new(row, "entry_point", json_string(value));
    else if (strcmp(key, "setup") == 0)
        json_object_set(row, "test_setup_code", text);
    else if (strcmp(key, "code_json") == 0)
        json_object_set_new(row, "code", json_loadb(body, size, JSON_DECODE_ANY, NULL));
    else if (strcmp(key, "stdin") == 0 || strcmp(key, "stdout") == 0)
        code_case_pair(row, key, json_incref(text));
    else if (strcmp(key, "stdin_json") == 0 || strcmp(key, "stdout_json") == 0)
        code_case_pair(row, key, json_loadb(body, size, JSON_DECODE_ANY, NULL));
    else if (strcmp(key, "stdout_repeat") == 0)
        code_case_pair(row, key, code_case_repeat(body));
    else
        json_object_set(row, key, text);
    json_decref(text);
}

/* The row of a case: what is common, and the fence around its code. */
static inline void code_case_finish(struct code_cases *cases, json_t *row)
{
    const char *key;
    json_t *value;
    bool own = json_object_get(row, "test") != NULL || json_object_get(row, "tests") != NULL;
    json_object_foreach(cases->common, key, value)
    {
        bool test = strcmp(key, "test") == 0 || strcmp(key, "tests") == 0;
        if (json_object_get(row, key) == NULL && !(test && own))
            json_object_set(row, key, value);
    }
    const char *language = json_string_value(json_object_get(row, "language"));
    const char *code = json_string_value(json_object_get(row, "code"));
    if (code != NULL) {
        struct buffer text;
        buffer_init(&text, 0);
        CHECK(buffer_printf(&text, "Here it is.\n\n````%s\n%s\n````\n",
                            language != NULL ? language : "python", code) == STATUS_OK);
        json_object_set_new(row, "response", json_stringn((const char *)text.bytes, text.size));
        buffer_free(&text);
        json_object_del(row, "code");
    }
    if (language != NULL && strcmp(language, "any") == 0)
        json_object_del(row, "language");
    CHECK(json_object_get(row, "response") != NULL);
    json_array_append(cases->rows, row);
}

static inline struct code_cases code_cases_read(const char *path)
{
    struct code_cases cases = {json_array(), json_object()};
    struct buffer body;
    char line[65536], key[64] = "", value[256] = "";
    json_t *row = json_incref(cases.common);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    buffer_init(&body, 0);
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, file) != NULL;
        bool begins = !more || strncmp(line, "### ", 4) == 0;
        if (begins || strncmp(line, "%% ", 3) == 0) {
            if (key[0] != '\0' && strcmp(key, "end") != 0)
                code_case_section(row, key, value, (const char *)buffer_string(&body), body.size);
            key[0] = value[0] = '\0';
            buffer_clear(&body);
            if (!begins)
                CHECK(sscanf(line, "%%%% %63s %255s", key, value) >= 1);
        } else {
            CHECK(buffer_text(&body, line) == STATUS_OK);
        }
        if (begins && row != cases.common)
            code_case_finish(&cases, row);
        if (begins) {
            json_decref(row);
            row = json_object();
            line[strcspn(line, "\n")] = '\0';
            json_object_set_new(row, "id", json_string(line + 4));
        }
    }
    json_decref(row);
    buffer_free(&body);
    fclose(file);
    return cases;
}

static inline void code_cases_free(struct code_cases *cases)
{
    json_decref(cases->rows);
    json_decref(cases->common);
}

/* Scores every case of a file. Returns how many have another value than wanted; each is told. */
static inline size_t code_cases_run(const struct code_bed *bed, const char *path, double wanted,
                                    size_t step, size_t *count)
{
    struct code_cases cases = code_cases_read(path);
    size_t wrong = 0, size = json_array_size(cases.rows);
    const char *only = getenv("CODE_CASE"); /* one case by name; CODE_SHOW: tells all */
    *count = 0;
    for (size_t i = 0; i < size; i += step) {
        const json_t *row = json_array_get(cases.rows, i);
        const char *name = json_string_value(json_object_get(row, "id"));
        struct reward_outcome outcome;
        if (only != NULL && strcmp(only, name) != 0)
            continue;
        code_bed_score(bed, row, &outcome);
        ++*count;
        bool bad = outcome.status != WEIR_REWARD_OK || outcome.value != wanted;
        wrong += bad;
        if (bad || only != NULL || getenv("CODE_SHOW") != NULL)
            printf("%s: status %d value %g %s: %s\n", name, outcome.status, outcome.value,
                   code_field(&outcome, "verdict"), code_field(&outcome, "why"));
        json_decref(outcome.fields);
    }
    code_cases_free(&cases);
    return wrong;
}

#endif
