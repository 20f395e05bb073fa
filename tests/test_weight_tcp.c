/* links: transport */
/* label: unit */
/* timeout: 120 */
/* Weights by TCP: what arrives is bit for bit what was offered, or nothing arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "tests/slow.h"
#include "transport/keys.h"
#include "transport/weight_tcp_client.h"
#include "transport/weight_tcp_server.h"

enum { LAYOUT = 77, BYTES = 3000005, PIECE = 65536, LONG_MS = 20000 };

static void must_at(enum status status, int line)
{
    if (status != STATUS_OK)
        fail_msg("line %d: %s", line, status_last_error());
}
#define must(call) must_at((call), __LINE__)

static uint64_t seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"store.key",   "actor.key", "learner.key", "reward.key",
                                        "control.key", "store.pub", "allow"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    x = (x ^ (x >> 29)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 32);
}

static void fill(uint8_t *bytes, size_t size, uint64_t version)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)mix(version * 1000003 + i);
}

/* ---- a server, two buffers, clients ---- */

static struct weight_server *server;
static uint8_t *buffers[2];

static void server_open(const char *endpoint)
{
    struct weight_server_config config = {
        .endpoint = endpoint, .layout_hash = LAYOUT, .bytes = BYTES, .keys = ""};
    must(weight_server_open(&server, &config));
    for (int i = 0; i < 2; i++)
        if (buffers[i] == NULL)
            assert_non_null(buffers[i] = memory_alloc(BYTES));
}

static uint64_t offer(uint64_t version)
{
    uint8_t *memory = buffers[version % 2];
    weight_server_withdraw(server, memory);
    fill(memory, BYTES, version);
    uint64_t digest = weight_digest(memory, BYTES, 0);
    weight_server_offer(server, version, 0, digest, memory);
    return digest;
}

static void server_done(void)
{
    weight_server_close(&server);
    for (int i = 0; i < 2; i++) {
        memory_free(buffers[i]);
        buffers[i] = NULL;
    }
}

struct end {
    struct weight_client *client;
    uint8_t *memory;
    enum weight_fetch_state state;
    struct weight_fetch_version version;
};

static void end_open(struct end *end, size_t piece, uint32_t credits)
{
    *end = (struct end){.memory = memory_alloc(BYTES)};
    struct weight_client_config config = {.endpoint = weight_server_endpoint(server),
                                          .layout_hash = LAYOUT,
                                          .bytes = BYTES,
                                          .piece_bytes = piece,
                                          .credits = credits,
                                          .timeout_ms = 300,
                                          .keys = ""};
    must(weight_client_open(&end->client, &config));
}

static void end_close(struct end *end)
{
    weight_client_close(&end->client);
    memory_free(end->memory);
}

/* A turn; what is new is fetched. */
static void turn(struct end *end, uint64_t holds)
{
    must(weight_client_turn(end->client, &end->state, &end->version));
    struct weight_fetch_version newest;
    if (end->state == WEIGHT_FETCH_IDLE && weight_client_newest(end->client, &newest) &&
        newest.digest != holds && weight_client_fetch(end->client, end->memory))
        must(weight_client_turn(end->client, &end->state, &end->version));
}

static void await(struct end *end, uint64_t holds)
{
    int64_t until_ns = clock_now_ns() + LONG_MS * (int64_t)CLOCK_NS_PER_MS;
    while (end->state != WEIGHT_FETCH_ARRIVED) {
        if (clock_now_ns() > until_ns)
            fail_msg("nothing arrived");
        turn(end, holds);
        clock_sleep_ms(1);
    }
}

static void check(const struct end *end, uint64_t version)
{
    uint8_t *right = memory_alloc(BYTES);
    fill(right, BYTES, version);
    assert_int_equal(end->version.version, version);
    assert_memory_equal(end->memory, right, BYTES);
    memory_free(right);
}

/* ---- cases ---- */

