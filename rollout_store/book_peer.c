/* rollout_store/book_peer.c - who is there: hellos, refusals, silence, notices. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "rollout_store/book_state.h"

const char *book_role_name(enum role role)
{
    static const char *const names[ROLE_COUNT] = {"nobody", "store",   "actor",
                                                  "reward", "learner", "control"};
    return (unsigned)role < ROLE_COUNT ? names[role] : "nobody";
}

void book_peer_gone(struct book *book, struct peer *peer)
{
    book->peers[peer->id] = NULL;
    buffer_free(&peer->stats);
    buffer_free(&peer->waits);
    memory_free(peer->numerics);
    memory_free(peer);
}

static enum status refuse(struct book_out *out, uint32_t id, const char *reason)
{
    char *text = arena_text(out->arena, reason);
    if (text == NULL)
        return FAIL(STATUS_LIMIT, "no room for a refusal");
    struct message message = {.type = MESSAGE_refused, .refused = {text}};
    return book_send(out, id, &message);
}

/* Empty when `hello` may come in. */
static void why_refused(const struct book *book, const struct hello *hello, char *text, size_t size)
{
    text[0] = '\0';
    bool model = hello->role == ROLE_ACTOR || hello->role == ROLE_LEARNER;
    if (hello->role != ROLE_ACTOR && hello->role != ROLE_REWARD && hello->role != ROLE_LEARNER &&
        hello->role != ROLE_CONTROL)
        snprintf(text, size, "role %d is not known here; is it of another version of weir?",
                 (int)hello->role);
    else if (hello->role != ROLE_CONTROL &&
             strcmp(hello->run != NULL ? hello->run : "", book->config.run) != 0)
        snprintf(text, size,
                 "this store is of run \"%s\", you are of run \"%s\": check the endpoint and --run",
                 book->config.run, hello->run != NULL ? hello->run : "");
    else if (model && hello->layout_hash != 0 && book->layout_hash != 0 &&
             hello->layout_hash != book->layout_hash)
        snprintf(text, size,
                 "your weight layout is %016" PRIx64 ", the learner's is %016" PRIx64
                 ": both must load the same model.path",
                 hello->layout_hash, book->layout_hash);
    else if (model && hello->numerics_id != 0 && book->numerics_id != 0 &&
             hello->numerics_id != book->numerics_id)
        snprintf(text, size,
                 "your numerics are \"%s\", the learner's are \"%s\": logprobs would differ; use "
                 "the same build, device "
                 "and model settings",
                 hello->numerics != NULL ? hello->numerics : "",
                 book->numerics != NULL ? book->numerics : "");
}

static enum status make_peer(struct book *book, uint32_t id, const struct hello *hello,
                             struct peer **out)
{
    if (id >= BOOK_PEERS_MAX)
        return FAIL(STATUS_LIMIT, "peer id %" PRIu32 ", limit %d", id, BOOK_PEERS_MAX);
    void *peers = book->peers;
    size_t capacity = book->peer_limit;
    TRY(book_reserve(&peers, &capacity, (size_t)id + 1, sizeof *book->peers));
    book->peers = peers;
    book->peer_limit = (uint32_t)capacity;
    struct peer *peer = memory_alloc(sizeof *peer);
    if (peer == NULL)
        return FAIL(STATUS_NO_MEMORY, "peer");
    peer->id = id;
    peer->role = hello->role;
    peer->index = hello->index;
    peer->pid = hello->pid;
    peer->incarnation = hello->incarnation;
    peer->heard_ns = peer->hello_ns = book->now_ns;
    peer->layout_hash = hello->layout_hash;
    peer->numerics_id = hello->numerics_id;
    peer->numerics = memory_text(hello->numerics != NULL ? hello->numerics : "");
    snprintf(peer->host, sizeof peer->host, "%s", hello->host != NULL ? hello->host : "");
    buffer_init(&peer->stats, 0);
    buffer_init(&peer->waits, 0);
    book->peers[id] = peer;
    *out = peer;
    return peer->numerics != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "peer");
}

/* Older processes of the same role and index lose what they hold; the same process under another id moves. */
static enum status replace_older(struct book *book, uint32_t id, const struct hello *hello,
                                 struct book_out *out, bool *outdated)
{
    *outdated = false;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *other = book->peers[i];
        if (other == NULL)
            continue;
        bool same_place = other->role == hello->role && other->index == hello->index &&
                          hello->role != ROLE_CONTROL;
        if (!same_place && other->id != id)
            continue;
        if (same_place && other->incarnation > hello->incarnation) {
            *outdated = true;
            return refuse(out, id, "a newer process of the same role and index took your place");
        }
        if (other->incarnation != hello->incarnation && other->holder != NULL)
            TRY(book_expire_holder(book, out, other->holder, false, true));
        book_scorer_lost(book, other, true);
        book_peer_gone(book, other);
    }
    return STATUS_OK;
}

