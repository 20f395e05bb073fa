/* ops/eval/eval_command.c - the command line of `weir eval`, the scoring child and the report. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "core/program.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/eval/eval.h"

extern char **environ;

static int usage(FILE *to, int code)
{
    fputs(
        "usage: weir eval MODEL_DIR DATA.jsonl [options] [section.name=value ...]\n"
        "  --samples K      answers to each prompt (default 1)\n"
        "  --reward NAME    as reward.plugin of a recipe; none: no scores (default: the recipe's)\n"
        "  --out FOLDER     responses.jsonl, scores.jsonl, report.json (default: eval)\n"
        "  --resume         go on with the folder\n"
        "  --k LIST         of pass@k, as 1,8,64 (default: powers of two up to K)\n"
        "  --success X      a sample passes when its value is at least X (default 0.5)\n"
        "  --seed N         run.seed\n"
        "  --tokens N       sampling.response_tokens_max\n"
        "  --device D       run.device: cpu, cuda:0\n"
        "  --limit N        the first N prompts only\n"
        "  --id KEY         member of a data row that names it (default id)\n"
        "  --ids            write token ids too (rewards that read them)\n"
        "  --config FILE    a recipe: its model, data and reward settings\n"
        "  --json           print report.json instead of the table\n"
        "  --quiet          no progress\n"
        "Sampling is at temperature 1.0 and top_p 0.95 unless set.\n",
        to);
    return code;
}

enum {
    SAMPLES = 1,
    REWARD,
    OUT,
    RESUME,
    KS,
    SUCCESS,
    SEED,
    TOKENS,
    DEVICE,
    LIMIT,
    KEY_ID,
    IDS,
    CONFIG,
    AS_JSON,
    QUIET,
    HELP
};

static const struct option options[] = {
    {"samples", 1, NULL, SAMPLES}, {"reward", 1, NULL, REWARD}, {"out", 1, NULL, OUT},
    {"resume", 0, NULL, RESUME},   {"k", 1, NULL, KS},          {"success", 1, NULL, SUCCESS},
    {"seed", 1, NULL, SEED},       {"tokens", 1, NULL, TOKENS}, {"device", 1, NULL, DEVICE},
    {"limit", 1, NULL, LIMIT},     {"id", 1, NULL, KEY_ID},     {"ids", 0, NULL, IDS},
    {"config", 1, NULL, CONFIG},   {"json", 0, NULL, AS_JSON},  {"quiet", 0, NULL, QUIET},
    {"help", 0, NULL, HELP},       {NULL, 0, NULL, 0}};

enum { FILES_MAX = 16, OVERRIDES_MAX = 256, TEXTS_MAX = 8 };

struct arguments {
    struct eval eval;
    bool json, no_reward;
    const char *files[FILES_MAX];
    size_t file_count;
    const char *overrides[OVERRIDES_MAX]; /* defaults of evaluation first */
    size_t override_count;
    char texts[TEXTS_MAX][FILE_PATH_MAX + 64]; /* overrides made here */
    size_t text_count;
    const char *model, *data;
    struct config *config;
    struct settings settings;
};

static enum status add_override(struct arguments *arguments, const char *text)
{
    if (arguments->override_count == OVERRIDES_MAX)
        return FAIL(STATUS_LIMIT, "more than %d settings", OVERRIDES_MAX);
    arguments->overrides[arguments->override_count++] = text;
    return STATUS_OK;
}

static enum status make_override(struct arguments *arguments, const char *name, const char *value)
{
    if (arguments->text_count == TEXTS_MAX || strlen(value) >= FILE_PATH_MAX)
        return FAIL(STATUS_LIMIT, "%s is given too often, or its value is too long", name);
    char *text = arguments->texts[arguments->text_count++];
    snprintf(text, sizeof arguments->texts[0], "%s=%s", name, value);
    return add_override(arguments, text);
}

static enum status read_count(const char *name, const char *text, uint64_t max, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < 1 || value > max)
        return FAIL(STATUS_INVALID, "%s %s: a whole number from 1 to %" PRIu64 " is wanted", name,
                    text, max);
    *out = value;
    return STATUS_OK;
}

static enum status read_success(const char *text, double *success)
{
    char *end = NULL;
    *success = strtod(text, &end);
    return end != text && *end == '\0' && *success > -1e9 && *success < 1e9
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "--success %s: a number is wanted", text);
}

/* "1,8,64", ascending. */
static enum status read_ks(const char *text, struct report_options *report)
{
    report->k_count = 0;
    for (const char *at = text; *at != '\0';) {
        char word[16];
        uint64_t k = 0;
        size_t size = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)(size < 15 ? size : 15), at);
        TRY(read_count("--k", word, 1 << 16, &k));
        if (report->k_count == REPORT_KS_MAX ||
            (report->k_count > 0 && k <= report->ks[report->k_count - 1]))
            return FAIL(STATUS_INVALID, "--k %s: at most %d numbers, ascending", text,
                        REPORT_KS_MAX);
        report->ks[report->k_count++] = (uint32_t)k;
        at += size + (at[size] == ',');
    }
    return report->k_count > 0 ? STATUS_OK : FAIL(STATUS_INVALID, "--k is empty");
}

