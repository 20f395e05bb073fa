/* links: rollout_store */
/* timeout: 60 */
/* Length stages: the list, the counts, when a stage ends and when it must not, the tail, branches and bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rollout_store/bytes.h"
#include "tests/slow.h"
#include "tests/stages_world.h"

static uint64_t seed_base(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20261123;
}

static const struct stages_settings usual = {.lengths = "1000, 2000, 3000",
                                             .window = 20,
                                             .settled = 0.01,
                                             .near_cap = 0.95,
                                             .doubt = 1e-6,
                                             .confirm = 3,
                                             .least = 20,
                                             .tail_rise = 0.1};
/* What lets a stage end: settled perplexity, many lengths near the cap. */
static const struct truth ready = {
    .groups = 32, .size = 8, .near = 0.04, .level = 0.7, .noise = 0.003};

static struct stages opened(const struct stages_settings *settings)
{
    struct stages stages;
    assert_int_equal(stages_open(&stages, settings, 3000), STATUS_OK);
    return stages;
}

/* ---- the list ---- */

static void test_stages_list_is_read(void **state)
{
    (void)state;
    struct stage_lengths lengths;
    assert_int_equal(stage_lengths_parse(" 40960,49152 , 81920 ", 81920, &lengths), STATUS_OK);
    assert_int_equal(lengths.count, 3);
    assert_int_equal(lengths.tokens[0], 40960);
    assert_int_equal(lengths.tokens[1], 49152);
    assert_int_equal(lengths.tokens[2], 81920);
    const char *const none[] = {NULL, "", "  "};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stage_lengths_parse(none[i], 77, &lengths), STATUS_OK);
        assert_int_equal(lengths.count, 1);
        assert_int_equal(lengths.tokens[0], 77);
    }
}

static void test_stages_list_that_is_wrong_is_refused_with_its_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"100, 2x0, 300", "column 6: \"2x0\" is no number"},
        {"100,,300", "column 5: \"\" is no number"},
        {"100, 200,", "column 10: \"\" is no number"},
        {"100, -5", "column 6: \"-5\" is no number"},
        {"100, 300, 200", "column 11: \"200\" is not above"},
        {"300, 300", "column 6: \"300\" is not above"},
        {"0, 300", "column 1: \"0\" is no length"},
        {"99999999999999999999", "above 10000000"},
        {"100, 200", "ends with 200 and sampling.response_tokens_max is 300"},
        {"1 2", "\"1 2\" is no number"},
    };
    struct stage_lengths lengths = {.count = 9};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(stage_lengths_parse(cases[i].text, 300, &lengths), STATUS_INVALID);
        if (strstr(status_last_error(), cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].text, status_last_error());
        assert_int_equal(lengths.count, 9);
    }
    char text[STAGE_LENGTHS_MAX * 8] = "1";
    for (int i = 1; i <= STAGE_LENGTHS_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",%d", i + 1);
    assert_int_equal(stage_lengths_parse(text, STAGE_LENGTHS_MAX + 1, &lengths), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "one stage too many"));
}

/* ---- counts ---- */

static void test_stages_counts_are_those_of_a_plain_loop(void **state)
{
    (void)state;
    struct stages_settings settings = usual;
    settings.lengths = "7, 101, 3000";
    for (settings.start = 0; settings.start < 3; settings.start++) {
        struct stages stages = opened(&settings);
        struct stage_numbers numbers = {0}, plain = {0};
        struct stage_counting counting = stages_counting(&stages, &numbers);
        struct rng rng;
        static float logprobs[4000];
        uint32_t cap = stages_cap(&stages);
        rng_init(&rng, seed_base(), 1, RNG_TEST);
        for (int group = 0; group < 5; group++) {
            uint32_t near = 0;
            for (int sample = 0; sample < 20; sample++) {
                uint32_t count = rng_below(&rng, cap + cap / 8 + 1);
                for (uint32_t i = 0; i < count; i++) {
                    logprobs[i] = -(float)rng_uniform(&rng);
                    uint32_t d = 0; /* the decile whose end is behind it */
                    while (d < 9 && i >= (uint64_t)cap * (d + 1) / 10)
                        d++;
                    plain.tokens[d]++;
                    plain.logprob[d] += (double)logprobs[i];
                }
                uint32_t bin = 0;
                while (bin < 99 && (uint64_t)count * 100 > (uint64_t)cap * (bin + 1))
                    bin++;
                plain.lengths[bin]++;
                near += count >= 0.95 * cap;
                stages_count_rollout(&counting, logprobs, count);
            }
            stages_count_group(&counting);
            plain.near += near;
            plain.near_squares += near * near;
        }
        assert_int_equal(numbers.groups, 5);
        assert_int_equal(numbers.rollouts, 100);
        assert_int_equal(numbers.near, plain.near);
        assert_int_equal(numbers.near_squares, plain.near_squares);
        assert_memory_equal(numbers.tokens, plain.tokens, sizeof plain.tokens);
        assert_memory_equal(numbers.lengths, plain.lengths, sizeof plain.lengths);
        for (int d = 0; d < STAGE_DECILES; d++)
            assert_true(fabs(numbers.logprob[d] - plain.logprob[d]) <=
                        1e-12 * fabs(plain.logprob[d]));
        stages_close(&stages);
    }
}

