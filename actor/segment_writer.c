#include "actor/segment_writer.h"

#include "core/check.h"
#include "core/fault.h"
#include "core/memory.h"

#include <string.h>

enum { KEPT_CAPACITY_MAX = 256 << 10 }; /* memory that an acknowledged frame leaves for the next */

enum status segment_writer_create(struct segment_writer *writer, uint32_t limit, size_t bytes_limit)
{
    *writer =
        (struct segment_writer){.limit = limit, .bytes_limit = bytes_limit, .next_frame_id = 1};
    writer->frames = memory_array(limit, sizeof *writer->frames);
    if (writer->frames == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u frames", limit);
    return STATUS_OK;
}

void segment_writer_destroy(struct segment_writer *writer)
{
    for (uint32_t i = 0; writer->frames != NULL && i < writer->limit; i++)
        buffer_free(&writer->frames[i].storage);
    memory_free(writer->frames);
    *writer = (struct segment_writer){0};
}

/* The storage is sized before the first append, so that pointers into it stay valid. */
static size_t storage_bytes(const struct segment *segments, uint32_t count)
{
    size_t bytes = count * sizeof *segments;
    for (uint32_t i = 0; i < count; i++)
        bytes += segments[i].count * (sizeof *segments[i].ids + 2 * sizeof *segments[i].logprobs);
    return bytes;
}

static const void *keep(struct buffer *storage, const void *bytes, size_t size)
{
    if (bytes == NULL || size == 0)
        return NULL;
    void *copy = storage->bytes + storage->size;
    memcpy(copy, bytes, size);
    storage->size += size;
    return copy;
}

enum status segment_writer_add(struct segment_writer *writer, uint64_t incarnation,
                               const struct segment *segments, uint32_t count)
{
    if (segment_writer_full(writer))
        return FAIL(STATUS_LIMIT, "%u frames of %zu bytes wait for the store", writer->count,
                    writer->bytes);
    struct kept_frame *frame = &writer->frames[(writer->head + writer->count) % writer->limit];
    buffer_clear(&frame->storage);
    TRY(buffer_reserve(&frame->storage, storage_bytes(segments, count)));

    struct segment *copies = (struct segment *)(void *)frame->storage.bytes;
    memcpy(copies, segments, count * sizeof *segments);
    frame->storage.size = count * sizeof *segments;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = copies[i].count * sizeof(float);
        copies[i].ids = keep(&frame->storage, segments[i].ids, size);
        copies[i].logprobs = keep(&frame->storage, segments[i].logprobs, size);
        copies[i].logprobs_truncated = keep(&frame->storage, segments[i].logprobs_truncated, size);
    }
    CHECK(frame->storage.size <= frame->storage.capacity);
    frame->frame_id = writer->next_frame_id++;
    frame->sent = false;
    frame->message = (struct message){.type = MESSAGE_segment_frame,
                                      .segment_frame = {.frame_id = frame->frame_id,
                                                        .incarnation = incarnation,
                                                        .count = count,
                                                        .segments = copies}};
    writer->count++;
    writer->bytes += frame->storage.size;
    FAULT("actor.framed");
    return STATUS_OK;
}

enum status segment_writer_flush(struct segment_writer *writer, segment_send_fn send, void *self,
                                 uint32_t *sent)
{
    *sent = 0;
    for (uint32_t i = 0; i < writer->count; i++) {
        struct kept_frame *frame = &writer->frames[(writer->head + i) % writer->limit];
        if (frame->sent)
            continue;
        enum status status = send(self, &frame->message);
        if (status == STATUS_AGAIN)
            return STATUS_OK;
        if (status != STATUS_OK)
            return status;
        frame->sent = true;
        (*sent)++;
        FAULT("actor.sent");
    }
    return STATUS_OK;
}

void segment_writer_acknowledge(struct segment_writer *writer, uint64_t frame_id)
{
    while (writer->count > 0 && writer->frames[writer->head].frame_id <= frame_id) {
        struct kept_frame *frame = &writer->frames[writer->head];
        writer->bytes -= frame->storage.size;
        if (frame->storage.capacity > KEPT_CAPACITY_MAX)
            buffer_free(&frame->storage);
        writer->head = (writer->head + 1) % writer->limit;
        writer->count--;
    }
}

void segment_writer_resend(struct segment_writer *writer)
{
    for (uint32_t i = 0; i < writer->count; i++)
        writer->frames[(writer->head + i) % writer->limit].sent = false;
}
