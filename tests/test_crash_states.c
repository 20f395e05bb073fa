/* links: learner rollout_store core */
/* label: integration */
/* timeout: 300 */
/* What a power cut can leave: every prefix of the file system calls that the ledger and the checkpoints make, with
 * what was not synced lost, torn or there. Each state is built on disk and opened: what was acknowledged is there,
 * what is there was written, and nothing refuses to open.
 *
 * The calls are recorded by standing in front of libc's (this file defines them). Model: fsync of a file makes its
 * bytes durable, fsync of a folder its entries; entries of one folder reach the disk in order, those of different
 * folders in any; bytes appended to one file reach it in order, up to any byte, perhaps followed by zeros up to
 * their full length. */
#undef _FILE_OFFSET_BITS /* both names of open are defined here */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "learner/manifest.h"
#include "rollout_store/ledger.h"
#include "tests/tiny_case.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { LEDGER_STATES = 1000, CHECKPOINT_STATES = 200 };
#else
enum { LEDGER_STATES = 12000, CHECKPOINT_STATES = 4000 };
#endif

enum { OPS_MAX = 20000, NODES_MAX = 4000, FDS_MAX = 1024, NAME_BYTES = 96, ROOT = 0 };
enum kind { MAKE, WRITE, CUT, MOVE, DROP, SYNC, MARK_DONE, MARK_BEGUN };

struct op {
    enum kind kind;
    int node, folder, other_folder; /* MOVE: from folder/name to other_folder/other */
    bool exchange;
    char name[NAME_BYTES], other[NAME_BYTES];
    uint64_t at, size; /* WRITE, CUT; marks: the value in at */
    uint8_t *bytes;
};

struct entry {
    char name[NAME_BYTES];
    int node;
};

struct node {
    bool folder;
    struct entry entries[40];
    int entry_count;
    uint8_t *bytes;
    uint64_t size, room;
};

struct tree {
    struct node *nodes; /* [NODES_MAX] */
    int count;
};

static struct op *ops;
static int op_count;
static struct tree live;
static int fd_node[FDS_MAX];
static uint64_t fd_at[FDS_MAX];
static bool fd_append[FDS_MAX];
static char base[FILE_PATH_MAX];
static bool recording;

/* ---- a file system in memory ---- */

static struct entry *find(struct tree *tree, int folder, const char *name)
{
    struct node *node = &tree->nodes[folder];
    for (int i = 0; i < node->entry_count; i++)
        if (strcmp(node->entries[i].name, name) == 0)
            return &node->entries[i];
    return NULL;
}

static void put(struct tree *tree, int folder, const char *name, int target)
{
    struct node *node = &tree->nodes[folder];
    struct entry *entry = find(tree, folder, name);
    if (entry == NULL) {
        assert_true(node->entry_count < 40);
        entry = &node->entries[node->entry_count++];
        snprintf(entry->name, sizeof entry->name, "%s", name);
    }
    entry->node = target;
}

static void take(struct tree *tree, int folder, const char *name)
{
    struct entry *entry = find(tree, folder, name);
    if (entry != NULL)
        *entry = tree->nodes[folder].entries[--tree->nodes[folder].entry_count];
}

static void resize(struct node *node, uint64_t size)
{
    if (size > node->room) {
        uint64_t room = size * 2;
        node->bytes = memory_grow(node->bytes, node->room, room);
        assert_non_null(node->bytes);
        node->room = room;
    }
    if (size > node->size)
        memset(node->bytes + node->size, 0, size - node->size);
    node->size = size;
}

static void apply_entry(struct tree *tree, const struct op *op)
{
    if (op->kind == MAKE) {
        put(tree, op->folder, op->name, op->node);
    } else if (op->kind == DROP) {
        take(tree, op->folder, op->name);
    } else if (op->kind == MOVE) {
        struct entry *from = find(tree, op->folder, op->name);
        struct entry *to = find(tree, op->other_folder, op->other);
        if (from == NULL)
            return;
        int moved = from->node, replaced = to != NULL ? to->node : -1;
        if (op->exchange && replaced >= 0)
            put(tree, op->folder, op->name, replaced);
        else
            take(tree, op->folder, op->name);
        put(tree, op->other_folder, op->other, moved);
    }
}

