/* text/jinja_value.c - see jinja_value.h. */
#include "text/jinja_value.h"

#include <math.h>
#include <string.h>

#include "text/jinja_run.h"

struct jinja_value jinja_undefined(const char *why)
{
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .text = {why, strlen(why)}};
}

struct jinja_value jinja_none(void)
{
    return (struct jinja_value){.kind = JINJA_NONE};
}

struct jinja_value jinja_bool(bool truth)
{
    return (struct jinja_value){.kind = JINJA_BOOL, .truth = truth};
}

struct jinja_value jinja_int(int64_t integer)
{
    return (struct jinja_value){.kind = JINJA_INT, .integer = integer};
}

struct jinja_value jinja_float(double real)
{
    return (struct jinja_value){.kind = JINJA_FLOAT, .real = real};
}

struct jinja_value jinja_text(const char *bytes, size_t size)
{
    return (struct jinja_value){.kind = JINJA_TEXT, .text = {size > 0 ? bytes : "", size}};
}

static bool same_text(struct jinja_text a, struct jinja_text b)
{
    return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

bool jinja_is_text(const struct jinja_value *value, const char *text)
{
    return value->kind == JINJA_TEXT &&
           same_text(value->text, (struct jinja_text){text, strlen(text)});
}

bool jinja_is_sequence(const struct jinja_value *value)
{
    return value->kind == JINJA_LIST || value->kind == JINJA_TUPLE;
}

bool jinja_is_number(const struct jinja_value *value)
{
    return value->kind == JINJA_BOOL || value->kind == JINJA_INT || value->kind == JINJA_FLOAT;
}

double jinja_real(const struct jinja_value *value)
{
    return value->kind == JINJA_FLOAT ? value->real : (double)jinja_integer(value);
}

int64_t jinja_integer(const struct jinja_value *value)
{
    return value->kind == JINJA_BOOL ? value->truth : value->integer;
}

const char *jinja_kind_name(const struct jinja_value *value)
{
    static const char *const names[] = {
        [JINJA_UNDEFINED] = "undefined", [JINJA_NONE] = "none",
        [JINJA_BOOL] = "bool",           [JINJA_INT] = "int",
        [JINJA_FLOAT] = "float",         [JINJA_TEXT] = "str",
        [JINJA_LIST] = "list",           [JINJA_TUPLE] = "tuple",
        [JINJA_DICT] = "dict",           [JINJA_NAMESPACE] = "namespace",
        [JINJA_LOOP] = "loop",           [JINJA_MACRO] = "macro",
        [JINJA_GLOBAL] = "function",     [JINJA_METHOD] = "method"};
    return names[value->kind];
}

/* ---- room and work ---- */

enum status jinja_charge(struct jinja_run *run, size_t steps)
{
    if (run->steps < steps) {
        run->steps = 0;
        return JINJA_FAIL(run, STATUS_LIMIT, "%s",
                          "the template works longer than its limit of steps: is a loop or a text "
                          "too large?");
    }
    run->steps -= steps;
    return STATUS_OK;
}

enum status jinja_enter(struct jinja_run *run)
{
    TRY(jinja_charge(run, 1));
    if (run->depth == JINJA_DEPTH_MAX)
        return JINJA_FAIL(run, STATUS_LIMIT, "expressions, macros or values nest deeper than %d",
                          JINJA_DEPTH_MAX);
    run->depth++;
    return STATUS_OK;
}

enum status jinja_room(struct jinja_run *run, size_t count, size_t item_bytes,
                       void *pointer_to_pointer)
{
    TRY(jinja_charge(run, 1 + (count < SIZE_MAX / 64 ? count * item_bytes / 64 : 0)));
    void *room = arena_array(run->arena, count > 0 ? count : 1, item_bytes);
    if (room == NULL)
        return JINJA_FAIL(run, STATUS_LIMIT, "the values of the template need more than %zu bytes",
                          arena_used_bytes(run->arena));
    memcpy(pointer_to_pointer, &room, sizeof room);
    return STATUS_OK;
}

enum status jinja_text_copy(struct jinja_run *run, const void *bytes, size_t size,
                            struct jinja_value *made)
{
    char *copy;
    TRY(jinja_room(run, size + 1, 1, &copy));
    if (size > 0)
        memcpy(copy, bytes, size);
    *made = jinja_text(copy, size);
    return STATUS_OK;
}

enum status jinja_text_take(struct jinja_run *run, enum status status, struct buffer *buffer,
                            struct jinja_value *made)
{
    struct jinja_value text;
    if (status == STATUS_OK)
        status = jinja_text_copy(run, buffer->bytes, buffer->size, &text);
    if (status == STATUS_OK)
        *made = text;
    buffer_free(buffer);
    return status;
}

enum status jinja_list_new(struct jinja_run *run, enum jinja_kind kind, size_t capacity,
                           struct jinja_value *made)
{
    struct jinja_list *list;
    TRY(jinja_room(run, 1, sizeof *list, &list));
    TRY(jinja_room(run, capacity, sizeof *list->items, &list->items));
    list->capacity = capacity > 0 ? capacity : 1;
    *made = (struct jinja_value){.kind = kind, .list = list};
    return STATUS_OK;
}

enum status jinja_list_add(struct jinja_run *run, struct jinja_list *list,
                           const struct jinja_value *item)
{
    if (list->count == list->capacity) {
        struct jinja_value *items;
        TRY(jinja_room(run, list->capacity * 2 + 4, sizeof *items, &items));
        memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = list->capacity * 2 + 4;
    }
    list->items[list->count++] = *item;
    return STATUS_OK;
}

enum status jinja_dict_new(struct jinja_run *run, struct jinja_value *made)
{
    struct jinja_dict *dict;
    TRY(jinja_room(run, 1, sizeof *dict, &dict));
    *made = (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
    return STATUS_OK;
}

enum status jinja_dict_find(struct jinja_run *run, const struct jinja_dict *dict,
                            const struct jinja_value *key, struct jinja_value **found)
{
    *found = NULL;
    TRY(jinja_charge(run, 1 + dict->count / 8));
    for (size_t i = 0; i < dict->count; i++) {
        bool equal;
        if (key->kind == JINJA_TEXT && dict->pairs[i].key.kind == JINJA_TEXT)
            equal = same_text(key->text, dict->pairs[i].key.text);
        else
            TRY(jinja_equal(run, key, &dict->pairs[i].key, &equal));
        if (equal) {
            *found = &dict->pairs[i].value;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

struct jinja_value *jinja_dict_text(const struct jinja_dict *dict, const char *key)
{
    for (size_t i = 0; i < dict->count; i++)
        if (jinja_is_text(&dict->pairs[i].key, key))
            return &dict->pairs[i].value;
    return NULL;
}

static enum status dict_add(struct jinja_run *run, struct jinja_dict *dict,
                            const struct jinja_value *key, const struct jinja_value *value)
{
    if (dict->count == dict->capacity) {
        struct jinja_pair *pairs;
        TRY(jinja_room(run, dict->capacity * 2 + 4, sizeof *pairs, &pairs));
        if (dict->count > 0)
            memcpy(pairs, dict->pairs, dict->count * sizeof *pairs);
        dict->pairs = pairs;
        dict->capacity = dict->capacity * 2 + 4;
    }
    dict->pairs[dict->count++] = (struct jinja_pair){*key, *value};
    return STATUS_OK;
}

enum status jinja_dict_set(struct jinja_run *run, struct jinja_dict *dict,
                           const struct jinja_value *key, const struct jinja_value *value)
{
    struct jinja_value *found;
    if (key->kind == JINJA_LIST || key->kind == JINJA_DICT)
        return JINJA_FAIL(run, STATUS_INVALID, "a %s cannot be the key of a dict",
                          jinja_kind_name(key));
    TRY(jinja_dict_find(run, dict, key, &found));
    if (found == NULL)
        return dict_add(run, dict, key, value);
    *found = *value;
    return STATUS_OK;
}

/* ---- JSON ---- */

static enum status from_array(struct jinja_run *run, const json_t *json, struct jinja_value *made)
{
    size_t count = json_array_size(json);
    TRY(jinja_list_new(run, JINJA_LIST, count, made));
    for (size_t i = 0; i < count; i++)
        TRY(jinja_from_json(run, json_array_get(json, i), &made->list->items[i]));
    made->list->count = count;
    return STATUS_OK;
}

static enum status from_object(struct jinja_run *run, const json_t *json, struct jinja_value *made)
{
    TRY(jinja_dict_new(run, made));
    json_t *object = (json_t *)(uintptr_t)json; /* the iterator changes nothing */
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        struct jinja_value key, value;
        const char *name = json_object_iter_key(at);
        TRY(jinja_text_copy(run, name, strlen(name), &key));
        TRY(jinja_from_json(run, json_object_iter_value(at), &value));
        TRY(dict_add(run, made->dict, &key, &value)); /* keys of an object differ */
    }
    return STATUS_OK;
}

enum status jinja_from_json(struct jinja_run *run, const json_t *json, struct jinja_value *made)
{
    TRY(jinja_enter(run));
    switch (json_typeof(json)) {
    case JSON_NULL:
        *made = jinja_none();
        break;
    case JSON_TRUE:
        *made = jinja_bool(true);
        break;
    case JSON_FALSE:
        *made = jinja_bool(false);
        break;
    case JSON_INTEGER:
        *made = jinja_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *made = jinja_float(json_real_value(json));
        break;
    case JSON_STRING: /* the caller keeps it */
        *made = jinja_text(json_string_value(json), json_string_length(json));
        break;
    case JSON_ARRAY:
        TRY(from_array(run, json, made));
        break;
    case JSON_OBJECT:
        TRY(from_object(run, json, made));
        break;
    }
    jinja_leave(run);
    return STATUS_OK;
}

/* ---- truth, equality, order ---- */

bool jinja_truth(const struct jinja_value *value)
{
    switch (value->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return value->truth;
    case JINJA_INT:
        return value->integer != 0;
    case JINJA_FLOAT:
        return value->real != 0;
    case JINJA_TEXT:
        return value->text.size > 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return value->list->count > 0;
    case JINJA_DICT:
        return value->dict->count > 0;
    default:
        return true;
    }
}

static enum status equal_lists(struct jinja_run *run, const struct jinja_list *a,
                               const struct jinja_list *b, bool *equal)
{
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++)
        TRY(jinja_equal(run, &a->items[i], &b->items[i], equal));
    return STATUS_OK;
}

static enum status equal_dicts(struct jinja_run *run, const struct jinja_dict *a,
                               const struct jinja_dict *b, bool *equal)
{
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++) {
        struct jinja_value *other;
        TRY(jinja_dict_find(run, b, &a->pairs[i].key, &other));
        *equal = other != NULL;
        if (other != NULL)
            TRY(jinja_equal(run, &a->pairs[i].value, other, equal));
    }
    return STATUS_OK;
}

enum status jinja_equal(struct jinja_run *run, const struct jinja_value *a,
                        const struct jinja_value *b, bool *equal)
{
    TRY(jinja_enter(run));
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *equal = a->kind == JINJA_FLOAT || b->kind == JINJA_FLOAT
                     ? jinja_real(a) == jinja_real(b)
                     : jinja_integer(a) == jinja_integer(b);
    } else if (a->kind != b->kind) {
        *equal = false;
    } else if (a->kind == JINJA_TEXT) {
        TRY(jinja_charge(run, a->text.size / 64));
        *equal = same_text(a->text, b->text);
    } else if (jinja_is_sequence(a)) {
        TRY(equal_lists(run, a->list, b->list, equal));
    } else if (a->kind == JINJA_DICT) {
        TRY(equal_dicts(run, a->dict, b->dict, equal));
    } else if (a->kind == JINJA_METHOD) {
        *equal = a->method == b->method;
    } else {
        *equal = a->kind <= JINJA_NONE || a->loop == b->loop;
    }
    jinja_leave(run);
    return STATUS_OK;
}

static enum status order_lists(struct jinja_run *run, const struct jinja_list *a,
                               const struct jinja_list *b, int *order)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool equal;
        TRY(jinja_equal(run, &a->items[i], &b->items[i], &equal));
        if (!equal)
            return jinja_order(run, &a->items[i], &b->items[i], order);
    }
    *order = (a->count > b->count) - (a->count < b->count);
    return STATUS_OK;
}

