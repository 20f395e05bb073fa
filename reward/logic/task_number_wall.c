/* Number wall: islands of as many cells as the one number on them says, parted by walls without a 2 x 2 block. The
 * generator builds such islands and shows their numbers; the judge floods the islands. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

/* Cells: a number, FREE (part of an island) or WALL. */
enum { FREE = 0, WALL = -1, SIDE_MAX = BOARD_SIDE_MAX, CELLS_MAX = SIDE_MAX * SIDE_MAX };

static const struct logic_knob knobs[] = {
    {"side", 3, 8, 5, "rows and columns"},
    {"island", 2, 7, 4, "cells of the largest island"},
    {0},
};

/* ---- generating ---- */

/* island[cell] > 0: its number; a free cell is 0. Whether `at` touches an island other than `own`. */
static bool touches_other(const struct board *board, const int *island, int at, int own)
{
    for (int direction = 0; direction < 4; direction++) {
        int near = board_neighbour(board, at, direction);
        if (near >= 0 && island[near] != 0 && island[near] != own)
            return true;
    }
    return false;
}

static int build_island(struct rng *rng, const struct board *board, int *island, int own, int at,
                        int size)
{
    int cells[CELLS_MAX], count = 1;
    cells[0] = at;
    island[at] = own;
    for (int tries = 0; count < size && tries < 8 * size; tries++) {
        int from = cells[rng_below(rng, (uint32_t)count)];
        int next = board_neighbour(board, from, (int)rng_below(rng, 4));
        if (next < 0 || island[next] != 0 || touches_other(board, island, next, own))
            continue;
        island[next] = own;
        cells[count++] = next;
    }
    return count;
}

static bool has_block(const struct board *board, const int *island)
{
    for (int r = 0; r + 1 < board->rows; r++)
        for (int c = 0; c + 1 < board->columns; c++) {
            int at = r * board->columns + c, below = at + board->columns;
            if (island[at] == 0 && island[at + 1] == 0 && island[below] == 0 &&
                island[below + 1] == 0)
                return true;
        }
    return false;
}

/* Islands until no 2 x 2 block of walls is left, in random order; the islands, 0 when it did not come out. */
static int draw_islands(struct rng *rng, const struct board *board, int largest, int *island,
                        int *size)
{
    int cells = board->rows * board->columns, order[CELLS_MAX], islands = 0;
    draw_permutation(rng, order, cells);
    for (int i = 0; i < cells && has_block(board, island); i++) {
        if (island[order[i]] != 0 || touches_other(board, island, order[i], 0))
            continue;
        islands++;
        size[islands] =
            build_island(rng, board, island, islands, order[i], draw_between(rng, 1, largest));
    }
    return has_block(board, island) ? 0 : islands;
}

