/* text/jinja_operate.c - operators of expressions with Python's meaning: arithmetic, in, index, attribute, slice. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_run.h"

static enum status refuse_pair(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                               const struct jinja_value *b)
{
    const struct jinja_value *undefined = a->kind == JINJA_UNDEFINED   ? a
                                          : b->kind == JINJA_UNDEFINED ? b
                                                                       : NULL;
    if (undefined != NULL)
        return JINJA_FAIL(run, STATUS_INVALID, "%s: %.*s", sign, (int)undefined->text.size,
                          undefined->text.bytes);
    return JINJA_FAIL(run, STATUS_INVALID, "%s does not go with a %s and a %s", sign,
                      jinja_kind_name(a), jinja_kind_name(b));
}

/* ---- numbers ---- */

static enum status floats(struct jinja_run *run, enum jinja_operator op, double a, double b,
                          struct jinja_value *value)
{
    double result = 0;
    if (b == 0 && (op == JINJA_DIVIDE || op == JINJA_FLOOR_DIVIDE || op == JINJA_MODULO))
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "division by zero");
    switch (op) {
    case JINJA_ADD:
        result = a + b;
        break;
    case JINJA_SUBTRACT:
        result = a - b;
        break;
    case JINJA_MULTIPLY:
        result = a * b;
        break;
    case JINJA_DIVIDE:
        result = a / b;
        break;
    case JINJA_FLOOR_DIVIDE:
        result = floor(a / b);
        break;
    case JINJA_POWER:
        result = pow(a, b);
        break;
    default: /* modulo: the sign of the divisor */
        result = fmod(a, b);
        if (result != 0 && (result < 0) != (b < 0))
            result += b;
    }
    *value = jinja_float(result);
    return STATUS_OK;
}

static bool integer_power(int64_t a, int64_t b, int64_t *result)
{
    *result = 1;
    if (a == 0 || a == 1 || a == -1) {
        *result = b == 0 ? 1 : a == -1 && b % 2 == 0 ? 1 : a;
        return true;
    }
    for (; b > 0; b--)
        if (__builtin_mul_overflow(*result, a, result))
            return false;
    return true;
}

static enum status integers(struct jinja_run *run, enum jinja_operator op, int64_t a, int64_t b,
                            struct jinja_value *value)
{
    int64_t result = 0;
    bool fits = true;
    if (op == JINJA_DIVIDE || (op == JINJA_POWER && b < 0))
        return floats(run, op, (double)a, (double)b, value);
    if (b == 0 && (op == JINJA_FLOOR_DIVIDE || op == JINJA_MODULO))
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "division by zero");
    switch (op) {
    case JINJA_ADD:
        fits = !__builtin_add_overflow(a, b, &result);
        break;
    case JINJA_SUBTRACT:
        fits = !__builtin_sub_overflow(a, b, &result);
        break;
    case JINJA_MULTIPLY:
        fits = !__builtin_mul_overflow(a, b, &result);
        break;
    case JINJA_POWER:
        fits = integer_power(a, b, &result);
        break;
    case JINJA_FLOOR_DIVIDE:
        fits = !(a == INT64_MIN && b == -1);
        if (fits)
            result = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
        break;
    default:
        result = b == -1 ? 0 : a % b;
        if (result != 0 && (result < 0) != (b < 0))
            result += b;
    }
    if (!fits)
        return JINJA_FAIL(run, STATUS_LIMIT, "%s", "a number grows beyond 64 bits");
    *value = jinja_int(result);
    return STATUS_OK;
}

/* ---- texts and lists ---- */

static enum status escape_html(struct jinja_text text, struct buffer *out)
{
    static const char plain[] = "&<>\"'";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    for (size_t i = 0; i < text.size; i++) {
        const char *place = text.bytes[i] != '\0' ? strchr(plain, text.bytes[i]) : NULL;
        TRY(place != NULL ? buffer_text(out, names[place - plain])
                          : buffer_append(out, &text.bytes[i], 1));
    }
    return STATUS_OK;
}

