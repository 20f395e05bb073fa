#include "actor/openai_answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"

void openai_fill_orders(const struct openai_request *request, struct slot_order *orders)
{
    uint32_t at = 0;
    for (uint32_t p = 0; p < request->prompt_count; p++)
        for (uint32_t i = 0; i < request->n; i++)
            orders[at++] = (struct slot_order){
                .ids = request->prompts[p].ids,
                .count = request->prompts[p].count,
                .budget = request->prompts[p].budget > 0 ? request->prompts[p].budget : 1,
                .group_id = p,
                .sampling = {.seed = request->seed,
                             .group = p,
                             .sample = i,
                             .temperature = request->temperature,
                             .top_p = request->top_p,
                             .top_k = request->top_k},
                .ignore_eos = request->ignore_eos,
                .report = request->logprobs && request->prompts[p].budget > 0,
                .report_prompt = request->logprobs && request->echo,
                .report_top = request->top};
}

enum status openai_answer_create(struct openai_answer *answer, const struct openai_source *source,
                                 const struct openai_request *request, uint64_t number)
{
    uint32_t count = request->prompt_count * request->n;
    *answer = (struct openai_answer){
        .source = source, .request = request, .created = clock_wall_ns() / CLOCK_NS_PER_S};
    snprintf(answer->id, sizeof answer->id, "%s-%016" PRIx64, request->chat ? "chatcmpl" : "cmpl",
             number);
    answer->choices = memory_array(count, sizeof *answer->choices);
    if (answer->choices == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u answers", count);
    answer->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct openai_choice *choice = &answer->choices[i];
        choice->index = i;
        choice->prompt = &request->prompts[i / request->n];
        choice->version_first = choice->version_last = UINT64_MAX;
        TRY(openai_text_create(&choice->text, source->tokenizer, false, request->stops,
                               request->stop_count));
    }
    return STATUS_OK;
}

void openai_answer_free(struct openai_answer *answer)
{
    for (uint32_t i = 0; i < answer->count; i++) {
        struct openai_choice *choice = &answer->choices[i];
        buffer_free(&choice->ids);
        buffer_free(&choice->logprobs);
        buffer_free(&choice->best);
        buffer_free(&choice->prompt_logprobs);
        buffer_free(&choice->prompt_best);
        buffer_free(&choice->starts);
        openai_text_free(&choice->text);
    }
    memory_free(answer->choices);
    *answer = (struct openai_answer){0};
}

/* ---- from the job ---- */

static bool copy_new(struct buffer *to, const struct buffer *from)
{
    return from->size <= to->size ||
           buffer_append(to, from->bytes + to->size, from->size - to->size) == STATUS_OK;
}

static void fail(struct openai_choice *choice, const char *why)
{
    choice->job_finish = SERVE_FINISH_FAILED;
    snprintf(choice->why, sizeof choice->why, "%s", why);
}

void openai_choice_take(struct openai_choice *choice)
{
    const struct serve_job *job = choice->job;
    if (job == NULL || choice->ended)
        return;
    choice->version_first = job->version_first;
    choice->version_last = job->version_last;
    choice->job_finish = job->state == SERVE_ENDED ? job->finish : SERVE_FINISH_NONE;
    if (choice->job_finish == SERVE_FINISH_FAILED)
        snprintf(choice->why, sizeof choice->why, "%s", job->why);
    /* Reports come before their token: what belongs to tokens that are not there yet is copied, and not read. */
    if (!copy_new(&choice->ids, &job->ids) || !copy_new(&choice->logprobs, &job->logprobs) ||
        !copy_new(&choice->best, &job->best) ||
        !copy_new(&choice->prompt_logprobs, &job->prompt_logprobs) ||
        !copy_new(&choice->prompt_best, &job->prompt_best))
        fail(choice, "out of memory");
}

static enum status push_tokens(struct openai_choice *choice, uint32_t count)
{
    const uint32_t *ids = (const uint32_t *)(const void *)choice->ids.bytes;
    while (choice->counted < count && !choice->text.stopped) {
        bool stopped = false;
        TRY(buffer_append(&choice->starts, &choice->text.characters, sizeof(uint32_t)));
        TRY(openai_text_push(&choice->text, ids[choice->counted], &stopped));
        choice->counted++;
    }
    return STATUS_OK;
}

void openai_choice_advance(const struct openai_answer *answer, struct openai_choice *choice)
{
    (void)answer;
    if (choice->ended)
        return;
    bool none = choice->prompt->budget == 0; /* the prompt was all that was asked about */
    uint32_t have = (uint32_t)(choice->ids.size / sizeof(uint32_t));
    bool over = choice->job_finish != SERVE_FINISH_NONE;
    if (choice->job_finish != SERVE_FINISH_FAILED &&
        push_tokens(choice, none ? 0 : have) != STATUS_OK)
        fail(choice, "out of memory");
    if (choice->text.stopped)
        choice->finish = "stop";
    else if (choice->job_finish == SERVE_FINISH_EOS && !none)
        choice->finish = "stop";
    else if (choice->job_finish == SERVE_FINISH_LENGTH || (none && over))
        choice->finish = "length";
    choice->ended = choice->text.stopped || over || choice->job_finish == SERVE_FINISH_FAILED;
    if (choice->job_finish == SERVE_FINISH_FAILED && !choice->text.stopped)
        choice->finish = NULL;
    if (choice->ended && openai_text_end(&choice->text) != STATUS_OK)
        fail(choice, "out of memory");
    else if (choice->finish != NULL && choice->text.stopped)
        choice->finish = "stop"; /* a stop text that a decoder held back */
}

