/* links: ops */
/* label: unit */
/* watch: stopped, cut off and silent processes, told from statuses of the store; time is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/clock.h"
#include "ops/watch.h"

enum { STOPPED_MS = 2000, SILENT_MS = 60000, PACE_MS = 100, STORE = 0, ACTOR = 1, PROCESSES = 2 };

struct world {
    struct watch watch;
    struct process processes[PROCESSES];
    int64_t now_ns;
    char said[4096]; /* all sentences */
    bool kill[PROCESSES];
};

static struct world begin(void)
{
    struct world world = {.now_ns = CLOCK_NS_PER_S,
                          .watch = {.stopped_ms = STOPPED_MS, .silent_ms = SILENT_MS},
                          .processes = {{.name = "store.0", .duty = DUTY_STORE, .pid = 70},
                                        {.name = "actor.1", .duty = DUTY_WORKER, .pid = 77}}};
    return world;
}

/* What the store says of actor.1. NULL: it does not answer. */
static void answer(struct world *world, const char *peer)
{
    char text[400];
    watch_asked(&world->watch);
    if (peer == NULL)
        return;
    snprintf(text, sizeof text, "{\"peers\":[%s]}", peer);
    json_t *status = json_loads(text, 0, NULL);
    assert_non_null(status);
    watch_answered(&world->watch, status, world->processes, PROCESSES);
    json_decref(status);
}

/* Milliseconds until the first verdict, at most limit_ms; -1: none. */
static int64_t pass(struct world *world, const char *peer, int64_t limit_ms)
{
    for (int64_t ms = 0; ms <= limit_ms; ms += PACE_MS) {
        watch_attend(&world->watch, world->now_ns);
        answer(world, peer);
        for (size_t i = 0; i < PROCESSES; i++) {
            char sentence[300];
            world->kill[i] =
                watch_judge(&world->watch, &world->processes[i], sentence, sizeof sentence);
            size_t used = strlen(world->said);
            snprintf(world->said + used, sizeof world->said - used, "%s\n", sentence);
            if (world->kill[i])
                return ms;
        }
        world->now_ns += (int64_t)PACE_MS * CLOCK_NS_PER_MS;
    }
    return -1;
}

#define PEER(pid, connected, silent)                                            \
    "{\"role\":\"actor\",\"index\":1,\"pid\":" #pid ",\"connected\":" connected \
    ",\"silent_ms\":" #silent "}"

static void test_watch_well_process_is_left_alone(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "true", 200), 100000), -1);
    assert_int_equal(strspn(world.said, "\n"), strlen(world.said));
    assert_true(world.processes[ACTOR].health.met);
}

static void test_watch_dead_connection_is_killed_at_the_deadline(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "false", 10), 100000), STOPPED_MS);
    assert_true(world.kill[ACTOR]);
    assert_non_null(strstr(world.said, "actor.1 (pid 77) is cut off since 1.0 s"));
    assert_non_null(strstr(world.said, "actor.1 (pid 77) is stopped or cut off for 2 s: killed and "
                                       "started again"));
}

static void test_watch_connection_that_comes_back_is_forgiven(void **state)
{
    (void)state;
    struct world world = begin();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pass(&world, PEER(77, "false", 10), STOPPED_MS - PACE_MS), -1);
        assert_int_equal(pass(&world, PEER(77, "true", 10), 0), -1);
    }
    assert_non_null(strstr(world.said, "actor.1 (pid 77) goes on"));
}

static void test_watch_peer_of_another_pid_is_another_process(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(76, "false", 99000), 100000), -1);
    assert_false(world.processes[ACTOR].health.met);
}

static void test_watch_silent_process_has_long_patience(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "true", 59000), 10000), -1);
    assert_int_equal(strspn(world.said, "\n"), strlen(world.said)); /* computing is no news */
    assert_int_equal(pass(&world, PEER(77, "true", 60000), 10000), 0);
    assert_non_null(strstr(world.said, "actor.1 (pid 77) says nothing for 60 s"));
}

static void test_watch_stopped_process_needs_no_store(void **state)
{
    (void)state;
    struct world world = begin();
    watch_attend(&world.watch, world.now_ns);
    world.processes[ACTOR].health.state = 'T';
    world.processes[ACTOR].health.stopped_since_ns = world.watch.clock_ns;
    assert_int_equal(pass(&world, NULL, 10000), STOPPED_MS);
    assert_true(world.kill[ACTOR]);
    assert_non_null(strstr(world.said, "(state T)"));
}

static void test_watch_debugged_process_is_left_alone(void **state)
{
    (void)state;
    struct world world = begin();
    world.processes[ACTOR].health.state = 't';
    assert_int_equal(pass(&world, PEER(77, "false", 99000), 100000), -1);
}

static void test_watch_store_without_answers_is_killed(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "true", 10), 5000), -1);
    assert_int_equal(pass(&world, NULL, 10000), STOPPED_MS);
    assert_true(world.kill[STORE]);
    assert_non_null(strstr(world.said, "store.0 (pid 70) is stopped or hangs"));
}

static void test_watch_store_that_reads_its_ledger_has_long_patience(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "true", 10), 5000), -1);
    watch_store_started(&world.watch);
    assert_int_equal(pass(&world, NULL, SILENT_MS - 1000), -1);
    assert_in_range(pass(&world, NULL, 2000), 800, 1000);
    assert_true(world.kill[STORE]);
}

static void test_watch_store_in_a_disk_wait_has_long_patience(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "true", 10), 5000), -1);
    world.processes[STORE].health.state = 'D';
    assert_int_equal(pass(&world, NULL, SILENT_MS - 1000), -1);
}

static void test_watch_old_status_judges_nobody(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "false", 10), 1000), -1);
    watch_store_started(&world.watch); /* the store died: what it said last is old */
    assert_int_equal(pass(&world, NULL, 20000), -1);
}

static void test_watch_time_without_the_supervisor_does_not_count(void **state)
{
    (void)state;
    struct world world = begin();
    assert_int_equal(pass(&world, PEER(77, "false", 10), 1000), -1);
    world.now_ns += 3600 * CLOCK_NS_PER_S; /* Ctrl-Z, and fg an hour later */
    assert_int_equal(pass(&world, PEER(77, "false", 10), 100), -1);
    assert_int_equal(pass(&world, PEER(77, "true", 10), 10000), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watch_well_process_is_left_alone),
        cmocka_unit_test(test_watch_dead_connection_is_killed_at_the_deadline),
        cmocka_unit_test(test_watch_connection_that_comes_back_is_forgiven),
        cmocka_unit_test(test_watch_peer_of_another_pid_is_another_process),
        cmocka_unit_test(test_watch_silent_process_has_long_patience),
        cmocka_unit_test(test_watch_stopped_process_needs_no_store),
        cmocka_unit_test(test_watch_debugged_process_is_left_alone),
        cmocka_unit_test(test_watch_store_without_answers_is_killed),
        cmocka_unit_test(test_watch_store_that_reads_its_ledger_has_long_patience),
        cmocka_unit_test(test_watch_store_in_a_disk_wait_has_long_patience),
        cmocka_unit_test(test_watch_old_status_judges_nobody),
        cmocka_unit_test(test_watch_time_without_the_supervisor_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
