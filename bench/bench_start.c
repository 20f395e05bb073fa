/* links: core */
/* Start-up: milliseconds from exec to the first sampled token of each actor in the quickstart recipe, in JSON
 * lines beside the limit. Usage: bench_start [repeats = 3]; run from the top of the tree. The start of a process
 * is the kernel's (ticks of 10 ms), the first token is the time of its log line. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"

enum { ACTORS = 2, LIMIT_MS = 500, WAIT_MS = 20000 };

/* Milliseconds since 1970 of the line that says "first token"; 0 when there is none yet. */
static double first_token_ms(const char *log)
{
    char line[1024];
    double found = 0;
    FILE *file = fopen(log, "r");
    while (file != NULL && found == 0 && fgets(line, sizeof line, file) != NULL) {
        struct tm time = {0};
        const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%S", &time);
        if (rest != NULL && strstr(line, "first token") != NULL)
            found = ((double)timegm(&time) + strtod(rest, NULL)) * 1e3;
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* Milliseconds since 1970 when the kernel started process `pid`. */
static double started_ms(long pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(text, sizeof text, file) == NULL) {
        if (file != NULL)
            fclose(file);
        return 0;
    }
    fclose(file);
    char *field = strrchr(text, ')'); /* field 2 ends here; 22 is the start in ticks since boot */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    struct timespec boot;
    /* lint: allow(clock_gettime): time since boot, as /proc counts */
    if (field == NULL || clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
        return 0;
    double since_boot_ms = strtod(field, NULL) * 1e3 / (double)sysconf(_SC_CLK_TCK);
    double now_ms = (double)clock_wall_ns() * 1e-6;
    return now_ms - ((double)boot.tv_sec * 1e3 + (double)boot.tv_nsec * 1e-6) + since_boot_ms;
}

/* The process whose command line holds weir-actor, the run's name and "--index N". */
static long find_actor(const char *run, int index)
{
    char want[32], path[300], text[4096];
    long found = 0;
    snprintf(want, sizeof want, "--index %d", index);
    DIR *directory = opendir("/proc");
    for (struct dirent *entry;
         directory != NULL && found == 0 && (entry = readdir(directory)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        size_t size = fread(text, 1, sizeof text - 1, file);
        fclose(file);
        for (size_t i = 0; i < size; i++)
            text[i] = text[i] == '\0' ? ' ' : text[i];
        text[size] = '\0';
        if (strstr(text, "weir-actor") != NULL && strstr(text, run) != NULL &&
            strstr(text, want) != NULL)
            found = strtol(entry->d_name, NULL, 10);
    }
    if (directory != NULL)
        closedir(directory);
    return found;
}

static pid_t start_run(const char *weir, const char *root, const char *run)
{
    char setting[FILE_PATH_MAX];
    snprintf(setting, sizeof setting, "run.root=%s", root);
    pid_t pid = fork();
    if (pid == 0) {
        const char *arguments[] = {weir,      "run",    "examples/recipes/quickstart.yaml",
                                   "--quiet", "--name", run,
                                   setting,   NULL};
        execv(weir, (char *const *)(uintptr_t)arguments);
        fprintf(stderr, "bench_start: %s: %s\n", weir, strerror(errno));
        _exit(127);
    }
    return pid;
}

static int measure(const char *weir, const char *root, int repeat)
{
    char run[64], log[FILE_PATH_MAX];
    snprintf(run, sizeof run, "bench-start-%ld-%d", (long)getpid(), repeat);
    pid_t pid = start_run(weir, root, run);
    int failures = 0;
    int64_t end_ns = clock_now_ns() + (int64_t)WAIT_MS * CLOCK_NS_PER_MS;
    for (int actor = 0; actor < ACTORS; actor++) {
        double token_ms = 0;
        snprintf(log, sizeof log, "%s/%s/logs/latest/actor.%d.log", root, run, actor);
        while ((token_ms = first_token_ms(log)) == 0 && clock_now_ns() < end_ns)
            clock_sleep_ms(5);
        double start_ms = started_ms(find_actor(run, actor));
        bool measured = token_ms > 0 && start_ms > 0;
        failures += !measured;
        printf("{\"bench\": \"start\", \"actor\": %d, \"first_token_ms\": %.0f, \"limit\": %d, "
               "\"reached\": %s}\n",
               actor, measured ? token_ms - start_ms : -1.0, LIMIT_MS,
               measured && token_ms - start_ms < LIMIT_MS ? "true" : "false");
    }
    kill(pid, SIGINT);
    kill(pid, SIGINT); /* twice: stop now */
    return waitpid(pid, NULL, 0) == pid ? failures : failures + 1;
}

int main(int argc, char **argv)
{
    char weir[FILE_PATH_MAX], root[] = "/tmp/weir-bench-start-XXXXXX";
    int repeats = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 3, failures = 0;
    ssize_t size = readlink("/proc/self/exe", weir, sizeof weir - 8);
    char *slash = size > 0 ? (weir[size] = '\0', strrchr(weir, '/')) : NULL;
    if (slash == NULL || mkdtemp(root) == NULL)
        return 1;
    snprintf(slash, 6, "/weir");
    for (int i = 0; i < repeats; i++)
        failures += measure(weir, root, i);
    if (file_remove_tree(root) != STATUS_OK)
        failures++;
    return failures > 0;
}
