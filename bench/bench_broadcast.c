/* links: transport kernels core */
/* Weights from one process to another on GPUs: JSON lines with GB/s and the share of what cudaMemcpyPeer moves.
 *
 *     bench_broadcast ceiling 3.1          copies of 3.1 GB from GPU 0 to GPU 1 (with one GPU: on it)
 *     bench_broadcast ipc 3.1              learner and actor on one GPU: versions through the weight channel
 *     bench_broadcast peer 3.1             the same, the actor on GPU 1
 *     bench_broadcast nccl 3.1 [piece_mb]  learner on GPU 0, actor on GPU 1: the broadcast with its whole protocol
 *     bench_broadcast digest 3.1 [piece_mb]  as nccl, with the real digest: the part of it that no transfer hides
 *     bench_broadcast kill 3.1             as nccl; the actor is killed in the middle of a version and comes again
 *     bench_broadcast alone 3.1            a communicator of one rank: the library loads and does as it is told
 *
 * Napkin: two ranks are one stream over NVLink, 450 GB/s on paper and 371 to 377 measured by others on NVLink 4; on one
 * GPU a copy reads and writes, so half of the memory's bandwidth. WEIR_NCCL names another libnccl.so.2. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/cuda_runtime_calls.h"
#include "bench/must.h"
#include "core/clock.h"
#include "core/memory.h"
#include "kernels/ops.h"
#include "transport/weight_channel.h"
#include "transport/weight_member.h"
#include "transport/weight_root.h"

enum { VERSIONS = 12, LIMIT_S = 60, TIMEOUT_MS = 2000, LAYOUT = 1 };

/* ---- figures ---- */

static void print_line(const char *what, size_t bytes, double *ms, size_t count, size_t piece_mb)
{
    qsort(ms, count, sizeof *ms, compare);
    printf("{\"bench\":\"broadcast\",\"what\":\"%s\",\"bytes\":%zu,\"piece_mb\":%zu,\"n\":%zu,"
           "\"ms_median\":%.3f,\"ms_min\":%.3f,\"ms_max\":%.3f,\"gb_s\":%.1f}\n",
           what, bytes, piece_mb, count, ms[count / 2], ms[0], ms[count - 1],
           (double)bytes / ms[count / 2] * 1e-6);
    fflush(stdout);
}

static int devices(void)
{
    int count = 0;
    CUDA(cudaGetDeviceCount(&count));
    return count;
}

static void ceiling(size_t bytes)
{
    double ms[VERSIONS];
    cuda_start(0);
    int to = devices() > 1, can = 0;
    void *source = buffer(bytes, 1), *target;
    if (to == 1) {
        CUDA(cudaDeviceCanAccessPeer(&can, 0, 1));
        if (can)
            CUDA(cudaDeviceEnablePeerAccess(1, 0));
        CUDA(cudaSetDevice(1));
    }
    CUDA(cudaMalloc(&target, bytes));
    CUDA(cudaSetDevice(0));
    for (int i = 0; i < VERSIONS; i++) {
        int64_t begin_ns = clock_now_ns();
        CUDA(cudaMemcpyPeerAsync(target, to, source, 0, bytes, main_stream));
        CUDA(cudaStreamSynchronize(main_stream));
        ms[i] = since_ms(begin_ns);
    }
    print_line(to == 0 ? "ceiling: copy on one GPU"
               : can   ? "ceiling: cudaMemcpyPeer 0 to 1"
                       : "ceiling: cudaMemcpyPeer 0 to 1, no peer access",
               bytes, ms, VERSIONS, 0);
}

/* ---- two processes and what they say to each other ---- */

struct letter {
    struct weight_control control;
    uint32_t id[WIRE_WEIGHT_ID_WORDS];
};

static enum status send_letter(void *self, const struct weight_control *control)
{
    struct letter letter = {.control = *control};
    if (control->id_count > 0)
        memcpy(letter.id, control->id, sizeof letter.id);
    letter.control.incarnation =
        control->incarnation != 0 ? control->incarnation : (uint64_t)getpid();
    return send(*(int *)self, &letter, sizeof letter, MSG_DONTWAIT | MSG_NOSIGNAL) > 0
               ? STATUS_OK
               : STATUS_AGAIN;
}

static bool receive_letter(int fd, struct letter *letter)
{
    if (recv(fd, letter, sizeof *letter, MSG_DONTWAIT) != sizeof *letter)
        return false;
    letter->control.id = letter->id;
    return true;
}

