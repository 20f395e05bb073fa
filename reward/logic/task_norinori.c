/* Norinori: dominoes that do not share an edge and cover two cells of every region; shadow cells (X) belong to no region and are
 * covered. The generator lays dominoes first and grows regions around them. Regions are to be covered also when no
 * domino touches them. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

/* Regions are numbers from 1; SHADOW is X. */
enum {
    SHADOW = 0,
    REGIONS_MAX = 26,
    SIDE_MAX = 16,
    CELLS_MAX = SIDE_MAX * SIDE_MAX,
    NODES_MAX = 20000
};

static const struct logic_knob knobs[] = {
    {"side", 4, 8, 5, "rows and columns"},
    {0},
};

/* domino[cell]: number of the domino on it, 0 none. Whether a covered neighbour other than `but` exists. */
static bool beside_domino(const struct board *board, const int *domino, int at, int but)
{
    for (int direction = 0; direction < 4; direction++) {
        int near = board_neighbour(board, at, direction);
        if (near >= 0 && near != but && domino[near] != 0)
            return true;
    }
    return false;
}

/* ---- generating ---- */

static int lay_dominoes(struct rng *rng, const struct board *board, int *domino)
{
    int cells = board->rows * board->columns, order[CELLS_MAX], count = 0;
    draw_permutation(rng, order, cells);
    for (int i = 0; i < cells; i++) {
        int at = order[i], turn = (int)rng_below(rng, 4);
        for (int k = 0; k < 4 && domino[at] == 0; k++) {
            int other = board_neighbour(board, at, (k + turn) % 4);
            if (other < 0 || domino[other] != 0 || beside_domino(board, domino, at, other) ||
                beside_domino(board, domino, other, at))
                continue;
            domino[at] = domino[other] = ++count;
        }
    }
    return count;
}

/* Grows the seeds (owner > 0) over all cells but shadows (-1); false: a cell cannot be reached. */
static bool grow_seeds(struct rng *rng, const struct board *board, int *owner)
{
    int cells = board->rows * board->columns, order[CELLS_MAX], empty = cells;
    for (bool grown = true; grown && empty > 0;) {
        grown = false;
        empty = 0;
        draw_permutation(rng, order, cells);
        for (int i = 0; i < cells; i++) {
            int near = board_neighbour(board, order[i], (int)rng_below(rng, 4));
            if (owner[order[i]] != 0)
                continue;
            empty++;
            for (int k = 0; near < 0 || owner[near] <= 0; k++) {
                if (k == 4)
                    break;
                near = board_neighbour(board, order[i], k);
            }
            if (near >= 0 && owner[near] > 0) {
                owner[order[i]] = owner[near];
                grown = true;
            }
        }
    }
    return empty == 0;
}

/* Joins seeds two by two along their borders; false: one found no partner. */
static bool join_seeds(struct rng *rng, const struct board *board, const int *owner, int seeds,
                       int *region_of)
{
    int cells = board->rows * board->columns, order[CELLS_MAX], regions = 0;
    draw_permutation(rng, order, cells);
    for (int i = 0; i < cells; i++)
        for (int direction = 0; direction < 4; direction++) {
            int near = board_neighbour(board, order[i], direction);
            int a = owner[order[i]], b = near < 0 ? -1 : owner[near];
            if (a <= 0 || b <= 0 || a == b || region_of[a] != 0 || region_of[b] != 0)
                continue;
            region_of[a] = region_of[b] = ++regions;
        }
    return regions * 2 == seeds && regions <= REGIONS_MAX - 1;
}

static bool draw_regions(struct rng *rng, const int *domino, int dominoes, int shadow_permille,
                         struct board *board)
{
    int cells = board->rows * board->columns, order[CELLS_MAX], owner[CELLS_MAX] = {0};
    int region_of[CELLS_MAX + 1] = {0}, seeds = 0;
    int shadows = (2 * dominoes * shadow_permille + 500) / 1000 / 2 * 2; /* the rest is even */
    draw_permutation(rng, order, cells);
    for (int i = 0; i < cells; i++)
        if (domino[order[i]] != 0)
            owner[order[i]] = shadows-- > 0 ? -1 : ++seeds;
    if (!grow_seeds(rng, board, owner) || !join_seeds(rng, board, owner, seeds, region_of))
        return false;
    for (int at = 0; at < cells; at++)
        board->cell[at / board->columns][at % board->columns] =
            owner[at] < 0 ? SHADOW : region_of[owner[at]];
    return true;
}

