/* links: transport proto core Threads::Threads */
/* label: unit */
/* timeout: 90 */
/* Wrong credentials, each tried against a hub with keys on loopback tcp: refused, named in the hub's log, and no secret
 * anywhere. The log is caught in a file; a thread plays the store. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "tests/local_port.h"
#include "transport/envelope.h"
#include "transport/keys.h"
#include "transport/link.h"
#include "transport/socket.h"

enum { PATIENCE_MS = 20000, ANSWER_MS = 100 };

/* ---- the store, its folder of keys, and its log ---- */

static struct {
    struct hub *hub;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint32_t hellos, controls, wrong_messages;
    char folder[64], other[64], log[96], endpoint[64];
    int log_fd, stderr_fd;
} store;

static struct arena *arena;

static void answer(const struct hub_peer *peer, const struct message *got)
{
    struct message reply = {.type = MESSAGE_NONE};
    if (got->type == MESSAGE_hello && strcmp(got->hello.run, "run-1") != 0)
        reply = (struct message){.type = MESSAGE_refused, .refused = {"this store serves run-1"}};
    else if (got->type == MESSAGE_hello)
        reply = (struct message){.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 50}};
    else if (got->type == MESSAGE_control)
        reply = (struct message){.type = MESSAGE_control_reply,
                                 .control_reply = {got->control.request, true, "{}"}};
    else if (got->type != MESSAGE_heartbeat && got->type != MESSAGE_bye)
        atomic_fetch_add(&store.wrong_messages, 1);
    atomic_fetch_add(&store.hellos, reply.type == MESSAGE_welcome);
    atomic_fetch_add(&store.controls, reply.type == MESSAGE_control_reply);
    if (reply.type == MESSAGE_NONE)
        return;
    (void)!hub_send(store.hub, peer->id, &reply);
    if (reply.type == MESSAGE_refused)
        hub_forget(store.hub, peer->id);
}

static void *drive(void *self)
{
    struct arena *own = NULL;
    struct hub_peer peer;
    struct message got;
    (void)self;
    if (arena_create(&own, 64 << 20) != STATUS_OK)
        return NULL;
    while (!atomic_load(&store.stop)) {
        uint32_t id;
        bool connected;
        arena_reset(own);
        if (hub_poll(store.hub, 20, -1, own, &peer, &got) != STATUS_OK)
            break;
        while (hub_take_event(store.hub, &id, &connected)) {
        }
        if (got.type != MESSAGE_NONE)
            answer(&peer, &got);
    }
    arena_destroy(&own);
    return NULL;
}

static int setup(void **state)
{
    (void)state;
    snprintf(store.folder, sizeof store.folder, "/tmp/weir-auth-%d", (int)getpid());
    snprintf(store.other, sizeof store.other, "/tmp/weir-auth-%d-other", (int)getpid());
    snprintf(store.log, sizeof store.log, "/tmp/weir-auth-%d.log", (int)getpid());
    store.stderr_fd = dup(2);
    store.log_fd = open(store.log, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (store.log_fd < 0 || dup2(store.log_fd, 2) < 0)
        return 1;
    if (arena_create(&arena, 64 << 20) != STATUS_OK || keys_new(store.folder, false) != STATUS_OK ||
        keys_new(store.other, false) != STATUS_OK ||
        keys_add(store.folder, "actor", "one") != STATUS_OK ||
        hub_open(&store.hub, "tcp://127.0.0.1:0", store.folder) != STATUS_OK) {
        dprintf(store.stderr_fd, "%s\n", status_last_error());
        return 1;
    }
    snprintf(store.endpoint, sizeof store.endpoint, "%s", hub_endpoint(store.hub));
    return pthread_create(&store.thread, NULL, drive, NULL);
}

static int teardown(void **state)
{
    (void)state;
    atomic_store(&store.stop, true);
    pthread_join(store.thread, NULL);
    hub_close(&store.hub);
    arena_destroy(&arena);
    dup2(store.stderr_fd, 2);
    close(store.stderr_fd);
    close(store.log_fd);
    unlink(store.log);
    (void)!file_remove_tree(store.folder);
    (void)!file_remove_tree(store.other);
    return 0;
}

/* What the log says since `from`, waiting until it has `part`. */
static void expect_log(off_t from, const char *part)
{
    static char text[1 << 18];
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        ssize_t size = pread(store.log_fd, text, sizeof text - 1, from);
        text[size > 0 ? size : 0] = '\0';
        if (strstr(text, part) != NULL)
            return;
        clock_sleep_ms(10);
    }
    print_error("the log lacks \"%s\":\n%s\n", part, text);
    fail();
}