static void default_ks(struct eval *eval)
{
    struct report_options *report = &eval->report;
    for (uint32_t k = 1; k < eval->samples && report->k_count < REPORT_KS_MAX - 1; k *= 2)
        report->ks[report->k_count++] = k;
    report->ks[report->k_count++] = eval->samples;
}

static enum status take_reward(struct arguments *arguments, const char *name)
{
    arguments->no_reward = strcmp(name, "none") == 0;
    return arguments->no_reward ? STATUS_OK : make_override(arguments, "reward.plugin", name);
}

static enum status take_option(struct arguments *arguments, int option)
{
    struct eval *eval = &arguments->eval;
    uint64_t number = 0;
    switch (option) {
    case SAMPLES:
        TRY(read_count("--samples", optarg, 65535, &number));
        eval->samples = (uint32_t)number;
        return STATUS_OK;
    case REWARD:
        return take_reward(arguments, optarg);
    case OUT:
        return file_path(eval->out, "%s", optarg);
    case KS:
        return read_ks(optarg, &eval->report);
    case SUCCESS:
        return read_success(optarg, &eval->report.success);
    case SEED:
        return make_override(arguments, "run.seed", optarg);
    case TOKENS:
        return make_override(arguments, "sampling.response_tokens_max", optarg);
    case DEVICE:
        return make_override(arguments, "run.device", optarg);
    case LIMIT:
        return read_count("--limit", optarg, UINT32_MAX, &eval->limit);
    case KEY_ID:
        eval->key_id = optarg;
        return STATUS_OK;
    default:
        if (arguments->file_count == FILES_MAX)
            return FAIL(STATUS_LIMIT, "more than %d --config", FILES_MAX);
        arguments->files[arguments->file_count++] = optarg;
        return STATUS_OK;
    }
}

/* section.name=value; a path may have a = too, but not after a word with a dot alone. */
static bool is_setting(const char *text)
{
    size_t name = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    return text[name] == '=' && memchr(text, '.', name) != NULL;
}

static enum status take_words(struct arguments *arguments, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (is_setting(argv[i]))
            TRY(add_override(arguments, argv[i]));
        else if (arguments->model == NULL)
            arguments->model = argv[i];
        else if (arguments->data == NULL)
            arguments->data = argv[i];
        else
            return FAIL(STATUS_INVALID, "%s: MODEL_DIR and DATA.jsonl are there already", argv[i]);
    if (arguments->data == NULL)
        return FAIL(STATUS_INVALID, "MODEL_DIR and DATA.jsonl are wanted");
    TRY(make_override(arguments, "model.path", arguments->model));
    return make_override(arguments, "data.train", arguments->data);
}

static enum status load_settings(struct arguments *arguments)
{
    struct eval *eval = &arguments->eval;
    struct config_input input = {.files = arguments->files,
                                 .file_count = arguments->file_count,
                                 .overrides = arguments->overrides,
                                 .override_count = arguments->override_count,
                                 .environment = true};
    TRY(settings_load(&arguments->settings, &arguments->config, &input));
    eval->settings = &arguments->settings;
    eval->report.seed = arguments->settings.run.seed;
    eval->score = !arguments->no_reward;
    for (size_t i = 0; i < arguments->file_count; i++) {
        eval->passed_on[eval->passed_on_count++] = "--config";
        eval->passed_on[eval->passed_on_count++] = arguments->files[i];
    }
    for (size_t i = 0; i < arguments->override_count; i++)
        eval->passed_on[eval->passed_on_count++] = arguments->overrides[i];
    return STATUS_OK;
}

/* -1: go on. */
static int read_arguments(struct arguments *arguments, int argc, char **argv)
{
    struct eval *eval = &arguments->eval;
    static const char *const defaults[] = {"sampling.temperature=1.0", "sampling.top_p=0.95",
                                           "redis.mode=off", "run.log_level=warn"};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && status == STATUS_OK; i++)
        status = add_override(arguments, defaults[i]);
    for (int option;
         status == STATUS_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == HELP)
            return usage(stdout, EXIT_CODE_OK);
        if (option == '?')
            return usage(stderr, EXIT_CODE_USAGE);
        eval->resume |= option == RESUME;
        eval->ids |= option == IDS;
        eval->quiet |= option == QUIET;
        arguments->json |= option == AS_JSON;
        if (option != RESUME && option != IDS && option != QUIET && option != AS_JSON)
            status = take_option(arguments, option);
    }
    if (status == STATUS_OK)
        status = take_words(arguments, argc, argv);
    if (status == STATUS_OK)
        status = load_settings(arguments);
    if (status == STATUS_OK && eval->report.k_count == 0)
        default_ks(eval);
    if (status == STATUS_OK)
        return -1;
    fprintf(stderr, "weir eval: %s\n", error_sentence());
    return EXIT_CODE_USAGE;
}

/* ---- scores: a child, because a plugin may do anything to its process ---- */