static struct weight_group_config group_config(size_t piece_mb)
{
    const char *library = getenv("WEIR_NCCL");
    return (struct weight_group_config){.device = &device,
                                        .nccl_library = library != NULL ? library : "",
                                        .piece_bytes = piece_mb << 20};
}

/* The real device instead of the one of this bench, whose digest is a sample. */
static void use_op_table(int gpu)
{
    struct op_table *ops = NULL;
    char name[16];
    snprintf(name, sizeof name, "cuda:%d", gpu);
    must(op_table_create(&ops, name, 1), "op table");
    device = (struct weight_device)WEIGHT_DEVICE(ops);
}

/* What the digest cost beyond the transfer, a line for each VERSIONS versions. */
static void print_digest(double transfer_ms, const struct weight_arrival *arrival)
{
    static double digest[VERSIONS], whole[VERSIONS];
    static size_t count, seen;
    if (seen++ == 0)
        return; /* connecting */
    digest[count] = arrival->digest_ms;
    whole[count++] = transfer_ms;
    if (count < VERSIONS)
        return;
    qsort(digest, count, sizeof *digest, compare);
    qsort(whole, count, sizeof *whole, compare);
    printf("{\"bench\":\"broadcast\",\"what\":\"digest beside the broadcast\",\"digest_ms\":%.4f,"
           "\"broadcast_ms\":%.3f,\"ratio\":%.4f,\"limit\":0.01}\n",
           digest[count / 2], whole[count / 2], digest[count / 2] / whole[count / 2]);
    fflush(stdout);
    count = 0;
}

/* An actor: takes versions until it is killed. */
static void run_member(int gpu, size_t bytes, size_t piece_mb, int fd)
{
    cuda_start(gpu);
    bool real = getenv("BENCH_REAL_DIGEST") != NULL;
    if (real)
        use_op_table(gpu);
    int64_t begin_ns = 0;
    void *memory = buffer(bytes, 255);
    struct weight_member *member = NULL;
    struct weight_member_config config = {.group = group_config(piece_mb),
                                          .join_timeout_ms = LIMIT_S * 1000,
                                          .timeout_ms = TIMEOUT_MS,
                                          .bytes = bytes,
                                          .send = send_letter,
                                          .self = &fd};
    must(weight_member_open(&member, &config), "member");
    for (;;) {
        struct letter letter;
        bool receiving = false, arrived = false;
        struct weight_arrival arrival;
        while (receive_letter(fd, &letter))
            if (letter.control.incarnation == (uint64_t)getpid())
                weight_member_take(member, &letter.control);
        must(weight_member_turn(member, memory, &receiving, &arrived, &arrival), "member");
        if (!receiving || begin_ns == 0)
            begin_ns = clock_now_ns();
        if (!arrived)
            continue;
        if (real) {
            print_digest(since_ms(begin_ns), &arrival);
            weight_member_answer(member, arrival.own == arrival.digest);
            if (arrival.own != arrival.digest)
                fprintf(stderr, "wrong bytes\n");
            continue;
        }
        uint64_t digest = 0;
        enum status status = device_digest(NULL, memory, bytes, 0, &digest);
        weight_member_answer(member, status == STATUS_OK && digest == arrival.digest);
        if (digest != arrival.digest)
            fprintf(stderr, "wrong bytes: %s\n", status_last_error());
    }
}

/* A program of its own: a process that has used CUDA cannot fork one that does. */
static pid_t start_member(int gpu, size_t bytes, size_t piece_mb, int fd)
{
    char words[4][32];
    snprintf(words[0], sizeof words[0], "%d", gpu);
    snprintf(words[1], sizeof words[1], "%zu", bytes);
    snprintf(words[2], sizeof words[2], "%zu", piece_mb);
    snprintf(words[3], sizeof words[3], "%d", fd);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "bench_broadcast", "member", words[0], words[1], words[2], words[3],
              (char *)NULL);
        _exit(127);
    }
    return pid;
}

struct learner {
    struct weight_root *root;
    struct weight_root_stats stats;
    int fd;
};

static void turn(struct learner *learner)
{
    struct letter letter;
    while (receive_letter(learner->fd, &letter))
        weight_root_take(learner->root, &letter.control);
    must(weight_root_turn(learner->root), "root");
    weight_root_read(learner->root, &learner->stats);
}

static void offer(struct learner *learner, void *memory, size_t bytes, uint64_t version)
{
    while (!weight_root_release(learner->root, memory))
        turn(learner);
    CUDA(cudaMemsetAsync(memory, (int)version, bytes, main_stream));
    CUDA(cudaStreamSynchronize(main_stream));
    uint64_t digest = version;
    if (getenv("BENCH_REAL_DIGEST") != NULL)
        must(device.digest(device.context, memory, bytes, 0, &digest), "digest");
    weight_root_offer(learner->root, version, 0, digest, memory);
}

