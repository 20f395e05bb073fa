/* text/jinja_text.c - methods of texts, as Python's str has them, and % formatting. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_case.h"

enum status jinja_need_text(struct jinja_run *run, const struct jinja_bound *args, size_t place,
                            struct jinja_text *text)
{
    if (args->at[place].kind != JINJA_TEXT)
        return JINJA_FAIL(run, STATUS_INVALID, "%s needs a text as argument %zu, not a %s",
                          args->name, place + 1, jinja_kind_name(&args->at[place]));
    *text = args->at[place].text;
    return STATUS_OK;
}

enum status jinja_need_integer(struct jinja_run *run, const struct jinja_bound *args, size_t place,
                               int64_t absent, int64_t *integer)
{
    *integer = absent;
    if (!args->given[place])
        return STATUS_OK;
    if (args->at[place].kind != JINJA_INT && args->at[place].kind != JINJA_BOOL)
        return JINJA_FAIL(run, STATUS_INVALID, "%s needs a whole number as argument %zu, not a %s",
                          args->name, place + 1, jinja_kind_name(&args->at[place]));
    *integer = jinja_integer(&args->at[place]);
    return STATUS_OK;
}

/* ---- case ---- */

static bool is_letter(uint32_t point)
{
    utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)point);
    return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
           kind == UTF8PROC_CATEGORY_LT;
}

static bool begins_word(uint32_t before, enum jinja_case to)
{
    if (to == JINJA_TITLE)
        return !is_letter(before);
    return jinja_is_space(before) || (before < 128 && before != 0 && strchr("-({[<", (int)before));
}

enum status jinja_change_case(struct jinja_run *run, struct jinja_text text, enum jinja_case to,
                              struct jinja_value *value)
{
    struct buffer out;
    enum status status = STATUS_OK;
    uint32_t before = ' ';
    TRY(jinja_charge(run, text.size / 8));
    buffer_init(&out, 0);
    for (size_t at = 0; at < text.size && status == STATUS_OK;) {
        bool first = at == 0;
        utf8proc_int32_t point = (utf8proc_int32_t)jinja_next_point(text, &at);
        bool big = to == JINJA_UPPER || (to == JINJA_CAPITALIZE && first) ||
                   ((to == JINJA_TITLE || to == JINJA_WORDS) && (first || begins_word(before, to)));
        if (to == JINJA_SWAP)
            big = utf8proc_category(point) == UTF8PROC_CATEGORY_LL;
        before = (uint32_t)point;
        if (big && point == 0xDF)
            status = buffer_text(&out, to == JINJA_UPPER || to == JINJA_WORDS ? "SS" : "Ss");
        else
            status =
                jinja_append_point(&out, (uint32_t)(!big ? utf8proc_tolower(point)
                                                    : to == JINJA_CAPITALIZE || to == JINJA_TITLE
                                                        ? utf8proc_totitle(point)
                                                        : utf8proc_toupper(point)));
    }
    return jinja_text_take(run, status, &out, value);
}

#define CASE_METHOD(function, to)                                                        \
    static enum status function(struct jinja_run *run, const struct jinja_value *self,   \
                                const struct jinja_bound *args, struct jinja_value *out) \
    {                                                                                    \
        (void)args;                                                                      \
        return jinja_change_case(run, self->text, to, out);                              \
    }
CASE_METHOD(text_lower, JINJA_LOWER)
CASE_METHOD(text_upper, JINJA_UPPER)
CASE_METHOD(text_capitalize, JINJA_CAPITALIZE)
CASE_METHOD(text_title, JINJA_TITLE)
CASE_METHOD(text_swapcase, JINJA_SWAP)

/* ---- what a text consists of ---- */

