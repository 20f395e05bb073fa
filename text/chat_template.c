/* text/chat_template.c - see chat_template.h. */
#include "text/chat_template.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "text/content.h"
#include "text/jinja.h"

enum { FILE_MAX = 64 << 20 };

struct chat_template {
    struct jinja *jinja;
    char *name, *source;
    json_t *tokens;    /* special tokens, and what is always there */
    json_t *variables; /* of open */
    bool wants_parts, wants_text;
};

void chat_spans_free(struct chat_spans *spans)
{
    memory_free(spans->spans);
    *spans = (struct chat_spans){0};
}

static enum status add_span(void *self, struct jinja_span span)
{
    struct chat_spans *spans = self;
    if (spans->count == spans->capacity) {
        size_t wider = spans->capacity * 2 + 16;
        struct chat_span *grown =
            memory_grow(spans->spans, spans->capacity * sizeof *grown, wider * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu parts of the assistant", wider);
        spans->spans = grown;
        spans->capacity = wider;
    }
    spans->spans[spans->count++] = (struct chat_span){span.begin, span.end};
    return STATUS_OK;
}

/* ---- contents ---- */

/* The text of a list of parts that are all texts; NULL: it has others. */
static json_t *join_parts(const json_t *parts)
{
    struct buffer text;
    if (!content_is_text(parts))
        return NULL;
    buffer_init(&text, 0);
    enum status status = content_append(parts, &text);
    json_t *joined = status == STATUS_OK ? json_stringn(buffer_string(&text), text.size) : NULL;
    buffer_free(&text);
    return joined;
}

static json_t *wrap_text(const json_t *content)
{
    return json_pack("[{s:s, s:s%}]", "type", "text", "text", json_string_value(content),
                     json_string_length(content));
}

/* One message with its content in the form that the template reads; a new reference. NULL: no memory. */
static json_t *in_form(const struct chat_template *made, json_t *message)
{
    json_t *content = json_object_get(message, "content"), *changed = NULL, *copy;
    if (made->wants_parts && json_is_string(content))
        changed = wrap_text(content);
    else if (made->wants_text && json_is_array(content) && json_array_size(content) > 0)
        changed = join_parts(content);
    if (changed == NULL)
        return json_incref(message);
    copy = json_copy(message);
    if (copy == NULL || json_object_set(copy, "content", changed) != 0) {
        json_decref(copy);
        copy = NULL;
    }
    json_decref(changed);
    return copy;
}

static json_t *all_in_form(const struct chat_template *made, const json_t *messages)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(messages) && list != NULL; i++) {
        json_t *message = in_form(made, json_array_get(messages, i));
        if (message == NULL || json_array_append_new(list, message) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* ---- rendering ---- */

static json_t *borrowed(const json_t *json)
{
    return json_incref((json_t *)(uintptr_t)json);
}

static enum status run(const struct chat_template *made, const struct chat_request *request,
                       json_t *messages, struct buffer *text, struct chat_spans *spans)
{
    json_t *own = json_object();
    int failed = own == NULL;
    failed |= json_object_set(own, "messages", messages);
    failed |= json_object_set_new(own, "add_generation_prompt",
                                  json_boolean(request->add_generation_prompt));
    if (request->tools != NULL)
        failed |= json_object_set_new(own, "tools", borrowed(request->tools));
    if (request->documents != NULL)
        failed |= json_object_set_new(own, "documents", borrowed(request->documents));
    const json_t *variables[4] = {made->tokens, made->variables, request->variables, own};
    struct jinja_call call = {.variables = variables,
                              .variable_count = 4,
                              .limits = {.spans_wanted = spans != NULL},
                              .on_span = spans != NULL ? add_span : NULL,
                              .self = spans};
    enum status status = failed ? FAIL(STATUS_NO_MEMORY, "%s: messages", made->name)
                                : jinja_render(made->jinja, &call, text);
    json_decref(own);
    return status;
}

static enum status check_messages(const struct chat_template *made, const json_t *messages)
{
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return FAIL(STATUS_INVALID, "%s: messages must be a list with at least one message",
                    made->name);
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!json_is_string(json_object_get(json_array_get(messages, i), "role")))
            return FAIL(STATUS_INVALID, "%s: message %zu has no \"role\" that is a text",
                        made->name, i);
    return STATUS_OK;
}

enum status chat_template_render(const struct chat_template *made,
                                 const struct chat_request *request, struct buffer *text,
                                 struct chat_spans *spans)
{
    TRY(check_messages(made, request->messages));
    json_t *messages = all_in_form(made, request->messages);
    if (messages == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: messages", made->name);
    if (spans != NULL)
        spans->count = 0;
    enum status status = run(made, request, messages, text, spans);
    json_decref(messages);
    return status;
}

/* ---- which form of contents ---- */

/* Does the template write the text of a user's message given in this form, and nothing else of it? */
static bool reads(const struct chat_template *made, json_t *content)
{
    static const char mark[] = "weir probe";
    json_t *messages = json_pack("[{s:s, s:o}]", "role", "user", "content", content);
    const struct chat_request request = {.messages = messages, .add_generation_prompt = true};
    struct buffer text;
    buffer_init(&text, 0);
    bool is = messages != NULL && run(made, &request, messages, &text, NULL) == STATUS_OK;
    is = is && strstr(buffer_string(&text), mark) != NULL &&
         strstr(buffer_string(&text), "'text'") == NULL &&
         strstr(buffer_string(&text), "\"text\"") == NULL;
    buffer_free(&text);
    json_decref(messages);
    return is;
}

static void find_form(struct chat_template *made)
{
    bool text = reads(made, json_string("weir probe"));
    bool parts = reads(made, json_pack("[{s:s, s:s}]", "type", "text", "text", "weir probe"));
    made->wants_parts = parts && !text;
    made->wants_text = text && !parts;
}

/* ---- opening ---- */

static enum status read_variables(const char *file, const char *text, json_t **variables)
{
    json_error_t error;
    if (text == NULL || text[0] == '\0') {
        *variables = json_object();
        return *variables != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%s", file);
    }
    *variables = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(*variables))
        return STATUS_OK;
    json_decref(*variables);
    *variables = NULL;
    return FAIL(STATUS_INVALID,
                "model.chat_variables is no JSON object such as {\"enable_thinking\": false}: %s",
                error.text[0] != '\0' ? error.text : text);
}

enum status chat_template_open_text(struct chat_template **out, const char *file,
                                    const char *source, size_t size, const json_t *tokens,
                                    const char *variables)
{
    struct chat_template *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s", file);
    enum status status = read_variables(file, variables, &made->variables);
    if (status == STATUS_OK)
        status = jinja_parse(&made->jinja, file, source, size);
    if (status == STATUS_OK) {
        made->name = memory_text(file);
        made->source = memory_alloc(size + 1);
        made->tokens = tokens != NULL ? json_deep_copy(tokens) : json_object();
        bool whole = made->tokens != NULL && /* transformers names them always */
                     json_object_set_new(made->tokens, "tools", json_null()) == 0 &&
                     json_object_set_new(made->tokens, "documents", json_null()) == 0;
        if (made->name == NULL || made->source == NULL || !whole)
            status = FAIL(STATUS_NO_MEMORY, "%s", file);
    }
    if (status == STATUS_OK) {
        memcpy(made->source, source, size);
        find_form(made);
    } else {
        chat_template_close(&made);
    }
    *out = made;
    return status;
}

void chat_template_close(struct chat_template **made)
{
    if (*made == NULL)
        return;
    jinja_free(&(*made)->jinja);
    json_decref((*made)->tokens);
    json_decref((*made)->variables);
    memory_free((*made)->name);
    memory_free((*made)->source);
    memory_free(*made);
    *made = NULL;
}

/* A file of the folder as JSON; *json NULL: there is none. */
static enum status read_json(const char *folder, const char *name, json_t **json)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    json_error_t error;
    *json = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!file_exists(path))
        return STATUS_OK;
    buffer_init(&text, FILE_MAX);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK) {
        /* model_max_length is larger than any integer */
        *json = json_loadb(buffer_string(&text), text.size, JSON_DECODE_INT_AS_REAL, &error);
        if (!json_is_object(*json))
            status = FAIL(STATUS_CORRUPT, "%s:%d: %s", path, error.line,
                          *json != NULL ? "this is no JSON object" : error.text);
    }
    if (status != STATUS_OK) {
        json_decref(*json);
        *json = NULL;
    }
    buffer_free(&text);
    return status;
}