/* Counts solutions up to two: the measure of difficulty is how long that takes. */
struct search {
    const struct board *board;
    int domino[CELLS_MAX], covered[REGIONS_MAX + 1], last[REGIONS_MAX + 1];
    int nodes, solutions;
};

static int region_at(const struct board *board, int at)
{
    return board->cell[at / board->columns][at % board->columns];
}

static bool search_on(struct search *search, int at)
{
    const struct board *board = search->board;
    if (at == board->rows * board->columns)
        return ++search->solutions < 2;
    if (++search->nodes > NODES_MAX)
        return false;
    int region = region_at(board, at);
    bool covered = search->domino[at] != 0;
    if (!covered) {
        for (int direction = 0; direction < 2; direction++) { /* right and down */
            int other = board_neighbour(board, at, direction), second;
            if (other < 0 || search->domino[other] != 0 ||
                beside_domino(board, search->domino, at, other) ||
                beside_domino(board, search->domino, other, at))
                continue;
            second = region_at(board, other);
            search->domino[at] = search->domino[other] = 1;
            search->covered[region]++;
            search->covered[second]++;
            bool fits =
                (region == SHADOW || search->covered[region] <= 2) &&
                (second == SHADOW || search->covered[second] <= 2) &&
                (region == SHADOW || search->last[region] != at || search->covered[region] == 2);
            bool go_on = !fits || search_on(search, at + 1);
            search->covered[region]--;
            search->covered[second]--;
            search->domino[at] = search->domino[other] = 0;
            if (!go_on)
                return false;
        }
        if (region == SHADOW)
            return true;
    }
    if (region != SHADOW && search->last[region] == at && search->covered[region] != 2)
        return true;
    return search_on(search, at + 1);
}

static int measure(const struct board *board)
{
    struct search search = {.board = board};
    for (int at = 0; at < board->rows * board->columns; at++)
        search.last[region_at(board, at)] = at;
    (void)search_on(&search, 0);
    return search.nodes;
}

/* A..W, Y, Z: X is a shadow. */
static char letter_of(int region)
{
    return region == SHADOW ? 'X' : "ABCDEFGHIJKLMNOPQRSTUVWYZ"[region - 1];
}

