/* links: paper */
/* timeout: 60 */
/* valgrind: no: the lab runs the kernels */
/* The lab of bench/paper: the same seed gives the same curve, the reward rises, the tasks' own answers are right. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "bench/paper/lab.h"
#include "bench/paper/runs.h"
#include "tests/slow.h"

enum { BATCHES = 5 };

static struct lab_config small(uint64_t seed)
{
    struct lab_config config = lab_defaults("small");
    config.folder = BUILD_DIR "/test_lab";
    config.seed = seed;
    config.hidden = 32;
    config.rare = 0.1;
    config.warm_updates = 100;
    config.warm_lr = 5e-3;
    config.score_prompts = 32;
    return config;
}

static void batches(struct lab *lab, struct lab_point *points, uint32_t count)
{
    struct lab_run run = lab_run_defaults(&lab->settings);
    run.observe = true;
    assert_int_equal(lab_reset(lab), STATUS_OK);
    for (uint32_t b = 0; b < count; b++)
        assert_int_equal(lab_batch(lab, &run, &points[b]), STATUS_OK);
}

static void test_lab_same_seed_same_curve(void **state)
{
    (void)state;
    struct lab_config config = small(3);
    config.warm_updates = (uint32_t)test_times(20, 4);
    config.prompts = (uint32_t)test_times(32, 16);
    struct lab_point first[2], again[2], other[2];
    struct lab lab;
    assert_int_equal(lab_create(&lab, &config), STATUS_OK);
    batches(&lab, first, 2);
    batches(&lab, again, 2);
    assert_memory_equal(first, again, sizeof first);
    lab_destroy(&lab);
    assert_int_equal(lab_create(&lab, &config), STATUS_OK);
    batches(&lab, again, 2);
    assert_memory_equal(first, again, sizeof first);
    lab_destroy(&lab);
    config.seed = 4;
    assert_int_equal(lab_create(&lab, &config), STATUS_OK);
    batches(&lab, other, 2);
    assert_memory_not_equal(first, other, sizeof first);
    lab_destroy(&lab);
}

/* The rare word is found and the reward with it; trainer and decode agree bit for bit all the way. */
static void test_lab_one_short_run_reward_rises(void **state)
{
    (void)state;
    if (test_is_slow())
        skip();
    struct lab_config config = small(1);
    struct lab_point points[BATCHES];
    struct lab lab;
    assert_int_equal(lab_create(&lab, &config), STATUS_OK);
    batches(&lab, points, BATCHES);
    uint64_t seen = 0;
    for (int b = 0; b < BATCHES; b++) {
        assert_true(points[b].mismatch == 0);
        seen += points[b].token_seen[TOKEN_WAIT];
    }
    assert_true(points[BATCHES - 1].reward > points[0].reward + 0.2);
    assert_true(points[BATCHES - 1].rare > 0.5 && points[0].rare < 0.3);
    assert_true(seen > 0);
    lab_destroy(&lab);
}

static void test_tasks_worked_answers_are_right(void **state)
{
    (void)state;
    static const char *const names[] = {"fork", "small",   "chain", "parity",
                                        "add",  "reverse", "copy"};
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        const struct task *task = task_find(names[n]);
        assert_non_null(task);
        struct rng rng;
        rng_init(&rng, 1, n, RNG_TEST);
        for (int i = 0; i < 50; i++) {
            struct task_problem problem;
            uint32_t response[TASK_RESPONSE_MAX];
            task_draw(task, &rng, &problem);
            uint32_t count = task_solve(task, &problem, ROUTE_WORK, &rng, 64, response);
            assert_true(count <= task->confident);
            assert_true(task_reward(task, &problem, response, count) == 1);
            assert_true(task_reward(task, &problem, response, count - 1) == 0);
            response[count - 2] = (response[count - 2] + 1) % task->base;
            assert_true(task_reward(task, &problem, response, count) == 0);
        }
    }
    assert_null(task_find("nothing"));
}

static void test_lab_unknown_task_is_refused(void **state)
{
    (void)state;
    struct lab_config config = small(1);
    struct lab lab;
    config.task = "nothing";
    assert_int_equal(lab_create(&lab, &config), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "fork"));
}

static void test_runs_steps_and_intervals(void **state)
{
    (void)state;
    const double slow[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.8},
                 fast[] = {0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8};
    const double *const slow_seeds[] = {slow, slow}, *const fast_seeds[] = {fast, fast};
    uint32_t reached = 0;
    assert_true(first_reach(slow, 10, 0.45) > 4.49 && first_reach(slow, 10, 0.45) < 4.51);
    assert_true(first_reach(slow, 10, 0.9) == 11);
    struct interval ratio = interval_of_steps(fast_seeds, slow_seeds, 2, 10, 1, &reached);
    assert_true(ratio.mean > 0.49 && ratio.mean < 0.51 && ratio.low == ratio.high);
    assert_int_equal(reached, 2);
    const double values[] = {1, 2, 3, 4, 5};
    struct interval mean = interval_of_mean(values, 5);
    assert_true(mean.mean == 3 && mean.low > 1.4 && mean.low < 2.2 && mean.high > 3.8 &&
                mean.high < 4.6);
    assert_true(run_listed("a,bc", "bc") && !run_listed("a,bc", "b") && run_listed("", "b"));
}

static enum status append_one(void *self, uint32_t i)
{
    char key[16];
    snprintf(key, sizeof key, "run %u", i);
    return i == 3 ? FAIL(STATUS_LIMIT, "the third fails")
                  : runs_append(self, json_pack("{s:s, s:f}", "key", key, "x", i / 4.0));
}

/* Two processes at a time write whole lines; a broken line is named; a job that fails is told. */
static void test_runs_lines_of_processes_come_back(void **state)
{
    (void)state;
    char path[] = BUILD_DIR "/test_lab.jsonl";
    json_t *lines = NULL;
    remove(path);
    assert_int_equal(runs_load(path, &lines), STATUS_OK);
    assert_int_equal(json_array_size(lines), 0);
    json_decref(lines);
    assert_int_equal(runs_jobs(3, 2, append_one, path), STATUS_OK);
    assert_int_equal(runs_load(path, &lines), STATUS_OK);
    assert_int_equal(json_array_size(lines), 3);
    assert_true(json_real_value(json_object_get(runs_find(lines, "run 2"), "x")) == 0.5);
    assert_null(runs_find(lines, "run 3"));
    json_decref(lines);
    assert_int_equal(runs_jobs(4, 1, append_one, path), STATUS_LIMIT);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs("{\"key\": \n", file);
    fclose(file);
    assert_int_equal(runs_load(path, &lines), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "test_lab.jsonl:7"));
    json_decref(lines);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lab_same_seed_same_curve),
        cmocka_unit_test(test_lab_one_short_run_reward_rises),
        cmocka_unit_test(test_tasks_worked_answers_are_right),
        cmocka_unit_test(test_lab_unknown_task_is_refused),
        cmocka_unit_test(test_runs_steps_and_intervals),
        cmocka_unit_test(test_runs_lines_of_processes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
