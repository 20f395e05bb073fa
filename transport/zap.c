#include "transport/zap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "core/checksum.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"
#include "transport/keys.h"
#include "transport/socket.h"

enum { FRAMES = 7, FRAME_BYTES = 256, POLL_SLICE_MS = 1000, BANNED_MAX = 64 };
enum { VERSION, REQUEST, DOMAIN_NAME, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS };

struct zap {
    void *socket;       /* REP, of the thread once it runs */
    void *stop, *ended; /* PAIR: ours, the thread's */
    pthread_t thread;
    bool running;
    struct allow *allow;                 /* the thread's */
    _Atomic uint64_t banned[BANNED_MAX]; /* hashes of public keys; 0 = free */
    _Atomic uint32_t banned_count;
};

struct question {
    size_t count; /* frames */
    size_t sizes[FRAMES];
    char frames[FRAMES][FRAME_BYTES];
};

struct verdict {
    const char *code, *text;
    const struct allowed *who; /* NULL: refused */
    char key[KEY_TEXT_MAX];
};

static uint64_t key_hash(const char *public_text)
{
    uint64_t hash = hash64(public_text, strlen(public_text), 0);
    return hash != 0 ? hash : 1;
}

void zap_ban(struct zap *zap, const char *public_text)
{
    uint32_t at = atomic_fetch_add(&zap->banned_count, 1);
    atomic_store(&zap->banned[at % BANNED_MAX], key_hash(public_text));
}

static bool is_banned(struct zap *zap, const char *public_text)
{
    uint64_t hash = key_hash(public_text);
    for (uint32_t i = 0; i < BANNED_MAX; i++)
        if (atomic_load(&zap->banned[i]) == hash)
            return true;
    return false;
}

/* ---- one question ---- */

/* False: none is there. */
static bool take_question(void *socket, struct question *question)
{
    zmq_msg_t frame;
    bool more = true;
    question->count = 0;
    zmq_msg_init(&frame);
    while (more) {
        if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0)
            break;
        size_t size = zmq_msg_size(&frame);
        if (question->count < FRAMES && size < FRAME_BYTES) {
            memcpy(question->frames[question->count], zmq_msg_data(&frame), size);
            question->frames[question->count][size] = '\0';
            question->sizes[question->count] = size;
        }
        question->count++;
        more = zmq_msg_more(&frame);
    }
    zmq_msg_close(&frame);
    return question->count > 0;
}

static bool is(const struct question *question, int frame, const char *text)
{
    return question->sizes[frame] == strlen(text) &&
           memcmp(question->frames[frame], text, strlen(text)) == 0;
}

static struct verdict judge(struct zap *zap, const struct question *question)
{
    struct verdict verdict = {.code = "400"};
    if (question->count != FRAMES || !is(question, VERSION, "1.0") ||
        !is(question, DOMAIN_NAME, ZAP_DOMAIN)) {
        verdict.text = "not a question of this store";
    } else if (!is(question, MECHANISM, "CURVE") || question->sizes[CREDENTIALS] != 32) {
        verdict.text = "it comes without a key";
    } else if (zmq_z85_encode(verdict.key, (const uint8_t *)question->frames[CREDENTIALS], 32) ==
               NULL) {
        verdict.text = "its key is no key";
    } else if (allow_refresh(zap->allow) != STATUS_OK) {
        LOG_FAILURE("zap", "allow list unreadable, nobody new is let in", STATUS_INVALID);
        verdict.code = "300"; /* come again */
        verdict.text = "the allow list of the store cannot be read";
    } else if (is_banned(zap, verdict.key)) {
        verdict.text = "its key was used in the name of another";
    } else {
        verdict.who = allow_find(zap->allow, verdict.key);
        verdict.code = verdict.who != NULL ? "200" : "400";
        verdict.text = verdict.who != NULL ? "OK" : "its key is not in the allow list";
    }
    return verdict;
}

/* A property: length and name, length (4 bytes, big-endian) and value. */
static size_t put_property(uint8_t *at, const char *name, const char *value)
{
    size_t name_size = strlen(name), size = strlen(value);
    at[0] = (uint8_t)name_size;
    memcpy(at + 1, name, name_size);
    at += 1 + name_size;
    at[0] = at[1] = at[2] = 0;
    at[3] = (uint8_t)size;
    memcpy(at + 4, value, size);
    return 1 + name_size + 4 + size;
}

