#include "ops/dash/metric_table.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "ops/dash/number.h"

enum {
    ROOM_FIRST = 256,
    COLUMNS_FIRST = 128,
    NUMBERS_MAX = 1000000, /* of an answer: 12 MB of text; a chart's take a hundredth */
    LOOKED_AT_MAX = 32000000
};

void metric_table_free(struct metric_table *table)
{
    for (size_t i = 0; i < table->column_count; i++) {
        memory_free(table->columns[i].name);
        memory_free(table->columns[i].values);
    }
    memory_free(table->columns);
    memory_free(table->step);
    memory_free(table->wall);
    *table = (struct metric_table){0};
}

/* ---- rows ---- */

static enum status grow_one(double **values, size_t room, size_t wanted)
{
    double *grown = memory_grow(*values, room * sizeof **values, wanted * sizeof **values);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu steps of a metric", wanted);
    *values = grown;
    return STATUS_OK;
}

static enum status make_room(struct metric_table *table)
{
    if (table->rows < table->room)
        return STATUS_OK;
    size_t wanted = table->room > 0 ? table->room + table->room / 2 : ROOM_FIRST;
    TRY(grow_one(&table->step, table->room, wanted));
    TRY(grow_one(&table->wall, table->room, wanted));
    for (size_t i = 0; i < table->column_count; i++)
        TRY(grow_one(&table->columns[i].values, table->room, wanted));
    table->room = wanted;
    return STATUS_OK;
}

static void move_rows(struct metric_table *table, size_t to, size_t from, size_t count)
{
    memmove(table->step + to, table->step + from, count * sizeof *table->step);
    memmove(table->wall + to, table->wall + from, count * sizeof *table->wall);
    for (size_t i = 0; i < table->column_count; i++) {
        double *values = table->columns[i].values;
        memmove(values + to, values + from, count * sizeof *values);
    }
}

static void forget_oldest(struct metric_table *table)
{
    size_t bytes = (table->column_count + 2) * table->rows * sizeof(double);
    if (bytes < METRIC_TABLE_BYTES)
        return;
    size_t gone = table->rows / 4;
    move_rows(table, 0, gone, table->rows - gone);
    table->rows -= gone;
    table->forgotten += gone;
}

