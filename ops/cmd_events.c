/* ops/cmd_events.c - `weir events`: what happened in a run besides its steps, in the order of time: alarms and their ends,
 * deaths, branches, stages, stops. Of a live run the store says it; the supervisor's alarms and the deaths of its processes
 * stand in alarms.jsonl, and of a run that is over the learner's alarms in metrics.jsonl. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/memory.h"
#include "ops/cmd.h"
#include "ops/run_alarms.h"
#include "ops/screen.h"

enum { EVENTS_DEFAULT = 50, EVENTS_MAX = 100000 };

struct events {
    json_t *list; /* {"time_ms","kind","text"} */
    uint64_t count;
    bool json;
    const char *run;
};

static enum status ask_store(struct events *events, const struct known_run *known)
{
    struct buffer answer;
    char arguments[48];
    buffer_init(&answer, 0);
    snprintf(arguments, sizeof arguments, "{\"n\":%" PRIu64 "}", events->count);
    enum status status = known_run_ask(known, "events", arguments, &answer);
    json_t *said =
        status == STATUS_OK ? json_loadb((const char *)answer.bytes, answer.size, 0, NULL) : NULL;
    json_array_extend(events->list, json_object_get(said, "events"));
    json_decref(said);
    buffer_free(&answer);
    return status;
}

static void take_alarm(void *self, const json_t *line)
{
    json_array_append_new(((struct events *)self)->list, run_alarms_event(line)); /* NULL: none */
}

static void take_step(void *self, const json_t *line)
{
    json_array_append_new(((struct events *)self)->list, run_alarms_of_step(line));
}

static enum status read_lines(struct events *events, const struct known_run *known,
                              const char *name, void (*take)(void *self, const json_t *line))
{
    char path[FILE_PATH_MAX];
    struct metrics_tail tail;
    TRY(file_path(path, "%s/%s", known->folder, name));
    TRY(metrics_tail_open(&tail, path));
    enum status status = metrics_tail_poll(&tail, take, events);
    metrics_tail_close(&tail);
    return status;
}

static int compare(const void *a, const void *b)
{
    const json_t *const *left = a, *const *right = b;
    json_int_t one = json_integer_value(json_object_get(*left, "time_ms")),
               two = json_integer_value(json_object_get(*right, "time_ms"));
    return (one > two) - (one < two);
}

static void print_event(const json_t *event, bool json)
{
    char text[32] = "-";
    struct tm utc;
    time_t seconds = (time_t)(json_integer_value(json_object_get(event, "time_ms")) / 1000);
    if (json) {
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
        return;
    }
    if (gmtime_r(&seconds, &utc) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    const char *kind = json_string_value(json_object_get(event, "kind")),
               *what = json_string_value(json_object_get(event, "text"));
    printf("%s  %-10s  %s\n", text, kind != NULL ? kind : "?", what != NULL ? what : "");
}

static enum status print_newest(const struct events *events)
{
    size_t count = json_array_size(events->list), i;
    const json_t **sorted = memory_array(count + 1, sizeof *sorted);
    if (sorted == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu events", count);
    json_t *event;
    json_array_foreach(events->list, i, event) sorted[i] = event;
    qsort(sorted, count, sizeof *sorted, compare);
    for (i = count > events->count ? count - events->count : 0; i < count; i++)
        print_event(sorted[i], events->json);
    if (count == 0 && !events->json)
        printf("nothing but steps: no alarm, no branch, no stage\n");
    memory_free(sorted);
    return STATUS_OK;
}

static int parse(struct events *events, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--json") == 0) {
            events->json = true;
        } else if (strcmp(argv[i], "-n") == 0) {
            const char *value = i + 1 < argc ? argv[++i] : "";
            events->count = strtoull(value, &end, 10);
            if (value[0] < '0' || value[0] > '9' || *end != 0 || events->count == 0 ||
                events->count > EVENTS_MAX)
                return command_usage("events", "-n takes 1 to %d", EVENTS_MAX);
        } else if (argv[i][0] == '-' || events->run != NULL) {
            return command_usage("events", "unexpected argument %s", argv[i]);
        } else {
            events->run = argv[i];
        }
    }
    return EXIT_CODE_OK;
}

int cmd_events(int argc, char **argv)
{
    struct events events = {.count = EVENTS_DEFAULT};
    struct known_run known;
    int code = parse(&events, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = known_run_find(&known, events.run);
    if (status != STATUS_OK)
        return command_failed("events", status);
    events.list = json_array();
    status = known.supervisor != 0 ? ask_store(&events, &known)
                                   : read_lines(&events, &known, "metrics.jsonl", take_step);
    if (status == STATUS_OK)
        status = read_lines(&events, &known, "alarms.jsonl", take_alarm);
    if (status == STATUS_OK)
        status = print_newest(&events);
    json_decref(events.list);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("events", status);
}