/* A text marked safe keeps what is added to it from being markup, as markupsafe does. */
static enum status add_texts(struct jinja_run *run, const struct jinja_value *a,
                             const struct jinja_value *b, struct jinja_value *value)
{
    struct buffer out;
    bool safe = a->safe || b->safe;
    buffer_init(&out, run->output_max);
    enum status status = safe && !a->safe ? escape_html(a->text, &out)
                                          : buffer_append(&out, a->text.bytes, a->text.size);
    if (status == STATUS_OK)
        status = safe && !b->safe ? escape_html(b->text, &out)
                                  : buffer_append(&out, b->text.bytes, b->text.size);
    if (status == STATUS_LIMIT)
        status = JINJA_FAIL(run, STATUS_LIMIT, "a text grows beyond %zu bytes", run->output_max);
    TRY(jinja_text_take(run, status, &out, value));
    value->safe = safe;
    return STATUS_OK;
}

static enum status add_lists(struct jinja_run *run, const struct jinja_value *a,
                             const struct jinja_value *b, struct jinja_value *value)
{
    const struct jinja_list *parts[2] = {a->list, b->list};
    TRY(jinja_list_new(run, a->kind, a->list->count + b->list->count, value));
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < parts[i]->count; k++)
            TRY(jinja_list_add(run, value->list, &parts[i]->items[k]));
    return STATUS_OK;
}

static enum status repeat(struct jinja_run *run, const struct jinja_value *what, int64_t times,
                          struct jinja_value *value)
{
    size_t count = times > 0 ? (size_t)times : 0;
    size_t size = what->kind == JINJA_TEXT ? what->text.size : what->list->count;
    if (size > 0 && count > run->output_max / size)
        return JINJA_FAIL(run, STATUS_LIMIT, "a text or list repeated %zu times is too long",
                          count);
    if (what->kind != JINJA_TEXT) {
        TRY(jinja_list_new(run, what->kind, size * count, value));
        for (size_t i = 0; i < size * count; i++)
            TRY(jinja_list_add(run, value->list, &what->list->items[i % size]));
        return STATUS_OK;
    }
    char *bytes;
    TRY(jinja_room(run, size * count + 1, 1, &bytes));
    TRY(jinja_charge(run, size > 0 ? count / 16 : 0));
    for (size_t i = 0; size > 0 && i < count; i++)
        memcpy(bytes + i * size, what->text.bytes, size);
    *value = jinja_text(bytes, size * count);
    return STATUS_OK;
}

static bool repeats(const struct jinja_value *what, const struct jinja_value *times)
{
    return (what->kind == JINJA_TEXT || jinja_is_sequence(what)) &&
           (times->kind == JINJA_INT || times->kind == JINJA_BOOL);
}

static enum status arithmetic(struct jinja_run *run, enum jinja_operator op,
                              const struct jinja_value *a, const struct jinja_value *b,
                              struct jinja_value *value)
{
    static const char *const signs[] = {
        [JINJA_ADD] = "+",          [JINJA_SUBTRACT] = "-", [JINJA_MULTIPLY] = "*",
        [JINJA_DIVIDE] = "/",       [JINJA_MODULO] = "%",   [JINJA_POWER] = "**",
        [JINJA_FLOOR_DIVIDE] = "//"};
    if (jinja_is_number(a) && jinja_is_number(b))
        return a->kind == JINJA_FLOAT || b->kind == JINJA_FLOAT
                   ? floats(run, op, jinja_real(a), jinja_real(b), value)
                   : integers(run, op, jinja_integer(a), jinja_integer(b), value);
    if (op == JINJA_MODULO && a->kind == JINJA_TEXT)
        return jinja_percent_format(run, a, b, value);
    if (op == JINJA_ADD && a->kind == JINJA_TEXT && b->kind == JINJA_TEXT)
        return add_texts(run, a, b, value);
    if (op == JINJA_ADD && jinja_is_sequence(a) && a->kind == b->kind)
        return add_lists(run, a, b, value);
    if (op == JINJA_MULTIPLY && repeats(a, b))
        return repeat(run, a, jinja_integer(b), value);
    if (op == JINJA_MULTIPLY && repeats(b, a))
        return repeat(run, b, jinja_integer(a), value);
    return refuse_pair(run, signs[op], a, b);
}

