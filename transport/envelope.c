#include "transport/envelope.h"

#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "proto/messages.h"

/* Header of proto/codec.h: magic, protocol, type, body bytes, CRC32C of the 12 bytes before it and the body. */
enum { MAGIC_AT = 0, PROTOCOL_AT = 4, BYTES_AT = 8, CRC_AT = 12, HEADER_BYTES = 16 };

static uint32_t crc_of(const uint8_t *bytes, size_t size)
{
    return crc32c(crc32c(0, bytes, CRC_AT), bytes + HEADER_BYTES, size - HEADER_BYTES);
}

bool envelope_foreign(const void *bytes, size_t size, uint16_t *protocol)
{
    uint32_t body_bytes, crc;
    const uint8_t *at = bytes;
    if (size < HEADER_BYTES || memcmp(at + MAGIC_AT, "WEIR", 4) != 0)
        return false;
    memcpy(protocol, at + PROTOCOL_AT, sizeof *protocol);
    memcpy(&body_bytes, at + BYTES_AT, sizeof body_bytes);
    memcpy(&crc, at + CRC_AT, sizeof crc);
    return *protocol != WIRE_PROTOCOL && body_bytes == size - HEADER_BYTES &&
           crc == crc_of(at, size);
}

void envelope_relabel(void *bytes, size_t size, uint16_t protocol)
{
    CHECK(size >= HEADER_BYTES);
    uint8_t *at = bytes;
    memcpy(at + PROTOCOL_AT, &protocol, sizeof protocol);
    uint32_t crc = crc_of(at, size);
    memcpy(at + CRC_AT, &crc, sizeof crc);
}
