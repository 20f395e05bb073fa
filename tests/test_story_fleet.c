/* links: ops reward rollout_store PkgConfig::hiredis */
/* label: integration */
/* timeout: 120 */
/* An operator's day, each step one command: start, watch, drain one actor, scale to four, kill one, go on after everything
 * was killed at once, stop. Afterwards there is no process, no open port, no shared memory and no Redis left. */
#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "tests/local_port.h"
#include "tests/story_command.h"

enum { COMMAND_MS = 20000, SOON_MS = 20000, PORTS_MAX = 32, ACTORS_MAX = 6 };

static struct story_run run;
static struct story_text text;
static int ports[PORTS_MAX];
static size_t port_count;

/* ---- what is there ---- */

static json_t *status_now(void)
{
    assert_int_equal(story_weir(&text, COMMAND_MS, "status %s --json", run.path), 0);
    return story_json(&text);
}

static const json_t *process_in(const json_t *status, const char *name)
{
    size_t i;
    json_t *process;
    json_array_foreach(json_object_get(json_object_get(status, "fleet"), "processes"), i, process)
    {
        const char *is = json_string_value(json_object_get(process, "name"));
        if (is != NULL && strcmp(is, name) == 0)
            return process;
    }
    return NULL;
}

static const char *state_in(const json_t *status, const char *name)
{
    const char *state = json_string_value(json_object_get(process_in(status, name), "state"));
    return state != NULL ? state : "absent";
}

/* Until that process is in that state, as `weir status` says. */
static void await_state(const char *name, const char *wanted)
{
    char last[32] = "";
    for (int64_t end_ns = story_deadline_ns(SOON_MS); clock_now_ns() < end_ns; clock_sleep_ms(50)) {
        json_t *status = status_now();
        snprintf(last, sizeof last, "%s", state_in(status, name));
        json_decref(status);
        if (strcmp(last, wanted) == 0)
            return;
    }
    fail_msg("%s is %s, not %s", name, last, wanted);
}

static unsigned actors_running(void)
{
    json_t *status = status_now();
    unsigned count = 0;
    for (int i = 0; i < ACTORS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "actor.%d", i);
        count += strcmp(state_in(status, name), "running") == 0;
    }
    json_decref(status);
    return count;
}

static void await_more_steps(size_t more)
{
    size_t wanted = story_steps(&run) + more;
    for (int64_t end_ns = story_deadline_ns(SOON_MS);
         story_steps(&run) < wanted && clock_now_ns() < end_ns;)
        clock_sleep_ms(STORY_PAUSE_MS);
    assert_true(story_steps(&run) >= wanted);
}

/* ---- ports ---- */

static const char *get(int port, const char *path)
{
    static char answer[1 << 16];
    return local_get((unsigned)port, path, answer, sizeof answer);
}

/* A port that is open again is somebody else's by now, who does not know our run. */
static bool still_ours(int port)
{
    int fd = local_connect((unsigned)port, 2);
    if (fd < 0)
        return false;
    close(fd);
    return strstr(get(port, "/api/run"), run.name) != NULL ||
           strstr(get(port, "/metrics"), run.name) != NULL;
}

static int port_in(const char *name)
{
    char path[FILE_PATH_MAX], line[512];
    assert_int_equal(file_path(path, "%s/%s", run.path, name), STATUS_OK);
    story_read(path, line, sizeof line);
    const char *host = strstr(line, "127.0.0.1:");
    return host != NULL ? (int)strtol(host + 10, NULL, 10) : 0;
}

/* Of dashboard and monitors: all that the run has published by now. */
static void note_ports(void)
{
    char folder[FILE_PATH_MAX];
    ports[port_count++] = port_in("dash.url");
    assert_true(ports[0] > 0);
    assert_int_equal(file_path(folder, "%s/http", run.path), STATUS_OK);
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && port_count < PORTS_MAX;) {
        char name[300];
        snprintf(name, sizeof name, "http/%.250s", entry->d_name);
        int port = entry->d_name[0] != '.' ? port_in(name) : 0;
        if (port > 0)
            ports[port_count++] = port;
    }
    closedir(dir);
    print_message("%zu ports are published\n", port_count);
    for (size_t i = 0; i < port_count; i++)
        assert_true(still_ours(ports[i]));
    assert_true(port_count >= 6); /* dashboard, store, learner, two actors, reward worker */
}

/* ---- the day ---- */

static void start(void)
{
    char recipe[FILE_PATH_MAX];
    story_name_run(&run, "day");
    setenv("WEIR_FAULT", "learner.planned:*=sleep.30", 1);
    assert_int_equal(
        story_weir(&text, COMMAND_MS,
                   "up %s --name %s run.root=%s run.steps=100000 run.actors=2 redis.mode=start "
                   "dash.mode=start learner.checkpoint_every=5 optim.lr=1e-5 redis.publish_ms=100",
                   story_path(recipe, "recipe.yaml"), run.name, story_folder),
        0);
    assert_true(story_printed(&text, run.name));
    for (int64_t end_ns = story_deadline_ns(SOON_MS);
         (story_steps(&run) < 3 || actors_running() < 2) && clock_now_ns() < end_ns;)
        clock_sleep_ms(STORY_PAUSE_MS);
    assert_true(story_steps(&run) >= 3);
    assert_int_equal(actors_running(), 2);
}

