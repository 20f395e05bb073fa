#include "transport/hub_guard.h"

#include <string.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "transport/link.h"
#include "transport/zap.h"

enum { REFRESH_MS = 1 }; /* the allow list is looked at, at most so often */

struct hub_guard {
    struct zap *zap;
    struct allow *allow;
    uint64_t *keys; /* [HUB_PEERS_MAX] hash of the public key of each peer */
    int64_t refreshed_ns;
    bool unreadable; /* logged */
};

enum status hub_guard_open(struct hub_guard **guard, void *context, void *socket,
                           const char *folder)
{
    struct hub_guard *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "keys of %s", folder);
    struct key_pair pair = {0};
    enum status status;
    made->keys = memory_array(HUB_PEERS_MAX, sizeof *made->keys);
    if (made->keys == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "keys of %d peers", HUB_PEERS_MAX);
        goto out;
    }
    TRY_GOTO(out, key_pair_read(folder, "store", &pair));
    TRY_GOTO(out, socket_secure_server(socket, &pair));
    TRY_GOTO(out, allow_open(&made->allow, folder));
    TRY_GOTO(out, zap_open(&made->zap, context, folder));
out:
    key_pair_wipe(&pair);
    if (status != STATUS_OK)
        hub_guard_close(&made);
    else
        *guard = made;
    return status;
}

void hub_guard_close(struct hub_guard **guard)
{
    struct hub_guard *old = *guard;
    if (old == NULL)
        return;
    zap_close(&old->zap);
    allow_close(&old->allow);
    memory_free(old->keys);
    memory_free(old);
    *guard = NULL;
}

/* A list that cannot be read revokes nobody who is connected: an editor may be at work on it. */
static const struct allowed *who_is(struct hub_guard *guard, int64_t now_ns, const char *key,
                                    bool *unreadable)
{
    if (now_ns - guard->refreshed_ns >= REFRESH_MS * CLOCK_NS_PER_MS) {
        guard->refreshed_ns = now_ns;
        bool was = guard->unreadable;
        guard->unreadable = allow_refresh(guard->allow) != STATUS_OK;
        if (guard->unreadable && !was)
            LOG_ERROR("hub", "allow list unreadable: who is connected stays, nobody comes",
                      "why=\"%s\"", status_last_error());
    }
    *unreadable = guard->unreadable;
    return allow_find(guard->allow, key);
}

static uint64_t hash_of(const char *key)
{
    return hash64(key, strlen(key), 0);
}

enum hub_guard_verdict hub_guard_judge(struct hub_guard *guard, int64_t now_ns, uint32_t peer,
                                       const struct socket_inbox *inbox, enum role *role,
                                       const char **reason)
{
    bool unreadable = false, known = peer != UINT32_MAX;
    const struct allowed *allowed = who_is(guard, now_ns, inbox->key, &unreadable);
    if (known && guard->keys[peer] != hash_of(inbox->key)) {
        *reason = "it spoke in the name of a peer that has another key";
        zap_ban(guard->zap, inbox->key);
        return HUB_GUARD_CUT;
    }
    if (allowed == NULL && !(unreadable && known)) {
        *reason = unreadable ? "the allow list of the store cannot be read" : "its key was revoked";
        return HUB_GUARD_REFUSE;
    }
    *role = allowed != NULL ? allowed->role : ROLE_NONE;
    return HUB_GUARD_PASS;
}

void hub_guard_bind(struct hub_guard *guard, uint32_t peer, const struct socket_inbox *inbox)
{
    guard->keys[peer] = hash_of(inbox->key);
}
