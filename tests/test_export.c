/* links: learner */
/* weir export: which folder a name stands for, damaged checkpoints, and what the command refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/program.h"
#include "learner/export.h"
#include "learner/manifest.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

static char base[] = "/tmp/weir-export-XXXXXX";

static const char *at(const char *name)
{
    static char paths[6][FILE_PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 6];
    assert_int_equal(file_path(path, "%s/%s", base, name), STATUS_OK);
    return path;
}

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

/* run/checkpoints/step_<version>, whole as far as export looks. */
static void make_checkpoint(int version)
{
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX], text[512];
    must(file_path(folder, "%s/run/checkpoints/step_%d", base, version));
    must(file_make_dirs(folder));
    must(file_path(path, "%s/hf", folder));
    must(model_folder_init(GOLDEN "qwen2/config.json", path, (uint64_t)version, ST_F32, NULL));
    int size = snprintf(text, sizeof text,
                        "{\"format\": 2, \"version\": %d, \"branch\": 0, \"updates\": 1, "
                        "\"skipped\": 0, \"layout_hash\": \"0000000000000000\", \"digest\": "
                        "\"0000000000000000\", \"digest_m\": \"0000000000000000\", \"digest_v\": "
                        "\"0000000000000000\"}",
                        version);
    must(file_path(path, "%s/state.json", folder));
    must(file_replace(path, text, (size_t)size));
    must(manifest_write(folder));
}

static enum status export_as(const char *from, const char *out, enum safetensors_dtype dtype)
{
    struct export_options options = {.from = from, .out = out, .dtype = dtype};
    struct buffer text;
    buffer_init(&text, 0);
    int64_t blocks = memory_blocks_live();
    enum status status = export_run(&options, &text);
    buffer_free(&text);
    assert_int_equal(memory_blocks_live(), blocks);
    return status;
}

static void assert_same_file(const char *left, const char *right)
{
    struct buffer a, b;
    buffer_init(&a, 0);
    buffer_init(&b, 0);
    must(file_read(left, &a));
    must(file_read(right, &b));
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.bytes, b.bytes, a.size);
    buffer_free(&a);
    buffer_free(&b);
}

static void test_export_newest_whole_checkpoint_of_a_run_is_taken(void **state)
{
    (void)state;
    make_checkpoint(4);
    make_checkpoint(7);
    must(export_as(at("run"), at("newest"), ST_F32));
    assert_same_file(at("newest/model.safetensors"),
                     at("run/checkpoints/step_7/hf/model.safetensors"));
    FILE *file = fopen(at("run/checkpoints/step_7/hf/model.safetensors"), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    assert_int_equal(fputc(0x55, file), 0x55);
    assert_int_equal(fclose(file), 0);
    must(export_as(at("run"), at("before"), ST_F32));
    assert_same_file(at("before/model.safetensors"),
                     at("run/checkpoints/step_4/hf/model.safetensors"));
    must(export_as(at("run/checkpoints/step_4"), at("named"), ST_BF16));
    assert_int_equal(export_as(at("run/checkpoints/step_7"), at("damaged"), ST_BF16),
                     STATUS_CORRUPT);
    assert_false(file_exists(at("damaged")));
}

static void test_export_bf16_is_half_the_size_and_loads(void **state)
{
    (void)state;
    must(export_as(GOLDEN "qwen2", at("half"), ST_BF16));
    must(export_as(at("half"), at("again"), ST_BF16));
    assert_same_file(at("half/model.safetensors"), at("again/model.safetensors"));
    assert_same_file(at("half/config.json"), at("again/config.json"));
    assert_int_equal(export_as(GOLDEN "qwen2", at("half"), ST_BF16), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "exists already"));
}

static void test_export_nothing_to_export_is_said(void **state)
{
    (void)state;
    must(file_make_dirs(at("empty")));
    assert_int_equal(export_as(at("nowhere"), at("x"), ST_F32), STATUS_NOT_FOUND);
    assert_int_equal(export_as(at("empty"), at("x"), ST_F32), STATUS_NOT_FOUND);
    assert_false(file_exists(at("x")));
}

static int command(const char *a, const char *b, const char *c, const char *d)
{
    const char *words[] = {"export", a, b, c, d, NULL};
    int count = 1;
    while (words[count] != NULL)
        count++;
    return export_main(count, (char **)(uintptr_t)words, stdout);
}

static void test_export_command_refuses_what_it_does_not_know(void **state)
{
    (void)state;
    assert_int_equal(command(GOLDEN "qwen2", NULL, NULL, NULL), EXIT_CODE_USAGE);
    assert_int_equal(command(GOLDEN "qwen2", at("y"), "--dtype", "f16"), EXIT_CODE_USAGE);
    assert_int_equal(command(GOLDEN "qwen2", at("y"), "--naming", NULL), EXIT_CODE_USAGE);
    assert_int_equal(command(GOLDEN "qwen2", at("y"), "--shard-gb", "0"), EXIT_CODE_USAGE);
    assert_int_equal(command(GOLDEN "qwen2", at("y"), "--quick", "1"), EXIT_CODE_USAGE);
    assert_int_equal(command(GOLDEN "qwen2", at("y"), "--naming", "native"), EXIT_CODE_USAGE);
    assert_false(file_exists(at("y")));
    assert_int_equal(command(GOLDEN "qwen2", at("y"), "--shard-gb", "0.0001"), EXIT_CODE_OK);
    assert_true(file_exists(at("y/model.safetensors.index.json")));
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(base) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(base) != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_export_newest_whole_checkpoint_of_a_run_is_taken),
        cmocka_unit_test(test_export_bf16_is_half_the_size_and_loads),
        cmocka_unit_test(test_export_nothing_to_export_is_said),
        cmocka_unit_test(test_export_command_refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
