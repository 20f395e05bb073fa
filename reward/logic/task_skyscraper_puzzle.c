/* Skyscrapers: a Latin square of heights; a clue at the edge counts the buildings seen from there (a higher one
 * hides the lower ones behind it). Clues come from a random square, so a solution exists; the judge checks rows,
 * columns and clues, so each solution counts. */
#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"

enum { SIDE_MAX = 9, NODES_MAX = 200000 };

static const struct logic_knob knobs[] = {
    {"n", 3, 7, 4, "side of the grid"},
    {"hidden", 0, 700, 0, "share of the clues that are not shown, permille"},
    {0},
};

struct clues {
    int n, top[SIDE_MAX], bottom[SIDE_MAX], left[SIDE_MAX], right[SIDE_MAX]; /* 0: no clue */
};

static int seen(const int *height, int n, int from, int step)
{
    int count = 0, highest = 0;
    for (int i = 0; i < n; i++)
        if (height[from + i * step] > highest) {
            highest = height[from + i * step];
            count++;
        }
    return count;
}

static bool line_fits(const int *height, int n, int front, int back)
{
    return (front == 0 || seen(height, n, 0, 1) == front) &&
           (back == 0 || seen(height, n, n - 1, -1) == back);
}

struct search {
    const struct clues *clues; /* NULL: any square will do */
    struct rng *rng;           /* NULL: in order */
    int n, solutions, solution_limit;
    long nodes;
    unsigned row[SIDE_MAX], column[SIDE_MAX];
    int cell[SIDE_MAX][SIDE_MAX];
};

/* The first `count` of n heights: complete lines fit both clues, others show no more buildings than the front one. */
static bool start_fits(const int *height, int count, int n, int front, int back)
{
    if (count == n)
        return line_fits(height, n, front, back);
    return front == 0 || seen(height, count, 0, 1) <= front;
}

static bool cell_fits(const struct search *search, int r, int c)
{
    int column[SIDE_MAX];
    const struct clues *clues = search->clues;
    if (clues == NULL)
        return true;
    for (int i = 0; i <= r; i++)
        column[i] = search->cell[i][c];
    return start_fits(search->cell[r], c + 1, search->n, clues->left[r], clues->right[r]) &&
           start_fits(column, r + 1, search->n, clues->top[c], clues->bottom[c]);
}

/* Row by row; false: stop. The first solution stays in cell. */
static bool fill(struct search *search, int at)
{
    if (at == search->n * search->n)
        return ++search->solutions < search->solution_limit;
    int r = at / search->n, c = at % search->n, order[SIDE_MAX];
    for (int i = 0; i < search->n; i++)
        order[i] = i;
    if (search->rng != NULL)
        draw_shuffle(search->rng, order, search->n);
    for (int i = 0; i < search->n; i++) {
        int value = order[i] + 1;
        unsigned bit = 1u << value;
        if ((search->row[r] | search->column[c]) & bit)
            continue;
        if (++search->nodes > NODES_MAX)
            return false;
        search->cell[r][c] = value;
        if (!cell_fits(search, r, c))
            continue;
        search->row[r] |= bit;
        search->column[c] |= bit;
        if (!fill(search, at + 1))
            return false;
        search->row[r] &= ~bit;
        search->column[c] &= ~bit;
    }
    return true;
}

static void clues_of(const struct search *square, struct clues *clues)
{
    clues->n = square->n;
    for (int i = 0; i < square->n; i++) {
        int column[SIDE_MAX];
        for (int r = 0; r < square->n; r++)
            column[r] = square->cell[r][i];
        clues->top[i] = seen(column, square->n, 0, 1);
        clues->bottom[i] = seen(column, square->n, square->n - 1, -1);
        clues->left[i] = seen(square->cell[i], square->n, 0, 1);
        clues->right[i] = seen(square->cell[i], square->n, square->n - 1, -1);
    }
}

static void hide(struct clues *clues, int permille, struct rng *rng)
{
    int *sides[4] = {clues->top, clues->bottom, clues->left, clues->right};
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < clues->n; i++)
            if (draw_permille(rng, permille))
                sides[s][i] = 0;
}

static enum status write_clue(struct buffer *out, int clue, const char *after)
{
    return clue == 0 ? buffer_printf(out, "-%s", after) : buffer_printf(out, "%d%s", clue, after);
}

