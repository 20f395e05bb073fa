#include "transport/weight_tcp_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "transport/endpoint.h"
#include "transport/keys.h"

enum {
    CLIENT_QUEUE = 256,
    LOOK_MS = 1000,
    RETRY_MS = 1000,
    TIMEOUT_MS = 2000,
    TURN_MESSAGES = 32, /* at most so many a turn */
    MARGIN = 4096       /* of a message above its piece */
};

struct weight_client {
    struct weight_client_config config;
    void *context, *socket;
    int fd;
    uint8_t *memory; /* of the version being fetched, borrowed */
    struct weight_fetch fetch;
    int64_t opened_ns;
};

static enum status ask(void *self, const struct weight_tcp_head *head)
{
    struct weight_client *client = self;
    if (zmq_send(client->socket, head, sizeof *head, ZMQ_DONTWAIT) >= 0)
        return STATUS_OK;
    if (errno == EAGAIN || errno == EINTR)
        return STATUS_AGAIN;
    return FAIL(STATUS_NETWORK, "a question for weights: %s", zmq_strerror(errno));
}

/* The digest is taken while the piece is in the cache and the next one is on the way. */
static enum status put(void *self, size_t offset, const void *piece, size_t size, uint64_t *digest)
{
    struct weight_client *client = self;
    const struct weight_device *device = client->config.device;
    uint8_t *to = client->memory + offset;
    if (device == NULL || device->on_host) {
        *digest = weight_digest_copy(to, piece, size, offset / 8);
        return STATUS_OK;
    }
    TRY(device->write(device->context, to, piece, size));
    return device->digest(device->context, to, size, offset / 8, digest);
}

/* Encrypts with the key behind "|" of the endpoint: who has it was told by the store. */
static enum status use_keys(struct weight_client *client, const char *server_key)
{
    struct key_pair pair = {0};
    const char *folder = client->config.keys;
    enum status status =
        folder[0] != '\0' ? key_pair_read(folder, "actor", &pair) : STATUS_NOT_FOUND;
    if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
        if (zmq_curve_keypair(pair.public_text, pair.secret_text) != 0)
            status = FAIL(STATUS_UNSUPPORTED, "keys for weights: %s", zmq_strerror(errno));
    }
    void *socket = client->socket;
    int failed = 0;
    if (status == STATUS_OK)
        failed = zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, strlen(server_key)) |
                 zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, pair.public_text, KEY_TEXT_MAX - 1) |
                 zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, pair.secret_text, KEY_TEXT_MAX - 1);
    key_pair_wipe(&pair);
    if (status == STATUS_OK && failed != 0)
        return FAIL(STATUS_INVALID, "keys for weights: %s", zmq_strerror(errno));
    return status;
}

