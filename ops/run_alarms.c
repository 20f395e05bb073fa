#include "ops/run_alarms.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

/* ---- saying it ---- */

static enum status put_line(const char *name, const char *text, bool over, int64_t time_ms,
                            struct buffer *line)
{
    TRY(buffer_printf(line, "{\"time_ms\":%" PRId64 ",\"name\":\"%s\",\"over\":%s,\"text\":",
                      time_ms, name, over ? "true" : "false"));
    TRY(buffer_json_text(line, text));
    return buffer_text(line, "}\n");
}

/* Whole or not at all: half a line would spoil the next one, too. */
static bool write_whole(int fd, const struct buffer *line)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return false;
    ssize_t written = write(fd, line->bytes, line->size);
    if (written == (ssize_t)line->size)
        return true;
    int error = written < 0 ? errno : ENOSPC;
    if (written > 0 && ftruncate(fd, info.st_size) != 0)
        error = errno;
    errno = error;
    return false;
}

/* A line that cannot be written, as on a full disk, is missing: the alarm was said. */
static enum status append(const char *folder, const struct buffer *line)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/alarms.jsonl", folder));
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    bool written = fd >= 0 && write_whole(fd, line);
    int error = errno;
    if (fd >= 0)
        close(fd);
    return written ? STATUS_OK : FAIL(STATUS_IO, "%s: %s", path, strerror(error));
}

static enum status put_event(const char *kind, const char *text, int64_t time_ms,
                             struct buffer *event)
{
    TRY(buffer_printf(event, "{\"time_ms\":%" PRId64 ",\"kind\":\"%s\",\"text\":", time_ms, kind));
    TRY(buffer_json_text(event, text));
    return buffer_text(event, "}");
}

static void publish(struct run_alarms *alarms, const char *kind, const char *text, int64_t time_ms)
{
    struct buffer event;
    buffer_init(&event, 0);
    enum status status = put_event(kind, text, time_ms, &event);
    if (status == STATUS_OK && alarms->redis != NULL)
        redis_view_stream(alarms->redis, "events", buffer_string(&event), REDIS_EVENTS_KEPT);
    buffer_free(&event);
}

/* Appends the line that was made; that it failed is said once. */
static void keep(struct run_alarms *alarms, enum status made, const struct buffer *line)
{
    enum status status = made == STATUS_OK ? append(alarms->folder, line) : made;
    if (status != STATUS_OK && !alarms->write_failed)
        LOG_FAILURE("alarm", "is missing in alarms.jsonl", status);
    alarms->write_failed = status != STATUS_OK;
}

static void tell(struct run_alarms *alarms, enum alert_id id, const char *text, bool over)
{
    struct buffer line;
    char said[ALERT_SENTENCE_MAX + 32];
    int64_t time_ms = clock_wall_ns() / CLOCK_NS_PER_MS;
    snprintf(said, sizeof said, "alarm%s: %s", over ? " over" : "", text);
    if (alarms->say != NULL)
        alarms->say(alarms->self, said);
    publish(alarms, over ? "alarm over" : "alarm", text, time_ms);
    buffer_init(&line, 0);
    keep(alarms, put_line(alert_rules[id].name, text, over, time_ms, &line), &line);
    buffer_free(&line);
}

void run_alarms_death(struct run_alarms *alarms, const char *text)
{
    struct buffer line;
    int64_t time_ms = clock_wall_ns() / CLOCK_NS_PER_MS;
    publish(alarms, "death", text, time_ms);
    buffer_init(&line, 0);
    enum status status = put_event("death", text, time_ms, &line);
    if (status == STATUS_OK)
        status = buffer_text(&line, "\n");
    keep(alarms, status, &line);
    buffer_free(&line);
}

/* ---- reading it ---- */

json_t *run_alarms_event(const json_t *line)
{
    const json_t *text = json_object_get(line, "text"),
                 *kind = json_object_get(line, "kind"); /* a death has one */
    bool over = json_is_true(json_object_get(line, "over"));
    if (!json_is_string(text))
        return NULL;
    return json_pack("{s:I,s:s,s:O}", "time_ms",
                     json_integer_value(json_object_get(line, "time_ms")), "kind",
                     json_is_string(kind) ? json_string_value(kind)
                     : over               ? "alarm over"
                                          : "alarm",
                     "text", text);
}

json_t *run_alarms_of_step(const json_t *line)
{
    const json_t *text = json_object_get(line, "alarm");
    double wall_ms = json_number_value(json_object_get(line, "wall")) * 1000;
    if (!json_is_string(text))
        return NULL;
    return json_pack("{s:I,s:s,s:O}", "time_ms", (json_int_t)round(wall_ms), "kind", "alarm",
                     "text", text);
}

