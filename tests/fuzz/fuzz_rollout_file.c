/* links: ops */
/* Any bytes as the text of a rollout file: refused with a sentence, or rollouts whose text, table and JSON can be made. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "ops/rollout_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TEXT_MAX = 16 << 20, ARENA_MAX = 64 << 20 };

static struct tokenizer *bytes_tokenizer(void)
{
    static struct tokenizer *made;
    if (made == NULL)
        CHECK(tokenizer_open(&made, "", TOKENIZER_BYTE) == STATUS_OK);
    return made;
}

static void show(const struct rollout_tokens *rollout, struct buffer *text)
{
    static const struct rollout_text_options ways[] = {
        {.colours = true}, {.tokens = true}, {.json = true, .tokens = true}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        buffer_clear(text);
        enum status status =
            rollout_text(rollout, i == 1 ? NULL : bytes_tokenizer(), &ways[i], text);
        CHECK(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_LIMIT);
        if (status != STATUS_OK || i != 0)
            continue;
        for (size_t k = 0; k < text->size; k++) /* escapes are ours only */
            CHECK(text->bytes[k] != 0x1b || (k + 1 < text->size && text->bytes[k + 1] == '['));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct rollout_file file = {.path = "fuzz"};
    struct rollout_tokens rollout;
    struct buffer text;
    buffer_init(&file.text, 0);
    buffer_init(&text, TEXT_MAX);
    CHECK(arena_create(&file.arena, ARENA_MAX) == STATUS_OK);
    CHECK(buffer_append(&file.text, bytes, size) == STATUS_OK);
    while (rollout_file_next(&file, NULL, &rollout) == STATUS_OK)
        show(&rollout, &text);
    buffer_free(&text);
    rollout_file_close(&file);
    return 0;
}