static void test_weight_tcp_version_arrives_bit_for_bit(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    server_open("tcp://127.0.0.1:*");
    struct end end;
    end_open(&end, PIECE, 4);
    uint64_t holds = 0;
    for (uint64_t version = 1; version <= 5; version++) {
        uint64_t digest = offer(version);
        await(&end, holds);
        check(&end, version);
        assert_int_equal(end.version.digest, digest);
        holds = digest;
        weight_client_done(end.client);
        end.state = WEIGHT_FETCH_IDLE;
    }
    const struct weight_fetch_stats *stats = weight_client_stats(end.client);
    assert_int_equal(stats->versions, 5);
    assert_int_equal(stats->pieces, 5 * ((BYTES + PIECE - 1) / PIECE));
    assert_int_equal(stats->damaged + stats->digest_wrong, 0);
    assert_true(weight_server_wanted(server));
    end_close(&end);
    server_done();
    assert_int_equal(memory_blocks_live(), blocks);
}

static void test_weight_tcp_two_clients_get_what_they_lack(void **state)
{
    (void)state;
    server_open("tcp://127.0.0.1:*");
    struct end ends[2];
    end_open(&ends[0], PIECE, 4);
    end_open(&ends[1], 8192, 16);
    offer(7);
    while (ends[0].state != WEIGHT_FETCH_ARRIVED || ends[1].state != WEIGHT_FETCH_ARRIVED)
        for (int i = 0; i < 2; i++)
            turn(&ends[i], 0);
    check(&ends[0], 7);
    check(&ends[1], 7);
    end_close(&ends[0]);
    end_close(&ends[1]);
    server_done();
}

/* The version is overwritten, byte by byte, while it is fetched. */
static void test_weight_tcp_overwritten_version_is_gone_and_the_newest_comes(void **state)
{
    (void)state;
    server_open("tcp://127.0.0.1:*");
    struct end end;
    end_open(&end, 4096, 2);
    offer(1);
    while (weight_client_stats(end.client)->pieces < 20)
        turn(&end, 0);
    offer(2);
    offer(3);
    await(&end, 0);
    check(&end, 3);
    assert_int_equal(weight_client_stats(end.client)->gone, 1);
    end_close(&end);
    server_done();
}

static void test_weight_tcp_fetch_goes_on_after_a_cut_connection(void **state)
{
    (void)state;
    server_open("tcp://127.0.0.1:*");
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "%s", weight_server_endpoint(server));
    struct end end;
    end_open(&end, 4096, 4);
    offer(1);
    uint64_t cuts = 0;
    for (uint64_t at = 50; end.state != WEIGHT_FETCH_ARRIVED; at += 200) {
        while (end.state != WEIGHT_FETCH_ARRIVED && weight_client_stats(end.client)->pieces < at)
            turn(&end, 0);
        if (end.state == WEIGHT_FETCH_ARRIVED)
            break;
        weight_server_close(&server);
        for (int i = 0; i < 20; i++) {
            turn(&end, 0);
            clock_sleep_ms(1);
        }
        server_open(endpoint);
        offer(1);
        cuts++;
    }
    check(&end, 1);
    const struct weight_fetch_stats *stats = weight_client_stats(end.client);
    print_message("%lu cuts, %lu pieces of %d, %lu asked again\n", (unsigned long)cuts,
                  (unsigned long)stats->pieces, (BYTES + 4095) / 4096,
                  (unsigned long)stats->asked_again);
    assert_true(cuts >= 3);
    assert_int_equal(stats->pieces, (BYTES + 4095) / 4096); /* nothing twice */
    end_close(&end);
    server_done();
}

static void test_weight_tcp_wrong_digest_never_arrives(void **state)
{
    (void)state;
    server_open("tcp://127.0.0.1:*");
    struct end end;
    end_open(&end, PIECE, 4);
    fill(buffers[1], BYTES, 1);
    weight_server_offer(server, 1, 0, weight_digest(buffers[1], BYTES, 0) + 1, buffers[1]);
    while (weight_client_stats(end.client)->digest_wrong < 2) {
        turn(&end, 0);
        assert_int_not_equal(end.state, WEIGHT_FETCH_ARRIVED);
    }
    offer(2);
    await(&end, 0);
    check(&end, 2);
    end_close(&end);
    server_done();
}