static off_t log_end(void)
{
    struct stat file;
    assert_int_equal(fstat(store.log_fd, &file), 0);
    return file.st_size;
}

static void named(int number, const char *what)
{
    print_message("wrong credentials %2d of 12 refused: %s\n", number, what);
}

/* ---- peers ---- */

static struct link *link_as(enum role role, const char *keys, const char *run)
{
    struct hello hello = {.run = run, .role = role, .host = "h", .numerics = ""};
    struct link *link = NULL;
    enum status status = link_open(&link, store.endpoint, keys, &hello);
    if (status != STATUS_OK)
        print_error("%s\n", status_last_error());
    assert_int_equal(status, STATUS_OK);
    return link;
}

/* Until the link is welcomed or fails. */
static enum status run_link(struct link *link)
{
    int64_t deadline = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    struct message got;
    while (clock_now_ns() < deadline && !link_welcomed(link)) {
        arena_reset(arena);
        TRY(link_poll(link, 100, -1, arena, &got));
    }
    return link_welcomed(link) ? STATUS_OK : STATUS_TIMEOUT;
}

static void expect_refused(enum role role, const char *keys, const char *run, const char *part)
{
    uint32_t before = atomic_load(&store.hellos);
    struct link *link = link_as(role, keys, run);
    enum status status = run_link(link);
    if (status != STATUS_CANCELLED || strstr(status_last_error(), part) == NULL)
        print_error("%s: \"%s\" lacks \"%s\"\n", status_name(status), status_last_error(), part);
    assert_int_equal(status, STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), part));
    assert_int_equal(atomic_load(&store.hellos), before);
    link_close(&link, NULL);
}

/* Asks the store and is answered; ms. */
static int64_t ask(struct link *link, uint64_t request)
{
    struct message got, control = {.type = MESSAGE_control, .control = {request, "tail", "{}"}};
    int64_t began = clock_now_ns();
    assert_int_equal(link_send(link, &control), STATUS_OK);
    do {
        arena_reset(arena);
        assert_int_equal(link_poll(link, 1000, -1, arena, &got), STATUS_OK);
        assert_true(clock_now_ns() - began < PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS);
    } while (got.type != MESSAGE_control_reply || got.control_reply.request != request);
    return (clock_now_ns() - began) / CLOCK_NS_PER_MS;
}

static struct link *honest(enum role role)
{
    struct link *link = link_as(role, store.folder, "run-1");
    assert_int_equal(run_link(link), STATUS_OK);
    return link;
}

/* A bare DEALER with the keys of FOLDER/NAME.key (NULL: none) and an identity of its choice. */
struct raw {
    void *context, *socket;
};

static struct raw raw_open(const char *name, const char *identity)
{
    struct raw raw = {zmq_ctx_new(), NULL};
    raw.socket = zmq_socket(raw.context, ZMQ_DEALER);
    zmq_setsockopt(raw.socket, ZMQ_LINGER, &(int){0}, sizeof(int));
    zmq_setsockopt(raw.socket, ZMQ_RCVTIMEO, &(int){50}, sizeof(int));
    zmq_setsockopt(raw.socket, ZMQ_ROUTING_ID, identity, strlen(identity));
    if (name != NULL) {
        struct key_pair pair;
        char public_text[KEY_TEXT_MAX];
        assert_int_equal(key_pair_read(store.folder, name, &pair), STATUS_OK);
        assert_int_equal(key_store_public(store.folder, public_text), STATUS_OK);
        assert_int_equal(socket_secure_client(raw.socket, &pair, public_text), STATUS_OK);
        key_pair_wipe(&pair);
    }
    assert_int_equal(zmq_connect(raw.socket, store.endpoint), 0);
    return raw;
}

