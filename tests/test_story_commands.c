/* links: ops reward */
/* label: integration */
/* timeout: 120 */
/* The commands of operators on a whole run: up, ls, status, logs, top, stop, resume, fork, rm, --clean; and weir top in a
 * terminal (tmux) at 80x24 and 200x50, which it leaves as it was. */
#include "tests/story.h"

enum { LIMIT_MS = 60000, SOON_MS = 20000, SAID_MAX = 1 << 16 };

static char said[SAID_MAX], complained[SAID_MAX];

/* Exit code of `weir WORDS...`; what it printed is in `said` and `complained`. */
static int weir(const char *words)
{
    static char copy[2048];
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    const char *arguments[STORY_ARGUMENTS];
    size_t count = 0;
    char *rest = NULL;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        arguments[count++] = word;
    arguments[count] = NULL;
    pid_t pid = story_spawn("weir", arguments, story_path(out, "command.out"),
                            story_path(err, "command.err"));
    int code = story_wait_pid(pid, LIMIT_MS);
    story_read(out, said, sizeof said);
    story_read(err, complained, sizeof complained);
    print_message("  weir %.150s: exit %d\n", words, code);
    if (code != 0)
        print_message("%.1000s", complained);
    return code;
}

static int weir_of(const char *command, const struct story_run *run, const char *more)
{
    char words[2048];
    snprintf(words, sizeof words, "%s %s %s", command, run->name, more);
    return weir(words);
}

/* weir up with the story's recipe. */
static int up(struct story_run *run, const char *name, const char *more)
{
    char words[2048];
    story_name_run(run, name);
    snprintf(words, sizeof words, "up %s/recipe.yaml --name %s run.root=%s %s", story_folder,
             run->name, story_folder, more);
    return weir(words);
}

static void await(const struct story_run *run, size_t steps)
{
    int64_t end_ns = story_deadline_ns(SOON_MS);
    while (story_steps(run) < steps && clock_now_ns() < end_ns)
        clock_sleep_ms(STORY_PAUSE_MS);
    assert_true(story_steps(run) >= steps);
}

static const char *state_of(const struct story_run *run)
{
    static char state[32];
    size_t i;
    json_t *runs, *row;
    state[0] = 0;
    assert_int_equal(weir("ls --json"), 0);
    runs = json_loads(said, 0, NULL);
    json_array_foreach(
        runs, i, row) if (strcmp(json_string_value(json_object_get(row, "name")), run->name) == 0)
        snprintf(state, sizeof state, "%s", json_string_value(json_object_get(row, "state")));
    json_decref(runs);
    return state;
}

/* Steps are none; what the supervisor wrote down is one, and stays one when the run is over. */
static void look_at_events(const struct story_run *run, bool live)
{
    static const char alarm[] = "{\"time_ms\":1700000000000,\"name\":\"disk_low\",\"over\":false,"
                                "\"text\":\"a made alarm\"}\n"
                                "{\"time_ms\":1700000000001,\"kind\":\"death\","
                                "\"text\":\"actor.7: a made death\"}\n";
    char path[FILE_PATH_MAX];
    assert_int_equal(weir_of("events", run, ""), 0);
    assert_null(strstr(said, "  version "));
    assert_null(strstr(said, "  step "));
    assert_int_equal(strstr(said, "a made alarm") == NULL, live);
    assert_int_equal(file_path(path, "%s/alarms.jsonl", run->path), STATUS_OK);
    if (live)
        story_write(path, alarm);
    assert_int_equal(weir_of("events", run, "-n 1000 --json"), 0);
    assert_non_null(strstr(said, "\"kind\":\"alarm\",\"text\":\"a made alarm\"}\n"));
    assert_non_null(strstr(said, "\"kind\":\"death\",\"text\":\"actor.7: a made death\"}\n"));
    assert_int_equal(weir_of("events", run, "-n 0"), 2);
}

