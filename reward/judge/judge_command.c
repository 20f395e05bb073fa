#include "reward/judge/judge_command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "reward/judge/judge_area.h"
#include "reward/judge/prompts.h"

enum { JOBS_MAX = 256 };

static int usage(FILE *to, int code)
{
    fputs(
        "usage: weir judge references --in candidates.jsonl --out references.jsonl --judge "
        "JSON|FILE\n"
        "                  [--rounds N] [--mode pairwise|pair5] [--blind M] [--seed N] [--jobs N]\n"
        "       weir judge check --in labelled.jsonl --judge JSON|FILE [--out rows.jsonl] "
        "[--pairs] [--padded]\n"
        "                  [--right GRADE] [--mode pairwise|pair5] [--blind M] [--jobs N]\n"
        "references: Swiss rounds choose the reference answer of each prompt; games are kept for "
        "audit.\n"
        "check: accuracy on labelled answers, Best-of-N against pass@N; --pairs: consistency when "
        "places are\n"
        "switched; --padded: preference for answers padded with neutral text.\n"
        "--judge is {\"base_url\", \"model\", \"api_key_env\", \"cache\", ...}. docs/judge.md has "
        "the row formats.\n",
        to);
    return code;
}

/* ---- pairs and questions ---- */

const char *judge_command_question(const json_t *row)
{
    const json_t *prompt = json_object_get(row, "prompt");
    if (prompt == NULL)
        prompt = json_object_get(row, "question");
    size_t turns = json_array_size(prompt);
    if (turns > 0)
        prompt = json_object_get(json_array_get(prompt, turns - 1), "content");
    const char *text = json_string_value(prompt);
    return text != NULL ? text : "";
}

bool judge_command_pair(struct judge *judge, const struct judge_command_options *options,
                        const char *question, const char *first, const char *second,
                        struct judge_command_pair *pair)
{
    const struct prompt_text q = {question, strlen(question)}, a = {first, strlen(first)},
                             b = {second, strlen(second)};
    bool five = options->rules.mode == VERDICT_PAIR5;
    size_t most = (size_t)options->text_bytes_max, chars_a = judge_chars(a.at, a.size),
           chars_b = judge_chars(b.at, b.size);
    json_t *messages[2] = {NULL, NULL};
    struct ballot ballot = {.passes = 2};
    *pair = (struct judge_command_pair){0};
    enum status status = prompts_pair(q, a, b, five, most, &messages[0]);
    if (status == STATUS_OK)
        status = prompts_pair(q, b, a, five, most, &messages[1]);
    if (status == STATUS_OK) {
        for (int p = 0; p < 2; p++)
            ballot.pass[p].messages = messages[p];
        ballot_hold(judge, &options->rules, &ballot,
                    clock_now_ns() + options->deadline_ms * CLOCK_NS_PER_MS);
        status = ballot.status;
        snprintf(pair->why, sizeof pair->why, "%s", ballot.why);
    }
    json_decref(messages[0]);
    json_decref(messages[1]);
    pair->cost = ballot.cost;
    if (status != STATUS_OK)
        return false;
    pair->has_a = ballot.pass[0].agreed;
    pair->has_b = ballot.pass[1].agreed;
    if (pair->has_a)
        pair->as_a = judge_pair_score(options->rules.mode, ballot.pass[0].verdict, true, chars_a,
                                      chars_b, options->guard_chars);
    if (pair->has_b)
        pair->as_b = judge_pair_score(options->rules.mode, ballot.pass[1].verdict, false, chars_a,
                                      chars_b, options->guard_chars);
    return true;
}

/* ---- rows over threads ---- */

struct crew {
    struct judge *judge;
    const struct judge_command_options *options;
    judge_row_fn score;
    json_t **rows, **results; /* [count] */
    size_t count;
    atomic_size_t next;
};

static void *work(void *self)
{
    struct crew *crew = self;
    for (size_t i; (i = atomic_fetch_add(&crew->next, 1)) < crew->count;)
        crew->results[i] = crew->score(crew->judge, crew->options, crew->rows[i]);
    return NULL;
}

static enum status run_crew(struct crew *crew)
{
    pthread_t threads[JOBS_MAX];
    uint32_t started = 0;
    while (started < crew->options->jobs &&
           pthread_create(&threads[started], NULL, work, crew) == 0)
        started++;
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return started > 0 ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "no thread can be started");
}

/* ---- files ---- */

static enum status count_lines(const struct buffer *text, size_t *lines)
{
    *lines = 0;
    for (size_t i = 0; i < text->size; i++)
        *lines += text->bytes[i] == '\n';
    return ++*lines < SIZE_MAX / sizeof(json_t *) ? STATUS_OK
                                                  : FAIL(STATUS_LIMIT, "too many lines");
}

