/* reward/logic/logic.h - the 41 logic tasks: each makes problems (seeded, solver-checked) and judges answers.
 *
 * One file a task, task_<name>.c, that defines `const struct logic_task logic_task_<name>`; task_list_*.h name
 * them. A judge works from the row's metadata and CHECKS CONSTRAINTS wherever more than one answer may be right;
 * it also takes the rows of SynLogic's generators (same member names), whose stored answers may be wrong. What the
 * judge reads is hostile: everything has a bound (reading.h, literal.h). No static state, any thread. */
#ifndef REWARD_LOGIC_LOGIC_H
#define REWARD_LOGIC_LOGIC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/buffer.h"
#include "core/rng.h"
#include "core/status.h"
#include "reward/answer/answer.h"
#include "reward/logic/task_list_a.h"
#include "reward/logic/task_list_b.h"

enum { LOGIC_KNOBS_MAX = 8, LOGIC_RESPONSE_MAX = 64 * 1024 };

/* A setting of a generator; a share is given in permille. */
struct logic_knob {
    const char *name;
    int min, max, fallback;
    const char *meaning;
};

/* value[i] belongs to knobs[i] of the task; always inside [min, max]. Two knobs that form a range (min_x, max_x)
 * may come in the wrong order: the generator swaps them. */
struct logic_settings {
    int value[LOGIC_KNOBS_MAX];
};

/* What a generator makes. Owned by the caller: logic_problem_init before, logic_problem_free after, also after a
 * failure. */
struct logic_problem {
    struct buffer question; /* English, says how the answer is to be given */
    json_t *answer;         /* one right answer: a text or a list, as the row's "answer" */
    json_t *metadata;       /* an object: all that the judge needs, and "solution" where useful */
    double
        work; /* measured: search nodes of a solver, or size of the problem; grows with difficulty */
    double difficulty; /* 0..1, from work: logic_difficulty */
};
void logic_problem_init(struct logic_problem *problem);
void logic_problem_free(struct logic_problem *problem);
/* log(work / low) / log(high / low), inside [0, 1]. */
double logic_difficulty(double work, double low, double high);

/* Starts as {false, false, NULL}. */
struct logic_verdict {
    bool correct;
    bool unscorable; /* the row itself is broken: metadata is missing or contradicts itself */
    const char *why; /* a constant sentence, or NULL */
};

struct logic_task {
    const char *name;
    const char *summary; /* one line for `weir-reward logic list` */
    const struct logic_knob
        *knobs; /* [LOGIC_KNOBS_MAX] at most, ends with an empty name; NULL: none */
    /* A problem whose answer exists (and is the only one where the question says so), in bounded time. AGAIN: this
     * draw led nowhere, the caller calls again with the same stream (logic_generate does, up to 1000 times). */
    enum status (*generate)(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out);
    /* metadata: an object (a text that holds JSON or a Python literal is read before), or NULL. answer: the row's,
     * any type or NULL. question: "" when not known. response: after the thinking, its last LOGIC_RESPONSE_MAX
     * bytes at most, never with at == NULL. */
    void (*verify)(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out);
};

#define TASK(name) extern const struct logic_task logic_task_##name;
LOGIC_TASKS_A(TASK)
LOGIC_TASKS_B(TASK)
#undef TASK

/* All tasks in the order of the lists; *count of them. */
const struct logic_task *const *logic_tasks(size_t *count);
const struct logic_task *logic_task_find(const char *name); /* NULL: no such task */

/* Defaults of every knob. */
void logic_settings_default(const struct logic_task *task, struct logic_settings *settings);
/* "name=value". INVALID names the knob and its range. */
MUST_CHECK enum status logic_settings_set(const struct logic_task *task,
                                          struct logic_settings *settings, const char *text);
/* The problem of (task, settings, seed, index), the same each time. LIMIT when 1000 draws led nowhere. */
MUST_CHECK enum status logic_generate(const struct logic_task *task,
                                      const struct logic_settings *settings, uint64_t seed,
                                      uint64_t index, struct logic_problem *out);
/* That problem as a data row: {"task","data_source","prompt","question","answer","difficulty","metadata"}; *row is
 * the caller's. */
MUST_CHECK enum status logic_row(const struct logic_task *task,
                                 const struct logic_settings *settings, uint64_t seed,
                                 uint64_t index, json_t **row);
/* Judges a response (whole, with its thinking) against a row. */
void logic_verify_row(const json_t *row, const char *response, size_t size,
                      struct logic_verdict *out);

/* `weir-reward logic list | generate --task T ...`: exit code. */
int logic_command(int argc, char **argv, FILE *out);

/* For judges: a sentence and false / true. */
static inline void logic_wrong(struct logic_verdict *out, const char *why)
{
    out->why = why;
}
static inline void logic_broken(struct logic_verdict *out, const char *why)
{
    out->unscorable = true;
    out->why = why;
}

#endif
