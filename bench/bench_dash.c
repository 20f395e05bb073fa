/* links: dash PkgConfig::hiredis */
/* What the dashboard costs: the first answer of 100,000 steps, the way of a step from XADD to a viewer, and the processor time
 * of dashboard and Redis while 0, 1 and 50 viewers watch a run that makes a step a second, 20 rollouts a second and counters
 * of 8 processes twice a second. Viewers and publisher are processes of their own, so they do not count.
 *
 *     bench_dash [SECONDS]        JSON lines; needs redis-server */
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <sys/wait.h>

#include "tests/dash_world.h"

enum { STEPS = 100000, METRICS = 100, VIEWERS = 50, PROCESSES = 8 };

static char redis_path[96];
static _Atomic uint64_t *received; /* bytes by all viewers, in shared memory */

static pid_t start_redis(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis_path, "--save",
               "", "--logfile", "/dev/null", "--dir", "/tmp", (char *)NULL);
        _exit(127);
    }
    clock_sleep_ms(500);
    return pid;
}

/* Seconds of processor time that a process has used. */
static double used_by(pid_t pid)
{
    clockid_t id;
    struct timespec time = {0};
    if (clock_getcpuclockid(pid, &id) != 0)
        return 0;
    (void)clock_gettime(id, &time); /* lint: allow(clock_gettime): processor time of a process */
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void say(redisContext *redis, const char *text)
{
    redisReply *reply = redisCommand(redis, text);
    if (reply != NULL)
        freeReplyObject(reply);
}

/* One second of a run. */
static void publish(redisContext *redis, int step)
{
    static char text[16384];
    size_t size =
        (size_t)snprintf(text, sizeof text, "XADD weir:{tried}:metrics * step %d wall %d.250", step,
                         1700000000 + step);
    for (int i = 0; i < METRICS; i++)
        size +=
            (size_t)snprintf(text + size, sizeof text - size, " group/metric_%d %d.%d", i, step, i);
    say(redis, text);
    for (int tick = 0; tick < 20; tick++) {
        snprintf(
            text, sizeof text,
            "XADD weir:{tried}:rollouts * group %d sample %d attempt 1 tokens 42 version_min 1 "
            "version_max 2 finish eos score ok reward 1 source addition prompt 12+34= text "
            "7+3+0=10;2+1+1=04;1+2+0=03;2+4+0=06;06340",
            step, tick);
        say(redis, text);
        for (int i = 0; i < PROCESSES && tick % 10 == 0; i++) {
            snprintf(
                text, sizeof text,
                "HSET weir:{tried}:proc:actor:%d tokens %d running 16 waiting 2 version %d kv 0.5 "
                "tok_s 1234.5 host vm pid 77 device cpu",
                i, step * 100 + tick, step);
            say(redis, text);
        }
        if (tick % 10 == 0) {
            snprintf(text, sizeof text,
                     "HSET weir:{tried}:state version %d tokens %d groups_open 5", step,
                     step * 1000 + tick);
            say(redis, text);
        }
        clock_sleep_ms(48);
    }
}

static pid_t start_publisher(void)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    redisContext *redis = redisConnectUnix(redis_path);
    for (int step = STEPS + 1;; step++)
        publish(redis, step);
}

static pid_t start_viewers(const struct dash_world *world, int count)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    static char out[1 << 16];
    static const char ask[] = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct pollfd fds[VIEWERS];
    for (int i = 0; i < count; i++) {
        fds[i] = (struct pollfd){.fd = world_connect(world), .events = POLLIN};
        (void)!send(fds[i].fd, ask, sizeof ask - 1, MSG_NOSIGNAL);
    }
    while (poll(fds, (nfds_t)count, 1000) >= 0)
        for (int i = 0; i < count; i++)
            if (fds[i].revents != 0) {
                ssize_t got = recv(fds[i].fd, out, sizeof out, 0);
                if (got <= 0)
                    _exit(1);
                atomic_fetch_add(received, (uint64_t)got);
            }
    _exit(0);
}

static void measure(struct dash_world *world, pid_t redis, int viewers, int seconds)
{
    pid_t publisher = start_publisher();
    pid_t watchers = viewers > 0 ? start_viewers(world, viewers) : 0;
    clock_sleep_ms(16000 * (viewers == 0)); /* until nobody counts as watching */
    clock_sleep_ms(1500);
    uint64_t bytes = atomic_load(received);
    double dash_s = used_by(getpid()), redis_s = used_by(redis);
    int64_t begin_ns = clock_now_ns();
    clock_sleep_ms(seconds * 1000);
    double took_s = (double)(clock_now_ns() - begin_ns) / 1e9;
    double dash = (used_by(getpid()) - dash_s) / took_s,
           server = (used_by(redis) - redis_s) / took_s;
    printf("{\"bench\":\"dash_cpu\",\"viewers\":%d,\"dash_cores\":%.4f,\"redis_cores\":%.4f,"
           "\"viewer_bytes_s\":%.0f",
           viewers, dash, server,
           viewers > 0 ? (double)(atomic_load(received) - bytes) / took_s / viewers : 0.0);
    if (viewers == VIEWERS)
        printf(",\"limit_cores\":0.20,\"ok\":%s", dash + server <= 0.20 ? "true" : "false");
    printf("}\n");
    fflush(stdout);
    if (watchers > 0) {
        kill(watchers, SIGKILL);
        waitpid(watchers, NULL, 0);
    }
    kill(publisher, SIGKILL);
    waitpid(publisher, NULL, 0);
}

