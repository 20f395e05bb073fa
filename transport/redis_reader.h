/* transport/redis_reader.h - the reading side of the view: streams, hashes and keys of a run, for dashboards.
 *
 * Nothing that decides anything may read here (DESIGN.md part 4). Every call has a deadline; after a failed one the
 * connection is closed and redis_reader_connect makes a new one, at most every REDIS_READER_RETRY_MS. One thread.
 *
 *     redis_reader_open(&reader, &settings->redis);
 *     if (redis_reader_connect(reader) == STATUS_OK)
 *         status = redis_reader_streams(reader, streams, 3, 500, take, self);
 */
#ifndef TRANSPORT_REDIS_READER_H
#define TRANSPORT_REDIS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"

enum { REDIS_READER_RETRY_MS = 1000, REDIS_READER_ID_MAX = 48, REDIS_READER_BATCH = 500 };

struct redis_reader;

struct redis_pair { /* both with a NUL behind them, valid during the call */
    const char *name, *value;
    size_t value_size;
};
struct redis_entry {
    const char *key; /* of the stream or hash, as asked */
    const char *id;  /* of a stream's entry; NULL: a hash */
    const struct redis_pair *pairs;
    size_t count; /* 0: the hash is not there */
};
typedef void (*redis_entry_fn)(void *self, size_t index, const struct redis_entry *entry);

struct redis_stream {
    const char *key; /* borrowed */
    char id
        [REDIS_READER_ID_MAX]; /* of the last entry taken; "$": only new ones, "0": from the first */
};

/* Texts of `settings` are borrowed. */
MUST_CHECK enum status redis_reader_open(struct redis_reader **reader,
                                         const struct redis_settings *settings);
void redis_reader_close(struct redis_reader **reader);
/* Connected already, or connects. AGAIN: too early after a failure; else why it cannot. */
MUST_CHECK enum status redis_reader_connect(struct redis_reader *reader);
bool redis_reader_connected(const struct redis_reader *reader);

/* Waits for at most block_ms (0: does not) and gives each entry; index: of the stream. *taken: how many. */
MUST_CHECK enum status redis_reader_streams(struct redis_reader *reader,
                                            struct redis_stream *streams, size_t count,
                                            int block_ms, redis_entry_fn take, void *self,
                                            size_t *taken);
/* The newest `most` entries of a stream, oldest first; sets stream->id behind them. */
MUST_CHECK enum status redis_reader_newest(struct redis_reader *reader, struct redis_stream *stream,
                                           size_t most, redis_entry_fn take, void *self);
/* All fields of each hash, pipelined. */
MUST_CHECK enum status redis_reader_hashes(struct redis_reader *reader, const char *const *keys,
                                           size_t count, redis_entry_fn take, void *self);
/* "" when the key is not there; valid until the next call. */
MUST_CHECK enum status redis_reader_text(struct redis_reader *reader, const char *key,
                                         const char **text);
/* Keys that begin with `prefix`, by SCAN. */
MUST_CHECK enum status redis_reader_keys(struct redis_reader *reader, const char *prefix,
                                         void (*take)(void *self, const char *key), void *self);

#endif
