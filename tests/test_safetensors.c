/* links: model */
/* Round trips, and every way a header can lie: each is a sentence with file and tensor. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "model/safetensors.h"

static char folder[] = "/tmp/weir-safetensors-XXXXXX";
static char path[FILE_PATH_MAX];

/* header + `size` bytes of data, opened from memory */
static enum status open_text(const char *header, uint64_t claimed, size_t size,
                             struct safetensors **file)
{
    static uint8_t bytes[4096];
    size_t length = strlen(header);
    assert_true(8 + length + size <= sizeof bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(claimed >> (8 * i));
    memcpy(bytes + 8, header, length);
    memset(bytes + 8 + length, 0x40, size);
    *file = NULL;
    return safetensors_open_bytes(file, bytes, 8 + length + size, "some.safetensors");
}

static void refuse(const char *header, size_t size, enum status status, const char *word)
{
    struct safetensors *file;
    int64_t blocks = memory_blocks_live();
    enum status got = open_text(header, strlen(header), size, &file);
    if (got != status)
        fail_msg("%s for %s", status_name(got), header);
    assert_null(file);
    if (!strstr(status_last_error(), "some.safetensors") || !strstr(status_last_error(), word))
        fail_msg("no file or no \"%s\" in: %s", word, status_last_error());
    assert_int_equal(memory_blocks_live(), blocks);
}

static const float values[6] = {1.0f, -2.5f, 3.14159274f, 1e-40f, INFINITY, 65504.0f};

static void write_pair(void)
{
    struct safetensors_row rows[2] = {
        {.name = "half", .dtype = ST_BF16, .dims = 1, .shape = {5}, .values = values},
        {.name = "full", .dtype = ST_F32, .dims = 2, .shape = {2, 3}, .values = values}};
    const char *const keys[] = {"step"}, *const texts[] = {"12"};
    assert_int_equal(safetensors_write(path, rows, 2, keys, texts, 1), STATUS_OK);
}

static void test_safetensors_f32_round_trip_is_exact(void **state)
{
    (void)state;
    write_pair();
    struct safetensors *file;
    assert_int_equal(safetensors_open(&file, path), STATUS_OK);
    assert_int_equal(safetensors_count(file), 2);
    const struct safetensor *full = safetensors_find(file, "full");
    assert_non_null(full);
    assert_ptr_equal(full, safetensors_at(file, 0)); /* F32 rows come first */
    assert_int_equal((uintptr_t)full->bytes % 4, 0);
    assert_int_equal(full->dims, 2);
    assert_int_equal(full->shape[1], 3);
    float back[6];
    assert_int_equal(safetensor_to_f32(full, back), STATUS_OK);
    assert_memory_equal(back, values, sizeof values);
    assert_null(safetensors_find(file, "ful"));
    safetensors_close(&file);
    assert_null(file);
}

static void test_safetensors_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    /* 1 + 2^-8 lies between 1 and 1 + 2^-7: to even = 1; 1 + 3 2^-8 goes up; NaN stays NaN */
    const float in[5] = {1.00390625f, 1.01171875f, 3.4e38f, NAN, -0.0f};
    struct safetensors_row row = {
        .name = "t", .dtype = ST_BF16, .dims = 1, .shape = {5}, .values = in};
    assert_int_equal(safetensors_write(path, &row, 1, NULL, NULL, 0), STATUS_OK);
    struct safetensors *file;
    assert_int_equal(safetensors_open(&file, path), STATUS_OK);
    float out[5];
    double wide[5];
    assert_int_equal(safetensor_to_f32(safetensors_at(file, 0), out), STATUS_OK);
    assert_int_equal(safetensor_to_f64(safetensors_at(file, 0), wide), STATUS_OK);
    assert_true(out[0] == 1.0f && out[1] == 1.015625f && isinf(out[2]) && isnan(out[3]));
    assert_true(signbit(out[4]) && wide[1] == 1.015625);
    int32_t whole[5];
    assert_int_equal(safetensor_to_i32(safetensors_at(file, 0), whole), STATUS_INVALID);
    safetensors_close(&file);
}

static void test_safetensors_bf16_golden_cases_round_the_same(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file("tests/golden/spec/precision.json", 0, &error);
    json_t *cases = json_object_get(root, "bf16_rounding_cases"), *wanted;
    const char *key;
    size_t count = 0;
    json_object_foreach(cases, key, wanted)
    {
        float value = strtof(key, NULL), got = 0;
        struct safetensors_row row = {
            .name = "x", .dtype = ST_BF16, .dims = 1, .shape = {1}, .values = &value};
        struct safetensors *file;
        assert_int_equal(safetensors_write(path, &row, 1, NULL, NULL, 0), STATUS_OK);
        assert_int_equal(safetensors_open(&file, path), STATUS_OK);
        assert_int_equal(safetensor_to_f32(safetensors_at(file, 0), &got), STATUS_OK);
        safetensors_close(&file);
        if (got != (float)json_number_value(wanted))
            fail_msg("%s became %.9g, wanted %.9g", key, (double)got, json_number_value(wanted));
        count++;
    }
    assert_true(count >= 5);
    json_decref(root);
}

static void test_safetensors_integers_and_f16_convert(void **state)
{
    (void)state;
    struct safetensors *file;
    const char *header = "{\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                         "\"h\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[8,10]},"
                         "\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[10,11]}}";
    assert_int_equal(open_text(header, strlen(header), 11, &file), STATUS_OK);
    float out;
    int32_t whole;
    assert_int_equal(safetensor_to_f32(safetensors_find(file, "h"), &out), STATUS_OK);
    assert_true(out == 2.125f); /* 0x4040 */
    assert_int_equal(safetensor_to_i32(safetensors_find(file, "u"), &whole), STATUS_OK);
    assert_int_equal(whole, 0x40);
    assert_int_equal(safetensor_to_i32(safetensors_find(file, "i"), &whole), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "tensor i"));
    safetensors_close(&file);
}

