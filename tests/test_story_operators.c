/* links: ops reward */
/* label: integration */
/* timeout: 150 */
/* What operators and their surroundings do to a run: parents that ignore signals, outputs that nobody reads, ends before
 * the start, settings of another version, and commands that must say no. */
#include <sys/file.h>

#include "tests/story_command.h"

enum { LIMIT_MS = 30000, SOON_MS = 10000, STEPS_SOON = 3 };

static struct story_text text;

/* ---- weir in other surroundings ---- */

struct launch {
    void (*before)(void); /* in the child */
    const char *directory;
    int out;     /* -1: a file, launch.out */
    bool is_run; /* it lives beside a later one: run.out and run.err */
};

/* `weir WORDS...`, with blanks between them; stderr goes to launch.err. Its pid. */
PRINTF_LIKE(2, 3) static pid_t launch(const struct launch *how, const char *fmt, ...)
{
    char words[4096], program[FILE_PATH_MAX], out[FILE_PATH_MAX], err[FILE_PATH_MAX], *rest = NULL;
    char *arguments[STORY_ARGUMENTS] = {program};
    size_t count = 1;
    va_list values;
    va_start(values, fmt);
    vsnprintf(words, sizeof words, fmt, values);
    va_end(values);
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        arguments[count++] = word;
    assert_int_equal(file_path(program, "%s/bin/weir", BUILD_DIR), STATUS_OK);
    story_path(out, how->is_run ? "run.out" : "launch.out");
    story_path(err, how->is_run ? "run.err" : "launch.err");
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out_fd = how->out >= 0 ? how->out : story_open_output(out);
    if (getppid() != parent || chdir(how->directory != NULL ? how->directory : SOURCE_DIR) != 0 ||
        dup2(out_fd, STDOUT_FILENO) < 0 || dup2(story_open_output(err), STDERR_FILENO) < 0)
        _exit(126);
    if (how->before != NULL)
        how->before();
    execv(program, arguments);
    _exit(126);
}

static bool complained(const char *part)
{
    char path[FILE_PATH_MAX];
    return story_said(story_path(path, "launch.err"), part);
}

static const char *const endless =
    "run.steps=100000 learner.checkpoint_every=1000 "
    "store.max_staleness=1 store.dynamic_sampling=false run.actors=1";

static void start(struct story_run *run, const struct launch *how, const char *name,
                  const char *more)
{
    story_name_run(run, name);
    run->pid = launch(how, "run %s/recipe.yaml --name %s run.root=%s %s %s", story_folder,
                      run->name, story_folder, endless, more);
}

