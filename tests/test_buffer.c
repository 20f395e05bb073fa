/* links: core */
/* buffer: growth, the limit, and that a failed append changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"

static void test_buffer_appends_grow_and_read_back(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_string_equal(buffer_string(&buffer), "");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buffer_printf(&buffer, "%d,", i), STATUS_OK);
    assert_int_equal(buffer.size, 10 * 2 + 90 * 3 + 900 * 4);
    assert_memory_equal(buffer.bytes, "0,1,2,", 6);
    assert_string_equal(buffer_string(&buffer) + buffer.size - 8, "998,999,");
    buffer_clear(&buffer);
    assert_int_equal(buffer.size, 0);
    assert_string_equal(buffer_string(&buffer), "");
    buffer_free(&buffer);
    assert_int_equal(buffer_text(&buffer, "again"), STATUS_OK);
    assert_string_equal(buffer_string(&buffer), "again");
    buffer_free(&buffer);
}

static void test_buffer_always_has_room_for_the_nul(void **state)
{
    (void)state;
    char text[200];
    memset(text, 'x', sizeof text);
    for (size_t size = 0; size <= sizeof text; size++) {
        struct buffer buffer;
        buffer_init(&buffer, 0);
        assert_int_equal(buffer_append(&buffer, text, size), STATUS_OK);
        assert_true(size == 0 || buffer.capacity > size);
        assert_int_equal(strlen(buffer_string(&buffer)), size);
        buffer_free(&buffer);
    }
}

static void test_buffer_limit_refuses_and_keeps_contents(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    assert_int_equal(buffer_text(&buffer, "12345678"), STATUS_OK);
    assert_int_equal(buffer_text(&buffer, "abc"), STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "limit is 10"));
    assert_int_equal(buffer_printf(&buffer, "%s", "abc"), STATUS_LIMIT);
    assert_int_equal(buffer_json_text(&buffer, "a"), STATUS_LIMIT);
    assert_int_equal(buffer_append(&buffer, NULL, SIZE_MAX), STATUS_LIMIT);
    assert_string_equal(buffer_string(&buffer), "12345678");
    assert_int_equal(buffer_text(&buffer, "ab"), STATUS_OK); /* exactly full, and the NUL fits */
    assert_string_equal(buffer_string(&buffer), "12345678ab");
    buffer_free(&buffer);
}

static void test_buffer_failed_allocation_keeps_contents(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_int_equal(buffer_text(&buffer, "kept"), STATUS_OK);
    memory_fail_after(1);
    assert_int_equal(buffer_reserve(&buffer, 1 << 20), STATUS_NO_MEMORY);
    memory_fail_after(-1);
    assert_string_equal(buffer_string(&buffer), "kept");
    buffer_free(&buffer);
}

static void test_buffer_json_text_escapes_what_json_forbids(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_int_equal(buffer_json_text(&buffer, "a\"b\\c\n\x01\xc3\xa9"), STATUS_OK);
    assert_string_equal(buffer_string(&buffer), "\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa9\"");
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_appends_grow_and_read_back),
        cmocka_unit_test(test_buffer_always_has_room_for_the_nul),
        cmocka_unit_test(test_buffer_limit_refuses_and_keeps_contents),
        cmocka_unit_test(test_buffer_failed_allocation_keeps_contents),
        cmocka_unit_test(test_buffer_json_text_escapes_what_json_forbids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
