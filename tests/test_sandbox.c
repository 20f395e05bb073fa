/* links: core sandbox */
/* timeout: 60 */
/* The sandbox's interface: outcomes, each limit, bytes in and out, files, results, descriptors, cancelling, modes. What
 * hostile programs do is in test_sandbox_attacks.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "sandbox/sandbox.h"
#include "tests/slow.h"

enum { LONG_MS = 60000, MASKED_USER = 10001, MASKED_SKIPPED = 77 };

static struct sandbox *sandbox;

static struct sandbox_run shell(const char *const *argv)
{
    struct sandbox_run run = {SANDBOX_RUN, .argv = argv};
    run.limits.wall_ms = run.limits.cpu_ms = LONG_MS;
    return run;
}
#define SHELL(command) shell((const char *const[]){"/bin/sh", "-c", (command), NULL})

static struct sandbox_result execute(const struct sandbox_run *run)
{
    struct sandbox_result result;
    sandbox_execute(sandbox, run, &result);
    return result;
}

static void assert_exited(const struct sandbox_result *result, int code)
{
    if (result->outcome != SANDBOX_EXITED || result->exit_code != code)
        print_error("%s; stderr: %s\n", result->text,
                    result->error == NULL ? "" : (const char *)result->error);
    assert_int_equal(result->outcome, SANDBOX_EXITED);
    assert_int_equal(result->exit_code, code);
}

static void assert_limit(const struct sandbox_run *run, enum sandbox_limit limit)
{
    struct sandbox_result result = execute(run);
    if (result.outcome != SANDBOX_LIMIT || result.limit != limit)
        print_error("%s\n", result.text);
    assert_int_equal(result.outcome, SANDBOX_LIMIT);
    assert_int_equal(result.limit, limit);
    sandbox_result_free(&result);
}

static const enum sandbox_mode modes[] = {SANDBOX_STRICT, SANDBOX_POOLED};
#define EACH_MODE(run) \
    for (size_t mode_ = 0; mode_ < 2 && ((run).mode = modes[mode_], true); mode_++)

static void test_sandbox_program_that_ends_gives_its_code(void **state)
{
    (void)state;
    struct sandbox_run run = SHELL("exit 3");
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 3);
        assert_string_equal(result.text, "exited with 3");
        assert_int_equal(result.output_size + result.error_size, 0);
        sandbox_result_free(&result);
    }
}

static void test_sandbox_program_that_is_killed_gives_its_signal(void **state)
{
    (void)state;
    struct sandbox_run run = SHELL("kill -SEGV $$");
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_int_equal(result.outcome, SANDBOX_SIGNALED);
        assert_int_equal(result.signal, SIGSEGV);
        assert_string_equal(result.text, "killed by SIGSEGV");
        sandbox_result_free(&result);
    }
}

static void test_sandbox_output_with_zero_and_broken_bytes_comes_unchanged(void **state)
{
    (void)state;
    static const char bytes[] = "a\0b\xff\xfe\n\r\033[0m";
    struct sandbox_run run = SHELL("cat; printf 'e\\000r' >&2");
    run.input = bytes;
    run.input_size = sizeof bytes;
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_int_equal(result.output_size, sizeof bytes);
        assert_memory_equal(result.output, bytes, sizeof bytes);
        assert_int_equal(result.output[result.output_size], 0);
        assert_int_equal(result.error_size, 3);
        assert_memory_equal(result.error, "e\0r", 4);
        sandbox_result_free(&result);
    }
}

static void test_sandbox_much_input_that_nobody_reads_does_not_hang(void **state)
{
    (void)state;
    enum { SIZE = 8 << 20 };
    uint8_t *bytes = memory_alloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    struct sandbox_run run = SHELL("exit 0");
    run.input = bytes;
    run.input_size = SIZE;
    struct sandbox_result result = execute(&run);
    assert_exited(&result, 0);
    sandbox_result_free(&result);
    run = SHELL("cat");
    run.input = bytes;
    run.input_size = SIZE;
    run.limits.output_bytes = SIZE;
    result = execute(&run);
    assert_exited(&result, 0);
    assert_int_equal(result.output_size, SIZE);
    assert_memory_equal(result.output, bytes, SIZE);
    sandbox_result_free(&result);
    memory_free(bytes);
}

static void test_sandbox_output_at_its_limit_is_fine_and_one_byte_more_is_not(void **state)
{
    (void)state;
    struct sandbox_run run = SHELL("head -c 5000 /dev/zero");
    EACH_MODE(run)
    {
        run.limits.output_bytes = 5000;
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_int_equal(result.output_size, 5000);
        sandbox_result_free(&result);
        run.limits.output_bytes = 4999;
        assert_limit(&run, SANDBOX_LIMIT_OUTPUT);
    }
    run = SHELL("head -c 5000 /dev/zero >&2");
    run.limits.output_bytes = 4999;
    assert_limit(&run, SANDBOX_LIMIT_OUTPUT);
}

static void test_sandbox_each_limit_is_named(void **state)
{
    (void)state;
    struct sandbox_run run = SHELL("while :; do :; done");
    EACH_MODE(run)
    {
        run = SHELL("while :; do :; done");
        run.mode = modes[mode_];
        run.limits.cpu_ms = 50;
        assert_limit(&run, SANDBOX_LIMIT_CPU);
        run = SHELL("sleep 1000");
        run.mode = modes[mode_];
        run.limits.wall_ms = 50;
        assert_limit(&run, SANDBOX_LIMIT_WALL);
        run = SHELL("exec head -c 3000000 /dev/zero > big");
        run.mode = modes[mode_];
        run.limits.file_bytes = 2000000;
        assert_limit(&run, SANDBOX_LIMIT_FILES);
    }
}

static void test_sandbox_memory_limit_is_named_where_cgroups_count(void **state)
{
    (void)state;
    char about[SANDBOX_DESCRIPTION_MAX];
    sandbox_describe(sandbox, about);
    if (strstr(about, "weaker") != NULL)
        skip();
    static const char *const argv[] = {"/usr/bin/python3", "-c", "x = b'x' * (1 << 30)", NULL};
    struct sandbox_run run = shell(argv);
    run.limits.memory_bytes = 64 << 20;
    EACH_MODE(run)
    {
        assert_limit(&run, SANDBOX_LIMIT_MEMORY);
    }
    static const char *const small[] = {"/usr/bin/python3", "-c", "pass", NULL};
    run.argv = small; /* the limit that killed one run does not kill the next */
    struct sandbox_result result = execute(&run);
    assert_exited(&result, 0);
    assert_in_range(result.memory_peak_bytes, 1 << 20, 64 << 20);
    sandbox_result_free(&result);
}

