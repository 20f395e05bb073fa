#include "core/overrides.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status overrides_add(struct overrides *overrides, const char *text)
{
    if (overrides->count == OVERRIDES_MAX)
        return FAIL(STATUS_LIMIT, "more than %d settings", OVERRIDES_MAX);
    overrides->list[overrides->count++] = text;
    return STATUS_OK;
}

enum status overrides_make(struct overrides *overrides, const char *name, const char *value)
{
    if (overrides->made_count == OVERRIDES_MADE_MAX || strlen(value) >= FILE_PATH_MAX)
        return FAIL(STATUS_LIMIT, "%s is given too often, or its value is too long", name);
    char *text = overrides->made[overrides->made_count++];
    snprintf(text, sizeof overrides->made[0], "%s=%s", name, value);
    return overrides_add(overrides, text);
}

bool overrides_is_setting(const char *text)
{
    size_t name = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    return text[name] == '=' && memchr(text, '.', name) != NULL;
}

enum status option_number(const char *name, const char *text, uint64_t least, uint64_t most,
                          uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < least ||
        value > most)
        return FAIL(STATUS_INVALID,
                    "%s %s: a whole number from %" PRIu64 " to %" PRIu64 " is wanted", name, text,
                    least, most);
    *out = value;
    return STATUS_OK;
}
