/* Survo: a matrix whose last row and column hold sums; empty cells are filled with the listed numbers, each used
 * once. The numbers are taken out of a filled matrix, so a solution exists; the judge checks sums and numbers, so
 * each solution counts. */
#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"

enum { INSIDE_MAX = 9, HOLES_MAX = INSIDE_MAX * INSIDE_MAX, NODES_MAX = 100000 };

static const struct logic_knob knobs[] = {
    {"n", 3, 7, 4, "side of the matrix with its sums"},
    {"hole_share", 200, 1000, 550, "empty cells, permille of those that are no sums"},
    {"max_num", 5, 50, 9, "largest number of a cell"},
    {0},
};

struct search {
    struct board board; /* sums included; 0: empty */
    int inside, free[HOLES_MAX], free_count;
    int solutions;
    long nodes;
};

static int row_rest(const struct search *search, int r)
{
    int sum = search->board.cell[r][search->inside];
    for (int c = 0; c < search->inside; c++)
        sum -= search->board.cell[r][c];
    return sum;
}

static int column_rest(const struct search *search, int c)
{
    int sum = search->board.cell[search->inside][c];
    for (int r = 0; r < search->inside; r++)
        sum -= search->board.cell[r][c];
    return sum;
}

static bool has_hole(const struct search *search, int r, int c, bool down)
{
    for (int i = 0; i < search->inside; i++)
        if ((down ? search->board.cell[i][c] : search->board.cell[r][i]) == 0)
            return true;
    return false;
}

/* Cell by cell; counts up to two solutions; false: stop. */
static bool fill(struct search *search, int at)
{
    while (at < search->inside * search->inside &&
           search->board.cell[at / search->inside][at % search->inside] != 0)
        at++;
    if (at == search->inside * search->inside)
        return ++search->solutions < 2;
    int r = at / search->inside, c = at % search->inside, last = 0;
    for (int i = 0; i < search->free_count; i++) {
        int value = search->free[i];
        if (value == 0 || value == last)
            continue;
        last = value; /* the list is sorted: equal numbers are tried once */
        if (++search->nodes > NODES_MAX)
            return false;
        search->board.cell[r][c] = value;
        int right = row_rest(search, r), below = column_rest(search, c);
        bool fits = (has_hole(search, r, c, false) ? right > 0 : right == 0) &&
                    (has_hole(search, r, c, true) ? below > 0 : below == 0);
        search->free[i] = 0;
        bool goes_on = !fits || fill(search, at + 1);
        search->free[i] = value;
        search->board.cell[r][c] = 0;
        if (!goes_on)
            return false;
    }
    return true;
}

static void sort(int *items, int count)
{
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && items[j - 1] > items[j]; j--) {
            int kept = items[j];
            items[j] = items[j - 1];
            items[j - 1] = kept;
        }
}

static enum status write_question(const struct search *search, const int *numbers, int holes,
                                  struct buffer *out)
{
    TRY(buffer_text(
        out, "In the matrix below the last number of each row is the sum of the numbers before"
             " it, and the last row holds the sums of the columns above. Replace every X by"
             " one of these numbers, using each exactly once: "));
    for (int i = 0; i < holes; i++)
        TRY(buffer_printf(out, "%s%d", i > 0 ? ", " : "", numbers[i]));
    TRY(buffer_text(out, ".\n\n"));
    TRY(board_print(&search->board, "X", out));
    return buffer_text(
        out, "\nEnd your answer with the complete matrix, sums included, as a list of rows"
             " in a code block:\n```python\n[[first row], [second row], ...]\n```");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int n = settings->value[0], inside = n - 1, cells = inside * inside;
    struct board full = {.rows = n, .columns = n};
    for (int r = 0; r < inside; r++)
        for (int c = 0; c < inside; c++) {
            int value = draw_between(rng, 1, settings->value[2]);
            full.cell[r][c] = value;
            full.cell[r][inside] += value;
            full.cell[inside][c] += value;
            full.cell[inside][inside] += value;
        }
    int holes = (cells * settings->value[1] + 500) / 1000, where[HOLES_MAX], numbers[HOLES_MAX];
    holes = holes < 1 ? 1 : holes;
    struct search search = {.board = full, .inside = inside, .free_count = holes};
    draw_sample(rng, where, holes, cells);
    for (int i = 0; i < holes; i++) {
        int *cell = &search.board.cell[where[i] / inside][where[i] % inside];
        numbers[i] = search.free[i] = *cell;
        *cell = 0;
    }
    sort(search.free, holes);
    TRY(write_question(&search, numbers, holes, &out->question));
    json_t *original = board_json(&search.board);
    (void)fill(&search, 0);
    out->answer = board_json(&full);
    out->metadata = json_pack("{s:o, s:O, s:o, s:i, s:i}", "original_matrix", original,
                              "filled_matrix", out->answer, "candidate_numbers",
                              board_ints_json(numbers, holes), "n", n, "x", holes);
    if (out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a survo row");
    out->work = (double)search.nodes;
    out->difficulty = logic_difficulty(out->work, 5, NODES_MAX);
    return STATUS_OK;
}

/* Whether the numbers put into the holes are the candidates. */
static bool same_numbers(const struct board *original, const struct board *read,
                         const json_t *candidates)
{
    int inside = original->rows - 1, put[HOLES_MAX], given[HOLES_MAX], count = 0;
    for (int r = 0; r < inside; r++)
        for (int c = 0; c < inside; c++)
            if (original->cell[r][c] == 0)
                put[count++] = read->cell[r][c];
    if (!board_ints(candidates, count, given))
        return false;
    sort(put, count);
    sort(given, count);
    for (int i = 0; i < count; i++)
        if (put[i] != given[i])
            return false;
    return true;
}

static bool sums_hold(const struct board *board)
{
    int inside = board->rows - 1;
    for (int i = 0; i <= inside; i++) {
        long long row = 0, column = 0;
        for (int j = 0; j < inside; j++) {
            row += board->cell[i][j];
            column += board->cell[j][i];
        }
        if (row != board->cell[i][inside] || column != board->cell[inside][i])
            return false;
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct board original, read;
    const json_t *candidates = json_object_get(metadata, "candidate_numbers");
    if (!board_of_json(json_object_get(metadata, "original_matrix"), &original) ||
        original.rows != original.columns || original.rows < 2 || original.rows > INSIDE_MAX + 1 ||
        !json_is_array(candidates)) {
        logic_broken(out, "metadata lacks original_matrix (2 to 10 rows) or candidate_numbers");
        return;
    }
    if (!board_of_response(response, original.rows, original.rows, &read)) {
        logic_wrong(out, "no matrix of the puzzle's size was found");
        return;
    }
    for (int r = 0; r < original.rows; r++)
        for (int c = 0; c < original.rows; c++)
            if (original.cell[r][c] != 0 && original.cell[r][c] != read.cell[r][c]) {
                logic_wrong(out, "a given number was changed");
                return;
            }
    if (!same_numbers(&original, &read, candidates))
        logic_wrong(out, "the holes do not hold the listed numbers");
    else if (!sums_hold(&read))
        logic_wrong(out, "a sum is wrong");
    else
        out->correct = true;
}

const struct logic_task logic_task_survo = {
    "survo", "numbers into a matrix so that rows and columns add up", knobs, generate, verify,
};
