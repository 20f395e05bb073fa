#include "learner/publish.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/wait.h"
#include "learner/learner_state.h"

#include <stdio.h>
#include <string.h>

enum { MOVING_MS = 2, RELEASE_POLL_MS = 1 };

static enum status make_buffers(struct publisher *publisher)
{
    for (int i = 0; i < 2; i++)
        TRY(publisher->device.create(publisher->device.context, publisher->bytes,
                                     &publisher->buffers[i]));
    return STATUS_OK;
}

/* What `auto` means on this device. */
static enum setting_channel channel_of(const struct learner *learner)
{
    enum setting_channel wanted = (enum setting_channel)learner->settings->weights.channel;
    if (wanted != CHANNEL_AUTO)
        return wanted;
    return learner->trainer.ops->memory_share != NULL ? CHANNEL_IPC : CHANNEL_SHM;
}

/* A free port of the store's address; of another host than ours only weights.endpoint can tell. */
static enum status open_server(struct learner *learner)
{
    struct publisher *publisher = &learner->publisher;
    const struct weights_settings *settings = &learner->settings->weights;
    const char *store_endpoint = learner->settings->store.endpoint;
    const char *port = strrchr(store_endpoint, ':');
    bool by_tcp = strncmp(store_endpoint, "tcp://", 6) == 0 && port != NULL;
    bool must = settings->channel == CHANNEL_TCP || settings->endpoint[0] != '\0';
    if (!must && !(by_tcp && settings->channel == CHANNEL_AUTO))
        return STATUS_OK;
    char endpoint[FILE_PATH_MAX];
    if (settings->endpoint[0] != '\0')
        snprintf(endpoint, sizeof endpoint, "%s", settings->endpoint);
    else if (by_tcp)
        snprintf(endpoint, sizeof endpoint, "%.*s:*", (int)(port - store_endpoint), store_endpoint);
    else
        snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:*");
    struct weight_server_config config = {.endpoint = endpoint,
                                          .layout_hash = model_layout_hash(learner->trainer.model),
                                          .bytes = publisher->bytes,
                                          .keys = learner->settings->run.keys};
    enum status status = weight_server_open(&publisher->server, &config);
    if (status == STATUS_OK || must)
        return status;
    LOG_WARN("weights", "not offered by TCP", "why=\"%s\"", status_last_error());
    return STATUS_OK;
}

/* Opens the way that `channel` names; *way is what actors are told of it. */
static enum status open_way(struct learner *learner, enum setting_channel channel, char *way)
{
    struct publisher *publisher = &learner->publisher;
    uint64_t layout = model_layout_hash(learner->trainer.model);
    way[0] = '\0';
    if (channel == CHANNEL_TCP)
        return STATUS_OK;
    TRY(weight_channel_path(way, learner->run, learner->folder));
    if (channel == CHANNEL_SHM)
        return weight_sender_open(&publisher->sender, way, layout, publisher->bytes);
    TRY(make_buffers(publisher));
    if (channel == CHANNEL_IPC)
        return weight_sender_open_device(&publisher->sender, way, layout, publisher->bytes,
                                         &publisher->device, publisher->buffers);
    snprintf(way, FILE_PATH_MAX, "%s", WEIGHT_PATH_NCCL);
    return STATUS_OK;
}

enum status publisher_open(struct learner *learner)
{
    struct publisher *publisher = &learner->publisher;
    publisher->device = (struct weight_device)WEIGHT_DEVICE(learner->trainer.ops);
    publisher->bytes = (size_t)model_weights_bytes(learner->trainer.model);
    char way[FILE_PATH_MAX];
    TRY(open_way(learner, channel_of(learner), way));
    TRY(open_server(learner));
    const char *tcp = publisher->server != NULL ? weight_server_endpoint(publisher->server) : "";
    snprintf(learner->weights_path, sizeof learner->weights_path, "%s%s%s", way,
             way[0] != '\0' && tcp[0] != '\0' ? " " : "", tcp);
    return STATUS_OK;
}

static enum status send_control(void *self, const struct weight_control *control)
{
    const struct learner *learner = self;
    struct message message = {.type = MESSAGE_weight_control, .weight_control = *control};
    return link_send(learner->link, &message);
}

static enum status open_root(struct learner *learner)
{
    struct publisher *publisher = &learner->publisher;
    const struct weights_settings *settings = &learner->settings->weights;
    struct weight_root_config config = {
        .group = {.device = &publisher->device,
                  .nccl_library = settings->nccl_library,
                  .piece_bytes = (size_t)settings->piece_mb << 20},
        .join_timeout_ms = settings->join_timeout_ms,
        .timeout_ms = settings->timeout_ms,
        .epoch = link_incarnation(learner->link),
        .bytes = publisher->bytes,
        .send = send_control,
        .self = learner,
    };
    TRY(weight_root_open(&publisher->root, &config));
    if (publisher->newest != NULL)
        weight_root_offer(publisher->root, publisher->version, publisher->branch, publisher->digest,
                          publisher->newest);
    return STATUS_OK;
}

enum status publisher_join(struct learner *learner)
{
    return learner->settings->weights.channel == CHANNEL_NCCL ? open_root(learner) : STATUS_OK;
}

void publisher_close(struct learner *learner)
{
    struct publisher *publisher = &learner->publisher;
    weight_root_close(&publisher->root);
    weight_server_close(&publisher->server);
    weight_sender_close(&publisher->sender);
    for (int i = 0; i < 2; i++)
        if (publisher->buffers[i] != NULL)
            publisher->device.destroy(publisher->device.context, &publisher->buffers[i]);
}

