/* bench/paper/tasks.h - small tasks with exact rewards for the experiments of bench/paper.
 *
 * A problem is a row of digits; the answer is the last token before the end of text. Tasks with a fork can be
 * answered in two ways: with an everyday opening word and a guess, or with a rare word ("Wait") and the work written
 * out, which a small model can do without errors. The rare word stands for the paper's "However, Recheck, Wait, Aha"
 * (MiniMax-M1, arXiv:2506.13585, section 3.1). Pure; any thread. */
#ifndef BENCH_PAPER_TASKS_H
#define BENCH_PAPER_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"

enum { TASK_TOKENS = 16, TASK_PROMPT_MAX = 64, TASK_RESPONSE_MAX = 512 };
/* Ids 0 to 9 are digits. */
enum task_token {
    TOKEN_PLUS = 10,
    TOKEN_EQUALS = 11,
    TOKEN_SO = 12,
    TOKEN_THUS = 13,
    TOKEN_WAIT = 14,
    TOKEN_END = 15
};
enum task_route { ROUTE_GUESS, ROUTE_WORK, ROUTE_LOOP };

struct task {
    const char *name;
    const char *about;
    uint32_t base;      /* digits are below it */
    uint32_t digits;    /* of a problem; of each number for `add` */
    uint32_t confident; /* tokens of a worked response, an upper bound */
    bool fork;          /* a guess is an everyday answer */
};

struct task_problem {
    uint32_t prompt[TASK_PROMPT_MAX];
    uint32_t count;
};

const struct task *task_find(const char *name); /* NULL: unknown */
const char *task_names(void);                   /* for messages */
const char *task_text(uint32_t token);
void task_draw(const struct task *task, struct rng *rng, struct task_problem *problem);
/* The tokens of a right answer by this route, end of text included; the guess is drawn from rng and may be wrong.
 * ROUTE_LOOP repeats the first digit until `most`, without an end. Returns their number. */
uint32_t task_solve(const struct task *task, const struct task_problem *problem,
                    enum task_route route, struct rng *rng, uint32_t most, uint32_t *response);
/* 1 when the response ends and its answer is right. */
double task_reward(const struct task *task, const struct task_problem *problem,
                   const uint32_t *response, uint32_t count);

#endif
