/* core/findings.h - everything that is wrong with a recipe, at once.
 *
 * A program that starts stops at the first refused setting; somebody who writes a recipe wants all of them. Rows
 * that cannot be read are collected while they are read. Rules between settings say one sentence at a time: the
 * settings that a sentence names are put back to their defaults and the rules are asked again, until they are
 * silent; a sentence about a setting that was put back says nothing about the recipe and ends the search. */
#ifndef CORE_FINDINGS_H
#define CORE_FINDINGS_H

#include "core/arena.h"
#include "core/settings.h"

enum { FINDINGS_MAX = 64, FINDING_KEYS_MAX = 8 };

enum finding_kind { FINDING_SETTING, FINDING_INPUT, FINDING_MACHINE };

struct findings {
    struct finding {
        enum finding_kind kind;
        const char *sentence;                 /* what, where, numbers, what to do */
        struct finding_key {                  /* settings that the sentence names */
            const char *key, *value, *source; /* "loss.kind", "cispo", "recipe.yaml:12:3" */
        } keys[FINDING_KEYS_MAX];
        uint32_t key_count;
    } rows[FINDINGS_MAX];
    uint32_t count, left_out; /* left_out: beyond FINDINGS_MAX */
    struct arena *arena;      /* borrowed: texts */
};

/* Keeps copies of the sentence and of the place of each setting it names; config may be NULL (no places). */
void findings_add(struct findings *findings, enum finding_kind kind, const char *sentence,
                  const struct config *config);
/* config_load, then `check` (settings_check, settings_check_run): all that either refuses is in findings, and the
 * settings are then as they were asked for where they could be read. OK whatever was found; other failures are those
 * of memory. */
MUST_CHECK enum status findings_load(struct findings *findings, struct settings *settings,
                                     struct config **config, const struct config_input *input,
                                     enum status (*check)(const struct settings *settings));

#endif