/* The broadcast of two versions ago may still read the buffer; its own deadline ends that. */
static enum status await_buffer(struct learner *learner, const void *buffer)
{
    struct weight_root *root = learner->publisher.root;
    if (root == NULL || weight_root_release(root, buffer))
        return STATUS_OK;
    int64_t limit_ms = (int64_t)learner->settings->weights.timeout_ms + 2 * NCCL_ABORT_MS;
    struct wait wait = wait_begin("weights broadcast", "actors", limit_ms);
    enum status status = STATUS_OK;
    bool free = false;
    while (status == STATUS_OK && !free && wait_left_ms(&wait) > 0) {
        clock_sleep_ms(RELEASE_POLL_MS);
        status = learner_idle(learner);
        free = weight_root_release(root, buffer);
    }
    enum status waited = wait_end(&wait, free || status != STATUS_OK);
    return status != STATUS_OK ? status : waited;
}

/* `memory` of the learner's device goes to memory of the host, which the server lends. */
static enum status stage(struct learner *learner, uint64_t version, uint32_t branch,
                         uint64_t digest, const void *memory)
{
    struct publisher *publisher = &learner->publisher;
    void *place = NULL;
    TRY(weight_server_stage(publisher->server, version, &place));
    TRY(publisher->device.read(publisher->device.context, memory, place, publisher->bytes));
    weight_server_offer(publisher->server, version, branch, digest, place);
    publisher->served_digest = digest;
    return STATUS_OK;
}

/* A copy from the device costs the learner time, so there is one only while somebody fetches. */
static enum status stage_if_wanted(struct learner *learner)
{
    const struct publisher *publisher = &learner->publisher;
    if (publisher->server == NULL || publisher->newest == NULL ||
        publisher->served_digest == publisher->digest || !weight_server_wanted(publisher->server))
        return STATUS_OK;
    return stage(learner, publisher->version, publisher->branch, publisher->digest,
                 publisher->newest);
}

static enum status put_on_device(struct learner *learner, uint64_t version)
{
    struct publisher *publisher = &learner->publisher;
    const struct weight_device *device = &publisher->device;
    const struct model_weights *weights = &learner->trainer.weights;
    void *buffer = publisher->buffers[version % 2];
    TRY(await_buffer(learner, buffer));
    if (publisher->sender != NULL)
        buffer = weight_sender_begin(publisher->sender, version);
    TRY(device->copy(device->context, buffer, weights->flat, publisher->bytes));
    TRY(device->finish(device->context));
    if (publisher->sender != NULL)
        weight_sender_commit(publisher->sender, version, learner->branch, weights->digest);
    publisher->newest = buffer;
    publisher->version = version;
    publisher->branch = learner->branch;
    publisher->digest = weights->digest;
    if (publisher->root != NULL)
        weight_root_offer(publisher->root, version, learner->branch, weights->digest, buffer);
    return publisher_turn(learner);
}

enum status publisher_put(struct learner *learner, uint64_t version)
{
    struct publisher *publisher = &learner->publisher;
    const struct model_weights *weights = &learner->trainer.weights;
    if (publisher->buffers[0] != NULL)
        return put_on_device(learner, version);
    if (publisher->sender == NULL)
        return stage(learner, version, learner->branch, weights->digest, weights->flat);
    void *place = weight_sender_begin(publisher->sender, version);
    if (publisher->server != NULL)
        weight_server_withdraw(publisher->server, place);
    TRY(publisher->device.read(publisher->device.context, weights->flat, place, publisher->bytes));
    weight_sender_commit(publisher->sender, version, learner->branch, weights->digest);
    if (publisher->server != NULL)
        weight_server_offer(publisher->server, version, learner->branch, weights->digest, place);
    return STATUS_OK;
}

/* With `auto` NCCL, which takes its time to load, is for actors that cannot open our memory. */
void publisher_take(struct learner *learner, const struct weight_control *control)
{
    struct publisher *publisher = &learner->publisher;
    bool possible = learner->settings->weights.channel == CHANNEL_AUTO &&
                    publisher->buffers[0] != NULL && !publisher->no_nccl;
    if (publisher->root == NULL && possible && open_root(learner) != STATUS_OK) {
        LOG_ERROR("weights", "an actor cannot open the learner's memory and there is no NCCL",
                  "actor=%u why=\"%s\"", control->actor, status_last_error());
        publisher->no_nccl = true;
    }
    if (publisher->root != NULL)
        weight_root_take(publisher->root, control);
}

enum status publisher_turn(struct learner *learner)
{
    struct weight_root *root = learner->publisher.root;
    TRY(stage_if_wanted(learner));
    if (root == NULL)
        return STATUS_OK;
    TRY(weight_root_turn(root));
    struct weight_root_stats stats;
    weight_root_read(root, &stats);
    metric_set(&learner->metrics.weights_members, stats.members);
    metric_set(&learner->metrics.weights_epochs, (double)stats.epochs);
    metric_set(&learner->metrics.weights_excluded, (double)stats.excluded);
    metric_set(&learner->metrics.weights_send_ms, stats.send_ms);
    return STATUS_OK;
}

int64_t publisher_pause_ms(const struct learner *learner, int64_t most_ms)
{
    const struct weight_root *root = learner->publisher.root;
    return root != NULL && weight_root_is_moving(root) && most_ms > MOVING_MS ? MOVING_MS : most_ms;
}
