/* links: reward_logic reward_answer core */
/* timeout: 60 */
/* The first 21 logic tasks: what is generated is solved by its own answer and by nothing spoiled, knobs make it harder,
 * hostile responses cost nothing, and SynLogic's rows (WEIR_DATA) are judged as documented. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/clock.h"
#include "reward/logic/logic_area.h"
#include "tests/logic_case.h"
#include "tests/slow.h"

static const char *const names[] = {
#define TASK(name) #name,
    LOGIC_TASKS_A(TASK)
#undef TASK
};
enum { TASKS = sizeof names / sizeof names[0] };

static uint64_t seed_base(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20261123;
}

/* 0 the defaults, 1 all knobs at their least, 2 all at their most. */
static struct logic_settings settings_of(const struct logic_task *task, int which)
{
    struct logic_settings settings;
    logic_settings_default(task, &settings);
    for (int i = 0; which != 0 && i < LOGIC_KNOBS_MAX && task->knobs[i].name != NULL; i++)
        settings.value[i] = which == 1 ? task->knobs[i].min : task->knobs[i].max;
    return settings;
}

static json_t *row_of(const char *name, int which, uint64_t index)
{
    const struct logic_task *task = logic_task_find(name);
    struct logic_settings settings = settings_of(task, which);
    json_t *row = NULL;
    if (logic_row(task, &settings, seed_base(), index, &row) != STATUS_OK)
        fail_msg("%s, knobs %d, row %d: %s", name, which, (int)index, status_last_error());
    return row;
}

static void test_logic_first_half_has_21_tasks(void **state)
{
    (void)state;
    assert_int_equal(TASKS, 21);
    for (size_t i = 0; i < TASKS; i++)
        assert_string_equal(logic_task_find(names[i])->name, names[i]);
    assert_null(logic_task_find("no_such_task"));
}

/* ---- generated rows ---- */

static void check_gold(const char *name, const json_t *row, const char *gold)
{
    static const char *const wrappers[] = {"%s", "First [[1]].\n\n```python\n%s\n```\n",
                                           "So it is \\boxed{%s}.",
                                           "<think>\\boxed{1}? [[0, 0]]</think>The answer is %s"};
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++)
        if (verdict_in(row, wrappers[i], gold) != 1)
            fail_msg("%s: the answer in \"%s\" is refused: %s\n%s", name, wrappers[i], gold,
                     json_string_value(json_object_get(row, "question")));
}

static void check_spoiled(const char *name, const json_t *row, struct rng *rng, int *counted,
                          int *right)
{
    const json_t *answer = json_object_get(row, "answer");
    char *gold = answer_text(answer);
    for (int way = 0; way < SPOIL_WAYS; way++) {
        char *text = spoiled(name, answer, way, rng);
        bool alternative = strcmp(name, "math_path") == 0 && way % 3 == 0 && equation_is_true(text);
        char *response = NULL;
        if (asprintf(&response, way == 3 ? "\\boxed{%s}\nNo, rather this:\n\\boxed{%s}" : "%.0s%s",
                     gold, text) < 0)
            abort();
        int verdict = verdict_of(row, response, strlen(response));
        *right += alternative;
        ++*counted;
        if (!alternative && verdict != 0)
            fail_msg("%s: spoiled way %d is accepted: %s\n%s", name, way, response,
                     json_string_value(json_object_get(row, "question")));
        free(response);
        free(text);
    }
    free(gold);
}

static void test_logic_own_answers_score_and_spoiled_ones_do_not(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, seed_base(), 1, RNG_TEST);
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed_base());
    for (size_t i = 0; i < TASKS; i++) {
        int counted = 0, right = 0;
        for (int which = 0; which < 3; which++)
            for (uint64_t index = 0; index < test_times(34, 3); index++) {
                json_t *row = row_of(names[i], which, index);
                char *gold = answer_text(json_object_get(row, "answer"));
                double difficulty = json_number_value(json_object_get(row, "difficulty"));
                assert_true(difficulty >= 0 && difficulty <= 1);
                check_gold(names[i], row, gold);
                check_spoiled(names[i], row, &rng, &counted, &right);
                free(gold);
                json_decref(row);
            }
        if (right > 0)
            print_message("%s: %d of %d spoiled answers happen to be right\n", names[i], right,
                          counted);
        assert_true(right * 4 < counted);
    }
}

static void test_logic_same_seed_same_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < TASKS; i++) {
        json_t *a = row_of(names[i], 0, 5), *b = row_of(names[i], 0, 5),
               *c = row_of(names[i], 0, 6);
        assert_true(json_equal(a, b));
        assert_false(json_equal(json_object_get(a, "question"), json_object_get(c, "question")));
        json_decref(a);
        json_decref(b);
        json_decref(c);
    }
}

