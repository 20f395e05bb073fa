/* learner/rank_wire.h - what the ranks of a learner say to each other besides gradients: a stream socket from rank 0
 * to each follower, on a path in the run folder.
 *
 * Commands and small results go this way, gradients and weights through NCCL (learner/ranks.h). A rank that dies is
 * noticed at once: its socket closes. Every wait has a name, the peer and a deadline; while rank 0 waits it calls
 * `between`, which answers the store. One thread. */
#ifndef LEARNER_RANK_WIRE_H
#define LEARNER_RANK_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum { RANKS_MAX = 64, RANK_PATH_MAX = 108 };

struct rank_wire {
    int rank, count;
    int listening;       /* rank 0; -1 elsewhere */
    int peer[RANKS_MAX]; /* rank 0: of follower r; follower: peer[0] */
    char path[RANK_PATH_MAX];
    int64_t timeout_ms;
    enum status (*between)(void *self); /* rank 0, may be NULL */
    void *between_self;
};

/* Rank 0 waits for all followers, a follower until rank 0 listens. fingerprint: of everything that must agree (layout,
 * numerics); INVALID names the rank whose differs. */
MUST_CHECK enum status rank_wire_open(struct rank_wire *wire, const char *path, int rank, int count,
                                      uint64_t fingerprint, int64_t timeout_ms);
void rank_wire_close(struct rank_wire *wire);
/* A message is a kind and bytes. To one peer (a follower's only peer is 0). NETWORK: the rank is gone, named. */
MUST_CHECK enum status rank_wire_send(struct rank_wire *wire, int peer, uint32_t kind,
                                      const void *bytes, size_t size);
/* timeout_ms < 0: the wire's own. buffer is cleared first. */
MUST_CHECK enum status rank_wire_receive(struct rank_wire *wire, int peer, int64_t timeout_ms,
                                         uint32_t *kind, struct buffer *bytes);
/* Waits at most so long, calling `between`; fails when a peer's socket has closed. */
MUST_CHECK enum status rank_wire_idle(struct rank_wire *wire, int64_t timeout_ms);
/* Rank 0 to all followers. */
MUST_CHECK enum status rank_wire_tell(struct rank_wire *wire, uint32_t kind, const void *bytes,
                                      size_t size);
/* Every rank gives `size` bytes and gets all of them, [count][size], in rank order. */
MUST_CHECK enum status rank_wire_gather(struct rank_wire *wire, const void *mine, size_t size,
                                        void *all);

#endif
