/* Calcudoko: a Latin square cut into regions, each with a result and an operator. The generator starts from a full square
 * and splits regions until the solution is the only one. Division is exact: 3 and 2 do not give 1. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/latin.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"

enum {
    CELLS_MAX = LATIN_SIDE_MAX * LATIN_SIDE_MAX,
    NODES_MAX = 4000,
    SPLIT_ROUNDS = 8,
    REGION_MAX = 4
};

static const struct logic_knob knobs[] = {
    {"side", 3, 6, 4, "numbers 1..side"},
    {"given", 0, 600, 100,
     "cells that are a region of their own, permille; more when uniqueness needs it"},
    {0},
};

struct region {
    int count, row[CELLS_MAX], column[CELLS_MAX];
    char operator_; /* + - * / */
    long long target;
};
struct regions {
    int count, of[LATIN_SIDE_MAX][LATIN_SIDE_MAX]; /* region of a cell, or -1 */
    struct region region[CELLS_MAX];
};

/* Whether the filled cells of a region can still reach, or have reached, its target. */
static bool region_holds(const struct region *region, const struct board *board)
{
    unsigned seen = 0;
    int filled = 0, number[2] = {0, 0};
    long long sum = 0, product = 1;
    for (int i = 0; i < region->count; i++) {
        int value = board->cell[region->row[i]][region->column[i]];
        if (value == 0)
            continue;
        if ((seen >> value & 1) != 0) /* no number twice in a region */
            return false;
        seen |= 1u << value;
        number[filled < 2 ? filled : 1] = value;
        filled++;
        sum += value;
        product *= product > 1000000 ? 1 : value;
    }
    int left = region->count - filled;
    switch (region->operator_) {
    case '+':
        return left == 0
                   ? sum == region->target
                   : sum + left <= region->target && sum + left * board->rows >= region->target;
    case '*':
        return left == 0 ? product == region->target : region->target % product == 0;
    case '-':
        return left != 0 || (filled == 2 && (number[0] - number[1] == region->target ||
                                             number[1] - number[0] == region->target));
    default:
        return left != 0 || (filled == 2 && (number[0] == number[1] * region->target ||
                                             number[1] == number[0] * region->target));
    }
}

static bool regions_hold(const void *rules, const struct board *board, int row, int column)
{
    const struct regions *regions = rules;
    int at = regions->of[row][column];
    return at < 0 || region_holds(&regions->region[at], board);
}

/* ---- generating ---- */

static void set_target(struct rng *rng, const struct board *solution, struct region *region)
{
    long long sum = 0, product = 1;
    for (int i = 0; i < region->count; i++) {
        int value = solution->cell[region->row[i]][region->column[i]];
        sum += value;
        product *= value;
    }
    int a = solution->cell[region->row[0]][region->column[0]];
    int b = region->count == 2 ? solution->cell[region->row[1]][region->column[1]] : 1;
    int more = a > b ? a : b, less = a > b ? b : a;
    region->operator_ = rng_below(rng, 2) == 0 ? '+' : '*';
    if (region->count == 1)
        region->operator_ = '+';
    if (region->count == 2 && rng_below(rng, 3) != 0)
        region->operator_ = more % less == 0 && rng_below(rng, 2) == 0 ? '/' : '-';
    region->target = region->operator_ == '+'   ? sum
                     : region->operator_ == '*' ? product
                     : region->operator_ == '-' ? more - less
                                                : more / less;
}

/* A free neighbour of the region whose number it does not hold yet; false: none. */
static bool grow(struct rng *rng, const struct board *solution, struct regions *regions, int at)
{
    struct region *region = &regions->region[at];
    int side = solution->rows, turn = (int)rng_below(rng, 4);
    for (int k = 0; k < 4 * region->count; k++) {
        int i = k / 4, direction = (k + turn) % 4;
        int r = region->row[i] + (direction == 0) - (direction == 1),
            c = region->column[i] + (direction == 2) - (direction == 3);
        if (r < 0 || c < 0 || r >= side || c >= side || regions->of[r][c] >= 0)
            continue;
        bool twice = false;
        for (int j = 0; j < region->count; j++)
            twice =
                twice || solution->cell[region->row[j]][region->column[j]] == solution->cell[r][c];
        if (twice)
            continue;
        regions->of[r][c] = at;
        region->row[region->count] = r;
        region->column[region->count++] = c;
        return true;
    }
    return false;
}