static double mean_work(const struct logic_task *task, size_t knob, int value)
{
    struct logic_settings settings;
    double sum = 0;
    uint64_t count = test_times(60, 30);
    logic_settings_default(task, &settings);
    settings.value[knob] = value;
    for (uint64_t i = 0; i < count; i++) {
        struct logic_problem problem;
        logic_problem_init(&problem);
        assert_int_equal(logic_generate(task, &settings, seed_base(), i, &problem), STATUS_OK);
        sum += problem.work;
        logic_problem_free(&problem);
    }
    return sum / (double)count;
}

static void test_logic_knobs_change_the_measured_work(void **state)
{
    (void)state;
    for (size_t i = 0; i < TASKS; i++) {
        const struct logic_task *task = logic_task_find(names[i]);
        for (size_t k = 0; task->knobs[k].name != NULL; k++) {
            double low = mean_work(task, k, task->knobs[k].min),
                   high = mean_work(task, k, task->knobs[k].max);
            double ratio = low < high ? high / low : low / high;
            if (ratio < 1.15)
                fail_msg("%s: knob %s changes the work from %.1f to %.1f only", names[i],
                         task->knobs[k].name, low, high);
        }
    }
}

/* ---- hostile responses, broken rows ---- */

enum { HUGE_SIZE = 1024 * 1024 };

/* A megabyte of `pattern` over and over. */
static void fill(char *text, const char *pattern)
{
    size_t length = strlen(pattern);
    for (size_t i = 0; i < HUGE_SIZE; i++)
        text[i] = pattern[i % length];
    text[HUGE_SIZE] = '\0';
}

static void expect_zero(const json_t *row, const char *text, size_t size, const char *what)
{
    int64_t start = clock_now_ns();
    int verdict = verdict_of(row, text, size);
    int64_t took_ms = (clock_now_ns() - start) / CLOCK_NS_PER_MS;
    const char *name = json_string_value(json_object_get(row, "task"));
    if (verdict != 0)
        fail_msg("%s: %s scores %d", name, what, verdict);
    if (took_ms > (test_is_slow() ? 20000 : 1000))
        fail_msg("%s: %s takes %d ms", name, what, (int)took_ms);
}

static void test_logic_hostile_responses_score_zero_in_time(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "[",    "[1,",   "(",           "[[1],",        "{\"a\":",  "\\boxed{", "answer is ",
        "**",   "```\n", "\"answer\":", "1 ",           "((1,2),",  "\xff\xfe", "['",
        "[\"[", "1+",    "=",           "[[1 2,2 1],",  "<answer>", "\\frac{",  "X X X X X\n",
        "1=\n", "Z,",    "[(0,0)],",    "((('a','b'),", "-",        "%1",       "x[1,1]\n"};
    char *text = malloc(HUGE_SIZE + 1);
    assert_non_null(text);
    struct rng rng;
    rng_init(&rng, seed_base(), 2, RNG_TEST);
    for (size_t i = 0; i < TASKS; i++) {
        json_t *row = row_of(names[i], 0, 1);
        expect_zero(row, "", 0, "nothing");
        expect_zero(row, "   \n\t ", 6, "white space");
        expect_zero(row, "\0\0\0", 3, "NULs");
        expect_zero(row, "<think>it is \\boxed{1}", 22, "thinking without an end");
        expect_zero(row, "I do not know.", 14, "no answer");
        for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p += test_times(1, 5)) {
            fill(text, patterns[p]);
            expect_zero(row, text, HUGE_SIZE, patterns[p]);
        }
        for (size_t k = 0; k < HUGE_SIZE; k++)
            text[k] = (char)rng_below(&rng, 256);
        expect_zero(row, text, HUGE_SIZE, "random bytes");
        json_decref(row);
    }
    free(text);
}

static void test_logic_rows_without_what_the_judge_needs_cannot_be_scored(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "{}", "{\"grid\": 1, \"maze\": [], \"regions\": {}, \"numbers\": \"x\"}",
        "{\"grid\": [[]], \"maze\": [[1], 2], \"grid_size\": 99, \"revealed_grid\": [[9]]}",
        "{\"grid_size\": 4, \"regions\": [7], \"prefilled_coords\": 1, \"row_sums\": [], "
        "\"col_sums\": []}"};
    for (size_t i = 0; i < TASKS; i++)
        for (size_t b = 0; b < sizeof broken / sizeof broken[0]; b++) {
            json_t *metadata = json_loads(broken[b], 0, NULL);
            json_t *row = json_pack("{s:s, s:O}", "task", names[i], "metadata", metadata);
            if (verdict_of(row, "\\boxed{1}", 9) != -1)
                fail_msg("%s is scored with metadata %s", names[i], broken[b]);
            json_decref(row);
            json_decref(metadata);
        }
    json_t *row = json_pack("{s:s}", "task", "no_such_task");
    assert_int_equal(verdict_of(row, "1", 1), -1);
    json_object_set_new(row, "task", json_string("operation"));
    json_object_set_new(row, "question", json_integer(1));
    assert_int_equal(verdict_of(row, "1", 1), -1);
    json_object_set_new(row, "question", json_string(""));
    json_object_set_new(row, "metadata", json_string("[not an object]"));
    assert_int_equal(verdict_of(row, "1", 1), -1);
    json_decref(row);
}

