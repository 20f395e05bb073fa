/* links: transport proto core Threads::Threads */
/* label: unit */
/* timeout: 120 */
/* valgrind: no - it bounds times and resident memory, and lowers the descriptors that valgrind needs itself */
/* Connections that want nothing: thousands that say nothing, some that say a byte a second. A child holds them; the hub
 * answers its peers meanwhile, in bounded memory, and keeps descriptors for the rest of the process. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock.h"
#include "transport/link.h"

enum {
    FLOOD = 5000,
    SLOW = 50,
    ASKS = 200,
    ANSWER_MS = 100,
    PATIENCE_MS = 30000,
    MEMORY_KB = 256 << 10, /* of the whole flood: 50 kB for each connection */
};

static struct {
    struct hub *hub;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint32_t connections;
    _Atomic uint64_t refused;
} store;

static void *drive(void *self)
{
    struct arena *own = NULL;
    struct hub_peer peer;
    struct message got;
    (void)self;
    if (arena_create(&own, 16 << 20) != STATUS_OK)
        return NULL;
    while (!atomic_load(&store.stop)) {
        struct message reply = {.type = MESSAGE_NONE};
        arena_reset(own);
        if (hub_poll(store.hub, 20, -1, own, &peer, &got) != STATUS_OK)
            break;
        if (got.type == MESSAGE_hello)
            reply = (struct message){.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 50}};
        if (got.type == MESSAGE_control)
            reply = (struct message){.type = MESSAGE_control_reply,
                                     .control_reply = {got.control.request, true, "{}"}};
        if (reply.type != MESSAGE_NONE)
            (void)!hub_send(store.hub, peer.id, &reply);
        atomic_store(&store.connections, hub_connection_count(store.hub));
        atomic_store(&store.refused, hub_handshakes_refused(store.hub));
    }
    arena_destroy(&own);
    return NULL;
}

static void store_start(void)
{
    atomic_store(&store.stop, false);
    enum status status = hub_open(&store.hub, "tcp://127.0.0.1:0", NULL);
    if (status != STATUS_OK)
        print_error("%s\n", status_last_error());
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(pthread_create(&store.thread, NULL, drive, NULL), 0);
}

static void store_stop(void)
{
    atomic_store(&store.stop, true);
    pthread_join(store.thread, NULL);
    hub_close(&store.hub);
}

/* ---- the flood ---- */

