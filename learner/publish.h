/* learner/publish.h - how weights leave the learner: a file of host memory, device memory of the same host, NCCL, TCP.
 *
 * On devices a version is copied from the weights that training reads into one of two send buffers; actors take it
 * from there while training goes on. Which way: settings.weights.channel, docs/weights.md. */
#ifndef LEARNER_PUBLISH_H
#define LEARNER_PUBLISH_H

#include "transport/weight_channel.h"
#include "transport/weight_root.h"
#include "transport/weight_tcp_server.h"

struct learner;

struct publisher {
    struct weight_device device;
    size_t bytes;
    struct weight_sender *sender; /* NULL: NCCL only */
    struct weight_root *root;     /* NULL: no NCCL, or nobody has asked for it */
    bool no_nccl;                 /* somebody asked, and it cannot be had */
    struct weight_server *server; /* NULL: not by TCP */
    uint64_t served_digest;       /* of the version it has; 0: none */
    void *buffers[2];             /* on the device; NULL where the file holds the bytes */
    void *newest;                 /* buffer of the version put last; NULL: none yet */
    uint64_t version, digest;     /* of it */
    uint32_t branch;
};

/* Before and after the learner said hello. The first sets learner->weights_path, which actors get from the store. */
MUST_CHECK enum status publisher_open(struct learner *learner);
MUST_CHECK enum status publisher_join(struct learner *learner);
void publisher_close(struct learner *learner); /* before its link and its op table go */
/* The weights in the trainer, as version `version`. Waits, with a deadline, for a buffer that is still being sent. */
MUST_CHECK enum status publisher_put(struct learner *learner, uint64_t version);
/* What an actor says of the broadcast, and a moment for the broadcast once all that is said was taken. */
void publisher_take(struct learner *learner, const struct weight_control *control);
MUST_CHECK enum status publisher_turn(struct learner *learner);
/* At most so long may be waited before the next turn. */
int64_t publisher_pause_ms(const struct learner *learner, int64_t most_ms);

#endif
