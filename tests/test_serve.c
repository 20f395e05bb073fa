/* links: actor */
/* timeout: 60 */
/* serve: answers of the endpoint depend on nothing but the request, errors say what is wrong, and clients that go away
 * leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "actor/score.h"
#include "tests/around_tokenizer.h"
#include "tests/serve_world.h"
#include "tests/slow.h"

static json_t *parse(const struct reply *reply)
{
    json_t *json =
        json_loadb((const char *)reply->body.bytes, reply->body.size, JSON_ALLOW_NUL, NULL);
    if (json == NULL)
        fail_msg("no JSON: %.*s", (int)reply->raw.size, (const char *)reply->raw.bytes);
    return json;
}

/* The answer to a POST, which must have this status. */
static json_t *ask(const struct serve_world *world, const char *path, const char *body, int status)
{
    struct reply reply = client_ask(world, path, body);
    json_t *json = parse(&reply);
    if (reply.status != status)
        fail_msg("%s -> %d, not %d: %.*s", body, reply.status, status, (int)reply.body.size,
                 (const char *)reply.body.bytes);
    reply_free(&reply);
    return json;
}

static json_t *choice(json_t *answer, size_t i)
{
    return json_array_get(json_object_get(answer, "choices"), i);
}

static const char *text_of(json_t *answer, size_t i)
{
    return json_string_value(json_object_get(choice(answer, i), "text"));
}

/* What the server holds is what it held at the start. */
static void assert_empty(struct serve_world *world)
{
    for (int i = 0; i < 5000; i++) {
        struct serve_load load;
        serve_get_load(http_hub(world->server), &load);
        if (load.waiting == 0 && load.running == 0 && http_connections(world->server) == 0)
            break;
        clock_sleep_ms(2);
    }
    struct serve_load load;
    serve_get_load(http_hub(world->server), &load);
    assert_int_equal(load.waiting + load.running, 0);
    assert_int_equal(http_connections(world->server), 0);
    atomic_store(&world->held, true);
    clock_sleep_ms(20);
    for (uint32_t i = 0; i < world->engine.desk.config.slots; i++)
        assert_int_equal(world->engine.desk.slots[i].state, SLOT_FREE);
    assert_int_equal(model_cache_pages_free(world->engine.cache), world->pages);
    atomic_store(&world->held, false);
}

/* ---- answers ---- */

static void test_serve_same_seed_gives_the_same_text_alone_and_in_company(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    json_t *alone =
        ask(&world, "/v1/completions", "{\"prompt\":\"abc\",\"max_tokens\":20,\"seed\":5}", 200);
    json_t *three =
        ask(&world, "/v1/completions",
            "{\"prompt\":[\"abc\",\"xy\",[97,98,99]],\"n\":2,\"max_tokens\":20,"
            "\"seed\":5,\"model\":\"tiny\",\"user\":\"nobody\",\"truncate_prompt_tokens\":null,"
            "\"skip_special_tokens\":true,\"prompt_logprobs\":null}",
            200);
    assert_int_equal(json_array_size(json_object_get(three, "choices")), 6);
    assert_string_equal(text_of(alone, 0), text_of(three, 0));
    assert_string_not_equal(text_of(three, 0), text_of(three, 1)); /* n: another sample */
    json_t *other =
        ask(&world, "/v1/completions", "{\"prompt\":\"abc\",\"max_tokens\":20,\"seed\":6}", 200);
    assert_string_not_equal(text_of(alone, 0), text_of(other, 0));
    assert_string_equal(json_string_value(json_object_get(alone, "system_fingerprint")), "w7");
    json_t *usage = json_object_get(three, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), 3 + 2 + 3);
    json_decref(alone);
    json_decref(three);
    json_decref(other);
    assert_empty(&world);
    serve_shut(&world);
}

/* The ids that an answer's tokens stand for: single bytes. */
static unsigned byte_of(const char *token)
{
    return strncmp(token, "bytes:\\x", 8) == 0   ? (unsigned)strtoul(token + 8, NULL, 16)
           : strncmp(token, "token_id:", 9) == 0 ? (unsigned)strtoul(token + 9, NULL, 10)
                                                 : (unsigned char)token[0];
}

struct scores {
    float logprobs[64];
    uint32_t count;
};

static enum status keep_scores(void *self, const struct scored *scored)
{
    struct scores *scores = self;
    assert_true(scored->count <= 64);
    scores->count = scored->count;
    memcpy(scores->logprobs, scored->logprobs, scored->count * sizeof *scored->logprobs);
    return STATUS_OK;
}

