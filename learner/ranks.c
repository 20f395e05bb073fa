#include "learner/ranks.h"

#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "transport/nccl_library.h"

enum { SHARD_UNIT = 64, PIECE = 4 << 20, COMM_MS = 120000, SLICE_MS = 20 };
enum { MESSAGE_ID = 3 };

struct shard ranks_shard(int64_t elements, int ranks, int rank)
{
    int64_t units = (elements + SHARD_UNIT - 1) / SHARD_UNIT;
    int64_t each = (units + ranks - 1) / ranks * SHARD_UNIT;
    int64_t first = each * rank < elements ? each * rank : elements;
    int64_t left = elements - first;
    return (struct shard){.first = first, .count = left < each ? left : each};
}

/* ---- open and close ---- */

enum status ranks_open(struct ranks *ranks, const struct settings *settings, int rank,
                       const char *folder)
{
    char path[RANK_PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/learner.ranks", folder);
    if (size < 0 || (size_t)size >= sizeof path)
        return FAIL(STATUS_LIMIT, "%s is too long for a unix socket: choose a shorter run.root",
                    folder);
    *ranks = (struct ranks){0};
    return rank_wire_open(&ranks->wire, path, rank, (int)settings->learner.ranks,
                          settings->learner.ranks, settings->learner.rank_timeout_ms);
}

static enum status compare_fingerprints(struct ranks *ranks, uint64_t fingerprint)
{
    uint64_t all[RANKS_MAX];
    TRY(rank_wire_gather(&ranks->wire, &fingerprint, sizeof fingerprint, all));
    for (int r = 1; r < ranks->wire.count; r++)
        if (all[r] != all[0])
            return FAIL(
                STATUS_INVALID,
                "learner rank %d has another model or backend than rank 0: all ranks must run "
                "the same build and recipe on the same kind of device",
                r);
    return STATUS_OK;
}

static enum status share_id(struct ranks *ranks, struct nccl_id *id)
{
    if (ranks->wire.rank == 0) {
        TRY(nccl_make_id(ranks->nccl, id));
        return rank_wire_tell(&ranks->wire, MESSAGE_ID, id, sizeof *id);
    }
    struct buffer bytes;
    uint32_t kind = 0;
    buffer_init(&bytes, 0);
    enum status status = rank_wire_receive(&ranks->wire, 0, -1, &kind, &bytes);
    if (status == STATUS_OK && (kind != MESSAGE_ID || bytes.size != sizeof *id))
        status = FAIL(STATUS_CORRUPT, "learner rank 0 sent no communicator id");
    if (status == STATUS_OK)
        memcpy(id, bytes.bytes, sizeof *id);
    buffer_free(&bytes);
    return status;
}

enum status ranks_join(struct ranks *ranks, const struct settings *settings,
                       const struct op_table *ops, uint64_t fingerprint)
{
    struct nccl_id id;
    ranks->ops = ops;
    ranks->piece = PIECE;
    TRY(compare_fingerprints(ranks, fingerprint));
    TRY(nccl_open(&ranks->nccl, settings->weights.nccl_library));
    TRY(share_id(ranks, &id));
    TRY(nccl_comm_join(ranks->nccl, &id, ranks->wire.count, ranks->wire.rank, &ranks->comm));
    TRY(nccl_comm_await(ranks->comm, "communicator of the learner ranks", "all ranks", COMM_MS));
    size_t bytes = (size_t)(ranks->piece * (ranks->wire.count - 1)) * sizeof(float);
    TRY(ops->memory_create(ops->context, bytes, &ranks->staging));
    LOG_INFO("ranks", "joined", "rank=%d ranks=%d", ranks->wire.rank, ranks->wire.count);
    return STATUS_OK;
}

void ranks_close(struct ranks *ranks)
{
    if (ranks->comm != NULL)
        nccl_comm_abort(&ranks->comm);
    if (ranks->nccl != NULL)
        nccl_close(&ranks->nccl);
    if (ranks->staging != NULL)
        ranks->ops->memory_destroy(ranks->ops->context, &ranks->staging);
    if (ranks->wire.count > 0)
        rank_wire_close(&ranks->wire);
    *ranks = (struct ranks){0};
}

/* ---- exchange ---- */

/* Until what was asked for is done. A rank that died shows on its socket before NCCL says anything. */
static enum status await(struct ranks *ranks, const char *name)
{
    const struct op_table *ops = ranks->ops;
    int64_t waited_ms = 0;
    for (bool under_way = false; waited_ms <= ranks->wire.timeout_ms; waited_ms += SLICE_MS) {
        enum status status = under_way ? STATUS_OK : nccl_comm_ready(ranks->comm);
        under_way = status == STATUS_OK;
        if (under_way)
            status = ops->side_wait(ops->context, SLICE_MS);
        else if (status == STATUS_AGAIN)
            TRY(rank_wire_idle(&ranks->wire, SLICE_MS));
        if (status != STATUS_AGAIN)
            return status;
        TRY(rank_wire_idle(&ranks->wire, 0));
    }
    return FAIL(
        STATUS_IO,
        "%s between the learner ranks took longer than learner.rank_timeout_ms (%lld): one of "
        "them hangs; all start again from the checkpoint",
        name, (long long)ranks->wire.timeout_ms);
}

static int64_t part(int64_t count, int64_t at, int64_t piece)
{
    int64_t left = count - at;
    return left < 0 ? 0 : left < piece ? left : piece;
}

/* Piece `at` of every shard to its owner; the others' of our own into staging, in rank order. */
static enum status exchange_piece(struct ranks *ranks, float *grads, int64_t elements, int64_t at)
{
    const struct op_table *ops = ranks->ops;
    int me = ranks->wire.rank, count = ranks->wire.count;
    void *stream = ops->side_stream(ops->context);
    int64_t own = part(ranks_shard(elements, count, me).count, at, ranks->piece);
    TRY(nccl_group_begin(ranks->nccl));
    for (int r = 0, place = 0; r < count; r++) {
        if (r == me)
            continue;
        struct shard shard = ranks_shard(elements, count, r);
        int64_t theirs = part(shard.count, at, ranks->piece);
        if (theirs > 0)
            TRY(nccl_send(ranks->comm, grads + shard.first + at, (size_t)theirs * sizeof(float), r,
                          stream));
        if (own > 0)
            TRY(nccl_receive(ranks->comm, (float *)ranks->staging + place * ranks->piece,
                             (size_t)own * sizeof(float), r, stream));
        place++;
    }
    TRY(nccl_group_end(ranks->nccl));
    return await(ranks, "the exchange of gradients");
}

/* grads = g_0 + g_1 + ... from the left; our own is in grads, the others' in staging. */
static enum status add_piece(struct ranks *ranks, float *grads, int64_t count)
{
    const struct op_table *ops = ranks->ops;
    int me = ranks->wire.rank;
    float *sum = me == 0 ? grads : ranks->staging;
    for (int r = 1; r < ranks->wire.count; r++) {
        const float *next =
            r == me ? grads : (float *)ranks->staging + (r < me ? r : r - 1) * ranks->piece;
        TRY(ops->add_float(ops->context,
                           &(struct op_add_float){.count = count, .x = next, .y = sum}));
    }
    if (sum != grads)
        TRY(ops->memory_copy(ops->context, grads, sum, (size_t)count * sizeof(float)));
    return ops->finish(ops->context);
}

enum status ranks_sum_shards(struct ranks *ranks, float *grads, int64_t elements)
{
    struct shard own = ranks_shard(elements, ranks->wire.count, ranks->wire.rank);
    int64_t longest = ranks_shard(elements, ranks->wire.count, 0).count;
    uint32_t here = 1, all[RANKS_MAX];
    TRY(ranks->ops->finish(ranks->ops->context));
    /* Before the collective, which could only say that somebody is late: on the wire the late one has a name. */
    TRY(rank_wire_gather(&ranks->wire, &here, sizeof here, all));
    for (int64_t at = 0; at < longest; at += ranks->piece) {
        TRY(exchange_piece(ranks, grads, elements, at));
        int64_t count = part(own.count, at, ranks->piece);
        if (count > 0)
            TRY(add_piece(ranks, grads + own.first + at, count));
    }
    return STATUS_OK;
}

enum status ranks_share_parts(struct ranks *ranks, void *memory, int64_t base, int64_t first,
                              int64_t count, int64_t elements, int64_t bytes_each)
{
    const struct op_table *ops = ranks->ops;
    void *stream = ops->side_stream(ops->context);
    TRY(ops->finish(ops->context));
    for (int r = 0; r < ranks->wire.count; r++) {
        struct shard shard = ranks_shard(elements, ranks->wire.count, r);
        int64_t begin = shard.first > first ? shard.first : first;
        int64_t end = shard.first + shard.count;
        end = end < first + count ? end : first + count;
        if (begin >= end)
            continue;
        TRY(nccl_broadcast(ranks->comm, (char *)memory + base + (begin - first) * bytes_each,
                           (size_t)((end - begin) * bytes_each), r, stream));
        TRY(await(ranks, "sharing weights"));
    }
    return STATUS_OK;
}

enum status ranks_collect(struct ranks *ranks, uint32_t which, float *host, int64_t elements)
{
    struct buffer bytes;
    uint32_t kind = 0;
    buffer_init(&bytes, 0);
    enum status status = rank_wire_tell(&ranks->wire, COMMAND_READ, &which, sizeof which);
    for (int r = 1; r < ranks->wire.count && status == STATUS_OK; r++) {
        struct shard shard = ranks_shard(elements, ranks->wire.count, r);
        size_t size = (size_t)shard.count * sizeof(float);
        status = rank_wire_receive(&ranks->wire, r, -1, &kind, &bytes);
        if (status == STATUS_OK && (kind != COMMAND_READ || bytes.size != size))
            status =
                FAIL(STATUS_CORRUPT, "learner rank %d sent %zu bytes of its shard, expected %zu", r,
                     bytes.size, size);
        if (status == STATUS_OK)
            memcpy(host + shard.first, bytes.bytes, size);
    }
    buffer_free(&bytes);
    return status;
}

enum status ranks_same(struct ranks *ranks, uint64_t digest)
{
    uint64_t all[RANKS_MAX];
    TRY(rank_wire_gather(&ranks->wire, &digest, sizeof digest, all));
    for (int r = 1; r < ranks->wire.count; r++)
        if (all[r] != all[0])
            return FAIL(STATUS_CORRUPT,
                        "learner rank %d has weights %016llx, rank 0 has %016llx: memory or a link "
                        "between GPUs is damaged",
                        r, (unsigned long long)all[r], (unsigned long long)all[0]);
    return STATUS_OK;
}
