/* links: reward_logic reward_answer core */
/* timeout: 30 */
/* Every rule of every puzzle by itself: small problems made by hand, with answers that break exactly one rule. And what generators
 * claim (one solution, all sure mines) against counting everything out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/logic_case.h"
#include "tests/slow.h"

struct rule_case {
    const char *task, *metadata, *response;
    int wanted;
    const char *what;
};

// clang-format off
static const struct rule_case cases[] = {
    {"kukurasu", "{'row_sums':[1,2],'col_sums':[1,2]}", "[['1','X'],['X','1']]", 1, ""},
    {"kukurasu", "{'row_sums':[1,2],'col_sums':[1,2]}", "[[1,0],[0,1]]", 1, "0 for X"},
    {"kukurasu", "{'row_sums':[1,2],'col_sums':[2,1]}", "[['1','X'],['X','1']]", 0, "a column"},
    {"kukurasu", "{'row_sums':[2,1],'col_sums':[1,2]}", "[['1','X'],['X','1']]", 0, "a row"},
    {"kukurasu", "{'row_sums':[1,2],'col_sums':[1,2]}", "[['1','X'],['?','1']]", 0, "a mark"},
#define CAMP "{'grid':[['T','X','X'],['X','X','T'],['X','X','X']],'row_constraints':[1,0,1],'col_constraints':[0,1,1]}"
    {"campsite", CAMP, "[['T','C','X'],['X','X','T'],['X','X','C']]", 1, ""},
    {"campsite", CAMP, "[['T','C','X'],['X','X','X'],['X','X','C']]", 0, "a tree is gone"},
    {"campsite", CAMP, "[['T','X','C'],['X','X','T'],['X','C','X']]", 0, "no tree beside"},
    {"campsite", CAMP, "[['T','C','X'],['X','X','T'],['X','X','X']]", 0, "a count"},
    {"campsite", "{'grid':[['T','X','T'],['X','X','X']],'row_constraints':[0,2],'col_constraints':[1,0,1]}",
     "[['T','X','T'],['C','X','C']]", 1, ""},
    {"campsite", "{'grid':[['T','X','X'],['X','X','T']],'row_constraints':[1,1],'col_constraints':[1,1,0]}",
     "[['T','C','X'],['C','X','T']]", 0, "tents touch at a corner"},
    {"campsite", "{'grid':[['T','X'],['X','T']],'row_constraints':[1,1],'col_constraints':[1,1]}", "[['T','C'],['C','T']]", 0,
     "tents touch, else all is right"},
    {"campsite", "{'grid':[['T','X','T']],'row_constraints':[1],'col_constraints':[0,1,0]}", "[['T','C','T']]", 0, "a tree without a tent"},
    {"campsite", "{'grid':[['X','T','X'],['X','X','X'],['X','X','T']],'row_constraints':[2,0,0],'col_constraints':[1,0,1]}",
     "[['C','T','C'],['X','X','X'],['X','X','T']]", 0, "two tents share a tree"},
#define FUTO "{'grid_size':2,'puzzle':[[0,0],[0,1]],'constraints':[[[0,0],[0,1],'<']]}"
    {"futoshiki", FUTO, "[[1 2,2 1]]", 1, ""},
    {"futoshiki", FUTO, "[[2 1,1 2]]", 0, "given number and sign"},
    {"futoshiki", "{'grid_size':2,'puzzle':[[0,0],[0,2]],'constraints':[[[0,0],[0,1],'<']]}", "[[2 1,1 2]]", 0, "a sign"},
    {"futoshiki", "{'grid_size':2,'puzzle':[[0,0],[0,2]],'constraints':[]}", "[[1 2,2 1]]", 0, "a given number"},
    {"futoshiki", "{'grid_size':2,'puzzle':[[0,0],[0,0]],'constraints':[]}", "[[1 2,1 2]]", 0, "a column"},
    {"futoshiki", "{'grid_size':2,'puzzle':[[0,0],[0,0]],'constraints':[]}", "[[1 1,2 2]]", 0, "a row"},
#define CALC(target, op) "{'grid_size':3,'regions':[{'cells':['(1,1)','(1,2)'],'target':" target ",'operator':'" op "'}]}"
    {"calcudoko", CALC("3", "+"), "[[1 2 3,2 3 1,3 1 2]]", 1, ""},
    {"calcudoko", CALC("4", "+"), "[[1 2 3,2 3 1,3 1 2]]", 0, "a sum"},
    {"calcudoko", CALC("2", "*"), "[[1 2 3,2 3 1,3 1 2]]", 1, ""},
    {"calcudoko", CALC("6", "*"), "[[1 2 3,2 3 1,3 1 2]]", 0, "a product"},
    {"calcudoko", CALC("1", "-"), "[[1 2 3,2 3 1,3 1 2]]", 1, ""},
    {"calcudoko", CALC("2", "-"), "[[1 2 3,2 3 1,3 1 2]]", 0, "a difference"},
    {"calcudoko", CALC("2", "÷"), "[[1 2 3,2 3 1,3 1 2]]", 1, ""},
    {"calcudoko", CALC("1", "÷"), "[[3 2 1,2 1 3,1 3 2]]", 0, "a quotient with a rest"},
    {"calcudoko", CALC("3", "+"), "[[1 2 3,1 2 3,3 1 2]]", 0, "a column"},
    {"calcudoko", "{'grid_size':3,'regions':[{'cells':['(1,1)','(2,2)'],'target':2,'operator':'+'}]}",
     "[[1 2 3,3 1 2,2 3 1]]", 0, "a number twice in a region"},
#define PATH "{'grid':[[1,'X'],['X','X']]}"
    {"numbrix", PATH, "[[1,2],[4,3]]", 1, ""},
    {"numbrix", PATH, "[[1,4],[2,3]]", 1, "another path"},
    {"numbrix", PATH, "[[1,2],[3,4]]", 0, "2 and 3 touch at a corner"},
    {"numbrix", PATH, "[[2,1],[3,4]]", 0, "a given number"},
    {"numbrix", PATH, "[[1,2],[2,3]]", 0, "a number twice"},
    {"numbrix", PATH, "[[1,2],[5,3]]", 0, "a number too large"},
    {"arrow_maze", "{'maze':[['2','X'],['X','1']]}", "[['2','→'],['↓','1']]", 0, "1 has none"},
    {"arrow_maze", "{'maze':[['2','X','X']]}", "[['2','→','→']]", 1, ""},
    {"arrow_maze", "{'maze':[['1','X','X']]}", "[['1','→','→']]", 0, "too many"},
    {"arrow_maze", "{'maze':[['3','X','X']]}", "[['3','→','→']]", 0, "too few"},
    {"arrow_maze", "{'maze':[['1','X','X']]}", "[['1','→','↑']]", 1, "a stray arrow, which nobody forbade"},
    {"arrow_maze", "{'maze':[['1','X','X']],'every_arrow_counts':true}", "[['1','→','↑']]", 0, "a stray arrow"},
    {"arrow_maze", "{'maze':[['1','X','↑']]}", "[['1','→','↓']]", 0, "a shown arrow"},
    {"arrow_maze", "{'maze':[['1','X','X']]}", "[['1','→','X']]", 0, "an open cell"},
    {"arrow_maze", "{'maze':[['1','X','X']]}", "[['1','→','0']]", 0, "a new number"},
    {"arrow_maze", "{'maze':[['1','X','X']]}", "[['2','→','→']]", 0, "a changed number"},
#define WALL "{'grid':[[2,'X','X'],['X','X','X'],[2,'X','X']]}"
    {"number_wall", WALL, "[[2,'X','A'],['A','A','A'],[2,'X','A']]", 1, ""},
    {"number_wall", WALL, "[[2,'A','X'],['X','A','A'],['A','A','A']]", 0, "a number is gone"},
    {"number_wall", WALL, "[[2,'A','A'],['X','A','A'],[2,'X','A']]", 0, "islands joined, a block of walls"},
    {"number_wall", "{'grid':[[1,'X'],['X','X']]}", "[[1,'A'],['A','X']]", 0, "an island without a number"},
    {"number_wall", "{'grid':[[2,'X'],['X','X']]}", "[[2,'A'],['A','A']]", 0, "an island too small"},
    {"number_wall", "{'grid':[[2,'X','X']]}", "[[2,'X','X']]", 0, "an island too large"},
    {"number_wall", "{'grid':[[2,2]]}", "[[2,2]]", 0, "two numbers on an island"},
    {"number_wall", "{'grid':[[1,'X','X'],['X','X','X'],['X','X','X']]}", "[[1,'A','A'],['A','A','A'],['A','A','A']]", 0, "a block of walls"},
    {"norinori", "{'region_grid':[['A','A'],['B','B'],['B','B']]}", "[[(1,1),(1,2)],[(3,1),(3,2)]]", 1, ""},
    {"norinori", "{'region_grid':[['A','A'],['B','B'],['B','B']]}", "[[(1,1),(1,2)],[(2,1),(2,2)]]", 0, "dominoes share an edge"},
    {"norinori", "{'region_grid':[['A','A'],['B','B'],['B','B']]}", "[[(3,1),(3,2)]]", 0, "a region not covered"},
    {"norinori", "{'region_grid':[['A','A'],['B','B'],['B','B']]}", "[[(1,1),(2,2)],[(3,1),(3,2)]]", 0, "no domino"},
    {"norinori", "{'region_grid':[['A','A'],['B','B'],['B','B']]}", "[[(1,1),(1,2)],[(3,2),(3,3)]]", 0, "outside"},
    {"norinori", "{'region_grid':[['A','A','X']]}", "[[(1,1),(1,2)]]", 0, "a shadow not covered"},
    {"norinori", "{'region_grid':[['A','A','A','A']]}", "[[(1,1),(1,2)]]", 1, ""},
    {"norinori", "{'region_grid':[['A','A','A','A','A']]}", "[[(1,1),(1,2)],[(1,4),(1,5)]]", 0, "four cells of a region"},
    {"minesweeper", "{'revealed_grid':[['1','X'],['X','X']]}", "[]", 1, "nothing is sure"},
    {"minesweeper", "{'revealed_grid':[['3','X'],['X','X']]}", "[(0,1),(1,0),(1,1)]", 1, ""},
    {"minesweeper", "{'revealed_grid':[['3','X'],['X','X']]}", "[(0,1),(1,0)]", 0, "one is missing"},
    {"minesweeper", "{'revealed_grid':[['3','X'],['X','X']],'current_mines':[[0,1]]}", "[(0,1)]", 1, "the stored list"},
    {"minesweeper", "{'revealed_grid':[['1','X'],['X','X']],'current_mines':[[0,1]]}", "[(0,1)]", 0, "a stored cell that is not sure"},
    {"minesweeper", "{'revealed_grid':[['1','2'],['X','X']]}", "[(1,0),(1,1)]", -1, "numbers that contradict"},
#define GAME(ops) "{'numbers':[1,2,3,4],'operators':[" ops "],'result':24}"
    {"game_of_24", GAME("'+','-','*','/'"), "1*2*3*4", 1, ""},
    {"game_of_24", GAME("'+','-','*','/'"), "```python\n(1+2+3)*4\n```", 1, "another way"},
    {"game_of_24", GAME("'+','-','*','/'"), "(1+2+3)*4 = 24", 1, "with its result"},
    {"game_of_24", GAME("'+','-'"), "1*2*3*4", 0, "an operator that is not listed"},
    {"game_of_24", GAME("'+','-','*','/'"), "1+2+3+4", 0, "another value"},
    {"game_of_24", GAME("'+','-','*','/'"), "2*3*4", 0, "a number left out"},
    {"game_of_24", GAME("'+','-','*','/'"), "1*1*2*3*4", 0, "a number twice"},
    {"game_of_24", GAME("'+','-','*','/'"), "12*34/17", 0, "numbers joined"},
    {"game_of_24", GAME("'+','-','*','/'"), "1+2+3+4 = 24", 0, "a false equation"},
    {"game_of_24", GAME("'+','-','*','/'"), "24 = 24", 0, "no formula"},
    {"boolean_expressions", "{'true_options':['A','C']}", "The true ones are: A, C", 1, ""},
    {"boolean_expressions", "{'true_options':['A','C']}", "The true ones are: A, B", 0, "a letter"},
    {"math_path", "{'query_expr':'?+?*2 = 9'}", "[[1+4*2 = 9]]", 1, ""},
    {"math_path", "{'query_expr':'?+?*2 = 9'}", "[[3+3*2 = 9]]", 1, "other digits"},
    {"math_path", "{'query_expr':'?+?*2 = 9'}", "[[1+3*2 = 9]]", 0, "not true"},
    {"math_path", "{'query_expr':'?+?*2 = 9'}", "[[6+1*3 = 9]]", 0, "a shown digit"},
    {"math_path", "{'query_expr':'?+?*2 = 9'}", "[[1+4*2 = 8+1]]", 0, "another side"},
    {"math_path", "{'query_expr':'?-?*2 = 9'}", "[[1+4*2 = 9]]", 0, "another operator"},
    {"math_path", "{'query_expr':'5/? = 0'}", "[[5/0 = 0]]", 0, "division by 0"},
    {"cryptarithm", "{'letter_words':['A','A','B'],'operators':['+']}", "The answer is 2 + 2 = 4.", 1, ""},
    {"cryptarithm", "{'letter_words':['A','A','B'],'operators':['+']}", "The answer is 3+3=6", 1, "another one"},
    {"cryptarithm", "{'letter_words':['A','A','B'],'operators':['+']}", "2 + 2 = 5", 0, "a false sum"},
    {"cryptarithm", "{'letter_words':['A','A','B'],'operators':['+']}", "1 + 3 = 4", 0, "a letter with two digits"},
    {"cryptarithm", "{'letter_words':['A','A','B'],'operators':['+']}", "0 + 0 = 0", 0, "two letters with a digit"},
    {"cryptarithm", "{'letter_words':['A','A','B'],'operators':['+'],'hints':{'A':3}}", "2 + 2 = 4", 0, "a hint"},
    {"cryptarithm", "{'letter_words':['AB','C','AB'],'operators':['+']}", "12 + 0 = 12", 1, "a lone 0"},
    {"cryptarithm", "{'letter_words':['AB','C','AB'],'operators':['+']}", "01 + 0 = 01", 0, "a leading 0"},
    {"cryptarithm", "{'letter_words':['AB','C','AD'],'operators':['+']}", "01 + 2 = 03", 0, "a leading 0, else all is right"},
    {"cryptarithm", "{'letter_words':['A','B','C','DC'],'operators':['*','+']}", "3 * 5 + 1 = 16", 0, "another letter"},
    {"cryptarithm", "{'letter_words':['A','B','C','DE'],'operators':['*','+']}", "4 * 3 + 8 = 20", 1, "product first"},
};
// clang-format on

static int judge(const struct rule_case *one)
{
    json_t *row = json_pack("{s:s, s:s}", "task", one->task, "metadata", one->metadata);
    int verdict = verdict_of(row, one->response, strlen(one->response));
    json_decref(row);
    return verdict;
}

static void test_logic_rules_are_checked_one_by_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (judge(&cases[i]) != cases[i].wanted)
            fail_msg("%s with %s: %s scores %d (%s)", cases[i].task, cases[i].metadata,
                     cases[i].response, judge(&cases[i]), cases[i].what);
}

static json_t *small_row(const char *name, const char *knob, uint64_t index)
{
    const struct logic_task *task = logic_task_find(name);
    struct logic_settings settings;
    json_t *row = NULL;
    logic_settings_default(task, &settings);
    assert_int_equal(logic_settings_set(task, &settings, knob), STATUS_OK);
    assert_int_equal(logic_row(task, &settings, 99, index, &row), STATUS_OK);
    return row;
}

/* ---- one solution only: all candidates are judged ---- */