/* What `weir score` says of the ids, by an engine of its own. */
static void score(const struct serve_world *world, const uint32_t *ids, uint32_t count,
                  struct scores *scores)
{
    struct engine engine;
    struct scorer *scorer = NULL;
    struct scorer_request request = {.tag = 1, .ids = ids, .count = count};
    bool worked = false;
    must(engine_create(&engine, &world->settings, 0, 1));
    must(engine_load_folder(&engine, serve_model));
    must(scorer_create(&scorer, &engine, keep_scores, scores));
    must(scorer_add(scorer, &request));
    while (scorer_pending(scorer) > 0)
        must(scorer_step(scorer, &worked));
    scorer_destroy(&scorer);
    engine_destroy(&engine);
}

static void test_serve_echo_scores_tokens_as_sampling_and_weir_score_do(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    char body[2048];
    size_t size = (size_t)snprintf(body, sizeof body, "{\"prompt\":[97,98,99");
    json_t *made = ask(&world, "/v1/completions",
                       "{\"prompt\":\"abc\",\"max_tokens\":40,\"seed\":9,\"logprobs\":3,"
                       "\"temperature\":0.7,\"top_p\":0.9,\"ignore_eos\":true}",
                       200);
    json_t *lists = json_object_get(choice(made, 0), "logprobs");
    json_t *tokens = json_object_get(lists, "tokens"), *token;
    json_t *logprobs = json_object_get(lists, "token_logprobs");
    uint32_t ids[43] = {97, 98, 99};
    size_t i;
    assert_int_equal(json_array_size(tokens), 40);
    json_array_foreach(tokens, i, token)
    {
        ids[3 + i] = byte_of(json_string_value(token));
        size += (size_t)snprintf(body + size, sizeof body - size, ",%u", ids[3 + i]);
    }
    snprintf(body + size, sizeof body - size,
             "],\"max_tokens\":0,\"echo\":true,\"logprobs\":1,\"temperature\":0}");
    json_t *scored = ask(&world, "/v1/completions", body, 200);
    json_t *again = json_object_get(choice(scored, 0), "logprobs");
    json_t *echoed = json_object_get(again, "token_logprobs");
    struct scores scores = {.count = 0};
    score(&world, ids, 43, &scores);
    assert_int_equal(scores.count, 43);
    assert_int_equal(json_array_size(echoed), 43);
    assert_true(json_is_null(json_array_get(echoed, 0)));
    json_array_foreach(logprobs, i, token)
    {
        double a = json_real_value(token), b = json_real_value(json_array_get(echoed, i + 3));
        assert_true(a < 0.0 && a == b && (float)b == scores.logprobs[i + 3]);
        json_t *top = json_array_get(json_object_get(again, "top_logprobs"), i + 3), *value;
        const char *key;
        bool there = false;
        json_object_foreach(top, key, value) there |= json_real_value(value) == b;
        assert_true(there);
    }
    json_decref(made);
    json_decref(scored);
    serve_shut(&world);
}

static void test_serve_greedy_takes_the_most_probable_token(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    json_t *made = ask(&world, "/v1/completions",
                       "{\"prompt\":\"abc\",\"max_tokens\":20,\"logprobs\":1,\"temperature\":0,"
                       "\"ignore_eos\":true}",
                       200);
    json_t *lists = json_object_get(choice(made, 0), "logprobs"), *top;
    size_t i;
    json_array_foreach(json_object_get(lists, "top_logprobs"), i, top)
    {
        assert_int_equal(json_object_size(top), 1);
        const char *name = json_string_value(json_array_get(json_object_get(lists, "tokens"), i));
        assert_non_null(json_object_get(top, name));
    }
    json_decref(made);
    serve_shut(&world);
}

/* Chat's own shape of the top ones. */
static void test_serve_chat_top_logprobs_have_the_token_itself(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    json_t *made = ask(&world, "/v1/chat/completions",
                       "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":20,"
                       "\"seed\":4,\"logprobs\":true,\"top_logprobs\":1,\"temperature\":3,"
                       "\"ignore_eos\":true}",
                       200);
    const json_t *content =
        json_object_get(json_object_get(choice(made, 0), "logprobs"), "content");
    size_t others = 0;
    assert_int_equal(json_array_size(content), 20);
    for (size_t i = 0; i < 20; i++) {
        const json_t *one = json_array_get(content, i), *top = json_object_get(one, "top_logprobs");
        const json_t *last = json_array_get(top, json_array_size(top) - 1);
        others += json_array_size(top) == 2;
        assert_true(json_equal(json_object_get(last, "token"), json_object_get(one, "token")));
        assert_true(json_equal(json_object_get(last, "logprob"), json_object_get(one, "logprob")));
    }
    assert_true(others > 0);
    json_decref(made);
    serve_shut(&world);
}

