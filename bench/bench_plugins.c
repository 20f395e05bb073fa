/* links: reward proto text transport sandbox core */
/* What a score costs besides its rule: a plugin that does next to nothing called in this thread, through the host (one
 * by one and in batches), through a recipe, and as the same function in Python. One run, the cases in turn, so that
 * ratios are those of one machine. JSON lines with the limit beside the figure. argv[1]: folder of the build. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/wait.h"
#include "reward/plugin_host.h"
#include "reward/plugin_instance.h"

enum { ROUND_MS = 400, ROUNDS = 3, IN_FLIGHT = 64 };

static const char text[] = "7+6+0=13;2+5+1=08;8+9+0=17;4+1+1=06;06783";

static weir_reward_item item_of(void)
{
    return (weir_reward_item){.struct_size = sizeof(weir_reward_item),
                              .group_size = 1,
                              .data_source = {"bench", 5},
                              .prompt_text = {"", 0},
                              .prompt_json = {"", 0},
                              .response = {text, sizeof text - 1},
                              .ground_truth_json = {"\"06783\"", 7},
                              .extra_json = {"{}", 2}};
}

static void drop(struct plugin_job *job)
{
    memory_free(job->detail);
    memory_free(job);
}

static struct reward_settings settings_of(const char *plugin, uint32_t threads, uint32_t batch)
{
    return (struct reward_settings){.plugin = plugin,
                                    .config = "{}",
                                    .timeout_ms = 10000,
                                    .queue = 1024,
                                    .clip_low = -10,
                                    .clip_high = 10,
                                    .threads = threads,
                                    .batch = batch,
                                    .python = "python3"};
}

static bool feed(struct plugin_host *host)
{
    struct plugin_job *job = memory_alloc(sizeof *job);
    if (job == NULL)
        return false;
    job->item = item_of();
    if (plugin_host_submit(host, job) == STATUS_OK)
        return true;
    drop(job);
    return false;
}

/* Items a second. */
static double run_host(const char *plugin, uint32_t threads, uint32_t batch)
{
    struct plugin_host *host = NULL;
    struct reward_settings settings = settings_of(plugin, threads, batch);
    if (plugin_host_open(&host, &settings) != STATUS_OK) {
        fprintf(stderr, "%s\n", status_last_error());
        return 0;
    }
    int64_t begin_ns = clock_now_ns(), end_ns = begin_ns + (int64_t)ROUND_MS * CLOCK_NS_PER_MS;
    uint64_t done = 0, in_flight = 0;
    while (clock_now_ns() < end_ns || in_flight > 0) {
        while (clock_now_ns() < end_ns && in_flight < IN_FLIGHT && feed(host))
            in_flight++;
        struct plugin_job *job = plugin_host_take(host, clock_now_ns());
        if (job == NULL) {
            struct pollfd fd = {.fd = plugin_host_fd(host), .events = POLLIN};
            if (wait_poll("bench", "plugin", 20, &fd, 1) == STATUS_IO)
                break;
            continue;
        }
        done += job->score.status == SCORE_OK;
        in_flight--;
        drop(job);
    }
    double seconds = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_S;
    plugin_host_close(&host, drop);
    return (double)done / seconds;
}

static void count(void *user, const weir_reward_result *results, uint32_t n)
{
    (void)results;
    *(uint64_t *)user += n;
}

static double run_bare(const char *plugin)
{
    struct plugin_instance *instance = NULL;
    struct reward_settings settings = settings_of(plugin, 1, 1);
    if (plugin_instance_open(&instance, &settings) != STATUS_OK)
        return 0;
    int64_t begin_ns = clock_now_ns(), end_ns = begin_ns + (int64_t)ROUND_MS * CLOCK_NS_PER_MS;
    uint64_t done = 0;
    while (clock_now_ns() < end_ns)
        for (int i = 0; i < 100; i++) {
            weir_reward_item item = item_of();
            if (instance->table.submit(instance->instance, &item, 1, count, &done) != 0)
                return 0;
        }
    double seconds = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_S;
    plugin_instance_close(&instance);
    return (double)done / seconds;
}

int main(int argc, char **argv)
{
    char so[FILE_PATH_MAX], recipe[FILE_PATH_MAX], python[FILE_PATH_MAX],
        body[2 * FILE_PATH_MAX + 128];
    const char *build = argc > 1 ? argv[1] : "build/release";
    double best[5] = {0};
    static const struct {
        const char *name;
        double limit;
    } rows[5] = {
        {"bare", 0}, {"host", 20000}, {"batch", 50000}, {"recipe", 10000}, {"python", 800}};
    if (file_path(so, "%s/plugins/addition.so", build) != STATUS_OK ||
        file_path(recipe, "/tmp/bench_plugins_%ld.yaml", (long)getpid()) != STATUS_OK ||
        file_path(python, "/tmp/bench_plugins_%ld.py", (long)getpid()) != STATUS_OK)
        return 1;
    char *absolute = realpath(so, NULL);
    snprintf(body, sizeof body, "parts:\n  - {name: a, plugin: %s}\n  - {name: b, plugin: %s}\n",
             absolute != NULL ? absolute : so, absolute != NULL ? absolute : so);
    free(absolute);
    static const char function[] = "def compute_score(solution_str, ground_truth):\n"
                                   "    return float(solution_str.endswith(ground_truth))\n";
    if (file_replace(recipe, body, strlen(body)) != STATUS_OK ||
        file_replace(python, function, sizeof function - 1) != STATUS_OK)
        return 1;
    for (int round = 0; round < ROUNDS; round++) {
        double rates[5] = {run_bare(so), run_host(so, 1, 1), run_host(so, 1, 16),
                           run_host(recipe, 1, 16), run_host(python, 2, 1)};
        for (int i = 0; i < 5; i++)
            best[i] = rates[i] > best[i] ? rates[i] : best[i];
    }
    for (int i = 0; i < 5; i++)
        printf("{\"bench\":\"plugins\",\"case\":\"%s\",\"items_per_s\":%.0f,\"limit_items_per_s\":%"
               ".0f,"
               "\"us_per_item\":%.2f,\"of_bare\":%.4f}\n",
               rows[i].name, best[i], rows[i].limit, best[i] > 0 ? 1e6 / best[i] : 0,
               best[0] > 0 ? best[i] / best[0] : 0);
    unlink(recipe);
    unlink(python);
    return 0;
}
