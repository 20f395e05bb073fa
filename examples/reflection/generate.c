/* examples/reflection/generate.c - countdown problems with a search that tries, checks and says "wait".
 *
 *     weir-reflection sft ROWS SEED [KNOB=VALUE ...]          prompt and search, for `weir sft`
 *     weir-reflection sft-held-out ROWS SEED [KNOB=VALUE ...]  the same of problems that sft and rl never give
 *     weir-reflection rl ROWS SEED [KNOB=VALUE ...]           prompts with what a judge needs, for `weir run`
 *     weir-reflection rl-held-out ROWS SEED [KNOB=VALUE ...]
 *
 * A problem: some numbers and a target that they reach, each used once, with + - * / and whole results above 0. The text
 * of 3, 5, 2 and 16: prompt "3 5 2>16:", completion
 *
 *     3*5=15,15-2=13 wait 3+5=8,8-2=6 back 8*2=16 ok <answer>(3+5)*2</answer>
 *
 * A trial is drawn blindly; where it misses, " wait " begins anew and " back " keeps all but its last step. After at
 * most K trials, K drawn from 1 to `trials`, the text gives up with " stop". So a model trained on it knows how to search
 * and not how to find: what to try, and when to go on, is left to reinforcement learning (the trials that hit end in
 * an answer, the others in none). `answer=boxed` ends with \boxed{...} instead.
 *
 * Knobs: numbers (2-6, 3), max (of a number, 2-99, 9), target_min (10), target_max (99), value_max (of any result, 9999),
 * trials (1-64, 8), back (chance of it, 0.3), answer (tag, boxed), check (1: each trial ends in ">16", the target said
 * again beside its result, so that a tiny model can see whether they are equal; 0). Rows are a function of command, seed and knobs. A problem is held out when the
 * hash of its sorted numbers and target falls into one of ten parts, whatever the seed. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/rng.h"

enum { NUMBERS_MAX = 6, TEXT_MAX = 256, VALUE_MAX = 9999, ANSWER_TAG = 0, ANSWER_BOXED = 1 };

struct knobs {
    double numbers, max, target_min, target_max, value_max, trials, back, check, answer;
};

struct part {
    int value;
    char text[TEXT_MAX]; /* as a formula; composite ones in parentheses */
};

struct step {
    int a, b, value;
    char op;
};

/* One trial: all numbers joined. steps [count - 1]. */
struct trial {
    struct step steps[NUMBERS_MAX - 1];
    int count, value;
    char formula[TEXT_MAX];
};

/* a op b into *value; false: not a whole number from 1 to value_max. */
static bool compute(int a, char op, int b, int value_max, int *value)
{
    if (op == '/' && (b == 0 || a % b != 0))
        return false;
    *value = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
    return *value >= 1 && *value <= value_max;
}

/* Joins two of `count` parts, drawn blindly; the last part takes the free place. */
static bool join(struct rng *rng, const struct knobs *knobs, struct part *parts, int count,
                 struct step *step)
{
    static const char ops[] = "+-*/";
    for (int tries = 0; tries < 1000; tries++) {
        int i = (int)rng_below(rng, (uint32_t)count), j = (int)rng_below(rng, (uint32_t)count);
        char op = ops[rng_below(rng, 4)];
        struct part made;
        if (i == j ||
            !compute(parts[i].value, op, parts[j].value, (int)knobs->value_max, &made.value))
            continue;
        int size =
            snprintf(made.text, sizeof made.text, "(%s%c%s)", parts[i].text, op, parts[j].text);
        if (size < 0 || (size_t)size >= sizeof made.text)
            continue;
        *step = (struct step){parts[i].value, parts[j].value, made.value, op};
        parts[i] = made;
        parts[j] = parts[count - 1];
        return true;
    }
    return false;
}

