/* links: text */
/* The first byte cuts the input in two: a tokenizer.json and a text. Either is refused with a sentence, or the
 * text encodes and decodes. A small fixed tokenizer sees each input too, since few inputs are a tokenizer. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char fixed[] =
    "{\"added_tokens\":[{\"id\":6,\"content\":\"<|x|>\",\"normalized\":true}],"
    "\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\","
    "\"vocab\":"
    "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\u0120ab\":4,\"?\":5,\"aa\":7},"
    "\"merges\":[\"a b\",\"a a\",\"\\u0120 ab\"]}}";

static void use(const char *json, size_t json_size, const char *text, size_t text_size)
{
    struct tokenizer *tokenizer = NULL;
    if (tokenizer_open_json(&tokenizer, "fuzz", json, json_size, NULL, 0) != STATUS_OK) {
        CHECK(status_last_error()[0] != '\0');
        return;
    }
    struct arena *arena = NULL;
    uint32_t *ids = NULL;
    size_t count = 0;
    struct buffer back, valid;
    buffer_init(&back, 0);
    buffer_init(&valid, 0);
    CHECK(arena_create(&arena, 1u << 20) == STATUS_OK);
    if (tokenizer_encode(tokenizer, text, text_size, arena, &ids, &count) == STATUS_OK)
        CHECK(tokenizer_decode(tokenizer, ids, count, false, &back) == STATUS_OK);
    CHECK(text_append_utf8(&valid, text, text_size) == STATUS_OK);
    CHECK(text_append_utf8(&valid, back.bytes, back.size) == STATUS_OK);
    /* what was made valid stays as it is */
    size_t size = valid.size;
    back.size = 0;
    CHECK(text_append_utf8(&back, valid.bytes, size) == STATUS_OK);
    CHECK(back.size == size && (size == 0 || memcmp(back.bytes, valid.bytes, size) == 0));
    buffer_free(&back);
    buffer_free(&valid);
    arena_destroy(&arena);
    tokenizer_close(&tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    int64_t blocks = memory_blocks_live();
    if (size > 0) {
        const char *text = (const char *)bytes + 1;
        size_t cut = (size - 1) * bytes[0] / 256;
        use(text, cut, text + cut, size - 1 - cut);
        use(fixed, sizeof fixed - 1, text, size - 1);
    }
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
