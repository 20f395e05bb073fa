/* links: transport proto core */
/* label: unit */
/* timeout: 60 */
/* Links and hubs over real sockets. A driver thread (or a forked process) plays the store. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/memory.h"
#include "transport/link.h"

enum { PATIENCE_MS = 10000 };

/* ---- the store's driver ---- */

struct driver {
    struct hub *hub;
    pthread_t thread;
    _Atomic bool stop;
    uint32_t heartbeat_ms; /* told to peers */
    _Atomic uint32_t hellos, byes, peers, controls;
    _Atomic uint64_t corrupt;
};

static void answer(struct driver *driver, const struct hub_peer *peer, const struct message *got)
{
    struct message reply = {.type = MESSAGE_NONE};
    switch (got->type) {
    case MESSAGE_hello:
        atomic_fetch_add(&driver->hellos, 1);
        if (strcmp(got->hello.run, "run-1") != 0) {
            reply =
                (struct message){.type = MESSAGE_refused, .refused = {"this store serves run-1"}};
            break;
        }
        reply = (struct message){.type = MESSAGE_welcome,
                                 .welcome = {.run_seed = 7, .heartbeat_ms = driver->heartbeat_ms}};
        break;
    case MESSAGE_heartbeat:
        reply =
            (struct message){.type = MESSAGE_notice, .notice = {.version = got->heartbeat.version}};
        break;
    case MESSAGE_control:
        atomic_fetch_add(&driver->controls, 1);
        reply = (struct message){.type = MESSAGE_control_reply,
                                 .control_reply = {got->control.request, true, "{}"}};
        break;
    case MESSAGE_bye:
        atomic_fetch_add(&driver->byes, 1);
        return;
    default:
        return;
    }
    while (hub_send(driver->hub, peer->id, &reply) == STATUS_AGAIN)
        clock_sleep_ms(1);
    if (reply.type == MESSAGE_refused)
        hub_forget(driver->hub, peer->id);
}

static void *drive(void *self)
{
    struct driver *driver = self;
    struct arena *arena = NULL;
    if (arena_create(&arena, 64 << 20) != STATUS_OK)
        return NULL;
    while (!atomic_load(&driver->stop)) {
        struct hub_peer peer;
        struct message got;
        arena_reset(arena);
        if (hub_poll(driver->hub, 20, -1, arena, &peer, &got) != STATUS_OK)
            break;
        if (got.type != MESSAGE_NONE)
            answer(driver, &peer, &got);
        atomic_store(&driver->peers, hub_peer_count(driver->hub));
        atomic_store(&driver->corrupt, hub_corrupt_count(driver->hub));
    }
    arena_destroy(&arena);
    return NULL;
}

static void driver_start(struct driver *driver, const char *endpoint)
{
    memset(driver, 0, sizeof *driver);
    driver->heartbeat_ms = 50;
    enum status status = hub_open(&driver->hub, endpoint, NULL);
    if (status != STATUS_OK)
        print_error("%s\n", status_last_error());
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(pthread_create(&driver->thread, NULL, drive, driver), 0);
}

static void driver_stop(struct driver *driver)
{
    atomic_store(&driver->stop, true);
    pthread_join(driver->thread, NULL);
    hub_close(&driver->hub);
}

static char ipc[64];

static const char *ipc_endpoint(void)
{
    static int number;
    snprintf(ipc, sizeof ipc, "ipc:///tmp/weir-test-%d-%d.sock", (int)getpid(), number++);
    return ipc;
}

/* ---- the client's side ---- */

static struct arena *arena;

static int setup(void **state)
{
    (void)state;
    return arena_create(&arena, 64 << 20) == STATUS_OK ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    arena_destroy(&arena);
    return 0;
}

static struct link *link_to(const char *endpoint, uint32_t index, uint64_t incarnation)
{
    struct hello hello = {.run = "run-1",
                          .role = ROLE_ACTOR,
                          .index = index,
                          .incarnation = incarnation,
                          .host = "here"};
    struct link *link = NULL;
    assert_int_equal(link_open(&link, endpoint, NULL, &hello), STATUS_OK);
    return link;
}

/* Polls until a message of `type` comes. */
static enum status poll_for(struct link *link, enum message_type type, struct message *message)
{
    int64_t deadline = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    while (clock_now_ns() < deadline) {
        arena_reset(arena);
        TRY(link_poll(link, 100, -1, arena, message));
        if (message->type == type)
            return STATUS_OK;
    }
    return STATUS_TIMEOUT;
}

