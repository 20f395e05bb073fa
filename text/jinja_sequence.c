/* text/jinja_sequence.c - filters of lists and dicts. What is a generator in Python is a list here. */
#include <string.h>

#include "text/jinja_case.h"

static enum status filter_list(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    (void)args;
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, result));
    for (size_t i = 0; i < items->count; i++)
        TRY(jinja_list_add(run, result->list, &items->items[i]));
    return STATUS_OK;
}

static enum status filter_items(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    (void)args;
    if (self->kind == JINJA_UNDEFINED)
        return jinja_list_new(run, JINJA_LIST, 0, result);
    if (self->kind != JINJA_DICT)
        return JINJA_FAIL(run, STATUS_INVALID, "items needs a dict, not a %s",
                          jinja_kind_name(self));
    return jinja_call_method(run, self, "items", &(struct jinja_arguments){0}, result);
}

/* first, last */
static enum status filter_end(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    TRY(jinja_iterate(run, self, &items));
    *result = items->count == 0      ? jinja_undefined("the sequence is empty")
              : args->name[0] == 'f' ? items->items[0]
                                     : items->items[items->count - 1];
    return STATUS_OK;
}

static enum status filter_reverse(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    (void)args;
    if (self->kind == JINJA_TEXT) {
        struct jinja_value bounds[3] = {jinja_none(), jinja_none(), jinja_int(-1)};
        return jinja_slice(run, self, bounds, result);
    }
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, result));
    for (size_t i = items->count; i > 0; i--)
        TRY(jinja_list_add(run, result->list, &items->items[i - 1]));
    return STATUS_OK;
}

/* ---- what of each item counts ---- */

struct key {
    const struct jinja_value *path; /* NULL: the item itself */
    bool fold;                      /* texts without case */
};

static enum status key_of(struct jinja_run *run, const struct key *key,
                          const struct jinja_value *item, struct jinja_value *value)
{
    *value = *item;
    if (key->path != NULL)
        TRY(jinja_path(run, item, key->path, value));
    if (key->fold && value->kind == JINJA_TEXT)
        return jinja_change_case(run, value->text, JINJA_LOWER, value);
    return STATUS_OK;
}

static struct key make_key(const struct jinja_bound *args, size_t fold, size_t path)
{
    return (struct key){
        .path = args->given[path] && args->at[path].kind != JINJA_NONE ? &args->at[path] : NULL,
        .fold = !args->given[fold] || !jinja_truth(&args->at[fold])};
}

static enum status filter_join(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value between = jinja_text("", 0), parts, value;
    struct jinja_list *items;
    struct key key = {.path =
                          args->given[1] && args->at[1].kind != JINJA_NONE ? &args->at[1] : NULL};
    if (args->given[0])
        TRY(jinja_print_text(run, &args->at[0], &between));
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, &parts));
    for (size_t i = 0; i < items->count; i++) {
        TRY(key_of(run, &key, &items->items[i], &value));
        TRY(jinja_list_add(run, parts.list, &value));
    }
    return jinja_join(run, parts.list, between.text, result);
}

static enum status filter_sum(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    struct jinja_value value;
    struct key key = {.path =
                          args->given[0] && args->at[0].kind != JINJA_NONE ? &args->at[0] : NULL};
    TRY(jinja_iterate(run, self, &items));
    *result = args->given[1] ? args->at[1] : jinja_int(0);
    for (size_t i = 0; i < items->count; i++) {
        struct jinja_value before = *result;
        TRY(key_of(run, &key, &items->items[i], &value));
        TRY(jinja_binary(run, JINJA_ADD, &before, &value, result));
    }
    return STATUS_OK;
}

/* min, max: the first of the extreme ones */
static enum status filter_extreme(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    struct jinja_value best, value;
    struct key key = make_key(args, 0, 1);
    TRY(jinja_iterate(run, self, &items));
    *result = jinja_undefined("the sequence is empty");
    for (size_t i = 0; i < items->count; i++) {
        int order = -1;
        TRY(key_of(run, &key, &items->items[i], &value));
        if (i > 0)
            TRY(jinja_order(run, &value, &best, &order));
        if (i == 0 || (args->name[1] == 'i' ? order < 0 : order > 0)) {
            best = value;
            *result = items->items[i];
        }
    }
    return STATUS_OK;
}

