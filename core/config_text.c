/* core/config_text.c - settings as people read them: the dump at start-up, help, docs/config.md. */
#include "core/config_internal.h"

#include <string.h>

/* Double-quoted YAML. Whatever YAML would not take as it is becomes an escape, so any UTF-8 text
 * reads back byte for byte. */
static enum status append_quoted(struct buffer *yaml, const char *text)
{
    TRY(buffer_text(yaml, "\""));
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++) {
        if (*c == '"' || *c == '\\')
            TRY(buffer_printf(yaml, "\\%c", *c));
        else if (*c < 0x20 || *c == 0x7f)
            TRY(buffer_printf(yaml, "\\x%02x", *c));
        else if (*c == 0xc2 && c[1] < 0xa0) /* U+0080 to U+009F: C1 controls, one a line break */
            TRY(buffer_printf(yaml, "\\x%02x", *++c));
        else if (*c == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) {
            TRY(buffer_text(yaml, c[2] == 0xa8 ? "\\u2028" : "\\u2029")); /* line separators */
            c += 2;
        } else if (*c == 0xef && c[1] == 0xbb && c[2] == 0xbf) {
            TRY(buffer_text(yaml, "\\ufeff")); /* byte order mark */
            c += 2;
        } else if (*c == 0xef && c[1] == 0xbf && c[2] >= 0xbe) {
            TRY(buffer_text(yaml, c[2] == 0xbe ? "\\ufffe" : "\\uffff")); /* no characters */
            c += 2;
        } else
            TRY(buffer_append(yaml, c, 1));
    }
    return buffer_text(yaml, "\"");
}

static enum status append_value(struct buffer *yaml, const struct config_field *field,
                                const struct config_value *value)
{
    if (field->type != CONFIG_TEXT)
        return buffer_text(yaml, value->text);
    return append_quoted(yaml, config_is_secret(field) ? "" : value->text);
}

/* A comment ends at a line break, so a path with one must not bring it along. */
static enum status append_comment(struct buffer *yaml, const char *text)
{
    for (; *text != 0; text++) {
        char c = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
        TRY(buffer_append(yaml, &c, 1));
    }
    return STATUS_OK;
}

enum status config_dump(const struct config *config, struct buffer *yaml)
{
    for (size_t s = 0; s < config->section_count; s++) {
        const struct config_section *section = &config->sections[s];
        TRY(buffer_printf(yaml, "%s:\n", section->name));
        for (size_t f = 0; f < section->count; f++) {
            const struct config_field *field = &section->fields[f];
            const struct config_value *value = config_value_of(config, section, field);
            TRY(buffer_printf(yaml, "  %s: ", field->name));
            TRY(append_value(yaml, field, value));
            TRY(buffer_text(yaml, " # "));
            TRY(append_comment(yaml, value->source));
            if (config_is_secret(field))
                TRY(buffer_text(yaml, ", a secret: never written"));
            TRY(buffer_text(yaml, "\n"));
        }
    }
    return STATUS_OK;
}

static enum status append_range(struct buffer *text, const struct config_field *field,
                                const char *between)
{
    switch (field->type) {
    case CONFIG_FLAG:
        return buffer_printf(text, "true%sfalse", between);
    case CONFIG_CHOICE:
        for (const char *name = field->unit; *name != 0;) {
            size_t length = strcspn(name, "|");
            TRY(buffer_append(text, name, length));
            name += length + (name[length] != 0 ? 1 : 0);
            if (*name != 0)
                TRY(buffer_text(text, between));
        }
        return STATUS_OK;
    case CONFIG_TEXT:
        return buffer_text(text, "text");
    default:
        return buffer_printf(text, "%.10g to %.10g", field->min, field->max);
    }
}

static const char *shown_default(const struct config_field *field)
{
    return config_is_secret(field) && field->fallback[0] != 0 ? "***" : field->fallback;
}

static const char *shown_unit(const struct config_field *field)
{
    return field->type == CONFIG_CHOICE ? "" : field->unit;
}

enum status config_help(const struct config_section *sections, size_t section_count,
                        struct buffer *text)
{
    TRY(buffer_text(text, "Settings. Later beats earlier: default, recipe files in order, "
                          "WEIR_SECTION_NAME=value, section.name=value.\n"));
    for (size_t s = 0; s < section_count; s++) {
        TRY(buffer_printf(text, "\n%s\n", sections[s].name));
        for (size_t f = 0; f < sections[s].count; f++) {
            const struct config_field *field = &sections[s].fields[f];
            TRY(buffer_printf(text, "  %s.%s = %s   (", sections[s].name, field->name,
                              field->fallback[0] != 0 ? shown_default(field) : "\"\""));
            TRY(append_range(text, field, "|"));
            TRY(buffer_printf(text, "%s%s)\n", shown_unit(field)[0] != 0 ? ", " : "",
                              shown_unit(field)));
            if (field->help[0] != 0)
                TRY(buffer_printf(text, "      %s\n", field->help));
        }
    }
    return STATUS_OK;
}

/* A | inside a cell would end it. */
static enum status append_cell(struct buffer *markdown, const char *text)
{
    for (; *text != 0; text++)
        TRY(buffer_printf(markdown, *text == '|' ? "\\%c" : "%c", *text));
    return STATUS_OK;
}

enum status config_markdown(const struct config_section *sections, size_t section_count,
                            struct buffer *markdown)
{
    for (size_t s = 0; s < section_count; s++) {
        TRY(buffer_printf(markdown,
                          "## %s\n\n| setting | default | range | unit | meaning |\n"
                          "|---|---|---|---|---|\n",
                          sections[s].name));
        for (size_t f = 0; f < sections[s].count; f++) {
            const struct config_field *field = &sections[s].fields[f];
            TRY(buffer_printf(markdown, "| `%s.%s` | ", sections[s].name, field->name));
            if (field->fallback[0] != 0)
                TRY(buffer_printf(markdown, "`%s`", shown_default(field)));
            TRY(buffer_text(markdown, " | "));
            TRY(append_range(markdown, field, ", "));
            TRY(buffer_printf(markdown, " | %s | ", shown_unit(field)));
            TRY(append_cell(markdown, field->help));
            TRY(buffer_text(markdown, " |\n"));
        }
        TRY(buffer_text(markdown, "\n"));
    }
    return STATUS_OK;
}
