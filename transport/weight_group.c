#include "transport/weight_group.h"

#include "core/check.h"
#include "core/memory.h"

struct weight_group {
    struct weight_group_config config;
    struct nccl *nccl;
    struct nccl_comm *comm;
    enum weight_group_state state;
};

enum status weight_group_open(struct weight_group **out, const struct weight_group_config *config)
{
    CHECK(config->piece_bytes > 0);
    struct weight_group *group = memory_alloc(sizeof *group);
    if (group == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight group");
    group->config = *config;
    enum status status = nccl_open(&group->nccl, config->nccl_library);
    if (status != STATUS_OK) {
        memory_free(group);
        return status;
    }
    *out = group;
    return STATUS_OK;
}

void weight_group_close(struct weight_group **pointer)
{
    struct weight_group *group = *pointer;
    if (group == NULL)
        return;
    nccl_comm_abort(&group->comm);
    nccl_close(&group->nccl);
    memory_free(group);
    *pointer = NULL;
}

enum weight_group_state weight_group_look(const struct weight_group *group)
{
    return group->state;
}

enum status weight_group_make_id(struct weight_group *group, struct nccl_id *id)
{
    return nccl_make_id(group->nccl, id);
}

enum status weight_group_form(struct weight_group *group, const struct nccl_id *id, int ranks,
                              int rank)
{
    CHECK(group->state == WEIGHT_GROUP_NONE);
    TRY(nccl_comm_join(group->nccl, id, ranks, rank, &group->comm));
    group->state = WEIGHT_GROUP_FORMING;
    return STATUS_OK;
}

/* One group of calls: NCCL starts all of them from a thread of its own when the ranks are connected. */
static enum status post_pieces(struct weight_group *group, uint8_t *memory, size_t bytes)
{
    void *stream = group->config.device->side_stream(group->config.device->context);
    enum status status = nccl_group_begin(group->nccl);
    if (status != STATUS_OK)
        return status;
    for (size_t at = 0; status == STATUS_OK && at < bytes;) {
        size_t piece =
            bytes - at < group->config.piece_bytes ? bytes - at : group->config.piece_bytes;
        status = nccl_broadcast(group->comm, memory + at, piece, 0, stream);
        at += piece;
    }
    enum status ended = nccl_group_end(group->nccl);
    return status != STATUS_OK ? status : ended;
}

enum status weight_group_begin(struct weight_group *group, void *memory, size_t bytes)
{
    CHECK(group->state == WEIGHT_GROUP_READY);
    TRY(group->config.device->finish(group->config.device->context));
    group->state = WEIGHT_GROUP_BUSY;
    return post_pieces(group, memory, bytes);
}

static enum status stream_idle(const struct weight_group *group)
{
    return group->config.device->side_wait(group->config.device->context, 0);
}

enum status weight_group_turn(struct weight_group *group)
{
    enum status status = STATUS_OK;
    switch (group->state) {
    case WEIGHT_GROUP_NONE:
        return STATUS_OK;
    case WEIGHT_GROUP_FORMING:
        status = nccl_comm_ready(group->comm);
        break;
    case WEIGHT_GROUP_READY: /* a peer that died may show here */
        status = nccl_comm_ready(group->comm);
        return status == STATUS_AGAIN ? STATUS_OK : status;
    case WEIGHT_GROUP_BUSY:
        status = nccl_comm_ready(group->comm);
        if (status == STATUS_OK)
            status = stream_idle(group);
        break;
    case WEIGHT_GROUP_CLOSING:
        status = nccl_abort_done(group->nccl);
        if (status == STATUS_OK)
            status = stream_idle(group);
        if (status == STATUS_OK)
            group->state = WEIGHT_GROUP_NONE;
        return status == STATUS_AGAIN ? STATUS_OK : status;
    }
    if (status == STATUS_OK)
        group->state = WEIGHT_GROUP_READY;
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

void weight_group_abort(struct weight_group *group)
{
    if (group->state == WEIGHT_GROUP_NONE || group->state == WEIGHT_GROUP_CLOSING)
        return;
    nccl_comm_abort(&group->comm);
    group->state = WEIGHT_GROUP_CLOSING;
}
