#include "reward/code/work.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

/* OUTPUT: allowed beyond what a program needs. */
enum {
    OUTPUT_BYTES = 16 << 20,
    STACK_BYTES = 256 << 20,
    WALL_MIN_MS = 10,
    WALL_MORE_MS = 2000,
    SLEPT_MS = 500
};

const char *code_verdict_name(enum code_verdict verdict)
{
    static const char *const names[] = {"AC", "WA", "TLE", "MLE", "OLE", "RE", "CE", "NOCODE"};
    return names[verdict];
}

void code_fail(struct code_work *work, size_t test, enum code_verdict verdict, const char *format,
               ...)
{
    if (work->first >= 0)
        return;
    work->first = (int64_t)test;
    work->verdict = verdict;
    va_list args;
    va_start(args, format);
    vsnprintf(work->why, sizeof work->why, format, args);
    va_end(args);
}

bool code_give_up(struct code_work *work, int32_t status, const char *format, ...)
{
    work->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(work->why, sizeof work->why, format, args);
    va_end(args);
    return false;
}

struct sandbox_limits code_limits(const struct code_work *work, double times)
{
    struct sandbox_limits limits = sandbox_limits_default();
    const struct code_problem *problem = work->problem;
    limits.cpu_ms = (int64_t)(problem->time_limit_s * times * 1000);
    limits.wall_ms = 2 * limits.cpu_ms + WALL_MORE_MS;
    limits.memory_bytes = (int64_t)(problem->memory_limit_mb * 1048576);
    limits.stack_bytes =
        limits.memory_bytes < STACK_BYTES ? limits.memory_bytes : (int64_t)STACK_BYTES;
    limits.output_bytes = OUTPUT_BYTES;
    return limits;
}

/* Milliseconds the run may take. False: the deadline has passed. */
static bool within_deadline(struct code_work *work, struct sandbox_run *run, bool *cut)
{
    *cut = false;
    if (work->deadline_ns == INT64_MAX)
        return true;
    int64_t left = (work->deadline_ns - clock_now_ns()) / CLOCK_NS_PER_MS;
    if (left < WALL_MIN_MS)
        return code_give_up(work, WEIR_REWARD_TIMEOUT, "the deadline came before the verdict");
    *cut = left < run->limits.wall_ms;
    if (*cut)
        run->limits.wall_ms = left;
    return true;
}

static bool judged(struct code_work *work, struct sandbox_result *result, bool cut)
{
    if (result->outcome == SANDBOX_INFRA)
        code_give_up(work, WEIR_REWARD_ERROR, "the sandbox failed: %s", result->text);
    else if (result->outcome == SANDBOX_LIMIT && result->limit == SANDBOX_LIMIT_WALL && cut)
        code_give_up(work, WEIR_REWARD_TIMEOUT, "the deadline came before the verdict");
    else
        return true;
    sandbox_result_free(result);
    return false;
}

bool code_execute(struct code_work *work, const struct sandbox_run *run,
                  struct sandbox_result *result)
{
    for (unsigned attempt = 0;; attempt++) {
        struct sandbox_run one = *run;
        bool cut;
        if (!within_deadline(work, &one, &cut))
            return false;
        *result = (struct sandbox_result){0};
        sandbox_execute(work->settings->sandbox, &one, result);
        if (result->outcome != SANDBOX_INFRA || attempt >= work->settings->retries)
            return judged(work, result, cut);
        sandbox_result_free(result);
    }
}

/* ---- two runs that talk ---- */

struct half {
    struct code_pair *pair;
    struct sandbox *sandbox;
    int index;
};

static void close_ours(struct code_pair *pair, int index)
{
    for (int i = 0; i < 2; i++) {
        if (pair->ours[index][i] >= 0)
            close(pair->ours[index][i]);
        pair->ours[index][i] = -1;
    }
}

static void *run_half(void *self)
{
    struct half *half = self;
    struct code_pair *pair = half->pair;
    sandbox_execute(half->sandbox, &pair->runs[half->index], &pair->results[half->index]);
    close_ours(pair, half->index);
    return NULL;
}