static void test_weight_tcp_another_model_is_refused_with_both_layouts(void **state)
{
    (void)state;
    server_open("tcp://127.0.0.1:*");
    struct end end = {0};
    struct weight_client_config config = {.endpoint = weight_server_endpoint(server),
                                          .layout_hash = LAYOUT + 1,
                                          .bytes = BYTES,
                                          .keys = ""};
    must(weight_client_open(&end.client, &config));
    offer(1);
    enum status status = STATUS_OK;
    while (status == STATUS_OK)
        status = weight_client_turn(end.client, &end.state, &end.version);
    assert_int_equal(status, STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "000000000000004d"));
    assert_non_null(strstr(status_last_error(), "000000000000004e"));
    weight_client_close(&end.client);
    server_done();
}

static void test_weight_tcp_garbage_is_counted_and_survived(void **state)
{
    (void)state;
    server_open("tcp://127.0.0.1:*");
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    assert_int_equal(zmq_connect(socket, weight_server_endpoint(server)), 0);
    int linger = 1000;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    uint64_t x = seed();
    uint8_t bytes[200];
    for (int i = 0; i < 1000; i++) {
        size_t size = (size_t)(mix(x++) % sizeof bytes);
        fill(bytes, sizeof bytes, x);
        assert_true(zmq_send(socket, bytes, size, i % 7 == 0 && i != 999 ? ZMQ_SNDMORE : 0) >= 0);
    }
    /* Sound heads that ask for what is not there. */
    for (int i = 0; i < 100; i++) {
        struct weight_tcp_head head = {.kind = WEIGHT_TCP_ASK,
                                       .layout_hash = LAYOUT,
                                       .bytes = BYTES,
                                       .version = 1,
                                       .offset = mix(x++),
                                       .length = (uint32_t)mix(x++)};
        weight_tcp_seal(&head, NULL, 0);
        assert_true(zmq_send(socket, &head, sizeof head, 0) >= 0);
    }
    zmq_close(socket);
    zmq_ctx_term(context);
    struct end end;
    end_open(&end, PIECE, 4);
    offer(1);
    await(&end, 0);
    check(&end, 1);
    struct weight_server_stats stats;
    weight_server_read(server, &stats);
    print_message("%lu questions refused\n", (unsigned long)stats.refused);
    assert_true(stats.refused >= 800);
    end_close(&end);
    server_done();
}

/* ---- keys ---- */

/* Whether a version comes to a client of `endpoint` with `keys` within a moment. */
static bool arrives(const char *endpoint, const char *keys, int64_t ms)
{
    struct end end = {.memory = memory_alloc(BYTES)};
    struct weight_client_config config = {
        .endpoint = endpoint, .layout_hash = LAYOUT, .bytes = BYTES, .keys = keys};
    must(weight_client_open(&end.client, &config));
    int64_t until_ns = clock_now_ns() + ms * CLOCK_NS_PER_MS;
    while (end.state != WEIGHT_FETCH_ARRIVED && clock_now_ns() < until_ns) {
        turn(&end, 0);
        clock_sleep_ms(1);
    }
    bool came = end.state == WEIGHT_FETCH_ARRIVED;
    if (came)
        check(&end, 1);
    end_close(&end);
    return came;
}

static void test_weight_tcp_keys_let_in_members_alone(void **state)
{
    (void)state;
    char folder[64], other[80], bare[256];
    snprintf(folder, sizeof folder, "/tmp/weir-weights-%d", (int)getpid());
    snprintf(other, sizeof other, "%s-other", folder);
    must(keys_new(folder, false));
    must(keys_new(other, false));
    struct weight_server_config config = {
        .endpoint = "tcp://127.0.0.1:*", .layout_hash = LAYOUT, .bytes = BYTES, .keys = folder};
    must(weight_server_open(&server, &config));
    assert_non_null(buffers[0] = memory_alloc(BYTES));
    assert_non_null(buffers[1] = memory_alloc(BYTES));
    offer(1);
    const char *endpoint = weight_server_endpoint(server);
    assert_non_null(strchr(endpoint, '|'));
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(endpoint, "|"), endpoint);
    assert_true(arrives(endpoint, folder, LONG_MS));
    assert_false(arrives(endpoint, other, 500)); /* a key that is not on the list */
    assert_false(arrives(endpoint, "", 500));    /* a key of its own */
    assert_false(arrives(bare, "", 500));        /* none */
    char wrong[320];
    snprintf(wrong, sizeof wrong, "%s|rq:rM>}U?@Lns47E1%%kR.o@n%%FcmmsL/@{H8]yf7", bare);
    assert_false(arrives(wrong, folder, 500)); /* of another server */
    server_done();
    remove_folder(folder);
    remove_folder(other);
}

