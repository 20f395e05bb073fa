/* ops/eval/score_command.c - `weir score`: log-probabilities of given ids.
 *
 * All rows are read first: the longest decides what the cache must hold, so there is nothing to set. Rows come out in
 * the order in which they went in, while others are still being computed. */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "actor/score.h"
#include "core/arena.h"
#include "core/config.h"
#include "core/memory.h"
#include "core/overrides.h"
#include "core/program.h"
#include "ops/cmd.h"
#include "ops/eval/eval.h"
#include "ops/jsonl.h"

enum { WAITING_MAX = 256, ARENA_BYTES = 64 << 20 };

struct score_row {
    uint32_t *ids; /* owned; NULL once scored */
    uint32_t count, from;
    json_t *id;  /* the row's own name, or NULL */
    json_t *out; /* scored, waits for its turn */
};

struct score_run {
    const char *model, *data, *out_path;
    uint64_t top;
    bool special;
    struct overrides overrides;
    struct config *config;
    struct settings settings;
    struct engine engine;
    struct scorer *scorer;
    struct score_row *rows; /* [count] */
    uint64_t count, capacity, written;
    FILE *out;
    uint64_t tokens;
    double sum;
};

static int usage(FILE *to, int code)
{
    fputs("usage: weir score MODEL_DIR ROWS.jsonl [options] [section.name=value ...]\n"
          "\n"
          "Rows: {\"ids\": [..]} or {\"text\": \"..\"}; \"from\": first position that counts (1). "
          "Each gives a line with\n"
          "its log-probabilities (nats, temperature 1, position 0 has none), their sum and count, "
          "and the perplexity.\n"
          "\n"
          "  --out FILE    where the lines go (standard output)\n"
          "  --top K       the K best ids of each position, too\n"
          "  --special     text gets what the tokenizer adds around it, such as a begin of text\n"
          "  --device D    cpu, cuda, ...\n"
          "  --help        this text\n",
          to);
    return code;
}

/* ---- rows ---- */

static enum status take_ids(const struct jsonl *file, const json_t *list, struct score_row *row)
{
    size_t count = json_array_size(list);
    row->ids = memory_array(count > 0 ? count : 1, sizeof *row->ids);
    if (row->ids == NULL)
        return FAIL(STATUS_NO_MEMORY, "a row of %zu ids", count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        int64_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id > UINT32_MAX)
            return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": \"ids\": item %zu is no token id",
                        file->path, file->number, i);
        row->ids[i] = (uint32_t)id;
    }
    row->count = (uint32_t)count;
    return STATUS_OK;
}

static enum status take_text(const struct score_run *run, struct tokenizer *tokenizer,
                             struct arena *arena, const json_t *text, struct score_row *row)
{
    uint32_t *ids = NULL;
    size_t count = 0;
    arena_reset(arena);
    const char *bytes = json_string_value(text);
    size_t size = json_string_length(text);
    TRY(run->special ? tokenizer_encode_special(tokenizer, bytes, size, arena, &ids, &count)
                     : tokenizer_encode(tokenizer, bytes, size, arena, &ids, &count));
    row->ids = memory_array(count > 0 ? count : 1, sizeof *row->ids);
    if (row->ids == NULL)
        return FAIL(STATUS_NO_MEMORY, "a row of %zu ids", count);
    memcpy(row->ids, ids, count * sizeof *ids);
    row->count = (uint32_t)count;
    return STATUS_OK;
}

static enum status take_row(struct score_run *run, const struct jsonl *file,
                            struct tokenizer *tokenizer, struct arena *arena, const json_t *json)
{
    struct score_row *row = &run->rows[run->count];
    const json_t *ids = json_object_get(json, "ids"), *text = json_object_get(json, "text");
    const json_t *from = json_object_get(json, "from");
    memset(row, 0, sizeof *row);
    run->count++;
    row->id = json_incref(json_object_get(json, "id"));
    if (json_is_array(ids))
        TRY(take_ids(file, ids, row));
    else if (json_is_string(text))
        TRY(take_text(run, tokenizer, arena, text, row));
    else
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": neither \"ids\" (a list) nor \"text\"",
                    file->path, file->number);
    if (row->count == 0)
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": nothing to score", file->path, file->number);
    row->from = 1;
    if (from == NULL)
        return STATUS_OK;
    int64_t first = json_is_integer(from) ? json_integer_value(from) : -1;
    if (first < 1 || first > (int64_t)row->count)
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": \"from\" is a position from 1 to %u",
                    file->path, file->number, row->count);
    row->from = (uint32_t)first;
    return STATUS_OK;
}

static enum status room_for_row(struct score_run *run)
{
    if (run->count < run->capacity)
        return STATUS_OK;
    uint64_t capacity = run->capacity > 0 ? 2 * run->capacity : 1024;
    struct score_row *rows = memory_array(capacity, sizeof *rows);
    if (rows == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " rows", capacity);
    if (run->count > 0)
        memcpy(rows, run->rows, run->count * sizeof *rows);
    memory_free(run->rows);
    run->rows = rows;
    run->capacity = capacity;
    return STATUS_OK;
}