/* A trial whose first `kept` steps are those of the parts given. state[k]: the parts before step k. */
static bool draw_trial(struct rng *rng, const struct knobs *knobs,
                       struct part state[NUMBERS_MAX][NUMBERS_MAX], int kept, struct trial *trial)
{
    int numbers = (int)knobs->numbers;
    trial->count = numbers - 1;
    for (int k = kept; k < numbers - 1; k++) {
        struct part parts[NUMBERS_MAX];
        memcpy(parts, state[k], sizeof parts);
        if (!join(rng, knobs, parts, numbers - k, &trial->steps[k]))
            return false;
        memcpy(state[k + 1], parts, sizeof parts);
    }
    const struct part *whole = &state[numbers - 1][0];
    size_t length = strlen(whole->text);
    trial->value = whole->value;
    snprintf(trial->formula, sizeof trial->formula, "%.*s", (int)length - 2, whole->text + 1);
    return true;
}

static void begin(struct part state[NUMBERS_MAX][NUMBERS_MAX], const int *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        state[0][i].value = numbers[i];
        snprintf(state[0][i].text, TEXT_MAX, "%d", numbers[i]);
    }
}

/* ---- problems ---- */

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static bool is_held_out(const int *numbers, int count, int target)
{
    int sorted[NUMBERS_MAX + 1];
    memcpy(sorted, numbers, (size_t)count * sizeof *numbers);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    sorted[count] = target;
    return hash64(sorted, ((size_t)count + 1) * sizeof *sorted, 0) % 10 == 0;
}

/* Numbers and a target that a blind trial reached, so it can be reached. */
static bool draw_problem(struct rng *rng, const struct knobs *knobs, bool held_out, int *numbers,
                         struct trial *solution)
{
    int count = (int)knobs->numbers;
    for (int tries = 0; tries < 100000; tries++) {
        struct part state[NUMBERS_MAX][NUMBERS_MAX];
        for (int i = 0; i < count; i++)
            numbers[i] = 1 + (int)rng_below(rng, (uint32_t)knobs->max);
        begin(state, numbers, count);
        if (draw_trial(rng, knobs, state, 0, solution) && solution->value >= knobs->target_min &&
            solution->value <= knobs->target_max &&
            is_held_out(numbers, count, solution->value) == held_out)
            return true;
    }
    return false;
}

/* ---- rows ---- */

static void print_steps(const struct trial *trial, int first)
{
    for (int k = first; k < trial->count; k++)
        printf("%s%d%c%d=%d", k > first ? "," : "", trial->steps[k].a, trial->steps[k].op,
               trial->steps[k].b, trial->steps[k].value);
}

static bool print_search(struct rng *rng, const struct knobs *knobs, const int *numbers, int target)
{
    int count = (int)knobs->numbers, kept = 0;
    uint32_t trials = 1 + rng_below(rng, (uint32_t)knobs->trials);
    struct part state[NUMBERS_MAX][NUMBERS_MAX];
    struct trial trial;
    begin(state, numbers, count);
    for (uint32_t t = 0; t < trials; t++) {
        if (t > 0)
            fputs(kept > 0 ? " back " : " wait ", stdout);
        if (!draw_trial(rng, knobs, state, kept, &trial))
            return false;
        print_steps(&trial, kept);
        if (knobs->check > 0)
            printf(">%d", target);
        if (trial.value == target) {
            printf(knobs->answer == ANSWER_BOXED ? " ok \\\\boxed{%s}" : " ok <answer>%s</answer>",
                   trial.formula);
            return true;
        }
        kept = rng_uniform(rng) < knobs->back ? count - 2 : 0;
    }
    fputs(" stop", stdout);
    return true;
}

static void print_prompt(const int *numbers, int count, int target)
{
    for (int i = 0; i < count; i++)
        printf("%s%d", i > 0 ? " " : "", numbers[i]);
    printf(">%d:", target);
}

static bool print_sft(struct rng *rng, const struct knobs *knobs, const int *numbers, int target)
{
    fputs("{\"prompt\":\"", stdout);
    print_prompt(numbers, (int)knobs->numbers, target);
    fputs("\",\"completion\":\"", stdout);
    bool done = print_search(rng, knobs, numbers, target);
    fputs("\"}\n", stdout);
    return done;
}

