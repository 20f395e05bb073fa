#include "ops/doctor.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ops/run_folder.h"
#include "ops/screen.h"

enum { TABLE_BYTES_MAX = 16 << 20 };

/* ---- steps ---- */

static bool look_at_line(void *self, const char *path, double *value)
{
    const json_t *found = json_object_get((const json_t *)self, path);
    if (found == NULL)
        return false;
    *value = json_is_number(found) ? json_number_value(found) : NAN;
    return true;
}

/* Which of two figures is further over its limit. */
static bool is_worse(enum alert_test test, const struct alert_state *a, const struct alert_state *b)
{
    if (isnan(b->figure))
        return !isnan(a->figure);
    return test == ALERT_BELOW ? a->figure < b->figure : a->figure > b->figure;
}

static void take_rule(struct doctor *doctor, enum alert_id id, uint64_t step)
{
    const struct alert_state *state = &doctor->watch.states[id];
    const struct alert_rule *rule = &alert_rules[id];
    struct doctor_finding *finding = &doctor->findings[id];
    finding->now = state->crossed;
    if (state->crossed) {
        if (!finding->crossed) {
            uint64_t back = rule->test == ALERT_FALL || step < rule->steps ? 0 : rule->steps - 1;
            finding->since_step = step - back;
            finding->steps = back;
            finding->worst = (struct alert_state){.figure = NAN};
        }
        finding->crossed = true;
        finding->last_step = step;
        finding->steps++;
    } else if (finding->crossed) {
        return;
    }
    if (is_worse(rule->test, state, &finding->worst)) {
        finding->worst = *state;
        finding->worst_step = step;
    }
}

/* A run that rested between two attempts made no step meanwhile: the gap begins with the later attempt. */
static void skip_rest(struct doctor *doctor, double wall)
{
    for (size_t i = 0; i < doctor->attempt_count; i++)
        if (doctor->attempts[i] > doctor->watch.wall && doctor->attempts[i] < wall)
            doctor->watch.wall = doctor->attempts[i];
}

static void take_line(void *self, const json_t *line)
{
    struct doctor *doctor = self;
    const json_t *step = json_object_get(line, "step");
    if (!json_is_integer(step))
        return;
    uint64_t number = (uint64_t)json_integer_value(step);
    skip_rest(doctor, json_number_value(json_object_get(line, "wall")));
    alert_watch_step(&doctor->watch, look_at_line, (void *)(uintptr_t)line);
    doctor->first_step = doctor->steps == 0 ? number : doctor->first_step;
    doctor->last_step = number;
    doctor->steps++;
    doctor->alarms += json_object_get(line, "alarm") != NULL;
    (void)look_at_line((void *)(uintptr_t)line, "wall", &doctor->last_wall);
    for (int i = 0; i < ALERT_COUNT; i++)
        if (alert_rules[i].test != ALERT_PROCESS)
            take_rule(doctor, (enum alert_id)i, number);
}

/* When each attempt began: its settings are written then, and never again. */
static enum status read_attempts(struct doctor *doctor, const char *folder)
{
    for (unsigned n = 1; doctor->attempt_count < DOCTOR_ATTEMPTS_MAX; n++) {
        char path[FILE_PATH_MAX];
        struct stat info;
        TRY(file_path(path, "%s/logs/attempt_%u/config.resolved.yaml", folder, n));
        if (stat(path, &info) != 0)
            break;
        doctor->attempts[doctor->attempt_count++] =
            (double)info.st_mtim.tv_sec + (double)info.st_mtim.tv_nsec / 1e9;
    }
    return STATUS_OK;
}

static enum status read_steps(struct doctor *doctor, const char *folder)
{
    char path[FILE_PATH_MAX];
    struct metrics_tail tail;
    TRY(file_path(path, "%s/metrics.jsonl", folder));
    TRY(metrics_tail_open(&tail, path));
    enum status status = metrics_tail_poll(&tail, take_line, doctor);
    doctor->bad_lines = tail.bad_lines;
    metrics_tail_close(&tail);
    return status;
}

/* ---- what the supervisor saw ---- */

/* Its supervisor was killed before it could say that it is over. */
static bool is_of_earlier(const struct doctor *doctor, int64_t time_ms)
{
    return doctor->attempt_count > 0 &&
           (double)time_ms < doctor->attempts[doctor->attempt_count - 1] * 1000;
}

