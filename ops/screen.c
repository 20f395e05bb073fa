#include "ops/screen.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"

enum {
    READ_CHUNK = 65536,
    LINE_BYTES_MAX = 1 << 20,
    QUIET_MS = 5000,         /* without a step: say what it waits for */
    WAIT_TERMINAL_MS = 1000, /* and again */
    WAIT_PLAIN_MS = 10000,
    SPARK_COLUMNS = 24,
    COLUMNS_DEFAULT = 500, /* of a file: no limit but the sparkline's own */
    CHART_COLUMNS = 64,
    CHART_ROWS = 10,
};

/* ---- metrics.jsonl ---- */

enum status metrics_tail_open(struct metrics_tail *tail, const char *path)
{
    *tail = (struct metrics_tail){0};
    buffer_init(&tail->part, LINE_BYTES_MAX + READ_CHUNK);
    return file_path(tail->path, "%s", path);
}

void metrics_tail_close(struct metrics_tail *tail)
{
    buffer_free(&tail->part);
}

static void take_lines(struct metrics_tail *tail, metrics_line_fn take, void *self)
{
    size_t from = 0;
    for (;;) {
        const uint8_t *end = from < tail->part.size
                                 ? memchr(tail->part.bytes + from, '\n', tail->part.size - from)
                                 : NULL;
        if (end == NULL)
            break;
        size_t size = (size_t)(end - (tail->part.bytes + from));
        json_t *object = json_loadb((const char *)tail->part.bytes + from, size, 0, NULL);
        if (json_is_object(object))
            take(self, object);
        else
            tail->bad_lines += size > 0;
        json_decref(object);
        from += size + 1;
    }
    if (tail->part.size - from > LINE_BYTES_MAX) { /* no line is that long: skip what there is */
        tail->bad_lines++;
        from = tail->part.size;
    }
    if (from > 0)
        memmove(tail->part.bytes, tail->part.bytes + from, tail->part.size - from);
    tail->part.size -= from;
}

static void begin_anew(struct metrics_tail *tail, ino_t inode)
{
    tail->inode = inode;
    tail->offset = 0;
    buffer_clear(&tail->part);
}

