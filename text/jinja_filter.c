/* text/jinja_filter.c - filters of single values: text, numbers, JSON; and the door to all filters. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_case.h"

/* What jinja2 calls soft_str: the value as a text, a text as it is. */
static enum status soft(struct jinja_run *run, const struct jinja_value *self,
                        struct jinja_value *text)
{
    return jinja_print_text(run, self, text);
}

static enum status filter_string(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    (void)args;
    return soft(run, self, result);
}

static enum status filter_safe(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    (void)args;
    TRY(soft(run, self, result));
    result->safe = true;
    return STATUS_OK;
}

static enum status filter_escape(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    (void)args;
    struct jinja_value empty = jinja_text("", 0), text;
    TRY(soft(run, self, &text));
    empty.safe = true;
    return jinja_binary(run, JINJA_ADD, &empty, &text, result);
}

static enum status filter_trim(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text set = {0};
    bool given = args->given[0] && args->at[0].kind != JINJA_NONE;
    TRY(soft(run, self, result));
    if (given)
        TRY(jinja_need_text(run, args, 0, &set));
    TRY(jinja_charge(run, 1 + set.size / 8));
    result->text = jinja_strip(result->text, given ? &set : NULL, true, true);
    return STATUS_OK;
}

/* lower upper capitalize title */
static enum status filter_case(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value text;
    char what = args->name[0];
    TRY(soft(run, self, &text));
    return jinja_change_case(run, text.text,
                             what == 'l'   ? JINJA_LOWER
                             : what == 'u' ? JINJA_UPPER
                             : what == 'c' ? JINJA_CAPITALIZE
                                           : JINJA_WORDS,
                             result);
}

static enum status filter_replace(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value text, old, with;
    int64_t count = -1;
    TRY(soft(run, self, &text));
    TRY(soft(run, &args->at[0], &old));
    TRY(soft(run, &args->at[1], &with));
    if (args->given[2] && args->at[2].kind != JINJA_NONE)
        TRY(jinja_need_integer(run, args, 2, -1, &count));
    return jinja_replace(run, text.text, old.text, with.text, count, result);
}

static enum status filter_length(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    size_t length;
    (void)args;
    TRY(jinja_length(run, self, &length));
    *result = jinja_int((int64_t)length);
    return STATUS_OK;
}

static enum status filter_default(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    (void)run;
    bool absent = self->kind == JINJA_UNDEFINED ||
                  (args->given[1] && jinja_truth(&args->at[1]) && !jinja_truth(self));
    *result = !absent ? *self : args->given[0] ? args->at[0] : jinja_text("", 0);
    return STATUS_OK;
}

static enum status filter_indent(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value text, between = jinja_text("    ", 4), four = jinja_int(4), space;
    const struct jinja_value *width = args->given[0] ? &args->at[0] : &four;
    bool first = jinja_truth(&args->at[1]), blank = jinja_truth(&args->at[2]);
    struct jinja_list *lines;
    struct buffer out;
    space = jinja_text(" ", 1);
    if (width->kind == JINJA_TEXT)
        between = *width;
    else
        TRY(jinja_binary(run, JINJA_MULTIPLY, &space, width, &between));
    TRY(soft(run, self, &text));
    TRY(jinja_split_lines(run, text.text, false, &lines));
    struct jinja_text last =
        text.text; /* the newline jinja2 adds makes one more line of a text that ends in one */
    bool more = last.size == 0 || last.bytes[last.size - 1] == '\n';
    buffer_init(&out, run->output_max);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < lines->count + more && status == STATUS_OK; i++) {
        struct jinja_text line = i < lines->count ? lines->items[i].text : (struct jinja_text){0};
        status = i > 0 ? buffer_text(&out, "\n") : STATUS_OK;
        bool indented = i == 0 ? first : blank || line.size > 0;
        if (status == STATUS_OK && indented)
            status = buffer_append(&out, between.text.bytes, between.text.size);
        if (status == STATUS_OK && line.size > 0)
            status = buffer_append(&out, line.bytes, line.size);
        if (status == STATUS_OK)
            status = jinja_charge(run, 1 + between.text.size / 64);
    }
    return jinja_text_take(run, status, &out, result);
}

/* ---- numbers ---- */