/* ---- streams ---- */

/* The texts of all events together; *events counts them. */
static void join_events(const struct reply *reply, bool chat, struct buffer *text, int *events,
                        char finish[16])
{
    struct buffer copy;
    buffer_init(&copy, 0);
    must(buffer_append(&copy, reply->body.bytes, reply->body.size));
    finish[0] = '\0';
    *events = 0;
    bool done = false;
    for (char *at = (char *)(uintptr_t)buffer_string(&copy), *end; *at != '\0'; at = end + 2) {
        end = strstr(at, "\n\n");
        assert_non_null(end);
        assert_false(done);
        assert_int_equal(strncmp(at, "data: ", 6), 0);
        *end = '\0';
        done = strcmp(at + 6, "[DONE]") == 0;
        if (done)
            continue;
        json_t *json = json_loads(at + 6, JSON_ALLOW_NUL, NULL), *one = choice(json, 0);
        assert_non_null(json);
        (*events)++;
        json_t *piece = chat ? json_object_get(json_object_get(one, "delta"), "content")
                             : json_object_get(one, "text");
        if (json_is_string(piece))
            must(buffer_append(text, json_string_value(piece), json_string_length(piece)));
        const char *reason = json_string_value(json_object_get(one, "finish_reason"));
        if (reason != NULL)
            snprintf(finish, 16, "%s", reason);
        json_decref(json);
    }
    assert_true(done);
    buffer_free(&copy);
}

static void test_serve_streams_say_what_whole_answers_say(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    for (int seed = 1; seed <= 6; seed++)
        for (int kind = 0; kind < 2; kind++) {
            static const char *const inside[] = {
                "\"prompt\":\"abc\"", "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"};
            const char *path = kind == 0 ? "/v1/completions" : "/v1/chat/completions";
            char body[512], finish[16];
            int events = 0;
            struct buffer text;
            buffer_init(&text, 0);
            snprintf(body, sizeof body,
                     "{%s,\"max_tokens\":30,\"seed\":%d,\"stop\":[\"e\",\"..\"]}", inside[kind],
                     seed);
            json_t *whole = ask(&world, path, body, 200);
            json_t *one = choice(whole, 0);
            const char *said = json_string_value(
                kind == 0 ? json_object_get(one, "text")
                          : json_object_get(json_object_get(one, "message"), "content"));
            snprintf(body, sizeof body,
                     "{%s,\"max_tokens\":30,\"seed\":%d,\"stop\":[\"e\",\"..\"],\"stream\":true}",
                     inside[kind], seed);
            struct reply reply = client_ask(&world, path, body);
            assert_int_equal(reply.status, 200);
            join_events(&reply, kind == 1, &text, &events, finish);
            assert_string_equal(buffer_string(&text), said);
            assert_null(strchr(said, 'e'));
            assert_string_equal(finish, json_string_value(json_object_get(one, "finish_reason")));
            json_decref(whole);
            reply_free(&reply);
            buffer_free(&text);
        }
    assert_empty(&world);
    serve_shut(&world);
}

/* ---- a tokenizer that puts a token before texts ---- */

static void around_serve(struct serve_world *world)
{
    char path[FILE_PATH_MAX];
    must(file_path(path, "%s/tokenizer.json", serve_model));
    must(file_replace(path, around_json, sizeof around_json - 1));
    serve_open(world, NULL, 0);
    must(file_remove_tree(path));
}

static void add_numbers(const json_t *list, char *text, size_t size)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        size_t at = strlen(text);
        snprintf(text + at, size - at, "%s%lld", at > 0 ? " " : "",
                 (long long)json_integer_value(json_array_get(list, i)));
    }
}

