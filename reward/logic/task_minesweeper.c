/* Minesweeper: which covered cells must be mines, whatever the rest holds. Decided exactly: a cell is one when no
 * placement of mines that agrees with the numbers leaves it free. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { COVERED = -1, SIDE_MAX = 16, CELLS_MAX = SIDE_MAX * SIDE_MAX, NODES_MAX = 200000 };

static const struct logic_knob knobs[] = {
    {"side", 4, 9, 6, "rows and columns"},
    {"mines", 100, 300, 200, "mines, permille of the cells"},
    {"revealed", 250, 700, 450, "cells without a mine that show their number, permille of them"},
    {0},
};

/* A number: the mines among its covered neighbours. */
struct count {
    int wanted, cells, cell[8];
};

struct field {
    int cells, counts, nodes;
    struct count count[CELLS_MAX];
    int counts_of[CELLS_MAX],
        count_of[CELLS_MAX][8];  /* the counts that a covered cell is part of */
    signed char mine[CELLS_MAX]; /* -1 open, 0 none, 1 mine */
    bool out_of_nodes;
};

static bool make_field(const struct board *board, struct field *field)
{
    memset(field, 0, sizeof *field);
    field->cells = board->rows * board->columns;
    memset(field->mine, -1, sizeof field->mine);
    for (int at = 0; at < field->cells; at++) {
        int r = at / board->columns, c = at % board->columns, number = board->cell[r][c];
        if (number == COVERED)
            continue;
        struct count *count = &field->count[field->counts];
        *count = (struct count){.wanted = number};
        for (int k = 0; k < 9; k++) {
            int near_r = r + k / 3 - 1, near_c = c + k % 3 - 1;
            if (k == 4 || near_r < 0 || near_c < 0 || near_r >= board->rows ||
                near_c >= board->columns || board->cell[near_r][near_c] != COVERED)
                continue;
            int near = near_r * board->columns + near_c;
            count->cell[count->cells++] = near;
            field->count_of[near][field->counts_of[near]++] = field->counts;
        }
        if (number < 0 || number > count->cells)
            return false;
        field->counts++;
    }
    return true;
}

struct trail {
    int size, cell[CELLS_MAX];
};

/* Sets cells that the counts around them leave no choice; false: a contradiction. */
static bool set_cell(struct field *field, int cell, int mine, struct trail *trail)
{
    int from = trail->size;
    field->mine[cell] = (signed char)mine;
    trail->cell[trail->size++] = cell;
    for (; from < trail->size; from++) {
        int at = trail->cell[from];
        for (int k = 0; k < field->counts_of[at]; k++) {
            const struct count *count = &field->count[field->count_of[at][k]];
            int mines = 0, open = 0;
            for (int i = 0; i < count->cells; i++) {
                mines += field->mine[count->cell[i]] == 1;
                open += field->mine[count->cell[i]] == -1;
            }
            int left = count->wanted - mines;
            if (left < 0 || left > open)
                return false;
            if (open == 0 || (left != 0 && left != open))
                continue;
            for (int i = 0; i < count->cells; i++)
                if (field->mine[count->cell[i]] == -1) {
                    field->mine[count->cell[i]] = left != 0;
                    trail->cell[trail->size++] = count->cell[i];
                }
        }
    }
    return true;
}

/* Whether the open cells beside numbers can be filled in. Out of nodes counts as yes, and is noted. */
static bool can_fill(struct field *field)
{
    int next = -1;
    for (int k = 0; next < 0 && k < field->counts; k++)
        for (int i = 0; next < 0 && i < field->count[k].cells; i++)
            if (field->mine[field->count[k].cell[i]] == -1)
                next = field->count[k].cell[i];
    if (next < 0)
        return true;
    if (++field->nodes > NODES_MAX) {
        field->out_of_nodes = true;
        return true;
    }
    for (int mine = 1; mine >= 0; mine--) {
        struct trail trail = {.size = 0};
        bool fine = set_cell(field, next, mine, &trail) && can_fill(field);
        for (int i = 0; i < trail.size; i++)
            field->mine[trail.cell[i]] = -1;
        if (fine)
            return true;
    }
    return false;
}

/* sure[cell]: must be a mine. False: the numbers contradict themselves, or it took too many nodes. */
static bool sure_mines(const struct board *board, bool sure[CELLS_MAX], int *nodes)
{
    struct field field;
    if (!make_field(board, &field) || !can_fill(&field))
        return false;
    memset(sure, 0, CELLS_MAX * sizeof *sure);
    for (int at = 0; at < field.cells; at++) {
        struct trail trail = {.size = 0};
        if (field.counts_of[at] == 0)
            continue;
        sure[at] = !set_cell(&field, at, 0, &trail) || !can_fill(&field);
        for (int i = 0; i < trail.size; i++)
            field.mine[trail.cell[i]] = -1;
        field.nodes++;
    }
    *nodes = field.nodes;
    return !field.out_of_nodes;
}

/* ---- generating ---- */