static void ignore_signals(void)
{
    signal(SIGCHLD, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static pid_t await_actor(const struct story_run *run, pid_t other_than)
{
    pid_t pid = 0;
    for (int64_t end_ns = story_deadline_ns(SOON_MS); clock_now_ns() < end_ns;
         clock_sleep_ms(STORY_PAUSE_MS))
        if ((pid = story_process(run, "weir-actor", 0)) > 0 && pid != other_than)
            return pid;
    return 0;
}

/* ---- one run, many commands ---- */

/* Each line is an object, and none is there twice. */
static void check_followed(void)
{
    char path[FILE_PATH_MAX];
    static char seen[1 << 20];
    json_t *known = json_object();
    char *rest = NULL;
    story_read(story_path(path, "launch.out"), seen, sizeof seen);
    for (char *line = strtok_r(seen, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        json_t *rollout = json_loads(line, 0, NULL);
        assert_true(json_is_object(rollout));
        assert_null(json_object_get(rollout, "rollouts"));
        if (json_object_get(known, line) != NULL)
            print_message("twice: %.300s\n", line);
        assert_null(json_object_get(known, line));
        json_object_set_new(known, line, json_true());
        json_decref(rollout);
    }
    assert_true(json_object_size(known) > 5);
    json_decref(known);
}

static void spoil_settings(const struct story_run *run)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/config.resolved.yaml", run->path), STATUS_OK);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "run_of_tomorrow:\n  key: 1\n");
    assert_int_equal(fclose(file), 0);
}

static unsigned count_entries(const char *prefix)
{
    unsigned count = 0;
    DIR *dir = opendir(story_folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return count;
}

static void fork_twice(const struct story_run *run)
{
    const struct launch plain = {.out = -1};
    pid_t pids[2];
    for (int i = 0; i < 2; i++)
        pids[i] = launch(&plain, "fork %s twin --no-start", run->name);
    int first = story_wait_pid(pids[0], LIMIT_MS), second = story_wait_pid(pids[1], LIMIT_MS);
    if (first + second != 2)
        print_message("forks ended with %d and %d\n", first, second);
    assert_true((first == 0 && second == 2) || (first == 2 && second == 0));
    assert_true(complained("twin"));
    assert_int_equal(count_entries(".twin"), 0);
    assert_int_equal(story_weir(&text, LIMIT_MS, "resume twin run.steps=1 --foreground --quiet"),
                     0);
}

/* kill -9 of an actor is healed although the parent ignored SIGCHLD, a hangup is nothing after nohup, a name without
 * match is refused, a follower hears of the end, and the stop needs no settings. */
static void test_story_operators_lead_a_run_from_hard_surroundings(void **state)
{
    (void)state;
    struct story_run run;
    start(&run, &(struct launch){.before = ignore_signals, .out = -1, .is_run = true}, "hard",
          "--quiet");
    story_await_steps(&run, 1, LIMIT_MS);
    pid_t actor = await_actor(&run, 0);
    kill(actor, SIGKILL);
    kill(run.pid, SIGHUP);
    assert_true(await_actor(&run, actor) > 0);
    assert_int_equal(story_weir(&text, LIMIT_MS, "hold %s nosuch", run.name), 2);
    assert_non_null(strstr(text.err, "this run has"));
    pid_t follower = launch(&(struct launch){.out = -1}, "tail %s --follow --json", run.name);
    size_t steps = story_steps(&run);
    story_await_steps(&run, steps + STEPS_SOON, LIMIT_MS);
    clock_sleep_ms(2200); /* it looks once a second */
    spoil_settings(&run);
    assert_int_equal(story_weir(&text, LIMIT_MS, "stop %s", run.name), 0);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_int_equal(story_wait_pid(follower, LIMIT_MS), 0);
    assert_true(complained("is over"));
    check_followed();
}

static void test_story_operators_fork_one_name_at_a_time(void **state)
{
    (void)state;
    struct story_run run;
    story_run_whole(&run, "parent", "run.steps=2 learner.checkpoint_every=1", LIMIT_MS);
    fork_twice(&run);
}

/* ---- outputs ---- */

static void test_story_operators_output_that_nobody_reads_stops_nothing(void **state)
{
    (void)state;
    struct story_run run;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 4096) > 0);
    start(&run, &(struct launch){.out = fds[1]}, "stalled", "");
    close(fds[1]);
    story_await_steps(&run, 60, LIMIT_MS); /* some 100 bytes a step */
    kill(run.pid, SIGTERM);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    close(fds[0]);
}

/* ---- ends before the start ---- */

/* A redis-server that starts and never answers. */
static void slow_redis(void)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/slow:/usr/bin:/bin", story_folder), STATUS_OK);
    setenv("PATH", path, 1);
}

static void make_slow_redis(void)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_make_dirs(story_path(path, "slow")), STATUS_OK);
    story_write(story_path(path, "slow/redis-server"), "#!/bin/sh\nexec sleep 60\n");
    assert_int_equal(chmod(path, 0755), 0);
}

static void end_while_it_starts(int number, const char *more, int code)
{
    struct story_run run;
    char conf[FILE_PATH_MAX];
    start(&run, &(struct launch){.before = slow_redis, .out = -1}, "early", more);
    assert_int_equal(file_path(conf, "%s/redis.conf", run.path), STATUS_OK);
    for (int64_t end_ns = story_deadline_ns(SOON_MS);
         !file_exists(conf) && clock_now_ns() < end_ns;)
        clock_sleep_ms(STORY_PAUSE_MS);
    assert_true(file_exists(conf));
    kill(run.pid, number);
    assert_int_equal(story_wait_pid(run.pid, 3000), code);
    assert_true(complained("before run"));
    assert_false(file_exists(run.path));
}

static void test_story_operators_signal_before_the_start_leaves_nothing(void **state)
{
    (void)state;
    make_slow_redis();
    end_while_it_starts(SIGTERM, "redis.mode=start", 0);
    end_while_it_starts(SIGTERM, "redis.mode=start --drained-code 75", 75);
    end_while_it_starts(SIGINT, "redis.mode=start", 0);
}

/* ---- refusals ---- */

/* A run as its folder shows it; we are its supervisor. The lock's descriptor. */
static int pretend(const char *name, const char *state)
{
    char path[FILE_PATH_MAX], lock[FILE_PATH_MAX], words[64];
    assert_int_equal(file_make_dirs(story_path(path, name)), STATUS_OK);
    assert_int_equal(file_path(lock, "%s/lock", path), STATUS_OK);
    snprintf(words, sizeof words, "%ld %s\n", (long)getpid(), state);
    story_write(lock, words);
    assert_int_equal(file_path(lock, "%s/config.resolved.yaml", path), STATUS_OK);
    story_write(lock, "run:\n  steps: 6\n");
    assert_int_equal(file_path(lock, "%s/lock", path), STATUS_OK);
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    return fd;
}

