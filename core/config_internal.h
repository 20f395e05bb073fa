/* core/config_internal.h - what config.c, config_yaml.c and config_text.c share. Not for others. */
#ifndef CORE_CONFIG_INTERNAL_H
#define CORE_CONFIG_INTERNAL_H

#include "core/arena.h"
#include "core/config.h"

enum { CONFIG_NAME_MAX = 64, CONFIG_WHY_BYTES = 320 };

/* One row's value: the text as it was given and what the text means. */
struct config_value {
    const char *text;   /* in the arena */
    const char *source; /* in the arena: "default", "recipe.yaml:3:5", "environment WEIR_A_B" ... */
    union {
        uint32_t u32; /* also a choice */
        uint64_t u64;
        double f64;
        bool flag;
    };
};

struct config {
    const struct config_section *sections; /* [section_count] borrowed, static tables */
    size_t section_count;
    struct config_value *values; /* one per row, sections one after another, in the arena */
    struct arena *arena;
    const struct config_input *input; /* during config_load */
};

const struct config_section *config_section_find(const struct config *config, const char *name);
const struct config_field *config_field_find(const struct config_section *section,
                                             const char *name);
struct config_value *config_value_of(const struct config *config,
                                     const struct config_section *section,
                                     const struct config_field *field);

/* False: `why` goes on a sentence that begins with the setting's name (config_value.c). */
bool config_parse(const struct config_field *field, const char *text, struct config_value *value,
                  char why[CONFIG_WHY_BYTES]);
/* Parses `text` into the row. `where` starts the error sentence and is kept as the source. */
MUST_CHECK enum status config_set(struct config *config, const struct config_section *section,
                                  const struct config_field *field, const char *text,
                                  const char *where);
/* INVALID for a name that is no row, with the nearest known one. section_name may be NULL. */
MUST_CHECK enum status config_unknown(const struct config *config, const char *where,
                                      const char *section_name, const char *name);
/* `status` of one row: an INVALID one is told to input->refused, where there is one, and is OK then. */
MUST_CHECK enum status config_refused(const struct config *config, enum status status);
/* Applies one YAML file (config_yaml.c). */
MUST_CHECK enum status config_read_file(struct config *config, const char *path);

bool config_is_utf8(const char *text);

#endif
