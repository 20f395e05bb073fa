/* Campsite (tents and trees): as many tents as trees, each tent beside its own tree, tents never touch, counts of rows and
 * columns given. The judge looks for a matching of tents and trees, so any placement that meets the rules counts;
 * generated puzzles have one solution. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/board.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { EMPTY = 0, TREE = 1, TENT = 2, NODES_MAX = 20000, SIDE_MAX = BOARD_SIDE_MAX };

static const struct logic_knob knobs[] = {
    {"side", 4, 8, 6, "rows and columns"},
    {"trees", 80, 200, 150, "trees, permille of the cells"},
    {0},
};

struct camp {
    struct board board;
    int row_count[SIDE_MAX], column_count[SIDE_MAX];
};

static int cell_at(const struct board *board, int row, int column)
{
    return row < 0 || column < 0 || row >= board->rows || column >= board->columns
               ? EMPTY
               : board->cell[row][column];
}

static bool touches_tent(const struct board *board, int row, int column)
{
    for (int dr = -1; dr <= 1; dr++)
        for (int dc = -1; dc <= 1; dc++)
            if ((dr != 0 || dc != 0) && cell_at(board, row + dr, column + dc) == TENT)
                return true;
    return false;
}

/* ---- tents and trees, one to one ---- */

struct matching {
    const struct board *board;
    int tent_of[SIDE_MAX][SIDE_MAX]; /* of a tree: its tent's index + 1 */
    int seen[SIDE_MAX][SIDE_MAX];    /* the round in which a tree was last tried */
    int round;
};

/* A tree for the tent, moving other tents on when needed (Kuhn 1955). */
static bool find_tree(struct matching *matching, int tent, int depth)
{
    int columns = matching->board->columns, row = tent / columns, column = tent % columns;
    for (int direction = 0; direction < 4; direction++) {
        int r = row + (direction == 0) - (direction == 1),
            c = column + (direction == 2) - (direction == 3);
        if (cell_at(matching->board, r, c) != TREE || matching->seen[r][c] == matching->round)
            continue;
        matching->seen[r][c] = matching->round;
        if (matching->tent_of[r][c] == 0 ||
            (depth < SIDE_MAX * SIDE_MAX &&
             find_tree(matching, matching->tent_of[r][c] - 1, depth + 1))) {
            matching->tent_of[r][c] = tent + 1;
            return true;
        }
    }
    return false;
}

static bool tents_match_trees(const struct board *board)
{
    struct matching matching = {.board = board};
    int tents = 0, trees = 0;
    for (int i = 0; i < board->rows * board->columns; i++) {
        int cell = board->cell[i / board->columns][i % board->columns];
        trees += cell == TREE;
        tents += cell == TENT;
        matching.round = i + 1;
        if (cell == TENT && !find_tree(&matching, i, 0))
            return false;
    }
    return tents == trees;
}

/* ---- generating ---- */

struct search {
    struct camp camp; /* its counts: tents still to place */
    int solutions, nodes;
    bool complete;
};

static bool beside_tree(const struct board *board, int row, int column)
{
    return cell_at(board, row - 1, column) == TREE || cell_at(board, row + 1, column) == TREE ||
           cell_at(board, row, column - 1) == TREE || cell_at(board, row, column + 1) == TREE;
}

/* Decides the cells in reading order. False: stop. */
static bool search_on(struct search *search, int at)
{
    struct board *board = &search->camp.board;
    if (at == board->rows * board->columns) {
        for (int c = 0; c < board->columns; c++)
            if (search->camp.column_count[c] != 0)
                return true;
        search->solutions += tents_match_trees(board) ? 1 : 0;
        return search->solutions < 2;
    }
    if (++search->nodes > NODES_MAX) {
        search->complete = false;
        return false;
    }
    int r = at / board->columns, c = at % board->columns;
    bool row_ends = c + 1 == board->columns;
    int *row_left = &search->camp.row_count[r], *column_left = &search->camp.column_count[c];
    if (board->cell[r][c] == EMPTY && *row_left > 0 && *column_left > 0 &&
        beside_tree(board, r, c) && !touches_tent(board, r, c) && (!row_ends || *row_left == 1)) {
        board->cell[r][c] = TENT;
        --*row_left;
        --*column_left;
        bool go_on = search_on(search, at + 1);
        ++*row_left;
        ++*column_left;
        board->cell[r][c] = EMPTY;
        if (!go_on)
            return false;
    }
    int cells_left = board->columns - c - 1, rows_left = board->rows - r - 1;
    if (*row_left > (cells_left + 1) / 2 || *column_left > (rows_left + 1) / 2)
        return true;
    return search_on(search, at + 1);
}

/* Tents that do not touch, each with a tree of its own beside it. */
static void draw_camp(struct rng *rng, int side, int wanted, struct camp *camp)
{
    int order[SIDE_MAX * SIDE_MAX], placed = 0;
    *camp = (struct camp){.board = {.rows = side, .columns = side}};
    struct board *board = &camp->board;
    draw_permutation(rng, order, side * side);
    for (int i = 0; i < side * side && placed < wanted; i++) {
        int r = order[i] / side, c = order[i] % side, turn = (int)rng_below(rng, 4);
        if (board->cell[r][c] != EMPTY || touches_tent(board, r, c))
            continue;
        for (int k = 0; k < 4; k++) {
            int direction = (k + turn) % 4;
            int tree_r = r + (direction == 0) - (direction == 1),
                tree_c = c + (direction == 2) - (direction == 3);
            if (tree_r < 0 || tree_c < 0 || tree_r >= side || tree_c >= side ||
                board->cell[tree_r][tree_c] != EMPTY)
                continue;
            board->cell[tree_r][tree_c] = TREE;
            board->cell[r][c] = TENT;
            camp->row_count[r]++;
            camp->column_count[c]++;
            placed++;
            break;
        }
    }
}

