/* text/jinja_call.c - calls: functions that every template has, methods and macros, and how arguments meet parameters. */
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "text/jinja_run.h"

/* ---- parameters ---- */

/* Place of a name among words between spaces; -1: it is none of them. */
static int place_of(const char *words, const char *name)
{
    size_t size = strlen(name);
    for (int place = 0; *words != '\0'; place++) {
        size_t word = strcspn(words, " ");
        if (word == size && memcmp(words, name, size) == 0)
            return place;
        words += word + (words[word] == ' ');
    }
    return -1;
}

static size_t count_words(const char *words)
{
    size_t count = *words != '\0';
    for (; *words != '\0'; words++)
        count += *words == ' ';
    return count;
}

static enum status bind_arguments(struct jinja_run *run, const char *kind,
                                  const struct jinja_global *row,
                                  const struct jinja_arguments *args, struct jinja_bound *bound)
{
    size_t most = count_words(row->parameters);
    if (args->count > most)
        return JINJA_FAIL(run, STATUS_INVALID, "the %s %s takes %zu arguments, not %zu", kind,
                          row->name, most, args->count);
    for (size_t i = 0; i < args->count; i++) {
        bound->at[i] = args->items[i];
        bound->given[i] = true;
    }
    for (size_t i = 0; i < args->named; i++) {
        int place = place_of(row->parameters, args->names[i]);
        if (place < 0 || bound->given[place])
            return JINJA_FAIL(run, STATUS_INVALID, "the %s %s has no%s argument \"%.60s\"", kind,
                              row->name, place < 0 ? "" : " second", args->names[i]);
        bound->at[place] = args->values[i];
        bound->given[place] = true;
    }
    return STATUS_OK;
}

enum status jinja_bind_and_run(struct jinja_run *run, const char *kind,
                               const struct jinja_global *row, const struct jinja_value *self,
                               const struct jinja_arguments *args, struct jinja_value *result)
{
    struct jinja_bound bound = {.all = args, .name = row->name};
    for (size_t i = 0; i < JINJA_PARAMETERS_MAX; i++)
        bound.at[i] = jinja_undefined("an argument was not given");
    if (row->parameters[0] != '*')
        TRY(bind_arguments(run, kind, row, args, &bound));
    TRY(jinja_enter(run));
    TRY(row->run(run, self, &bound, result));
    jinja_leave(run);
    return STATUS_OK;
}

