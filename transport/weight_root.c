#include "transport/weight_root.h"

#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"

enum {
    MEMBERS_MAX = 4096,
    SETTLE_MS = 200, /* actors that start together come into one epoch */
    UNHEARD_MS = 1000,
    BACKOFF_MAX = 64
};

enum member_state {
    MEMBER_WAITING, /* wants to be called */
    MEMBER_CALLED,  /* was told its rank */
    MEMBER_ENTERED  /* has begun to join */
};

struct member {
    uint32_t index, rank;
    uint64_t incarnation;
    enum member_state state;
    bool posted, took;         /* of the version being sent */
    uint64_t holds;            /* digest confirmed last */
    uint32_t strikes;          /* put out so often since the last confirmation */
    int64_t heard_ns, free_ns; /* not called before free_ns */
};

enum phase { PHASE_IDLE, PHASE_FORMING, PHASE_READY, PHASE_SENDING, PHASE_CLOSING };

struct weight_root {
    struct weight_root_config config;
    struct weight_group *group;
    enum phase phase;
    uint64_t epoch;
    uint32_t ranks, id[WIRE_WEIGHT_ID_WORDS]; /* of its communicator */
    struct member *members; /* [MEMBERS_MAX], the first `count`, ascending indices */
    uint32_t count;
    int64_t changed_ns, phase_ns; /* somebody began to wait; the phase began */
    uint32_t stalls; /* versions in a row that reached nobody, though all waited for them */

    bool offered;
    struct weight_control offer; /* version, branch, digest */
    void *memory;                /* of the offer */
    const void *sending;         /* memory being read; NULL: none */
    uint64_t sending_digest;
    struct weight_root_stats stats;
};

