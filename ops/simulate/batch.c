/* ops/simulate/batch.c - many seeds on several processes; results come back through a pipe, a line each. */
#include "ops/simulate/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "core/program.h"

enum { JOBS_MAX = 256, TAILS_MAX = 3 };

struct batch_line {
    uint64_t seed;
    enum status status;
    struct sim_setup setup_of; /* small parts of it are printed */
    struct sim_result result;
};
_Static_assert(sizeof(struct batch_line) <= 4096, "a line goes into a pipe in one piece");

/* ---- one seed ---- */

static void run_seed(const struct simulate_options *options, uint64_t seed, struct batch_line *line)
{
    memset(line, 0, sizeof *line);
    line->seed = seed;
    sim_draw(&line->setup_of, seed, options->faults);
    line->setup_of.plant = options->plant;
    line->setup_of.trace = options->trace;
    line->status = sim_run(&line->setup_of, &line->result);
    if (line->status != STATUS_OK) {
        line->result.failed = true;
        snprintf(line->result.invariant, sizeof line->result.invariant, "simulator");
        snprintf(line->result.text, sizeof line->result.text, "%s", status_last_error());
    }
}

static void run_job(const struct simulate_options *options, uint32_t job, int out)
{
    static struct batch_line line;
    for (uint64_t i = job; i < options->count; i += options->jobs) {
        run_seed(options, options->from + i, &line);
        if (write(out, &line, sizeof line) != (ssize_t)sizeof line)
            _exit(EXIT_CODE_FAILED);
    }
    _exit(EXIT_CODE_OK);
}

/* ---- words ---- */

static void print_faults(const struct sim_setup *setup)
{
    const char *comma = "";
    for (int i = 0; i < SIM_FAULT_COUNT; i++)
        if ((setup->faults & (UINT32_C(1) << i)) != 0) {
            printf("%s%s", comma, sim_fault_name((enum sim_fault)i));
            comma = ",";
        }
}

static void print_line(const struct batch_line *line)
{
    const struct sim_result *result = &line->result;
    printf("{\"seed\":%" PRIu64 ",\"ok\":%s,\"actors\":%u,\"staleness\":%u,\"faults\":\"",
           line->seed, result->failed ? "false" : "true", line->setup_of.actors,
           line->setup_of.settings.store.max_staleness);
    print_faults(&line->setup_of);
    printf("\",\"virtual_s\":%.3f,\"events\":%" PRIu64 ",\"messages\":%" PRIu64
           ",\"kills\":%" PRIu64 ",\"store_kills\":%" PRIu64 ",\"versions\":%" PRIu64
           ",\"branches\":%" PRIu64 ",\"groups\":%" PRIu64 ",\"dropped\":%" PRIu64
           ",\"hash\":\"%016" PRIx64 "\"",
           (double)result->now_ns / 1e9, result->events, result->messages, result->kills,
           result->store_kills, result->versions, result->branches, result->groups, result->dropped,
           result->hash);
    if (result->failed) {
        struct buffer text;
        buffer_init(&text, 0);
        if (buffer_json_text(&text, result->text) == STATUS_OK)
            printf(",\"invariant\":\"%s\",\"text\":%s", result->invariant, buffer_string(&text));
        buffer_free(&text);
    }
    puts("}");
}

static void print_tail(const struct simulate_options *options, uint64_t seed)
{
    static struct sim_tail tail;
    static struct batch_line line;
    memset(&line, 0, sizeof line);
    tail.count = 0;
    sim_draw(&line.setup_of, seed, options->faults);
    line.setup_of.plant = options->plant;
    line.setup_of.tail = &tail;
    if (sim_run(&line.setup_of, &line.result) != STATUS_OK)
        return;
    uint64_t first = tail.count > SIM_TAIL_LINES ? tail.count - SIM_TAIL_LINES : 0;
    printf("the last events of seed %" PRIu64 " (all of them: --seeds %" PRIu64 ":1 --trace):\n",
           seed, seed);
    for (uint64_t i = first; i < tail.count; i++)
        puts(tail.lines[i % SIM_TAIL_LINES]);
}

/* ---- sums ---- */

static void add(struct batch_sum *sum, const struct batch_line *line)
{
    const struct sim_result *result = &line->result;
    if (result->failed && (sum->failed == 0 || line->seed < sum->first_failed)) {
        sum->first_failed = line->seed;
        memcpy(sum->first_invariant, result->invariant, sizeof sum->first_invariant);
    }
    sum->seeds++;
    sum->failed += result->failed;
    sum->events += result->events;
    sum->messages += result->messages;
    sum->bytes += result->bytes;
    sum->kills += result->kills;
    sum->store_kills += result->store_kills;
    sum->cuts += result->cuts;
    sum->versions += result->versions;
    sum->groups += result->groups;
    sum->tokens += result->tokens;
    sum->branches += result->branches;
    sum->dropped += result->dropped;
    for (int i = 0; i < SIM_FAULT_COUNT; i++)
        sum->faults[i] += result->faults[i];
    sum->virtual_s += (double)result->now_ns / 1e9;
}

