#include "learner/gradient_stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "core/rng.h"

/* Elements of the flat layout that stand together. */
struct span {
    int64_t offset, count;
};

struct group {
    char name[GRADIENT_NAME_MAX];
    int64_t elements;   /* of all ranks */
    struct span *spans; /* owned; of the own shard */
    int64_t span_count, sampled;
    float *gradient, *before; /* [sampled]; before: of the update `before_update` */
    float *weight, *moved;    /* [sampled] the weight before AdamW and after */
};

struct gradient_stats {
    struct shard shard;
    uint32_t every, count;
    struct group *groups;       /* [count] */
    struct gradient_sums *sums; /* [count] of the last measurement */
    int64_t *elements;          /* [count] for gradient_sums_quantile */
    uint64_t before_update;     /* 0: none */
    uint64_t measured;          /* the last measured update; 0: none */
};

/* ---- groups ---- */

static void name_of(const struct parameter_table *table, const struct model_shape *shape,
                    const struct parameter *row, char name[GRADIENT_NAME_MAX])
{
    const char *part = "other";
    if (strstr(row->name, "norm") != NULL)
        part = "norms";
    else if (row->layer < 0 && row->offset == table->embedding)
        part = "embedding";
    else if (row->layer < 0 && row->offset == table->lm_head)
        part = "head";
    if (row->layer < 0 || strcmp(part, "norms") == 0) {
        snprintf(name, GRADIENT_NAME_MAX, "%s", part);
        return;
    }
    if (strstr(row->name, "attn.") != NULL)
        part = shape->layer_kind[row->layer] == LAYER_LIGHTNING ? "lightning" : "attention";
    else
        part = strstr(row->name, "moe.") != NULL ? "experts" : "mlp";
    snprintf(name, GRADIENT_NAME_MAX, "layers.%d.%s", row->layer, part);
}

/* Index of the group of that name, made when it is new. There is room for one a row. */
static uint32_t find_group(struct gradient_stats *stats, const char *name)
{
    for (uint32_t g = stats->count; g-- > 0;) /* rows of a group stand near each other */
        if (strcmp(stats->groups[g].name, name) == 0)
            return g;
    snprintf(stats->groups[stats->count].name, GRADIENT_NAME_MAX, "%s", name);
    return stats->count++;
}

static int64_t blocks_of(int64_t elements)
{
    return (elements + GRADIENT_BLOCK - 1) / GRADIENT_BLOCK;
}

static int by_offset(const void *a, const void *b)
{
    int64_t x = ((const struct span *)a)->offset, y = ((const struct span *)b)->offset;
    return (x > y) - (x < y);
}

/* What of a span the shard has; count 0: nothing. */
static struct span cut(const struct shard *shard, int64_t offset, int64_t count)
{
    int64_t end = offset + count, last = shard->first + shard->count;
    offset = offset > shard->first ? offset : shard->first;
    end = end < last ? end : last;
    return (struct span){offset, end > offset ? end - offset : 0};
}

static void add_span(const struct shard *shard, struct group *group, int64_t offset, int64_t count)
{
    struct span span = cut(shard, offset, count);
    if (span.count == 0)
        return;
    group->spans[group->span_count++] = span;
    group->sampled += span.count;
}

/* The i-th block of `row`'s group, counted over its rows; false: it is of a later row. *i is what is left then. */
static bool take_block(const struct gradient_stats *stats, struct group *group,
                       const struct parameter *row, int64_t *i)
{
    int64_t blocks = blocks_of(row->count);
    if (*i >= blocks) {
        *i -= blocks;
        return false;
    }
    int64_t first = *i * GRADIENT_BLOCK, left = row->count - first;
    add_span(&stats->shard, group, row->offset + first,
             left < GRADIENT_BLOCK ? left : GRADIENT_BLOCK);
    return true;
}

/* Spans of group g: all of its rows, or GRADIENT_SAMPLE / GRADIENT_BLOCK blocks of them. of_row: group of each row. */
static enum status choose_spans(struct gradient_stats *stats, const struct parameter_table *table,
                                const uint32_t *of_row, uint32_t g)
{
    struct group *group = &stats->groups[g];
    int64_t rows = 0, blocks = 0, most = GRADIENT_SAMPLE / GRADIENT_BLOCK;
    for (int64_t r = 0; r < table->count; r++)
        if (of_row[r] == g) {
            rows++;
            blocks += blocks_of(table->rows[r].count);
        }
    bool all = group->elements <= GRADIENT_SAMPLE;
    group->spans = memory_array((size_t)(all ? rows : most), sizeof *group->spans);
    if (group->spans == NULL)
        return FAIL(STATUS_NO_MEMORY, "places of gradients of %s", group->name);
    for (int64_t r = 0; all && r < table->count; r++)
        if (of_row[r] == g)
            add_span(&stats->shard, group, table->rows[r].offset, table->rows[r].count);
    most = most < blocks ? most : blocks;
    for (int64_t b = 0; !all && b < most; b++) {
        int64_t block = (int64_t)rng_permute(g + 1, (uint64_t)blocks, (uint64_t)b);
        for (int64_t r = 0; r < table->count; r++)
            if (of_row[r] == g && take_block(stats, group, &table->rows[r], &block))
                break;
    }
    qsort(group->spans, (size_t)group->span_count, sizeof *group->spans, by_offset);
    return STATUS_OK;
}

