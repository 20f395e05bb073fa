/* rollout_store/book_hello.c - who may take which place: hellos, refusals, newcomers that wait.
 *
 * A place is a role and an index. Another incarnation takes it only from a process whose connection is dead or that was
 * silent for longer than store.lease_ms; until then the newcomer gets no answer (it repeats its hello) and after
 * 2 x lease_ms a refusal that names who is there. Which incarnation is newer means nothing: clocks jump. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rollout_store/book_state.h"

enum { NUMERICS_MAX = 4096 };

void book_advance(struct book *book, int64_t now_ns)
{
    int64_t step_ns = BOOK_ATTENTION_MS * CLOCK_NS_PER_MS;
    int64_t passed_ns = now_ns - book->clock_ns;
    if (book->clock_ns == 0)
        book->now_ns = now_ns;
    else if (passed_ns > 0)
        book->now_ns += passed_ns < step_ns ? passed_ns : step_ns;
    if (book->clock_ns == 0 || passed_ns > 0)
        book->clock_ns = now_ns;
}

struct peer *book_peer(const struct book *book, uint32_t id)
{
    return id < book->peer_limit ? book->peers[id] : NULL;
}

void book_peer_gone(struct book *book, struct peer *peer)
{
    book->peers[peer->id] = NULL;
    buffer_free(&peer->stats);
    buffer_free(&peer->waits);
    memory_free(peer->numerics);
    memory_free(peer);
}

/* ---- refusals ---- */

static enum status refuse(struct book_out *out, uint32_t id, const char *reason)
{
    char *text = arena_text(out->arena, reason);
    if (text == NULL)
        return FAIL(STATUS_LIMIT, "no room for a refusal");
    struct message message = {.type = MESSAGE_refused, .refused = {text}};
    return book_send(out, id, &message);
}

enum status book_refuse(struct book *book, struct book_out *out, struct peer *peer,
                        const char *reason)
{
    if (peer->leaving)
        return STATUS_OK;
    peer->leaving = true;
    peer->wants_plan = false;
    if (peer->holder != NULL)
        TRY(book_expire_holder(book, out, peer->holder, false, false));
    book_scorer_lost(book, peer, false);
    return refuse(out, peer->id, reason);
}

void book_reap(struct book *book)
{
    for (uint32_t i = 0; i < book->peer_limit; i++)
        if (book->peers[i] != NULL && book->peers[i]->leaving)
            book_peer_gone(book, book->peers[i]);
    for (size_t i = book->newcomer_count; i-- > 0;)
        if (book->now_ns - book->newcomers[i].heard_ns > book_lease_ns(book))
            book->newcomers[i] = book->newcomers[--book->newcomer_count];
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

/* ---- newcomers ---- */

void book_newcomer_gone(struct book *book, uint32_t id)
{
    for (size_t i = book->newcomer_count; i-- > 0;)
        if (book->newcomers[i].id == id)
            book->newcomers[i] = book->newcomers[--book->newcomer_count];
}

static enum status find_newcomer(struct book *book, uint32_t id, const struct hello *hello,
                                 struct newcomer **found)
{
    for (size_t i = 0; i < book->newcomer_count; i++) {
        *found = &book->newcomers[i];
        if ((*found)->id == id && (*found)->incarnation == hello->incarnation)
            return STATUS_OK;
    }
    book_newcomer_gone(book, id);
    void *newcomers = book->newcomers;
    TRY(book_reserve(&newcomers, &book->newcomer_capacity, book->newcomer_count + 1,
                     sizeof *book->newcomers));
    book->newcomers = newcomers;
    *found = &book->newcomers[book->newcomer_count++];
    **found = (struct newcomer){.id = id,
                                .role = hello->role,
                                .index = hello->index,
                                .pid = hello->pid,
                                .incarnation = hello->incarnation,
                                .first_ns = book->now_ns};
    snprintf((*found)->host, sizeof(*found)->host, "%s", hello->host != NULL ? hello->host : "");
    return STATUS_OK;
}

/* A living process of another incarnation in the place that `hello` wants; NULL: the place is free. */
static struct peer *occupant(const struct book *book, const struct hello *hello)
{
    for (uint32_t i = 0; i < book->peer_limit && hello->role != ROLE_CONTROL; i++) {
        struct peer *peer = book->peers[i];
        if (peer != NULL && peer->role == hello->role && peer->index == hello->index &&
            peer->incarnation != hello->incarnation && book_alive_peer(book, peer))
            return peer;
    }
    return NULL;
}

static enum status keep_waiting(struct book *book, uint32_t id, const struct hello *hello,
                                const struct peer *holder, struct book_out *out)
{
    struct newcomer *newcomer = NULL;
    TRY(find_newcomer(book, id, hello, &newcomer));
    newcomer->heard_ns = book->now_ns;
    int64_t waited_ns = book->now_ns - newcomer->first_ns;
    if (waited_ns <= 2 * book_lease_ns(book))
        return STATUS_OK;
    char why[512];
    snprintf(why, sizeof why,
             "%s.%" PRIu32 " is process %" PRIu32 " on host %s, which has been here for %" PRId64
             " ms and was heard %" PRId64
             " ms ago: a second process of that name has no place; stop one of the two, or start "
             "this one with another index",
             role_name(holder->role), holder->index, holder->pid, holder->host,
             (book->now_ns - holder->hello_ns) / CLOCK_NS_PER_MS,
             (book->now_ns - holder->heard_ns) / CLOCK_NS_PER_MS);
    book_newcomer_gone(book, id);
    return refuse(out, id, why);
}

/* ---- coming in ---- */

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
    peer->connected = true;
    peer->vocabulary = hello->vocabulary;
    peer->layout_hash = hello->layout_hash;
    peer->numerics_id = hello->numerics_id;
    char numerics[NUMERICS_MAX];
    snprintf(numerics, sizeof numerics, "%s", hello->numerics != NULL ? hello->numerics : "");
    peer->numerics = memory_text(numerics);
    snprintf(peer->host, sizeof peer->host, "%s", hello->host != NULL ? hello->host : "");
    buffer_init(&peer->stats, 0);
    buffer_init(&peer->waits, 0);
    book->peers[id] = peer;
    *out = peer;
    return peer->numerics != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "peer");
}

