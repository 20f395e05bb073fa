#include "transport/weight_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"

enum { CHANNEL_ALIGN = 4096, CHANNEL_BUFFERS = 2 };
static const uint64_t CHANNEL_MAGIC = 0x3274617752494557; /* "WEIRwat2" as bytes */
static const uint64_t NO_VERSION = UINT64_MAX;

/* One buffer's state. The writer makes sequence odd, writes the bytes, sets the rest, makes it even. */
struct channel_slot {
    _Atomic uint64_t sequence; /* odd: being written; 0: never written */
    _Atomic uint64_t order;    /* counts commits, so that the newest is known whatever its number */
    _Atomic uint64_t version;
    _Atomic uint64_t digest;
    _Atomic uint64_t branch;
};

/* Start of the file. Buffers follow at multiples of CHANNEL_ALIGN, or are on a device under these names. */
struct channel {
    uint64_t magic;
    uint64_t layout_hash;
    uint64_t bytes;
    uint64_t on_device;
    uint8_t handles[CHANNEL_BUFFERS][WEIGHT_HANDLE_BYTES];
    struct channel_slot slots[CHANNEL_BUFFERS];
};
_Static_assert(sizeof(struct channel) <= CHANNEL_ALIGN, "the header has its own page");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics are shared between processes");

struct mapping {
    struct channel *channel; /* NULL: none */
    size_t size;             /* of the file */
    dev_t device;
    ino_t inode;
    void *opened[CHANNEL_BUFFERS]; /* receiver: device buffers of the sender */
};

static size_t buffer_stride(size_t bytes)
{
    return (bytes + CHANNEL_ALIGN - 1) / CHANNEL_ALIGN * CHANNEL_ALIGN;
}

static size_t file_bytes(size_t bytes, bool on_device)
{
    return CHANNEL_ALIGN + (on_device ? 0 : CHANNEL_BUFFERS * buffer_stride(bytes));
}

static uint8_t *buffer_at(const struct mapping *mapping, unsigned slot, size_t bytes)
{
    return (uint8_t *)mapping->channel + CHANNEL_ALIGN + slot * buffer_stride(bytes);
}

static void mapping_drop(struct mapping *mapping)
{
    if (mapping->channel != NULL)
        munmap(mapping->channel, mapping->size);
    *mapping = (struct mapping){0};
}