static void draw_regions(struct rng *rng, const struct board *solution, int given,
                         struct regions *regions)
{
    int side = solution->rows, order[CELLS_MAX];
    regions->count = 0;
    memset(regions->of, -1, sizeof regions->of);
    draw_permutation(rng, order, side * side);
    for (int k = 0; k < side * side; k++) {
        int r = order[k] / side, c = order[k] % side;
        if (regions->of[r][c] >= 0)
            continue;
        int at = regions->count++;
        int size = draw_permille(rng, given) ? 1 : draw_between(rng, 2, REGION_MAX);
        regions->region[at] = (struct region){.count = 1, .row = {r}, .column = {c}};
        regions->of[r][c] = at;
        while (regions->region[at].count < size && grow(rng, solution, regions, at)) {
        }
        set_target(rng, solution, &regions->region[at]);
    }
}

/* The cell leaves its region (or its region of one stays): one more number is known. */
static void split(struct rng *rng, const struct board *solution, struct regions *regions, int r,
                  int c)
{
    struct region *region = &regions->region[regions->of[r][c]];
    if (region->count == 1)
        return;
    int last = region->count - 1;
    for (int i = 0; i < region->count; i++)
        if (region->row[i] == r && region->column[i] == c) {
            region->row[i] = region->row[last];
            region->column[i] = region->column[last];
            break;
        }
    region->count = last;
    set_target(rng, solution, region);
    regions->of[r][c] = regions->count;
    regions->region[regions->count] = (struct region){.count = 1, .row = {r}, .column = {c}};
    set_target(rng, solution, &regions->region[regions->count++]);
}

static json_t *metadata_of(const struct regions *regions, const struct board *solution)
{
    json_t *list = json_array();
    for (int i = 0; i < regions->count; i++) {
        const struct region *region = &regions->region[i];
        json_t *cells = json_array();
        for (int k = 0; k < region->count; k++) {
            char place[32];
            (void)snprintf(place, sizeof place, "(%d,%d)", region->row[k] + 1,
                           region->column[k] + 1);
            json_array_append_new(cells, json_string(place));
        }
        char operator_[2] = {region->operator_, '\0'};
        json_array_append_new(list, json_pack("{s:o, s:I, s:s}", "cells", cells, "target",
                                              (json_int_t)region->target, "operator",
                                              operator_[0] == '/' ? "÷" : operator_));
    }
    return json_pack("{s:i, s:o, s:o}", "grid_size", solution->rows, "regions", list, "solution",
                     board_json(solution));
}