/* A text as Python's int(text, base) or float(text) reads it; false: it does not. */
static bool read_number(struct jinja_text text, int base, bool real, struct jinja_value *value)
{
    char digits[64], *end;
    size_t count = 0;
    text = jinja_strip(text, NULL, true, true);
    if (text.size == 0 || text.size >= sizeof digits)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        bool between = i > 0 && i + 1 < text.size;
        if (text.bytes[i] == '_' && !between)
            return false;
        if (text.bytes[i] == '\0' || (!real && text.bytes[i] == ' '))
            return false;
        if (text.bytes[i] != '_')
            digits[count++] = text.bytes[i];
    }
    digits[count] = '\0';
    errno = 0;
    if (real) {
        if (strpbrk(digits, "xXpP(") != NULL)
            return false;
        *value = jinja_float(strtod(digits, &end));
    } else {
        *value = jinja_int(strtoll(digits, &end, base));
    }
    return *end == '\0' && end > digits && (real || errno == 0);
}

static enum status filter_int(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    int64_t base;
    struct jinja_value real;
    TRY(jinja_need_integer(run, args, 1, 10, &base));
    *result = args->given[0] ? args->at[0] : jinja_int(0);
    if (base < 2 || base > 36)
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "int: the base is 2 to 36");
    if (self->kind == JINJA_TEXT && read_number(self->text, (int)base, false, result))
        return STATUS_OK;
    *result = args->given[0] ? args->at[0] : jinja_int(0);
    if (self->kind == JINJA_BOOL || self->kind == JINJA_INT)
        *result = jinja_int(jinja_integer(self));
    bool is_real = self->kind == JINJA_FLOAT;
    real = *self;
    if (self->kind == JINJA_TEXT)
        is_real = read_number(self->text, 10, true, &real);
    if (is_real && real.real > -9.2e18 && real.real < 9.2e18)
        *result = jinja_int((int64_t)real.real);
    return STATUS_OK;
}

static enum status filter_float(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    (void)run;
    if (jinja_is_number(self))
        *result = jinja_float(jinja_real(self));
    else if (self->kind != JINJA_TEXT || !read_number(self->text, 10, true, result))
        *result = args->given[0] ? args->at[0] : jinja_float(0);
    return STATUS_OK;
}

static enum status filter_abs(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    (void)args;
    if (!jinja_is_number(self))
        return JINJA_FAIL(run, STATUS_INVALID, "abs of a %s", jinja_kind_name(self));
    if (self->kind == JINJA_FLOAT)
        *result = jinja_float(fabs(self->real));
    else if (jinja_integer(self) == INT64_MIN)
        return JINJA_FAIL(run, STATUS_LIMIT, "%s", "a number grows beyond 64 bits");
    else
        *result = jinja_int(llabs(jinja_integer(self)));
    return STATUS_OK;
}

static enum status filter_round(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    int64_t precision;
    char text[400];
    bool given = args->given[1];
    TRY(jinja_need_integer(run, args, 0, 0, &precision));
    if (!jinja_is_number(self) || precision < -15 || precision > 15)
        return JINJA_FAIL(run, STATUS_INVALID, "%s",
                          "round needs a number and a precision of -15 to 15");
    double real = jinja_real(self), scale = pow(10, (double)precision);
    if (given && jinja_is_text(&args->at[1], "ceil")) {
        *result = jinja_float(ceil(real * scale) / scale);
    } else if (given && jinja_is_text(&args->at[1], "floor")) {
        *result = jinja_float(floor(real * scale) / scale);
    } else if (given && !jinja_is_text(&args->at[1], "common")) {
        return JINJA_FAIL(run, STATUS_INVALID, "%s", "round: common, ceil or floor");
    } else if (self->kind != JINJA_FLOAT && precision >= 0) {
        *result = jinja_int(jinja_integer(self));
    } else if (precision < 0) {
        double rounded = nearbyint(real * scale) / scale;
        *result = self->kind == JINJA_FLOAT ? jinja_float(rounded) : jinja_int((int64_t)rounded);
    } else { /* printf rounds the exact value, ties to even */
        snprintf(text, sizeof text, "%.*f", (int)precision, real);
        *result = jinja_float(strtod(text, NULL));
    }
    return STATUS_OK;
}

/* ---- JSON ---- */

