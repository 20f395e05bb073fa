#include "reward/logic/latin.h"

#include "reward/logic/draw.h"

void latin_random(struct rng *rng, int side, struct board *board)
{
    int rows[LATIN_SIDE_MAX], columns[LATIN_SIDE_MAX], numbers[LATIN_SIDE_MAX];
    draw_permutation(rng, rows, side);
    draw_permutation(rng, columns, side);
    draw_permutation(rng, numbers, side);
    board->rows = board->columns = side;
    for (int r = 0; r < side; r++)
        for (int c = 0; c < side; c++)
            board->cell[r][c] = numbers[(rows[r] + columns[c]) % side] + 1;
}

bool latin_is_square(const struct board *board)
{
    int side = board->rows;
    if (board->columns != side)
        return false;
    for (int i = 0; i < side; i++) {
        unsigned row = 0, column = 0;
        for (int j = 0; j < side; j++) {
            if (board->cell[i][j] < 1 || board->cell[i][j] > side || board->cell[j][i] < 1 ||
                board->cell[j][i] > side)
                return false;
            row |= 1u << board->cell[i][j];
            column |= 1u << board->cell[j][i];
        }
        if (row != (2u << side) - 2 || column != (2u << side) - 2)
            return false;
    }
    return true;
}

/* The numbers that may stand in an empty cell, as bits. */
static unsigned candidates(struct board *board, const struct latin_search *search, int row,
                           int column)
{
    unsigned used = 0, left = 0;
    for (int i = 0; i < board->rows; i++)
        used |= 1u << board->cell[row][i] | 1u << board->cell[i][column];
    for (int number = 1; number <= board->rows; number++) {
        if ((used >> number & 1) != 0)
            continue;
        board->cell[row][column] = number;
        if (search->rule(search->rules, board, row, column))
            left |= 1u << number;
    }
    board->cell[row][column] = 0;
    return left;
}

/* Fills the emptiest-handed cell first. False: stop the search. */
static bool search_on(struct board *board, struct latin_search *search)
{
    int best_row = -1, best_column = 0, fewest = LATIN_SIDE_MAX + 1;
    unsigned best = 0;
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++) {
            if (board->cell[r][c] != 0)
                continue;
            unsigned left = candidates(board, search, r, c);
            int count = __builtin_popcount(left);
            if (count < fewest) {
                fewest = count;
                best = left;
                best_row = r;
                best_column = c;
            }
        }
    if (best_row < 0) {
        search->found[search->solutions++] = *board;
        return search->solutions < search->wanted;
    }
    for (int number = 1; number <= board->rows; number++) {
        if ((best >> number & 1) == 0)
            continue;
        if (++search->nodes > search->node_limit) {
            search->complete = false;
            return false;
        }
        board->cell[best_row][best_column] = number;
        bool go_on = search_on(board, search);
        board->cell[best_row][best_column] = 0;
        if (!go_on)
            return false;
    }
    return true;
}

void latin_solve(const struct board *start, latin_rule rule, const void *rules, int wanted,
                 int node_limit, struct latin_search *search)
{
    struct board board = *start;
    search->solutions = search->nodes = 0;
    search->complete = true;
    search->wanted = wanted;
    search->node_limit = node_limit;
    search->rule = rule;
    search->rules = rules;
    (void)search_on(&board, search);
}

void latin_difference(const struct latin_search *search, struct rng *rng, int *row, int *column)
{
    int side = search->found[0].rows;
    do {
        *row = (int)rng_below(rng, (uint32_t)side);
        *column = (int)rng_below(rng, (uint32_t)side);
    } while (search->found[0].cell[*row][*column] == search->found[1].cell[*row][*column]);
}
