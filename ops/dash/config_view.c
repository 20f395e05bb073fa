/* ops/dash/config_view.c - /api/config: every setting with its value, where it came from, and what the parent run had.
 *
 * Secrets never leave: rows marked secret, and members of JSON settings or parts of URLs that look like one. */
#include "ops/dash/config_view.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/memory.h"
#include "ops/dash/server_state.h"
#include "ops/run_folder.h"

enum { KEY_MAX = 160, META_BYTES_MAX = 1 << 20, HIDDEN_DEPTH = 16 };

/* ---- what must not be shown ---- */

/* A member whose value is a secret; names of files and of environment variables are none. */
static bool names_secret(const char *name)
{
    static const char *const words[] = {"password",      "secret", "api_key",    "apikey",
                                        "authorization", "bearer", "credential", "private_key"};
    size_t size = strlen(name);
    if ((size > 4 && strcasecmp(name + size - 4, "_env") == 0) ||
        (size > 5 && strcasecmp(name + size - 5, "_file") == 0))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(name, words[i]) != NULL)
            return true;
    return strcasecmp(name, "token") == 0 || strcasecmp(name, "key") == 0 ||
           (size > 6 && strcasecmp(name + size - 6, "_token") == 0);
}

/* What stands between "scheme://" and "@host" becomes three stars, in place. */
static void hide_user(char *text)
{
    char *begin = strstr(text, "://");
    while (begin != NULL) {
        begin += 3;
        size_t authority = strcspn(begin, "/ \t,\"'");
        char *at = NULL;
        for (size_t i = 0; i < authority; i++)
            if (begin[i] == '@')
                at = begin + i;
        if (at != NULL && at - begin >= 3) {
            memcpy(begin, "***", 3);
            memmove(begin + 3, at, strlen(at) + 1);
        }
        begin = strstr(begin, "://");
    }
}

static void hide_members(json_t *value, int depth)
{
    const char *name;
    json_t *member;
    size_t i;
    void *next;
    if (depth > HIDDEN_DEPTH)
        return;
    json_object_foreach_safe(value, next, name, member)
    {
        if (names_secret(name) && !json_is_object(member) && !json_is_array(member))
            json_object_set_new(value, name, json_string("***"));
        else
            hide_members(member, depth + 1);
    }
    json_array_foreach(value, i, member) hide_members(member, depth + 1);
}

char *config_view_shown(const char *text)
{
    json_t *value = text[0] == '{' || text[0] == '[' ? json_loads(text, 0, NULL) : NULL;
    struct buffer shown;
    buffer_init(&shown, 0);
    enum status status = STATUS_OK;
    if (value != NULL) {
        hide_members(value, 0);
        size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT);
        status = buffer_reserve(&shown, size + 1);
        if (status == STATUS_OK)
            shown.size = json_dumpb(value, (char *)shown.bytes, size, JSON_COMPACT);
    } else {
        status = buffer_text(&shown, text);
    }
    json_decref(value);
    char *copy = status == STATUS_OK ? memory_text(buffer_string(&shown)) : NULL;
    buffer_free(&shown);
    if (copy != NULL)
        hide_user(copy);
    return copy;
}

/* ---- where values came from ---- */

/* The comment behind "  name: value # source" of a section of config.resolved.yaml; "" when it is not there. */
static void find_source(const char *yaml, const char *section, const char *name, char *out,
                        size_t size)
{
    char head[KEY_MAX], row[KEY_MAX];
    int head_size = snprintf(head, sizeof head, "%s:\n", section);
    int row_size = snprintf(row, sizeof row, "  %s: ", name);
    bool inside = false;
    out[0] = 0;
    for (const char *line = yaml; *line != 0;) {
        size_t length = strcspn(line, "\n");
        if (line[0] != ' ' && line[0] != '#')
            inside = strncmp(line, head, (size_t)head_size) == 0;
        else if (inside && strncmp(line, row, (size_t)row_size) == 0) {
            const char *found = NULL;
            for (size_t i = (size_t)row_size; i + 3 < length; i++)
                if (strncmp(line + i, " # ", 3) == 0)
                    found = line + i + 3;
            if (found != NULL)
                snprintf(out, size, "%.*s", (int)(length - (size_t)(found - line)), found);
            return;
        }
        line += length + (line[length] != 0);
    }
}

