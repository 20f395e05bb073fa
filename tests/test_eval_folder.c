/* links: learner */
/* timeout: 30 */
/* eval_folder: the weights of a version as a folder, whole or absent; eval_rows: figures on their way to a line. */
#include "learner/eval_folder.h"
#include "learner/checkpoint.h"
#include "learner/eval_rows.h"
#include "tests/trainer_case.h"

#include <inttypes.h>
#include <sys/stat.h>

static char base[FILE_PATH_MAX], model[FILE_PATH_MAX];
static struct settings settings;
static struct trainer trainer;
static struct alarms alarms;

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static int setup(void **state)
{
    (void)state;
    settings = case_settings();
    case_folder(base, "test_eval_folder");
    case_model(model, base, CASE_CONFIG_QWEN2);
    alarms_init(&alarms);
    must(trainer_create(&trainer, &settings, model, 2 * CASE_TOKENS));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trainer_destroy(&trainer);
    alarms_free(&alarms);
    return 0;
}

static void make_run(char run[FILE_PATH_MAX], const char *name)
{
    char relative[FILE_PATH_MAX];
    must(file_path(relative, "test_eval_folder/%s", name));
    case_folder(run, relative);
}

static char *path_in(char out[FILE_PATH_MAX], const char *run, const char *rest)
{
    must(file_path(out, "%s/%s", run, rest));
    return out;
}

static void train(uint64_t seed)
{
    struct case_batch batch;
    struct train_stats stats;
    case_fill(&batch, seed);
    case_update(&trainer, &batch, &stats);
    assert_true(stats.updated);
}

static struct weights_version now(uint64_t version, uint32_t branch)
{
    return (struct weights_version){
        .version = version, .branch = branch, .digest = trainer.weights.digest};
}

/* A trainer made from it has the same weights. */
static void assert_holds(const char *folder, uint64_t digest)
{
    struct trainer read;
    char hf[FILE_PATH_MAX];
    must(trainer_create(&read, &settings, path_in(hf, folder, "hf"), 2 * CASE_TOKENS));
    assert_int_equal(read.weights.digest, digest);
    trainer_destroy(&read);
}

static void test_eval_folder_has_the_exact_weights_of_its_version(void **state)
{
    (void)state;
    struct eval_writer writer;
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_run(run, "exact");
    must(eval_writer_open(&writer, run, model, &alarms));
    train(1);
    struct weights_version five = now(5, 0);
    must(eval_writer_put(&writer, &trainer, &five, "", false));
    train(2); /* goes on while it is written */
    struct weights_version six = now(6, 0);
    assert_true(five.digest != six.digest);
    must(eval_writer_put(&writer, &trainer, &six, "", true)); /* waits */
    eval_writer_end(&writer, 6);
    assert_holds(path_in(path, run, "eval/step_5"), five.digest);
    assert_holds(path_in(path, run, "eval/step_6"), six.digest);
    assert_true(file_exists(path_in(path, run, "eval/last.json")));
    assert_false(file_exists(path_in(path, run, "eval/partial")));
    eval_writer_close(&writer);
    must(eval_writer_open(&writer, run, model,
                          &alarms)); /* a run that goes on has no last version */
    assert_false(file_exists(path_in(path, run, "eval/last.json")));
    eval_writer_close(&writer);
}

/* Due faster than the disk takes them. */
static void test_eval_folder_copies_wait_their_turn(void **state)
{
    (void)state;
    struct eval_writer writer;
    enum { VERSIONS = 6 };
    uint64_t digests[VERSIONS];
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX], name[64];
    make_run(run, "queue");
    must(eval_writer_open(&writer, run, model, &alarms));
    for (uint64_t i = 0; i < VERSIONS; i++) {
        train(20 + i);
        struct weights_version version = now(i, 0);
        digests[i] = version.digest;
        must(eval_writer_put(&writer, &trainer, &version, "", false));
    }
    assert_int_equal(writer.passed_over, 0);
    eval_writer_close(&writer);
    for (uint64_t i = 0; i < VERSIONS; i++) {
        snprintf(name, sizeof name, "eval/step_%" PRIu64, i);
        assert_holds(path_in(path, run, name), digests[i]);
    }
}

