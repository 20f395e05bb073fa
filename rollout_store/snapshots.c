/* rollout_store/snapshots.c - see the header. */
#include "rollout_store/snapshots.h"

#include <inttypes.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "rollout_store/book_snapshot.h"
#include "rollout_store/ledger.h"

static enum status write_snapshot(struct snapshots *snapshots, const struct book *book,
                                  struct ledger *ledger)
{
    struct buffer records;
    buffer_init(&records, 0);
    int64_t begin_ns = clock_now_ns();
    enum status status = book_snapshot_pack(book, ledger_offset(ledger), &records);
    if (status == STATUS_OK)
        status = ledger_begin(ledger, records.bytes, records.size);
    if (status == STATUS_OK) {
        snapshots->count++;
        snapshots->bytes = records.size;
        snapshots->took_ns = clock_now_ns() - begin_ns;
        LOG_INFO("ledger", "snapshot", "offset=%" PRIu64 " bytes=%zu ms=%.1f", ledger_start(ledger),
                 records.size, (double)snapshots->took_ns * 1e-6);
    }
    buffer_free(&records);
    return status;
}

enum status snapshots_round(struct snapshots *snapshots, const struct book *book,
                            struct ledger *ledger)
{
    uint64_t since = ledger_since_snapshot(ledger);
    bool planted = fault_fails("ledger.due");
    if (!planted && (since < LEDGER_SNAPSHOT_BYTES || since < snapshots->look_at))
        return STATUS_OK;
    snapshots->look_at = since + LEDGER_SNAPSHOT_BYTES / 8;
    if (!planted && !ledger_wants_snapshot(ledger, book_snapshot_estimate(book)))
        return STATUS_OK;
    enum status status = write_snapshot(snapshots, book, ledger);
    if (status == STATUS_OK)
        snapshots->look_at = 0;
    if (status != STATUS_LIMIT)
        return status;
    LOG_FAILURE("ledger", "a snapshot is put off", status);
    return STATUS_OK;
}
