/* links: reward_logic core */
/* label: unit */
/* timeout: 60 */
/* Towers, stars, liars, words and the tasks of our own (reward/logic/task_list_b.h): every generated problem's answer
 * scores 1 in each wrapper, changed answers score 0, knobs change the measured difficulty, a seed gives the same row.
 * With WEIR_DATA the stored rows of other generators, too. A changed answer that is right as well is told by checks
 * written here, apart from the judges; how often that happens is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/memory.h"
#include "reward/logic/logic.h"
#include "tests/slow.h"

enum { SETTINGS_MAX = 3, TEXT_MAX = 16384, HUGE_BYTES = 1 << 20 };

struct plan {
    const char *task;
    bool ordered;                  /* two different words of an answer never change places */
    const char *easy[4], *hard[4]; /* knobs; the measured work differs between them */
};

static const struct plan plans[] = {
    {"skyscraper_puzzle", true, {"n=3"}, {"n=6", "hidden=100"}},
    {"space_reasoning", false, {"walk=2", "num_waypoints=2"}, {"walk=20", "num_waypoints=8"}},
    {"space_reasoning_tree",
     false,
     {"min_nodes=6", "max_nodes=8"},
     {"min_nodes=40", "max_nodes=50"}},
    {"star_placement_puzzle", false, {"n=5"}, {"n=9", "k=2"}},
    {"sudoku", true, {"holes=10"}, {"holes=50"}},
    {"survo", true, {"n=3"}, {"n=5", "hole_share=700"}},
    {"time_sequence", true, {"n=2", "max_spans=1"}, {"n=5", "max_spans=5", "rule_prob=600"}},
    {"web_of_lies", true, {"num_person=3"}, {"num_person=12", "compound=600"}},
    {"word_sorting", true, {"word_count=3"}, {"word_count=25", "front_letters=8"}},
    {"word_sorting_mistake", true, {"word_count=4"}, {"word_count=24"}},
    {"wordscapes", false, {"size=6", "num_words=3"}, {"size=13", "num_words=12"}},
    {"cipher", false, {"words=1"}, {"words=8", "layers=3"}},
    {"zebra_puzzle", true, {"houses=3", "attributes=2"}, {"houses=5", "attributes=4", "easy=200"}},
    {"mathador", false, {"numbers=3"}, {"numbers=6"}},
    {"knights_knaves", false, {"people=2"}, {"people=9"}},
    {"n_queens", false, {"n=5"}, {"n=12"}},
    {"tower_of_hanoi", false, {"disks=2"}, {"disks=6"}},
    {"mini_sudoku", true, {"side=4", "hole_share=300"}, {"side=6", "hole_share=600"}},
    {"maze_shortest_path", false, {"size=4"}, {"size=20", "walls=350"}},
    {"propositional_entailment",
     false,
     {"variables=2", "premises=2"},
     {"variables=8", "premises=6"}},
};

static uint64_t seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 5;
}

static void settings_of(const struct logic_task *task, const char *const knobs[4],
                        struct logic_settings *settings)
{
    logic_settings_default(task, settings);
    for (int i = 0; i < 4 && knobs != NULL && knobs[i] != NULL; i++)
        assert_int_equal(logic_settings_set(task, settings, knobs[i]), STATUS_OK);
}

/* The answer as a response would have it. */
static void answer_text(const json_t *row, char text[TEXT_MAX])
{
    const json_t *answer = json_object_get(row, "answer"), *meta = json_object_get(row, "metadata");
    if (json_is_string(answer) && json_string_length(answer) == 0)
        answer = json_object_get(meta, "solved_grid"); /* stored so by another generator */
    if (json_is_string(answer)) {
        (void)snprintf(text, TEXT_MAX, "%s", json_string_value(answer));
    } else if (json_is_null(answer)) {
        (void)snprintf(text, TEXT_MAX, "No");
    } else {
        size_t size = json_dumpb(answer, text, TEXT_MAX - 1, JSON_ENCODE_ANY);
        assert_true(size > 0 && size < TEXT_MAX);
        text[size] = '\0';
    }
}

static bool scores(const json_t *row, const char *response)
{
    struct logic_verdict verdict;
    logic_verify_row(row, response, strlen(response), &verdict);
    if (verdict.unscorable)
        print_error("unscorable: %s\n", verdict.why);
    assert_false(verdict.unscorable);
    return verdict.correct;
}