/* isalpha isdigit isalnum isspace islower isupper */
static enum status text_is(struct jinja_run *run, const struct jinja_value *self,
                           const struct jinja_bound *args, struct jinja_value *result)
{
    const char *what = args->name + 2;
    bool all = self->text.size > 0,
         cased = strcmp(what, "lower") == 0 || strcmp(what, "upper") == 0;
    if (cased) {
        TRY(jinja_test(run, what, self, &(struct jinja_arguments){0}, &all));
        *result = jinja_bool(all);
        return STATUS_OK;
    }
    for (size_t at = 0; at < self->text.size && all;) {
        uint32_t point = jinja_next_point(self->text, &at);
        utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)point);
        bool letter =
            is_letter(point) || kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_LO;
        bool digit = kind == UTF8PROC_CATEGORY_ND;
        all = what[0] == 's'                     ? jinja_is_space(point)
              : what[0] == 'd' || what[0] == 'n' ? digit
              : what[2] == 'p'
                  ? letter
                  : letter || digit || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
    }
    *result = jinja_bool(all);
    return STATUS_OK;
}

/* ---- ends ---- */

static enum status text_strip(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text set = {0};
    bool given = args->given[0] && args->at[0].kind != JINJA_NONE;
    if (given)
        TRY(jinja_need_text(run, args, 0, &set));
    TRY(jinja_charge(run, 1 + set.size / 8));
    struct jinja_text text =
        jinja_strip(self->text, given ? &set : NULL, args->name[0] != 'r', args->name[0] != 'l');
    *result = jinja_text(text.bytes, text.size);
    result->safe = self->safe;
    return STATUS_OK;
}

static bool stands_at(struct jinja_text text, struct jinja_text part, bool end)
{
    return part.size <= text.size &&
           memcmp(text.bytes + (end ? text.size - part.size : 0), part.bytes, part.size) == 0;
}

/* startswith, endswith; a tuple: any of its texts */
static enum status text_ends(struct jinja_run *run, const struct jinja_value *self,
                             const struct jinja_bound *args, struct jinja_value *result)
{
    bool end = args->name[0] == 'e', is = false;
    const struct jinja_value *what = &args->at[0];
    if (args->given[1])
        return JINJA_FAIL(run, STATUS_UNSUPPORTED, "%s with a place is not supported: slice first",
                          args->name);
    size_t count = what->kind == JINJA_TUPLE ? what->list->count : 1;
    for (size_t i = 0; i < count && !is; i++) {
        const struct jinja_value *part = what->kind == JINJA_TUPLE ? &what->list->items[i] : what;
        if (part->kind != JINJA_TEXT)
            return JINJA_FAIL(run, STATUS_INVALID, "%s needs a text or a tuple of texts, not a %s",
                              args->name, jinja_kind_name(part));
        is = stands_at(self->text, part->text, end);
    }
    *result = jinja_bool(is);
    return STATUS_OK;
}

static enum status text_remove(struct jinja_run *run, const struct jinja_value *self,
                               const struct jinja_bound *args, struct jinja_value *result)
{
    bool end = strcmp(args->name, "removesuffix") == 0;
    struct jinja_text part, text = self->text;
    TRY(jinja_need_text(run, args, 0, &part));
    if (stands_at(text, part, end))
        text = (struct jinja_text){text.bytes + (end ? 0 : part.size), text.size - part.size};
    *result = jinja_text(text.bytes, text.size);
    return STATUS_OK;
}

/* ---- search ---- */

static const char *find(struct jinja_text text, struct jinja_text part, bool last)
{
    if (!last || part.size == 0)
        return part.size == 0 ? text.bytes + (last ? text.size : 0)
                              : memmem(text.bytes, text.size, part.bytes, part.size);
    for (size_t at = text.size; at >= part.size; at--)
        if (memcmp(text.bytes + at - part.size, part.bytes, part.size) == 0)
            return text.bytes + at - part.size;
    return NULL;
}

/* find rfind index rindex */
static enum status text_find(struct jinja_run *run, const struct jinja_value *self,
                             const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text part, text = self->text;
    int64_t begin;
    TRY(jinja_need_text(run, args, 0, &part));
    TRY(jinja_need_integer(run, args, 1, 0, &begin));
    TRY(jinja_charge(run, text.size / 16));
    if (begin < 0 || args->given[2])
        return JINJA_FAIL(run, STATUS_UNSUPPORTED,
                          "%s with an end or from behind is not supported: slice first",
                          args->name);
    size_t skipped = jinja_point_offset(text, (size_t)begin);
    struct jinja_text rest = {text.bytes + skipped, text.size - skipped};
    const char *found =
        (size_t)begin > jinja_count_points(text) ? NULL : find(rest, part, args->name[0] == 'r');
    if (found == NULL && strstr(args->name, "index") != NULL)
        return JINJA_FAIL(run, STATUS_INVALID, "%s: the text has no such part", args->name);
    struct jinja_text before = {text.bytes, found != NULL ? (size_t)(found - text.bytes) : 0};
    *result = jinja_int(found != NULL ? (int64_t)jinja_count_points(before) : -1);
    return STATUS_OK;
}

