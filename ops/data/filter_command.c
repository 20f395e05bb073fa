/* ops/data/filter_command.c - `weir filter`: rows that are worth training on, and why the others are not. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "ops/cmd.h"
#include "ops/data/data.h"
#include "ops/data/expression.h"
#include "ops/data/math_clean.h"
#include "ops/data/rates.h"
#include "ops/estimate.h"
#include "ops/jsonl.h"

enum { FILES_MAX = 256, SOURCES_MAX = 4096, REASONS_MAX = 64, REASON_SIZE = 64 };

struct options {
    const char *in, *out, *report, *keep, *key_id, *key_prompt, *key_answer, *key_source,
        *math_source;
    const char *rates[FILES_MAX];
    uint32_t rate_count;
    double success;
    bool math_clean, keep_missing, unbiased, json;
};

struct filter {
    struct options options;
    struct rates *rates;
    struct expression *expression;
    struct math_clean *clean;
    FILE *out, *report;
    struct buffer prompt, answer;
    /* of the row in hand */
    const json_t *row;
    const struct rate *rate;
    char source[256];
    /* counts */
    json_t *sources; /* name -> {"rows", "kept", reason...} */
    uint64_t rows, kept, degenerate;
};

/* ---- names of an expression ---- */

static bool read_k(const char *text, uint32_t *k)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    *k = (uint32_t)value;
    return text[0] >= '1' && text[0] <= '9' && *end == '\0' && value <= 1000000;
}

static void set_number(struct expression_value *value, double number)
{
    value->known = !isnan(number);
    value->number = number;
}

/* The share of right answers for n = k samples, where the unbiased estimate can only be 0 or 1 and would make every
 * band empty; the paper's "pass@10 strictly between 0 and 0.9" of 10 samples is that share. */
static double pass_at(struct filter *filter, uint32_t k)
{
    const struct rate *rate = filter->rate;
    if (rate->n == k && k > 1 && !filter->options.unbiased) {
        filter->degenerate++;
        return (double)rate->c / k;
    }
    return estimate_pass(rate->n, rate->c, k);
}

static double mean_tokens(const struct rate *rate)
{
    double sum = 0;
    for (uint32_t i = 0; i < rate->samples; i++)
        sum += rate->tokens[i];
    return rate->samples > 0 ? sum / rate->samples : NAN;
}

static double quantile(const struct rate *rate, uint32_t percent)
{
    if (rate->samples == 0)
        return NAN;
    double rank = ceil(percent / 100.0 * rate->samples);
    uint32_t at = rank < 1 ? 0 : (uint32_t)rank - 1;
    return rate->tokens[at < rate->samples ? at : rate->samples - 1];
}

/* "tokens.mean", "tokens.max", "tokens.p99" */
static bool look_up_tokens(const struct filter *filter, const char *name,
                           struct expression_value *value)
{
    uint32_t percent = 100;
    bool mean = strcmp(name, "mean") == 0;
    if (!mean && strcmp(name, "max") != 0 &&
        (name[0] != 'p' || !read_k(name + 1, &percent) || percent > 100))
        return false;
    if (filter->rate != NULL)
        set_number(value, mean ? mean_tokens(filter->rate) : quantile(filter->rate, percent));
    return true;
}

/* A column of the row itself: "row.level", "row.extra_info.difficulty". */
static bool look_up_column(const struct filter *filter, const char *name,
                           struct expression_value *value)
{
    const json_t *at = filter->row;
    char part[EXPRESSION_NAME_MAX];
    while (at != NULL && *name != '\0') {
        size_t size = strcspn(name, ".");
        snprintf(part, sizeof part, "%.*s", (int)size, name);
        at = json_object_get(at, part);
        name += size + (name[size] == '.');
    }
    if (json_is_string(at)) {
        value->known = true;
        value->text = json_string_value(at);
    } else if (json_is_number(at)) {
        set_number(value, json_number_value(at));
    } else if (json_is_boolean(at)) {
        set_number(value, json_is_true(at));
    }
    return true;
}