static const char *const wrappers[] = {
    "So the result is \\boxed{%s}.",
    "Let me think [1, 2].\n\n```python\n%s\n```",
    "**%s**",
    "I tried some things.\nThe answer is **%s**.",
    "<think>It may be [[1]] or \\boxed{7}.</think>\nFinal answer:\n\n%s",
    "Reasoning first.\n\n%s",
    "```\n%s\n```\n",
    "<answer>%s</answer>",
};

static void say(char *out, const char *wrapper, const char *text)
{
    const char *place = strstr(wrapper, "%s");
    (void)snprintf(out, TEXT_MAX + 256, "%.*s%s%s", (int)(place - wrapper), wrapper, text,
                   place + 2);
}

static void assert_gold_scores(const json_t *row, const char *text, const char *task)
{
    static char response[TEXT_MAX + 256];
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        say(response, wrappers[i], text);
        if (!scores(row, response)) {
            struct logic_verdict verdict;
            logic_verify_row(row, response, strlen(response), &verdict);
            print_error("%s, wrapper %zu: %s\n%s\n%s\n", task, i, verdict.why, response,
                        json_string_value(json_object_get(row, "question")));
            fail();
        }
    }
}

/* ---- answers that are wrong ---- */

/* A letter or digit becomes another one; words that say nothing are left alone. */
static bool change_one(struct rng *rng, const char *task, char *text)
{
    size_t length = strlen(text);
    for (int tries = 0; tries < 1000; tries++) {
        size_t at = rng_below(rng, (uint32_t)length), from = at, to = at;
        char *c = &text[at];
        while (from > 0 && isalnum((unsigned char)text[from - 1]))
            from--;
        while (isalnum((unsigned char)text[to]))
            to++;
        bool filler = strcmp(task, "knights_knaves") == 0 && to - from <= 2;
        if (!isalnum((unsigned char)*c) || filler)
            continue;
        char first = isdigit((unsigned char)*c) ? '0' : islower((unsigned char)*c) ? 'a' : 'A';
        int range = first == '0' ? 10 : 26;
        char old = *c;
        *c = (char)(first + (*c - first + 1 + (int)rng_below(rng, (uint32_t)range - 1)) % range);
        /* 07 is 7, and another digit at the front of 0 may only add a nought */
        return *c != old;
    }
    return false;
}

static void cut_tail(char *text)
{
    size_t length = strlen(text), cut = length / 3 > 0 ? length / 3 : 1;
    text[length - cut] = '\0';
}

struct token {
    size_t at, size;
};

/* Two different words or numbers change places. */
static bool swap_two(struct rng *rng, char *text)
{
    static struct token tokens[2048];
    uint32_t count = 0;
    for (size_t i = 0; text[i] != '\0' && count < 2048;) {
        size_t size = 0;
        while (isalnum((unsigned char)text[i + size]))
            size++;
        if (size > 0)
            tokens[count++] = (struct token){i, size};
        i += size > 0 ? size : 1;
    }
    for (int tries = 0; tries < 100 && count > 1; tries++) {
        struct token a = tokens[rng_below(rng, count)], b = tokens[rng_below(rng, count)];
        if (a.at >= b.at || (a.size == b.size && memcmp(text + a.at, text + b.at, a.size) == 0))
            continue;
        static char made[TEXT_MAX];
        (void)snprintf(made, sizeof made, "%.*s%.*s%.*s%.*s%s", (int)a.at, text, (int)b.size,
                       text + b.at, (int)(b.at - a.at - a.size), text + a.at + a.size, (int)a.size,
                       text + a.at, text + b.at + b.size);
        memcpy(text, made, strlen(made) + 1);
        return true;
    }
    return false;
}

/* ---- checks of our own, for answers of another problem that may be right here ---- */

static int number_at(const json_t *list, int i)
{
    return (int)json_integer_value(json_array_get(list, (size_t)i));
}

static bool queens_are_right(const json_t *meta, const json_t *answer)
{
    int n = (int)json_integer_value(json_object_get(meta, "n"));
    if ((int)json_array_size(answer) != n)
        return false;
    for (int i = 0; i < n; i++) {
        int given = number_at(json_object_get(meta, "given"), i), c = number_at(answer, i);
        if (given != 0 && given != c)
            return false;
        for (int j = 0; j < i; j++) {
            int other = number_at(answer, j);
            if (c == other || abs(c - other) == i - j)
                return false;
        }
    }
    return true;
}

