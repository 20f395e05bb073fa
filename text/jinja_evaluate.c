/* text/jinja_evaluate.c - the value of an expression. */
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "text/jinja_run.h"
#include "text/jinja_template.h"

/* ---- names ---- */

enum status jinja_scope_push(struct jinja_run *run, struct jinja_scope *parent)
{
    struct jinja_scope *scope;
    TRY(jinja_room(run, 1, sizeof *scope, &scope));
    scope->parent = parent;
    run->scope = scope;
    return STATUS_OK;
}

static struct jinja_binding *find_binding(const struct jinja_scope *scope, const char *name)
{
    for (struct jinja_binding *at = scope->bindings; at != NULL; at = at->next)
        if (at->name == name)
            return at;
    return NULL;
}

static enum status bind(struct jinja_run *run, struct jinja_scope *scope, const char *name,
                        const struct jinja_value *value)
{
    struct jinja_binding *binding = find_binding(scope, name);
    if (binding == NULL) {
        TRY(jinja_room(run, 1, sizeof *binding, &binding));
        binding->name = name;
        binding->next = scope->bindings;
        scope->bindings = binding;
    }
    binding->value = *value;
    return STATUS_OK;
}

enum status jinja_assign(struct jinja_run *run, const char *name, const struct jinja_value *value)
{
    return bind(run, run->scope, name, value);
}

/* Variables come from JSON when they are first read. */
static enum status read_variable(struct jinja_run *run, const char *name, struct jinja_value *value)
{
    const json_t *json = NULL;
    for (size_t i = run->call->variable_count; i > 0 && json == NULL; i--)
        json = json_object_get(run->call->variables[i - 1], name);
    const struct jinja_global *global = json == NULL ? jinja_find_global(name) : NULL;
    if (json != NULL) {
        TRY(jinja_from_json(run, json, value));
    } else if (global != NULL) {
        *value = (struct jinja_value){.kind = JINJA_GLOBAL, .global = global};
    } else {
        char why[96];
        snprintf(why, sizeof why, "\"%.60s\" is undefined", name);
        TRY(jinja_text_copy(run, why, strlen(why), value));
        value->kind = JINJA_UNDEFINED;
    }
    return bind(run, run->context, name, value);
}

enum status jinja_look_up(struct jinja_run *run, const char *name, struct jinja_value *value)
{
    for (const struct jinja_scope *scope = run->scope; scope != NULL; scope = scope->parent) {
        const struct jinja_binding *binding = find_binding(scope, name);
        if (binding != NULL) {
            *value = binding->value;
            return STATUS_OK;
        }
    }
    return read_variable(run, name, value);
}

/* ---- collections ---- */

static enum status evaluate_items(struct jinja_run *run, const struct jinja_node *node,
                                  enum jinja_kind kind, struct jinja_value *value)
{
    TRY(jinja_list_new(run, kind, 4, value));
    for (const struct jinja_node *at = node->items; at != NULL; at = at->next) {
        struct jinja_value item;
        TRY(jinja_evaluate(run, at->a, &item));
        TRY(jinja_list_add(run, value->list, &item));
    }
    return STATUS_OK;
}

static enum status evaluate_dict(struct jinja_run *run, const struct jinja_node *node,
                                 struct jinja_value *value)
{
    TRY(jinja_dict_new(run, value));
    for (const struct jinja_node *at = node->items; at != NULL; at = at->next) {
        struct jinja_value key, item;
        TRY(jinja_evaluate(run, at->a, &key));
        TRY(jinja_evaluate(run, at->b, &item));
        TRY(jinja_dict_set(run, value->dict, &key, &item));
    }
    return STATUS_OK;
}

static enum status evaluate_concat(struct jinja_run *run, const struct jinja_node *node,
                                   struct jinja_value *value)
{
    struct jinja_value parts;
    struct buffer out;
    TRY(evaluate_items(run, node, JINJA_LIST, &parts));
    buffer_init(&out, 0);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < parts.list->count && status == STATUS_OK; i++)
        status = jinja_print(run, &parts.list->items[i], &out);
    return jinja_text_take(run, status, &out, value);
}

