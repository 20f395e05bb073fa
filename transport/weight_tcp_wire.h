/* transport/weight_tcp_wire.h - what weight_tcp_client and weight_tcp_server say to each other (docs/weights.md).
 *
 * A message is one head, and behind PIECE a second frame with the bytes. Numbers are little-endian, as they lie in
 * memory. Private to transport/ and its tests. */
#ifndef TRANSPORT_WEIGHT_TCP_WIRE_H
#define TRANSPORT_WEIGHT_TCP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum weight_tcp_kind {
    WEIGHT_TCP_LOOK =
        1, /* client: what is the newest? `digest`: of what it knows; 0: nothing. Answered when another
                          * one is there */
    WEIGHT_TCP_ASK,    /* client: [offset, offset + length) of (version, digest) */
    WEIGHT_TCP_NEWEST, /* server: version, branch, digest */
    WEIGHT_TCP_PIECE,  /* server: the bytes asked for */
    WEIGHT_TCP_GONE, /* server: that version is overwritten; version, branch, digest of the newest */
    WEIGHT_TCP_REFUSED /* server: layout_hash and bytes of the model it has */
};

struct weight_tcp_head {
    uint32_t magic, kind;
    uint64_t layout_hash, bytes; /* of the whole layout */
    uint64_t version, digest;
    uint64_t offset;
    uint32_t length, branch;
    uint32_t reserved;
    uint32_t crc; /* CRC32C of the head with crc 0, then of the piece */
};
_Static_assert(sizeof(struct weight_tcp_head) == 64, "a head has 64 bytes");

enum {
    WEIGHT_TCP_MAGIC = 0x31545757, /* "WWT1" */
    WEIGHT_TCP_PIECE_MAX = 16 << 20,
    WEIGHT_TCP_PIECE_BYTES = 1 << 20, /* default */
    WEIGHT_TCP_CREDITS = 8            /* pieces asked for and not yet come, default */
};

/* Sets magic and crc. */
void weight_tcp_seal(struct weight_tcp_head *head, const void *piece, size_t size);
/* False: damaged. */
bool weight_tcp_check(const struct weight_tcp_head *head, const void *piece, size_t size);

#endif