/* `part`: how many of a write's bytes. */
static void apply_bytes(struct tree *tree, const struct op *op, uint64_t part)
{
    struct node *node = &tree->nodes[op->node];
    if (op->kind == CUT) {
        resize(node, op->size);
        return;
    }
    if (op->at + part > node->size)
        resize(node, op->at + part);
    if (part > 0)
        memcpy(node->bytes + op->at, op->bytes, part);
}

static bool is_bytes(const struct op *op)
{
    return op->kind == WRITE || op->kind == CUT;
}

static void tree_reset(struct tree *tree, int count)
{
    if (tree->nodes == NULL)
        tree->nodes = memory_array(NODES_MAX, sizeof *tree->nodes);
    assert_non_null(tree->nodes);
    for (int i = 0; i < count; i++) {
        tree->nodes[i].entry_count = 0;
        tree->nodes[i].size = 0;
    }
    tree->nodes[ROOT].folder = true;
}

/* ---- recording ---- */

/* folder node and last name of a path below base; false: not ours. */
static bool resolve(const char *path, int *folder, char name[NAME_BYTES])
{
    size_t length = strlen(base);
    if (!recording || strncmp(path, base, length) != 0 || path[length] != '/')
        return false;
    *folder = ROOT;
    path += length + 1;
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        char part[NAME_BYTES];
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        struct entry *entry = find(&live, *folder, part);
        if (entry == NULL)
            return false;
        *folder = entry->node;
    }
    snprintf(name, NAME_BYTES, "%s", path);
    return true;
}

static struct op *record(struct op op)
{
    assert_true(op_count < OPS_MAX);
    ops[op_count] = op;
    if (is_bytes(&op))
        apply_bytes(&live, &op, op.size);
    else
        apply_entry(&live, &op);
    return &ops[op_count++];
}

static void record_make(const char *path, bool folder)
{
    struct op op = {.kind = MAKE};
    if (!resolve(path, &op.folder, op.name) || find(&live, op.folder, op.name) != NULL)
        return;
    op.node = live.count++;
    assert_true(op.node < NODES_MAX);
    live.nodes[op.node].folder = folder;
    record(op);
}

static int record_open(const char *path, int flags, mode_t mode)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    char name[NAME_BYTES];
    int folder;
    if (fd < 0 || fd >= FDS_MAX)
        return fd;
    fd_node[fd] = -1;
    if (recording && strcmp(path, base) == 0)
        fd_node[fd] = ROOT;
    if ((flags & O_CREAT) != 0)
        record_make(path, false);
    if (!resolve(path, &folder, name))
        return fd;
    struct entry *entry = find(&live, folder, name);
    fd_node[fd] = strcmp(name, "..") == 0 ? ROOT : entry != NULL ? entry->node : -1;
    fd_at[fd] = 0;
    fd_append[fd] = (flags & O_APPEND) != 0;
    if ((flags & O_TRUNC) != 0 && entry != NULL && live.nodes[entry->node].size > 0)
        record((struct op){.kind = CUT, .node = entry->node});
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return record_open(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return record_open(path, flags, mode);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t wrote = (ssize_t)syscall(SYS_write, fd, bytes, size);
    if (wrote <= 0 || !recording || fd >= FDS_MAX || fd_node[fd] < 0)
        return wrote;
    struct op op = {.kind = WRITE,
                    .node = fd_node[fd],
                    .at = fd_append[fd] ? live.nodes[fd_node[fd]].size : fd_at[fd],
                    .size = (uint64_t)wrote,
                    .bytes = memory_alloc((size_t)wrote)};
    assert_non_null(op.bytes);
    memcpy(op.bytes, bytes, (size_t)wrote);
    record(op);
    fd_at[fd] = op.at + op.size;
    return wrote;
}

int ftruncate64(int fd, __off64_t size)
{
    if (recording && fd < FDS_MAX && fd_node[fd] >= 0)
        record((struct op){.kind = CUT, .node = fd_node[fd], .size = (uint64_t)size});
    return (int)syscall(SYS_ftruncate, fd, size);
}

static int record_sync(int fd)
{
    if (recording && fd < FDS_MAX && fd_node[fd] >= 0)
        record((struct op){.kind = SYNC, .node = fd_node[fd]});
    return 0; /* the disk under the test needs no sync */
}