static const char *settings = "run.steps=100000 learner.checkpoint_every=5 store.max_staleness=1 "
                              "store.dynamic_sampling=false";

static void look_at(const struct story_run *run)
{
    assert_string_equal(state_of(run), "running");
    assert_int_equal(weir_of("status", run, ""), 0);
    assert_non_null(strstr(said, "reward/mean"));
    assert_non_null(strstr(said, run->path));
    assert_int_equal(weir_of("logs", run, "learner.0 -n 3"), 0);
    assert_non_null(strstr(said, " learner.0 "));
    assert_null(strstr(said, " store.0 "));
    assert_int_equal(weir_of("logs", run, "-n 0"), 0);
    assert_non_null(strstr(said, " store.0 "));
    assert_int_equal(weir_of("logs", run, "actor.77"), 2);
    assert_non_null(strstr(complained, "actor.0"));
    assert_int_equal(weir_of("top", run, "--once"), 0);
    assert_non_null(strstr(said, "actor.1"));
    assert_int_equal(weir_of("top", run, "--json"), 0);
    json_t *page = json_loads(said, 0, NULL);
    assert_true(json_array_size(json_object_get(page, "processes")) >= 5);
    json_decref(page);
    look_at_events(run, true);
    assert_int_equal(weir_of("rm", run, "--yes"), 2);
    assert_int_equal(weir_of("resume", run, ""), 2);
    assert_int_equal(weir("stattus"), 2);
    assert_non_null(strstr(complained, "did you mean status?"));
}

static uint64_t newest_checkpoint(const struct story_run *run, uint64_t *oldest)
{
    char path[FILE_PATH_MAX];
    unsigned long step, newest = 0;
    *oldest = UINT64_MAX;
    assert_int_equal(file_path(path, "%s/checkpoints", run->path), STATUS_OK);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (sscanf(entry->d_name, "step_%lu", &step) == 1) {
            newest = step > newest ? step : newest;
            *oldest = step < *oldest ? step : *oldest;
        }
    closedir(dir);
    return newest;
}

static void go_on(const struct story_run *run)
{
    uint64_t oldest, newest = newest_checkpoint(run, &oldest);
    char words[200];
    assert_true(newest > oldest);
    snprintf(words, sizeof words, "--step %lu", (unsigned long)oldest);
    assert_int_equal(weir_of("resume", run, words), 2);
    assert_non_null(strstr(complained, "weir fork"));
    snprintf(words, sizeof words, "--step %lu run.steps=%lu --foreground --quiet",
             (unsigned long)newest, (unsigned long)newest + 3);
    assert_int_equal(weir_of("resume", run, words), 0);
    assert_string_equal(state_of(run), "over");
    json_t *lines = story_metrics(run);
    story_assert_steps(lines, newest + 3);
    json_decref(lines);
    assert_int_equal(weir_of("resume", run, ""), 0);
    assert_non_null(strstr(said, "has made all"));
}

static void fork_it(const struct story_run *run)
{
    struct story_run child;
    char words[300];
    uint64_t oldest;
    newest_checkpoint(run, &oldest);
    story_name_run(&child, "child");
    snprintf(words, sizeof words, "%s run.steps=4 optim.lr=0 --step %lu --no-start", child.name,
             (unsigned long)oldest);
    assert_int_equal(weir_of("fork", run, words), 0);
    assert_string_equal(state_of(&child), "new");
    assert_int_equal(weir_of("fork", run, words), 2); /* the name is used */
    assert_int_equal(weir_of("resume", &child, "--foreground --quiet"), 0);
    json_t *lines = story_metrics(&child);
    story_assert_steps(lines, 4);
    char path[FILE_PATH_MAX], state[2000], digest[40];
    assert_int_equal(
        file_path(path, "%s/checkpoints/step_%lu/state.json", run->path, (unsigned long)oldest),
        STATUS_OK);
    snprintf(digest, sizeof digest, "%s", story_digest(lines, 3));
    if (strstr(story_read(path, state, sizeof state), digest) == NULL)
        print_message("%s is not in %s\n", digest, state);
    assert_non_null(
        strstr(state, digest)); /* with lr 0 its weights are those of the checkpoint, bit for bit */
    json_decref(lines);
    assert_int_equal(weir("ls"), 0);
    snprintf(words, sizeof words, "%s@%lu", run->name, (unsigned long)oldest);
    assert_non_null(strstr(said, words));
    assert_int_equal(weir_of("rm", &child, "--yes"), 0);
    assert_false(file_exists(child.path));
}

