#include "core/config.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "core/config_internal.h"
#include "core/memory.h"

enum { CONFIG_ARENA_LIMIT = 8 << 20, CONFIG_WHERE_MAX = 512 };

bool config_is_secret(const struct config_field *field)
{
    return strcmp(field->unit, "secret") == 0;
}

const struct config_section *config_section_find(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->section_count; i++)
        if (strcmp(config->sections[i].name, name) == 0)
            return &config->sections[i];
    return NULL;
}

const struct config_field *config_field_find(const struct config_section *section, const char *name)
{
    for (size_t i = 0; i < section->count; i++)
        if (strcmp(section->fields[i].name, name) == 0)
            return &section->fields[i];
    return NULL;
}

struct config_value *config_value_of(const struct config *config,
                                     const struct config_section *section,
                                     const struct config_field *field)
{
    size_t row = (size_t)(field - section->fields);
    for (const struct config_section *before = config->sections; before != section; before++)
        row += before->count;
    return &config->values[row];
}

/* --- nearest known name --- */

/* Levenshtein distance without regard to case; CONFIG_NAME_MAX when a name is too long to matter. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[CONFIG_NAME_MAX + 1];
    size_t width = strlen(b);
    if (width > CONFIG_NAME_MAX || strlen(a) > CONFIG_NAME_MAX)
        return CONFIG_NAME_MAX;
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != 0; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            bool same = tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]);
            size_t best = diagonal + (same ? 0 : 1);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j + 1] + 1 < best)
                best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[width];
}

/* A typo, not another word: at most one edit for every three letters, two for short names. */
static bool is_near(const char *name, size_t distance)
{
    size_t third = strlen(name) / 3;
    return distance <= (third < 2 ? 2 : third) && distance < strlen(name);
}

const char *config_nearest(const char *name, const char *const *known, size_t count)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(name, known[i]);
        if (distance < least) {
            least = distance;
            nearest = known[i];
        }
    }
    return nearest != NULL && is_near(name, least) ? nearest : NULL;
}

/* Rows of the named section win over equally near rows elsewhere; a section's name counts when no
 * section was given. Writes "section.name" or "section". */
static bool nearest_setting(const struct config *config, const char *section_name, const char *name,
                            char out[2 * CONFIG_NAME_MAX])
{
    size_t least = SIZE_MAX;
    for (size_t s = 0; s < config->section_count; s++) {
        const struct config_section *section = &config->sections[s];
        size_t away = section_name != NULL && strcmp(section_name, section->name) != 0 ? 1 : 0;
        if (section_name == NULL && edit_distance(name, section->name) * 2 < least) {
            least = edit_distance(name, section->name) * 2;
            snprintf(out, 2 * CONFIG_NAME_MAX, "%s", section->name);
        }
        for (size_t f = 0; f < section->count; f++) {
            char full[2 * CONFIG_NAME_MAX];
            snprintf(full, sizeof full, "%s.%s", section->name, section->fields[f].name);
            const char *compared = strchr(name, '.') != NULL ? full : section->fields[f].name;
            size_t distance = edit_distance(name, compared) * 2 + away;
            if (distance < least) {
                least = distance;
                snprintf(out, 2 * CONFIG_NAME_MAX, "%s", full);
            }
        }
    }
    return least != SIZE_MAX && is_near(name, least / 2);
}

enum status config_unknown(const struct config *config, const char *where, const char *section_name,
                           const char *name)
{
    char nearest[2 * CONFIG_NAME_MAX];
    char dotted[2 * CONFIG_NAME_MAX];
    snprintf(dotted, sizeof dotted, "%.60s%s%.60s", section_name != NULL ? section_name : "",
             section_name != NULL ? "." : "", name);
    if (nearest_setting(config, section_name, name, nearest))
        return FAIL(STATUS_INVALID, "%s: unknown setting \"%s\", nearest known: \"%s\"", where,
                    dotted, nearest);
    return FAIL(STATUS_INVALID,
                "%s: unknown setting \"%s\", no known name is near; `weir help config` lists all",
                where, dotted);
}

