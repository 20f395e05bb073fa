#include "transport/nccl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"

/* What we use of NCCL's binary interface, as of 2.18 and unchanged since. */
enum { RESULT_SUCCESS = 0, RESULT_IN_PROGRESS = 7, TYPE_INT8 = 0 };
enum { VERSION_LEAST = 21800, CONFIG_VERSION = 21800, POLL_MS = 1 };
static const unsigned CONFIG_MAGIC = 0xcafebeef;
static const int CONFIG_UNSET = -2147483647 - 1;

/* The configuration of a communicator; a newer library fills in what this one does not have. */
struct comm_config {
    size_t size;
    unsigned magic, version;
    int blocking, cga_cluster_size, ctas_min, ctas_max;
    const char *net_name;
    int split_share;
};

// clang-format off
#define NCCL_CALLS(CALL) \
    CALL(GetVersion,        (int *)) \
    CALL(GetUniqueId,       (struct nccl_id *)) \
    CALL(CommInitRankConfig,(void **, int, struct nccl_id, int, struct comm_config *)) \
    CALL(CommGetAsyncError, (void *, int *)) \
    CALL(CommAbort,         (void *)) \
    CALL(GroupStart,        (void)) \
    CALL(GroupEnd,          (void)) \
    CALL(Broadcast,         (const void *, void *, size_t, int, int, void *, void *)) \
    CALL(Send,              (const void *, size_t, int, int, void *, void *)) \
    CALL(Recv,              (void *, size_t, int, int, void *, void *)) \
    CALL(AllGather,         (const void *, void *, size_t, int, void *, void *))
// clang-format on

struct nccl {
    void *library; /* never closed: its threads may outlive us */
    int version;
    const char *(*GetErrorString)(int);
#define CALL(name, arguments) int(*name) arguments;
    NCCL_CALLS(CALL)
#undef CALL
    struct nccl_comm *ending; /* list: their aborts are under way */
};

/* NCCL writes the handle again from its own thread while ranks come together, so this lives until the abort is done. */
struct nccl_comm {
    struct nccl *nccl;
    void *handle;
    int64_t abort_ns;
    atomic_bool ended; /* set last by the thread that aborts; the owner frees */
    struct nccl_comm *next;
};

static void *handle_of(const struct nccl_comm *comm)
{
    return __atomic_load_n(&comm->handle, __ATOMIC_ACQUIRE);
}

static enum status result(const struct nccl *nccl, int code, const char *call)
{
    if (code == RESULT_SUCCESS || code == RESULT_IN_PROGRESS)
        return STATUS_OK;
    return FAIL(STATUS_CUDA, "%s: %s (%d); NCCL_DEBUG=WARN in the environment says more", call,
                nccl->GetErrorString(code), code);
}

static enum status find_calls(struct nccl *nccl, const char *path)
{
    const char *missing = NULL;
    void *found = dlsym(nccl->library, "ncclGetErrorString");
    missing = found == NULL ? "ncclGetErrorString" : missing;
    memcpy(&nccl->GetErrorString, &found, sizeof found);
#define CALL(name, arguments)                         \
    found = dlsym(nccl->library, "nccl" #name);       \
    missing = found == NULL ? "nccl" #name : missing; \
    memcpy(&nccl->name, &found, sizeof found);
    NCCL_CALLS(CALL)
#undef CALL
    if (missing != NULL)
        return FAIL(STATUS_UNSUPPORTED, "%s has no %s: NCCL 2.18 or newer is needed", path,
                    missing);
    TRY(result(nccl, nccl->GetVersion(&nccl->version), "ncclGetVersion"));
    if (nccl->version < VERSION_LEAST)
        return FAIL(STATUS_UNSUPPORTED, "%s is NCCL version %d, 2.18 (21800) or newer is needed",
                    path, nccl->version);
    return STATUS_OK;
}

enum status nccl_open(struct nccl **out, const char *path)
{
    const char *name = path != NULL && path[0] != '\0' ? path : "libnccl.so.2";
    /* Multicast memory is not to be had everywhere, and NCCL fails late without it. */
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return FAIL(STATUS_UNSUPPORTED,
                    "%s: install NCCL, or say in weights.nccl_library where it is",
                    dlerror()); /* names the file */
    struct nccl *nccl = memory_alloc(sizeof *nccl);
    if (nccl == NULL)
        return FAIL(STATUS_NO_MEMORY, "NCCL");
    nccl->library = library;
    enum status status = find_calls(nccl, name);
    if (status != STATUS_OK) {
        memory_free(nccl);
        return status;
    }
    *out = nccl;
    return STATUS_OK;
}

int nccl_version(const struct nccl *nccl)
{
    return nccl->version;
}

enum status nccl_make_id(struct nccl *nccl, struct nccl_id *id)
{
    return result(nccl, nccl->GetUniqueId(id), "ncclGetUniqueId");
}

/* ---- communicators ---- */

enum status nccl_comm_join(struct nccl *nccl, const struct nccl_id *id, int ranks, int rank,
                           struct nccl_comm **out)
{
    CHECK(ranks > 0 && rank >= 0 && rank < ranks);
    struct nccl_comm *comm = memory_alloc(sizeof *comm);
    if (comm == NULL)
        return FAIL(STATUS_NO_MEMORY, "communicator");
    comm->nccl = nccl;
    struct comm_config config = {.size = sizeof config,
                                 .magic = CONFIG_MAGIC,
                                 .version = CONFIG_VERSION,
                                 .blocking = 0,
                                 .cga_cluster_size = CONFIG_UNSET,
                                 .ctas_min = CONFIG_UNSET,
                                 .ctas_max = CONFIG_UNSET,
                                 .net_name = NULL,
                                 .split_share = CONFIG_UNSET};
    int code = nccl->CommInitRankConfig(&comm->handle, ranks, *id, rank, &config);
    enum status status = result(nccl, code, "ncclCommInitRankConfig");
    if (status == STATUS_OK) {
        *out = comm;
        return STATUS_OK;
    }
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    nccl_comm_abort(&comm);
    status_restore(kept);
    return status;
}

enum status nccl_comm_ready(const struct nccl_comm *comm)
{
    int state = RESULT_SUCCESS;
    TRY(result(comm->nccl, comm->nccl->CommGetAsyncError(handle_of(comm), &state),
               "ncclCommGetAsyncError"));
    if (state == RESULT_IN_PROGRESS)
        return STATUS_AGAIN;
    return result(comm->nccl, state, "communicator");
}

enum status nccl_comm_await(const struct nccl_comm *comm, const char *name, const char *peer,
                            int64_t timeout_ms)
{
    struct wait wait = wait_begin(name, peer, timeout_ms);
    enum status status = nccl_comm_ready(comm);
    while (status == STATUS_AGAIN && wait_left_ms(&wait) > 0) {
        clock_sleep_ms(POLL_MS);
        status = nccl_comm_ready(comm);
    }
    enum status waited = wait_end(&wait, status != STATUS_AGAIN);
    return status != STATUS_AGAIN ? status : waited;
}

/* ---- aborts ---- */

static void *run_abort(void *argument)
{
    struct nccl_comm *comm = argument;
    void *handle = handle_of(comm);
    if (handle != NULL)
        comm->nccl->CommAbort(handle);
    atomic_store(&comm->ended, true);
    return NULL;
}

/* The thread is on its own: nobody joins what may never come back. */
static bool start_thread(struct nccl_comm *comm)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, run_abort, comm) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

