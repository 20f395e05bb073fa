/* text/jinja_render.c - runs the statements of a template. */
#include <string.h>

#include "core/check.h"
#include "text/jinja_run.h"
#include "text/jinja_template.h"

enum { STEPS = 50000000, MEMORY = 512 << 20, OUTPUT = 64 << 20 };

static enum status run_body(struct jinja_run *run, const struct jinja_node *body);

/* A body in a scope of its own. */
static enum status run_inner(struct jinja_run *run, const struct jinja_node *body)
{
    struct jinja_scope *outer = run->scope;
    TRY(jinja_scope_push(run, outer));
    TRY(run_body(run, body));
    run->scope = outer;
    return STATUS_OK;
}

enum status jinja_capture(struct jinja_run *run, const struct jinja_node *body,
                          struct jinja_value *text)
{
    struct buffer inner, *outer = run->out;
    buffer_init(&inner, 0);
    run->out = &inner;
    enum status status = run_inner(run, body);
    run->out = outer;
    return jinja_text_take(run, status, &inner, text);
}

/* ---- assignment ---- */

static enum status assign_attribute(struct jinja_run *run, const struct jinja_node *target,
                                    const struct jinja_value *value)
{
    struct jinja_value whole, key = jinja_text(target->name, strlen(target->name));
    TRY(jinja_evaluate(run, target->a, &whole));
    run->line = target->line;
    if (whole.kind != JINJA_NAMESPACE)
        return JINJA_FAIL(run, STATUS_INVALID,
                          "%.60s is no namespace: only the attributes of a namespace can be set",
                          target->a->name);
    return jinja_dict_set(run, whole.dict, &key, value);
}

static enum status assign(struct jinja_run *run, const struct jinja_node *target,
                          const struct jinja_value *value)
{
    if (target->kind == NODE_NAME)
        return jinja_assign(run, target->name, value);
    if (target->kind == NODE_ATTRIBUTE)
        return assign_attribute(run, target, value);
    struct jinja_list *items;
    size_t at = 0;
    TRY(jinja_iterate(run, value, &items));
    for (const struct jinja_node *part = target->items; part != NULL; part = part->next) {
        if (at < items->count)
            TRY(assign(run, part->a, &items->items[at]));
        at++;
    }
    if (at != items->count)
        return JINJA_FAIL(run, STATUS_INVALID, "%zu values for %zu names", items->count, at);
    return STATUS_OK;
}

/* The filters of a block, innermost first, on a text. */
static enum status run_filters(struct jinja_run *run, const struct jinja_node *filter,
                               struct jinja_value *value)
{
    if (filter == NULL)
        return STATUS_OK;
    TRY(jinja_enter(run));
    TRY(run_filters(run, filter->a, value));
    struct jinja_node bare = *filter, text = {.kind = NODE_CONSTANT, .value = *value};
    text.line = filter->line;
    bare.a = &text;
    bare.next = NULL;
    TRY(jinja_evaluate(run, &bare, value));
    jinja_leave(run);
    return STATUS_OK;
}

static enum status run_set(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    if (node->kind == NODE_SET) {
        TRY(jinja_evaluate(run, node->b, &value));
    } else {
        TRY(jinja_capture(run, node->body, &value));
        TRY(run_filters(run, node->b, &value));
    }
    run->line = node->line;
    return assign(run, node->a, &value);
}

/* ---- blocks ---- */

static enum status emit(struct jinja_run *run, const struct jinja_value *value)
{
    TRY(jinja_print(run, value, run->out));
    size_t begin = run->out == run->root ? run->root_begin : 0;
    if (run->out->size - begin > run->output_max)
        return JINJA_FAIL(run, STATUS_LIMIT, "the template writes more than %zu bytes",
                          run->output_max);
    return STATUS_OK;
}

static enum status run_if(struct jinja_run *run, const struct jinja_node *node)
{
    for (const struct jinja_node *branch = node->items; branch != NULL; branch = branch->next) {
        struct jinja_value test = jinja_bool(true);
        if (branch->a != NULL)
            TRY(jinja_evaluate(run, branch->a, &test));
        if (jinja_truth(&test))
            return run_body(run, branch->body);
    }
    return STATUS_OK;
}

