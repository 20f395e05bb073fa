/* text/bpe.h - byte-pair encoding of one pre-tokenized piece (Sennrich et al. 2016): the adjacent pair of the
 * lowest merge rank is joined, leftmost first, until no pair has a rank.
 *
 * Tokens are kept as the bytes they stand for, so a byte-level vocabulary needs no alphabet here. Filled once, then only
 * encode (which uses scratch space and a table of short pieces seen before: one thread) and lookups. */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

struct id_list {
    uint32_t *ids; /* [capacity], owned */
    size_t count, capacity;
};
MUST_CHECK enum status id_list_push(struct id_list *list, uint32_t id);
void id_list_free(struct id_list *list);

struct bpe_token {
    uint32_t offset, size; /* into bytes; size 0: no token has this id */
    bool special, added;
};

struct bpe {
    struct bpe_token *tokens; /* [vocabulary], owned */
    uint32_t vocabulary;
    struct buffer bytes;
    struct bpe_name *by_text; /* [table_size] */
    size_t table_size;
    struct bpe_merge *merges; /* [merges_size] */
    size_t merges_size;
    int64_t unknown; /* id for a symbol outside the vocabulary; -1: refuse */
    bool byte_level; /* symbols start as bytes, otherwise as characters */
    bool ignore_merges;
    bool fuse_unknown;     /* neighbours outside the vocabulary are one unknown */
    bool byte_fallback;    /* a character outside the vocabulary becomes the tokens of its bytes */
    int64_t fallback[256]; /* ids of <0x00> .. <0xFF>, -1: none */
    int64_t byte_ids[256]; /* ids of single bytes, -1: none */
    struct bpe_known *known; /* [1 << known_bits] short pieces and their ids */
    uint32_t known_bits;
    struct bpe_symbol *symbols; /* scratch of encode */
    struct bpe_join *heap;
    size_t symbols_capacity, heap_capacity;
};

MUST_CHECK enum status bpe_create(struct bpe *bpe, uint32_t vocabulary, size_t merges);
void bpe_destroy(struct bpe *bpe);
/* Gives `id` its bytes. findable: bpe_find and encode may produce it. */
MUST_CHECK enum status bpe_add(struct bpe *bpe, uint32_t id, const void *bytes, size_t size,
                               bool findable);
void bpe_make_findable(struct bpe *bpe, uint32_t id); /* a token that was added without */
void bpe_add_merge(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t merged);
/* After the last token: the tokens that bytes fall back to. */
void bpe_find_fallback(struct bpe *bpe);
int64_t bpe_find(const struct bpe *bpe, const void *bytes, size_t size); /* -1: none */
/* Appends the ids of piece (valid UTF-8). INVALID: a symbol outside the vocabulary. */
MUST_CHECK enum status bpe_encode(struct bpe *bpe, const uint8_t *piece, size_t size,
                                  struct id_list *ids);

#endif
