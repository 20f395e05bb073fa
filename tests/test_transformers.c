/* links: learner */
/* label: integration */
/* timeout: 240 */
/* Folders of transformers into weir and back, with logits within 1e-4 both ways: for each tiny model that
 * tests/transformers/round_trip.py makes, save_pretrained -> weir's logits; weir export (f32 in shards, bf16) ->
 * AutoModelForCausalLM's logits. MiniMaxAI's naming, which transformers does not know, by way of weir alone. Skipped
 * where python3 (or $WEIR_PYTHON) has no torch and transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "learner/export.h"
#include "model/folder.h"

enum { SKIPPED = 77, TOKENS_MAX = 64, CASES_MAX = 32 };
static const double bound = 1e-4;

static char base[] = "/tmp/weir-transformers-XXXXXX";
static char cases[CASES_MAX][64];
static int case_count;

static const char *at(const char *name, const char *file)
{
    static char paths[4][FILE_PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 4];
    assert_int_equal(file_path(path, "%s/%s%s%s", base, name, file[0] != '\0' ? "/" : "", file),
                     STATUS_OK);
    return path;
}

static int python(const char *verb)
{
    const char *program = getenv("WEIR_PYTHON");
    program = program != NULL ? program : "python3";
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        execlp(program, program, SOURCE_DIR "/tests/transformers/round_trip.py", verb, base,
               (char *)NULL);
        _exit(SKIPPED);
    }
    int ended = 0;
    if (child < 0 || waitpid(child, &ended, 0) != child || !WIFEXITED(ended))
        return -1;
    return WEXITSTATUS(ended);
}

static void must(enum status status, const char *what)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", what, status_last_error());
}

/* Logits [count, V] of the ids by weir's forward pass. */
static void forward(const char *folder, const int32_t *ids, int32_t count, float *logits)
{
    struct op_table *ops = NULL;
    struct model *model = NULL;
    struct model_cache *cache = NULL;
    struct model_weights weights = {0};
    struct model_shape shape;
    char config[FILE_PATH_MAX];
    act *hidden = NULL;
    must(file_path(config, "%s/config.json", folder), folder);
    must(model_shape_load(&shape, config), folder);
    must(op_table_create(&ops, "cpu", 1), folder);
    struct model_options options = {.rows_max = TOKENS_MAX, .lightning_chunk = 16};
    must(model_create(&model, &shape, ops, &options), folder);
    must(model_weights_create(model, &weights), folder);
    must(model_weights_load_folder(model, &weights, folder), folder);
    int32_t pages = (int32_t)(TOKENS_MAX / ops->kv_tile + 1);
    must(model_cache_create(model, 1, pages, TOKENS_MAX, &cache), folder);
    must(model_cache_open(cache, 0, count), folder);
    struct op_segment segment = {.slot = 0, .row = 0, .count = count};
    struct model_batch batch = {count, ids, &segment, 1};
    must(model_forward(model, &weights, cache, &batch, false, &hidden), folder);
    struct model_head head = {.rows = count, .temperature = 1.0F, .logits = logits};
    must(model_head(model, &weights, hidden, &head), folder);
    model_cache_destroy(&cache);
    model_weights_destroy(model, &weights);
    model_destroy(&model);
    op_table_destroy(&ops);
}

/* Largest difference between the logits in `file` (of transformers) and those of weir for `folder`. */
static double worst(const char *file, const char *folder)
{
    struct safetensors *reference = NULL;
    must(safetensors_open(&reference, file), file);
    const struct safetensor *ids = safetensors_find(reference, "ids");
    const struct safetensor *wanted = safetensors_find(reference, "logits");
    assert_non_null(ids);
    assert_non_null(wanted);
    int32_t tokens[TOKENS_MAX];
    assert_true(ids->count <= TOKENS_MAX && wanted->shape[0] == ids->count);
    must(safetensor_to_i32(ids, tokens), file);
    float *theirs = memory_array((size_t)wanted->count, sizeof *theirs);
    float *ours = memory_array((size_t)wanted->count, sizeof *ours);
    must(safetensor_to_f32(wanted, theirs), file);
    forward(folder, tokens, (int32_t)ids->count, ours);
    double most = 0;
    for (int64_t i = 0; i < wanted->count; i++)
        most = fmax(most, isfinite(ours[i]) ? fabs((double)ours[i] - theirs[i]) : INFINITY);
    memory_free(theirs);
    memory_free(ours);
    safetensors_close(&reference);
    return most;
}

