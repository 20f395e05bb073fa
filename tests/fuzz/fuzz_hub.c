/* links: transport */
/* Bytes from anybody to the store's end of all links, and from the store to one link. The input is a script: an identity
 * or the store, then a message type and a body under a right header, or the body as it is. Nothing may crash, peers stay
 * within their limit, and every answer is a message that unpacks. */
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "transport/hub_core.h"
#include "transport/link_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct arena *answers, *arena;

static void check_sent(const void *bytes, size_t size)
{
    struct message message;
    arena_reset(answers);
    CHECK(message_unpack(&message, answers, bytes, size) == STATUS_OK);
}

static enum status hub_sends(void *self, const char *identity, size_t identity_size,
                             const void *bytes, size_t size)
{
    (void)self;
    CHECK(identity != NULL && identity_size > 0);
    check_sent(bytes, size);
    return size % 7 == 0 ? STATUS_AGAIN : STATUS_OK;
}

static enum status link_sends(void *self, const void *bytes, size_t size)
{
    (void)self;
    check_sent(bytes, size);
    return size % 5 == 0 ? STATUS_AGAIN : STATUS_OK;
}

static void frame(const uint8_t *body, uint32_t size, uint8_t type, struct buffer *bytes)
{
    uint8_t header[16] = {'W', 'E', 'I', 'R', WIRE_PROTOCOL, 0, 0, 0};
    header[6] = (uint8_t)(1 + type % (MESSAGE_COUNT - 1));
    memcpy(header + 8, &size, 4);
    uint32_t crc = crc32c(crc32c(0, header, 12), body, size);
    memcpy(header + 12, &crc, 4);
    CHECK(buffer_append(bytes, header, sizeof header) == STATUS_OK);
    CHECK(buffer_append(bytes, body, size) == STATUS_OK);
}

static void to_hub(struct hub_core *hub, int64_t now_ns, uint8_t who, const struct buffer *bytes)
{
    static const char *const names[] = {"actor.0.0000000000000007", "reward.0.0000000000000001",
                                        "learner.0.0000000000000002", "\x00\x01garbage"};
    const char *identity = names[who % 4];
    struct hub_peer peer = {0};
    struct message message = {0};
    size_t length = who % 4 == 3 ? 9 : strlen(identity);
    enum role role = who & 16 ? ROLE_ACTOR : ROLE_NONE;
    arena_reset(arena);
    CHECK(hub_core_take(hub, now_ns, identity, length, role, bytes->bytes, bytes->size, arena,
                        &peer, &message) == STATUS_OK);
    if (message.type == MESSAGE_NONE)
        return;
    struct message answer = {.type = MESSAGE_score_ack, .score_ack = {now_ns > 0}};
    enum status status = hub_core_send(hub, peer.id, &answer);
    CHECK(status == STATUS_OK || status == STATUS_AGAIN || status == STATUS_NETWORK);
    if (who & 32)
        hub_core_forget(hub, peer.id);
    if (who & 64)
        hub_core_connected(hub, peer.id, false, now_ns);
}

static void to_link(struct link_core *link, int64_t now_ns, const struct buffer *bytes)
{
    struct message message = {0};
    arena_reset(arena);
    enum status status = link_core_take(link, now_ns, bytes->bytes, bytes->size, arena, &message);
    CHECK(status == STATUS_OK || status == STATUS_CANCELLED);
    status = link_core_turn(link, now_ns);
    CHECK(status == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (arena == NULL) {
        CHECK(arena_create(&arena, 16 << 20) == STATUS_OK);
        CHECK(arena_create(&answers, 16 << 20) == STATUS_OK);
    }
    static struct hub_core *hub; /* its tables are large: one for all inputs, emptied after each */
    struct link_core *link = NULL;
    const struct hello hello = {
        .run = "f", .role = ROLE_ACTOR, .incarnation = 7, .pid = 1, .host = "h", .numerics = ""};
    struct buffer message;
    int64_t now_ns = 1;
    buffer_init(&message, 0);
    if (hub == NULL)
        CHECK(hub_core_create(&hub, hub_sends, NULL) == STATUS_OK);
    CHECK(link_core_create(&link, &hello, "fuzz", link_sends, NULL) == STATUS_OK);
    for (size_t at = 0; at + 3 <= size;) {
        uint8_t who = bytes[at], type = bytes[at + 1];
        uint32_t length = bytes[at + 2];
        if (length > size - at - 3)
            length = (uint32_t)(size - at - 3);
        buffer_clear(&message);
        if (type == 255)
            CHECK(buffer_append(&message, bytes + at + 3, length) == STATUS_OK);
        else
            frame(bytes + at + 3, length, type, &message);
        now_ns += who * INT64_C(10) * CLOCK_NS_PER_MS;
        if (who & 128)
            to_link(link, now_ns, &message);
        else
            to_hub(hub, now_ns, who, &message);
        CHECK(hub_core_peer_count(hub) <= HUB_PEERS_MAX);
        at += 3 + length;
    }
    while (hub_core_peer_count(hub) > 0)
        hub_core_forget(hub, hub_core_peer_at(hub, 0)->id);
    link_core_destroy(&link);
    buffer_free(&message);
    return 0;
}
