/* links: learner */
/* timeout: 120 */
/* Every cut and every flipped bit of every file of a 64 KiB checkpoint: the checkpoint is passed over and the one
 * before it loads. On disk: all cuts and flips of the small files, a sample of the large ones; in memory, by the
 * sums that the reader compares: all of all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "learner/manifest.h"
#include "tests/tiny_case.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STRIDE = 97 };
#else
enum { STRIDE = 1 };
#endif

enum { FILES = 8, SMALL_BYTES = 1000, DISK_STRIDE = 61 };

static const char *const files[FILES] = {"manifest",
                                         "state.json",
                                         "optimizer.safetensors",
                                         "hf/config.json",
                                         "hf/model.safetensors",
                                         "hf/tokenizer.json",
                                         "hf/tokenizer_config.json",
                                         "hf/generation_config.json"};

static struct tiny tiny;
static char newest[FILE_PATH_MAX];
static uint64_t tried, digest_before;

static int setup(void **state)
{
    (void)state;
    struct trainer trainer;
    tiny_create(&tiny, "test_checkpoint_damage");
    tiny_open(&tiny, &trainer);
    assert_int_equal(tiny_save(&tiny, &trainer, 1, 2), STATUS_OK);
    digest_before = trainer.weights.digest;
    assert_int_equal(tiny_save(&tiny, &trainer, 2, 2), STATUS_OK);
    trainer_destroy(&trainer);
    return file_path(newest, "%s/step_2", tiny.checkpoints) == STATUS_OK ? 0 : -1;
}

static void read_victim(const char *name, char path[FILE_PATH_MAX], struct buffer *bytes)
{
    buffer_init(bytes, 0);
    assert_int_equal(file_path(path, "%s/%s", newest, name), STATUS_OK);
    assert_int_equal(file_read(path, bytes), STATUS_OK);
}

static void test_checkpoint_damage_every_cut_and_flip_changes_the_sums(void **state)
{
    (void)state;
    uint64_t cuts = 0, flips = 0, total = 0;
    int64_t begin_ns = clock_now_ns();
    for (int f = 1; f < FILES; f++) {
        char path[FILE_PATH_MAX];
        struct buffer bytes;
        struct manifest_sums whole = {0};
        read_victim(files[f], path, &bytes);
        manifest_add(&whole, bytes.bytes, bytes.size);
        total += bytes.size;
        cuts += bytes.size; /* a cut changes the size, which is compared first */
        for (size_t bit = 0; bit < bytes.size * 8; bit += STRIDE, flips++) {
            struct manifest_sums sums = {0};
            bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            manifest_add(&sums, bytes.bytes, bytes.size);
            bytes.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            if (sums.hash == whole.hash || sums.crc == whole.crc)
                fail_msg("%s: bit %zu changes nothing", files[f], bit);
        }
        buffer_free(&bytes);
    }
    print_message("%" PRIu64 " bytes: %" PRIu64 " cuts, %" PRIu64 " flips, %.1f s\n", total, cuts,
                  flips, (double)(clock_now_ns() - begin_ns) * 1e-9);
    assert_true(total >= 65536 && total < 80000);
}

/* The damaged newest one is passed over; what is found instead is whole. */
static void expect_passed_over(const char *name, size_t at, const char *what)
{
    char path[FILE_PATH_MAX];
    uint64_t version = 0;
    enum status status =
        checkpoint_newest(tiny.checkpoints, UINT64_MAX, path, sizeof path, &version);
    if (status != STATUS_OK || version != 1)
        fail_msg("%s %s at %zu: %s, version %" PRIu64, name, what, at, status_name(status),
                 version);
    tried++;
}