/* ---- when a stage ends ---- */

/* The plan after which stage 1 is in force; 0: none of `plans`. */
static uint32_t advance_of(const struct stages_settings *settings, struct truth truth,
                           uint64_t seed, uint32_t plans)
{
    struct stages stages = opened(settings);
    struct made_up world = made_up(truth, seed);
    uint32_t advanced = 0;
    for (uint32_t plan = 1; plan <= plans && advanced == 0; plan++) {
        assert_true(next_plan(&world, &stages));
        advanced = stages_now(&stages) > 0 ? plan : 0;
    }
    stages_close(&stages);
    return advanced;
}

static uint32_t early_of(const char *what, struct truth truth, uint64_t runs, uint32_t plans)
{
    uint32_t early = 0;
    for (uint64_t run = 0; run < runs; run++)
        early += advance_of(&usual, truth, seed_base() + run, plans) > 0;
    print_message("%s: %u early of %llu runs of %u plans\n", what, early, (unsigned long long)runs,
                  plans);
    return early;
}

static void test_stages_never_end_early_under_noisy_percentiles(void **state)
{
    (void)state;
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed_base());
    uint64_t runs = test_times(1000, 20);
    struct truth truth = ready;
    truth.near = 0.0095; /* the 99th percentile is just below */
    assert_int_equal(early_of("lengths just below", truth, runs, 60), 0);
    truth.clumped = 0.02; /* all long answers come from one prompt in fifty */
    assert_int_equal(early_of("the same of few prompts", truth, runs, 60), 0);
    truth.groups = 2; /* 16 rollouts of a plan: percentiles of noise */
    truth.clumped = 0;
    assert_int_equal(early_of("the same in small plans", truth, runs, 60), 0);
}

static void test_stages_never_end_while_perplexity_moves(void **state)
{
    (void)state;
    uint64_t runs = test_times(1000, 20);
    struct truth truth = ready;
    truth.drift = -2 * usual.settled / usual.window; /* twice the threshold in each window */
    assert_int_equal(early_of("perplexity falls", truth, runs, 60), 0);
    truth.drift = -truth.drift;
    truth.noise = 0.02;
    assert_int_equal(early_of("perplexity rises under noise", truth, runs, 60), 0);
}

static void test_stages_end_in_time_when_both_conditions_hold(void **state)
{
    (void)state;
    uint64_t runs = test_times(300, 10), plans = 0;
    uint32_t most = 0;
    for (uint64_t run = 0; run < runs; run++) {
        uint32_t advanced = advance_of(&usual, ready, seed_base() + run, 100);
        assert_true(advanced >= usual.window + usual.confirm - 1); /* never before it can know */
        most = advanced > most ? advanced : most;
        plans += advanced;
    }
    print_message("both hold from the start, window 20: after %.1f plans in the mean, %u at most\n",
                  (double)plans / (double)runs, most);
    assert_true(most <= 60); /* three windows */
}

static void test_stages_hold_start_and_least_bind(void **state)
{
    (void)state;
    struct stages_settings settings = usual;
    settings.least = 50;
    assert_true(advance_of(&settings, ready, 1, 100) >= 50);
    settings.hold = true;
    assert_int_equal(advance_of(&settings, ready, 1, 100), 0);
    settings = usual;
    settings.start = 1;
    struct stages stages = opened(&settings);
    assert_int_equal(stages_now(&stages), 1);
    assert_int_equal(stages_cap(&stages), 2000);
    struct made_up world = made_up(ready, 3);
    for (int plan = 0; plan < 300; plan++)
        assert_true(next_plan(&world, &stages));
    assert_int_equal(stages_now(&stages), 2); /* the last stage never ends */
    assert_int_equal(stages.stage, 2);
    stages_close(&stages);
}

