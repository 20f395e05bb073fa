/* links: rollout_store */
/* Any bytes as a ledger record: refused with a sentence, or a record that packs back to the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/arena.h"
#include "core/check.h"
#include "core/checksum.h"
#include "rollout_store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void try_record(struct arena *arena, const uint8_t *bytes, size_t size)
{
    struct record record;
    struct buffer again;
    size_t used = 0;
    buffer_init(&again, 0);
    if (record_unpack(&record, arena, bytes, size, &used) == STATUS_OK) {
        CHECK(used <= size);
        CHECK(record_pack(&record, &again) == STATUS_OK);
        /* a score of an older ledger has no scorer, a plan no length stage: they read 0 and are packed with it */
        bool younger = (record.type == RECORD_SCORED && record.scored.score.scorer == 0) ||
                       (record.type == RECORD_PLAN && record.plan.plan.response_tokens_max == 0);
        bool older = younger && again.size == used + 8 &&
                     memcmp(again.bytes + 16, bytes + 16, used - 16) == 0;
        CHECK(older || (again.size == used && memcmp(again.bytes, bytes, used) == 0));
    } else {
        CHECK(status_last_error()[0] != '\0');
    }
    buffer_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    enum { HEADER = 16, MOST = 4096 };
    struct arena *arena = NULL;
    CHECK(arena_create(&arena, 1 << 20) == STATUS_OK);
    try_record(arena, bytes, size);
    if (size > 0 && size <= MOST) { /* the same as a body with a right header: past the checksum */
        uint8_t frame[HEADER + MOST];
        const uint32_t words[] = {0x444c5257, (uint32_t)size - 1, bytes[0]};
        memcpy(frame, words, sizeof words);
        memcpy(frame + HEADER, bytes + 1, size - 1);
        uint32_t crc = crc32c(crc32c(0, frame, 12), frame + HEADER, size - 1);
        memcpy(frame + 12, &crc, sizeof crc);
        try_record(arena, frame, HEADER + size - 1);
    }
    arena_destroy(&arena);
    return 0;
}
