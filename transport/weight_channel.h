/* transport/weight_channel.h - weights from the learner to actors on one host.
 *
 * A file in shared memory (/dev/shm): a header and two buffers of the flat canonical layout. The learner
 * writes version v into buffer v % 2 while actors may still copy the other; each buffer has a sequence
 * number that is odd while it is written, its version and its digest. An actor copies a buffer, then
 * checks that sequence number, version and its own digest of the copy equal the announced ones; a torn
 * copy is tried again, a wrong digest is CORRUPT and never served. The learner never waits for actors.
 * On GPUs the two buffers are device memory of the learner and the file has only their names: actors of the host open
 * them and copy from device to device, by the same protocol.
 * The file is removed by its writer on close, and by whoever started the run when the writer was killed. */
#ifndef TRANSPORT_WEIGHT_CHANNEL_H
#define TRANSPORT_WEIGHT_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "transport/weight_device.h"

/* Where a run's channel lies: /dev/shm/weir.<run>.<8 digits of its absolute folder>.weights, so that runs of one name
 * under different roots do not meet. path: FILE_PATH_MAX bytes. */
MUST_CHECK enum status weight_channel_path(char *path, const char *run, const char *folder);

struct weight_sender;
MUST_CHECK enum status weight_sender_open(struct weight_sender **sender, const char *path,
                                          uint64_t layout_hash, size_t bytes);
/* The buffers are memory of `device` made with its create, borrowed; [bytes] each. UNSUPPORTED where it shares none. */
MUST_CHECK enum status weight_sender_open_device(struct weight_sender **sender, const char *path,
                                                 uint64_t layout_hash, size_t bytes,
                                                 const struct weight_device *device,
                                                 void *const buffers[2]);
void weight_sender_close(struct weight_sender **sender); /* removes the file */
/* Where version `version` is to be written; begins the write, which must be finished on the device before commit. */
void *weight_sender_begin(struct weight_sender *sender, uint64_t version);
void weight_sender_commit(struct weight_sender *sender, uint64_t version, uint32_t branch,
                          uint64_t digest);

struct weight_receiver;
/* NOT_FOUND while the learner has not made it; CORRUPT on another layout_hash or size (text says both). */
MUST_CHECK enum status weight_receiver_open(struct weight_receiver **receiver, const char *path,
                                            uint64_t layout_hash, size_t bytes);
/* Copies go to memory of `device` (borrowed). UNSUPPORTED when the channel names device memory that cannot be opened. */
MUST_CHECK enum status weight_receiver_open_device(struct weight_receiver **receiver,
                                                   const char *path, uint64_t layout_hash,
                                                   size_t bytes,
                                                   const struct weight_device *device);
void weight_receiver_close(struct weight_receiver **receiver);
/* Newest complete version in the channel; 0xffff.. when none. */
uint64_t weight_receiver_version(const struct weight_receiver *receiver, uint32_t *branch,
                                 uint64_t *digest);
/* Copies version (version, digest) into out [bytes]. AGAIN: overwritten meanwhile, ask for a newer one.
 * CORRUPT: the copy's digest differs. */
MUST_CHECK enum status weight_receiver_copy(struct weight_receiver *receiver, uint64_t version,
                                            uint64_t digest, void *out);

#endif
