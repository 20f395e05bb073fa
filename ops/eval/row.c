#include "ops/eval/row.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct filling {
    json_t *row;
    const char *set;
};

/* null (a figure that nothing is known of) is left out. */
static void put(const struct filling *filling, const char *name, const char *suffix,
                const json_t *value)
{
    char key[192];
    snprintf(key, sizeof key, "eval/%s/%s%s", filling->set, name, suffix);
    if (json_is_number(value))
        json_object_set_new(filling->row, key, json_real(json_number_value(value)));
}

static void put_figure(const struct filling *filling, const char *name, const json_t *figure)
{
    put(filling, name, "", json_object_get(figure, "value"));
    put(filling, name, "_low", json_object_get(figure, "low"));
    put(filling, name, "_high", json_object_get(figure, "high"));
}

/* of: {"1": figure, "2": figure, ...}; that of k = n has the name "..._n" too. */
static void put_each(const struct filling *filling, const char *prefix, const json_t *of,
                     unsigned samples)
{
    const char *k;
    json_t *figure;
    char name[64], last[16];
    snprintf(last, sizeof last, "%u", samples);
    json_object_foreach((json_t *)(uintptr_t)of, k, figure)
    {
        snprintf(name, sizeof name, "%s_%s", prefix, k);
        put_figure(filling, name, figure);
        if (strcmp(k, last) != 0)
            continue;
        snprintf(name, sizeof name, "%s_n", prefix);
        put_figure(filling, name, figure);
    }
}

enum status eval_row_fill(json_t *row, const char *set, const json_t *report, unsigned samples)
{
    const json_t *all = json_array_get(json_object_get(report, "sources"), 0);
    const json_t *intervals = json_object_get(all, "intervals"),
                 *tokens = json_object_get(all, "tokens");
    struct filling filling = {.row = row, .set = set};
    if (all == NULL)
        return FAIL(STATUS_CORRUPT, "a report of set %s without figures", set);
    json_object_set_new(row, "set", json_string(set));
    json_object_set_new(row, "status", json_string("done"));
    json_object_set(row, "prompts", json_object_get(all, "prompts"));
    json_object_set_new(row, "samples", json_integer(samples));
    put_figure(&filling, "avg_at_n", json_object_get(all, "avg"));
    put_figure(&filling, "reward", json_object_get(all, "avg_reward"));
    put_each(&filling, "pass_at", json_object_get(all, "pass"), samples);
    put_each(&filling, "maj_at", json_object_get(all, "majority_at"), samples);
    put_figure(&filling, "maj_at_n", json_object_get(all, "majority"));
    put_figure(&filling, "len_mean", json_object_get(intervals, "tokens"));
    put(&filling, "len_p99", "", json_object_get(tokens, "p99"));
    put_figure(&filling, "truncated_frac", json_object_get(intervals, "truncated"));
    put_figure(&filling, "repetition_frac", json_object_get(intervals, "repetition"));
    put(&filling, "not_scored", "", json_object_get(all, "not_scored"));
    return STATUS_OK;
}
