/* reward/swe/log_formats.h - what test programs print, as outcomes: pytest (-v, -rA), unittest -v, go test -v, cargo test,
 * TAP. Pure. */
#ifndef REWARD_SWE_LOG_FORMATS_H
#define REWARD_SWE_LOG_FORMATS_H

#include <jansson.h>
#include <stddef.h>

/* Adds test -> "PASSED", "FAILED", "ERROR", "SKIPPED" or "XFAIL"; of two words about one test the worse stays. */
void log_read(json_t *outcomes, const char *text, size_t size);

#endif