static enum status filter_unique(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    struct jinja_value seen, value;
    struct key key = make_key(args, 0, 1);
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, result));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, &seen));
    for (size_t i = 0; i < items->count; i++) {
        bool known;
        TRY(key_of(run, &key, &items->items[i], &value));
        TRY(jinja_contains(run, &value, &seen, &known));
        if (!known) {
            TRY(jinja_list_add(run, seen.list, &value));
            TRY(jinja_list_add(run, result->list, &items->items[i]));
        }
    }
    return STATUS_OK;
}

/* ---- order ---- */

struct sorted {
    struct jinja_value key, item;
};

/* Merge sort: stable, and an error of a comparison comes through. */
static enum status merge_sort(struct jinja_run *run, struct sorted *rows, struct sorted *spare,
                              size_t count, bool reverse)
{
    for (size_t width = 1; width < count; width *= 2)
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = middle + width < count ? middle + width : count;
            for (size_t a = begin, b = middle, at = begin; at < end; at++) {
                int order = a == middle ? 1 : -1;
                if (a < middle && b < end)
                    TRY(jinja_order(run, &rows[a].key, &rows[b].key, &order));
                bool left = a < middle && (b == end || (reverse ? order >= 0 : order <= 0));
                spare[at] = rows[left ? a++ : b++];
            }
            memcpy(rows + begin, spare + begin, (end - begin) * sizeof *rows);
        }
    return STATUS_OK;
}

static enum status sort_items(struct jinja_run *run, const struct jinja_list *items,
                              const struct key *key, bool reverse, struct jinja_value *result)
{
    struct sorted *rows, *spare;
    TRY(jinja_room(run, items->count, sizeof *rows, &rows));
    TRY(jinja_room(run, items->count, sizeof *spare, &spare));
    for (size_t i = 0; i < items->count; i++) {
        rows[i].item = items->items[i];
        TRY(key_of(run, key, &rows[i].item, &rows[i].key));
    }
    TRY(merge_sort(run, rows, spare, items->count, reverse));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, result));
    for (size_t i = 0; i < items->count; i++)
        TRY(jinja_list_add(run, result->list, &rows[i].item));
    return STATUS_OK;
}

static enum status filter_sort(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    struct key key = make_key(args, 1, 2);
    TRY(jinja_iterate(run, self, &items));
    return sort_items(run, items, &key, jinja_truth(&args->at[0]), result);
}

static enum status filter_dictsort(struct jinja_run *run, const struct jinja_value *self,
                                   const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value pairs;
    bool by_value = args->given[1] && jinja_is_text(&args->at[1], "value");
    struct jinja_value place = jinja_int(by_value);
    struct key key = make_key(args, 0, 3);
    key.path = &place;
    if (args->given[1] && !by_value && !jinja_is_text(&args->at[1], "key"))
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "dictsort: by is key or value");
    if (self->kind != JINJA_DICT)
        return JINJA_FAIL(run, STATUS_INVALID, "dictsort needs a dict, not a %s",
                          jinja_kind_name(self));
    TRY(jinja_call_method(run, self, "items", &(struct jinja_arguments){0}, &pairs));
    return sort_items(run, pairs.list, &key, jinja_truth(&args->at[2]), result);
}

static enum status filter_batch(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    struct jinja_value row = {0};
    int64_t size;
    TRY(jinja_need_integer(run, args, 0, 0, &size));
    if (size < 1 || size > 1000000)
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "batch needs a size of 1 to 1000000");
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, 4, result));
    for (size_t i = 0; i < items->count; i++) {
        if (i % (size_t)size == 0) {
            TRY(jinja_list_new(run, JINJA_LIST, 4, &row));
            TRY(jinja_list_add(run, result->list, &row));
        }
        TRY(jinja_list_add(run, row.list, &items->items[i]));
    }
    while (row.list != NULL && args->given[1] && row.list->count < (size_t)size)
        TRY(jinja_list_add(run, row.list, &args->at[1]));
    return STATUS_OK;
}

/* ---- map and select ---- */

/* The arguments behind the first `skip`. */
static struct jinja_arguments rest_of(const struct jinja_arguments *all, size_t skip)
{
    struct jinja_arguments rest = *all;
    rest.items += skip;
    rest.count -= skip;
    return rest;
}

