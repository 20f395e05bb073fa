/* ops/eval/eval_command.c - the command line of `weir eval`, the scoring child and the report. */
#include <getopt.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/eval_schedule.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/overrides.h"
#include "core/program.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/eval/eval.h"
#include "ops/eval/row.h"
#include "ops/eval_table.h"
#include "ops/run_folder.h"
#include "transport/monitor.h"

extern char **environ;

static int usage(FILE *to, int code)
{
    fputs(
        "usage: weir eval MODEL_DIR DATA.jsonl... [options] [section.name=value ...]\n"
        "       weir eval --table RUN   the figures of a run's evaluations (docs/eval.md)\n"
        "  --set NAME=PATH  one more set; several sets get a folder and a table each\n"
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
    SET,
    TABLE,
    HELP
};

static const struct option options[] = {{"samples", 1, NULL, SAMPLES},
                                        {"reward", 1, NULL, REWARD},
                                        {"out", 1, NULL, OUT},
                                        {"resume", 0, NULL, RESUME},
                                        {"k", 1, NULL, KS},
                                        {"success", 1, NULL, SUCCESS},
                                        {"seed", 1, NULL, SEED},
                                        {"tokens", 1, NULL, TOKENS},
                                        {"device", 1, NULL, DEVICE},
                                        {"limit", 1, NULL, LIMIT},
                                        {"id", 1, NULL, KEY_ID},
                                        {"ids", 0, NULL, IDS},
                                        {"config", 1, NULL, CONFIG},
                                        {"json", 0, NULL, AS_JSON},
                                        {"quiet", 0, NULL, QUIET},
                                        {"set", 1, NULL, SET},
                                        {"table", 1, NULL, TABLE},
                                        {"help", 0, NULL, HELP},
                                        {NULL, 0, NULL, 0}};

enum { FILES_MAX = 16 };

struct arguments {
    struct eval eval;
    bool json, no_reward;
    const char *files[FILES_MAX];
    size_t file_count;
    struct overrides overrides; /* defaults of evaluation first */
    const char *model, *table;  /* table: a run whose table is wanted */
    struct eval_sets sets;
    bool named; /* a set has a name that was given: its files go to a folder of it */
    struct config *config;
    struct settings settings;
};

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
        TRY(option_number("--k", word, 1, 1 << 16, &k));
        if (report->k_count == REPORT_KS_MAX ||
            (report->k_count > 0 && k <= report->ks[report->k_count - 1]))
            return FAIL(STATUS_INVALID, "--k %s: at most %d numbers, ascending", text,
                        REPORT_KS_MAX);
        report->ks[report->k_count++] = (uint32_t)k;
        at += size + (at[size] == ',');
    }
    return report->k_count > 0 ? STATUS_OK : FAIL(STATUS_INVALID, "--k is empty");
}

void eval_default_ks(struct eval *eval)
{
    struct report_options *report = &eval->report;
    for (uint32_t k = 1; k < eval->samples && report->k_count < REPORT_KS_MAX - 1; k *= 2)
        report->ks[report->k_count++] = k;
    report->ks[report->k_count++] = eval->samples;
}

static enum status take_reward(struct arguments *arguments, const char *name)
{
    arguments->no_reward = strcmp(name, "none") == 0;
    return arguments->no_reward ? STATUS_OK
                                : overrides_make(&arguments->overrides, "reward.plugin", name);
}

static enum status take_option(struct arguments *arguments, int option)
{
    struct eval *eval = &arguments->eval;
    uint64_t number = 0;
    switch (option) {
    case SAMPLES:
        TRY(option_number("--samples", optarg, 1, 65535, &number));
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
        return overrides_make(&arguments->overrides, "run.seed", optarg);
    case TOKENS:
        return overrides_make(&arguments->overrides, "sampling.response_tokens_max", optarg);
    case DEVICE:
        return overrides_make(&arguments->overrides, "run.device", optarg);
    case LIMIT:
        return option_number("--limit", optarg, 1, UINT32_MAX, &eval->limit);
    case KEY_ID:
        eval->key_id = optarg;
        return STATUS_OK;
    case TABLE:
        arguments->table = optarg;
        return STATUS_OK;
    case SET:
        arguments->named = true;
        return eval_sets_add(&arguments->sets, "--set", optarg);
    default:
        if (arguments->file_count == FILES_MAX)
            return FAIL(STATUS_LIMIT, "more than %d --config", FILES_MAX);
        arguments->files[arguments->file_count++] = optarg;
        return STATUS_OK;
    }
}

