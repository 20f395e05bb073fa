#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

enum { LOG_LINE_BYTES = 2048, LOG_ROLE_BYTES = 32 };
enum { LOG_RATE_PER_S = 20 };

/* Written by log_init before other threads exist, read by all. */
static char log_role[LOG_ROLE_BYTES] = "weir";
static uint32_t log_rank;
static enum log_level log_least = LOG_LEVEL_INFO;
static _Atomic uint64_t log_version;
static void (*log_writer)(const char *line, size_t size); /* NULL: stderr; set as log_role is */

void log_init(const char *role, uint32_t rank, enum log_level least)
{
    snprintf(log_role, sizeof log_role, "%s", role);
    log_rank = rank;
    log_least = least;
}

void log_set_writer(void (*writer)(const char *line, size_t size))
{
    log_writer = writer;
}

void log_set_version(uint64_t policy_version)
{
    atomic_store_explicit(&log_version, policy_version, memory_order_relaxed);
}

/* True when the line may go out; *held is then the number of lines kept back before it. Two threads
 * that open a window together may let a few lines more through, which does no harm. */
static int site_admits(struct log_site *site, uint32_t *held)
{
    int64_t now_ns = clock_now_ns();
    int64_t window_ns = atomic_load_explicit(&site->window_ns, memory_order_relaxed);
    *held = 0;
    if (window_ns == 0 || now_ns - window_ns >= CLOCK_NS_PER_S) {
        if (atomic_compare_exchange_strong(&site->window_ns, &window_ns, now_ns))
            atomic_store_explicit(&site->lines, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&site->lines, 1, memory_order_relaxed) >= LOG_RATE_PER_S) {
        atomic_fetch_add_explicit(&site->held, 1, memory_order_relaxed);
        return 0;
    }
    *held = atomic_exchange_explicit(&site->held, 0, memory_order_relaxed);
    return 1;
}

static size_t format_head(char line[LOG_LINE_BYTES], enum log_level level, const char *module,
                          const char *text)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    int64_t wall_ns = clock_wall_ns();
    time_t seconds = (time_t)(wall_ns / CLOCK_NS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char when[32];
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    int used = snprintf(
        line, LOG_LINE_BYTES, "%s.%03dZ %s %s.%u v%llu %s %s ", when,
        (int)(wall_ns % CLOCK_NS_PER_S / CLOCK_NS_PER_MS), names[level], log_role,
        (unsigned)log_rank,
        (unsigned long long)atomic_load_explicit(&log_version, memory_order_relaxed), module, text);
    return used < 0 ? 0 : used < LOG_LINE_BYTES ? (size_t)used : LOG_LINE_BYTES - 1;
}

void log_line(struct log_site *site, enum log_level level, const char *module, const char *text,
              const char *fmt, ...)
{
    uint32_t held;
    if (level < log_least || !site_admits(site, &held))
        return;
    char line[LOG_LINE_BYTES];
    char tail[48] = "\n";
    if (held > 0)
        snprintf(tail, sizeof tail, " held=%u\n", (unsigned)held);
    size_t tail_size = strlen(tail);
    size_t size = format_head(line, level, module, text);
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(line + size, sizeof line - size, fmt, args);
    va_end(args);
    size += wanted > 0 ? (size_t)wanted : 0;
    if (size > sizeof line - tail_size - 4) { /* cut, and say so */
        size = sizeof line - tail_size - 4;
        memcpy(line + size, "...", 3);
        size += 3;
    }
    for (size_t i = 0; i < size; i++) /* one event is one line, whatever the values hold */
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    while (size > 0 && line[size - 1] == ' ')
        size--;
    memcpy(line + size, tail, tail_size);
    if (log_writer != NULL) {
        log_writer(line, size + tail_size);
        return;
    }
    ssize_t wrote = write(STDERR_FILENO, line, size + tail_size);
    (void)wrote; /* nowhere left to complain to */
}