enum status jinja_contains(struct jinja_run *run, const struct jinja_value *item,
                           const struct jinja_value *in, bool *contains)
{
    *contains = false;
    if (in->kind == JINJA_TEXT) {
        if (item->kind != JINJA_TEXT)
            return refuse_pair(run, "in", item, in);
        TRY(jinja_charge(run, in->text.size / 32));
        *contains = item->text.size == 0 || memmem(in->text.bytes, in->text.size, item->text.bytes,
                                                   item->text.size) != NULL;
        return STATUS_OK;
    }
    if (in->kind == JINJA_DICT) {
        struct jinja_value *found;
        TRY(jinja_dict_find(run, in->dict, item, &found));
        *contains = found != NULL;
        return STATUS_OK;
    }
    struct jinja_list *items;
    if (!jinja_is_sequence(in) && in->kind != JINJA_UNDEFINED)
        return refuse_pair(run, "in", item, in);
    TRY(jinja_iterate(run, in, &items));
    for (size_t i = 0; i < items->count && !*contains; i++)
        TRY(jinja_equal(run, item, &items->items[i], contains));
    return STATUS_OK;
}

enum status jinja_binary(struct jinja_run *run, enum jinja_operator op, const struct jinja_value *a,
                         const struct jinja_value *b, struct jinja_value *value)
{
    bool truth;
    int order;
    if (op < JINJA_EQUAL)
        return arithmetic(run, op, a, b, value);
    if (op == JINJA_EQUAL || op == JINJA_NOT_EQUAL) {
        TRY(jinja_equal(run, a, b, &truth));
        *value = jinja_bool(truth == (op == JINJA_EQUAL));
        return STATUS_OK;
    }
    if (op == JINJA_IN || op == JINJA_NOT_IN) {
        TRY(jinja_contains(run, a, b, &truth));
        *value = jinja_bool(truth == (op == JINJA_IN));
        return STATUS_OK;
    }
    TRY(jinja_order(run, a, b, &order));
    *value = jinja_bool(op == JINJA_LESS         ? order < 0
                        : op == JINJA_LESS_EQUAL ? order <= 0
                        : op == JINJA_GREATER    ? order > 0
                                                 : order >= 0);
    return STATUS_OK;
}

/* ---- parts of values ---- */

static enum status refuse_part(struct jinja_run *run, const struct jinja_value *a)
{
    return JINJA_FAIL(run, STATUS_INVALID, "%.*s", (int)a->text.size, a->text.bytes);
}

static enum status no_attribute(struct jinja_run *run, const struct jinja_value *a,
                                const char *name, struct jinja_value *value)
{
    struct buffer why;
    buffer_init(&why, 0);
    enum status status = buffer_printf(&why, "the %s has no \"%.60s\"", jinja_kind_name(a), name);
    TRY(jinja_text_take(run, status, &why, value));
    value->kind = JINJA_UNDEFINED;
    return STATUS_OK;
}

static void loop_attribute(const struct jinja_loop *loop, const char *name,
                           struct jinja_value *value)
{
    int64_t index = (int64_t)loop->index, count = (int64_t)loop->items->count;
    const struct {
        const char *name;
        struct jinja_value value;
    } rows[] = {{"index", jinja_int(index + 1)},
                {"index0", jinja_int(index)},
                {"revindex", jinja_int(count - index)},
                {"revindex0", jinja_int(count - index - 1)},
                {"first", jinja_bool(index == 0)},
                {"last", jinja_bool(index + 1 == count)},
                {"length", jinja_int(count)},
                {"depth", jinja_int(loop->depth)},
                {"depth0", jinja_int((int64_t)loop->depth - 1)}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0)
            *value = rows[i].value;
    if (strcmp(name, "previtem") == 0)
        *value = index > 0 ? loop->items->items[index - 1]
                           : jinja_undefined("there is no previous item");
    if (strcmp(name, "nextitem") == 0)
        *value = index + 1 < count ? loop->items->items[index + 1]
                                   : jinja_undefined("there is no next item");
}