static void wait_welcomed(struct link *link)
{
    struct message message;
    assert_int_equal(poll_for(link, MESSAGE_welcome, &message), STATUS_OK);
    assert_true(link_welcomed(link));
    assert_int_equal(message.welcome.run_seed, 7);
}

static void wait_for_count(_Atomic uint32_t *counter, uint32_t wanted)
{
    for (int i = 0; i < PATIENCE_MS / 5 && atomic_load(counter) != wanted; i++)
        clock_sleep_ms(5);
    assert_int_equal(atomic_load(counter), wanted);
}

static void exchange(const char *endpoint, uint32_t count)
{
    struct driver driver;
    driver_start(&driver, endpoint);
    struct link *link = link_to(hub_endpoint(driver.hub), 3, 0);
    assert_int_not_equal(link_incarnation(link), 0);
    struct message control = {.type = MESSAGE_control, .control = {0, "tail", "{}"}}, got;
    assert_int_equal(link_send(link, &control), STATUS_AGAIN); /* not welcomed yet */
    wait_welcomed(link);
    uint32_t sent = 0, answered = 0;
    int64_t deadline = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    while (answered < count && clock_now_ns() < deadline) {
        control.control.request = sent;
        if (sent < count && sent - answered < 500 && link_send(link, &control) == STATUS_OK)
            sent++;
        arena_reset(arena);
        assert_int_equal(link_poll(link, sent < count ? 0 : 10, -1, arena, &got), STATUS_OK);
        if (got.type != MESSAGE_control_reply)
            continue;
        assert_int_equal(got.control_reply.request, answered); /* in order, none lost */
        answered++;
    }
    assert_int_equal(answered, count);
    assert_int_equal(link_reconnects(link), 0);
    link_close(&link, "done");
    assert_null(link);
    wait_for_count(&driver.byes, 1);
    wait_for_count(&driver.peers, 0);
    driver_stop(&driver);
}

static void test_link_ten_thousand_messages_over_ipc_arrive_in_order(void **state)
{
    (void)state;
    exchange(ipc_endpoint(), 10000);
}

static void test_link_ten_thousand_messages_over_tcp_arrive_in_order(void **state)
{
    (void)state;
    exchange("tcp://127.0.0.1:0", 10000);
}

/* It travels in pieces, so that it does not hold up the pings. */
static void test_link_long_message_arrives_whole(void **state)
{
    (void)state;
    enum { BYTES = 15 << 20 };
    struct driver driver;
    driver_start(&driver, "tcp://127.0.0.1:0");
    struct link *link = link_to(hub_endpoint(driver.hub), 3, 0);
    wait_welcomed(link);
    char *text = memory_alloc(BYTES + 1);
    assert_non_null(text);
    memset(text, 'x', BYTES);
    struct message control = {.type = MESSAGE_control, .control = {9, "tail", text}}, got;
    assert_int_equal(link_send(link, &control), STATUS_OK);
    assert_int_equal(poll_for(link, MESSAGE_control_reply, &got), STATUS_OK);
    assert_int_equal(got.control_reply.request, 9);
    assert_int_equal(atomic_load(&driver.corrupt), 0);
    assert_int_equal(link_reconnects(link), 0);
    memory_free(text);
    link_close(&link, NULL);
    driver_stop(&driver);
}

static uint32_t fills;
static void fill(void *self, struct heartbeat *heartbeat)
{
    (void)self;
    fills++;
    heartbeat->version = 42;
}

static void test_link_heartbeats_are_sent_while_it_waits(void **state)
{
    (void)state;
    struct driver driver;
    driver_start(&driver, ipc_endpoint());
    struct link *link = link_to(ipc, 0, 1);
    link_set_heartbeat(link, fill, NULL);
    fills = 0;
    wait_welcomed(link);
    struct message message;
    assert_int_equal(poll_for(link, MESSAGE_notice, &message), STATUS_OK);
    assert_int_equal(message.notice.version, 42);
    assert_true(fills >= 1);
    assert_true(link_silent_ms(link) < 5000);
    link_close(&link, NULL);
    driver_stop(&driver);
}

