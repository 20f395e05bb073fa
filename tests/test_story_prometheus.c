/* links: ops reward transport */
/* label: integration */
/* timeout: 150 */
/* A live run under a real Prometheus: every process is found and scraped, its text is clean for promtool, counters do not
 * fall and histograms add up; every alert rule is sound and every expression of the Grafana dashboards has a value. Skipped
 * where Debian's package prometheus is missing. Loopback only. */
#include "tests/story.h"

#include <math.h>
#include <sys/socket.h>

#include "core/memory.h"
#include "tests/local_port.h"
#include "transport/listen.h"
#include "transport/monitor.h"

enum { TEXT_MAX = 1 << 20, SOON_MS = 30000, LIMIT_MS = 60000, EXPRESSIONS_MAX = 400 };

/* ---- HTTP ---- */

/* The body, NUL-terminated; NULL: nobody answers, or not with 200. */
static char *get(const char *address, const char *path)
{
    static char answer[TEXT_MAX];
    local_get(local_port_of(address), path, answer, sizeof answer);
    char *body = strstr(answer, "\r\n\r\n");
    bool fine =
        strncmp(answer, "HTTP/1.0 200", 12) == 0 || strncmp(answer, "HTTP/1.1 200", 12) == 0;
    return fine && body != NULL ? body + 4 : NULL;
}

/* ---- programs ---- */

static pid_t start_program(const char *const *arguments, const char *in, const char *out)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int in_fd = open(in, O_RDONLY | O_CLOEXEC), out_fd = story_open_output(out);
    if (getppid() != parent || dup2(in_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
        dup2(out_fd, STDERR_FILENO) < 0)
        _exit(126);
    execv(arguments[0], (char *const *)(uintptr_t)arguments);
    _exit(127);
}

static void check_with_promtool(const char *process, const char *text)
{
    char in[FILE_PATH_MAX], out[FILE_PATH_MAX], name[128], said[4000];
    snprintf(name, sizeof name, "%s.txt", process);
    story_write(story_path(in, name), text);
    snprintf(name, sizeof name, "%s.promtool", process);
    const char *const arguments[] = {"/usr/bin/promtool", "check", "metrics", NULL};
    int code = story_wait_pid(start_program(arguments, in, story_path(out, name)), SOON_MS);
    story_read(out, said, sizeof said);
    if (code != 0 || said[0] != 0)
        print_message("%s: promtool check metrics: %d\n%s\n", process, code, said);
    assert_int_equal(code, 0);
    assert_string_equal(said, "");
}

/* ---- the run ---- */

static json_t *targets_of(const struct story_run *run)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/targets.json", run->path), STATUS_OK);
    return json_load_file(path, 0, NULL);
}

static const char *address_of(const json_t *target)
{
    return json_string_value(json_array_get(json_object_get(target, "targets"), 0));
}

static const char *process_of(const json_t *target)
{
    return json_string_value(json_object_get(json_object_get(target, "labels"), "process"));
}

static json_t *await_targets(const struct story_run *run, size_t count)
{
    for (int64_t end_ns = story_deadline_ns(SOON_MS); clock_now_ns() < end_ns;) {
        json_t *targets = targets_of(run);
        if (json_array_size(targets) == count)
            return targets;
        json_decref(targets);
        clock_sleep_ms(50);
    }
    fail_msg("targets.json does not name %zu processes", count);
    return NULL;
}

static void await_steps(const struct story_run *run, size_t steps)
{
    int64_t end_ns = story_deadline_ns(SOON_MS);
    while (story_steps(run) < steps && clock_now_ns() < end_ns)
        clock_sleep_ms(50);
    assert_true(story_steps(run) >= steps);
}

/* A GPU for the panels of GPUs: a monitor of another machine, as far as the supervisor knows, which shares the folder. */
static struct monitor *stand_for_a_gpu(const struct story_run *run)
{
    struct monitor *monitor = NULL;
    struct monitor_options options = {.http = "auto",
                                      .run = run->name,
                                      .role = "actor",
                                      .index = 99,
                                      .run_folder = run->path,
                                      .nvml = BUILD_DIR "/tests/fake_nvml.so"};
    assert_int_equal(monitor_open(&monitor, &options), STATUS_OK);
    monitor_set_device(monitor, "cuda:0");
    return monitor;
}

