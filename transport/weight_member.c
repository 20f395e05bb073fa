#include "transport/weight_member.h"

#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"

enum { HERE_MS = 500 }; /* at most; four times within timeout_ms */

struct weight_member {
    struct weight_member_config config;
    struct weight_group *group;
    uint64_t epoch; /* of the communicator; 0: in none */

    bool called; /* the learner named a communicator that is not joined yet */
    uint64_t called_epoch;
    int ranks, rank;
    struct nccl_id id;

    bool announced, arrived; /* arrived: not answered yet */
    struct weight_arrival arrival;
    uint64_t holds;               /* digest of what the owner has; 0: nothing */
    int64_t deadline_ns, here_ns; /* of what the group does now; when HERE is due */
};

enum status weight_member_open(struct weight_member **out,
                               const struct weight_member_config *config)
{
    struct weight_member *member = memory_alloc(sizeof *member);
    if (member == NULL)
        return FAIL(STATUS_NO_MEMORY, "weight member");
    member->config = *config;
    member->config.group.digest = true;
    member->config.group.form_limit_ms = 3 * config->join_timeout_ms;
    member->config.group.send_limit_ms = 3 * config->timeout_ms;
    enum status status = weight_group_open(&member->group, &member->config.group);
    if (status != STATUS_OK) {
        memory_free(member);
        return status;
    }
    *out = member;
    return STATUS_OK;
}

/* What is lost here is said again: HERE comes every HERE_MS, and the learner has deadlines for the rest. */
static void say(struct weight_member *member, enum weight_kind kind, uint64_t epoch)
{
    struct weight_control control = {
        .kind = kind,
        .epoch = epoch,
        .version = kind == WEIGHT_HERE ? member->called_epoch : member->arrival.version,
        .digest = kind == WEIGHT_HERE ? member->holds : member->arrival.digest,
        .branch = member->arrival.branch};
    enum status status = member->config.send(member->config.self, &control);
    if (status != STATUS_OK && status != STATUS_AGAIN)
        LOG_WARN("weights", "not said", "why=\"%s\"", status_last_error());
}

void weight_member_close(struct weight_member **pointer)
{
    struct weight_member *member = *pointer;
    if (member == NULL)
        return;
    say(member, WEIGHT_LEAVE, member->epoch);
    weight_group_close(&member->group);
    memory_free(member);
    *pointer = NULL;
}

void weight_member_holds(struct weight_member *member, uint64_t digest)
{
    member->holds = digest;
}

static void leave(struct weight_member *member)
{
    weight_group_abort(member->group);
    member->epoch = 0;
    member->announced = member->arrived = false;
    member->here_ns = 0; /* at once */
}

/* The learner, which sees who is late, decides after this time; this end only when it does not. */
static void set_deadline(struct weight_member *member, int64_t timeout_ms)
{
    member->deadline_ns = clock_now_ns() + 2 * timeout_ms * CLOCK_NS_PER_MS;
}

void weight_member_take(struct weight_member *member, const struct weight_control *control)
{
    switch (control->kind) {
    case WEIGHT_EPOCH:
        if (control->epoch == member->called_epoch)
            return; /* said twice */
        leave(member);
        member->called = true;
        member->called_epoch = control->epoch;
        member->ranks = (int)control->ranks;
        member->rank = (int)control->rank;
        _Static_assert(sizeof member->id == WIRE_WEIGHT_ID_WORDS * sizeof(uint32_t), "an id");
        memcpy(&member->id, control->id, sizeof member->id);
        return;
    case WEIGHT_SEND:
        if (member->epoch == 0 || control->epoch != member->epoch)
            return;
        member->announced = true;
        member->arrival = (struct weight_arrival){
            .version = control->version, .digest = control->digest, .branch = control->branch};
        return;
    case WEIGHT_END:
        if (member->called && control->epoch == member->called_epoch)
            member->called = false;
        if (member->epoch != 0 && control->epoch == member->epoch)
            leave(member);
        return;
    default:
        LOG_WARN("weights", "ignored a message", "kind=%d", (int)control->kind);
    }
}

