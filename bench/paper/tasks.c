#include "bench/paper/tasks.h"

#include <string.h>

static const struct task tasks[] = {
    {"fork", "sum of 5 digits mod 5; a rare word opens the written sum, a guess is right 1 in 5", 5,
     5, 8, true},
    {"small", "the same of 3 digits mod 3: for tests", 3, 3, 6, true},
    {"chain", "the same sum, always written out: nothing rare to find", 5, 5, 8, false},
    {"parity", "running parity of 8 bits, written out", 2, 8, 11, false},
    {"add", "two numbers of two digits, the sum written from its last digit", 10, 2, 5, false},
    {"reverse", "six digits backwards", 10, 6, 8, false},
    {"copy", "forty digits again: long and certain, but no loop", 10, 40, 42, false},
};

const struct task *task_find(const char *name)
{
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        if (strcmp(tasks[i].name, name) == 0)
            return &tasks[i];
    return NULL;
}

const char *task_names(void)
{
    return "fork small chain parity add reverse copy";
}

const char *task_text(uint32_t token)
{
    static const char *const texts[TASK_TOKENS] = {"0", "1", "2", "3", "4",  "5",    "6",    "7",
                                                   "8", "9", "+", "=", "So", "Thus", "Wait", "."};
    return token < TASK_TOKENS ? texts[token] : "?";
}

static bool is(const struct task *task, const char *name)
{
    return strcmp(task->name, name) == 0;
}

void task_draw(const struct task *task, struct rng *rng, struct task_problem *problem)
{
    problem->count = 0;
    for (uint32_t i = 0; i < task->digits; i++)
        problem->prompt[problem->count++] = rng_below(rng, task->base);
    if (is(task, "add")) {
        problem->prompt[problem->count++] = TOKEN_PLUS;
        for (uint32_t i = 0; i < task->digits; i++)
            problem->prompt[problem->count++] = rng_below(rng, task->base);
    }
    problem->prompt[problem->count++] = TOKEN_EQUALS;
}

/* Least digit first, the carry last. */
static uint32_t work_add(const struct task *task, const uint32_t *prompt, uint32_t *out)
{
    uint32_t n = task->digits, carry = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t sum = prompt[n - 1 - i] + prompt[2 * n - i] + carry;
        out[i] = sum % task->base;
        carry = sum / task->base;
    }
    out[n] = carry;
    return n + 1;
}

/* The worked lines without the opening word and the end. */
static uint32_t work(const struct task *task, const uint32_t *prompt, uint32_t *out)
{
    uint32_t n = task->digits;
    if (is(task, "add"))
        return work_add(task, prompt, out);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum = (sum + prompt[i]) % task->base;
        out[i] = is(task, "reverse") ? prompt[n - 1 - i] : is(task, "copy") ? prompt[i] : sum;
    }
    return n;
}

/* Tasks whose whole line is the answer, not its last token. */
static bool whole_line(const struct task *task)
{
    return is(task, "add") || is(task, "reverse") || is(task, "copy");
}

static uint32_t loop(const struct task_problem *problem, uint32_t most, uint32_t *response)
{
    for (uint32_t i = 0; i < most; i++)
        response[i] = problem->prompt[0];
    return most;
}

uint32_t task_solve(const struct task *task, const struct task_problem *problem,
                    enum task_route route, struct rng *rng, uint32_t most, uint32_t *response)
{
    if (route == ROUTE_LOOP)
        return loop(problem, most, response);
    uint32_t count = 0, lines[TASK_PROMPT_MAX];
    uint32_t made = work(task, problem->prompt, lines);
    if (route == ROUTE_GUESS) {
        response[count++] = rng_below(rng, 3) < 2 ? TOKEN_SO : TOKEN_THUS;
        response[count++] = rng_below(rng, task->base);
    } else {
        if (!whole_line(task))
            response[count++] = TOKEN_WAIT;
        memcpy(response + count, lines, made * sizeof *lines);
        count += made;
    }
    response[count++] = TOKEN_END;
    return count;
}

double task_reward(const struct task *task, const struct task_problem *problem,
                   const uint32_t *response, uint32_t count)
{
    uint32_t lines[TASK_PROMPT_MAX];
    uint32_t made = work(task, problem->prompt, lines);
    if (count < 2 || response[count - 1] != TOKEN_END)
        return 0;
    if (whole_line(task))
        return count == made + 1 && memcmp(response, lines, made * sizeof *lines) == 0 ? 1 : 0;
    return response[count - 2] == lines[made - 1] ? 1 : 0;
}
