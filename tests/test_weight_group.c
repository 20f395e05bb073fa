/* links: transport */
/* timeout: 120 */
/* valgrind: no - each case is an exec of /proc/self/exe, which is valgrind itself there */
/* One learner and three actors of one thread over tests/fake_nccl: who gets which version, and what happens when one of
 * them hangs, is slow, is gone, comes back, or gets wrong bytes. Each case has a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "transport/weight_member.h"
#include "transport/weight_root.h"

enum {
    ACTORS = 3,
    BYTES = 300008,
    PIECE = 65536,
    TIMEOUT_MS = 400,
    MAIL = 4096,
    LONG_MS = 20000,
    SOON_MS = 300
};

/* ---- a device that is the host ---- */

static void *no_stream(void *context)
{
    (void)context;
    return NULL;
}

static enum status no_wait(void *context, int64_t timeout_ms)
{
    (void)context, (void)timeout_ms;
    return STATUS_OK;
}

static enum status no_finish(void *context)
{
    (void)context;
    return STATUS_OK;
}

static const struct weight_device device = {
    .finish = no_finish, .side_stream = no_stream, .side_wait = no_wait};

/* ---- learner, actors and what they say ---- */

struct actor {
    struct weight_member *member; /* NULL: not there */
    bool frozen;
    uint64_t incarnation;
    uint32_t index;
    uint8_t *bytes;
    uint64_t version, digest; /* served; 0: none */
    unsigned arrivals, bad;
};

struct letter {
    bool to_learner;
    struct weight_control control;
    uint32_t id[WIRE_WEIGHT_ID_WORDS];
};

static struct actor actors[ACTORS];
static struct weight_root *root;
static uint8_t *buffers[2];
static struct letter mail[MAIL];
static size_t mail_first, mail_count;
static uint64_t offered_digest;
static int64_t join_timeout_ms = TIMEOUT_MS;
static unsigned lose; /* so many of the next letters that call actor 1 */

static enum status post(bool to_learner, const struct weight_control *control)
{
    assert_true(mail_count < MAIL);
    struct letter *letter = &mail[(mail_first + mail_count++) % MAIL];
    letter->to_learner = to_learner;
    letter->control = *control;
    if (control->id_count > 0)
        memcpy(letter->id, control->id, sizeof letter->id);
    letter->control.id = letter->id;
    return STATUS_OK;
}

static enum status to_actor(void *self, const struct weight_control *control)
{
    (void)self;
    return post(false, control);
}

static enum status to_learner(void *self, const struct weight_control *control)
{
    const struct actor *actor = self;
    struct weight_control said = *control;
    said.actor = actor->index;
    said.incarnation = actor->incarnation;
    return post(true, &said);
}

static struct weight_group_config group_config(void)
{
    return (struct weight_group_config){
        .device = &device, .nccl_library = BUILD_DIR "/tests/fake_nccl.so", .piece_bytes = PIECE};
}

static void start_actor(uint32_t index, uint64_t incarnation)
{
    struct actor *actor = &actors[index];
    *actor = (struct actor){.index = index, .incarnation = incarnation, .bytes = actor->bytes};
    if (actor->bytes == NULL)
        actor->bytes = memory_alloc(BYTES);
    struct weight_member_config config = {.group = group_config(),
                                          .join_timeout_ms = join_timeout_ms,
                                          .timeout_ms = TIMEOUT_MS,
                                          .bytes = BYTES,
                                          .send = to_learner,
                                          .self = actor};
    assert_int_equal(weight_member_open(&actor->member, &config), STATUS_OK);
}

static void start_root(uint64_t epoch)
{
    struct weight_root_config config = {.group = group_config(),
                                        .join_timeout_ms = join_timeout_ms,
                                        .timeout_ms = TIMEOUT_MS,
                                        .epoch = epoch,
                                        .bytes = BYTES,
                                        .send = to_actor};
    assert_int_equal(weight_root_open(&root, &config), STATUS_OK);
}

static void begin(const char *script)
{
    setenv("FAKE_NCCL_SCRIPT", script, 1);
    for (int i = 0; i < 2; i++)
        assert_non_null(buffers[i] = memory_alloc(BYTES));
    start_root(100);
    for (uint32_t i = 0; i < ACTORS; i++)
        start_actor(i, 1);
}

