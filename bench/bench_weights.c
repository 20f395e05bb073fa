/* links: transport core */
/* Weights through memory of the host: JSON lines with GB/s, the share of a plain copy, and what the digest costs.
 *
 *     bench_weights copy 1.0     memcpy, digest and CRC32C of 1 GB, each alone
 *     bench_weights shm 1.0      the channel's file: copy with the digest fused in, and the copy alone
 *     bench_weights tcp 1.0      a server and a client over loopback, with digest and without
 *
 * Napkin: a copy reads and writes, 10 GB/s or so on one core; the digest has two 64-bit products for 8 bytes, eight words
 * at a time with AVX-512; TCP over loopback copies each byte four times (server, socket in, socket out, client). */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/must.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "transport/weight_channel.h"
#include "transport/weight_tcp_client.h"
#include "transport/weight_tcp_server.h"

enum { ROUNDS = 7, LAYOUT = 1, PIECES_MAX = 1 << 20 };

static double median(double *ms)
{
    qsort(ms, ROUNDS, sizeof *ms, compare);
    return ms[ROUNDS / 2];
}

static uint8_t *make(size_t bytes, uint64_t seed)
{
    uint8_t *memory = memory_alloc(bytes);
    if (memory == NULL)
        must(FAIL(STATUS_NO_MEMORY, "%zu bytes", bytes), "bench");
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        memcpy(memory + i, &seed, sizeof seed);
    }
    return memory;
}

static double copy_ms(uint8_t *to, const uint8_t *from, size_t bytes)
{
    double ms[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        int64_t begin_ns = clock_now_ns();
        memcpy(to, from, bytes);
        ms[i] = since_ms(begin_ns);
    }
    return median(ms);
}

static void bench_copy(size_t bytes)
{
    uint8_t *from = make(bytes, 1), *to = make(bytes, 2);
    double digest[ROUNDS], crc[ROUNDS];
    uint64_t sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t begin_ns = clock_now_ns();
        sum += weight_digest(from, bytes, 0);
        digest[i] = since_ms(begin_ns);
        begin_ns = clock_now_ns();
        sum += crc32c(0, from, bytes);
        crc[i] = since_ms(begin_ns);
    }
    double gb = (double)bytes * 1e-6;
    printf("{\"bench\":\"weights\",\"what\":\"memcpy, digest, crc\",\"bytes\":%zu,\"memcpy_gb_s\":"
           "%.1f,\"digest_gb_s\":%.1f,\"crc_gb_s\":%.1f,\"sum\":%d}\n",
           bytes, gb / copy_ms(to, from, bytes), gb / median(digest), gb / median(crc),
           (int)(sum & 1));
    memory_free(from);
    memory_free(to);
}

static void bench_shm(size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/bench-weights-%d", (int)getpid());
    uint8_t *from = make(bytes, 3), *to = make(bytes, 4);
    uint64_t digest = weight_digest(from, bytes, 0);
    struct weight_sender *sender = NULL;
    struct weight_receiver *receiver = NULL;
    must(weight_sender_open(&sender, path, LAYOUT, bytes), "sender");
    must(weight_receiver_open(&receiver, path, LAYOUT, bytes), "receiver");
    uint8_t *place = weight_sender_begin(sender, 1);
    memcpy(place, from, bytes);
    weight_sender_commit(sender, 1, 0, digest);
    double ms[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        int64_t begin_ns = clock_now_ns();
        must(weight_receiver_copy(receiver, 1, digest, to), "copy");
        ms[i] = since_ms(begin_ns);
    }
    double whole = median(ms), bare = copy_ms(to, place, bytes);
    printf("{\"bench\":\"weights\",\"what\":\"shm\",\"bytes\":%zu,\"gb_s\":%.1f,"
           "\"share_of_memcpy\":%.3f,\"broadcast_ms\":%.2f,\"digest_ms\":%.2f,\"ratio\":%.4f}\n",
           bytes, (double)bytes * 1e-6 / whole, bare / whole, whole, whole - bare,
           (whole - bare) / whole);
    weight_receiver_close(&receiver);
    weight_sender_close(&sender);
    memory_free(from);
    memory_free(to);
}

/* ---- tcp ---- */