static void raw_close(struct raw *raw)
{
    zmq_close(raw->socket);
    zmq_ctx_term(raw->context);
}

/* Sends bytes again and again until something comes back; bytes of the answer, 0 none. */
static size_t raw_talk(struct raw *raw, const struct message *message, uint16_t protocol,
                       char *reply, size_t room, int64_t limit_ms)
{
    struct buffer bytes;
    buffer_init(&bytes, 0);
    assert_int_equal(message_pack(message, &bytes), STATUS_OK);
    if (protocol != WIRE_PROTOCOL)
        envelope_relabel(bytes.bytes, bytes.size, protocol);
    int size = -1;
    int64_t until = clock_now_ns() + limit_ms * CLOCK_NS_PER_MS;
    while (size < 0 && clock_now_ns() < until) {
        zmq_send(raw->socket, bytes.bytes, bytes.size, ZMQ_DONTWAIT);
        size = zmq_recv(raw->socket, reply, room, 0);
    }
    buffer_free(&bytes);
    return size > 0 ? (size_t)size : 0;
}

static const struct message actor_hello = {.type = MESSAGE_hello,
                                           .hello = {.run = "run-1",
                                                     .role = ROLE_ACTOR,
                                                     .index = 3,
                                                     .incarnation = 7,
                                                     .host = "h",
                                                     .numerics = ""}};

/* ---- who may ---- */

static void test_auth_right_keys_of_every_role_are_welcomed(void **state)
{
    (void)state;
    for (int role = ROLE_ACTOR; role < ROLE_COUNT; role++) {
        struct link *link = honest((enum role)role);
        assert_true(ask(link, 1) < PATIENCE_MS);
        link_close(&link, "done");
    }
}

/* ---- who may not ---- */

static void test_auth_01_no_keys_is_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    expect_refused(ROLE_ACTOR, NULL, "run-1", "is no store of this run");
    /* Both ends close at the other's greeting: the later one may find the connection reset and its reason gone. */
    expect_log(from, "connection refused why=\"");
    named(1, "no CURVE");
}

static void test_auth_02_unknown_key_is_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    char mixed[160], path[256];
    struct buffer bytes;
    snprintf(mixed, sizeof mixed, "%s/mixed", store.other);
    assert_int_equal(keys_new(mixed, false), STATUS_OK);
    buffer_init(&bytes, 0);
    snprintf(path, sizeof path, "%s/store.pub", store.folder);
    assert_int_equal(file_read(path, &bytes), STATUS_OK);
    snprintf(path, sizeof path, "%s/store.pub", mixed);
    assert_int_equal(file_replace(path, bytes.bytes, bytes.size), STATUS_OK);
    buffer_free(&bytes);
    expect_refused(ROLE_ACTOR, mixed, "run-1", "does not let the key");
    expect_log(from, "its key is not in the allow list");
    named(2, "unknown key");
}

static void test_auth_03_revoked_key_is_cut_off_and_does_not_come_back(void **state)
{
    (void)state;
    off_t from = log_end();
    unsigned count;
    struct link *link = honest(ROLE_REWARD), *other = honest(ROLE_ACTOR);
    assert_int_equal(keys_revoke(store.folder, "reward", &count), STATUS_OK);
    assert_int_equal(count, 1);
    clock_sleep_ms(5);
    struct message got, control = {.type = MESSAGE_control, .control = {1, "tail", "{}"}};
    uint32_t before = atomic_load(&store.controls);
    enum status status = link_send(link, &control);
    for (int i = 0; i < 200 && status == STATUS_OK; i++) {
        arena_reset(arena);
        status = link_poll(link, 100, -1, arena, &got);
        assert_int_not_equal(got.type, MESSAGE_control_reply);
    }
    assert_int_equal(status, STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "revoked"));
    assert_int_equal(atomic_load(&store.controls), before);
    link_close(&link, NULL);
    expect_log(from, "its key was revoked");
    expect_refused(ROLE_REWARD, store.folder, "run-1", "does not let the key");
    assert_true(ask(other, 2) < PATIENCE_MS); /* nobody else minds */
    link_close(&other, "done");
    named(3, "revoked key");
}