static enum status write_question(const struct clues *clues, struct buffer *out)
{
    int n = clues->n;
    TRY(buffer_printf(
        out,
        "Place skyscrapers on a %d x %d grid: each cell gets a height from 1 to %d, and no"
        " height repeats in a row or column. A number at the edge says how many buildings"
        " are seen when looking into the grid from there; a higher building hides all"
        " lower ones behind it. \"-\" is an edge without a number, \"?\" a cell to fill.\n\n",
        n, n, n));
    TRY(buffer_text(out, "    "));
    for (int i = 0; i < n; i++)
        TRY(write_clue(out, clues->top[i], i + 1 == n ? "\n" : " "));
    for (int r = 0; r < n; r++) {
        TRY(write_clue(out, clues->left[r], " | "));
        for (int c = 0; c < n; c++)
            TRY(buffer_text(out, "? "));
        TRY(buffer_text(out, "| "));
        TRY(write_clue(out, clues->right[r], "\n"));
    }
    TRY(buffer_text(out, "    "));
    for (int i = 0; i < n; i++)
        TRY(write_clue(out, clues->bottom[i], i + 1 == n ? "\n" : " "));
    return buffer_text(out,
                       "\nEnd your answer with the heights as a list of rows in a code block:\n"
                       "```python\n[[first row], [second row], ...]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct search square = {.rng = rng, .n = settings->value[0], .solution_limit = 1};
    (void)fill(&square, 0);
    if (square.solutions == 0)
        return STATUS_AGAIN;
    struct clues clues = {0};
    clues_of(&square, &clues);
    hide(&clues, settings->value[1], rng);
    struct search search = {.clues = &clues, .n = clues.n, .solution_limit = 2};
    (void)fill(&search, 0);
    TRY(write_question(&clues, &out->question));
    json_t *solution = json_array();
    for (int r = 0; r < clues.n; r++)
        json_array_append_new(solution, board_ints_json(square.cell[r], clues.n));
    out->answer = solution;
    out->metadata = json_pack("{s:i, s:O, s:o, s:o, s:o, s:o}", "n", clues.n, "solved_grid",
                              solution, "top", board_ints_json(clues.top, clues.n), "bottom",
                              board_ints_json(clues.bottom, clues.n), "left",
                              board_ints_json(clues.left, clues.n), "right",
                              board_ints_json(clues.right, clues.n));
    if (out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a skyscraper row");
    out->work = (double)search.nodes;
    out->difficulty = logic_difficulty(out->work, 10, NODES_MAX);
    return STATUS_OK;
}

static bool is_latin(const struct board *board)
{
    unsigned row[SIDE_MAX] = {0}, column[SIDE_MAX] = {0}, all = (1u << (board->rows + 1)) - 2;
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->rows; c++) {
            if (board->cell[r][c] < 1 || board->cell[r][c] > board->rows)
                return false;
            row[r] |= 1u << board->cell[r][c];
            column[c] |= 1u << board->cell[r][c];
        }
    for (int i = 0; i < board->rows; i++)
        if (row[i] != all || column[i] != all)
            return false;
    return true;
}

static bool clues_fit(const struct clues *clues, const struct board *board)
{
    for (int i = 0; i < clues->n; i++) {
        int column[SIDE_MAX];
        for (int r = 0; r < clues->n; r++)
            column[r] = board->cell[r][i];
        if (!line_fits(board->cell[i], clues->n, clues->left[i], clues->right[i]) ||
            !line_fits(column, clues->n, clues->top[i], clues->bottom[i]))
            return false;
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct clues clues;
    struct board board;
    if (!board_member(metadata, "n", 1, SIDE_MAX, &clues.n) ||
        !board_ints(json_object_get(metadata, "top"), clues.n, clues.top) ||
        !board_ints(json_object_get(metadata, "bottom"), clues.n, clues.bottom) ||
        !board_ints(json_object_get(metadata, "left"), clues.n, clues.left) ||
        !board_ints(json_object_get(metadata, "right"), clues.n, clues.right))
        logic_broken(out, "metadata lacks n (1 to 9) or the clues top, bottom, left, right");
    else if (!board_of_response(response, clues.n, clues.n, &board))
        logic_wrong(out, "no grid of the puzzle's size was found");
    else if (!is_latin(&board))
        logic_wrong(out, "a row or column does not hold each height once");
    else if (!clues_fit(&clues, &board))
        logic_wrong(out, "a clue counts another number of buildings");
    else
        out->correct = true;
}

const struct logic_task logic_task_skyscraper_puzzle = {
    "skyscraper_puzzle",
    "heights on a grid from what is seen at its edges",
    knobs,
    generate,
    verify,
};
