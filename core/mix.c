#include "core/mix.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    const char *setting, *text; /* the whole of it, for columns */
    double most;
    bool moves;
};

static const char BLANKS[] = " \t\r\n";

static enum status refuse(const struct reading *reading, const char *at, size_t length,
                          const char *why)
{
    int shown = length < 60 ? (int)length : 60;
    return FAIL(STATUS_INVALID,
                "%s: column %td: \"%.*s\" %s; write entries such as \"math*: 1; logic*: 0.2@0 "
                "1@200\"",
                reading->setting, at - reading->text + 1, shown, at, why);
}

/* A finite number of exactly `length` characters. */
static bool read_number(const char *at, size_t length, double *value)
{
    char copy[64];
    if (length == 0 || length >= sizeof copy || strspn(at, "0123456789+-.eE") < length)
        return false;
    memcpy(copy, at, length);
    copy[length] = '\0';
    char *end = NULL;
    *value = strtod(copy, &end);
    return *end == '\0' && isfinite(*value);
}

/* "0.2" or "0.2@100". */
static enum status read_knot(const struct reading *reading, const char *at, size_t length,
                             struct mix_knot *knot, bool *moves)
{
    const char *sign = memchr(at, '@', length);
    size_t size = sign != NULL ? (size_t)(sign - at) : length;
    *moves = sign != NULL;
    *knot = (struct mix_knot){0};
    if (sign != NULL && !reading->moves)
        return refuse(reading, at, length, "names a version, and this value is one for the run");
    if (!read_number(at, size, &knot->value) || knot->value < 0 || knot->value > reading->most)
        return refuse(reading, at, length,
                      reading->most <= 1 ? "is no number from 0 to 1" : "is no number from 0 on");
    if (sign != NULL && (!read_number(sign + 1, length - size - 1, &knot->at) || knot->at < 0 ||
                         knot->at != floor(knot->at)))
        return refuse(reading, at, length, "names no version after its @");
    return STATUS_OK;
}

/* What follows the colon, up to `end`. */
static enum status read_values(const struct reading *reading, const char *at, const char *end,
                               struct mix_entry *entry)
{
    bool constant = false;
    for (at += strspn(at, BLANKS); at < end; at += strspn(at, BLANKS)) {
        size_t length = strcspn(at, " \t\r\n;");
        bool moves = false;
        if (entry->knot_count == MIX_KNOTS_MAX)
            return refuse(reading, at, length, "is one value too many, 32 are the most");
        struct mix_knot *knot = &entry->knots[entry->knot_count];
        TRY(read_knot(reading, at, length, knot, &moves));
        if (constant || (!moves && entry->knot_count > 0))
            return refuse(reading, at, length,
                          "stands beside another value, and one of them names no version with @");
        constant = !moves;
        if (entry->knot_count > 0 && knot->at <= knot[-1].at)
            return refuse(reading, at, length, "does not come after the version before it");
        entry->knot_count++;
        at += length;
    }
    return STATUS_OK;
}

static enum status read_entry(const struct reading *reading, const char *at, const char *end,
                              struct mix *mix)
{
    const char *colon = memrchr(at, ':', (size_t)(end - at));
    size_t length = (size_t)(end - at);
    if (colon == NULL)
        return refuse(reading, at, length, "has no colon between source and value");
    size_t size = (size_t)(colon - at);
    while (size > 0 && strchr(BLANKS, at[size - 1]) != NULL)
        size--;
    if (size == 0)
        return refuse(reading, at, length, "names no source before its colon");
    if (size >= MIX_GLOB_MAX)
        return refuse(reading, at, length, "is too long, a source has at most 127 bytes here");
    if (mix->count == MIX_ENTRIES_MAX)
        return refuse(reading, at, length, "is one entry too many, 256 are the most");
    struct mix_entry *entry = &mix->entries[mix->count];
    memset(entry, 0, sizeof *entry);
    memcpy(entry->glob, at, size);
    for (uint32_t i = 0; i < mix->count; i++)
        if (strcmp(mix->entries[i].glob, entry->glob) == 0)
            return refuse(reading, at, size, "stands twice, and the first entry decides");
    TRY(read_values(reading, colon + 1, end, entry));
    if (entry->knot_count == 0)
        return refuse(reading, at, length, "has no value after its colon");
    mix->count++;
    return STATUS_OK;
}

enum status mix_parse(struct mix *mix, const char *setting, const char *text, double most,
                      bool moves)
{
    struct reading reading = {setting, text, most, moves};
    mix->count = 0;
    for (const char *at = text; *at != '\0';) {
        at += strspn(at, BLANKS);
        size_t length = strcspn(at, ";");
        const char *end = at + length;
        while (end > at && strchr(BLANKS, end[-1]) != NULL)
            end--;
        if (end > at)
            TRY(read_entry(&reading, at, end, mix));
        else if (at[length] == ';')
            return refuse(&reading, at, 1, "ends an entry that is empty");
        at += length + (at[length] == ';');
    }
    return STATUS_OK;
}

const struct mix_entry *mix_match(const struct mix *mix, const char *source)
{
    for (uint32_t i = 0; i < mix->count; i++)
        if (fnmatch(mix->entries[i].glob, source, 0) == 0)
            return &mix->entries[i];
    return NULL;
}

double mix_value(const struct mix_entry *entry, uint64_t version)
{
    const struct mix_knot *knots = entry->knots;
    uint32_t next = 0;
    double at = (double)version;
    while (next < entry->knot_count && knots[next].at <= at)
        next++;
    if (next == 0)
        return knots[0].value;
    if (next == entry->knot_count)
        return knots[next - 1].value;
    double share = (at - knots[next - 1].at) / (knots[next].at - knots[next - 1].at);
    return knots[next - 1].value + share * (knots[next].value - knots[next - 1].value);
}