static void await_sent(struct learner *learner, uint64_t count)
{
    int64_t end_ns = clock_now_ns() + LIMIT_S * CLOCK_NS_PER_S;
    while (learner->stats.sent < count && clock_now_ns() < end_ns)
        turn(learner);
    if (learner->stats.sent < count)
        must(FAIL(STATUS_TIMEOUT, "version %llu was not confirmed in %d s",
                  (unsigned long long)count, LIMIT_S),
             "broadcast");
}

/* Killed when a version is half way; a new process takes its place. */
static void kill_and_replace(struct learner *learner, void *memory, size_t bytes, pid_t *member,
                             size_t piece_mb, int member_fd)
{
    uint64_t sent = learner->stats.sent, epochs = learner->stats.epochs;
    offer(learner, memory, bytes, 100);
    turn(learner); /* announced, and begun here */
    int64_t begin_ns = clock_now_ns();
    while (since_ms(begin_ns) < 1)
        turn(learner);
    kill(*member, SIGKILL);
    waitpid(*member, NULL, 0);
    int64_t killed_ns = clock_now_ns();
    *member = start_member(1, bytes, piece_mb, member_fd);
    double freed_ms = -1, formed_ms = -1;
    while (learner->stats.sent == sent && since_ms(killed_ns) < LIMIT_S * 1000.0) {
        turn(learner);
        if (freed_ms < 0 && weight_root_release(learner->root, memory))
            freed_ms = since_ms(killed_ns);
        if (freed_ms >= 0 && formed_ms < 0) {
            weight_root_offer(learner->root, 100, 0, 100, memory);
            formed_ms = learner->stats.epochs > epochs ? since_ms(killed_ns) : -1;
        }
    }
    printf("{\"bench\":\"broadcast\",\"what\":\"actor killed in mid-version\",\"timeout_ms\":%d,"
           "\"ms_buffer_free\":%.1f,\"ms_next_epoch\":%.1f,\"ms_confirmed_by_new_process\":%.1f,"
           "\"confirmed\":%d}\n",
           TIMEOUT_MS, freed_ms, formed_ms, since_ms(killed_ns), learner->stats.sent > sent);
}

static void broadcast(size_t bytes, size_t piece_mb, bool killing)
{
    int ends[2];
    double ms[VERSIONS];
    cuda_must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), "socketpair");
    pid_t member = start_member(1, bytes, piece_mb, ends[1]);
    pid_t learner_pid = fork();
    if (learner_pid == 0) {
        struct learner learner = {.fd = ends[0]};
        cuda_start(0);
        if (getenv("BENCH_REAL_DIGEST") != NULL)
            use_op_table(0);
        void *memory[2] = {buffer(bytes, 0), buffer(bytes, 0)};
        struct weight_root_config config = {.group = group_config(piece_mb),
                                            .join_timeout_ms = LIMIT_S * 1000,
                                            .timeout_ms = TIMEOUT_MS,
                                            .epoch = 1,
                                            .bytes = bytes,
                                            .send = send_letter,
                                            .self = &learner.fd};
        must(weight_root_open(&learner.root, &config), "root");
        int64_t begin_ns = clock_now_ns();
        for (uint64_t version = 0; version <= VERSIONS; version++) {
            offer(&learner, memory[version % 2], bytes, version + 1);
            await_sent(&learner, version + 1);
            if (version == 0) /* joining and connecting */
                printf("{\"bench\":\"broadcast\",\"what\":\"first version\",\"ms\":%.1f}\n",
                       since_ms(begin_ns));
            else
                ms[version - 1] = learner.stats.send_ms;
        }
        print_line("nccl: announced to confirmed", bytes, ms, VERSIONS, piece_mb);
        if (killing)
            kill_and_replace(&learner, memory[0], bytes, &member, piece_mb, ends[1]);
        kill(member, SIGKILL);
        fflush(stdout);
        _exit(0);
    }
    int code = 0;
    waitpid(learner_pid, &code, 0);
    kill(member, SIGKILL);
    if (code != 0)
        exit(1);
}

/* ---- device memory of one host ---- */

