/* transport/weight_fetch.h - fetching a version of the weights piece by piece, without a socket.
 *
 * Pure: time and messages come in, questions leave through `ask`, bytes go to their place through `put`. At most
 * `credits` pieces are asked for and not yet come; what does not come within timeout_ns is asked for again; a damaged
 * piece is asked for again; a version that is gone ends the fetch. When all bytes are there and the sum of their digests
 * is not the announced one, nothing arrives: it is counted, and after retry_ns the version may be fetched again. */
#ifndef TRANSPORT_WEIGHT_FETCH_H
#define TRANSPORT_WEIGHT_FETCH_H

#include "core/status.h"
#include "transport/weight_tcp_wire.h"

enum { WEIGHT_FETCH_CREDITS_MAX = 64 };

enum weight_fetch_state {
    WEIGHT_FETCH_IDLE,
    WEIGHT_FETCH_BUSY,
    WEIGHT_FETCH_ARRIVED /* all bytes are in place and right, until weight_fetch_done */
};

struct weight_fetch_config {
    uint64_t layout_hash;
    size_t bytes;
    size_t piece_bytes; /* a multiple of 8 */
    uint32_t credits;
    int64_t timeout_ns; /* of a piece */
    int64_t look_ns;    /* a question for the newest version is said again after so long */
    int64_t retry_ns;   /* after a wrong digest */
    bool no_crc;        /* tests: the digest alone must find what is wrong */
    /* AGAIN: nothing is taken now. */
    enum status (*ask)(void *self, const struct weight_tcp_head *head);
    /* A piece goes to its place; *digest of it as it lies there. */
    enum status (*put)(void *self, size_t offset, const void *piece, size_t size, uint64_t *digest);
    void *self;
};

struct weight_fetch_version {
    uint64_t version, digest; /* digest 0: none */
    uint32_t branch;
};

struct weight_fetch_stats {
    uint64_t pieces, damaged, asked_again, gone, digest_wrong, versions;
};

struct weight_fetch {
    struct weight_fetch_config config;
    enum weight_fetch_state state;
    struct weight_fetch_version newest, fetching;
    uint64_t refused_digest; /* was wrong; not before retry_at_ns */
    int64_t retry_at_ns, looked_ns, heard_ns;
    uint64_t sum; /* of the digests of the pieces that came */
    uint32_t next, done, pieces;
    struct weight_fetch_credit {
        bool used;
        uint32_t piece;
        int64_t asked_ns; /* 0: not asked yet */
    } credits[WEIGHT_FETCH_CREDITS_MAX];
    struct weight_fetch_stats stats;
};

void weight_fetch_init(struct weight_fetch *fetch, const struct weight_fetch_config *config);
/* Asks for what is due. */
MUST_CHECK enum status weight_fetch_turn(struct weight_fetch *fetch, int64_t now_ns);
/* A message of the server. CORRUPT: it has another model. */
MUST_CHECK enum status weight_fetch_take(struct weight_fetch *fetch, int64_t now_ns,
                                         const void *head, size_t head_size, const void *piece,
                                         size_t piece_size);
/* Starts to fetch the newest version; false: none, or its digest was wrong just now. State IDLE. */
bool weight_fetch_begin(struct weight_fetch *fetch, int64_t now_ns);
void weight_fetch_done(struct weight_fetch *fetch); /* -> IDLE, whatever is under way is dropped */

#endif
