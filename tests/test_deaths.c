/* links: ops */
/* label: unit */
/* deaths: who is started again, after which pause, and when a run is given up. Time is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "ops/deaths.h"

enum { EXIT_1 = 1 << 8, EXIT_5 = 5 << 8 }; /* as waitpid says it */

struct world {
    struct deaths deaths;
    struct process process;
    int64_t now_ns, delay_ms;
    char why[600];
};

static struct world begin(enum process_duty duty)
{
    struct world world = {.now_ns = CLOCK_NS_PER_S, .process = {.name = "actor.1", .duty = duty}};
    deaths_progress(&world.deaths, world.now_ns, 0);
    return world;
}

/* It lives for lived_ms and dies. */
static bool die(struct world *world, int64_t lived_ms, int wait_status)
{
    world->process.started_ns = world->now_ns;
    world->now_ns += lived_ms * CLOCK_NS_PER_MS;
    world->delay_ms = -1;
    world->why[0] = 0;
    return deaths_judge(&world->deaths, &world->process, world->now_ns, wait_status,
                        &world->delay_ms, world->why, sizeof world->why);
}

static void test_deaths_thousand_kills_start_again_at_once(void **state)
{
    (void)state;
    struct world world = begin(DUTY_WORKER);
    for (uint64_t i = 1; i <= 1000; i++) {
        if (i % 16 == 0) /* a run that goes on, if only every two seconds */
            deaths_progress(&world.deaths, world.now_ns, i);
        assert_true(die(&world, 125, i % 3 == 0 ? SIGTERM : SIGKILL));
        assert_int_equal(world.delay_ms, 0);
    }
}

static void test_deaths_kills_without_any_progress_end_the_run_after_a_minute(void **state)
{
    (void)state;
    struct world world = begin(DUTY_STORE);
    int kills = 0;
    while (die(&world, 1000, SIGKILL))
        kills++;
    assert_int_equal(kills, DEATHS_STUCK_MS / 1000 - 1);
    assert_non_null(strstr(world.why, "60 processes died within 60 s and the run got no further"));
    assert_non_null(strstr(world.why, "killed by signal 9"));
}

static void test_deaths_few_kills_in_a_long_silence_are_endured(void **state)
{
    (void)state;
    struct world world = begin(DUTY_WORKER);
    for (int i = 0; i < DEATHS_STUCK_MAX - 1; i++)
        assert_true(die(&world, 3600000, SIGKILL));
    assert_false(die(&world, 3600000, SIGKILL));
}

static void test_deaths_own_faults_without_progress_back_off_and_end_the_run(void **state)
{
    (void)state;
    static const int64_t delays_ms[] = {100, 200, 400, 800};
    struct world world = begin(DUTY_WORKER);
    for (size_t i = 0; i < 4; i++) {
        assert_true(die(&world, 50, i % 2 == 0 ? EXIT_1 : SIGSEGV));
        assert_int_equal(world.delay_ms, delays_ms[i]);
    }
    assert_false(die(&world, 50, EXIT_5));
    assert_string_equal(world.why, "actor.1 ended 5 times in a row without getting anywhere, the "
                                   "last time by exit 5");
}

static void test_deaths_long_lives_without_progress_end_the_run_too(void **state)
{
    (void)state;
    struct world world = begin(DUTY_LEARNER);
    for (int i = 0; i < DEATHS_FRUITLESS_MAX - 1; i++) {
        assert_true(die(&world, 10000, SIGABRT));
        assert_int_equal(world.delay_ms, 0);
    }
    assert_false(die(&world, 10000, SIGABRT));
}

static void test_deaths_progress_in_between_forgives(void **state)
{
    (void)state;
    struct world world = begin(DUTY_WORKER);
    for (uint64_t i = 1; i <= 100; i++) {
        deaths_progress(&world.deaths, world.now_ns, i);
        assert_true(die(&world, 50, SIGSEGV));
        assert_true(world.delay_ms >= 100 && world.delay_ms <= 5000); /* yet it rests */
    }
    assert_int_equal(world.delay_ms, 5000);
    assert_true(die(&world, 2000, SIGSEGV)); /* lived long enough: no pause */
    assert_int_equal(world.delay_ms, 0);
}

static void test_deaths_kills_between_own_faults_do_not_hide_them(void **state)
{
    (void)state;
    struct world world = begin(DUTY_WORKER);
    for (int i = 0; i < DEATHS_FRUITLESS_MAX - 1; i++) {
        assert_true(die(&world, 50, EXIT_1));
        assert_true(die(&world, 50, SIGKILL));
    }
    assert_false(die(&world, 50, EXIT_1));
}

static void test_deaths_view_is_judged_by_its_own_life(void **state)
{
    (void)state;
    struct world world = begin(DUTY_VIEW);
    for (uint64_t i = 1; i < DEATHS_FRUITLESS_MAX; i++) {
        deaths_progress(&world.deaths, world.now_ns, i);
        assert_true(die(&world, 50, EXIT_1));
    }
    assert_false(die(&world, 50, EXIT_1));
    assert_int_equal(world.deaths.since, 0); /* and never ends the run */
}

static void test_deaths_faults_are_exits_and_crashes_only(void **state)
{
    (void)state;
    static const int own[] = {EXIT_1, EXIT_5, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    static const int outside[] = {0, SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        assert_true(deaths_own_fault(own[i]));
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        assert_false(deaths_own_fault(outside[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deaths_thousand_kills_start_again_at_once),
        cmocka_unit_test(test_deaths_kills_without_any_progress_end_the_run_after_a_minute),
        cmocka_unit_test(test_deaths_few_kills_in_a_long_silence_are_endured),
        cmocka_unit_test(test_deaths_own_faults_without_progress_back_off_and_end_the_run),
        cmocka_unit_test(test_deaths_long_lives_without_progress_end_the_run_too),
        cmocka_unit_test(test_deaths_progress_in_between_forgives),
        cmocka_unit_test(test_deaths_kills_between_own_faults_do_not_hide_them),
        cmocka_unit_test(test_deaths_view_is_judged_by_its_own_life),
        cmocka_unit_test(test_deaths_faults_are_exits_and_crashes_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
