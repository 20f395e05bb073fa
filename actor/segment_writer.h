/* actor/segment_writer.h - frames of segments on their way to the store's disk.
 *
 * A frame is packed once; its bytes are kept until the store acknowledges them and sent again after a
 * reconnect. At `limit` unacknowledged frames, or `bytes_limit` bytes of them, the writer is full and decoding waits:
 * back-pressure. One frame more than bytes_limit may be kept, never two. */
#ifndef ACTOR_SEGMENT_WRITER_H
#define ACTOR_SEGMENT_WRITER_H

#include "core/buffer.h"
#include "proto/messages.h"

struct segment_writer {
    struct kept_frame {
        uint64_t frame_id;
        struct message message; /* segments point into storage */
        struct buffer storage;  /* owned copies of segments and arrays */
        bool sent;
    } * frames; /* ring [limit], owned */
    uint32_t limit, head, count;
    size_t bytes, bytes_limit; /* kept now; at most */
    uint64_t next_frame_id;
};

/* One message to the store. AGAIN: nothing is taken now. */
typedef enum status (*segment_send_fn)(void *self, const struct message *message);

MUST_CHECK enum status segment_writer_create(struct segment_writer *writer, uint32_t limit,
                                             size_t bytes_limit);
void segment_writer_destroy(struct segment_writer *writer);
static inline bool segment_writer_full(const struct segment_writer *writer)
{
    return writer->count == writer->limit || writer->bytes >= writer->bytes_limit;
}
/* Copies the segments into a new frame. LIMIT when full. */
MUST_CHECK enum status segment_writer_add(struct segment_writer *writer, uint64_t incarnation,
                                          const struct segment *segments, uint32_t count);
/* Sends what is not sent yet, oldest first; stops without error when `send` takes no more. *sent counts frames. */
MUST_CHECK enum status segment_writer_flush(struct segment_writer *writer, segment_send_fn send,
                                            void *self, uint32_t *sent);
void segment_writer_acknowledge(struct segment_writer *writer,
                                uint64_t frame_id); /* and everything before it */
void segment_writer_resend(
    struct segment_writer *writer); /* after a reconnect: all unacknowledged again */

#endif
