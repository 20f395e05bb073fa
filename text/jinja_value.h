/* text/jinja_value.h - values of a template, as Python has them: numbers, texts, lists, dicts. For jinja_*.c.
 *
 * Values live in the arena of one rendering. Texts are UTF-8 with a size; positions are those of code points. Every
 * function that may work long takes the run: it counts steps, which are limited. */
#ifndef TEXT_JINJA_VALUE_H
#define TEXT_JINJA_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

struct jinja_run;

enum jinja_kind {
    JINJA_UNDEFINED, /* text: why, for errors */
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_TEXT,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_NAMESPACE,
    JINJA_LOOP,
    JINJA_MACRO,
    JINJA_GLOBAL,
    JINJA_METHOD
};

struct jinja_text {
    const char *bytes;
    size_t size;
};

struct jinja_value {
    enum jinja_kind kind;
    bool safe; /* TEXT: marked by the filter safe */
    union {
        bool truth;
        int64_t integer;
        double real;
        struct jinja_text text;
        struct jinja_list *list; /* LIST, TUPLE */
        struct jinja_dict *dict; /* DICT, NAMESPACE */
        struct jinja_loop *loop;
        const struct jinja_macro *macro;
        const struct jinja_global *global;
        struct jinja_method *method;
    };
};

struct jinja_list {
    struct jinja_value *items; /* [count] */
    size_t count, capacity;
};
struct jinja_pair {
    struct jinja_value key, value;
};
struct jinja_dict {
    struct jinja_pair *pairs; /* [count], in the order they came */
    size_t count, capacity;
};
struct jinja_method {
    struct jinja_value self;
    const char *name;
};

struct jinja_value jinja_undefined(const char *why); /* why outlives the run */
struct jinja_value jinja_none(void);
struct jinja_value jinja_bool(bool truth);
struct jinja_value jinja_int(int64_t integer);
struct jinja_value jinja_float(double real);
struct jinja_value jinja_text(const char *bytes, size_t size);
bool jinja_is_text(const struct jinja_value *value, const char *text);
bool jinja_is_sequence(const struct jinja_value *value);      /* LIST or TUPLE */
bool jinja_is_number(const struct jinja_value *value);        /* BOOL, INT, FLOAT */
double jinja_real(const struct jinja_value *value);           /* of a number */
int64_t jinja_integer(const struct jinja_value *value);       /* of BOOL or INT */
const char *jinja_kind_name(const struct jinja_value *value); /* as Python says it */

/* Room and work, both limited. */
MUST_CHECK enum status jinja_charge(struct jinja_run *run, size_t steps);
MUST_CHECK enum status jinja_room(struct jinja_run *run, size_t count, size_t item_bytes,
                                  void *pointer_to_pointer);
MUST_CHECK enum status jinja_text_copy(struct jinja_run *run, const void *bytes, size_t size,
                                       struct jinja_value *made);
/* The contents of `buffer`, which is freed whatever happens; status: of what filled it. */
MUST_CHECK enum status jinja_text_take(struct jinja_run *run, enum status status,
                                       struct buffer *buffer, struct jinja_value *made);

MUST_CHECK enum status jinja_list_new(struct jinja_run *run, enum jinja_kind kind, size_t capacity,
                                      struct jinja_value *made);
MUST_CHECK enum status jinja_list_add(struct jinja_run *run, struct jinja_list *list,
                                      const struct jinja_value *item);
MUST_CHECK enum status jinja_dict_new(struct jinja_run *run, struct jinja_value *made);
MUST_CHECK enum status jinja_dict_set(struct jinja_run *run, struct jinja_dict *dict,
                                      const struct jinja_value *key,
                                      const struct jinja_value *value);
/* *found: the value, or NULL. */
MUST_CHECK enum status jinja_dict_find(struct jinja_run *run, const struct jinja_dict *dict,
                                       const struct jinja_value *key, struct jinja_value **found);
struct jinja_value *jinja_dict_text(const struct jinja_dict *dict, const char *key);

MUST_CHECK enum status jinja_from_json(struct jinja_run *run, const json_t *json,
                                       struct jinja_value *made);
bool jinja_truth(const struct jinja_value *value);
MUST_CHECK enum status jinja_equal(struct jinja_run *run, const struct jinja_value *a,
                                   const struct jinja_value *b, bool *equal);
/* < 0, 0, > 0; INVALID: Python cannot order them. */
MUST_CHECK enum status jinja_order(struct jinja_run *run, const struct jinja_value *a,
                                   const struct jinja_value *b, int *order);
/* What a for loop goes through, as a list: items, characters, keys. */
MUST_CHECK enum status jinja_iterate(struct jinja_run *run, const struct jinja_value *value,
                                     struct jinja_list **items);
/* Number of items, characters or keys; INVALID: it has no length. */
MUST_CHECK enum status jinja_length(struct jinja_run *run, const struct jinja_value *value,
                                    size_t *length);

/* str(value) and repr(value) as Python writes them. */
MUST_CHECK enum status jinja_print(struct jinja_run *run, const struct jinja_value *value,
                                   struct buffer *out);
MUST_CHECK enum status jinja_repr(struct jinja_run *run, const struct jinja_value *value,
                                  struct buffer *out);
MUST_CHECK enum status jinja_print_text(struct jinja_run *run, const struct jinja_value *value,
                                        struct jinja_value *text); /* a TEXT stays as it is */
MUST_CHECK enum status jinja_print_float(double real, struct buffer *out);

/* json.dumps(value). */
struct jinja_json {
    bool ascii, sorted;
    bool indented;
    struct jinja_text indent, item_separator, key_separator;
};
MUST_CHECK enum status jinja_dump_json(struct jinja_run *run, const struct jinja_value *value,
                                       const struct jinja_json *how, struct buffer *out);

/* ---- code points ---- */

/* Code point at text[*at], and *at moves behind it; a byte that is no UTF-8 is one of its own. */
uint32_t jinja_next_point(struct jinja_text text, size_t *at);
size_t jinja_count_points(struct jinja_text text);
size_t jinja_point_offset(struct jinja_text text, size_t index); /* bytes before code point index */
bool jinja_is_space(uint32_t point);                             /* str.isspace */
MUST_CHECK enum status jinja_append_point(struct buffer *out, uint32_t point);
/* Python's strip: what stands in `set` (NULL: white space) at either end goes. */
struct jinja_text jinja_strip(struct jinja_text text, const struct jinja_text *set, bool left,
                              bool right);

#endif
