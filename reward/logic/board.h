/* reward/logic/board.h - small square or oblong fields of whole numbers: out of metadata, out of a response, into a
 * question. Pure, any thread. */
#ifndef REWARD_LOGIC_BOARD_H
#define REWARD_LOGIC_BOARD_H

#include <jansson.h>
#include <stdbool.h>

#include "core/buffer.h"
#include "reward/answer/answer.h"

enum { BOARD_SIDE_MAX = 32 };

struct board {
    int rows, columns;
    int cell[BOARD_SIDE_MAX][BOARD_SIDE_MAX];
};

/* Lists of equal length, none longer than the maximum. A cell that is no whole number ("X", null) becomes 0. */
bool board_of_json(const json_t *rows, struct board *board);
json_t *board_json(const struct board *board); /* NULL: out of memory */
/* The last grid: what the short answer (reading_short) holds, also as a LaTeX matrix, else that of the whole response.
 * A list of lists, the caller's; NULL: none. */
json_t *board_grid(struct answer_span response, size_t rows, size_t columns);
/* The last grid of a response with that many rows and columns, all whole numbers. */
bool board_of_response(struct answer_span response, int rows, int columns, struct board *board);
/* The cell (row * columns + column) to the right of, below, left of or above (direction 0 to 3) a cell; -1: outside. */
int board_neighbour(const struct board *board, int at, int direction);
/* One line a row, cells separated by a space; 0 is written as `blank`. */
MUST_CHECK enum status board_print(const struct board *board, const char *blank,
                                   struct buffer *out);
/* What is inside of lists of one list or object: [[[1, 2]]] is [1, 2]. Borrowed. */
const json_t *board_unwrapped(const json_t *value);
/* Exactly `count` whole numbers in a list; null is 0. */
bool board_ints(const json_t *list, int count, int *values);
json_t *board_ints_json(const int *values, int count);
/* A whole number member inside [min, max]; also when written as a text. */
bool board_member(const json_t *object, const char *name, int min, int max, int *value);

#endif