const struct jinja_global *jinja_row(const struct jinja_global *rows, size_t count,
                                     const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* ---- functions ---- */

static enum status call_raise(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    (void)self;
    struct jinja_value text;
    TRY(jinja_print_text(run, &args->at[0], &text));
    *result = text;
    return JINJA_FAIL(run, STATUS_INVALID, "the template refuses: %.*s",
                      text.text.size < 400 ? (int)text.text.size : 400, text.text.bytes);
}

static enum status call_range(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    enum { RANGE_MAX = 100000 }; /* as jinja2's sandbox */
    int64_t parts[3] = {0, 0, 1};
    (void)self;
    for (size_t i = 0; i < 3 && args->given[i]; i++) {
        if (args->at[i].kind != JINJA_INT && args->at[i].kind != JINJA_BOOL)
            return JINJA_FAIL(run, STATUS_INVALID, "range needs whole numbers, not a %s",
                              jinja_kind_name(&args->at[i]));
        parts[i] = jinja_integer(&args->at[i]);
    }
    int64_t begin = args->given[1] ? parts[0] : 0, end = args->given[1] ? parts[1] : parts[0];
    int64_t step = parts[2], span;
    if (!args->given[0] || step == 0 || __builtin_sub_overflow(end, begin, &span))
        return JINJA_FAIL(run, STATUS_INVALID, "%s",
                          "range needs an end, and a step that is not 0");
    double count = step > 0 ? (double)span / (double)step : (double)-span / -(double)step;
    if (count > RANGE_MAX)
        return JINJA_FAIL(run, STATUS_LIMIT, "a range of more than %d numbers", RANGE_MAX);
    TRY(jinja_list_new(run, JINJA_LIST, count > 0 ? (size_t)count + 1 : 1, result));
    for (int64_t at = begin; step > 0 ? at < end : at > end;) {
        struct jinja_value item = jinja_int(at);
        TRY(jinja_list_add(run, result->list, &item));
        if (__builtin_add_overflow(at, step, &at))
            break;
    }
    return STATUS_OK;
}

/* dict(a=1), dict(pairs), dict(other): namespace as well. */
static enum status call_dict(struct jinja_run *run, const struct jinja_value *self,
                             const struct jinja_bound *args, struct jinja_value *result)
{
    const struct jinja_arguments *all = args->all;
    (void)self;
    TRY(jinja_dict_new(run, result));
    if (all->count > 1)
        return JINJA_FAIL(run, STATUS_INVALID, "%s takes one argument without a name at most",
                          args->name);
    if (all->count == 1 && all->items[0].kind == JINJA_DICT) {
        const struct jinja_dict *other = all->items[0].dict;
        for (size_t i = 0; i < other->count; i++)
            TRY(jinja_dict_set(run, result->dict, &other->pairs[i].key, &other->pairs[i].value));
    } else if (all->count == 1) {
        struct jinja_list *pairs, *pair;
        TRY(jinja_iterate(run, &all->items[0], &pairs));
        for (size_t i = 0; i < pairs->count; i++) {
            TRY(jinja_iterate(run, &pairs->items[i], &pair));
            if (pair->count != 2)
                return JINJA_FAIL(run, STATUS_INVALID, "%s needs pairs of key and value",
                                  args->name);
            TRY(jinja_dict_set(run, result->dict, &pair->items[0], &pair->items[1]));
        }
    }
    for (size_t i = 0; i < all->named; i++) {
        struct jinja_value key = jinja_text(all->names[i], strlen(all->names[i]));
        TRY(jinja_dict_set(run, result->dict, &key, &all->values[i]));
    }
    if (strcmp(args->name, "namespace") == 0)
        result->kind = JINJA_NAMESPACE;
    return STATUS_OK;
}

static enum status call_strftime(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    (void)self;
    int64_t wall = run->call->limits.wall_ns;
    time_t seconds = (time_t)((wall != 0 ? wall : clock_wall_ns()) / CLOCK_NS_PER_S);
    struct tm local;
    char text[512];
    struct jinja_value format;
    if (args->at[0].kind != JINJA_TEXT || args->at[0].text.size > 100)
        return JINJA_FAIL(run, STATUS_INVALID, "%s",
                          "strftime_now needs a format of at most 100 bytes");
    TRY(jinja_text_copy(run, args->at[0].text.bytes, args->at[0].text.size, &format));
    localtime_r(&seconds, &local);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the template's own format */
    size_t size = strftime(text, sizeof text, format.text.bytes, &local);
#pragma GCC diagnostic pop
    return jinja_text_copy(run, text, size, result);
}

const struct jinja_global *jinja_find_global(const char *name)
{
    static const struct jinja_global rows[] = {{"raise_exception", "message", call_raise},
                                               {"range", "start stop step", call_range},
                                               {"dict", "*", call_dict},
                                               {"namespace", "*", call_dict},
                                               {"strftime_now", "format", call_strftime}};
    return jinja_row(rows, sizeof rows / sizeof rows[0], name);
}

/* ---- methods ---- */

static enum status method_get(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value *found;
    TRY(jinja_dict_find(run, self->dict, &args->at[0], &found));
    *result = found != NULL ? *found : args->given[1] ? args->at[1] : jinja_none();
    return STATUS_OK;
}

/* items, keys, values */
static enum status method_parts(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    const struct jinja_dict *dict = self->dict;
    TRY(jinja_list_new(run, JINJA_LIST, dict->count, result));
    for (size_t i = 0; i < dict->count; i++) {
        struct jinja_value item = args->name[0] == 'k' ? dict->pairs[i].key : dict->pairs[i].value;
        if (args->name[0] == 'i') {
            TRY(jinja_list_new(run, JINJA_TUPLE, 2, &item));
            TRY(jinja_list_add(run, item.list, &dict->pairs[i].key));
            TRY(jinja_list_add(run, item.list, &dict->pairs[i].value));
        }
        TRY(jinja_list_add(run, result->list, &item));
    }
    return STATUS_OK;
}

static enum status method_copy(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    (void)run;
    (void)args;
    *result = *self; /* nothing can change it */
    return STATUS_OK;
}

static enum status method_refused(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    (void)result;
    return JINJA_FAIL(run, STATUS_INVALID,
                      "%s would change a %s; templates may not: build a new one with +", args->name,
                      jinja_kind_name(self));
}

/* count and index of a list */
static enum status method_search(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    int64_t count = 0;
    for (size_t i = 0; i < self->list->count; i++) {
        bool equal;
        TRY(jinja_equal(run, &args->at[0], &self->list->items[i], &equal));
        if (equal && args->name[0] == 'i') {
            *result = jinja_int((int64_t)i);
            return STATUS_OK;
        }
        count += equal;
    }
    if (args->name[0] == 'i')
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "index: the list has no such item");
    *result = jinja_int(count);
    return STATUS_OK;
}