static json_t *grid_json(const struct board *board)
{
    json_t *rows = json_array();
    for (int r = 0; r < board->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < board->columns; c++) {
            char text[2] = {letter_of(board->cell[r][c]), '\0'};
            json_array_append_new(row, json_string(text));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *dominoes_json(const struct board *board, const int *domino, int dominoes)
{
    json_t *list = json_array();
    for (int i = 1; i <= dominoes; i++) {
        json_t *cells = json_array();
        for (int at = 0; at < board->rows * board->columns; at++)
            if (domino[at] == i)
                json_array_append_new(
                    cells, json_pack("[i, i]", at / board->columns + 1, at % board->columns + 1));
        json_array_append_new(list, cells);
    }
    return list;
}

static enum status write_question(const struct board *board, struct buffer *question)
{
    TRY(buffer_printf(
        question,
        "Norinori: lay dominoes (two cells side by side or one above the other) on this"
        " %d x %d grid. Cells with the same letter are one region.\n"
        "- Exactly two cells of every region are covered; a domino may lie in two"
        " regions.\n"
        "- Dominoes share no edge with one another; corners may touch.\n"
        "- Cells marked X belong to no region and must all be covered.\n"
        "If several layouts do that, any of them is right.\n\n",
        board->rows, board->columns));
    for (int r = 0; r < board->rows; r++)
        for (int c = 0; c < board->columns; c++)
            TRY(buffer_printf(question, "%c%s", letter_of(board->cell[r][c]),
                              c + 1 == board->columns ? "\n" : " "));
    return buffer_text(question,
                       "\nEnd with the list of dominoes, each as its two cells (row, column),"
                       " both counted from 1, for example [[(1,2), (1,3)], [(3,1),"
                       " (4,1)]].");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0], domino[CELLS_MAX] = {0};
    struct board board = {.rows = side, .columns = side};
    int dominoes = lay_dominoes(rng, &board, domino);
    if (!draw_regions(rng, domino, dominoes, draw_between(rng, 0, 250), &board))
        return STATUS_AGAIN;
    TRY(write_question(&board, &out->question));
    out->answer = dominoes_json(&board, domino, dominoes);
    out->metadata = json_pack("{s:o, s:O, s:i}", "region_grid", grid_json(&board), "solution",
                              out->answer, "n", side);
    out->work = measure(&board);
    out->difficulty = logic_difficulty(out->work, 16, NODES_MAX);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool read_regions(const json_t *grid, struct board *board)
{
    size_t rows = json_array_size(grid), columns = json_array_size(json_array_get(grid, 0));
    *board = (struct board){.rows = (int)rows, .columns = (int)columns};
    const char *names[REGIONS_MAX];
    int count = 0;
    if (rows < 1 || rows > SIDE_MAX || columns < 1 || columns > SIDE_MAX)
        return false;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            const char *name = json_string_value(json_array_get(json_array_get(grid, r), c));
            int region = 0;
            if (name == NULL)
                return false;
            while (region < count && strcmp(names[region], name) != 0)
                region++;
            if (strcmp(name, "X") == 0)
                continue;
            if (region == REGIONS_MAX)
                return false;
            if (region == count)
                names[count++] = name;
            board->cell[r][c] = region + 1;
        }
    return true;
}

/* Marks the two cells; false: no domino, outside, or on another one. */
static bool lay(const struct board *board, const json_t *first, const json_t *second, int number,
                int *domino)
{
    int a[2], b[2];
    if (!board_ints(first, 2, a) || !board_ints(second, 2, b))
        return false;
    for (int i = 0; i < 2; i++) {
        int limit = i == 0 ? board->rows : board->columns;
        if (a[i] < 1 || a[i] > limit || b[i] < 1 || b[i] > limit)
            return false;
    }
    int rows = a[0] - b[0], columns = a[1] - b[1];
    int *here = &domino[(a[0] - 1) * board->columns + a[1] - 1],
        *there = &domino[(b[0] - 1) * board->columns + b[1] - 1];
    if (rows * rows + columns * columns != 1 || *here != 0 || *there != 0)
        return false;
    *here = *there = number;
    return true;
}

static bool follows_rules(const struct board *board, const int *domino)
{
    int covered[REGIONS_MAX + 1] = {0}, cells = board->rows * board->columns;
    bool used[REGIONS_MAX + 1] = {false};
    for (int at = 0; at < cells; at++) {
        int region = region_at(board, at);
        used[region] = true;
        covered[region] += domino[at] != 0;
        if (region == SHADOW && domino[at] == 0)
            return false;
        for (int direction = 0; direction < 2; direction++) {
            int near = board_neighbour(board, at, direction);
            if (near >= 0 && domino[at] != 0 && domino[near] != 0 && domino[at] != domino[near])
                return false;
        }
    }
    for (int region = 1; region <= REGIONS_MAX; region++)
        if (used[region] && covered[region] != 2)
            return false;
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct board board;
    int domino[CELLS_MAX] = {0};
    if (!read_regions(json_object_get(metadata, "region_grid"), &board)) {
        logic_broken(out, "metadata: the region_grid of a norinori is missing or wrong");
        return;
    }
    json_t *pairs = reading_pairs(response);
    size_t count = json_array_size(pairs);
    bool fine = count > 0 && count % 2 == 0 && count <= CELLS_MAX;
    for (size_t i = 0; fine && i < count; i += 2)
        fine = lay(&board, json_array_get(pairs, i), json_array_get(pairs, i + 1), (int)(i / 2) + 1,
                   domino);
    json_decref(pairs);
    out->correct = fine && follows_rules(&board, domino);
    out->why = out->correct ? NULL : "no list of dominoes that follows the rules was found";
}

const struct logic_task logic_task_norinori = {"norinori", "dominoes over regions", knobs, generate,
                                               verify};