static enum status collect(const struct simulate_options *options, int in, bool lines,
                           struct batch_sum *sum)
{
    static struct batch_line line;
    uint32_t tails = 0;
    int64_t said_ns = clock_now_ns();
    for (;;) {
        ssize_t size = read(in, &line, sizeof line);
        if (size < 0 && errno == EINTR)
            continue;
        if (size == 0)
            return STATUS_OK;
        if (size != (ssize_t)sizeof line)
            return FAIL(STATUS_IO, "results of a job: %s", strerror(errno));
        add(sum, &line);
        if (lines)
            print_line(&line);
        if (lines && line.result.failed && tails++ < TAILS_MAX)
            print_tail(options, line.seed);
        if (!options->quiet && clock_now_ns() - said_ns > 5 * SIM_S) {
            said_ns = clock_now_ns();
            fprintf(stderr, "%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed\n", sum->seeds,
                    options->count, sum->failed);
        }
    }
}

static enum status start_jobs(const struct simulate_options *options, int ends[2], pid_t *jobs,
                              uint32_t *count)
{
    fflush(stdout);
    for (*count = 0; *count < options->jobs; ++*count) {
        pid_t pid = fork();
        if (pid < 0)
            return FAIL(STATUS_IO, "fork: %s", strerror(errno));
        if (pid == 0) {
            close(ends[0]);
            run_job(options, *count, ends[1]);
        }
        jobs[*count] = pid;
    }
    return STATUS_OK;
}

static enum status end_jobs(const pid_t *jobs, uint32_t count)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < count; i++) {
        int how = 0;
        while (waitpid(jobs[i], &how, 0) < 0 && errno == EINTR)
            ;
        if (how != 0)
            status = FAIL(STATUS_IO, "a job ended with %s %d", WIFSIGNALED(how) ? "signal" : "exit",
                          WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
    }
    return status;
}

static enum status run_alone(const struct simulate_options *options, bool lines,
                             struct batch_sum *sum)
{
    static struct batch_line line;
    for (uint64_t i = 0; i < options->count; i++) {
        run_seed(options, options->from + i, &line);
        add(sum, &line);
        if (lines)
            print_line(&line);
    }
    return STATUS_OK;
}

enum status batch_run(const struct simulate_options *options, bool lines, struct batch_sum *sum)
{
    int ends[2];
    pid_t jobs[JOBS_MAX];
    uint32_t count = 0;
    int64_t begin_ns = clock_now_ns();
    *sum = (struct batch_sum){0};
    enum status status;
    if (options->trace) {
        status = run_alone(options, lines, sum);
    } else {
        if (pipe(ends) != 0)
            return FAIL(STATUS_IO, "pipe: %s", strerror(errno));
        status = start_jobs(options, ends, jobs, &count);
        close(ends[1]);
        if (status == STATUS_OK)
            status = collect(options, ends[0], lines, sum);
        close(ends[0]);
        enum status ended = end_jobs(jobs, count);
        status = status == STATUS_OK ? ended : status;
    }
    sum->wall_s = (double)(clock_now_ns() - begin_ns) / 1e9;
    return status;
}

static void print_sum(const struct batch_sum *sum)
{
    printf("{\"summary\":true,\"seeds\":%" PRIu64 ",\"failed\":%" PRIu64
           ",\"virtual_s\":%.1f,\"events\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"kills\":%" PRIu64 ",\"store_kills\":%" PRIu64 ",\"cuts\":%" PRIu64
           ",\"versions\":%" PRIu64 ",\"branches\":%" PRIu64 ",\"groups\":%" PRIu64
           ",\"dropped\":%" PRIu64 ",\"tokens\":%" PRIu64 ",\"wall_s\":%.2f,\"seeds_per_s\":%.1f",
           sum->seeds, sum->failed, sum->virtual_s, sum->events, sum->messages, sum->bytes,
           sum->kills, sum->store_kills, sum->cuts, sum->versions, sum->branches, sum->groups,
           sum->dropped, sum->tokens, sum->wall_s,
           sum->wall_s > 0 ? (double)sum->seeds / sum->wall_s : 0);
    printf(",\"faults\":{");
    for (int i = 0; i < SIM_FAULT_COUNT; i++)
        printf("%s\"%s\":%" PRIu64, i > 0 ? "," : "", sim_fault_name((enum sim_fault)i),
               sum->faults[i]);
    printf("}");
    if (sum->failed > 0)
        printf(",\"first_failed\":%" PRIu64 ",\"invariant\":\"%s\"", sum->first_failed,
               sum->first_invariant);
    puts("}");
}

/* ---- the program ---- */

/* The last error without the place in the source: people read it. */
static const char *sentence(void)
{
    const char *text = status_last_error(), *place = strstr(text, "): ");
    const char *status = place != NULL ? strstr(place + 3, ": ") : NULL;
    return status != NULL ? status + 2 : text;
}

int simulate_main(int argc, char **argv)
{
    struct simulate_options options;
    struct batch_sum sum;
    log_init("simulate", 0,
             (enum log_level)(LOG_LEVEL_ERROR + 1)); /* thousands of expected faults */
    if (simulate_parse(&options, argc, argv) != STATUS_OK) {
        fprintf(stderr, "weir simulate: %s\n", sentence());
        return EXIT_CODE_USAGE;
    }
    if (options.help) {
        fputs(simulate_help, stdout);
        return EXIT_CODE_OK;
    }
    enum status status =
        options.forecast ? forecast_run(&options) : batch_run(&options, true, &sum);
    if (status != STATUS_OK) {
        fprintf(stderr, "weir simulate: %s\n", sentence());
        return program_exit_code(status);
    }
    if (options.forecast)
        return EXIT_CODE_OK;
    print_sum(&sum);
    return sum.failed == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}
