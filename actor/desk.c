#include "actor/desk_state.h"

#include "core/log.h"
#include "core/memory.h"

#include <inttypes.h>
#include <string.h>

enum { REFUSED_SPARE = 64 };

enum status desk_create(struct desk *desk, const struct desk_config *config)
{
    *desk = (struct desk){.config = *config,
                          .version_known = UINT64_MAX,
                          .refused_limit = config->slots + REFUSED_SPARE};
    size_t bytes_max =
        config->unacked_bytes_max > 0 ? config->unacked_bytes_max : DESK_UNACKED_BYTES_MAX;
    desk->slots = memory_array(config->slots, sizeof *desk->slots);
    desk->ready = memory_array(config->slots, sizeof *desk->ready);
    desk->refused = memory_array(desk->refused_limit, sizeof *desk->refused);
    enum status status = STATUS_OK;
    if (desk->slots == NULL || desk->ready == NULL || desk->refused == NULL)
        status = FAIL(STATUS_NO_MEMORY, "%u slots", config->slots);
    if (status == STATUS_OK)
        status = segment_writer_create(&desk->writer, config->unacked_frames_max, bytes_max);
    if (status != STATUS_OK)
        desk_destroy(desk);
    return status;
}

void desk_destroy(struct desk *desk)
{
    segment_writer_destroy(&desk->writer);
    for (uint32_t i = 0; desk->slots != NULL && i < desk->config.slots; i++)
        slot_clear(&desk->slots[i]);
    memory_free(desk->slots);
    memory_free(desk->ready);
    memory_free(desk->refused);
    *desk = (struct desk){0};
}

/* ---- messages ---- */

static void note_path(struct desk *desk, const char *path)
{
    if (path != NULL && path[0] != '\0')
        snprintf(desk->weights_path, sizeof desk->weights_path, "%s", path);
}

static void take_notice(struct desk *desk, const struct notice *notice)
{
    note_path(desk, notice->weights_path);
    desk->version_known = notice->version;
    desk->digest_known = notice->digest;
    desk->branch_known = notice->branch;
    if (notice->stopping && !desk->stopping) {
        LOG_INFO("actor", "stopping", "reason=\"%s\"", notice->reason);
        desk->stopping = true;
    }
    if (notice->draining && !desk->draining) {
        LOG_INFO("actor", "draining", "reason=\"%s\"", notice->reason);
        desk->draining = true;
    }
}

enum status desk_take(struct desk *desk, int64_t now_ns, const struct message *message)
{
    (void)now_ns;
    switch (message->type) {
    case MESSAGE_welcome:
        desk->run_seed = message->welcome.run_seed;
        note_path(desk, message->welcome.weights_path);
        /* At every (re)connection: what the store may not have comes again, before anything newer. */
        segment_writer_resend(&desk->writer);
        desk->requested = false;
        return STATUS_OK;
    case MESSAGE_notice:
        take_notice(desk, &message->notice);
        return STATUS_OK;
    case MESSAGE_lease_grant:
        return desk->handing_back ? STATUS_OK : desk_take_grant(desk, &message->lease_grant);
    case MESSAGE_frame_ack:
        segment_writer_acknowledge(&desk->writer, message->frame_ack.frame_id);
        desk_cancel(desk, message->frame_ack.cancelled, message->frame_ack.cancelled_count);
        return STATUS_OK;
    default:
        LOG_WARN("actor", "ignored a message", "type=%s", message_name(message->type));
        return STATUS_OK;
    }
}

/* ---- weights ---- */

bool desk_is_newer(const struct desk *desk, uint64_t version, uint32_t branch, uint64_t digest)
{
    bool newer = !desk->serving || branch > desk->branch ||
                 (branch == desk->branch && version > desk->version);
    bool other = branch == desk->branch_known && version == desk->version_known &&
                 desk->digest_known != 0 && digest != desk->digest_known;
    return newer && !other;
}

void desk_weights(struct desk *desk, uint64_t version, uint32_t branch, uint64_t digest)
{
    desk->serving = true;
    desk->version = version;
    desk->branch = branch;
    desk->digest = digest;
}

enum status desk_flush(struct desk *desk, int64_t now_ns, bool *all)
{
    TRY(desk_send_frames(desk, now_ns, true));
    *all = !segment_writer_full(&desk->writer);
    return STATUS_OK;
}

/* ---- turns ---- */

/* A capacity, said once per connection; the store subtracts what it has leased to us. */
static enum status request_leases(struct desk *desk)
{
    if (desk_leased(desk) == 0 || desk->requested || !desk->serving || desk->draining ||
        desk->handing_back)
        return STATUS_OK;
    struct message message = {.type = MESSAGE_lease_request,
                              .lease_request = {.incarnation = desk->config.incarnation,
                                                .slots = desk_leased(desk),
                                                .tokens = desk->config.cache_tokens,
                                                .version = desk->version}};
    enum status status = desk->config.send(desk->config.self, &message);
    if (status == STATUS_AGAIN)
        return STATUS_OK;
    desk->requested = status == STATUS_OK;
    return status;
}

enum status desk_turn(struct desk *desk, int64_t now_ns)
{
    TRY(request_leases(desk));
    return desk_send_frames(desk, now_ns, false);
}

void desk_hand_back(struct desk *desk)
{
    desk->handing_back = true;
}

bool desk_holds_slots(const struct desk *desk)
{
    for (uint32_t i = 0; i < desk_leased(desk); i++)
        if (desk->slots[i].state != SLOT_FREE)
            return true;
    return false;
}

bool desk_is_empty(const struct desk *desk)
{
    return desk->writer.count == 0 && !desk_holds_slots(desk);
}
