#include "ops/why.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { DEPTH_MAX = 12, LINES_MAX = 300, NODE_COLUMNS = 26 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* ---- merge ---- */

/* Redis and the dashboard show the run, and nobody of it waits for them: they are sick only. */
static bool is_view(const json_t *row)
{
    return strcmp(text_of(row, "name"), "redis") == 0 ||
           strncmp(text_of(row, "name"), "dash.", 5) == 0;
}

/* What we see ourselves is an edge like those of the store. */
static void add_sick(json_t *waits, const json_t *sick, int64_t stopped_ms)
{
    size_t i, added = 0;
    const json_t *row;
    json_array_foreach(sick, i, row)
    {
        if (is_view(row))
            continue;
        json_int_t since_ms = json_integer_value(json_object_get(row, "since_ms"));
        json_t *edge = json_pack("{s:s,s:s,s:I,s:s}", "who", "run", "for", text_of(row, "name"),
                                 "since_ms", since_ms, "what", text_of(row, "what"));
        if (strcmp(text_of(row, "state"), "stopped") == 0)
            json_object_set_new(
                edge, "deadline_ms",
                json_integer(stopped_ms > since_ms ? (json_int_t)stopped_ms - since_ms : 0));
        json_array_insert_new(waits, added++, edge);
    }
}

/* The one that the run waits for, of those that are stopped: as the store has it, else the first. */
static const json_t *culprit(const json_t *sick, const char *because)
{
    const json_t *first = NULL, *row;
    size_t i;
    json_array_foreach(sick, i, row)
    {
        if (is_view(row) || strcmp(text_of(row, "state"), "stopped") != 0)
            continue;
        if (strstr(because, text_of(row, "name")) != NULL)
            return row;
        if (first == NULL)
            first = row;
    }
    return first;
}

static void write_because(const struct why_case *why, char *out, size_t size)
{
    const char *because = text_of(why->answer, "because");
    const json_t *sick = json_object_get(why->table, "sick");
    const json_t *row = culprit(sick, because);
    const char *name = text_of(row, "name");
    if (why->supervisor_stopped)
        snprintf(out, size,
                 "the run waits for its supervisor: weir (pid %ld) is stopped; nobody starts again "
                 "what dies (kill -CONT %ld)",
                 why->supervisor, why->supervisor);
    else if (why->trouble != NULL)
        snprintf(out, size, "the run waits for store.0 because %s", why->trouble);
    else if (row != NULL && strstr(because, "stopped or cut off") != NULL &&
             strstr(because, name) != NULL)
        snprintf(out, size, "%s", because);
    else if (row != NULL)
        snprintf(out, size,
                 "the run waits for %s because %s; it is killed and started again "
                 "%lld s after it stopped (run.stopped_s)",
                 name, text_of(row, "what"), (long long)(why->stopped_ms / 1000));
    else if (because[0] != 0)
        snprintf(out, size, "%s", because);
    else
        snprintf(out, size, "the run waits for nothing that is known here");
}

json_t *why_merge(const struct why_case *why)
{
    char because[1200];
    const json_t *sick = json_object_get(why->table, "sick");
    json_t *merged = json_object(), *waits = json_deep_copy(json_object_get(why->answer, "waits"));
    if (waits == NULL)
        waits = json_array();
    write_because(why, because, sizeof because);
    json_object_set_new(merged, "run", json_string(why->run));
    json_object_set_new(merged, "because", json_string(because));
    json_object_set_new(merged, "store",
                        json_string(why->trouble != NULL ? why->trouble : "answers"));
    if (json_is_object(why->answer))
        json_object_update_missing(merged, (json_t *)(uintptr_t)why->answer);
    if (why->trouble != NULL && json_array_size(sick) == 0)
        json_array_append_new(waits, json_pack("{s:s,s:s,s:I,s:s}", "who", "run", "for", "store.0",
                                               "since_ms", (json_int_t)0, "what", why->trouble));
    add_sick(waits, sick, why->stopped_ms);
    json_object_set_new(merged, "waits", waits);
    json_object_set_new(merged, "sick", sick != NULL ? json_deep_copy(sick) : json_array());
    const json_t *fleet = json_object_get(why->table, "processes");
    json_object_set_new(merged, "fleet", fleet != NULL ? json_deep_copy(fleet) : json_array());
    return merged;
}

