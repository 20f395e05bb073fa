/* model/folder_findings.c - everything that is wrong with a model folder, in one error. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/folder_internal.h"

/* What fits into an error text with its head and tail. */
enum { FINDINGS_SHOWN_MAX = 20, FINDINGS_BYTES_MAX = STATUS_TEXT_MAX - 512 };

void folder_finding(struct folder_findings *findings, enum status status, const char *fmt, ...)
{
    char sentence[FINDINGS_BYTES_MAX - 8];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    if (findings->count++ == 0) {
        buffer_init(&findings->text, FINDINGS_BYTES_MAX);
        findings->first = status;
    }
    if (findings->shown < FINDINGS_SHOWN_MAX && findings->shown == findings->count - 1 &&
        buffer_printf(&findings->text, "%s%s", findings->shown > 0 ? "\n  " : "", sentence) ==
            STATUS_OK)
        findings->shown++;
}

enum status folder_findings_end(struct folder_findings *findings, const char *folder,
                                const char *architecture)
{
    enum status status = STATUS_OK;
    int64_t more = findings->count - findings->shown;
    if (findings->count == 1)
        status = FAIL(findings->first, "%s", buffer_string(&findings->text));
    else if (findings->count > 1 && more == 0)
        status = FAIL(findings->first,
                      "%s: %" PRId64 " things do not fit %s with this config.json:\n  %s", folder,
                      findings->count, architecture, buffer_string(&findings->text));
    else if (findings->count > 1)
        status = FAIL(findings->first,
                      "%s: %" PRId64
                      " things do not fit %s with this config.json:\n  %s\n  and %" PRId64 " more",
                      folder, findings->count, architecture, buffer_string(&findings->text), more);
    if (findings->count > 0)
        buffer_free(&findings->text);
    return status;
}
