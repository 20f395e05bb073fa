/* rollout_store/server_quarantine.c - quarantine.jsonl: one line per refused message, segment or score, within bounds.
 *
 * For people who look for the sender of poison; nothing reads it back but the count of its lines. It is no ledger: not
 * synced, and when it cannot be written the run goes on and counts. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "rollout_store/server_state.h"

enum { TAKE = 64, OLD_BYTES = 4 << 20 };

/* Lines of an earlier process of this run. */
static void count_old_lines(struct quarantine *quarantine)
{
    char bytes[4096];
    size_t seen = 0;
    for (ssize_t got; seen < OLD_BYTES && (got = read(quarantine->fd, bytes, sizeof bytes)) > 0;
         seen += (size_t)got)
        for (ssize_t i = 0; i < got; i++)
            quarantine->lines += bytes[i] == '\n';
}

enum status quarantine_open(struct quarantine *quarantine, const char *run_folder)
{
    *quarantine = (struct quarantine){.fd = -1};
    TRY(file_path(quarantine->path, "%s/quarantine.jsonl", run_folder));
    quarantine->fd = open(quarantine->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (quarantine->fd < 0)
        LOG_WARN("store", "quarantine is not written", "path=%s why=\"%s\"", quarantine->path,
                 strerror(errno));
    else
        count_old_lines(quarantine);
    return STATUS_OK;
}

void quarantine_close(struct quarantine *quarantine)
{
    if (quarantine->fd >= 0 && quarantine->path[0] != '\0')
        close(quarantine->fd);
    quarantine->fd = -1;
}

static bool has_room(struct quarantine *quarantine, enum refusal kind)
{
    return quarantine->fd >= 0 && quarantine->lines < QUARANTINE_LINES &&
           quarantine->of_kind[kind] < QUARANTINE_KIND_LINES;
}

static void write_line(struct quarantine *quarantine, enum refusal kind, struct buffer *line)
{
    ssize_t wrote = write(quarantine->fd, line->bytes, line->size);
    quarantine->lines++;
    quarantine->of_kind[kind]++;
    if (wrote == (ssize_t)line->size || quarantine->failed)
        return;
    quarantine->failed = true; /* said once */
    LOG_WARN("store", "a line of quarantine is lost", "path=%s why=\"%s\"", quarantine->path,
             wrote < 0 ? strerror(errno) : "cut short");
}

static enum status begin_line(struct buffer *line, enum refusal kind, const char *peer)
{
    buffer_clear(line);
    return buffer_printf(
        line, "{\"time_ms\":%" PRId64 ",\"peer\":\"%s\",\"kind\":\"%s\",\"why\":\"%s\"",
        clock_wall_ns() / CLOCK_NS_PER_MS, peer, refusal_name(kind), refusal_sentence(kind));
}

static enum status write_refusal(struct quarantine *quarantine, const struct book_refusal *refusal,
                                 struct buffer *line)
{
    char peer[WIRE_NAME_MAX];
    snprintf(peer, sizeof peer, "%s.%" PRIu32, role_name(refusal->role), refusal->index);
    TRY(begin_line(line, refusal->kind, peer));
    TRY(buffer_printf(line,
                      ",\"incarnation\":\"%016" PRIx64 "\",\"group\":%" PRIu64 ",\"lease\":%" PRIu64
                      ",\"sample\":%" PRIu32 ",\"attempt\":%" PRIu32,
                      refusal->incarnation, refusal->group_id, refusal->lease_id, refusal->sample,
                      refusal->attempt));
    if (refusal->lease_id != 0)
        TRY(buffer_printf(line,
                          ",\"first_position\":%" PRIu32 ",\"count\":%" PRIu32
                          ",\"version\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "\"",
                          refusal->first_position, refusal->count, refusal->version,
                          refusal->digest));
    else if (isfinite(refusal->value))
        TRY(buffer_printf(line, ",\"value\":%.17g", refusal->value));
    TRY(buffer_text(line, "}\n"));
    write_line(quarantine, refusal->kind, line);
    return STATUS_OK;
}

/* What the hub refused has no ids; its log names the sender. */
static enum status write_wire(struct quarantine *quarantine, enum refusal kind, uint64_t times,
                              struct buffer *line)
{
    TRY(begin_line(line, kind, "on the wire"));
    TRY(buffer_printf(line, ",\"times\":%" PRIu64 "}\n", times));
    write_line(quarantine, kind, line);
    return STATUS_OK;
}

void quarantine_round(struct quarantine *quarantine, struct book *book, const struct hub *hub)
{
    struct book_refusal refusals[TAKE];
    struct buffer line;
    enum status status = STATUS_OK;
    uint64_t wire[REFUSAL_COUNT];
    buffer_init(&line, 0);
    for (size_t count; (count = book_take_refusals(book, refusals, TAKE)) > 0;)
        for (size_t i = 0; i < count && status == STATUS_OK; i++)
            if (has_room(quarantine, refusals[i].kind))
                status = write_refusal(quarantine, &refusals[i], &line);
    for (int kind = 0; kind < REFUSAL_COUNT; kind++) {
        wire[kind] = hub_refused(hub, (enum refusal)kind);
        if (wire[kind] > quarantine->wire[kind] && has_room(quarantine, (enum refusal)kind) &&
            status == STATUS_OK)
            status = write_wire(quarantine, (enum refusal)kind, wire[kind] - quarantine->wire[kind],
                                &line);
        quarantine->wire[kind] = wire[kind];
    }
    book_wire_refused(book, wire);
    buffer_free(&line);
    if (status != STATUS_OK)
        LOG_WARN("store", "a line of quarantine is lost", "why=\"%s\"", status_last_error());
}