static void test_logic_metadata_may_be_a_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < TASKS; i++) {
        json_t *row = row_of(names[i], 0, 3);
        char *gold = answer_text(json_object_get(row, "answer"));
        char *text = json_dumps(json_object_get(row, "metadata"), 0);
        json_object_set_new(row, "metadata", json_string(text));
        assert_int_equal(verdict_in(row, "\\boxed{%s}", gold), 1);
        json_object_del(row, "task"); /* data_source names it too */
        assert_int_equal(verdict_in(row, "\\boxed{%s}", gold), 1);
        free(text);
        free(gold);
        json_decref(row);
    }
    json_t *row =
        json_pack("{s:s, s:s}", "task", "game_of_24", "metadata",
                  "{'numbers': (3, 3, 8, 8), 'operators': ['+', '-', '*', '/'], 'result': 24}");
    assert_int_equal(verdict_in(row, "```python\n%s\n```", "8 / (3 - 8/3)"), 1);
    assert_int_equal(verdict_in(row, "```python\n%s\n```", "8 * 3"), 0);
    assert_int_equal(verdict_in(row, "```python\n%s\n```", "8 / (3 - 8//3)"), 0);
    json_decref(row);
}

/* ---- the area and the command ---- */

static void score_one(const json_t *row, const json_t *truth, const char *response,
                      struct reward_outcome *outcome)
{
    struct reward_case one = {.row = row,
                              .truth = truth,
                              .response = response,
                              .response_size = strlen(response),
                              .prompt = "",
                              .data_source = "",
                              .deadline_ns = INT64_MAX};
    *outcome = (struct reward_outcome){WEIR_REWARD_UNSCORABLE, 0, json_object()};
    logic_area.score(NULL, &one, 1, outcome);
    json_decref(outcome->fields);
}

static void test_logic_area_scores_the_row_or_its_truth(void **state)
{
    (void)state;
    json_t *row = json_pack("{s:s, s:s, s:{s:i}}", "task", "operation", "answer", "7", "metadata",
                            "result", 7);
    json_t *outer = json_pack("{s:s}", "prompt", "7?");
    struct reward_outcome outcome;
    score_one(row, NULL, "So the result is \\boxed{7}.", &outcome);
    assert_int_equal(outcome.status, WEIR_REWARD_OK);
    assert_true(outcome.value == 1);
    score_one(outer, row, "So the result is \\boxed{8}.", &outcome);
    assert_int_equal(outcome.status, WEIR_REWARD_OK);
    assert_true(outcome.value == 0);
    score_one(outer, NULL, "So the result is \\boxed{7}.", &outcome);
    assert_int_equal(outcome.status, WEIR_REWARD_UNSCORABLE);
    json_decref(row);
    json_decref(outer);
}

static int command(const char *const *arguments, char **text)
{
    char *argv[16];
    int argc = 0;
    for (; arguments[argc] != NULL; argc++)
        argv[argc] = strdup(arguments[argc]);
    size_t size;
    FILE *out = open_memstream(text, &size);
    int code = logic_command(argc, argv, out);
    fclose(out);
    while (argc > 0)
        free(argv[--argc]);
    return code;
}

