#include "reward/logic/logic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reward/logic/literal.h"

enum { DRAWS_MAX = 1000 };

static const struct logic_task *const tasks[] = {
#define TASK(name) &logic_task_##name,
    LOGIC_TASKS_A(TASK) LOGIC_TASKS_B(TASK)
#undef TASK
};

const struct logic_task *const *logic_tasks(size_t *count)
{
    *count = sizeof tasks / sizeof tasks[0];
    return tasks;
}

const struct logic_task *logic_task_find(const char *name)
{
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        if (strcmp(tasks[i]->name, name) == 0)
            return tasks[i];
    return NULL;
}

/* ---- generating ---- */

void logic_problem_init(struct logic_problem *problem)
{
    *problem = (struct logic_problem){0};
    buffer_init(&problem->question, 0);
}

void logic_problem_free(struct logic_problem *problem)
{
    buffer_free(&problem->question);
    json_decref(problem->answer);
    json_decref(problem->metadata);
    logic_problem_init(problem);
}

double logic_difficulty(double work, double low, double high)
{
    double share = work <= low ? 0 : log(work / low) / log(high / low);
    return share > 1 ? 1 : share;
}

void logic_settings_default(const struct logic_task *task, struct logic_settings *settings)
{
    *settings = (struct logic_settings){{0}};
    for (size_t i = 0; task->knobs != NULL && i < LOGIC_KNOBS_MAX && task->knobs[i].name; i++)
        settings->value[i] = task->knobs[i].fallback;
}

enum status logic_settings_set(const struct logic_task *task, struct logic_settings *settings,
                               const char *text)
{
    const char *equals = strchr(text, '=');
    size_t length = equals != NULL ? (size_t)(equals - text) : 0;
    for (size_t i = 0; task->knobs != NULL && i < LOGIC_KNOBS_MAX && task->knobs[i].name; i++) {
        const struct logic_knob *knob = &task->knobs[i];
        if (equals == NULL || strlen(knob->name) != length ||
            strncmp(knob->name, text, length) != 0)
            continue;
        char *end;
        long value = strtol(equals + 1, &end, 10);
        if (end == equals + 1 || *end != '\0' || value < knob->min || value > knob->max)
            return FAIL(STATUS_INVALID,
                        "knob %s of task %s takes a whole number from %d to %d, not \"%s\"",
                        knob->name, task->name, knob->min, knob->max, equals + 1);
        settings->value[i] = (int)value;
        return STATUS_OK;
    }
    return FAIL(STATUS_INVALID,
                "task %s has no knob for \"%s\": write name=value with a name of the task's list",
                task->name, text);
}

/* FNV-1a of the name: a task's problems do not move when tasks are added. */
static uint64_t stream_of(const char *name, uint64_t index)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return (uint64_t)hash << 32 ^ index;
}

enum status logic_generate(const struct logic_task *task, const struct logic_settings *settings,
                           uint64_t seed, uint64_t index, struct logic_problem *out)
{
    struct rng rng;
    rng_init(&rng, seed, stream_of(task->name, index), RNG_TASK);
    for (int i = 0; i < DRAWS_MAX; i++) {
        logic_problem_free(out);
        enum status status = task->generate(settings, &rng, out);
        if (status != STATUS_AGAIN)
            return status;
    }
    return FAIL(STATUS_LIMIT,
                "task %s: %d draws gave no problem with these knobs; make them easier", task->name,
                DRAWS_MAX);
}

static json_t *knobs_of(const struct logic_task *task, const struct logic_settings *settings)
{
    json_t *knobs = json_object();
    for (size_t i = 0; task->knobs != NULL && i < LOGIC_KNOBS_MAX && task->knobs[i].name; i++)
        json_object_set_new(knobs, task->knobs[i].name, json_integer(settings->value[i]));
    return knobs;
}

enum status logic_row(const struct logic_task *task, const struct logic_settings *settings,
                      uint64_t seed, uint64_t index, json_t **row)
{
    struct logic_problem problem;
    logic_problem_init(&problem);
    enum status status = logic_generate(task, settings, seed, index, &problem);
    if (status == STATUS_OK) {
        char source[64], id[128];
        (void)snprintf(source, sizeof source, "logic/%s", task->name);
        (void)snprintf(id, sizeof id, "%s/%llu/%llu", source, (unsigned long long)seed,
                       (unsigned long long)index);
        const char *question = buffer_string(&problem.question);
        json_t *made = json_pack(
            "{s:s, s:s, s:s, s:s, s:[{s:s, s:s}], s:s, s:O, s:f, s:O, s:o}", "id", id, "kind",
            "logic", "task", task->name, "data_source", source, "prompt", "role", "user", "content",
            question, "question", question, "answer", problem.answer, "difficulty",
            problem.difficulty, "metadata", problem.metadata, "knobs", knobs_of(task, settings));
        if (made == NULL)
            status = FAIL(STATUS_NO_MEMORY, "no memory for a row of task %s", task->name);
        else
            *row = made;
    }
    logic_problem_free(&problem);
    return status;
}

/* ---- judging ---- */

/* The last LOGIC_RESPONSE_MAX bytes, from the start of a character. */
static struct answer_span tail_of(struct answer_span text)
{
    if (text.size <= LOGIC_RESPONSE_MAX)
        return text;
    const char *end = text.at + text.size, *from = end - LOGIC_RESPONSE_MAX;
    while (from < end && ((unsigned char)*from & 0xc0) == 0x80)
        from++;
    return (struct answer_span){from, (size_t)(end - from)};
}

static const struct logic_task *task_of(const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "task"));
    if (name == NULL) {
        name = json_string_value(json_object_get(row, "data_source"));
        if (name != NULL && strncmp(name, "logic/", 6) == 0)
            name += 6;
    }
    return name != NULL ? logic_task_find(name) : NULL;
}

void logic_verify_row(const json_t *row, const char *response, size_t size,
                      struct logic_verdict *out)
{
    *out = (struct logic_verdict){0};
    const struct logic_task *task = task_of(row);
    const json_t *question = json_object_get(row, "question"),
                 *given = json_object_get(row, "metadata");
    if (task == NULL) {
        logic_broken(out, "task: no logic task has this name");
        return;
    }
    if (question != NULL && !json_is_string(question) && !json_is_null(question)) {
        logic_broken(out, "question: must be a text");
        return;
    }
    json_t *metadata = NULL;
    if (json_is_string(given)) {
        const char *text = json_string_value(given);
        size_t length = json_string_length(given);
        metadata = json_loadb(text, length, 0, NULL);
        if (metadata == NULL)
            metadata = literal_read((struct answer_span){text, length}, 0);
    } else if (json_is_object(given)) {
        metadata = json_incref((json_t *)given);
    }
    struct answer_span answer;
    if (given != NULL && !json_is_null(given) && !json_is_object(metadata))
        logic_broken(out, "metadata: must be an object, or a text that holds one");
    else if (!answer_after_thinking(response, size, &answer))
        logic_wrong(out, "the thinking never ends");
    else
        task->verify(metadata, json_object_get(row, "answer"),
                     question != NULL && json_is_string(question) ? json_string_value(question)
                                                                  : "",
                     tail_of(answer), out);
    json_decref(metadata);
}
