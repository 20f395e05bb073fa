/* transport/weight_device.h - what moving weights needs of the device that holds them.
 *
 * Actor and learner own an op table (kernels/ops.h) and lend its functions; their meaning is written there. The last
 * eight rows may be NULL where the device cannot do it. */
#ifndef TRANSPORT_WEIGHT_DEVICE_H
#define TRANSPORT_WEIGHT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* Instead of a channel's path: weights come by NCCL. */
#define WEIGHT_PATH_NCCL "nccl"

struct memory_handle; /* WEIGHT_HANDLE_BYTES */
enum { WEIGHT_HANDLE_BYTES = 64 };

struct weight_device {
    void *context;
    bool on_host; /* its memory is the host's: no copy through write and read is needed */
    enum status (*create)(void *context, size_t bytes, void **memory);
    void (*destroy)(void *context, void **memory);
    enum status (*write)(void *context, void *memory, const void *host, size_t bytes);
    enum status (*read)(void *context, const void *memory, void *host, size_t bytes);
    enum status (*copy)(void *context, void *to, const void *from, size_t bytes);
    enum status (*digest)(void *context, const void *memory, size_t bytes, uint64_t first_word,
                          uint64_t *digest);
    enum status (*finish)(void *context);
    enum status (*share)(void *context, const void *memory, struct memory_handle *handle);
    enum status (*open)(void *context, const struct memory_handle *handle, void **memory);
    void (*unopen)(void *context, void **memory);
    void *(*side_stream)(void *context);
    enum status (*side_wait)(void *context, int64_t timeout_ms);
    enum status (*side_digest_begin)(void *context);
    enum status (*side_digest_add)(void *context, const void *memory, size_t bytes,
                                   uint64_t first_word);
    enum status (*side_digest_end)(void *context, uint64_t *digest);
};

/* Of an op table. */
#define WEIGHT_DEVICE(ops)                                                                        \
    {                                                                                             \
        .context = (ops)->context, .on_host = (ops)->memory_share == NULL,                        \
        .create = (ops)->memory_create, .destroy = (ops)->memory_destroy,                         \
        .write = (ops)->memory_write, .read = (ops)->memory_read, .copy = (ops)->memory_copy,     \
        .digest = (ops)->memory_digest, .finish = (ops)->finish, .share = (ops)->memory_share,    \
        .open = (ops)->memory_open, .unopen = (ops)->memory_unopen,                               \
        .side_stream = (ops)->side_stream, .side_wait = (ops)->side_wait,                         \
        .side_digest_begin = (ops)->side_digest_begin, .side_digest_add = (ops)->side_digest_add, \
        .side_digest_end = (ops)->side_digest_end                                                 \
    }

#endif