/* First row whose step is not below. */
static size_t lower_bound(const struct metric_table *table, double step)
{
    size_t low = 0, high = table->rows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->step[middle] < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool metric_table_find(const struct metric_table *table, double step, size_t *row)
{
    size_t at = lower_bound(table, step);
    if (at == table->rows || table->step[at] > step)
        return false;
    *row = at;
    return true;
}

enum status metric_table_row(struct metric_table *table, double step, double wall, size_t *row,
                             bool *fresh)
{
    if (!(step >= 0 && step < 9e15) || step != floor(step))
        return FAIL(STATUS_INVALID, "%g is no step", step);
    *fresh = !metric_table_find(table, step, row);
    if (*fresh) {
        forget_oldest(table);
        TRY(make_room(table));
        size_t at = lower_bound(table, step);
        move_rows(table, at + 1, at, table->rows - at);
        table->rows++;
        table->step[at] = step;
        for (size_t i = 0; i < table->column_count; i++)
            table->columns[i].values[at] = NAN;
        *row = at;
    }
    if (*fresh || !isnan(wall))
        table->wall[*row] = wall;
    table->hint = 0;
    return STATUS_OK;
}

/* ---- columns ---- */

static bool find_column(const struct metric_table *table, const char *name, size_t size,
                        size_t *column)
{
    for (size_t k = 0; k < table->column_count; k++) {
        size_t i = table->hint + k < table->column_count ? table->hint + k
                                                         : table->hint + k - table->column_count;
        if (strncmp(table->columns[i].name, name, size) == 0 && table->columns[i].name[size] == 0) {
            *column = i;
            return true;
        }
    }
    return false;
}

static enum status add_column(struct metric_table *table, const char *name, size_t *column)
{
    if (table->column_count == METRIC_COLUMNS_MAX)
        return FAIL(STATUS_LIMIT, "more than %d metrics: %.100s has no column", METRIC_COLUMNS_MAX,
                    name);
    if (table->column_count == table->column_room) {
        size_t room = table->column_room > 0 ? 2 * table->column_room : COLUMNS_FIRST;
        struct metric_column *grown =
            memory_grow(table->columns, table->column_room * sizeof *grown, room * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu metrics", room);
        table->columns = grown;
        table->column_room = room;
    }
    struct metric_column made = {memory_text(name), memory_array(table->room, sizeof(double))};
    if (made.name == NULL || made.values == NULL) {
        memory_free(made.name);
        memory_free(made.values);
        return FAIL(STATUS_NO_MEMORY, "a column of %zu steps", table->room);
    }
    for (size_t i = 0; i < table->rows; i++)
        made.values[i] = NAN;
    *column = table->column_count;
    table->columns[table->column_count++] = made;
    return STATUS_OK;
}

enum status metric_table_set(struct metric_table *table, size_t row, const char *name, double value)
{
    size_t column;
    if (!find_column(table, name, strlen(name), &column))
        TRY(add_column(table, name, &column));
    table->columns[column].values[row] = isfinite(value) ? value : NAN;
    table->hint = column + 1 < table->column_count ? column + 1 : 0;
    return STATUS_OK;
}

/* What identifies a step is no curve. */
static bool is_curve(const char *name)
{
    return strcmp(name, "step") != 0 && strcmp(name, "wall") != 0 && strcmp(name, "branch") != 0;
}

enum status metric_table_take(struct metric_table *table, const json_t *line, size_t *row,
                              bool *fresh)
{
    const json_t *step = json_object_get(line, "step"), *wall = json_object_get(line, "wall");
    const char *name;
    json_t *value;
    if (!json_is_number(step))
        return FAIL(STATUS_INVALID, "a line of metrics.jsonl has no step");
    TRY(metric_table_row(table, json_number_value(step),
                         json_is_number(wall) ? json_number_value(wall) : NAN, row, fresh));
    json_object_foreach((json_t *)(uintptr_t)line, name, value)
    {
        if (is_curve(name) && (json_is_number(value) || json_is_null(value)))
            TRY(metric_table_set(table, *row, name,
                                 json_is_null(value) ? (double)NAN : json_number_value(value)));
    }
    return STATUS_OK;
}

/* ---- answers ---- */

struct chosen {
    size_t columns[METRIC_COLUMNS_MAX]; /* SIZE_MAX: no step has it */
    const char *names[METRIC_COLUMNS_MAX];
    size_t sizes[METRIC_COLUMNS_MAX]; /* of the names */
    size_t count;
};

static bool is_chosen(const struct chosen *chosen, const char *name, size_t size)
{
    for (size_t i = 0; i < chosen->count; i++)
        if (chosen->sizes[i] == size && memcmp(chosen->names[i], name, size) == 0)
            return true;
    return false;
}

/* Each name once: a query may repeat them. */
static void choose_columns(const struct metric_table *table, const char *names,
                           struct chosen *chosen)
{
    for (const char *at = names; at != NULL && *at != 0 && chosen->count < METRIC_COLUMNS_MAX;) {
        size_t size = strcspn(at, ","), column = SIZE_MAX;
        if (size > 0 && !is_chosen(chosen, at, size)) {
            if (!find_column(table, at, size, &column))
                column = SIZE_MAX;
            chosen->names[chosen->count] = at;
            chosen->sizes[chosen->count] = size;
            chosen->columns[chosen->count++] = column;
        }
        at += size + (at[size] == ',');
    }
}

/* Marks the extremes of one series in rows [begin, end). */
static bool mark_extremes(const double *values, size_t begin, size_t end, uint8_t *keep)
{
    size_t least = SIZE_MAX, greatest = SIZE_MAX;
    for (size_t i = begin; i < end; i++) {
        if (isnan(values[i]))
            continue;
        if (least == SIZE_MAX || values[i] < values[least])
            least = i;
        if (greatest == SIZE_MAX || values[i] > values[greatest])
            greatest = i;
    }
    if (least == SIZE_MAX)
        return false;
    keep[least] = keep[greatest] = 1;
    return true;
}

static void decimate(const struct metric_table *table, const struct chosen *chosen, size_t first,
                     size_t last, size_t bins, uint8_t *keep)
{
    size_t rows = last - first;
    for (size_t bin = 0; bin < bins; bin++) {
        size_t begin = first + rows * bin / bins, end = first + rows * (bin + 1) / bins;
        bool any = false;
        for (size_t i = 0; i < chosen->count && begin < end; i++)
            if (chosen->columns[i] != SIZE_MAX)
                any |= mark_extremes(table->columns[chosen->columns[i]].values, begin, end, keep);
        if (!any && begin < end)
            keep[begin] = 1; /* a gap stays one */
    }
    keep[first] = keep[last - 1] = 1;
}

static enum status write_values(const double *values, size_t first, size_t last,
                                const uint8_t *keep, bool seconds, struct buffer *json)
{
    enum { AT_ONCE = 256 };
    char between = '[';
    for (size_t i = first; i < last;) {
        TRY(buffer_reserve(json, AT_ONCE * (NUMBER_TEXT_MAX + 1)));
        char *out = (char *)json->bytes + json->size, *begin = out;
        for (int k = 0; k < AT_ONCE && i < last; i++) {
            if (keep != NULL && keep[i] == 0)
                continue;
            double value = values != NULL ? values[i] : (double)NAN;
            *out++ = between;
            out += seconds ? number_seconds(value, out) : number_text(value, out);
            between = ',';
            k++;
        }
        json->size += (size_t)(out - begin);
    }
    return buffer_text(json, between == '[' ? "[]" : "]");
}

static enum status write_series(const struct metric_table *table, const struct chosen *chosen,
                                size_t first, size_t last, const uint8_t *keep, struct buffer *json)
{
    TRY(buffer_text(json, "{\"step\":"));
    TRY(write_values(table->step, first, last, keep, false, json));
    TRY(buffer_text(json, ",\"wall\":"));
    TRY(write_values(table->wall, first, last, keep, true, json));
    TRY(buffer_text(json, ",\"series\":{"));
    for (size_t i = 0; i < chosen->count; i++) {
        char name[256];
        size_t size = chosen->sizes[i], shown = size < sizeof name ? size : sizeof name - 1;
        memcpy(name, chosen->names[i], shown);
        name[shown] = 0;
        TRY(buffer_text(json, i > 0 ? "," : ""));
        TRY(buffer_json_text(json, name));
        TRY(buffer_text(json, ":"));
        size_t column = chosen->columns[i];
        TRY(write_values(column != SIZE_MAX ? table->columns[column].values : NULL, first, last,
                         keep, false, json));
    }
    return buffer_text(json, "}");
}

static enum status write_names(const struct metric_table *table, struct buffer *json)
{
    TRY(buffer_text(json, ",\"names\":["));
    for (size_t i = 0; i < table->column_count; i++) {
        TRY(buffer_text(json, i > 0 ? "," : ""));
        TRY(buffer_json_text(json, table->columns[i].name));
    }
    return buffer_text(json, "]");
}

static size_t count_kept(const uint8_t *keep, size_t first, size_t last)
{
    size_t count = 0;
    for (size_t i = first; i < last; i++)
        count += keep == NULL || keep[i] != 0;
    return count;
}

static enum status answer(const struct metric_table *table, const struct metric_query *query,
                          struct chosen *chosen, struct buffer *json)
{
    size_t first = lower_bound(table, query->from), last = lower_bound(table, query->to);
    last += last < table->rows && table->step[last] <= query->to;
    if (last < first)
        last = first;
    choose_columns(table, query->names, chosen);
    size_t bins = query->points / 2 > 0 ? query->points / 2 : 1;
    uint8_t *keep = NULL;
    if (query->points > 0 && last - first > query->points) {
        if ((last - first) * chosen->count > LOOKED_AT_MAX)
            return FAIL(STATUS_LIMIT,
                        "%zu steps of %zu metrics are too many for one answer: ask for fewer names "
                        "or a shorter range",
                        last - first, chosen->count);
        if ((keep = memory_alloc(last)) == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu steps", last);
        decimate(table, chosen, first, last, bins, keep);
    }
    size_t numbers = count_kept(keep, first, last) * (chosen->count + 2);
    enum status status =
        numbers <= NUMBERS_MAX
            ? buffer_reserve(json, numbers * 12) /* about what it takes */
            : FAIL(STATUS_LIMIT,
                   "%zu numbers are too many for one answer, at most %d: ask for fewer names, a "
                   "shorter range or fewer points",
                   numbers, (int)NUMBERS_MAX);
    if (status == STATUS_OK)
        status = write_series(table, chosen, first, last, keep, json);
    memory_free(keep);
    if (status == STATUS_OK && query->names == NULL)
        status = write_names(table, json);
    if (status == STATUS_OK)
        status = buffer_printf(json, ",\"total\":%zu}", table->rows);
    return status;
}

enum status metric_table_json(const struct metric_table *table, const struct metric_query *query,
                              struct buffer *json)
{
    struct chosen *chosen = memory_alloc(sizeof *chosen);
    if (chosen == NULL)
        return FAIL(STATUS_NO_MEMORY, "columns of an answer");
    enum status status = answer(table, query, chosen, json);
    memory_free(chosen);
    return status;
}

enum status metric_table_row_json(const struct metric_table *table, size_t row, struct buffer *json)
{
    char number[NUMBER_TEXT_MAX];
    const char *between = "{";
    for (size_t i = 0; i < table->column_count; i++) {
        double value = table->columns[i].values[row];
        if (isnan(value))
            continue;
        TRY(buffer_text(json, between));
        TRY(buffer_json_text(json, table->columns[i].name));
        TRY(buffer_text(json, ":"));
        TRY(buffer_append(json, number, number_text(value, number)));
        between = ",";
    }
    return buffer_text(json, between[0] == '{' ? "{}" : "}");
}