static enum status read_rows(struct score_run *run, struct tokenizer *tokenizer)
{
    struct jsonl file = {0};
    struct arena *arena = NULL;
    json_t *json = NULL;
    enum status status;
    TRY_GOTO(out, arena_create(&arena, ARENA_BYTES));
    TRY_GOTO(out, jsonl_open(&file, run->data));
    while ((status = jsonl_next(&file, &json)) == STATUS_OK && json != NULL) {
        TRY_GOTO(out, room_for_row(run));
        TRY_GOTO(out, take_row(run, &file, tokenizer, arena, json));
        json_decref(json);
        json = NULL;
    }
out:
    json_decref(json);
    jsonl_close(&file);
    arena_destroy(&arena);
    return status;
}

/* ---- lines ---- */

static json_t *json_f32(float value)
{
    return isfinite(value) ? json_real((double)value) : json_null();
}

static void add_top(json_t *line, const struct scored *scored)
{
    json_t *ids = json_array(), *logprobs = json_array();
    for (uint32_t t = 0; t < scored->count; t++) {
        if (t == 0) {
            json_array_append_new(ids, json_null());
            json_array_append_new(logprobs, json_null());
            continue;
        }
        json_t *best = json_array(), *values = json_array();
        for (uint32_t j = 0; j < scored->top; j++) {
            size_t at = (size_t)t * scored->top + j;
            json_array_append_new(best, json_integer(scored->top_ids[at]));
            json_array_append_new(values, json_f32(scored->top_logprobs[at]));
        }
        json_array_append_new(ids, best);
        json_array_append_new(logprobs, values);
    }
    json_object_set_new(line, "top_ids", ids);
    json_object_set_new(line, "top_logprobs", logprobs);
}

static json_t *make_line(struct score_run *run, const struct score_row *row,
                         const struct scored *scored)
{
    json_t *line = json_object(), *logprobs = json_array();
    double sum = 0;
    uint32_t counted = scored->count - row->from;
    for (uint32_t t = 0; t < scored->count; t++) {
        json_array_append_new(logprobs, json_f32(scored->logprobs[t]));
        sum += t >= row->from ? (double)scored->logprobs[t] : 0.0;
    }
    json_object_set_new(line, "row", json_integer((json_int_t)scored->tag));
    if (row->id != NULL)
        json_object_set(line, "id", row->id);
    json_object_set_new(line, "count", json_integer(counted));
    json_object_set_new(line, "sum", json_real(sum));
    json_object_set_new(line, "perplexity",
                        counted > 0 ? json_real(exp(-sum / counted)) : json_null());
    json_object_set_new(line, "logprobs", logprobs);
    if (scored->top > 0)
        add_top(line, scored);
    run->tokens += counted;
    run->sum += sum;
    return line;
}

/* Nine digits hold an f32 exactly. */
static enum status write_ready(struct score_run *run)
{
    for (; run->written < run->count && run->rows[run->written].out != NULL; run->written++) {
        struct score_row *row = &run->rows[run->written];
        int failed = json_dumpf(row->out, run->out, JSON_COMPACT | JSON_REAL_PRECISION(9));
        if (failed != 0 || putc('\n', run->out) == EOF)
            return FAIL(STATUS_IO, "%s: a line could not be written",
                        run->out_path ? run->out_path : "standard output");
        json_decref(row->out);
        row->out = NULL;
    }
    return STATUS_OK;
}

static enum status keep(void *self, const struct scored *scored)
{
    struct score_run *run = self;
    struct score_row *row = &run->rows[scored->tag];
    row->out = make_line(run, row, scored);
    memory_free(row->ids);
    row->ids = NULL;
    return write_ready(run);
}

/* ---- the run ---- */

static enum status add_request(struct score_run *run, const struct scorer_request *request)
{
    enum status status = scorer_add(run->scorer, request);
    char why[STATUS_TEXT_MAX];
    if (status == STATUS_OK)
        return STATUS_OK;
    (void)snprintf(why, sizeof why, "%s", error_sentence());
    return FAIL(status, "row %" PRIu64 ": %s", request->tag, why);
}

static enum status score_rows(struct score_run *run)
{
    bool worked = true;
    for (uint64_t next = 0; next < run->count || scorer_pending(run->scorer) > 0;) {
        while (next < run->count && next - run->written < WAITING_MAX) {
            const struct score_row *row = &run->rows[next];
            const struct scorer_request request = {next, row->ids, row->count, (uint32_t)run->top};
            TRY(add_request(run, &request));
            next++;
        }
        if (atomic_load(program_stop_signals()) > 0)
            return FAIL(STATUS_CANCELLED, "stopped after %" PRIu64 " rows", run->written);
        TRY(scorer_step(run->scorer, &worked));
    }
    return STATUS_OK;
}