static bool way_is_right(const json_t *meta, const json_t *answer)
{
    const json_t *maze = json_object_get(meta, "maze");
    int r = 0, c = 0, steps = 0;
    for (size_t i = 0; i < json_array_size(maze); i++) {
        const char *line = json_string_value(json_array_get(maze, i)), *start = strchr(line, 'S');
        if (start != NULL) {
            r = (int)i;
            c = (int)(start - line);
        }
    }
    char mark = 'S';
    for (const char *at = json_string_value(answer); *at != '\0'; at++, steps++) {
        r += *at == 'D' ? 1 : *at == 'U' ? -1 : 0;
        c += *at == 'R' ? 1 : *at == 'L' ? -1 : 0;
        const char *line = json_string_value(json_array_get(maze, (size_t)r));
        if (r < 0 || c < 0 || line == NULL || c >= (int)strlen(line) || line[c] == '#')
            return false;
        mark = line[c];
    }
    return mark == 'G' && steps == (int)json_integer_value(json_object_get(meta, "least"));
}

static bool skyline_is_right(const json_t *meta, const json_t *answer)
{
    static const char *const sides[] = {"top", "bottom", "left", "right"};
    int n = (int)json_integer_value(json_object_get(meta, "n"));
    if ((int)json_array_size(answer) != n)
        return false;
    for (int side = 0; side < 4; side++)
        for (int i = 0; i < n; i++) {
            int clue = number_at(json_object_get(meta, sides[side]), i), highest = 0, count = 0;
            for (int k = 0; k < n; k++) {
                int along = side % 2 == 0 ? k : n - 1 - k;
                int r = side < 2 ? along : i, c = side < 2 ? i : along;
                int height = number_at(json_array_get(answer, (size_t)r), c);
                count += height > highest;
                highest = height > highest ? height : highest;
            }
            if (clue != 0 && clue != count)
                return false;
        }
    return true; /* each answer of a generator is a Latin square */
}

static bool foreign_is_right(const char *task, const json_t *row, const json_t *other)
{
    const json_t *meta = json_object_get(row, "metadata"),
                 *answer = json_object_get(other, "answer");
    if (json_equal(answer, json_object_get(row, "answer")) ||
        json_equal(json_object_get(other, "metadata"), meta))
        return true;
    if (strcmp(task, "mathador") == 0) /* perhaps the same numbers in another order */
        return json_equal(json_object_get(meta, "result"),
                          json_object_get(json_object_get(other, "metadata"), "result"));
    if (strcmp(task, "n_queens") == 0)
        return queens_are_right(meta, answer);
    if (strcmp(task, "maze_shortest_path") == 0)
        return way_is_right(meta, answer);
    if (strcmp(task, "skyscraper_puzzle") == 0)
        return skyline_is_right(meta, answer);
    return false;
}

static void assert_wrong(const json_t *row, const char *text, const char *task, const char *how)
{
    static char response[TEXT_MAX + 256];
    for (size_t i = 0; i < 3; i++) {
        say(response, wrappers[i], text);
        if (scores(row, response)) {
            print_error("%s, %s, accepted: %s\ngold: %s\n%s\n", task, how, text,
                        json_string_value(json_object_get(row, "answer")),
                        json_string_value(json_object_get(row, "question")));
            fail();
        }
    }
}

/* Number of changed answers judged. */
static int assert_changes_score_zero(const json_t *row, const json_t *other,
                                     const struct plan *plan, struct rng *rng, int *right_too)
{
    static char gold[TEXT_MAX], text[TEXT_MAX];
    int judged = 0;
    answer_text(row, gold);
    for (int i = 0; i < 3; i++) {
        memcpy(text, gold, sizeof text);
        if (change_one(rng, plan->task, text)) {
            assert_wrong(row, text, plan->task, "one character changed");
            judged++;
        }
    }
    memcpy(text, gold, sizeof text);
    cut_tail(text);
    assert_wrong(row, text, plan->task, "cut");
    memcpy(text, gold, sizeof text);
    if (plan->ordered && swap_two(rng, text)) {
        assert_wrong(row, text, plan->task, "two swapped");
        judged++;
    }
    if (other != NULL && foreign_is_right(plan->task, row, other)) {
        ++*right_too;
    } else if (other != NULL) {
        answer_text(other, text);
        assert_wrong(row, text, plan->task, "another problem's");
        judged++;
    }
    return judged + 1;
}

/* ---- generated problems ---- */

