/* links: proto core */
/* Raw bytes become a message: byte 0 picks the type, the rest is the body under a header that is right.
 * What unpack accepts must pack again, and unpack to the same bytes: a fixed point. */
#include <stdint.h>
#include <string.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/checksum.h"
#include "proto/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void frame(struct buffer *bytes, const uint8_t *data, size_t size)
{
    uint8_t header[16] = {'W', 'E', 'I', 'R', WIRE_PROTOCOL, 0, 0, 0};
    header[6] = (uint8_t)(1 + data[0] % (MESSAGE_COUNT - 1));
    uint32_t body = (uint32_t)(size - 1);
    memcpy(header + 8, &body, 4);
    uint32_t crc = crc32c(crc32c(0, header, 12), data + 1, body);
    memcpy(header + 12, &crc, 4);
    CHECK(buffer_append(bytes, header, 16) == STATUS_OK);
    CHECK(buffer_append(bytes, data + 1, body) == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *arena = NULL;
    struct buffer first, second, third;
    struct message message, again;
    CHECK(arena_create(&arena, 16 << 20) == STATUS_OK);
    buffer_init(&first, 0);
    buffer_init(&second, 0);
    buffer_init(&third, 0);
    if (message_unpack(&message, arena, data, size) == STATUS_OK)
        arena_reset(arena);
    frame(&first, data, size);
    if (message_unpack(&message, arena, first.bytes, first.size) == STATUS_OK) {
        CHECK(message_pack(&message, &second) == STATUS_OK);
        CHECK(message_unpack(&again, arena, second.bytes, second.size) == STATUS_OK);
        CHECK(message_pack(&again, &third) == STATUS_OK);
        CHECK(second.size == third.size && memcmp(second.bytes, third.bytes, third.size) == 0);
    }
    buffer_free(&first);
    buffer_free(&second);
    buffer_free(&third);
    arena_destroy(&arena);
    return 0;
}
