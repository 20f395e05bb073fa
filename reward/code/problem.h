/* reward/code/problem.h - what a row asks of a program, whatever form the row has.
 *
 * Many forms in (HumanEval, MBPP, verl and prime test JSON, APPS, LiveCodeBench, CodeContests, Kattis packages, our own),
 * two kinds out: STDIO runs the program once a test and looks at what it prints; EXAM gives a test program to the
 * examiner (examiner.py). Lives in one arena; texts point into it or into the row. */
#ifndef REWARD_CODE_PROBLEM_H
#define REWARD_CODE_PROBLEM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "reward/area.h"

enum code_kind { CODE_STDIO, CODE_EXAM };
enum code_language { CODE_ANY, CODE_PYTHON, CODE_C, CODE_CPP };
enum code_checker { CODE_TOKENS, CODE_EXACT, CODE_FLOAT, CODE_VALIDATOR };

struct code_text {
    const char *at;
    size_t size;
};

struct code_test {
    struct code_text input, output;
};

/* How two outputs are compared. */
struct code_compare {
    bool exact;       /* line by line; else token by token */
    bool ignore_case; /* Kattis' default */
    double tolerance; /* absolute or relative, of numbers; < 0: none */
};

struct code_source {
    struct code_text path, text;
};

/* A program that judges (Kattis: exit 42 accepts, 43 rejects). */
struct code_validator {
    enum code_language language;
    struct code_source *sources; /* [source_count] */
    size_t source_count;
    const char *flags;
    bool interactive;
};

struct code_problem {
    enum code_kind kind;
    enum code_language language; /* ANY: what the response says */
    double time_limit_s;
    double memory_limit_mb;

    struct code_test *tests; /* [test_count] STDIO */
    size_t test_count;
    enum code_checker checker;
    struct code_compare compare;
    struct code_validator validator; /* CODE_VALIDATOR */

    json_t *task;       /* EXAM: for the examiner, owned; without nonce and "stop" */
    const char *prompt; /* EXAM: what the candidate may see */
    const char *entry;  /* or NULL */

    struct arena *arena; /* owned */
    json_t *parsed[8];   /* texts that held JSON, owned */
    size_t parsed_count;
};

/* False with a sentence in why: the row can never be scored. input is borrowed until code_problem_free. */
bool code_problem_read(struct code_problem *problem, const struct reward_case *input, char *why,
                       size_t size);
void code_problem_free(struct code_problem *problem);

/* "python", "py", "c++" ...; ANY when unknown. */
enum code_language code_language_of(const char *name, size_t size);

/* ---- for the readers of the forms (problem_forms.c, problem_kattis.c) ---- */

/* A member of the truth, the row or its extra_info; NULL when absent or null. */
const json_t *code_problem_member(const struct reward_case *input, const json_t *truth,
                                  const char *name);
/* The value, or what the text of it holds when that is JSON; NULL when a text is no JSON. */
const json_t *code_problem_parsed(struct code_problem *problem, const json_t *value);
bool code_problem_forms(struct code_problem *problem, const struct reward_case *input,
                        const json_t *truth, char *why, size_t size);
bool code_problem_package(struct code_problem *problem, const json_t *files, char *why,
                          size_t size);
bool code_refuse(char *why, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4))); /* false */

#endif
