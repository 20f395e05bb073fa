/* links: transport proto core */
/* label: unit */
/* timeout: 20 */
/* Link and hub without sockets: a scripted network between link_core and hub_core, and descriptors for hub_watch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/memory.h"
#include "transport/envelope.h"
#include "transport/hub_core.h"
#include "transport/hub_watch.h"
#include "transport/link_core.h"
#include "transport/socket.h"

enum { QUEUE = 64, MS = CLOCK_NS_PER_MS };

struct queue {
    struct buffer items[QUEUE];
    uint32_t head, tail;
    enum status answer; /* what `send` gives; OK queues */
};

/* One link, one hub, two queues. */
struct world {
    struct link_core *link;
    struct hub_core *hub;
    struct queue up, down;
    struct arena *arena;
    int64_t now;
    char identity[SOCKET_IDENTITY_MAX];
    uint32_t last; /* id of the peer heard last */
};

static enum status queue_put(struct queue *queue, const void *bytes, size_t size)
{
    if (queue->answer != STATUS_OK)
        return FAIL(queue->answer, "scripted");
    struct buffer *item = &queue->items[queue->tail++ % QUEUE];
    buffer_clear(item);
    return buffer_append(item, bytes, size);
}

static struct buffer *queue_get(struct queue *queue)
{
    return queue->head == queue->tail ? NULL : &queue->items[queue->head++ % QUEUE];
}

static enum status send_up(void *self, const void *bytes, size_t size)
{
    struct world *world = self;
    return queue_put(&world->up, bytes, size);
}

static enum status send_down(void *self, const char *identity, size_t identity_size,
                             const void *bytes, size_t size)
{
    struct world *world = self;
    (void)identity;
    (void)identity_size;
    return queue_put(&world->down, bytes, size);
}

static const struct hello actor_hello = {
    .run = "run-1", .role = ROLE_ACTOR, .index = 3, .incarnation = 0xabc, .host = "h"};

static int setup(void **state)
{
    struct world *world = memory_alloc(sizeof *world);
    *state = world;
    world->now = 1000 * CLOCK_NS_PER_S;
    socket_identity(ROLE_ACTOR, 3, 0xabc, world->identity);
    return link_core_create(&world->link, &actor_hello, "there", send_up, world) == STATUS_OK &&
                   hub_core_create(&world->hub, send_down, world) == STATUS_OK &&
                   arena_create(&world->arena, 1 << 20) == STATUS_OK
               ? 0
               : 1;
}

static int teardown(void **state)
{
    struct world *world = *state;
    link_core_destroy(&world->link);
    hub_core_destroy(&world->hub);
    arena_destroy(&world->arena);
    for (int i = 0; i < QUEUE; i++) {
        buffer_free(&world->up.items[i]);
        buffer_free(&world->down.items[i]);
    }
    memory_free(world);
    return 0;
}

/* ---- steps of a script ---- */

/* A turn of the link after `ms`; how many messages it sent. */
static uint32_t turn_after(struct world *world, int64_t ms)
{
    uint32_t before = world->up.tail;
    world->now += ms * MS;
    assert_int_equal(link_core_turn(world->link, world->now), STATUS_OK);
    return world->up.tail - before;
}

static enum message_type hub_takes_bytes(struct world *world, const void *bytes, size_t size,
                                         struct message *got)
{
    struct hub_peer peer;
    arena_reset(world->arena);
    assert_int_equal(hub_core_take(world->hub, world->now, world->identity, strlen(world->identity),
                                   ROLE_NONE, bytes, size, world->arena, &peer, got),
                     STATUS_OK);
    if (got->type != MESSAGE_NONE)
        world->last = peer.id;
    return got->type;
}

/* The hub takes the oldest message on its way; what the owner sees. */
static enum message_type hub_takes(struct world *world, struct message *got)
{
    struct buffer *item = queue_get(&world->up);
    assert_non_null(item);
    return hub_takes_bytes(world, item->bytes, item->size, got);
}