enum status weight_root_open(struct weight_root **out, const struct weight_root_config *config)
{
    struct weight_root *root = memory_alloc(sizeof *root);
    if (root == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight root");
    root->config = *config;
    root->epoch = config->epoch & (UINT64_MAX >> 1); /* counts on from there, and is never 0 */
    enum status status = STATUS_OK;
    root->members = memory_array(MEMBERS_MAX, sizeof *root->members);
    if (root->members == NULL)
        status = FAIL(STATUS_NO_MEMORY, "members of a broadcast");
    root->config.group.form_limit_ms = 3 * config->join_timeout_ms;
    root->config.group.send_limit_ms = 3 * config->timeout_ms;
    if (status == STATUS_OK)
        status = weight_group_open(&root->group, &root->config.group);
    if (status != STATUS_OK) {
        memory_free(root->members);
        memory_free(root);
        return status;
    }
    *out = root;
    return STATUS_OK;
}

void weight_root_read(const struct weight_root *root, struct weight_root_stats *stats)
{
    *stats = root->stats;
    stats->members = 0;
    for (uint32_t i = 0; i < root->count; i++)
        stats->members += root->members[i].state == MEMBER_ENTERED;
}

static bool passed(int64_t since_ns, int64_t ms)
{
    return clock_now_ns() - since_ns > ms * (int64_t)CLOCK_NS_PER_MS;
}

static void set_phase(struct weight_root *root, enum phase phase)
{
    root->phase = phase;
    root->phase_ns = clock_now_ns();
}

/* What does not arrive is found out by a deadline. */
static void say(struct weight_root *root, const struct member *to, struct weight_control control)
{
    control.actor = to->index;
    control.incarnation = to->incarnation;
    control.epoch = root->epoch;
    enum status status = root->config.send(root->config.self, &control);
    if (status != STATUS_OK && status != STATUS_AGAIN)
        LOG_WARN("weights", "not said", "actor=%u why=\"%s\"", to->index, status_last_error());
}

/* ---- members ---- */

/* Everybody waits for the next epoch; memory of the broadcast is free when the phase is CLOSING no more. */
static void end_epoch(struct weight_root *root)
{
    for (uint32_t i = 0; i < root->count; i++) {
        struct member *member = &root->members[i];
        if (member->state == MEMBER_WAITING)
            continue;
        say(root, member, (struct weight_control){.kind = WEIGHT_END});
        member->state = MEMBER_WAITING;
    }
    if (root->phase == PHASE_IDLE || root->phase == PHASE_CLOSING)
        return;
    weight_group_abort(root->group);
    set_phase(root, PHASE_CLOSING);
}

void weight_root_close(struct weight_root **pointer)
{
    struct weight_root *root = *pointer;
    if (root == NULL)
        return;
    end_epoch(root);
    weight_group_close(&root->group);
    memory_free(root->members);
    memory_free(root);
    *pointer = NULL;
}

static void end_by_failure(struct weight_root *root)
{
    root->stats.ended++;
    end_epoch(root);
}

static void forget(struct weight_root *root, struct member *member)
{
    uint32_t at = (uint32_t)(member - root->members);
    memmove(member, member + 1, (--root->count - at) * sizeof *member);
}

/* Where `index` is, or would be. */
static struct member *find(struct weight_root *root, uint32_t index)
{
    uint32_t at = 0;
    while (at < root->count && root->members[at].index < index)
        at++;
    return &root->members[at];
}

static bool is_at(const struct weight_root *root, const struct member *member, uint32_t index)
{
    return member < root->members + root->count && member->index == index;
}

/* An actor that is there; one of the same index before it is gone. NULL: no room. */
static struct member *admit(struct weight_root *root, const struct weight_control *control)
{
    struct member *member = find(root, control->actor);
    bool known = is_at(root, member, control->actor);
    if (known && member->incarnation == control->incarnation)
        return member;
    if (known && member->state != MEMBER_WAITING) {
        LOG_WARN("weights", "a member was replaced by a new process", "actor=%u epoch=%" PRIu64,
                 control->actor, root->epoch);
        member->state = MEMBER_WAITING;
        end_by_failure(root);
    }
    if (!known && root->count == MEMBERS_MAX)
        return NULL;
    if (!known) {
        uint32_t at = (uint32_t)(member - root->members);
        memmove(member + 1, member, (root->count++ - at) * sizeof *member);
    }
    *member = (struct member){.index = control->actor, .incarnation = control->incarnation};
    root->changed_ns = clock_now_ns();
    return member;
}

/* Out for a while, longer each time until it confirms a version. */
static void put_out(struct weight_root *root, struct member *member, const char *why)
{
    uint32_t times = member->strikes < 6 ? 1u << member->strikes : BACKOFF_MAX;
    LOG_ERROR("weights", "a member is left out of the broadcast",
              "actor=%u epoch=%" PRIu64 " why=\"%s\" called_again_after_ms=%" PRId64, member->index,
              root->epoch, why, times * root->config.timeout_ms);
    member->strikes++;
    member->free_ns = clock_now_ns() + times * root->config.timeout_ms * (int64_t)CLOCK_NS_PER_MS;
    root->stats.excluded++;
}

/* ---- messages ---- */

static void call(struct weight_root *root, struct member *member)
{
    member->state = MEMBER_CALLED;
    say(root, member,
        (struct weight_control){.kind = WEIGHT_EPOCH,
                                .rank = member->rank,
                                .ranks = root->ranks,
                                .id_count = WIRE_WEIGHT_ID_WORDS,
                                .id = root->id});
}

static void take_here(struct weight_root *root, struct member *member,
                      const struct weight_control *control)
{
    if (control->digest != 0)
        member->holds = control->digest;
    bool unheard = member->state == MEMBER_CALLED && control->version != root->epoch;
    if (unheard && passed(root->phase_ns, UNHEARD_MS)) {
        call(root, member); /* lost on the way, or only late: twice does no harm */
        return;
    }
    if (member->state != MEMBER_ENTERED || control->epoch == root->epoch)
        return; /* 0 from one that was only called: it has not come so far */
    LOG_WARN("weights", "a member gave the communicator up", "actor=%u epoch=%" PRIu64,
             member->index, root->epoch);
    member->state = MEMBER_WAITING;
    root->changed_ns = clock_now_ns();
    end_by_failure(root);
}

static void take_leave(struct weight_root *root, struct member *member)
{
    bool inside = member->state != MEMBER_WAITING;
    LOG_INFO("weights", "a member leaves", "actor=%u epoch=%" PRIu64, member->index, root->epoch);
    forget(root, member);
    if (inside)
        end_epoch(root);
}

void weight_root_take(struct weight_root *root, const struct weight_control *control)
{
    if (control->kind == WEIGHT_LEAVE) {
        struct member *member = find(root, control->actor);
        if (is_at(root, member, control->actor) && member->incarnation == control->incarnation)
            take_leave(root, member);
        return;
    }
    struct member *member = admit(root, control);
    if (member == NULL)
        return;
    member->heard_ns = clock_now_ns();
    bool current = control->epoch == root->epoch && member->state != MEMBER_WAITING;
    switch (control->kind) {
    case WEIGHT_HERE:
        take_here(root, member, control);
        return;
    case WEIGHT_ENTER:
        if (current)
            member->state = MEMBER_ENTERED;
        return;
    case WEIGHT_POST:
        if (current && control->digest == root->sending_digest)
            member->posted = true;
        return;
    case WEIGHT_TOOK:
        if (current && control->digest == root->sending_digest) {
            member->took = true;
            member->holds = control->digest;
            member->strikes = 0;
        }
        return;
    default:
        LOG_WARN("weights", "ignored a message", "actor=%u kind=%d", control->actor,
                 (int)control->kind);
    }
}

/* ---- epochs ---- */

static bool may_be_called(const struct weight_root *root, const struct member *member)
{
    return member->state == MEMBER_WAITING && clock_now_ns() >= member->free_ns &&
           !passed(member->heard_ns, root->config.timeout_ms);
}

static uint32_t callable(const struct weight_root *root)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < root->count; i++)
        count += may_be_called(root, &root->members[i]);
    return count;
}

