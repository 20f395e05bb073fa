#include "reward/logic/sudoku_solver.h"

#include "reward/logic/draw.h"

enum { SIDE_MAX = 9, MAKE_NODES_MAX = 20000 };

struct solver {
    struct sudoku_shape shape;
    int side, solution_limit;
    long node_limit;
    struct rng *rng;
    unsigned row[SIDE_MAX], column[SIDE_MAX], box[SIDE_MAX]; /* bit v: number v + 1 is taken */
    struct board board;
    struct sudoku_search *search;
};

static int box_of(struct sudoku_shape shape, int r, int c)
{
    return r / shape.box_rows * shape.box_rows + c / shape.box_columns;
}

static void flip(struct solver *solver, int r, int c, int value)
{
    unsigned bit = 1u << (value - 1);
    solver->row[r] ^= bit;
    solver->column[c] ^= bit;
    solver->box[box_of(solver->shape, r, c)] ^= bit;
}

static unsigned candidates(const struct solver *solver, int r, int c)
{
    unsigned all = (1u << solver->side) - 1;
    return all & ~(solver->row[r] | solver->column[c] | solver->box[box_of(solver->shape, r, c)]);
}

/* The empty cell with the fewest candidates; false when none is empty. */
static bool tightest(const struct solver *solver, int *row, int *column)
{
    int best = SIDE_MAX + 1;
    for (int r = 0; r < solver->side && best > 1; r++)
        for (int c = 0; c < solver->side && best > 1; c++) {
            if (solver->board.cell[r][c] != 0)
                continue;
            int count = __builtin_popcount(candidates(solver, r, c));
            if (count < best) {
                best = count;
                *row = r;
                *column = c;
            }
        }
    return best <= SIDE_MAX;
}

/* False: stop looking. Recursion is as deep as there are empty cells. */
static bool search_from(struct solver *solver)
{
    int r = 0, c = 0;
    if (!tightest(solver, &r, &c)) {
        if (solver->search->solutions++ == 0)
            solver->search->first = solver->board;
        return solver->search->solutions < solver->solution_limit;
    }
    int order[SIDE_MAX];
    for (int i = 0; i < solver->side; i++)
        order[i] = i + 1;
    if (solver->rng != NULL)
        draw_shuffle(solver->rng, order, solver->side);
    unsigned open = candidates(solver, r, c);
    bool goes_on = true;
    for (int i = 0; i < solver->side && goes_on; i++) {
        if (!(open & (1u << (order[i] - 1))))
            continue;
        if (++solver->search->nodes >= solver->node_limit) {
            solver->search->gave_up = true;
            return false;
        }
        solver->board.cell[r][c] = order[i];
        flip(solver, r, c, order[i]);
        goes_on = search_from(solver);
        flip(solver, r, c, order[i]);
        solver->board.cell[r][c] = 0;
    }
    return goes_on;
}

void sudoku_solve(struct sudoku_shape shape, const struct board *givens, int solution_limit,
                  long node_limit, struct rng *rng, struct sudoku_search *search)
{
    struct solver solver = {.shape = shape,
                            .side = shape.box_rows * shape.box_columns,
                            .solution_limit = solution_limit,
                            .node_limit = node_limit,
                            .rng = rng,
                            .board = *givens,
                            .search = search};
    *search = (struct sudoku_search){0};
    for (int r = 0; r < solver.side; r++)
        for (int c = 0; c < solver.side; c++) {
            int value = givens->cell[r][c];
            if (value == 0)
                continue;
            if (!(candidates(&solver, r, c) & (1u << (value - 1))))
                return; /* two givens clash */
            flip(&solver, r, c, value);
        }
    (void)search_from(&solver);
}

const char *sudoku_fault(struct sudoku_shape shape, const struct board *givens,
                         const struct board *answer)
{
    int side = shape.box_rows * shape.box_columns;
    unsigned row[SIDE_MAX] = {0}, column[SIDE_MAX] = {0}, box[SIDE_MAX] = {0};
    if (answer->rows != side || answer->columns != side)
        return "the grid has the wrong size";
    for (int r = 0; r < side; r++)
        for (int c = 0; c < side; c++) {
            int value = answer->cell[r][c];
            if (value < 1 || value > side)
                return "a cell holds no number of the puzzle";
            if (givens->cell[r][c] != 0 && givens->cell[r][c] != value)
                return "a given number was changed";
            row[r] |= 1u << value;
            column[c] |= 1u << value;
            box[box_of(shape, r, c)] |= 1u << value;
        }
    unsigned all = (1u << (side + 1)) - 2;
    for (int i = 0; i < side; i++)
        if (row[i] != all || column[i] != all || box[i] != all)
            return "a row, column or box lacks a number";
    return NULL;
}

bool sudoku_make(struct sudoku_shape shape, int holes, struct rng *rng, struct board *puzzle,
                 struct sudoku_search *search)
{
    int side = shape.box_rows * shape.box_columns;
    *puzzle = (struct board){.rows = side, .columns = side};
    sudoku_solve(shape, puzzle, 1, MAKE_NODES_MAX, rng, search);
    if (search->solutions == 0)
        return false;
    *puzzle = search->first;
    int order[SIDE_MAX * SIDE_MAX];
    draw_permutation(rng, order, side * side);
    for (int i = 0, dug = 0; i < side * side && dug < holes; i++) {
        int *cell = &puzzle->cell[order[i] / side][order[i] % side], kept = *cell;
        *cell = 0;
        sudoku_solve(shape, puzzle, 2, MAKE_NODES_MAX, NULL, search);
        if (search->solutions == 1 && !search->gave_up)
            dug++;
        else
            *cell = kept;
        if (side * side - i - 1 < holes - dug)
            return false; /* too few cells left to reach it */
    }
    sudoku_solve(shape, puzzle, 2, MAKE_NODES_MAX, NULL, search);
    return search->solutions == 1 && !search->gave_up;
}
