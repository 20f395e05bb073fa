/* Arrow maze: from each number, straight rays of arrows that point away from it run in up to eight directions; together they
 * have as many arrows as the number says. The generator shoots rays and shows some of the arrows. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

/* Cells: a number >= 0, an arrow ARROW - direction, or OPEN. */
enum { OPEN = -1, ARROW = -2, SIDE_MAX = BOARD_SIDE_MAX, RAY_MAX = 4 };

static const struct logic_knob knobs[] = {
    {"side", 4, 9, 5, "rows and columns"},
    {"shown", 0, 800, 400, "arrows shown, permille"},
    {0},
};

static const char *const symbols[8] = {"↑", "↗", "→", "↘", "↓", "↙", "←", "↖"};
static const int step_row[8] = {-1, -1, 0, 1, 1, 1, 0, -1},
                 step_column[8] = {0, 1, 1, 1, 0, -1, -1, -1};

static bool is_inside(const struct board *board, int row, int column)
{
    return row >= 0 && column >= 0 && row < board->rows && column < board->columns;
}

/* Arrows of the ray that leaves (row, column) in a direction; reached[] marks them when not NULL. */
static int ray_length(const struct board *board, int row, int column, int direction,
                      bool (*reached)[SIDE_MAX])
{
    int length = 0;
    for (;;) {
        row += step_row[direction];
        column += step_column[direction];
        if (!is_inside(board, row, column) || board->cell[row][column] != ARROW - direction)
            return length;
        if (reached != NULL)
            reached[row][column] = true;
        length++;
    }
}

static int arrows_of(const struct board *board, int row, int column, bool (*reached)[SIDE_MAX])
{
    int sum = 0;
    for (int direction = 0; direction < 8; direction++)
        sum += ray_length(board, row, column, direction, reached);
    return sum;
}

/* ---- generating ---- */

static void shoot(struct rng *rng, struct board *board, int row, int column)
{
    int order[8];
    board->cell[row][column] = 0;
    draw_permutation(rng, order, 8);
    for (int i = 0; i < 8; i++) {
        int length = draw_between(rng, i == 0 ? 1 : -2, RAY_MAX), direction = order[i];
        int r = row + step_row[direction], c = column + step_column[direction];
        for (; length > 0 && is_inside(board, r, c) && board->cell[r][c] == OPEN; length--) {
            board->cell[r][c] = ARROW - direction;
            r += step_row[direction];
            c += step_column[direction];
        }
    }
}

/* A cell left alone becomes the next arrow of a ray that ends beside it, if there is one. */
static bool extend_ray(struct board *board, int row, int column)
{
    for (int direction = 0; direction < 8; direction++) {
        int r = row - step_row[direction], c = column - step_column[direction];
        if (is_inside(board, r, c) &&
            (board->cell[r][c] >= 0 || board->cell[r][c] == ARROW - direction)) {
            board->cell[row][column] = ARROW - direction;
            return true;
        }
    }
    return false;
}

static bool has_open_neighbour(const struct board *board, int row, int column)
{
    for (int direction = 0; direction < 8; direction++) {
        int r = row + step_row[direction], c = column + step_column[direction];
        if (is_inside(board, r, c) && board->cell[r][c] == OPEN)
            return true;
    }
    return false;
}

static bool draw_maze(struct rng *rng, int side, struct board *board)
{
    int order[SIDE_MAX * SIDE_MAX];
    *board = (struct board){.rows = side, .columns = side};
    for (int i = 0; i < side * side; i++)
        board->cell[i / side][i % side] = OPEN;
    draw_permutation(rng, order, side * side);
    for (int i = 0; i < side * side; i++) {
        int r = order[i] / side, c = order[i] % side;
        if (board->cell[r][c] != OPEN)
            continue;
        if (has_open_neighbour(board, r, c))
            shoot(rng, board, r, c);
        else if (!extend_ray(board, r, c))
            return false;
    }
    for (int i = 0; i < side * side; i++) {
        int r = i / side, c = i % side;
        if (board->cell[r][c] >= 0)
            board->cell[r][c] = arrows_of(board, r, c, NULL);
        if (board->cell[r][c] == 0)
            return false;
    }
    return true;
}