/* All squares of side 4 made row by row from the 24 orders; how many the judge accepts. */
static int count_squares(const json_t *row)
{
    static const char *const orders[24] = {
        "1 2 3 4", "1 2 4 3", "1 3 2 4", "1 3 4 2", "1 4 2 3", "1 4 3 2", "2 1 3 4", "2 1 4 3",
        "2 3 1 4", "2 3 4 1", "2 4 1 3", "2 4 3 1", "3 1 2 4", "3 1 4 2", "3 2 1 4", "3 2 4 1",
        "3 4 1 2", "3 4 2 1", "4 1 2 3", "4 1 3 2", "4 2 1 3", "4 2 3 1", "4 3 1 2", "4 3 2 1"};
    int accepted = 0;
    for (int a = 0; a < 24; a++)
        for (int b = 0; b < 24; b++)
            for (int c = 0; c < 24; c++)
                for (int d = 0; d < 24; d++) {
                    const int order[4] = {a, b, c, d};
                    bool square = true;
                    for (int i = 0; i < 4; i++)
                        for (int k = i + 1; square && k < 4; k++)
                            for (int at = 0; at < 8; at += 2)
                                square = square && orders[order[i]][at] != orders[order[k]][at];
                    if (!square)
                        continue;
                    char text[64];
                    (void)snprintf(text, sizeof text, "[[%s,%s,%s,%s]]", orders[a], orders[b],
                                   orders[c], orders[d]);
                    accepted += verdict_of(row, text, strlen(text)) == 1;
                }
    return accepted;
}