enum status config_set(struct config *config, const struct config_section *section,
                       const struct config_field *field, const char *text, const char *where)
{
    char why[CONFIG_WHY_BYTES];
    struct config_value value = {0};
    if (!config_parse(field, text, &value, why))
        return FAIL(STATUS_INVALID, "%s: %s.%s %s", where, section->name, field->name, why);
    value.text = arena_text(config->arena, text);
    value.source = arena_text(config->arena, where);
    if (value.text == NULL || value.source == NULL)
        return FAIL(STATUS_LIMIT, "%s: the settings of a run hold more than %d bytes", where,
                    CONFIG_ARENA_LIMIT);
    *config_value_of(config, section, field) = value;
    return STATUS_OK;
}

enum status config_refused(const struct config *config, enum status status)
{
    if (status != STATUS_INVALID || config->input == NULL || config->input->refused == NULL)
        return status;
    config->input->refused(config->input->refused_self, status_sentence(status_last_error()));
    return STATUS_OK;
}

/* --- sources --- */

static enum status apply_defaults(struct config *config)
{
    for (size_t s = 0; s < config->section_count; s++) {
        const struct config_section *section = &config->sections[s];
        for (size_t f = 0; f < section->count; f++)
            TRY(config_set(config, section, &section->fields[f], section->fields[f].fallback,
                           "default"));
    }
    return STATUS_OK;
}

static void to_lower(char *text)
{
    for (; *text != 0; text++)
        *text = (char)tolower((unsigned char)*text);
}

/* `variable` is "WEIR_SECTION_NAME=value". Names of no section belong to somebody else. */
static enum status apply_variable(struct config *config, const char *variable)
{
    const char *equals = strchr(variable, '=');
    size_t length = equals != NULL ? (size_t)(equals - variable) : 0;
    char lower[2 * CONFIG_NAME_MAX];
    if (length < 5 || length >= sizeof lower)
        return STATUS_OK;
    memcpy(lower, variable, length);
    lower[length] = 0;
    to_lower(lower);
    const char *rest = lower + 5; /* behind WEIR_ */
    for (size_t s = 0; s < config->section_count; s++) {
        const struct config_section *section = &config->sections[s];
        size_t prefix = strlen(section->name);
        if (strncmp(rest, section->name, prefix) != 0 || rest[prefix] != '_')
            continue;
        char where[CONFIG_WHERE_MAX];
        snprintf(where, sizeof where, "environment %.*s", (int)length, variable);
        const struct config_field *field = config_field_find(section, rest + prefix + 1);
        if (field == NULL)
            return config_unknown(config, where, section->name, rest + prefix + 1);
        return config_set(config, section, field, equals + 1, where);
    }
    return STATUS_OK;
}

static enum status apply_environment(struct config *config)
{
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (strncmp(*variable, "WEIR_", 5) == 0)
            TRY(config_refused(config, apply_variable(config, *variable)));
    return STATUS_OK;
}

static enum status apply_override(struct config *config, const char *argument)
{
    const char *equals = strchr(argument, '=');
    const char *point = strchr(argument, '.');
    char name[2 * CONFIG_NAME_MAX];
    char where[CONFIG_WHERE_MAX];
    size_t length = equals != NULL ? (size_t)(equals - argument) : 0;
    if (equals == NULL || point == NULL || point > equals || length >= sizeof name)
        return FAIL(STATUS_INVALID, "argument \"%.200s\": wanted section.name=value", argument);
    memcpy(name, argument, length);
    name[length] = 0;
    snprintf(where, sizeof where, "argument %s", name);
    name[point - argument] = 0;
    const char *row = name + (point - argument) + 1;
    const struct config_section *section = config_section_find(config, name);
    if (section == NULL) {
        name[point - argument] = '.';
        return config_unknown(config, where, NULL, name);
    }
    const struct config_field *field = config_field_find(section, row);
    if (field == NULL)
        return config_unknown(config, where, section->name, row);
    return config_set(config, section, field, equals + 1, where);
}

