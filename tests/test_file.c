/* links: core */
/* file: whole or absent, folders, full disk; clock moves forward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    memcpy(folder, "/tmp/weir_test_file_XXXXXX", 27);
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

static const char *in_folder(const char *name)
{
    static char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    return path;
}

static void test_file_replace_leaves_new_contents_and_no_rest(void **state)
{
    (void)state;
    struct buffer contents;
    buffer_init(&contents, 0);
    assert_int_equal(file_replace(in_folder("a"), "first version", 13), STATUS_OK);
    assert_int_equal(file_replace(in_folder("a"), "second", 6), STATUS_OK);
    assert_false(file_exists(in_folder("a.tmp")));
    assert_int_equal(buffer_text(&contents, ">"), STATUS_OK);
    assert_int_equal(file_read(in_folder("a"), &contents), STATUS_OK);
    assert_string_equal(buffer_string(&contents), ">second");
    buffer_free(&contents);
}

static void test_file_replace_failure_keeps_the_old_file(void **state)
{
    (void)state;
    assert_int_equal(file_make_dirs(in_folder("d/x")), STATUS_OK);
    assert_int_equal(file_replace(in_folder("d"), "x", 1), STATUS_IO); /* a folder is in the way */
    assert_non_null(strstr(status_last_error(), "/d: rename: "));
    assert_true(file_exists(in_folder("d/x")));
    assert_false(file_exists(in_folder("d.tmp")));
    assert_int_equal(file_replace(in_folder("none/a"), "x", 1), STATUS_NOT_FOUND);
}

static void test_file_write_all_on_a_full_disk_says_so(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, "0123456789", 10, "log.bin"), STATUS_IO);
    close(fd);
    assert_non_null(strstr(status_last_error(), "log.bin: write: disk full"));
    assert_non_null(strstr(status_last_error(), "10 of 10 bytes are missing"));
}

static void test_file_append_takes_back_what_did_not_fit(void **state)
{
    (void)state;
    struct rlimit before, little;
    assert_int_equal(file_replace(in_folder("torn"), "1234", 4), STATUS_OK);
    int fd = open(in_folder("torn"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){.rlim_cur = 6, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    enum status status = file_append_all(fd, "56789", 5, "torn");
    off_t size = lseek(fd, 0, SEEK_END);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, STATUS_IO);
    assert_int_equal(size, 4);
    assert_int_equal(file_append_all(fd, "56789", 5, "torn"), STATUS_OK);
    assert_int_equal(lseek(fd, 0, SEEK_END), 9);
    close(fd);
}

static void test_file_read_errors_name_path_and_cause(void **state)
{
    (void)state;
    struct buffer contents;
    buffer_init(&contents, 4);
    assert_int_equal(file_read(in_folder("missing"), &contents), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "/missing: open: No such file"));
    assert_int_equal(file_read(folder, &contents), STATUS_IO);
    assert_non_null(strstr(status_last_error(), "is a folder"));
    assert_int_equal(file_replace(in_folder("four"), "1234", 4), STATUS_OK);
    assert_int_equal(file_replace(in_folder("five"), "12345", 5), STATUS_OK);
    assert_int_equal(file_read(in_folder("five"), &contents), STATUS_LIMIT);
    assert_int_equal(contents.size, 0);
    assert_int_equal(file_read(in_folder("four"), &contents), STATUS_OK);
    assert_int_equal(contents.size, 4);
    assert_int_equal(file_read("/dev/zero", &contents), STATUS_LIMIT);
    assert_int_equal(contents.size, 4);
    buffer_free(&contents);
}

static void test_file_make_dirs_and_remove_tree_are_idempotent(void **state)
{
    (void)state;
    assert_int_equal(file_make_dirs(in_folder("p/q/r/")), STATUS_OK);
    assert_int_equal(file_make_dirs(in_folder("p/q/r")), STATUS_OK);
    assert_int_equal(file_replace(in_folder("p/q/f"), "x", 1), STATUS_OK);
    assert_int_equal(file_make_dirs(in_folder("p/q/f/g")), STATUS_IO);
    assert_non_null(strstr(status_last_error(), "in the way"));
    assert_int_equal(symlink("/nowhere", in_folder("p/link")), 0);
    assert_int_equal(file_remove_tree(in_folder("p")), STATUS_OK);
    assert_false(file_exists(in_folder("p")));
    assert_int_equal(file_remove_tree(in_folder("p")), STATUS_OK);
}

static void test_file_path_too_long_is_refused_not_cut(void **state)
{
    (void)state;
    char long_name[2 * FILE_PATH_MAX];
    char out[FILE_PATH_MAX] = "before";
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_int_equal(file_path(out, "%s", long_name), STATUS_LIMIT);
    assert_string_equal(out, "before");
    long_name[FILE_PATH_MAX - 1] = 0;
    assert_int_equal(file_path(out, "%s", long_name), STATUS_OK);
    assert_int_equal(strlen(out), FILE_PATH_MAX - 1);
}

static void test_clock_sleeping_moves_the_monotonic_clock(void **state)
{
    (void)state;
    const struct clock *clock = clock_system();
    int64_t before = clock->now_ns(clock->self);
    clock_sleep_ms(20);
    assert_true(clock_now_ns() - before >= 20 * CLOCK_NS_PER_MS);
    assert_true(clock->wall_ns(clock->self) > 1600000000 * CLOCK_NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_replace_leaves_new_contents_and_no_rest),
        cmocka_unit_test(test_file_replace_failure_keeps_the_old_file),
        cmocka_unit_test(test_file_write_all_on_a_full_disk_says_so),
        cmocka_unit_test(test_file_append_takes_back_what_did_not_fit),
        cmocka_unit_test(test_file_read_errors_name_path_and_cause),
        cmocka_unit_test(test_file_make_dirs_and_remove_tree_are_idempotent),
        cmocka_unit_test(test_file_path_too_long_is_refused_not_cut),
        cmocka_unit_test(test_clock_sleeping_moves_the_monotonic_clock),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
