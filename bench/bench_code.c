/* links: reward_code sandbox core */
/* Scores rows with known values (tests/mutate/mutate.py makes them of HumanEval and MBPP) on two threads and prints JSON
 * lines beside the limits: 60 s for the whole set, no row with another value than expected.
 * Usage: bench_code rows.jsonl
 *        bench_code rows.jsonl --kill: the first 2,000 rows twice, the second time while the processes that run them are
 *        killed, one for every ten rows; the rewards must be the same. */
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "bench/must.h"
#include "core/memory.h"
#include "reward/area.h"
#include "sandbox/sandbox.h"

enum { JOBS = 2, KILL_ROWS = 2000, LIMIT_S = 60 };

extern const struct reward_area code_area;

struct bench {
    json_t *rows;
    void *instance;
    double *values; /* NaN: no verdict */
    _Atomic size_t next, done;
    size_t count;
};

static json_t *read_rows(const char *path)
{
    json_t *rows = json_array();
    FILE *file = fopen(path, "r");
    json_t *row;
    while (file != NULL &&
           (row = json_loadf(file, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)) != NULL)
        json_array_append_new(rows, row);
    if (file != NULL)
        fclose(file);
    if (json_array_size(rows) == 0) {
        fprintf(stderr, "%s holds no rows\n", path);
        exit(1);
    }
    return rows;
}

static void score(struct bench *bench, size_t index)
{
    const json_t *row = json_array_get(bench->rows, index),
                 *response = json_object_get(row, "response");
    struct reward_outcome outcome = {
        .status = WEIR_REWARD_UNSCORABLE, .value = NAN, .fields = json_object()};
    code_area.score(bench->instance,
                    &(struct reward_case){.row = row,
                                          .response = json_string_value(response),
                                          .response_size = json_string_length(response),
                                          .prompt = "",
                                          .data_source = "",
                                          .deadline_ns = INT64_MAX},
                    1, &outcome);
    bench->values[index] = outcome.status == WEIR_REWARD_OK ? outcome.value : NAN;
    const json_t *expected = json_object_get(row, "expected");
    if (outcome.status != WEIR_REWARD_OK ||
        (expected != NULL && json_number_value(expected) != outcome.value)) {
        char *fields = json_dumps(outcome.fields, 0);
        fprintf(stderr, "%s: status %d value %g: %s\n",
                json_string_value(json_object_get(row, "id")), outcome.status, outcome.value,
                fields);
        free(fields);
    }
    json_decref(outcome.fields);
}

static void *caller(void *self)
{
    struct bench *bench = self;
    for (size_t i; (i = atomic_fetch_add(&bench->next, 1)) < bench->count;) {
        score(bench, i);
        atomic_fetch_add(&bench->done, 1);
    }
    return NULL;
}

/* Our children are the sandbox's launchers. Kills one of them for every ten rows that are done. */
static void *killer(void *self)
{
    struct bench *bench = self;
    size_t killed = 0, turn = 0;
    while (atomic_load(&bench->done) < bench->count) {
        char path[64];
        long children[256];
        size_t count = 0;
        usleep(2000);
        if (killed * 10 > atomic_load(&bench->done))
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        FILE *file = fopen(path, "r");
        while (file != NULL && count < 256 && fscanf(file, "%ld", &children[count]) == 1)
            count++;
        if (file != NULL)
            fclose(file);
        if (count > 0 && kill((pid_t)children[turn++ * 7 % count], SIGKILL) == 0)
            killed++;
    }
    return (void *)(uintptr_t)killed;
}

static double play(struct bench *bench, double *values, bool kills, size_t *killed)
{
    pthread_t threads[JOBS], other;
    int64_t begin = clock_now_ns();
    void *result = NULL;
    bench->values = values;
    atomic_store(&bench->next, 0);
    atomic_store(&bench->done, 0);
    for (int i = 0; i < JOBS; i++)
        if (pthread_create(&threads[i], NULL, caller, bench) != 0)
            exit(1);
    if (kills && pthread_create(&other, NULL, killer, bench) != 0)
        exit(1);
    for (int i = 0; i < JOBS; i++)
        pthread_join(threads[i], NULL);
    if (kills)
        pthread_join(other, &result);
    *killed = (size_t)(uintptr_t)result;
    return since_ms(begin) / 1e3;
}

static size_t differences(const struct bench *bench, const double *values, const double *others)
{
    size_t count = 0;
    for (size_t i = 0; i < bench->count; i++) {
        const json_t *expected = json_object_get(json_array_get(bench->rows, i), "expected");
        double wanted = others != NULL ? others[i] : json_number_value(expected);
        count += !(values[i] == wanted);
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_code rows.jsonl [--kill]\n");
        return 2;
    }
    bool kills = argc > 2 && strcmp(argv[2], "--kill") == 0;
    struct bench bench = {.rows = read_rows(argv[1])};
    struct sandbox *sandbox;
    must(sandbox_open(&sandbox, &(struct sandbox_options){.jobs = JOBS}), "sandbox");
    json_t *config = json_pack("{s:i}", "retries", 8);
    char why[256] = "";
    if (code_area.create(config, &(struct reward_tools){.sandbox = sandbox}, &bench.instance, why,
                         sizeof why) != 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    bench.count = json_array_size(bench.rows);
    if (kills && bench.count > KILL_ROWS)
        bench.count = KILL_ROWS;
    double *values = memory_array(bench.count, sizeof *values),
           *again = memory_array(bench.count, sizeof *again);
    size_t killed;
    double seconds = play(&bench, values, false, &killed);
    size_t wrong = differences(&bench, values, NULL);
    printf("{\"bench\": \"code\", \"rows\": %zu, \"jobs\": %d, \"seconds\": %.1f, \"at_most\": %d, "
           "\"rows_per_s\": %.0f, \"wrong\": %zu, \"fine\": %s}\n",
           bench.count, JOBS, seconds, LIMIT_S, (double)bench.count / seconds, wrong,
           wrong == 0 && seconds < LIMIT_S ? "true" : "false");
    if (kills) {
        seconds = play(&bench, again, true, &killed);
        size_t others = differences(&bench, again, values);
        wrong += others;
        printf(
            "{\"bench\": \"code\", \"what\": \"workers killed\", \"rows\": %zu, \"killed\": %zu, "
            "\"seconds\": %.1f, \"different_rewards\": %zu, \"fine\": %s}\n",
            bench.count, killed, seconds, others, others == 0 ? "true" : "false");
    }
    memory_free(values);
    memory_free(again);
    code_area.destroy(bench.instance);
    sandbox_close(&sandbox);
    json_decref(config);
    json_decref(bench.rows);
    return wrong != 0;
}