static void test_sandbox_disk_limit_holds_without_a_verdict(void **state)
{
    (void)state;
    struct sandbox_run run =
        SHELL("for i in 1 2 3 4; do head -c 1000000 /dev/zero > f$i; done 2> /dev/null; "
              "cat f? | wc -c");
    run.limits.disk_bytes = 2 << 20;
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_in_range(strtol((const char *)result.output, NULL, 10), 1500000, 2 << 20);
        sandbox_result_free(&result);
    }
}

static void test_sandbox_files_are_put_and_results_are_read(void **state)
{
    (void)state;
    static const struct sandbox_file files[] = {
        {"in/deep/data",
         "12\0"
         "3",
         4, false},
        {"tool",
         "#!/bin/sh\ncat in/deep/data > out\nmkdir sub; echo x > sub/y; ln -s out link; mkfifo "
         "pipe\n"
         "ln -s sub folder\nls -l tool | cut -c1-10\n",
         115, true},
    };
    struct sandbox_file list[2] = {files[0], files[1]};
    list[1].size = strlen(files[1].bytes);
    static const char *const argv[] = {"./tool", NULL};
    static const char *const results[] = {"out",    "sub/y",    "link",          "pipe", "sub",
                                          "absent", "folder/y", "../etc/passwd", NULL};
    static const bool found[] = {true, true, false, false, false, false, false, false};
    struct sandbox_run run = shell(argv);
    run.files = list;
    run.file_count = 2;
    run.results = results;
    run.execute_work = true;
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_string_equal((const char *)result.output, "-rwxr-xr-x\n");
        assert_int_equal(result.result_count, 8);
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(result.results[i].found, found[i]);
        assert_int_equal(result.results[0].size, 4);
        assert_memory_equal(result.results[0].bytes,
                            "12\0"
                            "3",
                            4);
        assert_string_equal((const char *)result.results[1].bytes, "x\n");
        sandbox_result_free(&result);
    }
}

