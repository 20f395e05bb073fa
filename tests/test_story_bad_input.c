/* links: ops reward */
/* label: integration */
/* timeout: 180 */
/* What a user gets wrong, on the real command: each mistake ends with the documented exit code and a sentence
 * that says what, where and what to do; nothing half-written stays and no process. */
#include <arpa/inet.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "tests/story.h"

enum { LIMIT_MS = 30000, CODE_FAILED = 1, CODE_USAGE = 2, CODE_INPUT = 4, FULL_STEPS = 100 };

/* The run ends with `code` and stderr or a process's log names every word. */
static void expect(struct story_run *run, int code, const char *const *words)
{
    assert_int_equal(story_wait(run, LIMIT_MS), code);
    for (; *words != NULL; words++)
        if (!story_said(run->err, *words))
            fail_msg("%s: no \"%s\"", run->name, *words);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void with_settings(const char *name, const char *settings, int code,
                          const char *const *words)
{
    struct story_run run;
    story_start(&run, name, settings);
    expect(&run, code, words);
}

/* <story>/<name>: the good model with one of its files changed by the test. */
static char *copy_model(char out[FILE_PATH_MAX], const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors", NULL};
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX], part[FILE_PATH_MAX];
    assert_int_equal(file_make_dirs(story_path(out, name)), STATUS_OK);
    for (int i = 0; files[i] != NULL; i++) {
        snprintf(part, sizeof part, "model/%s", files[i]);
        story_path(from, part);
        snprintf(part, sizeof part, "%s/%s", name, files[i]);
        story_copy(from, story_path(to, part));
    }
    return out;
}

static void test_story_bad_input_unknown_setting_names_the_nearest(void **state)
{
    (void)state;
    struct story_run run;
    char recipe[FILE_PATH_MAX];
    story_write(story_path(recipe, "typo.yaml"), "run:\n  steps: 3\nstore:\n  group_sizes: 4\n");
    story_start_recipe(&run, recipe, "typo", "");
    expect(&run, CODE_USAGE, WORDS("typo.yaml:4:3", "group_sizes", "group_size"));
    with_settings("half", "optim.lr=1e-3x", CODE_USAGE, WORDS("optim.lr", "1e-3x"));
    with_settings("range", "optim.beta1=1.5", CODE_USAGE, WORDS("optim.beta1", "1.5"));
    assert_false(file_exists(run.path));
}

static void test_story_bad_input_model_folder_is_named(void **state)
{
    (void)state;
    char model[FILE_PATH_MAX], file[FILE_PATH_MAX], settings[2 * FILE_PATH_MAX];
    with_settings("nomodel", "model.path=/nonexistent/model", CODE_INPUT,
                  WORDS("/nonexistent/model"));

    copy_model(model, "cut");
    assert_int_equal(truncate(story_path(file, "cut/model.safetensors"), 5000), 0);
    snprintf(settings, sizeof settings, "model.path=%s", model);
    with_settings("cut", settings, CODE_INPUT, WORDS("cut/model.safetensors"));

    copy_model(model, "shape");
    story_write_config(story_path(file, "shape/config.json"), &(struct story_model){15, true});
    snprintf(settings, sizeof settings, "model.path=%s", model);
    with_settings("shape", settings, CODE_INPUT, WORDS("shape/model.safetensors", "15"));
}

static void test_story_bad_input_data_line_is_named(void **state)
{
    (void)state;
    char data[FILE_PATH_MAX], settings[2 * FILE_PATH_MAX];
    story_write(story_path(data, "rows.jsonl"),
                "{\"prompt\":\"1+1=\",\"answer\":\"2\"}\n{\"prompt\":\"1+2=\",\"answer\" \"3\"}\n");
    snprintf(settings, sizeof settings, "data.train=%s", data);
    with_settings("json", settings, CODE_INPUT, WORDS("rows.jsonl:2"));
    story_write(data, "{\"question\":\"1+1=\",\"answer\":\"2\"}\n");
    with_settings("key", settings, CODE_INPUT, WORDS("rows.jsonl:1", "prompt"));
    with_settings("nodata", "data.train=/nonexistent.jsonl", CODE_INPUT,
                  WORDS("/nonexistent.jsonl"));
}

static void test_story_bad_input_plugin_is_refused_with_its_version(void **state)
{
    (void)state;
    with_settings("abi", "reward.plugin=" BUILD_DIR "/tests/plugins/other_major.so", CODE_INPUT,
                  WORDS("other_major.so", "ABI"));
    with_settings("noplugin", "reward.plugin=/nonexistent.so", CODE_INPUT,
                  WORDS("/nonexistent.so"));
}

/* A listener that speaks HTTP, in a child: port in *port. */
static pid_t start_http(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const char reply[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            int peer = accept(fd, NULL, NULL);
            if (peer >= 0 && write(peer, reply, sizeof reply - 1) > 0)
                clock_sleep_ms(50);
            close(peer);
        }
    }
    close(fd);
    return child;
}

static void test_story_bad_input_redis_is_absent_or_something_else(void **state)
{
    (void)state;
    int port = 0;
    char settings[200];
    with_settings("noredis", "redis.mode=connect redis.address=127.0.0.1:1", 3,
                  WORDS("127.0.0.1:1"));
    pid_t http = start_http(&port);
    snprintf(settings, sizeof settings, "redis.mode=connect redis.address=127.0.0.1:%d", port);
    struct story_run run;
    story_start(&run, "http", settings);
    int code = story_wait(&run, LIMIT_MS);
    kill(http, SIGKILL);
    assert_int_equal(waitpid(http, NULL, 0), http);
    assert_int_equal(code, 3);
    assert_true(story_said(run.err, "not Redis") || story_said(run.err, "no Redis"));
}