static enum status connect_server(struct weight_client *client)
{
    client->context = zmq_ctx_new();
    client->socket = client->context != NULL ? zmq_socket(client->context, ZMQ_DEALER) : NULL;
    if (client->socket == NULL)
        return FAIL(STATUS_NO_MEMORY, "a socket for weights: %s", zmq_strerror(errno));
    const struct {
        int name, value;
    } options[] = {
        {ZMQ_SNDHWM, CLIENT_QUEUE},    {ZMQ_RCVHWM, CLIENT_QUEUE},   {ZMQ_LINGER, 0},
        {ZMQ_RECONNECT_IVL, 50},       {ZMQ_RECONNECT_IVL_MAX, 500}, {ZMQ_HEARTBEAT_IVL, 500},
        {ZMQ_HEARTBEAT_TIMEOUT, 2000}, {ZMQ_HANDSHAKE_IVL, 5000},    {ZMQ_CONNECT_TIMEOUT, 3000}};
    int failed = 0;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        failed |= zmq_setsockopt(client->socket, options[i].name, &options[i].value, sizeof(int));
    int64_t most = (int64_t)client->config.piece_bytes + MARGIN;
    failed |= zmq_setsockopt(client->socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    size_t size = sizeof client->fd;
    failed |= zmq_getsockopt(client->socket, ZMQ_FD, &client->fd, &size);
    char text[ENDPOINT_MAX + KEY_TEXT_MAX + 1];
    snprintf(text, sizeof text, "%s", client->config.endpoint);
    char *key = strchr(text, '|');
    if (key != NULL)
        *key++ = '\0';
    struct endpoint endpoint;
    TRY(endpoint_parse(text, false, key != NULL, &endpoint));
    if (key != NULL)
        TRY(use_keys(client, key));
    int ipv6 = endpoint.ipv6;
    failed |= zmq_setsockopt(client->socket, ZMQ_IPV6, &ipv6, sizeof ipv6);
    if (failed != 0 || zmq_connect(client->socket, endpoint.text) != 0)
        return FAIL(STATUS_NETWORK, "weights from %s: %s", endpoint.text, zmq_strerror(errno));
    return STATUS_OK;
}

enum status weight_client_open(struct weight_client **out,
                               const struct weight_client_config *config)
{
    struct weight_client *client = memory_alloc(sizeof *client);
    if (client == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight client");
    client->config = *config;
    client->config.endpoint = memory_text(config->endpoint);
    if (config->piece_bytes == 0)
        client->config.piece_bytes = WEIGHT_TCP_PIECE_BYTES;
    int64_t timeout_ms = config->timeout_ms > 0 ? config->timeout_ms : TIMEOUT_MS;
    weight_fetch_init(&client->fetch,
                      &(struct weight_fetch_config){
                          .layout_hash = config->layout_hash,
                          .bytes = config->bytes,
                          .piece_bytes = client->config.piece_bytes,
                          .credits = config->credits > 0 ? config->credits : WEIGHT_TCP_CREDITS,
                          .timeout_ns = timeout_ms * CLOCK_NS_PER_MS,
                          .look_ns = (int64_t)LOOK_MS * CLOCK_NS_PER_MS,
                          .retry_ns = (int64_t)RETRY_MS * CLOCK_NS_PER_MS,
                          .no_crc = config->no_crc,
                          .ask = ask,
                          .put = put,
                          .self = client});
    client->opened_ns = client->fetch.heard_ns = clock_now_ns();
    enum status status = client->config.endpoint != NULL ? connect_server(client)
                                                         : FAIL(STATUS_NO_MEMORY, "weight client");
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        weight_client_close(&client);
        status_restore(kept);
        return status;
    }
    *out = client;
    return STATUS_OK;
}

void weight_client_close(struct weight_client **pointer)
{
    struct weight_client *client = *pointer;
    if (client == NULL)
        return;
    if (client->socket != NULL)
        zmq_close(client->socket);
    if (client->context != NULL)
        while (zmq_ctx_term(client->context) != 0 && zmq_errno() == EINTR) {
        }
    memory_free((void *)(uintptr_t)client->config.endpoint);
    memory_free(client);
    *pointer = NULL;
}

bool weight_client_newest(const struct weight_client *client, struct weight_fetch_version *newest)
{
    *newest = client->fetch.newest;
    return newest->digest != 0;
}

bool weight_client_fetch(struct weight_client *client, void *memory)
{
    client->memory = memory;
    return weight_fetch_begin(&client->fetch, clock_now_ns());
}

/* AGAIN: nothing is there. */
static enum status receive(struct weight_client *client)
{
    zmq_msg_t frames[2];
    int count = 0, more = 1;
    bool odd = false;
    while (more) {
        zmq_msg_t *frame = &frames[count < 2 ? count : 1];
        if (count >= 2) {
            odd = true;
            zmq_msg_close(frame);
            count = 1;
        }
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, client->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(frame);
            break;
        }
        count++;
        more = zmq_msg_more(frame);
    }
    enum status status = STATUS_AGAIN;
    if (count > 0)
        status = odd ? STATUS_OK
                     : weight_fetch_take(&client->fetch, clock_now_ns(), zmq_msg_data(&frames[0]),
                                         zmq_msg_size(&frames[0]),
                                         count > 1 ? zmq_msg_data(&frames[1]) : NULL,
                                         count > 1 ? zmq_msg_size(&frames[1]) : 0);
    for (int i = 0; i < count; i++)
        zmq_msg_close(&frames[i]);
    return status;
}

enum status weight_client_turn(struct weight_client *client, enum weight_fetch_state *state,
                               struct weight_fetch_version *version)
{
    enum status status = STATUS_OK;
    for (int i = 0; i < TURN_MESSAGES && status == STATUS_OK; i++) {
        status = receive(client);
        if (status == STATUS_OK)
            status = weight_fetch_turn(&client->fetch, clock_now_ns());
    }
    if (status == STATUS_OK || status == STATUS_AGAIN)
        status = weight_fetch_turn(&client->fetch, clock_now_ns());
    *state = client->fetch.state;
    *version = client->fetch.fetching;
    return status;
}

void weight_client_done(struct weight_client *client)
{
    weight_fetch_done(&client->fetch);
}

int weight_client_fd(const struct weight_client *client)
{
    return client->fd;
}

const struct weight_fetch_stats *weight_client_stats(const struct weight_client *client)
{
    return &client->fetch.stats;
}

int64_t weight_client_silent_ms(const struct weight_client *client)
{
    return (clock_now_ns() - client->fetch.heard_ns) / CLOCK_NS_PER_MS;
}
