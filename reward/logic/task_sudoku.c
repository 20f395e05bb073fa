/* Sudoku 9 x 9 and its small sisters. The generator digs holes into a random full grid as long as one solution is
 * left; the judge checks rules and givens, so any solution counts where a row of other origin has several. */
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/sudoku_solver.h"

static const struct logic_knob sudoku_knobs[] = {
    {"holes", 4, 54, 40, "empty cells; the solution stays the only one"},
    {0},
};
static const struct logic_knob mini_knobs[] = {
    {"side", 4, 6, 4, "numbers 1..side; 4 (boxes of 2 x 2) or 6 (2 x 3), 5 is taken as 4"},
    {"hole_share", 200, 700, 550, "empty cells, permille of all; fewer when uniqueness needs it"},
    {0},
};

static enum status put_answer(const struct board *puzzle, const struct sudoku_search *search,
                              struct sudoku_shape shape, struct logic_problem *out)
{
    json_t *solution = board_json(&search->first);
    out->metadata = json_pack("{s:o, s:O, s:b, s:i, s:i}", "original_sudoku", board_json(puzzle),
                              "complete_sudoku", solution, "unique_solution", 1, "box_rows",
                              shape.box_rows, "box_columns", shape.box_columns);
    out->answer = solution;
    out->work = (double)search->nodes;
    return out->metadata != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "a sudoku row");
}

static enum status write_question(const struct board *puzzle, struct sudoku_shape shape,
                                  struct buffer *question)
{
    int side = puzzle->rows;
    TRY(buffer_printf(
        question,
        "Fill in the %d x %d sudoku below: every row, every column and every box of %d"
        " rows by %d columns must hold each number from 1 to %d exactly once. A dot is"
        " an empty cell; the puzzle has exactly one solution.\n\n",
        side, side, shape.box_rows, shape.box_columns, side));
    TRY(board_print(puzzle, ".", question));
    return buffer_printf(question,
                         "\nEnd your answer with the finished grid as a list of rows in a code"
                         " block:\n```python\n[[first row], [second row], ...]\n```\nwith %d"
                         " numbers, separated by commas, in each row.",
                         side);
}

static enum status sudoku_generate(const struct logic_settings *settings, struct rng *rng,
                                   struct logic_problem *out)
{
    const struct sudoku_shape shape = {3, 3};
    struct board puzzle;
    struct sudoku_search search;
    if (!sudoku_make(shape, settings->value[0], rng, &puzzle, &search))
        return STATUS_AGAIN;
    TRY(write_question(&puzzle, shape, &out->question));
    TRY(put_answer(&puzzle, &search, shape, out));
    out->difficulty = logic_difficulty(out->work, 4, 300);
    return STATUS_OK;
}

static enum status mini_generate(const struct logic_settings *settings, struct rng *rng,
                                 struct logic_problem *out)
{
    const struct sudoku_shape shape = {2, settings->value[0] == 6 ? 3 : 2};
    int side = shape.box_rows * shape.box_columns;
    struct board puzzle;
    struct sudoku_search search;
    if (!sudoku_make(shape, side * side * settings->value[1] / 1000, rng, &puzzle, &search))
        return STATUS_AGAIN;
    TRY(write_question(&puzzle, shape, &out->question));
    TRY(put_answer(&puzzle, &search, shape, out));
    out->difficulty = logic_difficulty(out->work, 2, 60);
    return STATUS_OK;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct board givens, read;
    struct sudoku_shape shape = {3, 3};
    if (!board_of_json(json_object_get(metadata, "original_sudoku"), &givens) ||
        givens.rows != givens.columns) {
        logic_broken(out, "metadata lacks original_sudoku, a square list of lists");
        return;
    }
    if (json_object_get(metadata, "box_rows") != NULL &&
        (!board_member(metadata, "box_rows", 1, 3, &shape.box_rows) ||
         !board_member(metadata, "box_columns", 1, 3, &shape.box_columns))) {
        logic_broken(out, "box_rows and box_columns are to be 1 to 3");
        return;
    }
    if (shape.box_rows * shape.box_columns != givens.rows) {
        logic_broken(out, "the boxes do not fit the grid");
        return;
    }
    if (!board_of_response(response, givens.rows, givens.columns, &read)) {
        logic_wrong(out, "no grid of the puzzle's size was found");
        return;
    }
    const char *fault = sudoku_fault(shape, &givens, &read);
    out->correct = fault == NULL;
    out->why = fault;
}

const struct logic_task logic_task_sudoku = {
    "sudoku", "9 x 9 sudoku with one solution", sudoku_knobs, sudoku_generate, verify,
};
const struct logic_task logic_task_mini_sudoku = {
    "mini_sudoku", "4 x 4 or 6 x 6 sudoku with one solution", mini_knobs, mini_generate, verify,
};
