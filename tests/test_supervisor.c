/* links: ops */
/* label: integration */
/* timeout: 60 */
/* supervisor: restarts, permanent exits, drain, double Ctrl-C, no orphan; the run folder and its lock.
 * Every case forks a process that supervises real shell scripts in a fresh folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/run_folder.h"
#include "ops/supervisor.h"

enum { WAIT_MS = 15000, PIDS_MAX = 64, STOPPED_MS = 1000 };

static char folder[FILE_PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/weir-supervisor-XXXXXX", base != NULL ? base : "/tmp");
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans come to us, so that they can be seen */
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    process_kill_all();
    return file_remove_tree(folder) != STATUS_OK;
}

/* ---- a supervisor in a process of its own ---- */

static void hook_tick(void *self, int64_t now_ns)
{
    (void)self;
    (void)now_ns;
}

static uint64_t hook_progress(void *self)
{
    (void)self;
    return 0;
}

static void append_line(const char *name, const char *line)
{
    char path[FILE_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "a");
    if (file != NULL) {
        fprintf(file, "%s\n", line);
        fclose(file);
    }
}

static void hook_say(void *self, const char *line)
{
    (void)self;
    append_line("said", line);
}

static void hook_died(void *self, const char *line)
{
    (void)self;
    append_line("deaths", line);
}

static bool hook_drain(void *self, const char *reason)
{
    (void)self;
    append_line("drain", reason); /* what the scripts look for */
    return true;
}

/* One script per process: run by sh -c with its folder as $0; each first appends its pid to a file. */
struct script {
    const char *name;
    enum process_duty duty;
    const char *text;
};

static int64_t eval_ms; /* of the next one */

static pid_t supervise(const struct script *scripts, size_t count, int64_t drain_ms)
{
    static struct process processes[8];
    static char texts[8][1024];
    memset(processes, 0, sizeof processes);
    for (size_t i = 0; i < count; i++) {
        struct process *process = &processes[i];
        snprintf(texts[i], sizeof texts[i], "cd $0; echo $$ >> %s.pids; %s", scripts[i].name,
                 scripts[i].text);
        snprintf(process->name, sizeof process->name, "%s", scripts[i].name);
        snprintf(process->log, sizeof process->log, "%.500s/%s.log", folder, scripts[i].name);
        process->duty = scripts[i].duty;
        process->arguments[0] = "/bin/sh";
        process->arguments[1] = "-c";
        process->arguments[2] = texts[i];
        process->arguments[3] = folder;
    }
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct supervisor supervisor = {.processes = processes,
                                    .count = count,
                                    .drain_ms = drain_ms,
                                    .eval_ms = eval_ms,
                                    .watch = {.stopped_ms = STOPPED_MS, .silent_ms = 600000},
                                    .hooks = {.tick = hook_tick,
                                              .progress = hook_progress,
                                              .say = hook_say,
                                              .drain = hook_drain,
                                              .died = hook_died}};
    int code = supervisor_start(&supervisor) == STATUS_OK ? supervisor_run(&supervisor) : 99;
    append_line("why", supervisor.why);
    _exit(code);
}

static int wait_exit(pid_t pid)
{
    int status = 0;
    for (int64_t until_ns = clock_now_ns() + WAIT_MS * (int64_t)CLOCK_NS_PER_MS;
         clock_now_ns() < until_ns; clock_sleep_ms(5))
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    kill(pid, SIGKILL);
    return -1000;
}

static void read_text(const char *name, char out[4096])
{
    char path[FILE_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd >= 0 ? read(fd, out, 4095) : 0;
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = 0;
}

static size_t read_pids(const char *name, pid_t out[PIDS_MAX])
{
    char file[64], text[4096];
    snprintf(file, sizeof file, "%s.pids", name);
    read_text(file, text);
    size_t count = 0;
    for (char *at = text, *end; count < PIDS_MAX; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at || *end != '\n')
            break;
        out[count++] = (pid_t)pid;
    }
    return count;
}

/* The count-th start of a process, 0 when it did not come in time. */
static pid_t wait_start(const char *name, size_t count)
{
    pid_t pids[PIDS_MAX];
    for (int64_t until_ns = clock_now_ns() + WAIT_MS * (int64_t)CLOCK_NS_PER_MS;
         clock_now_ns() < until_ns; clock_sleep_ms(2))
        if (read_pids(name, pids) >= count)
            return pids[count - 1];
    return 0;
}

