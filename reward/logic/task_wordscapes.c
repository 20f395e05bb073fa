/* Word crossings: the layout of a crossword and its words, to be put where they belong. Words are laid one by one
 * across those that lie already, so a solution exists; the judge checks layout and words, so each solution counts. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { SIDE_MAX = 32, WORDS_MAX = 16, TRIES = 200, LAYOUTS = 12, NODES_MAX = 50000 };

static const struct logic_knob knobs[] = {
    {"size", 4, 14, 7, "side of the grid"},
    {"num_words", 3, 14, 6, "words in it; fewer, but 3 at least, when no more fit"},
    {0},
};

struct slot {
    const char *word; /* while making: what stands there */
    int r, c, length;
    bool down;
};

struct layout {
    int rows, columns, count;
    char cell[SIDE_MAX][SIDE_MAX]; /* 0: empty */
    struct slot slot[WORDS_MAX];
};

static char *cell_of(struct layout *layout, const struct slot *slot, int i)
{
    return &layout->cell[slot->r + (slot->down ? i : 0)][slot->c + (slot->down ? 0 : i)];
}

static bool is_filled(const struct layout *layout, int r, int c)
{
    return r >= 0 && c >= 0 && r < layout->rows && c < layout->columns && layout->cell[r][c] != 0;
}

/* ---- making ---- */

/* A word may only touch others where it crosses them; false also when it crosses none. */
static bool may_lie(struct layout *layout, const struct slot *slot)
{
    int dr = slot->down ? 1 : 0, dc = 1 - dr, crossings = 0;
    if (slot->r + dr * slot->length > layout->rows || slot->c + dc * slot->length > layout->columns)
        return false;
    if (is_filled(layout, slot->r - dr, slot->c - dc) ||
        is_filled(layout, slot->r + dr * slot->length, slot->c + dc * slot->length))
        return false;
    for (int i = 0; i < slot->length; i++) {
        int r = slot->r + dr * i, c = slot->c + dc * i;
        if (layout->cell[r][c] != 0) {
            if (layout->cell[r][c] != slot->word[i])
                return false;
            crossings++;
        } else if (is_filled(layout, r + dc, c + dr) || is_filled(layout, r - dc, c - dr)) {
            return false;
        }
    }
    return layout->count == 0 || (crossings > 0 && crossings < slot->length);
}

static void lay(struct layout *layout, const struct slot *slot)
{
    for (int i = 0; i < slot->length; i++)
        *cell_of(layout, slot, i) = slot->word[i];
    layout->slot[layout->count++] = *slot;
}

/* A random place for the word; false when it has none. */
static bool lay_somewhere(struct layout *layout, const char *word, struct rng *rng)
{
    int found = 0, length = (int)strlen(word);
    struct slot chosen = {0};
    for (int i = 0; i < layout->count; i++)
        if (strcmp(layout->slot[i].word, word) == 0)
            return false;
    for (int at = 0; at < 2 * layout->rows * layout->columns; at++) {
        struct slot slot = {word, at / 2 / layout->columns, at / 2 % layout->columns, length,
                            at % 2 == 1};
        if (may_lie(layout, &slot) && rng_below(rng, (uint32_t)++found) == 0)
            chosen = slot;
    }
    if (found > 0)
        lay(layout, &chosen);
    return found > 0;
}

static void fill(struct layout *layout, int words, struct rng *rng)
{
    for (int i = 0; i < TRIES && layout->count < words; i++) {
        const char *word = draw_text(rng, words_common, words_common_count);
        if (strlen(word) <= (size_t)layout->columns)
            (void)lay_somewhere(layout, word, rng);
    }
}

struct search {
    struct layout layout; /* letters put so far */
    bool used[WORDS_MAX];
    int crossed[SIDE_MAX][SIDE_MAX]; /* words over a cell so far */
    int solutions;
    long nodes;
};

static bool fits(struct search *search, const struct slot *slot, const char *word)
{
    for (int i = 0; i < slot->length; i++) {
        char there = *cell_of(&search->layout, slot, i);
        if (there != 0 && there != word[i])
            return false;
    }
    return true;
}

static void put(struct search *search, const struct slot *slot, const char *word, int step)
{
    for (int i = 0; i < slot->length; i++) {
        int r = slot->r + (slot->down ? i : 0), c = slot->c + (slot->down ? 0 : i);
        search->crossed[r][c] += step;
        if (step > 0)
            search->layout.cell[r][c] = word[i];
        else if (search->crossed[r][c] == 0)
            search->layout.cell[r][c] = 0;
    }
}

