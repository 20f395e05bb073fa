/* fake_nccl.c - NCCL's symbols without GPUs: ranks are threads or processes of one host, memory is host memory.
 *
 * The unique id names a file in /dev/shm that holds one ring of bytes for each ordered pair of ranks; every collective
 * is sends and receives over those rings. Each communicator has a thread that does its work in order, so calls return
 * at once and ncclCommGetAsyncError says ncclInProgress until the bytes have arrived (a stream would be the place to
 * wait; here streams are ignored). As in NCCL a rank that is gone leaves the others waiting until they abort.
 *
 * FAKE_NCCL_SCRIPT says what shall go wrong, clauses divided by commas, words by blanks:
 *   rank=R        only this rank of a communicator (any without it)
 *   after=N       when this process has begun N calls (counted over all its communicators); at once without it
 *   once=PATH     only the process that can make this file does it
 *   hang          the call never goes on until it is aborted (one call)
 *   die           SIGKILL to ourselves
 *   error         the communicator reports ncclRemoteError
 *   corrupt       one byte of what is received is flipped
 *   stuck         ncclCommAbort of that communicator takes 30 s
 *   slow ms=M     every call takes M ms longer
 * e.g. FAKE_NCCL_SCRIPT="rank=1 hang after=2, rank=2 slow ms=50". */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, REMOTE_ERROR = 6, IN_PROGRESS = 7 };
enum { VERSION = 22809, ID_BYTES = 128, RANKS_MAX = 16, COMMS_MAX = 64 };
enum { RING_BYTES = 1 << 16, QUEUE_MAX = 8192, CLAUSES_MAX = 8, NAP_US = 50, STUCK_S = 30 };

typedef struct {
    char bytes[ID_BYTES];
} fake_id;

struct fake_config { /* the fields of ncclConfig_t that matter here */
    size_t size;
    unsigned magic, version;
    int blocking;
};

struct ring {
    _Atomic uint64_t written, read;
    uint8_t bytes[RING_BYTES];
};

struct shared {
    _Atomic uint32_t present[RANKS_MAX];
    struct ring rings[RANKS_MAX][RANKS_MAX]; /* [from][to] */
};

struct transfer {
    uint64_t batch; /* transfers of one batch run together */
    bool call;      /* begins a call */
    bool receive;
    int peer;
    uint8_t *memory;
    size_t left;
};

struct fake_comm {
    bool used;
    int ranks, rank;
    char path[ID_BYTES + 16];
    struct shared *shared;
    pthread_t thread;
    pthread_mutex_t lock; /* guards queue, first, count, posted */
    struct transfer queue[QUEUE_MAX];
    unsigned first, count;
    uint64_t posted;  /* batches up to this one are whole */
    atomic_int state; /* as ncclCommGetAsyncError tells */
    atomic_bool aborted, stuck;
};

static struct fake_comm comms[COMMS_MAX];
static pthread_mutex_t comms_lock = PTHREAD_MUTEX_INITIALIZER; /* guards `used` */
static _Atomic uint64_t batches, ids;

/* ---- the script ---- */

enum action { HANG, DIE, ERROR, CORRUPT, STUCK, SLOW, ACTION_COUNT };
static const char *const action_names[ACTION_COUNT] = {"hang",    "die",   "error",
                                                       "corrupt", "stuck", "slow"};

struct clause {
    enum action action;
    int rank; /* -1: any */
    long after, ms;
    char once[200];
    bool done;
};

static struct clause clauses[CLAUSES_MAX];
static int clause_count;
static long calls;                                              /* begun by this process */
static pthread_mutex_t script_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the four */
static pthread_once_t script_read = PTHREAD_ONCE_INIT;

static void read_word(struct clause *clause, const char *word)
{
    for (int a = 0; a < ACTION_COUNT; a++)
        if (strcmp(word, action_names[a]) == 0)
            clause->action = (enum action)a;
    if (strncmp(word, "rank=", 5) == 0)
        clause->rank = (int)strtol(word + 5, NULL, 10);
    if (strncmp(word, "after=", 6) == 0)
        clause->after = strtol(word + 6, NULL, 10);
    if (strncmp(word, "ms=", 3) == 0)
        clause->ms = strtol(word + 3, NULL, 10);
    if (strncmp(word, "once=", 5) == 0)
        snprintf(clause->once, sizeof clause->once, "%s", word + 5);
}

