/* links: rollout_store */
/* Any bytes as a ledger file. As the newest and as an older one: a judgement, whole records in front of it, and the same
 * judgement again. The same bytes as bodies of records with right headers: they reach the book, which takes or refuses
 * them; what it took makes a snapshot that restores to the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "rollout_store/book.h"
#include "rollout_store/book_snapshot.h"
#include "rollout_store/ledger_judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { HEADER = 16, PROMPTS = 3 };

static struct prompts *prompts;
static struct arena *arena;

static void judge(const uint8_t *bytes, size_t size)
{
    for (int newest = 0; newest < 2; newest++) {
        struct ledger_judgement first = {0}, again = {0};
        CHECK(ledger_judge(bytes, size, newest, 0, NULL, NULL, arena, &first) == STATUS_OK);
        CHECK(first.good <= size);
        CHECK(first.verdict != LEDGER_TORN || newest);
        CHECK(first.verdict == LEDGER_WHOLE ? first.good == size : first.why[0] != '\0');
        CHECK(ledger_judge(bytes, first.good, newest, 0, NULL, NULL, arena, &again) == STATUS_OK);
        CHECK(first.snapshot > 0 || again.records == first.records);
    }
}

/* Of each piece the first two bytes are type and length. */
static void frame_bodies(const uint8_t *bytes, size_t size, struct buffer *frames)
{
    for (size_t at = 0; at + 2 <= size;) {
        uint32_t body = bytes[at + 1];
        if (body > size - at - 2)
            body = (uint32_t)(size - at - 2);
        uint8_t header[HEADER];
        const uint32_t words[] = {0x444c5257, body, (uint32_t)bytes[at] % RECORD_TYPE_END};
        memcpy(header, words, sizeof words);
        uint32_t crc = crc32c(crc32c(0, header, 12), bytes + at + 2, body);
        memcpy(header + 12, &crc, sizeof crc);
        CHECK(buffer_append(frames, header, HEADER) == STATUS_OK);
        CHECK(buffer_append(frames, bytes + at + 2, body) == STATUS_OK);
        at += 2 + body;
    }
}

static enum status apply(void *self, const struct record *record, uint64_t offset)
{
    (void)offset;
    return book_apply(self, record);
}

static struct book *new_book(void)
{
    struct book_config config = {.store = {.group_size = 2,
                                           .groups_per_publish = 1,
                                           .max_consecutive_dropped = 10,
                                           .max_attempts = 3,
                                           .max_deaths = 3,
                                           .lease_ms = 1000,
                                           .heartbeat_ms = 100,
                                           .prefill_share = 4},
                                 .sampling = {.response_tokens_max = 8, .temperature = 1},
                                 .curriculum = {.mix = "*: 1",
                                                .quotas = "a: 0.5",
                                                .quota_window = 4,
                                                .band_groups = 2,
                                                .retire_at = 0.9,
                                                .hard_after = 1},
                                 .steps = 2,
                                 .updates_per_publish = 1,
                                 .prompts = prompts,
                                 .run = "f",
                                 .settings_json = "{}"};
    struct book *book = NULL;
    CHECK(book_create(&book, &config) == STATUS_OK);
    return book;
}

static struct book *begun_book(void)
{
    struct book *book = new_book();
    struct record run = {.type = RECORD_RUN,
                         .run = {.run = "f",
                                 .data_hash = prompts_hash(prompts),
                                 .prompt_count = PROMPTS,
                                 .settings_json = "{}"}};
    CHECK(book_apply(book, &run) == STATUS_OK);
    return book;
}

static void replay(const struct buffer *frames)
{
    struct book *book = begun_book(), *other = new_book();
    struct ledger_judgement judgement = {0};
    struct buffer one, two;
    buffer_init(&one, 0);
    buffer_init(&two, 0);
    if (ledger_judge(frames->bytes, frames->size, true, 0, apply, book, arena, &judgement) ==
            STATUS_OK &&
        book_snapshot_pack(book, 0, &one) == STATUS_OK) {
        CHECK(ledger_judge(one.bytes, one.size, false, 0, apply, other, arena, &judgement) ==
              STATUS_OK);
        CHECK(book_snapshot_pack(other, 0, &two) == STATUS_OK);
        CHECK(one.size == two.size && memcmp(one.bytes, two.bytes, one.size) == 0);
    }
    buffer_free(&one);
    buffer_free(&two);
    book_destroy(&book);
    book_destroy(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (prompts == NULL) {
        static const uint32_t ids[] = {1, 2, 3};
        static const struct prompt rows[PROMPTS] = {
            {.ids = ids, .count = 3, .record_json = "{\"data_source\":\"a\"}"},
            {.ids = ids, .count = 2, .record_json = "{\"data_source\":\"b\"}"},
            {.ids = ids, .count = 1, .record_json = "{}"}};
        CHECK(prompts_from_memory(&prompts, rows, PROMPTS) == STATUS_OK);
        CHECK(arena_create(&arena, (size_t)16 << 20) == STATUS_OK);
    }
    int64_t blocks = memory_blocks_live();
    struct buffer frames;
    buffer_init(&frames, 0);
    judge(bytes, size);
    frame_bodies(bytes, size, &frames);
    judge(frames.bytes, frames.size);
    replay(&frames);
    buffer_free(&frames);
    arena_reset(arena);
    CHECK(memory_blocks_live() <= blocks + 1); /* the arena keeps its chunk */
    return 0;
}