/* Maps the open file `fd`; remembers which file it is. */
static enum status mapping_make(struct mapping *mapping, int fd, int protection, const char *path)
{
    struct stat file;
    if (fstat(fd, &file) != 0)
        return FAIL(STATUS_IO, "fstat %s: %s", path, strerror(errno));
    void *base = mmap(NULL, (size_t)file.st_size, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return FAIL(STATUS_IO, "mmap of %s (%lld bytes): %s", path, (long long)file.st_size,
                    strerror(errno));
    *mapping = (struct mapping){
        .channel = base, .size = (size_t)file.st_size, .device = file.st_dev, .inode = file.st_ino};
    return STATUS_OK;
}

enum status weight_channel_path(char *path, const char *run, const char *folder)
{
    char absolute[PATH_MAX];
    const char *whole = realpath(folder, absolute) != NULL ? absolute : folder;
    return file_path(path, "/dev/shm/weir.%s.%08x.weights", run,
                     (unsigned)(hash64(whole, strlen(whole), 0) & UINT32_MAX));
}

/* ---- sender ---- */

struct weight_sender {
    char path[FILE_PATH_MAX];
    struct mapping mapping;
    size_t bytes;
    void *buffers[CHANNEL_BUFFERS]; /* on the device, borrowed; NULL: they are in the file */
    uint64_t commits;
    uint64_t writing; /* version between begin and commit; NO_VERSION: none */
};

/* All pages are reserved now: a full /dev/shm is an error here and not a SIGBUS in the optimizer. */
static enum status make_file(struct weight_sender *sender, const char *temporary,
                             uint64_t layout_hash, const struct weight_device *device)
{
    size_t size = file_bytes(sender->bytes, device != NULL);
    int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", temporary, strerror(errno));
    int error = posix_fallocate(fd, 0, (off_t)size);
    enum status status =
        error == 0 ? mapping_make(&sender->mapping, fd, PROT_READ | PROT_WRITE, temporary)
                   : FAIL(STATUS_IO,
                          "%s: no room for %zu bytes (two copies of the weights): %s; enlarge "
                          "/dev/shm or choose another folder",
                          temporary, size, strerror(error));
    close(fd);
    if (status != STATUS_OK)
        return status;
    struct channel *channel = sender->mapping.channel;
    channel->layout_hash = layout_hash;
    channel->bytes = sender->bytes;
    channel->on_device = device != NULL;
    for (int i = 0; i < CHANNEL_BUFFERS && device != NULL; i++)
        TRY(device->share(device->context, sender->buffers[i],
                          (struct memory_handle *)channel->handles[i]));
    channel->magic = CHANNEL_MAGIC;
    if (rename(temporary, sender->path) != 0)
        return FAIL(STATUS_IO, "rename %s to %s: %s", temporary, sender->path, strerror(errno));
    return STATUS_OK;
}

static enum status open_sender(struct weight_sender **sender, const char *path,
                               uint64_t layout_hash, size_t bytes,
                               const struct weight_device *device, void *const *buffers)
{
    if (bytes == 0 || bytes > SIZE_MAX / 4)
        return FAIL(STATUS_INVALID, "weight channel %s of %zu bytes", path, bytes);
    char temporary[FILE_PATH_MAX];
    TRY(file_path(temporary, "%s.%d.tmp", path, (int)getpid()));
    struct weight_sender *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight channel %s", path);
    made->bytes = bytes;
    made->writing = NO_VERSION;
    if (device != NULL)
        memcpy(made->buffers, buffers, sizeof made->buffers);
    enum status status;
    TRY_GOTO(out, file_path(made->path, "%s", path));
    TRY_GOTO(out, make_file(made, temporary, layout_hash, device));
out:
    if (status != STATUS_OK) {
        unlink(temporary);
        mapping_drop(&made->mapping);
        memory_free(made);
        return status;
    }
    *sender = made;
    return STATUS_OK;
}

enum status weight_sender_open(struct weight_sender **sender, const char *path,
                               uint64_t layout_hash, size_t bytes)
{
    return open_sender(sender, path, layout_hash, bytes, NULL, NULL);
}

enum status weight_sender_open_device(struct weight_sender **sender, const char *path,
                                      uint64_t layout_hash, size_t bytes,
                                      const struct weight_device *device, void *const buffers[2])
{
    if (device->share == NULL)
        return FAIL(STATUS_UNSUPPORTED,
                    "weight channel %s: this device's memory cannot be handed "
                    "to another process: set weights.channel to shm",
                    path);
    return open_sender(sender, path, layout_hash, bytes, device, buffers);
}

void weight_sender_close(struct weight_sender **sender)
{
    struct weight_sender *old = *sender;
    if (old == NULL)
        return;
    struct stat
        file; /* a restarted learner may have put its own file there: leave that one alone */
    bool ours = stat(old->path, &file) == 0 && file.st_dev == old->mapping.device &&
                file.st_ino == old->mapping.inode;
    if (ours && unlink(old->path) != 0)
        LOG_WARN("weights", "file not removed", "path=%s why=\"%s\"", old->path, strerror(errno));
    mapping_drop(&old->mapping);
    memory_free(old);
    *sender = NULL;
}

void *weight_sender_begin(struct weight_sender *sender, uint64_t version)
{
    CHECK(sender->writing == NO_VERSION && version != NO_VERSION);
    sender->writing = version;
    struct channel_slot *slot = &sender->mapping.channel->slots[version % CHANNEL_BUFFERS];
    uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    /* A writer that died while writing is replaced by a new file, so the sequence is even here. */
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(
        memory_order_release); /* odd is visible before any byte of the new version */
    unsigned at = (unsigned)(version % CHANNEL_BUFFERS);
    return sender->buffers[at] != NULL ? sender->buffers[at]
                                       : buffer_at(&sender->mapping, at, sender->bytes);
}

void weight_sender_commit(struct weight_sender *sender, uint64_t version, uint32_t branch,
                          uint64_t digest)
{
    CHECK(sender->writing == version);
    sender->writing = NO_VERSION;
    struct channel_slot *slot = &sender->mapping.channel->slots[version % CHANNEL_BUFFERS];
    uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    atomic_store_explicit(&slot->version, version, memory_order_relaxed);
    atomic_store_explicit(&slot->branch, branch, memory_order_relaxed);
    atomic_store_explicit(&slot->digest, digest, memory_order_relaxed);
    atomic_store_explicit(&slot->order, ++sender->commits, memory_order_relaxed);
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_release);
}

/* ---- receiver ---- */

struct weight_receiver {
    char path[FILE_PATH_MAX];
    uint64_t layout_hash;
    size_t bytes;
    const struct weight_device *device; /* borrowed; NULL: copies go to host memory */
    struct mapping *mapping; /* owned; changes under const getters when the file was replaced */
};

