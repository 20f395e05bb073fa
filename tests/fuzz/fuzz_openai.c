/* links: actor */
/* Bodies of requests to the endpoint: any bytes give a request within its limits, or an error that is JSON; and tokens
 * with any stop texts give a stream of whole characters that joins to the same text. The first byte says which body. */
#include <stdlib.h>
#include <string.h>

#include "actor/openai.h"
#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t fixed_seed(void)
{
    return 1;
}

static const char template_text[] =
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}";

static void check_error(const struct openai_error *error)
{
    json_t *json = openai_error_json(error);
    CHECK(json != NULL && error->status >= 400 && error->status < 600);
    json_decref(json);
}

static void check_request(const struct openai_source *source, const struct openai_request *request)
{
    CHECK(request->prompt_count * request->n <= OPENAI_CHOICES_MAX && request->n > 0);
    CHECK(request->top <= OPENAI_TOP_MAX && request->stop_count <= OPENAI_STOPS_MAX);
    for (uint32_t p = 0; p < request->prompt_count; p++) {
        const struct openai_prompt *prompt = &request->prompts[p];
        CHECK(prompt->count > 0 && prompt->count + prompt->budget <= source->context);
        for (uint32_t i = 0; i < prompt->count; i++)
            CHECK(prompt->ids[i] < source->vocabulary);
    }
}

/* The bytes of `data` as tokens of the byte tokenizer. */
static void check_text(const struct openai_source *source, const struct openai_request *request,
                       const uint8_t *data, size_t size)
{
    struct openai_text text;
    struct buffer given;
    const char *piece = NULL;
    size_t count = 0;
    bool stopped = false;
    buffer_init(&given, 0);
    CHECK(openai_text_create(&text, source->tokenizer, false, request->stops,
                             request->stop_count) == STATUS_OK);
    for (size_t i = 0; i < size && !stopped; i++) {
        CHECK(openai_text_push(&text, data[i], &stopped) == STATUS_OK);
        openai_text_take(&text, &piece, &count);
        CHECK(count == 0 || ((uint8_t)piece[0] & 0xC0) != 0x80);
        CHECK(buffer_append(&given, piece, count) == STATUS_OK);
    }
    CHECK(openai_text_end(&text) == STATUS_OK);
    openai_text_take(&text, &piece, &count);
    CHECK(buffer_append(&given, piece, count) == STATUS_OK);
    CHECK(given.size == text.text.size &&
          (given.size == 0 || memcmp(given.bytes, text.text.bytes, given.size) == 0));
    for (uint32_t i = 0; i < request->stop_count; i++)
        CHECK(given.size == 0 || memmem(given.bytes, given.size, request->stops[i],
                                        strlen(request->stops[i])) == NULL);
    buffer_free(&given);
    openai_text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct openai_source source;
    static struct tokenizer *tokenizer;
    static struct chat chat = {.format = CHAT_TEMPLATE};
    if (tokenizer == NULL) {
        CHECK(tokenizer_open(&tokenizer, ".", TOKENIZER_BYTE) == STATUS_OK);
        CHECK(chat_template_open_text(&chat.template, "fuzz", template_text,
                                      sizeof template_text - 1, NULL, "") == STATUS_OK);
        source = (struct openai_source){.tokenizer = tokenizer,
                                        .chat = &chat,
                                        .model = "tiny",
                                        .context = 512,
                                        .vocabulary = 257,
                                        .draw_seed = fixed_seed};
    }
    if (size == 0)
        return 0;
    struct arena *arena = NULL;
    struct openai_error error = {0};
    struct openai_request request = {0};
    struct openai_prompt prompt = {0};
    const char *body = (const char *)data + 1;
    CHECK(arena_create(&arena, (size_t)8 << 20) == STATUS_OK);
    bool fine = false;
    switch (data[0] % 4) {
    case 0:
    case 1:
        fine =
            openai_read_request(&source, data[0] % 4 == 1, body, size - 1, arena, &request, &error);
        if (fine) {
            check_request(&source, &request);
            check_text(&source, &request, data, size);
        }
        break;
    case 2:
        fine = openai_read_tokenize(&source, body, size - 1, arena, &prompt, &error);
        break;
    default:
        fine = openai_read_detokenize(&source, body, size - 1, arena, &prompt, &error);
        break;
    }
    if (!fine)
        check_error(&error);
    arena_destroy(&arena);
    return 0;
}