/* text_offset of an answer, or of all events of a stream. */
static void offsets(const struct serve_world *world, const char *body, char text[256])
{
    struct reply reply = client_ask(world, "/v1/completions", body);
    assert_int_equal(reply.status, 200);
    text[0] = '\0';
    for (const char *at = buffer_string(&reply.body); at != NULL; at = strstr(at, "\n\n")) {
        at = strchr(at, '{');
        json_t *json =
            at != NULL ? json_loads(at, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, NULL) : NULL;
        if (json == NULL)
            break;
        const json_t *lists = json_object_get(choice(json, 0), "logprobs");
        add_numbers(json_object_get(lists, "text_offset"), text, 256);
        json_decref(json);
    }
    reply_free(&reply);
}

static void test_serve_offsets_count_the_text_and_not_its_begin(void **state)
{
    (void)state;
    struct serve_world world;
    char whole[256], stream[256];
    around_serve(&world);
    /* <s> ab c, then the answer */
    offsets(&world,
            "{\"prompt\":\"abc\",\"max_tokens\":4,\"echo\":true,\"logprobs\":1,\"seed\":3,"
            "\"ignore_eos\":true}",
            whole);
    offsets(&world,
            "{\"prompt\":\"abc\",\"max_tokens\":4,\"echo\":true,\"logprobs\":1,\"seed\":3,"
            "\"ignore_eos\":true,\"stream\":true}",
            stream);
    assert_int_equal(strncmp(whole, "0 0 2 3 ", 8), 0);
    assert_string_equal(stream, whole);
    /* ids are text, also those of special tokens */
    offsets(&world, "{\"prompt\":[9,6,3],\"max_tokens\":0,\"echo\":true,\"logprobs\":1}", whole);
    assert_string_equal(whole, "0 3 5");
    serve_shut(&world);
}

static void expect_tokens(const struct serve_world *world, const char *body, const char *wanted)
{
    char text[256] = "";
    json_t *made = ask(world, "/tokenize", body, 200);
    add_numbers(json_object_get(made, "tokens"), text, sizeof text);
    assert_string_equal(text, wanted);
    json_decref(made);
}

/* The ids of /v1/completions: what stands before a text, nothing of what stands behind. */
static void test_serve_tokenize_gives_the_ids_of_a_prompt(void **state)
{
    (void)state;
    struct serve_world world;
    around_serve(&world);
    expect_tokens(&world, "{\"prompt\":\"abc\"}", "9 6 3");
    expect_tokens(&world, "{\"prompt\":\"abc\",\"add_special_tokens\":false}", "6 3");
    expect_tokens(&world, "{\"prompt\":\"\"}", "9");
    expect_tokens(&world, "{\"prompt\":\"\",\"add_special_tokens\":false}", "");
    json_t *made = ask(&world, "/v1/completions", "{\"prompt\":\"\",\"max_tokens\":1}", 200);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(made, "usage"), "prompt_tokens")), 1);
    json_decref(made);
    serve_shut(&world);
}

static void test_serve_begin_of_text_can_be_left_out(void **state)
{
    (void)state;
    struct serve_world world;
    char whole[256];
    around_serve(&world);
    offsets(&world,
            "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1,"
            "\"add_special_tokens\":false}",
            whole);
    assert_string_equal(whole, "0 2");
    offsets(&world, "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1}", whole);
    assert_string_equal(whole, "0 0 2");
    serve_shut(&world);
}

/* As long as the context is: a prompt whose tokens are scored, or one less with a token to answer. */
static void test_serve_prompt_may_fill_the_context(void **state)
{
    (void)state;
    enum { CONTEXT = 256 };
    static const struct {
        uint32_t count, tokens;
        int status;
        const char *says;
    } cases[] = {{CONTEXT, 0, 200, NULL},
                 {CONTEXT - 1, 1, 200, NULL},
                 {CONTEXT, 1, 400, "(a prompt of 255 at most)"},
                 {CONTEXT + 1, 0, 400, "(a prompt of 256 at most)"}};
    struct serve_world world;
    serve_open(&world, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char prompt[CONTEXT + 2] = "", body[CONTEXT + 128];
        memset(prompt, 'a', cases[i].count);
        snprintf(body, sizeof body,
                 "{\"prompt\":\"%s\",\"max_tokens\":%u,\"echo\":true,\"logprobs\":1}", prompt,
                 cases[i].tokens);
        json_t *made = ask(&world, "/v1/completions", body, cases[i].status);
        const json_t *lists = json_object_get(choice(made, 0), "logprobs");
        if (cases[i].status == 200)
            assert_int_equal(json_array_size(json_object_get(lists, "token_logprobs")), CONTEXT);
        else
            assert_non_null(strstr(
                json_string_value(json_object_get(json_object_get(made, "error"), "message")),
                cases[i].says));
        json_decref(made);
    }
    assert_empty(&world);
    serve_shut(&world);
}