/* After a reconnect: a grant may be lost on the way, so leases without a sign of life are given out again. */
static enum status attach_actor(struct book *book, struct peer *peer, struct book_out *out)
{
    for (size_t i = 0; i < book->holder_count;
         i++) { /* leases of its dead predecessors, also of before a restart */
        struct holder *older = book->holders[i];
        if (older->index == peer->index && older->incarnation < peer->incarnation)
            TRY(book_expire_holder(book, out, older, false, true));
    }
    TRY(book_hold(book, peer->index, peer->incarnation, &peer->holder));
    peer->holder->heard_ns = book->now_ns;
    peer->holder->cancels_said = 0;
    peer->holder->frame_known = false;
    return book_expire_holder(book, out, peer->holder, true, false);
}

/* The learner decides on layout and numerics; actors that came first and differ go. */
static enum status attach_learner(struct book *book, struct peer *peer, struct book_out *out)
{
    if (book->layout_hash == 0)
        book->layout_hash = peer->layout_hash;
    if (book->numerics_id == 0 && peer->numerics_id != 0) {
        char *copy = memory_text(peer->numerics);
        if (copy == NULL)
            return FAIL(STATUS_NO_MEMORY, "numerics");
        memory_free(book->numerics);
        book->numerics = copy;
        book->numerics_id = peer->numerics_id;
    }
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *actor = book->peers[i];
        if (actor == NULL || actor->role != ROLE_ACTOR)
            continue;
        char why[1024];
        struct hello hello = {.run = book->config.run,
                              .role = ROLE_ACTOR,
                              .layout_hash = actor->layout_hash,
                              .numerics_id = actor->numerics_id,
                              .numerics = actor->numerics};
        why_refused(book, &hello, why, sizeof why);
        if (why[0] == '\0')
            continue;
        TRY(refuse(out, actor->id, why));
        TRY(book_expire_holder(book, out, actor->holder, false, false));
        book_peer_gone(book, actor);
    }
    return STATUS_OK;
}

enum status book_hello(struct book *book, uint32_t id, const struct hello *hello,
                       struct book_out *out)
{
    char why[1024];
    why_refused(book, hello, why, sizeof why);
    if (why[0] != '\0')
        return refuse(out, id, why);
    bool outdated;
    TRY(replace_older(book, id, hello, out, &outdated));
    if (outdated)
        return STATUS_OK;
    struct peer *peer = NULL;
    TRY(make_peer(book, id, hello, &peer));
    const struct stored_version *newest = book_find_version(book, book_version(book));
    char *path = arena_text(out->arena, book->weights_path != NULL ? book->weights_path : "");
    if (path == NULL)
        return FAIL(STATUS_LIMIT, "no room for a welcome");
    struct message message = {.type = MESSAGE_welcome,
                              .welcome = {.run_seed = book->config.run_seed,
                                          .heartbeat_ms = book->config.store.heartbeat_ms,
                                          .version = book_version(book),
                                          .digest = newest != NULL ? newest->digest : 0,
                                          .branch = book->counters.branch,
                                          .weights_path = path}};
    TRY(book_send(out, id, &message));
    if (peer->role == ROLE_ACTOR)
        TRY(attach_actor(book, peer, out));
    return peer->role == ROLE_LEARNER ? attach_learner(book, peer, out) : STATUS_OK;
}

/* ---- silence ---- */

/* `unheard_only`: leases that gave no segment yet. `failures`: a lease without a new token counts one. */
enum status book_expire_holder(struct book *book, struct book_out *out, struct holder *holder,
                               bool unheard_only, bool failures)
{
    for (struct group *group = book->lists[GROUP_OPEN].first, *next;
         group != NULL && holder->leases > 0; group = next) {
        next = group->next;
        bool spent = false;
        for (uint32_t i = 0; i < group->size; i++) {
            struct sample *sample = &group->samples[i];
            if (sample->state != SAMPLE_LEASED || sample->holder != holder ||
                (unheard_only && sample->lease_heard))
                continue;
            struct record record = {
                .type = RECORD_EXPIRED,
                .expired = {sample->lease_id, failures && sample->count == sample->lease_from}};
            TRY(book_emit(book, out, &record));
            spent = spent || sample->failures >= book->config.store.max_attempts;
        }
        if (spent)
            TRY(book_drop(book, out, group, DROP_GENERATION_FAILED));
    }
    return STATUS_OK;
}