/* The items that pass the for's if. */
static enum status filter_items(struct jinja_run *run, const struct jinja_node *node,
                                struct jinja_list **items)
{
    struct jinja_value kept, passes;
    struct jinja_scope *outer = run->scope;
    TRY(jinja_list_new(run, JINJA_LIST, (*items)->count, &kept));
    for (size_t i = 0; i < (*items)->count; i++) {
        TRY(jinja_scope_push(run, outer));
        TRY(assign(run, node->a, &(*items)->items[i]));
        TRY(jinja_evaluate(run, node->c, &passes));
        if (jinja_truth(&passes))
            TRY(jinja_list_add(run, kept.list, &(*items)->items[i]));
    }
    run->scope = outer;
    *items = kept.list;
    return STATUS_OK;
}

static enum status run_loop(struct jinja_run *run, const struct jinja_node *node,
                            const struct jinja_value *over)
{
    struct jinja_list *items;
    struct jinja_loop *loop;
    struct jinja_scope *outer = run->scope;
    TRY(jinja_iterate(run, over, &items));
    if (node->c != NULL)
        TRY(filter_items(run, node, &items));
    if (items->count == 0)
        return node->other != NULL ? run_inner(run, node->other) : STATUS_OK;
    TRY(jinja_room(run, 1, sizeof *loop, &loop));
    *loop = (struct jinja_loop){.items = items,
                                .depth = ++run->loop_depth,
                                .recursive = node->recursive ? node : NULL,
                                .scope = outer};
    struct jinja_value value = {.kind = JINJA_LOOP, .loop = loop};
    for (; loop->index < items->count && run->flow != JINJA_BREAKS; loop->index++) {
        run->flow = JINJA_GOES_ON;
        TRY(jinja_scope_push(run, outer));
        run->scope->bindings = NULL;
        TRY(jinja_assign(run, node->name, &value));
        TRY(assign(run, node->a, &items->items[loop->index]));
        TRY(run_body(run, node->body));
    }
    run->flow = JINJA_GOES_ON;
    run->loop_depth--;
    run->scope = outer;
    return STATUS_OK;
}

static enum status run_for(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value over;
    uint32_t depth = run->loop_depth;
    TRY(jinja_evaluate(run, node->b, &over));
    run->loop_depth = 0;
    TRY(run_loop(run, node, &over));
    run->loop_depth = depth;
    return STATUS_OK;
}

enum status jinja_call_loop(struct jinja_run *run, struct jinja_loop *loop,
                            const struct jinja_arguments *args, struct jinja_value *value)
{
    if (loop->recursive == NULL || args->count != 1 || args->named != 0)
        return JINJA_FAIL(run, STATUS_INVALID, "%s",
                          "loop(items) needs a for ... recursive around it, and one list");
    struct jinja_scope *scope = run->scope;
    struct buffer inner, *outer = run->out;
    enum jinja_flow flow = run->flow;
    TRY(jinja_enter(run));
    buffer_init(&inner, 0);
    run->out = &inner;
    run->scope = loop->scope;
    uint32_t depth = run->loop_depth;
    run->loop_depth = loop->depth;
    enum status status = run_loop(run, loop->recursive, &args->items[0]);
    run->loop_depth = depth;
    run->out = outer;
    run->scope = scope;
    run->flow = flow;
    TRY(jinja_text_take(run, status, &inner, value));
    jinja_leave(run);
    return STATUS_OK;
}

static enum status make_macro(struct jinja_run *run, const struct jinja_node *node,
                              struct jinja_value *value)
{
    struct jinja_macro *macro;
    TRY(jinja_room(run, 1, sizeof *macro, &macro));
    *macro = (struct jinja_macro){node, run->scope};
    *value = (struct jinja_value){.kind = JINJA_MACRO, .macro = macro};
    return STATUS_OK;
}

static enum status run_macro(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    TRY(make_macro(run, node, &value));
    return jinja_assign(run, node->name, &value);
}

