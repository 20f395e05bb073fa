/* links: ops */
/* run_place: where a run must not lie, and what --clean must not take along; the socket of another run's Redis. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "ops/redis_server.h"
#include "ops/run_place.h"

static char folder[64], here[FILE_PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-place-XXXXXX");
    return mkdtemp(folder) == NULL || getcwd(here, sizeof here) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return chdir(here) != 0 || file_remove_tree(folder) != STATUS_OK;
}

static const char *in_folder(const char *name)
{
    static char paths[8][FILE_PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    return path;
}

static void make_file(const char *path)
{
    assert_int_equal(file_replace(path, "x\n", 2), STATUS_OK);
}

static struct settings plain(const char *root, uint32_t redis_mode)
{
    struct settings settings = {0};
    settings.run.root = root;
    settings.redis.mode = redis_mode;
    settings.redis.address = settings.store.endpoint = "";
    return settings;
}

static void test_run_place_byte_that_redis_cannot_hold_names_run_root(void **state)
{
    (void)state;
    static const char *const roots[] = {"/tmp/qu\"ote", "/tmp/back\\slash", "/tmp/line\nend"};
    static const char *const bytes[] = {"0x22", "0x5c", "0x0a"};
    for (size_t i = 0; i < 3; i++) {
        struct settings settings = plain(roots[i], REDIS_START);
        assert_int_equal(run_place_check(&settings, "a"), STATUS_INVALID);
        assert_non_null(strstr(status_last_error(), "run.root"));
        assert_non_null(strstr(status_last_error(), bytes[i]));
        settings.redis.mode = REDIS_OFF;
        assert_int_equal(run_place_check(&settings, "a"), STATUS_OK);
    }
}

/* A relative root is short here; from elsewhere nobody could connect to the socket. */
static void test_run_place_relative_root_counts_the_whole_path(void **state)
{
    (void)state;
    char deep[FILE_PATH_MAX];
    struct settings settings = plain("runs", REDIS_OFF);
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(run_place_check(&settings, "a"), STATUS_OK);
    assert_int_equal(file_path(deep, "%s/%0*d", folder, 100, 7), STATUS_OK);
    assert_int_equal(mkdir(deep, 0755), 0);
    assert_int_equal(chdir(deep), 0);
    assert_int_equal(run_place_check(&settings, "a"), STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "run.root"));
    settings.store.endpoint = "tcp://127.0.0.1:7000"; /* no socket */
    assert_int_equal(run_place_check(&settings, "a"), STATUS_OK);
}

static enum status check_clean(const char *recipe, const char *setting, const char *value)
{
    char override[FILE_PATH_MAX + 64];
    const char *overrides[] = {override}, *recipes[] = {recipe};
    struct config_input input = {.overrides = overrides, .override_count = 1};
    struct settings settings;
    struct config *config = NULL;
    snprintf(override, sizeof override, "%s=%s", setting, value);
    assert_int_equal(settings_load(&settings, &config, &input), STATUS_OK);
    enum status status = run_place_check_clean(config, recipes, 1, in_folder("run"));
    config_destroy(&config);
    return status;
}

static void test_run_place_clean_spares_what_the_run_needs(void **state)
{
    (void)state;
    char list[2 * FILE_PATH_MAX];
    static const char *const alone[] = {"model.path", "reward.plugin", "data.train"};
    assert_int_equal(check_clean(in_folder("run/r.yaml"), "model.path", "m"), STATUS_OK); /* none */
    assert_int_equal(mkdir(in_folder("run"), 0755), 0);
    assert_int_equal(mkdir(in_folder("running"), 0755), 0);
    make_file(in_folder("run/r.yaml"));
    make_file(in_folder("r.yaml"));
    make_file(in_folder("running/m"));
    assert_int_equal(check_clean(in_folder("run/r.yaml"), "model.path", "m"), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "the recipe"));
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++) {
        assert_int_equal(check_clean(in_folder("r.yaml"), alone[i], in_folder("run/r.yaml")),
                         STATUS_INVALID);
        assert_non_null(strstr(status_last_error(), alone[i]));
        assert_int_equal(check_clean(in_folder("r.yaml"), alone[i], in_folder("running/m")),
                         STATUS_OK);
    }
    snprintf(list, sizeof list, "%s, a=%s", in_folder("r.yaml"), in_folder("run/r.yaml"));
    assert_int_equal(check_clean(in_folder("r.yaml"), "eval.sets", list), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "eval.sets"));
    snprintf(list, sizeof list, "%s:score", in_folder("run/r.yaml"));
    assert_int_equal(check_clean(in_folder("r.yaml"), "reward.plugin", list), STATUS_INVALID);
}

static void test_redis_server_address_of_another_run_is_not_taken_over(void **state)
{
    (void)state;
    char own[FILE_PATH_MAX], address[FILE_PATH_MAX];
    struct run_folder run = {.lock_fd = -1};
    struct settings settings = plain("", REDIS_START);
    assert_int_equal(mkdir(in_folder("old"), 0755), 0);
    assert_int_equal(mkdir(in_folder("new"), 0755), 0);
    make_file(in_folder("new/lock"));
    assert_int_equal(file_path(run.path, "%s", in_folder("new")), STATUS_OK);
    assert_int_equal(file_path(own, "%s/redis.sock", run.path), STATUS_OK);
    settings.redis.address = in_folder("old/redis.sock");
    assert_int_equal(redis_server_address(&settings, &run, address), STATUS_OK);
    assert_string_equal(address, settings.redis.address); /* no run's folder: somebody's choice */
    make_file(in_folder("old/lock"));
    assert_int_equal(redis_server_address(&settings, &run, address), STATUS_OK);
    assert_string_equal(address, own);
    settings.redis.mode = REDIS_CONNECT; /* to share it is said so */
    assert_int_equal(redis_server_address(&settings, &run, address), STATUS_OK);
    assert_string_equal(address, settings.redis.address);
    settings.redis.mode = REDIS_START;
    settings.redis.address = own;
    assert_int_equal(redis_server_address(&settings, &run, address), STATUS_OK);
    assert_string_equal(address, own);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_run_place_byte_that_redis_cannot_hold_names_run_root),
        PLACE_TEST(test_run_place_relative_root_counts_the_whole_path),
        PLACE_TEST(test_run_place_clean_spares_what_the_run_needs),
        PLACE_TEST(test_redis_server_address_of_another_run_is_not_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
