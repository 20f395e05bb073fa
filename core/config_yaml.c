/* core/config_yaml.c - one YAML file into the rows of the table: section -> name -> scalar.
 * libfyaml parses; every refusal names file:line:column, counted from 1. */
#include "core/config_internal.h"

#include <libfyaml.h>
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"

enum { YAML_BYTES_MAX = 1 << 20, YAML_KEY_BYTES = 128, YAML_WHERE_BYTES = 512 };

struct yaml_reader {
    struct config *config;
    const char *path;
    bool *seen_sections; /* [section_count] */
};

/* "path:line:column" of a scalar; of nothing else does libfyaml tell where it starts. Its mark of a
 * quoted scalar is behind the quote, ours is on it. */
static const char *where_is(const struct yaml_reader *reader, struct fy_node *node,
                            char out[YAML_WHERE_BYTES])
{
    struct fy_token *token = fy_node_is_scalar(node) ? fy_node_get_scalar_token(node) : NULL;
    const struct fy_mark *mark = token != NULL ? fy_token_start_mark(token) : NULL;
    enum fy_node_style style = fy_node_get_style(node);
    bool quoted = style == FYNS_SINGLE_QUOTED || style == FYNS_DOUBLE_QUOTED;
    int line = mark != NULL ? mark->line + 1 : 1;
    int column = mark != NULL ? mark->column + 1 : 1;
    snprintf(out, YAML_WHERE_BYTES, "%s:%d:%d", reader->path, line,
             quoted && column > 1 ? column - 1 : column);
    return out;
}

static enum status read_key(const struct yaml_reader *reader, struct fy_node *key,
                            char out[YAML_KEY_BYTES])
{
    char where[YAML_WHERE_BYTES];
    size_t length = 0;
    const char *text =
        key != NULL && fy_node_is_scalar(key) ? fy_node_get_scalar(key, &length) : NULL;
    if (text == NULL)
        return FAIL(STATUS_INVALID, "%s: a key is not a plain word", reader->path);
    where_is(reader, key, where);
    if (fy_node_is_alias(key) || memchr(text, 0, length) != NULL || length >= YAML_KEY_BYTES)
        return FAIL(STATUS_INVALID, "%s: this key is not the name of a setting", where);
    memcpy(out, text, length);
    out[length] = 0;
    return STATUS_OK;
}

static bool is_null(struct fy_node *value)
{
    if (value == NULL || fy_node_is_null(value))
        return true;
    size_t length = 0;
    const char *text = fy_node_is_scalar(value) ? fy_node_get_scalar(value, &length) : NULL;
    if (text == NULL || fy_node_get_style(value) != FYNS_PLAIN)
        return false;
    return length == 0 || (length == 1 && text[0] == '~') ||
           (length == 4 && (memcmp(text, "null", 4) == 0 || memcmp(text, "Null", 4) == 0 ||
                            memcmp(text, "NULL", 4) == 0));
}

static enum status apply_row(const struct yaml_reader *reader, const struct config_section *section,
                             struct fy_node_pair *pair, bool *seen_rows)
{
    char name[YAML_KEY_BYTES];
    char where[YAML_WHERE_BYTES];
    struct fy_node *key = fy_node_pair_key(pair);
    struct fy_node *value = fy_node_pair_value(pair);
    TRY(read_key(reader, key, name));
    where_is(reader, key, where);
    const struct config_field *field = config_field_find(section, name);
    if (field == NULL)
        return config_unknown(reader->config, where, section->name, name);
    if (seen_rows[field - section->fields])
        return FAIL(STATUS_INVALID, "%s: %s.%s stands twice in this file; keep one", where,
                    section->name, name);
    seen_rows[field - section->fields] = true;
    if (is_null(value))
        return config_set(reader->config, section, field, field->fallback, where);
    if (!fy_node_is_scalar(value) || fy_node_is_alias(value))
        return FAIL(STATUS_INVALID, "%s: %s.%s wants one value, not a %s", where, section->name,
                    name,
                    fy_node_is_mapping(value)    ? "mapping"
                    : fy_node_is_sequence(value) ? "list"
                                                 : "reference to an anchor");
    size_t length = 0;
    const char *text = fy_node_get_scalar(value, &length);
    where_is(reader, value, where);
    if (text == NULL || memchr(text, 0, length) != NULL)
        return FAIL(STATUS_INVALID, "%s: %s.%s holds a NUL byte", where, section->name, name);
    char *copy = arena_alloc(reader->config->arena, length + 1);
    if (copy == NULL)
        return FAIL(STATUS_LIMIT, "%s: %s.%s is too long", where, section->name, name);
    memcpy(copy, text, length);
    return config_set(reader->config, section, field, copy, where);
}