static void test_sandbox_file_outside_the_work_folder_is_infra(void **state)
{
    (void)state;
    static const char *const paths[] = {"../x", "/x", "a/../../x", "a//x", "", "a/./x", ".."};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct sandbox_file file = {paths[i], "x", 1, false};
        struct sandbox_run run = SHELL("true");
        run.files = &file;
        run.file_count = 1;
        struct sandbox_result result = execute(&run);
        assert_int_equal(result.outcome, SANDBOX_INFRA);
        sandbox_result_free(&result);
    }
}

static void
test_sandbox_program_that_is_missing_is_ours_below_usr_and_its_own_below_work(void **state)
{
    (void)state;
    static const char *const ours[] = {"/usr/bin/absent", NULL}, *const own[] = {"./absent", NULL};
    struct sandbox_run run = shell(ours);
    struct sandbox_result result = execute(&run);
    assert_int_equal(result.outcome, SANDBOX_INFRA);
    assert_non_null(strstr(result.text, "/usr/bin/absent"));
    sandbox_result_free(&result);
    run = shell(own);
    result = execute(&run);
    assert_exited(&result, 127);
    sandbox_result_free(&result);
    run.argv = NULL;
    result = execute(&run);
    assert_int_equal(result.outcome, SANDBOX_INFRA);
    sandbox_result_free(&result);
}

static void test_sandbox_environment_is_its_own(void **state)
{
    (void)state;
    static const char *const argv[] = {"/usr/bin/env", NULL}, *const env[] = {"A=1", "B=two", NULL};
    setenv("WEIR_TEST_SECRET", "secret", 1);
    struct sandbox_run run = shell(argv);
    EACH_MODE(run)
    {
        run.env = NULL;
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_null(strstr((const char *)result.output, "secret"));
        assert_non_null(strstr((const char *)result.output, "TMPDIR=/tmp\n"));
        sandbox_result_free(&result);
        run.env = env;
        result = execute(&run);
        assert_string_equal((const char *)result.output, "A=1\nB=two\n");
        sandbox_result_free(&result);
    }
}

/* An init is made ahead for a run like the last one; this one is not like it. */
static void test_sandbox_runs_with_other_limits_follow_each_other(void **state)
{
    (void)state;
    static const char text[] = "#!/bin/sh\necho started\n";
    const struct sandbox_file file = {"own", text, sizeof text - 1, true};
    struct sandbox_run run =
        SHELL("head -c 3000000 /dev/zero > big 2> none; stat -c %s big; ./own 2> none; exit 0");
    run.files = &file;
    run.file_count = 1;
    for (int i = 0; i < 16; i++) {
        bool large = i % 3 != 0;
        run.mode = modes[i % 2];
        run.limits.disk_bytes = large ? 8 << 20 : 1 << 20;
        run.execute_work = i % 4 < 2;
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_int_equal(strtol((const char *)result.output, NULL, 10) == 3000000, large);
        assert_int_equal(strstr((const char *)result.output, "started") != NULL, run.execute_work);
        sandbox_result_free(&result);
    }
}