static void end(void)
{
    for (int i = 0; i < ACTORS; i++) {
        weight_member_close(&actors[i].member);
        memory_free(actors[i].bytes);
    }
    weight_root_close(&root);
    memory_free(buffers[0]);
    memory_free(buffers[1]);
    assert_int_equal(memory_blocks_live(), 0);
}

static void deliver(void)
{
    while (mail_count > 0) {
        struct letter letter = mail[mail_first];
        letter.control.id = letter.id;
        const struct actor *actor = &actors[letter.control.actor];
        bool there = actor->member != NULL && actor->incarnation == letter.control.incarnation;
        mail_first = (mail_first + 1) % MAIL;
        mail_count--;
        bool lost = letter.control.kind == WEIGHT_EPOCH && letter.control.actor == 1 && lose > 0;
        lose -= lost;
        if (lost)
            continue;
        if (letter.to_learner && root != NULL)
            weight_root_take(root, &letter.control);
        else if (!letter.to_learner && there)
            weight_member_take(actor->member, &letter.control);
    }
}

static void turn_actor(struct actor *actor)
{
    bool receiving, arrived;
    struct weight_arrival arrival;
    if (actor->member == NULL || actor->frozen)
        return;
    assert_int_equal(
        weight_member_turn(actor->member, actor->bytes, &receiving, &arrived, &arrival), STATUS_OK);
    if (!arrived)
        return;
    bool good = weight_digest(actor->bytes, BYTES, 0) == arrival.digest;
    weight_member_answer(actor->member, good);
    actor->arrivals++;
    actor->bad += !good;
    if (good) {
        actor->version = arrival.version;
        actor->digest = arrival.digest;
    }
}

static void turn(void)
{
    deliver();
    if (root != NULL)
        assert_int_equal(weight_root_turn(root), STATUS_OK);
    for (int i = 0; i < ACTORS; i++)
        turn_actor(&actors[i]);
    clock_sleep_ms(1);
}

static void offer(uint64_t version)
{
    uint8_t *bytes = buffers[version % 2];
    while (!weight_root_release(root, bytes))
        turn();
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * version + i / 251);
    offered_digest = weight_digest(bytes, BYTES, 0);
    weight_root_offer(root, version, 0, offered_digest, bytes);
}

/* Bits of the actors that serve `version`. */
static unsigned serving(uint64_t version)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < ACTORS; i++)
        bits |= (unsigned)(actors[i].version == version) << i;
    return bits;
}

static void await_serving(uint64_t version, unsigned wanted)
{
    int64_t end_ns = clock_now_ns() + LONG_MS * (int64_t)CLOCK_NS_PER_MS;
    while ((serving(version) & wanted) != wanted && clock_now_ns() < end_ns)
        turn();
    assert_int_equal(serving(version) & wanted, wanted);
}

static struct weight_root_stats stats(void)
{
    struct weight_root_stats read;
    weight_root_read(root, &read);
    return read;
}

static void turn_for(int64_t ms)
{
    for (int64_t end_ns = clock_now_ns() + ms * CLOCK_NS_PER_MS; clock_now_ns() < end_ns;)
        turn();
}

/* ---- cases ---- */

static void everybody_gets_each_version(void)
{
    begin("");
    for (uint64_t version = 1; version <= 5; version++) {
        offer(version);
        await_serving(version, 7);
    }
    turn_for(50);
    assert_int_equal(stats().epochs, 1);
    assert_int_equal(stats().sent, 5);
    assert_int_equal(stats().members, ACTORS);
    assert_int_equal(stats().excluded, 0);
    assert_true(stats().send_ms > 0);
    for (int i = 0; i < ACTORS; i++)
        assert_int_equal(actors[i].arrivals, 5);
    end();
}

static void joiner_gets_what_the_others_have(void)
{
    begin("");
    weight_member_close(&actors[2].member);
    offer(7);
    await_serving(7, 3);
    start_actor(2, 9);
    await_serving(7, 7);
    assert_int_equal(stats().epochs, 2);
    offer(8);
    await_serving(8, 7);
    assert_int_equal(stats().epochs, 2);
    end();
}