static json_t *make_row(const struct logic_task *task, const struct logic_settings *settings,
                        uint64_t index)
{
    json_t *row = NULL;
    if (logic_row(task, settings, seed(), index, &row) != STATUS_OK) {
        print_error("%s %" PRIu64 ": %s\n", task->name, index, status_last_error());
        fail();
    }
    return row;
}

static void test_logic_puzzles_generated_answers_score_one_and_changed_ones_zero(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, seed(), 1, RNG_TEST);
    print_message("TEST_SEED=%" PRIu64 "\n", seed());
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const struct logic_task *task = logic_task_find(plans[i].task);
        const char *const *knobs[SETTINGS_MAX] = {NULL, plans[i].easy, plans[i].hard};
        int judged = 0, right_too = 0;
        assert_non_null(task);
        for (int s = 0; s < SETTINGS_MAX; s++) {
            struct logic_settings settings;
            json_t *before = NULL;
            settings_of(task, knobs[s], &settings);
            for (uint64_t k = 0; k < test_times(34, 2); k++) {
                static char text[TEXT_MAX];
                json_t *row = make_row(task, &settings, k);
                answer_text(row, text);
                assert_gold_scores(row, text, task->name);
                judged += assert_changes_score_zero(row, before, &plans[i], &rng, &right_too);
                json_decref(before);
                before = row;
            }
            json_decref(before);
        }
        print_message(
            "%s: %d changed answers scored 0; %d of another problem were right here too\n",
            task->name, judged, right_too);
        assert_true(judged > 3 * SETTINGS_MAX * (int)test_times(34, 2));
    }
}

static void test_logic_puzzles_knobs_change_the_measured_difficulty(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const struct logic_task *task = logic_task_find(plans[i].task);
        const char *const *knobs[2] = {plans[i].easy, plans[i].hard};
        double work[2] = {0, 0}, difficulty[2] = {0, 0};
        uint64_t times = test_times(20, 3);
        for (int s = 0; s < 2; s++) {
            struct logic_settings settings;
            settings_of(task, knobs[s], &settings);
            for (uint64_t k = 0; k < times; k++) {
                struct logic_problem problem;
                logic_problem_init(&problem);
                assert_int_equal(logic_generate(task, &settings, seed(), k, &problem), STATUS_OK);
                assert_true(problem.difficulty >= 0 && problem.difficulty <= 1);
                work[s] += problem.work / (double)times;
                difficulty[s] += problem.difficulty / (double)times;
                logic_problem_free(&problem);
            }
        }
        print_message("%s: work %.1f to %.1f, difficulty %.2f to %.2f\n", task->name, work[0],
                      work[1], difficulty[0], difficulty[1]);
        assert_true(work[1] > 1.5 * work[0]);
        assert_true(difficulty[1] > difficulty[0] + 0.1);
    }
}

static void test_logic_puzzles_same_seed_gives_the_same_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const struct logic_task *task = logic_task_find(plans[i].task);
        struct logic_settings settings;
        logic_settings_default(task, &settings);
        json_t *a = make_row(task, &settings, 3), *b = make_row(task, &settings, 3);
        bool differs = false; /* a small tower has few starts */
        assert_true(json_equal(a, b));
        for (uint64_t at = 4; at < 10; at++) {
            json_t *c = make_row(task, &settings, at);
            differs = differs ||
                      !json_equal(json_object_get(a, "question"), json_object_get(c, "question"));
            json_decref(c);
        }
        assert_true(differs);
        json_decref(a);
        json_decref(b);
    }
}

/* Largest and smallest value of every knob alone. */
static void test_logic_puzzles_every_knob_works_at_its_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const struct logic_task *task = logic_task_find(plans[i].task);
        for (size_t k = 0; k < LOGIC_KNOBS_MAX && task->knobs[k].name != NULL; k++)
            for (int end = 0; end < 2; end++) {
                static char text[TEXT_MAX];
                struct logic_settings settings;
                logic_settings_default(task, &settings);
                settings.value[k] = end == 0 ? task->knobs[k].min : task->knobs[k].max;
                for (uint64_t at = 0; at < test_times(4, 1); at++) {
                    int64_t start = clock_now_ns();
                    json_t *row = make_row(task, &settings, at);
                    int64_t took = (clock_now_ns() - start) / 1000000;
                    if (took > 50 && !test_is_slow())
                        print_message("%s, %s=%d: %" PRId64 " ms\n", task->name,
                                      task->knobs[k].name, settings.value[k], took);
                    answer_text(row, text);
                    assert_gold_scores(row, text, task->name);
                    json_decref(row);
                }
            }
    }
}