static enum status link_takes(struct world *world, struct message *got)
{
    struct buffer *item = queue_get(&world->down);
    assert_non_null(item);
    arena_reset(world->arena);
    return link_core_take(world->link, world->now, item->bytes, item->size, world->arena, got);
}

static void welcome(struct world *world)
{
    struct message got, message = {.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 50}};
    assert_int_equal(hub_takes(world, &got), MESSAGE_hello);
    assert_int_equal(hub_core_send(world->hub, world->last, &message), STATUS_OK);
    assert_int_equal(link_takes(world, &got), STATUS_OK);
    assert_int_equal(got.type, MESSAGE_welcome);
    assert_true(link_core_welcomed(world->link));
}

static void connect_link(struct world *world)
{
    assert_int_equal(turn_after(world, 0), 1);
    welcome(world);
}

/* ---- the link ---- */

static void test_link_core_unwelcomed_repeats_hello_every_100_ms(void **state)
{
    struct world *world = *state;
    struct message got;
    assert_int_equal(turn_after(world, 0), 1);
    assert_int_equal(link_core_due_ns(world->link), world->now + 100 * MS);
    assert_int_equal(turn_after(world, 99), 0);
    assert_int_equal(turn_after(world, 1), 1);
    assert_int_equal(turn_after(world, 100), 1);
    for (int i = 0; i < 3; i++) /* the same peer, however often */
        assert_int_equal(hub_takes(world, &got), MESSAGE_hello);
    assert_int_equal(hub_core_peer_count(world->hub), 1);
    struct message control = {.type = MESSAGE_control, .control = {1, "tail", "{}"}};
    assert_int_equal(link_core_send(world->link, &control), STATUS_AGAIN);
    world->up.answer = STATUS_AGAIN; /* no connection: asked again soon, and no error */
    assert_int_equal(turn_after(world, 100), 0);
    assert_int_equal(link_core_due_ns(world->link), world->now + 10 * MS);
}

static void test_link_core_welcomed_sends_heartbeats(void **state)
{
    struct world *world = *state;
    struct message got;
    connect_link(world);
    assert_int_equal(turn_after(world, 49), 0);
    assert_int_equal(turn_after(world, 1), 1);
    assert_int_equal(hub_takes(world, &got), MESSAGE_heartbeat);
    assert_int_equal(got.heartbeat.incarnation, 0xabc);
    assert_int_equal(hub_core_peer_at(world->hub, 0)->last_heard_ns, world->now);
}

static void test_link_core_reconnect_says_hello_again_and_counts(void **state)
{
    struct world *world = *state;
    connect_link(world);
    for (uint32_t n = 1; n <= 3; n++) {
        link_core_disconnected(world->link);
        assert_false(link_core_welcomed(world->link));
        assert_int_equal(turn_after(world, 0), 1); /* at once */
        welcome(world);
        assert_int_equal(link_core_reconnects(world->link), n);
        assert_int_equal(hub_core_peer_count(world->hub), 1);
    }
}

static void test_link_core_silence_counts_from_the_first_open_question(void **state)
{
    struct world *world = *state;
    connect_link(world);
    link_core_set_silence(world->link, 200);
    world->now += 10000 * (int64_t)MS; /* computed for long: nothing was asked */
    assert_int_equal(turn_after(world, 0), 1);
    assert_int_equal(turn_after(world, 199), 1);
    world->now += MS;
    assert_int_equal(link_core_turn(world->link, world->now), STATUS_NETWORK);
    assert_non_null(strstr(status_last_error(), "it was there before"));
    assert_int_equal(link_core_silent_ms(world->link, world->now), 10200);
}

static void test_link_core_refusal_is_a_sentence(void **state)
{
    struct world *world = *state;
    struct message got, message = {.type = MESSAGE_refused, .refused = {"not today"}};
    assert_int_equal(turn_after(world, 0), 1);
    assert_int_equal(hub_takes(world, &got), MESSAGE_hello);
    assert_int_equal(hub_core_send(world->hub, world->last, &message), STATUS_OK);
    assert_int_equal(link_takes(world, &got), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "the store at there refused actor.3: not today"));
    hub_core_forget(world->hub, world->last);
    assert_int_equal(hub_core_peer_count(world->hub), 0);
}