static enum status read_rows(const char *path, json_t ***rows, size_t *count)
{
    struct buffer text;
    size_t lines = 0, number = 0;
    buffer_init(&text, (size_t)4 << 30);
    enum status status;
    TRY_GOTO(out, file_read(path, &text));
    TRY_GOTO(out, count_lines(&text, &lines));
    *rows = memory_array(lines, sizeof(json_t *));
    if (*rows == NULL)
        TRY_GOTO(out, FAIL(STATUS_NO_MEMORY, "%zu rows", lines));
    for (const char *at = buffer_string(&text); *at != '\0';) {
        size_t size = strcspn(at, "\n");
        json_error_t error;
        number++;
        if (strspn(at, " \t\r") < size) {
            json_t *row = json_loadb(at, size, JSON_REJECT_DUPLICATES, &error);
            if (!json_is_object(row)) {
                json_decref(row);
                TRY_GOTO(out, FAIL(STATUS_CORRUPT, "%s:%zu: %s", path, number,
                                   row == NULL ? error.text : "a row is an object"));
            }
            (*rows)[(*count)++] = row;
        }
        at += size + (at[size] == '\n');
    }
out:
    buffer_free(&text);
    return status;
}

static enum status write_results(const char *path, json_t *const *results, size_t count)
{
    if (path == NULL)
        return STATUS_OK;
    FILE *file = fopen(path, "w");
    bool written = file != NULL;
    for (size_t i = 0; i < count && written; i++)
        written = json_dumpf(results[i], file, JSON_COMPACT) == 0 && fputc('\n', file) != EOF;
    if (file != NULL && fclose(file) != 0)
        written = false;
    return written ? STATUS_OK : FAIL(STATUS_IO, "%s cannot be written: %s", path, strerror(errno));
}

static enum status read_json(const char *text, json_t **config)
{
    struct buffer bytes;
    json_error_t error = {0};
    buffer_init(&bytes, 1 << 20);
    enum status status = text[0] == '{' ? buffer_text(&bytes, text) : file_read(text, &bytes);
    if (status == STATUS_OK)
        *config = json_loadb(buffer_string(&bytes), bytes.size, JSON_REJECT_DUPLICATES, &error);
    if (status == STATUS_OK && !json_is_object(*config))
        status = FAIL(STATUS_INVALID, "--judge: line %d: %s", error.line,
                      *config == NULL ? error.text : "not an object");
    buffer_free(&bytes);
    return status;
}

/* ---- options ---- */

struct arguments {
    struct judge_command_options options;
    const char *judge;
    bool help;
};

static enum status number(const char *name, const char *text, double least, double most,
                          double *value)
{
    char *end = NULL;
    double read = strtod(text, &end);
    if (end == text || *end != '\0' || !(read >= least) || !(read <= most))
        return FAIL(STATUS_INVALID, "--%s %s: a number from %g to %g is wanted", name, text, least,
                    most);
    *value = read;
    return STATUS_OK;
}

static enum status whole(const char *name, const char *text, double least, double most,
                         uint32_t *value)
{
    double read = 0;
    TRY(number(name, text, least, most, &read));
    *value = (uint32_t)read;
    return (double)*value == read ? STATUS_OK
                                  : FAIL(STATUS_INVALID, "--%s %s: no whole number", name, text);
}

static enum status read_mode(struct arguments *arguments, const char *text)
{
    bool pair = strcmp(text, "pairwise") == 0 || strcmp(text, "pair") == 0;
    arguments->options.rules.mode = pair ? VERDICT_PAIR : VERDICT_PAIR5;
    return pair || strcmp(text, "pair5") == 0
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "--mode %s: pairwise or pair5", text);
}

static enum status read_option(struct arguments *arguments, int word)
{
    struct judge_command_options *options = &arguments->options;
    uint32_t seed = 0;
    switch (word) {
    case 'i':
        options->in = optarg;
        return STATUS_OK;
    case 'o':
        options->results = optarg;
        return STATUS_OK;
    case 'c':
        arguments->judge = optarg;
        return STATUS_OK;
    case 'r':
        return whole("rounds", optarg, 1, 256, &options->rounds);
    case 'j':
        return whole("jobs", optarg, 1, JOBS_MAX, &options->jobs);
    case 'b':
        TRY(whole("blind", optarg, 1, BALLOT_BLIND_MAX, &options->rules.blind));
        options->rules.agree = options->rules.blind / 2 + 1;
        return STATUS_OK;
    case 's':
        TRY(whole("seed", optarg, 0, UINT32_MAX, &seed));
        options->seed = seed;
        return STATUS_OK;
    case 'g':
        return number("right", optarg, 1, 5, &options->right);
    case 'm':
        return read_mode(arguments, optarg);
    case 'p':
        options->pairs = true;
        return STATUS_OK;
    case 'd':
        options->padded = true;
        return STATUS_OK;
    default:
        arguments->help = true;
        return word == 'h' ? STATUS_OK : FAIL(STATUS_INVALID, "unknown option");
    }
}

