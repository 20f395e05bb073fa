/* tests/logic_case.h - answers of the logic tasks for the tests: as a response writes them, and spoiled ones. */
#ifndef TESTS_LOGIC_CASE_H
#define TESTS_LOGIC_CASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/rng.h"
#include "reward/logic/logic.h"

static const char *const grid_tasks[] = {"arrow_maze", "calcudoko",   "campsite", "futoshiki",
                                         "kukurasu",   "number_wall", "numbrix"};

static inline bool is_grid_task(const char *task)
{
    for (size_t i = 0; i < sizeof grid_tasks / sizeof grid_tasks[0]; i++)
        if (strcmp(task, grid_tasks[i]) == 0)
            return true;
    return false;
}

/* The text that a response holds for an answer: free()d by the caller. */
static inline char *answer_text(const json_t *answer)
{
    return json_is_string(answer) ? strdup(json_string_value(answer))
                                  : json_dumps(answer, JSON_ENCODE_ANY);
}

static inline int verdict_of(const json_t *row, const char *response, size_t size)
{
    struct logic_verdict verdict;
    logic_verify_row(row, response, size, &verdict);
    return verdict.unscorable ? -1 : verdict.correct ? 1 : 0;
}

static inline int verdict_in(const json_t *row, const char *format, const char *answer)
{
    char *response = NULL;
    if (asprintf(&response, format, answer) < 0)
        abort();
    int verdict = verdict_of(row, response, strlen(response));
    free(response);
    return verdict;
}

/* ---- spoiling: every way gives a wrong answer whatever the puzzle, unless said otherwise ---- */

enum { SPOIL_WAYS = 4 };

/* A cell of another kind: a wall for a free cell, another arrow, a number of the same row. */
static inline json_t *other_cell(const char *task, json_t *row, size_t column, struct rng *rng)
{
    static const char *const arrows[] = {"↑", "↗", "→", "↘", "↓", "↙", "←", "↖"};
    json_t *cell = json_array_get(row, column);
    const char *text = json_is_string(cell) ? json_string_value(cell) : "";
    if (strcmp(task, "arrow_maze") == 0) {
        const char *arrow;
        do
            arrow = arrows[rng_below(rng, 8)];
        while (strcmp(arrow, text) == 0);
        return json_string(arrow);
    }
    if (strcmp(task, "number_wall") == 0)
        return json_string(strcmp(text, "A") == 0 ? "X" : "A");
    if (strcmp(task, "kukurasu") == 0)
        return json_string(strcmp(text, "1") == 0 ? "X" : "1");
    if (strcmp(task, "campsite") == 0)
        return json_string(strcmp(text, "C") == 0 ? "X" : "C");
    return json_incref(json_array_get(row, (column + 1) % json_array_size(row)));
}

static inline json_t *spoil_grid(const char *task, const json_t *answer, int way, struct rng *rng)
{
    json_t *grid = json_deep_copy(answer);
    size_t rows = json_array_size(grid), r = rng_below(rng, (uint32_t)rows);
    json_t *row = json_array_get(grid, r);
    size_t c = rng_below(rng, (uint32_t)json_array_size(row));
    if (way == 1)
        json_array_remove(grid, rows - 1);
    else if (way == 2)
        json_array_append(grid, json_array_get(grid, 0));
    else
        json_array_set_new(row, c, other_cell(task, row, c, rng));
    return grid;
}

/* Lists of cells (minesweeper) and of dominoes (norinori). */
static inline json_t *spoil_list(const json_t *answer, int way)
{
    json_t *list = json_deep_copy(answer);
    if (way == 1)
        json_array_remove(list, 0);
    else if (way == 2)
        json_array_append_new(list, json_pack("[i, i]", 99, 99));
    else
        json_array_set_new(list, 0, json_pack("[i, i]", -1, 0));
    return list;
}

/* A number that is another one by more than rounding. */
static inline char *spoil_number(const char *text, int way)
{
    char *made = NULL;
    double value = strtod(text, NULL);
    if (way == 1)
        made = strdup("none");
    else if (asprintf(&made, "%.2f", way == 2 ? value * 10 + 7 : value + 1) < 0)
        abort();
    return made;
}

