#include "core/findings.h"

#include <ctype.h>
#include <string.h>

enum { KEY_BYTES = 128 };

/* The next "section.name" of a sentence that is a row: 0 ends it. *at moves behind it. */
static bool next_key(const struct config *config, const char **at, char key[KEY_BYTES])
{
    const char *c = *at;
    while (*c != '\0') {
        size_t size = 0;
        while (islower((unsigned char)c[size]) || isdigit((unsigned char)c[size]) ||
               c[size] == '_' || (c[size] == '.' && islower((unsigned char)c[size + 1])))
            size++;
        if (size > 2 && size < KEY_BYTES) {
            memcpy(key, c, size);
            key[size] = '\0';
            if (config_source(config, key, NULL) != NULL) {
                *at = c + size;
                return true;
            }
        }
        c += size > 0 ? size : 1;
    }
    *at = c;
    return false;
}

static void add_keys(struct findings *findings, struct finding *row, const struct config *config)
{
    char key[KEY_BYTES];
    for (const char *at = row->sentence; row->key_count < FINDING_KEYS_MAX;) {
        if (!next_key(config, &at, key))
            return;
        bool known = false;
        for (uint32_t i = 0; i < row->key_count; i++)
            known = known || strcmp(row->keys[i].key, key) == 0;
        if (known)
            continue;
        const char *value = "", *source = config_source(config, key, &value);
        struct finding_key found = {arena_text(findings->arena, key),
                                    arena_text(findings->arena, value),
                                    arena_text(findings->arena, source)};
        if (found.key != NULL && found.value != NULL && found.source != NULL)
            row->keys[row->key_count++] = found;
    }
}

void findings_add(struct findings *findings, enum finding_kind kind, const char *sentence,
                  const struct config *config)
{
    for (uint32_t i = 0; i < findings->count; i++)
        if (strcmp(findings->rows[i].sentence, sentence) == 0)
            return;
    const char *kept = arena_text(findings->arena, sentence);
    if (findings->count == FINDINGS_MAX || kept == NULL) {
        findings->left_out++;
        return;
    }
    struct finding *row = &findings->rows[findings->count++];
    *row = (struct finding){.kind = kind, .sentence = kept};
    if (config != NULL)
        add_keys(findings, row, config);
}

static void on_refused(void *self, const char *sentence)
{
    findings_add(self, FINDING_SETTING, sentence, NULL);
}

/* Names that were put back to their defaults, between commas. */
struct reset {
    char names[FINDINGS_MAX * KEY_BYTES];
    size_t size;
};

static bool was_reset(const struct reset *reset, const char *key)
{
    char wanted[KEY_BYTES + 2];
    size_t length = strlen(key);
    memcpy(wanted + 1, key, length);
    wanted[0] = wanted[length + 1] = ',';
    wanted[length + 2 < sizeof wanted ? length + 2 : sizeof wanted - 1] = '\0';
    return strstr(reset->names, wanted) != NULL;
}

/* Puts back what the sentence names. False: it names nothing that the recipe sets, or what was put back before. */
static bool put_back(struct reset *reset, struct config *config, struct settings *settings,
                     const char *sentence)
{
    char keys[FINDING_KEYS_MAX][KEY_BYTES];
    uint32_t count = 0;
    for (const char *at = sentence; count < FINDING_KEYS_MAX;) {
        if (!next_key(config, &at, keys[count]))
            break;
        if (was_reset(reset, keys[count]))
            return false;
        count++;
    }
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(keys[i]);
        if (strcmp(config_source(config, keys[i], NULL), "default") == 0 ||
            was_reset(reset, keys[i]))
            continue;
        if (reset->size + length + 2 >= sizeof reset->names ||
            config_reset(config, keys[i], settings) != STATUS_OK)
            return false;
        reset->names[reset->size] = ',';
        memcpy(reset->names + reset->size + 1, keys[i], length);
        reset->names[reset->size + length + 1] = ',';
        reset->names[reset->size + length + 2] = '\0';
        reset->size += length + 2;
        any = true;
    }
    return any;
}

/* A second load of the same input, which the search may spoil. */
static enum status search(struct findings *findings, const struct config *asked,
                          const struct config_input *input,
                          enum status (*check)(const struct settings *settings))
{
    struct settings settings;
    struct config *config = NULL;
    struct reset reset = {.size = 0};
    TRY(config_load(&config, settings_sections, settings_section_count, input, &settings));
    enum status status;
    while ((status = check(&settings)) != STATUS_OK && findings->count < FINDINGS_MAX) {
        const char *sentence = arena_text(findings->arena, status_sentence(status_last_error()));
        if (sentence == NULL)
            break;
        bool first = reset.size == 0;
        bool more = put_back(&reset, config, &settings, sentence);
        if (first || more)
            findings_add(findings, FINDING_SETTING, sentence, asked);
        if (!more)
            break;
    }
    config_destroy(&config);
    return STATUS_OK;
}

enum status findings_load(struct findings *findings, struct settings *settings,
                          struct config **config, const struct config_input *input,
                          enum status (*check)(const struct settings *settings))
{
    struct config_input all = *input;
    all.refused = on_refused;
    all.refused_self = findings;
    TRY(config_load(config, settings_sections, settings_section_count, &all, settings));
    enum status status = search(findings, *config, &all, check);
    if (status != STATUS_OK)
        config_destroy(config);
    return status;
}