static void test_sandbox_strict_run_has_namespaces_of_its_own(void **state)
{
    (void)state;
    enum { SPACES = 6, LINE = 32 };
    char last[SPACES][LINE] = {{0}}, now[SPACES][LINE];
    struct sandbox_run run = SHELL("cd /proc/self/ns && readlink user mnt pid net ipc uts");
    for (int i = 0; i < 4; i++) {
        struct sandbox_result result = execute(&run);
        if (geteuid() != 0 ||
            result.exit_code != 0) {      /* no /proc here, or no init ahead: numbers */
            sandbox_result_free(&result); /* of dead namespaces are given again */
            skip();
        }
        assert_exited(&result, 0);
        assert_int_equal(sscanf((const char *)result.output, "%31s %31s %31s %31s %31s %31s",
                                now[0], now[1], now[2], now[3], now[4], now[5]),
                         SPACES);
        for (int k = 0; k < SPACES; k++)
            assert_string_not_equal(now[k], last[k]);
        memcpy(last, now, sizeof last);
        sandbox_result_free(&result);
    }
}

static void test_sandbox_channel_is_descriptor_3(void **state)
{
    (void)state;
    static const char *const names[] = {"strict", "pooled", "zygote"};
    for (int mode = SANDBOX_STRICT; mode <= SANDBOX_ZYGOTE; mode++) {
        int pair[2];
        char got[16] = "";
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(write(pair[0], "ping\n", 5), 5);
        struct sandbox_run run =
            SHELL("read word <&3; echo $word-pong >&3; ls /proc/self/fd | wc -l");
        run.python = "import os\nword = os.read(3, 99)[:-1]\nos.write(3, word + b'-pong\\n')\n"
                     "print(len(os.listdir('/proc/self/fd')))";
        run.mode = (enum sandbox_mode)mode;
        run.channel = pair[1];
        struct sandbox_result result = execute(&run);
        print_message("%s: %s", names[mode], (const char *)result.output);
        assert_exited(&result, 0);
        assert_int_equal(strtol((const char *)result.output, NULL, 10),
                         5); /* 0 to 3, and the folder's */
        sandbox_result_free(&result);
        close(pair[1]);
        assert_int_equal(read(pair[0], got, sizeof got - 1), 10);
        assert_string_equal(got, "ping-pong\n");
        assert_int_equal(read(pair[0], got, sizeof got), 0); /* nobody else holds it */
        close(pair[0]);
    }
}

static void *talk(void *argument)
{
    const int *fds = argument;
    char line[32] = "";
    bool fine = write(fds[0], "7\n", 2) == 2 && read(fds[1], line, sizeof line) > 0 &&
                strcmp(line, "8\n") == 0 && write(fds[0], "done\n", 5) == 5;
    return fine ? argument : NULL;
}

static void test_sandbox_program_talks_over_given_descriptors(void **state)
{
    (void)state;
    struct sandbox_run run = SHELL("read n; echo $((n + 1)); read word; test $word = done");
    EACH_MODE(run)
    {
        int to[2], from[2], ours[2];
        void *fine = NULL;
        pthread_t thread;
        assert_int_equal(pipe(to) | pipe(from), 0);
        run.input_fd = to[0];
        run.output_fd = from[1];
        ours[0] = to[1];
        ours[1] = from[0];
        assert_int_equal(pthread_create(&thread, NULL, talk, ours), 0);
        struct sandbox_result result = execute(&run);
        pthread_join(thread, &fine);
        assert_exited(&result, 0);
        assert_non_null(fine);
        sandbox_result_free(&result);
        for (int i = 0; i < 2; i++) {
            close(to[i]);
            close(from[i]);
        }
    }
}

static void *cancel_soon(void *flag)
{
    clock_sleep_ms(50);
    __atomic_store_n((bool *)flag, true, __ATOMIC_RELAXED);
    return NULL;
}

