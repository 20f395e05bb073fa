/* links: evaluate actor */
/* follow: which versions wait, what is settled, which weights go; where figures stand in metrics.jsonl; maj@k. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "ops/estimate.h"
#include "ops/eval/follow.h"
#include "ops/eval_table.h"

static char run[FILE_PATH_MAX];
static struct eval_sets sets;
static struct follow_folder folder;

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static int setup(void **state)
{
    (void)state;
    must(file_path(run, "%s/test_follow", BUILD_DIR));
    must(file_remove_tree(run));
    must(eval_sets_parse(&sets, "test", "a=a.jsonl,b=b.jsonl"));
    must(follow_open(&folder, run, &sets));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    follow_close(&folder);
    return file_remove_tree(run) != STATUS_OK;
}

static void write_text(const char *rest, const char *text)
{
    char path[FILE_PATH_MAX], parent[FILE_PATH_MAX];
    must(file_path(path, "%s/%s", run, rest));
    must(file_path(parent, "%.*s", (int)(strrchr(path, '/') - path), path));
    must(file_make_dirs(parent));
    must(file_replace(path, text, strlen(text)));
}

static bool there(const char *rest)
{
    char path[FILE_PATH_MAX];
    must(file_path(path, "%s/%s", run, rest));
    return file_exists(path);
}

static void leave_version(const char *name, uint64_t digest)
{
    char rest[100], text[200];
    snprintf(rest, sizeof rest, "eval/%s/version.json", name);
    snprintf(text, sizeof text,
             "{\"version\": 1, \"branch\": 0, \"digest\": \"%016" PRIx64
             "\", \"numerics\": \"00000000000000ff\"}",
             digest);
    write_text(rest, text);
    snprintf(rest, sizeof rest, "eval/%s/hf/config.json", name);
    write_text(rest, "{}");
}

static struct follow_version version_of(uint64_t version, uint64_t digest)
{
    return (struct follow_version){.version = version, .digest = digest};
}

static void add_row(uint64_t version, uint64_t digest, const char *set, double value)
{
    char key[64], of[64];
    struct follow_version whose = version_of(version, digest);
    snprintf(key, sizeof key, "eval/%s/avg_at_n", set);
    snprintf(of, sizeof of, "eval/%s/version", set);
    json_t *row = json_pack("{s:s,s:s,s:f,s:I}", "set", set, "status", "done", key, value, of,
                            (json_int_t)version);
    must(follow_add_row(&folder, &whose, row));
    json_decref(row);
}

static void expect_waiting(const uint64_t *versions, size_t count)
{
    static size_t waiting[FOLLOW_VERSIONS_MAX];
    must(follow_scan(&folder));
    assert_int_equal(follow_waiting(&folder, waiting), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(folder.versions[waiting[i]].version, versions[i]);
}

static void test_follow_versions_wait_until_all_sets_have_a_row(void **state)
{
    (void)state;
    leave_version("step_10", 0xa);
    leave_version("step_5", 0x5);
    leave_version("step_100", 0x64);
    write_text("eval/step_7/version.json", "{}"); /* without weights */
    expect_waiting((uint64_t[]){5, 10, 100}, 3);
    add_row(5, 0x5, "a", 0.5);
    expect_waiting((uint64_t[]){5, 10, 100}, 3);
    add_row(5, 0x5, "b", 0.5);
    add_row(10, 0xb, "a", 0.5); /* of other weights: another branch */
    add_row(10, 0xb, "b", 0.5);
    expect_waiting((uint64_t[]){10, 100}, 2);
    struct follow_version ten = version_of(10, 0xa);
    must(follow_add_verdict(&folder, &ten, "skipped", "too many"));
    expect_waiting((uint64_t[]){100}, 1);
    assert_true(follow_has_row(&folder, &ten, "b"));
    assert_false(follow_ended(&folder));
    write_text("eval/last.json", "{}");
    assert_true(follow_ended(&folder));
}

static void test_follow_table_survives_a_kill_within_a_row(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    leave_version("step_5", 0x5);
    add_row(5, 0x5, "a", 0.25);
    follow_close(&folder);
    must(file_path(path, "%s/eval/table.jsonl", run));
    FILE *file = fopen(path, "a");
    fputs("{\"step\":5,\"set\":\"b\"", file);
    fclose(file);
    must(follow_open(&folder, run, &sets));
    assert_int_equal(json_array_size(folder.rows), 1);
    expect_waiting((uint64_t[]){5}, 1);
    add_row(5, 0x5, "b", 0.75);
    json_t *rows = NULL;
    must(eval_table_read(run, &rows));
    assert_int_equal(json_array_size(rows), 2);
    assert_true(eval_table_figure(json_array_get(rows, 1), "avg_at_n") == 0.75);
    struct buffer text;
    buffer_init(&text, 0);
    must(eval_table_text(rows, 1, &text));
    assert_null(strstr(buffer_string(&text), "0.2500"));
    assert_non_null(strstr(buffer_string(&text), "0.7500"));
    buffer_free(&text);
    json_decref(rows);
}