static void test_eval_folder_of_a_checkpoint_is_linked(void **state)
{
    (void)state;
    struct eval_writer writer;
    struct stat mine, its;
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX], checkpoint[FILE_PATH_MAX], folder[FILE_PATH_MAX];
    make_run(run, "linked");
    must(eval_writer_open(&writer, run, model, &alarms));
    struct weights_version version = now(7, 2);
    struct checkpoint_state saved = {.version = 7, .branch = 2, .digest = version.digest};
    must(checkpoint_save(path_in(folder, run, "checkpoints"), &trainer, &saved, model, 1,
                         checkpoint, sizeof checkpoint));
    must(eval_writer_put(&writer, &trainer, &version, checkpoint, false));
    assert_false(writer.running);
    assert_int_equal(stat(path_in(path, run, "eval/step_7/hf/model.safetensors"), &mine), 0);
    assert_int_equal(stat(path_in(path, checkpoint, "hf/model.safetensors"), &its), 0);
    assert_int_equal(mine.st_ino, its.st_ino);
    must(file_remove_tree(checkpoint)); /* learner.checkpoint_keep */
    assert_holds(path_in(path, run, "eval/step_7"), version.digest);
    /* one that is gone is no reason to have no folder */
    train(3);
    version = now(8, 2);
    must(eval_writer_put(&writer, &trainer, &version, checkpoint, false));
    eval_writer_close(&writer);
    assert_holds(path_in(path, run, "eval/step_8"), version.digest);
}

/* The same version again: not written; with other weights: it takes the name. */
static void test_eval_folder_of_another_branch_takes_the_name(void **state)
{
    (void)state;
    struct eval_writer writer;
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX], report[FILE_PATH_MAX];
    make_run(run, "branch");
    must(eval_writer_open(&writer, run, model, &alarms));
    struct weights_version old = now(5, 0);
    must(eval_writer_put(&writer, &trainer, &old, "", false));
    eval_writer_close(&writer);
    must(file_replace(path_in(report, run, "eval/step_5/report"), "r", 1));
    must(file_remove_tree(path_in(path, run, "eval/step_5/hf"))); /* evaluated */
    must(eval_writer_put(&writer, &trainer, &old, "", false));
    assert_false(writer.running);
    train(4);
    struct weights_version other = now(5, 1);
    must(eval_writer_put(&writer, &trainer, &other, "", false));
    eval_writer_close(&writer);
    assert_holds(path_in(path, run, "eval/step_5"), other.digest);
    assert_false(file_exists(report));
    assert_true(file_exists(path_in(path, run, "eval/step_5.branch_0/report")));
}

static void test_eval_folder_that_cannot_be_written_is_an_alarm(void **state)
{
    (void)state;
    struct eval_writer writer;
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_run(run, "alarm");
    must(eval_writer_open(&writer, run, model, &alarms));
    uint64_t before = alarms.count;
    must(file_remove_tree(path_in(path, run, "eval")));
    must(file_replace(path, "in the way", 10));
    struct weights_version version = now(5, 0);
    must(eval_writer_put(&writer, &trainer, &version, "", false));
    eval_writer_close(&writer);
    assert_int_equal(alarms.count, before + 1);
}

static void append(const char *path, const char *text)
{
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_taken(struct eval_rows *rows, const char *expected)
{
    struct buffer line;
    buffer_init(&line, 0);
    must(buffer_text(&line, "{\"step\":7"));
    must(eval_rows_take(rows, &line));
    assert_string_equal(buffer_string(&line), expected);
    buffer_free(&line);
}

static void test_eval_rows_give_each_figure_once(void **state)
{
    (void)state;
    struct eval_rows rows = {0};
    char run[FILE_PATH_MAX], path[FILE_PATH_MAX];
    expect_taken(&rows, "{\"step\":7"); /* nothing is evaluated */
    make_run(run, "rows");
    must(file_make_dirs(path_in(path, run, "eval")));
    path_in(path, run, "eval/table.jsonl");
    append(path, "{\"step\":0,\"eval/a/x\":9}\n");
    must(eval_rows_open(&rows, run));
    expect_taken(&rows, "{\"step\":7"); /* of an earlier life */
    append(path, "{\"step\":5,\"set\":\"a\",\"eval/a/x\":0.5,\"eval/a/version\":5}\n{\"step\":5,"
                 "\"eval/b/x\":1");
    expect_taken(&rows, "{\"step\":7,\"eval/a/x\":0.5,\"eval/a/version\":5");
    expect_taken(&rows, "{\"step\":7"); /* half a row is none */
    append(path, "}\n{\"step\":9,\"status\":\"skipped\"}\n");
    expect_taken(&rows, "{\"step\":7,\"eval/b/x\":1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_folder_has_the_exact_weights_of_its_version),
        cmocka_unit_test(test_eval_folder_copies_wait_their_turn),
        cmocka_unit_test(test_eval_folder_of_a_checkpoint_is_linked),
        cmocka_unit_test(test_eval_folder_of_another_branch_takes_the_name),
        cmocka_unit_test(test_eval_folder_that_cannot_be_written_is_an_alarm),
        cmocka_unit_test(test_eval_rows_give_each_figure_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
