/* learner/store.c - the learner's errands to the store (learner/errand.h), driven around its link and the clock. */
#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/wait.h"
#include "learner/errand.h"
#include "learner/learner_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { POLL_MS = 100, ACK_DEADLINE_MS = 60000, DRAIN_ACK_MS = 5000 };

static void fill_heartbeat(void *self, struct heartbeat *heartbeat)
{
    struct learner *learner = self;
    static struct buffer json; /* one learner a process; valid until the next heartbeat */
    size_t count = 0;
    const struct metric_row *rows = learner_metrics_table(&count);
    heartbeat->version = learner->version;
    heartbeat->stats_json = monitor_stats(learner->monitor, rows, count, &learner->metrics, &json);
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
                          .numerics = numerics,
                          .vocabulary =
                              (uint32_t)model_get_shape(learner->trainer.model)->vocabulary};
    TRY(link_open(&learner->link, endpoint, learner->settings->run.keys, &hello));
    link_set_heartbeat(learner->link, fill_heartbeat, learner);
    learner->request = link_incarnation(learner->link);
    return STATUS_OK;
}

/* The main loop turned: for probes, and every redis.publish_ms for Redis. Ready: the store knows us. */
static void beat(struct learner *learner)
{
    int64_t now_ns = clock_now_ns();
    bool joined = link_welcomed(learner->link);
    monitor_beat(learner->monitor);
    if (learner->ready != joined)
        monitor_set_ready(learner->monitor, joined, "the store has not welcomed it");
    learner->ready = joined;
    if (learner->redis == NULL ||
        now_ns - learner->published_ns <
            (int64_t)learner->settings->redis.publish_ms * CLOCK_NS_PER_MS)
        return;
    struct heartbeat heartbeat = {0};
    learner->published_ns = now_ns;
    fill_heartbeat(learner, &heartbeat);
    redis_view_hash(learner->redis, "proc:learner:0", heartbeat.stats_json,
                    redis_process_expire_s(&learner->settings->redis));
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
    beat(learner);
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
    while (learner->link != NULL) { /* a replay has none */
        struct message message = {0};
        arena_reset(learner->mail);
        TRY(second_signal(learner, "training"));
        TRY(poll_store(learner, 0, learner->mail, &message));
        if (message.type == MESSAGE_NONE)
            break;
        take_common(learner, &message);
    }
    return STATUS_OK;
}

/* ---- errands ---- */

struct drive {
    int64_t timeout_ms;  /* begins anew at each answer */
    bool may_cancel;     /* a drain ends it */
    bool collects;       /* what came stays in the arena; else it is reset before each message */
    struct arena *arena; /* of the messages */
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

static enum status send_errand(void *self, const struct message *message)
{
    struct learner *learner = self;
    return link_send(learner->link, message);
}

/* One message out and one in, at most. */
static enum status errand_turn(struct learner *learner, struct errand *errand,
                               const struct drive *drive, int64_t timeout_ms)
{
    struct message message = {0};
    uint32_t welcomes = link_welcomed(learner->link) ? link_reconnects(learner->link) + 1 : 0;
    TRY(errand_say(errand, clock_now_ns(), welcomes, send_errand, learner));
    if (!drive->collects)
        arena_reset(drive->arena);
    TRY(poll_store(learner, timeout_ms, drive->arena, &message));
    take_common(learner, &message);
    return errand_hear(errand, &message);
}

/* Until the next answer. */
static enum status await_answer(struct learner *learner, struct errand *errand,
                                const struct drive *drive)
{
    struct wait wait = wait_begin(errand->name, "store", drive->timeout_ms);
    uint32_t answers = errand->answers;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && errand->answers == answers && wait_left_ms(&wait) > 0) {
        status = heed_signals(learner, errand->name, drive->may_cancel, &wait);
        if (status == STATUS_OK)
            status = errand_turn(learner, errand, drive, wait_slice_ms(&wait, POLL_MS));
    }
    enum status waited = wait_end(&wait, errand->answers != answers || status != STATUS_OK);
    return status != STATUS_OK ? status : waited;
}

static enum status run_errand(struct learner *learner, struct errand *errand,
                              const struct drive *drive)
{
    while (!errand_done(errand))
        TRY(await_answer(learner, errand, drive));
    return STATUS_OK;
}

enum status learner_await_notice(struct learner *learner)
{
    struct errand errand;
    errand_notice(&errand);
    return run_errand(learner, &errand,
                      &(struct drive){.timeout_ms = ACK_DEADLINE_MS, .arena = learner->mail});
}

enum status learner_register(struct learner *learner, uint64_t version, uint64_t parent,
                             uint64_t digest)
{
    struct errand errand;
    errand_register(&errand, &(struct version_register){.request = ++learner->request,
                                                        .branch = learner->branch,
                                                        .version = version,
                                                        .parent = parent,
                                                        .digest = digest,
                                                        .weights_path = learner->weights_path});
    return run_errand(learner, &errand,
                      &(struct drive){.timeout_ms = ACK_DEADLINE_MS,
                                      .may_cancel = !learner->mid_plan,
                                      .arena = learner->mail});
}

enum status learner_report_checkpoint(struct learner *learner, uint64_t version, uint64_t digest,
                                      const char *path)
{
    struct errand errand;
    errand_checkpoint(&errand, &(struct checkpoint_report){.request = ++learner->request,
                                                           .branch = learner->branch,
                                                           .version = version,
                                                           .digest = digest,
                                                           .path = path});
    return run_errand(learner, &errand,
                      &(struct drive){.timeout_ms = ACK_DEADLINE_MS, .arena = learner->mail});
}

enum status learner_fetch_plan(struct learner *learner, struct plan *plan)
{
    struct errand errand;
    errand_plan(&errand,
                &(struct plan_request){.version = learner->version,
                                       .branch = learner->branch,
                                       .checkpoint_version = learner->checkpoint_version,
                                       .checkpoint_digest = learner->checkpoint_digest},
                plan);
    return run_errand(
        learner, &errand,
        &(struct drive){.timeout_ms = (int64_t)learner->settings->learner.plan_timeout_s * 1000,
                        .may_cancel = true,
                        .arena = learner->arena});
}

enum status learner_fetch_groups(struct learner *learner, struct plan *plan,
                                 struct group_data *groups)
{
    struct errand errand;
    errand_groups(&errand, plan, groups);
    return run_errand(learner, &errand,
                      &(struct drive){.timeout_ms = ACK_DEADLINE_MS,
                                      .may_cancel = true,
                                      .collects = true,
                                      .arena = learner->arena});
}