static bool is_alive(pid_t pid)
{
    waitpid(pid, NULL, WNOHANG); /* ours by adoption, when it is a zombie */
    return kill(pid, 0) == 0;
}

static void assert_gone(const char *name)
{
    pid_t pids[PIDS_MAX];
    size_t count = read_pids(name, pids);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++)
        for (int tries = 0; is_alive(pids[i]); tries++) {
            assert_true(tries < 200);
            clock_sleep_ms(5);
        }
}

#define IDLE      "while :; do sleep 0.05; done"
#define TILL_DONE "while [ ! -e drain ]; do sleep 0.02; done; exit 0"
static const struct script idle_store = {"store.0", DUTY_STORE, TILL_DONE};
static const struct script idle_learner = {"learner.0", DUTY_LEARNER, TILL_DONE};

/* ---- deaths ---- */

/* Somebody else has waited for it, as the kernel does where SIGCHLD is ignored. */
static void test_supervisor_child_reaped_by_another_counts_as_ended(void **state)
{
    (void)state;
    int wait_status = 0;
    char end[64];
    struct process process = {.name = "actor.0", .arguments = {"/bin/true"}};
    assert_int_equal(process_start(&process, clock_now_ns()), STATUS_OK);
    assert_int_equal(waitpid(process.pid, NULL, 0), process.pid);
    assert_true(process_reap(&process, &wait_status));
    assert_int_equal(process.pid, 0);
    assert_int_equal(wait_status, PROCESS_END_UNKNOWN);
    assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) != 0);
    process_describe_end(wait_status, end, sizeof end);
    assert_string_equal(end, "gone, nobody knows how");
    assert_false(process_reap(&process, &wait_status));
}

static void test_supervisor_ignored_hangup_does_not_drain(void **state)
{
    (void)state;
    const struct script scripts[] = {idle_store, idle_learner};
    signal(SIGHUP, SIG_IGN); /* nohup */
    pid_t pid = supervise(scripts, 2, 3000);
    signal(SIGHUP, SIG_DFL);
    assert_true(wait_start("learner.0", 1) > 0);
    clock_sleep_ms(100);
    kill(pid, SIGHUP);
    clock_sleep_ms(300);
    char said[4096];
    read_text("drain", said);
    assert_string_equal(said, "");
    kill(pid, SIGTERM);
    assert_int_equal(wait_exit(pid), 0);
    read_text("drain", said);
    assert_string_equal(said, "SIGTERM\n");
}

static void test_supervisor_actor_killed_is_replaced_at_once(void **state)
{
    (void)state;
    const struct script scripts[] = {
        idle_store, idle_learner, {"actor.0", DUTY_WORKER, "trap 'exit 0' TERM; " IDLE}};
    pid_t pid = supervise(scripts, 3, 3000);
    pid_t actor = wait_start("actor.0", 1);
    assert_true(actor > 0);
    clock_sleep_ms(2100); /* past the time of quick deaths */
    int64_t killed_ns = clock_now_ns();
    kill(actor, SIGKILL);
    assert_true(wait_start("actor.0", 2) > 0);
    int64_t took_ms = (clock_now_ns() - killed_ns) / CLOCK_NS_PER_MS;
    if (took_ms > 500) /* promised: 100 ms; the machine may be busy */
        fail_msg("replaced after %lld ms", (long long)took_ms);
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
    assert_gone("actor.0");
    char said[4096];
    read_text("said", said);
    assert_non_null(strstr(said, "actor.0: killed by signal 9"));
    read_text("deaths", said); /* and not those that the drain asked for */
    assert_int_equal(strncmp(said, "actor.0: killed by signal 9", 27), 0);
    assert_string_equal(strchr(said, '\n'), "\n");
}