/* ---- the tail ---- */

struct episodes {
    uint32_t count, first; /* plan of the first alarm, 0 none */
};

static struct episodes episodes_of(struct truth truth, uint64_t seed, uint32_t plans)
{
    struct stages_settings settings = usual;
    settings.hold = true;
    struct stages stages = opened(&settings);
    struct made_up world = made_up(truth, seed);
    struct episodes met = {0};
    bool before = false;
    for (uint32_t plan = 1; plan <= plans; plan++) {
        assert_true(next_plan(&world, &stages));
        bool now = stages_last(&stages)->facts.verdict.tail_alarm;
        met.count += now && !before;
        met.first = met.first == 0 && now ? plan : met.first;
        before = now;
    }
    stages_close(&stages);
    return met;
}

static void test_stages_tail_collapse_is_found_once_and_soon(void **state)
{
    (void)state;
    struct truth truth = ready;
    truth.tail_noise = 0.02;
    truth.tail_from = 40;
    truth.tail_drift = 0.01; /* 20% of perplexity in a window of 20 plans */
    uint64_t runs = test_times(1000, 20), sum = 0;
    uint32_t last = 0;
    for (uint64_t run = 0; run < runs; run++) {
        struct episodes met = episodes_of(truth, seed_base() + run, 80);
        assert_int_equal(met.count, 1);
        assert_true(met.first > 40);
        sum += met.first - 40;
        last = met.first > last ? met.first : last;
    }
    print_message("collapse from plan 40 on, window 20: found after %.1f plans, %u at most\n",
                  (double)sum / (double)runs, last - 40);
    assert_true(last <= 40 + 2 * usual.window);
}

static void test_stages_tail_of_sound_runs_is_quiet(void **state)
{
    (void)state;
    struct truth truth = ready;
    uint32_t alarms[3] = {0};
    uint64_t runs = test_times(1000, 20);
    truth.tail_noise = 0.03;
    for (uint64_t run = 0; run < runs; run++) {
        truth.memory = 0;
        truth.drift = 0;
        alarms[0] += episodes_of(truth, seed_base() + run, 60).count > 0;
        truth.memory = 0.9;
        alarms[1] += episodes_of(truth, seed_base() + run, 60).count > 0;
        truth.memory = 0;
        truth.drift = 0.005; /* the whole text gets worse: not the tail's business */
        alarms[2] += episodes_of(truth, seed_base() + run, 60).count > 0;
    }
    print_message("alarms in %llu sound runs: noise %u, noise that remembers %u, perplexity rises "
                  "everywhere %u\n",
                  (unsigned long long)runs, alarms[0], alarms[1], alarms[2]);
    assert_int_equal(alarms[0], 0);
    assert_int_equal(alarms[2], 0);
    assert_true(alarms[1] * 100 <= runs); /* 1% */
}

/* ---- the fold ---- */

static void bytes_of(const struct stages *stages, struct buffer *bytes)
{
    struct stages copy = *stages;
    struct walk walk = {.of = "stages", .out = bytes};
    buffer_init(bytes, 0);
    assert_int_equal(stages_walk(&walk, &copy), STATUS_OK);
}

static void assert_same(const struct stages *a, const struct stages *b)
{
    struct buffer left, right;
    bytes_of(a, &left);
    bytes_of(b, &right);
    assert_int_equal(left.size, right.size);
    assert_memory_equal(left.bytes, right.bytes, left.size);
    buffer_free(&left);
    buffer_free(&right);
}

static void test_stages_branch_is_as_if_the_plans_had_never_been(void **state)
{
    (void)state;
    for (uint32_t back = 0; back <= 90; back += 5) {
        struct stages stages = opened(&usual), shorter = opened(&usual);
        struct made_up world = made_up(ready, 5), again = made_up(ready, 5);
        for (int plan = 0; plan < 90; plan++)
            assert_true(next_plan(&world, &stages));
        for (uint32_t plan = 0; plan < back; plan++)
            assert_true(next_plan(&again, &shorter));
        if (back == 0)
            assert_true(stages_now(&stages) > 0);
        stages_branch(&stages, back);
        assert_same(&stages, &shorter);
        for (int plan = 0; plan < 40; plan++) { /* and they live alike */
            struct made_up other = again;
            assert_true(next_plan(&again, &shorter));
            assert_true(next_plan(&other, &stages));
        }
        assert_same(&stages, &shorter);
        stages_close(&stages);
        stages_close(&shorter);
    }
}