static enum status take_words(struct arguments *arguments, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (overrides_is_setting(argv[i]))
            TRY(overrides_add(&arguments->overrides, argv[i]));
        else if (arguments->model == NULL)
            arguments->model = argv[i];
        else
            TRY(eval_sets_add(&arguments->sets, "data", argv[i]));
    if (arguments->table != NULL)
        return STATUS_OK;
    if (arguments->model == NULL)
        return FAIL(STATUS_INVALID, "MODEL_DIR and DATA.jsonl are wanted");
    return overrides_make(&arguments->overrides, "model.path", arguments->model);
}

static enum status load_settings(struct arguments *arguments)
{
    struct eval *eval = &arguments->eval;
    struct config_input input = {.files = arguments->files,
                                 .file_count = arguments->file_count,
                                 .overrides = arguments->overrides.list,
                                 .override_count = arguments->overrides.count,
                                 .environment = true};
    TRY(settings_load(&arguments->settings, &arguments->config, &input));
    if (arguments->sets.count == 0 && arguments->settings.eval.sets[0] != '\0') {
        arguments->named = true;
        TRY(eval_sets_parse(&arguments->sets, "eval.sets", arguments->settings.eval.sets));
    }
    if (arguments->sets.count == 0)
        return FAIL(STATUS_INVALID, "DATA.jsonl is wanted (or eval.sets of a recipe)");
    eval->settings = &arguments->settings;
    eval->report.seed = arguments->settings.run.seed;
    eval->score = !arguments->no_reward;
    for (size_t i = 0; i < arguments->file_count; i++) {
        eval->passed_on[eval->passed_on_count++] = "--config";
        eval->passed_on[eval->passed_on_count++] = arguments->files[i];
    }
    for (size_t i = 0; i < arguments->overrides.count; i++)
        eval->passed_on[eval->passed_on_count++] = arguments->overrides.list[i];
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
        status = overrides_add(&arguments->overrides, defaults[i]);
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
    if (status == STATUS_OK && arguments->table == NULL)
        status = load_settings(arguments);
    if (status == STATUS_OK && eval->report.k_count == 0)
        eval_default_ks(eval);
    if (status == STATUS_OK)
        return -1;
    fprintf(stderr, "weir eval: %s\n", error_sentence());
    return EXIT_CODE_USAGE;
}

/* ---- scores: a child, because a plugin may do anything to its process ---- */

static enum status end_of_child(pid_t child, struct monitor *monitor)
{
    enum { TURN_MS = 10000 };
    int code = 0;
    enum status status = STATUS_TIMEOUT;
    while (status == STATUS_TIMEOUT) { /* it keeps deadlines of its own */
        monitor_beat(monitor);
        status = wait_child("score", "weir-reward", TURN_MS, child, &code);
    }
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
    return end_of_child(child, eval->monitor);
}

/* ---- the report ---- */

static void add_session(const struct eval *eval, json_t *json)
{
    bool known = eval->made > 0 && eval->seconds > 0;
    json_object_set_new(json, "left_out", json_integer((json_int_t)eval->left_out));
    json_object_set_new(json, "reward",
                        eval->score ? json_string(eval->settings->reward.plugin) : json_null());
    if (eval->plain)
        return;
    json_object_set_new(json, "session_tokens", json_integer((json_int_t)eval->tokens));
    json_object_set_new(json, "tokens_per_s",
                        known ? json_real((double)eval->tokens / eval->seconds) : json_null());
}

enum status eval_figures(const struct eval *eval, json_t **report)
{
    char path[FILE_PATH_MAX], out[FILE_PATH_MAX];
    json_t *json = NULL;
    TRY(file_path(path, "%s/%s.jsonl", eval->out, eval->score ? "scores" : "responses"));
    TRY(file_path(out, "%s/report.json", eval->out));
    TRY(report_make(path, &eval->report, &json));
    add_session(eval, json);
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    enum status status =
        text != NULL ? file_replace(out, text, strlen(text)) : FAIL(STATUS_NO_MEMORY, "%s", out);
    free(text); /* lint: allow(free): jansson's buffer */
    if (status != STATUS_OK)
        json_decref(json);
    else
        *report = json;
    return status;
}

static enum status make_table(const struct eval *eval, const json_t *json, struct buffer *table)
{
    TRY(report_table(json, table));
    if (eval->made > 0 && eval->seconds > 0)
        TRY(buffer_printf(table, "%" PRIu64 " tokens in %.1f s: %.0f tokens/s\n", eval->tokens,
                          eval->seconds, (double)eval->tokens / eval->seconds));
    if (eval->left_out > 0)
        TRY(buffer_printf(table,
                          "%" PRIu64 " prompts are longer than data.prompt_tokens_max=%u and "
                          "were left out\n",
                          eval->left_out, eval->settings->data.prompt_tokens_max));
    return STATUS_OK;
}