/* Which word goes where: slot by slot, words of the slot's direction and length; false: stop. */
static bool match(struct search *search, int at)
{
    if (at == search->layout.count)
        return ++search->solutions < 2;
    const struct slot *slot = &search->layout.slot[at];
    for (int i = 0; i < search->layout.count; i++) {
        const struct slot *source = &search->layout.slot[i];
        if (search->used[i] || source->down != slot->down || source->length != slot->length ||
            ++search->nodes > NODES_MAX || !fits(search, slot, source->word))
            continue;
        search->used[i] = true;
        put(search, slot, source->word, 1);
        bool goes_on = match(search, at + 1);
        put(search, slot, source->word, -1);
        search->used[i] = false;
        if (!goes_on)
            return false;
    }
    return true;
}

/* ---- the row ---- */

static json_t *words_of(const struct layout *layout, bool down, const int *order)
{
    json_t *list = json_array();
    for (int i = 0; i < layout->count; i++)
        if (layout->slot[order[i]].down == down)
            json_array_append_new(list, json_string(layout->slot[order[i]].word));
    return list;
}

static json_t *grid_of(const struct layout *layout, bool solved)
{
    json_t *grid = json_array();
    for (int r = 0; r < layout->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < layout->columns; c++) {
            char letter = layout->cell[r][c];
            json_t *cell = !solved ? json_string(letter != 0 ? "X" : "0")
                                   : json_sprintf("%c", letter != 0 ? letter : ' ');
            json_array_append_new(row, cell);
        }
        json_array_append_new(grid, row);
    }
    return grid;
}

static enum status write_list(const json_t *words, const char *title, struct buffer *out)
{
    TRY(buffer_text(out, title));
    for (size_t i = 0; i < json_array_size(words); i++)
        TRY(buffer_printf(out, "%s%s", i > 0 ? ", " : " ",
                          json_string_value(json_array_get(words, i))));
    return buffer_text(out, "\n");
}