static enum status create_group(struct gradient_stats *stats, const struct parameter_table *table,
                                const uint32_t *of_row, uint32_t g)
{
    struct group *group = &stats->groups[g];
    TRY(choose_spans(stats, table, of_row, g));
    size_t sampled = (size_t)group->sampled + 1;
    group->gradient = memory_array(sampled, sizeof(float));
    group->before = memory_array(sampled, sizeof(float));
    group->weight = memory_array(sampled, sizeof(float));
    group->moved = memory_array(sampled, sizeof(float));
    if (!group->gradient || !group->before || !group->weight || !group->moved)
        return FAIL(STATUS_NO_MEMORY, "%zu sampled gradients of %s", sampled, group->name);
    stats->elements[g] = group->elements;
    return STATUS_OK;
}

static enum status create_groups(struct gradient_stats *stats, const struct parameter_table *table,
                                 const struct model_shape *shape)
{
    uint32_t *of_row = memory_array((size_t)table->count, sizeof *of_row);
    if (of_row == NULL)
        return FAIL(STATUS_NO_MEMORY, "groups of %" PRId64 " tensors", table->count);
    for (int64_t r = 0; r < table->count; r++) {
        char name[GRADIENT_NAME_MAX];
        name_of(table, shape, &table->rows[r], name);
        of_row[r] = find_group(stats, name);
        stats->groups[of_row[r]].elements += table->rows[r].count;
    }
    enum status status = STATUS_OK;
    for (uint32_t g = 0; g < stats->count && status == STATUS_OK; g++)
        status = create_group(stats, table, of_row, g);
    memory_free(of_row);
    return status;
}

enum status gradient_stats_create(struct gradient_stats **out, const struct parameter_table *table,
                                  const struct model_shape *shape, const struct shard *shard,
                                  uint32_t every)
{
    CHECK(every > 0);
    struct gradient_stats *stats = memory_alloc(sizeof *stats);
    size_t rows = (size_t)table->count;
    *out = NULL;
    if (stats == NULL)
        return FAIL(STATUS_NO_MEMORY, "gradient statistics");
    *stats = (struct gradient_stats){.shard = *shard,
                                     .every = every,
                                     .groups = memory_array(rows, sizeof *stats->groups),
                                     .elements = memory_array(rows, sizeof *stats->elements)};
    enum status status = stats->groups != NULL && stats->elements != NULL
                             ? create_groups(stats, table, shape)
                             : FAIL(STATUS_NO_MEMORY, "groups of %zu tensors", rows);
    if (status == STATUS_OK &&
        (stats->sums = memory_array(stats->count, sizeof *stats->sums)) == NULL)
        status = FAIL(STATUS_NO_MEMORY, "sums of %u groups", stats->count);
    if (status != STATUS_OK)
        gradient_stats_destroy(&stats);
    *out = stats;
    return status;
}

void gradient_stats_destroy(struct gradient_stats **pointer)
{
    struct gradient_stats *stats = *pointer;
    if (stats == NULL)
        return;
    for (uint32_t g = 0; g < stats->count; g++) {
        memory_free(stats->groups[g].spans);
        memory_free(stats->groups[g].gradient);
        memory_free(stats->groups[g].before);
        memory_free(stats->groups[g].weight);
        memory_free(stats->groups[g].moved);
    }
    memory_free(stats->groups);
    memory_free(stats->sums);
    memory_free(stats->elements);
    memory_free(stats);
    *pointer = NULL;
}

/* ---- a measurement ---- */

/* array: its element 0 is element `first` of the flat layout. */
static enum status read_sample(const struct op_table *ops, const struct group *group,
                               const float *array, int64_t first, float *host)
{
    for (int64_t s = 0; s < group->span_count; s++) {
        const struct span *span = &group->spans[s];
        TRY(ops->memory_read(ops->context, array + (span->offset - first), host,
                             (size_t)span->count * sizeof *host));
        host += span->count;
    }
    return STATUS_OK;
}

static bool is_measured(const struct gradient_stats *stats, uint64_t update)
{
    return update % stats->every == 0;
}

enum status gradient_stats_before(struct gradient_stats *stats, const struct op_table *ops,
                                  const float *grads, const float *master, uint64_t update)
{
    bool measured = is_measured(stats, update);
    if (!measured && !is_measured(stats, update + 1))
        return STATUS_OK;
    for (uint32_t g = 0; g < stats->count; g++) {
        struct group *group = &stats->groups[g];
        TRY(read_sample(ops, group, grads, 0, group->gradient));
        if (measured)
            TRY(read_sample(ops, group, master, stats->shard.first, group->weight));
    }
    return STATUS_OK;
}