/* ---- messages ---- */

/* Built-in formats are those of runs (text/chat.h), with everything that contents have. */
static void test_serve_messages_are_rendered_as_in_runs(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    static const char wanted[] = "<|im_start|>user\na\0b\nc<|im_end|>\n<|im_start|>assistant\n";
    json_t *made = ask(&world, "/tokenize",
                       "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                       "\"a\\u0000b\"},{\"type\":\"text\",\"text\":\"c\"}]}]}",
                       200);
    const json_t *tokens = json_object_get(made, "tokens");
    assert_int_equal(json_array_size(tokens), sizeof wanted - 1);
    for (size_t i = 0; i < sizeof wanted - 1; i++)
        assert_int_equal(json_integer_value(json_array_get(tokens, i)), (unsigned char)wanted[i]);
    json_decref(made);
    serve_shut(&world);
}

/* ---- errors ---- */

static const struct {
    const char *path, *body;
    int status;
    const char *param, *says;
} refused[] = {
    {"/v1/completions", "{\"prompt\":", 400, NULL, "line 1"},
    {"/v1/completions", "[1]", 400, NULL, "object"},
    {"/v1/completions", "", 400, NULL, "not JSON"},
    {"/v1/completions", "{}", 400, "prompt", "missing"},
    {"/v1/completions", "{\"prompt\":\"\"}", 400, "prompt", "empty"},
    {"/v1/completions", "{\"prompt\":[]}", 400, "prompt", "empty"},
    {"/v1/completions", "{\"prompt\":[[1],[]]}", 400, "prompt", "empty"},
    {"/v1/completions", "{\"prompt\":7}", 400, "prompt", "list of ids"},
    {"/v1/completions", "{\"prompt\":[1,260]}", 400, "prompt", "vocabulary of 260"},
    {"/v1/completions", "{\"prompt\":[-1]}", 400, "prompt", "vocabulary"},
    {"/v1/completions", "{\"prompt\":[1,2.5]}", 400, "prompt", "whole number"},
    {"/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":0}", 400, "max_tokens", "from 1"},
    {"/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":\"7\"}", 400, "max_tokens", "text"},
    {"/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":256}", 400, "max_tokens", "256"},
    {"/v1/completions", "{\"prompt\":\"a\",\"temperature\":-1}", 400, "temperature", "-1"},
    {"/v1/completions", "{\"prompt\":\"a\",\"temperature\":1e-9}", 400, "temperature", "1e-09"},
    {"/v1/completions", "{\"prompt\":\"a\",\"top_p\":0}", 400, "top_p", "above 0"},
    {"/v1/completions", "{\"prompt\":\"a\",\"n\":2000}", 400, "n", "1024"},
    {"/v1/completions", "{\"prompt\":\"a\",\"best_of\":3}", 400, "best_of", "best_of"},
    {"/v1/completions", "{\"prompt\":\"a\",\"suffix\":\"b\"}", 400, "suffix", "supported"},
    {"/v1/completions", "{\"prompt\":\"a\",\"logit_bias\":{\"5\":1}}", 400, "logit_bias", ""},
    {"/v1/completions", "{\"prompt\":\"a\",\"presence_penalty\":0.5}", 400, "presence_penalty", ""},
    {"/v1/completions", "{\"prompt\":\"a\",\"add_special_tokens\":1}", 400, "add_special_tokens",
     "true or false"},
    {"/v1/completions", "{\"prompt\":\"a\",\"truncate_prompt_tokens\":4}", 400,
     "truncate_prompt_tokens", "supported"},
    {"/v1/completions", "{\"prompt\":\"a\",\"skip_special_tokens\":false}", 400,
     "skip_special_tokens", "supported"},
    {"/v1/completions", "{\"prompt\":\"a\",\"prompt_logprobs\":1}", 400, "prompt_logprobs",
     "supported"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"add_special_tokens\":true}", 400,
     "add_special_tokens", "template"},
    {"/v1/completions", "{\"prompt\":\"a\",\"logprobs\":21}", 400, "logprobs", "20"},
    {"/v1/completions", "{\"prompt\":\"a\",\"stop\":[\"\"]}", 400, "stop", "item 0"},
    {"/v1/completions", "{\"prompt\":\"a\",\"stream_options\":{}}", 400, "stream_options", ""},
    {"/v1/completions", "{\"prompt\":\"a\",\"model\":\"gpt\"}", 404, "model", "tiny"},
    {"/v1/chat/completions", "{\"messages\":[]}", 400, "messages", "at least one"},
    {"/v1/chat/completions", "{\"messages\":[{\"content\":\"x\"}]}", 400, "messages", "role"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"image_url\"}]}]}",
     400, "messages", "image_url"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", 400,
     "messages", "messages[0].content must be a text"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"assistant\"}]}", 400, "messages",
     "messages[0].content must be a text"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]}", 400,
     "messages", "the chat format: message 0 lacks"}, /* this format has none */
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{}]}", 400, "tools", ""},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_logprobs\":2}", 400,
     "top_logprobs", "logprobs"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":"
     "\"json_object\"}}",
     400, "response_format", ""},
    {"/tokenize", "{\"prompt\":[1]}", 400, "prompt", "text"},
    {"/detokenize", "{\"tokens\":[1,999]}", 400, "tokens", "vocabulary"},
    {"/nowhere", "{}", 404, NULL, "/nowhere"},
    {"/health", "{}", 405, NULL, "GET"},
};