static enum status text_count(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text part, text = self->text;
    int64_t count = 0;
    TRY(jinja_need_text(run, args, 0, &part));
    TRY(jinja_charge(run, text.size / 16));
    for (const char *at; part.size > 0 && (at = find(text, part, false)) != NULL; count++) {
        size_t used = (size_t)(at - text.bytes) + part.size;
        text = (struct jinja_text){text.bytes + used, text.size - used};
    }
    *result = jinja_int(part.size > 0 ? count : (int64_t)jinja_count_points(text) + 1);
    return STATUS_OK;
}

/* ---- split, join, replace ---- */

static enum status add_piece(struct jinja_run *run, struct jinja_list *list, const char *begin,
                             size_t size)
{
    struct jinja_value piece = jinja_text(begin, size);
    return jinja_list_add(run, list, &piece);
}

/* Words between white space; `most` splits, what is left is one piece. */
static enum status split_words(struct jinja_run *run, struct jinja_text text, int64_t most,
                               bool back, struct jinja_list *list)
{
    for (int64_t splits = 0;; splits++) {
        text = jinja_strip(text, NULL, !back, back);
        if (text.size == 0)
            return STATUS_OK;
        if (most >= 0 && splits >= most) {
            return add_piece(run, list, text.bytes, text.size);
        }
        size_t begin = 0, end = text.size;
        for (size_t at = 0; at < text.size;) {
            size_t here = at;
            if (jinja_is_space(jinja_next_point(text, &at))) {
                if (!back) {
                    end = here;
                    break;
                }
                begin = at;
            }
        }
        TRY(jinja_charge(run, (back ? text.size : end) / 8));
        TRY(add_piece(run, list, text.bytes + begin, end - begin));
        text = back ? (struct jinja_text){text.bytes, begin}
                    : (struct jinja_text){text.bytes + end, text.size - end};
    }
}

static enum status split_at(struct jinja_run *run, struct jinja_text text, struct jinja_text mark,
                            int64_t most, bool back, struct jinja_list *list)
{
    for (int64_t splits = 0; most < 0 || splits < most; splits++) {
        const char *found = find(text, mark, back);
        if (found == NULL)
            break;
        size_t before = (size_t)(found - text.bytes), after = before + mark.size;
        TRY(jinja_charge(run, (back ? text.size - before : after) / 16));
        if (back)
            TRY(add_piece(run, list, text.bytes + after, text.size - after));
        else
            TRY(add_piece(run, list, text.bytes, before));
        text = back ? (struct jinja_text){text.bytes, before}
                    : (struct jinja_text){text.bytes + after, text.size - after};
    }
    return add_piece(run, list, text.bytes, text.size);
}

/* split, rsplit */
static enum status text_split(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    bool back = args->name[0] == 'r';
    struct jinja_text mark;
    int64_t most;
    TRY(jinja_need_integer(run, args, 1, -1, &most));
    TRY(jinja_list_new(run, JINJA_LIST, 4, result));
    if (!args->given[0] || args->at[0].kind == JINJA_NONE) {
        TRY(split_words(run, self->text, most, back, result->list));
    } else {
        TRY(jinja_need_text(run, args, 0, &mark));
        if (mark.size == 0)
            return JINJA_FAIL(run, STATUS_INVALID, "%s at an empty text", args->name);
        TRY(split_at(run, self->text, mark, most, back, result->list));
    }
    struct jinja_list *list = result->list;
    for (size_t i = 0; back && i < list->count / 2; i++) {
        struct jinja_value item = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = item;
    }
    return STATUS_OK;
}