static int connect_once(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A child that keeps `count` connections open, again and again, the first SLOW of them with a byte a second. */
static pid_t fork_flood(const char *endpoint, uint32_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    unsigned port = 0;
    assert_int_equal(sscanf(endpoint, "tcp://127.0.0.1:%u", &port), 1);
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    static int fds[FLOOD];
    for (uint32_t i = 0; i < count; i++)
        fds[i] = connect_once(&address);
    for (uint32_t beat = 0;; beat++) {
        for (uint32_t i = 0; i < SLOW && i < count; i++)
            if (fds[i] >= 0)
                (void)!send(fds[i], beat == 0 ? "\xff" : "\0", 1, MSG_NOSIGNAL);
        clock_sleep_ms(1000);
    }
}

static void end_flood(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* ---- those who have business here ---- */

static struct arena *arena;

static struct link *peer_link(const char *endpoint)
{
    struct hello hello = {.run = "run-1", .role = ROLE_ACTOR, .host = "h", .numerics = ""};
    struct link *link = NULL;
    struct message got;
    assert_int_equal(link_open(&link, endpoint, NULL, &hello), STATUS_OK);
    int64_t until = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    while (!link_welcomed(link) && clock_now_ns() < until) {
        arena_reset(arena);
        assert_int_equal(link_poll(link, 100, -1, arena, &got), STATUS_OK);
    }
    assert_true(link_welcomed(link));
    return link;
}

static int64_t ask(struct link *link, uint64_t request)
{
    struct message got, control = {.type = MESSAGE_control, .control = {request, "tail", "{}"}};
    int64_t began = clock_now_ns(), until = began + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    bool sent = false;
    do {
        sent = sent || link_send(link, &control) == STATUS_OK;
        arena_reset(arena);
        assert_int_equal(link_poll(link, 1000, -1, arena, &got), STATUS_OK);
        assert_true(clock_now_ns() < until);
    } while (got.type != MESSAGE_control_reply || got.control_reply.request != request);
    return (clock_now_ns() - began) / CLOCK_NS_PER_MS;
}

/* At most one answer in twenty is late: the machine may be busy with other things. */
static void expect_answers(struct link *link)
{
    int64_t worst_ms = 0;
    uint32_t late = 0;
    for (uint32_t i = 0; i < ASKS; i++) {
        int64_t took_ms = ask(link, i + 1);
        worst_ms = took_ms > worst_ms ? took_ms : worst_ms;
        late += took_ms > ANSWER_MS;
        clock_sleep_ms(2);
    }
    print_message("%d answers beside %u connections: slowest %d ms, %u above %d ms\n", ASKS,
                  atomic_load(&store.connections), (int)worst_ms, late, ANSWER_MS);
    assert_in_range(late, 0, ASKS / 20);
}

static int64_t resident_kb(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void wait_connections(uint32_t least, int64_t limit_ms)
{
    int64_t until = clock_now_ns() + limit_ms * CLOCK_NS_PER_MS;
    while (atomic_load(&store.connections) < least && clock_now_ns() < until)
        clock_sleep_ms(10);
}

static void test_flood_idle_and_slow_connections_hold_up_nobody(void **state)
{
    (void)state;
    store_start();
    struct rlimit files; /* raised by the hub as far as it may be */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    uint32_t count = files.rlim_cur / 4 * 3 < FLOOD ? (uint32_t)(files.rlim_cur / 4 * 3) : FLOOD;
    struct link *link = peer_link(hub_endpoint(store.hub));
    (void)ask(link, 9999);
    int64_t before_kb = resident_kb();
    pid_t child = fork_flood(hub_endpoint(store.hub), count);
    wait_connections(count * 9 / 10, 4000);
    uint32_t seen = atomic_load(&store.connections);
    int64_t grown_kb = resident_kb() - before_kb;
    expect_answers(link);
    print_message("%u connections at once: %d kB resident more\n", seen, (int)grown_kb);
    assert_true(seen > count / 2);
    assert_in_range(grown_kb > 0 ? grown_kb : 0, 0, MEMORY_KB);
    /* the handshake's limit ends all of them, slow ones too, and no peer of ours */
    int64_t until = clock_now_ns() + PATIENCE_MS * (int64_t)CLOCK_NS_PER_MS;
    while (atomic_load(&store.connections) > 1 && clock_now_ns() < until)
        (void)ask(link, 1);
    assert_int_equal(atomic_load(&store.connections), 1);
    assert_int_equal(link_reconnects(link), 0);
    end_flood(child);
    link_close(&link, "done");
    store_stop();
}

static void test_flood_beyond_the_descriptors_leaves_some_for_the_process(void **state)
{
    (void)state;
    struct rlimit lowered = {400, 400};
    pid_t tester = fork(); /* the hard limit cannot be raised again */
    if (tester == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (setrlimit(RLIMIT_NOFILE, &lowered) != 0)
            _exit(2);
        store_start();
        /* two children with 350 each: 700 wanted, 300 are had */
        pid_t one = fork_flood(hub_endpoint(store.hub), 350);
        pid_t two = fork_flood(hub_endpoint(store.hub), 350);
        struct link *link = peer_link(hub_endpoint(store.hub));
        for (uint32_t i = 0; i < 100; i++) {
            int fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* a ledger file, say */
            if (ask(link, i + 1) > PATIENCE_MS || fd < 0)
                _exit(4);
            close(fd);
        }
        uint64_t refused = atomic_load(&store.refused);
        end_flood(one);
        end_flood(two);
        _exit(refused > 0 ? 0 : 5);
    }
    int result = 0;
    assert_int_equal(waitpid(tester, &result, 0), tester);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flood_beyond_the_descriptors_leaves_some_for_the_process),
        cmocka_unit_test(test_flood_idle_and_slow_connections_hold_up_nobody),
    };
    if (arena_create(&arena, 16 << 20) != STATUS_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_destroy(&arena);
    return failed;
}
