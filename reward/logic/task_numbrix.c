/* Numbrix: the numbers 1..side*side on a path from neighbour to neighbour, some given. The path is a random Hamiltonian one, so a
 * solution exists; the judge checks the path. */
#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"

enum { NODES_MAX = 20000, CELLS_MAX = BOARD_SIDE_MAX * BOARD_SIDE_MAX };

static const struct logic_knob knobs[] = {
    {"side", 3, 7, 5, "rows and columns"},
    {"given", 150, 700, 400, "numbers given, permille"},
    {0},
};

static const int step_row[4] = {1, -1, 0, 0}, step_column[4] = {0, 0, 1, -1};

static void reverse(int *path, int from, int to)
{
    for (; from < to; from++, to--) {
        int kept = path[from];
        path[from] = path[to];
        path[to] = kept;
    }
}

/* A snake, then backbite moves (Mansfield 1982): one end bites a neighbour and the loop this makes is opened. */
static void draw_path(struct rng *rng, int side, int *path)
{
    int cells = side * side;
    for (int i = 0; i < cells; i++)
        path[i] = i / side * side + (i / side % 2 == 0 ? i % side : side - 1 - i % side);
    for (int move = 0; move < 20 * cells; move++) {
        if (rng_below(rng, 2) == 0)
            reverse(path, 0, cells - 1);
        int direction = (int)rng_below(rng, 4), r = path[0] / side + step_row[direction],
            c = path[0] % side + step_column[direction], at = 1;
        if (r < 0 || c < 0 || r >= side || c >= side)
            continue;
        while (path[at] != r * side + c)
            at++;
        reverse(path, 0, at - 1);
    }
}

struct search {
    struct board board;
    int place[CELLS_MAX + 2]; /* of a given number: cell + 1 */
    int nodes, solutions;
};

/* Puts `number` at the cell and goes on; false: stop. */
static bool search_on(struct search *search, int number, int cell)
{
    int side = search->board.rows, r = cell / side, c = cell % side;
    int *here = &search->board.cell[r][c];
    if (++search->nodes > NODES_MAX)
        return false;
    if (*here != 0 ? *here != number : search->place[number] != 0)
        return true;
    if (number == side * side)
        return ++search->solutions < 2;
    int kept = *here;
    *here = number;
    bool go_on = true;
    for (int direction = 0; go_on && direction < 4; direction++) {
        int next_r = r + step_row[direction], next_c = c + step_column[direction];
        if (next_r < 0 || next_c < 0 || next_r >= side || next_c >= side)
            continue;
        int next = search->board.cell[next_r][next_c];
        if (next == 0 || next == number + 1)
            go_on = search_on(search, number + 1, next_r * side + next_c);
    }
    *here = kept;
    return go_on;
}

static int measure(const struct board *puzzle)
{
    struct search search = {.board = *puzzle};
    int side = puzzle->rows;
    for (int i = 0; i < side * side; i++)
        search.place[puzzle->cell[i / side][i % side]] = i + 1;
    search.place[0] = 0;
    for (int i = 0; i < side * side && search_on(&search, 1, i); i++) {
    }
    return search.nodes;
}

static enum status write_question(const struct board *puzzle, struct buffer *question)
{
    int side = puzzle->rows;
    TRY(buffer_printf(question,
                      "Numbrix: fill the empty cells (X) of this %d x %d grid so that it holds each"
                      " number from 1 to %d once and numbers that follow one another stand in cells"
                      " that share an edge. The given numbers stay. If several grids do that, any"
                      " of them is right.\n\n",
                      side, side, side * side));
    TRY(board_print(puzzle, "X", question));
    return buffer_text(question, "\nEnd with the finished grid as a list of rows in a code block,"
                                 " for example:\n```python\n[[1, 2], [4, 3]]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0], path[CELLS_MAX];
    struct board solution = {.rows = side, .columns = side}, puzzle;
    draw_path(rng, side, path);
    for (int i = 0; i < side * side; i++)
        solution.cell[path[i] / side][path[i] % side] = i + 1;
    puzzle = solution;
    for (int i = 0; i < side * side; i++)
        if (!draw_permille(rng, settings->value[1]))
            puzzle.cell[i / side][i % side] = 0;
    TRY(write_question(&puzzle, &out->question));
    out->answer = board_json(&solution);
    out->metadata = json_pack("{s:o, s:O, s:i}", "grid", board_json(&puzzle), "solution",
                              out->answer, "n", side);
    out->work = measure(&puzzle);
    out->difficulty = logic_difficulty(out->work, 20, NODES_MAX);
    return STATUS_OK;
}

static bool is_path(const struct board *board, const struct board *given)
{
    int cells = board->rows * board->columns, place[CELLS_MAX + 1] = {0};
    for (int i = 0; i < cells; i++) {
        int r = i / board->columns, c = i % board->columns, number = board->cell[r][c];
        if (number < 1 || number > cells || place[number] != 0 ||
            (given->cell[r][c] != 0 && given->cell[r][c] != number))
            return false;
        place[number] = i + 1;
    }
    for (int number = 1; number < cells; number++) {
        int a = place[number] - 1, b = place[number + 1] - 1;
        int rows = a / board->columns - b / board->columns,
            columns = a % board->columns - b % board->columns;
        if (rows * rows + columns * columns != 1)
            return false;
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct board given, board;
    if (!board_of_json(json_object_get(metadata, "grid"), &given)) {
        logic_broken(out, "metadata: the grid of a numbrix is missing");
        return;
    }
    bool found = board_of_response(response, given.rows, given.columns, &board);
    out->correct = found && is_path(&board, &given);
    out->why = out->correct ? NULL
               : found      ? "the numbers are no path, or a given one moved"
                            : "no grid of the puzzle's size was found";
}

const struct logic_task logic_task_numbrix = {
    "numbrix", "consecutive numbers on a path through a grid", knobs, generate, verify};
