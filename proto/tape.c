#include "proto/tape.h"

#include <string.h>

#include "core/file.h"
#include "proto/codec.h"

enum status tape_open(struct tape *tape, const char *path)
{
    *tape = (struct tape){.path = path};
    buffer_init(&tape->bytes, 0);
    enum status status = file_read(path, &tape->bytes);
    if (status != STATUS_OK)
        tape_close(tape);
    return status;
}

void tape_close(struct tape *tape)
{
    buffer_free(&tape->bytes);
}

enum status tape_next(struct tape *tape, struct arena *arena, struct message *message)
{
    uint32_t size;
    *message = (struct message){0};
    if (tape->at == tape->bytes.size)
        return STATUS_OK;
    if (tape->bytes.size - tape->at < sizeof size)
        return FAIL(STATUS_CORRUPT, "%s is cut off at byte %zu", tape->path, tape->at);
    memcpy(&size, tape->bytes.bytes + tape->at, sizeof size);
    tape->at += sizeof size;
    if (tape->bytes.size - tape->at < size)
        return FAIL(STATUS_CORRUPT, "%s is cut off at byte %zu", tape->path, tape->at);
    TRY(message_unpack(message, arena, tape->bytes.bytes + tape->at, size));
    tape->at += size;
    return STATUS_OK;
}

enum status tape_expect(struct tape *tape, struct arena *arena, enum message_type type,
                        struct message *message)
{
    TRY(tape_next(tape, arena, message));
    if (message->type != type)
        return FAIL(STATUS_CORRUPT, "%s: %s where %s is due", tape->path,
                    message_name(message->type), message_name(type));
    return STATUS_OK;
}

enum status tape_put(struct buffer *bytes, const struct message *message)
{
    struct buffer packed;
    buffer_init(&packed, 0);
    enum status status = message_pack(message, &packed);
    uint32_t size = (uint32_t)packed.size;
    if (status == STATUS_OK)
        status = buffer_append(bytes, &size, sizeof size);
    if (status == STATUS_OK)
        status = buffer_append(bytes, packed.bytes, packed.size);
    buffer_free(&packed);
    return status;
}