static void test_weight_tcp_without_keys_stays_on_this_machine(void **state)
{
    (void)state;
    struct weight_server_config config = {
        .endpoint = "tcp://*:*", .layout_hash = LAYOUT, .bytes = BYTES, .keys = ""};
    assert_int_equal(weight_server_open(&server, &config), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "run.keys"));
    struct weight_client *client = NULL;
    struct weight_client_config outside = {
        .endpoint = "tcp://192.0.2.1:7000", .layout_hash = LAYOUT, .bytes = BYTES, .keys = ""};
    assert_int_equal(weight_client_open(&client, &outside), STATUS_INVALID);
    assert_null(client);
}

/* ---- flips: the fetch alone, and a server that is an array ---- */

enum { SMALL = 2044, SMALL_PIECE = 512, SMALL_PIECES = 4, FLIPS = 100000 };

static int flip_count(void)
{
    return (int)test_times(FLIPS, FLIPS / 10);
}

struct small {
    uint8_t source[SMALL], target[SMALL];
    struct weight_tcp_head asked[64];
    uint32_t count;
};

static enum status small_ask(void *self, const struct weight_tcp_head *head)
{
    struct small *small = self;
    assert_true(small->count < 64);
    small->asked[small->count++] = *head;
    return STATUS_OK;
}

static enum status small_put(void *self, size_t offset, const void *piece, size_t size,
                             uint64_t *digest)
{
    struct small *small = self;
    memcpy(small->target + offset, piece, size);
    *digest = weight_digest(small->target + offset, size, offset / 8);
    return STATUS_OK;
}

/* Answers the first question; `flip`: bit of head and piece that is wrong, SIZE_MAX: none. */
static void small_answer(struct small *small, struct weight_fetch *fetch, int64_t now_ns,
                         uint64_t digest, size_t flip)
{
    struct weight_tcp_head head = small->asked[0];
    uint8_t piece[SMALL_PIECE];
    memmove(small->asked, small->asked + 1, --small->count * sizeof head);
    size_t size = 0;
    if (head.kind == WEIGHT_TCP_LOOK) {
        if (head.digest == digest)
            return;
        head.kind = WEIGHT_TCP_NEWEST;
        head.version = 9;
        head.digest = digest;
    } else {
        head.kind = WEIGHT_TCP_PIECE;
        size = head.length;
        memcpy(piece, small->source + head.offset, size);
    }
    weight_tcp_seal(&head, size > 0 ? piece : NULL, size);
    if (flip != SIZE_MAX && size > 0) {
        flip %= 8 * (sizeof head + size);
        if (flip < 8 * sizeof head)
            ((uint8_t *)&head)[flip / 8] ^= (uint8_t)(1 << flip % 8);
        else
            piece[flip / 8 - sizeof head] ^= (uint8_t)(1 << flip % 8);
    }
    must(weight_fetch_take(fetch, now_ns, &head, sizeof head, size > 0 ? piece : NULL, size));
}

struct flips {
    uint64_t damaged, digest_wrong, asked_again, served_wrong, unnoticed;
};

