/* learner/store.c - the learner's side of its conversation with the store. */
#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/wait.h"
#include "learner/learner_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    POLL_MS = 100,
    /* An unanswered request is said again: the store forgets them when it restarts. */
    RETRY_MS = 1000,
    GROUP_RETRY_MS = 5000, /* groups are large */
    GROUP_WINDOW = 32,
    ACK_DEADLINE_MS = 60000,
    DRAIN_ACK_MS = 5000
};

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    struct learner *learner = self;
    static struct buffer json; /* one learner a process; valid until the next heartbeat */
    size_t count = 0;
    const struct metric_row *rows = learner_metrics_table(&count);
    heartbeat->version = learner->version;
    heartbeat->stats_json = metrics_object(rows, count, &learner->metrics, &json);
}

enum status learner_connect(struct learner *learner, const char *endpoint)
{
    char numerics[256];
    model_numerics(learner->trainer.model, numerics, sizeof numerics);
    struct hello hello = {.run = learner->run,
                          .role = ROLE_LEARNER,
                          .host = "localhost",
                          .layout_hash = model_layout_hash(learner->trainer.model),
                          .numerics_id = hash64(numerics, strlen(numerics), 0),
                          .numerics = numerics};
    TRY(link_open(&learner->link, endpoint, &hello));
    link_set_heartbeat(learner->link, fill_heartbeat, learner);
    learner->request = link_incarnation(learner->link);
    return STATUS_OK;
}

/* Messages that may come at any time. */
static void take_common(struct learner *learner, const struct message *message)
{
    if (message->type == MESSAGE_welcome)
        learner->branch = message->welcome.branch;
    if (message->type == MESSAGE_weight_control)
        publisher_take(learner, &message->weight_control);
    if (message->type != MESSAGE_notice)
        return; /* nothing, or an answer to a request we said twice */
    learner->notices++;
    learner->branch = message->notice.branch;
    if (message->notice.draining && !learner->draining)
        LOG_INFO("learner", "draining", "reason=\"%s\"", message->notice.reason);
    learner->draining = message->notice.draining;
    learner->stopping = message->notice.stopping;
}

/* A refusal ends the process; CANCELLED is kept for runs that end as asked. The broadcast moves on when no message is
 * left. */
static enum status poll_store(struct learner *learner, int64_t timeout_ms, struct arena *arena,
                              struct message *message)
{
    timeout_ms = publisher_pause_ms(learner, timeout_ms);
    enum status status = link_poll(learner->link, timeout_ms, -1, arena, message);
    if (status == STATUS_OK && message->type == MESSAGE_NONE)
        return publisher_turn(learner);
    if (status != STATUS_CANCELLED)
        return status;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", status_last_error());
    return FAIL(STATUS_INVALID, "%s", sentence);
}

static enum status second_signal(const struct learner *learner, const char *name)
{
    if (learner->stop_signals == NULL || *learner->stop_signals < 2)
        return STATUS_OK;
    return FAIL(STATUS_CANCELLED, "%s: stopped by a second signal", name);
}

enum status learner_idle(struct learner *learner)
{
    for (;;) {
        struct message message = {0};
        arena_reset(learner->mail);
        TRY(second_signal(learner, "training"));
        TRY(poll_store(learner, 0, learner->mail, &message));
        if (message.type == MESSAGE_NONE)
            return STATUS_OK;
        take_common(learner, &message);
    }
}

/* ---- conversations ---- */

struct conversation {
    const char *name;
    int64_t timeout_ms;
    bool may_cancel;               /* a drain ends it */
    const struct message *request; /* NULL: only listens */
    struct arena *arena;           /* reset before each message */
    /* True: this message is the answer. */
    bool (*done)(void *self, const struct message *message);
    void *self;
};

static bool run_ends(const struct learner *learner)
{
    return learner->draining || learner->stopping || *learner->stop_signals > 0;
}