static void test_serve_wrong_requests_are_refused_by_name(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        json_t *json = ask(&world, refused[i].path, refused[i].body, refused[i].status);
        json_t *error = json_object_get(json, "error");
        const char *message = json_string_value(json_object_get(error, "message"));
        json_t *param = json_object_get(error, "param");
        if (message == NULL || strstr(message, refused[i].says) == NULL ||
            (refused[i].param == NULL
                 ? !json_is_null(param)
                 : json_string_value(param) == NULL ||
                       strcmp(json_string_value(param), refused[i].param) != 0))
            fail_msg("%s: %s", refused[i].body, json_dumps(json, 0));
        assert_non_null(json_string_value(json_object_get(error, "type")));
        json_decref(json);
    }
    assert_empty(&world);
    serve_shut(&world);
}

static void expect(const struct serve_world *world, const char *text, int status, const char *says)
{
    struct reply reply = client_raw(world, text);
    if (reply.status != status || strcasestr(buffer_string(&reply.raw), says) == NULL)
        fail_msg("%s -> %s", text, buffer_string(&reply.raw));
    reply_free(&reply);
}

static void test_serve_http_is_spoken_as_the_standard_says(void **state)
{
    (void)state;
    struct serve_world world;
    const char *const more[] = {"actor.http_body_max=1024"};
    serve_open(&world, more, 1);
    expect(&world, "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200,
           "Content-Length");
    expect(&world, "PUT /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405,
           "Allow: GET, HEAD");
    expect(&world, "GET /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405,
           "Allow: POST");
    expect(&world,
           "POST /tokenize HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: "
           "chunked\r\n\r\n8\r\n{\"prompt\r\n6\r\n\":\"a\"}\r\n0\r\n\r\n",
           200, "\"tokens\":[97]");
    expect(&world,
           "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"}"
           "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
           200, "max_model_len\":256}]}"); /* kept alive, and pipelined */
    expect(&world, "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", 413,
           "1024 bytes");
    expect(&world, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200,
           "vllm:num_requests_running{model_name=\"tiny\"} 0");
    expect(&world, "GET /tokenizer_info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200,
           "\"eos_token\":null");
    expect(&world, "nonsense\r\n\r\n", 0, "");
    struct buffer big;
    buffer_init(&big, 0);
    must(buffer_text(&big, "{\"prompt\":\""));
    for (int i = 0; i < 4000; i++)
        must(buffer_text(&big, "a"));
    must(buffer_text(&big, "\"}"));
    json_decref(ask(&world, "/tokenize", buffer_string(&big), 413));
    buffer_free(&big);
    assert_empty(&world);
    serve_shut(&world);
}

