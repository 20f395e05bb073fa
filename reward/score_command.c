/* reward/score_command.c - weir-reward score: the answers of `weir eval` to the plugin of a run.
 *
 *     weir-reward score IN.jsonl OUT.jsonl [--config FILE ...] [section.name=value ...]
 *
 * A row in is one of plugin_rows.h. Rows that follow each other with the same "group" are a group. A row out has what the
 * row in says about the sample (id, index, sample, data_source, finish, tokens, mean_logprob), then status, value, detail.
 * Rows are read and scored in pieces of whole groups, so memory does not grow with the file; order is kept. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "core/wait.h"
#include "reward/plugin_rows.h"
#include "reward/plugin_services.h"
#include "reward/words.h"

enum { PIECE_ROWS = 512, LINE_BYTES_MAX = 256 << 20, PIECE_BYTES_MAX = 1 << 30 };

struct scoring {
    const struct settings *settings;
    struct plugin_host *host;
    const char *path;
    FILE *in, *out;
    struct buffer piece, next; /* lines in hand; the first line of the piece after it */
    uint32_t lines;
    uint64_t rows, not_scored;
    bool ended, stuck;
};

/* ---- pieces of the file ---- */

/* The member "group" as text, "" when there is none: good enough to see where a group ends. */
static enum status group_of(const char *line, size_t size, char **group)
{
    json_error_t error;
    json_t *row = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (row == NULL)
        return FAIL(STATUS_INVALID, "column %d: %s", error.column, error.text);
    const json_t *value = json_object_get(row, "group");
    *group = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    json_decref(row);
    return STATUS_OK;
}

static bool same_group(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* Adds a line to the piece, or keeps it for the next one when this one is large enough and its group has ended. */
static enum status take_line(struct scoring *scoring, const char *line, size_t size, char **last,
                             bool *full)
{
    char *group = NULL;
    TRY(group_of(line, size, &group));
    *full = scoring->lines >= PIECE_ROWS && !same_group(*last, group);
    free(*last); /* lint: allow(free): jansson's buffer */
    *last = group;
    scoring->lines += !*full;
    return buffer_append(*full ? &scoring->next : &scoring->piece, line, size);
}

static enum status read_piece(struct scoring *scoring)
{
    char *line = NULL, *last = NULL;
    size_t capacity = 0;
    bool full = false;
    enum status status = STATUS_OK;
    buffer_clear(&scoring->piece);
    scoring->lines = 0;
    if (scoring->next.size > 0) {
        status =
            take_line(scoring, (const char *)scoring->next.bytes, scoring->next.size, &last, &full);
        buffer_clear(&scoring->next);
    }
    while (status == STATUS_OK && !full) {
        ssize_t size = getline(&line, &capacity, scoring->in);
        if (size < 0) {
            scoring->ended = true;
            break;
        }
        if (size > LINE_BYTES_MAX)
            status = FAIL(STATUS_LIMIT, "a row is longer than 256 MiB");
        else if (strspn(line, " \t\r\n") < (size_t)size)
            status = take_line(scoring, line, (size_t)size, &last, &full);
    }
    free(line); /* lint: allow(free): getline's buffer */
    free(last); /* lint: allow(free): jansson's buffer */
    return status;
}

/* ---- one piece ---- */

static enum status write_score(struct scoring *scoring, const struct plugin_row *row,
                               const struct plugin_job *job)
{
    static const char *const carried[] = {"id",     "index",  "sample",      "data_source",
                                          "finish", "tokens", "mean_logprob"};
    const struct score *score = &job->score;
    bool scored =
        (score->status == SCORE_OK || score->status == SCORE_FAIL) && isfinite(score->value);
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof carried / sizeof carried[0]; i++) {
        json_t *value = json_object_get(row->json, carried[i]);
        if (value != NULL)
            json_object_set(out, carried[i], value);
    }
    json_object_set_new(out, "status", json_string(plugin_rows_status(score->status)));
    json_object_set_new(out, "value", scored ? json_real(score->value) : json_null());
    json_t *detail = job->detail != NULL ? json_loads(job->detail, 0, NULL) : NULL;
    if (json_object_size(detail) > 0)
        json_object_set(out, "detail", detail);
    json_decref(detail);
    char *text = json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(out);
    bool written = text != NULL && fputs(text, scoring->out) >= 0 && fputc('\n', scoring->out) >= 0;
    free(text); /* lint: allow(free): jansson's buffer */
    scoring->rows++;
    scoring->not_scored += !scored;
    return written ? STATUS_OK : FAIL(STATUS_IO, "a score cannot be written");
}

static struct plugin_job *next_job(const struct scoring *scoring, int64_t timeout_ms)
{
    int64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    struct plugin_job *job = NULL;
    while ((job = plugin_host_take(scoring->host, clock_now_ns())) == NULL &&
           clock_now_ns() < deadline_ns) {
        struct pollfd fd = {.fd = plugin_host_fd(scoring->host), .events = POLLIN};
        if (wait_poll("score", "plugin", 20, &fd, 1) == STATUS_IO)
            break;
    }
    return job;
}

static enum status submit(struct scoring *scoring, const struct plugin_rows *rows, uint32_t index)
{
    struct plugin_job *job = plugin_rows_job(rows, index);
    if (job == NULL)
        return FAIL(STATUS_NO_MEMORY, "a row");
    job->item.is_eval = 1;
    enum status status = plugin_host_submit(scoring->host, job);
    if (status != STATUS_OK)
        plugin_rows_drop(job);
    return status;
}

