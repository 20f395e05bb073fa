/* core/mix.h - a number for each data source that may change as a run goes: "math*: 1; logic*: 0.2@0 1@200".
 *
 *     TRY(mix_parse(&mix, "curriculum.mix", text, 1e6, true));
 *     const struct mix_entry *entry = mix_match(&mix, "logic/zebra");
 *     double weight = entry != NULL ? mix_value(entry, version) : 0;
 *
 * Entries stand between semicolons: a glob (fnmatch, where * takes slashes too), a colon, then one value that always holds,
 * or values at versions, piecewise linear between them and constant outside. The first entry that matches decides. Pure. */
#ifndef CORE_MIX_H
#define CORE_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum { MIX_ENTRIES_MAX = 256, MIX_KNOTS_MAX = 32, MIX_GLOB_MAX = 128 };

struct mix_knot {
    double at; /* version */
    double value;
};

struct mix_entry {
    char glob[MIX_GLOB_MAX];
    uint32_t knot_count; /* >= 1; at ascending */
    struct mix_knot knots[MIX_KNOTS_MAX];
};

struct mix {
    uint32_t count;
    struct mix_entry entries[MIX_ENTRIES_MAX];
};

/* `setting`: its name, for sentences; values are 0..most; moves: values at versions are allowed. An empty text is a mix
 * without entries. INVALID names column (from 1) and word. */
MUST_CHECK enum status mix_parse(struct mix *mix, const char *setting, const char *text,
                                 double most, bool moves);
/* NULL: no entry matches. */
const struct mix_entry *mix_match(const struct mix *mix, const char *source);
double mix_value(const struct mix_entry *entry, uint64_t version);

C_END
#endif