/* A signal leaves little time: what must still be said to the store gets DRAIN_ACK_MS, then it is down. */
static enum status heed_signals(const struct learner *learner, const char *name, bool may_cancel,
                                struct wait *wait)
{
    TRY(second_signal(learner, name));
    if (may_cancel && run_ends(learner))
        return FAIL(STATUS_CANCELLED, "%s: the run ends", name);
    int64_t soon_ns = clock_now_ns() + DRAIN_ACK_MS * (int64_t)CLOCK_NS_PER_MS;
    if (*learner->stop_signals > 0 && !link_welcomed(learner->link) && wait->deadline_ns > soon_ns)
        wait->deadline_ns = soon_ns;
    return STATUS_OK;
}

/* Says the request, again every RETRY_MS and after each new connection. */
static enum status say(struct learner *learner, const struct message *request, uint32_t *connection,
                       int64_t *next_ns)
{
    if (request == NULL || !link_welcomed(learner->link) ||
        (clock_now_ns() < *next_ns && *connection == link_reconnects(learner->link)))
        return STATUS_OK;
    enum status status = link_send(learner->link, request);
    if (status != STATUS_OK && status != STATUS_AGAIN)
        return status;
    *connection = link_reconnects(learner->link);
    *next_ns =
        clock_now_ns() + (status == STATUS_OK ? RETRY_MS : POLL_MS) * (int64_t)CLOCK_NS_PER_MS;
    return STATUS_OK;
}

static enum status converse(struct learner *learner, const struct conversation *talk)
{
    struct wait wait = wait_begin(talk->name, "store", talk->timeout_ms);
    int64_t next_ns = 0;
    uint32_t connection = 0;
    enum status status = STATUS_OK;
    bool answered = false;
    while (status == STATUS_OK && !answered && wait_left_ms(&wait) > 0) {
        struct message message = {0};
        status = heed_signals(learner, talk->name, talk->may_cancel, &wait);
        if (status == STATUS_OK)
            status = say(learner, talk->request, &connection, &next_ns);
        if (status != STATUS_OK)
            break;
        arena_reset(talk->arena);
        status = poll_store(learner, wait_slice_ms(&wait, POLL_MS), talk->arena, &message);
        if (status == STATUS_OK) {
            take_common(learner, &message);
            answered = message.type != MESSAGE_NONE && talk->done(talk->self, &message);
        }
    }
    enum status waited = wait_end(&wait, answered || status != STATUS_OK);
    return status != STATUS_OK ? status : waited;
}

static bool is_notice(void *self, const struct message *message)
{
    (void)self;
    return message->type == MESSAGE_notice;
}