/* As transformers defines it: json.dumps without HTML escapes. */
static enum status filter_tojson(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_json how = {.ascii = jinja_truth(&args->at[0]),
                             .sorted = jinja_truth(&args->at[3]),
                             .indented = args->given[1] && args->at[1].kind != JINJA_NONE};
    struct jinja_value blank = jinja_text(" ", 1), indent = blank;
    if (how.indented && args->at[1].kind == JINJA_TEXT)
        indent = args->at[1];
    else if (how.indented)
        TRY(jinja_binary(run, JINJA_MULTIPLY, &blank, &args->at[1], &indent));
    if (how.indented && indent.kind != JINJA_TEXT)
        return JINJA_FAIL(run, STATUS_INVALID, "tojson: indent is a %s", jinja_kind_name(&indent));
    how.indent = indent.text;
    how.item_separator = (struct jinja_text){how.indented ? "," : ", ", how.indented ? 1 : 2};
    how.key_separator = (struct jinja_text){": ", 2};
    if (args->given[2] && args->at[2].kind != JINJA_NONE) {
        struct jinja_list *pair;
        TRY(jinja_iterate(run, &args->at[2], &pair));
        if (pair->count != 2 || pair->items[0].kind != JINJA_TEXT ||
            pair->items[1].kind != JINJA_TEXT)
            return JINJA_FAIL(run, STATUS_INVALID, "%s", "tojson: separators are two texts");
        how.item_separator = pair->items[0].text;
        how.key_separator = pair->items[1].text;
    }
    struct buffer out;
    buffer_init(&out, 0);
    return jinja_text_take(run, jinja_dump_json(run, self, &how, &out), &out, result);
}

/* "%s" | format(x) */
static enum status filter_format(struct jinja_run *run, const struct jinja_value *self,
                                 const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value text, with;
    TRY(soft(run, self, &text));
    if (args->all->named > 0)
        return JINJA_FAIL(run, STATUS_UNSUPPORTED, "%s",
                          "the filter format with named arguments is not supported");
    TRY(jinja_list_new(run, JINJA_TUPLE, args->all->count, &with));
    for (size_t i = 0; i < args->all->count; i++)
        TRY(jinja_list_add(run, with.list, &args->all->items[i]));
    return jinja_percent_format(run, &text, &with, result);
}

static enum status filter_attr(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text name;
    struct jinja_value copy;
    TRY(jinja_need_text(run, args, 0, &name));
    TRY(jinja_text_copy(run, name.bytes, name.size, &copy));
    *result = jinja_undefined("the attr filter finds no keys of a dict");
    return self->kind == JINJA_DICT && !jinja_has_method(self, copy.text.bytes)
               ? STATUS_OK
               : jinja_attribute(run, self, copy.text.bytes, result);
}

static enum status filter_wordcount(struct jinja_run *run, const struct jinja_value *self,
                                    const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_value text;
    int64_t count = 0;
    bool within = false;
    (void)args;
    TRY(soft(run, self, &text));
    TRY(jinja_charge(run, text.text.size / 16));
    for (size_t at = 0; at < text.text.size;) {
        uint32_t point = jinja_next_point(text.text, &at);
        bool word =
            !jinja_is_space(point) &&
            (point >= 128 || strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~", (int)point) == NULL ||
             (within && point == '\''));
        count += word && !within;
        within = word;
    }
    *result = jinja_int(count);
    return STATUS_OK;
}

const struct jinja_global jinja_text_filters[] = {
    {"tojson", "ensure_ascii indent separators sort_keys", filter_tojson},
    {"trim", "chars", filter_trim},
    {"length", "", filter_length},
    {"count", "", filter_length},
    {"string", "", filter_string},
    {"int", "default base", filter_int},
    {"float", "default", filter_float},
    {"safe", "", filter_safe},
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"default", "default_value boolean", filter_default},
    {"d", "default_value boolean", filter_default},
    {"lower", "", filter_case},
    {"upper", "", filter_case},
    {"capitalize", "", filter_case},
    {"title", "", filter_case},
    {"replace", "old new count", filter_replace},
    {"indent", "width first blank", filter_indent},
    {"abs", "", filter_abs},
    {"round", "precision method", filter_round},
    {"format", "*", filter_format},
    {"attr", "name", filter_attr},
    {"wordcount", "", filter_wordcount}};
const size_t jinja_text_filter_count = sizeof jinja_text_filters / sizeof jinja_text_filters[0];

static const struct jinja_global *find_filter(const char *name)
{
    const struct jinja_global *row = jinja_row(jinja_text_filters, jinja_text_filter_count, name);
    return row != NULL ? row : jinja_row(jinja_list_filters, jinja_list_filter_count, name);
}

bool jinja_is_filter(const char *name)
{
    return find_filter(name) != NULL;
}

enum status jinja_filter(struct jinja_run *run, const char *name, const struct jinja_value *self,
                         const struct jinja_arguments *args, struct jinja_value *value)
{
    const struct jinja_global *row = find_filter(name);
    struct jinja_value made; /* value may be self */
    if (row == NULL)
        return JINJA_FAIL(run, STATUS_UNSUPPORTED, "there is no filter \"%.60s\"", name);
    TRY(jinja_bind_and_run(run, "filter", row, self, args, &made));
    *value = made;
    return STATUS_OK;
}