static void test_story_bad_input_name_in_use_names_its_owner(void **state)
{
    (void)state;
    struct story_run first, second;
    story_start(&first, "twice", "run.steps=100000");
    story_await_steps(&first, 1, LIMIT_MS);
    char owner[32];
    snprintf(owner, sizeof owner, "%ld", (long)first.pid);
    story_start(&second, "twice", "run.resume=true");
    int code = story_wait(&second, LIMIT_MS);
    bool named = story_said(second.err, owner);
    assert_int_equal(kill(first.pid, SIGINT), 0);
    assert_int_equal(story_wait(&first, LIMIT_MS), 0);
    assert_true(code > 0);
    assert_true(named);
    story_start(&second, "twice", "");
    assert_true(story_wait(&second, LIMIT_MS) > 0);
    assert_true(story_said(second.err, "weir resume story-"));
}

/* Whatever room there is on the disk. */
static void fill_up(const char *filler)
{
    static const char block[4096];
    int fd = open(filler, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof block) > 0)
        ;
    close(fd);
}

/* `weir status` until it shows `part`. */
static bool await_status(const struct story_run *run, const char *part)
{
    static char text[1 << 16];
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    int64_t end_ns = story_deadline_ns(LIMIT_MS);
    const char *arguments[] = {"status", run->path, NULL};
    while (clock_now_ns() < end_ns) {
        pid_t pid = story_spawn("weir", arguments, story_path(out, "status.out"),
                                story_path(err, "status.err"));
        if (story_wait_pid(pid, LIMIT_MS) == 0 &&
            strstr(story_read(out, text, sizeof text), part) != NULL)
            return true;
        clock_sleep_ms(100);
    }
    return story_said(out, part) || story_said(err, part);
}

/* A second without a step, before the last one. Room that other files of the run leave is taken too. */
static bool stands_still(const struct story_run *run, const char *filler)
{
    int64_t end_ns = story_deadline_ns(LIMIT_MS);
    while (clock_now_ns() < end_ns) {
        size_t before = story_steps(run);
        for (int i = 0; i < 50; i++) {
            fill_up(filler);
            clock_sleep_ms(20);
        }
        if (story_steps(run) == before)
            return before < FULL_STEPS;
    }
    return false;
}

/* The whole folder of the run is on the disk that fills up: a store that cannot write its ledger waits for room and says
 * so; with room the run goes on and ends well. */
static void test_story_bad_input_full_disk_holds_the_run(void **state)
{
    (void)state;
    char root[FILE_PATH_MAX], filler[FILE_PATH_MAX], settings[2 * FILE_PATH_MAX];
    assert_int_equal(file_make_dirs(story_path(root, "small")), STATUS_OK);
    if (mount("tmpfs", root, "tmpfs", 0, "size=8m") != 0) {
        print_message("no tmpfs without root: a full disk is not tried here\n");
        skip();
    }
    struct story_run run;
    snprintf(settings, sizeof settings, "run.root=%s run.steps=%d", root, FULL_STEPS);
    story_start(&run, "full", settings);
    assert_int_equal(file_path(run.path, "%s/%s", root, run.name), STATUS_OK);
    story_await_steps(&run, 2, LIMIT_MS);
    fill_up(story_path(filler, "small/filler"));
    bool alarm = await_status(&run, "room on the disk");
    bool still = stands_still(&run, filler);
    assert_int_equal(unlink(filler), 0);
    int code = story_wait(&run, LIMIT_MS);
    if (code < 0)
        story_kill_all();
    json_t *lines = story_metrics(&run);
    assert_int_equal(umount2(root, MNT_DETACH), 0);
    assert_true(alarm);
    assert_true(still);
    assert_int_equal(code, 0);
    story_assert_steps(lines, FULL_STEPS);
    json_decref(lines);
}

/* A disk that gives errors is another matter: what is written may not be there. */
static void test_story_bad_input_broken_disk_ends_the_run(void **state)
{
    (void)state;
    setenv("WEIR_FAULT", "ledger.write_error:20=fail", 1);
    with_settings("broken", "run.steps=100000", CODE_FAILED,
                  WORDS("ledger.000000", "Input/output error"));
    unsetenv("WEIR_FAULT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_bad_input_unknown_setting_names_the_nearest),
        STORY_TEST(test_story_bad_input_model_folder_is_named),
        STORY_TEST(test_story_bad_input_data_line_is_named),
        STORY_TEST(test_story_bad_input_plugin_is_refused_with_its_version),
        STORY_TEST(test_story_bad_input_redis_is_absent_or_something_else),
        STORY_TEST(test_story_bad_input_name_in_use_names_its_owner),
        STORY_TEST(test_story_bad_input_full_disk_holds_the_run),
        STORY_TEST(test_story_bad_input_broken_disk_ends_the_run)};
    char small[FILE_PATH_MAX];
    snprintf(small, sizeof small, "%s/stories/bad_input/small", BUILD_DIR);
    umount2(small, MNT_DETACH); /* of an earlier try */
    story_begin("bad_input");
    story_make_model(&(struct story_model){14, true});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    umount2(small, MNT_DETACH);
    return story_end(failures);
}