static enum status read_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option names[] = {
        {"in", 1, NULL, 'i'},     {"out", 1, NULL, 'o'},    {"judge", 1, NULL, 'c'},
        {"rounds", 1, NULL, 'r'}, {"jobs", 1, NULL, 'j'},   {"blind", 1, NULL, 'b'},
        {"seed", 1, NULL, 's'},   {"right", 1, NULL, 'g'},  {"mode", 1, NULL, 'm'},
        {"pairs", 0, NULL, 'p'},  {"padded", 0, NULL, 'd'}, {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    arguments->options = (struct judge_command_options){.rules = ballot_defaults(VERDICT_PAIR),
                                                        .jobs = 16,
                                                        .seed = 1,
                                                        .text_bytes_max = 24000,
                                                        .guard_chars = 50,
                                                        .deadline_ms = 1800000,
                                                        .right = 4,
                                                        .pad_share = 0.5};
    optind = 1;
    for (int word; (word = getopt_long(argc, argv, "", names, NULL)) != -1;)
        TRY(read_option(arguments, word));
    if (arguments->help)
        return STATUS_OK;
    if (optind < argc)
        return FAIL(STATUS_INVALID, "\"%s\" is one word too many", argv[optind]);
    if (arguments->options.in == NULL || arguments->judge == NULL)
        return FAIL(STATUS_INVALID, "--in and --judge are needed");
    return STATUS_OK;
}

/* ---- the command ---- */

static json_t *counters_json(struct judge *judge)
{
    struct judge_counters counts;
    judge_counters(judge, &counts);
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:s}", "questions",
                     (json_int_t)counts.questions, "cached", (json_int_t)counts.cached, "retries",
                     (json_int_t)counts.retries, "failures", (json_int_t)counts.failures,
                     "prompt_tokens", (json_int_t)counts.prompt_tokens, "completion_tokens",
                     (json_int_t)counts.completion_tokens, "cost", counts.cost, "p50_ms",
                     counts.p50_ms, "p95_ms", counts.p95_ms, "version", judge_version(judge));
}

static enum status run(const struct arguments *arguments, bool references, FILE *out)
{
    struct crew crew = {.options = &arguments->options,
                        .score = references ? judge_references_row : judge_check_row};
    json_t *config = NULL, *summary = NULL;
    char why[512] = "";
    enum status status;
    TRY_GOTO(out, read_json(arguments->judge, &config));
    TRY_GOTO(out, read_rows(arguments->options.in, &crew.rows, &crew.count));
    if (judge_create(config, &crew.judge, why, sizeof why) != 0)
        TRY_GOTO(out, FAIL(STATUS_INVALID, "%s", why));
    crew.results = memory_array(crew.count + 1, sizeof(json_t *));
    if (crew.results == NULL)
        TRY_GOTO(out, FAIL(STATUS_NO_MEMORY, "%zu results", crew.count));
    TRY_GOTO(out, run_crew(&crew));
    TRY_GOTO(out, write_results(arguments->options.results, crew.results, crew.count));
    summary = references ? judge_references_summary(crew.results, crew.count)
                         : judge_check_summary(crew.results, crew.count, &arguments->options);
    json_object_set_new(summary, "judge", counters_json(crew.judge));
    if (json_dumpf(summary, out, JSON_REAL_PRECISION(6)) != 0 || fputc('\n', out) == EOF)
        status = FAIL(STATUS_IO, "the summary cannot be written");
out:
    for (size_t i = 0; i < crew.count; i++) {
        json_decref(crew.rows[i]);
        json_decref(crew.results != NULL ? crew.results[i] : NULL);
    }
    memory_free(crew.rows);
    memory_free(crew.results);
    json_decref(summary);
    json_decref(config);
    judge_destroy(&crew.judge);
    return status;
}

int judge_command(int argc, char **argv, FILE *out)
{
    struct arguments arguments = {0};
    bool references = argc > 1 && strcmp(argv[1], "references") == 0;
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return usage(out, EXIT_CODE_OK);
    if (!references && (argc < 2 || strcmp(argv[1], "check") != 0))
        return usage(stderr, EXIT_CODE_USAGE);
    if (read_arguments(argc - 1, argv + 1, &arguments) != STATUS_OK) {
        fprintf(stderr, "weir judge %s: %s\n", argv[1], status_sentence(status_last_error()));
        return EXIT_CODE_USAGE;
    }
    if (arguments.help)
        return usage(out, EXIT_CODE_OK);
    if (references && arguments.options.results == NULL) {
        fprintf(stderr, "weir judge references: --out is needed\n");
        return EXIT_CODE_USAGE;
    }
    enum status status = run(&arguments, references, out);
    if (status != STATUS_OK)
        fprintf(stderr, "weir judge %s: %s\n", argv[1], status_sentence(status_last_error()));
    return program_exit_code(status);
}
