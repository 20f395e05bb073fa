/* rollout_store/server_send.c - messages that leave, and those whose peers take nothing: kept, within bounds. */
#include <inttypes.h>

#include "core/log.h"
#include "rollout_store/server_state.h"

/* Messages and bytes kept for a peer. */
static size_t kept_of(const struct server *server, uint32_t peer, size_t *bytes)
{
    size_t count = 0;
    *bytes = 0;
    for (size_t i = 0; i < server->kept_count; i++)
        if (server->kept[i].peer == peer) {
            count++;
            *bytes += server->kept[i].bytes.size;
        }
    return count;
}

/* The places [left, kept_count) are free; buffers stay with their places, so they are swapped, not copied. */
static void move_kept(struct server *server, size_t from, size_t to)
{
    struct kept moved = server->kept[to];
    server->kept[to] = server->kept[from];
    if (to != from)
        server->kept[from] = moved;
}

void server_drop_kept(struct server *server, uint32_t peer)
{
    size_t left = 0;
    for (size_t i = 0; i < server->kept_count; i++) {
        if (server->kept[i].peer == peer)
            buffer_free(&server->kept[i].bytes);
        else
            move_kept(server, i, left++);
    }
    server->kept_count = left;
}

void server_forget(struct server *server, uint32_t peer)
{
    server_drop_kept(server, peer);
    hub_forget(server->hub, peer);
}

static enum status keep(struct server *server, uint32_t peer, const struct message *message)
{
    size_t bytes, count = kept_of(server, peer, &bytes);
    if (server->kept_count == KEPT_MAX || bytes > KEPT_PEER_BYTES) {
        LOG_WARN("store", "peer takes nothing, forgotten",
                 "peer=%" PRIu32 " messages=%zu bytes=%zu", peer, count, bytes);
        server_forget(server, peer);
        book_connection(server->book, server->turned_ns, peer, false);
        return STATUS_OK;
    }
    struct kept *kept = &server->kept[server->kept_count];
    kept->peer = peer;
    buffer_clear(&kept->bytes);
    TRY(message_pack(message, &kept->bytes));
    server->kept_count++;
    return STATUS_OK;
}

enum status server_send(struct server *server, uint32_t peer, const struct message *message)
{
    size_t bytes;
    enum status status =
        kept_of(server, peer, &bytes) > 0 ? STATUS_AGAIN : hub_send(server->hub, peer, message);
    if (message->type == MESSAGE_refused) { /* who is refused is no peer any more, heard or not */
        server_forget(server, peer);
        return STATUS_OK;
    }
    if (status == STATUS_AGAIN)
        return keep(server, peer, message);
    /* A message that does not pack is a fault of this store: to go on would leave its peer waiting for ever. */
    return status == STATUS_NETWORK ? STATUS_OK : status;
}

enum status server_send_kept(struct server *server)
{
    size_t left = 0, count = server->kept_count;
    for (size_t i = 0; i < count; i++) {
        struct kept *kept = &server->kept[i];
        bool blocked = false;
        for (size_t k = 0; k < left && !blocked; k++)
            blocked = server->kept[k].peer == kept->peer;
        struct message message;
        arena_reset(server->in_arena);
        if (!blocked) {
            TRY(message_unpack(&message, server->in_arena, kept->bytes.bytes, kept->bytes.size));
            blocked = hub_send(server->hub, kept->peer, &message) == STATUS_AGAIN;
        }
        if (blocked)
            move_kept(server, i, left++);
        else
            buffer_free(&kept->bytes);
    }
    server->kept_count = left;
    return STATUS_OK;
}
