/* links: transport proto core Threads::Threads */
/* Wire speed, as JSON lines: pack and unpack of a frame, and frames through a link over ipc.
 * A frame is what a busy actor sends: 32 segments of 64 tokens = 2,048 tokens, 18 kB.
 * Napkin: id + logprob are 8 B/token, so 1 M tokens/s are 9 MB/s; loopback carries 700 MB/s at 16 KiB,
 * CRC32C runs at 6.6 GB/s: the wire is no bottleneck as long as a frame costs less than about 100 us. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "transport/link.h"

enum { SEGMENTS = 32, TOKENS = 64, ROUNDS = 2000, REPEATS = 7, FRAMES = 5000, WINDOW = 64 };

static uint32_t ids[SEGMENTS][TOKENS];
static float logprobs[SEGMENTS][TOKENS];
static struct segment segments[SEGMENTS];

static struct message make_frame(void)
{
    for (int s = 0; s < SEGMENTS; s++) {
        for (int t = 0; t < TOKENS; t++) {
            ids[s][t] = (uint32_t)(s * 7919 + t * 104729) % 200000;
            logprobs[s][t] = -0.01f * (float)(s + t);
        }
        segments[s] = (struct segment){.lease_id = 1000u + (uint64_t)s,
                                       .group_id = 7,
                                       .sample = (uint32_t)s,
                                       .first_position = 4096,
                                       .count = TOKENS,
                                       .ids = ids[s],
                                       .logprobs = logprobs[s],
                                       .version = 12,
                                       .digest = 0x123456789abcdef0,
                                       .kv_version_min = 11,
                                       .rebuilt_at = UINT32_MAX,
                                       .numerics_id = 0xfedcba9876543210};
    }
    return (struct message){.type = MESSAGE_segment_frame,
                            .segment_frame = {1, 2, SEGMENTS, segments}};
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void bench_codec(const struct message *frame)
{
    struct buffer bytes;
    struct arena *arena = NULL;
    struct message got;
    int64_t pack_ns[REPEATS], unpack_ns[REPEATS];
    buffer_init(&bytes, 0);
    CHECK(arena_create(&arena, 16 << 20) == STATUS_OK);
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        int64_t began = clock_now_ns();
        for (int i = 0; i < ROUNDS; i++) {
            buffer_clear(&bytes);
            CHECK(message_pack(frame, &bytes) == STATUS_OK);
        }
        int64_t middle = clock_now_ns();
        for (int i = 0; i < ROUNDS; i++) {
            arena_reset(arena);
            CHECK(message_unpack(&got, arena, bytes.bytes, bytes.size) == STATUS_OK);
        }
        pack_ns[repeat] = (middle - began) / ROUNDS;
        unpack_ns[repeat] = (clock_now_ns() - middle) / ROUNDS;
    }
    qsort(pack_ns, REPEATS, sizeof pack_ns[0], by_value);
    qsort(unpack_ns, REPEATS, sizeof unpack_ns[0], by_value);
    int64_t pack = pack_ns[REPEATS / 2], unpack = unpack_ns[REPEATS / 2];
    const int tokens = SEGMENTS * TOKENS;
    printf("{\"bench\":\"wire_codec\",\"segments\":%d,\"tokens\":%d,\"bytes\":%zu,"
           "\"bytes_per_token\":%.2f,\"n\":%d,\"pack_ns\":%" PRId64 ",\"unpack_ns\":%" PRId64
           ",\"pack_gb_s\":%.2f,\"unpack_gb_s\":%.2f,\"pack_ns_per_token\":%.2f,"
           "\"unpack_ns_per_token\":%.2f}\n",
           SEGMENTS, tokens, bytes.size, (double)bytes.size / tokens, REPEATS, pack, unpack,
           (double)bytes.size / (double)pack, (double)bytes.size / (double)unpack,
           (double)pack / tokens, (double)unpack / tokens);
    buffer_free(&bytes);
    arena_destroy(&arena);
}

/* The store's side: welcomes, acknowledges each frame. */
static void *serve(void *self)
{
    struct hub *hub = self;
    struct arena *arena = NULL;
    CHECK(arena_create(&arena, 16 << 20) == STATUS_OK);
    for (;;) {
        struct hub_peer peer;
        struct message got, reply = {.type = MESSAGE_NONE};
        arena_reset(arena);
        CHECK(hub_poll(hub, 1000, -1, arena, &peer, &got) == STATUS_OK);
        if (got.type == MESSAGE_bye)
            break;
        if (got.type == MESSAGE_hello)
            reply = (struct message){.type = MESSAGE_welcome, .welcome = {.heartbeat_ms = 1000}};
        if (got.type == MESSAGE_segment_frame)
            reply = (struct message){.type = MESSAGE_frame_ack,
                                     .frame_ack = {.frame_id = got.segment_frame.frame_id}};
        if (reply.type != MESSAGE_NONE)
            CHECK(hub_send(hub, peer.id, &reply) == STATUS_OK);
    }
    arena_destroy(&arena);
    return NULL;
}