enum status learner_await_notice(struct learner *learner)
{
    return converse(learner, &(struct conversation){.name = "notice",
                                                    .timeout_ms = ACK_DEADLINE_MS,
                                                    .arena = learner->mail,
                                                    .done = is_notice});
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

static enum status acknowledged(struct learner *learner, const char *name, bool may_cancel,
                                const struct message *request, uint64_t id)
{
    struct ack_wait wanted = {.request = id};
    TRY(converse(learner, &(struct conversation){.name = name,
                                                 .timeout_ms = ACK_DEADLINE_MS,
                                                 .may_cancel = may_cancel,
                                                 .request = request,
                                                 .arena = learner->mail,
                                                 .done = take_ack,
                                                 .self = &wanted}));
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
    return acknowledged(learner, "register version", !learner->mid_plan, &request,
                        learner->request);
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
    return acknowledged(learner, "report checkpoint", false, &request, learner->request);
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
    struct plan_wait wanted = {.version = learner->version + 1, .plan = plan};
    struct message request = {.type = MESSAGE_plan_request,
                              .plan_request = {.version = learner->version,
                                               .branch = learner->branch,
                                               .checkpoint_version = learner->checkpoint_version,
                                               .checkpoint_digest = learner->checkpoint_digest}};
    return converse(learner,
                    &(struct conversation){
                        .name = "plan",
                        .timeout_ms = (int64_t)learner->settings->learner.plan_timeout_s * 1000,
                        .may_cancel = true,
                        .request = &request,
                        .arena = learner->arena,
                        .done = take_plan,
                        .self = &wanted});
}

/* Groups of a plan on their way: at most GROUP_WINDOW asked for, and they come in any order. */
struct group_fetch {
    const struct plan *plan;
    struct group_data *groups;
    uint32_t pending[GROUP_WINDOW]; /* indices into the plan */
    uint32_t pending_count, sent;   /* the first `sent` of them are asked for */
    uint32_t next;                  /* first index not yet pending */
};

static enum status ask_groups(struct learner *learner, struct group_fetch *fetch)
{
    while (fetch->pending_count < GROUP_WINDOW && fetch->next < fetch->plan->group_count)
        fetch->pending[fetch->pending_count++] = fetch->next++;
    for (; fetch->sent < fetch->pending_count && link_welcomed(learner->link); fetch->sent++) {
        uint64_t id = fetch->plan->group_ids[fetch->pending[fetch->sent]];
        struct message request = {.type = MESSAGE_group_request, .group_request = {id}};
        enum status status = link_send(learner->link, &request);
        if (status != STATUS_OK)
            return status == STATUS_AGAIN ? STATUS_OK : status;
    }
    return STATUS_OK;
}

/* Position of a group among the pending ones, pending_count when it is not there. */
static uint32_t find_pending(const struct group_fetch *fetch, uint64_t group_id)
{
    uint32_t at = 0;
    while (at < fetch->pending_count && fetch->plan->group_ids[fetch->pending[at]] != group_id)
        at++;
    return at;
}

static enum status take_group(struct group_fetch *fetch, const struct message *message, bool *took)
{
    if (message->type == MESSAGE_ack && !message->ack.ok &&
        find_pending(fetch, message->ack.request) < fetch->pending_count)
        return FAIL(STATUS_INVALID, "plan of version %" PRIu64 ": the store says: %s",
                    fetch->plan->version, message->ack.error);
    if (message->type != MESSAGE_group_data)
        return STATUS_OK;
    uint32_t at = find_pending(fetch, message->group_data.group_id);
    if (at == fetch->pending_count)
        return STATUS_OK; /* came twice */
    fetch->groups[fetch->pending[at]] = message->group_data;
    fetch->pending_count--;
    memmove(fetch->pending + at, fetch->pending + at + 1,
            (fetch->pending_count - at) * sizeof *fetch->pending);
    fetch->sent -= at < fetch->sent;
    *took = true;
    return STATUS_OK;
}

/* Until one group came. What the store lost by a restart is asked for again. */
static enum status next_group(struct learner *learner, struct group_fetch *fetch)
{
    struct wait wait = wait_begin("group", "store", ACK_DEADLINE_MS);
    int64_t again_ns = clock_now_ns() + GROUP_RETRY_MS * (int64_t)CLOCK_NS_PER_MS;
    uint32_t connection = link_reconnects(learner->link);
    enum status status = STATUS_OK;
    bool took = false;
    while (status == STATUS_OK && !took && wait_left_ms(&wait) > 0) {
        if (clock_now_ns() >= again_ns || connection != link_reconnects(learner->link)) {
            again_ns = clock_now_ns() + GROUP_RETRY_MS * (int64_t)CLOCK_NS_PER_MS;
            connection = link_reconnects(learner->link);
            fetch->sent = 0;
        }
        struct message message = {0};
        status = heed_signals(learner, "group", true, &wait);
        if (status == STATUS_OK)
            status = ask_groups(learner, fetch);
        if (status == STATUS_OK)
            status = poll_store(learner, wait_slice_ms(&wait, POLL_MS), learner->arena, &message);
        if (status != STATUS_OK)
            break;
        take_common(learner, &message);
        status = take_group(fetch, &message, &took);
    }
    enum status waited = wait_end(&wait, took || status != STATUS_OK);
    return status != STATUS_OK ? status : waited;
}

enum status learner_fetch_groups(struct learner *learner, const struct plan *plan,
                                 struct group_data *groups)
{
    struct group_fetch fetch = {.plan = plan, .groups = groups};
    do
        TRY(next_group(learner, &fetch));
    while (fetch.pending_count > 0 || fetch.next < plan->group_count);
    return STATUS_OK;
}
