/* tests/story.h - whole runs as tests: real processes, a folder of their own, deadlines, nothing left behind.
 *
 *     story_begin("orphans"); ... return story_end(cmocka_run_group_tests(tests, NULL, NULL));
 *     struct story_run run;
 *     story_start(&run, "a", "run.steps=6 store.max_staleness=0");
 *     assert_int_equal(story_wait(&run, 30000), 0);
 *
 * A story lives in BUILD_DIR/stories/<name>. Every process of its runs has that path on its command line; that
 * is how they are found, killed and, at the end, shown to be gone. A failed story keeps its folder. */
#ifndef TESTS_STORY_H
#define TESTS_STORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "ops/store_query.h"

enum { STORY_PIDS = 64, STORY_ARGUMENTS = 64, STORY_PAUSE_MS = 5, STORY_GONE_MS = 1000 };

struct story_run {
    char name[64]; /* of the run: unique on this machine, because /dev/shm is shared */
    char path[FILE_PATH_MAX], out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    pid_t pid; /* of `weir run`; 0: reaped */
};

static char story_folder[FILE_PATH_MAX - 200];
static const char *story_name;

static inline int64_t story_deadline_ns(int64_t limit_ms)
{
    return clock_now_ns() + limit_ms * CLOCK_NS_PER_MS;
}

/* ---- processes ---- */

/* Command line with spaces between the arguments; "" for a zombie or a process that is gone. */
static inline void story_command_line(pid_t pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/cmdline", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < got; i++)
        if (text[i] == 0)
            text[i] = ' ';
    text[got > 0 ? got : 0] = 0;
}

/* Processes of this story whose command line holds `program` and `also`, ourselves excluded. */
static inline unsigned story_find(const char *program, const char *also, pid_t pids[STORY_PIDS])
{
    unsigned count = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char line[8192];
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1 || pid == getpid() || count == STORY_PIDS)
            continue;
        story_command_line(pid, line, sizeof line);
        if (strstr(line, story_folder) != NULL && strstr(line, program) != NULL &&
            strstr(line, also) != NULL)
            pids[count++] = pid;
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* The one process of the run: "weir-actor" with "--index 1". 0: there is none now. */
static inline pid_t story_process(const struct story_run *run, const char *program, unsigned index)
{
    char also[160];
    pid_t pids[STORY_PIDS];
    snprintf(also, sizeof also, "--run %s ", run->name);
    unsigned count = story_find(program, also, pids);
    snprintf(also, sizeof also, "--index %u ", index);
    for (unsigned i = 0; i < count; i++) {
        char line[8192];
        story_command_line(pids[i], line, sizeof line);
        if (strstr(line, also) != NULL)
            return pids[i];
    }
    return 0;
}

/* Milliseconds until no process of the story is left; -1 when some still are after limit_ms. */
static inline int64_t story_await_gone(int64_t limit_ms)
{
    pid_t pids[STORY_PIDS];
    int64_t begin_ns = clock_now_ns();
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ; /* orphans come to us */
        int64_t ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
        if (story_find("", "", pids) == 0)
            return ms;
        if (ms > limit_ms)
            return -1;
        clock_sleep_ms(STORY_PAUSE_MS);
    }
}

static inline void story_print_left(void)
{
    pid_t pids[STORY_PIDS];
    unsigned count = story_find("", "", pids);
    for (unsigned i = 0; i < count; i++) {
        char line[8192];
        story_command_line(pids[i], line, sizeof line);
        print_message("still there: %ld %.300s\n", (long)pids[i], line);
    }
}