/* ---- operators ---- */

static enum status evaluate_unary(struct jinja_run *run, const struct jinja_node *node,
                                  struct jinja_value *value)
{
    struct jinja_value zero = jinja_int(0), inner;
    TRY(jinja_evaluate(run, node->a, &inner));
    if (inner.kind == JINJA_FLOAT) {
        *value = jinja_float(node->op == JINJA_MINUS ? -inner.real : inner.real);
        return STATUS_OK;
    }
    return jinja_binary(run, node->op == JINJA_MINUS ? JINJA_SUBTRACT : JINJA_ADD, &zero, &inner,
                        value);
}

/* a < b <= c: each pair in turn, up to the first that fails. */
static enum status evaluate_compare(struct jinja_run *run, const struct jinja_node *node,
                                    struct jinja_value *value)
{
    struct jinja_value left, right;
    TRY(jinja_evaluate(run, node->a, &left));
    for (const struct jinja_node *at = node->items; at != NULL; at = at->next) {
        TRY(jinja_evaluate(run, at->a, &right));
        TRY(jinja_binary(run, at->op, &left, &right, value));
        if (!jinja_truth(value))
            break;
        left = right;
    }
    return STATUS_OK;
}

static enum status evaluate_logic(struct jinja_run *run, const struct jinja_node *node,
                                  struct jinja_value *value)
{
    TRY(jinja_evaluate(run, node->a, value));
    if (node->kind == NODE_NOT)
        *value = jinja_bool(!jinja_truth(value));
    else if (jinja_truth(value) == (node->kind == NODE_AND))
        TRY(jinja_evaluate(run, node->b, value));
    return STATUS_OK;
}

static enum status evaluate_condition(struct jinja_run *run, const struct jinja_node *node,
                                      struct jinja_value *value)
{
    TRY(jinja_evaluate(run, node->a, value));
    if (jinja_truth(value))
        return jinja_evaluate(run, node->b, value);
    if (node->c != NULL)
        return jinja_evaluate(run, node->c, value);
    *value = jinja_undefined("an if without else gave nothing");
    return STATUS_OK;
}

static enum status evaluate_slice(struct jinja_run *run, const struct jinja_node *node,
                                  struct jinja_value *value)
{
    const struct jinja_node *parts[3] = {node->items->a, node->b, node->c};
    struct jinja_value bounds[3], whole;
    TRY(jinja_evaluate(run, node->a, &whole));
    for (size_t i = 0; i < 3; i++)
        TRY(jinja_evaluate(run, parts[i], &bounds[i]));
    return jinja_slice(run, &whole, bounds, value);
}

static enum status evaluate_index(struct jinja_run *run, const struct jinja_node *node,
                                  struct jinja_value *value)
{
    struct jinja_value whole, key;
    TRY(jinja_evaluate(run, node->a, &whole));
    TRY(jinja_evaluate(run, node->b, &key));
    run->line = node->line;
    return jinja_item(run, &whole, &key, value);
}

/* ---- calls ---- */

static enum status evaluate_arguments(struct jinja_run *run, const struct jinja_node *items,
                                      struct jinja_arguments *args)
{
    size_t count = 0, named = 0;
    for (const struct jinja_node *at = items; at != NULL; at = at->next)
        *(at->kind == NODE_KEYWORD ? &named : &count) += 1;
    struct jinja_value *values;
    const char **names;
    TRY(jinja_room(run, count + named, sizeof *values, &values));
    TRY(jinja_room(run, named, sizeof *names, &names));
    *args = (struct jinja_arguments){values, count, names, values + count, named};
    count = named = 0;
    for (const struct jinja_node *at = items; at != NULL; at = at->next) {
        if (at->kind == NODE_KEYWORD)
            names[named++] = at->name;
        TRY(jinja_evaluate(run, at->a, &values[count++])); /* named ones come last */
    }
    return STATUS_OK;
}

