/* core/log.h - one line per event: time level role rank version module text key=value...
 *
 *     LOG_INFO("ledger", "opened", "path=%s records=%" PRIu64, path, count);
 *
 * Goes to stderr in one write(2) (and the launcher sends stderr to logs/). No token text at
 * info level. Each call site is limited to 20 lines a second; what was held back is
 * counted on its next line. Any thread. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_site { /* one static per call site */
    _Atomic int64_t window_ns;
    _Atomic uint32_t lines;
    _Atomic uint32_t held;
};

void log_init(const char *role, uint32_t rank, enum log_level least); /* role is copied */
void log_set_version(uint64_t policy_version);                        /* shown on every line */
/* Lines go there, each as a whole, instead of to stderr. Before there are threads. */
void log_set_writer(void (*writer)(const char *line, size_t size));
void log_line(struct log_site *site, enum log_level level, const char *module, const char *text,
              const char *fmt, ...) PRINTF_LIKE(5, 6);

#define LOG_AT(level, module, text, ...)                              \
    do {                                                              \
        static struct log_site log_site_;                             \
        log_line(&log_site_, (level), (module), (text), __VA_ARGS__); \
    } while (0)
#define LOG_DEBUG(module, text, ...) LOG_AT(LOG_LEVEL_DEBUG, module, text, __VA_ARGS__)
#define LOG_INFO(module, text, ...)  LOG_AT(LOG_LEVEL_INFO, module, text, __VA_ARGS__)
#define LOG_WARN(module, text, ...)  LOG_AT(LOG_LEVEL_WARN, module, text, __VA_ARGS__)
#define LOG_ERROR(module, text, ...) LOG_AT(LOG_LEVEL_ERROR, module, text, __VA_ARGS__)
/* The last error of this thread as an error line. */
#define LOG_FAILURE(module, text, status) \
    LOG_ERROR(module, text, "status=%s why=\"%s\"", status_name(status), status_last_error())

#endif
