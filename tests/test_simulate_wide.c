/* links: simulate core */
/* label: integration */
/* timeout: 600 */
/* 10,000 seeds of the fleet simulator with all faults break nothing, and the same seeds find each planted mistake.
 * TEST_SEED moves the seeds, TEST_SEEDS says how many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/log.h"
#include "ops/simulate/batch.h"

static uint64_t number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static struct batch_sum play(uint64_t count, enum sim_plant plant)
{
    struct simulate_options options = {.from = number("TEST_SEED", 0),
                                       .count = count,
                                       .jobs = 2,
                                       .faults = SIM_ALL_FAULTS,
                                       .plant = plant,
                                       .quiet = true};
    struct batch_sum sum;
    enum status status = batch_run(&options, false, &sum);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    assert_int_equal(sum.seeds, count);
    return sum;
}

static void test_simulate_wide_ten_thousand_seeds_break_nothing(void **state)
{
    (void)state;
    struct batch_sum sum = play(number("TEST_SEEDS", 10000), PLANT_NONE);
    print_message("%llu seeds in %.1f s: %.0f seeds/s, %llu events, %llu kills, %llu of the store, "
                  "%llu branches, %llu failed\n",
                  (unsigned long long)sum.seeds, sum.wall_s, (double)sum.seeds / sum.wall_s,
                  (unsigned long long)sum.events, (unsigned long long)sum.kills,
                  (unsigned long long)sum.store_kills, (unsigned long long)sum.branches,
                  (unsigned long long)sum.failed);
    if (sum.failed > 0)
        fail_msg("seed %llu breaks %s: weir simulate --seeds %llu:1 --trace",
                 (unsigned long long)sum.first_failed, sum.first_invariant,
                 (unsigned long long)sum.first_failed);
}

static void test_simulate_wide_the_same_seeds_find_planted_mistakes(void **state)
{
    (void)state;
    static const struct {
        enum sim_plant plant;
        const char *invariant;
    } plants[] = {{PLANT_ACK_BEFORE_COMMIT, "ack_before_commit"},
                  {PLANT_LEASE_TWICE, "lease_twice"},
                  {PLANT_STALENESS, "staleness"}};
    for (size_t i = 0; i < sizeof plants / sizeof plants[0]; i++) {
        struct batch_sum sum = play(500, plants[i].plant);
        print_message("%s: found by %llu of %llu seeds\n", plants[i].invariant,
                      (unsigned long long)sum.failed, (unsigned long long)sum.seeds);
        assert_true(sum.failed > sum.seeds / 4);
        assert_string_equal(sum.first_invariant, plants[i].invariant);
    }
}

int main(void)
{
    log_init("test", 0, (enum log_level)(LOG_LEVEL_ERROR + 1));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simulate_wide_ten_thousand_seeds_break_nothing),
        cmocka_unit_test(test_simulate_wide_the_same_seeds_find_planted_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
