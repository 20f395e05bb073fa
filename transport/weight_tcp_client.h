/* transport/weight_tcp_client.h - an actor's end of weights by TCP.
 *
 * Nothing blocks: weight_client_turn is called once a decode step, takes what has come and asks for more
 * (weight_fetch.h). Connections that are cut are made again by themselves, and what was on its way is asked for again.
 * One thread. */
#ifndef TRANSPORT_WEIGHT_TCP_CLIENT_H
#define TRANSPORT_WEIGHT_TCP_CLIENT_H

#include "transport/weight_device.h"
#include "transport/weight_fetch.h"

struct weight_client_config {
    const char *endpoint; /* as weight_server_endpoint says it; copied */
    uint64_t layout_hash;
    size_t bytes;
    size_t piece_bytes;                 /* 0: WEIGHT_TCP_PIECE_BYTES */
    uint32_t credits;                   /* 0: WEIGHT_TCP_CREDITS */
    int64_t timeout_ms;                 /* of a piece; 0: 2000 */
    const struct weight_device *device; /* of the memory, borrowed; NULL: the host's */
    const char *keys; /* run.keys: actor.key of it is used where it is there; "": none */
    bool no_crc;      /* tests */
};

struct weight_client;
MUST_CHECK enum status weight_client_open(struct weight_client **client,
                                          const struct weight_client_config *config);
void weight_client_close(struct weight_client **client);
/* Newest version of the server; false: not known yet. */
bool weight_client_newest(const struct weight_client *client, struct weight_fetch_version *newest);
/* Starts to write the newest version into `memory`, which is the client's until weight_client_done, or until a turn
 * says that nothing is under way. False: there is none, or its digest was wrong a moment ago. */
bool weight_client_fetch(struct weight_client *client, void *memory);
/* *state: IDLE, BUSY, or ARRIVED: *version lies in the memory, and its digest is right. */
MUST_CHECK enum status weight_client_turn(struct weight_client *client,
                                          enum weight_fetch_state *state,
                                          struct weight_fetch_version *version);
void weight_client_done(struct weight_client *client);
/* Readable when something came (edge-triggered: only after a turn): for whoever has nothing else to do. */
int weight_client_fd(const struct weight_client *client);
const struct weight_fetch_stats *weight_client_stats(const struct weight_client *client);
/* Since the server was last heard, or the client was opened. */
int64_t weight_client_silent_ms(const struct weight_client *client);

#endif