static json_t *grid_json(const struct board *board)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < board->columns; c++) {
            int cell = board->cell[r][c];
            char number[16];
            (void)snprintf(number, sizeof number, "%d", cell);
            json_array_append_new(row, json_string(cell >= 0      ? number
                                                   : cell == OPEN ? "X"
                                                                  : symbols[ARROW - cell]));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static enum status write_question(const struct board *puzzle, struct buffer *question)
{
    TRY(buffer_printf(
        question,
        "Complete this %d x %d arrow maze: put an arrow (↑ ↗ → ↘ ↓ ↙ ← ↖) into every"
        " cell marked X.\n"
        "- From a number, a ray may leave in each of the eight directions: the unbroken"
        " run of arrows, starting next to the number, that all point away from it in"
        " that direction. The arrows of all its rays together must be as many as the"
        " number says.\n"
        "- Every arrow belongs to a ray of some number.\n"
        "- Numbers and arrows that are shown stay.\n"
        "If several mazes do that, any of them is right.\n\n",
        puzzle->rows, puzzle->columns));
    for (int r = 0; r < puzzle->rows; r++)
        for (int c = 0; c < puzzle->columns; c++) {
            int cell = puzzle->cell[r][c];
            const char *after = c + 1 == puzzle->columns ? "\n" : " ";
            if (cell >= 0)
                TRY(buffer_printf(question, "%d%s", cell, after));
            else
                TRY(buffer_printf(question, "%s%s", cell == OPEN ? "X" : symbols[ARROW - cell],
                                  after));
        }
    return buffer_text(question, "\nEnd with the whole maze as a list of rows in a code block, for"
                                 " example:\n```python\n[[\"2\", \"→\"], [\"↓\", \"1\"]]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0], hidden = 0;
    struct board solution, puzzle;
    if (!draw_maze(rng, side, &solution))
        return STATUS_AGAIN;
    puzzle = solution;
    for (int i = 0; i < side * side; i++) {
        int *cell = &puzzle.cell[i / side][i % side];
        if (*cell < 0 && !draw_permille(rng, settings->value[1])) {
            *cell = OPEN;
            hidden++;
        }
    }
    if (hidden == 0)
        return STATUS_AGAIN;
    TRY(write_question(&puzzle, &out->question));
    out->answer = grid_json(&solution);
    out->metadata = json_pack("{s:o, s:O, s:i, s:i, s:b}", "maze", grid_json(&puzzle), "solution",
                              out->answer, "height", side, "width", side, "every_arrow_counts", 1);
    out->work = hidden;
    out->difficulty = logic_difficulty(out->work, 2, 64);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool read_grid(const json_t *grid, struct board *board)
{
    for (int r = 0; r < board->rows; r++) {
        if (json_array_size(json_array_get(grid, (size_t)r)) != (size_t)board->columns)
            return false;
        for (int c = 0; c < board->columns; c++) {
            char scratch[24];
            const char *text = reading_cell(grid, (size_t)r, (size_t)c, scratch);
            int *cell = &board->cell[r][c], direction = 0;
            if (reading_cell_int(grid, (size_t)r, (size_t)c, cell)) {
                if (*cell < 0)
                    return false;
                continue;
            }
            while (direction < 8 && strcmp(text, symbols[direction]) != 0)
                direction++;
            *cell = direction < 8 ? ARROW - direction : OPEN;
            if (direction == 8 && strcmp(text, "X") != 0)
                return false;
        }
    }
    return true;
}

static bool follows_rules(const struct board *board, const struct board *puzzle, bool every_arrow)
{
    bool reached[SIDE_MAX][SIDE_MAX] = {{false}};
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++) {
            int cell = board->cell[r][c], given = puzzle->cell[r][c];
            if (cell == OPEN || (given == OPEN ? cell >= 0 : cell != given) ||
                (cell >= 0 && arrows_of(board, r, c, reached) != cell))
                return false;
        }
    for (int r = 0; every_arrow && r < board->rows; r++)
        for (int c = 0; c < board->columns; c++)
            if (board->cell[r][c] < 0 && !reached[r][c])
                return false;
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *maze = json_object_get(metadata, "maze");
    size_t rows = json_array_size(maze), columns = json_array_size(json_array_get(maze, 0));
    struct board puzzle = {.rows = (int)rows, .columns = (int)columns}, board = puzzle;
    if (rows < 1 || rows > SIDE_MAX || columns < 1 || columns > SIDE_MAX ||
        !read_grid(maze, &puzzle)) {
        logic_broken(out, "metadata: the maze is missing or wrong");
        return;
    }
    json_t *grid = reading_grid(response, rows, columns);
    bool found = grid != NULL && read_grid(grid, &board);
    json_decref(grid);
    out->correct =
        found && follows_rules(&board, &puzzle,
                               json_is_true(json_object_get(metadata, "every_arrow_counts")));
    out->why = out->correct ? NULL
               : found      ? "a number has not its arrows, or a shown cell changed"
                            : "no maze of the puzzle's size was found";
}

const struct logic_task logic_task_arrow_maze = {"arrow_maze", "arrows that run away from numbers",
                                                 knobs, generate, verify};
