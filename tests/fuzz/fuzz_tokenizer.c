/* links: text */
/* The first byte cuts the input in two: a tokenizer.json and a text. Either is refused with a sentence, or the
 * text encodes and decodes. Two small fixed tokenizers see each input too, since few inputs are
 * a tokenizer; ids streamed one by one must give the same text. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "text/detokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char fixed[] =
    "{\"added_tokens\":[{\"id\":6,\"content\":\"<|x|>\",\"normalized\":true}],"
    "\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\","
    "\"vocab\":"
    "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\u0120ab\":4,\"?\":5,\"aa\":7},"
    "\"merges\":[\"a b\",\"a a\",\"\\u0120 ab\"]}}";

/* Marks for spaces, byte fallback, every kind of normalizer, added tokens that take white space. */
static const char marked[] =
    "{\"added_tokens\":[{\"id\":6,\"content\":\"<x>\",\"lstrip\":true,\"rstrip\":true},{\"id\":7,"
    "\"content\":\"Ab\",\"single_word\":true}],\"normalizer\":{\"type\":\"Sequence\","
    "\"normalizers\":"
    "[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"},{\"type\":\"Strip\"},{\"type\":\"Prepend\","
    "\"prepend\":\" \"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\" "
    "\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":"
    "\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"},{\"type\":\"Punctuation\","
    "\"behavior\":\"Contiguous\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
    "\"Replace\","
    "\"pattern\":{\"String\":\"_\"},\"content\":\" "
    "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":2,\"stop\":0}]},\"model\":{\"type\":\"BPE\","
    "\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"?\",\"vocab\":{\"a\":0,\"b\":1,\"_\":"
    "2,"
    "\"_a\":3,\"?\":4,\"<0xC3>\":5,\"<0xA9>\":8,\"<0xE2>\":9,\"<0x82>\":10},\"merges\":[\"_ a\"]}}";

/* Ids one by one give what all of them give at once. */
static void stream(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                   const struct buffer *whole)
{
    struct detokenizer *detokenizer = NULL;
    struct buffer parts, valid;
    buffer_init(&parts, 0);
    buffer_init(&valid, 0);
    CHECK(detokenizer_create(&detokenizer, tokenizer, false) == STATUS_OK);
    for (size_t i = 0; i < count; i++)
        CHECK(detokenizer_push(detokenizer, ids[i], &parts) == STATUS_OK);
    CHECK(detokenizer_flush(detokenizer, &parts) == STATUS_OK);
    CHECK(text_append_utf8(&valid, whole->bytes, whole->size) == STATUS_OK);
    CHECK(parts.size == valid.size &&
          (parts.size == 0 || memcmp(parts.bytes, valid.bytes, parts.size) == 0));
    detokenizer_destroy(&detokenizer);
    buffer_free(&parts);
    buffer_free(&valid);
}

/* The bytes of a text as ids of the vocabulary. */
static void decode_any(const struct tokenizer *tokenizer, const char *text, size_t size)
{
    uint32_t ids[256];
    struct buffer whole;
    size = size < 256 ? size : 256;
    for (size_t i = 0; i < size; i++)
        ids[i] = (uint8_t)text[i] % (tokenizer_vocabulary(tokenizer) + 1);
    buffer_init(&whole, 0);
    CHECK(tokenizer_decode(tokenizer, ids, size, false, &whole) == STATUS_OK);
    stream(tokenizer, ids, size, &whole);
    buffer_free(&whole);
}

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
    if (tokenizer_encode_special(tokenizer, text, text_size, arena, &ids, &count) == STATUS_OK) {
        CHECK(tokenizer_decode(tokenizer, ids, count, false, &back) == STATUS_OK);
        stream(tokenizer, ids, count, &back);
    }
    decode_any(tokenizer, text, text_size);
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
        use(marked, sizeof marked - 1, text, size - 1);
    }
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
