#include "ops/top_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct top_curve_row top_curve_rows[TOP_CURVES] = {
    {"reward/mean", "reward"},    {"len/mean", "length"},
    {"entropy/mean", "entropy"},  {"cispo/clip_frac", "clip"},
    {"optim/grad_norm", "grad"},  {"mismatch/max_abs_dlogprob", "mismatch"},
    {"stale/mean", "stale"},      {"group/zero_std_frac", "zero-std"},
    {"perf/tok_s", "tok/s"},      {"time/step", "step s"},
    {"learner/wait_s", "wait s"}, {"len/p99", "len p99"},
};

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Foreign text in one line of printable ASCII: what is wider than a column, or moves the cursor, becomes '?'. */
static void take_text(char *out, size_t size, const char *text)
{
    size_t used = 0;
    for (; text != NULL && *text != 0 && used + 1 < size; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte >= 0x80 && byte < 0xc0)
            continue; /* inside a character */
        out[used++] = byte == '\n' || byte == '\t' ? ' ' : byte < 0x20 || byte > 0x7e ? '?' : *text;
    }
    out[used] = 0;
}

static void take_member(char *out, size_t size, const json_t *object, const char *key)
{
    take_text(out, size, json_string_value(json_object_get(object, key)));
}

void top_view_free(struct top_view *view)
{
    json_decref(view->counters);
    json_decref(view->last);
    view->counters = view->last = NULL;
}

/* ---- metrics ---- */

void top_view_metrics(void *self, const json_t *line)
{
    struct top_view *view = self;
    double step = number(line, "step"), wall = number(line, "wall");
    if (isnan(step) || step < 0)
        return;
    json_decref(view->last);
    view->last = json_deep_copy(line);
    view->step = step;
    for (size_t i = 0; i < TOP_CURVES; i++) {
        double value = number(line, top_curve_rows[i].metric);
        if (!isnan(value))
            curve_add(&view->curves[i], (uint64_t)step, value);
    }
    if (isnan(wall))
        return;
    size_t at = view->wall_count++ % TOP_WALLS;
    view->walls[at] = wall;
    view->wall_steps[at] = step;
}

double top_view_pace(struct top_view *view)
{
    size_t have = view->wall_count < TOP_WALLS ? view->wall_count : TOP_WALLS;
    view->eta_s = NAN;
    if (have < 2)
        return 0;
    size_t last = (view->wall_count - 1) % TOP_WALLS;
    size_t first = view->wall_count < TOP_WALLS ? 0 : view->wall_count % TOP_WALLS;
    double steps = view->wall_steps[last] - view->wall_steps[first];
    double seconds = view->walls[last] - view->walls[first];
    if (!(steps > 0) || !(seconds > 0))
        return 0; /* a learner that came back from a checkpoint */
    if (view->steps >= view->step)
        view->eta_s = (view->steps - view->step) * seconds / steps;
    return steps / seconds;
}

/* ---- processes ---- */

static struct top_process *find_process(struct top_view *view, const char *name)
{
    for (size_t i = 0; i < view->process_count; i++)
        if (strcmp(view->processes[i].name, name) == 0)
            return &view->processes[i];
    return NULL;
}

static struct top_process *add_process(struct top_view *view, const char *name)
{
    if (view->process_count == TOP_PROCESSES_MAX)
        return NULL;
    struct top_process *process = &view->processes[view->process_count++];
    *process = (struct top_process){.up_s = NAN,
                                    .restarts = NAN,
                                    .version = NAN,
                                    .lag = NAN,
                                    .work = NAN,
                                    .room = NAN,
                                    .tokens_s = NAN,
                                    .idle = NAN};
    take_text(process->name, sizeof process->name, name);
    return process;
}

static bool is_fine(const char *state)
{
    return strcmp(state, "running") == 0 || strcmp(state, "out") == 0 ||
           strcmp(state, "ended") == 0 || strcmp(state, "joining") == 0 ||
           strcmp(state, "leaving") == 0;
}

static void add_row(struct top_view *view, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    struct top_process *process = name != NULL ? add_process(view, name) : NULL;
    if (process == NULL)
        return;
    take_member(process->state, sizeof process->state, row, "state");
    take_member(process->end, sizeof process->end, row, "end");
    take_member(process->http, sizeof process->http, row, "http");
    take_member(process->host, sizeof process->host, row, "node"); /* until it says where it is */
    process->pid = (long)json_integer_value(json_object_get(row, "pid"));
    process->restarts = number(row, "restarts");
    process->sick = !is_fine(process->state);
}

/* The first that the object has. */
static double number_of_any(const json_t *object, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double value = number(object, keys[i]);
        if (!isnan(value))
            return value;
    }
    return NAN;
}