static bool look_up(void *self, const char *name, struct expression_value *value)
{
    struct filter *filter = self;
    const struct rate *rate = filter->rate;
    uint32_t k = 0;
    if (strcmp(name, "source") == 0) {
        value->known = true;
        value->text = filter->source;
        return true;
    }
    if (strncmp(name, "row.", 4) == 0)
        return look_up_column(filter, name + 4, value);
    if (strncmp(name, "tokens.", 7) == 0)
        return look_up_tokens(filter, name + 7, value);
    if (strncmp(name, "pass@", 5) == 0 && read_k(name + 5, &k)) {
        if (rate != NULL)
            set_number(value, pass_at(filter, k));
        return true;
    }
    if (strncmp(name, "avg@", 4) == 0 && read_k(name + 4, &k)) {
        if (rate != NULL && rate->n >= k)
            set_number(value, (double)rate->c / rate->n);
        return true;
    }
    bool known = rate != NULL && rate->n > 0;
    double number = NAN;
    if (strcmp(name, "pass_rate") == 0 || strcmp(name, "avg") == 0)
        number = known ? (double)rate->c / rate->n : NAN;
    else if (strcmp(name, "reward") == 0)
        number = known ? rate->sum / rate->n : NAN;
    else if (strcmp(name, "n") == 0)
        number = rate != NULL ? (double)rate->n : 0;
    else if (strcmp(name, "not_scored") == 0)
        number = rate != NULL ? (double)rate->not_scored : NAN;
    else if (strcmp(name, "truncated") == 0)
        number = rate != NULL && rate->samples > 0 ? (double)rate->cut / rate->samples : NAN;
    else
        return false;
    set_number(value, number);
    return true;
}

/* ---- one row ---- */

static void count_for(struct filter *filter, const char *reason)
{
    json_t *source = json_object_get(filter->sources, filter->source);
    if (source == NULL) {
        source = json_object();
        json_object_set_new(filter->sources, filter->source, source);
    }
    json_int_t before = json_integer_value(json_object_get(source, reason));
    json_object_set_new(source, reason, json_integer(before + 1));
}

static void add_reason(json_t *reasons, const char *fmt, const char *name)
{
    char text[REASON_SIZE + EXPRESSION_NAME_MAX];
    snprintf(text, sizeof text, fmt, name);
    json_array_append_new(reasons, json_string(text));
}

static enum status read_texts(struct filter *filter, const json_t *row)
{
    static const char *const usual[] = {"prompt", "question", "problem", "instruction", "text"};
    const json_t *prompt = json_object_get(row, filter->options.key_prompt),
                 *answer = jsonl_answer(row, filter->options.key_answer);
    for (size_t i = 0; filter->options.key_prompt[0] == '\0' && prompt == NULL && i < 5; i++)
        prompt = json_object_get(row, usual[i]);
    buffer_clear(&filter->prompt);
    buffer_clear(&filter->answer);
    TRY(jsonl_prompt_text(prompt, json_is_array(prompt) ? "user" : NULL, &filter->prompt));
    if (json_is_string(answer))
        return buffer_text(&filter->answer, json_string_value(answer));
    if (json_is_array(answer) && json_is_string(json_array_get(answer, 0)))
        return buffer_text(&filter->answer, json_string_value(json_array_get(answer, 0)));
    if (json_is_integer(answer))
        return buffer_printf(&filter->answer, "%" JSON_INTEGER_FORMAT, json_integer_value(answer));
    return json_is_real(answer) ? buffer_printf(&filter->answer, "%.17g", json_real_value(answer))
                                : STATUS_OK;
}

static enum status check_text(struct filter *filter, const json_t *row, json_t *reasons)
{
    unsigned found = 0;
    const char *glob = filter->options.math_source;
    if (filter->clean == NULL || (glob != NULL && fnmatch(glob, filter->source, 0) != 0))
        return STATUS_OK;
    TRY(read_texts(filter, row));
    TRY(math_clean_check(filter->clean, buffer_string(&filter->prompt),
                         buffer_string(&filter->answer), &found));
    for (int i = 0; i < MATH_CLEAN_COUNT; i++)
        if ((found >> i & 1) != 0)
            add_reason(reasons, "%s", math_clean_name((enum math_clean_reason)i));
    return STATUS_OK;
}

static enum status check_rates(struct filter *filter, json_t *reasons)
{
    const struct options *options = &filter->options;
    bool missing = options->rate_count > 0 && (filter->rate == NULL || filter->rate->n == 0);
    if (missing) {
        if (!options->keep_missing)
            add_reason(reasons, "%s", filter->rate == NULL ? "no_rates" : "not_scored");
        return STATUS_OK;
    }
    if (filter->expression == NULL)
        return STATUS_OK;
    enum expression_truth truth = EXPRESSION_UNKNOWN;
    const char *unknown = NULL;
    TRY(expression_evaluate(filter->expression, look_up, filter, &truth, &unknown));
    if (truth == EXPRESSION_FALSE)
        add_reason(reasons, "%s", "keep");
    if (truth == EXPRESSION_UNKNOWN)
        add_reason(reasons, "unknown %s", unknown);
    return STATUS_OK;
}