/* One flip in one piece of each fetch; the fetch goes on until the version is there. */
static struct flips run_flips(bool no_crc)
{
    static struct small small;
    struct flips flips = {0};
    uint64_t x = seed() * 7919 + no_crc;
    fill(small.source, SMALL, 3);
    uint64_t digest = weight_digest(small.source, SMALL, 0);
    struct weight_fetch fetch;
    struct weight_fetch_config config = {.layout_hash = LAYOUT,
                                         .bytes = SMALL,
                                         .piece_bytes = SMALL_PIECE,
                                         .credits = 3,
                                         .timeout_ns = 1000,
                                         .look_ns = 100000,
                                         .retry_ns = 10,
                                         .no_crc = no_crc,
                                         .ask = small_ask,
                                         .put = small_put,
                                         .self = &small};
    weight_fetch_init(&fetch, &config);
    int64_t now_ns = 1;
    for (int trial = 0; trial < flip_count(); trial++) {
        struct weight_fetch_stats before = fetch.stats;
        memset(small.target, 0, SMALL);
        uint64_t flip_at = mix(x++) % SMALL_PIECES, pieces = 0;
        size_t bit = (size_t)(mix(x++) >> 1);
        small.count = 0;
        while (fetch.state != WEIGHT_FETCH_ARRIVED) {
            now_ns += 400;
            if (fetch.state == WEIGHT_FETCH_IDLE)
                weight_fetch_begin(&fetch, now_ns);
            must(weight_fetch_turn(&fetch, now_ns));
            while (small.count > 0) {
                bool is_piece = small.asked[0].kind == WEIGHT_TCP_ASK;
                bool now = is_piece && pieces++ == flip_at;
                small_answer(&small, &fetch, now_ns, digest, now ? bit : SIZE_MAX);
            }
        }
        bool noticed = fetch.stats.damaged + fetch.stats.digest_wrong + fetch.stats.asked_again >
                       before.damaged + before.digest_wrong + before.asked_again;
        flips.unnoticed += !noticed;
        flips.served_wrong += memcmp(small.source, small.target, SMALL) != 0;
        weight_fetch_done(&fetch);
    }
    flips.damaged = fetch.stats.damaged;
    flips.digest_wrong = fetch.stats.digest_wrong;
    flips.asked_again = fetch.stats.asked_again;
    print_message("%d one-bit flips, CRC %s: %lu damaged pieces, %lu wrong digests, %lu asked "
                  "again; %lu without a trace, %lu served\n",
                  flip_count(), no_crc ? "off" : "on", (unsigned long)flips.damaged,
                  (unsigned long)flips.digest_wrong, (unsigned long)flips.asked_again,
                  (unsigned long)flips.unnoticed, (unsigned long)flips.served_wrong);
    return flips;
}

static void test_weight_tcp_flips_are_caught_by_the_crc(void **state)
{
    (void)state;
    struct flips flips = run_flips(false);
    assert_int_equal(flips.damaged, flip_count());
    assert_int_equal(flips.served_wrong, 0);
    assert_int_equal(flips.unnoticed, 0);
}

/* Without it a flip of magic, reserved, branch or crc of a head has no effect: these say nothing about a piece. */
static void test_weight_tcp_flips_are_caught_by_the_digest_alone(void **state)
{
    (void)state;
    struct flips flips = run_flips(true);
    double idle_bits = 8 * (4 + 4 + 4 + 4), all = 8 * (64 + 512);
    assert_int_equal(flips.served_wrong, 0);
    assert_true((double)flips.unnoticed < 1.2 * flip_count() * idle_bits / all);
    assert_true((double)flips.digest_wrong > 0.85 * flip_count());
}

int main(void)
{
    print_message("TEST_SEED=%lu\n", (unsigned long)seed());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weight_tcp_version_arrives_bit_for_bit),
        cmocka_unit_test(test_weight_tcp_two_clients_get_what_they_lack),
        cmocka_unit_test(test_weight_tcp_overwritten_version_is_gone_and_the_newest_comes),
        cmocka_unit_test(test_weight_tcp_fetch_goes_on_after_a_cut_connection),
        cmocka_unit_test(test_weight_tcp_wrong_digest_never_arrives),
        cmocka_unit_test(test_weight_tcp_another_model_is_refused_with_both_layouts),
        cmocka_unit_test(test_weight_tcp_garbage_is_counted_and_survived),
        cmocka_unit_test(test_weight_tcp_keys_let_in_members_alone),
        cmocka_unit_test(test_weight_tcp_without_keys_stays_on_this_machine),
        cmocka_unit_test(test_weight_tcp_flips_are_caught_by_the_crc),
        cmocka_unit_test(test_weight_tcp_flips_are_caught_by_the_digest_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