static void test_link_restarted_store_gets_hello_again_and_owner_sees_it(void **state)
{
    (void)state;
    struct driver driver;
    driver_start(&driver, ipc_endpoint());
    struct link *link = link_to(ipc, 0, 1);
    wait_welcomed(link);
    for (uint32_t restart = 1; restart <= 2; restart++) {
        driver_stop(&driver);
        driver_start(&driver, ipc);
        wait_welcomed(
            link); /* or the old driver's second answer; then the new one asks for a hello */
        for (int i = 0; i < PATIENCE_MS / 5 && atomic_load(&driver.peers) == 0; i++) {
            struct message got;
            arena_reset(arena);
            assert_int_equal(link_poll(link, 5, -1, arena, &got), STATUS_OK);
        }
        assert_int_equal(atomic_load(&driver.peers), 1);
        assert_true(link_reconnects(link) >= restart);
    }
    link_close(&link, NULL);
    driver_stop(&driver);
}

/* Nothing is sent, so only the closed connection tells the link that the store went away. */
static void test_link_quiet_link_sees_its_connection_close(void **state)
{
    (void)state;
    struct driver driver;
    struct message got;
    driver_start(&driver, ipc_endpoint());
    driver.heartbeat_ms = 1000000;
    struct link *link = link_to(ipc, 0, 1);
    wait_welcomed(link);
    driver_stop(&driver);
    for (int i = 0; i < 200 && link_welcomed(link); i++)
        assert_int_equal(link_poll(link, 10, -1, arena, &got), STATUS_OK);
    assert_false(link_welcomed(link));
    driver_start(&driver, ipc);
    wait_welcomed(link);
    assert_int_equal(link_reconnects(link), 1);
    link_close(&link, NULL);
    driver_stop(&driver);
}

/* The connection stays, but the hub no longer knows the peer: the "hello?" path. */
static void test_link_forgotten_peer_says_hello_again(void **state)
{
    (void)state;
    struct hub *hub = NULL;
    struct hub_peer peer;
    struct message got = {.type = MESSAGE_NONE}, mine;
    assert_int_equal(hub_open(&hub, ipc_endpoint(), NULL), STATUS_OK);
    struct link *link = link_to(ipc, 5, 9);
    int welcomes = 0;
    for (int i = 0; i < 2000 && welcomes < 2; i++) {
        arena_reset(arena);
        assert_int_equal(link_poll(link, 1, -1, arena, &mine), STATUS_OK);
        assert_int_equal(hub_poll(hub, 1, -1, arena, &peer, &got), STATUS_OK);
        if (got.type == MESSAGE_hello) {
            assert_string_equal(peer.name, "actor.5");
            assert_int_equal(peer.incarnation, 9);
            struct message welcome = {.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 20}};
            assert_int_equal(hub_send(hub, peer.id, &welcome), STATUS_OK);
        }
        if (mine.type == MESSAGE_welcome && welcomes++ == 0)
            hub_forget(hub, peer.id);
    }
    assert_int_equal(welcomes, 2);
    assert_int_equal(link_reconnects(link), 1);
    assert_int_equal(hub_peer_count(hub), 1);
    link_close(&link, NULL);
    hub_close(&hub);
}

static void test_link_other_run_is_refused_with_the_stores_reason(void **state)
{
    (void)state;
    struct driver driver;
    driver_start(&driver, ipc_endpoint());
    struct hello hello = {.run = "run-2", .role = ROLE_REWARD};
    struct link *link = NULL;
    assert_int_equal(link_open(&link, ipc, NULL, &hello), STATUS_OK);
    struct message message;
    assert_int_equal(poll_for(link, MESSAGE_welcome, &message), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "refused reward.0: this store serves run-1"));
    link_close(&link, NULL);
    driver_stop(&driver);
}

/* Who may take a place is the owner's affair: the hub only keeps them apart. */
static void test_link_two_processes_of_one_place_are_two_peers(void **state)
{
    (void)state;
    struct driver driver;
    driver_start(&driver, ipc_endpoint());
    struct link *one = link_to(ipc, 3, 200), *two = link_to(ipc, 3, 100);
    wait_welcomed(one);
    wait_welcomed(two);
    wait_for_count(&driver.peers, 2);
    link_close(&one, NULL);
    wait_for_count(&driver.peers, 1);
    struct message message;
    assert_int_equal(poll_for(two, MESSAGE_notice, &message), STATUS_OK);
    link_close(&two, NULL);
    driver_stop(&driver);
}

/* ---- connections that die without a word ---- */

/* A child that says hello as actor.`index` and heartbeats until it is killed. */
static pid_t fork_peer(const char *endpoint, uint32_t index)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct arena *own = NULL;
    struct message got;
    struct hello hello = {.run = "run-1", .role = ROLE_ACTOR, .index = index, .host = "here"};
    struct link *link = NULL;
    if (arena_create(&own, 1 << 20) == STATUS_OK &&
        link_open(&link, endpoint, NULL, &hello) == STATUS_OK)
        do
            arena_reset(own);
        while (link_poll(link, 100, -1, own, &got) == STATUS_OK);
    _exit(1);
}