static void test_sandbox_run_that_is_cancelled_ends(void **state)
{
    (void)state;
    struct sandbox_run run = SHELL("sleep 1000");
    EACH_MODE(run)
    {
        volatile bool cancelled = false;
        pthread_t thread;
        run.cancelled = &cancelled;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, (void *)(uintptr_t)&cancelled),
                         0);
        assert_limit(&run, SANDBOX_LIMIT_CANCELLED);
        pthread_join(thread, NULL);
    }
    run = SHELL("exit 4"); /* the word of one run is not heard by the next */
    struct sandbox_result result = execute(&run);
    assert_exited(&result, 4);
    sandbox_result_free(&result);
}

static void test_sandbox_base_is_shown_and_stays_as_it_was(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-base-XXXXXX", path[FILE_PATH_MAX];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(file_path(path, "%s/a/b", folder), STATUS_OK);
    char *slash = strrchr(path, '/');
    *slash = 0;
    assert_int_equal(mkdir(path, 0755), 0);
    *slash = '/';
    assert_int_equal(file_replace(path, "old", 3), STATUS_OK);
    static const char *const results[] = {"a/b", "a/c", NULL};
    struct sandbox_run run = SHELL("cat a/b; echo new > a/b; echo c > a/c; mkdir d; rm -r d");
    run.base = folder;
    run.results = results;
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 0);
        assert_string_equal((const char *)result.output, "old");
        assert_true(result.results[0].found && result.results[1].found);
        assert_string_equal((const char *)result.results[0].bytes, "new\n");
        sandbox_result_free(&result);
        struct buffer now;
        buffer_init(&now, 0);
        assert_int_equal(file_read(path, &now), STATUS_OK);
        assert_string_equal(buffer_string(&now), "old");
        buffer_free(&now);
    }
    const char *const shown[] = {folder, NULL};
    char command[3 * FILE_PATH_MAX];
    snprintf(command, sizeof command, "cat %s; echo x > %s", path, path);
    run = SHELL(command);
    run.shown = shown;
    EACH_MODE(run)
    {
        struct sandbox_result result = execute(&run);
        assert_string_equal((const char *)result.output, "old");
        assert_int_not_equal(result.exit_code, 0);
        sandbox_result_free(&result);
    }
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
}

static void test_sandbox_zygote_runs_python_as_main(void **state)
{
    (void)state;
    static const char *const env[] = {"NAME=value", NULL};
    static const char *const results[] = {"out", NULL};
    struct sandbox_file file = {"data", "42", 2, false};
    struct sandbox_run run = {SANDBOX_RUN, .mode = SANDBOX_ZYGOTE};
    run.python = "import os, sys\n"
                 "def main():\n    print(sys.stdin.read(), open('data').read(), "
                 "os.environ['NAME'], len(os.environ))\n"
                 "f = open('out', 'w')\nf.write('left open')\n"
                 "if __name__ == '__main__':\n    main()\n    sys.exit('why')\n";
    run.input = "in";
    run.input_size = 2;
    run.env = env;
    run.files = &file;
    run.file_count = 1;
    run.results = results;
    for (int i = 0; i < 3; i++) {
        struct sandbox_result result = execute(&run);
        assert_exited(&result, 1);
        assert_string_equal((const char *)result.output, "in 42 value 1\n");
        assert_string_equal((const char *)result.error, "why\n");
        assert_true(result.results[0].found);
        assert_string_equal((const char *)result.results[0].bytes, "left open");
        sandbox_result_free(&result);
    }
    run.python = "x = 1\nx.absent\n";
    struct sandbox_result result = execute(&run);
    assert_exited(&result, 1);
    assert_non_null(strstr((const char *)result.error, "line 2"));
    assert_non_null(strstr((const char *)result.error, "AttributeError"));
    sandbox_result_free(&result);
    run.python = "if True print(1)";
    result = execute(&run);
    assert_exited(&result, 1);
    assert_non_null(strstr((const char *)result.error, "SyntaxError"));
    sandbox_result_free(&result);
}

