/* Buggy tables: undo a described damage to a table and compute one figure of it. One number with two decimals; the judge
 * compares to half a hundredth. */
#include <math.h>
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { ROWS_MAX = 40, COLUMNS_MAX = 8 };

static const struct logic_knob knobs[] = {
    {"rows", 3, 40, 8, "rows of the table"},
    {"columns", 3, 8, 4, "columns of the table"},
    {0},
};

static const char *const headers[COLUMNS_MAX] = {"steps",    "calories", "emails", "calls",
                                                 "meetings", "minutes",  "pages",  "messages"};

struct table {
    int rows, columns, cell[ROWS_MAX][COLUMNS_MAX];
};

/* Damages of which the question tells; `shown` gets the damaged table. */
static enum status spoil(struct rng *rng, const struct table *table, struct table *shown,
                         struct buffer *story)
{
    uint32_t way = rng_below(rng, 4);
    int column = (int)rng_below(rng, (uint32_t)table->columns), amount = draw_between(rng, 2, 30);
    *shown = *table;
    for (int r = 0; r < table->rows; r++)
        for (int c = 0; c < table->columns; c++) {
            int from = table->cell[r][c];
            if (way == 0)
                shown->cell[(r + c) % table->rows][c] = from;
            else if (way == 1)
                shown->cell[r][(c + r) % table->columns] = from;
            else if (way == 2)
                shown->cell[r][(c + 1) % table->columns] = from;
            else if (c == column)
                shown->cell[r][c] = from + amount;
        }
    switch (way) {
    case 0:
        return buffer_text(story,
                           "A bug moved the values of the i-th column down by i rows (columns"
                           " counted from 0; what left the table at the bottom came in at"
                           " the top). The header is right.");
    case 1:
        return buffer_text(story, "A bug moved the values of the i-th row to the right by i columns"
                                  " (rows counted from 0 below the header; what left the table on"
                                  " the right came in on the left). The header is right.");
    case 2:
        return buffer_text(story, "A bug moved all values one column to the right, and those of the"
                                  " last column into the first. The header is right.");
    default:
        return buffer_printf(story, "A bug added %d to every value of the column %s.", amount,
                             headers[column]);
    }
}

/* The figure over the rows that count, and its words. */
static enum status ask(struct rng *rng, const struct table *table, struct buffer *text,
                       double *result)
{
    static const char *const figures[] = {"sum", "mean", "largest value", "smallest value",
                                          "difference between the largest and the smallest value"};
    int figure = (int)rng_below(rng, 5), column = (int)rng_below(rng, (uint32_t)table->columns);
    int by = (int)rng_below(rng, (uint32_t)table->columns), limit = draw_between(rng, 10, 80);
    int count = 0, sum = 0, low = 0, high = 0;
    for (int r = 0; r < table->rows; r++) {
        int value = table->cell[r][column];
        if (table->cell[r][by] < limit)
            continue;
        low = count == 0 || value < low ? value : low;
        high = count == 0 || value > high ? value : high;
        sum += value;
        count++;
    }
    *result = count == 0    ? 0
              : figure == 0 ? sum
              : figure == 1 ? (double)sum / count
              : figure == 2 ? high
              : figure == 3 ? low
                            : high - low;
    return buffer_printf(
        text,
        "\n\nIn the right table, what is the %s of %s over the rows in which %s is"
        " at least %d? If there is no such row, the answer is 0.00. Give the number"
        " with two decimals in \\boxed{}.",
        figures[figure], headers[column], headers[by], limit);
}

static enum status write_table(const struct table *table, struct buffer *text)
{
    for (int c = 0; c < table->columns; c++)
        TRY(buffer_printf(text, "| %s ", headers[c]));
    TRY(buffer_text(text, "|\n"));
    for (int c = 0; c < table->columns; c++)
        TRY(buffer_text(text, "| --- "));
    TRY(buffer_text(text, "|\n"));
    for (int r = 0; r < table->rows; r++) {
        for (int c = 0; c < table->columns; c++)
            TRY(buffer_printf(text, "| %d ", table->cell[r][c]));
        TRY(buffer_text(text, "|\n"));
    }
    return buffer_text(text, "\n");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct table table = {.rows = settings->value[0], .columns = settings->value[1]}, shown;
    struct buffer story;
    char answer[32];
    double result = 0;
    for (int r = 0; r < table.rows; r++)
        for (int c = 0; c < table.columns; c++)
            table.cell[r][c] = draw_between(rng, 1, 99);
    buffer_init(&story, 0);
    enum status status;
    TRY_GOTO(out, spoil(rng, &table, &shown, &story));
    TRY_GOTO(out, write_table(&shown, &out->question));
    TRY_GOTO(out, buffer_text(&out->question, buffer_string(&story)));
    TRY_GOTO(out, ask(rng, &table, &out->question, &result));
    (void)snprintf(answer, sizeof answer, "%.2f", result);
    out->answer = json_string(answer);
    out->metadata = json_pack("{s:f, s:i, s:i}", "result", result, "num_rows", table.rows,
                              "num_columns", table.columns);
    out->work = table.rows * table.columns;
    out->difficulty = logic_difficulty(out->work, 9, 320);
out:
    buffer_free(&story);
    return status;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    double wanted = 0, given;
    bool fine = json_is_number(answer);
    if (fine)
        wanted = json_number_value(answer);
    else if (json_is_string(answer))
        fine = reading_number(
            (struct answer_span){json_string_value(answer), json_string_length(answer)}, &wanted);
    if (!fine) {
        logic_broken(out, "answer: must be a number");
        return;
    }
    bool found = reading_number(reading_short(response), &given);
    out->correct = found && fabs(given - wanted) <= 0.005 + 1e-9 * (1 + fabs(wanted));
    out->why = out->correct ? NULL : found ? "another number" : "no number was found";
}

const struct logic_task logic_task_buggy_tables = {
    "buggy_tables", "undo a damage, then compute a figure", knobs, generate, verify};
