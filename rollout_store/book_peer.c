/* rollout_store/book_peer.c - peers that are there: silence, connections, notices. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "rollout_store/book_state.h"

/* ---- silence ---- */

enum status book_expire_holder(struct book *book, struct book_out *out, struct holder *holder,
                               bool unheard_only, bool deaths)
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
            bool death = deaths && sample->count == sample->lease_from;
            struct record record = {
                .type = RECORD_EXPIRED,
                .expired = {.lease_id = sample->lease_id, .counts_death = death}};
            TRY(book_emit(book, out, &record));
            spent = spent || (death && sample->deaths >= book->config.store.max_deaths);
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

static enum status expire_holders(struct book *book, struct book_out *out)
{
    for (size_t i = 0; i < book->holder_count; i++) {
        struct holder *holder = book->holders[i];
        int64_t silent_ns = book->now_ns - holder->heard_ns;
        if (silent_ns <= book_lease_ns(book))
            continue;
        if (holder->leases > 0)
            TRY(book_expire_holder(book, out, holder, false, true));
        if (holder->leases == 0 && silent_ns > 60 * CLOCK_NS_PER_S &&
            !holder_has_peer(book, holder)) {
            memory_free(holder->cancels);
            memory_free(holder);
            book->holders[i--] = book->holders[--book->holder_count];
        }
    }
    return STATUS_OK;
}

enum status book_expire_silent(struct book *book, struct book_out *out)
{
    TRY(expire_holders(book, out));
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || book->now_ns - peer->heard_ns <= book_lease_ns(book))
            continue;
        if (peer->role == ROLE_REWARD)
            book_scorer_lost(book, peer, true);
        if (book->now_ns - peer->heard_ns > BOOK_FORGET_S * CLOCK_NS_PER_S)
            book_peer_gone(book, peer);
    }
    return STATUS_OK;
}

/* False for operators, who come and go, and for those who said bye. */
bool book_connection(struct book *book, int64_t now_ns, uint32_t id, bool connected)
{
    book_advance(book, now_ns);
    struct peer *peer = book_peer(book, id);
    if (peer == NULL || peer->connected == connected)
        return false;
    peer->connected = connected;
    peer->disconnected_ns = connected ? 0 : book->now_ns;
    return peer->role != ROLE_CONTROL;
}

/* ---- notices ---- */

static enum status make_notice(const struct book *book, struct book_out *out,
                               const struct peer *peer, struct message *message)
{
    const struct stored_version *newest = book_find_version(book, book_version(book));
    const char *reason = book->stopped    ? book->stop_reason
                         : book->draining ? book->drain_reason
                         : peer->draining ? "an operator asked this process to hand back and go"
                                          : "";
    char *path = arena_text(out->arena, book->weights_path != NULL ? book->weights_path : "");
    char *why = arena_text(out->arena, reason != NULL ? reason : "");
    if (path == NULL || why == NULL)
        return FAIL(STATUS_LIMIT, "no room for a notice");
    *message = (struct message){.type = MESSAGE_notice,
                                .notice = {.version = book_version(book),
                                           .digest = newest != NULL ? newest->digest : 0,
                                           .branch = book->counters.branch,
                                           .draining = book->draining || peer->draining,
                                           .stopping = book->stopped,
                                           .reason = why,
                                           .weights_path = path}};
    return STATUS_OK;
}

static uint64_t notice_hash(const struct book *book, const struct peer *peer)
{
    const struct stored_version *newest = book_find_version(book, book_version(book));
    const char *path = book->weights_path != NULL ? book->weights_path : "";
    uint64_t key[] = {book_version(book), newest != NULL ? newest->digest : 0,
                      book->counters.branch, book->draining || peer->draining, book->stopped};
    return hash64(path, strlen(path), hash64(key, sizeof key, 0));
}

enum status book_send_notice(struct book *book, struct book_out *out, struct peer *peer)
{
    struct message message;
    TRY(make_notice(book, out, peer, &message));
    peer->noticed = true;
    peer->notice_hash = notice_hash(book, peer);
    return book_send(out, peer->id, &message);
}

/* Who is not connected hears it at its next hello. */
enum status book_tell_peers(struct book *book, struct book_out *out)
{
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role == ROLE_CONTROL || !peer->connected || peer->leaving ||
            (peer->noticed && peer->notice_hash == notice_hash(book, peer)))
            continue;
        TRY(book_send_notice(book, out, peer));
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