static enum status check_file(const struct weight_receiver *receiver, const struct mapping *mapping)
{
    const struct channel *channel = mapping->channel;
    if (mapping->size < CHANNEL_ALIGN || channel->magic != CHANNEL_MAGIC)
        return FAIL(STATUS_CORRUPT, "%s (%zu bytes) is no weight channel of this build",
                    receiver->path, mapping->size);
    if (channel->layout_hash != receiver->layout_hash || channel->bytes != receiver->bytes ||
        mapping->size != file_bytes(receiver->bytes, channel->on_device != 0))
        return FAIL(STATUS_CORRUPT,
                    "%s holds layout %016" PRIx64 " of %" PRIu64
                    " bytes, this process has layout %016" PRIx64
                    " of %zu bytes: learner and actor must load the same model",
                    receiver->path, channel->layout_hash, channel->bytes, receiver->layout_hash,
                    receiver->bytes);
    return STATUS_OK;
}

static void receiver_drop(const struct weight_receiver *receiver, struct mapping *mapping)
{
    for (int i = 0; i < CHANNEL_BUFFERS; i++)
        if (mapping->opened[i] != NULL)
            receiver->device->unopen(receiver->device->context, &mapping->opened[i]);
    mapping_drop(mapping);
}

static enum status open_buffers(const struct weight_receiver *receiver, struct mapping *mapping)
{
    const struct weight_device *device = receiver->device;
    if (mapping->channel->on_device == 0)
        return STATUS_OK;
    if (device == NULL || device->open == NULL)
        return FAIL(STATUS_UNSUPPORTED, "%s names GPU memory, which this process cannot open",
                    receiver->path);
    for (int i = 0; i < CHANNEL_BUFFERS; i++) {
        const uint8_t *handle = mapping->channel->handles[i];
        enum status status = device->open(device->context, (const struct memory_handle *)handle,
                                          &mapping->opened[i]);
        if (status == STATUS_OK)
            continue;
        char why[STATUS_TEXT_MAX];
        status_keep(why);
        mapping->opened[i] = NULL;
        return FAIL(STATUS_UNSUPPORTED,
                    "%s: the learner's GPU memory cannot be opened here: %.800s", receiver->path,
                    why);
    }
    return STATUS_OK;
}