static void test_logic_command_lists_and_generates(void **state)
{
    (void)state;
    char *text;
    assert_int_equal(command((const char *[]){"logic", "list", NULL}, &text), 0);
    for (size_t i = 0; i < TASKS; i++)
        assert_non_null(strstr(text, names[i]));
    free(text);
    assert_int_equal(command((const char *[]){"logic", "generate", "--task", "numbrix", "--count",
                                              "2", "--seed", "9", "--knob", "side=4", NULL},
                             &text),
                     0);
    json_t *row = json_loads(strchr(text, '\n') + 1, JSON_DISABLE_EOF_CHECK, NULL);
    assert_string_equal(json_string_value(json_object_get(row, "data_source")), "logic/numbrix");
    assert_int_equal(json_array_size(json_object_get(row, "answer")), 4);
    assert_true(json_is_array(json_object_get(row, "prompt")));
    json_decref(row);
    free(text);
    assert_int_equal(command((const char *[]){"logic", "generate", "--task", "numbrix", "--seed",
                                              "9", "--form", "sft", NULL},
                             &text),
                     0);
    row = json_loads(text, 0, NULL); /* an answer that is a grid becomes text */
    assert_true(json_is_string(json_object_get(row, "prompt")));
    assert_int_equal(json_string_value(json_object_get(row, "completion"))[0], '[');
    json_decref(row);
    free(text);
    static const char *const wrong[][7] = {
        {"logic", "generate", NULL},
        {"logic", "generate", "--task", "numbrix", "--form", "tea", NULL},
        {"logic", "generate", "--task", "nothing", NULL},
        {"logic", "generate", "--task", "numbrix", "--count", NULL},
        {"logic", "dance", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(command(wrong[i], &text), 2);
        free(text);
    }
    assert_int_equal(command((const char *[]){"logic", "generate", "--task", "numbrix", "--knob",
                                              "side=99", NULL},
                             &text),
                     2);
    assert_non_null(strstr(status_last_error(), "from 3 to 7"));
    free(text);
}

/* ---- SynLogic's rows ---- */

/* One right answer of such a row as a text, NULL when it stores none. */
static char *stored_answer(const json_t *row)
{
    const json_t *metadata = json_object_get(row, "metadata"),
                 *answer = json_object_get(row, "answer");
    if (json_string_length(answer) > 0 || json_is_array(answer))
        return answer_text(answer);
    const json_t *solution = json_object_get(metadata, "solution");
    solution = solution != NULL ? solution : json_object_get(metadata, "current_mines");
    return solution != NULL ? answer_text(solution) : NULL;
}

static void check_data_task(const char *folder, const char *name, struct rng *rng)
{
    char path[512], *line = NULL;
    size_t capacity = 0;
    int rows = 0, refused = 0, broken = 0;
    (void)snprintf(path, sizeof path, "%s/synlogic/%s.jsonl", folder, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("cannot read %s", path);
    while (getline(&line, &capacity, file) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        char *gold = stored_answer(row);
        rows++;
        if (gold != NULL) {
            int verdict = verdict_in(row, "First:\n\n%s", gold);
            assert_int_not_equal(verdict, -1);
            broken += verdict != 1;
            assert_int_equal(verdict_in(row, "So the result is \\boxed{%s}.", gold), verdict);
            json_t *answer = json_loads(gold, JSON_DECODE_ANY, NULL);
            if (!json_is_array(answer)) {
                json_decref(answer);
                answer = json_string(gold);
            }
            if (!json_is_string(answer) || strcmp(name, "calcudoko") != 0) {
                char *text = spoiled(name, answer, 1, rng);
                refused += verdict_in(row, "%s", text) == 0;
                free(text);
            } else {
                refused++; /* [[1 2,2 1]] is no list to spoil */
            }
            json_decref(answer);
        } else { /* game_of_24 keeps no formula */
            assert_int_equal(verdict_in(row, "```python\n%s\n```", "24"), 0);
            refused++;
        }
        free(gold);
        json_decref(row);
    }
    free(line);
    fclose(file);
    print_message("%-32s %3d rows, %2d stored answers break their own rules\n", name, rows, broken);
    assert_true(rows > 0);
    assert_int_equal(refused, rows);
    /* measured on the published rows, the same that SynLogic's own judges refuse */
    assert_int_equal(broken, strcmp(name, "futoshiki") == 0   ? 32
                             : strcmp(name, "calcudoko") == 0 ? 29
                                                              : 0);
}

static void test_logic_published_rows_are_judged_as_documented(void **state)
{
    (void)state;
    const char *folder = getenv("WEIR_DATA");
    if (folder == NULL) {
        print_message("WEIR_DATA is not set: the published rows are not judged\n");
        skip();
    }
    struct rng rng;
    rng_init(&rng, seed_base(), 3, RNG_TEST);
    for (size_t i = 0; i < TASKS; i++)
        check_data_task(folder, names[i], &rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logic_first_half_has_21_tasks),
        cmocka_unit_test(test_logic_own_answers_score_and_spoiled_ones_do_not),
        cmocka_unit_test(test_logic_same_seed_same_row),
        cmocka_unit_test(test_logic_knobs_change_the_measured_work),
        cmocka_unit_test(test_logic_hostile_responses_score_zero_in_time),
        cmocka_unit_test(test_logic_rows_without_what_the_judge_needs_cannot_be_scored),
        cmocka_unit_test(test_logic_metadata_may_be_a_text),
        cmocka_unit_test(test_logic_area_scores_the_row_or_its_truth),
        cmocka_unit_test(test_logic_command_lists_and_generates),
        cmocka_unit_test(test_logic_published_rows_are_judged_as_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
