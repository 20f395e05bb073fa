/* links: core */
/* memory and arena: zeroing, alignment, limits, overflow, every allocation failing once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "core/arena.h"
#include "core/memory.h"

static bool all_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static void test_memory_blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 63, 64, 65, 100000, 1 << 20, (5 << 20) + 3};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = memory_alloc(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        assert_true(all_zero(block, sizes[i]));
        memset(block, 0xa5, sizes[i]);
        memory_free(block);
    }
    memory_free(NULL);
}

/* More large blocks than are mapped: the rest is like small ones. */
static void test_memory_many_large_blocks_come_and_go(void **state)
{
    (void)state;
    enum { BLOCKS = 1100, BYTES = 1 << 20 };
    static unsigned char *blocks[BLOCKS];
    int64_t live = memory_blocks_live();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            blocks[i] = memory_alloc(i % 7 == 0 ? BYTES + 64 * (size_t)i : BYTES);
            assert_non_null(blocks[i]);
            assert_true(blocks[i][0] == 0 && blocks[i][BYTES - 1] == 0);
            blocks[i][0] = blocks[i][BYTES - 1] = (unsigned char)i;
        }
        for (int i = 0; i < BLOCKS; i++)
            assert_true(blocks[i][0] == (unsigned char)i &&
                        blocks[i][BYTES - 1] == (unsigned char)i);
        for (int i = 0; i < BLOCKS; i++)
            memory_free(blocks[(i * 37) % BLOCKS]);
    }
    assert_int_equal(memory_blocks_live(), live);
}

static void test_memory_impossible_sizes_give_null(void **state)
{
    (void)state;
    assert_null(memory_alloc(SIZE_MAX));
    assert_null(memory_alloc(SIZE_MAX - 70));
    assert_null(memory_array(SIZE_MAX / 4, 8));
}

static void test_memory_grow_keeps_contents_and_zeroes_the_rest(void **state)
{
    (void)state;
    unsigned char *block = memory_grow(NULL, 0, 10);
    memset(block, 7, 10);
    block = memory_grow(block, 10, 1000);
    for (int i = 0; i < 10; i++)
        assert_int_equal(block[i], 7);
    assert_true(all_zero(block + 10, 990));
    memory_fail_after(1);
    assert_null(memory_grow(block, 1000, 2000));
    assert_int_equal(block[9], 7); /* a failed growth leaves the block */
    memory_free(block);
}

static void test_memory_fail_after_fails_exactly_the_nth(void **state)
{
    (void)state;
    for (int n = 0; n <= 3; n++) {
        int failed_at = 0;
        memory_fail_after(n);
        for (int call = 1; call <= 6; call++) {
            void *block = memory_alloc(8);
            if (block == NULL) {
                assert_int_equal(failed_at, 0);
                failed_at = call;
            }
            memory_free(block);
        }
        assert_int_equal(failed_at, n == 0 ? 1 : n);
    }
    memory_fail_after(1);
    memory_fail_after(-1);
    char *copy = memory_text("abc");
    assert_string_equal(copy, "abc");
    memory_free(copy);
}

static void test_arena_items_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *arena = NULL;
    unsigned char *items[64];
    assert_int_equal(arena_create(&arena, 1 << 20), STATUS_OK);
    for (int round = 0; round < 2; round++) { /* the second round reuses dirty memory */
        for (size_t i = 0; i < 64; i++) {
            items[i] = arena_alloc(arena, i * 37);
            assert_non_null(items[i]);
            assert_int_equal((uintptr_t)items[i] % 16, 0);
            assert_true(all_zero(items[i], i * 37));
            memset(items[i], (int)i, i * 37);
        }
        for (size_t i = 0; i < 64; i++)
            for (size_t b = 0; b < i * 37; b++)
                assert_int_equal(items[i][b], i);
        arena_reset(arena);
        assert_int_equal(arena_used_bytes(arena), 0);
    }
    arena_destroy(&arena);
    assert_null(arena);
    arena_destroy(&arena);
}

static void test_arena_limit_is_exact_and_survivable(void **state)
{
    (void)state;
    struct arena *arena = NULL;
    assert_int_equal(arena_create(&arena, 100000), STATUS_OK);
    assert_non_null(arena_alloc(arena, 60000));
    assert_null(arena_alloc(arena, 40001));
    assert_non_null(arena_alloc(arena, 40000));
    assert_null(arena_alloc(arena, 1));
    assert_null(arena_array(arena, SIZE_MAX / 2, 4));
    arena_reset(arena);
    assert_non_null(arena_alloc(arena, 100000));
    arena_destroy(&arena);
}

static void test_arena_reset_keeps_the_memory(void **state)
{
    (void)state;
    struct arena *arena = NULL;
    assert_int_equal(arena_create(&arena, 1 << 20), STATUS_OK);
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(arena, 5000));
    int64_t blocks = memory_blocks_live();
    for (int round = 0; round < 5; round++) {
        arena_reset(arena);
        for (int i = 0; i < 100; i++)
            assert_non_null(arena_alloc(arena, 5000));
    }
    assert_int_equal(memory_blocks_live(), blocks);
    arena_destroy(&arena);
}

static void test_arena_copies_hold_their_own_bytes(void **state)
{
    (void)state;
    struct arena *arena = NULL;
    char text[] = "weight";
    assert_int_equal(arena_create(&arena, 1000), STATUS_OK);
    char *copy = arena_text(arena, text);
    uint8_t *bytes = arena_copy(arena, text, 3);
    text[0] = 'X';
    assert_string_equal(copy, "weight");
    assert_memory_equal(bytes, "wei", 3);
    arena_destroy(&arena);
}

static enum status use_arena(void)
{
    struct arena *arena = NULL;
    TRY(arena_create(&arena, 1 << 20));
    enum status status = STATUS_OK;
    for (int i = 0; i < 5 && status == STATUS_OK; i++)
        if (arena_alloc(arena, 4000) == NULL)
            status = FAIL(STATUS_NO_MEMORY, "item %d", i);
    arena_destroy(&arena);
    return status;
}

static void test_arena_every_failing_allocation_is_reported_without_a_leak(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    int64_t n = 1;
    for (;; n++) {
        memory_fail_after(n);
        enum status status = use_arena();
        assert_int_equal(memory_blocks_live(), blocks);
        if (status == STATUS_OK)
            break;
        assert_int_equal(status, STATUS_NO_MEMORY);
        assert_true(n < 100);
    }
    memory_fail_after(-1);
    assert_true(n > 2); /* the arena and at least one block failed in turn */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_blocks_are_zeroed_and_aligned),
        cmocka_unit_test(test_memory_many_large_blocks_come_and_go),
        cmocka_unit_test(test_memory_impossible_sizes_give_null),
        cmocka_unit_test(test_memory_grow_keeps_contents_and_zeroes_the_rest),
        cmocka_unit_test(test_memory_fail_after_fails_exactly_the_nth),
        cmocka_unit_test(test_arena_items_are_zeroed_aligned_and_apart),
        cmocka_unit_test(test_arena_limit_is_exact_and_survivable),
        cmocka_unit_test(test_arena_reset_keeps_the_memory),
        cmocka_unit_test(test_arena_copies_hold_their_own_bytes),
        cmocka_unit_test(test_arena_every_failing_allocation_is_reported_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