static void test_logic_rules_generated_squares_have_one_solution(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < test_times(20, 2); i++) {
        json_t *futoshiki = small_row("futoshiki", "side=4", i),
               *calcudoko = small_row("calcudoko", "side=4", i);
        assert_int_equal(count_squares(futoshiki), 1);
        assert_int_equal(count_squares(calcudoko), 1);
        json_decref(futoshiki);
        json_decref(calcudoko);
    }
}

static void test_logic_rules_generated_campsites_have_one_solution(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < test_times(12, 1); i++) {
        json_t *row = small_row("campsite", "side=4", i);
        const json_t *grid = json_object_get(json_object_get(row, "metadata"), "grid");
        int accepted = 0;
        for (unsigned tents = 0; tents < 65536; tents++) {
            if (__builtin_popcount(tents) > 4)
                continue;
            char text[160], *at = text;
            for (size_t k = 0; k < 16; k++) {
                const char *cell =
                    json_string_value(json_array_get(json_array_get(grid, k / 4), k % 4));
                *at++ = (tents >> k & 1) != 0 ? 'C' : cell[0];
                *at++ = k % 4 == 3 ? '\n' : ' ';
            }
            accepted += verdict_of(row, text, (size_t)(at - text)) == 1;
        }
        assert_int_equal(accepted, 1);
        json_decref(row);
    }
}