static inline void story_kill_all(void)
{
    pid_t pids[STORY_PIDS];
    for (int round = 0; round < 100; round++) {
        unsigned count = story_find("", "", pids);
        for (unsigned i = 0; i < count; i++)
            kill(pids[i], SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (count == 0)
            return;
        clock_sleep_ms(STORY_PAUSE_MS);
    }
}

/* ---- commands ---- */

static inline int story_open_output(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

/* Runs BUILD_DIR/bin/<program> in the source folder. It dies with us, so that a story stopped from outside
 * leaves nothing either. */
static inline pid_t story_spawn(const char *program, const char *const *arguments, const char *out,
                                const char *err)
{
    char path[FILE_PATH_MAX];
    const char *argv[STORY_ARGUMENTS] = {path};
    size_t count = 1;
    assert_int_equal(file_path(path, "%s/bin/%s", BUILD_DIR, program), STATUS_OK);
    for (; arguments[count - 1] != NULL; count++) {
        assert_true(count + 1 < STORY_ARGUMENTS);
        argv[count] = arguments[count - 1];
    }
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out_fd = story_open_output(out), err_fd = story_open_output(err);
    if (getppid() != parent || chdir(SOURCE_DIR) != 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
        dup2(err_fd, STDERR_FILENO) < 0)
        _exit(126);
    execv(path, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Exit code, 128 + signal, or -1 when it still runs after limit_ms (it keeps running). */
static inline int story_wait_pid(pid_t pid, int64_t limit_ms)
{
    int64_t end_ns = story_deadline_ns(limit_ms);
    for (;;) {
        int ended;
        pid_t got = waitpid(pid, &ended, WNOHANG);
        if (got == pid)
            return WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
        if (got < 0 || clock_now_ns() > end_ns)
            return -1;
        clock_sleep_ms(STORY_PAUSE_MS);
    }
}

/* ---- files ---- */

static inline char *story_path(char out[FILE_PATH_MAX], const char *name)
{
    assert_int_equal(file_path(out, "%s/%s", story_folder, name), STATUS_OK);
    return out;
}

static inline void story_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Whole file, NUL-terminated, cut at size; "" when it is missing. */
static inline char *story_read(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t got = file != NULL ? fread(text, 1, size - 1, file) : 0;
    text[got] = 0;
    if (file != NULL)
        fclose(file);
    return text;
}

static inline void story_copy(const char *from, const char *to)
{
    static char bytes[1 << 16];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    assert_non_null(in);
    assert_non_null(out);
    for (size_t got; (got = fread(bytes, 1, sizeof bytes, in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, got, out), got);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* ---- the model: random, tiny, 7 lightning layers and a softmax layer, 2 of 4 experts ---- */

struct story_model {
    unsigned vocabulary; /* 14: the addition task's tokens; 257: bytes */
    bool ends; /* there is an end-of-text token; without it every rollout has its budget */
};

static inline void story_write_config(const char *path, const struct story_model *model)
{
    char eos[16] = "null";
    if (model->ends)
        snprintf(eos, sizeof eos, "%u", model->vocabulary - 1);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"architectures\": [\"MiniMaxM1ForCausalLM\"], \"model_type\": \"minimax_m1\",\n"
            "\"attn_type_list\": [0, 0, 0, 0, 0, 0, 0, 1], \"vocab_size\": %u,\n"
            "\"hidden_size\": 32, \"intermediate_size\": 32, \"num_hidden_layers\": 8,\n"
            "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 16,\n"
            "\"rotary_dim\": 8, \"rope_theta\": 10000.0, \"rms_norm_eps\": 1e-05,\n"
            "\"hidden_act\": \"silu\", \"num_local_experts\": 4, \"num_experts_per_tok\": 2,\n"
            "\"shared_intermediate_size\": 0, \"postnorm\": true, \"tie_word_embeddings\": false,\n"
            "\"layernorm_full_attention_alpha\": 2.0, \"layernorm_full_attention_beta\": 1.0,\n"
            "\"layernorm_linear_attention_alpha\": 2.0, \"layernorm_linear_attention_beta\": 1.0,\n"
            "\"layernorm_mlp_alpha\": 2.0, \"layernorm_mlp_beta\": 1.0,\n"
            "\"router_aux_loss_coef\": 0.001, \"router_jitter_noise\": 0.0,\n"
            "\"max_position_embeddings\": 4096, \"initializer_range\": 0.02,\n"
            "\"bos_token_id\": null, \"eos_token_id\": %s, \"torch_dtype\": \"float32\"}\n",
            model->vocabulary, eos);
    assert_int_equal(fclose(file), 0);
}

/* Makes <story>/model with `weir init`. */
static inline void story_make_model(const struct story_model *model)
{
    char start[FILE_PATH_MAX], path[FILE_PATH_MAX], out[FILE_PATH_MAX], text[2000];
    assert_int_equal(file_make_dirs(story_path(start, "start")), STATUS_OK);
    story_write_config(story_path(path, "start/config.json"), model);
    if (model->vocabulary == 14)
        story_copy(SOURCE_DIR "/examples/addition/start/tokenizer.json",
                   story_path(path, "start/tokenizer.json"));
    if (model->vocabulary == 14 && model->ends)
        story_copy(SOURCE_DIR "/examples/addition/start/tokenizer_config.json",
                   story_path(path, "start/tokenizer_config.json"));
    story_path(path, "start/config.json");
    const char *arguments[] = {"init", path, story_path(out, "model"), "3", NULL};
    char said[FILE_PATH_MAX], failed[FILE_PATH_MAX];
    pid_t pid = story_spawn("weir", arguments, story_path(said, "init.out"),
                            story_path(failed, "init.err"));
    int code = story_wait_pid(pid, 20000);
    if (code != 0)
        print_message("weir init: exit %d: %s\n", code, story_read(failed, text, sizeof text));
    assert_int_equal(code, 0);
}

/* ---- runs ---- */

/* What all stories share; each run overrides what it is about. */
static const char *const story_recipe =
    "run:\n  steps: 6\n  actors: 2\n"
    "model:\n  path: %s/model\n"
    "data:\n  train: " SOURCE_DIR "/examples/addition/train.jsonl\n  prompt_tokens_max: 16\n"
    "sampling:\n  response_tokens_max: 24\n"
    "store:\n  group_size: 4\n  groups_per_publish: 4\n"
    "actor:\n  slots: 16\n  prefill_tokens: 128\n  segment_tokens: 8\n  segment_ms: 20\n"
    "learner:\n  checkpoint_every: 100\n  plan_timeout_s: 30\n"
    "optim:\n  lr: 1e-3\n"
    "reward:\n  plugin: " BUILD_DIR "/tests/plugins/share.so\n"
    "redis:\n  mode: \"off\"\n";

static inline void story_name_run(struct story_run *run, const char *name)
{
    char part[FILE_PATH_MAX];
    *run = (struct story_run){0};
    snprintf(run->name, sizeof run->name, "story-%s-%s-%ld", story_name, name, (long)getpid());
    story_path(run->path, run->name);
    snprintf(part, sizeof part, "%s.out", name);
    story_path(run->out, part);
    snprintf(part, sizeof part, "%s.err", name);
    story_path(run->err, part);
}

/* `settings`: overrides with blanks between them. The name of a run that exists needs run.resume=true. */
static inline void story_start_recipe(struct story_run *run, const char *recipe, const char *name,
                                      const char *settings)
{
    static char words[4096];
    char root[FILE_PATH_MAX];
    const char *arguments[STORY_ARGUMENTS] = {"run", recipe, "--quiet", "--name"};
    size_t count = 5;
    story_name_run(run, name);
    snprintf(root, sizeof root, "run.root=%s", story_folder);
    arguments[4] = run->name;
    arguments[count++] = root;
    snprintf(words, sizeof words, "%s", settings);
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        arguments[count++] = word;
    arguments[count] = NULL;
    run->pid = story_spawn("weir", arguments, run->out, run->err);
}

static inline void story_start(struct story_run *run, const char *name, const char *settings)
{
    char recipe[FILE_PATH_MAX];
    story_start_recipe(run, story_path(recipe, "recipe.yaml"), name, settings);
}

static inline int story_wait(struct story_run *run, int64_t limit_ms)
{
    static char text[4000];
    int code = story_wait_pid(run->pid, limit_ms);
    if (code >= 0)
        run->pid = 0;
    if (code != 0)
        print_message("run %s: exit %d (-1: still runs after %lld ms): %s\n", run->name, code,
                      (long long)limit_ms, story_read(run->err, text, sizeof text));
    return code;
}

static inline void story_run_whole(struct story_run *run, const char *name, const char *settings,
                                   int64_t limit_ms)
{
    story_start(run, name, settings);
    assert_int_equal(story_wait(run, limit_ms), 0);
}

static inline bool story_said(const char *path, const char *part)
{
    static char text[1 << 16];
    if (strstr(story_read(path, text, sizeof text), part) != NULL)
        return true;
    print_message("\"%s\" is not in %s, which says:\n%.3000s\n", part, path, text);
    return false;
}

/* Text of one process's log of the newest attempt. */
static inline char *story_log(const struct story_run *run, const char *process, char *text,
                              size_t size)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/logs/latest/%s.log", run->path, process), STATUS_OK);
    return story_read(path, text, size);
}

/* ---- metrics.jsonl ---- */

/* Array of the whole lines; a line that does not parse fails the test. Free with json_decref. */
static inline json_t *story_metrics(const struct story_run *run)
{
    char path[FILE_PATH_MAX];
    json_t *lines = json_array();
    assert_int_equal(file_path(path, "%s/metrics.jsonl", run->path), STATUS_OK);
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    for (ssize_t got; file != NULL && (got = getline(&line, &room, file)) > 0;) {
        if (line[got - 1] != '\n')
            break; /* being written */
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        json_array_append_new(lines, object);
    }
    free(line); /* lint: allow(free): getline's */
    if (file != NULL)
        fclose(file);
    return lines;
}

static inline size_t story_steps(const struct story_run *run)
{
    json_t *lines = story_metrics(run);
    size_t count = json_array_size(lines);
    json_decref(lines);
    return count;
}

static inline double story_number(const json_t *lines, size_t index, const char *key)
{
    const json_t *value = json_object_get(json_array_get(lines, index), key);
    if (!json_is_number(value))
        print_message("line %zu has no number %s\n", index + 1, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static inline const char *story_digest(const json_t *lines, size_t index)
{
    const char *text = json_string_value(json_object_get(json_array_get(lines, index), "digest"));
    assert_non_null(text);
    return text;
}

/* Every step 1..steps is there once, in order. */
static inline void story_assert_steps(const json_t *lines, size_t steps)
{
    assert_int_equal(json_array_size(lines), steps);
    for (size_t i = 0; i < steps; i++)
        assert_int_equal((int64_t)story_number(lines, i, "step"), (int64_t)i + 1);
}

static inline void story_assert_same_digests(const json_t *a, const json_t *b)
{
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++)
        assert_string_equal(story_digest(a, i), story_digest(b, i));
}

/* Until metrics.jsonl has `steps` lines; fails when the run ends before or after limit_ms. */
static inline void story_await_steps(struct story_run *run, size_t steps, int64_t limit_ms)
{
    int64_t end_ns = story_deadline_ns(limit_ms);
    while (story_steps(run) < steps) {
        siginfo_t ended = {0};
        waitid(P_PID, (id_t)run->pid, &ended, WEXITED | WNOHANG | WNOWAIT);
        if (ended.si_pid != 0 || clock_now_ns() > end_ns)
            print_message("%zu steps of %zu, the run %s\n", story_steps(run), steps,
                          ended.si_pid != 0 ? "has ended" : "goes on");
        assert_true(ended.si_pid == 0 && clock_now_ns() <= end_ns);
        clock_sleep_ms(STORY_PAUSE_MS);
    }
}

/* ---- the store's status ---- */

struct story_view {
    struct store_query *query;
    struct buffer text;
};

static inline void story_view_open(struct story_view *view, const struct story_run *run)
{
    struct settings settings = {0};
    char endpoint[FILE_PATH_MAX];
    settings.store.endpoint = "";
    assert_int_equal(store_endpoint(&settings, run->path, endpoint), STATUS_OK);
    buffer_init(&view->text, 0);
    assert_int_equal(store_query_open(&view->query, endpoint, run->name, NULL), STATUS_OK);
}

static inline void story_view_close(struct story_view *view)
{
    store_query_close(&view->query);
    buffer_free(&view->text);
}

/* NULL: no answer within limit_ms. */
static inline json_t *story_status(struct story_view *view, int64_t limit_ms)
{
    if (store_query_ask(view->query, "status", "{}", limit_ms, &view->text) != STATUS_OK)
        return NULL;
    return json_loadb((const char *)view->text.bytes, view->text.size, 0, NULL);
}

static inline uint64_t story_counter(const json_t *status, const char *name)
{
    const json_t *value = json_object_get(json_object_get(status, "counters"), name);
    if (!json_is_integer(value))
        print_message("status has no counter %s\n", name);
    assert_true(json_is_integer(value));
    return (uint64_t)json_integer_value(value);
}

/* Sum of a statistic over the peers of one role. */
static inline double story_peer_sum(const json_t *status, const char *role, const char *name)
{
    double sum = 0;
    size_t i;
    json_t *peer;
    json_array_foreach(json_object_get(status, "peers"), i, peer)
    {
        const char *is = json_string_value(json_object_get(peer, "role"));
        if (is != NULL && strcmp(is, role) == 0)
            sum += json_number_value(json_object_get(json_object_get(peer, "stats"), name));
    }
    return sum;
}

/* ---- shared memory ---- */

static inline unsigned story_shared_memory(const struct story_run *run)
{
    char prefix[96];
    unsigned count = 0;
    snprintf(prefix, sizeof prefix, "weir.%s.", run->name);
    DIR *dir = opendir("/dev/shm");
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (dir != NULL)
        closedir(dir);
    return count;
}

static inline void story_sweep_shared_memory(void)
{
    char prefix[96], end[32];
    snprintf(prefix, sizeof prefix, "weir.story-%s-", story_name);
    snprintf(end, sizeof end, "-%ld.", (long)getpid());
    DIR *dir = opendir("/dev/shm");
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            strstr(entry->d_name, end) != NULL)
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

/* ---- set-up and tear-down ---- */

static inline void story_begin(const char *name)
{
    char path[FILE_PATH_MAX], recipe[4096];
    story_name = name;
    snprintf(story_folder, sizeof story_folder, "%s/stories/%s", BUILD_DIR, name);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans come to us, so that they can be seen */
    story_kill_all();                 /* of an earlier try */
    assert_int_equal(file_remove_tree(story_folder), STATUS_OK);
    assert_int_equal(file_make_dirs(story_folder), STATUS_OK);
    snprintf(recipe, sizeof recipe, story_recipe, story_folder); /* lint: one %s, above */
    story_write(story_path(path, "recipe.yaml"), recipe);
}

/* After each test: nothing may be left but what the test killed itself. */
static inline int story_after(void **state)
{
    (void)state;
    bool gone = story_await_gone(STORY_GONE_MS) >= 0;
    if (!gone) {
        story_print_left();
        story_kill_all();
    }
    return gone ? 0 : -1;
}

static inline int story_end(int failures)
{
    story_kill_all();
    story_sweep_shared_memory();
    if (failures == 0 && file_remove_tree(story_folder) != STATUS_OK)
        return 1;
    if (failures != 0)
        print_message("logs are kept in %s\n", story_folder);
    return failures;
}

#define STORY_TEST(function) cmocka_unit_test_teardown(function, story_after)

#endif
