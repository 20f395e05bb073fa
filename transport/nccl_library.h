/* transport/nccl_library.h - NCCL, found when the program runs.
 *
 * The library is opened by name (libnccl.so.2, or the one a setting names), so that programs without GPUs do not need
 * it and tests put one of their own in its place (tests/fake_nccl). Every communicator is made non-blocking: a call
 * starts work and returns, nccl_comm_ready tells how it went. Only an abort may block inside NCCL; it runs on a
 * thread of its own, and one that does not come back in time is reported, since then only a new process helps.
 * One thread at a time uses a `struct nccl` and its communicators. Memory is that of the device which was current on that thread
 * when the communicator was made; streams are cudaStream_t. Counts are bytes: nothing here adds numbers up. */
#ifndef TRANSPORT_NCCL_LIBRARY_H
#define TRANSPORT_NCCL_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct nccl;
struct nccl_comm;

enum { NCCL_ID_BYTES = 128, NCCL_ABORT_MS = 30000 };

/* Names a communicator to be; made by one process, given to all its ranks. */
struct nccl_id {
    uint8_t bytes[NCCL_ID_BYTES];
};

/* path: "" is libnccl.so.2. NVLink multicast (NVLS) is switched off unless the environment says otherwise.
 * UNSUPPORTED, with what to do, when it cannot be opened or is too old. */
MUST_CHECK enum status nccl_open(struct nccl **nccl, const char *path);
/* Waits, within NCCL_ABORT_MS, for aborts under way. Communicators must be aborted before. */
void nccl_close(struct nccl **nccl);
int nccl_version(const struct nccl *nccl); /* 22809 is 2.28.9 */
MUST_CHECK enum status nccl_make_id(struct nccl *nccl, struct nccl_id *id);

/* Starts to join as rank `rank` of `ranks`; ready when all of them have come. */
MUST_CHECK enum status nccl_comm_join(struct nccl *nccl, const struct nccl_id *id, int ranks,
                                      int rank, struct nccl_comm **comm);
/* OK: everything asked for so far is under way on its stream, more may be asked. AGAIN: not yet. CUDA: the communicator
 * is broken, abort it. */
MUST_CHECK enum status nccl_comm_ready(const struct nccl_comm *comm);
/* Until it is ready; TIMEOUT names the operation and the peer. */
MUST_CHECK enum status nccl_comm_await(const struct nccl_comm *comm, const char *name,
                                       const char *peer, int64_t timeout_ms);
/* Ends it at once, whatever the other ranks do; kernels of it on a stream end too, soon. Sets *comm to NULL. */
void nccl_comm_abort(struct nccl_comm **comm);
/* OK: no abort is under way. AGAIN: one is. TIMEOUT: one has not come back for NCCL_ABORT_MS. */
MUST_CHECK enum status nccl_abort_done(struct nccl *nccl);

/* On `stream`. With more than one call under way in a group nothing starts before nccl_group_end. After a call (or
 * after nccl_group_end) the communicator must be ready before the next one. */
MUST_CHECK enum status nccl_group_begin(struct nccl *nccl);
MUST_CHECK enum status nccl_group_end(struct nccl *nccl);
MUST_CHECK enum status nccl_broadcast(struct nccl_comm *comm, void *memory, size_t bytes, int root,
                                      void *stream); /* in place */
MUST_CHECK enum status nccl_send(struct nccl_comm *comm, const void *memory, size_t bytes, int to,
                                 void *stream);
MUST_CHECK enum status nccl_receive(struct nccl_comm *comm, void *memory, size_t bytes, int from,
                                    void *stream);
/* all [ranks][bytes]; in place when one = all + rank * bytes. */
MUST_CHECK enum status nccl_all_gather(struct nccl_comm *comm, const void *one, void *all,
                                       size_t bytes, void *stream);

#endif
