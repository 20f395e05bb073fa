/* links: transport proto core Threads::Threads */
/* Wire speed, as JSON lines: pack and unpack of a frame, and frames through a link over ipc, tcp and tcp with CURVE: tokens/s
 * at full speed, and the CPU time of both ends for 100,000 tokens at 100,000 tokens/s (limit: 1 % of a core).
 * A frame is what a busy actor sends: 32 segments of 64 tokens = 2,048 tokens, 18 kB.
 * Napkin: id + logprob are 8 B/token, so 1 M tokens/s are 9 MB/s; loopback carries 700 MB/s at 16 KiB,
 * CRC32C runs at 6.6 GB/s: the wire is no bottleneck as long as a frame costs less than about 100 us. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/file.h"
#include "transport/keys.h"
#include "transport/link.h"

enum {
    SEGMENTS = 32,
    TOKENS = 64,
    ROUNDS = 2000,
    REPEATS = 7,
    FRAMES = 5000,
    PACED_FRAMES = 100, /* 2 s of 100,000 tokens/s */
    WINDOW = 64
};

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

/* ---- links: the store is a process of its own, so that each side's CPU time can be told ---- */

struct wire {
    const char *name, *endpoint;
    bool keys;
};

/* The store's side: welcomes, acknowledges each frame; ends with its peer. */
static void serve(struct hub *hub)
{
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
}

/* A process that serves; *endpoint: where it listens. */
static pid_t fork_store(const struct wire *wire, const char *keys, char endpoint[256])
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct hub *hub = NULL;
        CHECK(hub_open(&hub, wire->endpoint, keys) == STATUS_OK);
        CHECK(write(ends[1], hub_endpoint(hub), strlen(hub_endpoint(hub)) + 1) > 0);
        serve(hub);
        hub_close(&hub);
        _exit(0);
    }
    close(ends[1]);
    CHECK(read(ends[0], endpoint, 255) > 0);
    endpoint[255] = '\0';
    close(ends[0]);
    return child;
}

static double cpu_seconds(int who)
{
    struct rusage usage;
    CHECK(getrusage(who, &usage) == 0);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
}

/* `count` frames, at most WINDOW unacknowledged; one each pause_ns (0: as fast as they are taken). */
static int64_t send_frames(struct link *link, struct arena *arena, struct message *frame,
                           uint64_t count, int64_t pause_ns)
{
    static uint64_t frame_id; /* counts up within an incarnation */
    struct message got = {.type = MESSAGE_NONE};
    uint64_t first = frame_id, last = frame_id + count, acknowledged = frame_id;
    int64_t began = clock_now_ns();
    while (acknowledged < last) {
        int64_t now_ns = clock_now_ns(), due_ns = began + (int64_t)(frame_id - first) * pause_ns;
        while (frame_id < last && frame_id - acknowledged < WINDOW && now_ns >= due_ns) {
            frame->segment_frame.frame_id = frame_id + 1;
            if (link_send(link, frame) != STATUS_OK)
                break;
            frame_id++;
            due_ns += pause_ns;
        }
        arena_reset(arena);
        int64_t wait_ms =
            frame_id == last || due_ns <= now_ns ? 1000 : (due_ns - now_ns) / CLOCK_NS_PER_MS + 1;
        CHECK(link_poll(link, wait_ms, -1, arena, &got) == STATUS_OK);
        if (got.type == MESSAGE_frame_ack)
            acknowledged = got.frame_ack.frame_id;
    }
    return clock_now_ns() - began;
}

/* At 100,000 tokens/s, as a fast actor makes them: what of a core both ends of its wire take. The limit is 1 % each. */
static void print_cost(const struct wire *wire, double actor_s, double store_s, double seconds)
{
    double tokens = (double)PACED_FRAMES * SEGMENTS * TOKENS;
    double actor = actor_s / tokens * 1e5, store = store_s / tokens * 1e5;
    printf("{\"bench\":\"wire_cost_%s\",\"tokens_per_s\":%.0f,\"actor_cpu_s_per_100k\":%.5f,"
           "\"store_cpu_s_per_100k\":%.5f,\"limit_cpu_s_per_100k\":0.01,\"within\":%s}\n",
           wire->name, tokens / seconds, actor, store, actor <= 0.01 ? "true" : "false");
}