/* ---- text ---- */

struct tree {
    const json_t *waits;
    bool *shown; /* [edges] */
    size_t lines;
    struct buffer *text;
};

static bool is_idle(const json_t *edge)
{
    const json_t *left = json_object_get(edge, "left_ms");
    return left != NULL &&
           (json_integer_value(left) < 0 || strcmp(text_of(edge, "for"), "store") == 0);
}

static enum status edge_line(struct tree *tree, const json_t *edge, int depth, bool with_who)
{
    char node[160];
    const json_t *deadline = json_object_get(edge, "deadline_ms");
    snprintf(node, sizeof node, "%s%s%s", with_who ? text_of(edge, "who") : "",
             with_who ? " for " : "", text_of(edge, "for"));
    if (tree->lines++ >= LINES_MAX)
        return STATUS_OK;
    int pad = NODE_COLUMNS - 2 * depth;
    TRY(buffer_printf(tree->text, "%*s%-*s  since %6.1f s", 2 * depth, "", pad > 0 ? pad : 0, node,
                      json_number_value(json_object_get(edge, "since_ms")) / 1e3));
    if (json_is_number(deadline))
        TRY(buffer_printf(tree->text, ", until in %.1f s", json_number_value(deadline) / 1e3));
    return buffer_printf(tree->text, "  %s\n", text_of(edge, "what"));
}

static enum status branch(struct tree *tree, const char *who, int depth)
{
    size_t i;
    const json_t *edge;
    json_array_foreach(tree->waits, i, edge)
    {
        if (tree->shown[i] || is_idle(edge) || strcmp(text_of(edge, "who"), who) != 0)
            continue;
        tree->shown[i] = true;
        TRY(edge_line(tree, edge, depth, false));
        if (depth < DEPTH_MAX)
            TRY(branch(tree, text_of(edge, "for"), depth + 1));
    }
    return STATUS_OK;
}

static enum status rest(struct tree *tree, bool idle)
{
    size_t i;
    const json_t *edge;
    bool first = true;
    json_array_foreach(tree->waits, i, edge)
    {
        if (tree->shown[i] || is_idle(edge) != idle)
            continue;
        tree->shown[i] = true;
        if (first)
            TRY(buffer_text(tree->text, idle ? "idle, waiting for work\n" : "besides\n"));
        first = false;
        TRY(edge_line(tree, edge, 1, true));
    }
    return STATUS_OK;
}

/* Names and sentences come from elsewhere: what steers a terminal is a question mark. */
static void disarm(struct buffer *text, size_t from)
{
    for (size_t i = from; i < text->size; i++)
        if ((text->bytes[i] < 0x20 && text->bytes[i] != '\n') || text->bytes[i] == 0x7f)
            text->bytes[i] = '?';
}

enum status why_text(const json_t *merged, struct buffer *text)
{
    size_t from = text->size;
    const json_t *waits = json_object_get(merged, "waits");
    struct tree tree = {.waits = waits, .text = text};
    tree.shown = memory_array(json_array_size(waits) + 1, sizeof *tree.shown);
    if (tree.shown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu waits", json_array_size(waits));
    enum status status;
    TRY_GOTO(out, buffer_printf(text, "%s\n\nrun %s waits for\n", text_of(merged, "because"),
                                text_of(merged, "run")));
    TRY_GOTO(out, branch(&tree, "run", 1));
    TRY_GOTO(out, rest(&tree, false));
    TRY_GOTO(out, rest(&tree, true));
    if (tree.lines > LINES_MAX)
        TRY_GOTO(out, buffer_printf(text, "... %zu lines more; all with --json\n",
                                    tree.lines - LINES_MAX));
out:
    disarm(text, from);
    memory_free(tree.shown);
    return status;
}
