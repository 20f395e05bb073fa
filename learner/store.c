/* learner/store.c - the learner's side of its conversation with the store. */
#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/wait.h"
#include "learner/learner_state.h"

#include <inttypes.h>
#include <string.h>

enum {
    POLL_MS = 100,
    RETRY_MS =
        1000, /* an unanswered request is said again: the store forgets them when it restarts */
    ACK_DEADLINE_MS = 60000
};

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    struct learner *learner = self;
    static struct buffer json; /* one learner a process; valid until the next heartbeat */
    size_t count = 0;
    const struct metric_row *rows = learner_metrics_table(&count);
    buffer_clear(&json);
    enum status status = buffer_text(&json, "{");
    if (status == STATUS_OK)
        status = metrics_json(rows, count, &learner->metrics, &json);
    if (status == STATUS_OK)
        status = buffer_text(&json, "}");
    heartbeat->version = learner->version;
    heartbeat->stats_json = status == STATUS_OK ? buffer_string(&json) : "{}";
}

enum status learner_connect(struct learner *learner, const char *endpoint)
{
    char numerics[256];
    model_numerics(learner->trainer.model, numerics, sizeof numerics);
    struct hello hello = {.run = learner->run,
                          .role = ROLE_LEARNER,
                          .host = "localhost",
                          .layout_hash = model_parameters(learner->trainer.model)->layout_hash,
                          .numerics_id = hash64(numerics, strlen(numerics), 0),
                          .numerics = numerics};
    TRY(link_open(&learner->link, endpoint, &hello));
    link_set_heartbeat(learner->link, fill_heartbeat, learner);
    return STATUS_OK;
}

/* Messages that may come at any time. */
static enum status take_common(struct learner *learner, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_welcome:
        learner->published = message->welcome.version;
        learner->branch = message->welcome.branch;
        return STATUS_OK;
    case MESSAGE_refused:
        return FAIL(STATUS_INVALID, "the store refused this learner: %s", message->refused.reason);
    case MESSAGE_notice:
        learner->branch = message->notice.branch;
        if (message->notice.draining && !learner->draining)
            LOG_INFO("learner", "draining", "reason=\"%s\"", message->notice.reason);
        learner->draining = message->notice.draining;
        learner->stopping = message->notice.stopping;
        return STATUS_OK;
    default:
        return STATUS_OK; /* an answer to a request we said twice */
    }
}

enum status learner_idle(struct learner *learner)
{
    for (;;) {
        struct message message = {0};
        TRY(link_poll(learner->link, 0, -1, learner->arena, &message));
        if (message.type == MESSAGE_NONE)
            return STATUS_OK;
        TRY(take_common(learner, &message));
    }
}

static bool cancelled(const struct learner *learner)
{
    return learner->draining || learner->stopping || *learner->stop_signals > 0;
}

/* Says `request` and again every RETRY_MS until `done` accepts a message. */
typedef bool (*answer_fn)(void *self, const struct message *message);
static enum status converse(struct learner *learner, const char *name, int64_t timeout_ms,
                            bool may_cancel, const struct message *request, answer_fn done,
                            void *self)
{
    struct wait wait = wait_begin(name, "store", timeout_ms);
    int64_t next_ns = 0;
    enum status status = STATUS_OK;
    bool answered = false;
    while (!answered && wait_left_ms(&wait) > 0) {
        if (may_cancel && cancelled(learner)) {
            status = FAIL(STATUS_CANCELLED, "%s: the run ends", name);
            break;
        }
        if (link_welcomed(learner->link) && clock_now_ns() >= next_ns) {
            status = link_send(learner->link, request);
            if (status != STATUS_OK && status != STATUS_AGAIN)
                break;
            next_ns = clock_now_ns() +
                      (status == STATUS_OK ? RETRY_MS : POLL_MS) * (int64_t)CLOCK_NS_PER_MS;
        }
        struct message message = {0};
        status =
            link_poll(learner->link, wait_slice_ms(&wait, POLL_MS), -1, learner->arena, &message);
        if (status != STATUS_OK)
            break;
        answered = message.type != MESSAGE_NONE && done(self, &message);
        if (!answered && message.type != MESSAGE_NONE)
            status = take_common(learner, &message);
        if (status != STATUS_OK)
            break;
    }
    enum status waited = wait_end(&wait, answered || status != STATUS_OK);
    return status != STATUS_OK ? status : waited;
}

