/* weir-reward rows (`weir reward`): the command line of reward/rows.h. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/program.h"
#include "reward/areas.h"
#include "reward/rows.h"

static int usage(FILE *to, int code)
{
    fprintf(to,
            "usage: weir reward --in cases.jsonl --out scores.jsonl [--jobs N] [--kind KIND]\n"
            "                   [--config JSON|FILE] [--timeout-ms N] [--quiet]\n"
            "Scores rows of any kind; - is stdin or stdout. Each row names its \"kind\", or --kind "
            "does.\n"
            "--config is an object: area -> its settings, \"sandbox\": {\"jobs\": N}, \"judge\": "
            "{...}.\n"
            "Areas: %s\n",
            reward_area_names());
    return code;
}

static enum status read_number(const char *name, const char *text, int64_t max, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > max)
        return FAIL(STATUS_INVALID, "%s %s: a number from 1 to %" PRId64 " is wanted", name, text,
                    max);
    *out = value;
    return STATUS_OK;
}

/* JSON itself, or the file that holds it. */
static enum status read_config(const char *text, json_t **config)
{
    struct buffer bytes;
    buffer_init(&bytes, 1 << 20);
    enum status status = text[0] == '{' ? buffer_text(&bytes, text) : file_read(text, &bytes);
    json_error_t error = {0};
    if (status == STATUS_OK) {
        *config = json_loadb((const char *)bytes.bytes, bytes.size, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(*config))
            status = FAIL(STATUS_INVALID, "--config %s: line %d: %s", text, error.line,
                          *config == NULL ? error.text : "not an object");
    }
    buffer_free(&bytes);
    return status;
}

struct arguments {
    const char *in, *out;
    json_t *config;
    struct rows_options options;
};

/* -1: go on. */
static int read_arguments(int argc, char **argv, struct arguments *arguments, enum status *status)
{
    static const struct option names[] = {
        {"in", 1, NULL, 'i'},    {"out", 1, NULL, 'o'},    {"jobs", 1, NULL, 'j'},
        {"kind", 1, NULL, 'k'},  {"config", 1, NULL, 'c'}, {"timeout-ms", 1, NULL, 't'},
        {"quiet", 0, NULL, 'q'}, {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0}};
    int64_t number = 0;
    for (int word; *status == STATUS_OK && (word = getopt_long(argc, argv, "", names, NULL)) != -1;)
        switch (word) {
        case 'i':
            arguments->in = optarg;
            break;
        case 'o':
            arguments->out = optarg;
            break;
        case 'j':
            *status = read_number("--jobs", optarg, 64, &number);
            arguments->options.jobs = (uint32_t)number;
            break;
        case 'k':
            arguments->options.kind = optarg;
            break;
        case 'c':
            *status = read_config(optarg, &arguments->config);
            break;
        case 't':
            *status = read_number("--timeout-ms", optarg, 86400000, &arguments->options.timeout_ms);
            break;
        case 'q':
            arguments->options.progress = false;
            break;
        case 'h':
            return usage(stdout, EXIT_CODE_OK);
        default:
            return usage(stderr, EXIT_CODE_USAGE);
        }
    if (*status == STATUS_OK && (arguments->in == NULL || optind < argc))
        return usage(stderr, EXIT_CODE_USAGE);
    return -1;
}

static enum status open_file(const char *path, const char *mode, FILE *standard, FILE **file)
{
    *file = path == NULL || strcmp(path, "-") == 0 ? standard : fopen(path, mode);
    return *file != NULL ? STATUS_OK
                         : FAIL(STATUS_IO, "%s cannot be opened: %s", path, strerror(errno));
}

static enum status score_files(struct arguments *arguments, struct rows_summary *summary)
{
    FILE *in = NULL, *out = NULL;
    TRY(open_file(arguments->in, "r", stdin, &in));
    enum status status = open_file(arguments->out, "w", stdout, &out);
    if (status == STATUS_OK)
        status = rows_score(in, out, &arguments->options, summary);
    if (in != stdin)
        fclose(in);
    if (out != NULL && out != stdout && fclose(out) != 0 && status == STATUS_OK)
        status = FAIL(STATUS_IO, "%s cannot be written: %s", arguments->out, strerror(errno));
    return status;
}

int rows_command(int argc, char **argv)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct arguments arguments = {
        .options = {.jobs = processors > 0 && processors < 64 ? (uint32_t)processors : 1,
                    .timeout_ms = 300000, /* a dozen slow tests of a program */
                    .progress = isatty(STDERR_FILENO) != 0}};
    enum status status = STATUS_OK;
    int code = read_arguments(argc, argv, &arguments, &status);
    struct rows_summary summary = {0};
    if (code < 0) {
        arguments.options.name = arguments.in;
        arguments.options.config = arguments.config;
        if (status == STATUS_OK)
            status = score_files(&arguments, &summary);
        if (status != STATUS_OK)
            fprintf(stderr, "weir reward: %s\n", status_sentence(status_last_error()));
        code = program_exit_code(status);
    }
    json_decref(arguments.config);
    return code;
}