/* ---- what a scrape must hold ---- */

/* Of "name{labels} value" lines: the value of `series` (name and labels) in text; NAN when it is not there. */
static double value_of(const char *text, const char *series, size_t size)
{
    for (const char *at = text; (at = strstr(at, "\n")) != NULL;) {
        at++;
        if (strncmp(at, series, size) == 0 && at[size] == ' ')
            return strtod(at + size, NULL);
    }
    return (double)NAN;
}

static bool ends_with(const char *text, size_t size, const char *end)
{
    return size >= strlen(end) && memcmp(text + size - strlen(end), end, strlen(end)) == 0;
}

/* Counters, buckets and counts of the first text are no larger in the second; the bucket of all is the count. */
static void check_growth(const char *process, const char *first, const char *second)
{
    unsigned counters = 0;
    for (const char *line = first, *end; *line != 0; line = end + (*end == '\n')) {
        end = line + strcspn(line, "\n");
        const char *brace = memchr(line, '{', (size_t)(end - line));
        const char *close = brace != NULL ? strstr(brace, "} ") : NULL;
        if (line[0] == '#' || close == NULL || close > end)
            continue;
        size_t name = (size_t)(brace - line), series = (size_t)(close + 1 - line);
        if (!ends_with(line, name, "_total") && !ends_with(line, name, "_bucket") &&
            !ends_with(line, name, "_count"))
            continue;
        double before = strtod(close + 1, NULL), after = value_of(second, line, series);
        if (!(after >= before))
            print_message("%s: %.*s was %g and is %g\n", process, (int)series, line, before, after);
        assert_true(after >= before);
        counters++;
        if (!ends_with(line, name, "_count"))
            continue;
        char all[1024];
        snprintf(all, sizeof all, "%.*s_bucket%.*s,le=\"+Inf\"}", (int)(name - 6), line,
                 (int)(series - name - 1), brace);
        assert_true(value_of(first, all, strlen(all)) == before);
    }
    assert_true(counters > 0);
}

static void check_processes(const json_t *targets)
{
    static char first[TEXT_MAX];
    size_t index;
    const json_t *target;
    json_array_foreach(targets, index, target)
    {
        const char *address = address_of(target), *process = process_of(target);
        const char *text = get(address, "/metrics");
        assert_non_null(text);
        snprintf(first, sizeof first, "\n%s", text);
        check_with_promtool(process, first + 1);
        clock_sleep_ms(100);
        text = get(address, "/metrics");
        assert_non_null(text);
        check_growth(process, first, text - 1); /* its empty line ends in a newline */
        assert_non_null(get(address, "/live"));
        if (strcmp(process, "actor.99") != 0)
            assert_non_null(get(address, "/ready"));
    }
}

/* ---- Prometheus ---- */

static pid_t start_prometheus(const struct story_run *run, char address[64])
{
    static char config[FILE_PATH_MAX + 32], data[FILE_PATH_MAX + 32], listen[128], text[8192];
    char path[FILE_PATH_MAX], out[FILE_PATH_MAX];
    struct listener listener;
    assert_int_equal(listen_open(&listener, "127.0.0.1:0", 0), STATUS_OK);
    snprintf(address, 64, "%.60s", listener.address);
    close(listener.fd);
    snprintf(text, sizeof text,
             "global: {scrape_interval: 500ms, evaluation_interval: 1s}\n"
             "rule_files: [%s/ops/prometheus/alerts.yml]\n"
             "scrape_configs:\n"
             "  - job_name: weir\n    honor_labels: true\n    scrape_timeout: 500ms\n"
             "    file_sd_configs: [{files: [\"%s/targets.json\"], refresh_interval: 1s}]\n",
             SOURCE_DIR, run->path);
    story_write(story_path(path, "prometheus.yml"), text);
    snprintf(config, sizeof config, "--config.file=%s", path);
    snprintf(data, sizeof data, "--storage.tsdb.path=%s", story_path(path, "tsdb"));
    snprintf(listen, sizeof listen, "--web.listen-address=%s", address);
    const char *const arguments[] = {"/usr/bin/prometheus", config, data, listen, NULL};
    return start_program(arguments, "/dev/null", story_path(out, "prometheus.log"));
}