/* A name among the arguments, with its NUL. */
static enum status name_at(struct jinja_run *run, const struct jinja_bound *args, size_t place,
                           const char **name)
{
    struct jinja_value text;
    if (args->all->count <= place || args->all->items[place].kind != JINJA_TEXT)
        return JINJA_FAIL(run, STATUS_INVALID, "%s needs a name as argument %zu", args->name,
                          place + 1);
    TRY(jinja_text_copy(run, args->all->items[place].text.bytes, args->all->items[place].text.size,
                        &text));
    *name = text.text.bytes;
    return STATUS_OK;
}

static const struct jinja_value *named(const struct jinja_arguments *all, const char *name)
{
    for (size_t i = 0; i < all->named; i++)
        if (strcmp(all->names[i], name) == 0)
            return &all->values[i];
    return NULL;
}

static enum status filter_map(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    const struct jinja_arguments *all = args->all;
    const struct jinja_value *path = named(all, "attribute"), *absent = named(all, "default");
    struct jinja_arguments rest = {0};
    struct jinja_list *items;
    const char *name = NULL;
    if (!jinja_truth(self)) /* none too */
        return jinja_list_new(run, JINJA_LIST, 0, result);
    if (path == NULL) {
        TRY(name_at(run, args, 0, &name));
        rest = rest_of(all, 1);
    } else if (all->count > 0 || all->named > 1u + (absent != NULL)) {
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "map(attribute=...) takes default= besides");
    }
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, items->count, result));
    for (size_t i = 0; i < items->count; i++) {
        struct jinja_value value;
        if (path == NULL)
            TRY(jinja_filter(run, name, &items->items[i], &rest, &value));
        else
            TRY(jinja_path(run, &items->items[i], path, &value));
        if (path != NULL && absent != NULL && value.kind == JINJA_UNDEFINED)
            value = *absent;
        TRY(jinja_list_add(run, result->list, &value));
    }
    return STATUS_OK;
}

/* select reject selectattr rejectattr: by a test, else by truth */
static enum status filter_select(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    bool attribute = strstr(args->name, "attr") != NULL, keep = args->name[0] == 's';
    struct jinja_arguments rest = {0};
    struct jinja_list *items;
    const char *test = NULL;
    if (!jinja_truth(self)) /* none too */
        return jinja_list_new(run, JINJA_LIST, 0, result);
    if (attribute && args->all->count == 0)
        return JINJA_FAIL(run, STATUS_INVALID, "%s needs an attribute", args->name);
    if (args->all->count > attribute) {
        TRY(name_at(run, args, attribute, &test));
        rest = rest_of(args->all, 1u + attribute);
        if (!jinja_is_test(test))
            return JINJA_FAIL(run, STATUS_UNSUPPORTED, "there is no test \"%.60s\"", test);
    }
    TRY(jinja_iterate(run, self, &items));
    TRY(jinja_list_new(run, JINJA_LIST, 4, result));
    for (size_t i = 0; i < items->count; i++) {
        struct jinja_value value = items->items[i];
        if (attribute)
            TRY(jinja_path(run, &items->items[i], &args->all->items[0], &value));
        bool passes = jinja_truth(&value);
        if (test != NULL)
            TRY(jinja_test(run, test, &value, &rest, &passes));
        if (passes == keep)
            TRY(jinja_list_add(run, result->list, &items->items[i]));
    }
    return STATUS_OK;
}

const struct jinja_global jinja_list_filters[] = {
    {"list", "", filter_list},
    {"items", "", filter_items},
    {"first", "", filter_end},
    {"last", "", filter_end},
    {"reverse", "", filter_reverse},
    {"join", "d attribute", filter_join},
    {"sum", "attribute start", filter_sum},
    {"min", "case_sensitive attribute", filter_extreme},
    {"max", "case_sensitive attribute", filter_extreme},
    {"unique", "case_sensitive attribute", filter_unique},
    {"sort", "reverse case_sensitive attribute", filter_sort},
    {"dictsort", "case_sensitive by reverse", filter_dictsort},
    {"batch", "linecount fill_with", filter_batch},
    {"map", "*", filter_map},
    {"select", "*", filter_select},
    {"reject", "*", filter_select},
    {"selectattr", "*", filter_select},
    {"rejectattr", "*", filter_select}};
const size_t jinja_list_filter_count = sizeof jinja_list_filters / sizeof jinja_list_filters[0];
