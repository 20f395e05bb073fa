/* core/config.h - settings declared once, as rows of a table.
 *
 * A section is one X-macro (core/settings.h has all of them). From it come the struct, the
 * defaults, parsing of YAML files, environment and command line, range checks, --help,
 * docs/config.md, and the dump at start-up with the source of each value. A default is text and
 * goes through the same parser as a user's value.
 *
 * Order, later beats earlier: default < file < next file (deep merge) < environment
 * (WEIR_SECTION_NAME=value) < command line (section.name=value). An unknown key, a half-parsed
 * number or a value out of range is STATUS_INVALID whose text names file, line, column (or the
 * environment variable, or the argument), the row's range and the nearest known key.
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/buffer.h"
#include "core/status.h"

enum config_type { CONFIG_U32, CONFIG_U64, CONFIG_F64, CONFIG_FLAG, CONFIG_TEXT, CONFIG_CHOICE };

typedef uint32_t config_u32;
typedef uint64_t config_u64;
typedef double config_f64;
typedef bool config_flag;
typedef const char *config_text; /* owned by the config; "" when empty */
typedef uint32_t config_choice;  /* index into the names of the unit column */
#define CONFIG_TYPE_u32    CONFIG_U32
#define CONFIG_TYPE_u64    CONFIG_U64
#define CONFIG_TYPE_f64    CONFIG_F64
#define CONFIG_TYPE_flag   CONFIG_FLAG
#define CONFIG_TYPE_text   CONFIG_TEXT
#define CONFIG_TYPE_choice CONFIG_CHOICE

struct config_field {
    const char *name;
    enum config_type type;
    size_t offset;
    const char *fallback; /* text of the default */
    double min, max;      /* numbers only */
    const char *unit;     /* "" when it has none; for a choice its names: "cispo|grpo|dapo" */
    const char *help;
};

struct config_section {
    const char *name; /* "learner" */
    const struct config_field *fields;
    size_t count;
    size_t offset; /* of the section's struct inside the whole settings struct */
};

#define CONFIG_MEMBER(type, name, fallback, min, max, unit, help) config_##type name;
#define CONFIG_FIELD(STRUCT, type, name, fallback, min, max, unit, help) \
    {#name, CONFIG_TYPE_##type, offsetof(STRUCT, name), fallback, min, max, unit, help},

struct config; /* the parsed settings with the source of each value; owns all text values */

struct config_input {
    const char *const *files; /* YAML, deep-merged in order */
    size_t file_count;
    const char *const *overrides; /* "section.name=value" */
    size_t override_count;
    bool environment; /* read WEIR_* variables */
    /* NULL: the first refused row ends the load. Else each is told with its sentence, keeps the value it had, and the
     * load goes on (core/findings.h). */
    void (*refused)(void *self, const char *sentence);
    void *refused_self;
};

/* Fills `settings` (a struct of all sections) and keeps the sources. A mapping under `data.sources`
 * or any other key that is not a row is an error: recipes hold rows of the table only. */
MUST_CHECK enum status config_load(struct config **config, const struct config_section *sections,
                                   size_t section_count, const struct config_input *input,
                                   void *settings);
void config_destroy(struct config **config); /* text values die with it */

/* Where the value of "section.name" comes from ("recipe.yaml:3:5", "default", ...) and its text (may be NULL); NULL
 * for a name that is no row. Both live as long as the config. */
const char *config_source(const struct config *config, const char *key, const char **text);
/* The row is its default again, in the config and in `settings`. */
MUST_CHECK enum status config_reset(struct config *config, const char *key, void *settings);

/* The resolved settings as YAML, each line with a comment that names its source. Parses back to the same values
 * (a secret is written as "", it belongs in the environment). */
MUST_CHECK enum status config_dump(const struct config *config, struct buffer *yaml);
MUST_CHECK enum status config_help(const struct config_section *sections, size_t section_count,
                                   struct buffer *text);
MUST_CHECK enum status config_markdown(const struct config_section *sections, size_t section_count,
                                       struct buffer *markdown);
/* A password: it is never written. */
bool config_is_secret(const struct config_field *field);
const char *config_choice_name(const struct config_field *field, uint32_t index, char *out,
                               size_t size);

/* The known key with the least edit distance to `name`, NULL when nothing is near. */
const char *config_nearest(const char *name, const char *const *known, size_t count);

#endif