static void test_story_commands_lead_through_the_life_of_a_run(void **state)
{
    (void)state;
    struct story_run run;
    char words[300];
    assert_int_equal(up(&run, "life", settings), 0);
    await(&run, 12);
    look_at(&run);
    assert_int_equal(weir_of("stop", &run, ""), 0);
    assert_string_equal(state_of(&run), "over");
    look_at_events(&run, false);
    assert_int_equal(story_shared_memory(&run), 0);
    assert_int_equal(up(&run, "life", settings), 2);
    assert_non_null(strstr(complained, "--clean"));
    go_on(&run);
    fork_it(&run);
    assert_int_equal(weir("rm /etc --yes"), 2);
    snprintf(words, sizeof words, "--clean %s", settings);
    assert_int_equal(up(&run, "life", words), 0);
    await(&run, 1);
    assert_int_equal(weir_of("stop", &run, "--now"), 0);
    assert_string_equal(state_of(&run), "failed"); /* 130: no checkpoint was made */
    assert_int_equal(story_shared_memory(&run), 0);
    assert_int_equal(weir_of("rm", &run, "--yes"), 0);
    assert_false(file_exists(run.path));
}

/* ---- in a terminal ---- */

static char screen[SAID_MAX];

static int tmux(const char *words)
{
    char command[2048];
    snprintf(command, sizeof command, "tmux -L weir-%ld -f /dev/null %s > %s/tmux.out 2>&1",
             (long)getpid(), words, story_folder);
    int code = system(command);
    char path[FILE_PATH_MAX];
    story_read(story_path(path, "tmux.out"), screen, sizeof screen);
    return code;
}

/* Until the screen shows `wanted` and not `unwanted` (NULL: anything). */
static void await_screen(const char *wanted, const char *unwanted)
{
    int64_t end_ns = story_deadline_ns(SOON_MS);
    do {
        clock_sleep_ms(50);
        assert_int_equal(tmux("capture-pane -p"), 0);
    } while ((strstr(screen, wanted) == NULL ||
              (unwanted != NULL && strstr(screen, unwanted) != NULL)) &&
             clock_now_ns() < end_ns);
    bool fine =
        strstr(screen, wanted) != NULL && (unwanted == NULL || strstr(screen, unwanted) == NULL);
    if (!fine)
        print_message("wanted \"%s\" without \"%s\":\n%s\n", wanted,
                      unwanted != NULL ? unwanted : "", screen);
    assert_true(fine);
}

static unsigned count(const char *part)
{
    unsigned found = 0;
    for (const char *at = screen; (at = strstr(at, part)) != NULL; at += strlen(part))
        found++;
    return found;
}

static const char *const parts[] = {"waits   ",    "alarm",     "reward  ",
                                    "entropy ",    "PROCESS ",  "actors min",
                                    "learner.0  ", "actor.1  ", "q quit"};

static bool is_whole(const struct story_run *run)
{
    if (strncmp(screen, run->name, strlen(run->name)) != 0)
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (count(parts[i]) != 1)
            return false;
    return true;
}

/* The head is at the top, each part is there once: nothing wrapped and nothing is left of another size. A picture may
 * catch a page half drawn, so the next ones are looked at, too. */
