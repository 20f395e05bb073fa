/* Futoshiki: a Latin square with inequality signs between neighbours. The generator starts from a full square, so a solution exists,
 * and gives numbers until it is the only one. The judge checks givens, rows, columns and signs. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/latin.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { SIGNS_MAX = 2 * LATIN_SIDE_MAX * LATIN_SIDE_MAX, NODES_MAX = 4000, GIVEN_ROUNDS = 40 };

static const struct logic_knob knobs[] = {
    {"side", 4, 7, 5, "numbers 1..side"},
    {"signs", 100, 500, 350, "signs, permille of the pairs of neighbours"},
    {"given", 0, 400, 100, "numbers given, permille of the cells; more when uniqueness needs it"},
    {0},
};

/* The cell at row[0], column[0] holds more than the one at row[1], column[1]. */
struct sign {
    int row[2], column[2];
};
struct signs {
    int count;
    struct sign sign[SIGNS_MAX];
};

static bool sign_holds(const struct sign *sign, const struct board *board)
{
    int more = board->cell[sign->row[0]][sign->column[0]],
        less = board->cell[sign->row[1]][sign->column[1]];
    if (more != 0 && less != 0)
        return more > less;
    return more != 1 && less != board->rows;
}

static bool signs_hold(const void *rules, const struct board *board, int row, int column)
{
    const struct signs *signs = rules;
    for (int i = 0; i < signs->count; i++) {
        const struct sign *sign = &signs->sign[i];
        if (((sign->row[0] == row && sign->column[0] == column) ||
             (sign->row[1] == row && sign->column[1] == column)) &&
            !sign_holds(sign, board))
            return false;
    }
    return true;
}

static void draw_signs(struct rng *rng, const struct board *solution, int permille,
                       struct signs *signs)
{
    int side = solution->rows;
    signs->count = 0;
    for (int pair = 0; pair < 2 * side * side; pair++) {
        int r = pair / 2 / side, c = pair / 2 % side, down = pair % 2;
        int r2 = r + down, c2 = c + 1 - down;
        if (r2 >= side || c2 >= side || !draw_permille(rng, permille))
            continue;
        bool first = solution->cell[r][c] > solution->cell[r2][c2];
        signs->sign[signs->count++] =
            first ? (struct sign){{r, r2}, {c, c2}} : (struct sign){{r2, r}, {c2, c}};
    }
}

static json_t *metadata_of(const struct board *puzzle, const struct board *solution,
                           const struct signs *signs)
{
    json_t *given = json_array(), *constraints = json_array();
    for (int r = 0; r < puzzle->rows; r++)
        for (int c = 0; c < puzzle->rows; c++)
            if (puzzle->cell[r][c] != 0)
                json_array_append_new(given, json_pack("[i, i]", r, c));
    for (int i = 0; i < signs->count; i++) {
        const struct sign *sign = &signs->sign[i];
        json_array_append_new(constraints,
                              json_pack("[[i, i], [i, i], s]", sign->row[0], sign->column[0],
                                        sign->row[1], sign->column[1], ">"));
    }
    return json_pack("{s:i, s:o, s:o, s:o, s:o}", "grid_size", puzzle->rows, "prefilled_coords",
                     given, "constraints", constraints, "puzzle", board_json(puzzle), "solution",
                     board_json(solution));
}

