/* text/jinja_test.c - tests: "x is defined". */
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_run.h"

static bool is_kind(const struct jinja_value *self, const char *name, bool *known)
{
    enum jinja_kind kind = self->kind;
    const struct {
        const char *name;
        bool passes;
    } rows[] = {
        {"defined", kind != JINJA_UNDEFINED},
        {"undefined", kind == JINJA_UNDEFINED},
        {"none", kind == JINJA_NONE},
        {"string", kind == JINJA_TEXT},
        {"mapping", kind == JINJA_DICT},
        {"boolean", kind == JINJA_BOOL},
        {"true", kind == JINJA_BOOL && self->truth},
        {"false", kind == JINJA_BOOL && !self->truth},
        {"integer", kind == JINJA_INT},
        {"float", kind == JINJA_FLOAT},
        {"number", jinja_is_number(self)},
        {"iterable", kind == JINJA_TEXT || jinja_is_sequence(self) || kind == JINJA_DICT ||
                         kind == JINJA_UNDEFINED || kind == JINJA_LOOP},
        {"sequence", kind == JINJA_TEXT || jinja_is_sequence(self) || kind == JINJA_DICT ||
                         kind == JINJA_UNDEFINED},
        {"callable", kind == JINJA_MACRO || kind == JINJA_GLOBAL || kind == JINJA_METHOD},
        {"escaped", kind == JINJA_TEXT && self->safe},
    };
    *known = false;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *known = true;
            return rows[i].passes;
        }
    return false;
}

static bool operator_of(const char *name, enum jinja_operator *op)
{
    static const struct {
        const char *name;
        enum jinja_operator op;
    } rows[] = {
        {"eq", JINJA_EQUAL},      {"equalto", JINJA_EQUAL},    {"==", JINJA_EQUAL},
        {"ne", JINJA_NOT_EQUAL},  {"!=", JINJA_NOT_EQUAL},     {"lt", JINJA_LESS},
        {"lessthan", JINJA_LESS}, {"<", JINJA_LESS},           {"le", JINJA_LESS_EQUAL},
        {"<=", JINJA_LESS_EQUAL}, {"gt", JINJA_GREATER},       {"greaterthan", JINJA_GREATER},
        {">", JINJA_GREATER},     {"ge", JINJA_GREATER_EQUAL}, {">=", JINJA_GREATER_EQUAL},
        {"in", JINJA_IN}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *op = rows[i].op;
            return true;
        }
    return false;
}

bool jinja_is_test(const char *name)
{
    static const char *const others[] = {"odd",   "even",  "divisibleby", "sameas",
                                         "lower", "upper", "filter",      "test"};
    struct jinja_value none = jinja_none();
    enum jinja_operator op;
    bool known;
    (void)is_kind(&none, name, &known);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        known = known || strcmp(others[i], name) == 0;
    return known || operator_of(name, &op);
}

/* str.islower, str.isupper: some letter has a case, and none the other one. */
static bool has_case(struct jinja_text text, bool upper)
{
    bool some = false;
    for (size_t at = 0; at < text.size;) {
        utf8proc_int32_t point = (utf8proc_int32_t)jinja_next_point(text, &at);
        utf8proc_category_t kind = utf8proc_category(point);
        if (kind == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU) ||
            kind == UTF8PROC_CATEGORY_LT)
            return false;
        some = some || kind == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
    }
    return some;
}

static enum status divides(struct jinja_run *run, const char *name, const struct jinja_value *self,
                           const struct jinja_value *by, bool *passes)
{
    struct jinja_value rest;
    TRY(jinja_binary(run, JINJA_MODULO, self, by, &rest));
    bool zero = jinja_is_number(&rest) && jinja_real(&rest) == 0;
    *passes = strcmp(name, "odd") == 0 ? jinja_is_number(&rest) && jinja_real(&rest) == 1 : zero;
    return STATUS_OK;
}

enum status jinja_test(struct jinja_run *run, const char *name, const struct jinja_value *self,
                       const struct jinja_arguments *args, bool *passes)
{
    bool known;
    enum jinja_operator op;
    struct jinja_value two = jinja_int(2), result;
    if (!jinja_is_test(name))
        return JINJA_FAIL(run, STATUS_UNSUPPORTED, "there is no test \"%.60s\"", name);
    *passes = is_kind(self, name, &known);
    bool needs =
        operator_of(name, &op) || strcmp(name, "divisibleby") == 0 || strcmp(name, "sameas") == 0;
    if (args->count != needs || args->named != 0)
        return JINJA_FAIL(run, STATUS_INVALID, "the test %.60s takes %d arguments, not %zu", name,
                          needs, args->count + args->named);
    if (known)
        return STATUS_OK;
    if (operator_of(name, &op)) {
        TRY(jinja_binary(run, op, self, &args->items[0], &result));
        *passes = jinja_truth(&result);
        return STATUS_OK;
    }
    if (strcmp(name, "sameas") == 0) {
        *passes = false;
        return self->kind == args->items[0].kind ? jinja_equal(run, self, &args->items[0], passes)
                                                 : STATUS_OK;
    }
    if (strcmp(name, "lower") == 0 || strcmp(name, "upper") == 0) {
        struct jinja_value text;
        TRY(jinja_print_text(run, self, &text));
        *passes = has_case(text.text, name[0] == 'u');
        return STATUS_OK;
    }
    if (strcmp(name, "filter") == 0 || strcmp(name, "test") == 0) {
        struct jinja_value text;
        TRY(jinja_print_text(run, self, &text));
        TRY(jinja_text_copy(run, text.text.bytes, text.text.size, &text)); /* with its NUL */
        *passes =
            name[0] == 'f' ? jinja_is_filter(text.text.bytes) : jinja_is_test(text.text.bytes);
        return STATUS_OK;
    }
    return divides(run, name, self, name[0] == 'd' ? &args->items[0] : &two, passes);
}