enum status jinja_attribute(struct jinja_run *run, const struct jinja_value *a, const char *name,
                            struct jinja_value *value)
{
    if (a->kind == JINJA_UNDEFINED)
        return refuse_part(run, a);
    if (name[0] == '_' && name[1] == '_')
        return JINJA_FAIL(run, STATUS_INVALID, "the attribute %.60s is not for templates", name);
    *value = jinja_undefined("");
    if (a->kind == JINJA_LOOP)
        loop_attribute(a->loop, name, value);
    if (value->kind == JINJA_UNDEFINED && jinja_has_method(a, name)) {
        struct jinja_method *method;
        TRY(jinja_room(run, 1, sizeof *method, &method));
        *method = (struct jinja_method){*a, name};
        *value = (struct jinja_value){.kind = JINJA_METHOD, .method = method};
        return STATUS_OK;
    }
    if (a->kind == JINJA_DICT || a->kind == JINJA_NAMESPACE) {
        struct jinja_value key = jinja_text(name, strlen(name)), *found;
        TRY(jinja_dict_find(run, a->dict, &key, &found));
        if (found != NULL) {
            *value = *found;
            return STATUS_OK;
        }
    }
    return value->kind == JINJA_UNDEFINED && value->text.size == 0
               ? no_attribute(run, a, name, value)
               : STATUS_OK;
}

static enum status index_list(struct jinja_run *run, const struct jinja_value *a, int64_t index,
                              struct jinja_value *value)
{
    size_t count;
    TRY(jinja_length(run, a, &count));
    index += index < 0 ? (int64_t)count : 0;
    *value = jinja_undefined("the list or text has no item of this index");
    if (index < 0 || index >= (int64_t)count)
        return STATUS_OK;
    if (a->kind != JINJA_TEXT) {
        *value = a->list->items[index];
        return STATUS_OK;
    }
    size_t begin = jinja_point_offset(a->text, (size_t)index), end = begin;
    jinja_next_point(a->text, &end);
    *value = jinja_text(a->text.bytes + begin, end - begin);
    value->safe = a->safe;
    return STATUS_OK;
}

enum status jinja_item(struct jinja_run *run, const struct jinja_value *a,
                       const struct jinja_value *key, struct jinja_value *value)
{
    if (a->kind == JINJA_UNDEFINED)
        return refuse_part(run, a);
    if (a->kind == JINJA_DICT) {
        struct jinja_value *found;
        TRY(jinja_dict_find(run, a->dict, key, &found));
        if (found != NULL) {
            *value = *found;
            return STATUS_OK;
        }
    }
    if ((key->kind == JINJA_INT || key->kind == JINJA_BOOL) &&
        (a->kind == JINJA_TEXT || jinja_is_sequence(a)))
        return index_list(run, a, jinja_integer(key), value);
    if (key->kind == JINJA_TEXT) {
        struct jinja_value name; /* with its NUL */
        TRY(jinja_text_copy(run, key->text.bytes, key->text.size, &name));
        return jinja_attribute(run, a, name.text.bytes, value);
    }
    *value = jinja_undefined("there is no such item");
    return STATUS_OK;
}

enum status jinja_path(struct jinja_run *run, const struct jinja_value *a,
                       const struct jinja_value *path, struct jinja_value *value)
{
    struct jinja_value now = *a;
    if (path->kind != JINJA_TEXT)
        return jinja_item(run, a, path, value);
    for (size_t at = 0; at <= path->text.size;) {
        const char *begin = path->text.bytes + at;
        const char *dot = memchr(begin, '.', path->text.size - at);
        size_t size = dot != NULL ? (size_t)(dot - begin) : path->text.size - at;
        struct jinja_value key;
        TRY(jinja_text_copy(run, begin, size, &key));
        if (size > 0 && size < 10 && strspn(key.text.bytes, "0123456789") == size)
            key = jinja_int(strtoll(key.text.bytes, NULL, 10));
        TRY(jinja_item(run, &now, &key, &now));
        at += size + 1;
    }
    *value = now;
    return STATUS_OK;
}