/* "<s>", or {"content": "<s>", ...}; what is no token is left out. */
static void add_token(json_t *tokens, const char *name, const json_t *value)
{
    const json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
    if (json_is_string(text))
        (void)json_object_set(tokens, name, (json_t *)(uintptr_t)text);
}

static void add_tokens(json_t *tokens, json_t *file)
{
    const char *name;
    json_t *value;
    json_object_foreach(file, name, value)
    {
        size_t size = strlen(name);
        if (size > 6 && strcmp(name + size - 6, "_token") == 0)
            add_token(tokens, name, value);
        else if (strcmp(name, "additional_special_tokens") == 0 && json_is_array(value))
            (void)json_object_set(tokens, name, value);
        else if (strcmp(name, "extra_special_tokens") == 0 && json_is_object(value))
            add_tokens(tokens, value);
    }
}

/* The template of this name in "chat_template": a text, or a list of {"name", "template"}. NULL: it has none. */
static const json_t *find_named(const json_t *entry, const char *name)
{
    const char *wanted = name[0] != '\0' ? name : "default";
    if (json_is_string(entry))
        return strcmp(wanted, "default") == 0 ? entry : NULL;
    if (json_is_object(entry))
        return json_object_get(entry, wanted);
    for (size_t i = 0; i < json_array_size(entry); i++) {
        const json_t *row = json_array_get(entry, i);
        const char *its = json_string_value(json_object_get(row, "name"));
        if (its != NULL && strcmp(its, wanted) == 0)
            return json_object_get(row, "template");
    }
    return NULL;
}