/* Somebody waits, and nobody came in the last moments. */
static bool should_form(const struct weight_root *root)
{
    return root->offered && callable(root) > 0 && passed(root->changed_ns, SETTLE_MS);
}

static void form(struct weight_root *root)
{
    struct nccl_id id;
    uint32_t ranks = 1;
    for (uint32_t i = 0; i < root->count;
         i++) { /* once: who may be called changes with the clock */
        struct member *member = &root->members[i];
        member->rank = may_be_called(root, member) ? ranks++ : 0;
    }
    enum status status = weight_group_make_id(root->group, &id);
    if (status == STATUS_OK)
        status = weight_group_form(root->group, &id, (int)ranks, 0);
    if (status != STATUS_OK) {
        LOG_FAILURE("weights", "no communicator", status);
        root->changed_ns = clock_now_ns() + CLOCK_NS_PER_S; /* not at once again */
        return;
    }
    memcpy(root->id, &id, sizeof id);
    root->ranks = ranks;
    root->epoch++;
    root->stats.epochs++;
    for (uint32_t i = 0; i < root->count; i++) {
        struct member *member = &root->members[i];
        if (member->rank > 0)
            call(root, member);
    }
    set_phase(root, PHASE_FORMING);
    LOG_INFO("weights", "communicator", "epoch=%" PRIu64 " ranks=%u", root->epoch, ranks);
}

/* Names who did not do what `lacks` says of it; the number of them. */
static uint32_t put_out_all(struct weight_root *root, bool (*lacks)(const struct member *member),
                            const char *why)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < root->count; i++)
        if (root->members[i].state != MEMBER_WAITING && lacks(&root->members[i])) {
            put_out(root, &root->members[i], why);
            count++;
        }
    return count;
}

static bool has_not_entered(const struct member *member)
{
    return member->state != MEMBER_ENTERED;
}

static bool has_not_posted(const struct member *member)
{
    return !member->posted;
}

static bool has_not_taken(const struct member *member)
{
    return !member->took;
}

static void forming_failed(struct weight_root *root)
{
    if (put_out_all(root, has_not_entered, "it did not join within weights.join_timeout_ms") == 0)
        LOG_ERROR("weights", "the ranks do not come together although all have begun to join",
                  "epoch=%" PRIu64 " hint=\"NCCL_DEBUG=INFO says why; two ranks on one GPU need "
                  "weights.channel ipc\"",
                  root->epoch);
    end_by_failure(root);
}

/* Who has not even begun is at fault; else who has not confirmed. When all have begun and none has confirmed, one of
 * them may hold up the others: the next epoch tries again before everybody is. */
static void sending_failed(struct weight_root *root)
{
    uint32_t inside = 0, took = 0;
    for (uint32_t i = 0; i < root->count; i++) {
        inside += root->members[i].state != MEMBER_WAITING;
        took += root->members[i].state != MEMBER_WAITING && root->members[i].took;
    }
    bool stall = took == 0 && inside > 1 && root->stalls == 0;
    if (put_out_all(root, has_not_posted,
                    "it did not get ready for a version within weights.timeout_ms") > 0)
        root->stalls = 0;
    else if (stall)
        root->stalls++;
    else
        put_out_all(root, has_not_taken, "it did not confirm a version within weights.timeout_ms");
    end_by_failure(root);
}

/* ---- sending ---- */

static bool somebody_lacks(const struct weight_root *root, uint64_t digest)
{
    for (uint32_t i = 0; i < root->count; i++)
        if (root->members[i].state == MEMBER_ENTERED && root->members[i].holds != digest)
            return true;
    return false;
}

