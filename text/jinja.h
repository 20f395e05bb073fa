/* text/jinja.h - the part of the Jinja language that chat templates are written in.
 *
 * Follows jinja2 3.1 as transformers sets it up: trim_blocks and lstrip_blocks on, autoescape off, loop controls, the
 * {% generation %} block, tojson as plain json.dumps, a sandbox in which nothing given can be changed. docs/chat.md
 * lists what there is; everything else is refused by name with the line it stands in.
 *
 * Templates come from downloads and are not trusted: work, memory, output and depth are limited. */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

struct jinja;

struct jinja_span {
    size_t begin, end; /* bytes of the output */
};

struct jinja_limits {
    uint64_t steps;    /* about 20 ns each; 0 = 50 million */
    size_t memory;     /* bytes of values; 0 = 512 MiB */
    size_t output;     /* bytes; 0 = 64 MiB */
    int64_t wall_ns;   /* what strftime_now says, since 1970; 0 = now */
    bool spans_wanted; /* {% generation %} within a captured block is then an error */
};

struct jinja_call {
    const json_t *const *variables; /* [variable_count] objects, later ones win */
    size_t variable_count;
    struct jinja_limits limits;
    /* Called for each {% generation %} block that writes to the output; NULL: nobody asks. */
    enum status (*on_span)(void *self, struct jinja_span span);
    void *self;
};

/* name stands in errors as "name:line". INVALID or UNSUPPORTED: what it does not understand, LIMIT: too large or deep. */
MUST_CHECK enum status jinja_parse(struct jinja **made, const char *name, const char *source,
                                   size_t size);
void jinja_free(struct jinja **made); /* NULL is fine; sets *made to NULL */
/* Appends to `text`, which is unchanged after an error. One template may render in many threads at once. */
MUST_CHECK enum status jinja_render(const struct jinja *made, const struct jinja_call *call,
                                    struct buffer *text);
bool jinja_has_generation(const struct jinja *made);

#endif
