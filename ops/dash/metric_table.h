/* ops/dash/metric_table.h - the steps of a run as columns, for charts.
 *
 * One row a step in ascending order, one column a metric (double, NaN where a step lacks it). Rows are appended; a step that
 * is made again (after a restart from a checkpoint) replaces its row. When the table holds METRIC_TABLE_BYTES the oldest
 * quarter goes. One thread at a time. */
#ifndef OPS_DASH_METRIC_TABLE_H
#define OPS_DASH_METRIC_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"

enum { METRIC_COLUMNS_MAX = 2048, METRIC_TABLE_BYTES = 512 << 20, METRIC_POINTS_MAX = 100000 };

struct metric_table {
    struct metric_column {
        char *name; /* owned */
        double *values;
    } * columns;
    size_t column_count, column_room;
    double *step, *wall; /* [rows] */
    size_t rows, room;
    size_t hint; /* the column after the one found last: rows have their members in one order */
    uint64_t forgotten; /* rows that went */
};

void metric_table_free(struct metric_table *table);
/* Row of a step, made when there is none; *fresh: it was made. Its values stay until they are set. INVALID: not a step. */
MUST_CHECK enum status metric_table_row(struct metric_table *table, double step, double wall,
                                        size_t *row, bool *fresh);
/* LIMIT beyond METRIC_COLUMNS_MAX. */
MUST_CHECK enum status metric_table_set(struct metric_table *table, size_t row, const char *name,
                                        double value);
/* A line of metrics.jsonl: numbers become values, null NaN, other members are left out. */
MUST_CHECK enum status metric_table_take(struct metric_table *table, const json_t *line,
                                         size_t *row, bool *fresh);
bool metric_table_find(const struct metric_table *table, double step, size_t *row);

struct metric_query {
    const char *names; /* between commas; NULL: no series, only the list of names */
    double from, to;   /* steps, inclusive */
    size_t points;     /* 0: every step; else at most so many extremes of each series */
};
/* Appends {"step":[..],"wall":[..],"series":{..},"names":[..],"total":n}. Decimation: the range is cut into points/2 bins of
 * equal width in rows; of each, the rows with the least and the greatest value of every series are kept, besides the first and
 * the last row of the range. A name that no step has gives a series of nulls, one that is repeated stands once. LIMIT: more
 * numbers than one answer may have. */
MUST_CHECK enum status metric_table_json(const struct metric_table *table,
                                         const struct metric_query *query, struct buffer *json);
/* Appends {"name":value,..} of a row, without those that are NaN. */
MUST_CHECK enum status metric_table_row_json(const struct metric_table *table, size_t row,
                                             struct buffer *json);

#endif
