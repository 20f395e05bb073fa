/* reward/desk.c - see the header. */
#include "reward/desk.h"

#include <string.h>

#include "core/log.h"
#include "core/memory.h"

enum status reward_desk_open(struct reward_desk *desk, uint64_t incarnation, uint32_t queue)
{
    *desk = (struct reward_desk){.incarnation = incarnation, .queue = queue};
    desk->frames = memory_array(DESK_FRAMES_MAX, sizeof *desk->frames);
    return desk->frames != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "result frames");
}

void reward_desk_wants(struct reward_desk *desk, uint32_t caps)
{
    desk->requested = desk->requested && desk->caps == caps;
    desk->caps = caps;
}

static void frame_free(struct desk_frame *frame)
{
    for (uint32_t i = 0; i < frame->count; i++)
        memory_free(frame->details[i]);
    memory_free(frame);
}

void reward_desk_close(struct reward_desk *desk)
{
    for (uint32_t i = 0; i < desk->frame_count; i++)
        frame_free(desk->frames[i]);
    memory_free(desk->frames);
    *desk = (struct reward_desk){0};
}

/* ---- results in ---- */

static enum status open_frame(struct reward_desk *desk, struct desk_frame **out)
{
    struct desk_frame *frame = desk->frame_count > 0 ? desk->frames[desk->frame_count - 1] : NULL;
    if (frame == NULL || frame->closed || frame->count == DESK_RESULTS_PER_FRAME) {
        if (desk->frame_count == DESK_FRAMES_MAX)
            return FAIL(STATUS_LIMIT, "%d result frames wait for the store", DESK_FRAMES_MAX);
        frame = memory_alloc(sizeof *frame);
        if (frame == NULL)
            return FAIL(STATUS_NO_MEMORY, "result frame");
        frame->frame_id = ++desk->next_frame_id;
        desk->frames[desk->frame_count++] = frame;
    }
    *out = frame;
    return STATUS_OK;
}

static enum status keep_result(struct reward_desk *desk, const struct score *score, char *detail)
{
    struct desk_frame *frame = NULL;
    enum status status = open_frame(desk, &frame);
    if (status != STATUS_OK) {
        memory_free(detail);
        return status;
    }
    frame->scores[frame->count] = *score;
    frame->scores[frame->count].detail_json = detail != NULL ? detail : "{}";
    frame->details[frame->count++] = detail;
    return STATUS_OK;
}

enum status reward_desk_add(struct reward_desk *desk, const struct score *score, char *detail)
{
    desk->working -= desk->working > 0;
    return keep_result(desk, score, detail);
}

bool reward_desk_collects(const struct reward_desk *desk)
{
    return desk->frame_count < DESK_FRAMES_WAITING_MAX;
}

bool reward_desk_empty(const struct reward_desk *desk)
{
    return desk->working == 0 && desk->frame_count == 0;
}

/* ---- messages in ---- */

static enum status take_work(struct reward_desk *desk, const struct score_work *work,
                             reward_desk_take_fn take, void *self)
{
    for (uint32_t i = 0; i < work->count && !desk->leaving; i++) {
        const struct score_item *item = &work->items[i];
        enum status status = take(self, item);
        if (status != STATUS_OK)
            LOG_FAILURE("worker", "item failed before the plugin", status);
        if (item->scored)
            continue;
        if (status == STATUS_OK) {
            desk->working++;
            continue;
        }
        struct score score = {.group_id = item->group_id,
                              .sample = item->sample,
                              .attempt = item->attempt,
                              .status = SCORE_ERROR};
        TRY(keep_result(desk, &score, NULL));
    }
    return STATUS_OK;
}

/* Each frame is acknowledged by itself: one before it may have come damaged, and is said again after the hello that
 * the store asks for then. */
static void acknowledge(struct reward_desk *desk, uint64_t frame_id)
{
    uint32_t at = 0;
    while (at < desk->frame_count && desk->frames[at]->frame_id != frame_id)
        at++;
    if (at == desk->frame_count)
        return;
    frame_free(desk->frames[at]);
    desk->frame_count--;
    memmove(desk->frames + at, desk->frames + at + 1,
            (desk->frame_count - at) * sizeof *desk->frames);
}

enum status reward_desk_hear(struct reward_desk *desk, const struct message *message,
                             reward_desk_take_fn take, void *self)
{
    switch (message->type) {
    case MESSAGE_refused:
        return FAIL(STATUS_INVALID, "the store refused this reward worker: %s",
                    message->refused.reason);
    case MESSAGE_notice:
        desk->stopping = desk->stopping || message->notice.stopping;
        desk->draining = message->notice.draining;
        return STATUS_OK;
    case MESSAGE_score_work:
        return take_work(desk, &message->score_work, take, self);
    case MESSAGE_score_ack:
        acknowledge(desk, message->score_ack.frame_id);
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

/* ---- messages out ---- */

/* What the store may send: the queue without what is still here. */
static uint32_t free_capacity(const struct reward_desk *desk)
{
    uint64_t here = desk->working;
    for (uint32_t i = 0; i < desk->frame_count; i++)
        here += desk->frames[i]->count;
    return desk->leaving || here >= desk->queue ? 0 : desk->queue - (uint32_t)here;
}

static void start_connection(struct reward_desk *desk, uint32_t connection)
{
    if (desk->connection == connection)
        return;
    desk->connection = connection;
    desk->requested = false;
    for (uint32_t i = 0; i < desk->frame_count; i++)
        desk->frames[i]->sent = false;
}

/* Capacity is said once a connection: the store subtracts what it sends and adds what it gets. A restarted
 * store does not know what we had before, so we say less, and all of it again once nothing is left. */
static enum status request_work(struct reward_desk *desk, reward_desk_send_fn send, void *self)
{
    uint32_t capacity = free_capacity(desk);
    bool whole_again = capacity == desk->queue && desk->capacity < capacity;
    bool none_any_more = desk->leaving && desk->capacity > 0;
    if (desk->requested && !whole_again && !none_any_more)
        return STATUS_OK;
    struct message message = {
        .type = MESSAGE_score_request,
        .score_request = {.incarnation = desk->incarnation, .free = capacity, .caps = desk->caps}};
    enum status status = send(self, &message);
    desk->requested = status == STATUS_OK;
    if (status == STATUS_OK)
        desk->capacity = capacity;
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

static enum status send_frames(struct reward_desk *desk, reward_desk_send_fn send, void *self)
{
    for (uint32_t i = 0; i < desk->frame_count; i++) {
        struct desk_frame *frame = desk->frames[i];
        if (frame->sent)
            continue;
        struct message message = {.type = MESSAGE_score_result,
                                  .score_result = {.frame_id = frame->frame_id,
                                                   .incarnation = desk->incarnation,
                                                   .count = frame->count,
                                                   .scores = frame->scores}};
        enum status status = send(self, &message);
        if (status == STATUS_AGAIN)
            return STATUS_OK;
        if (status != STATUS_OK)
            return status;
        frame->sent = frame->closed = true;
    }
    return STATUS_OK;
}

enum status reward_desk_say(struct reward_desk *desk, uint32_t connection, reward_desk_send_fn send,
                            void *self)
{
    start_connection(desk, connection);
    TRY(request_work(desk, send, self));
    return send_frames(desk, send, self);
}