static void read_script(void)
{
    static char text[1000];
    const char *script = getenv("FAKE_NCCL_SCRIPT");
    snprintf(text, sizeof text, "%s", script != NULL ? script : "");
    char *rest = NULL;
    for (char *part = strtok_r(text, ",", &rest); part != NULL && clause_count < CLAUSES_MAX;
         part = strtok_r(NULL, ",", &rest)) {
        struct clause *clause = &clauses[clause_count++];
        *clause = (struct clause){.action = ACTION_COUNT, .rank = -1};
        char *words = NULL;
        for (char *word = strtok_r(part, " ", &words); word != NULL;
             word = strtok_r(NULL, " ", &words))
            read_word(clause, word);
    }
}

/* True: it is this clause's turn; only once in this process, and with `once` only once of all. */
static bool applies(struct clause *clause, int rank)
{
    if ((clause->rank >= 0 && clause->rank != rank) || calls <= clause->after || clause->done)
        return false;
    if (clause->action == SLOW)
        return true;
    clause->done = true;
    if (clause->once[0] == '\0')
        return true;
    int fd = open(clause->once, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* A call begins: which actions, as bits; *ms: how much longer it takes. */
static unsigned begin_call(int rank, long *ms)
{
    unsigned actions = 0;
    pthread_once(&script_read, read_script);
    pthread_mutex_lock(&script_lock);
    calls++;
    for (int i = 0; i < clause_count; i++) {
        if (!applies(&clauses[i], rank))
            continue;
        actions |= 1u << clauses[i].action;
        *ms += clauses[i].action == SLOW ? clauses[i].ms : 0;
    }
    pthread_mutex_unlock(&script_lock);
    return actions;
}

/* ---- the thread of a communicator ---- */

static void nap(struct fake_comm *comm, long us)
{
    for (long left = us; left > 0 && !atomic_load(&comm->aborted); left -= 1000) {
        long part = left < 1000 ? left : 1000;
        nanosleep(&(struct timespec){0, part * 1000}, NULL);
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes moved now; what the ring has no room for, or does not hold yet, comes later. */
static size_t move(struct fake_comm *comm, struct transfer *transfer)
{
    struct ring *ring = transfer->receive ? &comm->shared->rings[transfer->peer][comm->rank]
                                          : &comm->shared->rings[comm->rank][transfer->peer];
    uint64_t written = atomic_load(&ring->written), read = atomic_load(&ring->read);
    uint64_t at = transfer->receive ? read : written;
    size_t room =
        transfer->receive ? (size_t)(written - read) : RING_BYTES - (size_t)(written - read);
    size_t n = smaller(smaller(room, transfer->left), RING_BYTES - (size_t)(at % RING_BYTES));
    if (n == 0)
        return 0;
    if (transfer->receive) {
        memcpy(transfer->memory, ring->bytes + at % RING_BYTES, n);
        atomic_store(&ring->read, read + n);
    } else {
        memcpy(ring->bytes + at % RING_BYTES, transfer->memory, n);
        atomic_store(&ring->written, written + n);
    }
    transfer->memory += n;
    transfer->left -= n;
    return n;
}

/* An earlier transfer of the batch over the same ring is not finished. */
static bool is_behind(const struct transfer *batch, unsigned at)
{
    for (unsigned i = 0; i < at; i++)
        if (batch[i].left > 0 && batch[i].peer == batch[at].peer &&
            batch[i].receive == batch[at].receive)
            return true;
    return false;
}

static void run_transfers(struct fake_comm *comm, struct transfer *batch, unsigned count)
{
    for (;;) {
        size_t moved = 0, left = 0;
        for (unsigned i = 0; i < count; i++) {
            if (batch[i].left > 0 && !is_behind(batch, i))
                moved += move(comm, &batch[i]);
            left += batch[i].left;
        }
        if (left == 0 || atomic_load(&comm->aborted))
            return;
        if (moved == 0)
            nap(comm, NAP_US);
    }
}

static void run_batch(struct fake_comm *comm, struct transfer *batch, unsigned count)
{
    unsigned actions = 0;
    uint8_t *received = NULL;
    long ms = 0;
    for (unsigned i = 0; i < count; i++) {
        if (batch[i].call)
            actions |= begin_call(comm->rank, &ms);
        if (batch[i].receive && batch[i].left > 0)
            received = batch[i].memory;
    }
    if (actions & 1u << DIE)
        kill(getpid(), SIGKILL);
    if (actions & 1u << STUCK)
        atomic_store(&comm->stuck, true);
    nap(comm, ms * 1000);
    while ((actions & 1u << HANG) && !atomic_load(&comm->aborted))
        nap(comm, 1000);
    if (actions & 1u << ERROR) {
        atomic_store(&comm->state, REMOTE_ERROR);
        return;
    }
    run_transfers(comm, batch, count);
    if ((actions & 1u << CORRUPT) && received != NULL)
        *received ^= 1;
}

/* Copies the next batch; 0: the queue is empty, and the state says so. */
static unsigned next_batch(struct fake_comm *comm, struct transfer *batch)
{
    unsigned count = 0;
    pthread_mutex_lock(&comm->lock);
    while (count < comm->count) {
        const struct transfer *next = &comm->queue[(comm->first + count) % QUEUE_MAX];
        if (next->batch > comm->posted || (count > 0 && next->batch != batch[0].batch))
            break;
        batch[count++] = *next;
    }
    int busy = IN_PROGRESS; /* an error stays */
    if (comm->count == 0)
        atomic_compare_exchange_strong(&comm->state, &busy, SUCCESS);
    pthread_mutex_unlock(&comm->lock);
    return count;
}

static void drop_batch(struct fake_comm *comm, unsigned count)
{
    pthread_mutex_lock(&comm->lock);
    comm->first = (comm->first + count) % QUEUE_MAX;
    comm->count -= count;
    pthread_mutex_unlock(&comm->lock);
}

static void await_others(struct fake_comm *comm)
{
    atomic_store(&comm->shared->present[comm->rank], 1);
    for (int rank = 0; rank < comm->ranks && !atomic_load(&comm->aborted);)
        if (atomic_load(&comm->shared->present[rank]) != 0)
            rank++;
        else
            nap(comm, NAP_US);
    unlink(comm->path);
}

static void *run(void *argument)
{
    struct fake_comm *comm = argument;
    struct transfer batch[QUEUE_MAX];
    await_others(comm);
    while (!atomic_load(&comm->aborted)) {
        unsigned count = next_batch(comm, batch);
        if (count > 0)
            run_batch(comm, batch, count);
        else
            nap(comm, NAP_US);
        drop_batch(comm, count);
    }
    return NULL;
}

/* ---- communicators ---- */

static struct fake_comm *take_comm(void)
{
    struct fake_comm *comm = NULL;
    pthread_mutex_lock(&comms_lock);
    for (int i = 0; i < COMMS_MAX && comm == NULL; i++)
        if (!comms[i].used)
            comm = &comms[i];
    if (comm != NULL)
        comm->used = true;
    pthread_mutex_unlock(&comms_lock);
    return comm;
}

static void leave_comm(struct fake_comm *comm)
{
    pthread_mutex_lock(&comms_lock);
    comm->used = false;
    pthread_mutex_unlock(&comms_lock);
}

static int start(struct fake_comm *comm)
{
    int fd = open(comm->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return SYSTEM_ERROR;
    void *base = mmap(NULL, sizeof *comm->shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (base == MAP_FAILED)
        return SYSTEM_ERROR;
    comm->shared = base;
    comm->first = comm->count = 0;
    comm->posted = 0;
    atomic_store(&comm->state, IN_PROGRESS);
    atomic_store(&comm->aborted, false);
    atomic_store(&comm->stuck, false);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, sizeof comm->queue + (1 << 20)); /* a batch is on it */
    pthread_mutex_init(&comm->lock, NULL);
    int error = pthread_create(&comm->thread, &attributes, run, comm);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        return SUCCESS;
    munmap(base, sizeof *comm->shared);
    return SYSTEM_ERROR;
}

static void await_state(struct fake_comm *comm)
{
    while (atomic_load(&comm->state) == IN_PROGRESS)
        nap(comm, NAP_US);
}

int ncclGetVersion(int *version)
{
    *version = VERSION;
    return SUCCESS;
}

const char *ncclGetErrorString(int code)
{
    switch (code) {
    case SUCCESS:
        return "no error";
    case SYSTEM_ERROR:
        return "fake: a system call failed";
    case INVALID_ARGUMENT:
        return "fake: invalid argument";
    case REMOTE_ERROR:
        return "fake: a remote rank failed, as the script says";
    case IN_PROGRESS:
        return "fake: in progress";
    default:
        return "fake: unknown";
    }
}

int ncclGetUniqueId(fake_id *id)
{
    *id = (fake_id){0};
    snprintf(id->bytes, sizeof id->bytes, "/dev/shm/fake-nccl.%ld.%llu", (long)getpid(),
             (unsigned long long)atomic_fetch_add(&ids, 1));
    int fd = open(id->bytes, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYSTEM_ERROR;
    int error = ftruncate(fd, sizeof(struct shared)); /* sparse */
    close(fd);
    return error == 0 ? SUCCESS : SYSTEM_ERROR;
}

int ncclCommInitRankConfig(struct fake_comm **out, int ranks, fake_id id, int rank,
                           const struct fake_config *config)
{
    *out = NULL;
    if (ranks < 1 || ranks > RANKS_MAX || rank < 0 || rank >= ranks)
        return INVALID_ARGUMENT;
    struct fake_comm *comm = take_comm();
    if (comm == NULL)
        return SYSTEM_ERROR;
    comm->ranks = ranks;
    comm->rank = rank;
    snprintf(comm->path, sizeof comm->path, "%.*s", ID_BYTES, id.bytes);
    int code = start(comm);
    if (code != SUCCESS) {
        leave_comm(comm);
        return code;
    }
    *out = comm;
    if (config != NULL && config->blocking == 0)
        return IN_PROGRESS;
    await_state(comm);
    return SUCCESS;
}

int ncclCommInitRank(struct fake_comm **out, int ranks, fake_id id, int rank)
{
    return ncclCommInitRankConfig(out, ranks, id, rank, NULL);
}

int ncclCommGetAsyncError(const struct fake_comm *comm, int *state)
{
    if (comm == NULL)
        return INVALID_ARGUMENT;
    *state = atomic_load(&comm->state);
    return SUCCESS;
}

int ncclCommAbort(struct fake_comm *comm)
{
    if (comm == NULL)
        return SUCCESS;
    atomic_store(&comm->aborted, true);
    pthread_join(comm->thread, NULL);
    if (atomic_load(&comm->stuck))
        sleep(STUCK_S);
    munmap(comm->shared, sizeof *comm->shared);
    pthread_mutex_destroy(&comm->lock);
    leave_comm(comm);
    return SUCCESS;
}

int ncclCommFinalize(struct fake_comm *comm)
{
    if (comm == NULL)
        return INVALID_ARGUMENT;
    await_state(comm);
    return SUCCESS;
}

int ncclCommDestroy(struct fake_comm *comm)
{
    if (comm != NULL)
        await_state(comm);
    return ncclCommAbort(comm);
}

/* ---- calls ---- */

/* Of one thread: calls between ncclGroupStart and ncclGroupEnd. */
struct group {
    int depth;
    unsigned count;
    struct fake_comm *comm[QUEUE_MAX];
    struct transfer transfer[QUEUE_MAX];
};
static _Thread_local struct group group;

int ncclGroupStart(void)
{
    group.depth++;
    return SUCCESS;
}

int ncclGroupEnd(void)
{
    if (group.depth == 0)
        return INVALID_ARGUMENT;
    if (--group.depth > 0)
        return SUCCESS;
    uint64_t batch = atomic_fetch_add(&batches, 1) + 1;
    int code = group.count > 0 ? IN_PROGRESS : SUCCESS;
    for (unsigned i = 0; i < group.count; i++) {
        struct fake_comm *comm = group.comm[i];
        pthread_mutex_lock(&comm->lock);
        if (comm->count == QUEUE_MAX) {
            code = SYSTEM_ERROR;
        } else {
            group.transfer[i].batch = batch;
            comm->queue[(comm->first + comm->count++) % QUEUE_MAX] = group.transfer[i];
            int idle = SUCCESS;
            atomic_compare_exchange_strong(&comm->state, &idle, IN_PROGRESS);
        }
        pthread_mutex_unlock(&comm->lock);
    }
    for (unsigned i = 0; i < group.count; i++) {
        pthread_mutex_lock(&group.comm[i]->lock);
        group.comm[i]->posted = batch;
        pthread_mutex_unlock(&group.comm[i]->lock);
    }
    group.count = 0;
    return code;
}

static void add(struct fake_comm *comm, bool receive, int peer, const void *memory, size_t bytes)
{
    if (group.count == QUEUE_MAX)
        abort();
    group.comm[group.count] = comm;
    group.transfer[group.count++] = (struct transfer){
        .receive = receive, .peer = peer, .memory = (uint8_t *)(uintptr_t)memory, .left = bytes};
}

/* Between the two: the transfers of one call, at least one, so that it is counted. */
static void call_begin(struct fake_comm *comm)
{
    ncclGroupStart();
    add(comm, true, comm->rank, NULL, 0);
    group.transfer[group.count - 1].call = true;
}

static int call_end(void)
{
    return ncclGroupEnd();
}

/* Bytes of one element of an ncclDataType_t. */
static size_t element_bytes(int type)
{
    static const uint8_t bytes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return type >= 0 && type < (int)sizeof bytes ? bytes[type] : 0;
}

int ncclBroadcast(const void *send, void *receive, size_t count, int type, int root,
                  struct fake_comm *comm, void *stream)
{
    (void)stream;
    size_t bytes = count * element_bytes(type);
    if (comm == NULL || root < 0 || root >= comm->ranks)
        return INVALID_ARGUMENT;
    call_begin(comm);
    if (comm->rank != root)
        add(comm, true, root, receive, bytes);
    for (int rank = 0; rank < comm->ranks && comm->rank == root; rank++)
        if (rank != root)
            add(comm, false, rank, send, bytes);
    if (comm->rank == root && send != receive)
        memcpy(receive, send, bytes);
    return call_end();
}

int ncclAllGather(const void *send, void *receive, size_t count, int type, struct fake_comm *comm,
                  void *stream)
{
    (void)stream;
    if (comm == NULL)
        return INVALID_ARGUMENT;
    size_t bytes = count * element_bytes(type);
    uint8_t *all = receive;
    call_begin(comm);
    for (int rank = 0; rank < comm->ranks; rank++) {
        if (rank == comm->rank)
            continue;
        add(comm, false, rank, send, bytes);
        add(comm, true, rank, all + (size_t)rank * bytes, bytes);
    }
    if (all + (size_t)comm->rank * bytes != send)
        memcpy(all + (size_t)comm->rank * bytes, send, bytes);
    return call_end();
}

int ncclSend(const void *send, size_t count, int type, int peer, struct fake_comm *comm,
             void *stream)
{
    (void)stream;
    if (comm == NULL || peer < 0 || peer >= comm->ranks)
        return INVALID_ARGUMENT;
    call_begin(comm);
    add(comm, false, peer, send, count * element_bytes(type));
    return call_end();
}

int ncclRecv(void *receive, size_t count, int type, int peer, struct fake_comm *comm, void *stream)
{
    (void)stream;
    if (comm == NULL || peer < 0 || peer >= comm->ranks)
        return INVALID_ARGUMENT;
    call_begin(comm);
    add(comm, true, peer, receive, count * element_bytes(type));
    return call_end();
}