/* ---- raising it ---- */

void run_alarms_set(struct run_alarms *alarms, enum alert_id id, bool crossed, const char *text)
{
    if (crossed == alarms->raised[id])
        return;
    alarms->raised[id] = crossed;
    tell(alarms, id, crossed ? text : alert_rules[id].name, !crossed);
}

static void set_figure(struct run_alarms *alarms, enum alert_id id, double figure, bool crossed)
{
    double threshold = alert_threshold(id, alarms->settings);
    struct alert_state state = {
        .threshold = threshold, .figure = figure, .limit = threshold, .row = 1};
    char sentence[ALERT_SENTENCE_MAX];
    alert_sentence(id, &state, sentence);
    run_alarms_set(alarms, id, crossed && alert_is_on(id, threshold), sentence);
}

/* ---- looking ---- */

/* Attention time, so that a suspended machine has not been slow. */
static void look_at_steps(struct run_alarms *alarms, const struct run_alarm_view *view)
{
    int64_t clock_ns = view->watch->clock_ns;
    if (view->steps != alarms->steps || alarms->step_clock_ns == 0 || !view->running) {
        alarms->steps = view->steps;
        alarms->step_clock_ns = clock_ns;
    }
    double seconds = (double)(clock_ns - alarms->step_clock_ns) / CLOCK_NS_PER_S;
    set_figure(alarms, ALERT_no_step, seconds, seconds > alarms->settings->alerts.no_step_s);
}

static void look_at_disk(struct run_alarms *alarms, int64_t now_ns)
{
    struct statvfs info;
    if (now_ns < alarms->disk_ns)
        return;
    alarms->disk_ns = clock_after_ms(now_ns, RUN_ALARM_DISK_MS);
    if (statvfs(alarms->folder, &info) != 0 || info.f_blocks == 0)
        return;
    double share = (double)info.f_bavail / (double)info.f_blocks;
    set_figure(alarms, ALERT_disk, share, share < alarms->settings->alerts.disk_free);
}

/* A store that was started again, or groups that are scored again, begin a new window. */
static void look_at_scores(struct run_alarms *alarms, const char *status_json)
{
    json_t *status = status_json != NULL ? json_loads(status_json, 0, NULL) : NULL;
    const json_t *counters = json_object_get(status, "counters");
    const json_t *scored = json_object_get(counters, "rollouts_scored");
    uint64_t good = (uint64_t)json_integer_value(scored),
             bad = (uint64_t)json_integer_value(json_object_get(counters, "scores_retried"));
    bool known = json_is_integer(scored);
    json_decref(status);
    if (!known)
        return;
    if (good < alarms->scored || bad < alarms->retried) {
        alarms->scored = good;
        alarms->retried = bad;
    }
    uint64_t answers = good - alarms->scored + bad - alarms->retried;
    if (answers < RUN_ALARM_SCORES)
        return;
    double share = (double)(bad - alarms->retried) / (double)answers;
    alarms->scored = good;
    alarms->retried = bad;
    set_figure(alarms, ALERT_errored, share, share > alarms->settings->alerts.errored);
}

/* A learner in a step and a worker in a long call say nothing for long, so silence counts from half of what it may last. */
static int64_t patience_ms(const struct settings *settings, const char *wrong)
{
    return strcmp(wrong, "silent") == 0 ? (int64_t)settings->run.silent_s * 500 : WATCH_SAY_MS;
}

static void look_at_processes(struct run_alarms *alarms, const struct run_alarm_view *view)
{
    char sentence[ALERT_SENTENCE_MAX] = "";
    bool crossed = false;
    for (size_t i = 0; i < view->count && !crossed && view->running; i++) {
        const struct process *process = &view->processes[i];
        int64_t since_ms = 0;
        const char *wrong = process->pid > 0 ? watch_wrong(view->watch, process, &since_ms) : NULL;
        crossed = wrong != NULL && since_ms >= patience_ms(alarms->settings, wrong);
        if (crossed)
            snprintf(sentence, sizeof sentence, "heartbeat: %s (pid %ld) is %s: %s", process->name,
                     (long)process->pid, wrong, alert_rules[ALERT_heartbeat].means);
    }
    run_alarms_set(alarms, ALERT_heartbeat, crossed, sentence);
}

void run_alarms_tick(struct run_alarms *alarms, const struct run_alarm_view *view, int64_t now_ns)
{
    if (now_ns < alarms->next_ns)
        return;
    alarms->next_ns = clock_after_ms(now_ns, RUN_ALARM_EVERY_MS);
    look_at_steps(alarms, view);
    look_at_disk(alarms, now_ns);
    look_at_scores(alarms, view->status_json);
    look_at_processes(alarms, view);
}