static void test_serve_token_is_wanted_where_a_file_has_one(void **state)
{
    (void)state;
    struct serve_world world;
    char file[FILE_PATH_MAX], setting[FILE_PATH_MAX + 32];
    must(file_path(file, "%s/token", serve_base));
    must(file_replace(file, "very-secret\n", 12));
    snprintf(setting, sizeof setting, "actor.http_token=%s", file);
    const char *const more[] = {setting};
    serve_open(&world, more, 1);
    expect(&world, "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401,
           "Bearer");
    expect(&world,
           "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
           "very-secre\r\n\r\n",
           401, "Bearer");
    expect(&world,
           "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: bearer "
           "very-secret\r\n\r\n",
           200, "tiny");
    expect(&world, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "ok");
    serve_shut(&world);
    serve_open(&world, NULL, 0);
    struct http_config config = {.settings = &world.settings,
                                 .engine = &world.engine,
                                 .address = "0.0.0.0:0",
                                 .model = "tiny"};
    struct http_server *server = NULL;
    struct engine idle = {.settings = &world.settings};
    config.engine = &idle;
    assert_int_equal(http_open(&server, &config), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "actor.http_token"));
    serve_shut(&world);
}

/* ---- too much, and leaving ---- */

static void wait_for_load(struct serve_world *world, uint32_t waiting)
{
    struct serve_load load = {0};
    for (int i = 0; i < 5000 && load.waiting < waiting; i++) {
        serve_get_load(http_hub(world->server), &load);
        clock_sleep_ms(1);
    }
    assert_int_equal(load.waiting, waiting);
}

static void test_serve_too_many_waiting_are_told_to_come_back(void **state)
{
    (void)state;
    struct serve_world world;
    const char *const more[] = {"actor.http_waiting=3"};
    serve_open(&world, more, 1);
    atomic_store(&world.held, true);
    int first = client_connect(&world);
    client_post(first, "/v1/completions", "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":3}");
    wait_for_load(&world, 3);
    struct reply reply = client_ask(&world, "/v1/completions", "{\"prompt\":\"a\"}");
    assert_int_equal(reply.status, 429);
    assert_non_null(strstr(buffer_string(&reply.raw), "Retry-After"));
    reply_free(&reply);
    atomic_store(&world.held, false);
    client_read(first, &reply);
    assert_int_equal(reply.status, 200);
    reply_free(&reply);
    assert_empty(&world);
    serve_shut(&world);
}

static void test_serve_closing_answers_those_who_wait(void **state)
{
    (void)state;
    struct serve_world world;
    serve_open(&world, NULL, 0);
    atomic_store(&world.held, true);
    int whole = client_connect(&world), stream = client_connect(&world);
    client_post(whole, "/v1/completions", "{\"prompt\":\"a\"}");
    client_post(stream, "/v1/completions", "{\"prompt\":\"a\",\"stream\":true}");
    wait_for_load(&world, 2);
    serve_shut(&world);
    struct reply reply;
    client_read(whole, &reply);
    assert_int_equal(reply.status, 503);
    reply_free(&reply);
    client_read(stream, &reply);
    assert_non_null(strstr(buffer_string(&reply.body), "the server is leaving"));
    reply_free(&reply);
}

/* ---- many ---- */

enum { FLOOD_MAX = 300, FLOOD_KINDS = 20 };

/* Request k of the flood: kinds repeat, so that what each must say is known from asking alone. */
static void flood_body(int k, char body[512])
{
    int kind = k % FLOOD_KINDS;
    static const char *const temperatures[] = {"0", "1", "0.7", "1.3"};
    snprintf(body, 512,
             "{\"prompt\":\"%.*s\",\"max_tokens\":%d,\"seed\":%d,\"temperature\":%s%s%s%s}",
             1 + kind * 3, "The quick brown fox jumps over the lazy dog and then some", 8 + kind,
             kind, temperatures[kind % 4], kind % 3 == 0 ? ",\"logprobs\":2,\"echo\":true" : "",
             kind % 2 == 1 ? ",\"stream\":true" : "", kind % 5 == 4 ? ",\"n\":2" : "");
}