static void test_sandbox_zygote_with_a_shown_folder_is_made_anew(void **state)
{
    (void)state;
    static const char *const shown[] = {"/etc/alternatives", "/usr/share", NULL};
    struct sandbox_run run = {SANDBOX_RUN, .mode = SANDBOX_ZYGOTE, .shown = shown,
                              .python = "print(__name__)"};
    struct sandbox_result result = execute(&run);
    assert_exited(&result, 0);
    assert_string_equal((const char *)result.output, "__main__\n");
    sandbox_result_free(&result);
}

static void test_sandbox_file_locks_are_for_runs_that_ask(void **state)
{
    (void)state;
    static const char *const argv[] = {"/usr/bin/python3", "main.py", NULL};
    static const char text[] = "import fcntl, os\n"
                               "def lock(call):\n    try:\n        call()\n        return 1\n    "
                               "except OSError:\n        return 0\n"
                               "f = open('db', 'w')\n"
                               "print(lock(lambda: fcntl.lockf(f, fcntl.LOCK_EX)), lock(lambda: "
                               "fcntl.flock(f, fcntl.LOCK_SH)),\n"
                               "      lock(lambda: fcntl.fcntl(f, fcntl.F_GETLK, b'\\0' * 32)))\n";
    struct sandbox_file file = {"main.py", text, sizeof text - 1, false};
    for (int mode = SANDBOX_STRICT; mode <= SANDBOX_ZYGOTE; mode++)
        for (int asked = 0; asked < 2; asked++) {
            struct sandbox_run run = shell(argv);
            run.mode = (enum sandbox_mode)mode;
            run.python = text;
            run.files = &file;
            run.file_count = 1;
            run.file_locks = asked == 1;
            struct sandbox_result result = execute(&run);
            assert_exited(&result, 0);
            assert_string_equal((const char *)result.output, asked == 1 ? "1 0 0\n" : "0 0 0\n");
            sandbox_result_free(&result);
        }
}

/* As a container's runtime does it: a part of /proc is covered, and the kernel allows its user no whole one below. */
static bool mask_proc(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", "", MS_REC | MS_PRIVATE, "") == 0 &&
           mount("none", "/proc/tty", "tmpfs", MS_RDONLY, "") == 0 &&
           setresgid(MASKED_USER, MASKED_USER, MASKED_USER) == 0 &&
           setresuid(MASKED_USER, MASKED_USER, MASKED_USER) == 0;
}

static bool says(struct sandbox *masked, const struct sandbox_run *run, const char *expected)
{
    struct sandbox_result result;
    sandbox_execute(masked, run, &result);
    bool fine = result.outcome == SANDBOX_EXITED && result.exit_code == 0 &&
                strcmp((const char *)result.output, expected) == 0;
    if (!fine)
        print_error("%s: %s\n", result.text,
                    result.error != NULL ? (const char *)result.error : "");
    sandbox_result_free(&result);
    return fine;
}

static int run_masked(void)
{
    struct sandbox *masked = NULL;
    struct sandbox_options options = {.jobs = 1};
    if (!mask_proc())
        return MASKED_SKIPPED;
    if (sandbox_open(&masked, &options) != STATUS_OK) {
        print_error("%s\n", status_last_error());
        return 1;
    }
    struct sandbox_run run = SHELL("test ! -e /proc/self && echo none");
    struct sandbox_run python = {SANDBOX_RUN, .mode = SANDBOX_ZYGOTE,
                                 .python = "import json\nprint(__name__)"};
    bool fine = !sandbox_has_zygote(masked) && says(masked, &run, "none\n");
    run.mode = SANDBOX_POOLED;
    fine = fine && says(masked, &run, "none\n") && says(masked, &python, "__main__\n");
    sandbox_close(&masked);
    return fine ? 0 : 1;
}