/* Python's slice.indices: where it begins, how many items, for a step that is not 0. */
static enum status slice_bound(struct jinja_run *run, const struct jinja_value *bound,
                               int64_t absent, int64_t least, int64_t most, int64_t count,
                               int64_t *place)
{
    *place = absent;
    if (bound->kind == JINJA_NONE)
        return STATUS_OK;
    if (bound->kind != JINJA_INT && bound->kind != JINJA_BOOL)
        return JINJA_FAIL(run, STATUS_INVALID, "a slice needs whole numbers, not a %s",
                          jinja_kind_name(bound));
    *place = jinja_integer(bound);
    if (*place < 0)
        *place = *place < -count ? least : *place + count;
    *place = *place < least ? least : *place > most ? most : *place;
    return STATUS_OK;
}

static enum status slice_text(struct jinja_run *run, struct jinja_text text, int64_t begin,
                              int64_t step, int64_t items, struct jinja_value *value)
{
    if (step == 1) {
        size_t from = jinja_point_offset(text, (size_t)begin);
        struct jinja_text rest = {text.bytes + from, text.size - from};
        *value = jinja_text(rest.bytes, items > 0 ? jinja_point_offset(rest, (size_t)items) : 0);
        return STATUS_OK;
    }
    struct jinja_value whole = jinja_text(text.bytes, text.size);
    struct jinja_list *points;
    struct buffer out;
    TRY(jinja_iterate(run, &whole, &points));
    buffer_init(&out, 0);
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < items && status == STATUS_OK; i++) {
        const struct jinja_text *point = &points->items[begin + i * step].text;
        status = buffer_append(&out, point->bytes, point->size);
    }
    return jinja_text_take(run, status, &out, value);
}

enum status jinja_slice(struct jinja_run *run, const struct jinja_value *a,
                        const struct jinja_value bounds[3], struct jinja_value *value)
{
    size_t length;
    int64_t step, begin, end;
    if (a->kind == JINJA_UNDEFINED)
        return refuse_part(run, a);
    if (a->kind != JINJA_TEXT && !jinja_is_sequence(a))
        return JINJA_FAIL(run, STATUS_INVALID, "a %s cannot be sliced", jinja_kind_name(a));
    TRY(jinja_length(run, a, &length));
    int64_t count = (int64_t)length;
    TRY(slice_bound(run, &bounds[2], 1, INT32_MIN, INT32_MAX, 0, &step));
    if (bounds[2].kind != JINJA_NONE)
        step = jinja_integer(&bounds[2]);
    if (step == 0)
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "the step of a slice is 0");
    step = step < -count - 1 ? -count - 1 : step > count + 1 ? count + 1 : step;
    bool back = step < 0;
    TRY(slice_bound(run, &bounds[0], back ? count - 1 : 0, back ? -1 : 0, back ? count - 1 : count,
                    count, &begin));
    TRY(slice_bound(run, &bounds[1], back ? -1 : count, back ? -1 : 0, back ? count - 1 : count,
                    count, &end));
    int64_t items = back ? (begin - end - step - 1) / -step : (end - begin + step - 1) / step;
    items = items > 0 ? items : 0;
    TRY(jinja_charge(run, 1 + (size_t)items / 4));
    if (a->kind == JINJA_TEXT) {
        TRY(slice_text(run, a->text, begin, step, items, value));
        value->safe = a->safe;
        return STATUS_OK;
    }
    TRY(jinja_list_new(run, a->kind, (size_t)items, value));
    for (int64_t i = 0; i < items; i++)
        TRY(jinja_list_add(run, value->list, &a->list->items[begin + i * step]));
    return STATUS_OK;
}