int fsync(int fd)
{
    return record_sync(fd);
}

int fdatasync(int fd)
{
    return record_sync(fd);
}

static int record_move(const char *from, const char *to, unsigned flags)
{
    struct op op = {.kind = MOVE, .exchange = flags != 0};
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
    if (result == 0 && resolve(from, &op.folder, op.name) &&
        resolve(to, &op.other_folder, op.other))
        record(op);
    return result;
}

int rename(const char *from, const char *to)
{
    return record_move(from, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    (void)from_fd;
    (void)to_fd;
    return record_move(from, to, flags);
}

static void record_drop(const char *path)
{
    struct op op = {.kind = DROP};
    if (resolve(path, &op.folder, op.name))
        record(op);
}

int unlink(const char *path)
{
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0)
        record_drop(path);
    return result;
}

int remove(const char *path)
{
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result != 0 && (errno == EISDIR || errno == EPERM))
        result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    if (result == 0)
        record_drop(path);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (result == 0)
        record_make(path, true);
    return result;
}

static void mark(enum kind kind, uint64_t value)
{
    record((struct op){.kind = kind, .at = value});
}

static void begin_recording(const char *folder)
{
    for (int i = 0; i < op_count; i++)
        memory_free(ops[i].bytes);
    if (ops == NULL)
        ops = memory_array(OPS_MAX, sizeof *ops);
    assert_non_null(ops);
    snprintf(base, sizeof base, "%s", folder);
    op_count = 0;
    tree_reset(&live, NODES_MAX);
    live.count = 1;
    for (int i = 0; i < FDS_MAX; i++)
        fd_node[i] = -1;
    recording = true;
}

/* ---- states ---- */

/* The last sync of each node before `end`, and how many of the folder's later entries are there. */
static void last_syncs(int end, int synced[NODES_MAX])
{
    for (int i = 0; i < live.count; i++)
        synced[i] = -1;
    for (int i = 0; i < end; i++)
        if (ops[i].kind == SYNC)
            synced[ops[i].node] = i;
}

/* One thing that the disk may hold after a cut before op `end`. */
static void make_state(struct tree *tree, int end, struct rng *rng)
{
    static int synced[NODES_MAX], until[NODES_MAX];
    static uint8_t fate[NODES_MAX]; /* of bytes: 0 all, 1 none, 2 torn, 3 torn and zeros */
    uint32_t mood = rng_below(rng, 4);
    last_syncs(end, synced);
    tree_reset(tree, live.count);
    for (int i = 0; i < live.count; i++) {
        tree->nodes[i].folder = live.nodes[i].folder;
        fate[i] = (uint8_t)(mood == 0 ? 1 : mood == 1 ? 0 : rng_below(rng, 4));
        until[i] = mood == 0   ? synced[i]
                   : mood == 1 ? end
                               : synced[i] + (int)rng_below(rng, (uint32_t)(end - synced[i]) + 1);
    }
    for (int i = 0; i < end; i++) {
        const struct op *op = &ops[i];
        if (is_bytes(op)) {
            bool sure = i < synced[op->node];
            uint8_t how = sure ? 0 : fate[op->node];
            if (how == 1 || how == 4)
                continue;
            uint64_t part = op->size;
            if (how >= 2 && op->kind == WRITE && rng_below(rng, 2) == 0) {
                part = rng_below(rng, (uint32_t)op->size + 1);
                fate[op->node] = 4; /* nothing behind a tear */
            }
            apply_bytes(tree, op, part);
            if (how == 3 && part < op->size)
                resize(&tree->nodes[op->node], op->at + op->size);
        } else if (op->kind == MOVE || op->kind == DROP || op->kind == MAKE) {
            if (i < synced[op->folder] || i < until[op->folder])
                apply_entry(tree, op);
        }
    }
}

static void write_tree(const struct tree *tree, int folder, const char *path)
{
    const struct node *node = &tree->nodes[folder];
    assert_int_equal(mkdir(path, 0755), 0);
    for (int i = 0; i < node->entry_count; i++) {
        char inside[FILE_PATH_MAX];
        const struct node *child = &tree->nodes[node->entries[i].node];
        assert_int_equal(file_path(inside, "%s/%s", path, node->entries[i].name), STATUS_OK);
        if (child->folder) {
            write_tree(tree, node->entries[i].node, inside);
            continue;
        }
        int fd = open(inside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, child->bytes, child->size), (ssize_t)child->size);
        close(fd);
    }
}

