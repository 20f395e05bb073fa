/* actor/openai_request.c - the bodies of requests. */
#include "actor/openai.h"

#include <string.h>

static bool read_stops(const json_t *json, struct arena *arena, struct openai_request *request,
                       struct openai_error *error)
{
    const json_t *stop = json_object_get(json, "stop");
    if (stop == NULL || json_is_null(stop))
        return true;
    if (!json_is_string(stop) && !json_is_array(stop))
        return openai_refuse(error, "stop", "stop must be a text or a list of texts");
    size_t count = json_is_array(stop) ? json_array_size(stop) : 1;
    if (count > OPENAI_STOPS_MAX)
        return openai_refuse(error, "stop", "%zu stop texts; %d are the most", count,
                             OPENAI_STOPS_MAX);
    request->stops = arena_array(arena, count, sizeof *request->stops);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(stop) ? json_array_get(stop, i) : stop;
        size_t size = json_string_length(one);
        if (!json_is_string(one) || size == 0 || size > OPENAI_STOP_BYTES_MAX ||
            strlen(json_string_value(one)) != size)
            return openai_refuse(error, "stop",
                                 "stop: item %zu must be a text of 1 to %d bytes without NUL", i,
                                 OPENAI_STOP_BYTES_MAX);
        char *copy = request->stops != NULL ? arena_text(arena, json_string_value(one)) : NULL;
        if (copy == NULL)
            return openai_refuse_as(error, 503, "server_error", NULL, "out of memory");
        request->stops[request->stop_count++] = copy;
    }
    return true;
}

/* Whether a request for `wanted` tokens fits; -1: as many as fit, and at most `most`. */
static bool set_budget(const struct openai_source *source, struct openai_prompt *prompt,
                       int64_t wanted, uint32_t most, struct openai_error *error)
{
    const char *param = "max_tokens";
    int64_t least = wanted < 0 ? 1 : wanted;
    if ((int64_t)prompt->count + least > (int64_t)source->context) {
        openai_refuse(error, param,
                      "the prompt has %u tokens and %lld are to be generated; this model serves "
                      "%u tokens together (a prompt of %u at most)",
                      prompt->count, (long long)least, source->context,
                      source->context - (least > 0));
        error->code = "context_length_exceeded";
        return false;
    }
    uint32_t room = source->context - prompt->count;
    prompt->budget = wanted < 0 ? (room < most ? room : most) : (uint32_t)wanted;
    return true;
}

static bool read_budget(const struct openai_source *source, const json_t *json,
                        struct openai_request *request, struct openai_error *error)
{
    int64_t old = -1, wanted = -1;
    bool may_be_none = !request->chat && request->echo;
    if (!openai_integer(json, "max_tokens", may_be_none ? 0 : 1, INT32_MAX, -1, &old, error))
        return false;
    wanted = old;
    if (request->chat &&
        !openai_integer(json, "max_completion_tokens", 1, INT32_MAX, old, &wanted, error))
        return false;
    for (uint32_t i = 0; i < request->prompt_count; i++)
        if (!set_budget(source, &request->prompts[i], wanted, request->chat ? UINT32_MAX : 16,
                        error))
            return false;
    return true;
}

static bool read_sampling(const struct openai_source *source, const json_t *json,
                          struct openai_request *request, struct openai_error *error)
{
    double temperature = 1.0, top_p = 1.0;
    int64_t top_k = 0, seed = 0, n = 1;
    bool has_seed = json_is_integer(json_object_get(json, "seed"));
    if (!openai_number(json, "temperature", 0.0, 100.0, 1.0, &temperature, error) ||
        !openai_number(json, "top_p", 0.0, 1.0, 1.0, &top_p, error) ||
        !openai_integer(json, "top_k", -1, INT32_MAX, 0, &top_k, error) ||
        !openai_integer(json, "seed", INT64_MIN, INT64_MAX, 0, &seed, error) ||
        !openai_integer(json, "n", 1, OPENAI_CHOICES_MAX, 1, &n, error) ||
        !openai_flag(json, "ignore_eos", false, &request->ignore_eos, error))
        return false;
    if ((float)top_p <= 0.0F)
        return openai_refuse(error, "top_p", "top_p is 0; it must be above 0, and 1 at most");
    request->temperature = (float)temperature;
    request->top_p = (float)top_p;
    if (temperature > 0.0 && temperature < 1e-3)
        return openai_refuse(error, "temperature",
                             "temperature is %g; it must be 0 (greedy) or 0.001 to 100",
                             temperature);
    request->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    request->seed = has_seed ? (uint64_t)seed : source->draw_seed();
    request->n = (uint32_t)n;
    return true;
}