/* Maps the file now at path; the mapping so far stays when that fails. */
static enum status receiver_map(const struct weight_receiver *receiver)
{
    int fd = open(receiver->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return FAIL(STATUS_NOT_FOUND, "%s: the learner has not made it yet", receiver->path);
    if (fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", receiver->path, strerror(errno));
    struct mapping fresh = {0};
    enum status status = mapping_make(&fresh, fd, PROT_READ, receiver->path);
    close(fd);
    if (status == STATUS_OK)
        status = check_file(receiver, &fresh);
    if (status == STATUS_OK)
        status = open_buffers(receiver, &fresh);
    if (status != STATUS_OK) {
        receiver_drop(receiver, &fresh);
        return status;
    }
    receiver_drop(receiver, receiver->mapping);
    *receiver->mapping = fresh;
    return STATUS_OK;
}

/* A restarted learner puts a new file in the place of the old one. */
static enum status follow_file(const struct weight_receiver *receiver)
{
    struct stat file;
    if (stat(receiver->path, &file) != 0)
        return STATUS_OK; /* removed: what is mapped stays readable */
    if (file.st_ino == receiver->mapping->inode && file.st_dev == receiver->mapping->device)
        return STATUS_OK;
    return receiver_map(receiver);
}

enum status weight_receiver_open_device(struct weight_receiver **receiver, const char *path,
                                        uint64_t layout_hash, size_t bytes,
                                        const struct weight_device *device)
{
    struct weight_receiver *made = memory_alloc(sizeof *made);
    struct mapping *mapping = memory_alloc(sizeof *mapping);
    enum status status = STATUS_OK;
    if (made == NULL || mapping == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "weight channel %s", path);
        goto out;
    }
    made->layout_hash = layout_hash;
    made->bytes = bytes;
    made->device = device;
    made->mapping = mapping;
    TRY_GOTO(out, file_path(made->path, "%s", path));
    TRY_GOTO(out, receiver_map(made));
out:
    if (status != STATUS_OK) {
        memory_free(mapping);
        memory_free(made);
        return status;
    }
    *receiver = made;
    return STATUS_OK;
}

enum status weight_receiver_open(struct weight_receiver **receiver, const char *path,
                                 uint64_t layout_hash, size_t bytes)
{
    return weight_receiver_open_device(receiver, path, layout_hash, bytes, NULL);
}

void weight_receiver_close(struct weight_receiver **receiver)
{
    if (*receiver == NULL)
        return;
    receiver_drop(*receiver, (*receiver)->mapping);
    memory_free((*receiver)->mapping);
    memory_free(*receiver);
    *receiver = NULL;
}

/* What a slot said at one moment. */
struct slot_view {
    uint64_t sequence, order, version, digest;
    uint32_t branch;
};

/* False: never written, being written, or changed meanwhile. */
static bool slot_look(struct channel_slot *slot, struct slot_view *view)
{
    view->sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    view->order = atomic_load_explicit(&slot->order, memory_order_relaxed);
    view->version = atomic_load_explicit(&slot->version, memory_order_relaxed);
    view->digest = atomic_load_explicit(&slot->digest, memory_order_relaxed);
    view->branch = (uint32_t)atomic_load_explicit(&slot->branch, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    uint64_t after = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    return view->sequence == after && after % 2 == 0 && after != 0;
}

uint64_t weight_receiver_version(const struct weight_receiver *receiver, uint32_t *branch,
                                 uint64_t *digest)
{
    if (follow_file(receiver) != STATUS_OK)
        LOG_WARN("weights", "new file not usable", "why=\"%s\"", status_last_error());
    struct slot_view newest = {.version = NO_VERSION};
    for (unsigned i = 0; i < CHANNEL_BUFFERS; i++) {
        struct slot_view view;
        if (slot_look(&receiver->mapping->channel->slots[i], &view) && view.order > newest.order)
            newest = view;
    }
    if (branch != NULL)
        *branch = newest.branch;
    if (digest != NULL)
        *digest = newest.digest;
    return newest.version;
}

static bool takes_host_memory(const struct weight_receiver *receiver)
{
    return receiver->device == NULL || receiver->device->on_host;
}

/* Every byte is in `out` when it returns; *digest is known where takes_host_memory. */
static enum status copy_buffer(const struct weight_receiver *receiver, unsigned at, void *out,
                               uint64_t *digest)
{
    const struct weight_device *device = receiver->device;
    const uint8_t *host = buffer_at(receiver->mapping, at, receiver->bytes);
    if (takes_host_memory(receiver)) {
        *digest = weight_digest_copy(out, host, receiver->bytes, 0);
        return STATUS_OK;
    }
    if (receiver->mapping->opened[at] != NULL)
        TRY(device->copy(device->context, out, receiver->mapping->opened[at], receiver->bytes));
    else
        TRY(device->write(device->context, out, host, receiver->bytes));
    return device->finish(device->context);
}

enum status weight_receiver_copy(struct weight_receiver *receiver, uint64_t version,
                                 uint64_t digest, void *out)
{
    enum status followed = follow_file(receiver);
    if (followed == STATUS_UNSUPPORTED) /* the learner may just have died */
        return FAIL(STATUS_AGAIN, "%s: the new learner's memory is not open", receiver->path);
    TRY(followed);
    unsigned at = (unsigned)(version % CHANNEL_BUFFERS);
    struct channel_slot *slot = &receiver->mapping->channel->slots[at];
    struct slot_view view;
    if (!slot_look(slot, &view) || view.version != version)
        return FAIL(STATUS_AGAIN, "%s does not hold version %" PRIu64 " (any more)", receiver->path,
                    version);
    if (view.digest != digest)
        return FAIL(STATUS_AGAIN,
                    "%s holds version %" PRIu64 " with digest %016" PRIx64
                    ", announced is %016" PRIx64 ": made again on another branch",
                    receiver->path, version, view.digest, digest);
    uint64_t got = 0;
    TRY(copy_buffer(receiver, at, out, &got));
    atomic_thread_fence(
        memory_order_acquire); /* the copy is finished before sequence is read again */
    if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != view.sequence)
        return FAIL(STATUS_AGAIN, "%s: version %" PRIu64 " was overwritten while it was copied",
                    receiver->path, version);
    const struct weight_device *device = receiver->device;
    if (!takes_host_memory(receiver))
        TRY(device->digest(device->context, out, receiver->bytes, 0, &got));
    if (got != digest)
        return FAIL(STATUS_CORRUPT,
                    "version %" PRIu64 " in %s has digest %016" PRIx64 ", announced is %016" PRIx64,
                    version, receiver->path, got, digest);
    return STATUS_OK;
}