static void run_receiver(int gpu, size_t bytes, const char *path)
{
    double ms[VERSIONS];
    uint64_t seen = 0;
    size_t count = 0;
    cuda_start(gpu);
    void *memory = buffer(bytes, 255);
    struct weight_receiver *receiver = NULL;
    enum status status;
    while ((status = weight_receiver_open_device(&receiver, path, LAYOUT, bytes, &device)) ==
           STATUS_NOT_FOUND)
        clock_sleep_ms(1);
    must(status, "receiver");
    while (count < VERSIONS) {
        uint64_t digest = 0, version = weight_receiver_version(receiver, NULL, &digest);
        if (version == UINT64_MAX || version == seen)
            continue;
        int64_t begin_ns = clock_now_ns();
        status = weight_receiver_copy(receiver, version, digest, memory);
        if (status == STATUS_AGAIN)
            continue;
        must(status, "copy");
        seen = version;
        ms[count++] = since_ms(begin_ns);
    }
    weight_receiver_close(&receiver);
    print_line(gpu == 0 ? "ipc: one GPU, copy and samples" : "ipc: GPU 0 to 1, copy and samples",
               bytes, ms, VERSIONS, 0);
    exit(0);
}

static void channel(size_t bytes, int gpu)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/bench-broadcast-%d", (int)getpid());
    pid_t receiver = fork();
    if (receiver == 0)
        run_receiver(gpu, bytes, path);
    cuda_start(0);
    void *const memory[2] = {buffer(bytes, 0), buffer(bytes, 0)};
    struct weight_sender *sender = NULL;
    must(weight_sender_open_device(&sender, path, LAYOUT, bytes, &device, memory), "sender");
    int code = 0;
    for (uint64_t version = 1; waitpid(receiver, &code, WNOHANG) == 0; version++) {
        void *place = weight_sender_begin(sender, version);
        CUDA(cudaMemsetAsync(place, (int)(version % 200), bytes, main_stream));
        CUDA(cudaStreamSynchronize(main_stream));
        weight_sender_commit(sender, version, 0, version % 200);
        clock_sleep_ms(60);
    }
    weight_sender_close(&sender);
    if (code != 0)
        exit(1);
}

static void alone(size_t bytes, size_t piece_mb)
{
    double ms[VERSIONS];
    struct weight_group *group = NULL;
    struct nccl_id id;
    cuda_start(0);
    void *memory = buffer(bytes, 7);
    struct weight_group_config config = group_config(piece_mb);
    must(weight_group_open(&group, &config), "library");
    must(weight_group_make_id(group, &id), "id");
    int64_t begin_ns = clock_now_ns();
    must(weight_group_form(group, &id, 1, 0), "form");
    double call_ms = since_ms(begin_ns);
    while (weight_group_look(group) == WEIGHT_GROUP_FORMING)
        must(weight_group_turn(group), "form");
    double form_ms = since_ms(begin_ns);
    for (int i = 0; i < VERSIONS; i++) {
        begin_ns = clock_now_ns();
        must(weight_group_begin(group, memory, bytes), "begin");
        while (weight_group_look(group) == WEIGHT_GROUP_BUSY)
            must(weight_group_turn(group), "turn");
        ms[i] = since_ms(begin_ns);
    }
    begin_ns = clock_now_ns();
    weight_group_abort(group);
    while (weight_group_look(group) != WEIGHT_GROUP_NONE)
        must(weight_group_turn(group), "abort");
    printf("{\"bench\":\"broadcast\",\"what\":\"one "
           "rank\",\"ms_call\":%.1f,\"ms_form\":%.1f,\"ms_abort\":%.1f}\n",
           call_ms, form_ms, since_ms(begin_ns));
    print_line("nccl: one rank, nothing to move", bytes, ms, VERSIONS, piece_mb);
    weight_group_close(&group);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "member") == 0)
        run_member((int)strtol(argv[2], NULL, 10), strtoul(argv[3], NULL, 10),
                   strtoul(argv[4], NULL, 10), (int)strtol(argv[5], NULL, 10));
    const char *mode = argc > 1 ? argv[1] : "ceiling";
    size_t bytes = (size_t)(strtod(argc > 2 ? argv[2] : "1", NULL) * 1e9) / 4096 * 4096;
    size_t piece_mb = argc > 3 ? strtoul(argv[3], NULL, 10) : 128;
    if (strcmp(mode, "ceiling") == 0)
        ceiling(bytes);
    else if (strcmp(mode, "ipc") == 0 || strcmp(mode, "peer") == 0)
        channel(bytes, strcmp(mode, "peer") == 0);
    else if (strcmp(mode, "alone") == 0)
        alone(bytes, piece_mb);
    else {
        if (strcmp(mode, "digest") == 0)
            cuda_must(setenv("BENCH_REAL_DIGEST", "1", 1), "setenv");
        broadcast(bytes, piece_mb, strcmp(mode, "kill") == 0);
    }
    return 0;
}