static json_t *grid_json(const struct board *board)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < board->columns; c++) {
            int cell = board->cell[r][c];
            json_array_append_new(row, cell > 0 ? json_integer(cell)
                                                : json_string(cell == WALL ? "A" : "X"));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static enum status write_question(const struct board *puzzle, struct buffer *question)
{
    TRY(buffer_printf(
        question,
        "Build walls (A) in this %d x %d grid.\n"
        "- The cells without a wall form islands: cells that share an edge belong to the"
        " same one.\n"
        "- Every island holds exactly one number, and has as many cells as it says"
        " (the number's own cell counts).\n"
        "- No 2 x 2 block is all wall, and numbers are not walls.\n"
        "If several grids do that, any of them is right. X is a cell to decide.\n\n",
        puzzle->rows, puzzle->columns));
    TRY(board_print(puzzle, "X", question));
    return buffer_text(question,
                       "\nEnd with the finished grid as a list of rows in a code block: A for"
                       " a wall, X for another island cell, and the numbers, for"
                       " example:\n```python\n[[2, \"X\"], [\"A\", \"A\"]]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0], island[CELLS_MAX] = {0}, size[CELLS_MAX + 1] = {0};
    struct board solution = {.rows = side, .columns = side}, puzzle = solution;
    int islands = draw_islands(rng, &solution, settings->value[1], island, size);
    if (islands == 0)
        return STATUS_AGAIN;
    int order[CELLS_MAX], open = 0;
    draw_permutation(rng, order, side * side);
    for (int i = 0; i < side * side; i++) { /* the number stands on a random cell */
        int at = order[i], own = island[at];
        solution.cell[at / side][at % side] = own == 0 ? WALL : size[own];
        puzzle.cell[at / side][at % side] = own == 0 ? 0 : size[own];
        open += own == 0 || size[own] == 0;
        size[own] = 0;
    }
    TRY(write_question(&puzzle, &out->question));
    out->answer = grid_json(&solution);
    out->metadata = json_pack("{s:o, s:O, s:i}", "grid", grid_json(&puzzle), "solution",
                              out->answer, "n", side);
    /* the walls or not of the open cells, and ever longer shapes to try for each number */
    out->work = open * (1 + (double)open / islands);
    out->difficulty = logic_difficulty(out->work, 10, 600);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool read_grid(const json_t *grid, struct board *board, bool puzzle)
{
    for (int r = 0; r < board->rows; r++) {
        if (json_array_size(json_array_get(grid, (size_t)r)) != (size_t)board->columns)
            return false;
        for (int c = 0; c < board->columns; c++) {
            char scratch[24];
            const char *text = reading_cell(grid, (size_t)r, (size_t)c, scratch);
            int *cell = &board->cell[r][c];
            if (reading_cell_int(grid, (size_t)r, (size_t)c, cell)) {
                if (*cell < 1)
                    return false;
            } else if (strcmp(text, "A") == 0 || strcmp(text, "a") == 0) {
                *cell = WALL;
            } else if (puzzle || strcmp(text, "X") == 0 || strcmp(text, "x") == 0 ||
                       strcmp(text, ".") == 0) {
                *cell = FREE;
            } else {
                return false;
            }
        }
    }
    return true;
}

/* Floods the island of `at`: exactly one number, and as many cells. */
static bool island_fits(const struct board *board, int at, bool *seen)
{
    int stack[CELLS_MAX], depth = 0, cells = 0, number = 0;
    stack[depth++] = at;
    seen[at] = true;
    while (depth > 0) {
        int here = stack[--depth],
            value = board->cell[here / board->columns][here % board->columns];
        cells++;
        if (value > 0 && number != 0)
            return false;
        number = value > 0 ? value : number;
        for (int direction = 0; direction < 4; direction++) {
            int near = board_neighbour(board, here, direction);
            if (near < 0 || seen[near] ||
                board->cell[near / board->columns][near % board->columns] == WALL)
                continue;
            seen[near] = true;
            stack[depth++] = near;
        }
    }
    return number == cells;
}

static bool follows_rules(const struct board *board, const struct board *puzzle)
{
    bool seen[CELLS_MAX] = {false};
    for (int at = 0; at < board->rows * board->columns; at++) {
        int r = at / board->columns, c = at % board->columns, cell = board->cell[r][c];
        if ((puzzle->cell[r][c] > 0 || cell > 0) && cell != puzzle->cell[r][c])
            return false;
        if (r > 0 && c > 0 && cell == WALL && board->cell[r - 1][c] == WALL &&
            board->cell[r][c - 1] == WALL && board->cell[r - 1][c - 1] == WALL)
            return false;
        if (cell != WALL && !seen[at] && !island_fits(board, at, seen))
            return false;
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *grid = json_object_get(metadata, "grid");
    size_t rows = json_array_size(grid), columns = json_array_size(json_array_get(grid, 0));
    struct board puzzle = {.rows = (int)rows, .columns = (int)columns}, board = puzzle;
    if (rows < 1 || rows > SIDE_MAX || columns < 1 || columns > SIDE_MAX ||
        !read_grid(grid, &puzzle, true)) {
        logic_broken(out, "metadata: the grid of a number wall is missing or wrong");
        return;
    }
    json_t *read = reading_grid(response, rows, columns);
    bool found = read != NULL && read_grid(read, &board, false);
    json_decref(read);
    out->correct = found && follows_rules(&board, &puzzle);
    out->why = out->correct ? NULL
               : found      ? "an island or a wall breaks a rule"
                            : "no grid of the puzzle's size was found";
}

const struct logic_task logic_task_number_wall = {
    "number_wall", "islands of given sizes parted by walls", knobs, generate, verify};