static void write_again(const char *name, const char *out, enum safetensors_dtype dtype,
                        enum model_naming naming, int64_t shard_bytes)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 0);
    must(file_path(from, "%s", at(name, naming == NAMING_NATIVE ? "minimaxai" : "saved")), name);
    must(file_path(to, "%s", at(name, out)), name);
    struct export_options options = {
        .from = from, .out = to, .dtype = dtype, .naming = naming, .shard_bytes = shard_bytes};
    must(export_run(&options, &text), name);
    buffer_free(&text);
}

static void test_transformers_saved_folders_give_the_same_logits(void **state)
{
    (void)state;
    for (int i = 0; i < case_count; i++) {
        double most = worst(at(cases[i], "saved.safetensors"), at(cases[i], "saved"));
        print_message("%s: save_pretrained -> weir, worst logit %.2g\n", cases[i], most);
        assert_true(most <= bound);
    }
}

/* There and back: native -> MiniMaxAI's -> native is what transformers then loads. */
static void test_transformers_minimax_naming_there_and_back(void **state)
{
    (void)state;
    write_again("minimax", "minimaxai", ST_F32, NAMING_MINIMAX, 0);
    struct model_shape shape;
    must(model_shape_load(&shape, at("minimax", "minimaxai/config.json")), "minimax");
    assert_int_equal(shape.arch, ARCH_MINIMAX_M1);
    double most = worst(at("minimax", "saved.safetensors"), at("minimax", "minimaxai"));
    print_message("minimax: save_pretrained -> MiniMaxAI's naming -> weir, worst logit %.2g\n",
                  most);
    assert_true(most <= bound);
    write_again("minimax", "written", ST_F32, NAMING_NATIVE, 0);
}

static void test_transformers_written_folders_load_with_the_same_logits(void **state)
{
    (void)state;
    struct buffer list;
    buffer_init(&list, 0);
    for (int i = 0; i < case_count; i++) {
        if (strcmp(cases[i], "minimax") != 0) /* the naming test wrote it */
            write_again(cases[i], "written", ST_F32, NAMING_HF, 150000);
        write_again(cases[i], "half", ST_BF16, NAMING_HF, 0);
        must(buffer_printf(&list, "%s\n", cases[i]), "list");
    }
    must(file_replace(at("written", ""), list.bytes, list.size), "list");
    buffer_free(&list);
    assert_int_equal(python("load"), 0);
    for (int i = 0; i < case_count; i++) {
        double most = worst(at(cases[i], "written.safetensors"), at(cases[i], "saved"));
        print_message("%s: weir export -> transformers, worst logit %.2g\n", cases[i], most);
        assert_true(most <= bound);
    }
}

/* Lines of WORK/cases. */
static int read_cases(void)
{
    FILE *file = fopen(at("cases", ""), "r");
    while (file != NULL && case_count < CASES_MAX && fscanf(file, "%63s", cases[case_count]) == 1)
        case_count++;
    if (file != NULL)
        (void)fclose(file);
    return case_count;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(base) != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers_saved_folders_give_the_same_logits),
        cmocka_unit_test(test_transformers_minimax_naming_there_and_back),
        cmocka_unit_test(test_transformers_written_folders_load_with_the_same_logits),
    };
    if (mkdtemp(base) == NULL)
        return 1;
    int code = python("make");
    if (code != 0 || read_cases() == 0) {
        (void)tear_down(NULL);
        return code != 0 ? code : 1;
    }
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
