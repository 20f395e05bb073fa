#include "learner/rank_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"

enum { SLICE_MS = 50, HELLO = 1, GATHER = 2, MAGIC = 0x52414e4b };
#define MESSAGE_MAX (UINT64_C(1) << 38)

struct frame {
    uint32_t magic, kind;
    uint64_t size;
};

struct hello {
    int32_t rank, count;
    uint64_t fingerprint;
};

/* ---- bytes ---- */

static const char *peer_name(const struct rank_wire *wire, int peer, char text[32])
{
    (void)wire;
    (void)snprintf(text, 32, "learner rank %d", peer);
    return text;
}

static enum status lost(int peer)
{
    return FAIL(
        STATUS_IO,
        "learner rank %d is gone: all ranks start again from the checkpoint; its own log says "
        "why it ended",
        peer);
}

/* Moves all bytes one way; the socket is non-blocking. */
static enum status move(struct rank_wire *wire, int peer, bool out, void *bytes, size_t size,
                        int64_t timeout_ms)
{
    char name[32];
    size_t done = 0;
    enum status status = STATUS_OK;
    struct wait wait = wait_begin(out ? "send to a rank" : "message of a rank",
                                  peer_name(wire, peer, name), timeout_ms);
    while (done < size && status == STATUS_OK && wait_left_ms(&wait) > 0) {
        ssize_t step = out ? send(wire->peer[peer], (char *)bytes + done, size - done, MSG_NOSIGNAL)
                           : recv(wire->peer[peer], (char *)bytes + done, size - done, 0);
        if (step > 0) {
            done += (size_t)step;
            continue;
        }
        if (step == 0 || (errno != EAGAIN && errno != EINTR)) {
            status = lost(peer);
            break;
        }
        struct pollfd poll_fd = {.fd = wire->peer[peer], .events = out ? POLLOUT : POLLIN};
        (void)poll(&poll_fd, 1, wait_slice_ms(&wait, SLICE_MS));
        if (wire->between != NULL)
            status = wire->between(wire->between_self);
    }
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        enum status ended = wait_end(&wait, true);
        (void)ended;
        status_restore(kept);
        return status;
    }
    status = wait_end(&wait, done == size);
    if (status != STATUS_TIMEOUT)
        return status;
    /* Not TIMEOUT: the group of ranks starts again, which a learner without a plan would not. */
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    return FAIL(STATUS_IO, "%s", kept);
}

enum status rank_wire_send(struct rank_wire *wire, int peer, uint32_t kind, const void *bytes,
                           size_t size)
{
    struct frame frame = {MAGIC, kind, size};
    TRY(move(wire, peer, true, &frame, sizeof frame, wire->timeout_ms));
    return move(wire, peer, true, (void *)(uintptr_t)bytes, size, wire->timeout_ms);
}

enum status rank_wire_receive(struct rank_wire *wire, int peer, int64_t timeout_ms, uint32_t *kind,
                              struct buffer *bytes)
{
    struct frame frame;
    buffer_clear(bytes);
    TRY(move(wire, peer, false, &frame, sizeof frame,
             timeout_ms < 0 ? wire->timeout_ms : timeout_ms));
    if (frame.magic != MAGIC || frame.size > MESSAGE_MAX)
        return FAIL(STATUS_CORRUPT, "learner rank %d sent no message of ours", peer);
    TRY(buffer_reserve(bytes, frame.size));
    TRY(move(wire, peer, false, bytes->bytes, frame.size, wire->timeout_ms));
    bytes->size = frame.size;
    *kind = frame.kind;
    return STATUS_OK;
}

enum status rank_wire_idle(struct rank_wire *wire, int64_t timeout_ms)
{
    for (int r = 0; r < wire->count; r++) {
        char byte;
        if (wire->peer[r] >= 0 && recv(wire->peer[r], &byte, 1, MSG_PEEK) == 0)
            return lost(r);
    }
    if (timeout_ms > 0)
        (void)poll(NULL, 0, (int)timeout_ms);
    return wire->between != NULL ? wire->between(wire->between_self) : STATUS_OK;
}

enum status rank_wire_tell(struct rank_wire *wire, uint32_t kind, const void *bytes, size_t size)
{
    for (int r = 1; r < wire->count; r++)
        TRY(rank_wire_send(wire, r, kind, bytes, size));
    return STATUS_OK;
}

static enum status receive_part(struct rank_wire *wire, int peer, struct buffer *buffer,
                                size_t size, void *out)
{
    uint32_t kind = 0;
    TRY(rank_wire_receive(wire, peer, -1, &kind, buffer));
    if (kind != GATHER || buffer->size != size)
        return FAIL(STATUS_CORRUPT, "learner rank %d sent %zu bytes of kind %u, expected %zu", peer,
                    buffer->size, kind, size);
    memcpy(out, buffer->bytes, size);
    return STATUS_OK;
}

