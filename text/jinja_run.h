/* text/jinja_run.h - one rendering of a template, and the functions that expressions call. For jinja_*.c. */
#ifndef TEXT_JINJA_RUN_H
#define TEXT_JINJA_RUN_H

#include "core/arena.h"
#include "text/jinja.h"
#include "text/jinja_node.h"
#include "text/jinja_value.h"

enum { JINJA_DEPTH_MAX = 800, JINJA_PARAMETERS_MAX = 8 };

struct jinja_binding {
    const char *name; /* interned by the parser: compared as a pointer */
    struct jinja_value value;
    struct jinja_binding *next;
};
struct jinja_scope {
    struct jinja_scope *parent;
    struct jinja_binding *bindings;
};

struct jinja_macro {
    const struct jinja_node *node; /* MACRO or CALL_BLOCK: parameters in items, body */
    struct jinja_scope *scope;     /* it was defined in */
};

struct jinja_loop {
    struct jinja_list *items;
    size_t index;
    uint32_t depth;                     /* from 1 */
    struct jinja_list *changed;         /* what loop.changed last saw */
    const struct jinja_node *recursive; /* the FOR node of a recursive loop, or NULL */
    struct jinja_scope *scope;          /* outside of it */
};

enum jinja_flow { JINJA_GOES_ON, JINJA_BREAKS, JINJA_CONTINUES };

struct jinja_run {
    const struct jinja *source;
    const char *name; /* of the template */
    const struct jinja_call *call;
    struct arena *arena;
    struct buffer *out;  /* where output goes now */
    struct buffer *root; /* the text that is returned */
    size_t root_begin;
    struct jinja_scope *scope, *context; /* context: variables that were read */
    uint64_t steps;                      /* left */
    size_t output_max;
    uint32_t depth, loop_depth, line;
    enum jinja_flow flow;
};

/* An error at the line in hand. */
#define JINJA_FAIL(run, status, format, ...) \
    FAIL(status, "%s:%u: " format, (run)->name, (run)->line, __VA_ARGS__)

/* Recursion is limited: each enter has its leave, in failure too (a failed run is over). */
MUST_CHECK enum status jinja_enter(struct jinja_run *run);
static inline void jinja_leave(struct jinja_run *run)
{
    run->depth--;
}

struct jinja_arguments {
    const struct jinja_value *items; /* [count] */
    size_t count;
    const char *const *names; /* [named], interned or not: compared as texts */
    const struct jinja_value *values;
    size_t named;
};

/* A filter, test, method or global function in hand. Parameters that the call did not give are UNDEFINED, !given. */
struct jinja_bound {
    struct jinja_value at[JINJA_PARAMETERS_MAX];
    bool given[JINJA_PARAMETERS_MAX];
    const struct jinja_arguments *all;
    const char *name;
};
typedef enum status jinja_function(struct jinja_run *run, const struct jinja_value *self,
                                   const struct jinja_bound *args, struct jinja_value *result);
struct jinja_global {
    const char *name;
    const char *parameters; /* names between spaces; "*": any, unbound */
    jinja_function *run;
};

/* Calls a row of a table with its parameters bound. kind: "filter", "test", ... for errors. */
MUST_CHECK enum status jinja_bind_and_run(struct jinja_run *run, const char *kind,
                                          const struct jinja_global *row,
                                          const struct jinja_value *self,
                                          const struct jinja_arguments *args,
                                          struct jinja_value *result);
/* The row of this name, or NULL. */
const struct jinja_global *jinja_row(const struct jinja_global *rows, size_t count,
                                     const char *name);

MUST_CHECK enum status jinja_evaluate(struct jinja_run *run, const struct jinja_node *node,
                                      struct jinja_value *value);
MUST_CHECK enum status jinja_binary(struct jinja_run *run, enum jinja_operator op,
                                    const struct jinja_value *a, const struct jinja_value *b,
                                    struct jinja_value *value);
MUST_CHECK enum status jinja_contains(struct jinja_run *run, const struct jinja_value *item,
                                      const struct jinja_value *in, bool *contains);
MUST_CHECK enum status jinja_percent_format(struct jinja_run *run, const struct jinja_value *format,
                                            const struct jinja_value *with,
                                            struct jinja_value *value);
/* a.name, a[key]: attribute first and item first; what is not there is UNDEFINED. */
MUST_CHECK enum status jinja_attribute(struct jinja_run *run, const struct jinja_value *a,
                                       const char *name, struct jinja_value *value);
MUST_CHECK enum status jinja_item(struct jinja_run *run, const struct jinja_value *a,
                                  const struct jinja_value *key, struct jinja_value *value);
/* "a.b.0" of filters: map(attribute=...), sort, selectattr. path: TEXT or INT. */
MUST_CHECK enum status jinja_path(struct jinja_run *run, const struct jinja_value *a,
                                  const struct jinja_value *path, struct jinja_value *value);
MUST_CHECK enum status jinja_slice(struct jinja_run *run, const struct jinja_value *a,
                                   const struct jinja_value bounds[3], struct jinja_value *value);
MUST_CHECK enum status jinja_call_value(struct jinja_run *run, const struct jinja_value *callee,
                                        const struct jinja_arguments *args,
                                        struct jinja_value *value);
MUST_CHECK enum status jinja_call_macro(struct jinja_run *run, const struct jinja_macro *macro,
                                        const struct jinja_arguments *args,
                                        struct jinja_value *value);
MUST_CHECK enum status jinja_call_loop(struct jinja_run *run, struct jinja_loop *loop,
                                       const struct jinja_arguments *args,
                                       struct jinja_value *value);
MUST_CHECK enum status jinja_call_method(struct jinja_run *run, const struct jinja_value *self,
                                         const char *name, const struct jinja_arguments *args,
                                         struct jinja_value *value);
bool jinja_has_method(const struct jinja_value *self, const char *name);
MUST_CHECK enum status jinja_filter(struct jinja_run *run, const char *name,
                                    const struct jinja_value *self,
                                    const struct jinja_arguments *args, struct jinja_value *value);
MUST_CHECK enum status jinja_test(struct jinja_run *run, const char *name,
                                  const struct jinja_value *self,
                                  const struct jinja_arguments *args, bool *passes);
bool jinja_is_filter(const char *name);
bool jinja_is_test(const char *name);
const struct jinja_global *jinja_find_global(const char *name);
extern const struct jinja_global jinja_text_filters[], jinja_list_filters[], jinja_text_methods[];
extern const size_t jinja_text_filter_count, jinja_list_filter_count, jinja_text_method_count;

/* ---- scopes ---- */
MUST_CHECK enum status jinja_scope_push(struct jinja_run *run, struct jinja_scope *parent);
MUST_CHECK enum status jinja_assign(struct jinja_run *run, const char *name,
                                    const struct jinja_value *value);
MUST_CHECK enum status jinja_look_up(struct jinja_run *run, const char *name,
                                     struct jinja_value *value);
/* The output of nodes as a text. */
MUST_CHECK enum status jinja_capture(struct jinja_run *run, const struct jinja_node *body,
                                     struct jinja_value *text);

#endif