static void test_supervisor_quick_deaths_back_off_then_end_the_run(void **state)
{
    (void)state;
    const struct script scripts[] = {
        idle_store, idle_learner, {"actor.0", DUTY_WORKER, "echo cannot open the model; exit 9"}};
    int64_t begin_ns = clock_now_ns();
    pid_t pid = supervise(scripts, 3, 500);
    assert_int_equal(wait_exit(pid), EXIT_CODE_FAILED);
    int64_t took_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    assert_true(took_ms >= 100 + 200 + 400 + 800);
    pid_t pids[PIDS_MAX];
    assert_int_equal(read_pids("actor.0", pids), SUPERVISOR_FRUITLESS_MAX);
    char text[4096];
    read_text("why", text);
    assert_non_null(strstr(text, "actor.0 ended 5 times in a row"));
    read_text("said", text);
    assert_non_null(strstr(text, "  cannot open the model"));
    read_text("deaths", text);
    assert_non_null(strstr(text, "actor.0: exit 9 after 0.0 s; started again"));
    assert_non_null(strstr(text, "it said: cannot open the model"));
    assert_non_null(strstr(text, "actor.0 ended 5 times in a row"));
    assert_gone("store.0");
    assert_gone("learner.0");
}

static void test_supervisor_store_killed_is_started_again(void **state)
{
    (void)state;
    const struct script scripts[] = {idle_store, idle_learner};
    pid_t pid = supervise(scripts, 2, 3000);
    kill(wait_start("store.0", 1), SIGKILL);
    assert_true(wait_start("store.0", 2) > 0);
    kill(pid, SIGTERM);
    assert_int_equal(wait_exit(pid), 0);
}

static void test_supervisor_learner_that_must_stop_ends_with_1_and_its_sentence(void **state)
{
    (void)state;
    const struct script scripts[] = {
        idle_store,
        {"learner.0", DUTY_LEARNER,
         "echo 'T ERROR learner.0 v0 learner ended status=LIMIT why=\"learner.c:7 (judge): LIMIT: "
         "3 updates in a row were skipped\"'; exit 6"}};
    pid_t pid = supervise(scripts, 2, 300);
    assert_int_equal(wait_exit(pid), EXIT_CODE_FAILED);
    char why[4096];
    read_text("why", why);
    assert_string_equal(why, "3 updates in a row were skipped (learner.0, exit 6)\n");
    pid_t pids[PIDS_MAX];
    assert_int_equal(read_pids("learner.0", pids), 1); /* the same would come again */
}

static void test_supervisor_permanent_exit_ends_with_code_and_sentence(void **state)
{
    (void)state;
    const struct script scripts[] = {
        {"store.0", DUTY_STORE,
         "while [ ! -e actor.0.pids ]; do sleep 0.02; done; "
         "echo 'T ERROR store.0 v0 store ended status=INVALID why=\"prompts.c:7 (load): INVALID: "
         "p.jsonl line 3: no prompt\"';"
         " echo later; exit 4"},
        idle_learner,
        {"actor.0", DUTY_WORKER, IDLE}};
    pid_t pid = supervise(scripts, 3, 300);
    assert_int_equal(wait_exit(pid), EXIT_CODE_INPUT);
    char why[4096];
    read_text("why", why);
    assert_string_equal(why, "p.jsonl line 3: no prompt (store.0, exit 4)\n");
    read_text("deaths", why);
    assert_non_null(strstr(why, "store.0: exit 4, which ends the run; it said: p.jsonl line 3"));
    pid_t pids[PIDS_MAX];
    assert_int_equal(read_pids("store.0", pids), 1);
    assert_gone("actor.0");
}

static void test_supervisor_view_that_dies_ends_nothing(void **state)
{
    (void)state;
    const struct script scripts[] = {{"redis", DUTY_VIEW, "exit 1"}, idle_store, idle_learner};
    pid_t pid = supervise(scripts, 3, 1000);
    assert_true(wait_start("redis", SUPERVISOR_FRUITLESS_MAX) > 0);
    clock_sleep_ms(200);
    assert_true(is_alive(pid));
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
}

static void test_supervisor_learner_done_ends_the_run(void **state)
{
    (void)state;
    const struct script scripts[] = {
        {"redis", DUTY_VIEW, "trap 'echo bye > redis.bye; exit 0' TERM; " IDLE},
        {"store.0", DUTY_STORE, "while [ ! -e done ]; do sleep 0.02; done; exit 0"},
        {"learner.0", DUTY_LEARNER, "sleep 0.2; touch done; exit 0"},
        {"actor.0", DUTY_WORKER, "trap 'exit 0' TERM; " IDLE}};
    pid_t pid = supervise(scripts, 4, 3000);
    assert_int_equal(wait_exit(pid), EXIT_CODE_OK);
    char bye[4096];
    read_text("redis.bye", bye);
    assert_string_equal(bye, "bye\n");
    assert_gone("redis");
    assert_gone("actor.0");
}