static void damage_file(const char *name, size_t stride)
{
    char path[FILE_PATH_MAX];
    struct buffer bytes;
    read_victim(name, path, &bytes);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t bit = 0; bit < bytes.size * 8; bit += stride) {
        uint8_t byte = (uint8_t)(bytes.bytes[bit / 8] ^ (1U << bit % 8));
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
        expect_passed_over(name, bit, "flipped");
        assert_int_equal(pwrite(fd, &bytes.bytes[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    for (size_t size = bytes.size; size-- > 0; size = size >= stride ? size - stride + 1 : 0) {
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        expect_passed_over(name, size, "cut");
        if (size == 0)
            break;
    }
    assert_int_equal(pwrite(fd, bytes.bytes, bytes.size, 0), (ssize_t)bytes.size);
    close(fd);
    assert_int_equal(unlink(path), 0);
    expect_passed_over(name, 0, "deleted");
    assert_int_equal(file_replace(path, bytes.bytes, bytes.size), STATUS_OK);
    buffer_free(&bytes);
}

static void test_checkpoint_damage_of_any_file_falls_back_to_the_one_before(void **state)
{
    (void)state;
    int64_t begin_ns = clock_now_ns();
    for (int f = 0; f < FILES; f++) {
        struct stat info;
        char path[FILE_PATH_MAX];
        assert_int_equal(file_path(path, "%s/%s", newest, files[f]), STATUS_OK);
        assert_int_equal(stat(path, &info), 0);
        damage_file(files[f], (info.st_size < SMALL_BYTES ? 1 : DISK_STRIDE) * (size_t)STRIDE);
    }
    print_message("%" PRIu64 " damages on disk, %.1f s\n", tried,
                  (double)(clock_now_ns() - begin_ns) * 1e-9);
    struct trainer trainer;
    struct checkpoint_state loaded;
    uint64_t version = 0;
    char path[FILE_PATH_MAX];
    assert_int_equal(checkpoint_newest(tiny.checkpoints, UINT64_MAX, path, sizeof path, &version),
                     STATUS_OK);
    assert_int_equal(version, 2); /* everything was put back */
    assert_int_equal(file_path(path, "%s/hf/tokenizer.json", newest), STATUS_OK);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(tiny_load(&tiny, &trainer, &loaded), STATUS_OK);
    assert_true(loaded.version == 1 && trainer.weights.digest == digest_before);
    trainer_destroy(&trainer);
}

static void test_checkpoint_damage_unknown_file_that_would_load_is_refused(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    struct trainer trainer;
    tiny_open(&tiny, &trainer);
    assert_int_equal(tiny_save(&tiny, &trainer, 3, 5), STATUS_OK);
    trainer_destroy(&trainer);
    assert_int_equal(file_path(newest, "%s/step_3", tiny.checkpoints), STATUS_OK);
    assert_int_equal(manifest_verify(newest), STATUS_OK);
    assert_int_equal(file_path(path, "%s/hf/README.md", newest), STATUS_OK);
    assert_int_equal(file_replace(path, "hello", 5), STATUS_OK);
    assert_int_equal(manifest_verify(newest), STATUS_OK); /* nobody reads it */
    assert_int_equal(file_path(path, "%s/hf/model.safetensors.index.json", newest), STATUS_OK);
    assert_int_equal(file_replace(path, "{}", 2), STATUS_OK);
    assert_int_equal(manifest_verify(newest), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "index.json is not in the manifest"));
    assert_int_equal(unlink(path), 0);
}

/* Format 1: no manifest. */
static void test_checkpoint_damage_older_format_is_taken_without_manifest(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    struct buffer text;
    uint64_t version = 0;
    assert_int_equal(file_path(path, "%s/manifest", newest), STATUS_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(checkpoint_newest(tiny.checkpoints, UINT64_MAX, path, sizeof path, &version),
                     STATUS_OK);
    assert_int_not_equal(version, 3); /* format 2 has one */
    read_victim("state.json", path, &text);
    char *format = strstr((char *)text.bytes, "\"format\": 2");
    assert_non_null(format);
    format[10] = '1';
    assert_int_equal(file_replace(path, text.bytes, text.size), STATUS_OK);
    buffer_free(&text);
    assert_int_equal(checkpoint_newest(tiny.checkpoints, UINT64_MAX, path, sizeof path, &version),
                     STATUS_OK);
    assert_int_equal(version, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_damage_every_cut_and_flip_changes_the_sums),
        cmocka_unit_test(test_checkpoint_damage_of_any_file_falls_back_to_the_one_before),
        cmocka_unit_test(test_checkpoint_damage_unknown_file_that_would_load_is_refused),
        cmocka_unit_test(test_checkpoint_damage_older_format_is_taken_without_manifest),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