/* Three times at full speed, or paced; of the actor's CPU time the least, as other work on the machine only adds. Each phase has a store of its own, whose CPU time is known when it is over. */
static void bench_link(const struct wire *wire, const char *keys, struct message *frame, bool paced)
{
    char endpoint[256];
    struct link *link = NULL;
    struct arena *arena = NULL;
    struct hello hello = {.run = "bench", .role = ROLE_ACTOR};
    struct message got = {.type = MESSAGE_NONE};
    double children_s = cpu_seconds(RUSAGE_CHILDREN);
    pid_t child = fork_store(wire, keys, endpoint);
    CHECK(arena_create(&arena, 1 << 20) == STATUS_OK);
    CHECK(link_open(&link, endpoint, keys, &hello) == STATUS_OK);
    while (!link_welcomed(link)) {
        arena_reset(arena);
        CHECK(link_poll(link, 1000, -1, arena, &got) == STATUS_OK);
    }
    int64_t took[3] = {0};
    double self_s = 0;
    const int64_t pause_ns = (int64_t)(SEGMENTS * TOKENS) * CLOCK_NS_PER_S / 100000;
    for (int i = 0; i < 3; i++) {
        double before_s = cpu_seconds(RUSAGE_SELF);
        took[i] =
            send_frames(link, arena, frame, paced ? PACED_FRAMES : FRAMES, paced ? pause_ns : 0);
        double own_s = cpu_seconds(RUSAGE_SELF) - before_s;
        self_s = i == 0 || own_s < self_s ? own_s : self_s;
    }
    link_close(&link, "done");
    CHECK(waitpid(child, NULL, 0) == child);
    children_s = cpu_seconds(RUSAGE_CHILDREN) - children_s;
    arena_destroy(&arena);
    if (paced) {
        print_cost(wire, self_s, children_s / 3, (double)took[0] / (double)CLOCK_NS_PER_S);
        return;
    }
    qsort(took, 3, sizeof took[0], by_value);
    double seconds = (double)took[1] / (double)CLOCK_NS_PER_S;
    printf("{\"bench\":\"wire_link_%s\",\"segments\":%d,\"tokens\":%d,\"window\":%d,\"n\":3,"
           "\"frames_per_s\":%.0f,\"tokens_per_s\":%.0f,\"actor_cpu_s_per_100k\":%.5f,"
           "\"store_cpu_s_per_100k\":%.5f}\n",
           wire->name, SEGMENTS, SEGMENTS * TOKENS, WINDOW, FRAMES / seconds,
           FRAMES / seconds * SEGMENTS * TOKENS, self_s / (1.0 * FRAMES * SEGMENTS * TOKENS) * 1e5,
           children_s / (3.0 * FRAMES * SEGMENTS * TOKENS) * 1e5);
}

int main(void)
{
    char ipc[64], keys[64];
    snprintf(ipc, sizeof ipc, "ipc:///tmp/weir-bench-%d.sock", (int)getpid());
    snprintf(keys, sizeof keys, "/tmp/weir-bench-%d.keys", (int)getpid());
    CHECK(keys_new(keys, true) == STATUS_OK);
    const struct wire wires[] = {{"ipc", ipc, false},
                                 {"tcp", "tcp://127.0.0.1:0", false},
                                 {"tcp_curve", "tcp://127.0.0.1:0", true}};
    struct message frame = make_frame();
    bench_codec(&frame);
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++) {
        bench_link(&wires[i], wires[i].keys ? keys : NULL, &frame, false);
        bench_link(&wires[i], wires[i].keys ? keys : NULL, &frame, true);
    }
    CHECK(file_remove_tree(keys) == STATUS_OK);
    return 0;
}