/* {% call f(x) %}body{% endcall %}: f(x, caller=body). */
static enum status run_call_block(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value body, value;
    struct jinja_scope *outer = run->scope;
    struct jinja_node argument = {.kind = NODE_KEYWORD, .name = "caller"};
    struct jinja_node constant = {.kind = NODE_CONSTANT, .line = node->line}, call = *node->a;
    struct jinja_node *copies = NULL;
    size_t count = 0, at = 0;
    TRY(make_macro(run, node, &body));
    constant.value = body;
    argument.a = &constant;
    for (const struct jinja_node *item = call.items; item != NULL; item = item->next)
        count++;
    TRY(jinja_room(run, count + 1, sizeof *copies, &copies));
    for (const struct jinja_node *item = call.items; item != NULL; item = item->next) {
        copies[at] = *item;
        copies[at].next = &copies[at + 1];
        at++;
    }
    copies[at] = argument;
    call.items = copies;
    TRY(jinja_evaluate(run, &call, &value));
    run->scope = outer;
    return emit(run, &value);
}

static enum status run_filter_block(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    TRY(jinja_capture(run, node->body, &value));
    TRY(run_filters(run, node->b, &value));
    return emit(run, &value);
}

static enum status run_with(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_scope *outer = run->scope, *inner;
    TRY(jinja_scope_push(run, outer));
    inner = run->scope;
    for (const struct jinja_node *set = node->items; set != NULL; set = set->next) {
        struct jinja_value value;
        run->scope = outer;
        TRY(jinja_evaluate(run, set->b, &value));
        run->scope = inner;
        TRY(assign(run, set->a, &value));
    }
    TRY(run_body(run, node->body));
    run->scope = outer;
    return STATUS_OK;
}

static enum status run_generation(struct jinja_run *run, const struct jinja_node *node)
{
    bool root = run->out == run->root;
    struct jinja_span span = {run->out->size - run->root_begin, 0};
    if (!root && run->call->limits.spans_wanted)
        return JINJA_FAIL(run, STATUS_UNSUPPORTED, "%s",
                          "a generation block stands within a macro or a block that is kept as "
                          "text: what the assistant says cannot be found in the output");
    TRY(run_inner(run, node->body));
    span.end = run->out->size - run->root_begin;
    if (root && run->call->on_span != NULL && span.end > span.begin)
        return run->call->on_span(run->call->self, span);
    return STATUS_OK;
}

static enum status run_statement(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    switch (node->kind) {
    case NODE_DATA:
        return emit(run, &node->value);
    case NODE_OUTPUT:
        TRY(jinja_evaluate(run, node->a, &value));
        run->line = node->line;
        return emit(run, &value);
    case NODE_IF:
        return run_if(run, node);
    case NODE_FOR:
        return run_for(run, node);
    case NODE_SET:
    case NODE_SET_BLOCK:
        return run_set(run, node);
    case NODE_MACRO:
        return run_macro(run, node);
    case NODE_CALL_BLOCK:
        return run_call_block(run, node);
    case NODE_FILTER_BLOCK:
        return run_filter_block(run, node);
    case NODE_WITH:
        return run_with(run, node);
    case NODE_GENERATION:
        return run_generation(run, node);
    default:
        CHECK(node->kind == NODE_BREAK || node->kind == NODE_CONTINUE);
        run->flow = node->kind == NODE_BREAK ? JINJA_BREAKS : JINJA_CONTINUES;
        return STATUS_OK;
    }
}

static enum status run_body(struct jinja_run *run, const struct jinja_node *body)
{
    TRY(jinja_enter(run));
    for (; body != NULL && run->flow == JINJA_GOES_ON; body = body->next) {
        run->line = body->line;
        TRY(jinja_charge(run, 1));
        TRY(run_statement(run, body));
    }
    jinja_leave(run);
    return STATUS_OK;
}

/* ---- macros ---- */

static enum status named_argument(struct jinja_run *run, const struct jinja_arguments *args,
                                  const char *name, const struct jinja_value **found)
{
    *found = NULL;
    for (size_t i = 0; i < args->named; i++)
        if (strcmp(args->names[i], name) == 0)
            *found = &args->values[i];
    return jinja_charge(run, args->named);
}

