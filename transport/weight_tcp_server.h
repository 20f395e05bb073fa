/* transport/weight_tcp_server.h - the learner's end of weights by TCP: whoever has room fetches pieces.
 *
 * An own thread with an own ZeroMQ context answers, because the learner computes for long; it reads only memory that is
 * offered, one piece at a time under a lock, so that withdrawing memory waits for the copy of one piece at most
 * (0.1 ms). Nothing is kept for a client: it says what it lacks. A client that takes nothing loses answers and asks
 * again, so memory is bounded by SERVER_QUEUE messages of a piece for each client.
 * Functions below: the learner's thread. */
#ifndef TRANSPORT_WEIGHT_TCP_SERVER_H
#define TRANSPORT_WEIGHT_TCP_SERVER_H

#include <stdbool.h>

#include "core/status.h"
#include "transport/weight_tcp_wire.h"

struct weight_server;

struct weight_server_config {
    const char *endpoint; /* tcp://HOST:PORT, PORT * or 0: any free one; HOST * or 0.0.0.0: all */
    uint64_t layout_hash;
    size_t bytes;
    const char *keys; /* run.keys; "": none, then loopback alone */
};

struct weight_server_stats {
    uint64_t pieces, looks, gone, refused, dropped;
};

MUST_CHECK enum status weight_server_open(struct weight_server **server,
                                          const struct weight_server_config *config);
void weight_server_close(struct weight_server **server);
/* For clients: with the real port, and this host's name where all addresses are bound. With keys "|" and a public key
 * follow, made for this process alone: it travels over links of the store, which let in members of the run only, and
 * without it no handshake succeeds. Where keys has a list `allow`, clients must be on it besides. */
const char *weight_server_endpoint(const struct weight_server *server);
/* The newest version lies in `memory` of the host, borrowed until it is withdrawn. Two at most are held. */
void weight_server_offer(struct weight_server *server, uint64_t version, uint32_t branch,
                         uint64_t digest, const void *memory);
/* Before `memory` is written again; its version is gone. */
void weight_server_withdraw(struct weight_server *server, const void *memory);
/* Where weights are not in memory of the host: room of the server for `version`, withdrawn; then offer it. */
MUST_CHECK enum status weight_server_stage(struct weight_server *server, uint64_t version,
                                           void **memory);
/* Somebody asked within the last minute. */
bool weight_server_wanted(struct weight_server *server);
void weight_server_read(struct weight_server *server, struct weight_server_stats *stats);

#endif