/* Polls, welcoming everybody, until peer `name` changes to `connected` or `limit_ms` is over; ms it took, -1 not seen. */
static int64_t await_change(struct hub *hub, const char *name, bool connected, int64_t limit_ms)
{
    int64_t began = clock_now_ns(), left = limit_ms;
    while ((left = limit_ms - (clock_now_ns() - began) / CLOCK_NS_PER_MS) > 0) {
        struct hub_peer peer;
        struct message got, welcome = {.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 50}};
        arena_reset(arena);
        assert_int_equal(hub_poll(hub, left, -1, arena, &peer, &got), STATUS_OK);
        uint32_t id;
        bool is;
        int64_t now = clock_now_ns();
        while (hub_take_event(hub, &id, &is))
            for (uint32_t i = 0; i < hub_peer_count(hub); i++)
                if (hub_peer_at(hub, i)->id == id && is == connected &&
                    strcmp(hub_peer_at(hub, i)->name, name) == 0)
                    return (now - began) / CLOCK_NS_PER_MS;
        if (got.type == MESSAGE_hello) /* gone again on a busy machine: it says hello again */
            assert_true(hub_send(hub, peer.id, &welcome) != STATUS_INVALID);
        if (got.type == MESSAGE_hello && connected && strcmp(peer.name, name) == 0)
            return (clock_now_ns() - began) / CLOCK_NS_PER_MS;
    }
    return -1;
}

static const struct hub_peer *named(const struct hub *hub, const char *name)
{
    for (uint32_t i = 0; i < hub_peer_count(hub); i++)
        if (strcmp(hub_peer_at(hub, i)->name, name) == 0)
            return hub_peer_at(hub, i);
    return NULL;
}

static void lose_peers(const char *endpoint, int sent_signal, int64_t limit_ms)
{
    struct hub *hub = NULL;
    uint32_t in_time =
        0; /* most of the time: the kernel frees a killed process's memory before its sockets */
    assert_int_equal(hub_open(&hub, endpoint, NULL), STATUS_OK);
    for (uint32_t round = 0; round < 5; round++) {
        pid_t other = fork_peer(hub_endpoint(hub), 100), child = fork_peer(hub_endpoint(hub), 7);
        assert_true(await_change(hub, "actor.7", true, PATIENCE_MS) >= 0);
        while (named(hub, "actor.100") == NULL)
            (void)await_change(hub, "actor.100", true, 100);
        int64_t quiet = await_change(hub, "actor.7", false, 300); /* alive: nothing is seen */
        assert_int_equal(quiet, -1);
        int64_t began = clock_now_ns();
        kill(child, sent_signal);
        assert_true(await_change(hub, "actor.7", false, PATIENCE_MS) >= 0);
        int64_t took_ms = (clock_now_ns() - began) / CLOCK_NS_PER_MS;
        print_message("%s: actor.7 seen dead after %d ms\n", endpoint, (int)took_ms);
        in_time += took_ms <= limit_ms;
        const struct hub_peer *peer = named(hub, "actor.7");
        assert_false(peer->connected);
        assert_true(peer->disconnected_ns >= began);
        assert_true(named(hub, "actor.100")->connected);
        if (sent_signal == SIGSTOP) {
            kill(child, SIGCONT);
            assert_true(await_change(hub, "actor.7", true, PATIENCE_MS) >= 0);
            assert_true(named(hub, "actor.7")->connected);
        }
        kill(child, SIGKILL);
        kill(other, SIGKILL);
        waitpid(child, NULL, 0);
        waitpid(other, NULL, 0);
        while (hub_peer_count(hub) > 0)
            hub_forget(hub, hub_peer_at(hub, 0)->id);
        (void)await_change(hub, "nobody", true, 50);
        while (hub_peer_count(hub) > 0)
            hub_forget(hub, hub_peer_at(hub, 0)->id);
    }
    assert_in_range(in_time, 3, 5);
    hub_close(&hub);
}

static void test_link_stopped_peer_is_seen_within_500_ms_and_its_return_too(void **state)
{
    (void)state;
    lose_peers(ipc_endpoint(), SIGSTOP, 500);
    lose_peers("tcp://127.0.0.1:0", SIGSTOP, 500);
}