static void answer(void *socket, const struct question *question, const struct verdict *verdict)
{
    char user[KEY_NAME_MAX + 16] = "";
    uint8_t metadata[128];
    size_t size = 0;
    if (verdict->who != NULL) {
        snprintf(user, sizeof user, "%s:%s", role_name(verdict->who->role), verdict->who->name);
        size = put_property(metadata, ZAP_KEY_NAME, verdict->key);
    }
    bool named = question->count > REQUEST;
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(socket, named ? question->frames[REQUEST] : "", named ? question->sizes[REQUEST] : 0,
             ZMQ_SNDMORE);
    zmq_send(socket, verdict->code, strlen(verdict->code), ZMQ_SNDMORE);
    zmq_send(socket, verdict->text, strlen(verdict->text), ZMQ_SNDMORE);
    zmq_send(socket, user, strlen(user), ZMQ_SNDMORE);
    zmq_send(socket, metadata, size, 0);
}

static void report(const struct question *question, const struct verdict *verdict)
{
    const char *address = question->count > ADDRESS ? question->frames[ADDRESS] : "";
    if (verdict->who != NULL)
        LOG_DEBUG("zap", "let in", "address=%s key=%s role=%s", address, verdict->who->name,
                  role_name(verdict->who->role));
    else
        LOG_WARN("zap", "connection refused", "address=%s public_key=%s why=\"%s\"", address,
                 verdict->key[0] != '\0' ? verdict->key : "none", verdict->text);
}

static void *serve(void *self)
{
    struct zap *zap = self;
    struct wait wait = wait_begin("handshake", "any peer", WAIT_FOREVER);
    for (;;) {
        zmq_pollitem_t items[] = {{zap->socket, 0, ZMQ_POLLIN, 0}, {zap->ended, 0, ZMQ_POLLIN, 0}};
        int ready = zmq_poll(items, 2, wait_slice_ms(&wait, POLL_SLICE_MS));
        if ((ready < 0 && errno != EINTR) || (ready > 0 && items[1].revents != 0))
            break;
        struct question question;
        while (take_question(zap->socket, &question)) {
            struct verdict verdict = judge(zap, &question);
            answer(zap->socket, &question, &verdict);
            report(&question, &verdict);
        }
    }
    enum status ended = wait_end(&wait, true);
    (void)ended;
    return NULL;
}

/* ---- open and close ---- */

static enum status open_pair(void *context, void **socket, const char *name, bool binds)
{
    *socket = zmq_socket(context, ZMQ_PAIR);
    if (*socket == NULL || (binds ? zmq_bind(*socket, name) : zmq_connect(*socket, name)) != 0)
        return FAIL(STATUS_IO, "%s: %s", name, zmq_strerror(errno));
    return STATUS_OK;
}

static enum status open_sockets(struct zap *zap, void *context)
{
    int none = 0;
    TRY(open_pair(context, &zap->ended, "inproc://weir-zap-end", true));
    TRY(open_pair(context, &zap->stop, "inproc://weir-zap-end", false));
    zap->socket = zmq_socket(context, ZMQ_REP);
    if (zap->socket == NULL || zmq_setsockopt(zap->socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_bind(zap->socket, "inproc://zeromq.zap.01") != 0)
        return FAIL(STATUS_IO, "inproc://zeromq.zap.01: %s", zmq_strerror(errno));
    return STATUS_OK;
}

enum status zap_open(struct zap **zap, void *context, const char *folder)
{
    struct zap *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "authentication");
    enum status status;
    TRY_GOTO(out, allow_open(&made->allow, folder));
    TRY_GOTO(out, open_sockets(made, context));
    int error = pthread_create(&made->thread, NULL, serve, made);
    if (error != 0)
        status = FAIL(STATUS_IO, "pthread_create: %s", strerror(error));
    made->running = error == 0;
out:
    if (status != STATUS_OK)
        zap_close(&made);
    else
        *zap = made;
    return status;
}

void zap_close(struct zap **zap)
{
    struct zap *old = *zap;
    if (old == NULL)
        return;
    if (old->running) {
        zmq_send(old->stop, "", 0, 0);
        pthread_join(old->thread, NULL);
    }
    if (old->socket != NULL)
        zmq_close(old->socket);
    if (old->stop != NULL)
        zmq_close(old->stop);
    if (old->ended != NULL)
        zmq_close(old->ended);
    allow_close(&old->allow);
    memory_free(old);
    *zap = NULL;
}
