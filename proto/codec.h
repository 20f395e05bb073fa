/* proto/codec.h - messages to wire bytes and back. Pure: same input, same output, no I/O; any thread.
 *
 * Wire bytes = 16-byte header {u32 magic "WEIR", u16 protocol, u16 type, u32 body bytes, u32 CRC32C of
 * these 12 bytes and the body} little-endian, then the protobuf body (proto/weir.proto). Bulk arrays (ids, logprobs) travel as
 * `bytes` fields, little-endian: 7 times cheaper than packed varints at 128 tokens.
 *
 * Unpack errors: CORRUPT (magic, length, CRC, not protobuf), INVALID (breaks a promise of messages.h; text
 * names message, field, value), LIMIT (arena full or a WIRE_* limit). *message is untouched on failure.
 * Unpacking takes at most UNPACK_BASE_BYTES + UNPACK_FACTOR x bytes of the arena for what protobuf makes, so a small
 * message of many empty parts is LIMIT too. */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include "core/arena.h"
#include "core/buffer.h"
#include "proto/messages.h"
#include "proto/refusal.h"

C_BEGIN

enum { UNPACK_BASE_BYTES = 1 << 20, UNPACK_FACTOR = 32 };

MUST_CHECK enum status message_pack(const struct message *message,
                                    struct buffer *bytes); /* appends */
MUST_CHECK enum status message_unpack(struct message *message, struct arena *arena,
                                      const void *bytes, size_t size);
/* Why message_unpack refused last in this thread; NONE after a success. */
enum refusal codec_refusal(void);

C_END
#endif