static void test_link_killed_peer_is_seen_within_50_ms(void **state)
{
    (void)state;
    lose_peers(ipc_endpoint(), SIGKILL, 50);
    lose_peers("tcp://127.0.0.1:0", SIGKILL, 50);
}

/* It said hello and died while the owner did something else. */
static void test_link_hello_read_after_its_connection_ended_is_of_the_dead(void **state)
{
    (void)state;
    struct hub *hub = NULL;
    struct hub_peer peer = {0};
    struct message got = {.type = MESSAGE_NONE};
    assert_int_equal(hub_open(&hub, ipc_endpoint(), NULL), STATUS_OK);
    struct link *link = link_to(ipc, 7, 1);
    arena_reset(arena);
    assert_int_equal(link_poll(link, 100, -1, arena, &got), STATUS_OK); /* the hello leaves */
    link_close(&link, NULL);
    clock_sleep_ms(100); /* libzmq reads both, nobody polls */
    for (int i = 0; i < PATIENCE_MS / 20 && got.type != MESSAGE_hello; i++) {
        arena_reset(arena);
        assert_int_equal(hub_poll(hub, 20, -1, arena, &peer, &got), STATUS_OK);
    }
    assert_int_equal(got.type, MESSAGE_hello);
    assert_false(hub_connected(hub, peer.id));
    assert_false(hub_connected(hub, peer.id + 1));
    hub_close(&hub);
}

/* The process computes: it polls nothing, while its connection dies and is made again by its I/O thread. */
static void test_link_computing_peer_whose_connection_was_cut_is_connected_again(void **state)
{
    (void)state;
    struct hub *hub = NULL;
    assert_int_equal(hub_open(&hub, ipc_endpoint(), NULL), STATUS_OK);
    struct link *link = link_to(ipc, 7, 0);
    struct message got;
    int64_t until = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    while (!link_welcomed(link) && clock_now_ns() < until) {
        (void)await_change(hub, "nobody", true, 5);
        arena_reset(arena);
        assert_int_equal(link_poll(link, 5, -1, arena, &got), STATUS_OK);
    }
    for (int fd = 3; fd < 256;
         fd++) { /* cuts every connected unix stream of this process: the link's */
        struct sockaddr_un name;
        socklen_t size = sizeof name;
        if (getpeername(fd, (struct sockaddr *)&name, &size) == 0 && name.sun_family == AF_UNIX)
            shutdown(fd, SHUT_RDWR);
    }
    assert_true(await_change(hub, "actor.7", false, PATIENCE_MS) >= 0);
    int64_t took_ms = await_change(hub, "actor.7", true, PATIENCE_MS); /* nobody polls the link */
    assert_in_range(took_ms, 0, 2000);
    until = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    while (link_reconnects(link) == 0 && clock_now_ns() < until) {
        (void)await_change(hub, "nobody", true, 5);
        arena_reset(arena);
        assert_int_equal(link_poll(link, 5, -1, arena, &got), STATUS_OK);
    }
    assert_int_equal(link_reconnects(link), 1);
    assert_int_equal(hub_peer_count(hub), 1);
    link_close(&link, NULL);
    hub_close(&hub);
}

static void test_link_stopped_store_is_noticed_by_its_silence(void **state)
{
    (void)state;
    const char *endpoint = ipc_endpoint();
    pid_t store = fork();
    if (store == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct driver driver = {.heartbeat_ms = 50};
        if (hub_open(&driver.hub, endpoint, NULL) == STATUS_OK)
            drive(&driver);
        _exit(1);
    }
    struct link *link = link_to(endpoint, 0, 1);
    wait_welcomed(link);
    link_set_silence(link, 400);
    struct message message;
    int64_t began = clock_now_ns();
    while (clock_now_ns() - began < CLOCK_NS_PER_S) { /* alive: no complaint */
        arena_reset(arena);
        assert_int_equal(link_poll(link, 50, -1, arena, &message), STATUS_OK);
    }
    kill(store, SIGSTOP);
    began = clock_now_ns();
    enum status status = poll_for(link, MESSAGE_welcome, &message);
    int64_t took_ms = (clock_now_ns() - began) / CLOCK_NS_PER_MS;
    kill(store, SIGKILL);
    waitpid(store, NULL, 0);
    unlink(endpoint + 6);
    assert_int_equal(status, STATUS_NETWORK);
    assert_non_null(strstr(status_last_error(), "is weir-store running"));
    assert_in_range(took_ms, 200, 3000);
    link_close(&link, NULL);
}

