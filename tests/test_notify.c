/* links: ops */
/* label: unit */
/* ops/notify.h against sockets of our own: what is sent, when, and to which kind of name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/notify.h"

static const int64_t second = CLOCK_NS_PER_S;

/* A manager's socket; "@..." is abstract. Exports its name. */
static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    memcpy(address.sun_path, name, strlen(name));
    if (name[0] == '@')
        address.sun_path[0] = 0;
    else
        unlink(name);
    socklen_t size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] != '@'));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return fd;
}

/* The next datagram; "" when there is none. */
static const char *heard(int fd)
{
    static char text[512];
    ssize_t got = recv(fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = 0;
    return text;
}

static void name_socket(char name[64], const char *kind)
{
    snprintf(name, 64, "%sweir-notify-%ld", kind, (long)getpid());
}

static void test_notify_ready_status_and_stopping_are_said_once(void **state)
{
    (void)state;
    char name[64], ready[64];
    struct notify notify;
    name_socket(name, "@");
    int fd = listen_at(name);
    notify_open(&notify);
    notify_tick(&notify, second, NOTIFY_STARTING, "loading\nmore");
    assert_string_equal(heard(fd), "STATUS=loading\n");
    notify_tick(&notify, 2 * second, NOTIFY_READY, "loading");
    snprintf(ready, sizeof ready, "READY=1\nMAINPID=%ld\n", (long)getpid());
    assert_string_equal(heard(fd), ready);
    assert_string_equal(heard(fd), ""); /* the status is the same */
    notify_tick(&notify, 3 * second, NOTIFY_READY, "step 1");
    assert_string_equal(heard(fd), "STATUS=step 1\n");
    notify_tick(&notify, 3 * second + 1, NOTIFY_READY, "step 2"); /* too soon */
    assert_string_equal(heard(fd), "");
    notify_tick(&notify, 5 * second, NOTIFY_STOPPING, NULL);
    notify_tick(&notify, 6 * second, NOTIFY_STOPPING, NULL);
    assert_string_equal(heard(fd), "STOPPING=1\n");
    assert_string_equal(heard(fd), "");
    notify_close(&notify);
    close(fd);
}

static void test_notify_watchdog_is_fed_twice_in_its_time(void **state)
{
    (void)state;
    char name[64];
    struct notify notify;
    unsigned fed = 0;
    name_socket(name, "/tmp/");
    int fd = listen_at(name);
    setenv("WATCHDOG_USEC", "2000000", 1);
    notify_open(&notify);
    for (int64_t ms = 0; ms < 10000; ms += 100) {
        notify_tick(&notify, (ms + 1) * CLOCK_NS_PER_MS, NOTIFY_READY, NULL);
        for (const char *text; (text = heard(fd))[0] != 0;)
            fed += strcmp(text, "WATCHDOG=1\n") == 0;
    }
    assert_in_range(fed, 9, 10);
    notify_close(&notify);
    setenv("WATCHDOG_PID", "1", 1); /* another process's */
    notify_open(&notify);
    assert_int_equal(notify.watchdog_ns, 0);
    notify_close(&notify);
    close(fd);
    unlink(name);
}

static void test_notify_without_a_manager_nothing_happens(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "relative", "@", "/"};
    struct notify notify;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        notify_open(&notify);
        assert_int_equal(notify.fd, -1);
        notify_tick(&notify, second, NOTIFY_READY, "status");
        assert_false(notify.ready);
    }
    unsetenv("NOTIFY_SOCKET");
    notify_open(&notify);
    assert_int_equal(notify.fd, -1);
    notify_close(&notify);
}

/* A manager that is not there yet, or reads nothing, is told again and never waited for. */
static void test_notify_a_manager_that_is_away_is_told_again(void **state)
{
    (void)state;
    char name[64];
    struct notify notify;
    name_socket(name, "@late-");
    setenv("NOTIFY_SOCKET", name, 1);
    notify_open(&notify);
    notify_tick(&notify, second, NOTIFY_READY, NULL);
    assert_false(notify.ready);
    int fd = listen_at(name);
    notify_tick(&notify, 2 * second, NOTIFY_READY, NULL);
    assert_true(notify.ready);
    assert_int_equal(strncmp(heard(fd), "READY=1\n", 8), 0);
    notify_close(&notify);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notify_ready_status_and_stopping_are_said_once),
        cmocka_unit_test(test_notify_watchdog_is_fed_twice_in_its_time),
        cmocka_unit_test(test_notify_without_a_manager_nothing_happens),
        cmocka_unit_test(test_notify_a_manager_that_is_away_is_told_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
