/* reward/plugin_command.c - see the header. check and bench run the plugin in a child, which it may crash or hang. */
#include "reward/plugin_command.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "core/settings.h"
#include "core/wait.h"
#include "reward/plugin_instance.h"
#include "reward/plugin_rows.h"
#include "reward/plugin_services.h"

enum { OVERRIDES_MAX = 64, LIMIT_MS = 120000, ROWS_BYTES_MAX = 256 << 20 };

/* A word's command line: FILE [--rows F] [--seconds N] [--json] [reward.name=value ...] */
struct order {
    const char *plugin, *rows_path;
    bool json;
    int64_t seconds;
    const char *overrides[OVERRIDES_MAX];
    size_t override_count;
    char plugin_override[FILE_PATH_MAX + 32];
    struct config *config;
    struct settings settings;
    struct plugin_rows rows;
};

static const char default_rows[] =
    "{\"response\": \"The answer is #### 4\", \"ground_truth\": \"4\", \"prompt\": \"2 + 2 = ?\", "
    "\"answer\": \"4\"}\n"
    "{\"response\": \"#### 5\", \"ground_truth\": \"4\", \"prompt\": \"2 + 2 = ?\", \"answer\": "
    "\"4\"}\n"
    "{\"response\": \"\", \"ground_truth\": \"4\", \"prompt\": \"2 + 2 = ?\", \"answer\": \"4\"}\n";

void plugin_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stdout, fmt, args); /* lint: allow(printf): a command answers on stdout */
    va_end(args);
}

static int failed(const char *word)
{
    fprintf(stderr, "weir plugin %s: %s\n", word, status_sentence(status_last_error()));
    return EXIT_CODE_FAILED;
}

/* ---- the command line ---- */

static enum status read_argument(struct order *order, int argc, char **argv, int *at)
{
    const char *argument = argv[*at];
    bool more = *at + 1 < argc;
    if (strcmp(argument, "--json") == 0) {
        order->json = true;
        return STATUS_OK;
    }
    if (strcmp(argument, "--rows") == 0 && more) {
        order->rows_path = argv[++*at];
        return STATUS_OK;
    }
    if (strcmp(argument, "--seconds") == 0 && more) {
        char *end = NULL;
        order->seconds = strtol(argv[++*at], &end, 10);
        return *end == '\0' && order->seconds >= 1 && order->seconds <= 600
                   ? STATUS_OK
                   : FAIL(STATUS_INVALID, "--seconds wants 1 to 600");
    }
    if (strncmp(argument, "--", 2) == 0)
        return FAIL(STATUS_INVALID, "%s: no such option, or its value is missing", argument);
    if (strncmp(argument, "reward.", 7) == 0 && strchr(argument, '=') != NULL) {
        if (order->override_count == OVERRIDES_MAX - 1)
            return FAIL(STATUS_LIMIT, "more than %d settings", OVERRIDES_MAX - 1);
        order->overrides[order->override_count++] = argument;
        return STATUS_OK;
    }
    if (order->plugin != NULL)
        return FAIL(STATUS_INVALID, "%s: one FILE is wanted, and settings as reward.name=value",
                    argument);
    order->plugin = argument;
    return STATUS_OK;
}

/* NAME_rows.jsonl beside the file; "" when there is none. */
static enum status rows_beside(const char *plugin, char path[FILE_PATH_MAX])
{
    const char *end = strstr(plugin, ".py:");
    size_t length = end != NULL ? (size_t)(end - plugin) : strlen(plugin);
    for (size_t i = length; i > 0 && end == NULL && plugin[i - 1] != '/'; i--)
        if (plugin[i - 1] == '.') {
            length = i - 1;
            break;
        }
    return file_path(path, "%.*s_rows.jsonl", (int)length, plugin);
}