static bool holder_has_peer(const struct book *book, const struct holder *holder)
{
    for (uint32_t i = 0; i < book->peer_limit; i++)
        if (book->peers[i] != NULL && book->peers[i]->holder == holder)
            return true;
    return false;
}

enum status book_expire_silent(struct book *book, struct book_out *out)
{
    int64_t limit_ns = (int64_t)book->config.store.lease_ms * CLOCK_NS_PER_MS;
    for (size_t i = 0; i < book->holder_count; i++) {
        struct holder *holder = book->holders[i];
        if (book->now_ns - holder->heard_ns <= limit_ns)
            continue;
        if (holder->leases > 0)
            TRY(book_expire_holder(book, out, holder, false, true));
        if (holder->leases == 0 && book->now_ns - holder->heard_ns > 60 * CLOCK_NS_PER_S &&
            !holder_has_peer(book, holder)) {
            memory_free(holder->cancels);
            memory_free(holder);
            book->holders[i--] = book->holders[--book->holder_count];
        }
    }
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || book->now_ns - peer->heard_ns <= limit_ns)
            continue;
        if (peer->role == ROLE_REWARD)
            book_scorer_lost(book, peer, true);
        if (book->now_ns - peer->heard_ns > 90 * CLOCK_NS_PER_S) /* the hub forgot it before */
            book_peer_gone(book, peer);
    }
    return STATUS_OK;
}

/* ---- notices ---- */

static enum status make_notice(const struct book *book, struct book_out *out,
                               struct message *message)
{
    const struct stored_version *newest = book_find_version(book, book_version(book));
    const char *reason = book->stopped    ? book->stop_reason
                         : book->draining ? book->drain_reason
                                          : "";
    char *path = arena_text(out->arena, book->weights_path != NULL ? book->weights_path : "");
    char *why = arena_text(out->arena, reason != NULL ? reason : "");
    if (path == NULL || why == NULL)
        return FAIL(STATUS_LIMIT, "no room for a notice");
    *message = (struct message){.type = MESSAGE_notice,
                                .notice = {.version = book_version(book),
                                           .digest = newest != NULL ? newest->digest : 0,
                                           .branch = book->counters.branch,
                                           .draining = book->draining,
                                           .stopping = book->stopped,
                                           .reason = why,
                                           .weights_path = path}};
    return STATUS_OK;
}

static uint64_t notice_hash(const struct notice *notice)
{
    uint64_t key[] = {notice->version, notice->digest, notice->branch, notice->draining,
                      notice->stopping};
    return hash64(notice->weights_path, strlen(notice->weights_path), hash64(key, sizeof key, 0));
}

enum status book_send_notice(struct book *book, struct book_out *out, struct peer *peer)
{
    struct message message;
    TRY(make_notice(book, out, &message));
    peer->noticed = true;
    peer->notice_hash = notice_hash(&message.notice);
    return book_send(out, peer->id, &message);
}

enum status book_tell_peers(struct book *book, struct book_out *out)
{
    struct message message = {0};
    uint64_t hash = 0;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role == ROLE_CONTROL)
            continue;
        if (message.type == MESSAGE_NONE) {
            TRY(make_notice(book, out, &message));
            hash = notice_hash(&message.notice);
        }
        if (peer->noticed && peer->notice_hash == hash)
            continue;
        peer->noticed = true;
        peer->notice_hash = hash;
        TRY(book_send(out, peer->id, &message));
    }
    return STATUS_OK;
}

/* ---- what learner and actors say to each other ---- */

enum status book_hand_on(struct book *book, const struct peer *from,
                         const struct weight_control *control, struct book_out *out)
{
    struct message message = {.type = MESSAGE_weight_control, .weight_control = *control};
    bool from_actor = from->role == ROLE_ACTOR;
    if (from_actor) { /* an actor speaks for nobody else */
        message.weight_control.actor = from->index;
        message.weight_control.incarnation = from->incarnation;
    }
    uint32_t *id = arena_array(out->arena, (size_t)control->id_count + 1, sizeof *id);
    if (id == NULL)
        return FAIL(STATUS_LIMIT, "no room for a message to hand on");
    if (control->id_count > 0)
        memcpy(id, control->id, control->id_count * sizeof *id);
    message.weight_control.id = id;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        const struct peer *to = book->peers[i];
        if (to == NULL || (from_actor && (to->role != ROLE_LEARNER || to->index != 0)) ||
            (!from_actor && (to->role != ROLE_ACTOR || to->index != control->actor ||
                             to->incarnation != control->incarnation)))
            continue;
        return book_send(out, to->id, &message);
    }
    return STATUS_OK;
}