#define TILL_OVER "while [ ! -e done ]; do sleep 0.02; done; "
static const struct script done_store = {"store.0", DUTY_STORE, TILL_OVER "exit 0"};
static const struct script done_learner = {"learner.0", DUTY_LEARNER,
                                           "sleep 0.2; touch done; exit 0"};

/* Also when it is killed there, before the view. */
static void test_supervisor_end_waits_for_the_last_evaluation(void **state)
{
    (void)state;
    const struct script scripts[] = {
        {"redis", DUTY_VIEW, "trap 'ls figures > redis.bye; exit 0' TERM; " IDLE},
        done_store,
        done_learner,
        {"actor.0", DUTY_WORKER, "trap 'exit 0' TERM; " IDLE},
        {"eval.0", DUTY_EVAL,
         "trap '' TERM; " TILL_OVER "if [ ! -e died ]; then touch died; sleep 1.5; kill -9 $$; fi; "
         "sleep 0.3; echo ok > figures; exit 0"}};
    char text[4096];
    eval_ms = 20000;
    pid_t pid = supervise(scripts, 5, 3000);
    assert_int_equal(wait_exit(pid), EXIT_CODE_OK);
    read_text("figures", text);
    assert_string_equal(text, "ok\n");
    read_text("redis.bye", text);
    assert_string_equal(text, "figures\n");
    assert_gone("eval.0");
}

static void test_supervisor_last_evaluation_has_a_deadline(void **state)
{
    (void)state;
    const struct script scripts[] = {
        done_store, done_learner, {"eval.0", DUTY_EVAL, "trap 'exit 0' TERM; " IDLE}};
    char said[4096];
    eval_ms = 300;
    assert_int_equal(wait_exit(supervise(scripts, 3, 3000)), EXIT_CODE_OK);
    read_text("said", said);
    assert_non_null(strstr(said, "is not evaluated"));
    assert_gone("eval.0");
}

static void test_supervisor_drain_does_not_wait_for_evaluation(void **state)
{
    (void)state;
    const struct script scripts[] = {
        idle_store, idle_learner, {"eval.0", DUTY_EVAL, "trap 'exit 0' TERM; " IDLE}};
    char said[4096];
    eval_ms = 60000;
    pid_t pid = supervise(scripts, 3, 3000);
    assert_true(wait_start("eval.0", 1) > 0 && wait_start("learner.0", 1) > 0);
    clock_sleep_ms(50);
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), EXIT_CODE_OK); /* WAIT_MS at most */
    read_text("said", said);
    assert_null(strstr(said, "being evaluated"));
    assert_gone("eval.0");
}

/* Its settings are wrong, or its device is full: nobody else minds. */
static void test_supervisor_evaluator_that_fails_ends_nothing(void **state)
{
    (void)state;
    const struct script scripts[] = {{"eval.0", DUTY_EVAL, "exit 2"}, idle_store, idle_learner};
    char said[4096];
    eval_ms = 60000;
    pid_t pid = supervise(scripts, 3, 1000);
    assert_true(wait_start("eval.0", SUPERVISOR_FRUITLESS_MAX) > 0);
    clock_sleep_ms(200);
    assert_true(is_alive(pid));
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
    read_text("said", said);
    assert_non_null(strstr(said, "goes on without evaluations"));
}

static void test_supervisor_store_failing_at_the_end_is_a_failure(void **state)
{
    (void)state;
    const struct script scripts[] = {
        {"store.0", DUTY_STORE,
         "while [ ! -e done ]; do sleep 0.02; done; echo 'T ERROR s why=\"all dropped\"'; exit 1"},
        {"learner.0", DUTY_LEARNER, "touch done; exit 0"}};
    pid_t pid = supervise(scripts, 2, 1000);
    assert_int_equal(wait_exit(pid), EXIT_CODE_FAILED);
    char why[4096];
    read_text("why", why);
    assert_string_equal(why, "all dropped (store.0, exit 1)\n");
}

