/* actor/http_routes.c - what is offered, and the small answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actor/http_state.h"
#include "core/file.h"
#include "core/memory.h"

enum { TOKENIZE_ARENA_PER_BYTE = 64, TOKENIZE_ARENA_SPARE = 16 << 20 };

static enum MHD_Result answer_models(struct exchange *exchange)
{
    const struct http_server *server = exchange->server;
    json_t *json =
        json_pack("{s:s,s:[{s:s,s:s,s:I,s:s,s:s,s:n,s:I}]}", "object", "list", "data", "id",
                  server->config.model, "object", "model", "created", (json_int_t)server->started_s,
                  "owned_by", "weir", "root", server->config.settings->model.path, "parent",
                  "max_model_len", (json_int_t)server->source.context);
    return http_respond_json(exchange, 200, json);
}

/* Without weights (an actor that waits for its first version) nothing could be answered. */
static enum MHD_Result answer_health(struct exchange *exchange)
{
    const struct http_server *server = exchange->server;
    double version = metric_read(&server->config.engine->metrics.policy_version);
    json_t *json = json_pack("{s:s,s:s,s:I}", "status", "ok", "model", server->config.model,
                             "version", (json_int_t)version);
    return http_respond_json(exchange, 200, json);
}

static bool open_arena(struct exchange *exchange)
{
    size_t limit = TOKENIZE_ARENA_SPARE + exchange->body.size * TOKENIZE_ARENA_PER_BYTE;
    return arena_create(&exchange->arena, limit) == STATUS_OK ||
           openai_refuse_as(&exchange->error, 503, "server_error", NULL, "out of memory");
}

static enum MHD_Result answer_tokenize(struct exchange *exchange)
{
    const struct openai_source *source = &exchange->server->source;
    struct openai_prompt prompt = {0};
    if (!open_arena(exchange) ||
        !openai_read_tokenize(source, buffer_string(&exchange->body), exchange->body.size,
                              exchange->arena, &prompt, &exchange->error))
        return http_refuse(exchange, &exchange->error);
    json_t *tokens = json_array();
    for (uint32_t i = 0; i < prompt.count; i++)
        if (json_array_append_new(tokens, json_integer(prompt.ids[i])) != 0)
            break;
    return http_respond_json(exchange, 200,
                             json_pack("{s:i,s:I,s:o}", "count", (int)prompt.count, "max_model_len",
                                       (json_int_t)source->context, "tokens", tokens));
}

static enum MHD_Result answer_detokenize(struct exchange *exchange)
{
    const struct openai_source *source = &exchange->server->source;
    struct openai_prompt prompt = {0};
    struct buffer raw, text;
    if (!open_arena(exchange) ||
        !openai_read_detokenize(source, buffer_string(&exchange->body), exchange->body.size,
                                exchange->arena, &prompt, &exchange->error))
        return http_refuse(exchange, &exchange->error);
    buffer_init(&raw, 0);
    buffer_init(&text, 0);
    enum status status = tokenizer_decode(source->tokenizer, prompt.ids, prompt.count, false, &raw);
    if (status == STATUS_OK)
        status = text_append_utf8(&text, raw.bytes, raw.size);
    json_t *json = status == STATUS_OK
                       ? json_pack("{s:o}", "prompt", json_stringn(buffer_string(&text), text.size))
                       : NULL;
    buffer_free(&raw);
    buffer_free(&text);
    return http_respond_json(exchange, 200, json);
}

static enum MHD_Result answer_tokenizer_info(struct exchange *exchange)
{
    const char *text = exchange->server->tokenizer_info;
    return http_respond(exchange, 200, "application/json", text, strlen(text));
}

static const struct http_route routes[] = {
    {"/v1/completions", true, false, http_complete},
    {"/v1/chat/completions", true, false, http_complete},
    {"/v1/models", false, false, answer_models},
    {"/tokenize", true, false, answer_tokenize},
    {"/detokenize", true, false, answer_detokenize},
    {"/tokenizer_info", false, false, answer_tokenizer_info},
    {"/health", false, true, answer_health},
    {"/metrics", false, false, http_metrics},
};

const struct http_route *http_find_route(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

/* ---- what a tokenizer is, for harnesses that ask ---- */

/* A special token may be written as a text, or as an object with it. */
static void flatten_tokens(json_t *info)
{
    static const char *const names[] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *token = json_object_get(info, names[i]);
        json_t *content = json_object_get(token, "content");
        if (json_is_string(content))
            json_object_set(info, names[i], content);
        else if (token == NULL)
            json_object_set_new(info, names[i], json_null());
    }
}

static json_t *read_config(const char *folder)
{
    char path[FILE_PATH_MAX];
    json_t *info = NULL;
    if (file_path(path, "%s/tokenizer_config.json", folder) == STATUS_OK)
        info = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL); /* model_max_length 1e30 */
    if (json_is_object(info))
        return info;
    json_decref(info);
    return json_object();
}

char *http_read_tokenizer_info(const struct http_server *server)
{
    json_t *info = read_config(server->config.settings->model.path);
    json_object_del(info, "added_tokens_decoder"); /* long, and nobody asks for it here */
    flatten_tokens(info);
    json_object_set_new(info, "vocab_size", json_integer(tokenizer_vocabulary(server->tokenizer)));
    json_object_set_new(info, "model_max_length", json_integer(server->source.context));
    if (server->chat.template != NULL)
        json_object_set_new(info, "chat_template",
                            json_string(chat_template_source(server->chat.template)));
    if (json_object_get(info, "tokenizer_class") == NULL)
        json_object_set_new(info, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    struct buffer text;
    buffer_init(&text, 0);
    char *copy =
        openai_write_json(info, &text) == STATUS_OK ? memory_text(buffer_string(&text)) : NULL;
    buffer_free(&text);
    json_decref(info);
    return copy;
}