static void check_screen(const struct story_run *run)
{
    for (int i = 0; i < 20 && !is_whole(run); i++) {
        clock_sleep_ms(50);
        assert_int_equal(tmux("capture-pane -p"), 0);
    }
    if (!is_whole(run))
        print_message("not a whole page:\n%s\n", screen);
    assert_true(is_whole(run));
}

static void start_top(const struct story_run *run)
{
    char words[1024];
    snprintf(words, sizeof words, "send-keys \"%s/bin/weir top %s\" Enter", BUILD_DIR, run->name);
    assert_int_equal(tmux(words), 0);
    await_screen("q quit", NULL);
}

static void sizes_and_keys(const struct story_run *run)
{
    check_screen(run);
    assert_int_equal(tmux("resize-window -x 200 -y 50"), 0);
    await_screen("LAST END", NULL);
    check_screen(run);
    assert_int_equal(tmux("resize-window -x 80 -y 24"), 0);
    await_screen("q quit", "LAST END");
    check_screen(run);
    assert_int_equal(tmux("send-keys Right"), 0);
    await_screen("zero-std ", "entropy ");
    assert_int_equal(tmux("send-keys Left"), 0);
    await_screen("entropy ", "zero-std ");
    assert_int_equal(tmux("send-keys q"), 0);
    await_screen("PROMPT", "q quit");
}

static void ends_by_signal(const struct story_run *run)
{
    char words[400];
    start_top(run);
    snprintf(words, sizeof words, "weir top %s", run->name);
    pid_t pids[STORY_PIDS];
    unsigned found = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char line[8192];
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1)
            continue;
        story_command_line(pid, line, sizeof line);
        if (strstr(line, "/bin/weir top ") != NULL && strstr(line, run->name) != NULL &&
            strncmp(line, BUILD_DIR, strlen(BUILD_DIR)) == 0 && found < STORY_PIDS)
            pids[found++] = pid;
    }
    if (dir != NULL)
        closedir(dir);
    assert_int_equal(found, 1);
    assert_int_equal(kill(pids[0], SIGTERM), 0);
    await_screen("PROMPT", "q quit");
    assert_int_equal(tmux("send-keys \"echo code=\\$? && stty -a | grep -o ' icanon'\" Enter"), 0);
    await_screen("code=143\n icanon", NULL);
    assert_int_equal(tmux("display-message -p '#{alternate_on}#{cursor_flag}'"), 0);
    assert_string_equal(screen, "01\n");
}

static void test_story_commands_top_in_a_terminal(void **state)
{
    (void)state;
    struct story_run run;
    if (system("tmux -V > /dev/null 2>&1") != 0) {
        print_message("SKIPPED: tmux is missing (ops/deps test)\n");
        skip();
    }
    assert_int_equal(up(&run, "top", settings), 0);
    await(&run, 3);
    char words[1024];
    snprintf(words, sizeof words,
             "new-session -d -x 80 -y 24 -e WEIR_RUN_ROOT=%s -e LC_ALL=C.UTF-8 -e ENV= "
             "'PS1=PROMPT sh'",
             story_folder);
    assert_int_equal(tmux(words), 0);
    await_screen("PROMPT", NULL);
    start_top(&run);
    sizes_and_keys(&run);
    ends_by_signal(&run);
    assert_int_equal(tmux("kill-server"), 0);
    assert_int_equal(weir_of("stop", &run, "--now"), 0);
}

static int after(void **state)
{
    if (tmux("kill-server") == 0)
        print_message("a terminal was left\n");
    return story_after(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_story_commands_lead_through_the_life_of_a_run, after),
        cmocka_unit_test_teardown(test_story_commands_top_in_a_terminal, after),
    };
    const struct story_model model = {.vocabulary = 14, .ends = false};
    story_begin("commands");
    setenv("WEIR_RUN_ROOT", story_folder, 1);
    story_make_model(&model);
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