/* ---- hostile responses ---- */

static void fill(char *text, size_t size, const char *with)
{
    for (size_t i = 0; i < size; i++)
        text[i] = with[i % strlen(with)];
    text[size] = '\0';
}

static void test_logic_puzzles_garbage_scores_zero_quickly(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "[",           "[1,",
        "(((1,2),",    "{'A': [(1, 1)], ",
        "\\boxed{",    "**",
        "```python\n", "1 2 3\n",
        "yes, no, ",   "Move disk 1 from A to B\n",
        "<answer>",    "\"answer\": [",
        "\xff\xfe",    "U",
        "knight Ada ", "9999999999999",
        "a,",          "((1+1)*",
    };
    char *text = memory_alloc(HUGE_BYTES + 1);
    struct rng rng;
    rng_init(&rng, seed(), 2, RNG_TEST);
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const struct logic_task *task = logic_task_find(plans[i].task);
        struct logic_settings settings;
        logic_settings_default(task, &settings);
        json_t *row = make_row(task, &settings, 0);
        struct logic_verdict verdict;
        assert_false(scores(row, ""));
        assert_false(scores(row, "I do not know."));
        clock_t start = clock(); /* of the processor: other work on the machine does not count */
        for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
            fill(text, test_is_slow() ? HUGE_BYTES / 8 : HUGE_BYTES, patterns[p]);
            assert_false(scores(row, text));
        }
        for (size_t b = 0; b < HUGE_BYTES; b++)
            text[b] = (char)rng_u32(&rng);
        logic_verify_row(row, text, HUGE_BYTES, &verdict);
        assert_false(verdict.correct);
        int64_t took = (int64_t)(clock() - start) * 1000 / CLOCKS_PER_SEC;
        print_message("%s: %zu hostile texts in %" PRId64 " ms\n", task->name,
                      sizeof patterns / sizeof patterns[0] + 1, took);
        assert_true(took < (test_is_slow() ? 60000 : 2000));
        json_decref(row);
    }
    memory_free(text);
}

/* Rows whose metadata is missing or of a wrong type never crash and never score. */
static void test_logic_puzzles_broken_rows_are_not_scored(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const struct logic_task *task = logic_task_find(plans[i].task);
        struct logic_settings settings;
        logic_settings_default(task, &settings);
        json_t *row = make_row(task, &settings, 0), *meta = json_object_get(row, "metadata");
        static char gold[TEXT_MAX];
        struct logic_verdict verdict;
        const char *key;
        json_t *member;
        answer_text(row, gold);
        json_object_foreach(meta, key, member)
        {
            json_t *const wrong[] = {json_integer(-7), json_string("x"),       json_array(),
                                     json_null(),      json_pack("[[i]]", 99), json_object()};
            for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++) {
                json_t *copy = json_deep_copy(row);
                json_object_set(json_object_get(copy, "metadata"), key, wrong[w]);
                logic_verify_row(copy, gold, strlen(gold), &verdict);
                json_decref(copy);
                json_decref(wrong[w]);
            }
        }
        json_object_del(row, "metadata");
        json_object_del(row, "answer");
        logic_verify_row(row, gold, strlen(gold), &verdict);
        assert_true(verdict.unscorable);
        assert_false(verdict.correct);
        json_decref(row);
    }
}

/* ---- other spellings of an answer ---- */

struct spelling {
    bool right;
    const char *response;
};

static void assert_spellings(const char *row_text, const struct spelling *spellings)
{
    json_t *row = json_loads(row_text, 0, NULL);
    assert_non_null(row);
    for (int i = 0; spellings[i].response != NULL; i++)
        if (scores(row, spellings[i].response) != spellings[i].right) {
            print_error("%s\nexpected %d: %s\n", row_text, spellings[i].right,
                        spellings[i].response);
            fail();
        }
    json_decref(row);
}

