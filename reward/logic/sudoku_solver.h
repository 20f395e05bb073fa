/* reward/logic/sudoku_solver.h - grids in which each row, column and box holds every number once: fills, counts
 * solutions, checks. Pure, any thread. */
#ifndef REWARD_LOGIC_SUDOKU_SOLVER_H
#define REWARD_LOGIC_SUDOKU_SOLVER_H

#include <stdbool.h>

#include "core/rng.h"
#include "reward/logic/board.h"

/* side = box_rows * box_columns, at most 9. */
struct sudoku_shape {
    int box_rows, box_columns;
};

struct sudoku_search {
    struct board first; /* a solution, when solutions > 0 */
    int solutions;      /* up to the limit asked for */
    long nodes;         /* numbers tried */
    bool gave_up;       /* node_limit was reached: solutions is a lower bound */
};
/* Always the cell with the fewest candidates first; with an rng in random order of candidates. */
void sudoku_solve(struct sudoku_shape shape, const struct board *givens, int solution_limit,
                  long node_limit, struct rng *rng, struct sudoku_search *search);
/* NULL when `answer` is complete and keeps the rules and the givens (0 = empty); else what is wrong. */
const char *sudoku_fault(struct sudoku_shape shape, const struct board *givens,
                         const struct board *answer);
/* A puzzle with exactly one solution and `holes` empty cells; nodes is what its search took. False: this draw led
 * nowhere. */
bool sudoku_make(struct sudoku_shape shape, int holes, struct rng *rng, struct board *puzzle,
                 struct sudoku_search *search);

#endif