struct found {
    char file[FILE_PATH_MAX + 80];
    struct buffer text;
};

/* A template in a file of its own. */
static enum status find_file(const char *folder, const char *name, struct found *found)
{
    bool usual = name[0] == '\0' || strcmp(name, "default") == 0;
    if (strchr(name, '/') != NULL)
        return FAIL(STATUS_INVALID, "model.chat_template %s is a name, not a path", name);
    snprintf(found->file, sizeof found->file,
             usual ? "%s/chat_template.jinja" : "%s/additional_chat_templates/%s.jinja", folder,
             name);
    return file_exists(found->file) ? file_read(found->file, &found->text) : STATUS_OK;
}

/* "chat_template" of a JSON file. */
static enum status find_entry(const json_t *json, const char *folder, const char *file,
                              const char *name, struct found *found)
{
    const json_t *entry = find_named(json_object_get(json, "chat_template"), name);
    if (!json_is_string(entry))
        return STATUS_OK;
    snprintf(found->file, sizeof found->file, "%s/%s chat_template", folder, file);
    return buffer_append(&found->text, json_string_value(entry), json_string_length(entry));
}

static enum status find_template(const char *folder, const char *name, const json_t *config,
                                 struct found *found)
{
    json_t *old;
    TRY(find_file(folder, name, found));
    if (found->text.size == 0)
        TRY(find_entry(config, folder, "tokenizer_config.json", name, found));
    if (found->text.size == 0) {
        TRY(read_json(folder, "chat_template.json", &old));
        enum status status = find_entry(old, folder, "chat_template.json", name, found);
        json_decref(old);
        TRY(status);
    }
    if (found->text.size > 0)
        return STATUS_OK;
    return FAIL(STATUS_NOT_FOUND,
                "%s has no chat template%s%.60s: neither chat_template.jinja nor \"chat_template\" "
                "in tokenizer_config.json; set model.chat_format to none, chatml or minimax",
                folder, name[0] != '\0' ? " named " : "", name);
}

enum status chat_template_open(struct chat_template **out, const char *folder, const char *name,
                               const char *variables)
{
    json_t *config = NULL, *map = NULL, *tokens = json_object();
    struct found found;
    buffer_init(&found.text, FILE_MAX);
    enum status status = read_json(folder, "tokenizer_config.json", &config);
    if (status == STATUS_OK)
        status = read_json(folder, "special_tokens_map.json", &map);
    if (status == STATUS_OK)
        status = find_template(folder, name, config, &found);
    if (status == STATUS_OK) {
        add_tokens(tokens, map);
        add_tokens(tokens, config);
        status = chat_template_open_text(out, found.file, buffer_string(&found.text),
                                         found.text.size, tokens, variables);
    }
    buffer_free(&found.text);
    json_decref(config);
    json_decref(map);
    json_decref(tokens);
    return status;
}

bool chat_template_has_generation(const struct chat_template *made)
{
    return jinja_has_generation(made->jinja);
}

bool chat_template_wants_parts(const struct chat_template *made)
{
    return made->wants_parts;
}

const char *chat_template_name(const struct chat_template *made)
{
    return made->name;
}

const char *chat_template_source(const struct chat_template *made)
{
    return made->source;
}