struct promised {
    uint64_t done, begun; /* acknowledged; at most written */
};

static struct promised marks_before(int end)
{
    struct promised span = {0};
    for (int i = 0; i < end; i++) {
        if (ops[i].kind == MARK_DONE)
            span.done = ops[i].at;
        if (ops[i].kind == MARK_BEGUN)
            span.begun = ops[i].at;
    }
    return span;
}

typedef void (*check_fn)(const char *folder, const struct promised *span, int end);

/* Every prefix in turn, and again until there are enough. */
static uint64_t check_states(uint64_t wanted, check_fn check)
{
    char memory[] = "/dev/shm/test_crash_states.XXXXXX", disk[] = "/tmp/test_crash_states.XXXXXX";
    const char *above = mkdtemp(memory) != NULL ? memory : mkdtemp(disk);
    char folder[FILE_PATH_MAX];
    assert_non_null(above);
    assert_int_equal(file_path(folder, "%s/state", above), STATUS_OK);
    static struct tree tree;
    struct rng rng;
    const char *text = getenv("TEST_SEED");
    uint64_t states = 0;
    recording = false;
    rng_init(&rng, text != NULL ? strtoull(text, NULL, 10) : 9, 0, RNG_TEST);
    while (states < wanted)
        for (int end = 0; end <= op_count; end++, states++) {
            struct promised span = marks_before(end);
            make_state(&tree, end, &rng);
            assert_int_equal(file_remove_tree(folder), STATUS_OK);
            write_tree(&tree, ROOT, folder);
            check(folder, &span, end);
        }
    assert_int_equal(file_remove_tree(above), STATUS_OK);
    return states;
}

/* ---- the ledger ---- */

/* Records count up; a snapshot says how many there were. */
struct replayed {
    uint64_t next;
    bool wrong;
};

static enum status replay(void *self, const struct record *record, uint64_t offset)
{
    struct replayed *replayed = self;
    (void)offset;
    if (record->type == RECORD_SNAPSHOT && record->snapshot.at == 0)
        memcpy(&replayed->next, record->snapshot.bytes, sizeof replayed->next);
    if (record->type != RECORD_CLOSED)
        return STATUS_OK;
    replayed->wrong = replayed->wrong || record->closed.group_id != replayed->next;
    replayed->next++;
    return STATUS_OK;
}

static void add_snapshot(struct ledger *ledger, uint64_t count)
{
    uint64_t bytes[100] = {count};
    struct buffer frames;
    buffer_init(&frames, 0);
    for (uint32_t part = 0; part < 2; part++) {
        struct record record = {.type = RECORD_SNAPSHOT,
                                .snapshot = {ledger_offset(ledger), sizeof bytes,
                                             hash64(bytes, sizeof bytes, 0), part * 400, 400,
                                             (const uint8_t *)bytes + part * 400}};
        assert_int_equal(record_pack(&record, &frames), STATUS_OK);
    }
    assert_int_equal(ledger_begin(ledger, frames.bytes, frames.size), STATUS_OK);
    buffer_free(&frames);
}

static void write_ledger(const char *folder)
{
    struct ledger *ledger = NULL;
    struct replayed none = {0};
    uint64_t count = 0, records, torn;
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/run/ledger", folder), STATUS_OK);
    for (uint32_t round = 0; round < 60; round++) {
        struct buffer frames;
        if (round % 20 == 0) { /* the store starts again */
            ledger_close(&ledger);
            none.next = 0;
            assert_int_equal(ledger_open(&ledger, path, 1500, replay, &none, &records, &torn),
                             STATUS_OK);
            assert_int_equal(none.next, count);
        }
        buffer_init(&frames, 0);
        for (uint32_t i = 0; i < 1 + round % 5; i++) {
            struct record record = {.type = RECORD_CLOSED, .closed = {count++}};
            assert_int_equal(record_pack(&record, &frames), STATUS_OK);
        }
        mark(MARK_BEGUN, count);
        assert_int_equal(ledger_append(ledger, frames.bytes, frames.size), STATUS_OK);
        assert_int_equal(ledger_sync(ledger), STATUS_OK);
        mark(MARK_DONE, count);
        if (round % 7 == 6)
            add_snapshot(ledger, count);
        buffer_free(&frames);
    }
    ledger_close(&ledger);
}