static enum status write_question(const struct regions *regions, int side, struct buffer *question)
{
    TRY(buffer_printf(question,
                      "Fill a %d x %d square so that every row and every column holds each number"
                      " from 1 to %d once. The square is cut into regions: the numbers of a"
                      " region, combined with its operator, give its result, and no number comes"
                      " twice in a region. For - and ÷ (two cells each) the smaller number is"
                      " taken from, or divides without rest, the larger one. A region of one cell"
                      " holds its result. There is exactly one solution.\n\nRegions, cells as"
                      " (row,column) counted from 1, then result and operator:\n",
                      side, side, side));
    for (int i = 0; i < regions->count; i++) {
        const struct region *region = &regions->region[i];
        for (int k = 0; k < region->count; k++)
            TRY(buffer_printf(question, "(%d,%d)", region->row[k] + 1, region->column[k] + 1));
        char operator_[2] = {region->operator_, '\0'};
        TRY(buffer_printf(question, ": %lld%s\n", region->target,
                          region->count == 1         ? ""
                          : region->operator_ == '/' ? "÷"
                                                     : operator_));
    }
    return buffer_text(question, "\nEnd with the finished square in double brackets: numbers of a"
                                 " row separated by spaces, rows by commas, for example"
                                 " [[1 2,2 1]] for a square of side 2.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int side = settings->value[0];
    struct board solution, empty = {.rows = side, .columns = side};
    struct regions regions;
    struct latin_search search;
    latin_random(rng, side, &solution);
    draw_regions(rng, &solution, settings->value[1], &regions);
    for (int round = 0; round < SPLIT_ROUNDS; round++) {
        latin_solve(&empty, regions_hold, &regions, 2, NODES_MAX, &search);
        if (search.complete && search.solutions == 1)
            break;
        int r = (int)rng_below(rng, (uint32_t)side), c = (int)rng_below(rng, (uint32_t)side);
        if (search.solutions == 2)
            latin_difference(&search, rng, &r, &c);
        split(rng, &solution, &regions, r, c);
    }
    if (!search.complete || search.solutions != 1)
        return STATUS_AGAIN;
    TRY(write_question(&regions, side, &out->question));
    out->metadata = metadata_of(&regions, &solution);
    out->answer = board_json(&solution);
    out->work = search.nodes;
    out->difficulty = logic_difficulty(out->work, 8, 300);
    return STATUS_OK;
}

/* ---- judging ---- */

/* "(4,1)" or [4, 1], counted from 1. */
static bool read_place(const json_t *item, int side, int *row, int *column)
{
    int at[2];
    if (json_is_string(item)) {
        if (sscanf(json_string_value(item), " ( %3d , %3d )", &at[0], &at[1]) != 2)
            return false;
    } else if (!board_ints(item, 2, at)) {
        return false;
    }
    *row = at[0] - 1;
    *column = at[1] - 1;
    return *row >= 0 && *column >= 0 && *row < side && *column < side;
}

static bool read_region(const json_t *item, int side, struct region *region)
{
    const json_t *cells = json_object_get(item, "cells");
    int target;
    const char *operator_ = json_string_value(json_object_get(item, "operator"));
    *region = (struct region){.count = (int)json_array_size(cells)};
    if (operator_ == NULL || !literal_int(json_object_get(item, "target"), &target) ||
        json_array_size(cells) < 1 || json_array_size(cells) > CELLS_MAX)
        return false;
    region->operator_ = strcmp(operator_, "÷") == 0   ? '/'
                        : strcmp(operator_, "×") == 0 ? '*'
                                                      : operator_[0];
    region->target = target;
    for (int i = 0; i < region->count; i++)
        if (!read_place(json_array_get(cells, (size_t)i), side, &region->row[i],
                        &region->column[i]))
            return false;
    return operator_[0] != '\0' && strchr("+-*/", region->operator_) != NULL;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    int side;
    struct board board;
    const json_t *regions = json_object_get(metadata, "regions");
    if (!board_member(metadata, "grid_size", 1, LATIN_SIDE_MAX, &side) || !json_is_array(regions)) {
        logic_broken(out, "metadata: grid_size or regions of a calcudoko are missing");
        return;
    }
    bool found = board_of_response(response, side, side, &board);
    bool fine = found && latin_is_square(&board);
    for (size_t i = 0; i < json_array_size(regions); i++) {
        struct region region;
        if (!read_region(json_array_get(regions, i), side, &region)) {
            logic_broken(out, "metadata: a region lacks cells, target or operator");
            return;
        }
        fine = fine && region_holds(&region, &board);
    }
    out->correct = fine;
    out->why = fine    ? NULL
               : found ? "the square breaks a rule"
                       : "no square of the puzzle's size was found";
}

const struct logic_task logic_task_calcudoko = {
    "calcudoko", "a Latin square with sums, products, differences and quotients of regions", knobs,
    generate, verify};
