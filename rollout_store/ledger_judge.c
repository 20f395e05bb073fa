/* rollout_store/ledger_judge.c - see the header. */
#include "rollout_store/ledger_judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"

struct file {
    const uint8_t *bytes;
    size_t size;
    bool newest;
    struct arena *arena;
};

/* A whole record anywhere after `from` that is no part of a snapshot: then the damage before it is no torn tail.
 * Parts count too unless `parts_torn`: a snapshot's parts are written in one go. */
static bool whole_record_after(const struct file *file, size_t from, bool parts_torn)
{
    for (size_t at = from + 1; at < file->size; at++) {
        const uint8_t *next = memchr(file->bytes + at, 0x57, file->size - at);
        if (next == NULL)
            return false;
        at = (size_t)(next - file->bytes);
        struct record record;
        size_t used = 0;
        if (record_peek(next, file->size - at) == 0)
            continue;
        arena_reset(file->arena);
        if (record_unpack(&record, file->arena, next, file->size - at, &used) != STATUS_OK)
            continue;
        if (record.type != RECORD_SNAPSHOT || !parts_torn)
            return true;
        at += used - 1;
    }
    return false;
}

/* What stands at out->good, where no record could be read; the reason is the last error. */
static void judge_rest(const struct file *file, struct ledger_judgement *out)
{
    snprintf(out->why, sizeof out->why, "%s", status_last_error());
    bool torn = file->newest && !whole_record_after(file, out->good, out->good == 0);
    out->verdict = torn ? LEDGER_TORN : LEDGER_DAMAGED;
}

static enum status read_part(const struct file *file, size_t at, struct record *record,
                             size_t *used)
{
    arena_reset(file->arena);
    return record_unpack(record, file->arena, file->bytes + at, file->size - at, used);
}

/* The parts at the head: *end is where they end, *total what their bytes should be, *hash of them so far. */
static enum status read_snapshot(const struct file *file, size_t *end)
{
    uint64_t total = 1, hash = 0, offset = 0, found = 0;
    struct buffer whole;
    buffer_init(&whole, 0);
    enum status status = STATUS_OK;
    *end = 0;
    for (uint64_t at = 0; status == STATUS_OK && at < total;) {
        struct record part;
        size_t used = 0;
        status = read_part(file, *end, &part, &used);
        if (status != STATUS_OK)
            break;
        if (part.type != RECORD_SNAPSHOT || part.snapshot.at != at ||
            (at > 0 && (part.snapshot.total != total || part.snapshot.hash != hash ||
                        part.snapshot.offset != offset))) {
            status = FAIL(STATUS_CORRUPT, "a snapshot goes on with something else");
            break;
        }
        total = part.snapshot.total;
        hash = part.snapshot.hash;
        offset = part.snapshot.offset;
        if (part.snapshot.size == total)
            found = hash64(part.snapshot.bytes, part.snapshot.size, 0);
        else
            status = buffer_append(&whole, part.snapshot.bytes, part.snapshot.size);
        at += part.snapshot.size;
        *end += used;
    }
    if (status == STATUS_OK && whole.size > 0)
        found = hash64(whole.bytes, whole.size, 0);
    if (status == STATUS_OK && found != hash)
        status = FAIL(STATUS_CORRUPT, "the hash of a snapshot differs");
    buffer_free(&whole);
    return status;
}

enum status ledger_judge_head(const void *bytes, size_t size, bool newest, struct arena *arena,
                              struct ledger_judgement *out)
{
    struct file file = {bytes, size, newest, arena};
    *out = (struct ledger_judgement){.verdict = LEDGER_WHOLE};
    if (record_peek(bytes, size) != RECORD_SNAPSHOT)
        return STATUS_OK;
    enum status status = read_snapshot(&file, &out->snapshot);
    if (status == STATUS_OK)
        return STATUS_OK;
    out->snapshot = 0;
    if (status != STATUS_AGAIN && status != STATUS_CORRUPT)
        return status;
    judge_rest(&file, out);
    return STATUS_OK;
}

enum status ledger_judge(const void *bytes, size_t size, bool newest, uint64_t before,
                         ledger_replay_fn replay, void *self, struct arena *arena,
                         struct ledger_judgement *out)
{
    struct file file = {bytes, size, newest, arena};
    TRY(ledger_judge_head(bytes, size, newest, arena, out));
    while (out->verdict == LEDGER_WHOLE && out->good < size) {
        struct record record;
        size_t used = 0;
        enum status status = read_part(&file, out->good, &record, &used);
        if (status == STATUS_OK && record.type == RECORD_SNAPSHOT && out->good >= out->snapshot) {
            snprintf(out->why, sizeof out->why, "a snapshot that does not begin its file");
            out->verdict = LEDGER_DAMAGED;
            return STATUS_OK;
        }
        if (status == STATUS_AGAIN || status == STATUS_CORRUPT) {
            judge_rest(&file, out);
            return STATUS_OK;
        }
        if (status != STATUS_OK)
            return status;
        if (replay != NULL)
            TRY(replay(self, &record, before + out->good));
        out->good += used;
        out->records++;
    }
    return STATUS_OK;
}
