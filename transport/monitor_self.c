#include "transport/monitor_self.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/metrics.h"
#include "core/program.h"

struct self {
    double cpu_s, resident, virtual, open_fds, max_fds, threads;
};

static bool read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    bool got = file != NULL && fgets(line, (int)size, file) != NULL;
    if (file != NULL)
        fclose(file);
    return got;
}

/* Read once: computed again it would differ by the rounding of two clocks, and look like a restart. */
static double start_s;
static pthread_once_t start_once = PTHREAD_ONCE_INIT;

static void read_start(void)
{
    enum { START = 22 };
    char line[1024];
    const char *at = read_line("/proc/self/stat", line, sizeof line) ? strrchr(line, ')') : NULL;
    for (int field = 3; at != NULL && field <= START; field++)
        at = strchr(at + 1, ' ');
    double ticks = at != NULL ? strtod(at, NULL) : 0;
    if (at != NULL && read_line("/proc/uptime", line, sizeof line))
        start_s = (double)clock_wall_ns() / 1e9 -
                  (strtod(line, NULL) - ticks / (double)sysconf(_SC_CLK_TCK));
}

/* Fields of /proc/self/stat, counted from after the name, which may hold anything. */
static void read_stat(struct self *self)
{
    enum { THREADS = 20, VIRTUAL = 23, RESIDENT = 24 };
    char line[1024];
    bool got = read_line("/proc/self/stat", line, sizeof line);
    const char *at = got ? strrchr(line, ')') : NULL;
    double value[RESIDENT + 1] = {0};
    for (int field = 3; at != NULL && field <= RESIDENT; field++) {
        at = strchr(at + 1, ' ');
        value[field] = at != NULL ? strtod(at, NULL) : 0;
    }
    if (at == NULL)
        return;
    self->threads = value[THREADS];
    self->virtual = value[VIRTUAL];
    self->resident = value[RESIDENT] * (double)sysconf(_SC_PAGESIZE);
}

static void read_files(struct self *self)
{
    struct rlimit limit;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        self->open_fds += entry->d_name[0] != '.';
    if (dir != NULL) {
        self->open_fds -= 1; /* its own */
        closedir(dir);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        self->max_fds = (double)limit.rlim_cur;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

enum status monitor_self_text(const char *labels, struct buffer *text)
{
    struct self self = {0};
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) == 0)
        self.cpu_s = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
    pthread_once(&start_once, read_start);
    read_stat(&self);
    read_files(&self);
    const struct {
        const char *name, *kind, *unit, *help;
        double value;
    } rows[] = {
        {"process_cpu_seconds_total", "counter", "seconds", "User and system time spent.",
         self.cpu_s},
        {"process_resident_memory_bytes", "gauge", "bytes", "Memory in use.", self.resident},
        {"process_virtual_memory_bytes", "gauge", "bytes", "Address space in use.", self.virtual},
        {"process_open_fds", "gauge", "", "Open files and sockets.", self.open_fds},
        {"process_max_fds", "gauge", "", "How many there may be.", self.max_fds},
        {"process_threads", "gauge", "", "Threads.", self.threads},
        {"process_start_time_seconds", "gauge", "seconds", "Start, since 1970 in UTC.", start_s},
    };
    TRY(metrics_family(text, "weir_build_info", "gauge", "", "1; its labels say what runs."));
    TRY(metrics_sample(text, "weir_build_info", labels,
                       "version=\"" WEIR_VERSION "\",compiler=\"" __VERSION__ "\"", 1));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value <= 0 && strcmp(rows[i].kind, "gauge") == 0)
            continue;
        TRY(metrics_family(text, rows[i].name, rows[i].kind, rows[i].unit, rows[i].help));
        TRY(metrics_sample(text, rows[i].name, labels, NULL, rows[i].value));
    }
    return STATUS_OK;
}