static void begin_sending(struct weight_root *root)
{
    struct weight_control announcement = root->offer;
    announcement.kind = WEIGHT_SEND;
    root->sending_digest = announcement.digest;
    for (uint32_t i = 0; i < root->count; i++) {
        struct member *member = &root->members[i];
        member->posted = member->took = false;
        if (member->state == MEMBER_ENTERED)
            say(root, member, announcement);
    }
    set_phase(root, PHASE_SENDING);
    root->sending = root->memory;
    enum status status = weight_group_begin(root->group, root->memory, root->config.bytes);
    if (status == STATUS_OK)
        return;
    LOG_FAILURE("weights", "broadcast not begun", status);
    end_by_failure(root);
}

static void sent(struct weight_root *root)
{
    root->stats.sent++;
    root->stats.send_ms = (double)(clock_now_ns() - root->phase_ns) / CLOCK_NS_PER_MS;
    root->stalls = 0;
    set_phase(root, PHASE_READY);
}

static bool all_have_taken(const struct weight_root *root)
{
    for (uint32_t i = 0; i < root->count; i++)
        if (root->members[i].state == MEMBER_ENTERED && !root->members[i].took)
            return false;
    return true;
}

bool weight_root_is_moving(const struct weight_root *root)
{
    return (root->phase != PHASE_IDLE && root->phase != PHASE_READY) || callable(root) > 0;
}

void weight_root_offer(struct weight_root *root, uint64_t version, uint32_t branch, uint64_t digest,
                       void *memory)
{
    root->offer = (struct weight_control){.version = version, .branch = branch, .digest = digest};
    root->memory = memory;
    root->offered = true;
}

/* ---- turns ---- */

/* A broken communicator ends the epoch; whoever broke it says HERE no more, or with epoch 0. */
static enum status move_group(struct weight_root *root)
{
    enum status status = weight_group_turn(root->group);
    if (status == STATUS_TIMEOUT)
        return status;
    if (status != STATUS_OK) {
        LOG_FAILURE("weights", "communicator broken", status);
        root->changed_ns = clock_now_ns() + CLOCK_NS_PER_S; /* not at once again */
        end_by_failure(root);
    }
    enum weight_group_state state = weight_group_look(root->group);
    bool gone = state == WEIGHT_GROUP_CLOSING || state == WEIGHT_GROUP_NONE;
    if (gone && root->phase != PHASE_IDLE && root->phase != PHASE_CLOSING) {
        end_by_failure(root); /* its watchdog ended it */
        state = weight_group_look(root->group);
    }
    if (state != WEIGHT_GROUP_BUSY && state != WEIGHT_GROUP_CLOSING)
        root->sending = NULL;
    if (root->phase == PHASE_CLOSING && state == WEIGHT_GROUP_NONE)
        set_phase(root, PHASE_IDLE);
    return STATUS_OK;
}

static void forget_silent(struct weight_root *root)
{
    for (uint32_t i = root->count; i-- > 0;) {
        struct member *member = &root->members[i];
        if (!passed(member->heard_ns, root->config.timeout_ms))
            continue;
        bool inside = member->state != MEMBER_WAITING;
        LOG_WARN("weights", "a member is silent, the others go on",
                 "actor=%u epoch=%" PRIu64 " inside=%d", member->index, root->epoch, inside);
        forget(root, member);
        if (inside)
            end_by_failure(root);
    }
}

static bool all_have_entered(const struct weight_root *root)
{
    for (uint32_t i = 0; i < root->count; i++)
        if (root->members[i].state == MEMBER_CALLED)
            return false;
    return true;
}

static void move_phase(struct weight_root *root)
{
    enum weight_group_state state = weight_group_look(root->group);
    bool late = passed(root->phase_ns, root->phase == PHASE_FORMING ? root->config.join_timeout_ms
                                                                    : root->config.timeout_ms);
    switch (root->phase) {
    case PHASE_IDLE:
        if (should_form(root))
            form(root);
        return;
    case PHASE_FORMING:
        if (state == WEIGHT_GROUP_READY && all_have_entered(root))
            set_phase(root, PHASE_READY);
        else if (late)
            forming_failed(root);
        return;
    case PHASE_READY:
        if (should_form(root))
            end_epoch(root); /* the next one has the joiners too */
        else if (root->offered && somebody_lacks(root, root->offer.digest))
            begin_sending(root);
        return;
    case PHASE_SENDING:
        if (state == WEIGHT_GROUP_READY && all_have_taken(root))
            sent(root);
        else if (late)
            sending_failed(root);
        return;
    case PHASE_CLOSING:
        return;
    }
}

enum status weight_root_turn(struct weight_root *root)
{
    TRY(move_group(root));
    forget_silent(root);
    move_phase(root);
    return STATUS_OK;
}

bool weight_root_release(struct weight_root *root, const void *memory)
{
    if (root->offered && root->memory == memory)
        root->offered = false;
    return root->sending != memory;
}
