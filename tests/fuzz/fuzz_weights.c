/* links: transport */
/* Any messages to somebody who fetches weights: bytes land inside the memory only, and nothing arrives whose digest is not
 * the announced one. The input is a script of heads, whose checksum is made right or left as it is, and pieces. */
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "transport/weight_fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { BYTES = 256, PIECE = 64, LAYOUT = 77 };

struct target {
    uint8_t memory[BYTES];
};

static enum status ask(void *self, const struct weight_tcp_head *head)
{
    (void)self;
    CHECK(weight_tcp_check(head, NULL, 0));
    CHECK(head->kind == WEIGHT_TCP_LOOK || head->offset + head->length <= BYTES);
    return STATUS_OK;
}

static enum status put(void *self, size_t offset, const void *piece, size_t size, uint64_t *digest)
{
    struct target *target = self;
    CHECK(offset <= BYTES && size <= BYTES - offset);
    memcpy(target->memory + offset, piece, size);
    *digest = weight_digest(piece, size, offset / 8);
    return STATUS_OK;
}

static void step(struct weight_fetch *fetch, const struct target *target)
{
    if (fetch->state == WEIGHT_FETCH_ARRIVED) {
        CHECK(weight_digest(target->memory, BYTES, 0) == fetch->fetching.digest);
        weight_fetch_done(fetch);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct target target;
    struct weight_fetch fetch;
    struct weight_fetch_config config = {.layout_hash = LAYOUT,
                                         .bytes = BYTES,
                                         .piece_bytes = PIECE,
                                         .credits = 3,
                                         .timeout_ns = 1000,
                                         .look_ns = 1000,
                                         .retry_ns = 1000,
                                         .ask = ask,
                                         .put = put,
                                         .self = &target};
    int64_t now_ns = 1;
    weight_fetch_init(&fetch, &config);
    for (size_t at = 0; at + 4 <= size; now_ns += 100) {
        struct weight_tcp_head head = {.kind = bytes[at] % 8u,
                                       .layout_hash = bytes[at] & 16 ? 1 : LAYOUT,
                                       .bytes = bytes[at] & 32 ? 1 : BYTES,
                                       .version = bytes[at + 1] % 4u,
                                       .digest = bytes[at + 1] / 4u,
                                       .offset = bytes[at + 2] % 8u * PIECE};
        size_t length = bytes[at + 3] % (PIECE + 1u);
        if (length > size - at - 4)
            length = size - at - 4;
        head.length = (uint32_t)(bytes[at + 2] & 64 ? PIECE : length);
        if (head.digest == 1) /* so that a fetch can end well */
            head.digest = weight_digest(target.memory, BYTES, 0);
        weight_tcp_seal(&head, bytes + at + 4, length);
        head.crc ^= bytes[at + 2] & 128u;
        enum status status =
            weight_fetch_take(&fetch, now_ns, &head, bytes[at + 2] & 32 ? length : sizeof head,
                              bytes + at + 4, length);
        CHECK(status == STATUS_OK || status == STATUS_CORRUPT);
        if (fetch.state == WEIGHT_FETCH_IDLE && bytes[at] & 64)
            weight_fetch_begin(&fetch, now_ns);
        CHECK(weight_fetch_turn(&fetch, now_ns) == STATUS_OK);
        step(&fetch, &target);
        at += 4 + length;
    }
    return 0;
}