static void hanging_member_is_put_out_and_comes_back(void)
{
    begin(
        "rank=2 hang after=8"); /* 5 pieces a version and rank: the first call of rank 2 after the first 8 */
    offer(1);
    await_serving(1, 5);
    int64_t begin_ns = clock_now_ns();
    offer(2);
    await_serving(2, 5);
    assert_in_range((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS, 0, 6 * TIMEOUT_MS);
    await_serving(2, 7); /* its communicator was aborted, and the next one does not hang */
    /* 0: nobody had confirmed the version yet. The first such stall is nobody's fault, and all are called again. */
    assert_in_range(stats().excluded, 0, 1);
    assert_in_range(stats().epochs, 2 + stats().excluded, 4);
    end();
}

static void slow_member_holds_up_nobody_for_long(void)
{
    begin("rank=1 slow ms=20");
    for (uint64_t version = 1; version <= 3; version++) {
        offer(version);
        await_serving(version, 7);
    }
    assert_int_equal(stats().excluded, 0);
    assert_int_equal(stats().epochs, 1);
    end();
}

static void wrong_bytes_are_never_served(void)
{
    begin("rank=1 corrupt after=3");
    offer(1);
    await_serving(1, 7);
    assert_int_equal(actors[0].bad, 1);
    assert_int_equal(actors[0].digest, offered_digest);
    assert_int_equal(stats().ended, 1);
    end();
}

static void broken_communicator_is_replaced(void)
{
    begin("rank=0 error after=0");
    offer(1);
    await_serving(1, 7);
    assert_int_equal(stats().ended, 1);
    assert_int_equal(stats().epochs, 2);
    assert_int_equal(stats().excluded, 0);
    end();
}

static void silent_member_is_left_behind(void)
{
    begin("");
    offer(1);
    await_serving(1, 7);
    actors[1].frozen = true;
    offer(2);
    await_serving(2, 5);
    turn_for(2 * TIMEOUT_MS);
    assert_int_equal(stats().members, 2);
    actors[1].frozen = false; /* it hears that its epoch is over, and comes again */
    await_serving(2, 7);
    end();
}

static void new_process_takes_the_place_of_a_killed_one(void)
{
    begin("");
    offer(1);
    await_serving(1, 7);
    actors[1].frozen = true; /* as a killed process: its communicator says and does nothing */
    struct weight_member *dead = actors[1].member;
    start_actor(1, 2);
    int64_t begin_ns = clock_now_ns();
    await_serving(1, 7);
    assert_in_range((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS, 0, 3 * TIMEOUT_MS);
    assert_int_equal(stats().excluded, 0);
    offer(2);
    await_serving(2, 7);
    weight_member_close(&dead);
    end();
}

static void new_learner_takes_all_over(void)
{
    begin("");
    offer(3);
    await_serving(3, 7);
    weight_root_close(&root);
    turn_for(2 * TIMEOUT_MS);
    assert_int_equal(serving(3), 7); /* they go on with what they have */
    start_root(1000);
    offer(4);
    await_serving(4, 7);
    end();
}

static void overtaken_version_is_not_sent(void)
{
    begin("rank=1 slow ms=30"); /* a version takes 150 ms */
    offer(1);
    await_serving(1, 7);
    uint64_t version = 2;
    for (; version <= 3; version++)
        offer(version); /* 2 is not begun: nobody turned */
    await_serving(3, 7);
    for (int i = 0; i < ACTORS; i++)
        assert_int_equal(actors[i].arrivals, 2);
    /* Buffers are not written while they are read: digests would differ. */
    for (version = 4; version <= 9; version++) {
        offer(version);
        turn_for(20);
    }
    await_serving(9, 7);
    for (int i = 0; i < ACTORS; i++)
        assert_int_equal(actors[i].bad, 0);
    end();
}

static void lost_call_is_said_again(void)
{
    join_timeout_ms = LONG_MS;
    begin("");
    lose = 2;
    offer(1);
    int64_t begin_ns = clock_now_ns();
    await_serving(1, 7);
    assert_in_range((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS, 1000, 4000);
    assert_int_equal(stats().epochs, 1);
    assert_int_equal(lose, 0);
    end();
}

static void opening_without_memory_leaks_nothing(void)
{
    struct weight_root_config as_root = {.group = group_config(), .timeout_ms = 1, .bytes = BYTES};
    struct weight_member_config as_member = {.group = group_config(),
                                             .timeout_ms = 1,
                                             .bytes = BYTES,
                                             .send = to_learner,
                                             .self = &actors[0]};
    struct weight_member *member = NULL;
    enum status status = STATUS_NO_MEMORY;
    as_root.send = to_actor;
    for (int64_t n = 1; status != STATUS_OK; n++) {
        memory_fail_after(n);
        status = weight_root_open(&root, &as_root);
        memory_fail_after(-1);
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        assert_true(status == STATUS_OK || memory_blocks_live() == 0);
    }
    weight_root_close(&root);
    status = STATUS_NO_MEMORY;
    for (int64_t n = 1; status != STATUS_OK; n++) {
        memory_fail_after(n);
        status = weight_member_open(&member, &as_member);
        memory_fail_after(-1);
        assert_true(status == STATUS_OK || memory_blocks_live() == 0);
    }
    weight_member_close(&member);
    assert_int_equal(memory_blocks_live(), 0);
}

/* An owner that is held up by its device cannot abort what holds it up. */
static void watchdog_aborts_when_nobody_turns(void)
{
    struct nccl_id id;
    struct weight_group *group = NULL;
    struct weight_group_config config = group_config();
    config.form_limit_ms = config.send_limit_ms = 100;
    assert_int_equal(weight_group_open(&group, &config), STATUS_OK);
    assert_int_equal(weight_group_make_id(group, &id), STATUS_OK);
    assert_int_equal(weight_group_form(group, &id, 2, 0), STATUS_OK); /* rank 1 never comes */
    clock_sleep_ms(300);
    assert_int_equal(weight_group_look(group), WEIGHT_GROUP_CLOSING);
    assert_int_equal(weight_group_turn(group), STATUS_OK);
    assert_int_equal(weight_group_look(group), WEIGHT_GROUP_NONE);
    assert_int_equal(weight_group_make_id(group, &id), STATUS_OK);
    assert_int_equal(weight_group_form(group, &id, 1, 0), STATUS_OK);
    while (weight_group_look(group) == WEIGHT_GROUP_FORMING)
        assert_int_equal(weight_group_turn(group), STATUS_OK);
    clock_sleep_ms(300); /* ready: nothing to watch */
    assert_int_equal(weight_group_look(group), WEIGHT_GROUP_READY);
    weight_group_close(&group);
    /* A learner and actors that all stand still while a version hangs. */
    begin("rank=1 hang after=2");
    offer(1);
    turn_for(SOON_MS);
    clock_sleep_ms(4 * TIMEOUT_MS);
    await_serving(1, 7);
    assert_in_range(stats().epochs, 2, 3);
    end();
}

static void leaving_member_ends_the_epoch_at_once(void)
{
    begin("");
    offer(1);
    await_serving(1, 7);
    weight_member_close(&actors[0].member);
    int64_t begin_ns = clock_now_ns();
    offer(2);
    await_serving(2, 6);
    assert_in_range((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS, 0, TIMEOUT_MS);
    assert_int_equal(stats().members, 2);
    assert_int_equal(stats().excluded, 0);
    end();
}

/* The same program with the name of a case. */
static void in_own_process(const char *name)
{
    int code = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "case", name, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(code, 0);
}

// clang-format off
#define CASES(CASE) \
    CASE(everybody_gets_each_version) CASE(joiner_gets_what_the_others_have) \
    CASE(hanging_member_is_put_out_and_comes_back) CASE(slow_member_holds_up_nobody_for_long) \
    CASE(wrong_bytes_are_never_served) CASE(broken_communicator_is_replaced) \
    CASE(silent_member_is_left_behind) CASE(new_process_takes_the_place_of_a_killed_one) \
    CASE(new_learner_takes_all_over) CASE(overtaken_version_is_not_sent) \
    CASE(lost_call_is_said_again) CASE(opening_without_memory_leaks_nothing) CASE(watchdog_aborts_when_nobody_turns) CASE(leaving_member_ends_the_epoch_at_once)
// clang-format on

#define CASE(body)                                     \
    static void test_weight_group_##body(void **state) \
    {                                                  \
        (void)state;                                   \
        in_own_process(#body);                         \
    }
CASES(CASE)
#undef CASE

int main(int argc, char **argv)
{
#define CASE(body)                                 \
    if (argc > 1 && strcmp(argv[1], #body) == 0) { \
        body();                                    \
        return 0;                                  \
    }
    CASES(CASE)
#undef CASE
    const struct CMUnitTest tests[] = {
#define CASE(body) cmocka_unit_test(test_weight_group_##body),
        CASES(CASE)
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
