/* learner/errand.c - see the header. */
#include "learner/errand.h"

#include <inttypes.h>
#include <string.h>

static const int64_t NS_PER_MS = 1000000;

/* ---- the five kinds ---- */

void errand_plan(struct errand *errand, const struct plan_request *request, struct plan *plan)
{
    *errand = (struct errand){.kind = ERRAND_PLAN,
                              .name = "plan",
                              .request = {.type = MESSAGE_plan_request, .plan_request = *request},
                              .plan = plan};
}

void errand_groups(struct errand *errand, struct plan *plan, struct group_data *groups)
{
    *errand = (struct errand){.kind = ERRAND_GROUPS,
                              .name = "group",
                              .plan = plan,
                              .groups = groups,
                              .done = plan->group_count == 0};
}

void errand_register(struct errand *errand, const struct version_register *request)
{
    *errand = (struct errand){
        .kind = ERRAND_REGISTER,
        .name = "register version",
        .request = {.type = MESSAGE_version_register, .version_register = *request}};
}

void errand_checkpoint(struct errand *errand, const struct checkpoint_report *request)
{
    *errand = (struct errand){
        .kind = ERRAND_CHECKPOINT,
        .name = "report checkpoint",
        .request = {.type = MESSAGE_checkpoint_report, .checkpoint_report = *request}};
}

void errand_notice(struct errand *errand)
{
    *errand = (struct errand){.kind = ERRAND_NOTICE, .name = "notice"};
}

/* ---- out ---- */

static int64_t again_after(const struct errand *errand)
{
    int64_t ms = errand->kind == ERRAND_GROUPS ? ERRAND_GROUP_AGAIN_MS : ERRAND_AGAIN_MS;
    return ms * NS_PER_MS;
}

/* The window is filled up; AGAIN leaves the rest of it for later. */
static enum status ask_groups(struct errand *errand, errand_send_fn send, void *self)
{
    while (errand->pending_count < ERRAND_WINDOW && errand->next < errand->plan->group_count)
        errand->pending[errand->pending_count++] = errand->next++;
    for (; errand->asked < errand->pending_count; errand->asked++) {
        uint64_t id = errand->plan->group_ids[errand->pending[errand->asked]];
        struct message request = {.type = MESSAGE_group_request, .group_request = {id}};
        TRY(send(self, &request));
    }
    return STATUS_OK;
}

static bool is_due(const struct errand *errand, int64_t now_ns, uint32_t welcomes)
{
    return !errand->said || errand->welcomes != welcomes || now_ns >= errand->again_ns;
}

enum status errand_say(struct errand *errand, int64_t now_ns, uint32_t welcomes,
                       errand_send_fn send, void *self)
{
    if (errand->done || errand->kind == ERRAND_NOTICE || welcomes == 0)
        return STATUS_OK;
    bool due = is_due(errand, now_ns, welcomes);
    if (due && errand->kind == ERRAND_GROUPS)
        errand->asked = 0; /* what a restarted store lost is asked for again */
    if (!due && errand->kind != ERRAND_GROUPS)
        return STATUS_OK;
    enum status status = errand->kind == ERRAND_GROUPS ? ask_groups(errand, send, self)
                                                       : send(self, &errand->request);
    if (status != STATUS_OK && status != STATUS_AGAIN)
        return status;
    errand->said = true;
    errand->welcomes = welcomes;
    if (due)
        errand->again_ns = now_ns + (status == STATUS_OK || errand->kind == ERRAND_GROUPS
                                         ? again_after(errand)
                                         : ERRAND_FULL_MS * NS_PER_MS);
    return STATUS_OK;
}

int64_t errand_due_ns(const struct errand *errand)
{
    if (errand->done || errand->kind == ERRAND_NOTICE)
        return INT64_MAX;
    return errand->said ? errand->again_ns : INT64_MIN;
}

/* ---- in ---- */

static enum status hear_ack(struct errand *errand, const struct message *message, uint64_t request)
{
    if (message->type != MESSAGE_ack || message->ack.request != request)
        return STATUS_OK;
    errand->done = true;
    errand->answers++;
    return message->ack.ok
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "%s: the store says: %s", errand->name, message->ack.error);
}

static enum status hear_plan(struct errand *errand, const struct message *message)
{
    if (message->type != MESSAGE_plan ||
        message->plan.version != errand->request.plan_request.version + 1)
        return STATUS_OK;
    *errand->plan = message->plan;
    errand->done = true;
    errand->answers++;
    return STATUS_OK;
}

/* Position of a group among the pending ones, pending_count when it is not there. */
static uint32_t find_pending(const struct errand *errand, uint64_t group_id)
{
    uint32_t at = 0;
    while (at < errand->pending_count && errand->plan->group_ids[errand->pending[at]] != group_id)
        at++;
    return at;
}

static enum status hear_group(struct errand *errand, const struct message *message)
{
    if (message->type == MESSAGE_ack && !message->ack.ok &&
        find_pending(errand, message->ack.request) < errand->pending_count)
        return FAIL(STATUS_INVALID, "plan of version %" PRIu64 ": the store says: %s",
                    errand->plan->version, message->ack.error);
    if (message->type != MESSAGE_group_data)
        return STATUS_OK;
    uint32_t at = find_pending(errand, message->group_data.group_id);
    if (at == errand->pending_count)
        return STATUS_OK; /* came twice */
    errand->groups[errand->pending[at]] = message->group_data;
    errand->pending_count--;
    memmove(errand->pending + at, errand->pending + at + 1,
            (errand->pending_count - at) * sizeof *errand->pending);
    errand->asked -= at < errand->asked;
    errand->answers++;
    errand->done = errand->pending_count == 0 && errand->next == errand->plan->group_count;
    return STATUS_OK;
}

enum status errand_hear(struct errand *errand, const struct message *message)
{
    if (errand->done)
        return STATUS_OK;
    switch (errand->kind) {
    case ERRAND_PLAN:
        return hear_plan(errand, message);
    case ERRAND_GROUPS:
        return hear_group(errand, message);
    case ERRAND_REGISTER:
        return hear_ack(errand, message, errand->request.version_register.request);
    case ERRAND_CHECKPOINT:
        return hear_ack(errand, message, errand->request.checkpoint_report.request);
    case ERRAND_NOTICE:
        errand->done = message->type == MESSAGE_notice;
        errand->answers += errand->done;
        return STATUS_OK;
    }
    return STATUS_OK;
}