static void test_link_absent_store_is_noticed_by_its_silence(void **state)
{
    (void)state;
    struct link *link = link_to(ipc_endpoint(), 0, 1);
    link_set_silence(link, 200);
    struct message message;
    assert_int_equal(poll_for(link, MESSAGE_welcome, &message), STATUS_NETWORK);
    assert_non_null(strstr(status_last_error(), "never heard of it"));
    int64_t began = clock_now_ns();
    link_close(&link, NULL);
    assert_true(clock_now_ns() - began < CLOCK_NS_PER_S);
}

static void test_link_extra_descriptor_wakes_both_polls(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    struct hub *hub = NULL;
    assert_int_equal(hub_open(&hub, ipc_endpoint(), NULL), STATUS_OK);
    struct link *link = link_to(ipc, 0, 1);
    struct hub_peer peer;
    struct message message;
    int64_t began = clock_now_ns();
    message.type = MESSAGE_NONE;
    while (message.type == MESSAGE_NONE && clock_now_ns() - began < CLOCK_NS_PER_S) {
        assert_int_equal(link_poll(link, 5000, ends[0], arena, &message), STATUS_OK);
        assert_int_equal(message.type, MESSAGE_NONE);
        assert_int_equal(hub_poll(hub, 5000, ends[0], arena, &peer, &message), STATUS_OK);
    }
    assert_int_equal(message.type, MESSAGE_hello);
    began = clock_now_ns();
    assert_int_equal(hub_poll(hub, 5000, ends[0], arena, &peer, &message), STATUS_OK);
    assert_int_equal(link_poll(link, 5000, ends[0], arena, &message), STATUS_OK);
    assert_true(clock_now_ns() - began < 2 * CLOCK_NS_PER_S);
    link_close(&link, NULL);
    hub_close(&hub);
    close(ends[0]);
    close(ends[1]);
}

/* A peer that speaks ZeroMQ but not our protocol: counted, asked for a hello, refused at the third. */
static void test_link_garbage_is_counted_refused_and_others_go_on(void **state)
{
    (void)state;
    struct driver driver;
    driver_start(&driver, ipc_endpoint());
    void *context = zmq_ctx_new();
    void *raw = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(raw, ZMQ_LINGER, &(int){100}, sizeof(int));
    zmq_setsockopt(raw, ZMQ_RCVTIMEO, &(int){PATIENCE_MS}, sizeof(int));
    assert_int_equal(zmq_connect(raw, ipc), 0);
    assert_int_equal(zmq_send(raw, "garbage", 7, 0), 7);
    assert_int_equal(zmq_send(raw, "", 0, 0), 0);
    assert_int_equal(zmq_send(raw, "two", 3, ZMQ_SNDMORE), 3);
    assert_int_equal(zmq_send(raw, "parts", 5, 0), 5);
    struct buffer bytes; /* a hello under a name that is not its own */
    buffer_init(&bytes, 0);
    struct message hello = {.type = MESSAGE_hello, .hello = {.run = "run-1", .role = ROLE_ACTOR}};
    assert_int_equal(message_pack(&hello, &bytes), STATUS_OK);
    assert_true(zmq_send(raw, bytes.bytes, bytes.size, 0) > 0);
    const char *const answers[] = {"hello?", "hello?", "3 messages in a row", "somebody else"};
    for (int i = 0; i < 4; i++) {
        char reply[4096];
        int size = zmq_recv(raw, reply, sizeof reply, 0);
        assert_in_range(size, 16, sizeof reply);
        struct message got;
        arena_reset(arena);
        assert_int_equal(message_unpack(&got, arena, reply, (size_t)size), STATUS_OK);
        assert_int_equal(got.type, i < 2 ? MESSAGE_bye : MESSAGE_refused);
        assert_non_null(strstr(i < 2 ? got.bye.reason : got.refused.reason, answers[i]));
    }
    for (int i = 0; i < 1000 && atomic_load(&driver.corrupt) < 4; i++)
        clock_sleep_ms(5);
    assert_int_equal(atomic_load(&driver.corrupt), 4);
    assert_int_equal(hub_refused(driver.hub, REFUSAL_WRONG_SENDER), 1);
    struct link *link = link_to(ipc, 0, 1);
    wait_welcomed(link);
    wait_for_count(&driver.peers, 1); /* the link, and nobody else */
    buffer_free(&bytes);
    zmq_close(raw);
    zmq_ctx_term(context);
    link_close(&link, NULL);
    driver_stop(&driver);
}