static void test_auth_04_wrong_store_key_is_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    expect_refused(ROLE_ACTOR, store.other, "run-1", "is probably the key of another store");
    expect_log(from, "connection refused");
    named(4, "public key of another store");
}

static void test_auth_05_key_of_another_role_is_refused(void **state)
{
    (void)state;
    static const enum role wanted[] = {ROLE_LEARNER, ROLE_CONTROL};
    for (size_t i = 0; i < 2; i++) {
        off_t from = log_end();
        char reply[512], identity[SOCKET_IDENTITY_MAX];
        struct message hello = actor_hello, got;
        hello.hello.role = wanted[i];
        socket_identity(wanted[i], 3, 7, identity);
        struct raw raw = raw_open("actor", identity);
        size_t size = raw_talk(&raw, &hello, WIRE_PROTOCOL, reply, sizeof reply, PATIENCE_MS);
        arena_reset(arena);
        assert_int_equal(message_unpack(&got, arena, reply, size), STATUS_OK);
        assert_int_equal(got.type, MESSAGE_refused);
        assert_non_null(strstr(got.refused.reason, "this key is for actor processes"));
        raw_close(&raw);
        expect_log(from, "this key is for actor processes");
    }
    named(5, "an actor's key used as learner and as control");
}

static int tcp_connect(void)
{
    int fd = local_connect(local_port_of(store.endpoint), 0);
    assert_true(fd >= 0);
    return fd;
}

/* True when the other side ends the connection in time. */
static bool ends(int fd, int64_t limit_ms)
{
    char bytes[512];
    struct timeval slice = {.tv_usec = 20000};
    int64_t until = clock_now_ns() + limit_ms * CLOCK_NS_PER_MS;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice);
    while (clock_now_ns() < until) {
        ssize_t size = recv(fd, bytes, sizeof bytes, 0);
        if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
            return true;
    }
    return false;
}

static void test_auth_06_null_and_plain_mechanisms_are_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    uint32_t before = atomic_load(&store.hellos);
    static const char *const mechanisms[] = {"NULL", "PLAIN"};
    for (size_t i = 0; i < 2; i++) { /* greeting of ZMTP 3.0, by hand */
        char greeting[64] = "\xff\0\0\0\0\0\0\0\1\x7f\3";
        memcpy(greeting + 12, mechanisms[i], strlen(mechanisms[i]));
        int fd = tcp_connect();
        assert_int_equal(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), sizeof greeting);
        assert_true(ends(fd, PATIENCE_MS));
        close(fd);
    }
    char old[] = "\x01\0\5hello"; /* a peer of ZMTP 1.0, which knows no security at all */
    int fd = tcp_connect();
    assert_int_equal(send(fd, old, sizeof old - 1, MSG_NOSIGNAL), sizeof old - 1);
    assert_true(ends(fd, PATIENCE_MS));
    close(fd);
    expect_log(from, "one side uses keys and the other does not");
    assert_int_equal(atomic_load(&store.hellos), before);
    named(6, "NULL and PLAIN mechanism, ZMTP 1.0");
}

static void test_auth_07_wrong_run_is_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    expect_refused(ROLE_ACTOR, store.folder, "run-2", "this store serves run-1");
    expect_log(from, "this store serves run-1");
    named(7, "another run");
}

static void test_auth_08_wrong_protocol_version_is_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    char reply[512], identity[SOCKET_IDENTITY_MAX];
    struct message got;
    socket_identity(ROLE_ACTOR, 3, 7, identity);
    struct raw raw = raw_open("actor", identity);
    size_t size = raw_talk(&raw, &actor_hello, 99, reply, sizeof reply, PATIENCE_MS);
    uint16_t protocol = 0;
    assert_true(envelope_foreign(reply, size, &protocol));
    envelope_relabel(reply, size, WIRE_PROTOCOL);
    arena_reset(arena);
    assert_int_equal(message_unpack(&got, arena, reply, size), STATUS_OK);
    assert_int_equal(got.type, MESSAGE_refused);
    assert_non_null(strstr(got.refused.reason, "you speak 99"));
    raw_close(&raw);
    expect_log(from, "you speak 99");
    named(8, "another wire protocol");
}