static enum status read_rows(struct order *order)
{
    char beside[FILE_PATH_MAX] = "";
    const char *path = order->rows_path;
    struct buffer text;
    TRY(rows_beside(order->plugin, beside));
    if (path == NULL && file_exists(beside))
        path = beside;
    buffer_init(&text, ROWS_BYTES_MAX);
    enum status status = path != NULL ? file_read(path, &text) : buffer_text(&text, default_rows);
    if (status == STATUS_OK)
        status = plugin_rows_read(&order->rows, path != NULL ? path : "built-in rows",
                                  buffer_string(&text));
    buffer_free(&text);
    return status;
}

static enum status read_order(struct order *order, int argc, char **argv)
{
    order->seconds = 3;
    for (int at = 1; at < argc; at++)
        TRY(read_argument(order, argc, argv, &at));
    if (order->plugin == NULL)
        return FAIL(STATUS_INVALID, "which FILE? a .so, recipe.yaml, file.py:function or a "
                                    "built-in name");
    snprintf(order->plugin_override, sizeof order->plugin_override, "reward.plugin=%s",
             order->plugin);
    order->overrides[order->override_count++] = order->plugin_override;
    struct config_input input = {.overrides = order->overrides,
                                 .override_count = order->override_count,
                                 .environment = true};
    TRY(config_load(&order->config, settings_sections, settings_section_count, &input,
                    &order->settings));
    return read_rows(order);
}

/* ---- in the child ---- */

static void say_plugin(const struct plugin_instance *plugin)
{
    static const char *const caps[] = {"batch", "group", "ids", "logprobs", "threadsafe"};
    plugin_say("plugin %s: ABI %u.%u, hash %016" PRIx64 ", caps", plugin->name,
               plugin->table.abi_major, plugin->table.abi_minor, plugin->hash);
    for (int i = 0; i < 5; i++)
        if ((plugin->table.caps >> i & 1) != 0)
            plugin_say(" %s", caps[i]);
    plugin_say("%s; self-test %s\n", plugin->table.caps == 0 ? " none" : "",
               plugin->table.selftest != NULL ? "passed" : "none");
}

static bool say_row(const struct order *order, const struct plugin_job *job)
{
    char wanted[128] = "";
    uint32_t index = job->score.sample;
    bool differs = plugin_rows_differs(&order->rows.rows[index], &job->score, wanted);
    const char *detail = job->detail != NULL ? job->detail : "{}";
    if (order->json)
        plugin_say("{\"row\":%u,\"status\":\"%s\",\"value\":%.17g,\"detail\":%s}\n", index + 1,
                   plugin_rows_status(job->score.status), job->score.value, detail);
    else
        plugin_say("row %u: %s %.9g %s%s%s\n", index + 1, plugin_rows_status(job->score.status),
                   job->score.value, detail, differs ? "  DIFFERS: " : "", differs ? wanted : "");
    return differs;
}

/* Waits for the next job at most `timeout_ms`. */
static struct plugin_job *next_job(struct plugin_host *host, int64_t timeout_ms)
{
    int64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    struct plugin_job *job = NULL;
    while ((job = plugin_host_take(host, clock_now_ns())) == NULL && clock_now_ns() < deadline_ns) {
        struct pollfd fd = {.fd = plugin_host_fd(host), .events = POLLIN};
        if (wait_poll("plugin_command", "plugin", 20, &fd, 1) == STATUS_IO)
            break;
    }
    return job;
}

static enum status submit_row(struct plugin_host *host, const struct order *order, uint32_t index)
{
    struct plugin_job *job = plugin_rows_job(&order->rows, index);
    if (job == NULL)
        return FAIL(STATUS_NO_MEMORY, "row %u", index + 1);
    enum status status = plugin_host_submit(host, job);
    if (status != STATUS_OK)
        plugin_rows_drop(job);
    return status;
}

struct tally {
    uint32_t scored, skipped, failed, different;
};

static void count(struct tally *tally, enum score_status status)
{
    bool scored = status == SCORE_OK || status == SCORE_FAIL,
         skipped = status == SCORE_SKIP || status == SCORE_UNSCORABLE;
    tally->scored += scored;
    tally->skipped += skipped;
    tally->failed += !scored && !skipped;
}

