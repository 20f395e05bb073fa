/* actor/weights.c - new weights between two decode steps (DESIGN.md part 4, Weights). */
#include "actor/actor_state.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/file.h"
#include "core/log.h"

#include <inttypes.h>
#include <string.h>

enum { RETRY_MS = 1000, STALE_MS = 3000 };

/* The copy is wrong: it is not looked at again for a while, or every turn would copy all bytes. */
static enum status refuse_copy(struct actor *actor, uint64_t digest)
{
    metric_add(&actor->engine.metrics.digest_refused, 1);
    actor->refused_digest = digest;
    actor->retry_ns = clock_now_ns() + (int64_t)RETRY_MS * CLOCK_NS_PER_MS;
    return STATUS_AGAIN;
}

static int inactive_set(const struct actor *actor)
{
    return actor->engine.active == 0 ? 1 : 0;
}

/* All bytes of the version are in the inactive set and their digest is the announced one: the set is packed, and only
 * then does the pointer flip. */
static enum status serve(struct actor *actor, uint64_t version, uint64_t digest)
{
    struct model_weights *next = &actor->engine.weights[inactive_set(actor)];
    next->version = version;
    TRY(model_weights_repack_known(actor->engine.model, next, digest));
    actor->engine.active = inactive_set(actor);
    return STATUS_OK;
}

static enum status take_version(struct actor *actor, uint64_t version, uint64_t digest)
{
    struct model_weights *next = &actor->engine.weights[inactive_set(actor)];
    enum status status = weight_receiver_copy(actor->receiver, version, digest, next->flat);
    if (status == STATUS_NOT_FOUND)
        return STATUS_AGAIN; /* a restarted learner is just putting its file there */
    if (status == STATUS_CORRUPT) {
        LOG_FAILURE("weights", "refused a copy", status);
        return refuse_copy(actor, digest);
    }
    return status != STATUS_OK ? status : serve(actor, version, digest);
}

static enum status send_control(void *self, const struct weight_control *control)
{
    const struct actor *actor = self;
    struct message message = {.type = MESSAGE_weight_control, .weight_control = *control};
    return link_send(actor->link, &message);
}

static enum status open_member(struct actor *actor)
{
    const struct weights_settings *settings = &actor->engine.settings->weights;
    struct weight_member_config config = {
        .group = {.device = &actor->device,
                  .nccl_library = settings->nccl_library,
                  .piece_bytes = (size_t)settings->piece_mb << 20},
        .join_timeout_ms = settings->join_timeout_ms,
        .timeout_ms = settings->timeout_ms,
        .bytes = actor->engine.weights_bytes,
        .send = send_control,
        .self = actor,
    };
    return weight_member_open(&actor->member, &config);
}

/* What slots had is reported already, so their next segment is of the new version alone. With `recompute`
 * caches are made again from the tokens; always after a change of branch, whose version numbers say
 * nothing about the age of what was computed on the other one. */
static enum status slots_after_swap(struct actor *actor, bool other_branch)
{
    bool recompute =
        other_branch || actor->engine.settings->actor.kv_on_swap == KV_ON_SWAP_RECOMPUTE;
    for (uint32_t i = 0; i < actor->engine.desk.config.slots; i++) {
        struct slot *slot = &actor->engine.desk.slots[i];
        if (slot->state != SLOT_PREFILL && slot->state != SLOT_DECODE)
            continue;
        if (!recompute && slot->cached > 0)
            continue;
        if (slot->cached > 0) {
            model_cache_close(actor->engine.cache, (int32_t)i);
            TRY(model_cache_open(actor->engine.cache, (int32_t)i, (int32_t)slot->capacity));
            slot->cached = 0;
            slot->rebuilt_at = slot->response;
        }
        slot->kv_version_min = UINT64_MAX;
        slot->state = SLOT_PREFILL;
    }
    return STATUS_OK;
}

/* Tokens of the old weights leave first; when the writer is full the swap waits for an acknowledgement. */
static enum status may_swap(struct actor *actor, bool *may)
{
    return desk_flush(&actor->engine.desk, clock_now_ns(), may);
}

static enum status after_swap(struct actor *actor, uint32_t branch, int64_t begin_ns)
{
    const struct model_weights *weights = &actor->engine.weights[actor->engine.active];
    bool other_branch = branch != actor->engine.desk.branch;
    desk_weights(&actor->engine.desk, weights->version, branch, weights->digest);
    TRY(slots_after_swap(actor, other_branch));
    double ms = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    trace_span("swap", begin_ns, clock_now_ns(), weights->version);
    metric_add(&actor->engine.metrics.swaps, 1);
    metric_set(&actor->engine.metrics.swap_ms, ms);
    metric_observe(&actor->engine.metrics.pause_s, ms / 1000);
    metric_set(&actor->engine.metrics.policy_version, (double)weights->version);
    log_set_version(weights->version);
    LOG_DEBUG("weights", "swapped", "version=%" PRIu64 " digest=%016" PRIx64 " ms=%.2f",
              weights->version, weights->digest, ms);
    FAULT("actor.swapped");
    return STATUS_OK;
}