/* The key of actor.0 in the name of actor.1, who lives, and messages before any hello. */
static void test_auth_09_foreign_identity_and_missing_hello_are_refused(void **state)
{
    (void)state;
    off_t from = log_end();
    char reply[512], identity[SOCKET_IDENTITY_MAX];
    struct link *victim = honest(ROLE_ACTOR);
    struct message got;
    struct message frame = {.type = MESSAGE_step_report, .step_report = {1, "{}"}};
    uint32_t before = atomic_load(&store.wrong_messages);
    socket_identity(ROLE_ACTOR, 0, link_incarnation(victim), identity);
    struct raw thief = raw_open("one", identity); /* a key of the same role */
    for (int i = 0; i < 20; i++) {
        (void)raw_talk(&thief, &frame, WIRE_PROTOCOL, reply, sizeof reply, 60);
        arena_reset(arena);
        assert_int_equal(link_poll(victim, 10, -1, arena, &got), STATUS_OK);
    }
    raw_close(&thief);
    expect_log(from, "it spoke in the name of a peer that has another key");
    expect_log(from, "its key was used in the name of another");
    assert_int_equal(atomic_load(&store.wrong_messages), before);
    assert_int_equal(run_link(victim), STATUS_OK);
    assert_true(ask(victim, 3) < PATIENCE_MS);
    /* a recorded frame under an identity that never said hello: asked for one, not taken */
    socket_identity(ROLE_ACTOR, 5, 12345, identity);
    struct raw raw = raw_open("actor", identity);
    size_t size = raw_talk(&raw, &frame, WIRE_PROTOCOL, reply, sizeof reply, PATIENCE_MS);
    arena_reset(arena);
    assert_int_equal(message_unpack(&got, arena, reply, size), STATUS_OK);
    assert_int_equal(got.type, MESSAGE_bye);
    assert_int_equal(atomic_load(&store.wrong_messages), before);
    raw_close(&raw);
    link_close(&victim, "done");
    named(9, "identity of another, frame before hello");
}

static void test_auth_10_key_file_that_others_can_read_is_refused(void **state)
{
    (void)state;
    static const char *const files[] = {"actor.key", "store.pub", "allow", "store.key"};
    static const mode_t modes[] = {0644, 0666, 0620, 0640};
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        struct hello hello = {.run = "run-1", .role = ROLE_ACTOR};
        struct link *link = NULL;
        struct hub *hub = NULL;
        snprintf(path, sizeof path, "%s/%s", store.other, files[i]);
        assert_int_equal(chmod(path, modes[i]), 0);
        enum status status = i < 2 ? link_open(&link, store.endpoint, store.other, &hello)
                                   : hub_open(&hub, "tcp://127.0.0.1:0", store.other);
        assert_int_equal(status, STATUS_INVALID);
        assert_null(link);
        assert_null(hub);
        assert_non_null(strstr(status_last_error(), path));
        assert_non_null(strstr(status_last_error(), "chmod 600"));
        fprintf(stderr, "%s\n", status_last_error());
        assert_int_equal(chmod(path, 0600), 0);
    }
    struct key_pair pair;
    assert_int_equal(key_pair_read(store.other, "nobody", &pair), STATUS_NOT_FOUND);
    named(10, "key file of mode 0644");
}

