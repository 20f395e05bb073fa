/* reward/code/work.h - one response being judged: the program, the verdict so far, and runs in the sandbox. */
#ifndef REWARD_CODE_WORK_H
#define REWARD_CODE_WORK_H

#include "reward/code/problem.h"
#include "sandbox/sandbox.h"

enum code_verdict {
    CODE_AC,
    CODE_WA,
    CODE_TLE,
    CODE_MLE,
    CODE_OLE, /* printed more than anybody would */
    CODE_RE,  /* a crash, an exception, an exit code that is not 0 */
    CODE_CE,
    CODE_NOCODE
};

enum code_fraction { CODE_FRACTION_ALL, CODE_FRACTION_FIRST10, CODE_FRACTION_NONE };

/* The two programs of an exam as the interpreter's own bytes: compiling them for each response would take longer than
 * the rest of it. */
struct code_exam_programs {
    struct sandbox_result compiled; /* results: driver, examiner; owned */
};

/* Read-only after create. */
struct code_settings {
    struct sandbox *sandbox; /* borrowed */
    enum code_fraction fraction;
    bool value_is_fraction;
    enum sandbox_mode python, native; /* ZYGOTE or STRICT; POOLED or STRICT */
    unsigned retries;                 /* after an INFRA */
    bool untagged;                    /* a fence without a language counts */
    char c[256], cpp[256];            /* compilers */
    struct code_exam_programs exam;   /* owned */
};

struct code_work {
    const struct code_settings *settings;
    const struct code_problem *problem;
    int64_t deadline_ns;
    enum code_language language;
    struct code_text program; /* as the response has it */

    int32_t status;            /* WEIR_REWARD_OK, or why there is no verdict */
    enum code_verdict verdict; /* of the first test that failed */
    size_t passed, passed_first, total;
    int64_t first; /* index of that test; -1: none */
    char why[512];
};

const char *code_verdict_name(enum code_verdict verdict);
/* The first failure is the one that counts. format: a sentence. */
void code_fail(struct code_work *work, size_t test, enum code_verdict verdict, const char *format,
               ...) __attribute__((format(printf, 4, 5)));
/* No verdict: ERROR, TIMEOUT or UNSCORABLE. Returns false. */
bool code_give_up(struct code_work *work, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* CPU as the problem says; twice that and two seconds of wall time, for a busy machine. A program that was mostly idle
 * gets less: code_ended_well. */
struct sandbox_limits code_limits(const struct code_work *work, double times);
/* One run, tried again after INFRA. False after code_give_up: no result to free. A run that the deadline cut short is
 * TIMEOUT, not the program's fault. */
bool code_execute(struct code_work *work, const struct sandbox_run *run,
                  struct sandbox_result *result);
/* Two runs that talk. Descriptors of ours[i] are closed when run i has ended. True: both have results,
 * of which none is INFRA. False after code_give_up, or with *again (an INFRA, and tries are left): nothing to free. */
struct code_pair {
    struct sandbox_run runs[2];
    struct sandbox_result results[2];
    int ours[2][2];              /* -1: none */
    void (*between)(void *self); /* called on the caller's thread while both run; or NULL */
    void *self;
    bool first_decides; /* when run 0 has ended run 1 is cancelled */
};
bool code_execute_pair(struct code_work *work, struct code_pair *pair, unsigned attempt,
                       bool *again);
/* What a result that is no INFRA says: false with a verdict when the program did not end well. */
bool code_ended_well(const struct code_work *work, const struct sandbox_result *result,
                     enum code_verdict *verdict, char *why, size_t size);

/* ---- the kinds ---- */

/* Compiles sources (the first is the main one, headers among them). False: verdict CE in *why, or code_give_up with
 * *verdict CODE_AC. binary: owned result, free it. */
bool code_compile(struct code_work *work, enum code_language language,
                  const struct code_source *sources, size_t count, struct sandbox_result *binary,
                  bool *refused, char *why, size_t size);
/* The judged program as the sandbox starts it: a Python text or a binary. */
struct code_program {
    enum code_language language;
    char *python;                 /* owned */
    struct sandbox_result binary; /* owned */
    bool compiled;
};
bool code_program_make(struct code_work *work, struct code_program *program);
void code_program_free(struct code_program *program);
/* Sets what starts it: argv or python, files (one, in *file), mode. */
void code_program_run(const struct code_work *work, const struct code_program *program,
                      struct sandbox_run *run, struct sandbox_file *file);

void code_stdio(struct code_work *work);
void code_exam(struct code_work *work);
/* Compiles driver and examiner in the sandbox. False with a sentence. */
bool code_exam_prepare(struct code_settings *settings, char *why, size_t size);
/* Judges one output (Kattis 42/43). The validator is compiled once. */
struct code_validating;
bool code_validating_make(struct code_work *work, struct code_validating **validating);
void code_validating_free(struct code_validating **validating);
/* False after code_give_up. */
bool code_validate(struct code_work *work, struct code_validating *validating,
                   const struct code_test *test, struct code_text output, bool *accepted, char *why,
                   size_t size);
bool code_interact(struct code_work *work, struct code_validating *validating,
                   const struct code_program *program, size_t test, bool *passed);

#endif
