/* N queens on a board where some stand already: no two in one row, column or diagonal. Queens are taken from a random
 * solution; the judge checks the rules and the given queens, so each solution counts. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { SIDE_MAX = 16, NODES_MAX = 100000 };

static const struct logic_knob knobs[] = {
    {"n", 4, 14, 8, "side of the board"},
    {"given", 0, 1000, 300,
     "share of the queens that stand already, permille; at least one is missing"},
    {0},
};

struct search {
    int n, given[SIDE_MAX], column[SIDE_MAX]; /* by row, from 1; 0: none */
    int solutions, solution_limit;
    struct rng *rng;
    long nodes;
};

static bool attacks(int r1, int c1, int r2, int c2)
{
    return c1 == c2 || r1 - r2 == c1 - c2 || r1 - r2 == c2 - c1;
}

static bool may_stand(const struct search *search, int r, int c)
{
    for (int i = 0; i < search->n; i++) {
        int other = i < r ? search->column[i] : search->given[i];
        if (i != r && other != 0 && attacks(r, c, i, other))
            return false;
    }
    return true;
}

/* Row by row; false: stop, the queens stay. */
static bool place(struct search *search, int r)
{
    if (r == search->n)
        return ++search->solutions < search->solution_limit;
    int order[SIDE_MAX];
    draw_permutation(search->rng, order, search->n);
    for (int i = 0; i < search->n; i++) {
        int c = order[i] + 1;
        if ((search->given[r] != 0 && search->given[r] != c) || !may_stand(search, r, c))
            continue;
        if (++search->nodes > NODES_MAX)
            return false;
        search->column[r] = c;
        if (!place(search, r + 1))
            return false;
    }
    search->column[r] = 0;
    return true;
}

static enum status write_question(const struct search *search, struct buffer *out)
{
    TRY(buffer_printf(
        out,
        "Place %d queens on a %d x %d chessboard so that no two of them share a row, a"
        " column or a diagonal. The queens marked Q stand already and must stay.\n\n",
        search->n, search->n, search->n));
    for (int r = 0; r < search->n; r++)
        for (int c = 1; c <= search->n; c++)
            TRY(buffer_printf(out, "%s%s", search->given[r] == c ? "Q" : ".",
                              c == search->n ? "\n" : " "));
    return buffer_printf(out,
                         "\nEnd your answer with a list of %d numbers in a code block: the column"
                         " (counted from 1) of the queen in each row, from the first row to the"
                         " last:\n```python\n[2, 4, ...]\n```",
                         search->n);
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int n = settings->value[0], rows[SIDE_MAX];
    struct search solution = {.n = n, .rng = rng, .solution_limit = 1};
    (void)place(&solution, 0);
    if (solution.solutions == 0)
        return STATUS_AGAIN;
    int given = n * settings->value[1] / 1000;
    given = given < n ? given : n - 1;
    struct search search = {.n = n, .rng = rng, .solution_limit = 1};
    draw_sample(rng, rows, given, n);
    for (int i = 0; i < given; i++)
        search.given[rows[i]] = solution.column[rows[i]];
    (void)place(&search, 0); /* how hard one of its solutions is to find */
    TRY(write_question(&search, &out->question));
    out->answer = board_ints_json(solution.column, n);
    out->metadata = json_pack("{s:i, s:o}", "n", n, "given", board_ints_json(search.given, n));
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a queens row");
    out->work = (double)search.nodes + n - given;
    out->difficulty = logic_difficulty(out->work, 4, 1000);
    return STATUS_OK;
}

/* Columns out of a board of marks: one Q in each row. */
static bool columns_of_board(const json_t *grid, int n, int *columns)
{
    for (int r = 0; r < n; r++) {
        columns[r] = 0;
        for (int c = 0; c < n; c++) {
            char scratch[24];
            const char *cell = reading_cell(grid, (size_t)r, (size_t)c, scratch);
            bool queen = strcmp(cell, "Q") == 0 || strcmp(cell, "q") == 0 || strcmp(cell, "1") == 0;
            if (queen && columns[r] != 0)
                return false;
            columns[r] = queen ? c + 1 : columns[r];
        }
    }
    return true;
}

/* The last list of n numbers, or the numbers of a short answer. */
static bool read_columns(struct answer_span response, int n, int *columns)
{
    bool found = false;
    struct answer_span rest = response, said = reading_short(response);
    json_t *value;
    while ((value = literal_next(&rest, 1, LITERAL_WORDS)) != NULL) {
        found = board_ints(board_unwrapped(value), n, columns) || found;
        json_decref(value);
    }
    if (found)
        return true;
    json_t *grid = board_grid(response, (size_t)n, (size_t)n);
    found = grid != NULL && columns_of_board(grid, n, columns);
    json_decref(grid);
    if (found || grid != NULL)
        return found;
    int count = 0;
    for (size_t at = 0; at < said.size;) {
        int value_here = 0, digits = 0;
        for (; at < said.size && isdigit((unsigned char)said.at[at]) && digits < 4; at++, digits++)
            value_here = value_here * 10 + (said.at[at] - '0');
        if (digits == 0)
            at++;
        else if (count == n)
            return false;
        else
            columns[count++] = value_here;
    }
    return count == n;
}

static const char *fault_of(int n, const int *given, const int *columns)
{
    for (int r = 0; r < n; r++) {
        if (columns[r] < 1 || columns[r] > n)
            return "a queen stands outside of the board";
        if (given[r] != 0 && given[r] != columns[r])
            return "a given queen was moved";
        for (int i = 0; i < r; i++)
            if (attacks(r, columns[r], i, columns[i]))
                return "two queens attack each other";
    }
    return NULL;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    int n, given[SIDE_MAX], columns[SIDE_MAX] = {0};
    if (!board_member(metadata, "n", 1, SIDE_MAX, &n) ||
        !board_ints(json_object_get(metadata, "given"), n, given)) {
        logic_broken(out, "metadata lacks n (1 to 16) or given");
        return;
    }
    if (!read_columns(response, n, columns)) {
        logic_wrong(out, "no list of the queens' columns was found");
        return;
    }
    out->why = fault_of(n, given, columns);
    out->correct = out->why == NULL;
}

const struct logic_task logic_task_n_queens = {
    "n_queens", "queens that do not attack each other, some given", knobs, generate, verify,
};