/* Kills come faster than any process does a thing, and the hooks see no progress at all. */
static void test_supervisor_storm_of_kills_neither_ends_nor_slows_the_run(void **state)
{
    (void)state;
    enum { KILLS = 30 };
    const struct script scripts[] = {
        idle_store, idle_learner, {"actor.0", DUTY_WORKER, "trap 'exit 0' TERM; " IDLE}};
    pid_t pid = supervise(scripts, 3, 3000);
    int64_t begin_ns = clock_now_ns();
    for (size_t i = 1; i <= KILLS; i++) {
        pid_t actor = wait_start("actor.0", i);
        assert_true(actor > 0);
        kill(actor, i % 2 == 0 ? SIGKILL : SIGTERM); /* a trap that is not set yet: death by it */
        if (i % 2 == 1)
            kill(actor, SIGKILL);
    }
    assert_true(wait_start("actor.0", KILLS + 1) > 0);
    int64_t took_ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    print_message("%d kills and starts in %lld ms\n", KILLS, (long long)took_ms);
    assert_true(took_ms < WAIT_MS);
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
}

/* ---- stopped, leaving ---- */

static void test_supervisor_stopped_child_is_named_killed_and_replaced(void **state)
{
    (void)state;
    const struct script scripts[] = {
        idle_store, idle_learner, {"actor.0", DUTY_WORKER, "trap 'exit 0' TERM; " IDLE}};
    pid_t pid = supervise(scripts, 3, 3000);
    pid_t actor = wait_start("actor.0", 1);
    int64_t stopped_ns = clock_now_ns();
    kill(actor, SIGSTOP);
    assert_true(wait_start("actor.0", 2) > 0);
    int64_t took_ms = (clock_now_ns() - stopped_ns) / CLOCK_NS_PER_MS;
    assert_true(took_ms >= STOPPED_MS); /* never early */
    char said[4096], sentence[200];
    read_text("said", said);
    snprintf(sentence, sizeof sentence,
             "actor.0 (pid %ld) is stopped or cut off for 1 s (state T): killed and started again",
             (long)actor);
    assert_non_null(strstr(said, sentence));
    read_text("deaths", said);
    assert_non_null(strstr(said, sentence));
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
    assert_gone("actor.0");
}

static void test_supervisor_briefly_stopped_child_is_left_alone(void **state)
{
    (void)state;
    const struct script scripts[] = {
        idle_store, idle_learner, {"actor.0", DUTY_WORKER, "trap 'exit 0' TERM; " IDLE}};
    pid_t pid = supervise(scripts, 3, 3000), pids[PIDS_MAX];
    pid_t actor = wait_start("actor.0", 1);
    for (int i = 0; i < 3; i++) {
        kill(actor, SIGSTOP);
        clock_sleep_ms(STOPPED_MS / 3);
        kill(actor, SIGCONT);
        clock_sleep_ms(STOPPED_MS / 2);
    }
    assert_int_equal(read_pids("actor.0", pids), 1);
    assert_true(is_alive(actor));
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
}

static void test_supervisor_worker_that_leaves_stays_out(void **state)
{
    (void)state;
    const struct script scripts[] = {idle_store, idle_learner, {"actor.0", DUTY_WORKER, "exit 0"}};
    pid_t pid = supervise(scripts, 3, 3000), pids[PIDS_MAX];
    char said[4096] = "";
    for (int i = 0; i < 200 && strstr(said, "stays out") == NULL; i++) {
        clock_sleep_ms(50);
        read_text("said", said);
    }
    assert_non_null(strstr(said, "actor.0 left (exit 0: it was drained or got SIGTERM) and stays "
                                 "out; `weir scale` asks for more"));
    assert_int_equal(read_pids("actor.0", pids), 1);
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), 0);
}

/* ---- signals ---- */