static enum status apply_all(struct config *config, const struct config_input *input)
{
    TRY(apply_defaults(config));
    for (size_t i = 0; i < input->file_count; i++)
        TRY(config_refused(config, config_read_file(config, input->files[i])));
    if (input->environment)
        TRY(apply_environment(config));
    for (size_t i = 0; i < input->override_count; i++)
        TRY(config_refused(config, apply_override(config, input->overrides[i])));
    return STATUS_OK;
}

/* --- values to the caller's struct --- */

static void write_value(const struct config_field *field, const struct config_value *value,
                        unsigned char *to)
{
    switch (field->type) {
    case CONFIG_U32:
    case CONFIG_CHOICE:
        memcpy(to, &value->u32, sizeof value->u32);
        break;
    case CONFIG_U64:
        memcpy(to, &value->u64, sizeof value->u64);
        break;
    case CONFIG_F64:
        memcpy(to, &value->f64, sizeof value->f64);
        break;
    case CONFIG_FLAG:
        memcpy(to, &value->flag, sizeof value->flag);
        break;
    case CONFIG_TEXT:
        memcpy(to, &value->text, sizeof value->text);
        break;
    }
}

static void write_settings(const struct config *config, void *settings)
{
    for (size_t s = 0; s < config->section_count; s++) {
        const struct config_section *section = &config->sections[s];
        for (size_t f = 0; f < section->count; f++) {
            const struct config_field *field = &section->fields[f];
            write_value(field, config_value_of(config, section, field),
                        (unsigned char *)settings + section->offset + field->offset);
        }
    }
}

enum status config_load(struct config **config, const struct config_section *sections,
                        size_t section_count, const struct config_input *input, void *settings)
{
    struct config *made = memory_alloc(sizeof *made);
    enum status status;
    size_t rows = 0;
    for (size_t s = 0; s < section_count; s++)
        rows += sections[s].count;
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "settings of %zu rows", rows);
    made->sections = sections;
    made->section_count = section_count;
    made->input = input;
    TRY_GOTO(failed, arena_create(&made->arena, CONFIG_ARENA_LIMIT));
    made->values = arena_array(made->arena, rows, sizeof *made->values);
    if (made->values == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "settings of %zu rows", rows);
        goto failed;
    }
    TRY_GOTO(failed, apply_all(made, input));
    write_settings(made, settings);
    made->input = NULL;
    *config = made;
    return STATUS_OK;
failed:
    config_destroy(&made);
    return status;
}

/* --- one row by its name --- */

static bool find_row(const struct config *config, const char *key,
                     const struct config_section **section, const struct config_field **field)
{
    char name[2 * CONFIG_NAME_MAX];
    const char *point = strchr(key, '.');
    if (point == NULL || (size_t)(point - key) >= sizeof name)
        return false;
    memcpy(name, key, (size_t)(point - key));
    name[point - key] = 0;
    *section = config_section_find(config, name);
    *field = *section != NULL ? config_field_find(*section, point + 1) : NULL;
    return *field != NULL;
}

const char *config_source(const struct config *config, const char *key, const char **text)
{
    const struct config_section *section;
    const struct config_field *field;
    if (!find_row(config, key, &section, &field))
        return NULL;
    const struct config_value *value = config_value_of(config, section, field);
    if (text != NULL)
        *text = value->text;
    return value->source;
}

enum status config_reset(struct config *config, const char *key, void *settings)
{
    const struct config_section *section;
    const struct config_field *field;
    if (!find_row(config, key, &section, &field))
        return FAIL(STATUS_NOT_FOUND, "there is no setting %s", key);
    TRY(config_set(config, section, field, field->fallback, "default"));
    write_value(field, config_value_of(config, section, field),
                (unsigned char *)settings + section->offset + field->offset);
    return STATUS_OK;
}

void config_destroy(struct config **config)
{
    if (*config == NULL)
        return;
    arena_destroy(&(*config)->arena);
    memory_free(*config);
    *config = NULL;
}
