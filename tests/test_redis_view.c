/* links: transport core PkgConfig::hiredis Threads::Threads */
/* label: integration */
/* timeout: 60 */
/* The Redis view against a real redis-server on a unix socket, one that dies, and things that are none. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/file.h"
#include "tests/slow.h"
#include "transport/redis_view.h"

enum { PATIENCE_MS = 10000 };

static char folder[64], path[96];

/* Settings of a client; two at a time are good. */
static const struct redis_settings *at(const char *address, const char *password)
{
    static struct redis_settings made[2];
    static int number;
    struct redis_settings *settings = &made[number++ % 2];
    *settings = (struct redis_settings){.mode = REDIS_CONNECT,
                                        .address = address,
                                        .user = "",
                                        .password = password != NULL ? password : "",
                                        .sentinels = "",
                                        .master = ""};
    return settings;
}

static pid_t redis_start(const char *password)
{
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--dir", folder, password != NULL ? "--requirepass" : NULL,
               password, NULL);
        _exit(127);
    }
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        if (redis_probe(at(path, password)) == STATUS_OK)
            return child;
        clock_sleep_ms(10);
    }
    fail_msg("redis-server did not start: %s", status_last_error());
    return -1;
}

static void redis_kill(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static int setup(void **state)
{
    (void)state;
    static int number;
    snprintf(folder, sizeof folder, "/tmp/weir-redis-%d-%d", (int)getpid(), number++);
    snprintf(path, sizeof path, "%s/redis.sock", folder);
    return mkdir(folder, 0700);
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(folder) == STATUS_OK ? 0 : 1;
}

/* True when the reply to `command` is (or, for integers, reads as) `wanted`; polled until patience ends. */
static bool redis_says(const char *wanted, const char *fmt, const char *argument)
{
    char got[256] = "";
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        redisContext *context = redisConnectUnix(path);
        redisReply *reply = context->err == 0 ? redisCommand(context, fmt, argument) : NULL;
        if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
            snprintf(got, sizeof got, "%lld", reply->integer);
        else if (reply != NULL && reply->str != NULL)
            snprintf(got, sizeof got, "%s", reply->str);
        freeReplyObject(reply);
        redisFree(context);
        if (strcmp(got, wanted) == 0)
            return true;
        clock_sleep_ms(10);
    }
    print_error("\"%s\": got \"%s\", wanted \"%s\"\n", fmt, got, wanted);
    return false;
}

