/* reward/judge/cache.h - answers kept on disk, so that a question asked twice costs once.
 *
 * A folder with two logs, answers.log and the one before it, answers.old: a record is a checksum, a 128-bit key and a
 * value. When the log reaches half of the limit it becomes the old one, so the folder stays below bytes_max and loses the
 * oldest half. Several processes may share a folder (flock around writes). A torn or damaged tail, as a crash leaves it,
 * is cut off at the next write; a damaged record ends the reading of its log. Nothing is fsynced: what is lost is asked
 * again. Any thread. */
#ifndef REWARD_JUDGE_CACHE_H
#define REWARD_JUDGE_CACHE_H

#include "core/buffer.h"

struct cache;
struct cache_key {
    uint64_t word[2];
};

struct cache_key cache_key_of(const void *bytes, size_t size);
/* IO, LIMIT (a path too long). bytes_max at least 64 KiB. */
MUST_CHECK enum status cache_open(struct cache **cache, const char *folder, uint64_t bytes_max);
void cache_close(struct cache **cache);
/* Appends the value. NOT_FOUND; IO and CORRUPT (it changed under us) mean the same to a caller. */
MUST_CHECK enum status cache_find(struct cache *cache, struct cache_key key, struct buffer *value);
/* A key that is there is left as it is. LIMIT: larger than a quarter of the limit. */
MUST_CHECK enum status cache_put(struct cache *cache, struct cache_key key, const void *value,
                                 size_t size);
uint64_t cache_entries(struct cache *cache);

#endif
