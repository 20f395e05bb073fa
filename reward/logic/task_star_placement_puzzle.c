/* Star placement: k stars in each row, column and region of an n x n grid, no two of them touching, not even at a
 * corner. Stars are placed first and regions grown around them, so a solution exists; of several draws the one with
 * the fewest solutions is taken. The judge checks the rules, so each solution counts. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum {
    SIDE_MAX = 26,
    STARS_EACH_MAX = 6,
    STARS_MAX = STARS_EACH_MAX * SIDE_MAX,
    DRAWS = 60,
    NODES_MAX = 20000
};

static const struct logic_knob knobs[] = {
    {"n", 4, 9, 6, "side of the grid, and the number of regions"},
    {"k", 1, 2, 1, "stars in each row, column and region; 2 needs n >= 8 and is else taken as 1"},
    {0},
};

struct field {
    int n, k;
    int region[SIDE_MAX][SIDE_MAX]; /* from 0 */
    int star[SIDE_MAX][SIDE_MAX];   /* 0 or 1 */
};

struct search {
    struct field *field;
    struct rng *rng; /* order of columns; never NULL */
    bool by_region;
    int solutions, solution_limit, column[SIDE_MAX], regions[SIDE_MAX];
    long nodes;
};

static bool touches(const struct field *field, int r, int c)
{
    if (c > 0 && field->star[r][c - 1])
        return true;
    if (c + 1 < field->n && field->star[r][c + 1])
        return true;
    for (int d = -1; d <= 1 && r > 0; d++)
        if (c + d >= 0 && c + d < field->n && field->star[r - 1][c + d])
            return true;
    return false;
}

static bool place(struct search *search, int r, int in_row, int from);

static bool place_row(struct search *search, int r)
{
    if (r < search->field->n)
        return place(search, r, 0, 0);
    return ++search->solutions < search->solution_limit;
}

/* One more star in row r, at `from` of its order or later; false: stop, the stars stay. */
static bool place(struct search *search, int r, int in_row, int from)
{
    struct field *field = search->field;
    if (in_row == field->k)
        return place_row(search, r + 1);
    int order[SIDE_MAX];
    for (int i = 0; i < field->n; i++)
        order[i] = i;
    if (field->k == 1)
        draw_shuffle(search->rng, order, field->n);
    for (int i = from; i < field->n; i++) {
        int c = order[i], region = field->region[r][c];
        if (search->column[c] == field->k || touches(field, r, c) ||
            (search->by_region && search->regions[region] == field->k))
            continue;
        if (++search->nodes > NODES_MAX)
            return false;
        field->star[r][c] = 1;
        search->column[c]++;
        search->regions[region]++;
        if (!place(search, r, in_row + 1, field->k == 1 ? 0 : i + 1))
            return false;
        field->star[r][c] = 0;
        search->column[c]--;
        search->regions[region]--;
    }
    return true;
}

/* ---- making ---- */

/* Stars that keep the rules of rows, columns and distance: for k = 2 a random order of rows' pairs is reached by
 * shuffling what the ordered search would do, through a random start in each row. */
static bool draw_stars(struct field *field, struct rng *rng)
{
    for (int attempt = 0; attempt < 400; attempt++) {
        int column[SIDE_MAX] = {0}, order[SIDE_MAX], r = 0;
        memset(field->star, 0, sizeof field->star);
        for (; r < field->n; r++) {
            int placed = 0;
            draw_permutation(rng, order, field->n);
            for (int i = 0; i < field->n && placed < field->k; i++)
                if (column[order[i]] < field->k && !touches(field, r, order[i])) {
                    field->star[r][order[i]] = 1;
                    column[order[i]]++;
                    placed++;
                }
            if (placed < field->k)
                break;
        }
        if (r == field->n)
            return true;
    }
    return false;
}

/* Every star starts a piece; pieces grow cell by cell until the grid is full. */
static void grow(struct field *field, struct rng *rng)
{
    int n = field->n, left = n * n, pieces = 0;
    for (int r = 0; r < n; r++)
        for (int c = 0; c < n; c++) {
            field->region[r][c] = field->star[r][c] ? pieces++ : -1;
            left -= field->star[r][c];
        }
    while (left > 0) {
        int order[SIDE_MAX * SIDE_MAX];
        draw_permutation(rng, order, n * n);
        for (int i = 0; i < n * n; i++) {
            static const int step[4][2] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}};
            int r = order[i] / n, c = order[i] % n;
            const int *d = step[rng_below(rng, 4)];
            int r2 = r + d[0], c2 = c + d[1];
            if (field->region[r][c] >= 0 || r2 < 0 || c2 < 0 || r2 >= n || c2 >= n ||
                field->region[r2][c2] < 0)
                continue;
            field->region[r][c] = field->region[r2][c2];
            left--;
        }
    }
}

