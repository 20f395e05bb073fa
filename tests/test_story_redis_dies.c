/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 240 */
/* Redis is a view: killed with -9 in the middle of a run, and killed again when it is back, it costs no step.
 * Stopped for 5 s, out of memory, with another password, killed and started again it costs nothing either, and the
 * view is back afterwards. */
#include "tests/chaos_story.h"
#include "tests/story_command.h"

enum { STEPS = 120, MOODY_STEPS = 350, LIMIT_MS = 60000, SOON_MS = 20000 };

static pid_t redis_of(const struct story_run *run)
{
    pid_t pids[STORY_PIDS];
    return story_find("redis-server", run->name, pids) > 0 ? pids[0] : 0;
}

static void test_story_redis_dies_costs_no_step(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "run", "run.steps=120 redis.mode=start redis.publish_ms=50");
    story_await_steps(&run, 2, SOON_MS);
    pid_t redis = redis_of(&run);
    assert_true(redis > 0);
    assert_int_equal(kill(redis, SIGSTOP), 0);
    clock_sleep_ms(500); /* until the supervisor has seen it */
    static struct story_text text;
    assert_int_equal(story_weir(&text, SOON_MS, "why %s", run.path), 0);
    assert_null(strstr(text.out, "redis (pid"));
    assert_int_equal(kill(redis, SIGKILL), 0);
    size_t at = story_steps(&run);
    int64_t begin_ns = clock_now_ns();
    story_await_steps(&run, at + 1, SOON_MS);
    print_message("redis killed after step %zu, the next one came %lld ms later\n", at,
                  (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS));
    for (int64_t end_ns = story_deadline_ns(SOON_MS);
         redis_of(&run) == 0 && clock_now_ns() < end_ns && story_steps(&run) + 5 < STEPS;)
        clock_sleep_ms(STORY_PAUSE_MS);
    if (redis_of(&run) > 0)
        kill(redis_of(&run), SIGKILL);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    json_decref(lines);
}

/* ---- a Redis of our own, in every bad mood ---- */

struct moody {
    char socket[FILE_PATH_MAX], key[FILE_PATH_MAX];
    pid_t pid;
    struct story_run run;
};

static void start_redis(struct moody *moody)
{
    moody->pid = fork();
    assert_true(moody->pid >= 0);
    if (moody->pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", moody->socket, "--save",
           "", "--appendonly", "no", "--requirepass", "first", (char *)NULL);
    _exit(127);
}

/* redis-cli's answer to one command, its end of line cut off. */
static void ask_redis(const struct moody *moody, const char *password, const char *command,
                      char *answer, size_t size)
{
    char line[3 * FILE_PATH_MAX];
    snprintf(line, sizeof line, "timeout 2 redis-cli -s %s -a %s --no-auth-warning %s 2>/dev/null",
             moody->socket, password, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t got = fread(answer, 1, size - 1, pipe);
    answer[got] = 0;
    answer[strcspn(answer, "\n")] = 0;
    pclose(pipe);
}

static void order_redis(const struct moody *moody, const char *password, const char *command)
{
    char answer[200];
    ask_redis(moody, password, command, answer, sizeof answer);
    if (strncmp(answer, "OK", 2) != 0 && strtol(answer, NULL, 10) <= 0)
        print_message("redis-cli %s: %s\n", command, answer);
}

static uint64_t version_in_view(const struct moody *moody)
{
    char command[2 * FILE_PATH_MAX], answer[200];
    snprintf(command, sizeof command, "HGET '%s' version", moody->key);
    ask_redis(moody, "first", command, answer, sizeof answer);
    return strtoull(answer, NULL, 10);
}

/* Until the view shows a version as new as metrics.jsonl has now; how long that took. */
static int64_t await_view(const struct moody *moody, const char *after)
{
    size_t steps = story_steps(&moody->run);
    int64_t begin_ns = clock_now_ns(), end_ns = story_deadline_ns(SOON_MS);
    while (version_in_view(moody) < steps && clock_now_ns() < end_ns)
        clock_sleep_ms(50);
    int64_t ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    print_message("%s: the view is back after %lld ms\n", after, (long long)ms);
    assert_true(version_in_view(moody) >= steps);
    return ms;
}

/* Training does not care: steps follow each other while Redis is unwell. */
static void train_on(const struct moody *moody, const char *mood, int64_t ms)
{
    size_t before = story_steps(&moody->run);
    clock_sleep_ms(ms);
    size_t after = story_steps(&moody->run);
    print_message("%s: %zu steps in %lld ms\n", mood, after - before, (long long)ms);
    assert_true(after >= before + 5);
}

static void stop_and_continue(struct moody *moody)
{
    kill(moody->pid, SIGSTOP);
    train_on(moody, "redis stopped", 5000);
    kill(moody->pid, SIGCONT);
    await_view(moody, "redis stopped");
}

static void fill_up(struct moody *moody)
{
    order_redis(moody, "first", "CONFIG SET maxmemory 1");
    train_on(moody, "redis full", 2000);
    order_redis(moody, "first", "CONFIG SET maxmemory 0");
    await_view(moody, "redis full");
}

static void change_password(struct moody *moody)
{
    order_redis(moody, "first", "CONFIG SET requirepass second");
    order_redis(moody, "second", "CLIENT KILL TYPE normal SKIPME yes");
    train_on(moody, "password changed", 2000);
    order_redis(moody, "second", "CONFIG SET requirepass first");
    await_view(moody, "password changed");
}

static void kill_and_restart(struct moody *moody)
{
    kill(moody->pid, SIGKILL);
    assert_int_equal(story_wait_pid(moody->pid, 5000), 128 + SIGKILL);
    train_on(moody, "redis killed", 2000);
    unlink(moody->socket);
    start_redis(moody);
    await_view(moody, "redis killed");
}

static void test_story_redis_in_every_mood_costs_nothing(void **state)
{
    (void)state;
    struct moody moody = {0};
    struct audit audit;
    char settings[2 * FILE_PATH_MAX];
    story_path(moody.socket, "redis.sock");
    start_redis(&moody);
    for (int i = 0; i < 400 && access(moody.socket, F_OK) != 0; i++)
        clock_sleep_ms(STORY_PAUSE_MS);
    snprintf(settings, sizeof settings,
             "run.steps=%d redis.mode=connect redis.address=%s redis.password=first "
             "redis.publish_ms=50 optim.lr=1e-5 store.max_staleness=0",
             MOODY_STEPS, moody.socket);
    setenv("WEIR_FAULT", "learner.planned:*=sleep.50", 1); /* so that it lasts */
    story_start(&moody.run, "moody", settings);
    unsetenv("WEIR_FAULT");
    assert_int_equal(file_path(moody.key, "weir:{%s}:state", moody.run.name), STATUS_OK);
    story_await_steps(&moody.run, 2, SOON_MS);
    await_view(&moody, "begun");
    stop_and_continue(&moody);
    fill_up(&moody);
    change_password(&moody);
    kill_and_restart(&moody);
    assert_true(story_steps(&moody.run) < MOODY_STEPS);
    chaos_finish(
        &audit, &moody.run, "moody",
        &(struct audit_rules){.group_size = 4, .groups_per_publish = 4, .steps = MOODY_STEPS},
        LIMIT_MS);
    audit_free(&audit);
    kill(moody.pid, SIGKILL);
    assert_int_equal(story_wait_pid(moody.pid, 5000), 128 + SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_redis_dies_costs_no_step),
                                       STORY_TEST(test_story_redis_in_every_mood_costs_nothing)};
    story_begin("redis_dies");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