static void fill(struct dash_world *world)
{
    struct board *board = &world->dash.board;
    char name[64];
    board_lock(board);
    for (int step = 1; step <= STEPS; step++) {
        size_t row;
        bool fresh;
        WORLD_CHECK(
            metric_table_row(&board->metrics, step, 1600000000 + step * 0.731, &row, &fresh));
        for (int i = 0; i < METRICS; i++) {
            snprintf(name, sizeof name, "group/metric_%d", i);
            WORLD_CHECK(metric_table_set(&board->metrics, row, name, 0.37 * step / (i + 1.3)));
        }
    }
    board_unlock(board);
}

static void measure_answer(struct dash_world *world, const char *what, const char *path,
                           double limit_ms)
{
    double worst = 0, sum = 0, cpu_s = used_by(getpid());
    enum { TIMES = 20 };
    for (int i = 0; i < TIMES; i++) {
        int64_t begin_ns = clock_now_ns();
        if (world_ask(world, "GET", path, "", "") != 200)
            abort();
        double ms = (double)(clock_now_ns() - begin_ns) / 1e6;
        sum += ms;
        worst = ms > worst ? ms : worst;
    }
    printf("{\"bench\":\"dash_answer\",\"what\":\"%s\",\"bytes\":%zu,\"mean_ms\":%.2f,\"worst_ms\":"
           "%.2f,"
           "\"cpu_ms\":%.2f,\"limit_ms\":%.0f,\"ok\":%s}\n",
           what, world->size, sum / TIMES, worst, (used_by(getpid()) - cpu_s) * 1e3 / TIMES,
           limit_ms, sum / TIMES <= limit_ms ? "true" : "false");
}

static void measure_latency(struct dash_world *world)
{
    static char out[1 << 20];
    static const char ask[] = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    redisContext *redis = redisConnectUnix(redis_path);
    int fd = world_connect(world);
    (void)!send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL);
    double worst = 0, sum = 0;
    enum { TIMES = 50 };
    for (int i = 0; i < TIMES; i++) {
        char text[200], wanted[40];
        size_t got = 0;
        clock_sleep_ms(37);
        snprintf(wanted, sizeof wanted, "\"step\":%d,", 3 * STEPS + i);
        snprintf(text, sizeof text, "XADD weir:{tried}:metrics * step %d wall %d.5 reward/mean 1",
                 3 * STEPS + i, 1800000000 + i);
        int64_t begin_ns = clock_now_ns();
        say(redis, text);
        for (out[0] = 0; strstr(out, wanted) == NULL && got < sizeof out - 1; out[got] = 0) {
            ssize_t part = recv(fd, out + got, sizeof out - got - 1, 0);
            if (part <= 0)
                abort();
            got += (size_t)part;
        }
        double ms = (double)(clock_now_ns() - begin_ns) / 1e6;
        sum += ms;
        worst = ms > worst ? ms : worst;
    }
    close(fd);
    redisFree(redis);
    printf("{\"bench\":\"dash_latency\",\"mean_ms\":%.2f,\"worst_ms\":%.2f,\"limit_ms\":1000,"
           "\"ok\":%s}\n",
           sum / TIMES, worst, worst <= 1000 ? "true" : "false");
}

int main(int argc, char **argv)
{
    static struct dash_world world;
    int seconds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10;
    snprintf(redis_path, sizeof redis_path, "/tmp/weir-bench-dash-%d.sock", (int)getpid());
    received =
        mmap(NULL, sizeof *received, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (received == MAP_FAILED)
        return 1;
    pid_t redis = start_redis();
    world_folder(&world);
    world_open(&world, "127.0.0.1:0", redis_path);
    measure(&world, redis, 0, seconds);
    measure(&world, redis, 1, seconds);
    measure(&world, redis, VIEWERS, seconds);
    fill(&world);
    measure_answer(&world, "100k steps of one metric", "/api/metrics?names=group/metric_0", 50);
    measure_answer(&world, "the same with points=2000",
                   "/api/metrics?names=group/metric_0&points=2000", 50);
    measure_answer(
        &world, "16 metrics with points=300",
        "/api/metrics?points=300&names=group/metric_0,group/metric_1,group/metric_2,group/"
        "metric_3,group/metric_4,group/metric_5,group/metric_6,group/metric_7,group/metric_8,"
        "group/metric_9,group/metric_10,group/metric_11,group/metric_12,group/metric_13,group/"
        "metric_14,group/metric_15",
        50);
    measure_latency(&world);
    world_close(&world);
    kill(redis, SIGKILL);
    waitpid(redis, NULL, 0);
    unlink(redis_path);
    return 0;
}