/* The line as it came, with the column at its end; a row that has one already is written anew. */
static enum status write_kept(struct filter *filter, const struct jsonl *in, json_t *row)
{
    const struct rate *rate = filter->rate;
    bool rated = rate != NULL && rate->n > 0;
    double pass = rated ? (double)rate->c / rate->n : 0;
    bool fresh = json_object_get(row, "pass_rate") == NULL;
    if (rated && !fresh) {
        json_object_set_new(row, "pass_rate", json_real(pass));
        return jsonl_write(filter->out, row);
    }
    size_t size = in->size;
    while (size > 0 && strchr(" \t}", in->line[size - 1]) != NULL && in->line[size - 1] != '}')
        size--;
    bool written;
    if (rated)
        written = fwrite(in->line, 1, size - 1, filter->out) == size - 1 &&
                  fprintf(filter->out, "%s\"pass_rate\":%.9g}\n",
                          json_object_size(row) > 0 ? "," : "", pass) > 0;
    else
        written = fwrite(in->line, 1, in->size, filter->out) == in->size &&
                  fputc('\n', filter->out) != EOF;
    return written ? STATUS_OK : FAIL(STATUS_IO, "%s: %s", filter->options.out, strerror(errno));
}

static enum status write_dropped(struct filter *filter, const struct jsonl *in, const char *id,
                                 json_t *reasons)
{
    json_t *out = json_pack("{s:s,s:I,s:s,s:O}", "id", id, "line", (json_int_t)in->number, "source",
                            filter->source, "reasons", reasons);
    if (out == NULL)
        return FAIL(STATUS_NO_MEMORY, "a row");
    if (filter->rate != NULL) {
        json_object_set_new(out, "n", json_integer(filter->rate->n));
        json_object_set_new(out, "passed", json_integer(filter->rate->c));
    }
    enum status status = jsonl_write(filter->report, out);
    json_decref(out);
    return status;
}

static void name_source(struct filter *filter, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, filter->options.key_source));
    const char *slash = strrchr(filter->options.in, '/');
    snprintf(filter->source, sizeof filter->source, "%s",
             name != NULL    ? name
             : slash != NULL ? slash + 1
                             : filter->options.in);
    char *dot = name == NULL ? strchr(filter->source, '.') : NULL;
    if (dot != NULL && dot != filter->source)
        *dot = '\0';
}

static enum status take_row(struct filter *filter, const struct jsonl *in, json_t *row)
{
    char id[JSONL_ID_MAX];
    TRY(jsonl_id(row, filter->options.key_id, id));
    filter->row = row;
    filter->rate = filter->rates != NULL ? rates_find(filter->rates, id) : NULL;
    name_source(filter, row);
    json_t *reasons = json_array();
    enum status status = check_text(filter, row, reasons);
    if (status == STATUS_OK)
        status = check_rates(filter, reasons);
    filter->rows++;
    count_for(filter, "rows");
    size_t found = json_array_size(reasons);
    filter->kept += found == 0;
    count_for(filter, found == 0 ? "kept" : "dropped");
    for (size_t i = 0; i < found; i++)
        count_for(filter, json_string_value(json_array_get(reasons, i)));
    if (status == STATUS_OK)
        status = found == 0 ? write_kept(filter, in, row) : write_dropped(filter, in, id, reasons);
    json_decref(reasons);
    return status;
}

/* ---- the files ---- */

static enum status read_rows(struct filter *filter)
{
    struct jsonl in;
    json_t *row = NULL;
    TRY(jsonl_open(&in, filter->options.in));
    enum status status;
    while ((status = jsonl_next(&in, &row)) == STATUS_OK && row != NULL) {
        status = take_row(filter, &in, row);
        json_decref(row);
        if (status != STATUS_OK)
            break;
    }
    jsonl_close(&in);
    return status;
}

static enum status open_all(struct filter *filter, char out[FILE_PATH_MAX],
                            char report[FILE_PATH_MAX])
{
    const struct options *options = &filter->options;
    if (options->keep != NULL)
        TRY(expression_parse(&filter->expression, options->keep));
    if (options->math_clean)
        TRY(math_clean_create(&filter->clean));
    if (options->rate_count > 0)
        TRY(rates_create(&filter->rates, options->success));
    for (uint32_t i = 0; i < options->rate_count; i++)
        TRY(rates_add(filter->rates, options->rates[i]));
    TRY(file_path(out, "%s.tmp", options->out));
    TRY(options->report != NULL ? file_path(report, "%s", options->report)
                                : file_path(report, "%s.dropped.jsonl", options->out));
    filter->out = fopen(out, "w");
    filter->report = fopen(report, "w");
    if (filter->out == NULL || filter->report == NULL)
        return FAIL(STATUS_IO, "%s: %s", filter->out == NULL ? out : report, strerror(errno));
    return STATUS_OK;
}