static void test_supervisor_repeated_sigterm_still_drains(void **state)
{
    (void)state;
    const struct script scripts[] = {idle_store,
                                     {"learner.0", DUTY_LEARNER,
                                      "while [ ! -e drain ]; do sleep 0.02; done; "
                                      "sleep 0.5; echo saved > checkpoint; exit 0"}};
    pid_t pid = supervise(scripts, 2, 3000);
    assert_true(wait_start("learner.0", 1) > 0 && wait_start("store.0", 1) > 0);
    kill(pid, SIGTERM);
    clock_sleep_ms(150);
    kill(pid, SIGTERM);
    assert_int_equal(wait_exit(pid), 0);
    char text[4096];
    read_text("checkpoint", text);
    assert_string_equal(text, "saved\n");
    read_text("drain", text);
    assert_string_equal(text, "SIGTERM\n"); /* asked once */
}

static void test_supervisor_drain_has_a_deadline(void **state)
{
    (void)state;
    const struct script scripts[] = {idle_store,
                                     {"learner.0", DUTY_LEARNER, "trap '' TERM; " IDLE}};
    pid_t pid = supervise(scripts, 2, 300);
    assert_true(wait_start("learner.0", 1) > 0 && wait_start("store.0", 1) > 0);
    clock_sleep_ms(50);
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), EXIT_CODE_FAILED);
    char why[4096];
    read_text("why", why);
    assert_non_null(strstr(why, "run.drain_s"));
    assert_gone("learner.0");
}

static void test_supervisor_second_ctrl_c_leaves_nothing(void **state)
{
    (void)state;
    const struct script deaf = {"store.0", DUTY_STORE, "trap '' TERM INT; " IDLE};
    const struct script scripts[] = {
        deaf,
        {"learner.0", DUTY_LEARNER, deaf.text},
        /* A child of a child, one in its parent's group and one that left it. */
        {"actor.0", DUTY_WORKER,
         "trap '' TERM INT; sleep 100 & echo $! >> actor.0.pids; "
         "setsid sleep 101 & echo $! >> actor.0.pids; " IDLE}};
    pid_t pid = supervise(scripts, 3, 30000);
    assert_true(wait_start("actor.0", 3) > 0 && wait_start("learner.0", 1) > 0 &&
                wait_start("store.0", 1) > 0);
    clock_sleep_ms(100);
    kill(pid, SIGINT);
    clock_sleep_ms(200);
    assert_true(is_alive(wait_start("learner.0", 1)));
    int64_t begin_ns = clock_now_ns();
    kill(pid, SIGINT);
    assert_int_equal(wait_exit(pid), EXIT_CODE_INTERRUPTED);
    assert_true(clock_now_ns() - begin_ns < 3 * CLOCK_NS_PER_S);
    assert_gone("store.0");
    assert_gone("learner.0");
    assert_gone("actor.0");
}

static void test_supervisor_killed_takes_its_children_along(void **state)
{
    (void)state;
    const struct script scripts[] = {idle_store, idle_learner, {"actor.0", DUTY_WORKER, IDLE}};
    pid_t pid = supervise(scripts, 3, 3000);
    assert_true(wait_start("actor.0", 1) > 0 && wait_start("store.0", 1) > 0 &&
                wait_start("learner.0", 1) > 0);
    kill(pid, SIGKILL);
    assert_int_equal(wait_exit(pid), -SIGKILL);
    assert_gone("store.0");
    assert_gone("learner.0");
    assert_gone("actor.0");
}

static void test_supervisor_missing_program_is_a_sentence(void **state)
{
    (void)state;
    struct process process = {.name = "actor.0", .arguments = {"/nonexistent/weir-actor"}};
    assert_int_equal(process_start(&process, 0), STATUS_IO);
    assert_non_null(strstr(status_last_error(), "cannot start /nonexistent/weir-actor: No such"));
    assert_int_equal(process.pid, 0);
}

/* ---- the run folder ---- */