static void test_link_core_broken_answer_makes_it_begin_again(void **state)
{
    struct world *world = *state;
    struct message got;
    connect_link(world);
    arena_reset(world->arena);
    assert_int_equal(link_core_take(world->link, world->now, "x", 1, world->arena, &got),
                     STATUS_OK);
    assert_int_equal(got.type, MESSAGE_NONE);
    assert_int_equal(link_core_broken(world->link), 1);
    assert_int_equal(turn_after(world, 0), 1);
    welcome(world);
    assert_int_equal(link_core_reconnects(world->link), 1); /* the owner resends */
}

/* ---- the hub ---- */

static void test_link_core_unknown_identity_is_asked_for_hello(void **state)
{
    struct world *world = *state;
    struct message got;
    connect_link(world);
    hub_core_forget(world->hub, world->last);
    assert_int_equal(turn_after(world, 50), 1);
    assert_int_equal(hub_takes(world, &got), MESSAGE_NONE);
    assert_int_equal(link_takes(world, &got), STATUS_OK); /* kept to itself */
    assert_int_equal(got.type, MESSAGE_NONE);
    assert_int_equal(turn_after(world, 0), 1);
    welcome(world);
}

static void test_link_core_duplicate_messages_are_handed_on_each_time(void **state)
{
    struct world *world = *state;
    struct message got;
    assert_int_equal(turn_after(world, 0), 1);
    struct buffer copy;
    buffer_init(&copy, 0);
    assert_int_equal(buffer_append(&copy, world->up.items[0].bytes, world->up.items[0].size),
                     STATUS_OK);
    welcome(world);
    assert_int_equal(hub_takes_bytes(world, copy.bytes, copy.size, &got), MESSAGE_hello);
    assert_int_equal(hub_core_peer_count(world->hub), 1);
    buffer_free(&copy);
}

static void test_link_core_broken_bytes_are_answered_and_the_third_is_refused(void **state)
{
    struct world *world = *state;
    struct message got;
    connect_link(world);
    for (int round = 0; round < 2; round++) { /* two and a good one: never refused */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(hub_takes_bytes(world, "garbage", 7, &got), MESSAGE_NONE);
            assert_int_equal(link_takes(world, &got), STATUS_OK);
        }
        assert_false(link_core_welcomed(world->link));
        world->up.head = world->up.tail;
        turn_after(world, 100);
        welcome(world);
        world->up.head = world->up.tail;
    }
    assert_int_equal(hub_core_refused(world->hub, REFUSAL_TRUNCATED), 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(hub_takes_bytes(world, "no weir message at all", 22, &got), MESSAGE_NONE);
    assert_int_equal(hub_core_refused(world->hub, REFUSAL_BAD_MAGIC), 3);
    assert_int_equal(hub_core_peer_count(world->hub), 0);
    assert_int_equal(link_takes(world, &got), STATUS_OK);
    assert_int_equal(link_takes(world, &got), STATUS_OK);
    assert_int_equal(link_takes(world, &got), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "3 messages in a row could not be read"));
}

/* A frame is acknowledged with all before it, so nothing may be heard between a lost one and the next hello. */
static void test_link_core_messages_after_a_broken_one_wait_for_hello(void **state)
{
    struct world *world = *state;
    struct message got, report = {.type = MESSAGE_step_report, .step_report = {5, "{}"}};
    connect_link(world);
    assert_int_equal(hub_takes_bytes(world, "garbage", 7, &got), MESSAGE_NONE);
    world->down.head = world->down.tail; /* the question is lost */
    assert_int_equal(link_core_send(world->link, &report), STATUS_OK);
    assert_int_equal(hub_takes(world, &got), MESSAGE_NONE);
    assert_int_equal(link_takes(world, &got), STATUS_OK); /* asked again */
    assert_int_equal(turn_after(world, 0), 1);
    welcome(world);
    assert_int_equal(link_core_reconnects(world->link), 1);
    assert_int_equal(link_core_send(world->link, &report), STATUS_OK);
    assert_int_equal(hub_takes(world, &got), MESSAGE_step_report);
}