static enum status evaluate_call(struct jinja_run *run, const struct jinja_node *node,
                                 struct jinja_value *value)
{
    struct jinja_value callee;
    struct jinja_arguments args;
    TRY(jinja_evaluate(run, node->a, &callee));
    TRY(evaluate_arguments(run, node->items, &args));
    run->line = node->line;
    return jinja_call_value(run, &callee, &args, value);
}

static enum status evaluate_filter(struct jinja_run *run, const struct jinja_node *node,
                                   struct jinja_value *value)
{
    struct jinja_value self;
    struct jinja_arguments args;
    CHECK(node->a != NULL);
    TRY(jinja_evaluate(run, node->a, &self));
    TRY(evaluate_arguments(run, node->items, &args));
    run->line = node->line;
    return jinja_filter(run, node->name, &self, &args, value);
}

static enum status evaluate_test(struct jinja_run *run, const struct jinja_node *node,
                                 struct jinja_value *value)
{
    struct jinja_value self;
    struct jinja_arguments args;
    bool passes;
    TRY(jinja_evaluate(run, node->a, &self));
    TRY(evaluate_arguments(run, node->items, &args));
    run->line = node->line;
    TRY(jinja_test(run, node->name, &self, &args, &passes));
    *value = jinja_bool(passes);
    return STATUS_OK;
}

static enum status evaluate_binary(struct jinja_run *run, const struct jinja_node *node,
                                   struct jinja_value *value)
{
    struct jinja_value a, b;
    TRY(jinja_evaluate(run, node->a, &a));
    TRY(jinja_evaluate(run, node->b, &b));
    run->line = node->line;
    return jinja_binary(run, node->op, &a, &b, value);
}

static enum status evaluate_node(struct jinja_run *run, const struct jinja_node *node,
                                 struct jinja_value *value)
{
    switch (node->kind) {
    case NODE_CONSTANT:
        *value = node->value;
        return STATUS_OK;
    case NODE_EMPTY:
        *value = jinja_none();
        return STATUS_OK;
    case NODE_NAME:
        return jinja_look_up(run, node->name, value);
    case NODE_LIST:
        return evaluate_items(run, node, JINJA_LIST, value);
    case NODE_TUPLE:
        return evaluate_items(run, node, JINJA_TUPLE, value);
    case NODE_DICT:
        return evaluate_dict(run, node, value);
    case NODE_UNARY:
        return evaluate_unary(run, node, value);
    case NODE_BINARY:
        return evaluate_binary(run, node, value);
    case NODE_COMPARE:
        return evaluate_compare(run, node, value);
    case NODE_AND:
    case NODE_OR:
    case NODE_NOT:
        return evaluate_logic(run, node, value);
    case NODE_CONCAT:
        return evaluate_concat(run, node, value);
    case NODE_CONDITION:
        return evaluate_condition(run, node, value);
    case NODE_INDEX:
        return evaluate_index(run, node, value);
    case NODE_SLICE:
        return evaluate_slice(run, node, value);
    case NODE_CALL:
        return evaluate_call(run, node, value);
    case NODE_FILTER:
        return evaluate_filter(run, node, value);
    case NODE_TEST:
        return evaluate_test(run, node, value);
    default:
        CHECK(node->kind == NODE_ATTRIBUTE);
        TRY(jinja_evaluate(run, node->a, value));
        run->line = node->line;
        struct jinja_value whole = *value;
        return jinja_attribute(run, &whole, node->name, value);
    }
}

enum status jinja_evaluate(struct jinja_run *run, const struct jinja_node *node,
                           struct jinja_value *value)
{
    TRY(jinja_enter(run));
    run->line = node->line;
    TRY(evaluate_node(run, node, value));
    jinja_leave(run);
    return STATUS_OK;
}