enum status metrics_tail_poll(struct metrics_tail *tail, metrics_line_fn take, void *self)
{
    int fd = open(tail->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return STATUS_OK;
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: %s", tail->path, strerror(errno));
    enum status status = STATUS_OK;
    struct stat info = {0};
    bool known = fstat(fd, &info) == 0 && info.st_ino == tail->inode;
    if (!known || info.st_size < tail->offset)
        begin_anew(tail, info.st_ino);
    while (tail->stop == NULL || !atomic_load(tail->stop)) {
        TRY_GOTO(out, buffer_reserve(&tail->part, READ_CHUNK));
        ssize_t got =
            pread(fd, tail->part.bytes + tail->part.size, READ_CHUNK, (off_t)tail->offset);
        if (got <= 0)
            break;
        tail->part.size += (size_t)got;
        tail->offset += got;
        take_lines(tail, take, self);
    }
out:
    close(fd);
    return status;
}

/* ---- lines ---- */

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* The first of two names that the object has. */
static double number_of_either(const json_t *object, const char *key, const char *other)
{
    double value = number_of(object, key);
    return isnan(value) && other != NULL ? number_of(object, other) : value;
}

/* One row: names of the metric, what stands before and after it, significant digits (negative: decimals). */
static const struct step_part {
    const char *key, *other;
    const char *before, *after;
    int digits;
} step_parts[] = {
    {"reward/mean", NULL, "  reward ", "", -3},
    {"len/mean", NULL, "  len ", "", 4},
    {"len/p99", NULL, " p99 ", "", 4},
    {"entropy/mean", NULL, "  entropy ", "", 3},
    {"cispo/clip_frac", NULL, "  clip ", "", 2},
    {"optim/grad_norm", NULL, "  grad ", "", 3},
    {"mismatch/max_abs_dlogprob", NULL, "  mismatch ", "", 3},
    {"mismatch/tokens", NULL, " of ", " tokens", 9},
    {"stale/mean", NULL, "  stale ", "", 2},
    {"group/zero_std_frac", NULL, "  zero-std ", "", 2},
    {"perf/tok_s", "tok_s", "  ", " tok/s", 6},
    {"time/step", "time/step_s", "  ", " s", 3},
};

enum status step_line(const json_t *object, uint64_t steps, struct buffer *text)
{
    double step = number_of_either(object, "step", "version");
    TRY(buffer_printf(text, "step %.0f", isnan(step) ? 0 : step));
    if (steps > 0)
        TRY(buffer_printf(text, "/%" PRIu64, steps));
    for (size_t i = 0; i < sizeof step_parts / sizeof step_parts[0]; i++) {
        const struct step_part *part = &step_parts[i];
        double value = number_of_either(object, part->key, part->other);
        if (isnan(value))
            continue;
        char number[40];
        if (part->digits < 0)
            snprintf(number, sizeof number, "%.*f", -part->digits, value);
        else if (part->digits >= 6 && value >= 100)
            snprintf(number, sizeof number, "%.0f", value);
        else
            snprintf(number, sizeof number, "%.*g", part->digits, value);
        TRY(buffer_printf(text, "%s%s%s", part->before, number, part->after));
    }
    double wait = number_of(object, "learner/wait_s");
    double whole = number_of_either(object, "time/step", "time/step_s");
    if (wait >= 0 && whole > 0)
        TRY(buffer_printf(text, "  learner waited %.0f%%", 100 * fmin(1, wait / whole)));
    return STATUS_OK;
}

enum status waiting_line(const char *status_json, struct buffer *text)
{
    static const struct {
        const char *key, *after;
    } rows[] = {
        {"groups_open", " groups open"},
        {"groups_eligible", " groups ready"},
        {"rollouts_finished", " rollouts finished"},
        {"rollouts_scored", " scored"},
        {"tokens", " tokens"},
    };
    json_t *status = status_json != NULL ? json_loads(status_json, 0, NULL) : NULL;
    if (status == NULL)
        return buffer_text(text, "waiting for the store's first answer");
    const json_t *counters = json_object_get(status, "counters");
    enum status result = buffer_text(text, "waiting for the next step");
    const char *between = ": ";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && result == STATUS_OK; i++) {
        double value = number_of(status, rows[i].key);
        if (isnan(value) && json_is_object(counters))
            value = number_of(counters, rows[i].key);
        if (isnan(value))
            continue;
        result = buffer_printf(text, "%s%.0f%s", between, value, rows[i].after);
        between = ", ";
    }
    json_decref(status);
    return result;
}

/* ---- the screen ---- */