static void check_ledger(const char *folder, const struct promised *span, int end)
{
    char path[FILE_PATH_MAX];
    struct ledger *ledger = NULL;
    uint64_t records, torn;
    assert_int_equal(file_path(path, "%s/run/ledger", folder), STATUS_OK);
    for (int again = 0; again < 2; again++) { /* what was mended stays mended */
        struct replayed replayed = {0};
        enum status status = ledger_open(&ledger, path, 1500, replay, &replayed, &records, &torn);
        ledger_close(&ledger);
        if (status != STATUS_OK || replayed.wrong || replayed.next < span->done ||
            replayed.next > span->begun || (again && torn > 0))
            fail_msg("cut before call %d, opened %d times: %s (%s), %" PRIu64
                     " records, acknowledged %" PRIu64 ", written %" PRIu64,
                     end, again, status_name(status), status_last_error(), replayed.next,
                     span->done, span->begun);
    }
}

static void test_crash_states_of_the_ledger_lose_nothing_acknowledged(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX];
    case_folder(folder, "test_crash_ledger");
    begin_recording(folder);
    write_ledger(folder);
    int64_t begin_ns = clock_now_ns();
    uint64_t states = check_states(LEDGER_STATES, check_ledger);
    print_message("ledger: %d calls, %" PRIu64 " states, all open, %.1f s\n", op_count, states,
                  (double)(clock_now_ns() - begin_ns) * 1e-9);
}

/* ---- checkpoints ---- */

static void check_checkpoint(const char *folder, const struct promised *span, int end)
{
    char path[FILE_PATH_MAX], checkpoints[FILE_PATH_MAX];
    uint64_t version = 0;
    assert_int_equal(file_path(checkpoints, "%s/checkpoints", folder), STATUS_OK);
    enum status status = checkpoint_newest(checkpoints, UINT64_MAX, path, sizeof path, &version);
    if (status == STATUS_NOT_FOUND && span->done == 0)
        return;
    if (status != STATUS_OK || version < span->done || version > span->begun ||
        manifest_verify(path) != STATUS_OK)
        fail_msg("cut before call %d: %s, version %" PRIu64 ", saved %" PRIu64 ", begun %" PRIu64,
                 end, status_name(status), version, span->done, span->begun);
}

static void test_crash_states_of_checkpoints_lose_nothing_saved(void **state)
{
    (void)state;
    static struct tiny tiny;
    struct trainer trainer;
    tiny_create(&tiny, "test_crash_checkpoint");
    tiny_open(&tiny, &trainer);
    /* The folder of the recording begins empty. */
    assert_int_equal(file_remove_tree(tiny.checkpoints), STATUS_OK);
    assert_int_equal(file_path(tiny.base, "%s/run", tiny.base), STATUS_OK);
    assert_int_equal(mkdir(tiny.base, 0755), 0);
    assert_int_equal(file_path(tiny.checkpoints, "%s/checkpoints", tiny.base), STATUS_OK);
    begin_recording(tiny.base);
    static const uint64_t versions[] = {1, 2, 3, 3, 4}; /* 3 takes its own place */
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        mark(MARK_BEGUN, versions[i]);
        if (tiny_save(&tiny, &trainer, versions[i], 2) != STATUS_OK)
            fail_msg("%s", status_last_error());
        mark(MARK_DONE, versions[i]);
    }
    trainer_destroy(&trainer);
    int64_t begin_ns = clock_now_ns();
    uint64_t states = check_states(CHECKPOINT_STATES, check_checkpoint);
    print_message("checkpoints: %d calls, %" PRIu64 " states, all load, %.1f s\n", op_count, states,
                  (double)(clock_now_ns() - begin_ns) * 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_states_of_the_ledger_lose_nothing_acknowledged),
        cmocka_unit_test(test_crash_states_of_checkpoints_lose_nothing_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