static void test_logic_puzzles_names_and_roles_may_be_spelled_in_many_ways(void **state)
{
    (void)state;
    /* Ada: "Ben is a knave."; Ben: "Ada and Cleo are of different kinds."; Cleo: "Ada is a knave or Ben a knight" */
    static const struct spelling roles[] = {
        {true, "So \\boxed{Ada is a knave, Ben is a knight, Cleo is a knight}"},
        {true, "Ada: knave; Ben: knight; Cleo: knight"},
        {true, "```json\n{\"ada\": \"Knave\", \"ben\": \"Knight\", \"cleo\": \"Knight\"}\n```"},
        {true, "If Ada were a knight ... no.\n\nAnswer: Ben and Cleo are knights, Ada is a knave."},
        {true, "- **Ada**: knave\n- **Ben**: knight\n- **Cleo**: knight"},
        {true, "Ada is not a knight. Ben is a knight. Cleo is not a knave."},
        {false, "Ada is a knight, Ben is a knave, Cleo is a knight"},
        {false, "Answer: Ada is a knave, Ben is a knight"},
        {false, "Answer: Ada is a knave, Ben is a knight, Cleo is a knight or a knave"},
        {false, "Ada, Ben, Cleo: knights"},
        {false, NULL},
    };
    assert_spellings(
        "{\"task\": \"knights_knaves\", \"metadata\": {\"names\": [\"Ada\", \"Ben\", "
        "\"Cleo\"], \"claims\": [[0, 0, 1, 0, 1, 0], [1, 4, 0, 1, 2, 1], [2, 2, 0, 0, 1, "
        "1]]}}",
        roles);
    static const struct spelling lies[] = {
        {true, "**yes, no, yes**"},
        {true, "The answer is **Yes,No,Yes**."},
        {true, "\\boxed{\\text{yes}, \\text{no}, \\text{yes}}"},
        {true, "答案是 **是，否，是**。"},
        {true, "[True, False, True]"},
        {true, "First I thought **no, no, no**, but the answer is **yes, no, yes**."},
        {false, "**yes, no**"},
        {false, "**yes, no, yes, yes**"},
        {false, "**no, yes, yes**"},
        {false, "The answer is **yes, no, yes**. No: the answer is **yes, yes, yes**."},
        {false, "yes or no, no, yes"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"web_of_lies\", \"answer\": \"yes, no, yes\"}", lies);
    static const struct spelling zebra[] = {
        {true,
         "```json\n{\"House 1\": {\"name\": \"Ann\", \"pet\": \"cat\"}, \"House 2\": {\"name\": "
         "\"Bob\", \"pet\": \"dog\"}}\n```"},
        {true,
         "{'house 2': {'Pet': 'Dog', 'Name': 'bob'}, 'house 1': {'Pet': 'Cat', 'Name': 'ann'}}"},
        {false,
         "{'House 1': {'name': 'Bob', 'pet': 'cat'}, 'House 2': {'name': 'Ann', 'pet': 'dog'}}"},
        {false, "{'House 1': {'name': 'Ann', 'pet': 'cat'}}"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"zebra_puzzle\", \"answer\": \"{\\\"House 1\\\": {\\\"name\\\": "
                     "\\\"Ann\\\", \\\"pet\\\": \\\"cat\\\"}, \\\"House 2\\\": {\\\"name\\\": "
                     "\\\"Bob\\\", \\\"pet\\\": \\\"dog\\\"}}\"}",
                     zebra);
}

static void test_logic_puzzles_moves_and_boards_may_be_spelled_in_many_ways(void **state)
{
    (void)state;
    static const struct spelling tower[] = {
        {true, "```python\n[[1, 'A', 'B'], [2, 'A', 'C'], [1, 'B', 'C']]\n```"},
        {true,
         "1. Move disk 1 from A to B\n2. Move disk 2 from A to C\n3. Move disk 1 from B to C\n"},
        {true, "\\boxed{[(1, A, B), (2, A, C), (1, B, C)]}"},
        {true,
         "[{\"disk\": 1, \"from\": \"A\", \"to\": \"B\"}, {\"disk\": 2, \"from\": \"A\", \"to\": "
         "\"C\"}, {\"disk\": 1, \"from\": \"B\", \"to\": \"C\"}]"},
        {false, "[[1, 'A', 'C'], [2, 'A', 'B'], [1, 'C', 'B']]"}, /* ends on B */
        {false, "[[2, 'A', 'C'], [1, 'A', 'C']]"},                /* disk 2 is not on top */
        {false, "[[1, 'A', 'C'], [1, 'C', 'B'], [2, 'A', 'C'], [1, 'B', 'C']]"}, /* too many */
        {false, "[]"},
        {false, NULL},
    };
    assert_spellings(
        "{\"task\": \"tower_of_hanoi\", \"metadata\": {\"disks\": 2, \"pegs\": 3, \"start\": "
        "[0, 0], \"target\": 2, \"limit\": 3}}",
        tower);
    static const struct spelling queens[] = {
        {true, "[2, 4, 1, 3]"},
        {true, "```\n. Q . .\n. . . Q\nQ . . .\n. . Q .\n```"},
        {true, "\\boxed{2, 4, 1, 3}"},
        {true, "[[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]"},
        {false, "[3, 1, 4, 2]"}, /* right without the given queen */
        {false, "[1, 2, 3, 4]"},
        {false, "I tried [2, 4, 1, 3]; the answer is [2, 4, 1, 1]"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"n_queens\", \"metadata\": {\"n\": 4, \"given\": [2, 0, 0, 0]}}",
                     queens);
    static const struct spelling heights[] = {
        {true, "[[2, 1], [1, 2]]"},
        {true, "```\n2 1\n1 2\n```"},
        {true, "\\boxed{\\begin{pmatrix} 2 & 1 \\\\ 1 & 2 \\end{pmatrix}}"},
        {true, "First [[1, 2], [2, 1]], but then\n\n```python\n[[2, 1], [1, 2]]\n```"},
        {false, "First [[2, 1], [1, 2]], but then\n\n```python\n[[1, 2], [2, 1]]\n```"},
        {false, "First [[2, 1], [1, 2]], but then\n\n```python\n[[2, 1]]\n```"},
        {false, "[[2, 2], [1, 1]]"},
        {false, "[[2.5, 1], [1, 2]]"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"skyscraper_puzzle\", \"metadata\": {\"n\": 2, \"top\": [1, 2], "
                     "\"bottom\": [2, 1], \"left\": [1, 2], \"right\": [2, 1]}}",
                     heights);
    static const struct spelling way[] = {
        {true, "\\boxed{RRDD}"},        {true, "The way is: right, right, down, down."},
        {true, "Answer: R, R, D, D"},   {true, "→ → ↓ ↓"},
        {true, "['R','R','D','D']"},    {false, "\\boxed{DDRR}"}, /* a wall */
        {false, "\\boxed{RRDDUD}"},     {false, "\\boxed{RRD}"},
        {false, "\\boxed{RRDD or so}"}, {false, NULL},
    };
    assert_spellings("{\"task\": \"maze_shortest_path\", \"metadata\": {\"maze\": [\"S..\", \"#.."
                     "\", \"..G\"]}}",
                     way);
    static const struct spelling stars[] = {
        {true, "```python\n{'A': [(1, 2)], 'B': [(2, 4)], 'C': [(3, 1)], 'D': [(4, 3)]}\n```"},
        {true, "[[A(1,2)\n\nB(2,4)\n\nC(3,1)\n\nD(4,3)]]"},
        {true, "\\boxed{D: (4, 3), A: (1, 2), C: (3, 1), B: (2, 4)}"},
        {false, "{'A': [(1, 2)], 'C': [(2, 4)], 'B': [(3, 1)], 'D': [(4, 3)]}"}, /* other regions */
        {false, "{'A': [(1, 2)], 'B': [(2, 4)], 'C': [(3, 1)]}"},
        {false, "{'A': [(1, 3)], 'B': [(2, 1)], 'C': [(3, 4)], 'D': [(4, 2)]}"},
        {false, NULL},
    };
    assert_spellings(
        "{\"task\": \"star_placement_puzzle\", \"metadata\": {\"n\": 4, \"k\": 1, "
        "\"region_grid\": [[\"A\", \"A\", \"B\", \"B\"], [\"C\", \"A\", \"B\", \"B\"], "
        "[\"C\", \"C\", \"D\", \"D\"], [\"C\", \"C\", \"D\", \"D\"]]}}",
        stars);
}

static void test_logic_puzzles_words_and_numbers_may_be_spelled_in_many_ways(void **state)
{
    (void)state;
    static const struct spelling made[] = {
        {true, "```python\n(8 - 4) * 6 / 1\n```"},
        {true, "$(8-4) \\times 6$"},
        {true, "(8 - 4) * 6 = 24"},
        {true, "24 = 6 * (8 - 4)"},
        {true, "\\boxed{6 * 4}"},
        {false, "(8 - 4) * 6 + 0"},
        {false, "8 * 3"},
        {false, "4 * 4 + 8"},
        {false, "24"},
        {false, "8 + 6 + 4 * 1"},
        {false, NULL},
    };
    assert_spellings(
        "{\"task\": \"mathador\", \"metadata\": {\"numbers\": [1, 4, 6, 8], \"result\": 24, "
        "\"use_all\": false}}",
        made);
    static const struct spelling verdict[] = {
        {true, "\\boxed{entailed}"},
        {true, "The answer is: Entailed."},
        {true, "It follows. **entailed**"},
        {false, "\\boxed{not entailed}"},
        {false, "\\boxed{undetermined}"},
        {false, "\\boxed{entailed or contradicted}"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"propositional_entailment\", \"answer\": \"entailed\"}", verdict);
    static const struct spelling sorted[] = {
        {true, "\\boxed{fig,apple,pear}"},
        {true, "\\boxed{\\text{fig}, \\text{apple}, \\text{pear}}"},
        {true, "['fig', 'apple', 'pear']"},
        {true, "Sorted words: FIG, Apple, pear"},
        {true, "fig < apple < pear"},
        {true, "```\nfig\napple\npear\n```"},
        {false, "\\boxed{apple,fig,pear}"},
        {false, "\\boxed{fig,apple}"},
        {false, "\\boxed{fig,apple,pear,pear}"},
        {false, NULL},
    };
    assert_spellings(
        "{\"task\": \"word_sorting\", \"answer\": \"wrong, stored, text\", \"metadata\": "
        "{\"words\": [\"apple\", \"pear\", \"fig\"], \"front_letters\": \"f\", \"order\": 1}}",
        sorted);
    static const struct spelling step[] = {
        {true, "\\boxed{No}"}, {true, "No mistake."},   {true, "\\boxed{None}"},
        {false, "\\boxed{1}"}, {false, "\\boxed{Yes}"}, {false, "Thought 2"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"word_sorting_mistake\", \"answer\": null}", step);
    static const struct spelling text[] = {
        {true, "```python\n[[\"HELLO WORLD\"]]\n```"},
        {true, "\\boxed{HELLOWORLD}"},
        {true, "The message was: Hello, world!"},
        {false, "\\boxed{HELLOWORLDS}"},
        {false, NULL},
    };
    assert_spellings("{\"task\": \"cipher\", \"answer\": \"[[HELLO WORLD]]\"}", text);
}

/* ---- stored rows of other generators ---- */

static void judge_file(const char *path, const struct plan *plan, struct rng *rng)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    int rows = 0, accepted = 0, judged = 0, right_too = 0;
    if (file == NULL)
        return; /* a task of our own */
    while (getline(&line, &size, file) > 0) {
        static char text[TEXT_MAX];
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        answer_text(row, text);
        rows++;
        assert_gold_scores(row, text, plan->task);
        accepted++;
        judged += assert_changes_score_zero(row, NULL, plan, rng, &right_too);
        json_decref(row);
    }
    free(line);
    (void)fclose(file);
    print_message("%s: %d of %d stored answers accepted, %d changed ones refused\n", plan->task,
                  accepted, rows, judged);
}

static void test_logic_puzzles_stored_rows_are_judged(void **state)
{
    (void)state;
    const char *data = getenv("WEIR_DATA");
    struct rng rng;
    if (data == NULL) {
        print_message("WEIR_DATA names no data folder: skipped\n");
        skip();
    }
    rng_init(&rng, seed(), 3, RNG_TEST);
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/synlogic/%s.jsonl", data, plans[i].task);
        judge_file(path, &plans[i], &rng);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logic_puzzles_generated_answers_score_one_and_changed_ones_zero),
        cmocka_unit_test(test_logic_puzzles_knobs_change_the_measured_difficulty),
        cmocka_unit_test(test_logic_puzzles_same_seed_gives_the_same_row),
        cmocka_unit_test(test_logic_puzzles_every_knob_works_at_its_ends),
        cmocka_unit_test(test_logic_puzzles_garbage_scores_zero_quickly),
        cmocka_unit_test(test_logic_puzzles_broken_rows_are_not_scored),
        cmocka_unit_test(test_logic_puzzles_names_and_roles_may_be_spelled_in_many_ways),
        cmocka_unit_test(test_logic_puzzles_moves_and_boards_may_be_spelled_in_many_ways),
        cmocka_unit_test(test_logic_puzzles_words_and_numbers_may_be_spelled_in_many_ways),
        cmocka_unit_test(test_logic_puzzles_stored_rows_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