enum status eval_report(const struct eval *eval, struct buffer *table)
{
    json_t *json = NULL;
    TRY(eval_figures(eval, &json));
    enum status status = make_table(eval, json, table);
    json_decref(json);
    return status;
}

/* ---- sets, one after another, with one model ---- */

static enum status run_set(struct arguments *arguments, const struct eval_set *set,
                           struct engine *engine, json_t *reports, json_t *rows)
{
    struct eval eval = arguments->eval;
    struct settings settings = arguments->settings;
    struct buffer table;
    bool several = arguments->sets.count > 1;
    settings.data.train = set->path;
    eval.settings = &settings;
    eval.engine = engine;
    eval.name = several ? set->name : NULL;
    if (arguments->named || several)
        TRY(file_path(eval.out, "%s/%s", arguments->eval.out, set->name));
    json_t *report = NULL, *row = json_object();
    buffer_init(&table, 0);
    enum status status;
    TRY_GOTO(out, eval_generate(&eval));
    if (eval.score)
        TRY_GOTO(out, eval_score(&eval));
    TRY_GOTO(out, eval_figures(&eval, &report));
    TRY_GOTO(out, make_table(&eval, report, &table));
    TRY_GOTO(out, eval_row_fill(row, set->name, report, eval.samples));
    json_object_set(reports, set->name, report);
    json_array_append(rows, row);
    if (!arguments->json)
        printf("%s%s%s%s", several ? set->name : "", several ? ": " : "", several ? set->path : "",
               several ? "\n" : "");
    if (!arguments->json)
        printf("%s%s", buffer_string(&table), several ? "\n" : "");
    fflush(stdout);
out:
    json_decref(report);
    json_decref(row);
    buffer_free(&table);
    return status;
}

/* One report as it is; several under their names. */
static enum status print_json(const json_t *reports, bool several)
{
    json_t *one = json_object_iter_value(json_object_iter((json_t *)(uintptr_t)reports));
    size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(12);
    return json_dumpf(several ? reports : one, stdout, flags) == 0 && putchar('\n') != EOF
               ? STATUS_OK
               : FAIL(STATUS_IO, "stdout");
}

static enum status print_rows(const json_t *rows)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = eval_table_text(rows, 0, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status;
}

static enum status run_sets(struct arguments *arguments, struct engine *engine, json_t *reports,
                            json_t *rows)
{
    const struct eval_sets *sets = &arguments->sets;
    TRY(engine_create(engine, &arguments->settings, 0, 1));
    TRY(engine_load_folder(engine, arguments->settings.model.path));
    for (uint32_t i = 0; i < sets->count; i++)
        TRY(run_set(arguments, &sets->rows[i], engine, reports, rows));
    if (arguments->json)
        return print_json(reports, sets->count > 1);
    return sets->count > 1 ? print_rows(rows) : STATUS_OK;
}

static enum status run(struct arguments *arguments)
{
    char kept[STATUS_TEXT_MAX];
    struct engine *engine = memory_alloc(sizeof *engine);
    json_t *reports = json_object(), *rows = json_array();
    enum status status = engine != NULL && reports != NULL && rows != NULL
                             ? run_sets(arguments, engine, reports, rows)
                             : FAIL(STATUS_NO_MEMORY, "an evaluation");
    status_keep(kept);
    if (engine != NULL)
        engine_destroy(engine);
    memory_free(engine);
    json_decref(reports);
    json_decref(rows);
    status_restore(kept);
    return status;
}

/* Of a run, by its name or folder. */
static enum status show_table(const char *name)
{
    char folder[FILE_PATH_MAX], run_name[RUN_NAME_MAX];
    json_t *rows = NULL;
    TRY(run_folder_find(runs_root(), name, folder, run_name));
    TRY(eval_table_read(folder, &rows));
    enum status status = json_array_size(rows) > 0
                             ? print_rows(rows)
                             : FAIL(STATUS_NOT_FOUND,
                                    "%s/eval/table.jsonl has no rows yet: runs are evaluated when "
                                    "eval.every and eval.sets are set",
                                    folder);
    json_decref(rows);
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
        enum status status =
            arguments.table != NULL ? show_table(arguments.table) : run(&arguments);
        code = program_exit_code(status);
        if (status != STATUS_OK)
            fprintf(stderr, "weir eval: %s\n", error_sentence());
    }
    config_destroy(&arguments.config);
    return code;
}
