/* links: core sandbox */
/* Runs per second of plain fork+exec, of the sandbox's modes, and of Python in it, with one and with two callers at a time:
 * rounds in turn within one run, so that a noisy machine is noisy for all. Then JSON lines beside the limits. With one
 * caller on two cores the kernel tears namespaces down beside the next run, with two it competes with both.
 * Usage: bench_sandbox [seconds of each = 3] | bench_sandbox --leaks [runs = 10000] |
 *        bench_sandbox --only KIND(plain 0, strict 1, pooled 2, cold 3, zygote 4) [runs = 1000] [callers = 1], for profilers */
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/must.h"
#include "sandbox/sandbox.h"

enum { JOBS_MAX = 2, ROUND_MS = 250 };

enum kind { PLAIN, STRICT, POOLED, COLD_PYTHON, ZYGOTE, KINDS };
static const char *const names[] = {"plain fork+exec", "strict", "pooled", "cold sandboxed python",
                                    "zygote python"};

static struct sandbox *sandbox;
static const char *const program[] = {"/usr/bin/true", NULL};
static const char *const python[] = {"/usr/bin/python3", "-c", "pass", NULL};

static void run_plain(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execv(program[0], (char *const *)(uintptr_t)program);
        _exit(127);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "plain run failed\n");
        exit(1);
    }
}

static void run_kind(enum kind kind)
{
    if (kind == PLAIN) {
        run_plain();
        return;
    }
    static const enum sandbox_mode modes[] = {[STRICT] = SANDBOX_STRICT,
                                              [POOLED] = SANDBOX_POOLED,
                                              [COLD_PYTHON] = SANDBOX_STRICT,
                                              [ZYGOTE] = SANDBOX_ZYGOTE};
    struct sandbox_run run = {SANDBOX_RUN, .mode = modes[kind]};
    struct sandbox_result result;
    run.argv = kind == COLD_PYTHON ? python : program;
    run.python = kind == ZYGOTE ? "pass" : NULL;
    sandbox_execute(sandbox, &run, &result);
    if (result.outcome != SANDBOX_EXITED || result.exit_code != 0) {
        fprintf(stderr, "%s: %s: %s\n", names[kind], result.text, (const char *)result.error);
        exit(1);
    }
    sandbox_result_free(&result);
}

struct round {
    enum kind kind;
    int64_t until_ns;
    uint64_t most; /* runs; 0: until the time is over */
    _Atomic uint64_t runs;
};

static void *caller(void *argument)
{
    struct round *round = argument;
    while (round->most == 0 ? clock_now_ns() < round->until_ns
                            : atomic_load(&round->runs) < round->most) {
        run_kind(round->kind);
        atomic_fetch_add(&round->runs, 1);
    }
    return NULL;
}

static uint64_t play(enum kind kind, int jobs, int64_t until_ns, uint64_t most)
{
    pthread_t threads[JOBS_MAX];
    struct round round = {.kind = kind, .until_ns = until_ns, .most = most};
    for (int i = 0; i < jobs; i++)
        if (pthread_create(&threads[i], NULL, caller, &round) != 0)
            exit(1);
    for (int i = 0; i < jobs; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&round.runs);
}

static void rates(int jobs, double seconds)
{
    double rate[KINDS], time[KINDS] = {0}, runs[KINDS] = {0};
    for (int kind = 0; kind < KINDS; kind++)
        play((enum kind)kind, jobs, 0, (uint64_t)jobs * 2); /* keepers and zygotes start here */
    while (time[PLAIN] < seconds * 1e3)
        for (int kind = 0; kind < KINDS; kind++) {
            int64_t begin = clock_now_ns();
            runs[kind] +=
                (double)play((enum kind)kind, jobs, begin + ROUND_MS * INT64_C(1000000), 0);
            time[kind] += since_ms(begin);
        }
    for (int kind = 0; kind < KINDS; kind++) {
        rate[kind] = runs[kind] / time[kind] * 1e3;
        printf("{\"bench\": \"sandbox\", \"what\": \"%s\", \"jobs\": %d, \"runs_per_s\": %.0f}\n",
               names[kind], jobs, rate[kind]);
    }
    const struct {
        const char *what;
        double value, least;
    } ratios[] = {{"strict / plain", rate[STRICT] / rate[PLAIN], 0.35},
                  {"pooled / plain", rate[POOLED] / rate[PLAIN], 0.6},
                  {"zygote python / cold sandboxed python", rate[ZYGOTE] / rate[COLD_PYTHON], 4}};
    for (size_t i = 0; i < sizeof ratios / sizeof ratios[0]; i++)
        printf("{\"bench\": \"sandbox\", \"what\": \"%s\", \"jobs\": %d, \"ratio\": %.3f, "
               "\"at_least\": %.2f, "
               "\"fine\": %s}\n",
               ratios[i].what, jobs, ratios[i].value, ratios[i].least,
               ratios[i].value >= ratios[i].least ? "true" : "false");
}