enum status jinja_order(struct jinja_run *run, const struct jinja_value *a,
                        const struct jinja_value *b, int *order)
{
    TRY(jinja_enter(run));
    if (jinja_is_number(a) && jinja_is_number(b)) {
        if (a->kind == JINJA_FLOAT || b->kind == JINJA_FLOAT) {
            double x = jinja_real(a), y = jinja_real(b);
            *order = (x > y) - (x < y);
        } else {
            int64_t x = jinja_integer(a), y = jinja_integer(b);
            *order = (x > y) - (x < y);
        }
    } else if (a->kind == JINJA_TEXT && b->kind == JINJA_TEXT) {
        size_t least = a->text.size < b->text.size ? a->text.size : b->text.size;
        TRY(jinja_charge(run, least / 64));
        int bytes = memcmp(a->text.bytes, b->text.bytes, least); /* UTF-8 keeps the order */
        *order = bytes != 0 ? bytes : (a->text.size > b->text.size) - (a->text.size < b->text.size);
    } else if (jinja_is_sequence(a) && a->kind == b->kind) {
        TRY(order_lists(run, a->list, b->list, order));
    } else if (a->kind == JINJA_UNDEFINED || b->kind == JINJA_UNDEFINED) {
        const struct jinja_text why = a->kind == JINJA_UNDEFINED ? a->text : b->text;
        return JINJA_FAIL(run, STATUS_INVALID, "%.*s, so it cannot be compared", (int)why.size,
                          why.bytes);
    } else {
        return JINJA_FAIL(run, STATUS_INVALID, "a %s and a %s have no order", jinja_kind_name(a),
                          jinja_kind_name(b));
    }
    jinja_leave(run);
    return STATUS_OK;
}

