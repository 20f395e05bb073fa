/* learner/ranks.h - several learner processes that train one model (data parallel, optimizer state in shards).
 *
 * Every rank has all weights and a full gradient buffer; of master, m and v it has its shard of the flat layout. An
 * update: each rank's share of the sequences forward and backward; each shard's gradients to its owner, added in
 * rank order 0, 1, ... whatever arrives first, so the sum has the same bits every time; AdamW on the shard; the parts
 * of the weights from their owners to everybody. Rank 0 is the learner that store and actors know; the others do
 * what it says (rank_wire.h). Gradients and weights go through NCCL (transport/nccl_library.h). One thread. */
#ifndef LEARNER_RANKS_H
#define LEARNER_RANKS_H

#include "core/settings.h"
#include "learner/rank_wire.h"
#include "model/model.h"

struct nccl;
struct nccl_comm;

struct ranks {
    struct rank_wire wire; /* .rank of .count */
    struct nccl *nccl;
    struct nccl_comm *comm;
    const struct op_table *ops; /* borrowed, from ranks_join on */
    void *staging;              /* device [count - 1][piece] f32 */
    int64_t piece;              /* elements sent at a time */
};

/* What rank 0 tells the others. */
enum rank_command {
    COMMAND_START =
        16, /* path of a checkpoint or a model folder: make the trainer; everybody says how it went */
    COMMAND_JOIN,    /* the communicator */
    COMMAND_UPDATE,  /* a minibatch */
    COMMAND_READ,    /* u32: send your shard of that array */
    COMMAND_SCORE,   /* sequences: send the logprobs of your share */
    COMMAND_RESULTS, /* a follower's answer: what an update computed for each token */
    COMMAND_STOP
};

/* Elements [first, first + count) of the flat layout that rank `rank` owns; multiples of 64, all of them covered. */
struct shard {
    int64_t first, count;
};
struct shard ranks_shard(int64_t elements, int ranks, int rank);

/* The wire: rank 0 waits for the others on <folder>/learner.ranks. */
MUST_CHECK enum status ranks_open(struct ranks *ranks, const struct settings *settings, int rank,
                                  const char *folder);
/* The communicator, once the device is open. fingerprints that differ are refused with the rank's number. */
MUST_CHECK enum status ranks_join(struct ranks *ranks, const struct settings *settings,
                                  const struct op_table *ops, uint64_t fingerprint);
void ranks_close(struct ranks *ranks);

/* grads [elements] device: afterwards the own shard holds the sum over ranks, the rest is spent. */
MUST_CHECK enum status ranks_sum_shards(struct ranks *ranks, float *grads, int64_t elements);
/* On rank 0: the others' shards of array `which` (enum trainer_array) into host [elements]. */
MUST_CHECK enum status ranks_collect(struct ranks *ranks, uint32_t which, float *host,
                                     int64_t elements);
/* CORRUPT when a rank has another value: a digest. */
MUST_CHECK enum status ranks_same(struct ranks *ranks, uint64_t digest);
/* memory: `bytes_each` bytes an element, [elements] laid out from byte `base`; every part from its owner. Parts are the
 * shards cut to [first, first + count). */
MUST_CHECK enum status ranks_share_parts(struct ranks *ranks, void *memory, int64_t base,
                                         int64_t first, int64_t count, int64_t elements,
                                         int64_t bytes_each);

#endif