enum status rank_wire_gather(struct rank_wire *wire, const void *mine, size_t size, void *all)
{
    struct buffer buffer;
    buffer_init(&buffer, 0);
    enum status status = STATUS_OK;
    memcpy((char *)all + (size_t)wire->rank * size, mine, size);
    if (wire->rank > 0) {
        status = rank_wire_send(wire, 0, GATHER, mine, size);
        if (status == STATUS_OK)
            status = receive_part(wire, 0, &buffer, size * (size_t)wire->count, all);
    } else {
        for (int r = 1; r < wire->count && status == STATUS_OK; r++)
            status = receive_part(wire, r, &buffer, size, (char *)all + (size_t)r * size);
        if (status == STATUS_OK)
            status = rank_wire_tell(wire, GATHER, all, size * (size_t)wire->count);
    }
    buffer_free(&buffer);
    return status;
}

/* ---- open ---- */

static enum status set_address(const struct rank_wire *wire, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(wire->path) >= sizeof address->sun_path)
        return FAIL(STATUS_LIMIT, "%s is too long for a unix socket: choose a shorter run.root",
                    wire->path);
    memcpy(address->sun_path, wire->path, strlen(wire->path) + 1);
    return STATUS_OK;
}

static enum status greet(struct rank_wire *wire, uint64_t fingerprint, int fd)
{
    struct hello hello;
    ssize_t got = recv(fd, &hello, sizeof hello, MSG_WAITALL);
    if (got != (ssize_t)sizeof hello || hello.rank < 1 || hello.rank >= wire->count ||
        wire->peer[hello.rank] >= 0) {
        close(fd); /* a stray connection */
        return STATUS_OK;
    }
    if (hello.count != wire->count || hello.fingerprint != fingerprint) {
        close(fd);
        return FAIL(
            STATUS_INVALID,
            "learner rank %d has another model, backend or number of ranks than rank 0: all "
            "ranks must run the same recipe on the same kind of device",
            hello.rank);
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    wire->peer[hello.rank] = fd;
    return STATUS_OK;
}

static int missing(const struct rank_wire *wire)
{
    for (int r = 1; r < wire->count; r++)
        if (wire->peer[r] < 0)
            return r;
    return 0;
}

static enum status accept_all(struct rank_wire *wire, uint64_t fingerprint)
{
    struct sockaddr_un address;
    TRY(set_address(wire, &address));
    (void)unlink(wire->path);
    wire->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (wire->listening < 0 ||
        bind(wire->listening, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(wire->listening, RANKS_MAX) != 0)
        return FAIL(STATUS_IO, "%s: %s", wire->path, strerror(errno));
    struct timeval limit = {.tv_sec = 2};
    enum status status = STATUS_OK;
    char name[32];
    while (missing(wire) > 0 && status == STATUS_OK) {
        struct pollfd poll_fd = {.fd = wire->listening, .events = POLLIN};
        status = wait_poll("rank to come", peer_name(wire, missing(wire), name), wire->timeout_ms,
                           &poll_fd, 1);
        int fd = status == STATUS_OK ? accept4(wire->listening, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        status = greet(wire, fingerprint, fd);
    }
    return status;
}

static enum status connect_root(struct rank_wire *wire, uint64_t fingerprint)
{
    struct sockaddr_un address;
    struct hello hello = {wire->rank, wire->count, fingerprint};
    TRY(set_address(wire, &address));
    struct wait wait = wait_begin("rank 0 to listen", wire->path, wire->timeout_ms);
    bool connected = false;
    while (!connected && wait_left_ms(&wait) > 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connected = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                    send(fd, &hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello;
        if (connected) {
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
            wire->peer[0] = fd;
        } else if (fd >= 0) {
            close(fd);
        }
        if (!connected)
            (void)poll(NULL, 0, wait_slice_ms(&wait, SLICE_MS));
    }
    return wait_end(&wait, connected);
}

enum status rank_wire_open(struct rank_wire *wire, const char *path, int rank, int count,
                           uint64_t fingerprint, int64_t timeout_ms)
{
    *wire =
        (struct rank_wire){.rank = rank, .count = count, .listening = -1, .timeout_ms = timeout_ms};
    for (int r = 0; r < RANKS_MAX; r++)
        wire->peer[r] = -1;
    if (count > RANKS_MAX || strlen(path) >= sizeof wire->path)
        return FAIL(STATUS_LIMIT, "%d ranks on %s: at most %d, and a shorter path", count, path,
                    RANKS_MAX);
    memcpy(wire->path, path, strlen(path) + 1);
    enum status status =
        rank == 0 ? accept_all(wire, fingerprint) : connect_root(wire, fingerprint);
    if (status != STATUS_OK)
        rank_wire_close(wire);
    return status;
}

void rank_wire_close(struct rank_wire *wire)
{
    for (int r = 0; r < RANKS_MAX; r++)
        if (wire->count > 0 && wire->peer[r] >= 0) {
            close(wire->peer[r]);
            wire->peer[r] = -1;
        }
    if (wire->count > 0 && wire->listening >= 0) {
        close(wire->listening);
        (void)unlink(wire->path);
        wire->listening = -1;
    }
}