/* The judge is that of game_of_24 (docs/logic.md): each number once, the value computed exactly. */
static bool print_rl(const struct knobs *knobs, const int *numbers, const struct trial *solution,
                     uint64_t row)
{
    int count = (int)knobs->numbers;
    fputs("{\"data_source\":\"countdown\",\"kind\":\"logic\",\"task\":\"game_of_24\",\"prompt\":\"",
          stdout);
    print_prompt(numbers, count, solution->value);
    printf("\",\"answer\":\"%s\",\"metadata\":{\"numbers\":[", solution->formula);
    for (int i = 0; i < count; i++)
        printf("%s%d", i > 0 ? "," : "", numbers[i]);
    printf("],\"operators\":[\"+\",\"-\",\"*\",\"/"
           "\"],\"result\":%d},\"extra_info\":{\"index\":%" PRIu64 "}}\n",
           solution->value, row);
    return true;
}

/* ---- command line ---- */

static int usage(void)
{
    fputs("usage: weir-reflection sft|sft-held-out|rl|rl-held-out ROWS SEED [numbers=3] [max=9]\n"
          "       [target_min=10] [target_max=99] [value_max=9999] [trials=8] [back=0.3] "
          "[check=0] [answer=tag|boxed]\n",
          stderr);
    return 2;
}

static bool parse(const char *text, double least, double most, double *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most;
}

static bool parse_knob(const char *text, struct knobs *knobs)
{
    struct {
        const char *name;
        double least, most, *value;
    } table[] = {{"numbers", 2, NUMBERS_MAX, &knobs->numbers},
                 {"max", 2, 99, &knobs->max},
                 {"target_min", 1, VALUE_MAX, &knobs->target_min},
                 {"target_max", 1, VALUE_MAX, &knobs->target_max},
                 {"value_max", 9, VALUE_MAX, &knobs->value_max},
                 {"trials", 1, 64, &knobs->trials},
                 {"back", 0, 1, &knobs->back},
                 {"check", 0, 1, &knobs->check}};
    const char *equals = strchr(text, '=');
    if (strcmp(text, "answer=boxed") == 0 || strcmp(text, "answer=tag") == 0) {
        knobs->answer = strcmp(text, "answer=boxed") == 0 ? ANSWER_BOXED : ANSWER_TAG;
        return true;
    }
    for (size_t i = 0; equals != NULL && i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].name) == (size_t)(equals - text) &&
            strncmp(text, table[i].name, (size_t)(equals - text)) == 0)
            return parse(equals + 1, table[i].least, table[i].most, table[i].value);
    return false;
}

int main(int argc, char **argv)
{
    struct knobs knobs = {3, 9, 10, 99, VALUE_MAX, 8, 0.3, 0, ANSWER_TAG};
    double rows = 0, seed = 0;
    const char *command = argc > 1 ? argv[1] : "";
    bool sft = strncmp(command, "sft", 3) == 0, rl = strncmp(command, "rl", 2) == 0;
    const char *rest = sft ? command + 3 : command + 2;
    bool held_out = (sft || rl) && strcmp(rest, "-held-out") == 0;
    if (!(sft || rl) || (rest[0] != '\0' && !held_out) || argc < 4 ||
        !parse(argv[2], 1, 1e9, &rows) || !parse(argv[3], 0, 9e15, &seed))
        return usage();
    for (int i = 4; i < argc; i++)
        if (!parse_knob(argv[i], &knobs)) {
            fprintf(stderr, "weir-reflection: \"%s\" is no knob with a value it can have\n",
                    argv[i]);
            return usage();
        }
    struct rng rng;
    rng_init(&rng, (uint64_t)seed, (sft ? 3U : 4U) + (held_out ? 2U : 0U), RNG_TASK);
    for (uint64_t row = 0; row < (uint64_t)rows; row++) {
        int numbers[NUMBERS_MAX];
        struct trial solution;
        bool done = draw_problem(&rng, &knobs, held_out, numbers, &solution) &&
                    (sft ? print_sft(&rng, &knobs, numbers, solution.value)
                         : print_rl(&knobs, numbers, &solution, row));
        if (!done) {
            fputs("weir-reflection: no such problem was found; widen max or the targets\n", stderr);
            return 1;
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