static void test_redis_view_hashes_and_streams_appear(void **state)
{
    (void)state;
    pid_t redis = redis_start(NULL);
    struct redis_view *view = NULL;
    assert_int_equal(redis_view_open(&view, "r1", at(path, NULL)), STATUS_OK);
    for (int i = 0; i < 2000 && !redis_says("1", "ZCARD %s", "weir:runs"); i++)
        clock_sleep_ms(1);
    redis_view_hash(
        view, "proc:actor:3",
        "{\"tokens\":12,\"rate\":0.5,\"host\":\"a b\\u00e9\",\"ok\":true,\"gpu\":[1,2]}", 15);
    assert_true(redis_says("12", "HGET %s tokens", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("0.5", "HGET %s rate", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("a b\xc3\xa9", "HGET %s host", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("1", "HGET %s ok", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("[1,2]", "HGET %s gpu", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("15", "TTL %s", "weir:{r1}:proc:actor:3"));
    redis_view_hash(view, "meta", "{\"model\":\"tiny\"}", 0);
    assert_true(redis_says("604800", "TTL %s", "weir:{r1}:meta"));
    for (int i = 0; i < 1000; i++)
        redis_view_stream(view, "metrics", "{\"step\":1}", 0);
    assert_true(redis_says("1000", "XLEN %s", "weir:{r1}:metrics"));
    redis_view_stream(view, "metrics", "{\"step\":2}", 100);
    redis_view_hash(view, "mark", "{\"x\":1}", 0);
    assert_true(redis_says("1", "HGET %s x", "weir:{r1}:mark"));
    assert_true(redis_says("1", "EXISTS %s", "weir:{r1}:metrics"));
    redisContext *context = redisConnectUnix(path);
    redisReply *reply = redisCommand(context, "XLEN weir:{r1}:metrics");
    assert_in_range(reply->integer, 100, 300);
    freeReplyObject(reply);
    redisFree(context);
    assert_int_equal(redis_view_dropped(view), 0);
    redis_view_hash(view, "last", "{\"x\":1}", 0);
    redis_view_close(&view); /* flushes */
    assert_null(view);
    assert_true(redis_says("1", "HGET %s x", "weir:{r1}:last"));
    redis_kill(redis);
}

static void test_redis_view_bad_objects_are_counted_and_others_pass(void **state)
{
    (void)state;
    pid_t redis = redis_start(NULL);
    struct redis_view *view = NULL;
    assert_int_equal(redis_view_open(&view, "r1", at(path, NULL)), STATUS_OK);
    assert_true(redis_says("1", "ZCARD %s", "weir:runs"));
    static const char *const bad[] = {"", "{", "[1]", "{}", "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < 5; i++)
        redis_view_hash(view, "state", bad[i], 0);
    redis_view_stream(view, "state2", "{\"a\":1}", 0);
    redis_view_hash(view, "state2", "{\"a\":1}", 0); /* WRONGTYPE */
    redis_view_hash(view, "good", "{\"a\":7}", 0);
    assert_true(redis_says("7", "HGET %s a", "weir:{r1}:good"));
    for (int i = 0; i < 1000 && redis_view_dropped(view) < 6; i++)
        clock_sleep_ms(1);
    assert_int_equal(redis_view_dropped(view), 6);
    redis_view_close(&view);
    redis_kill(redis);
}

/* Slowest of `count` pushes, in microseconds; *late counts those over 1 ms. */
static int64_t slowest_push_us(struct redis_view *view, int count, int *late)
{
    int64_t slowest = 0;
    for (int i = 0; i < count; i++) {
        int64_t began = clock_now_ns();
        redis_view_stream(view, "metrics", "{\"step\":1,\"loss\":0.25,\"reward\":0.5}", 1000);
        int64_t took = clock_now_ns() - began;
        slowest = took > slowest ? took : slowest;
        *late += took > CLOCK_NS_PER_MS;
    }
    return slowest / 1000;
}

/* A push takes under 1 ms, but for a few in 20,000 that lose their core to somebody else; one that waits for Redis would lose 500 ms. */
static void test_redis_view_pushes_never_wait_for_a_dead_or_stopped_redis(void **state)
{
    (void)state;
    struct redis_view *view = NULL;
    pid_t redis = redis_start(NULL);
    assert_int_equal(redis_view_open(&view, "r1", at(path, NULL)), STATUS_OK);
    assert_true(redis_says("1", "ZCARD %s", "weir:runs"));
    int late = 0;
    int64_t alive = slowest_push_us(view, 5000, &late);
    kill(redis, SIGSTOP);
    int64_t stopped = slowest_push_us(view, 10000, &late);
    kill(redis, SIGCONT);
    redis_kill(redis);
    int64_t dead = slowest_push_us(view, 5000, &late);
    print_message("slowest push: alive %lld us, stopped %lld us, dead %lld us\n", (long long)alive,
                  (long long)stopped, (long long)dead);
    assert_true(alive < 100000 && stopped < 100000 && dead < 100000);
    assert_in_range(late, 0, test_times(20, 200));
    for (int i = 0; i < 3000 && redis_view_dropped(view) == 0; i++)
        clock_sleep_ms(1);
    assert_true(redis_view_dropped(view) > 0);
    redis = redis_start(NULL);
    for (int i = 0; i < 150; i++) { /* it comes back by itself */
        redis_view_hash(view, "state", "{\"step\":5}", 0);
        clock_sleep_ms(10);
    }
    assert_true(redis_says("5", "HGET %s step", "weir:{r1}:state"));
    assert_true(redis_says("1", "ZCARD %s", "weir:runs"));
    redis_view_close(&view);
    redis_kill(redis);
}

static void test_redis_view_without_redis_closes_quickly(void **state)
{
    (void)state;
    struct redis_view *view = NULL;
    assert_int_equal(redis_view_open(&view, "r1", at(path, NULL)), STATUS_OK);
    redis_view_hash(view, "state", "{\"step\":5}", 0);
    int64_t began = clock_now_ns();
    redis_view_close(&view);
    assert_true(clock_now_ns() - began < 2 * CLOCK_NS_PER_S);
    redis_view_close(&view); /* NULL: mode off */
    redis_view_hash(view, "state", "{}", 0);
    redis_view_stream(view, "state", "{}", 0);
    assert_int_equal(redis_view_dropped(view), 0);
}

static void test_redis_view_password_is_used_and_its_lack_is_said(void **state)
{
    (void)state;
    pid_t redis = redis_start("secret");
    assert_int_equal(redis_probe(at(path, "secret")), STATUS_OK);
    assert_int_equal(redis_probe(at(path, NULL)), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "NOAUTH"));
    assert_int_equal(redis_probe(at(path, "wrong")), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "refuses AUTH"));
    assert_null(strstr(status_last_error(), "wrong\""));
    redis_kill(redis);
}

static struct redis_settings as(const char *user, const char *password)
{
    struct redis_settings settings = *at(path, password);
    settings.user = user;
    return settings;
}

static void order(const char *command)
{
    redisContext *context = redisConnectUnix(path);
    redisReply *reply = redisCommand(context, command);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
    redisFree(context);
}

static void expect_refusal(const char *user, const char *password, const char *word,
                           const char *advice)
{
    struct redis_settings settings = as(user, password);
    assert_int_equal(redis_probe(&settings), STATUS_INVALID);
    if (strstr(status_last_error(), word) == NULL || strstr(status_last_error(), advice) == NULL)
        print_error("%s\n", status_last_error());
    assert_non_null(strstr(status_last_error(), word));
    assert_non_null(strstr(status_last_error(), advice));
}

/* The line of docs/redis.md is enough for all that a view does, and no more than that. */
static void test_redis_view_user_of_the_documents_may_do_its_work(void **state)
{
    (void)state;
    pid_t redis = redis_start(NULL);
    struct redis_settings settings = as("weir", "pw");
    struct redis_view *view = NULL;
    expect_refusal("weir", "pw", "WRONGPASS", "check redis.user");
    expect_refusal("", "pw", "without any password configured", "leave WEIR_REDIS_PASSWORD");
    order("ACL SETUSER weir on >pw resetkeys ~weir:* resetchannels -@all +ping +role +info "
          "+client|setname +hset +expire +del +unlink +xadd +xlen +xrange +xrevrange +xtrim +zadd "
          "+zrem +zremrangebyscore +rename +scan");
    char metrics[128];
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", folder);
    FILE *file = fopen(metrics, "w");
    assert_non_null(file);
    fputs("{\"step\":1}\n{\"step\":2}\n", file);
    fclose(file);
    assert_int_equal(redis_view_open(&view, "r1", &settings), STATUS_OK);
    redis_view_refill(view, "metrics", metrics, 100);
    redis_view_hash(view, "proc:actor:3", "{\"tokens\":12}", 15);
    redis_view_stream(view, "events", "{\"text\":\"a\"}", 100);
    assert_true(redis_says("12", "HGET %s tokens", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("0", "HGET %s view_dropped", "weir:{r1}:proc:actor:3"));
    assert_true(redis_says("2", "XLEN %s", "weir:{r1}:metrics"));
    assert_true(redis_says("1", "XLEN %s", "weir:{r1}:events"));
    assert_int_equal(redis_view_dropped(view), 0);
    redis_view_close(&view);
    assert_true(redis_says("0", "EXISTS %s", "weir:{r1}:proc:actor:3")); /* at once */
    assert_int_equal(redis_forget_run("r1", &settings), STATUS_OK);
    assert_true(redis_says("0", "DBSIZE", ""));
    order("ACL SETUSER weir -ping -role -info -client|setname -scan");
    assert_int_equal(redis_probe(&settings), STATUS_OK); /* courtesies only */
    assert_int_equal(redis_forget_run("r1", &settings), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "NOPERM"));
    assert_non_null(strstr(status_last_error(), "ACL line of docs/redis.md"));
    redis_kill(redis);
}

/* A stopped Redis is left after the time-out of a connection that was made anew, too. */
static void test_redis_view_time_outs_hold_after_a_reconnection(void **state)
{
    (void)state;
    pid_t redis = redis_start(NULL);
    struct redis_view *view = NULL;
    assert_int_equal(redis_view_open(&view, "r1", at(path, NULL)), STATUS_OK);
    assert_true(redis_says("1", "ZCARD %s", "weir:runs"));
    redis_kill(redis);
    clock_sleep_ms(50);
    redis = redis_start(NULL);
    assert_true(redis_says("1", "ZCARD %s", "weir:runs"));
    kill(redis, SIGSTOP);
    redis_view_hash(view, "state", "{\"step\":5}", 0);
    int64_t began = clock_now_ns();
    while (redis_view_dropped(view) == 0 && clock_now_ns() - began < 5 * CLOCK_NS_PER_S)
        clock_sleep_ms(5);
    int64_t ms = (clock_now_ns() - began) / CLOCK_NS_PER_MS;
    print_message("left the stopped Redis after %lld ms\n", (long long)ms);
    assert_in_range(ms, 0, 3000);
    began = clock_now_ns();
    redis_view_close(&view);
    assert_true(clock_now_ns() - began < 2 * CLOCK_NS_PER_S);
    kill(redis, SIGCONT);
    redis_kill(redis);
}

/* ---- things that are not Redis ---- */

struct stranger {
    int fd, port;
    const char *reply; /* NULL: says nothing; "": closes */
    _Atomic bool stop;
    pthread_t thread;
};

static void *serve(void *self)
{
    struct stranger *stranger = self;
    int client = accept(stranger->fd, NULL, NULL);
    char request[256];
    ssize_t got = read(client, request, sizeof request);
    (void)got;
    if (stranger->reply != NULL && stranger->reply[0] != '\0') {
        ssize_t sent = write(client, stranger->reply, strlen(stranger->reply));
        (void)sent;
    }
    while (stranger->reply == NULL && !atomic_load(&stranger->stop))
        clock_sleep_ms(5);
    close(client);
    return NULL;
}

static void expect_stranger(const char *reply, enum status wanted, const char *part)
{
    struct stranger stranger = {.reply = reply};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    stranger.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(stranger.fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(stranger.fd, 4), 0);
    assert_int_equal(getsockname(stranger.fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(pthread_create(&stranger.thread, NULL, serve, &stranger), 0);
    char where[32];
    snprintf(where, sizeof where, "127.0.0.1:%d", ntohs(address.sin_port));
    enum status status = redis_probe(at(where, NULL));
    atomic_store(&stranger.stop, true);
    pthread_join(stranger.thread, NULL);
    close(stranger.fd);
    if (strstr(status_last_error(), part) == NULL)
        print_error("%s\n", status_last_error());
    assert_int_equal(status, wanted);
    assert_non_null(strstr(status_last_error(), part));
    assert_int_equal(redis_probe(at(where, NULL)), STATUS_NOT_FOUND); /* nobody listens now */
    assert_non_null(strstr(status_last_error(), "is redis-server running?"));
}

static void test_redis_view_strangers_are_named(void **state)
{
    (void)state;
    expect_stranger("HTTP/1.1 400 Bad Request\r\n\r\n", STATUS_INVALID, "it is not Redis");
    expect_stranger("SSH-2.0-OpenSSH_9.2p1 Debian\r\n", STATUS_INVALID, "it is an SSH server");
    expect_stranger("HTTP/1.1 400 Bad Request\r\n\r\n", STATUS_INVALID, "it is a web server");
    expect_stranger("220 mail.example ESMTP\r\n", STATUS_INVALID, "mail or FTP");
    expect_stranger("\x15\x03\x01", STATUS_INVALID, "stunnel");
    expect_stranger("-ERR what?\r\n", STATUS_INVALID, "refuses PING: ERR what?");
    expect_stranger("+OK\r\n", STATUS_INVALID, "does not say PONG");
    expect_stranger("-LOADING Redis is loading the dataset in memory\r\n", STATUS_AGAIN, "wait");
    expect_stranger("-DENIED Redis is running in protected mode\r\n", STATUS_INVALID, "loopback");
    expect_stranger("", STATUS_INVALID, "closes the connection on PING");
    expect_stranger(NULL, STATUS_TIMEOUT, "does not answer PING within 500 ms");
}

static void test_redis_view_bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "host", ":6379", "host:", "host:x", "host:0", "host:65536", "host:123456"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct redis_view *view = NULL;
        assert_int_equal(redis_view_open(&view, "r1", at(bad[i], NULL)), STATUS_INVALID);
        assert_null(view);
        assert_non_null(strstr(status_last_error(), "host:port"));
    }
    assert_int_equal(redis_probe(at(path, NULL)), STATUS_NOT_FOUND);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_redis_view_hashes_and_streams_appear),
        CASE(test_redis_view_bad_objects_are_counted_and_others_pass),
        CASE(test_redis_view_pushes_never_wait_for_a_dead_or_stopped_redis),
        CASE(test_redis_view_without_redis_closes_quickly),
        CASE(test_redis_view_password_is_used_and_its_lack_is_said),
        CASE(test_redis_view_user_of_the_documents_may_do_its_work),
        CASE(test_redis_view_time_outs_hold_after_a_reconnection),
        CASE(test_redis_view_strangers_are_named),
        CASE(test_redis_view_bad_addresses_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