static void test_link_oversize_message_never_reaches_the_store(void **state)
{
    (void)state;
    struct driver driver;
    driver_start(&driver, ipc_endpoint());
    void *context = zmq_ctx_new();
    void *raw = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(raw, ZMQ_LINGER, &(int){0}, sizeof(int));
    assert_int_equal(zmq_connect(raw, ipc), 0);
    zmq_msg_t big;
    assert_int_equal(zmq_msg_init_size(&big, (size_t)WIRE_MESSAGE_MAX + 1), 0);
    memset(zmq_msg_data(&big), 0, (size_t)WIRE_MESSAGE_MAX + 1);
    assert_true(zmq_msg_send(&big, raw, 0) > 0);
    struct link *link = link_to(ipc, 0, 1);
    wait_welcomed(link);
    clock_sleep_ms(200);
    assert_int_equal(atomic_load(&driver.corrupt), 0);
    zmq_close(raw);
    zmq_ctx_term(context);
    link_close(&link, NULL);
    driver_stop(&driver);
}

static void expect_open_fails(const char *endpoint, enum status wanted, const char *part)
{
    struct hub *hub = NULL;
    assert_int_equal(hub_open(&hub, endpoint, NULL), wanted);
    assert_null(hub);
    if (strstr(status_last_error(), part) == NULL)
        print_error("\"%s\" lacks \"%s\"\n", status_last_error(), part);
    assert_non_null(strstr(status_last_error(), part));
}

static void test_link_bad_endpoints_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const leaving[] = {"tcp://0.0.0.0:5",      "tcp://*:5",
                                          "tcp://example.org:5",  "tcp://127.evil.org:5",
                                          "tcp://192.0.2.3:7000", "tcp://[2001:db8::1]:5",
                                          "tcp://[::]:5",         "tcp://eth0:5"};
    for (size_t i = 0; i < sizeof leaving / sizeof leaving[0]; i++)
        expect_open_fails(leaving[i], STATUS_INVALID, "leaves this machine");
    expect_open_fails("udp://x", STATUS_INVALID, "is not ipc://PATH");
    expect_open_fails("tcp://127.0.0.1:", STATUS_INVALID, "has no port");
    expect_open_fails("tcp://127.0.0.1:x", STATUS_INVALID, "has no port");
    expect_open_fails("tcp://127.0.0.1:65536", STATUS_INVALID, "has no port");
    expect_open_fails("tcp://:5", STATUS_INVALID, "has no host");
    expect_open_fails("tcp://a b:5", STATUS_INVALID, "has no host");
    expect_open_fails("tcp://[::1:5", STATUS_INVALID, "has no host");
    expect_open_fails("tcp://127.0.0.1:1;127.0.0.1:5", STATUS_INVALID, "has no host");
    expect_open_fails("ipc://", STATUS_INVALID, "has no path");
    char path[200] = "ipc:///tmp/";
    memset(path + 11, 'x', 103); /* 5 + 103 = 108 bytes of path */
    expect_open_fails(path, STATUS_INVALID, "has 108 bytes, a unix socket takes 107");
    path[113] = '\0';
    struct hub *hub = NULL;
    assert_int_equal(hub_open(&hub, path, NULL), STATUS_OK);
    hub_close(&hub);
    struct link *link = NULL;
    struct hello hello = {.run = "run-1", .role = ROLE_ACTOR};
    assert_int_equal(link_open(&link, "tcp://example.org:1", NULL, &hello), STATUS_INVALID);
    hello.role = ROLE_NONE;
    assert_int_equal(link_open(&link, "ipc:///tmp/x", NULL, &hello), STATUS_INVALID);
    assert_null(link);
}

static void test_link_taken_endpoint_names_who_may_hold_it(void **state)
{
    (void)state;
    struct hub *tcp = NULL, *file = NULL;
    assert_int_equal(hub_open(&tcp, "tcp://localhost:0", NULL), STATUS_OK);
    assert_non_null(strstr(hub_endpoint(tcp), "tcp://127.0.0.1:"));
    expect_open_fails(hub_endpoint(tcp), STATUS_NETWORK, "ss -ltnp");
    assert_int_equal(hub_open(&file, ipc_endpoint(), NULL), STATUS_OK);
    expect_open_fails(ipc, STATUS_NETWORK, "somebody listens");
    hub_close(&tcp);
    hub_close(&file);
    assert_int_equal(access(ipc + 6, F_OK), -1);             /* no file is left behind */
    assert_int_equal(hub_open(&file, ipc, NULL), STATUS_OK); /* free again */
    hub_close(&file);
}