static enum status text_partition(struct jinja_run *run, const struct jinja_value *self,
                                  const struct jinja_bound *args, struct jinja_value *result)
{
    bool back = args->name[0] == 'r';
    struct jinja_text mark, text = self->text;
    TRY(jinja_need_text(run, args, 0, &mark));
    TRY(jinja_charge(run, text.size / 16));
    const char *found = mark.size > 0 ? find(text, mark, back) : NULL;
    size_t before = found != NULL ? (size_t)(found - text.bytes) : back ? 0 : text.size;
    size_t size = found != NULL ? mark.size : 0;
    TRY(jinja_list_new(run, JINJA_TUPLE, 3, result));
    TRY(add_piece(run, result->list, text.bytes, before));
    TRY(add_piece(run, result->list, text.bytes + before, size));
    return add_piece(run, result->list, text.bytes + before + size, text.size - before - size);
}

static bool ends_line(uint32_t point)
{
    return (point >= 10 && point <= 13) || (point >= 0x1C && point <= 0x1E) || point == 0x85 ||
           point == 0x2028 || point == 0x2029;
}

enum status jinja_split_lines(struct jinja_run *run, struct jinja_text text, bool keep,
                              struct jinja_list **lines)
{
    struct jinja_value list;
    size_t begin = 0;
    TRY(jinja_list_new(run, JINJA_LIST, 8, &list));
    TRY(jinja_charge(run, text.size / 16));
    for (size_t at = 0; at < text.size;) {
        size_t here = at;
        uint32_t point = jinja_next_point(text, &at);
        if (!ends_line(point))
            continue;
        at += point == '\r' && at < text.size && text.bytes[at] == '\n';
        TRY(add_piece(run, list.list, text.bytes + begin, (keep ? at : here) - begin));
        begin = at;
    }
    if (begin < text.size)
        TRY(add_piece(run, list.list, text.bytes + begin, text.size - begin));
    *lines = list.list;
    return STATUS_OK;
}

static enum status text_lines(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    TRY(jinja_list_new(run, JINJA_LIST, 0, result));
    return jinja_split_lines(run, self->text, jinja_truth(&args->at[0]), &result->list);
}

enum status jinja_join(struct jinja_run *run, const struct jinja_list *items,
                       struct jinja_text between, struct jinja_value *value)
{
    struct buffer out;
    enum status status = STATUS_OK;
    buffer_init(&out, 0);
    for (size_t i = 0; i < items->count && status == STATUS_OK; i++) {
        if (i > 0)
            status = buffer_append(&out, between.bytes, between.size);
        if (status == STATUS_OK)
            status = jinja_print(run, &items->items[i], &out);
    }
    return jinja_text_take(run, status, &out, value);
}

static enum status text_join(struct jinja_run *run, const struct jinja_value *self,
                             const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_list *items;
    TRY(jinja_iterate(run, &args->at[0], &items));
    for (size_t i = 0; i < items->count; i++)
        if (items->items[i].kind != JINJA_TEXT)
            return JINJA_FAIL(run, STATUS_INVALID, "join: item %zu is a %s, not a text", i,
                              jinja_kind_name(&items->items[i]));
    return jinja_join(run, items, self->text, result);
}

enum status jinja_replace(struct jinja_run *run, struct jinja_text text, struct jinja_text old,
                          struct jinja_text with, int64_t count, struct jinja_value *value)
{
    struct buffer out;
    enum status status = jinja_charge(run, text.size / 16);
    size_t at = 0;
    buffer_init(&out, run->output_max);
    for (int64_t done = 0; status == STATUS_OK && (count < 0 || done < count); done++) {
        struct jinja_text rest = {text.bytes + at, text.size - at};
        const char *found = find(rest, old, false);
        size_t skip = old.size == 0 && done > 0 ? 1 : 0; /* "": before each character */
        if (found == NULL || (skip > 0 && rest.size == 0))
            break;
        if (skip > 0) {
            size_t next = at;
            jinja_next_point(text, &next);
            found = text.bytes + next;
        }
        size_t before = (size_t)(found - rest.bytes);
        status = jinja_charge(run, 1 + with.size / 64);
        if (status == STATUS_OK)
            status = buffer_append(&out, rest.bytes, before);
        if (status == STATUS_OK)
            status = buffer_append(&out, with.bytes, with.size);
        at += before + old.size;
    }
    if (status == STATUS_OK)
        status = buffer_append(&out, text.bytes + at, text.size - at);
    return jinja_text_take(run, status, &out, value);
}