/* ---- acknowledged requests ---- */

struct ack_wait {
    uint64_t request;
    bool ok;
    char error[512];
};

static bool take_ack(void *self, const struct message *message)
{
    struct ack_wait *wanted = self;
    if (message->type != MESSAGE_ack || message->ack.request != wanted->request)
        return false;
    wanted->ok = message->ack.ok;
    snprintf(wanted->error, sizeof wanted->error, "%s", message->ack.error);
    return true;
}

static enum status acknowledged(struct learner *learner, const char *name,
                                const struct message *request, uint64_t id)
{
    struct ack_wait wanted = {.request = id};
    TRY(converse(learner, name, ACK_DEADLINE_MS, false, request, take_ack, &wanted));
    return wanted.ok ? STATUS_OK
                     : FAIL(STATUS_INVALID, "%s: the store says: %s", name, wanted.error);
}

enum status learner_register(struct learner *learner, uint64_t version, uint64_t parent,
                             uint64_t digest)
{
    struct message request = {.type = MESSAGE_version_register,
                              .version_register = {.request = ++learner->request,
                                                   .branch = learner->branch,
                                                   .version = version,
                                                   .parent = parent,
                                                   .digest = digest,
                                                   .weights_path = learner->weights_path}};
    return acknowledged(learner, "register version", &request, learner->request);
}

enum status learner_report_checkpoint(struct learner *learner, uint64_t version, uint64_t digest,
                                      const char *path)
{
    struct message request = {.type = MESSAGE_checkpoint_report,
                              .checkpoint_report = {.request = ++learner->request,
                                                    .branch = learner->branch,
                                                    .version = version,
                                                    .digest = digest,
                                                    .path = path}};
    return acknowledged(learner, "report checkpoint", &request, learner->request);
}

/* ---- plan and groups ---- */

struct plan_wait {
    uint64_t version;
    struct plan *plan;
};

static bool take_plan(void *self, const struct message *message)
{
    struct plan_wait *wanted = self;
    if (message->type != MESSAGE_plan || message->plan.version != wanted->version)
        return false;
    *wanted->plan = message->plan;
    return true;
}

enum status learner_fetch_plan(struct learner *learner, struct plan *plan)
{
    arena_reset(learner->arena);
    struct plan_wait wanted = {.version = learner->version + 1, .plan = plan};
    struct message request = {.type = MESSAGE_plan_request,
                              .plan_request = {.version = learner->version,
                                               .branch = learner->branch,
                                               .checkpoint_version = learner->checkpoint_version,
                                               .checkpoint_digest = learner->checkpoint_digest}};
    int64_t timeout_ms = (int64_t)learner->settings->learner.plan_timeout_s * 1000;
    return converse(learner, "plan", timeout_ms, true, &request, take_plan, &wanted);
}

struct group_wait {
    uint64_t group_id;
    struct group_data *group;
};

static bool take_group(void *self, const struct message *message)
{
    struct group_wait *wanted = self;
    if (message->type != MESSAGE_group_data || message->group_data.group_id != wanted->group_id)
        return false;
    *wanted->group = message->group_data;
    return true;
}

/* All requests first, so that the store's answers stream; then each in plan order, asked again if it got lost. */
enum status learner_fetch_groups(struct learner *learner, const struct plan *plan,
                                 struct group_data *groups)
{
    for (uint32_t i = 0; i < plan->group_count; i++) {
        struct group_wait wanted = {.group_id = plan->group_ids[i], .group = &groups[i]};
        struct message request = {.type = MESSAGE_group_request,
                                  .group_request = {.group_id = plan->group_ids[i]}};
        TRY(converse(learner, "group", ACK_DEADLINE_MS, false, &request, take_group, &wanted));
    }
    return STATUS_OK;
}