static void take_alarm(void *self, const json_t *line)
{
    struct doctor *doctor = self;
    const char *name = json_string_value(json_object_get(line, "name"));
    const char *text = json_string_value(json_object_get(line, "text"));
    for (int i = 0; name != NULL && i < ALERT_COUNT; i++) {
        struct doctor_finding *finding = &doctor->findings[i];
        if (strcmp(alert_rules[i].name, name) != 0)
            continue;
        int64_t time_ms = (int64_t)json_integer_value(json_object_get(line, "time_ms"));
        bool over = json_is_true(json_object_get(line, "over"));
        finding->now = !over && !is_of_earlier(doctor, time_ms);
        if (over)
            return;
        if (finding->since_ms == 0)
            finding->since_ms = time_ms;
        finding->crossed = true;
        finding->steps++;
        snprintf(finding->text, sizeof finding->text, "%s", text != NULL ? text : "");
    }
}

static enum status read_alarms(struct doctor *doctor, const char *folder)
{
    char path[FILE_PATH_MAX];
    struct metrics_tail tail;
    TRY(file_path(path, "%s/alarms.jsonl", folder));
    TRY(metrics_tail_open(&tail, path));
    enum status status = metrics_tail_poll(&tail, take_alarm, doctor);
    metrics_tail_close(&tail);
    return status;
}

/* ---- this moment ---- */

static void look_at_last_step(struct doctor *doctor, double now_s)
{
    struct doctor_finding *finding = &doctor->findings[ALERT_no_step];
    struct alert_state state = doctor->watch.states[ALERT_no_step];
    state.figure = now_s - doctor->last_wall;
    state.limit = state.threshold;
    if (!alert_is_on(ALERT_no_step, state.threshold) || !(state.figure > state.limit))
        return;
    if (!finding->crossed)
        finding->since_step = doctor->last_step;
    finding->crossed = finding->now = true;
    finding->last_step = finding->worst_step = doctor->last_step;
    finding->worst = state;
    finding->steps++;
}

static void look_at_process(struct doctor *doctor, const json_t *process)
{
    static const char *const sick[] = {"stopped", "cut off", "silent"};
    struct doctor_finding *finding = &doctor->findings[ALERT_heartbeat];
    const char *state = json_string_value(json_object_get(process, "state"));
    const char *name = json_string_value(json_object_get(process, "name"));
    double since_ms = json_number_value(json_object_get(process, "since_ms"));
    if (state != NULL && strcmp(state, "silent") == 0 &&
        since_ms < (double)doctor->settings.run.silent_s * 500)
        return; /* a step may take long */
    for (size_t i = 0; state != NULL && i < sizeof sick / sizeof sick[0]; i++) {
        if (strcmp(state, sick[i]) != 0)
            continue;
        finding->crossed = finding->now = true;
        finding->steps++;
        snprintf(finding->text, sizeof finding->text, "%s is %s", name != NULL ? name : "a process",
                 state);
    }
}

static void look_at_processes(struct doctor *doctor, const char *folder)
{
    json_t *table = NULL, *process;
    size_t i;
    if (run_folder_json(folder, "processes.json", TABLE_BYTES_MAX, &table) != STATUS_OK)
        return; /* a run of an older weir, or of another machine */
    json_array_foreach(json_object_get(table, "processes"), i, process)
        look_at_process(doctor, process);
    json_decref(table);
}

/* ---- the whole ---- */

static enum status read_settings(struct doctor *doctor, const char *folder)
{
    char path[FILE_PATH_MAX];
    struct config *config = NULL;
    TRY(file_path(path, "%s/config.resolved.yaml", folder));
    const char *files[] = {path};
    struct config_input input = {.files = files, .file_count = 1};
    TRY(config_load(&config, settings_sections, settings_section_count, &input, &doctor->settings));
    alert_watch_init(&doctor->watch, &doctor->settings);
    config_destroy(&config);
    return STATUS_OK;
}

enum status doctor_read(struct doctor *doctor, const char *folder, bool running, double now_s)
{
    *doctor = (struct doctor){.last_wall = NAN};
    for (int i = 0; i < ALERT_COUNT; i++)
        doctor->findings[i].worst.figure = NAN;
    TRY(read_settings(doctor, folder));
    TRY(read_attempts(doctor, folder));
    TRY(read_steps(doctor, folder));
    TRY(read_alarms(doctor, folder));
    if (running) {
        look_at_last_step(doctor, now_s);
        look_at_processes(doctor, folder);
        return STATUS_OK;
    }
    for (int i = 0; i < ALERT_COUNT; i++) /* nothing of a run that is over goes on */
        if (alert_rules[i].watcher == ALERT_BY_SUPERVISOR)
            doctor->findings[i].now = false;
    return STATUS_OK;
}

unsigned doctor_crossed(const struct doctor *doctor)
{
    unsigned count = 0;
    for (int i = 0; i < ALERT_COUNT; i++)
        count += doctor->findings[i].crossed;
    return count;
}
