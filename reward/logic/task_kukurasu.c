/* Kukurasu: mark cells so that the column numbers of a row's marks, and the row numbers of a column's marks, add up to the given
 * sums. Several solutions may exist; the judge adds up. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { NODES_MAX = 50000 };

static const struct logic_knob knobs[] = {
    {"side", 3, 8, 5, "rows and columns"},
    {"ones", 100, 600, 450, "marked cells, permille"},
    {0},
};

struct sums {
    int row[BOARD_SIDE_MAX], column[BOARD_SIDE_MAX];
};

static void add_up(const struct board *board, struct sums *sums)
{
    memset(sums, 0, sizeof *sums);
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++)
            if (board->cell[r][c] != 0) {
                sums->row[r] += c + 1;
                sums->column[c] += r + 1;
            }
}

/* Cells tried until the first solution in reading order, marks last: the measure of difficulty. */
static bool search_on(struct sums *left, int side, int at, int *nodes)
{
    if (at == side * side) {
        for (int c = 0; c < side; c++)
            if (left->column[c] != 0)
                return false;
        return true;
    }
    if (++*nodes > NODES_MAX)
        return true;
    int r = at / side, c = at % side, after_row = side * (side + 1) / 2 - (c + 1) * (c + 2) / 2,
        after_column = side * (side + 1) / 2 - (r + 1) * (r + 2) / 2;
    for (int mark = 0; mark < 2; mark++) {
        int row = left->row[r] - mark * (c + 1), column = left->column[c] - mark * (r + 1);
        if (row < 0 || column < 0 || row > after_row || column > after_column)
            continue;
        left->row[r] = row;
        left->column[c] = column;
        bool found = search_on(left, side, at + 1, nodes);
        left->row[r] = row + mark * (c + 1);
        left->column[c] = column + mark * (r + 1);
        if (found)
            return true;
    }
    return false;
}

static json_t *grid_json(const struct board *board, bool marks)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < board->columns; c++)
            json_array_append_new(row, json_string(marks && board->cell[r][c] != 0 ? "1" : "X"));
        json_array_append_new(rows, row);
    }
    return rows;
}

static enum status write_question(const struct sums *sums, int side, struct buffer *question)
{
    TRY(buffer_printf(
        question,
        "Kukurasu: mark some cells of a %d x %d grid with 1 and leave X in the others. A"
        " mark in column j counts j for the sum of its row, a mark in row i counts i"
        " for the sum of its column (rows from the top, columns from the left, both"
        " from 1). All sums must be met; if several grids do that, any of them is"
        " right.\n\nSums of the rows:",
        side, side));
    for (int r = 0; r < side; r++)
        TRY(buffer_printf(question, " %d", sums->row[r]));
    TRY(buffer_text(question, "\nSums of the columns:"));
    for (int c = 0; c < side; c++)
        TRY(buffer_printf(question, " %d", sums->column[c]));
    return buffer_text(question, "\n\nEnd with the grid as a list of rows in a code block, for"
                                 " example:\n```python\n[[\"1\", \"X\"], [\"X\", \"1\"]]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0], nodes = 0;
    struct board board = {.rows = side, .columns = side};
    struct sums sums, left;
    for (int i = 0; i < side * side; i++)
        board.cell[i / side][i % side] = draw_permille(rng, settings->value[1]) ? 1 : 0;
    add_up(&board, &sums);
    left = sums;
    (void)search_on(&left, side, 0, &nodes);
    TRY(write_question(&sums, side, &out->question));
    out->answer = grid_json(&board, true);
    out->metadata =
        json_pack("{s:o, s:o, s:o, s:O, s:i, s:i}", "grid", grid_json(&board, false), "row_sums",
                  board_ints_json(sums.row, side), "col_sums", board_ints_json(sums.column, side),
                  "solution", out->answer, "n", side, "m", side);
    out->work = nodes;
    out->difficulty = logic_difficulty(out->work, 9, NODES_MAX);
    return STATUS_OK;
}

static bool read_mark(const char *text, int *mark)
{
    if (text[0] != '\0' && text[1] != '\0')
        return false;
    *mark = text[0] == '1';
    return *mark == 1 || strchr("Xx.0 -_", text[0]) != NULL;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *row_sums = json_object_get(metadata, "row_sums"),
                 *column_sums = json_object_get(metadata, "col_sums");
    size_t rows = json_array_size(row_sums), columns = json_array_size(column_sums);
    struct sums wanted = {0}, sums;
    if (rows < 1 || rows > BOARD_SIDE_MAX || columns < 1 || columns > BOARD_SIDE_MAX ||
        !board_ints(row_sums, (int)rows, wanted.row) ||
        !board_ints(column_sums, (int)columns, wanted.column)) {
        logic_broken(out, "metadata: row_sums or col_sums of a kukurasu are missing");
        return;
    }
    struct board board = {.rows = (int)rows, .columns = (int)columns};
    json_t *grid = reading_grid(response, rows, columns);
    bool found = grid != NULL;
    char scratch[24];
    for (int i = 0; found && i < board.rows * board.columns; i++) {
        int r = i / board.columns, c = i % board.columns;
        found = read_mark(reading_cell(grid, (size_t)r, (size_t)c, scratch), &board.cell[r][c]);
    }
    json_decref(grid);
    if (!found) {
        logic_wrong(out, "no grid of 1 and X of the puzzle's size was found");
        return;
    }
    add_up(&board, &sums);
    out->correct = memcmp(&sums, &wanted, sizeof sums) == 0;
    out->why = out->correct ? NULL : "a sum is not met";
}

const struct logic_task logic_task_kukurasu = {
    "kukurasu", "marks whose row and column numbers add up", knobs, generate, verify};