static enum status write_question(const struct board *puzzle, const struct signs *signs,
                                  struct buffer *question)
{
    int side = puzzle->rows;
    TRY(buffer_printf(question,
                      "Complete this %d x %d Futoshiki. Every row and every column must hold each"
                      " number from 1 to %d once, the inequalities below must hold, and the given"
                      " numbers stay. X is an empty cell. There is exactly one solution.\n\n",
                      side, side, side));
    TRY(board_print(puzzle, "X", question));
    TRY(buffer_text(question, "\nInequalities, written as (row, column), both counted from 1:\n"));
    for (int i = 0; i < signs->count; i++) {
        const struct sign *sign = &signs->sign[i];
        TRY(buffer_printf(question, "(%d,%d) > (%d,%d)\n", sign->row[0] + 1, sign->column[0] + 1,
                          sign->row[1] + 1, sign->column[1] + 1));
    }
    return buffer_text(question,
                       "\nEnd with the finished square in double brackets: numbers of a row"
                       " separated by spaces, rows by commas, for example [[1 2,2 1]] for a"
                       " square of side 2.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0];
    struct board solution, puzzle;
    struct signs signs;
    struct latin_search search;
    latin_random(rng, side, &solution);
    draw_signs(rng, &solution, settings->value[1], &signs);
    puzzle = solution;
    for (int r = 0; r < side; r++)
        for (int c = 0; c < side; c++)
            if (!draw_permille(rng, settings->value[2]))
                puzzle.cell[r][c] = 0;
    for (int round = 0; round < GIVEN_ROUNDS; round++) {
        latin_solve(&puzzle, signs_hold, &signs, 2, NODES_MAX, &search);
        if (search.complete && search.solutions == 1)
            break;
        int r = (int)rng_below(rng, (uint32_t)side), c = (int)rng_below(rng, (uint32_t)side);
        if (search.solutions == 2)
            latin_difference(&search, rng, &r, &c);
        puzzle.cell[r][c] = solution.cell[r][c];
    }
    if (!search.complete || search.solutions != 1)
        return STATUS_AGAIN;
    TRY(write_question(&puzzle, &signs, &out->question));
    out->metadata = metadata_of(&puzzle, &solution, &signs);
    out->answer = board_json(&solution);
    out->work = search.nodes;
    out->difficulty = logic_difficulty(out->work, 8, 300);
    return STATUS_OK;
}

/* The numbers given: metadata's puzzle, else the stored answer at the given places (rows of other origin keep the
 * numbers there only). */
static bool read_givens(const json_t *metadata, const json_t *answer, int side,
                        struct board *givens)
{
    const json_t *puzzle = json_object_get(metadata, "puzzle"),
                 *coords = json_object_get(metadata, "prefilled_coords");
    if (puzzle != NULL)
        return board_of_json(puzzle, givens) && givens->rows == side && givens->columns == side;
    struct board stored = {.rows = 0};
    if (json_is_string(answer)) {
        struct answer_span text = {json_string_value(answer), json_string_length(answer)};
        if (!board_of_response(text, side, side, &stored))
            return false;
    } else if (!board_of_json(answer, &stored)) {
        return false;
    }
    *givens = (struct board){.rows = side, .columns = side};
    for (size_t i = 0; i < json_array_size(coords); i++) {
        int at[2];
        if (!board_ints(json_array_get(coords, i), 2, at) || at[0] < 0 || at[0] >= stored.rows ||
            at[1] < 0 || at[1] >= stored.columns)
            return false;
        givens->cell[at[0]][at[1]] = stored.cell[at[0]][at[1]];
    }
    return stored.rows == side && stored.columns == side;
}

static bool read_signs(const json_t *list, int side, struct signs *signs)
{
    signs->count = 0;
    if (!json_is_array(list) || json_array_size(list) > SIGNS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *kind = json_string_value(json_array_get(item, 2));
        int a[2], b[2];
        if (kind == NULL || strchr("<>", kind[0]) == NULL ||
            !board_ints(json_array_get(item, 0), 2, a) ||
            !board_ints(json_array_get(item, 1), 2, b) || a[0] < 0 || a[1] < 0 || b[0] < 0 ||
            b[1] < 0 || a[0] >= side || a[1] >= side || b[0] >= side || b[1] >= side)
            return false;
        bool more = kind[0] == '>';
        signs->sign[signs->count++] = more ? (struct sign){{a[0], b[0]}, {a[1], b[1]}}
                                           : (struct sign){{b[0], a[0]}, {b[1], a[1]}};
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    int side;
    struct board givens, board;
    struct signs signs;
    if (!board_member(metadata, "grid_size", 1, LATIN_SIDE_MAX, &side) ||
        !read_givens(metadata, answer, side, &givens) ||
        !read_signs(json_object_get(metadata, "constraints"), side, &signs)) {
        logic_broken(out, "metadata: grid_size, prefilled_coords and constraints of a futoshiki "
                          "are missing or wrong");
        return;
    }
    if (!board_of_response(response, side, side, &board)) {
        logic_wrong(out, "no square of the puzzle's size was found");
        return;
    }
    bool fine = latin_is_square(&board);
    for (int i = 0; fine && i < side * side; i++) {
        int given = givens.cell[i / side][i % side];
        fine = given == 0 || given == board.cell[i / side][i % side];
    }
    for (int i = 0; fine && i < signs.count; i++)
        fine = sign_holds(&signs.sign[i], &board);
    out->correct = fine;
    out->why = fine ? NULL : "the square breaks a rule";
}

const struct logic_task logic_task_futoshiki = {"futoshiki", "a Latin square with inequality signs",
                                                knobs, generate, verify};
