/* core/overrides.h - the settings of a command line, for commands whose own options stand for settings, too.
 *
 *     TRY(overrides_add(&overrides, argv[i]));                        "actor.slots=64", kept by the caller
 *     TRY(overrides_make(&overrides, "model.path", argv[1]));         the same from an option
 *     input.overrides = overrides.list, input.override_count = overrides.count;
 *
 * A zeroed one is empty; it owns nothing. One thread. */
#ifndef CORE_OVERRIDES_H
#define CORE_OVERRIDES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/file.h"
#include "core/status.h"

C_BEGIN

enum { OVERRIDES_MAX = 256, OVERRIDES_MADE_MAX = 16 };

struct overrides {
    const char *list[OVERRIDES_MAX]; /* [count] "section.name=value"; later ones win */
    size_t count;
    char made[OVERRIDES_MADE_MAX][FILE_PATH_MAX + 64];
    size_t made_count;
};

/* LIMIT: more than OVERRIDES_MAX. */
MUST_CHECK enum status overrides_add(struct overrides *overrides, const char *text);
/* LIMIT also: more than OVERRIDES_MADE_MAX, or the value is longer than a path. */
MUST_CHECK enum status overrides_make(struct overrides *overrides, const char *name,
                                      const char *value);
/* Whether a word of a command line is one: section.name=value. A path may have a = too, but not after such a name. */
bool overrides_is_setting(const char *text);
/* The value of an option: a whole number from least to most; INVALID says so with the option's name. */
MUST_CHECK enum status option_number(const char *name, const char *text, uint64_t least,
                                     uint64_t most, uint64_t *out);

C_END

#endif