/* Without what names this very answer. */
static void flood_text(const struct reply *reply, struct buffer *text)
{
    const char *at = buffer_string((struct buffer *)(uintptr_t)&reply->body);
    if (strncmp(at, "data: ", 6) != 0) {
        json_t *json = parse(reply);
        char *choices = json_dumps(json_object_get(json, "choices"), JSON_SORT_KEYS);
        must(buffer_text(text, choices));
        free(choices);
        json_decref(json);
        return;
    }
    /* Events may be cut differently; with several choices they may come in another order. */
    for (int want = 0; want < 2; want++)
        for (const char *event = at; (event = strstr(event, "data: {")) != NULL; event++) {
            json_t *json = json_loads(event + 6, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
            assert_non_null(json);
            json_t *piece = json_object_get(choice(json, 0), "text"); /* may hold NUL */
            if (json_integer_value(json_object_get(choice(json, 0), "index")) == want)
                must(buffer_append(text, json_string_value(piece), json_string_length(piece)));
            json_decref(json);
        }
}

static void test_serve_a_flood_with_half_of_it_cancelled_leaves_the_rest_right(void **state)
{
    (void)state;
    struct serve_world world;
    static int fds[FLOOD_MAX];
    struct buffer alone[FLOOD_KINDS];
    char body[512];
    int count = (int)test_times(FLOOD_MAX, 80);
    serve_open(&world, NULL, 0);
    for (int kind = 0; kind < FLOOD_KINDS; kind++) {
        buffer_init(&alone[kind], 0);
        flood_body(kind, body);
        struct reply reply = client_ask(&world, "/v1/completions", body);
        assert_int_equal(reply.status, 200);
        flood_text(&reply, &alone[kind]);
        reply_free(&reply);
    }
    assert_empty(&world);
    int descriptors = serve_descriptors();
    for (int k = 0; k < count; k++) {
        fds[k] = client_connect(&world);
        flood_body(k, body);
        client_post(fds[k], "/v1/completions", body);
    }
    /* Every second one leaves: some at once, some when they have a part of their answer. */
    for (int k = 0; k < count; k++)
        if (k / FLOOD_KINDS % 2 == 1) {
            struct pollfd fd = {.fd = fds[k], .events = POLLIN};
            if (k % 3 != 0)
                (void)poll(&fd, 1, 20);
            close(fds[k]);
        }
    for (int k = 0; k < count; k++) {
        if (k / FLOOD_KINDS % 2 == 1)
            continue;
        struct reply reply;
        struct buffer text;
        buffer_init(&text, 0);
        client_read(fds[k], &reply);
        assert_int_equal(reply.status, 200);
        flood_text(&reply, &text);
        assert_int_equal(text.size, alone[k % FLOOD_KINDS].size);
        assert_memory_equal(text.bytes, alone[k % FLOOD_KINDS].bytes, text.size);
        buffer_free(&text);
        reply_free(&reply);
    }
    assert_empty(&world);
    assert_int_equal(serve_descriptors(), descriptors);
    for (int kind = 0; kind < FLOOD_KINDS; kind++)
        buffer_free(&alone[kind]);
    serve_shut(&world);
}

static void test_serve_nothing_is_left_of_a_server(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    int descriptors = serve_descriptors();
    struct serve_world world;
    serve_open(&world, NULL, 0);
    int gone = client_connect(&world);
    client_post(gone, "/v1/completions",
                "{\"prompt\":\"a\",\"max_tokens\":200,\"ignore_eos\":true}");
    close(gone);
    json_decref(ask(&world, "/v1/completions", "{\"prompt\":\"a\"}", 200));
    serve_shut(&world);
    assert_int_equal(memory_blocks_live(), blocks);
    assert_int_equal(serve_descriptors(), descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serve_same_seed_gives_the_same_text_alone_and_in_company),
        cmocka_unit_test(test_serve_echo_scores_tokens_as_sampling_and_weir_score_do),
        cmocka_unit_test(test_serve_chat_top_logprobs_have_the_token_itself),
        cmocka_unit_test(test_serve_greedy_takes_the_most_probable_token),
        cmocka_unit_test(test_serve_streams_say_what_whole_answers_say),
        cmocka_unit_test(test_serve_offsets_count_the_text_and_not_its_begin),
        cmocka_unit_test(test_serve_begin_of_text_can_be_left_out),
        cmocka_unit_test(test_serve_tokenize_gives_the_ids_of_a_prompt),
        cmocka_unit_test(test_serve_prompt_may_fill_the_context),
        cmocka_unit_test(test_serve_messages_are_rendered_as_in_runs),
        cmocka_unit_test(test_serve_wrong_requests_are_refused_by_name),
        cmocka_unit_test(test_serve_http_is_spoken_as_the_standard_says),
        cmocka_unit_test(test_serve_token_is_wanted_where_a_file_has_one),
        cmocka_unit_test(test_serve_too_many_waiting_are_told_to_come_back),
        cmocka_unit_test(test_serve_closing_answers_those_who_wait),
        cmocka_unit_test(test_serve_a_flood_with_half_of_it_cancelled_leaves_the_rest_right),
        cmocka_unit_test(test_serve_nothing_is_left_of_a_server),
    };
    return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