static json_t *grid_json(const struct board *board, bool tents)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < board->columns; c++) {
            int cell = board->cell[r][c];
            json_array_append_new(row, json_string(cell == TREE            ? "T"
                                                   : cell == TENT && tents ? "C"
                                                                           : "X"));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static enum status write_question(const struct camp *camp, struct buffer *question)
{
    const struct board *board = &camp->board;
    TRY(buffer_printf(
        question,
        "Pitch tents (C) on this %d x %d campsite; T is a tree, X a free cell.\n"
        "- Every tent belongs to a tree of its own that stands directly above, below, left or"
        " right of it, and every tree has one tent (a tent may also be beside further"
        " trees).\n"
        "- No two tents touch, not even at a corner.\n"
        "- Every row and column holds the number of tents given for it.\n"
        "There is exactly one solution.\n\n",
        board->rows, board->columns));
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++)
            TRY(buffer_printf(question, "%s%s", board->cell[r][c] == TREE ? "T" : "X",
                              c + 1 == board->columns ? "\n" : " "));
    TRY(buffer_text(question, "\nTents in the rows, from the top:"));
    for (int r = 0; r < board->rows; r++)
        TRY(buffer_printf(question, " %d", camp->row_count[r]));
    TRY(buffer_text(question, "\nTents in the columns, from the left:"));
    for (int c = 0; c < board->columns; c++)
        TRY(buffer_printf(question, " %d", camp->column_count[c]));
    return buffer_text(question, "\n\nEnd with the finished campsite as a list of rows in a code"
                                 " block, for example:\n```python\n[[\"T\", \"C\"], [\"X\","
                                 " \"X\"]]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0], wanted = side * side * settings->value[1] / 1000;
    struct camp camp;
    struct search search = {.complete = true};
    draw_camp(rng, side, wanted > 0 ? wanted : 1, &camp);
    search.camp = camp;
    for (int i = 0; i < side * side; i++)
        if (search.camp.board.cell[i / side][i % side] == TENT)
            search.camp.board.cell[i / side][i % side] = EMPTY;
    (void)search_on(&search, 0);
    if (!search.complete || search.solutions != 1)
        return STATUS_AGAIN;
    TRY(write_question(&camp, &out->question));
    out->answer = grid_json(&camp.board, true);
    out->metadata = json_pack(
        "{s:o, s:o, s:o, s:i, s:i, s:O}", "grid", grid_json(&camp.board, false), "row_constraints",
        board_ints_json(camp.row_count, side), "col_constraints",
        board_ints_json(camp.column_count, side), "n", side, "m", side, "solution", out->answer);
    out->work = search.nodes;
    out->difficulty = logic_difficulty(out->work, 16, 5000);
    return STATUS_OK;
}

/* ---- judging ---- */

/* T, C or an empty cell; false for anything else. */
static bool read_cell(const char *text, int *cell)
{
    if (text[0] != '\0' && text[1] != '\0')
        return false;
    switch (text[0]) {
    case 'T':
    case 't':
        *cell = TREE;
        return true;
    case 'C':
    case 'c':
        *cell = TENT;
        return true;
    default:
        *cell = EMPTY;
        return strchr("Xx.0 -_", text[0]) != NULL;
    }
}

static bool read_board(const json_t *grid, struct board *board)
{
    char scratch[24];
    for (int r = 0; r < board->rows; r++) {
        if (json_array_size(json_array_get(grid, (size_t)r)) != (size_t)board->columns)
            return false;
        for (int c = 0; c < board->columns; c++)
            if (!read_cell(reading_cell(grid, (size_t)r, (size_t)c, scratch), &board->cell[r][c]))
                return false;
    }
    return true;
}

static bool follows_rules(const struct camp *camp, const struct board *given)
{
    const struct board *board = &camp->board;
    int rows[SIDE_MAX] = {0}, columns[SIDE_MAX] = {0};
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++) {
            int cell = board->cell[r][c];
            if ((cell == TREE) != (given->cell[r][c] == TREE) ||
                (cell == TENT && touches_tent(board, r, c)))
                return false;
            rows[r] += cell == TENT;
            columns[c] += cell == TENT;
        }
    return memcmp(rows, camp->row_count, sizeof rows) == 0 &&
           memcmp(columns, camp->column_count, sizeof columns) == 0 && tents_match_trees(board);
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    const json_t *grid = json_object_get(metadata, "grid");
    size_t rows = json_array_size(grid), columns = json_array_size(json_array_get(grid, 0));
    struct board given = {.rows = (int)rows, .columns = (int)columns};
    struct camp camp = {.board = given};
    if (rows < 1 || rows > SIDE_MAX || columns < 1 || columns > SIDE_MAX ||
        !read_board(grid, &given) ||
        !board_ints(json_object_get(metadata, "row_constraints"), given.rows, camp.row_count) ||
        !board_ints(json_object_get(metadata, "col_constraints"), given.columns,
                    camp.column_count)) {
        logic_broken(out, "metadata: grid, row_constraints or col_constraints of a campsite are "
                          "missing or wrong");
        return;
    }
    json_t *read = reading_grid(response, rows, columns);
    if (read == NULL || !read_board(read, &camp.board))
        logic_wrong(out, "no campsite of the puzzle's size was found");
    else if (!follows_rules(&camp, &given))
        logic_wrong(out, "the tents break a rule");
    else
        out->correct = true;
    json_decref(read);
}

const struct logic_task logic_task_campsite = {"campsite", "tents beside trees", knobs, generate,
                                               verify};