static enum status close_outputs(struct filter *filter, const char *temporary, enum status status)
{
    bool whole = true;
    if (filter->out != NULL)
        whole = fclose(filter->out) == 0;
    if (filter->report != NULL)
        whole = fclose(filter->report) == 0 && whole;
    TRY(status);
    return whole && rename(temporary, filter->options.out) == 0
               ? STATUS_OK
               : FAIL(STATUS_IO, "%s: %s", filter->options.out, strerror(errno));
}

static void print_table(const struct filter *filter)
{
    const char *name, *reason;
    json_t *counts, *count;
    printf("%" PRIu64 " of %" PRIu64 " rows kept\n", filter->kept, filter->rows);
    json_object_foreach(filter->sources, name, counts)
    {
        printf("%s:", name);
        json_object_foreach(counts, reason, count)
            printf(" %s %" JSON_INTEGER_FORMAT, reason, json_integer_value(count));
        printf("\n");
    }
}

static void say(const struct filter *filter)
{
    if (filter->options.json) {
        json_t *all = json_pack("{s:I,s:I,s:O}", "rows", (json_int_t)filter->rows, "kept",
                                (json_int_t)filter->kept, "sources", filter->sources);
        char *text = json_dumps(all, JSON_COMPACT);
        printf("%s\n", text != NULL ? text : "{}");
        free(text); /* lint: allow(free): jansson's buffer */
        json_decref(all);
    } else {
        print_table(filter);
    }
    uint64_t unused = filter->rates != NULL ? rates_unused(filter->rates) : 0;
    if (unused > 0)
        fprintf(stderr,
                "weir filter: %" PRIu64 " of %" PRIu64 " ids with scores are in no row of %s\n",
                unused, rates_count(filter->rates), filter->options.in);
    if (filter->degenerate > 0)
        fprintf(stderr,
                "weir filter: there are no more samples than the k of pass@k, so its unbiased "
                "estimate would be 0 or 1;\nthe share of right answers was taken instead "
                "(docs/data.md; --unbiased: as it is)\n");
}

static enum status run(struct filter *filter)
{
    char out[FILE_PATH_MAX] = "", report[FILE_PATH_MAX] = "";
    buffer_init(&filter->prompt, 0);
    buffer_init(&filter->answer, 0);
    filter->sources = json_object();
    enum status status = open_all(filter, out, report);
    if (status == STATUS_OK)
        status = read_rows(filter);
    status = close_outputs(filter, out, status);
    if (status == STATUS_OK)
        say(filter);
    json_decref(filter->sources);
    expression_free(&filter->expression);
    rates_destroy(&filter->rates);
    math_clean_destroy(&filter->clean);
    buffer_free(&filter->prompt);
    buffer_free(&filter->answer);
    return status;
}

/* ---- the command line ---- */

static int usage(FILE *to, int code)
{
    fputs("usage: weir filter IN.jsonl --out OUT.jsonl [--rates SCORES.jsonl ...] [--keep "
          "EXPRESSION]\n"
          "                   [--math-clean] [options]\n"
          "  --rates FILE        scores.jsonl of `weir eval`; may be repeated: samples add up\n"
          "  --keep EXPRESSION   as \"0 < pass@10 < 0.9 and tokens.p99 < 8000\"; names: pass@K "
          "avg@K\n"
          "                      pass_rate reward n not_scored truncated tokens.mean tokens.max\n"
          "                      tokens.p50 source row.COLUMN\n"
          "  --math-clean        no proofs, choices, parts, unreadable answers (docs/data.md)\n"
          "  --math-source GLOB  --math-clean looks at these sources only\n"
          "  --missing keep      rows without scores stay (default: drop)\n"
          "  --success X         a sample passes when its value is at least X (default 0.5)\n"
          "  --unbiased          pass@k of k samples is 0 or 1, not the share of right ones\n"
          "  --report FILE       dropped rows with reasons (default: OUT.jsonl.dropped.jsonl)\n"
          "  --id KEY --prompt KEY --answer KEY --source KEY   columns of a row\n"
          "  --json              counts as JSON\n",
          to);
    return code;
}