static bool are_neighbours(const struct field *field, int a, int b)
{
    for (int r = 0; r < field->n; r++)
        for (int c = 0; c < field->n; c++) {
            int here = field->region[r][c];
            int right = c + 1 < field->n ? field->region[r][c + 1] : here;
            int below = r + 1 < field->n ? field->region[r + 1][c] : here;
            if ((here == a && (right == b || below == b)) ||
                (here == b && (right == a || below == a)))
                return true;
        }
    return false;
}

/* For k = 2: joins the 2n pieces to n regions of two neighbours each; false: this draw leaves one over. */
static bool join_pairs(struct field *field, struct rng *rng)
{
    int pieces = 2 * field->n, order[STARS_MAX], joined[STARS_MAX], regions = 0;
    for (int i = 0; i < pieces; i++)
        joined[i] = -1;
    draw_permutation(rng, order, pieces);
    for (int i = 0; i < pieces; i++) {
        int partner = -1;
        if (joined[order[i]] >= 0)
            continue;
        for (int j = i + 1; j < pieces && partner < 0; j++)
            if (joined[order[j]] < 0 && are_neighbours(field, order[i], order[j]))
                partner = order[j];
        if (partner < 0)
            return false;
        joined[order[i]] = joined[partner] = regions++;
    }
    for (int r = 0; r < field->n; r++)
        for (int c = 0; c < field->n; c++)
            field->region[r][c] = joined[field->region[r][c]];
    return true;
}

static void count_solutions(const struct field *field, struct rng *rng, struct search *search)
{
    struct field scratch = *field;
    memset(scratch.star, 0, sizeof scratch.star);
    *search =
        (struct search){.field = &scratch, .rng = rng, .by_region = true, .solution_limit = 8};
    (void)place_row(search, 0);
    search->field = NULL;
}

static enum status write_row(const struct field *field, struct search *search,
                             struct logic_problem *out)
{
    json_t *grid = json_array();
    struct buffer answer;
    buffer_init(&answer, 0);
    enum status status = STATUS_OK;
    for (int r = 0; r < field->n; r++) {
        json_t *row = json_array();
        for (int c = 0; c < field->n; c++)
            json_array_append_new(row, json_sprintf("%c", 'A' + field->region[r][c]));
        json_array_append_new(grid, row);
    }
    TRY_GOTO(out, buffer_text(&answer, "{"));
    for (int region = 0; region < field->n; region++) {
        TRY_GOTO(out, buffer_printf(&answer, "%s'%c': [", region > 0 ? ", " : "", 'A' + region));
        const char *gap = "";
        for (int i = 0; i < field->n * field->n; i++) {
            int r = i / field->n, c = i % field->n;
            if (!field->star[r][c] || field->region[r][c] != region)
                continue;
            TRY_GOTO(out, buffer_printf(&answer, "%s(%d, %d)", gap, r + 1, c + 1));
            gap = ", ";
        }
        TRY_GOTO(out, buffer_text(&answer, "]"));
    }
    TRY_GOTO(out, buffer_text(&answer, "}"));
    out->answer = json_string(buffer_string(&answer));
out:
    buffer_free(&answer);
    out->metadata = json_pack("{s:i, s:i, s:o, s:i}", "n", field->n, "k", field->k, "region_grid",
                              grid, "solutions", search->solutions);
    return status;
}

static enum status write_question(const struct field *field, struct buffer *out)
{
    const char *s = field->k == 1 ? "" : "s";
    TRY(buffer_printf(out,
                      "The letters below divide a %d x %d grid into regions. Place stars so that"
                      " every row, every column and every region holds exactly %d star%s and no two"
                      " stars touch, not even diagonally.\n\n",
                      field->n, field->n, field->k, s));
    for (int r = 0; r < field->n; r++)
        for (int c = 0; c < field->n; c++)
            TRY(buffer_printf(out, "%c%s", 'A' + field->region[r][c],
                              c + 1 == field->n ? "\n" : " "));
    return buffer_printf(
        out,
        "\nEnd your answer with a Python dictionary in a code block that gives for each"
        " region the (row, column) of its star%s, counted from 1 at the top left:\n"
        "```python\n{'A': [(1, 1)%s], 'B': ...}\n```",
        s, field->k == 1 ? "" : ", (3, 4)");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct field best = {0};
    struct search best_search = {.solutions = 1000};
    for (int i = 0; i < DRAWS && best_search.solutions > 1; i++) {
        struct field field = {.n = settings->value[0],
                              .k = settings->value[0] >= 8 ? settings->value[1] : 1};
        struct search search;
        if (!draw_stars(&field, rng))
            continue;
        grow(&field, rng);
        if (field.k == 2 && !join_pairs(&field, rng))
            continue;
        count_solutions(&field, rng, &search);
        if (search.nodes > NODES_MAX && search.solutions == 0)
            search.solutions = 8;
        if (search.solutions < best_search.solutions) {
            best = field;
            best_search = search;
        }
    }
    if (best.n == 0)
        return STATUS_AGAIN;
    TRY(write_question(&best, &out->question));
    TRY(write_row(&best, &best_search, out));
    out->work = (double)best_search.nodes;
    out->difficulty = logic_difficulty(out->work, 5, NODES_MAX);
    return out->answer != NULL && out->metadata != NULL ? STATUS_OK
                                                        : FAIL(STATUS_NO_MEMORY, "a star row");
}