static void watch(void)
{
    assert_int_equal(story_weir(&text, COMMAND_MS, "status %s", run.path), 0);
    assert_true(story_printed(&text, run.name) && story_printed(&text, "actor.1"));
    assert_int_equal(story_weir(&text, COMMAND_MS, "top %s --once", run.path), 0);
    assert_true(story_printed(&text, "learner.0") && story_printed(&text, "actor.1"));
    assert_int_equal(story_weir(&text, COMMAND_MS, "dash %s", run.path), 0);
    assert_true(story_printed(&text, "http://127.0.0.1:"));
    note_ports();
    const char *answer = get(ports[0], "/api/run");
    assert_non_null(strstr(answer, " 200 "));
    assert_non_null(strstr(answer, run.name));
    assert_non_null(strstr(answer, "\"running\""));
    answer = get(ports[0], "/");
    assert_non_null(strstr(answer, " 200 "));
    assert_non_null(strstr(answer, "<html"));
    assert_int_equal(story_weir(&text, COMMAND_MS, "why %s", run.path), 0);
}

static void drain_one(void)
{
    assert_int_equal(story_weir(&text, COMMAND_MS, "drain %s actor.1", run.path), 0);
    await_state("actor.1", "out");
    assert_int_equal(story_process(&run, "weir-actor", 1), 0);
    await_more_steps(2);
}

static void scale(void)
{
    assert_int_equal(story_weir(&text, COMMAND_MS, "scale %s actors=4", run.path), 0);
    print_message("four actors after %lld ms\n", (long long)text.ms);
    assert_int_equal(actors_running(), 4);
    await_more_steps(2);
}

static void kill_one(void)
{
    pid_t victim = story_process(&run, "weir-actor", 2);
    assert_true(victim > 0);
    assert_int_equal(kill(victim, SIGKILL), 0);
    for (int64_t end_ns = story_deadline_ns(SOON_MS); clock_now_ns() < end_ns;) {
        pid_t now = story_process(&run, "weir-actor", 2);
        if (now > 0 && now != victim)
            break;
        clock_sleep_ms(STORY_PAUSE_MS);
    }
    await_state("actor.2", "running");
    json_t *status = status_now();
    assert_int_equal(json_integer_value(json_object_get(process_in(status, "actor.2"), "restarts")),
                     1);
    json_decref(status);
    await_more_steps(2);
}

/* As when the machine goes down: the supervisor, too, and all of it at the same time. */
static void kill_everything(void)
{
    pid_t pids[STORY_PIDS];
    unsigned count = story_find("", "", pids);
    assert_true(count >= 8); /* supervisor, store, learner, four actors, reward worker */
    for (unsigned i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    int64_t ms = story_await_gone(STORY_GONE_MS);
    print_message("%u processes killed, gone after %lld ms, %zu steps so far\n", count,
                  (long long)ms, story_steps(&run));
    assert_true(ms >= 0);
    setenv("WEIR_RUN_ROOT", story_folder, 1);
    assert_int_equal(story_weir(&text, COMMAND_MS, "ls --json"), 0);
    assert_true(story_printed(&text, run.name) && story_printed(&text, "crashed"));
}

static void resume(void)
{
    size_t before = story_steps(&run);
    assert_int_equal(story_weir(&text, COMMAND_MS, "resume %s", run.path), 0);
    for (int64_t end_ns = story_deadline_ns(SOON_MS);
         story_steps(&run) < before + 5 && clock_now_ns() < end_ns;)
        clock_sleep_ms(STORY_PAUSE_MS);
    assert_true(story_steps(&run) >= before + 5);
    await_state("actor.1", "running");
    const char *answer = get(port_in("dash.url"), "/api/run");
    assert_non_null(strstr(answer, "\"attempt\":2"));
}

static void stop(void)
{
    port_count = 0;
    note_ports(); /* of this attempt */
    assert_int_equal(story_weir(&text, COMMAND_MS, "stop %s", run.path), 0);
    int64_t ms = story_await_gone(STORY_GONE_MS);
    print_message("stopped after %lld ms\n", (long long)text.ms);
    assert_true(ms >= 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, json_array_size(lines)); /* each once, through all of it */
    json_decref(lines);
}

static void nothing_is_left(void)
{
    char socket_path[FILE_PATH_MAX];
    for (size_t i = 0; i < port_count; i++)
        assert_false(still_ours(ports[i]));
    assert_int_equal(story_shared_memory(&run), 0);
    assert_int_equal(file_path(socket_path, "%s/redis.sock", run.path), STATUS_OK);
    redisContext *redis = redisConnectUnix(socket_path);
    assert_true(redis == NULL || redis->err != 0); /* and its keys with it */
    if (redis != NULL)
        redisFree(redis);
    assert_int_equal(story_weir(&text, COMMAND_MS, "ls --json"), 0);
    assert_true(story_printed(&text, run.name));
    assert_null(strstr(text.out, "crashed"));
}

static void test_story_fleet_one_day_of_an_operator(void **state)
{
    (void)state;
    start();
    watch();
    drain_one();
    scale();
    kill_one();
    kill_everything();
    resume();
    stop();
    nothing_is_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_fleet_one_day_of_an_operator)};
    story_begin("fleet");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