/* Whoever held the place is dead and loses what it held; should it wake, it reads why it has to go. The same process
 * under another id moves. *draining: it was told to go. */
static enum status take_place(struct book *book, uint32_t id, const struct hello *hello,
                              struct book_out *out, bool *draining)
{
    char why[256];
    snprintf(why, sizeof why,
             "your connection was dead or you were silent for too long, and process %" PRIu32
             " on host %s took your place as %s.%" PRIu32,
             hello->pid, hello->host != NULL ? hello->host : "", role_name(hello->role),
             hello->index);
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *other = book->peers[i];
        if (other == NULL)
            continue;
        bool same_place = other->role == hello->role && other->index == hello->index &&
                          hello->role != ROLE_CONTROL;
        if (!same_place && other->id != id)
            continue;
        bool same = same_place && other->incarnation == hello->incarnation;
        *draining = *draining || (same && other->draining);
        book_scorer_lost(book, other, !same);
        if (!same && other->id != id)
            TRY(refuse(out, other->id, why));
        book_peer_gone(book, other);
    }
    return STATUS_OK;
}

/* Other incarnations of the place lose their leases, also those of before a restart of the store. After a reconnect a
 * grant may be lost on the way, so leases without a sign of life are given out again. */
static enum status attach_actor(struct book *book, struct peer *peer, struct book_out *out)
{
    for (size_t i = 0; i < book->holder_count; i++) {
        struct holder *other = book->holders[i];
        if (other->index == peer->index && other->incarnation != peer->incarnation)
            TRY(book_expire_holder(book, out, other, false, true));
    }
    TRY(book_hold(book, peer->index, peer->incarnation, &peer->holder));
    peer->holder->heard_ns = book->now_ns;
    peer->holder->cancels_said = 0;
    peer->holder->frame_known = false;
    return book_expire_holder(book, out, peer->holder, true, false);
}

/* The learner decides on layout, numerics and vocabulary; actors that came first and differ go. */
static enum status attach_learner(struct book *book, struct peer *peer, struct book_out *out)
{
    if (book->layout_hash == 0)
        book->layout_hash = peer->layout_hash;
    if (book->vocabulary == 0)
        book->vocabulary = peer->vocabulary;
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
        if (why[0] != '\0')
            TRY(book_refuse(book, out, actor, why));
    }
    return STATUS_OK;
}

static enum status welcome(struct book *book, const struct peer *peer, struct book_out *out)
{
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
    return book_send(out, peer->id, &message);
}

enum status book_hello(struct book *book, uint32_t id, const struct hello *hello,
                       struct book_out *out)
{
    char why[1024];
    why_refused(book, hello, why, sizeof why);
    if (why[0] != '\0') {
        book_newcomer_gone(book, id);
        return refuse(out, id, why);
    }
    const struct peer *holder = occupant(book, hello);
    if (holder != NULL)
        return keep_waiting(book, id, hello, holder, out);
    book_newcomer_gone(book, id);
    bool draining = false;
    TRY(take_place(book, id, hello, out, &draining));
    struct peer *peer = NULL;
    TRY(make_peer(book, id, hello, &peer));
    peer->draining = draining;
    TRY(welcome(book, peer, out));
    if (peer->role == ROLE_ACTOR)
        TRY(attach_actor(book, peer, out));
    return peer->role == ROLE_LEARNER ? attach_learner(book, peer, out) : STATUS_OK;
}
