#include "reward/logic/board.h"

#include <string.h>

#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

bool board_of_json(const json_t *rows, struct board *board)
{
    size_t height = json_array_size(rows), width = json_array_size(json_array_get(rows, 0));
    if (height == 0 || width == 0 || height > BOARD_SIDE_MAX || width > BOARD_SIDE_MAX)
        return false;
    board->rows = (int)height;
    board->columns = (int)width;
    for (size_t r = 0; r < height; r++) {
        const json_t *row = json_array_get(rows, r);
        if (json_array_size(row) != width)
            return false;
        for (size_t c = 0; c < width; c++)
            if (!literal_int(json_array_get(row, c), &board->cell[r][c]))
                board->cell[r][c] = 0;
    }
    return true;
}

json_t *board_json(const struct board *board)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++)
        json_array_append_new(rows, board_ints_json(board->cell[r], board->columns));
    return rows;
}

static bool read_cells(const json_t *grid, int rows, int columns, struct board *board)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            if (!reading_cell_int(grid, (size_t)r, (size_t)c, &board->cell[r][c]))
                return false;
    return true;
}

/* Appends the text with the rows of a LaTeX matrix as lines: \\\\ is a line's end, \\begin{..} and \\end{..} nothing. */
static enum status append_lines(struct answer_span text, struct buffer *lines)
{
    for (size_t at = 0; at < text.size;) {
        size_t left = text.size - at;
        const char *here = text.at + at;
        if (left >= 2 && memcmp(here, "\\\\", 2) == 0) {
            TRY(buffer_append(lines, "\n", 1));
            at += 2;
        } else if (left >= 5 &&
                   (memcmp(here, "\\end{", 5) == 0 || memcmp(here, "\\begin", 5) == 0)) {
            const char *close = memchr(here, '}', left);
            at = close != NULL ? (size_t)(close + 1 - text.at) : text.size;
        } else {
            TRY(buffer_append(lines, here, 1));
            at++;
        }
    }
    return STATUS_OK;
}

/* The grid inside of the short answer. */
static json_t *grid_in_short(struct answer_span response, size_t rows, size_t columns)
{
    json_t *grid = NULL;
    struct buffer lines;
    buffer_init(&lines, 0);
    if (append_lines(reading_short(response), &lines) == STATUS_OK)
        grid = reading_grid((struct answer_span){buffer_string(&lines), lines.size}, rows, columns);
    buffer_free(&lines);
    return grid;
}

json_t *board_grid(struct answer_span response, size_t rows, size_t columns)
{
    json_t *grid = grid_in_short(response, rows, columns);
    if (grid != NULL)
        return grid;
    json_t *other = literal_last(reading_short(response), 2, LITERAL_WORDS);
    json_decref(other); /* a final answer of another shape: what came before is none */
    return other != NULL ? NULL : reading_grid(response, rows, columns);
}

bool board_of_response(struct answer_span response, int rows, int columns, struct board *board)
{
    board->rows = rows;
    board->columns = columns;
    json_t *grid = board_grid(response, (size_t)rows, (size_t)columns);
    bool found = grid != NULL && read_cells(grid, rows, columns, board);
    json_decref(grid);
    return found;
}

enum status board_print(const struct board *board, const char *blank, struct buffer *out)
{
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++) {
            const char *after = c + 1 == board->columns ? "\n" : " ";
            if (board->cell[r][c] == 0)
                TRY(buffer_printf(out, "%s%s", blank, after));
            else
                TRY(buffer_printf(out, "%d%s", board->cell[r][c], after));
        }
    return STATUS_OK;
}

const json_t *board_unwrapped(const json_t *value)
{
    while (json_array_size(value) == 1 &&
           (json_is_array(json_array_get(value, 0)) || json_is_object(json_array_get(value, 0))))
        value = json_array_get(value, 0);
    return value;
}

bool board_ints(const json_t *list, int count, int *values)
{
    if (!json_is_array(list) || json_array_size(list) != (size_t)count)
        return false;
    for (int i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (json_is_null(value))
            values[i] = 0;
        else if (!literal_int(value, &values[i]))
            return false;
    }
    return true;
}

json_t *board_ints_json(const int *values, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_integer(values[i]));
    return list;
}

bool board_member(const json_t *object, const char *name, int min, int max, int *value)
{
    return literal_int(json_object_get(object, name), value) && *value >= min && *value <= max;
}

int board_neighbour(const struct board *board, int at, int direction)
{
    static const int step_row[4] = {0, 1, 0, -1}, step_column[4] = {1, 0, -1, 0};
    int r = at / board->columns + step_row[direction],
        c = at % board->columns + step_column[direction];
    return r < 0 || c < 0 || r >= board->rows || c >= board->columns ? -1 : r * board->columns + c;
}
