/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* weir run without actors and two nodes that bring them, by tcp with keys and a port that the store chose. */
#include "tests/local_port.h"
#include "tests/story_command.h"
#include "transport/keys.h"

enum { SOON_MS = 40000, AWAY_MS = 4500 }; /* AWAY_MS: longer than a node's LOST_MS and LOOK_MS */

static char keys[FILE_PATH_MAX];

struct node {
    pid_t pid;
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
};

static void start_node(struct node *node, const struct story_run *run, const char *name,
                       const char *first)
{
    char part[FILE_PATH_MAX];
    const char *arguments[] = {"node",   run->path, "--name",        name,  "--actors",       "1",
                               "--wait", "30",      "--first-index", first, "--drained-code", "75",
                               NULL};
    snprintf(part, sizeof part, "%s.out", name);
    story_path(node->out, part);
    snprintf(part, sizeof part, "%s.err", name);
    story_path(node->err, part);
    node->pid = story_spawn("weir", arguments, node->out, node->err);
}

static void start(struct story_run *run, const char *name)
{
    char settings[2 * FILE_PATH_MAX];
    snprintf(settings, sizeof settings,
             "run.steps=1000000 run.actors=0 store.endpoint=tcp://*:0 run.keys=%s dash.mode=off "
             "store.dynamic_sampling=false",
             keys);
    story_start(run, name, settings);
}

/* Prometheus and probes reach the node's supervisor as any other process. */
static void assert_monitored(const struct story_run *run, const char *process, const char *child)
{
    static char answer[1 << 18];
    char path[FILE_PATH_MAX], address[200], wanted[200];
    assert_int_equal(file_path(path, "%s/http/%s", run->path, process), STATUS_OK);
    story_read(path, address, sizeof address);
    unsigned port = local_port_of(address);
    local_get(port, "/metrics", answer, sizeof answer);
    snprintf(wanted, sizeof wanted,
             "weir_supervisor_child_up{run=\"%s\",process=\"%s\",role=\"node\",child=\"%s\"} 1\n",
             run->name, process, child);
    assert_non_null(strstr(answer, wanted));
    assert_non_null(strstr(local_get(port, "/live", answer, sizeof answer), " 200 "));
    int64_t end_ns = story_deadline_ns(SOON_MS); /* it asks the store once a second */
    while (strstr(local_get(port, "/ready", answer, sizeof answer), " 200 ") == NULL) {
        assert_true(clock_now_ns() < end_ns);
        clock_sleep_ms(STORY_PAUSE_MS);
    }
}

/* What the commands say of a node's actor: where it is, and what is wrong with it. */
static void assert_seen(const struct story_run *run, const struct node *two)
{
    static struct story_text text;
    json_t *status, *row;
    size_t i;
    bool seen = false;
    assert_int_equal(story_weir(&text, SOON_MS, "status %s --json", run->path), 0);
    status = story_json(&text);
    json_array_foreach(json_object_get(json_object_get(status, "fleet"), "processes"), i, row)
    {
        const char *node = json_string_value(json_object_get(row, "node"));
        const char *name = json_string_value(json_object_get(row, "name"));
        seen = seen || (node != NULL && strcmp(node, "two") == 0 && strcmp(name, "actor.1") == 0);
    }
    json_decref(status);
    assert_true(seen);
    assert_int_equal(story_weir(&text, SOON_MS, "probe ready %s", run->path), 0);
    pid_t actor = story_process(run, "weir-actor", 1);
    assert_true(actor > 0);
    kill(actor, SIGSTOP);
    assert_int_equal(story_weir(&text, SOON_MS, "why %s", run->path), 0);
    kill(actor, SIGCONT);
    assert_true(story_printed(&text, "is stopped (state T)"));
    assert_true(story_printed(&text, "on node two"));
    assert_int_equal(waitpid(two->pid, NULL, WNOHANG), 0);
}

static void test_story_node_actors_come_and_go(void **state)
{
    (void)state;
    struct story_run run;
    struct node one, two, taken;
    start(&run, "nodes");
    start_node(&one, &run, "one", "0"); /* before the run has a folder, maybe */
    start_node(&two, &run, "two", "1");
    story_await_steps(&run, 3, SOON_MS);
    assert_monitored(&run, "node.one", "actor.0");
    assert_monitored(&run, "node.two", "actor.1");
    assert_seen(&run, &two);
    start_node(&taken, &run, "taken", "0");
    assert_int_equal(story_wait_pid(taken.pid, SOON_MS), 4);
    assert_true(story_said(taken.out, "--first-index"));
    for (int i = 0; i < 3; i++) /* Slurm's way */
        kill(two.pid, SIGTERM);
    assert_int_equal(story_wait_pid(two.pid, SOON_MS), 75); /* --drained-code */
    story_await_steps(&run, story_steps(&run) + 3, SOON_MS);
    kill(run.pid, SIGTERM);
    assert_int_equal(story_wait(&run, SOON_MS), 0);
    assert_int_equal(story_wait_pid(one.pid, SOON_MS), 0);
    assert_true(story_await_gone(STORY_GONE_MS) >= 0);
    assert_int_equal(story_shared_memory(&run), 0);
}

/* As when `weir run` takes long from its start to its store. */
static void lose_endpoint(const struct story_run *run, const struct node *node)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/endpoint", run->path), STATUS_OK);
    assert_int_equal(unlink(path), 0);
    clock_sleep_ms(AWAY_MS);
    assert_int_equal(waitpid(node->pid, NULL, WNOHANG), 0); /* it waits */
}

/* The run is killed and goes on at another port, some time later; the node follows it. kill -9 of a node leaves nothing. */
static void test_story_node_follows_a_run_and_dies_whole(void **state)
{
    (void)state;
    struct story_run run;
    struct node node;
    start(&run, "follow");
    start_node(&node, &run, "only", "0");
    story_await_steps(&run, 3, SOON_MS);
    size_t before = story_steps(&run);
    kill(run.pid, SIGKILL);
    story_wait_pid(run.pid, 5000);
    lose_endpoint(&run, &node);
    char settings[2 * FILE_PATH_MAX];
    snprintf(settings, sizeof settings,
             "run.steps=1000000 run.actors=0 store.endpoint=tcp://*:0 run.keys=%s dash.mode=off "
             "store.dynamic_sampling=false "
             "run.resume=true",
             keys);
    story_start(&run, "follow", settings);
    story_await_steps(&run, before + 5, SOON_MS);
    assert_true(story_said(node.out, "beginning again"));
    kill(node.pid, SIGKILL);
    int64_t end_ns = story_deadline_ns(STORY_GONE_MS);
    while (story_process(&run, "weir-actor", 0) != 0) {
        assert_true(clock_now_ns() < end_ns);
        clock_sleep_ms(STORY_PAUSE_MS);
    }
    story_wait_pid(node.pid, 5000);
    kill(run.pid, SIGTERM);
    assert_int_equal(story_wait(&run, SOON_MS), 0);
    assert_true(story_await_gone(STORY_GONE_MS) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_node_actors_come_and_go),
        STORY_TEST(test_story_node_follows_a_run_and_dies_whole),
    };
    story_begin("node");
    story_make_model(&(struct story_model){14, true});
    story_path(keys, "keys");
    assert_int_equal(keys_new(keys, false), STATUS_OK);
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
