#include "proto/codec.h"

#include <inttypes.h>
#include <string.h>

#include "core/checksum.h"
#include "proto/codec_shape.h"

enum {
    HEADER_BYTES = 16,
    PACK_ARENA_BYTES =
        512 << 20, /* generated structs of the largest message; arrays are borrowed */
};
static const uint32_t WIRE_MAGIC = 0x52494557; /* "WEIR" as bytes */

static _Thread_local enum refusal noted;

enum refusal codec_refusal(void)
{
    return noted;
}

void codec_note(enum refusal kind)
{
    if (noted == REFUSAL_NONE)
        noted = kind;
}

/* FAIL for a message that is refused as `kind`. */
#define REFUSE(kind, ...) (codec_note(kind), FAIL(__VA_ARGS__))

static const struct wire_shape *const shapes[MESSAGE_COUNT] = {
#define ROW(name) [MESSAGE_##name] = &shape_##name,
    MESSAGE_ROWS(ROW)
#undef ROW
};

static const char *const message_names[MESSAGE_COUNT] = {[MESSAGE_NONE] = "none",
#define ROW(name) [MESSAGE_##name] = #name,
                                                         MESSAGE_ROWS(ROW)
#undef ROW
};

const char *message_name(enum message_type type)
{
    return (unsigned)type < MESSAGE_COUNT ? message_names[type] : "unknown";
}

struct wire_header {
    uint32_t magic;
    uint16_t protocol;
    uint16_t type;
    uint32_t body_bytes;
    uint32_t crc; /* CRC32C of the 12 bytes before it and the body: a flipped type is seen too */
};
_Static_assert(sizeof(struct wire_header) == HEADER_BYTES, "no padding");

static uint32_t message_crc(const struct wire_header *header, const void *body)
{
    return crc32c(crc32c(0, header, offsetof(struct wire_header, crc)), body, header->body_bytes);
}

/* All members of the union start where it starts. */
enum { BODY_OFFSET = offsetof(struct message, hello) };

enum status message_pack(const struct message *message, struct buffer *bytes)
{
    if (message->type <= MESSAGE_NONE || message->type >= MESSAGE_COUNT)
        return FAIL(STATUS_INVALID, "message type %d cannot be packed", (int)message->type);
    const struct wire_shape *shape = shapes[message->type];
    const void *plain = (const char *)message + BODY_OFFSET;
    struct wire_path path = {.name = shape->name};
    TRY(shape_check(shape, plain, &path));
    struct arena *arena = NULL;
    TRY(arena_create(&arena, PACK_ARENA_BYTES));
    ProtobufCMessage *wire = NULL;
    size_t size = 0;
    enum status status = shape_to_wire(shape, plain, arena, &wire);
    if (status != STATUS_OK)
        goto out;
    size = protobuf_c_message_get_packed_size(wire);
    if (size > WIRE_MESSAGE_MAX - HEADER_BYTES) {
        status = FAIL(STATUS_LIMIT, "%s has %zu bytes, limit %d: send fewer items per message",
                      shape->name, size, WIRE_MESSAGE_MAX - HEADER_BYTES);
        goto out;
    }
    TRY_GOTO(out, buffer_reserve(bytes, HEADER_BYTES + size));
    uint8_t *body = bytes->bytes + bytes->size + HEADER_BYTES;
    protobuf_c_message_pack(wire, body);
    struct wire_header header = {.magic = WIRE_MAGIC,
                                 .protocol = WIRE_PROTOCOL,
                                 .type = (uint16_t)message->type,
                                 .body_bytes = (uint32_t)size};
    header.crc = message_crc(&header, body);
    memcpy(bytes->bytes + bytes->size, &header, HEADER_BYTES);
    bytes->size += HEADER_BYTES + size;
out:
    arena_destroy(&arena);
    return status;
}

