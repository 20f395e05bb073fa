#include "bench/paper/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"

/* ---- options ---- */

struct run_options run_options_defaults(void)
{
    return (struct run_options){.out = "runs/paper",
                                .device = "cpu",
                                .jobs = 1,
                                .seeds = 1,
                                .tune_seeds = 1,
                                .batches = 1,
                                .only = "",
                                .kinds = ""};
}

static enum status whole_number(const char *name, const char *word, uint32_t *out)
{
    char *end = NULL;
    unsigned long value = strtoul(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || value == 0 || value > 1000000)
        return FAIL(STATUS_INVALID, "%s %s: a number from 1 to 1000000 is wanted", name, word);
    *out = (uint32_t)value;
    return STATUS_OK;
}

static enum status read_option(struct run_options *options, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **text;
        uint32_t *count;
    } known[] = {{"--out", &options->out, NULL},
                 {"--device", &options->device, NULL},
                 {"--only", &options->only, NULL},
                 {"--kinds", &options->kinds, NULL},
                 {"--jobs", NULL, &options->jobs},
                 {"--seeds", NULL, &options->seeds},
                 {"--tune-seeds", NULL, &options->tune_seeds},
                 {"--batches", NULL, &options->batches},
                 {"--hidden", NULL, &options->hidden},
                 {"--layers", NULL, &options->layers}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) != 0)
            continue;
        if (value == NULL)
            return FAIL(STATUS_INVALID, "%s wants a value", name);
        if (known[i].count != NULL)
            return whole_number(name, value, known[i].count);
        *known[i].text = value;
        return STATUS_OK;
    }
    return FAIL(STATUS_INVALID,
                "%s is unknown; there are --out FOLDER, --device NAME, --only NAMES, --kinds "
                "NAMES, --jobs N, --seeds N, --tune-seeds N, --batches N, --hidden N, --layers N "
                "and --plot",
                name);
}

enum status run_options_read(struct run_options *options, const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--plot") == 0) {
            options->plot = true;
            continue;
        }
        TRY(read_option(options, argv[i], i + 1 < argc ? argv[i + 1] : NULL));
        i++;
    }
    if (options->seeds > RUN_SEEDS_MAX || options->batches > RUN_POINTS_MAX)
        return FAIL(STATUS_INVALID, "at most %d seeds and %d batches", RUN_SEEDS_MAX,
                    RUN_POINTS_MAX);
    TRY(file_make_dirs(options->out));
    return file_path(options->jsonl, "%s/%s.jsonl", options->out, name);
}