/* What is forgotten at checkpoints changes no verdict, and a branch behind it still knows its stage. */
static void test_stages_forgotten_plans_are_not_missed(void **state)
{
    (void)state;
    struct stages whole = opened(&usual), lean = opened(&usual);
    struct made_up world = made_up(ready, 6), again = made_up(ready, 6);
    uint32_t stage_at[201] = {0};
    for (uint32_t plan = 1; plan <= 200; plan++) {
        assert_true(next_plan(&world, &whole));
        assert_true(next_plan(&again, &lean));
        stages_forget(&lean, plan - plan % 10);
        stage_at[plan] = stages_now(&whole);
        assert_int_equal(stages_now(&lean), stage_at[plan]);
        assert_memory_equal(&stages_last(&lean)->facts, &stages_last(&whole)->facts,
                            sizeof(struct stage_facts));
    }
    assert_true(lean.count <= usual.window * STAGE_SPANS + 10);
    assert_int_equal(whole.count, 200);
    for (uint32_t back = 200; back-- > 1;) {
        stages_branch(&lean, back);
        assert_int_equal(stages_now(&lean), stage_at[back]);
    }
    stages_close(&whole);
    stages_close(&lean);
}

static void test_stages_bytes_come_back_and_damage_is_seen(void **state)
{
    (void)state;
    struct stages stages = opened(&usual), back = opened(&usual);
    struct made_up world = made_up(ready, 7);
    for (int plan = 0; plan < 70; plan++)
        assert_true(next_plan(&world, &stages));
    struct buffer bytes;
    bytes_of(&stages, &bytes);
    struct walk walk = {.of = "stages", .bytes = bytes.bytes, .size = bytes.size};
    assert_int_equal(stages_walk(&walk, &back), STATUS_OK);
    assert_int_equal(walk.at, bytes.size);
    assert_same(&stages, &back);
    stages_close(&back);
    for (size_t size = 0; size < bytes.size; size += 1 + bytes.size / 300) {
        back = opened(&usual);
        walk = (struct walk){.of = "stages", .bytes = bytes.bytes, .size = size};
        assert_int_equal(stages_walk(&walk, &back), STATUS_CORRUPT);
        stages_close(&back);
    }
    buffer_free(&bytes);
    stages_close(&stages);
}

static void test_stages_records_that_contradict_are_corrupt(void **state)
{
    (void)state;
    struct stages stages = opened(&usual);
    struct stage_facts facts = {.verdict = {.next_stage = 2}};
    assert_int_equal(stages_apply(&stages, 1, 0, 1000, &facts), STATUS_CORRUPT);
    facts.verdict.next_stage = 0;
    assert_int_equal(stages_apply(&stages, 5, 0, 1000, &facts), STATUS_OK);
    assert_int_equal(stages_apply(&stages, 5, 0, 1000, &facts), STATUS_CORRUPT);
    assert_int_equal(stages_apply(&stages, 6, 1, 1000, &facts), STATUS_CORRUPT);
    facts.verdict.next_stage = STAGE_LENGTHS_MAX;
    assert_int_equal(stages_apply(&stages, 6, STAGE_LENGTHS_MAX, 9, &facts), STATUS_CORRUPT);
    assert_int_equal(stages_apply(&stages, 6, 0, 0, NULL), STATUS_OK); /* an old ledger */
    assert_int_equal(stages.count, 1);
    stages_close(&stages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_list_is_read),
        cmocka_unit_test(test_stages_list_that_is_wrong_is_refused_with_its_column),
        cmocka_unit_test(test_stages_counts_are_those_of_a_plain_loop),
        cmocka_unit_test(test_stages_never_end_early_under_noisy_percentiles),
        cmocka_unit_test(test_stages_never_end_while_perplexity_moves),
        cmocka_unit_test(test_stages_end_in_time_when_both_conditions_hold),
        cmocka_unit_test(test_stages_hold_start_and_least_bind),
        cmocka_unit_test(test_stages_tail_collapse_is_found_once_and_soon),
        cmocka_unit_test(test_stages_tail_of_sound_runs_is_quiet),
        cmocka_unit_test(test_stages_branch_is_as_if_the_plans_had_never_been),
        cmocka_unit_test(test_stages_forgotten_plans_are_not_missed),
        cmocka_unit_test(test_stages_bytes_come_back_and_damage_is_seen),
        cmocka_unit_test(test_stages_records_that_contradict_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
