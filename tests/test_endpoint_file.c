/* links: ops */
/* label: unit */
/* Where a store with an open port is found: ops/endpoint_file.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/endpoint_file.h"

static void test_endpoint_file_open_ports_are_known(void **state)
{
    (void)state;
    assert_true(endpoint_is_open("tcp://*:0"));
    assert_true(endpoint_is_open("tcp://127.0.0.1:*"));
    assert_true(endpoint_is_open("tcp://[::1]:0"));
    assert_false(endpoint_is_open("tcp://eth0:7000"));
    assert_false(endpoint_is_open("ipc:///run/a:0"));
    assert_false(endpoint_is_open("tcp://"));
    assert_false(endpoint_is_open(""));
}

static void test_endpoint_file_addresses_here_and_after_a_restart(void **state)
{
    (void)state;
    char host[100] = "", published[128], out[FILE_PATH_MAX];
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    snprintf(published, sizeof published, "tcp://%s:41234", host);
    assert_int_equal(endpoint_for_here("tcp://*:0", published, out), STATUS_OK);
    assert_string_equal(out, "tcp://127.0.0.1:41234");
    assert_int_equal(endpoint_for_here("tcp://[::]:0", published, out), STATUS_OK);
    assert_string_equal(out, "tcp://[::1]:41234");
    assert_int_equal(endpoint_for_here("tcp://*:0", "tcp://elsewhere.x:5", out), STATUS_OK);
    assert_string_equal(out, "tcp://elsewhere.x:5");
    assert_int_equal(endpoint_for_here("tcp://eth0:0", "tcp://127.0.0.2:5", out), STATUS_OK);
    assert_string_equal(out, "tcp://127.0.0.2:5");
    assert_int_equal(endpoint_with_port("tcp://eth0:0", "tcp://127.0.0.2:5", out), STATUS_OK);
    assert_string_equal(out, "tcp://eth0:5");
    assert_int_equal(endpoint_with_port("tcp://*:*", published, out), STATUS_OK);
    assert_string_equal(out, "tcp://*:41234");
}

static void test_endpoint_file_is_read_and_removed(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-endpoint-XXXXXX", path[64], out[FILE_PATH_MAX];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(endpoint_file_read(folder, out), STATUS_NOT_FOUND);
    snprintf(path, sizeof path, "%s/endpoint", folder);
    assert_int_equal(file_replace(path, "tcp://a:1\n", 10), STATUS_OK);
    assert_int_equal(endpoint_file_read(folder, out), STATUS_OK);
    assert_string_equal(out, "tcp://a:1");
    assert_int_equal(file_replace(path, "nothing", 7), STATUS_OK);
    assert_int_equal(endpoint_file_read(folder, out), STATUS_CORRUPT);
    endpoint_file_remove(folder);
    assert_int_equal(endpoint_file_read(folder, out), STATUS_NOT_FOUND);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoint_file_open_ports_are_known),
        cmocka_unit_test(test_endpoint_file_addresses_here_and_after_a_restart),
        cmocka_unit_test(test_endpoint_file_is_read_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