/* ---- by TCP ---- */

/* A word of the list of ways that begins with `prefix`; false: there is none. */
static bool find_way(const struct actor *actor, const char *prefix, char way[FILE_PATH_MAX])
{
    const char *at = actor->weights_path;
    while (*at != '\0') {
        size_t size = strcspn(at, " ");
        if (strncmp(at, prefix, strlen(prefix)) == 0 && size < FILE_PATH_MAX) {
            memcpy(way, at, size);
            way[size] = '\0';
            return true;
        }
        at += size + strspn(at + size, " ");
    }
    return false;
}

static enum status open_client(struct actor *actor, const char *endpoint)
{
    struct weight_client_config config = {.endpoint = endpoint,
                                          .layout_hash = model_layout_hash(actor->engine.model),
                                          .bytes = actor->engine.weights_bytes,
                                          .device = &actor->device,
                                          .keys = actor->engine.settings->run.keys};
    LOG_INFO("weights", "by TCP", "from=%.*s", (int)strcspn(endpoint, "|"), endpoint);
    actor->tcp_refused = 0;
    return weight_client_open(&actor->client, &config);
}

static void count_refused(struct actor *actor)
{
    const struct weight_fetch_stats *stats = weight_client_stats(actor->client);
    if (stats->digest_wrong == actor->tcp_refused)
        return;
    LOG_ERROR("weights", "refused a copy: its digest differs", "damaged_pieces=%" PRIu64,
              stats->damaged);
    metric_add(&actor->engine.metrics.digest_refused,
               (double)(stats->digest_wrong - actor->tcp_refused));
    actor->tcp_refused = stats->digest_wrong;
}

static enum status swap_from_tcp(struct actor *actor)
{
    enum weight_fetch_state state;
    struct weight_fetch_version version;
    TRY(weight_client_turn(actor->client, &state, &version));
    count_refused(actor);
    if (state == WEIGHT_FETCH_IDLE) {
        struct weight_fetch_version newest;
        if (weight_client_newest(actor->client, &newest) &&
            desk_is_newer(&actor->engine.desk, newest.version, newest.branch, newest.digest))
            (void)weight_client_fetch(actor->client,
                                      actor->engine.weights[inactive_set(actor)].flat);
        return STATUS_OK;
    }
    if (state != WEIGHT_FETCH_ARRIVED)
        return STATUS_OK;
    bool may = desk_is_newer(&actor->engine.desk, version.version, version.branch, version.digest);
    if (!may) { /* another one was registered meanwhile */
        weight_client_done(actor->client);
        return STATUS_OK;
    }
    TRY(may_swap(actor, &may));
    if (!may)
        return STATUS_OK;
    int64_t begin_ns = clock_now_ns();
    TRY(serve(actor, version.version, version.digest));
    weight_client_done(actor->client);
    return after_swap(actor, version.branch, begin_ns);
}

/* A joiner has its first weights by TCP, so that the others need not wait for it; then it enters the communicator. */
static enum status swap_joining(struct actor *actor)
{
    TRY(swap_from_tcp(actor));
    bool silent =
        weight_client_silent_ms(actor->client) > actor->engine.settings->weights.timeout_ms;
    if (!actor->engine.desk.serving && !silent)
        return STATUS_OK;
    weight_client_close(&actor->client);
    actor->joining = false;
    TRY(open_member(actor));
    if (actor->engine.desk.serving)
        weight_member_holds(actor->member, actor->engine.desk.digest);
    return STATUS_OK;
}

/* ---- from the channel's file ---- */

/* NOT_FOUND: not on this host, or not yet. */
static enum status open_file(struct actor *actor, const char *path)
{
    return weight_receiver_open_device(&actor->receiver, path,
                                       model_layout_hash(actor->engine.model),
                                       actor->engine.weights_bytes, &actor->device);
}

/* Nothing that is registered came by the file for a while: it may be one that a learner left here before it moved to
 * another host. */
static bool file_is_stale(struct actor *actor)
{
    const struct desk *desk = &actor->engine.desk;
    bool lacks = desk->digest_known != 0 && (!desk->serving || desk->digest != desk->digest_known);
    int64_t now_ns = clock_now_ns();
    if (!lacks)
        actor->lacking_ns = 0;
    else if (actor->lacking_ns == 0)
        actor->lacking_ns = now_ns;
    return lacks && now_ns - actor->lacking_ns > (int64_t)STALE_MS * CLOCK_NS_PER_MS;
}

