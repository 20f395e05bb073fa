#include "core/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LAST_ERROR_BYTES = STATUS_TEXT_MAX };

static _Thread_local char last_error[LAST_ERROR_BYTES] = "";

const char *status_name(enum status status)
{
    static const char *const names[] = {
#define ROW(name, text) #name,
        STATUS_ROWS(ROW)
#undef ROW
    };
    return (unsigned)status < STATUS_COUNT ? names[status] : "UNKNOWN";
}

const char *status_text(enum status status)
{
    static const char *const texts[] = {
#define ROW(name, text) text,
        STATUS_ROWS(ROW)
#undef ROW
    };
    return (unsigned)status < STATUS_COUNT ? texts[status] : "unknown status";
}

const char *status_last_error(void)
{
    return last_error;
}

void status_keep(char kept[STATUS_TEXT_MAX])
{
    memcpy(kept, last_error, sizeof last_error);
}

void status_restore(const char kept[STATUS_TEXT_MAX])
{
    memcpy(last_error, kept, sizeof last_error);
}

enum status status_fail(enum status status, const char *file, int line, const char *func,
                        const char *fmt, ...)
{
    int saved_errno = errno;
    /* Formatted beside last_error, because an argument may be status_last_error() itself. */
    char text[LAST_ERROR_BYTES];
    const char *slash = strrchr(file, '/');
    int used = snprintf(text, sizeof text, "%s:%d (%s): %s: ", slash ? slash + 1 : file, line, func,
                        status_name(status));
    if (used > 0 && (size_t)used < sizeof text) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(text + used, sizeof text - (size_t)used, fmt, args);
        va_end(args);
    }
    memcpy(last_error, text, sizeof last_error);
    errno = saved_errno;
    return status;
}

const char *status_sentence(const char *text)
{
    const char *place = strstr(text, ".c:"), *end = strstr(text, "): ");
    if (place != NULL && end != NULL && end > place && strchr(text, ' ') > place)
        text = end + 3;
    size_t name = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    return name > 0 && strncmp(text + name, ": ", 2) == 0 ? text + name + 2 : text;
}