static void test_auth_11_address_of_other_machines_without_keys_is_refused(void **state)
{
    (void)state;
    static const char *const endpoints[] = {"tcp://0.0.0.0:0", "tcp://*:0", "tcp://192.0.2.3:7000",
                                            "tcp://[::]:7000", "tcp://eth0:7000"};
    struct hello hello = {.run = "run-1", .role = ROLE_ACTOR};
    struct hub *hub = NULL;
    struct link *link = NULL;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(hub_open(&hub, endpoints[i], ""), STATUS_INVALID);
        assert_non_null(strstr(status_last_error(), "run.keys"));
        assert_int_equal(link_open(&link, endpoints[i], NULL, &hello), STATUS_INVALID);
        assert_non_null(strstr(status_last_error(), "run.keys"));
    }
    assert_int_equal(hub_open(&hub, "tcp://0.0.0.0:0", store.folder), STATUS_OK); /* with keys */
    hub_close(&hub);
    assert_int_equal(link_open(&link, "tcp://store.invalid:7000", store.folder, &hello), STATUS_OK);
    link_close(&link, NULL);
    named(11, "address off this machine without keys");
}

/* Garbage, greetings cut at every length, and one byte a second: dropped, while others are answered. */
static void test_auth_12_garbage_and_slow_handshakes_hold_up_nobody(void **state)
{
    (void)state;
    enum { SLOW = 40 };
    off_t from = log_end();
    struct link *link = honest(ROLE_ACTOR);
    int slow[SLOW];
    int64_t worst_ms = 0;
    uint32_t late = 0; /* a busy machine may hold up a few */
    uint64_t seed = 12;
    for (int i = 0; i < SLOW; i++) {
        slow[i] = tcp_connect();
        assert_int_equal(send(slow[i], "\xff", 1, MSG_NOSIGNAL), 1);
    }
    for (int i = 0; i < 64; i++) {
        char bytes[256];
        for (size_t k = 0; k < sizeof bytes; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[k] = (char)(seed >> 56);
        }
        if (i % 2 == 0)
            memcpy(bytes, "\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE\0\0\0", 20); /* a good beginning */
        int fd = tcp_connect();
        (void)!send(fd, bytes, (size_t)(i * 4), MSG_NOSIGNAL);
        int64_t took_ms = ask(link, (uint64_t)i + 100);
        worst_ms = took_ms > worst_ms ? took_ms : worst_ms;
        late += took_ms > ANSWER_MS;
        close(fd);
    }
    int64_t began = clock_now_ns();
    for (int i = 0; i < SLOW; i++) {
        (void)!send(slow[i], "\0", 1, MSG_NOSIGNAL);
        assert_true(ends(slow[i], 3 * SOCKET_HANDSHAKE_MS));
        close(slow[i]);
        arena_reset(arena);
        int64_t took_ms = ask(link, (uint64_t)i + 1000);
        worst_ms = took_ms > worst_ms ? took_ms : worst_ms;
        late += took_ms > ANSWER_MS;
    }
    print_message("slow handshakes ended after %d ms; slowest answer to others %d ms\n",
                  (int)((clock_now_ns() - began) / CLOCK_NS_PER_MS), (int)worst_ms);
    assert_in_range(late, 0, (64 + SLOW) / 20);
    assert_int_equal(link_reconnects(link), 0);
    expect_log(from, "connection refused");
    link_close(&link, "done");
    named(12, "garbage and slow handshakes");
}

/* ---- no secret anywhere ---- */

static void expect_absent(const char *path, const char *folder)
{
    static const char *const names[] = {"store", "actor", "learner", "reward", "control"};
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    for (size_t i = 0; i < 5; i++) {
        struct key_pair pair;
        uint8_t raw[32];
        assert_int_equal(key_pair_read(folder, names[i], &pair), STATUS_OK);
        assert_non_null(zmq_z85_decode(raw, pair.secret_text));
        assert_null(memmem(text.bytes, text.size, pair.secret_text, 10));
        assert_null(memmem(text.bytes, text.size, raw, 8));
    }
    buffer_free(&text);
}

