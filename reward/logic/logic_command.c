/* reward/logic/logic_command.c - `logic list` and `logic generate`: rows for training and for `weir reward`. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "reward/logic/logic.h"

static const char usage[] = "usage: logic list                     tasks and their knobs\n"
                            "       logic generate --task T|all --count N [--seed S] [--knob "
                            "name=value]... [--form rl|sft] [--out rows.jsonl]\n"
                            "       rl: rows for data.train; sft: {prompt, completion}, the "
                            "completion being the proven answer\n";

struct request {
    const char *task, *out;
    uint64_t count, seed;
    bool sft; /* rows for `weir sft` */
    const char *knobs[LOGIC_KNOBS_MAX];
    size_t knob_count;
};

static int list_tasks(FILE *out)
{
    size_t count;
    const struct logic_task *const *tasks = logic_tasks(&count);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(out, "%s: %s\n", tasks[i]->name, tasks[i]->summary);
        const struct logic_knob *knobs = tasks[i]->knobs;
        for (size_t k = 0; knobs != NULL && k < LOGIC_KNOBS_MAX && knobs[k].name != NULL; k++)
            (void)fprintf(out, "    %s=%d  (%d to %d) %s\n", knobs[k].name, knobs[k].fallback,
                          knobs[k].min, knobs[k].max, knobs[k].meaning);
    }
    return ferror(out) ? 1 : 0;
}

static bool read_count(const char *text, uint64_t *value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *value = strtoull(text, &end, 10);
    return *end == '\0';
}

static enum status read_request(int argc, char **argv, struct request *request)
{
    *request = (struct request){.count = 1, .seed = 1};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL)
            return FAIL(STATUS_INVALID, "%s needs a value", name);
        if (strcmp(name, "--task") == 0)
            request->task = value;
        else if (strcmp(name, "--out") == 0)
            request->out = value;
        else if (strcmp(name, "--form") == 0) {
            request->sft = strcmp(value, "sft") == 0;
            if (!request->sft && strcmp(value, "rl") != 0)
                return FAIL(STATUS_INVALID, "--form takes rl or sft, not \"%s\"", value);
        } else if (strcmp(name, "--count") == 0 || strcmp(name, "--seed") == 0) {
            if (!read_count(value, strcmp(name, "--seed") == 0 ? &request->seed : &request->count))
                return FAIL(STATUS_INVALID, "%s takes a whole number, not \"%s\"", name, value);
        } else if (strcmp(name, "--knob") == 0 && request->knob_count < LOGIC_KNOBS_MAX)
            request->knobs[request->knob_count++] = value;
        else
            return FAIL(STATUS_INVALID, "unknown or too many: %s", name);
    }
    if (request->task == NULL)
        return FAIL(STATUS_INVALID, "--task is missing; `logic list` names the tasks");
    return STATUS_OK;
}

/* A row of `weir sft` out of one for training; NULL: out of memory. */
static json_t *sft_row(const json_t *row)
{
    const json_t *message = json_array_get(json_object_get(row, "prompt"), 0);
    const json_t *answer = json_object_get(row, "answer");
    char *text = json_is_string(answer) ? NULL : json_dumps(answer, JSON_ENCODE_ANY);
    json_t *made = json_pack("{s:O, s:s, s:O}", "prompt", json_object_get(message, "content"),
                             "completion", text != NULL ? text : json_string_value(answer),
                             "data_source", json_object_get(row, "data_source"));
    free(text); /* lint: allow(free): jansson's */
    return made;
}

static enum status write_task(const struct logic_task *task, const struct request *request,
                              FILE *out)
{
    struct logic_settings settings;
    logic_settings_default(task, &settings);
    for (size_t i = 0; i < request->knob_count; i++)
        TRY(logic_settings_set(task, &settings, request->knobs[i]));
    for (uint64_t i = 0; i < request->count; i++) {
        json_t *row = NULL;
        TRY(logic_row(task, &settings, request->seed, i, &row));
        json_t *shown = request->sft ? sft_row(row) : json_incref(row);
        int written = json_dumpf(shown, out, JSON_COMPACT);
        json_decref(shown);
        json_decref(row);
        if (written != 0 || fputc('\n', out) == EOF)
            return FAIL(STATUS_IO, "cannot write row %" PRIu64 " of task %s", i, task->name);
    }
    return STATUS_OK;
}

static enum status generate(const struct request *request, FILE *out)
{
    size_t count;
    const struct logic_task *const *tasks = logic_tasks(&count);
    if (strcmp(request->task, "all") == 0) {
        for (size_t i = 0; i < count; i++)
            TRY(write_task(tasks[i], request, out));
        return STATUS_OK;
    }
    const struct logic_task *task = logic_task_find(request->task);
    if (task == NULL)
        return FAIL(STATUS_NOT_FOUND, "no task \"%s\"; `logic list` names them", request->task);
    return write_task(task, request, out);
}

int logic_command(int argc, char **argv, FILE *out)
{
    struct request request;
    if (argc == 2 && strcmp(argv[1], "list") == 0)
        return list_tasks(out);
    if (argc < 2 || strcmp(argv[1], "generate") != 0) {
        (void)fputs(usage, stderr);
        return 2;
    }
    enum status status = read_request(argc, argv, &request);
    if (status == STATUS_OK) {
        FILE *file = request.out != NULL ? fopen(request.out, "w") : out;
        status = file == NULL ? FAIL(STATUS_IO, "cannot write %s", request.out)
                              : generate(&request, file);
        if (file != NULL && (file == out ? fflush(file) : fclose(file)) != 0 && status == STATUS_OK)
            status = FAIL(STATUS_IO, "cannot finish writing the rows");
    }
    if (status != STATUS_OK)
        (void)fprintf(stderr, "logic: %s\n", status_sentence(status_last_error()));
    return status == STATUS_OK ? 0 : status == STATUS_INVALID || status == STATUS_NOT_FOUND ? 2 : 1;
}
