/* text/jinja_template.h - what a parsed template is. For jinja_parse.c and jinja_render.c. */
#ifndef TEXT_JINJA_TEMPLATE_H
#define TEXT_JINJA_TEMPLATE_H

#include "core/arena.h"
#include "text/jinja_node.h"

struct jinja {
    struct arena *arena;
    const char *name;
    const struct jinja_node *body;
    const char *caller, *varargs, *kwargs; /* interned */
    bool has_generation;
};

#endif