/* ---- what is left behind ---- */

enum { LAUNCHERS_MAX = 64 };
static pid_t
    launchers[LAUNCHERS_MAX]; /* of this run, so that other sandboxes of the machine do not count */
static long launcher_count;

static bool is_ours(const char *name)
{
    for (long i = 0; i < launcher_count; i++) {
        char own[32];
        snprintf(own, sizeof own, "weir.%d.", launchers[i]);
        if (strncmp(name, own, strlen(own)) == 0)
            return true;
    }
    return false;
}

static long entries(const char *path, bool cgroups)
{
    DIR *folder = opendir(path);
    long count = 0;
    if (folder == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        if (!cgroups) {
            count++;
        } else if (entry->d_type == DT_DIR) {
            char below[4096];
            snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
            count += is_ours(entry->d_name) + entries(below, true);
        }
    }
    closedir(folder);
    return count;
}

static long lines(const char *path)
{
    FILE *file = fopen(path, "r");
    long count = 0;
    for (int byte; file != NULL && (byte = fgetc(file)) != EOF;)
        count += byte == '\n';
    if (file != NULL)
        fclose(file);
    return count;
}

/* Children of this process, zombies too. */
static long children(pid_t *pids)
{
    long count = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char path[300], text[512];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (file == NULL)
            continue;
        size_t size = fread(text, 1, sizeof text - 1, file);
        text[size] = 0;
        const char *name = strrchr(text, ')');
        if (name != NULL && strtol(name + 4, NULL, 10) == getpid() && count < LAUNCHERS_MAX)
            pids[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
        fclose(file);
    }
    closedir(folder);
    return count;
}

struct state {
    long processes, cgroups, mounts, descriptors;
};

static struct state look(void)
{
    pid_t pids[LAUNCHERS_MAX];
    return (struct state){children(pids), entries("/sys/fs/cgroup", true),
                          lines("/proc/self/mountinfo"), entries("/proc/self/fd", false)};
}

static int leaks(uint64_t runs, const struct sandbox_options *options)
{
    struct state before = look();
    must(sandbox_open(&sandbox, options), "sandbox_open");
    launcher_count = children(launchers);
    static const enum kind kinds[] = {STRICT, POOLED, ZYGOTE};
    for (size_t i = 0; i < 3; i++)
        play(kinds[i], JOBS_MAX, 0, runs / 3 + 1);
    sandbox_close(&sandbox);
    struct state after = look();
    long left[] = {after.processes - before.processes, after.cgroups - before.cgroups,
                   after.mounts - before.mounts, after.descriptors - before.descriptors};
    printf("{\"bench\": \"sandbox\", \"what\": \"left after %lu runs\", \"processes\": %ld, "
           "\"cgroups\": %ld, "
           "\"mounts\": %ld, \"descriptors\": %ld, \"limit\": 0}\n",
           (unsigned long)runs, left[0], left[1], left[2], left[3]);
    return left[0] != 0 || left[1] != 0 || left[2] != 0 || left[3] != 0;
}

/* One kind, so many runs by so many callers. */
static int only(int argc, char **argv, struct sandbox_options *options)
{
    unsigned long kind = strtoul(argv[2], NULL, 10), runs = 1000, jobs = 1;
    runs = argc > 3 ? strtoul(argv[3], NULL, 10) : runs;
    jobs = argc > 4 ? strtoul(argv[4], NULL, 10) : jobs;
    options->no_self_test = true;
    must(sandbox_open(&sandbox, options), "sandbox_open");
    if (kind < KINDS && jobs >= 1 && jobs <= JOBS_MAX) {
        int64_t begin = clock_now_ns();
        uint64_t done = play((enum kind)kind, (int)jobs, 0, runs);
        printf("{\"bench\": \"sandbox\", \"what\": \"%s\", \"jobs\": %lu, \"runs_per_s\": %.0f}\n",
               names[kind], jobs, (double)done / since_ms(begin) * 1e3);
    }
    sandbox_close(&sandbox);
    return 0;
}

int main(int argc, char **argv)
{
    struct sandbox_options options = {.jobs = JOBS_MAX};
    if (argc > 1 && strcmp(argv[1], "--leaks") == 0)
        return leaks(argc > 2 ? strtoul(argv[2], NULL, 10) : 10000, &options);
    if (argc > 2 && strcmp(argv[1], "--only") == 0)
        return only(argc, argv, &options);
    must(sandbox_open(&sandbox, &options), "sandbox_open");
    for (int jobs = 1; jobs <= JOBS_MAX; jobs++)
        rates(jobs, argc > 1 ? strtod(argv[1], NULL) : 3);
    sandbox_close(&sandbox);
    return 0;
}
