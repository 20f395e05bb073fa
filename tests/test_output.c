/* links: ops */
/* output: a reader that does not read costs lines and never time; afterwards it hears how many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "ops/output.h"

enum { LINES = 20000, LIMIT_MS = 5000, LAST_WORDS_MS = 50, DROPPED = 10, NONE_DROPPED, BAD };

/* In a process of its own, whose stdout is `fd`: prints, and says with its exit code what became of it. `go` is
 * readable once the other side has read. */
static void print_lines(int fd, int go)
{
    if (dup2(fd, STDOUT_FILENO) < 0)
        _exit(BAD);
    output_guard();
    printf("first\n");
    for (int i = 0; i < LINES; i++)
        printf("line %d of a run that goes on whether anybody reads this or not\n", i);
    uint64_t dropped = output_dropped();
    output_be_patient(LAST_WORDS_MS);
    printf("patience has an end\n");
    struct pollfd wait = {.fd = go, .events = POLLIN};
    poll(&wait, 1, LIMIT_MS);
    output_be_patient(LIMIT_MS);
    printf("last\n");
    fflush(stdout);
    _exit(dropped > 0 ? DROPPED : NONE_DROPPED);
}

static pid_t start(int fd, int go)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        print_lines(fd, go);
    close(fd);
    close(go);
    return pid;
}

/* Exit code; -1: it hung. */
static int end(pid_t pid)
{
    int ended = 0;
    for (int64_t until_ns = clock_now_ns() + LIMIT_MS * (int64_t)CLOCK_NS_PER_MS;
         clock_now_ns() < until_ns; clock_sleep_ms(2))
        if (waitpid(pid, &ended, WNOHANG) == pid)
            return WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
}

/* What comes until nothing comes for a while; NUL-terminated, its beginning and end matter. */
static void read_all(int fd, char *text, size_t size)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    size_t used = 0;
    while (poll(&wait, 1, 300) > 0) {
        ssize_t got = read(fd, text + used, size - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    text[used] = 0;
}

static void nobody_reads(int reader, int writer)
{
    static char text[1 << 20];
    int go[2];
    assert_int_equal(pipe(go), 0);
    pid_t pid = start(writer, go[0]);
    clock_sleep_ms(300);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it waits for us, not in a write */
    read_all(reader, text, sizeof text);
    assert_non_null(strstr(text, "first"));
    assert_null(strstr(text, "last"));
    assert_int_equal(write(go[1], "1", 1), 1);
    close(go[1]);
    read_all(reader, text, sizeof text);
    assert_non_null(strstr(text, "lines not shown"));
    assert_non_null(strstr(text, "last"));
    assert_int_equal(end(pid), DROPPED);
    close(reader);
}

static void test_output_to_a_pipe_that_nobody_reads_does_not_block(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    nobody_reads(fds[0], fds[1]);
}

static void test_output_to_a_socket_that_nobody_reads_does_not_block(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    nobody_reads(fds[0], fds[1]);
}

static void open_terminal(int *master, int *slave)
{
    *master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(*master >= 0 && grantpt(*master) == 0 && unlockpt(*master) == 0);
    *slave = open(ptsname(*master), O_RDWR | O_NOCTTY);
    assert_true(*slave >= 0);
}

static void test_output_to_a_terminal_that_nobody_reads_does_not_block(void **state)
{
    (void)state;
    int master, slave;
    open_terminal(&master, &slave);
    nobody_reads(master, slave);
}

static void test_output_to_a_terminal_after_ctrl_s_does_not_block(void **state)
{
    (void)state;
    static char text[1 << 20];
    int master, slave, go[2];
    open_terminal(&master, &slave);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(tcflow(slave, TCOOFF), 0);
    int mine = dup(slave);
    pid_t pid = start(slave, go[0]);
    clock_sleep_ms(300);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    assert_int_equal(tcflow(mine, TCOON), 0);
    assert_int_equal(write(go[1], "1", 1), 1);
    close(go[1]);
    read_all(master, text, sizeof text);
    assert_non_null(strstr(text, "last"));
    assert_int_equal(end(pid), DROPPED);
    close(mine);
    close(master);
}

static void test_output_to_a_file_is_whole(void **state)
{
    (void)state;
    int go[2];
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(pipe(go), 0);
    close(go[1]);
    assert_int_equal(end(start(dup(fileno(file)), go[0])), NONE_DROPPED);
    size_t lines = 0;
    rewind(file);
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    assert_int_equal(lines, LINES + 3);
    fclose(file);
}

static void test_output_logs_to_a_pipe_that_nobody_reads_do_not_block(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        log_init("weir", 0, LOG_LEVEL_WARN);
        if (dup2(fds[1], STDERR_FILENO) < 0)
            _exit(BAD);
        output_guard();
        while (output_dropped() == 0)
            fprintf(stderr, "one more line\n");
        uint64_t dropped = output_dropped();
        LOG_WARN("link", "store is silent", "seconds=%d", 3);
        _exit(output_dropped() > dropped ? DROPPED : NONE_DROPPED);
    }
    assert_int_equal(end(pid), DROPPED);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_to_a_pipe_that_nobody_reads_does_not_block),
        cmocka_unit_test(test_output_to_a_socket_that_nobody_reads_does_not_block),
        cmocka_unit_test(test_output_to_a_terminal_that_nobody_reads_does_not_block),
        cmocka_unit_test(test_output_to_a_terminal_after_ctrl_s_does_not_block),
        cmocka_unit_test(test_output_to_a_file_is_whole),
        cmocka_unit_test(test_output_logs_to_a_pipe_that_nobody_reads_do_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
