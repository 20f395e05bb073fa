/* links: core */
/* checksum: known answers, both CRC paths, the digest as a sum over any split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/checksum.h"
#include "core/rng.h"

enum { BYTES = 1003 };

static void fill(uint8_t bytes[BYTES])
{
    struct rng rng;
    rng_init(&rng, 5, 0, RNG_TEST);
    for (int i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)rng_u32(&rng);
}

static void test_checksum_crc32c_known_answers(void **state)
{
    (void)state;
    const uint8_t zeros[32] = {0};
    uint8_t ones[32];
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void test_checksum_crc32c_hardware_and_table_agree_and_chain(void **state)
{
    (void)state;
    uint8_t bytes[BYTES];
    fill(bytes);
    for (size_t start = 0; start < 9; start++)
        for (size_t size = 0; size < 70; size++)
            assert_int_equal(crc32c(7, bytes + start, size), crc32c_table(7, bytes + start, size));
    uint32_t whole = crc32c(0, bytes, BYTES);
    assert_int_equal(whole, crc32c_table(0, bytes, BYTES));
    for (size_t cut = 0; cut <= BYTES; cut += 17)
        assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, BYTES - cut), whole);
}

static void test_checksum_hash64_is_xxh3(void **state)
{
    (void)state;
    assert_true(hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(hash64("a", 1, 0) != hash64("a", 1, 1));
}

static void test_checksum_digest_of_pieces_sums_to_the_whole(void **state)
{
    (void)state;
    uint8_t bytes[BYTES];
    fill(bytes);
    uint64_t whole = weight_digest(bytes, BYTES, 0);
    for (size_t word = 0; word * 8 <= BYTES; word++) {
        uint64_t head = weight_digest(bytes, word * 8, 0);
        uint64_t tail = weight_digest(bytes + word * 8, BYTES - word * 8, word);
        assert_true(head + tail == whole);
    }
}

static void test_checksum_digest_sees_every_flipped_bit_and_moved_word(void **state)
{
    (void)state;
    uint8_t bytes[BYTES];
    fill(bytes);
    uint64_t whole = weight_digest(bytes, BYTES, 0);
    for (size_t bit = 0; bit < BYTES * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(weight_digest(bytes, BYTES, 0) != whole);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    uint8_t swapped[16];
    memcpy(swapped, bytes + 8, 8);
    memcpy(swapped + 8, bytes, 8);
    assert_true(weight_digest(swapped, 16, 0) != weight_digest(bytes, 16, 0));
}

/* Computed apart with Python's integers from the formula of core/checksum.h. */
static void test_checksum_digest_known_answers(void **state)
{
    (void)state;
    const uint64_t words[3] = {0, 1, UINT64_MAX};
    assert_true(weight_digest("", 0, 0) == 0);
    assert_true(weight_digest(words, 24, 0) == UINT64_C(0xdfa4fbe19950cf76));
    assert_true(weight_digest("abc", 3, 9) == UINT64_C(0xf95f138f9b1d9934));
}

/* Both ways of copying: past the cache where the target is aligned, else block by block. */
static void test_checksum_digest_copy_copies_and_sums(void **state)
{
    (void)state;
    enum { LARGE = 700001, MARGIN = 64 };
    static uint8_t from[LARGE + MARGIN], to[LARGE + 2 * MARGIN];
    static const size_t sizes[] = {0, 1, 7, 8, 63, 64, 65, 4096, 262144, 262152, LARGE};
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
    uint8_t *aligned = to + (MARGIN - (uintptr_t)to % MARGIN) % MARGIN;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t shift = 0; shift < 16; shift += 5) {
            size_t size = sizes[s];
            memset(to, 0xee, sizeof to);
            uint64_t sum = weight_digest_copy(aligned + shift, from + shift, size, 12345);
            assert_true(sum == weight_digest(from + shift, size, 12345));
            assert_memory_equal(aligned + shift, from + shift, size);
            assert_int_equal(aligned[shift + size], 0xee);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_crc32c_known_answers),
        cmocka_unit_test(test_checksum_crc32c_hardware_and_table_agree_and_chain),
        cmocka_unit_test(test_checksum_hash64_is_xxh3),
        cmocka_unit_test(test_checksum_digest_of_pieces_sums_to_the_whole),
        cmocka_unit_test(test_checksum_digest_sees_every_flipped_bit_and_moved_word),
        cmocka_unit_test(test_checksum_digest_known_answers),
        cmocka_unit_test(test_checksum_digest_copy_copies_and_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