/* Every flipped bit of a hello: never a peer of another name, never silence. */
static void test_link_core_flipped_bits_are_counted_and_answered(void **state)
{
    struct world *world = *state;
    struct message got;
    assert_int_equal(turn_after(world, 0), 1);
    struct buffer *hello = queue_get(&world->up);
    for (size_t bit = 0; bit < hello->size * 8; bit++) {
        hello->bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(hub_takes_bytes(world, hello->bytes, hello->size, &got), MESSAGE_NONE);
        hello->bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_non_null(queue_get(&world->down));
    }
    uint64_t counted = 0;
    for (int kind = 0; kind < REFUSAL_COUNT; kind++)
        counted += hub_core_refused(world->hub, (enum refusal)kind);
    assert_int_equal(counted, hello->size * 8);
    assert_int_equal(hub_core_peer_count(world->hub), 0);
}

static void test_link_core_other_protocol_is_refused_in_its_own_words(void **state)
{
    struct world *world = *state;
    struct message got;
    uint16_t protocol = 0;
    assert_int_equal(turn_after(world, 0), 1);
    struct buffer *hello = queue_get(&world->up);
    envelope_relabel(hello->bytes, hello->size, 77);
    assert_true(envelope_foreign(hello->bytes, hello->size, &protocol));
    assert_int_equal(protocol, 77);
    assert_int_equal(hub_takes_bytes(world, hello->bytes, hello->size, &got), MESSAGE_NONE);
    assert_int_equal(hub_core_refused(world->hub, REFUSAL_BAD_PROTOCOL), 1);
    struct buffer *answer = queue_get(&world->down);
    assert_true(envelope_foreign(answer->bytes, answer->size, &protocol));
    assert_int_equal(protocol, 77);
    /* a link of this protocol that meets such a store ends too */
    arena_reset(world->arena);
    assert_int_equal(
        link_core_take(world->link, world->now, answer->bytes, answer->size, world->arena, &got),
        STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "speaks wire protocol 77"));
    /* and a process of that version reads the answer */
    envelope_relabel(answer->bytes, answer->size, WIRE_PROTOCOL);
    arena_reset(world->arena);
    assert_int_equal(message_unpack(&got, world->arena, answer->bytes, answer->size), STATUS_OK);
    assert_int_equal(got.type, MESSAGE_refused);
    assert_non_null(strstr(got.refused.reason, "you speak 77"));
}

static void test_link_core_key_of_another_role_is_refused(void **state)
{
    struct world *world = *state;
    struct hub_peer peer;
    struct message got;
    assert_int_equal(turn_after(world, 0), 1);
    struct buffer *hello = queue_get(&world->up);
    arena_reset(world->arena);
    assert_int_equal(hub_core_take(world->hub, world->now, world->identity, strlen(world->identity),
                                   ROLE_LEARNER, hello->bytes, hello->size, world->arena, &peer,
                                   &got),
                     STATUS_OK);
    assert_int_equal(got.type, MESSAGE_NONE);
    assert_int_equal(link_takes(world, &got), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "this key is for learner processes"));
    assert_int_equal(hub_core_peer_count(world->hub), 0);
}

static void test_link_core_bye_forgets_the_peer(void **state)
{
    struct world *world = *state;
    struct message got, bye = {.type = MESSAGE_bye, .bye = {"done"}};
    connect_link(world);
    assert_int_equal(link_core_send(world->link, &bye), STATUS_OK);
    assert_int_equal(hub_takes(world, &got), MESSAGE_bye);
    assert_int_equal(hub_core_peer_count(world->hub), 1); /* the owner may still look at it */
    hub_core_settle(world->hub);
    assert_int_equal(hub_core_peer_count(world->hub), 0);
}