bool run_listed(const char *list, const char *name)
{
    size_t size = strlen(name);
    if (list[0] == '\0')
        return true;
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',' ? 1 : 0;
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* ---- results ---- */

enum status runs_append(const char *path, json_t *line)
{
    /* lint: allow(free): jansson hands over memory of its own allocator */
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(line);
    if (text == NULL)
        return FAIL(STATUS_NO_MEMORY, "a line of %s", path);
    size_t size = strlen(text);
    text[size] =
        '\n'; /* in place of the NUL: one write, so that lines of two processes do not mix */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    enum status status = fd >= 0 ? file_write_all(fd, text, size + 1, path)
                                 : FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(text);
    return status;
}

enum status runs_load(const char *path, json_t **lines)
{
    *lines = json_array();
    FILE *file = fopen(path, "re");
    if (*lines == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s", path);
    char *text = NULL;
    size_t room = 0;
    enum status status = STATUS_OK;
    for (int n = 1; file != NULL && status == STATUS_OK && getline(&text, &room, file) > 0; n++) {
        json_error_t error;
        json_t *line = json_loads(text, 0, &error);
        if (line == NULL)
            status = FAIL(STATUS_CORRUPT, "%s:%d: %s; remove that line", path, n, error.text);
        else
            json_array_append_new(*lines, line);
    }
    free(text);
    if (file != NULL)
        fclose(file);
    return status;
}

const json_t *runs_find(const json_t *lines, const char *key)
{
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        const char *have = json_string_value(json_object_get(line, "key"));
        if (have != NULL && strcmp(have, key) == 0)
            return line;
    }
    return NULL;
}

/* ---- processes ---- */

static enum status wait_one(void)
{
    int how = 0;
    if (wait(&how) < 0)
        return FAIL(STATUS_IO, "wait: %s", strerror(errno));
    return WIFEXITED(how) && WEXITSTATUS(how) == 0
               ? STATUS_OK
               : FAIL(STATUS_IO, "a job failed; its sentence is above");
}

enum status runs_jobs(uint32_t count, uint32_t jobs, enum status (*work)(void *self, uint32_t i),
                      void *self)
{
    enum status first = STATUS_OK;
    uint32_t running = 0;
    for (uint32_t i = 0; i < count && first == STATUS_OK; i++) {
        if (jobs <= 1) {
            first = work(self, i);
            continue;
        }
        if (running == jobs) {
            first = wait_one();
            running--;
        }
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            enum status status = work(self, i);
            if (status != STATUS_OK)
                fprintf(stderr, "%s\n", status_last_error());
            fflush(NULL);
            _exit(status == STATUS_OK ? 0 : 1);
        }
        running += child > 0;
        if (child < 0)
            first = FAIL(STATUS_IO, "fork: %s", strerror(errno));
    }
    for (; running > 0; running--) {
        enum status status = wait_one();
        first = first == STATUS_OK ? status : first;
    }
    return first;
}

/* ---- intervals ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void ends(double *values, uint32_t count, struct interval *interval)
{
    qsort(values, count, sizeof *values, ascending);
    interval->low = values[(uint32_t)(0.025 * count)];
    interval->high = values[(uint32_t)(0.975 * count)];
}

struct interval interval_of_mean(const double *values, uint32_t count)
{
    struct interval interval = {0, 0, 0};
    static double means[RESAMPLES];
    struct rng rng;
    rng_init(&rng, 1, 1, RNG_TEST);
    for (uint32_t i = 0; i < count; i++)
        interval.mean += values[i] / count;
    for (uint32_t r = 0; r < RESAMPLES; r++) {
        means[r] = 0;
        for (uint32_t i = 0; i < count; i++)
            means[r] += values[rng_below(&rng, count)] / count;
    }
    ends(means, RESAMPLES, &interval);
    return interval;
}

double first_reach(const double *curve, uint32_t points, double level)
{
    for (uint32_t i = 0; i < points; i++) {
        if (curve[i] < level)
            continue;
        double before = i > 0 ? curve[i - 1] : level;
        return i == 0 || curve[i] == before ? i + 1.0 : i + (level - before) / (curve[i] - before);
    }
    return points + 1.0;
}

/* Steps to `share` of slow's last fifth, of one seed. */
static double steps_ratio(const double *fast, const double *slow, uint32_t points, double share,
                          bool *reached)
{
    double level = 0;
    uint32_t last = points / 5 > 0 ? points / 5 : 1;
    for (uint32_t i = points - last; i < points; i++)
        level += share * slow[i] / last;
    double fast_at = first_reach(fast, points, level), slow_at = first_reach(slow, points, level);
    *reached = fast_at <= points;
    return fast_at / slow_at;
}

struct interval interval_of_steps(const double *const *fast, const double *const *slow,
                                  uint32_t seeds, uint32_t points, double share, uint32_t *reached)
{
    double logarithms[RUN_SEEDS_MAX];
    *reached = 0;
    for (uint32_t s = 0; s < seeds; s++) {
        bool got = false;
        logarithms[s] = log(steps_ratio(fast[s], slow[s], points, share, &got));
        *reached += got;
    }
    struct interval interval = interval_of_mean(logarithms, seeds);
    return (struct interval){exp(interval.mean), exp(interval.low), exp(interval.high)};
}