/* FRAMES frames, at most WINDOW unacknowledged. */
static int64_t send_frames(struct link *link, struct arena *arena, struct message *frame)
{
    struct message got = {.type = MESSAGE_NONE};
    uint64_t sent = 0, acknowledged = 0;
    int64_t began = clock_now_ns();
    while (acknowledged < FRAMES) {
        while (sent < FRAMES && sent - acknowledged < WINDOW) {
            frame->segment_frame.frame_id = sent + 1;
            if (link_send(link, frame) != STATUS_OK)
                break;
            sent++;
        }
        arena_reset(arena);
        CHECK(link_poll(link, 1000, -1, arena, &got) == STATUS_OK);
        if (got.type == MESSAGE_frame_ack)
            acknowledged = got.frame_ack.frame_id;
    }
    return clock_now_ns() - began;
}

static void bench_link(struct message *frame)
{
    char endpoint[64];
    struct hub *hub = NULL;
    struct link *link = NULL;
    struct arena *arena = NULL;
    struct hello hello = {.run = "bench", .role = ROLE_ACTOR};
    struct message got = {.type = MESSAGE_NONE};
    pthread_t thread;
    snprintf(endpoint, sizeof endpoint, "ipc:///tmp/weir-bench-%d.sock", (int)getpid());
    CHECK(arena_create(&arena, 1 << 20) == STATUS_OK);
    CHECK(hub_open(&hub, endpoint, NULL) == STATUS_OK);
    CHECK(pthread_create(&thread, NULL, serve, hub) == 0);
    CHECK(link_open(&link, endpoint, NULL, &hello) == STATUS_OK);
    while (!link_welcomed(link)) {
        arena_reset(arena);
        CHECK(link_poll(link, 1000, -1, arena, &got) == STATUS_OK);
    }
    int64_t took[3];
    for (int i = 0; i < 3; i++)
        took[i] = send_frames(link, arena, frame);
    qsort(took, 3, sizeof took[0], by_value);
    double seconds = (double)took[1] / (double)CLOCK_NS_PER_S;
    printf("{\"bench\":\"wire_link_ipc\",\"segments\":%d,\"tokens\":%d,\"window\":%d,\"n\":3,"
           "\"frames_per_s\":%.0f,\"tokens_per_s\":%.0f}\n",
           SEGMENTS, SEGMENTS * TOKENS, WINDOW, FRAMES / seconds,
           FRAMES / seconds * SEGMENTS * TOKENS);
    link_close(&link, "done");
    pthread_join(thread, NULL);
    hub_close(&hub);
    arena_destroy(&arena);
}

int main(void)
{
    struct message frame = make_frame();
    bench_codec(&frame);
    bench_link(&frame);
    return 0;
}