static enum status text_replace(struct jinja_run *run, const struct jinja_value *self,
                                const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text old, with;
    int64_t count;
    TRY(jinja_need_text(run, args, 0, &old));
    TRY(jinja_need_text(run, args, 1, &with));
    TRY(jinja_need_integer(run, args, 2, -1, &count));
    return jinja_replace(run, self->text, old, with, count, result);
}

/* ---- width ---- */

/* ljust rjust center zfill */
static enum status text_width(struct jinja_run *run, const struct jinja_value *self,
                              const struct jinja_bound *args, struct jinja_value *result)
{
    struct jinja_text fill = {" ", 1}, text = self->text;
    int64_t width, size = (int64_t)jinja_count_points(text);
    bool zeros = args->name[0] == 'z';
    TRY(jinja_need_integer(run, args, 0, 0, &width));
    if (args->given[1])
        TRY(jinja_need_text(run, args, 1, &fill));
    if (zeros)
        fill = (struct jinja_text){"0", 1};
    int64_t missing = width > size ? width - size : 0;
    if (missing > 1 << 20)
        return JINJA_FAIL(run, STATUS_LIMIT, "%s to %" PRId64 " characters", args->name, width);
    int64_t left = args->name[0] == 'l'   ? 0
                   : args->name[0] == 'c' ? missing / 2 + (missing & width & 1)
                                          : missing;
    bool sign = zeros && text.size > 0 && (text.bytes[0] == '-' || text.bytes[0] == '+');
    struct buffer out;
    buffer_init(&out, 0);
    enum status status = buffer_append(&out, text.bytes, sign);
    for (int64_t i = 0; i < left && status == STATUS_OK; i++)
        status = buffer_append(&out, fill.bytes, fill.size);
    if (status == STATUS_OK)
        status = buffer_append(&out, text.bytes + sign, text.size - sign);
    for (int64_t i = left; i < missing && status == STATUS_OK; i++)
        status = buffer_append(&out, fill.bytes, fill.size);
    return jinja_text_take(run, status, &out, result);
}

const struct jinja_global jinja_text_methods[] = {{"split", "sep maxsplit", text_split},
                                                  {"rsplit", "sep maxsplit", text_split},
                                                  {"strip", "chars", text_strip},
                                                  {"lstrip", "chars", text_strip},
                                                  {"rstrip", "chars", text_strip},
                                                  {"startswith", "prefix start", text_ends},
                                                  {"endswith", "suffix start", text_ends},
                                                  {"removeprefix", "prefix", text_remove},
                                                  {"removesuffix", "suffix", text_remove},
                                                  {"upper", "", text_upper},
                                                  {"lower", "", text_lower},
                                                  {"casefold", "", text_lower},
                                                  {"title", "", text_title},
                                                  {"capitalize", "", text_capitalize},
                                                  {"swapcase", "", text_swapcase},
                                                  {"replace", "old new count", text_replace},
                                                  {"find", "sub start end", text_find},
                                                  {"rfind", "sub start end", text_find},
                                                  {"index", "sub start end", text_find},
                                                  {"rindex", "sub start end", text_find},
                                                  {"count", "sub", text_count},
                                                  {"join", "items", text_join},
                                                  {"splitlines", "keepends", text_lines},
                                                  {"partition", "sep", text_partition},
                                                  {"rpartition", "sep", text_partition},
                                                  {"isalpha", "", text_is},
                                                  {"isdigit", "", text_is},
                                                  {"isnumeric", "", text_is},
                                                  {"isalnum", "", text_is},
                                                  {"isspace", "", text_is},
                                                  {"islower", "", text_is},
                                                  {"isupper", "", text_is},
                                                  {"ljust", "width fillchar", text_width},
                                                  {"rjust", "width fillchar", text_width},
                                                  {"center", "width fillchar", text_width},
                                                  {"zfill", "width", text_width},
                                                  {"format", "*", jinja_text_format}};
const size_t jinja_text_method_count = sizeof jinja_text_methods / sizeof jinja_text_methods[0];