/* Sums over ranks, in rank order, in place. */
static enum status combine(struct gradient_stats *stats, struct ranks *ranks)
{
    if (ranks == NULL)
        return STATUS_OK;
    size_t count = stats->count, size = count * sizeof *stats->sums;
    struct gradient_sums *all = memory_array((size_t)ranks->wire.count, size);
    if (all == NULL)
        return FAIL(STATUS_NO_MEMORY, "gradient sums of %d ranks", ranks->wire.count);
    enum status status = rank_wire_gather(&ranks->wire, stats->sums, size, all);
    if (status == STATUS_OK)
        memcpy(stats->sums, all, size);
    for (int r = 1; r < ranks->wire.count && status == STATUS_OK; r++)
        for (size_t g = 0; g < count; g++)
            gradient_sums_add(&stats->sums[g], &all[(size_t)r * count + g]);
    memory_free(all);
    return status;
}

static enum status measure(struct gradient_stats *stats, const struct op_table *ops,
                           const float *master, bool has_before)
{
    for (uint32_t g = 0; g < stats->count; g++) {
        struct group *group = &stats->groups[g];
        struct gradient_sums *sums = &stats->sums[g];
        gradient_sums_init(sums);
        TRY(read_sample(ops, group, master, stats->shard.first, group->moved));
        gradient_sums_gradient(sums, group->gradient, group->sampled);
        gradient_sums_update(sums, group->weight, group->moved, group->sampled);
        if (has_before)
            gradient_sums_pairs(sums, group->gradient, group->before, group->sampled);
    }
    return STATUS_OK;
}

enum status gradient_stats_after(struct gradient_stats *stats, const struct op_table *ops,
                                 const float *master, struct ranks *ranks, uint64_t update)
{
    if (is_measured(stats, update)) {
        bool has_before = stats->before_update != 0 && stats->before_update + 1 == update;
        TRY(measure(stats, ops, master, has_before));
        TRY(combine(stats, ranks));
        stats->measured = update;
    }
    if (!is_measured(stats, update + 1))
        return STATUS_OK;
    for (uint32_t g = 0; g < stats->count; g++) {
        float *swap = stats->groups[g].before;
        stats->groups[g].before = stats->groups[g].gradient;
        stats->groups[g].gradient = swap;
    }
    stats->before_update = update;
    return STATUS_OK;
}

bool gradient_stats_of(const struct gradient_stats *stats, uint64_t update)
{
    return stats->measured != 0 && stats->measured == update;
}

/* ---- what is said ---- */

/* Over groups, each sampled element counting for those it stands for. */
static double correlation(const struct gradient_stats *stats)
{
    double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (uint32_t g = 0; g < stats->count; g++) {
        const struct gradient_sums *sums = &stats->sums[g];
        double weight = sums->sampled > 0 ? (double)stats->elements[g] / (double)sums->sampled : 0;
        n += weight * (double)sums->pairs;
        x += weight * sums->x;
        y += weight * sums->y;
        xx += weight * sums->xx;
        yy += weight * sums->yy;
        xy += weight * sums->xy;
    }
    if (!(n > 0))
        return NAN;
    double spread = sqrt(xx - x * x / n) * sqrt(yy - y * y / n);
    return spread > 0 ? (xy - x * y / n) / spread : NAN;
}

struct gradient_summary gradient_stats_summary(const struct gradient_stats *stats)
{
    return (struct gradient_summary){
        .p50_log10 = gradient_sums_quantile(stats->sums, stats->elements, stats->count, 0.5),
        .below_tiny = gradient_sums_tiny(stats->sums, stats->elements, stats->count),
        .correlation = correlation(stats)};
}

static enum status write_number(struct buffer *text, const char *key, double value)
{
    return isfinite(value) ? buffer_printf(text, "\"%s\":%.6g,", key, value)
                           : buffer_printf(text, "\"%s\":null,", key);
}

enum status gradient_stats_json(const struct gradient_stats *stats, double lr, struct buffer *text)
{
    struct gradient_summary summary = gradient_stats_summary(stats);
    TRY(buffer_printf(text, "{\"update\":%" PRIu64 ",", stats->measured));
    TRY(write_number(text, "lr", lr));
    TRY(write_number(text, "p50_log10", summary.p50_log10));
    TRY(write_number(text, "below_1e-14", summary.below_tiny));
    TRY(write_number(text, "correlation", summary.correlation));
    TRY(buffer_text(text, "\"groups\":["));
    for (uint32_t g = 0; g < stats->count; g++) {
        TRY(buffer_printf(text, "%s{\"name\":\"%s\",", g > 0 ? "," : "", stats->groups[g].name));
        TRY(gradient_sums_json(&stats->sums[g], stats->elements[g], text));
        TRY(buffer_text(text, "}"));
    }
    return buffer_text(text, "]}");
}
