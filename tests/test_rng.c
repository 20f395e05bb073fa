/* links: core */
/* rng: Philox known answers, streams that never meet, uniform draws, permutations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"

/* The vectors of Random123 1.14 (kat_vectors, philox4x32 with 10 rounds). */
static void test_rng_philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         {UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        philox4x32(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void test_rng_counter_has_the_layout_of_the_design(void **state)
{
    (void)state;
    uint32_t counter[4];
    rng_counter(counter, UINT64_C(0x1122334455667788), 0xabcd, 0x123456, 0x9876, RNG_TASK);
    const uint32_t wanted[4] = {0x55667788, 0x11223344, 0x03123456, 0xabcd9876};
    assert_memory_equal(counter, wanted, sizeof wanted);
}

static void test_rng_streams_repeat_and_differ(void **state)
{
    (void)state;
    uint64_t first[4];
    for (int pass = 0; pass < 2; pass++) {
        struct rng streams[4];
        rng_init(&streams[0], 1, 0, RNG_INIT);
        rng_init(&streams[1], 2, 0, RNG_INIT);
        rng_init(&streams[2], 1, 1, RNG_INIT);
        rng_init(&streams[3], 1, 0, RNG_TEST);
        for (int i = 0; i < 4; i++) {
            uint64_t drawn = rng_u64(&streams[i]);
            if (pass == 1)
                assert_true(drawn == first[i]);
            first[i] = drawn;
            for (int j = 0; j < i; j++)
                assert_true(first[j] != first[i]);
        }
    }
}

static void test_rng_block_counter_carries_past_24_bits(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1, 0, RNG_TEST);
    rng.counter[2] |= 0xffffff; /* as after 2^24 - 1 blocks */
    for (int i = 0; i < 4; i++)
        rng_u32(&rng);
    assert_int_equal(rng.counter[2], (uint32_t)RNG_TEST << 24);
    assert_int_equal(rng.counter[3], 1);
}

static void test_rng_below_is_uniform_and_in_range(void **state)
{
    (void)state;
    struct rng rng;
    uint32_t counts[7] = {0};
    rng_init(&rng, 3, 0, RNG_TEST);
    for (int i = 0; i < 70000; i++)
        counts[rng_below(&rng, 7)]++; /* out of range would write outside and trip asan */
    for (int i = 0; i < 7; i++)       /* sigma is 93, the bound 5 sigma */
        assert_in_range(counts[i], 10000 - 465, 10000 + 465);
    for (int i = 0; i < 100; i++)
        assert_int_equal(rng_below(&rng, 1), 0);
    double mean = 0; /* a bound of 3 * 2^30 shows modulo bias: it would pull the mean to 0.4167 */
    for (int i = 0; i < 20000; i++)
        mean += rng_below(&rng, 3u << 30) / (double)(3u << 30) / 20000;
    assert_true(fabs(mean - 0.5) < 0.0105); /* 5 sigma */
}

static void test_rng_uniform_and_normal_have_their_moments(void **state)
{
    (void)state;
    enum { DRAWS = 50000 };
    struct rng rng;
    double sum = 0, sum_normal = 0, sum_squares = 0;
    rng_init(&rng, 4, 0, RNG_TEST);
    for (int i = 0; i < DRAWS; i++) {
        double u = rng_uniform(&rng);
        double n = rng_normal(&rng);
        assert_true(u > 0 && u < 1 && isfinite(n));
        sum += u;
        sum_normal += n;
        sum_squares += n * n;
    }
    assert_true(fabs(sum / DRAWS - 0.5) < 0.0065); /* 5 sigma each */
    assert_true(fabs(sum_normal / DRAWS) < 0.0224);
    assert_true(fabs(sum_squares / DRAWS - 1) < 0.0317);
}

static void test_rng_permute_is_a_bijection_for_any_count(void **state)
{
    (void)state;
    enum { COUNT_MAX = 5000 };
    bool *seen = memory_array(COUNT_MAX, sizeof *seen);
    const uint64_t more[] = {255, 256, 257, 1000, 4095, 4096, 4097, COUNT_MAX};
    for (uint64_t step = 0; step < 40 + sizeof more / sizeof more[0]; step++) {
        uint64_t count = step < 40 ? step + 1 : more[step - 40];
        memset(seen, 0, COUNT_MAX * sizeof *seen);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t image = rng_permute(9, count, i);
            assert_true(image < count && !seen[image]);
            seen[image] = true;
        }
    }
    memory_free(seen);
    assert_true(rng_permute(1, UINT64_MAX, UINT64_MAX - 1) < UINT64_MAX);
}

static void test_rng_permute_mixes_and_depends_on_the_seed(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    int fixed = 0, same = 0, following = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t image = rng_permute(1, COUNT, i);
        fixed += image == i;
        same += image == rng_permute(2, COUNT, i);
        following += i > 0 && image == rng_permute(1, COUNT, i - 1) + 1;
    }
    assert_in_range(fixed, 0, 8); /* each expects 1, Poisson: more than 8 has p = 1e-6 */
    assert_in_range(same, 0, 8);
    assert_in_range(following, 0, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rng_philox_known_answers),
        cmocka_unit_test(test_rng_counter_has_the_layout_of_the_design),
        cmocka_unit_test(test_rng_streams_repeat_and_differ),
        cmocka_unit_test(test_rng_block_counter_carries_past_24_bits),
        cmocka_unit_test(test_rng_below_is_uniform_and_in_range),
        cmocka_unit_test(test_rng_uniform_and_normal_have_their_moments),
        cmocka_unit_test(test_rng_permute_is_a_bijection_for_any_count),
        cmocka_unit_test(test_rng_permute_mixes_and_depends_on_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