static void test_story_operators_scale_of_an_ending_run_fails(void **state)
{
    (void)state;
    int fd = pretend("draining", "draining");
    assert_int_equal(story_weir(&text, LIMIT_MS, "scale draining actors=3"), 1);
    assert_non_null(strstr(text.err, "is draining"));
    assert_int_equal(story_weir(&text, LIMIT_MS, "scale draining actors=3 --no-wait"), 1);
    close(fd);
    fd = pretend("ends", "running");
    pid_t pid = launch(&(struct launch){.out = -1}, "scale ends actors=3");
    clock_sleep_ms(500);
    close(fd);
    assert_int_equal(story_wait_pid(pid, LIMIT_MS), 1);
    assert_true(complained("ended before"));
}

static void become_another_user(void)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(77);
    if (access(BUILD_DIR "/bin/weir", X_OK) != 0)
        _exit(77);
}

static void test_story_operators_stop_of_anothers_run_says_why_not(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    static char said[4096];
    if (geteuid() != 0)
        skip();
    int fd = pretend("theirs", "running");
    for (int now = 0; now < 2; now++) {
        pid_t pid = launch(&(struct launch){.before = become_another_user, .out = -1},
                           "stop theirs %s", now ? "--now" : "");
        int code = story_wait_pid(pid, LIMIT_MS);
        if (code == 77)
            skip();
        assert_int_equal(code, 1);
        assert_true(complained("Operation not permitted"));
        assert_null(
            strstr(story_read(story_path(path, "launch.out"), said, sizeof said), "at once"));
    }
    close(fd);
}

static void test_story_operators_refusals_come_before_anything_is_made(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], deep[FILE_PATH_MAX], recipe[FILE_PATH_MAX];
    story_path(recipe, "recipe.yaml");
    close(pretend("own", "running"));
    story_copy(recipe, story_path(path, "own/recipe.yaml"));
    assert_int_equal(
        story_weir(&text, LIMIT_MS, "run %s --clean --name own run.root=%s", path, story_folder),
        2);
    assert_non_null(strstr(text.err, "--clean would remove"));
    assert_true(file_exists(path));
    assert_int_equal(story_weir(&text, LIMIT_MS,
                                "run %s --name a redis.mode=start run.root=%s/q\"t", recipe,
                                story_folder),
                     2);
    assert_non_null(strstr(text.err, "run.root"));
    assert_false(file_exists(story_path(path, "q\"t")));
    assert_int_equal(file_path(deep, "%s/%0*d", story_folder, 100, 7), STATUS_OK);
    assert_int_equal(file_make_dirs(deep), STATUS_OK);
    pid_t pid = launch(&(struct launch){.directory = deep, .out = -1},
                       "run %s --name far run.root=runs", recipe);
    assert_int_equal(story_wait_pid(pid, LIMIT_MS), 3);
    assert_true(complained("run.root"));
    assert_int_equal(file_path(path, "%s/runs", deep), STATUS_OK);
    assert_false(file_exists(path));
    assert_int_equal(story_weir(&text, LIMIT_MS, "run %s --name -x", recipe), 2);
}

static void test_story_operators_plan_takes_the_options_of_the_run(void **state)
{
    (void)state;
    assert_int_equal(story_weir(&text, LIMIT_MS,
                                "run %s/recipe.yaml --dry-run --json --name x --resume --quiet "
                                "--drained-code 75",
                                story_folder),
                     0);
    json_decref(story_json(&text));
    assert_int_equal(
        story_weir(&text, LIMIT_MS, "run %s/recipe.yaml --dry-run --clean --json", story_folder),
        0);
    json_decref(story_json(&text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_operators_lead_a_run_from_hard_surroundings),
        STORY_TEST(test_story_operators_fork_one_name_at_a_time),
        STORY_TEST(test_story_operators_output_that_nobody_reads_stops_nothing),
        STORY_TEST(test_story_operators_signal_before_the_start_leaves_nothing),
        STORY_TEST(test_story_operators_scale_of_an_ending_run_fails),
        STORY_TEST(test_story_operators_stop_of_anothers_run_says_why_not),
        STORY_TEST(test_story_operators_refusals_come_before_anything_is_made),
        STORY_TEST(test_story_operators_plan_takes_the_options_of_the_run),
    };
    const struct story_model model = {.vocabulary = 14, .ends = false};
    story_begin("operators");
    setenv("WEIR_RUN_ROOT", story_folder, 1);
    story_make_model(&model);
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
