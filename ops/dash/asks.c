/* ops/dash/asks.c - answers that need the store or the supervisor: why, drain, scale. The connection is suspended meanwhile. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "ops/dash/server_state.h"
#include "ops/scale_file.h"

static void answered(void *self)
{
    struct request *request = self;
    MHD_resume_connection(request->connection);
}

enum MHD_Result ask_of(struct asker *asker, struct request *request)
{
    request->job.done = answered;
    request->job.self = request;
    request->suspended = true;
    MHD_suspend_connection(request->connection);
    if (asker_push(asker, &request->job) == STATUS_OK)
        return MHD_YES;
    MHD_resume_connection(request->connection);
    request->job.http_status = 503;
    (void)!buffer_text(&request->job.answer,
                       "{\"error\":\"too many such questions wait already\"}");
    return MHD_YES;
}

enum MHD_Result answer_why(struct request *request)
{
    request->job.kind = ASKER_WHY;
    return ask_of(request->dash->asker, request);
}

/* The body as an object, NULL: it was refused into *result. */
static json_t *read_body(struct request *request, enum MHD_Result *result)
{
    json_error_t error;
    json_t *body = json_loadb((const char *)request->body.bytes, request->body.size,
                              JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(body))
        return body;
    *result = refuse(request, 400, "the body is not a JSON object%s%.100s",
                     body == NULL ? ": " : "", body == NULL ? error.text : "");
    json_decref(body);
    return NULL;
}

static bool is_worker(const char *process)
{
    static const char *const roles[] = {ROLE_NAME_ACTOR ".", ROLE_NAME_REWARD "."};
    for (size_t i = 0; i < 2; i++) {
        size_t size = strlen(roles[i]);
        const char *number = process + size;
        if (strncmp(process, roles[i], size) == 0 && number[0] != 0 && strlen(number) < 10 &&
            strspn(number, "0123456789") == strlen(number))
            return true;
    }
    return false;
}

/* {"process":"actor.3"} that one; {"run":NAME} the whole run, by its name so that nobody does it by accident. */
enum MHD_Result answer_drain(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = read_body(request, &result);
    if (body == NULL)
        return result;
    const char *process = json_string_value(json_object_get(body, "process"));
    const char *run = json_string_value(json_object_get(body, "run"));
    bool good = json_object_size(body) == 1 &&
                (process != NULL ? is_worker(process)
                                 : run != NULL && strcmp(run, request->dash->run) == 0);
    if (good) {
        request->job.kind = ASKER_DRAIN;
        snprintf(request->job.process, sizeof request->job.process, "%s",
                 process != NULL ? process : "");
        LOG_INFO("dash", "asked to drain", "what=%s", process != NULL ? process : "the run");
        result = ask_of(request->dash->asker, request);
    } else {
        result = refuse(request, 400,
                        "drain takes {\"process\":\"actor.3\"} (an actor or a reward worker), or "
                        "{\"run\":\"%s\"} for the whole run",
                        request->dash->run);
    }
    json_decref(body);
    return result;
}

static bool take_count(const json_t *body, const char *key, int most, int *count, size_t *known)
{
    const json_t *value = json_object_get(body, key);
    *count = SCALE_AS_IT_IS;
    if (value == NULL)
        return true;
    *known += 1;
    *count = (int)json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           json_integer_value(value) <= most;
}

enum MHD_Result answer_scale(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = read_body(request, &result);
    if (body == NULL)
        return result;
    struct asker_job *job = &request->job;
    size_t known = 0;
    bool actors = take_count(body, "actors", SCALE_ACTORS_MAX, &job->actors, &known);
    bool rewards =
        take_count(body, "reward_workers", SCALE_REWARD_WORKERS_MAX, &job->reward_workers, &known);
    if (actors && rewards && known > 0 && known == json_object_size(body)) {
        job->kind = ASKER_SCALE;
        LOG_INFO("dash", "asked to scale", "actors=%d reward_workers=%d", job->actors,
                 job->reward_workers);
        result = ask_of(request->dash->asker, request);
    } else {
        result = refuse(request, 400,
                        "scale takes {\"actors\":N} (0 to %d), {\"reward_workers\":M} (0 to %d), "
                        "or both",
                        SCALE_ACTORS_MAX, SCALE_REWARD_WORKERS_MAX);
    }
    json_decref(body);
    return result;
}