static void test_supervisor_folder_held_by_another_is_refused(void **state)
{
    (void)state;
    struct run_folder mine, other;
    char path[FILE_PATH_MAX], name[RUN_NAME_MAX], text[64], lock_state[16];
    assert_int_equal(run_folder_open(&mine, folder, "a", false), STATUS_OK);
    assert_int_equal(run_folder_open(&other, folder, "a", false), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "--resume"));
    assert_int_equal(run_folder_open(&other, folder, "a", true), STATUS_LIMIT);
    snprintf(text, sizeof text, "process %ld holds", (long)getpid());
    assert_non_null(strstr(status_last_error(), text));
    assert_int_equal(run_folder_find(folder, NULL, path, name), STATUS_OK);
    assert_string_equal(name, "a");
    assert_int_equal(run_folder_note(&mine, "draining"), STATUS_OK);
    assert_int_equal(run_folder_holder(path, lock_state), getpid());
    assert_string_equal(lock_state, "draining");
    run_folder_close(&mine);
    assert_int_equal(run_folder_holder(path, NULL), 0);
    assert_int_equal(run_folder_find(folder, NULL, path, name), STATUS_NOT_FOUND);
    assert_int_equal(run_folder_find(folder, "a", path, name), STATUS_OK);
    assert_int_equal(run_folder_open(&mine, folder, "a", true), STATUS_OK);
    assert_int_equal(mine.attempt, 2);
    snprintf(path, sizeof path, "%.500s/a/logs/latest", folder);
    ssize_t size = readlink(path, text, sizeof text - 1);
    text[size > 0 ? size : 0] = 0;
    assert_string_equal(text, "attempt_2");
    run_folder_discard(&mine); /* it was there before: nothing is removed */
    assert_true(file_exists(path));
}

static void test_supervisor_folder_of_a_failed_start_is_removed(void **state)
{
    (void)state;
    struct run_folder mine;
    char path[FILE_PATH_MAX];
    assert_int_equal(run_folder_open(&mine, folder, "b", false), STATUS_OK);
    memcpy(path, mine.path, sizeof path);
    assert_true(file_exists(path));
    run_folder_discard(&mine);
    assert_false(file_exists(path));
}

static void test_supervisor_run_names_are_checked_and_made(void **state)
{
    (void)state;
    char name[RUN_NAME_MAX];
    assert_int_equal(run_name_check("good_name-1.2"), STATUS_OK);
    assert_int_equal(run_name_check("../up"), STATUS_INVALID);
    assert_int_equal(run_name_check(""), STATUS_INVALID);
    assert_int_equal(run_name_check("-x"), STATUS_INVALID); /* no command could name it */
    assert_non_null(strstr(status_last_error(), "not first"));
    assert_int_equal(run_name_check("two words"), STATUS_INVALID);
    assert_int_equal(run_name_make("x/quick start.yaml", 0, name), STATUS_OK);
    assert_string_equal(name, "quick_start-19700101-000000");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_supervisor_child_reaped_by_another_counts_as_ended),
        CASE(test_supervisor_ignored_hangup_does_not_drain),
        CASE(test_supervisor_actor_killed_is_replaced_at_once),
        CASE(test_supervisor_quick_deaths_back_off_then_end_the_run),
        CASE(test_supervisor_store_killed_is_started_again),
        CASE(test_supervisor_permanent_exit_ends_with_code_and_sentence),
        CASE(test_supervisor_learner_that_must_stop_ends_with_1_and_its_sentence),
        CASE(test_supervisor_view_that_dies_ends_nothing),
        CASE(test_supervisor_learner_done_ends_the_run),
        CASE(test_supervisor_end_waits_for_the_last_evaluation),
        CASE(test_supervisor_last_evaluation_has_a_deadline),
        CASE(test_supervisor_drain_does_not_wait_for_evaluation),
        CASE(test_supervisor_evaluator_that_fails_ends_nothing),
        CASE(test_supervisor_store_failing_at_the_end_is_a_failure),
        CASE(test_supervisor_storm_of_kills_neither_ends_nor_slows_the_run),
        CASE(test_supervisor_stopped_child_is_named_killed_and_replaced),
        CASE(test_supervisor_briefly_stopped_child_is_left_alone),
        CASE(test_supervisor_worker_that_leaves_stays_out),
        CASE(test_supervisor_repeated_sigterm_still_drains),
        CASE(test_supervisor_drain_has_a_deadline),
        CASE(test_supervisor_second_ctrl_c_leaves_nothing),
        CASE(test_supervisor_killed_takes_its_children_along),
        CASE(test_supervisor_missing_program_is_a_sentence),
        CASE(test_supervisor_folder_held_by_another_is_refused),
        CASE(test_supervisor_folder_of_a_failed_start_is_removed),
        CASE(test_supervisor_run_names_are_checked_and_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
