/* links: reward_logic core */
/* bench/bench_logic.c - what it costs to make a logic problem and to judge an answer, task by task, with default knobs.
 *
 *     bench_logic [problems] [seed]     JSON lines: mean and worst milliseconds to make one (limits 5 and 50), mean
 *                                       microseconds to judge its own answer (limit 1000) and the worst of a megabyte of
 *                                       unclosed brackets (limit 100 ms) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/must.h"
#include "core/clock.h"
#include "core/memory.h"
#include "reward/logic/logic.h"

enum { HUGE_SIZE = 1024 * 1024 };

/* Nanoseconds to judge the row's own answer; the verdict must be right. */
static int64_t judge_own(const json_t *row)
{
    const json_t *answer = json_object_get(row, "answer");
    char *text = json_is_string(answer) ? strdup(json_string_value(answer))
                                        : json_dumps(answer, JSON_ENCODE_ANY);
    struct logic_verdict verdict;
    int64_t start = clock_now_ns();
    logic_verify_row(row, text, strlen(text), &verdict);
    start = clock_now_ns() - start;
    free(text);
    return start;
}

static void bench_task(const struct logic_task *task, uint64_t problems, uint64_t seed,
                       const char *hostile)
{
    struct logic_settings settings;
    int64_t made = 0, worst = 0, judged = 0, hostile_ns = 0;
    double difficulty = 0;
    logic_settings_default(task, &settings);
    for (uint64_t i = 0; i < problems; i++) {
        json_t *row = NULL;
        int64_t start = clock_now_ns();
        must(logic_row(task, &settings, seed, i, &row), task->name);
        int64_t took = clock_now_ns() - start;
        made += took;
        worst = took > worst ? took : worst;
        judged += judge_own(row);
        difficulty += json_number_value(json_object_get(row, "difficulty"));
        if (i == 0) {
            struct logic_verdict verdict;
            start = clock_now_ns();
            logic_verify_row(row, hostile, HUGE_SIZE, &verdict);
            hostile_ns = clock_now_ns() - start;
        }
        json_decref(row);
    }
    printf("{\"bench\":\"logic\",\"task\":\"%s\",\"problems\":%" PRIu64
           ",\"make_mean_ms\":%.3f,\"make_mean_ms_max\":5,\"make_worst_ms\":%.3f,\"make_worst_ms_"
           "max\":50,"
           "\"judge_mean_us\":%.1f,\"judge_mean_us_max\":1000,\"hostile_ms\":%.2f,\"hostile_ms_"
           "max\":100,"
           "\"difficulty\":%.3f}\n",
           task->name, problems, (double)made / 1e6 / (double)problems, (double)worst / 1e6,
           (double)judged / 1e3 / (double)problems, (double)hostile_ns / 1e6,
           difficulty / (double)problems);
}

int main(int argc, char **argv)
{
    uint64_t problems = argc > 1 ? strtoull(argv[1], NULL, 10) : 200;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    size_t count;
    const struct logic_task *const *tasks = logic_tasks(&count);
    char *hostile = memory_alloc(HUGE_SIZE + 1);
    if (hostile == NULL || problems == 0)
        return 1;
    for (size_t i = 0; i < HUGE_SIZE; i++)
        hostile[i] = "[[1,"[i % 4];
    for (size_t i = 0; i < count; i++)
        bench_task(tasks[i], problems, seed, hostile);
    memory_free(hostile);
    return 0;
}