/* Says hello as control.`index`; the type the owner sees. */
static enum message_type hello_of(struct world *world, uint32_t index)
{
    char identity[SOCKET_IDENTITY_MAX];
    struct hub_peer peer;
    struct buffer bytes;
    struct message got, hello = {.type = MESSAGE_hello,
                                 .hello = {.run = "run-1",
                                           .role = ROLE_CONTROL,
                                           .index = index,
                                           .incarnation = 1,
                                           .host = "",
                                           .numerics = ""}};
    buffer_init(&bytes, 0);
    assert_int_equal(message_pack(&hello, &bytes), STATUS_OK);
    socket_identity(ROLE_CONTROL, index, 1, identity);
    arena_reset(world->arena);
    assert_int_equal(hub_core_take(world->hub, world->now, identity, strlen(identity), ROLE_NONE,
                                   bytes.bytes, bytes.size, world->arena, &peer, &got),
                     STATUS_OK);
    buffer_free(&bytes);
    if (got.type == MESSAGE_hello)
        world->last = peer.id;
    return got.type;
}

static void test_link_core_ids_go_round_and_a_full_table_forgets_the_dead(void **state)
{
    struct world *world = *state;
    for (uint32_t i = 0; i < 3 * HUB_PEERS_MAX; i++) { /* one at a time: every id in turn */
        assert_int_equal(hello_of(world, i), MESSAGE_hello);
        assert_int_equal(world->last, i % HUB_PEERS_MAX);
        assert_int_equal(hub_core_peer(world->hub, world->last)->index, i);
        hub_core_forget(world->hub, world->last);
        assert_null(hub_core_peer(world->hub, world->last));
    }
    for (uint32_t i = 0; i < HUB_PEERS_MAX; i++)
        assert_int_equal(hello_of(world, i), MESSAGE_hello);
    world->down.head = world->down.tail;
    assert_int_equal(hello_of(world, 9999), MESSAGE_NONE); /* all of them live */
    struct message got;
    assert_int_equal(link_takes(world, &got), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "as many peers as it can hold"));
    hub_core_connected(world->hub, 17, false, world->now + 2);
    hub_core_connected(world->hub, 18, false, world->now + 1);
    assert_int_equal(hello_of(world, 9999), MESSAGE_hello);
    assert_int_equal(world->last, 18); /* dead for longest */
    assert_int_equal(hub_core_peer_count(world->hub), HUB_PEERS_MAX);
}

static void test_link_core_hostile_identities_do_no_harm(void **state)
{
    struct world *world = *state;
    struct hub_peer peer;
    struct message got;
    char identity[300];
    for (size_t size = 0; size < sizeof identity; size++) {
        memset(identity, (int)size, sizeof identity);
        arena_reset(world->arena);
        assert_int_equal(hub_core_take(world->hub, world->now, identity, size, ROLE_NONE, "x", 1,
                                       world->arena, &peer, &got),
                         STATUS_OK);
        assert_int_equal(got.type, MESSAGE_NONE);
    }
    assert_int_equal(hub_core_refused(world->hub, REFUSAL_TRUNCATED), sizeof identity);
    assert_int_equal(hub_core_find(world->hub, "", 0), UINT32_MAX);
}

/* ---- connections ---- */

static bool up(const struct hub_watch *watch, uint32_t peer)
{
    int64_t since;
    return hub_watch_connected(watch, peer, &since);
}

static void test_link_core_end_of_an_older_connection_leaves_the_newer(void **state)
{
    (void)state;
    struct hub_watch *watch = NULL;
    bool orphan;
    int64_t since;
    assert_int_equal(hub_watch_create(&watch), STATUS_OK);
    assert_int_equal(hub_watch_opened(watch, 10, 1), STATUS_OK);
    hub_watch_heard(watch, 5, 10, true, 2);
    assert_true(up(watch, 5));
    assert_int_equal(hub_watch_opened(watch, 12, 3), STATUS_OK); /* cut off, and back by 12 */
    hub_watch_heard(watch, 5, 12, true, 4);
    hub_watch_heard(watch, 5, 10, true, 5); /* late message of the old one moves nobody back */
    hub_watch_closed(watch, 10, 6, &orphan);
    assert_true(up(watch, 5));
    hub_watch_closed(watch, 12, 7, &orphan);
    assert_false(hub_watch_connected(watch, 5, &since));
    assert_int_equal(since, 7);
    assert_int_equal(hub_watch_open_count(watch), 0);
    hub_watch_destroy(&watch);
}