void nccl_comm_abort(struct nccl_comm **pointer)
{
    struct nccl_comm *comm = *pointer;
    *pointer = NULL;
    if (comm == NULL)
        return;
    struct nccl *nccl = comm->nccl;
    comm->abort_ns = clock_now_ns();
    comm->next = nccl->ending;
    nccl->ending = comm;
    if (!start_thread(comm)) {
        LOG_WARN("nccl", "no thread for an abort", "it runs here and may take long");
        run_abort(comm);
    }
}

enum status nccl_abort_done(struct nccl *nccl)
{
    int64_t oldest_ns = INT64_MAX;
    for (struct nccl_comm **at = &nccl->ending; *at != NULL;) {
        struct nccl_comm *comm = *at;
        if (!atomic_load(&comm->ended)) {
            oldest_ns = comm->abort_ns < oldest_ns ? comm->abort_ns : oldest_ns;
            at = &comm->next;
            continue;
        }
        *at = comm->next;
        memory_free(comm);
    }
    if (nccl->ending == NULL)
        return STATUS_OK;
    if (clock_now_ns() - oldest_ns < NCCL_ABORT_MS * (int64_t)CLOCK_NS_PER_MS)
        return STATUS_AGAIN;
    return FAIL(STATUS_TIMEOUT,
                "ncclCommAbort has not come back after %d ms: only a new process helps",
                NCCL_ABORT_MS);
}

void nccl_close(struct nccl **pointer)
{
    struct nccl *nccl = *pointer;
    if (nccl == NULL)
        return;
    struct wait wait = wait_begin("nccl abort", "NCCL", NCCL_ABORT_MS);
    enum status status = nccl_abort_done(nccl);
    while (status == STATUS_AGAIN && wait_left_ms(&wait) > 0) {
        clock_sleep_ms(POLL_MS);
        status = nccl_abort_done(nccl);
    }
    if (wait_end(&wait, status == STATUS_OK) != STATUS_OK)
        LOG_FAILURE("nccl", "left with an abort under way", STATUS_TIMEOUT);
    else
        memory_free(nccl); /* else left alone: the thread still uses it */
    *pointer = NULL;
}

/* ---- work ---- */

enum status nccl_group_begin(struct nccl *nccl)
{
    return result(nccl, nccl->GroupStart(), "ncclGroupStart");
}

enum status nccl_group_end(struct nccl *nccl)
{
    return result(nccl, nccl->GroupEnd(), "ncclGroupEnd");
}

enum status nccl_broadcast(struct nccl_comm *comm, void *memory, size_t bytes, int root,
                           void *stream)
{
    const struct nccl *nccl = comm->nccl;
    return result(nccl,
                  nccl->Broadcast(memory, memory, bytes, TYPE_INT8, root, handle_of(comm), stream),
                  "ncclBroadcast");
}

enum status nccl_send(struct nccl_comm *comm, const void *memory, size_t bytes, int to,
                      void *stream)
{
    const struct nccl *nccl = comm->nccl;
    return result(nccl, nccl->Send(memory, bytes, TYPE_INT8, to, handle_of(comm), stream),
                  "ncclSend");
}

enum status nccl_receive(struct nccl_comm *comm, void *memory, size_t bytes, int from, void *stream)
{
    const struct nccl *nccl = comm->nccl;
    return result(nccl, nccl->Recv(memory, bytes, TYPE_INT8, from, handle_of(comm), stream),
                  "ncclRecv");
}

enum status nccl_all_gather(struct nccl_comm *comm, const void *one, void *all, size_t bytes,
                            void *stream)
{
    const struct nccl *nccl = comm->nccl;
    return result(nccl, nccl->AllGather(one, all, bytes, TYPE_INT8, handle_of(comm), stream),
                  "ncclAllGather");
}