static void test_link_failed_sends_are_reported_and_can_be_repeated(void **state)
{
    (void)state;
    struct hub *hub = NULL;
    struct hub_peer peer;
    struct message message;
    assert_int_equal(hub_open(&hub, ipc_endpoint(), NULL), STATUS_OK);
    struct link *link = link_to(ipc, 0, 1);
    do {
        assert_int_equal(link_poll(link, 1, -1, arena, &message), STATUS_OK);
        assert_int_equal(hub_poll(hub, 10, -1, arena, &peer, &message), STATUS_OK);
    } while (message.type != MESSAGE_hello);
    struct message welcome = {.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 10000}};
    transport_fail_after(1);
    assert_int_equal(hub_send(hub, peer.id, &welcome), STATUS_AGAIN);
    assert_int_equal(hub_send(hub, peer.id, &welcome), STATUS_OK);
    assert_int_equal(poll_for(link, MESSAGE_welcome, &message), STATUS_OK);
    struct message report = {.type = MESSAGE_step_report, .step_report = {5, "{}"}};
    transport_fail_after(2);
    assert_int_equal(link_send(link, &report), STATUS_OK);
    assert_int_equal(link_send(link, &report), STATUS_AGAIN);
    assert_int_equal(link_send(link, &report), STATUS_OK);
    transport_fail_after(-1);
    int reports = 0;
    for (int i = 0; i < 50 && reports < 2; i++) {
        assert_int_equal(hub_poll(hub, 100, -1, arena, &peer, &message), STATUS_OK);
        reports += message.type == MESSAGE_step_report;
    }
    assert_int_equal(reports, 2);
    assert_int_equal(hub_send(hub, peer.id + 1, &welcome), STATUS_NETWORK);
    link_close(&link, NULL);
    hub_close(&hub);
}

static void test_link_without_memory_opens_fail_and_leak_nothing(void **state)
{
    (void)state;
    struct hello hello = {.run = "run-1", .role = ROLE_ACTOR, .host = "h", .numerics = "n"};
    int64_t live = memory_blocks_live();
    for (int64_t n = 1; n <= 6; n++) {
        struct link *link = NULL;
        memory_fail_after(n);
        assert_int_equal(link_open(&link, "ipc:///tmp/weir-none", NULL, &hello), STATUS_NO_MEMORY);
        struct hub *hub = NULL;
        memory_fail_after(n);
        assert_int_equal(hub_open(&hub, ipc_endpoint(), NULL), STATUS_NO_MEMORY);
        memory_fail_after(-1);
        assert_int_equal(memory_blocks_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link_stopped_store_is_noticed_by_its_silence),
        cmocka_unit_test(test_link_ten_thousand_messages_over_ipc_arrive_in_order),
        cmocka_unit_test(test_link_ten_thousand_messages_over_tcp_arrive_in_order),
        cmocka_unit_test(test_link_heartbeats_are_sent_while_it_waits),
        cmocka_unit_test(test_link_restarted_store_gets_hello_again_and_owner_sees_it),
        cmocka_unit_test(test_link_quiet_link_sees_its_connection_close),
        cmocka_unit_test(test_link_forgotten_peer_says_hello_again),
        cmocka_unit_test(test_link_other_run_is_refused_with_the_stores_reason),
        cmocka_unit_test(test_link_two_processes_of_one_place_are_two_peers),
        cmocka_unit_test(test_link_stopped_peer_is_seen_within_500_ms_and_its_return_too),
        cmocka_unit_test(test_link_killed_peer_is_seen_within_50_ms),
        cmocka_unit_test(test_link_hello_read_after_its_connection_ended_is_of_the_dead),
        cmocka_unit_test(test_link_computing_peer_whose_connection_was_cut_is_connected_again),
        cmocka_unit_test(test_link_long_message_arrives_whole),
        cmocka_unit_test(test_link_absent_store_is_noticed_by_its_silence),
        cmocka_unit_test(test_link_extra_descriptor_wakes_both_polls),
        cmocka_unit_test(test_link_garbage_is_counted_refused_and_others_go_on),
        cmocka_unit_test(test_link_oversize_message_never_reaches_the_store),
        cmocka_unit_test(test_link_bad_endpoints_are_refused_with_a_sentence),
        cmocka_unit_test(test_link_taken_endpoint_names_who_may_hold_it),
        cmocka_unit_test(test_link_failed_sends_are_reported_and_can_be_repeated),
        cmocka_unit_test(test_link_without_memory_opens_fail_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