/* What no parameter took: varargs and kwargs if the body reads them, else a mistake. */
static enum status bind_rest(struct jinja_run *run, const struct jinja_node *node,
                             const struct jinja_arguments *args, size_t taken, const char *rest,
                             const char *named_rest)
{
    struct jinja_value list, dict;
    if (args->count > taken && !node->rest)
        return JINJA_FAIL(run, STATUS_INVALID, "%.60s takes %zu arguments, not %zu", node->name,
                          taken, args->count);
    TRY(jinja_list_new(run, JINJA_TUPLE, 4, &list));
    for (size_t i = taken; i < args->count; i++)
        TRY(jinja_list_add(run, list.list, &args->items[i]));
    TRY(jinja_dict_new(run, &dict));
    for (size_t i = 0; i < args->named; i++) {
        bool known = strcmp(args->names[i], "caller") == 0;
        for (const struct jinja_node *at = node->items; at != NULL && !known; at = at->next)
            known = strcmp(at->name, args->names[i]) == 0;
        struct jinja_value key = jinja_text(args->names[i], strlen(args->names[i]));
        if (!known && !node->named_rest)
            return JINJA_FAIL(run, STATUS_INVALID, "%.60s has no parameter \"%.60s\"", node->name,
                              args->names[i]);
        if (!known)
            TRY(jinja_dict_set(run, dict.dict, &key, &args->values[i]));
    }
    if (node->rest)
        TRY(jinja_assign(run, rest, &list));
    return node->named_rest ? jinja_assign(run, named_rest, &dict) : STATUS_OK;
}

static enum status bind_parameters(struct jinja_run *run, const struct jinja_node *node,
                                   const struct jinja_arguments *args)
{
    size_t taken = 0;
    const struct jinja_value *found;
    for (const struct jinja_node *at = node->items; at != NULL; at = at->next) {
        struct jinja_value value = jinja_undefined("an argument of the macro was not given");
        TRY(named_argument(run, args, at->name, &found));
        if (taken < args->count)
            value = args->items[taken++];
        else if (found != NULL)
            value = *found;
        else if (at->a != NULL)
            TRY(jinja_evaluate(run, at->a, &value));
        TRY(jinja_assign(run, at->name, &value));
    }
    /* names that the parser made once per template, as pointers */
    const struct jinja *source = run->source;
    TRY(named_argument(run, args, "caller", &found));
    struct jinja_value none = jinja_undefined("\"caller\" is undefined: no call block calls this");
    if (node->kind == NODE_MACRO)
        TRY(jinja_assign(run, source->caller, found != NULL ? found : &none));
    return bind_rest(run, node, args, taken, source->varargs, source->kwargs);
}

enum status jinja_call_macro(struct jinja_run *run, const struct jinja_macro *macro,
                             const struct jinja_arguments *args, struct jinja_value *value)
{
    struct jinja_scope *scope = run->scope;
    struct buffer inner, *outer = run->out;
    enum jinja_flow flow = run->flow;
    TRY(jinja_enter(run));
    TRY(jinja_scope_push(run, macro->scope));
    TRY(bind_parameters(run, macro->node, args));
    buffer_init(&inner, 0);
    run->out = &inner;
    run->flow = JINJA_GOES_ON;
    enum status status = run_body(run, macro->node->body);
    run->out = outer;
    run->flow = flow;
    run->scope = scope;
    TRY(jinja_text_take(run, status, &inner, value));
    jinja_leave(run);
    return STATUS_OK;
}

/* ---- entry ---- */

enum status jinja_render(const struct jinja *made, const struct jinja_call *call,
                         struct buffer *text)
{
    struct jinja_run run = {.source = made,
                            .name = made->name,
                            .call = call,
                            .out = text,
                            .root = text,
                            .root_begin = text->size,
                            .steps = call->limits.steps > 0 ? call->limits.steps : STEPS,
                            .output_max = call->limits.output > 0 ? call->limits.output : OUTPUT,
                            .line = 1};
    TRY(arena_create(&run.arena, call->limits.memory > 0 ? call->limits.memory : MEMORY));
    enum status status = jinja_scope_push(&run, NULL);
    run.context = run.scope;
    if (status == STATUS_OK)
        status = jinja_scope_push(&run, run.context);
    if (status == STATUS_OK)
        status = run_body(&run, made->body);
    if (status != STATUS_OK)
        text->size = run.root_begin;
    arena_destroy(&run.arena);
    return status;
}