/* ---- judging ---- */

struct star {
    int region, r, c; /* region -1: not named */
};

/* Reads "(5, 4)" at `at`; NULL when there is none. */
static const char *read_pair(const char *at, const char *end, int *r, int *c)
{
    int value[2] = {0, 0};
    if (at == end || (*at != '(' && *at != '['))
        return NULL;
    at++;
    for (int i = 0; i < 2; i++) {
        while (at < end && *at == ' ')
            at++;
        int digits = 0;
        for (; at < end && isdigit((unsigned char)*at) && digits < 4; at++, digits++)
            value[i] = value[i] * 10 + (*at - '0');
        while (at < end && *at == ' ')
            at++;
        if (digits == 0 || at == end || (i == 0 ? *at != ',' : *at != ')' && *at != ']'))
            return NULL;
        at++;
    }
    *r = value[0];
    *c = value[1];
    return at;
}

/* The last `count` coordinates of the text, each with the last letter that stood alone before it. */
static int read_stars(struct answer_span text, int count, struct star *stars)
{
    const char *end = text.at + text.size;
    int found = 0, region = -1;
    for (const char *at = text.at; at < end;) {
        struct star star;
        const char *next = read_pair(at, end, &star.r, &star.c);
        if (next != NULL) {
            star.region = region;
            stars[found++ % count] = star;
            at = next;
            continue;
        }
        bool alone = (at == text.at || !isalnum((unsigned char)at[-1])) &&
                     (at + 1 == end || !isalnum((unsigned char)at[1]));
        if (*at >= 'A' && *at <= 'Z')
            region = alone ? *at - 'A' : -1;
        at++;
    }
    return found < count ? 0 : count;
}

static const char *fault_of(struct field *field, const struct star *stars, int count)
{
    int rows[SIDE_MAX] = {0}, columns[SIDE_MAX] = {0}, regions[32] = {0};
    for (int i = 0; i < count; i++) {
        int r = stars[i].r - 1, c = stars[i].c - 1;
        if (r < 0 || c < 0 || r >= field->n || c >= field->n)
            return "a star lies outside of the grid";
        if (stars[i].region >= 0 && stars[i].region != field->region[r][c])
            return "a star lies in another region than the answer says";
        if (field->star[r][c]++)
            return "a star is named twice";
        rows[r]++;
        columns[c]++;
        regions[field->region[r][c]]++;
    }
    for (int r = 0; r < field->n; r++)
        for (int c = 0; c < field->n; c++) {
            if (field->star[r][c] && touches(field, r, c))
                return "two stars touch";
            if (regions[field->region[r][c]] != field->k)
                return "a region has another number of stars";
        }
    for (int i = 0; i < field->n; i++)
        if (rows[i] != field->k || columns[i] != field->k)
            return "a row or column has another number of stars";
    return NULL;
}

static bool read_field(const json_t *metadata, struct field *field)
{
    const json_t *grid = json_object_get(metadata, "region_grid");
    memset(field, 0, sizeof *field);
    if (!board_member(metadata, "n", 1, SIDE_MAX, &field->n) ||
        !board_member(metadata, "k", 1, STARS_EACH_MAX, &field->k) ||
        json_array_size(grid) != (size_t)field->n)
        return false;
    for (int r = 0; r < field->n; r++)
        for (int c = 0; c < field->n; c++) {
            const char *name =
                json_string_value(json_array_get(json_array_get(grid, (size_t)r), (size_t)c));
            if (name == NULL || name[0] < 'A' || name[0] > 'Z' || name[1] != '\0')
                return false;
            field->region[r][c] = name[0] - 'A';
        }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct field field;
    struct star stars[STARS_MAX];
    if (!read_field(metadata, &field)) {
        logic_broken(out, "metadata lacks n, k or region_grid with letters A to Z");
        return;
    }
    int count = field.n * field.k;
    if (read_stars(reading_short(response), count, stars) == 0 &&
        read_stars(response, count, stars) == 0) {
        logic_wrong(out, "fewer stars than the puzzle has were found");
        return;
    }
    const char *fault = fault_of(&field, stars, count);
    out->correct = fault == NULL;
    out->why = fault;
}

const struct logic_task logic_task_star_placement_puzzle = {
    "star_placement_puzzle",
    "stars in rows, columns and regions that never touch",
    knobs,
    generate,
    verify,
};