/* data of an API answer; a new reference, NULL: no answer. */
static json_t *ask_prometheus(const char *address, const char *path)
{
    const char *body = get(address, path);
    json_t *answer = body != NULL ? json_loads(body, 0, NULL) : NULL;
    json_t *data = json_incref(json_object_get(answer, "data"));
    json_decref(answer);
    return data;
}

static size_t samples_of(const char *address, const char *expression)
{
    static char path[8192];
    size_t used = (size_t)snprintf(path, sizeof path, "/api/v1/query?query=");
    for (const char *c = expression; *c != 0 && used + 4 < sizeof path; c++)
        used += (size_t)snprintf(path + used, sizeof path - used,
                                 isalnum((unsigned char)*c) ? "%c" : "%%%02X", (unsigned char)*c);
    json_t *data = ask_prometheus(address, path);
    size_t count = json_array_size(json_object_get(data, "result"));
    json_decref(data);
    return count;
}

struct expressions {
    char *text[EXPRESSIONS_MAX]; /* what is to be asked; NULL: it was answered */
    size_t count;
};

static void put_in_place(char *text, size_t size, const char *variable, const char *value)
{
    char copy[2048];
    for (char *at; (at = strstr(text, variable)) != NULL;) {
        snprintf(copy, sizeof copy, "%s", at + strlen(variable));
        snprintf(at, size - (size_t)(at - text), "%s%s", value, copy);
    }
}

static void add_expressions(const json_t *node, const struct story_run *run,
                            struct expressions *expressions)
{
    const char *key;
    json_t *value;
    size_t index;
    if (json_is_array(node))
        json_array_foreach(node, index, value) add_expressions(value, run, expressions);
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        if (strcmp(key, "expr") != 0) {
            add_expressions(value, run, expressions);
            continue;
        }
        char text[2048];
        assert_true(expressions->count < EXPRESSIONS_MAX);
        snprintf(text, sizeof text, "%s", json_string_value(value));
        put_in_place(text, sizeof text, "$__rate_interval", "10s");
        put_in_place(text, sizeof text, "$run", run->name);
        assert_null(strchr(text, '$'));
        expressions->text[expressions->count++] = memory_text(text);
    }
}

static void read_dashboards(const struct story_run *run, struct expressions *expressions)
{
    static const char *const names[] = {"overview", "fleet", "policy", "performance"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[FILE_PATH_MAX];
        size_t before = expressions->count;
        assert_int_equal(file_path(path, "%s/ops/grafana/%s.json", SOURCE_DIR, names[i]),
                         STATUS_OK);
        json_t *dashboard = json_load_file(path, 0, NULL);
        assert_non_null(dashboard);
        add_expressions(dashboard, run, expressions);
        json_decref(dashboard);
        assert_true(expressions->count > before + 10);
    }
}

/* Asked again until each has a sample. */
static void check_expressions(const struct story_run *run, const char *address)
{
    static struct expressions expressions;
    size_t left = 0;
    read_dashboards(run, &expressions);
    for (int64_t end_ns = story_deadline_ns(SOON_MS); clock_now_ns() < end_ns;) {
        left = 0;
        for (size_t i = 0; i < expressions.count; i++) {
            if (expressions.text[i] != NULL && samples_of(address, expressions.text[i]) > 0) {
                memory_free(expressions.text[i]);
                expressions.text[i] = NULL;
            }
            left += expressions.text[i] != NULL;
        }
        if (left == 0)
            break;
        clock_sleep_ms(500);
    }
    for (size_t i = 0; i < expressions.count; i++)
        if (expressions.text[i] != NULL)
            print_message("no sample: %s\n", expressions.text[i]);
    assert_int_equal(left, 0);
}