static void add_peer(struct top_view *view, const json_t *peer, double newest)
{
    static const char *const rates[] = {"actor/tokens_per_s", "perf/tok_s", "learner/tokens_per_s"};
    static const char *const works[] = {"leases", "scoring"}, *const rooms[] = {"slots", "credit"};
    const char *role = json_string_value(json_object_get(peer, "role"));
    const json_t *stats = json_object_get(peer, "stats");
    char name[48];
    snprintf(name, sizeof name, "%.30s.%" JSON_INTEGER_FORMAT, role != NULL ? role : "?",
             json_integer_value(json_object_get(peer, "index")));
    struct top_process *process = find_process(view, name);
    bool connected = !json_is_false(json_object_get(peer, "connected"));
    bool foreign = process == NULL; /* of another machine */
    if (foreign)
        process = add_process(view, name);
    if (process == NULL)
        return;
    if (foreign) {
        snprintf(process->state, sizeof process->state, connected ? "running" : "cut off");
        process->pid = (long)json_integer_value(json_object_get(peer, "pid"));
        process->sick = !connected;
    }
    take_member(process->host, sizeof process->host, stats, "host");
    take_member(process->device, sizeof process->device, stats, "device");
    if (process->http[0] == 0)
        take_member(process->http, sizeof process->http, stats, "http");
    process->up_s = connected ? number(peer, "up_ms") / 1000 : NAN;
    process->version = role != NULL && strcmp(role, "reward") == 0 ? NAN : number(peer, "version");
    process->lag = role != NULL && strcmp(role, "actor") == 0 ? newest - process->version : NAN;
    process->work = number_of_any(peer, works, 2);
    process->room = number_of_any(peer, rooms, 2);
    process->tokens_s = number_of_any(stats, rates, sizeof rates / sizeof rates[0]);
    process->idle = number(stats, "actor/idle_frac");
}

/* Sick ones first, the rest as they were: they must be seen whatever the height of the screen. */
static void sick_first(struct top_view *view)
{
    for (size_t i = 1; i < view->process_count; i++) {
        struct top_process moved = view->processes[i];
        size_t at = i;
        if (!moved.sick)
            continue;
        for (; at > 0 && !view->processes[at - 1].sick; at--)
            view->processes[at] = view->processes[at - 1];
        view->processes[at] = moved;
    }
}

void top_view_processes(struct top_view *view, const json_t *status, const json_t *table)
{
    size_t i;
    const json_t *row;
    view->process_count = 0;
    json_array_foreach(json_object_get(table, "processes"), i, row) add_row(view, row);
    double newest = number(status, "version");
    json_array_foreach(json_object_get(status, "peers"), i, row) add_peer(view, row, newest);
    struct top_process *learner = find_process(view, "learner.0");
    if (learner != NULL) {
        learner->tokens_s = number(view->last, "perf/tok_s");
        double wait = number(view->last, "learner/wait_s"), step = number(view->last, "time/step");
        learner->idle = step > 0 ? fmin(1, wait / step) : NAN;
    }
    sick_first(view);
    view->attempt = number(table, "attempt");
    json_decref(view->counters);
    view->counters = json_incref(json_object_get(status, "counters"));
    double steps = number(status, "steps");
    if (steps > 0)
        view->steps = steps;
}

void top_view_alarms(struct top_view *view, const json_t *answer)
{
    const json_t *events = json_object_get(answer, "events");
    view->alarm_count = 0;
    for (size_t i = json_array_size(events); i-- > 0 && view->alarm_count < TOP_ALARMS;) {
        const json_t *event = json_array_get(events, i);
        const char *kind = json_string_value(json_object_get(event, "kind"));
        if (kind == NULL || strcmp(kind, "alarm") != 0)
            continue;
        struct top_alarm *alarm = &view->alarms[view->alarm_count++];
        double when = number(event, "time_ms");
        if (isnan(when))
            when = number(event, "wall_ms");
        alarm->wall_ms = isnan(when) ? 0 : (int64_t)when;
        take_member(alarm->text, sizeof alarm->text, event, "text");
    }
}

/* ---- as JSON ---- */

static void set_number(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

static json_t *process_json(const struct top_process *process)
{
    json_t *row = json_pack("{s:s,s:I,s:s,s:b,s:s,s:s,s:s,s:s}", "name", process->name, "pid",
                            (json_int_t)process->pid, "state", process->state, "sick",
                            (int)process->sick, "host", process->host, "device", process->device,
                            "http", process->http, "end", process->end);
    set_number(row, "up_s", process->up_s);
    set_number(row, "restarts", process->restarts);
    set_number(row, "version", process->version);
    set_number(row, "lag", process->lag);
    set_number(row, "work", process->work);
    set_number(row, "room", process->room);
    set_number(row, "tokens_per_s", process->tokens_s);
    set_number(row, "idle", process->idle);
    return row;
}

json_t *top_view_json(const struct top_view *view)
{
    json_t *page = json_pack("{s:s,s:s,s:s}", "run", view->run, "state", view->state, "because",
                             view->because);
    json_t *alarms = json_array(), *processes = json_array();
    set_number(page, "step", view->step);
    set_number(page, "steps", view->steps);
    set_number(page, "eta_s", view->eta_s);
    set_number(page, "attempt", view->attempt);
    for (size_t i = 0; i < view->alarm_count; i++)
        json_array_append_new(alarms,
                              json_pack("{s:I,s:s}", "time_ms", (json_int_t)view->alarms[i].wall_ms,
                                        "text", view->alarms[i].text));
    for (size_t i = 0; i < view->process_count; i++)
        json_array_append_new(processes, process_json(&view->processes[i]));
    json_object_set_new(page, "alarms", alarms);
    if (view->last != NULL)
        json_object_set(page, "latest", view->last);
    if (view->counters != NULL)
        json_object_set(page, "counters", view->counters);
    json_object_set_new(page, "processes", processes);
    return page;
}