/* ---- sequences ---- */

static enum status iterate_text(struct jinja_run *run, struct jinja_text text,
                                struct jinja_list *list)
{
    for (size_t at = 0; at < text.size;) {
        size_t begin = at;
        jinja_next_point(text, &at);
        struct jinja_value item = jinja_text(text.bytes + begin, at - begin);
        TRY(jinja_list_add(run, list, &item));
    }
    return STATUS_OK;
}

enum status jinja_iterate(struct jinja_run *run, const struct jinja_value *value,
                          struct jinja_list **items)
{
    struct jinja_value made;
    if (jinja_is_sequence(value)) {
        *items = value->list;
        return STATUS_OK;
    }
    TRY(jinja_list_new(run, JINJA_LIST, value->kind == JINJA_DICT ? value->dict->count : 8, &made));
    *items = made.list;
    if (value->kind == JINJA_TEXT)
        return iterate_text(run, value->text, made.list);
    if (value->kind == JINJA_DICT) {
        for (size_t i = 0; i < value->dict->count; i++)
            made.list->items[i] = value->dict->pairs[i].key;
        made.list->count = value->dict->count;
        return STATUS_OK;
    }
    if (value->kind == JINJA_UNDEFINED)
        return STATUS_OK;
    if (value->kind == JINJA_LOOP) {
        *items = value->loop->items;
        return STATUS_OK;
    }
    return JINJA_FAIL(run, STATUS_INVALID, "a %s is nothing to go through", jinja_kind_name(value));
}

enum status jinja_length(struct jinja_run *run, const struct jinja_value *value, size_t *length)
{
    switch (value->kind) {
    case JINJA_UNDEFINED:
        *length = 0;
        break;
    case JINJA_TEXT:
        TRY(jinja_charge(run, value->text.size / 32));
        *length = jinja_count_points(value->text);
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
        *length = value->list->count;
        break;
    case JINJA_DICT:
        *length = value->dict->count;
        break;
    case JINJA_LOOP:
        *length = value->loop->items->count;
        break;
    default:
        return JINJA_FAIL(run, STATUS_INVALID, "a %s has no length", jinja_kind_name(value));
    }
    return STATUS_OK;
}