static void check_rules(const char *address)
{
    json_t *data = ask_prometheus(address, "/api/v1/rules"), *group, *rule;
    size_t g, r, seen = 0;
    json_array_foreach(json_object_get(data, "groups"), g, group)
        json_array_foreach(json_object_get(group, "rules"), r, rule)
    {
        const char *health = json_string_value(json_object_get(rule, "health"));
        if (strcmp(health, "ok") != 0)
            print_message("%s: %s\n", json_string_value(json_object_get(rule, "name")), health);
        assert_string_equal(health, "ok");
        seen++;
    }
    assert_true(seen >= 10);
    json_decref(data);
}

static void test_story_prometheus_finds_scrapes_and_understands_every_process(void **state)
{
    (void)state;
    struct story_run run;
    char address[64], path[FILE_PATH_MAX];
    story_start(&run, "live", "run.steps=100000 run.actors=2 dash.mode=off");
    json_t *targets = await_targets(&run, 6);
    pid_t prometheus = start_prometheus(&run, address);
    struct monitor *gpu = stand_for_a_gpu(&run);
    await_steps(&run, 3);
    json_decref(targets);
    targets = await_targets(&run, 7);
    check_processes(targets);
    check_expressions(&run, address);
    check_rules(address);
    char up[160];
    snprintf(up, sizeof up, "up{job=\"weir\",run=\"%s\"} == 1", run.name);
    assert_int_equal(samples_of(address, up), 7);
    assert_int_equal(kill(prometheus, SIGTERM), 0);
    assert_int_equal(story_wait_pid(prometheus, SOON_MS), 0);
    monitor_close(&gpu);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    json_decref(targets);
    targets = targets_of(&run); /* over: nobody */
    assert_true(json_is_array(targets));
    assert_int_equal(json_array_size(targets), 0);
    json_decref(targets);
    assert_int_equal(file_path(path, "%s.targets.json", run.path), STATUS_OK);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* The rules file is what the table of alerts says today, and does what its unit tests say. */
static void test_story_prometheus_rules_are_those_of_the_table(void **state)
{
    (void)state;
    static char made[1 << 16], stored[1 << 16];
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    const char *const docs[] = {"docs", "prometheus-rules", NULL};
    pid_t pid =
        story_spawn("weir", docs, story_path(out, "rules.yml"), story_path(err, "rules.err"));
    assert_int_equal(story_wait_pid(pid, SOON_MS), 0);
    assert_string_equal(story_read(out, made, sizeof made),
                        story_read(SOURCE_DIR "/ops/prometheus/alerts.yml", stored, sizeof stored));
    const char *const own[] = {"docs", "prometheus-rules", "alerts.truncated=0.375",
                               "learner.grad_norm_alarm=0", NULL};
    pid = story_spawn("weir", own, story_path(out, "own.yml"), story_path(err, "own.err"));
    assert_int_equal(story_wait_pid(pid, SOON_MS), 0);
    assert_non_null(strstr(story_read(out, made, sizeof made), "0.375"));
    assert_null(strstr(made, "WeirGradNorm"));
    const char *const test[] = {"/usr/bin/promtool", "test", "rules",
                                SOURCE_DIR "/ops/prometheus/alerts_test.yml", NULL};
    int code = story_wait_pid(start_program(test, "/dev/null", out), SOON_MS);
    if (code != 0)
        print_message("%s\n", story_read(out, made, sizeof made));
    assert_int_equal(code, 0);
    const char *const check[] = {"/usr/bin/promtool", "check", "config",
                                 SOURCE_DIR "/ops/prometheus/prometheus.yml", NULL};
    assert_int_equal(story_wait_pid(start_program(check, "/dev/null", out), SOON_MS), 0);
}

int main(void)
{
    if (access("/usr/bin/prometheus", X_OK) != 0 || access("/usr/bin/promtool", X_OK) != 0) {
        puts("skipped: prometheus and promtool are missing (apt-get install prometheus)");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_prometheus_rules_are_those_of_the_table),
        STORY_TEST(test_story_prometheus_finds_scrapes_and_understands_every_process)};
    story_begin("prometheus");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
