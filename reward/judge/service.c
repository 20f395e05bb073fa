#include "reward/judge/service.h"

#include <errno.h>
#include <stdlib.h>

#include "core/memory.h"

static enum status read_request(const json_t *request, struct judge_question *question)
{
    const json_t *temperature = json_object_get(request, "temperature");
    const json_t *sample = json_object_get(request, "sample");
    *question = (struct judge_question){.messages = json_object_get(request, "messages"),
                                        .temperature = -1};
    if (!json_is_array(question->messages))
        return FAIL(STATUS_INVALID, "a request to the judge needs \"messages\", a list");
    if (temperature != NULL) {
        if (!json_is_number(temperature) || json_number_value(temperature) < 0)
            return FAIL(STATUS_INVALID, "temperature must be a number from 0 up");
        question->temperature = json_number_value(temperature);
    }
    if (sample != NULL) {
        if (!json_is_integer(sample) || json_integer_value(sample) < 0 ||
            json_integer_value(sample) > UINT32_MAX)
            return FAIL(STATUS_INVALID, "sample must be a whole number from 0 up");
        question->sample = (uint32_t)json_integer_value(sample);
    }
    return STATUS_OK;
}

static enum status write_answer(const struct judge *judge, const struct judge_answer *answer,
                                struct buffer *out)
{
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:f,s:b,s:I,s:I}", "text", answer->text, "finish", answer->finish,
                  "judge", judge_version(judge), "cost", answer->cost, "cached", answer->cached,
                  "prompt_tokens", (json_int_t)answer->prompt_tokens, "completion_tokens",
                  (json_int_t)answer->completion_tokens);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    enum status status =
        text != NULL ? buffer_text(out, text) : FAIL(STATUS_NO_MEMORY, "the judge's answer");
    free(text); /* lint: allow(free): jansson's buffer */
    json_decref(json);
    return status;
}

int judge_service(struct judge *judge, const char *request, size_t size, int64_t deadline_ns,
                  struct buffer *answer)
{
    struct judge_question question;
    json_t *json = json_loadb(request, size, JSON_REJECT_DUPLICATES, NULL);
    enum status status = json_is_object(json)
                             ? read_request(json, &question)
                             : FAIL(STATUS_INVALID, "a request to the judge is a JSON object");
    int code = status == STATUS_OK ? 0 : EINVAL;
    if (code == 0) {
        judge_ask_all(judge, &question, 1, deadline_ns);
        status = question.status;
        code = status == STATUS_OK ? 0 : status == STATUS_NO_MEMORY ? ENOMEM : EIO;
        if (code != 0)
            (void)FAIL(status, "%s", question.why);
    }
    if (code == 0) {
        code = write_answer(judge, &question.answer, answer) == STATUS_OK ? 0 : ENOMEM;
        judge_answer_free(&question.answer);
    }
    json_decref(json);
    return code;
}