static enum status write_question(const struct layout *layout, const json_t *across,
                                  const json_t *down, struct buffer *out)
{
    TRY(buffer_text(out,
                    "Put the words below into the grid. X is a cell for one letter, 0 a cell that"
                    " stays empty. Words across read from left to right, words down from top to"
                    " bottom; each is used once, and where two cross they share the letter.\n\n"));
    TRY(write_list(across, "Across:", out));
    TRY(write_list(down, "Down:", out));
    TRY(buffer_text(out, "\n"));
    for (int r = 0; r < layout->rows; r++)
        for (int c = 0; c < layout->columns; c++)
            TRY(buffer_printf(out, "%s%s", layout->cell[r][c] != 0 ? "X" : "0",
                              c + 1 == layout->columns ? "\n" : " "));
    return buffer_text(
        out, "\nEnd your answer with the filled grid as a list of rows in which every cell"
             " is a quoted letter, or \" \" where the grid has 0:\n"
             "[[\"c\", \"a\", \"t\"], [\" \", \"r\", \" \"], ...]");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct search search = {0};
    struct layout made = {.count = 0};
    for (int i = 0; i < LAYOUTS && made.count < settings->value[1]; i++) {
        struct layout layout = {.rows = settings->value[0], .columns = settings->value[0]};
        fill(&layout, settings->value[1], rng);
        made = layout.count > made.count ? layout : made;
    }
    if (made.count < 3)
        return STATUS_AGAIN;
    search.layout = made;
    memset(search.layout.cell, 0, sizeof search.layout.cell);
    (void)match(&search, 0);
    int order[WORDS_MAX];
    draw_permutation(rng, order, made.count);
    json_t *across = words_of(&made, false, order), *down = words_of(&made, true, order);
    out->answer = grid_of(&made, true);
    out->metadata = json_pack("{s:o, s:o, s:o, s:O}", "grid", grid_of(&made, false), "across_words",
                              across, "down_words", down, "solution", out->answer);
    if (out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a wordscapes row");
    out->work = (double)search.nodes;
    out->difficulty = logic_difficulty(out->work, 3, 500);
    return write_question(&made, across, down, &out->question);
}

/* ---- judging ---- */

/* The layout in metadata, 'X' where a letter belongs. */
static bool read_layout(const json_t *grid, struct layout *layout)
{
    memset(layout, 0, sizeof *layout);
    size_t rows = json_array_size(grid), columns = json_array_size(json_array_get(grid, 0));
    if (rows == 0 || columns == 0 || rows > SIDE_MAX || columns > SIDE_MAX)
        return false;
    layout->rows = (int)rows;
    layout->columns = (int)columns;
    for (size_t r = 0; r < rows; r++) {
        if (json_array_size(json_array_get(grid, r)) != columns)
            return false;
        for (size_t c = 0; c < columns; c++) {
            const char *mark = json_string_value(json_array_get(json_array_get(grid, r), c));
            layout->cell[r][c] = mark != NULL && (mark[0] == 'X' || mark[0] == 'x') ? 'X' : 0;
        }
    }
    return true;
}

/* One lower case letter, 0 for an empty cell, '?' for anything else. */
static char read_letter(const json_t *grid, int r, int c)
{
    char scratch[24];
    const char *text = reading_cell(grid, (size_t)r, (size_t)c, scratch);
    while (*text == ' ')
        text++;
    if (*text == '\0' || (text[1] == '\0' && strchr("0_-.#", *text) != NULL))
        return 0;
    return isalpha((unsigned char)*text) && text[strspn(text + 1, " ") + 1] == '\0'
               ? (char)tolower((unsigned char)*text)
               : '?';
}

static bool stands_at(struct layout *letters, const struct slot *slot)
{
    if ((slot->down ? slot->r : slot->c) + slot->length >
        (slot->down ? letters->rows : letters->columns))
        return false;
    for (int i = 0; i < slot->length; i++)
        if (*cell_of(letters, slot, i) != tolower((unsigned char)slot->word[i]))
            return false;
    return true;
}

/* Marks the cells of each place where a listed word stands; false when one is missing. A word listed twice needs
 * two places. */
static bool cover(struct layout *letters, const json_t *words, bool down,
                  bool covered[SIDE_MAX][SIDE_MAX])
{
    for (size_t w = 0; w < json_array_size(words); w++) {
        const char *word = json_string_value(json_array_get(words, w));
        size_t listed = 0, places = 0;
        if (word == NULL || *word == '\0' || strlen(word) > SIDE_MAX)
            continue;
        for (size_t i = 0; i < json_array_size(words); i++) {
            const char *other = json_string_value(json_array_get(words, i));
            listed += other != NULL && strcmp(other, word) == 0;
        }
        for (int at = 0; at < letters->rows * letters->columns; at++) {
            struct slot slot = {word, at / letters->columns, at % letters->columns,
                                (int)strlen(word), down};
            if (!stands_at(letters, &slot))
                continue;
            places++;
            for (int i = 0; i < slot.length; i++)
                covered[slot.r + (down ? i : 0)][slot.c + (down ? 0 : i)] = true;
        }
        if (places < listed)
            return false;
    }
    return true;
}

static const char *fault_of(const struct layout *layout, const json_t *grid, const json_t *across,
                            const json_t *down)
{
    struct layout letters = {.rows = layout->rows, .columns = layout->columns};
    bool covered[SIDE_MAX][SIDE_MAX] = {{false}};
    for (int r = 0; r < layout->rows; r++)
        for (int c = 0; c < layout->columns; c++) {
            letters.cell[r][c] = read_letter(grid, r, c);
            if (letters.cell[r][c] == '?' || !letters.cell[r][c] != !layout->cell[r][c])
                return "letters and empty cells are not where the grid has them";
        }
    if (!cover(&letters, across, false, covered) || !cover(&letters, down, true, covered))
        return "a word does not stand in the grid";
    for (int r = 0; r < layout->rows; r++)
        for (int c = 0; c < layout->columns; c++)
            if (letters.cell[r][c] != 0 && !covered[r][c])
                return "a letter belongs to no word";
    return NULL;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct layout layout;
    const json_t *across = json_object_get(metadata, "across_words"),
                 *down = json_object_get(metadata, "down_words");
    if (!read_layout(json_object_get(metadata, "grid"), &layout) || !json_is_array(across) ||
        !json_is_array(down) || json_array_size(across) + json_array_size(down) > 64) {
        logic_broken(out, "metadata lacks grid (at most 32 x 32), across_words or down_words");
        return;
    }
    json_t *grid = board_grid(response, (size_t)layout.rows, (size_t)layout.columns);
    if (grid == NULL) {
        logic_wrong(out, "no grid of the puzzle's size was found");
        return;
    }
    out->why = fault_of(&layout, grid, across, down);
    out->correct = out->why == NULL;
    json_decref(grid);
}

const struct logic_task logic_task_wordscapes = {
    "wordscapes", "words into the layout of a crossword", knobs, generate, verify,
};