static enum status add_text(struct buffer *json, const char *key, const char *text)
{
    char *shown = text != NULL ? config_view_shown(text) : NULL;
    TRY(buffer_printf(json, ",\"%s\":", key));
    enum status status = shown != NULL ? buffer_json_text(json, shown) : buffer_text(json, "null");
    memory_free(shown);
    return status;
}

struct view {
    const struct config *own, *parent; /* parent NULL: none */
    const char *yaml;
};

static enum status add_row(const struct view *view, const struct config_section *section,
                           const struct config_field *field, bool first, struct buffer *json)
{
    char key[KEY_MAX], source[512];
    const char *text = "", *before = NULL;
    bool secret = strcmp(field->unit, "secret") == 0;
    snprintf(key, sizeof key, "%s.%s", section->name, field->name);
    if (config_source(view->own, key, &text) == NULL || text == NULL)
        text = "";
    if (view->parent != NULL && (config_source(view->parent, key, &before) == NULL ||
                                 (before != NULL && strcmp(before, text) == 0)))
        before = NULL;
    find_source(view->yaml, section->name, field->name, source, sizeof source);
    TRY(buffer_printf(json, "%s{\"key\":\"%s\"", first ? "" : ",", key));
    TRY(add_text(json, "value", secret ? (text[0] != 0 ? "***" : "") : text));
    TRY(add_text(json, "source", source[0] != 0 ? source : "default"));
    TRY(add_text(json, "default", secret ? "" : field->fallback));
    TRY(add_text(json, "parent", secret ? NULL : before));
    TRY(add_text(json, "unit", field->type == CONFIG_CHOICE ? "" : field->unit));
    TRY(add_text(json, "help", field->help));
    return buffer_text(json, "}");
}

/* The settings of the run that this one was forked from; NULL when there is none, or it is gone. */
static struct config *load_parent(const struct dash *dash, struct settings *settings)
{
    json_t *meta = NULL;
    char path[FILE_PATH_MAX];
    struct config *config = NULL;
    if (run_folder_json(dash->folder, "meta.json", META_BYTES_MAX, &meta) != STATUS_OK)
        return NULL;
    const char *parent = json_string_value(json_object_get(meta, "parent"));
    if (parent != NULL && run_name_check(parent) == STATUS_OK &&
        file_path(path, "%s/../%s/config.resolved.yaml", dash->folder, parent) == STATUS_OK) {
        const char *files[] = {path};
        struct config_input input = {.files = files, .file_count = 1};
        if (settings_load(settings, &config, &input) != STATUS_OK)
            config = NULL;
    }
    json_decref(meta);
    return config;
}

enum status config_view_json(const struct dash *dash, struct buffer *json)
{
    struct settings settings;
    struct buffer yaml;
    char path[FILE_PATH_MAX];
    struct config *parent = load_parent(dash, &settings);
    buffer_init(&yaml, 0);
    enum status status = file_path(path, "%s/config.resolved.yaml", dash->folder);
    if (status == STATUS_OK && file_read(path, &yaml) != STATUS_OK)
        buffer_clear(&yaml);
    struct view view = {dash->program->config, parent, buffer_string(&yaml)};
    if (status == STATUS_OK)
        status = buffer_text(json, "{\"settings\":[");
    bool first = true;
    for (size_t s = 0; s < settings_section_count; s++)
        for (size_t f = 0; f < settings_sections[s].count && status == STATUS_OK; f++) {
            status =
                add_row(&view, &settings_sections[s], &settings_sections[s].fields[f], first, json);
            first = false;
        }
    if (status == STATUS_OK)
        status = buffer_text(json, "]}");
    config_destroy(&parent);
    buffer_free(&yaml);
    return status;
}

enum MHD_Result answer_config(struct request *request)
{
    struct buffer json;
    buffer_init(&json, 0);
    enum MHD_Result result = config_view_json(request->dash, &json) == STATUS_OK
                                 ? respond_json(request, 200, &json)
                                 : refuse(request, 500, "the settings cannot be shown");
    buffer_free(&json);
    return result;
}