static void test_link_core_descriptor_used_again_is_another_connection(void **state)
{
    (void)state;
    struct hub_watch *watch = NULL;
    bool orphan;
    assert_int_equal(hub_watch_create(&watch), STATUS_OK);
    assert_int_equal(hub_watch_opened(watch, 10, 1), STATUS_OK);
    hub_watch_heard(watch, 5, 10, true, 2);
    hub_watch_closed(watch, 10, 3, &orphan);
    assert_false(orphan);
    assert_int_equal(hub_watch_opened(watch, 10, 4), STATUS_OK);
    hub_watch_heard(watch, 5, 10, false, 5); /* last words of the dead: not its connection */
    assert_false(up(watch, 5));
    hub_watch_heard(watch, 6, 10, true, 6);
    assert_true(up(watch, 6));
    assert_false(up(watch, 5));
    hub_watch_closed(watch, 10, 7, &orphan);
    assert_false(up(watch, 6));
    /* an end that was not told: the next opening of the number tells it */
    assert_int_equal(hub_watch_opened(watch, 10, 8), STATUS_OK);
    hub_watch_heard(watch, 7, 10, true, 9);
    assert_int_equal(hub_watch_opened(watch, 10, 10), STATUS_OK);
    assert_false(up(watch, 7));
    assert_int_equal(hub_watch_open_count(watch), 1);
    /* a last hello that seems to come by the successor's connection is found out by the successor's own */
    hub_watch_heard(watch, 7, 10, true, 11);
    assert_true(up(watch, 7));
    hub_watch_heard(watch, 8, 10, true, 12);
    assert_true(up(watch, 8));
    assert_true(hub_watch_unknown(watch, 7)); /* to be probed: there is no route to it */
    hub_watch_found(watch, 7, false, 13);
    assert_false(up(watch, 7));
    assert_true(up(watch, 8));
    hub_watch_destroy(&watch);
}

/* 7 dies young, 8 comes by its descriptor and is heard first; then 7's only hello is read. */
static void test_link_core_late_hello_of_the_dead_does_not_keep_a_place(void **state)
{
    (void)state;
    struct hub_watch *watch = NULL;
    bool orphan;
    assert_int_equal(hub_watch_create(&watch), STATUS_OK);
    assert_int_equal(hub_watch_opened(watch, 10, 1), STATUS_OK);
    hub_watch_closed(watch, 10, 2, &orphan);
    assert_int_equal(hub_watch_opened(watch, 10, 3), STATUS_OK);
    hub_watch_heard(watch, 8, 10, true, 4);
    assert_false(hub_watch_unknown(watch, 8));
    hub_watch_heard(watch, 7, 10, true, 5);
    assert_true(up(watch, 7));
    assert_true(hub_watch_unknown(watch, 7)); /* to be probed */
    assert_true(
        up(watch, 8)); /* the living one is not called dead meanwhile: it would lose its place */
    assert_true(hub_watch_unknown(watch, 8));
    hub_watch_found(watch, 7, false, 6); /* no route */
    hub_watch_found(watch, 8, true, 6);
    assert_false(up(watch, 7));
    hub_watch_heard(watch, 8, 10, true, 7); /* its answer to the probe: it sits where it sat */
    assert_true(up(watch, 8));
    assert_false(hub_watch_unknown(watch, 8));
    /* whoever displaces somebody and is found again and again is believed */
    hub_watch_heard(watch, 9, 10, true, 8);
    for (int probes = 0; probes < 3; probes++) {
        assert_true(hub_watch_unknown(watch, 9));
        hub_watch_found(watch, 9, true, 9);
    }
    assert_false(hub_watch_unknown(watch, 9));
    hub_watch_closed(watch, 10, 10, &orphan);
    assert_false(orphan);
    assert_false(up(watch, 9));
    hub_watch_destroy(&watch);
}