static enum status swap_from_file(struct actor *actor)
{
    uint64_t digest = 0;
    uint32_t branch = 0;
    uint64_t version = weight_receiver_version(actor->receiver, &branch, &digest);
    bool refused = digest == actor->refused_digest && clock_now_ns() < actor->retry_ns;
    if (version == UINT64_MAX || refused ||
        !desk_is_newer(&actor->engine.desk, version, branch, digest)) {
        char endpoint[FILE_PATH_MAX];
        if (!file_is_stale(actor) || !find_way(actor, "tcp://", endpoint))
            return STATUS_OK;
        weight_receiver_close(&actor->receiver);
        return open_client(actor, endpoint);
    }
    bool may = false;
    TRY(may_swap(actor, &may));
    if (!may)
        return STATUS_OK;
    int64_t begin_ns = clock_now_ns();
    enum status status = take_version(actor, version, digest);
    if (status == STATUS_AGAIN)
        return STATUS_OK;
    return status != STATUS_OK ? status : after_swap(actor, branch, begin_ns);
}

/* ---- by NCCL ---- */

static enum status swap_from_broadcast(struct actor *actor)
{
    bool receiving = false, arrived = false;
    struct weight_arrival arrival;
    TRY(weight_member_turn(actor->member, actor->engine.weights[inactive_set(actor)].flat,
                           &receiving, &arrived, &arrival));
    if (!arrived)
        return STATUS_OK;
    if (!desk_is_newer(&actor->engine.desk, arrival.version, arrival.branch, arrival.digest)) {
        weight_member_answer(actor->member, true); /* sent again for a joiner */
        return STATUS_OK;
    }
    bool may = false;
    TRY(may_swap(actor, &may));
    if (!may)
        return STATUS_OK;
    if (arrival.own != arrival.digest) {
        LOG_ERROR("weights", "refused a copy: its digest differs",
                  "version=%" PRIu64 " announced=%016" PRIx64 " own=%016" PRIx64, arrival.version,
                  arrival.digest, arrival.own);
        (void)refuse_copy(actor, arrival.digest);
        weight_member_answer(actor->member, false);
        return STATUS_OK;
    }
    int64_t begin_ns = clock_now_ns();
    enum status status = serve(actor, arrival.version, arrival.digest);
    weight_member_answer(actor->member, status == STATUS_OK);
    return status != STATUS_OK ? status : after_swap(actor, arrival.branch, begin_ns);
}

/* The first way of the list that works here. None yet: asked again at the next turn. */
static enum status open_way(struct actor *actor)
{
    char file[FILE_PATH_MAX], tcp[FILE_PATH_MAX], nccl[FILE_PATH_MAX];
    enum setting_channel channel = (enum setting_channel)actor->engine.settings->weights.channel;
    bool by_tcp = find_way(actor, "tcp://", tcp);
    bool by_nccl = find_way(actor, WEIGHT_PATH_NCCL, nccl);
    enum status status = STATUS_NOT_FOUND;
    if (channel != CHANNEL_TCP && find_way(actor, "/", file))
        status = open_file(actor, file);
    if (status == STATUS_UNSUPPORTED && channel == CHANNEL_AUTO) {
        LOG_INFO("weights", "by NCCL", "why=\"%s\"", status_last_error());
        by_nccl = true;
        status = STATUS_NOT_FOUND;
    }
    if (status != STATUS_NOT_FOUND)
        return status;
    actor->joining = by_tcp && by_nccl && channel != CHANNEL_TCP && !actor->engine.desk.serving;
    if (by_nccl && channel != CHANNEL_TCP && !actor->joining)
        return open_member(actor);
    return by_tcp ? open_client(actor, tcp) : STATUS_OK;
}

static void follow_path(struct actor *actor)
{
    if (strcmp(actor->weights_path, actor->engine.desk.weights_path) == 0)
        return;
    snprintf(actor->weights_path, sizeof actor->weights_path, "%s",
             actor->engine.desk.weights_path);
    actor_close_weights(actor);
}

enum status actor_swap_weights(struct actor *actor)
{
    follow_path(actor);
    if (actor->weights_path[0] == '\0')
        return STATUS_OK;
    if (actor->receiver == NULL && actor->member == NULL && actor->client == NULL)
        TRY(open_way(actor));
    if (actor->joining)
        return swap_joining(actor);
    if (actor->member != NULL)
        return swap_from_broadcast(actor);
    if (actor->client != NULL)
        return swap_from_tcp(actor);
    return actor->receiver != NULL ? swap_from_file(actor) : STATUS_OK;
}

int actor_weights_fd(const struct actor *actor)
{
    return actor->client != NULL ? weight_client_fd(actor->client) : -1;
}

void actor_take_control(struct actor *actor, const struct weight_control *control)
{
    if (actor->member != NULL)
        weight_member_take(actor->member, control);
}

void actor_close_weights(struct actor *actor)
{
    weight_member_close(&actor->member);
    weight_client_close(&actor->client);
    weight_receiver_close(&actor->receiver);
    actor->joining = false;
    actor->lacking_ns = 0;
}