/* Magic, protocol, type, length, CRC. */
static enum status check_header(const void *bytes, size_t size, struct wire_header *header)
{
    if (size < HEADER_BYTES)
        return REFUSE(REFUSAL_TRUNCATED, STATUS_CORRUPT,
                      "%zu bytes are no message: the header alone has %d", size, HEADER_BYTES);
    memcpy(header, bytes, HEADER_BYTES);
    if (header->magic != WIRE_MAGIC)
        return REFUSE(REFUSAL_BAD_MAGIC, STATUS_CORRUPT,
                      "message starts with %08" PRIx32 ", not with \"WEIR\"", header->magic);
    if (header->protocol != WIRE_PROTOCOL)
        return REFUSE(REFUSAL_BAD_PROTOCOL, STATUS_INVALID,
                      "message of wire protocol %u, this build speaks %d: run the same version of "
                      "weir everywhere",
                      header->protocol, WIRE_PROTOCOL);
    if (header->type == MESSAGE_NONE || header->type >= MESSAGE_COUNT)
        return REFUSE(REFUSAL_BAD_TYPE, STATUS_INVALID, "message type %u, known are 1 to %d",
                      header->type, MESSAGE_COUNT - 1);
    if (header->body_bytes != size - HEADER_BYTES)
        return REFUSE(header->body_bytes > size - HEADER_BYTES ? REFUSAL_TRUNCATED
                                                               : REFUSAL_TRAILING_BYTES,
                      STATUS_CORRUPT, "%s: header says %" PRIu32 " body bytes, %zu came",
                      message_name(header->type), header->body_bytes, size - HEADER_BYTES);
    uint32_t crc = message_crc(header, (const uint8_t *)bytes + HEADER_BYTES);
    if (crc != header->crc)
        return REFUSE(REFUSAL_BAD_CRC, STATUS_CORRUPT,
                      "%s: CRC32C is %08" PRIx32 ", header says %08" PRIx32,
                      message_name(header->type), crc, header->crc);
    return STATUS_OK;
}

struct unpack_memory {
    struct arena *arena;
    size_t left; /* of the budget of this message */
    bool full;
};

static void *unpack_alloc(void *self, size_t bytes)
{
    struct unpack_memory *memory = self;
    void *block = bytes <= memory->left ? arena_alloc(memory->arena, bytes) : NULL;
    memory->full = memory->full || block == NULL;
    memory->left -= block != NULL ? bytes : 0;
    return block;
}

static void unpack_free(void *self, void *block)
{
    (void)self; /* the arena frees everything at once */
    (void)block;
}

enum status message_unpack(struct message *message, struct arena *arena, const void *bytes,
                           size_t size)
{
    noted = REFUSAL_NONE;
    if (size > WIRE_MESSAGE_MAX)
        return REFUSE(REFUSAL_OVERSIZE, STATUS_LIMIT, "message of %zu bytes, limit %d", size,
                      WIRE_MESSAGE_MAX);
    struct wire_header header;
    TRY(check_header(bytes, size, &header));
    const struct wire_shape *shape = shapes[header.type];
    struct unpack_memory memory = {
        .arena = arena, .left = UNPACK_BASE_BYTES + (size_t)header.body_bytes * UNPACK_FACTOR};
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, &memory};
    ProtobufCMessage *wire = protobuf_c_message_unpack(
        shape->descriptor, &allocator, header.body_bytes, (const uint8_t *)bytes + HEADER_BYTES);
    if (wire == NULL && memory.full)
        return REFUSE(REFUSAL_OVERSIZE, STATUS_LIMIT,
                      "%s of %" PRIu32
                      " bytes does not fit the arena (%zu in use) or its share of it (%d times as "
                      "many)",
                      shape->name, header.body_bytes, arena_used_bytes(arena), UNPACK_FACTOR);
    if (wire == NULL)
        return REFUSE(REFUSAL_BAD_BODY, STATUS_CORRUPT,
                      "%s: the body of %" PRIu32 " bytes is not protobuf", shape->name,
                      header.body_bytes);
    struct message made = {.type = header.type};
    void *plain = (char *)&made + BODY_OFFSET;
    struct wire_path path = {.name = shape->name};
    TRY(shape_from_wire(shape, wire, arena, plain, &path));
    TRY(shape_check(shape, plain, &path));
    *message = made;
    return STATUS_OK;
}