static void test_logic_rules_generated_sums_have_one_solution(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < test_times(10, 1); i++) {
        json_t *row = small_row("cryptarithm", "digits=2", i);
        const json_t *words = json_object_get(json_object_get(row, "metadata"), "letter_words");
        const json_t *operators = json_object_get(json_object_get(row, "metadata"), "operators");
        int accepted = 0;
        assert_int_equal(json_array_size(words), 3);
        bool minus = json_string_value(json_array_get(operators, 0))[0] == '-';
        for (int a = 10; a < 100; a++)
            for (int b = 10; b < 100; b++) {
                char text[64];
                (void)snprintf(text, sizeof text, "%d %c %d = %d", a, minus ? '-' : '+', b,
                               minus ? a - b : a + b);
                accepted += verdict_of(row, text, strlen(text)) == 1;
            }
        assert_int_equal(accepted, 1);
        json_decref(row);
    }
}

/* ---- minesweeper: all placements on the covered cells ---- */

static void test_logic_rules_sure_mines_are_those_of_all_placements(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < test_times(40, 3); i++) {
        json_t *row = small_row("minesweeper", "side=4", i);
        const json_t *grid = json_object_get(json_object_get(row, "metadata"), "revealed_grid");
        char cell[16];
        unsigned near[16] = {0}, covered = 0, sure = 0xffff;
        for (int k = 0; k < 16; k++) {
            cell[k] = json_string_value(
                json_array_get(json_array_get(grid, (size_t)k / 4), (size_t)k % 4))[0];
            covered |= cell[k] == 'X' ? 1u << k : 0;
            for (int o = 0; o < 16; o++)
                if (o != k && abs(o / 4 - k / 4) <= 1 && abs(o % 4 - k % 4) <= 1)
                    near[k] |= 1u << o;
        }
        for (unsigned mines = 0; mines < 65536; mines++) {
            bool fits = (mines & ~covered) == 0;
            for (int k = 0; fits && k < 16; k++)
                fits = cell[k] == 'X' || __builtin_popcount(mines & near[k]) == cell[k] - '0';
            sure &= fits ? mines : 0xffff;
        }
        const json_t *answer = json_object_get(row, "answer");
        assert_int_equal(json_array_size(answer), __builtin_popcount(sure));
        for (size_t k = 0; k < json_array_size(answer); k++) {
            const json_t *pair = json_array_get(answer, k);
            int at = (int)(4 * json_integer_value(json_array_get(pair, 0)) +
                           json_integer_value(json_array_get(pair, 1)));
            assert_true((sure >> at & 1) != 0);
        }
        json_decref(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logic_rules_are_checked_one_by_one),
        cmocka_unit_test(test_logic_rules_generated_squares_have_one_solution),
        cmocka_unit_test(test_logic_rules_generated_campsites_have_one_solution),
        cmocka_unit_test(test_logic_rules_generated_sums_have_one_solution),
        cmocka_unit_test(test_logic_rules_sure_mines_are_those_of_all_placements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
