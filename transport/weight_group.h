/* transport/weight_group.h - one rank's end of the communicator that carries weights.
 *
 * A communicator belongs to an epoch: a set of members. When the set changes, or a member fails, it is aborted and the
 * next epoch has a new one; there is no other way to leave it and none to come in later. Nothing here blocks:
 * weight_group_turn moves things on and is called whenever the owner has a moment. Who is a member and what is sent is
 * decided by the root (weight_root.h) and followed by members (weight_member.h).
 * An owner that is itself held up by the device, because a kernel of NCCL waits there for a peer that is gone, cannot
 * abort: a thread of the group does it after these limits, and the state is CLOSING without the owner's doing. */
#ifndef TRANSPORT_WEIGHT_GROUP_H
#define TRANSPORT_WEIGHT_GROUP_H

#include <stdbool.h>

#include "transport/nccl_library.h"
#include "transport/weight_device.h"

enum weight_group_state {
    WEIGHT_GROUP_NONE,    /* no communicator */
    WEIGHT_GROUP_FORMING, /* ranks come together */
    WEIGHT_GROUP_READY,
    WEIGHT_GROUP_BUSY,   /* bytes are under way */
    WEIGHT_GROUP_CLOSING /* being aborted; NONE when nothing of it runs any more */
};

struct weight_group_config {
    const struct weight_device *device; /* borrowed */
    const char *nccl_library;           /* "" : the system's */
    size_t piece_bytes;
    bool
        digest; /* sum up the digest of what comes; a device without side_digest_* leaves that to the owner */
    int64_t form_limit_ms, send_limit_ms; /* of forming, and of one weight_group_begin; 0: none */
};

struct weight_group;
MUST_CHECK enum status weight_group_open(struct weight_group **group,
                                         const struct weight_group_config *config);
void weight_group_close(struct weight_group **group);
enum weight_group_state weight_group_look(struct weight_group *group);
MUST_CHECK enum status weight_group_make_id(struct weight_group *group, struct nccl_id *id);
/* After BUSY -> READY, with config.digest: of the bytes that came. *exposed_ms: from the last byte's arrival to the
 * digest, the part of it that no transfer hid. False: this device sums up nothing beside a transfer. */
bool weight_group_digest(struct weight_group *group, uint64_t *digest, double *exposed_ms);
/* State NONE -> FORMING. */
MUST_CHECK enum status weight_group_form(struct weight_group *group, const struct nccl_id *id,
                                         int ranks, int rank);
/* State READY -> BUSY: `bytes` of rank 0's memory go to the memory of all others, in pieces. Work that the device had
 * to do before is waited for. */
MUST_CHECK enum status weight_group_begin(struct weight_group *group, void *memory, size_t bytes);
/* CUDA: the communicator is broken, abort it. TIMEOUT: an abort never came back, this process must end. */
MUST_CHECK enum status weight_group_turn(struct weight_group *group);
void weight_group_abort(struct weight_group *group); /* any state -> CLOSING or NONE */

#endif