static void test_auth_no_secret_is_in_logs_arguments_or_environment(void **state)
{
    (void)state;
    const char *const folders[] = {store.folder, store.other};
    const char *const paths[] = {store.log, "/proc/self/environ", "/proc/self/cmdline"};
    assert_true(log_end() > 1000);
    for (size_t f = 0; f < 2; f++)
        for (size_t p = 0; p < 3; p++)
            expect_absent(paths[p], folders[f]);
    /* bad text of a key file is not repeated either */
    char path[128];
    struct key_pair pair;
    snprintf(path, sizeof path, "%s/bad.key", store.other);
    for (const char *const *text = (const char *const[]){"secret hunter2hunter2\n", "hunter2\n",
                                                         "role actor\npublic hunter2\n", NULL};
         *text != NULL; text++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(*text, file);
        fclose(file);
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(key_pair_read(store.other, "bad", &pair), STATUS_INVALID);
        assert_null(strstr(status_last_error(), "hunter2"));
    }
}

static void test_auth_allow_list_is_read_again_when_it_changes(void **state)
{
    (void)state;
    char path[128];
    unsigned count;
    struct buffer text;
    assert_int_equal(keys_add(store.folder, "actor", "late"), STATUS_OK);
    char identity[SOCKET_IDENTITY_MAX], reply[512];
    socket_identity(ROLE_ACTOR, 3, 7, identity);
    struct raw raw = raw_open("late", identity);
    assert_true(raw_talk(&raw, &actor_hello, WIRE_PROTOCOL, reply, sizeof reply, PATIENCE_MS) > 0);
    raw_close(&raw);
    assert_int_equal(keys_add(store.folder, "actor", "late"), STATUS_INVALID);
    assert_int_equal(keys_add(store.folder, "store", "x"), STATUS_INVALID);
    assert_int_equal(keys_add(store.folder, "actor", "../x"), STATUS_INVALID);
    assert_int_equal(keys_revoke(store.folder, "late", &count), STATUS_OK);
    assert_int_equal(keys_revoke(store.folder, "late", &count), STATUS_NOT_FOUND);
    buffer_init(&text, 0);
    assert_int_equal(keys_show(store.folder, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "actor "));
    assert_null(strstr(buffer_string(&text), "late"));
    buffer_free(&text);
    /* an unreadable list lets nobody in, cuts nobody off, and is taken again when it is mended */
    struct link *link = honest(ROLE_ACTOR);
    snprintf(path, sizeof path, "%s/allow", store.folder);
    off_t from = log_end();
    assert_int_equal(chmod(path, 0666), 0);
    struct link *other = link_as(ROLE_LEARNER, store.folder, "run-1");
    struct message got;
    for (int i = 0; i < 20; i++) {
        arena_reset(arena);
        assert_int_equal(link_poll(other, 20, -1, arena, &got), STATUS_OK);
    }
    assert_false(link_welcomed(other));
    assert_true(ask(link, 5) < PATIENCE_MS);
    expect_log(from, "nobody new is let in");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(run_link(other), STATUS_OK);
    link_close(&link, "done");
    link_close(&other, "done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auth_right_keys_of_every_role_are_welcomed),
        cmocka_unit_test(test_auth_01_no_keys_is_refused),
        cmocka_unit_test(test_auth_02_unknown_key_is_refused),
        cmocka_unit_test(test_auth_03_revoked_key_is_cut_off_and_does_not_come_back),
        cmocka_unit_test(test_auth_04_wrong_store_key_is_refused),
        cmocka_unit_test(test_auth_05_key_of_another_role_is_refused),
        cmocka_unit_test(test_auth_06_null_and_plain_mechanisms_are_refused),
        cmocka_unit_test(test_auth_07_wrong_run_is_refused),
        cmocka_unit_test(test_auth_08_wrong_protocol_version_is_refused),
        cmocka_unit_test(test_auth_09_foreign_identity_and_missing_hello_are_refused),
        cmocka_unit_test(test_auth_10_key_file_that_others_can_read_is_refused),
        cmocka_unit_test(test_auth_11_address_of_other_machines_without_keys_is_refused),
        cmocka_unit_test(test_auth_12_garbage_and_slow_handshakes_hold_up_nobody),
        cmocka_unit_test(test_auth_allow_list_is_read_again_when_it_changes),
        cmocka_unit_test(test_auth_no_secret_is_in_logs_arguments_or_environment),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