/* The group failed or was too slow: this end gives it up. */
static void give_up(struct weight_member *member, const char *what, enum status status)
{
    if (status != STATUS_OK)
        LOG_FAILURE("weights", "communicator given up", status);
    else
        LOG_WARN("weights", "communicator given up",
                 "epoch=%" PRIu64 " rank=%d why=\"%s took twice the time there is for it\"",
                 member->epoch, member->rank, what);
    leave(member);
}

static void enter(struct weight_member *member)
{
    member->called = false;
    enum status status = weight_group_form(member->group, &member->id, member->ranks, member->rank);
    if (status != STATUS_OK) {
        give_up(member, "joining", status);
        return;
    }
    member->epoch = member->called_epoch;
    set_deadline(member, member->config.join_timeout_ms);
    say(member, WEIGHT_ENTER, member->epoch);
}

static void post(struct weight_member *member, void *memory)
{
    member->announced = false;
    enum status status = weight_group_begin(member->group, memory, member->config.bytes);
    if (status != STATUS_OK) {
        give_up(member, "posting", status);
        return;
    }
    set_deadline(member, member->config.timeout_ms);
    say(member, WEIGHT_POST, member->epoch);
}

/* Of a device that sums up nothing beside a transfer it is taken now. */
static enum status take_digest(struct weight_member *member, const void *memory)
{
    const struct weight_device *device = member->config.group.device;
    struct weight_arrival *arrival = &member->arrival;
    if (weight_group_digest(member->group, &arrival->own, &arrival->digest_ms))
        return STATUS_OK;
    arrival->own = arrival->digest;
    if (device->digest == NULL)
        return STATUS_OK; /* its owner looks at the bytes */
    int64_t begin_ns = clock_now_ns();
    TRY(device->digest(device->context, memory, member->config.bytes, 0, &arrival->own));
    arrival->digest_ms = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    return STATUS_OK;
}

static enum status move_group(struct weight_member *member, const void *memory)
{
    enum weight_group_state before = weight_group_look(member->group);
    enum status status = weight_group_turn(member->group);
    enum weight_group_state now = weight_group_look(member->group);
    if (status == STATUS_TIMEOUT)
        return status;
    if (status != STATUS_OK)
        give_up(member, "", status);
    else if (member->epoch != 0 && (now == WEIGHT_GROUP_CLOSING || now == WEIGHT_GROUP_NONE))
        leave(member); /* its watchdog ended it */
    else if (before == WEIGHT_GROUP_BUSY && now == WEIGHT_GROUP_READY) {
        member->arrived = true;
        return take_digest(member, memory);
    } else if ((now == WEIGHT_GROUP_FORMING || now == WEIGHT_GROUP_BUSY) &&
               clock_now_ns() > member->deadline_ns)
        give_up(member, now == WEIGHT_GROUP_FORMING ? "joining" : "receiving", STATUS_OK);
    return STATUS_OK;
}

enum status weight_member_turn(struct weight_member *member, void *memory, bool *receiving,
                               bool *arrived, struct weight_arrival *arrival)
{
    TRY(move_group(member, memory));
    enum weight_group_state state = weight_group_look(member->group);
    if (member->called && state == WEIGHT_GROUP_NONE)
        enter(member);
    else if (member->announced && !member->arrived && state == WEIGHT_GROUP_READY)
        post(member, memory);
    if (clock_now_ns() >= member->here_ns) {
        int64_t ms =
            member->config.timeout_ms / 4 < HERE_MS ? member->config.timeout_ms / 4 : HERE_MS;
        member->here_ns = clock_now_ns() + ms * CLOCK_NS_PER_MS;
        say(member, WEIGHT_HERE, member->epoch);
    }
    state = weight_group_look(member->group);
    /* Until an abort is through, the device may still write. */
    *receiving = state == WEIGHT_GROUP_BUSY || state == WEIGHT_GROUP_CLOSING || member->arrived;
    *arrived = member->arrived;
    if (member->arrived)
        *arrival = member->arrival;
    return STATUS_OK;
}

void weight_member_answer(struct weight_member *member, bool good)
{
    CHECK(member->arrived);
    member->arrived = false;
    if (good) {
        member->holds = member->arrival.digest;
        say(member, WEIGHT_TOOK, member->epoch);
    } else {
        leave(member); /* the next epoch begins with the same version */
    }
}