static void test_sandbox_zygote_with_a_masked_proc_is_made_anew(void **state)
{
    (void)state;
    int status = 0;
    assert_true(sandbox_has_zygote(sandbox));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(run_masked());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == MASKED_SKIPPED) {
        print_message("skipped: only root may mask /proc\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static _Atomic int wrong;

static void *many(void *argument)
{
    int number = (int)(intptr_t)argument;
    for (int i = 0; i < (int)test_times(10, 3); i++) {
        char command[32];
        snprintf(command, sizeof command, "echo %d; exit %d", number * 100 + i, number);
        struct sandbox_run run = SHELL(command);
        run.mode = modes[i % 2];
        struct sandbox_result result = execute(&run);
        bool fine = result.outcome == SANDBOX_EXITED && result.exit_code == number &&
                    strtol((const char *)result.output, NULL, 10) == number * 100 + i;
        atomic_fetch_add(&wrong, !fine);
        sandbox_result_free(&result);
    }
    return NULL;
}

static void test_sandbox_many_callers_get_their_own_answers(void **state)
{
    (void)state;
    pthread_t threads[6];
    for (intptr_t i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many, (void *)(i + 1)), 0);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
}

/* The children of this process: launchers. */
static int launchers(pid_t *pids, int most)
{
    int count = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char path[300], text[512];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (file == NULL)
            continue;
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        const char *name = strrchr(text, ')');
        if (name != NULL && strtol(name + 4, NULL, 10) == getpid() && count < most)
            pids[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    closedir(folder);
    return count;
}

static void test_sandbox_launcher_that_was_killed_is_replaced(void **state)
{
    (void)state;
    pid_t pids[8];
    int count = launchers(pids, 8), infra = 0;
    assert_int_equal(count, 2);
    for (int i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    for (int i = 0; i < 6; i++) {
        struct sandbox_run run = SHELL("exit 5");
        struct sandbox_result result = execute(&run);
        if (result.outcome == SANDBOX_INFRA)
            infra++; /* never a verdict about the program */
        else
            assert_exited(&result, 5);
        sandbox_result_free(&result);
    }
    assert_true(infra <= 2);
}

/* Children of `parent` as the kernel lists them. */
static int children_of(pid_t parent, pid_t *pids, int most)
{
    char path[64], text[512] = "", *at = text;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    int count = 0;
    for (char *end; count < most; at = end) {
        pids[count] = (pid_t)strtol(at, &end, 10);
        if (end == at)
            break;
        count++;
    }
    return count;
}

/* Keepers, and the inits that wait for the next runs. */
static void test_sandbox_helper_of_a_launcher_that_was_killed_is_replaced(void **state)
{
    (void)state;
    pid_t launcher[8], keepers[8], inits[8];
    int infra = 0, kills = 0;
    for (int i = 0; i < 24; i++) {
        struct sandbox_run run = SHELL("exit 5");
        run.mode = modes[i % 2];
        struct sandbox_result result = execute(&run);
        if (result.outcome == SANDBOX_INFRA)
            infra++; /* never a verdict about the program */
        else
            assert_exited(&result, 5);
        sandbox_result_free(&result);
        if (i % 4 != 1)
            continue;
        int started = launchers(launcher, 8);
        for (int k = 0; k < started; k++) {
            int count = children_of(launcher[k], keepers, 8);
            for (int j = i / 4 % 3; j < count; j += 3) {
                int below = children_of(keepers[j], inits, 8);
                kill(below > 0 && i % 8 < 4 ? inits[0] : keepers[j], SIGKILL);
                kills++;
            }
        }
    }
    print_message("%d killed, %d runs told so\n", kills, infra);
    if (kills == 0)
        skip(); /* a kernel that lists no children */
    assert_true(infra <= kills);
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void test_sandbox_nothing_is_left_when_it_is_closed(void **state)
{
    (void)state;
    pid_t pids[8];
    struct sandbox *other = NULL;
    int before = count_descriptors(), before_launchers = launchers(pids, 8);
    int64_t blocks = memory_blocks_live();
    struct sandbox_options options = {.jobs = 1, .no_self_test = true};
    assert_int_equal(sandbox_open(&other, &options), STATUS_OK);
    for (int i = 0; i < (int)test_times(60, 12); i++) {
        struct sandbox_run run = SHELL("(sleep 100 &) ; echo x > f; exit 0");
        run.mode = (enum sandbox_mode)(i % 3);
        run.python = "import os\nos.fork()";
        struct sandbox_result result;
        sandbox_execute(other, &run, &result);
        assert_exited(&result, 0);
        sandbox_result_free(&result);
    }
    sandbox_close(&other);
    assert_null(other);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(launchers(pids, 8), before_launchers);
    assert_int_equal(memory_blocks_live(), blocks);
}

static int open_once(void **state)
{
    (void)state;
    struct sandbox_options options = {.jobs = 2};
    enum status status = sandbox_open(&sandbox, &options);
    if (status == STATUS_UNSUPPORTED) {
        print_message("skipped: %s\n", status_last_error());
        exit(77);
    }
    return status == STATUS_OK ? 0 : -1;
}

static int close_once(void **state)
{
    (void)state;
    sandbox_close(&sandbox);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox_program_that_ends_gives_its_code),
        cmocka_unit_test(test_sandbox_program_that_is_killed_gives_its_signal),
        cmocka_unit_test(test_sandbox_output_with_zero_and_broken_bytes_comes_unchanged),
        cmocka_unit_test(test_sandbox_much_input_that_nobody_reads_does_not_hang),
        cmocka_unit_test(test_sandbox_output_at_its_limit_is_fine_and_one_byte_more_is_not),
        cmocka_unit_test(test_sandbox_each_limit_is_named),
        cmocka_unit_test(test_sandbox_memory_limit_is_named_where_cgroups_count),
        cmocka_unit_test(test_sandbox_disk_limit_holds_without_a_verdict),
        cmocka_unit_test(test_sandbox_files_are_put_and_results_are_read),
        cmocka_unit_test(test_sandbox_file_outside_the_work_folder_is_infra),
        cmocka_unit_test(
            test_sandbox_program_that_is_missing_is_ours_below_usr_and_its_own_below_work),
        cmocka_unit_test(test_sandbox_environment_is_its_own),
        cmocka_unit_test(test_sandbox_runs_with_other_limits_follow_each_other),
        cmocka_unit_test(test_sandbox_strict_run_has_namespaces_of_its_own),
        cmocka_unit_test(test_sandbox_channel_is_descriptor_3),
        cmocka_unit_test(test_sandbox_program_talks_over_given_descriptors),
        cmocka_unit_test(test_sandbox_run_that_is_cancelled_ends),
        cmocka_unit_test(test_sandbox_base_is_shown_and_stays_as_it_was),
        cmocka_unit_test(test_sandbox_zygote_runs_python_as_main),
        cmocka_unit_test(test_sandbox_zygote_with_a_shown_folder_is_made_anew),
        cmocka_unit_test(test_sandbox_file_locks_are_for_runs_that_ask),
        cmocka_unit_test(test_sandbox_many_callers_get_their_own_answers),
        cmocka_unit_test(test_sandbox_launcher_that_was_killed_is_replaced),
        cmocka_unit_test(test_sandbox_helper_of_a_launcher_that_was_killed_is_replaced),
        cmocka_unit_test(test_sandbox_nothing_is_left_when_it_is_closed),
        cmocka_unit_test(test_sandbox_zygote_with_a_masked_proc_is_made_anew),
    };
    return cmocka_run_group_tests(tests, open_once, close_once);
}