static enum status check_rows(struct plugin_host *host, const struct order *order,
                              struct tally *tally)
{
    int64_t patience_ms = 2 * (int64_t)order->settings.reward.timeout_ms + 1000;
    uint32_t sent = 0, got = 0;
    struct plugin_job **jobs = memory_array(order->rows.count, sizeof(struct plugin_job *));
    if (jobs == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u rows", order->rows.count);
    while (got < order->rows.count) {
        while (sent < order->rows.count && submit_row(host, order, sent) == STATUS_OK)
            sent++;
        struct plugin_job *job = next_job(host, patience_ms);
        if (job == NULL)
            return FAIL(STATUS_TIMEOUT, "%u of %u rows came back", got, order->rows.count);
        jobs[job->score.sample] = job;
        got++;
    }
    for (uint32_t i = 0; i < order->rows.count; i++) {
        tally->different += say_row(order, jobs[i]);
        count(tally, jobs[i]->score.status);
        if (!jobs[i]->held)
            plugin_rows_drop(jobs[i]);
    }
    memory_free(jobs);
    return STATUS_OK;
}

static int run_check(struct order *order)
{
    struct plugin_host *host = NULL;
    struct plugin_instance *plugin = NULL;
    struct tally tally = {0};
    if (plugin_services_open(order->settings.reward.judge) != STATUS_OK ||
        plugin_instance_open(&plugin, &order->settings.reward) != STATUS_OK)
        return failed("check");
    if (!order->json)
        say_plugin(plugin);
    plugin_instance_close(&plugin);
    enum status status = plugin_host_open(&host, &order->settings.reward);
    if (status == STATUS_OK)
        status = check_rows(host, order, &tally);
    if (status != STATUS_OK)
        return failed("check");
    bool stuck = plugin_host_stuck(host);
    if (!order->json)
        plugin_say("%u rows: %u scored, %u skipped, %u failed, %u not as expected%s\n",
                   order->rows.count, tally.scored, tally.skipped, tally.failed, tally.different,
                   stuck ? "; submit did not return at its deadline" : "");
    fflush(stdout);
    if (!stuck)
        plugin_host_close(&host, plugin_rows_drop);
    return tally.different > 0 || tally.failed > 0 || stuck ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

/* As many as keep every thread busy, and no more: latency is to be the plugin's, not that of a queue. */
static uint32_t in_flight_max(const struct plugin_host *host, const struct order *order)
{
    const struct reward_settings *settings = &order->settings.reward;
    uint64_t caps = plugin_host_caps(host);
    uint32_t most = settings->threads * ((caps & WEIR_REWARD_CAP_BATCH) != 0 ? settings->batch : 1);
    if ((caps & WEIR_REWARD_CAP_GROUP) != 0 && most < order->rows.count)
        most = order->rows.count;
    return most < settings->queue ? most : settings->queue;
}

/* Rows round and round for `seconds`; the latency of each is from submit to take. */
static enum status bench_rows(struct plugin_host *host, const struct order *order)
{
    enum { SAMPLES_MAX = 4 << 20 };
    int64_t *latency_ns = memory_array(SAMPLES_MAX, sizeof *latency_ns);
    if (latency_ns == NULL)
        return FAIL(STATUS_NO_MEMORY, "latencies");
    int64_t begin_ns = clock_now_ns(), end_ns = begin_ns + order->seconds * CLOCK_NS_PER_S;
    uint32_t most = in_flight_max(host, order), in_flight = 0, next = 0, failures = 0;
    size_t done = 0;
    while (done < SAMPLES_MAX && (clock_now_ns() < end_ns || in_flight > 0)) {
        bool feeding = clock_now_ns() < end_ns || next % order->rows.count != 0; /* groups whole */
        while (feeding && in_flight < most &&
               submit_row(host, order, next % order->rows.count) == STATUS_OK) {
            in_flight++;
            next++;
            feeding = clock_now_ns() < end_ns || next % order->rows.count != 0;
        }
        struct plugin_job *job = next_job(host, 1000);
        if (job == NULL)
            continue;
        latency_ns[done++] = clock_now_ns() - job->submitted_ns;
        failures += job->score.status == SCORE_ERROR || job->score.status == SCORE_TIMEOUT;
        in_flight--;
        if (!job->held)
            plugin_rows_drop(job);
    }
    double seconds = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_S;
    qsort(latency_ns, done, sizeof *latency_ns, compare);
    plugin_say(
        "{\"bench\":\"plugin\",\"plugin\":\"%s\",\"items\":%zu,\"seconds\":%.3f,"
        "\"items_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"in_flight\":%u,\"threads\":%u,"
        "\"batch\":%u,\"failed\":%u}\n",
        plugin_host_name(host), done, seconds, (double)done / seconds,
        done > 0 ? (double)latency_ns[done / 2] / 1000 : 0,
        done > 0 ? (double)latency_ns[done * 99 / 100] / 1000 : 0, most,
        order->settings.reward.threads, order->settings.reward.batch, failures);
    memory_free(latency_ns);
    return STATUS_OK;
}

static int run_bench(struct order *order)
{
    struct plugin_host *host = NULL;
    enum status status = plugin_services_open(order->settings.reward.judge);
    if (status == STATUS_OK)
        status = plugin_host_open(&host, &order->settings.reward);
    if (status == STATUS_OK)
        status = bench_rows(host, order);
    fflush(stdout);
    plugin_host_close(&host, plugin_rows_drop);
    return status == STATUS_OK ? EXIT_CODE_OK : failed("bench");
}

/* ---- the parent ---- */

static int wait_for(const char *word, pid_t child, int64_t limit_ms)
{
    int status = 0;
    if (wait_child("plugin_command", "plugin", limit_ms, child, &status) != STATUS_OK) {
        kill(-child, SIGKILL);
        waitpid(child, &status, 0);
        fprintf(stderr, "weir plugin %s: the plugin did not end within %" PRId64 " s\n", word,
                limit_ms / 1000);
        return EXIT_CODE_FAILED;
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "weir plugin %s: the plugin crashed: %s\n", word,
                strsignal(WTERMSIG(status)));
        return EXIT_CODE_FAILED;
    }
    return WEXITSTATUS(status);
}

static int run_word(const char *word, int argc, char **argv, int (*body)(struct order *))
{
    struct order order = {0};
    if (read_order(&order, argc, argv) != STATUS_OK) {
        failed(word);
        config_destroy(&order.config);
        return EXIT_CODE_USAGE;
    }
    fflush(stdout);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_CODE_FAILED);
        int code = body(&order);
        fflush(stdout);
        _exit(code); /* a plugin's thread may still run */
    }
    int64_t limit_ms = LIMIT_MS + order.seconds * 1000;
    int code = child > 0 ? wait_for(word, child, limit_ms) : EXIT_CODE_FAILED;
    plugin_rows_free(&order.rows);
    config_destroy(&order.config);
    return code;
}

int plugin_command_check(int argc, char **argv)
{
    return run_word("check", argc, argv, run_check);
}

int plugin_command_bench(int argc, char **argv)
{
    return run_word("bench", argc, argv, run_bench);
}

int plugin_command(int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*run)(int argc, char **argv);
    } words[] = {{"new", plugin_command_new},
                 {"check", plugin_command_check},
                 {"bench", plugin_command_bench}};
    for (size_t i = 0; argc > 1 && i < sizeof words / sizeof words[0]; i++)
        if (strcmp(argv[1], words[i].word) == 0)
            return words[i].run(argc - 1, argv + 1);
    fprintf(stderr, "weir plugin: new NAME [--python] | check FILE [--rows F] [--json] "
                    "[reward.name=value ...] | bench FILE [--seconds N] [--rows F] "
                    "[reward.name=value ...]\n");
    return EXIT_CODE_USAGE;
}