/* Every item comes back, late ones as timeouts. */
static enum status collect(struct scoring *scoring, const struct plugin_rows *rows,
                           struct plugin_job **jobs)
{
    const struct reward_settings *reward = &scoring->settings->reward;
    int64_t patience_ms = 2 * (int64_t)reward->timeout_ms + 1000;
    uint32_t sent = 0, got = 0;
    while (got < rows->count) {
        while (sent < rows->count && sent - got < reward->queue) {
            enum status status = submit(scoring, rows, sent);
            if (status == STATUS_LIMIT)
                break;
            TRY(status);
            sent++;
        }
        struct plugin_job *job = next_job(scoring, patience_ms);
        if (job == NULL)
            return FAIL(STATUS_TIMEOUT, "the plugin \"%s\" gave nothing for %" PRId64 " ms",
                        plugin_host_name(scoring->host), patience_ms);
        jobs[job->score.sample] = job;
        got++;
    }
    return STATUS_OK;
}

static enum status check_ids(const struct scoring *scoring, const struct plugin_rows *rows)
{
    uint64_t caps = plugin_host_caps(scoring->host);
    bool needs = (caps & (WEIR_REWARD_CAP_NEEDS_IDS | WEIR_REWARD_CAP_NEEDS_LOGPROBS)) != 0;
    if (needs && json_object_get(rows->rows[0].json, "response_ids") == NULL)
        return FAIL(STATUS_UNSUPPORTED,
                    "the plugin \"%s\" reads token ids and the rows have none: "
                    "generate with --ids",
                    plugin_host_name(scoring->host));
    return STATUS_OK;
}

static enum status score_rows(struct scoring *scoring, const struct plugin_rows *rows)
{
    TRY(check_ids(scoring, rows));
    struct plugin_job **jobs = memory_array(rows->count, sizeof(struct plugin_job *));
    if (jobs == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u rows", rows->count);
    enum status status = collect(scoring, rows, jobs);
    scoring->stuck = plugin_host_stuck(scoring->host);
    for (uint32_t i = 0; i < rows->count; i++) {
        if (jobs[i] == NULL)
            continue;
        if (status == STATUS_OK)
            status = write_score(scoring, &rows->rows[i], jobs[i]);
        if (!jobs[i]->held)
            plugin_rows_drop(jobs[i]);
    }
    memory_free(jobs);
    return status != STATUS_OK || !scoring->stuck
               ? status
               : FAIL(STATUS_TIMEOUT, "the plugin \"%s\" did not return by reward.timeout_ms",
                      plugin_host_name(scoring->host));
}

static enum status score_piece(struct scoring *scoring)
{
    struct plugin_rows rows = {0};
    TRY(plugin_rows_read(&rows, scoring->path, buffer_string(&scoring->piece)));
    enum status status = score_rows(scoring, &rows);
    if (!scoring->stuck) /* else its thread may still read them */
        plugin_rows_free(&rows);
    return status;
}

static enum status score_file(struct scoring *scoring)
{
    TRY(plugin_services_open(scoring->settings->reward.judge));
    TRY(plugin_host_open(&scoring->host, &scoring->settings->reward));
    while (!scoring->ended) {
        TRY(read_piece(scoring));
        if (scoring->lines > 0)
            TRY(score_piece(scoring));
    }
    return STATUS_OK;
}

/* ---- the command ---- */

static enum status run(struct scoring *scoring, const char *in, const char *out)
{
    char temporary[FILE_PATH_MAX];
    TRY(file_path(temporary, "%s.tmp", out));
    scoring->path = in;
    scoring->in = fopen(in, "r");
    if (scoring->in == NULL)
        return FAIL(STATUS_NOT_FOUND, "%s cannot be opened", in);
    scoring->out = fopen(temporary, "w");
    if (scoring->out == NULL)
        return FAIL(STATUS_IO, "%s cannot be written", temporary);
    TRY(score_file(scoring));
    bool whole = fflush(scoring->out) == 0 && fsync(fileno(scoring->out)) == 0;
    return whole && rename(temporary, out) == 0 ? STATUS_OK
                                                : FAIL(STATUS_IO, "%s cannot be written", out);
}

int score_command(int argc, char **argv)
{
    enum { WORDS = 2 };
    if (argc <= WORDS) {
        fputs("usage: weir-reward score IN.jsonl OUT.jsonl [--config FILE] [section.name=value]\n",
              stderr);
        return EXIT_CODE_USAGE;
    }
    struct program program;
    const char *in = argv[1], *out = argv[2];
    int code = program_start(&program, argc - WORDS, argv + WORDS, ROLE_NAME_REWARD,
                             "Scores the rows of a file with reward.plugin.");
    if (code >= 0)
        return code;
    struct scoring scoring = {.settings = &program.settings};
    buffer_init(&scoring.piece, PIECE_BYTES_MAX);
    buffer_init(&scoring.next, LINE_BYTES_MAX);
    enum status status = run(&scoring, in, out);
    if (status != STATUS_OK)
        fprintf(stderr, "weir-reward score: %s\n", status_sentence(status_last_error()));
    if (scoring.in != NULL)
        fclose(scoring.in);
    if (scoring.out != NULL)
        fclose(scoring.out);
    buffer_free(&scoring.piece);
    buffer_free(&scoring.next);
    if (status != STATUS_OK)
        _exit(program_exit_code(status)); /* a plugin's thread may still run */
    plugin_host_close(&scoring.host, plugin_rows_drop);
    plugin_services_close();
    return program_end(&program, STATUS_OK);
}
