#include "learner/export.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/program.h"
#include "learner/checkpoint.h"
#include "learner/manifest.h"

static bool has(const char *folder, const char *name)
{
    char path[FILE_PATH_MAX];
    return file_path(path, "%s/%s", folder, name) == STATUS_OK && file_exists(path);
}

static enum status newest(const char *folder, char model[FILE_PATH_MAX])
{
    char path[FILE_PATH_MAX];
    uint64_t version = 0;
    TRY(checkpoint_newest(folder, UINT64_MAX, path, sizeof path, &version));
    return file_path(model, "%s/hf", path);
}

enum status export_find(const char *from, char model[FILE_PATH_MAX])
{
    char path[FILE_PATH_MAX];
    if (!file_exists(from))
        return FAIL(STATUS_NOT_FOUND, "%s: no such run, checkpoint or model folder", from);
    if (has(from, "config.json"))
        return file_path(model, "%s", from);
    if (has(from, "hf/config.json")) {
        if (has(from, "manifest"))
            TRY(manifest_verify(from));
        return file_path(model, "%s/hf", from);
    }
    TRY(file_path(path, "%s/checkpoints", from));
    return newest(file_exists(path) ? path : from, model);
}

static enum status write_as(const struct export_options *options, const char *model,
                            const struct model_shape *shape, struct model_folder *source)
{
    struct parameter_table table;
    TRY(parameter_table_create(&table, shape));
    enum status status = model_folder_write(
        options->out,
        &(struct model_folder_content){.shape = shape,
                                       .table = &table,
                                       .source = source,
                                       .dtype = options->dtype,
                                       .like = options->like != NULL ? options->like : model,
                                       .shard_bytes = options->shard_bytes});
    parameter_table_destroy(&table);
    return status;
}

static int64_t parameters(const struct parameter_table *table)
{
    int64_t count = 0;
    for (int64_t i = 0; i < table->count; i++)
        count += table->rows[i].count;
    return count;
}

enum status export_run(const struct export_options *options, struct buffer *text)
{
    char model[FILE_PATH_MAX], config[FILE_PATH_MAX];
    struct model_shape shape, renamed;
    struct parameter_table table;
    struct model_folder *source = NULL;
    TRY(export_find(options->from, model));
    TRY(file_path(config, "%s/config.json", model));
    TRY(model_shape_load(&shape, config));
    TRY(model_shape_rename(&shape, options->naming, &renamed));
    if (options->like != NULL && !file_exists(options->like))
        return FAIL(STATUS_NOT_FOUND, "--like %s: no such folder", options->like);
    TRY(parameter_table_create(&table, &shape));
    enum status status = model_folder_open(&source, model, &shape, &table);
    if (status == STATUS_OK)
        status = write_as(options, model, &renamed, source);
    if (status == STATUS_OK)
        status =
            buffer_printf(text, "%s: %s, %s, %" PRId64 " parameters, from %s\n", options->out,
                          model_arch_name(renamed.arch), options->dtype == ST_F32 ? "f32" : "bf16",
                          parameters(&table), model);
    model_folder_close(&source);
    parameter_table_destroy(&table);
    return status;
}

/* ---- command ---- */

static int usage(const char *about, const char *what)
{
    fprintf(stderr,
            "weir export: %s%s\n"
            "usage: weir export RUN|CHECKPOINT|MODEL_DIR OUT [--dtype bf16|f32] "
            "[--naming hf|minimax|native] [--like DIR] [--shard-gb N]\n",
            about, what);
    return EXIT_CODE_USAGE;
}

/* Index of `word` among names; -1. */
static int choice(const char *word, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}

static int take_option(struct export_options *options, const char *name, const char *value)
{
    static const char *const dtypes[] = {"bf16", "f32"}, *const namings[] = {"hf", "minimax",
                                                                             "native"};
    if (value == NULL)
        return usage("no value after ", name);
    if (strcmp(name, "--like") == 0) {
        options->like = value;
        return -1;
    }
    if (strcmp(name, "--dtype") == 0) {
        int index = choice(value, dtypes, 2);
        options->dtype = index == 0 ? ST_BF16 : ST_F32;
        return index < 0 ? usage("--dtype is bf16 or f32, not ", value) : -1;
    }
    if (strcmp(name, "--naming") == 0) {
        int index = choice(value, namings, 3);
        options->naming = (enum model_naming)index;
        return index < 0 ? usage("--naming is hf, minimax or native, not ", value) : -1;
    }
    if (strcmp(name, "--shard-gb") == 0) {
        char *end = NULL;
        double size = strtod(value, &end);
        options->shard_bytes = (int64_t)(size * 1e9);
        bool sound = end != value && *end == '\0' && size >= 1e-6 && size <= 1e6;
        return sound ? -1 : usage("--shard-gb is a number of gigabytes, not ", value);
    }
    return usage("unknown option ", name);
}

int export_main(int argc, char **argv, FILE *out)
{
    struct export_options options = {.dtype = ST_BF16};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') {
            int code = take_option(&options, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            if (code >= 0)
                return code;
            i++;
        } else if (options.from == NULL) {
            options.from = argv[i];
        } else if (options.out == NULL) {
            options.out = argv[i];
        } else {
            return usage("one argument too many: ", argv[i]);
        }
    }
    if (options.out == NULL)
        return usage("a source and OUT are wanted", "");
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = export_run(&options, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), out);
    else
        fprintf(stderr, "weir export: %s\n", status_sentence(status_last_error()));
    buffer_free(&text);
    return program_exit_code(status);
}