enum {
    WORD = 1, /* of getopt_long: an argument that is no option */
    OUT,
    RATES,
    KEEP,
    MATH_CLEAN,
    MATH_SOURCE,
    MISSING,
    SUCCESS,
    UNBIASED,
    REPORT,
    KEY_ID,
    KEY_PROMPT,
    KEY_ANSWER,
    KEY_SOURCE,
    AS_JSON,
    HELP
};

static const struct option names[] = {{"out", 1, NULL, OUT},
                                      {"rates", 1, NULL, RATES},
                                      {"keep", 1, NULL, KEEP},
                                      {"math-clean", 0, NULL, MATH_CLEAN},
                                      {"math-source", 1, NULL, MATH_SOURCE},
                                      {"missing", 1, NULL, MISSING},
                                      {"success", 1, NULL, SUCCESS},
                                      {"unbiased", 0, NULL, UNBIASED},
                                      {"report", 1, NULL, REPORT},
                                      {"id", 1, NULL, KEY_ID},
                                      {"prompt", 1, NULL, KEY_PROMPT},
                                      {"answer", 1, NULL, KEY_ANSWER},
                                      {"source", 1, NULL, KEY_SOURCE},
                                      {"json", 0, NULL, AS_JSON},
                                      {"help", 0, NULL, HELP},
                                      {NULL, 0, NULL, 0}};

static enum status add_rates(struct options *options, const char *path)
{
    if (options->rate_count == FILES_MAX)
        return FAIL(STATUS_LIMIT, "more than %d --rates", FILES_MAX);
    options->rates[options->rate_count++] = path;
    return STATUS_OK;
}

static enum status take_option(struct options *options, int option)
{
    char *end = NULL;
    const char **const texts[] = {[OUT] = &options->out,
                                  [KEEP] = &options->keep,
                                  [MATH_SOURCE] = &options->math_source,
                                  [REPORT] = &options->report,
                                  [KEY_ID] = &options->key_id,
                                  [KEY_PROMPT] = &options->key_prompt,
                                  [KEY_ANSWER] = &options->key_answer,
                                  [KEY_SOURCE] = &options->key_source,
                                  [AS_JSON] = NULL};
    if (texts[option] != NULL)
        *texts[option] = optarg;
    options->math_clean |= option == MATH_CLEAN;
    options->unbiased |= option == UNBIASED;
    options->json |= option == AS_JSON;
    if (option == RATES)
        return add_rates(options, optarg);
    if (option == MISSING) {
        options->keep_missing = strcmp(optarg, "keep") == 0;
        if (!options->keep_missing && strcmp(optarg, "drop") != 0)
            return FAIL(STATUS_INVALID, "--missing %s: keep or drop is wanted", optarg);
    }
    if (option == SUCCESS) {
        options->success = strtod(optarg, &end);
        if (end == optarg || *end != '\0' || !isfinite(options->success))
            return FAIL(STATUS_INVALID, "--success %s: a number is wanted", optarg);
    }
    return STATUS_OK;
}

/* -1: go on. Words after --rates FILE are more such files: --rates a.jsonl b.jsonl. */
static int read_arguments(struct options *options, int argc, char **argv, enum status *status)
{
    int last = 0;
    for (int option;
         *status == STATUS_OK && (option = getopt_long(argc, argv, "-", names, NULL)) != -1;
         last = option) {
        if (option == HELP)
            return usage(stdout, EXIT_CODE_OK);
        if (option == '?')
            return usage(stderr, EXIT_CODE_USAGE);
        if (option == WORD && last == RATES) {
            *status = add_rates(options, optarg);
            option = RATES;
        } else if (option == WORD) {
            if (options->in != NULL)
                *status = FAIL(STATUS_INVALID, "%s: one IN.jsonl is wanted", optarg);
            options->in = optarg;
        } else {
            *status = take_option(options, option);
        }
    }
    if (*status == STATUS_OK && (options->in == NULL || options->out == NULL))
        return usage(stderr, EXIT_CODE_USAGE);
    return -1;
}

int filter_command(int argc, char **argv)
{
    static struct filter filter;
    enum status status = STATUS_OK;
    filter = (struct filter){.options = {.key_id = "id",
                                         .key_prompt = "",
                                         .key_answer = "",
                                         .key_source = "data_source",
                                         .success = 0.5}};
    int code = read_arguments(&filter.options, argc, argv, &status);
    if (code >= 0)
        return code;
    bool bad_usage = status != STATUS_OK;
    if (status == STATUS_OK)
        status = run(&filter);
    if (status != STATUS_OK)
        fprintf(stderr, "weir filter: %s\n", error_sentence());
    return bad_usage ? EXIT_CODE_USAGE : program_exit_code(status);
}