static void test_follow_keeps_the_newest_weights_and_those_that_wait(void **state)
{
    (void)state;
    static const uint64_t done[] = {5, 10, 15};
    leave_version("step_5", 5);
    leave_version("step_10", 10);
    leave_version("step_15", 15);
    leave_version("step_2", 2); /* waits */
    leave_version("step_10.branch_0", 3);
    for (size_t i = 0; i < 3; i++) {
        add_row(done[i], done[i], "a", 1);
        add_row(done[i], done[i], "b", 1);
    }
    must(follow_scan(&folder));
    follow_clean(&folder, 1);
    assert_false(there("eval/step_5/hf"));
    assert_false(there("eval/step_10/hf"));
    assert_true(there("eval/step_10/version.json"));
    assert_true(there("eval/step_15/hf/config.json"));
    assert_true(there("eval/step_2/hf/config.json"));
    assert_false(there("eval/step_10.branch_0/hf"));
}

static void expect_line(const json_t *lines, size_t index, const char *key, double value)
{
    const json_t *got = json_object_get(json_array_get(lines, index), key);
    if (isnan(value))
        assert_null(got);
    else
        assert_true(json_number_value(got) == value);
}

/* The learner's lines had the figures that had just come; at the end they stand at their versions. */
static void test_follow_figures_end_in_the_line_of_their_version(void **state)
{
    (void)state;
    add_row(0, 1, "a", 0.1);
    add_row(2, 2, "a", 0.2);
    add_row(2, 2, "b", 0.3);
    add_row(3, 3, "a", 0.4);
    write_text("metrics.jsonl",
               "{\"step\":1,\"x\":0.30000000000000004}\n"
               "{\"step\":2,\"x\":5,\"eval/a/avg_at_n\":0.1,\"eval/a/version\":0}\n"
               "{\"step\":3,\"x\":1e-7,\"eval/a/avg_at_n\":0.2,"
               "\"eval/a/version\":2}\n");
    for (int again = 0; again < 2; again++) { /* the second time changes nothing */
        char path[FILE_PATH_MAX];
        must(follow_complete_metrics(&folder, NULL));
        must(file_path(path, "%s/metrics.jsonl", run));
        json_t *lines = json_array();
        FILE *file = fopen(path, "r");
        char line[1000];
        while (fgets(line, sizeof line, file) != NULL) {
            assert_int_equal(strncmp(line, "{\"step\":", 8), 0); /* what a resumed run looks for */
            json_array_append_new(lines, json_loads(line, JSON_REJECT_DUPLICATES, NULL));
        }
        fclose(file);
        assert_int_equal(json_array_size(lines), 3);
        expect_line(lines, 0, "x", 0.30000000000000004);
        expect_line(lines, 0, "eval/a/avg_at_n", 0.1);
        expect_line(lines, 0, "eval/a/version", 0);
        expect_line(lines, 1, "x", 5);
        expect_line(lines, 1, "eval/a/avg_at_n", 0.2);
        expect_line(lines, 1, "eval/b/avg_at_n", 0.3);
        expect_line(lines, 2, "x", 1e-7);
        expect_line(lines, 2, "eval/a/avg_at_n", 0.4);
        expect_line(lines, 2, "eval/b/avg_at_n", NAN);
        json_decref(lines);
    }
}

/* All subsets of k, one after another: the truth that the random ones estimate. */
static double majority_of_all(const int32_t *kind, const bool *passed, uint32_t n, uint32_t k)
{
    double wins = 0, all = 0;
    for (uint32_t set = 0; set < 1U << n; set++) {
        if ((uint32_t)__builtin_popcount(set) != k)
            continue;
        int64_t best = -1;
        uint32_t most = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t votes = 0;
            for (uint32_t j = 0; j < n; j++)
                votes += (set >> j & 1) != 0 && kind[i] >= 0 && kind[j] == kind[i];
            if ((set >> i & 1) != 0 && votes > most) {
                most = votes;
                best = i;
            }
        }
        wins += best >= 0 && passed[best];
        all++;
    }
    return wins / all;
}

static void test_follow_majority_of_k_is_that_of_all_choices(void **state)
{
    (void)state;
    /* answers 7 7 - 3 3 3 9 7; 7 is right */
    static const int32_t kind[] = {0, 0, -1, 3, 3, 3, 6, 0};
    static const bool passed[] = {true, true, false, false, false, false, false, true};
    enum { N = 8 };
    uint32_t room[3 * N];
    for (uint32_t k = 1; k <= N; k++) {
        double sum = 0;
        enum { TIMES = 64 };
        for (uint64_t t = 0; t < TIMES; t++) {
            struct rng rng;
            rng_init(&rng, 5, t, RNG_TASK);
            sum += estimate_majority_at(kind, passed, N, k, &rng, room);
        }
        double truth = majority_of_all(kind, passed, N, k);
        /* 64 x 256 draws: a standard error of at most 0.004 */
        assert_true(fabs(sum / TIMES - truth) < 0.02);
        if (k == 1 || k == N)
            assert_true(sum / TIMES == truth);
    }
    struct rng rng;
    rng_init(&rng, 5, 0, RNG_TASK);
    assert_true(isnan(estimate_majority_at(kind, passed, N, N + 1, &rng, room)));
    static const int32_t none[] = {-1, -1};
    assert_true(isnan(estimate_majority_at(none, passed, 2, 1, &rng, room)));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_follow_versions_wait_until_all_sets_have_a_row),
        CASE(test_follow_table_survives_a_kill_within_a_row),
        CASE(test_follow_keeps_the_newest_weights_and_those_that_wait),
        CASE(test_follow_figures_end_in_the_line_of_their_version),
        CASE(test_follow_majority_of_k_is_that_of_all_choices),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