const struct openai_choice *openai_answer_failed(const struct openai_answer *answer)
{
    for (uint32_t i = 0; i < answer->count; i++)
        if (answer->choices[i].ended && answer->choices[i].finish == NULL)
            return &answer->choices[i];
    return NULL;
}

uint32_t openai_answer_tokens(const struct openai_answer *answer)
{
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < answer->count; i++)
        tokens += answer->choices[i].counted;
    return tokens;
}

/* ---- JSON ---- */

static int append(const char *text, size_t size, void *out)
{
    return buffer_append(out, text, size) == STATUS_OK ? 0 : -1;
}

enum status openai_write_json(const json_t *json, struct buffer *out)
{
    /* Nine digits give back every f32. */
    if (json == NULL ||
        json_dump_callback(json, append, out, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0)
        return FAIL(STATUS_NO_MEMORY, "an answer of %zu bytes", out->size);
    return STATUS_OK;
}

/* "w7", or "w7-w9" when weights changed on the way. */
static json_t *fingerprint(const struct openai_answer *answer)
{
    uint64_t first = UINT64_MAX, last = 0;
    char text[64];
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct openai_choice *choice = &answer->choices[i];
        if (choice->version_last == UINT64_MAX)
            continue;
        first = choice->version_first < first ? choice->version_first : first;
        last = choice->version_last > last ? choice->version_last : last;
    }
    if (first == UINT64_MAX)
        return json_null();
    if (first == last)
        snprintf(text, sizeof text, "w%" PRIu64, first);
    else
        snprintf(text, sizeof text, "w%" PRIu64 "-w%" PRIu64, first, last);
    return json_string(text);
}

static json_t *usage(const struct openai_answer *answer)
{
    uint32_t prompt = 0, tokens = openai_answer_tokens(answer);
    for (uint32_t p = 0; p < answer->request->prompt_count; p++)
        prompt += answer->request->prompts[p].count;
    return json_pack("{s:I,s:I,s:I}", "prompt_tokens", (json_int_t)prompt, "completion_tokens",
                     (json_int_t)tokens, "total_tokens", (json_int_t)prompt + tokens);
}

static json_t *envelope(const struct openai_answer *answer, const char *object, json_t *choices)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:o,s:o}", "id", answer->id, "object", object, "created",
                     (json_int_t)answer->created, "model", answer->source->model,
                     "system_fingerprint", fingerprint(answer), "choices", choices);
}

/* The prompt as it was given, or the text of its ids. */
static enum status prompt_text(const struct openai_answer *answer,
                               const struct openai_choice *choice, struct buffer *text)
{
    if (choice->prompt->text != NULL)
        return text_append_utf8(text, choice->prompt->text, choice->prompt->text_size);
    struct buffer raw;
    buffer_init(&raw, 0);
    enum status status = tokenizer_decode(answer->source->tokenizer, choice->prompt->ids,
                                          choice->prompt->count, false, &raw);
    if (status == STATUS_OK)
        status = text_append_utf8(text, raw.bytes, raw.size);
    buffer_free(&raw);
    return status;
}

static json_t *whole_choice(const struct openai_answer *answer, struct openai_choice *choice)
{
    const struct openai_request *request = answer->request;
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = request->echo ? prompt_text(answer, choice, &text) : STATUS_OK;
    choice->prompt_characters = openai_text_characters(text.bytes, text.size);
    if (status == STATUS_OK)
        status = buffer_append(&text, choice->text.text.bytes, choice->text.text.size);
    json_t *said = status == STATUS_OK ? json_stringn(buffer_string(&text), text.size) : NULL;
    json_t *logprobs = request->logprobs
                           ? openai_logprobs_json(answer, choice, request->echo, 0, choice->counted)
                           : json_null();
    buffer_free(&text);
    if (request->chat)
        return json_pack("{s:i,s:{s:s,s:o,s:n},s:o,s:s}", "index", (int)choice->index, "message",
                         "role", "assistant", "content", said, "refusal", "logprobs", logprobs,
                         "finish_reason", choice->finish);
    return json_pack("{s:i,s:o,s:o,s:s}", "index", (int)choice->index, "text", said, "logprobs",
                     logprobs, "finish_reason", choice->finish);
}