static void test_link_core_message_after_the_end_does_not_bring_a_peer_back(void **state)
{
    (void)state;
    struct hub_watch *watch = NULL;
    bool orphan;
    assert_int_equal(hub_watch_create(&watch), STATUS_OK);
    assert_int_equal(hub_watch_opened(watch, 300, 1), STATUS_OK);
    hub_watch_closed(watch, 300, 2, &orphan);
    assert_true(orphan);
    hub_watch_heard(watch, 5, 300, true, 3); /* its hello is its last word */
    assert_false(up(watch, 5));
    hub_watch_found(watch, 5, true, 4); /* back by a connection that nobody spoke on */
    assert_true(hub_watch_unknown(watch, 5));
    assert_int_equal(hub_watch_opened(watch, 301, 5), STATUS_OK);
    hub_watch_heard(watch, 5, 301, false, 6);
    assert_false(hub_watch_unknown(watch, 5));
    hub_watch_closed(watch, 301, 7, &orphan);
    assert_false(up(watch, 5));
    hub_watch_forget(watch, 5);
    hub_watch_closed(watch, 4711, 8, &orphan);
    hub_watch_closed(watch, -1, 8, &orphan);
    assert_int_equal(hub_watch_opened(watch, -1, 9), STATUS_INVALID);
    hub_watch_destroy(&watch);
}

static void test_link_core_without_memory_is_said(void **state)
{
    (void)state;
    int64_t live = memory_blocks_live();
    for (int64_t n = 1; n <= 5; n++) {
        struct link_core *link = NULL;
        struct hub_core *hub = NULL;
        struct hub_watch *watch = NULL;
        memory_fail_after(n);
        assert_int_equal(link_core_create(&link, &actor_hello, "x", send_up, NULL),
                         STATUS_NO_MEMORY);
        memory_fail_after(n);
        assert_int_equal(hub_core_create(&hub, send_down, NULL), STATUS_NO_MEMORY);
        memory_fail_after(n > 2 ? 2 : n);
        assert_int_equal(hub_watch_create(&watch), STATUS_NO_MEMORY);
        memory_fail_after(-1);
    }
    assert_int_equal(memory_blocks_live(), live);
}

int main(void)
{
    // clang-format off
#define CASE(name) cmocka_unit_test_setup_teardown(test_link_core_##name, setup, teardown)
    // clang-format on
    const struct CMUnitTest tests[] = {
        CASE(unwelcomed_repeats_hello_every_100_ms),
        CASE(welcomed_sends_heartbeats),
        CASE(reconnect_says_hello_again_and_counts),
        CASE(silence_counts_from_the_first_open_question),
        CASE(refusal_is_a_sentence),
        CASE(broken_answer_makes_it_begin_again),
        CASE(unknown_identity_is_asked_for_hello),
        CASE(duplicate_messages_are_handed_on_each_time),
        CASE(broken_bytes_are_answered_and_the_third_is_refused),
        CASE(messages_after_a_broken_one_wait_for_hello),
        CASE(flipped_bits_are_counted_and_answered),
        CASE(other_protocol_is_refused_in_its_own_words),
        CASE(key_of_another_role_is_refused),
        CASE(bye_forgets_the_peer),
        CASE(ids_go_round_and_a_full_table_forgets_the_dead),
        CASE(hostile_identities_do_no_harm),
        CASE(end_of_an_older_connection_leaves_the_newer),
        CASE(descriptor_used_again_is_another_connection),
        CASE(late_hello_of_the_dead_does_not_keep_a_place),
        CASE(message_after_the_end_does_not_bring_a_peer_back),
        CASE(without_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