static bool read_stream(const json_t *json, struct openai_request *request,
                        struct openai_error *error)
{
    if (!openai_flag(json, "stream", false, &request->stream, error))
        return false;
    const json_t *options = json_object_get(json, "stream_options");
    if (options == NULL || json_is_null(options))
        return true;
    if (!json_is_object(options))
        return openai_refuse(error, "stream_options", "stream_options must be an object");
    if (!request->stream)
        return openai_refuse(error, "stream_options", "stream_options needs \"stream\": true");
    return openai_flag(options, "include_usage", false, &request->include_usage, error);
}

static bool read_logprobs(const json_t *json, struct openai_request *request,
                          struct openai_error *error)
{
    int64_t top = 0;
    if (request->chat) {
        if (!openai_flag(json, "logprobs", false, &request->logprobs, error) ||
            !openai_integer(json, "top_logprobs", 0, OPENAI_TOP_MAX, 0, &top, error))
            return false;
        if (top > 0 && !request->logprobs)
            return openai_refuse(error, "top_logprobs", "top_logprobs needs \"logprobs\": true");
    } else {
        if (!openai_integer(json, "logprobs", 0, OPENAI_TOP_MAX, -1, &top, error))
            return false;
        request->logprobs = top >= 0;
    }
    request->top = top > 0 ? (uint32_t)top : 0;
    return true;
}

static bool check_model(const struct openai_source *source, const json_t *json,
                        struct openai_error *error)
{
    const json_t *model = json_object_get(json, "model");
    if (model == NULL || json_is_null(model))
        return true;
    if (!json_is_string(model))
        return openai_refuse(error, "model", "model must be a text");
    if (strcmp(json_string_value(model), source->model) == 0 ||
        (source->path != NULL && strcmp(json_string_value(model), source->path) == 0))
        return true;
    openai_refuse_as(error, 404, "invalid_request_error", "model_not_found",
                     "there is no model \"%.200s\" here; this is \"%.200s\"",
                     json_string_value(model), source->model);
    memcpy(error->param, "model", sizeof "model");
    return false;
}

static bool read_request(const struct openai_source *source, const json_t *json,
                         struct arena *arena, struct openai_request *request,
                         struct openai_error *error)
{
    if (!check_model(source, json, error) ||
        !openai_refuse_unsupported(json, request->chat, error) ||
        !read_sampling(source, json, request, error) || !read_stream(json, request, error) ||
        !read_logprobs(json, request, error) || !read_stops(json, arena, request, error))
        return false;
    if (request->chat) {
        request->prompts = arena_array(arena, 1, sizeof *request->prompts);
        request->prompt_count = 1;
        if (request->prompts == NULL)
            return openai_refuse_as(error, 503, "server_error", NULL, "out of memory");
        if (!openai_read_messages(source, json, true, arena, request->prompts, error))
            return false;
    } else if (!openai_flag(json, "echo", false, &request->echo, error) ||
               !openai_read_prompts(source, json, arena, request, error)) {
        return false;
    }
    return read_budget(source, json, request, error);
}

bool openai_read_request(const struct openai_source *source, bool chat, const char *body,
                         size_t size, struct arena *arena, struct openai_request *request,
                         struct openai_error *error)
{
    *request = (struct openai_request){.chat = chat};
    json_t *json = openai_parse(body, size, error);
    if (json == NULL)
        return false;
    bool fine = read_request(source, json, arena, request, error);
    json_decref(json);
    return fine;
}

bool openai_read_tokenize(const struct openai_source *source, const char *body, size_t size,
                          struct arena *arena, struct openai_prompt *prompt,
                          struct openai_error *error)
{
    json_t *json = openai_parse(body, size, error);
    if (json == NULL)
        return false;
    bool special = true;
    const json_t *text = json_object_get(json, "prompt");
    bool fine = check_model(source, json, error) &&
                openai_flag(json, "add_special_tokens", true, &special, error);
    if (fine && json_object_get(json, "messages") != NULL)
        fine = openai_read_messages(source, json, true, arena, prompt, error);
    else if (fine && !json_is_string(text))
        fine = openai_refuse(error, "prompt", "prompt must be a text (or give messages)");
    else if (fine)
        fine = openai_read_text(source, json_string_value(text), json_string_length(text), special,
                                arena, prompt, error);
    json_decref(json);
    return fine;
}

bool openai_read_detokenize(const struct openai_source *source, const char *body, size_t size,
                            struct arena *arena, struct openai_prompt *prompt,
                            struct openai_error *error)
{
    json_t *json = openai_parse(body, size, error);
    if (json == NULL)
        return false;
    const json_t *tokens = json_object_get(json, "tokens");
    bool fine = check_model(source, json, error);
    if (fine && !json_is_array(tokens))
        fine = openai_refuse(error, "tokens", "tokens must be a list of ids");
    else if (fine)
        fine = openai_read_ids(source, "tokens", tokens, arena, prompt, error);
    json_decref(json);
    return fine;
}