/* Run 1 on a thread of its own; run 0 here, or on a second thread when something happens between. */
static bool run_both(struct code_work *work, struct code_pair *pair)
{
    volatile bool cancelled = false;
    struct half halves[2] = {{pair, work->settings->sandbox, 0},
                             {pair, work->settings->sandbox, 1}};
    pthread_t threads[2];
    pair->runs[0].cancelled = pair->runs[1].cancelled = &cancelled;
    pair->runs[1].beside = true;
    if (pthread_create(&threads[1], NULL, run_half, &halves[1]) != 0)
        return false;
    bool good = true;
    if (pair->between == NULL) {
        run_half(&halves[0]);
    } else if (pthread_create(&threads[0], NULL, run_half, &halves[0]) == 0) {
        pair->between(pair->self);
        pthread_join(threads[0], NULL);
    } else {
        good = false;
    }
    if (pair->first_decides || !good)
        __atomic_store_n(&cancelled, true, __ATOMIC_RELAXED);
    pthread_join(threads[1], NULL);
    return good;
}

bool code_execute_pair(struct code_work *work, struct code_pair *pair, unsigned attempt,
                       bool *again)
{
    bool cut[2] = {false, false};
    *again = false;
    memset(pair->results, 0, sizeof pair->results);
    if (!within_deadline(work, &pair->runs[0], &cut[0]) ||
        !within_deadline(work, &pair->runs[1], &cut[1])) {
        close_ours(pair, 0);
        close_ours(pair, 1);
        return false;
    }
    bool good = run_both(work, pair);
    close_ours(pair, 0);
    close_ours(pair, 1);
    if (!good) {
        sandbox_result_free(&pair->results[1]);
        return code_give_up(work, WEIR_REWARD_ERROR, "no thread for a second run");
    }
    for (int i = 0; i < 2; i++)
        if (pair->results[i].outcome == SANDBOX_INFRA && attempt < work->settings->retries)
            *again = true;
    for (int i = 0; i < 2 && !*again; i++)
        if (!judged(work, &pair->results[i], cut[i])) {
            sandbox_result_free(&pair->results[1 - i]);
            return false;
        }
    if (*again) {
        sandbox_result_free(&pair->results[0]);
        sandbox_result_free(&pair->results[1]);
    }
    return !*again;
}

/* ---- what a result says ---- */

static const char *last_line(const struct sandbox_result *result)
{
    const char *text = (const char *)result->error;
    size_t end = result->error_size;
    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '))
        end--;
    size_t from = end;
    while (from > 0 && text[from - 1] != '\n')
        from--;
    return text != NULL ? text + from : "";
}

bool code_ended_well(const struct code_work *work, const struct sandbox_result *result,
                     enum code_verdict *verdict, char *why, size_t size)
{
    int64_t cpu_ms = (int64_t)(work->problem->time_limit_s * 1000);
    *verdict = CODE_RE;
    if (result->outcome == SANDBOX_LIMIT) {
        *verdict = result->limit == SANDBOX_LIMIT_WALL || result->limit == SANDBOX_LIMIT_CPU
                       ? CODE_TLE
                   : result->limit == SANDBOX_LIMIT_MEMORY ? CODE_MLE
                   : result->limit == SANDBOX_LIMIT_OUTPUT ? CODE_OLE
                                                           : CODE_RE;
        snprintf(why, size, "%s", result->text);
    } else if (result->outcome == SANDBOX_SIGNALED) {
        snprintf(why, size, "killed by signal %d", result->signal);
    } else if (result->exit_code != 0) {
        const char *line = last_line(result);
        snprintf(why, size, "exited with %d: %.*s", result->exit_code, (int)strcspn(line, "\n"),
                 line);
    } else if (result->cpu_ms > cpu_ms + 50) { /* 50: what the interpreter's own start may cost */
        *verdict = CODE_TLE;
        snprintf(why, size, "used %lld ms of CPU of %lld", (long long)result->cpu_ms,
                 (long long)cpu_ms);
    } else if (result->wall_ms > cpu_ms + cpu_ms / 2 + SLEPT_MS &&
               result->cpu_ms < result->wall_ms / 5) { /* a busy machine would not explain it */
        *verdict = CODE_TLE;
        snprintf(why, size, "took %lld ms of %lld, most of them idle", (long long)result->wall_ms,
                 (long long)cpu_ms);
    } else {
        return true;
    }
    return false;
}