static enum status end_of_child(pid_t child)
{
    enum { DAY_MS = 86400000 };
    int code = 0;
    enum status status = STATUS_TIMEOUT;
    while (status == STATUS_TIMEOUT) /* it keeps deadlines of its own */
        status = wait_child("score", "weir-reward", DAY_MS, child, &code);
    TRY(status);
    if (WIFSIGNALED(code))
        return FAIL(STATUS_IO, "weir-reward score was ended by a signal: %s",
                    strsignal(WTERMSIG(code)));
    return WEXITSTATUS(code) == 0
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "weir-reward score ended with %d: no scores",
                      WEXITSTATUS(code));
}

enum status eval_score(const struct eval *eval)
{
    char program[FILE_PATH_MAX], in[FILE_PATH_MAX], out[FILE_PATH_MAX];
    static const char *arguments[EVAL_PASSED_ON_MAX + 8];
    TRY(program_path("weir-reward", program));
    TRY(file_path(in, "%s/responses.jsonl", eval->out));
    TRY(file_path(out, "%s/scores.jsonl", eval->out));
    int count = 0;
    arguments[count++] = program;
    arguments[count++] = "score";
    arguments[count++] = in;
    arguments[count++] = out;
    for (int i = 0; i < eval->passed_on_count; i++)
        arguments[count++] = eval->passed_on[i];
    arguments[count] = NULL;
    pid_t child = 0;
    int failed =
        posix_spawn(&child, program, NULL, NULL, (char *const *)(uintptr_t)arguments, environ);
    if (failed != 0)
        return FAIL(STATUS_IO, "%s cannot be started: %s", program, strerror(failed));
    return end_of_child(child);
}

/* ---- the report ---- */

static void add_speed(const struct eval *eval, json_t *json)
{
    bool known = eval->made > 0 && eval->seconds > 0;
    json_object_set_new(json, "left_out", json_integer((json_int_t)eval->left_out));
    json_object_set_new(json, "reward",
                        eval->score ? json_string(eval->settings->reward.plugin) : json_null());
    json_object_set_new(json, "session_tokens", json_integer((json_int_t)eval->tokens));
    json_object_set_new(json, "tokens_per_s",
                        known ? json_real((double)eval->tokens / eval->seconds) : json_null());
}

enum status eval_report(const struct eval *eval, struct buffer *table)
{
    char path[FILE_PATH_MAX], out[FILE_PATH_MAX];
    json_t *json = NULL;
    TRY(file_path(path, "%s/%s.jsonl", eval->out, eval->score ? "scores" : "responses"));
    TRY(file_path(out, "%s/report.json", eval->out));
    TRY(report_make(path, &eval->report, &json));
    add_speed(eval, json);
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    enum status status =
        text != NULL ? file_replace(out, text, strlen(text)) : FAIL(STATUS_NO_MEMORY, "%s", out);
    free(text); /* lint: allow(free): jansson's buffer */
    if (status == STATUS_OK)
        status = report_table(json, table);
    if (status == STATUS_OK && eval->made > 0 && eval->seconds > 0)
        status = buffer_printf(table, "%" PRIu64 " tokens in %.1f s: %.0f tokens/s\n", eval->tokens,
                               eval->seconds, (double)eval->tokens / eval->seconds);
    if (status == STATUS_OK && eval->left_out > 0)
        status = buffer_printf(table,
                               "%" PRIu64 " prompts are longer than data.prompt_tokens_max=%u and "
                               "were left out\n",
                               eval->left_out, eval->settings->data.prompt_tokens_max);
    json_decref(json);
    return status;
}

static enum status print_report(const struct arguments *arguments, struct buffer *table)
{
    char path[FILE_PATH_MAX];
    if (arguments->json) {
        buffer_clear(table);
        TRY(file_path(path, "%s/report.json", arguments->eval.out));
        TRY(file_read(path, table));
    }
    printf("%s%s", buffer_string(table), arguments->json ? "\n" : "");
    return STATUS_OK;
}

static enum status run(struct arguments *arguments)
{
    struct eval *eval = &arguments->eval;
    struct buffer table;
    buffer_init(&table, 0);
    enum status status = eval_generate(eval);
    if (status == STATUS_OK && eval->score)
        status = eval_score(eval);
    if (status == STATUS_OK)
        status = eval_report(eval, &table);
    if (status == STATUS_OK)
        status = print_report(arguments, &table);
    buffer_free(&table);
    return status;
}

int eval_command(int argc, char **argv)
{
    static struct arguments arguments;
    arguments = (struct arguments){.eval = {.out = "eval",
                                            .key_id = "id",
                                            .samples = 1,
                                            .stop = program_stop_signals(),
                                            .report = {.success = 0.5}}};
    int code = read_arguments(&arguments, argc, argv);
    if (code < 0) {
        enum status status = run(&arguments);
        code = program_exit_code(status);
        if (status != STATUS_OK)
            fprintf(stderr, "weir eval: %s\n", error_sentence());
    }
    config_destroy(&arguments.config);
    return code;
}