static uint64_t known[PIECES_MAX]; /* digests of the pieces, for the round in which none is taken */
static bool take_digest;

static enum status write_host(void *context, void *memory, const void *host, size_t bytes)
{
    (void)context;
    memcpy(memory, host, bytes);
    return STATUS_OK;
}

static enum status digest_host(void *context, const void *memory, size_t bytes, uint64_t first_word,
                               uint64_t *digest)
{
    (void)context, (void)memory, (void)bytes;
    *digest = known[first_word / (WEIGHT_TCP_PIECE_BYTES / 8)];
    return STATUS_OK;
}

static void wait_for(const struct weight_client *client)
{
    struct pollfd fd = {.fd = weight_client_fd(client), .events = POLLIN};
    (void)poll(&fd, 1, 1);
}

static const struct weight_device counted_device = {.write = write_host, .digest = digest_host};

static double fetch_ms(struct weight_server *server, const uint8_t *from, uint8_t *to, size_t bytes,
                       uint64_t digest)
{
    struct weight_client *client = NULL;
    struct weight_client_config config = {.endpoint = weight_server_endpoint(server),
                                          .layout_hash = LAYOUT,
                                          .bytes = bytes,
                                          .device = take_digest ? NULL : &counted_device,
                                          .keys = ""};
    must(weight_client_open(&client, &config), "client");
    double ms[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        enum weight_fetch_state state = WEIGHT_FETCH_IDLE;
        struct weight_fetch_version version;
        weight_server_offer(server, 1, 0, digest, from);
        while (!weight_client_newest(client, &version)) {
            must(weight_client_turn(client, &state, &version), "turn");
            wait_for(client);
        }
        int64_t begin_ns = clock_now_ns();
        if (!weight_client_fetch(client, to))
            must(FAIL(STATUS_INVALID, "refused"), "fetch");
        for (;;) {
            must(weight_client_turn(client, &state, &version), "turn");
            if (state == WEIGHT_FETCH_ARRIVED)
                break;
            wait_for(client);
        }
        ms[i] = since_ms(begin_ns);
        weight_client_done(client);
    }
    weight_client_close(&client);
    return median(ms);
}

static void bench_tcp(size_t bytes)
{
    uint8_t *from = make(bytes, 5), *to = make(bytes, 6);
    uint64_t digest = 0;
    for (size_t at = 0, i = 0; at < bytes; at += WEIGHT_TCP_PIECE_BYTES, i++) {
        size_t size = bytes - at < WEIGHT_TCP_PIECE_BYTES ? bytes - at : WEIGHT_TCP_PIECE_BYTES;
        known[i] = weight_digest(from + at, size, at / 8);
        digest += known[i];
    }
    struct weight_server *server = NULL;
    struct weight_server_config config = {
        .endpoint = "tcp://127.0.0.1:*", .layout_hash = LAYOUT, .bytes = bytes, .keys = ""};
    must(weight_server_open(&server, &config), "server");
    double bare = fetch_ms(server, from, to, bytes, digest);
    take_digest = true;
    double whole = fetch_ms(server, from, to, bytes, digest);
    double memcpy_ms = copy_ms(to, from, bytes);
    printf("{\"bench\":\"weights\",\"what\":\"tcp over loopback\",\"bytes\":%zu,\"gb_s\":%.2f,"
           "\"share_of_memcpy\":%.3f,\"broadcast_ms\":%.2f,\"without_digest_ms\":%.2f,"
           "\"digest_ms\":%.2f,\"ratio\":%.4f}\n",
           bytes, (double)bytes * 1e-6 / whole, memcpy_ms / whole, whole, bare, whole - bare,
           (whole - bare) / whole);
    weight_server_close(&server);
    memory_free(from);
    memory_free(to);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    size_t bytes = (size_t)((argc > 2 ? strtod(argv[2], NULL) : 0.25) * 1e9) / 8 * 8;
    bool all = strcmp(what, "all") == 0;
    if (all || strcmp(what, "copy") == 0)
        bench_copy(bytes);
    if (all || strcmp(what, "shm") == 0)
        bench_shm(bytes);
    if (all || strcmp(what, "tcp") == 0)
        bench_tcp(bytes);
    return 0;
}