json_t *openai_answer_json(const struct openai_answer *answer)
{
    json_t *choices = json_array();
    for (uint32_t i = 0; i < answer->count; i++)
        if (json_array_append_new(choices, whole_choice(answer, &answer->choices[i])) != 0) {
            json_decref(choices);
            return NULL;
        }
    json_t *json =
        envelope(answer, answer->request->chat ? "chat.completion" : "text_completion", choices);
    if (json != NULL)
        json_object_set_new(json, "usage", usage(answer));
    return json;
}

/* ---- events ---- */

static enum status write_event(const struct openai_answer *answer, json_t *choices, json_t *counts,
                               struct buffer *out)
{
    const char *object = answer->request->chat ? "chat.completion.chunk" : "text_completion";
    json_t *json = envelope(answer, object, choices);
    if (json != NULL && answer->request->include_usage)
        json_object_set_new(json, "usage", counts != NULL ? counts : json_null());
    enum status status = buffer_text(out, "data: ");
    if (status == STATUS_OK)
        status = openai_write_json(json, out);
    if (status == STATUS_OK)
        status = buffer_text(out, "\n\n");
    json_decref(json);
    return status;
}

static enum status choice_event(const struct openai_answer *answer,
                                const struct openai_choice *choice, json_t *said, json_t *logprobs,
                                const char *finish, struct buffer *out)
{
    json_t *one = json_pack("{s:i,s:o,s:o,s:s?}", "index", (int)choice->index,
                            answer->request->chat ? "delta" : "text", said, "logprobs", logprobs,
                            "finish_reason", finish);
    return write_event(answer, json_pack("[o]", one), NULL, out);
}

/* What stands in front of the answer: the role, or the prompt. */
static enum status open_choice(const struct openai_answer *answer, struct openai_choice *choice,
                               struct buffer *out)
{
    const struct openai_request *request = answer->request;
    if (!request->chat && request->echo && choice->ids.size == 0 && !choice->ended)
        return STATUS_AGAIN; /* its prompt is not read yet */
    choice->opened = true;
    if (request->chat)
        return choice_event(answer, choice,
                            json_pack("{s:s,s:s}", "role", "assistant", "content", ""), json_null(),
                            NULL, out);
    if (!request->echo)
        return STATUS_OK;
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = prompt_text(answer, choice, &text);
    choice->prompt_characters = openai_text_characters(text.bytes, text.size);
    json_t *logprobs =
        request->logprobs ? openai_logprobs_json(answer, choice, true, 0, 0) : json_null();
    if (status == STATUS_OK)
        status = choice_event(answer, choice, json_stringn(buffer_string(&text), text.size),
                              logprobs, NULL, out);
    else
        json_decref(logprobs);
    buffer_free(&text);
    return status;
}

static enum status choice_events(const struct openai_answer *answer, struct openai_choice *choice,
                                 struct buffer *out)
{
    const struct openai_request *request = answer->request;
    const char *piece = NULL;
    size_t size = 0;
    if (choice->closed)
        return STATUS_OK;
    if (!choice->opened) {
        enum status status = open_choice(answer, choice, out);
        if (status != STATUS_OK)
            return status == STATUS_AGAIN ? STATUS_OK : status;
    }
    openai_text_take(&choice->text, &piece, &size);
    bool news = size > 0 || (request->logprobs && choice->counted > choice->told);
    if (!news && !choice->ended)
        return STATUS_OK;
    json_t *logprobs = request->logprobs ? openai_logprobs_json(answer, choice, false, choice->told,
                                                                choice->counted)
                                         : json_null();
    json_t *text = json_stringn(piece, size);
    json_t *said = !request->chat     ? text
                   : size > 0 || news ? json_pack("{s:o}", "content", text)
                                      : NULL;
    if (said == NULL) {
        json_decref(text);
        said = json_object();
    }
    choice->told = choice->counted;
    choice->closed = choice->ended;
    return choice_event(answer, choice, said, logprobs, choice->ended ? choice->finish : NULL, out);
}

static enum status end_events(struct openai_answer *answer, struct buffer *out)
{
    const struct openai_choice *failed = openai_answer_failed(answer);
    answer->finished = true;
    if (failed != NULL) {
        struct openai_error error;
        openai_refuse_as(&error, 503, "server_error", NULL, "%s", failed->why);
        json_t *json = openai_error_json(&error);
        enum status status = buffer_text(out, "data: ");
        if (status == STATUS_OK)
            status = openai_write_json(json, out);
        json_decref(json);
        TRY(status);
        TRY(buffer_text(out, "\n\n"));
    } else if (answer->request->include_usage) {
        TRY(write_event(answer, json_array(), usage(answer), out));
    }
    return buffer_text(out, "data: [DONE]\n\n");
}

enum status openai_answer_events(struct openai_answer *answer, struct buffer *out)
{
    bool all = true;
    if (answer->finished)
        return STATUS_OK;
    bool failed = openai_answer_failed(answer) != NULL;
    for (uint32_t i = 0; i < answer->count && !failed; i++) {
        TRY(choice_events(answer, &answer->choices[i], out));
        all = all && answer->choices[i].closed;
    }
    return all || failed ? end_events(answer, out) : STATUS_OK;
}