/* The cache holds the longest row; nothing is generated, so the engine needs one slot. */
static void size_engine(struct score_run *run)
{
    uint32_t longest = 1;
    for (uint64_t i = 0; i < run->count; i++)
        longest = run->rows[i].count > longest ? run->rows[i].count : longest;
    run->settings.data.prompt_tokens_max = longest;
    run->settings.sampling.response_tokens_max = 1;
    run->settings.actor.slots = 1;
    run->settings.actor.cache_tokens = 0;
}

static enum status score_file(struct score_run *run)
{
    struct tokenizer *tokenizer = NULL;
    TRY(tokenizer_open(&tokenizer, run->model, run->settings.model.tokenizer));
    enum status status = read_rows(run, tokenizer);
    tokenizer_close(&tokenizer);
    TRY(status);
    size_engine(run);
    TRY(engine_create(&run->engine, &run->settings, 0, 1));
    TRY(engine_load_folder(&run->engine, run->model));
    TRY(scorer_create(&run->scorer, &run->engine, keep, run));
    run->out = run->out_path != NULL ? fopen(run->out_path, "w") : stdout;
    if (run->out == NULL)
        return FAIL(STATUS_IO, "%s: cannot be written", run->out_path);
    TRY(score_rows(run));
    if (fflush(run->out) != 0)
        return FAIL(STATUS_IO, "%s: not written",
                    run->out_path ? run->out_path : "standard output");
    fprintf(stderr, "%" PRIu64 " rows, %" PRIu64 " tokens, sum %.6f, perplexity %.6f\n", run->count,
            run->tokens, run->sum,
            run->tokens > 0 ? exp(-run->sum / (double)run->tokens) : (double)NAN);
    return STATUS_OK;
}

static void close_run(struct score_run *run)
{
    if (run->out != NULL && run->out != stdout)
        (void)fclose(run->out);
    scorer_destroy(&run->scorer);
    engine_destroy(&run->engine);
    for (uint64_t i = 0; i < run->count; i++) {
        memory_free(run->rows[i].ids);
        json_decref(run->rows[i].id);
        json_decref(run->rows[i].out);
    }
    memory_free(run->rows);
    config_destroy(&run->config);
}

/* ---- arguments ---- */

static enum status take_words(struct score_run *run, int argc, char **argv)
{
    for (int i = optind; i < argc; i++) {
        if (overrides_is_setting(argv[i]))
            TRY(overrides_add(&run->overrides, argv[i]));
        else if (run->model == NULL)
            run->model = argv[i];
        else if (run->data == NULL)
            run->data = argv[i];
        else
            return FAIL(STATUS_INVALID, "%s: MODEL_DIR and ROWS.jsonl are there already", argv[i]);
    }
    if (run->data == NULL)
        return FAIL(STATUS_INVALID, "MODEL_DIR and ROWS.jsonl are wanted");
    TRY(overrides_make(&run->overrides, "model.path", run->model));
    struct config_input input = {.overrides = run->overrides.list,
                                 .override_count = run->overrides.count,
                                 .environment = true};
    return settings_load(&run->settings, &run->config, &input);
}

/* -1: go on. */
static int read_arguments(struct score_run *run, int argc, char **argv)
{
    enum { OUT = 1000, TOP, SPECIAL, DEVICE, HELP };
    static const struct option options[] = {
        {"out", 1, NULL, OUT},       {"top", 1, NULL, TOP},   {"special", 0, NULL, SPECIAL},
        {"device", 1, NULL, DEVICE}, {"help", 0, NULL, HELP}, {NULL, 0, NULL, 0}};
    enum status status = overrides_add(&run->overrides, "redis.mode=off");
    if (status == STATUS_OK)
        status = overrides_add(&run->overrides, "run.log_level=warn");
    for (int option;
         status == STATUS_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == HELP)
            return usage(stdout, EXIT_CODE_OK);
        if (option == OUT)
            run->out_path = optarg;
        else if (option == TOP)
            status = option_number("--top", optarg, 0, SCORE_TOP_MAX, &run->top);
        else if (option == SPECIAL)
            run->special = true;
        else if (option == DEVICE)
            status = overrides_make(&run->overrides, "run.device", optarg);
        else
            return usage(stderr, EXIT_CODE_USAGE);
    }
    if (status == STATUS_OK)
        status = take_words(run, argc, argv);
    if (status == STATUS_OK)
        return -1;
    fprintf(stderr, "weir score: %s\n", error_sentence());
    return EXIT_CODE_USAGE;
}

int score_command(int argc, char **argv)
{
    static struct score_run run;
    memset(&run, 0, sizeof run);
    int code = read_arguments(&run, argc, argv);
    if (code < 0) {
        enum status status = score_file(&run);
        code = program_exit_code(status);
        if (status != STATUS_OK)
            fprintf(stderr, "weir score: %s\n", error_sentence());
    }
    close_run(&run);
    return code;
}