static enum status apply_section(const struct yaml_reader *reader, struct fy_node_pair *pair)
{
    char name[YAML_KEY_BYTES];
    char where[YAML_WHERE_BYTES];
    struct fy_node *value = fy_node_pair_value(pair);
    struct config *config = reader->config;
    TRY(read_key(reader, fy_node_pair_key(pair), name));
    where_is(reader, fy_node_pair_key(pair), where);
    const struct config_section *section = config_section_find(config, name);
    if (section == NULL)
        return config_unknown(config, where, NULL, name);
    if (reader->seen_sections[section - config->sections])
        return FAIL(STATUS_INVALID, "%s: section %s stands twice in this file; keep one", where,
                    name);
    reader->seen_sections[section - config->sections] = true;
    if (is_null(value))
        return STATUS_OK;
    if (!fy_node_is_mapping(value))
        return FAIL(STATUS_INVALID, "%s: section %s wants lines of \"name: value\" below it", where,
                    name);
    bool *seen_rows = arena_array(config->arena, section->count, sizeof *seen_rows);
    if (seen_rows == NULL)
        return FAIL(STATUS_LIMIT, "%s: too many settings", where);
    void *iterator = NULL;
    for (struct fy_node_pair *row; (row = fy_node_mapping_iterate(value, &iterator)) != NULL;)
        TRY(config_refused(config, apply_row(reader, section, row, seen_rows)));
    return STATUS_OK;
}

static enum status apply_document(const struct yaml_reader *reader, struct fy_document *document)
{
    struct fy_node *root = fy_document_root(document);
    if (is_null(root))
        return STATUS_OK;
    if (!fy_node_is_mapping(root))
        return FAIL(STATUS_INVALID, "%s:1:1: a recipe is a mapping of sections (run:, model: ...)",
                    reader->path);
    void *iterator = NULL;
    for (struct fy_node_pair *pair; (pair = fy_node_mapping_iterate(root, &iterator)) != NULL;)
        TRY(config_refused(reader->config, apply_section(reader, pair)));
    return STATUS_OK;
}

static enum status syntax_error(const char *path, struct fy_diag *diag)
{
    void *iterator = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &iterator);
    if (error == NULL)
        return FAIL(STATUS_INVALID, "%s: not valid YAML", path);
    return FAIL(STATUS_INVALID, "%s:%d:%d: not valid YAML: %s", path, error->line, error->column,
                error->msg != NULL ? error->msg : "no reason given");
}

static enum status parse_documents(const struct yaml_reader *reader, struct fy_parser *parser,
                                   struct fy_diag *diag)
{
    enum status status = STATUS_OK;
    struct fy_document *document;
    for (int index = 0; (document = fy_parse_load_document(parser)) != NULL; index++) {
        if (index == 0)
            status = apply_document(reader, document);
        else
            status = FAIL(STATUS_INVALID,
                          "%s: holds more than one YAML document (\"---\"); "
                          "make it one",
                          reader->path);
        fy_parse_document_destroy(parser, document);
        if (status != STATUS_OK)
            return status;
    }
    return fy_parser_get_stream_error(parser) ? syntax_error(reader->path, diag) : STATUS_OK;
}

static enum status parse_text(const struct yaml_reader *reader, const struct buffer *text)
{
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&quiet);
    if (diag == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: YAML diagnostics", reader->path);
    fy_diag_set_collect_errors(diag, true);
    /* Duplicate keys pass the parser, so that our own sentence can say where the second one is. */
    const struct fy_parse_cfg parse = {.flags = FYPCF_QUIET | FYPCF_ALLOW_DUPLICATE_KEYS,
                                       .diag = diag};
    enum status status;
    struct fy_parser *parser = fy_parser_create(&parse);
    if (parser == NULL)
        status = FAIL(STATUS_NO_MEMORY, "%s: YAML parser", reader->path);
    else if (fy_parser_set_string(parser, (const char *)text->bytes, text->size) != 0)
        status = FAIL(STATUS_NO_MEMORY, "%s: YAML text", reader->path);
    else
        status = parse_documents(reader, parser, diag);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return status;
}

enum status config_read_file(struct config *config, const char *path)
{
    struct buffer text;
    buffer_init(&text, YAML_BYTES_MAX);
    struct yaml_reader reader = {.config = config, .path = path};
    reader.seen_sections =
        arena_array(config->arena, config->section_count, sizeof *reader.seen_sections);
    enum status status = reader.seen_sections != NULL
                             ? file_read(path, &text)
                             : FAIL(STATUS_LIMIT, "%s: too many settings", path);
    /* libfyaml would guess at UTF-16 and may find nothing to complain about. */
    if (status == STATUS_OK &&
        (strlen(buffer_string(&text)) != text.size || !config_is_utf8(buffer_string(&text))))
        status = FAIL(STATUS_INVALID, "%s: is not UTF-8 text; save it as UTF-8", path);
    if (status == STATUS_OK && text.size > 0)
        status = parse_text(&reader, &text);
    buffer_free(&text);
    return status;
}
