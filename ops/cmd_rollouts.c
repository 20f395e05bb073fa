/* weir tail --step N: the rollouts of one step as the learner trained them, from rollouts/ of the run folder. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"
#include "ops/rollout_text.h"

enum { STEPS_NAMED = 4096 };

struct step_options {
    const char *run;
    uint64_t step, count;
    bool latest; /* --step last */
    struct rollout_filter filter;
    struct rollout_text_options text;
};

bool tail_wants_step(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--step") == 0)
            return true;
    return false;
}

static bool parse_whole(const char *text, uint64_t *value)
{
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    *value = strtoull(text, &end, 10);
    return *end == 0;
}

static int parse(int argc, char **argv, struct step_options *options)
{
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t sample = 0;
        bool good = true;
        if (strcmp(argv[i], "--step") == 0 && next != NULL && strcmp(next, "last") == 0)
            options->latest = true, i++;
        else if (strcmp(argv[i], "--step") == 0)
            good = parse_whole(next, &options->step), i++;
        else if (strcmp(argv[i], "--group") == 0)
            good = options->filter.has_group = parse_whole(next, &options->filter.group), i++;
        else if (strcmp(argv[i], "--sample") == 0)
            good = options->filter.has_sample = parse_whole(next, &sample), i++;
        else if (strcmp(argv[i], "-n") == 0)
            good = parse_whole(next, &options->count), i++;
        else if (strcmp(argv[i], "--tokens") == 0)
            options->text.tokens = true;
        else if (strcmp(argv[i], "--json") == 0)
            options->text.json = true;
        else if (argv[i][0] == '-' || options->run != NULL)
            return command_usage("tail", "unexpected argument %s with --step", argv[i]);
        else
            options->run = argv[i];
        if (options->filter.has_sample && sample > 0)
            options->filter.sample = (uint32_t)sample;
        if (!good)
            return command_usage("tail", "%s wants a whole number", argv[i - 1]);
    }
    return EXIT_CODE_OK;
}

/* The tokenizer of the run's model; none, with a word on stderr, when it cannot be read. */
static struct tokenizer *open_tokenizer(const char *folder)
{
    char path[FILE_PATH_MAX];
    struct tokenizer *tokenizer = NULL;
    struct settings settings;
    struct config *config = NULL;
    enum status status = file_path(path, "%s/config.resolved.yaml", folder);
    const char *files[] = {path};
    struct config_input input = {.files = files, .file_count = 1};
    if (status == STATUS_OK)
        status = settings_load(&settings, &config, &input);
    if (status == STATUS_OK)
        status = tokenizer_open(&tokenizer, settings.model.path,
                                (enum setting_tokenizer)settings.model.tokenizer);
    if (status != STATUS_OK)
        fprintf(stderr, "weir tail: ids instead of text: %s\n", error_sentence());
    if (config != NULL)
        config_destroy(&config);
    return status == STATUS_OK ? tokenizer : NULL;
}

/* The step that is meant; NOT_FOUND names those that have a file. */
static enum status find_step(const char *folder, struct step_options *options)
{
    static uint64_t steps[STEPS_NAMED];
    uint32_t count = 0;
    TRY(rollout_file_steps(folder, steps, STEPS_NAMED, &count));
    if (count == 0)
        return FAIL(STATUS_NOT_FOUND, "%s/rollouts holds no files (metrics.rollout_tokens)",
                    folder);
    if (options->latest)
        options->step = steps[count - 1];
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/rollouts/step_%06" PRIu64 ".jsonl.zst", folder, options->step));
    if (file_exists(path))
        return STATUS_OK;
    return FAIL(STATUS_NOT_FOUND,
                "step %" PRIu64 " has no file of rollouts; those of %" PRIu64 " to %" PRIu64
                " are there (metrics.rollout_steps)",
                options->step, steps[0], steps[count - 1]);
}

static enum status print_step(const char *folder, const struct step_options *options)
{
    struct rollout_file file;
    struct rollout_tokens rollout;
    struct buffer text;
    TRY(rollout_file_open(&file, folder, options->step));
    struct tokenizer *tokenizer = open_tokenizer(folder);
    buffer_init(&text, 0);
    enum status status = STATUS_OK;
    uint64_t printed = 0;
    for (; printed < options->count && status == STATUS_OK; printed++) {
        status = rollout_file_next(&file, &options->filter, &rollout);
        if (status != STATUS_OK)
            break;
        buffer_clear(&text);
        status = rollout_text(&rollout, tokenizer, &options->text, &text);
        if (status == STATUS_OK)
            fputs(buffer_string(&text), stdout);
    }
    buffer_free(&text);
    tokenizer_close(&tokenizer);
    rollout_file_close(&file);
    if (status == STATUS_NOT_FOUND && printed > 0)
        return STATUS_OK;
    return status;
}

int tail_step(int argc, char **argv)
{
    struct known_run known;
    struct step_options options = {.count = UINT64_MAX,
                                   .text = {.colours = isatty(STDOUT_FILENO) == 1}};
    int code = parse(argc, argv, &options);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = known_run_find(&known, options.run);
    if (status == STATUS_OK)
        status = find_step(known.folder, &options);
    if (status == STATUS_OK)
        status = print_step(known.folder, &options);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("tail", status);
}