static void test_safetensors_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    write_pair();
    struct buffer whole;
    buffer_init(&whole, 0);
    assert_int_equal(file_read(path, &whole), STATUS_OK);
    for (size_t size = 0; size < whole.size; size++) {
        assert_int_equal(file_replace(path, whole.bytes, size), STATUS_OK);
        struct safetensors *file = NULL;
        assert_int_equal(safetensors_open(&file, path), STATUS_CORRUPT);
        assert_non_null(strstr(status_last_error(), path));
    }
    assert_int_equal(buffer_append(&whole, "x", 1), STATUS_OK); /* and one byte too many */
    assert_int_equal(file_replace(path, whole.bytes, whole.size), STATUS_OK);
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open(&file, path), STATUS_CORRUPT);
    buffer_free(&whole);
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_safetensors_lying_headers_are_refused_by_name(void **state)
{
    (void)state;
    enum status corrupt = STATUS_CORRUPT;
    refuse("{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[2,6]") "}", 6, corrupt,
           "tensor b begins at byte 2");
    refuse("{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, corrupt,
           "overlap");
    refuse("{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, corrupt,
           "hole");
    refuse("{" T("a", "F32", "[1]", "[4,8]") "}", 8, corrupt, "hole");
    refuse("{" T("a", "F32", "[1]", "[0,4]") "}", 8, corrupt, "ends at byte 4");
    refuse("{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, corrupt,
           "duplicate");
    refuse("{" T("a", "F33", "[1]", "[0,4]") "}", 4, STATUS_UNSUPPORTED, "tensor a has dtype F33");
    refuse("{" T("a", "F32", "[2]", "[0,4]") "}", 4, corrupt, "tensor a: 4 bytes");
    refuse("{" T("a", "F32", "[-1]", "[0,4]") "}", 4, corrupt, "tensor a");
    refuse("{" T("a", "F32", "[1.5]", "[0,4]") "}", 4, corrupt, "tensor a");
    refuse("{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, corrupt, "tensor a");
    refuse("{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, corrupt, "tensor a");
    refuse("{" T("a", "F32", "[1]", "[4,0]") "}", 4, corrupt, "tensor a");
    refuse("{" T("a", "F32", "[1]", "[0,-4]") "}", 4, corrupt, "tensor a");
    refuse("{" T("a", "F32", "[1]", "[0]") "}", 4, corrupt, "tensor a");
    refuse("{" T("a", "F32", "1", "[0,4]") "}", 4, corrupt, "tensor a");
    refuse("{\"a\":7}", 0, STATUS_UNSUPPORTED, "tensor a");
    refuse("{\"__metadata__\":{\"k\":1}}", 0, corrupt, "__metadata__");
    refuse("[]", 0, corrupt, "object");
    refuse("{\"a\":", 0, corrupt, "header");
}

static void test_safetensors_lying_header_sizes_are_refused(void **state)
{
    (void)state;
    const uint64_t sizes[] = {0, 1, 3, 4, 100u << 20, (100u << 20) + 1, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct safetensors *file;
        assert_int_equal(open_text("{}", sizes[i], 0, &file), STATUS_CORRUPT);
        assert_non_null(strstr(status_last_error(), "some.safetensors"));
    }
    struct safetensors *file;
    assert_int_equal(open_text("{}", 2, 0, &file), STATUS_OK); /* no tensors is a file */
    assert_int_equal(safetensors_count(file), 0);
    safetensors_close(&file);
}

static void test_safetensors_out_of_memory_fails_cleanly(void **state)
{
    (void)state;
    write_pair();
    int64_t blocks = memory_blocks_live();
    enum status status = STATUS_NO_MEMORY;
    for (int n = 1; status != STATUS_OK && n < 50; n++) {
        struct safetensors *file = NULL;
        memory_fail_after(n);
        status = safetensors_open(&file, path);
        memory_fail_after(-1);
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        safetensors_close(&file);
        assert_int_equal(memory_blocks_live(), blocks);
    }
    assert_int_equal(status, STATUS_OK);
}

static void test_safetensors_two_rows_of_one_name_are_not_written(void **state)
{
    (void)state;
    struct safetensors_row row = {
        .name = "t", .dtype = ST_F32, .dims = 1, .shape = {1}, .values = values};
    struct safetensors_row rows[2] = {row, row};
    assert_int_equal(safetensors_write(path, rows, 2, NULL, NULL, 0), STATUS_INVALID);
    assert_int_equal(safetensors_write("/proc/none/x", rows, 1, NULL, NULL, 0), STATUS_IO);
    assert_non_null(strstr(status_last_error(), "/proc/none/x"));
}

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    return file_path(path, "%s/t.safetensors", folder) != STATUS_OK;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_f32_round_trip_is_exact),
        cmocka_unit_test(test_safetensors_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_safetensors_bf16_golden_cases_round_the_same),
        cmocka_unit_test(test_safetensors_integers_and_f16_convert),
        cmocka_unit_test(test_safetensors_file_cut_anywhere_is_refused),
        cmocka_unit_test(test_safetensors_lying_headers_are_refused_by_name),
        cmocka_unit_test(test_safetensors_lying_header_sizes_are_refused),
        cmocka_unit_test(test_safetensors_out_of_memory_fails_cleanly),
        cmocka_unit_test(test_safetensors_two_rows_of_one_name_are_not_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