static void find_terminal(struct screen *screen)
{
    struct winsize size;
    screen->terminal = isatty(STDOUT_FILENO) == 1;
    screen->columns = COLUMNS_DEFAULT;
    if (screen->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        screen->columns = size.ws_col;
    setlocale(LC_CTYPE, "");
    screen->unicode = screen->terminal && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static enum status add_spark(const struct screen *screen, struct buffer *line)
{
    size_t room = screen->columns > line->size + 2 ? screen->columns - line->size - 2 : 0;
    if (room == 0)
        return STATUS_OK;
    TRY(buffer_text(line, "  "));
    return curve_line(&screen->curve, room < SPARK_COLUMNS ? room : SPARK_COLUMNS, screen->unicode,
                      line);
}

static void take_metrics(void *self, const json_t *object)
{
    struct screen *screen = self;
    double step = number_of_either(object, "step", "version");
    double reward = number_of(object, "reward/mean");
    if (isnan(step) || step < 0)
        return;
    screen->lines_seen += screen->counting;
    if (screen->counting && (uint64_t)step <= screen->last_step)
        return; /* made again after the learner came back from a checkpoint: shown already */
    curve_add(&screen->curve, (uint64_t)step, reward);
    screen->last_step = (uint64_t)step;
    if (!screen->counting) {
        screen->steps_before++;
        return;
    }
    screen->steps_seen++;
    screen->last_step_ns = clock_now_ns();
    if (screen->quiet)
        return;
    struct buffer line;
    buffer_init(&line, 0);
    if (step_line(object, screen->steps_wanted, &line) == STATUS_OK) {
        if (add_spark(screen, &line) == STATUS_OK)
            screen_say(screen, buffer_string(&line));
    }
    buffer_free(&line);
}

enum status screen_open(struct screen *screen, const char *metrics_path, uint64_t steps_wanted,
                        uint64_t checkpoint, bool quiet)
{
    *screen = (struct screen){.steps_wanted = steps_wanted, .quiet = quiet};
    TRY(metrics_tail_open(&screen->tail, metrics_path));
    TRY(metrics_tail_poll(&screen->tail, take_metrics, screen)); /* of earlier attempts */
    if (screen->last_step > checkpoint) { /* steps after it are made again, and shown */
        uint64_t again = screen->last_step - checkpoint;
        screen->steps_before -= again < screen->steps_before ? again : screen->steps_before;
        screen->last_step = checkpoint;
    }
    screen->counting = true;
    screen->begin_ns = clock_now_ns();
    return STATUS_OK;
}

void screen_begin(struct screen *screen)
{
    find_terminal(screen);
    screen->last_step_ns = screen->last_wait_ns = clock_now_ns();
}

void screen_close(struct screen *screen)
{
    if (screen->waiting_shown)
        printf("\n");
    screen->waiting_shown = false;
    fflush(stdout);
    metrics_tail_close(&screen->tail);
}

void screen_say(struct screen *screen, const char *line)
{
    if (screen->waiting_shown)
        printf("\r\033[K");
    screen->waiting_shown = false;
    printf("%s\n", line);
    fflush(stdout);
}

static void show_waiting(struct screen *screen, int64_t now_ns, const char *text)
{
    char line[256];
    snprintf(line, sizeof line, "%s  (%lld s)", text,
             (long long)((now_ns - screen->last_step_ns) / CLOCK_NS_PER_S));
    if (!screen->terminal) {
        screen_say(screen, line);
        return;
    }
    if (screen->columns > 1 && strlen(line) >= screen->columns)
        line[screen->columns < sizeof line ? screen->columns - 1 : sizeof line - 1] = 0;
    printf("\r\033[K%s", line);
    fflush(stdout);
    screen->waiting_shown = true;
}

void screen_tick(struct screen *screen, int64_t now_ns, const char *(*waiting)(void *self),
                 void *self)
{
    if (metrics_tail_poll(&screen->tail, take_metrics, screen) != STATUS_OK)
        fprintf(stderr, "weir: %s\n", status_last_error());
    int64_t pause_ms = screen->terminal ? WAIT_TERMINAL_MS : WAIT_PLAIN_MS;
    if (screen->last_wait_ns < screen->last_step_ns) /* nothing said since the last step */
        screen->last_wait_ns = screen->last_step_ns + (QUIET_MS - pause_ms) * CLOCK_NS_PER_MS;
    if (screen->quiet || waiting == NULL ||
        now_ns - screen->last_step_ns < (int64_t)QUIET_MS * CLOCK_NS_PER_MS ||
        now_ns - screen->last_wait_ns < pause_ms * CLOCK_NS_PER_MS)
        return;
    screen->last_wait_ns = now_ns;
    show_waiting(screen, now_ns, waiting(self));
}

void screen_summary(struct screen *screen, const char *name, const char *folder)
{
    struct buffer text;
    buffer_init(&text, 0);
    double seconds = (double)(clock_now_ns() - screen->begin_ns) / (double)CLOCK_NS_PER_S;
    enum status status;
    if (screen->curve.count > 1) {
        TRY_GOTO(out, buffer_text(&text, "\nmean reward\n"));
        TRY_GOTO(out, curve_chart(&screen->curve, CHART_COLUMNS, CHART_ROWS, &text));
    }
    TRY_GOTO(out, buffer_printf(&text, "\n%s: %" PRIu64 " steps in %.1f s", name,
                                screen->steps_seen, seconds));
    if (screen->steps_before > 0)
        TRY_GOTO(out, buffer_printf(&text, " after %" PRIu64 " of earlier attempts",
                                    screen->steps_before));
    if (screen->curve.count > 0)
        TRY_GOTO(out, buffer_printf(&text, ", mean reward %.3f -> %.3f", screen->curve.first,
                                    screen->curve.last));
    TRY_GOTO(out, buffer_printf(&text, "\nmetrics    %s\nlogs       %s/logs/latest",
                                screen->tail.path, folder));
out:
    if (status == STATUS_OK)
        screen_say(screen, buffer_string(&text));
    buffer_free(&text);
}