static void draw_board(struct rng *rng, const struct logic_settings *settings, struct board *board)
{
    int side = settings->value[0], order[CELLS_MAX];
    int mines = side * side * settings->value[1] / 1000;
    bool mine[CELLS_MAX] = {false};
    draw_permutation(rng, order, side * side);
    for (int i = 0; i < mines; i++)
        mine[order[i]] = true;
    *board = (struct board){.rows = side, .columns = side};
    for (int at = 0; at < side * side; at++) {
        int r = at / side, c = at % side, count = 0;
        for (int k = 0; k < 9; k++) {
            int near_r = r + k / 3 - 1, near_c = c + k % 3 - 1;
            if (near_r >= 0 && near_c >= 0 && near_r < side && near_c < side)
                count += mine[near_r * side + near_c];
        }
        bool shown = !mine[at] && draw_permille(rng, settings->value[2]);
        board->cell[r][c] = shown ? count : COVERED;
    }
}

static json_t *grid_json(const struct board *board)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < board->columns; c++) {
            char text[2] = {board->cell[r][c] == COVERED ? 'X' : (char)('0' + board->cell[r][c]),
                            '\0'};
            json_array_append_new(row, json_string(text));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static enum status write_question(const struct board *board, struct buffer *question)
{
    TRY(buffer_printf(
        question,
        "This is a Minesweeper field of %d x %d cells. A number says how many of the up"
        " to eight cells around it hold a mine; X is a covered cell. How many mines"
        " there are in all is not known.\n\n",
        board->rows, board->columns));
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++)
            TRY(buffer_printf(question, "%c%s",
                              board->cell[r][c] == COVERED ? 'X' : '0' + board->cell[r][c],
                              c + 1 == board->columns ? "\n" : " "));
    return buffer_text(question,
                       "\nWhich covered cells must hold a mine, that is, hold one in every"
                       " placement of mines that agrees with the numbers? End with the list"
                       " of all of them as (row, column), both counted from 0, for"
                       " example [(0, 1), (2, 3)].");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct board board;
    bool sure[CELLS_MAX];
    int nodes, found = 0;
    draw_board(rng, settings, &board);
    if (!sure_mines(&board, sure, &nodes))
        return STATUS_AGAIN;
    json_t *mines = json_array();
    for (int at = 0; at < board.rows * board.columns; at++)
        if (sure[at]) {
            json_array_append_new(mines,
                                  json_pack("[i, i]", at / board.columns, at % board.columns));
            found++;
        }
    out->answer = mines;
    out->metadata = json_pack("{s:o, s:O, s:i}", "revealed_grid", grid_json(&board),
                              "current_mines", mines, "n", board.rows);
    if (found == 0)
        return STATUS_AGAIN;
    TRY(write_question(&board, &out->question));
    out->work = nodes;
    out->difficulty = logic_difficulty(out->work, 5, 200);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool read_board(const json_t *grid, struct board *board)
{
    size_t rows = json_array_size(grid), columns = json_array_size(json_array_get(grid, 0));
    *board = (struct board){.rows = (int)rows, .columns = (int)columns};
    if (rows < 1 || rows > SIDE_MAX || columns < 1 || columns > SIDE_MAX)
        return false;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            const json_t *cell = json_array_get(json_array_get(grid, r), c);
            if (!literal_int(cell, &board->cell[r][c]))
                board->cell[r][c] = COVERED;
            else if (board->cell[r][c] < 0 || board->cell[r][c] > 8)
                return false;
        }
    return true;
}

/* The pairs as marks on the board; false: one lies outside. */
static bool mark_pairs(const json_t *pairs, const struct board *board, bool marks[CELLS_MAX])
{
    memset(marks, 0, CELLS_MAX * sizeof *marks);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        int at[2];
        if (!board_ints(json_array_get(pairs, i), 2, at) || at[0] < 0 || at[1] < 0 ||
            at[0] >= board->rows || at[1] >= board->columns)
            return false;
        marks[at[0] * board->columns + at[1]] = true;
    }
    return true;
}

/* SynLogic stores what one rule of thumb finds, which is not all in 7 of 36 rows; an answer that is exactly this
 * list is taken too, when each of its cells must be a mine. */
static bool is_stored(const json_t *stored, const struct board *board, const bool marks[CELLS_MAX],
                      const bool wanted[CELLS_MAX])
{
    bool kept[CELLS_MAX];
    if (json_array_size(stored) == 0 || !mark_pairs(stored, board, kept))
        return false;
    for (int at = 0; at < CELLS_MAX; at++)
        if (kept[at] != marks[at] || (kept[at] && !wanted[at]))
            return false;
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct board board;
    bool marks[CELLS_MAX], wanted[CELLS_MAX];
    int nodes;
    const json_t *stored = json_object_get(metadata, "current_mines");
    if (!read_board(json_object_get(metadata, "revealed_grid"), &board)) {
        logic_broken(out, "metadata: the revealed_grid of a minesweeper is missing or wrong");
        return;
    }
    bool decided = sure_mines(&board, wanted, &nodes);
    if (!decided && (stored == NULL || !mark_pairs(stored, &board, wanted))) {
        logic_broken(out, "metadata: the numbers of the field contradict themselves");
        return;
    }
    json_t *pairs = reading_pairs(response);
    bool found = pairs != NULL && mark_pairs(pairs, &board, marks);
    json_decref(pairs);
    out->correct = found && (memcmp(marks, wanted, sizeof marks) == 0 ||
                             is_stored(stored, &board, marks, wanted));
    out->why = out->correct ? NULL
               : found      ? "not the cells that must hold a mine"
                            : "no list of cells was found";
}

const struct logic_task logic_task_minesweeper = {"minesweeper", "the cells that must hold a mine",
                                                  knobs, generate, verify};