static enum status method_cycle(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    if (args->all->count == 0)
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "loop.cycle needs values");
    *result = args->all->items[self->loop->index % args->all->count];
    return STATUS_OK;
}

static enum status method_changed(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value now, before = {.kind = JINJA_LIST, .list = self->loop->changed};
    bool same = false;
    TRY(jinja_list_new(run, JINJA_LIST, args->all->count, &now));
    for (size_t i = 0; i < args->all->count; i++)
        TRY(jinja_list_add(run, now.list, &args->all->items[i]));
    if (before.list != NULL)
        TRY(jinja_equal(run, &now, &before, &same));
    self->loop->changed = now.list;
    *result = jinja_bool(!same);
    return STATUS_OK;
}

static const struct jinja_global dict_methods[] = {
    {"get", "key default", method_get},  {"items", "", method_parts},
    {"keys", "", method_parts},          {"values", "", method_parts},
    {"copy", "", method_copy},           {"update", "*", method_refused},
    {"pop", "*", method_refused},        {"clear", "*", method_refused},
    {"setdefault", "*", method_refused}, {"popitem", "*", method_refused}};
static const struct jinja_global list_methods[] = {
    {"index", "value", method_search}, {"count", "value", method_search},
    {"copy", "", method_copy},         {"append", "*", method_refused},
    {"extend", "*", method_refused},   {"insert", "*", method_refused},
    {"pop", "*", method_refused},      {"remove", "*", method_refused},
    {"sort", "*", method_refused},     {"reverse", "*", method_refused},
    {"clear", "*", method_refused}};
static const struct jinja_global loop_methods[] = {{"cycle", "*", method_cycle},
                                                   {"changed", "*", method_changed}};

static const struct jinja_global *find_method(const struct jinja_value *self, const char *name)
{
#define ROWS(rows) jinja_row(rows, sizeof(rows) / sizeof(rows)[0], name)
    switch (self->kind) {
    case JINJA_TEXT:
        return jinja_row(jinja_text_methods, jinja_text_method_count, name);
    case JINJA_DICT:
        return ROWS(dict_methods);
    case JINJA_LIST:
        return ROWS(list_methods);
    case JINJA_LOOP:
        return ROWS(loop_methods);
    default:
        return NULL;
    }
#undef ROWS
}

bool jinja_has_method(const struct jinja_value *self, const char *name)
{
    return find_method(self, name) != NULL;
}

enum status jinja_call_method(struct jinja_run *run, const struct jinja_value *self,
                              const char *name, const struct jinja_arguments *args,
                              struct jinja_value *value)
{
    const struct jinja_global *row = find_method(self, name);
    if (row == NULL)
        return JINJA_FAIL(run, STATUS_UNSUPPORTED, "a %s has no method \"%.60s\"",
                          jinja_kind_name(self), name);
    return jinja_bind_and_run(run, "method", row, self, args, value);
}

enum status jinja_call_value(struct jinja_run *run, const struct jinja_value *callee,
                             const struct jinja_arguments *args, struct jinja_value *value)
{
    struct jinja_value made;
    switch (callee->kind) {
    case JINJA_GLOBAL:
        TRY(jinja_bind_and_run(run, "function", callee->global, NULL, args, &made));
        break;
    case JINJA_METHOD:
        TRY(jinja_call_method(run, &callee->method->self, callee->method->name, args, &made));
        break;
    case JINJA_MACRO:
        TRY(jinja_call_macro(run, callee->macro, args, &made));
        break;
    case JINJA_LOOP:
        TRY(jinja_call_loop(run, callee->loop, args, &made));
        break;
    case JINJA_UNDEFINED:
        return JINJA_FAIL(run, STATUS_INVALID,
                          "%.*s, so it cannot be called (the names of "
                          "functions and methods are in docs/chat.md)",
                          (int)callee->text.size, callee->text.bytes);
    default:
        return JINJA_FAIL(run, STATUS_INVALID, "a %s cannot be called", jinja_kind_name(callee));
    }
    *value = made;
    return STATUS_OK;
}
