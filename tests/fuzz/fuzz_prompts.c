/* links: rollout_store */
/* Any bytes as a file of prompts (JSONL), read with the byte tokenizer: refused with a sentence that names the line, or
 * prompts within their limits. */
#include <string.h>

#include "core/memory.h"
#include "rollout_store/prompts.h"
#include "tests/fuzz/memory_file.h"
#include "text/chat.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TOKENS_MAX = 64 };

/* It has the buffers that it keeps between texts. */
static struct tokenizer *warm_tokenizer(void)
{
    struct tokenizer *made = NULL;
    struct arena *arena = NULL;
    uint32_t *ids;
    size_t count;
    CHECK(tokenizer_open(&made, "", TOKENIZER_BYTE) == STATUS_OK);
    CHECK(arena_create(&arena, 1 << 20) == STATUS_OK);
    CHECK(tokenizer_encode(made, "a", 1, arena, &ids, &count) == STATUS_OK);
    arena_destroy(&arena);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct memory_file file;
    static struct tokenizer *tokenizer;
    if (tokenizer == NULL)
        tokenizer = warm_tokenizer();
    int64_t blocks = memory_blocks_live();
    struct data_settings data = {.train = memory_file_set(&file, bytes, size),
                                 .key_prompt = "prompt",
                                 .key_answer = "",
                                 .key_source = "data_source",
                                 .prompt_prefix = "",
                                 .prompt_suffix = "",
                                 .prompt_tokens_max = TOKENS_MAX};
    struct prompts *prompts = NULL;
    struct chat chat = {.format = size % 2 ? CHAT_CHATML : CHAT_NONE};
    if (prompts_load(&prompts, &data, &chat, tokenizer) == STATUS_OK) {
        for (uint64_t i = 0; i < prompts_count(prompts); i++) {
            const struct prompt *prompt = prompts_at(prompts, i);
            CHECK(prompt->count > 0 && prompt->count <= TOKENS_MAX);
            CHECK(prompt->record_json[0] == '{');
        }
        prompts_destroy(&prompts);
    } else {
        CHECK(status_last_error()[0] != '\0');
    }
    CHECK(prompts == NULL && memory_blocks_live() == blocks);
    return 0;
}