static inline char *spoil_text(const char *task, const char *text, int way, struct rng *rng)
{
    size_t size = strlen(text);
    char *made = NULL;
    if (strncmp(task, "object_", 7) == 0 || strcmp(task, "operation") == 0 ||
        strcmp(task, "buggy_tables") == 0 || strcmp(task, "dyck_language_errors") == 0)
        return spoil_number(text, way);
    if (strcmp(task, "boolean_expressions") == 0) { /* other letters, one more, one less */
        const char *start = way == 2 ? text : way != 1 && size > 1 ? text + 2 : "";
        if (asprintf(&made, "%s%s", start, way == 0 && size > 1 ? "" : ",Z") < 0)
            abort();
        return made;
    }
    if (strcmp(task, "dyck_language_reasoning_errors") == 0) {
        if (asprintf(&made, way == 1 ? "%s,1" : way == 2 ? "%s,500" : "%s,2", text) < 0)
            abort();
        return made;
    }
    if (strcmp(task, "dyck_language") == 0) {
        if (asprintf(&made, way == 1 ? "%s()" : way == 2 ? "(%s)" : "%s>", text) < 0)
            abort();
        return made;
    }
    if (strcmp(task, "game_of_24") == 0) { /* a number too many, one too few, something else */
        if (asprintf(&made, way == 1 ? "(%s) * 1" : way == 2 ? "24" : "(%s) / 1 + 0", text) < 0)
            abort();
        return made;
    }
    if (strcmp(task, "goods_exchange") == 0) {
        made = strdup(text);
        if (way == 1)
            *strrchr(made, '(') = ')'; /* the last pair is cut off */
        else if (way == 2)
            memcpy(strchr(made, '\''), "'#", 2);
        else
            memcpy(strrchr(made, '\'') - 3, "zzz", 3);
        return made;
    }
    /* equations: another digit (which may make a true one, see the caller), another result, another equation */
    if (way == 1)
        return strdup("1 + 1 = 2");
    if (way == 2) {
        if (asprintf(&made, "%s1", text) < 0)
            abort();
        return made;
    }
    made = strdup(text);
    size_t at;
    do
        at = rng_below(rng, (uint32_t)(strchr(text, '=') - text));
    while (made[at] < '0' || made[at] > '9');
    made[at] = (char)('0' + (made[at] - '0' + 1 + (int)rng_below(rng, 9)) % 10);
    return made;
}

/* The text of a spoiled answer: free()d by the caller. */
static inline char *spoiled(const char *task, const json_t *answer, int way, struct rng *rng)
{
    json_t *made = NULL;
    if (is_grid_task(task))
        made = spoil_grid(task, answer, way, rng);
    else if (json_is_array(answer))
        made = spoil_list(answer, way);
    char *text =
        made != NULL ? json_dumps(made, 0) : spoil_text(task, json_string_value(answer), way, rng);
    json_decref(made);
    return text;
}

/* ---- an evaluator of its own for equations ---- */

static inline long double eval_sum(const char **at);

static inline long double eval_value(const char **at)
{
    while (**at == ' ')
        ++*at;
    if (**at == '(') {
        ++*at;
        long double value = eval_sum(at);
        while (**at == ' ')
            ++*at;
        ++*at;
        return value;
    }
    char *end;
    long double value = strtold(*at, &end);
    *at = end;
    return value;
}

static inline long double eval_product(const char **at)
{
    long double value = eval_value(at);
    for (;;) {
        while (**at == ' ')
            ++*at;
        char operator_ = **at;
        if (operator_ != '*' && operator_ != '/' && operator_ != '%')
            return value;
        ++*at;
        long double right = eval_value(at);
        value = operator_ == '*'   ? value * right
                : operator_ == '/' ? value / right
                                   : value - right * __builtin_floorl(value / right + 1e-15L);
    }
}

static inline long double eval_sum(const char **at)
{
    long double value = eval_product(at);
    for (;;) {
        while (**at == ' ')
            ++*at;
        char operator_ = **at;
        if (operator_ != '+' && operator_ != '-')
            return value;
        ++*at;
        long double right = eval_product(at);
        value = operator_ == '+' ? value + right : value - right;
    }
}

/* Whether "left = right" is true up to rounding. */
static inline bool equation_is_true(const char *text)
{
    const char *equals = strchr(text, '=');
    long double left = eval_sum(&text), right = strtold(equals + 1, NULL);
    return __builtin_fabsl(left - right) < 1e-9L;
}

#endif
